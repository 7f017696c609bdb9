//! QEMU's migration stream: `migrate exec:cat`, and what libvirt's `virsh save` puts behind a header of its own.
//!
//! The stream is written front to back while the machine may still run: a page can come again, and the last one counts. So there is no
//! way round one walk over the page headers at open; it jumps over the pages themselves. The section `ram` comes first; of the devices
//! behind it only the processors' CR3 is looked at.

use super::pages::MOST_PAGES;
use super::source::Source;
use super::{Hints, Memory, Opened, Problem, flat};
use crate::address::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::facts::ReadError;
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"QEVM";
pub(crate) const LIBVIRT_MAGIC: &[u8] = b"LibvirtQemudSave";
pub(crate) const LIBVIRT_PARTIAL: &[u8] = b"LibvirtQemudPart";

const SECTION_START: u8 = 1;
const SECTION_PART: u8 = 2;
const SECTION_END: u8 = 3;
const SECTION_FULL: u8 = 4;
const SUBSECTION: u8 = 5;
const CONFIGURATION: u8 = 7;
const COMMAND: u8 = 8;
const FOOTER: u8 = 0x7e;

// Flags in the low bits of a page's address (qemu/migration/ram.c).
const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE: u64 = 0x08;
const END: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const MULTIFD_FLUSH: u64 = 0x200;

const GIB: u64 = 1 << 30;
/// Blocks of memory a machine may have: RAM, video, ROMs.
const MOST_BLOCKS: usize = 4096;

/// libvirt's header before the stream (libvirt/src/qemu/qemu_saveimage.h).
pub(crate) fn open_libvirt(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let header: [u8; 92] = source.array(0)?;
    let word = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (length, compressed) = (word(20), word(28));
    let mut opened = match compressed {
        0 => open(source, 92 + u64::from(length))?,
        kind => {
            let name =
                ["", "gzip", "bzip2", "xz", "lzop", "zstd", "holes (sparse)"].get(kind as usize).copied().unwrap_or("an unknown method");
            let skip = 92 + u64::from(length);
            return Err(format!(
                "a libvirt save image compressed with {name}; its stream begins at offset {skip}: cut it out, decompress it and open that"
            )
            .into());
        }
    };
    if header.starts_with(LIBVIRT_PARTIAL) {
        opened.warnings.push("libvirt did not finish this save image".into());
    }
    Ok(opened.wrapped("libvirt save image", Vec::new()))
}

/// Opens a stream that begins at `start` of the file.
pub(crate) fn open(source: Arc<dyn Source>, start: u64) -> Result<Opened, Problem> {
    let header: [u8; 8] = source.array(start)?;
    if !header.starts_with(MAGIC) {
        return Err(format!("no QEMU stream at offset {start:#x}, where the header says it begins").into());
    }
    if header[4..] != [0, 0, 0, 3] {
        return Err("a QEMU stream of a version other than 3".into());
    }
    let mut walk = Walk {
        stream: Stream { source: &*source, at: start + 8 },
        machine: String::new(),
        shared_addresses: false,
        blocks: Vec::new(),
        current: None,
        ram_section: None,
    };
    let mut warnings = Vec::new();
    let whole = walk.sections();
    let (end, machine) = (walk.stream.at, std::mem::take(&mut walk.machine));
    let blocks = std::mem::take(&mut walk.blocks);
    let mut hints = Hints::default();
    match whole {
        Ok(()) => hints.page_table_roots = processors(&*source, end),
        Err(Problem(problem)) if blocks.is_empty() => return Err(format!("a QEMU stream: {problem}").into()),
        Err(Problem(problem)) => warnings.push(format!("the QEMU stream cannot be read to its end ({problem}); what came before is shown")),
    }
    let stream = Ram::new(source, blocks, &machine, &mut warnings)?;
    let format = if machine.is_empty() { "QEMU stream".into() } else { format!("QEMU stream ({})", machine.escape_debug()) };
    Opened::new(stream, format, hints, warnings)
}

/// Reads the stream's big-endian fields one after the other.
struct Stream<'a> {
    source: &'a dyn Source,
    at: u64,
}

impl Stream<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.source.array(self.at)?;
        self.at += N as u64;
        Ok(bytes)
    }
    fn byte(&mut self) -> Result<u8, Problem> {
        self.take().map(u8::from_be_bytes)
    }
    fn be16(&mut self) -> Result<u16, Problem> {
        self.take().map(u16::from_be_bytes)
    }
    fn be32(&mut self) -> Result<u32, Problem> {
        self.take().map(u32::from_be_bytes)
    }
    fn be64(&mut self) -> Result<u64, Problem> {
        self.take().map(u64::from_be_bytes)
    }
    fn text(&mut self, length: usize) -> Result<String, Problem> {
        let mut bytes = vec![0; length];
        self.source.read_at(self.at, &mut bytes)?;
        self.at += length as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
    /// A name behind a byte for its length.
    fn name(&mut self) -> Result<String, Problem> {
        let length = self.byte()?;
        self.text(usize::from(length))
    }
    fn skip(&mut self, length: u64) -> Result<(), Problem> {
        self.at = self.at.saturating_add(length);
        if self.at > self.source.len() { Err(ReadError::File(self.source.len()).into()) } else { Ok(()) }
    }
}

