//! Programs in memory that no file backs: found by their headers, as long as those say.

use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Content, Watch};
use crate::paging::AddressSpace;
use crate::windows;

/// A copy of a file in a heap begins at such an address at least.
const STEP: usize = 16;
/// Programs found in one region.
const MOST_PROGRAMS: usize = 1 << 10;
/// Entries of an ELF program header table (PN_XNUM means that there are more).
const MOST_SEGMENTS: u64 = 0xfffe;
const PT_LOAD: u64 = 1;

/// The programs between two addresses, the last inclusive.
pub fn programs(space: &AddressSpace, start: VirtAddr, end: VirtAddr, watch: &Watch) -> Vec<(VirtAddr, Content)> {
    let mut found: Vec<(VirtAddr, Content)> = Vec::new();
    let mut bytes = [0; PAGE_SIZE as usize];
    space.mapped(start, end.offset(1), &mut |at, _, length| {
        for page in (0..length / PAGE_SIZE).map(|page| at.offset(page * PAGE_SIZE)) {
            if watch.cancelled() || found.len() >= MOST_PROGRAMS || space.read(page, &mut bytes).is_err() {
                continue;
            }
            for (index, head) in bytes.chunks_exact(STEP).enumerate() {
                let base = page.offset((index * STEP) as u64);
                let rest = (end.0 - base.0).saturating_add(1);
                let content = match head {
                    [b'M', b'Z', ..] => windows::carved(space, base, rest),
                    [0x7f, b'E', b'L', b'F', ..] => elf(space, base, rest),
                    _ => None,
                };
                found.extend(content.map(|content| (base, content)));
            }
        }
    });
    found
}

