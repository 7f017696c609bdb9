//! Damaged memory: what is still told of it is true, or marked with what is wrong. The bundled Windows image is damaged in memory,
//! always in the same way, and its tables are held against those of the whole image.
#![allow(clippy::unwrap_used)]

mod windows_image;

use kioku::engine::{Ground, Options, Search, Session, Space};
use kioku::facts::drivers::Callback;
use kioku::facts::linux::CachedFile;
use kioku::facts::{Origin, Rows as _, Scope, Socket, StructField, Watch};
use std::io::Read as _;
use std::time::{Duration, Instant};
use windows_image::{PAGE, PAGES, Pages, WEIGHED, ask, open, untrue, where_is, written};

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
    /// Pages of anything.
    Noise,
}

/// Pages of an image of which about one in `one_in` is damaged.
fn damaged(how: Damage, one_in: usize, seed: u64) -> Pages {
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
            Damage::Noise => page.iter_mut().for_each(|byte| *byte = dice.roll(256) as u8),
            Damage::Flips => (0..8).for_each(|_| page[dice.roll(PAGE)] ^= 1 << dice.roll(8)),
        }
    }
    pages
}

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
fn pages_of_noise_make_no_rows_and_no_names() {
    let (session, _folder) = open(&damaged(Damage::Noise, 25, 3));
    ask(&session, |entry, rows| {
        if VOUCHED.contains(&entry.table.name) || ["processes", "handles", "privileges"].contains(&entry.table.name) {
            assert_eq!(untrue(entry, &*rows), [""; 0]);
        }
    });
}

