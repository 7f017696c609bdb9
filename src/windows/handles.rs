//! Handle tables: what each process has open.

use super::files::whole;
use super::objects::{PROCESS_OBJECT, THREAD_OBJECT, expect};
use super::processes::{MOST_IDS, Task};
use super::{Windows, registry, tokens};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::windows::Handle;
use crate::facts::{Hex, Known, ReadError, Scope, Sink, Watch};
use crate::symbols::Object;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The lowest bits of TableCode tell how many levels of pointers stand above the entries.
const LEVEL: u64 = 7;
const MOST_LEVELS: u64 = 2;
/// A process can have 16 million handles (Windows Internals).
const MOST_HANDLES: usize = 1 << 24;
/// Handles count in fours; the two lowest bits are the caller's own (ntdef.h).
const STEP: u64 = 4;
/// Before Windows 8.1 a veiled pointer keeps 45 bits, since then 48.
const BUILD_WINDOWS_8_1: u32 = 9600;
/// More memory than Windows can use: what leads beyond is no page table.
const MOST_MEMORY: u64 = 1 << 46;
/// Objects are aligned to 16 bytes; what an entry keeps in a pointer's lowest bits are flags.
const FLAGS: u64 = 0xf;

/// A used entry of a handle table.
pub struct Entry {
    pub handle: u64,
    pub access: u64,
    /// The object's header.
    pub header: VirtAddr,
    /// The page that it stands in.
    page: VirtAddr,
}

/// Pages of handle tables that are not believed, by process and page.
pub type Disputed = HashSet<(VirtAddr, VirtAddr)>;
/// Pages of a handle table, each with its number, and what could not be read on the way to them.
type Pages = (Vec<(u64, VirtAddr)>, Vec<ReadError>);

/// What is behind a handle.
#[derive(Clone)]
struct Target {
    kind: Known<String>,
    name: Known<String>,
    body: VirtAddr,
}

impl Windows {
    /// The used entries of a process's handle table, and what could not be read of it.
    pub(super) fn handle_entries(&self, process: &Object<'_>, watch: &Watch) -> Result<(Vec<Entry>, Vec<ReadError>), ReadError> {
        let Some(table) = process.follow("ObjectTable")? else { return Ok(Default::default()) };
        // A table knows whose it is; System's, which holds the kernel's own handles, may say 0.
        let (owner, own) = (table.uint("UniqueProcessId")? & 0xffff_ffff, process.uint("UniqueProcessId")?);
        if owner != 0 && owner != own {
            return Err(ReadError::Implausible("handle table"));
        }
        self.table_entries(&table, watch)
    }

    /// The processes in the table by which IDs are given out (PspCidTable): its entries lead to the objects themselves.
    pub(super) fn processes_by_id(&self, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
        let context = self.context();
        let table = context.object("_HANDLE_TABLE", context.space.pointer(context.symbol("PspCidTable")?)?)?;
        let (entries, _) = self.table_entries(&table, watch)?;
        let process = |entry: &Entry| {
            let process = context.object("_EPROCESS", entry.header).ok()?;
            expect(&process.inner("Pcb").ok()?, PROCESS_OBJECT, "process").ok()?;
            (process.uint("UniqueProcessId") == Ok(entry.handle)).then_some(process.address)
        };
        Ok(entries.iter().filter_map(process).collect())
    }

    /// The processes to which a process has handles.
    pub(super) fn processes_held(&self, process: &Object<'_>, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
        let (entries, _) = self.handle_entries(process, watch)?;
        Ok(entries.iter().filter_map(|entry| self.object_of(entry.header, "Process").ok().flatten()).collect())
    }

    fn table_entries(&self, table: &Object<'_>, watch: &Watch) -> Result<(Vec<Entry>, Vec<ReadError>), ReadError> {
        let (pages, mut trouble) = self.handle_pages(table)?;
        let stride = u64::from(self.profile.layout("_HANDLE_TABLE_ENTRY")?.size);
        let mut found = Vec::new();
        for (index, page) in pages {
            if watch.cancelled() || found.len() >= MOST_HANDLES {
                break;
            }
            trouble.extend(self.page_entries(index, page, stride, &mut found)?);
        }
        Ok((found, trouble))
    }

    /// Adds the used entries of a page of a handle table; gives what broke it off.
    fn page_entries(&self, index: u64, page: VirtAddr, stride: u64, found: &mut Vec<Entry>) -> Result<Option<ReadError>, ReadError> {
        let per_page = PAGE_SIZE / stride;
        // The first entry of each page is the table's own.
        for slot in 1..per_page {
            let entry = self.context().object("_HANDLE_TABLE_ENTRY", page.offset(slot * stride))?;
            match self.entry(&entry) {
                Ok(Some((header, access))) => found.push(Entry { handle: (index * per_page + slot) * STEP, access, header, page }),
                Ok(None) => {}
                Err(why) => return Ok(Some(why)),
            }
        }
        Ok(None)
    }

