//! Memory written to files, with a manifest that says where every byte comes from.
//!
//! File names are made of numbers alone: no text from an image decides where something is written. Files are always new, never
//! executable, and readable for their owner only, since they hold whatever the machine held.

use super::{Error, Session, Space, find_table};
use crate::address::VirtAddr;
use crate::facts::text::{printable, size};
use crate::facts::{Answer, Cell, Dumped, Hole, Known, Process, ReadError, Record, Region, Scope, State, Time, ToCell, Watch};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What to write.
#[derive(Clone, Copy, Debug)]
pub enum Extent<'a> {
    Physical {
        start: u64,
        length: u64,
    },
    Kernel {
        start: u64,
        length: u64,
    },
    Range {
        process: &'a Process,
        start: u64,
        length: u64,
    },
    /// The region that holds an address.
    Region {
        process: &'a Process,
        at: VirtAddr,
    },
    /// All regions, a file each.
    Process(&'a Process),
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Dump {
    pub manifest: PathBuf,
    pub files: Vec<Dumped>,
    /// False where it was stopped by the user.
    pub complete: bool,
}

const STEP: usize = 1 << 20;

/// Programs reserve terabytes that they never touch; more virtual memory than this in one piece is asked for in smaller ranges.
const MOST_VIRTUAL: u64 = 64 << 30;

/// A stretch to be written to one file.
struct Stretch {
    space: Space,
    start: u64,
    length: u64,
    region: Option<Region>,
}

impl Extent<'_> {
    fn process(&self) -> Option<&Process> {
        match self {
            Self::Physical { .. } | Self::Kernel { .. } => None,
            Self::Range { process, .. } | Self::Region { process, .. } | Self::Process(process) => Some(process),
        }
    }
    fn what(&self) -> &'static str {
        match self {
            Self::Physical { .. } => "physical memory",
            Self::Kernel { .. } => "kernel memory",
            Self::Range { .. } => "memory of a process",
            Self::Region { .. } => "region of a process",
            Self::Process(_) => "all regions of a process",
        }
    }
    /// What the names of its files begin with.
    fn prefix(&self) -> String {
        match self {
            Self::Physical { .. } => "physical".to_owned(),
            Self::Kernel { .. } => "kernel".to_owned(),
            _ => format!("pid-{}", self.process().map_or(0, |process| process.pid)),
        }
    }
}

impl Session {
    /// Writes memory into a folder, which is made if it is not there.
    pub fn dump(&self, extent: Extent<'_>, folder: &Path, watch: &Arc<Watch>) -> Result<Dump, Error> {
        let stretches = self.stretches(extent, watch)?;
        // What was asked for by itself is either written or refused; of a whole process the rest is still worth having.
        if let (Extent::Region { at, .. }, [only]) = (extent, &stretches[..])
            && let Some(why) = left_out(only)
        {
            return Err(Error(format!("{}: region that holds {at}: {why}", self.name())));
        }
        let prefix = extent.prefix();
        let stem = match (extent, stretches.first()) {
            (Extent::Process(process), _) => format!("{prefix}-{}", process.address.value().copied().unwrap_or_default()),
            (_, Some(one)) => named(&prefix, one),
            (_, None) => prefix.clone(),
        };
        std::fs::create_dir_all(folder).map_err(|why| failed(folder, &why))?;
        let manifest = folder.join(format!("{stem}.json"));
        // Made before anything else, so that a dump which was made already is not begun again.
        let mut told = create(&manifest)?;

        let total = stretches.iter().fold(0, |sum: u64, stretch| sum.saturating_add(stretch.length));
        let mut done = 0;
        let mut files = Vec::new();
        let mut complete = true;
        for stretch in &stretches {
            if watch.cancelled() {
                complete = false;
                break;
            }
            let mut row = Dumped { start: VirtAddr(stretch.start), length: stretch.length, ..Dumped::default() };
            if let Some(region) = &stretch.region {
                row.kind = Known::Value(region.kind.to_owned());
                row.protection = Known::Value(region.protection);
                row.mapped_file = region.file.clone().map(|path| printable(&path).into_owned());
            }
            match left_out(stretch) {
                Some(why) => row.problems.push(why),
                None => {
                    let name = format!("{}.bin", named(&prefix, stretch));
                    let path = folder.join(&name);
                    row.file = Known::Value(name);
                    complete &= self.write(stretch, &path, &mut row, &mut |step| watch.progress(done + step, total), watch)?;
                }
            }
            done += stretch.length;
            files.push(row);
        }
        let text = self.manifest(extent, &files, complete);
        told.write_all(text.as_bytes()).map_err(|why| failed(&manifest, &why))?;
        Ok(Dump { manifest, files, complete })
    }

