//! What Windows makes of page-table entries that are not present: pages in transition, prototype entries of shared memory, page files.
//!
//! Where the fields of such entries lie is told by the kernel's own types (_MMPTE_SOFTWARE and its like): the defence against L1TF of
//! August 2018 moved them within one build number. It also made Windows set bits of a mask in entries that are not present, so that
//! their frame lies beyond all memory, and mark with SwizzleBit those which must not be cleared of it again.

use super::vads::Vad;
use super::{Windows, text};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Check, PageOrigin, ReadError, Watch};
use crate::image::{Image, PageFile};
use crate::paging::{AddressSpace, FRAME, Software};
use crate::symbols::{Context, Object, Profile};
use std::sync::Arc;

/// _MMPTE_TRANSITION and _MMPTE_PROTOTYPE: bits that every version of Windows for x64 keeps in the same place.
const TRANSITION: u64 = 1 << 11;
const PROTOTYPE: u64 = 1 << 10;
const VALID: u64 = 1;
const TRANSITION_FRAME: Bits = Bits { shift: 12, width: 36 };
const PROTECTION: Bits = Bits { shift: 5, width: 5 };
/// Protection of a page that was decommitted while its neighbours were not (MM_DECOMMIT).
const DECOMMITTED: u64 = 0x10;
/// Kernel's limit of page files (MAX_PAGE_FILES), and what four bits can count.
const MOST_PAGEFILES: u32 = 16;

/// A bit field of an entry.
#[derive(Clone, Copy, Debug)]
struct Bits {
    shift: u32,
    width: u32,
}

impl Bits {
    fn of(self, entry: u64) -> u64 {
        (entry >> self.shift) & self.most()
    }
    fn most(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    fn find(profile: &Profile, structure: &'static str, field: &'static str) -> Result<Self, ReadError> {
        let field = profile.layout(structure)?.field(field)?;
        let (shift, width) = field.bits.unwrap_or((0, (field.size.min(8) * 8) as u8));
        let shift = u32::from(shift).saturating_add(field.offset.saturating_mul(8));
        match (shift, width) {
            (0..64, 1..=64) if shift + u32::from(width) <= 64 => Ok(Self { shift, width: width.into() }),
            _ => Err(ReadError::Implausible(structure)),
        }
    }
}

/// Where the fields of entries lie.
#[derive(Clone, Copy, Debug)]
struct Entries {
    /// Number of the page file, and page in it.
    pagefile: Option<(Bits, Bits)>,
    swizzle: Option<Bits>,
    protection: Bits,
    frame: Bits,
    prototype: Option<Bits>,
    /// Set in entries that are not present, unless the swizzle bit is.
    mask: u64,
}

impl Entries {
    /// What can be said before the kernel's types are known: of pages in transition only.
    const UNKNOWN: Self = Self { pagefile: None, swizzle: None, protection: PROTECTION, frame: TRANSITION_FRAME, prototype: None, mask: 0 };

    fn of(context: Context<'_>) -> Self {
        let find = |structure, field| Bits::find(context.profile, structure, field);
        let software = |field| find("_MMPTE_SOFTWARE", field);
        let swizzle = software("SwizzleBit").ok();
        Self {
            pagefile: software("PageFileLow").and_then(|low| Ok((low, software("PageFileHigh")?))).ok(),
            swizzle,
            protection: software("Protection").unwrap_or(PROTECTION),
            frame: find("_MMPTE_TRANSITION", "PageFrameNumber").unwrap_or(TRANSITION_FRAME),
            prototype: find("_MMPTE_PROTOTYPE", "ProtoAddress").ok(),
            // Before the swizzle bit there was no mask.
            mask: swizzle.and_then(|_| invalid_mask(context).ok()).unwrap_or_default(),
        }
    }

    /// The entry as it was before the mask was laid over it.
    fn plain(&self, entry: u64) -> u64 {
        let marked = self.swizzle.is_none_or(|bit| bit.of(entry) != 0);
        if marked { entry } else { entry & !self.mask }
    }

