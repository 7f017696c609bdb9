//! Aligned columns for people.

use crate::facts::text::printable;
use crate::facts::{Cell, Rows};
use std::borrow::Cow;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// No column is padded beyond this; a longer cell is written whole and pushes its row to the right, since evidence is never cut.
const WIDEST: usize = 48;

/// Columns are as wide as their widest cell, so the rows are gone through twice; that keeps memory flat.
pub(super) fn rows(rows: &dyn Rows, columns: &[usize], headed: bool, out: &mut impl Write) -> io::Result<()> {
    let headers: Vec<String> = columns.iter().map(|column| rows.table().columns[*column].name.to_uppercase()).collect();
    let mut widths: Vec<usize> = headers.iter().map(String::len).collect();
    for row in 0..rows.len() {
        for (width, column) in widths.iter_mut().zip(columns) {
            *width = (*width).max(cells_wide(&shown(&rows.cell(row, *column))));
        }
    }
    let right = |column: &usize| rows.table().columns[*column].kind.aligns_right();
    let sides: Vec<(usize, bool)> = widths.iter().map(|width| (*width).min(WIDEST)).zip(columns.iter().map(right)).collect();
    let mut line = Line::default();
    if headed {
        for (header, side) in headers.iter().zip(&sides) {
            line.cell(header, *side);
        }
        line.end(out)?;
    }
    for row in 0..rows.len() {
        for (column, side) in columns.iter().zip(&sides) {
            line.cell(&shown(&rows.cell(row, *column)), *side);
        }
        line.end(out)?;
    }
    Ok(())
}

/// Writes lines of ready texts as columns, each line after `indent`. Empty cells stay blank; a line of one cell is plain text.
pub(super) fn grid(indent: &str, grid: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |column: usize| {
        grid.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(column)).map(|text| cells_wide(&printable(text))).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or(0).min(WIDEST)).collect();
    let mut line = Line::default();
    for row in grid {
        out.write_all(indent.as_bytes())?;
        for (text, width) in row.iter().zip(&widths) {
            line.cell(&printable(text), (*width, false));
        }
        line.end(out)?;
    }
    Ok(())
}

/// A line in the making. Blanks are written only once something follows them: no line ends in blanks.
#[derive(Default)]
struct Line {
    text: String,
    blanks: usize,
    begun: bool,
}

impl Line {
    /// Adds a cell of the given width, aligned right or not.
    fn cell(&mut self, text: &str, (width, right): (usize, bool)) {
        let padding = width.saturating_sub(cells_wide(text));
        if self.begun {
            self.blanks += 2;
        }
        self.begun = true;
        if right {
            self.blanks += padding;
        }
        if !text.is_empty() {
            self.text.extend(std::iter::repeat_n(' ', self.blanks));
            self.blanks = 0;
            self.text.push_str(text);
        }
        if !right {
            self.blanks += padding;
        }
    }
    fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.text.push('\n');
        out.write_all(self.text.as_bytes())?;
        self.text.clear();
        (self.blanks, self.begun) = (0, false);
        Ok(())
    }
}

/// A cell as people read it: absent, unreadable and zero are three things.
pub(super) fn shown<'a>(cell: &'a Cell<'a>) -> Cow<'a, str> {
    match cell {
        Cell::Absent => Cow::Borrowed("-"),
        Cell::Unreadable(_) => Cow::Borrowed("??"),
        Cell::Text(text) => printable(text),
        Cell::List(_) | Cell::Object(_) => match printable(&cell.to_string()) {
            Cow::Borrowed(same) => Cow::Owned(same.to_owned()),
            Cow::Owned(escaped) => Cow::Owned(escaped),
        },
        _ => Cow::Owned(cell.to_string()),
    }
}

/// Terminal cells that a printable text takes.
fn cells_wide(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}
