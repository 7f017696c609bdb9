//! Portable Executables as they lie mapped in memory (Microsoft PE/COFF specification): pages may be missing, sizes may lie.

use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::ReadError;
use crate::paging::AddressSpace;

/// Larger than any module: a limit for what a header may claim.
pub const MOST_IMAGE: u32 = 1 << 30;
/// Where the PE signature is told; from there on NumberOfSections, SizeOfOptionalHeader and the optional header, with fields of that one.
pub const NEW_HEADER: u64 = 0x3c;
pub const SECTION_COUNT: u64 = 6;
pub const OPTIONAL_SIZE: u64 = 0x14;
pub const OPTIONAL: u64 = 0x18;
pub const SIZE_OF_IMAGE: u64 = 0x38;
pub const SIZE_OF_HEADERS: u64 = 0x3c;
pub const SECTION_ALIGNMENT: u64 = 0x20;
/// ImageBase, of four bytes in a 32-bit image, and what follows it.
pub const IMAGE_BASE: u64 = 0x18;
pub const IMAGE_BASE_32: u64 = 0x1c;
const ENTRY_POINT: u64 = 0x10;
const IMAGE_BASE_END: u64 = 0x20;
const DEBUG_DIRECTORY: usize = 6;
/// IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR: of code that .NET compiles when it runs.
const MANAGED_DIRECTORY: usize = 14;
/// Descriptors of imported libraries, and of those that are loaded at the first call: the directory, the size of a descriptor, and where
/// it has the table to look up, the library's name and the slots (IMAGE_IMPORT_DESCRIPTOR, IMAGE_DELAYLOAD_DESCRIPTOR).
const IMPORT_TABLES: [(usize, u64, [u64; 3]); 2] = [(1, 20, [0, 12, 16]), (13, 32, [16, 4, 12])];
/// IMAGE_DIRECTORY_ENTRY_EXPORT, and the parts of IMAGE_EXPORT_DIRECTORY.
const EXPORT_DIRECTORY: usize = 0;
const EXPORT_COUNT: u64 = 0x14;
const EXPORT_NAMES: u64 = 0x18;
const EXPORT_FUNCTIONS: u64 = 0x1c;
const MOST_EXPORTS: u64 = 1 << 16;
const MOST_NAME: usize = 128;
/// What Windows itself loads.
pub const MOST_SECTIONS: u64 = 96;
const SECTION_BYTES: u64 = 40;
/// IMAGE_SCN_MEM_EXECUTE.
const SECTION_EXECUTE: u64 = 0x2000_0000;
/// How many import descriptors are looked at.
const MOST_IMPORTED: u64 = 1024;
const MOST_DEBUG_ENTRIES: u64 = 32;
const CODEVIEW: u64 = 2;

/// The headers of a mapped module.
#[derive(Clone, Debug)]
pub struct Headers {
    pub base: VirtAddr,
    pub size: u32,
    pub is_64_bit: bool,
    /// What the addresses of sections are multiples of.
    pub alignment: u64,
    nt: VirtAddr,
    /// Start of the data directories.
    directories: VirtAddr,
    directory_count: u32,
}

/// The RSDS record: which PDB belongs to a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdbId {
    pub name: String,
    /// The GUID in upper-case hexadecimal, without dashes.
    pub guid: String,
    pub age: u32,
}

/// Whether an optional header is that of a 64-bit image, by its magic number.
pub fn is_64_bit(magic: u64) -> Option<bool> {
    match magic {
        0x20b => Some(true),
        0x10b => Some(false),
        _ => None,
    }
}

