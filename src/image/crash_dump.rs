//! Windows crash dumps: complete ones and those with a bitmap, of 64-bit machines.
//!
//! A header of two pages (DUMP_HEADER64 of the debugger's SDK), then memory in one of three forms: runs that stand in the header itself
//! (full dumps), a bitmap of the pages that follow (kernel, active and automatic dumps, full ones since Windows 8), or a table of ranges
//! (what debuggers write). Nothing but headers is read at open.

use super::flat::{Layout, Piece};
use super::pages::{MOST_PAGES, PageSet};
use super::source::Source;
use super::{DumpHeader, Hints, Memory, Opened, Problem};
use crate::address::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::facts::ReadError;
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"PAGEDU64";
pub(crate) const MAGIC_32: &[u8] = b"PAGEDUMP";

/// Where the header ends and the memory, the bitmap or the ranges begin.
const HEADER: u64 = 0x2000;
const RUN_COUNT: usize = 0x88;
const PAGE_COUNT: usize = 0x90;
const RUNS: usize = 0x98;
/// What fits into the header's block of 700 bytes.
const MOST_RUNS: usize = 42;
const KIND: usize = 0xf98;
/// What the kernel fills unused fields with: "PAGE".
const UNUSED: u32 = 0x4547_4150;
/// Behind the header of a bitmap, or of a table of ranges.
const BITMAP: u64 = HEADER + 0x38;
const RANGES: u64 = HEADER + 0x30;

/// DUMP_TYPE_* by number.
const FULL: u32 = 1;
const TRIAGE: u32 = 4;
const KINDS: &[(u32, &str)] = &[
    (FULL, "full"),
    (2, "kernel"),
    (3, "header only"),
    (TRIAGE, "triage"),
    (5, "full, bitmap"),
    (6, "kernel or active, bitmap"),
    (7, "automatic"),
    (8, "kernel, ranges"),
    (9, "kernel and user, ranges"),
    (10, "full, ranges"),
];

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn machine_name(machine: u32) -> String {
    match machine {
        0x14c => "x86".into(),
        0x8664 => "x64".into(),
        0xaa64 => "ARM64".into(),
        other => format!("machine type {other:#x}"),
    }
}

/// The dump of a 32-bit machine: named, so that it is clear what the file is, and refused.
pub(crate) fn open_32(source: &dyn Source) -> Problem {
    let header = source.upto(0, 0x1000).unwrap_or_default();
    let (build, machine, pae) = (le32(&header, 0xc), machine_name(le32(&header, 0x20)), header.get(0x5c) == Some(&1));
    let pae = if pae { ", PAE" } else { "" };
    format!("a crash dump of a 32-bit Windows (build {build}, {machine}{pae}); only 64-bit Windows is supported").into()
}

pub(crate) fn open(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let header: [u8; HEADER as usize] = match source.array(0) {
        Ok(header) => header,
        Err(_) => return Err(format!("a Windows crash dump that ends at offset {:#x}, within its header", source.len()).into()),
    };
    let kind = le32(&header, KIND);
    let found = DumpHeader {
        build: le32(&header, 0xc),
        machine: le32(&header, 0x30),
        loaded_modules: le64(&header, 0x20),
        active_processes: le64(&header, 0x28),
        debugger_data: le64(&header, 0x80),
        system_time: le64(&header, 0xfa8),
    };
    let machine = machine_name(found.machine);
    if kind == TRIAGE {
        return Err(format!(
            "a Windows triage dump (minidump; build {}, {machine}): it holds a few stacks and no memory to explore; open it with a debugger",
            found.build
        )
        .into());
    }
    let mut warnings = Vec::new();
    if found.machine != 0x8664 {
        warnings.push(format!("the dump's header tells of {machine}; only x64 is analysed"));
    }
    let signature = le64(&header_of(&*source), 0).to_le_bytes();
    let range_signature = le64(&header_of(&*source), 4).to_le_bytes();
    let name = KINDS.iter().find(|(number, _)| *number == kind).map_or_else(|| format!("type {kind}"), |(_, name)| (*name).to_owned());
    let format = format!("Windows crash dump ({name})");
    let root = PhysAddr(le64(&header, 0x10) & 0x000f_ffff_ffff_f000);
    let hints = Hints { page_table_roots: Vec::from_iter((!root.is_null()).then_some(root)), dump: Some(found), ..Hints::default() };
    if kind == FULL {
        let (memory, told) = runs(&header, source)?;
        warnings.extend(told);
        Opened::new(memory, format, hints, warnings)
    } else if signature == *b"SDMPDUMP" || signature == *b"FDMPDUMP" {
        let memory = Bitmap::open(source, &mut warnings)?;
        Opened::new(memory, format, hints, warnings)
    } else if range_signature == *b"RDMPDUMP" {
        let (memory, told) = ranges(source)?;
        warnings.extend(told);
        Opened::new(memory, format, hints, warnings)
    } else {
        Err(format!("a Windows crash dump of {name} (offset {KIND:#x}) with neither a bitmap nor ranges at offset {HEADER:#x}").into())
    }
}

