//! Binary XML as event logs keep it: elements, and templates whose gaps each record fills with values (libevtx, "Windows XML Event
//! Log (EVTX)"; MS-EVEN6, BinXml).
//!
//! A record names its template and the template its names by offsets into the chunk. Whatever is read is bounded by the bytes at hand,
//! by depth, and by the steps that one record may take: templates can refer to themselves.

use super::draft::Draft;
use crate::facts::Time;
use crate::facts::event::{Guid, Value};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

pub type Name = Arc<str>;

/// Templates in templates: two are usual.
const MOST_DEPTH: u32 = 8;
/// Elements in elements.
const MOST_NESTING: usize = 32;
/// Tokens of one template, and of all templates of a chunk.
const MOST_OPS: usize = 1 << 13;
const MOST_CHUNK_OPS: usize = 1 << 17;
/// Tokens that one record may take.
const MOST_STEPS: u32 = 1 << 16;
/// Bytes of text that one record may become.
const MOST_TEXT: usize = 1 << 20;
/// Names that are shared between templates.
const MOST_NAMES: usize = 1 << 15;

/// Types of values; the bit marks an array of them.
mod kind {
    pub const NULL: u8 = 0x00;
    pub const STRING: u8 = 0x01;
    pub const ANSI: u8 = 0x02;
    pub const FILETIME: u8 = 0x11;
    pub const GUID: u8 = 0x0f;
    pub const BINXML: u8 = 0x21;
    pub const ARRAY: u8 = 0x80;
}

/// Why a record cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes end.
    Cut,
    /// What stands there is no token, or not at this place.
    Token,
    /// Deeper or longer than any record is.
    Excess,
}

impl Flaw {
    pub fn word(self) -> &'static str {
        match self {
            Self::Cut => "the record is cut",
            Self::Token => "damaged within",
            Self::Excess => "it unfolds without end",
        }
    }
}

/// A template, read once for all records that use it.
#[derive(Debug)]
pub struct Template {
    ops: Vec<Op>,
}

#[derive(Debug)]
enum Op {
    Open(Name),
    Attribute(Name),
    /// The end of the attributes.
    Content,
    Close,
    Text(Name),
    /// A value of the record; one that is optional is left out where it is null.
    Slot(u16),
}

/// A value among the bytes. Those of a cut record may end beyond them.
#[derive(Clone, Copy, Debug)]
struct Slot {
    kind: u8,
    start: usize,
    end: usize,
}

impl Slot {
    fn bytes<'a>(&self, place: &Place<'a>) -> Option<&'a [u8]> {
        place.bytes.get(self.start..self.end)
    }
}

/// The bytes in which offsets count: a chunk, or as much of it as there is.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub bytes: &'a [u8],
    /// The chunk offset of the first byte, where it is known.
    pub origin: Option<usize>,
}

impl<'a> Place<'a> {
    /// Where in the bytes a chunk offset lies.
    fn index(&self, offset: u32) -> Option<usize> {
        (offset as usize).checked_sub(self.origin?).filter(|index| *index < self.bytes.len())
    }
    fn get(&self, at: usize, length: usize) -> Result<&'a [u8], Flaw> {
        self.bytes.get(at..at.checked_add(length).ok_or(Flaw::Cut)?).ok_or(Flaw::Cut)
    }
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Flaw> {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Flaw::Cut)
    }
    fn u16(&self, at: usize) -> Result<u16, Flaw> {
        self.array(at).map(u16::from_le_bytes)
    }
    fn u32(&self, at: usize) -> Result<u32, Flaw> {
        self.array(at).map(u32::from_le_bytes)
    }
}

/// Templates from other chunks, by the first four bytes of their GUID, by which records name them.
pub type Known = HashMap<u32, Arc<Template>>;

/// Reads records. Names are shared between all that one reader reads.
#[derive(Default)]
pub struct Reader {
    names: HashMap<Box<[u8]>, Name>,
    /// The templates of the chunk at hand, by offset.
    templates: HashMap<u32, Result<Arc<Template>, Flaw>>,
    ops: usize,
    steps: u32,
    text: usize,
    scratch: Scratch,
}

impl Reader {
    /// Forgets the templates of the chunk before.
    pub fn turn(&mut self) {
        self.templates.clear();
        self.ops = 0;
        if self.names.len() > MOST_NAMES {
            self.names.clear();
        }
    }

