//! Microsoft's PDB files: the types and public symbols of a Windows module, as its linker wrote them.

use super::btf_writer::{BtfWriter, WrittenMember};
use super::isf::Pdb;
use super::{Btf, SymbolTable};
use crate::address::VirtAddr;
use pdb2::{FallibleIterator as _, PrimitiveKind, SourceSlice, SourceView, TypeData, TypeIndex, Variant};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::catch_unwind;

pub const MAGIC: &[u8] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";

/// A PDB of a 64-bit module.
pub struct PdbFile {
    pub types: Btf,
    /// Counted from the module's base.
    pub symbols: SymbolTable,
    pub pdb: Pdb,
}

const POINTER: u32 = 8;
/// Types within types, and lists of fields that go on in another.
const MAX_DEPTH: u32 = 32;
const MAX_CHAIN: usize = 256;
const MAX_TYPES: usize = 1 << 20;
const MAX_SYMBOLS: usize = 1 << 22;
/// Records without use here. The count that they begin with is not checked against their length by the reader (LF_ARGLIST,
/// LF_SUBSTR_LIST, LF_METHODLIST, LF_VTSHAPE, LF_VFTABLE).
const SKIPPED: [u16; 5] = [0x1201, 0x1604, 0x1206, 0x000a, 0x151d];

/// Reads a file; `name` is its own, which nothing in it repeats. The reader beneath asserts what damaged files do not keep (the modes of
/// pointers among others), so its panics end here.
pub fn read(file: &[u8], name: &str) -> Result<PdbFile, String> {
    catch_unwind(|| read_whole(file, name)).unwrap_or_else(|_| Err("the PDB is damaged".to_owned()))
}

fn read_whole(file: &[u8], name: &str) -> Result<PdbFile, String> {
    let failed = |why: pdb2::Error| format!("the PDB cannot be read: {why}");
    let mut source = pdb2::PDB::open(Bytes(file)).map_err(failed)?;
    let debug = source.debug_information().map_err(failed)?;
    let machine = debug.machine_type().map_err(failed)?;
    if machine != pdb2::MachineType::Amd64 {
        return Err(format!("the PDB is of a module for {machine}; only those for x86-64 can be used"));
    }
    let information = source.pdb_information().map_err(failed)?;
    let guid = information.guid.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    let pdb = Pdb { guid, age: debug.age().unwrap_or(information.age), database: name.to_owned() };

    let table = source.type_information().map_err(failed)?;
    let mut types = Types { finder: table.finder(), writer: BtfWriter::default(), named: HashMap::new(), ids: HashMap::new() };
    let mut whole = Vec::new();
    let mut records = table.iter();
    while let Some(record) = records.next().map_err(failed)? {
        types.finder.update(&records);
        if whole.len() < MAX_TYPES
            && let Some(definition) = definition(&record)
        {
            let id = types.writer.reserve();
            types.ids.insert(record.index(), id);
            types.named.entry(definition.key).or_insert((id, definition.size));
            whole.push(record.index());
        }
    }
    whole.into_iter().for_each(|index| types.define(index));
    let types = Btf::parse(types.writer.finish())?;

    let (addresses, globals) = (source.address_map().map_err(failed)?, source.global_symbols().map_err(failed)?);
    let mut symbols = SymbolTable::default();
    let mut records = globals.iter();
    while let Some(record) = records.next().map_err(failed)? {
        if let Ok(pdb2::SymbolData::Public(symbol)) = record.parse()
            && symbols.len() < MAX_SYMBOLS
            && let Some(address) = symbol.offset.to_rva(&addresses)
        {
            symbols.add(&symbol.name.to_string(), VirtAddr(address.0.into()));
        }
    }
    symbols.finish();
    Ok(PdbFile { types, symbols, pdb })
}

