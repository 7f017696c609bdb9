//! Seekable zstd: frames of their own and a table of them at the end (zstd/contrib/seekable_format).
//!
//! The same bytes are an ordinary zstd file. A frame is unpacked when it is read first, two frames by two threads at once.

use super::Problem;
use super::blocks::Blocks;
use super::source::Source;
use super::unpack;
use crate::facts::ReadError;
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";

/// The table is itself a frame, of a kind that decoders skip.
const SKIPPABLE: [u8; 4] = 0x184d_2a5e_u32.to_le_bytes();
const TABLE_MAGIC: [u8; 4] = 0x8f92_eab1_u32.to_le_bytes();
const FOOTER: u64 = 9;
const CHECKSUMS: u8 = 0x80;
/// Frames are unpacked whole; larger ones would make every look at the image slow.
const MOST_IN_FRAME: u32 = 32 << 20;
const MOST_FRAMES: u64 = 1 << 22;
/// Frames cost much to unpack, so more of them are kept than of pages: a small image is unpacked once.
const BUDGET: usize = 128 << 20;

struct Frame {
    start: u64,
    offset: u64,
    length: u32,
    packed: u32,
}

pub(crate) struct Seekable {
    source: Arc<dyn Source>,
    frames: Vec<Frame>,
    length: u64,
    blocks: Blocks,
}

impl Seekable {
    pub fn open(source: Arc<dyn Source>) -> Result<Self, Problem> {
        let plain = "compressed with zstd and without a seek table; decompress it first (zstd -d)";
        let size = source.len();
        let Some(footer_at) = size.checked_sub(FOOTER) else { return Err(plain.into()) };
        let footer: [u8; FOOTER as usize] = source.array(footer_at)?;
        if !footer.ends_with(&TABLE_MAGIC) {
            return Err(plain.into());
        }
        let count = u64::from(u32::from_le_bytes([footer[0], footer[1], footer[2], footer[3]]));
        let entry = if footer[4] & CHECKSUMS != 0 { 12 } else { 8 };
        let table_length = count * entry + FOOTER;
        let table_at = size.checked_sub(table_length + 8).filter(|_| count <= MOST_FRAMES);
        let Some(table_at) = table_at else { return Err(format!("a zstd file whose seek table tells of {count} frames").into()) };
        let head: [u8; 8] = source.array(table_at)?;
        if !head.starts_with(&SKIPPABLE) || head[4..] != (table_length as u32).to_le_bytes() {
            return Err(format!("a zstd file whose seek table does not begin at offset {table_at:#x}, where it should").into());
        }

        let table = source.upto(table_at + 8, (count * entry) as usize)?;
        let (mut frames, mut offset, mut start) = (Vec::with_capacity(count as usize), 0, 0);
        let mut largest = 0;
        for entry in table.chunks_exact(entry as usize) {
            let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let (packed, length) = (word(0), word(4));
            if length.max(packed) > MOST_IN_FRAME {
                return Err(
                    format!("a zstd file with a frame of {length} bytes, too large to seek in; decompress it first (zstd -d)").into()
                );
            }
            if length != 0 {
                frames.push(Frame { start, offset, length, packed });
            }
            largest = largest.max(length);
            (start, offset) = (start + u64::from(length), offset + u64::from(packed));
        }
        if offset > table_at {
            return Err(format!("a zstd file whose frames reach beyond its seek table at offset {table_at:#x}").into());
        }
        Ok(Self { source, frames, length: start, blocks: Blocks::new(largest as usize, BUDGET) })
    }

    fn unpack(&self, frame: &Frame, out: &mut [u8]) -> Result<(), ReadError> {
        unpack::with_buffer(frame.packed as usize, |packed| {
            self.source.read_at(frame.offset, packed)?;
            unpack::zstd(packed, out).ok_or(ReadError::File(frame.offset))
        })
    }
}

impl Source for Seekable {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let after = self.frames.partition_point(|frame| frame.start <= at);
            let frame = after.checked_sub(1).and_then(|index| self.frames.get(index));
            let frame = frame.filter(|frame| at - frame.start < u64::from(frame.length)).ok_or(ReadError::File(self.source.len()))?;
            let inside = (at - frame.start) as usize;
            let length = (frame.length as usize - inside).min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            self.blocks.read(frame.offset, inside, now, || {
                let mut block = vec![0; frame.length as usize].into_boxed_slice();
                self.unpack(frame, &mut block).map(|()| block)
            })?;
            at += length as u64;
            rest = later;
        }
        Ok(())
    }
}
