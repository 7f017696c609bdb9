//! Histories of running shells, from the memory of bash.
//!
//! bash keeps its history with GNU readline, whose structures are public (readline/history.h): an array of pointers to entries, ended
//! by a null pointer; an entry is `{ char *line; char *timestamp; histdata_t data; }`; a time stamp is the text `#` and seconds since
//! 1970. The search goes from the stamps, which nothing else looks like, up to the entries, the array, and the variable that points to
//! the array. Only what the array holds is the shell's history: entries beside it are remains.

use super::tasks::Task;
use super::{Linux, maps};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::linux::ShellHistory;
use crate::facts::{ReadError, Scope, Sink, Time, Watch};
use crate::paging::AddressSpace;
use crate::symbols::Object;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Memory searched in one process.
const MOST_BYTES: u64 = 256 << 20;
const WINDOW: u64 = 1 << 20;
const STEP: usize = 1 << 30;
/// Longest time stamp: `#`, eleven digits and NUL; also what windows share, so that no stamp is cut.
const STAMP: usize = 16;
const MOST_LINE: usize = 64 << 10;
const MOST_ENTRIES: usize = 1 << 20;
/// A string that only bash has among its own: the variable by which it is told to show times.
const SIGN: &[u8] = b"HISTTIMEFORMAT";
/// Bytes of a program that are searched for it.
const MOST_PROGRAM: u64 = 16 << 20;

/// An entry of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    address: u64,
    line: String,
    seconds: Option<i64>,
    /// In the shell's array. Otherwise a remain: deleted, or replaced.
    listed: bool,
}

#[derive(Debug, Default)]
struct History {
    entries: Vec<Entry>,
    notes: Vec<String>,
}

pub fn shell_history(linux: &Linux, scope: Scope, out: &mut Sink<ShellHistory>) {
    let tasks = linux.tasks(scope, out.watch());
    let mut signs = HashMap::new();
    let mut searched: Vec<(&Task<'_>, History)> = Vec::new();
    let mut looked_at = Vec::new();
    for (done, task) in tasks.iter().enumerate() {
        if out.cancelled() {
            break;
        }
        out.watch().progress(done as u64, tasks.len() as u64);
        // Of one process the user says himself that it is a shell.
        let history = match linux.is_shell(task, &mut signs, out.watch()) {
            Ok(true) => linux.history(task, out.watch()),
            Ok(false) if scope != Scope::Machine => linux.history(task, out.watch()),
            Ok(false) => continue,
            Err(why) => Err(why),
        };
        looked_at.push(format!("{} {}", task.name, task.pid));
        match history {
            Ok(history) => searched.push((task, history)),
            Err(why) => out.note(format!("memory of {} {}: {why}", task.name, task.pid)),
        }
    }
    let without: Vec<_> = searched.iter().filter(|(_, history)| history.entries.is_empty()).collect();
    let without: Vec<_> = without.iter().map(|(task, _)| format!("{} {}", task.name, task.pid)).collect();
    let inherited: Vec<usize> = searched.iter().map(|(task, history)| inherited(task, history, &searched)).collect();
    for ((task, history), inherited) in searched.into_iter().zip(inherited) {
        history.notes.into_iter().for_each(|note| out.note(format!("{} {}: {note}", task.name, task.pid)));
        if inherited > 0 {
            out.note(format!("{} {} is a fork of its parent and has its {inherited} entries; they are shown once", task.name, task.pid));
        }
        out.extend(history.entries.into_iter().skip(inherited).map(|entry| row(task, entry)));
    }
    match looked_at.is_empty() {
        true => out.note("no shell runs: no process is called one, and none has bash's strings"),
        false => out.note(format!("searched the private memory of {} for histories of bash, 64-bit", looked_at.join(", "))),
    }
    if !without.is_empty() {
        out.note(format!("no history was found in {}: no entry was made, or its memory is not in the image", without.join(", ")));
    }
}

fn row(task: &Task<'_>, entry: Entry) -> ShellHistory {
    let remains = (!entry.listed).then(|| "not in the shell's list: a remain of a deleted or replaced entry".to_owned());
    ShellHistory {
        pid: task.pid,
        process: task.name.clone(),
        time: entry.seconds.and_then(Time::from_seconds).into(),
        command: entry.line,
        address: VirtAddr(entry.address),
        problems: remains.into_iter().collect(),
    }
}

/// How many of its first entries a shell has from the shell that it was forked from: the copy has them at the same places.
fn inherited(task: &Task<'_>, history: &History, all: &[(&Task<'_>, History)]) -> usize {
    let layout = |task: &Object<'_>| -> Result<[u64; 3], ReadError> {
        let mm = task.follow_some("mm")?;
        Ok([mm.uint("start_brk")?, mm.uint("start_stack")?, mm.uint("start_code")?])
    };
    let parent = task.object.pointer("real_parent");
    let Some((parent, older)) = all.iter().find(|(other, _)| Ok(other.object.address) == parent) else { return 0 };
    if layout(&task.object) != layout(&parent.object) {
        return 0;
    }
    history.entries.iter().zip(&older.entries).take_while(|(mine, theirs)| mine == theirs).count()
}

