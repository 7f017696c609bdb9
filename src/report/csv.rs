//! CSV after RFC 4180, for spreadsheets: text that one of them would take for a formula begins with an apostrophe.

use crate::facts::text::printable;
use crate::facts::{Cell, Rows};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

pub(super) fn rows(rows: &dyn Rows, columns: &[usize], headed: bool, out: &mut impl Write) -> io::Result<()> {
    if headed {
        let names: Vec<_> = columns.iter().map(|column| rows.table().columns[*column].name).collect();
        out.write_all(names.join(",").as_bytes())?;
        out.write_all(b"\r\n")?;
    }
    for row in 0..rows.len() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            field(&rows.cell(row, *column), out)?;
        }
        out.write_all(b"\r\n")?;
    }
    Ok(())
}

/// Writes a line of cells that stand for one record.
pub(super) fn record<'a>(cells: impl IntoIterator<Item = Cell<'a>>, out: &mut impl Write) -> io::Result<()> {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        field(&cell, out)?;
    }
    out.write_all(b"\r\n")
}

fn field(cell: &Cell<'_>, out: &mut impl Write) -> io::Result<()> {
    let text: Cow<'_, str> = match cell {
        // These are written by us and hold nothing that needs a quote; a negative number stays a number.
        Cell::Absent | Cell::Unreadable(_) | Cell::Bool(_) | Cell::Number(_) | Cell::Hex(_) | Cell::Time(_) | Cell::Bytes(_) => {
            return write!(out, "{cell}");
        }
        Cell::Text(text) => Cow::Borrowed(text),
        Cell::List(_) | Cell::Object(_) => {
            let mut text = String::new();
            // Writing to a String cannot fail.
            _ = write!(text, "{cell}");
            Cow::Owned(text)
        }
    };
    let formula = text.starts_with(is_formula);
    let text = printable(&text);
    if !formula && !text.contains(['"', ',']) {
        return out.write_all(text.as_bytes());
    }
    out.write_all(if formula { b"\"'" } else { b"\"" })?;
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            out.write_all(b"\"\"")?;
        }
        out.write_all(part.as_bytes())?;
    }
    out.write_all(b"\"")
}

/// What makes a spreadsheet compute. The full-width forms count where East Asian input is usual.
fn is_formula(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '＝' | '＋' | '－' | '＠')
}
