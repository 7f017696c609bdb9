//! Virtual address descriptors: the regions of a process's address space.

use super::files::own_name;
use super::processes::Task;
use super::{USER_END, Windows, fast_ref};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Known, Protection, ReadError, Region, Scope, Sink, Watch};
use crate::paging::{AddressSpace, Leaf};
use crate::symbols::Object;
use std::collections::{BTreeSet, HashSet};

const MOST_REGIONS: usize = 1 << 20;
/// A balanced tree of that many is not half as deep.
const MOST_DEPTH: usize = 64;

/// The rights that a VAD's five bits of protection stand for (MmProtectToValue; the words are those of memoryapi.h).
const PROTECTIONS: [(&str, &str); 8] = [
    ("PAGE_NOACCESS", ""),
    ("PAGE_READONLY", "r"),
    ("PAGE_EXECUTE", "x"),
    ("PAGE_EXECUTE_READ", "rx"),
    ("PAGE_READWRITE", "rw"),
    ("PAGE_WRITECOPY", "rwc"),
    ("PAGE_EXECUTE_READWRITE", "rwx"),
    ("PAGE_EXECUTE_WRITECOPY", "rwxc"),
];
/// What the upper two bits add.
const MODIFIERS: [&str; 4] = ["", " | PAGE_NOCACHE", " | PAGE_GUARD", " | PAGE_WRITECOMBINE"];
const GUARD: u64 = 2;

/// What programs can have lies between the first 64 KiB of the address space and the last of its half (MM_LOWEST_USER_ADDRESS, wdm.h).
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = USER_END.0 - LOWEST;

/// _MMVAD_FLAGS.VadType (MI_VAD_TYPE).
const IMAGE_MAP: u64 = 2;
/// What a node's pointer to its parent keeps in its lowest bits.
const BALANCE: u64 = 3;
/// Bytes of all entries of the last level, 8 for each page of both halves.
pub const ENTRIES: u64 = USER_END.0 * 2 / PAGE_SIZE * 8;
/// What a table of the last level maps.
const TABLE_REACH: u64 = 512 * PAGE_SIZE;
/// Tags of VADs that go on after their short part, with a section behind them; and of those that do not.
const LONG: [&[u8; 4]; 3] = [b"Vad ", b"Vadl", b"Vadm"];
const SHORT: [&[u8; 4]; 2] = [b"VadS", b"VadF"];
/// With what all of them begin.
const TAG: &[u8] = b"Vad";
/// Memory is given out at multiples of this (MM_ALLOCATION_GRANULARITY); what the kernel makes of its own accord is smaller.
const GRANULARITY: u64 = 0x1_0000;

/// A VAD, read.
pub struct Vad<'a> {
    /// Its _MMVAD_SHORT, with which every VAD begins.
    pub short: Object<'a>,
    pub start: VirtAddr,
    /// Last byte, inclusive.
    pub end: VirtAddr,
    /// The tag of its pool block tells how long it is.
    pub tag: [u8; 4],
    pub protection: Protection,
    pub native_protection: String,
    pub private: bool,
    pub image: bool,
    pub committed: Option<u64>,
}

