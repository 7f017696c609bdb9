//! A table of any length: only the rows in the window are ever built.

use super::put;
use crate::tui::text;
use crate::tui::theme::{Look, Role};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Where the window stands and which row the cursor is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListState {
    pub top: usize,
    pub cursor: usize,
    /// Rows in the window when it was last drawn: the length of a page.
    pub height: usize,
}

impl ListState {
    pub fn by(&mut self, rows: isize, len: usize) {
        self.to(self.cursor.saturating_add_signed(rows), len);
    }
    pub fn to(&mut self, row: usize, len: usize) {
        self.cursor = row.min(len.saturating_sub(1));
    }
    pub fn page(&self) -> isize {
        isize::try_from(self.height.saturating_sub(1).max(1)).unwrap_or(isize::MAX)
    }
    /// Moves the window where the cursor forces it, by half of its height at once: lines that stay where they are cost nothing.
    pub fn fit(&mut self, height: usize, len: usize) {
        self.height = height;
        self.cursor = self.cursor.min(len.saturating_sub(1));
        let (last, half) = (len.saturating_sub(height), height / 2);
        if self.cursor < self.top {
            self.top = self.cursor.saturating_sub(half);
        } else if height > 0 && self.cursor >= self.top + height {
            self.top = (self.cursor + 1 - height + half).min(self.cursor);
        }
        self.top = self.top.min(last);
    }
}

/// What a column would like.
#[derive(Clone, Debug)]
pub struct Want {
    /// Width of its widest text so far.
    pub natural: u16,
    /// The width from which it reads well: columns of less priority come in only when this one has it.
    pub comfort: u16,
    /// The least that is of any use.
    pub least: u16,
    /// Columns of lower priority give way first; those of [`KEEP`] never do, those of 0 are not shown at all.
    pub priority: u8,
}

pub const KEEP: u8 = 9;
/// From this priority on a column would rather be narrow than away.
const RATHER_NARROW: u8 = 8;
const GAP: u16 = 2;

/// Columns of the selected row that are marked: all of a wide one would be written twice with each move.
pub const BAR: u16 = 40;

/// Chooses the columns that fit and their widths: `(column, x, width)` from left to right.
pub fn place(wants: &[Want], room: u16) -> Vec<(usize, u16, u16)> {
    let mut by_priority: Vec<usize> = (0..wants.len()).collect();
    by_priority.sort_by_key(|index| std::cmp::Reverse(wants.get(*index).map_or(0, |want| want.priority)));
    let mut widths: Vec<Option<u16>> = vec![None; wants.len()];
    let mut used = 0u16;
    for &index in &by_priority {
        let (Some(want), Some(slot)) = (wants.get(index), widths.get_mut(index)) else { continue };
        if want.priority == 0 {
            break;
        }
        let gap = if used == 0 { 0 } else { GAP };
        let left = room.saturating_sub(used.saturating_add(gap));
        let (comfort, least) = (want.comfort.min(want.natural).max(1), want.least.min(want.natural).max(1));
        let width = match want.priority {
            _ if comfort <= left => comfort,
            KEEP.. => least.max(left.min(comfort)),
            RATHER_NARROW.. if least <= left => left,
            // What follows is less important still; a gap in the middle of the priorities would puzzle.
            _ => break,
        };
        *slot = Some(width);
        used = used.saturating_add(gap).saturating_add(width);
    }
    // What is left goes to the most important that are still cut, in equal parts among equals.
    let mut spare = room.saturating_sub(used);
    for priority in (1..=KEEP).rev() {
        loop {
            let before = spare;
            for (want, width) in wants.iter().zip(&mut widths) {
                if let Some(width) = width
                    && want.priority == priority
                    && *width < want.natural
                    && spare > 0
                {
                    *width += 1;
                    spare -= 1;
                }
            }
            if spare == before {
                break;
            }
        }
    }
    let mut x = 0u16;
    let mut placed = Vec::new();
    for (index, width) in widths.iter().enumerate() {
        let Some(width) = width else { continue };
        if x >= room {
            break;
        }
        placed.push((index, x, (*width).min(room - x)));
        x = x.saturating_add(*width).saturating_add(GAP);
    }
    placed
}

/// One cell, ready to be drawn: safe, and cut to its room.
pub struct Painted {
    pub text: String,
    pub role: Role,
}

/// Where the rows come from.
pub trait Grid {
    fn len(&self) -> usize;
    fn header(&self, column: usize) -> String;
    fn aligns_right(&self, column: usize) -> bool;
    fn cell(&self, row: usize, column: usize, room: usize) -> Painted;
    /// A sign in the margin before the row.
    fn margin(&self, row: usize) -> Option<Painted>;
}

