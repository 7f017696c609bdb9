//! Files as the memory manager and the cache manager keep them: a file object leads to a section of its data, a section of its image, and
//! the views of it that the cache has mapped. The three may hold different pages, and different versions, of one file.

use super::files::IO_TYPE_FILE;
use super::vads::ENTRIES;
use super::{Windows, fast_ref};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Content, Known, PageOrigin, Part, Place, ReadError, Watch};
use crate::symbols::{Context, Object};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A file that was mapped in pieces has a few thousand subsections at most.
const MOST_SUBSECTIONS: usize = 1 << 14;
/// Pages of one section that are looked for: 64 GiB.
const MOST_PAGES: u64 = 1 << 24;
/// Pages of all files together that are looked through for those of some frames: 256 GiB.
const MOST_CACHED: u64 = 1 << 26;
/// Larger than any volume of NTFS.
const MOST_FILE: u64 = 1 << 53;
const PTE: u64 = 8;
/// Units in which subsections count bytes of a file: sectors of an image, pages of anything else (ntifs.h, MM_SECTION of the kernel).
const IMAGE_UNIT: u64 = 512;
const DATA_UNIT: u64 = 4096;

/// CACHE_NTC_SHARED_CACHE_MAP.
const SHARED_CACHE_MAP: u64 = 0x2ff;
/// A view of the cache (VACB_MAPPING_GRANULARITY of ntifs.h), and what one array of pointers to views has room for.
const VIEW_SHIFT: u32 = 18;
const LEVEL_SHIFT: u32 = 7;
/// Arrays of pointers that are read for one file: views of 512 GiB.
const MOST_ARRAYS: usize = 1 << 14;
/// The cache keeps a count in the lowest bits of a view's offset.
const COUNT: u64 = 0xffff;

/// A file that is cached: the prototype entries of its pages, in arrays of so many, and the views of it, of so many bytes.
#[derive(Debug)]
pub struct Cached {
    path: Known<String>,
    entries: Vec<(VirtAddr, u64)>,
    views: Vec<(VirtAddr, u64)>,
}

/// Frames that hold pages of files.
pub struct FilePages {
    files: Arc<Vec<Cached>>,
    found: HashMap<PhysAddr, usize>,
}

impl FilePages {
    /// The path of the file of which a frame holds a page.
    pub fn path(&self, frame: PhysAddr) -> Option<&Known<String>> {
        Some(&self.files.get(*self.found.get(&frame)?)?.path)
    }
}

impl Windows {
    /// What there is of a file, by its file object: its path, and each source of pages.
    pub fn cached_file(&self, file: VirtAddr, watch: &Watch) -> Result<(Known<String>, Vec<Content>), ReadError> {
        self.sources(file, &|first, count| self.last_page(first, count, watch))
    }

    /// The same where `last` tells how many of some entries count.
    fn sources(&self, file: VirtAddr, last: &dyn Fn(VirtAddr, u64) -> u64) -> Result<(Known<String>, Vec<Content>), ReadError> {
        let file = self.context().object("_FILE_OBJECT", file)?;
        if file.uint("Type")? != IO_TYPE_FILE || file.uint("Size")? != u64::from(file.layout().size) {
            return Err(ReadError::Implausible("_FILE_OBJECT"));
        }
        let path = Known::from(self.file_path(&file));
        let pointers = file.pointer("SectionObjectPointer")?;
        if pointers.is_null() {
            return Ok((path, Vec::new()));
        }
        let pointers = self.context().object("_SECTION_OBJECT_POINTERS", pointers)?;
        let [data, image, map] = ["DataSectionObject", "ImageSectionObject", "SharedCacheMap"].map(|field| pointers.pointer(field));
        let map = self.found("cache_map", map?, |map| cache_map(&self.context().object("_SHARED_CACHE_MAP", map)?));
        let told = map.as_ref().and_then(|map| map.size.value().copied()).or_else(|| file_size(&file).ok());
        let section = |kind, area: VirtAddr, unit| {
            self.found(kind, area, |area| {
                let area = self.context().object("_CONTROL_AREA", area)?;
                verify(&area, kind == "image_section")?;
                Ok(section(kind, &area, unit, told, last))
            })
        };
        let data = section("data_section", data?, DATA_UNIT);
        let image = section("image_section", image?, IMAGE_UNIT);
        Ok((path, [data, image, map].into_iter().flatten().collect()))
    }

