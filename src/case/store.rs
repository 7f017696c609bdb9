//! The file of a case: SQLite, each note a transaction that is on the disk before it is said to be saved.
//!
//! A rollback journal, not a write-ahead log: one file to copy, and it works in folders on a network. A file that another program
//! made, a damaged one and one of a later version are refused with a word, never repaired and never written over.

use super::{Action, Judgement, Note, Notes, Step};
use crate::facts::{Identity, Info, Known, Time};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// "kiok", where SQLite lets a program sign its files.
const APPLICATION: i32 = 0x6b69_6f6b;
/// Of the tables below; a change of them is a new version.
const VERSION: i32 = 1;
const SCHEMA: [&str; 4] = [
    "CREATE TABLE images (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, files TEXT NOT NULL, format TEXT NOT NULL, size INTEGER NOT NULL, kernel TEXT NOT NULL, host TEXT, booted TEXT, captured TEXT, view TEXT, viewed TEXT) STRICT",
    "CREATE TABLE notes (image INTEGER NOT NULL REFERENCES images, object_table TEXT NOT NULL, object_key TEXT NOT NULL, object TEXT NOT NULL, judgement TEXT NOT NULL, marked INTEGER NOT NULL, tags TEXT NOT NULL, comment TEXT NOT NULL, created TEXT NOT NULL, changed TEXT NOT NULL, PRIMARY KEY (image, object_table, object_key)) STRICT",
    "CREATE TABLE trail (id INTEGER PRIMARY KEY, image INTEGER NOT NULL REFERENCES images, time TEXT NOT NULL, action TEXT NOT NULL, what TEXT NOT NULL) STRICT",
    "CREATE INDEX trail_of_image ON trail (image, id)",
];
/// What is read of a file that may come from anybody.
const MOST_NOTES: i64 = 100_000;
const MOST_STEPS: i64 = 20_000;
const LONGEST: i64 = 100_000;
/// How long another explorer's write is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a case holds of an image.
#[derive(Clone, Debug, Default)]
pub struct Casebook {
    pub notes: Notes,
    /// What was done, the latest of it where there is very much.
    pub trail: Vec<Step>,
    /// Where the explorer was when it was left, in its own words, and when that was.
    pub view: Option<(String, String)>,
}

pub struct Store {
    connection: Connection,
    path: PathBuf,
    read_only: bool,
    /// Held as long as the file is open: whoever comes later is told.
    lock: Option<(File, PathBuf)>,
    image: Option<i64>,
}

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    Empty,
    Case,
}

/// Looks at the head of a file without SQLite, which may write to what it opens.
fn look(path: &Path) -> Result<There, String> {
    let shown = path.display();
    let not_ours = |why: &str| Err(format!("{shown}: {why}; it is left as it is, name another file with --case"));
    let mut head = Vec::new();
    match std::fs::metadata(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(There::Nothing),
        Err(why) => return Err(format!("{shown}: {why}")),
        Ok(found) if !found.is_file() => return not_ours("not a file"),
        Ok(_) => (),
    }
    File::open(path).and_then(|file| file.take(100).read_to_end(&mut head)).map_err(|why| format!("{shown}: {why}"))?;
    let number = |at: usize| head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    match (head.starts_with(b"SQLite format 3\0"), number(68), number(60)) {
        _ if head.is_empty() => Ok(There::Empty),
        (true, Some(APPLICATION), Some(VERSION)) => Ok(There::Case),
        (true, Some(APPLICATION), Some(version)) if version > VERSION => {
            not_ours(&format!("a case of a later version of kioku (form {version}; this one reads {VERSION})"))
        }
        (true, Some(APPLICATION), Some(version)) => not_ours(&format!("a case of a form that never was ({version})")),
        (true, ..) => not_ours("a database of another program, not a case of kioku"),
        _ => not_ours("not a case of kioku"),
    }
}

impl Store {
    /// Opens the case at a path; None where there is none yet.
    pub fn open(path: &Path) -> Result<Option<Self>, String> {
        match look(path)? {
            There::Case => Self::connect(path).map(Some),
            There::Nothing | There::Empty => Ok(None),
        }
    }

    /// Says what is wrong with a place that the analyst has named, before anything else is done.
    pub fn check(path: &Path) -> Result<(), String> {
        if look(path)? == There::Nothing {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() {
                return Err(format!("{}: there is no folder {}", path.display(), folder.display()));
            }
        }
        Ok(())
    }