    fn frame(&self, entry: u64) -> PhysAddr {
        PhysAddr(self.frame.of(entry) << 12 & FRAME)
    }
}

/// The mask, which has had a symbol of its own and is now in the memory manager's state.
fn invalid_mask(context: Context<'_>) -> Result<u64, ReadError> {
    let mask = match context.symbol("MiInvalidPteMask") {
        Ok(at) => context.space.uint(at, 8)?,
        Err(_) => context.global("MiState", "_MI_SYSTEM_INFORMATION")?.inner("Hardware")?.uint("InvalidPteMask")?,
    };
    // It moves the frame and nothing else.
    if mask & !FRAME == 0 { Ok(mask) } else { Err(ReadError::Implausible("InvalidPteMask")) }
}

/// What the region around an address tells of a page whose own entry does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByRegion {
    /// Shared: the address of its prototype entry.
    Prototype(VirtAddr),
    /// Private and committed, never touched.
    Zero,
    /// Not part of any region, or only reserved.
    Nothing,
    /// Shared, but which entry is its own cannot be told.
    Elsewhere,
}

/// Asks the regions of a process.
pub type Regions = Arc<dyn Fn(VirtAddr) -> Result<ByRegion, ReadError> + Send + Sync>;

/// Windows' way with pages that are not present.
#[derive(Clone)]
pub struct WindowsPages {
    entries: Entries,
    /// By number.
    pagefiles: Arc<[Option<PageFile>]>,
    /// Where prototype entries are. Its own pages are resolved without them, so that one leads to another no further.
    kernel: Option<Arc<AddressSpace>>,
    regions: Option<Regions>,
}

impl WindowsPages {
    /// Before the kernel's types are known: pages in transition only.
    pub fn minimal() -> Self {
        Self { entries: Entries::UNKNOWN, pagefiles: Arc::new([]), kernel: None, regions: None }
    }

    fn new(context: Context<'_>, pagefiles: Arc<[Option<PageFile>]>) -> Self {
        let own = Self { entries: Entries::of(context), pagefiles, kernel: None, regions: None };
        let space = context.space;
        let kernel = AddressSpace::new(Arc::clone(space.image()), space.root(), space.levels(), Arc::new(own.clone()));
        Self { kernel: Some(Arc::new(kernel)), ..own }
    }

    /// The same for one process, whose regions tell where pages are that their own entries are silent about.
    pub fn with_regions(&self, regions: Regions) -> Self {
        Self { regions: Some(regions), ..self.clone() }
    }

    fn by_region(&self, at: VirtAddr, silent: ReadError) -> Result<PageOrigin, ReadError> {
        match self.regions.as_ref().map(|regions| regions(at)) {
            Some(Ok(ByRegion::Prototype(entry))) => self.by_prototype(at, entry),
            Some(Ok(ByRegion::Zero)) => Ok(PageOrigin::Zero),
            Some(Ok(ByRegion::Nothing)) => Err(ReadError::NotMapped(at)),
            Some(Ok(ByRegion::Elsewhere)) => Err(ReadError::SharedByRegion(at)),
            Some(Err(why)) => Err(why),
            None => Err(silent),
        }
    }

    /// What a prototype entry says, which the memory manager keeps for each page of a section.
    fn by_prototype(&self, at: VirtAddr, place: VirtAddr) -> Result<PageOrigin, ReadError> {
        let kernel = self.kernel.as_ref().ok_or(ReadError::PagedOut(at))?;
        if !place.is_kernel() || !place.0.is_multiple_of(8) {
            return Err(ReadError::Implausible("prototype entry"));
        }
        let entry = kernel.uint(place, 8)?;
        if entry == 0 {
            return Err(ReadError::NotMapped(at));
        }
        if entry & VALID != 0 {
            return Ok(PageOrigin::Prototype(PhysAddr(entry & FRAME)));
        }
        let plain = self.entries.plain(entry);
        match plain & (PROTOTYPE | TRANSITION) {
            TRANSITION => Ok(PageOrigin::Prototype(self.entries.frame(plain))),
            // Among prototype entries this bit means that a _SUBSECTION of a file is pointed to.
            kind if kind & PROTOTYPE != 0 => Err(ReadError::InMappedFile(at)),
            _ => self.paged_out(at, plain),
        }
    }