#[test]
fn torn_structures_end_every_walk_and_accuse_nobody() {
    for (how, one_in, seed) in [(Damage::Pointers, 10, 7), (Damage::Ones, 8, 2), (Damage::Flips, 4, 6), (Damage::Smear, 60, 5)] {
        let (session, _folder) = open(&damaged(how, one_in, seed));
        ask(&session, |entry, rows| {
            let accused = |name, word| where_is(&*rows, name, word, "pid");
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
    let folder = tempfile::tempdir().unwrap();
    let path = written(&PAGES, &folder);
    let kept = PAGES[PAGES.len() * 9 / 10].0 * PAGE as u64;
    std::fs::File::options().write(true).open(&path).unwrap().set_len(kept).unwrap();
    match Session::open(&path, &Options::default(), &Watch::default()) {
        Ok(session) => ask(&session, |_, _| ()),
        Err(why) => assert!(why.0.contains("damaged.raw") && why.0.contains("is the image whole?"), "{why}"),
    }
}

/// The bundled Linux image with words of its kernel changed.
struct Changed {
    whole: Session,
    bytes: Vec<u8>,
}

impl Changed {
    fn new() -> Self {
        let mut bytes = Vec::new();
        let mut packed = &include_bytes!("../assets/linux.elf.zst")[..];
        // The last frame is the index of the others.
        while let Ok(mut frame) = ruzstd::decoding::StreamingDecoder::new(&mut packed) {
            frame.read_to_end(&mut bytes).unwrap();
        }
        Self { whole: Session::demo(Origin::Linux, &Watch::default()).unwrap(), bytes }
    }

    fn symbol(&self, name: &str) -> u64 {
        self.whole.locate(name, None, &Default::default()).unwrap().address.0
    }

    /// The address of a field, `structure.field`.
    fn field(&self, at: u64, name: &str) -> u64 {
        let (structure, field) = name.split_once('.').unwrap();
        let structure = self.whole.structure(structure).unwrap();
        let is_it = |it: &&StructField| it.name == field || it.name.strip_prefix(field).is_some_and(|rest| rest.starts_with('.'));
        at + u64::from(structure.fields.iter().find(is_it).unwrap().offset)
    }

    /// Where a word of the kernel is in the file, by its program headers.
    fn place(&self, at: u64) -> usize {
        let physical = self.whole.read(Space::Kernel, at, 1).unwrap().pieces[0].origin.unwrap().physical().unwrap().0;
        let number = |at: usize, size: usize| self.bytes[at..at + size].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let headers = (0..number(56, 2)).map(|index| (number(32, 8) + index * 56) as usize);
        let found = headers.filter(|header| number(*header, 4) == 1).find_map(|header| {
            let past = physical.checked_sub(number(header + 24, 8)).filter(|past| *past < number(header + 32, 8))?;
            Some((number(header + 8, 8) + past) as usize)
        });
        found.unwrap()
    }

    fn get(&self, at: u64) -> u64 {
        let place = self.place(at);
        u64::from_le_bytes(self.bytes[place..place + 8].try_into().unwrap())
    }

    fn set(&mut self, at: u64, value: u64) {
        let place = self.place(at);
        self.bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Opens it and asks; the whole may take so long, without optimisation.
    fn ask<T>(&self, ask: impl Fn(&Session) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed.elf");
        std::fs::write(&path, &self.bytes).unwrap();
        let session = Session::open(&path, &Options::default(), &Watch::default()).unwrap();
        let began = Instant::now();
        let answer = ask(&session);
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        answer
    }
}

#[test]
fn chains_of_sockets_that_all_lead_into_one_circle_end() {
    let mut image = Changed::new();
    let table = image.symbol("tcp_hashinfo");
    let (heads, mask) = (image.get(image.field(table, "inet_hashinfo.ehash")), image.get(image.field(table, "inet_hashinfo.ehash_mask")));
    // Each chain leads to the node that is the last head itself.
    let last = heads + (mask & 0xffff_ffff) * 8;
    (0..=mask & 0xffff_ffff).for_each(|index| image.set(heads + index * 8, last));
    image.ask(|session| assert!(session.rows::<Socket>(Scope::Machine).unwrap().len() < 10_000));
}

#[test]
fn a_page_that_claims_to_be_all_of_an_endless_file_is_held_to_the_memory_there_is() {
    let mut image = Changed::new();
    let files = image.whole.rows::<CachedFile>(Scope::Machine).unwrap();
    let wide = |file: &&CachedFile| (65..512).contains(&file.cached_pages) && !file.deleted && file.path.value().is_some();
    let file = files.iter().find(wide).unwrap();
    let cache = image.get(image.field(file.address.0, "inode.i_mapping"));
    let node = image.get(image.field(cache, "address_space.i_pages") + 8) & !3;
    // The root is a node of the topmost bits, and its first slot the first page.
    let mut first = node;
    while image.get(image.field(first, "xa_node.shift")) & 0xff != 0 {
        first = image.get(image.field(first, "xa_node.slots")) & !3;
    }
    let (page, shift) = (image.get(image.field(first, "xa_node.slots")), image.field(node, "xa_node.shift"));
    image.set(image.field(node, "xa_node.slots"), page);
    image.set(shift, image.get(shift) & !0xff | 54);
    image.set(image.field(file.address.0, "inode.i_size"), 1 << 62);
    let search = Search::new(&["root".to_owned()], false, Ground::Files(file.path.value().cloned()), 100).unwrap();
    image.ask(|session| assert!(session.search(&search, &Default::default(), &mut |_| ()).is_ok()));
}

#[test]
fn folders_of_proc_that_have_each_other_are_told_once() {
    let mut image = Changed::new();
    let callbacks = |session: &Session| session.rows::<Callback>(Scope::Machine).unwrap().iter().count();
    let before = callbacks(&image.whole);
    let (root, link) = (image.symbol("proc_root"), image.field(0, "proc_dir_entry.subdir_node"));
    let below = image.get(image.field(root, "proc_dir_entry.subdir"));
    let mut waiting = vec![below];
    while let Some(node) = waiting.pop().filter(|node| *node != 0) {
        image.set(image.field(node - link, "proc_dir_entry.subdir"), below);
        waiting.extend([image.get(node + 8), image.get(node + 16)].into_iter().filter(|next| *next != 0));
    }
    assert!(image.ask(callbacks) <= before);
}
