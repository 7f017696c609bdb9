//! Files mapped as code: the program and its libraries, held against the list that the dynamic loader keeps.

use super::tasks::Task;
use super::{Linux, maps, path};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Known, Library, ReadError, Scope, Sink};
use crate::paging::AddressSpace;
use crate::symbols::Object;
use std::collections::{HashMap, HashSet};

/// Far more libraries than any program loads, and more namespaces (dlmopen) than glibc allows.
const MOST_LIBRARIES: usize = 1 << 16;
const MOST_NAMESPACES: usize = 64;
/// A program header table of more than 64 KiB is refused by the kernel; a dynamic section has a few dozen entries.
const MOST_HEADERS: u64 = 2048;
const MOST_ENTRIES: u64 = 4096;

/// Entries of the auxiliary vector (include/uapi/linux/auxvec.h).
const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_BASE: u64 = 7;
/// The ELF format (include/uapi/linux/elf.h).
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_PHDR: u64 = 6;
const DT_NULL: u64 = 0;
const DT_DEBUG: u64 = 21;

/// A file mapped as code: all of its mappings that belong together.
pub struct Image<'a> {
    pub start: VirtAddr,
    pub end: VirtAddr,
    pub file: Object<'a>,
    /// Page of the file at which the last mapping begins.
    page: u64,
    executable: bool,
}

pub fn libraries(linux: &Linux, scope: Scope, out: &mut Sink<Library>) {
    linux.each_task("libraries", scope, out, |task, out| of_task(linux, task, out));
}

fn of_task(linux: &Linux, task: &Task<'_>, out: &mut Sink<Library>) -> Result<(), ReadError> {
    let Some(mm) = task.object.follow("mm")? else { return Ok(()) };
    let space = linux.space_of(&task.object)?;
    let (mappings, trouble) = maps::mappings(&mm, out.watch());
    if let Some(why) = trouble.first() {
        out.note(format!("{} regions of {} {} are missing: {why}", trouble.len(), task.name, task.pid));
    }
    let memory = Memory { linux, space: &space, mappings: &mappings };
    let listed = Program::of(&mm).and_then(|program| program.map(|program| program.dynamic_sections(&memory)).transpose());
    for image in images(&mappings) {
        let path = path::of_file(&image.file);
        let name = path.as_ref().map(|path| path.text.rsplit('/').next().unwrap_or_default().to_owned()).map_err(|why| *why).into();
        let in_load = match &listed {
            Ok(Some(Some(sections))) => Known::Value(sections.iter().any(|section| (image.start..image.end).contains(section))),
            // A static program has no loader, and one that has not begun to run no list.
            Ok(_) => Known::Absent,
            Err(why) => Known::Unreadable(*why),
        };
        out.push(Library {
            pid: task.pid,
            process: task.name.clone(),
            base: image.start,
            size: image.end.0 - image.start.0,
            name,
            path: path.map(path::FilePath::shown).into(),
            in_load,
            ..Library::default()
        });
    }
    Ok(())
}

/// The files that are mapped as code, each with its data. `mappings` are in the order of their addresses; a file's parts are mapped
/// in the order in which they stand in the file, so that one which begins earlier in it begins a second copy.
pub fn images<'a>(mappings: &[maps::Mapping<'a>]) -> Vec<Image<'a>> {
    let mut images: Vec<Image<'a>> = Vec::new();
    let mut latest: HashMap<VirtAddr, usize> = HashMap::new();
    for mapping in mappings {
        let Some(file) = &mapping.file else { continue };
        let (Ok(inode), Ok(page)) = (file.pointer("f_inode"), mapping.object.uint("vm_pgoff")) else { continue };
        if let Some(image) = latest.get(&inode).and_then(|index| images.get_mut(*index))
            && page >= image.page
        {
            image.end = mapping.end;
            image.page = page;
            image.executable |= mapping.protection.execute;
            continue;
        }
        latest.insert(inode, images.len());
        let executable = mapping.protection.execute;
        images.push(Image { start: mapping.start, end: mapping.end, file: file.clone(), page, executable });
    }
    // A copy that is only read, such as the loader's own look at a file, is no code.
    images.retain(|image| image.executable);
    images
}

/// A process's memory, with the pages of files that it has not touched yet: a fork starts without them.
struct Memory<'a> {
    linux: &'a Linux,
    space: &'a AddressSpace,
    mappings: &'a [maps::Mapping<'a>],
}

impl Memory<'_> {
    fn uint(&self, at: VirtAddr, size: u32) -> Result<u64, ReadError> {
        match self.space.uint(at, size) {
            Err(why @ ReadError::NotMapped(_)) => self.of_file(at, size).ok_or(why),
            read => read,
        }
    }

    /// From the page cache.
    fn of_file(&self, at: VirtAddr, size: u32) -> Option<u64> {
        let mapping = self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&at))?;
        let page = mapping.object.uint("vm_pgoff").ok()?.checked_add((at.0 - mapping.start.0) / PAGE_SIZE)?;
        let frame = self.linux.cached_page(mapping.file.as_ref()?, page)?;
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size as usize)?;
        if at.in_page() + u64::from(size) > PAGE_SIZE {
            return None;
        }
        self.space.image().read(frame.offset(at.in_page()), part).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// What the kernel told a program of itself when it started.
struct Program {
    /// 8 bytes, or 4 in a 32-bit program.
    word: u32,
    headers: VirtAddr,
    /// Number and size of the program headers.
    count: u64,
    stride: u64,
}

