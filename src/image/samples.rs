//! Builds small images of every format for the tests, good ones; the tests damage them.

#![allow(clippy::unwrap_used)]

use std::io::Write;

pub const PAGE: usize = 4096;

/// Memory that every sample holds: two ranges with a hole between, and a third far above.
pub const RANGES: [(u64, usize); 3] = [(0, 20 * PAGE), (0x20000, 10 * PAGE), (0xf_0000, 3 * PAGE)];
pub const ROOT: u64 = 0x1a_b000;
pub const VMCOREINFO: &str = "OSRELEASE=6.1.0\nPAGESIZE=4096\n";

/// What is at an address: pages of text, of noise, and of zeros.
pub fn memory(start: u64, length: usize) -> Vec<u8> {
    let byte = |at: u64| match at / PAGE as u64 % 3 {
        0 => (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as u8,
        1 => b"memory image "[(at % 13) as usize],
        _ => 0,
    };
    (start..start + length as u64).map(byte).collect()
}

/// Little-endian fields one after the other.
#[derive(Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub fn le16(self, value: u16) -> Self {
        self.put(&value.to_le_bytes())
    }
    pub fn le32(self, value: u32) -> Self {
        self.put(&value.to_le_bytes())
    }
    pub fn le64(self, value: u64) -> Self {
        self.put(&value.to_le_bytes())
    }
    pub fn be32(self, value: u32) -> Self {
        self.put(&value.to_be_bytes())
    }
    pub fn be64(self, value: u64) -> Self {
        self.put(&value.to_be_bytes())
    }
    pub fn name(self, name: &str) -> Self {
        self.put(&[name.len() as u8]).put(name.as_bytes())
    }
    pub fn upto(mut self, length: usize) -> Self {
        assert!(self.0.len() <= length);
        self.0.resize(length, 0);
        self
    }
}

fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
    let pad = |bytes: Bytes| {
        let length = bytes.0.len().next_multiple_of(4);
        bytes.upto(length)
    };
    let header = Bytes::default().le32(name.len() as u32).le32(description.len() as u32).le32(kind);
    pad(pad(header.put(name)).put(description)).0
}

/// The notes of a machine with one processor.
pub fn notes() -> Vec<u8> {
    let cpu = Bytes::default().le32(1).le32(440).upto(416).le64(ROOT | 0x18).upto(440).0;
    [note(b"CORE\0", 1, &[0; 336]), note(b"QEMU\0", 0, &cpu), note(b"VMCOREINFO\0", 0, VMCOREINFO.as_bytes())].concat()
}

/// The notes of a process.
pub fn process_notes() -> Vec<u8> {
    let name = Bytes::default().upto(40).put(b"bash").upto(136).0;
    [note(b"CORE\0", 1, &[0; 336]), note(b"CORE\0", 3, &name), note(b"CORE\0", 6, &[0; 64])].concat()
}

/// An ELF core; segments are (virtual address, physical address, bytes).
pub fn elf(kind: u16, notes: &[u8], segments: &[(u64, u64, Vec<u8>)], many: bool) -> Vec<u8> {
    let count = segments.len() + 1;
    let header = Bytes::default().put(b"\x7fELF\x02\x01\x01").upto(16).le16(kind).le16(62).le32(1).le64(0);
    // With too many segments for the header, their number is in a section header between the two.
    let (sections, table) = if many { (64, 128) } else { (0, 64) };
    let header = header.le64(table).le64(sections).le32(0).le16(64).le16(56).le16(if many { 0xffff } else { count as u16 });
    let mut file = header.le16(64).le16(u16::from(many)).le16(0);
    if many {
        file = file.upto(64 + 44).le32(count as u32).upto(128);
    }
    let mut offset = table + 56 * count as u64;
    let segment = |file: Bytes, kind: u32, offset: u64, at: (u64, u64), length: usize| {
        file.le32(kind).le32(0).le64(offset).le64(at.0).le64(at.1).le64(length as u64).le64(length as u64).le64(0)
    };
    file = segment(file, 4, offset, (0, 0), notes.len());
    offset += notes.len() as u64;
    for (virtual_at, at, bytes) in segments {
        file = segment(file, 1, offset, (*virtual_at, *at), bytes.len());
        offset += bytes.len() as u64;
    }
    file = file.put(notes);
    segments.iter().fold(file, |file, (_, _, bytes)| file.put(bytes)).0
}

pub fn elf_core() -> Vec<u8> {
    let segments: Vec<_> = RANGES.iter().map(|(start, length)| (0, *start, memory(*start, *length))).collect();
    elf(4, &notes(), &segments, false)
}

