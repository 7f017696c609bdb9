//! Executable regions with what is needed to judge them: content of private ones, differences of mapped ones from their files.

use super::maps::Mapping;
use super::tasks::Task;
use super::{Linux, capabilities, entrances, maps, path, uprobes};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Behind, Change, Detour, Entrance, Exhibit, Known, Protection, ReadError, Record, Scope, Sink, Watch, Way};
use crate::paging::{AddressSpace, Leaf};
use crate::symbols::Object;
use std::cell::OnceCell;
use std::sync::Arc;

/// What a debugger writes over the first byte of an instruction (int3).
const BREAKPOINT: u8 = 0xcc;
/// Bytes kept of a region's start.
const HEAD: usize = 64;
/// Pages of one region that are looked into.
const MOST_PAGES: u64 = 4096;

type Page = [u8; PAGE_SIZE as usize];

/// Shows every executable region of the processes that a query is about.
pub fn exhibits<T: Record>(linux: &Linux, scope: Scope, out: &mut Sink<T>, mut show: impl FnMut(Exhibit, &mut Sink<T>)) {
    let mut seen = 0;
    linux.each_task("executable regions", scope, out, |task, out| {
        seen += 1;
        of_task(linux, task, out, &mut show)
    });
    out.note(format!("processes looked at: {seen}; regions that show no sign are not listed"));
}

fn of_task<T: Record>(
    linux: &Linux,
    task: &Task<'_>,
    out: &mut Sink<T>,
    show: &mut impl FnMut(Exhibit, &mut Sink<T>),
) -> Result<(), ReadError> {
    let Some(mm) = task.object.follow("mm")? else { return Ok(()) };
    let space = linux.space_of(&task.object)?;
    let (mappings, trouble) = maps::mappings(&mm, out.watch());
    if let Some(why) = trouble.first() {
        out.note(format!("{} regions of {} {} could not be judged: {why}", trouble.len(), task.name, task.pid));
    }
    let program = mm.follow("exe_file")?.and_then(|file| file.pointer("f_inode").ok());
    let code = mappings.iter().filter(|mapping| mapping.protection.execute).filter_map(|mapping| mapping.file.as_ref());
    let images: Arc<[String]> = code.filter_map(|file| path::of_file(file).ok()).map(path::FilePath::shown).collect();
    let runs = mm.follow("exe_file")?.and_then(|file| path::of_file(&file).ok()).map(|path| Arc::from(path.shown()));
    let mut exhibits = Vec::new();
    for mapping in mappings.iter().filter(|mapping| !linux.is_special(mapping)) {
        if out.cancelled() {
            return Ok(());
        }
        let (_, rights) = space.resident(mapping.start, mapping.end);
        if mapping.protection.execute || rights.is_some_and(|rights| rights.execute) {
            let mut exhibit = linux.exhibit(task, &space, mapping, rights, program, out.watch());
            for change in &mut exhibit.changes {
                change.detour = detour(&space, &mappings, change.at);
            }
            exhibits.push(Exhibit { images: Arc::clone(&images), program: runs.clone(), ..exhibit });
        }
    }
    let range = |exhibit: &Exhibit| exhibit.start..exhibit.end.offset(1);
    let private = |exhibit: &&mut Exhibit| exhibit.behind == Behind::Nothing && !exhibit.content.is_empty();
    let regions: Vec<_> = exhibits.iter_mut().filter(private).map(|exhibit| range(exhibit)).collect();
    let changes = exhibits.iter().flat_map(|exhibit| exhibit.changes.iter().map(move |change| (exhibit, change)));
    let detours: Vec<_> = changes
        .filter_map(|(exhibit, change)| {
            let file = exhibit.file.value().map_or("a file", String::as_str);
            let from = format!("the code of {file} at {} jumps there", change.at);
            Some(Entrance { way: Way::Detour, from, to: change.detour.as_ref()?.to })
        })
        .collect();
    if !regions.is_empty() {
        let mut ways = entrances::of_task(task, &space, &regions);
        ways.extend(detours);
        let lists = linux.perf_maps(out.watch());
        for exhibit in exhibits.iter_mut().filter(private) {
            let region = range(exhibit);
            exhibit.entrances = ways.iter().filter(|way| region.contains(&way.to)).cloned().collect();
            let lists = lists.iter().map(|list| (list.path.clone(), list.within(&region)));
            exhibit.listed = lists.filter(|(_, functions)| *functions > 0).max_by_key(|(_, functions)| *functions);
        }
    }
    exhibits.into_iter().for_each(|exhibit| show(exhibit, out));
    Ok(())
}

