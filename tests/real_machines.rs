//! What real machines add to memory, and damage that is aimed: built into the bundled Windows image, whose tables say what is true.
#![allow(clippy::unwrap_used)]

mod windows_image;

use kioku::engine::{Options, Search, Session, Space};
use kioku::facts::{Answer, Cell, Holds, Process, Scope, Sighting};
use std::sync::Arc;
use windows_image::*;

const KERNEL: Space = Space::Kernel;
const NOTHING: [&str; 0] = [];
/// What a torn-down entry was seen to hold on a real machine: nothing forwards, an address of a process backwards.
const TORN: [u64; 2] = [0, 0x7ff6_1234_5678];
const MOST: u64 = u32::MAX as u64;

/// The links of a list, its head left out.
fn ring(image: &mut Image, head: u64) -> Vec<u64> {
    let mut links = vec![head];
    loop {
        match image.get(*links.last().unwrap(), "_LIST_ENTRY.Flink") {
            end if end == head => return links.split_off(1),
            next => links.push(next),
        }
    }
}

fn link(image: &mut Image, at: u64, [forth, back]: [u64; 2]) {
    image.set(at, "_LIST_ENTRY.Flink", forth);
    image.set(at, "_LIST_ENTRY.Blink", back);
}

/// Lists of the kernel: the table that shows one, its head, and an entry's structure and links.
fn lists() -> [(&'static str, u64, &'static str, u64); 3] {
    let links = |field: &str| offset_of(&format!("{field}.Flink"));
    [
        ("processes", symbol("PsActiveProcessHead"), "_EPROCESS", links("_EPROCESS.ActiveProcessLinks")),
        ("modules", symbol("PsLoadedModuleList"), "_KLDR_DATA_TABLE_ENTRY", links("_KLDR_DATA_TABLE_ENTRY.InLoadOrderLinks")),
        ("threads", process(4) + links("_EPROCESS.ThreadListHead"), "_ETHREAD", links("_ETHREAD.ThreadListEntry")),
    ]
}

/// Addresses in a column of a table, those of the kernel.
fn objects(table: &str, column: &str) -> Vec<u64> {
    let rows = rows(&WHOLE, table);
    let column = rows.table().column(column).unwrap();
    let cells = (0..rows.len()).map(|row| rows.cell(row, column));
    cells.filter_map(|cell| if let Cell::Hex(at) = cell { Some(at).filter(|at| at >> 47 != 0) } else { None }).collect()
}

/// Processes with all that a program has, and their spaces.
fn living() -> impl Iterator<Item = (u64, Space)> {
    let processes = WHOLE.rows::<Process>(Scope::Machine).unwrap();
    let living = processes.iter().filter(|row| row.command_line.value().is_some());
    let living: Vec<_> = living.map(|row| *row.address.value().unwrap()).map(|at| (at.0, Space::Process(at))).collect();
    living.into_iter()
}

fn noted(session: &Session, table: &str, words: &str) {
    let rows = rows(session, table);
    assert!(rows.notes().iter().any(|note| note.contains(words)), "{table}: no {words:?} in {:?}", rows.notes());
}

#[test]
fn lists_that_are_torn_in_the_middle_lose_nothing_and_gain_nothing() {
    for emptied in [false, true] {
        let mut image = Image::new();
        for (table, head, _, links) in lists() {
            let entries = ring(&mut image, head);
            let middle = entries.len() / 2;
            if !emptied {
                link(&mut image, entries[middle], TORN);
                continue;
            }
            // Between two entries one of which hardly anything is left.
            let object = image.fresh(2);
            link(&mut image, object + links, TORN);
            image.set(entries[middle], "_LIST_ENTRY.Flink", object + links);
            image.set(entries[middle + 1], "_LIST_ENTRY.Blink", object + links);
            if table == "processes" {
                image.set(object, "_EPROCESS.UniqueProcessId", 4096);
            }
        }
        let (session, _folder) = image.open();
        assert_eq!(faults(&session, &[]), NOTHING);
        noted(&session, "processes", "the list of active processes is broken");
        noted(&session, "handles", "the list of active processes is broken");
        noted(&session, "modules", "the list of loaded modules is broken");
        noted(&session, "threads", "threads of System 4 may be missing");
    }
}

