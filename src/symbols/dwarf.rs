//! Types out of the debugging information of a kernel.
//!
//! Every unit repeats the definitions which it includes, some thousand times for the common ones. A first pass, over all processors,
//! only notes which definitions there are and where each stands first; a second one reads each of them once.

use super::btf_writer::{BtfWriter, WrittenMember};
use gimli::{Abbreviations, AttributeValue, DebugInfoOffset, EndianSlice, EntriesRaw, LittleEndian, Reader as _, UnitHeader, UnitOffset};
use rayon::prelude::*;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The sections that hold types. Those which a file has not are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sections<'a> {
    pub info: &'a [u8],
    pub abbrev: &'a [u8],
    pub strings: &'a [u8],
    pub line_strings: &'a [u8],
    pub string_offsets: &'a [u8],
}

/// Definitions of different names and sizes; distribution kernels have some 30 000.
const MAX_DEFINITIONS: usize = 1 << 20;
/// Entries that the second pass reads in all: damage can make types hold each other, and then each is read many times.
const MAX_READS: u64 = 1 << 26;
/// Pointers to pointers, arrays of arrays, qualifiers of typedefs.
const MAX_CHAIN: u32 = 64;
const MAX_MEMBERS: usize = 0xffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Struct,
    Union,
    Enumeration,
    Typedef,
    /// An enumeration without a name, known by its first enumerator.
    Anonymous,
}

/// What makes two definitions one: the same source gives the same name and size in every unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key<'a> {
    kind: Kind,
    name: &'a [u8],
    size: u64,
}

/// How often a definition occurs and where it stands first, counted from the start of the section.
#[derive(Clone, Copy, Debug)]
struct Seen {
    count: u32,
    first: usize,
}

type Definitions<'a> = HashMap<Key<'a>, Seen>;

/// All types, as a BTF blob.
pub fn types(sections: Sections<'_>) -> Result<Vec<u8>, String> {
    let info = Info::new(sections)?;
    let parts = info.units.par_iter().fold(Definitions::new, |mut seen, unit| {
        // A damaged unit gives what comes before the damage.
        let _ = info.scan(unit, &mut seen);
        seen
    });
    let definitions = parts.reduce(Definitions::new, |one, other| {
        let (mut all, fewer) = if one.len() >= other.len() { (one, other) } else { (other, one) };
        for (key, seen) in fewer {
            note(&mut all, key, seen);
        }
        all
    });
    if definitions.is_empty() {
        return Err("the debugging information holds no types".into());
    }
    Ok(Conversion::new(&info, definitions).run())
}

fn note<'a>(definitions: &mut Definitions<'a>, key: Key<'a>, seen: Seen) {
    let full = definitions.len() >= MAX_DEFINITIONS;
    match definitions.entry(key) {
        Entry::Occupied(mut known) => {
            let known = known.get_mut();
            known.count = known.count.saturating_add(seen.count);
            known.first = known.first.min(seen.first);
        }
        Entry::Vacant(free) if !full => drop(free.insert(seen)),
        Entry::Vacant(_) => {}
    }
}

struct Unit<'a> {
    header: UnitHeader<Slice<'a>>,
    /// Where the unit starts in the section.
    start: usize,
}

struct Info<'a> {
    sections: Sections<'a>,
    units: Vec<Unit<'a>>,
}

/// The attributes that matter, of one entry.
#[derive(Clone, Copy, Debug, Default)]
struct Attributes<'a> {
    name: &'a [u8],
    size: Option<u64>,
    r#type: Option<usize>,
    declaration: bool,
    encoding: u64,
    /// Where the next entry of the same level is, within the unit.
    sibling: Option<usize>,
    location: u64,
    data_bit_offset: Option<u64>,
    bit_offset: Option<u64>,
    bit_size: Option<u64>,
    count: Option<u64>,
    value: i64,
}

