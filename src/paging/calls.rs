//! Calls and jumps as they stand in code: what a return address follows, and where rewritten code leads.

use super::AddressSpace;
use crate::address::VirtAddr;

/// Bytes of the longest near call without prefixes.
const LONGEST_CALL: usize = 7;
/// Bytes of code in which a jump is looked for, and jumps that lead to another jump.
pub const JUMP: usize = 16;
const MOST_HOPS: usize = 4;
/// Programs live below it, even with five levels of page tables.
const USER_END: VirtAddr = VirtAddr(1 << 56);

impl AddressSpace {
    /// Whether the instruction before an address calls, so that a call would return there.
    pub fn follows_call(&self, to: VirtAddr) -> bool {
        // The call may be the first thing in its region; zeros are none.
        let mut before = [0; LONGEST_CALL];
        self.read_available(VirtAddr(to.0.saturating_sub(LONGEST_CALL as u64)), &mut before, |_, _| ());
        ends_in_call(&before)
    }

    /// Where rewritten code jumps, in the end: detours go by way of a piece of memory near the code. `mapped` says of an address whether
    /// the image of a file is there; None where nothing is mapped.
    pub fn detour(&self, at: VirtAddr, mapped: impl Fn(VirtAddr) -> Option<bool>) -> Option<VirtAddr> {
        // Of a jump that was there before, only the distance has changed.
        let first = self.jump(at).or_else(|| self.jump(VirtAddr(at.0.checked_sub(1)?)));
        let mut to = first.filter(|to| mapped(*to).is_some())?;
        for _ in 0..MOST_HOPS {
            match self.jump(to).filter(|_| mapped(to) == Some(false)) {
                Some(next) if mapped(next).is_some() => to = next,
                _ => break,
            }
        }
        Some(to)
    }

    /// Where the code at an address jumps at once.
    fn jump(&self, at: VirtAddr) -> Option<VirtAddr> {
        let (to, _) = jump(&self.bytes(at).ok()?, at, |place| self.pointer(place).ok())?;
        Some(to).filter(|to| *to < USER_END)
    }

    /// Where code of a kernel jumps at once, and how many bytes say so.
    pub fn kernel_jump(&self, code: &[u8; JUMP], at: VirtAddr) -> Option<(VirtAddr, usize)> {
        jump(code, at, |place| self.pointer(place).ok()).filter(|(to, _)| to.is_kernel())
    }
}

/// Where code jumps at once, by the forms that hooks are written in, and the bytes of that form.
fn jump(code: &[u8; JUMP], at: VirtAddr, pointer: impl Fn(VirtAddr) -> Option<VirtAddr>) -> Option<(VirtAddr, usize)> {
    let word = |from: usize| Some(i32::from_le_bytes(*code.get(from..)?.first_chunk()?));
    let long = |from: usize| Some(VirtAddr(u64::from_le_bytes(*code.get(from..)?.first_chunk()?)));
    let relative = |length: u64, distance: i32| at.offset(length).offset(i64::from(distance).cast_unsigned());
    // Both halves of 64 bits from one of 32, as the processor of a kernel has it; 32-bit programs lie in the lower half of either.
    let extended = |from: usize| {
        let word = word(from)?;
        let wide = VirtAddr(i64::from(word).cast_unsigned());
        Some(if at.is_kernel() { wide } else { VirtAddr(word.cast_unsigned().into()) })
    };
    Some(match *code {
        // jmp rel32
        [0xe9, ..] => (relative(5, word(1)?), 5),
        // jmp rel8
        [0xeb, distance, ..] => (relative(2, i32::from(distance.cast_signed())), 2),
        // jmp [rip+distance]
        [0xff, 0x25, ..] => (pointer(relative(6, word(2)?))?, 6),
        // mov rax, address; jmp rax | push rax, ret
        [0x48, 0xb8, _, _, _, _, _, _, _, _, 0xff, 0xe0, ..] | [0x48, 0xb8, _, _, _, _, _, _, _, _, 0x50, 0xc3, ..] => (long(2)?, 12),
        // mov rax, address of 32 bits; jmp rax | push rax, ret
        [0x48, 0xc7, 0xc0, _, _, _, _, 0xff, 0xe0, ..] | [0x48, 0xc7, 0xc0, _, _, _, _, 0x50, 0xc3, ..] => (extended(3)?, 9),
        // mov r10 | r11, address; jmp r10 | r11
        [0x49, 0xba, _, _, _, _, _, _, _, _, 0x41, 0xff, 0xe2, ..] | [0x49, 0xbb, _, _, _, _, _, _, _, _, 0x41, 0xff, 0xe3, ..] => {
            (long(2)?, 13)
        }
        // push low; mov dword [rsp+4], high; ret
        [0x68, _, _, _, _, 0xc7, 0x44, 0x24, 0x04, _, _, _, _, 0xc3, ..] => {
            (VirtAddr(u64::from(word(9)?.cast_unsigned()) << 32 | u64::from(word(1)?.cast_unsigned())), 14)
        }
        // push address; ret
        [0x68, _, _, _, _, 0xc3, ..] => (extended(1)?, 6),
        _ => return None,
    })
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
    use super::{JUMP, ends_in_call, jump};
    use crate::address::VirtAddr;

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

    #[test]
    fn the_forms_of_hooks_are_followed() {
        const AT: u64 = 0x1000;
        let to = |code: &[u8]| {
            let mut bytes = [0; JUMP];
            bytes[..code.len()].copy_from_slice(code);
            let pointer = |at: VirtAddr| {
                let from = usize::try_from(at.0.checked_sub(AT)?).ok()?;
                Some(VirtAddr(u64::from_le_bytes(*bytes.get(from..)?.first_chunk()?)))
            };
            jump(&bytes, VirtAddr(AT), pointer).map(|(to, _)| to.0)
        };
        assert_eq!(to(&[0xe9, 0xfb, 0x0f, 0, 0]), Some(0x2000));
        assert_eq!(to(&[0xe9, 0xfb, 0xff, 0xff, 0xff]), Some(0x1000));
        assert_eq!(to(&[0xeb, 0xf9]), Some(0xffb));
        assert_eq!(to(&[0xff, 0x25, 0, 0, 0, 0, 0, 0, 0x42, 0, 0, 0, 0, 0]), Some(0x42_0000));
        assert_eq!(to(&[0x48, 0xb8, 0, 0, 0x42, 0, 0xfd, 0x7f, 0, 0, 0xff, 0xe0]), Some(0x7ffd_0042_0000));
        assert_eq!(to(&[0x49, 0xbb, 0, 0, 0x42, 0, 0xfd, 0x7f, 0, 0, 0x41, 0xff, 0xe3]), Some(0x7ffd_0042_0000));
        assert_eq!(to(&[0x68, 0, 0, 0x42, 0, 0xc7, 0x44, 0x24, 0x04, 0xfd, 0x7f, 0, 0, 0xc3]), Some(0x7ffd_0042_0000));
        assert_eq!(to(&[0x68, 0, 0, 0x42, 0, 0xc3]), Some(0x42_0000));
        // Of an address in the kernel half only the lower half is written.
        let push = [0x68, 0x10, 0xa0, 0x5d, 0xc0, 0xc3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(jump(&push, VirtAddr(0xffff_ffff_8100_0000), |_| None), Some((VirtAddr(0xffff_ffff_c05d_a010), 6)));
        // Code as compilers write it, and a return.
        assert_eq!(to(&[0x48, 0x89, 0x5c, 0x24, 0x08]), None);
        assert_eq!(to(&[0xc3]), None);
    }
}
