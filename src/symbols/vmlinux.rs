//! A kernel as its build left it: an ELF file with symbols, and types as BTF or DWARF.

use super::{Btf, SymbolTable, dwarf, packed};
use crate::address::VirtAddr;
use object::{CompressionFormat, LittleEndian, Object as _, ObjectSection as _, ReadCache, elf};
use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

/// What such a file gives.
pub struct Vmlinux {
    /// A BTF blob.
    pub types: Option<Vec<u8>>,
    /// Where the types came from.
    pub types_from: &'static str,
    /// As linked.
    pub symbols: SymbolTable,
    pub banner: Option<String>,
    /// In hexadecimal.
    pub build_id: Option<String>,
}

type Elf<'a> = object::read::elf::ElfFile64<'a, LittleEndian, &'a ReadCache<File>>;

/// The largest section that is read.
const MAX_SECTION: u64 = 2 << 30;
const MAX_SYMBOLS: usize = 1 << 22;
const MAX_BANNER: u64 = 1024;

impl Vmlinux {
    pub fn open(path: &Path) -> Result<Self, String> {
        Self::read(path, true)
    }

    /// The banner alone.
    pub fn banner(path: &Path) -> Option<String> {
        let cache = ReadCache::new(File::open(path).ok()?);
        let elf = Elf::parse(&cache).ok()?;
        let (_, at) = symbols(&elf).ok()?;
        banner(&elf, at?)
    }

    /// Reads a file; its BTF only if that is wanted, for it says the same as DWARF in a hundredth of the time.
    fn read(path: &Path, btf: bool) -> Result<Self, String> {
        let file = File::open(path).map_err(|why| why.to_string())?;
        // Sections are read when asked for, and most never are.
        let cache = ReadCache::new(file);
        let elf = Elf::parse(&cache).map_err(|why| format!("not an ELF file for a 64-bit machine: {why}"))?;
        let (symbols, banner_at) = symbols(&elf)?;
        let banner = banner_at.and_then(|at| banner(&elf, at));
        let build_id = elf.build_id().ok().flatten().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
        let blob = if btf { section(&elf, ".BTF")?.into_owned() } else { Vec::new() };
        let blob = Btf::parse(blob).ok().filter(Btf::is_kernel).map(Btf::into_bytes);
        let (types, types_from) = match blob {
            Some(blob) => (Some(blob), "BTF"),
            None => (dwarf_types(&elf)?, "DWARF"),
        };
        if types.is_none() && symbols.is_empty() {
            return Err("the file has neither types nor symbols".into());
        }
        Ok(Self { types, types_from, symbols, banner, build_id })
    }
}

fn dwarf_types(elf: &Elf<'_>) -> Result<Option<Vec<u8>>, String> {
    let info = section(elf, ".debug_info")?;
    if info.is_empty() {
        return Ok(None);
    }
    let (abbrev, strings) = (section(elf, ".debug_abbrev")?, section(elf, ".debug_str")?);
    let (line_strings, string_offsets) = (section(elf, ".debug_line_str")?, section(elf, ".debug_str_offsets")?);
    let sections =
        dwarf::Sections { info: &info, abbrev: &abbrev, strings: &strings, line_strings: &line_strings, string_offsets: &string_offsets };
    dwarf::types(sections).map(Some)
}

/// The contents of a section; nothing if there is none.
fn section<'a>(elf: &Elf<'a>, name: &str) -> Result<Cow<'a, [u8]>, String> {
    let Some(section) = elf.section_by_name(name) else { return old_section(elf, name) };
    let data = section.compressed_data().map_err(|why| format!("{name}: {why}"))?;
    if data.uncompressed_size > MAX_SECTION {
        return Err(format!("{name} is too large"));
    }
    match data.format {
        CompressionFormat::None => Ok(Cow::Borrowed(data.data)),
        CompressionFormat::Zlib => packed::zlib(data.data, data.uncompressed_size).map(Cow::Owned).map_err(|why| format!("{name}: {why}")),
        CompressionFormat::Zstandard => {
            packed::zstd(data.data, data.uncompressed_size).map(Cow::Owned).map_err(|why| format!("{name}: {why}"))
        }
        _ => Err(format!("{name} is compressed in an unknown way")),
    }
}

