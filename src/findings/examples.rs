//! For each rule an example that it applies to, and one as near to that as can be to which it does not.

use super::case::Case;
use super::processes::{Suspect, WindowsHeld, judge_among};
use super::ranking::{LinuxHeld, List, linux_case, windows_case};
use super::{rules, suspicious};
use crate::address::VirtAddr;
use crate::facts::drivers::Callback;
use crate::facts::linux::{BpfProgram, CachedFile, Capabilities, LogRecord, OpenFile, ShellHistory};
use crate::facts::windows::{Apc, Handle, Privilege, Program, Service};
use crate::facts::*;
use crate::linux::PROC_ENTRIES;
use crate::windows::Detections;
use std::collections::HashMap;
use std::sync::Arc;

type Ids = Vec<&'static str>;

const START: VirtAddr = VirtAddr(0x7f00_0000_0000);
const SYSTEM: Option<&str> = Some("S-1-5-18");
const MARA: Option<&str> = Some("S-1-5-21-1-2-3-1001");
const SYSTEM_32: &str = "\\Device\\HarddiskVolume3\\Windows\\System32\\";
/// push rbp; mov rbp, rsp; ...: what a compiler writes.
const FUNCTION: &[u8] = &[0x55, 0x48, 0x89, 0xe5, 0xb8, 0, 0, 0, 0, 0x5d, 0xc3];

fn answer<T: Record + Clone>(rows: impl IntoIterator<Item = T>) -> Arc<Answer<T>> {
    let mut sink = Sink::new(Arc::default());
    sink.extend(rows);
    sink.finish()
}

fn ids<'a>(indicators: impl IntoIterator<Item = &'a Indicator>) -> Ids {
    indicators.into_iter().map(|indicator| indicator.rule.id).collect()
}

fn text(text: &str) -> Known<String> {
    if text.is_empty() { Known::Absent } else { Known::Value(text.to_owned()) }
}

/// Memory that no file backs, with a page of code.
fn private(change: impl FnOnce(&mut Exhibit)) -> Ids {
    let protection = Protection { read: true, write: true, execute: true, ..Protection::default() };
    let content = vec![(START, FUNCTION.to_vec())];
    judged(Exhibit { end: START.offset(0x1fff), protection, pages: 1, content, ..Exhibit::default() }, change)
}

/// Code mapped from a file.
fn mapped(change: impl FnOnce(&mut Exhibit)) -> Ids {
    let protection = Protection { read: true, execute: true, ..Protection::default() };
    let behind = Behind::File { program: true, deleted: false, replaced: false, anonymous: false };
    judged(Exhibit { end: START.offset(0x1fff), protection, behind, file: text("/usr/bin/web"), pages: 2, ..Exhibit::default() }, change)
}

fn judged(exhibit: Exhibit, change: impl FnOnce(&mut Exhibit)) -> Ids {
    let mut exhibit = Exhibit { pid: 7, process: "web".to_owned(), start: START, ..exhibit };
    change(&mut exhibit);
    ids(suspicious::judge(exhibit).iter().flat_map(|row| &row.indicators))
}

fn way(way: Way) -> Ids {
    private(|it| it.entrances.push(Entrance { way, from: "something leads there".to_owned(), to: START }))
}

fn process(pid: u32, name: &str, path: &str, line: &str) -> Process {
    Process {
        pid,
        name: name.to_owned(),
        path: text(path),
        command_line: text(line),
        kernel_thread: Known::Value(false),
        address: Known::Value(VirtAddr(0xffff_8000_0000_0000 + u64::from(pid))),
        ..Process::default()
    }
}

fn suspect<'a>(process: &'a Process, parent: Option<&'a Process>, users: [Option<&'a str>; 2]) -> Suspect<'a> {
    Suspect { process, parent, user: users[0], parent_user: users[1] }
}

/// A program of Windows with its command line, who started it, and the users of both.
fn on_windows(path: &str, line: &str, parent: &str, users: [Option<&str>; 2]) -> Ids {
    let named = |pid, path: &str, line: &str| process(pid, path.rsplit('\\').next().unwrap(), path, line);
    let (child, parent) = (named(8, path, line), named(4, parent, ""));
    ids(&windows_case(&suspect(&child, Some(&parent), users), &WindowsHeld::default()).indicators)
}

