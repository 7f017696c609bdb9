//! The same answers as JSON, JSON Lines, CSV, Markdown and text.
//!
//! Writers read cells, never records, and know no table by name: a new table is written without a line changed here. They stream:
//! nothing grows with the number of rows.

mod csv;
mod hex;
mod info;
mod json;
mod markdown;
mod summary;
mod tables;
mod text;

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
}

const BUFFER: usize = 64 << 10;

/// Writes an answer, with those columns that serve `os`; all of them where the rows belong to no system.
pub fn write_rows(rows: &dyn Rows, os: Option<Origin>, format: Format, to: &mut dyn Write) -> io::Result<()> {
    let columns = columns(rows.table(), os);
    let mut out = BufWriter::with_capacity(BUFFER, to);
    match format {
        Format::Text => text::rows(rows, &columns, &mut out)?,
        Format::Json => json::array(rows, &columns, &mut out)?,
        Format::Jsonl => json::lines(rows, &columns, &mut out)?,
        Format::Csv => csv::rows(rows, &columns, &mut out)?,
    }
    out.flush()
}

fn columns(table: &Table, os: Option<Origin>) -> Vec<usize> {
    let serves = |index: &usize| os.is_none_or(|os| table.columns[*index].serves.includes(os));
    (0..table.columns.len()).filter(serves).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