/// The head of what follows the dump's header.
fn header_of(source: &dyn Source) -> Vec<u8> {
    source.upto(HEADER, (BITMAP - HEADER) as usize).unwrap_or_default()
}

/// A full dump: the runs of _PHYSICAL_MEMORY_DESCRIPTOR, their pages one after the other.
fn runs(header: &[u8], source: Arc<dyn Source>) -> Result<(impl Memory + 'static, Vec<String>), Problem> {
    let (count, pages) = (le32(header, RUN_COUNT), le64(header, PAGE_COUNT));
    if count == UNUSED || count == 0 || count as usize > MOST_RUNS {
        return Err(format!(
            "a full Windows crash dump whose header gives {count:#x} runs of memory (offset {RUN_COUNT:#x}); 1 to {MOST_RUNS} are possible"
        )
        .into());
    }
    let mut layout = Layout::new(&*source);
    let mut offset = HEADER;
    let mut total: u64 = 0;
    for index in 0..count as usize {
        let at = RUNS + index * 16;
        let (first, count) = (le64(header, at), le64(header, at + 8));
        let Some(end) = first.checked_add(count).filter(|end| *end <= MOST_PAGES) else {
            layout.warn(format!(
                "run {index} of the header (offset {at:#x}) gives {count:#x} pages from page {first:#x}; it and what follows are not read"
            ));
            break;
        };
        layout.add(Piece { start: first * PAGE_SIZE, length: (end - first) * PAGE_SIZE, offset });
        offset += count * PAGE_SIZE;
        total += count;
    }
    if total != pages && layout_is_told(pages) {
        layout.warn(format!("the header gives {pages} pages of memory (offset {PAGE_COUNT:#x}), its runs have {total}"));
    }
    Ok(layout.finish(source))
}

/// Some writers leave the number of pages out.
fn layout_is_told(pages: u64) -> bool {
    pages != 0 && pages as u32 != UNUSED
}

/// What debuggers write (`.dump /f`, `/ka`): ranges of pages, their memory from the first page's offset on. As kdmp-parser describes it.
fn ranges(source: Arc<dyn Source>) -> Result<(impl Memory + 'static, Vec<String>), Problem> {
    let first_page = le64(&header_of(&*source), 0x18);
    if !(RANGES..=source.len()).contains(&first_page) {
        return Err(format!("a Windows crash dump whose memory should begin at offset {first_page:#x} (offset 0x2018)").into());
    }
    let mut layout = Layout::new(&*source);
    let mut offset = first_page;
    let mut at = RANGES;
    while at + 16 <= first_page && offset < source.len() && !layout.full() {
        let range: [u8; 16] = source.array(at)?;
        let (first, count) = (le64(&range, 0), le64(&range, 8));
        if count == 0 {
            break;
        }
        if first.checked_add(count).is_none_or(|end| end > MOST_PAGES) {
            layout
                .warn(format!("the range at offset {at:#x} gives {count:#x} pages from page {first:#x}; it and what follows are not read"));
            break;
        }
        layout.add(Piece { start: first * PAGE_SIZE, length: count * PAGE_SIZE, offset });
        offset = offset.saturating_add(count * PAGE_SIZE);
        at += 16;
    }
    Ok(layout.finish(source))
}

/// A bit for each page of memory; those that are set lie in the file in order.
struct Bitmap {
    source: Arc<dyn Source>,
    pages: PageSet,
    runs: Vec<PhysRange>,
    first_page: u64,
}

impl Bitmap {
    fn open(source: Arc<dyn Source>, warnings: &mut Vec<String>) -> Result<Self, Problem> {
        let header = header_of(&*source);
        let (first_page, present, bits) = (le64(&header, 0x20), le64(&header, 0x28), le64(&header, 0x30));
        if bits > MOST_PAGES {
            return Err(format!(
                "a Windows crash dump whose bitmap has {bits:#x} bits (offset 0x2030); that is more than any machine's pages"
            )
            .into());
        }
        let length = bits.div_ceil(8);
        if first_page < BITMAP + length || first_page > source.len() {
            return Err(format!(
                "a Windows crash dump whose memory should begin at offset {first_page:#x} (offset 0x2020), behind a bitmap of {length:#x} bytes; \
                 the file ends at {:#x}",
                source.len()
            )
            .into());
        }
        // The length is within the file now.
        let mut bitmap = source.upto(BITMAP, length as usize)?;
        if let (Some(last), 1..) = (bitmap.last_mut(), bits % 8) {
            *last &= (1 << (bits % 8)) - 1;
        }
        let held = (source.len() - first_page) / PAGE_SIZE;
        let mut pages = PageSet::new(&bitmap);
        // What the header says and what the file holds outvote it.
        if pages.count() != present
            && held == present
            && let Some(mended) = mended(&bitmap, bits, held)
        {
            warnings.push(format!(
                "the bitmap at offset {BITMAP:#x} has {} pages, the file {held}; it was mended where it is torn",
                pages.count()
            ));
            pages = PageSet::new(&mended);
        }
        let count = pages.count();
        if present != count {
            warnings.push(format!("the header gives {present} pages (offset 0x2028), its bitmap has {count}"));
        }
        let mut runs = pages.runs(PAGE_SIZE);
        if held < count {
            let missing = count - held;
            warnings.push(format!("the file ends at offset {:#x}: the last {missing} of {count} pages are missing", source.len()));
            pages = pages.keep(0, page_of_rank(&runs, held));
            runs = pages.runs(PAGE_SIZE);
        }
        Ok(Self { source, pages, runs, first_page })
    }
}

