//! Process objects: the list that the system shows, the other roads to them, and what lies in the pools beside.

use super::files::own_name;
use super::libraries::last_part;
use super::peb::audited;
use super::pool::{Block, GRAIN};
use super::text::filetime;
use super::{Windows, lists};
use crate::address::VirtAddr;
use crate::facts::{self, Known, Process, ProcessState, ReadError, Scope, Sink, Time, TreeProcess, Watch};
use crate::symbols::{Context, Object};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Ways to find a process; the order is that of the `sources` column.
const SOURCES: [&str; 6] = ["active_list", "pool_scan", "thread", "cid_table", "csrss_handle", "session_list"];
const ACTIVE_LIST: usize = 0;
const POOL_SCAN: usize = 1;
const THREAD: usize = 2;
const CID_TABLE: usize = 3;
const CSRSS_HANDLE: usize = 4;
const SESSION_LIST: usize = 5;
/// The Windows subsystem, which is told of every process that it serves.
const SUBSYSTEM: &str = "csrss.exe";
/// Not found by any of them, but pointed to.
pub const UNSEEN: [bool; SOURCES.len()] = [false; SOURCES.len()];

/// Process and thread IDs are multiples of four below this.
pub const MOST_IDS: u64 = 1 << 26;
/// Letters of _EPROCESS.ImageFileName that are kept in all versions.
const KEPT_NAME: usize = 14;
/// Sessions are counted from 0, one for each logon at the machine.
const MOST_SESSIONS: u32 = 1 << 20;
/// The clock runs on while memory is written.
const CLOCK_SLACK: u64 = 3600 * 10_000_000;

/// A process object.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its _EPROCESS; of one in memory that nothing maps any more, the physical address.
    pub address: VirtAddr,
    pub mapped: bool,
    pub pid: u32,
    pub name: String,
    pub state: ProcessState,
    found_by: [bool; 6],
    /// What of this is not what the object itself says.
    problems: Vec<String>,
}

/// The processes of the machine, in the order of their PIDs.
#[derive(Debug, Default)]
pub struct Roster {
    pub members: Vec<Member>,
    pub notes: Vec<String>,
}

/// A process as the rest of this module tree uses it.
#[derive(Clone)]
pub struct Task<'a> {
    /// Its _EPROCESS.
    pub object: Object<'a>,
    pub pid: u32,
    pub name: String,
}