    /// The templates read since the last turn, as records name them.
    pub fn learned(&self, place: Place<'_>, known: &mut Known) {
        for (offset, template) in &self.templates {
            if let (Ok(template), Some(at)) = (template, place.index(*offset))
                && let Ok(id) = place.u32(at + 4)
            {
                known.entry(id).or_insert_with(|| Arc::clone(template));
            }
        }
    }

    /// Reads the XML of a record, from `start` to `end` of the bytes.
    pub fn record(&mut self, place: Place<'_>, start: usize, end: usize, known: &Known, out: &mut Draft) -> Result<(), Flaw> {
        self.steps = 0;
        self.text = 0;
        self.fragment(place, start, end, known, out, 0)
    }

    fn fragment(&mut self, place: Place<'_>, start: usize, end: usize, known: &Known, out: &mut Draft, depth: u32) -> Result<(), Flaw> {
        if depth >= MOST_DEPTH {
            return Err(Flaw::Excess);
        }
        let mut at = start;
        // Fragment headers: token, version, flags.
        while end.saturating_sub(at) >= 4 && place.get(at, 1)? == [0x0f] {
            at += 4;
        }
        if at >= end {
            return Ok(());
        }
        match place.get(at, 1)? {
            [0x00] => Ok(()),
            [0x0c] => self.instance(place, at, end, known, out, depth),
            [0x01 | 0x41] => {
                let template = self.compile(place, at, end, false)?;
                self.run(place, &template, &[], known, out, depth)
            }
            _ => Err(Flaw::Token),
        }
    }

    /// A template's name, maybe its definition, and the values for its gaps.
    fn instance(&mut self, place: Place<'_>, at: usize, end: usize, known: &Known, out: &mut Draft, depth: u32) -> Result<(), Flaw> {
        let (id, offset) = (place.u32(at + 2)?, place.u32(at + 6)?);
        let mut at = at + 10;
        let mut place = place;
        // A definition that stands right here begins with the next one's offset and its GUID. The record's own name for it repeats.
        let here = match place.origin {
            Some(origin) => offset as usize == origin + at,
            None => place.u32(at + 4).is_ok_and(|guid| guid == id && id != 0),
        };
        if here {
            place.origin = place.origin.or_else(|| (offset as usize).checked_sub(at));
            at += 24 + place.u32(at + 20)? as usize;
        }
        let values = slots(&place, at, end)?;
        out.cut |= values.iter().any(|value| value.end > place.bytes.len());
        let own = self.template(place, offset, id);
        let template = match (own, known.get(&id)) {
            (Ok(own), _) => own,
            (Err(_), Some(known)) => {
                out.borrowed = true;
                Arc::clone(known)
            }
            (Err(Flaw::Excess), None) => return Err(Flaw::Excess),
            (Err(_), None) => return self.without(place, &values, known, out, depth),
        };
        self.run(place, &template, &values, known, out, depth)
    }

    /// Values whose template is nowhere: those of the outer one have their places, the others are named by what is known of the event.
    fn without(&mut self, place: Place<'_>, values: &[Slot], known: &Known, out: &mut Draft, depth: u32) -> Result<(), Flaw> {
        out.unnamed = true;
        let mut read = Vec::with_capacity(values.len());
        for value in values {
            self.step()?;
            read.push(match value.bytes(&place) {
                Some(bytes) if value.kind != kind::BINXML => self.value(value.kind, bytes)?,
                _ => Value::None,
            });
        }
        if depth > 0 || !is_system(values) {
            let kinds: Vec<u8> = values.iter().map(|value| value.kind).collect();
            out.unnamed_fields(read, &kinds);
            return Ok(());
        }
        out.system(&read);
        match values.iter().find(|value| value.kind == kind::BINXML) {
            Some(inner) => self.fragment(place, inner.start, inner.end, known, out, depth + 1),
            None => Ok(()),
        }
    }

    fn run(
        &mut self,
        place: Place<'_>,
        template: &Template,
        values: &[Slot],
        known: &Known,
        out: &mut Draft,
        depth: u32,
    ) -> Result<(), Flaw> {
        let level = out.level();
        let mut outcome = Ok(());
        for op in &template.ops {
            self.step()?;
            match op {
                Op::Open(name) => out.open(name),
                Op::Attribute(name) => out.attribute(name),
                Op::Content => out.content(),
                Op::Close => out.close(),
                Op::Text(text) => out.value(Value::Text(Arc::clone(text))),
                Op::Slot(index) => match values.get(usize::from(*index)) {
                    Some(inner) if inner.kind == kind::BINXML => {
                        // What is read of a damaged inner part stays; the outer one goes on.
                        let read = self.fragment(place, inner.start, inner.end, known, out, depth + 1);
                        outcome = outcome.and(read);
                        if outcome == Err(Flaw::Excess) {
                            return outcome;
                        }
                    }
                    Some(slot) => {
                        if let Some(bytes) = slot.bytes(&place) {
                            let value = self.value(slot.kind, bytes)?;
                            out.value(value);
                        }
                    }
                    None => {}
                },
            }
            if out.level() > level + MOST_NESTING {
                return Err(Flaw::Excess);
            }
        }
        while out.level() > level {
            out.close();
        }
        outcome
    }