pub fn lime() -> Vec<u8> {
    let range = |file: Bytes, (start, length): &(u64, usize)| {
        let header = file.put(b"EMiL").le32(1).le64(*start).le64(start + *length as u64 - 1).le64(0);
        header.put(&memory(*start, *length))
    };
    RANGES.iter().fold(Bytes::default(), range).0
}

pub fn avml() -> Vec<u8> {
    let range = |file: Bytes, (start, length): &(u64, usize)| {
        let mut packed = snap::write::FrameEncoder::new(Vec::new());
        packed.write_all(&memory(*start, *length)).unwrap();
        let packed = packed.into_inner().unwrap();
        let header = file.put(b"AVML").le32(2).le64(*start).le64(start + *length as u64 - 1).le64(0);
        header.put(&packed).le64(packed.len() as u64)
    };
    RANGES.iter().fold(Bytes::default(), range).0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    Plain,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
}

impl Pack {
    fn flag(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Zlib => 1,
            Self::Lzo => 2,
            Self::Snappy => 4,
            Self::Zstd => 0x20,
        }
    }

    fn pack(self, page: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => page.to_vec(),
            Self::Zlib => {
                let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(page).unwrap();
                packed.finish().unwrap()
            }
            Self::Lzo => lzo(page),
            Self::Snappy => snap::raw::Encoder::new().compress_vec(page).unwrap(),
            Self::Zstd => ruzstd::encoding::compress_to_vec(page, ruzstd::encoding::CompressionLevel::Fastest),
        }
    }
}

/// A page that repeats itself as LZO1X: 13 literals, then one long match 13 back; anything else does not get smaller.
fn lzo(page: &[u8]) -> Vec<u8> {
    if (13..page.len()).any(|at| page[at] != page[at - 13]) {
        return page.to_vec();
    }
    let mut packed = vec![17 + 13];
    packed.extend_from_slice(&page[..13]);
    let left = page.len() - 13 - 2 - 31;
    packed.push(32);
    packed.extend(std::iter::repeat_n(0, (left - 1) / 255));
    packed.extend([((left - 1) % 255 + 1) as u8, 12 << 2, 0, 17, 0, 0]);
    packed
}

/// A kdump file of the pages that `dumped` wants. With `split`, one of several files that holds only these pages.
pub fn kdump(pack: Pack, level: u32, split: Option<(u64, u64)>, dumped: impl Fn(u64) -> bool) -> Vec<u8> {
    let pages: u64 = 0x100;
    let held = |page: u64| RANGES.iter().any(|(start, length)| (*start..start + *length as u64).contains(&(page * PAGE as u64)));
    let bitmap = |holds: &dyn Fn(u64) -> bool| {
        let mut bits = vec![0; PAGE];
        (0..pages).filter(|page| holds(*page)).for_each(|page| bits[page as usize / 8] |= 1 << (page % 8));
        bits
    };
    let info = (2 * PAGE - 512) as u64;
    let notes = notes();
    let header = Bytes::default().put(b"KDUMP   ").le32(6).upto(424).le32(pack.flag()).le32(PAGE as u32).le32(2).le32(2).le32(pages as u32);
    let sub = header.upto(PAGE).le64(0).le32(level).le32(u32::from(split.is_some())).le64(0).le64(0);
    let sub = sub.le64(info).le64(VMCOREINFO.len() as u64).le64(2 * PAGE as u64).le64(notes.len() as u64).le64(0).le64(0);
    let (first, end) = split.unwrap_or((0, 0));
    let file =
        sub.le64(first).le64(end).le64(pages).upto(info as usize).put(VMCOREINFO.as_bytes()).upto(2 * PAGE).put(&notes).upto(3 * PAGE);
    let mut file = file.put(&bitmap(&held)).put(&bitmap(&|page| held(page) && dumped(page)));
    let here = |page: &u64| held(*page) && dumped(*page) && split.is_none_or(|(first, end)| (first..end).contains(page));
    let here: Vec<u64> = (0..pages).filter(here).collect();
    let mut offset = (file.0.len() + 24 * here.len()) as u64;
    let mut data = Vec::new();
    for page in here {
        let plain = memory(page * PAGE as u64, PAGE);
        let packed = pack.pack(&plain);
        let (packed, flag) = if packed.len() < PAGE { (packed, pack.flag()) } else { (plain, 0) };
        file = file.le64(offset).le32(packed.len() as u32).le32(flag).le64(0);
        offset += packed.len() as u64;
        data.extend(packed);
    }
    file.put(&data).0
}