/// A block of the machine's memory: RAM, or a ROM.
struct Block {
    name: String,
    length: u64,
    /// Video memory and the like has no known address; its pages are passed over.
    wanted: bool,
    pages: Index,
}

struct Walk<'a> {
    stream: Stream<'a>,
    machine: String,
    /// Block lengths are followed by an address (capability x-ignore-shared).
    shared_addresses: bool,
    blocks: Vec<Block>,
    current: Option<usize>,
    ram_section: Option<u32>,
}

impl Walk<'_> {
    /// Walks the sections until `ram` is complete.
    fn sections(&mut self) -> Result<(), Problem> {
        loop {
            let at = self.stream.at;
            let kind = self.stream.byte()?;
            match kind {
                CONFIGURATION => self.configuration()?,
                SUBSECTION => self.subsection()?,
                COMMAND => {
                    self.stream.be16()?;
                    let length = self.stream.be16()?;
                    self.stream.skip(u64::from(length))?;
                }
                SECTION_START | SECTION_FULL => {
                    let section = self.stream.be32()?;
                    let name = self.stream.name()?;
                    self.stream.skip(8)?;
                    if name != "ram" {
                        return Err(format!("section {name:?} at offset {at:#x} comes before the memory is complete").into());
                    }
                    self.ram_section = Some(section);
                    self.chunk()?;
                }
                SECTION_PART | SECTION_END => {
                    let section = self.stream.be32()?;
                    if self.ram_section != Some(section) {
                        return Err(format!("unknown section {section} at offset {at:#x}").into());
                    }
                    self.chunk()?;
                    if kind == SECTION_END {
                        return Ok(());
                    }
                }
                FOOTER => self.stream.skip(4)?,
                other => return Err(format!("unknown section type {other:#x} at offset {at:#x}").into()),
            }
        }
    }

    fn configuration(&mut self) -> Result<(), Problem> {
        let length = self.stream.be32()?;
        if length > 4096 {
            return Err(format!("a machine name of {length} bytes before offset {:#x}", self.stream.at).into());
        }
        self.machine = self.stream.text(length as usize)?;
        Ok(())
    }

    /// Subsections of the configuration.
    fn subsection(&mut self) -> Result<(), Problem> {
        let at = self.stream.at;
        let name = self.stream.name()?;
        self.stream.be32()?;
        match name.as_str() {
            "configuration/target-page-bits" => self.stream.skip(4),
            "configuration/uuid" => self.stream.skip(16),
            "configuration/capabilities" => {
                for _ in 0..self.stream.be32()?.min(64) {
                    match self.stream.name()?.as_str() {
                        "x-ignore-shared" => self.shared_addresses = true,
                        "mapped-ram" => return Err("the mapped-ram form is not supported; save without that capability".into()),
                        _ => {}
                    }
                }
                Ok(())
            }
            _ => Err(format!("unknown subsection {name:?} at offset {at:#x}").into()),
        }
    }

    /// Pages up to the next end mark.
    fn chunk(&mut self) -> Result<(), Problem> {
        loop {
            let at = self.stream.at;
            let header = self.stream.be64()?;
            let (address, flags) = (header & !(PAGE_SIZE - 1), header & (PAGE_SIZE - 1));
            match flags & !CONTINUE {
                END => return Ok(()),
                MULTIFD_FLUSH => {}
                MEM_SIZE => self.block_list(address)?,
                kind @ (ZERO | PAGE) => {
                    if flags & CONTINUE == 0 {
                        let name = self.stream.name()?;
                        let current = self.blocks.iter().position(|block| block.name == name);
                        self.current = Some(current.ok_or_else(|| format!("unknown memory block {name:?} at offset {at:#x}"))?);
                    }
                    let block = self.current.and_then(|index| self.blocks.get_mut(index));
                    let block = block.ok_or_else(|| format!("a page without a memory block at offset {at:#x}"))?;
                    if address >= block.length {
                        return Err(format!("page {address:#x} beyond the end of block {:?} at offset {at:#x}", block.name).into());
                    }
                    let entry = if kind == ZERO {
                        1 + u64::from(self.stream.byte()?)
                    } else {
                        let offset = self.stream.at;
                        self.stream.skip(PAGE_SIZE)?;
                        FIRST_OFFSET + offset
                    };
                    if block.wanted {
                        block.pages.set(address / PAGE_SIZE, entry);
                    }
                }
                _ => return Err(format!("page flags {flags:#x} at offset {at:#x} (compressed or XBZRLE pages) are not supported").into()),
            }
        }
    }

    /// The names and lengths of all blocks; `total` is their sum.
    fn block_list(&mut self, total: u64) -> Result<(), Problem> {
        let mut left = total;
        while left != 0 {
            let at = self.stream.at;
            let name = self.stream.name()?;
            let length = self.stream.be64()?;
            if self.shared_addresses {
                self.stream.skip(8)?;
            }
            left = left.checked_sub(length).ok_or_else(|| format!("the memory blocks at offset {at:#x} exceed their sum"))?;
            let wanted = is_ram(&name) || name == BIOS;
            let known: u64 = self.blocks.iter().filter(|block| block.wanted).map(|block| block.length).sum();
            if wanted && length > MOST_PAGES * PAGE_SIZE - known || self.blocks.len() == MOST_BLOCKS {
                return Err(format!("memory block {name:?} of {length:#x} bytes at offset {at:#x}").into());
            }
            if !self.blocks.iter().any(|block| block.name == name) {
                self.blocks.push(Block { name, length, wanted, pages: Index::default() });
            }
        }
        Ok(())
    }
}

