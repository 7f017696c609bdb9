//! Kdump-compressed files of makedumpfile and QEMU (`KDUMP   `, formerly `DISKDUMP`).
//!
//! Header, sub header, two bitmaps (memory that exists, pages that were dumped), a descriptor of 24 bytes for each dumped page, then
//! the pages. The bitmap is all that is read at open: the how-manieth set bit gives the descriptor, the descriptor gives the page.

use super::blocks::{BUDGET, Blocks};
use super::pages::{MOST_PAGES, PageSet};
use super::source::Source;
use super::{Hints, Memory, Opened, Problem, lzo, notes, unpack};
use crate::address::{PhysAddr, PhysRange};
use crate::facts::ReadError;
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"KDUMP   ";
pub(crate) const OLD_MAGIC: &[u8] = b"DISKDUMP";

const DESCRIPTOR: u64 = 24;
/// The writer ran out of space (`DUMP_DH_COMPRESSED_INCOMPLETE`).
const INCOMPLETE: u32 = 8;
const ZLIB: u32 = 1;
const LZO: u32 = 2;
const SNAPPY: u32 = 4;
const ZSTD: u32 = 0x20;
const MOST_VMCOREINFO: u64 = 1 << 20;

/// What makedumpfile's dump level leaves out, by bit.
const LEFT_OUT: [&str; 5] = ["zero pages", "cache", "private cache", "pages of processes", "free pages"];

struct Kdump {
    source: Arc<dyn Source>,
    page_size: u64,
    dumped: PageSet,
    /// Pages that were left out because they were zero, where nothing else was left out.
    zero: PageSet,
    descriptors: u64,
    runs: Vec<PhysRange>,
    blocks: Blocks,
}

pub(crate) fn open(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let mut warnings = Vec::new();
    let header: [u8; 464] = source.array(0)?;
    let word = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let version = word(8);
    let status = word(424);
    let (page_size, sub_blocks, bitmap_blocks) = (u64::from(word(428)), u64::from(word(432)), u64::from(word(436)));
    if !(page_size.is_power_of_two() && (4096..=65536).contains(&page_size)) {
        return Err(format!("a kdump file whose header gives pages of {page_size} bytes (offset 0x1ac)").into());
    }
    let sub = SubHeader::read(&*source, page_size, version)?;
    let pages = if version >= 6 { sub.pages } else { u64::from(word(440)) };
    if pages > MOST_PAGES {
        return Err(format!("a kdump file whose header tells of {pages} pages; that is more than any machine has").into());
    }

    // Two bitmaps share the blocks; very old files have one only.
    let bitmaps = (1 + sub_blocks) * page_size;
    let length = bitmap_blocks * page_size;
    let needed = pages.div_ceil(8);
    let two = bitmap_blocks >= needed.div_ceil(page_size) * 2;
    let second = if two { bitmaps + length / 2 } else { bitmaps };
    if needed > if two { length / 2 } else { length } {
        return Err(format!("a kdump file whose bitmaps are too small: {bitmap_blocks} blocks for {pages} pages (offset 0x1b4)").into());
    }
    let held = source.len().saturating_sub(second).min(needed);
    if held < needed {
        return Err(format!("a kdump file that ends at offset {:#x}, within its bitmaps", source.len()).into());
    }
    let bitmap = |at: u64| source.upto(at, needed as usize).map(|bytes| PageSet::new(&bytes));
    let mut dumped = bitmap(second)?;
    let descriptors = bitmaps + length;

    if sub.split {
        dumped = dumped.keep(sub.first_page, sub.end_page);
        warnings.push(format!(
            "one of several files of a split dump: only the memory from {:#x} to {:#x} is in it",
            sub.first_page.saturating_mul(page_size),
            sub.end_page.saturating_mul(page_size)
        ));
    }
    let zero = if two && sub.level == 1 && !sub.split { bitmap(bitmaps)? } else { PageSet::default() };
    if sub.level > 1 {
        let kinds: Vec<&str> = LEFT_OUT.iter().enumerate().filter(|(bit, _)| sub.level >> bit & 1 != 0).map(|(_, kind)| *kind).collect();
        warnings.push(format!("makedumpfile left out {} (dump level {})", kinds.join(", "), sub.level));
    }
    if status & INCOMPLETE != 0 {
        warnings.push("the writer of the dump ran out of space: the file is incomplete".into());
    }

    let mut hints = Hints::default();
    if let Some((offset, size)) = sub.notes {
        let most = size.min(notes::MOST_NOTES as u64) as usize;
        hints = notes::walk(&source.upto(offset, most)?).hints;
    }
    if let Some((offset, size)) = sub.vmcoreinfo {
        let text = source.upto(offset, size.min(MOST_VMCOREINFO) as usize)?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        hints.vmcoreinfo = Some(String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty());
    }

    let runs = dumped.with(&zero).runs(page_size);
    let kdump = Kdump { source, page_size, dumped, zero, descriptors, runs, blocks: Blocks::new(page_size as usize, BUDGET) };
    warnings.extend(kdump.cut_off());
    let format = match status & (ZLIB | LZO | SNAPPY | ZSTD) {
        ZLIB => "kdump (zlib)",
        LZO => "kdump (lzo)",
        SNAPPY => "kdump (snappy)",
        ZSTD => "kdump (zstd)",
        _ => "kdump",
    };
    Opened::new(kdump, format.into(), hints, warnings)
}

