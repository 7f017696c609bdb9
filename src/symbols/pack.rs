//! Packed profiles: the types and symbols of every Windows kernel that is known, in one file that ships inside the program.
//!
//! ```text
//! magic (8), version (4); then three sections, each: length unpacked (4), length packed (4), a raw deflate stream
//!   builds    module, GUID, age, version and set of types of each build; which set describes the objects of tcpip.sys from which build on
//!   symbols   for each module the names, then name by name the addresses in all its builds, as differences from build to build
//!   types     names; types; definitions, grouped by name; sets: which definition of each name a set has
//! ```
//!
//! Fixed numbers are little endian, all others have seven bits to a byte. Updates of Windows rarely change a type, so hundreds of builds
//! share a few dozen sets, and the sets share most definitions. A section is small: opening a build unpacks it, and writes out as BTF
//! only what that build has.

mod builder;
mod selection;

use super::btf_writer::{BtfWriter, WrittenMember};
use super::{Btf, SymbolTable};
use crate::address::VirtAddr;
pub use builder::{Packed, build_pack};
use flate2::{Decompress, FlushDecompress, Status};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

const MAGIC: &[u8; 8] = b"kiokuWIN";
const VERSION: u32 = 1;
const SECTIONS: usize = 3;
/// What a section may hold; a few hundred kilobytes are usual.
const MAX_SECTION: u32 = 64 << 20;
/// Counts of anything in a pack.
const MAX_COUNT: u64 = 1 << 22;
const DAMAGED: &str = "the packed profiles are damaged";

static BUNDLED: &[u8] = include_bytes!("../../symbols/windows.pack");

/// A version of Windows: major, minor, build number, and the revision that updates raise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub build: u32,
    pub revision: Option<u32>,
}

impl Version {
    /// Reads `10.0.19041.1706`; the revision may be missing or `?`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || parts.next()?.parse().ok();
        let (major, minor, build) = (number()?, number()?, number()?);
        Some(Self { major, minor, build, revision: number() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)?;
        match self.revision {
            Some(revision) => write!(f, ".{revision}"),
            None => Ok(()),
        }
    }
}

/// What a packed build describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Module {
    Kernel,
    /// The types of a kernel, from a source that has neither its symbols nor its identity.
    KernelTypes,
    Tcpip,
}

impl Module {
    const ALL: [Self; 3] = [Self::Kernel, Self::KernelTypes, Self::Tcpip];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "ntkrnlmp.pdb",
            Self::KernelTypes => "types only",
            Self::Tcpip => "tcpip.pdb",
        }
    }
}

/// A build in a pack.
#[derive(Clone, Debug)]
pub struct Build {
    pub module: Module,
    /// In upper-case hexadecimal, without dashes; empty where it is not known.
    pub guid: String,
    pub age: u32,
    pub version: Version,
    /// Its set of types.
    set: Option<usize>,
    /// Its column in the module's table of symbols.
    column: usize,
}

/// Sets of types by the version they begin with.
type TypesByVersion = Vec<(Version, usize)>;

/// The packed profiles.
pub struct Pack {
    builds: Vec<Build>,
    /// From which version on a set describes the objects of tcpip.sys.
    tcpip: TypesByVersion,
    symbols: Section,
    types: Section,
}

struct Section {
    packed: Cow<'static, [u8]>,
    length: u32,
}

