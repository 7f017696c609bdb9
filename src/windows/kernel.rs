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
/// The smallest kernel for x64, that of Windows 7, has 5 MiB.
const LEAST_KERNEL: u64 = 4 << 20;
const MOST_UNNAMED: usize = 8;

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

/// The first that is wanted of the images that begin where the kernel and the drivers are loaded.
pub fn image<T>(space: &AddressSpace, mut wanted: impl FnMut(VirtAddr) -> Option<T>) -> Option<T> {
    let mut found = None;
    space.mapped(KERNEL_MAP, KERNEL_MAP_END, &mut |at, _, length| {
        for page in (0..length).step_by(PAGE_SIZE as usize) {
            let base = at.offset(page);
            if found.is_none() && space.bytes(base) == Ok(*b"MZ") {
                found = wanted(base);
            }
        }
    });
    found
}

impl Kernel {
    pub const PDBS: [&str; 4] = ["ntkrnlmp.pdb", "ntoskrnl.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb"];

    /// Finds it by a module whose debug record names a kernel's PDB, else by such a record alone.
    pub fn find(space: &AddressSpace) -> Option<Self> {
        image(space, |base| Self::at(space, base)).or_else(|| Self::by_record(space))
    }

    fn at(space: &AddressSpace, base: VirtAddr) -> Option<Self> {
        let headers = Headers::read(space, base).ok().filter(|headers| headers.is_64_bit)?;
        let pdb = headers.pdb(space).ok()??;
        let known = Self::PDBS.contains(&pdb.name.as_str());
        known.then(|| Self { base, size: headers.size.into(), headers: Some(headers), pdb, proof: base })
    }

    /// Images as large as a kernel that name no PDB, as one whose debug record is lost.
    pub fn unnamed(space: &AddressSpace) -> Vec<Self> {
        let mut found = Vec::new();
        let none: Option<()> = image(space, |base| {
            let headers = Headers::read(space, base).ok().filter(|headers| headers.is_64_bit && u64::from(headers.size) >= LEAST_KERNEL)?;
            if headers.pdb(space).ok().flatten().is_none() && found.len() < MOST_UNNAMED {
                let pdb = PdbId { name: Self::PDBS[0].to_owned(), guid: String::new(), age: 0 };
                found.push(Self { base, size: headers.size.into(), headers: Some(headers), pdb, proof: base });
            }
            None
        });
        debug_assert!(none.is_none());
        found
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::image::Image;
    use crate::paging::Levels;
    use crate::windows::pages::WindowsPages;
    use std::sync::Arc;

    const BASE: VirtAddr = VirtAddr(0xffff_f805_1234_5000);
    const ROOT: u64 = 0x1000;
    const FRAMES: u64 = 0x5000;

    /// A kernel of four pages, of which those whose bits are set in `present` are mapped, one by one.
    fn mapped(present: u64) -> AddressSpace {
        let mut memory = vec![0; 0x9000];
        memory[0] = 0xf3;
        let mut put = |at: u64, bytes: &[u8]| memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        for (table, shift) in [(ROOT, 39), (0x2000, 30), (0x3000, 21)] {
            put(table + (BASE.0 >> shift & 0x1ff) * 8, &((table + 0x1000) | 3).to_le_bytes());
        }
        for page in (0..4).filter(|page| present >> page & 1 != 0) {
            put(0x4000 + ((BASE.0 >> 12 & 0x1ff) + page) * 8, &((FRAMES + page * PAGE_SIZE) | 3).to_le_bytes());
        }
        for (at, bytes) in [(0, &b"MZ"[..]), (0x3c, &[0x80]), (0x80, b"PE\0\0"), (0x98, &[0x0b, 2]), (0xd1, &[0x40]), (0x104, &[16])] {
            put(FRAMES + at, bytes);
        }
        // The debug directory, its entry of the kind CodeView, and the record.
        put(FRAMES + 0x138, &[0, 0x10, 0, 0, 28]);
        put(FRAMES + 0x100c, &[2]);
        put(FRAMES + 0x1014, &[0, 0x20]);
        put(FRAMES + 0x2000, b"RSDS0123456789abcdef\x01\0\0\0ntkrnlmp.pdb\0");
        let image = Arc::new(Image::open_bytes("kernel", memory.leak()).unwrap());
        AddressSpace::new(image, PhysAddr(ROOT), Levels::Four, Arc::new(WindowsPages::minimal()))
    }

    #[test]
    fn a_kernel_may_begin_at_any_page() {
        let kernel = Kernel::find(&mapped(0b1111)).unwrap();
        assert_eq!((kernel.base, kernel.size, kernel.pdb.age, kernel.pdb.name.as_str()), (BASE, 0x4000, 1, "ntkrnlmp.pdb"));
        // Without its header it begins where something is mapped, or before.
        let kernel = Kernel::find(&mapped(0b1110)).unwrap();
        assert!(kernel.headers.is_none() && kernel.possible_bases().any(|base| base == BASE) && kernel.contains(BASE.offset(0x3fff)));
        assert!(Kernel::find(&mapped(0b1101)).is_some_and(|kernel| kernel.base == BASE), "the record alone tells");
        assert!(Kernel::find(&mapped(0b1011)).is_none());
    }
}
