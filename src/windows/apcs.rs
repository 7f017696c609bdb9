//! Calls that wait for threads to make them (asynchronous procedure calls): the kernel's own, and those for their programs.

use super::modules::Place;
use super::processes::Task;
use super::threads::of_process;
use super::{Windows, lists};
use crate::address::VirtAddr;
use crate::facts::windows::Apc;
use crate::facts::{Hex, Known, ReadError, Scope, Sink};
use crate::symbols::{Context, Object};

/// _KOBJECTS of wdm.h.
const APC_OBJECT: u64 = 18;
/// KPROCESSOR_MODE, by which a thread's two queues are told apart.
pub const KERNEL_MODE: u32 = 0;
pub const USER_MODE: u32 = 1;

pub fn apcs(windows: &Windows, scope: Scope, out: &mut Sink<Apc>) {
    let (mut threads, mut broken) = (0, (0, None));
    windows.each_task("calls queued to threads", scope, out, |task, out| {
        for thread in of_process(&task.object) {
            threads += 1;
            if let Err(why) = thread.and_then(|thread| of_thread(windows, task, &thread, out)) {
                broken = (broken.0 + 1, broken.1.or(Some(why)));
            }
        }
        Ok(())
    });
    out.note(format!("threads looked at: {threads}; the queues of most are empty at any moment"));
    if let (count, Some(why)) = broken {
        out.note(format!("the queues of {count} of them cannot be followed to their ends: {why}"));
    }
}

fn of_thread(windows: &Windows, task: &Task<'_>, thread: &Object<'_>, out: &mut Sink<Apc>) -> Result<(), ReadError> {
    let tid = thread.inner("Cid")?.u32("UniqueThread")?;
    let kernel = thread.inner("Tcb")?;
    let mut broken = None;
    for (mode, word) in [(KERNEL_MODE, "kernel"), (USER_MODE, "user")] {
        let (queued, trouble) = queue(&kernel, mode);
        for apc in queued {
            out.push(windows.apc(task, tid, &apc, word, out.watch()));
        }
        broken = broken.or(trouble);
    }
    broken.map_or(Ok(()), Err)
}

/// The calls on one of a thread's queues, by its _KTHREAD, and what broke it.
pub fn queue<'a>(thread: &Object<'a>, mode: u32) -> (Vec<Object<'a>>, Option<ReadError>) {
    let head = match thread.inner("ApcState").and_then(|state| state.element("ApcListHead", mode)) {
        Ok(head) => head.address,
        Err(why) => return (Vec::new(), Some(why)),
    };
    let context: Context<'a> = thread.context();
    let (links, mut trouble) = lists::ring(context, head);
    let verified = |link| -> Result<Object<'a>, ReadError> {
        let apc = context.container("_KAPC", "ApcListEntry", link)?;
        let own = apc.uint("Type")? == APC_OBJECT && apc.pointer("Thread")? == thread.address && apc.uint("ApcMode")? == u64::from(mode);
        if own { Ok(apc) } else { Err(ReadError::Implausible("_KAPC")) }
    };
    let mut found = Vec::new();
    for link in links {
        match verified(link) {
            Ok(apc) => found.push(apc),
            Err(why) => trouble = trouble.or(Some(why)),
        }
    }
    (found, trouble)
}

/// KernelRoutine, RundownRoutine and NormalRoutine, in this order.
fn routine(apc: &Object<'_>, index: u64, name: &'static str) -> Result<VirtAddr, ReadError> {
    // Newer types name the three together.
    if apc.has(name) { apc.pointer(name) } else { apc.context().space.pointer(apc.at("Reserved")?.offset(index * 8)) }
}

/// What the thread is to call, in the mode of the queue.
pub fn normal_routine(apc: &Object<'_>) -> Result<VirtAddr, ReadError> {
    routine(apc, 2, "NormalRoutine")
}

impl Windows {
    fn apc(&self, task: &Task<'_>, tid: u32, apc: &Object<'_>, mode: &'static str, watch: &crate::facts::Watch) -> Apc {
        let mut problems = Vec::new();
        let mut place = |at: &Known<VirtAddr>| {
            let place = at.value().map_or_else(Place::default, |at| self.place_in(&task.object, *at, watch));
            problems.extend(place.problem.clone());
            place
        };
        let some = |read: Result<VirtAddr, ReadError>| Known::from(read.map(|at| Some(at).filter(|at| !at.is_null())));
        let (kernel_routine, routine) = (some(routine(apc, 0, "KernelRoutine")), some(normal_routine(apc)));
        let (kernel, normal) = (place(&kernel_routine), place(&routine));
        let symbol = routine.value().and_then(|at| self.function_at(&task.object, *at, &normal));
        Apc {
            pid: task.pid,
            process: task.name.clone(),
            tid,
            mode,
            routine_symbol: symbol.into(),
            routine,
            routine_module: normal.module,
            context: apc.uint("NormalContext").map(Hex).into(),
            argument_1: apc.uint("SystemArgument1").map(Hex).into(),
            argument_2: apc.uint("SystemArgument2").map(Hex).into(),
            kernel_routine,
            kernel_routine_module: kernel.module,
            address: apc.address,
            process_address: task.object.address,
            problems,
        }
    }
}