/// Where rewritten code jumps, in the end, and the file there.
fn detour(space: &AddressSpace, mappings: &[Mapping<'_>], at: VirtAddr) -> Option<Detour> {
    let mapping = |at: VirtAddr| maps::at(mappings, at);
    let to = space.detour(at, |at| mapping(at).map(|mapping| mapping.file.is_some()))?;
    let file = mapping(to)?.file.as_ref().map(|file| path::of_file(file).map(path::FilePath::shown));
    Some(Detour { to, file: file.transpose().into() })
}

impl Linux {
    fn exhibit(
        &self,
        task: &Task<'_>,
        space: &AddressSpace,
        mapping: &Mapping<'_>,
        page_rights: Option<Protection>,
        program: Option<VirtAddr>,
        watch: &Watch,
    ) -> Exhibit {
        let mut head = vec![0; HEAD];
        let path = mapping.file.as_ref().map(path::of_file).transpose();
        let head = match space.read(mapping.start, &mut head) {
            Err(ReadError::NotMapped(_)) => Known::Absent,
            read => read.map(|()| head).into(),
        };
        let mut exhibit = Exhibit {
            pid: task.pid,
            process: task.name.clone(),
            process_address: task.object.address,
            start: mapping.start,
            end: VirtAddr(mapping.end.0 - 1),
            protection: mapping.protection,
            page_rights,
            file: path.clone().map(|path| path.map(path::FilePath::shown)).into(),
            behind: match (&mapping.file, path) {
                (None, _) => Behind::Nothing,
                (Some(file), path) => {
                    let path = path.ok().flatten();
                    let text = path.as_ref().map_or("", |path| path.text.as_str());
                    // Shared memory without a name of its own is no program that somebody deleted.
                    let shared = text.starts_with("/dev/zero") || text.starts_with("/SYSV");
                    let deleted = path.as_ref().is_some_and(|path| path.deleted) && !shared;
                    Behind::File {
                        program: file.pointer("f_inode").ok().is_some_and(|inode| Some(inode) == program),
                        deleted,
                        replaced: deleted && self.replaced.knows(file).unwrap_or(false),
                        anonymous: text.starts_with("/memfd:"),
                    }
                }
            },
            head,
            ..Exhibit::default()
        };
        match &mapping.file {
            None => (exhibit.content, exhibit.pages, exhibit.unread) = space.content(mapping.start, mapping.end, MOST_PAGES),
            Some(file) => self.gather_changes(task, space, mapping, file, &mut exhibit, watch),
        }
        exhibit
    }

    fn gather_changes(
        &self,
        task: &Task<'_>,
        space: &AddressSpace,
        mapping: &Mapping<'_>,
        file: &Object<'_>,
        exhibit: &mut Exhibit,
        watch: &Watch,
    ) {
        let (inode, first) = (file.pointer("f_inode").unwrap_or_default(), mapping.object.uint("vm_pgoff"));
        let filled_in = OnceCell::new();
        let mut breakpoints = true;
        space.mapped(mapping.start, mapping.end, &mut |at, leaf, length| {
            exhibit.pages += length / PAGE_SIZE;
            if exhibit.pages > MOST_PAGES || !self.is_anonymous(leaf).unwrap_or(false) {
                return;
            }
            let index = first.ok().map(|first| first.wrapping_add((at.0 - mapping.start.0) / PAGE_SIZE));
            let pages = index.and_then(|index| Some((index.wrapping_mul(PAGE_SIZE), self.both(file, index, leaf)?)));
            let Some((page, (mut was, is))) = pages else { return exhibit.copies.push(at) };
            if was == is {
                return exhibit.restored.push(at);
            }
            // What the kernel and the loader have written is not held against anyone, and does not hide what else was written.
            let probes = self.uprobes(watch);
            let probed = uprobes::allow(&mut was, &is, |place| probes.contains(&(inode, page.wrapping_add(place as u64))));
            if was != is
                && let Some(places) = filled_in.get_or_init(|| self.relocations(file))
                && places.allow(page, &mut was, &is)
                && was == is
            {
                return exhibit.relocated.push(at);
            }
            if probed && was == is {
                return exhibit.probed.push(at);
            }
            breakpoints &= was.iter().zip(&is).all(|(was, is)| was == is || *is == BREAKPOINT);
            exhibit.copies.push(at);
            exhibit.changes.extend(Change::first(at, &was, &is));
        });
        if breakpoints && !exhibit.changes.is_empty() {
            exhibit.debugger = capabilities::tracer(&task.object).ok().flatten().map(|pid| format!("process {pid}"));
        }
    }

    /// A mapping that the kernel itself made, such as the vDSO.
    fn is_special(&self, mapping: &Mapping<'_>) -> bool {
        let special = self.context().symbol("special_mapping_vmops").ok();
        special.is_some() && mapping.object.pointer("vm_ops").ok() == special
    }

    /// Whether a frame holds a private page of a process, not one of the page cache: the lowest bit of its mapping
    /// (PAGE_MAPPING_ANON, include/linux/page-flags.h).
    fn is_anonymous(&self, leaf: Leaf) -> Result<bool, ReadError> {
        let Some(frame) = leaf.frame() else { return Ok(false) };
        Ok(self.page(frame)?.uint("mapping")? & 1 != 0)
    }

    /// A page of a file as the page cache has it, and as a process has it; None where one of them is not in memory.
    fn both(&self, file: &Object<'_>, index: u64, leaf: Leaf) -> Option<(Page, Page)> {
        let cached = self.cached_page(file, index)?;
        let (mut was, mut is) = ([0; PAGE_SIZE as usize], [0; PAGE_SIZE as usize]);
        self.image.read(cached, &mut was).ok()?;
        self.image.read(leaf.frame()?, &mut is).ok()?;
        Some((was, is))
    }
}
