//! Formats that store physical memory as it is: ranges of it lie at offsets of the file.

use super::Memory;
use super::source::Source;
use crate::address::{PhysAddr, PhysRange};
use crate::facts::ReadError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// More ranges than any machine has; a damaged header must not fill our memory with them.
pub(crate) const MOST_PIECES: usize = 1 << 20;

/// A range of physical memory and where the file holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub start: u64,
    pub length: u64,
    pub offset: u64,
}

/// Ranges of a file laid out by physical address. Where two overlap, the one added first is read.
pub(crate) struct Layout {
    length: u64,
    pieces: BTreeMap<u64, Piece>,
    warnings: Vec<String>,
    overlapping: u64,
    /// Work left. Many ranges that overlap many others would cost their product.
    patience: u64,
    missing: u64,
    first_missing: Option<Piece>,
}

impl Layout {
    pub fn new(source: &dyn Source) -> Self {
        Self {
            length: source.len(),
            pieces: BTreeMap::new(),
            warnings: Vec::new(),
            overlapping: 0,
            patience: 1 << 22,
            missing: 0,
            first_missing: None,
        }
    }

    /// Adds a range that a header tells of, as far as the file and the address space hold it.
    pub fn add(&mut self, piece: Piece) {
        let in_file = self.length.saturating_sub(piece.offset).min(piece.length).min(u64::MAX - piece.start);
        if in_file < piece.length {
            self.missing = self.missing.saturating_add(piece.length - in_file);
            self.first_missing.get_or_insert(piece);
        }
        let end = piece.start + in_file;
        let mut at = piece.start;
        // What one range needs by itself is free.
        self.patience += 2;
        while at < end && self.patience != 0 {
            self.patience -= 1;
            let before = self.pieces.range(..=at).next_back().map(|(_, before)| *before);
            if let Some(before) = before.filter(|before| before.start + before.length > at) {
                let until = (before.start + before.length).min(end);
                // Some writers describe a page once for each of its virtual addresses: that is no second copy.
                let same = before.offset + (at - before.start) == piece.offset + (at - piece.start);
                self.overlapping = self.overlapping.saturating_add(if same { 0 } else { until - at });
                at = until;
                continue;
            }
            let next = self.pieces.range(at..).next().map_or(end, |(start, _)| *start).min(end);
            self.pieces.insert(at, Piece { start: at, length: next - at, offset: piece.offset + (at - piece.start) });
            at = next;
        }
    }

    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    pub fn full(&self) -> bool {
        self.pieces.len() >= MOST_PIECES || self.patience == 0
    }

    /// The pieces alone, sorted.
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces.into_values().collect()
    }

    /// The memory, and what was odd about it.
    pub fn finish(mut self, source: Arc<dyn Source>) -> (Flat, Vec<String>) {
        if let Some(first) = self.first_missing {
            self.warnings.push(format!(
                "the file ends at offset {:#x}: {} bytes of memory are missing, first in the range at {:#x}, whose {:#x} bytes should \
                 begin at offset {:#x}",
                self.length, self.missing, first.start, first.length, first.offset
            ));
        }
        if self.full() {
            self.warnings.push("the file describes more ranges than a machine has; the rest is not read".into());
        }
        if self.overlapping != 0 {
            self.warnings.push(format!("{} bytes of memory are in the file twice; the first copy is read", self.overlapping));
        }
        let pieces: Vec<Piece> = self.pieces.into_values().collect();
        let runs = merged(pieces.iter().map(|piece| PhysRange { start: PhysAddr(piece.start), length: piece.length }));
        (Flat { source, pieces, runs }, self.warnings)
    }
}

/// Joins what touches in ranges that are sorted and do not overlap.
pub(crate) fn merged(ranges: impl Iterator<Item = PhysRange>) -> Vec<PhysRange> {
    let mut runs: Vec<PhysRange> = Vec::new();
    for range in ranges.filter(|range| range.length != 0) {
        match runs.last_mut() {
            Some(last) if last.end() == range.start => last.length += range.length,
            _ => runs.push(range),
        }
    }
    runs
}