pub struct VirtualTable<'a> {
    pub grid: &'a dyn Grid,
    pub columns: &'a [(usize, u16, u16)],
    pub look: &'a Look,
    pub focused: bool,
    /// Text that was searched for, in lower case.
    pub sought: &'a str,
}

impl VirtualTable<'_> {
    /// Draws header and window; the first column of the area is the margin.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer, state: &mut ListState) {
        if area.height == 0 || area.width < 2 {
            state.fit(0, self.grid.len());
            return;
        }
        let left = area.x + 1;
        let header = self.look.style(Role::Header);
        for &(column, x, width) in self.columns {
            let title = self.look.fit(&self.grid.header(column), usize::from(width), text::Cut::End);
            self.put(buffer, left + x, area.y, &title, width, header, self.grid.aligns_right(column));
        }
        state.fit(usize::from(area.height - 1), self.grid.len());
        for line in 0..(area.height - 1).min(u16::try_from(self.grid.len() - state.top).unwrap_or(u16::MAX)) {
            let (row, y) = (state.top + usize::from(line), area.y + 1 + line);
            if let Some(sign) = self.grid.margin(row) {
                put(buffer, area.x, y, &sign.text, 1, self.look.style(sign.role));
            }
            for &(column, x, width) in self.columns {
                let cell = self.grid.cell(row, column, usize::from(width));
                let style = self.look.style(cell.role);
                let start = self.put(buffer, left + x, y, &cell.text, width, style, self.grid.aligns_right(column));
                underline(buffer, start, y, &cell.text, self.sought, self.look.style(Role::Match));
            }
            if row == state.cursor {
                let role = if self.focused { Role::Selected } else { Role::Resting };
                let width = area.width.min(BAR);
                buffer.set_style(Rect { x: area.x, y, width, height: 1 }, self.look.style(role));
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn put(&self, buffer: &mut Buffer, x: u16, y: u16, text: &str, width: u16, style: Style, right: bool) -> u16 {
        let shift = if right { width.saturating_sub(u16::try_from(text::width(text)).unwrap_or(width)) } else { 0 };
        put(buffer, x + shift, y, text, width - shift, style);
        x + shift
    }
}

/// Marks where the sought text stands in a cell.
pub fn underline(buffer: &mut Buffer, x: u16, y: u16, text: &str, sought: &str, style: Style) {
    if sought.is_empty() {
        return;
    }
    let lower = text.to_ascii_lowercase();
    for (at, found) in lower.match_indices(sought) {
        let before = text::width(text.get(..at).unwrap_or_default());
        let width = text::width(found);
        if let (Ok(before), Ok(width)) = (u16::try_from(before), u16::try_from(width)) {
            let area = Rect { x: x.saturating_add(before), y, width, height: 1 };
            buffer.set_style(area.intersection(buffer.area), style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(natural: u16, comfort: u16, priority: u8) -> Want {
        Want { natural, comfort, least: comfort.min(8), priority }
    }

    #[test]
    fn columns_give_way_by_priority() {
        let wants = [want(7, 7, KEEP), want(16, 16, KEEP), want(60, 20, 8), want(12, 12, 3)];
        assert_eq!(place(&wants, 120), [(0, 0, 7), (1, 9, 16), (2, 27, 60), (3, 89, 12)]);
        assert_eq!(place(&wants, 70), [(0, 0, 7), (1, 9, 16), (2, 27, 29), (3, 58, 12)]);
        assert_eq!(place(&wants, 50), [(0, 0, 7), (1, 9, 16), (2, 27, 23)], "comfort before company");
        assert_eq!(place(&wants, 40), [(0, 0, 7), (1, 9, 16), (2, 27, 13)]);
        assert_eq!(place(&wants, 30), [(0, 0, 7), (1, 9, 16)]);
        assert_eq!(place(&wants, 10), [(0, 0, 7), (1, 9, 1)], "the name stays, cut");
        assert_eq!(place(&wants, 0), []);
    }

    #[test]
    fn the_window_follows_the_cursor() {
        let mut state = ListState::default();
        state.fit(10, 1_000_000);
        state.to(usize::MAX, 1_000_000);
        state.fit(10, 1_000_000);
        assert_eq!((state.top, state.cursor), (999_990, 999_999));
        state.by(-5, 1_000_000);
        state.fit(10, 1_000_000);
        assert_eq!(state.top, 999_990, "the window stays while the cursor is in it");
        state.fit(10, 3);
        assert_eq!((state.top, state.cursor), (0, 2));
        state.fit(0, 0);
        assert_eq!((state.top, state.cursor), (0, 0));
    }
}
