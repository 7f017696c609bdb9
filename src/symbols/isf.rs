//! Volatility's Intermediate Symbol Format: types and symbols as JSON, usually compressed.
//!
//! Read in one pass, with names borrowed from the text, straight into the compact form; no tree of the document is built.

use super::btf_writer::{BtfWriter, WrittenMember};
use super::{Btf, SymbolTable};
use crate::address::VirtAddr;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

/// A whole ISF file.
pub struct Isf {
    pub types: Btf,
    /// Addresses as the file has them: of the link on Linux, counted from the module's base on Windows.
    pub symbols: SymbolTable,
    /// The text of `linux_banner`.
    pub banner: Option<String>,
    pub pdb: Option<Pdb>,
}

/// Which Windows module the symbols belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Pdb {
    #[serde(rename = "GUID")]
    pub guid: String,
    #[serde(default)]
    pub age: u32,
    #[serde(default)]
    pub database: String,
}

/// Structs, unions, enumerations and symbols that are taken from one file.
const MAX_ENTRIES: usize = 1 << 22;

impl Isf {
    /// Reads the text of a file.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::default();
        let mut json = serde_json::Deserializer::from_slice(text);
        json.deserialize_map(&mut reader).map_err(|why| format!("not an ISF file: {why}"))?;
        if reader.sections == 0 {
            return Err("not an ISF file: no types and no symbols".into());
        }
        reader.symbols.finish();
        let types = Btf::parse(reader.writer.finish())?;
        Ok(Self { types, symbols: reader.symbols, banner: reader.banner, pdb: reader.pdb })
    }
}

/// The text of `linux_banner` in an ISF file, found without reading the rest of it.
pub fn banner(text: &[u8]) -> Option<String> {
    /// From the name of the symbol to the end of its data.
    const REACH: usize = 4096;
    let finder = memchr::memmem::Finder::new(b"\"linux_banner\"");
    finder.find_iter(text).take(8).find_map(|at| {
        let rest = &text[at..text.len().min(at + REACH)];
        let data = memchr::memmem::find(rest, b"\"constant_data\"")?;
        let value = rest.get(data + 15..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        decode_banner(&value[..memchr::memchr(b'"', value)?])
    })
}

fn decode_banner(data: &[u8]) -> Option<String> {
    let bytes = base64(data)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\0').trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Base64 with the usual alphabet; padding may be missing.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

/// A string borrowed from the text where it has no escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct BaseType<'a> {
    #[serde(default)]
    size: u32,
    #[serde(default)]
    signed: bool,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct UserType<'a> {
    #[serde(default)]
    size: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    fields: Pairs<'a, Field<'a>>,
}

#[derive(Deserialize)]
struct Field<'a> {
    #[serde(borrow)]
    r#type: Descriptor<'a>,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    anonymous: bool,
}

/// A type as a field refers to it. The parser itself limits how deep they nest.
#[derive(Deserialize)]
struct Descriptor<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    subtype: Option<Box<Descriptor<'a>>>,
    #[serde(default)]
    count: u64,
    #[serde(borrow, default)]
    r#type: Option<Box<Descriptor<'a>>>,
    #[serde(default)]
    bit_length: u64,
    #[serde(default)]
    bit_position: u64,
}

#[derive(Deserialize)]
struct Enumeration<'a> {
    #[serde(default)]
    size: u32,
    #[serde(borrow, default)]
    constants: Pairs<'a, serde_json::Number>,
}

#[derive(Deserialize)]
struct Symbol<'a> {
    #[serde(default)]
    address: u64,
    #[serde(borrow, default)]
    constant_data: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    windows: Option<WindowsMetadata>,
}

#[derive(Deserialize)]
struct WindowsMetadata {
    #[serde(default)]
    pdb: Option<Pdb>,
}

/// What a name in a descriptor refers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Namespace {
    Base,
    /// Structs, unions and classes.
    User,
    Enumeration,
}

/// What has been read so far. Types get their ids when they are first named.
#[derive(Default)]
struct Reader<'de> {
    writer: BtfWriter,
    ids: HashMap<(Namespace, Cow<'de, str>), u32>,
    symbols: SymbolTable,
    banner: Option<String>,
    pdb: Option<Pdb>,
    sections: u32,
}

impl<'de> Reader<'de> {
    fn id(&mut self, space: Namespace, name: Cow<'de, str>) -> u32 {
        if space == Namespace::Base && name == "void" {
            return 0;
        }
        *self.ids.entry((space, name)).or_insert_with(|| self.writer.reserve())
    }

