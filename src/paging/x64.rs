//! x86-64 page tables (Intel SDM volume 3, chapter 4; AMD64 APM volume 2, chapter 5).

use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::ReadError;
use crate::image::Image;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    Four,
    Five,
}

impl Levels {
    pub fn number(self) -> u8 {
        match self {
            Self::Four => 4,
            Self::Five => 5,
        }
    }
    /// Whether an address is canonical.
    fn canonical(self, at: VirtAddr) -> bool {
        let unused = 64 - (12 + 9 * u32::from(self.number()));
        (at.0 << unused).cast_signed() >> unused == at.0.cast_signed()
    }
}

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// Linux keeps this bit in entries made inaccessible by mprotect(PROT_NONE) or NUMA balancing: not present to the processor, yet the
/// frame is there (arch/x86/include/asm/pgtable_types.h, _PAGE_BIT_PROTNONE).
const PROT_NONE: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 12 to 51: physical addresses have at most 52 bits.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// A mapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub frame: PhysAddr,
    /// 4 KiB, 2 MiB or 1 GiB.
    pub size: u64,
    pub writable: bool,
    pub executable: bool,
    pub user: bool,
    pub dirty: bool,
    /// False for a PROT_NONE page: the bytes are there, the process cannot reach them.
    pub accessible: bool,
}

impl Leaf {
    /// The 4 KiB frame for a page within this one.
    pub fn frame_of(&self, page: VirtAddr) -> PhysAddr {
        self.frame.offset(page.page().0 & (self.size - 1))
    }
}

/// An entry's frame. Linux inverts the address bits of PROT_NONE entries against L1TF (arch/x86/include/asm/pgtable-invert.h).
fn frame(entry: u64) -> Option<u64> {
    if entry & PRESENT != 0 {
        Some(entry & FRAME)
    } else if entry & PROT_NONE != 0 {
        Some(!entry & FRAME)
    } else {
        None
    }
}

pub fn walk(image: &Image, root: PhysAddr, levels: Levels, at: VirtAddr) -> Result<Leaf, ReadError> {
    if !levels.canonical(at) {
        return Err(ReadError::NotMapped(at));
    }
    let mut table = root.0;
    let (mut writable, mut executable, mut user) = (true, true, true);
    for level in (0..levels.number()).rev() {
        let shift = 12 + 9 * u32::from(level);
        let slot = PhysAddr(table + ((at.0 >> shift) & 0x1ff) * 8);
        let mut entry = [0; 8];
        image.read(slot, &mut entry)?;
        let entry = u64::from_le_bytes(entry);
        let large = (level == 1 || level == 2) && entry & LARGE != 0;
        let last = level == 0 || large;
        // Only leaves can be PROT_NONE; anything else that is not present holds nothing.
        let Some(address) = frame(entry).filter(|_| last || entry & PRESENT != 0) else {
            return Err(if entry == 0 { ReadError::NotMapped(at) } else { ReadError::PagedOut(at) });
        };
        writable &= entry & WRITE != 0;
        executable &= entry & NO_EXECUTE == 0;
        user &= entry & USER != 0;
        if last {
            let size = PAGE_SIZE << (9 * level);
            return Ok(Leaf {
                frame: PhysAddr(address & !(size - 1)),
                size,
                writable,
                executable,
                user,
                dirty: entry & DIRTY != 0,
                accessible: entry & PRESENT != 0,
            });
        }
        table = address;
    }
    Err(ReadError::NotMapped(at))
}

/// Calls `found` with each mapped page of a range: its address, the leaf cut to the range, and its length within the range.
pub fn mapped(image: &Image, root: PhysAddr, levels: Levels, start: VirtAddr, end: VirtAddr, found: &mut dyn FnMut(VirtAddr, Leaf, u64)) {
    let mut at = start;
    while at < end {
        match walk(image, root, levels, at) {
            Ok(leaf) => {
                let length = (leaf.size - (at.0 & (leaf.size - 1))).min(end.0 - at.0);
                found(at, Leaf { frame: leaf.frame_of(at), ..leaf }, length);
                at = at.offset(length);
            }
            Err(_) => at = skip(image, root, levels, at),
        }
        if at <= start {
            return;
        }
    }
}

/// The first address after the largest empty stretch that begins with an unmapped page.
fn skip(image: &Image, root: PhysAddr, levels: Levels, at: VirtAddr) -> VirtAddr {
    let mut table = root.0;
    for level in (0..levels.number()).rev() {
        let size = PAGE_SIZE << (9 * level);
        let mut entry = [0; 8];
        let slot = PhysAddr(table + ((at.0 >> (12 + 9 * u32::from(level))) & 0x1ff) * 8);
        let present = image.read(slot, &mut entry).is_ok() && u64::from_le_bytes(entry) & (PRESENT | LARGE) == PRESENT;
        if !present || level == 0 {
            return VirtAddr((at.0 & !(size - 1)).saturating_add(size));
        }
        table = u64::from_le_bytes(entry) & FRAME;
    }
    at.offset(PAGE_SIZE)
}
