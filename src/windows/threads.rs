//! Threads of the processes.

use super::entrances::Frame;
use super::modules::Place;
use super::objects::{THREAD_OBJECT, expect};
use super::processes::{MOST_IDS, Task};
use super::tokens::user_sid;
use super::{Windows, fast_ref};
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
    windows.each_task("threads", scope, out, |task, out| {
        let mut known = HashMap::new();
        for thread in of_process(&task.object) {
            match thread.and_then(|thread| describe(windows, task, &thread, &mut known, out.watch())) {
                Ok(thread) => out.push(thread),
                Err(why) => out.note(format!("threads of {} {} may be missing: {why}", task.name, task.pid)),
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

/// SECURITY_IMPERSONATION_LEVEL: from here on a thread may act as the user, not only ask who it is.
const IMPERSONATION: u64 = 2;
/// TOKEN_TYPE: of a process, and of a thread.
const TOKEN_TYPES: std::ops::RangeInclusive<u64> = 1..=2;

impl Windows {
    /// The user as whom a thread acts, if not as its process's.
    fn impersonated(&self, thread: &Object<'_>) -> Result<Option<String>, ReadError> {
        if !thread.has("ClientSecurity") || thread.uint("ActiveImpersonationInfo")? == 0 {
            return Ok(None);
        }
        let client = thread.inner("ClientSecurity")?;
        if client.uint("ImpersonationLevel")? < IMPERSONATION {
            return Ok(None);
        }
        // The lowest bits of the pointer are flags.
        let token = fast_ref(client.uint("ImpersonationToken")?);
        if !token.is_kernel() || self.is_other(token, "Token") {
            return Err(ReadError::Implausible("token"));
        }
        let token = thread.context().object("_TOKEN", token)?;
        if !TOKEN_TYPES.contains(&token.uint("TokenType")?) {
            return Err(ReadError::Implausible("token"));
        }
        user_sid(&token)
    }
}

fn describe(
    windows: &Windows,
    task: &Task<'_>,
    thread: &Object<'_>,
    known: &mut HashMap<VirtAddr, Place>,
    watch: &Watch,
) -> Result<Thread, ReadError> {
    let state = thread.inner("Tcb")?.uint("State");
    let tid = thread.inner("Cid")?.uint("UniqueThread")?;
    if tid == 0 || tid % 4 != 0 || tid >= MOST_IDS {
        return Err(ReadError::Implausible("thread ID"));
    }
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
    let frame = Frame::read(thread);
    let (position, stack) = match &frame {
        Ok(Some(frame)) => (Known::Value(frame.at), Known::Value(frame.stack)),
        Ok(None) => Default::default(),
        Err(why) => (Known::Unreadable(*why), Known::Absent),
    };
    let breakpoints = frame.ok().flatten().and_then(|frame| frame.breakpoints(thread).ok()).unwrap_or_default();
    let stands = position.value().map(|at| known.entry(*at).or_insert_with(|| windows.place_in(&task.object, *at, watch)).clone());
    Ok(Thread {
        pid: task.pid,
        tid: tid as u32,
        address: thread.address,
        start_symbol: own.symbol,
        start_address,
        start_module: own.module,
        win32_start_symbol: win32_start_address.value().and_then(|at| windows.function_at(&task.object, *at, &asked)).into(),
        win32_start_address,
        win32_start_module: asked.module,
        position_module: stands.map_or(Known::Absent, |place| place.module),
        position,
        stack,
        breakpoints,
        impersonates: windows.impersonated(thread).into(),
        state: state.map(|state| STATES.get(state as usize).map(|word| (*word).to_owned())).into(),
        create_time: windows.time(thread, "CreateTime"),
        problems,
        ..Thread::default()
    })
}
