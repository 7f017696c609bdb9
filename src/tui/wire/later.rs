//! What a frame may leave for later: a list that scrolls shows its first columns at once, and the others when it rests.

use super::{Line, Slot, blank, differs, slot};

/// Changes of a line that are always written at once, such as those of a counter.
const FEW: usize = 12;

/// Whether nothing stands in a place.
fn empty(line: &[Slot], x: usize) -> bool {
    slot(line, x).as_ref().is_some_and(blank)
}

/// Whether a column begins at a place: two blanks are before it.
fn begins(line: &[Slot], x: usize) -> bool {
    x < 2 || framing(line, x - 1) || (empty(line, x - 1) && empty(line, x - 2))
}

/// Whether a line or a block is drawn in a place: the frame of a pane and the thumb on it.
fn framing(line: &[Slot], x: usize) -> bool {
    slot(line, x).as_ref().is_some_and(|cell| cell.symbol().starts_with(|c| ('\u{2500}'..='\u{259f}').contains(&c)))
}

/// The columns of a line from a place on in which anything changes: where the first begins and where the last ends.
fn changed(seen: &[Slot], wanted: &[Slot], from: usize, width: usize) -> Option<(usize, usize)> {
    let changes = |x: &usize| differs(seen, wanted, *x) && !framing(wanted, *x);
    let first = (from..width).find(changes)?;
    let last = (first..width).rfind(changes)?;
    let many = (first..=last).filter(changes).count() > FEW;
    let start = (0..=first).rfind(|x| begins(wanted, *x))?;
    let end = (last + 1..width).find(|x| framing(wanted, *x) || (empty(wanted, *x) && empty(wanted, x + 1))).unwrap_or(width);
    many.then_some((start, end))
}

/// Where the columns begin that most of the lines have which change, from the right to the left.
pub(super) fn columns(seen: &[Line], wanted: &[Line], width: usize) -> Vec<usize> {
    let lines: Vec<_> = seen.iter().zip(wanted).filter_map(|(seen, line)| Some((line, changed(seen, line, 0, width)?))).collect();
    let shared = |x: &usize| {
        let (agree, begin) =
            lines.iter().filter(|(_, (start, end))| (start..end).contains(&x)).fold((0, false), |(agree, begin), (line, _)| {
                let here = begins(line, *x);
                (agree + usize::from(here), begin || (here && !empty(line, *x)))
            });
        begin && agree * 8 >= lines.len() * 7
    };
    (0..width).rev().filter(shared).collect()
}

/// The lines that are wanted without what changes from a column on: blanks stand there, never what stood there before.
/// What is `there` already is left; `seen` tells what changes.
pub(super) fn without(there: &[Line], seen: &[Line], wanted: &[Line], from: usize, width: usize) -> Vec<Line> {
    let mut lines = wanted.to_vec();
    for ((line, there), seen) in lines.iter_mut().zip(there).zip(seen) {
        let Some((start, end)) = changed(seen, line, from, width) else { continue };
        if (start..end).all(|x| !differs(there, line, x)) {
            continue;
        }
        for x in start..end {
            if framing(line, x) {
                continue;
            }
            match line.get_mut(x) {
                Some(Some(cell)) => _ = cell.set_symbol(" "),
                Some(half) => *half = super::NOTHING.clone(),
                None => break,
            }
        }
    }
    lines
}
