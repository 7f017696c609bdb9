//! The journal of systemd: entries that point to their fields, each stored once (systemd.io/JOURNAL_FILE_FORMAT).

use super::sparse::Sparse;
use crate::facts::event::{Event, Fields, Recovered, Value};
use crate::facts::{Known, Time};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::sync::Arc;

pub const MAGIC: &[u8; 8] = b"LPKSHHRH";
const DATA: u8 = 1;
const ENTRY: u8 = 3;
const ENTRY_ARRAY: u8 = 6;
const LAST_TYPE: u8 = 7;
const OBJECT: u64 = 16;
/// Forms of a file that a reader must know: three ways of compression, keyed hashes, and offsets of 32 bits.
const KNOWN_FORMS: u32 = 0x1f;
const COMPACT: u32 = 0x10;
const XZ: u8 = 1;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;
const MOST_OBJECTS: usize = 1 << 24;
const MOST_ITEMS: u64 = 4096;
/// Bytes of one field; longer ones are cut.
const MOST_FIELD: usize = 1 << 16;
const MOST_STORED: u64 = 1 << 20;
const MOST_NAME: usize = 64;

struct Journal<'a> {
    file: &'a Sparse,
    compact: bool,
}

/// What an object says of itself.
struct Object {
    kind: u8,
    flags: u8,
    size: u64,
}

/// Reads every entry that is there; answers what is to be said of the others.
pub fn read(file: &Sparse, source: &dyn Fn(u64) -> String, out: &mut Vec<Event>) -> Vec<String> {
    let word = |at| file.number(at).map(u64::from_le_bytes);
    let head = (file.number::<8>(0), file.number(12).map(u32::from_le_bytes), word(88), word(136), word(176));
    let (Some(magic), Some(forms), Some(header), Some(tail), Some(array)) = head else {
        return vec!["its first page, which tells its form, is not in memory".to_owned()];
    };
    if magic != *MAGIC || !(208..=4096).contains(&header) {
        return vec!["it does not begin as a journal does".to_owned()];
    }
    if forms & !KNOWN_FORMS != 0 {
        return vec![format!("it has a form that is not known (flags {forms:#x})")];
    }
    let journal = Journal { file, compact: forms & COMPACT != 0 };
    let (mut entries, whole) = journal.walk(header, tail);
    if !whole {
        // What lies behind a gap is still on the list of all entries.
        entries.extend(journal.listed(array));
    }
    let mut lost = 0;
    for at in entries {
        match journal.entry(at, source) {
            Some(event) => out.push(event),
            None => lost += 1,
        }
    }
    let mut notes = Vec::new();
    if file.missing() > 0 {
        notes.push(format!("{} of its pages are not in memory, and entries in them are not listed", file.missing()));
    }
    if lost > 0 {
        notes.push(format!("{lost} of its entries could not be read"));
    }
    notes
}

