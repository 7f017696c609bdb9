//! Fields of process and thread objects found by what they hold, for builds whose layout is not known: each must prove itself on most
//! processes at once. What lies between two found fields that moved alike is taken to have moved with them; the rest is given up.

use super::kernel::Kernel;
use super::objects::{OBJECT_KIND, THREAD_OBJECT};
use super::{USER_END, fast_ref, shared, text};
use crate::address::{PhysAddr, VirtAddr};
use crate::facts::ReadError;
use crate::paging::FRAME;
use crate::symbols::{Context, Member, Type, TypeId, TypeSource};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Bytes of an object in which fields are looked for.
const PROCESS_REACH: usize = 0x1000;
const THREAD_REACH: usize = 0xa00;
const SAMPLE: usize = 40;
const MOST_LIST: usize = 1 << 14;
const MOST_VADS: u64 = 1 << 16;
/// IO_TYPE_FILE of wdm.h.
const FILE_OBJECT: u64 = 5;
const NAME: &[u8] = b"System\0";

/// Offsets of fields, by structure and field.
pub type Fields = BTreeMap<(&'static str, &'static str), u64>;

/// An object and its first bytes.
struct Specimen {
    at: VirtAddr,
    bytes: Vec<u8>,
}

impl Specimen {
    fn read(context: Context<'_>, at: VirtAddr, reach: usize) -> Self {
        let mut bytes = vec![0; reach];
        context.space.read_available(at, &mut bytes, |_, _| ());
        Self { at, bytes }
    }
    fn word(&self, offset: u64) -> u64 {
        let bytes = self.bytes.get(offset as usize..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
    fn text(&self, offset: u64) -> &[u8] {
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let rest = &rest[..rest.len().min(15)];
        &rest[..memchr::memchr(0, rest).unwrap_or(rest.len())]
    }
}

struct Search<'a> {
    context: Context<'a>,
    processes: Vec<Specimen>,
    fields: Fields,
}

/// Finds the fields of _EPROCESS and _ETHREAD, with the help of layouts that are near. None where not even the list of processes shows.
pub fn find(context: Context<'_>, kernel: &Kernel, system: VirtAddr) -> Option<Fields> {
    let first = Specimen::read(context, system, PROCESS_REACH);
    let (pid, name) = identity(context, kernel, &first)?;
    let links = pid + 8;
    let mut search = Search { context, processes: vec![first], fields: Fields::new() };
    let (mut at, mut seen) = (system.offset(links), HashSet::new());
    while seen.insert(at) && seen.len() < MOST_LIST {
        at = context.space.pointer(at).ok().filter(|next| next.is_kernel())?;
        if !kernel.contains(at) && at != system.offset(links) && search.processes.len() < SAMPLE {
            search.processes.push(Specimen::read(context, VirtAddr(at.0.wrapping_sub(links)), PROCESS_REACH));
        }
    }
    for (field, offset) in [("UniqueProcessId", pid), ("ActiveProcessLinks", links), ("ImageFileName", name)] {
        search.fields.insert(("_EPROCESS", field), offset);
    }
    // Every known version keeps it there; the candidate's layout says where.
    let root = context.profile.layout("_KPROCESS").ok()?.offset("DirectoryTableBase").ok()?;
    search.fields.insert(("_KPROCESS", "DirectoryTableBase"), root);
    search.process_fields(pid, name, root);
    search.thread_fields(pid);
    Some(search.fields)
}

/// Offsets of process ID and name: the ID of System is 4 and stands before a list entry whose neighbours point back and are processes too.
fn identity(context: Context<'_>, kernel: &Kernel, system: &Specimen) -> Option<(u64, u64)> {
    let word = |at: VirtAddr| context.space.uint(at, 8).ok();
    for name in memchr::memmem::find_iter(&system.bytes, NAME).map(|name| name as u64) {
        for pid in (0..PROCESS_REACH as u64 - 24).step_by(8).filter(|pid| system.word(*pid) == 4) {
            let own = system.at.offset(pid + 8);
            let (next, last) = (VirtAddr(system.word(pid + 8)), VirtAddr(system.word(pid + 16)));
            if !next.is_kernel() || word(next.offset(8)) != Some(own.0) || word(last) != Some(own.0) {
                continue;
            }
            let other = if kernel.contains(next) { last } else { next };
            let other = Specimen::read(context, VirtAddr(other.0.wrapping_sub(pid + 8)), PROCESS_REACH);
            let text = other.text(name);
            if is_pid(other.word(pid)) && !text.is_empty() && text.iter().all(|letter| (0x20..0x7f).contains(letter)) {
                return Some((pid, name));
            }
        }
    }
    None
}

fn is_pid(value: u64) -> bool {
    value.is_multiple_of(4) && (4..1 << 24).contains(&value)
}

impl Search<'_> {
    /// The first offset at which most processes pass; None from `holds` where the question does not arise.
    fn settle(&self, step: usize, holds: impl Fn(&Specimen, u64) -> Option<bool>) -> Option<u64> {
        (0..PROCESS_REACH as u64 - 16).step_by(step).find(|offset| {
            let (mut passed, mut failed) = (0, 0);
            for process in &self.processes {
                match holds(process, *offset) {
                    Some(true) => passed += 1,
                    Some(false) => failed += 1,
                    None => {}
                }
                // What fails at first is given up early: most offsets are wrong.
                if failed > 2 && failed * 3 > passed {
                    return false;
                }
            }
            passed >= 2 && passed >= failed * 4
        })
    }

