//! Damaged memory: what is still told of it is true, or marked with what is wrong. The bundled Windows image is damaged in memory,
//! always in the same way, and its tables are held against those of the whole image.
#![allow(clippy::unwrap_used)]

use kioku::engine::{Entry, Options, Session, Space};
use kioku::facts::{Cell, Origin, Rows, Scope, State, Watch};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// Opening and every table of one image, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(60);

static WHOLE: LazyLock<Session> = LazyLock::new(|| Session::demo(Origin::Windows, &Watch::default()).unwrap());

/// The pages that hold anything, by number.
static PAGES: LazyLock<Vec<(u64, Vec<u8>)>> = LazyLock::new(|| {
    let mut pages = Vec::new();
    let length = WHOLE.info().memory.iter().map(|range| range.end().0).max().unwrap();
    for at in (0..length).step_by(1 << 20) {
        let bytes = WHOLE.read(Space::Physical, at, 1 << 20).unwrap().data;
        let here = bytes.chunks(PAGE).zip(at / PAGE as u64..);
        pages.extend(here.filter(|(page, _)| page.iter().any(|byte| *byte != 0)).map(|(page, number)| (number, page.to_vec())));
    }
    pages
});

/// Numbers that are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Pages that were not written.
    Zeros,
    /// Pages written from another place: memory that changed while it was copied.
    Smear,
    /// Kernel pointers that lead to where other pointers lead: lists into each other, in circles, broken in one direction.
    Pointers,
    /// Words of ones: counts of 2^32-1, lengths of 64 KiB, levels that do not exist.
    Ones,
    /// Bits.
    Flips,
}

/// Pages of an image of which about one in `one_in` is damaged.
fn damaged(how: Damage, one_in: usize, seed: u64) -> Vec<(u64, Vec<u8>)> {
    let mut dice = Dice(seed);
    let is_pointer = |word: &[u8]| word[6] == 0xff && word[7] == 0xff;
    let mut pages = PAGES.clone();
    for (_, page) in &mut pages {
        if dice.roll(one_in) != 0 {
            continue;
        }
        let other = PAGES[dice.roll(PAGES.len())].1.clone();
        match how {
            Damage::Zeros => page.fill(0),
            Damage::Smear => *page = other,
            Damage::Pointers => {
                let mut others = other.chunks(8).filter(|word| is_pointer(word)).cycle();
                for word in page.chunks_mut(8).filter(|word| is_pointer(word)) {
                    if let (0, Some(other)) = (dice.roll(8), others.next()) {
                        word.copy_from_slice(other);
                    }
                }
            }
            Damage::Ones => (0..8).for_each(|_| {
                let width = [2, 4, 8][dice.roll(3)];
                let at = dice.roll(PAGE / width) * width;
                page[at..at + width].fill(0xff);
            }),
            Damage::Flips => (0..8).for_each(|_| page[dice.roll(PAGE)] ^= 1 << dice.roll(8)),
        }
    }
    pages
}

/// An opened image, and the folder that goes with it.
fn open(pages: &[(u64, Vec<u8>)]) -> (Session, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.raw");
    let file = File::create(&path).unwrap();
    file.set_len((PAGES.last().unwrap().0 + 1) * PAGE as u64).unwrap();
    pages.iter().for_each(|(number, page)| file.write_all_at(page, number * PAGE as u64).unwrap());
    (Session::open(&path, &Options::default(), &Watch::default()).unwrap(), folder)
}