    /// The page that a prototype entry stands for.
    pub fn shared(&self, entry: VirtAddr) -> Result<PageOrigin, ReadError> {
        self.by_prototype(entry, entry)
    }

    /// A software entry: in a page file, or never written.
    fn paged_out(&self, at: VirtAddr, entry: u64) -> Result<PageOrigin, ReadError> {
        let (low, high) = self.entries.pagefile.ok_or(ReadError::PagedOut(at))?;
        match high.of(entry) {
            0 if self.entries.protection.of(entry) == DECOMMITTED => Err(ReadError::Decommitted(at)),
            0 => Ok(PageOrigin::Zero),
            page => Ok(PageOrigin::Pagefile { number: low.of(entry) as u8, page }),
        }
    }
}

impl Software for WindowsPages {
    fn resolve(&self, at: VirtAddr, entry: u64) -> Result<PageOrigin, ReadError> {
        if entry == 0 {
            return self.by_region(at, ReadError::NotMapped(at));
        }
        let plain = self.entries.plain(entry);
        match plain & (PROTOTYPE | TRANSITION) {
            // On its way out of the working set, the frame not yet used for anything else.
            TRANSITION => Ok(PageOrigin::Transition(self.entries.frame(plain))),
            0 => self.paged_out(at, plain),
            _ => {
                let bits = self.entries.prototype.ok_or(ReadError::PagedOut(at))?;
                // All ones where a page would be (MI_PTE_LOOKUP_NEEDED), with or without the mask.
                let (_, high) = self.entries.pagefile.ok_or(ReadError::PagedOut(at))?;
                if high.of(entry | self.entries.mask) == high.most() {
                    return self.by_region(at, ReadError::SharedByRegion(at));
                }
                let unused = 64 - bits.width;
                let place = (bits.of(plain) << unused).cast_signed() >> unused;
                self.by_prototype(at, VirtAddr(place.cast_unsigned()))
            }
        }
    }

    /// Page tables of a process can be on their way out like its pages.
    fn table(&self, at: VirtAddr, entry: u64) -> Result<PhysAddr, ReadError> {
        let plain = self.entries.plain(entry);
        match plain & (PROTOTYPE | TRANSITION) {
            TRANSITION => Ok(self.entries.frame(plain)),
            0 if self.entries.pagefile.is_some_and(|(_, high)| high.of(plain) == 0) => Err(ReadError::NotMapped(at)),
            _ => Err(ReadError::PagedOut(at)),
        }
    }

    /// The low three bits of a protection (MM_READONLY = 1 to MM_EXECUTE_WRITECOPY = 7); a page that is copied at the first write is not
    /// writable.
    fn rights(&self, entry: u64) -> Option<(bool, bool)> {
        let protection = self.entries.protection.of(entry) & 7;
        (protection != 0).then_some((matches!(protection, 4 | 6), matches!(protection, 2 | 3 | 6 | 7)))
    }

    fn fetch(&self, _: VirtAddr, number: u8, page: u64, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let file = self.pagefiles.get(usize::from(number)).and_then(Option::as_ref);
        let read = file.map(|file| file.read(page, offset, out));
        read.and_then(Result::ok).ok_or(ReadError::InPagefile { number, page })
    }
}

impl Windows {
    /// The same with all that is known of pages which are not present: the fields of their entries, shared memory, the page files given.
    pub fn with_pages(mut self, pagefiles: Vec<PageFile>) -> Self {
        let context = self.context();
        let own = own_names(context);
        let (numbered, told) = numbered(pagefiles, &own);
        let foreign = foreign(context, &numbered);
        let pages = WindowsPages::new(context, numbered.into());
        let image: &Arc<Image> = &self.image;
        let space = AddressSpace::new(Arc::clone(image), self.space.root(), self.space.levels(), Arc::new(pages.clone()));
        let header = super::dump_header::checks(&self.image, self.context(), self.shared_now());
        self.info.checks.extend(header.into_iter().chain(told));
        self.info.warnings.extend(foreign);
        self.space = space;
        self.pages = pages;
        // No process whose environment is there to tell.
        if self.info.hostname.value().is_none() {
            self.info.hostname = self.computer_name().into();
        }
        self
    }
}

