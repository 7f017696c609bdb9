//! Virtual to physical: x86-64 with four and five levels, and spaces to read from.

use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Protection, ReadError};
use crate::image::Image;
use std::sync::Arc;

mod cache;
mod calls;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod x64;

pub use crate::facts::PageOrigin;
use cache::Cache;
pub use calls::JUMP;
pub use x64::{FRAME, Leaf, Levels};

/// What a system makes of an entry that the processor finds not present, at the last level; 0 stands for a missing table too.
pub trait Software: Send + Sync {
    fn resolve(&self, at: VirtAddr, entry: u64) -> Result<PageOrigin, ReadError>;
    /// Where a page table lies whose entry, at a level above the last, is not present and not 0.
    fn table(&self, at: VirtAddr, entry: u64) -> Result<PhysAddr, ReadError> {
        let _ = entry;
        Err(ReadError::NotMapped(at))
    }
    /// Writable and executable, where the entry itself tells.
    fn rights(&self, entry: u64) -> Option<(bool, bool)> {
        let _ = entry;
        None
    }
    /// Reads from a pagefile.
    fn fetch(&self, at: VirtAddr, number: u8, page: u64, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let _ = (at, offset, out);
        Err(ReadError::InPagefile { number, page })
    }
}

/// An address space: an image, a page-table root, and the system's way with pages that are not present.
pub struct AddressSpace {
    image: Arc<Image>,
    root: PhysAddr,
    levels: Levels,
    software: Arc<dyn Software>,
    cache: Cache,
}

