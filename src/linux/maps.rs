//! Memory regions: the VMAs of an address space, from its maple tree (since 6.1) or its list (before).

use super::tasks::Task;
use super::{Linux, path};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Known, Protection, ReadError, Region, Scope, Sink, Watch};
use crate::symbols::{Context, Object};
use std::collections::HashSet;

/// vm.max_map_count allows 65530 by default; containers raise it to a million.
const MOST_REGIONS: usize = 1 << 20;
const MOST_LEVELS: u32 = 16;

/// vm_flags (include/linux/mm.h).
const VM_READ: u64 = 1;
const VM_WRITE: u64 = 2;
const VM_EXEC: u64 = 4;
const VM_SHARED: u64 = 8;

/// A VMA, read.
pub struct Mapping<'a> {
    pub object: Object<'a>,
    pub start: VirtAddr,
    /// The first byte after it.
    pub end: VirtAddr,
    pub protection: Protection,
    pub shared: bool,
    pub file: Option<Object<'a>>,
}

impl<'a> Mapping<'a> {
    fn read(object: Object<'a>) -> Result<Self, ReadError> {
        let (start, end) = (object.pointer("vm_start")?, object.pointer("vm_end")?);
        if start >= end || end.0 > 1 << 56 || start.in_page() != 0 || end.in_page() != 0 {
            return Err(ReadError::Implausible("vm_area_struct"));
        }
        let flags = object.uint("vm_flags")?;
        let file = object.follow("vm_file")?;
        let shared = flags & VM_SHARED != 0;
        let write = flags & VM_WRITE != 0;
        let protection = Protection {
            read: flags & VM_READ != 0,
            write,
            execute: flags & VM_EXEC != 0,
            copy_on_write: write && !shared && file.is_some(),
            guard: false,
        };
        Ok(Self { object, start, end, protection, shared, file })
    }
    fn native(&self) -> String {
        let Protection { read, write, execute, .. } = self.protection;
        let letters = [(read, 'r'), (write, 'w'), (execute, 'x')].map(|(on, letter)| if on { letter } else { '-' });
        letters.into_iter().chain([if self.shared { 's' } else { 'p' }]).collect()
    }
}

/// The regions of an address space in the order of their addresses, and what could not be read on the way.
pub fn mappings<'a>(mm: &Object<'a>, watch: &Watch) -> (Vec<Mapping<'a>>, Vec<ReadError>) {
    let mut trouble = Vec::new();
    let found = if mm.has("mm_mt") { mm.inner("mm_mt").and_then(|tree| maple(&tree, watch)) } else { list(mm, watch, &mut trouble) };
    let found = found.unwrap_or_else(|why| {
        trouble.push(why);
        Vec::new()
    });
    let read = |address| mm.context().object("vm_area_struct", address).and_then(Mapping::read);
    let mut mappings = Vec::with_capacity(found.len());
    for address in found {
        match read(address) {
            Ok(mapping) => mappings.push(mapping),
            Err(why) => trouble.push(why),
        }
    }
    mappings.sort_by_key(|mapping| mapping.start);
    (mappings, trouble)
}

/// The region of an address, of those in the order of their addresses.
pub fn at<'r, 'a>(mappings: &'r [Mapping<'a>], at: VirtAddr) -> Option<&'r Mapping<'a>> {
    let before = mappings.partition_point(|mapping| mapping.start <= at).checked_sub(1);
    before.and_then(|index| mappings.get(index)).filter(|mapping| at < mapping.end)
}

/// The linked list of kernels before 6.1.
fn list(mm: &Object<'_>, watch: &Watch, trouble: &mut Vec<ReadError>) -> Result<Vec<VirtAddr>, ReadError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut next = mm.follow("mmap")?;
    while let Some(area) = next {
        if !seen.insert(area.address) || found.len() >= MOST_REGIONS || watch.cancelled() {
            break;
        }
        found.push(area.address);
        next = match area.follow("vm_next") {
            Ok(next) => next,
            Err(why) => {
                trouble.push(why);
                None
            }
        };
    }
    Ok(found)
}

