//! Event records out of a memory image: from views of log files, from the file cache, and from single pages that nothing maps any more.

use super::log::{CHUNK, CHUNK_MAGIC, Head, LEAST_RECORD, Log};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::event::{Event, Guid};
use crate::facts::{PageOrigin, Place, ReadError, Watch};
use crate::windows::Windows;
use memchr::memmem;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

const PAGE: usize = PAGE_SIZE as usize;
/// The file cache maps files in views of this size (VACB_MAPPING_GRANULARITY, ntifs.h).
const CACHE_VIEW: u64 = 256 << 10;
/// No log is larger: its file cannot be (wevtutil, MaxSize).
const MOST_VIEW: u64 = 4 << 30;
/// Chunks that are read at once.
const BATCH: usize = 64;

/// Reads a page of some address space, and tells where it is.
type ReadPage<'a> = dyn Fn(VirtAddr, &mut [u8; PAGE]) -> Result<PageOrigin, ReadError> + 'a;

/// Where records go.
struct Carver<'a> {
    watch: &'a Arc<Watch>,
    log: &'a mut Log,
    out: &'a mut Vec<Event>,
    /// Pages whose records have been read as parts of a chunk.
    seen: HashSet<PhysAddr>,
    /// Chunks that wait to be read, all at once.
    chunks: Vec<Chunk>,
}

/// The bytes of a chunk, with a bit for each page that is missing, and where they were found.
struct Chunk {
    bytes: Vec<u8>,
    holes: u16,
    at: VirtAddr,
    source: Arc<Source>,
}

/// A place is told as an address with something before and after it.
struct Source {
    before: String,
    after: String,
}

impl Chunk {
    fn read(&self) -> (Log, Vec<Event>) {
        let (mut log, mut events) = (Log::default(), Vec::new());
        log.strict = true;
        let Source { before, after } = &*self.source;
        log.chunk(&self.bytes, self.holes, &|offset| format!("{before}{}{after}", self.at.offset(offset as u64)), &mut events);
        (log, events)
    }
}

/// Reads every record that memory holds. What could not be looked at is told.
pub fn carve(windows: &Windows, watch: &Arc<Watch>, log: &mut Log, out: &mut Vec<Event>) -> Vec<String> {
    log.strict = true;
    let mut carver = Carver { watch, log, out, seen: HashSet::new(), chunks: Vec::new() };
    let mut notes = Vec::new();
    let is_log =
        |path: &str| path.len() > 5 && path.is_char_boundary(path.len() - 5) && path[path.len() - 5..].eq_ignore_ascii_case(".evtx");
    let (views, files, trouble) = windows.views(is_log, watch);
    notes.extend(trouble);
    for view in &views {
        if view.end.0 - view.start.0 > MOST_VIEW {
            notes.push(format!("the view of {} at {} is looked at up to {MOST_VIEW:#x} bytes", view.path, view.start));
        }
        let name = view.path.rsplit('\\').next().unwrap_or_default();
        let source = Source { before: format!("pid {} ", view.pid), after: format!(" ({name})") };
        let end = view.end.min(view.start.offset(MOST_VIEW));
        carver.view(view.start, end, &|at, page| view.page(at, page), source);
    }
    carver.kept(windows, &files);
    let marks = match windows.event_marks(watch) {
        Ok(pools) => pools,
        Err(why) => {
            notes.push(format!("memory was not searched for event records: {why}"));
            return notes;
        }
    };
    let marks = &marks.events;
    if marks.full {
        notes.push("there are more beginnings of event records than are looked at".to_owned());
    }
    let cached: Vec<PhysAddr> = marks.chunks.iter().copied().filter(|frame| !carver.seen.contains(frame)).collect();
    let mut places: Vec<VirtAddr> = windows.kernel_places(&cached).into_values().collect();
    places.sort();
    for start in places {
        if watch.cancelled() {
            return notes;
        }
        // What follows in the next view of the cache belongs to another file, or to another part of this one.
        let end = VirtAddr((start.0 | (CACHE_VIEW - 1)).min(start.0 + CHUNK as u64 - 1));
        carver.view(start, end, &|at, page| windows.kernel_page(at, page), Source { before: String::new(), after: String::new() });
    }
    carver.read();
    carver.loose(windows, &marks.records);
    notes
}

/// Whether some page of memory on which a record begins names a provider.
pub fn holds_provider(windows: &Windows, provider: &Guid, watch: &Watch) -> bool {
    let Ok(marks) = windows.event_marks(watch) else { return false };
    let mut page = [0; PAGE];
    let mut names = |frame| windows.physical(frame, &mut page).is_ok() && memmem::find(&page, &provider.0).is_some();
    marks.events.records.chunk_by(|a, b| a.page() == b.page()).filter_map(|group| group.first()).any(|mark| names(mark.page()))
}