impl Headers {
    pub fn read(space: &AddressSpace, base: VirtAddr) -> Result<Self, ReadError> {
        let bad = ReadError::Implausible("PE header");
        if space.bytes(base)? != *b"MZ" {
            return Err(bad);
        }
        let new = space.uint(base.offset(NEW_HEADER), 4)?;
        let nt = base.offset(new);
        if new > 0x1000 || space.bytes(nt)? != *b"PE\0\0" {
            return Err(bad);
        }
        let optional = nt.offset(OPTIONAL);
        let is_64_bit = is_64_bit(space.uint(optional, 2)?).ok_or(bad)?;
        let size = space.uint(optional.offset(SIZE_OF_IMAGE), 4)? as u32;
        let alignment = space.uint(optional.offset(SECTION_ALIGNMENT), 4)?;
        let directories = optional.offset(if is_64_bit { 0x70 } else { 0x60 });
        let directory_count = (space.uint(VirtAddr(directories.0 - 4), 4)? as u32).min(16);
        if size == 0 || size > MOST_IMAGE {
            return Err(bad);
        }
        Ok(Self { base, size, is_64_bit, alignment, nt, directories, directory_count })
    }

    /// Address and size of a data directory.
    pub fn directory(&self, space: &AddressSpace, index: usize) -> Result<Option<(VirtAddr, u32)>, ReadError> {
        if index >= self.directory_count as usize {
            return Ok(None);
        }
        let entry = self.directories.offset(index as u64 * 8);
        let (rva, size) = (space.uint(entry, 4)? as u32, space.uint(entry.offset(4), 4)? as u32);
        Ok((rva != 0 && rva < self.size).then(|| (self.base.offset(rva.into()), size)))
    }

    /// Whether it holds code for .NET; none where that cannot be read.
    pub fn is_managed(&self, space: &AddressSpace) -> Result<bool, ReadError> {
        self.directory(space, MANAGED_DIRECTORY).map(|directory| directory.is_some())
    }

    /// Where it begins to run, from its base; zero where it never does by itself.
    pub fn entry_point(&self, space: &AddressSpace) -> Result<u64, ReadError> {
        space.uint(self.nt.offset(OPTIONAL + ENTRY_POINT), 4)
    }

    /// The sections as the headers have them. None in an image whose sections share pages, which then share their rights.
    pub fn sections(&self, space: &AddressSpace) -> Result<Vec<Section>, ReadError> {
        if self.alignment < PAGE_SIZE {
            return Ok(Vec::new());
        }
        let (count, table) = (
            space.uint(self.nt.offset(SECTION_COUNT), 2)?.min(MOST_SECTIONS),
            self.nt.offset(OPTIONAL).offset(space.uint(self.nt.offset(OPTIONAL_SIZE), 2)?),
        );
        let section = |index: u64| -> Result<Section, ReadError> {
            let at = table.offset(index * SECTION_BYTES);
            let field = |offset| space.uint(at.offset(offset), 4);
            let (size, start, raw, flags) = (field(8)?, field(12)?, field(16)?, field(36)?);
            let name = String::from_utf8_lossy(&space.bytes::<8>(at)?).trim_end_matches('\0').to_owned();
            let size = if size == 0 { raw } else { size };
            Ok(Section { name, start: self.base.offset(start), size, executable: flags & SECTION_EXECUTE != 0 })
        };
        (0..count).map(section).collect()
    }

