//! Cells of a registry hive in memory, found through the hive's own map, and what they hold. Cells are laid out as in hive files, which is
//! public (M. Suhanov, Windows registry file format specification).

use super::text::utf16;
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::ReadError;
use crate::paging::AddressSpace;
use crate::symbols::{Context, Object};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// HCELL_NIL.
const NIL: u32 = u32::MAX;
/// A cell's number: the storage it lies in, its place in a directory of tables, in a table of blocks, and in a block.
const VOLATILE: u32 = 1 << 31;
const DIRECTORY_SHIFT: u32 = 21;
const TABLE_SHIFT: u32 = 12;
const TABLE_MASK: u32 = 0x1ff;
const BLOCK: u32 = PAGE_SIZE as u32;
/// What a map entry keeps in the lowest bits of an address.
const BIN_FLAGS: u64 = 0xf;

const KEY_HEAD: usize = 0x4c;
const VALUE_HEAD: usize = 0x14;
/// CM_KEY_NODE.Flags and CM_KEY_VALUE.Flags.
const KEY_SYM_LINK: u16 = 0x10;
const KEY_COMP_NAME: u16 = 0x20;
const VALUE_COMP_NAME: u16 = 0x01;
/// The data of a value that fits there lies in the value itself.
const INLINE: u32 = 1 << 31;
/// Larger data is split since hive version 1.4.
const SEGMENT: u32 = 16344;

/// 255 letters (winreg: registry element size limits).
const MOST_KEY_NAME: u16 = 510;
/// More keys below one than any hive has, more values, and more data than is read of one.
const MOST_SUBKEYS: usize = 1 << 18;
const MOST_VALUES: usize = 1 << 20;
pub const MOST_DATA: u32 = 1 << 20;

/// The cells of one hive.
pub struct Cells<'a> {
    context: Context<'a>,
    /// Where the cells at user addresses lie: since Windows 10 1803 hives are mapped in a process of their own.
    process: Option<Arc<AddressSpace>>,
    /// Length and map of the stable and of the volatile storage.
    storage: [(u32, VirtAddr); 2],
    entry_size: u64,
    blocks: RefCell<HashMap<u32, VirtAddr>>,
}

#[derive(Clone, Copy)]
struct Cell {
    index: u32,
    /// Bytes after the size itself.
    size: u32,
}

#[derive(Clone, Debug)]
pub struct Key {
    pub cell: u32,
    pub address: VirtAddr,
    pub name: String,
    /// FILETIME.
    pub written: u64,
    pub parent: u32,
    /// A link to another key.
    pub link: bool,
    /// Number and list of the stable and of the volatile subkeys.
    subkeys: [(u32, u32); 2],
    values: (u32, u32),
}

#[derive(Clone, Debug)]
pub struct Value {
    pub address: VirtAddr,
    pub name: String,
    /// REG_SZ and so on.
    pub kind: u32,
    /// Bytes of data that the value says it has.
    pub size: u32,
    /// Its data, or as much of it as was asked for.
    pub data: Result<Vec<u8>, ReadError>,
}

impl Key {
    pub fn volatile(&self) -> bool {
        self.cell & VOLATILE != 0
    }
}

impl<'a> Cells<'a> {
    /// The cells of an _HHIVE.
    pub fn of(hive: &Object<'a>, process: Option<Arc<AddressSpace>>) -> Result<Self, ReadError> {
        let storage = |index| -> Result<(u32, VirtAddr), ReadError> {
            let dual = hive.element("Storage", index)?;
            Ok((dual.u32("Length")?, dual.pointer("Map")?))
        };
        let context = hive.context();
        let entry_size = u64::from(context.profile.layout("_HMAP_ENTRY")?.size);
        Ok(Self { context, process, storage: [storage(0)?, storage(1)?], entry_size, blocks: RefCell::default() })
    }

    /// Bytes of the stable and of the volatile storage.
    pub fn lengths(&self) -> [u32; 2] {
        self.storage.map(|(length, _)| length)
    }

    /// The space that an address of the hive belongs to.
    fn space(&self, at: VirtAddr) -> &AddressSpace {
        match &self.process {
            Some(process) if !at.is_kernel() => process,
            _ => self.context.space,
        }
    }

