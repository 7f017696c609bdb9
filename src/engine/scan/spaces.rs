//! Address spaces, part by part: what is mapped there, at the addresses that it has there.

use super::{Search, WINDOW, Window, preceding, search_windows, show};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::engine::{Error, Session};
use crate::facts::{Known, PageOrigin, Protection, ReadError, Region, Rows as _, Scope, Sighting, Sink, Watch};
use crate::paging::AddressSpace;
use std::ops::Range;
use std::sync::Arc;

impl Session {
    pub(super) fn search_kernel(&self, search: &Search, out: &mut Sink<Sighting>) {
        let space = self.system().space();
        let parts = space.upper_half().into_iter().map(|(_, start, end)| Part { start, end, region: None }).collect();
        self.search_space(search, space, parts, out);
    }

    pub(super) fn search_process(&self, search: &Search, process: VirtAddr, out: &mut Sink<Sighting>) -> Result<(), Error> {
        let space = self.system().process_space(process).map_err(|why| Error(format!("process {process}: {why}")))?;
        let watch = Arc::clone(out.watch());
        let regions = self.typed::<Region>(Scope::Process(process), &watch)?;
        regions.notes().iter().for_each(|note| out.note(note));
        let part = |region: &Region| Part { start: region.start, end: region.end.offset(1), region: Some(region.clone()) };
        self.search_space(search, &space, regions.iter().map(part).collect(), out);
        Ok(())
    }

    fn search_space(&self, search: &Search, space: &AddressSpace, parts: Vec<Part>, out: &mut Sink<Sighting>) {
        let beyond = search.patterns.beyond() as u64;
        let windows: Vec<Mapped<'_>> = parts.iter().flat_map(|part| part.windows(self, space, beyond, out.watch())).collect();
        let (mut hits, missing) = search_windows(search, &windows, out);
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

/// A range of an address space.
struct Part {
    start: VirtAddr,
    /// The first byte after it.
    end: VirtAddr,
    region: Option<Region>,
}

/// What is searched of a part at once.
struct Mapped<'a> {
    session: &'a Session,
    space: &'a AddressSpace,
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
    fn windows<'a>(&'a self, session: &'a Session, space: &'a AddressSpace, beyond: u64, watch: &Watch) -> Vec<Mapped<'a>> {
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
            return vec![Mapped { session, space, part: self, start: self.start, end: self.end, mapped: extents, whole: true }];
        }
        let cut = |extent: Range<u64>| {
            (extent.start..extent.end).step_by(WINDOW as usize).map(move |start| {
                let end = extent.end.min(start.saturating_add(WINDOW));
                let mapped = start..extent.end.min(end.saturating_add(beyond));
                Mapped { session, space, part: self, start: VirtAddr(start), end: VirtAddr(end), mapped: vec![mapped], whole: false }
            })
        };
        extents.into_iter().flat_map(cut).collect()
    }
}

impl Window for Mapped<'_> {
    fn own(&self) -> usize {
        (self.end.0 - self.start.0) as usize
    }
    fn whole(&self) -> bool {
        self.whole
    }

    fn read(&self) -> (Vec<u8>, Vec<Range<usize>>, u64) {
        let last = self.mapped.last().map_or(self.end.0, |extent| extent.end).max(self.end.0);
        let mut bytes = vec![0; (last - self.start.0) as usize];
        let (mut runs, mut missing): (Vec<Range<usize>>, u64) = (Vec::new(), 0);
        for extent in &self.mapped {
            let mut at = extent.start;
            while at < extent.end {
                let next = extent.end.min((at | (PAGE_SIZE - 1)).saturating_add(1));
                let place = (at - self.start.0) as usize..(next - self.start.0) as usize;
                let read = bytes.get_mut(place.clone()).map(|piece| self.space.read_in_page(VirtAddr(at), piece));
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

    fn before(&self, at: usize) -> Arc<[u8]> {
        preceding(self.start.offset(at as u64).0, |at, bytes| self.space.read(VirtAddr(at), bytes))
    }

    fn place(&self, at: usize) -> Sighting {
        let (at, region) = (self.start.offset(at as u64), self.part.region.as_ref());
        Sighting {
            physical_address: match self.space.translate(at) {
                Err(ReadError::InPagefile { .. }) => Known::Absent,
                translated => translated.into(),
            },
            pid: region.map(|region| region.pid).into(),
            process: region.map(|region| region.process.clone()).into(),
            address: Known::Value(at),
            kind: Known::Value(region.map_or("kernel", |region| region.kind)),
            protection: rights(self.space, at),
            file: region.map_or_else(|| self.session.system().name_at(None, at).into(), |region| region.file.clone()),
            process_address: region.map(|region| region.process_address).into(),
            ..Sighting::default()
        }
    }
}