/// A file in memory. What a stream claims to be is never more than the file is.
struct Bytes<'a>(&'a [u8]);

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'a> pdb2::Source<'a> for Bytes<'a> {
    fn view(&mut self, slices: &[SourceSlice]) -> io::Result<Box<dyn SourceView<'a> + Send + Sync>> {
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short");
        let mut bytes = Vec::new();
        for slice in slices {
            let start = usize::try_from(slice.offset).map_err(|_| cut())?;
            let part = self.0.get(start..).and_then(|rest| rest.get(..slice.size)).ok_or_else(cut)?;
            if bytes.len() + part.len() > self.0.len() {
                return Err(cut());
            }
            bytes.extend_from_slice(part);
        }
        Ok(Box::new(View(bytes)))
    }
}

struct View(Vec<u8>);

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl SourceView<'_> for View {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// A structure, union or enumeration that is told here, not only declared.
struct Defined {
    /// What declarations of it are called by.
    key: Vec<u8>,
    size: u32,
}

fn parse<'t>(record: &pdb2::Type<'t>) -> Option<TypeData<'t>> {
    if SKIPPED.contains(&record.raw_kind()) { None } else { record.parse().ok() }
}

fn definition(record: &pdb2::Type<'_>) -> Option<Defined> {
    let (properties, unique, name, size) = match parse(record)? {
        TypeData::Class(class) => (class.properties, class.unique_name, class.name, class.size),
        TypeData::Union(union) => (union.properties, union.unique_name, union.name, union.size),
        TypeData::Enumeration(values) => (values.properties, values.unique_name, values.name, 4),
        _ => return None,
    };
    let key = unique.unwrap_or(name).as_bytes().to_vec();
    (!properties.forward_reference()).then(|| Defined { key, size: size.try_into().unwrap_or(0) })
}

/// The name without those which compilers make up.
fn given_name<'n>(name: &'n pdb2::RawString<'n>) -> &'n [u8] {
    let name = name.as_bytes();
    // Behind the name of what holds it, if anything does.
    let own = memchr::memmem::rfind(name, b"::").map_or(name, |at| &name[at + 2..]);
    let made_up: [&[u8]; 3] = [b"<unnamed", b"<anonymous", b"__unnamed"];
    if made_up.iter().any(|start| own.starts_with(start)) { b"" } else { name }
}

/// Types on their way into a blob.
struct Types<'t> {
    finder: pdb2::TypeFinder<'t>,
    writer: BtfWriter,
    /// Ids and sizes of what is told, by the name that declarations use.
    named: HashMap<Vec<u8>, (u32, u32)>,
    ids: HashMap<TypeIndex, u32>,
}

/// A type as a member refers to it.
#[derive(Clone, Copy, Default)]
struct Referred {
    id: u32,
    size: u32,
    /// Position and width of a bit field.
    bits: Option<(u8, u8)>,
}