#[test]
fn a_list_that_leads_to_an_older_object_gives_the_object_once() {
    let mut image = Image::new();
    for (_, head, structure, links) in &lists()[..2] {
        let entries = ring(&mut image, *head);
        let middle = entries.len() / 2;
        let older = image.copied(entries[middle] - links, size_of(structure));
        image.set(entries[middle - 1], "_LIST_ENTRY.Flink", older + links);
    }
    let (session, _folder) = image.open();
    assert_eq!(faults(&session, &[]), NOTHING);
    noted(&session, "processes", "1 copies of process objects are left out");
}

#[test]
fn a_torn_list_and_a_missing_header_do_not_keep_a_kernel_from_being_read() {
    let base = WHOLE.info().kernel_base.0;
    let mut image = Image::new();
    image.unmap(KERNEL, base, Gone::Unmapped);
    let entries = ring(&mut image, symbol("PsActiveProcessHead"));
    link(&mut image, entries[entries.len() / 2], TORN);
    let (session, _folder) = image.open();
    assert_eq!(session.info().kernel_base.0, base);
    assert_eq!(faults_of(&session, "processes", 0), NOTHING);

    // A PDB that nobody knows: the layouts are those of the nearest build, if they prove right.
    let mut image = Image::new();
    link(&mut image, entries[entries.len() / 2], TORN);
    let record = image.read(KERNEL, base, 16 * PAGE).windows(4).position(|word| word == b"RSDS").unwrap() as u64;
    image.write(KERNEL, base + record + 4, &[0x5a; 4]);
    let (session, _folder) = image.open();
    assert!(session.info().symbol_source.starts_with("nearest: layout of 10.0.19041"), "{}", session.info().symbol_source);
    assert_eq!(faults_of(&session, "processes", 0), NOTHING);
}

/// Pages of the kernel in which things of different processes lie, and such pages of processes.
fn victims(image: &mut Image) -> Vec<(Space, u64)> {
    let mut processes = living().skip(6);
    let mut next = || processes.next().unwrap();
    let mut victims = vec![(KERNEL, next().0)];
    let table = image.get(next().0, "_EPROCESS.ObjectTable");
    victims.push((KERNEL, image.get(table, "_HANDLE_TABLE.TableCode") & !7));
    victims.push((KERNEL, image.get(next().0, "_EPROCESS.VadRoot.Root")));
    victims.push((KERNEL, image.get(next().0, "_EPROCESS.Token.Value") & !15));
    victims.push((KERNEL, image.get(next().0, "_EPROCESS.ThreadListHead.Flink")));
    for field in ["", "_PEB.Ldr", "_PEB.ProcessParameters"] {
        let (process, space) = next();
        let peb = image.get(process, "_EPROCESS.Peb");
        victims.push((space, if field.is_empty() { peb } else { image.get_in(space, peb, field) }));
    }
    victims
}

