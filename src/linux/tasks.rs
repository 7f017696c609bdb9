//! Task structures: the list that the system shows, the other roads to them, and what a scan of memory finds beside.

use super::Linux;
use crate::address::VirtAddr;
use crate::facts::{self, Known, Process, ProcessState, ReadError, Scope, Sink, Thread, Time, TreeProcess, Watch};
use crate::image::Chunk;
use crate::symbols::Object;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

/// Ways to find a task; the order is that of the `sources` column.
const SOURCES: [&str; 4] = ["task_list", "pid_hash", "thread_group", "scan"];
const TASK_LIST: usize = 0;
const PID_HASH: usize = 1;
const THREAD_GROUP: usize = 2;
const SCAN: usize = 3;

/// PIDs end at 2^22 (include/linux/threads.h, PID_MAX_LIMIT).
const MOST_PIDS: u64 = 1 << 22;
/// task_struct.exit_state and __state bits (include/linux/sched.h); fs/proc shows them to users.
const EXIT_DEAD: u64 = 0x10;
const EXIT_ZOMBIE: u64 = 0x20;
const TASK_DEAD: u64 = 0x80;
/// What a link holds once its entry was taken from a list (include/linux/poison.h, with x86-64's POISON_POINTER_DELTA).
const LIST_POISON: std::ops::Range<u64> = 0xdead_0000_0000_0100..0xdead_0000_0000_0200;
/// task_struct.flags (include/linux/sched.h).
const PF_WQ_WORKER: u64 = 0x20;
const PF_KTHREAD: u64 = 0x0020_0000;

/// A process object: the leader of a thread group.
#[derive(Clone, Debug)]
pub struct Member {
    pub address: VirtAddr,
    pub pid: u32,
    pub name: String,
    pub state: ProcessState,
    found_by: [bool; 4],
}

/// The processes of the machine, in the order of their PIDs.
#[derive(Debug, Default)]
pub struct Roster {
    pub members: Vec<Member>,
    /// What kept a method from working.
    pub notes: Vec<String>,
}

/// A task as the rest of this module tree uses it.
#[derive(Clone)]
pub struct Task<'a> {
    pub object: Object<'a>,
    pub pid: u32,
    pub name: String,
}

