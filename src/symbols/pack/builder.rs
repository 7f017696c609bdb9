//! Makes packs: from symbol tables in ISF form, layouts in the same form, and a list of builds.

use super::selection::{SHARED_WITH_TCPIP, STRUCTURES, TCPIP_SYMBOLS};
use super::{Definition, MAGIC, MAX_NESTING, Module, Place, Shape, VERSION, Version, put};
use crate::symbols::isf::Isf;
use crate::symbols::packed::unpack;
use crate::symbols::{SymbolTable, Type, TypeId, TypeSource};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Window that a compressed archive may ask for.
const MAX_WINDOW: u64 = 256 << 20;
/// A symbol table, unpacked. The largest have 8 MB.
const MAX_TABLE: u64 = 64 << 20;
/// Tables that are parsed side by side.
const BATCH: usize = 8;
const BLOCK: usize = 512;

/// A pack, and what went into it.
pub struct Packed {
    pub file: Vec<u8>,
    pub kernels: usize,
    pub layouts: usize,
    pub tcpip: usize,
    /// Distinct sets of kernel types, and definitions in all.
    pub sets: usize,
    pub definitions: usize,
    /// Unpacked and packed length of the sections: builds, symbols, types.
    pub sections: [(usize, usize); 3],
    /// Files that were left out, and why.
    pub notes: Vec<String>,
}

/// Packs what a folder holds: `*.tar.zst` and folders of ISF tables, `types-only/*.json.xz`, and the lists `builds.csv`, `symbols.csv` and
/// `netscan-overlays.json`. The same files give the same bytes.
pub fn build_pack(folder: &Path) -> Result<Packed, String> {
    let mut builder = Builder::default();
    builder.read_lists(folder)?;
    let mut files = Vec::new();
    list(folder, 2, &mut files).map_err(|why| format!("{}: {why}", folder.display()))?;
    files.sort();
    let mut batch = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let failed = |why: io::Error| format!("{}: {why}", path.display());
        if name.ends_with(".tar.zst") {
            let file = io::BufReader::new(fs::File::open(&path).map_err(failed)?);
            builder.archive(file, &mut batch).map_err(failed)?;
        } else if name.ends_with(".json.xz") || name.ends_with(".json") && name != "netscan-overlays.json" {
            let bytes = fs::read(&path).map_err(failed)?;
            builder.table(name, bytes, &mut batch);
        }
    }
    builder.parse(&mut batch);
    builder.finish()
}

/// The files of a folder and of those in it.
fn list(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            files.push(path);
        } else if depth > 0 {
            list(&path, depth - 1, files)?;
        }
    }
    Ok(())
}

/// A build whose table has been read.
struct Known {
    module: Module,
    guid: String,
    age: u32,
    version: Version,
    /// Addresses by the number of the name.
    symbols: Vec<Option<u64>>,
    /// Numbers of its definitions, for the kernel.
    definitions: Vec<usize>,
}

#[derive(Default)]
struct Builder {
    /// Versions by GUID and age, as `builds.csv` has them.
    versions: HashMap<(String, u32), Version>,
    symbols: Vec<String>,
    overlays: serde_json::Value,
    known: Vec<Known>,
    pool: Pool,
    notes: Vec<String>,
}

/// Everything that definitions consist of, each once.
#[derive(Default)]
struct Pool {
    names: Interned<String>,
    shapes: Interned<Shape>,
    definitions: Interned<Definition>,
}

