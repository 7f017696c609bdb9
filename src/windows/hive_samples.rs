//! Builds small hives for the tests, mapped as the kernel of some version maps them: cells as in hive files, spread over memory block by
//! block; the tests damage them.

#![allow(clippy::unwrap_used)]

use super::cells::Cells;
use super::hives::Hive;
use crate::address::{PhysAddr, VirtAddr};
use crate::facts::ReadError;
use crate::image::Image;
use crate::paging::{AddressSpace, Levels, PageOrigin, Software};
use crate::symbols::pack::{Pack, Version};
use crate::symbols::{Context, Profile, SymbolTable};
use std::sync::Arc;

const CMHIVE: u64 = 0x1_0000;
const BASE: u64 = 0x2_0000;
const DIRECTORIES: [u64; 2] = [0x3_0000, 0x3_2000];
const TABLES: [u64; 2] = [0x4_0000, 0x4_8000];
const BLOCKS: [u64; 2] = [0x10_0000, 0x30_0000];
const ROOM: u64 = 0x20_0000;
const PAGE: usize = 0x1000;
pub const VOLATILE: u32 = 1 << 31;
pub const NIL: u32 = u32::MAX;

/// One layout for each way in which hives were mapped.
pub const VERSIONS: [&str; 5] = ["6.1.7601", "6.3.9600", "10.0.10240", "10.0.17763", "10.0.22621"];

struct NoPages;

impl Software for NoPages {
    fn resolve(&self, at: VirtAddr, _: u64) -> Result<PageOrigin, ReadError> {
        Err(ReadError::NotMapped(at))
    }
}

/// Cells by storage; the first bin's header stands before them.
pub struct Builder([Vec<u8>; 2]);

/// A hive in an address space.
pub struct Sample {
    space: AddressSpace,
    profile: Profile,
}

impl Builder {
    pub fn new() -> Self {
        Self([vec![0; 0x20], vec![0; 0x20]])
    }
    pub fn copy(&self) -> Self {
        Self(self.0.clone())
    }
    /// Adds a cell of a size that the caller may lie about.
    fn sized(&mut self, volatile: bool, size: Option<i32>, payload: &[u8]) -> u32 {
        let storage = &mut self.0[usize::from(volatile)];
        let at = storage.len() as u32;
        let length = (4 + payload.len()).next_multiple_of(8);
        storage.extend(size.unwrap_or(-(length as i32)).to_le_bytes());
        storage.extend(payload);
        storage.resize(at as usize + length, 0);
        at | if volatile { VOLATILE } else { 0 }
    }
    pub fn cell(&mut self, payload: &[u8]) -> u32 {
        self.sized(false, None, payload)
    }
    pub fn volatile_cell(&mut self, payload: &[u8]) -> u32 {
        self.sized(true, None, payload)
    }
    pub fn cell_of_size(&mut self, size: i32) -> u32 {
        self.sized(false, Some(size), &[0; 12])
    }
    pub fn key(&mut self, name: &str) -> u32 {
        self.cell(&key(name))
    }
    /// Writes words into a cell's payload.
    pub fn patch(&mut self, cell: u32, at: usize, words: &[u32]) -> &mut Self {
        let storage = &mut self.0[usize::from(cell & VOLATILE != 0)];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let start = (cell & !VOLATILE) as usize + 4 + at;
        storage[start..start + bytes.len()].copy_from_slice(&bytes);
        self
    }
    /// Hangs keys below another, in a list of the given kind.
    pub fn hang(&mut self, parent: u32, kind: &[u8; 2], children: &[u32]) -> u32 {
        let mut list = [&kind[..], &(children.len() as u16).to_le_bytes()].concat();
        for child in children {
            list.extend(child.to_le_bytes());
            list.extend(if matches!(kind, b"lf" | b"lh") { &[0; 4][..] } else { &[] });
            if kind != b"ri" {
                self.patch(*child, 0x10, &[parent]);
            }
        }
        let list = self.cell(&list);
        self.patch(parent, 0x14, &[children.len() as u32]).patch(parent, 0x1c, &[list]);
        list
    }
    pub fn value(&mut self, name: &str, kind: u32, data: &[u8]) -> u32 {
        let (size, at) = match data {
            [a, b, c, d] => (4 | 1 << 31, u32::from_le_bytes([*a, *b, *c, *d])),
            data if data.len() > 16344 => {
                let segments: Vec<u8> = data.chunks(16344).flat_map(|segment| self.cell(segment).to_le_bytes()).collect();
                let list = self.cell(&segments);
                let count = (segments.len() / 4) as u16;
                (data.len() as u32, self.cell(&[b"db", &count.to_le_bytes()[..], &list.to_le_bytes(), &[0; 4]].concat()))
            }
            data => (data.len() as u32, self.cell(data)),
        };
        let head = [&size.to_le_bytes()[..], &at.to_le_bytes(), &kind.to_le_bytes(), &[1, 0, 0, 0], name.as_bytes()].concat();
        self.cell(&[b"vk", &(name.len() as u16).to_le_bytes()[..], &head].concat())
    }
    pub fn values(&mut self, key: u32, values: &[u32]) {
        let list: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let list = self.cell(&list);
        self.patch(key, 0x24, &[values.len() as u32, list]);
    }

