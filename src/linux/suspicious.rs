//! Regions that look injected or tampered with. Rules are few and each names its evidence; what speaks against is said as well.

use super::Linux;
use super::maps::{self, Mapping};
use super::path;
use super::tasks::Task;
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Indicator, Known, ReadError, Scope, Sink, Suspicious, Verdict};
use crate::paging::{AddressSpace, Leaf};
use crate::symbols::Object;

/// Bytes shown of each region.
const HEAD: usize = 64;
/// Pages of one region that are looked into for content and for changes.
const MOST_PAGES: u64 = 4096;

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

pub fn suspicious(linux: &Linux, scope: Scope, out: &mut Sink<Suspicious>) {
    let tasks = linux.tasks(scope, out.watch());
    for (done, task) in tasks.iter().enumerate() {
        if out.cancelled() {
            return;
        }
        out.watch().progress(done as u64, tasks.len() as u64);
        if let Err(why) = of_task(linux, task, out) {
            out.note(format!("{} {} could not be judged: {why}", task.name, task.pid));
        }
    }
    out.note(format!("{} processes were looked at; regions not listed show none of the signs that `kioku tables` names", tasks.len()));
}

fn of_task(linux: &Linux, task: &Task<'_>, out: &mut Sink<Suspicious>) -> Result<(), ReadError> {
    let Some(mm) = task.object.follow("mm")? else { return Ok(()) };
    let space = linux.space_of(&task.object)?;
    let (mappings, _) = maps::mappings(&mm, out.watch());
    let executable = mm.follow("exe_file")?.and_then(|file| file.pointer("f_inode").ok());
    for mapping in mappings.iter().filter(|mapping| mapping.protection.execute) {
        if out.cancelled() {
            return Ok(());
        }
        let case = judge(linux, &space, mapping, executable);
        if case.indicators.is_empty() {
            continue;
        }
        let mut head = vec![0; HEAD.min((mapping.end.0 - mapping.start.0) as usize)];
        let head = space.read(mapping.start, &mut head).map(|()| head);
        let never_touched = matches!(head, Err(ReadError::NotMapped(_)));
        out.push(Suspicious {
            pid: task.pid,
            process: task.name.clone(),
            start: mapping.start,
            end: VirtAddr(mapping.end.0 - 1),
            protection: mapping.protection,
            file: mapping.file.as_ref().map(|file| path::of_file(file).map(path::FilePath::shown)).transpose().into(),
            score: case.score.clamp(0, 100) as u8,
            verdict: case.verdict(),
            indicators: case.indicators,
            head: if never_touched { Known::Absent } else { head.into() },
            process_address: task.object.address,
            ..Suspicious::default()
        });
    }
    Ok(())
}

fn judge(linux: &Linux, space: &AddressSpace, mapping: &Mapping<'_>, executable: Option<VirtAddr>) -> Case {
    let mut case = Case::default();
    match &mapping.file {
        Some(file) => judge_file(linux, space, mapping, file, executable, &mut case),
        None if linux.is_special(mapping) => {}
        None => judge_private(space, mapping, &mut case),
    }
    case
}

/// Executable memory that no file backs.
fn judge_private(space: &AddressSpace, mapping: &Mapping<'_>, case: &mut Case) {
    let rights = if mapping.protection.write { "readable, writable and executable" } else { "executable, not writable" };
    case.add(40, "private_executable", format!("no file behind it, {rights}"));
    let mut pages = 0;
    let mut content = Vec::new();
    let mut unread = 0;
    space.mapped(mapping.start, mapping.end, &mut |at, _, length| {
        for page in 0..length / PAGE_SIZE {
            if pages >= MOST_PAGES {
                return;
            }
            pages += 1;
            let mut bytes = [0; PAGE_SIZE as usize];
            let at = at.offset(page * PAGE_SIZE);
            match space.read(at, &mut bytes) {
                Ok(()) if bytes.iter().any(|byte| *byte != 0) => content.push((at, bytes)),
                Ok(()) => {}
                Err(_) => unread += 1,
            }
        }
    });
    if unread > 0 {
        case.indicators.push(Indicator { id: "not_evaluable", detail: format!("{unread} of {pages} pages are not in the image") });
    }
    let Some((first, bytes)) = content.first() else {
        let what = if pages == 0 { "never touched" } else { "all zero" };
        return case.add(-25, "no_content", format!("-{what}: there is nothing in it to run"));
    };
    if let Some((at, _)) = content.iter().find(|(_, bytes)| bytes.starts_with(b"\x7fELF")) {
        case.add(45, "elf_header", format!("an ELF header at {at}, in memory that no file backs"));
    } else if *first != mapping.start {
        case.add(15, "first_page_empty", format!("the first page is zero, content begins at {first}: a wiped header looks like this"));
    }
    if let Some(sign) = shellcode(bytes) {
        case.add(40, "shellcode", format!("{sign} at {first}"));
    }
}