impl Windows {
    /// The VADs of a process by address, and what could not be read on the way.
    pub(super) fn vads<'a>(&self, process: &Object<'a>, watch: &Watch) -> (Vec<Vad<'a>>, Vec<ReadError>) {
        let mut trouble = Vec::new();
        let mut vads: Vec<Vad<'a>> = Vec::new();
        let nodes = tree(process, watch, &mut trouble).unwrap_or_else(|why| {
            trouble.push(why);
            Vec::new()
        });
        for node in nodes {
            match self.vad(process, node) {
                // The nodes come in their order, and never overlap: else one was overwritten. An image's is known by its size; of others
                // neither can be believed.
                Ok(vad) => match vads.pop_if(|before| before.end >= vad.start) {
                    None => vads.push(vad),
                    Some(before) => {
                        trouble.push(ReadError::Implausible("_MMVAD_SHORT"));
                        vads.extend([before, vad].into_iter().find(|vad| vad.image && vad.section_size().is_ok()));
                    }
                },
                Err(why) => trouble.push(why),
            }
        }
        vads.sort_by_key(|vad| vad.start);
        // A process's own tree has the place of its PEB.
        let peb = process.pointer("Peb").ok().filter(|peb| !peb.is_null() && *peb < USER_END);
        if let (Some(peb), true) = (peb, trouble.is_empty())
            && at(&vads, peb).is_none()
        {
            trouble.push(ReadError::Implausible("VAD tree"));
            vads.clear();
        }
        (vads, trouble)
    }

    /// The VAD that an address lies in: one way down the tree, without the rest of it.
    pub(super) fn vad_at<'a>(&self, process: &Object<'a>, address: VirtAddr) -> Result<Option<Vad<'a>>, ReadError> {
        let (mut at, node, [left, right]) = top(process)?;
        for _ in 0..MOST_DEPTH {
            if at.is_null() {
                return Ok(None);
            }
            let vad = self.vad(process, at)?;
            let child = match address {
                address if address < vad.start => left,
                address if address > vad.end => right,
                _ => return Ok(Some(vad)),
            };
            at = process.context().object(node, at)?.pointer(child)?;
        }
        Err(ReadError::Implausible("VAD tree"))
    }

    fn vad<'a>(&self, process: &Object<'a>, node: VirtAddr) -> Result<Vad<'a>, ReadError> {
        let context = process.context();
        let short = context.object("_MMVAD_SHORT", node)?;
        let number = |low: &'static str, high: &'static str| -> Result<u64, ReadError> {
            let upper = if short.has(high) { short.uint(high)? } else { 0 };
            Ok((upper << 32) | short.uint(low)?)
        };
        let (first, last) = (number("StartingVpn", "StartingVpnHigh")?, number("EndingVpn", "EndingVpnHigh")?);
        if first > last || last * PAGE_SIZE >= HIGHEST {
            return Err(ReadError::Implausible("_MMVAD_SHORT"));
        }
        let flags = short.inner("u")?.inner("VadFlags")?;
        let bits = flags.uint("Protection")?;
        let (words, letters) = PROTECTIONS.get((bits & 7) as usize).copied().unwrap_or_default();
        let modifier = bits >> 3;
        let (private, image) = (flags.uint("PrivateMemory")? != 0, flags.uint("VadType")? == IMAGE_MAP);
        let size = (last - first + 1) * PAGE_SIZE;
        let tag = self.tag_of(node);
        // Memory of one process alone is nobody's copy and no image.
        // Only Windows 7 gives out the lowest pages, and no section's.
        let misplaced = private && (image || letters.contains('c')) || !private && first * PAGE_SIZE < LOWEST;
        let unaligned = !(first * PAGE_SIZE).is_multiple_of(GRANULARITY) && size > GRANULARITY;
        // A process counts what it has reserved.
        let beyond = process.uint("VirtualSize").is_ok_and(|all| all != 0 && size > all);
        if misplaced || unaligned || beyond || tag.is_ok_and(|tag| !tag.starts_with(TAG)) {
            return Err(ReadError::Implausible("_MMVAD_SHORT"));
        }
        let committed = short.inner("u1").and_then(|u1| u1.inner("VadFlags1")).and_then(|flags| flags.uint("CommitCharge"));
        let vad = Vad {
            start: VirtAddr(first * PAGE_SIZE),
            end: VirtAddr(last * PAGE_SIZE + (PAGE_SIZE - 1)),
            tag: tag.unwrap_or_default(),
            protection: Protection {
                read: letters.contains('r') || letters.contains('x'),
                write: letters.contains('w'),
                execute: letters.contains('x'),
                copy_on_write: letters.contains('c'),
                guard: modifier == GUARD,
            },
            native_protection: format!("{words}{}", MODIFIERS.get(modifier as usize).copied().unwrap_or_default()),
            private,
            image,
            // All ones where nothing is charged (MM_MAX_COMMIT).
            committed: committed.or_else(|_| flags.uint("CommitCharge")).ok().filter(|pages| *pages <= last - first + 1),
            short,
        };
        // The segment may be paged out. An image is mapped whole; of other sections no view shows more than there is, if not made to grow.
        match vad.section_size() {
            Ok(Some(all)) if image && all != size || !image && all.next_multiple_of(PAGE_SIZE) < size && !vad.is_extendable() => {
                Err(ReadError::Implausible("_MMVAD_SHORT"))
            }
            _ => Ok(vad),
        }
    }

    /// The number of resident pages of a region, and the rights that they have. An error where the page tables contradict the regions or
    /// the frame database in memory that is private and executable: much is concluded from that.
    pub(super) fn resident(&self, space: &AddressSpace, vads: &[Vad<'_>], vad: &Vad<'_>) -> Result<(u64, Option<Protection>), ReadError> {
        let (pages, rights) = space.resident(vad.start, vad.end.offset(1));
        if !vad.private || !rights.is_some_and(|rights| rights.execute) {
            return Ok((pages, rights));
        }
        let (mut proven, mut wrong, mut blocks) = (false, false, BTreeSet::new());
        space.mapped(vad.start, vad.end.offset(1), &mut |page, leaf, _| {
            if leaf.present && leaf.executable && leaf.size == PAGE_SIZE {
                match self.maps_frame(page, &leaf) {
                    Some(true) => proven = true,
                    Some(false) => wrong = true,
                    None => _ = blocks.insert(page.0 / TABLE_REACH),
                }
            }
        });
        // A table that was copied from elsewhere maps what no region has.
        for start in blocks.into_iter().filter(|_| !proven).map(|block| VirtAddr(block * TABLE_REACH)) {
            space.mapped(start, start.offset(TABLE_REACH), &mut |page, leaf, _| wrong |= leaf.present && at(vads, page).is_none());
        }
        if wrong && !proven { Err(ReadError::Implausible("page table")) } else { Ok((pages, rights)) }
    }

    /// Whether the frame database says that a frame is mapped by the page-table entry of an address. None where it does not say.
    pub(super) fn maps_frame(&self, page: VirtAddr, leaf: &Leaf) -> Option<bool> {
        let entry = self.frame_entry(leaf.frame()?).ok()?.uint("PteAddress").ok()? & !7;
        // Entries stand in the order of the pages, in a range that is aligned to its size.
        (entry != 0).then_some(entry % ENTRIES == page.0 / PAGE_SIZE * 8)
    }

    /// The tag of the pool block that an allocation fills.
    pub(super) fn tag_of(&self, allocation: VirtAddr) -> Result<[u8; 4], ReadError> {
        let header = self.profile.layout("_POOL_HEADER")?;
        self.space.bytes(VirtAddr(allocation.0.wrapping_sub(header.size.into())).offset(header.offset("PoolTag")?))
    }
}

