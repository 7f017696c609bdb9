use super::binxml::{Place, Reader};
use super::draft::Draft;
use super::file;
use super::log::{CHUNK, Head, Log, once};
use super::samples::{Chunk, TIME, connect, number, text};
use crate::facts::Watch;
use crate::facts::event::{Event, Recovered, Value};
use proptest::prelude::*;
use std::collections::HashMap;

const GUID: &str = "{7d31c05a-88b3-663c-0000-00101a30a900}";

fn two() -> Chunk {
    let mut chunk = Chunk::new(48253);
    chunk.sysmon("PC01", 3, TIME, &connect(GUID, 5016, true, ("10.0.0.1", 49928), ("10.0.0.2", 443)));
    chunk.sysmon("PC01", 3, TIME + 10, &connect(GUID, 5016, true, ("0:0:0:0:0:0:0:1", 1), ("0:0:0:0:0:0:0:1", 2)));
    chunk
}

fn read(chunks: &[&[u8]]) -> (Vec<Event>, Log) {
    read_by(Log::default(), chunks)
}

fn read_by(mut log: Log, chunks: &[&[u8]]) -> (Vec<Event>, Log) {
    let mut out = Vec::new();
    for chunk in chunks {
        log.chunk(chunk, 0, &|at| format!("{at:#x}"), &mut out);
    }
    log.finish(&mut out);
    (out, log)
}

#[test]
fn a_chunk_gives_its_records_with_all_their_fields() {
    let (events, log) = read(&[&two().finish()]);
    assert_eq!(log.tally.notes(), Vec::<String>::new());
    let [first, second] = events.try_into().unwrap();
    assert_eq!((first.record_id.value(), first.event_id.value(), first.pid.value()), (Some(&48253), Some(&3), Some(&5016)));
    assert_eq!(first.time.value().unwrap().to_string(), "2024-05-09T08:52:48.2289093Z");
    assert_eq!(first.process_guid.value().unwrap().to_string(), GUID);
    assert_eq!(first.computer.value().unwrap().as_ref(), "PC01");
    assert_eq!(first.user_id.value().unwrap().as_ref(), "S-1-5-18");
    assert_eq!(first.data.0.len(), 18);
    assert_eq!(first.data.get("DestinationPort"), Some(&Value::Number(443)));
    assert_eq!(first.data.text("RuleName"), Some(""));
    assert_eq!(first.summary, "chrome.exe (5016) connected: tcp 10.0.0.1:49928 -> 10.0.0.2:443");
    assert_eq!((first.recovered, first.source.as_str()), (Recovered::Whole, "0x200"));
    assert_eq!(second.record_id.value(), Some(&48254));
    assert_eq!(second.data.text("SourceIp"), Some("0:0:0:0:0:0:0:1"));
    assert_eq!(second.recovered, Recovered::Whole);
}

#[test]
fn a_lone_record_is_read_by_what_is_known_of_its_event() {
    let chunk = two();
    let lone = &chunk.bytes[chunk.last()..];
    let alone = |teacher: Option<&[u8]>, bytes: &[u8]| {
        let (mut log, mut out) = (Log::default(), Vec::new());
        teacher.into_iter().for_each(|teacher| log.chunk(teacher, 0, &|_| String::new(), &mut out));
        out.clear();
        log.orphan(bytes, "here".to_owned(), false);
        log.finish(&mut out);
        out.pop().unwrap()
    };
    // By the table of Sysmon's layouts: all but the machine's name, which only the template has.
    let event = alone(None, lone);
    assert_eq!((event.recovered, event.event_id.value()), (Recovered::Reconstructed, Some(&3)));
    assert_eq!((event.computer.value(), event.pid.value()), (None, Some(&5016)));
    assert_eq!(event.data.text("DestinationIp"), Some("0:0:0:0:0:0:0:1"));
    assert!(event.problems.is_empty(), "{:?}", event.problems);
    // By the templates of another chunk.
    let event = alone(Some(&chunk.finish()), lone);
    assert_eq!((event.recovered, event.computer.value().unwrap().as_ref()), (Recovered::Reconstructed, "PC01"));
    // With its own templates it is whole.
    assert_eq!(alone(None, &chunk.bytes[512..chunk.last()]).recovered, Recovered::Whole);
    // Cut, it says so, and what is beyond the cut is null.
    let event = alone(Some(&chunk.finish()), &lone[..lone.len() - 60]);
    assert_eq!((event.recovered, event.pid.value()), (Recovered::Reconstructed, Some(&5016)));
    assert!(event.problems[0].starts_with("the record is cut"), "{:?}", event.problems);
    assert_eq!(event.data.get("DestinationPortName"), Some(&Value::None));
}