    /// A source of pages; one that does not hold together is one without pages.
    fn found(&self, kind: &'static str, at: VirtAddr, read: impl FnOnce(VirtAddr) -> Result<Content, ReadError>) -> Option<Content> {
        if at.is_null() {
            return None;
        }
        let content = if at.is_kernel() { read(at) } else { Err(ReadError::Implausible("_SECTION_OBJECT_POINTERS")) };
        let content = content.unwrap_or_else(|why| Content { problems: vec![why.to_string()], ..Content::new(kind, Vec::new()) });
        Some(Content { source: Known::Value(at), ..content })
    }

    /// How many of these prototype entries there are up to the last whose page can be had.
    fn last_page(&self, first: VirtAddr, count: u64, watch: &Watch) -> u64 {
        let mut last = 0;
        self.each_page(first, count, watch, |index, page| {
            if page.physical().is_none_or(|frame| self.image.holds(frame)) {
                last = index + 1;
            }
        });
        last
    }

    /// The pages behind prototype entries, each with the entry's index.
    fn each_page(&self, first: VirtAddr, count: u64, watch: &Watch, mut page: impl FnMut(u64, PageOrigin)) {
        let mut index = 0;
        while index < count && !watch.cancelled() {
            let entry = first.offset(index * PTE);
            if self.space.backing(entry).is_err() {
                // The rest of that page of entries is not there either.
                index += (PAGE_SIZE - entry.in_page()) / PTE;
                continue;
            }
            if let Ok(there) = self.pages.shared(entry) {
                page(index, there);
            }
            index += 1;
        }
    }

    /// The files that have sections, by the file objects in the pool.
    fn cached_files(&self, watch: &Watch) -> Arc<Vec<Cached>> {
        self.cached.or_search(watch, || {
            let (mut files, mut seen, mut left) = (Vec::new(), HashSet::new(), MOST_CACHED);
            for file in self.objects_by_tag(b"File", "File", watch).unwrap_or_default() {
                if watch.cancelled() || left == 0 {
                    break;
                }
                // Several file objects may share what is cached of one file.
                let sections = self.context().object("_FILE_OBJECT", file).and_then(|file| file.pointer("SectionObjectPointer"));
                let Some(sections) = sections.ok().filter(|sections| sections.is_kernel() && seen.insert(*sections)) else { continue };
                let Ok((path, contents)) = self.sources(file, &|_, count| count) else { continue };
                let (mut entries, mut views) = (Vec::new(), Vec::new());
                for content in contents {
                    let area = content.source.value().copied().unwrap_or_default();
                    if content.kind != "cache_map" && !self.leads_back(area, sections).unwrap_or(false) {
                        continue;
                    }
                    for part in content.parts() {
                        match part.place {
                            Place::Entries(first) => {
                                let count = part.length.div_ceil(PAGE_SIZE).min(left);
                                left -= count;
                                entries.push((first, count));
                            }
                            Place::Memory(base) => views.push((base, part.length.next_multiple_of(PAGE_SIZE))),
                            _ => {}
                        }
                    }
                }
                if !entries.is_empty() {
                    files.push(Cached { path, entries, views });
                }
            }
            files
        })
    }

    /// Whether a control area's own file has it among its sections: what was freed does not.
    fn leads_back(&self, area: VirtAddr, sections: VirtAddr) -> Result<bool, ReadError> {
        let file = self.context().object("_CONTROL_AREA", area)?.inner("FilePointer")?.uint("Value")?;
        Ok(self.context().object("_FILE_OBJECT", fast_ref(file))?.pointer("SectionObjectPointer")? == sections)
    }

    /// The files of which these frames hold pages.
    pub(super) fn files_in(&self, frames: &[PhysAddr], watch: &Watch) -> FilePages {
        let wanted: HashSet<PhysAddr> = frames.iter().copied().collect();
        let files = if wanted.is_empty() { Arc::default() } else { self.cached_files(watch) };
        let mut found = HashMap::new();
        for (number, file) in files.iter().enumerate() {
            for (first, count) in &file.entries {
                self.each_page(*first, *count, watch, |index, page| {
                    let frame = page.physical().map(PhysAddr::page).filter(|frame| wanted.contains(frame));
                    if let Some(frame) = frame.filter(|frame| self.agrees(*frame, first.offset(index * PTE), file)) {
                        found.insert(frame, number);
                    }
                });
            }
        }
        FilePages { files, found }
    }

