//! What real machines add to memory, and damage that is aimed: built into the bundled Windows image, whose tables say what is true.
#![allow(clippy::unwrap_used)]

mod windows_image;

use kioku::address::VirtAddr;
use kioku::engine::{Options, Space};
use kioku::facts::{Cell, Process, Scope};
use windows_image::*;

const KERNEL: Space = Space::Kernel;
/// What a torn-down entry was seen to hold on a real machine: nothing forwards, an address of a process backwards.
const TORN: [u64; 2] = [0, 0x7ff6_1234_5678];

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

/// Puts an entry between two others, which leads nowhere itself.
fn ghost(image: &mut Image, [before, after]: [u64; 2], entry: u64) {
    link(image, entry, TORN);
    image.set(before, "_LIST_ENTRY.Flink", entry);
    image.set(after, "_LIST_ENTRY.Blink", entry);
}

/// The lists of the kernel: a symbol or an object with its head, an entry's structure and its links.
fn lists() -> [(u64, &'static str, &'static str); 3] {
    [
        (symbol("PsActiveProcessHead"), "_EPROCESS", "ActiveProcessLinks"),
        (symbol("PsLoadedModuleList"), "_KLDR_DATA_TABLE_ENTRY", "InLoadOrderLinks"),
        (process(4) + offset_of("_EPROCESS.ThreadListHead.Flink"), "_ETHREAD", "ThreadListEntry"),
    ]
}

#[test]
fn lists_that_are_torn_in_the_middle_lose_nothing_and_gain_nothing() {
    for whole_object in [true, false] {
        let mut image = Image::new();
        for (head, structure, links) in lists() {
            let offset = offset_of(&format!("{structure}.{links}.Flink"));
            let entries = ring(&mut image, head);
            let middle = entries.len() / 2;
            if whole_object {
                link(&mut image, entries[middle], TORN);
            } else {
                let object = image.fresh(2);
                if structure == "_EPROCESS" {
                    image.set(object, "_EPROCESS.UniqueProcessId", 4096);
                }
                ghost(&mut image, [entries[middle], entries[middle + 1]], object + offset);
            }
        }
        let (session, _folder) = image.open();
        assert_eq!(faults(&session, &[]), [""; 0], "{whole_object}");
        for table in ["processes", "modules", "threads"] {
            println!("{:?}", rows(&session, table).notes());
        }
        println!("{:?}", session.info().warnings);
    }
}

/// Gives the kernel a PDB that nobody knows: its layouts are then those of the nearest build, proved on the image.
fn unknown(image: &mut Image) {
    let base = WHOLE.info().kernel_base.0;
    let pages: Vec<u64> = (base..).step_by(PAGE).take(16).filter(|at| WHOLE.read(KERNEL, *at, 1).unwrap().get(0).is_some()).collect();
    let record = pages.into_iter().find_map(|at| Some(at + image.read(KERNEL, at, PAGE).windows(4).position(|word| word == b"RSDS")? as u64));
    image.write(KERNEL, record.unwrap() + 4, &[0x5a; 4]);
}

#[test]
fn a_torn_list_does_not_keep_an_unknown_kernel_from_being_read() {
    let mut image = Image::new();
    unknown(&mut image);
    let head = symbol("PsActiveProcessHead");
    let entries = ring(&mut image, head);
    link(&mut image, entries[entries.len() / 2], TORN);
    let (session, _folder) = image.open();
    assert!(session.info().symbol_source.starts_with("nearest: layout of 10.0.19041"), "{}", session.info().symbol_source);
    assert_eq!(faults_of(&session, "processes", 0), [""; 0]);
}

/// The kernel's pages that things of different processes lie in, and those of processes.
fn victims(image: &mut Image) -> Vec<(Space, u64)> {
    let mut processes = WHOLE.rows::<Process>(Scope::Machine).unwrap().iter().filter_map(|row| {
        Some((row.address.value()?.0, row.command_line.value()?)).map(|found| found.0)
    }).collect::<Vec<_>>().into_iter().skip(6);
    let mut next = || processes.next().unwrap();
    let space = |process| Space::Process(VirtAddr(process));
    let peb = |image: &mut Image, process| image.get(process, "_EPROCESS.Peb");
    let mut victims = vec![(KERNEL, next())];
    let process = next();
    let table = image.get(process, "_EPROCESS.ObjectTable");
    victims.push((KERNEL, image.get(table, "_HANDLE_TABLE.TableCode") & !7));
    victims.push((KERNEL, image.get(next(), "_EPROCESS.VadRoot.Root")));
    victims.push((KERNEL, image.get(next(), "_EPROCESS.Token.Value") & !15));
    victims.push((KERNEL, image.get(next(), "_EPROCESS.ThreadListHead.Flink")));
    let process = next();
    victims.push((space(process), peb(image, process)));
    let process = next();
    let at = peb(image, process);
    let loader = image.get_in(space(process), at, "_PEB.Ldr");
    victims.push((space(process), image.get_in(space(process), loader, "_PEB_LDR_DATA.InLoadOrderModuleList.Flink")));
    let process = next();
    let at = peb(image, process);
    victims.push((space(process), image.get_in(space(process), at, "_PEB.ProcessParameters")));
    victims
}

