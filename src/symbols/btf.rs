//! BTF, the kernel's own type information (layout: Documentation/bpf/btf.rst and include/uapi/linux/btf.h).
//!
//! Nearly every kernel since 5.4 carries it in its read-only data, so it is in the image itself. Types are decoded when asked for;
//! opening only notes where each one starts.

use super::{Member, Type, TypeId, TypeSource};
use std::borrow::Cow;

/// A `.BTF` blob: read on demand, never trusted.
pub struct Btf {
    bytes: Vec<u8>,
    length: usize,
    types: Span,
    strings: Span,
    /// Where each type starts in the blob; index 0 is void and means nothing.
    offsets: Vec<u32>,
    /// Hash of the name and id of every struct, union and typedef that has a name; sorted, so equal hashes stand in order of id.
    names: Vec<(u32, u32)>,
    /// Enumerations, in order of id.
    enums: Vec<u32>,
    /// Sections of variables, in order of id.
    sections: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

const MAGIC: [u8; 2] = 0xeb9f_u16.to_le_bytes();
const HEADER: usize = 24;
/// The largest blob that is believed; those of distribution kernels are 4 to 8 MiB.
const MAX_BLOB: u64 = 256 << 20;
/// Qualifiers and typedefs in a row; real chains are below ten.
const MAX_CHAIN: u32 = 32;
/// Fewer types than any kernel has that carries BTF, and more than a program.
const KERNEL_TYPES: usize = 20_000;

/// What kinds there are; numbers are those of the format.
pub(super) mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// The three words with which every type begins.
#[derive(Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    /// Number of the entries that follow.
    count: u32,
    flag: bool,
    /// Size in bytes or the type referred to, as the kind has it.
    size_or_type: u32,
    /// Where the words end and the kind's own data begins.
    data: usize,
}

struct Header {
    types: Span,
    strings: Span,
    /// Sizes of kinds, as newer blobs describe them.
    layout: Option<Span>,
}

impl Btf {
    /// The length of a whole blob, from its first bytes (24 or more); None where no blob of a kernel begins.
    pub fn blob_length(header: &[u8]) -> Option<u64> {
        let (header, length) = Header::read(header)?;
        let plausible = header.types.end > header.types.start && header.strings.end > header.strings.start;
        plausible.then_some(length)
    }

