//! AVML, version 2: for each range of memory a header, the bytes as a snappy framed stream, and the stream's length.
//!
//! The length comes after the bytes, so the file is walked from its end: a few reads for each 16 MiB of memory. Only where that does
//! not lead to the start, in a file that was cut off, the snappy chunks' headers are walked from the front.

use super::blocks::{BUDGET, Blocks};
use super::flat::{MOST_PIECES, merged};
use super::source::Source;
use super::{Hints, Memory, Opened, Problem, unpack};
use crate::address::{PhysAddr, PhysRange};
use crate::facts::ReadError;
use std::sync::{Arc, OnceLock};

pub(crate) const MAGIC: &[u8] = b"AVML";
const HEADER: u64 = 32;
const TRAILER: u64 = 8;

// Chunk types of the snappy framing format.
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
const IDENTIFIER: u8 = 0xff;
/// A chunk holds at most so much when it is unpacked.
const CHUNK: usize = 65536;
/// A chunk's header (type, length) and its checksum.
const CHUNK_HEADER: u64 = 4;
const CHECKSUM: u64 = 4;

/// A range of memory and its compressed stream.
struct Range {
    start: u64,
    length: u64,
    offset: u64,
    packed: u64,
    /// Where in the range each chunk begins; read at the first use.
    chunks: OnceLock<Box<[Chunk]>>,
}

struct Chunk {
    start: u64,
    length: u32,
    offset: u64,
    packed: u32,
    kind: u8,
}

struct Avml {
    source: Arc<dyn Source>,
    /// Sorted, not overlapping.
    ranges: Vec<Range>,
    runs: Vec<PhysRange>,
    blocks: Blocks,
}

pub(crate) fn open(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let mut warnings = Vec::new();
    let mut ranges = match from_the_end(&*source) {
        Some(ranges) => ranges,
        None => from_the_front(&*source, &mut warnings)?,
    };
    ranges.sort_by_key(|range| range.start);
    let before = ranges.len();
    let mut end = 0;
    ranges.retain(|range| {
        let apart = range.start >= end;
        end = if apart { range.start + range.length } else { end };
        apart
    });
    if ranges.len() < before {
        warnings.push(format!("{} ranges overlap others and are not read", before - ranges.len()));
    }
    let runs = merged(ranges.iter().map(|range| PhysRange { start: PhysAddr(range.start), length: range.length }));
    let avml = Avml { source, ranges, runs, blocks: Blocks::new(CHUNK, BUDGET) };
    Opened::new(avml, "AVML (snappy)".into(), Hints::default(), warnings)
}

/// Magic, version, first and last address, 8 bytes reserved.
fn header(source: &dyn Source, at: u64) -> Result<(u64, u64), Problem> {
    let header: [u8; HEADER as usize] = source.array(at)?;
    let word = |from: usize| header[from..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if !header.starts_with(MAGIC) || header[4..8] != [2, 0, 0, 0] {
        return Err(format!("no AVML header of version 2 at offset {at:#x}").into());
    }
    let length = word(16).checked_sub(word(8)).and_then(|length| length.checked_add(1));
    match length.filter(|length| word(8).checked_add(*length).is_some()) {
        Some(length) => Ok((word(8), length)),
        None => Err(format!("the AVML header at offset {at:#x} gives the range {:#x} to {:#x}", word(8), word(16)).into()),
    }
}

/// All ranges, if the lengths at their ends lead exactly to the start of the file.
fn from_the_end(source: &dyn Source) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    let mut end = source.len();
    while end != 0 {
        if ranges.len() == MOST_PIECES {
            return None;
        }
        let after = end.checked_sub(TRAILER)?;
        let packed = u64::from_le_bytes(source.array(after).ok()?);
        let offset = after.checked_sub(packed)?;
        end = offset.checked_sub(HEADER)?;
        let (start, length) = header(source, end).ok()?;
        ranges.push(Range { start, length, offset, packed, chunks: OnceLock::new() });
    }
    Some(ranges)
}

