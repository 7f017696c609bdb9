//! A table of Markdown, as tickets and wikis take it. Text from the image stays text: it makes no column, link, markup or HTML.

use super::case::Page;
use super::columns;
use super::text::shown;
use crate::facts::{Origin, Rows};
use std::io::{self, BufWriter, Write};

pub fn write_markdown(rows: &dyn Rows, os: Option<Origin>, to: &mut dyn Write) -> io::Result<()> {
    let columns = columns(rows.table(), os);
    let mut out = BufWriter::with_capacity(super::BUFFER, to);
    let names: Vec<_> = columns.iter().map(|column| rows.table().columns[*column].name).collect();
    writeln!(out, "| {} |", names.join(" | "))?;
    let sides = columns.iter().map(|column| if rows.table().columns[*column].kind.aligns_right() { "---:" } else { "---" });
    writeln!(out, "| {} |", sides.collect::<Vec<_>>().join(" | "))?;
    for row in 0..rows.len() {
        out.write_all(b"|")?;
        for column in &columns {
            write!(out, " {} |", escaped(&shown(&rows.cell(row, *column))))?;
        }
        out.write_all(b"\n")?;
    }
    for note in rows.notes() {
        writeln!(out, "\nNote: {}", escaped(&crate::facts::text::printable(note)))?;
    }
    out.flush()
}

/// A page of headings, fields and tables.
pub(super) struct Markdown<W: Write>(pub W);

impl<W: Write> Page for Markdown<W> {
    fn begin(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.0, "# {}\n", inline(title))
    }
    fn heading(&mut self, level: u8, text: &str) -> io::Result<()> {
        writeln!(self.0, "{} {}\n", "#".repeat(level.into()), inline(text))
    }
    fn text(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.0, "{}\n", inline(text))
    }
    fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()> {
        fields.iter().try_for_each(|(name, value)| writeln!(self.0, "- **{}**: {}", inline(name), inline(value)))?;
        writeln!(self.0)
    }
    fn head(&mut self, columns: &[&str]) -> io::Result<()> {
        let names: Vec<String> = columns.iter().map(|name| inline(name)).collect();
        writeln!(self.0, "| {} |\n|{}", names.join(" | "), " --- |".repeat(columns.len()))
    }
    fn row(&mut self, cells: &[String]) -> io::Result<()> {
        let cells: Vec<String> = cells.iter().map(|cell| inline(cell)).collect();
        writeln!(self.0, "| {} |", cells.join(" | "))
    }
    fn foot(&mut self) -> io::Result<()> {
        writeln!(self.0)
    }
    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn inline(text: &str) -> String {
    escaped(&crate::facts::text::printable(text))
}

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // What makes columns, code, emphasis, links and headings, or a link of an address that stands alone.
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '!' => out.extend(['\\', c]),
            '@' => out.push_str("&#64;"),
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("&#46;"),
            ':' if out.ends_with("http") || out.ends_with("https") || out.ends_with("ftp") => out.push_str("&#58;"),
            c => out.push(c),
        }
    }
    out
}
