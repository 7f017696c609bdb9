//! kioku's own profile file: types and symbols of one kernel, small and quick to load, with a record of where they came from.
//!
//! ```text
//! magic (8), version (4), SHA-256 of all that follows (32)
//! provenance: length (4), then texts, each with its length (4)
//! size of the contents (8), then the contents as a raw deflate stream:
//!   BTF blob with its length (8)
//!   number of symbols (8); distances from one address to the next; kinds; lengths of names; names
//! ```
//!
//! All numbers are little endian; distances and lengths of names have seven bits to a byte. The same input gives the same file.

use super::{Btf, SymbolTable};
use crate::address::VirtAddr;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};

pub const MAGIC: &[u8; 8] = b"kiokuSYM";
const VERSION: u32 = 1;
const DIGEST: usize = 32;
const HEADER: usize = MAGIC.len() + 4 + DIGEST;
/// The largest contents that are unpacked.
const MAX_CONTENTS: u64 = 512 << 20;
const MAX_SYMBOLS: u64 = 1 << 22;
const MAX_PROVENANCE: u32 = 1 << 16;

/// Where a profile came from. Texts that are not known are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    pub banner: String,
    pub build_id: String,
    /// What the types were made from: BTF, DWARF, ISF.
    pub types_from: String,
    /// The name of the source file, and its SHA-256 in hexadecimal.
    pub source: String,
    pub source_sha256: String,
    /// The program that wrote the profile, and its version.
    pub program: String,
}

/// An opened profile.
pub struct ProfileFile {
    pub provenance: Provenance,
    pub types: Option<Btf>,
    /// As linked.
    pub symbols: SymbolTable,
}

/// Writes a profile.
pub fn write(provenance: &Provenance, types: Option<&[u8]>, symbols: &SymbolTable) -> std::io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let types = types.unwrap_or_default();
    contents.extend((types.len() as u64).to_le_bytes());
    contents.extend(types);
    contents.extend((symbols.len() as u64).to_le_bytes());
    let mut last = 0;
    for symbol in symbols.iter() {
        put_varint(&mut contents, symbol.address.0.wrapping_sub(last));
        last = symbol.address.0;
    }
    contents.extend(symbols.iter().map(|symbol| symbol.kind));
    symbols.iter().for_each(|symbol| put_varint(&mut contents, symbol.name.len() as u64));
    symbols.iter().for_each(|symbol| contents.extend(symbol.name.as_bytes()));

    let mut texts = Vec::new();
    let Provenance { banner, build_id, types_from, source, source_sha256, program } = provenance;
    for text in [banner, build_id, types_from, source, source_sha256, program] {
        // What is longer is no name.
        let text = text.get(..4096).unwrap_or(if text.len() < 4096 { text } else { "" });
        texts.extend((text.len() as u32).to_le_bytes());
        texts.extend(text.as_bytes());
    }
    let mut body = (texts.len() as u32).to_le_bytes().to_vec();
    body.extend(texts);
    body.extend((contents.len() as u64).to_le_bytes());
    let mut packed = DeflateEncoder::new(body, Compression::best());
    packed.write_all(&contents)?;
    let body = packed.finish()?;

    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend(Sha256::digest(&body));
    file.extend(body);
    Ok(file)
}

impl ProfileFile {
    pub fn open(file: &[u8]) -> Result<Self, &'static str> {
        let (provenance, rest) = read_provenance(file)?;
        let mut rest = Cursor(rest);
        let size = rest.u64().filter(|size| *size <= MAX_CONTENTS).ok_or("the profile is damaged")?;
        if Sha256::digest(&file[HEADER..]).as_slice() != &file[HEADER - DIGEST..HEADER] {
            return Err("the profile is damaged: its checksum is wrong");
        }
        let mut contents = Vec::new();
        let read = DeflateDecoder::new(rest.0).take(size + 1).read_to_end(&mut contents);
        if read.is_err() || contents.len() as u64 != size {
            return Err("the profile is damaged");
        }
        let (types, symbols) = read_contents(&contents).ok_or("the profile is damaged")?;
        let types = if types.is_empty() { None } else { Some(Btf::parse(types.to_vec())?) };
        Ok(Self { provenance, types, symbols })
    }
}

/// The provenance alone, which costs nothing.
pub fn provenance(file: &[u8]) -> Result<Provenance, &'static str> {
    read_provenance(file).map(|(provenance, _)| provenance)
}

