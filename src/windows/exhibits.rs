//! Executable regions with what is needed to judge them.

use super::processes::Task;
use super::threads::of_process;
use super::vads::Vad;
use super::{Windows, entrances};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Behind, Change, Detour, Entrance, Exhibit, Known, Protection, ReadError, Record, Scope, Sink, Watch, Way};
use crate::paging::{AddressSpace, Leaf};
use crate::symbols::Object;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes kept of a region's start.
const HEAD: usize = 64;
/// Pages of one region that are looked into.
const MOST_PAGES: u64 = 4096;

/// Shows every executable region of the processes that a query is about.
pub fn exhibits<T: Record>(windows: &Windows, scope: Scope, out: &mut Sink<T>, mut show: impl FnMut(Exhibit, &mut Sink<T>)) {
    let mut seen = 0;
    let headers = OnceCell::new();
    windows.each_task("executable regions", scope, out, |task, out| {
        seen += 1;
        of_task(windows, task, &headers, out, &mut show)
    });
    out.note(format!("processes looked at: {seen}; regions that show no sign are not listed"));
}

fn of_task<T: Record>(
    windows: &Windows,
    task: &Task<'_>,
    headers: &OnceCell<HashSet<PhysAddr>>,
    out: &mut Sink<T>,
    show: &mut impl FnMut(Exhibit, &mut Sink<T>),
) -> Result<(), ReadError> {
    let space = windows.space_of(&task.object)?;
    let (vads, trouble) = windows.vads(&task.object, out.watch());
    if let Some(why) = trouble.first() {
        out.note(format!("{} regions of {} {} could not be judged: {why}", trouble.len(), task.name, task.pid));
    }
    let images: Arc<[String]> = vads.iter().filter(|vad| vad.image).filter_map(|vad| vad.file_name().ok().flatten()).collect();
    let threads: Vec<(u32, VirtAddr)> = of_process(&task.object).into_iter().flatten().flat_map(|thread| starts(&thread)).collect();
    let base = task.object.pointer("SectionBaseAddress").ok();
    let runs = vads.iter().find(|vad| vad.image && Some(vad.start) == base).and_then(|vad| vad.file_name().ok().flatten()).map(Arc::from);
    let (mut unknown, mut untold) = ((0, None), (0, None));
    let mut exhibits = Vec::new();
    for vad in &vads {
        if out.cancelled() {
            return Ok(());
        }
        // A VAD keeps the rights of its allocation; what VirtualProtect does is in the page tables alone.
        let mut resident = windows.resident(&space, &vads, vad);
        let rights = resident.ok().and_then(|(_, rights)| rights);
        if let Err(why) = resident {
            untold.0 += 1;
            untold.1.get_or_insert(why);
        }
        if vad.protection.execute || rights.is_some_and(|rights| rights.execute) {
            let threads = threads.iter().filter(|(_, start)| (vad.start..=vad.end).contains(start)).copied().collect();
            let mut exhibit =
                Exhibit { threads, images: Arc::clone(&images), program: runs.clone(), ..windows.exhibit(task, &space, vad, rights) };
            // The header of an image that others have mapped is in nobody's private memory: the page table is not this region's.
            let mut images = exhibit.content.iter().filter(|(_, bytes)| vad.private && bytes.starts_with(b"MZ"));
            let headers = || headers.get_or_init(|| windows.image_headers(out.watch()));
            if images.any(|(at, _)| space.translate(*at).is_ok_and(|at| headers().contains(&at))) {
                resident = Err(ReadError::Implausible("page table"));
                untold.0 += 1;
                untold.1.get_or_insert(ReadError::Implausible("page table"));
                if !vad.protection.execute {
                    continue;
                }
            }
            if resident.is_err() {
                (exhibit.content, exhibit.unread) = (Vec::new(), exhibit.pages);
            }
            if let Some(change) = exhibit.changes.first_mut() {
                change.detour = entrances::detour(&space, &vads, change.at);
            }
            if let (Behind::File { .. }, Known::Unreadable(why)) = (&exhibit.behind, &exhibit.file) {
                unknown.0 += 1;
                unknown.1.get_or_insert(*why);
            }
            exhibits.push(exhibit);
        }
    }
    let ways = ways_in(&task.object, &space, &vads, &exhibits, out.watch());
    for mut exhibit in exhibits {
        exhibit.entrances = ways.iter().filter(|way| holds(&exhibit, way.to)).cloned().collect();
        show(exhibit, out);
    }
    if let (count, Some(why)) = untold {
        out.note(format!("of {count} regions of {} {} it cannot be told what is in them: {why}", task.name, task.pid));
    }
    if let (count, Some(why)) = unknown {
        out.note(format!("of {count} regions of {} {} it cannot be told whether a file is behind them: {why}", task.name, task.pid));
    }
    Ok(())
}

