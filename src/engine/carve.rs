//! Programs in memory that no file backs: found by their headers, as long as those say.

use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Content, Known, Part, Place, Watch};
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
    let length = size.min(rest);
    Some(Content {
        layout: Known::Value("memory"),
        size: Known::Value(size),
        problems: (length < size)
            .then(|| format!("its headers say {size:#x} bytes, its region ends after {length:#x}"))
            .into_iter()
            .collect(),
        ..Content::new("carved", vec![Part { offset: 0, length, place: Place::Memory(base) }])
    })
}
