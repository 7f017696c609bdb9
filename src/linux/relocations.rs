//! Places in the code of a file that the dynamic loader fills in (text relocations): the file itself lists them.

use super::Linux;
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::symbols::Object;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// As many as a large library of a 32-bit system has.
const MOST_RELOCATIONS: u64 = 1 << 17;
/// A program header table of more than 64 KiB is refused by the kernel; a dynamic section has a few dozen entries.
const MOST_HEADERS: u64 = 1024;
/// The linker makes four segments or five.
const MOST_LOADS: usize = 64;
const MOST_ENTRIES: u64 = 4096;
/// Pages of all files together that are read for their relocations: 1 GiB.
const MOST_PAGES: u64 = 1 << 18;
/// The ELF format (include/uapi/linux/elf.h; the generic ABI).
const MAGIC: [u8; 4] = *b"\x7fELF";
const CLASS_64: u8 = 2;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NULL: u64 = 0;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_REL: u64 = 17;
const DT_RELSZ: u64 = 18;

/// Offsets in the file, in their order, of what relocations fill in.
pub struct Relocations {
    places: Vec<Range<u64>>,
}

/// Those of each file, by its inode; many processes map the same one.
#[derive(Default)]
pub struct Lists {
    known: Mutex<HashMap<VirtAddr, Option<Arc<Relocations>>>>,
    pages: AtomicU64,
}

impl Linux {
    /// By the file as the page cache has it, not by what a process made of it. None where it cannot be read.
    pub(super) fn relocations(&self, file: &Object<'_>) -> Option<Arc<Relocations>> {
        let inode = file.pointer("f_inode").ok()?;
        let mut known = self.relocations.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(inode).or_insert_with(|| self.read_relocations(file).map(Arc::new)).clone()
    }

    fn read_relocations(&self, file: &Object<'_>) -> Option<Relocations> {
        // Tables are read from end to end.
        let last = RefCell::new((None, [0; PAGE_SIZE as usize]));
        let read = |offset: u64, bytes: &mut [u8]| {
            let mut last = last.borrow_mut();
            for (byte, ahead) in bytes.iter_mut().zip(0..) {
                let at = offset.checked_add(ahead)?;
                if last.0 != Some(at / PAGE_SIZE) {
                    if self.relocations.pages.fetch_add(1, Ordering::Relaxed) >= MOST_PAGES {
                        return None;
                    }
                    last.0 = None;
                    self.image.read(self.cached_page(file, at / PAGE_SIZE)?, &mut last.1).ok()?;
                    last.0 = Some(at / PAGE_SIZE);
                }
                *byte = *last.1.get((at % PAGE_SIZE) as usize)?;
            }
            Some(())
        };
        relocations(&read)
    }
}

fn relocations(read: &dyn Fn(u64, &mut [u8]) -> Option<()>) -> Option<Relocations> {
    let number = |offset: u64, size: u64| {
        let mut bytes = [0; 8];
        read(offset, bytes.get_mut(..size as usize)?)?;
        Some(u64::from_le_bytes(bytes))
    };
    let mut start = [0; 5];
    read(0, &mut start)?;
    let [magic @ .., class] = start;
    if magic != MAGIC {
        return None;
    }
    let word = if class == CLASS_64 { 8 } else { 4 };
    // Elf64_Ehdr and Elf32_Ehdr: e_phoff, e_phentsize, e_phnum.
    let (table, stride, count) = if word == 8 { (32, 54, 56) } else { (28, 42, 44) };
    let (table, stride, count) = (number(table, word)?, number(stride, 2)?, number(count, 2)?.min(MOST_HEADERS));
    // Type, offset, address, size in the file of each header: Elf64_Phdr has its flags second, Elf32_Phdr at its end.
    let fields = if word == 8 { [8, 16, 32] } else { [4, 8, 16] };
    let header = |index: u64| {
        let at = table.checked_add(index * stride)?;
        let [offset, address, size] = fields.map(|field| number(at.checked_add(field)?, word));
        Some((number(at, 4)?, offset?, address?, size?))
    };
    let headers = (0..count).map(header).collect::<Option<Vec<_>>>()?;
    let in_file = |address: u64| {
        let mut loads = headers.iter().filter(|(kind, ..)| *kind == PT_LOAD).take(MOST_LOADS);
        loads.find_map(|(_, offset, start, size)| {
            let past = address.checked_sub(*start).filter(|past| past < size)?;
            offset.checked_add(past)
        })
    };
    let (_, dynamic, _, size) = headers.iter().find(|(kind, ..)| *kind == PT_DYNAMIC)?;
    let mut tables = [(DT_RELA, DT_RELASZ, 3, None, 0), (DT_REL, DT_RELSZ, 2, None, 0)];
    for entry in 0..(size / (2 * word)).min(MOST_ENTRIES) {
        let at = dynamic.checked_add(entry * 2 * word)?;
        let (tag, value) = (number(at, word)?, number(at.checked_add(word)?, word)?);
        if tag == DT_NULL {
            break;
        }
        for (table, length, _, at, bytes) in &mut tables {
            if tag == *table {
                *at = in_file(value);
            } else if tag == *length {
                *bytes = value;
            }
        }
    }
    let mut places = Vec::new();
    for (_, _, words, at, bytes) in tables {
        let Some(at) = at else { continue };
        for entry in 0..(bytes / (words * word)).min(MOST_RELOCATIONS) {
            // Elf64_Rela, Elf32_Rel: the place comes first. No relocation fills in more than a word.
            if let Some(place) = in_file(number(at.checked_add(entry * words * word)?, word)?) {
                places.push(place..place.saturating_add(word));
            }
        }
    }
    places.sort_unstable_by_key(|place| place.start);
    Some(Relocations { places })
}