#[test]
fn what_is_paged_out_is_read_from_the_page_file_or_said_to_be_missing() {
    let mut image = Image::new();
    let victims = victims(&mut image);
    let mut on_its_way = image.clone();
    let mut pagefile = vec![0; PAGE];
    for (page, (space, at)) in (1..).zip(&victims) {
        on_its_way.unmap(*space, *at, Gone::Transition);
        let frame = image.physical(*space, *at) & !(PAGE as u64 - 1);
        pagefile.extend(image.read(Space::Physical, frame, PAGE));
        // The frame is used for something else.
        image.unmap(*space, *at, Gone::Pagefile(page));
        image.write(Space::Physical, frame, &[0xcc; PAGE]);
    }
    let (session, _folder) = on_its_way.open();
    assert_eq!(faults(&session, &[]), NOTHING, "in transition");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pagefile.sys");
    std::fs::write(&path, pagefile).unwrap();
    let (session, _folder) = open_with(&image.pages, &Options { pagefiles: vec![path], ..Options::default() });
    assert_eq!(faults(&session, &[]), NOTHING, "in the page file");
    // Nine pages are not what the kernel has written.
    assert!(session.info().warnings.iter().any(|warning| warning.starts_with("pagefile.sys")), "{:?}", session.info().warnings);

    let (session, _folder) = image.open();
    let lost = [
        ("processes", 1),
        ("pstree", 1),
        ("programs", 1),
        ("sessions", 1),
        ("sockets", 1),
        ("threads", 10),
        ("regions", 90),
        ("environment", 46),
        ("libraries", 27),
        ("handles", 53),
        ("privileges", 52),
        ("sids", 20),
        ("timeline", 80),
    ];
    assert_eq!(faults(&session, &lost), NOTHING, "nowhere");
    for (table, _) in lost {
        noted(
            &session,
            table,
            if table == "sockets" { "cannot be read" } else { "1 entries of the list of active processes cannot be read" },
        );
    }
    for (how, regions) in [(Gone::Unmapped, 90), (Gone::Demand, 90)] {
        let mut image = Image::new();
        victims[1..].iter().for_each(|(space, at)| image.unmap(*space, *at, how));
        let (session, _folder) = image.open();
        let lost = lost.map(|(table, rows)| (table, if table == "regions" { regions } else { rows }));
        assert_eq!(faults(&session, &lost), NOTHING, "{how:?}");
    }
}

#[test]
fn copies_of_objects_are_not_objects() {
    let tables = [
        ("processes", "_EPROCESS"),
        ("threads", "_ETHREAD"),
        ("file_objects", "_FILE_OBJECT"),
        ("drivers", "_DRIVER_OBJECT"),
        ("modules", "_KLDR_DATA_TABLE_ENTRY"),
        ("sockets", "_FILE_OBJECT"),
    ];
    // Older copies of all that the pool holds, in frames that nothing maps.
    let mut image = Image::new();
    let mut pages: Vec<u64> = tables.iter().flat_map(|(table, _)| objects(table, "address")).map(|at| at & !(PAGE as u64 - 1)).collect();
    pages.sort_unstable();
    pages.dedup();
    for page in pages {
        let (bytes, frame) = (image.read(KERNEL, page, PAGE), image.append());
        image.write(Space::Physical, frame, &bytes);
    }
    let (session, _folder) = image.open();
    assert_eq!(faults(&session, &[]), NOTHING, "in frames");

    // The same at other places of the pool, with their headers; and processes that were half written over.
    let mut image = Image::new();
    for (table, structure) in tables {
        // A file that was closed may lie anywhere in the pool.
        for at in objects(table, "address").into_iter().filter(|_| table != "file_objects") {
            image.copied_alike(at - 0x80, size_of(structure) + 0x80);
            if table == "processes" {
                let half = image.copied_alike(at - 0x80, size_of(structure) + 0x80) + size_of(structure) as u64 / 2;
                image.write(KERNEL, half, &[0x41; 0x400]);
            }
        }
    }
    let (session, _folder) = image.open();
    assert_eq!(faults(&session, &[]), NOTHING, "in the pool");
    noted(&session, "sockets", "older copies of sockets that are here");
}

#[test]
fn headers_of_the_pool_that_are_garbage_cost_no_listed_object() {
    let mut image = Image::new();
    for (table, _, structure, _) in &lists()[..2] {
        for at in objects(table, "address") {
            let before = if *structure == "_EPROCESS" { 0x80 } else { 0x10 };
            image.write(KERNEL, at - before, &[0x5a; 0x10]);
        }
    }
    let (session, _folder) = image.open();
    assert_eq!(faults(&session, &[]), NOTHING);
}

