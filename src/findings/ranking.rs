//! The findings: what the tables tell, judged, as one ranked list.

use super::case::Case;
use super::processes::{
    Suspect, WindowsHeld, is_offline, is_shell, is_system, judge, judge_among, judge_held, judge_linux, judge_service, judge_windows,
    program,
};
use super::rules;
use crate::address::VirtAddr;
use crate::facts::drivers::{Callback, DriverFunction, SystemService};
use crate::facts::linux::{BpfProgram, CachedFile, Capabilities, LogRecord, OpenFile, ShellHistory, SystemCall};
use crate::facts::windows::{Apc, FileObject, Handle, Privilege, Program, Service, Sid};
use crate::facts::{
    Answer, Finding, Indicator, Known, Library, Module, Process, ProcessState, Record, Reference, Rows, Scope, Sink, Socket, State,
    Subject, Suspicious, Table, Tables, Thread, ToCell, Variable, Verdict,
};
use crate::linux::{KERNEL, Linux, PRELOADS, PROC_ENTRIES};
use crate::windows::{Detections, Windows};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Rights to a process (winnt.h).
const CREATE_THREAD: u64 = 0x2;
const VM_READ: u64 = 0x10;
const VM_WRITE: u64 = 0x20;

/// Capabilities that amount to those of root (include/uapi/linux/capability.h): CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
const STRONG: [(u32, &str); 4] = [(16, "loading modules"), (17, "raw access to memory"), (19, "tracing"), (21, "administration")];
/// The credentials of the kernel itself.
const FIRST_CREDENTIALS: &str = "init_cred";
/// The process of the kernel itself, on Windows.
const SYSTEM_PROCESS: u32 = 4;
/// Nanoseconds by which the kernel's first processes may be older than it: they are made before the clock is set.
const CLOCK_SLACK: i128 = 60_000_000_000;
const LEAST_EARLY: usize = 3;
/// Handles to the logs of Defender, of which there are a few.
const MOST_LOGS: usize = 64;
/// A module that hooks more than this is not told hook by hook.
const MOST_HOOKS: usize = 12;
/// Where the files of drivers are: below the folders of Windows and of installed programs.
const DRIVER_FOLDERS: [&str; 5] =
    ["\\systemroot\\", "\\windows\\", "\\program files\\", "\\program files (x86)\\", "\\programdata\\microsoft\\windows defender\\"];
/// Where anyone, or any service, can put files.
const LOOSE_FOLDERS: [&str; 3] = ["\\temp\\", "\\users\\", "\\$recycle.bin\\"];

/// What commands hold that intruders type; each part must be there.
const COMMANDS: &[&[&str]] = &[
    &["curl", "|", "sh"],
    &["wget", "|", "sh"],
    &["base64", "-d"],
    &["/dev/tcp/"],
    &["nc ", " -e"],
    &["insmod "],
    &["history -c"],
    &["HISTFILE"],
    &["HISTSIZE=0"],
    &["rm ", "/var/log"],
    &["authorized_keys"],
    &["LD_PRELOAD"],
    &["ld.so.preload"],
    &["/etc/shadow"],
    &["chmod", "+s"],
    &["chattr +i"],
    &["useradd "],
    &["crontab "],
    &["xmrig"],
    &["/dev/shm/"],
];
/// What the kernel logs of modules that it does not know.
const UNSIGNED: [&str; 2] = ["module verification failed", "loading out-of-tree module taints kernel"];

