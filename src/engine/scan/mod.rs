//! Search: patterns in physical memory, in an address space or in files as memory holds them, in one pass; then who maps what was found.

mod early;
mod files;
mod literals;
mod patterns;
mod spaces;
mod yara;

use super::job::Job;
use super::{Error, Session, Space, System};
use crate::address::PhysAddr;
use crate::facts::{Feed, Known, Owners, ReadError, Record, Rows, Scope, Sighting, Sink, Watch};
use crate::image::{Chunk, Image};
pub(super) use early::Early;
use patterns::{Match, Patterns, Piece, What};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A piece of physical memory: small enough for the caches.
const CHUNK: usize = 512 << 10;
/// A piece of an address space. A region of no more is one piece, and a file to YARA rules.
const WINDOW: u64 = 16 << 20;
/// What is read before a piece, where a match may have begun.
const BEFORE: u64 = 4096;
/// Kept of a match's surroundings.
const CONTEXT_BEFORE: usize = 16;
const CONTEXT_AFTER: usize = 48;
const MOST_TEXT: usize = 128;
/// Others who map a frame, by name.
const MOST_ALSO: usize = 32;

/// Where to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    Memory(Space),
    /// Files as memory holds them, page after page: those whose path is or ends with this, or all.
    Files(Option<String>),
}

impl From<Space> for Ground {
    fn from(space: Space) -> Self {
        Self::Memory(space)
    }
}

impl Ground {
    /// The scope of what is found there.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Memory(Space::Process(process)) => Scope::Process(*process),
            Self::Memory(Space::Physical | Space::Kernel) | Self::Files(_) => Scope::Machine,
        }
    }
}

/// What to search for, where, and how many matches are enough.
pub struct Search {
    patterns: Patterns,
    ground: Ground,
    most: usize,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Search").field("ground", &self.ground).field("most", &self.most).finish_non_exhaustive()
    }
}

impl Search {
    /// `fold`: letters match in either case.
    pub fn new(patterns: &[String], fold: bool, ground: impl Into<Ground>, most: usize) -> Result<Self, Error> {
        Ok(Self { patterns: Patterns::new(patterns, fold)?, ground: ground.into(), most })
    }
    /// The same with YARA rules, of files or folders.
    pub fn with_rules(self, paths: &[PathBuf]) -> Result<Self, Error> {
        Ok(Self { patterns: self.patterns.with_rules(paths)?, ..self })
    }
    /// The text of each rule as it is written, by its file and its name.
    pub fn rule_texts(&self) -> HashMap<(String, String), String> {
        self.patterns.rules().map(yara::Rules::texts).unwrap_or_default()
    }
    /// The same elsewhere.
    pub fn within(self, ground: impl Into<Ground>) -> Self {
        Self { ground: ground.into(), ..self }
    }

    /// Searches a chunk of physical memory; breaks when there is enough.
    fn look(&self, image: &Image, chunk: &Chunk<'_>, found: &Found<'_>, cancelled: &dyn Fn() -> bool) -> ControlFlow<()> {
        let room = found.room();
        if room == 0 {
            return ControlFlow::Break(());
        }
        let patterns = &self.patterns;
        let before = || preceding(chunk.at.0, |at, bytes| image.read(PhysAddr(at), bytes));
        let piece = Piece { bytes: chunk.bytes, own: chunk.own, before: &before };
        let mut matches = patterns.find(&piece, room, cancelled);
        matches.extend(patterns.judge(piece.bytes, piece.own, false, room));
        found.add(matches.iter().map(|one| {
            let at = PhysAddr(chunk.at.0 + one.at as u64);
            row(patterns, one, &piece, Sighting { physical_address: Known::Value(at), ..Sighting::default() })
        }))
    }
}

impl Session {
    /// Starts a search in the background: rows come as they are found, and once more, in order and with their owners, at the end.
    /// The search is compiled there as well, for many rules take their time.
    pub fn submit_search(&self, ground: impl Into<Ground>, search: impl FnOnce() -> Result<Search, Error> + Send + 'static) -> Arc<Job> {
        let (session, ground) = (self.clone(), ground.into());
        let scope = ground.scope();
        let work =
            move |watch: &Arc<Watch>, started: &mut dyn FnMut(Arc<dyn Feed>)| session.search(&search()?.within(ground), watch, started);
        Job::start(const { &Sighting::TABLE }, scope, work)
    }

    /// Searches here and now; `started` is handed the growing answer.
    pub fn search(&self, search: &Search, watch: &Arc<Watch>, started: &mut dyn FnMut(Arc<dyn Feed>)) -> Result<Arc<dyn Rows>, Error> {
        if let Some(why) = self.0.image.changed() {
            return Err(Error(format!("{}: {why}", self.name())));
        }
        let mut out = Sink::<Sighting>::new(Arc::clone(watch));
        started(out.feed());
        search.patterns.notes().iter().for_each(|note| out.note(note));
        match &search.ground {
            Ground::Memory(Space::Physical) => self.search_memory(search, &mut out),
            Ground::Memory(Space::Kernel) => self.search_kernel(search, &mut out),
            Ground::Memory(Space::Process(process)) => self.search_process(search, *process, &mut out)?,
            Ground::Files(name) => self.search_files(search, name.as_deref(), &mut out)?,
        }
        if let Some(rules) = search.patterns.rules() {
            rules.notes().into_iter().for_each(|note| out.note(note));
        }
        Ok(out.finish())
    }