    fn put(&mut self, structure: &'static str, field: &'static str, offset: Option<u64>) {
        if let Some(offset) = offset {
            self.fields.insert((structure, field), offset);
        }
    }

    fn process_fields(&mut self, pid: u64, name: u64, root: u64) {
        let context = self.context;
        let pids: HashSet<u64> = self.processes.iter().map(|process| process.word(pid)).collect();
        let is_system = |process: &Specimen| process.word(pid) == 4;
        let now = shared::now(context.space).unwrap_or(u64::MAX);
        let pointer = |process: &Specimen, offset: u64| Some(VirtAddr(process.word(offset))).filter(|at| at.is_kernel() && at.0 % 8 == 0);
        let space_of = |process: &Specimen| context.space.with_root(PhysAddr(process.word(root) & FRAME));

        let session_manager = |process: &Specimen| process.text(name) == b"smss.exe";
        // It stands between the list entry and the name; other numbers that look like process IDs do not.
        let between = pid + 24..name.max(pid + 24);
        let parent = self.settle(8, |process, offset| {
            let value = process.word(offset);
            Some(match () {
                () if !between.contains(&offset) => false,
                () if is_system(process) => value == 0,
                () if session_manager(process) => pids.contains(&value) && value != process.word(pid),
                () => is_pid(value) && value != process.word(pid),
            })
        });
        self.put("_EPROCESS", "InheritedFromUniqueProcessId", parent);

        let base_at = context.profile.layout("_PEB").and_then(|peb| peb.offset("ImageBaseAddress"));
        let image_base = |process: &Specimen, peb: u64| {
            let base = space_of(process).pointer(VirtAddr(peb).offset(base_at.ok()?)).ok()?;
            (base.0 < USER_END.0 && base.in_page() == 0 && !base.is_null()).then_some(base)
        };
        let peb = self.settle(8, |process, offset| match process.word(offset) {
            0 => Some(is_system(process)).filter(|system| *system),
            value if is_system(process) || value >= USER_END.0 || value % 0x1000 != 0 => Some(false),
            value => Some(image_base(process, value).is_some()),
        });
        self.put("_EPROCESS", "Peb", peb);
        if let Some(peb) = peb {
            let base = self.settle(8, |process, offset| match process.word(peb) {
                0 => None,
                peb => image_base(process, peb).map(|base| base.0 == process.word(offset)),
            });
            self.put("_EPROCESS", "SectionBaseAddress", base);
        }

        let table = self.settle(8, |process, offset| {
            let Some(at) = pointer(process, offset) else { return if process.word(offset) == 0 { None } else { Some(false) } };
            let table = context.object("_HANDLE_TABLE", at).ok()?;
            Some(
                table.uint("UniqueProcessId") == Ok(process.word(pid))
                    && table.uint("TableCode").is_ok_and(|code| VirtAddr(code).is_kernel()),
            )
        });
        self.put("_EPROCESS", "ObjectTable", table);

        let token = self.settle(8, |process, offset| {
            let at = fast_ref(process.word(offset));
            if at.is_null() {
                return None;
            }
            let holds = || -> Result<bool, ReadError> {
                let first = context.object("_TOKEN", at)?.follow_some("UserAndGroups")?;
                let sid = context.object("_SID", first.pointer("Sid")?)?;
                Ok(sid.uint("Revision")? == 1 && (1..=15).contains(&sid.uint("SubAuthorityCount")?))
            };
            Some(at.is_kernel() && holds().unwrap_or(false))
        });
        self.put("_EPROCESS", "Token", token);

        let tree = self.settle(8, |process, offset| {
            let (top, count) = (VirtAddr(process.word(offset)), process.word(offset + 16));
            match (top.is_null(), count) {
                (true, 0) => None,
                (false, 1..MOST_VADS) if top.is_kernel() => Some(count_tree(context, top, count) == Some(count)),
                _ => Some(false),
            }
        });
        self.put("_EPROCESS", "VadRoot", tree);
        self.put("_EPROCESS", "VadHint", tree.map(|tree| tree + 8));
        self.put("_EPROCESS", "VadCount", tree.map(|tree| tree + 16));

        let created = self.settle(8, |process, offset| {
            // Later than 2000, not after the capture, and not before the System process.
            let first = self.processes.first().map_or(0, |system| system.word(offset));
            Some(process.word(offset) >= first && (125_911_584_000_000_000..=now).contains(&process.word(offset)))
        });
        self.put("_EPROCESS", "CreateTime", created);

        // Most processes have not ended: nothing to be found by. It keeps its distance from the tree, if what is there then can be a time.
        let near = || -> Option<u64> {
            let layout = context.profile.layout("_EPROCESS").ok()?;
            let offset = (tree? + layout.offset("ExitTime").ok()?).checked_sub(layout.offset("VadRoot").ok()?)?;
            let fits = |process: &Specimen| matches!(process.word(offset), 0 | 125_911_584_000_000_000..) && process.word(offset) <= now;
            self.processes.iter().all(fits).then_some(offset)
        };
        let ended = near();
        self.put("_EPROCESS", "ExitTime", ended);

        let named = |path: String, process: &Specimen| {
            let file = path.rsplit('\\').next().unwrap_or_default().to_lowercase();
            file.as_bytes().starts_with(&process.text(name).to_ascii_lowercase())
        };
        let string_at = |at: VirtAddr| {
            let string = context.object("_UNICODE_STRING", at).ok()?;
            (string.uint("Length").ok()? <= 1024).then(|| text::unicode(&string).ok())?.filter(|text| !text.is_empty())
        };
        let audit = self.settle(8, |process, offset| {
            if is_system(process) || process.text(name).is_empty() {
                return None;
            }
            Some(pointer(process, offset).and_then(string_at).is_some_and(|path| path.starts_with('\\') && named(path, process)))
        });
        self.put("_EPROCESS", "SeAuditProcessCreationInfo", audit);
        let file = self.settle(8, |process, offset| {
            if is_system(process) || process.text(name).is_empty() {
                return None;
            }
            let holds = || -> Option<bool> {
                let file = context.object("_FILE_OBJECT", pointer(process, offset)?).ok()?;
                let path = text::unicode(&file.inner("FileName").ok()?).ok()?;
                Some(file.uint("Type").ok()? == FILE_OBJECT && named(path, process))
            };
            Some(holds().unwrap_or(false))
        });
        self.put("_EPROCESS", "ImageFilePointer", file);
    }

