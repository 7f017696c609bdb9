//! What a note is about: an object of the image, under a name that is the same when the image is opened again.

use crate::facts::{Cell, Rows};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// A row of a table, or a place in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    pub table: String,
    /// `name=value` of what tells the object from all others of its table, with semicolons between them.
    pub key: String,
}

/// Places in memory are objects of a table of their own.
pub const BYTES: &str = "bytes";
/// Processes are the same objects in the tree and in the list.
pub const PROCESSES: &str = "processes";

/// Columns that tell rows apart. What an object holds at the moment, and what is concluded about it, is not among them: other
/// symbols and other versions of the program tell more of the same object.
const NAMING: &[&str] = &[
    "address",
    "physical_address",
    "start",
    "base",
    "pid",
    "tid",
    "create_time",
    "handle",
    "object",
    "fd",
    "index",
    "number",
    "sequence",
    "record_id",
    "time",
    "id",
    "list",
    "function",
    "table",
    "reference",
    "path",
    "name",
    "sid",
    "session",
    "hive",
    "process_address",
    "driver_address",
    "protocol",
    "local_address",
    "local_port",
    "remote_address",
    "remote_port",
    "source",
    "mac",
];
const OF_PROCESS: &[&str] = &["address", "pid", "create_time"];

/// A value that a name can hold: no semicolons, and of a bounded length.
fn value(cell: &Cell<'_>) -> Option<String> {
    const LONGEST: usize = 300;
    if cell.is_null() || matches!(cell, Cell::Hex(0)) {
        return None;
    }
    let text = cell.to_string().replace([';', '\n'], ",");
    Some(match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    })
}

fn leads_nowhere(reference: &Cell<'_>) -> bool {
    matches!(reference, Cell::Object(fields) if fields.iter().any(|(_, value)| matches!(value, Cell::Hex(0))))
}

fn named(table: &str) -> (&str, &'static [&'static str]) {
    match table {
        "pstree" | PROCESSES => (PROCESSES, OF_PROCESS),
        table => (table, NAMING),
    }
}

impl Object {
    /// The object behind a row.
    pub fn of_row(rows: &dyn Rows, row: usize) -> Self {
        let (table, naming) = named(rows.table().name);
        let mut key = String::new();
        let cells = || rows.table().columns.iter().enumerate().map(|(index, column)| (index, column.name));
        // What leads to no address is known by nothing but its words.
        let nowhere = cells().any(|(index, name)| name == "reference" && leads_nowhere(&rows.cell(row, index)));
        for (index, name) in cells().filter(|(_, name)| naming.contains(name) || nowhere && *name == "subject") {
            if let Some(value) = value(&rows.cell(row, index)) {
                let comma = if key.is_empty() { "" } else { ";" };
                // Writing to a String cannot fail.
                _ = write!(key, "{comma}{name}={value}");
            }
        }
        Self { table: table.to_owned(), key }
    }

    /// The row of the object. What names it first is compared first, so that a million rows are gone through at once.
    pub fn row_in(&self, rows: &dyn Rows) -> Option<usize> {
        let (name, text) = self.parts().next()?;
        let column = rows.table().column(name)?;
        let number = number(text);
        let might = |row: &usize| match (rows.cell(*row, column), number) {
            (Cell::Hex(at), Some(number)) => at == number,
            (Cell::Number(count), Some(number)) => count == i128::from(number),
            (cell, _) => value(&cell).as_deref() == Some(text),
        };
        (0..rows.len()).filter(might).find(|row| Self::of_row(rows, *row) == *self)
    }

    fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.key.split(';').filter_map(|part| part.split_once('='))
    }
    pub fn part(&self, name: &str) -> Option<&str> {
        self.parts().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
    pub fn number(&self, name: &str) -> Option<u64> {
        self.part(name).and_then(number)
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::VirtAddr;
    use crate::facts::{Known, Sink, Time, TreeProcess, Variable};

    #[test]
    fn processes_of_one_pid_are_two_and_found_again() {
        let process = |address: u64, second| TreeProcess {
            pid: 700,
            address: Known::Value(VirtAddr(address)),
            create_time: Time::from_seconds(second).into(),
            ..TreeProcess::default()
        };
        let mut sink = Sink::new(std::sync::Arc::default());
        sink.extend([process(0x1000, 1), process(0x2000, 2), process(0x2000, 3)]);
        let rows = sink.finish();
        let object = Object::of_row(rows.as_ref(), 2);
        assert_eq!((object.table.as_str(), object.key.as_str()), ("processes", "pid=700;address=0x2000;create_time=1970-01-01T00:00:03Z"));
        assert_eq!(object.row_in(rows.as_ref()), Some(2));
        assert_eq!((object.number("pid"), object.number("address")), (Some(700), Some(0x2000)));
    }

    #[test]
    fn a_name_of_the_image_makes_no_second_part() {
        let mut sink = Sink::new(std::sync::Arc::default());
        sink.extend([Variable { pid: 1, name: "A;process_address=0x1\n".into(), value: "x".into(), ..Variable::default() }]);
        let rows = sink.finish();
        let object = Object::of_row(rows.as_ref(), 0);
        assert_eq!(object.part("process_address"), None);
        assert_eq!(object.part("name"), Some("A,process_address=0x1,"));
    }
}
