//! VMware: a machine's memory in a `.vmem` file, its state beside it in a `.vmss` (suspended) or `.vmsn` (snapshot) file, which older
//! versions and some settings put the memory into as well.
//!
//! A state file holds named groups of tagged values. Of the group `memory` come the regions that the `.vmem` file's pages belong to, of
//! `cpu` the processors' CR3. The layout is the one that VMware's own reader in the crash utility (vmware_vmss.c) goes by.

use super::flat::{Layout, Piece};
use super::source::{OnDisk, Source};
use super::{Hints, Opened, Problem};
use crate::address::{PAGE_SIZE, PhysAddr};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Written, partly written, restored, not to be restored; 64-bit all of them.
pub(crate) const MAGICS: [&[u8]; 4] = [b"\xd2\xbe\xd2\xbe", b"\xd3\xbe\xd3\xbe", b"\xd1\xba\xd1\xba", b"\xd2\xba\xd2\xba"];
/// The layout before it, with fields of 32 bits.
pub(crate) const OLD_MAGICS: [&[u8]; 2] = [b"\xd0\xbe\xd0\xbe", b"\xd0\xbe\xd2\xbe"];

const HEADER: u64 = 12;
const GROUP: usize = 80;
const MOST_GROUPS: usize = 4096;
/// A group of a machine with many processors and devices has some ten thousand tags.
const MOST_TAGS: usize = 1 << 20;
const MOST_REGIONS: usize = 4096;
const MOST_ROOTS: usize = 4096;

/// Sizes of a tag's value that stand for a block of bytes.
const COMPRESSED_BLOCK: u16 = 62;
const BLOCK: u16 = 63;

const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// CR0 to CR4 of eight bytes each.
const CONTROL_REGISTERS: u64 = 40;

/// VMware's machines have no memory between 3 and 4 GiB: devices are there.
const HOLE: u64 = 3 << 30;
const HOLE_END: u64 = 4 << 30;

/// Whether a file is named as VMware names a machine's memory.
pub(crate) fn is_memory(source: &dyn Source) -> bool {
    let extension = source.path().and_then(|path| path.extension());
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("vmem"))
}

/// A `.vmem` file with its state beside it. None where there is no such state.
pub(crate) fn open_memory(source: &Arc<dyn Source>) -> Option<Result<Opened, Problem>> {
    for extension in ["vmss", "vmsn"] {
        let Some(beside) = beside(&**source, extension) else { continue };
        if let Ok(state) = State::read(&*beside) {
            return Some(state.over(Arc::clone(source), beside, extension));
        }
    }
    None
}

/// A `.vmem` file alone, which is raw memory without its hole.
pub(crate) fn open_memory_alone(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let mut layout = Layout::new(&*source);
    let length = source.len();
    layout.add(Piece { start: 0, length: length.min(HOLE), offset: 0 });
    if length > HOLE {
        layout.add(Piece { start: HOLE_END, length: length - HOLE, offset: HOLE });
        layout.warn(
            "no readable .vmss or .vmsn file of the same name lies beside the .vmem file: where its memory belongs is guessed (a hole from \
             3 to 4 GiB, as VMware's machines have it); put the file there to be sure"
                .into(),
        );
    } else {
        layout
            .warn("no readable .vmss or .vmsn file of the same name lies beside the .vmem file: its memory is taken to begin at 0".into());
    }
    let (memory, warnings) = layout.finish(source);
    Opened::new(memory, "VMware memory (.vmem alone)".into(), Hints::default(), warnings)
}

/// A state file: with the memory in it, or with the `.vmem` file beside it.
pub(crate) fn open_state(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let state = State::read(&*source)?;
    let Some((offset, length)) = state.memory else {
        let extension = source.path().and_then(|path| path.extension()).map(|extension| extension.to_string_lossy().into_owned());
        return match beside(&*source, "vmem") {
            Some(memory) => state.over(memory, source, extension.as_deref().unwrap_or("vmss")),
            None => Err("a VMware state file without the memory, which should lie beside it in a .vmem file of the same name".into()),
        };
    };
    let (layout, hints) = state.lay_out(&*source, offset, length);
    let (memory, warnings) = layout.finish(source);
    Opened::new(memory, "VMware state with memory".into(), hints, warnings)
}