struct Interned<T> {
    list: Vec<T>,
    known: HashMap<T, usize>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { list: Vec::new(), known: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interned<T> {
    fn put(&mut self, value: T) -> usize {
        *self.known.entry(value).or_insert_with_key(|value| {
            self.list.push(value.clone());
            self.list.len() - 1
        })
    }
}

/// A table to be parsed: its file name and contents.
type Batch = Vec<(String, Vec<u8>)>;

impl Builder {
    fn read_lists(&mut self, folder: &Path) -> Result<(), String> {
        let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|why| format!("{}: {why}", folder.join(name).display()));
        let builds = read("builds.csv")?;
        let mut rows = builds.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let head = rows.next().unwrap_or_default();
        let column = |name: &str| head.iter().position(|found| *found == name).ok_or(format!("builds.csv has no column {name}"));
        let (build, guid, age) = (column("build")?, column("guid")?, column("age")?);
        for row in rows {
            let (Some(version), Some(guid), Some(age)) = (row.get(build), row.get(guid), row.get(age)) else { continue };
            if let (Some(version), Ok(age)) = (Version::parse(version), age.parse()) {
                self.versions.insert((guid.to_ascii_uppercase(), age), version);
            }
        }
        let symbols = read("symbols.csv")?;
        self.symbols = symbols.lines().skip(1).filter_map(|line| line.split(',').next()).map(str::to_owned).collect();
        self.symbols.sort();
        self.overlays = serde_json::from_str(&read("netscan-overlays.json")?).map_err(|why| format!("netscan-overlays.json: {why}"))?;
        Ok(())
    }

    /// Reads the tables in a compressed tar archive (POSIX ustar), one after the other.
    fn archive(&mut self, file: impl Read, batch: &mut Batch) -> io::Result<()> {
        let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let mut decoder = ruzstd::decoding::FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        let mut tar = ruzstd::decoding::StreamingDecoder::new_with_decoder(file, decoder).map_err(|why| damaged(&why.to_string()))?;
        let mut header = [0; BLOCK];
        loop {
            tar.read_exact(&mut header)?;
            if header.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let name = String::from_utf8_lossy(&header[..100]).trim_end_matches('\0').to_owned();
            let size = std::str::from_utf8(&header[124..136]).ok().map(|digits| digits.trim_matches(['\0', ' ']));
            let size = size.and_then(|digits| u64::from_str_radix(digits, 8).ok()).ok_or_else(|| damaged("a damaged tar header"))?;
            let whole = size.next_multiple_of(BLOCK as u64);
            if header[156] == b'0' && name.ends_with(".json") && size <= MAX_TABLE {
                let mut table = Vec::with_capacity(whole as usize);
                (&mut tar).take(whole).read_to_end(&mut table)?;
                table.truncate(size as usize);
                self.table(name, table, batch);
            } else {
                io::copy(&mut (&mut tar).take(whole), &mut io::sink())?;
            }
        }
    }

    fn table(&mut self, name: String, bytes: Vec<u8>, batch: &mut Batch) {
        // Layouts of 32-bit builds have no use yet.
        if !name.contains("-x86.") {
            batch.push((name, bytes));
        }
        if batch.len() >= BATCH {
            self.parse(batch);
        }
    }

    fn parse(&mut self, batch: &mut Batch) {
        let parsed: Vec<_> = batch
            .par_drain(..)
            .map(|(name, bytes)| (unpack(&bytes).map_err(str::to_owned).and_then(|text| Isf::read(&text)), name))
            .collect();
        for (isf, name) in parsed {
            if let Err(why) = isf.and_then(|isf| self.take(&name, isf)) {
                self.notes.push(format!("{name}: {why}"));
            }
        }
    }

    fn take(&mut self, name: &str, isf: Isf) -> Result<(), String> {
        let (module, guid, age, version) = match isf.pdb {
            Some(pdb) => {
                let module = if pdb.database.eq_ignore_ascii_case("tcpip.pdb") { Module::Tcpip } else { Module::Kernel };
                let guid = pdb.guid.to_ascii_uppercase();
                let version = self.versions.get(&(guid.clone(), pdb.age)).copied().ok_or("builds.csv does not know its build")?;
                (module, guid, pdb.age, version)
            }
            // nt-10.0.22621.382-x64.types.json.xz
            None => {
                let version =
                    name.split('-').nth(1).and_then(Version::parse).ok_or("neither a PDB's identity nor a version in its name")?;
                (Module::KernelTypes, String::new(), 0, version)
            }
        };
        let wanted: Vec<&str> = match module {
            Module::Kernel => self.symbols.iter().map(String::as_str).collect(),
            Module::KernelTypes => Vec::new(),
            Module::Tcpip => TCPIP_SYMBOLS.to_vec(),
        };
        let symbols = addresses(&isf.symbols, &wanted);
        let definitions = if module == Module::Tcpip { Vec::new() } else { self.pool.collect(&isf.types, STRUCTURES) };
        self.known.push(Known { module, guid, age, version, symbols, definitions });
        Ok(())
    }

    fn finish(mut self) -> Result<Packed, String> {
        self.known.sort_by(|a, b| (a.module, a.version, &a.guid, a.age).cmp(&(b.module, b.version, &b.guid, b.age)));
        self.known.dedup_by(|a, b| !a.guid.is_empty() && (&a.guid, a.age) == (&b.guid, b.age));
        if !self.known.iter().any(|build| build.module == Module::Kernel) {
            return Err("no kernel's symbol table in this folder".to_owned());
        }
        let mut sets = Interned::default();
        // In order of version, so that neighbours are like each other.
        let mut order: Vec<_> = self.known.iter().filter(|build| build.module != Module::Tcpip).collect();
        order.sort_by_key(|build| (build.version, build.module));
        for build in order {
            sets.put(build.definitions.clone());
        }
        let kernel_sets = sets.list.len();
        if kernel_sets >= usize::from(u8::MAX) {
            return Err(format!("{kernel_sets} sets of types are more than a pack can hold"));
        }
        let tcpip = self.pool.overlays(&self.overlays)?;
        let tcpip: Vec<_> = tcpip.into_iter().map(|(version, definitions)| (version, sets.put(definitions))).collect();

        let mut builds = Vec::new();
        put(&mut builds, self.known.len() as u64);
        for build in &self.known {
            put(&mut builds, build.module as u64);
            if build.module != Module::KernelTypes {
                builds.extend(guid_bytes(&build.guid).ok_or_else(|| format!("{} is no GUID", build.guid))?);
            }
            put(&mut builds, build.age.into());
            put_version(&mut builds, build.version);
            if build.module != Module::Tcpip {
                put(&mut builds, sets.put(build.definitions.clone()) as u64);
            }
        }
        put(&mut builds, tcpip.len() as u64);
        for (version, set) in &tcpip {
            put_version(&mut builds, *version);
            put(&mut builds, *set as u64);
        }
        let kernel_names: Vec<&str> = self.symbols.iter().map(String::as_str).collect();
        let mut symbols = Vec::new();
        for (module, names) in [(Module::Kernel, kernel_names.as_slice()), (Module::Tcpip, TCPIP_SYMBOLS)] {
            let builds: Vec<_> = self.known.iter().filter(|build| build.module == module).collect();
            put_symbols(&mut symbols, names, &builds);
        }
        let types = self.pool.write(&sets.list);

        let mut file = MAGIC.to_vec();
        file.extend(VERSION.to_le_bytes());
        let mut lengths = [(0, 0); 3];
        for (section, lengths) in [builds, symbols, types].iter().zip(&mut lengths) {
            let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
            let packed = packed.write_all(section).and_then(|()| packed.finish()).map_err(|why| why.to_string())?;
            *lengths = (section.len(), packed.len());
            for length in [section.len(), packed.len()] {
                file.extend(u32::try_from(length).map_err(|_| "too much for a pack")?.to_le_bytes());
            }
            file.extend(packed);
        }
        let count = |module| self.known.iter().filter(|build| build.module == module).count();
        Ok(Packed {
            file,
            kernels: count(Module::Kernel),
            layouts: count(Module::KernelTypes),
            tcpip: count(Module::Tcpip),
            sets: kernel_sets,
            definitions: self.pool.definitions.list.len(),
            sections: lengths,
            notes: self.notes,
        })
    }
}

/// The address of each name, where the table has it.
fn addresses(table: &SymbolTable, names: &[&str]) -> Vec<Option<u64>> {
    names.iter().map(|name| table.get(name).map(|address| address.0)).collect()
}

fn put_version(out: &mut Vec<u8>, version: Version) {
    for part in [version.major, version.minor, version.build, version.revision.map_or(0, |revision| revision + 1)] {
        put(out, part.into());
    }
}

fn put_names<'a>(out: &mut Vec<u8>, names: impl Iterator<Item = &'a str>) {
    let text: String = names.flat_map(|name| [name, "\0"]).collect();
    put(out, text.len() as u64);
    out.extend(text.as_bytes());
}

