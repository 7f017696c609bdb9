//! Executable regions with what is needed to judge them.

use super::processes::Task;
use super::threads::of_process;
use super::vads::Vad;
use super::{Windows, entrances, pe};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Behind, Change, Detour, Entrance, Exhibit, Known, Protection, ReadError, Record, Scope, Sink, Watch, Way};
use crate::paging::AddressSpace;
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
/// Own pages of one image whose originals are gone that are held against those of other processes; and how many of these must agree.
const MOST_COMPARED: usize = 256;
const LEAST_AGREEING: usize = 2;
/// Pages by which an image may be longer than its headers say: Windows adds some of its own behind it.
const MOST_ADDED: u64 = 16;
/// Far more than the system has: what is loaded before a system call is its number, or it is none.
const MOST_SYSTEM_CALLS: u32 = 0x2000;

/// Shows every executable region of the processes that a query is about.
pub fn exhibits<T: Record>(windows: &Windows, scope: Scope, out: &mut Sink<T>, mut show: impl FnMut(Exhibit, &mut Sink<T>)) {
    let mut seen = 0;
    let beside = Beside::default();
    windows.each_task("executable regions", scope, out, |task, out| {
        seen += 1;
        of_task(windows, task, &beside, out, &mut show)
    });
    out.note(format!("processes looked at: {seen}; regions that show no sign are not listed"));
}

/// What the regions of one process are held against in the others; gathered only where there is something to hold.
#[derive(Default)]
struct Beside<'a> {
    /// The frames of the first pages of all images.
    headers: OnceCell<HashSet<PhysAddr>>,
    spaces: OnceCell<Vec<(Task<'a>, AddressSpace)>>,
}