    /// Where the block of 4 KiB lies that holds a cell.
    fn block(&self, cell: u32) -> Result<VirtAddr, ReadError> {
        let number = cell / BLOCK;
        if let Some(known) = self.blocks.borrow().get(&number) {
            return Ok(*known);
        }
        let [stable, volatile] = self.storage;
        let ((length, map), at) = (if cell & VOLATILE == 0 { stable } else { volatile }, cell & !VOLATILE);
        if at >= length || map.is_null() {
            return Err(ReadError::Implausible("cell number"));
        }
        let table = self.context.space.pointer(map.offset(u64::from(at >> DIRECTORY_SHIFT) * 8))?;
        let entry = table.offset(u64::from(at >> TABLE_SHIFT & TABLE_MASK) * self.entry_size);
        let entry = self.context.object("_HMAP_ENTRY", entry)?;
        let block = if entry.has("BlockOffset") {
            let permanent = entry.uint("PermanentBinAddress")? & !BIN_FLAGS;
            let bin = match permanent {
                0 if entry.has("TemporaryBinAddress") => entry.uint("TemporaryBinAddress")? & !BIN_FLAGS,
                bin => bin,
            };
            (bin != 0).then_some(VirtAddr(bin).offset(entry.uint("BlockOffset")?))
        } else {
            Some(entry.pointer("BlockAddress")?).filter(|block| !block.is_null())
        };
        let block = block.filter(|block| block.in_page() == 0).ok_or(ReadError::Implausible("map of a hive"))?;
        self.blocks.borrow_mut().insert(number, block);
        Ok(block)
    }

    /// Reads across blocks, which need not lie side by side in memory.
    fn read(&self, cell: u32, skip: u32, out: &mut [u8]) -> Result<(), ReadError> {
        let beyond = ReadError::Implausible("cell size");
        let mut at = (cell & !VOLATILE).checked_add(skip).filter(|at| at & VOLATILE == 0).ok_or(beyond)?;
        let mut rest = out;
        while !rest.is_empty() {
            let place = self.block(at | cell & VOLATILE)?.offset(u64::from(at % BLOCK));
            let (piece, after) = rest.split_at_mut(rest.len().min((BLOCK - at % BLOCK) as usize));
            self.space(place).read(place, piece)?;
            at = at.checked_add(piece.len() as u32).filter(|at| at & VOLATILE == 0).ok_or(beyond)?;
            rest = after;
        }
        Ok(())
    }

    /// A cell in use.
    fn cell(&self, index: u32) -> Result<Cell, ReadError> {
        if index == NIL || !index.is_multiple_of(8) {
            return Err(ReadError::Implausible("cell number"));
        }
        let mut size = [0; 4];
        self.read(index, 0, &mut size)?;
        let size = i32::from_le_bytes(size);
        let [stable, volatile] = self.lengths();
        let length = if index & VOLATILE == 0 { stable } else { volatile };
        if size >= 0 {
            return Err(ReadError::Implausible("cell: it is free"));
        }
        let size = size.unsigned_abs();
        if size % 8 != 0 || size > length.saturating_sub(index & !VOLATILE) {
            return Err(ReadError::Implausible("cell size"));
        }
        Ok(Cell { index, size: size - 4 })
    }

    /// Bytes of a cell, all of which it must have.
    fn bytes(&self, cell: Cell, skip: u32, length: usize) -> Result<Vec<u8>, ReadError> {
        if u64::from(skip) + length as u64 > u64::from(cell.size) {
            return Err(ReadError::Implausible("cell size"));
        }
        let mut bytes = vec![0; length];
        self.read(cell.index, 4 + skip, &mut bytes)?;
        Ok(bytes)
    }

    fn address(&self, cell: u32) -> Result<VirtAddr, ReadError> {
        Ok(self.block(cell)?.offset(u64::from(cell % BLOCK)))
    }

    pub fn key(&self, index: u32) -> Result<Key, ReadError> {
        let cell = self.cell(index)?;
        let head = self.bytes(cell, 0, KEY_HEAD)?;
        if !head.starts_with(b"nk") {
            return Err(ReadError::Implausible("key"));
        }
        let (flags, length) = (le16(&head, 2), le16(&head, 0x48));
        if length > MOST_KEY_NAME {
            return Err(ReadError::Implausible("length of a key's name"));
        }
        let name = self.bytes(cell, KEY_HEAD as u32, length.into())?;
        Ok(Key {
            cell: index,
            address: self.address(index)?,
            name: text(&name, flags & KEY_COMP_NAME != 0),
            written: u64::from(le32(&head, 8)) << 32 | u64::from(le32(&head, 4)),
            parent: le32(&head, 0x10),
            link: flags & KEY_SYM_LINK != 0,
            subkeys: [(le32(&head, 0x14), le32(&head, 0x1c)), (le32(&head, 0x18), le32(&head, 0x20))],
            values: (le32(&head, 0x24), le32(&head, 0x28)),
        })
    }

