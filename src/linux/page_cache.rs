//! Files of which the page cache holds something, by the inodes of every file system.

use super::{Linux, mounts, path, perf_maps, xarray};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::linux::CachedFile;
use crate::facts::{Answer, Known, ReadError, Rows as _, Scope, Sink, State, Time, Watch};
use crate::symbols::Object;
use std::sync::Arc;

const MOST_INODES: usize = 1 << 22;
/// Pages of one file that are looked for: 16 GiB.
const MOST_PAGES: usize = 1 << 22;
/// Pages that stand in a tree once: of 1 GiB, the largest that the processor maps as one (hugetlbfs).
const MOST_TOGETHER: u64 = 1 << 18;
/// Mounts of one file system that are looked at for one that leads to a file.
const MOST_MOUNTS: usize = 64;
/// Names of one file that are looked at.
const MOST_NAMES: usize = 1 << 12;
/// Lists the libraries that the loader of programs forces into all of them.
pub const PRELOADS: &str = "/etc/ld.so.preload";

pub fn page_cache(linux: &Linux, scope: Scope, out: &mut Sink<CachedFile>) {
    // The page cache belongs to the machine, whichever process is asked about.
    let _ = scope;
    walk(linux, None, out);
}

/// All files of which something is in memory, or those that may have names that `wanted` picks: whoever is to be told of such a file need
/// not have pages of it. It can be a link to another, or lie where files have none, and does its work all the same.
fn walk(linux: &Linux, wanted: Option<&dyn Fn(&str) -> bool>, out: &mut Sink<CachedFile>) {
    let context = linux.context();
    let head = match context.symbol("super_blocks") {
        Ok(head) => head,
        Err(why) => return out.cut(format!("file systems cannot be found: {why}")),
    };
    let home = linux.home();
    let mut inodes = 0;
    let mut rows = 0;
    for file_system in context.list(head, "super_block", "s_list").take(mounts::MOST_FILE_SYSTEMS) {
        let file_system = match file_system {
            Ok(file_system) => file_system,
            Err(why) => return out.cut(format!("the list of file systems is broken: {why}")),
        };
        let known = match Known::from(file_system.text("s_id")) {
            Known::Value(name) if name.is_empty() => Known::Absent,
            known => known,
        };
        let described =
            CachedFile { file_system: kind(&file_system).into(), device: known, super_block: file_system.address, ..CachedFile::default() };
        let mounts = places(&file_system, home);
        let roots: Vec<_> = mounts.iter().filter_map(root).collect();
        let list = match file_system.list("s_inodes", "inode", "i_sb_list") {
            Ok(list) => list,
            Err(why) => return out.cut(format!("inodes cannot be found: {why}")),
        };
        let (mut missing, mut trouble) = (0, None);
        for inode in list {
            inodes += 1;
            if out.cancelled() {
                return;
            }
            if inodes > MOST_INODES {
                return out.cut(format!("more than {MOST_INODES} inodes are not looked at"));
            }
            let row = inode.and_then(|inode| {
                if inode.pointer("i_sb")? != file_system.address {
                    return Err(ReadError::Implausible("inode"));
                }
                let name = match wanted {
                    Some(wanted) => match wanted_name(&inode, &roots, wanted) {
                        Ok(Some(name)) => Ok(Some(name)),
                        _ => return Ok(None),
                    },
                    None if inode.follow_some("i_mapping")?.uint("nrpages")? == 0 => return Ok(None),
                    None => names(&inode).and_then(|mut names| names.next().transpose()),
                };
                describe(&inode, name, &mounts, &described)
            });
            match row {
                Ok(Some(row)) => {
                    rows += 1;
                    out.push(row);
                }
                Ok(None) => {}
                Err(why) => {
                    missing += 1;
                    trouble = Some(why);
                }
            }
        }
        if let Some(why) = trouble {
            let name = described.device.value().map_or("a file system", String::as_str);
            out.cut(format!("the inodes of {name} could be read only in part, {missing} were not: {why}"));
        }
    }
    if rows == 0 && wanted.is_none() {
        out.note("no file system has an inode with pages in memory");
    }
}