    /// The pages of a handle table that hold entries, each with its number, and what could not be read on the way.
    fn handle_pages(&self, table: &Object<'_>) -> Result<Pages, ReadError> {
        let context = self.context();
        let code = table.uint("TableCode")?;
        let (levels, stride) = (code & LEVEL, u64::from(self.profile.layout("_HANDLE_TABLE_ENTRY")?.size));
        if levels > MOST_LEVELS || stride == 0 || !VirtAddr(code).is_kernel() {
            return Err(ReadError::Implausible("handle table"));
        }
        let (mut trouble, mut leading) = (Vec::new(), HashMap::from([(VirtAddr(code & !LEVEL), 1)]));
        let mut pages = vec![(0, VirtAddr(code & !LEVEL))];
        // Only the topmost of three levels is shorter than a page.
        if levels < MOST_LEVELS && VirtAddr(code & !LEVEL).in_page() != 0 {
            return Err(ReadError::Implausible("handle table"));
        }
        for _ in 0..levels {
            let mut below: Vec<(u64, VirtAddr)> = Vec::new();
            for (index, page) in pages {
                match context.space.bytes::<{ PAGE_SIZE as usize }>(page) {
                    Ok(bytes) => {
                        let pointers = bytes.as_chunks::<8>().0.iter().map(|pointer| VirtAddr(u64::from_le_bytes(*pointer)));
                        let pointers = pointers.enumerate().map(|(slot, to)| (index * (PAGE_SIZE / 8) + slot as u64, to));
                        let before = below.len();
                        below.extend(pointers.filter(|(_, to)| to.is_kernel()));
                        if below.len() == before {
                            trouble.push(ReadError::Implausible("handle table"));
                        }
                    }
                    Err(why) => trouble.push(why),
                }
            }
            // A page has one place in a table, from which its handles are counted. Where two lead to it, one is wrong.
            below.iter().for_each(|(_, to)| *leading.entry(*to).or_insert(0) += 1);
            let all = below.len();
            below.retain(|(_, to)| to.in_page() == 0 && leading.get(to) == Some(&1));
            trouble.extend((below.len() < all).then_some(ReadError::Implausible("handle table")));
            pages = below;
        }
        Ok((pages, trouble))
    }

    /// Pages that stand in the tables of several processes, or as copies of each other, by process and page: a pointer or a page is not
    /// where it was. Those of a table that holds as many handles as it says are not among them, if it is the only one.
    fn find_disputed(&self, watch: &Watch) -> Disputed {
        /// Processes may have a few handles alike.
        const LEAST_COPIED: usize = 8;
        let mut claims: HashMap<_, Vec<(VirtAddr, VirtAddr, bool)>> = HashMap::new();
        for member in self.listed().members.iter().filter(|member| member.mapped && !watch.cancelled()) {
            let mut claim = || -> Result<(), ReadError> {
                let process = self.context().object("_EPROCESS", member.address)?;
                let (entries, _) = self.handle_entries(&process, watch)?;
                let table = process.follow_some("ObjectTable")?;
                let count = if table.has("HandleCount") {
                    table.uint("HandleCount")
                } else {
                    self.context().object("_HANDLE_TABLE_FREE_LIST", table.at("FreeLists")?)?.uint("HandleCount")
                };
                let whole = count == Ok(entries.len() as u64);
                for entries in entries.chunk_by(|one, next| one.page == next.page) {
                    let mut sum = DefaultHasher::new();
                    entries.iter().for_each(|entry| (entry.access, entry.header).hash(&mut sum));
                    let page = entries.first().map_or(VirtAddr(0), |entry| entry.page);
                    let copied = (entries.len() >= LEAST_COPIED).then(|| (true, sum.finish()));
                    let claim = (member.address, page, whole);
                    copied.into_iter().chain([(false, page.0)]).for_each(|key| claims.entry(key).or_default().push(claim));
                }
                Ok(())
            };
            // What cannot be read is told of by who asks for it.
            _ = claim();
        }
        let several = claims.into_values().filter(|claims| claims.len() > 1);
        let wrong = several.flat_map(|claims| {
            let one = claims.iter().filter(|(.., whole)| *whole).count() == 1;
            claims.into_iter().filter(move |(.., whole)| !(one && *whole))
        });
        wrong.map(|(process, page, _)| (process, page)).collect()
    }

