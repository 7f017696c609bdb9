//! Services and drivers: the database that the service control manager (services.exe) keeps in its own memory.

use super::hives::Hives;
use super::processes::Task;
use super::{USER_END, Windows, text};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::windows::Service;
use crate::facts::{Known, ReadError, Scope, Sink, Watch};
use crate::paging::AddressSpace;
use memchr::memmem::Finder;
use std::collections::{BTreeMap, HashMap, HashSet};

const MANAGER: &str = "services.exe";
/// A handle to a service begins with this mark and has, a little on, the record's address.
const HEADER: &[u8; 4] = b"serH";
const HEADER_RECORD: u64 = 16;
/// The mark of a record, where records have one.
const RECORD: &[u8; 4] = b"sErv";
/// Memory of the service control manager that is looked at: far more than it ever has.
const MOST_PAGES: u64 = 1 << 18;
const MOST_RECORDS: usize = 1 << 16;
/// Records that no other leads to, from which the list is looked for.
const MOST_STARTS: usize = 256;
/// Names of services have 256 letters at most (winsvc.h); command lines may be longer.
const MOST_NAME: usize = 257;
const MOST_COMMAND: usize = 1 << 15;
const MOST_PID: u64 = 1 << 26;

/// Where a record and the process block that it points to have their fields. No PDB describes them; the offsets are those that
/// Volatility's services-*-x64 tables give as facts.
#[derive(Debug)]
struct Layout {
    /// The first build of Windows that has it.
    build: u32,
    previous: u64,
    name: u64,
    display: u64,
    order: u64,
    kind: u64,
    state: u64,
    start: u64,
    driver: u64,
    process: u64,
    tag: Option<u64>,
    /// In the process block.
    command: u64,
    pid: u64,
}

#[rustfmt::skip]
const LAYOUTS: [Layout; 7] = [
    Layout { build: 6000, previous: 0, name: 8, display: 16, order: 24, kind: 48, state: 52, start: 76, driver: 40, process: 40, tag: Some(32), command: 16, pid: 24 },
    Layout { build: 9200, previous: 8, name: 16, display: 24, order: 32, kind: 64, state: 68, start: 92, driver: 56, process: 56, tag: None, command: 24, pid: 32 },
    Layout { build: 15063, previous: 16, name: 56, display: 64, order: 32, kind: 72, state: 76, start: 36, driver: 232, process: 232, tag: None, command: 24, pid: 32 },
    Layout { build: 16299, previous: 16, name: 56, display: 64, order: 32, kind: 72, state: 76, start: 36, driver: 232, process: 232, tag: None, command: 24, pid: 40 },
    Layout { build: 18362, previous: 16, name: 56, display: 64, order: 32, kind: 72, state: 76, start: 36, driver: 240, process: 240, tag: None, command: 24, pid: 40 },
    Layout { build: 19041, previous: 16, name: 56, display: 64, order: 32, kind: 72, state: 76, start: 36, driver: 296, process: 296, tag: None, command: 24, pid: 40 },
    Layout { build: 25398, previous: 16, name: 56, display: 64, order: 32, kind: 80, state: 84, start: 36, driver: 296, process: 336, tag: None, command: 24, pid: 40 },
];

/// Kinds of services by their bits (winnt.h).
const KINDS: [(u64, &str); 10] = [
    (0x01, "SERVICE_KERNEL_DRIVER"),
    (0x02, "SERVICE_FILE_SYSTEM_DRIVER"),
    (0x04, "SERVICE_ADAPTER"),
    (0x08, "SERVICE_RECOGNIZER_DRIVER"),
    (0x10, "SERVICE_WIN32_OWN_PROCESS"),
    (0x20, "SERVICE_WIN32_SHARE_PROCESS"),
    (0x40, "SERVICE_USER_SERVICE"),
    (0x80, "SERVICE_USERSERVICE_INSTANCE"),
    (0x100, "SERVICE_INTERACTIVE_PROCESS"),
    (0x200, "SERVICE_PKG_SERVICE"),
];
const ALL_KINDS: u64 = 0x3ff;
const DRIVERS: u64 = 0x0b;
/// Every service is one of these.
const BASE_KINDS: u64 = 0x3f;
/// From 1 (winsvc.h).
const STATES: [&str; 7] = [
    "SERVICE_STOPPED",
    "SERVICE_START_PENDING",
    "SERVICE_STOP_PENDING",
    "SERVICE_RUNNING",
    "SERVICE_CONTINUE_PENDING",
    "SERVICE_PAUSE_PENDING",
    "SERVICE_PAUSED",
];
const STARTS: [&str; 5] = ["SERVICE_BOOT_START", "SERVICE_SYSTEM_START", "SERVICE_AUTO_START", "SERVICE_DEMAND_START", "SERVICE_DISABLED"];