    /// Takes a blob, which may have other bytes after it.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let (header, length) = Header::read(&bytes).ok_or("no BTF header")?;
        if length > bytes.len() as u64 {
            return Err("the BTF blob is cut short");
        }
        let Header { types, strings, layout } = header;
        if bytes.get(strings.start) != Some(&0) || bytes.get(strings.end - 1) != Some(&0) {
            return Err("the BTF strings are damaged");
        }
        let mut btf = Self {
            offsets: Vec::with_capacity((types.end - types.start) / 28 + 1),
            bytes,
            length: length as usize,
            types,
            strings,
            names: Vec::new(),
            enums: Vec::new(),
            sections: Vec::new(),
        };
        btf.index(layout)?;
        Ok(btf)
    }

    /// Number of types, void included; ids are below it.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The blob itself, without what came after it.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.length);
        self.bytes
    }

    /// Whether this describes a whole kernel rather than a module or a BPF program, which may hold a few of its structures too.
    pub fn is_kernel(&self) -> bool {
        let whole = self.len() > KERNEL_TYPES || self.section_variables(".data..percpu").next().is_some();
        whole && self.find("task_struct").is_some()
    }

    /// Names and offsets of the variables in a section.
    fn section_variables<'a>(&'a self, section: &'a str) -> impl Iterator<Item = (&'a [u8], u32)> {
        let sections = self.sections.iter().filter_map(|id| self.head(*id));
        let entries = sections.filter(move |head| self.string(head.name) == section.as_bytes()).flat_map(move |head| {
            // Each entry is the variable, its offset and its size.
            (0..head.count as usize)
                .map_while(move |index| Some((self.word(head.data + index * 12)?, self.word(head.data + index * 12 + 4)?)))
        });
        entries.filter_map(|(variable, offset)| Some((self.string(self.head(variable)?.name), offset)))
    }

    fn index(&mut self, layout: Option<Span>) -> Result<(), &'static str> {
        self.offsets.push(0);
        let mut at = self.types.start;
        while at < self.types.end {
            let Some(head) = self.head_at(at) else { return Err("a BTF type is cut short") };
            let Ok(id) = u32::try_from(self.offsets.len()) else { return Err("too many BTF types") };
            let count = head.count as usize;
            let size = match head.kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
                kind::ENUM | kind::FUNC_PROTO => 8 * count,
                kind::PTR
                | kind::FWD
                | kind::TYPEDEF
                | kind::VOLATILE
                | kind::CONST
                | kind::RESTRICT
                | kind::FUNC
                | kind::FLOAT
                | kind::TYPE_TAG => 0,
                unknown => self.described_size(layout, unknown, count).ok_or("a BTF type of an unknown kind")?,
            };
            match head.kind {
                kind::STRUCT | kind::UNION | kind::TYPEDEF if head.name != 0 => self.names.push((hash(self.string(head.name)), id)),
                kind::ENUM | kind::ENUM64 => self.enums.push(id),
                kind::DATASEC => self.sections.push(id),
                _ => {}
            }
            // The blob is below 4 GiB, see `MAX_BLOB`.
            self.offsets.push(at as u32);
            at = head.data + size;
        }
        if at != self.types.end {
            return Err("a BTF type is cut short");
        }
        self.names.sort_unstable();
        Ok(())
    }

    /// Bytes after the head of a kind that came later than this program, as the blob itself describes it: one entry per kind, with the
    /// size of what follows always, the size of each counted entry, and flags.
    fn described_size(&self, layout: Option<Span>, kind: u32, count: usize) -> Option<usize> {
        let layout = layout?;
        let at = layout.start.checked_add(kind as usize * 4).filter(|at| at + 4 <= layout.end)?;
        let entry = self.bytes.get(at..at + 4)?;
        Some(usize::from(entry[0]) + usize::from(entry[1]) * count)
    }

    fn head(&self, id: u32) -> Option<Head> {
        if id == 0 {
            return None;
        }
        self.head_at(*self.offsets.get(id as usize)? as usize)
    }

    fn head_at(&self, at: usize) -> Option<Head> {
        let words = self.bytes.get(at..at.checked_add(12).filter(|end| *end <= self.types.end)?)?;
        let word = |index: usize| u32::from_le_bytes([words[index], words[index + 1], words[index + 2], words[index + 3]]);
        let info = word(4);
        // The count had 16 bits and the kind 5 at first; the bits between were zero, so the wider fields read both.
        Some(Head {
            name: word(0),
            kind: info >> 24 & 0x7f,
            count: info & 0xff_ffff,
            flag: info >> 31 == 1,
            size_or_type: word(8),
            data: at + 12,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4).filter(|end| *end <= self.types.end)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The string at an offset; empty where there is none.
    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.bytes.get(self.strings.start + offset as usize..self.strings.end).unwrap_or_default();
        &rest[..memchr::memchr(0, rest).unwrap_or(rest.len())]
    }

    fn text(&self, offset: u32) -> Cow<'_, str> {
        String::from_utf8_lossy(self.string(offset))
    }

    /// A type without its typedefs and qualifiers, and its id; void has no head.
    fn resolve(&self, id: TypeId) -> Option<(u32, Option<Head>)> {
        let mut id = id.0;
        for _ in 0..MAX_CHAIN {
            if id == 0 {
                return Some((0, None));
            }
            let head = self.head(id)?;
            match head.kind {
                kind::TYPEDEF
                | kind::VOLATILE
                | kind::CONST
                | kind::RESTRICT
                | kind::TYPE_TAG
                | kind::DECL_TAG
                | kind::VAR
                | kind::FUNC => id = head.size_or_type,
                // Declared only, at least here: the definition may stand elsewhere.
                kind::FWD => match self.tagged(self.string(head.name)) {
                    Some(definition) => id = definition,
                    None => return Some((id, Some(head))),
                },
                _ => return Some((id, Some(head))),
            }
        }
        None
    }

    /// All named structs, unions and typedefs of that name.
    fn named(&self, name: &[u8]) -> impl Iterator<Item = (u32, Head)> {
        let wanted = hash(name);
        let start = self.names.partition_point(|(hash, _)| *hash < wanted);
        let same = self.names.iter().skip(start).take_while(move |(hash, _)| *hash == wanted);
        same.filter_map(|(_, id)| Some((*id, self.head(*id)?))).filter(move |(_, head)| self.string(head.name) == name)
    }

    fn tagged(&self, name: &[u8]) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        self.named(name).find(|(_, head)| head.kind != kind::TYPEDEF).map(|(id, _)| id)
    }

    /// The bits of an integer that has fewer than its size: how bit fields were told before members had a flag for it.
    fn narrow(&self, id: TypeId) -> Option<(u32, u32)> {
        let (_, head) = self.resolve(id)?;
        let head = head.filter(|head| head.kind == kind::INT)?;
        let encoding = self.word(head.data)?;
        let (shift, bits) = (encoding >> 16 & 0xff, encoding & 0xff);
        (shift != 0 || bits != head.size_or_type.saturating_mul(8)).then_some((shift, bits))
    }
}