    fn thread_fields(&mut self, pid: u64) {
        let context = self.context;
        let layout = |structure| context.profile.layout(structure);
        let Ok(head) = layout("_KPROCESS").and_then(|process| process.offset("ThreadListHead")) else { return };
        // The scheduler's list leads into the threads; their beginning is the dispatcher header before.
        let entry =
            |process: &Specimen| Some(VirtAddr(process.word(head))).filter(|entry| entry.is_kernel() && *entry != process.at.offset(head));
        let starts = |entry: VirtAddr, back: u64| {
            context.space.uint(VirtAddr(entry.0.wrapping_sub(back)), 1).is_ok_and(|kind| kind & OBJECT_KIND == THREAD_OBJECT)
        };
        let entries: Vec<_> = self.processes.iter().filter_map(|process| Some((process, entry(process)?))).collect();
        if entries.len() < 2 {
            return;
        }
        let owner_at =
            |thread: &Specimen, process: &Specimen| (0x100..0x400).step_by(8).filter(|at| thread.word(*at) == process.at.0).last();
        let back = (0x100..0x600_u64).step_by(8).find(|back| {
            let passed = entries.iter().filter(|(_, entry)| starts(*entry, *back)).count();
            let first = entries.first().map(|(process, entry)| (process, Specimen::read(context, VirtAddr(entry.0 - back), THREAD_REACH)));
            passed * 5 >= entries.len() * 4 && first.is_some_and(|(process, thread)| owner_at(&thread, process).is_some())
        });
        let Some(back) = back else { return };
        let threads: Vec<_> =
            entries.iter().map(|(process, entry)| (*process, Specimen::read(context, VirtAddr(entry.0 - back), THREAD_REACH))).collect();
        let most = |mut offsets: Box<dyn Iterator<Item = u64>>, holds: &dyn Fn(&Specimen, &Specimen, u64) -> bool| {
            offsets.find(|at| threads.iter().filter(|(process, thread)| holds(process, thread, *at)).count() * 5 >= threads.len() * 4)
        };
        let reach = THREAD_REACH as u64 - 16;
        let owner = most(Box::new((0x100..0x400).rev().filter(|at| at % 8 == 0)), &|process, thread, at| thread.word(at) == process.at.0);
        let client = most(Box::new((0x300..reach).step_by(8)), &|process, thread, at| {
            thread.word(at) == process.word(pid) && is_pid(thread.word(at + 8)) && thread.word(at + 8) != thread.word(at)
        });
        // The executive's own list: its head is in the process, its entry in the same thread.
        let mut lists = (head + 16..PROCESS_REACH as u64 - 16).step_by(8).flat_map(|place| {
            let process = threads.first().map(|(process, thread)| process.word(place).wrapping_sub(thread.at.0));
            process.filter(|entry| (back + 16..reach).contains(entry)).map(|entry| (place, entry))
        });
        let list = lists.find(|(place, entry)| {
            threads.iter().filter(|(process, thread)| process.word(*place) == thread.at.offset(*entry).0).count() * 5 >= threads.len() * 4
        });
        let count = |process: &Specimen, place: u64| -> Option<u64> {
            let head = process.at.offset(place);
            let mut at = head;
            (0..MOST_LIST as u64).find(|_| {
                at = context.space.pointer(at).unwrap_or(head);
                at == head
            })
        };
        let mut found: Vec<(&'static str, Option<u64>)> = Vec::new();
        let active = list.and_then(|(place, _)| {
            let counts: HashMap<u64, u64> =
                self.processes.iter().filter_map(|process| Some((process.at.0, count(process, place)?))).collect();
            self.settle(4, |process, offset| {
                let wanted = *counts.get(&process.at.0)?;
                Some(offset > place && process.word(offset) & 0xffff_ffff == wanted)
            })
        });
        // What keeps its distance from the client ID, if most threads have there what it should be.
        let now = shared::now(context.space).unwrap_or(u64::MAX);
        let is_address = |value: u64| value == 0 || value < USER_END.0 || VirtAddr(value).is_kernel();
        let is_time = |value: u64| (125_911_584_000_000_000..=now).contains(&value);
        type Holds<'a> = &'a dyn Fn(u64) -> bool;
        let kept: [(&'static str, Holds<'_>); 3] =
            [("CreateTime", &is_time), ("StartAddress", &is_address), ("Win32StartAddress", &is_address)];
        for (field, holds) in kept {
            let guess = || -> Option<u64> {
                let old = layout("_ETHREAD").ok()?;
                let offset = client?.checked_add_signed(old.offset(field).ok()?.cast_signed() - old.offset("Cid").ok()?.cast_signed())?;
                let fitting = threads.iter().filter(|(_, thread)| holds(thread.word(offset))).count();
                let used = threads.iter().any(|(_, thread)| thread.word(offset) != 0);
                (used && fitting == threads.len()).then_some(offset)
            };
            found.push((field, guess()));
        }
        for (field, offset) in found {
            self.put("_ETHREAD", field, offset);
        }
        self.put("_KPROCESS", "ThreadListHead", Some(head));
        self.put("_KTHREAD", "ThreadListEntry", Some(back));
        self.put("_KTHREAD", "Process", owner);
        self.put("_ETHREAD", "Cid", client);
        self.put("_ETHREAD", "ThreadListEntry", list.map(|(_, entry)| entry));
        self.put("_EPROCESS", "ThreadListHead", list.map(|(place, _)| place));
        self.put("_EPROCESS", "ActiveThreads", active);
    }
}

/// Nodes of a balanced tree, if there are no more than expected.
fn count_tree(context: Context<'_>, top: VirtAddr, most: u64) -> Option<u64> {
    let (mut waiting, mut found) = (vec![top], 0);
    while let Some(at) = waiting.pop() {
        if at.is_null() {
            continue;
        }
        found += 1;
        if found > most || !at.is_kernel() {
            return None;
        }
        let node = context.object("_RTL_BALANCED_NODE", at).ok()?;
        waiting.push(node.pointer("Left").ok()?);
        waiting.push(node.pointer("Right").ok()?);
    }
    Some(found)
}

/// Types of a near build, with the structures in which fields were found put right.
pub struct Corrected {
    types: Box<dyn TypeSource>,
    members: HashMap<TypeId, Vec<Member>>,
    /// Structures that are not to be found.
    refused: Vec<&'static str>,
}

impl Corrected {
    pub fn new(types: Box<dyn TypeSource>, fields: &Fields) -> Self {
        let mut members = HashMap::new();
        for structure in ["_EPROCESS", "_KPROCESS", "_ETHREAD", "_KTHREAD"] {
            if let Some(id) = types.find(structure) {
                members.insert(id, correct(types.members(id), &|field| fields.get(&(structure, field)).copied()));
            }
        }
        Self { types, members, refused: Vec::new() }
    }

