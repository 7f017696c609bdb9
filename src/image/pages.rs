//! Which pages of memory a format holds: one bit each, with counts that make "the how-manieth page is this" a look-up.

use super::flat::merged;
use crate::address::{PhysAddr, PhysRange};

/// More memory than machines have (8 TiB in 4 KiB pages); a lying header must not make us allocate for it.
pub(crate) const MOST_PAGES: u64 = 1 << 31;

const WORDS: usize = 8;

/// A bitmap with a count before every 512 bits.
#[derive(Default)]
pub(crate) struct PageSet {
    words: Vec<u64>,
    before: Vec<u32>,
}

impl PageSet {
    /// From a bitmap as formats store it: page 0 is the lowest bit of the first byte.
    pub fn new(bitmap: &[u8]) -> Self {
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        let words: Vec<u64> = bitmap.chunks(8).map(word).collect();
        let mut before = Vec::with_capacity(words.len() / WORDS + 1);
        let mut count = 0;
        for group in words.chunks(WORDS) {
            before.push(count);
            count += group.iter().map(|word| word.count_ones()).sum::<u32>();
        }
        Self { words, before }
    }

    pub fn holds(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|index| self.words.get(index));
        word.is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// How many pages below this one are in the set.
    pub fn rank(&self, page: u64) -> u64 {
        let index = usize::try_from(page / 64).unwrap_or(usize::MAX).min(self.words.len());
        let group = index / WORDS;
        let Some(before) = self.before.get(group) else { return self.count() };
        let whole: u32 = self.words[group * WORDS..index].iter().map(|word| word.count_ones()).sum();
        let part = self.words.get(index).map_or(0, |word| (word & ((1 << (page % 64)) - 1)).count_ones());
        u64::from(before + whole + part)
    }

    pub fn count(&self) -> u64 {
        let last = self.before.last().map_or(0, |before| u64::from(*before));
        let group = self.before.len().saturating_sub(1) * WORDS;
        last + self.words.get(group..).unwrap_or_default().iter().map(|word| u64::from(word.count_ones())).sum::<u64>()
    }

    /// Removes the pages outside `from..to`.
    pub fn keep(&self, from: u64, to: u64) -> Self {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for (index, byte) in bytes.iter_mut().enumerate() {
            let first = index as u64 * 8;
            if first < from || first + 8 > to {
                (0..8).filter(|bit| !(from..to).contains(&(first + bit))).for_each(|bit| *byte &= !(1 << bit));
            }
        }
        Self::new(&bytes)
    }

    pub fn with(&self, other: &Self) -> Self {
        let longer = self.words.len().max(other.words.len());
        let word = |of: &Self, index: usize| of.words.get(index).copied().unwrap_or_default();
        let bytes: Vec<u8> = (0..longer).flat_map(|index| (word(self, index) | word(other, index)).to_le_bytes()).collect();
        Self::new(&bytes)
    }

    pub fn runs(&self, page_size: u64) -> Vec<PhysRange> {
        let word_runs = self.words.iter().enumerate().flat_map(move |(index, word)| {
            let first = index as u64 * 64;
            let mut rest = *word;
            let mut at = 0;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let skip = rest.trailing_zeros();
                at += skip;
                rest >>= skip;
                let length = (!rest).trailing_zeros();
                let start = PhysAddr((first + u64::from(at)) * page_size);
                at += length;
                rest = rest.checked_shr(length).unwrap_or(0);
                Some(PhysRange { start, length: u64::from(length) * page_size })
            })
        });
        merged(word_runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_what_runs_show() {
        let mut bitmap = vec![0; 300];
        let pages: Vec<u64> = (0..2400).filter(|page| page % 7 < 3 || (640..900).contains(page)).collect();
        pages.iter().for_each(|page| bitmap[*page as usize / 8] |= 1 << (page % 8));
        let set = PageSet::new(&bitmap);
        for page in 0..2500 {
            assert_eq!(set.holds(page), pages.contains(&page));
            assert_eq!(set.rank(page), pages.iter().filter(|other| **other < page).count() as u64, "{page}");
        }
        assert_eq!(set.count(), pages.len() as u64);
        assert_eq!(set.rank(u64::MAX), set.count());
        let runs = set.runs(4096);
        assert_eq!(runs.iter().map(|run| run.length / 4096).sum::<u64>(), set.count());
        assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].start));
        let kept = set.keep(13, 700);
        assert_eq!(kept.count(), pages.iter().filter(|page| (13..700).contains(*page)).count() as u64);
    }

    #[test]
    fn full_words_and_no_words() {
        let set = PageSet::new(&[0xff; 24]);
        assert_eq!(set.runs(4096), [PhysRange { start: PhysAddr(0), length: 24 * 8 * 4096 }]);
        assert!(PageSet::new(&[]).runs(4096).is_empty());
        assert_eq!(PageSet::new(&[]).rank(5), 0);
    }
}
