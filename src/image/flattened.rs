//! The flattened form of kdump: what QEMU writes, and makedumpfile -F into a pipe.
//!
//! After a header of 4096 bytes come records: big-endian offset and length, then bytes which belong at that offset of the plain file. A
//! place may be written again; the later record counts. What no record writes is zero.

use super::Problem;
use super::flat::{Layout, Piece};
use super::source::Source;
use crate::facts::ReadError;
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"makedumpfile\0\0\0\0";

const HEADER: u64 = 4096;
const RECORD: u64 = 16;
/// 256 GiB in QEMU's records of 16 KiB.
const MOST_RECORDS: usize = 1 << 24;

pub(crate) struct Flattened {
    source: Arc<dyn Source>,
    records: Vec<Piece>,
    length: u64,
}

impl Flattened {
    pub fn open(source: Arc<dyn Source>) -> Result<(Self, Vec<String>), Problem> {
        let mut warnings = Vec::new();
        let mut records: Vec<Piece> = Vec::new();
        let mut at = HEADER;
        loop {
            let Ok(header) = source.array::<{ RECORD as usize }>(at) else {
                warnings.push(format!("the flattened file ends at offset {:#x} without its end mark", source.len()));
                break;
            };
            let header = u128::from_be_bytes(header);
            let (start, length) = ((header >> 64) as u64, header as u64);
            let offset = at + RECORD;
            if start.cast_signed() < 0 {
                break;
            }
            if length == 0 || length.cast_signed() < 0 || records.len() == MOST_RECORDS {
                warnings.push(format!("the record at offset {at:#x} of the flattened file makes no sense; what follows is not read"));
                break;
            }
            let held = length.min(source.len().saturating_sub(offset));
            if held < length {
                warnings.push(format!("the file ends at offset {:#x}, within a record that begins at {at:#x}", source.len()));
            }
            if held != 0 {
                records.push(Piece { start, length: held, offset });
            }
            at = offset.saturating_add(length);
        }
        // The same order as in the plain file, except for a few: sorted at once, and cut only if some place was written twice.
        let in_order = std::mem::take(&mut records);
        let mut sorted = in_order.clone();
        sorted.sort_by_key(|record| record.start);
        let apart = |pair: &[Piece]| pair[0].start + pair[0].length <= pair[1].start;
        if !sorted.windows(2).all(apart) {
            let mut layout = Layout::new(&*source);
            in_order.into_iter().rev().for_each(|record| layout.add(record));
            sorted = layout.into_pieces();
        }
        let length = sorted.last().map_or(0, |last| last.start + last.length);
        Ok((Self { source, records: sorted, length }, warnings))
    }
}

impl Source for Flattened {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.length) {
            // The offset that an analyst can look up is the one of the file on disk.
            return Err(ReadError::File(self.source.len()));
        }
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let after = self.records.partition_point(|record| record.start <= at);
            let record = after.checked_sub(1).and_then(|index| self.records.get(index));
            let inside = record.map(|record| (record, at - record.start)).filter(|(record, inside)| *inside < record.length);
            let until = match inside {
                Some((record, inside)) => record.length - inside,
                None => self.records.get(after).map_or(u64::MAX, |next| next.start - at),
            };
            let (now, later) = rest.split_at_mut(until.min(rest.len() as u64) as usize);
            match inside {
                Some((record, inside)) => self.source.read_at(record.offset + inside, now)?,
                None => now.fill(0),
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }
}