impl Linux {
    /// Whether a process is a shell that keeps a history: by its name or its program's, or by a string that bash has, since a program
    /// can be renamed.
    fn is_shell(&self, task: &Task<'_>, signs: &mut HashMap<VirtAddr, bool>, watch: &Watch) -> Result<bool, ReadError> {
        let Some(mm) = task.object.follow("mm")? else { return Ok(false) };
        let shell = |name: &str| name.rsplit('/').next().is_some_and(|name| name.ends_with("sh") || name.contains("bash"));
        let Some(file) = mm.follow("exe_file")? else { return Ok(shell(&task.name)) };
        let inode = file.pointer("f_inode")?;
        if shell(&task.name) || super::path::of_file(&file).is_ok_and(|path| shell(&path.text)) {
            return Ok(true);
        }
        if let Some(known) = signs.get(&inode) {
            return Ok(*known);
        }
        let space = self.space_of(&task.object)?;
        let (mappings, _) = maps::mappings(&mm, watch);
        // A constant: in what a program can write, it may have come from elsewhere.
        let of_program = |mapping: &&maps::Mapping<'_>| {
            !mapping.protection.write && mapping.file.as_ref().is_some_and(|file| file.pointer("f_inode") == Ok(inode))
        };
        let ranges = mappings.iter().filter(of_program).map(|mapping| (mapping.start, mapping.end));
        let (runs, _) = present(&space, ranges, MOST_PROGRAM);
        let mut found = false;
        let memory = Memory { runs, read: &|at, bytes| space.read(at, bytes) };
        memory.sweep(watch, &mut |_, bytes| found |= memchr::memmem::find(bytes, SIGN).is_some());
        signs.insert(inode, found);
        Ok(found)
    }

    fn history(&self, task: &Task<'_>, watch: &Watch) -> Result<History, ReadError> {
        let Some(mm) = task.object.follow("mm")? else { return Ok(History::default()) };
        let space = self.space_of(&task.object)?;
        let (mappings, trouble) = maps::mappings(&mm, watch);
        let heap = (mm.uint("start_brk")?, mm.uint("brk")?);
        // Variables lie in private mappings of the program file too.
        let mut own: Vec<_> = mappings.iter().filter(|mapping| mapping.protection.write && !mapping.shared).collect();
        own.sort_by_key(|mapping| !(mapping.start.0 < heap.1 && mapping.end.0 > heap.0));
        let (runs, whole) = present(&space, own.iter().map(|mapping| (mapping.start, mapping.end)), MOST_BYTES);
        let memory = Memory { runs, read: &|at, bytes| space.read(at, bytes) };
        let mut history = search(&memory, watch);
        if let Some(why) = trouble.first() {
            history.notes.push(format!("regions are missing, and with them perhaps its history: {why}"));
        }
        if !whole {
            history.notes.push(format!("only its first {} MiB were searched", MOST_BYTES >> 20));
        }
        Ok(history)
    }
}