    fn stretches(&self, extent: Extent<'_>, watch: &Arc<Watch>) -> Result<Vec<Stretch>, Error> {
        let space = |process: &Process| match process.address.value() {
            Some(address) => Ok(Space::Process(*address)),
            None => Err(Error(format!("PID {}: its process object has no virtual address, so its memory cannot be found", process.pid))),
        };
        let stretch = |space, start: u64, length: u64, region| {
            // The last byte of a space is the last that can be meant.
            Stretch { space, start, length: length.min((u64::MAX - start).saturating_add(1)), region }
        };
        let (process, at) = match extent {
            Extent::Physical { start, length } => {
                let end = self.info().memory.last().map_or(0, |range| range.end().0);
                if start >= end {
                    return Err(Error(format!("{}: physical memory ends at {end:#x}", self.name())));
                }
                return Ok(vec![stretch(Space::Physical, start, length.min(end - start), None)]);
            }
            Extent::Kernel { start, length } => return bounded(stretch(Space::Kernel, start, length, None)),
            Extent::Range { process, start, length } => return bounded(stretch(space(process)?, start, length, None)),
            Extent::Region { process, at } => (process, Some(at)),
            Extent::Process(process) => (process, None),
        };
        let space = space(process)?;
        let Space::Process(address) = space else { return Ok(Vec::new()) };
        let entry = find_table(Region::TABLE.name).ok_or_else(|| Error("there is no table of regions".into()))?;
        let rows = self.query(entry, Scope::Process(address), watch)?;
        if rows.state() == State::Cancelled {
            return Err(Error("stopped before anything was written".into()));
        }
        let regions = rows.as_any().downcast_ref::<Answer<Region>>().into_iter().flat_map(Answer::iter);
        let wanted = regions.filter(|region| at.is_none_or(|at| region.start <= at && at <= region.end));
        let stretches: Vec<_> = wanted
            .map(|region| {
                let length = region.end.0.saturating_sub(region.start.0).saturating_add(1);
                stretch(space, region.start.0, length, Some(region.clone()))
            })
            .collect();
        if stretches.is_empty() {
            let (pid, why) = (process.pid, rows.notes().first().map_or("`kioku query` lists its regions", String::as_str));
            return Err(Error(match at {
                Some(at) => format!("{}: PID {pid} has no region that holds {at}; {why}", self.name()),
                None => format!("{}: PID {pid} has no regions; {why}", self.name()),
            }));
        }
        Ok(stretches)
    }