    /// Names and addresses in the export directory, as far as it is in memory.
    pub fn exports(&self, space: &AddressSpace) -> Option<Vec<(String, VirtAddr)>> {
        let (directory, _) = self.directory(space, EXPORT_DIRECTORY).ok()??;
        let word = |at: VirtAddr| space.uint(at, 4).ok();
        let count = u64::from(word(directory.offset(EXPORT_NAMES))? as u32).min(MOST_EXPORTS);
        let table = |index: u64| Some(self.base.offset(word(directory.offset(EXPORT_FUNCTIONS + index * 4))?));
        let (functions, names, ordinals) = (table(0)?, table(1)?, table(2)?);
        let export = |index: u64| {
            let name = space.text(self.base.offset(word(names.offset(index * 4))?), MOST_NAME).ok()?;
            let ordinal = space.uint(ordinals.offset(index * 2), 2).ok()?;
            let function = word(functions.offset(ordinal * 4))?;
            let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) && function < u64::from(self.size);
            sound.then(|| (name, self.base.offset(function)))
        };
        Some((0..count).filter_map(export).collect())
    }

    /// The exported function at or shortly before an address, and how far behind its start.
    pub fn export_at(&self, space: &AddressSpace, at: VirtAddr) -> Option<(String, u64)> {
        let (directory, _) = self.directory(space, EXPORT_DIRECTORY).ok()??;
        let word = |at: VirtAddr| space.uint(at, 4).ok();
        let count = |offset| word(directory.offset(offset)).map(|count| count.min(MOST_EXPORTS));
        let table = |index: u64| Some(self.base.offset(word(directory.offset(EXPORT_FUNCTIONS + index * 4))?));
        let read = |at: VirtAddr, bytes: u64| {
            let mut table = vec![0; bytes as usize];
            space.read(at, &mut table).ok().map(|()| table)
        };
        let functions = read(table(0)?, count(EXPORT_COUNT)? * 4)?;
        let rvas = functions.as_chunks::<4>().0.iter().map(|rva| u64::from(u32::from_le_bytes(*rva)));
        let wanted = at.0.checked_sub(self.base.0)?;
        let (ordinal, start) = rvas.enumerate().filter(|(_, rva)| (1..=wanted).contains(rva)).max_by_key(|(_, rva)| *rva)?;
        let ordinals = read(table(2)?, count(EXPORT_NAMES)? * 2)?;
        let index = ordinals.as_chunks::<2>().0.iter().position(|own| usize::from(u16::from_le_bytes(*own)) == ordinal)?;
        let name = space.text(self.base.offset(word(table(1)?.offset(index as u64 * 4))?), MOST_NAME).ok()?;
        let near = wanted - start < PAGE_SIZE;
        (near && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())).then_some((name, wanted - start))
    }

    pub fn pdb(&self, space: &AddressSpace) -> Result<Option<PdbId>, ReadError> {
        let Some((table, size)) = self.directory(space, DEBUG_DIRECTORY)? else { return Ok(None) };
        for index in 0..u64::from(size / 28).min(MOST_DEBUG_ENTRIES) {
            let entry = table.offset(index * 28);
            if space.uint(entry.offset(12), 4)? == CODEVIEW {
                let record = self.base.offset(space.uint(entry.offset(20), 4)?);
                return PdbId::read(space, record).map(Some);
            }
        }
        Ok(None)
    }
}

/// What is the same in the headers of a file and of the image that is made of it: all but the base, which is where the image lies. None
/// where these are no headers.
pub fn identity(page: &[u8]) -> Option<[Vec<u8>; 2]> {
    let number = |at: usize| Some(u32::from_le_bytes(*page.get(at..)?.first_chunk()?) as usize);
    let nt = number(NEW_HEADER as usize)?;
    let optional = nt.checked_add(OPTIONAL as usize)?;
    if !page.starts_with(b"MZ") || page.get(nt..)?.get(..4)? != b"PE\0\0" {
        return None;
    }
    let end = optional.checked_add(number(nt + OPTIONAL_SIZE as usize)? & 0xffff)?;
    // The file header, the optional header up to the base, and what comes behind it.
    Some([page.get(nt..optional + IMAGE_BASE as usize)?.to_vec(), page.get(optional + IMAGE_BASE_END as usize..end)?.to_vec()])
}

/// The base that headers name: in an image, where it was relocated to.
pub fn base(page: &[u8]) -> Option<VirtAddr> {
    let nt = u32::from_le_bytes(*page.get(NEW_HEADER as usize..)?.first_chunk()?) as usize;
    let optional = page.get(nt.checked_add(OPTIONAL as usize)?..).filter(|_| page.starts_with(b"MZ"))?;
    Some(VirtAddr(match is_64_bit(u16::from_le_bytes(*optional.first_chunk()?).into())? {
        true => u64::from_le_bytes(*optional.get(IMAGE_BASE as usize..)?.first_chunk()?),
        false => u32::from_le_bytes(*optional.get(IMAGE_BASE_32 as usize..)?.first_chunk()?).into(),
    }))
}

