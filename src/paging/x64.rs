//! x86-64 page tables (Intel SDM volume 3, chapter 4; AMD64 APM volume 2, chapter 5).

use super::{AddressSpace, PageOrigin};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::ReadError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// No page tables: addresses are physical. For objects in memory that no page table maps any more.
    None,
    Four,
    Five,
}

impl Levels {
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
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
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 12 to 51: physical addresses have at most 52 bits.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// A mapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub backing: PageOrigin,
    /// 4 KiB, 2 MiB or 1 GiB.
    pub size: u64,
    pub writable: bool,
    pub executable: bool,
    pub user: bool,
    pub dirty: bool,
    /// Whether the processor would find it; if not, the system's software still knows where its bytes are.
    pub present: bool,
}

impl Leaf {
    /// Where a 4 KiB page within this one is.
    pub fn backing_of(&self, page: VirtAddr) -> PageOrigin {
        self.backing.offset(page.page().0 & (self.size - 1))
    }
    /// The frame, for a page in memory.
    pub fn frame(&self) -> Option<PhysAddr> {
        self.backing.physical()
    }
}

pub fn walk(space: &AddressSpace, at: VirtAddr) -> Result<Leaf, ReadError> {
    let levels = space.levels;
    if levels == Levels::None {
        let backing = PageOrigin::Ram(PhysAddr(at.page().0));
        return Ok(Leaf { backing, size: PAGE_SIZE, writable: true, executable: true, user: false, dirty: false, present: true });
    }
    if !levels.canonical(at) {
        return Err(ReadError::NotMapped(at));
    }
    let mut table = space.root.0;
    let (mut writable, mut executable, mut user) = (true, true, true);
    for level in (0..levels.number()).rev() {
        let entry = entry(space, table, level, at)?;
        if entry & PRESENT == 0 {
            if level > 0 && entry != 0 {
                table = space.software.table(at, entry)?.0 & FRAME;
                continue;
            }
            let backing = space.software.resolve(at, entry)?;
            let (writable, executable) = space.software.rights(entry).unwrap_or((writable, executable));
            return Ok(Leaf { backing, size: PAGE_SIZE, writable, executable, user, dirty: false, present: false });
        }
        writable &= entry & WRITE != 0;
        executable &= entry & NO_EXECUTE == 0;
        user &= entry & USER != 0;
        let large = (level == 1 || level == 2) && entry & LARGE != 0;
        if level == 0 || large {
            let size = PAGE_SIZE << (9 * level);
            let backing = PageOrigin::Ram(PhysAddr(entry & FRAME & !(size - 1)));
            return Ok(Leaf { backing, size, writable, executable, user, dirty: entry & DIRTY != 0, present: true });
        }
        table = entry & FRAME;
    }
    Err(ReadError::NotMapped(at))
}

/// The entry for an address in the table of a level.
fn entry(space: &AddressSpace, table: u64, level: u8, at: VirtAddr) -> Result<u64, ReadError> {
    let mut entry = [0; 8];
    space.image.read(PhysAddr(table + ((at.0 >> (12 + 9 * u32::from(level))) & 0x1ff) * 8), &mut entry)?;
    Ok(u64::from_le_bytes(entry))
}

/// Calls `found` with each mapped page of a range: its address, the leaf cut to the range, and its length within the range.
pub fn mapped(space: &AddressSpace, start: VirtAddr, end: VirtAddr, found: &mut dyn FnMut(VirtAddr, Leaf, u64)) {
    let mut at = start;
    while at < end {
        match walk(space, at) {
            Ok(leaf) => {
                let length = (leaf.size - (at.0 & (leaf.size - 1))).min(end.0 - at.0);
                found(at, Leaf { backing: leaf.backing_of(at), ..leaf }, length);
                at = at.offset(length);
            }
            Err(_) => {
                let size = gap(space, at);
                at = VirtAddr((at.0 & !(size - 1)).saturating_add(size));
            }
        }
        if at <= start {
            return;
        }
    }
}

/// The size of the largest empty stretch around an unmapped page, which is aligned to its size.
pub fn gap(space: &AddressSpace, at: VirtAddr) -> u64 {
    let mut table = space.root.0;
    for level in (0..space.levels.number()).rev() {
        let size = PAGE_SIZE << (9 * level);
        match entry(space, table, level, at) {
            Ok(entry) if entry & (PRESENT | LARGE) == PRESENT && level > 0 => table = entry & FRAME,
            Ok(entry) if entry & PRESENT == 0 && level > 0 && space.software.table(at, entry).is_ok() => {
                table = space.software.table(at, entry).map_or(0, |table| table.0 & FRAME);
            }
            _ => return size,
        }
    }
    PAGE_SIZE
}
