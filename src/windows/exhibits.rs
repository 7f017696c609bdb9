//! Executable regions with what is needed to judge them.

use super::processes::Task;
use super::threads::of_process;
use super::vads::Vad;
use super::{Windows, entrances, pe};
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
/// Places of one page, and of one image, that are told where code was rewritten.
const MOST_IN_PAGE: usize = 8;
const MOST_CHANGES: usize = 256;
/// Pages of one region whose bytes are weighed and searched for system calls, and system calls that are kept.
const MOST_WEIGHED: usize = 256;
const MOST_CALLS: usize = 64;
/// Bytes that are weighed together; where nearly all of them are alike, there is no code and no data.
const PIECE: usize = 512;
/// Far more than the system has: what is loaded before a system call is its number, or it is none.
const MOST_SYSTEM_CALLS: u32 = 0x2000;

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
    let loaded = windows.loaded_images(&task.object, &vads);
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
            let headers = pe::Headers::read(&space, vad.start);
            for change in &mut exhibit.changes {
                change.detour = entrances::detour(&space, &vads, change.at);
                change.function = headers.as_ref().ok().and_then(|headers| headers.export_at(&space, change.at));
            }
            let runs = vad.image && rights.is_some_and(|rights| rights.execute);
            let missing = runs && loaded.as_ref().is_some_and(|loaded| !loaded.contains(&vad.start));
            // What .NET compiles it maps by itself; an image whose headers are not there may be of that kind.
            exhibit.unlisted = missing && headers.and_then(|headers| headers.is_managed(&space)) == Ok(false);
            if let (Behind::File { .. }, Known::Unreadable(why)) = (&exhibit.behind, &exhibit.file) {
                unknown.0 += 1;
                unknown.1.get_or_insert(*why);
            }
            exhibits.push(exhibit);
        }
    }
    let (ways, stacks) = ways_in(&task.object, &space, &vads, &exhibits, out.watch());
    for mut exhibit in exhibits {
        exhibit.stacks = stacks;
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

/// What leads into executable memory that no file backs, and of how many threads the place was looked for and not found; nothing is
/// searched where there is no such memory.
fn ways_in(
    process: &Object<'_>,
    space: &AddressSpace,
    vads: &[Vad<'_>],
    exhibits: &[Exhibit],
    watch: &Watch,
) -> (Vec<Entrance>, (u64, u64)) {
    let wanted = |at: VirtAddr| exhibits.iter().any(|exhibit| holds(exhibit, at));
    if !exhibits.iter().any(|exhibit| exhibit.behind == Behind::Nothing) {
        return Default::default();
    }
    let mut ways = entrances::queued(process, wanted);
    let stacks = entrances::stacks(process, space, &mut ways, watch, wanted);
    ways.extend(entrances::imported(space, vads, watch, wanted));
    let changes = exhibits.iter().flat_map(|exhibit| exhibit.changes.iter().map(move |change| (exhibit, change)));
    for (exhibit, change) in changes {
        if let Some(Detour { to, .. }) = change.detour.as_ref().filter(|detour| wanted(detour.to)) {
            let file = exhibit.file.value().map_or("a file", String::as_str);
            ways.push(Entrance { way: Way::Detour, from: format!("the code of {file} at {} jumps there", change.at), to: *to });
        }
    }
    (ways, stacks)
}

/// How evenly the bytes of a page are spread, in bits of 8; `counts` has how often each value occurs. None where too few are left to tell.
fn entropy(counts: &[u64; 256]) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let share = |count: &u64| *count as f64 / all as f64;
    let bits = counts.iter().filter(|count| **count > 0).map(share).map(|share| -share * share.log2()).sum();
    (all >= PAGE_SIZE / 2).then_some(bits)
}

/// System calls made here: a number is loaded, then the processor told to call, then the code returns, as only libraries of the system do.
fn system_calls(at: VirtAddr, page: &[u8], found: &mut Vec<(VirtAddr, u32)>) {
    const SYSCALL_RETURN: &[u8] = &[0x0f, 0x05, 0xc3];
    const REACH: usize = 32;
    for place in memchr::memmem::find_iter(page, SYSCALL_RETURN) {
        let before = page.get(place.saturating_sub(REACH)..place).unwrap_or_default();
        // mov eax, number
        let number = before.windows(5).rev().find_map(|code| match code {
            [0xb8, number @ ..] => {
                number.first_chunk().map(|number| u32::from_le_bytes(*number)).filter(|number| *number < MOST_SYSTEM_CALLS)
            }
            _ => None,
        });
        if let Some(number) = number.filter(|_| found.len() < MOST_CALLS) {
            found.push((at.offset(place as u64), number));
        }
    }
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
                _ => Behind::File { program: false, deleted: vad.is_deleted(), replaced: false, anonymous: false },
            },
            as_data: !vad.image && file.as_ref().is_ok_and(Option::is_some) && page_rights.is_some_and(|rights| rights.execute),
            file: file.into(),
            head,
            ..Exhibit::default()
        };
        match exhibit.behind {
            Behind::Nothing => {
                (exhibit.content, exhibit.pages, exhibit.unread) = space.content(vad.start, vad.end.offset(1), MOST_PAGES);
                weigh(space, &mut exhibit);
            }
            Behind::File { .. } | Behind::Nowhere => self.gather_changes(task, space, vad, &mut exhibit),
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
    fn gather_changes(&self, task: &Task<'_>, space: &AddressSpace, vad: &Vad<'_>, exhibit: &mut Exhibit) {
        // At another base than the one that the section was relocated to, every page with an address in it differs.
        let shared = self.shared_frames(vad);
        let header = || {
            let mut page = [0; PAGE_SIZE as usize];
            self.image.read(shared(vad.start)?, &mut page).ok().and_then(|()| pe::base(&page))
        };
        let moved = match vad.section_base() {
            Ok(base) if base.is_null() => header() != Some(vad.start),
            base => base.is_ok_and(|base| base != vad.start),
        };
        let differences = |at, leaf: Leaf| -> Option<Vec<Change>> {
            let (own, shared) = (leaf.frame()?, shared(at)?);
            let (mut was, mut is) = ([0; PAGE_SIZE as usize], [0; PAGE_SIZE as usize]);
            (own != shared).then_some(())?;
            self.image.read(shared, &mut was).ok()?;
            self.image.read(own, &mut is).ok()?;
            Some(Change::each(at, &was, &is).take(MOST_IN_PAGE).collect()).filter(|changes: &Vec<Change>| !changes.is_empty())
        };
        let data = if vad.image { data_parts(task, space, vad.start) } else { Vec::new() };
        space.mapped(vad.start, vad.end.offset(1), &mut |at, leaf, length| {
            exhibit.pages += length / PAGE_SIZE;
            if exhibit.pages > MOST_PAGES {
                return;
            }
            let first = vad.image && at == vad.start;
            if (leaf.executable || first)
                && !moved
                && let Some(changes) = differences(at, leaf)
            {
                if first {
                    exhibit.header = changes.into_iter().next();
                } else {
                    exhibit.copies.push(at);
                    exhibit.changes.extend(changes.into_iter().take(MOST_CHANGES.saturating_sub(exhibit.changes.len())));
                }
            }
            if leaf.executable
                && leaf.present
                && let Some(part) = data.iter().find(|part| part.holds(at))
            {
                exhibit.data_code.get_or_insert_with(|| (at, part.name.clone(), 0)).2 += 1;
            }
        });
    }
}