impl AddressSpace {
    pub fn new(image: Arc<Image>, root: PhysAddr, levels: Levels, software: Arc<dyn Software>) -> Self {
        Self { image, root: root.page(), levels, software, cache: Cache::default() }
    }
    /// The same memory seen through other page tables.
    pub fn with_root(&self, root: PhysAddr) -> Self {
        Self::new(Arc::clone(&self.image), root, self.levels, Arc::clone(&self.software))
    }
    /// Physical memory as an address space.
    pub fn physical(&self) -> Self {
        Self::new(Arc::clone(&self.image), PhysAddr(0), Levels::None, Arc::clone(&self.software))
    }
    /// The same page tables with another way to what is not present.
    pub fn with_software(&self, software: Arc<dyn Software>) -> Self {
        Self::new(Arc::clone(&self.image), self.root, self.levels, software)
    }
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }
    pub fn root(&self) -> PhysAddr {
        self.root
    }
    pub fn levels(&self) -> Levels {
        self.levels
    }

    /// The page that holds an address: its rights and size, and where its bytes are.
    pub fn leaf(&self, at: VirtAddr) -> Result<Leaf, ReadError> {
        x64::walk(self, at)
    }

    /// The size of the largest empty stretch around an unmapped page, which is aligned to its size.
    pub fn gap(&self, at: VirtAddr) -> u64 {
        x64::gap(self, at)
    }

    /// Calls `found` with each mapped page of a range: its address, the page, and how much of it lies in the range.
    pub fn mapped(&self, start: VirtAddr, end: VirtAddr, found: &mut dyn FnMut(VirtAddr, Leaf, u64)) {
        x64::mapped(self, start, end, found);
    }

    /// Where a range maps the frames of a sorted list: calls `found` with each frame, the address of its page, and the page's rights.
    pub fn find_frames(&self, start: VirtAddr, end: VirtAddr, wanted: &[PhysAddr], found: &mut dyn FnMut(PhysAddr, VirtAddr, Leaf)) {
        self.mapped(start, end, &mut |at, leaf, length| {
            let Some(first) = leaf.frame() else { return };
            let after = wanted.get(wanted.partition_point(|frame| *frame < first)..).unwrap_or_default();
            after.iter().take_while(|frame| frame.0 - first.0 < length).for_each(|frame| found(*frame, at.offset(frame.0 - first.0), leaf));
        });
    }

    /// The parts of the upper half as the topmost table has them: its entry, first address and end of each. Windows leads through one of
    /// them to the tables themselves; that one is left out.
    pub fn upper_half(&self) -> Vec<(u64, VirtAddr, VirtAddr)> {
        x64::upper_half(self)
    }

    /// How many pages of a range the page tables map and the image holds, and the rights that they have, all taken together.
    pub fn resident(&self, start: VirtAddr, end: VirtAddr) -> (u64, Option<Protection>) {
        let (mut pages, mut rights) = (0, None);
        self.mapped(start, end, &mut |_, leaf, length| {
            if leaf.frame().is_some_and(|frame| self.image.holds(frame)) {
                pages += length / PAGE_SIZE;
                let all = rights.get_or_insert(Protection { read: true, ..Protection::default() });
                (all.write, all.execute) = (all.write || leaf.writable, all.execute || leaf.executable);
            }
        });
        (pages, rights)
    }

    /// What a range holds: the address and first bytes of each page that is not all zero, the number of mapped pages, and how many of
    /// them cannot be read. Looks at no more than `most` pages.
    pub fn content(&self, start: VirtAddr, end: VirtAddr, most: u64) -> (Vec<(VirtAddr, Vec<u8>)>, u64, u64) {
        const KEPT: usize = 256;
        let (mut content, mut pages, mut unread) = (Vec::new(), 0, 0);
        self.mapped(start, end, &mut |at, _, length| {
            for at in (0..length).step_by(PAGE_SIZE as usize).map(|page| at.offset(page)).take((most - pages) as usize) {
                pages += 1;
                match self.bytes::<{ PAGE_SIZE as usize }>(at) {
                    Ok(bytes) if bytes.iter().any(|byte| *byte != 0) => content.push((at, bytes[..KEPT].to_vec())),
                    Ok(_) => {}
                    Err(_) => unread += 1,
                }
            }
        });
        (content, pages, unread)
    }

    /// Where the page of an address is.
    pub fn backing(&self, at: VirtAddr) -> Result<PageOrigin, ReadError> {
        let page = at.page();
        if let Some(backing) = self.cache.get(page) {
            return Ok(backing);
        }
        let backing = self.leaf(page)?.backing_of(page);
        self.cache.put(page, backing);
        Ok(backing)
    }

    /// The physical address, for a page in memory.
    pub fn translate(&self, at: VirtAddr) -> Result<PhysAddr, ReadError> {
        match self.backing(at)? {
            PageOrigin::Ram(frame) | PageOrigin::Transition(frame) | PageOrigin::Prototype(frame) => Ok(frame.offset(at.in_page())),
            PageOrigin::Pagefile { number, page } => Err(ReadError::InPagefile { number, page }),
            PageOrigin::Zero => Err(ReadError::PagedOut(at)),
        }
    }

    /// Reads within one page; tells where its first byte comes from.
    pub fn read_in_page(&self, at: VirtAddr, out: &mut [u8]) -> Result<PageOrigin, ReadError> {
        self.read_backing(self.backing(at)?, at, out)
    }

    /// The same for a page that was found by another road; `at` tells the place within it.
    pub fn read_backing(&self, page: PageOrigin, at: VirtAddr, out: &mut [u8]) -> Result<PageOrigin, ReadError> {
        let backing = page.offset(at.in_page());
        match backing {
            PageOrigin::Ram(physical) | PageOrigin::Transition(physical) | PageOrigin::Prototype(physical) => {
                self.image.read(physical, out)?
            }
            PageOrigin::Pagefile { number, page } => self.software.fetch(at, number, page, at.in_page(), out)?,
            PageOrigin::Zero => out.fill(0),
        }
        Ok(backing)
    }

    /// Copies memory; all of `out` or an error for the first address that is missing.
    pub fn read(&self, at: VirtAddr, out: &mut [u8]) -> Result<(), ReadError> {
        self.pieces(at, out, |_, read| read)
    }

    /// Copies what there is, page by page: `page` is told of each piece's address and outcome. Missing pieces of `out` stay as they were.
    pub fn read_available(&self, at: VirtAddr, out: &mut [u8], mut page: impl FnMut(VirtAddr, Result<(), ReadError>)) {
        let told: Result<(), ReadError> = self.pieces(at, out, |at, read| {
            page(at, read);
            Ok(())
        });
        debug_assert!(told.is_ok());
    }

    fn pieces(
        &self,
        at: VirtAddr,
        out: &mut [u8],
        mut told: impl FnMut(VirtAddr, Result<(), ReadError>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let (mut at, mut rest) = (at, out);
        while !rest.is_empty() {
            let length = ((PAGE_SIZE - at.in_page()) as usize).min(rest.len());
            let (piece, after) = rest.split_at_mut(length);
            let read = self.read_in_page(at, piece).map(drop);
            told(at, read)?;
            at = at.offset(length as u64);
            rest = after;
        }
        Ok(())
    }

    pub fn bytes<const N: usize>(&self, at: VirtAddr) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    /// A little-endian integer of 1 to 8 bytes.
    pub fn uint(&self, at: VirtAddr, size: u32) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size as usize).ok_or(ReadError::Implausible("integer size"))?;
        self.read(at, part)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn pointer(&self, at: VirtAddr) -> Result<VirtAddr, ReadError> {
        self.uint(at, 8).map(VirtAddr)
    }

    /// Text up to its first NUL, at most `most` bytes; a missing page after the start ends it.
    pub fn text(&self, at: VirtAddr, most: usize) -> Result<String, ReadError> {
        self.c_bytes(at, most).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub fn c_bytes(&self, at: VirtAddr, most: usize) -> Result<Vec<u8>, ReadError> {
        let mut text = Vec::new();
        let mut at = at;
        while text.len() < most {
            let length = ((PAGE_SIZE - at.in_page()) as usize).min(most - text.len());
            let start = text.len();
            text.resize(start + length, 0);
            if let Err(why) = self.read(at, &mut text[start..]) {
                text.truncate(start);
                return if start == 0 { Err(why) } else { Ok(text) };
            }
            if let Some(end) = memchr::memchr(0, &text[start..]) {
                text.truncate(start + end);
                break;
            }
            at = at.offset(length as u64);
        }
        Ok(text)
    }
}