/// Every table of an image; none may take long or be silently empty.
fn ask(session: &Session, mut look: impl FnMut(&'static Entry, Arc<dyn Rows>)) {
    let began = Instant::now();
    for entry in session.tables() {
        let name = entry.table.name;
        let rows = session.query(entry, Scope::Machine, &Arc::default()).unwrap();
        assert_ne!(rows.state(), State::Running);
        assert!(!rows.is_empty() || !rows.notes().is_empty(), "{name} is silently empty");
        assert!(began.elapsed() < PATIENCE, "{name} is not done after {:?}", began.elapsed());
        look(entry, rows);
    }
}

/// Columns that tell how a row was found, or what was made of it.
const JUDGED: &[&str] = &[
    "source",
    "sources",
    "recovered",
    "join",
    "event_join",
    "reason",
    "problems",
    "indicators",
    "score",
    "verdict",
    "head",
    "resident_pages",
    "page_rights",
    "depth",
    "parent",
];

fn fields(rows: &dyn Rows, row: usize) -> Vec<(&'static str, String)> {
    let columns = rows.table().columns.iter().enumerate();
    let told = columns.map(|(index, column)| (column.name, rows.cell(row, index)));
    told.filter(|(name, cell)| !cell.is_null() && !JUDGED.contains(name)).map(|(name, cell)| (name, cell.to_string())).collect()
}

/// The rows that contradict the whole image's and have no problem to tell.
fn untrue(entry: &'static Entry, rows: &dyn Rows) -> Vec<String> {
    let whole = WHOLE.query(entry, Scope::Machine, &Arc::default()).unwrap();
    let mut known: HashMap<(&str, String), Vec<usize>> = HashMap::new();
    let whole_rows: Vec<HashMap<_, _>> = (0..whole.len()).map(|row| fields(&*whole, row).into_iter().collect()).collect();
    for (index, row) in whole_rows.iter().enumerate() {
        row.iter().for_each(|(name, value)| known.entry((name, value.clone())).or_default().push(index));
    }
    // `??` stands for the part of a path that cannot be read.
    let agrees = |row: &HashMap<&str, String>, (name, value): &(&'static str, String)| {
        row.get(name).is_some_and(|whole| whole == value || value.strip_prefix("??").is_some_and(|rest| whole.ends_with(rest)))
    };
    let problems = rows.table().columns.iter().position(|column| column.name == "problems");
    let marked = |row| problems.is_some_and(|column| !matches!(rows.cell(row, column), Cell::List(list) if list.is_empty()));
    let contradicts = |row: &usize| {
        let told = fields(rows, *row);
        // Whatever row it is of, it is among those that have the rarest of its values.
        let rarest = told.iter().filter_map(|(name, value)| known.get(&(*name, value.clone()))).min_by_key(|rows| rows.len());
        !rarest.is_some_and(|rows| rows.iter().any(|row| told.iter().all(|field| agrees(&whole_rows[*row], field))))
    };
    let untrue = (0..rows.len()).filter(|row| !marked(*row)).filter(contradicts);
    untrue.map(|row| format!("{}: {:?}", entry.table.name, fields(rows, row))).collect()
}

/// Tables that weigh or count what there is, or name code by what is left to name it: with less of it they say less, or otherwise.
const WEIGHED: &[&str] = &["findings", "connections", "driver_functions"];

#[test]
fn what_is_told_of_pages_that_are_missing_is_true() {
    for (one_in, seed) in [(20, 2), (8, 6)] {
        let (session, _folder) = open(&damaged(Damage::Zeros, one_in, seed));
        ask(&session, |entry, rows| {
            if !WEIGHED.contains(&entry.table.name) {
                assert_eq!(untrue(entry, &*rows), [""; 0]);
            }
        });
    }
}

/// Tables of structures that vouch for each other. Text has nothing that vouches for it.
const VOUCHED: &[&str] = &["threads", "sockets", "regions", "modules", "file_objects", "sids"];

#[test]
fn pages_from_elsewhere_make_no_rows() {
    let (session, _folder) = open(&damaged(Damage::Smear, 30, 12));
    ask(&session, |entry, rows| {
        if VOUCHED.contains(&entry.table.name) {
            assert_eq!(untrue(entry, &*rows), [""; 0]);
        }
    });
}

#[test]
fn torn_structures_end_every_walk_and_accuse_nobody() {
    let column = |rows: &dyn Rows, name| rows.table().columns.iter().position(|column| column.name == name).unwrap();
    for (how, one_in, seed) in [(Damage::Pointers, 10, 7), (Damage::Ones, 8, 2), (Damage::Flips, 4, 6)] {
        let (session, _folder) = open(&damaged(how, one_in, seed));
        ask(&session, |entry, rows| {
            let accused = |name, word: &str| {
                let (what, pid) = (column(&*rows, name), column(&*rows, "pid"));
                let is = |row: &usize| rows.cell(*row, what).to_string() == word;
                (0..rows.len()).filter(is).map(|row| rows.cell(row, pid).to_string()).collect::<Vec<_>>()
            };
            match entry.table.name {
                "processes" => assert!(accused("state", "hidden").iter().all(|pid| pid == "7112"), "{how:?}"),
                "suspicious" => {
                    let injected = accused("verdict", "likely_injected");
                    assert!(injected.iter().all(|pid| ["3588", "6704", "6980", "7112"].contains(&pid.as_str())), "{how:?} {injected:?}");
                }
                _ => (),
            }
        });
    }
}

#[test]
fn an_image_that_was_cut_off_is_refused_with_its_reason_or_read_as_far_as_it_goes() {
    let kept = PAGES.len() * 9 / 10;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.raw");
    let file = File::create(&path).unwrap();
    PAGES[..kept].iter().for_each(|(number, page)| file.write_all_at(page, number * PAGE as u64).unwrap());
    match Session::open(&path, &Options::default(), &Watch::default()) {
        Ok(session) => ask(&session, |_, _| ()),
        Err(why) => assert!(why.0.contains("cut.raw") && why.0.contains("is the image whole?"), "{why}"),
    }
}
