//! What intruders leave in memory, put into the bundled Windows image: each is found, and the same without it is not.
#![allow(clippy::unwrap_used)]

mod windows_image;

use kioku::engine::{Session, Space};
use kioku::facts::windows::Handle;
use kioku::facts::{Finding, Process, ProcessState, Region, Scope, Suspicious, Thread};
use windows_image::*;

/// The rules that apply to a region of a process.
fn signs(session: &Session, pid: u32, start: u64) -> Vec<(&'static str, String)> {
    let rows = session.rows::<Suspicious>(Scope::Machine).unwrap();
    let own = rows.iter().filter(|row| row.pid == pid && row.start.0 == start);
    own.flat_map(|row| row.indicators.iter().map(|sign| (sign.rule.id, sign.detail.clone())).collect::<Vec<_>>()).collect()
}

fn ids(signs: &[(&'static str, String)]) -> Vec<&'static str> {
    signs.iter().map(|(id, _)| *id).collect()
}

/// The processes that have ntdll.dll mapped, with its region in each.
fn with_ntdll() -> Vec<(u32, Space, Region)> {
    let processes = WHOLE.rows::<Process>(Scope::Machine).unwrap();
    let regions = WHOLE.rows::<Region>(Scope::Machine).unwrap();
    let named = regions.iter().filter(|row| row.kind == "image" && row.file.value().is_some_and(|file| file.ends_with("\\ntdll.dll")));
    let space = |row: &Region| processes.iter().find(|process| process.pid == row.pid)?.address.value().copied();
    named.filter_map(|row| Some((row.pid, Space::Process(space(row)?), row.clone()))).collect()
}

/// Says in its section that an image was relocated to where it is mapped.
fn settle(image: &mut Image, region: &Region) {
    let part = image.get(region.address.0, "_MMVAD.Subsection");
    let area = image.get(part, "_SUBSECTION.ControlArea");
    let segment = image.get(area, "_CONTROL_AREA.Segment");
    image.set(segment, "_SEGMENT.BasedAddress", region.start.0);
}

#[test]
fn pages_whose_originals_are_gone_are_held_against_other_processes() {
    const COPIES: usize = 3;
    let mut image = Image::new();
    let all = with_ntdll();
    let (start, at) = (all[0].2.start.0, all[0].2.start.0 + PAGE as u64);
    settle(&mut image, &all[0].2);
    // A frame database of its own, in which the copies are said to be private.
    let database = image.fresh(512);
    image.set_word(Space::Kernel, symbol("MmPfnDatabase"), database);
    for (_, space, _) in &all[1..=COPIES] {
        let frame = image.private_copy(*space, at);
        let entry = database + frame / PAGE as u64 * size_of("_MMPFN") as u64;
        image.set(entry, "_MMPFN.PteAddress", 0xffff_f680_0000_0000 + at / PAGE as u64 * 8);
    }
    let copied = |image: &Image| {
        let (session, _folder) = image.open();
        (1..=COPIES).map(|index| signs(&session, all[index].0, start)).collect::<Vec<_>>()
    };
    assert_eq!(copied(&image), vec![Vec::new(); COPIES], "copies like the page that all share");
    image.write(all[1].1, at + 0x20, &[0xe9, 1, 2, 3, 4]);
    assert_eq!(ids(&copied(&image)[0]), ["rewritten_code"]);

    // The section's second page: in its second part, if the first is that of the headers.
    let mut part = image.get(all[1].2.address.0, "_MMVAD.Subsection");
    let headers = image.get(part, "_SUBSECTION.PtesInSubsection");
    if headers == 1 {
        part = image.get(part, "_SUBSECTION.NextSubsection");
    }
    let prototypes = image.get(part, "_SUBSECTION.SubsectionBase") + if headers == 1 { 0 } else { 8 };
    image.set_word(Space::Kernel, prototypes, 0);
    let found = copied(&image);
    let [(rule, detail)] = &found[0][..] else { panic!("{found:?}") };
    assert!(
        *rule == "rewritten_code" && detail.contains("differ from what the processes ") && detail.contains(" is e901020304"),
        "{detail}"
    );
    assert!(detail.contains(" more have: "), "{detail}");
    assert_eq!(ids(&found[1]), ["private_code_pages", "same_copies"]);
    let (session, _folder) = image.open();
    assert!(all[COPIES + 1..].iter().all(|(pid, ..)| signs(&session, *pid, start).is_empty()), "pages that are shared");
}

#[test]
fn headers_that_lie_are_found() {
    let mut image = Image::new();
    let (pid, space, region) = with_ntdll().pop().unwrap();
    let start = region.start.0;
    settle(&mut image, &region);
    image.private_copy(space, start);
    let nt = start + u64::from(u32::from_le_bytes(image.read(space, start + 0x3c, 4).try_into().unwrap()));
    let mut field = |offset: u64, value: u32| image.write(space, nt + 0x18 + offset, &value.to_le_bytes());
    // AddressOfEntryPoint, SectionAlignment, SizeOfImage.
    field(0x10, 0x1000);
    field(0x20, 0x200);
    field(0x38, 0x1000_0000);
    let (session, _folder) = image.open();
    assert_eq!(ids(&signs(&session, pid, start)), ["header_rewritten", "shared_pages", "wrong_size"]);
    assert_eq!(ids(&signs(&WHOLE, pid, start)), NONE);
}

const NONE: [&str; 0] = [];

fn of_process(session: &Session, pid: u32) -> Vec<&'static str> {
    let rows = session.rows::<Finding>(Scope::Machine).unwrap();
    let own = rows.iter().filter(|row| row.pid.value() == Some(&pid) && row.reference.table == "processes");
    own.flat_map(|row| row.indicators.iter().map(|sign| sign.rule.id).collect::<Vec<_>>()).collect()
}

#[test]
fn a_thread_that_acts_as_the_system_is_found_where_people_run() {
    let processes = WHOLE.rows::<Process>(Scope::Machine).unwrap();
    let threads = WHOLE.rows::<Thread>(Scope::Machine).unwrap();
    let named = |name: &str| processes.iter().find(|row| row.name == name).unwrap().pid;
    let mut image = Image::new();
    let token = image.get(process(4), "_EPROCESS.Token.Value") & !0xf;
    image.set(token, "_TOKEN.TokenType", 2);
    let own = ["explorer.exe", "svchost.exe"].map(named);
    for (pid, level) in own.iter().zip([2, 2]) {
        let thread = threads.iter().find(|row| row.pid == *pid).unwrap().address.0;
        image.set(thread, "_ETHREAD.ActiveImpersonationInfo", 1);
        image.set(thread, "_ETHREAD.ClientSecurity.ImpersonationData", token | level);
    }
    let (session, _folder) = image.open();
    let acting = session.rows::<Thread>(Scope::Machine).unwrap();
    let acting: Vec<_> = acting.iter().filter_map(|row| Some((row.pid, row.impersonates.value()?.clone()))).collect();
    assert_eq!(acting.len(), 2);
    assert!(acting.iter().all(|(pid, user)| own.contains(pid) && user == "S-1-5-18"), "{acting:?}");
    assert!(of_process(&session, own[0]).contains(&"impersonates_system"));
    assert!(!of_process(&session, own[1]).contains(&"impersonates_system"), "services do so");
    assert!(!of_process(&WHOLE, own[0]).contains(&"impersonates_system"));
}

#[test]
fn what_defender_logged_is_found() {
    const LINE: &str = "2024-05-14T06:58:21.000Z DETECTIONEVENT MPSOURCE_REALTIME Trojan:Win64/X file:C:\\Users\\x.exe";
    let handles = WHOLE.rows::<Handle>(Scope::Machine).unwrap();
    let file = handles.iter().find(|row| row.r#type.value().is_some_and(|kind| kind == "File")).unwrap().object.0;
    let mut image = Image::new();
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (pointers, log) = (image.fresh(1), image.fresh(1));
    let [area, segment, entries, name] = [0x200, 0x600, 0xa00, 0xb00].map(|offset| pointers + offset);
    let path = wide("\\ProgramData\\Microsoft\\Windows Defender\\Support\\MPLog-20240514-065800.log");
    image.write(Space::Kernel, name, &path);
    image.write(Space::Kernel, log, &wide(&format!("\u{feff}{LINE}\r\n")));
    for (field, value) in [("Buffer", name), ("Length", path.len() as u64), ("MaximumLength", path.len() as u64)] {
        image.set(file, &format!("_FILE_OBJECT.FileName.{field}"), value);
    }
    image.set(file, "_FILE_OBJECT.RelatedFileObject", 0);
    image.set(file, "_FILE_OBJECT.SectionObjectPointer", pointers);
    image.set(pointers, "_SECTION_OBJECT_POINTERS.DataSectionObject", area);
    image.set(area, "_CONTROL_AREA.Segment", segment);
    image.set(segment, "_SEGMENT.ControlArea", area);
    let part = area + size_of("_CONTROL_AREA") as u64;
    for (field, value) in [("ControlArea", area), ("SubsectionBase", entries), ("PtesInSubsection", 2), ("NumberOfFullSectors", 2)] {
        image.set(part, &format!("_SUBSECTION.{field}"), value);
    }
    let frame = image.physical(Space::Kernel, log);
    image.set_word(Space::Kernel, entries, frame | 1);
    let (session, _folder) = image.open();
    let found = |session: &Session| {
        let rows = session.rows::<Finding>(Scope::Machine).unwrap();
        let signs = rows.iter().filter(|row| row.reference.table == "file_objects").flat_map(|row| row.indicators.iter());
        signs.map(|sign| (sign.rule.id, sign.detail.clone())).collect::<Vec<_>>()
    };
    let signs = found(&session);
    assert_eq!(ids(&signs), ["detection", "not_evaluable"]);
    assert_eq!(signs[0].1, LINE);
    assert!(found(&WHOLE).is_empty());
}

#[test]
fn a_process_whose_pool_blocks_have_lost_their_tags_is_known_by_its_id_and_to_the_subsystem() {
    let hidden = process(7112);
    let threads = WHOLE.rows::<Thread>(Scope::Machine).unwrap();
    let threads = threads.iter().filter(|row| row.pid == 7112).map(|row| (row.address.0, *b"Thre"));
    let mut image = Image::new();
    for (object, tag) in threads.chain([(hidden, *b"Proc")]) {
        // The tag stands in front of the object's headers.
        let before = image.read(Space::Kernel, object - 0x100, 0x100);
        let at = before.windows(4).rposition(|word| word == tag).unwrap();
        image.write(Space::Kernel, object - 0x100 + at as u64, &[0; 4]);
    }
    let (session, _folder) = image.open();
    let rows = session.rows::<Process>(Scope::Machine).unwrap();
    let row = rows.iter().find(|row| row.pid == 7112).unwrap();
    assert_eq!((row.sources.as_slice(), row.state), (&["cid_table", "csrss_handle", "session_list"][..], ProcessState::Hidden));
}