    fn step(&mut self) -> Result<(), Flaw> {
        self.steps += 1;
        if self.steps > MOST_STEPS { Err(Flaw::Excess) } else { Ok(()) }
    }

    /// The template whose definition is at a chunk offset, if it is the one that is meant.
    fn template(&mut self, place: Place<'_>, offset: u32, id: u32) -> Result<Arc<Template>, Flaw> {
        if let Some(known) = self.templates.get(&offset) {
            let same = place.index(offset).and_then(|at| place.u32(at + 4).ok()) == Some(id);
            return if same { known.clone() } else { Err(Flaw::Token) };
        }
        let at = place.index(offset).ok_or(Flaw::Cut)?;
        if place.u32(at + 4)? != id {
            return Err(Flaw::Token);
        }
        let length = place.u32(at + 20)? as usize;
        let start = at + 24;
        let made = place.get(start, length).and_then(|_| {
            let header = if place.get(start, 1)? == [0x0f] { 4 } else { 0 };
            self.compile(place, start + header, start + length, true).map(Arc::new)
        });
        // Lone records are not of one chunk.
        if place.origin == Some(0) {
            self.templates.insert(offset, made.clone());
        }
        made
    }

    /// Reads tokens. Elements of a template have a word more.
    fn compile(&mut self, place: Place<'_>, start: usize, end: usize, in_template: bool) -> Result<Template, Flaw> {
        let mut ops = Vec::with_capacity(64);
        let mut at = start;
        let mut open = 0_usize;
        while at < end {
            let [token] = place.array(at)?;
            at += 1;
            match token & !0x40 {
                0x00 => break,
                0x01 => {
                    at += if in_template { 6 } else { 4 };
                    let name = self.name_at(&place, &mut at)?;
                    at += if token & 0x40 != 0 { 4 } else { 0 };
                    ops.push(Op::Open(name));
                    open += 1;
                    if open > MOST_NESTING {
                        return Err(Flaw::Excess);
                    }
                }
                0x02 => ops.push(Op::Content),
                0x03 | 0x04 => {
                    ops.push(Op::Close);
                    open = open.checked_sub(1).ok_or(Flaw::Token)?;
                    if open == 0 {
                        break;
                    }
                }
                0x05 => {
                    if place.get(at, 1)? != [kind::STRING] {
                        return Err(Flaw::Token);
                    }
                    at += 1;
                    ops.push(Op::Text(self.counted(&place, &mut at)?));
                }
                0x06 => ops.push(Op::Attribute(self.name_at(&place, &mut at)?)),
                0x07 | 0x0b => ops.push(Op::Text(self.counted(&place, &mut at)?)),
                0x08 => {
                    let letter = char::from_u32(place.u16(at)?.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
                    at += 2;
                    ops.push(Op::Text(letter.encode_utf8(&mut [0; 4]).to_owned().into()));
                }
                0x09 => {
                    let name = self.name_at(&place, &mut at)?;
                    ops.push(Op::Text(entity(&name).into()));
                }
                // A processing instruction says nothing about the event.
                0x0a => drop(self.name_at(&place, &mut at)?),
                0x0d | 0x0e => {
                    ops.push(Op::Slot(place.u16(at)?));
                    at += 3;
                }
                0x0f => at += 3,
                _ => return Err(Flaw::Token),
            }
            self.ops += 1;
            if ops.len() > MOST_OPS || self.ops > MOST_CHUNK_OPS {
                return Err(Flaw::Excess);
            }
        }
        if open > 0 {
            return Err(Flaw::Token);
        }
        Ok(Template { ops })
    }

    /// A name by its offset; one that stands right here is stepped over.
    fn name_at(&mut self, place: &Place<'_>, at: &mut usize) -> Result<Name, Flaw> {
        let offset = place.u32(*at)?;
        *at += 4;
        let index = place.index(offset).ok_or(Flaw::Cut)?;
        // The next name's offset, a hash, the letters and a NUL.
        let count = usize::from(place.u16(index + 6)?);
        let letters = place.get(index + 8, count * 2)?;
        if count == 0 {
            return Err(Flaw::Token);
        }
        if index == *at {
            *at += 8 + count * 2 + 2;
        }
        Ok(self.name(letters))
    }

    fn counted(&mut self, place: &Place<'_>, at: &mut usize) -> Result<Name, Flaw> {
        let count = usize::from(place.u16(*at)?);
        let letters = place.get(*at + 2, count * 2)?;
        *at += 2 + count * 2;
        Ok(self.name(letters))
    }

    fn name(&mut self, letters: &[u8]) -> Name {
        if let Some(known) = self.names.get(letters) {
            return Arc::clone(known);
        }
        let name = wide(letters, &mut self.scratch);
        if self.names.len() < MOST_NAMES * 2 {
            self.names.insert(letters.into(), Arc::clone(&name));
        }
        name
    }

    /// A value of any type.
    fn value(&mut self, kind: u8, bytes: &[u8]) -> Result<Value, Flaw> {
        self.text += bytes.len();
        if self.text > MOST_TEXT {
            return Err(Flaw::Excess);
        }
        if kind & kind::ARRAY != 0 {
            return Ok(self.array(kind & !kind::ARRAY, bytes));
        }
        if bytes.is_empty() && kind != kind::STRING && kind != kind::ANSI {
            return Ok(Value::None);
        }
        Ok(match kind {
            kind::NULL => Value::None,
            kind::STRING => Value::Text(wide(bytes, &mut self.scratch)),
            kind::ANSI => Value::Text(bytes.iter().map(|byte| char::from(*byte)).collect::<String>().trim_end_matches('\0').into()),
            _ => scalar(kind, bytes).unwrap_or_else(|| Value::Bytes(bytes.to_vec())),
        })
    }

    fn array(&mut self, kind: u8, bytes: &[u8]) -> Value {
        let items: Vec<Value> = match kind {
            kind::STRING => {
                let (units, _) = bytes.as_chunks::<2>();
                let mut strings: Vec<&[[u8; 2]]> = units.split(|unit| *unit == [0, 0]).collect();
                // Each string ends in a NUL.
                if strings.last().is_some_and(|last| last.is_empty()) {
                    strings.pop();
                }
                strings.into_iter().map(|string| Value::Text(wide(string.as_flattened(), &mut self.scratch))).collect()
            }
            kind::ANSI => {
                let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                text.trim_end_matches('\0').split('\0').map(|part| Value::Text(part.into())).collect()
            }
            kind => match width(kind) {
                Some(width) => bytes.chunks_exact(width).filter_map(|item| scalar(kind, item)).collect(),
                None => vec![Value::Bytes(bytes.to_vec())],
            },
        };
        Value::List(items)
    }
}

/// The values of an instance: how many, their sizes and types, then themselves.
fn slots(place: &Place<'_>, at: usize, end: usize) -> Result<Vec<Slot>, Flaw> {
    let count = place.u32(at)? as usize;
    let table = at + 4;
    if count > end.saturating_sub(table) / 4 {
        return Err(Flaw::Token);
    }
    let mut values = Vec::with_capacity(count);
    let mut start = table + count * 4;
    for index in 0..count {
        let entry: [u8; 4] = place.array(table + index * 4)?;
        let [low, high, kind, _] = entry;
        let size = usize::from(u16::from_le_bytes([low, high]));
        let stop = start + size;
        if stop > end {
            return Err(Flaw::Token);
        }
        values.push(Slot { kind, start, end: stop });
        start = stop;
    }
    Ok(values)
}

/// Whether values are those of the System part as every provider with a manifest has it.
fn is_system(values: &[Slot]) -> bool {
    let fits = |index: usize, kind: u8| values.get(index).is_some_and(|value| value.kind == kind);
    fits(0, 0x04) && fits(3, 0x06) && fits(6, kind::FILETIME) && fits(10, 0x0a) && fits(11, 0x04)
}

fn entity(name: &str) -> &str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        other => other,
    }
}