impl Pack {
    /// The pack that ships with the program.
    pub fn bundled() -> Result<Self, &'static str> {
        Self::open(Cow::Borrowed(BUNDLED))
    }

    pub fn open(file: Cow<'static, [u8]>) -> Result<Self, &'static str> {
        let mut header = Bytes(&file);
        if header.take(MAGIC.len()) != Some(MAGIC) {
            return Err("not a file of packed profiles");
        }
        if header.fixed() != Some(VERSION) {
            return Err("the packed profiles are of another version; pack them anew");
        }
        let mut places = Vec::with_capacity(SECTIONS);
        for _ in 0..SECTIONS {
            let (length, packed) = (header.fixed().ok_or(DAMAGED)?, header.fixed().ok_or(DAMAGED)?);
            let start = file.len() - header.0.len();
            header.take(packed as usize).ok_or(DAMAGED)?;
            places.push((length, start..start + packed as usize));
        }
        let mut sections = places.into_iter().map(|(length, place)| {
            let packed = match &file {
                Cow::Borrowed(file) => Cow::Borrowed(&file[place]),
                Cow::Owned(file) => Cow::Owned(file[place].to_vec()),
            };
            Section { packed, length }
        });
        let (Some(builds), Some(symbols), Some(types)) = (sections.next(), sections.next(), sections.next()) else { return Err(DAMAGED) };
        let index = builds.unpack()?;
        let (builds, tcpip) = read_builds(&mut Bytes(&index)).ok_or(DAMAGED)?;
        Ok(Self { builds, tcpip, symbols, types })
    }

    /// The same pack without some builds: what one that never knew them would do.
    #[cfg(test)]
    pub fn without(mut self, forgotten: impl Fn(&Build) -> bool) -> Self {
        self.builds.retain(|build| !forgotten(build));
        self
    }

    /// All builds, by module and version.
    pub fn builds(&self) -> &[Build] {
        &self.builds
    }

    /// The build whose PDB has this identity.
    pub fn exact(&self, module: Module, guid: &str, age: u32) -> Option<&Build> {
        self.builds.iter().find(|build| build.module == module && build.age == age && build.guid.eq_ignore_ascii_case(guid))
    }

    /// One kernel build for each set of types, those first that a kernel of this version most likely shares: of the same build number (the
    /// revision nearest below, then the one nearest above), then older builds, newest first, then newer ones.
    pub fn nearest(&self, version: Version) -> Vec<&Build> {
        let kernels = self.builds.iter().filter(|build| build.module != Module::Tcpip);
        let mut kernels: Vec<_> = kernels.collect();
        kernels.sort_by_key(|build| {
            let number = (build.version.major, build.version.minor, build.version.build);
            let wanted = (version.major, version.minor, version.build);
            let away = |other: u32| (other > version.build, other.abs_diff(version.build));
            let revision = build.version.revision.unwrap_or(0);
            let from_revision = match version.revision {
                Some(wanted) => (revision > wanted, revision.abs_diff(wanted)),
                // Machines in use are updated: the newest is the best guess.
                None => (false, u32::MAX - revision),
            };
            (number != wanted, away(number.2), build.module, from_revision)
        });
        let mut sets = Vec::new();
        kernels.retain(|build| {
            let new = !sets.contains(&build.set);
            sets.push(build.set);
            new
        });
        kernels
    }

    /// The types of a build.
    pub fn types(&self, build: &Build) -> Result<Btf, &'static str> {
        let bytes = self.types.unpack()?;
        let types = Types::read(&mut Bytes(&bytes)).ok_or(DAMAGED)?;
        let definitions = types.set(build.set.ok_or("the pack has no types for this build")?).ok_or(DAMAGED)?;
        Btf::parse(types.write(&definitions).ok_or(DAMAGED)?)
    }

    /// The layouts of the objects of tcpip.sys, which no PDB describes, with those kernel types that they hold: from which version on
    /// each holds, oldest first.
    pub fn tcpip_layouts(&self) -> Result<Vec<(Version, Btf)>, &'static str> {
        let bytes = self.types.unpack()?;
        let types = Types::read(&mut Bytes(&bytes)).ok_or(DAMAGED)?;
        let layout = |(from, set): &(Version, usize)| {
            let mut definitions = types.set(*set).ok_or(DAMAGED)?;
            if let Some(kernel) = self.nearest(*from).first().and_then(|build| types.set(build.set?)) {
                let name = |definition: &usize| types.definitions.get(*definition).and_then(|found| types.names.get(found.name));
                definitions
                    .extend(kernel.into_iter().filter(|found| name(found).is_some_and(|name| selection::SHARED_WITH_TCPIP.contains(name))));
            }
            Ok((*from, Btf::parse(types.write(&definitions).ok_or(DAMAGED)?)?))
        };
        self.tcpip.iter().map(layout).collect()
    }

    /// The symbols of a build, counted from the module's base.
    pub fn symbols(&self, build: &Build) -> Result<SymbolTable, &'static str> {
        let bytes = self.symbols.unpack()?;
        read_symbols(&mut Bytes(&bytes), build).ok_or(DAMAGED)
    }
}