/// A region as far as its pages are concerned.
struct Reach {
    start: VirtAddr,
    /// Last byte.
    end: VirtAddr,
    kind: Pages,
}

enum Pages {
    /// Of a section, by its subsections.
    Shared(Vec<Prototypes>),
    /// Private and committed as a whole.
    Committed,
    /// Private, and committed where entries say so.
    Reserved,
}

/// Prototype entries that follow each other.
#[derive(Clone, Copy)]
struct Prototypes {
    /// Which of the region's pages the first of them is for.
    page: u64,
    first: VirtAddr,
    count: u64,
}

/// A file that was mapped in pieces has a few thousand subsections at most.
const MOST_SUBSECTIONS: usize = 1 << 14;

impl Windows {
    /// The regions of a process, read now: the answer outlives what it was read from.
    pub(super) fn regions_of(&self, process: &Object<'_>) -> Regions {
        let (vads, _) = self.vads(process, &Watch::default());
        let regions: Vec<Reach> = vads.iter().map(Reach::of).collect();
        Arc::new(move |at| {
            let after = regions.partition_point(|region| region.start <= at);
            let region = after.checked_sub(1).and_then(|index| regions.get(index)).filter(|region| at <= region.end);
            Ok(region.map_or(ByRegion::Nothing, |region| region.page(at)))
        })
    }
}

impl Windows {
    /// The frames in which the pages of a shared region lie for all who have not written to them.
    pub(super) fn shared_frames(&self, vad: &Vad<'_>) -> impl Fn(VirtAddr) -> Option<PhysAddr> {
        let reach = Reach::of(vad);
        move |at| match reach.page(at) {
            ByRegion::Prototype(entry) => self.pages.by_prototype(at, entry).ok()?.physical(),
            _ => None,
        }
    }
}

/// Where a view's prototype entries are. They follow each other within a _SUBSECTION only; the view begins somewhere in its first.
fn subsections(vad: &Vad<'_>) -> Vec<Prototypes> {
    let pages = (vad.end.0 - vad.start.0) / PAGE_SIZE + 1;
    let mut found: Vec<Prototypes> = Vec::new();
    let mut walk = || -> Result<(), ReadError> {
        let vad = vad.short.context().object("_MMVAD", vad.short.address)?;
        let view = vad.pointer("FirstPrototypePte")?;
        let mut subsection = vad.follow("Subsection")?;
        let mut page = 0;
        for _ in 0..MOST_SUBSECTIONS {
            let Some(part) = subsection.filter(|_| page < pages) else { break };
            let (base, count) = (part.pointer("SubsectionBase")?, part.uint("PtesInSubsection")?);
            let skipped = if page == 0 { view.0.checked_sub(base.0).ok_or(ReadError::Implausible("FirstPrototypePte"))? / 8 } else { 0 };
            let Some(left) = count.checked_sub(skipped).filter(|left| *left != 0) else {
                return Err(ReadError::Implausible("_SUBSECTION"));
            };
            // Without a base the entries were not made yet, or are gone again.
            if !base.is_null() {
                found.push(Prototypes { page, first: base.offset(skipped * 8), count: left.min(pages - page) });
            }
            page = page.saturating_add(left);
            subsection = part.follow("NextSubsection")?;
        }
        Ok(())
    };
    // What was found before the damage is right.
    _ = walk();
    found
}

impl Reach {
    fn of(vad: &Vad<'_>) -> Self {
        let flag = |union: &'static str, flags: &'static str| vad.short.inner(union)?.inner(flags)?.uint("MemCommit");
        let kind = if !vad.private {
            Pages::Shared(subsections(vad))
        } else if flag("u1", "VadFlags1").or_else(|_| flag("u", "VadFlags")).is_ok_and(|committed| committed != 0) {
            Pages::Committed
        } else {
            Pages::Reserved
        };
        Self { start: vad.start, end: vad.end, kind }
    }

