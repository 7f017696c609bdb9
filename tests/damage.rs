//! Damaged memory: what is still told of it is true, or marked with what is wrong. The bundled Windows image is damaged in memory,
//! always in the same way, and its tables are held against those of the whole image.
#![allow(clippy::unwrap_used)]

mod windows_image;

use kioku::engine::{Options, Session};
use kioku::facts::Watch;
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