impl Section {
    fn unpack(&self) -> Result<Vec<u8>, &'static str> {
        if self.length > MAX_SECTION {
            return Err(DAMAGED);
        }
        let mut bytes = vec![0; self.length as usize];
        let mut inflate = Decompress::new(false);
        let done = inflate.decompress(&self.packed, &mut bytes, FlushDecompress::Finish);
        let whole = matches!(done, Ok(Status::StreamEnd)) && inflate.total_out() == u64::from(self.length);
        whole.then_some(bytes).ok_or(DAMAGED)
    }
}

/// The builds, and which set describes tcpip.sys from which version on.
type Index = (Vec<Build>, Vec<(Version, usize)>);

fn read_builds(bytes: &mut Bytes<'_>) -> Option<Index> {
    let mut columns = [0; Module::ALL.len()];
    let builds = (0..bytes.count()?).map(|_| {
        let kind = bytes.count()?;
        let module = *Module::ALL.get(kind)?;
        let guid = if module == Module::KernelTypes { String::new() } else { hexadecimal(bytes.take(16)?) };
        let (age, version) = (bytes.word()?, read_version(bytes)?);
        let set = if module == Module::Tcpip { None } else { Some(bytes.count()?) };
        let column = columns[kind];
        columns[kind] += 1;
        Some(Build { module, guid, age, version, set, column })
    });
    let builds = builds.collect::<Option<Vec<_>>>()?;
    let tcpip = (0..bytes.count()?).map(|_| Some((read_version(bytes)?, bytes.count()?))).collect::<Option<_>>()?;
    Some((builds, tcpip))
}

fn read_version(bytes: &mut Bytes<'_>) -> Option<Version> {
    // A revision is written one higher; zero means that it is not known.
    Some(Version { major: bytes.word()?, minor: bytes.word()?, build: bytes.word()?, revision: bytes.word()?.checked_sub(1) })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn read_symbols(bytes: &mut Bytes<'_>, wanted: &Build) -> Option<SymbolTable> {
    let mut table = SymbolTable::default();
    for module in [Module::Kernel, Module::Tcpip] {
        let (builds, names) = (bytes.count()?, bytes.names()?);
        for name in names {
            let mut last = 0_u64;
            for column in 0..builds {
                // Zero: not there. Else one more than the difference to where it last was, folded so that small ones of either sign stay small.
                let Some(step) = bytes.number()?.checked_sub(1) else { continue };
                last = last.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg());
                if module == wanted.module && column == wanted.column {
                    table.add(name, VirtAddr(last));
                }
            }
        }
    }
    table.finish();
    Some(table)
}

/// The types section, opened.
struct Types<'a> {
    names: Vec<&'a str>,
    types: Vec<Shape>,
    definitions: Vec<Listed<'a>>,
    /// Definitions with a name stand first, grouped by it: where each group starts.
    groups: Vec<usize>,
    sets: usize,
    /// Group by group: of each set one more than the number within the group, or zero.
    choices: &'a [u8],
}

/// A type as a member refers to it; numbers are indices into the other lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Shape {
    Void,
    Integer {
        size: u32,
        signed: bool,
    },
    Float(u32),
    Pointer(usize),
    Array(usize, u32),
    /// Whatever definition of that name the set has.
    Named(usize),
    /// A definition without a name.
    Unnamed(usize),
    Enumeration(u32),
    Function,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Definition {
    name: usize,
    size: u32,
    members: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    name: usize,
    bit_offset: u32,
    bit_width: u8,
    shape: usize,
}