/// The parts of some ranges that the page tables map, joined where they touch, up to a limit; false where that cut them.
fn present(space: &AddressSpace, ranges: impl Iterator<Item = (VirtAddr, VirtAddr)>, most: u64) -> (Vec<(VirtAddr, u64)>, bool) {
    let mut runs: Vec<(VirtAddr, u64)> = Vec::new();
    let mut left = most;
    let mut whole = true;
    // In steps, so that a range far beyond the limit is not walked to its end.
    let steps = ranges.flat_map(|(start, end)| {
        (start.0..end.0).step_by(STEP).map(move |at| (VirtAddr(at), VirtAddr(end.0.min(at.saturating_add(STEP as u64)))))
    });
    for (start, end) in steps {
        if left == 0 {
            whole = false;
            break;
        }
        space.mapped(start, end, &mut |at, _, length| {
            let length = length.min(left);
            whole &= length > 0;
            left -= length;
            match runs.last_mut() {
                Some((start, before)) if start.offset(*before) == at => *before += length,
                _ => runs.push((at, length)),
            }
        });
    }
    runs.retain(|(_, length)| *length > 0);
    (runs, whole)
}

type Read<'a> = dyn Fn(VirtAddr, &mut [u8]) -> Result<(), ReadError> + 'a;

/// Memory to search: runs of it that are there, and how to read it.
struct Memory<'a> {
    runs: Vec<(VirtAddr, u64)>,
    read: &'a Read<'a>,
}

impl Memory<'_> {
    /// Shows all of the memory in windows that overlap a little. Pages which the image does not hold are left out.
    fn sweep(&self, watch: &Watch, each: &mut dyn FnMut(VirtAddr, &[u8])) {
        let mut bytes = Vec::new();
        for (start, length) in &self.runs {
            let mut done = 0;
            while done < *length && !watch.cancelled() {
                let part = WINDOW.min(length - done);
                let at = start.offset(done);
                bytes.resize((part + STAMP as u64).min(length - done) as usize, 0);
                if (self.read)(at, &mut bytes).is_ok() {
                    each(at, &bytes);
                } else {
                    for (page, piece) in bytes.chunks_mut(PAGE_SIZE as usize).enumerate() {
                        let at = at.offset(page as u64 * PAGE_SIZE);
                        if (self.read)(at, piece).is_ok() {
                            each(at, piece);
                        }
                    }
                }
                done += part;
            }
        }
    }

    /// The places of words that `wanted` admits.
    fn words(&self, watch: &Watch, wanted: &dyn Fn(u64) -> bool) -> BTreeMap<u64, u64> {
        let mut found = BTreeMap::new();
        self.sweep(watch, &mut |start, bytes| {
            for (word, at) in bytes.as_chunks::<8>().0.iter().zip((start.0..).step_by(8)) {
                let word = u64::from_le_bytes(*word);
                if word != 0 && wanted(word) && found.len() < MOST_ENTRIES {
                    found.insert(at, word);
                }
            }
        });
        found
    }

    fn word(&self, at: u64) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        (self.read)(VirtAddr(at), &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Text up to a NUL, which must come.
    fn text(&self, at: u64, most: usize) -> Result<Vec<u8>, ReadError> {
        let mut text = Vec::new();
        let mut at = VirtAddr(at);
        while text.len() < most {
            let start = text.len();
            text.resize(start + (PAGE_SIZE - at.in_page()) as usize, 0);
            (self.read)(at, &mut text[start..])?;
            if let Some(end) = memchr::memchr(0, &text[start..]) {
                text.truncate(start + end);
                return Ok(text);
            }
            at = at.page().offset(PAGE_SIZE);
        }
        Err(ReadError::Implausible("text"))
    }

    fn entry(&self, address: u64, listed: bool) -> Result<Entry, ReadError> {
        let line = self.text(self.word(address)?, MOST_LINE)?;
        if line.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t' | 0x1b)) {
            return Err(ReadError::Implausible("history entry"));
        }
        // An entry can be without its time.
        let stamp = self.word(address + 8).and_then(|stamp| self.text(stamp, STAMP * 2));
        let seconds = stamp.ok().and_then(|stamp| std::str::from_utf8(stamp.strip_prefix(b"#")?).ok()?.parse().ok());
        Ok(Entry { address, line: String::from_utf8_lossy(&line).into_owned(), seconds, listed })
    }
}