impl Linux {
    fn task(&self, address: VirtAddr) -> Result<Object<'_>, ReadError> {
        self.context().object("task_struct", address)
    }

    /// Processes by the roads that the kernel itself keeps: fast, whatever the size of the image.
    fn listed(&self) -> &Roster {
        self.listed.get_or_init(|| self.enumerate(None, &Watch::default()))
    }

    /// Processes by every road, the scan of physical memory included. A cancelled scan is not kept.
    fn roster(&self, watch: &Watch) -> Arc<Roster> {
        self.roster.or_search(watch, || {
            let (found, unread) = self.scan(watch);
            let mut roster = self.enumerate(Some(&found), watch);
            if unread > 0 {
                roster.notes.push(format!("{unread} bytes of the image could not be read; tasks in them cannot be found by the scan"));
            }
            roster
        })
    }

    /// The processes that a query is about. One process object is taken at its word; the machine means all, hidden ones too.
    pub(super) fn tasks(&self, scope: Scope, watch: &Watch) -> Vec<Task<'_>> {
        let wanted = |member: &&Member| scope.admits(member.pid, member.address) && member.state != ProcessState::Exited;
        let make = |member: &Member| {
            let object = self.task(member.address).ok()?;
            Some(Task { object, pid: member.pid, name: member.name.clone() })
        };
        if let Scope::Process(address) = scope
            && let Some(member) = self.listed().members.iter().find(|member| member.address == address)
        {
            return make(member).into_iter().collect();
        }
        self.roster(watch).members.iter().filter(wanted).filter_map(make).collect()
    }

    fn enumerate(&self, scanned: Option<&[VirtAddr]>, watch: &Watch) -> Roster {
        let mut roster = Roster::default();
        let mut found: HashMap<VirtAddr, [bool; 4]> = HashMap::new();
        let mut mark = |address: VirtAddr, source: usize| found.entry(address).or_default()[source] = true;

        let mut broken = false;
        match self.task_list() {
            (listed, None) => listed.into_iter().for_each(|address| mark(address, TASK_LIST)),
            (listed, Some(why)) => {
                listed.into_iter().for_each(|address| mark(address, TASK_LIST));
                broken = true;
                roster.notes.push(format!("the task list is broken: {why}; nobody is called hidden for being missing from its pieces"));
            }
        }
        match self.pid_table() {
            Ok(tasks) => tasks.into_iter().for_each(|address| mark(address, PID_HASH)),
            Err(why) => roster.notes.push(format!("the PID table could not be read: {why}")),
        }
        for address in scanned.into_iter().flatten() {
            mark(*address, SCAN);
        }
        // Leaders of the groups that the threads found so far belong to, and parents and children of all of them.
        let mut waiting: Vec<VirtAddr> = found.keys().copied().collect();
        while let Some(address) = waiting.pop() {
            if watch.cancelled() || found.len() as u64 > MOST_PIDS {
                break;
            }
            let Ok(task) = self.task(address) else { continue };
            if !self.alive(&task) {
                continue;
            }
            for relative in self.relatives(&task) {
                let known = found.contains_key(&relative);
                if self.task(relative).is_ok_and(|task| self.plausible(&task)) {
                    found.entry(relative).or_default()[THREAD_GROUP] = true;
                    if !known {
                        waiting.push(relative);
                    }
                }
            }
        }
        roster.members = found.into_iter().filter_map(|(address, found_by)| self.member(address, found_by)).collect();
        if broken {
            let hidden = roster.members.iter_mut().filter(|member| member.state == ProcessState::Hidden);
            let doubtful = hidden.filter(|member| !self.taken_off(member.address).unwrap_or(false));
            doubtful.for_each(|member| member.state = ProcessState::Running);
        }
        roster.members.sort_by_key(|member| (member.pid, member.state == ProcessState::Exited, member.address));
        roster
    }

    /// A leader that holds together as a process; threads and idle tasks are not members.
    fn member(&self, address: VirtAddr, found_by: [bool; 4]) -> Option<Member> {
        let task = self.task(address).ok()?;
        let (pid, tgid) = (task.u32("pid").ok()?, task.u32("tgid").ok()?);
        if pid == 0 || pid != tgid {
            return None;
        }
        let listed = found_by[TASK_LIST] || found_by[PID_HASH];
        if !listed && !self.plausible(&task) {
            return None;
        }
        let exit_state = task.uint("exit_state").ok()?;
        let state = if exit_state & EXIT_DEAD != 0 || (exit_state == 0 && state_bits(&task).is_ok_and(|bits| bits & TASK_DEAD != 0)) {
            ProcessState::Exited
        } else if exit_state & EXIT_ZOMBIE != 0 {
            ProcessState::Zombie
        } else if !found_by[TASK_LIST] {
            // Alive means more than plausible bytes: the group must know it as its leader.
            if !found_by[PID_HASH] && !self.leads_its_group(&task) {
                return None;
            }
            ProcessState::Hidden
        } else {
            ProcessState::Running
        };
        Some(Member { address, pid, name: self.name(&task).ok()?, state, found_by })
    }

    /// init_task's list. What could be walked, and what broke the walk, if anything.
    fn task_list(&self) -> (Vec<VirtAddr>, Option<ReadError>) {
        let walk = || self.context().global("init_task", "task_struct")?.list("tasks", "task_struct", "tasks");
        let mut tasks = Vec::new();
        match walk() {
            Err(why) => return (tasks, Some(why)),
            Ok(list) => {
                for step in list {
                    match step {
                        Ok(task) => tasks.push(task.address),
                        Err(why) => {
                            tasks.extend(self.backwards());
                            return (tasks, Some(why));
                        }
                    }
                }
            }
        }
        (tasks, None)
    }

    /// Whether a task that is missing from a broken list was taken off it: its neighbours are sound and point past it, or it has none.
    fn taken_off(&self, address: VirtAddr) -> Result<bool, ReadError> {
        let context = self.context();
        let links = self.task(address)?.inner("tasks")?;
        let (next, previous) = (links.pointer("next")?, links.pointer("prev")?);
        if next == links.address || LIST_POISON.contains(&next.0) || LIST_POISON.contains(&previous.0) {
            return Ok(true);
        }
        let (back, forth) = (context.object("list_head", next)?.pointer("prev")?, context.object("list_head", previous)?.pointer("next")?);
        let first = context.symbol("init_task")?;
        let sound = |link: VirtAddr| -> Result<bool, ReadError> {
            let task = context.container("task_struct", "tasks", link)?;
            Ok(task.address == first || self.plausible(&task))
        };
        let own = links.address;
        Ok(back != own && forth != own && sound(next)? && sound(previous)? && sound(back)? && sound(forth)?)
    }

    /// The same list from its end: what a torn forward link hides.
    fn backwards(&self) -> Vec<VirtAddr> {
        let mut tasks = Vec::new();
        let mut seen = HashSet::new();
        let Ok(first) = self.context().global("init_task", "task_struct") else { return tasks };
        let mut entry = first.inner("tasks");
        while let Ok(link) = entry.as_ref().map_err(|why| *why).and_then(|entry| entry.pointer("prev")) {
            let Ok(task) = self.context().container("task_struct", "tasks", link) else { break };
            if task.address == first.address || !seen.insert(task.address) {
                break;
            }
            tasks.push(task.address);
            entry = task.inner("tasks");
        }
        tasks
    }

    /// Tasks of the initial PID namespace's table: an IDR since 4.15, a hash table of struct upid before.
    fn pid_table(&self) -> Result<Vec<VirtAddr>, ReadError> {
        let context = self.context();
        let namespace = context.global("init_pid_ns", "pid_namespace")?;
        let pids = if namespace.has("idr") {
            super::xarray::entries(&namespace.inner("idr")?.inner("idr_rt")?, MOST_PIDS as usize)?
        } else {
            self.pid_hash()?
        };
        let mut tasks = Vec::new();
        for pid in pids {
            let Ok(pid) = context.object("pid", pid) else { continue };
            let Ok(first) = pid.at("tasks").and_then(|heads| context.space.pointer(heads)) else { continue };
            if first.is_null() {
                continue;
            }
            // The link lies in pid_links[PIDTYPE_PID], before 4.19 in pids[PIDTYPE_PID].node: the first element either way.
            let member = if context.profile.has("task_struct", "pid_links") { "pid_links" } else { "pids" };
            if let Ok(task) = context.container("task_struct", member, first) {
                tasks.push(task.address);
            }
        }
        Ok(tasks)
    }

    fn pid_hash(&self) -> Result<Vec<VirtAddr>, ReadError> {
        let context = self.context();
        let table = context.space.pointer(context.symbol("pid_hash")?)?;
        let bits = context.space.uint(context.symbol("pidhash_shift")?, 4)?.min(16);
        let (chain, numbers) = (context.profile.layout("upid")?.offset("pid_chain")?, context.profile.layout("pid")?.offset("numbers")?);
        let (mut pids, mut met) = (Vec::new(), HashSet::new());
        for bucket in 0..1u64 << bits {
            let mut node = context.space.pointer(table.offset(bucket * 8))?;
            // A number has one place in the table: many chains may lead into one circle.
            while !node.is_null() && met.len() < MOST_PIDS as usize && met.insert(node) {
                pids.push(VirtAddr(node.0.wrapping_sub(chain + numbers)));
                let Ok(next) = context.space.pointer(node) else { break };
                node = next;
            }
        }
        Ok(pids)
    }

    fn relatives(&self, task: &Object<'_>) -> Vec<VirtAddr> {
        let mut relatives: Vec<VirtAddr> =
            ["group_leader", "real_parent", "parent"].into_iter().filter_map(|field| task.pointer(field).ok()).collect();
        if let Ok(children) = task.list("children", "task_struct", "sibling") {
            relatives.extend(children.map_while(Result::ok).map(|child| child.address));
        }
        relatives.retain(|address| address.is_kernel());
        relatives
    }

    /// Whether bytes can be a task structure at all. Strict: a scan offers millions of places.
    fn plausible(&self, task: &Object<'_>) -> bool {
        let check = || -> Result<bool, ReadError> {
            let pid_ok = |field| task.uint(field).map(|pid| pid > 0 && pid < MOST_PIDS);
            let kernel = |field| task.pointer(field).map(VirtAddr::is_kernel);
            let mut comm = [0; 16];
            task.context().space.read(task.at("comm")?, &mut comm)?;
            let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
            let link = |name| -> Result<bool, ReadError> {
                let link = task.inner("tasks")?.pointer(name)?;
                Ok(link.is_kernel() || LIST_POISON.contains(&link.0))
            };
            Ok(pid_ok("pid")?
                && pid_ok("tgid")?
                && (1..16).contains(&end)
                && comm[..end].iter().all(|byte| *byte >= 0x20 && *byte != 0x7f)
                && kernel("real_parent")?
                && kernel("group_leader")?
                && link("next")?
                && link("prev")?
                && task.uint("prio")? < 140
                && task.uint("static_prio")? < 140
                && task.uint("policy")? <= 7
                && task.uint("exit_state")? & !(EXIT_DEAD | EXIT_ZOMBIE) == 0)
        };
        check().unwrap_or(false)
    }

    fn alive(&self, task: &Object<'_>) -> bool {
        task.uint("exit_state").is_ok_and(|state| state & EXIT_DEAD == 0)
    }

    fn leads_its_group(&self, task: &Object<'_>) -> bool {
        let check = || -> Result<bool, ReadError> {
            let signal = task.follow_some("signal")?;
            let node = task.at("thread_node")?;
            let in_group = signal.inner("thread_head")?.pointer("next")? == node;
            Ok(task.pointer("group_leader")? == task.address && in_group && task.pointer("stack")?.is_kernel())
        };
        check().unwrap_or(false)
    }

    /// Places in physical memory that hold a task structure: every task points to one of a handful of scheduler classes.
    /// Also counts the bytes that could not be read.
    fn scan(&self, watch: &Watch) -> (Vec<VirtAddr>, u64) {
        const CLASSES: [&str; 6] =
            ["fair_sched_class", "rt_sched_class", "dl_sched_class", "idle_sched_class", "stop_sched_class", "ext_sched_class"];
        let symbols = self.profile.symbols();
        let classes: Vec<u64> = CLASSES.iter().filter_map(|class| symbols.find(class).ok()).map(|address| address.0).collect();
        let Ok(offset) = self.profile.layout("task_struct").and_then(|layout| layout.offset("sched_class")) else {
            return (Vec::new(), 0);
        };
        let (Some(lowest), Some(highest)) = (classes.iter().min().copied(), classes.iter().max().copied()) else {
            return (Vec::new(), 0);
        };
        let found = Mutex::new(Vec::new());
        let swept = self.image.sweep(1 << 20, 0, watch, |Chunk { at: start, bytes, .. }| {
            for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
                let word = u64::from_le_bytes(*word);
                if (lowest..=highest).contains(&word) && classes.contains(&word) {
                    let place = start.offset(index as u64 * 8).0.wrapping_sub(offset);
                    let address = VirtAddr(self.direct_map.0.wrapping_add(place));
                    if let Ok(task) = self.task(address)
                        && self.plausible(&task)
                        && let Ok(mut found) = found.lock()
                    {
                        found.push(address);
                    }
                }
            }
            ControlFlow::Continue(())
        });
        (found.into_inner().unwrap_or_default(), swept.unreadable)
    }

    /// The name that the system shows: of kernel threads the full one, where the kernel keeps it (since 5.17).
    pub(super) fn name(&self, task: &Object<'_>) -> Result<String, ReadError> {
        let full = || -> Result<String, ReadError> {
            let kthread = self.kthread(task)?.ok_or(ReadError::Implausible("kthread"))?;
            let name = kthread.pointer("full_name")?;
            self.space.text(name, 64)
        };
        // Workers are shown by their comm even where a longer name is kept.
        match full() {
            Ok(name) if !name.is_empty() && task.uint("flags")? & PF_WQ_WORKER == 0 => Ok(name),
            _ => task.text("comm"),
        }
    }

    /// The kthread structure of a kernel thread.
    pub(super) fn kthread<'a>(&self, task: &Object<'a>) -> Result<Option<Object<'a>>, ReadError> {
        if !is_kernel_thread(task)? {
            return Ok(None);
        }
        // task_struct.worker_private since 5.17, set_child_tid before.
        let field = if task.has("worker_private") { "worker_private" } else { "set_child_tid" };
        let kthread = task.pointer(field)?;
        if kthread.is_null() { Ok(None) } else { task.context().object("kthread", kthread).map(Some) }
    }

    fn start_time(&self, task: &Object<'_>) -> Known<Time> {
        // Nanoseconds since boot, suspend included; real_start_time before 5.5.
        let field = if task.has("start_boottime") { "start_boottime" } else { "real_start_time" };
        let since_boot = task.uint(field);
        match (self.boot_time, since_boot) {
            (_, Err(why)) => Known::Unreadable(why),
            (None, _) => Known::Absent,
            (Some(boot), Ok(since)) => Time::from_nanoseconds(boot.nanoseconds() + i128::from(since), 9).into(),
        }
    }
}

