//! The bytes of a file that is put together from memory.

use super::{Session, System};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Content, Hole, PageOrigin, Part, Place, ReadError};
use crate::paging::AddressSpace;

pub struct Contents<'a> {
    system: &'a System,
    space: &'a AddressSpace,
    content: &'a Content,
}

impl Session {
    /// A content and the space that it is about.
    pub(super) fn contents<'a>(&'a self, space: &'a AddressSpace, content: &'a Content) -> Contents<'a> {
        Contents { system: self.system(), space, content }
    }
}

impl Contents<'_> {
    /// Where a byte of the file is; None where no part has it, or that cannot be told.
    pub fn origin(&self, offset: u64) -> Option<PageOrigin> {
        let parts = self.content.parts();
        let part = parts.get(parts.partition_point(|part| part.end() <= offset)).filter(|part| part.offset <= offset)?;
        let into = offset - part.offset;
        match &part.place {
            Place::Memory(first) | Place::Changed(first, _) => {
                let at = first.offset(into);
                self.space.backing(at).ok().map(|page| page.offset(at.in_page()))
            }
            Place::Entries(first) => self.shared(first.offset(into / PAGE_SIZE * 8)).ok().map(|page| page.offset(into % PAGE_SIZE)),
            Place::Frames(first) => Some(PageOrigin::Ram(first.offset(into))),
        }
    }

    fn shared(&self, entry: VirtAddr) -> Result<PageOrigin, ReadError> {
        match self.system {
            System::Windows(windows) => windows.shared_page(entry),
            System::Linux(_) => Err(ReadError::NotMapped(entry)),
        }
    }

    /// Fills `out` with the bytes from an offset on; those that are missing are zero, and told.
    pub fn fill(&self, start: u64, out: &mut [u8], missing: &mut dyn FnMut(Hole)) {
        let end = start + out.len() as u64;
        let mut at = start;
        let gap = |from: u64, to: u64, missing: &mut dyn FnMut(Hole)| {
            if from < to {
                let why = match self.content.kind {
                    "executable" | "library" | "module" => "a part of the file that is never mapped",
                    _ => "not in memory",
                };
                missing(Hole { offset: from, length: to - from, start: None, reason: why.to_owned() });
            }
        };
        let parts = self.content.parts();
        let first = parts.partition_point(|part| part.end() <= start);
        for part in parts.iter().skip(first).take_while(|part| part.offset < end) {
            gap(at, part.offset, missing);
            at = at.max(part.offset);
            while at < part.end().min(end) {
                let rest = out.get_mut((at - start) as usize..(part.end().min(end) - start) as usize).unwrap_or_default();
                at += self.piece(part, at, rest, missing).max(1);
            }
        }
        gap(at, end, missing);
    }

    /// Reads what one page has of a part; its length.
    fn piece(&self, part: &Part, at: u64, out: &mut [u8], missing: &mut dyn FnMut(Hole)) -> u64 {
        let into = at - part.offset;
        let page = |address: u64, out: &[u8]| ((PAGE_SIZE - address % PAGE_SIZE) as usize).min(out.len());
        let (length, address, read) = match &part.place {
            Place::Memory(first) => {
                let address = first.offset(into);
                let length = page(address.0, out);
                (length, Some(address.0), self.space.read_in_page(address, &mut out[..length]).map_err(|why| why.to_string()))
            }
            Place::Frames(first) => {
                let address = first.offset(into);
                let length = page(address.0, out);
                let read = self.space.read_backing(PageOrigin::Ram(address), VirtAddr(0), &mut out[..length]);
                (length, None, read.map_err(|why| why.to_string()))
            }
            Place::Entries(first) => {
                let entry = first.offset(into / PAGE_SIZE * 8);
                let length = page(into, out);
                let found = self.shared(entry);
                let read = found.and_then(|found| self.space.read_backing(found, VirtAddr(into % PAGE_SIZE), &mut out[..length]));
                let told = |why| match why {
                    ReadError::NotMapped(_) | ReadError::InMappedFile(_) => format!("not in memory; its prototype entry is at {entry}"),
                    other => other.to_string(),
                };
                (length, None, read.map_err(told))
            }
            Place::Changed(first, bytes) => {
                let bytes = usize::try_from(into).ok().and_then(|into| bytes.get(into..)).unwrap_or_default();
                let length = bytes.len().min(out.len());
                out[..length].copy_from_slice(&bytes[..length]);
                let read = if length > 0 { Ok(PageOrigin::Zero) } else { Err("never read".to_owned()) };
                (length.max(1), Some(first.offset(into).0), read)
            }
        };
        if let Err(reason) = read {
            out[..length].fill(0);
            missing(Hole { offset: at, length: length as u64, start: address, reason });
        }
        length as u64
    }
}