/// Files of one path are found in full or in part, and that is where.
pub struct Cached {
    pub path: String,
    pub size: u64,
    pub deleted: bool,
    /// Pages that are in memory, by their number in the file.
    pub pages: Vec<(u64, PhysAddr)>,
}

impl Linux {
    /// The files in the page cache that tell of code by their names: lists of preloads, and those of just-in-time compilers.
    pub fn telling_files(&self, watch: &Arc<Watch>) -> Arc<Answer<CachedFile>> {
        self.telling_files.or_search(watch, || {
            let mut rows = Sink::new(Arc::clone(watch));
            walk(self, Some(&|name| name == path::last(PRELOADS) || perf_maps::is_named(name)), &mut rows);
            Arc::unwrap_or_clone(rows.finish())
        })
    }

    /// The files in the page cache whose paths `wanted` picks, and what is to be said of the search.
    pub fn cached_files(&self, wanted: impl Fn(&str) -> bool, watch: &Arc<Watch>) -> (Vec<Cached>, Vec<String>) {
        let mut rows = Sink::<CachedFile>::new(Arc::clone(watch));
        page_cache(self, Scope::Machine, &mut rows);
        self.pages_of_files(&rows.finish(), wanted, watch)
    }

    /// The pages of those files whose paths `wanted` picks.
    pub(super) fn pages_of_files(
        &self,
        rows: &Answer<CachedFile>,
        wanted: impl Fn(&str) -> bool,
        watch: &Watch,
    ) -> (Vec<Cached>, Vec<String>) {
        let mut notes = if rows.is_empty() || rows.state() == State::Cut { rows.notes().to_vec() } else { Vec::new() };
        let mut files = Vec::new();
        for row in rows.iter() {
            let (Some(path), Some(size)) = (row.path.value().filter(|path| wanted(path)), row.size.value()) else { continue };
            let cache = self.context().object("inode", row.address).and_then(|inode| inode.follow_some("i_mapping"));
            match cache.and_then(|cache| self.pages_in(&cache, *size, watch)) {
                Ok(pages) => files.push(Cached { path: path.clone(), size: *size, deleted: row.deleted, pages }),
                Err(why) => notes.push(format!("{path}: {why}")),
            }
        }
        (files, notes)
    }

    /// The frame of a file's page in the page cache.
    pub(super) fn cached_page(&self, file: &Object<'_>, index: u64) -> Option<PhysAddr> {
        self.page_in(&file.follow_some("f_mapping").ok()?, index)
    }

    /// The frame of a page in a cache of pages.
    pub(super) fn page_in(&self, cache: &Object<'_>, index: u64) -> Option<PhysAddr> {
        let (start, page) = xarray::at(&pages(cache).ok()?, index).ok()??;
        let within = index.checked_sub(start).filter(|within| *within < MOST_TOGETHER)?;
        self.frame_of(page).ok().map(|frame| frame.offset(within * PAGE_SIZE))
    }

    /// The pages in a cache of pages, by their number in the file, as far as the file goes.
    pub(super) fn pages_in(&self, cache: &Object<'_>, size: u64, watch: &Watch) -> Result<Vec<(u64, PhysAddr)>, ReadError> {
        let tree = pages(cache)?;
        // A size is a signed number (loff_t).
        let end = (size & i64::MAX.cast_unsigned()).div_ceil(PAGE_SIZE);
        let mut found = Vec::new();
        for (first, page) in xarray::indexed(&tree, MOST_PAGES)? {
            if watch.cancelled() || found.len() >= MOST_PAGES {
                break;
            }
            let Ok(frame) = self.frame_of(page) else { continue };
            // Pages that were allocated together stand in the tree once.
            // What the tree says of where they end is believed as far as there is memory.
            let last = end.min(first.saturating_add(MOST_TOGETHER));
            let together = (first..last)
                .map(|index| (index, frame.offset((index - first) * PAGE_SIZE)))
                .take_while(|(index, frame)| *index == first || self.image.holds(*frame))
                .take_while(|(index, _)| xarray::at(&tree, *index) == Ok(Some((first, page))));
            found.extend(together.take(MOST_PAGES - found.len()));
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found)
    }

