//! Regions that look injected or tampered with. Rules are few and each names its evidence; what speaks against is said as well.

use super::case::Case;
use super::rules;
use crate::address::VirtAddr;
use crate::facts::{Behind, Change, Exhibit, Indicator, Known, Rule, Scope, Sink, Suspicious, ToCell, Way};
use crate::linux::{self, Linux};
use crate::windows::{self, Windows};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub fn of_linux(linux: &Linux, scope: Scope, out: &mut Sink<Suspicious>) {
    judge_all(scope, out, |scope, out, show| linux::exhibits(linux, scope, out, show));
}

pub fn of_windows(windows: &Windows, scope: Scope, out: &mut Sink<Suspicious>) {
    judge_all(scope, out, |scope, out, show| windows::exhibits(windows, scope, out, show));
}

type Show<'a> = &'a mut dyn FnMut(Exhibit, &mut Sink<Suspicious>);

/// Judges the regions of the processes that a query is about. What looks suspicious for nothing but being there is then held against the
/// other processes of the same program, whatever the query was about: a process is judged alike by itself and among all.
fn judge_all(scope: Scope, out: &mut Sink<Suspicious>, walk: impl Fn(Scope, &mut Sink<Suspicious>, Show<'_>)) {
    let mut peers = Peers::default();
    let mut rows = Vec::new();
    walk(scope, out, &mut |exhibit, out| {
        peers.meet(&exhibit);
        let code = Code::of(&exhibit);
        if let Some(row) = judge(exhibit) {
            out.push(row.clone());
            rows.push((code, row));
        }
    });
    if !rows.iter().any(|(code, row)| code.is_some() && only_private(&row.indicators)) {
        return;
    }
    if scope != Scope::Machine {
        peers = Peers::default();
        walk(Scope::Machine, &mut out.beside(), &mut |exhibit, _| peers.meet(&exhibit));
    }
    if out.cancelled() {
        return;
    }
    let mut cleared = false;
    for (code, row) in rows.iter_mut().filter(|(_, row)| only_private(&row.indicators)) {
        if let Some(others) = code.as_ref().and_then(|code| peers.others(code)) {
            let mut case = Case { indicators: std::mem::take(&mut row.indicators) };
            case.add(&rules::peers, format!("{others} others have it, all that run {}", code.as_ref().map_or("", |code| &code.program)));
            (row.score, row.verdict, row.indicators, cleared) = (case.score(), case.verdict(), case.indicators, true);
        }
    }
    if cleared {
        out.preview();
        out.extend(rows.into_iter().map(|(_, row)| row));
    }
}

/// Code that no file backs, as its pages begin, in processes of one program.
#[derive(PartialEq, Eq, Hash)]
struct Code {
    program: Arc<str>,
    pages: [u8; 32],
}

impl Code {
    fn of(exhibit: &Exhibit) -> Option<Self> {
        let whole = exhibit.behind == Behind::Nothing && !exhibit.content.is_empty() && exhibit.unread == 0;
        let program = Arc::clone(exhibit.program.as_ref().filter(|_| whole)?);
        let mut sum = Sha256::new();
        sum.update(exhibit.pages.to_le_bytes());
        for (at, bytes) in &exhibit.content {
            sum.update((at.0 - exhibit.start.0).to_le_bytes());
            sum.update(bytes);
        }
        Some(Self { program, pages: sum.finalize().into() })
    }
}

/// The processes of each program, and those that have some code.
#[derive(Default)]
struct Peers {
    of: HashMap<Arc<str>, HashSet<VirtAddr>>,
    with: HashMap<Code, HashSet<VirtAddr>>,
}

impl Peers {
    /// Of fewer, it is no habit of the program.
    const LEAST: usize = 3;

    fn meet(&mut self, exhibit: &Exhibit) {
        if let Some(program) = &exhibit.program {
            self.of.entry(Arc::clone(program)).or_default().insert(exhibit.process_address);
        }
        if let Some(code) = Code::of(exhibit) {
            self.with.entry(code).or_default().insert(exhibit.process_address);
        }
    }

    /// How many others have it, if all have.
    fn others(&self, code: &Code) -> Option<usize> {
        let (all, with) = (self.of.get(&code.program)?.len(), self.with.get(code)?.len());
        (with >= Self::LEAST && with == all).then(|| with - 1)
    }
}

/// Whether nothing is held against a region but that code lies in memory without a file.
fn only_private(indicators: &[Indicator]) -> bool {
    let weighty = indicators.iter().filter(|indicator| indicator.rule.points != 0);
    weighty.map(|indicator| indicator.rule).all(|rule| std::ptr::eq(rule, &rules::private_executable))
}

pub(super) fn judge(exhibit: Exhibit) -> Option<Suspicious> {
    let mut case = Case::default();
    match exhibit.behind {
        Behind::Nothing => judge_private(&exhibit, &mut case),
        Behind::Nowhere => {
            case.add(&rules::no_file, "its section was made as an image, and keeps no file");
            judge_file(&exhibit, &mut case);
        }
        Behind::File { program, deleted, replaced, anonymous } => {
            judge_file(&exhibit, &mut case);
            let what = if program { "the program" } else { "code" };
            let path = exhibit.file.value().map_or("a file", String::as_str);
            if anonymous {
                case.add(&rules::memfd_executable, format!("{what} was run from an anonymous memory file, {path}"));
            } else if deleted {
                let alone = case.indicators.iter().all(|indicator| indicator.rule.points <= rules::probed.points);
                case.add(&rules::deleted_file, format!("{what} was run from {path}, which has been deleted"));
                if replaced && alone {
                    case.add(&rules::replaced_file, "there is a file of that name in the same folder, and nothing else speaks against it");
                }
            }
        }
    }
    if case.is_empty() {
        return None;
    }
    if exhibit.unread > 0 {
        let detail = format!("{} of {} pages are not in the image", exhibit.unread, exhibit.pages);
        case.add(&rules::not_evaluable, detail);
    }
    Some(Suspicious {
        pid: exhibit.pid,
        process: exhibit.process,
        start: exhibit.start,
        end: exhibit.end,
        protection: exhibit.protection,
        file: exhibit.file,
        score: case.score(),
        verdict: case.verdict(),
        indicators: case.indicators,
        head: exhibit.head,
        process_address: exhibit.process_address,
        ..Suspicious::default()
    })
}

/// Executable memory that no file backs.
fn judge_private(exhibit: &Exhibit, case: &mut Case) {
    let now = exhibit.page_rights.filter(|_| !exhibit.protection.execute).unwrap_or(exhibit.protection);
    let rights = if now.write { "readable, writable and executable" } else { "executable, not writable" };
    case.add(&rules::private_executable, format!("no file behind it, {rights}"));
    if !exhibit.protection.execute {
        case.add(&rules::made_executable, format!("allocated {}, its pages are {} now", exhibit.protection.cell(), now.cell()));
    }
    let Some((first, bytes)) = exhibit.content.first() else {
        let what = match (exhibit.pages, exhibit.unread) {
            // Its first page is somewhere, if not in the image.
            (0, _) if matches!(exhibit.head, Known::Unreadable(_)) => return,
            (0, _) => "never touched",
            (_, 0) => "all zero",
            // What cannot be read clears nothing.
            _ => return,
        };
        return case.add(&rules::no_content, format!("{what}: there is nothing in it to run"));
    };
    let header = |magic: &[u8]| exhibit.content.iter().find(|(_, bytes)| bytes.starts_with(magic)).map(|(at, _)| *at);
    if let Some(at) = header(b"\x7fELF") {
        case.add(&rules::elf_header, format!("an ELF header at {at}, in memory that no file backs"));
    } else if let Some(at) = header(b"MZ") {
        case.add(&rules::pe_header, format!("a PE header at {at}, in memory that no file backs"));
    } else if *first != exhibit.start {
        case.add(&rules::first_page_empty, format!("the first page is zero, content begins at {first}: a wiped header looks like this"));
    }
    if let Some(sign) = shellcode(bytes) {
        case.add(&rules::shellcode, format!("{sign} at {first}"));
    }
    if let Some((tid, start)) = exhibit.threads.first() {
        case.add(&rules::thread_start, format!("thread {tid} began at {start}"));
    }
    if let Some((at, number)) = exhibit.system_calls.first() {
        let count = exhibit.system_calls.len();
        case.add(&rules::direct_system_call, format!("{count} of them, the first at {at}: number {number:#x}"));
    }
    let ways = |case: &mut Case, ways: &[(Way, &'static Rule)]| {
        for (way, rule) in ways {
            if let Some(entrance) = exhibit.entrances.iter().find(|entrance| entrance.way == *way) {
                case.add(rule, format!("{}, at {}", entrance.from, entrance.to));
            }
        }
    };
    ways(case, &[(Way::Apc, &rules::queued_call), (Way::Import, &rules::import_hook), (Way::Detour, &rules::detour)]);
    let alone = only_private(&case.indicators);
    let engine = exhibit.images.iter().find(|image| is_engine(image, exhibit.pid)).filter(|_| alone);
    if let Some(engine) = engine {
        case.add(&rules::engine, format!("{engine} is loaded, and the code has no sign of another origin"));
    } else if let (true, Some((list, functions))) = (alone, &exhibit.listed) {
        case.add(&rules::perf_map, format!("{list} tells of {functions} functions in it"));
    } else {
        // What an engine compiled is run and returned to, of course, beside tables of constants.
        let stands = exhibit.entrances.iter().any(|entrance| entrance.way == Way::Stand);
        ways(case, &[if stands { (Way::Stand, &rules::stands_in_it) } else { (Way::Return, &rules::returns_to_it) }]);
        if let Some((bits, page)) = exhibit.entropy.filter(|(bits, _)| *bits >= EVEN) {
            case.add(&rules::even_bytes, format!("{bits:.2} bits of 8 in the page at {page}"));
        }
    }
    let (threads, unknown) = exhibit.stacks;
    if unknown > 0 {
        case.add(
            &rules::not_evaluable,
            format!("where {unknown} of the process's {threads} threads stand or return to: the image does not hold it"),
        );
    }
}

/// Machine code has about six bits; what is packed or encrypted comes near eight.
const EVEN: f64 = 7.2;

/// Signs of code that was written to stand alone: it finds out where it is or which libraries there are, runs of NOPs, system calls made
/// directly.
fn shellcode(bytes: &[u8]) -> Option<String> {
    let has = |code: &[u8]| memchr::memmem::find(bytes, code).is_some();
    // mov reg, gs:[60h], by a base register or without; mov reg, fs:[30h].
    let peb = bytes.windows(5).any(|code| matches!(code, [0x65, 0x48, 0x8b, operand, 0x60] if operand & 0xc7 != 0x04 && operand >> 6 == 1))
        || [[0x65, 0x48, 0x8b, 0x04, 0x25, 0x60, 0, 0, 0].as_slice(), &[0x64, 0xa1, 0x30, 0, 0, 0]].into_iter().any(has);
    if peb {
        return Some("code that looks up the process environment block, as shellcode does to find libraries".to_owned());
    }
    if has(&[0xe8, 0, 0, 0, 0, 0x58]) || has(&[0xe8, 0, 0, 0, 0, 0x59]) || has(&[0xe8, 0, 0, 0, 0, 0x5b]) || has(&[0xe8, 0, 0, 0, 0, 0x5e])
    {
        return Some("code that calls the next instruction to learn its own address".to_owned());
    }
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

/// Libraries that hold a compiler at run time, by the beginning of their names; and programs that are one themselves.
const ENGINE_LIBRARIES: [&str; 38] = [
    // Java.
    "jvm.dll",
    "libjvm",
    "libj9jit",
    "j9jit",
    // .NET.
    "clr.dll",
    "clrjit",
    "coreclr",
    "libcoreclr",
    "libclrjit",
    "libmono",
    "mono-2.0",
    "mscorwks.dll",
    // JavaScript.
    "v8.dll",
    "libv8",
    "libnode",
    "chrome.dll",
    "chrome_elf.dll",
    "msedge.dll",
    "libcef",
    "chakra",
    "jscript",
    "mozjs",
    "libmozjs",
    "xul.dll",
    "libxul",
    "libjavascriptcore",
    "libqt5qml",
    "libqt6qml",
    "qt6qml.dll",
    // Lua, PHP, Julia, regular expressions, shaders and what else LLVM compiles.
    "libluajit",
    "lua51.dll",
    "opcache.so",
    "libjulia",
    "libpcre",
    "libqemu",
    "libllvm",
    "llvmjit.so",
    "libgallium",
];
const ENGINE_PROGRAMS: [&str; 13] = [
    "node",
    "node.exe",
    "nodejs",
    "deno",
    "bun",
    "chrome",
    "chromium",
    "electron",
    "luajit",
    "luajit.exe",
    "pypy3",
    "beam.smp",
    "qemu-system-x86_64",
];

/// Whether a file that a process has mapped as code compiles at run time: the kernel's own record of what is mapped, from a folder of the
/// system or of installed programs. On Linux also the record that engines keep for profilers (jitdump), which they map as code.
fn is_engine(image: &str, pid: u32) -> bool {
    let (installed, image) = (is_installed(image), image.to_lowercase().replace('\\', "/"));
    let file = image.rsplit('/').next().unwrap_or_default();
    let known = ENGINE_LIBRARIES.iter().any(|engine| file.starts_with(engine)) || ENGINE_PROGRAMS.contains(&file);
    (installed && known) || file == format!("jit-{pid}.dump")
}

/// Whether a file is in a folder of the system or of installed programs; the device before its path is nobody's choice.
fn is_installed(file: &str) -> bool {
    let file = file.to_lowercase().replace('\\', "/");
    let file = file.strip_prefix("/device/").and_then(|rest| rest.find('/').and_then(|at| rest.get(at..))).unwrap_or(&file);
    ["/windows/", "/program files", "/usr/", "/opt/", "/lib", "/snap/"].iter().any(|folder| file.starts_with(folder))
}

/// Code mapped from a file: is it still the file's?
fn judge_file(exhibit: &Exhibit, case: &mut Case) {
    if exhibit.protection.write && !exhibit.protection.copy_on_write {
        case.add(&rules::writable_code, "mapped from a file writable and executable at once");
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The worst first: what jumps or returns at once, then what else has a name.
    let silent = exhibit.changes.iter().find(|change| silences(change));
    let leading = silent.or_else(|| exhibit.changes.iter().find(|change| change.detour.is_some()));
    if let Some(change) = leading.or_else(|| exhibit.changes.first()) {
        let (was, is) = (hex(&change.was), hex(&change.is));
        let count = exhibit.changes.iter().map(|change| change.at.page()).collect::<HashSet<_>>().len();
        let function = change.function.as_ref().map(|(name, past)| format!(" ({name}+{past:#x})")).unwrap_or_default();
        let from = if change.against.is_empty() { "the file".to_owned() } else { format!("what {} have", processes(&change.against)) };
        let jump = change.detour.as_ref().map_or(String::new(), |detour| match &detour.file {
            Known::Value(file) => format!(", a jump to {} in {file}", detour.to),
            Known::Absent => format!(", a jump to {}, which no file backs", detour.to),
            Known::Unreadable(_) => format!(", a jump to {}", detour.to),
        });
        case.add(
            &rules::rewritten_code,
            format!("{count} of its pages differ from {from}: at {}{function} was {was}, is {is}{jump}", change.at),
        );
        if let Some(Known::Value(file)) = change.detour.as_ref().map(|detour| &detour.file).filter(|_| silent.is_none())
            && is_installed(file)
        {
            case.add(&rules::installed_hook, format!("the jump leads into {file}"));
        }
        if let Some(debugger) = &exhibit.debugger {
            case.add(&rules::debugger, format!("{debugger} traces it"));
        }
        if let Some((change, (name, _))) = silent.and_then(|change| Some((change, change.function.as_ref()?))) {
            case.add(&rules::silenced, format!("{name} at {} begins with {is}", change.at));
        }
    } else if let Some(at) = exhibit.copies.first() {
        let count = exhibit.copies.len();
        case.add(
            &rules::private_code_pages,
            format!("{count} of its pages are private copies, the first at {at}: something wrote to the code"),
        );
        if let Some((_, pids)) = exhibit.alike.first().filter(|_| exhibit.alike.len() == count) {
            case.add(&rules::same_copies, format!("{} have the same bytes there", processes(pids)));
        }
        if exhibit.alone > 0 {
            let what = "the file's own pages are not in the image, and other processes do not agree on them";
            case.add(&rules::not_evaluable, format!("what was written to {} of its pages: {what}", exhibit.alone));
        }
    }
    if let Some(at) = exhibit.probed.first() {
        case.add(&rules::probed, format!("{} of its pages differ from the file by them alone, the first at {at}", exhibit.probed.len()));
    }
    if let Some(at) = exhibit.restored.first() {
        case.add(&rules::restored, format!("{} of its pages were written and are as before, the first at {at}", exhibit.restored.len()));
    }
    if let Some(at) = exhibit.relocated.first() {
        case.add(
            &rules::relocated,
            format!("{} of its pages differ from the file by it alone, the first at {at}", exhibit.relocated.len()),
        );
    }
    if let Some(change) = &exhibit.header {
        let (was, is) = (hex(&change.was), hex(&change.is));
        case.add(&rules::header_rewritten, format!("at {} was {was}, is {is}", change.at));
    }
    if let Some(alignment) = exhibit.flat {
        case.add(&rules::shared_pages, format!("its sections are aligned to {alignment:#x} bytes, less than a page"));
    }
    if let Some(claimed) = exhibit.claimed {
        let mapped = exhibit.end.0 - exhibit.start.0 + 1;
        case.add(&rules::wrong_size, format!("its headers say {claimed:#x} bytes, the kernel mapped {mapped:#x}"));
    }
    if let Some((at, part, count)) = &exhibit.data_code {
        case.add(&rules::data_executable, format!("{count} pages of {part} can be run, the first at {at}"));
    }
    if exhibit.as_data {
        case.add(&rules::mapped_executable, "no image was made of the file");
        if let Some(engine) = exhibit.images.iter().find(|image| is_engine(image, exhibit.pid)) {
            case.add(&rules::engine, format!("{engine} is loaded, and engines keep what they compiled in files"));
        }
    }
    if exhibit.unlisted {
        case.add(&rules::unlisted_image, "none of the loader's lists has it, and code of it is in memory");
    }
}

/// Processes by their IDs, the first of them.
fn processes(pids: &[u32]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    let more = pids.len().saturating_sub(SHOWN);
    format!("the processes {}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// Functions of libraries by which events reach those who watch a process: ETW, AMSI, and the ones below them.
const REPORTING: [&str; 10] = [
    "EtwEventWrite",
    "EtwEventWriteFull",
    "EtwEventWriteEx",
    "EtwEventWriteTransfer",
    "EtwWriteUMSecurityEvent",
    "NtTraceEvent",
    "NtTraceControl",
    "AmsiScanBuffer",
    "AmsiScanString",
    "AmsiOpenSession",
];

/// Whether a reporting function was rewritten at its start to return without doing anything.
fn silences(change: &Change) -> bool {
    let named = change.function.as_ref().is_some_and(|(name, past)| *past < 8 && REPORTING.contains(&name.as_str()));
    // ret; ret n; xor eax, eax; ret; mov eax, value; ret; sub rsp; ...: whatever comes first, it returns within the first bytes.
    named && change.detour.is_none() && change.is.iter().any(|byte| matches!(byte, 0xc3 | 0xc2))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use crate::facts::{Protection, Verdict};

    const START: VirtAddr = VirtAddr(0x7f00_0000_0000);

    fn private(content: Vec<(VirtAddr, Vec<u8>)>) -> Exhibit {
        Exhibit {
            pid: 7,
            process: "web".to_owned(),
            process_address: VirtAddr(1),
            start: START,
            end: START.offset(0x1fff),
            protection: Protection { read: true, write: true, execute: true, ..Protection::default() },
            pages: content.len() as u64,
            content,
            ..Exhibit::default()
        }
    }

    fn file(deleted: bool) -> Exhibit {
        let protection = Protection { read: true, execute: true, ..Protection::default() };
        let behind = Behind::File { program: true, deleted, replaced: false, anonymous: false };
        Exhibit { protection, behind, file: Known::Value("/usr/bin/web".to_owned()), ..private(Vec::new()) }
    }

    fn verdict(exhibit: Exhibit) -> Option<(Verdict, Vec<&'static str>)> {
        let row = judge(exhibit)?;
        Some((row.verdict, row.indicators.iter().map(|indicator| indicator.rule.id).collect()))
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
    fn an_engine_speaks_for_plain_code_but_for_nothing_else() {
        let images: Arc<[String]> = ["\\Windows\\Microsoft.NET\\Framework64\\v4.0.30319\\clr.dll".to_owned()].into();
        let with = |code: &[u8]| verdict(Exhibit { images: Arc::clone(&images), ..private(vec![(START, code.to_vec())]) }).unwrap();
        assert_eq!(with(&[0x48, 0x8b, 0x5c, 0x24, 0x30, 0xc3]), (Verdict::LikelyBenign, vec!["private_executable", "engine"]));
        // cld; and rsp, -10h; call; ...; mov rdx, gs:[rdx+60h]
        let shellcode = [0xfc, 0x48, 0x83, 0xe4, 0xf0, 0xe8, 0xc0, 0, 0, 0, 0x65, 0x48, 0x8b, 0x52, 0x60];
        assert_eq!(with(&shellcode), (Verdict::LikelyInjected, vec!["private_executable", "shellcode"]));
        let engine = |image| is_engine(image, 7);
        assert!(!engine("\\Users\\mara\\clr.dll") && engine("/usr/lib/jvm/java-17/lib/server/libjvm.so"));
        assert!(engine("/usr/bin/node") && !engine("/usr/bin/node_exporter") && !engine("/tmp/node"));
        assert!(engine("/home/mara/.debug/jit/java-jit-1/jit-7.dump") && !engine("/home/mara/.debug/jit/java-jit-1/jit-8.dump"));
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

    /// The rules that apply to each region of a machine where every process has one, and `other` something else in one of them.
    pub fn among_peers(processes: u64, scope: Scope, other: Option<u64>) -> Vec<Vec<&'static str>> {
        let mut sink = Sink::new(Arc::default());
        judge_all(scope, &mut sink, |scope, out, show| {
            for index in (0..processes).filter(|index| scope.admits(*index as u32, VirtAddr(*index))) {
                let code = if other == Some(index) { 0xcc } else { 0x48 };
                let exhibit = private(vec![(START, vec![code, 0x89, 0x5c, 0x24, 0x08])]);
                show(Exhibit { process_address: VirtAddr(index), program: Some("\\Windows\\x.exe".into()), ..exhibit }, out);
            }
        });
        sink.finish().iter().map(|row| row.indicators.iter().map(|indicator| indicator.rule.id).collect()).collect()
    }

    #[test]
    fn what_all_processes_of_a_program_have_is_their_habit() {
        let (alone, shared) = (vec!["private_executable"], vec!["private_executable", "peers"]);
        assert_eq!(among_peers(3, Scope::Machine, None), vec![shared.clone(); 3]);
        assert_eq!(among_peers(3, Scope::Process(VirtAddr(1)), None), [shared], "alike by itself and among all");
        assert_eq!(among_peers(2, Scope::Machine, None), vec![alone.clone(); 2], "too few");
        assert_eq!(among_peers(4, Scope::Machine, Some(2)), vec![alone; 4], "not all have it");
    }
}
