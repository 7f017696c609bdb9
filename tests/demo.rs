//! The whole engine on the bundled images, whose stories are told in assets/: each table holds what really happened.
#![allow(clippy::unwrap_used)]

use kioku::engine::{Ahead, Extent, Ground, Hit, Options, Search, Session, Space, Stretch, find_table};
use kioku::facts::drivers::Callback;
use kioku::facts::linux::{CachedFile, Capabilities, Interface, LogRecord, Mount, OpenFile, ShellHistory, SystemCall};
use kioku::facts::*;
use std::sync::{Arc, LazyLock};

static DEMO: LazyLock<Session> = LazyLock::new(|| Session::demo(Origin::Linux, &Watch::default()).unwrap());

fn rows_of<T: Record + Clone>(session: &Session) -> Vec<T> {
    let answer = session.rows::<T>(Scope::Machine).unwrap();
    assert_eq!(answer.state(), State::Complete);
    answer.iter().cloned().collect()
}

fn rows<T: Record + Clone>() -> Vec<T> {
    rows_of(&DEMO)
}

fn known<T: Clone>(value: &Known<T>) -> T {
    value.value().cloned().unwrap()
}

#[test]
fn the_kernel_describes_itself() {
    let info = DEMO.info();
    assert_eq!((info.os, info.architecture, info.score()), (Origin::Linux, "x86_64", 100));
    assert_eq!(known(&info.hostname), "shop-web-1");
    assert!(info.symbol_source.contains("BTF in the image"), "{}", info.symbol_source);
    assert!(known(&info.boot_time) < known(&info.capture_time));
}

#[test]
fn hidden_exited_and_zombie_processes_are_named_for_what_they_are() {
    let processes = rows::<Process>();
    let names = |state| processes.iter().filter(|row| row.state == state).map(|row| row.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names(ProcessState::Hidden), ["systemd-udevd"]);
    assert!(names(ProcessState::Exited).contains(&"uptime"));
    assert_eq!(names(ProcessState::Zombie).len(), 1);
    let hidden = processes.iter().find(|row| row.state == ProcessState::Hidden).unwrap();
    assert!(!hidden.sources.contains(&"task_list") && hidden.sources.contains(&"scan"));
    // A name in brackets does not make a kernel thread.
    let posing = processes.iter().find(|row| row.name == "kworker/u4:2" && row.kernel_thread == Known::Value(false)).unwrap();
    assert!(known(&posing.path).contains("kworkerd"));
    assert!(processes.iter().all(|row| row.state == ProcessState::Exited || row.kernel_thread.value().is_some()));
}

#[test]
fn the_tree_leads_from_the_web_server_to_the_intruder() {
    let tree = rows::<TreeProcess>();
    let posing = tree.iter().position(|row| row.name == "kworker/u4:2" && row.kernel_thread == Known::Value(false)).unwrap();
    let mut above = Vec::new();
    let mut parent = tree[posing].parent.clone();
    while let Some(row) = parent.value().and_then(|address| tree.iter().find(|row| row.address.value() == Some(address))) {
        above.push(row.name.clone());
        parent = row.parent.clone();
    }
    assert!(above.iter().any(|name| name == "nginx"), "{above:?}");
    let threads = rows::<Thread>();
    assert!(threads.len() >= tree.iter().filter(|row| row.state == ProcessState::Running).count());
    assert!(threads.iter().any(|thread| thread.start_symbol == Known::Value("kswapd".to_owned())));
}

#[test]
fn connections_have_owners() {
    let sockets = rows::<Socket>();
    let out =
        sockets.iter().find(|row| row.remote_address == Known::Value("203.0.113.77".to_owned()) && row.remote_port == Known::Value(443));
    assert_eq!(known(&out.unwrap().state), "ESTABLISHED");
    let owners =
        |port| sockets.iter().filter(move |row| row.local_port == Known::Value(port) && row.state == Known::Value("LISTEN".to_owned()));
    assert!(owners(80).all(|row| row.process == Known::Value("nginx".to_owned())) && owners(80).count() > 0);
    assert!(owners(4444).all(|row| row.process == Known::Value("systemd-udevd".to_owned())) && owners(4444).count() > 0);
    assert!(sockets.iter().any(|row| row.protocol == "UNIX") && sockets.iter().any(|row| row.protocol == "TCPv6"));
}