/// The memory of a service control manager, seen through one layout.
struct Database<'a> {
    space: &'a AddressSpace,
    layout: &'static Layout,
}

/// Records of a database, in the order of the walk, and what ended a walk before its end.
#[derive(Default)]
struct Found {
    rows: Vec<Service>,
    trouble: Vec<String>,
}

impl Found {
    /// How much of it holds together.
    fn score(&self) -> usize {
        self.rows.iter().map(|row| 1 + usize::from(row.problems.is_empty() && row.binary.value().is_some())).sum()
    }
}

impl Database<'_> {
    /// A record whose fields all are what they must be, and the one before it.
    fn record(&self, at: VirtAddr) -> Result<(Service, VirtAddr), ReadError> {
        let layout = self.layout;
        let word = |offset: u64| self.space.uint(at.offset(offset), 4);
        let (order, kind) = (word(layout.order)?, word(layout.kind)?);
        let (state, start) = (word(layout.state)? as usize, word(layout.start)? as usize);
        let state = state.checked_sub(1).and_then(|state| STATES.get(state)).copied();
        let (Some(state), Some(start), 1..=0xffff) = (state, STARTS.get(start).copied(), order) else {
            return Err(ReadError::Implausible("service record"));
        };
        if kind & !ALL_KINDS != 0 || kind & BASE_KINDS == 0 {
            return Err(ReadError::Implausible("service record"));
        }
        let previous = self.pointer(at.offset(layout.previous))?;
        let name = self.string(at.offset(layout.name), MOST_NAME)?.filter(|name| !name.is_empty() && !name.contains(char::is_control));
        let name = name.ok_or(ReadError::Implausible("name of a service"))?;
        let mut row = Service {
            order: order as u32,
            name,
            display_name: self.string(at.offset(layout.display), MOST_NAME).into(),
            r#type: KINDS.iter().filter(|(bit, _)| kind & bit != 0).map(|(_, word)| *word).collect::<Vec<_>>().join("|"),
            state,
            start,
            address: at,
            ..Service::default()
        };
        if state != STATES[0] {
            if kind & DRIVERS != 0 {
                row.binary = self.string(at.offset(layout.driver), MOST_NAME).into();
            } else {
                (row.pid, row.binary) = match self.process(at.offset(layout.process)) {
                    Ok(Some((pid, command))) => (Known::Value(pid), command),
                    Ok(None) => (Known::Absent, Known::Absent),
                    Err(why) => (Known::Unreadable(why), Known::Unreadable(why)),
                };
            }
        }
        Ok((row, previous))
    }

    /// The process of a service and its command line.
    fn process(&self, at: VirtAddr) -> Result<Option<(u32, Known<String>)>, ReadError> {
        let block = self.pointer(at)?;
        if block.is_null() {
            return Ok(None);
        }
        let pid = self.space.uint(block.offset(self.layout.pid), 4)?;
        if pid == 0 || pid % 4 != 0 || pid >= MOST_PID {
            return Err(ReadError::Implausible("PID of a service"));
        }
        Ok(Some((pid as u32, self.string(block.offset(self.layout.command), MOST_COMMAND).into())))
    }

    /// A pointer to memory of the program, or null.
    fn pointer(&self, at: VirtAddr) -> Result<VirtAddr, ReadError> {
        let to = self.space.pointer(at)?;
        if to.0 >> 47 != 0 || to.0 % 4 != 0 { Err(ReadError::Implausible("pointer in a service record")) } else { Ok(to) }
    }

    /// Text that a field points to.
    fn string(&self, at: VirtAddr, most: usize) -> Result<Option<String>, ReadError> {
        let to = self.space.pointer(at)?;
        if to.is_null() {
            return Ok(None);
        }
        if to.0 >> 47 != 0 || to.0 % 2 != 0 {
            return Err(ReadError::Implausible("pointer in a service record"));
        }
        let text = text::terminated(self.space, to, most)?;
        if text.contains(char::REPLACEMENT_CHARACTER) { Err(ReadError::Implausible("text of a service")) } else { Ok(Some(text)) }
    }

    /// The records that headers lead to, then those that only their marks tell of.
    fn records(&self, headers: &[VirtAddr], marks: &[VirtAddr]) -> Found {
        let (mut found, mut seen) = (Found::default(), HashSet::new());
        // Which record each leads to.
        let mut steps = BTreeMap::new();
        for header in headers {
            let mut next = self.pointer(header.offset(HEADER_RECORD)).unwrap_or_default();
            let before = found.rows.len();
            while !next.is_null() && seen.insert(next) && seen.len() < MOST_RECORDS {
                match self.record(next) {
                    Ok((row, previous)) => {
                        steps.insert(row.address, previous);
                        found.rows.push(Service { listed: Known::Value(true), sources: vec!["list"], ..row });
                        next = previous;
                    }
                    // The mark alone may stand anywhere.
                    Err(_) if found.rows.len() == before => break,
                    Err(why) => {
                        found.trouble.push(format!("the list of services breaks off at {next}: {why}"));
                        break;
                    }
                }
            }
        }
        if let Some(tag) = self.layout.tag {
            for at in marks.iter().map(|mark| VirtAddr(mark.0.wrapping_sub(tag))) {
                if let (true, Ok((row, _))) = (seen.insert(at), self.record(at)) {
                    found.rows.push(Service { sources: vec!["tag_scan"], ..row });
                }
            }
        }
        // The list is the longest way from record to record. One that only a handle or its mark leads to, while the list goes from a newer
        // one to an older one, was taken out of it.
        let orders: HashMap<VirtAddr, u32> = found.rows.iter().map(|row| (row.address, row.order)).collect();
        let led_to: HashSet<VirtAddr> = steps.values().copied().collect();
        let way = |start: VirtAddr| std::iter::successors(Some(start), |at| steps.get(at).copied()).take(steps.len());
        let starts = steps.keys().filter(|at| !led_to.contains(at)).take(MOST_STARTS);
        let Some(newest) = starts.max_by_key(|start| way(**start).count()) else { return found };
        let list: HashSet<VirtAddr> = way(*newest).collect();
        // From which order on something newer than what follows in the list stands before it: the newest of all such.
        let mut gaps = BTreeMap::new();
        for (older, newer) in way(*newest).filter_map(|at| Some((*orders.get(steps.get(&at)?)?, *orders.get(&at)?))) {
            gaps.entry(older).and_modify(|most: &mut u32| *most = newer.max(*most)).or_insert(newer);
        }
        let mut most = 0;
        for newer in gaps.values_mut() {
            most = most.max(*newer);
            *newer = most;
        }
        let passed = |row: &&mut Service| gaps.range(..row.order).next_back().is_some_and(|(_, newer)| row.order < *newer);
        for row in found.rows.iter_mut().filter(|row| !list.contains(&row.address)).filter(passed) {
            row.listed = Known::Value(false);
            if row.sources == ["list"] {
                row.sources = vec!["handle"];
            }
        }
        found
    }
}

