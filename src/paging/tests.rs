//! Page tables written by a builder, walked by the real code.

use super::{AddressSpace, Leaf, Levels, PageOrigin, Software};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::ReadError;
use crate::image::Image;
use std::sync::Arc;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const PAT: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
const ROOT: u64 = 0x1000;
const ALL: u64 = PRESENT | WRITE | USER;

/// A system with a page of each kind.
struct Told;

impl Software for Told {
    fn resolve(&self, at: VirtAddr, entry: u64) -> Result<PageOrigin, ReadError> {
        match entry {
            2 => Ok(PageOrigin::Ram(PhysAddr(0x20_0000))),
            4 => Ok(PageOrigin::Pagefile { number: 1, page: 9 }),
            6 => Ok(PageOrigin::Zero),
            _ => Err(ReadError::NotMapped(at)),
        }
    }
    fn fetch(&self, _: VirtAddr, number: u8, page: u64, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        assert_eq!((number, page, offset), (1, 9, 0xffe));
        out.fill(7);
        Ok(())
    }
}

/// Physical memory with page tables in it; new tables are taken from the top of what is used.
struct Tables {
    memory: Vec<u8>,
    next: u64,
    levels: Levels,
}

impl Tables {
    fn new(levels: Levels) -> Self {
        let mut memory = vec![0; 4 << 20];
        // What raw images begin with does not matter, but a text would be refused.
        memory[0] = 0xf3;
        Self { memory, next: ROOT + PAGE_SIZE, levels }
    }
    fn word(&mut self, at: u64) -> &mut [u8] {
        &mut self.memory[at as usize..at as usize + 8]
    }
    /// Maps an address by an entry at a level (0: 4 KiB, 1: 2 MiB, 2: 1 GiB).
    fn map(&mut self, at: u64, level: u8, entry: u64) -> &mut Self {
        let mut table = ROOT;
        for upper in (level + 1..self.levels.number()).rev() {
            let slot = table + ((at >> (12 + 9 * u32::from(upper))) & 0x1ff) * 8;
            let present = u64::from_le_bytes(self.word(slot).try_into().unwrap());
            table = if present == 0 {
                let new = self.next;
                self.next += PAGE_SIZE;
                self.word(slot).copy_from_slice(&(new | ALL).to_le_bytes());
                new
            } else {
                present & 0x000f_ffff_ffff_f000
            };
        }
        let slot = table + ((at >> (12 + 9 * u32::from(level))) & 0x1ff) * 8;
        self.word(slot).copy_from_slice(&entry.to_le_bytes());
        self
    }
    fn space(&mut self) -> AddressSpace {
        let bytes: &'static [u8] = Box::leak(std::mem::take(&mut self.memory).into_boxed_slice());
        let image = Image::open_bytes("tables", bytes).expect("a raw image");
        AddressSpace::new(Arc::new(image), PhysAddr(ROOT), self.levels, Arc::new(Told))
    }
}

#[test]
fn four_levels_map_pages_of_every_size() {
    let mut tables = Tables::new(Levels::Four);
    let space = tables
        .map(0xffff_8880_1234_5000, 0, 0x20_0000 | ALL | NO_EXECUTE)
        .map(0x4000_0000, 1, 0x20_0000 | ALL | LARGE | DIRTY)
        .map(0x80_0000_0000, 2, ALL | LARGE)
        .space();
    assert_eq!(space.translate(VirtAddr(0xffff_8880_1234_5678)), Ok(PhysAddr(0x20_0678)));
    assert_eq!(space.translate(VirtAddr(0x4000_0000 + 0x1f_f123)), Ok(PhysAddr(0x3f_f123)));
    assert_eq!(space.translate(VirtAddr(0x80_0000_0000 + 0x1234_5678)), Ok(PhysAddr(0x1234_5678)));
    let leaf = space.leaf(VirtAddr(0x4000_0000)).unwrap();
    assert!(matches!(leaf, Leaf { size: 0x20_0000, writable: true, executable: true, user: true, dirty: true, present: true, .. }));
    assert!(!space.leaf(VirtAddr(0xffff_8880_1234_5000)).unwrap().executable);
}

#[test]
fn five_levels_reach_what_four_cannot() {
    let mut tables = Tables::new(Levels::Five);
    let at = VirtAddr(0xff11_0000_0000_2000);
    let space = tables.map(at.0, 0, 0x30_0000 | ALL).space();
    assert_eq!(space.translate(at), Ok(PhysAddr(0x30_0000)));
    let four = AddressSpace::new(Arc::clone(space.image()), PhysAddr(ROOT), Levels::Four, Arc::new(Told));
    assert_eq!(four.translate(at), Err(ReadError::NotMapped(at)), "not canonical with 48 bits");
}