impl Journal<'_> {
    fn object(&self, at: u64) -> Option<Object> {
        let [kind, flags, reserved @ .., s0, s1, s2, s3, s4, s5, s6, s7] = self.file.number::<16>(at)?;
        let size = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let sound =
            at.is_multiple_of(8) && (1..=LAST_TYPE).contains(&kind) && reserved == [0; 6] && size >= OBJECT && size <= self.file.size - at;
        sound.then_some(Object { kind, flags, size })
    }

    /// The entries by going from object to object; whether the last one was reached.
    fn walk(&self, first: u64, tail: u64) -> (BTreeSet<u64>, bool) {
        let (mut entries, mut at) = (BTreeSet::new(), first.next_multiple_of(8));
        for _ in 0..MOST_OBJECTS {
            if at > tail {
                return (entries, true);
            }
            let Some(object) = self.object(at) else { return (entries, false) };
            if object.kind == ENTRY {
                entries.insert(at);
            }
            let Some(next) = at.checked_add(object.size).and_then(|next| next.checked_next_multiple_of(8)) else { break };
            at = next;
        }
        (entries, false)
    }

    /// The entries by the chain of arrays that lists all of them.
    fn listed(&self, first: u64) -> BTreeSet<u64> {
        let (mut entries, mut seen, mut at) = (BTreeSet::new(), HashSet::new(), first);
        let item: u64 = if self.compact { 4 } else { 8 };
        while at != 0 && seen.insert(at) && seen.len() < MOST_OBJECTS {
            let Some(array) = self.object(at).filter(|object| object.kind == ENTRY_ARRAY) else { break };
            let Some(next) = self.file.number(at + OBJECT).map(u64::from_le_bytes) else { break };
            for index in 0..array.size.saturating_sub(24) / item {
                let Some(offset) = self.offset(at + 24 + index * item) else { continue };
                if offset == 0 {
                    break;
                }
                if self.object(offset).is_some_and(|object| object.kind == ENTRY) {
                    entries.insert(offset);
                }
            }
            at = next;
        }
        entries
    }

    fn offset(&self, at: u64) -> Option<u64> {
        match self.compact {
            true => self.file.number(at).map(u32::from_le_bytes).map(u64::from),
            false => self.file.number(at).map(u64::from_le_bytes),
        }
    }

    fn entry(&self, at: u64, source: &dyn Fn(u64) -> String) -> Option<Event> {
        let entry = self.object(at).filter(|object| object.kind == ENTRY && object.size >= 64)?;
        let item: u64 = if self.compact { 4 } else { 16 };
        let count = (entry.size - 64) / item;
        let number = u64::from_le_bytes(self.file.number(at + 16)?);
        let time = Time::from_nanoseconds(i128::from(u64::from_le_bytes(self.file.number(at + 24)?)) * 1000, 6)?;
        if number == 0 || count == 0 || count > MOST_ITEMS {
            return None;
        }
        let (mut fields, mut lost, mut cut) = (Vec::new(), 0, 0);
        for index in 0..count {
            match self.offset(at + 64 + index * item).and_then(|offset| self.field(offset)) {
                Some((name, value, whole)) => {
                    cut += usize::from(!whole);
                    fields.push((name, value));
                }
                None => lost += 1,
            }
        }
        if fields.is_empty() {
            return None;
        }
        let fields = Fields(fields);
        let text = |name: &str| fields.text(name).filter(|text| !text.is_empty());
        let shared = |name: &str| text(name).map(Arc::<str>::from);
        let problems = [(lost, "of its fields are not in memory or cannot be read"), (cut, "of its fields are cut")];
        Some(Event {
            time: Known::Value(time),
            provider: shared("SYSLOG_IDENTIFIER").or_else(|| shared("_COMM")).into(),
            record_id: Known::Value(number),
            computer: shared("_HOSTNAME").into(),
            channel: Known::Value("journal".into()),
            pid: text("_PID").and_then(|pid| pid.parse().ok()).into(),
            image: shared("_EXE").into(),
            user_id: shared("_UID").into(),
            summary: text("MESSAGE").unwrap_or_default().to_owned(),
            source: source(at),
            recovered: if lost > 0 { Recovered::Reconstructed } else { Recovered::Whole },
            problems: problems.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect(),
            data: fields,
            ..Event::default()
        })
    }

    /// A field's name and value, and whether it is whole.
    fn field(&self, at: u64) -> Option<(Arc<str>, Value, bool)> {
        let data = self.object(at).filter(|object| object.kind == DATA)?;
        let head = if self.compact { 72 } else { 64 };
        let length = data.size.checked_sub(head).filter(|length| *length > 0)?;
        let stored = self.file.get(at + head, length.min(MOST_STORED) as usize)?;
        let packed = data.flags & (XZ | LZ4 | ZSTD);
        if packed != 0 && length > MOST_STORED {
            return None;
        }
        let bytes = match packed {
            0 => stored,
            ZSTD => {
                let mut rest = &*stored;
                read_some(StreamingDecoder::new_with_decoder(&mut rest, FrameDecoder::new()).ok()?)?.into()
            }
            XZ => read_some(lzma_rust2::XzReader::new(&*stored, false))?.into(),
            LZ4 => lz4(&stored)?.into(),
            _ => return None,
        };
        let end = bytes.iter().take(MOST_NAME + 1).position(|byte| *byte == b'=')?;
        let (name, value) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        let sound = !name.is_empty() && name.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        let whole = value.len() <= MOST_FIELD && length <= MOST_STORED;
        let value = value.get(..MOST_FIELD).unwrap_or(value);
        let name = std::str::from_utf8(name).ok().filter(|_| sound)?;
        let value = match std::str::from_utf8(value) {
            Ok(text) => Value::Text(text.into()),
            // Cut within a letter.
            Err(why) if !whole && why.error_len().is_none() => Value::Text(String::from_utf8_lossy(value).into()),
            Err(_) => Value::Bytes(value.to_vec()),
        };
        Some((name.into(), value, whole))
    }
}