/// The records by the layout of a build; by another one where that holds together better.
fn records(space: &AddressSpace, build: u32, headers: &[VirtAddr], marks: &[VirtAddr]) -> Found {
    let by = |layout| Database { space, layout }.records(headers, marks);
    let own = LAYOUTS.iter().rev().find(|layout| layout.build <= build).unwrap_or(&LAYOUTS[0]);
    let mut best = by(own);
    let running = best.rows.iter().filter(|row| row.state != STATES[0]).count();
    if best.rows.is_empty() || best.score() < best.rows.len() + running {
        for layout in LAYOUTS.iter().filter(|layout| layout.build != own.build) {
            let mut other = by(layout);
            if other.score() > best.score() {
                other.trouble.push(format!("the records of services are laid out as in build {}, not {build}", layout.build));
                best = other;
            }
        }
    }
    best
}

impl Windows {
    /// The processes by that name; only where none is listed are the pools searched for one.
    fn service_managers(&self, watch: &Watch) -> Vec<Task<'_>> {
        let is_manager = |name: &str| name.eq_ignore_ascii_case(MANAGER);
        let listed = self.listed().members.iter().filter(|member| is_manager(&member.name));
        let mut found: Vec<_> = listed.flat_map(|member| self.tasks(Scope::Process(member.address), watch)).collect();
        if found.is_empty() {
            found.extend(self.tasks(Scope::Machine, watch).into_iter().filter(|task| is_manager(&task.name)));
        }
        found
    }

    /// The places in a program's own memory where a header or a record may stand.
    fn service_marks(&self, task: &Task<'_>, space: &AddressSpace, watch: &Watch) -> (Vec<VirtAddr>, Vec<VirtAddr>, Option<ReadError>) {
        let finders = [Finder::new(HEADER), Finder::new(RECORD)];
        let mut found = [Vec::new(), Vec::new()];
        let (mut page, mut left) = (vec![0; PAGE_SIZE as usize], MOST_PAGES);
        let (vads, trouble) = self.vads(&task.object, watch);
        let own = vads.iter().filter(|vad| vad.private && vad.protection.write).map(|vad| (vad.start, vad.end.offset(1)));
        // Where regions are missing, all that is mapped stands for them.
        let ranges = if trouble.is_empty() { own.collect() } else { vec![(VirtAddr(0), USER_END)] };
        for (start, end) in ranges {
            space.mapped(start, end, &mut |at, _, length| {
                for at in (0..length).step_by(PAGE_SIZE as usize).map(|skip| at.offset(skip)) {
                    if left == 0 || watch.cancelled() || space.read(at, &mut page).is_err() {
                        continue;
                    }
                    left -= 1;
                    for (finder, found) in finders.iter().zip(&mut found) {
                        let places = finder.find_iter(&page).filter(|place| place % 8 == 0);
                        found.extend(places.map(|place| at.offset(place as u64)));
                    }
                }
            });
        }
        let [headers, marks] = found;
        (headers, marks, trouble.into_iter().next())
    }
}