impl Windows {
    /// The processes that a query is about, exited ones left out. One process object that is listed needs no sweep.
    pub(super) fn tasks(&self, scope: Scope, watch: &Watch) -> Vec<Task<'_>> {
        let make = |member: &Member| {
            let object = self.context().object("_EPROCESS", member.address).ok()?;
            Some(Task { object, pid: member.pid, name: member.name.clone() })
        };
        if let Scope::Process(address) = scope
            && let Some(member) = self.listed().members.iter().find(|member| member.address == address && member.mapped)
        {
            return make(member).into_iter().collect();
        }
        let roster = self.roster(watch);
        let living = roster.members.iter().filter(|member| member.mapped && member.state != ProcessState::Exited);
        living.filter(|member| scope.admits(member.pid, member.address)).filter_map(make).collect()
    }

    /// Processes by the lists that the kernel itself keeps: fast, whatever the size of the image.
    pub(super) fn listed(&self) -> &Roster {
        self.listed.get_or_init(|| self.enumerate(None))
    }

    /// Processes by every road, the sweep of the pools included. A cancelled sweep is not kept.
    pub(super) fn roster(&self, watch: &Watch) -> Arc<Roster> {
        self.roster.or_search(watch, || self.enumerate(Some(watch)))
    }

    fn enumerate(&self, sweep: Option<&Watch>) -> Roster {
        let mut roster = Roster::default();
        let mut found: HashMap<VirtAddr, [bool; 6]> = HashMap::new();
        let mut mark = |address: VirtAddr, source: usize| found.entry(address).or_default()[source] = true;
        let (listed, closed) = self.active_list();
        listed.iter().for_each(|address| mark(*address, ACTIVE_LIST));
        listed.iter().flat_map(|address| self.session_members(*address)).for_each(|address| mark(address, SESSION_LIST));
        let own = Watch::default();
        let watch = sweep.unwrap_or(&own);
        match self.processes_by_id(watch) {
            Ok(processes) => processes.into_iter().for_each(|address| mark(address, CID_TABLE)),
            Err(why) => roster.notes.push(format!("processes were not looked for in the table of IDs (PspCidTable): {why}")),
        }
        // The Windows subsystem holds all that it knows open.
        for address in &listed {
            let Ok(process) = self.context().object("_EPROCESS", *address) else { continue };
            if process.text("ImageFileName").is_ok_and(|name| name.eq_ignore_ascii_case(SUBSYSTEM)) {
                self.processes_held(&process, watch).unwrap_or_default().into_iter().for_each(|address| mark(address, CSRSS_HANDLE));
            }
        }
        if let Some(watch) = sweep {
            match self.objects_by_tag(b"Proc", "Process", watch) {
                Ok(processes) => processes.into_iter().for_each(|address| mark(address, POOL_SCAN)),
                Err(why) => roster.notes.push(format!("the pools were not searched for processes: {why}")),
            }
            match self.objects_by_tag(b"Thre", "Thread", watch) {
                Ok(threads) => {
                    let owners: Vec<_> = threads.par_iter().filter_map(|thread| self.owner(*thread)).collect();
                    owners.into_iter().for_each(|address| mark(address, THREAD));
                }
                Err(why) => roster.notes.push(format!("the pools were not searched for threads: {why}")),
            }
        }
        roster.members = found.into_par_iter().filter_map(|(address, found_by)| self.member(self.context(), address, found_by)).collect();
        roster.members.par_iter_mut().for_each(|member| self.settle(member));
        let members: HashSet<_> = roster.members.iter().map(|member| member.address).collect();
        let torn = listed.iter().filter(|address| !members.contains(address)).count();
        if torn > 0 {
            roster.notes.push(format!("{torn} entries of the list of active processes cannot be read or hold no process"));
        }
        let copies = self.without_copies(&mut roster.members);
        if copies > 0 {
            roster.notes.push(format!("{copies} copies of process objects are left out"));
        }
        if !closed {
            let doubtful = self.clear_of_suspicion(&mut roster.members);
            roster.notes.push(match doubtful {
                0 => "the list of active processes is broken; what is on either end of it is here".to_owned(),
                _ => format!(
                    "the list of active processes is broken: for {doubtful} living processes that are on none of its pieces it cannot be told whether they were on it"
                ),
            });
        }
        if let Some(watch) = sweep {
            let remnants = self.remnants(&roster.members, watch);
            roster.members.extend(remnants);
        }
        roster.members.sort_by_key(|member| (member.pid, member.state == ProcessState::Exited, member.address));
        roster
    }

    /// Process objects in blocks that were freed or that nothing maps: what is left of processes that ended long ago. Only whole ones
    /// that say themselves that they ended are believed.
    fn remnants(&self, known: &[Member], watch: &Watch) -> Vec<Member> {
        let header = self.profile.layout("_POOL_HEADER").map(|layout| u64::from(layout.size));
        let body = self.profile.layout("_OBJECT_HEADER").and_then(|layout| layout.offset("Body"));
        let (Ok(pools), Ok(header), Ok(body), Ok(optional)) = (self.pools(watch), header, body, self.most_optional()) else {
            return Vec::new();
        };
        let physical = self.space.physical();
        let context = Context { space: &physical, profile: &self.profile };
        let whole = |skip: u64, block: &Block| {
            let at = VirtAddr(block.physical.0 + header + skip + body);
            let member = self.member(context, at, [false; 6])?;
            let ended = member.state == ProcessState::Exited && !member.name.is_empty();
            self.identity(context, at).ok().filter(|_| ended).map(|identity| (identity, member))
        };
        let of_block = |block: &Block| -> Vec<_> { (0..=optional).step_by(GRAIN).filter_map(|skip| whole(skip, block)).collect() };
        let found: Vec<_> = pools.with_tag(b"Proc").par_iter().map(of_block).collect();
        let mut told: HashSet<(u32, u64)> = known.iter().filter_map(|member| self.identity(self.context(), member.address).ok()).collect();
        let mut found_by = UNSEEN;
        found_by[POOL_SCAN] = true;
        let first = found.into_iter().filter_map(|of_block| of_block.into_iter().find(|(identity, _)| told.insert(*identity)));
        first.map(|(_, member)| Member { mapped: false, found_by, ..member }).collect()
    }

    /// Memory that is used again, or copied while it changes, may hold a process twice: the one that its threads belong to stays. Gives the
    /// number of those that do not.
    fn without_copies(&self, members: &mut Vec<Member>) -> usize {
        let mut alike: HashMap<_, Vec<&Member>> = HashMap::new();
        for member in members.iter() {
            if let Ok(identity) = self.identity(self.context(), member.address) {
                alike.entry(identity).or_default().push(member);
            }
        }
        let weight = |member: &Member| -> Option<_> {
            let process = self.context().object("_EPROCESS", member.address).ok()?;
            let linked = process.at("ActiveProcessLinks").is_ok_and(|links| lists::is_linked(self.context(), links));
            Some((self.has_thread(&process).unwrap_or(false), linked, member.found_by))
        };
        let mut copies = HashSet::new();
        for members in alike.into_values().filter(|members| members.len() > 1) {
            let best = members.iter().max_by_key(|member| (weight(member), Reverse(member.address))).map(|best| best.address);
            copies.extend(members.into_iter().map(|member| member.address).filter(|address| Some(*address) != best));
        }
        members.retain(|member| !copies.contains(&member.address));
        copies.len()
    }

    fn identity(&self, context: Context<'_>, address: VirtAddr) -> Result<(u32, u64), ReadError> {
        let process = context.object("_EPROCESS", address)?;
        Ok((process.u32("UniqueProcessId")?, process.uint("CreateTime")?))
    }

    /// What holds together as a process.
    pub(super) fn member(&self, context: Context<'_>, address: VirtAddr, found_by: [bool; 6]) -> Option<Member> {
        let process = context.object("_EPROCESS", address).ok()?;
        let pid = process.uint("UniqueProcessId").ok().filter(|pid| *pid != 0 && pid % 4 == 0 && *pid < MOST_IDS)?;
        let (created, ended) = (process.uint("CreateTime").ok()?, process.uint("ExitTime").ok()?);
        let root = process.inner("Pcb").ok()?.uint("DirectoryTableBase").ok()?;
        let name = process.text("ImageFileName").ok()?;
        let sound = name.chars().all(|letter| !letter.is_control() && letter != char::REPLACEMENT_CHARACTER);
        let times = created != 0 && (ended == 0 || (created..=self.shared_now()).contains(&ended));
        // An entry that a torn list only leads to says nothing for itself.
        let linked = || process.at("ActiveProcessLinks").is_ok_and(|links| lists::is_linked(context, links));
        let vouched = || found_by[ACTIVE_LIST] && linked() && !self.is_other(address, "Process");
        if !sound || ((!times || root == 0) && !vouched()) {
            return None;
        }
        // A list of the living may keep those that ended, but not before they began.
        let state = if ended != 0 && times {
            ProcessState::Exited
        } else if found_by[ACTIVE_LIST] {
            ProcessState::Running
        } else {
            ProcessState::Hidden
        };
        // Alive means more than plausible bytes: a thread on its list belongs to it.
        if state == ProcessState::Hidden && !self.has_thread(&process).unwrap_or(false) {
            return None;
        }
        Some(Member { address, mapped: true, pid: pid as u32, name, state, found_by, problems: Vec::new() })
    }

    /// Puts right what two others say differently, and alike: the object is one of several that know the ID and the name of a process that
    /// lives.
    fn settle(&self, member: &mut Member) {
        let Ok(process) = self.context().object("_EPROCESS", member.address) else { return };
        if member.state == ProcessState::Exited {
            return;
        }
        let by_table = || process.follow_some("ObjectTable")?.u32("UniqueProcessId");
        let by_thread = || {
            let first = process.inner("ThreadListHead")?.pointer("Flink")?;
            process.context().container("_ETHREAD", "ThreadListEntry", first)?.inner("Cid")?.u32("UniqueProcess")
        };
        // Zeros agree with each other.
        if let Ok(pid @ 1..) = by_thread()
            && pid != member.pid
            && process_id(u64::from(pid)).is_ok()
            && by_table() == Ok(pid)
        {
            member.problems.push(format!("pid: the process object says {}; its handles and threads say this", member.pid));
            member.pid = pid;
        }
        // The kernel keeps the beginning of the name of the program's file.
        let kept = |path: &str| last_part(path).chars().take(KEPT_NAME).collect::<String>();
        let own = kept(&member.name);
        let told = |path: Result<String, ReadError>| path.map(|path| kept(&path)).ok().filter(|name| !name.is_empty() && name.is_ascii());
        let audited = told(audited(&process));
        if own.is_empty() || audited.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&own)) {
            return;
        }
        let file = told(process.follow_some("ImageFilePointer").and_then(|file| own_name(&file)));
        let asked = told(self.asked_path(&process).and_then(|path| path.ok_or(ReadError::Implausible("path"))));
        let others: Vec<String> = [audited, file, asked].into_iter().flatten().collect();
        let alike = |name: &String| others.iter().filter(|other| other.eq_ignore_ascii_case(name)).count();
        if let (0, Some(name)) = (alike(&own), others.iter().find(|name| alike(name) > 1)) {
            member.problems.push(format!("name: the process object says {:?}; the paths of its program say this", member.name));
            member.name = name.clone();
        }
    }

    /// Whether the first thread on a process's list is linked to it from both sides.
    fn has_thread(&self, process: &Object<'_>) -> Result<bool, ReadError> {
        let head = process.inner("ThreadListHead")?;
        let thread = process.context().container("_ETHREAD", "ThreadListEntry", head.pointer("Flink")?)?;
        let back = thread.inner("ThreadListEntry")?.pointer("Blink")?;
        Ok(back == head.address && self.owner(thread.address) == Some(process.address))
    }

    /// PsActiveProcessHead's list, forwards and, where that breaks, backwards; false where it does not close.
    fn active_list(&self) -> (Vec<VirtAddr>, bool) {
        let Ok(head) = self.context().symbol("PsActiveProcessHead") else { return (Vec::new(), false) };
        self.ring(head, "_EPROCESS", "ActiveProcessLinks")
    }

    /// A process that is missing from a broken list is hidden only where its neighbours are sound and point past it. Gives the number of
    /// those that are not called hidden.
    fn clear_of_suspicion(&self, members: &mut [Member]) -> usize {
        let hidden = members.iter_mut().filter(|member| member.state == ProcessState::Hidden);
        let doubtful = hidden.filter(|member| !self.taken_off(member.address).unwrap_or(false));
        doubtful.map(|member| member.state = ProcessState::Running).count()
    }

    fn taken_off(&self, process: VirtAddr) -> Result<bool, ReadError> {
        let context = self.context();
        let head = context.symbol("PsActiveProcessHead")?;
        let links = context.object("_EPROCESS", process)?.inner("ActiveProcessLinks")?;
        let mut found_by = UNSEEN;
        found_by[ACTIVE_LIST] = true;
        lists::taken_off(context, links.address, |link| {
            let owner = context.container("_EPROCESS", "ActiveProcessLinks", link)?.address;
            Ok(link == head || self.member(context, owner, found_by).is_some())
        })
    }

    /// The structures on a ring of links, its head left out. False where it does not close.
    pub(super) fn ring(&self, head: VirtAddr, structure: &'static str, member: &'static str) -> (Vec<VirtAddr>, bool) {
        let Ok(offset) = self.profile.layout(structure).and_then(|layout| layout.offset(member)) else { return (Vec::new(), false) };
        let (links, broken) = lists::ring(self.context(), head);
        (links.into_iter().map(|link| VirtAddr(link.0.wrapping_sub(offset))).collect(), broken.is_none())
    }

    /// The processes of the same terminal session.
    fn session_members(&self, process: VirtAddr) -> Vec<VirtAddr> {
        let head = || -> Result<Option<VirtAddr>, ReadError> {
            let session = self.context().object("_EPROCESS", process)?.pointer("Session")?;
            if !session.is_kernel() {
                return Ok(None);
            }
            self.process_space_session(process, session)
        };
        let Ok(Some(head)) = head() else { return Vec::new() };
        self.ring(head, "_EPROCESS", "SessionProcessLinks").0
    }

    /// The head of a session's list. Session space is mapped in the processes of that session only.
    fn process_space_session(&self, process: VirtAddr, session: VirtAddr) -> Result<Option<VirtAddr>, ReadError> {
        let space = self.space_of(&self.context().object("_EPROCESS", process)?)?;
        let context = Context { space: &space, profile: &self.profile };
        context.object("_MM_SESSION_SPACE", session)?.at("ProcessList").map(Some)
    }

    /// The process that a thread belongs to.
    fn owner(&self, thread: VirtAddr) -> Option<VirtAddr> {
        let process = self.context().object("_KTHREAD", thread).ok()?.pointer("Process").ok()?;
        process.is_kernel().then_some(process)
    }

    fn process(&self, member: &Member) -> Result<Process, ReadError> {
        let physical = self.space.physical();
        let context = if member.mapped { self.context() } else { Context { space: &physical, profile: &self.profile } };
        let process = context.object("_EPROCESS", member.address)?;
        let exited = member.state == ProcessState::Exited;
        // An exited process has no address space left.
        let living = |value: Known<String>| if exited { Known::Absent } else { value };
        let wow64 = if process.has("WoW64Process") { "WoW64Process" } else { "Wow64Process" };
        Ok(Process {
            pid: member.pid,
            ppid: process.uint("InheritedFromUniqueProcessId").and_then(process_id).into(),
            name: member.name.clone(),
            address: if member.mapped { Known::Value(member.address) } else { Known::Absent },
            physical_address: context.space.translate(member.address).into(),
            create_time: self.time(&process, "CreateTime"),
            exit_time: match process.uint("ExitTime") {
                Ok(ended) if ended != 0 && !exited => Known::Unreadable(ReadError::Implausible("exit time")),
                _ => self.time(&process, "ExitTime"),
            },
            threads: process.uint("ActiveThreads").and_then(thread_count).into(),
            session: if exited { Known::Absent } else { self.session(&process).into() },
            wow64: process
                .pointer(wow64)
                .and_then(|pointer| match pointer.0 % 8 {
                    0 => Ok(!pointer.is_null()),
                    _ => Err(ReadError::Implausible(wow64)),
                })
                .into(),
            path: living(self.image_path(&process)),
            command_line: living(self.command_line(&process)),
            sources: SOURCES.into_iter().zip(member.found_by).filter_map(|(name, found)| found.then_some(name)).collect(),
            state: member.state,
            problems: member.problems.clone(),
            ..Process::default()
        })
    }

    pub(super) fn session(&self, process: &Object<'_>) -> Result<Option<u32>, ReadError> {
        let session = process.pointer("Session")?;
        if !session.is_kernel() {
            return Ok(None);
        }
        let space = self.space_of(process)?;
        let session = Context { space: &space, profile: &self.profile }.object("_MM_SESSION_SPACE", session)?;
        let number = session.u32("SessionId")?;
        if number <= MOST_SESSIONS && session.inner("ProcessList")?.pointer("Flink")?.is_kernel() {
            Ok(Some(number))
        } else {
            Err(ReadError::Implausible("session"))
        }
    }

    /// A time of the past; None where it is zero, which stands for never.
    pub(super) fn time(&self, object: &Object<'_>, field: &'static str) -> Known<Time> {
        let read = object.uint(field).and_then(|units| match units <= self.shared_now().saturating_add(CLOCK_SLACK) {
            true => Ok(filetime(units)),
            false => Err(ReadError::Implausible("time")),
        });
        read.into()
    }
}