    /// The types without some structures, which failed on the image.
    pub fn without(types: Box<dyn TypeSource>, refused: Vec<&'static str>) -> Self {
        Self { types, members: HashMap::new(), refused }
    }
}

/// Members at their new places: those that were found, and those between two that moved alike.
fn correct(old: Vec<Member>, found: &dyn Fn(&str) -> Option<u64>) -> Vec<Member> {
    let shift_of = |member: &Member| found(&member.name).map(|new| (new * 8).cast_signed() - member.bit_offset.cast_signed());
    let mut anchors: Vec<(u64, i64)> = old.iter().filter_map(|member| Some((member.bit_offset, shift_of(member)?))).collect();
    // What every object begins with stays.
    anchors.push((0, 0));
    anchors.sort_unstable();
    let shift = |member: &Member| {
        let after = anchors.partition_point(|(at, _)| *at <= member.bit_offset);
        let before = anchors.get(after.checked_sub(1)?)?;
        if before.0 == member.bit_offset {
            return Some(before.1);
        }
        let next = anchors.get(after)?;
        (before.1 == next.1).then_some(before.1)
    };
    let place = |mut member: Member| {
        let by = shift_of(&member).or_else(|| shift(&member))?;
        member.bit_offset = member.bit_offset.checked_add_signed(by)?;
        Some(member)
    };
    old.into_iter().filter_map(place).collect()
}

impl TypeSource for Corrected {
    fn find(&self, name: &str) -> Option<TypeId> {
        if self.refused.contains(&name) { None } else { self.types.find(name) }
    }
    fn get(&self, id: TypeId) -> Option<Type> {
        // What points to a refused structure leads to nothing.
        self.types.get(id).map(|found| match &found {
            Type::Struct { name, .. } if self.refused.contains(&name.as_str()) => Type::Void,
            _ => found,
        })
    }
    fn members(&self, id: TypeId) -> Vec<Member> {
        self.members.get(&id).cloned().unwrap_or_else(|| self.types.members(id))
    }
    fn enumerator(&self, name: &str) -> Option<i64> {
        self.types.enumerator(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_between_two_that_moved_alike_move_with_them() {
        let member = |name: &str, byte: u64| Member { name: name.into(), bit_offset: byte * 8, bit_width: None, r#type: TypeId(1) };
        let old = ["head", "a", "b", "c", "d", "e"].iter().zip(0..).map(|(name, at)| member(name, at * 8)).collect();
        let found = |name: &str| match name {
            "b" => Some(0x20),
            "d" => Some(0x30),
            _ => None,
        };
        let new: Vec<_> = correct(old, &found).into_iter().map(|member| (member.name, member.bit_offset / 8)).collect();
        let expected = [("head", 0), ("b", 0x20), ("c", 0x28), ("d", 0x30)].map(|(name, at)| (name.to_owned(), at));
        assert_eq!(new, expected, "a lies where the shift changes, e has no neighbour");
    }
}
