//! The file of a case under all that happens to files: crashes, strangers, later versions, two at once, folders that cannot be
//! written to.

use super::*;
use crate::address::{PhysAddr, VirtAddr};
use crate::facts::{Identity, Info, Origin};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn identity() -> Identity {
    Identity { key: "ab".repeat(32), name: "larch.lime".into(), files: vec!["/evidence/larch.lime".into()] }
}

fn info() -> Info {
    Info {
        os: Origin::Linux,
        architecture: "x86_64",
        kernel: "Linux version 6.1.0".into(),
        hostname: Known::Value("larch".into()),
        boot_time: Known::Absent,
        capture_time: Known::Absent,
        format: "ELF core".into(),
        size: 1,
        page_table_root: PhysAddr(0),
        paging_levels: 4,
        kernel_base: VirtAddr(0),
        kaslr_shift: Known::Absent,
        symbol_source: String::new(),
        checks: Vec::new(),
        memory: Vec::new(),
        warnings: Vec::new(),
    }
}

fn note(number: u32) -> Note {
    let object = Object { table: PROCESSES.into(), key: format!("pid={number}") };
    let mut note = Note::of(&object, "bash \u{202e} 812", Time::now());
    note.comment = format!("comment; 'quoted' \" {number}");
    note.tags = vec!["c2".into(), "lateral".into()];
    note.judgement = Judgement::Confirmed;
    note.marked = number.is_multiple_of(2);
    note
}

fn keeper(plan: Plan) -> Keeper {
    Keeper::start(plan, info(), identity)
}
/// Everything that is awaited.
fn news(keeper: &mut Keeper) -> Vec<News> {
    let began = Instant::now();
    let mut all = Vec::new();
    while keeper.busy() {
        assert!(began.elapsed() < Duration::from_secs(20), "the keeper does not answer");
        all.extend(keeper.poll());
        std::thread::sleep(Duration::from_millis(1));
    }
    all
}
fn order(note: Note) -> Order {
    let step = Step::now(Action::Noted, note.object.clone());
    Order::Note(Box::new(note), step)
}
#[track_caller]
fn opened(news: Vec<News>) -> (Casebook, bool, Option<String>) {
    match news.into_iter().next() {
        Some(News::Opened { book, kept, told, .. }) => (*book, kept.is_some(), told),
        _ => panic!("no word of the opening"),
    }
}
fn read(path: &Path) -> Casebook {
    Store::open(path).unwrap().unwrap().casebook(&identity()).unwrap()
}

#[test]
fn what_is_noted_is_there_when_the_image_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::In(Ok(folder.path().join("kioku/cases")));
    let mut first = keeper(plan.clone());
    assert!(opened(news(&mut first)).1);
    first.send(Order::Seen(Step::now(Action::Looked, "Sockets")));
    assert!(!folder.path().join("kioku").exists(), "looking is no reason to write");
    first.send(order(note(1)));
    first.send(order(note(2)));
    assert!(news(&mut first).iter().all(|news| matches!(news, News::Saved)));
    // A note that says nothing any more is none.
    first.send(order(Note { marked: false, judgement: Judgement::Open, tags: Vec::new(), comment: String::new(), ..note(2) }));
    first.close("{\"all\":true}".into(), vec![Step::now(Action::Closed, "x")]).unwrap();

    let mut second = keeper(plan);
    let (book, kept, told) = opened(news(&mut second));
    assert!(kept && told.is_none());
    let found = book.notes.values().next().unwrap();
    let wanted = note(1);
    assert_eq!(book.notes.len(), 1);
    assert_eq!(
        (&found.object, &found.comment, &found.tags, found.judgement, found.marked),
        (&wanted.object, &wanted.comment, &wanted.tags, wanted.judgement, wanted.marked)
    );
    assert!(found.created.value().is_some());
    assert_eq!(book.view.unwrap().0, "{\"all\":true}");
    let words: Vec<_> = book.trail.iter().map(|step| step.action.word()).collect();
    assert_eq!(words, ["looked at", "noted", "noted", "noted", "closed"]);
    #[cfg(unix)]
    for (path, mode) in [("kioku/cases", 0o700), (&format!("kioku/cases/{}.kioku", "ab".repeat(16)), 0o600)] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn one_case_may_hold_many_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.kioku");
    let mut store = Store::create(&path, false).unwrap();
    store.write(&identity(), &info(), &[note(1)], &[], None).unwrap();
    drop(store);
    let other = Identity { key: "cd".repeat(32), ..identity() };
    let mut store = Store::open(&path).unwrap().unwrap();
    assert!(store.casebook(&other).unwrap().notes.is_empty());
    store.write(&other, &info(), &[note(2), note(3)], &[], None).unwrap();
    drop(store);
    assert_eq!(read(&path).notes.len(), 1);
}