/// A definition as it lies in the section; its members are read where a set has it.
struct Listed<'a> {
    name: usize,
    size: u32,
    names: &'a [u8],
    steps: &'a [u8],
    widths: &'a [u8],
    shapes: &'a [u8],
}

impl Listed<'_> {
    fn members(&self) -> Option<Vec<Place>> {
        let (mut names, mut steps, mut shapes) = (Bytes(self.names), Bytes(self.steps), Bytes(self.shapes));
        let mut bit_offset = 0_u32;
        let mut member = |width: &u8| {
            bit_offset = bit_offset.checked_add(steps.word()?)?;
            Some(Place { name: names.count()?, bit_offset, bit_width: *width, shape: shapes.count()? })
        };
        self.widths.iter().map(&mut member).collect()
    }
}

impl<'a> Types<'a> {
    fn read(bytes: &mut Bytes<'a>) -> Option<Self> {
        let names = bytes.names()?;
        let types = (0..bytes.count()?).map(|_| {
            Some(match bytes.word()? {
                0 => Shape::Void,
                1 => Shape::Integer { size: bytes.word()?, signed: bytes.word()? == 1 },
                2 => Shape::Float(bytes.word()?),
                3 => Shape::Pointer(bytes.count()?),
                4 => Shape::Array(bytes.count()?, bytes.word()?),
                5 => Shape::Named(bytes.count()?),
                6 => Shape::Unnamed(bytes.count()?),
                7 => Shape::Enumeration(bytes.word()?),
                8 => Shape::Function,
                _ => return None,
            })
        });
        let types = types.collect::<Option<_>>()?;
        let (mut groups, mut of) = (Vec::new(), Vec::new());
        for _ in 0..bytes.count()? {
            let (name, versions) = (bytes.count()?, bytes.count()?);
            groups.push(of.len());
            of.resize(of.len() + versions, name);
        }
        of.resize(of.len() + bytes.count()?, 0);
        let definitions = of.into_iter().map(|name| {
            let (size, count) = (bytes.word()?, bytes.count()?);
            Some(Listed {
                name,
                size,
                names: bytes.skip(count)?,
                steps: bytes.skip(count)?,
                widths: bytes.take(count)?,
                shapes: bytes.skip(count)?,
            })
        });
        let definitions = definitions.collect::<Option<_>>()?;
        let sets = bytes.count()?;
        let choices = bytes.take(sets.checked_mul(groups.len())?)?;
        Some(Self { names, types, definitions, groups, sets, choices })
    }

    /// The definitions that a set has.
    fn set(&self, set: usize) -> Option<Vec<usize>> {
        if set >= self.sets {
            return None;
        }
        let choice = |(group, start): (usize, &usize)| {
            let choice = usize::from(*self.choices.get(group * self.sets + set)?);
            Some(start + choice.checked_sub(1)?)
        };
        Some(self.groups.iter().enumerate().filter_map(choice).collect())
    }

    /// Definitions, and what they refer to, as a BTF blob.
    fn write(&self, definitions: &[usize]) -> Option<Vec<u8>> {
        let mut writing = Writing {
            from: self,
            writer: BtfWriter::default(),
            named: HashMap::with_capacity(definitions.len()),
            unnamed: HashMap::new(),
            shapes: vec![None; self.types.len()],
            names: vec![None; self.names.len()],
        };
        for definition in definitions.iter().filter_map(|index| self.definitions.get(*index)) {
            let id = writing.writer.reserve();
            writing.named.insert(definition.name, id);
        }
        for definition in definitions.iter().filter_map(|index| self.definitions.get(*index)) {
            if let Some(id) = writing.named.get(&definition.name) {
                writing.definition(*id, definition, MAX_NESTING)?;
            }
        }
        Some(writing.writer.finish())
    }
}

/// Unnamed structures and pointers within each other.
const MAX_NESTING: u32 = 32;

/// A BTF blob in the making.
struct Writing<'a> {
    from: &'a Types<'a>,
    writer: BtfWriter,
    /// Ids by the index of a name, and by that of a definition without one.
    named: HashMap<usize, u32>,
    unnamed: HashMap<usize, u32>,
    shapes: Vec<Option<u32>>,
    names: Vec<Option<u32>>,
}

