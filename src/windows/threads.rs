//! Threads of the processes.

use super::Windows;
use super::objects::{THREAD_OBJECT, expect};
use super::processes::MOST_IDS;
use crate::facts::{ReadError, Scope, Sink, Thread};
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
    windows.each_task("threads", scope, out, |task, out| {
        for thread in of_process(&task.object) {
            match thread.and_then(|thread| describe(windows, task.pid, &thread)) {
                Ok(thread) => out.push(thread),
                Err(why) => out.note(format!("threads of {} {} are missing: {why}", task.name, task.pid)),
            }
        }
        Ok(())
    });
}

/// The threads on a process's list, from both ends where it does not close, and what broke it.
pub fn of_process<'a>(process: &Object<'a>) -> Vec<Result<Object<'a>, ReadError>> {
    let context = process.context();
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut walk = |direction: &'static str| -> Result<(), ReadError> {
        let head = process.at("ThreadListHead")?;
        let mut link = context.object("_LIST_ENTRY", head)?.pointer(direction)?;
        while link != head {
            if !link.is_kernel() || !seen.insert(link) || found.len() >= MOST_THREADS {
                return Err(ReadError::Implausible("thread list"));
            }
            let thread = context.container("_ETHREAD", "ThreadListEntry", link)?;
            // What a torn list leads to is no thread, or one of another process.
            let kernel = thread.inner("Tcb")?;
            expect(&kernel, THREAD_OBJECT, "thread")?;
            if kernel.pointer("Process")? != process.address {
                return Err(ReadError::Implausible("thread list"));
            }
            found.push(Ok(thread));
            link = context.object("_LIST_ENTRY", link)?.pointer(direction)?;
        }
        Ok(())
    };
    if let Err(why) = walk("Flink") {
        // What it meets there a second time has been found already.
        _ = walk("Blink");
        found.push(Err(why));
    }
    found
}

fn describe(windows: &Windows, pid: u32, thread: &Object<'_>) -> Result<Thread, ReadError> {
    let state = thread.inner("Tcb")?.uint("State");
    let tid = thread.inner("Cid")?.uint("UniqueThread")?;
    if tid == 0 || tid % 4 != 0 || tid >= MOST_IDS {
        return Err(ReadError::Implausible("thread ID"));
    }
    // What the program asked to run; the start address proper is the same for most threads.
    let start =
        thread.pointer("Win32StartAddress").and_then(|start| if start.is_null() { thread.pointer("StartAddress") } else { Ok(start) });
    Ok(Thread {
        pid,
        tid: tid as u32,
        address: thread.address,
        start_symbol: start.map(|start| windows.profile.symbols().name_at(start)).into(),
        start_address: start.into(),
        state: state.map(|state| STATES.get(state as usize).map(|word| (*word).to_owned())).into(),
        create_time: windows.time(thread, "CreateTime"),
        ..Thread::default()
    })
}