/// A program of Windows' own, started by services.exe.
fn service(name: &str, line: &str) -> Ids {
    on_windows(&format!("{SYSTEM_32}{name}"), line, &format!("{SYSTEM_32}services.exe"), [SYSTEM, SYSTEM])
}

fn on_linux(process: &Process, change: impl FnOnce(&mut Vec<Variable>, &mut Vec<OpenFile>, &mut Vec<Socket>)) -> Ids {
    let (mut variables, mut files, mut sockets) = Default::default();
    change(&mut variables, &mut files, &mut sockets);
    let (variables, files, sockets): (Vec<_>, Vec<_>, Vec<_>) =
        (variables.iter().collect(), files.iter().collect(), sockets.iter().collect());
    holds(process, LinuxHeld { variables: &variables, files: &files, sockets: &sockets, ..LinuxHeld::default() })
}

fn holds(process: &Process, held: LinuxHeld<'_>) -> Ids {
    ids(&linux_case(&suspect(process, None, [None, None]), &held).indicators)
}

/// A program that runs as a user, with what bounds it.
fn bounded(uid: u32, bounds: Capabilities, at_home: bool) -> Ids {
    let process = Process { uid: Known::Value(uid), ..process(8, "web", "/usr/bin/web", "") };
    holds(&process, LinuxHeld { bounds: Some(&bounds), at_home, ..LinuxHeld::default() })
}

/// The same with another process beside it.
fn beside(twin: bool, tracer: bool) -> Ids {
    let (own, other) = (process(8, "web", "/usr/bin/web", ""), process(9, "other", "/usr/bin/other", ""));
    let bounds = Capabilities::default();
    holds(&own, LinuxHeld { bounds: Some(&bounds), twin: twin.then_some(&other), tracer: tracer.then_some(&other), ..LinuxHeld::default() })
}

fn cached(path: &str, size: u64) -> Ids {
    let file = CachedFile { path: text(path), size: Known::Value(size), ..CachedFile::default() };
    listed(Vec::new(), |list, _| list.files(&answer([file])))
}

/// A program whose name another file has taken.
fn updated(path: &str) -> Ids {
    holds(&process(8, "x", path, ""), LinuxHeld { replaced: true, ..LinuxHeld::default() })
}

fn program(name: &str, path: &str) -> Ids {
    on_linux(&process(8, name, path, ""), |_, _, _| ())
}

/// The findings that lists of other kinds give.
fn listed(processes: Vec<Process>, fill: impl FnOnce(&mut List, &Answer<Process>)) -> Ids {
    let processes = answer(processes);
    let mut list = List::new(Scope::Machine, &processes);
    fill(&mut list, &processes);
    ids(list.findings.iter().flat_map(|finding| &finding.indicators))
}

/// A program of Windows with a connection.
fn connected(name: &str, to: &str) -> Ids {
    let own = process(8, name, &format!("{SYSTEM_32}{name}"), "powershell -enc aQBlAHgA");
    let socket = Socket {
        process_address: own.address.clone(),
        protocol: "TCPv4".to_owned(),
        remote_address: text(to),
        remote_port: Known::Value(443),
        state: text("ESTABLISHED"),
        ..Socket::default()
    };
    let case = windows_case(&suspect(&own, None, [None, None]), &WindowsHeld::default());
    listed(vec![own.clone()], |list, _| list.process(&own, case, &[&socket]))
}

/// A program of Windows with what it holds.
fn with(held: WindowsHeld<'_>) -> Ids {
    let own = process(8, "notepad.exe", &format!("{SYSTEM_32}notepad.exe"), "");
    ids(&windows_case(&suspect(&own, None, [None, None]), &held).indicators)
}

/// What a program says it is, and what it is.
fn runs(change: impl FnOnce(&mut Program)) -> Ids {
    let base = Known::Value(START);
    let mut program = Program {
        base: base.clone(),
        told_base: base,
        mapped: Known::Value(true),
        path: text("\\Device\\HarddiskVolume3\\Windows\\System32\\notepad.exe"),
        told_path: text("C:\\Windows\\System32\\notepad.exe"),
        kernel_mapped: Known::Value(true),
        ..Program::default()
    };
    change(&mut program);
    with(WindowsHeld { program: Some(&program), ..WindowsHeld::default() })
}

