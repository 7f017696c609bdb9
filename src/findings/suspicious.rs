//! Regions that look injected or tampered with. Rules are few and each names its evidence; what speaks against is said as well.

use crate::facts::{Behind, Exhibit, Indicator, Scope, Sink, Suspicious, ToCell, Verdict};
use crate::linux::{self, Linux};
use crate::windows::{self, Windows};

pub fn of_linux(linux: &Linux, scope: Scope, out: &mut Sink<Suspicious>) {
    linux::exhibits(linux, scope, out, judge);
}

pub fn of_windows(windows: &Windows, scope: Scope, out: &mut Sink<Suspicious>) {
    windows::exhibits(windows, scope, out, judge);
}

/// Evidence gathered about one region.
#[derive(Default)]
struct Case {
    score: i32,
    indicators: Vec<Indicator>,
}

impl Case {
    fn add(&mut self, points: i32, id: &'static str, detail: impl Into<String>) {
        self.score += points;
        self.indicators.push(Indicator { id, detail: detail.into() });
    }
    fn verdict(&self) -> Verdict {
        match self.score {
            75.. => Verdict::LikelyInjected,
            30.. => Verdict::Suspicious,
            _ => Verdict::LikelyBenign,
        }
    }
}

fn judge(exhibit: Exhibit, out: &mut Sink<Suspicious>) {
    let mut case = Case::default();
    match exhibit.behind {
        Behind::Nothing => judge_private(&exhibit, &mut case),
        Behind::File { program, deleted, anonymous } => {
            judge_file(&exhibit, &mut case);
            let what = if program { "the program" } else { "code" };
            let path = exhibit.file.value().map_or("a file", String::as_str);
            if anonymous {
                case.add(50, "memfd_executable", format!("{what} was run from an anonymous memory file, {path}"));
            } else if deleted {
                case.add(45, "deleted_file", format!("{what} was run from {path}, which has been deleted"));
            }
        }
    }
    if case.indicators.is_empty() {
        return;
    }
    if exhibit.unread > 0 {
        let detail = format!("{} of {} pages are not in the image", exhibit.unread, exhibit.pages);
        case.indicators.push(Indicator { id: "not_evaluable", detail });
    }
    out.push(Suspicious {
        pid: exhibit.pid,
        process: exhibit.process,
        start: exhibit.start,
        end: exhibit.end,
        protection: exhibit.protection,
        file: exhibit.file,
        score: case.score.clamp(0, 100) as u8,
        verdict: case.verdict(),
        indicators: case.indicators,
        head: exhibit.head,
        process_address: exhibit.process_address,
        ..Suspicious::default()
    });
}

/// Executable memory that no file backs.
fn judge_private(exhibit: &Exhibit, case: &mut Case) {
    let now = exhibit.page_rights.filter(|_| !exhibit.protection.execute).unwrap_or(exhibit.protection);
    let rights = if now.write { "readable, writable and executable" } else { "executable, not writable" };
    case.add(40, "private_executable", format!("no file behind it, {rights}"));
    if !exhibit.protection.execute {
        case.add(15, "made_executable", format!("allocated {}, its pages are {} now", exhibit.protection.cell(), now.cell()));
    }
    let Some((first, bytes)) = exhibit.content.first() else {
        let what = match (exhibit.pages, exhibit.unread) {
            (0, _) => "never touched",
            (_, 0) => "all zero",
            // What cannot be read clears nothing.
            _ => return,
        };
        return case.add(-25, "no_content", format!("-{what}: there is nothing in it to run"));
    };
    let header = |magic: &[u8]| exhibit.content.iter().find(|(_, bytes)| bytes.starts_with(magic)).map(|(at, _)| *at);
    if let Some(at) = header(b"\x7fELF") {
        case.add(45, "elf_header", format!("an ELF header at {at}, in memory that no file backs"));
    } else if let Some(at) = header(b"MZ") {
        case.add(45, "pe_header", format!("a PE header at {at}, in memory that no file backs"));
    } else if *first != exhibit.start {
        case.add(15, "first_page_empty", format!("the first page is zero, content begins at {first}: a wiped header looks like this"));
    }
    if let Some(sign) = shellcode(bytes) {
        case.add(40, "shellcode", format!("{sign} at {first}"));
    }
}