    /// Writes one stretch and fills its row. False where it was stopped by the user; the file then ends early.
    fn write(&self, stretch: &Stretch, path: &Path, row: &mut Dumped, progress: &mut dyn FnMut(u64), watch: &Watch) -> Result<bool, Error> {
        let mut file = create(path)?;
        let mut sum = Sha256::new();
        let mut done = 0;
        while done < stretch.length && !watch.cancelled() {
            let step = usize::try_from(stretch.length - done).unwrap_or(STEP).min(STEP);
            let bytes = self.read(stretch.space, stretch.start + done, step)?;
            let mut present = 0;
            for piece in &bytes.pieces {
                match piece.origin {
                    Ok(_) => present += piece.length as u64,
                    Err(why) => hole(&mut row.holes, piece.address, piece.length as u64, why),
                }
            }
            sum.update(&bytes.data);
            let length = bytes.data.len() as u64;
            // What is missing altogether takes no room on the disk.
            let written = if present == 0 {
                i64::try_from(length).map_err(io::Error::other).and_then(|length| file.seek(SeekFrom::Current(length))).map(drop)
            } else {
                file.write_all(&bytes.data)
            };
            written.map_err(|why| failed(path, &why))?;
            row.present += present;
            done += length;
            progress(done);
            if bytes.data.is_empty() {
                break;
            }
        }
        file.set_len(done).map_err(|why| failed(path, &why))?;
        row.length = done;
        row.sha256 = Known::Value(sum.finalize().iter().fold(String::new(), |mut text, byte| {
            _ = write!(text, "{byte:02x}");
            text
        }));
        Ok(done == stretch.length)
    }

    fn manifest(&self, extent: Extent<'_>, files: &[Dumped], complete: bool) -> String {
        let text = |text: &str| Cell::Text(printable(text).into_owned().into());
        let process = extent.process().map_or(Cell::Absent, |process| {
            let pid = Cell::Number(process.pid.into());
            Cell::Object(vec![("pid", pid), ("name", text(&process.name)), ("address", process.address.cell())])
        });
        let image = vec![
            ("name", text(self.name())),
            ("format", text(&self.info().format)),
            ("size", Cell::Number(self.info().size.into())),
            ("kernel", text(&self.info().kernel)),
        ];
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let created = i64::try_from(since.as_secs()).ok().and_then(Time::from_seconds);
        let manifest = Cell::Object(vec![
            ("tool", text(concat!("kioku ", env!("CARGO_PKG_VERSION")))),
            ("created", created.map_or(Cell::Absent, Cell::Time)),
            ("complete", Cell::Bool(complete)),
            ("image", Cell::Object(image)),
            ("what", text(extent.what())),
            ("process", process),
            ("files", Cell::List(files.iter().map(row).collect())),
        ]);
        let mut shown = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        shown.push('\n');
        shown
    }
}

/// A row as an object.
fn row(row: &Dumped) -> Cell<'_> {
    let columns = Dumped::TABLE.columns.iter().enumerate();
    Cell::Object(columns.map(|(index, column)| (column.name, row.cell(index))).collect())
}

fn bounded(stretch: Stretch) -> Result<Vec<Stretch>, Error> {
    match left_out(&stretch) {
        Some(why) => Err(Error(format!("{:#x}: {why}", stretch.start))),
        None => Ok(vec![stretch]),
    }
}

/// Why a stretch is not written.
fn left_out(stretch: &Stretch) -> Option<String> {
    if stretch.space != Space::Physical && stretch.length > MOST_VIRTUAL {
        return Some(format!("{} in one piece is more than is written; name a smaller range", size(stretch.length)));
    }
    let untouched = stretch.region.as_ref().is_some_and(|region| region.resident_pages == Known::Value(0));
    untouched.then(|| "no page of it is in the image".to_owned())
}

fn named(prefix: &str, stretch: &Stretch) -> String {
    let last = stretch.start.saturating_add(stretch.length.saturating_sub(1));
    format!("{prefix}-{:#x}-{last:#x}", stretch.start)
}

/// Notes a hole, or lets the last one grow.
fn hole(holes: &mut Vec<Hole>, start: u64, length: u64, why: ReadError) {
    match holes.last_mut() {
        Some(last) if last.start.wrapping_add(last.length) == start => last.length += length,
        _ => holes.push(Hole { start, length, reason: why.to_string() }),
    }
}

/// A new file. `create_new` neither writes over what is there nor follows a link that lies in wait.
fn create(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => Error(format!("{}: exists already and is not written over; name another folder", path.display())),
        _ => failed(path, &why),
    })
}

fn failed(path: &Path, why: &io::Error) -> Error {
    Error(format!("{}: {why}", path.display()))
}