#[test]
fn what_was_injected_is_found_and_says_why() {
    let suspicious = rows::<Suspicious>();
    let injected: Vec<_> = suspicious.iter().filter(|row| row.verdict == Verdict::LikelyInjected).collect();
    assert!(injected.iter().any(|row| row.process == "nginx" && row.indicators.iter().any(|sign| sign.rule.id == "elf_header")));
    assert!(injected.len() >= 2 && suspicious.iter().all(|row| !row.indicators.is_empty()));
    // The code that a JIT engine made is not called injected.
    assert!(injected.iter().all(|row| row.process != "node"));
    let row = injected[0];
    let bytes = DEMO.read(Space::Process(row.process_address), row.start.0, 64).unwrap();
    assert_eq!(Known::Value(bytes.data), row.head);
}

#[test]
fn regions_and_files_have_paths() {
    let regions = rows::<Region>();
    assert!(regions.iter().any(|row| row.kind == "stack") && regions.iter().any(|row| row.kind == "vdso"));
    assert!(regions.iter().all(|row| row.start < row.end && row.problems.is_empty()));
    let files = rows::<OpenFile>();
    assert!(files.iter().any(|row| row.deleted) && files.iter().any(|row| row.path == Known::Value("/dev/null".to_owned())));
    assert!(!rows::<Library>().is_empty() && !rows::<Capabilities>().is_empty());
    assert!(rows::<Variable>().iter().any(|row| row.name == "LD_PRELOAD"));
}

