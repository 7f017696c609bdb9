//! Hooks written into the kernel's own code: functions that jump out of it as soon as they are called.

use super::Linux;
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::Watch;
use crate::paging::JUMP;
use std::ops::Range;

/// Bytes of code that are read in one go; many times the code of any kernel.
const CHUNK: u64 = 1 << 20;
const MOST_CODE: u64 = 1 << 28;
/// What may stand before the jump: a landing place, and that of a call by ftrace.
const LANDING: usize = 4;
const TRACED: usize = 5;
const START: usize = LANDING + TRACED + JUMP;
/// ENDBR64, and what the kernel writes over those that nothing needs (gen_endbr_poison, arch/x86/include/asm/ibt.h).
const LANDINGS: [[u8; LANDING]; 3] = [[0xf3, 0x0f, 0x1e, 0xfa], [0x66, 0x0f, 0x1f, 0x00], [0x0f, 0x1f, 0x40, 0xd6]];

/// A function that jumps out of the kernel's code.
pub(super) struct Jump<'a> {
    pub function: &'a str,
    /// The jump, its bytes, and where it leads.
    pub at: VirtAddr,
    pub bytes: Vec<u8>,
    pub to: VirtAddr,
}

/// The functions of the kernel that jump out of its code, and the bytes of it that could not be read.
pub(super) fn jumps<'a>(linux: &'a Linux, kernel: &Range<VirtAddr>, watch: &Watch) -> (Vec<Jump<'a>>, u64) {
    let symbols = linux.profile.symbols();
    let end = kernel.end.0.min(kernel.start.0.saturating_add(MOST_CODE));
    let mut code = vec![0; CHUNK as usize + START];
    let (mut found, mut unread, mut last) = (Vec::new(), 0, VirtAddr(0));
    for start in (kernel.start.0..end).step_by(CHUNK as usize) {
        if watch.cancelled() {
            break;
        }
        let stop = end.min(start + CHUNK);
        code.truncate((stop - start) as usize + START);
        unread += (stop - start).saturating_sub(read(linux, VirtAddr(start), &mut code));
        for symbol in symbols.within(VirtAddr(start)..VirtAddr(stop)) {
            let begin = (symbol.address.0 - start) as usize;
            // One place may have several names.
            if std::mem::replace(&mut last, symbol.address) == symbol.address {
                continue;
            }
            let Some((skip, to, length)) =
                code.get(begin..).and_then(|code| first_jump(code, symbol.address, |code, at| linux.space.kernel_jump(code, at)))
            else {
                continue;
            };
            let at = symbol.address.offset(skip as u64);
            let to = out_of(linux, kernel, to);
            if let Some((to, bytes)) = to.zip(code.get(begin + skip..begin + skip + length)) {
                found.push(Jump { function: symbol.name, at, bytes: bytes.to_vec(), to });
            }
        }
    }
    (found, unread)
}

/// Reads what there is, and tells how much. What is missing is zero, and zeros are no jump.
fn read(linux: &Linux, start: VirtAddr, code: &mut [u8]) -> u64 {
    let (mut done, mut next) = (0, 0);
    linux.space.mapped(start, start.offset(code.len() as u64), &mut |at, leaf, length| {
        let begin = (at.0 - start.0) as usize;
        let end = begin.saturating_add(length as usize);
        code.get_mut(next..begin).unwrap_or_default().fill(0);
        let Some(part) = code.get_mut(begin..end) else { return };
        next = end;
        // Code is mapped in large pages, of which an image may lack a piece.
        if leaf.frame().is_some_and(|frame| linux.image.read(frame, part).is_ok()) {
            done += length;
        } else {
            part.fill(0);
            linux.space.read_available(at, part, |_, read| done += if read.is_ok() { PAGE_SIZE } else { 0 });
        }
    });
    code.get_mut(next..).unwrap_or_default().fill(0);
    done
}

/// The jump that a function begins with: how far from its start, where to, and how long.
fn first_jump(
    code: &[u8],
    at: VirtAddr,
    jump: impl Fn(&[u8; JUMP], VirtAddr) -> Option<(VirtAddr, usize)>,
) -> Option<(usize, VirtAddr, usize)> {
    let landing = if LANDINGS.iter().any(|landing| code.starts_with(landing)) { LANDING } else { 0 };
    let traced = match code.get(landing..)? {
        [0x0f, 0x1f, 0x44, 0, 0, ..] | [0x66, 0x66, 0x66, 0x66, 0x90, ..] | [0xe8, ..] => TRACED,
        _ => 0,
    };
    [0, landing, landing + traced].into_iter().find_map(|skip| {
        let (to, length) = jump(code.get(skip..)?.first_chunk()?, at.offset(skip as u64))?;
        Some((skip, to, length))
    })
}

/// Where a jump leaves the kernel's code: at once, or by way of a place in it that is the start of nothing.
fn out_of(linux: &Linux, kernel: &Range<VirtAddr>, to: VirtAddr) -> Option<VirtAddr> {
    if !kernel.contains(&to) {
        return Some(to);
    }
    linux.profile.symbols().nearest(to).filter(|(_, distance)| *distance != 0)?;
    let (next, _) = linux.space.kernel_jump(&linux.space.bytes(to).ok()?, to)?;
    Some(next).filter(|next| !kernel.contains(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_found_behind_what_functions_begin_with() {
        let skip = |code: &[u8]| {
            let mut bytes = [0x90; START];
            bytes[..code.len()].copy_from_slice(code);
            first_jump(&bytes, VirtAddr(0), |code, at| (code[0] == 0xe9).then_some((at, 5))).map(|(skip, ..)| skip)
        };
        assert_eq!(skip(&[0xe9]), Some(0));
        assert_eq!(skip(&[0xf3, 0x0f, 0x1e, 0xfa, 0xe9]), Some(4));
        assert_eq!(skip(&[0x66, 0x0f, 0x1f, 0x00, 0x0f, 0x1f, 0x44, 0, 0, 0xe9]), Some(9));
        assert_eq!(skip(&[0xe8, 1, 2, 3, 4, 0xe9]), Some(5));
        assert_eq!(skip(&[0x55, 0xe9]), None);
        assert_eq!(first_jump(&[0xe9; 3], VirtAddr(0), |_, at| Some((at, 5))), None, "cut off");
    }
}