fn holds(exhibit: &Exhibit, at: VirtAddr) -> bool {
    exhibit.behind == Behind::Nothing && (exhibit.start..=exhibit.end).contains(&at)
}

/// What leads into executable memory that no file backs; nothing is searched where there is none.
fn ways_in(process: &Object<'_>, space: &AddressSpace, vads: &[Vad<'_>], exhibits: &[Exhibit], watch: &Watch) -> Vec<Entrance> {
    let wanted = |at: VirtAddr| exhibits.iter().any(|exhibit| holds(exhibit, at));
    if !exhibits.iter().any(|exhibit| exhibit.behind == Behind::Nothing) {
        return Vec::new();
    }
    let mut ways = entrances::queued(process, wanted);
    ways.extend(entrances::imported(space, vads, watch, wanted));
    let changes = exhibits.iter().flat_map(|exhibit| exhibit.changes.iter().map(move |change| (exhibit, change)));
    for (exhibit, change) in changes {
        if let Some(Detour { to, .. }) = change.detour.as_ref().filter(|detour| wanted(detour.to)) {
            let file = exhibit.file.value().map_or("a file", String::as_str);
            ways.push(Entrance { way: Way::Detour, from: format!("the code of {file} at {} jumps there", change.at), to: *to });
        }
    }
    ways
}

/// Where a thread began: for the kernel, and for who asked for it.
fn starts(thread: &Object<'_>) -> Vec<(u32, VirtAddr)> {
    let Ok(tid) = thread.inner("Cid").and_then(|cid| cid.u32("UniqueThread")) else { return Vec::new() };
    let mut starts: Vec<_> = ["StartAddress", "Win32StartAddress"].into_iter().filter_map(|field| thread.pointer(field).ok()).collect();
    starts.dedup();
    starts.into_iter().map(|start| (tid, start)).collect()
}

impl Windows {
    fn exhibit(&self, task: &Task<'_>, space: &AddressSpace, vad: &Vad<'_>, page_rights: Option<Protection>) -> Exhibit {
        let mut head = vec![0; HEAD];
        let head = match space.read(vad.start, &mut head) {
            Err(ReadError::NotMapped(_)) => Known::Absent,
            read => read.map(|()| head).into(),
        };
        let file = vad.file_name();
        let mut exhibit = Exhibit {
            pid: task.pid,
            process: task.name.clone(),
            process_address: task.object.address,
            start: vad.start,
            end: vad.end,
            protection: vad.protection,
            page_rights,
            behind: match &file {
                Ok(None) => Behind::Nothing,
                _ if vad.has_no_file() => Behind::Nowhere,
                _ => Behind::File { program: false, deleted: vad.is_deleted(), anonymous: false },
            },
            file: file.into(),
            head,
            ..Exhibit::default()
        };
        match exhibit.behind {
            Behind::Nothing => (exhibit.content, exhibit.pages, exhibit.unread) = space.content(vad.start, vad.end.offset(1), MOST_PAGES),
            Behind::File { .. } | Behind::Nowhere => self.gather_changes(space, vad, &mut exhibit),
        }
        exhibit
    }

    /// The frames of the first pages of all images that processes have mapped.
    fn image_headers(&self, watch: &Watch) -> HashSet<PhysAddr> {
        let mut frames = HashSet::new();
        for task in self.tasks(Scope::Machine, watch).iter().take_while(|_| !watch.cancelled()) {
            let Ok(space) = self.space_of(&task.object) else { continue };
            let (vads, _) = self.vads(&task.object, watch);
            frames.extend(vads.iter().filter(|vad| vad.image).filter_map(|vad| space.translate(vad.start).ok()));
        }
        frames
    }

    /// Code pages that are a process's own and differ from the page that all others share.
    fn gather_changes(&self, space: &AddressSpace, vad: &Vad<'_>, exhibit: &mut Exhibit) {
        // At another base than the one that the section was relocated to, every page with an address in it differs.
        let moved = vad.section_base().is_ok_and(|base| base != vad.start);
        let shared = self.shared_frames(vad);
        let difference = |at, leaf: Leaf| {
            let (own, shared) = (leaf.frame()?, shared(at)?);
            let (mut was, mut is) = ([0; PAGE_SIZE as usize], [0; PAGE_SIZE as usize]);
            (own != shared).then_some(())?;
            self.image.read(shared, &mut was).ok()?;
            self.image.read(own, &mut is).ok()?;
            Change::first(at, &was, &is)
        };
        space.mapped(vad.start, vad.end.offset(1), &mut |at, leaf, length| {
            exhibit.pages += length / PAGE_SIZE;
            if exhibit.pages <= MOST_PAGES
                && leaf.executable
                && !moved
                && let Some(change) = difference(at, leaf)
            {
                exhibit.copies.push(at);
                exhibit.changes.push(change);
            }
        });
    }
}