/// The flattened form: the second half first, and its beginning once more, with other bytes, before that.
pub fn flattened(plain: &[u8]) -> Vec<u8> {
    let middle = plain.len() / 2;
    let record = |file: Bytes, at: usize, bytes: &[u8]| file.be64(at as u64).be64(bytes.len() as u64).put(bytes);
    let file = Bytes::default().put(b"makedumpfile\0\0\0\0").be64(1).be64(1).upto(PAGE);
    let file = record(file, middle, &[0xee; 100]);
    let file = plain[middle..].chunks(5000).enumerate().fold(file, |file, (i, part)| record(file, middle + i * 5000, part));
    let file = record(file, 0, &plain[..middle]);
    file.be64(u64::MAX).be64(u64::MAX).0
}

/// A QEMU stream. `RANGES` are one block each here, since RAM has no holes in it.
pub fn qemu(machine: &str, blocks: &[(&str, u64)], pages: &[(usize, u64, Vec<u8>)]) -> Vec<u8> {
    let total: u64 = blocks.iter().map(|(_, length)| length).sum();
    let file = Bytes::default().put(b"QEVM").be32(3).put(&[7]).be32(machine.len() as u32).put(machine.as_bytes());
    let file = file.put(&[1]).be32(2).name("ram").be32(0).be32(4).be64(total | 4);
    let file = blocks.iter().fold(file, |file, (name, length)| file.name(name).be64(*length));
    let mut file = file.be64(0x10).put(&[0x7e]).be32(2).put(&[2]).be32(2);
    let mut last = None;
    for (index, (block, at, bytes)) in pages.iter().enumerate() {
        let same = if last == Some(*block) { 0x20 } else { 0 };
        let filled = bytes.iter().all(|byte| *byte == bytes[0]);
        file = file.be64(at | same | if filled { 2 } else { 8 });
        if same == 0 {
            file = file.name(blocks[*block].0);
        }
        file = if filled { file.put(&bytes[..1]) } else { file.put(bytes) };
        last = Some(*block);
        if index == pages.len() / 2 {
            file = file.be64(0x10).put(&[0x7e]).be32(2).put(&[2]).be32(2);
            last = None;
        }
    }
    let file = file.be64(0x10).put(&[0x7e]).be32(2).put(&[3]).be32(2).be64(0x10).put(&[0x7e]).be32(2);
    // A processor among the devices.
    let file = file.put(&[4]).be32(7).name("cpu").be32(0).be32(12);
    let state = file.0.len();
    file.upto(state + 456).be64(0x8005_0033).be64(0).be64(ROOT).upto(state + 4000).put(&[0]).0
}

/// The lower two ranges as one block of RAM, with a page that comes twice.
pub fn qemu_stream() -> Vec<u8> {
    let mut pages: Vec<(usize, u64, Vec<u8>)> = vec![(0, 0, vec![0xee; PAGE])];
    for (start, length) in RANGES {
        pages.extend((0..length / PAGE).map(|page| {
            let at = start + (page * PAGE) as u64;
            (0, at, memory(at, PAGE))
        }));
    }
    qemu("pc-i440fx-7.2", &[("pc.ram", 0x10_0000), ("vga.vram", 0x10_0000)], &pages)
}

pub fn libvirt(stream: &[u8], compressed: u32) -> Vec<u8> {
    let xml = b"<domain/>\0";
    let header = Bytes::default().put(b"LibvirtQemudSave").le32(2).le32(xml.len() as u32).le32(1).le32(compressed);
    header.upto(92).put(xml).put(stream).0
}

/// A seekable zstd file in frames of `frame` bytes.
pub fn seekable(plain: &[u8], frame: usize, checksums: bool) -> Vec<u8> {
    let mut file = Bytes::default();
    let mut table = Bytes::default();
    let count = plain.chunks(frame).len() as u32;
    for part in plain.chunks(frame) {
        let packed = ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest);
        table = table.le32(packed.len() as u32).le32(part.len() as u32);
        if checksums {
            table = table.le32(0);
        }
        file = file.put(&packed);
    }
    let length = table.0.len() as u32 + 9;
    let flags = if checksums { 0x80 } else { 0 };
    file.le32(0x184d_2a5e).le32(length).put(&table.0).le32(count).put(&[flags]).le32(0x8f92_eab1).0
}

