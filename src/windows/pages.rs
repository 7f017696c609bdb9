//! What Windows makes of page-table entries that are not present.

use crate::address::{PhysAddr, VirtAddr};
use crate::facts::ReadError;
use crate::paging::{Backing, Software};

/// _MMPTE_TRANSITION and _MMPTE_PROTOTYPE: bits that every version of Windows for x64 keeps in the same place.
const TRANSITION: u64 = 1 << 11;
const PROTOTYPE: u64 = 1 << 10;
const FRAME: u64 = 0x0000_ffff_ffff_f000;

pub struct WindowsPages;

impl Software for WindowsPages {
    fn resolve(&self, at: VirtAddr, entry: u64) -> Result<Backing, ReadError> {
        match entry {
            0 => Err(ReadError::NotMapped(at)),
            // On its way out of the working set, the frame not yet used for anything else.
            entry if entry & (TRANSITION | PROTOTYPE) == TRANSITION => Ok(Backing::Ram(PhysAddr(entry & FRAME))),
            _ => Err(ReadError::PagedOut(at)),
        }
    }
}
