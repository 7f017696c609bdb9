//! Memory written to files, with a manifest that says where every byte comes from.
//!
//! File names are made of numbers and words of the program's own: no text from an image decides where something is written. Files are always new, never
//! executable, and readable for their owner only, since they hold whatever the machine held.

mod targets;
mod write;

use super::{Error, Session};
use crate::address::VirtAddr;
use crate::facts::text::printable;
use crate::facts::{Cell, Dumped, Finding, Known, Process, Record, Time, ToCell, Watch};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use targets::Target;
use write::{create, failed};

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
    /// The program of a process, as a file again; `as_mapped` leaves it in the order that it has in memory.
    Executable {
        process: &'a Process,
        as_mapped: bool,
    },
    /// Libraries of a process, or any executable at an address of it.
    Library {
        process: &'a Process,
        which: Which<'a>,
        as_mapped: bool,
    },
    /// Programs by their headers, in memory that no file backs: in all of the process, or in the region that holds an address.
    Carved {
        process: &'a Process,
        at: Option<VirtAddr>,
    },
    /// What a finding is about: its region and the programs in that, the program of its process, its module.
    Finding {
        finding: &'a Finding,
        process: Option<&'a Process>,
    },
    /// Kernel modules.
    Module {
        which: Which<'a>,
        as_mapped: bool,
    },
    /// What memory holds of files: on Windows by their file objects.
    CachedFile(Which<'a>),
}

/// Something by its address, or all that have a name, or a path that ends with it.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    At(VirtAddr),
    Named(&'a str),
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Dump {
    pub manifest: PathBuf,
    pub files: Vec<Dumped>,
    /// False where it was stopped by the user.
    pub complete: bool,
}

/// Page tables can map one page at a million addresses: so many times the machine's memory is written at most.
const MOST_COPIES: u64 = 4;
const LEAST_BUDGET: u64 = 1 << 30;

impl Extent<'_> {
    fn process(&self) -> Option<&Process> {
        match self {
            Self::Physical { .. } | Self::Kernel { .. } | Self::Module { .. } | Self::CachedFile(_) => None,
            Self::Range { process, .. }
            | Self::Region { process, .. }
            | Self::Process(process)
            | Self::Executable { process, .. }
            | Self::Library { process, .. }
            | Self::Carved { process, .. } => Some(process),
            Self::Finding { process, .. } => *process,
        }
    }
    fn what(&self) -> &'static str {
        match self {
            Self::Physical { .. } => "physical memory",
            Self::Kernel { .. } => "kernel memory",
            Self::Range { .. } => "memory of a process",
            Self::Region { .. } => "region of a process",
            Self::Process(_) => "all regions of a process",
            Self::Executable { .. } => "program of a process",
            Self::Library { .. } => "libraries of a process",
            Self::Carved { .. } => "programs in memory that no file backs",
            Self::Finding { .. } => "what a finding is about",
            Self::Module { .. } => "kernel modules",
            Self::CachedFile(_) => "files in memory",
        }
    }
}

impl Session {
    /// Writes memory into a folder, which is made if it is not there.
    pub fn dump(&self, extent: Extent<'_>, folder: &Path, watch: &Arc<Watch>) -> Result<Dump, Error> {
        let targets = self.targets(extent, watch)?;
        // What was asked for by itself is either written or refused; of several the rest is still worth having.
        if let (Extent::Region { at, .. }, [Target { left_out: Some(why), .. }]) = (extent, &targets[..]) {
            return Err(Error(format!("{}: region that holds {at}: {why}", self.name())));
        }
        let stem = match (extent, targets.first()) {
            (Extent::Process(process), _) => format!("pid-{}-{}", process.pid, process.address.value().copied().unwrap_or_default()),
            (Extent::CachedFile(_), Some(one)) => format!("file-{}", one.row.object.value().copied().unwrap_or_default()),
            (_, Some(one)) => one.name.clone(),
            (_, None) => "nothing".to_owned(),
        };
        std::fs::create_dir_all(folder).map_err(|why| failed(folder, &why))?;
        let manifest = folder.join(format!("{stem}.json"));
        // Made before anything else, so that a dump which was made already is not begun again.
        let mut told = create(&manifest)?;

        let length = |target: &Target| if target.left_out.is_some() { 0 } else { target.row.length };
        let total = targets.iter().fold(0, |sum: u64, target| sum.saturating_add(length(target)));
        let memory = self.info().memory.iter().fold(0, |sum: u64, run| sum.saturating_add(run.length));
        let mut budget = memory.saturating_mul(MOST_COPIES).max(LEAST_BUDGET);
        let mut done: u64 = 0;
        let mut files = Vec::new();
        let mut complete = true;
        let mut outcome = Ok(());
        for mut target in targets {
            if watch.cancelled() {
                complete = false;
                break;
            }
            let length = length(&target);
            match target.left_out.take() {
                Some(why) => target.row.problems.push(why),
                None => {
                    let name = format!("{}.bin", target.name);
                    let path = folder.join(&name);
                    match self.write(&mut target, &path, &mut budget, &mut |step| watch.progress(done.saturating_add(step), total), watch) {
                        Ok(whole) => complete &= whole,
                        Err(why) => {
                            target.row.problems.push(why.to_string());
                            outcome = Err(why);
                        }
                    }
                    target.row.file = if outcome.is_ok() { Known::Value(name) } else { Known::Absent };
                }
            }
            done = done.saturating_add(length);
            files.push(target.row);
            if outcome.is_err() {
                complete = false;
                break;
            }
        }
        let text = self.manifest(extent, &files, complete);
        told.write_all(text.as_bytes()).map_err(|why| failed(&manifest, &why))?;
        outcome.map(|()| Dump { manifest, files, complete })
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