pub fn of_windows(windows: &Windows, tables: &impl Tables, processes: &Answer<Process>, scope: Scope, out: &mut Sink<Finding>) {
    doubt(processes, out);
    let sids = ask::<Sid>(tables, Scope::Machine, out);
    let users: HashMap<u32, &str> =
        sids.iter().flat_map(Answer::iter).filter(|sid| sid.role == "user").map(|sid| (sid.pid, sid.sid.as_str())).collect();
    let sockets = ask::<Socket>(tables, Scope::Machine, out);
    let privileges = ask::<Privilege>(tables, Scope::Machine, out);
    let sockets = by_pid(&sockets, |socket| socket.pid.value().copied());
    let privileges = by_pid(&privileges, |held| Some(held.pid));
    let user = |process: &Process| users.get(&process.pid).copied();
    let libraries = ask::<Library>(tables, Scope::Machine, out);
    let threads = ask::<Thread>(tables, Scope::Machine, out);
    let calls = ask::<Apc>(tables, Scope::Machine, out);
    let programs = ask::<Program>(tables, Scope::Machine, out);
    let (libraries, threads) = (by_pid(&libraries, |library| Some(library.pid)), by_pid(&threads, |thread| Some(thread.pid)));
    let queued = by_pid(&calls, |call| Some(call.pid));
    let programs: HashMap<_, _> = programs.iter().flat_map(Answer::iter).map(|program| (program.address, program)).collect();

    let mut list = List::new(scope, processes);
    for process in processes.iter() {
        let parent = parent(processes, process);
        let suspect = Suspect { process, parent, user: user(process), parent_user: parent.and_then(user) };
        let held = if process.state == ProcessState::Exited {
            WindowsHeld::default()
        } else {
            WindowsHeld {
                privileges: own(&privileges, process),
                libraries: own(&libraries, process),
                threads: own(&threads, process),
                calls: own(&queued, process),
                program: process.address.value().and_then(|address| programs.get(address)).copied(),
            }
        };
        let mut case = windows_case(&suspect, &held);
        judge_among(process, processes, &mut case);
        list.process(process, case, own(&sockets, process));
    }
    list.clock(processes);
    if let Some(handles) = ask(tables, Scope::Machine, out) {
        list.handles(&handles, processes, user);
        let logs = if scope == Scope::Machine { logs(&handles) } else { BTreeMap::new() };
        for (path, file) in logs {
            match windows.detections(file, out.watch()) {
                Ok(found) => list.detections(&path, file, &found, out),
                Err(why) => out.note(format!("{path} cannot be read, so detections may be missing: {why}")),
            }
        }
    }
    each(tables, scope, out, |regions| list.regions(regions));
    each(tables, Scope::Machine, out, |modules| list.modules(modules));
    each(tables, Scope::Machine, out, |services| list.services(services));
    if let Some(calls) = &calls {
        list.calls(calls);
    }
    each(tables, Scope::Machine, out, |callbacks| list.callbacks(callbacks));
    each(tables, Scope::Machine, out, |functions: &Answer<DriverFunction>| {
        for row in functions.iter().filter(|row| row.place != "own" && list.strange(&row.module)).collect::<Vec<_>>() {
            let what = format!("{} of {}", row.function, row.driver.cell());
            list.hook(what, row.address, &row.module, &DriverFunction::TABLE, row.driver_address);
        }
    });
    each(tables, Scope::Machine, out, |services: &Answer<SystemService>| {
        for row in services.iter().filter(|row| list.strange(&row.module)).collect::<Vec<_>>() {
            let what = format!("system call {:#x} of {}", row.number.0, row.table);
            list.hook(what, row.function, &row.module, &SystemService::TABLE, row.address);
        }
    });
    list.publish(out);
}