pub(super) fn is_kernel_thread(task: &Object<'_>) -> Result<bool, ReadError> {
    Ok(task.uint("flags")? & PF_KTHREAD != 0)
}

/// `__state` since 5.14, `state` before.
fn state_bits(task: &Object<'_>) -> Result<u64, ReadError> {
    task.uint(if task.has("__state") { "__state" } else { "state" })
}

/// The letters and words of /proc/PID/status.
fn state_words(task: &Object<'_>) -> Result<String, ReadError> {
    let bits = state_bits(task)?;
    let exit = task.uint("exit_state")?;
    let words = if exit & EXIT_DEAD != 0 {
        "X (dead)"
    } else if exit & EXIT_ZOMBIE != 0 {
        "Z (zombie)"
    } else {
        match bits & 0xffff {
            0 => "R (running)",
            // TASK_IDLE: uninterruptible, but no load.
            bits if bits & 0x402 == 0x402 => "I (idle)",
            bits if bits & 0x1 != 0 => "S (sleeping)",
            bits if bits & 0x2 != 0 => "D (disk sleep)",
            bits if bits & 0x4 != 0 => "T (stopped)",
            bits if bits & 0x8 != 0 => "t (tracing stop)",
            bits if bits & 0x40 != 0 => "P (parked)",
            bits if bits & 0x80 != 0 => "X (dead)",
            _ => "?",
        }
    };
    Ok(words.to_owned())
}