/// A time stamp at the start of some bytes: nine to eleven digits stand for the years from 1973 to 5138.
fn is_stamp(bytes: &[u8]) -> bool {
    let Some((b'#', rest)) = bytes.split_first() else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (9..=11).contains(&digits) && rest.get(digits) == Some(&0)
}

fn search(memory: &Memory<'_>, watch: &Watch) -> History {
    let mut stamps = HashSet::new();
    memory.sweep(watch, &mut |start, bytes| {
        // Allocated, hence aligned.
        for place in memchr::memchr_iter(b'#', bytes) {
            let at = start.offset(place as u64).0;
            if at.is_multiple_of(8) && stamps.len() < MOST_ENTRIES && bytes.get(place..).is_some_and(is_stamp) {
                stamps.insert(at);
            }
        }
    });
    if stamps.is_empty() {
        return History::default();
    }
    let pointers = memory.words(watch, &|word| stamps.contains(&word));
    let entries = pointers.keys().filter_map(|at| memory.entry(at.checked_sub(8)?, false).ok());
    let mut entries: BTreeMap<u64, Entry> =
        entries.filter(|entry| !entry.line.is_empty() && entry.seconds.is_some()).map(|entry| (entry.address, entry)).collect();
    if entries.is_empty() {
        return History::default();
    }
    let slots = memory.words(watch, &|word| entries.contains_key(&word));
    let mut history = History::default();
    match array(memory, watch, &slots) {
        Some(slots) => {
            let mut lost = 0;
            for slot in slots {
                entries.remove(&slot);
                match memory.entry(slot, true) {
                    Ok(entry) => history.entries.push(entry),
                    Err(_) => lost += 1,
                }
            }
            if lost > 0 {
                history.notes.push(format!("{lost} entries of its history could not be read"));
            }
        }
        None => {
            let note = "the list of its history was not found: these are all entries in its memory, deleted ones perhaps among them";
            history.notes.push(note.to_owned());
            entries.values_mut().for_each(|entry| entry.listed = true);
        }
    }
    let mut rest: Vec<_> = entries.into_values().collect();
    rest.sort_by_key(|entry| (entry.seconds, entry.address));
    history.entries.extend(rest);
    history
}

