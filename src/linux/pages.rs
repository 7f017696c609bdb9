//! What Linux makes of page-table entries that are not present.

use crate::address::{PhysAddr, VirtAddr};
use crate::facts::ReadError;
use crate::paging::{FRAME, PageOrigin, Software};

/// Set in entries made inaccessible by mprotect(PROT_NONE) or NUMA balancing: not present to the processor, yet the frame is there
/// (arch/x86/include/asm/pgtable_types.h, _PAGE_BIT_PROTNONE). Swap entries have it clear.
const PROT_NONE: u64 = 1 << 8;

pub struct LinuxPages;

impl Software for LinuxPages {
    fn resolve(&self, at: VirtAddr, entry: u64) -> Result<PageOrigin, ReadError> {
        match entry {
            0 => Err(ReadError::NotMapped(at)),
            // The address bits are inverted against L1TF (arch/x86/include/asm/pgtable-invert.h).
            entry if entry & PROT_NONE != 0 => Ok(PageOrigin::Ram(PhysAddr(!entry & FRAME))),
            _ => Err(ReadError::PagedOut(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inaccessible_pages_keep_their_frames() {
        let at = VirtAddr(0x5000);
        assert_eq!(LinuxPages.resolve(at, (!0x20_0000 & FRAME) | PROT_NONE), Ok(PageOrigin::Ram(PhysAddr(0x20_0000))));
        assert_eq!(LinuxPages.resolve(at, 0x1234 << 48), Err(ReadError::PagedOut(at)));
        assert_eq!(LinuxPages.resolve(at, 0), Err(ReadError::NotMapped(at)));
    }
}
