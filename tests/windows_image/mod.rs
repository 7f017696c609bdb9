//! Windows images for tests: the bundled one, opened once; its memory, to be changed; and its tables, to hold those of others against.
#![allow(dead_code, clippy::unwrap_used)]

use kioku::engine::{Entry, Options, Session, Space, find_table};
use kioku::facts::{Cell, Origin, Process, Rows, Scope, State, StructField, Structure, Watch};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

pub const PAGE: usize = 4096;
/// Opening and every table of one image, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of page-table entries: what is mapped, what maps more than a page, and where.
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0xf_ffff_ffff_f000;
/// Present, writable, of the system alone, not to be run.
const DATA: u64 = 1 << 63 | 0x63;

pub static WHOLE: LazyLock<Session> = LazyLock::new(|| Session::demo(Origin::Windows, &Watch::default()).unwrap());

/// Pages that hold anything, in the order of their numbers.
pub type Pages = Vec<(u64, Vec<u8>)>;

pub static PAGES: LazyLock<Pages> = LazyLock::new(|| {
    let mut pages = Vec::new();
    let length = WHOLE.info().memory.iter().map(|range| range.end().0).max().unwrap();
    for at in (0..length).step_by(1 << 20) {
        let bytes = WHOLE.read(Space::Physical, at, 1 << 20).unwrap().data;
        let here = bytes.chunks(PAGE).zip(at / PAGE as u64..);
        pages.extend(here.filter(|(page, _)| page.iter().any(|byte| *byte != 0)).map(|(page, number)| (number, page.to_vec())));
    }
    pages
});

/// What a page-table entry says of a page that is not there.
#[derive(Clone, Copy, Debug)]
pub enum Gone {
    /// Nothing.
    Unmapped,
    /// Never written: zeros.
    Demand,
    Pagefile(u64),
    /// On its way out, in the frame it had.
    Transition,
}

/// Memory to be changed.
#[derive(Clone)]
pub struct Image {
    pub pages: Pages,
    /// Where the next fresh page of the kernel is to be mapped, and the directory of the tables that map them.
    fresh: Option<(u64, u64)>,
}

impl Image {
    pub fn new() -> Self {
        Self { pages: PAGES.clone(), fresh: None }
    }