    /// Lays the hive out in memory, its blocks in reverse order.
    pub fn build(mut self, version: &str) -> Sample {
        let pack = Pack::bundled().unwrap();
        let version = Version::parse(version).unwrap();
        let types = pack.types(pack.nearest(version).first().unwrap()).unwrap();
        let profile = Profile::new(Box::new(types), SymbolTable::default(), String::new());
        let mut memory = vec![0; (BLOCKS[1] + ROOM) as usize];
        memory[0] = 0xf3;
        let put = |memory: &mut Vec<u8>, at: u64, bytes: &[u8]| memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        let field = |structure, field| profile.layout(structure).unwrap().offset(field).unwrap();
        let hhive = CMHIVE + field("_CMHIVE", "Hive");
        put(&mut memory, hhive + field("_HHIVE", "BaseBlock"), &BASE.to_le_bytes());
        put(&mut memory, BASE + field("_HBASE_BLOCK", "RootCell"), &0x20_u32.to_le_bytes());
        put(&mut memory, BASE, b"regf");
        let (dual, entry) = (u64::from(profile.layout("_DUAL").unwrap().size), u64::from(profile.layout("_HMAP_ENTRY").unwrap().size));
        for (index, storage) in self.0.iter_mut().enumerate() {
            storage.resize(storage.len().next_multiple_of(PAGE), 0);
            let dual = hhive + field("_HHIVE", "Storage") + index as u64 * dual;
            put(&mut memory, dual + field("_DUAL", "Length"), &(storage.len() as u32).to_le_bytes());
            put(&mut memory, dual + field("_DUAL", "Map"), &DIRECTORIES[index].to_le_bytes());
            put(&mut memory, DIRECTORIES[index], &TABLES[index].to_le_bytes());
            for (number, block) in storage.chunks(PAGE).enumerate() {
                let at = BLOCKS[index] + ROOM - (number as u64 + 1) * PAGE as u64;
                put(&mut memory, at, block);
                let entry = TABLES[index] + number as u64 * entry;
                if profile.has("_HMAP_ENTRY", "BlockOffset") {
                    let bin = at - PAGE as u64;
                    put(&mut memory, entry + field("_HMAP_ENTRY", "PermanentBinAddress"), &(bin | 1).to_le_bytes());
                    put(&mut memory, entry + field("_HMAP_ENTRY", "BlockOffset"), &(PAGE as u64).to_le_bytes());
                } else {
                    put(&mut memory, entry + field("_HMAP_ENTRY", "BlockAddress"), &at.to_le_bytes());
                }
            }
        }
        let image = Image::open_bytes("hive", Box::leak(memory.into_boxed_slice())).unwrap();
        let space = AddressSpace::new(Arc::new(image), PhysAddr(0), Levels::None, Arc::new(NoPages));
        Sample { space, profile }
    }
}

impl Sample {
    pub fn hive(&self, path: &str) -> Hive<'_> {
        let context = Context { space: &self.space, profile: &self.profile };
        let object = context.object("_CMHIVE", VirtAddr(CMHIVE)).unwrap();
        let cells = Cells::of(&object.inner("Hive").unwrap(), None).unwrap();
        Hive { object, path: Some(path.to_owned()), cells, sources: Vec::new() }
    }
}

/// A key node without subkeys and values.
pub fn key(name: &str) -> Vec<u8> {
    let mut key = vec![0; 0x4c];
    key[..2].copy_from_slice(b"nk");
    key[2] = 0x20;
    key[4..12].copy_from_slice(&133_000_000_000_000_000_u64.to_le_bytes());
    key[0x10..0x14].fill(0xff);
    key[0x48..0x4a].copy_from_slice(&(name.len() as u16).to_le_bytes());
    key.extend(name.as_bytes());
    key
}

pub fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