/// What spares allocations: room for a text, and the texts that came last, since logs say the same over and over.
#[derive(Default)]
struct Scratch {
    text: Vec<u8>,
    known: Vec<Option<Name>>,
}

/// Texts that are kept, and the longest that is worth it.
const KNOWN_TEXTS: usize = 512;
const LONGEST_KNOWN: usize = 160;

impl Scratch {
    /// The text in `self.text`.
    fn name(&mut self) -> Option<Name> {
        let text = str::from_utf8(&self.text).ok()?;
        if text.len() > LONGEST_KNOWN {
            return Some(text.into());
        }
        if self.known.is_empty() {
            self.known.resize(KNOWN_TEXTS, None);
        }
        // Length and some of its end tell most texts apart; those that are not are merely made anew.
        let end = self.text.iter().rev().take(8).fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let place = self.known.get_mut(end.wrapping_mul(31).wrapping_add(text.len()) % KNOWN_TEXTS)?;
        match place {
            Some(known) if **known == *text => Some(Name::clone(known)),
            _ => Some(Name::clone(place.insert(text.into()))),
        }
    }
}

/// UTF-16 text without the NULs at its end.
fn wide(bytes: &[u8], scratch: &mut Scratch) -> Name {
    let (units, _) = bytes.as_chunks::<2>();
    let length = units.iter().rposition(|unit| *unit != [0, 0]).map_or(0, |last| last + 1);
    let units = units.get(..length).unwrap_or_default();
    if units.iter().all(|[low, high]| *high == 0 && *low < 0x80) {
        scratch.text.clear();
        scratch.text.extend(units.iter().map(|[low, _]| *low));
        if let Some(name) = scratch.name() {
            return name;
        }
    }
    let decoded = char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)));
    decoded.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>().into()
}