    fn page(&mut self, number: u64) -> &mut [u8] {
        let at = match self.pages.binary_search_by_key(&number, |page| page.0) {
            Ok(at) => at,
            Err(at) => {
                self.pages.insert(at, (number, vec![0; PAGE]));
                at
            }
        };
        &mut self.pages[at].1
    }
    fn word(&mut self, physical: u64) -> u64 {
        let at = physical as usize % PAGE;
        u64::from_le_bytes(self.page(physical / PAGE as u64)[at..at + 8].try_into().unwrap())
    }
    pub fn put_word(&mut self, physical: u64, value: u64) {
        let at = physical as usize % PAGE;
        self.page(physical / PAGE as u64)[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    /// A new page at the end of memory.
    pub fn append(&mut self) -> u64 {
        let number = self.pages.last().unwrap().0.max(PAGES.last().unwrap().0) + 1;
        self.pages.push((number, vec![0; PAGE]));
        number * PAGE as u64
    }

    /// The last entry on the way to an address: where it stands, and how many bits of the address it leaves.
    pub fn entry(&mut self, space: Space, at: u64) -> (u64, u32) {
        let mut table = match space {
            Space::Physical => panic!("{at:#x} needs no page table"),
            Space::Kernel => WHOLE.info().page_table_root.0,
            Space::Process(process) => self.get(process.0, "_EPROCESS.Pcb.DirectoryTableBase"),
        } & FRAME;
        for shift in [39, 30, 21, 12] {
            let place = table + (at >> shift & 0x1ff) * 8;
            let entry = self.word(place);
            if shift == 12 || entry & PRESENT == 0 || entry & LARGE != 0 && shift < 39 {
                return (place, shift);
            }
            table = entry & FRAME;
        }
        unreachable!()
    }

    pub fn physical(&mut self, space: Space, at: u64) -> u64 {
        if space == Space::Physical {
            return at;
        }
        let (place, shift) = self.entry(space, at);
        let (entry, inside) = (self.word(place), (1 << shift) - 1);
        if entry & PRESENT != 0 {
            return entry & FRAME & !inside | at & inside;
        }
        let origin = WHOLE.read(space, at, 1).unwrap().pieces[0].origin;
        origin.unwrap_or_else(|why| panic!("{at:#x} in {space:?}: {why}")).physical().unwrap().0
    }

    pub fn read(&mut self, space: Space, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.each_page(space, at, length, |page, here| bytes[here].copy_from_slice(page));
        bytes
    }
    pub fn write(&mut self, space: Space, at: u64, bytes: &[u8]) {
        self.each_page(space, at, bytes.len(), |page, here| page.copy_from_slice(&bytes[here]));
    }
    fn each_page(&mut self, space: Space, at: u64, length: usize, mut act: impl FnMut(&mut [u8], Range<usize>)) {
        let mut done = 0;
        while done < length {
            let physical = self.physical(space, at + done as u64);
            let inside = physical as usize % PAGE;
            let piece = (PAGE - inside).min(length - done);
            act(&mut self.page(physical / PAGE as u64)[inside..inside + piece], done..done + piece);
            done += piece;
        }
    }

    pub fn set_word(&mut self, space: Space, at: u64, value: u64) {
        self.write(space, at, &value.to_le_bytes());
    }

    /// Gives a process a copy of a page for itself, to be written and run; where that is.
    pub fn private_copy(&mut self, space: Space, at: u64) -> u64 {
        let bytes = self.read(space, at & !(PAGE as u64 - 1), PAGE);
        let (place, _) = self.entry(space, at);
        let (entry, frame) = (self.word(place), self.append());
        self.page(frame / PAGE as u64).copy_from_slice(&bytes);
        self.put_word(place, entry & !FRAME & !(1 << 63) | frame | 0x67);
        frame
    }

    /// A field by its structure and name, `_EPROCESS.ActiveProcessLinks.Flink`: of an object of the kernel.
    pub fn get(&mut self, object: u64, field: &str) -> u64 {
        self.get_in(Space::Kernel, object, field)
    }
    pub fn set(&mut self, object: u64, field: &str, value: u64) {
        self.set_in(Space::Kernel, object, field, value);
    }
    /// Of an object in a process.
    pub fn get_in(&mut self, space: Space, object: u64, field: &str) -> u64 {
        let (offset, size, shift, width) = place_of(field);
        let mut word = [0; 8];
        word[..size].copy_from_slice(&self.read(space, object + offset, size));
        u64::from_le_bytes(word) >> shift & (u64::MAX >> (64 - width))
    }
    pub fn set_in(&mut self, space: Space, object: u64, field: &str, value: u64) {
        let (offset, size, shift, width) = place_of(field);
        let mut word = [0; 8];
        word[..size].copy_from_slice(&self.read(space, object + offset, size));
        let mask = (u64::MAX >> (64 - width)) << shift;
        let word = u64::from_le_bytes(word) & !mask | value << shift & mask;
        self.write(space, object + offset, &word.to_le_bytes()[..size]);
    }

    /// Takes the page of an address out of the page tables.
    pub fn unmap(&mut self, space: Space, at: u64, how: Gone) {
        let (mut place, shift) = self.entry(space, at);
        let entry = self.word(place);
        if entry & PRESENT == 0 {
            return;
        }
        if shift == 21 {
            // A large page becomes one of many.
            let table = self.append();
            (0..512).for_each(|index| self.put_word(table + index * 8, (entry & !LARGE) + index * PAGE as u64));
            self.put_word(place, table | 0x63);
            place = table + (at >> 12 & 0x1ff) * 8;
        }
        let entry = self.word(place);
        let of = |fields: &[(&str, u64)]| fields.iter().fold(0, |entry, (field, value)| entry | value << place_of(field).2);
        let gone = match how {
            Gone::Unmapped => 0,
            Gone::Demand => of(&[("_MMPTE_SOFTWARE.Protection", 4)]),
            Gone::Pagefile(page) => {
                let swizzle = ("_MMPTE_SOFTWARE.SwizzleBit", 1);
                of(&[("_MMPTE_SOFTWARE.Protection", 4), swizzle, ("_MMPTE_SOFTWARE.PageFileHigh", page)])
            }
            Gone::Transition => {
                let fields = ["Protection", "SwizzleBit", "Transition"].map(|field| format!("_MMPTE_TRANSITION.{field}"));
                entry & FRAME | of(&[(&fields[0], 4), (&fields[1], 1), (&fields[2], 1)])
            }
        };
        self.put_word(place, gone);
    }

    /// New memory of the kernel, in pages of zeros that follow each other.
    pub fn fresh(&mut self, pages: usize) -> u64 {
        let (start, directory) = self.fresh.unwrap_or_else(|| {
            // Beside the pool, in a table that all processes share.
            let pool = process(4);
            let shared = self.word(WHOLE.info().page_table_root.0 + (pool >> 39 & 0x1ff) * 8) & FRAME;
            let slot = (0..512).rev().find(|slot| self.word(shared + slot * 8) == 0).unwrap();
            let directory = self.append();
            self.put_word(shared + slot * 8, directory | DATA);
            (pool >> 39 << 39 | slot << 30, directory)
        });
        let end = start + (pages * PAGE) as u64;
        for at in (start..end).step_by(PAGE) {
            let place = directory + (at >> 21 & 0x1ff) * 8;
            if self.word(place) == 0 {
                let table = self.append();
                self.put_word(place, table | DATA);
            }
            let (table, frame) = (self.word(place) & FRAME, self.append());
            self.put_word(table + (at >> 12 & 0x1ff) * 8, frame | DATA);
        }
        self.fresh = Some((end, directory));
        start
    }

    /// The same bytes at another place of the kernel, as far from the beginning of a page.
    pub fn copied(&mut self, at: u64, length: usize) -> u64 {
        let bytes = self.read(Space::Kernel, at, length);
        let inside = at % PAGE as u64;
        let to = self.fresh((inside as usize + length).div_ceil(PAGE)) + inside;
        self.write(Space::Kernel, to, &bytes);
        to
    }

    /// The same where the veil of a type index is the same: at an address with the same second byte.
    pub fn copied_alike(&mut self, at: u64, length: usize) -> u64 {
        if let Some((next, _)) = &mut self.fresh {
            *next += at.wrapping_sub(*next) & 0xf000;
        }
        self.copied(at, length)
    }

    pub fn open(&self) -> (Session, tempfile::TempDir) {
        open(&self.pages)
    }
}

static STRUCTURES: LazyLock<std::sync::Mutex<HashMap<String, Arc<Structure>>>> = LazyLock::new(Default::default);

fn structure(name: &str) -> Arc<Structure> {
    let mut known = STRUCTURES.lock().unwrap();
    let make = || Arc::new(WHOLE.structure(name).unwrap());
    Arc::clone(known.entry(name.to_owned()).or_insert_with(make))
}

pub fn size_of(name: &str) -> usize {
    structure(name).size as usize
}

/// Offset, bytes, and within them the lowest bit and the number of bits.
fn place_of(field: &str) -> (u64, usize, u32, u32) {
    let (name, field) = field.split_once('.').unwrap();
    let structure = structure(name);
    let is_it = |it: &&StructField| it.name == field || it.name.strip_prefix(field).is_some_and(|rest| rest.starts_with('.'));
    let found = structure.fields.iter().find(is_it).unwrap_or_else(|| panic!("{name} has no {field}"));
    let (shift, width) = found.bits.unwrap_or((0, found.size.min(8) as u8 * 8));
    (found.offset.into(), found.size.min(8) as usize, shift.into(), width.into())
}

pub fn offset_of(field: &str) -> u64 {
    place_of(field).0
}

pub fn symbol(name: &str) -> u64 {
    WHOLE.locate(name, None, &Arc::default()).unwrap_or_else(|| panic!("no symbol {name}")).address.0
}

/// The _EPROCESS of a process of the bundled image.
pub fn process(pid: u32) -> u64 {
    let processes = WHOLE.rows::<Process>(Scope::Machine).unwrap();
    processes.iter().find(|row| row.pid == pid).unwrap().address.value().unwrap().0
}

/// An opened image, and the folder that goes with it.
pub fn open(pages: &[(u64, Vec<u8>)]) -> (Session, tempfile::TempDir) {
    open_with(pages, &Options::default())
}

pub fn open_with(pages: &[(u64, Vec<u8>)], options: &Options) -> (Session, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = written(pages, &folder);
    (Session::open(&path, options, &Watch::default()).unwrap(), folder)
}

pub fn written(pages: &[(u64, Vec<u8>)], folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("damaged.raw");
    let file = File::create(&path).unwrap();
    let last = pages.last().map_or(0, |page| page.0).max(PAGES.last().unwrap().0);
    file.set_len((last + 1) * PAGE as u64).unwrap();
    pages.iter().for_each(|(number, page)| file.write_all_at(page, number * PAGE as u64).unwrap());
    path
}

/// Every table of an image; none may take long or be silently empty.
pub fn ask(session: &Session, mut look: impl FnMut(&'static Entry, Arc<dyn Rows>)) {
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

pub fn fields(rows: &dyn Rows, row: usize) -> Vec<(&'static str, String)> {
    let columns = rows.table().columns.iter().enumerate();
    let told = columns.map(|(index, column)| (column.name, rows.cell(row, index)));
    told.filter(|(name, cell)| !cell.is_null() && !JUDGED.contains(name)).map(|(name, cell)| (name, cell.to_string())).collect()
}

/// The rows that contradict the whole image's and have no problem to tell.
pub fn untrue(entry: &'static Entry, rows: &dyn Rows) -> Vec<String> {
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
pub const WEIGHED: &[&str] = &["findings", "connections", "driver_functions"];

/// The text of a column in the rows of which another has a value.
pub fn where_is(rows: &dyn Rows, name: &str, value: &str, told: &str) -> Vec<String> {
    let column = |name: &str| rows.table().columns.iter().position(|column| column.name == name).unwrap();
    let is = |row: &usize| rows.cell(*row, column(name)).to_string() == value;
    (0..rows.len()).filter(is).map(|row| rows.cell(row, column(told)).to_string()).collect()
}

/// Asks every table: each row is one of the whole image's or has a problem to tell, and no table has more rows, or fewer than it may have
/// lost. Gives everything that was wrong, to be seen at once.
pub fn faults(session: &Session, lost: &[(&str, usize)]) -> Vec<String> {
    let mut faults = Vec::new();
    ask(session, |entry, _| {
        let name = entry.table.name;
        if !WEIGHED.contains(&name) {
            faults.extend(faults_of(session, name, lost.iter().find(|(table, _)| *table == name).map_or(0, |(_, rows)| *rows)));
        }
    });
    faults
}

/// The same for one table.
pub fn faults_of(session: &Session, name: &str, lost: usize) -> Vec<String> {
    let entry = find_table(name).unwrap();
    let [rows, whole] = [session, &WHOLE].map(|session| session.query(entry, Scope::Machine, &Arc::default()).unwrap());
    let mut faults = untrue(entry, &*rows);
    if rows.len() > whole.len() || rows.len() + lost < whole.len() {
        faults.push(format!("{name} has {} rows of {}; {:?}", rows.len(), whole.len(), rows.notes()));
    }
    faults
}

pub fn rows(session: &Session, table: &str) -> Arc<dyn Rows> {
    session.query(find_table(table).unwrap(), Scope::Machine, &Arc::default()).unwrap()
}