impl Relocations {
    /// Lets a page of the file, which begins there, have what a process's copy has where the loader fills it in. Says whether it did.
    pub fn allow(&self, page: u64, was: &mut [u8], is: &[u8]) -> bool {
        let end = page.saturating_add(was.len() as u64);
        let first = self.places.partition_point(|place| place.end <= page);
        let mut found = false;
        for place in self.places.iter().skip(first).take_while(|place| place.start < end) {
            let part = place.start.max(page) - page..place.end.min(end) - page;
            let part = part.start as usize..part.end as usize;
            if let (Some(was), Some(is)) = (was.get_mut(part.clone()), is.get(part))
                && was != is
            {
                was.copy_from_slice(is);
                found = true;
            }
        }
        found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A 64-bit file: a segment of all of it, a dynamic section, one relocation of the word at 0x1ffc.
    fn file() -> Vec<u8> {
        let mut file = vec![0; 0x3000];
        let mut put = |at: usize, size: usize, value: u64| file[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        put(0, 5, u64::from_le_bytes(*b"\x7fELF\x02\0\0\0"));
        [(32, 8, 64), (54, 2, 56), (56, 2, 2)].into_iter().for_each(|(at, size, value)| put(at, size, value));
        [(64, PT_LOAD, 0, 0x10_0000, 0x3000), (120, PT_DYNAMIC, 0x200, 0x10_0200, 0x40)].into_iter().for_each(
            |(at, kind, offset, address, size)| {
                [(at, 4, kind), (at + 8, 8, offset), (at + 16, 8, address), (at + 32, 8, size)]
                    .into_iter()
                    .for_each(|(at, length, value)| put(at, length, value));
            },
        );
        let dynamic = [DT_RELA, 0x10_0300, DT_RELASZ, 24, DT_NULL, 0];
        dynamic.into_iter().zip((0x200..).step_by(8)).for_each(|(value, at)| put(at, 8, value));
        put(0x300, 8, 0x10_1ffc);
        file
    }

    #[test]
    fn only_what_the_file_lists_is_allowed_to_differ() {
        let file = file();
        let read = |offset: u64, bytes: &mut [u8]| {
            bytes.copy_from_slice(file.get(offset as usize..offset as usize + bytes.len())?);
            Some(())
        };
        let known = relocations(&read).unwrap();
        assert_eq!(known.places.first(), Some(&(0x1ffc..0x2004)));
        let page = |at: usize| {
            let mut page = [0; PAGE_SIZE as usize];
            page[at] = 7;
            page
        };
        let left = |number: u64, is: [u8; 4096]| {
            let mut was = [0; PAGE_SIZE as usize];
            (known.allow(number * PAGE_SIZE, &mut was, &is), was == is)
        };
        assert_eq!(left(1, page(0xffd)), (true, true));
        assert_eq!(left(2, page(3)), (true, true), "one that reaches into the next page");
        assert_eq!(left(2, page(4)), (false, false));
        assert_eq!(left(1, page(0xffb)), (false, false));
        assert!(relocations(&|_, _| None).is_none());
    }
}