#[test]
fn unknown_events_keep_their_values_under_numbers() {
    let mut chunk = Chunk::new(1);
    chunk.sysmon("PC01", 300, TIME, &[("A", text("a"))]).sysmon("PC01", 300, TIME, &[("A", text("b"))]);
    let (mut log, mut out) = (Log::default(), Vec::new());
    log.orphan(&chunk.bytes[chunk.last()..], String::new(), false);
    log.finish(&mut out);
    assert_eq!(out[0].data.text("#0"), Some("b"));
    assert!(out[0].problems[0].contains("names of its fields"));
}

#[test]
fn what_lies_past_the_end_is_a_remnant_and_damage_is_passed_over() {
    let chunk = two();
    let mut bytes = chunk.finish();
    // The end of the log moves before the second record, and its number no longer follows.
    let last = chunk.last();
    bytes[48..52].copy_from_slice(&(last as u32).to_le_bytes());
    bytes[last + 8] = 1;
    let (events, log) = read(&[&bytes]);
    assert_eq!((events.len(), log.tally.stale, log.tally.unsound), (2, 1, 1));
    assert_eq!(events[1].recovered, Recovered::Reconstructed);
    // One that goes on from the last is being written: the header is behind.
    bytes[last + 8] = 0x7e;
    assert_eq!(read(&[&bytes]).1.tally.stale, 0);
    // The first record's end is overwritten: the second is read by itself.
    let mut bytes = chunk.finish();
    bytes[last - 4] = 0xff;
    let (events, log) = read(&[&bytes]);
    assert_eq!((events.len(), events[0].record_id.value()), (1, Some(&48254)));
    assert!(log.tally.skipped > 0);
    // A chunk without its header still has its records.
    let mut bytes = chunk.finish();
    bytes[..512].fill(0);
    assert_eq!(read(&[&bytes]).0.len(), 2);
}

#[test]
fn a_record_of_memory_that_contradicts_its_number_is_left_out() {
    let strict = || {
        let mut log = Log::default();
        log.strict = true;
        log
    };
    let mut chunk = Chunk::new(1);
    for _ in 0..5 {
        chunk.sysmon("PC01", 3, TIME, &connect(GUID, 5016, true, ("10.0.0.1", 49928), ("10.0.0.2", 443)));
    }
    let mut bytes = chunk.finish();
    let last = chunk.last();
    bytes[last + 15] = 1;
    let (events, log) = read_by(strict(), &[&bytes]);
    assert_eq!((events.len(), log.tally.torn), (4, 1));
    assert_eq!(read(&[&bytes]).0.len(), 5, "a file is shown as it is");
    // In a log whose records are numbered anew all differ.
    let mut bytes = chunk.finish();
    (0..bytes.len() - 8)
        .filter(|at| bytes[*at..].starts_with(b"**\0\0"))
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|at| bytes[at + 9] ^= 0x40);
    let (events, log) = read_by(strict(), &[&bytes]);
    assert_eq!((events.len(), log.tally.unsound), (5, 1));
}

#[test]
fn a_missing_page_takes_only_its_records() {
    let mut chunk = Chunk::new(1);
    for _ in 0..30 {
        chunk.sysmon("PC01", 3, TIME, &connect(GUID, 5016, true, ("10.0.0.1", 49928), ("10.0.0.2", 443)));
    }
    let mut bytes = chunk.finish();
    bytes[8192..12288].fill(0);
    let (mut log, mut out) = (Log::default(), Vec::new());
    log.chunk(&bytes, 1 << 2, &|at| at.to_string(), &mut out);
    log.finish(&mut out);
    let cut = out.iter().filter(|event| event.problems.iter().any(|problem| problem.contains("is cut"))).count();
    assert!(cut == 1 && out.len() > 20 && out.len() < 30, "{cut} {}", out.len());
    assert_eq!(log.tally.cut, 1);
}