pub fn of_linux(linux: &Linux, tables: &impl Tables, processes: &Answer<Process>, scope: Scope, out: &mut Sink<Finding>) {
    doubt(processes, out);
    let sockets = ask::<Socket>(tables, Scope::Machine, out);
    let files = ask::<OpenFile>(tables, Scope::Machine, out);
    let variables = ask::<Variable>(tables, Scope::Machine, out);
    let bounds = ask::<Capabilities>(tables, Scope::Machine, out);
    let sockets = by_pid(&sockets, |socket| socket.pid.value().copied());
    let files = by_pid(&files, |file| Some(file.pid));
    let variables = by_pid(&variables, |variable| Some(variable.pid));
    let bounds = by_pid(&bounds, |bounds| Some(bounds.pid));
    let mut users: HashMap<VirtAddr, Vec<&Process>> = HashMap::new();
    for process in processes.iter().filter(|process| process.exit_time.value().is_none()) {
        let credentials = own(&bounds, process).first().and_then(|bounds| bounds.credentials.value());
        credentials.into_iter().for_each(|address| users.entry(*address).or_default().push(process));
    }
    // Where the first process stands, numbers of users mean what they say.
    let home = bounds.get(&1).and_then(|bounds| bounds.first()).and_then(|bounds| bounds.user_namespace.value());

    let replaced = |process: &Process| {
        let gone = process.path.value().is_some_and(|path| path.ends_with(" (deleted)"));
        gone && process.address.value().is_some_and(|address| linux.is_replaced(*address).unwrap_or(false))
    };

    let mut list = List::new(scope, processes);
    for process in processes.iter() {
        let suspect = Suspect { process, parent: parent(processes, process), user: None, parent_user: None };
        let bounds = own(&bounds, process).first().copied();
        let same = bounds.and_then(|bounds| users.get(bounds.credentials.value()?));
        let tracer = bounds.and_then(|bounds| bounds.tracer.value());
        let held = LinuxHeld {
            variables: own(&variables, process),
            files: own(&files, process),
            sockets: own(&sockets, process),
            bounds,
            twin: same.and_then(|users| users.iter().find(|other| other.pid != process.pid)).copied(),
            tracer: tracer.and_then(|pid| processes.iter().find(|process| process.pid == *pid)),
            replaced: replaced(process),
            at_home: home.is_some() && bounds.and_then(|bounds| bounds.user_namespace.value()) == home,
        };
        let case = linux_case(&suspect, &held);
        list.process(process, case, held.sockets);
    }
    each(tables, scope, out, |regions| list.regions(regions));
    each(tables, Scope::Machine, out, |modules| list.modules(modules));
    each(tables, Scope::Machine, out, |calls: &Answer<SystemCall>| {
        for row in calls.iter() {
            if let ("hooked", Some(function)) = (row.state, row.function.value()) {
                let name = row.name.value().map(|name| format!(" ({name})")).unwrap_or_default();
                let what = format!("system call {}{name} of {}", row.index, row.table);
                list.own_table(what, *function, &row.module, &SystemCall::TABLE, row.address);
            }
        }
    });
    each(tables, Scope::Machine, out, |callbacks| list.callbacks(callbacks));
    each(tables, Scope::Machine, out, |programs| list.programs(programs));
    if !out.cancelled() {
        let files = linux.telling_files(out.watch());
        doubt(&files, out);
        list.files(&files);
    }
    each(tables, scope, out, |history| list.commands(history));
    each(tables, Scope::Machine, out, |log| list.log(log));
    list.publish(out);
}

/// What a process itself is accused of, with what it holds.
pub(super) fn windows_case(suspect: &Suspect<'_>, held: &WindowsHeld<'_>) -> Case {
    let mut case = Case::default();
    judge(suspect, &mut case);
    judge_windows(suspect, &mut case);
    judge_held(suspect, held, &mut case);
    case
}

/// What a process of Linux has, and what is known of it beside.
#[derive(Default)]
pub(super) struct LinuxHeld<'a> {
    pub variables: &'a [&'a Variable],
    pub files: &'a [&'a OpenFile],
    pub sockets: &'a [&'a Socket],
    pub bounds: Option<&'a Capabilities>,
    /// Another process with the same credentials.
    pub twin: Option<&'a Process>,
    pub tracer: Option<&'a Process>,
    /// Whether another file has the name of its deleted program.
    pub replaced: bool,
    /// Whether its capabilities count for the machine, not for a container.
    pub at_home: bool,
}

pub(super) fn linux_case(suspect: &Suspect<'_>, held: &LinuxHeld<'_>) -> Case {
    let mut case = Case::default();
    judge(suspect, &mut case);
    judge_linux(suspect, &mut case);
    if let Some(preload) = held.variables.iter().find(|variable| variable.name == "LD_PRELOAD") {
        case.add(&rules::preloaded, format!("LD_PRELOAD={}", preload.value));
    }
    // Both ends of a shell on a socket: what it reads and what it writes.
    let standard = |fd| held.files.iter().find(|file| file.fd == fd && file.kind == "socket");
    if let (true, Some(input), Some(_)) = (is_shell(suspect.process), standard(0), standard(1)) {
        let socket = held.sockets.iter().find(|socket| socket.fd == Known::Value(0));
        let to = socket.map_or_else(|| input.path.cell().to_string(), |socket| format!("{} {}", socket.protocol, far_end(socket)));
        case.add(&rules::shell_on_socket, format!("standard input and output are {to}"));
    }
    if held.sockets.iter().any(|socket| matches!(socket.protocol.as_str(), "RAW" | "PACKET")) {
        case.add(&rules::raw_packets, "has a raw or packet socket");
    }
    judge_bounds(suspect.process, held, &mut case);
    let gone = |indicator: &Indicator| std::ptr::eq(indicator.rule, &rules::deleted_program);
    if held.replaced && !case.is_empty() && case.indicators.iter().all(gone) {
        case.add(&rules::replaced_file, "there is a file of that name in the same folder, and nothing else speaks against it");
    }
    let ring = |file: &&&OpenFile| file.path.value().is_some_and(|path| path.contains("[io_uring]"));
    if let (false, Some(ring)) = (case.is_empty(), held.files.iter().find(ring)) {
        case.add(&rules::io_uring, format!("descriptor {} is an io_uring", ring.fd));
    }
    case
}

