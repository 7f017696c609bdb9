//! Pool blocks by their tags: one sweep of physical memory for all of them.

use super::Windows;
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{ReadError, Watch};
use crate::image::{Chunk, Image, Swept};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Tags that some table asks for. Before Windows 8 the tags of protected objects have their highest bit set.
const TAGS: [&[u8; 4]; 20] = [
    b"Proc", b"Thre", b"File", b"Muta", b"Driv", b"Devi", b"Symb", b"Sect", b"Toke", b"MmLd", b"TcpL", b"TcpE", b"TTcb", b"UdpA", b"TcTW",
    b"CM10", b"Vad ", b"VadS", b"AtmT", b"Cbrb",
];
pub const PROTECTED: u8 = 0x80;
/// Blocks begin at multiples of this on x64.
pub const GRAIN: usize = 16;
/// Where a header has its tag in all x64 builds.
const TAG_AT: usize = 4;
const CHUNK: usize = 256 << 10;
static ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];
/// With what letter any of the marks begins.
static LETTERS: [bool; 256] = {
    let mut letters = [false; 256];
    let mut index = 0;
    while index < TAGS.len() {
        letters[TAGS[index][0] as usize] = true;
        index += 1;
    }
    letters[EVENT_CHUNK[0] as usize] = true;
    letters[EVENT_RECORD[0] as usize] = true;
    letters
};
/// How a chunk of an event log and a record in one begin (libevtx, "Windows XML Event Log (EVTX)").
const EVENT_CHUNK: &[u8; 8] = b"ElfChnk\0";
const EVENT_RECORD: &[u8; 4] = b"**\0\0";
const MOST_EVENTS: usize = 1 << 22;
/// The kernel's half.
pub const KERNEL_HALF: VirtAddr = VirtAddr(0xffff_8000_0000_0000);
const KERNEL_END: VirtAddr = VirtAddr(0xffff_ffff_ffff_f000);

/// Entries of the table of large blocks that are looked at.
const MOST_LARGE: u64 = 1 << 22;

/// A block with a tag of interest; it may have been freed.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub physical: PhysAddr,
    /// Where the kernel maps it; None where nothing maps its frame any more.
    pub address: Option<VirtAddr>,
    /// Bytes, its _POOL_HEADER included.
    pub size: u32,
}

/// Where event logs may lie in physical memory: pages that begin like a chunk of one, and beginnings of records.
#[derive(Debug, Default)]
pub struct EventMarks {
    pub chunks: Vec<PhysAddr>,
    pub records: Vec<PhysAddr>,
    /// There were more than are kept.
    pub full: bool,
}

/// The blocks of an image, by tag, and what else the sweep has met.
#[derive(Debug, Default)]
pub struct Pools {
    blocks: HashMap<[u8; 4], Vec<Block>>,
    pub events: EventMarks,
    /// Bytes that could not be looked at.
    pub unread: u64,
}

/// What can be told of memory before the kernel's layouts are known.
#[derive(Debug, Default)]
pub struct Marks {
    /// Headers of blocks with a tag of interest.
    blocks: Vec<(PhysAddr, [u8; GRAIN])>,
    events: EventMarks,
    unread: u64,
}

fn tag(header: &[u8; GRAIN]) -> [u8; 4] {
    let [_, _, _, _, a, b, c, d, ..] = *header;
    [a, b, c, d & !PROTECTED]
}

/// Marks as a sweep comes upon them, on all threads.
#[derive(Default)]
pub struct Marking(Mutex<Marks>);

impl Marking {
    pub fn look(&self, chunk: &Chunk<'_>) {
        let mut here = Marks::default();
        let pages = chunk.bytes.get(..chunk.own).unwrap_or(chunk.bytes).chunks(ZEROS.len()).enumerate();
        // Much of memory is zeros.
        for (page, content) in pages.filter(|(_, content)| ZEROS.get(..content.len()) != Some(content)) {
            for (index, block) in content.as_chunks::<GRAIN>().0.iter().enumerate() {
                // Most blocks are told by one letter each. Records begin at multiples of eight.
                let (first, second) = (&block[..GRAIN / 2], &block[GRAIN / 2..]);
                if ![block[TAG_AT], first[0], second[0]].iter().any(|letter| LETTERS[usize::from(*letter)]) {
                    continue;
                }
                let at = chunk.at.offset((page * ZEROS.len() + index * GRAIN) as u64);
                if first.starts_with(EVENT_RECORD) {
                    here.events.records.push(at);
                }
                if second.starts_with(EVENT_RECORD) {
                    here.events.records.push(at.offset((GRAIN / 2) as u64));
                }
                if first == EVENT_CHUNK && at.in_page() == 0 {
                    here.events.chunks.push(at);
                }
                if TAGS.contains(&&tag(block)) {
                    here.blocks.push((at, *block));
                }
            }
        }
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.blocks.extend(here.blocks);
        found.events.chunks.extend(here.events.chunks);
        if found.events.records.len() + here.events.records.len() > MOST_EVENTS {
            found.events.full = true;
        } else {
            found.events.records.extend(here.events.records);
        }
    }