pub fn processes(linux: &Linux, scope: Scope, out: &mut Sink<Process>) {
    let roster = linux.roster(out.watch());
    roster.notes.iter().for_each(|note| out.note(note.clone()));
    for member in roster.members.iter().filter(|member| scope.admits(member.pid, member.address)) {
        if out.cancelled() {
            return;
        }
        if let Ok(task) = linux.task(member.address) {
            out.push(linux.process(member, &task));
        }
    }
}

impl Linux {
    fn process(&self, member: &Member, task: &Object<'_>) -> Process {
        let exited = member.state == ProcessState::Exited;
        let kernel_thread = is_kernel_thread(task);
        let credential = |field| -> Result<u32, ReadError> { task.follow_some("real_cred")?.inner(field)?.u32("val") };
        // What an exited task points to has been freed and may be anybody's by now.
        let living = |value: Result<u32, ReadError>| if exited { Known::Absent } else { value.into() };
        let user_side = !exited && member.state != ProcessState::Zombie && kernel_thread == Ok(false);
        let absent = |value: Known<String>| if user_side { value } else { Known::Absent };
        Process {
            pid: member.pid,
            ppid: self.parent_pid(task, exited),
            name: member.name.clone(),
            address: Known::Value(member.address),
            physical_address: self.space.translate(member.address).into(),
            create_time: self.start_time(task),
            threads: living(task.follow_some("signal").and_then(|signal| signal.u32("nr_threads"))),
            uid: living(credential("uid")),
            gid: living(credential("gid")),
            path: absent(self.executable(task).into()),
            command_line: absent(self.command_line(task).into()),
            sources: sources(member.found_by),
            state: member.state,
            kernel_thread: kernel_thread.into(),
            ..Process::default()
        }
    }