/// A section as it was compressed before ELF had a flag for it: by another name, with a magic and its size in front.
fn old_section<'a>(elf: &Elf<'a>, name: &str) -> Result<Cow<'a, [u8]>, String> {
    let old_name = name.replacen('.', ".z", 1);
    let data = elf.section_by_name(&old_name).and_then(|section| section.data().ok()).unwrap_or_default();
    let Some((size, packed)) = data.strip_prefix(b"ZLIB").and_then(|rest| rest.split_first_chunk()) else { return Ok(Cow::Borrowed(&[])) };
    let size = u64::from_be_bytes(*size);
    if size > MAX_SECTION {
        return Err(format!("{old_name} is too large"));
    }
    packed::zlib(packed, size).map(Cow::Owned).map_err(|why| format!("{old_name}: {why}"))
}

/// The symbols, and the address of the banner.
fn symbols(elf: &Elf<'_>) -> Result<(SymbolTable, Option<u64>), String> {
    const ENTRY: usize = 24;
    let kinds: Vec<u8> = elf.elf_section_table().iter().map(letter).collect();
    let (entries, names) = (section(elf, ".symtab")?, section(elf, ".strtab")?);
    let mut table = SymbolTable::with_capacity((entries.len() / ENTRY).min(MAX_SYMBOLS), names.len());
    let mut banner = None;
    for entry in entries.as_chunks::<ENTRY>().0.iter().take(MAX_SYMBOLS) {
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let (info, section) = (entry[4], u16::from_le_bytes([entry[6], entry[7]]));
        let address = u64::from(word(12)) << 32 | u64::from(word(8));
        let kind = match elf::SymbolSection(section) {
            elf::SHN_UNDEF => continue,
            elf::SHN_ABS => b'A',
            _ => kinds.get(usize::from(section)).copied().unwrap_or(0),
        };
        // Sections and source files have entries too; sections that are not loaded have no addresses.
        if kind == 0 || matches!(elf::SymbolType(info & 0xf), elf::STT_SECTION | elf::STT_FILE) {
            continue;
        }
        let Some(name) = names.get(word(0) as usize..) else { continue };
        let name = &name[..memchr::memchr(0, name).unwrap_or(0)];
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()) else { continue };
        let kind = match elf::SymbolBind(info >> 4) {
            elf::STB_LOCAL => kind.to_ascii_lowercase(),
            elf::STB_WEAK => b'W',
            _ => kind,
        };
        if name == "linux_banner" {
            banner = Some(address);
        }
        table.add_kind(name, VirtAddr(address), kind);
    }
    table.finish();
    Ok((table, banner))
}

/// The letter which nm shows for symbols of a section; 0 for those which are not loaded.
fn letter(section: &elf::SectionHeader64<LittleEndian>) -> u8 {
    let flags = section.sh_flags.get(LittleEndian);
    let has = |flag: elf::SectionFlags| flags.0 & flag.0 != 0;
    match section.sh_type.get(LittleEndian) {
        _ if !has(elf::SHF_ALLOC) => 0,
        elf::SHT_NOBITS => b'B',
        _ if has(elf::SHF_EXECINSTR) => b'T',
        _ if has(elf::SHF_WRITE) => b'D',
        _ => b'R',
    }
}