impl Header {
    /// The header's spans and the length of the blob.
    fn read(bytes: &[u8]) -> Option<(Self, u64)> {
        let fixed = bytes.get(..HEADER)?;
        if fixed[..2] != MAGIC || fixed[2] != 1 {
            return None;
        }
        let word = |at: usize| -> Option<u64> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?).into()) };
        let header = word(4)?;
        if header < HEADER as u64 || header > 4096 || header % 4 != 0 {
            return None;
        }
        let span = |at: usize| {
            let start = header + word(at)?;
            let end = start + word(at + 4)?;
            (end <= MAX_BLOB).then_some(Span { start: start as usize, end: end as usize })
        };
        let (types, strings) = (span(8)?, span(16)?);
        if types.start % 4 != 0 || strings.end <= strings.start || (types.start < strings.end && strings.start < types.end) {
            return None;
        }
        let layout = if header >= 32 && bytes.len() >= 32 { span(24).filter(|span| span.end > span.start) } else { None };
        let length = types.end.max(strings.end).max(layout.map_or(0, |span| span.end));
        Some((Self { types, strings, layout }, length as u64))
    }
}

impl TypeSource for Btf {
    fn find(&self, name: &str) -> Option<TypeId> {
        if name.is_empty() {
            return None;
        }
        let tagged = self.tagged(name.as_bytes()).map(TypeId);
        tagged.or_else(|| {
            let mut typedefs = self.named(name.as_bytes()).map(|(id, _)| TypeId(id));
            typedefs.find(|id| matches!(self.get(*id), Some(Type::Struct { .. })))
        })
    }

    fn get(&self, id: TypeId) -> Option<Type> {
        let (_, head) = self.resolve(id)?;
        let Some(head) = head else { return Some(Type::Void) };
        let size = head.size_or_type;
        Some(match head.kind {
            kind::INT => Type::Integer { size, signed: self.word(head.data)? >> 24 & 1 == 1 },
            kind::FLOAT => Type::Float { size },
            kind::PTR => Type::Pointer(TypeId(head.size_or_type)),
            // The element's type, the index' type, the number of elements.
            kind::ARRAY => Type::Array { element: TypeId(self.word(head.data)?), count: self.word(head.data + 8)? },
            kind::STRUCT | kind::UNION => Type::Struct { name: self.text(head.name).into_owned(), size },
            kind::ENUM | kind::ENUM64 => Type::Enum { size },
            kind::FUNC_PROTO => Type::Function,
            kind::FWD => Type::Void,
            _ => return None,
        })
    }