/// How many bytes a value of a fixed size takes.
fn width(kind: u8) -> Option<usize> {
    Some(match kind {
        0x03 | 0x04 => 1,
        0x05 | 0x06 => 2,
        0x07 | 0x08 | 0x0b | 0x0d | 0x14 => 4,
        0x09 | 0x0a | 0x0c | 0x10 | kind::FILETIME | 0x15 => 8,
        kind::GUID | 0x12 => 16,
        _ => return None,
    })
}

/// A value of a type whose bytes are no text. None where they do not fit.
fn scalar(kind: u8, bytes: &[u8]) -> Option<Value> {
    let unsigned = || -> Option<u64> {
        let mut word = [0; 8];
        word.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    };
    let signed = || {
        let unused = 64_u32.checked_sub(u32::try_from(bytes.len()).ok()?.checked_mul(8)?)?;
        Some(Value::Number((unsigned()?.checked_shl(unused)?.cast_signed() >> unused).into()))
    };
    Some(match kind {
        0x03 | 0x05 | 0x07 | 0x09 => signed()?,
        0x04 | 0x06 | 0x08 | 0x0a => Value::Number(unsigned()?.into()),
        0x0b => Value::Text(f32::from_le_bytes(bytes.try_into().ok()?).to_string().into()),
        0x0c => Value::Text(f64::from_le_bytes(bytes.try_into().ok()?).to_string().into()),
        0x0d => Value::Bool(unsigned()? != 0),
        0x0e => Value::Bytes(bytes.to_vec()),
        kind::GUID => Value::Guid(Guid(bytes.try_into().ok()?)),
        0x10 | 0x14 | 0x15 | 0x20 => Value::Hex(unsigned()?),
        kind::FILETIME => Time::from_filetime(unsigned()?).map_or(Value::None, Value::Time),
        0x12 => systemtime(bytes.try_into().ok()?)?,
        0x13 => Value::Text(sid(bytes)?.into()),
        _ => return None,
    })
}

/// A SYSTEMTIME: year, month, weekday, day, hour, minute, second, millisecond.
fn systemtime(bytes: &[u8; 16]) -> Option<Value> {
    let word = |index: usize| bytes.as_chunks::<2>().0.get(index).map(|unit| u16::from_le_bytes(*unit));
    let [year, month, day, hour, minute, second, millisecond] = [word(0)?, word(1)?, word(3)?, word(4)?, word(5)?, word(6)?, word(7)?];
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z");
    Time::parse(&text).map(Value::Time)
}

/// A SID: revision, count, authority in big-endian order, sub-authorities.
fn sid(bytes: &[u8]) -> Option<String> {
    let (&[revision, count, a, b, c, d, e, f], rest) = bytes.split_first_chunk()?;
    let authority = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let subs = rest.as_chunks::<4>().0;
    if revision != 1 || subs.len() != usize::from(count) || count > 15 {
        return None;
    }
    let mut text = format!("S-1-{authority}");
    for sub in subs {
        // Writing to a String cannot fail.
        _ = write!(text, "-{}", u32::from_le_bytes(*sub));
    }
    Some(text)
}