/// The entries of the array that a variable points to. `slots` are the places that hold the addresses of entries: in arrays, old copies
/// of arrays, registers saved on the stack.
fn array(memory: &Memory<'_>, watch: &Watch, slots: &BTreeMap<u64, u64>) -> Option<Vec<u64>> {
    // Any slot may be the first: the array can be moved along when its oldest entry is dropped.
    let mut starts: Vec<u64> = memory.words(watch, &|word| slots.contains_key(&word)).into_values().collect();
    starts.sort_unstable();
    starts.dedup();
    let walk = |start: u64| {
        let mut entries = Vec::new();
        for place in (start..).step_by(8).take(MOST_ENTRIES) {
            match memory.word(place) {
                Ok(0) => return (entries, true),
                Ok(entry) if slots.contains_key(&place) || memory.entry(entry, true).is_ok() => entries.push(entry),
                _ => break,
            }
        }
        (entries, false)
    };
    let mut best: Option<Vec<u64>> = None;
    let mut walked = 0;
    for start in starts {
        // Inside an array that was walked: its end, or its break, is the same.
        if start < walked {
            continue;
        }
        let (entries, whole) = walk(start);
        walked = start + entries.len() as u64 * 8;
        if whole && best.as_ref().is_none_or(|best| best.len() < entries.len()) {
            best = Some(entries);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x5555_0000_0000;

    /// A page of made memory: variable at 0, array at 0x100, entries at 0x200, stamps and lines behind.
    fn made() -> Vec<u8> {
        vec![0; PAGE_SIZE as usize]
    }
    fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn put_word(memory: &mut [u8], at: usize, to: u64) {
        put(memory, at, &(BASE + to).to_le_bytes());
    }
    fn put_entry(memory: &mut [u8], number: u64, line: &str, stamp: &str) {
        let (entry, stamp_at, line_at) = (0x200 + number * 0x20, 0x600 + number * 0x20, 0xa00 + number * 0x40);
        put_word(memory, entry as usize, line_at);
        put_word(memory, entry as usize + 8, stamp_at);
        put(memory, stamp_at as usize, stamp.as_bytes());
        put(memory, line_at as usize, line.as_bytes());
    }
    fn searched(bytes: &[u8]) -> History {
        let read = |at: VirtAddr, out: &mut [u8]| -> Result<(), ReadError> {
            let start = at.0.checked_sub(BASE).ok_or(ReadError::NotMapped(at))? as usize;
            let part = bytes.get(start..).and_then(|rest| rest.get(..out.len())).ok_or(ReadError::NotMapped(at))?;
            out.copy_from_slice(part);
            Ok(())
        };
        search(&Memory { runs: vec![(VirtAddr(BASE), bytes.len() as u64)], read: &read }, &Watch::default())
    }
    fn lines(history: &History) -> Vec<(&str, Option<i64>, bool)> {
        history.entries.iter().map(|entry| (entry.line.as_str(), entry.seconds, entry.listed)).collect()
    }

    #[test]
    fn the_array_gives_the_order_and_the_rest_are_remains() {
        let mut memory = made();
        put_entry(&mut memory, 0, "id", "#1741944431");
        put_entry(&mut memory, 1, "rm -rf /tmp/x", "#1741944432");
        put_entry(&mut memory, 2, "uname -a", "#1741944433");
        put_entry(&mut memory, 3, "no time", "#");
        put_word(&mut memory, 0, 0x100);
        for (slot, entry) in [2u64, 0, 3].into_iter().enumerate() {
            put_word(&mut memory, 0x100 + slot * 8, 0x200 + entry * 0x20);
        }
        let history = searched(&memory);
        let expected = [
            ("uname -a", Some(1_741_944_433), true),
            ("id", Some(1_741_944_431), true),
            ("no time", None, true),
            ("rm -rf /tmp/x", Some(1_741_944_432), false),
        ];
        assert_eq!(lines(&history), expected);
    }

    #[test]
    fn without_an_array_entries_come_by_time() {
        let mut memory = made();
        put_entry(&mut memory, 0, "second", "#1741944439");
        put_entry(&mut memory, 1, "first", "#1741944431");
        let history = searched(&memory);
        assert_eq!(lines(&history), [("first", Some(1_741_944_431), true), ("second", Some(1_741_944_439), true)]);
        assert_eq!(history.notes.len(), 1);
    }

    #[test]
    fn stray_stamps_and_loops_give_nothing() {
        let mut memory = made();
        put(&mut memory, 0x600, b"#1741944431");
        put_word(&mut memory, 0x208, 0x600);
        put_word(&mut memory, 0x200, 0x200);
        assert!(searched(&memory).entries.is_empty());
        assert!(searched(&made()).entries.is_empty());
    }

    #[test]
    fn stamps_have_their_digits_and_an_end() {
        assert!(is_stamp(b"#1741944431\0rest"));
        assert!(!is_stamp(b"#1741944431"));
        assert!(!is_stamp(b"#1741\0"));
        assert!(!is_stamp(b"#define X\0"));
    }
}
