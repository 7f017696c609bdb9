//! Chunks of event logs and lone records: wherever they come from, they are read here.

use super::binxml::{Flaw, Known, Place, Reader};
use super::draft::Draft;
use super::meaning;
use crate::facts::event::{Event, Recovered};
use crate::facts::{Known as Maybe, Time};
use flate2::Crc;
use memchr::memmem;
use std::collections::HashMap;
use std::sync::Arc;

pub const CHUNK: usize = 1 << 16;
pub const CHUNK_MAGIC: &[u8; 8] = b"ElfChnk\0";
pub const RECORD_MAGIC: &[u8; 4] = b"**\0\0";
const HEADER: usize = 512;
/// A record's magic, size, number and time; at its end the size again.
pub const RECORD_HEADER: usize = 24;
const TAIL: usize = 4;
pub const LEAST_RECORD: usize = 0x30;
/// Records that wait for the definitions of other chunks, and their bytes.
const MOST_ORPHANS: usize = 1 << 16;
const MOST_ORPHAN_BYTES: usize = 64 << 20;
/// 1995 and 2100 as FILETIMEs.
const EARLIEST: u64 = 124_334_784_000_000_000;
const LATEST: u64 = 157_469_184_000_000_000;
/// Flag of files and chunks that no checksum is written for.
const NO_CHECKSUM: u32 = 4;

/// What stands before a record's XML. The last record of an exported log may have no time here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: usize,
    pub number: u64,
    pub written: u64,
}

impl Head {
    /// The head of a record, if it can be one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
        let ([m0, m1, m2, m3, s0, s1, s2, s3], rest) = (head.first_chunk::<8>()?, head.get(8..)?);
        let (number, written) = (rest.first_chunk()?, rest.get(8..)?.first_chunk()?);
        let head = Self {
            size: u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize,
            number: u64::from_le_bytes(*number),
            written: u64::from_le_bytes(*written),
        };
        let sound = [*m0, *m1, *m2, *m3] == *RECORD_MAGIC
            && (LEAST_RECORD..=CHUNK - HEADER).contains(&head.size)
            && (head.written == 0 || (EARLIEST..LATEST).contains(&head.written));
        sound.then_some(head)
    }

    /// Whether the record ends as it should; None where its end is not among the bytes.
    pub fn ends(&self, bytes: &[u8]) -> Option<bool> {
        let tail = bytes.get(self.size - TAIL..)?.first_chunk()?;
        Some(u32::from_le_bytes(*tail) as usize == self.size)
    }
}

/// What was met beside good records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub chunks: u64,
    /// Checksums that do not agree: damaged, or being written.
    pub unsound: u64,
    /// Records past the end of the log.
    pub stale: u64,
    /// Records that are cut.
    pub cut: u64,
    /// Records whose head and text have different numbers, among others that have one: overwritten.
    pub torn: u64,
    /// Records with a head of which nothing else could be read.
    pub lost: u64,
    /// Bytes between records that are none.
    pub skipped: u64,
    /// Orphans beyond what is kept.
    pub dropped: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.unsound += other.unsound;
        self.stale += other.stale;
        self.cut += other.cut;
        self.torn += other.torn;
        self.lost += other.lost;
        self.skipped += other.skipped;
        self.dropped += other.dropped;
    }

    /// What it means, in full sentences.
    pub fn notes(&self) -> Vec<String> {
        let told = [
            (self.unsound, "chunks have checksums that do not agree: being written, or damaged; their records are shown as they read"),
            (self.stale, "records lie past the end of their log or chunk: remnants of earlier ones"),
            (self.cut, "records are cut: their rest is not at hand"),
            (self.torn, "records contradict their own numbers: overwritten, and left out"),
            (self.lost, "records could not be read at all"),
            (self.skipped, "bytes where records should be are none, and were passed over"),
            (self.dropped, "records beyond those that can wait for the definitions of others were left out"),
        ];
        told.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// A record whose definitions were not where it said.
struct Orphan {
    bytes: Vec<u8>,
    source: String,
    stale: bool,
}

/// Where records stand whose head has the number that their text has, or another. They differ throughout in a log of other logs'
/// records; where they differ here and there, and no checksum holds, something was overwritten.
#[derive(Default)]
struct Numbers {
    alike: usize,
    differing: Vec<usize>,
}

impl Numbers {
    fn note(&mut self, own: Option<u64>, head: Head, place: usize) {
        match own {
            Some(own) if own != head.number => self.differing.push(place),
            _ => self.alike += 1,
        }
    }

    /// Takes out what was overwritten; tells how much that was.
    fn settle(self, out: &mut Vec<Event>) -> u64 {
        let Some(first) = self.differing.first().copied().filter(|_| self.alike > self.differing.len()) else { return 0 };
        let mut differing = self.differing.iter().peekable();
        let from_there = out.split_off(first).into_iter().zip(first..);
        out.extend(from_there.filter(|(_, place)| differing.next_if_eq(&place).is_none()).map(|(event, _)| event));
        self.differing.len() as u64
    }
}

/// Reads chunks and records, and keeps what helps to read others.
#[derive(Default)]
pub struct Log {
    reader: Reader,
    known: Known,
    orphans: Vec<Orphan>,
    orphan_bytes: usize,
    /// Of the records that are being read.
    numbers: Numbers,
    /// Whether records that contradict themselves are left out: a file is shown as it is, memory is written to while it is copied.
    pub strict: bool,
    pub tally: Tally,
}

/// How a record lies where it was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Live,
    Stale,
}