    /// The inode of which a frame caches a page, as the frame, the inode and its cache say of each other. None where they do not.
    pub(super) fn cached_inode(&self, frame: PhysAddr) -> Result<Option<Object<'_>>, ReadError> {
        let context = self.context();
        let page = self.page(frame)?;
        // Pages that were allocated together are described by the first of them: the others lead to it by its address or, where there is a
        // compound_info, by a mask for their own.
        let told = page.uint(if page.has("compound_head") { "compound_head" } else { "compound_info" })?;
        let head = match VirtAddr(told & !1) {
            _ if told & 1 == 0 => page.address,
            head if head <= page.address => head,
            mask => VirtAddr(page.address.0 & mask.0),
        };
        let first = context.object(if self.profile.layout("folio").is_ok() { "folio" } else { "page" }, head)?;
        // Where the lowest bits are set it is no file's.
        let cache = first.pointer("mapping")?;
        if !cache.is_kernel() || cache.0 & 3 != 0 {
            return Ok(None);
        }
        let cache = context.object("address_space", cache)?;
        let Some(inode) = cache.follow("host")? else { return Ok(None) };
        let index = first.uint("index")?.wrapping_add(frame.0.wrapping_sub(self.frame_of(head)?.0) / PAGE_SIZE);
        let agreed = inode.pointer("i_mapping")? == cache.address && self.page_in(&cache, index) == Some(frame);
        Ok(Some(inode).filter(|_| agreed))
    }

    /// The path of an inode, as the first process sees it, where it can see it.
    pub(super) fn inode_path(&self, inode: &Object<'_>) -> Result<Option<String>, ReadError> {
        let mounts = places(&inode.follow_some("i_sb")?, self.home());
        let first = names(inode)?.next().transpose()?;
        Ok(first.map(|name| path_of(inode, &name, &mounts)).transpose()?.flatten().map(path::FilePath::shown))
    }

    /// Where the first process sees files: paths are told as they are there.
    fn home(&self) -> VirtAddr {
        let first = self.context().global("init_task", "task_struct");
        first.and_then(|task| task.follow_some("nsproxy")?.pointer("mnt_ns")).unwrap_or_default()
    }

    /// A page of physical memory.
    pub fn physical(&self, frame: PhysAddr, out: &mut [u8; PAGE_SIZE as usize]) -> Result<(), ReadError> {
        self.image.read(frame, out)
    }
}

/// The tree of a cache of pages.
fn pages<'a>(cache: &Object<'a>) -> Result<Object<'a>, ReadError> {
    cache.inner(if cache.has("i_pages") { "i_pages" } else { "page_tree" })
}

fn kind(file_system: &Object<'_>) -> Result<String, ReadError> {
    file_system.context().space.text(file_system.follow_some("s_type")?.pointer("name")?, 64)
}

/// What of its file system a mount shows.
fn root(mount: &Object<'_>) -> Option<VirtAddr> {
    mount.inner("mnt").and_then(|mount| mount.pointer("mnt_root")).ok()
}

/// The mounts of a file system, those first that a process is most likely to go through.
fn places<'a>(file_system: &Object<'a>, home: VirtAddr) -> Vec<Object<'a>> {
    let top = file_system.pointer("s_root").unwrap_or_default();
    let mut mounts = mounts::of_file_system(file_system).unwrap_or_default();
    mounts.sort_by_cached_key(|mount| {
        let namespace = mount.pointer("mnt_ns").unwrap_or_default();
        // Null while it is unmounted; an error number for the kernel's own.
        let mounted = namespace.is_kernel() && namespace.0 < PAGE_SIZE.wrapping_neg();
        let whole = root(mount) == Some(top);
        (!mounted, namespace != home, !whole, mount.uint("mnt_id").unwrap_or(u64::MAX))
    });
    mounts.truncate(MOST_MOUNTS);
    mounts
}