impl<'a> Info<'a> {
    fn new(sections: Sections<'a>) -> Result<Self, String> {
        let section = gimli::DebugInfo::new(sections.info, LittleEndian);
        let mut headers = section.units();
        let mut units = Vec::new();
        // A damaged header ends the list.
        while let Ok(Some(header)) = headers.next() {
            if let Some(DebugInfoOffset(start)) = header.debug_info_offset() {
                units.push(Unit { header, start });
            }
        }
        if units.is_empty() { Err("the file has no debugging information".into()) } else { Ok(Self { sections, units }) }
    }

    fn abbreviations(&self, unit: &Unit<'a>) -> gimli::Result<Abbreviations> {
        unit.header.abbreviations(&gimli::DebugAbbrev::new(self.sections.abbrev, LittleEndian))
    }

    /// The definitions in one unit.
    fn scan(&self, unit: &Unit<'a>, seen: &mut Definitions<'a>) -> gimli::Result<()> {
        let abbreviations = self.abbreviations(unit)?;
        let mut entries = unit.header.entries_raw(&abbreviations, None)?;
        let bases = Bases { start: unit.start, ..root(&mut entries, unit.header.encoding())? };
        // The level right below the unit; an entry's own children are stepped over, by its sibling where it tells that.
        let mut level = 1;
        while !entries.is_empty() && entries.next_depth() >= level {
            let (at, depth) = (entries.next_offset().0, entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let kind = Kind::of(abbreviation.tag());
            if depth != level || (kind.is_none() && !abbreviation.has_children()) {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let attributes = match kind {
                Some(_) => self.attributes(bases, &mut entries, abbreviation.attributes())?,
                None => Attributes { sibling: sibling(&mut entries, abbreviation.attributes())?, ..Attributes::default() },
            };
            if let Some(mut kind) = kind.filter(|_| !attributes.declaration) {
                let mut name = attributes.name;
                if name.is_empty() && kind == Kind::Enumeration && abbreviation.has_children() {
                    let mut inside = entries.clone();
                    if let Some(first) = inside.read_abbreviation()? {
                        (kind, name) = (Kind::Anonymous, self.attributes(bases, &mut inside, first.attributes())?.name);
                    }
                }
                if !name.is_empty() {
                    let key = Key { kind, name, size: attributes.size.unwrap_or(0) };
                    note(seen, key, Seen { count: 1, first: unit.start + at });
                }
            }
            // Onwards only, or a damaged unit would never end.
            let next = attributes.sibling.filter(|next| abbreviation.has_children() && *next > at);
            if let Some(rest) = next.and_then(|next| unit.header.entries_raw(&abbreviations, Some(UnitOffset(next))).ok()) {
                // A new reader counts levels from where it starts.
                (entries, level) = (rest, 0);
            }
        }
        Ok(())
    }

    fn attributes(&self, bases: Bases, entries: &mut EntriesRaw<'_, Slice<'a>>, specs: &[Spec]) -> gimli::Result<Attributes<'a>> {
        let mut found = Attributes::default();
        for spec in specs {
            let attribute = entries.read_attribute(*spec)?;
            let value = attribute.raw_value();
            match attribute.name() {
                gimli::DW_AT_name => found.name = self.string(bases, value).unwrap_or_default(),
                gimli::DW_AT_byte_size => found.size = value.udata_value(),
                gimli::DW_AT_type => found.r#type = bases.reference(value),
                gimli::DW_AT_declaration => found.declaration = matches!(value, AttributeValue::Flag(true)),
                gimli::DW_AT_encoding => found.encoding = value.udata_value().unwrap_or(0),
                gimli::DW_AT_sibling => found.sibling = unit_offset(value),
                gimli::DW_AT_data_member_location => found.location = location(value).unwrap_or(0),
                gimli::DW_AT_data_bit_offset => found.data_bit_offset = value.udata_value(),
                gimli::DW_AT_bit_offset => found.bit_offset = value.udata_value(),
                gimli::DW_AT_bit_size => found.bit_size = value.udata_value(),
                gimli::DW_AT_count => found.count = value.udata_value(),
                // An array without bounds may tell -1 here: it has no elements.
                gimli::DW_AT_upper_bound if found.count.is_none() => {
                    found.count = value.udata_value().and_then(|last| last.checked_add(1)).filter(|count| *count <= u64::from(u32::MAX));
                }
                gimli::DW_AT_const_value => {
                    found.value = value.udata_value().map(u64::cast_signed).or_else(|| value.sdata_value()).unwrap_or(0);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn string(&self, bases: Bases, value: AttributeValue<Slice<'a>>) -> Option<&'a [u8]> {
        let (section, offset) = match value {
            AttributeValue::String(text) => return Some(text.slice()),
            AttributeValue::DebugStrRef(offset) => (self.sections.strings, offset.0),
            AttributeValue::DebugLineStrRef(offset) => (self.sections.line_strings, offset.0),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let word = usize::from(bases.format.word_size());
                let at = index.0.checked_mul(word)?.checked_add(bases.string_offsets)?;
                let mut offset = [0; 8];
                offset[..word].copy_from_slice(self.sections.string_offsets.get(at..at.checked_add(word)?)?);
                (self.sections.strings, usize::try_from(u64::from_le_bytes(offset)).ok()?)
            }
            _ => return None,
        };
        let rest = section.get(offset..)?;
        Some(&rest[..memchr::memchr(0, rest)?])
    }

    /// The unit that holds a place in the section.
    fn unit_of(&self, at: usize) -> Option<usize> {
        self.units.partition_point(|unit| unit.start <= at).checked_sub(1)
    }
}

type Spec = gimli::AttributeSpecification;

/// What a unit's attributes are relative to.
#[derive(Clone, Copy)]
struct Bases {
    start: usize,
    format: gimli::Format,
    string_offsets: usize,
}

impl Bases {
    /// The place in the section to which an attribute refers.
    fn reference(self, value: AttributeValue<Slice<'_>>) -> Option<usize> {
        match value {
            AttributeValue::UnitRef(offset) => self.start.checked_add(offset.0),
            AttributeValue::DebugInfoRef(offset) => Some(offset.0),
            _ => None,
        }
    }
}

fn unit_offset(value: AttributeValue<Slice<'_>>) -> Option<usize> {
    match value {
        AttributeValue::UnitRef(offset) => Some(offset.0),
        _ => None,
    }
}

fn sibling(entries: &mut EntriesRaw<'_, Slice<'_>>, specs: &[Spec]) -> gimli::Result<Option<usize>> {
    // Most often it is the last one.
    let Some(place) = specs.iter().position(|spec| spec.name() == gimli::DW_AT_sibling) else {
        entries.skip_attributes(specs)?;
        return Ok(None);
    };
    entries.skip_attributes(&specs[..place])?;
    let found = unit_offset(entries.read_attribute(specs[place])?.raw_value());
    entries.skip_attributes(&specs[place + 1..])?;
    Ok(found)
}

/// The offset of a member: a number, or in old files an expression that adds one.
fn location(value: AttributeValue<Slice<'_>>) -> Option<u64> {
    match value {
        AttributeValue::Block(mut expression) | AttributeValue::Exprloc(gimli::Expression(mut expression)) => {
            let plus = expression.read_u8().ok()? == gimli::DW_OP_plus_uconst.0;
            expression.read_uleb128().ok().filter(|_| plus)
        }
        // So old versions read four bytes here.
        AttributeValue::SecOffset(offset) => Some(offset as u64),
        other => other.udata_value(),
    }
}

impl Kind {
    fn of(tag: gimli::DwTag) -> Option<Self> {
        Some(match tag {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => Self::Struct,
            gimli::DW_TAG_union_type => Self::Union,
            gimli::DW_TAG_enumeration_type => Self::Enumeration,
            gimli::DW_TAG_typedef => Self::Typedef,
            _ => return None,
        })
    }
}

/// An entry that is read because a type refers to it.
struct Die<'a> {
    tag: gimli::DwTag,
    attributes: Attributes<'a>,
}

/// The second pass.
struct Conversion<'i, 'a> {
    info: &'i Info<'a>,
    writer: BtfWriter,
    /// Abbreviations and bases of the units that have been needed.
    opened: HashMap<usize, Option<(Abbreviations, Bases)>>,
    /// Ids of the definitions.
    known: HashMap<Key<'a>, u32>,
    /// For each name the definition that most units have: what a declaration stands for.
    main: HashMap<(Kind, &'a [u8]), u32>,
    /// Ids of types without a name, by their place.
    placed: HashMap<usize, u32>,
    /// Ids of types without a name by that of their typedef, and size.
    named_by_typedef: HashMap<(Kind, &'a [u8], u64), u32>,
    base_types: HashMap<(&'a [u8], u64, u64), u32>,
    /// Types that have an id and are still to be read.
    waiting: Vec<(usize, u32)>,
    reads: u64,
}

impl<'i, 'a> Conversion<'i, 'a> {
    fn new(info: &'i Info<'a>, definitions: Definitions<'a>) -> Self {
        let mut conversion = Self {
            info,
            writer: BtfWriter::default(),
            opened: HashMap::new(),
            known: HashMap::with_capacity(definitions.len()),
            main: HashMap::new(),
            placed: HashMap::new(),
            named_by_typedef: HashMap::new(),
            base_types: HashMap::new(),
            waiting: Vec::with_capacity(definitions.len()),
            reads: 0,
        };
        // The definition that most units have comes first, and so is the one that a search by name finds; the others of its name are
        // private to a few units. The order, and with it the result, depends on the file alone.
        let mut ordered: Vec<(Key<'a>, Seen)> = definitions.into_iter().collect();
        ordered.sort_unstable_by_key(|(key, seen)| (std::cmp::Reverse(seen.count), seen.first, *key));
        let mut rare = Vec::new();
        let mut common = Vec::new();
        for (key, seen) in ordered {
            let others = if conversion.main.contains_key(&(key.kind, key.name)) { &mut rare } else { &mut common };
            others.push((key, seen));
            conversion.main.entry((key.kind, key.name)).or_insert(0);
        }
        common.sort_unstable_by_key(|(key, seen)| (seen.first, *key));
        for (key, seen) in common.into_iter().chain(rare) {
            let id = conversion.writer.reserve();
            conversion.known.insert(key, id);
            let main = conversion.main.entry((key.kind, key.name)).or_insert(0);
            if *main == 0 {
                *main = id;
            }
            conversion.waiting.push((seen.first, id));
        }
        conversion.waiting.reverse();
        conversion
    }

    fn run(mut self) -> Vec<u8> {
        while let Some((at, id)) = self.waiting.pop() {
            if self.reads > MAX_READS {
                break;
            }
            // What cannot be read stays a declaration.
            let _ = self.define(at, id);
        }
        self.writer.finish()
    }

    /// A reader at an entry, and what its unit's attributes are relative to. Abbreviations are taken out for the time of reading.
    fn with_entries<T>(
        &mut self,
        at: usize,
        read: impl FnOnce(&mut Self, &mut EntriesRaw<'_, Slice<'a>>, Bases) -> gimli::Result<T>,
    ) -> Option<T> {
        self.reads += 1;
        let info = self.info;
        let index = info.unit_of(at)?;
        let unit = info.units.get(index)?;
        let opened = match self.opened.remove(&index) {
            Some(opened) => opened,
            None => {
                let abbreviations = info.abbreviations(unit).ok();
                abbreviations.and_then(|abbreviations| {
                    let bases = root(&mut unit.header.entries_raw(&abbreviations, None).ok()?, unit.header.encoding()).ok()?;
                    Some((abbreviations, Bases { start: unit.start, ..bases }))
                })
            }
        };
        let result = opened.as_ref().and_then(|(abbreviations, bases)| {
            let mut entries = unit.header.entries_raw(abbreviations, Some(UnitOffset(at.checked_sub(unit.start)?))).ok()?;
            read(self, &mut entries, *bases).ok()
        });
        self.opened.insert(index, opened);
        result
    }

    fn die(&mut self, at: usize) -> Option<Die<'a>> {
        self.with_entries(at, |this, entries, bases| {
            let abbreviation = entries.read_abbreviation()?.ok_or(gimli::Error::NoEntryAtGivenOffset(at as u64))?;
            let attributes = this.info.attributes(bases, entries, abbreviation.attributes())?;
            Ok(Die { tag: abbreviation.tag(), attributes })
        })
    }

    /// An entry and its children of some kind.
    fn die_with(&mut self, at: usize, tag: gimli::DwTag) -> Option<(Die<'a>, Vec<Attributes<'a>>)> {
        self.with_entries(at, |this, entries, bases| {
            let abbreviation = entries.read_abbreviation()?.ok_or(gimli::Error::NoEntryAtGivenOffset(at as u64))?;
            let attributes = this.info.attributes(bases, entries, abbreviation.attributes())?;
            let mut children = Vec::new();
            while !entries.is_empty() && entries.next_depth() > 0 && children.len() < MAX_MEMBERS && this.reads <= MAX_READS {
                this.reads += 1;
                let depth = entries.next_depth();
                let Some(child) = entries.read_abbreviation()? else { continue };
                if depth == 1 && child.tag() == tag {
                    children.push(this.info.attributes(bases, entries, child.attributes())?);
                } else {
                    entries.skip_attributes(child.attributes())?;
                }
            }
            Ok((Die { tag: abbreviation.tag(), attributes }, children))
        })
    }

    /// Reads a definition that has an id.
    fn define(&mut self, at: usize, id: u32) -> Option<()> {
        let die = self.die(at)?;
        let size = u32::try_from(die.attributes.size.unwrap_or(0)).unwrap_or(u32::MAX);
        match Kind::of(die.tag)? {
            Kind::Typedef => {
                let to = die.attributes.r#type.map_or(0, |to| self.reference(to, MAX_CHAIN));
                // A typedef of what is known by that very typedef already is that type.
                if to != id {
                    self.writer.typedef(id, die.attributes.name, to);
                }
            }
            Kind::Enumeration | Kind::Anonymous => {
                let (die, values) = self.die_with(at, gimli::DW_TAG_enumerator)?;
                let values = values.iter().map(|value| (self.writer.name(value.name), value.value)).collect();
                self.writer.enumeration(id, die.attributes.name, size, values);
            }
            kind => {
                let (die, children) = self.die_with(at, gimli::DW_TAG_member)?;
                let members = children.iter().filter_map(|member| self.member(member)).collect();
                self.writer.composite(id, die.attributes.name, kind == Kind::Union, size, members);
            }
        }
        Some(())
    }

    fn member(&mut self, member: &Attributes<'a>) -> Option<WrittenMember> {
        let at = member.r#type?;
        let width = member.bit_size.unwrap_or(0);
        let place = member.location.checked_mul(8)?;
        let bit_offset = match (member.data_bit_offset, member.bit_offset) {
            (Some(bits), _) => place.checked_add(bits)?,
            // Before DWARF 4: counted from the highest bit of the storage.
            (None, Some(from_top)) if width > 0 => {
                let storage = member.size.or_else(|| self.size(at))?.checked_mul(8)?;
                place.checked_add(storage)?.checked_sub(from_top.checked_add(width)?)?
            }
            _ => place,
        };
        let r#type = self.reference(at, MAX_CHAIN);
        let name = self.writer.name(member.name);
        Some(WrittenMember { name, r#type, bit_offset: u32::try_from(bit_offset).ok()?, bit_width: u8::try_from(width).ok()? })
    }

    /// The size of a type that tells it, or is another name of one that does.
    fn size(&mut self, mut at: usize) -> Option<u64> {
        for _ in 0..MAX_CHAIN {
            let die = self.die(at)?;
            if let Some(size) = die.attributes.size {
                return Some(size);
            }
            at = die.attributes.r#type?;
        }
        None
    }

    /// The id of the type at a place; void for what cannot be read.
    fn reference(&mut self, at: usize, depth: u32) -> u32 {
        let Some(depth) = depth.checked_sub(1) else { return 0 };
        if let Some(known) = self.placed.get(&at) {
            return *known;
        }
        let id = self.read_reference(at, depth).unwrap_or(0);
        self.placed.insert(at, id);
        id
    }

    fn read_reference(&mut self, mut at: usize, depth: u32) -> Option<u32> {
        let mut typedef: &[u8] = b"";
        for _ in 0..MAX_CHAIN {
            let die = self.die(at)?;
            let attributes = die.attributes;
            let inner = attributes.r#type;
            match die.tag {
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type => {
                    if die.tag == gimli::DW_TAG_typedef {
                        typedef = attributes.name;
                    }
                    at = inner?;
                }
                gimli::DW_TAG_base_type => {
                    let size = attributes.size.unwrap_or(0);
                    if let Some(known) = self.base_types.get(&(attributes.name, size, attributes.encoding)) {
                        return Some(*known);
                    }
                    let id = self.writer.reserve();
                    let bytes = u32::try_from(size).unwrap_or(0);
                    match gimli::DwAte(attributes.encoding as u8) {
                        gimli::DW_ATE_float | gimli::DW_ATE_complex_float => self.writer.float(id, attributes.name, bytes),
                        gimli::DW_ATE_signed | gimli::DW_ATE_signed_char => self.writer.integer(id, attributes.name, bytes, true),
                        _ => self.writer.integer(id, attributes.name, bytes, false),
                    }
                    self.base_types.insert((attributes.name, size, attributes.encoding), id);
                    return Some(id);
                }
                gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type | gimli::DW_TAG_rvalue_reference_type => {
                    let to = inner.map_or(0, |inner| self.reference(inner, depth));
                    return Some(self.writer.pointer(to));
                }
                gimli::DW_TAG_array_type => {
                    let (_, bounds) = self.die_with(at, gimli::DW_TAG_subrange_type)?;
                    let element = self.reference(inner?, depth);
                    let counts = bounds.iter().rev().take(8).map(|bound| u32::try_from(bound.count.unwrap_or(0)).unwrap_or(0));
                    return Some(counts.fold(element, |element, count| self.writer.array(element, count)));
                }
                gimli::DW_TAG_subroutine_type => return Some(self.writer.function()),
                tag => {
                    let kind = Kind::of(tag)?;
                    return self.composite_reference(at, kind, &attributes, typedef);
                }
            }
        }
        None
    }

    /// The id of a struct, union or enumeration; a new one if it has no name and has not been met.
    fn composite_reference(&mut self, at: usize, kind: Kind, attributes: &Attributes<'a>, typedef: &'a [u8]) -> Option<u32> {
        let size = attributes.size.unwrap_or(0);
        if !attributes.name.is_empty() {
            let known = self.known.get(&Key { kind, name: attributes.name, size }).filter(|_| !attributes.declaration);
            if let Some(id) = known.or_else(|| self.main.get(&(kind, attributes.name))) {
                return Some(*id);
            }
            if attributes.declaration {
                return None;
            }
        } else if !typedef.is_empty()
            && let Some(known) = self.named_by_typedef.get(&(kind, typedef, size))
        {
            return Some(*known);
        }
        // The same one may have been met without a typedef in between.
        let id = match self.placed.get(&at) {
            Some(known) => *known,
            None => {
                let id = self.writer.reserve();
                self.placed.insert(at, id);
                self.waiting.push((at, id));
                id
            }
        };
        if attributes.name.is_empty() && !typedef.is_empty() {
            self.named_by_typedef.insert((kind, typedef, size), id);
        }
        Some(id)
    }
}

/// Reads the unit's own entry.
fn root(entries: &mut EntriesRaw<'_, Slice<'_>>, encoding: gimli::Encoding) -> gimli::Result<Bases> {
    // Behind the header of the table of offsets, if nothing is told.
    let default = if encoding.version >= 5 { 8 } else { 0 };
    let mut bases = Bases { start: 0, format: encoding.format, string_offsets: default };
    if let Some(abbreviation) = entries.read_abbreviation()? {
        for spec in abbreviation.attributes() {
            let attribute = entries.read_attribute(*spec)?;
            if attribute.name() == gimli::DW_AT_str_offsets_base
                && let AttributeValue::SecOffset(base) = attribute.raw_value()
            {
                bases.string_offsets = base;
            }
        }
    }
    Ok(bases)
}
