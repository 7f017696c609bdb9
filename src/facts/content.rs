//! What a file is put together from: stretches of memory, each with its place in the file.

use super::Known;
use crate::address::{PhysAddr, VirtAddr};

/// Where the bytes of a part are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the address space that the content is about.
    Memory(VirtAddr),
    /// In pages, each of which has a page-table entry of its own in the kernel's memory, from this address on.
    Entries(VirtAddr),
    /// In physical memory.
    Frames(PhysAddr),
    /// In memory, and changed since: the bytes as they are to be written.
    Changed(VirtAddr, Vec<u8>),
}

/// A stretch of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In the file.
    pub offset: u64,
    pub length: u64,
    pub place: Place,
}

impl Part {
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Parts in their order, none over another.
#[derive(Clone, Debug, Default)]
pub struct Parts(Vec<Part>);

/// A file as memory holds it.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// What it was found by: region, executable, library, module, data_section, image_section, cache_map, page_cache,
    /// carved.
    pub kind: &'static str,
    /// `file` as it lies on disk, `memory` as it is mapped.
    pub layout: Known<&'static str>,
    /// The structure that holds its pages.
    pub source: Known<VirtAddr>,
    /// Bytes of the whole file.
    pub size: Known<u64>,
    pub parts: Parts,
    /// What was changed in it.
    pub changes: Vec<String>,
    pub problems: Vec<String>,
}

impl Content {
    /// Parts may come in any order; one ends where the next begins.
    pub fn new(kind: &'static str, mut parts: Vec<Part>) -> Self {
        parts.retain(|part| part.length > 0);
        parts.sort_by_key(|part| part.offset);
        let mut next = u64::MAX;
        for part in parts.iter_mut().rev() {
            part.length = part.length.min(next - part.offset);
            next = part.offset;
            if let Place::Changed(_, bytes) = &mut part.place {
                bytes.truncate(usize::try_from(part.length).unwrap_or(usize::MAX));
            }
        }
        parts.retain(|part| part.length > 0);
        Self { kind, parts: Parts(parts), ..Self::default() }
    }

    /// A program in one piece, of the size that its headers say, where `rest` bytes are left.
    pub fn carved(layout: &'static str, base: VirtAddr, size: u64, rest: u64) -> Self {
        let length = size.min(rest);
        let cut = (length < size).then(|| format!("its headers say {size:#x} bytes, its region ends after {length:#x}"));
        Self {
            layout: Known::Value(layout),
            size: Known::Value(size),
            problems: cut.into_iter().collect(),
            ..Self::new("carved", vec![Part { offset: 0, length, place: Place::Memory(base) }])
        }
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts.0
    }

    /// Where the last part ends.
    pub fn end(&self) -> u64 {
        self.parts.0.last().map_or(0, Part::end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_never_lie_over_each_other() {
        let part = |offset, length, place| Part { offset, length, place };
        let content = Content::new(
            "library",
            vec![
                part(0x3000, 0x3000, Place::Entries(VirtAddr(0x100))),
                part(0, 0x1000, Place::Memory(VirtAddr(0x10_0000))),
                part(0x800, 0x400, Place::Frames(PhysAddr(0x5000))),
                part(0x800, 0x1000, Place::Memory(VirtAddr(0x20_0000))),
                part(0x1400, 0x1d00, Place::Changed(VirtAddr(0x30_0000), vec![7; 0x1d00])),
                part(u64::MAX - 1, u64::MAX, Place::Memory(VirtAddr(0))),
            ],
        );
        let spans: Vec<_> = content.parts().iter().map(|part| (part.offset, part.length)).collect();
        assert_eq!(spans, [(0, 0x800), (0x800, 0xc00), (0x1400, 0x1c00), (0x3000, 0x3000), (u64::MAX - 1, 1)]);
        assert_eq!(content.parts()[1].place, Place::Memory(VirtAddr(0x20_0000)));
        assert_eq!(content.parts()[2].place, Place::Changed(VirtAddr(0x30_0000), vec![7; 0x1c00]));
    }
}