impl<'t> Types<'t> {
    fn data(&self, index: TypeIndex) -> Option<TypeData<'t>> {
        parse(&self.finder.find(index).ok()?)
    }

    fn define(&mut self, index: TypeIndex) {
        let (Some(id), Some(data)) = (self.ids.get(&index).copied(), self.data(index)) else { return };
        match data {
            TypeData::Class(class) => {
                let members = class.fields.map(|fields| self.members(fields)).unwrap_or_default();
                self.writer.composite(id, given_name(&class.name), false, class.size.try_into().unwrap_or(0), members);
            }
            TypeData::Union(union) => {
                let members = self.members(union.fields);
                self.writer.composite(id, given_name(&union.name), true, union.size.try_into().unwrap_or(0), members);
            }
            TypeData::Enumeration(values) => {
                let size = self.refer(values.underlying_type, MAX_DEPTH).size;
                let constants = self.fields(values.fields).into_iter().filter_map(|field| match field {
                    TypeData::Enumerate(value) => Some((self.writer.name(value.name.as_bytes()), number(value.value))),
                    _ => None,
                });
                let constants = constants.collect();
                self.writer.enumeration(id, given_name(&values.name), size, constants);
            }
            _ => {}
        }
    }

    /// The entries of a list of fields, with those of the lists that it goes on in.
    fn fields(&self, index: TypeIndex) -> Vec<TypeData<'t>> {
        let (mut all, mut next) = (Vec::new(), Some(index));
        for _ in 0..MAX_CHAIN {
            let Some(Some(TypeData::FieldList(list))) = next.map(|index| self.data(index)) else { break };
            all.extend(list.fields);
            next = list.continuation;
        }
        all
    }

    fn members(&mut self, fields: TypeIndex) -> Vec<WrittenMember> {
        let fields = self.fields(fields).into_iter();
        let members = fields.filter_map(|field| {
            let TypeData::Member(member) = field else { return None };
            let referred = self.refer(member.field_type, MAX_DEPTH);
            let (position, bit_width) = referred.bits.unwrap_or((0, 0));
            let bit_offset = member.offset.checked_mul(8)?.checked_add(position.into())?.try_into().ok()?;
            Some(WrittenMember { name: self.writer.name(member.name.as_bytes()), r#type: referred.id, bit_offset, bit_width })
        });
        members.collect()
    }

    fn refer(&mut self, index: TypeIndex, depth: u32) -> Referred {
        let (Some(depth), Some(data)) = (depth.checked_sub(1), self.data(index)) else { return Referred::default() };
        let whole = |id, size| Referred { id, size, bits: None };
        match data {
            TypeData::Primitive(primitive) => {
                let base = self.primitive(index, primitive.kind);
                match primitive.indirection {
                    Some(_) => whole(self.writer.pointer(base.id), POINTER),
                    None => base,
                }
            }
            TypeData::Class(class) => self.tagged(index, &class.unique_name.unwrap_or(class.name)),
            TypeData::Union(union) => self.tagged(index, &union.unique_name.unwrap_or(union.name)),
            TypeData::Enumeration(values) => {
                let size = self.refer(values.underlying_type, depth).size;
                Referred { size, ..self.tagged(index, &values.unique_name.unwrap_or(values.name)) }
            }
            TypeData::Pointer(pointer) => {
                let to = self.refer(pointer.underlying_type, depth);
                whole(self.writer.pointer(to.id), POINTER)
            }
            TypeData::Modifier(modifier) => self.refer(modifier.underlying_type, depth),
            TypeData::Bitfield(field) => {
                Referred { bits: Some((field.position, field.length)), ..self.refer(field.underlying_type, depth) }
            }
            TypeData::Array(array) => {
                // Sizes in bytes, those of inner dimensions first.
                let mut element = self.refer(array.element_type, depth);
                for size in array.dimensions.iter().take(MAX_DEPTH as usize) {
                    let count = size / element.size.max(1);
                    element = whole(self.writer.array(element.id, count), *size);
                }
                element
            }
            TypeData::Procedure(_) | TypeData::MemberFunction(_) => whole(self.writer.function(), 0),
            _ => Referred::default(),
        }
    }

    /// A structure, union or enumeration: its definition, wherever that stands; else a declaration.
    fn tagged(&mut self, index: TypeIndex, name: &pdb2::RawString<'_>) -> Referred {
        let own = self.ids.get(&index).copied();
        let (known, size) = self.named.get(name.as_bytes()).copied().unwrap_or_default();
        let id = own.unwrap_or(known);
        if id != 0 {
            return Referred { id, size, bits: None };
        }
        let id = self.writer.reserve();
        self.named.insert(name.as_bytes().to_vec(), (id, 0));
        Referred { id, size: 0, bits: None }
    }

    fn primitive(&mut self, index: TypeIndex, kind: PrimitiveKind) -> Referred {
        use PrimitiveKind::*;
        let (name, size, signed) = match kind {
            Char | RChar | I8 => ("char", 1, true),
            UChar | U8 | Char8 | Bool8 => ("unsigned char", 1, false),
            WChar | RChar16 => ("wchar", 2, false),
            Short | I16 => ("short", 2, true),
            UShort | U16 | Bool16 => ("unsigned short", 2, false),
            Long | I32 | HRESULT => ("long", 4, true),
            ULong | U32 | RChar32 | Bool32 => ("unsigned long", 4, false),
            Quad | I64 => ("long long", 8, true),
            UQuad | U64 | Bool64 => ("unsigned long long", 8, false),
            Octa | I128 => ("__int128", 16, true),
            UOcta | U128 => ("unsigned __int128", 16, false),
            F32 | F32PP | F64 | F80 | F128 => {
                let size = if matches!(kind, F32 | F32PP) { 4 } else { 8 };
                let id = self.base(index, |writer, id| writer.float(id, b"float", size));
                return Referred { id, size, bits: None };
            }
            _ => return Referred::default(),
        };
        let id = self.base(index, |writer, id| writer.integer(id, name.as_bytes(), size, signed));
        Referred { id, size, bits: None }
    }

    /// A plain type, told once. The index names it with its indirection, which costs a few doubles and no more.
    fn base(&mut self, index: TypeIndex, tell: impl FnOnce(&mut BtfWriter, u32)) -> u32 {
        if let Some(known) = self.ids.get(&index) {
            return *known;
        }
        let id = self.writer.reserve();
        tell(&mut self.writer, id);
        self.ids.insert(index, id);
        id
    }
}

fn number(value: Variant) -> i64 {
    match value {
        Variant::U8(value) => value.into(),
        Variant::U16(value) => value.into(),
        Variant::U32(value) => value.into(),
        Variant::U64(value) => value.cast_signed(),
        Variant::I8(value) => value.into(),
        Variant::I16(value) => value.into(),
        Variant::I32(value) => value.into(),
        Variant::I64(value) => value,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::symbols::{Layout, Shape, TypeSource};
    use proptest::prelude::*;

    /// Made by `tests/fixtures/symbols/build.sh`.
    const PACKED: &[u8] = include_bytes!("../../tests/fixtures/symbols/kernel.pdb.gz");

    fn file() -> Vec<u8> {
        crate::symbols::packed::unpack(PACKED).unwrap().into_owned()
    }

    #[test]
    fn a_file_is_read() {
        let file = read(&file(), "kernel.pdb").unwrap();
        assert_eq!((file.pdb.guid.as_str(), file.pdb.age), ("11D0E8AE8A4E25534C4C44205044422E", 1));
        let layout = |name: &str| Layout::of(&file.types, file.types.find(name).unwrap()).unwrap();
        let process = layout("_EPROCESS");
        assert_eq!((process.size, process.offset("UniqueProcessId")), (48, Ok(8)));
        let Shape::Pointer(peer) = process.field("Peer").unwrap().shape else { panic!("a pointer") };
        assert!(Layout::of(&file.types, peer).is_some(), "a declaration leads to its definition");
        assert_eq!(process.field("Flags").unwrap().bits, Some((3, 2)));
        let name = process.field("ImageFileName").unwrap();
        assert!(matches!(name.shape, Shape::Array { count: 15, stride: 1, .. }));
        let Shape::Struct(unnamed) = process.field("u").unwrap().shape else { panic!("a union") };
        assert_eq!(Layout::of(&file.types, unnamed).unwrap().size, 4);
        assert_eq!(file.types.enumerator("Running"), Some(2));
        assert_eq!(file.symbols.get("PsActiveProcessHead"), Some(VirtAddr(0x2000)));
    }

    #[test]
    fn cut_files_are_refused() {
        let file = file();
        for length in (0..file.len()).step_by(971) {
            let _ = read(&file[..length], "");
        }
        assert!(read(&file[..100], "").is_err());
    }

    proptest! {
        #[test]
        fn damaged_files_do_no_harm(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
            let mut file = file();
            for (at, value) in changes {
                let at = at.index(file.len());
                file[at] = value;
            }
            let _ = read(&file, "");
        }
    }
}
