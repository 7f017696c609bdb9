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
/// The longest form of a call.
const LONGEST_CALL: usize = 7;

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
        // The call may be the first thing in its region; zeros are none.
        let mut before = [0; LONGEST_CALL];
        space.read_available(VirtAddr(to.0.saturating_sub(LONGEST_CALL as u64)), &mut before, |_, _| ());
        if ends_in_call(&before) {
            found.push((start.offset(index as u64 * 8), to));
        }
    }
    found
}

/// Whether code ends in a near call: to a distance (E8), or to where a register or memory says (FF /2).
fn ends_in_call(code: &[u8; LONGEST_CALL]) -> bool {
    let indirect = |length: usize| match code.get(LONGEST_CALL - length..) {
        Some(&[0xff, operand, ref rest @ ..]) if operand & 0x38 == 0x10 => {
            let (mode, register) = (operand >> 6, operand & 7);
            let index = match rest.first() {
                Some(index) if mode != 3 && register == 4 => Some(*index),
                _ => None,
            };
            let distance = match (mode, register, index) {
                (3, ..) => 0,
                (1, ..) => 1,
                (2, ..) | (0, 5, _) => 4,
                (0, _, Some(index)) if index & 7 == 5 => 4,
                _ => 0,
            };
            length == 2 + usize::from(mode != 3 && register == 4) + distance
        }
        _ => false,
    };
    code.get(LONGEST_CALL - 5) == Some(&0xe8) || (2..=LONGEST_CALL).any(indirect)
}

#[cfg(test)]
mod tests {
    use super::ends_in_call;

    #[test]
    fn calls_are_told_from_other_code() {
        for call in [
            [0x90, 0x90, 0xe8, 1, 2, 3, 4],
            [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0],
            [0x90, 0x90, 0x90, 0x90, 0x41, 0xff, 0xd3],
            [0x90, 0x90, 0x90, 0x90, 0xff, 0x50, 0x18],
            [0x90, 0xff, 0x15, 1, 2, 3, 4],
            [0x90, 0x90, 0x90, 0x90, 0xff, 0x14, 0xc8],
            [0xff, 0x94, 0x24, 1, 2, 3, 4],
        ] {
            assert!(ends_in_call(&call), "{call:x?}");
        }
        for other in [
            [0x90; 7],
            [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xe0],
            [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x50],
            [0x90, 0x90, 0x90, 0xe8, 2, 3, 4],
        ] {
            assert!(!ends_in_call(&other), "{other:x?}");
        }
    }
}