fn process_id(id: u64) -> Result<u32, ReadError> {
    if id < MOST_IDS && id.is_multiple_of(4) { Ok(id as u32) } else { Err(ReadError::Implausible("process ID")) }
}

/// Each has an ID of its own.
fn thread_count(count: u64) -> Result<u32, ReadError> {
    if count < MOST_IDS / 4 { Ok(count as u32) } else { Err(ReadError::Implausible("number of threads")) }
}

pub fn processes(windows: &Windows, scope: Scope, out: &mut Sink<Process>) {
    let roster = windows.roster(out.watch());
    roster.notes.iter().for_each(|note| out.note(note.clone()));
    let members = roster.members.par_iter().filter(|member| scope.admits(member.pid, member.address));
    let rows: Vec<_> = members.take_any_while(|_| !out.watch().cancelled()).map(|member| (member, windows.process(member))).collect();
    for (member, row) in rows {
        match row {
            Ok(process) => out.push(process),
            Err(why) => out.note(format!("{} {}: {why}", member.name, member.pid)),
        }
    }
}

pub fn pstree(windows: &Windows, scope: Scope, out: &mut Sink<TreeProcess>) {
    // The listed processes stand at once; those that only the sweep finds take their places when it is done.
    if windows.roster.get().is_none() {
        tree(windows, windows.listed(), scope, out);
        out.preview();
    }
    let roster = windows.roster(out.watch());
    roster.notes.iter().for_each(|note| out.note(note.clone()));
    tree(windows, &roster, scope, out);
}