/// A section of a mapped image.
pub struct Section {
    pub name: String,
    pub start: VirtAddr,
    pub size: u64,
    pub executable: bool,
}

impl Section {
    pub fn holds(&self, at: VirtAddr) -> bool {
        at.0.wrapping_sub(self.start.0) < self.size
    }
}

/// A slot of an import address table.
pub struct Import {
    /// What the loader put there.
    pub to: VirtAddr,
    base: VirtAddr,
    /// The entry that told the loader what to look for, and its width.
    lookup: Option<VirtAddr>,
    width: u32,
    library: VirtAddr,
}

impl Import {
    /// `library!function`, as far as the headers still say.
    pub fn name(&self, space: &AddressSpace) -> String {
        let library = space.text(self.library, 64).unwrap_or_default();
        let told = self.lookup.and_then(|at| space.uint(at, self.width).ok());
        let function = match told {
            Some(entry) if entry >> (self.width * 8 - 1) & 1 != 0 => Some(format!("#{}", entry & 0xffff)),
            // Behind a hint of two bytes.
            Some(entry) => space.text(self.base.offset((entry & 0x7fff_ffff) + 2), 128).ok(),
            None => None,
        };
        format!("{library}!{}", function.unwrap_or_else(|| "?".to_owned()))
    }
}

/// The imports of a module, as far as its tables are in memory; `left` is how many are looked at at most, and then how many still may be.
pub fn imports(space: &AddressSpace, module: &Headers, left: &mut u32, mut show: impl FnMut(&Import)) {
    let width = if module.is_64_bit { 8 } else { 4 };
    let inside = |rva: u64| (rva != 0 && rva < u64::from(module.size)).then(|| module.base.offset(rva));
    let descriptors = IMPORT_TABLES.into_iter().flat_map(|(directory, bytes, fields)| {
        let table = module.directory(space, directory).ok().flatten();
        let at = move |index| table.map(|(table, _)| table.offset(index * bytes));
        (0..MOST_IMPORTED).map_while(at).map_while(move |at| {
            let [lookup, library, slots] = fields.map(|offset| space.uint(at.offset(offset), 4).ok().and_then(inside));
            // The last descriptor is empty.
            Some((lookup, library?, slots?))
        })
    });
    for (lookup, library, slots) in descriptors {
        for index in (0..u64::from(*left)).map(|index| index * u64::from(width)) {
            *left -= 1;
            match space.uint(slots.offset(index), width) {
                Ok(0) | Err(_) => break,
                Ok(to) => show(&Import { to: VirtAddr(to), base: module.base, lookup: lookup.map(|at| at.offset(index)), width, library }),
            }
        }
    }
}