    /// The id of a described type, and its place in bits if it is a bit field.
    fn describe(&mut self, descriptor: Descriptor<'de>) -> (u32, Option<(u64, u64)>) {
        let inner = |reader: &mut Self, inner: Option<Box<Descriptor<'de>>>| inner.map_or(0, |inner| reader.describe(*inner).0);
        let space = match &*descriptor.kind {
            "base" => Namespace::Base,
            "enum" => Namespace::Enumeration,
            "pointer" => {
                let to = inner(self, descriptor.subtype);
                return (self.writer.pointer(to), None);
            }
            "array" => {
                let element = inner(self, descriptor.subtype);
                return (self.writer.array(element, u32::try_from(descriptor.count).unwrap_or(0)), None);
            }
            "bitfield" => return (inner(self, descriptor.r#type), Some((descriptor.bit_position, descriptor.bit_length))),
            "function" => return (self.writer.function(), None),
            _ => Namespace::User,
        };
        (descriptor.name.map_or(0, |name| self.id(space, name)), None)
    }

    fn base_type(&mut self, name: Cow<'de, str>, base: BaseType<'de>) {
        let id = self.id(Namespace::Base, name.clone());
        match &*base.kind {
            "void" => {}
            "float" => self.writer.float(id, name.as_bytes(), base.size),
            _ => self.writer.integer(id, name.as_bytes(), base.size, base.signed),
        }
    }

    fn user_type(&mut self, name: Cow<'de, str>, user: UserType<'de>) {
        let id = self.id(Namespace::User, name.clone());
        let mut members = Vec::with_capacity(user.fields.pairs.len());
        for (name, field) in user.fields.pairs {
            let (r#type, bits) = self.describe(field.r#type);
            let (position, width) = bits.unwrap_or((0, 0));
            let place = field.offset.checked_mul(8).and_then(|place| place.checked_add(position));
            let (Some(Ok(bit_offset)), Ok(bit_width)) = (place.map(u32::try_from), u8::try_from(width)) else { continue };
            let name = if field.anonymous { 0 } else { self.writer.name(name.0.as_bytes()) };
            members.push(WrittenMember { name, r#type, bit_offset, bit_width });
        }
        self.writer.composite(id, given_name(&name), user.kind == "union", user.size, members);
    }

    fn enumeration(&mut self, name: Cow<'de, str>, enumeration: Enumeration<'de>) {
        let id = self.id(Namespace::Enumeration, name.clone());
        let constants = enumeration.constants.pairs.into_iter().filter_map(|(name, value)| {
            let value = value.as_i64().or_else(|| value.as_u64().map(u64::cast_signed))?;
            Some((self.writer.name(name.0.as_bytes()), value))
        });
        let constants = constants.collect();
        self.writer.enumeration(id, given_name(&name), enumeration.size, constants);
    }

    fn symbol(&mut self, name: Cow<'de, str>, symbol: Symbol<'de>) {
        self.symbols.add(&name, VirtAddr(symbol.address));
        if name == "linux_banner"
            && let Some(data) = symbol.constant_data
        {
            self.banner = decode_banner(data.as_bytes());
        }
    }
}

/// The name without those which the format's writers make up for anonymous types.
fn given_name(name: &str) -> &[u8] {
    let made_up = ["unnamed_", "__unnamed", "<unnamed", "<anonymous"].iter().any(|start| name.starts_with(start));
    if made_up { b"" } else { name.as_bytes() }
}

impl<'de> Visitor<'de> for &mut Reader<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an ISF document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(section)) = map.next_key()? {
            match &*section {
                "metadata" => self.pdb = map.next_value::<Metadata>()?.windows.and_then(|windows| windows.pdb),
                "base_types" => map.next_value_seed(Each::new(|name, base| self.base_type(name, base)))?,
                "user_types" => map.next_value_seed(Each::new(|name, user| self.user_type(name, user)))?,
                "enums" => map.next_value_seed(Each::new(|name, values| self.enumeration(name, values)))?,
                "symbols" => map.next_value_seed(Each::new(|name, symbol| self.symbol(name, symbol)))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            if section != "metadata" {
                self.sections += 1;
            }
        }
        Ok(())
    }
}

/// Hands the entries of a map on, one by one.
struct Each<T, F> {
    hand: F,
    entry: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(Cow<'de, str>, T)> Each<T, F> {
    fn new(hand: F) -> Self {
        Self { hand, entry: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(Cow<'de, str>, T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(Cow<'de, str>, T)> Visitor<'de> for Each<T, F> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of names")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some(Name(name)) = map.next_key()? {
            count += 1;
            if count > MAX_ENTRIES {
                return Err(serde::de::Error::custom("too many entries"));
            }
            let entry = map.next_value()?;
            (self.hand)(name, entry);
        }
        Ok(())
    }
}

/// The entries of a small map, in their order.
struct Pairs<'a, T> {
    pairs: Vec<(Name<'a>, T)>,
}

impl<T> Default for Pairs<'_, T> {
    fn default() -> Self {
        Self { pairs: Vec::new() }
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Pairs<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fill<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Fill<'a, T> {
            type Value = Pairs<'a, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs { pairs })
            }
        }
        deserializer.deserialize_map(Fill(PhantomData))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::symbols::{Layout, Shape, TypeSource};
    use proptest::prelude::*;

    const SMALL: &str = r#"{
        "metadata": {"linux": {"types": []}, "producer": {"name": "dwarf2json", "version": "0.9.0"}, "format": "6.2.0"},
        "base_types": {"int": {"size": 4, "signed": true, "kind": "int", "endian": "little"},
                       "void": {"size": 0, "signed": false, "kind": "void", "endian": "little"}},
        "user_types": {
            "list_head": {"size": 16, "fields": {
                "prev": {"type": {"kind": "pointer", "subtype": {"kind": "struct", "name": "list_head"}}, "offset": 8},
                "next": {"type": {"kind": "pointer", "subtype": {"kind": "struct", "name": "list_head"}}, "offset": 0}}, "kind": "struct"},
            "task\u005fstruct": {"size": 96, "fields": {
                "unnamed_field_0": {"type": {"kind": "union", "name": "unnamed_1"}, "offset": 16, "anonymous": true},
                "flag": {"type": {"kind": "bitfield", "bit_length": 2, "bit_position": 3, "type": {"kind": "base", "name": "int"}}, "offset": 4},
                "stack": {"type": {"kind": "pointer", "subtype": {"kind": "base", "name": "void"}}, "offset": 8},
                "lists": {"type": {"kind": "array", "count": 4, "subtype": {"kind": "struct", "name": "list_head"}}, "offset": 24}},
                "kind": "struct"},
            "unnamed_1": {"size": 4, "fields": {"pid": {"type": {"kind": "base", "name": "int"}, "offset": 0}}, "kind": "union"}},
        "enums": {"colour": {"size": 4, "base": "int", "constants": {"RED": 0, "BLUE": -2}}},
        "symbols": {"init_task": {"type": {"kind": "struct", "name": "task_struct"}, "address": 18446744071606217280},
                    "linux_banner": {"type": {"kind": "array"}, "address": 4096, "constant_data": "TGludXggdmVyc2lvbiA2LjEKAA=="}}}"#;

    #[test]
    fn a_document_is_read() {
        let isf = Isf::read(SMALL.as_bytes()).unwrap();
        assert_eq!(isf.banner.as_deref(), Some("Linux version 6.1"));
        assert_eq!(banner(SMALL.as_bytes()), isf.banner);
        assert_eq!(isf.symbols.get("init_task"), Some(VirtAddr(18_446_744_071_606_217_280)));
        assert_eq!(isf.types.enumerator("BLUE"), Some(-2));
        let task = Layout::of(&isf.types, isf.types.find("task_struct").unwrap()).unwrap();
        assert_eq!((task.size, task.offset("pid"), task.field("flag").unwrap().bits), (96, Ok(16), Some((3, 2))));
        assert!(matches!(task.field("lists").unwrap().shape, Shape::Array { stride: 16, count: 4, .. }));
        let list = isf.types.members(isf.types.find("list_head").unwrap());
        assert_eq!(list.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["next", "prev"], "in order of place");
    }

    #[test]
    fn other_documents_are_refused() {
        for text in ["", "[]", "{}", "{\"a\": 1}", "{\"symbols\": 1}", "{\"user_types\": {\"a\": {}}}"] {
            assert!(Isf::read(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!(
            "{{\"user_types\": {{\"a\": {{\"kind\": \"struct\", \"fields\": {{\"f\": {{\"type\": {}",
            "{\"subtype\":".repeat(100_000)
        );
        assert!(Isf::read(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn damaged_documents_do_no_harm(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut text = SMALL.as_bytes().to_vec();
            for (at, value) in changes {
                let at = at.index(text.len());
                text[at] = value;
            }
            let _ = (Isf::read(&text).map(|isf| isf.types.members(crate::symbols::TypeId(1)).len()), banner(&text));
        }
    }
}
