//! Threads that are in memory which no file backs, or return to it: by the registers that the kernel saved when they last entered it, and
//! by the return addresses on their stacks.

use super::tasks::Task;
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Entrance, Way};
use crate::paging::AddressSpace;
use crate::symbols::Object;
use std::ops::Range;

/// Threads of a process, and bytes of a stack above its pointer, that are looked at.
const MOST_THREADS: usize = 1024;
const MOST_STACK: u64 = 16 << 10;
/// Of each region one way in is told; a few show that it is no accident.
const MOST_WAYS: usize = 16;
/// Pages of a kernel stack on x86-64: more where the kernel checks its own memory accesses (KASAN).
const KERNEL_STACKS: [u64; 2] = [4, 8];
/// What lies above the saved registers: nothing, or the frame of FRED's entries.
const PADDINGS: [u64; 2] = [0, 16];
/// Segments of user code, of 64 and 32 bits, and of its stack (arch/x86/include/asm/segment.h); the flag that is always set, and the one
/// for interrupts, which user code cannot clear.
const USER_CODE: [u64; 2] = [0x33, 0x23];
const USER_STACK: u64 = 0x2b;
const USER_FLAGS: u64 = 0x202;

/// The ways into regions that threads of a process show.
pub fn of_task(task: &Task<'_>, space: &AddressSpace, regions: &[Range<VirtAddr>]) -> Vec<Entrance> {
    let mut ways = Vec::new();
    let Ok(threads) = task.object.follow_some("signal").and_then(|signal| signal.list("thread_head", "task_struct", "thread_node")) else {
        return ways;
    };
    let inside = |at: VirtAddr| regions.iter().any(|region| region.contains(&at));
    for thread in threads.map_while(Result::ok).take(MOST_THREADS) {
        let (Ok(tid), Some((at, stack))) = (thread.u32("pid"), registers(&thread)) else { continue };
        if inside(at) {
            ways.push(Entrance { way: Way::Stand, from: format!("thread {tid} was in it when it last entered the kernel"), to: at });
        }
        for (place, to) in returns(space, stack, inside) {
            ways.push(Entrance { way: Way::Return, from: format!("the stack of thread {tid} at {place} returns there"), to });
        }
        if ways.len() >= MOST_WAYS {
            break;
        }
    }
    ways
}

/// The instruction and stack pointers of user code, from the top of the thread's kernel stack (struct pt_regs). None where there are none,
/// or none that hold together.
fn registers(thread: &Object<'_>) -> Option<(VirtAddr, VirtAddr)> {
    let context = thread.context();
    let stack = thread.pointer("stack").ok()?;
    let size = u64::from(context.profile.layout("pt_regs").ok()?.size);
    let places = KERNEL_STACKS.iter().flat_map(|pages| PADDINGS.map(|padding| pages * PAGE_SIZE - padding - size));
    let found = places.filter_map(|place| {
        let saved = context.object("pt_regs", stack.offset(place)).ok()?;
        // Beside the selectors newer kernels keep other things.
        let selector = |field| saved.uint(field).map(|value| value & 0xffff).ok();
        let user = USER_CODE.contains(&selector("cs")?) && selector("ss")? == USER_STACK;
        let flags = saved.uint("flags").ok()?;
        let (at, stack) = (saved.pointer("ip").ok()?, saved.pointer("sp").ok()?);
        (user && flags & USER_FLAGS == USER_FLAGS && !at.is_kernel() && !stack.is_kernel()).then_some((at, stack))
    });
    found.into_iter().next()
}

/// Addresses on a stack that stand behind a call and lie `inside`, with their places.
fn returns(space: &AddressSpace, stack: VirtAddr, inside: impl Fn(VirtAddr) -> bool) -> Vec<(VirtAddr, VirtAddr)> {
    let start = VirtAddr(stack.0 & !7);
    let mut words = vec![0; MOST_STACK as usize];
    // Zeros stand for what cannot be read.
    space.read_available(start, &mut words, |_, _| ());
    let mut found = Vec::new();
    for (index, word) in words.as_chunks::<8>().0.iter().enumerate() {
        let to = VirtAddr(u64::from_le_bytes(*word));
        if !inside(to) || found.len() >= MOST_WAYS {
            continue;
        }
        if space.follows_call(to) {
            found.push((start.offset(index as u64 * 8), to));
        }
    }
    found
}