/// An ELF program or library, by its header and the table of its segments (System V ABI). Where it was loaded by hand its segments lie
/// as in memory, where it is a copy of the file they lie as there: it is as long as the longer of the two.
fn elf(space: &AddressSpace, base: VirtAddr, rest: u64) -> Option<Content> {
    let field = |at: u64, size: u32| space.uint(base.offset(at), size).ok();
    // Places of e_phoff, e_shoff, e_phentsize and the size of addresses, by class.
    let (segments, sections, sizes, word) = match field(4, 1)? {
        1 => (0x1c, 0x20, 0x2a, 4),
        2 => (0x20, 0x28, 0x36, 8),
        _ => return None,
    };
    let (order, version, kind) = (field(5, 1)?, field(6, 1)?, field(0x10, 2)?);
    let (table, each, count) = (field(segments, word)?, field(sizes, 2)?, field(sizes + 2, 2)?);
    let entry = if word == 8 { 56 } else { 32 };
    // Little-endian, current, a program or a library.
    if (order, version, each) != (1, 1, entry) || !(2..=3).contains(&kind) || !(1..=MOST_SEGMENTS).contains(&count) || table >= rest {
        return None;
    }
    let (mut first, mut last, mut file) = (u64::MAX, 0u64, table.saturating_add(count * each));
    for at in (0..count).map(|index| table.saturating_add(index * each)).take_while(|at| *at < rest) {
        let part = |small: u64, large: u64| field(at.saturating_add(if word == 8 { large } else { small }), word);
        // p_offset, p_vaddr, p_filesz, p_memsz.
        let (Some(offset), Some(address), Some(size), Some(memory)) = (part(4, 8), part(8, 16), part(16, 32), part(20, 40)) else {
            continue;
        };
        if field(at, 4) == Some(PT_LOAD) {
            file = file.max(offset.saturating_add(size));
            (first, last) = (first.min(address), last.max(address.saturating_add(memory)));
        }
    }
    let (names, number) = (field(sections, word)?, field(sizes + 6, 2)?.saturating_mul(field(sizes + 4, 2)?));
    let sections = if names == 0 { 0 } else { names.saturating_add(number) };
    let size = file.max(sections).max(last.saturating_sub(first));
    Some(Content::carved("memory", base, size, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::facts::{PageOrigin, ReadError};
    use crate::image::Image;
    use crate::paging::{Levels, Software};
    use std::sync::Arc;

    struct Plain;
    impl Software for Plain {
        fn resolve(&self, at: VirtAddr, _: u64) -> Result<PageOrigin, ReadError> {
            Err(ReadError::NotMapped(at))
        }
    }

    const BASE: VirtAddr = VirtAddr(0x1000);

    /// The size and layout of what is found where `put` writes numbers: place, size, value.
    fn carved(put: &[(u64, usize, u64)], rest: u64) -> Option<(u64, u64, &'static str)> {
        let mut memory = vec![0; 0x4000];
        memory[0] = 0xf3;
        for (at, size, value) in put {
            memory[(BASE.0 + at) as usize..][..*size].copy_from_slice(&value.to_le_bytes()[..*size]);
        }
        let image = Arc::new(Image::open_bytes("flat", memory.leak()).unwrap());
        let space = AddressSpace::new(image, PhysAddr(0), Levels::None, Arc::new(Plain));
        let content = elf(&space, BASE, rest).or_else(|| windows::carved(&space, BASE, rest))?;
        Some((*content.size.value().unwrap(), content.end(), content.layout.value().unwrap()))
    }

    #[test]
    fn an_elf_program_is_as_long_as_its_segments_or_its_sections() {
        // Class, order, version, kind, e_phoff, e_shoff, e_phentsize, e_phnum, e_shentsize, e_shnum.
        let header = [(4, 1, 2), (5, 1, 1), (6, 1, 1), (0x10, 2, 3), (0x20, 8, 64), (0x36, 2, 56), (0x38, 2, 1), (0x3a, 2, 64)];
        // PT_LOAD, its offset, address, and sizes in the file and in memory.
        let segment = [(64, 4, 1), (72, 8, 0), (80, 8, 0x40_0000), (96, 8, 0x800), (104, 8, 0x1200)];
        let with = |more: &[(u64, usize, u64)], rest| carved(&[&header[..], &segment, more].concat(), rest);
        assert_eq!(with(&[], 0x3000), Some((0x1200, 0x1200, "memory")));
        assert_eq!(with(&[(0x28, 8, 0x2000), (0x3c, 2, 4)], 0x3000), Some((0x2100, 0x2100, "memory")));
        assert_eq!(with(&[], 0x1000), Some((0x1200, 0x1000, "memory")), "no further than its region");
        assert_eq!(with(&[(104, 8, u64::MAX)], 0x1000).unwrap().1, 0x1000);
        // Another entry size, kind or order; no segments; a table that lies elsewhere.
        for wrong in [(0x36, 2, 32), (0x10, 2, 1), (5, 1, 2), (0x38, 2, 0), (0x20, 8, 1 << 40)] {
            assert_eq!(with(&[wrong], 0x3000), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_copy_of_a_pe_file_is_told_from_one_that_is_laid_out() {
        const OPTIONAL: u64 = 0x58;
        let header = [
            (0, 2, 0x5a4d),
            (0x3c, 4, 0x40),
            (0x40, 4, 0x4550),
            (0x46, 2, 1),
            (0x54, 2, 0xf0),
            (OPTIONAL, 2, 0x20b),
            (OPTIONAL + 0x20, 4, 0x1000),
            (OPTIONAL + 0x38, 4, 0x2000),
            (OPTIONAL + 0x3c, 4, 0x200),
        ];
        // Size, address, raw size and place of the only section.
        let table = OPTIONAL + 0xf0;
        let section = [(table + 8, 4, 0x400), (table + 12, 4, 0x1000), (table + 16, 4, 0x400), (table + 20, 4, 0x200)];
        let with = |code| carved(&[&header[..], &section, &[code]].concat(), 0x3000);
        assert_eq!(with((0x200, 1, 0xc3)), Some((0x600, 0x600, "file")), "its code follows the headers");
        assert_eq!(with((0x1000, 1, 0xc3)), Some((0x600, 0x600, "file")), "its code lies at its address, and is put back");
        assert_eq!(with((0x46, 2, 0)), None, "no sections");
    }
}
