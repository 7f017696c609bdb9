//! The reference of all tables, from the tables themselves.

use super::{Format, csv, json, text};
use crate::engine::{Entry, RULES};
use crate::facts::{Cell, Finding, Record, Rule, Serves, ToCell};
use std::io::{self, BufWriter, Write};

pub fn write_tables(tables: &[&'static Entry], format: Format, to: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::new(to);
    match format {
        Format::Text => lines(tables, &mut out)?,
        Format::Json => json::write_value(&Cell::List(tables.iter().map(|entry| object(entry)).collect()), &mut out)?,
        Format::Jsonl | Format::Timesketch | Format::Bodyfile => {
            tables.iter().try_for_each(|entry| json::write_value(&object(entry), &mut out))?
        }
        Format::Csv => {
            csv::record(["table", "column", "type", "serves", "description"].map(|name| Cell::Text(name.into())), &mut out)?;
            for entry in tables {
                for column in entry.table.columns {
                    let serves = both(entry.serves(), column.serves).name();
                    let fields = [entry.table.name, column.name, column.kind.name(), serves, column.doc.trim()];
                    csv::record(fields.map(|field| Cell::Text(field.into())), &mut out)?;
                }
            }
        }
    }
    out.flush()
}

/// What a column of a table serves: no more than the table does.
fn both(table: Serves, column: Serves) -> Serves {
    if column == Serves::Both { table } else { column }
}

fn object(entry: &Entry) -> Cell<'static> {
    let word = |text: &'static str| Cell::Text(text.into());
    let columns = entry.table.columns.iter().map(|column| {
        let serves = both(entry.serves(), column.serves).name();
        let fields = [("name", column.name), ("type", column.kind.name()), ("serves", serves), ("description", column.doc.trim())];
        Cell::Object(fields.map(|(name, text)| (name, word(text))).into())
    });
    Cell::Object(vec![
        ("name", word(entry.table.name)),
        ("serves", word(entry.serves().name())),
        ("description", word(entry.table.doc.trim())),
        ("volatility", Cell::List(entry.aliases.iter().map(|alias| word(alias)).collect())),
        ("columns", Cell::List(columns.collect())),
        ("rules", Cell::List(rules(entry).iter().map(|rule| rule.cell()).collect())),
    ])
}

fn lines(tables: &[&'static Entry], out: &mut impl Write) -> io::Result<()> {
    for (index, entry) in tables.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        writeln!(out, "{gap}{} ({}): {}", entry.table.name, entry.serves().name(), entry.table.doc.trim())?;
        if !entry.aliases.is_empty() {
            writeln!(out, "  Volatility: {}", entry.aliases.join(", "))?;
        }
        let rows = entry.table.columns.iter().map(|column| {
            let serves = both(entry.serves(), column.serves).name();
            [column.name, column.kind.name(), serves, column.doc.trim()].map(str::to_owned).to_vec()
        });
        text::grid("  ", &rows.collect::<Vec<_>>(), out)?;
        let rules = rules(entry).iter().map(|rule| {
            let techniques = rule.techniques.join(", ");
            vec![rule.id.to_owned(), rule.points.to_string(), techniques, rule.meaning.to_owned(), format!("next: {}", rule.next)]
        });
        let rules: Vec<_> = rules.collect();
        if !rules.is_empty() {
            writeln!(
                out,
                "  Rules: name, points, techniques of MITRE ATT&CK, meaning, what to look at next. From 75 points on a region is"
            )?;
            writeln!(out, "  likely_injected, from 30 on suspicious, else likely_benign.")?;
            text::grid("    ", &rules, out)?;
        }
    }
    Ok(())
}

/// The rules by which a table's rows are judged.
fn rules(entry: &Entry) -> &'static [&'static Rule] {
    if entry.table.name == Finding::TABLE.name { RULES } else { &[] }
}