    fn page(&self, at: VirtAddr) -> ByRegion {
        match &self.kind {
            Pages::Shared(parts) => {
                let page = (at.0 - self.start.0) / PAGE_SIZE;
                let after = parts.partition_point(|part| part.page <= page);
                let part = after.checked_sub(1).and_then(|index| parts.get(index)).filter(|part| page - part.page < part.count);
                part.map_or(ByRegion::Elsewhere, |part| ByRegion::Prototype(part.first.offset((page - part.page) * 8)))
            }
            Pages::Committed => ByRegion::Zero,
            Pages::Reserved => ByRegion::Nothing,
        }
    }
}

/// The page files that the kernel itself uses, by their numbers.
fn own_files(context: Context<'_>) -> Vec<(u8, Object<'_>)> {
    let pointers = || -> Result<(VirtAddr, u32), ReadError> {
        if let Ok(at) = context.symbol("MmPagingFile") {
            return Ok((at, MOST_PAGEFILES));
        }
        let partition = context.global("MiSystemPartition", "_MI_PARTITION")?;
        let holder = if partition.has("PagingFile") { partition } else { partition.inner("Vp")? };
        Ok((holder.at("PagingFile")?, holder.array("PagingFile")?.0.min(MOST_PAGEFILES)))
    };
    let Ok((at, count)) = pointers() else { return Vec::new() };
    let file = |index: u32| -> Result<(u8, Object<'_>), ReadError> {
        let file = context.space.pointer(at.offset(u64::from(index) * 8))?;
        if !file.is_kernel() {
            return Err(ReadError::Implausible("_MMPAGING_FILE"));
        }
        let file = context.object("_MMPAGING_FILE", file)?;
        Ok((file.uint("PageFileNumber").unwrap_or(index.into()) as u8, file))
    };
    (0..count).filter_map(|index| file(index).ok()).collect()
}

/// Their names, without folders.
fn own_names(context: Context<'_>) -> Vec<(u8, String)> {
    let name = |file: &Object<'_>| text::unicode(&file.inner("PageFileName")?);
    let named = own_files(context).into_iter().filter_map(|(number, file)| Some((number, name(&file).ok()?)));
    named
        .map(|(number, name)| (number, name.rsplit('\\').next().unwrap_or_default().to_owned()))
        .filter(|(_, name)| !name.is_empty())
        .collect()
}

/// What speaks against a page file being of this machine and this time, or that nothing speaks for it: its pages carry no mark.
fn foreign(context: Context<'_>, numbered: &[Option<PageFile>]) -> Vec<String> {
    let own = own_files(context);
    let doubt = |number: usize, file: &PageFile| {
        let size = |field| own.iter().find(|(own, _)| usize::from(*own) == number).and_then(|(_, file)| file.uint(field).ok());
        let (name, pages) = (file.name(), file.pages());
        match (size("Size"), size("MaximumSize")) {
            (None, _) if file.is_bundled() => None,
            (None, _) => Some(format!(
                "{name}: nothing in the image tells whether this page file is of the same machine; what was paged out is read from it"
            )),
            (Some(least), most) => (pages < least || most.is_some_and(|most| pages > most.max(least))).then(|| {
                format!(
                    "{name} has {pages} pages, the kernel's own page file {number} {least}: it is of another machine or time, or cut off"
                )
            }),
        }
    };
    numbered.iter().enumerate().filter_map(|(number, file)| doubt(number, file.as_ref()?)).collect()
}