impl PdbId {
    /// Reads an RSDS record: signature, GUID, age, file name.
    pub fn read(space: &AddressSpace, at: VirtAddr) -> Result<Self, ReadError> {
        if space.bytes(at)? != *b"RSDS" {
            return Err(ReadError::Implausible("RSDS record"));
        }
        let guid: [u8; 16] = space.bytes(at.offset(4))?;
        // The first three parts of a GUID are little-endian numbers.
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        let guid = order.iter().map(|index| format!("{:02X}", guid[*index])).collect();
        Ok(Self { name: space.text(at.offset(24), 64)?, guid, age: space.uint(at.offset(20), 4)? as u32 })
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

    const BASE: u64 = 0x1_0000;

    /// An image with one section of code and one of data, two exports, an import, and one that is loaded at the first call.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 0x3000];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &[0x80]);
        put(0x80, b"PE\0\0");
        put(0x86, &[2]);
        put(0x94, &[0xf0]);
        put(0x98, &[0x0b, 2]);
        put(0x98 + 0x18, &BASE.to_le_bytes());
        put(0x98 + 0x21, &[0x10]);
        put(0x98 + 0x39, &[0x30]);
        put(0x98 + 0x6c, &[16]);
        let mut word = |at: usize, value: u32| put(at, &value.to_le_bytes());
        for (directory, rva) in [(0, 0x2000), (1, 0x2100), (13, 0x2200)] {
            word(0x98 + 0x70 + directory * 8, rva);
            word(0x98 + 0x74 + directory * 8, 0x100);
        }
        for (section, (rva, flags)) in [(0x1000, 0x6000_0020), (0x2000, 0xc000_0040)].into_iter().enumerate() {
            let at = 0x188 + section * 40;
            for (field, value) in [(8, 0x1000), (12, rva), (36, flags)] {
                word(at + field, value);
            }
        }
        // Exports: the counts of functions and names, and the three tables.
        for (field, value) in [(0x14, 2), (0x18, 2), (0x1c, 0x2040), (0x20, 0x2050), (0x24, 0x2060)] {
            word(0x2000 + field, value);
        }
        for (at, value) in [(0x2040, 0x1100), (0x2044, 0x1000), (0x2050, 0x2070), (0x2054, 0x2080), (0x2060, 1)] {
            word(at, value);
        }
        for (at, value) in [(0x2100, 0x2140), (0x210c, 0x20a0), (0x2110, 0x2150)] {
            word(at, value);
        }
        for (at, value) in [(0x2204, 0x20b0), (0x220c, 0x2250), (0x2210, 0x2240)] {
            word(at, value);
        }
        for (at, value) in [(0x2140, 0x20c0), (0x2150, 0x7777), (0x2240, 0x20d0), (0x2250, 0x8888)] {
            word(at, value);
        }
        for (at, name) in [(0x2070, "First"), (0x2080, "Second"), (0x20a0, "a.dll"), (0x20b0, "b.dll"), (0x20c2, "Now"), (0x20d2, "Later")]
        {
            put(at, name.as_bytes());
        }
        image
    }

    fn mapped() -> (AddressSpace, Headers) {
        let mut memory = vec![0; BASE as usize];
        memory[0] = 0xf3;
        memory.extend(image());
        let image = Arc::new(Image::open_bytes("library", memory.leak()).unwrap());
        let space = AddressSpace::new(image, PhysAddr(0), Levels::None, Arc::new(WindowsPages::minimal()));
        let headers = Headers::read(&space, VirtAddr(BASE)).unwrap();
        (space, headers)
    }

    #[test]
    fn functions_are_known_by_their_exports() {
        let (space, headers) = mapped();
        let at = |rva: u64| headers.export_at(&space, VirtAddr(BASE + rva));
        assert_eq!(at(0x1000), Some(("First".to_owned(), 0)));
        assert_eq!(at(0x1010), Some(("First".to_owned(), 0x10)));
        assert_eq!(at(0x1108), Some(("Second".to_owned(), 8)));
        assert_eq!((at(0x0fff), at(0x2200)), (None, None));
        assert_eq!(headers.exports(&space).unwrap().len(), 2);
    }

    #[test]
    fn imports_are_found_when_loaded_at_once_and_later() {
        let (space, headers) = mapped();
        let mut found = Vec::new();
        imports(&space, &headers, &mut 100, |import| found.push((import.to.0, import.name(&space))));
        assert_eq!(found, [(0x7777, "a.dll!Now".to_owned()), (0x8888, "b.dll!Later".to_owned())]);
    }

    #[test]
    fn headers_tell_what_may_run_and_are_told_apart_but_for_their_base() {
        let (space, headers) = mapped();
        let sections = headers.sections(&space).unwrap();
        let holder = |rva: u64| sections.iter().find(|section| section.holds(VirtAddr(BASE + rva))).map(|section| section.executable);
        assert_eq!((holder(0x1fff), holder(0x2000), holder(0x80)), (Some(true), Some(false), None));
        let (page, mut moved, mut other) = (image(), image(), image());
        moved[0x98 + 0x1a] = 0x55;
        other[0x98 + 0x10] = 0x55;
        assert_eq!(base(&page), Some(VirtAddr(BASE)));
        assert!(identity(&page).is_some() && identity(&page) == identity(&moved) && identity(&page) != identity(&other));
        assert_eq!((identity(&page[..0x40]), identity(&[])), (None, None));
    }
}
