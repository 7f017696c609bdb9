//! `kioku read` and `kioku dump`.

use super::args::{Trail, What, number};
use super::console::Stop;
use super::{Run, exists};
use crate::address::VirtAddr;
use crate::case::Action;
use crate::engine::{Ahead, Bytes, Extent, MOST_BYTES, Session, Space, Which};
use crate::facts::{Dumped, Known, Memory, PageOrigin, Sink};
use crate::report::{self, Format, HexDump};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

const STEP: usize = 1 << 20;

impl Run {
    pub(super) fn read(&self, image: &Path, address: u64, length: u64, physical: bool, raw: bool) -> Result<(), Stop> {
        if raw && self.common.output.is_none() && io::stdout().is_terminal() {
            return Err(Stop::Usage("--raw does not write to a terminal: name a file with --output, or redirect".to_owned()));
        }
        let rows = !raw && self.format() != Format::Text;
        if rows && length > MOST_BYTES as u64 {
            return Err(Stop::Usage(format!("as {:?} at most {MOST_BYTES} bytes are printed; use --raw or dump", self.common.format)));
        }
        let session = self.open_for(image, if self.common.pid.is_some() { Ahead::Tables } else { Ahead::Nothing })?;
        let space = self.space(&session, physical)?;
        let mut tally = Tally::default();
        if rows {
            let bytes = session.read(space, address, usize::try_from(length).unwrap_or(MOST_BYTES))?;
            tally.count(&bytes);
            let mut sink = Sink::new(Arc::clone(&self.interrupts.watch));
            sink.extend(pieces(&bytes));
            let answer = sink.finish();
            self.write(|out| report::write_rows(&*answer, None, self.format(), out))?;
        } else if raw {
            self.write(|out| {
                each(&session, space, address, length, |bytes| {
                    let whole = tally.count(bytes);
                    out.write_all(bytes.data.get(..whole).unwrap_or_default())?;
                    Ok(whole == bytes.data.len())
                })
            })?;
            return match tally.first_missing {
                Some((at, why)) => Err(Stop::Failed(format!(
                    "{}: {at:#x} is missing: {why}; {} bytes before it were written (dump writes what there is)",
                    session.name(),
                    at.wrapping_sub(address)
                ))),
                None => Ok(()),
            };
        } else {
            if let Some(name) = session.name_at(space, address) {
                self.note(&format!("{address:#x} is {name}"));
            }
            let mut dump = HexDump::new(space, address.saturating_add(length.saturating_sub(1)));
            self.write(|out| {
                each(&session, space, address, length, |bytes| {
                    tally.count(bytes);
                    dump.write(bytes, out)?;
                    Ok(true)
                })
            })?;
        }
        match tally.first_missing {
            Some((at, why)) if tally.present == 0 => {
                Err(Stop::Failed(format!("{}: nothing from {at:#x} on can be read: {why}", session.name())))
            }
            Some((at, why)) => {
                self.note(&format!("{} bytes are missing, the first at {at:#x}: {why}", tally.missing));
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn space(&self, session: &Session, physical: bool) -> Result<Space, Stop> {
        let Some(pid) = self.common.pid else {
            return Ok(if physical { Space::Physical } else { Space::Kernel });
        };
        let process = self.process(session, pid)?;
        match process.address {
            Known::Value(address) => Ok(Space::Process(address)),
            _ => Err(Stop::Failed(format!("{}: the address of PID {pid} is not known", session.name()))),
        }
    }

    pub(super) fn dump(&self, image: &Path, what: &What, case: &Trail) -> Result<(), Stop> {
        let Some(folder) = &self.common.output else {
            return Err(Stop::Usage("dump needs --output FOLDER".to_owned()));
        };
        let range = what.address.zip(what.length);
        if self.common.pid.is_none() && range.is_none() && what.module.is_none() && what.file.is_none() && what.finding.is_none() {
            let ways = "--pid P, --pid P --start ADDR, --pid P --executable, --pid P --library NAME, --pid P --carve, --module NAME, --file PATH, --finding N, or --address A --length N";
            return Err(Stop::Usage(format!("say what to dump: {ways}")));
        }
        let as_mapped = what.memory_layout;
        if as_mapped && !what.executable && what.library.is_none() && what.module.is_none() {
            return Err(Stop::Usage("--memory-layout goes with --executable, --library or --module".to_owned()));
        }
        case.check()?;
        let session = self.open(image)?;
        let process = self.common.pid.map(|pid| self.process(&session, pid)).transpose()?;
        let found = what.finding.map(|number| session.finding(number, &self.interrupts.watch)).transpose()?;
        let extent = match (&process, range) {
            _ if let Some((finding, process)) = &found => Extent::Finding { finding, process: process.as_ref() },
            (Some(process), None) if what.carve => Extent::Carved { process, at: what.start.map(VirtAddr) },
            (None, Some((start, length))) if what.physical => Extent::Physical { start, length },
            (None, Some((start, length))) => Extent::Kernel { start, length },
            (Some(process), Some((start, length))) => Extent::Range { process, start, length },
            (Some(process), None) => match (what.start, &what.library) {
                (Some(at), _) => Extent::Region { process, at: VirtAddr(at) },
                (_, Some(library)) => Extent::Library { process, which: which(library), as_mapped },
                _ if what.executable => Extent::Executable { process, as_mapped },
                _ => Extent::Process(process),
            },
            (None, None) => match (&what.module, &what.file) {
                (Some(module), _) => Extent::Module { which: which(module), as_mapped },
                (_, Some(file)) => Extent::CachedFile(which(file)),
                _ => return Err(Stop::Usage("say what to dump".to_owned())),
            },
        };
        let progress = self.progress(format!("writing to {}", folder.display()));
        let dump = session.dump(extent, folder, &self.interrupts.watch)?;
        drop(progress);
        let written = dump.files.iter().filter(|row| row.file.value().is_some()).count();
        let cancelled = if dump.complete { "" } else { ", cancelled" };
        let files = if written == 1 { "file" } else { "files" };
        let says = format!("{}: {written} {files}, manifest {}{cancelled}", what.says(self.common.pid), dump.manifest.display());
        self.tell(&session, case, Action::Dumped, says)?;
        let left_out = dump.files.iter().filter(|row| row.file.value().is_none()).count();
        let missing: u64 = dump.files.iter().filter(|row| row.file.value().is_some()).map(|row| row.length - row.present).sum();
        self.print(|out| match self.format() {
            Format::Text => sums(&dump.files, out),
            format => {
                let mut sink = Sink::new(Arc::default());
                sink.extend(dump.files.iter().cloned());
                report::write_rows(&*sink.finish(), None, format, out)
            }
        })?;
        self.note(&format!("{}: where every byte comes from", dump.manifest.display()));
        if left_out > 0 {
            self.note(&format!("left out: {left_out}; the manifest says why"));
        }
        if missing > 0 {
            self.note(&format!("{missing} bytes are not in the image; they are zero in the files and listed in the manifest"));
        }
        let present: u64 = dump.files.iter().map(|row| row.present).sum();
        match dump.complete {
            false => Err(Stop::Interrupted),
            true if present == 0 => Err(Stop::Failed(format!("{}: nothing of it is in the image", session.name()))),
            true => Ok(()),
        }
    }

    /// Makes a folder that was not there.
    pub(super) fn new_folder(path: &Path) -> Result<(), Stop> {
        std::fs::create_dir(path).map_err(|why| match why.kind() {
            io::ErrorKind::AlreadyExists => exists(&path.display().to_string()),
            _ => Stop::Failed(format!("{}: {why}", path.display())),
        })
    }
}

impl What {
    /// What was dumped, for the audit trail.
    fn says(&self, pid: Option<u32>) -> String {
        let of = pid.map_or(if self.physical { "physical memory".to_owned() } else { "kernel".to_owned() }, |pid| format!("PID {pid}"));
        match (&self.module, &self.file, &self.library, self.finding) {
            (Some(module), ..) => format!("module {module}"),
            (_, Some(file), ..) => format!("file {file}"),
            (_, _, Some(library), _) => format!("{of}, library {library}"),
            (.., Some(number)) => format!("finding {number}"),
            _ if self.carve => format!("{of}, carved{}", self.start.map(|at| format!(" at {at:#x}")).unwrap_or_default()),
            _ if self.executable => format!("{of}, program"),
            _ => match (self.address.zip(self.length), self.start) {
                (Some((at, length)), _) => format!("{of}, {length} bytes at {at:#x}"),
                (_, Some(at)) => format!("{of}, region at {at:#x}"),
                _ => format!("{of}, all memory"),
            },
        }
    }
}

/// What is a number is an address, anything else a name.
fn which(text: &str) -> Which<'_> {
    number(text).map_or(Which::Named(text), |address| Which::At(VirtAddr(address)))
}

/// As `sha256sum -c` reads them.
fn sums(files: &[Dumped], out: &mut dyn Write) -> io::Result<()> {
    files.iter().filter_map(|row| row.sha256.value().zip(row.file.value())).try_for_each(|(sum, file)| writeln!(out, "{sum}  {file}"))
}

/// Reads in steps until `with` has had enough.
fn each(session: &Session, space: Space, start: u64, length: u64, mut with: impl FnMut(&Bytes) -> io::Result<bool>) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let step = usize::try_from(length - done).unwrap_or(STEP).min(STEP);
        let Some(at) = start.checked_add(done) else { break };
        let bytes = session.read(space, at, step).map_err(io::Error::other)?;
        if bytes.data.is_empty() || !with(&bytes)? {
            break;
        }
        done += bytes.data.len() as u64;
    }
    Ok(())
}

