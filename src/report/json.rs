//! JSON that is whole and harmless: every character of the image's text is in it, but those that a terminal would obey are escaped.

use crate::facts::text::{first_unprintable, is_unprintable};
use crate::facts::{Cell, Rows};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// serde_json's compact form, with `\u` escapes for what must not reach a terminal raw. JSON itself only asks that for C0.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, mut fragment: &str) -> io::Result<()> {
        while let Some(at) = first_unprintable(fragment) {
            let (clean, rest) = fragment.split_at(at);
            out.write_all(clean.as_bytes())?;
            let mut rest = rest.chars();
            let mut units = [0; 2];
            for unit in rest.next().filter(|c| is_unprintable(*c)).map_or(&[] as &[u16], |c| c.encode_utf16(&mut units)) {
                write!(out, "\\u{unit:04x}")?;
            }
            fragment = rest.as_str();
        }
        out.write_all(fragment.as_bytes())
    }
}

fn write(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Harmless))?)
}

/// One value and a line end.
pub fn write_value(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    write(value, &mut text)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// Elements of an array, whose end the caller writes; each row on a line of its own, so that line tools can still tell rows apart.
pub(super) fn array(rows: &dyn Rows, columns: &[usize], first: bool, out: &mut impl Write) -> io::Result<()> {
    let keys = keys(rows, columns);
    for row in 0..rows.len() {
        out.write_all(if first && row == 0 { b"[\n" } else { b",\n" })?;
        object(rows, row, columns, &keys, out)?;
    }
    Ok(())
}

/// One object a line.
pub(super) fn lines(rows: &dyn Rows, columns: &[usize], out: &mut impl Write) -> io::Result<()> {
    let keys = keys(rows, columns);
    for row in 0..rows.len() {
        object(rows, row, columns, &keys, out)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// What stands before each value. Column names are identifiers and need no escapes.
fn keys(rows: &dyn Rows, columns: &[usize]) -> Vec<String> {
    let names = columns.iter().map(|column| rows.table().columns[*column].name);
    names.enumerate().map(|(index, name)| format!("{}\"{name}\":", if index == 0 { '{' } else { ',' })).collect()
}

fn object(rows: &dyn Rows, row: usize, columns: &[usize], keys: &[String], out: &mut impl Write) -> io::Result<()> {
    for (key, column) in keys.iter().zip(columns) {
        out.write_all(key.as_bytes())?;
        match rows.cell(row, *column) {
            Cell::Absent | Cell::Unreadable(_) => out.write_all(b"null")?,
            Cell::Hex(value) => write!(out, "\"{value:#x}\"")?,
            cell => write(&cell, out)?,
        }
    }
    out.write_all(b"}")
}