struct SubHeader {
    level: u32,
    split: bool,
    first_page: u64,
    end_page: u64,
    vmcoreinfo: Option<(u64, u64)>,
    notes: Option<(u64, u64)>,
    pages: u64,
}

impl SubHeader {
    /// The header's version tells how far its fields are filled.
    fn read(source: &dyn Source, at: u64, version: u32) -> Result<Self, Problem> {
        let bytes: [u8; 104] = source.array(at)?;
        let long = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let int = |at: usize| long(at) as u32;
        let place = |since: u32, at: usize| (version >= since && long(at) != 0 && long(at + 8) != 0).then(|| (long(at), long(at + 8)));
        let (first_page, end_page) = if version >= 6 { (long(80), long(88)) } else { (long(16), long(24)) };
        Ok(Self {
            level: if version >= 1 { int(8) & 0x1f } else { 0 },
            split: version >= 2 && int(12) != 0,
            first_page,
            end_page,
            vmcoreinfo: place(3, 32),
            notes: place(4, 48),
            pages: long(96),
        })
    }
}

struct Descriptor {
    offset: u64,
    size: usize,
    flags: u32,
}

impl Kdump {
    fn descriptor(&self, page: u64) -> Result<Descriptor, ReadError> {
        self.descriptor_at(self.dumped.rank(page))
    }

    fn descriptor_at(&self, index: u64) -> Result<Descriptor, ReadError> {
        let bytes: [u8; DESCRIPTOR as usize] = self.source.array(self.descriptors + index * DESCRIPTOR)?;
        let word = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let offset = u64::from(word(0)) | u64::from(word(4)) << 32;
        Ok(Descriptor { offset, size: word(8) as usize, flags: word(12) })
    }

    /// Whether the file ends before its last pages. Their descriptors tell, no page is read.
    fn cut_off(&self) -> Option<String> {
        let count = self.dumped.count();
        let end = |index| self.descriptor_at(index).map_or(u64::MAX, |page| page.offset.saturating_add(page.size as u64));
        let cut = (count.saturating_sub(256)..count).any(|index| end(index) > self.source.len());
        cut.then(|| format!("the file ends at offset {:#x}: the last pages are missing", self.source.len()))
    }

    fn page(&self, page: u64, descriptor: &Descriptor, out: &mut [u8]) -> Result<(), ReadError> {
        let damaged = ReadError::Damaged(PhysAddr(page * self.page_size));
        if descriptor.size > out.len() {
            return Err(damaged);
        }
        let kind = descriptor.flags & (ZLIB | LZO | SNAPPY | ZSTD);
        if kind == 0 {
            return if descriptor.size == out.len() { self.source.read_at(descriptor.offset, out) } else { Err(damaged) };
        }
        unpack::with_buffer(descriptor.size, |packed| {
            self.source.read_at(descriptor.offset, packed)?;
            let done = match kind {
                ZLIB => unpack::zlib(packed, out),
                LZO => lzo::decompress(packed, out),
                SNAPPY => unpack::snappy(packed, out),
                ZSTD => unpack::zstd(packed, out),
                _ => None,
            };
            done.ok_or(damaged)
        })
    }
}

impl Memory for Kdump {
    fn runs(&self) -> &[PhysRange] {
        &self.runs
    }

    fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (at.0, out);
        while !rest.is_empty() {
            let (page, inside) = (at / self.page_size, at % self.page_size);
            let length = (self.page_size - inside).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            if self.dumped.holds(page) {
                self.read_page(page, inside as usize, now)?;
            } else if self.zero.holds(page) {
                now.fill(0);
            } else {
                return Err(ReadError::NotInImage(PhysAddr(at)));
            }
            at += length as u64;
            rest = later;
        }
        Ok(())
    }
}

/// A page that compresses to so little is all zeros or nearly: many share one block, so it is worth keeping.
const SHARED: usize = 64;

impl Kdump {
    fn read_page(&self, page: u64, inside: usize, out: &mut [u8]) -> Result<(), ReadError> {
        let descriptor = self.descriptor(page)?;
        if descriptor.flags & (ZLIB | LZO | SNAPPY | ZSTD) == 0 && descriptor.size as u64 == self.page_size {
            return self.source.read_at(descriptor.offset.saturating_add(inside as u64), out);
        }
        // A sweep takes whole pages once; keeping them would only push out what a walk needs again.
        if out.len() as u64 == self.page_size && descriptor.size > SHARED && !self.blocks.holds(descriptor.offset) {
            return self.page(page, &descriptor, out);
        }
        self.blocks.read(descriptor.offset, inside, out, || {
            let mut block = vec![0; self.page_size as usize].into_boxed_slice();
            self.page(page, &descriptor, &mut block).map(|()| block)
        })
    }
}
