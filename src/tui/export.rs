//! Rows into a new file, by writers that whoever starts the explorer hands over.

use crate::case::Contents;
use crate::engine::{Error, Session};
use crate::facts::{Cell, Origin, Rows, State, Table, Watch};
use std::any::Any;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A form that rows can be written in.
#[derive(Debug)]
pub struct Writer {
    /// Its name, and the ending of its files.
    pub name: &'static str,
    pub help: &'static str,
    pub write: fn(&dyn Rows, Origin, &mut dyn Write) -> io::Result<()>,
}

/// Writes a report into a folder; answers what to say.
pub type Reporter = fn(&Session, &Contents, &Path, &Arc<Watch>) -> Result<String, Error>;

/// A report that is to be written.
pub struct Report {
    pub contents: Contents,
    pub folder: PathBuf,
    pub write: Reporter,
}

/// Rows in the order in which they are shown.
pub struct Chosen {
    pub rows: Arc<dyn Rows>,
    pub order: Vec<u32>,
}

impl Rows for Chosen {
    fn table(&self) -> &'static Table {
        self.rows.table()
    }
    fn len(&self) -> usize {
        self.order.len()
    }
    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        self.order.get(row).map_or(Cell::Absent, |row| self.rows.cell(*row as usize, column))
    }
    fn notes(&self) -> &[String] {
        self.rows.notes()
    }
    fn state(&self) -> State {
        self.rows.state()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Rows, and those of them that are shown, where that is not all of them in their own order.
pub type Selection = (Arc<dyn Rows>, Option<Vec<u32>>);

/// What is to be written, and where.
pub struct Export {
    pub rows: Arc<dyn Rows>,
    pub os: Origin,
    pub writer: &'static Writer,
    pub path: PathBuf,
}

impl Export {
    /// Writes it; answers what to say. The file must be new: no slip of the hand writes over evidence.
    pub fn run(&self, watch: &Watch) -> Result<String, String> {
        let path = self.path.display();
        let file = File::create_new(&self.path).map_err(|why| match why.kind() {
            io::ErrorKind::AlreadyExists => format!("{path}: exists already and is not written over; name another place"),
            _ => format!("{path}: {why}"),
        })?;
        let mut out = Watched { file, watch, written: 0 };
        match (self.writer.write)(self.rows.as_ref(), self.os, &mut out) {
            Ok(()) => {
                let count = crate::tui::text::counted(self.rows.len(), "row", "rows");
                let partial = if self.rows.state() == State::Complete { "" } else { ", which are not all there are" };
                Ok(format!("{count} written to {path}{partial}"))
            }
            Err(_) if watch.cancelled() => Err(format!("cancelled; {path} is incomplete")),
            Err(why) => Err(format!("{path}: {why}; the file is incomplete")),
        }
    }
}

/// A file that tells how much of it is written, and can be told to stop.
struct Watched<'a> {
    file: File,
    watch: &'a Watch,
    written: u64,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.watch.cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        self.watch.progress(self.written, 0);
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A text as a piece of a file's name that no shell and no system takes for anything else.
pub fn plain(text: &str) -> String {
    let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("-");
    let name = name.trim_start_matches(['-', '.']);
    if name.is_empty() { "image".to_owned() } else { name.to_owned() }
}

/// A name for a new file where the program was started; in the home folder where that is where evidence lies.
pub fn beside_no_evidence(name: &str, evidence: &[PathBuf]) -> String {
    let here = std::env::current_dir().and_then(std::fs::canonicalize);
    if here.is_ok_and(|here| evidence.contains(&here)) { format!("~/{name}") } else { name.to_owned() }
}

/// A path as it was typed, `~` being the home folder.
pub fn path(typed: &str) -> PathBuf {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    match (typed.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(typed),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_files_are_plain() {
        for (name, plain) in [
            ("demo (Windows 10.0.19041)", "demo-Windows-10.0.19041"),
            ("larch", "larch"),
            ("-rf /", "rf"),
            ("../..", "image"),
            ("a\u{1b}[2J;b", "a-2J-b"),
        ] {
            assert_eq!(super::plain(name), plain);
        }
    }
}