#[test]
fn what_is_paged_out_is_read_from_the_page_file_or_said_to_be_missing() {
    let mut image = Image::new();
    let victims = victims(&mut image);
    let mut pagefile = vec![0; PAGE];
    let mut on_its_way = image.clone();
    for (index, (space, at)) in victims.iter().enumerate() {
        on_its_way.unmap(*space, *at, Gone::Transition);
        let physical = image.physical(*space, *at) / PAGE as u64 * PAGE as u64;
        pagefile.extend(image.read(Space::Physical, physical, PAGE));
        // The frame is used for something else.
        image.unmap(*space, *at, Gone::Pagefile(index as u64 + 1));
        image.write(Space::Physical, physical, &[0xcc; PAGE]);
    }
    let (session, _folder) = on_its_way.open();
    println!("{:#?}", faults(&session, &[]).iter().take(12).collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pagefile.sys");
    std::fs::write(&path, pagefile).unwrap();
    let (session, _folder) = open_with(&image.pages, &Options { pagefiles: vec![path], ..Options::default() });
    println!("{:#?}", faults(&session, &[]).iter().take(12).collect::<Vec<_>>());
    let (session, _folder) = image.open();
    println!("{:#?}", faults(&session, &[]).iter().take(12).collect::<Vec<_>>());
}

#[test]
fn copies_of_objects_are_not_objects() {
    let mut image = Image::new();
    // Older copies of all pages of the pool, in frames that nothing maps, and live processes and sockets once more in the pool.
    let mut seen = std::collections::HashSet::new();
    let mut objects = Vec::new();
    for (table, structure) in [("processes", "_EPROCESS"), ("threads", "_ETHREAD"), ("file_objects", "_FILE_OBJECT"), ("mutants", "_KMUTANT"), ("symlinks", "_OBJECT_SYMBOLIC_LINK"), ("drivers", "_DRIVER_OBJECT"), ("devices", "_DEVICE_OBJECT"), ("modules", "_KLDR_DATA_TABLE_ENTRY"), ("sockets", "_KTHREAD")] {
        let rows = rows(&WHOLE, table);
        let column = rows.table().column("address").unwrap();
        for row in 0..rows.len() {
            if let Cell::Hex(at) = rows.cell(row, column) && at >> 47 != 0 {
                objects.push((table, at, size_of(structure)));
            }
        }
    }
    for (_, at, size) in &objects {
        for page in (at & !0xfff..at + *size as u64).step_by(PAGE) {
            if seen.insert(page) && WHOLE.read(KERNEL, page, 1).unwrap().get(0).is_some() {
                let bytes = image.read(KERNEL, page, PAGE);
                let frame = image.append();
                image.write(Space::Physical, frame, &bytes);
            }
        }
    }
    println!("{} pages", seen.len());
    let (session, _folder) = image.open();
    println!("{:#?}", faults(&session, &[]).iter().take(12).collect::<Vec<_>>());
    let mut image = Image::new();
    for (table, at, size) in objects {
        if ["processes", "sockets", "modules"].contains(&table) {
            // With its pool header and what may stand between.
            image.copied_alike(at - 0x80, size + 0x80);
        }
    }
    let (session, _folder) = image.open();
    println!("{:#?}", faults(&session, &[]).iter().take(12).collect::<Vec<_>>());
}

#[test]
fn a_list_that_leads_to_an_older_object_gives_the_object_once() {
    let mut image = Image::new();
    for (head, structure, links) in &lists()[..2] {
        let offset = offset_of(&format!("{structure}.{links}.Flink"));
        let entries = ring(&mut image, *head);
        let middle = entries.len() / 2;
        let object = entries[middle] - offset;
        let older = image.copied(object - 0x80, size_of(structure) + 0x80) + 0x80;
        image.set(entries[middle - 1], "_LIST_ENTRY.Flink", older + offset);
    }
    let (session, _folder) = image.open();
    println!("{:#?}", faults(&session, &[]).iter().take(12).collect::<Vec<_>>());
    println!("{:#?}", rows(&session, "processes").notes());
}

/// Texts that the kernel keeps: an object with a `_UNICODE_STRING` in it, by its field.
fn texts(image: &mut Image) -> Vec<(Space, u64, String)> {
    let mut texts = Vec::new();
    let mut of = |table: &str, fields: &[&str]| {
        let rows = rows(&WHOLE, table);
        let column = rows.table().column("address").unwrap();
        for row in (0..rows.len()).filter(|row| row % 3 == 1) {
            if let Cell::Hex(at) = rows.cell(row, column) {
                texts.extend(fields.iter().map(|field| (KERNEL, at, (*field).to_owned())));
            }
        }
    };
    of("modules", &["_KLDR_DATA_TABLE_ENTRY.BaseDllName", "_KLDR_DATA_TABLE_ENTRY.FullDllName"]);
    of("drivers", &["_DRIVER_OBJECT.DriverName"]);
    of("file_objects", &["_FILE_OBJECT.FileName"]);
    of("symlinks", &["_OBJECT_SYMBOLIC_LINK.LinkTarget"]);
    for name in ["mutants", "drivers", "symlinks"] {
        let rows = rows(&WHOLE, name);
        let column = rows.table().column("address").unwrap();
        let header = offset_of("_OBJECT_HEADER.Body");
        for row in (0..rows.len()).filter(|row| row % 3 == 0) {
            if let Cell::Hex(at) = rows.cell(row, column)
                && image.get(at - header, "_OBJECT_HEADER.InfoMask") & 3 == 2
            {
                texts.push((KERNEL, at - header - size_of("_OBJECT_HEADER_NAME_INFO") as u64, "_OBJECT_HEADER_NAME_INFO.Name".to_owned()));
            }
        }
    }
    for (index, process) in living().into_iter().enumerate().filter(|(index, _)| index % 2 == 0) {
        let space = Space::Process(VirtAddr(process));
        let name = image.get(process, "_EPROCESS.SeAuditProcessCreationInfo.ImageFileName");
        texts.push((KERNEL, name, "_OBJECT_NAME_INFORMATION.Name".to_owned()));
        let peb = image.get(process, "_EPROCESS.Peb");
        let parameters = image.get_in(space, peb, "_PEB.ProcessParameters");
        texts.push((space, parameters, "_RTL_USER_PROCESS_PARAMETERS.CommandLine".to_owned()));
        let loader = image.get_in(space, peb, "_PEB.Ldr");
        let mut entry = image.get_in(space, loader, "_PEB_LDR_DATA.InLoadOrderModuleList.Flink");
        for _ in 0..index % 5 {
            entry = image.get_in(space, entry, "_LDR_DATA_TABLE_ENTRY.InLoadOrderLinks.Flink");
        }
        for field in ["BaseDllName", "FullDllName"] {
            texts.push((space, entry, format!("_LDR_DATA_TABLE_ENTRY.{field}")));
        }
    }
    texts
}

/// Processes with all that a program has.
fn living() -> Vec<u64> {
    let processes = WHOLE.rows::<Process>(Scope::Machine).unwrap();
    let living = processes.iter().filter(|row| row.command_line.value().is_some());
    living.map(|row| row.address.value().unwrap().0).collect()
}

#[test]
fn lengths_that_lie_make_no_names() {
    for (length, most) in [(Some(0xfffe), None), (Some(0xfffe), Some(0xffff)), (Some(0x1f), None), (Some(0xffff), Some(0xffff)), (None, Some(0))] {
        let mut image = Image::new();
        let texts = texts(&mut image);
        for (space, object, field) in texts {
            for (part, value) in [("Length", length), ("MaximumLength", most)] {
                if let Some(value) = value {
                    image.set_in(space, object, &format!("{field}.{part}"), value);
                }
            }
        }
        let (session, _folder) = image.open();
        println!("{length:?} {most:?} {:#?}", faults(&session, &[]).iter().take(40).collect::<Vec<_>>());
    }
}

#[test]
fn counts_and_circles() {
    let mut image = Image::new();
    let mut processes = living().into_iter();
    let mut next = || processes.next().unwrap();
    let most = u64::from(u32::MAX);
    // Counts.
    image.set(next(), "_EPROCESS.ActiveThreads", most);
    image.set(next(), "_EPROCESS.VadCount", most);
    let token = |image: &mut Image, process| image.get(process, "_EPROCESS.Token.Value") & !15;
    let at = token(&mut image, next());
    image.set(at, "_TOKEN.UserAndGroupCount", most);
    let at = token(&mut image, next());
    image.set(at, "_TOKEN.UserAndGroupCount", 4000);
    let at = token(&mut image, next());
    image.set(at, "_TOKEN.Privileges.Present", u64::MAX);
    // Handle tables.
    let table = |image: &mut Image, process| image.get(process, "_EPROCESS.ObjectTable");
    let at = table(&mut image, next());
    let code = image.get(at, "_HANDLE_TABLE.TableCode");
    image.set(at, "_HANDLE_TABLE.TableCode", code | 3);
    let at = table(&mut image, next());
    let code = image.get(at, "_HANDLE_TABLE.TableCode") & !7;
    image.set(at, "_HANDLE_TABLE.TableCode", code | 2);
    image.set(at, "_HANDLE_TABLE.NextHandleNeedingPool", most);
    let at = table(&mut image, next());
    let page = image.fresh(1);
    image.write(KERNEL, page, &page.to_le_bytes().repeat(512));
    image.set(at, "_HANDLE_TABLE.TableCode", page | 2);
    let at = table(&mut image, next());
    image.set(at, "_HANDLE_TABLE.TableCode", page | 1);
    // VAD trees.
    let root = |image: &mut Image, process| image.get(process, "_EPROCESS.VadRoot.Root");
    let at = root(&mut image, next());
    image.set(at, "_RTL_BALANCED_NODE.Left", at);
    let at = root(&mut image, next());
    let mut child = at;
    while image.get(child, "_RTL_BALANCED_NODE.Left") != 0 {
        child = image.get(child, "_RTL_BALANCED_NODE.Left");
    }
    image.set(child, "_RTL_BALANCED_NODE.Left", at);
    image.set(at, "_RTL_BALANCED_NODE.ParentValue", child);
    let at = root(&mut image, next());
    let left = image.get(at, "_RTL_BALANCED_NODE.Left");
    image.set(left, "_RTL_BALANCED_NODE.ParentValue", left);
    let at = root(&mut image, next());
    let left = image.get(at, "_RTL_BALANCED_NODE.Left");
    image.set(at, "_RTL_BALANCED_NODE.Right", left);
    // Lists.
    let process = next();
    let at = image.get(process, "_EPROCESS.ThreadListHead.Flink");
    link(&mut image, at, [at, at]);
    let process = next();
    let space = Space::Process(VirtAddr(process));
    let peb = image.get(process, "_EPROCESS.Peb");
    let loader = image.get_in(space, peb, "_PEB.Ldr");
    for list in ["InLoadOrder", "InMemoryOrder", "InInitializationOrder"] {
        let first = image.get_in(space, loader, &format!("_PEB_LDR_DATA.{list}ModuleList.Flink"));
        image.set_in(space, first, "_LIST_ENTRY.Flink", first);
    }
    let process = next();
    let space = Space::Process(VirtAddr(process));
    let peb = image.get(process, "_EPROCESS.Peb");
    let parameters = image.get_in(space, peb, "_PEB.ProcessParameters");
    image.set_in(space, parameters, "_RTL_USER_PROCESS_PARAMETERS.EnvironmentSize", u64::MAX >> 1);
    let drivers = rows(&WHOLE, "devices");
    for row in [0, 5] {
        let Cell::Hex(driver) = drivers.cell(row, drivers.table().column("driver_address").unwrap()) else { panic!() };
        let device = image.get(driver, "_DRIVER_OBJECT.DeviceObject");
        image.set(device, "_DEVICE_OBJECT.NextDevice", device);
        image.set(device, "_DEVICE_OBJECT.AttachedDevice", device);
    }
    for (head, ..) in &lists()[..2] {
        let entries = ring(&mut image, *head);
        let (a, b) = (entries[entries.len() / 2], entries[entries.len() / 2 + 3]);
        image.set(b, "_LIST_ENTRY.Flink", a);
        image.set(a, "_LIST_ENTRY.Blink", b);
    }
    let (session, _folder) = image.open();
    println!("{:#?}", faults(&session, &[]).iter().take(40).collect::<Vec<_>>());
}