    fn parent_pid(&self, task: &Object<'_>, exited: bool) -> Known<u32> {
        let parent = task.follow("real_parent").and_then(|parent| match parent {
            // The parent of an exited task may be gone as well, and its memory reused.
            Some(parent) if !exited || self.plausible(&parent) || parent.u32("pid") == Ok(0) => parent.u32("tgid").map(Some),
            _ => Ok(None),
        });
        parent.into()
    }

    /// Path of the executable, None for a task without one.
    fn executable(&self, task: &Object<'_>) -> Result<Option<String>, ReadError> {
        let Some(mm) = task.follow("mm")? else { return Ok(None) };
        let Some(file) = mm.follow("exe_file")? else { return Ok(None) };
        super::path::of_file(&file).map(|path| Some(path.shown()))
    }

    fn command_line(&self, task: &Object<'_>) -> Result<Option<String>, ReadError> {
        let Some(mm) = task.follow("mm")? else { return Ok(None) };
        let (start, end) = (mm.uint("arg_start")?, mm.uint("arg_end")?);
        let bytes = self.user_bytes(task, start, end, super::MOST_ARGUMENTS)?;
        let arguments: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        Ok(Some(arguments.join(" ").trim_end().to_owned()))
    }

    /// Bytes `start..end` of a task's own memory, cut at `most`.
    pub(super) fn user_bytes(&self, task: &Object<'_>, start: u64, end: u64, most: usize) -> Result<Vec<u8>, ReadError> {
        let length = end.checked_sub(start).ok_or(ReadError::Implausible("range"))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(most)];
        self.space_of(task)?.read(VirtAddr(start), &mut bytes)?;
        Ok(bytes)
    }
}