    fn members(&self, id: TypeId) -> Vec<Member> {
        let Some((_, Some(head))) = self.resolve(id) else { return Vec::new() };
        if head.kind != kind::STRUCT && head.kind != kind::UNION {
            return Vec::new();
        }
        let member = |index: usize| {
            let at = head.data + index * 12;
            let (name, r#type, place) = (self.word(at)?, TypeId(self.word(at + 4)?), self.word(at + 8)?);
            let (bit_offset, bit_width) = if head.flag {
                (place & 0xff_ffff, Some(place >> 24).filter(|width| *width > 0))
            } else {
                match self.narrow(r#type) {
                    Some((shift, bits)) => (place.saturating_add(shift), Some(bits)),
                    None => (place, None),
                }
            };
            Some(Member { name: self.text(name).into_owned(), bit_offset: bit_offset.into(), bit_width, r#type })
        };
        (0..head.count as usize).map_while(member).collect()
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        if name.is_empty() {
            return None;
        }
        for id in &self.enums {
            let head = self.head(*id)?;
            let wide = head.kind == kind::ENUM64;
            let stride = if wide { 12 } else { 8 };
            for index in 0..head.count as usize {
                let at = head.data + index * stride;
                if self.string(self.word(at)?) != name.as_bytes() {
                    continue;
                }
                let low = self.word(at + 4)?;
                return Some(match (wide, head.flag) {
                    (true, _) => (u64::from(self.word(at + 8)?) << 32 | u64::from(low)).cast_signed(),
                    // The flag tells a signed enumeration, since 6.0; before, all were read as signed.
                    (false, _) if low >> 31 == 1 && !self.unsigned(&head) => i64::from(low.cast_signed()),
                    (false, _) => low.into(),
                });
            }
        }
        None
    }
}

impl Btf {
    /// Whether an enumeration is unsigned. Blobs from before the flag never set it, so its absence tells only where ENUM64 is known.
    fn unsigned(&self, head: &Head) -> bool {
        !head.flag && self.enums.iter().any(|id| self.head(*id).is_some_and(|other| other.flag || other.kind == kind::ENUM64))
    }
}

/// FNV-1a. A crafted collision costs a comparison, no more.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::symbols::{Layout, Shape};
    use proptest::prelude::*;

    /// Writes blobs.
    #[derive(Default)]
    struct Blob {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Blob {
        fn new() -> Self {
            Self { types: Vec::new(), strings: vec![0] }
        }
        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend(name.bytes().chain([0]));
            at
        }
        fn head(&mut self, name: &str, kind: u32, count: u32, flag: bool, word: u32, data: &[u32]) {
            let name = self.name(name);
            for word in [name, kind << 24 | count | u32::from(flag) << 31, word].iter().chain(data) {
                self.types.extend(word.to_le_bytes());
            }
        }
        fn finish(self) -> Vec<u8> {
            let mut bytes = vec![0x9f, 0xeb, 1, 0];
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            for word in [24, 0, types, types, strings] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(self.types);
            bytes.extend(self.strings);
            bytes
        }
    }

    fn sample() -> Vec<u8> {
        let mut blob = Blob::new();
        blob.head("int", kind::INT, 0, false, 4, &[1 << 24 | 32]); // 1
        blob.head("u64", kind::INT, 0, false, 8, &[64]); // 2
        blob.head("", kind::CONST, 0, false, 2, &[]); // 3
        blob.head("size_t", kind::TYPEDEF, 0, false, 3, &[]); // 4
        let (a, b, c, list) = (blob.name("a"), blob.name("b"), blob.name("c"), blob.name("list"));
        blob.head("", kind::UNION, 2, false, 8, &[a, 4, 0, b, 1, 0]); // 5
        blob.head("", kind::PTR, 0, false, 7, &[]); // 6
        blob.head("node", kind::FWD, 0, false, 0, &[]); // 7
        blob.head("node", kind::STRUCT, 3, true, 24, &[0, 5, 0, c, 1, 3 << 24 | 69, list, 6, 128]); // 8
        blob.head("node_t", kind::TYPEDEF, 0, false, 8, &[]); // 9
        blob.head("", kind::ARRAY, 0, false, 0, &[9, 1, 5]); // 10
        let (one, minus, wide) = (blob.name("ONE"), blob.name("MINUS"), blob.name("WIDE"));
        blob.head("few", kind::ENUM, 2, true, 4, &[one, 1, minus, u32::MAX]); // 11
        blob.head("many", kind::ENUM64, 1, false, 8, &[wide, 7, 1]); // 12
        blob.head("cpu_number", kind::VAR, 0, false, 1, &[1]); // 13
        blob.head(".data..percpu", kind::DATASEC, 1, false, 0, &[13, 0x1c, 4]); // 14
        blob.head("tag", kind::DECL_TAG, 0, false, 8, &[u32::MAX]); // 15
        blob.head("rcu", kind::TYPE_TAG, 0, false, 9, &[]); // 16
        blob.head("", kind::PTR, 0, false, 16, &[]); // 17
        blob.head("f", kind::FLOAT, 0, false, 8, &[]); // 18
        blob.head("", kind::FUNC_PROTO, 1, false, 1, &[0, 1]); // 19
        blob.head("main", kind::FUNC, 0, false, 19, &[]); // 20
        blob.head("loop", kind::TYPEDEF, 0, false, 21, &[]); // 21
        blob.head("narrow", kind::INT, 0, false, 4, &[5 << 16 | 3]); // 22
        let bits = blob.name("bits");
        blob.head("old", kind::STRUCT, 1, false, 4, &[bits, 22, 8]); // 23
        blob.finish()
    }

    #[test]
    fn every_kind_is_read() {
        let bytes = sample();
        assert_eq!(Btf::blob_length(&bytes), Some(bytes.len() as u64));
        let btf = Btf::parse(bytes).unwrap();
        assert_eq!(btf.len(), 24);
        let node = btf.find("node").unwrap();
        assert_eq!(node, TypeId(8));
        let layout = Layout::of(&btf, node).unwrap();
        assert_eq!(layout.size, 24);
        let field = layout.field("a").unwrap();
        assert_eq!((field.offset, field.size, field.shape), (0, 8, Shape::Integer { signed: false }));
        let field = layout.field("c").unwrap();
        assert_eq!((field.offset, field.size, field.bits), (8, 4, Some((5, 3))));
        let Shape::Pointer(to) = layout.field("list").unwrap().shape else { panic!("a pointer") };
        assert!(matches!(btf.get(to), Some(Type::Struct { name, .. }) if name == "node"), "a declaration leads to its definition");
        assert_eq!(btf.members(TypeId(9)).len(), 3, "through the typedef");
        assert!(matches!(btf.get(TypeId(10)), Some(Type::Array { element: TypeId(9), count: 5 })));
        assert!(matches!(btf.get(TypeId(4)), Some(Type::Integer { size: 8, signed: false })));
        assert!(matches!(btf.get(TypeId(20)), Some(Type::Function)));
        assert!(matches!(btf.get(TypeId(0)), Some(Type::Void)));
        assert!(btf.get(TypeId(21)).is_none(), "a typedef of itself ends");
        assert!(btf.get(TypeId(99)).is_none());
        assert!(btf.find("size_t").is_none() && btf.find("node_t").is_some());
        assert_eq!(btf.enumerator("ONE"), Some(1));
        assert_eq!(btf.enumerator("MINUS"), Some(-1));
        assert_eq!(btf.enumerator("WIDE"), Some(0x1_0000_0007));
        assert_eq!(btf.enumerator("NONE"), None);
        let field = Layout::of(&btf, btf.find("old").unwrap()).unwrap().field("bits").unwrap();
        assert_eq!((field.offset, field.bits), (0, Some((13, 3))));
    }

    #[test]
    fn cut_blobs_are_refused() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(Btf::parse(bytes[..length].to_vec()).is_err(), "{length} bytes");
        }
    }

    fn ask_everything(btf: &Btf) {
        for id in 0..btf.len() as u32 + 2 {
            let _ = (btf.get(TypeId(id)), btf.members(TypeId(id)), Layout::of(btf, TypeId(id)));
        }
        let _ = (btf.find("node"), btf.enumerator("ONE"), btf.is_kernel());
    }

    proptest! {
        #[test]
        fn damaged_blobs_do_no_harm(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
            let mut bytes = sample();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = Btf::blob_length(&bytes);
            if let Ok(btf) = Btf::parse(bytes) {
                ask_everything(&btf);
            }
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body in proptest::collection::vec(any::<u8>(), 0..400), types in 0_u32..400) {
            let mut bytes = vec![0x9f, 0xeb, 1, 0];
            for word in [24, 0, types, types, 400_u32.saturating_sub(types)] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(body);
            if let Ok(btf) = Btf::parse(bytes) {
                ask_everything(&btf);
            }
        }
    }
}