impl Writing<'_> {
    fn definition(&mut self, id: u32, definition: &Listed<'_>, depth: u32) -> Option<()> {
        let members = definition.members()?.into_iter().map(|place| {
            let r#type = self.shape(place.shape, depth)?;
            Some(WrittenMember { name: self.name(place.name), r#type, bit_offset: place.bit_offset, bit_width: place.bit_width })
        });
        let members = members.collect::<Option<_>>()?;
        let name = self.from.names.get(definition.name).copied().unwrap_or_default();
        self.writer.composite(id, name.as_bytes(), false, definition.size, members);
        Some(())
    }

    fn name(&mut self, index: usize) -> u32 {
        let (Some(name), Some(known)) = (self.from.names.get(index), self.names.get_mut(index)) else { return 0 };
        *known.get_or_insert_with(|| if name.is_empty() { 0 } else { self.writer.new_name(name.as_bytes()) })
    }

    fn shape(&mut self, index: usize, depth: u32) -> Option<u32> {
        let (Some(shape), Some(depth)) = (self.from.types.get(index), depth.checked_sub(1)) else { return Some(0) };
        if let Some(Some(known)) = self.shapes.get(index) {
            return Some(*known);
        }
        let id = match *shape {
            Shape::Void => 0,
            Shape::Pointer(to) => {
                let to = self.shape(to, depth)?;
                self.writer.pointer(to)
            }
            Shape::Array(element, count) => {
                let element = self.shape(element, depth)?;
                self.writer.array(element, count)
            }
            // A structure that the set does not have is only declared.
            Shape::Named(name) => match self.named.get(&name) {
                Some(id) => *id,
                None => {
                    let id = self.writer.reserve();
                    self.named.insert(name, id);
                    id
                }
            },
            Shape::Unnamed(definition) => return self.unnamed(definition, depth),
            Shape::Function => self.writer.function(),
            Shape::Integer { size, signed } => {
                let id = self.writer.reserve();
                self.writer.integer(id, b"", size, signed);
                id
            }
            Shape::Float(size) => {
                let id = self.writer.reserve();
                self.writer.float(id, b"", size);
                id
            }
            Shape::Enumeration(size) => {
                let id = self.writer.reserve();
                self.writer.enumeration(id, b"", size, Vec::new());
                id
            }
        };
        if let Some(slot) = self.shapes.get_mut(index) {
            *slot = Some(id);
        }
        Some(id)
    }

    fn unnamed(&mut self, index: usize, depth: u32) -> Option<u32> {
        if let Some(known) = self.unnamed.get(&index) {
            return Some(*known);
        }
        let Some(definition) = self.from.definitions.get(index) else { return Some(0) };
        let id = self.writer.reserve();
        self.unnamed.insert(index, id);
        self.definition(id, definition, depth)?;
        Some(id)
    }
}

/// Numbers and names as the sections hold them.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
    fn fixed(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte, rest @ ..] = self.0 else { return None };
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    fn word(&mut self) -> Option<u32> {
        self.number().and_then(|number| number.try_into().ok())
    }
    /// A count or an index.
    fn count(&mut self) -> Option<usize> {
        self.number().filter(|number| *number <= MAX_COUNT).map(|number| number as usize)
    }
    /// So many numbers, unread.
    fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let Some(before) = count.checked_sub(1) else { return Some(&[]) };
        let mut ends = self.0.iter().enumerate().filter(|(_, byte)| **byte < 0x80);
        let (last, _) = ends.nth(before)?;
        self.take(last + 1)
    }
    /// A list of texts: its length in bytes, then the texts, each with a NUL after it.
    fn names(&mut self) -> Option<Vec<&'a str>> {
        let length = self.count()?;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some(text.split_terminator('\0').collect())
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::symbols::{Layout, Shape as Kind, TypeSource};

    /// The profile that symbol servers have for Windows 10 22H2 of June 2022.
    const GUID: &str = "84A84F4D2218BC053913B1204942618D";

    #[test]
    fn the_bundled_pack_knows_a_kernel() {
        let pack = Pack::bundled().unwrap();
        let build = pack.exact(Module::Kernel, GUID, 1).unwrap();
        assert_eq!(build.version, Version::parse("10.0.19041.1706").unwrap());
        assert!(pack.exact(Module::Kernel, GUID, 2).is_none() && pack.exact(Module::Tcpip, GUID, 1).is_none());
        let types = pack.types(build).unwrap();
        let layout = |name: &str| Layout::of(&types, types.find(name).unwrap()).unwrap();
        let process = layout("_EPROCESS");
        assert_eq!((process.size, process.offset("UniqueProcessId"), process.offset("ImageFileName")), (0xa40, Ok(0x440), Ok(0x5a8)));
        let Kind::Struct(pcb) = process.field("Pcb").unwrap().shape else { panic!("a structure") };
        assert_eq!(Layout::of(&types, pcb).unwrap().offset("DirectoryTableBase"), Ok(0x28));
        let Kind::Pointer(peb) = process.field("Peb").unwrap().shape else { panic!("a pointer") };
        assert_eq!(Layout::of(&types, peb).unwrap().offset("Ldr"), Ok(0x18));
        assert_eq!(layout("_MMVAD_FLAGS").field("Protection").unwrap().bits, Some((7, 5)));
        let symbols = pack.symbols(build).unwrap();
        assert_eq!(symbols.get("PsInitialSystemProcess"), Some(VirtAddr(13_616_160)));
        assert!(symbols.len() > 180);
    }

    #[test]
    fn every_build_opens() {
        let pack = Pack::bundled().unwrap();
        let (mut kernels, mut sets) = (0, std::collections::HashSet::new());
        for build in pack.builds() {
            let symbols = pack.symbols(build).unwrap();
            match build.module {
                Module::Tcpip => assert!(symbols.get("PartitionTable").is_some(), "{}", build.version),
                Module::Kernel => {
                    kernels += 1;
                    assert!(symbols.get("PsActiveProcessHead").is_some() && symbols.get("PspCidTable").is_some(), "{}", build.version);
                }
                Module::KernelTypes => assert!(symbols.is_empty()),
            }
            if build.module != Module::Tcpip && sets.insert(build.set) {
                let types = pack.types(build).unwrap();
                let process = Layout::of(&types, types.find("_EPROCESS").unwrap()).unwrap();
                assert!(
                    process.offset("ActiveProcessLinks").unwrap() == process.offset("UniqueProcessId").unwrap() + 8,
                    "{}",
                    build.version
                );
            }
        }
        assert!(kernels > 200 && pack.symbols.packed.len() + pack.types.packed.len() < 1 << 20);
    }

    #[test]
    fn sockets_have_layouts_by_build() {
        let pack = Pack::bundled().unwrap();
        let layouts = pack.tcpip_layouts().unwrap();
        let owner = |version: &str| {
            let version = Version::parse(version).unwrap();
            let (_, types) = layouts.iter().rev().find(|(from, _)| *from <= version).unwrap();
            assert!(types.find("_LIST_ENTRY").is_some() && types.find("_RTL_DYNAMIC_HASH_TABLE").is_some());
            Layout::of(types, types.find("_TCP_ENDPOINT").unwrap()).unwrap().offset("Owner").unwrap()
        };
        assert_eq!((owner("10.0.10586"), owner("10.0.19041.1706")), (600, 728));
    }

    #[test]
    fn the_nearest_build_is_asked_first() {
        let pack = Pack::bundled().unwrap();
        let nearest = |version: &str| pack.nearest(Version::parse(version).unwrap())[0].version;
        assert_eq!(nearest("10.0.19041.1707").build, 19041);
        assert_eq!(nearest("10.0.19045").build, 19041);
        assert_eq!(nearest("10.0.26100").build, 22631);
        let (exact, above) = (Version::parse("10.0.14393.4583").unwrap(), Version::parse("10.0.14393.9999").unwrap());
        assert_eq!(pack.nearest(exact)[0].version, exact);
        assert!(pack.nearest(above)[0].version > exact && pack.nearest(above)[0].version.build == 14393);
        let pack = pack.without(|build| build.version.build == 19041);
        assert_eq!(pack.nearest(Version::parse("10.0.19041").unwrap())[0].version.build, 18362);
    }

    #[test]
    fn damaged_packs_are_refused() {
        for length in [0, 7, 8, 12, 30, BUNDLED.len() / 2, BUNDLED.len() - 1] {
            assert!(Pack::open(Cow::Borrowed(&BUNDLED[..length])).is_err(), "{length} bytes");
        }
        // A changed byte gives an error or other names and numbers, which no image verifies; it does no harm.
        for step in 1..16 {
            let mut bytes = BUNDLED.to_vec();
            bytes[BUNDLED.len() / 16 * step] ^= 0x55;
            if let Ok(pack) = Pack::open(Cow::Owned(bytes)) {
                pack.builds().iter().take(2).for_each(|build| drop((pack.types(build), pack.symbols(build))));
            }
        }
    }

    #[test]
    fn the_same_folder_gives_the_same_pack() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("builds.csv", "build,pdb,guid,age\n10.0.19041.1,ntkrnlmp.pdb,00112233445566778899AABBCCDDEEFF,1\n");
        write("symbols.csv", "symbol\nPsActiveProcessHead\nPsLoadedModuleList\n");
        write(
            "netscan-overlays.json",
            r#"{"ranges": [{"arch": "x64", "from_build": "10.0.10240", "layout": "one"}],
                "layouts": {"one": {"inetaf": {"size": 26, "fields": {"AddressFamily": {"offset": 24, "type": "u16le"}}}}}}"#,
        );
        write(
            "table.json",
            r#"{"metadata": {"windows": {"pdb": {"GUID": "00112233445566778899AABBCCDDEEFF", "age": 1, "database": "ntkrnlmp.pdb"}}},
                "base_types": {"unsigned long": {"size": 4, "signed": false, "kind": "int", "endian": "little"}},
                "user_types": {
                    "_KPROCESS": {"kind": "struct", "size": 8, "fields": {
                        "Bit": {"offset": 4, "type": {"kind": "bitfield", "bit_position": 3, "bit_length": 2, "type": {"kind": "base", "name": "unsigned long"}}},
                        "u": {"offset": 0, "type": {"kind": "union", "name": "__unnamed_1"}}}},
                    "__unnamed_1": {"kind": "union", "size": 4, "fields": {"Value": {"offset": 0, "type": {"kind": "base", "name": "unsigned long"}}}},
                    "_NOBODY_ASKS": {"kind": "struct", "size": 4, "fields": {}}},
                "enums": {}, "symbols": {"PsActiveProcessHead": {"address": 4096}, "Other": {"address": 1}}}"#,
        );
        let packed = build_pack(folder.path()).unwrap();
        assert_eq!(packed.file, build_pack(folder.path()).unwrap().file);
        assert_eq!((packed.kernels, packed.sets, packed.notes.len()), (1, 1, 0));
        let pack = Pack::open(Cow::Owned(packed.file)).unwrap();
        let build = pack.exact(Module::Kernel, "00112233445566778899aabbccddeeff", 1).unwrap();
        let types = pack.types(build).unwrap();
        let process = Layout::of(&types, types.find("_KPROCESS").unwrap()).unwrap();
        assert_eq!(process.field("Bit").unwrap().bits, Some((3, 2)));
        let Kind::Struct(unnamed) = process.field("u").unwrap().shape else { panic!("a union") };
        assert_eq!(Layout::of(&types, unnamed).unwrap().offset("Value"), Ok(0));
        assert!(types.find("_NOBODY_ASKS").is_none());
        let symbols = pack.symbols(build).unwrap();
        assert_eq!((symbols.len(), symbols.get("PsActiveProcessHead")), (1, Some(VirtAddr(4096))));
    }
}