fn read_provenance(file: &[u8]) -> Result<(Provenance, &[u8]), &'static str> {
    let mut header = Cursor(file.strip_prefix(MAGIC).ok_or("not a profile")?);
    if header.u32() != Some(VERSION) {
        return Err("the profile is of another version; build it anew");
    }
    let read = |header: &mut Cursor<'_>| -> Option<Provenance> {
        header.take(DIGEST)?;
        let length = header.u32().filter(|length| *length <= MAX_PROVENANCE)?;
        let mut texts = Cursor(header.take(length as usize)?);
        let mut text = || {
            let length = texts.u32()?;
            String::from_utf8(texts.take(length as usize)?.to_vec()).ok()
        };
        Some(Provenance {
            banner: text()?,
            build_id: text()?,
            types_from: text()?,
            source: text()?,
            source_sha256: text()?,
            program: text()?,
        })
    };
    let provenance = read(&mut header).ok_or("the profile is damaged")?;
    Ok((provenance, header.0))
}

fn read_contents(contents: &[u8]) -> Option<(&[u8], SymbolTable)> {
    let mut contents = Cursor(contents);
    let size = usize::try_from(contents.u64()?).ok()?;
    let types = contents.take(size)?;
    // Each symbol has at least a distance, a kind and a length.
    let count = contents.u64().filter(|count| *count <= MAX_SYMBOLS)? as usize;
    if contents.0.len() < count * 3 {
        return None;
    }
    let mut address = 0_u64;
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        address = address.wrapping_add(contents.varint()?);
        addresses.push(address);
    }
    let kinds = contents.take(count)?;
    let lengths: Vec<u64> = (0..count).map(|_| contents.varint()).collect::<Option<_>>()?;
    let mut names = std::str::from_utf8(contents.0).ok()?;
    let mut symbols = SymbolTable::with_capacity(count, names.len());
    for ((address, kind), length) in addresses.into_iter().zip(kinds).zip(lengths) {
        let (name, rest) = names.split_at_checked(usize::try_from(length).ok()?)?;
        symbols.add_kind(name, VirtAddr(address), *kind);
        names = rest;
    }
    symbols.finish();
    Some((types, symbols))
}

/// The rest of a piece of the file.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::symbols::TypeSource;
    use crate::symbols::btf_writer::BtfWriter;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut symbols = SymbolTable::default();
        symbols.add_kind("init_task", VirtAddr(0xffff_ffff_82a1_b2c0), b'D');
        symbols.add_kind("_stext", VirtAddr(0xffff_ffff_8100_0000), b'T');
        symbols.add_kind("current_task", VirtAddr(0x1f_b80), b'A');
        symbols.finish();
        let mut writer = BtfWriter::default();
        let id = writer.reserve();
        writer.composite(id, b"task_struct", false, 9792, Vec::new());
        let provenance = Provenance { banner: "Linux version 6.1".into(), source: "vmlinux".into(), ..Provenance::default() };
        write(&provenance, Some(&writer.finish()), &symbols).unwrap()
    }

    #[test]
    fn what_is_written_is_opened() {
        let file = sample();
        assert_eq!(file, sample(), "the same each time");
        assert_eq!(provenance(&file).unwrap().banner, "Linux version 6.1");
        let opened = ProfileFile::open(&file).unwrap();
        assert_eq!(opened.provenance.source, "vmlinux");
        assert!(opened.types.unwrap().find("task_struct").is_some());
        let symbols: Vec<_> = opened.symbols.iter().map(|symbol| (symbol.name, symbol.address.0, symbol.kind)).collect();
        let expected =
            [("current_task", 0x1f_b80, b'A'), ("_stext", 0xffff_ffff_8100_0000, b'T'), ("init_task", 0xffff_ffff_82a1_b2c0, b'D')];
        assert_eq!(symbols, expected);
    }

    #[test]
    fn damage_is_found() {
        let file = sample();
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert!(ProfileFile::open(&damaged).is_err(), "byte {at}");
            assert!(ProfileFile::open(&file[..at]).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn well_summed_nonsense_does_no_harm(body in proptest::collection::vec(any::<u8>(), 0..200), contents in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut file = MAGIC.to_vec();
            file.extend(VERSION.to_le_bytes());
            file.extend(Sha256::digest(&body));
            file.extend(body);
            let _ = (ProfileFile::open(&file), provenance(&file), read_contents(&contents));
        }
    }
}