/// By one of its names. None for an inode that leads to the pages of another.
fn describe(
    inode: &Object<'_>,
    name: Result<Option<Object<'_>>, ReadError>,
    mounts: &[Object<'_>],
    file_system: &CachedFile,
) -> Result<Option<CachedFile>, ReadError> {
    let cache = inode.follow_some("i_mapping")?;
    // The inode of a device's node leads to the pages of the device, which has an inode of its own.
    if cache.pointer("host")? != inode.address {
        return Ok(None);
    }
    let path = name.and_then(|name| Ok(name.map(|name| path_of(inode, &name, mounts)).transpose()?.flatten()));
    Ok(Some(CachedFile {
        deleted: inode.uint("i_nlink") == Ok(0),
        path: path.map(|path| path.map(|path| path.text)).into(),
        inode: inode.uint("i_ino").into(),
        size: inode.uint("i_size").into(),
        cached_pages: cache.uint("nrpages")?,
        modify_time: time(inode, ["i_mtime", "__i_mtime"], ["i_mtime_sec", "i_mtime_nsec"]).into(),
        change_time: time(inode, ["i_ctime", "__i_ctime"], ["i_ctime_sec", "i_ctime_nsec"]).into(),
        access_time: time(inode, ["i_atime", "__i_atime"], ["i_atime_sec", "i_atime_nsec"]).into(),
        address: inode.address,
        ..file_system.clone()
    }))
}

/// A time of an inode: a timespec64 until 6.10 (with underscores from 6.6 on), then a pair of numbers.
fn time(inode: &Object<'_>, whole: [&'static str; 2], parts: [&'static str; 2]) -> Result<Time, ReadError> {
    let whole = whole.into_iter().find(|name| inode.has(name)).map(|name| inode.inner(name)).transpose()?;
    let (seconds, fraction) = match whole {
        Some(time) => (time.uint("tv_sec")?, time.uint("tv_nsec")?),
        None => (inode.uint(parts[0])?, inode.uint(parts[1])?),
    };
    // The kernel's own mark on a ctime that someone has asked for (I_CTIME_QUERIED).
    let fraction = fraction & 0x7fff_ffff;
    let sound = Some(fraction).filter(|fraction| *fraction < 1_000_000_000);
    let time = sound.and_then(|fraction| Time::from_nanoseconds(i128::from(seconds as i64) * 1_000_000_000 + i128::from(fraction), 9));
    time.ok_or(ReadError::Implausible("time of an inode"))
}

/// The names of an inode that the kernel keeps, those that were looked up last first.
fn names<'a>(inode: &Object<'a>) -> Result<impl Iterator<Item = Result<Object<'a>, ReadError>>, ReadError> {
    let (context, own) = (inode.context(), inode.address);
    // The link was in a named union until it lost its name.
    let layout = context.profile.layout("dentry")?;
    let member = if layout.field("d_u").is_ok() { "d_u" } else { "d_alias" };
    let mut at = context.object("hlist_head", inode.at("i_dentry")?)?.pointer("first")?;
    // A circle comes back to the one that is kept, each time for twice as long.
    let (mut kept, mut steps) = (VirtAddr(0), 0_usize);
    Ok(std::iter::from_fn(move || {
        if at.is_null() || at == kept || steps >= MOST_NAMES {
            return None;
        }
        steps += 1;
        if steps.is_power_of_two() {
            kept = at;
        }
        let name = context.container("dentry", member, at).and_then(|name| match name.pointer("d_inode")? {
            of if of == own => Ok(name),
            _ => Err(ReadError::Implausible("dentry")),
        });
        // Behind what is no name nothing is looked for.
        at = if name.is_ok() { context.space.pointer(at).unwrap_or_default() } else { VirtAddr(0) };
        Some(name)
    }))
}

/// The name for which a file is wanted, if its path may end in one. A file that is itself mounted has that of the place.
fn wanted_name<'a>(inode: &Object<'a>, mounted: &[VirtAddr], wanted: &dyn Fn(&str) -> bool) -> Result<Option<Object<'a>>, ReadError> {
    for name in names(inode)? {
        let name = name?;
        if mounted.contains(&name.address) || wanted(path::last(&path::name(&name)?)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// By one of its names, on the first mount that holds it; None where there is no mount.
fn path_of(inode: &Object<'_>, dentry: &Object<'_>, mounts: &[Object<'_>]) -> Result<Option<path::FilePath>, ReadError> {
    let above = path::above(dentry)?;
    if above.len() == 1 && dentry.address != inode.follow_some("i_sb")?.pointer("s_root")? {
        return path::of_root(dentry);
    }
    for mount in mounts {
        let mount = mount.inner("mnt")?;
        if above.contains(&mount.pointer("mnt_root")?) {
            return path::of(&mount, dentry).map(Some);
        }
    }
    Ok(None)
}
