//! Types of any origin, put into a BTF blob: the one compact form in which types are kept, and which [`Btf`](super::Btf) reads.

use super::btf::kind;
use foldhash::{HashMap, HashMapExt as _};

/// Collects types and writes them. Ids may be used before their type is told.
pub struct BtfWriter {
    strings: Vec<u8>,
    interned: HashMap<Box<[u8]>, u32>,
    types: Vec<Definition>,
    members: Vec<WrittenMember>,
    values: Vec<(u32, i64)>,
    pointers: HashMap<u32, u32>,
    arrays: HashMap<(u32, u32), u32>,
    function: Option<u32>,
}

/// A member as it is written: a name in the blob, a type, a place and, for a bit field, its width.
#[derive(Clone, Copy)]
pub struct WrittenMember {
    pub name: u32,
    pub r#type: u32,
    pub bit_offset: u32,
    pub bit_width: u8,
}

enum Definition {
    /// Never told: written as a declaration.
    None,
    Integer {
        name: u32,
        size: u32,
        signed: bool,
    },
    Float {
        name: u32,
        size: u32,
    },
    Pointer(u32),
    Array {
        element: u32,
        count: u32,
    },
    /// Start and number of its members.
    Composite {
        name: u32,
        union: bool,
        size: u32,
        first: usize,
        count: usize,
    },
    /// Start and number of its values.
    Enumeration {
        name: u32,
        size: u32,
        first: usize,
        count: usize,
    },
    Typedef {
        name: u32,
        to: u32,
    },
    Function,
}

/// What a blob can hold of members or values in one type.
const MAX_COUNT: usize = 0xffff;

impl Default for BtfWriter {
    fn default() -> Self {
        Self {
            strings: vec![0],
            interned: HashMap::new(),
            types: Vec::new(),
            members: Vec::new(),
            values: Vec::new(),
            pointers: HashMap::new(),
            arrays: HashMap::new(),
            function: None,
        }
    }
}

impl BtfWriter {
    /// A type to be told later.
    pub fn reserve(&mut self) -> u32 {
        self.put(Definition::None)
    }

    pub fn name(&mut self, name: &[u8]) -> u32 {
        let name = &name[..memchr::memchr(0, name).unwrap_or(name.len())];
        if name.is_empty() {
            return 0;
        }
        if let Some(known) = self.interned.get(name) {
            return *known;
        }
        let at = self.new_name(name);
        self.interned.insert(name.into(), at);
        at
    }

    /// A name without a NUL that the caller puts once.
    pub fn new_name(&mut self, name: &[u8]) -> u32 {
        let Ok(at) = u32::try_from(self.strings.len()) else { return 0 };
        self.strings.extend_from_slice(name);
        self.strings.push(0);
        at
    }

    pub fn integer(&mut self, id: u32, name: &[u8], size: u32, signed: bool) {
        let name = self.name(name);
        self.set(id, Definition::Integer { name, size, signed });
    }

    pub fn float(&mut self, id: u32, name: &[u8], size: u32) {
        let name = self.name(name);
        self.set(id, Definition::Float { name, size });
    }

    pub fn pointer(&mut self, to: u32) -> u32 {
        if let Some(known) = self.pointers.get(&to) {
            return *known;
        }
        let id = self.put(Definition::Pointer(to));
        self.pointers.insert(to, id);
        id
    }

    pub fn array(&mut self, element: u32, count: u32) -> u32 {
        if let Some(known) = self.arrays.get(&(element, count)) {
            return *known;
        }
        let id = self.put(Definition::Array { element, count });
        self.arrays.insert((element, count), id);
        id
    }

    pub fn function(&mut self) -> u32 {
        if let Some(known) = self.function {
            return known;
        }
        let id = self.put(Definition::Function);
        self.function = Some(id);
        id
    }

    /// A struct or union; its members are put in the order of their places.
    pub fn composite(&mut self, id: u32, name: &[u8], union: bool, size: u32, mut members: Vec<WrittenMember>) {
        // With bit fields among them, a place has 24 bits.
        if members.iter().any(|member| member.bit_width > 0) {
            members.retain(|member| member.bit_offset < 1 << 24);
        }
        members.truncate(MAX_COUNT);
        members.sort_by_key(|member| member.bit_offset);
        let (first, count) = (self.members.len(), members.len());
        self.members.extend(members);
        let name = self.name(name);
        self.set(id, Definition::Composite { name, union, size, first, count });
    }

    pub fn enumeration(&mut self, id: u32, name: &[u8], size: u32, mut values: Vec<(u32, i64)>) {
        values.truncate(MAX_COUNT);
        let (first, count) = (self.values.len(), values.len());
        self.values.extend(values);
        let name = self.name(name);
        self.set(id, Definition::Enumeration { name, size, first, count });
    }

    pub fn typedef(&mut self, id: u32, name: &[u8], to: u32) {
        let name = self.name(name);
        self.set(id, Definition::Typedef { name, to });
    }