const BIOS: &str = "pc.bios";

/// The names QEMU and libvirt give to main memory; with NUMA one for each node.
fn is_ram(name: &str) -> bool {
    let name = name.strip_prefix("/objects/").unwrap_or(name);
    matches!(name, "pc.ram" | "microvm.ram") || name.starts_with("ram-node") || name.starts_with("mem")
}

/// Where the pages of one block are in the file. A page takes eight bytes, and 512 neighbours without any page take none.
#[derive(Default)]
struct Index(Vec<Option<Box<[u64; NEIGHBOURS]>>>);

const NEIGHBOURS: usize = 512;
const ABSENT: u64 = 0;
/// An entry below this is a page filled with one byte: the byte and one. The others are the page's offset and this.
const FIRST_OFFSET: u64 = 257;

impl Index {
    fn set(&mut self, page: u64, entry: u64) {
        let group = page as usize / NEIGHBOURS;
        if group >= self.0.len() {
            self.0.resize_with(group + 1, || None);
        }
        let group = self.0[group].get_or_insert_with(|| Box::new([ABSENT; NEIGHBOURS]));
        group[page as usize % NEIGHBOURS] = entry;
    }

    /// The pages that are there. Where none is for long, none is looked at.
    fn pages(&self) -> impl Iterator<Item = u64> {
        let groups = self.0.iter().enumerate().filter_map(|(index, group)| Some((index, group.as_ref()?)));
        groups.flat_map(|(index, group)| {
            let first = (index * NEIGHBOURS) as u64;
            group.iter().zip(first..).filter(|(entry, _)| **entry != ABSENT).map(|(_, page)| page)
        })
    }

    fn get(&self, page: u64) -> u64 {
        let group = usize::try_from(page).ok().and_then(|page| self.0.get(page / NEIGHBOURS)?.as_ref());
        group.map_or(ABSENT, |group| group[page as usize % NEIGHBOURS])
    }
}

/// A part of a block and where the machine sees it.
struct Window {
    start: u64,
    length: u64,
    block: usize,
    from: u64,
}

struct Ram {
    source: Arc<dyn Source>,
    blocks: Vec<Index>,
    /// Sorted, not overlapping.
    windows: Vec<Window>,
    runs: Vec<PhysRange>,
}

/// How much RAM is below 4 GiB; the rest follows above. The machine type decides (qemu/hw/i386/pc_piix.c, pc_q35.c).
fn below_4g(machine: &str, ram: u64) -> u64 {
    let (from, below) = if machine.contains("q35") {
        (0xb000_0000, 2 * GIB)
    } else if machine.contains("microvm") {
        (3 * GIB, 3 * GIB)
    } else {
        (0xe000_0000, 3 * GIB)
    };
    if ram >= from { below } else { ram }
}