/// Texts that the kernel and processes keep: a `_UNICODE_STRING` by the object that it is in, and its field.
fn texts(image: &mut Image) -> Vec<(Space, u64, String)> {
    let mut texts = Vec::new();
    // A driver that is on no list is named by its entry alone.
    let hidden = where_is(&*rows(&WHOLE, "modules"), "state", "hidden", "address");
    let listed = |at: &u64| !hidden.contains(&format!("{at:#x}"));
    for (table, field) in [
        ("modules", "_KLDR_DATA_TABLE_ENTRY.BaseDllName"),
        ("modules", "_KLDR_DATA_TABLE_ENTRY.FullDllName"),
        ("drivers", "_DRIVER_OBJECT.DriverName"),
        ("file_objects", "_FILE_OBJECT.FileName"),
        ("symlinks", "_OBJECT_SYMBOLIC_LINK.LinkTarget"),
    ] {
        texts.extend(objects(table, "address").into_iter().filter(listed).skip(1).step_by(3).map(|at| (KERNEL, at, field.to_owned())));
    }
    for table in ["mutants", "drivers", "symlinks"] {
        for header in objects(table, "address").into_iter().step_by(3).map(|at| at - offset_of("_OBJECT_HEADER.Body")) {
            // The name stands right before the header, unless the creator does.
            if image.get(header, "_OBJECT_HEADER.InfoMask") & 3 == 2 {
                let name = header - size_of("_OBJECT_HEADER_NAME_INFO") as u64;
                texts.push((KERNEL, name, "_OBJECT_HEADER_NAME_INFO.Name".to_owned()));
            }
        }
    }
    for (index, (process, space)) in living().enumerate().step_by(2) {
        let name = image.get(process, "_EPROCESS.SeAuditProcessCreationInfo.ImageFileName");
        texts.push((KERNEL, name, "_OBJECT_NAME_INFORMATION.Name".to_owned()));
        let peb = image.get(process, "_EPROCESS.Peb");
        let parameters = image.get_in(space, peb, "_PEB.ProcessParameters");
        texts.push((space, parameters, "_RTL_USER_PROCESS_PARAMETERS.CommandLine".to_owned()));
        let loader = image.get_in(space, peb, "_PEB.Ldr");
        let mut entry = image.get_in(space, loader, "_PEB_LDR_DATA.InLoadOrderModuleList.Flink");
        (0..index % 5).for_each(|_| entry = image.get_in(space, entry, "_LDR_DATA_TABLE_ENTRY.InLoadOrderLinks.Flink"));
        texts.extend(["BaseDllName", "FullDllName"].map(|field| (space, entry, format!("_LDR_DATA_TABLE_ENTRY.{field}"))));
    }
    texts
}

#[test]
fn lengths_that_lie_make_no_names() {
    // Length and room: more than there is text, odd, and as much as can be; what lies about its room alone is read.
    for (length, room) in [(Some(0xfffe), None), (Some(0xfffe), Some(0xffff)), (Some(0x1f), None), (None, Some(0))] {
        let mut image = Image::new();
        for (space, object, field) in texts(&mut image) {
            for (part, value) in [("Length", length), ("MaximumLength", room)] {
                value.into_iter().for_each(|value| image.set_in(space, object, &format!("{field}.{part}"), value));
            }
        }
        let (session, _folder) = image.open();
        assert_eq!(faults(&session, &[]), NOTHING, "{length:x?} {room:x?}");
    }
    // Texts of 64 KiB are possible, and all that can be said of them is that they are there.
    let mut image = Image::new();
    let letters = image.fresh(16);
    image.write(KERNEL, letters, &b"A\0".repeat(8 * PAGE));
    for (space, object, field) in texts(&mut image) {
        for (part, value) in [("Length", 0xfffe), ("MaximumLength", 0xfffe), ("Buffer", letters)] {
            image.set_in(space, object, &format!("{field}.{part}"), value);
        }
    }
    let (session, _folder) = image.open();
    ask(&session, |entry, rows| {
        let whole = windows_image::rows(&WHOLE, entry.table.name).len();
        assert!(rows.len() <= whole || WEIGHED.contains(&entry.table.name), "{}", entry.table.name);
    });
}