/// Signs of code that was written to stand alone: a run of NOPs, and system calls made directly.
fn shellcode(bytes: &[u8]) -> Option<String> {
    let nops = bytes.iter().take_while(|byte| **byte == 0x90).count();
    let rest = bytes.get(nops..).unwrap_or_default();
    let rest = rest.get(..64).unwrap_or(rest);
    let call = rest.windows(2).any(|pair| pair == [0x0f, 0x05] || pair == [0xcd, 0x80]);
    match (nops, call) {
        (8.., true) => Some(format!("{nops} NOPs, then code with a direct system call")),
        (_, true) => Some("code with a direct system call in its first 64 bytes".to_owned()),
        (16.., false) => Some(format!("{nops} NOPs")),
        _ => None,
    }
}

/// Code mapped from a file: is it still the file's?
fn judge_file(exhibit: &Exhibit, case: &mut Case) {
    if exhibit.protection.write && !exhibit.protection.copy_on_write {
        case.add(35, "writable_code", "mapped from a file writable and executable at once");
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if let Some(change) = exhibit.changes.first() {
        let (count, was, is) = (exhibit.changes.len(), hex(&change.was), hex(&change.is));
        case.add(35, "rewritten_code", format!("{count} of its pages differ from the file: at {} was {was}, is {is}", change.at));
    } else if let Some(at) = exhibit.copies.first() {
        let count = exhibit.copies.len();
        case.add(
            30,
            "private_code_pages",
            format!("{count} of its pages are private copies, the first at {at}: something wrote to the code"),
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::VirtAddr;
    use crate::facts::{Known, Protection, Rows};
    use std::sync::Arc;

    const START: VirtAddr = VirtAddr(0x7f00_0000_0000);

    fn private(content: Vec<(VirtAddr, Vec<u8>)>) -> Exhibit {
        Exhibit {
            pid: 7,
            process: "web".to_owned(),
            process_address: VirtAddr(1),
            start: START,
            end: START.offset(0x1fff),
            protection: Protection { read: true, write: true, execute: true, ..Protection::default() },
            page_rights: None,
            file: Known::Absent,
            behind: Behind::Nothing,
            pages: content.len() as u64,
            unread: 0,
            content,
            copies: Vec::new(),
            changes: Vec::new(),
            head: Known::Absent,
        }
    }

    fn file(deleted: bool) -> Exhibit {
        let protection = Protection { read: true, execute: true, ..Protection::default() };
        let behind = Behind::File { program: true, deleted, anonymous: false };
        Exhibit { protection, behind, file: Known::Value("/usr/bin/web".to_owned()), ..private(Vec::new()) }
    }

    fn verdict(exhibit: Exhibit) -> Option<(Verdict, Vec<&'static str>)> {
        let mut sink = Sink::new(Arc::default());
        judge(exhibit, &mut sink);
        let answer = sink.finish();
        assert!(answer.len() <= 1);
        let row = answer.row(0)?;
        Some((row.verdict, row.indicators.iter().map(|indicator| indicator.id).collect()))
    }

    #[test]
    fn private_code_with_a_header_is_likely_injected() {
        let (verdict, signs) = verdict(private(vec![(START, b"\x7fELF\x02\x01".to_vec())])).unwrap();
        assert_eq!((verdict, signs), (Verdict::LikelyInjected, vec!["private_executable", "elf_header"]));
    }

    #[test]
    fn shellcode_is_told_from_what_a_jit_writes() {
        let mut shellcode = vec![0x90; 16];
        shellcode.extend([0x48, 0x31, 0xf6, 0x0f, 0x05]);
        assert_eq!(verdict(private(vec![(START, shellcode)])).unwrap().0, Verdict::LikelyInjected);
        let function = [0x55, 0x48, 0x89, 0xe5, 0xb8, 0, 0, 0, 0, 0x5d, 0xc3];
        let (verdict, signs) = verdict(private(vec![(START, function.to_vec())])).unwrap();
        assert_eq!((verdict, signs), (Verdict::Suspicious, vec!["private_executable"]));
    }

    #[test]
    fn what_was_never_touched_is_likely_benign_but_what_cannot_be_read_is_not() {
        assert_eq!(verdict(private(Vec::new())).unwrap().0, Verdict::LikelyBenign);
        let unread = Exhibit { pages: 2, unread: 2, ..private(Vec::new()) };
        let (verdict, signs) = verdict(unread).unwrap();
        assert_eq!((verdict, signs), (Verdict::Suspicious, vec!["private_executable", "not_evaluable"]));
    }

    #[test]
    fn code_as_its_file_has_it_is_not_listed() {
        assert_eq!(verdict(file(false)), None);
        assert_eq!(verdict(file(true)).unwrap().1, ["deleted_file"]);
        let copied = Exhibit { copies: vec![START], ..file(false) };
        assert_eq!(verdict(copied).unwrap().1, ["private_code_pages"]);
    }
}
