//! A page of HTML that needs nothing but itself: no scripts, no links, no pictures. Text from the image is only ever text.

use super::case::Page;
use crate::facts::text::printable;
use std::io::{self, Write};

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}\
h1,h2,h3{line-height:1.25}h2{margin-top:2em;border-bottom:1px solid #8886}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em}\
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}div.table{overflow-x:auto}table{border-collapse:collapse;font-size:.9em}\
th,td{text-align:left;vertical-align:top;padding:.25em .6em;border-bottom:1px solid #8884;overflow-wrap:anywhere}\
dd,td{font-family:ui-monospace,monospace;font-size:.9em}@media print{body{max-width:none}}";

pub(super) struct Html<W: Write>(pub W);

impl<W: Write> Page for Html<W> {
    fn begin(&mut self, title: &str) -> io::Result<()> {
        let title = text(title);
        write!(
            self.0,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        )
    }
    fn heading(&mut self, level: u8, heading: &str) -> io::Result<()> {
        writeln!(self.0, "<h{level}>{}</h{level}>", text(heading))
    }
    fn text(&mut self, paragraph: &str) -> io::Result<()> {
        writeln!(self.0, "<p>{}</p>", text(paragraph))
    }
    fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()> {
        writeln!(self.0, "<dl>")?;
        fields.iter().try_for_each(|(name, value)| writeln!(self.0, "<dt>{}</dt><dd>{}</dd>", text(name), text(value)))?;
        writeln!(self.0, "</dl>")
    }
    fn head(&mut self, columns: &[&str]) -> io::Result<()> {
        let names: String = columns.iter().map(|name| format!("<th>{}</th>", text(name))).collect();
        writeln!(self.0, "<div class=\"table\"><table>\n<thead><tr>{names}</tr></thead>\n<tbody>")
    }
    fn row(&mut self, cells: &[String]) -> io::Result<()> {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", text(cell))).collect();
        writeln!(self.0, "<tr>{cells}</tr>")
    }
    fn foot(&mut self) -> io::Result<()> {
        writeln!(self.0, "</tbody></table></div>")
    }
    fn end(&mut self) -> io::Result<()> {
        writeln!(self.0, "</body>\n</html>")?;
        self.0.flush()
    }
}

fn text(raw: &str) -> String {
    let raw = printable(raw);
    let mut out = String::with_capacity(raw.len() + 8);
    for c in raw.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
