//! Lines that only stand elsewhere: a terminal can move them by itself, if they are all of a line.

use super::{Line, NOTHING, Pen, Slot, blank};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Places that must be saved.
const WORTH_MOVING: i64 = 60;

/// The lines from `top` to `bottom` move up, or down; what they leave is blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scroll {
    top: usize,
    bottom: usize,
    by: usize,
    up: bool,
}

impl Scroll {
    pub(super) fn apply(&self, lines: &mut [Line]) {
        let Some(lines) = lines.get_mut(self.top..=self.bottom) else { return };
        let by = self.by.min(lines.len());
        if self.up {
            lines.rotate_left(by)
        } else {
            lines.rotate_right(by)
        }
        let left = if self.up { lines.len() - by..lines.len() } else { 0..by };
        lines.get_mut(left).into_iter().flatten().for_each(Line::clear);
    }

    /// Deletes or inserts lines in a region of them, which terminals have been able to since the VT102; the cursor is anywhere then.
    pub(super) fn sequence(&self) -> String {
        let (top, bottom, what) = (self.top + 1, self.bottom + 1, if self.up { 'M' } else { 'L' });
        format!("\x1b[{top};{bottom}r\x1b[{top}H\x1b[{}{what}\x1b[r", self.by)
    }
}

/// The move that saves most, if any is worth it.
pub(super) fn find(before: &[Line], wanted: &[Line], width: usize) -> Option<Scroll> {
    let marks = |lines: &[Line]| -> Vec<Vec<u64>> { lines.iter().map(|line| (0..width).map(|x| mark(line.get(x))).collect()).collect() };
    let (old, new) = (marks(before), marks(wanted));
    let unlike = |a: &[u64], b: &[u64]| a.iter().zip(b).filter(|(a, b)| a != b).count() as i64;
    let stay: Vec<i64> = old.iter().zip(&new).map(|(old, new)| unlike(old, new)).collect();
    let nothing = vec![mark(None); width];
    // What is saved where a line is blank then.
    let emptied: Vec<i64> = stay.iter().zip(&new).map(|(stay, new)| stay - unlike(&nothing, new)).collect();
    let height = old.len().min(new.len());
    let mut best: Option<(i64, Scroll)> = None;
    for by in 1..height {
        for up in [true, false] {
            // What is saved at each line that another moves to; the best run of them, with the lines that it leaves.
            let saved = |y: usize| {
                let from = if up { y + by } else { y.checked_sub(by)? };
                Some(stay.get(y)? - unlike(old.get(from)?, new.get(y)?))
            };
            let (mut sum, mut first) = (0, None);
            for y in 0..height {
                let Some(here) = saved(y) else {
                    (sum, first) = (0, None);
                    continue;
                };
                if sum + here <= 0 {
                    (sum, first) = (0, None);
                    continue;
                }
                sum += here;
                let start = *first.get_or_insert(y);
                let (top, bottom) = if up { (start, y + by) } else { (start - by, y) };
                let left = if up { y + 1..=bottom } else { top..=start - 1 };
                let all = sum + emptied.get(left).map_or(0, |left| left.iter().sum());
                if all >= WORTH_MOVING && best.is_none_or(|(most, _)| all > most) {
                    best = Some((all, Scroll { top, bottom, by, up }));
                }
            }
        }
    }
    best.map(|(_, scroll)| scroll)
}

/// A number for what is seen in a place.
fn mark(slot: Option<&Slot>) -> u64 {
    let Some(cell) = slot.unwrap_or(&NOTHING) else { return 0 };
    let mut hasher = DefaultHasher::new();
    (cell.symbol(), cell.bg, (!blank(cell)).then(|| Pen::of(cell))).hash(&mut hasher);
    hasher.finish()
}
