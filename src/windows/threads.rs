//! Threads of the processes.

use super::Windows;
use super::text::filetime;
use crate::facts::{Known, ReadError, Scope, Sink, Thread};
use crate::symbols::Object;
use std::collections::HashSet;

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
        for thread in of_process(&task.object) {
            match thread.and_then(|thread| describe(windows, task.pid, &thread)) {
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

fn describe(windows: &Windows, pid: u32, thread: &Object<'_>) -> Result<Thread, ReadError> {
    let state = thread.inner("Tcb")?.uint("State");
    // What the program asked to run; the start address proper is the same for most threads.
    let start =
        thread.pointer("Win32StartAddress").and_then(|start| if start.is_null() { thread.pointer("StartAddress") } else { Ok(start) });
    Ok(Thread {
        pid,
        tid: thread.inner("Cid")?.u32("UniqueThread")?,
        address: thread.address,
        start_symbol: start.map(|start| windows.profile.symbols().name_at(start)).into(),
        start_address: start.into(),
        state: state.map(|state| STATES.get(state as usize).map(|word| (*word).to_owned())).into(),
        create_time: Known::from(thread.uint("CreateTime").map(filetime)),
        ..Thread::default()
    })
}