impl Carver<'_> {
    /// Reads the chunks of a view. The pages of one lie anywhere in memory, or are missing.
    fn view(&mut self, start: VirtAddr, end: VirtAddr, page: &ReadPage<'_>, source: Source) {
        let source = Arc::new(source);
        let mut at = start;
        while at <= end && !self.watch.cancelled() {
            let mut first = [0; PAGE];
            let Ok(origin) = page(at, &mut first) else {
                at = at.offset(PAGE_SIZE);
                continue;
            };
            if !first.starts_with(CHUNK_MAGIC) {
                at = at.offset(PAGE_SIZE);
                continue;
            }
            let new = origin.physical().is_none_or(|frame| self.seen.insert(frame.page()));
            let mut bytes = vec![0; CHUNK];
            let mut holes = 0;
            for (index, place) in bytes.as_chunks_mut::<PAGE>().0.iter_mut().enumerate() {
                let here = at.offset((index * PAGE) as u64);
                match page(here, place) {
                    Ok(origin) if here <= end => {
                        if let Some(frame) = origin.physical() {
                            self.seen.insert(frame.page());
                        }
                    }
                    _ => {
                        place.fill(0);
                        holes |= 1 << index;
                    }
                }
            }
            if new {
                self.chunks.push(Chunk { bytes, holes, at, source: Arc::clone(&source) });
                if self.chunks.len() >= BATCH {
                    self.read();
                }
            }
            at = at.offset(CHUNK as u64);
        }
    }

    /// Reads the chunks that wait.
    fn read(&mut self) {
        let read: Vec<_> = std::mem::take(&mut self.chunks).par_iter().map(Chunk::read).collect();
        for (log, events) in read {
            self.log.join(log);
            self.out.extend(events);
        }
    }

    /// Reads the logs that the memory manager and the file cache keep without a view of a process. Offsets in the file stand for addresses.
    fn kept(&mut self, windows: &Windows, files: &BTreeSet<VirtAddr>) {
        for file in files {
            let Ok((path, contents)) = windows.cached_file(*file, self.watch) else { continue };
            let name = path.value().and_then(|path| path.rsplit('\\').next()).unwrap_or_default();
            for content in contents.iter().filter(|content| content.end() > 0) {
                let source = Source { before: format!("file object {file} "), after: format!(" ({name})") };
                let page = |at: VirtAddr, out: &mut [u8; PAGE]| {
                    let after = content.parts().partition_point(|part| part.offset <= at.0);
                    let part = after.checked_sub(1).and_then(|index| content.parts().get(index)).filter(|part| at.0 < part.end());
                    let part = part.ok_or(ReadError::InMappedFile(at))?;
                    let inside = at.0 - part.offset;
                    match part.place {
                        Place::Memory(start) => windows.kernel_page(start.offset(inside), out),
                        Place::Entries(first) => {
                            let origin = windows.shared_page(first.offset(inside / PAGE_SIZE * 8))?;
                            let frame = origin.physical().ok_or(ReadError::InMappedFile(at))?;
                            windows.physical(frame.page(), out).map(|()| origin)
                        }
                        _ => Err(ReadError::InMappedFile(at)),
                    }
                };
                let end = content.end().min(MOST_VIEW);
                self.view(VirtAddr(0), VirtAddr(end - 1), &page, source);
            }
        }
    }

    /// Records in pages that no view shows. One that goes on in another page is joined with it where that page tells that it is the one.
    fn loose(&mut self, windows: &Windows, marks: &[PhysAddr]) {
        let watch = self.watch;
        let mut page = [0; PAGE];
        let mut heads: Vec<(PhysAddr, Head)> = Vec::new();
        let marks: Vec<PhysAddr> = marks.iter().copied().filter(|mark| !self.seen.contains(&mark.page())).collect();
        for group in marks.chunk_by(|a, b| a.page() == b.page()) {
            let Some(frame) = group.first().map(|mark| mark.page()).filter(|frame| windows.physical(*frame, &mut page).is_ok()) else {
                continue;
            };
            if watch.cancelled() {
                return;
            }
            let mut after = 0;
            for mark in group {
                let at = mark.in_page() as usize;
                let rest = page.get(at..).unwrap_or_default();
                let Some(head) = Head::read(rest).filter(|_| at >= after) else { continue };
                // A record whose end is elsewhere must at least have a time.
                if head.ends(rest).unwrap_or(head.written != 0) {
                    heads.push((frame.offset(at as u64), head));
                    after = at + head.size;
                }
            }
        }
        // The first record of each page, by its number and by how many bytes of another stand before it.
        let mut firsts: HashMap<(u64, usize), PhysAddr> = HashMap::new();
        for group in heads.chunk_by(|(a, _), (b, _)| a.page() == b.page()) {
            if let Some((at, head)) = group.first() {
                firsts.insert((head.number, at.in_page() as usize), at.page());
            }
        }
        for (at, head) in heads {
            let there = (PAGE - at.in_page() as usize).min(head.size);
            let mut bytes = vec![0; head.size.max(LEAST_RECORD)];
            let Some(begin) = bytes.get_mut(..there).filter(|_| !watch.cancelled()) else { return };
            if windows.physical(at, begin).is_err() {
                continue;
            }
            if there < head.size {
                let rest = head.size - there;
                let next = at.page().offset(PAGE_SIZE);
                let by_number = firsts.get(&(head.number.wrapping_add(1), rest)).copied();
                // Neighbours in the log are rarely neighbours in memory, but the end of the record tells.
                let found = [by_number, Some(next)].into_iter().flatten().any(|from| {
                    let end = bytes.get_mut(there..).is_some_and(|end| windows.physical(from, end).is_ok());
                    end && head.ends(&bytes) == Some(true)
                });
                if !found {
                    bytes.truncate(there);
                }
            }
            self.log.orphan(&bytes, format!("physical {at}"), false);
        }
    }
}
