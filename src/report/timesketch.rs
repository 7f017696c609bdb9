//! JSON Lines as Timesketch imports them: one object for each time of a row, with the keys that it asks for and all that is known.

use super::json;
use crate::facts::{Cell, Kind, Rows};
use std::borrow::Cow;
use std::io::{self, Write};

/// Columns that make up a message where there is no summary.
const TOLD: usize = 5;

/// What a row says, in a line.
pub(super) fn message(rows: &dyn Rows, row: usize, columns: &[usize]) -> String {
    let table = rows.table();
    if let Some(Cell::Text(text)) = table.column("summary").map(|column| rows.cell(row, column))
        && !text.is_empty()
    {
        return text.into_owned();
    }
    let cells = columns.iter().map(|column| (table.columns[*column].name, rows.cell(row, *column)));
    let told = cells.filter(|(_, cell)| matches!(cell, Cell::Text(_) | Cell::Number(_) | Cell::Bool(_)));
    let told: Vec<String> = told.take(TOLD).map(|(name, cell)| format!("{name}={cell}")).collect();
    format!("{}: {}", table.name, told.join(" "))
}

/// Writes a line for each time that a row has; a row without any is nothing on a timeline.
pub(super) fn lines(rows: &dyn Rows, columns: &[usize], out: &mut impl Write) -> io::Result<()> {
    let table = rows.table();
    let times: Vec<usize> = columns.iter().copied().filter(|column| table.columns[*column].kind == Kind::Time).collect();
    for row in 0..rows.len() {
        let cells: Vec<(&str, Cell<'_>)> = columns
            .iter()
            .map(|column| (table.columns[*column].name, rows.cell(row, *column)))
            .filter(|(_, cell)| !cell.is_null() && !matches!(cell, Cell::List(items) if items.is_empty()))
            .collect();
        let message = message(rows, row, columns);
        for time in &times {
            let name = table.columns[*time].name;
            let Cell::Time(moment) = rows.cell(row, *time) else { continue };
            let mut object: Vec<(&str, Cell<'_>)> = vec![
                ("message", Cell::Text(Cow::Borrowed(&message))),
                ("datetime", Cell::Text(moment.to_string().replace('Z', "+00:00").into())),
                ("timestamp", Cell::Number(moment.nanoseconds().div_euclid(1000))),
                ("timestamp_desc", Cell::Text(name.replace('_', " ").into())),
                ("data_type", Cell::Text(format!("kioku:{}", table.name).into())),
            ];
            for (name, cell) in &cells {
                match cell {
                    // Named fields become keys, so that rules and searches find them; those of the table come first.
                    Cell::Object(fields) => {
                        for (name, cell) in fields {
                            if !cells.iter().any(|(known, _)| known == name) && !object.iter().any(|(known, _)| known == name) {
                                object.push((name, cell.clone()));
                            }
                        }
                    }
                    cell => object.push((name, cell.clone())),
                }
            }
            json::write_value(&Cell::Object(object), out)?;
        }
    }
    Ok(())
}
