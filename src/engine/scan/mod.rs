//! Search: patterns in physical memory, in the kernel or in one process, in one pass; then who maps what was found.

mod early;
mod literals;
mod patterns;
mod yara;

use super::job::Job;
use super::{Error, Session, Space, System, find_table};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Answer, Feed, Known, Owners, PageOrigin, Protection, ReadError, Record, Region, Rows, Scope, Sighting, Sink, Watch};
use crate::image::{Chunk, Image};
use crate::paging::AddressSpace;
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

/// What to search for, where, and how many matches are enough.
pub struct Search {
    patterns: Patterns,
    space: Space,
    most: usize,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Search").field("space", &self.space).field("most", &self.most).finish_non_exhaustive()
    }
}

impl Search {
    /// `fold`: letters match in either case.
    pub fn new(patterns: &[String], fold: bool, space: Space, most: usize) -> Result<Self, Error> {
        Ok(Self { patterns: Patterns::new(patterns, fold)?, space, most })
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
    pub fn within(self, space: Space) -> Self {
        Self { space, ..self }
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
            Sighting { physical_address: Known::Value(at), ..row(patterns, one, &piece) }
        }))
    }
}

impl Session {
    /// Starts a search in the background: rows come as they are found, and once more, in order and with their owners, at the end.
    /// The search is compiled there as well, for many rules take their time.
    pub fn submit_search(&self, space: Space, search: impl FnOnce() -> Result<Search, Error> + Send + 'static) -> Arc<Job> {
        let session = self.clone();
        let work =
            move |watch: &Arc<Watch>, started: &mut dyn FnMut(Arc<dyn Feed>)| session.search(&search()?.within(space), watch, started);
        Job::start(const { &Sighting::TABLE }, Self::scope_of(space), work)
    }
    /// The scope of what is found in a space.
    pub fn scope_of(space: Space) -> Scope {
        match space {
            Space::Process(process) => Scope::Process(process),
            Space::Physical | Space::Kernel => Scope::Machine,
        }
    }