/// The entries of a maple tree (lib/maple_tree.c; Documentation/core-api/maple_tree.rst). A node is 256 bytes and aligned to them;
/// the low byte of a pointer to it tells its type: bits 3 to 6, where 0 is dense, 1 leaf_64, 2 range_64, 3 arange_64.
fn maple(tree: &Object<'_>, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
    let context = tree.context();
    let root = tree.pointer("ma_root")?;
    let mut found = Vec::new();
    // A tree with a single entry that begins at 0 holds it in the root itself; user regions never do.
    if root.0 & 3 != 2 {
        return Ok(found);
    }
    let node = context.profile.layout("maple_node")?;
    let mut seen = HashSet::new();
    let mut waiting = vec![(root, u64::MAX, MOST_LEVELS)];
    while let Some((entry, most, levels)) = waiting.pop() {
        let at = VirtAddr(entry.0 & !0xff);
        if levels == 0 || !at.is_kernel() || !seen.insert(at) || found.len() >= MOST_REGIONS || watch.cancelled() {
            continue;
        }
        let kind = (entry.0 >> 3) & 0xf;
        let mut bytes = [0; 256];
        let Some(bytes) = bytes.get_mut(..node.size as usize) else { continue };
        if context.space.read(at, bytes).is_err() {
            continue;
        }
        match kind {
            1 => found.extend(slots(context, "maple_range_64", bytes, most)?.into_iter().map(|(slot, _)| slot)),
            2 => {
                waiting.extend(slots(context, "maple_range_64", bytes, most)?.into_iter().rev().map(|(slot, end)| (slot, end, levels - 1)))
            }
            3 => {
                waiting.extend(slots(context, "maple_arange_64", bytes, most)?.into_iter().rev().map(|(slot, end)| (slot, end, levels - 1)))
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The used slots of a node with the last index that each covers. A pivot is the last index of its slot; the first pivot that is 0 after
/// the first, or that reaches the node's own end, ends the node.
fn slots(context: Context<'_>, structure: &'static str, node: &[u8], most: u64) -> Result<Vec<(VirtAddr, u64)>, ReadError> {
    let layout = context.profile.layout(structure)?;
    let (pivot, slot) = (layout.field("pivot")?, layout.field("slot")?);
    let word = |offset: u32, index: u32| {
        let at = (offset + index * 8) as usize;
        node.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    };
    let mut used = Vec::new();
    for index in 0..slot.size / 8 {
        let end = if index < pivot.size / 8 { word(pivot.offset, index).unwrap_or(0) } else { most };
        let end = if end == 0 && index > 0 { most } else { end };
        let Some(value) = word(slot.offset, index) else { break };
        // Zero is a gap; the low bits 10 mark the tree's own internal entries (ZERO, RETRY).
        if value > 4096 {
            used.push((VirtAddr(value), end));
        }
        if end >= most {
            break;
        }
    }
    Ok(used)
}

/// What a region is, in words.
pub(super) struct Naming<'a> {
    linux: &'a Linux,
    special_operations: Option<VirtAddr>,
    heap: (u64, u64),
    stack: u64,
    /// Files that this process also maps as code.
    code: HashSet<VirtAddr>,
}

impl<'a> Naming<'a> {
    pub(super) fn new(linux: &'a Linux, mm: &Object<'_>, mappings: &[Mapping<'_>]) -> Self {
        Self {
            linux,
            special_operations: linux.context().symbol("special_mapping_vmops").ok(),
            heap: (mm.uint("start_brk").unwrap_or(0), mm.uint("brk").unwrap_or(0)),
            stack: mm.uint("start_stack").unwrap_or(0),
            code: mappings.iter().filter(|mapping| mapping.protection.execute).filter_map(inode).collect(),
        }
    }

    pub(super) fn kind(&self, mapping: &Mapping<'_>) -> &'static str {
        if mapping.file.is_some() {
            return if inode(mapping).is_some_and(|inode| self.code.contains(&inode)) { "image" } else { "mapped" };
        }
        let special = mapping.object.pointer("vm_ops").ok();
        if special.is_some() && special == self.special_operations {
            return self.special(mapping).unwrap_or("special");
        }
        if mapping.start.0 <= self.stack && self.stack < mapping.end.0 {
            "stack"
        } else if mapping.start.0 < self.heap.1 && mapping.end.0 > self.heap.0 {
            "heap"
        } else if mapping.shared {
            "shared"
        } else {
            "private"
        }
    }

    fn special(&self, mapping: &Mapping<'_>) -> Option<&'static str> {
        let special = self.linux.context().object("vm_special_mapping", mapping.object.pointer("vm_private_data").ok()?).ok()?;
        let name = self.linux.space.text(special.pointer("name").ok()?, 32).ok()?;
        ["vdso", "vvar", "uprobes", "vvar_vclock"].into_iter().find(|word| name.trim_matches(['[', ']']) == *word)
    }
}

fn inode(mapping: &Mapping<'_>) -> Option<VirtAddr> {
    mapping.file.as_ref()?.pointer("f_inode").ok()
}

pub fn regions(linux: &Linux, scope: Scope, out: &mut Sink<Region>) {
    linux.each_task("regions", scope, out, |task, out| of_task(linux, task, out));
}

fn of_task(linux: &Linux, task: &Task<'_>, out: &mut Sink<Region>) -> Result<(), ReadError> {
    let Some(mm) = task.object.follow("mm")? else { return Ok(()) };
    let space = linux.space_of(&task.object)?;
    let (mappings, trouble) = mappings(&mm, out.watch());
    for why in trouble {
        out.note(format!("a region of {} {} is missing: {why}", task.name, task.pid));
    }
    let naming = Naming::new(linux, &mm, &mappings);
    for mapping in &mappings {
        let inode = mapping.file.as_ref().map(|file| file.follow_some("f_inode")?.uint("i_ino")).transpose();
        let (resident, page_rights) = space.resident(mapping.start, mapping.end);
        out.push(Region {
            pid: task.pid,
            process: task.name.clone(),
            start: mapping.start,
            end: VirtAddr(mapping.end.0 - 1),
            protection: mapping.protection,
            native_protection: mapping.native(),
            kind: naming.kind(mapping),
            file: mapping.file.as_ref().map(|file| path::of_file(file).map(path::FilePath::shown)).transpose().into(),
            offset: mapping
                .file
                .as_ref()
                .map(|_| mapping.object.uint("vm_pgoff").map(|page| page.wrapping_mul(PAGE_SIZE)))
                .transpose()
                .into(),
            inode: inode.into(),
            resident_pages: Known::Value(resident),
            page_rights: page_rights.into(),
            address: mapping.object.address,
            process_address: task.object.address,
            ..Region::default()
        });
    }
    Ok(())
}