fn put_symbols(out: &mut Vec<u8>, names: &[&str], builds: &[&Known]) {
    put(out, builds.len() as u64);
    put_names(out, names.iter().copied());
    for name in 0..names.len() {
        let mut last = 0_u64;
        for build in builds {
            let Some(address) = build.symbols.get(name).copied().flatten() else {
                put(out, 0);
                continue;
            };
            let step = address.wrapping_sub(last).cast_signed();
            put(out, ((step << 1) ^ (step >> 63)).cast_unsigned() + 1);
            last = address;
        }
    }
}

fn guid_bytes(guid: &str) -> Option<[u8; 16]> {
    let digits = guid.as_bytes();
    let mut bytes = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl Pool {
    /// Takes structures, with all that they hold by value, from a source of types; gives the numbers of the definitions with a name.
    fn collect(&mut self, types: &dyn TypeSource, names: &[&str]) -> Vec<usize> {
        let mut taking = Taking { pool: self, types, wanted: Vec::new(), taken: HashSet::new(), unnamed: HashMap::new() };
        for name in names {
            if let Some(id) = types.find(name) {
                taking.want(id);
            }
        }
        let mut definitions = Vec::new();
        while let Some(id) = taking.wanted.pop() {
            if let Some(Type::Struct { name, size }) = types.get(id) {
                let members = taking.members(id, MAX_NESTING);
                let name = taking.pool.names.put(name);
                definitions.push(taking.pool.definitions.put(Definition { name, size, members }));
            }
        }
        definitions.sort_unstable();
        definitions.dedup();
        definitions
    }

    /// The layouts of the objects of tcpip.sys: from which version on, and the definitions.
    fn overlays(&mut self, file: &serde_json::Value) -> Result<Vec<(Version, Vec<usize>)>, String> {
        let wrong = || "netscan-overlays.json is not laid out as expected".to_owned();
        let mut found = BTreeMap::new();
        for range in file["ranges"].as_array().ok_or_else(wrong)? {
            if range["arch"] != "x64" {
                continue;
            }
            let (from, layout) = (range["from_build"].as_str().ok_or_else(wrong)?, range["layout"].as_str().ok_or_else(wrong)?);
            // "6.3.9600 (tcpip.sys revision >= 19935)"
            let mut words = from.split([' ', '(', ')']);
            let mut version = words.next().and_then(Version::parse).ok_or_else(wrong)?;
            version.revision = words.next_back().and(from.split(['=', ')']).nth(1)).and_then(|revision| revision.trim().parse().ok());
            let mut definitions = Vec::new();
            for (name, structure) in file["layouts"][layout].as_object().ok_or_else(wrong)? {
                let mut members = Vec::new();
                for (field, place) in structure["fields"].as_object().into_iter().flatten() {
                    let shape = self.overlay_type(place["type"].as_str().ok_or_else(wrong)?);
                    let bit_offset = place["offset"].as_u64().and_then(|offset| u32::try_from(offset * 8).ok()).ok_or_else(wrong)?;
                    members.push(Place { name: self.names.put(field.clone()), bit_offset, bit_width: 0, shape });
                }
                members.sort_by_key(|place| place.bit_offset);
                let size = structure["size"].as_u64().and_then(|size| size.try_into().ok()).ok_or_else(wrong)?;
                let name = self.names.put(format!("_{}", name.to_ascii_uppercase()));
                definitions.push(self.definitions.put(Definition { name, size, members }));
            }
            definitions.sort_unstable();
            found.insert(version, definitions);
        }
        Ok(found.into_iter().collect())
    }

    fn overlay_type(&mut self, text: &str) -> usize {
        if let Some(to) = text.strip_prefix("ptr ") {
            // The count of an array of pointers stands behind.
            if let Some((to, count)) = array_of(to) {
                let to = self.overlay_type(to);
                let element = self.shapes.put(Shape::Pointer(to));
                return self.shapes.put(Shape::Array(element, count));
            }
            let to = self.overlay_type(to);
            return self.shapes.put(Shape::Pointer(to));
        }
        if let Some((element, count)) = array_of(text) {
            let element = self.overlay_type(element);
            return self.shapes.put(Shape::Array(element, count));
        }
        let shape = match text {
            "void" => Shape::Void,
            "u8" => Shape::Integer { size: 1, signed: false },
            // Ports are in network order: the reader turns them round.
            "u16be" | "u16le" => Shape::Integer { size: 2, signed: false },
            "TCPStateEnum" => Shape::Enumeration(4),
            "filetime" => Shape::Integer { size: 8, signed: false },
            name => {
                let name = name.strip_prefix("nt:").unwrap_or(name);
                debug_assert!(!text.starts_with("nt:") || SHARED_WITH_TCPIP.contains(&name) || name == "_EPROCESS");
                Shape::Named(self.names.put(name.to_owned()))
            }
        };
        self.shapes.put(shape)
    }

    /// The types section. Names are put in order; definitions are grouped by name and within that in order of appearance.
    fn write(&self, sets: &[Vec<usize>]) -> Vec<u8> {
        let mut out = Vec::new();
        let name = |index: usize| self.names.list[index].as_str();
        let mut names: Vec<usize> = (0..self.names.list.len()).collect();
        names.sort_by_key(|index| name(*index));
        let place_of = |order: &[usize]| {
            let mut places = vec![0; order.len()];
            order.iter().enumerate().for_each(|(place, index)| places[*index] = place as u64);
            places
        };
        let name_places = place_of(&names);
        put_names(&mut out, names.iter().map(|index| name(*index)));

        let all = &self.definitions.list;
        // Definitions as the sets of growing versions use them.
        let mut rank = vec![usize::MAX; all.len()];
        for (next, definition) in sets.iter().flatten().enumerate() {
            rank[*definition] = rank[*definition].min(next);
        }
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|index| {
            let named = name(all[*index].name);
            (named.is_empty(), named, rank[*index], *index)
        });
        let places = place_of(&order);

        put(&mut out, self.shapes.list.len() as u64);
        for shape in &self.shapes.list {
            let words: &[u64] = match *shape {
                Shape::Void => &[0],
                Shape::Integer { size, signed } => &[1, size.into(), signed.into()],
                Shape::Float(size) => &[2, size.into()],
                Shape::Pointer(to) => &[3, to as u64],
                Shape::Array(element, count) => &[4, element as u64, count.into()],
                Shape::Named(name) => &[5, name_places[name]],
                Shape::Unnamed(definition) => &[6, places[definition]],
                Shape::Enumeration(size) => &[7, size.into()],
                Shape::Function => &[8],
            };
            words.iter().for_each(|word| put(&mut out, *word));
        }

        let groups: Vec<&[usize]> = order.chunk_by(|a, b| all[*a].name == all[*b].name).collect();
        let (named, unnamed): (Vec<&[usize]>, Vec<_>) = groups.into_iter().partition(|group| !name(all[group[0]].name).is_empty());
        put(&mut out, named.len() as u64);
        for group in &named {
            put(&mut out, name_places[all[group[0]].name]);
            put(&mut out, group.len() as u64);
        }
        put(&mut out, unnamed.iter().map(|group| group.len() as u64).sum());
        for definition in order.iter().map(|index| &all[*index]) {
            put(&mut out, definition.size.into());
            put(&mut out, definition.members.len() as u64);
            definition.members.iter().for_each(|place| put(&mut out, name_places[place.name]));
            let mut last = 0;
            for place in &definition.members {
                put(&mut out, (place.bit_offset - last).into());
                last = place.bit_offset;
            }
            out.extend(definition.members.iter().map(|place| place.bit_width));
            definition.members.iter().for_each(|place| put(&mut out, place.shape as u64));
        }
        put(&mut out, sets.len() as u64);
        for group in named {
            for set in sets {
                // There are fewer sets than a byte can count, see `finish`.
                let choice = group.iter().position(|definition| set.binary_search(definition).is_ok());
                out.push(choice.map_or(0, |choice| choice as u8 + 1));
            }
        }
        out
    }
}