#[test]
fn what_is_not_ours_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let foreign = rusqlite_file(&file("foreign.db"), "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    let later = rusqlite_file(&file("later.kioku"), "PRAGMA application_id = 1802071915; PRAGMA user_version = 2; CREATE TABLE t (x)");
    let trigger = file("trigger.kioku");
    drop(Store::create(&trigger, false).unwrap());
    rusqlite_file(&trigger, "CREATE TRIGGER evil AFTER INSERT ON notes BEGIN DELETE FROM trail; END");
    let damaged = file("damaged.kioku");
    drop(Store::create(&damaged, false).unwrap());
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&damaged, bytes).unwrap();
    let text = file("notes.txt");
    std::fs::write(&text, "my notes").unwrap();
    for (path, why) in [
        (foreign, "another program"),
        (later, "a later version of kioku (form 2; this one reads 1)"),
        (trigger, "not those of a case"),
        (damaged, "damaged"),
        (text, "not a case of kioku"),
        (folder.path().to_owned(), "not a file"),
    ] {
        let before = std::fs::read(&path).ok();
        let told = Store::open(&path).err().unwrap_or_else(|| panic!("{path:?} was opened"));
        assert!(told.contains(why) && told.contains("--case"), "{told}");
        let mut keeper = keeper(Plan::At(path.clone()));
        let (_, kept, told) = opened(news(&mut keeper));
        assert!(!kept && told.unwrap().contains("notes are not saved"));
        keeper.send(order(note(1)));
        keeper.close("{}".into(), Vec::new()).unwrap();
        assert_eq!(std::fs::read(&path).ok(), before, "{path:?} was written to");
    }
    assert!(Store::check(&file("none/x.kioku")).unwrap_err().contains("there is no folder"));
    assert_eq!(Store::check(&file("new.kioku")), Ok(()));
}

fn rusqlite_file(path: &Path, sql: &str) -> PathBuf {
    super::store::tamper(path, sql);
    path.to_owned()
}

#[test]
fn the_second_explorer_is_told_and_both_save() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.kioku");
    let (mut first, mut second) = (keeper(Plan::At(path.clone())), keeper(Plan::At(path.clone())));
    _ = (news(&mut first), news(&mut second));
    first.send(order(note(1)));
    assert!(news(&mut first).iter().all(|news| matches!(news, News::Saved)));
    second.send(order(note(2)));
    let told = news(&mut second);
    assert!(told.iter().any(|news| matches!(news, News::Told(what) if what.contains("another explorer"))));
    let mut third = keeper(Plan::At(path.clone()));
    assert!(opened(news(&mut third)).2.unwrap().contains("another explorer"));
    // All at once, and not a note is lost.
    for number in 10..30 {
        [&mut first, &mut second, &mut third][number as usize % 3].send(order(note(number)));
    }
    for keeper in [first, second, third] {
        keeper.close("{}".into(), Vec::new()).unwrap();
    }
    assert_eq!(read(&path).notes.len(), 22);
    assert!(!folder.path().join("shared.kioku.lock").exists());
}