/// As many ranges as there are, found by walking over the chunks.
fn from_the_front(source: &dyn Source, warnings: &mut Vec<String>) -> Result<Vec<Range>, Problem> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut at = 0;
    while at < source.len() && ranges.len() < MOST_PIECES {
        let (start, length) = match header(source, at) {
            Ok(range) => range,
            Err(problem) if ranges.is_empty() => return Err(problem),
            Err(Problem(problem)) => {
                warnings.push(format!("{problem}; what follows is not read"));
                break;
            }
        };
        let offset = at + HEADER;
        let (chunks, end) = chunks(source, offset, source.len(), length);
        let held = chunks.last().map_or(0, |last| last.start + u64::from(last.length));
        if held < length {
            warnings.push(format!("the range at {start:#x} ends at file offset {end:#x}; {} bytes of it are missing", length - held));
        }
        let range = Range { start, length: held.min(length), offset, packed: end - offset, chunks: OnceLock::from(chunks) };
        ranges.push(range);
        if held < length {
            break;
        }
        at = end + TRAILER;
    }
    Ok(ranges)
}

/// The chunks of a stream from `at` up to `end`, until they make up `wanted` bytes; and where they end.
fn chunks(source: &dyn Source, at: u64, end: u64, wanted: u64) -> (Box<[Chunk]>, u64) {
    let mut chunks = Vec::new();
    let (mut at, mut start) = (at, 0);
    // Nothing but damage makes chunks tiny; their list must not fill our memory.
    while start < wanted && (chunks.len() as u64) < wanted / 512 + 16 {
        let Ok(header) = source.array::<4>(at) else { break };
        let packed = u32::from_le_bytes(header) >> 8;
        let next = at + CHUNK_HEADER + u64::from(packed);
        if next > end.min(source.len()) {
            break;
        }
        let bytes = at + CHUNK_HEADER + CHECKSUM;
        let length = match header[0] {
            PLAIN => packed.checked_sub(CHECKSUM as u32),
            COMPRESSED => source.upto(bytes, 5).ok().and_then(|bytes| snap::raw::decompress_len(&bytes).ok()).map(|length| length as u32),
            IDENTIFIER | 0x80.. => Some(0),
            _ => None,
        };
        let Some(length) = length.filter(|length| *length as usize <= CHUNK) else { break };
        if length != 0 {
            let packed = packed.saturating_sub(CHECKSUM as u32);
            chunks.push(Chunk { start, length, offset: bytes, packed, kind: header[0] });
            start += u64::from(length);
        }
        at = next;
    }
    (chunks.into(), at)
}

impl Avml {
    /// The chunks of a range, read when they are needed first.
    fn chunks<'a>(&self, range: &'a Range) -> &'a [Chunk] {
        range.chunks.get_or_init(|| chunks(&*self.source, range.offset, range.offset.saturating_add(range.packed), range.length).0)
    }

    fn unpack(&self, chunk: &Chunk, out: &mut [u8], at: PhysAddr) -> Result<(), ReadError> {
        if chunk.kind == PLAIN {
            return self.source.read_at(chunk.offset, out);
        }
        unpack::with_buffer(chunk.packed as usize, |packed| {
            self.source.read_at(chunk.offset, packed)?;
            unpack::snappy(packed, out).ok_or(ReadError::Damaged(at))
        })
    }
}

impl Memory for Avml {
    fn runs(&self) -> &[PhysRange] {
        &self.runs
    }

    fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (at.0, out);
        while !rest.is_empty() {
            let after = self.ranges.partition_point(|range| range.start <= at);
            let range = after.checked_sub(1).and_then(|index| self.ranges.get(index));
            let range = range.filter(|range| at - range.start < range.length).ok_or(ReadError::NotInImage(PhysAddr(at)))?;
            let place = at - range.start;
            let chunks = self.chunks(range);
            let after = chunks.partition_point(|chunk| chunk.start <= place);
            let chunk = after.checked_sub(1).and_then(|index| chunks.get(index));
            let chunk = chunk.filter(|chunk| place - chunk.start < u64::from(chunk.length)).ok_or(ReadError::Damaged(PhysAddr(at)))?;
            let inside = place - chunk.start;
            let length = (u64::from(chunk.length) - inside).min(range.length - place).min(rest.len() as u64);
            let (now, later) = rest.split_at_mut(length as usize);
            let first = PhysAddr(range.start + chunk.start);
            if now.len() == chunk.length as usize && !self.blocks.holds(chunk.offset) {
                self.unpack(chunk, now, first)?;
            } else {
                self.blocks.read(chunk.offset, inside as usize, now, || {
                    let mut block = vec![0; chunk.length as usize].into_boxed_slice();
                    self.unpack(chunk, &mut block, first).map(|()| block)
                })?;
            }
            at += length;
            rest = later;
        }
        Ok(())
    }
}