/// The element and count of `_PARTITION[64]`.
fn array_of(text: &str) -> Option<(&str, u32)> {
    let (element, count) = text.strip_suffix(']')?.rsplit_once('[')?;
    Some((element, count.parse().ok()?))
}

/// Structures on their way into the pool.
struct Taking<'a> {
    pool: &'a mut Pool,
    types: &'a dyn TypeSource,
    wanted: Vec<TypeId>,
    taken: HashSet<TypeId>,
    unnamed: HashMap<TypeId, usize>,
}

impl Taking<'_> {
    fn want(&mut self, id: TypeId) {
        if self.taken.insert(id) {
            self.wanted.push(id);
        }
    }

    fn members(&mut self, id: TypeId, depth: u32) -> Vec<Place> {
        let members = self.types.members(id).into_iter().filter_map(|member| {
            let shape = self.shape(member.r#type, true, depth);
            Some(Place {
                name: self.pool.names.put(member.name),
                bit_offset: u32::try_from(member.bit_offset).ok()?,
                bit_width: member.bit_width.unwrap_or(0) as u8,
                shape,
            })
        });
        let mut members: Vec<_> = members.collect();
        members.sort_by_key(|place| place.bit_offset);
        members
    }

    /// A type; what it holds by value is wanted too, what it points to is not.
    fn shape(&mut self, id: TypeId, by_value: bool, depth: u32) -> usize {
        let (Some(found), Some(depth)) = (self.types.get(id), depth.checked_sub(1)) else { return self.pool.shapes.put(Shape::Void) };
        let shape = match found {
            Type::Void => Shape::Void,
            Type::Integer { size, signed } => Shape::Integer { size, signed },
            Type::Float { size } => Shape::Float(size),
            Type::Pointer(to) => Shape::Pointer(self.shape(to, false, depth)),
            Type::Array { element, count } => Shape::Array(self.shape(element, by_value, depth), count),
            Type::Enum { size } => Shape::Enumeration(size),
            Type::Function => Shape::Function,
            Type::Struct { name, size } if is_made_up(&name) => Shape::Unnamed(match self.unnamed.get(&id) {
                Some(known) => *known,
                None => {
                    let members = self.members(id, depth);
                    let name = self.pool.names.put(String::new());
                    let definition = self.pool.definitions.put(Definition { name, size, members });
                    self.unnamed.insert(id, definition);
                    definition
                }
            }),
            Type::Struct { name, .. } => {
                if by_value {
                    self.want(id);
                }
                Shape::Named(self.pool.names.put(name))
            }
        };
        self.pool.shapes.put(shape)
    }
}

/// Whether a structure has no name but that which the table's writer gave it.
fn is_made_up(name: &str) -> bool {
    name.is_empty() || name.starts_with("__anonymous")
}