impl Log {
    /// Reads a chunk; `holes` has a bit for each page that is missing. `source` names the place of an offset.
    pub fn chunk(&mut self, bytes: &[u8], holes: u16, source: &dyn Fn(usize) -> String, out: &mut Vec<Event>) {
        self.reader.turn();
        let place = Place { bytes, origin: Some(0) };
        let word = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word));
        let headed = bytes.starts_with(CHUNK_MAGIC) && holes & 1 == 0;
        let free = word(48) as usize;
        // Without a believable end all that follows each other counts.
        let end = if headed && (HEADER..=bytes.len()).contains(&free) { free } else { 0 };
        let mut proven = false;
        if headed {
            self.tally.chunks += 1;
            let sealed = holes == 0 && word(120) & NO_CHECKSUM == 0;
            proven = sealed && sound(bytes, end, word(52), word(124));
            self.tally.unsound += u64::from(sealed && !proven);
        }
        let (mut at, mut before): (usize, Option<Head>) = (if headed { HEADER } else { 0 }, None);
        let mut live = true;
        while at + RECORD_HEADER <= bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(head) = Head::read(rest) else {
                // Up to the end of the log every byte is part of a record.
                let next = memmem::find(rest.get(1..).unwrap_or_default(), RECORD_MAGIC).map_or(bytes.len(), |found| at + 1 + found);
                self.tally.skipped += end.min(next).saturating_sub(at) as u64;
                live = next < end;
                before = None;
                at = next;
                continue;
            };
            let follows = before
                .is_none_or(|before| before.number.wrapping_add(1) == head.number && (head.written == 0 || before.written <= head.written));
            let standing = if at < end || (headed && live && follows) { Standing::Live } else { Standing::Stale };
            let cut = missing(holes, at, head.size);
            match (head.ends(rest), cut) {
                (Some(true), None) => {
                    self.record(place, at, head, standing, &source(at), out);
                    before = Some(head);
                    at += head.size;
                }
                // The rest of the record is in a hole, or past the end of what there is.
                (ends, hole) if hole.is_some() || ends.is_none() => {
                    let there = hole.unwrap_or(bytes.len()).min(at + head.size);
                    self.orphan(bytes.get(at..there).unwrap_or_default(), source(at), standing == Standing::Stale);
                    before = None;
                    at = there.max(at + 1);
                }
                _ => {
                    self.tally.skipped += u64::from(at < end);
                    before = None;
                    at += 1;
                }
            }
        }
        let numbers = std::mem::take(&mut self.numbers);
        if self.strict && !proven {
            self.tally.torn += numbers.settle(out);
        }
        self.reader.learned(place, &mut self.known);
    }

    fn record(&mut self, place: Place<'_>, at: usize, head: Head, standing: Standing, source: &str, out: &mut Vec<Event>) {
        let mut draft = Draft::default();
        let read = self.reader.record(place, at + RECORD_HEADER, at + head.size - TAIL, &self.known, &mut draft);
        draft.finish();
        let stale = standing == Standing::Stale;
        if draft.unnamed || draft.borrowed || draft.event_id.is_none() {
            // Its definitions may yet turn up.
            return self.orphan(place.bytes.get(at..at + head.size).unwrap_or_default(), source.to_owned(), stale);
        }
        self.tally.stale += u64::from(stale);
        self.numbers.note(draft.record_id, head, out.len());
        let mut event = made(draft, head, source, read);
        if stale {
            event.recovered = Recovered::Reconstructed;
            event.problems.push("it lies past the end of its log: a remnant of an earlier one".to_owned());
        }
        out.push(event);
    }

    /// Keeps a record for later: from a chunk that lacks its definitions, or alone in memory. Its bytes may end early.
    pub fn orphan(&mut self, bytes: &[u8], source: String, stale: bool) {
        if self.orphans.len() >= MOST_ORPHANS || self.orphan_bytes + bytes.len() > MOST_ORPHAN_BYTES {
            self.tally.dropped += 1;
            return;
        }
        self.orphan_bytes += bytes.len();
        self.orphans.push(Orphan { bytes: bytes.to_vec(), source, stale });
    }

    /// Takes over what another has read.
    pub fn join(&mut self, other: Self) {
        for (id, template) in other.known {
            self.known.entry(id).or_insert(template);
        }
        other.orphans.into_iter().for_each(|orphan| self.orphan(&orphan.bytes, orphan.source, orphan.stale));
        self.tally.add(other.tally);
    }

    /// Reads the records that waited, now that all definitions are known.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        self.orphan_bytes = 0;
        for orphan in std::mem::take(&mut self.orphans) {
            let Some(head) = Head::read(&orphan.bytes) else { continue };
            let whole = head.ends(&orphan.bytes) == Some(true);
            let mut draft = Draft::default();
            self.reader.turn();
            let place = Place { bytes: &orphan.bytes, origin: None };
            let read = self.reader.record(place, RECORD_HEADER, head.size - TAIL, &self.known, &mut draft);
            draft.finish();
            if draft.event_id.is_none() {
                self.tally.lost += 1;
                continue;
            }
            let alone = whole && !orphan.stale && !draft.borrowed && !draft.unnamed;
            self.numbers.note(draft.record_id, head, out.len());
            let mut event = made(draft, head, &orphan.source, read);
            if !alone {
                event.recovered = Recovered::Reconstructed;
            }
            if orphan.stale {
                self.tally.stale += 1;
                event.problems.push("it lies past the end of its log: a remnant of an earlier one".to_owned());
            }
            if !whole {
                self.tally.cut += 1;
                let there = orphan.bytes.len();
                event.problems.push(format!("the record is cut: {there} of {} bytes are at hand", head.size));
            }
            out.push(event);
        }
        let numbers = std::mem::take(&mut self.numbers);
        if self.strict {
            self.tally.torn += numbers.settle(out);
        }
    }
}