/// Gives each page file its number: the one that the kernel has for a file of its name, else 0 for pagefile.sys and 1 for swapfile.sys,
/// as Windows creates them, else in the order given the lowest that is left.
fn numbered(given: Vec<PageFile>, own: &[(u8, String)]) -> (Vec<Option<PageFile>>, Vec<Check>) {
    let usual = [(0, "pagefile.sys".to_owned()), (1, "swapfile.sys".to_owned())];
    let any: Vec<(u8, String)> = (0..MOST_PAGEFILES as u8).map(|number| (number, String::new())).collect();
    let mut numbered: Vec<Option<PageFile>> = (0..MOST_PAGEFILES).map(|_| None).collect();
    let mut checks = Vec::new();
    let mut waiting = given;
    for (numbers, why) in [
        (own, "by the kernel's own list"),
        (&usual, "by its name; the kernel's list does not tell"),
        (&any, "by the order given; the kernel's list does not tell"),
    ] {
        let mut later = Vec::new();
        for file in waiting {
            let fits = |(number, name): &&(u8, String)| {
                let free = numbered.get(usize::from(*number)).is_some_and(Option::is_none);
                free && (name.is_empty() || name.eq_ignore_ascii_case(file.name()))
            };
            let Some((number, _)) = numbers.iter().find(fits) else {
                later.push(file);
                continue;
            };
            let what = format!("page file {number} is {}", file.name());
            checks.push(Check { what, passed: why.starts_with("by the kernel") || own.is_empty(), detail: why.to_owned() });
            if let Some(slot) = numbered.get_mut(usize::from(*number)) {
                *slot = Some(file);
            }
        }
        waiting = later;
    }
    (numbered, checks)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::paging::Levels;
    use crate::symbols::SymbolTable;
    use crate::symbols::pack::{Module, Pack};
    use proptest::prelude::*;

    const AT: VirtAddr = VirtAddr(0x7ff0_0000_3000);
    const MASK: u64 = 1 << 45;
    const BEFORE: Entries = Entries {
        pagefile: Some((Bits { shift: 1, width: 4 }, Bits { shift: 32, width: 32 })),
        swizzle: None,
        protection: PROTECTION,
        frame: TRANSITION_FRAME,
        prototype: Some(Bits { shift: 16, width: 48 }),
        mask: 0,
    };
    const AFTER: Entries = Entries {
        pagefile: Some((Bits { shift: 12, width: 4 }, Bits { shift: 32, width: 32 })),
        swizzle: Some(Bits { shift: 4, width: 1 }),
        mask: MASK,
        ..BEFORE
    };
    const SWIZZLED: u64 = 1 << 4;
    const READ_WRITE: u64 = 4 << 5;
    /// Where the made kernel space has its prototype entries.
    const PROTOTYPES: u64 = 0xffff_8000_0000_0000;

    fn pages(entries: Entries, prototypes: &[u64]) -> WindowsPages {
        let own = WindowsPages { entries, ..WindowsPages::minimal() };
        let mut memory = vec![0; 16 << 12];
        memory[0] = 0xf3;
        let mut put = |at: usize, entry: u64| memory[at..at + 8].copy_from_slice(&entry.to_le_bytes());
        // Four tables for one page.
        for (at, next) in [(0x1800, 0x2000), (0x2000, 0x3000), (0x3000, 0x4000), (0x4000, 0x5000)] {
            put(at, next | 3);
        }
        prototypes.iter().enumerate().for_each(|(index, entry)| put(0x5000 + index * 8, *entry));
        let image = Arc::new(Image::open_bytes("prototypes", memory.leak()).unwrap());
        let kernel = AddressSpace::new(image, PhysAddr(0x1000), Levels::Four, Arc::new(own.clone()));
        WindowsPages { kernel: Some(Arc::new(kernel)), ..own }
    }

    #[test]
    fn entries_before_the_change() {
        let pages = pages(BEFORE, &[]);
        let resolve = |entry| pages.resolve(AT, entry);
        assert_eq!(resolve(0), Err(ReadError::NotMapped(AT)));
        assert_eq!(resolve(READ_WRITE), Ok(PageOrigin::Zero));
        assert_eq!(resolve(0x1234 << 12 | TRANSITION | READ_WRITE), Ok(PageOrigin::Transition(PhysAddr(0x123_4000))));
        assert_eq!(resolve(0x77 << 32 | READ_WRITE | 2 << 1), Ok(PageOrigin::Pagefile { number: 2, page: 0x77 }));
        assert_eq!(resolve(DECOMMITTED << 5), Err(ReadError::Decommitted(AT)));
    }

    #[test]
    fn entries_after_the_change_lose_the_mask_unless_it_is_their_own() {
        let pages = pages(AFTER, &[]);
        let resolve = |entry| pages.resolve(AT, entry);
        assert_eq!(resolve(READ_WRITE), Ok(PageOrigin::Zero));
        assert_eq!(resolve(READ_WRITE | MASK), Ok(PageOrigin::Zero));
        let page = 0x77 << 32 | READ_WRITE | 1 << 12 | 2;
        assert_eq!(resolve(page | MASK), Ok(PageOrigin::Pagefile { number: 1, page: 0x77 }));
        assert_eq!(resolve(page), Ok(PageOrigin::Pagefile { number: 1, page: 0x77 }));
        assert_eq!(resolve(page | MASK | SWIZZLED), Ok(PageOrigin::Pagefile { number: 1, page: 0x2077 }));
        let frame = 0x1234 << 12 | TRANSITION | READ_WRITE;
        assert_eq!(resolve(frame | MASK), Ok(PageOrigin::Transition(PhysAddr(0x123_4000))));
        assert_eq!(resolve(frame | MASK | SWIZZLED), Ok(PageOrigin::Transition(PhysAddr(0x2000_0123_4000))));
        assert_eq!(pages.table(AT, frame | MASK), Ok(PhysAddr(0x123_4000)));
        assert_eq!(pages.table(AT, page | MASK), Err(ReadError::PagedOut(AT)));
        assert_eq!(pages.fetch(AT, 1, 0x77, 0, &mut [0; 4]), Err(ReadError::InPagefile { number: 1, page: 0x77 }));
    }

    #[test]
    fn prototype_entries_say_where_shared_pages_are() {
        let subsection = 0xffff_8000_1234_5678u64 << 16 | PROTOTYPE | 1 << 5;
        let kinds = [0x9000 | 3, 0xa000 | TRANSITION | MASK, READ_WRITE, 0x55 << 32 | READ_WRITE | MASK, subsection | SWIZZLED, 0];
        let pages = pages(AFTER, &kinds);
        let by = |index: u64| {
            let entry = (PROTOTYPES + index * 8) << 16 | PROTOTYPE;
            pages.resolve(AT, if entry & MASK == 0 { entry | MASK } else { entry | SWIZZLED })
        };
        assert_eq!(by(0), Ok(PageOrigin::Prototype(PhysAddr(0x9000))));
        assert_eq!(by(1), Ok(PageOrigin::Prototype(PhysAddr(0xa000))));
        assert_eq!(by(2), Ok(PageOrigin::Zero));
        assert_eq!(by(3), Ok(PageOrigin::Pagefile { number: 0, page: 0x55 }));
        assert_eq!(by(4), Err(ReadError::InMappedFile(AT)));
        assert_eq!(by(5), Err(ReadError::NotMapped(AT)));
        assert_eq!(by(512), Err(ReadError::NotMapped(VirtAddr(PROTOTYPES + 0x1000))), "the entry itself is not there");
        assert_eq!(pages.resolve(AT, 0x1234_5678 << 16 | PROTOTYPE), Err(ReadError::Implausible("prototype entry")));
    }

    #[test]
    fn regions_answer_where_entries_are_silent() {
        let pages = pages(AFTER, &[0x9000 | 3]);
        let silent = 0xffff_ffff_0000_0000 | PROTOTYPE | READ_WRITE;
        assert_eq!(pages.resolve(AT, silent | SWIZZLED), Err(ReadError::SharedByRegion(AT)));
        assert_eq!(pages.resolve(AT, silent), Err(ReadError::SharedByRegion(AT)));
        let part = |page, first, count| Prototypes { page, first: VirtAddr(first), count };
        let found = Ok(PageOrigin::Prototype(PhysAddr(0x9000)));
        for (kind, page) in [
            (Pages::Shared(vec![part(0, PROTOTYPES - 8, 2)]), found),
            (Pages::Shared(vec![part(0, 0xffff_9000_0000_0000, 1), part(1, PROTOTYPES, 1)]), found),
            (Pages::Shared(vec![part(0, PROTOTYPES - 8, 1)]), Err(ReadError::SharedByRegion(AT))),
            (Pages::Shared(Vec::new()), Err(ReadError::SharedByRegion(AT))),
            (Pages::Committed, Ok(PageOrigin::Zero)),
            (Pages::Reserved, Err(ReadError::NotMapped(AT))),
        ] {
            let region = Reach { start: VirtAddr(AT.0 - 0x1000), end: AT, kind };
            let pages = pages.with_regions(Arc::new(move |at| Ok(region.page(at))));
            assert_eq!(pages.resolve(AT, silent | SWIZZLED), page);
            assert_eq!(pages.resolve(AT, 0), page);
        }
    }

    #[test]
    fn page_files_are_numbered_by_the_kernel_then_by_name_then_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, [name.as_bytes()[0]; 0x1800]).unwrap();
            PageFile::open(&path).unwrap()
        };
        let names = |numbered: &[Option<PageFile>]| -> Vec<String> {
            numbered.iter().take(4).map(|file| file.as_ref().map_or("", |file| file.name()).to_owned()).collect()
        };
        let given = || vec![file("copy.bin"), file("swapfile.sys"), file("Pagefile.SYS"), file("more.bin")];
        let (numbered, checks) = super::numbered(given(), &[]);
        assert_eq!(names(&numbered), ["Pagefile.SYS", "swapfile.sys", "copy.bin", "more.bin"]);
        assert!(checks.iter().all(|check| check.passed));
        let own = [(0, "pagefile.sys".to_owned()), (2, "swapfile.sys".to_owned())];
        let (numbered, checks) = super::numbered(given(), &own);
        assert_eq!(names(&numbered), ["Pagefile.SYS", "copy.bin", "swapfile.sys", "more.bin"]);
        assert_eq!(checks.iter().filter(|check| check.passed).count(), 2);

        let pages = WindowsPages { pagefiles: numbered.into(), ..WindowsPages::minimal() };
        let mut out = [0; 4];
        assert_eq!(pages.fetch(AT, 2, 1, 0x7fc, &mut out), Ok(()));
        assert_eq!(out, *b"ssss");
        for (number, page, offset) in [(2, 1, 0x7fd), (9, 0, 0), (99, 0, 0), (2, u64::MAX, 0), (2, u64::MAX / 4096, 4095)] {
            assert_eq!(pages.fetch(AT, number, page, offset, &mut out), Err(ReadError::InPagefile { number, page }));
        }
    }

    /// What is constant here is so in every kernel whose types are known; what is not comes in the two forms.
    #[test]
    fn fields_are_where_all_kernels_have_them() {
        let pack = Pack::bundled().unwrap();
        let (mut before, mut after) = (0, 0);
        for build in pack.builds().iter().filter(|build| build.module != Module::Tcpip) {
            let profile = Profile::new(Box::new(pack.types(build).unwrap()), SymbolTable::default(), String::new());
            let find = |structure, field| Bits::find(&profile, structure, field).map(|bits| (bits.shift, bits.width));
            assert_eq!(find("_MMPTE_SOFTWARE", "Transition"), Ok((11, 1)));
            assert_eq!(find("_MMPTE_SOFTWARE", "Prototype"), Ok((10, 1)));
            assert_eq!(find("_MMPTE_SOFTWARE", "Protection"), Ok((5, 5)));
            assert_eq!(find("_MMPTE_SOFTWARE", "PageFileHigh"), Ok((32, 32)));
            assert!(matches!(find("_MMPTE_TRANSITION", "PageFrameNumber"), Ok((12, 28 | 36 | 40))));
            assert_eq!(find("_MMPTE_PROTOTYPE", "ProtoAddress"), Ok((16, 48)));
            match (find("_MMPTE_SOFTWARE", "PageFileLow"), find("_MMPTE_SOFTWARE", "SwizzleBit")) {
                (Ok((1, 4)), Err(_)) => before += 1,
                (Ok((12, 4)), Ok((4, 1))) => after += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(before > 0 && after > 100, "{before} and {after}");
    }

    proptest! {
        #[test]
        fn any_entry_is_answered(entry in any::<u64>(), prototype in any::<u64>(), which in 0usize..3) {
            let pages = pages([BEFORE, AFTER, Entries::UNKNOWN][which], &[prototype]);
            let _ = pages.resolve(AT, entry);
            let _ = pages.table(AT, entry);
            let _ = pages.rights(entry);
            let _ = pages.resolve(AT, PROTOTYPES << 16 | PROTOTYPE | SWIZZLED);
        }
    }
}