/// The region that an address lies in, of regions in their order.
pub fn at<'a, 'b>(vads: &'b [Vad<'a>], address: VirtAddr) -> Option<&'b Vad<'a>> {
    let after = vads.partition_point(|vad| vad.start <= address);
    after.checked_sub(1).and_then(|index| vads.get(index)).filter(|vad| address <= vad.end)
}

/// The top of a process's VAD tree, its kind of node and the names of their children: an _RTL_AVL_TREE since Windows 8.1, an
/// _MM_AVL_TABLE before.
fn top(process: &Object<'_>) -> Result<(VirtAddr, &'static str, [&'static str; 2]), ReadError> {
    let root = process.inner("VadRoot")?;
    if root.has("Root") {
        return Ok((root.pointer("Root")?, "_RTL_BALANCED_NODE", ["Left", "Right"]));
    }
    let anchor = root.inner("BalancedRoot")?;
    let node = if process.context().profile.layout("_MMADDRESS_NODE").is_ok() { "_MMADDRESS_NODE" } else { "_MM_AVL_NODE" };
    Ok((anchor.pointer("RightChild")?, node, ["LeftChild", "RightChild"]))
}

/// What speaks against there being no more VADs than were found: what broke the tree, or the number that it counts itself.
pub fn missing(process: &Object<'_>, found: usize, trouble: &[ReadError]) -> Option<ReadError> {
    let count = || -> Result<u64, ReadError> {
        let tree = process.inner("VadRoot")?;
        if tree.has("Root") { process.uint("VadCount") } else { tree.uint("NumberGenericTableElements") }
    };
    trouble.first().copied().or_else(|| match count() {
        Ok(count) if count == found as u64 => None,
        count => Some(count.err().unwrap_or(ReadError::Implausible("VAD tree"))),
    })
}

/// The nodes of a process's VAD tree, in the order of their addresses.
fn tree(process: &Object<'_>, watch: &Watch, trouble: &mut Vec<ReadError>) -> Result<Vec<VirtAddr>, ReadError> {
    let context = process.context();
    let (first, node, children) = top(process)?;
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    // The topmost stands below nothing, or below the table of which it is part.
    let table = process.inner("VadRoot")?;
    let above = if table.has("Root") { VirtAddr(0) } else { table.at("BalancedRoot")? };
    let mut waiting = vec![(first, Some(above))];
    while let Some((at, above)) = waiting.pop() {
        let Some(above) = above else {
            found.push(at);
            continue;
        };
        if at.is_null() || seen.len() >= MOST_REGIONS || watch.cancelled() {
            continue;
        }
        // Each node points back to the one above it: what does not is no part of this tree.
        let step = || -> Result<[VirtAddr; 2], ReadError> {
            let node = context.object(node, at)?;
            let parent = if node.has("ParentValue") { node.uint("ParentValue")? } else { node.inner("u1")?.uint("Parent")? };
            let known = VirtAddr(parent & !BALANCE) == above;
            let [left, right] = children;
            if at.is_kernel() && known { Ok([node.pointer(left)?, node.pointer(right)?]) } else { Err(ReadError::Implausible("VAD tree")) }
        };
        match step() {
            Ok([left, right]) if seen.insert(at) => {
                // Itself comes between its children.
                waiting.extend([(right, Some(at)), (at, None), (left, Some(at))]);
            }
            Ok(_) => trouble.push(ReadError::Implausible("VAD tree")),
            Err(why) => trouble.push(why),
        }
    }
    Ok(found)
}

impl Vad<'_> {
    /// The section's control area.
    fn control_area(&self) -> Result<Option<Object<'_>>, ReadError> {
        match &self.tag {
            _ if self.private => return Ok(None),
            tag if self.image || LONG.contains(&tag) => {}
            tag if SHORT.contains(&tag) => return Ok(None),
            _ => return Err(ReadError::Implausible("tag of a VAD")),
        }
        let vad = self.short.context().object("_MMVAD", self.short.address)?;
        let area = vad.follow_some("Subsection")?.follow_some("ControlArea")?;
        // The segment may be paged out.
        if area.follow_some("Segment")?.pointer("ControlArea").is_ok_and(|back| back != area.address) {
            return Err(ReadError::Implausible("control area"));
        }
        Ok(Some(area))
    }

    /// Whether it is the same image, mapped at the same place.
    pub fn is_like(&self, other: &Vad<'_>) -> bool {
        let area = |vad: &Vad<'_>| vad.control_area().ok().flatten().map(|area| area.address);
        (self.start, self.end, self.image) == (other.start, other.end, other.image) && area(self).is_some() && area(self) == area(other)
    }

    /// The size of its section, if it has one.
    fn section_size(&self) -> Result<Option<u64>, ReadError> {
        self.control_area()?.map(|area| area.follow_some("Segment")?.uint("SizeOfSegment")).transpose()
    }

    /// Whether the view may be larger than its section is yet.
    fn is_extendable(&self) -> bool {
        let vad = self.short.context().object("_MMVAD", self.short.address);
        let flag = vad.and_then(|vad| vad.inner("u2")?.inner("VadFlags2")?.uint("ExtendableFile"));
        flag.is_ok_and(|flag| flag != 0)
    }

    /// The address for which the section's pages were relocated.
    pub fn section_base(&self) -> Result<VirtAddr, ReadError> {
        let area = self.control_area()?.ok_or(ReadError::Implausible("_CONTROL_AREA"))?;
        area.follow_some("Segment")?.pointer("BasedAddress")
    }

    /// The file behind it.
    pub fn file(&self) -> Result<Option<Object<'_>>, ReadError> {
        let Some(area) = self.control_area()? else { return Ok(None) };
        match fast_ref(area.inner("FilePointer")?.uint("Value")?) {
            file if !file.is_null() => self.short.context().object("_FILE_OBJECT", file).map(Some),
            // Memory that processes share needs no file, a program does.
            _ if self.image => Err(ReadError::Implausible("control area")),
            _ => Ok(None),
        }
    }

    /// Whether it is the image of a program whose section, as it says itself, has no file.
    pub fn has_no_file(&self) -> bool {
        let read = || -> Result<bool, ReadError> {
            let Some(area) = self.control_area()? else { return Ok(false) };
            let whole = area.follow_some("Segment")?.pointer("ControlArea")? == area.address;
            let image = area.inner("u")?.inner("Flags")?.uint("Image")? == 1;
            Ok(whole && image && area.inner("FilePointer")?.uint("Value")? == 0)
        };
        self.image && read().unwrap_or(false)
    }

    /// Whether its file is about to be deleted, or has been.
    pub fn is_deleted(&self) -> bool {
        // The field is a byte that is 0 or 1; anything else is damage.
        self.file().is_ok_and(|file| file.is_some_and(|file| own_name(&file).is_ok() && file.uint("DeletePending") == Ok(1)))
    }

    pub fn kind(&self) -> &'static str {
        match (self.private, self.image) {
            (true, _) => "private",
            (_, true) => "image",
            _ => "mapped",
        }
    }

    pub fn file_name(&self) -> Result<Option<String>, ReadError> {
        self.file()?.map(|file| own_name(&file)).transpose()
    }
}

