//! Mapped executables turned back into files (Microsoft PE/COFF specification). Headers are written by whoever wrote the program, and
//! what runs may have overwritten them: where they cannot be right, memory is written as it lies, and the reason said.

use super::Windows;
use super::pe::{
    IMAGE_BASE, IMAGE_BASE_32, MOST_IMAGE, MOST_SECTIONS, NEW_HEADER, OPTIONAL, OPTIONAL_SIZE, SECTION_ALIGNMENT, SECTION_COUNT,
    SIZE_OF_HEADERS, SIZE_OF_IMAGE, is_64_bit,
};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Content, Known, Part, Place, ReadError};
use crate::paging::AddressSpace;

/// Headers lie on the first pages; those of real programs take one.
const MOST_HEADERS: u64 = 16 * PAGE_SIZE;
const SECTION_HEADER: u64 = 40;
/// The loader reads raw data from whole sectors only, whatever its pointer says.
const SECTOR: u64 = 512;

/// Headers as they lie in memory.
struct Headers {
    bytes: Vec<u8>,
    /// Offset of the optional header.
    optional: u64,
    is_64_bit: bool,
    /// Offset of the first section header.
    table: u64,
    size_of_image: u64,
    sections: Vec<Section>,
}

struct Section {
    address: u64,
    /// Bytes in memory.
    size: u64,
    raw: u64,
    raw_size: u64,
}