/// The header of a Windows crash dump of a kind (DUMP_TYPE_*), with the runs of memory in it.
pub fn dump_header(kind: u32) -> Bytes {
    let header = Bytes::default().put(b"PAGEDU64").le32(15).le32(19041).le64(ROOT).le64(0).le64(0xffff_f800_0000_1000);
    let header = header.le64(0xffff_f800_0000_2000).le32(0x8664).le32(2).upto(0x80).le64(0xffff_f800_0000_3000);
    let pages: usize = RANGES.iter().map(|(_, length)| length / PAGE).sum();
    let header = header.le32(RANGES.len() as u32).le32(0).le64(pages as u64);
    let run = |file: Bytes, (start, length): &(u64, usize)| file.le64(start / PAGE as u64).le64((length / PAGE) as u64);
    RANGES.iter().fold(header, run).upto(0xf98).le32(kind).upto(0xfa8).le64(133_600_000_000_000_000).upto(0x2000)
}

fn with_memory(file: Bytes) -> Vec<u8> {
    RANGES.iter().fold(file, |file, (start, length)| file.put(&memory(*start, *length))).0
}

pub fn crash_dump() -> Vec<u8> {
    with_memory(dump_header(1))
}

pub fn crash_dump_with_bitmap(signature: &[u8]) -> Vec<u8> {
    let pages = RANGES.iter().flat_map(|(start, length)| start / PAGE as u64..start / PAGE as u64 + (length / PAGE) as u64);
    // Three bits more than the last byte has room for, set though there are no such pages.
    let bits = 0xf_0000 / PAGE as u64 + 3;
    let mut bitmap = vec![0u8; (bits as usize).div_ceil(8)];
    bitmap[bits as usize / 8] = 0xff << (bits % 8);
    let count = pages.clone().count() as u64;
    pages.for_each(|page| bitmap[page as usize / 8] |= 1 << (page % 8));
    let file = dump_header(5).put(signature).upto(0x2020).le64(0x3000).le64(count).le64(bits);
    with_memory(file.put(&bitmap).upto(0x3000))
}

pub fn crash_dump_with_ranges() -> Vec<u8> {
    let pages: usize = RANGES.iter().map(|(_, length)| length / PAGE).sum();
    let file = dump_header(10).le32(0x40).put(b"RDMPDUMP").le32(0).le64(0x20 + 0xfc0).le64(0x3000).le32(3).le32(0).le64(pages as u64);
    let range = |file: Bytes, (start, length): &(u64, usize)| file.le64(start / PAGE as u64).le64((length / PAGE) as u64);
    with_memory(RANGES.iter().fold(file, range).upto(0x3000))
}

/// A VMware state file with two groups, and the memory in it if wanted.
pub fn vmware_state(with_memory: bool) -> Vec<u8> {
    let name = |name: &str, at: u64| Bytes::default().put(name.as_bytes()).upto(64).le64(at).le64(0).0;
    let tag = |file: Bytes, name: &str, indices: &[u32], size: u16| {
        let file = file.le16((name.len() as u16) << 8 | (indices.len() as u16) << 6 | size).put(name.as_bytes());
        indices.iter().fold(file, |file, index| file.le32(*index))
    };
    let block = |file: Bytes, name: &str, indices: &[u32], bytes: &[u8]| {
        let length = bytes.len() as u64;
        tag(file, name, indices, 63).le64(length).le64(length).le16(3).put(b"\0\0\0").put(bytes)
    };
    let registers = Bytes::default().upto(24).le64(ROOT | 0x18).upto(40).0;
    let cpu = tag(Bytes::default(), "cpu:numVCPUs", &[], 4).le32(1);
    let cpu = block(tag(cpu, "hotSet", &[0, 1, 2], 1).put(&[1]), "CR64", &[0], &registers).le16(0).0;
    let mut group = tag(Bytes::default(), "align_mask", &[], 4).le32(0xffff);
    group = tag(group, "regionsCount", &[], 4).le32(RANGES.len() as u32);
    let mut page = 0;
    for (index, (start, length)) in RANGES.iter().enumerate() {
        let pages = (length / PAGE) as u32;
        group = tag(group, "regionPageNum", &[index as u32], 4).le32(page);
        group = tag(group, "regionPPN", &[index as u32], 4).le32((start / PAGE as u64) as u32);
        group = tag(group, "regionSize", &[index as u32], 4).le32(pages);
        page += pages;
    }
    if with_memory {
        group = block(group, "Memory", &[0, 0], &vmem());
    }
    let start = 12 + 3 * 80;
    let groups = [name("Checkpoint", start + cpu.len() as u64), name("cpu", start), name("memory", start + cpu.len() as u64 + 2)].concat();
    Bytes::default().put(b"\xd2\xbe\xd2\xbe").le32(8).le32(3).put(&groups).put(&cpu).le16(0).put(&group.le16(0).0).0
}

/// The memory as VMware stores it: without its holes.
pub fn vmem() -> Vec<u8> {
    with_memory(Bytes::default())
}
