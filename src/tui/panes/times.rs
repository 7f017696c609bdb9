//! Rows in the order of their times: how dense they are, and the day, hour, minute or second that is looked at.

use crate::facts::{Cell, Rows, Time};
use crate::tui::text::Cut;
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::{bars, put};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const SECOND: i128 = 1_000_000_000;
/// Steps of the zoom, each with the characters of a written time that it shows.
const LEVELS: [(&str, i128, usize); 4] =
    [("day", 86_400 * SECOND, 10), ("hour", 3600 * SECOND, 13), ("minute", 60 * SECOND, 16), ("second", SECOND, 19)];
/// Lines that the density takes, and the lines that the rows must keep.
const HEIGHT: u16 = 2;
const LEAST_ROWS: u16 = 8;

/// A stretch of time, its end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub column: usize,
    pub from: i128,
    pub to: i128,
}

impl Window {
    pub fn holds(&self, cell: &Cell<'_>) -> bool {
        matches!(cell, Cell::Time(time) if (self.from..self.to).contains(&time.nanoseconds()))
    }
}

/// The zoom of a table whose rows stand in the order of their times.
#[derive(Clone, Copy, Debug)]
pub struct Zoom {
    column: usize,
    /// How far in: 0 shows all times.
    level: usize,
    window: Option<Window>,
}

impl Zoom {
    /// Of the tables that are lists of moments.
    pub fn of(table: &crate::facts::Table) -> Option<Self> {
        let column = matches!(table.name, "timeline" | "events").then(|| table.column("time"))??;
        Some(Self { column, level: 0, window: None })
    }

    pub fn window(&self) -> Option<Window> {
        self.window
    }

    /// A step in or out, around the row under the cursor. False where there is none to take.
    pub fn step(&mut self, further: bool, rows: &dyn Rows, row: Option<usize>) -> bool {
        let level = if further { (self.level + 1).min(LEVELS.len()) } else { self.level.saturating_sub(1) };
        let at = row.and_then(|row| time_of(rows, row, self.column)).or(self.window.map(|window| window.from));
        if level == self.level || (level > 0 && at.is_none()) {
            return false;
        }
        self.level = level;
        self.window = at.and_then(|at| self.around(at));
        true
    }

    pub fn reset(&mut self) -> bool {
        self.level = 0;
        self.window.take().is_some()
    }

    fn around(&self, at: i128) -> Option<Window> {
        let (_, length, _) = LEVELS.get(self.level.checked_sub(1)?)?;
        let from = at.div_euclid(*length) * length;
        Some(Window { column: self.column, from, to: from + length })
    }

    /// To the next or the previous stretch that has rows.
    pub fn slide(&mut self, forward: bool, rows: &dyn Rows) -> bool {
        let Some(window) = self.window else { return false };
        let first_from = |bound: i128| partition(rows.len(), |row| time_of(rows, row, self.column).is_none_or(|time| time < bound));
        let row = if forward { Some(first_from(window.to)) } else { first_from(window.from).checked_sub(1) };
        let at = row.filter(|row| *row < rows.len()).and_then(|row| time_of(rows, row, self.column));
        if let Some(at) = at {
            self.window = self.around(at);
        }
        at.is_some()
    }

    /// What is looked at: `2024-05-09 08h`.
    pub fn told(&self) -> Option<String> {
        let (name, _, characters) = LEVELS.get(self.level.checked_sub(1)?)?;
        let from = Time::from_nanoseconds(self.window?.from, 0)?.to_string().replace('T', " ");
        Some(format!("{name}: {}", from.get(..*characters).unwrap_or(&from)))
    }

    pub fn height(&self, area: Rect) -> u16 {
        if area.height >= HEIGHT + LEAST_ROWS && area.width > 20 { HEIGHT } else { 0 }
    }