    /// Whether the frame database, where it tells of a frame at all, knows it in use for that prototype entry or for a view of the file.
    fn agrees(&self, frame: PhysAddr, entry: VirtAddr, file: &Cached) -> bool {
        let told = || -> Result<u64, ReadError> { Ok(self.frame_entry(frame)?.uint("PteAddress")? & !7) };
        let viewed = |at: u64| {
            file.views.iter().any(|(base, length)| {
                let first = base.0 / PAGE_SIZE * PTE % ENTRIES;
                (first..first + length / PAGE_SIZE * PTE).contains(&(at % ENTRIES))
            })
        };
        match told() {
            Ok(0) | Err(_) => true,
            Ok(at) => at == entry.0 || viewed(at),
        }
    }

    /// A page of a part of a file, by its number there; None where memory does not hold it, or never had it.
    pub(super) fn page_of_file(&self, part: &Part, number: u64) -> Option<Box<[u8; PAGE_SIZE as usize]>> {
        let mut page = Box::new([0; PAGE_SIZE as usize]);
        match &part.place {
            Place::Memory(at) => self.space.read(at.offset(number * PAGE_SIZE), &mut page[..]).ok()?,
            Place::Entries(first) => {
                let entry = first.offset(number * PTE);
                match self.shared_page(entry).ok()? {
                    PageOrigin::Zero => return None,
                    origin => self.space.read_backing(origin, entry.page(), &mut page[..]).map(drop).ok()?,
                }
            }
            Place::Frames(_) | Place::Changed(..) => return None,
        }
        Some(page)
    }

    /// The page behind a prototype entry.
    pub fn shared_page(&self, entry: VirtAddr) -> Result<PageOrigin, ReadError> {
        self.pages.shared(entry)
    }
}

/// What the file system says, which keeps this header before what it knows of an open file.
fn file_size(file: &Object<'_>) -> Result<u64, ReadError> {
    let at = file.pointer("FsContext")?;
    if !at.is_kernel() {
        return Err(ReadError::Implausible("FsContext"));
    }
    // Either begins with the fields that are wanted, and some kernels name only one.
    let common = file.context().object("_FSRTL_COMMON_FCB_HEADER", at);
    let header = common.or_else(|_| file.context().object("_FSRTL_ADVANCED_FCB_HEADER", at))?;
    let number = |field: &'static str| header.inner(field)?.uint("QuadPart");
    let (allocated, size) = (number("AllocationSize")?, number("FileSize")?);
    let sound = header.uint("NodeByteSize")? >= u64::from(header.layout().size) && size <= allocated && allocated <= MOST_FILE;
    if sound { Ok(size) } else { Err(ReadError::Implausible("_FSRTL_COMMON_FCB_HEADER")) }
}

/// Whether a control area is one, and of the right kind.
fn verify(area: &Object<'_>, image: bool) -> Result<(), ReadError> {
    let segment = area.context().object("_SEGMENT", area.pointer("Segment")?)?;
    let flags = area.inner("u")?.inner("Flags")?;
    let sound = segment.pointer("ControlArea")? == area.address && (flags.uint("Image")? != 0) == image;
    if sound { Ok(()) } else { Err(ReadError::Implausible("_CONTROL_AREA")) }
}