fn tree(windows: &Windows, roster: &Roster, scope: Scope, out: &mut Sink<TreeProcess>) {
    // Not on the pool's threads, which a sweep may keep busy while the first list is made.
    let processes: Vec<Process> = roster.members.iter().filter_map(|member| windows.process(member).ok()).collect();
    let mut by_pid: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, process) in processes.iter().enumerate() {
        by_pid.entry(process.pid).or_default().push(index);
    }
    // Of all that ever had the parent's ID, the one that lived when the child began.
    let parent_of = |child: &Process| {
        let born = child.create_time.value();
        let lived = |index: &&usize| {
            let (from, to) = (processes[**index].create_time.value(), processes[**index].exit_time.value());
            // The one that nobody began, System, is told its time after it has begun others.
            let first = processes[**index].ppid == Known::Value(0);
            (from <= born || first) && to.is_none_or(|to| Some(to) >= born)
        };
        let candidates = by_pid.get(child.ppid.value()?)?;
        candidates.iter().filter(lived).max_by_key(|index| processes[**index].create_time.value().copied()).copied()
    };
    let parents: Vec<Option<usize>> = processes.iter().map(parent_of).collect();
    let rows = facts::tree(processes, &parents);
    out.extend(rows.into_iter().filter(|row| scope.admits(row.pid, row.address.value().copied().unwrap_or_default())));
}
