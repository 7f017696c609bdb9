//! Memory as the hex view and `kioku read` show it: what is there, what is not, and where it comes from.

use super::{Error, Session};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{PageOrigin, Protection, ReadError, Watch};
use crate::paging::AddressSpace;
use std::sync::{Arc, PoisonError};

/// Which memory an address means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    Physical,
    Kernel,
    /// The address space of a process, named by its process object.
    Process(VirtAddr),
}

/// A piece within one page.
#[derive(Clone, Debug)]
pub struct Piece {
    pub address: u64,
    pub length: usize,
    /// Where the first byte comes from, or why it cannot be read.
    pub origin: Result<PageOrigin, ReadError>,
}

/// Bytes with their gaps.
#[derive(Clone, Debug)]
pub struct Bytes {
    pub start: u64,
    /// As many bytes as were asked for; those that are missing are zero here and told by `pieces`.
    pub data: Vec<u8>,
    pub pieces: Vec<Piece>,
}

impl Bytes {
    /// The byte at an index; None where it is not in the image.
    pub fn get(&self, index: usize) -> Option<u8> {
        let address = self.start.wrapping_add(index as u64);
        let piece = self.piece(address)?;
        piece.origin.is_ok().then(|| self.data.get(index).copied())?
    }
    /// The piece that holds an address.
    pub fn piece(&self, address: u64) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.address <= address);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        (address - piece.address < piece.length as u64).then_some(piece)
    }
}

/// What one read may ask for: a screenful is far below, a whole region is read in steps.
pub const MOST_BYTES: usize = 16 << 20;
/// Address spaces that stay open, for opening one of a process means to read all its regions.
const MOST_SPACES: usize = 4;

/// Address spaces that were opened, the last one first.
pub(super) type Opened = Vec<(Space, Arc<AddressSpace>)>;

impl Session {
    fn space(&self, space: Space) -> Result<Arc<AddressSpace>, Error> {
        let mut opened = self.0.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = opened.iter().position(|(known, _)| *known == space) {
            let found = opened.remove(at);
            opened.insert(0, found);
        } else {
            drop(opened);
            let system = self.system();
            let fresh = match space {
                Space::Physical => system.space().physical(),
                Space::Kernel => system.space().with_root(system.space().root()),
                Space::Process(process) => system.process_space(process).map_err(|why| Error(format!("process {process}: {why}")))?,
            };
            opened = self.0.spaces.lock().unwrap_or_else(PoisonError::into_inner);
            opened.insert(0, (space, Arc::new(fresh)));
            opened.truncate(MOST_SPACES);
        }
        opened.first().map(|(_, space)| Arc::clone(space)).ok_or_else(|| Error("no address space".to_owned()))
    }

    /// How people name an address: its module, and the symbol there. Costs no sweep.
    pub fn name_at(&self, space: Space, at: u64) -> Option<String> {
        match space {
            Space::Physical => None,
            Space::Kernel => self.system().name_at(None, VirtAddr(at)),
            Space::Process(process) => self.system().name_at(Some(process), VirtAddr(at)),
        }
    }

    /// Reads up to [`MOST_BYTES`]; an address range that ends at the top of the space is cut there.
    pub fn read(&self, space: Space, start: u64, length: usize) -> Result<Bytes, Error> {
        let room = usize::try_from(u64::MAX - start).unwrap_or(usize::MAX).saturating_add(1);
        let mut data = vec![0; length.min(MOST_BYTES).min(room)];
        let space = self.space(space)?;
        let mut pieces = Vec::with_capacity(data.len() / PAGE_SIZE as usize + 2);
        let (mut at, mut rest) = (start, data.as_mut_slice());
        while !rest.is_empty() {
            let length = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(rest.len());
            let (piece, after) = rest.split_at_mut(length);
            pieces.push(Piece { address: at, length, origin: space.read_in_page(VirtAddr(at), piece) });
            at = at.wrapping_add(length as u64);
            rest = after;
        }
        Ok(Bytes { start, data, pieces })
    }

    /// The rights that the page tables give to the page of an address; None for physical memory and where nothing is mapped.
    pub fn rights(&self, space: Space, at: u64) -> Option<Protection> {
        if space == Space::Physical {
            return None;
        }
        let leaf = self.space(space).ok()?.leaf(VirtAddr(at).page()).ok()?;
        Some(Protection { read: true, write: leaf.writable, execute: leaf.executable, ..Protection::default() })
    }

    /// Whether the page of an address can be read, and the addresses around it of which the same is known to be true.
    fn presence(&self, space: Space, open: &AddressSpace, at: u64) -> (bool, u64, u64) {
        if space == Space::Physical {
            let ranges = &self.info().memory;
            if let Some(range) = ranges.iter().find(|range| range.contains(crate::address::PhysAddr(at))) {
                return (true, range.start.0, range.end().0 - 1);
            }
            let first = ranges.iter().map(|range| range.end().0).filter(|end| *end <= at).max().unwrap_or(0);
            let last = ranges.iter().map(|range| range.start.0).filter(|start| *start > at).min();
            return (false, first, last.map_or(u64::MAX, |start| start - 1));
        }
        // Between the two halves of the space no address is valid.
        let half = 1_u64 << (11 + 9 * u32::from(open.levels().number()));
        if (half..half.wrapping_neg()).contains(&at) {
            return (false, half, half.wrapping_neg() - 1);
        }
        let page = at & !(PAGE_SIZE - 1);
        if open.read_in_page(VirtAddr(at), &mut [0]).is_ok() {
            return (true, page, page + (PAGE_SIZE - 1));
        }
        // What is mapped, or paged out, is looked at page by page. Programs reserve terabytes for which there is not even a page table: of
        // each stretch that one would tell of, the first page speaks for the others.
        let size = match open.leaf(VirtAddr(at)) {
            Err(ReadError::NotMapped(_)) => open.gap(VirtAddr(at)),
            Err(ReadError::SharedByRegion(_) | ReadError::Decommitted(_) | ReadError::InMappedFile(_)) => {
                open.gap(VirtAddr(at)).min(PAGE_SIZE << 9)
            }
            _ => PAGE_SIZE,
        };
        let start = at & !(size - 1);
        (false, start, start + (size - 1))
    }

    /// Where the next stretch of memory begins that can be read, after what cannot: beyond the end of the stretch that `at` is in, or of the
    /// gap. Backwards, where the stretch before begins to be read from: its last page.
    pub fn next_stretch(&self, space: Space, at: u64, forward: bool, watch: &Watch) -> Result<Option<u64>, Error> {
        let open = self.space(space)?;
        let (mut at, mut left) = (at, false);
        loop {
            if watch.cancelled() {
                return Err(Error("search for memory cancelled".to_owned()));
            }
            let (present, first, last) = self.presence(space, &open, at);
            if present && left {
                return Ok(Some(if forward { first } else { last & !(PAGE_SIZE - 1) }));
            }
            left |= !present;
            let next = if forward { last.checked_add(1) } else { first.checked_sub(1) };
            match next {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
    }
}
