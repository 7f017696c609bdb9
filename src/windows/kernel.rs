//! The kernel's own image in memory: where it lies and which PDB belongs to it. Its header may be paged out.

use super::pe::{Headers, PdbId};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::paging::AddressSpace;
use memchr::memmem::Finder;

/// Where the kernel and the drivers are loaded.
const KERNEL_MAP: VirtAddr = VirtAddr(0xffff_f800_0000_0000);
const KERNEL_MAP_END: VirtAddr = VirtAddr(0xffff_f880_0000_0000);
/// Pages missing in a row that still belong to one image.
const MOST_GAP: u64 = 4 << 20;
const MOST_IMAGE: u64 = 64 << 20;

/// The kernel in an address space.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub base: VirtAddr,
    pub size: u64,
    pub headers: Option<Headers>,
    pub pdb: PdbId,
    /// An address within it that is mapped: every process maps it to the same frame.
    pub proof: VirtAddr,
}

impl Kernel {
    pub const PDBS: [&str; 4] = ["ntkrnlmp.pdb", "ntoskrnl.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb"];

    /// Finds it by a module whose debug record names a kernel's PDB, else by such a record alone.
    pub fn find(space: &AddressSpace) -> Option<Self> {
        let mut found = None;
        space.mapped(KERNEL_MAP, KERNEL_MAP_END, &mut |at, _, length| {
            for page in (0..length).step_by(PAGE_SIZE as usize) {
                let base = at.offset(page);
                if found.is_none() && space.bytes(base) == Ok(*b"MZ") {
                    found = Self::at(space, base);
                }
            }
        });
        found.or_else(|| Self::by_record(space))
    }

    fn at(space: &AddressSpace, base: VirtAddr) -> Option<Self> {
        let headers = Headers::read(space, base).ok().filter(|headers| headers.is_64_bit)?;
        let pdb = headers.pdb(space).ok()??;
        let known = Self::PDBS.contains(&pdb.name.as_str());
        known.then(|| Self { base, size: headers.size.into(), headers: Some(headers), pdb, proof: base })
    }

    fn by_record(space: &AddressSpace) -> Option<Self> {
        let signature = Finder::new(b"RSDS");
        let mut page = [0; PAGE_SIZE as usize];
        let mut found: Option<Self> = None;
        let (mut start, mut last) = (KERNEL_MAP, VirtAddr(0));
        space.mapped(KERNEL_MAP, KERNEL_MAP_END, &mut |at, _, length| {
            if at.0 - last.0.min(at.0) > MOST_GAP || at.0 - start.0 > MOST_IMAGE {
                start = at;
            }
            last = at.offset(length);
            if let Some(kernel) = &mut found {
                if kernel.base == start {
                    kernel.size = last.0 - start.0;
                }
                return;
            }
            for offset in (0..length).step_by(PAGE_SIZE as usize) {
                let at = at.offset(offset);
                if space.read(at, &mut page).is_err() {
                    continue;
                }
                let records = signature.find_iter(&page).filter_map(|place| PdbId::read(space, at.offset(place as u64)).ok());
                if let Some(pdb) = records.into_iter().find(|pdb| Self::PDBS.contains(&pdb.name.as_str())) {
                    found = Some(Self { base: start, size: last.0 - start.0, headers: None, pdb, proof: at });
                    return;
                }
            }
        });
        found
    }

    pub fn contains(&self, at: VirtAddr) -> bool {
        at.0.wrapping_sub(self.base.0) < self.size
    }

    pub fn end(&self) -> VirtAddr {
        self.base.offset(self.size)
    }

    /// Places where the image may begin, where no header tells: pages at or below the one with the debug record.
    pub fn possible_bases(&self) -> impl Iterator<Item = VirtAddr> + use<> {
        let (proof, missing) = (self.proof.page(), self.headers.is_none());
        let pages = if missing { MOST_IMAGE / PAGE_SIZE } else { 0 };
        (0..pages).map(move |back| VirtAddr(proof.0.wrapping_sub(back * PAGE_SIZE)))
    }
}