    fn search_memory(&self, search: &Search, out: &mut Sink<Sighting>) {
        let patterns = &search.patterns;
        let early = self.0.early.as_ref().and_then(|early| early.take(search, out.watch()));
        let (mut hits, swept) = early.unwrap_or_else(|| {
            let watch = out.beside::<Sighting>();
            let found = Found::new(search.most, Some(out));
            let watch = watch.watch();
            let image = &self.0.image;
            let swept = image.sweep(CHUNK, patterns.beyond(), watch, |chunk| search.look(image, &chunk, &found, &|| watch.cancelled()));
            (found.finish(), swept)
        });
        if swept.unreadable > 0 {
            let first = swept.first.map(|(at, why)| format!(", the first at {at}: {why}")).unwrap_or_default();
            out.note(format!("{} bytes of the image could not be read and were not searched{first}", swept.unreadable));
        }
        if patterns.rules().is_some() {
            out.note(
                "YARA rules are judged on pieces of physical memory by their strings alone: what a condition asks of a file (filesize, \
                 offsets, modules) is undefined there; with --pid each region stands for a file",
            );
        }
        let place = |hit: &Sighting| hit.physical_address.value().copied().unwrap_or_default();
        hits.sort_by(|a, b| (place(a), &a.pattern, &a.form).cmp(&(place(b), &b.pattern, &b.form)));
        if out.cancelled() && !hits.is_empty() {
            out.note("stopped before it was looked up who maps what was found");
        } else if !hits.is_empty() {
            out.watch().begin("who maps the hits");
            let frames: Vec<PhysAddr> = hits.iter().map(|hit| place(hit).page()).collect::<BTreeSet<_>>().into_iter().collect();
            let (owners, notes) = match self.system() {
                System::Linux(linux) => linux.owners(&frames, out.watch()),
                System::Windows(windows) => windows.owners(&frames, out.watch()),
            };
            notes.into_iter().for_each(|note| out.note(note));
            let whole = !out.cancelled();
            hits.iter_mut().for_each(|hit| self.owned(hit, place(hit), &owners, whole));
        }
        show(hits, search.most, out);
    }

    /// Fills in who maps a match.
    fn owned(&self, hit: &mut Sighting, at: PhysAddr, owners: &Owners, whole: bool) {
        let mut owned: Vec<_> = owners.of(at.page()).iter().collect();
        owned.sort_by_key(|owner| owner.process.as_ref().map_or((1, 0), |(pid, ..)| (0, *pid)));
        hit.mappings = if whole { Known::Value(owned.len() as u64) } else { Known::Absent };
        let Some((first, others)) = owned.split_first() else {
            if whole {
                let (kind, file) = owners.state(at.page());
                (hit.kind, hit.file) = (Known::Value(kind), file);
            }
            return;
        };
        let address = first.page.offset(at.in_page());
        if let Some((pid, name, process)) = &first.process {
            (hit.pid, hit.process, hit.process_address) = (Known::Value(*pid), Known::Value(name.clone()), Known::Value(*process));
        }
        (hit.address, hit.kind, hit.protection) = (Known::Value(address), Known::Value(first.kind), Known::Value(first.protection));
        hit.file = match first.kind {
            "kernel" => self.system().name_at(None, address).into(),
            _ => first.file.clone(),
        };
        let also = others.iter().take(MOST_ALSO).map(|owner| {
            let address = owner.page.offset(at.in_page());
            owner.process.as_ref().map_or_else(|| format!("{} {address}", owner.kind), |(pid, name, _)| format!("{pid} {name} {address}"))
        });
        hit.also = also.collect();
    }
}

/// What is searched at once of something that may have holes.
trait Window: Sync {
    /// Matches that begin behind so many bytes belong to others.
    fn own(&self) -> usize;
    /// Whether it is a file to YARA rules.
    fn whole(&self) -> bool;
    /// The bytes, zeros where there are none; where there are some; and how many are missing though they are expected.
    fn read(&self) -> (Vec<u8>, Vec<Range<usize>>, u64);
    /// Bytes that lie before one of it.
    fn before(&self, at: usize) -> Arc<[u8]>;
    /// What is to be told of a place in it.
    fn place(&self, at: usize) -> Sighting;
}

