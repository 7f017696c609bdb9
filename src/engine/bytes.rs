//! Memory as the hex view and `kioku read` show it: what is there, what is not, and where it comes from.

use super::{Error, Session};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{PageOrigin, ReadError};
use crate::paging::AddressSpace;

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
        let piece = self.pieces.iter().find(|piece| address.wrapping_sub(piece.address) < piece.length as u64)?;
        piece.origin.is_ok().then(|| self.data.get(index).copied())?
    }
}

/// What one read may ask for: a screenful is far below, a whole region is read in steps.
pub const MOST_BYTES: usize = 16 << 20;

impl Session {
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
        let system = self.system();
        let opened;
        let mapped: Option<&AddressSpace> = match space {
            Space::Physical => None,
            Space::Kernel => Some(system.space()),
            Space::Process(process) => {
                opened = system.process_space(process).map_err(|why| Error(format!("process {process}: {why}")))?;
                Some(&opened)
            }
        };
        let mut pieces = Vec::with_capacity(data.len() / PAGE_SIZE as usize + 2);
        let (mut at, mut rest) = (start, data.as_mut_slice());
        while !rest.is_empty() {
            let length = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(rest.len());
            let (piece, after) = rest.split_at_mut(length);
            let origin = match mapped {
                Some(space) => space.read_in_page(VirtAddr(at), piece),
                None => self.image().read(PhysAddr(at), piece).map(|()| PageOrigin::Ram(PhysAddr(at))),
            };
            pieces.push(Piece { address: at, length, origin });
            at = at.wrapping_add(length as u64);
            rest = after;
        }
        Ok(Bytes { start, data, pieces })
    }
}