/// A program header: type, offset in the file, address before loading.
struct Header {
    kind: u64,
    offset: u64,
    address: u64,
}

impl Program {
    /// From the auxiliary vector that the kernel keeps: pairs of words, 32 bits each in a 32-bit program.
    fn of(mm: &Object<'_>) -> Result<Option<Self>, ReadError> {
        let (count, stride) = mm.array("saved_auxv")?;
        let mut bytes = vec![0; (count.min(1024) * stride) as usize];
        mm.context().space.read(mm.at("saved_auxv")?, &mut bytes)?;
        for word in [8, 4] {
            let vector = pairs(&bytes, word);
            let value = |wanted| vector.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
            // The size of a header (56 or 32 bytes) tells whether the pairs were read right.
            let (word, size) = if word == 8 { (8, 56) } else { (4, 32) };
            if let (Some(headers), Some(count), Some(stride)) = (value(AT_PHDR), value(AT_PHNUM), value(AT_PHENT))
                && stride == size
                && headers != 0
            {
                // Without an address for the loader there is none.
                let loaded = value(AT_BASE).is_none_or(|base| base != 0);
                return Ok(loaded.then(|| Self { word, headers: VirtAddr(headers), count: count.min(MOST_HEADERS), stride }));
            }
        }
        Ok(None)
    }

    fn header(&self, memory: &Memory<'_>, index: u64) -> Result<Header, ReadError> {
        let at = self.headers.offset(index * self.stride);
        let read = |offset: u64, size| memory.uint(at.offset(offset), size);
        // Elf64_Phdr has its flags before the offset, Elf32_Phdr at its end.
        let (offset, address) = if self.word == 8 { (8, 16) } else { (4, 8) };
        Ok(Header { kind: read(0, 4)?, offset: read(offset, self.word)?, address: read(address, self.word)? })
    }

    fn pointer(&self, memory: &Memory<'_>, at: VirtAddr, index: u64) -> Result<VirtAddr, ReadError> {
        memory.uint(at.offset(index * u64::from(self.word)), self.word).map(VirtAddr)
    }

    /// The dynamic sections of everything that the dynamic loader has on its list: each lies inside its library. None for a program
    /// without a loader, or whose loader has no list yet.
    fn dynamic_sections(&self, memory: &Memory<'_>) -> Result<Option<Vec<VirtAddr>>, ReadError> {
        let headers = (0..self.count).map(|index| self.header(memory, index)).collect::<Result<Vec<_>, _>>()?;
        let find = |kind| headers.iter().find(|header| header.kind == kind);
        let (Some(dynamic), Some(_)) = (find(PT_DYNAMIC), find(PT_INTERP)) else { return Ok(None) };
        // How far from its own addresses the program was loaded. The table follows the ELF header, 64 or 52 bytes, where nothing says more.
        let bias = match (find(PT_PHDR), headers.iter().find(|header| header.kind == PT_LOAD && header.offset == 0)) {
            (Some(table), _) => self.headers.0.wrapping_sub(table.address),
            (None, Some(first)) => self.headers.0.wrapping_sub(if self.word == 8 { 64 } else { 52 }).wrapping_sub(first.address),
            (None, None) => 0,
        };
        let dynamic = VirtAddr(dynamic.address.wrapping_add(bias));
        let mut debug = VirtAddr(0);
        for index in 0..MOST_ENTRIES {
            match self.pointer(memory, dynamic, index * 2)?.0 {
                DT_NULL => break,
                DT_DEBUG => {
                    debug = self.pointer(memory, dynamic, index * 2 + 1)?;
                    break;
                }
                _ => {}
            }
        }
        let mut sections = Vec::new();
        let mut seen = HashSet::new();
        for _ in 0..MOST_NAMESPACES {
            if debug.is_null() || !seen.insert(debug) {
                break;
            }
            // struct r_debug (link.h): version, list, three more words; since version 2 the next namespace's.
            let version = memory.uint(debug, 4)?;
            let mut entry = self.pointer(memory, debug, 1)?;
            while !entry.is_null() && sections.len() < MOST_LIBRARIES && seen.insert(entry) {
                // struct link_map (link.h): load address, name, dynamic section, next, previous.
                sections.push(self.pointer(memory, entry, 2)?);
                entry = self.pointer(memory, entry, 3)?;
            }
            debug = if version >= 2 { self.pointer(memory, debug, 5)? } else { VirtAddr(0) };
        }
        Ok(if sections.is_empty() { None } else { Some(sections) })
    }
}

/// The pairs of an auxiliary vector, up to its end.
fn pairs(bytes: &[u8], word: usize) -> Vec<(u64, u64)> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let pairs = bytes.chunks_exact(word * 2).map(|pair| (number(&pair[..word]), number(&pair[word..])));
    pairs.take_while(|(kind, _)| *kind != AT_NULL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auxiliary_vectors_of_both_widths() {
        let wide: Vec<u8> =
            [AT_PHDR, 0x40_0040, AT_PHENT, 56, AT_NULL, 0, AT_PHNUM, 9].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(pairs(&wide, 8), [(AT_PHDR, 0x40_0040), (AT_PHENT, 56)]);
        let narrow: Vec<u8> = [3u32, 0x0804_8034, 4, 32, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(pairs(&narrow, 4), [(AT_PHDR, 0x0804_8034), (AT_PHENT, 32)]);
        assert!(pairs(&narrow, 8).iter().all(|(kind, _)| *kind != AT_PHENT), "not mistaken for a wide one");
    }
}