/// Whether a process may do more than it should, or is in another's hands.
fn judge_bounds(process: &Process, held: &LinuxHeld<'_>, case: &mut Case) {
    let Some(bounds) = held.bounds.filter(|_| process.kernel_thread == Known::Value(false)) else { return };
    if let Some(tracer) = held.tracer {
        case.add(&rules::traced, format!("{} {} traces it", tracer.name, tracer.pid));
    }
    match (held.twin, bounds.credentials_symbol.value()) {
        (_, Some(symbol)) if symbol == FIRST_CREDENTIALS => {
            case.add(&rules::shared_credentials, format!("its credentials are {symbol}, the kernel's own"));
        }
        (Some(twin), _) => case.add(&rules::shared_credentials, format!("shares them with {} {}", twin.name, twin.pid)),
        _ => (),
    }
    if let (Some(uid @ 1..), Some(effective), true) = (process.uid.value(), bounds.effective.value(), held.at_home) {
        let strong: Vec<_> = STRONG.iter().filter(|(bit, _)| effective.0 >> bit & 1 != 0).map(|(_, what)| *what).collect();
        if !strong.is_empty() {
            case.add(&rules::strong_capabilities, format!("runs as user {uid} with capabilities for {}", strong.join(", ")));
        }
    }
}

/// The logs of Windows Defender that are open: paths and file objects, one of each.
fn logs(handles: &Answer<Handle>) -> BTreeMap<String, VirtAddr> {
    let files = handles.iter().filter(|handle| handle.r#type.value().is_some_and(|kind| kind == "File"));
    let named = files.filter_map(|file| Some((file.name.value().filter(|name| Detections::is_log(name))?.clone(), file.object)));
    named.take(MOST_LOGS).collect()
}

/// Whether drivers are not kept in the folder of a file.
fn is_strange_folder(path: &str) -> bool {
    let path = path.to_lowercase();
    let within = |folders: &[&str]| folders.iter().any(|folder| path.contains(folder));
    path.contains('\\') && (!within(&DRIVER_FOLDERS) || within(&LOOSE_FOLDERS))
}

/// The rows of a table; None where there are none to be had. What was wrong with them is said once more here: a finding may be missing
/// for it.
fn ask<T: Record + Clone>(tables: &impl Tables, scope: Scope, out: &mut Sink<Finding>) -> Option<Answer<T>> {
    if out.cancelled() {
        return None;
    }
    match tables.table::<T>(scope, &Arc::clone(out.watch())) {
        Ok(rows) => {
            doubt(&rows, out);
            Some(rows)
        }
        Err(why) => {
            out.note(format!("{} is missing, so findings may be missing: {why}", T::TABLE.name));
            None
        }
    }
}

fn each<T: Record + Clone>(tables: &impl Tables, scope: Scope, out: &mut Sink<Finding>, judge: impl FnOnce(&Answer<T>)) {
    if let Some(rows) = ask(tables, scope, out) {
        judge(&rows);
    }
}

fn doubt<T: Record>(rows: &Answer<T>, out: &mut Sink<Finding>) {
    if rows.state() == State::Cut {
        out.note(format!("{} could not be read to the end, so findings may be missing", T::TABLE.name));
    }
}

/// Rows by process ID, so that each process finds its own at once.
fn by_pid<T: Record>(rows: &Option<Answer<T>>, pid: impl Fn(&T) -> Option<u32>) -> HashMap<u32, Vec<&T>> {
    let mut of: HashMap<u32, Vec<&T>> = HashMap::new();
    let rows = rows.iter().flat_map(Answer::iter);
    rows.filter_map(|row| Some((pid(row)?, row))).for_each(|(pid, row)| of.entry(pid).or_default().push(row));
    of
}

/// What a process has of such rows.
fn own<'a, T>(rows: &'a HashMap<u32, Vec<&'a T>>, process: &Process) -> &'a [&'a T] {
    rows.get(&process.pid).map_or(&[], Vec::as_slice)
}

/// Who started a process: of those that had the parent's ID and were there before it, the last.
fn parent<'a>(processes: &'a Answer<Process>, child: &Process) -> Option<&'a Process> {
    let (ppid, born) = (child.ppid.value()?, child.create_time.value()?);
    let older = |candidate: &&Process| {
        let there = candidate.exit_time.value().is_none_or(|end| end >= born);
        candidate.pid == *ppid
            && candidate.address != child.address
            && there
            && candidate.create_time.value().is_some_and(|start| start <= born)
    };
    processes.iter().filter(older).max_by_key(|candidate| candidate.create_time.value().copied())
}

