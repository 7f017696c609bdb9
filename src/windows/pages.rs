//! What Windows makes of page-table entries that are not present: pages in transition, prototype entries of shared memory, page files.
//!
//! Where the fields of such entries lie is told by the kernel's own types (_MMPTE_SOFTWARE and its like): the defence against L1TF of
//! August 2018 moved them within one build number. It also made Windows set bits of a mask in entries that are not present, so that
//! their frame lies beyond all memory, and mark with SwizzleBit those which must not be cleared of it again.

use super::{Windows, text};
use crate::address::{PhysAddr, VirtAddr};
use crate::facts::{Check, PageOrigin, ReadError};
use crate::image::{Image, PageFile};
use crate::paging::{AddressSpace, Software};
use crate::symbols::{Context, Profile};
use std::path::PathBuf;
use std::sync::Arc;

/// _MMPTE_TRANSITION and _MMPTE_PROTOTYPE: bits that every version of Windows for x64 keeps in the same place.
const TRANSITION: u64 = 1 << 11;
const PROTOTYPE: u64 = 1 << 10;
const VALID: u64 = 1;
/// A frame of a valid entry (Intel SDM), and what the narrowest _MMPTE_TRANSITION.PageFrameNumber leaves of it.
const FRAME: u64 = 0x000f_ffff_ffff_f000;
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

/// Windows' way with pages that are not present.
#[derive(Clone)]
pub struct WindowsPages {
    entries: Entries,
    /// By number.
    pagefiles: Arc<[Option<PageFile>]>,
    /// Where prototype entries are. Its own pages are resolved without them, so that one leads to another no further.
    kernel: Option<Arc<AddressSpace>>,
}

impl WindowsPages {
    /// Before the kernel's types are known: pages in transition only.
    pub fn minimal() -> Self {
        Self { entries: Entries::UNKNOWN, pagefiles: Arc::new([]), kernel: None }
    }

    fn new(context: Context<'_>, pagefiles: Arc<[Option<PageFile>]>) -> Self {
        let own = Self { entries: Entries::of(context), pagefiles, kernel: None };
        let space = context.space;
        let kernel = AddressSpace::new(Arc::clone(space.image()), space.root(), space.levels(), Arc::new(own.clone()));
        Self { kernel: Some(Arc::new(kernel)), ..own }
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
            return Err(ReadError::NotMapped(at));
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
                    return Err(ReadError::SharedByRegion(at));
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
            _ => Err(ReadError::NotMapped(at)),
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
    pub fn with_pages(mut self, pagefiles: &[PathBuf]) -> Result<Self, String> {
        let context = self.context();
        let mut given = Vec::new();
        for path in pagefiles {
            given.push(PageFile::open(path).map_err(|why| why.to_string())?);
        }
        let own = own_names(context);
        let (numbered, told) = numbered(given, &own);
        let pages = WindowsPages::new(context, numbered.into());
        let image: &Arc<Image> = &self.image;
        let space = AddressSpace::new(Arc::clone(image), self.space.root(), self.space.levels(), Arc::new(pages.clone()));
        self.info.checks.extend(told);
        self.space = space;
        self.pages = pages;
        Ok(self)
    }
}

/// Numbers and names of the page files that the kernel itself uses.
fn own_names(context: Context<'_>) -> Vec<(u8, String)> {
    let pointers = || -> Result<(VirtAddr, u32), ReadError> {
        if let Ok(at) = context.symbol("MmPagingFile") {
            return Ok((at, MOST_PAGEFILES));
        }
        let partition = context.global("MiSystemPartition", "_MI_PARTITION")?;
        let holder = if partition.has("PagingFile") { partition } else { partition.inner("Vp")? };
        Ok((holder.at("PagingFile")?, holder.array("PagingFile")?.0.min(MOST_PAGEFILES)))
    };
    let Ok((at, count)) = pointers() else { return Vec::new() };
    let name = |index: u32| -> Result<(u8, String), ReadError> {
        let file = context.space.pointer(at.offset(u64::from(index) * 8))?;
        if !file.is_kernel() {
            return Err(ReadError::Implausible("_MMPAGING_FILE"));
        }
        let file = context.object("_MMPAGING_FILE", file)?;
        let number = file.uint("PageFileNumber").unwrap_or(index.into());
        let name = text::unicode(&file.inner("PageFileName")?)?;
        let name = name.rsplit('\\').next().unwrap_or_default().to_owned();
        Ok((number as u8, name))
    };
    (0..count).filter_map(|index| name(index).ok()).filter(|(_, name)| !name.is_empty()).collect()
}

/// Gives each page file its number: the one that the kernel has for a file of its name, else 0 for pagefile.sys and 1 for swapfile.sys,
/// as Windows creates them, else the lowest number that is left.
fn numbered(given: Vec<PageFile>, own: &[(u8, String)]) -> (Vec<Option<PageFile>>, Vec<Check>) {
    let mut numbered: Vec<Option<PageFile>> = Vec::new();
    let mut checks = Vec::new();
    for file in given.into_iter().take(MOST_PAGEFILES as usize) {
        let free = |number: u8| numbered.get(usize::from(number)).is_none_or(Option::is_none);
        let kernel = own
            .iter()
            .find(|(number, name)| u32::from(*number) < MOST_PAGEFILES && free(*number) && name.eq_ignore_ascii_case(file.name()));
        let usual = [(0, "pagefile.sys"), (1, "swapfile.sys")]
            .into_iter()
            .find(|(number, name)| free(*number) && file.name().eq_ignore_ascii_case(name));
        let (number, why) = match (kernel, usual) {
            (Some((number, _)), _) => (*number, "by the kernel's own list"),
            (None, Some((number, _))) => (number, "by its name; the kernel's list does not tell"),
            (None, None) => {
                ((0..=u8::MAX).find(|number| free(*number)).unwrap_or_default(), "by the order given; the kernel's list does not tell")
            }
        };
        let what = format!("page file {number} is {}", file.name());
        checks.push(Check { what, passed: kernel.is_some() || own.is_empty(), detail: why.to_owned() });
        let slot = usize::from(number);
        if numbered.len() <= slot {
            numbered.resize_with(slot + 1, || None);
        }
        numbered[slot] = Some(file);
    }
    (numbered, checks)
}