    pub fn finish(self, swept: &Swept) -> Marks {
        let mut found = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.events.chunks.sort();
        found.events.records.sort();
        found.unread = swept.unreadable;
        found
    }
}

impl Marks {
    pub fn sweep(image: &Image, watch: &Watch) -> Self {
        let marking = Marking::default();
        let swept = image.sweep(CHUNK, 0, watch, |chunk| {
            marking.look(&chunk);
            ControlFlow::Continue(())
        });
        marking.finish(&swept)
    }
}

impl Pools {
    pub fn with_tag(&self, tag: &[u8; 4]) -> &[Block] {
        self.blocks.get(tag).map_or(&[], Vec::as_slice)
    }
}

impl Windows {
    /// The blocks of the whole image; the first who asks waits for the sweep. A cancelled sweep is not kept.
    pub(super) fn pools(&self, watch: &Watch) -> Result<Arc<Pools>, ReadError> {
        self.pools.or_try(watch, || self.sweep_pools(watch))
    }

    pub(super) fn swept(&self) -> bool {
        self.pools.get().is_some()
    }

    /// Blocks of a page and more in use, which the kernel keeps in a table of their own.
    pub(super) fn large_blocks(&self, tag: &[u8; 4], watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
        let context = self.context();
        let table = context.space.pointer(context.symbol("PoolBigPageTable")?)?;
        let count = context.space.uint(context.symbol("PoolBigPageTableSize")?, 8)?;
        let layout = self.profile.layout("_POOL_TRACKER_BIG_PAGES")?;
        let (va, key, stride) = (layout.offset("Va")?, layout.offset("Key")?, u64::from(layout.size));
        if !table.is_kernel() || count > MOST_LARGE || stride == 0 {
            return Err(ReadError::Implausible("table of large pool blocks"));
        }
        let mut found = Vec::new();
        for entry in (0..count).map(|index| table.offset(index * stride)) {
            if watch.cancelled() {
                break;
            }
            // The lowest bit of the address marks a free block.
            if context.space.bytes(entry.offset(key)) == Ok(*tag)
                && let Ok(at) = context.space.pointer(entry.offset(va))
                && at.is_kernel()
                && at.in_page() == 0
            {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// What the sweep has found, now that the kernel's layouts and page tables are known.
    fn sweep_pools(&self, watch: &Watch) -> Result<Pools, ReadError> {
        let header = self.profile.layout("_POOL_HEADER")?;
        let (shift, width) = header.field("BlockSize")?.bits.unwrap_or((0, 8));
        let (size_at, mask) = (header.offset("BlockSize")? as usize, u32::MAX >> (32 - u32::from(width.clamp(1, 32))));
        if header.offset("PoolTag")? as usize != TAG_AT {
            return Err(ReadError::Implausible("header of pool blocks"));
        }
        let mut marks = self.marks.as_ref().and_then(|begun| begun.take(watch)).unwrap_or_else(|| Marks::sweep(&self.image, watch));
        marks.blocks.sort_by_key(|(physical, _)| *physical);
        let places = self.places(marks.blocks.iter().map(|(physical, _)| physical.page()).collect());
        let mut pools = Pools { unread: marks.unread, events: marks.events, ..Pools::default() };
        for (physical, header) in marks.blocks {
            let word = header.get(size_at..).and_then(|rest| rest.first_chunk::<2>()).map_or(0, |word| u16::from_le_bytes(*word));
            let size = ((u32::from(word) >> shift) & mask) * GRAIN as u32;
            let address = places.get(&physical.page()).map(|page| page.offset(physical.in_page()));
            pools.blocks.entry(tag(&header)).or_default().push(Block { physical, address, size });
        }
        Ok(pools)
    }

    /// Where the kernel maps each of some frames, if anywhere.
    pub(super) fn places(&self, mut frames: Vec<PhysAddr>) -> HashMap<PhysAddr, VirtAddr> {
        frames.sort();
        frames.dedup();
        let mut places = HashMap::with_capacity(frames.len());
        self.space.find_frames(KERNEL_HALF, KERNEL_END, &frames, &mut |frame, page, _| {
            places.entry(frame).or_insert(page);
        });
        debug_assert!(places.values().all(|place| place.0 % PAGE_SIZE == 0));
        places
    }
}