/// Where a socket's other end is, if that is another machine.
fn remote(socket: &Socket) -> Option<IpAddr> {
    let address: IpAddr = socket.remote_address.value()?.split('%').next()?.parse().ok()?;
    let canonical = address.to_canonical();
    let connected =
        socket.remote_port.value().is_some_and(|port| *port != 0) && socket.state.value().is_some_and(|state| state != "CLOSED");
    (connected && !canonical.is_loopback() && !canonical.is_unspecified()).then_some(canonical)
}

fn far_end(socket: &Socket) -> String {
    let port = socket.remote_port.value().copied().unwrap_or_default();
    match remote(socket) {
        Some(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        Some(address) => format!("{address}:{port}"),
        None => socket.local_address.cell().to_string(),
    }
}

pub(super) struct List {
    scope: Scope,
    pub(super) findings: Vec<Finding>,
    /// Addresses of the process objects by PID, those that run before those that ended.
    objects: HashMap<u32, VirtAddr>,
    /// Names of hidden modules.
    hidden: HashSet<String>,
    /// Processes into which another may write, by their objects: one that may, in words.
    reached: HashMap<VirtAddr, String>,
}

impl List {
    pub(super) fn new(scope: Scope, processes: &Answer<Process>) -> Self {
        let mut known: Vec<_> = processes
            .iter()
            .filter_map(|process| Some((process.exit_time.value().is_none(), process.pid, *process.address.value()?)))
            .collect();
        known.sort_unstable();
        let objects = known.into_iter().map(|(_, pid, address)| (pid, address)).collect();
        Self { scope, findings: Vec::new(), objects, hidden: HashSet::new(), reached: HashMap::new() }
    }

    fn add(&mut self, kind: Subject, process: Option<(u32, &str)>, subject: String, case: Case, table: &Table, address: VirtAddr) {
        let (pid, name) = process.unzip();
        let object = pid.and_then(|pid| self.objects.get(&pid).copied());
        let admitted = match (pid, object) {
            (Some(pid), object) => self.scope.admits(pid, object.unwrap_or_default()),
            _ => self.scope == Scope::Machine,
        };
        if case.is_empty() || !admitted {
            return;
        }
        let heaviest = case.indicators.iter().max_by_key(|indicator| indicator.rule.points).map(|indicator| indicator.rule);
        let mut techniques: Vec<_> = case.indicators.iter().flat_map(|indicator| indicator.rule.techniques).copied().collect();
        techniques.sort_unstable();
        techniques.dedup();
        self.findings.push(Finding {
            score: case.score(),
            kind,
            pid: pid.into(),
            process: name.map(str::to_owned).into(),
            subject,
            next: heaviest.map_or("", |rule| rule.next),
            techniques,
            indicators: case.indicators,
            reference: Reference { table: table.name, address },
            process_address: object.into(),
            ..Finding::default()
        });
    }

    /// A process with what was found of it. Connections alone are no finding, but they add to one.
    pub(super) fn process(&mut self, process: &Process, mut case: Case, sockets: &[&Socket]) {
        let owns = |socket: &&&Socket| socket.process_address == process.address && remote(socket).is_some();
        let mut ends: Vec<_> = sockets.iter().filter(owns).map(|socket| far_end(socket)).collect();
        ends.sort_unstable();
        ends.dedup();
        if let Some(first) = ends.first() {
            let more = ends.len() - 1;
            let detail = if more == 0 { format!("connected to {first}") } else { format!("connected to {first} and {more} others") };
            if is_offline(process) {
                case.add(&rules::unusual_talk, detail);
            } else if !case.is_empty() {
                case.add(&rules::talks, detail);
            }
        }
        let what = case.indicators.iter().max_by_key(|indicator| indicator.rule.points).map(|indicator| indicator.rule.meaning);
        let subject = format!("{} {}: {}", program(process), process.pid, what.unwrap_or_default());
        let at = process.address.value().copied().unwrap_or_default();
        self.add(Subject::Process, Some((process.pid, &process.name)), subject, case, &Process::TABLE, at);
    }

    pub(super) fn regions(&mut self, regions: &Answer<Suspicious>) {
        for region in regions.iter() {
            let meaning =
                region.indicators.iter().max_by_key(|indicator| indicator.rule.points).map_or("", |indicator| indicator.rule.meaning);
            let subject = format!("{} {}, {}: {meaning}", region.process, region.pid, region.start);
            let mut case = Case { indicators: region.indicators.clone() };
            // By itself it says nothing of a region.
            if let Some(writer) = self.reached.get(&region.process_address).filter(|_| region.verdict != Verdict::LikelyBenign) {
                case.add(&rules::reached, writer.clone());
            }
            self.add(Subject::Region, Some((region.pid, &region.process)), subject, case, &Suspicious::TABLE, region.start);
        }
    }

    pub(super) fn modules(&mut self, modules: &Answer<Module>) {
        for module in modules.iter().filter(|module| module.state != "unloaded") {
            let mut case = Case::default();
            if module.state == "hidden" {
                case.add(&rules::hidden_module, format!("seen by {}, and not on the list", module.sources.join(", ").replace('_', " ")));
                self.hidden.extend(module.name.value().cloned());
            }
            if let Some(path) = module.path.value().filter(|path| is_strange_folder(path)) {
                case.add(&rules::driver_folder, format!("its file is {path}"));
            }
            let meaning = case.indicators.first().map_or("", |first| first.rule.meaning);
            let subject = format!("module {}: {meaning}", module.name.value().map_or("??", String::as_str));
            self.add(Subject::Module, None, subject, case, &Module::TABLE, module.address);
        }
    }

    /// Whether code lies in no module, or in one that is hidden.
    fn strange(&self, module: &Known<String>) -> bool {
        match module {
            Known::Value(module) => self.hidden.contains(module),
            Known::Absent => true,
            // What cannot be read accuses nobody.
            Known::Unreadable(_) => false,
        }
    }

    pub(super) fn services(&mut self, services: &Answer<Service>) {
        for service in services.iter() {
            let mut case = Case::default();
            judge_service(service, &mut case);
            let what = case.indicators.iter().max_by_key(|indicator| indicator.rule.points).map_or("", |first| first.rule.meaning);
            let subject = format!("service {}: {what}", service.name);
            self.add(Subject::Service, None, subject, case, &Service::TABLE, service.address);
        }
    }

    /// The kernel's own calls that wait for threads, and what it does to hand over those of programs.
    pub(super) fn calls(&mut self, calls: &Answer<Apc>) {
        for call in calls.iter() {
            let mut goals = vec![(&call.kernel_routine, &call.kernel_routine_module)];
            if call.mode == "kernel" {
                goals.push((&call.routine, &call.routine_module));
            }
            for (at, module) in goals {
                if let Some(at) = at.value().filter(|_| self.strange(module)) {
                    let what = format!("call queued to thread {} of {} {}", call.tid, call.process, call.pid);
                    self.hook(what, *at, module, &Apc::TABLE, call.address);
                }
            }
        }
    }

    /// Once for the machine, however many processes are older than it.
    pub(super) fn clock(&mut self, processes: &Answer<Process>) {
        let Some(system) = processes.iter().find(|process| process.pid == SYSTEM_PROCESS) else { return };
        let Some(start) = system.create_time.value() else { return };
        let early = |process: &&Process| {
            let born = process.create_time.value().map(|time| time.nanoseconds());
            process.state != ProcessState::Exited && born.is_some_and(|born| born + CLOCK_SLACK < start.nanoseconds())
        };
        let count = processes.iter().filter(early).count();
        let first = processes.iter().filter(early).min_by_key(|process| process.create_time.value().copied());
        // One alone may be damaged.
        if let Some(first) = first.filter(|_| count >= LEAST_EARLY) {
            let mut case = Case::default();
            let (name, pid, born) = (&first.name, first.pid, first.create_time.cell());
            case.add(
                &rules::clock_set,
                format!("{count} of them, the first {name} {pid} at {born}; the system began at {}", system.create_time.cell()),
            );
            let at = system.address.value().copied().unwrap_or_default();
            self.add(Subject::Process, None, rules::clock_set.meaning.to_owned(), case, &Process::TABLE, at);
        }
    }

    pub(super) fn callbacks(&mut self, callbacks: &Answer<Callback>) {
        for row in callbacks.iter() {
            let detail = row.detail.value().map(|detail| format!(" ({detail})")).unwrap_or_default();
            let what = || match row.kind {
                "inline" => format!("rewritten code of the kernel{detail}"),
                kind => format!("{} callback in {}{detail}", kind.replace('_', " "), row.list),
            };
            // Modules have entries of their own below /proc; what else they are to be called by they register.
            if matches!(row.kind, "interrupt" | "operations" | "inline") && row.list != PROC_ENTRIES {
                self.own_table(what(), row.function, &row.module, &Callback::TABLE, row.address);
            } else if self.strange(&row.module) {
                self.hook(what(), row.function, &row.module, &Callback::TABLE, row.address);
            }
        }
    }

    /// A place in a table of the kernel's own, which leads to its own functions.
    fn own_table(&mut self, what: String, target: VirtAddr, module: &Known<String>, table: &Table, at: VirtAddr) {
        match module {
            module if self.strange(module) => self.hook(what, target, module, table, at),
            Known::Value(module) if module != KERNEL => {
                let mut case = Case::default();
                case.add(&rules::diverted, format!("leads to {target}, in {module}"));
                self.add(Subject::Hook, None, format!("{what}: {}", rules::diverted.meaning), case, table, at);
            }
            _ => (),
        }
    }

    pub(super) fn programs(&mut self, programs: &Answer<BpfProgram>) {
        for program in programs.iter().filter(|program| program.overrides == Known::Value(true)) {
            let mut case = Case::default();
            let uid = program.uid.value().map(|uid| format!(", loaded by user {uid}")).unwrap_or_default();
            case.add(&rules::overriding_program, format!("program {} of type {}{uid}", program.id, program.r#type));
            let subject = format!("eBPF program {} {}: {}", program.id, program.name.cell(), rules::overriding_program.meaning);
            self.add(Subject::Hook, None, subject, case, &BpfProgram::TABLE, program.address);
        }
    }

    /// A place where the kernel calls code that it does not list.
    fn hook(&mut self, what: String, target: VirtAddr, module: &Known<String>, table: &Table, at: VirtAddr) {
        let mut case = Case::default();
        case.add(&rules::hook, format!("leads to {target}, in {}", module.value().map_or("no module", String::as_str)));
        if let Some(module) = module.value() {
            self.hooks(module, &what);
        }
        self.add(Subject::Hook, None, format!("{what}: {}", rules::hook.meaning), case, table, at);
    }

    /// Says with a hidden module what it hooks, so that nobody has to gather it.
    fn hooks(&mut self, module: &str, what: &str) {
        let begins = format!("module {module}: ");
        let of = |finding: &&mut Finding| finding.kind == Subject::Module && finding.subject.starts_with(&begins);
        let Some(finding) = self.findings.iter_mut().find(of) else { return };
        let detail = match finding.indicators.iter().filter(|indicator| indicator.rule.id == rules::hooks.id).count() {
            MOST_HOOKS.. => return,
            count if count + 1 == MOST_HOOKS => "more than these; each is a finding of its own".to_owned(),
            _ => what.to_owned(),
        };
        let mut case = Case { indicators: std::mem::take(&mut finding.indicators) };
        case.add(&rules::hooks, detail);
        finding.indicators = case.indicators;
    }

    /// Handles to processes that give power over them, held by what is no part of the system.
    pub(super) fn handles<'a>(
        &mut self,
        handles: &Answer<Handle>,
        processes: &Answer<Process>,
        user: impl Fn(&Process) -> Option<&'a str>,
    ) {
        let by_address: HashMap<VirtAddr, &Process> =
            processes.iter().filter_map(|process| Some((*process.address.value()?, process))).collect();
        for handle in handles.iter().filter(|handle| handle.r#type.value().is_some_and(|kind| kind == "Process")) {
            let (Some(target), Some(owner)) = (by_address.get(&handle.object), processes.iter().find(|process| process.pid == handle.pid))
            else {
                continue;
            };
            let child = target.ppid == Known::Value(owner.pid);
            if target.pid == owner.pid || child || is_system(owner, user(owner)) {
                continue;
            }
            let mut case = Case::default();
            let detail = format!("handle {:#x} to {} {} with access {:#x}", handle.handle.0, target.name, target.pid, handle.access.0);
            if program(target) == "lsass.exe" && handle.access.0 & VM_READ != 0 {
                case.add(&rules::reads_passwords, detail.clone());
            }
            if handle.access.0 & (VM_WRITE | CREATE_THREAD) != 0 {
                let writer = format!("{} {} holds handle {:#x} with access {:#x}", owner.name, owner.pid, handle.handle.0, handle.access.0);
                self.reached.entry(handle.object).or_insert(writer);
                case.add(&rules::writes_to_process, detail);
            }
            let subject = format!("{} {} holds {} {}", owner.name, owner.pid, target.name, target.pid);
            self.add(Subject::Handle, Some((owner.pid, &owner.name)), subject, case, &Handle::TABLE, handle.object);
        }
    }

    /// One finding for each shell, with all its commands of the kind.
    pub(super) fn commands(&mut self, history: &Answer<ShellHistory>) {
        let mut shells: Vec<(u32, &str, VirtAddr, Case)> = Vec::new();
        for entry in history.iter() {
            let held = COMMANDS.iter().find(|words| words.iter().all(|word| entry.command.contains(word)));
            if held.is_none() {
                continue;
            }
            if shells.last().is_none_or(|(pid, ..)| *pid != entry.pid) {
                shells.push((entry.pid, &entry.process, entry.address, Case::default()));
            }
            if let Some((.., case)) = shells.last_mut() {
                case.add(&rules::commands, entry.command.clone());
            }
        }
        for (pid, name, at, case) in shells {
            let count = case.indicators.len();
            let subject =
                format!("{name} {pid}: {count} {} of a kind that intruders type", if count == 1 { "command" } else { "commands" });
            self.add(Subject::Commands, Some((pid, name)), subject, case, &ShellHistory::TABLE, at);
        }
    }

    /// A file that the loader of programs obeys.
    pub(super) fn files(&mut self, files: &Answer<CachedFile>) {
        let forces = |file: &&CachedFile| {
            let there = !file.deleted && file.size.value().is_some_and(|size| *size > 0);
            there && file.path.value().is_some_and(|path| path.ends_with(PRELOADS))
        };
        for file in files.iter().filter(forces) {
            let path = file.path.cell().to_string();
            let mut case = Case::default();
            case.add(&rules::preloaded_everywhere, format!("{path} has {} bytes", file.size.cell()));
            self.add(
                Subject::File,
                None,
                format!("{path}: {}", rules::preloaded_everywhere.meaning),
                case,
                &CachedFile::TABLE,
                file.address,
            );
        }
    }

    /// What Windows Defender logged, by the log's file object.
    pub(super) fn detections(&mut self, path: &str, file: VirtAddr, found: &Detections, out: &mut Sink<Finding>) {
        const SHOWN: usize = 16;
        let mut case = Case::default();
        found.lines.iter().take(SHOWN).for_each(|line| case.add(&rules::detection, line.clone()));
        if found.unread > 0 {
            let missing = format!("{} of the {} pages of {path} are not in the image", found.unread, found.pages);
            if case.is_empty() {
                return out.note(format!("{missing}, so detections may be missing"));
            }
            case.add(&rules::not_evaluable, missing);
        }
        let subject = format!("{path}: {} lines of detections", found.lines.len());
        self.add(Subject::Log, None, subject, case, &FileObject::TABLE, file);
    }

    pub(super) fn log(&mut self, log: &Answer<LogRecord>) {
        for record in log.iter().filter(|record| UNSIGNED.iter().any(|words| record.text.contains(words))) {
            let mut case = Case::default();
            case.add(&rules::unsigned_module, record.text.clone());
            self.add(Subject::Log, None, record.text.clone(), case, &LogRecord::TABLE, VirtAddr::default());
        }
    }

    /// The gravest first, all of a process together.
    fn publish(mut self, out: &mut Sink<Finding>) {
        let mut gravest: HashMap<Option<u32>, u8> = HashMap::new();
        for finding in &self.findings {
            let most = gravest.entry(finding.pid.value().copied()).or_default();
            *most = finding.score.max(*most);
        }
        self.findings.sort_by_key(|finding| {
            let pid = finding.pid.value().copied();
            // What concerns no process stands for itself.
            let group = if pid.is_some() { gravest.get(&pid).copied().unwrap_or(finding.score) } else { finding.score };
            (std::cmp::Reverse(group), pid, std::cmp::Reverse(finding.score))
        });
        out.extend(self.findings);
    }
}