pub(crate) struct Flat {
    source: Arc<dyn Source>,
    pieces: Vec<Piece>,
    runs: Vec<PhysRange>,
}

impl Memory for Flat {
    fn runs(&self) -> &[PhysRange] {
        &self.runs
    }

    fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (at.0, out);
        while !rest.is_empty() {
            let after = self.pieces.partition_point(|piece| piece.start <= at);
            let piece = after.checked_sub(1).and_then(|index| self.pieces.get(index));
            let piece = piece.filter(|piece| at - piece.start < piece.length).ok_or(ReadError::NotInImage(PhysAddr(at)))?;
            let inside = at - piece.start;
            let length = (piece.length - inside).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            self.source.read_at(piece.offset + inside, now)?;
            at += length as u64;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::source::Embedded;

    const BYTES: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    fn flat(pieces: &[(u64, u64, u64)]) -> (Flat, Vec<String>) {
        let source: Arc<dyn Source> = Arc::new(Embedded(BYTES));
        let mut layout = Layout::new(&*source);
        for &(start, length, offset) in pieces {
            layout.add(Piece { start, length, offset });
        }
        layout.finish(source)
    }
    fn read(flat: &Flat, at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let mut out = vec![0; length];
        flat.read(PhysAddr(at), &mut out).map(|()| out)
    }

    #[test]
    fn reads_cross_pieces_and_stop_at_holes() {
        let (flat, warnings) = flat(&[(0x1000, 4, 10), (0x1004, 4, 0), (0x2000, 2, 20)]);
        assert!(warnings.is_empty());
        assert_eq!(flat.runs(), [PhysRange { start: PhysAddr(0x1000), length: 8 }, PhysRange { start: PhysAddr(0x2000), length: 2 }]);
        assert_eq!(read(&flat, 0x1002, 4).as_deref(), Ok(&b"cd01"[..]));
        assert_eq!(read(&flat, 0x1006, 4), Err(ReadError::NotInImage(PhysAddr(0x1008))));
        assert_eq!(read(&flat, 0, 1), Err(ReadError::NotInImage(PhysAddr(0))));
        assert_eq!(read(&flat, u64::MAX, 2), Err(ReadError::NotInImage(PhysAddr(u64::MAX))));
    }

    #[test]
    fn of_two_overlapping_pieces_the_first_is_read() {
        let (flat, warnings) = flat(&[(4, 4, 0), (0, 12, 20)]);
        assert_eq!(warnings, ["4 bytes of memory are in the file twice; the first copy is read"]);
        assert_eq!(read(&flat, 0, 12).as_deref(), Ok(&b"klmn0123stuv"[..]));
        assert_eq!(flat.runs().len(), 1);
    }

    #[test]
    fn a_range_described_twice_is_no_second_copy() {
        let (flat, warnings) = flat(&[(0, 8, 0), (0, 8, 0), (4, 8, 4)]);
        assert!(warnings.is_empty());
        assert_eq!(read(&flat, 0, 12).as_deref(), Ok(&b"0123456789ab"[..]));
    }

    /// Many ranges over many others: their product must not be what it costs.
    #[test]
    fn a_heap_of_overlapping_ranges_ends() {
        let single = (0..2000).map(|at| (at * 4, 1, 0));
        let pieces: Vec<_> = single.chain((0..20_000).map(|at| (at % 4, 10_000, 1))).collect();
        let (flat, warnings) = flat(&pieces);
        assert!(!flat.runs().is_empty());
        assert!(!warnings.is_empty());
    }

    #[test]
    fn pieces_past_the_end_are_cut() {
        let (flat, warnings) = flat(&[(0, 100, 30), (200, 5, 1000), (u64::MAX - 3, 100, 0)]);
        assert_eq!(flat.runs().len(), 2);
        assert_eq!(read(&flat, 0, 6).as_deref(), Ok(&b"uvwxyz"[..]));
        assert!(warnings[0].contains("the file ends at offset 0x24"), "{warnings:?}");
    }
}
