//! Files as memory holds them: from the mappings of a process, with what it changed in them, and from the page cache.

use super::{Linux, libraries, maps, path};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Content, Known, Part, Place, ReadError, Watch};
use crate::symbols::Object;

/// Pages of one file that are looked for: 16 GiB.
const MOST_PAGES: u64 = 1 << 22;

/// A file in memory.
pub struct MappedFile {
    /// Where a process has it.
    pub base: VirtAddr,
    pub path: Known<String>,
    pub content: Content,
}

impl Linux {
    /// A file that a process has mapped as code: the one that begins at an address, or else its program. None where there is none.
    pub fn mapped_file(&self, process: VirtAddr, base: Option<VirtAddr>, watch: &Watch) -> Result<Option<MappedFile>, ReadError> {
        let task = self.context().object("task_struct", process)?;
        let Some(mm) = task.follow("mm")? else { return Ok(None) };
        let space = self.space_of(&task)?;
        let (mappings, trouble) = maps::mappings(&mm, watch);
        let program = match base {
            None => Some(mm.follow_some("exe_file")?.pointer("f_inode")?),
            Some(_) => None,
        };
        let wanted = |image: &libraries::Image<'_>| match base {
            Some(base) => image.start == base,
            None => image.file.pointer("f_inode").ok() == program,
        };
        let images = libraries::images(&mappings);
        let Some(image) = images.iter().find(|image| wanted(image)) else { return Ok(None) };
        let inode = image.file.pointer("f_inode")?;
        let size = file_size(&image.file)?;
        let mut parts = Vec::new();
        let mut left = MOST_PAGES;
        for mapping in mappings.iter().filter(|mapping| image.start <= mapping.start && mapping.end <= image.end) {
            let of_file = mapping.file.as_ref().filter(|file| file.pointer("f_inode").is_ok_and(|other| other == inode));
            let Some(file) = of_file else { continue };
            let first = mapping.object.uint("vm_pgoff")?;
            let pages = (mapping.end.0 - mapping.start.0) / PAGE_SIZE;
            let pages = pages.min(size.div_ceil(PAGE_SIZE).saturating_sub(first)).min(left);
            left -= pages;
            for page in 0..pages {
                if watch.cancelled() {
                    break;
                }
                let (offset, at) = ((first + page) * PAGE_SIZE, mapping.start.offset(page * PAGE_SIZE));
                // What the process has not touched yet is in the page cache all the same.
                let cached = || self.cached_page(file, first + page).map_or(Place::Memory(at), Place::Frames);
                let place = if space.backing(at).is_ok() { Place::Memory(at) } else { cached() };
                add(&mut parts, offset, place);
            }
        }
        let mut content = Content { size: Known::Value(size), layout: Known::Value("file"), ..Content::new("library", parts) };
        content.source = Known::Value(inode);
        // The loader clears what is behind the data in its last page, where files keep their section headers.
        content
            .changes
            .push("none by kioku; pages that the process may write are as it left them, --file has them as the page cache does".to_owned());
        content.problems.extend(trouble.first().map(|why| format!("{} regions are missing: {why}", trouble.len())));
        Ok(Some(MappedFile { base: image.start, path: shown(&image.file), content }))
    }

    /// What the page cache has of a file, by its struct file or its inode.
    pub fn cached_file(&self, object: VirtAddr, watch: &Watch) -> Result<(Known<String>, Content), ReadError> {
        let file = self.context().object("file", object)?;
        let (host, path) = match file.follow_some("f_mapping").and_then(|cache| host(&cache)) {
            Ok(host) => (host, shown(&file)),
            Err(why) => {
                let inode = self.context().object("inode", object)?;
                let host = inode.follow_some("i_mapping").and_then(|cache| host(&cache)).ok().filter(|host| host.address == object);
                (host.ok_or(why)?, self.inode_path(&inode).into())
            }
        };
        let (cache, size) = (host.follow_some("i_mapping")?, host.uint("i_size")?);
        let mut parts = Vec::new();
        for (page, frame) in self.pages_in(&cache, size, watch)? {
            add(&mut parts, page * PAGE_SIZE, Place::Frames(frame));
        }
        let source = Known::Value(cache.address);
        Ok((path, Content { size: Known::Value(size), source, ..Content::new("page_cache", parts) }))
    }

    /// The inode whose pages a struct file leads to.
    pub fn inode_of_file(&self, file: VirtAddr) -> Option<VirtAddr> {
        self.context().object("file", file).and_then(|file| Ok(host(&file.follow_some("f_mapping")?)?.address)).ok()
    }

    /// The struct file behind a VMA.
    pub fn file_of_region(&self, region: VirtAddr) -> Option<VirtAddr> {
        let file = self.context().object("vm_area_struct", region).and_then(|area| area.pointer("vm_file")).ok()?;
        file.is_kernel().then_some(file)
    }
}

fn shown(file: &Object<'_>) -> Known<String> {
    path::of_file(file).map(path::FilePath::shown).into()
}

/// The inode of a cache of pages, which agree about each other.
fn host<'a>(cache: &Object<'a>) -> Result<Object<'a>, ReadError> {
    let host = cache.follow_some("host")?;
    let agreed = host.address.is_kernel() && host.pointer("i_mapping")? == cache.address;
    agreed.then_some(host).ok_or(ReadError::Implausible("struct file"))
}

fn file_size(file: &Object<'_>) -> Result<u64, ReadError> {
    file.follow_some("f_inode")?.uint("i_size")
}

/// Adds a page; one that goes on where the last ended makes that longer.
fn add(parts: &mut Vec<Part>, offset: u64, place: Place) {
    if let Some(last) = parts.last_mut()
        && last.end() == offset
        && match (&last.place, &place) {
            (Place::Memory(first), Place::Memory(at)) => first.offset(last.length) == *at,
            (Place::Frames(PhysAddr(first)), Place::Frames(at)) => first.wrapping_add(last.length) == at.0,
            _ => false,
        }
    {
        last.length += PAGE_SIZE;
        return;
    }
    parts.push(Part { offset, length: PAGE_SIZE, place });
}