pub fn regions(windows: &Windows, scope: Scope, out: &mut Sink<Region>) {
    windows.each_task("regions", scope, out, |task, out| of_task(windows, task, out));
}

fn of_task(windows: &Windows, task: &Task<'_>, out: &mut Sink<Region>) -> Result<(), ReadError> {
    let space = windows.space_of(&task.object)?;
    let (vads, trouble) = windows.vads(&task.object, out.watch());
    if let Some(first) = trouble.first() {
        let (name, pid, count) = (&task.name, task.pid, trouble.len());
        out.note(format!("regions of {name} {pid} are missing where its tree of VADs breaks, at {count} places, the first: {first}"));
    }
    for vad in &vads {
        let (resident, page_rights) = match windows.resident(&space, &vads, vad) {
            Ok((resident, rights)) => (Known::Value(resident), rights.into()),
            Err(why) => (Known::Unreadable(why), Known::Unreadable(why)),
        };
        out.push(Region {
            pid: task.pid,
            process: task.name.clone(),
            start: vad.start,
            end: vad.end,
            protection: vad.protection,
            native_protection: vad.native_protection.clone(),
            kind: vad.kind(),
            file: vad.file_name().into(),
            tag: if LONG.iter().chain(&SHORT).any(|tag| **tag == vad.tag) {
                Known::Value(vad.tag.iter().map(|byte| char::from(*byte)).collect())
            } else {
                Known::Unreadable(ReadError::Implausible("tag"))
            },
            committed_pages: vad.committed.into(),
            resident_pages: resident,
            page_rights,
            address: vad.short.address,
            process_address: task.object.address,
            ..Region::default()
        });
    }
    Ok(())
}