/// The subsections of a control area, whose prototype entries stand for the pages of the file in order.
fn section(kind: &'static str, area: &Object<'_>, unit: u64, told: Option<u64>, last: &dyn Fn(VirtAddr, u64) -> u64) -> Content {
    let context = area.context();
    let (mut parts, mut end, mut whole) = (Vec::new(), 0, true);
    let (mut seen, mut left) = (HashSet::new(), MOST_PAGES);
    // The first lies right behind the control area.
    let mut at = area.address.offset(area.layout().size.into());
    let mut walk = || -> Result<(), ReadError> {
        while !at.is_null() {
            if !at.is_kernel() || !seen.insert(at) || seen.len() > MOST_SUBSECTIONS {
                return Err(ReadError::Implausible("_SUBSECTION"));
            }
            let part = context.object("_SUBSECTION", at)?;
            let flags = part.inner("u")?.inner("SubsectionFlags")?;
            let (first, count) = (part.pointer("SubsectionBase")?, part.uint("PtesInSubsection")?);
            let start = (part.uint("StartingSector")? | flags.uint("StartingSector4132")? << 32) * unit;
            let length = part.uint("NumberOfFullSectors")? * unit + flags.uint("SectorEndOffset")?;
            if part.pointer("ControlArea")? != area.address || start > MOST_FILE {
                return Err(ReadError::Implausible("_SUBSECTION"));
            }
            // The kernel may have taken a larger file than the section was made for.
            end = end.max(start + length);
            let claimed = count.min(length.div_ceil(PAGE_SIZE));
            // Without a base the entries were not made yet, or are gone again.
            if first.is_kernel() && first.0.is_multiple_of(PTE) {
                let looked = claimed.min(left);
                whole &= looked == claimed;
                left -= looked;
                let pages = last(first, looked);
                parts.push(Part { offset: start, length: length.min(pages * PAGE_SIZE), place: Place::Entries(first) });
            }
            at = part.pointer("NextSubsection")?;
        }
        Ok(())
    };
    let damage = walk().err();
    let mut content = Content::new(kind, parts);
    // Pages beyond the end that is told: it is told wrongly, or was another when they were read.
    let short = told.filter(|told| told.next_multiple_of(PAGE_SIZE) < content.end());
    content.size = Known::Value(told.filter(|_| short.is_none()).unwrap_or(end));
    content.problems.extend(damage.map(|why| format!("its subsections break off: {why}")));
    if let Some(short) = short {
        content.problems.push(format!("its size is told as {short} bytes, but memory holds more of it: the size is that of the section"));
    } else if told.is_none() {
        content.problems.push("the file system's own record of its size was not found: the size is that of the section".to_owned());
    }
    if !whole {
        content.problems.push(format!("only {MOST_PAGES} pages were looked for"));
    }
    content
}

/// The views of a file that the cache has mapped.
fn cache_map(map: &Object<'_>) -> Result<Content, ReadError> {
    let number = |field: &'static str| map.inner(field)?.uint("QuadPart");
    if map.uint("NodeTypeCode")? != SHARED_CACHE_MAP {
        return Err(ReadError::Implausible("_SHARED_CACHE_MAP"));
    }
    let (size, section) = (number("FileSize")?, number("SectionSize")?);
    if size > MOST_FILE || section > MOST_FILE.next_multiple_of(1 << VIEW_SHIFT) {
        return Err(ReadError::Implausible("size of a cached file"));
    }
    let (first, initial) = (map.pointer("Vacbs")?, map.at("InitialVacbs")?);
    let (views, mut problems) = views(map, if first.is_null() { initial } else { first }, section);
    let parts = views.into_iter().filter(|(offset, _)| *offset < size).map(|(offset, base)| Part {
        offset,
        length: (size - offset).min(1 << VIEW_SHIFT),
        place: Place::Memory(base),
    });
    let mut content = Content { size: Known::Value(size), ..Content::new("cache_map", parts.collect()) };
    content.problems.append(&mut problems);
    Ok(content)
}

/// Offset and address of each view. Up to 32 MiB of a file are listed in one array, larger ones in a tree of arrays of 128, as deep as
/// the section's size demands.
fn views(map: &Object<'_>, first: VirtAddr, section: u64) -> (Vec<(u64, VirtAddr)>, Vec<String>) {
    let context = map.context();
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let (mut arrays, mut broken) = (0, 0);
    let mut depth = 0;
    while section > 1 << (VIEW_SHIFT + LEVEL_SHIFT * (depth + 1)) {
        depth += 1;
    }
    let mut seen = HashSet::new();
    let mut waiting = vec![(first, 0, depth)];
    while let Some((array, start, depth)) = waiting.pop() {
        if !array.is_kernel() || !array.0.is_multiple_of(8) || !seen.insert(array) || arrays >= MOST_ARRAYS {
            broken += 1;
            continue;
        }
        arrays += 1;
        let shift = VIEW_SHIFT + LEVEL_SHIFT * depth;
        let used = section.saturating_sub(start).div_ceil(1 << shift).min(1 << LEVEL_SHIFT);
        for index in 0..used {
            let offset = start + (index << shift);
            match context.space.pointer(array.offset(index * 8)) {
                Ok(next) if next.is_null() => {}
                Ok(next) if depth > 0 => waiting.push((next, offset, depth - 1)),
                Ok(next) => match view(context, next, map.address, offset) {
                    Ok(base) => found.push((offset, base)),
                    Err(_) => broken += 1,
                },
                Err(_) => broken += 1,
            }
        }
    }
    if broken > 0 {
        problems.push(format!("{broken} entries of the index of views do not hold together"));
    }
    (found, problems)
}

