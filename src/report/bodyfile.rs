//! Body files as mactime reads them (The Sleuth Kit 3 and later): `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`, times in
//! seconds since 1970, 0 for what is not known.
//!
//! The time of a file stands under its own letter and no other. What is no time of a file is an event, which has all four letters.

use super::timesketch::message;
use crate::facts::text::is_unprintable;
use crate::facts::{Cell, Kind, Rows};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// The places of the four times in a line, under the letters that they have.
const PLACES: [char; 4] = ['a', 'm', 'c', 'b'];

/// The letter of a time that a file's structures keep.
fn letter(column: &str) -> Option<char> {
    match column {
        "modify_time" | "last_write" => Some('m'),
        "access_time" => Some('a'),
        "change_time" => Some('c'),
        _ => None,
    }
}

/// Writes a line for the times of a row's file, and one for each other time that it has.
pub(super) fn lines(rows: &dyn Rows, columns: &[usize], out: &mut impl Write) -> io::Result<()> {
    let table = rows.table();
    let times: Vec<usize> = columns.iter().copied().filter(|column| table.columns[*column].kind == Kind::Time).collect();
    let path = table.column("path").or_else(|| table.column("file"));
    let letters = table.column("macb");
    for row in 0..rows.len() {
        let number = |name: &str| table.column(name).and_then(|column| rows.cell(row, column).number()).unwrap_or(0);
        let mode = table.column("mode").map_or(Cell::Absent, |column| rows.cell(row, column));
        let mode = if mode.is_null() { "0".into() } else { mode.to_string() };
        let mut line = |name: &str, places: [i128; 4]| {
            let [accessed, modified, changed, born] = places;
            let (inode, uid, gid, size) = (number("inode"), number("uid"), number("gid"), number("size"));
            let (name, mode) = (escaped(name), escaped(&mode));
            writeln!(out, "0|{name}|{inode}|{mode}|{uid}|{gid}|{size}|{accessed}|{modified}|{changed}|{born}")
        };
        let told = message(rows, row, columns);
        let mut of_file = [0; 4];
        for column in &times {
            let Cell::Time(time) = rows.cell(row, *column) else { continue };
            let seconds = time.nanoseconds().div_euclid(1_000_000_000);
            let name = table.columns[*column].name;
            let marked = match letters.map(|column| rows.cell(row, column)) {
                Some(Cell::Text(letters)) => Some(letters.into_owned()),
                _ => letter(name).map(String::from),
            };
            match marked {
                Some(letters) => {
                    let own = of_file.iter_mut().zip(PLACES).filter(|(_, place)| letters.contains(*place));
                    own.for_each(|(time, _)| *time = seconds);
                }
                None if times.len() > 1 => line(&format!("{told} ({})", name.replace('_', " ")), [seconds; 4])?,
                None => line(&told, [seconds; 4])?,
            }
        }
        if of_file != [0; 4] {
            let file = match path.map(|column| rows.cell(row, column)) {
                Some(Cell::Text(path)) => path.into_owned(),
                _ => told,
            };
            line(&file, of_file)?;
        }
    }
    Ok(())
}

/// What would end a field or a line, or reach a terminal raw, as `\x7c`: tools that split at every bar read such lines, too.
fn escaped(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c != '|' && !is_unprintable(c);
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if plain(c) => out.push(c),
            c => {
                // Writing to a String cannot fail.
                let _ = if (c as u32) < 0x100 { write!(out, "\\x{:02x}", c as u32) } else { write!(out, "\\u{{{:x}}}", c as u32) };
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Format, write_rows};
    use crate::facts::linux::CachedFile;
    use crate::facts::{Known, Moment, Process, Record, Sink, Time};
    use std::sync::Arc;

    fn body<T: Record + Clone>(row: T) -> String {
        let mut sink = Sink::new(Arc::default());
        sink.push(row);
        let mut out = Vec::new();
        write_rows(&*sink.finish(), None, Format::Bodyfile, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn at(seconds: i64) -> Known<Time> {
        Time::from_seconds(seconds).into()
    }

    #[test]
    fn each_time_stands_under_its_own_letter() {
        let file = CachedFile {
            path: Known::Value("/tmp/a|b\u{1b}.txt".to_owned()),
            inode: Known::Value(7),
            size: Known::Value(35),
            modify_time: at(100),
            change_time: at(200),
            ..CachedFile::default()
        };
        assert_eq!(body(file), "0|/tmp/a\\x7cb\\x1b.txt|7|0|0|0|35|0|100|200|0\n");
        let moment = |macb| Moment { time: at(300), macb, summary: "last accessed: /tmp/x".to_owned(), ..Moment::default() };
        assert_eq!(body(moment(Known::Value(".a.."))), "0|last accessed: /tmp/x|0|0|0|0|0|300|0|0|0\n");
        // An event is no time of a file.
        assert_eq!(body(moment(Known::Absent)), "0|last accessed: /tmp/x|0|0|0|0|0|300|300|300|300\n");
    }

    #[test]
    fn a_row_with_more_than_one_event_has_a_line_for_each() {
        let process = Process {
            pid: 5,
            name: "x".into(),
            create_time: at(1),
            exit_time: at(2),
            path: Known::Value("/x".into()),
            ..Process::default()
        };
        let told = body(process);
        let ends: Vec<&str> = told.lines().map(|line| line.split_once(" (").unwrap().1).collect();
        assert!(told.starts_with("0|processes: pid=5 name=x"));
        assert_eq!(ends, ["create time)|0|0|0|0|0|1|1|1|1", "exit time)|0|0|0|0|0|2|2|2|2"]);
    }
}