    /// Opens the case at a path, or begins one there. Missing folders are made where `folders` says so.
    pub fn create(path: &Path, folders: bool) -> Result<Self, String> {
        if look(path)? != There::Case {
            let failed = |why| format!("{}: {why}", path.display());
            if let Some(folder) = path.parent().filter(|_| folders) {
                private_folders(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
            }
            // Notes are the analyst's own: nobody else on the machine reads them.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(path).map_err(failed)?;
        }
        Self::connect(path)
    }

    fn connect(path: &Path) -> Result<Self, String> {
        let shown = path.display().to_string();
        let failed = |why: rusqlite::Error| format!("{shown}: {}", words(&why));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        // A link is followed here and not by SQLite: the journal belongs beside the file itself.
        let real = std::fs::canonicalize(path).map_err(|why| format!("{shown}: {why}"))?;
        let mut connection = Connection::open_with_flags(&real, flags).map_err(failed)?;
        let begin = |connection: &mut Connection| -> Result<bool, rusqlite::Error> {
            connection.busy_timeout(PATIENCE)?;
            for (name, value) in [("trusted_schema", "OFF"), ("cell_size_check", "ON"), ("foreign_keys", "ON"), ("synchronous", "EXTRA")] {
                connection.pragma_update(None, name, value)?;
            }
            let read_only = connection.is_readonly(rusqlite::MAIN_DB)?;
            let count: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if count == 0 && !read_only {
                // Of two that begin it at once the second finds it begun.
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                if transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0 {
                    transaction.pragma_update(None, "application_id", APPLICATION)?;
                    transaction.pragma_update(None, "user_version", VERSION)?;
                    SCHEMA.iter().try_for_each(|sql| transaction.execute_batch(sql))?;
                }
                transaction.commit()?;
            }
            Ok(read_only)
        };
        let read_only = begin(&mut connection).map_err(failed)?;
        let mut store = Self { connection, path: path.to_owned(), read_only, lock: None, image: None };
        store
            .verify()
            .map_err(failed)?
            .map_or(Ok(()), |why| Err(format!("{shown}: {why}; it is left as it is, name another file with --case")))?;
        Ok(store)
    }

    /// What is wrong with the file, if anything.
    fn verify(&mut self) -> Result<Option<String>, rusqlite::Error> {
        let check: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Ok(Some(format!("damaged: {check}")));
        }
        // Nothing but these tables: a trigger or a view of somebody else would run here.
        let mut statement = self
            .connection
            .prepare("SELECT coalesce(sql, '') FROM sqlite_schema WHERE NOT (type = 'index' AND name LIKE 'sqlite_autoindex%')")?;
        let mut found = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        let mut expected = SCHEMA.map(str::to_owned).to_vec();
        found.sort();
        expected.sort();
        Ok((found != expected).then(|| "its tables are not those of a case".to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether nobody else has the case open; whoever has keeps it so until the program ends, however it ends.
    pub fn claim(&mut self) -> bool {
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        let path = PathBuf::from(name);
        let Ok(file) = OpenOptions::new().write(true).create(true).truncate(false).open(&path) else { return true };
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some((file, path));
                true
            }
            Err(TryLockError::WouldBlock) => false,
            // Where files cannot be locked nobody can be told.
            Err(TryLockError::Error(_)) => true,
        }
    }

    fn fail(&self, why: &rusqlite::Error) -> String {
        format!("{}: {}", self.path.display(), words(why))
    }

    /// What is kept of an image.
    pub fn casebook(&mut self, of: &Identity) -> Result<Casebook, String> {
        let read = |store: &mut Self| -> Result<Casebook, rusqlite::Error> {
            let mut book = Casebook::default();
            let Some(image) = store.find(of)? else { return Ok(book) };
            let connection = &store.connection;
            book.view = connection
                .query_row(
                    "SELECT view, coalesce(viewed, '') FROM images WHERE id = ?1 AND length(view) <= ?2",
                    params![image, LONGEST],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let mut statement = connection.prepare(
                "SELECT object_table, object_key, substr(object, 1, ?3), judgement, marked, substr(tags, 1, ?3), substr(comment, 1, ?3), \
                 created, changed FROM notes WHERE image = ?1 AND length(object_key) <= ?3 ORDER BY created LIMIT ?2",
            )?;
            let time = |text: String| Time::parse(&text).map_or(Known::Absent, Known::Value);
            let notes = statement.query_map(params![image, MOST_NOTES, LONGEST], |row| {
                let judgement: String = row.get(3)?;
                Ok(Note {
                    table: row.get(0)?,
                    key: row.get(1)?,
                    object: row.get(2)?,
                    judgement: [Judgement::Confirmed, Judgement::Benign].into_iter().find(|it| it.word() == judgement).unwrap_or_default(),
                    marked: row.get(4)?,
                    tags: row.get::<_, String>(5)?.split_whitespace().map(str::to_owned).collect(),
                    comment: row.get(6)?,
                    created: time(row.get(7)?),
                    changed: time(row.get(8)?),
                    ..Note::default()
                })
            })?;
            for note in notes {
                let note = note?;
                book.notes.insert(note.about(), note);
            }
            let mut statement =
                connection.prepare("SELECT time, action, substr(what, 1, ?3) FROM trail WHERE image = ?1 ORDER BY id DESC LIMIT ?2")?;
            let steps = statement.query_map(params![image, MOST_STEPS, LONGEST], |row| {
                let action: String = row.get(1)?;
                let action = ACTIONS.into_iter().find(|it| it.word() == action).unwrap_or_default();
                Ok(Step { time: time(row.get(0)?), action, what: row.get(2)?, ..Step::default() })
            })?;
            book.trail = steps.collect::<Result<_, _>>()?;
            book.trail.reverse();
            Ok(book)
        };
        read(self).map_err(|why| self.fail(&why))
    }

    fn find(&mut self, of: &Identity) -> Result<Option<i64>, rusqlite::Error> {
        if self.image.is_none() {
            self.image = self.connection.query_row("SELECT id FROM images WHERE key = ?1", [&of.key], |row| row.get(0)).optional()?;
        }
        Ok(self.image)
    }

    /// Writes all of it or nothing, and answers when it is on the disk.
    pub fn write(&mut self, of: &Identity, info: &Info, notes: &[Note], steps: &[Step], view: Option<&str>) -> Result<(), String> {
        if self.read_only {
            return Err(format!("{}: can only be read", self.path.display()));
        }
        let write = |store: &mut Self| -> Result<i64, rusqlite::Error> {
            let known = store.find(of)?;
            let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let text = |time: &Known<Time>| time.value().map(ToString::to_string);
            let files: Vec<String> = of.files.iter().map(|path| path.display().to_string()).collect();
            let image = match known {
                Some(image) => image,
                None => {
                    transaction.execute(
                        "INSERT INTO images (key, name, files, format, size, kernel, host, booted, captured) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (key) DO NOTHING",
                        params![
                            of.key,
                            of.name,
                            files.join("\n"),
                            info.format,
                            i64::try_from(info.size).unwrap_or(i64::MAX),
                            info.kernel,
                            info.hostname.value(),
                            text(&info.boot_time),
                            text(&info.capture_time)
                        ],
                    )?;
                    transaction.query_row("SELECT id FROM images WHERE key = ?1", [&of.key], |row| row.get(0))?
                }
            };
            for note in notes {
                if note.is_empty() {
                    transaction.execute(
                        "DELETE FROM notes WHERE image = ?1 AND object_table = ?2 AND object_key = ?3",
                        params![image, note.table, note.key],
                    )?;
                    continue;
                }
                transaction.execute(
                    "INSERT OR REPLACE INTO notes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                    params![
                        image,
                        note.table,
                        note.key,
                        note.object,
                        note.judgement.word(),
                        note.marked,
                        note.tags.join(" "),
                        note.comment,
                        text(&note.created).unwrap_or_default(),
                        text(&note.changed).unwrap_or_default()
                    ],
                )?;
            }
            for step in steps {
                transaction.execute(
                    "INSERT INTO trail (image, time, action, what) VALUES (?1, ?2, ?3, ?4)",
                    params![image, text(&step.time).unwrap_or_default(), step.action.word(), step.what],
                )?;
            }
            if let Some(view) = view {
                transaction
                    .execute("UPDATE images SET view = ?2, viewed = ?3 WHERE id = ?1", params![image, view, Time::now().to_string()])?;
            }
            transaction.commit()?;
            Ok(image)
        };
        match write(self) {
            Ok(image) => {
                self.image = Some(image);
                Ok(())
            }
            Err(why) => Err(self.fail(&why)),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some((file, path)) = self.lock.take() {
            _ = std::fs::remove_file(path);
            drop(file);
        }
    }
}

const ACTIONS: [Action; 8] =
    [Action::Opened, Action::Looked, Action::Noted, Action::Searched, Action::Dumped, Action::Exported, Action::Reported, Action::Closed];

fn words(why: &rusqlite::Error) -> String {
    match why.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program is writing to it and does not end".to_owned(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "damaged; it is left as it is, name another file with --case".to_owned()
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => "cannot be written to".to_owned(),
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        _ => why.to_string(),
    }
}

fn private_folders(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// What somebody else may do to a file.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn tamper(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}