    /// The cells of a key's subkeys, and what is wrong with their lists.
    pub fn subkeys(&self, key: &Key) -> (Vec<u32>, Vec<ReadError>) {
        let (mut found, mut trouble) = (Vec::new(), Vec::new());
        for (count, list) in key.subkeys.into_iter().filter(|(count, _)| *count > 0) {
            let before = found.len();
            let most = before.saturating_add(count as usize).min(MOST_SUBKEYS);
            if let Err(why) = self.list(list, true, most, &mut found, &mut trouble) {
                trouble.push(why);
            } else if found.len() - before != count as usize {
                trouble.push(ReadError::Implausible("number of subkeys"));
            }
        }
        (found, trouble)
    }

    /// A list of subkeys, or one of such lists.
    fn list(&self, list: u32, outer: bool, most: usize, found: &mut Vec<u32>, trouble: &mut Vec<ReadError>) -> Result<(), ReadError> {
        let cell = self.cell(list)?;
        let head = self.bytes(cell, 0, 4)?;
        let (stride, of_lists) = match head.get(..2) {
            // Beside each key stands a hint of its name.
            Some(b"lf" | b"lh") => (8, false),
            Some(b"li") => (4, false),
            Some(b"ri") if outer => (4, true),
            _ => return Err(ReadError::Implausible("list of subkeys")),
        };
        let entries = self.bytes(cell, 4, usize::from(le16(&head, 2)) * stride)?;
        for entry in entries.chunks_exact(stride).take(most.saturating_sub(found.len())).map(|entry| le32(entry, 0)) {
            if !of_lists {
                found.push(entry);
            } else if let Err(why) = self.list(entry, false, most, found, trouble) {
                trouble.push(why);
            }
        }
        Ok(())
    }

    /// The cells of a key's values.
    pub fn values(&self, key: &Key) -> Result<Vec<u32>, ReadError> {
        let (count, list) = key.values;
        if count == 0 {
            return Ok(Vec::new());
        }
        let cell = self.cell(list)?;
        if count as usize > MOST_VALUES {
            return Err(ReadError::Implausible("number of values"));
        }
        Ok(self.bytes(cell, 0, count as usize * 4)?.chunks_exact(4).map(|entry| le32(entry, 0)).collect())
    }

    /// A value with at most `most` bytes of its data.
    pub fn value(&self, index: u32, most: u32) -> Result<Value, ReadError> {
        let cell = self.cell(index)?;
        let head = self.bytes(cell, 0, VALUE_HEAD)?;
        if !head.starts_with(b"vk") {
            return Err(ReadError::Implausible("value"));
        }
        let (length, size) = (le16(&head, 2), le32(&head, 4));
        let name = self.bytes(cell, VALUE_HEAD as u32, length.into())?;
        Ok(Value {
            address: self.address(index)?,
            name: text(&name, le16(&head, 0x10) & VALUE_COMP_NAME != 0),
            kind: le32(&head, 0xc),
            size: size & !INLINE,
            data: self.data(le32(&head, 8), size, most.min(MOST_DATA)),
        })
    }

    fn data(&self, at: u32, size: u32, most: u32) -> Result<Vec<u8>, ReadError> {
        let wrong = ReadError::Implausible("size of a value");
        if size & INLINE != 0 {
            return at.to_le_bytes().get(..(size & !INLINE) as usize).map(<[u8]>::to_vec).ok_or(wrong);
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        let (cell, wanted) = (self.cell(at)?, size.min(most));
        if size <= cell.size {
            return self.bytes(cell, 0, wanted as usize);
        }
        let head = self.bytes(cell, 0, 8)?;
        let segments = u32::from(le16(&head, 2));
        if !head.starts_with(b"db") || segments != size.div_ceil(SEGMENT) {
            return Err(wrong);
        }
        let list = self.bytes(self.cell(le32(&head, 4))?, 0, segments as usize * 4)?;
        let mut data = Vec::new();
        for segment in list.chunks_exact(4).take(wanted.div_ceil(SEGMENT) as usize) {
            let length = SEGMENT.min(wanted - data.len() as u32);
            data.extend(self.bytes(self.cell(le32(segment, 0))?, 0, length as usize)?);
        }
        Ok(data)
    }
}

/// A name: a byte a letter where all letters fit.
fn text(name: &[u8], compressed: bool) -> String {
    if compressed { name.iter().map(|byte| char::from(*byte)).collect() } else { utf16(name) }
}

/// Little-endian words; what lies beyond the end is zero, and no caller asks for it.
fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u16::from_le_bytes(*word))
}
fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}