/// The parts of an image that its headers mark as data, where the processor keeps to that: in a 32-bit program it may not.
fn data_parts(task: &Task<'_>, space: &AddressSpace, base: VirtAddr) -> Vec<pe::Section> {
    let options = task.object.inner("Pcb").and_then(|process| process.inner("Flags"));
    if !options.and_then(|options| options.uint("ExecuteEnable")).is_ok_and(|enabled| enabled == 0) {
        return Vec::new();
    }
    let sections = pe::Headers::read(space, base).and_then(|headers| headers.sections(space)).unwrap_or_default();
    let (code, mut data): (Vec<_>, Vec<_>) = sections.into_iter().partition(|part| part.executable);
    // Sections that overlap are nobody's own.
    data.retain(|part| !code.iter().any(|other| other.holds(part.start)));
    data
}

/// Weighs the bytes of each page of memory that no file backs, and looks for system calls in it.
fn weigh(space: &AddressSpace, exhibit: &mut Exhibit) {
    for (at, _) in exhibit.content.iter().take(MOST_WEIGHED) {
        let Ok(page) = space.bytes::<{ PAGE_SIZE as usize }>(*at) else { continue };
        let mut counts = [0; 256];
        for piece in page.chunks(PIECE) {
            let mut own = [0; 256];
            piece.iter().for_each(|byte| own[usize::from(*byte)] += 1);
            if own.iter().all(|count| *count <= PIECE as u64 * 9 / 10) {
                counts.iter_mut().zip(own).for_each(|(count, own)| *count += own);
            }
        }
        if let Some(bits) = entropy(&counts).filter(|bits| exhibit.entropy.is_none_or(|(most, _)| most < *bits)) {
            exhibit.entropy = Some((bits, *at));
        }
        system_calls(*at, &page, &mut exhibit.system_calls);
    }
}