fn beside(source: &dyn Source, extension: &str) -> Option<Arc<dyn Source>> {
    let path = source.path()?;
    let open = |extension: &str| OnDisk::open(&path.with_extension(extension)).ok();
    let file = open(extension).or_else(|| open(&extension.to_uppercase()))?;
    Some(Arc::new(file))
}

/// Pages of memory, and where they are among those of the file.
#[derive(Clone, Copy, Default)]
struct Region {
    in_file: Option<u64>,
    page: Option<u64>,
    pages: Option<u64>,
}

/// What a state file tells.
#[derive(Default)]
struct State {
    region_count: Option<u64>,
    regions: BTreeMap<u32, Region>,
    /// Offset and length of the memory in this very file.
    memory: Option<(u64, u64)>,
    roots: Vec<PhysAddr>,
    warnings: Vec<String>,
}

impl State {
    fn read(source: &dyn Source) -> Result<Self, Problem> {
        let header: [u8; HEADER as usize] = source.array(0)?;
        if OLD_MAGICS.iter().any(|magic| header.starts_with(magic)) {
            return Err("a VMware state file of an old 32-bit version, which is not supported; open the .vmem file alone".into());
        }
        if !MAGICS.iter().any(|magic| header.starts_with(magic)) {
            return Err("not a VMware state file".into());
        }
        let count = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let groups = source.upto(HEADER, count.min(MOST_GROUPS) * GROUP)?;
        let mut state = Self::default();
        if groups.len() / GROUP < count {
            state.warnings.push(format!("the state file's header tells of {count} groups (offset 0x8); {} are read", groups.len() / GROUP));
        }
        for group in groups.chunks_exact(GROUP) {
            let name = group.split(|byte| *byte == 0).next().unwrap_or_default();
            let at = group[64..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            if (name == b"memory" || name == b"cpu")
                && let Err(Problem(why)) = state.group(source, name, at)
            {
                let name = String::from_utf8_lossy(name);
                state.warnings.push(format!("the group {name} of the state file at offset {at:#x} is read in part: {why}"));
            }
        }
        Ok(state)
    }

    /// The tags of a group up to the empty one that ends it.
    fn group(&mut self, source: &dyn Source, group: &[u8], start: u64) -> Result<(), Problem> {
        let mut at = start;
        for _ in 0..MOST_TAGS {
            let tag = u16::from_le_bytes(source.array(at)?);
            if tag == 0 {
                return Ok(());
            }
            let (name_length, index_count, size) = (u64::from(tag >> 8), u64::from(tag >> 6 & 3), tag & 0x3f);
            let name = source.upto(at + 2, name_length as usize)?;
            let mut indices = [0; 3];
            for (number, index) in (0..index_count).zip(&mut indices) {
                *index = u32::from_le_bytes(source.array(at + 2 + name_length + number * 4)?);
            }
            let value_at = at + 2 + name_length + index_count * 4;
            at = if size == BLOCK || size == COMPRESSED_BLOCK {
                // Its size, its size once decompressed, and how far the bytes are padded to begin on a boundary.
                let (length, padding) = (u64::from_le_bytes(source.array(value_at)?), u16::from_le_bytes(source.array(value_at + 16)?));
                let block = value_at + 18 + u64::from(padding);
                let end = block.checked_add(length).ok_or_else(|| format!("the block at offset {value_at:#x} has {length:#x} bytes"))?;
                self.block(source, group, &name, block, length, size == COMPRESSED_BLOCK)?;
                end
            } else {
                let bytes = source.upto(value_at, size.into())?;
                let mut value = [0; 8];
                value.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
                self.value(group, &name, indices, u64::from_le_bytes(value));
                value_at + u64::from(size)
            };
        }
        Err(format!("more than {MOST_TAGS} tags").into())
    }

    fn value(&mut self, group: &[u8], name: &[u8], indices: [u32; 3], value: u64) {
        let [first, second, _] = indices;
        match (group, name) {
            (b"memory", b"regionsCount") => self.region_count = Some(value),
            (b"memory", b"regionPageNum" | b"regionPPN" | b"regionSize") if self.regions.len() < MOST_REGIONS => {
                let region = self.regions.entry(first).or_default();
                let field = match name {
                    b"regionPageNum" => &mut region.in_file,
                    b"regionPPN" => &mut region.page,
                    _ => &mut region.pages,
                };
                *field = Some(value);
            }
            (b"cpu", b"CR64") if second == 3 => self.root(value),
            _ => {}
        }
    }

    fn block(&mut self, source: &dyn Source, group: &[u8], name: &[u8], at: u64, length: u64, compressed: bool) -> Result<(), Problem> {
        match (group, name) {
            (b"memory", b"Memory") if compressed => return Err(format!("its memory at offset {at:#x} is compressed").into()),
            (b"memory", b"Memory") => {
                self.memory.get_or_insert((at, length));
            }
            (b"cpu", b"CR64") if length == CONTROL_REGISTERS => self.root(u64::from_le_bytes(source.array(at + 24)?)),
            _ => {}
        }
        Ok(())
    }

    fn root(&mut self, cr3: u64) {
        let root = PhysAddr(cr3 & CR3_ADDRESS);
        if !root.is_null() && self.roots.len() < MOST_ROOTS && !self.roots.contains(&root) {
            self.roots.push(root);
        }
    }

    /// The memory that lies at an offset of a file, by its regions.
    fn lay_out(self, source: &dyn Source, offset: u64, length: u64) -> (Layout, Hints) {
        let mut layout = Layout::new(source);
        self.warnings.into_iter().for_each(|warning| layout.warn(warning));
        let whole = |region: &Region| Some((region.in_file?, region.page?, region.pages?));
        let regions: Vec<_> = self.regions.values().filter_map(whole).collect();
        if regions.len() as u64 != self.region_count.unwrap_or_default() {
            let (count, found) = (self.region_count.unwrap_or_default(), regions.len());
            layout.warn(format!("the state file tells of {count} regions of memory and describes {found}"));
        }
        if regions.is_empty() {
            layout.add(Piece { start: 0, length, offset });
        }
        for (in_file, page, pages) in regions {
            let bytes = |pages: u64| pages.checked_mul(PAGE_SIZE);
            let (Some(inside), Some(start), Some(most)) = (bytes(in_file), bytes(page), bytes(pages)) else {
                layout
                    .warn(format!("a region of {pages:#x} pages from page {page:#x}, {in_file:#x} in the file, cannot be; it is left out"));
                continue;
            };
            // No further than the memory's own bytes: behind them are other blocks of the state.
            let held = length.saturating_sub(inside).min(most);
            if held < most {
                layout.warn(format!("the region at {start:#x} should have {most:#x} bytes; the file holds {held:#x} of them"));
            }
            layout.add(Piece { start, length: held, offset: offset.saturating_add(inside) });
        }
        (layout, Hints { page_table_roots: self.roots, ..Hints::default() })
    }

    /// The memory of a `.vmem` file.
    fn over(self, memory: Arc<dyn Source>, state: Arc<dyn Source>, extension: &str) -> Result<Opened, Problem> {
        let (layout, hints) = self.lay_out(&*memory, 0, memory.len());
        let (flat, warnings) = layout.finish(Arc::clone(&memory));
        let format = format!("VMware memory (.vmem with .{})", extension.to_lowercase().escape_debug());
        Ok(Opened::new(flat, format, hints, warnings)?.of([memory, state]))
    }
}
