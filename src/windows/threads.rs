//! Threads of the processes.

use super::Windows;
use super::modules::Place;
use super::processes::Task;
use super::text::filetime;
use crate::address::VirtAddr;
use crate::facts::{Known, ReadError, Scope, Sink, Thread, Watch};
use crate::symbols::Object;
use std::collections::{HashMap, HashSet};

/// KTHREAD_STATE (Windows Internals; ntddk.h since 2020).
const STATES: [&str; 10] = [
    "Initialized",
    "Ready",
    "Running",
    "Standby",
    "Terminated",
    "Waiting",
    "Transition",
    "DeferredReady",
    "GateWaitObsolete",
    "WaitingForProcessInSwap",
];
const MOST_THREADS: usize = 1 << 20;

pub fn threads(windows: &Windows, scope: Scope, out: &mut Sink<Thread>) {
    for task in windows.tasks(scope, out.watch()) {
        if out.cancelled() {
            return;
        }
        let mut known = HashMap::new();
        for thread in of_process(&task.object) {
            match thread.and_then(|thread| describe(windows, &task, &thread, &mut known, out.watch())) {
                Ok(thread) => out.push(thread),
                Err(why) => out.note(format!("threads of {} {} end early: {why}", task.name, task.pid)),
            }
        }
    }
}

/// The threads on a process's list, up to its end or to what breaks it.
pub fn of_process<'a>(process: &Object<'a>) -> Vec<Result<Object<'a>, ReadError>> {
    let context = process.context();
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut walk = || -> Result<(), ReadError> {
        let head = process.at("ThreadListHead")?;
        let mut link = context.object("_LIST_ENTRY", head)?.pointer("Flink")?;
        while link != head {
            if !link.is_kernel() || !seen.insert(link) || found.len() >= MOST_THREADS {
                return Err(ReadError::Implausible("thread list"));
            }
            found.push(context.container("_ETHREAD", "ThreadListEntry", link));
            link = context.object("_LIST_ENTRY", link)?.pointer("Flink")?;
        }
        Ok(())
    };
    if let Err(why) = walk() {
        found.push(Err(why));
    }
    found
}

fn describe(
    windows: &Windows,
    task: &Task<'_>,
    thread: &Object<'_>,
    known: &mut HashMap<VirtAddr, Place>,
    watch: &Watch,
) -> Result<Thread, ReadError> {
    let state = thread.inner("Tcb")?.uint("State");
    let mut problems = Vec::new();
    let mut start = |field: &'static str| -> (Known<VirtAddr>, Place) {
        let at = match thread.pointer(field) {
            Ok(at) if at.is_null() => return Default::default(),
            Ok(at) => at,
            Err(why) => return (Known::Unreadable(why), Place::default()),
        };
        // Most threads of a process start in few places.
        let place = known.entry(at).or_insert_with(|| windows.place_in(&task.object, at, watch)).clone();
        problems.extend(place.problem.clone().filter(|problem| !problems.contains(problem)));
        (Known::Value(at), place)
    };
    let (start_address, own) = start("StartAddress");
    let (win32_start_address, asked) = start("Win32StartAddress");
    Ok(Thread {
        pid: task.pid,
        tid: thread.inner("Cid")?.u32("UniqueThread")?,
        address: thread.address,
        start_symbol: own.symbol,
        start_address,
        start_module: own.module,
        win32_start_address,
        win32_start_module: asked.module,
        state: state.map(|state| STATES.get(state as usize).map(|word| (*word).to_owned())).into(),
        create_time: Known::from(thread.uint("CreateTime").map(filetime)),
        problems,
        ..Thread::default()
    })
}