fn of_task<'a, T: Record>(
    windows: &'a Windows,
    task: &Task<'_>,
    beside: &Beside<'a>,
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
            let headers = if vad.private { None } else { pe::Headers::read(&space, vad.start).ok() };
            let exhibit = windows.exhibit(task, &space, vad, rights, headers.as_ref(), beside, out.watch());
            let mut exhibit = Exhibit { threads, images: Arc::clone(&images), program: runs.clone(), ..exhibit };
            // The header of an image that others have mapped is in nobody's private memory: the page table is not this region's.
            let mut images = exhibit.content.iter().filter(|(_, bytes)| vad.private && bytes.starts_with(b"MZ"));
            let first_pages = || beside.headers.get_or_init(|| windows.image_headers(out.watch()));
            if images.any(|(at, _)| space.translate(*at).is_ok_and(|at| first_pages().contains(&at))) {
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
            for change in &mut exhibit.changes {
                change.detour = entrances::detour(&space, &vads, change.at);
                change.function = headers.as_ref().and_then(|headers| headers.export_at(&space, change.at));
            }
            let runs = vad.image && rights.is_some_and(|rights| rights.execute);
            let missing = runs && loaded.as_ref().is_some_and(|loaded| !loaded.contains(&vad.start));
            // What .NET compiles it maps by itself; an image whose headers are not there may be of that kind.
            exhibit.unlisted = missing && headers.is_some_and(|headers| headers.is_managed(&space) == Ok(false));
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
    #[allow(clippy::too_many_arguments)]
    fn exhibit<'a>(
        &'a self,
        task: &Task<'_>,
        space: &AddressSpace,
        vad: &Vad<'_>,
        page_rights: Option<Protection>,
        headers: Option<&pe::Headers>,
        beside: &Beside<'a>,
        watch: &Watch,
    ) -> Exhibit {
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
            Behind::File { .. } | Behind::Nowhere => {
                let parts = headers.filter(|_| vad.image).map(|headers| data_parts(task, space, headers)).unwrap_or_default();
                let lost = self.gather_changes(space, vad, &parts, &mut exhibit);
                if !lost.is_empty() {
                    let open = |task: Task<'a>| Some((self.space_of(&task.object).ok()?, task)).map(|(space, task)| (task, space));
                    let all = || self.tasks(Scope::Machine, watch).into_iter().filter_map(open).collect();
                    self.hold_against_others(task, vad, &lost, beside.spaces.get_or_init(all), &mut exhibit);
                }
                if let Some(headers) = headers.filter(|_| vad.image) {
                    (exhibit.flat, exhibit.claimed) = oddities(space, vad, headers);
                }
            }
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

    /// Code pages that are a process's own and differ from the page that all others share; gives those whose shared page is gone.
    fn gather_changes(
        &self,
        space: &AddressSpace,
        vad: &Vad<'_>,
        data: &[pe::Section],
        exhibit: &mut Exhibit,
    ) -> Vec<(VirtAddr, PhysAddr)> {
        // At another base than the one that the section was relocated to, every page with an address in it differs.
        let shared = self.shared_frames(vad);
        let header = || self.frame(shared(vad.start)?).and_then(|page| pe::base(&page[..]));
        let moved = match vad.section_base() {
            Ok(base) if base.is_null() => header() != Some(vad.start),
            base => base.is_ok_and(|base| base != vad.start),
        };
        let mut lost = Vec::new();
        space.mapped(vad.start, vad.end.offset(1), &mut |at, leaf, length| {
            exhibit.pages += length / PAGE_SIZE;
            if exhibit.pages > MOST_PAGES {
                return;
            }
            let first = vad.image && at == vad.start;
            let held = (leaf.executable || first) && !moved;
            if let Some(own) = leaf.frame().filter(|_| held) {
                let original = shared(at);
                match original.filter(|shared| *shared != own).and_then(|shared| Some((self.frame(shared)?, self.frame(own)?))) {
                    Some((was, is)) => {
                        let mut changes = Change::each(at, &was[..], &is[..]).take(MOST_IN_PAGE).peekable();
                        if first {
                            exhibit.header = changes.next();
                        } else if changes.peek().is_some() {
                            exhibit.copies.push(at);
                            exhibit.changes.extend(changes.take(MOST_CHANGES.saturating_sub(exhibit.changes.len())));
                        }
                    }
                    // By the frame database it is this process's alone.
                    None if original != Some(own) && !first && vad.image && self.maps_frame(at, &leaf) == Some(true) => {
                        lost.push((at, own))
                    }
                    None => {}
                }
            }
            if leaf.executable
                && leaf.present
                && let Some(part) = data.iter().find(|part| part.holds(at))
            {
                exhibit.data_code.get_or_insert_with(|| (at, part.name.clone(), 0)).2 += 1;
            }
        });
        lost
    }

    /// The bytes of a page of memory; None where the image does not hold it.
    fn frame(&self, at: PhysAddr) -> Option<Box<[u8; PAGE_SIZE as usize]>> {
        let mut page = Box::new([0; PAGE_SIZE as usize]);
        self.image.read(at, &mut page[..]).ok().map(|()| page)
    }

    /// Holds pages of a process's own, whose originals are gone, against what other processes have of the same image at the same place:
    /// where more of them agree with each other than with this process, that is what its page was.
    fn hold_against_others(
        &self,
        task: &Task<'_>,
        vad: &Vad<'_>,
        lost: &[(VirtAddr, PhysAddr)],
        spaces: &[(Task<'_>, AddressSpace)],
        exhibit: &mut Exhibit,
    ) {
        let others = spaces.iter().filter(|(other, _)| other.object.address != task.object.address);
        let same_image =
            |other: &Task<'_>| self.vad_at(&other.object, vad.start).is_ok_and(|other| other.is_some_and(|it| it.is_like(vad)));
        let others: Vec<_> = others.filter(|(other, space)| space.backing(vad.start).is_ok() && same_image(other)).collect();
        for (at, own) in lost.iter().take(MOST_COMPARED) {
            let Some(is) = self.frame(*own) else { continue };
            exhibit.copies.push(*at);
            let (mut same, mut differing) = (Vec::new(), Vec::<(Box<_>, Vec<u32>)>::new());
            for (other, space) in &others {
                let Some(page) = space.translate(*at).ok().and_then(|frame| self.frame(frame)) else { continue };
                match differing.iter_mut().find(|(known, _)| *known == page) {
                    _ if page == is => same.push(other.pid),
                    Some((_, pids)) => pids.push(other.pid),
                    None => differing.push((page, vec![other.pid])),
                }
            }
            let most = differing.into_iter().max_by_key(|(_, pids)| pids.len());
            match most {
                Some((was, pids)) if pids.len() >= LEAST_AGREEING && pids.len() > same.len() + 1 => {
                    let room = MOST_CHANGES.saturating_sub(exhibit.changes.len()).min(MOST_IN_PAGE);
                    let changes = Change::each(*at, &was[..], &is[..]).take(room);
                    exhibit.changes.extend(changes.map(|change| Change { against: pids.clone(), ..change }));
                }
                most if same.len() >= LEAST_AGREEING && most.as_ref().is_none_or(|(_, pids)| pids.len() <= same.len()) => {
                    exhibit.alike.push((*at, same));
                }
                _ => exhibit.alone += 1,
            }
        }
    }
}

/// What is odd about the headers of an image: the alignment of sections that share pages, and a size that is not the one that was mapped.
fn oddities(space: &AddressSpace, vad: &Vad<'_>, headers: &pe::Headers) -> (Option<u64>, Option<u64>) {
    // The kernel grants every right to all pages of such an image. Drivers and tables of resources are made so, and are not run here.
    let flat = Some(headers.alignment).filter(|alignment| *alignment < PAGE_SIZE && headers.entry_point(space).is_ok_and(|at| at != 0));
    let runs = || space.resident(vad.start, vad.start.offset(PAGE_SIZE)).1.is_some_and(|rights| rights.execute);
    let (mapped, claimed) = ((vad.end.0 - vad.start.0 + 1) / PAGE_SIZE, u64::from(headers.size).div_ceil(PAGE_SIZE));
    let fits = (claimed..=claimed + MOST_ADDED).contains(&mapped);
    (flat.filter(|_| runs()), (!fits).then_some(headers.size.into()))
}

/// The parts of an image that its headers mark as data, where the processor keeps to that: in a 32-bit program it may not.
fn data_parts(task: &Task<'_>, space: &AddressSpace, headers: &pe::Headers) -> Vec<pe::Section> {
    let options = task.object.inner("Pcb").and_then(|process| process.inner("Flags"));
    if !options.and_then(|options| options.uint("ExecuteEnable")).is_ok_and(|enabled| enabled == 0) {
        return Vec::new();
    }
    let sections = headers.sections(space).unwrap_or_default();
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