/// Where a stretch of a chunk first meets a missing page.
fn missing(holes: u16, at: usize, length: usize) -> Option<usize> {
    if holes == 0 {
        return None;
    }
    let pages = at / 4096..(at + length).div_ceil(4096).min(16);
    pages.filter(|page| holes >> page & 1 != 0).map(|page| page * 4096).next()
}

/// Whether the checksums of a chunk's records and of its header agree.
fn sound(bytes: &[u8], end: usize, records: u32, header: u32) -> bool {
    let sum = |parts: [std::ops::Range<usize>; 2]| {
        let mut crc = Crc::new();
        parts.into_iter().for_each(|part| crc.update(bytes.get(part).unwrap_or_default()));
        crc.sum()
    };
    // The header's own checksum and the flags before it are left out.
    sum([0..120, 128..HEADER]) == header && sum([HEADER..end, end..end]) == records
}

fn made(draft: Draft, head: Head, source: &str, read: Result<(), Flaw>) -> Event {
    let reconstructed = draft.borrowed || draft.unnamed || read.is_err() || draft.cut;
    let mut problems = Vec::new();
    match read {
        Err(Flaw::Cut) | Ok(()) => {}
        Err(flaw) => problems.push(flaw.word().to_owned()),
    }
    if draft.numbered {
        problems.push("the names of its fields are not known: their definition is not at hand".to_owned());
    }
    let mut event = Event {
        time: draft.time.or_else(|| Time::from_filetime(head.written)).into(),
        provider: draft.provider.into(),
        event_id: draft.event_id.into(),
        record_id: Maybe::Value(draft.record_id.unwrap_or(head.number)),
        computer: draft.computer.into(),
        channel: draft.channel.into(),
        data: draft.fields,
        version: draft.version.into(),
        user_id: draft.user_id.into(),
        source: source.to_owned(),
        recovered: if reconstructed { Recovered::Reconstructed } else { Recovered::Whole },
        problems,
        ..Event::default()
    };
    meaning::add(&mut event);
    event
}

/// One row for each record, the best of those that were found of it; the places of the others are forgotten.
pub fn once(events: Vec<Event>) -> (Vec<Event>, usize) {
    type Key = (Option<u64>, Option<i128>, Option<u32>, Option<Arc<str>>);
    let key = |event: &Event| -> Key {
        (
            event.record_id.value().copied(),
            event.time.value().map(|time| time.nanoseconds()),
            event.event_id.value().copied(),
            event.provider.value().cloned(),
        )
    };
    let rank = |event: &Event| (event.recovered == Recovered::Reconstructed, event.problems.len());
    let mut places: HashMap<Key, usize> = HashMap::with_capacity(events.len());
    let mut kept: Vec<Event> = Vec::with_capacity(events.len());
    let mut again = 0;
    for event in events {
        match places.get(&key(&event)).and_then(|place| kept.get_mut(*place)) {
            Some(before) => {
                again += 1;
                if rank(&event) < rank(before) {
                    *before = event;
                }
            }
            None => {
                places.insert(key(&event), kept.len());
                kept.push(event);
            }
        }
    }
    (kept, again)
}
