//! Many literals in one pass, at the speed of memory.
//!
//! Every literal of at least `length` bytes holds, wherever it lies, a window of some width at a place that is a multiple of
//! `stride = length - width + 1`. So it is enough to look at each `stride`-th window of the text and to ask a bitmap whether any literal
//! has it among its first `stride` windows; only where the bitmap says so are literals compared. The longer the literals, the fewer
//! bytes are looked at, and no look waits for the one before it.

use std::collections::HashMap;

/// Literals of about the same length: short ones would make the stride of long ones small.
struct Group<const WIDTH: usize> {
    stride: usize,
    bitmap: Vec<u64>,
    /// Bits of a window's hash that number the bitmap.
    bits: u32,
    /// By window: the literals that have it, and where.
    windows: HashMap<u32, Vec<(u32, u8)>>,
}

/// A finder of literals, with letters of ASCII folded or not.
pub struct Literals {
    literals: Vec<Box<[u8]>>,
    fold: bool,
    tiny: Option<Group<2>>,
    short: Option<Group<4>>,
    long: Option<Group<4>>,
}

/// Shortest of the long ones: five windows of four bytes.
const LONG: usize = 8;
/// Longer literals gain nothing from more windows.
const MOST_STRIDE: usize = 13;

impl Literals {
    /// Literals shorter than two bytes are never found.
    pub fn new(literals: Vec<Box<[u8]>>, fold: bool) -> Self {
        let of = |lengths: std::ops::Range<usize>| -> Vec<(u32, &[u8])> {
            let numbered = literals.iter().enumerate().map(|(number, literal)| (number as u32, &**literal));
            numbered.filter(|(_, literal)| lengths.contains(&literal.len())).collect()
        };
        let tiny = Group::new(&of(2..4), fold);
        let short = Group::new(&of(4..LONG), fold);
        let long = Group::new(&of(LONG..usize::MAX), fold);
        Self { literals, fold, tiny, short, long }
    }

    pub fn longest(&self) -> usize {
        self.literals.iter().map(|literal| literal.len()).max().unwrap_or(0)
    }

    pub fn length(&self, number: usize) -> usize {
        self.literals.get(number).map_or(0, |literal| literal.len())
    }

    /// Tells of every place where a literal lies, overlapping ones too: the literal's number, and where. Not in order.
    pub fn find(&self, text: &[u8], found: &mut impl FnMut(usize, usize)) {
        let mut candidate = |number: u32, at: usize| {
            let Some(literal) = self.literals.get(number as usize) else { return };
            let there = text.get(at..at + literal.len());
            if there.is_some_and(|there| if self.fold { there.eq_ignore_ascii_case(literal) } else { *there == **literal }) {
                found(number as usize, at);
            }
        };
        self.tiny.iter().for_each(|group| group.find(text, self.fold, &mut candidate));
        self.short.iter().for_each(|group| group.find(text, self.fold, &mut candidate));
        self.long.iter().for_each(|group| group.find(text, self.fold, &mut candidate));
    }
}

impl<const WIDTH: usize> Group<WIDTH> {
    fn new(literals: &[(u32, &[u8])], fold: bool) -> Option<Self> {
        let shortest = literals.iter().map(|(_, literal)| literal.len()).min()?;
        let stride = (shortest + 1).checked_sub(WIDTH)?.clamp(1, MOST_STRIDE);
        let mut windows: HashMap<u32, Vec<(u32, u8)>> = HashMap::new();
        for (number, literal) in literals {
            for (at, window) in literal.windows(WIDTH).enumerate().take(stride) {
                windows.entry(word::<WIDTH>(window, fold)).or_default().push((*number, at as u8));
            }
        }
        // Few windows of the text pass by chance, and the bitmap stays in the nearest caches.
        let bits = (windows.len() * 64).next_power_of_two().trailing_zeros().clamp(12, 22);
        let mut bitmap = vec![0; 1 << (bits - 6)];
        for window in windows.keys() {
            let (index, bit) = place(*window, bits);
            if let Some(slot) = bitmap.get_mut(index) {
                *slot |= bit;
            }
        }
        Some(Self { stride, bitmap, bits, windows })
    }

    fn find(&self, text: &[u8], fold: bool, candidate: &mut impl FnMut(u32, usize)) {
        if fold { self.scan::<true>(text, candidate) } else { self.scan::<false>(text, candidate) }
    }

    fn scan<const FOLD: bool>(&self, text: &[u8], candidate: &mut impl FnMut(u32, usize)) {
        let mut at = 0;
        while let Some(window) = text.get(at..at + WIDTH) {
            let word = word::<WIDTH>(window, FOLD);
            let (index, bit) = place(word, self.bits);
            if self.bitmap.get(index).is_some_and(|slot| slot & bit != 0)
                && let Some(literals) = self.windows.get(&word)
            {
                for (number, before) in literals {
                    if let Some(start) = at.checked_sub(usize::from(*before)) {
                        candidate(*number, start);
                    }
                }
            }
            at += self.stride;
        }
    }
}

/// A window as a number. Folding sets the bit in which the cases of a letter differ, in every byte: what that confuses beyond letters
/// is told apart by the comparison.
#[inline(always)]
fn word<const WIDTH: usize>(window: &[u8], fold: bool) -> u32 {
    let mut bytes = [0; 4];
    if let (Some(low), Some(window)) = (bytes.first_chunk_mut::<WIDTH>(), window.first_chunk::<WIDTH>()) {
        *low = *window;
    }
    let word = u32::from_le_bytes(bytes);
    if fold { word | 0x2020_2020 } else { word }
}

/// Index and bit of a window in the bitmap.
#[inline(always)]
fn place(word: u32, bits: u32) -> (usize, u64) {
    let hash = word.wrapping_mul(0x9e37_79b1) >> (32 - bits);
    ((hash >> 6) as usize, 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(literals: &[&[u8]], fold: bool, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let finder = Literals::new(literals.iter().map(|literal| (*literal).into()).collect(), fold);
        finder.find(text, &mut |number, at| found.push((number, at)));
        found.sort_unstable();
        found
    }

    #[test]
    fn every_place_is_found_overlapping_ones_too() {
        assert_eq!(all(&[b"aa", b"aaaa", b"aaaaaaaa"], false, b"aaaaaaaaa").len(), 8 + 6 + 2);
        assert_eq!(all(&[b"MZ", b"powershell"], true, b"..mz PowerShell MZ"), [(0, 2), (0, 16), (1, 5)]);
        assert_eq!(all(&[b"powershell"], false, b"PowerShell"), []);
        // What folding alone would confuse.
        assert_eq!(all(&[b"@@@@"], true, b"````@@@@"), [(0, 4)]);
        assert_eq!(all(&[b"", b"x"], false, b"xx"), []);
    }

    proptest! {
        #[test]
        fn as_the_slow_way(literals in prop::collection::vec("[aAb@]{2,20}", 1..6), text in "[aAb@]{0,120}", fold in any::<bool>()) {
            let literals: Vec<&[u8]> = literals.iter().map(String::as_bytes).collect();
            let mut slow = Vec::new();
            for (number, literal) in literals.iter().enumerate() {
                for (at, there) in text.as_bytes().windows(literal.len()).enumerate() {
                    if if fold { there.eq_ignore_ascii_case(literal) } else { there == *literal } {
                        slow.push((number, at));
                    }
                }
            }
            prop_assert_eq!(all(&literals, fold, text.as_bytes()), slow);
        }
    }
}