/// A damaged bitmap as it must have been to have `wanted` bits: pages of the file that hold noise become what is around them, and single
/// bits among others become as those. None if that does not come out even.
fn mended(bitmap: &[u8], bits: u64, wanted: u64) -> Option<Vec<u8>> {
    /// 1 TiB of memory.
    const MOST_MENDED: u64 = 1 << 28;
    let bits = usize::try_from(bits).ok().filter(|bits| *bits as u64 <= MOST_MENDED)?;
    let mut set: Vec<bool> = (0..bits).map(|bit| bitmap.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 != 0)).collect();
    let count = |set: &[bool]| set.iter().filter(|bit| **bit).count() as u64;
    let changes = |part: &[bool]| part.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let mut starts = vec![0];
    starts.extend(((PAGE_SIZE - BITMAP % PAGE_SIZE) as usize * 8..bits).step_by(PAGE_SIZE as usize * 8));
    let mut open = None;
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(bits);
        let part = set.get_mut(*start..end)?;
        // Memory lies in long runs; of noise every second bit differs from the one before.
        if changes(part) * 8 < part.len() {
            continue;
        }
        part.fill(false);
        let before = start.checked_sub(1).and_then(|at| set.get(at)).copied().unwrap_or_default();
        let after = set.get(end).copied().unwrap_or_default();
        match (before, after) {
            (true, true) => set.get_mut(*start..end)?.fill(true),
            (false, false) => {}
            // A run ends or begins in it: the number of pages tells where.
            _ if open.is_none() => open = Some((*start, end, before)),
            _ => return None,
        }
    }
    if let Some((start, end, before)) = open {
        let length = usize::try_from(wanted.checked_sub(count(&set))?).ok().filter(|length| *length <= end - start)?;
        let run = if before { start..start + length } else { end - length..end };
        set.get_mut(run)?.fill(true);
    }
    if count(&set) != wanted {
        let lone: Vec<usize> = (1..bits.saturating_sub(1)).filter(|at| set[at - 1] == set[at + 1] && set[*at] != set[at - 1]).collect();
        lone.into_iter().for_each(|at| set[at] = !set[at]);
    }
    let bytes = || set.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect();
    (count(&set) == wanted).then(bytes)
}

/// The page that has so many before it in the runs.
fn page_of_rank(runs: &[PhysRange], rank: u64) -> u64 {
    let mut rest = rank;
    for run in runs {
        let pages = run.length / PAGE_SIZE;
        if rest < pages {
            return run.start.0 / PAGE_SIZE + rest;
        }
        rest -= pages;
    }
    u64::MAX
}

impl Memory for Bitmap {
    fn runs(&self) -> &[PhysRange] {
        &self.runs
    }

    fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (at.0, out);
        while !rest.is_empty() {
            let after = self.runs.partition_point(|run| run.start.0 <= at);
            let run = after.checked_sub(1).and_then(|index| self.runs.get(index));
            let run = run.filter(|run| run.contains(PhysAddr(at))).ok_or(ReadError::NotInImage(PhysAddr(at)))?;
            // The pages of a run follow each other in the file too.
            let length = (run.end().0 - at).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            let page = self.first_page + self.pages.rank(at / PAGE_SIZE) * PAGE_SIZE;
            self.source.read_at(page + at % PAGE_SIZE, now)?;
            at += length as u64;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_are_mended_if_it_comes_out_even() {
        // Memory with a hole from the second page of the bitmap on, and more behind it.
        let whole: Vec<u8> = (0..0x5000).map(|byte| if (0x1800..0x4000).contains(&byte) { 0 } else { 0xff }).collect();
        let (bits, count) = (whole.len() as u64 * 8, PageSet::new(&whole).count());
        let torn = |tear: &dyn Fn(&mut Vec<u8>)| {
            let mut torn = whole.clone();
            tear(&mut torn);
            mended(&torn, bits, count)
        };
        let noise = |page: usize| {
            let start = page * 0x1000 - (BITMAP % PAGE_SIZE) as usize;
            move |torn: &mut Vec<u8>| {
                torn[start..start + 0x1000].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 0x9d) as u8 ^ 0x35)
            }
        };
        assert!(torn(&|_| ()).as_ref() == Some(&whole));
        assert!(torn(&noise(3)).as_ref() == Some(&whole), "in the hole");
        assert!(torn(&noise(1)).as_ref() == Some(&whole), "at the beginning");
        assert!(torn(&|torn| (torn[0x2000], torn[0x3000], torn[0x100]) = (0x10, 0x10, 0xfb)).as_ref() == Some(&whole), "single bits");
        assert!(torn(&|torn| torn[0x2000..0x2010].fill(0xff)).is_none());
    }
}