    /// Searches here and now; `started` is handed the growing answer.
    pub fn search(&self, search: &Search, watch: &Arc<Watch>, started: &mut dyn FnMut(Arc<dyn Feed>)) -> Result<Arc<dyn Rows>, Error> {
        if let Some(why) = self.0.image.changed() {
            return Err(Error(format!("{}: {why}", self.name())));
        }
        let mut out = Sink::<Sighting>::new(Arc::clone(watch));
        started(out.feed());
        search.patterns.notes().iter().for_each(|note| out.note(note));
        match search.space {
            Space::Physical => self.search_memory(search, &mut out),
            Space::Kernel => {
                let space = self.system().space();
                let parts = space.upper_half().into_iter().map(|(_, start, end)| Part { start, end, region: None }).collect();
                self.search_space(search, space, parts, &mut out);
            }
            Space::Process(process) => {
                let space = self.system().process_space(process).map_err(|why| Error(format!("process {process}: {why}")))?;
                let entry = find_table(Region::TABLE.name).ok_or_else(|| Error("there is no table of regions".into()))?;
                let rows = self.query(entry, Scope::Process(process), watch)?;
                rows.notes().iter().for_each(|note| out.note(note));
                let regions = rows.as_any().downcast_ref::<Answer<Region>>().into_iter().flat_map(Answer::iter);
                let part = |region: &Region| Part { start: region.start, end: region.end.offset(1), region: Some(region.clone()) };
                self.search_space(search, &space, regions.map(part).collect(), &mut out);
            }
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

    fn search_space(&self, search: &Search, space: &AddressSpace, parts: Vec<Part>, out: &mut Sink<Sighting>) {
        let patterns = &search.patterns;
        let watch = out.beside::<Sighting>();
        let windows: Vec<Window<'_>> = parts.iter().flat_map(|part| part.windows(space, patterns.beyond() as u64, watch.watch())).collect();
        let total = windows.iter().map(|window| window.end.0 - window.start.0).sum();
        let (done, missing) = (AtomicU64::new(0), AtomicU64::new(0));
        let found = Found::new(search.most, Some(out));
        _ = windows.par_iter().try_for_each(|window| {
            if watch.cancelled() {
                return ControlFlow::Break(());
            }
            let (bytes, runs, unread) = window.read(space);
            missing.fetch_add(unread, Ordering::Relaxed);
            let own = (window.end.0 - window.start.0) as usize;
            let mut all = Vec::new();
            let mut add = |one: &Match, piece: &Piece<'_>, at: VirtAddr| {
                let region = window.part.region.as_ref();
                all.push(Sighting {
                    physical_address: match space.translate(at) {
                        Err(ReadError::InPagefile { .. }) => Known::Absent,
                        translated => translated.into(),
                    },
                    pid: region.map(|region| region.pid).into(),
                    process: region.map(|region| region.process.clone()).into(),
                    address: Known::Value(at),
                    kind: Known::Value(region.map_or("kernel", |region| region.kind)),
                    protection: rights(space, at),
                    file: region.map_or_else(|| self.system().name_at(None, at).into(), |region| region.file.clone()),
                    process_address: region.map(|region| region.process_address).into(),
                    ..row(patterns, one, piece)
                });
            };
            for run in runs.iter().filter(|run| run.start < own) {
                let start = window.start.offset(run.start as u64);
                let before = || preceding(start.0, |at, bytes| space.read(VirtAddr(at), bytes));
                let bytes = bytes.get(run.clone()).unwrap_or_default();
                let piece = Piece { bytes, own: own.min(run.end) - run.start, before: &before };
                for one in patterns.find(&piece, found.room(), &|| watch.cancelled()) {
                    add(&one, &piece, start.offset(one.at as u64));
                }
            }
            let piece = Piece { bytes: &bytes, own, before: &|| Arc::default() };
            for one in patterns.judge(&bytes, own, window.whole, found.room()) {
                // What only fills a hole is not in the image.
                if runs.iter().any(|run| run.contains(&one.at)) {
                    add(&one, &piece, window.start.offset(one.at as u64));
                }
            }
            let done = done.fetch_add(own as u64, Ordering::Relaxed) + own as u64;
            watch.watch().progress(done, total);
            found.add(all.into_iter())
        });
        let mut hits = found.finish();
        let missing = missing.into_inner();
        if missing > 0 {
            out.note(format!("{missing} bytes that are mapped are not at hand and were not searched"));
        }
        if windows.is_empty() && !out.cancelled() {
            out.note("nothing is mapped there, so there was nothing to search");
        }
        let place = |hit: &Sighting| hit.address.value().copied().unwrap_or_default();
        hits.sort_by(|a, b| (place(a), &a.pattern, &a.form).cmp(&(place(b), &b.pattern, &b.form)));
        show(hits, search.most, out);
    }
}

/// Rights of the page at an address.
fn rights(space: &AddressSpace, at: VirtAddr) -> Known<Protection> {
    space.leaf(at).map(|leaf| leaf.rights()).into()
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

/// What a match tells by itself.
fn row(patterns: &Patterns, one: &Match, piece: &Piece<'_>) -> Sighting {
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
    Sighting { pattern, form, length: one.length as u64, text: text(matched), context, before: before as u8, rule, ..Sighting::default() }
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

/// A range of an address space.
struct Part {
    start: VirtAddr,
    /// The first byte after it.
    end: VirtAddr,
    region: Option<Region>,
}

/// What is searched of a part at once.
struct Window<'a> {
    part: &'a Part,
    start: VirtAddr,
    /// Matches that begin from here on belong to others.
    end: VirtAddr,
    /// What is mapped, with what lies beyond the end.
    mapped: Vec<Range<u64>>,
    /// Is the whole of a part.
    whole: bool,
}

impl Part {
    fn windows(&self, space: &AddressSpace, beyond: u64, watch: &Watch) -> Vec<Window<'_>> {
        let mut extents: Vec<Range<u64>> = Vec::new();
        if watch.cancelled() {
            return Vec::new();
        }
        space.mapped(self.start, self.end, &mut |at, leaf, length| {
            // Pages that nobody has written to have no bytes.
            if leaf.backing == PageOrigin::Zero {
                return;
            }
            match extents.last_mut().filter(|last| last.end == at.0) {
                Some(last) => last.end = at.0.saturating_add(length),
                None => extents.push(at.0..at.0.saturating_add(length)),
            }
        });
        if extents.is_empty() {
            return Vec::new();
        }
        if self.end.0.wrapping_sub(self.start.0) <= WINDOW {
            return vec![Window { part: self, start: self.start, end: self.end, mapped: extents, whole: true }];
        }
        let cut = |extent: Range<u64>| {
            (extent.start..extent.end).step_by(WINDOW as usize).map(move |start| {
                let end = extent.end.min(start.saturating_add(WINDOW));
                let mapped = start..extent.end.min(end.saturating_add(beyond));
                Window { part: self, start: VirtAddr(start), end: VirtAddr(end), mapped: vec![mapped], whole: false }
            })
        };
        extents.into_iter().flat_map(cut).collect()
    }
}

impl Window<'_> {
    /// The bytes, zeros where there are none; where there are some; and how many are mapped and missing all the same.
    fn read(&self, space: &AddressSpace) -> (Vec<u8>, Vec<Range<usize>>, u64) {
        let last = self.mapped.last().map_or(self.end.0, |extent| extent.end).max(self.end.0);
        let mut bytes = vec![0; (last - self.start.0) as usize];
        let (mut runs, mut missing): (Vec<Range<usize>>, u64) = (Vec::new(), 0);
        for extent in &self.mapped {
            let mut at = extent.start;
            while at < extent.end {
                let next = extent.end.min((at | (PAGE_SIZE - 1)).saturating_add(1));
                let place = (at - self.start.0) as usize..(next - self.start.0) as usize;
                let read = bytes.get_mut(place.clone()).map(|piece| space.read_in_page(VirtAddr(at), piece));
                match (read, runs.last_mut().filter(|run| run.end == place.start)) {
                    (Some(Ok(_)), Some(run)) => run.end = place.end,
                    (Some(Ok(_)), None) => runs.push(place),
                    _ => {
                        bytes.get_mut(place).unwrap_or_default().fill(0);
                        missing += next - at;
                    }
                }
                at = next;
            }
        }
        (bytes, runs, missing)
    }
}