/// What there was and what not.
#[derive(Default)]
struct Tally {
    present: u64,
    missing: u64,
    first_missing: Option<(u64, String)>,
}

impl Tally {
    /// Counts bytes; the number of those before the first that is missing.
    fn count(&mut self, bytes: &Bytes) -> usize {
        let mut whole = 0;
        let mut broken = false;
        for piece in &bytes.pieces {
            match piece.origin {
                Ok(_) => {
                    self.present += piece.length as u64;
                    whole += if broken { 0 } else { piece.length };
                }
                Err(why) => {
                    broken = true;
                    self.missing += piece.length as u64;
                    self.first_missing.get_or_insert_with(|| (piece.address, why.to_string()));
                }
            }
        }
        whole
    }
}

fn pieces(bytes: &Bytes) -> impl Iterator<Item = Memory> {
    bytes.pieces.iter().map(|piece| {
        let from = usize::try_from(piece.address.wrapping_sub(bytes.start)).unwrap_or(usize::MAX);
        let data = bytes.data.get(from..from.saturating_add(piece.length)).unwrap_or_default();
        Memory {
            address: VirtAddr(piece.address),
            length: piece.length as u64,
            physical_address: piece.origin.ok().and_then(PageOrigin::physical).into(),
            origin: piece.origin.map(origin).into(),
            bytes: piece.origin.map(|_| data.to_vec()).into(),
            problems: Vec::new(),
        }
    })
}

fn origin(backing: PageOrigin) -> String {
    match backing {
        PageOrigin::Pagefile { number, page } => format!("pagefile {number} page {page:#x}"),
        other => other.kind().to_owned(),
    }
}