fn library(listed: bool, mapped_file: Known<String>) -> Ids {
    let listed = Known::Value(listed);
    let library = Library { in_load: listed.clone(), in_init: listed.clone(), in_memory: listed, mapped_file, ..Library::default() };
    with(WindowsHeld { libraries: &[&library], ..WindowsHeld::default() })
}

/// A thread that began at LoadLibraryW, and a library that was loaded so many seconds later.
fn loads(path: &str, after: i64) -> Ids {
    let thread = Thread {
        win32_start_module: text(&format!("{SYSTEM_32}kernel32.dll")),
        win32_start_symbol: text("LoadLibraryW"),
        create_time: Time::from_seconds(1_000_000).into(),
        ..Thread::default()
    };
    let library = Library { path: text(path), load_time: Time::from_seconds(1_000_000 + after).into(), ..Library::default() };
    with(WindowsHeld { threads: &[&thread], libraries: &[&library], ..WindowsHeld::default() })
}

/// notepad.exe with a thread that began in a file of the system's folder.
fn began(file: &str) -> Ids {
    let module = text(&format!("{SYSTEM_32}{file}"));
    let thread = Thread { win32_start_module: module, ..Thread::default() };
    let program = Program { mapped_file: text(&format!("{SYSTEM_32}Notepad.exe")), ..Program::default() };
    with(WindowsHeld { threads: &[&thread], program: Some(&program), ..WindowsHeld::default() })
}

/// A program of a user of which a thread acts as SYSTEM.
fn acts(user: Option<&str>) -> Ids {
    let own = process(8, "notepad.exe", &format!("{SYSTEM_32}notepad.exe"), "");
    let thread = Thread { impersonates: text("S-1-5-18"), ..Thread::default() };
    ids(&windows_case(&suspect(&own, None, [user, None]), &WindowsHeld { threads: &[&thread], ..WindowsHeld::default() }).indicators)
}

fn stopped(breakpoints: &[VirtAddr]) -> Ids {
    let thread = Thread { breakpoints: breakpoints.to_vec(), ..Thread::default() };
    with(WindowsHeld { threads: &[&thread], ..WindowsHeld::default() })
}

/// A library with another name than its file has.
fn named(name: &str) -> Ids {
    let mapped_file = text("\\Device\\HarddiskVolume3\\Windows\\System32\\kernel32.dll");
    let path = format!("C:\\Windows\\System32\\{name}");
    let library = Library { in_load: Known::Value(true), mapped_file, path: text(&path), name: text(name), ..Library::default() };
    with(WindowsHeld { libraries: &[&library], ..WindowsHeld::default() })
}

fn privilege(enabled: bool, present: bool) -> Ids {
    with(WindowsHeld { privileges: &[&Privilege { enabled, present, ..Privilege::default() }], ..WindowsHeld::default() })
}

fn serves(line: &str) -> Ids {
    listed_service(Service { binary: text(line), ..Service::default() })
}

fn listed_service(service: Service) -> Ids {
    listed(Vec::new(), |list, _| list.services(&answer([service])))
}

fn detected(lines: &[&str], unread: u64) -> Ids {
    let found = Detections { lines: lines.iter().map(|line| (*line).to_owned()).collect(), pages: 2, unread };
    listed(Vec::new(), |list, _| list.detections("MPLog-1.log", START, &found, &mut Sink::new(Arc::default())))
}

fn call(function: &str) -> Ids {
    let call = Apc { routine_symbol: text(function), context: Known::Value(Hex(START.0)), ..Apc::default() };
    with(WindowsHeld { calls: &[&call], ..WindowsHeld::default() })
}

/// The second of two programs of Windows, each with its session.
fn among(first: (&str, u32), second: (&str, u32)) -> Ids {
    let named = |pid: u32, (name, session): (&str, u32)| Process {
        session: Known::Value(session),
        create_time: Time::from_seconds(pid.into()).into(),
        ..process(pid, name, &format!("{SYSTEM_32}{name}"), "")
    };
    let (first, second) = (named(8, first), named(12, second));
    let mut case = Case::default();
    judge_among(&second.clone(), &answer([first, second]), &mut case);
    ids(&case.indicators)
}

