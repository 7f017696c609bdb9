//! x86-64 page tables (Intel SDM volume 3, chapter 4; AMD64 APM volume 2, chapter 5).

use super::{AddressSpace, PageOrigin};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Protection, ReadError};

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
/// In entries of large pages.
const PAT: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 12 to 51: physical addresses have at most 52 bits.
pub const FRAME: u64 = 0x000f_ffff_ffff_f000;

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
    pub fn rights(&self) -> Protection {
        Protection { read: true, write: self.writable, execute: self.executable, ..Protection::default() }
    }
    /// The frame, for a page in memory.
    pub fn frame(&self) -> Option<PhysAddr> {
        self.backing.physical()
    }
}

#[derive(Clone, Copy)]
struct Rights {
    writable: bool,
    executable: bool,
    user: bool,
}

impl Rights {
    const ALL: Self = Self { writable: true, executable: true, user: true };

    fn and(self, entry: u64) -> Self {
        Self {
            writable: self.writable && entry & WRITE != 0,
            executable: self.executable && entry & NO_EXECUTE == 0,
            user: self.user && entry & USER != 0,
        }
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
    let (mut table, mut rights) = (space.root.0, Rights::ALL);
    for level in (0..levels.number()).rev() {
        let entry = entry(space, table, level, at)?;
        if entry & PRESENT == 0 {
            if level > 0 && entry != 0 {
                table = space.software.table(at, entry)?.0 & FRAME;
                continue;
            }
            return absent(space, at, entry, rights);
        }
        rights = rights.and(entry);
        match present(entry, level, rights)? {
            Step::Page(leaf) => return Ok(leaf),
            Step::Table(next) => table = next,
        }
    }
    Err(ReadError::NotMapped(at))
}

enum Step {
    Table(u64),
    Page(Leaf),
}

/// Where a present entry leads. The processor refuses one with reserved bits set (SDM, tables 4-14 to 4-20), and so do we: it is no entry.
fn present(entry: u64, level: u8, Rights { writable, executable, user }: Rights) -> Result<Step, ReadError> {
    let large = level > 0 && entry & LARGE != 0;
    let size = PAGE_SIZE << (9 * level);
    let reserved = if large { FRAME & (size - 1) & !PAT } else { 0 };
    if entry & reserved != 0 || (large && level > 2) {
        return Err(ReadError::Implausible("page table entry"));
    }
    if level > 0 && !large {
        return Ok(Step::Table(entry & FRAME));
    }
    let backing = PageOrigin::Ram(PhysAddr(entry & FRAME & !(size - 1)));
    Ok(Step::Page(Leaf { backing, size, writable, executable, user, dirty: entry & DIRTY != 0, present: true }))
}

/// The page of an entry that is not present.
fn absent(space: &AddressSpace, at: VirtAddr, entry: u64, rights: Rights) -> Result<Leaf, ReadError> {
    let backing = space.software.resolve(at, entry)?;
    // What the entry does not tell is not granted.
    let (writable, executable) = space.software.rights(entry).unwrap_or_default();
    Ok(Leaf { backing, size: PAGE_SIZE, writable, executable, user: rights.user, dirty: false, present: false })
}

/// The entry for an address in the table of a level.
fn entry(space: &AddressSpace, table: u64, level: u8, at: VirtAddr) -> Result<u64, ReadError> {
    let mut entry = [0; 8];
    space.image.read(PhysAddr(table + ((at.0 >> (12 + 9 * u32::from(level))) & 0x1ff) * 8), &mut entry)?;
    Ok(u64::from_le_bytes(entry))
}

/// The upper half by entries of the topmost table, those left out that are empty or lead back to it.
pub fn upper_half(space: &AddressSpace) -> Vec<(u64, VirtAddr, VirtAddr)> {
    let Some(top) = space.levels.number().checked_sub(1) else { return Vec::new() };
    let reach = 12 + 9 * u32::from(top);
    // The highest addresses repeat the topmost bit of the index.
    let begin = |index: u64| ((index << reach) << (64 - 9 - reach)).cast_signed() >> (64 - 9 - reach);
    let parts = (256..512).filter_map(|index| {
        let start = VirtAddr(begin(index).cast_unsigned());
        let entry = entry(space, space.root.0, top, start).ok()?;
        let other = entry & PRESENT != 0 && entry & FRAME != space.root.0;
        other.then_some((entry, start, VirtAddr(start.0.saturating_add(1 << reach))))
    });
    parts.collect()
}

/// Calls `found` with each mapped page of a range: its address, the leaf cut to the range, and its length within the range.
pub fn mapped(space: &AddressSpace, start: VirtAddr, end: VirtAddr, found: &mut dyn FnMut(VirtAddr, Leaf, u64)) {
    let levels = space.levels.number();
    let Some(top) = levels.checked_sub(1) else {
        for at in (start.page().0..end.0).step_by(PAGE_SIZE as usize).map(|page| VirtAddr(page.max(start.0))) {
            if let Ok(leaf) = walk(space, at) {
                found(at, leaf, (PAGE_SIZE - at.in_page()).min(end.0 - at.0));
            }
        }
        return;
    };
    // Each table fills a page of the image, and few pages are tables; more is a loop that somebody made.
    let pages = space.image.runs().iter().map(|run| run.length).sum::<u64>() / PAGE_SIZE;
    let mut descent = Descent { space, tables: pages / 4 + 4096, found };
    let half = 1 << (11 + 9 * u32::from(levels));
    for (low, high) in [(start.0, end.0.min(half)), (start.0.max(half.wrapping_neg()), end.0)] {
        if low < high {
            descent.table(space.root.0, top, Rights::ALL, low, high);
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

/// All that a range maps, each table read once.
struct Descent<'a> {
    space: &'a AddressSpace,
    /// How many more tables may be read.
    tables: u64,
    found: &'a mut dyn FnMut(VirtAddr, Leaf, u64),
}

impl Descent<'_> {
    /// What a table maps of a range that lies within its reach.
    fn table(&mut self, table: u64, level: u8, rights: Rights, start: u64, end: u64) {
        let mut bytes = [0; PAGE_SIZE as usize];
        let Some(left) = self.tables.checked_sub(1).filter(|_| self.space.image.read(PhysAddr(table), &mut bytes).is_ok()) else { return };
        self.tables = left;
        let size = PAGE_SIZE << (9 * level);
        let mut at = start;
        while at < end {
            let next = (at & !(size - 1)).saturating_add(size).min(end);
            let index = ((at / size) & 0x1ff) as usize;
            let entry = bytes.as_chunks::<8>().0.get(index).map_or(0, |entry| u64::from_le_bytes(*entry));
            self.entry(entry, level, rights, at, next);
            at = next;
        }
    }

    fn entry(&mut self, entry: u64, level: u8, rights: Rights, start: u64, end: u64) {
        let at = VirtAddr(start);
        if entry & PRESENT != 0 {
            let rights = rights.and(entry);
            match present(entry, level, rights) {
                Ok(Step::Page(leaf)) => (self.found)(at, Leaf { backing: leaf.backing_of(at), ..leaf }, end - start),
                Ok(Step::Table(table)) => self.table(table, level - 1, rights, start, end),
                Err(_) => {}
            }
        } else if level > 0 {
            // No table, no pages.
            if let Some(table) = Some(entry).filter(|entry| *entry != 0).and_then(|entry| self.space.software.table(at, entry).ok()) {
                self.table(table.0 & FRAME, level - 1, rights, start, end);
            }
        } else if let Ok(leaf) = absent(self.space, at, entry, rights) {
            (self.found)(at, leaf, end - start);
        }
    }
}
