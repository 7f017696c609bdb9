//! Looking through memory: for bytes, in both directions, and for texts. What is not in the image is passed over, not read as zeros.

use super::{Bytes, Error, Session, Space};
use crate::facts::Watch;
use memchr::memmem::{Finder, FinderRev};
use std::ops::ControlFlow;

/// Bytes looked at between two looks at the watch.
const STEP: usize = 1 << 20;
/// A search goes through so much memory that is there; it can be gone on with.
const FARTHEST: u64 = 4 << 30;
/// Texts are looked for in so much before those found are shown.
const AT_ONCE: u64 = 32 << 20;
/// A text is cut here; the rest of it is a text of its own.
const LONGEST_TEXT: usize = 256;
const LEAST_TEXT: usize = 5;

/// A stretch to look through, both ends inclusive. Backwards it begins at its last address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub space: Space,
    pub first: u64,
    pub last: u64,
    pub forward: bool,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Where it begins, and its length.
    At(u64, usize),
    Nowhere,
    /// It was not in all that was looked through up to here.
    NotBefore(u64),
}

/// A text in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundText {
    pub at: u64,
    /// In UTF-16.
    pub wide: bool,
    pub text: String,
}

impl Session {
    /// Finds the nearest of some byte sequences that begins in the stretch.
    pub fn find(&self, stretch: Stretch, needles: &[Vec<u8>], watch: &Watch) -> Result<Hit, Error> {
        let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
        let mut hit = Hit::Nowhere;
        let end = self.each_chunk(stretch, FARTHEST, longest.saturating_sub(1), watch, |bytes, own| {
            let whole = |at: usize, length: usize| (at..at + length).all(|index| bytes.get(index).is_some());
            let found = needles.iter().filter(|needle| !needle.is_empty()).filter_map(|needle| {
                let admits = |at: &usize| *at < own && whole(*at, needle.len());
                let at = if stretch.forward {
                    Finder::new(needle).find_iter(&bytes.data).take_while(|at| *at < own).find(admits)
                } else {
                    // Overlapping occurrences do not matter: the last one is met first.
                    FinderRev::new(needle).rfind_iter(&bytes.data).find(admits)
                };
                Some((at?, needle.len()))
            });
            let nearest = if stretch.forward { found.min() } else { found.max() };
            match nearest {
                Some((at, length)) => {
                    hit = Hit::At(bytes.start + at as u64, length);
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        })?;
        Ok(match (hit, end) {
            (Hit::Nowhere, Some(at)) => Hit::NotBefore(at),
            (hit, _) => hit,
        })
    }

    /// Texts in ASCII and in UTF-16 that begin in the stretch, at most about `most`, and where the rest begins.
    pub fn texts(&self, stretch: Stretch, most: usize, watch: &Watch) -> Result<(Vec<FoundText>, Option<u64>), Error> {
        let mut found = Vec::new();
        let mut rest = None;
        let end = self.each_chunk(stretch, AT_ONCE, LONGEST_TEXT * 2, watch, |bytes, own| {
            texts_in(bytes, own, &mut found);
            if found.len() < most {
                return ControlFlow::Continue(());
            }
            rest = bytes.start.checked_add(own as u64).filter(|rest| *rest <= stretch.last);
            ControlFlow::Break(())
        })?;
        Ok((found, rest.or(end)))
    }

    /// Hands out the stretch in chunks, each with `overlap` bytes of what follows and the number of bytes that are its own. Gaps are
    /// passed over. Answers where it stopped because it had looked far enough.
    fn each_chunk(
        &self,
        stretch: Stretch,
        far: u64,
        overlap: usize,
        watch: &Watch,
        mut look: impl FnMut(&Bytes, usize) -> ControlFlow<()>,
    ) -> Result<Option<u64>, Error> {
        let Stretch { space, first, last, forward } = stretch;
        let (mut at, mut seen) = (if forward { first } else { last }, 0);
        loop {
            if watch.cancelled() {
                return Err(Error("search cancelled".to_owned()));
            }
            watch.progress(if forward { at - first } else { last - at }, last - first);
            let step = STEP as u64 - 1;
            let (low, high) = if forward { (at, at.saturating_add(step).min(last)) } else { (at.saturating_sub(step).max(first), at) };
            let own = usize::try_from(high - low).unwrap_or(usize::MAX).saturating_add(1);
            let bytes = self.read(space, low, own.saturating_add(overlap))?;
            let next = if bytes.pieces.iter().all(|piece| piece.origin.is_err()) {
                // Gaps can be terabytes long.
                let next = self.next_stretch(space, at, forward, watch)?;
                next.map(|next| if forward { next } else { next | 0xfff })
            } else {
                if look(&bytes, own).is_break() {
                    return Ok(None);
                }
                seen += own as u64;
                if forward { high.checked_add(1) } else { low.checked_sub(1) }
            };
            match next.filter(|next| (first..=last).contains(next)) {
                Some(next) if seen >= far => return Ok(Some(next)),
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
    }
}

/// Adds the texts that begin in the first `own` bytes.
fn texts_in(bytes: &Bytes, own: usize, found: &mut Vec<FoundText>) {
    let printable = |index: usize| bytes.data.get(index).copied().filter(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let present = |index: usize| bytes.get(index).is_some();
    let mut at = 0;
    while at < own {
        let narrow = (at..at + LONGEST_TEXT).map_while(printable).count();
        let wide = || {
            let pair = |index: &usize| (bytes.data.get(index + 1) == Some(&0)).then(|| printable(*index)).flatten();
            (at..).step_by(2).take(LONGEST_TEXT).map_while(|index| pair(&index)).count()
        };
        let (length, step) = match narrow {
            LEAST_TEXT.. => (narrow, 1),
            1 => (wide(), 2),
            _ => (0, 1),
        };
        if length >= LEAST_TEXT && present(at) && present(at + length * step - 1) {
            let text = (0..length).filter_map(|index| bytes.data.get(at + index * step)).map(|byte| char::from(*byte)).collect();
            found.push(FoundText { at: bytes.start + at as u64, wide: step == 2, text });
            at += length * step;
        } else {
            at += narrow.max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::engine::Piece;
    use crate::facts::{PageOrigin, ReadError};

    #[test]
    fn texts_in_both_encodings_and_none_across_a_gap() {
        let mut data = b"\0\0kernel32.dll\0c\0m\0d\0.\0e\0x\0e\0\0\0abc\0".to_vec();
        data.resize(96, b'x');
        let there = Piece { address: 0x1000, length: 64, origin: Ok(PageOrigin::Zero) };
        let gone = Piece { address: 0x1040, length: 32, origin: Err(ReadError::NotInImage(PhysAddr(0))) };
        let bytes = Bytes { start: 0x1000, data, pieces: vec![there, gone] };
        let mut found = Vec::new();
        texts_in(&bytes, 96, &mut found);
        let told: Vec<_> = found.iter().map(|it| (it.at, it.wide, it.text.as_str())).collect();
        assert_eq!(told, [(0x1002, false, "kernel32.dll"), (0x100f, true, "cmd.exe")]);
    }
}
