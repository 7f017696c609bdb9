//! What Windows Defender says that it found: lines of its logs, as far as the cache holds them.

use super::Windows;
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{ReadError, Watch};
use memchr::memmem;
use std::collections::{BTreeMap, HashSet};

/// The logs of what happens and of what was detected, below the folder of Defender, in which nobody else may write.
const VOLUME: &str = "\\device\\harddiskvolume";
const FOLDER: &str = "programdata\\microsoft\\windows defender\\";
const LOGS: [&str; 2] = ["mplog-", "mpdetection-"];
/// With which lines of detections begin, behind the time: DETECTION, DETECTIONEVENT, DETECTION_ADD, DETECTION_CLEANEVENT.
const WORD: &str = "DETECTION";
/// Pages of one log that are read: of 64 MiB.
const MOST_PAGES: u64 = 1 << 14;
const MOST_LINES: usize = 256;
/// Letters of one line.
const MOST_LINE: usize = 1 << 11;

/// Lines of detections in one log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Detections {
    /// Each once, in their order.
    pub lines: Vec<String>,
    /// Pages of the log, and of these the ones that memory does not hold.
    pub pages: u64,
    pub unread: u64,
}

impl Detections {
    /// Whether a path is that of such a log.
    pub fn is_log(path: &str) -> bool {
        let path = path.to_lowercase();
        let file = path.rsplit('\\').next().unwrap_or_default();
        let folder = path.strip_prefix(VOLUME).and_then(|path| path.split_once('\\')).map(|(_, folder)| folder);
        folder.is_some_and(|folder| folder.starts_with(FOLDER)) && file.ends_with(".log") && LOGS.iter().any(|log| file.starts_with(log))
    }
}

impl Windows {
    /// The detections in a log, by its file object.
    pub fn detections(&self, file: VirtAddr, watch: &Watch) -> Result<Detections, ReadError> {
        let (_, sources) = self.cached_file(file, watch)?;
        let mut pages = BTreeMap::new();
        let mut size = 0;
        for source in sources.iter().filter(|source| source.kind != "image_section") {
            size = source.size.value().copied().unwrap_or_default().max(size);
            for part in source.parts() {
                let first = part.offset / PAGE_SIZE;
                for index in (0..part.length.div_ceil(PAGE_SIZE)).take_while(|index| first + index < MOST_PAGES && !watch.cancelled()) {
                    if let Some(page) = self.page_of_file(part, index).filter(|_| !pages.contains_key(&(first + index))) {
                        pages.insert(first + index, page);
                    }
                }
            }
        }
        let all = size.div_ceil(PAGE_SIZE).max(pages.len() as u64);
        Ok(Detections { lines: lines(&pages), pages: all, unread: all - pages.len() as u64 })
    }
}

/// The lines of detections in pages of a log, by their numbers.
fn lines(pages: &BTreeMap<u64, Box<[u8; PAGE_SIZE as usize]>>) -> Vec<String> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    let (mut run, mut next) = (Vec::new(), 0);
    // Pages that follow each other are read as one: lines lie across them.
    for (number, page) in pages {
        if *number != next {
            in_run(&run, &mut found);
            run.clear();
        }
        run.extend_from_slice(&page[..]);
        next = number + 1;
    }
    in_run(&run, &mut found);
    found.retain(|line| known.insert(line.clone()));
    found
}

fn in_run(run: &[u8], found: &mut Vec<String>) {
    let units = run.as_chunks::<2>().0;
    let ends = |unit: &[u8; 2]| matches!(u16::from_le_bytes(*unit), 0 | 0xa | 0xd | 0xfeff);
    let word: Vec<u8> = WORD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut next = 0;
    for at in memmem::find_iter(run, &word).filter(|at| at % 2 == 0).map(|at| at / 2) {
        // Each line once, whatever else it has.
        if at < next {
            continue;
        }
        let (before, after) = units.split_at(at.min(units.len()));
        let start = before.iter().rev().take(MOST_LINE).take_while(|unit| !ends(unit)).count();
        let length = after.iter().take(MOST_LINE).take_while(|unit| !ends(unit)).count();
        next = at + length;
        let text: Vec<u16> = units.iter().skip(at - start).take(start + length).map(|unit| u16::from_le_bytes(*unit)).collect();
        let text = String::from_utf16_lossy(&text);
        if found.len() < MOST_LINES && is_detection(&text) {
            // What stood on the next page is not there.
            let cut = if length == after.len() { super::objects::UNREAD } else { "" };
            found.push(format!("{}{cut}", text.trim_end()));
        }
    }
}

/// Whether a line says when what was detected.
fn is_detection(line: &str) -> bool {
    let Some((time, rest)) = line.split_once(' ') else { return false };
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let dated = time.len() >= 19 && time.bytes().take(19).map(shape).eq(*b"0000-00-00T00:00:00");
    dated && rest.starts_with(WORD) && rest.split_whitespace().count() > 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_detections_are_found_across_pages_and_not_across_holes() {
        let added = "2024-05-14T06:58:21.000Z DETECTION_ADD#1 Trojan:Win64/Meterpreter.A file:C:\\Users\\mara\\x.exe";
        let event = "2024-05-14T06:58:22.000Z DETECTIONEVENT MPSOURCE_REALTIME Trojan:Win64/Meterpreter.A file:C:\\Users\\mara\\x.exe";
        let filler = "2024-05-14T06:58:20.000Z Engine:command line reported as DETECTION of nothing";
        let mut text = format!("\u{feff}{added}\r\n{filler}\r\n");
        // The second stands across the end of the first page, the third across that of the second.
        text.push_str(&"x".repeat(2048 - 30 - text.encode_utf16().count()));
        text.push_str(&format!("\r\n{event}\r\n{added}\r\n"));
        text.push_str(&"x".repeat(4096 - 46 - text.encode_utf16().count()));
        text.push_str(&format!("\r\n{}\r\n", event.replace("22.000", "23.000")));
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut pages: BTreeMap<_, _> = bytes
            .chunks(PAGE_SIZE as usize)
            .zip(0u64..)
            .map(|(bytes, number)| {
                let mut page = Box::new([0; PAGE_SIZE as usize]);
                page[..bytes.len()].copy_from_slice(bytes);
                (number, page)
            })
            .collect();
        assert_eq!(lines(&pages), [added.to_owned(), event.to_owned(), event.replace("22.000", "23.000")]);
        pages.remove(&2);
        let found = lines(&pages);
        assert!(found.len() == 3 && found[2].starts_with("2024-05-14T06:58:23.000Z DET") && found[2].ends_with("??"), "{found:?}");
        pages.remove(&0);
        let found = lines(&pages);
        assert!(found.len() == 2 && found[0] == added, "{found:?}");
    }

    #[test]
    fn logs_go_by_their_folder_and_name() {
        assert!(Detections::is_log("\\Device\\HarddiskVolume3\\ProgramData\\Microsoft\\Windows Defender\\Support\\MPLog-20240101-1.log"));
        assert!(!Detections::is_log("\\Device\\HarddiskVolume3\\Users\\mara\\MPLog-20240101-1.log"));
        // Where anyone can write what Defender would have said.
        let own = "\\Device\\HarddiskVolume3\\Users\\mara\\ProgramData\\Microsoft\\Windows Defender\\Support\\MPLog-20240101-1.log";
        assert!(!Detections::is_log(own));
        assert!(!Detections::is_log("\\Device\\HarddiskVolume3\\ProgramData\\Microsoft\\Windows Defender\\Support\\MPScanSkip-1.log"));
    }
}
