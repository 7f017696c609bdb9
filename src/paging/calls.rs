//! Calls as they stand in code: what a return address follows.

use super::AddressSpace;
use crate::address::VirtAddr;

/// Bytes of the longest near call without prefixes.
const LONGEST_CALL: usize = 7;

impl AddressSpace {
    /// Whether the instruction before an address calls, so that a call would return there.
    pub fn follows_call(&self, to: VirtAddr) -> bool {
        // The call may be the first thing in its region; zeros are none.
        let mut before = [0; LONGEST_CALL];
        self.read_available(VirtAddr(to.0.saturating_sub(LONGEST_CALL as u64)), &mut before, |_, _| ());
        ends_in_call(&before)
    }
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