/// Signs of code that was written to stand alone: a run of NOPs, and system calls made directly.
fn shellcode(bytes: &[u8]) -> Option<String> {
    let nops = bytes.iter().take_while(|byte| **byte == 0x90).count();
    let rest = bytes.get(nops..nops + 64).unwrap_or_default();
    let call = rest.windows(2).any(|pair| pair == [0x0f, 0x05] || pair == [0xcd, 0x80]);
    match (nops, call) {
        (8.., true) => Some(format!("{nops} NOPs, then code with a direct system call")),
        (_, true) => Some("code with a direct system call in its first 64 bytes".to_owned()),
        (16.., false) => Some(format!("{nops} NOPs")),
        _ => None,
    }
}

/// Code mapped from a file: is the file still there, and is the code still the file's?
fn judge_file(
    linux: &Linux,
    space: &AddressSpace,
    mapping: &Mapping<'_>,
    file: &Object<'_>,
    executable: Option<VirtAddr>,
    case: &mut Case,
) {
    if let Ok(path) = path::of_file(file)
        && path.deleted
    {
        let what = if file.pointer("f_inode").ok() == executable { "the program" } else { "code" };
        if path.text.starts_with("/memfd:") {
            case.add(50, "memfd_executable", format!("{what} was run from an anonymous memory file, {}", path.text));
        } else if !path.text.starts_with("/dev/zero") && !path.text.starts_with("/SYSV") {
            case.add(45, "deleted_file", format!("{what} was run from {}, which has been deleted", path.text));
        }
    }
    if mapping.protection.write {
        case.add(35, "writable_code", "mapped from a file writable and executable at once");
    }
    let mut changed = Vec::new();
    let mut looked = 0;
    space.mapped(mapping.start, mapping.end, &mut |at, leaf, length| {
        looked += length / PAGE_SIZE;
        if looked <= MOST_PAGES && linux.is_anonymous(leaf).unwrap_or(false) {
            changed.push((at, leaf));
        }
    });
    let differing: Vec<_> = changed.iter().filter_map(|(at, leaf)| linux.difference(mapping, file, *at, *leaf)).collect();
    if let Some((at, offset, was, is)) = differing.first() {
        let (was, is) = (hex(was), hex(is));
        let detail = format!("{} of its pages differ from the file: at {} was {was}, is {is}", differing.len(), at.offset(*offset));
        case.add(35, "rewritten_code", detail);
    } else if let Some((at, _)) = changed.first() {
        let detail = format!("{} of its pages are private copies, the first at {at}: something wrote to the code", changed.len());
        case.add(30, "private_code_pages", detail);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Linux {
    /// A mapping that the kernel itself made, such as the vDSO.
    fn is_special(&self, mapping: &Mapping<'_>) -> bool {
        let special = self.context().symbol("special_mapping_vmops").ok();
        special.is_some() && mapping.object.pointer("vm_ops").ok() == special
    }

    /// Whether a frame holds a private page of a process, not one of the page cache: the lowest bit of its mapping
    /// (PAGE_MAPPING_ANON, include/linux/page-flags.h).
    fn is_anonymous(&self, leaf: Leaf) -> Result<bool, ReadError> {
        let Some(frame) = leaf.frame() else { return Ok(false) };
        Ok(self.page(frame)?.uint("mapping")? & 1 != 0)
    }

    /// The first bytes in which a page differs from the same page of its file in the page cache; None where it does not, or where the
    /// file's page is not in memory.
    fn difference(&self, mapping: &Mapping<'_>, file: &Object<'_>, at: VirtAddr, leaf: Leaf) -> Option<(VirtAddr, u64, Vec<u8>, Vec<u8>)> {
        let index = mapping.object.uint("vm_pgoff").ok()? + (at.0 - mapping.start.0) / PAGE_SIZE;
        let cached = self.cached_page(file, index)?;
        let (mut was, mut is) = ([0; PAGE_SIZE as usize], [0; PAGE_SIZE as usize]);
        self.image.read(cached, &mut was).ok()?;
        self.image.read(leaf.frame()?, &mut is).ok()?;
        let first = was.iter().zip(&is).position(|(was, is)| was != is)?;
        let end = (first + 8).min(was.len());
        Some((at, first as u64, was[first..end].to_vec(), is[first..end].to_vec()))
    }

    /// The frame of a file's page in the page cache.
    pub(super) fn cached_page(&self, file: &Object<'_>, index: u64) -> Option<crate::address::PhysAddr> {
        let cache = file.follow_some("f_mapping").ok()?;
        let pages = cache.inner(if cache.has("i_pages") { "i_pages" } else { "page_tree" }).ok()?;
        let (start, page) = super::xarray::at(&pages, index).ok()??;
        self.frame_of(page).ok().map(|frame| frame.offset((index - start) * PAGE_SIZE))
    }
}