/// A machine whose first programs began so many seconds after the system.
fn started(after: i64) -> Ids {
    let at = |pid, seconds| Process { create_time: Time::from_seconds(seconds).into(), ..process(pid, "smss.exe", "", "") };
    listed(vec![at(4, 1_000_000), at(8, 1_000_000 + after), at(12, 1_000_000 + after), at(16, 1_000_000 + after)], |list, processes| {
        list.clock(processes)
    })
}

fn driver(path: &str) -> Ids {
    let module = Module { state: "loaded", path: text(path), ..Module::default() };
    listed(Vec::new(), |list, _| list.modules(&answer([module])))
}

fn holding(target: &str, access: u64, owner: Option<&str>) -> Ids {
    let target = process(676, target, &format!("{SYSTEM_32}{target}"), "");
    let handle =
        Handle { pid: 8, r#type: text("Process"), object: *target.address.value().unwrap(), access: Hex(access), ..Handle::default() };
    let holder = process(8, "tool.exe", &format!("{SYSTEM_32}tool.exe"), "");
    listed(vec![holder, target], |list, processes| list.handles(&answer([handle]), processes, |_| owner))
}

/// Code without a file in a process that another may write into, and how grave it is.
fn reached(verdict: Verdict) -> Ids {
    let (holder, target) = (process(8, "tool.exe", "\\Users\\mara\\tool.exe", ""), process(12, "notepad.exe", "", ""));
    let object = *target.address.value().unwrap();
    let handle = Handle { pid: 8, r#type: text("Process"), object, access: Hex(0x28), ..Handle::default() };
    let region = Suspicious {
        pid: 12,
        process_address: object,
        verdict,
        indicators: vec![Indicator { rule: &rules::private_executable, detail: String::new() }],
        ..Suspicious::default()
    };
    listed(vec![holder, target], |list, processes| {
        list.handles(&answer([handle]), processes, |_| MARA);
        list.regions(&answer([region]));
    })
}

fn kernel(state: &'static str, callback_in: Known<String>) -> Ids {
    listed(Vec::new(), |list, _| {
        list.modules(&answer([Module { name: Known::Value("phantom".to_owned()), state, ..Module::default() }]));
        list.callbacks(&answer([Callback { kind: "kprobe", module: callback_in, ..Callback::default() }]));
    })
}

/// A place in a list that leads into a module which hides nothing.
fn table(kind: &'static str, list: &'static str, module: &str) -> Ids {
    listed(Vec::new(), |found, _| found.callbacks(&answer([Callback { kind, list, module: text(module), ..Callback::default() }])))
}

fn loaded(overrides: Known<bool>) -> Ids {
    listed(Vec::new(), |list, _| list.programs(&answer([BpfProgram { overrides, ..BpfProgram::default() }])))
}

fn typed(command: &str) -> Ids {
    listed(Vec::new(), |list, _| list.commands(&answer([ShellHistory { command: command.to_owned(), ..ShellHistory::default() }])))
}

fn logged(record: &str) -> Ids {
    listed(Vec::new(), |list, _| list.log(&answer([LogRecord { text: record.to_owned(), ..LogRecord::default() }])))
}

/// Rule, what it applies to, what it does not.
fn examples() -> Vec<(&'static Rule, Ids, Ids)> {
    let page = |content: &[u8]| private(|it| it.content = vec![(START, content.to_vec())]);
    let engine = |path: &str| private(|it| it.images = [path.to_owned()].into());
    let map = || ("/tmp/perf-7.map".to_owned(), 3);
    let running = |path: &str| {
        private(|it| {
            it.images = [path.to_owned()].into();
            it.entrances.push(Entrance { way: Way::Stand, from: "thread 9 was in it".to_owned(), to: START });
        })
    };
    let change = Change { at: START, was: vec![0x48], is: vec![0xe9], ..Change::default() };
    let patched = |name: &str, is: &[u8]| {
        let function = Some((name.to_owned(), 0));
        mapped(|it| it.changes.push(Change { at: START, was: vec![0x4c; is.len()], is: is.to_vec(), function, ..Change::default() }))
    };
    let hooked = |file: &str| {
        let detour = Some(Detour { to: START, file: text(file) });
        mapped(|it| it.changes.push(Change { at: START, was: vec![0x48], is: vec![0xe9], detour, ..Change::default() }))
    };
    let entropy = |bits| private(|it| it.entropy = Some((bits, START)));
    let nops = [vec![0x90; 16], vec![0x48, 0x31, 0xf6, 0x0f, 0x05]].concat();
    let deleted = |deleted, anonymous| mapped(|it| it.behind = Behind::File { program: true, deleted, replaced: false, anonymous });
    let replaced = |changes: &[Change]| {
        mapped(|it| {
            it.behind = Behind::File { program: true, deleted: true, replaced: true, anonymous: false };
            it.changes.extend_from_slice(changes);
        })
    };
    let debugged = |debugger: Option<&str>| {
        mapped(|it| {
            it.changes.push(Change { is: vec![0xcc], ..change.clone() });
            it.debugger = debugger.map(str::to_owned);
        })
    };
    let hidden = |state| {
        let process = Process { state, ..process(8, "x", "/usr/bin/x", "") };
        holds(&process, LinuxHeld::default())
    };
    let child = |parent: &str| on_windows(&format!("{SYSTEM_32}cmd.exe"), "cmd.exe /c dir", parent, [MARA, MARA]);
    let services = format!("{SYSTEM_32}services.exe");
    let scvhost = |path: &str| on_windows(path, "x -k netsvcs", &services, [SYSTEM, SYSTEM]);
    let debug = |enabled| {
        let process = process(8, "notepad.exe", "\\Program Files\\Editor\\notepad.exe", "");
        let held = Privilege { name: "SeDebugPrivilege".to_owned(), enabled, ..Privilege::default() };
        ids(&windows_case(&suspect(&process, None, [MARA, None]), &WindowsHeld { privileges: &[&held], ..WindowsHeld::default() })
            .indicators)
    };
    let bash = process(8, "bash", "/usr/bin/bash", "-bash");
    let variable = |name: &str| {
        let preload = Variable { name: name.to_owned(), value: "/tmp/x.so".to_owned(), ..Variable::default() };
        on_linux(&bash, |variables, _, _| variables.push(preload))
    };
    let standard = |kind| on_linux(&bash, |_, files, _| files.extend([0, 1].map(|fd| OpenFile { fd, kind, ..OpenFile::default() })));
    let socket =
        |protocol: &str| on_linux(&bash, |_, _, sockets| sockets.push(Socket { protocol: protocol.to_owned(), ..Socket::default() }));
    let worker = |kernel_thread| {
        let process = Process { kernel_thread: Known::Value(kernel_thread), ..process(8, "kworker/0:1", "/usr/bin/miner", "") };
        on_linux(&process, |_, _, _| ())
    };
    let strong = Capabilities { effective: Known::Value(Hex(1 << 21)), ..Capabilities::default() };
    let ring = |path: &str| {
        let ring = OpenFile { path: text("anon_inode:[io_uring]"), ..OpenFile::default() };
        on_linux(&process(8, "x", path, ""), |_, files, _| files.push(ring))
    };
    let alike = |copies: u64| {
        mapped(|it| {
            it.copies = (0..copies).map(|page| START.offset(page * 0x1000)).collect();
            it.alike.push((START, vec![8, 12]));
        })
    };
    let unlinked = |state| listed_service(Service { listed: Known::Value(false), state, sources: vec!["handle"], ..Service::default() });
    let peers = |other| suspicious::tests::among_peers(3, Scope::Machine, other).concat();
    vec![
        (&rules::private_executable, private(|_| ()), mapped(|_| ())),
        (&rules::made_executable, private(|it| it.protection.execute = false), private(|_| ())),
        (&rules::no_content, private(|it| it.content.clear()), private(|it| (it.content, it.unread) = (Vec::new(), 1))),
        (&rules::engine, engine("/usr/lib/jvm/lib/server/libjvm.so"), engine("/tmp/libjvm.so")),
        (
            &rules::perf_map,
            private(|it| it.listed = Some(map())),
            private(|it| (it.listed, it.content) = (Some(map()), vec![(START, b"\x7fELF\x02\x01".to_vec())])),
        ),
        (&rules::peers, peers(None), peers(Some(1))),
        (&rules::reached, reached(Verdict::Suspicious), reached(Verdict::LikelyBenign)),
        (&rules::elf_header, page(b"\x7fELF\x02\x01"), page(b"\x7eELF\x02\x01")),
        (&rules::pe_header, page(b"MZ\x90\0"), page(b"ZM\x90\0")),
        (&rules::first_page_empty, private(|it| it.content[0].0 = START.offset(0x1000)), private(|_| ())),
        (&rules::shellcode, page(&nops), page(&nops[8..16])),
        (&rules::writable_code, mapped(|it| it.protection.write = true), mapped(|_| ())),
        (&rules::rewritten_code, mapped(|it| it.changes.push(change.clone())), mapped(|it| it.copies.push(START))),
        (&rules::private_code_pages, mapped(|it| it.copies.push(START)), mapped(|_| ())),
        (&rules::same_copies, alike(1), alike(2)),
        (&rules::shared_pages, mapped(|it| it.flat = Some(0x200)), mapped(|_| ())),
        (&rules::wrong_size, mapped(|it| it.claimed = Some(0x1000_0000)), mapped(|_| ())),
        (&rules::probed, mapped(|it| it.probed.push(START)), mapped(|it| it.copies.push(START))),
        (&rules::restored, mapped(|it| it.restored.push(START)), mapped(|it| it.copies.push(START))),
        (&rules::relocated, mapped(|it| it.relocated.push(START)), mapped(|it| it.copies.push(START))),
        (&rules::debugger, debugged(Some("process 9")), debugged(None)),
        (&rules::thread_start, private(|it| it.threads.push((9, START))), private(|_| ())),
        (&rules::queued_call, way(Way::Apc), way(Way::Import)),
        (&rules::import_hook, way(Way::Import), way(Way::Detour)),
        (&rules::stands_in_it, running("/tmp/libjvm.so"), running("/usr/lib/jvm/lib/server/libjvm.so")),
        (&rules::returns_to_it, way(Way::Return), way(Way::Import)),
        (&rules::direct_system_call, private(|it| it.system_calls.push((START, 0x18))), private(|_| ())),
        (&rules::even_bytes, entropy(7.9), entropy(6.2)),
        (&rules::silenced, patched("EtwEventWrite", &[0x33, 0xc0, 0xc3]), patched("NtClose", &[0x33, 0xc0, 0xc3])),
        (&rules::installed_hook, hooked("\\Program Files\\Guard\\hook.dll"), hooked("\\Users\\Public\\hook.dll")),
        (&rules::header_rewritten, mapped(|it| it.header = Some(change.clone())), mapped(|it| it.changes.push(change.clone()))),
        (&rules::data_executable, mapped(|it| it.data_code = Some((START, ".data".to_owned(), 1))), mapped(|_| ())),
        (&rules::mapped_executable, mapped(|it| it.as_data = true), mapped(|_| ())),
        (&rules::unlisted_image, mapped(|it| it.unlisted = true), mapped(|_| ())),
        (&rules::detour, way(Way::Detour), way(Way::Apc)),
        (&rules::no_file, mapped(|it| it.behind = Behind::Nowhere), mapped(|_| ())),
        (&rules::memfd_executable, deleted(true, true), deleted(true, false)),
        (&rules::deleted_file, deleted(true, false), deleted(false, false)),
        (&rules::replaced_file, replaced(&[]), replaced(std::slice::from_ref(&change))),
        (&rules::not_evaluable, private(|it| it.unread = 1), private(|_| ())),
        (&rules::hidden_process, hidden(ProcessState::Hidden), hidden(ProcessState::Running)),
        (&rules::nameless, program(" ", ""), program("x", "")),
        (&rules::lookalike, scvhost("\\ProgramData\\scvhost.exe"), scvhost("\\ProgramData\\hostsvc.exe")),
        (&rules::wrong_path, scvhost("\\ProgramData\\svchost.exe"), service("svchost.exe", "svchost.exe -k x")),
        (&rules::wrong_parent, service("taskhostw.exe", ""), service("taskhost.exe", "")),
        (&rules::wrong_user, on_windows(&services, "", "", [MARA, None]), on_windows(&services, "", "", [SYSTEM, None])),
        (
            &rules::stolen_token,
            on_windows(&services, "", "\\x.exe", [SYSTEM, MARA]),
            on_windows(&services, "", "\\x.exe", [SYSTEM, SYSTEM]),
        ),
        (&rules::debug_privilege, debug(true), debug(false)),
        (&rules::wrong_session, among(("wininit.exe", 0), ("lsass.exe", 1)), among(("wininit.exe", 2), ("lsass.exe", 2))),
        (&rules::runs_twice, among(("lsass.exe", 0), ("lsass.exe", 0)), among(("csrss.exe", 0), ("csrss.exe", 1))),
        (&rules::moved_program, runs(|it| it.told_base = Known::Value(START.offset(0x1000))), runs(|it| it.told_base = Known::Absent)),
        (&rules::unmapped_program, runs(|it| it.mapped = Known::Value(false)), runs(|it| it.mapped = Known::Absent)),
        (
            &rules::masked_path,
            runs(|it| it.told_path = text("C:\\Windows\\explorer.exe")),
            runs(|it| it.told_path = text("\\SystemRoot\\System32\\NOTEPAD.EXE")),
        ),
        (&rules::written_program, runs(|it| it.written = Known::Value(true)), runs(|it| it.written = Known::Value(false))),
        (&rules::replaced_program, runs(|it| it.replaced = Known::Value(true)), runs(|it| it.replaced = Known::Absent)),
        (
            &rules::no_page_tables,
            runs(|it| it.kernel_mapped = Known::Value(false)),
            runs(|it| it.kernel_mapped = Known::Unreadable(ReadError::File(0))),
        ),
        (&rules::missing_image, library(true, Known::Absent), library(true, Known::Unreadable(ReadError::File(0)))),
        (&rules::other_image, named("evil.dll"), named("Kernel32.DLL")),
        (&rules::no_loader, library(false, text("x.dll")), library(true, text("x.dll"))),
        (&rules::library_call, call("LoadLibraryW"), call("Sleep")),
        (&rules::library_thread, loads("\\Users\\mara\\x.dll", 1), loads("\\Windows\\System32\\x.dll", 1)),
        (&rules::foreign_thread, began("other.exe"), began("notepad.exe")),
        (&rules::impersonates_system, acts(MARA), acts(Some("S-1-5-20"))),
        (&rules::breakpoint, stopped(&[START]), stopped(&[])),
        (&rules::clock_set, started(-3600), started(-2)),
        (&rules::driver_folder, driver("\\??\\C:\\ProgramData\\x.sys"), driver("\\SystemRoot\\System32\\drivers\\x.sys")),
        (&rules::forged_privilege, privilege(true, false), privilege(false, true)),
        (&rules::document_child, child("\\Program Files\\Office\\WINWORD.EXE"), child("\\Windows\\explorer.exe")),
        (&rules::server_child, child("\\Windows\\System32\\inetsrv\\w3wp.exe"), child("\\Windows\\explorer.exe")),
        (&rules::script, service("cmd.exe", "powershell -enc aQBlAHgA"), service("cmd.exe", "powershell Get-Date")),
        (&rules::no_arguments, service("svchost.exe", "svchost.exe"), service("svchost.exe", "svchost.exe -k x")),
        (&rules::credentials, service("cmd.exe", "procdump -ma lsass.exe"), service("cmd.exe", "procdump -ma notepad.exe")),
        (&rules::service_command, serves("%COMSPEC% /c start x"), serves("C:\\Windows\\system32\\svchost.exe -k netsvcs")),
        (&rules::hidden_service, unlinked("SERVICE_RUNNING"), unlinked("SERVICE_STOPPED")),
        (&rules::detection, detected(&["2024-05-14T06:58:21.000Z DETECTIONEVENT Trojan:Win32/X"], 1), detected(&[], 1)),
        (&rules::remote_service, service("PSEXESVC.exe", ""), service("spoolsv.exe", "")),
        (&rules::temporary_program, program("x", "/dev/shm/x"), program("x", "/usr/bin/x")),
        (&rules::kernel_lookalike, worker(false), worker(true)),
        (&rules::masked_name, program("sshd", "/opt/miner"), program("sshd", "/usr/sbin/sshd-session (deleted)")),
        (&rules::deleted_program, program("x", "/usr/bin/x (deleted)"), program("x", "/usr/bin/x")),
        (&rules::replaced_file, updated("/usr/bin/x (deleted)"), updated("/tmp/x (deleted)")),
        (&rules::memfd_program, program("x", "/memfd:x (deleted)"), program("x", "/usr/bin/x (deleted)")),
        (&rules::preloaded, variable("LD_PRELOAD"), variable("LD_LIBRARY_PATH")),
        (&rules::preloaded_everywhere, cached("/etc/ld.so.preload", 20), cached("/etc/ld.so.preload", 0)),
        (&rules::traced, beside(false, true), beside(false, false)),
        (&rules::shared_credentials, beside(true, false), beside(false, true)),
        (&rules::strong_capabilities, bounded(33, strong.clone(), true), bounded(33, strong, false)),
        (&rules::io_uring, ring("/tmp/x"), ring("/usr/bin/x")),
        (&rules::shell_on_socket, standard("socket"), standard("pipe")),
        (&rules::raw_packets, socket("PACKET"), socket("TCPv4")),
        (&rules::talks, connected("powershell.exe", "203.0.113.7"), connected("powershell.exe", "127.0.0.1")),
        (&rules::unusual_talk, connected("notepad.exe", "203.0.113.7"), connected("powershell.exe", "203.0.113.7")),
        (&rules::reads_passwords, holding("lsass.exe", 0x10, MARA), holding("lsass.exe", 0x10, SYSTEM)),
        (&rules::writes_to_process, holding("notepad.exe", 0x20, MARA), holding("notepad.exe", 0x10, MARA)),
        (&rules::hidden_module, kernel("hidden", Known::Value("kernel".to_owned())), kernel("loaded", Known::Value("phantom".to_owned()))),
        (&rules::hooks, kernel("hidden", Known::Value("phantom".to_owned())), kernel("hidden", Known::Value("kernel".to_owned()))),
        (&rules::hook, kernel("hidden", Known::Value("phantom".to_owned())), kernel("hidden", Known::Unreadable(ReadError::File(0)))),
        (&rules::diverted, table("operations", "tcp4_seq_ops", "nfs"), table("operations", PROC_ENTRIES, "nfs")),
        (&rules::diverted, table("inline", "_text", "nfs"), table("static_call", "_text", "kvm")),
        (&rules::overriding_program, loaded(Known::Value(true)), loaded(Known::Value(false))),
        (&rules::unsigned_module, logged("x: loading out-of-tree module taints kernel."), logged("x: loaded")),
        (&rules::commands, typed("insmod /tmp/x.ko"), typed("lsmod")),
    ]
}

#[test]
fn each_rule_applies_where_it_must_and_nowhere_else() {
    let mut examples: HashMap<_, _> = examples().into_iter().map(|(rule, fires, silent)| (rule.id, (fires, silent))).collect();
    for rule in rules::ALL {
        let (fires, silent) = examples.remove(rule.id).unwrap_or_else(|| panic!("{} has no example", rule.id));
        assert!(fires.contains(&rule.id), "{} does not apply: {fires:?}", rule.id);
        assert!(!silent.contains(&rule.id), "{} applies where it must not: {silent:?}", rule.id);
    }
    assert!(!loads("\\Users\\mara\\x.dll", -1).contains(&"library_thread"), "loaded before the thread began");
    assert!(kernel("loaded", Known::Absent).contains(&"hook"), "code of no module is a hook too");
    assert_eq!(table("kprobe", "kprobe_table", "nfs"), Ids::new(), "what a module registers is no hook");
    assert_eq!(table("interrupt", "idt_table", "kernel"), Ids::new());
}
