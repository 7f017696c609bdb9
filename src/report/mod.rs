//! The same answers as JSON, JSON Lines, CSV, Markdown and text.
//!
//! Writers read cells, never records, and know no table by name: a new table is written without a line changed here. They stream:
//! nothing grows with the number of rows.

mod bodyfile;
mod case;
mod csv;
mod hex;
mod html;
mod info;
mod json;
mod markdown;
mod summary;
mod tables;
mod text;
mod timesketch;

pub use case::write_report;
pub use hex::HexDump;
pub use info::write_info;
pub use markdown::write_markdown;
pub use summary::write_summary;
pub use tables::write_tables;

use crate::facts::{Origin, Rows, Table};
use std::io::{self, BufWriter, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Jsonl,
    Csv,
    /// JSON Lines for Timesketch: one object for each time that a row has.
    Timesketch,
    /// Body file for mactime: a line for the times of a row's file, and for each other time.
    Bodyfile,
}

const BUFFER: usize = 64 << 10;

/// Writes an answer, with those columns that serve `os`; all of them where the rows belong to no system.
pub fn write_rows(rows: &dyn Rows, os: Option<Origin>, format: Format, to: &mut dyn Write) -> io::Result<()> {
    let mut stream = Stream::new(rows.table(), os, format, to);
    stream.rows(rows)?;
    stream.finish()
}

/// Rows that come in pieces, written as they come.
pub struct Stream<'a> {
    out: BufWriter<&'a mut dyn Write>,
    columns: Vec<usize>,
    format: Format,
    begun: bool,
}

impl<'a> Stream<'a> {
    pub fn new(table: &'static Table, os: Option<Origin>, format: Format, to: &'a mut dyn Write) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER, to), columns: columns(table, os), format, begun: false }
    }

    /// Writes a piece. Columns of text are as wide as the widest cell of their piece.
    pub fn rows(&mut self, rows: &dyn Rows) -> io::Result<()> {
        if rows.is_empty() && self.format != Format::Csv && self.format != Format::Text {
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let (columns, out) = (&self.columns, &mut self.out);
        match self.format {
            Format::Text => text::rows(rows, columns, first, out),
            Format::Json => json::array(rows, columns, first, out),
            Format::Jsonl => json::lines(rows, columns, out),
            Format::Csv => csv::rows(rows, columns, first, out),
            Format::Timesketch => timesketch::lines(rows, columns, out),
            Format::Bodyfile => bodyfile::lines(rows, columns, out),
        }
    }

    pub fn finish(mut self) -> io::Result<()> {
        if self.format == Format::Json {
            self.out.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })?;
        }
        self.out.flush()
    }
}

fn columns(table: &Table, os: Option<Origin>) -> Vec<usize> {
    let serves = |index: &usize| os.is_none_or(|os| table.columns[*index].serves.includes(os));
    (0..table.columns.len()).filter(serves).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