/// What the registry says of services.
struct Configured {
    /// ImagePath and ServiceDll by the service's name.
    services: HashMap<String, (Known<String>, Known<String>)>,
}

impl Configured {
    const KEY: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Services";

    fn read(hives: &Hives<'_>) -> Result<Self, String> {
        let (hive, key) = match hives.open(Self::KEY) {
            Ok(Some(found)) => found,
            Ok(None) => return Err("the hive with their keys is not in memory".to_owned()),
            Err(why) => return Err(why.to_string()),
        };
        let (children, _) = hive.subkeys(&key);
        let services = children.into_iter().map(|service| {
            let dll = || -> Result<Option<String>, ReadError> {
                match hive.subkey(&service, "Parameters")? {
                    Some(parameters) => hive.text(&parameters, "ServiceDll"),
                    None => Ok(None),
                }
            };
            (service.name.to_lowercase(), (hive.text(&service, "ImagePath").into(), dll().into()))
        });
        Ok(Self { services: services.collect() })
    }
}

pub fn services(windows: &Windows, scope: Scope, out: &mut Sink<Service>) {
    let managers = windows.service_managers(out.watch());
    if managers.is_empty() {
        out.note(format!("no living process is called {MANAGER}: the database of services is in its memory"));
        return;
    }
    let configured = Configured::read(&windows.hives(None));
    if let Err(why) = &configured {
        out.note(format!("services are shown without what the registry says of them: {why}"));
    }
    let processes: BTreeMap<u32, VirtAddr> = windows.listed().members.iter().map(|member| (member.pid, member.address)).collect();
    for task in managers {
        let of = format!("{} {}", task.name, task.pid);
        let space = match windows.space_of(&task.object) {
            Ok(space) => space,
            Err(why) => {
                out.note(format!("services of {of}: {why}"));
                continue;
            }
        };
        let (headers, marks, trouble) = windows.service_marks(&task, &space, out.watch());
        let mut found = records(&space, windows.build, &headers, &marks);
        if let Some(why) = trouble {
            out.note(format!("some memory of {of} was not searched for services: {why}"));
        }
        found.trouble.iter().for_each(|trouble| out.note(format!("{of}: {trouble}")));
        if found.rows.is_empty() {
            out.note(format!("the memory of {of} that is in the image has no list of services"));
        }
        found.rows.sort_by_key(|row| (row.order, row.address));
        for mut row in found.rows {
            let process = row.pid.value().and_then(|pid| processes.get(pid)).copied();
            if !scope.admits(row.pid.value().copied().unwrap_or_default(), process.unwrap_or_default()) {
                continue;
            }
            if let (Some(pid), None) = (row.pid.value(), process) {
                row.problems.push(format!("no process with PID {pid} is on the list of processes"));
            }
            if let Some((binary, dll)) = configured.as_ref().ok().and_then(|known| known.services.get(&row.name.to_lowercase())) {
                (row.registry_binary, row.dll) = (binary.clone(), dll.clone());
            }
            row.process_address = task.object.address;
            out.push(row);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::image::Image;
    use crate::paging::{Levels, PageOrigin, Software};
    use std::sync::Arc;

    const FIRST: u64 = 0x1_0000;
    const RECORD_ROOM: u64 = 0x1000;
    const TEXTS: u64 = 0x10_0000;
    const MARK: VirtAddr = VirtAddr(0x8000);

    struct NoPages;

    impl Software for NoPages {
        fn resolve(&self, at: VirtAddr, _: u64) -> Result<PageOrigin, ReadError> {
            Err(ReadError::NotMapped(at))
        }
    }

    /// Memory with four records: a driver, a service that runs, one that does not, and one that no list leads to.
    struct Memory {
        bytes: Vec<u8>,
        texts: u64,
        layout: &'static Layout,
    }

    impl Memory {
        fn of(layout: &'static Layout) -> Self {
            let mut memory = Self { bytes: vec![0; 0x20_0000], texts: TEXTS, layout };
            memory.bytes[0] = 0xf3;
            for (number, (kind, state)) in [(1, 4), (0x20, 4), (0x110, 1), (0x10, 7)].into_iter().enumerate() {
                let at = FIRST + number as u64 * RECORD_ROOM;
                let [name, display] = [format!("svc{number}"), format!("Service {number}")].map(|text| memory.text(&text));
                memory.put(at + layout.name, name).put(at + layout.display, display);
                memory.put(at + layout.order, number as u64 + 1).put(at + layout.kind, kind | state << 32);
                let start = at + layout.start;
                memory.bytes[start as usize] = 2;
                if number == 1 || number == 2 {
                    memory.put(at + layout.previous, at - RECORD_ROOM);
                }
                if kind == 1 {
                    let driver = memory.text("\\Driver\\svc0");
                    memory.put(at + layout.driver, driver);
                } else if state != 1 {
                    let (block, command) = (at + 0x800, memory.text("C:\\svchost.exe -k x"));
                    memory.put(at + layout.process, block).put(block + layout.command, command).put(block + layout.pid, 0x400);
                }
            }
            memory.put(MARK.0 + HEADER_RECORD, FIRST + 2 * RECORD_ROOM);
            memory
        }
        /// Four bytes at a time where a field of four bytes follows another one.
        fn put(&mut self, at: u64, value: u64) -> &mut Self {
            let length = if value >> 32 == 0 { 4 } else { 8 };
            self.bytes[at as usize..at as usize + length].copy_from_slice(&value.to_le_bytes()[..length]);
            self
        }
        /// Texts lie so that some of them cross pages.
        fn text(&mut self, text: &str) -> u64 {
            let at = self.texts;
            let bytes: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
            self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
            self.texts += PAGE_SIZE - 8;
            at
        }
        fn found(self, build: u32) -> Found {
            let tags: Vec<_> = (0..4).filter_map(|number| Some(VirtAddr(FIRST + number * RECORD_ROOM + self.layout.tag?))).collect();
            let image = Image::open_bytes("services", Box::leak(self.bytes.into_boxed_slice())).unwrap();
            let space = AddressSpace::new(Arc::new(image), PhysAddr(0), Levels::None, Arc::new(NoPages));
            records(&space, build, &[VirtAddr(0x9000), MARK], &tags)
        }
    }

    fn told(found: &Found) -> Vec<String> {
        let row = |row: &Service| {
            let (binary, pid) = (row.binary.value().map_or("-", String::as_str), row.pid.value().copied().unwrap_or_default());
            format!("{} {} {} {} {binary} {pid}", row.order, row.name, row.r#type, row.state)
        };
        found.rows.iter().map(row).collect()
    }

    #[test]
    fn records_of_every_layout_are_read() {
        for layout in &LAYOUTS {
            let mut expected = vec![
                "3 svc2 SERVICE_WIN32_OWN_PROCESS|SERVICE_INTERACTIVE_PROCESS SERVICE_STOPPED - 0",
                "2 svc1 SERVICE_WIN32_SHARE_PROCESS SERVICE_RUNNING C:\\svchost.exe -k x 1024",
                "1 svc0 SERVICE_KERNEL_DRIVER SERVICE_RUNNING \\Driver\\svc0 0",
            ];
            if layout.tag.is_some() {
                expected.push("4 svc3 SERVICE_WIN32_OWN_PROCESS SERVICE_PAUSED C:\\svchost.exe -k x 1024");
            }
            let found = Memory::of(layout).found(layout.build);
            assert_eq!(told(&found), expected, "{}", layout.build);
            assert!(found.trouble.is_empty() && found.rows.iter().all(|row| row.display_name.value().is_some()));
            // A build that says it is another one.
            let other = if layout.build < 18362 { 26100 } else { 7601 };
            let found = Memory::of(layout).found(other);
            assert_eq!(told(&found), expected, "{} as {other}", layout.build);
            assert_eq!(found.trouble.len(), 1);
        }
    }

    #[test]
    fn a_record_that_the_list_goes_past_was_taken_out_of_it() {
        let layout = &LAYOUTS[5];
        let hidden = |order: u64| {
            let mut memory = Memory::of(layout);
            // The last record's handle comes first, and it leads into the list.
            let last = FIRST + 3 * RECORD_ROOM;
            memory.put(last + layout.previous, FIRST).put(0x9000 + HEADER_RECORD, last);
            memory.put(FIRST + 2 * RECORD_ROOM + layout.order, 9).put(FIRST + RECORD_ROOM + layout.order, 4);
            memory.bytes[(last + layout.order) as usize] = order as u8;
            let found = memory.found(19045);
            assert_eq!(found.rows.len(), 4);
            let rows = found.rows.iter().filter(|row| row.listed == Known::Value(false));
            rows.map(|row| (row.name.clone(), row.sources.clone())).collect::<Vec<_>>()
        };
        assert_eq!(hidden(3), [("svc3".to_owned(), vec!["handle"])]);
        assert_eq!(hidden(6), [("svc3".to_owned(), vec!["handle"])]);
        assert_eq!(hidden(10), [], "newer than all that the list has");
    }

    #[test]
    fn lists_that_break_or_lead_back_end() {
        let layout = &LAYOUTS[5];
        let first = |offset: u64| FIRST + offset;
        let mut ring = Memory::of(layout);
        ring.put(first(layout.previous), FIRST + 2 * RECORD_ROOM);
        assert_eq!(ring.found(19045).rows.len(), 3, "a ring");
        let broken: [(u64, u64); 7] = [
            (layout.name, 0),
            (layout.name, 0x1f_fff8),
            (layout.name, u64::MAX),
            (layout.order, 0),
            (layout.kind, 0x400),
            (layout.kind, 1 | 8 << 32),
            (layout.start, 5),
        ];
        for (field, value) in broken {
            let mut memory = Memory::of(layout);
            memory.bytes[0x1f_fff8..].fill(b'x');
            memory.put(first(field), value);
            let found = memory.found(19045);
            assert_eq!((found.rows.len(), found.trouble.len()), (2, 1), "{field} {value:#x}");
        }
        let mut no_process = Memory::of(layout);
        no_process.put(FIRST + RECORD_ROOM + layout.process, 0x7fff_0000_0000);
        let found = no_process.found(19045);
        assert!(matches!(found.rows[1].pid, Known::Unreadable(_)), "a row without its process is still a row");
    }
}