fn banner(elf: &Elf<'_>, at: u64) -> Option<String> {
    let inside = |section: &&elf::SectionHeader64<LittleEndian>| {
        let start = section.sh_addr.get(LittleEndian);
        letter(section) != 0 && letter(section) != b'B' && at >= start && at - start < section.sh_size.get(LittleEndian)
    };
    let section = elf.elf_section_table().iter().find(inside)?;
    let skip = at - section.sh_addr.get(LittleEndian);
    let size = (section.sh_size.get(LittleEndian) - skip).min(MAX_BANNER);
    let text = object::ReadRef::read_bytes_at(elf.data(), section.sh_offset.get(LittleEndian).checked_add(skip)?, size).ok()?;
    let text = std::str::from_utf8(&text[..memchr::memchr(0, text)?]).ok()?;
    text.starts_with("Linux version ").then(|| text.trim_end().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::symbols::{Layout, Shape, Type, TypeSource};
    use proptest::prelude::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/symbols");

    #[test]
    fn every_version_and_compression_is_read() {
        let mut first = None;
        for name in ["dwarf5", "dwarf4", "dwarf3", "zlib", "zstd", "gnu"] {
            let kernel = Vmlinux::open(Path::new(&format!("{FIXTURES}/{name}.elf"))).unwrap();
            assert_eq!(kernel.banner.as_deref(), Some("Linux version 0.0.1 (kernel in miniature)"), "{name}");
            assert_eq!((kernel.build_id.as_deref(), kernel.types_from), (Some("0123456789abcdef"), "DWARF"), "{name}");
            let start = kernel.symbols.iter().find(|symbol| symbol.name == "start").unwrap();
            assert_eq!((start.address, start.kind), (VirtAddr(0xffff_ffff_8100_0000), b'T'), "{name}");
            let btf = Btf::parse(kernel.types.unwrap_or_else(|| panic!("{name}"))).unwrap();
            let task = Layout::of(&btf, btf.find("task_struct").unwrap()).unwrap();
            let place = |field: &'static str| {
                let field = task.field(field).unwrap();
                (field.offset, field.size, field.bits)
            };
            assert_eq!(task.size, 160);
            assert_eq!(place("flags"), (0, 4, None), "{name}");
            assert_eq!(place("on_cpu"), (4, 4, Some((0, 1))), "{name}");
            assert_eq!(place("policy"), (4, 4, Some((1, 3))), "{name}");
            assert_eq!(place("wide"), (4, 4, Some((4, 12))), "{name}");
            assert_eq!((place("low"), place("high"), place("both")), ((8, 4, None), (12, 4, None), (8, 8, None)), "{name}");
            assert_eq!((place("tasks"), place("usage"), place("caps")), ((16, 16, None), (48, 4, None), (56, 8, None)), "{name}");
            assert_eq!((place("comm"), place("matrix")), ((64, 16, None), (80, 60, None)), "{name}");
            assert_eq!((place("state"), place("dead"), place("inner")), ((152, 4, None), (156, 1, None), (157, 3, None)), "{name}");
            assert_eq!(place("tail"), (160, 0, None), "{name}");
            let target = |layout: &Layout, field: &'static str| {
                let Shape::Pointer(to) = layout.field(field).unwrap().shape else { panic!("{field} is a pointer") };
                btf.get(to)
            };
            // Only declared where it is used, and defined in another unit.
            assert!(matches!(target(&task, "mm"), Some(Type::Struct { name, size: 16 }) if name == "mm_struct"), "{name}");
            assert!(matches!(target(&task, "call"), Some(Type::Function)), "{name}");
            // Two structures share a name: the common one is found by it, and each reference keeps its own.
            assert_eq!(Layout::of(&btf, btf.find("private").unwrap()).unwrap().size, 3, "{name}");
            let holder = Layout::of(&btf, btf.find("holder").unwrap()).unwrap();
            assert!(matches!(target(&holder, "to"), Some(Type::Struct { size: 8, .. })), "{name}");
            assert!(matches!(btf.get(btf.find("kernel_cap_t").unwrap()), Some(Type::Struct { size: 8, .. })), "{name}");
            assert_eq!((btf.enumerator("SLEEPING"), btf.enumerator("DEAD"), btf.enumerator("MM_ANONPAGES")), (Some(5), Some(-1), Some(1)));
            // The same types give the same bytes, whatever they were packed in.
            let bytes = btf.into_bytes();
            assert_eq!(*first.get_or_insert_with(|| bytes.clone()), bytes, "{name}");
        }
    }

    proptest! {
        #[test]
        fn damaged_files_do_no_harm(
            which in 0_usize..6,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        ) {
            let name = ["dwarf5", "dwarf4", "dwarf3", "zlib", "zstd", "gnu"][which];
            let mut bytes = std::fs::read(format!("{FIXTURES}/{name}.elf")).unwrap();
            for (at, value) in changes {
                // Behind the header, so that most cases get beyond it.
                let at = 64 + at.index(bytes.len() - 64);
                bytes[at] = value;
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            if let Ok(kernel) = Vmlinux::open(file.path()) {
                let _ = kernel.types.map(|blob| Btf::parse(blob).map(|btf| btf.find("task_struct").map(|id| Layout::of(&btf, id))));
            }
        }
    }
}