fn number(bytes: &[u8], at: u64, size: usize) -> Option<u64> {
    let start = usize::try_from(at).ok()?;
    let part = bytes.get(start..start.checked_add(size)?)?;
    Some(part.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn put(bytes: &mut [u8], at: u64, size: usize, value: u64) {
    let part = usize::try_from(at).ok().and_then(|start| bytes.get_mut(start..start.checked_add(size)?));
    if let Some(part) = part {
        part.iter_mut().zip(value.to_le_bytes()).for_each(|(byte, new)| *byte = new);
    }
}

impl Headers {
    /// The headers of an image that is at most so long; in words what is wrong with them.
    fn read(space: &AddressSpace, base: VirtAddr, most: u64) -> Result<Self, String> {
        let mut page = vec![0; PAGE_SIZE as usize];
        space.read(base, &mut page).map_err(|why| format!("the headers cannot be read: {why}"))?;
        let wrong = |what: &str| format!("the headers are damaged: {what}");
        let field = |at: u64, size: usize| number(&page, at, size).ok_or_else(|| wrong("they reach beyond their page"));
        if field(0, 2)? != 0x5a4d {
            return Err(wrong("no MZ"));
        }
        let new = field(NEW_HEADER, 4)?;
        if field(new, 4)? != 0x4550 {
            return Err(wrong("no PE signature"));
        }
        let (count, optional_size) = (field(new + SECTION_COUNT, 2)?, field(new + OPTIONAL_SIZE, 2)?);
        let optional = new + OPTIONAL;
        let magic = field(optional, 2)?;
        let is_64_bit = is_64_bit(magic).ok_or_else(|| wrong(&format!("an optional header of kind {magic:#x}")))?;
        let (alignment, size_of_image, header_size) =
            (field(optional + SECTION_ALIGNMENT, 4)?, field(optional + SIZE_OF_IMAGE, 4)?, field(optional + SIZE_OF_HEADERS, 4)?);
        let table = optional + optional_size;
        if count == 0 || count > MOST_SECTIONS {
            return Err(wrong(&format!("{count} sections")));
        }
        if !alignment.is_power_of_two() || alignment > MOST_IMAGE.into() {
            return Err(wrong(&format!("a section alignment of {alignment:#x}")));
        }
        if size_of_image == 0 || size_of_image > most {
            return Err(wrong(&format!("a size of {size_of_image:#x} bytes where {most:#x} can be")));
        }
        let room = header_size.max(table + count * SECTION_HEADER);
        if room > MOST_HEADERS.min(size_of_image) {
            return Err(wrong(&format!("{room:#x} bytes of headers")));
        }
        let mut bytes = vec![0; room as usize];
        space.read(base, &mut bytes).map_err(|why| format!("the headers cannot be read: {why}"))?;
        let mut sections = Vec::new();
        for index in 0..count {
            let at = table + index * SECTION_HEADER;
            let field = |offset: u64| number(&bytes, at + offset, 4).ok_or_else(|| wrong("the table of sections ends early"));
            let (size, address, raw_size, raw) = (field(8)?, field(12)?, field(16)?, field(20)?);
            // Without a size of its own, a section is as long as its raw data.
            let size = if size == 0 { raw_size } else { size };
            let size = size.next_multiple_of(alignment);
            if address < room || address + size > size_of_image.next_multiple_of(alignment.max(PAGE_SIZE)) {
                return Err(wrong(&format!("section {index} lies outside the image")));
            }
            sections.push(Section { address, size, raw: raw - raw % SECTOR, raw_size });
        }
        Ok(Self { bytes, optional, is_64_bit, table, size_of_image, sections })
    }

    /// Says in the headers where the image was loaded.
    fn set_base(&mut self, base: VirtAddr, changes: &mut Vec<String>) {
        let (at, size) = if self.is_64_bit { (self.optional + IMAGE_BASE, 8) } else { (self.optional + IMAGE_BASE_32, 4) };
        let old = number(&self.bytes, at, size).unwrap_or_default();
        // A 32-bit header at a 64-bit address keeps what it says.
        if old != base.0 && (self.is_64_bit || base.0 <= u64::from(u32::MAX)) {
            put(&mut self.bytes, at, size, base.0);
            changes.push(format!("ImageBase at {at:#x}: {old:#x} became {base}, where the image was loaded"));
        }
    }

    /// Says in the headers that sections lie in the file as they do in memory.
    fn set_raw(&mut self, changes: &mut Vec<String>) {
        for (index, section) in self.sections.iter().enumerate() {
            let at = self.table + index as u64 * SECTION_HEADER;
            put(&mut self.bytes, at + 16, 4, section.size);
            put(&mut self.bytes, at + 20, 4, section.address);
        }
        changes.push(format!("SizeOfRawData and PointerToRawData of {} sections: size and address in memory", self.sections.len()));
    }

    /// Raw data, each piece where the file has it.
    fn raw_data(&self, base: VirtAddr) -> Result<Vec<Part>, String> {
        let mut sections: Vec<&Section> = self.sections.iter().filter(|section| section.raw_size > 0).collect();
        sections.sort_by_key(|section| section.raw);
        let mut end = 0;
        let part = |section: &Section| {
            if section.raw < end || section.raw + section.raw_size > MOST_IMAGE.into() {
                return Err(format!("the headers are damaged: raw data at {:#x} lies over other data", section.raw));
            }
            end = section.raw + section.raw_size;
            // What is longer in the file is never mapped.
            let length = section.raw_size.min(section.size);
            Ok(Part { offset: section.raw, length, place: Place::Memory(base.offset(section.address)) })
        };
        sections.into_iter().map(part).collect()
    }

    fn file_size(&self) -> u64 {
        let ends = self.sections.iter().filter(|section| section.raw_size > 0).map(|section| section.raw + section.raw_size);
        ends.fold(self.bytes.len() as u64, u64::max)
    }
}

/// What is known of a mapped executable beside its headers.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub base: VirtAddr,
    /// The bytes that belong to it where its headers do not tell.
    pub size: u64,
    /// The most that its headers may claim.
    pub most: u64,
}

impl Extent {
    /// What was mapped as one piece.
    pub fn mapped(base: VirtAddr, size: u64) -> Self {
        let size = size.min(MOST_IMAGE.into());
        Self { base, size, most: size }
    }
    /// What a program has put together itself, of which `size` bytes are in one piece.
    pub fn loose(base: VirtAddr, size: u64) -> Self {
        Self { most: MOST_IMAGE.into(), ..Self::mapped(base, size) }
    }
}

/// An executable where none was mapped, of which `rest` bytes can be in one piece: a program may have read a file there, or laid its
/// sections out as the loader does. None where the headers cannot be right.
pub fn carved(space: &AddressSpace, base: VirtAddr, rest: u64) -> Option<Content> {
    let headers = Headers::read(space, base, MOST_IMAGE.into()).ok()?;
    let first = headers.sections.iter().map(|section| section.address).min()?.min(MOST_HEADERS);
    let length = headers.bytes.len() as u64;
    // Behind the headers of what is laid out comes nothing up to the first section; in a file there is the first section.
    let mut gap = vec![0; usize::try_from(first.checked_sub(length)?.min(rest.saturating_sub(length))).ok()?];
    let flat = space.read(base.offset(length), &mut gap).is_ok() && gap.iter().any(|byte| *byte != 0);
    if !flat {
        return Some(rebuilt(space, Extent::loose(base, rest), false, "carved"));
    }
    Some(Content::carved("file", base, headers.file_size(), rest))
}

/// An executable as a file, from where it is mapped.
pub fn rebuilt(space: &AddressSpace, extent: Extent, as_mapped: bool, kind: &'static str) -> Content {
    let Extent { base, size, most } = extent;
    let read = Headers::read(space, base, most).and_then(|headers| {
        let parts = if as_mapped { Vec::new() } else { headers.raw_data(base)? };
        Ok((headers, parts))
    });
    let (mut headers, mut parts) = match read {
        Ok(read) => read,
        Err(why) => {
            return Content {
                layout: Known::Value("memory"),
                size: Known::Value(size),
                problems: vec![format!("{why}; written as it lies in memory")],
                ..Content::new(kind, vec![Part { offset: 0, length: size, place: Place::Memory(base) }])
            };
        }
    };
    let (mut changes, mut problems) = (Vec::new(), Vec::new());
    headers.set_base(base, &mut changes);
    let length = headers.bytes.len() as u64;
    let size = if as_mapped {
        headers.set_raw(&mut changes);
        parts.push(Part {
            offset: length,
            length: headers.size_of_image.saturating_sub(length),
            place: Place::Memory(base.offset(length)),
        });
        headers.size_of_image
    } else {
        if headers.sections.iter().any(|section| section.size > section.raw_size.next_multiple_of(PAGE_SIZE)) {
            problems
                .push("what sections hold in memory beyond their raw data has no place in the file; the memory layout has it".to_owned());
        }
        headers.file_size()
    };
    parts.push(Part { offset: 0, length, place: Place::Changed(base, headers.bytes) });
    let layout = Known::Value(if as_mapped { "memory" } else { "file" });
    Content { layout, size: Known::Value(size), changes, problems, ..Content::new(kind, parts) }
}

impl Windows {
    /// Where the kernel mapped the program of a process, and where the process itself says it is.
    pub fn program_base(&self, process: VirtAddr) -> Result<(VirtAddr, Option<VirtAddr>), ReadError> {
        let process = self.context().object("_EPROCESS", process)?;
        let base = process.pointer("SectionBaseAddress")?;
        let told = self.with_peb(&process, |peb| peb.pointer("ImageBaseAddress")).ok().flatten();
        Ok((base, told))
    }

    /// An address space in which a kernel module is mapped: those of sessions are not mapped in System.
    pub fn space_of_module(&self, base: VirtAddr) -> AddressSpace {
        let there = |space: &AddressSpace| space.backing(base).is_ok();
        let own = self.space.with_root(self.space.root());
        if there(&own) {
            return own;
        }
        let process = |address| self.context().object("_EPROCESS", address).and_then(|process| self.space_of(&process)).ok();
        let mut others = self.listed().members.iter().filter_map(|member| process(member.address));
        others.find(there).unwrap_or(own)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::image::Image;
    use crate::paging::Levels;
    use crate::windows::pages::WindowsPages;
    use std::sync::Arc;

    const BASE: VirtAddr = VirtAddr(0x10000);

    /// A program of two sections, mapped; `spoil` may change its first page.
    fn mapped(spoil: impl FnOnce(&mut [u8])) -> AddressSpace {
        let mut memory = vec![0; 0x20000];
        memory[0] = 0xf3;
        let image = &mut memory[0x10000..];
        let mut word = |at: usize, size: usize, value: u64| image[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        word(0, 2, 0x5a4d);
        word(0x3c, 4, 0x80);
        word(0x80, 4, 0x4550);
        word(0x86, 2, 2);
        word(0x94, 2, 0xf0);
        word(0x98, 2, 0x20b);
        word(0x98 + 0x18, 8, 0x1_4000_0000);
        word(0x98 + 0x20, 4, 0x1000);
        word(0x98 + 0x24, 4, 0x200);
        word(0x98 + 0x38, 4, 0x4000);
        word(0x98 + 0x3c, 4, 0x400);
        for (index, (size, address, raw_size, raw)) in
            [(0x1234, 0x1000, 0x1400, 0x400), (0x800, 0x3000, 0x200, 0x1800)].into_iter().enumerate()
        {
            let at = 0x98 + 0xf0 + index * 40;
            for (offset, value) in [(8, size), (12, address), (16, raw_size), (20, raw)] {
                word(at + offset, 4, value);
            }
        }
        image[0x1000..0x3000].fill(0xcc);
        image[0x3000..0x4000].fill(0xdd);
        spoil(image);
        let image = Arc::new(Image::open_bytes("program", memory.leak()).unwrap());
        AddressSpace::new(image, PhysAddr(0), Levels::None, Arc::new(WindowsPages::minimal()))
    }

    fn spans(content: &Content) -> Vec<(u64, u64)> {
        content.parts().iter().map(|part| (part.offset, part.length)).collect()
    }

    #[test]
    fn sections_go_back_to_their_places() {
        let space = mapped(|_| ());
        let file = rebuilt(&space, Extent::mapped(BASE, 0x4000), false, "library");
        assert_eq!(file.layout, Known::Value("file"));
        assert_eq!(spans(&file), [(0, 0x400), (0x400, 0x1400), (0x1800, 0x200)]);
        assert_eq!(file.size, Known::Value(0x1a00));
        assert_eq!(file.parts()[2].place, Place::Memory(BASE.offset(0x3000)));
        let Place::Changed(at, header) = &file.parts()[0].place else { panic!("{:?}", file.parts()) };
        assert_eq!((*at, number(header, 0xb0, 8)), (BASE, Some(BASE.0)));
        assert_eq!(file.changes.len(), 1);

        let memory = rebuilt(&space, Extent::mapped(BASE, 0x4000), true, "library");
        assert_eq!(memory.layout, Known::Value("memory"));
        assert_eq!(spans(&memory), [(0, 0x400), (0x400, 0x3c00)]);
        let Place::Changed(_, header) = &memory.parts()[0].place else { panic!("{:?}", memory.parts()) };
        assert_eq!((number(header, 0x188 + 16, 4), number(header, 0x188 + 20, 4)), (Some(0x2000), Some(0x1000)));
        assert_eq!(memory.changes.len(), 2);
    }

    #[test]
    fn damaged_headers_give_memory_as_it_lies() {
        for (what, at, size, value) in [
            ("MZ", 0, 2, 0),
            ("beyond", 0x3c, 4, 0xffff_ffff),
            ("PE", 0x80, 4, 0),
            ("beyond", 0x3c, 4, 0xffe),
            ("65535 sections", 0x86, 2, 0xffff),
            ("0 sections", 0x86, 2, 0),
            ("bytes of headers", 0x94, 2, 0xffff),
            ("kind", 0x98, 2, 0),
            ("alignment", 0x98 + 0x20, 4, 3),
            ("size of 0x0", 0x98 + 0x38, 4, 0),
            ("size of 0xffffffff", 0x98 + 0x38, 4, 0xffff_ffff),
            ("bytes of headers", 0x98 + 0x3c, 4, 0xffff_fff0),
            ("outside", 0x188 + 8, 4, 0xffff_ffff),
            ("outside", 0x188 + 12, 4, 0xffff_f000),
            ("over other data", 0x188 + 16, 4, 0xffff_ffff),
            ("over other data", 0x188 + 20, 4, 0xffff_fe00),
            ("over other data", 0x188 + 20, 4, 0x1800),
        ] {
            let space = mapped(|image| put(image, at, size, value));
            let content = rebuilt(&space, Extent::mapped(BASE, 0x4000), false, "library");
            assert_eq!(content.layout, Known::Value("memory"), "{what}");
            assert_eq!(spans(&content), [(0, 0x4000)], "{what}");
            assert!(content.problems[0].contains(what), "{what}: {:?}", content.problems);
            assert!(content.changes.is_empty());
        }
        let nothing = rebuilt(&mapped(|_| ()), Extent::loose(VirtAddr(0x7000_0000), PAGE_SIZE), false, "module");
        assert_eq!(spans(&nothing), [(0, PAGE_SIZE)]);
        assert!(nothing.problems[0].contains("cannot be read"));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_answered(noise in proptest::collection::vec((0usize..0x200, proptest::prelude::any::<u8>()), 0..8), as_mapped in proptest::prelude::any::<bool>()) {
            let space = mapped(|image| noise.iter().for_each(|(at, byte)| image[*at] = *byte));
            let content = rebuilt(&space, Extent::loose(BASE, 0x4000), as_mapped, "library");
            assert!(content.end() <= u64::from(MOST_IMAGE));
        }
    }
}