fn sources(found_by: [bool; 4]) -> Vec<&'static str> {
    SOURCES.into_iter().zip(found_by).filter_map(|(name, found)| found.then_some(name)).collect()
}

pub fn pstree(linux: &Linux, scope: Scope, out: &mut Sink<TreeProcess>) {
    // The listed processes stand at once; those that only the scan finds take their places when it is done.
    if linux.roster.get().is_none() {
        tree(linux, linux.listed(), scope, out);
        out.preview();
    }
    let roster = linux.roster(out.watch());
    roster.notes.iter().for_each(|note| out.note(note.clone()));
    tree(linux, &roster, scope, out);
}

fn tree(linux: &Linux, roster: &Roster, scope: Scope, out: &mut Sink<TreeProcess>) {
    let by_address: HashMap<VirtAddr, usize> = roster.members.iter().enumerate().map(|(index, member)| (member.address, index)).collect();
    let (mut processes, mut parents) = (Vec::new(), Vec::new());
    for member in &roster.members {
        let Ok(task) = linux.task(member.address) else { continue };
        // A living child knows its parent; what an exited one points to may have been reused, but then it is no member here.
        parents.push(task.pointer("real_parent").ok().and_then(|parent| by_address.get(&parent).copied()));
        processes.push(linux.process(member, &task));
    }
    let rows = facts::tree(processes, &parents);
    out.extend(rows.into_iter().filter(|row| row.address.value().is_some_and(|address| scope.admits(row.pid, *address))));
}

pub fn threads(linux: &Linux, scope: Scope, out: &mut Sink<Thread>) {
    for task in linux.tasks(scope, out.watch()) {
        if out.cancelled() {
            return;
        }
        let group = task.object.follow_some("signal").and_then(|signal| signal.list("thread_head", "task_struct", "thread_node"));
        let group = match group {
            Ok(group) => group,
            Err(why) => {
                out.note(format!("threads of {} {}: {why}", task.name, task.pid));
                continue;
            }
        };
        for thread in group {
            match thread.and_then(|thread| linux.thread(&task, &thread)) {
                Ok(thread) => out.push(thread),
                Err(why) => out.note(format!("threads of {} {} end early: {why}", task.name, task.pid)),
            }
        }
    }
}

impl Linux {
    fn thread(&self, task: &Task<'_>, thread: &Object<'_>) -> Result<Thread, ReadError> {
        // What a torn list leads to is no thread, or one of another process.
        let tid = thread.u32("pid")?;
        if tid == 0 || u64::from(tid) >= MOST_PIDS || thread.pointer("group_leader")? != task.object.address {
            return Err(ReadError::Implausible("thread list"));
        }
        let function = self.kthread(thread).and_then(|kthread| kthread.map(|kthread| kthread.pointer("threadfn")).transpose());
        Ok(Thread {
            pid: task.pid,
            tid,
            name: self.name(thread)?,
            address: thread.address,
            start_symbol: function.map(|function| function.and_then(|function| self.profile.symbols().name_at(function))).into(),
            start_address: function.into(),
            state: state_words(thread).into(),
            create_time: self.start_time(thread),
            ..Thread::default()
        })
    }
}