#[test]
fn one_record_in_two_places_is_one_row() {
    let bytes = two().finish();
    let (events, _) = read(&[&bytes, &bytes]);
    let (kept, again) = once(events);
    assert_eq!((kept.len(), again), (2, 2));
}

#[test]
fn a_file_is_read_from_its_grid_whatever_its_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.evtx");
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"ElfFile\0");
    bytes.extend(two().finish());
    bytes.extend(vec![0; CHUNK]);
    bytes.extend(two().finish());
    // The file ends within its last chunk.
    bytes.truncate(bytes.len() - CHUNK / 2);
    std::fs::write(&path, &bytes).unwrap();
    assert!(file::LogFile::is_one(&path));
    let mut events = Vec::new();
    let notes = file::LogFile::open(&path).unwrap().read(&Watch::default(), |found| {
        events.extend(found);
        true
    });
    assert_eq!((events.len(), notes.unwrap().len()), (4, 0));
    assert_eq!(events[0].source, "log.evtx:0x1200");
    std::fs::write(&path, b"MDMP and more than eight bytes").unwrap();
    assert!(!file::LogFile::is_one(&path));
}

#[test]
fn templates_that_hold_themselves_come_to_an_end() {
    // The inner part of a record is made to name the outer template again.
    let chunk = two();
    let bytes = chunk.finish();
    let outer: Vec<u8> = bytes[512 + 30..512 + 38].to_vec();
    let mut broken = bytes.clone();
    let last = chunk.last();
    let inner = (last + 40..broken.len() - 10).find(|at| broken[*at..].starts_with(&[0x0c, 1])).unwrap();
    broken[inner + 2..inner + 10].copy_from_slice(&outer);
    let started = std::time::Instant::now();
    read(&[&broken]);
    assert!(started.elapsed().as_secs() < 2);
    // Counts and lengths beyond all bytes.
    let (mut reader, mut draft) = (Reader::default(), Draft::default());
    let mut record = vec![0x0c, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    record.resize(64, 0xff);
    assert!(reader.record(Place { bytes: &record, origin: None }, 0, 64, &HashMap::new(), &mut draft).is_err());
    assert_eq!(Head::read(&record), None);
}

#[test]
fn repeated_names_become_lists() {
    let mut chunk = Chunk::new(1);
    chunk.sysmon("PC01", 300, TIME, &[("A", text("a")), ("B", number(7)), ("A", text("b"))]);
    let (events, _) = read(&[&chunk.finish()]);
    assert_eq!(events[0].data.0.len(), 2);
    assert_eq!(events[0].data.get("A"), Some(&Value::List(vec![Value::Text("a".into()), Value::Text("b".into())])));
    assert_eq!(events[0].summary, "A=a, b, B=7");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn damage_never_stops_the_reader(changes in proptest::collection::vec((0_usize..8192, any::<u8>()), 1..64), holes: u16) {
        let mut bytes = two().finish();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let (mut log, mut out) = (Log::default(), Vec::new());
        log.chunk(&bytes, holes, &|at| at.to_string(), &mut out);
        log.finish(&mut out);
        prop_assert!(out.len() < 100);
    }
}

#[test]
fn retention_is_measured_on_the_log_itself() {
    const DAY: u64 = 86_400 * 10_000_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.evtx");
    let mut chunk = Chunk::new(500);
    chunk.sysmon("PC01", 300, TIME, &[("A", text("a"))]).sysmon("PC01", 300, TIME + 2 * DAY, &[("A", text("b"))]);
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"ElfFile\0");
    bytes.extend(chunk.finish());
    std::fs::write(&path, &bytes).unwrap();
    let row = file::LogFile::open(&path).unwrap().retention(30, &Watch::default()).unwrap();
    assert_eq!((row.records, row.covers_hours.value(), row.bytes_a_day.value()), (2, Some(&48), Some(&(CHUNK as u64 / 2))));
    assert_eq!((row.days_at_size.value(), row.needed_size.value()), (Some(&2), Some(&(CHUNK as u64 * 15))));
    // It is full and begins with record 500.
    assert_eq!(row.wrapped.value(), Some(&true));
}