/// Searches all windows; the matches as they come, and how many bytes were missing.
fn search_windows(search: &Search, windows: &[impl Window], out: &mut Sink<Sighting>) -> (Vec<Sighting>, u64) {
    let patterns = &search.patterns;
    let watch = out.beside::<Sighting>();
    let total = windows.iter().map(|window| window.own() as u64).sum();
    let (done, missing) = (AtomicU64::new(0), AtomicU64::new(0));
    let found = Found::new(search.most, Some(out));
    _ = windows.par_iter().try_for_each(|window| {
        if watch.cancelled() {
            return ControlFlow::Break(());
        }
        let (bytes, runs, unread) = window.read();
        missing.fetch_add(unread, Ordering::Relaxed);
        let own = window.own();
        let mut all = Vec::new();
        let mut add = |one: &Match, piece: &Piece<'_>, at: usize| all.push(row(patterns, one, piece, window.place(at)));
        for run in runs.iter().filter(|run| run.start < own) {
            let before = || window.before(run.start);
            let bytes = bytes.get(run.clone()).unwrap_or_default();
            let piece = Piece { bytes, own: own.min(run.end) - run.start, before: &before };
            for one in patterns.find(&piece, found.room(), &|| watch.cancelled()) {
                add(&one, &piece, run.start + one.at);
            }
        }
        let piece = Piece { bytes: &bytes, own, before: &|| Arc::default() };
        for one in patterns.judge(&bytes, own, window.whole(), found.room()) {
            // What only fills a hole is not in the image.
            if runs.iter().any(|run| run.contains(&one.at)) {
                add(&one, &piece, one.at);
            }
        }
        let done = done.fetch_add(own as u64, Ordering::Relaxed) + own as u64;
        watch.watch().progress(done, total);
        found.add(all.into_iter())
    });
    (found.finish(), missing.into_inner())
}

/// Replaces what was shown so far by the matches in order.
fn show(mut hits: Vec<Sighting>, most: usize, out: &mut Sink<Sighting>) {
    if hits.len() >= most {
        hits.truncate(most);
        out.note(format!("stopped at {most} matches, there may be more; --limit sets the number"));
    }
    out.preview();
    out.extend(hits);
}

/// Matches as they are found, by all threads.
struct Found<'a> {
    most: usize,
    /// With whoever sees them as they come.
    inside: Mutex<(Vec<Sighting>, Option<&'a mut Sink<Sighting>>)>,
}

impl<'a> Found<'a> {
    fn new(most: usize, out: Option<&'a mut Sink<Sighting>>) -> Self {
        Self { most, inside: Mutex::new((Vec::new(), out)) }
    }
    /// How many more are wanted.
    fn room(&self) -> usize {
        self.most.saturating_sub(self.inside.lock().unwrap_or_else(PoisonError::into_inner).0.len())
    }
    /// Breaks when there are enough.
    fn add(&self, hits: impl Iterator<Item = Sighting>) -> ControlFlow<()> {
        let mut hits = hits.peekable();
        if hits.peek().is_none() {
            return ControlFlow::Continue(());
        }
        let new: Vec<Sighting> = hits.collect();
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(out) = &mut inside.1 {
            out.extend(new.iter().cloned());
        }
        inside.0.extend(new);
        if inside.0.len() < self.most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
    fn finish(self) -> Vec<Sighting> {
        self.inside.into_inner().unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The bytes before an address that are in its page or the one before, whichever can be read.
fn preceding(at: u64, read: impl Fn(u64, &mut [u8]) -> Result<(), ReadError>) -> Arc<[u8]> {
    let mut bytes = vec![0; BEFORE.min(at) as usize];
    match read(at - bytes.len() as u64, &mut bytes) {
        Ok(()) => bytes.into(),
        Err(_) => Arc::default(),
    }
}

/// What a match tells by itself, beside its place.
fn row(patterns: &Patterns, one: &Match, piece: &Piece<'_>, place: Sighting) -> Sighting {
    let end = piece.bytes.len().min(one.at.saturating_add(one.length));
    let matched = piece.bytes.get(one.at..end.min(one.at.saturating_add(MOST_TEXT))).unwrap_or_default();
    let from = one.at.saturating_sub(CONTEXT_BEFORE);
    let mut context = if one.at < CONTEXT_BEFORE { (piece.before)().to_vec() } else { Vec::new() };
    context.drain(..context.len().saturating_sub(CONTEXT_BEFORE - one.at.min(CONTEXT_BEFORE)));
    let before = context.len() + one.at - from;
    context.extend_from_slice(piece.bytes.get(from..piece.bytes.len().min(one.at.saturating_add(CONTEXT_AFTER))).unwrap_or_default());
    let (pattern, form, rule) = match &one.what {
        What::Pattern(number, form) => (patterns.given(*number).to_owned(), (*form).to_owned(), Vec::new()),
        What::Rule { name, string, details } => (name.clone(), string.clone(), details.to_vec()),
    };
    Sighting { pattern, form, length: one.length as u64, text: text(matched), context, before: before as u8, rule, ..place }
}

/// Bytes as text, UTF-16 where every second byte is 0.
fn text(bytes: &[u8]) -> String {
    let (units, rest) = bytes.as_chunks::<2>();
    if units.len() > 1 && rest.is_empty() && units.iter().all(|unit| unit[1] == 0) {
        let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(bytes).into_owned()
}