#[test]
fn rights_are_those_of_all_levels_together() {
    let mut tables = Tables::new(Levels::Four);
    tables.map(0x1000, 0, 0x20_0000 | ALL);
    // The entry above the leaf's table: read-only, for the kernel, not executable.
    let slot = 0x3000;
    let entry = u64::from_le_bytes(tables.word(slot).try_into().unwrap());
    assert_ne!(entry, 0);
    tables.word(slot).copy_from_slice(&((entry & !(WRITE | USER)) | NO_EXECUTE).to_le_bytes());
    let leaf = tables.space().leaf(VirtAddr(0x1000)).unwrap();
    assert!(!leaf.writable && !leaf.user && !leaf.executable);
}

#[test]
fn what_is_not_present_is_the_systems_affair() {
    let mut tables = Tables::new(Levels::Four);
    let space = tables.map(0x5000, 0, 2).map(0x6000, 0, 4).map(0x7000, 0, 6).space();
    assert_eq!(space.backing(VirtAddr(0x5000)), Ok(PageOrigin::Ram(PhysAddr(0x20_0000))));
    assert!(!space.leaf(VirtAddr(0x5000)).unwrap().present);
    assert_eq!(space.bytes(VirtAddr(0x6ffe)), Ok([7, 7]), "from the pagefile");
    assert_eq!(space.bytes(VirtAddr(0x7000)), Ok([0; 8]));
    assert_eq!(space.translate(VirtAddr(0x6000)), Err(ReadError::InPagefile { number: 1, page: 9 }));
    assert_eq!(space.translate(VirtAddr(0x8000)), Err(ReadError::NotMapped(VirtAddr(0x8000))));
}

#[test]
fn physical_addresses_have_52_bits() {
    let mut tables = Tables::new(Levels::Four);
    let far = 0x000f_ff00_0000_0000;
    let space = tables.map(0x8000, 0, far | ALL).space();
    assert_eq!(space.translate(VirtAddr(0x8000)), Ok(PhysAddr(far)));
    assert_eq!(space.read(VirtAddr(0x8000), &mut [0; 4]), Err(ReadError::NotInImage(PhysAddr(far))));
}

#[test]
fn entries_that_the_processor_refuses_are_none() {
    let mut tables = Tables::new(Levels::Four);
    tables.map(0x4000_0000, 1, 0x20_0000 | ALL | LARGE | PAT).map(0x4020_0000, 1, 0x20_8000 | ALL | LARGE).map(1 << 40, 3, ALL | LARGE);
    let space = tables.space();
    assert_eq!(space.translate(VirtAddr(0x4000_0123)), Ok(PhysAddr(0x20_0123)));
    for at in [0x4020_0000, 1 << 40] {
        assert_eq!(space.translate(VirtAddr(at)), Err(ReadError::Implausible("page table entry")));
    }
    let mut found = 0;
    space.mapped(VirtAddr(0), VirtAddr(1 << 47), &mut |_, _, _| found += 1);
    assert_eq!(found, 1);
}

#[test]
fn reads_cross_pages_and_stop_at_gaps() {
    let mut tables = Tables::new(Levels::Four);
    tables.map(0x1000, 0, 0x30_0000 | ALL).map(0x2000, 0, 0x20_0000 | ALL);
    tables.memory[0x30_0fff] = 0xaa;
    tables.memory[0x20_0000] = 0xbb;
    tables.memory[0x20_0f00..0x20_1000].fill(b'x');
    let space = tables.space();
    assert_eq!(space.bytes(VirtAddr(0x1fff)), Ok([0xaa, 0xbb]));
    assert_eq!(space.bytes::<2>(VirtAddr(0x2fff)), Err(ReadError::NotMapped(VirtAddr(0x3000))));
    let mut told = Vec::new();
    let mut out = [0; 0x3000];
    space.read_available(VirtAddr(0x1000), &mut out, |at, read| told.push((at.0, read.is_ok())));
    assert_eq!(told, [(0x1000, true), (0x2000, true), (0x3000, false)]);
    assert_eq!(space.text(VirtAddr(0x2f00), 1000).unwrap().len(), 0x100, "text ends with the last readable page");
}

#[test]
fn mapped_pages_are_found_in_order_without_visiting_the_gaps() {
    let mut tables = Tables::new(Levels::Five);
    let space = tables.map(0x1000, 0, 0x20_0000 | ALL).map(0x4000_0000, 1, 0x20_0000 | ALL | LARGE).map(1 << 50, 0, ALL).space();
    let mut found = Vec::new();
    space.mapped(VirtAddr(0), VirtAddr(1 << 55), &mut |at, _, length| found.push((at.0, length)));
    assert_eq!(found, [(0x1000, PAGE_SIZE), (0x4000_0000, 0x20_0000), (1 << 50, PAGE_SIZE)]);
}

#[test]
fn tables_that_point_to_themselves_end() {
    let mut tables = Tables::new(Levels::Four);
    // Every entry of the root leads back to the root.
    for slot in 0..512 {
        tables.word(ROOT + slot * 8).copy_from_slice(&(ROOT | ALL).to_le_bytes());
    }
    let space = tables.space();
    assert_eq!(space.translate(VirtAddr(0x1234)), Ok(PhysAddr(ROOT + 0x234)));
}