impl Ram {
    fn new(source: Arc<dyn Source>, blocks: Vec<Block>, machine: &str, warnings: &mut Vec<String>) -> Result<Self, Problem> {
        let is_main = |block: &&(usize, &Block)| is_ram(&block.1.name);
        let mut main: Vec<(usize, &Block)> = blocks.iter().enumerate().collect::<Vec<_>>().iter().filter(is_main).copied().collect();
        if main.is_empty() {
            let names: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).take(8).collect();
            return Err(format!("a QEMU stream of a machine that is not a PC: its memory blocks are {names:?}").into());
        }
        // NUMA nodes follow each other by number; the stream has them by size.
        main.sort_by_key(|(_, block)| (block.name.len(), block.name.clone()));
        let total = main.iter().fold(0u64, |sum, (_, block)| sum.saturating_add(block.length));
        let below = below_4g(machine, total);
        if total > below {
            warnings.push(format!(
                "the stream does not tell where RAM above {below:#x} is; it is put at 4 GiB, as the machine type {machine:?} does it"
            ));
        }

        let mut windows = Vec::new();
        let mut at = 0;
        for (index, block) in main {
            let low = block.length.min(below.saturating_sub(at));
            windows.push(Window { start: at, length: low, block: index, from: 0 });
            let above = 4 * GIB + at.saturating_sub(below);
            windows.push(Window { start: above, length: block.length - low, block: index, from: low });
            at = at.saturating_add(block.length);
        }
        if let Some((index, bios)) = blocks.iter().enumerate().find(|(_, block)| block.name == BIOS)
            && bios.length <= 16 << 20
        {
            windows.push(Window { start: 4 * GIB - bios.length, length: bios.length, block: index, from: 0 });
        }
        windows.retain(|window| window.length != 0);
        windows.sort_by_key(|window| window.start);
        let blocks: Vec<Index> = blocks.into_iter().map(|block| block.pages).collect();
        let pages = windows.iter().flat_map(|window| {
            let end = window.from + window.length;
            blocks[window.block].pages().map(|page| page * PAGE_SIZE).filter(move |at| (window.from..end).contains(at)).map(move |at| {
                let start = PhysAddr(window.start + (at - window.from));
                PhysRange { start, length: PAGE_SIZE.min(end - at) }
            })
        });
        let runs = flat::merged(pages);
        Ok(Self { source, windows, runs, blocks })
    }
}

impl Memory for Ram {
    fn runs(&self) -> &[PhysRange] {
        &self.runs
    }

    fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (at.0, out);
        while !rest.is_empty() {
            let missing = ReadError::NotInImage(PhysAddr(at));
            let after = self.windows.partition_point(|window| window.start <= at);
            let window = after.checked_sub(1).and_then(|index| self.windows.get(index));
            let window = window.filter(|window| at - window.start < window.length).ok_or(missing)?;
            let inside = at - window.start + window.from;
            let in_page = inside % PAGE_SIZE;
            let length = (PAGE_SIZE - in_page).min(window.length - (at - window.start)).min(rest.len() as u64);
            let (now, later) = rest.split_at_mut(length as usize);
            match self.blocks[window.block].get(inside / PAGE_SIZE) {
                ABSENT => return Err(missing),
                filled @ 1..FIRST_OFFSET => now.fill((filled - 1) as u8),
                entry => self.source.read_at(entry - FIRST_OFFSET + in_page, now)?,
            }
            at += length;
            rest = later;
        }
        Ok(())
    }
}

/// The state of an x86 processor in the stream (`vmstate_x86_cpu`, version 12): CR0, CR2, CR3 and CR4 after 456 bytes of registers.
const CPU_SECTION: &[u8] = b"\x03cpu";
const CPU_VERSION: u32 = 12;
const CR0: usize = 456;
const CR3: usize = CR0 + 16;
/// Protected mode and paging: without them CR3 means nothing.
const PAGING: u64 = 1 << 31 | 1;
const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Device states up to here are searched; the processors are among the first.
const MOST_DEVICES: usize = 8 << 20;

/// CR3 of every processor. The sections of devices have no lengths, so the processors' are searched by their header.
fn processors(source: &dyn Source, from: u64) -> Vec<PhysAddr> {
    let devices = source.upto(from, MOST_DEVICES).unwrap_or_default();
    let mut roots = Vec::new();
    for at in memchr::memmem::find_iter(&devices, CPU_SECTION) {
        let full = at.checked_sub(5).and_then(|start| devices.get(start)) == Some(&SECTION_FULL);
        let Some(section) = devices.get(at + CPU_SECTION.len()..) else { continue };
        let version = section.get(4..).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_be_bytes(*bytes));
        let state = section.get(8..).unwrap_or_default();
        let register = |at: usize| state.get(at..).and_then(|bytes| bytes.first_chunk()).map(|bytes| u64::from_be_bytes(*bytes));
        if let (true, Some(CPU_VERSION), Some(cr0), Some(cr3)) = (full, version, register(CR0), register(CR3)) {
            let root = PhysAddr(cr3 & CR3_ADDRESS);
            if cr0 & PAGING == PAGING && !root.is_null() && !roots.contains(&root) {
                roots.push(root);
            }
        }
    }
    roots
}
