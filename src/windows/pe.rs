//! Portable Executables as they lie mapped in memory (Microsoft PE/COFF specification): pages may be missing, sizes may lie.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::paging::AddressSpace;

/// Larger than any module: a limit for what a header may claim.
pub const MOST_IMAGE: u32 = 1 << 30;
/// Where the file header of a PE is told, where the optional header follows it, and fields of that one.
pub const NEW_HEADER: u64 = 0x3c;
pub const OPTIONAL: u64 = 0x18;
pub const SIZE_OF_IMAGE: u64 = 0x38;
const DEBUG_DIRECTORY: usize = 6;
const IMPORT_DIRECTORY: usize = 1;
/// Size of an import descriptor, and how many are looked at.
const IMPORT_BYTES: u64 = 20;
const MOST_IMPORTED: u64 = 1024;
const MOST_DEBUG_ENTRIES: u64 = 32;
const CODEVIEW: u64 = 2;

/// The headers of a mapped module.
#[derive(Clone, Debug)]
pub struct Headers {
    pub base: VirtAddr,
    pub size: u32,
    pub is_64_bit: bool,
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
        let directories = optional.offset(if is_64_bit { 0x70 } else { 0x60 });
        let directory_count = (space.uint(VirtAddr(directories.0 - 4), 4)? as u32).min(16);
        if size == 0 || size > MOST_IMAGE {
            return Err(bad);
        }
        Ok(Self { base, size, is_64_bit, directories, directory_count })
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
    let Ok(Some((table, _))) = module.directory(space, IMPORT_DIRECTORY) else { return };
    let inside = |rva: u64| (rva != 0 && rva < u64::from(module.size)).then(|| module.base.offset(rva));
    for at in (0..MOST_IMPORTED).map(|index| table.offset(index * IMPORT_BYTES)) {
        let field = |offset| space.uint(at.offset(offset), 4).ok().and_then(inside);
        // OriginalFirstThunk, Name, FirstThunk; the last descriptor is empty.
        let (lookup, Some(library), Some(slots)) = (field(0), field(12), field(16)) else { return };
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