#[test]
fn counts_and_circles_have_an_end_and_give_no_rows() {
    let mut image = Image::new();
    let mut processes = living();
    let mut next = || processes.next().unwrap();
    image.set(next().0, "_EPROCESS.ActiveThreads", MOST);
    image.set(next().0, "_EPROCESS.VadCount", MOST);
    for count in [MOST, 4000] {
        let token = image.get(next().0, "_EPROCESS.Token.Value") & !15;
        image.set(token, "_TOKEN.UserAndGroupCount", count);
    }
    let token = image.get(next().0, "_EPROCESS.Token.Value") & !15;
    image.set(token, "_TOKEN.Privileges.Present", u64::MAX);
    // A level that does not exist, one that is not there, and a page that is its own table.
    let page = image.fresh(1);
    image.write(KERNEL, page, &page.to_le_bytes().repeat(512));
    for code in [3, 2, page | 1, page | 2] {
        let table = image.get(next().0, "_EPROCESS.ObjectTable");
        let own = image.get(table, "_HANDLE_TABLE.TableCode") & !7;
        image.set(table, "_HANDLE_TABLE.TableCode", if code < 8 { own | code } else { code });
        image.set(table, "_HANDLE_TABLE.NextHandleNeedingPool", MOST);
    }
    // A node below itself, one above its root, one with another parent, and one on both sides.
    for kind in 0..4 {
        let root = image.get(next().0, "_EPROCESS.VadRoot.Root");
        let left = image.get(root, "_RTL_BALANCED_NODE.Left");
        match kind {
            0 => image.set(root, "_RTL_BALANCED_NODE.Left", root),
            1 => image.set(left, "_RTL_BALANCED_NODE.Left", root),
            2 => image.set(left, "_RTL_BALANCED_NODE.ParentValue", left),
            _ => image.set(root, "_RTL_BALANCED_NODE.Right", left),
        }
    }
    let thread = image.get(next().0, "_EPROCESS.ThreadListHead.Flink");
    link(&mut image, thread, [thread, thread]);
    let (process, space) = next();
    let peb = image.get(process, "_EPROCESS.Peb");
    let loader = image.get_in(space, peb, "_PEB.Ldr");
    for list in ["InLoadOrder", "InMemoryOrder", "InInitializationOrder"] {
        for direction in ["Flink", "Blink"] {
            let end = image.get_in(space, loader, &format!("_PEB_LDR_DATA.{list}ModuleList.{direction}"));
            image.set_in(space, end, &format!("_LIST_ENTRY.{direction}"), end);
        }
    }
    let (process, space) = next();
    let peb = image.get(process, "_EPROCESS.Peb");
    let parameters = image.get_in(space, peb, "_PEB.ProcessParameters");
    image.set_in(space, parameters, "_RTL_USER_PROCESS_PARAMETERS.EnvironmentSize", u64::MAX);
    for driver in objects("devices", "driver_address").into_iter().take(2) {
        let device = image.get(driver, "_DRIVER_OBJECT.DeviceObject");
        image.set(device, "_DEVICE_OBJECT.NextDevice", device);
        image.set(device, "_DEVICE_OBJECT.AttachedDevice", device);
    }
    for (_, head, ..) in &lists()[..2] {
        let entries = ring(&mut image, *head);
        let (early, late) = (entries[entries.len() / 2], entries[entries.len() / 2 + 3]);
        image.set(late, "_LIST_ENTRY.Flink", early);
        image.set(early, "_LIST_ENTRY.Blink", late);
    }
    let (session, _folder) = image.open();
    assert_eq!(faults(&session, &[("regions", 60), ("handles", 140), ("privileges", 40), ("timeline", 20)]), NOTHING);
    noted(&session, "sids", "implausible number of SIDs");
    noted(&session, "privileges", "implausible privileges");
    noted(&session, "regions", "implausible VAD tree");
    noted(&session, "handles", "implausible handle table");
    noted(&session, "libraries", "implausible loader list");
    noted(&session, "timeline", "implausible loader list");
    noted(&session, "threads", "implausible thread list");
}