/// Where a view is mapped, if it says itself that it is this one.
fn view(context: Context<'_>, at: VirtAddr, map: VirtAddr, offset: u64) -> Result<VirtAddr, ReadError> {
    let view = context.object("_VACB", at)?;
    let base = view.pointer("BaseAddress")?;
    let told = view.inner("Overlay")?.inner("FileOffset")?.uint("QuadPart")? & !COUNT;
    let sound = at.is_kernel() && view.pointer("SharedCacheMap")? == map && told == offset && base.is_kernel() && base.in_page() == 0;
    if sound { Ok(base) } else { Err(ReadError::Implausible("_VACB")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::image::Image;
    use crate::paging::{AddressSpace, Levels};
    use crate::symbols::pack::{Module, Pack};
    use crate::symbols::{Profile, Shape, SymbolTable};
    use crate::windows::pages::WindowsPages;
    use std::sync::Arc;

    /// Where the made memory is mapped, by one large page.
    const BASE: VirtAddr = VirtAddr(0xffff_8000_0000_0000);
    const SIZE: usize = 2 << 20;
    const AREA: VirtAddr = BASE.offset(0x1000);
    const SEGMENT: VirtAddr = BASE.offset(0x2000);
    const MAP: VirtAddr = BASE.offset(0x3000);
    const ARRAYS: u64 = 0x1_0000;
    const VIEWS: u64 = 0x2_0000;
    const VIEW: VirtAddr = VirtAddr(0xffff_9000_0000_0000);

    struct Made {
        profile: Profile,
        bytes: Vec<u8>,
    }

    impl Made {
        fn new() -> Self {
            let pack = Pack::bundled().unwrap();
            let build = pack.builds().iter().rfind(|build| build.module != Module::Tcpip).unwrap();
            let profile = Profile::new(Box::new(pack.types(build).unwrap()), SymbolTable::default(), String::new());
            Self { profile, bytes: vec![0; SIZE] }
        }
        fn put(&mut self, structure: &'static str, at: VirtAddr, path: &[&'static str], value: u64) {
            let mut layout = self.profile.layout(structure).unwrap();
            let mut offset = (at.0 - BASE.0) as usize;
            for (index, name) in path.iter().enumerate() {
                let field = layout.field(name).unwrap();
                offset += field.offset as usize;
                match field.shape {
                    Shape::Struct(id) if index + 1 < path.len() => layout = self.profile.layout_of(id).unwrap(),
                    _ => {
                        let (shift, width) = field.bits.unwrap_or((0, (field.size * 8) as u8));
                        let place = &mut self.bytes[offset..offset + field.size as usize];
                        let mask = (u64::MAX >> (64 - u32::from(width))) << shift;
                        for (byte, (new, mask)) in place.iter_mut().zip((value << shift).to_le_bytes().into_iter().zip(mask.to_le_bytes()))
                        {
                            *byte = *byte & !mask | new & mask;
                        }
                    }
                }
            }
        }
        fn word(&mut self, at: u64, value: u64) {
            self.bytes[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
        }
        fn space(&self) -> AddressSpace {
            let mut memory = vec![0; 2 << 20];
            memory[0] = 0xf3;
            for (at, entry) in [(0x1800, 0x2003u64), (0x2000, 0x3003), (0x3000, 0x20_0083)] {
                memory[at..at + 8].copy_from_slice(&entry.to_le_bytes());
            }
            memory.extend_from_slice(&self.bytes);
            let image = Arc::new(Image::open_bytes("cache", memory.leak()).unwrap());
            AddressSpace::new(image, PhysAddr(0x1000), Levels::Four, Arc::new(WindowsPages::minimal()))
        }

        /// Subsection by number, in a row behind the control area.
        fn subsection(&mut self, index: u64, start: u64, pages: u64, next: Option<u64>) {
            let size = |name| u64::from(self.profile.layout(name).unwrap().size);
            let (head, each) = (size("_CONTROL_AREA"), size("_SUBSECTION"));
            let place = |index: u64| AREA.offset(head + index * each);
            let at = place(index);
            for (field, value) in [
                ("ControlArea", AREA.0),
                ("SubsectionBase", BASE.0 + 0x8000),
                ("PtesInSubsection", pages),
                ("StartingSector", start),
                ("NumberOfFullSectors", pages),
                ("NextSubsection", next.map_or(0, |next| place(next).0)),
            ] {
                self.put("_SUBSECTION", at, &[field], value);
            }
        }
        fn section(&self, told: Option<u64>) -> Content {
            let space = self.space();
            let area = Context { space: &space, profile: &self.profile }.object("_CONTROL_AREA", AREA).unwrap();
            section("data_section", &area, DATA_UNIT, told, &|_, count| count.min(16))
        }

        fn map(&mut self, size: u64, section: u64, first: u64) {
            for (field, value) in [("FileSize", size), ("SectionSize", section)] {
                self.put("_SHARED_CACHE_MAP", MAP, &[field, "QuadPart"], value);
            }
            self.put("_SHARED_CACHE_MAP", MAP, &["NodeTypeCode"], SHARED_CACHE_MAP);
            self.put("_SHARED_CACHE_MAP", MAP, &["Vacbs"], first);
        }
        /// A view with its number and the offset that it says it has; its address.
        fn view(&mut self, number: u64, offset: u64) -> u64 {
            let at = BASE.offset(VIEWS + number * 0x40);
            self.put("_VACB", at, &["BaseAddress"], VIEW.0 + (number << VIEW_SHIFT));
            self.put("_VACB", at, &["SharedCacheMap"], MAP.0);
            self.put("_VACB", at, &["Overlay", "FileOffset", "QuadPart"], offset | 1);
            at.0
        }
        fn cached(&self) -> Result<Content, ReadError> {
            let space = self.space();
            let map = Context { space: &space, profile: &self.profile }.object("_SHARED_CACHE_MAP", MAP).unwrap();
            cache_map(&map)
        }
    }

    fn spans(content: &Content) -> Vec<(u64, u64)> {
        content.parts().iter().map(|part| (part.offset, part.length)).collect()
    }

    #[test]
    fn control_areas_say_of_themselves_what_they_are() {
        let mut made = Made::new();
        made.put("_CONTROL_AREA", AREA, &["Segment"], SEGMENT.0);
        made.put("_SEGMENT", SEGMENT, &["ControlArea"], AREA.0);
        let verified = |made: &Made, image| {
            let space = made.space();
            let area = Context { space: &space, profile: &made.profile }.object("_CONTROL_AREA", AREA).unwrap();
            verify(&area, image).is_ok()
        };
        assert!(verified(&made, false) && !verified(&made, true));
        made.put("_CONTROL_AREA", AREA, &["u", "Flags", "Image"], 1);
        assert!(verified(&made, true) && !verified(&made, false));
        made.put("_SEGMENT", SEGMENT, &["ControlArea"], AREA.0 + 8);
        assert!(!verified(&made, true));
    }

    #[test]
    fn subsections_follow_each_other_and_end() {
        let mut made = Made::new();
        made.subsection(0, 0, 3, Some(1));
        made.subsection(1, 3, 2, None);
        let content = made.section(Some(0x4321));
        assert_eq!(spans(&content), [(0, 0x3000), (0x3000, 0x2000)]);
        assert_eq!((content.size, content.problems.len()), (Known::Value(0x4321), 0));
        // Told too small, and not told.
        for told in [Some(0x10), None] {
            let content = made.section(told);
            assert_eq!((content.size, content.problems.len()), (Known::Value(0x5000), 1));
        }

        made.subsection(1, 3, 2, Some(0));
        let circle = made.section(Some(0x4321));
        assert_eq!(spans(&circle), [(0, 0x3000), (0x3000, 0x2000)]);
        assert!(circle.problems[0].contains("break off"));

        made.subsection(0, 0, u64::from(u32::MAX), Some(1));
        made.subsection(1, u64::from(u32::MAX), u64::from(u32::MAX), None);
        let wild = made.section(Some(MOST_FILE));
        assert_eq!(spans(&wild).len(), 1, "{:?}", spans(&wild));
        assert!(wild.end() <= 16 * PAGE_SIZE && wild.problems.iter().any(|problem| problem.contains("looked for")));
    }

    #[test]
    fn views_are_found_at_every_depth() {
        let view = 1u64 << VIEW_SHIFT;
        for (section, levels) in [(4 * view, 0), (100 * view, 0), (200 * view, 1), (view << 21, 2)] {
            let mut made = Made::new();
            let last = section - view;
            let mut array = ARRAYS;
            for level in (0..=levels).rev() {
                let index = (last >> (VIEW_SHIFT + LEVEL_SHIFT * level)) & 0x7f;
                let next = if level == 0 { made.view(0, last) } else { BASE.0 + array + 0x400 };
                made.word(array + index * 8, next);
                array += 0x400;
            }
            made.map(last + 0x1234, section, BASE.0 + ARRAYS);
            let content = made.cached().unwrap();
            assert_eq!(spans(&content), [(last, 0x1234)], "{section:#x}");
            assert_eq!(content.parts()[0].place, Place::Memory(VIEW));
            assert_eq!(content.size, Known::Value(last + 0x1234));
            assert!(content.problems.is_empty(), "{:?}", content.problems);
        }
    }

    #[test]
    fn an_index_of_views_may_hold_anything() {
        let mut made = Made::new();
        // Every array entry leads to the array itself, or to a view that is another's.
        for index in 0..128 {
            made.word(ARRAYS + index * 8, BASE.0 + ARRAYS);
        }
        made.map(1 << 46, 1 << 46, BASE.0 + ARRAYS);
        let content = made.cached().unwrap();
        assert!(content.parts().is_empty() && content.problems[0].contains("128"), "{:?}", content.problems);

        let view = made.view(0, 0);
        for index in 0..128 {
            made.word(ARRAYS + index * 8, view);
        }
        made.map(1 << 24, 1 << 24, BASE.0 + ARRAYS);
        let content = made.cached().unwrap();
        assert_eq!(spans(&content), [(0, 1 << VIEW_SHIFT)]);
        assert!(content.problems[0].contains("63"), "{:?}", content.problems);

        for (size, section) in [(1 << 62, 1 << 20), (1 << 20, 1 << 62), (u64::MAX, u64::MAX)] {
            made.map(size, section, BASE.0 + ARRAYS);
            assert!(made.cached().is_err());
        }
    }

    #[test]
    fn every_kernel_has_these_fields() {
        let pack = Pack::bundled().unwrap();
        let mut headers = 0;
        for build in pack.builds().iter().filter(|build| build.module != Module::Tcpip) {
            let profile = Profile::new(Box::new(pack.types(build).unwrap()), SymbolTable::default(), String::new());
            let check = |structure: &'static str, paths: &[&[&'static str]]| {
                for path in paths {
                    let mut layout = profile.layout(structure).unwrap();
                    for name in *path {
                        let field = layout.field(name).unwrap_or_else(|_| panic!("{structure} {name}: {:?}", build.version));
                        if let Shape::Struct(id) = field.shape {
                            layout = profile.layout_of(id).unwrap();
                        }
                    }
                }
            };
            check("_FILE_OBJECT", &[&["SectionObjectPointer"], &["FsContext"]]);
            check("_SECTION_OBJECT_POINTERS", &[&["DataSectionObject"], &["SharedCacheMap"], &["ImageSectionObject"]]);
            check("_CONTROL_AREA", &[&["Segment"], &["u", "Flags", "Image"]]);
            check("_SEGMENT", &[&["ControlArea"]]);
            check("_SUBSECTION", &[&["ControlArea"], &["SubsectionBase"], &["NextSubsection"], &["PtesInSubsection"], &["StartingSector"]]);
            check("_SUBSECTION", &[&["NumberOfFullSectors"], &["u", "SubsectionFlags", "StartingSector4132"]]);
            check("_SUBSECTION", &[&["u", "SubsectionFlags", "SectorEndOffset"]]);
            check("_SHARED_CACHE_MAP", &[&["NodeTypeCode"], &["FileSize", "QuadPart"], &["SectionSize", "QuadPart"], &["Vacbs"]]);
            check("_SHARED_CACHE_MAP", &[&["InitialVacbs"]]);
            check("_VACB", &[&["BaseAddress"], &["SharedCacheMap"], &["Overlay", "FileOffset", "QuadPart"]]);
            let header = ["_FSRTL_COMMON_FCB_HEADER", "_FSRTL_ADVANCED_FCB_HEADER"].into_iter().find(|name| profile.layout(name).is_ok());
            // Without one, sizes are those of cache maps and sections.
            headers += usize::from(header.is_some());
            if let Some(header) = header {
                check(header, &[&["NodeByteSize"], &["AllocationSize", "QuadPart"], &["FileSize", "QuadPart"]]);
            }
            check("_EPROCESS", &[&["SectionBaseAddress"]]);
        }
        assert!(headers > 50, "{headers}");
    }
}