    /// Draws how many of the rows that are shown lie where in time. `row_at` gives the row at a place of the view, in the order of times.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer, rows: &dyn Rows, view: &Order<'_>, look: &Look) {
        let time = |place: usize| (view.row_at)(place).and_then(|row| time_of(rows, row, self.column));
        // Rows without a time come before all others.
        let start = partition(view.shown, |place| time(place).is_none());
        let (Some(first), Some(last)) = (time(start), view.shown.checked_sub(1).and_then(time)) else { return };
        let (from, to) = self.window.map_or((first, last + 1), |window| (window.from, window.to));
        let width = usize::from(area.width.saturating_sub(2));
        if width == 0 || to <= from {
            return;
        }
        let edge = |column: usize| from + (to - from) * column as i128 / width as i128;
        let mut counts = Vec::with_capacity(width);
        let mut before = partition(view.shown, |place| time(place).is_none_or(|time| time < from));
        for column in 1..=width {
            let bound = edge(column);
            let behind = partition(view.shown, |place| time(place).is_none_or(|time| time < bound));
            counts.push(behind.saturating_sub(before));
            before = behind;
        }
        let at = time(view.cursor).map(|time| ((time - from) * width as i128 / (to - from)).clamp(0, width as i128 - 1) as usize);
        bars(buffer, Rect { x: area.x + 1, width: area.width - 2, height: 1, ..area }, &counts, at, look);
        let shown =
            |at: i128| Time::from_nanoseconds(at, 0).map_or_else(String::new, |time| time.to_string().replace('T', " ").replace('Z', ""));
        let (left, right) = (shown(from), shown(to - 1));
        let most = counts.iter().max().copied().unwrap_or(0);
        let line = format!("{left} {} {right}", look.symbols.leads);
        let line = format!("{line}{}most {}", look.symbols.dot, crate::tui::text::grouped(most));
        let line = look.fit(&line, usize::from(area.width - 2), Cut::End);
        put(buffer, area.x + 1, area.y + 1, &line, area.width - 2, look.style(Role::Dim));
    }
}

/// The places of a view, in the order of their times.
pub struct Order<'a> {
    pub shown: usize,
    pub cursor: usize,
    pub row_at: &'a dyn Fn(usize) -> Option<usize>,
}

fn time_of(rows: &dyn Rows, row: usize, column: usize) -> Option<i128> {
    match rows.cell(row, column) {
        Cell::Time(time) => Some(time.nanoseconds()),
        _ => None,
    }
}

/// How many of the first numbers below `count` a test holds for, which holds for none behind them.
fn partition(count: usize, test: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if test(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::facts::{Known, Moment, Record, Sink};
    use std::sync::Arc;

    fn rows(times: &[Option<i128>]) -> Arc<dyn Rows> {
        let mut sink = Sink::new(Arc::default());
        for time in times {
            sink.push(Moment { time: Known::from(time.and_then(|time| Time::from_nanoseconds(time, 9))), ..Moment::default() });
        }
        sink.finish()
    }

    #[test]
    fn zoom_goes_in_and_out_around_the_cursor_and_slides_over_gaps() {
        let hour = 3600 * SECOND;
        let rows = rows(&[None, Some(0), Some(hour), Some(hour + 5), Some(50 * hour), Some(50 * hour + 61 * SECOND)]);
        let mut zoom = Zoom::of(const { &Moment::TABLE }).unwrap();
        assert!(!zoom.step(false, rows.as_ref(), Some(2)) && zoom.told().is_none());
        assert!(zoom.step(true, rows.as_ref(), Some(2)));
        assert_eq!(zoom.told().as_deref(), Some("day: 1970-01-01"));
        assert!(zoom.step(true, rows.as_ref(), Some(2)));
        assert_eq!(zoom.told().as_deref(), Some("hour: 1970-01-01 01"));
        assert!(zoom.slide(true, rows.as_ref()));
        assert_eq!(zoom.told().as_deref(), Some("hour: 1970-01-03 02"));
        assert!(!zoom.slide(true, rows.as_ref()) && zoom.slide(false, rows.as_ref()));
        assert_eq!(zoom.told().as_deref(), Some("hour: 1970-01-01 01"));
        assert!(zoom.reset() && !zoom.reset());
        // A row without a time is no place to zoom in on.
        assert!(!zoom.step(true, rows.as_ref(), Some(0)));
    }
}