/// Structures that tables are made of, each with the places of some.
fn structures(image: &mut Image) -> Vec<(&'static str, Vec<(Space, u64)>)> {
    let of_kernel = |table: &str, skip| objects(table, "address").into_iter().skip(skip).map(|at| (KERNEL, at)).collect::<Vec<_>>();
    let mut of_processes: [Vec<(Space, u64)>; 5] = Default::default();
    for (process, space) in living() {
        let peb = image.get(process, "_EPROCESS.Peb");
        let loader = image.get_in(space, peb, "_PEB.Ldr");
        let found = [
            (KERNEL, process),
            (KERNEL, image.get(process, "_EPROCESS.Token.Value") & !15),
            (KERNEL, image.get(process, "_EPROCESS.ObjectTable")),
            (space, image.get_in(space, peb, "_PEB.ProcessParameters")),
            (space, image.get_in(space, loader, "_PEB_LDR_DATA.InLoadOrderModuleList.Flink")),
        ];
        of_processes.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
    }
    let [processes, tokens, tables, parameters, modules] = of_processes;
    vec![
        ("_EPROCESS", processes),
        ("_TOKEN", tokens),
        ("_HANDLE_TABLE", tables),
        ("_RTL_USER_PROCESS_PARAMETERS", parameters),
        ("_LDR_DATA_TABLE_ENTRY", modules),
        ("_ETHREAD", of_kernel("threads", 100)),
        ("_KLDR_DATA_TABLE_ENTRY", of_kernel("modules", 2)),
        ("_FILE_OBJECT", of_kernel("file_objects", 20)),
        ("_DRIVER_OBJECT", of_kernel("drivers", 0)),
        ("_DEVICE_OBJECT", of_kernel("devices", 0)),
        ("_KMUTANT", of_kernel("mutants", 0)),
        ("_MMVAD_SHORT", of_kernel("regions", 300)),
    ]
}

/// Of these any value may be true: times of the past, and sets of flags.
const ANYTHING: &[&str] = &["Time", "Flags", "Characteristics", "Abandoned", "AbEnabled", "Spare"];

#[test]
fn no_field_of_ones_is_taken_for_the_truth() {
    let whole = Image::new();
    let mut structures: Vec<_> = structures(&mut whole.clone()).into_iter().map(|(name, places)| (places, ones(name))).collect();
    while structures.iter().any(|(_, fields)| !fields.is_empty()) {
        let mut image = whole.clone();
        // Each has another field damaged.
        for (places, fields) in &mut structures {
            let some = fields.split_off(fields.len().saturating_sub(places.len()));
            for ((space, at), (offset, size)) in places.iter().zip(some) {
                image.write(*space, at + offset, &vec![0xff; size]);
            }
        }
        let (session, _folder) = image.open();
        ask(&session, |entry, rows| {
            if !WEIGHED.contains(&entry.table.name) {
                assert_eq!(untrue(entry, &*rows), NOTHING);
            }
        });
    }
}

/// The fields of a structure that can be damaged, each once, by offset and size.
fn ones(structure: &str) -> Vec<(u64, usize)> {
    let anything = |name: &str| ANYTHING.iter().any(|word| name.contains(word));
    let fields = WHOLE.structure(structure).unwrap().fields;
    let flagged: Vec<_> = fields.iter().filter(|field| anything(&field.name)).map(|field| field.offset).collect();
    let plain = fields.iter().filter(|field| field.holds != Holds::Fields && !flagged.contains(&field.offset) && field.size <= 8);
    let mut places: Vec<_> = plain.map(|field| (u64::from(field.offset), field.size as usize)).collect();
    places.dedup();
    places
}