#[test]
fn a_place_that_cannot_be_written_to_is_told_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    // A file where a folder should be stops everybody, root too.
    std::fs::write(folder.path().join("kioku"), "").unwrap();
    let mut never = keeper(Plan::In(Ok(folder.path().join("kioku/cases"))));
    let (_, kept, told) = opened(news(&mut never));
    assert!(!kept && told.unwrap().starts_with("notes are not saved: "));

    let place = folder.path().join("gone");
    std::fs::create_dir(&place).unwrap();
    let mut later = keeper(Plan::At(place.join("x.kioku")));
    assert!(opened(news(&mut later)).1);
    std::fs::remove_dir(&place).unwrap();
    later.send(order(note(1)));
    assert!(matches!(&news(&mut later)[..], [News::Failed(why)] if why.contains("x.kioku")));
    std::fs::create_dir(&place).unwrap();
    later.send(order(note(2)));
    assert!(matches!(news(&mut later)[..], [News::Saved]));
    later.close("{}".into(), Vec::new()).unwrap();
    assert_eq!(read(&place.join("x.kioku")).notes.len(), 2, "what could not be saved is saved with the next");
}

/// Writes notes until it is killed; says which are saved. Run by the test below, in a process of its own.
#[test]
fn writer_for_the_crash() {
    let Some(path) = std::env::var_os("KIOKU_CRASH_CASE").map(PathBuf::from) else { return };
    let mut saved = std::fs::File::create_new(path.with_extension("saved")).unwrap();
    let mut store = Store::create(&path, false).unwrap();
    for number in 0.. {
        store.write(&identity(), &info(), &[note(number)], &[Step::now(Action::Noted, "x")], Some("{}")).unwrap();
        saved.write_all(b"x").unwrap();
    }
}

#[test]
fn a_crash_at_any_moment_loses_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    for (round, millis) in [3u64, 11, 40, 75].into_iter().enumerate() {
        let path = folder.path().join(format!("{round}.kioku"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "case::tests::writer_for_the_crash"])
            .env("KIOKU_CRASH_CASE", &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !path.exists() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
        let saved = std::fs::metadata(path.with_extension("saved")).unwrap().len() as usize;
        // A crash before the first note may leave an empty file, in which the next explorer begins.
        let found = Store::open(&path).unwrap().map_or(0, |mut store| {
            let book = store.casebook(&identity()).unwrap();
            assert_eq!(book.notes.len(), book.trail.len(), "a note and its step are one");
            book.notes.len()
        });
        assert!(found >= saved && found <= saved + 1, "{found} of {saved} notes");
        let mut store = Store::create(&path, false).unwrap();
        store.write(&identity(), &info(), &[note(1_000_000)], &[], None).unwrap();
    }
}

#[test]
fn a_damaged_file_is_refused_or_read_and_nothing_worse() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.kioku");
    let mut store = Store::create(&path, false).unwrap();
    let notes: Vec<Note> = (0..20).map(note).collect();
    store.write(&identity(), &info(), &notes, &[Step::now(Action::Noted, "x")], Some("{}")).unwrap();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for (round, at) in (0..whole.len()).step_by(whole.len() / 150).enumerate() {
        let mut bytes = whole.clone();
        bytes.iter_mut().skip(at).take(1 + round % 40).for_each(|byte| *byte ^= 0xa5 ^ round as u8);
        if round % 10 == 9 {
            bytes.truncate(at);
        }
        let path = folder.path().join(format!("{round}.kioku"));
        std::fs::write(&path, &bytes).unwrap();
        let opened = Store::open(&path).and_then(|store| store.map_or(Ok(Casebook::default()), |mut store| store.casebook(&identity())));
        if opened.is_err() {
            refused += 1;
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "a refused file is left as it is");
        }
    }
    assert!(refused > 20, "{refused} of 150 were refused");
}