    /// Object header and access of an entry; None for one that is free.
    fn entry(&self, entry: &Object<'_>) -> Result<Option<(VirtAddr, u64)>, ReadError> {
        let header = if entry.has("ObjectPointerBits") {
            let width = entry.layout().field("ObjectPointerBits")?.bits.map_or(64, |(_, width)| u32::from(width));
            let kept = if self.build < BUILD_WINDOWS_8_1 { 45 } else { 48 };
            unveil(entry.uint("ObjectPointerBits")?, width, kept)
        } else {
            entry.uint("Object")?
        };
        let header = VirtAddr(header & !FLAGS);
        if !header.is_kernel() {
            return Ok(None);
        }
        let access = if entry.has("GrantedAccessBits") { "GrantedAccessBits" } else { "GrantedAccess" };
        Ok(Some((header, entry.uint(access)?)))
    }

    /// An error where no object can be; what is only missing from the image is still named as far as it goes.
    fn target(&self, header: VirtAddr) -> Result<Target, ReadError> {
        let header = self.context().object("_OBJECT_HEADER", header)?;
        let body = header.at("Body")?;
        // Whoever has a handle is counted.
        if header.uint("HandleCount") == Ok(0) {
            return Err(ReadError::Implausible("object header"));
        }
        let kind = self.type_name(&header);
        if self.has_damaged_type(&header) {
            let why = ReadError::Implausible("object type");
            return Ok(Target { kind: Known::Unreadable(why), name: Known::Unreadable(why), body });
        }
        if self.is_misplaced(&header).unwrap_or(false) {
            return Err(ReadError::Implausible("object type"));
        }
        match kind {
            Err(why @ (ReadError::NotMapped(_) | ReadError::Implausible(_))) => return Err(why),
            Err(why @ ReadError::NotInImage(at)) if at.0 >= MOST_MEMORY => return Err(why),
            _ => {}
        }
        let name = kind.and_then(|kind| {
            let name = self.name_of(kind, &header, body)?.filter(|name| !name.is_empty());
            // Only a key may have a NUL in its name: some hide that way.
            if kind == "Key" { Ok(name) } else { name.map(whole).transpose() }
        });
        let kind = kind.and_then(|kind| if kind.is_empty() { Err(ReadError::Implausible("type name")) } else { whole(kind.to_owned()) });
        Ok(Target { kind: kind.into(), name: name.into(), body })
    }

    /// The name that an object has, or that its kind gives it.
    fn name_of(&self, kind: &str, header: &Object<'_>, body: VirtAddr) -> Result<Option<String>, ReadError> {
        let context = self.context();
        let process = |process: &Object<'_>, pid: Option<u64>| {
            expect(&process.inner("Pcb")?, PROCESS_OBJECT, "process")?;
            let own = process.uint("UniqueProcessId")?;
            let name = process.text("ImageFileName").and_then(whole)?;
            // Where the object contradicts others, they have been heard.
            if let Some(member) = self.listed().members.iter().find(|member| member.address == process.address) {
                return Ok((member.name.clone(), u64::from(member.pid)));
            }
            if pid.is_some_and(|pid| pid != own) || own >= MOST_IDS || own % STEP != 0 || name.contains(char::REPLACEMENT_CHARACTER) {
                return Err(ReadError::Implausible("process"));
            }
            Ok((name, own))
        };
        match kind {
            "File" => self.file_path(&context.object("_FILE_OBJECT", body)?).map(Some),
            "Key" => registry::key_path(&context.object("_CM_KEY_BODY", body)?).map(Some),
            "Process" => {
                let (name, pid) = process(&context.object("_EPROCESS", body)?, None)?;
                Ok(Some(format!("{name} Pid {pid}")))
            }
            "Thread" => {
                let thread = context.object("_ETHREAD", body)?;
                let id = thread.inner("Cid")?;
                expect(&thread.inner("Tcb")?, THREAD_OBJECT, "thread")?;
                let owner = context.object("_EPROCESS", thread.inner("Tcb")?.pointer("Process")?)?;
                let (tid, pid) = (id.uint("UniqueThread")?, id.uint("UniqueProcess")?);
                Ok(Some(format!("Tid {tid} Pid {pid} {}", process(&owner, Some(pid))?.0)))
            }
            // A desktop belongs to its window station, not to a directory.
            "Desktop" => self.object_name(header),
            "Token" => tokens::user(&context.object("_TOKEN", body)?),
            _ => match self.object_path(header)? {
                Some(path) => Ok(Some(path)),
                None => self.object_name(header),
            },
        }
    }

    /// The objects of a type to which some process has a handle.
    pub(super) fn objects_by_handle(&self, kind: &str, scope: Scope, watch: &Watch) -> Vec<VirtAddr> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for task in self.tasks(scope, watch) {
            let Ok((entries, _)) = self.handle_entries(&task.object, watch) else { continue };
            for header in entries.into_iter().map(|entry| entry.header).filter(|header| seen.insert(*header)) {
                found.extend(self.object_of(header, kind).ok().flatten());
            }
        }
        found
    }

    /// The object behind a header, if it is of a type.
    fn object_of(&self, header: VirtAddr, kind: &str) -> Result<Option<VirtAddr>, ReadError> {
        let header = self.context().object("_OBJECT_HEADER", header)?;
        if self.type_name(&header)? == kind { header.at("Body").map(Some) } else { Ok(None) }
    }

    /// The objects of a type, each with what led to it. Pools belong to the machine, handles to a process.
    pub(super) fn objects<T>(&self, tag: &[u8; 4], kind: &str, scope: Scope, out: &mut Sink<T>) -> BTreeMap<VirtAddr, Vec<&'static str>> {
        let mut found: BTreeMap<VirtAddr, Vec<&'static str>> = BTreeMap::new();
        if scope == Scope::Machine {
            match self.objects_by_tag(tag, kind, out.watch()) {
                Ok(objects) => objects.into_iter().for_each(|object| found.entry(object).or_default().push("pool_scan")),
                Err(why) => out.note(format!("pools were not searched for {kind} objects: {why}")),
            }
            if let Ok(pools) = self.pools(out.watch()) {
                let blocks = pools.with_tag(tag).len();
                if blocks > 0 && found.is_empty() {
                    out.note(format!(
                        "none of {blocks} tagged pool blocks holds a {kind} object; the table of object types may be damaged"
                    ));
                }
                if pools.unread > 0 {
                    out.note(format!("{} bytes of the image could not be searched for {kind} objects", pools.unread));
                }
            }
        }
        for object in self.objects_by_handle(kind, scope, out.watch()) {
            found.entry(object).or_default().push("handle");
        }
        found
    }
}