    fn put(&mut self, definition: Definition) -> u32 {
        self.types.push(definition);
        self.types.len() as u32
    }

    fn set(&mut self, id: u32, definition: Definition) {
        if let Some(slot) = (id as usize).checked_sub(1).and_then(|index| self.types.get_mut(index)) {
            *slot = definition;
        }
    }

    /// The blob. The same types in the same order give the same bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut types: Vec<u8> = Vec::with_capacity(self.types.len() * 12 + self.members.len() * 12 + self.values.len() * 12);
        let mut put = |words: &[u32]| words.iter().for_each(|word| types.extend(word.to_le_bytes()));
        let head =
            |name: u32, kind: u32, count: usize, flag: bool, word: u32| [name, u32::from(flag) << 31 | kind << 24 | count as u32, word];
        for definition in &self.types {
            match *definition {
                Definition::None => put(&head(0, kind::FWD, 0, false, 0)),
                Definition::Integer { name, size, signed } => {
                    put(&head(name, kind::INT, 0, false, size));
                    put(&[u32::from(signed) << 24 | size.saturating_mul(8).min(0xff)]);
                }
                Definition::Float { name, size } => put(&head(name, kind::FLOAT, 0, false, size)),
                Definition::Pointer(to) => put(&head(0, kind::PTR, 0, false, to)),
                Definition::Array { element, count } => {
                    put(&head(0, kind::ARRAY, 0, false, 0));
                    put(&[element, 0, count]);
                }
                Definition::Composite { name, union, size, first, count } => {
                    let members = &self.members[first..first + count];
                    let flag = members.iter().any(|member| member.bit_width > 0);
                    put(&head(name, if union { kind::UNION } else { kind::STRUCT }, count, flag, size));
                    for member in members {
                        let place = if flag { u32::from(member.bit_width) << 24 | member.bit_offset } else { member.bit_offset };
                        put(&[member.name, member.r#type, place]);
                    }
                }
                Definition::Enumeration { name, size, first, count } => {
                    let values = &self.values[first..first + count];
                    let signed = values.iter().any(|(_, value)| *value < 0);
                    let fits = |value: i64| if signed { i32::try_from(value).is_ok() } else { u32::try_from(value).is_ok() };
                    if values.iter().all(|(_, value)| fits(*value)) {
                        put(&head(name, kind::ENUM, count, signed, size));
                        values.iter().for_each(|(name, value)| put(&[*name, *value as u32]));
                    } else {
                        put(&head(name, kind::ENUM64, count, signed, size));
                        values.iter().for_each(|(name, value)| put(&[*name, *value as u32, (*value >> 32) as u32]));
                    }
                }
                Definition::Typedef { name, to } => put(&head(name, kind::TYPEDEF, 0, false, to)),
                Definition::Function => put(&head(0, kind::FUNC_PROTO, 0, false, 0)),
            }
        }
        let mut blob = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, self.strings.len() as u32] {
            blob.extend(word.to_le_bytes());
        }
        blob.extend(types);
        blob.extend(self.strings);
        blob
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::symbols::{Btf, Layout, Shape, TypeSource};

    #[test]
    fn what_is_written_is_read() {
        let mut writer = BtfWriter::default();
        let (node, int, inner) = (writer.reserve(), writer.reserve(), writer.reserve());
        let pointer = writer.pointer(node);
        assert_eq!(writer.pointer(node), pointer);
        let array = writer.array(pointer, 3);
        writer.integer(int, b"int", 4, true);
        let member = |name, r#type, bit_offset, bit_width| WrittenMember { name, r#type, bit_offset, bit_width };
        let (a, b, c) = (writer.name(b"a"), writer.name(b"b"), writer.name(b"c"));
        writer.composite(inner, b"", true, 8, vec![member(a, int, 0, 0), member(b, pointer, 0, 0)]);
        let flags = writer.name(b"flags");
        writer.composite(node, b"node", false, 40, vec![member(flags, int, 261, 3), member(c, array, 64, 0), member(0, inner, 0, 0)]);
        let states = writer.reserve();
        let values = vec![(writer.name(b"LOW"), -1), (writer.name(b"HIGH"), 1 << 40)];
        writer.enumeration(states, b"states", 8, values);
        let typedef = writer.reserve();
        writer.typedef(typedef, b"node_t", node);
        let unused = writer.reserve();
        let btf = Btf::parse(writer.finish()).unwrap();
        let layout = Layout::of(&btf, btf.find("node_t").unwrap()).unwrap();
        assert_eq!(layout.size, 40);
        assert_eq!(layout.offset("b"), Ok(0));
        let field = layout.field("c").unwrap();
        assert!(matches!(field.shape, Shape::Array { stride: 8, count: 3, .. }) && field.offset == 8);
        assert_eq!(layout.field("flags").unwrap().bits, Some((5, 3)));
        assert_eq!((btf.enumerator("LOW"), btf.enumerator("HIGH")), (Some(-1), Some(1 << 40)));
        assert!(Layout::of(&btf, crate::symbols::TypeId(unused)).is_none());
    }
}