/// A little more than is kept of a field: that there is more shows that it is cut.
fn read_some(from: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take((MOST_NAME + MOST_FIELD + 2) as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A length in eight bytes, then one LZ4 block.
fn lz4(stored: &[u8]) -> Option<Vec<u8>> {
    let (length, mut rest) = stored.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|length| *length <= MOST_STORED as usize)?;
    let mut out = Vec::with_capacity(length);
    let take = |count: usize, rest: &mut &[u8]| -> Option<Vec<u8>> {
        let (taken, behind) = rest.split_at_checked(count)?;
        *rest = behind;
        Some(taken.to_vec())
    };
    let extended = |nibble: u8, rest: &mut &[u8]| -> Option<usize> {
        let mut count = usize::from(nibble);
        if nibble == 15 {
            loop {
                let (byte, behind) = rest.split_first()?;
                *rest = behind;
                count = count.checked_add(usize::from(*byte)).filter(|count| *count <= MOST_STORED as usize)?;
                if *byte != 255 {
                    break;
                }
            }
        }
        Some(count)
    };
    while let Some((token, behind)) = rest.split_first() {
        rest = behind;
        let literals = extended(token >> 4, &mut rest)?;
        out.extend(take(literals, &mut rest)?);
        if rest.is_empty() {
            break;
        }
        let distance = usize::from(u16::from_le_bytes(take(2, &mut rest)?.try_into().ok()?));
        let matched = extended(token & 15, &mut rest)? + 4;
        let from = out.len().checked_sub(distance).filter(|_| distance > 0)?;
        if out.len() + matched > length {
            return None;
        }
        for index in from..from + matched {
            out.push(*out.get(index)?);
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A journal in the making: its header and objects.
    struct Maker {
        bytes: Vec<u8>,
        compact: bool,
    }

    impl Maker {
        fn new(compact: bool) -> Self {
            let mut bytes = vec![0; 272];
            bytes[..8].copy_from_slice(MAGIC);
            bytes[12..16].copy_from_slice(&(if compact { 0x1cu32 } else { 0x08 }).to_le_bytes());
            bytes[88..96].copy_from_slice(&272u64.to_le_bytes());
            Self { bytes, compact }
        }
        fn object(&mut self, kind: u8, flags: u8, body: &[u8]) -> u64 {
            self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
            let at = self.bytes.len() as u64;
            self.bytes.extend([kind, flags, 0, 0, 0, 0, 0, 0]);
            self.bytes.extend((16 + body.len() as u64).to_le_bytes());
            self.bytes.extend(body);
            self.bytes[136..144].copy_from_slice(&at.to_le_bytes());
            at
        }
        fn data(&mut self, flags: u8, payload: &[u8]) -> u64 {
            let head = vec![0; if self.compact { 56 } else { 48 }];
            self.object(DATA, flags, &[head.as_slice(), payload].concat())
        }
        fn entry(&mut self, number: u64, micros: u64, items: &[u64]) -> u64 {
            let mut body: Vec<u8> = [number, micros, 5, 1, 1, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
            for item in items {
                match self.compact {
                    true => body.extend((*item as u32).to_le_bytes()),
                    false => body.extend([item.to_le_bytes(), [7; 8]].concat()),
                }
            }
            self.object(ENTRY, 0, &body)
        }
        fn array(&mut self, items: &[u64]) {
            let mut body = 0u64.to_le_bytes().to_vec();
            for item in items {
                if self.compact { body.extend((*item as u32).to_le_bytes()) } else { body.extend(item.to_le_bytes()) }
            }
            let at = self.object(ENTRY_ARRAY, 0, &body);
            self.bytes[176..184].copy_from_slice(&at.to_le_bytes());
        }
    }

    fn events(file: &Sparse) -> (Vec<Event>, Vec<String>) {
        let mut out = Vec::new();
        let notes = read(file, &|at| format!("j:{at:#x}"), &mut out);
        (out, notes)
    }

    fn sample(compact: bool) -> Vec<u8> {
        let mut maker = Maker::new(compact);
        let host = maker.data(0, b"_HOSTNAME=larch");
        let pid = maker.data(0, b"_PID=812");
        let hello = maker.data(0, b"MESSAGE=hello");
        let long = format!("MESSAGE={}", "long ".repeat(300));
        let zstd = ruzstd::encoding::compress_to_vec(long.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
        let long = maker.data(ZSTD, &zstd);
        // A message may hold what looks like an entry: only what is on its own place is one.
        let fake = [b"MESSAGE=".as_slice(), &[ENTRY, 0, 0, 0, 0, 0, 0, 0], &80u64.to_le_bytes(), &[1; 64]].concat();
        let fake = maker.data(0, &fake);
        let first = maker.entry(1, 1_741_944_420_000_001, &[host, pid, hello]);
        let second = maker.entry(2, 1_741_944_420_000_002, &[host, long]);
        // The third begins in the third page.
        maker.data(0, &[b"FILL=".as_slice(), &[b'x'; 9000]].concat());
        let third = maker.entry(3, 1_741_944_420_000_003, &[fake, host]);
        maker.array(&[first, second, third]);
        maker.bytes
    }

    #[test]
    fn entries_of_both_forms_are_read() {
        for compact in [false, true] {
            let (events, notes) = events(&Sparse::whole(&sample(compact)));
            assert!(notes.is_empty(), "{notes:?}");
            assert_eq!(events.len(), 3);
            assert_eq!(events[0].summary, "hello");
            assert_eq!((events[0].pid.value(), events[0].record_id.value()), (Some(&812), Some(&1)));
            assert_eq!(events[0].time.value().unwrap().to_string(), "2025-03-14T09:27:00.000001Z");
            assert_eq!(events[1].summary.len(), 1500);
            assert!(matches!(events[2].data.get("MESSAGE"), Some(Value::Text(_) | Value::Bytes(_))));
        }
    }

    #[test]
    fn what_lies_behind_a_gap_is_still_found_and_nothing_is_made_up() {
        let bytes = sample(true);
        let whole = Sparse::whole(&bytes);
        let mut holed = Sparse::new(whole.size);
        for (start, page) in bytes.chunks(4096).enumerate().filter(|(index, _)| *index != 1) {
            let mut full = [0; 4096];
            full[..page.len()].copy_from_slice(page);
            holed.put(start as u64, full);
        }
        let (found, notes) = events(&holed);
        assert_eq!(found.iter().filter_map(|event| event.record_id.value().copied()).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(notes[0].starts_with("1 of its pages"), "{notes:?}");
        let mut headless = Sparse::new(whole.size);
        headless.put(1, [0; 4096]);
        assert!(events(&headless).0.is_empty());
    }

    #[test]
    fn damage_never_stops_the_reader() {
        let bytes = sample(false);
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            events(&Sparse::whole(&damaged));
        }
    }

    #[test]
    fn lz4_blocks() {
        // Two literals, then a match of eleven bytes that overlaps itself, then two literals.
        let block = [&13u64.to_le_bytes()[..], &[0x25, b'a', b'b', 2, 0, 0x20, b'c', b'd']].concat();
        assert_eq!(lz4(&block).unwrap(), b"ababababababacd"[..11].iter().copied().chain(*b"cd").collect::<Vec<u8>>());
        assert_eq!(lz4(&block[..10]), None);
        assert_eq!(lz4(&[0xff; 40]), None);
    }
}