/// A pointer of which an entry keeps the upper bits: `width` of the lowest `kept`, the rest being copies of the highest.
fn unveil(bits: u64, width: u32, kept: u32) -> u64 {
    let high = bits << (64 - width.clamp(1, kept));
    (high.cast_signed() >> (64 - kept)).cast_unsigned()
}

pub fn handles(windows: &Windows, scope: Scope, out: &mut Sink<Handle>) {
    let mut known = HashMap::new();
    let disputed = windows.disputed.or_search(out.watch(), || windows.find_disputed(out.watch()));
    windows.each_task("handles", scope, out, |task, out| of_task(windows, task, &disputed, &mut known, out));
}

fn of_task(
    windows: &Windows,
    task: &Task<'_>,
    disputed: &Disputed,
    known: &mut HashMap<VirtAddr, Result<Target, ReadError>>,
    out: &mut Sink<Handle>,
) -> Result<(), ReadError> {
    let (entries, mut trouble) = windows.handle_entries(&task.object, out.watch())?;
    for Entry { handle, access, header, page } in entries {
        if out.cancelled() {
            return Ok(());
        }
        if disputed.contains(&(task.object.address, page)) {
            trouble.push(ReadError::Implausible("handle table"));
            continue;
        }
        let target = match known.entry(header).or_insert_with(|| windows.target(header)) {
            Ok(target) => target.clone(),
            Err(why) => {
                trouble.push(*why);
                continue;
            }
        };
        out.push(Handle {
            pid: task.pid,
            process: task.name.clone(),
            handle: Hex(handle),
            r#type: target.kind,
            name: target.name,
            access: Hex(access),
            object: target.body,
            ..Handle::default()
        });
    }
    if let Some(first) = trouble.first() {
        let (name, pid, count) = (&task.name, task.pid, trouble.len());
        out.note(format!("{count} entries or pages of the handle table of {name} {pid} lead to no object, the first: {first}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::unveil;

    #[test]
    fn veiled_pointers() {
        // Windows 8.1 and later: 44 bits of 48, the lowest four left out.
        assert_eq!(unveil(0x8d0_fc0a_3b08, 44, 48), 0xffff_8d0f_c0a3_b080);
        assert_eq!(unveil(0xa00_1234_5678, 44, 48), 0xffff_a001_2345_6780);
        // Windows 8: 44 bits of 45.
        assert_eq!(unveil(0x800_1234_5678, 44, 45), 0xffff_f000_2468_acf0);
        assert_eq!(unveil(0, 44, 48), 0);
    }
}