#[test]
fn the_machine_tells_its_own_story() {
    let modules = rows::<Module>();
    assert_eq!(modules.iter().filter(|row| row.state == "hidden").count(), 1);
    assert!(rows::<Mount>().iter().any(|row| row.path == "/" && !row.r#type.is_empty()));
    let log = rows::<LogRecord>();
    assert!(log.iter().any(|row| row.text.starts_with("Linux version")));
    assert!(log.is_sorted_by_key(|row| row.sequence));
    let history = rows::<ShellHistory>();
    assert!(history.iter().any(|row| row.command.contains("insmod")) && history.iter().any(|row| row.command.contains("curl")));
}

#[test]
fn system_calls_lead_into_the_kernel_and_interfaces_have_addresses() {
    let calls = rows::<SystemCall>();
    let read = calls.iter().find(|row| row.table == "sys_call_table" && row.index == 0).unwrap();
    assert_eq!((known(&read.symbol).as_str(), known(&read.module).as_str()), ("__x64_sys_read", "kernel"));
    assert!((300..600).contains(&calls.iter().filter(|row| row.table == "sys_call_table").count()));
    assert!(calls.iter().all(|row| row.state == "ok" && row.problems.is_empty()), "nothing was hooked in this one");
    let interfaces = rows::<Interface>();
    let own = interfaces.iter().find(|row| row.name == "lo" && row.flags.contains(&"up")).unwrap();
    assert_eq!((own.addresses[0].as_str(), known(&own.mac).as_str()), ("127.0.0.1/8", "00:00:00:00:00:00"));
    // What sockets are bound to belongs to some interface.
    let has = |address: &String| interfaces.iter().any(|row| row.addresses.iter().any(|own| own.starts_with(&format!("{address}/"))));
    let connected = rows::<Socket>().into_iter().filter(|row| row.protocol == "TCPv4" && row.remote_port.value().is_some());
    assert!(connected.map(|row| known(&row.local_address)).all(|address| address == "0.0.0.0" || has(&address)));
}

#[test]
fn callbacks_lead_to_code_that_has_an_owner() {
    let callbacks = rows::<Callback>();
    assert!(callbacks.iter().all(|row| row.module.value().is_some() && row.problems.is_empty()));
    let calls = |kind, list: &str, symbol: &str| {
        callbacks.iter().any(|row| row.kind == kind && row.list == list && row.symbol.value().is_some_and(|name| name == symbol))
    };
    assert!(calls("interrupt", "idt_table", "asm_exc_page_fault") && calls("packet", "ptype_base", "ip_rcv"));
    assert!(calls("operations", "tcp4_seq_ops", "tcp4_seq_show") && calls("line_discipline", "tty_drivers", "n_tty_receive_buf2"));
    assert!(calls("notifier", "netdev_chain", "arp_netdev_event"));
    // What the hidden module registered is a finding, and nothing else is.
    let hidden = rows::<Module>().into_iter().find(|row| row.state == "hidden").unwrap().name;
    let strange: Vec<_> = callbacks.iter().filter(|row| row.module == hidden).collect();
    assert_eq!(strange.iter().map(|row| row.kind).collect::<Vec<_>>(), ["kprobe", "netfilter", "thread"]);
    let findings: Vec<_> = rows::<Finding>().into_iter().filter(|row| row.kind == Subject::Hook).collect();
    assert_eq!(
        findings.iter().map(|row| row.reference.address).collect::<Vec<_>>(),
        strange.iter().map(|row| row.address).collect::<Vec<_>>()
    );
}

#[test]
fn open_files_are_in_the_page_cache_under_the_same_name() {
    let cached = rows::<CachedFile>();
    assert!(cached.iter().all(|row| row.cached_pages > 0 && row.problems.is_empty()));
    let libraries = rows::<Library>();
    let libc = libraries.iter().find(|row| row.name.text().starts_with("libc.")).unwrap();
    assert!(cached.iter().any(|row| row.path == libc.path), "{:?}", libc.path);
}

#[test]
fn a_query_about_one_process_gives_the_rows_of_the_whole() {
    let all = rows::<Region>();
    let one = all.iter().find(|row| row.process == "nginx").unwrap();
    let scoped = DEMO.rows::<Region>(Scope::Process(one.process_address)).unwrap();
    let wanted: Vec<_> = all.iter().filter(|row| row.process_address == one.process_address).map(|row| row.start).collect();
    assert_eq!(scoped.iter().map(|row| row.start).collect::<Vec<_>>(), wanted);
}

#[test]
fn a_cancelled_query_ends_soon_and_keeps_what_it_has() {
    let session = Session::demo(Origin::Linux, &Watch::default()).unwrap();
    let job = session.submit(find_table("regions").unwrap(), Scope::Machine);
    let asked = std::time::Instant::now();
    job.cancel();
    while !job.finished() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // Generous: other tests run beside this one.
    assert!(asked.elapsed().as_secs() < 5);
    assert!(job.rows().is_some_and(|rows| matches!(rows.state(), State::Cancelled | State::Complete)));
    // The next one who asks gets the whole.
    let whole = session.query(find_table("regions").unwrap(), Scope::Machine, &Arc::default()).unwrap();
    assert_eq!(whole.state(), State::Complete);
    assert!(!whole.is_empty());
}

#[test]
fn every_table_answers_and_says_when_it_is_empty() {
    for entry in DEMO.tables() {
        let rows = DEMO.query(entry, Scope::Machine, &Arc::default()).unwrap();
        assert!(!rows.is_empty() || !rows.notes().is_empty(), "{} is silently empty", entry.table.name);
    }
}

/// Writes what each finding is about; the files of all, with their first bytes.
fn dump_findings(session: &Session) -> Vec<(Dumped, Vec<u8>)> {
    let watch = Arc::default();
    let findings = rows_of::<Finding>(session);
    let mut written = Vec::new();
    for number in 1..=findings.len() {
        let (finding, process) = session.finding(number, &watch).unwrap();
        assert_eq!(finding.subject, findings[number - 1].subject);
        let folder = tempfile::tempdir().unwrap();
        let Ok(dump) = session.dump(Extent::Finding { finding: &finding, process: process.as_ref() }, folder.path(), &watch) else {
            assert!(matches!(finding.kind, Subject::Log | Subject::Process), "{}", finding.subject);
            continue;
        };
        for row in dump.files.into_iter().filter(|row| row.file.value().is_some()) {
            let path = folder.path().join(known(&row.file));
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!((bytes.len() as u64, known(&row.md5).len()), (row.length, 32));
            #[cfg(unix)]
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
            written.push((row, bytes));
        }
    }
    assert!(session.finding(findings.len() + 1, &watch).is_err() && session.finding(0, &watch).is_err());
    written
}

#[test]
fn what_findings_are_about_is_written() {
    let written = dump_findings(&DEMO);
    let carved: Vec<_> = written.iter().filter(|(row, _)| row.kind == Known::Value("carved".to_owned())).collect();
    let injected = rows::<Suspicious>().into_iter().find(|row| row.indicators.iter().any(|sign| sign.rule.id == "elf_header")).unwrap();
    let program = carved.iter().find(|(row, _)| row.start == Known::Value(injected.start)).unwrap();
    assert!(program.1.starts_with(b"\x7fELF") && program.0.length <= injected.end.0 - injected.start.0 + 1);
    let module = rows::<Module>().into_iter().find(|row| row.state == "hidden").unwrap();
    let of_module = written.iter().filter(|(row, _)| row.start == module.base);
    assert_eq!(of_module.count(), 4, "the module itself, its two hooks and its thread");
}

fn search(session: &Session, pattern: &str, space: Space) -> Vec<Sighting> {
    let search = Search::new(&[pattern.to_owned()], false, space, 100_000).unwrap();
    let rows = session.search(&search, &Arc::default(), &mut |_| ()).unwrap();
    assert_eq!((rows.state(), rows.notes()), (State::Complete, &[] as &[String]));
    rows.as_any().downcast_ref::<Answer<Sighting>>().unwrap().iter().cloned().collect()
}

#[test]
fn files_are_searched_across_their_pages() {
    let ground = Ground::Files(Some("bin/bash".to_owned()));
    let search = Search::new(&["re:[a-z_ ]{16}".to_owned(), "hex:7f454c46".to_owned()], false, ground, 100_000).unwrap();
    let rows = DEMO.search(&search, &Arc::default(), &mut |_| ()).unwrap();
    let hits: Vec<_> = rows.as_any().downcast_ref::<Answer<Sighting>>().unwrap().iter().cloned().collect();
    assert!(hits.iter().all(|hit| hit.kind == Known::Value("page_cache") && known(&hit.file).ends_with("bin/bash")), "{hits:?}");
    assert_eq!(hits.iter().filter(|hit| hit.form == "hex").map(|hit| known(&hit.file_offset)).next(), Some(0));
    let across = |hit: &&Sighting| known(&hit.file_offset) % 0x1000 > 0x1000 - hit.length;
    assert!(hits.iter().any(|hit| across(&hit)), "{hits:?}");
    let nothing = Search::new(&["text".to_owned()], false, Ground::Files(Some("no/such/file".to_owned())), 1).unwrap();
    let why = DEMO.search(&nothing, &Arc::default(), &mut |_| ()).err().unwrap();
    assert!(why.0.contains("no file's path is or ends with no/such/file"), "{why}");
}

#[test]
fn a_page_of_a_file_that_no_process_maps_has_the_name_of_the_file() {
    let hits = search(&DEMO, "root:x:0:0", Space::Physical);
    let cached: Vec<_> = hits.iter().filter(|hit| hit.kind == Known::Value("page_cache")).collect();
    assert!(!cached.is_empty() && cached.iter().all(|hit| known(&hit.file) == "/etc/passwd"), "{hits:?}");
}

#[test]
fn what_is_found_in_memory_is_led_back_to_who_maps_it() {
    let injected = rows::<Suspicious>().into_iter().find(|row| row.process == "nginx" && row.head.value().is_some()).unwrap();
    let bytes: String = known(&injected.head).iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    let hits = search(&DEMO, &format!("hex:{bytes}"), Space::Physical);
    let hit = hits.iter().find(|hit| hit.pid == Known::Value(injected.pid) && hit.address == Known::Value(injected.start)).unwrap();
    assert_eq!((&hit.process, &hit.kind), (&Known::Value("nginx".to_owned()), &Known::Value("private")));
    assert_eq!(known(&hit.protection), Protection { read: true, write: true, execute: true, ..Protection::default() });
    // The kernel has it too, where its own first code was before it was given back.
    assert!(hit.length == 32 && (1..3).contains(&known(&hit.mappings)));
}

#[test]
fn what_lies_across_pages_is_found_in_the_process() {
    let shell = rows::<Process>().into_iter().find(|row| row.name == "bash").unwrap();
    let space = Space::Process(known(&shell.address));
    let hits = search(&DEMO, "re:[\\x20-\\x7e]{20,60}", space);
    assert!(hits.len() > 100 && hits.windows(2).all(|pair| pair[0].address.value() < pair[1].address.value()), "each once, in order");
    let crossing = hits.iter().find(|hit| {
        let (at, physical) = (known(&hit.address), known(&hit.physical_address));
        let next = DEMO.read(space, at.page().0 + 4096, 1).unwrap().pieces[0].origin.unwrap().physical();
        at.in_page() + hit.length > 4096 && next != Some(kioku::address::PhysAddr(physical.page().0 + 4096))
    });
    let crossing = crossing.expect("a text across two pages that are not neighbours");
    let bytes = DEMO.read(space, known(&crossing.address).0, crossing.length as usize).unwrap();
    assert_eq!(bytes.data, crossing.text.as_bytes());
    assert_eq!((crossing.pid.value(), crossing.process.value()), (Some(&shell.pid), Some(&shell.name)));
    // In physical memory it is in pieces.
    let whole = search(&DEMO, &format!("text:{}", crossing.text), Space::Physical);
    assert!(whole.iter().all(|hit| hit.physical_address != crossing.physical_address));
}

#[test]
fn a_search_can_be_cancelled_and_limited() {
    let watch = Arc::new(Watch::default());
    watch.cancel();
    let every = Search::new(&["re:[a-z]{2}".to_owned()], false, Space::Physical, 500).unwrap();
    let rows = DEMO.search(&every, &watch, &mut |_| ()).unwrap();
    assert_eq!((rows.state(), rows.len()), (State::Cancelled, 0));
    let job = DEMO.submit_search(Space::Physical, move || Ok(every));
    while !job.finished() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let rows = job.rows().unwrap();
    assert_eq!((rows.state(), rows.len()), (State::Complete, 500));
    assert!(rows.notes().iter().any(|note| note.contains("--limit")), "{:?}", rows.notes());
}

#[test]
fn addresses_have_names_and_names_have_addresses() {
    let watch = Arc::default();
    let located = DEMO.locate("vmlinux!init_task", None, &watch).unwrap();
    assert!(located.kernel && located.name == "init_task");
    assert_eq!(DEMO.landmark(Space::Kernel, located.address.0, &watch).symbol.as_deref(), Some("init_task"));
    assert!(DEMO.locate("no_such_thing", None, &watch).is_none());

    let cron = rows::<Process>().into_iter().find(|row| row.name == "cron").unwrap();
    let object = known(&cron.address);
    let task = DEMO.structure("task_struct").unwrap();
    let comm = task.fields.iter().find(|field| field.name == "comm").unwrap();
    let there = DEMO.landmark(Space::Kernel, object.offset(comm.offset.into()).0, &watch);
    assert!(there.object.as_deref().is_some_and(|object| object.ends_with(".comm")), "{there:?}");
    assert_eq!(there.text, None, "four letters are no text");
    assert!(DEMO.structure("no_such_structure").is_err());

    let libraries = DEMO.rows::<Library>(Scope::Process(object)).unwrap();
    let libc = libraries.iter().find(|row| row.name.text().starts_with("libc")).unwrap();
    let inside = DEMO.landmark(Space::Process(object), libc.base.0 + 0x10, &watch);
    assert_eq!(inside.module, Some(format!("{}+0x10", libc.name.text())));
    assert_eq!(DEMO.locate(libc.name.text(), Some(object), &watch).unwrap().address, libc.base);
}

#[test]
fn memory_is_searched_both_ways_and_over_gaps() {
    let cron = rows::<Process>().into_iter().find(|row| row.name == "cron").unwrap();
    let space = Space::Process(known(&cron.address));
    let whole = |forward| Stretch { space, first: 0, last: u64::MAX >> 8, forward };
    let needle = [b"\x7fELF".to_vec()];
    let find = |stretch| DEMO.find(stretch, &needle, &Watch::default()).unwrap();
    let (Hit::At(first, 4), Hit::At(last, 4)) = (find(whole(true)), find(whole(false))) else { panic!("no ELF header is found") };
    assert!(first < last && first % 4096 == 0, "{first:#x} {last:#x}");
    assert_eq!(find(Stretch { first: last + 1, ..whole(true) }), Hit::Nowhere);
    let Hit::At(before, _) = find(Stretch { last: last - 1, ..whole(false) }) else { panic!("there is another one") };
    assert_eq!(find(Stretch { first: before + 1, ..whole(true) }), Hit::At(last, 4), "the way back is the way there");

    let cross = |at, forward| DEMO.next_stretch(space, at, forward, &Watch::default()).unwrap();
    let start = cross(0, true).unwrap();
    assert_eq!(start, first, "a program begins with its header");
    let next = cross(start, true).unwrap();
    assert!(next > start && cross(next, false).is_some_and(|before| before < next && before >= start));
    let (texts, _) = DEMO.texts(Stretch { first: start, ..whole(true) }, 100, &Watch::default()).unwrap();
    assert!(texts.len() >= 100 && texts.is_sorted_by_key(|text| text.at));
}

/// The Windows image, which was generated: assets/windows-story.md says what was put in.
mod windows {
    use super::{known, rows_of, search};
    use kioku::address::VirtAddr;
    use kioku::engine::{Session, Space};
    use kioku::facts::windows::*;
    use kioku::facts::*;
    use std::sync::{Arc, LazyLock};

    static DEMO: LazyLock<Session> = LazyLock::new(|| Session::demo(Origin::Windows, &Watch::default()).unwrap());

    fn rows<T: Record + Clone>() -> Vec<T> {
        rows_of(&DEMO)
    }

    #[test]
    fn it_says_that_it_was_generated() {
        assert!(DEMO.name().contains("generated"));
        let info = DEMO.info();
        assert_eq!((info.os, info.score()), (Origin::Windows, 100));
        assert_eq!(known(&info.hostname), "DESKTOP-7Q2LAB");
        assert!(info.kernel.contains("19041"), "{}", info.kernel);
    }

    #[test]
    fn the_hidden_listener_and_the_ended_shell_are_found() {
        let processes = rows::<Process>();
        let hidden: Vec<_> = processes.iter().filter(|row| row.state == ProcessState::Hidden).collect();
        assert_eq!(hidden.iter().map(|row| (row.pid, row.name.as_str())).collect::<Vec<_>>(), [(7112, "scvhost.exe")]);
        assert_eq!(hidden[0].sources, ["pool_scan", "thread", "cid_table", "csrss_handle", "session_list"]);
        let shell = processes.iter().find(|row| row.pid == 6612).unwrap();
        assert_eq!((shell.state, shell.ppid.clone()), (ProcessState::Exited, Known::Value(6408)));
        let sockets = rows::<Socket>();
        let port = |row: &&Socket| row.local_port == Known::Value(4444);
        assert_eq!(sockets.iter().filter(port).filter(|row| row.pid == Known::Value(7112)).count(), 2);
        let beacon = sockets.iter().find(|row| row.remote_port == Known::Value(8443)).unwrap();
        assert_eq!((known(&beacon.process), known(&beacon.remote_address)), ("rundll32.exe".to_owned(), "203.0.113.77".to_owned()));
    }

    #[test]
    fn the_four_regions_that_were_put_in_are_called_injected() {
        let suspicious = rows::<Suspicious>();
        let injected = suspicious.iter().filter(|row| row.verdict == Verdict::LikelyInjected);
        let mut injected: Vec<_> = injected.map(|row| (row.pid, row.start)).collect();
        injected.sort_unstable();
        let put_in = [(3588, 0x3a1_0000), (6704, 0x21b_0000_0000), (6980, 0x1d1_0000_0000), (7112, 0x2cc_0000_0000)];
        assert_eq!(injected, put_in.map(|(pid, start)| (pid, VirtAddr(start))));
    }

    #[test]
    fn what_is_found_in_memory_is_led_back_to_who_maps_it() {
        // A beginning that was wiped is everywhere.
        let telling = |row: &Suspicious| row.verdict == Verdict::LikelyInjected && known(&row.head).iter().any(|byte| *byte != 0);
        for region in rows::<Suspicious>().iter().filter(|row| telling(row)) {
            let bytes: String = known(&region.head).iter().map(|byte| format!("{byte:02x}")).collect();
            let hits = search(&DEMO, &format!("hex:{bytes}"), Space::Physical);
            let owned = |hit: &&Sighting| hit.pid == Known::Value(region.pid) && hit.address == Known::Value(region.start);
            assert_eq!(hits.iter().find(owned).map(|hit| hit.process.clone()), Some(Known::Value(region.process.clone())));
        }
    }

    #[test]
    fn what_findings_are_about_is_written() {
        let written = super::dump_findings(&DEMO);
        let (row, program) = written.iter().find(|(row, _)| row.kind == Known::Value("carved".to_owned())).unwrap();
        assert_eq!((row.start.clone(), row.layout.clone()), (Known::Value(VirtAddr(0x3a1_0000)), Known::Value("file")));
        assert!(program.starts_with(b"MZ"));
        assert!(written.iter().any(|(row, _)| row.path.value().is_some_and(|path| path.ends_with("hidr.sys"))));
    }

    #[test]
    fn a_library_and_a_driver_are_on_no_list() {
        let unlinked: Vec<_> = rows::<Library>().into_iter().filter(|row| row.in_load == Known::Value(false)).collect();
        assert!(unlinked.iter().any(|row| (row.pid, row.name.text()) == (6980, "wininet.dll")), "{unlinked:?}");
        let hidden: Vec<_> = rows::<Module>().into_iter().filter(|row| row.state == "hidden").map(|row| row.name).collect();
        assert_eq!(hidden, [Known::Value("hidr.sys".to_owned())]);
        let handles = rows::<Handle>();
        let lsass = |row: &&Handle| row.pid == 6704 && row.name == Known::Value("lsass.exe Pid 676".to_owned());
        assert_eq!(handles.iter().find(lsass).unwrap().access, Hex(0x1410));
    }

    #[test]
    fn its_page_file_is_attached() {
        let processes = rows::<Process>();
        let chrome = processes.iter().find(|row| row.pid == 5016).unwrap();
        let bytes = DEMO.read(Space::Process(known(&chrome.address)), 0x240_0000_3000, 64);
        let text = String::from_utf8_lossy(&bytes.unwrap().data).into_owned();
        assert!(text.contains("page 3 of the paging test region"), "{text:?}");
    }

    #[test]
    fn every_table_answers_and_says_when_it_is_empty() {
        for entry in DEMO.tables() {
            let rows = DEMO.query(entry, Scope::Machine, &Arc::default()).unwrap();
            assert_eq!(rows.state(), State::Complete, "{}", entry.table.name);
            assert!(!rows.is_empty() || !rows.notes().is_empty(), "{} is silently empty", entry.table.name);
        }
    }
}

/// Opened for a search, an image is swept before its kernel is known.
#[test]
fn a_search_that_begins_with_the_opening_finds_the_same() {
    for (origin, image, pattern) in [(Origin::Linux, "linux.elf.zst", "root:x:0:0"), (Origin::Windows, "windows.raw.zst", "kernel32.dll")] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(image);
        let rows = |early: bool, most: usize| {
            let search = Arc::new(Search::new(&[pattern.to_owned()], true, Space::Physical, most).unwrap());
            let ahead = if early { Ahead::Search(Arc::clone(&search), Arc::default()) } else { Ahead::Nothing };
            let session = Session::open(&path, &Options { ahead, ..Options::default() }, &Watch::default()).unwrap();
            assert_eq!(session.info().os, origin);
            let rows = session.search(&search, &Arc::default(), &mut |_| ()).unwrap();
            let rows = rows.as_any().downcast_ref::<Answer<Sighting>>().unwrap().clone();
            (rows.notes().to_vec(), rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>())
        };
        let whole = rows(false, 100_000);
        assert!(!whole.1.is_empty() && rows(true, 100_000) == whole, "{image}");
        // Which of them come first is left to chance.
        assert_eq!((rows(true, 2).1.len(), rows(true, 2).0), (2, rows(false, 2).0));
    }
}

#[test]
fn a_search_that_is_cancelled_while_the_image_is_opened_keeps_what_it_has() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/windows.raw.zst");
    let watch = Arc::new(Watch::default());
    watch.cancel();
    let search = Arc::new(Search::new(&["kernel32.dll".to_owned()], true, Space::Physical, 10).unwrap());
    let ahead = Ahead::Search(Arc::clone(&search), Arc::clone(&watch));
    let session = Session::open(&path, &Options { ahead, ..Options::default() }, &Watch::default()).unwrap();
    assert_eq!(session.search(&search, &watch, &mut |_| ()).unwrap().state(), State::Cancelled);
}

#[test]
fn an_image_is_the_same_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/linux.elf.zst")).unwrap();
    let identity = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let session = Session::open(&path, &Options::default(), &Watch::default()).unwrap();
        session.identity()
    };
    let (first, copy) = (identity("a.zst", &bytes), identity("renamed.img", &bytes));
    assert_eq!(first.key, copy.key);
    assert_eq!(first.key, DEMO.identity().key, "bundled or not");
    assert_ne!(first.files, copy.files);
}