#[test]
fn symbols_that_are_not_the_kernels_do_not_stand_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    for guid in ["00000000000000000000000000000001", "84A84F4D2218BC053913B1204942618D"] {
        let path = folder.path().join("symbols.json");
        let pdb = format!(r#"{{"GUID": "{guid}", "age": 1, "database": "ntkrnlmp.pdb", "machine_type": 34404}}"#);
        let r#type =
            r#"{"size": 8, "kind": "struct", "fields": {"UniqueProcessId": {"type": {"kind": "base", "name": "int"}, "offset": 0}}}"#;
        let isf = format!(
            r#"{{"metadata": {{"windows": {{"pdb": {pdb}}}}}, "base_types": {{"int": {{"size": 4, "signed": true, "kind": "int", "endian": "little"}}}},
            "user_types": {{"_EPROCESS": {type}}}, "enums": {{}}, "symbols": {{"PsInitialSystemProcess": {{"address": 64}}}}}}"#
        );
        std::fs::write(&path, isf).unwrap();
        let (session, _folder) = open_with(&PAGES, &Options { symbols: vec![path], ..Options::default() });
        let info = session.info();
        assert!(info.symbol_source.starts_with("exact: packed profile of 10.0.19041.1706"), "{}", info.symbol_source);
        assert!(info.warnings.iter().any(|warning| warning.contains("--symbols")), "{:?}", info.warnings);
        assert_eq!(faults_of(&session, "processes", 0), NOTHING);
    }
}

/// A note that an editor has mapped, whose pages the cache has as well.
fn note_in(session: &Session) -> Sighting {
    let search = Search::new(&["buy milk; call the lab".to_owned()], false, Space::Physical, 1000).unwrap();
    let rows = session.search(&search, &Arc::default(), &mut |_| ()).unwrap();
    rows.as_any().downcast_ref::<Answer<Sighting>>().unwrap().iter().next().unwrap().clone()
}

#[test]
fn a_page_of_a_file_that_no_process_maps_has_the_name_of_the_file() {
    let mapped = note_in(&WHOLE);
    let (process, at, frame) =
        (mapped.process_address.value().unwrap(), mapped.address.value().unwrap(), mapped.physical_address.value().unwrap());
    let (_, view) = mapped.also[0].split_once(" 0x").unwrap();
    let view = u64::from_str_radix(view, 16).unwrap();
    let told = |image: &Image| {
        let (session, _folder) = image.open();
        let hit = note_in(&session);
        assert_eq!(hit.physical_address.value(), Some(frame));
        (*hit.kind.value().unwrap(), hit.address.value().map(|at| at.0), hit.file.value().cloned())
    };
    let path = Some("\\Device\\HarddiskVolume3\\Users\\mara\\Desktop\\todo.txt".to_owned());
    let mut image = Image::new();
    let (place, _) = image.entry(Space::Process(*process), at.0);
    // Never touched; were it zero, the region would lead to the page.
    image.put_word(place, 4 << 5);
    assert_eq!(told(&image), ("page_cache", Some(view), path.clone()));
    let mut alone = image.clone();
    alone.unmap(KERNEL, view, Gone::Unmapped);
    assert_eq!(told(&alone), ("page_cache", None, path));

    // The frame is used for something else by now.
    let database = image.read(KERNEL, symbol("MmPfnDatabase"), 8);
    let entry = u64::from_le_bytes(database.try_into().unwrap()) + frame.0 / PAGE as u64 * size_of("_MMPFN") as u64;
    let mut reused = image.clone();
    reused.set(entry, "_MMPFN.PteAddress", image.get(entry, "_MMPFN.PteAddress") ^ 1 << 30);
    assert_eq!(told(&reused), ("kernel", Some(view), None));
    // What is left of a section that was freed: its file knows nothing of it.
    let file = objects("file_objects", "address").into_iter().find(|file| {
        let name = image.get(*file, "_FILE_OBJECT.FileName.Buffer");
        let length = image.get(*file, "_FILE_OBJECT.FileName.Length") as usize;
        String::from_utf16_lossy(
            &image.read(KERNEL, name, length).as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect::<Vec<_>>(),
        )
        .ends_with("todo.txt")
    });
    let sections = image.get(file.unwrap(), "_FILE_OBJECT.SectionObjectPointer");
    let area = image.get(sections, "_SECTION_OBJECT_POINTERS.DataSectionObject");
    image.set(area, "_CONTROL_AREA.FilePointer", 0);
    assert_eq!(told(&image), ("kernel", Some(view), None));
}
