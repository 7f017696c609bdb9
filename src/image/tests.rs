//! Every format, whole and damaged, through the door that the rest of the program uses.

#![allow(clippy::unwrap_used)]

use super::samples::{self, Bytes, PAGE, Pack, RANGES, ROOT, VMCOREINFO, memory};
use super::{Chunk, Image, OpenError};
use crate::address::{PhysAddr, PhysRange};
use crate::facts::{ReadError, Watch};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

fn open(bytes: Vec<u8>) -> Result<Image, OpenError> {
    Image::open_bytes("sample", bytes.leak())
}

fn refusal(bytes: &[u8]) -> String {
    match open(bytes.to_vec()) {
        Ok(image) => panic!("opened as {}", image.format()),
        Err(why) => why.to_string(),
    }
}

fn read(image: &Image, at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
    let mut out = vec![0; length];
    image.read(PhysAddr(at), &mut out).map(|()| out)
}

/// Asserts that memory is as it was written, without printing all of it.
fn holds(image: &Image, at: u64, length: usize) {
    let read = read(image, at, length).unwrap_or_else(|why| panic!("{}: {why}", image.format()));
    let wrong = read.iter().zip(memory(at, length)).position(|(read, written)| *read != written);
    assert_eq!(wrong, None, "{} at {at:#x}", image.format());
}

/// All samples that hold `RANGES`.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    static SAMPLES: OnceLock<Vec<(&'static str, Vec<u8>)>> = OnceLock::new();
    SAMPLES.get_or_init(build).clone()
}

fn build() -> Vec<(&'static str, Vec<u8>)> {
    let kdump = |pack| samples::kdump(pack, 0, None, |_| true);
    vec![
        ("ELF core (QEMU)", samples::elf_core()),
        ("LiME", samples::lime()),
        ("AVML (snappy)", samples::avml()),
        ("kdump", kdump(Pack::Plain)),
        ("kdump (zlib)", kdump(Pack::Zlib)),
        ("kdump (lzo)", kdump(Pack::Lzo)),
        ("kdump (snappy)", kdump(Pack::Snappy)),
        ("kdump (zstd)", kdump(Pack::Zstd)),
        ("kdump (zlib), flattened", samples::flattened(&kdump(Pack::Zlib))),
        ("QEMU stream (pc-i440fx-7.2)", samples::qemu_stream()),
        ("QEMU stream (pc-i440fx-7.2), libvirt save image", samples::libvirt(&samples::qemu_stream(), 0)),
        ("Windows crash dump (full)", samples::crash_dump()),
        ("Windows crash dump (full, bitmap)", samples::crash_dump_with_bitmap(b"FDMPDUMP")),
        ("Windows crash dump (full, ranges)", samples::crash_dump_with_ranges()),
        ("VMware state with memory", samples::vmware_state(true)),
        ("ELF core (QEMU), seekable zstd", samples::seekable(&samples::elf_core(), 30_000, false)),
        ("LiME, seekable zstd", samples::seekable(&samples::lime(), 70_000, true)),
        ("kdump (zlib), flattened, seekable zstd", samples::seekable(&samples::flattened(&kdump(Pack::Zlib)), 10_000, false)),
    ]
}

#[test]
fn all_formats_give_the_same_memory() {
    let runs = RANGES.map(|(start, length)| PhysRange { start: PhysAddr(start), length: length as u64 });
    for (format, bytes) in all() {
        let size = bytes.len() as u64;
        let image = open(bytes).unwrap();
        assert_eq!(image.format(), format);
        assert_eq!(image.size(), size);
        assert_eq!(image.runs(), runs, "{format}");
        assert_eq!(image.warnings(), [""; 0], "{format}");
        assert_eq!(image.changed(), None);
        for (start, length) in RANGES {
            holds(&image, start, length);
            for (from, length) in [(0, 8), (4090, 12), (4096, 4096), (8191, 1), (5000, 7000)] {
                holds(&image, start + from, length);
            }
            let end = start + length as u64;
            assert_eq!(read(&image, end - 4, 8), Err(ReadError::NotInImage(PhysAddr(end))), "{format}");
            assert_eq!(read(&image, end, 1), Err(ReadError::NotInImage(PhysAddr(end))), "{format}");
        }
        assert_eq!(read(&image, u64::MAX - 3, 8), Err(ReadError::NotInImage(PhysAddr(u64::MAX - 3))), "{format}");
        assert_eq!(read(&image, u64::MAX, 0), Ok(vec![]), "{format}");
    }
}

#[test]
fn headers_give_hints() {
    for (format, bytes) in all() {
        let image = open(bytes).unwrap();
        let hints = image.hints();
        if ["ELF", "kdump", "QEMU", "Windows", "VMware"].iter().any(|start| format.starts_with(start)) {
            assert_eq!(hints.page_table_roots, [PhysAddr(ROOT)], "{format}");
        }
        if format.starts_with("ELF") || format.starts_with("kdump") {
            assert_eq!(hints.vmcoreinfo.as_deref(), Some(VMCOREINFO), "{format}");
        }
        if let Some(dump) = hints.dump {
            assert!(format.starts_with("Windows"));
            assert_eq!((dump.build, dump.machine, dump.system_time), (19041, 0x8664, 133_600_000_000_000_000));
            assert_eq!(dump.active_processes - dump.loaded_modules, dump.debugger_data - dump.active_processes);
        }
    }
}

/// A file that was cut off opens with a warning, or says why not, and never gives wrong bytes.
#[test]
fn files_that_are_cut_off_say_so() {
    for (format, bytes) in all() {
        let held: usize = RANGES.iter().map(|(_, length)| length).sum();
        let step = bytes.len() / 61 + 1;
        for length in (0..bytes.len()).step_by(step).chain(bytes.len().saturating_sub(5)..bytes.len()) {
            let Ok(image) = open(bytes[..length].to_vec()) else { continue };
            let mut right = 0;
            for run in image.runs() {
                for at in (run.start.0..run.end().0).step_by(PAGE) {
                    let length = (run.end().0 - at).min(PAGE as u64) as usize;
                    if let Ok(read) = read(&image, at, length) {
                        assert!(read == memory(at, length) || read == [0xee; PAGE], "{format} cut at {length}: {at:#x}");
                        right += length;
                    }
                }
            }
            assert!(
                right == held || !image.warnings().is_empty(),
                "{format} cut at {length} of {}: {right} bytes and no warning",
                bytes.len()
            );
        }
    }
}

#[test]
fn what_is_not_memory_is_refused_with_a_reason() {
    let padded = |start: &[u8]| Bytes::default().put(start).upto(8192).0;
    let mut program = padded(b"MZ");
    program[0x3c..0x40].copy_from_slice(&128u32.to_le_bytes());
    program[128..132].copy_from_slice(b"PE\0\0");
    let text = "name,value\n".repeat(2000);
    for (bytes, reason) in [
        (vec![], "sample: the file is empty"),
        (text.into_bytes(), "a text file"),
        ("größer\n".repeat(500).into_bytes(), "a text file"),
        (vec![0; 1000], "1000 bytes are no whole pages"),
        (program, "a Windows program"),
        (padded(b"%PDF-1.7\n\0"), "a PDF document"),
        (padded(b"PAGEDU64"), "of type 0 (offset 0xf98) with neither a bitmap nor ranges at offset 0x2000"),
        (b"PAGEDU64 ".repeat(500), "ends at offset 0x1194, within its header"),
        (samples::dump_header(4).upto(0x3000).0, "a Windows triage dump (minidump; build 19041, x64)"),
        (samples::dump_header(1).0, "without any memory in it"),
        (Bytes::default().put(b"PAGEDUMP").le32(15).le32(2600).upto(0x20).le32(0x14c).upto(0x2000).0, "32-bit Windows (build 2600, x86)"),
        (samples::vmware_state(false), "without the memory, which should lie beside it in a .vmem file"),
        (padded(b"\xd0\xbe\xd0\xbe"), "of an old 32-bit version"),
        (padded(b"HIBR"), "a Windows hibernation file"),
        (padded(b"\x1f\x8b\x08"), "gzip -d"),
        (padded(b"\x28\xb5\x2f\xfd"), "without a seek table"),
        (samples::elf(3, &[], &[(0, 0, vec![0; 100])], false), "an ELF program or library"),
        (samples::elf(4, &samples::process_notes(), &[(0x40_0000, 0, vec![1; 100])], false), "an ELF core of one process (bash)"),
        (samples::elf(4, &samples::notes(), &[], false), "without any memory in it"),
        (samples::libvirt(&samples::qemu_stream(), 3), "compressed with xz; its stream begins at offset 102"),
        (samples::qemu("virt-7.2", &[("mach-virt.ram", 8192)], &[]), "not a PC"),
    ] {
        let why = refusal(&bytes);
        assert!(why.contains(reason) && !why.contains('\n'), "{why:?} instead of {reason:?}");
    }
}

#[test]
fn a_folder_and_an_absent_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let why = Image::open(folder.path()).err().unwrap().to_string();
    assert!(why.contains("a folder, not a memory image"), "{why}");
    let why = Image::open(&folder.path().join("none")).err().unwrap().to_string();
    assert!(why.contains("No such file"), "{why}");
}

#[test]
fn files_on_disk_open_like_files_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    for (format, bytes) in all() {
        // A name that lies.
        let path = folder.path().join("picture.png");
        std::fs::write(&path, bytes).unwrap();
        let image = Image::open(&path).unwrap();
        assert_eq!(image.format(), format);
        for (start, length) in RANGES {
            holds(&image, start, length);
        }
    }
}

/// Puts bytes at an offset of a sample.
fn with(mut file: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn crash_dump_headers_that_lie_are_named_by_their_offset() {
    let far = u64::MAX.to_le_bytes();
    for (file, reason) in [
        (with(samples::crash_dump(), 0x88, b"PAGE"), "gives 0x45474150 runs of memory (offset 0x88)"),
        (with(samples::crash_dump(), 0x88, &43u32.to_le_bytes()), "0x2b runs"),
        (with(samples::crash_dump(), 0x98, &far), "run 0 of the header (offset 0x98)"),
        (with(samples::crash_dump_with_bitmap(b"SDMPDUMP"), 0x2030, &far), "bitmap has 0xffffffffffffffff bits (offset 0x2030)"),
        (with(samples::crash_dump_with_bitmap(b"SDMPDUMP"), 0x2020, &far), "should begin at offset 0xffffffffffffffff (offset 0x2020)"),
        (with(samples::crash_dump_with_bitmap(b"SDMPDUMP"), 0x2020, &[0; 8]), "should begin at offset 0x0 (offset 0x2020)"),
        (with(samples::crash_dump_with_ranges(), 0x2018, &far), "(offset 0x2018)"),
    ] {
        let why = refusal(&file);
        assert!(why.contains(reason), "{why:?} instead of {reason:?}");
    }
    for (file, warning) in [
        (with(samples::crash_dump(), 0xa8, &far), "run 1 of the header (offset 0xa8)"),
        (with(samples::crash_dump(), 0x90, &[9, 0]), "gives 9 pages of memory (offset 0x90), its runs have 33"),
        (with(samples::crash_dump(), 0x30, &0xaa64u32.to_le_bytes()), "tells of ARM64"),
        (with(samples::crash_dump_with_bitmap(b"SDMPDUMP"), 0x2028, &[9, 0]), "gives 9 pages (offset 0x2028), its bitmap has 33"),
        (with(samples::crash_dump_with_ranges(), 0x2040, &far), "the range at offset 0x2040"),
    ] {
        let image = open(file).unwrap();
        assert!(image.warnings()[0].contains(warning), "{:?} instead of {warning:?}", image.warnings());
    }
}

#[test]
fn vmware_memory_and_state_find_each_other() {
    for state in ["vmss", "vmsn", "VMSS"] {
        let folder = tempfile::tempdir().unwrap();
        let [memory, state] = ["vmem", state].map(|extension| folder.path().join("machine").with_extension(extension));
        std::fs::write(&memory, samples::vmem()).unwrap();
        std::fs::write(&state, samples::vmware_state(false)).unwrap();
        for path in [&memory, &state] {
            let image = Image::open(path).unwrap();
            assert!(image.format().starts_with("VMware memory (.vmem with .vms"), "{}", image.format());
            assert_eq!(image.warnings(), [""; 0]);
            assert_eq!(image.hints().page_table_roots, [PhysAddr(ROOT)]);
            assert_eq!(image.size(), (samples::vmem().len() + samples::vmware_state(false).len()) as u64);
            RANGES.iter().for_each(|(start, length)| holds(&image, *start, *length));
        }
        let image = Image::open(&memory).unwrap();
        std::fs::write(&state, [0; 100]).unwrap();
        assert!(image.changed().unwrap().contains("machine.vms") || image.changed().unwrap().contains("machine.VMS"));
        // No longer a state.
        let image = Image::open(&memory).unwrap();
        assert!(image.warnings()[0].contains("no readable .vmss or .vmsn file"), "{:?}", image.warnings());
        holds(&image, 0, RANGES[0].1);
    }
}

#[test]
fn vmware_memory_alone_goes_on_above_its_hole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.vmem");
    // Sparse: it takes no room.
    let file = std::fs::File::create(&path).unwrap();
    file.set_len((3 << 30) + 2 * PAGE as u64).unwrap();
    let image = Image::open(&path).unwrap();
    let runs = [(0, 3 << 30), (4 << 30, 2 * PAGE as u64)].map(|(start, length)| PhysRange { start: PhysAddr(start), length });
    assert_eq!(image.runs(), runs);
    assert!(image.warnings()[0].contains("is guessed"), "{:?}", image.warnings());
}

#[test]
fn vmware_regions_end_with_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.vmem");
    let length = RANGES[0].1 + 3 * PAGE;
    std::fs::write(&path, &samples::vmem()[..length]).unwrap();
    std::fs::write(path.with_extension("vmss"), samples::vmware_state(false)).unwrap();
    let image = Image::open(&path).unwrap();
    assert_eq!(image.runs().iter().map(|run| run.length as usize).sum::<usize>(), length);
    assert!(
        image.warnings()[0].contains("the region at 0x20000 should have 0xa000 bytes; the file holds 0x3000"),
        "{:?}",
        image.warnings()
    );
    holds(&image, 0x20000, 3 * PAGE);
}

#[test]
fn raw_memory_begins_at_zero() {
    let image = open(memory(0, 300 * PAGE)).unwrap();
    assert_eq!((image.format(), image.warnings()), ("raw", &[][..]));
    holds(&image, 5000, 100);
    let image = open(memory(0, 300 * PAGE + 5)).unwrap();
    assert!(image.warnings()[0].contains("not whole pages"));
}

#[test]
fn elf_segments_may_be_counted_in_a_section() {
    let segments = [(0, 0, memory(0, PAGE)), (0, 0x10000, memory(0x10000, PAGE))];
    let image = open(samples::elf(4, &samples::notes(), &segments, true)).unwrap();
    assert_eq!(image.runs().len(), 2);
    assert_eq!(image.warnings(), [""; 0]);
}

#[test]
fn kdump_says_what_was_left_out() {
    let image = open(samples::kdump(Pack::Zlib, 31, None, |page| page % 3 != 2)).unwrap();
    assert_eq!(
        image.warnings(),
        ["makedumpfile left out zero pages, cache, private cache, pages of processes, free pages (dump level 31)"]
    );
    assert_eq!(read(&image, 2 * PAGE as u64, 8), Err(ReadError::NotInImage(PhysAddr(2 * PAGE as u64))));
    holds(&image, 4 * PAGE as u64, PAGE);
}

/// Where zero pages are all that was left out, a missing page is known to be zero.
#[test]
fn kdump_gives_zero_pages_back() {
    let image = open(samples::kdump(Pack::Zlib, 1, None, |page| page % 3 != 2)).unwrap();
    assert_eq!(image.warnings(), [""; 0]);
    for (start, length) in RANGES {
        holds(&image, start, length);
    }
}

#[test]
fn one_file_of_a_split_kdump_opens() {
    let image = open(samples::kdump(Pack::Snappy, 0, Some((10, 0x24)), |_| true)).unwrap();
    assert!(image.warnings()[0].contains("from 0xa000 to 0x24000"), "{:?}", image.warnings());
    holds(&image, 10 * PAGE as u64, 10 * PAGE);
    holds(&image, 0x20000, 4 * PAGE);
    assert_eq!(read(&image, 0x24000, 1), Err(ReadError::NotInImage(PhysAddr(0x24000))));
}

#[test]
fn a_page_that_does_not_unpack_is_damaged() {
    let mut bytes = samples::kdump(Pack::Zlib, 0, None, |_| true);
    // Page 1 is text; its descriptor follows the first one after two bitmaps.
    let descriptor = 5 * PAGE + 24;
    let offset = u64::from_le_bytes(bytes[descriptor..descriptor + 8].try_into().unwrap()) as usize;
    bytes[offset + 2..offset + 12].fill(0xff);
    let image = open(bytes).unwrap();
    for _ in 0..2 {
        assert_eq!(read(&image, 4100, 8), Err(ReadError::Damaged(PhysAddr(4096))));
    }
    holds(&image, 8192, 8);
}

#[test]
fn ram_of_a_stream_goes_on_above_4_gib() {
    let gib = 1u64 << 30;
    let page = |fill: u8| [vec![fill; 8], vec![0; PAGE - 8]].concat();
    let check = |machine: &str, blocks: &[(&str, u64)], pages: &[(usize, u64, Vec<u8>)], expected: &[(u64, u8)]| {
        let image = open(samples::qemu(machine, blocks, pages)).unwrap();
        let starts: Vec<u64> = image.runs().iter().map(|run| run.start.0).collect();
        assert_eq!(starts, expected.iter().map(|(at, _)| *at).collect::<Vec<_>>(), "{machine}");
        for (at, fill) in expected {
            assert_eq!(read(&image, *at, 8), Ok(vec![*fill; 8]), "{machine} {at:#x}");
        }
    };
    let pages = [(0, 0, page(1)), (0, 2 * gib, page(2)), (0, 3 * gib, page(3)), (0, 4 * gib, page(4))];
    let pc = [(0, 1), (2 * gib, 2), (4 * gib, 3), (5 * gib, 4)];
    check("pc-i440fx-7.2", &[("pc.ram", 5 * gib)], &pages, &pc);
    let q35 = [(0, 1), (4 * gib, 2), (5 * gib, 3), (6 * gib, 4)];
    check("pc-q35-8.2", &[("pc.ram", 5 * gib)], &pages, &q35);
    // Less than 3.5 GiB fits below.
    check("pc-i440fx-7.2", &[("pc.ram", 3 * gib + PAGE as u64)], &pages[..3], &[(0, 1), (2 * gib, 2), (3 * gib, 3)]);
    // Two nodes, in the stream's order by size; the BIOS ends at 4 GiB.
    let nodes = [("ram-node1", 3 * gib), ("ram-node0", gib), ("pc.bios", 2 * PAGE as u64)];
    let pages = [(1, 0, page(1)), (0, 0, page(2)), (0, 2 * gib, page(3)), (2, 0, page(4))];
    check("pc-i440fx-7.2", &nodes, &pages, &[(0, 1), (gib, 2), (4 * gib - 2 * PAGE as u64, 4), (4 * gib, 3)]);
}

#[test]
fn avml_that_was_cut_off_keeps_what_came_before() {
    let bytes = samples::avml();
    let image = open(bytes[..bytes.len() - 20].to_vec()).unwrap();
    holds(&image, 0, RANGES[0].1);
    holds(&image, RANGES[1].0, RANGES[1].1);
    assert!(!image.warnings().is_empty());
}

/// Counts each byte that is some chunk's own, and finds a pattern that lies on a border once.
#[test]
fn a_sweep_sees_everything_once() {
    for (format, bytes) in all() {
        let image = open(bytes).unwrap();
        for chunk in [PAGE, 3 * PAGE, 1 << 20] {
            let found = Mutex::new(Vec::new());
            let watch = Watch::default();
            let swept = image.sweep(chunk, 16, &watch, |Chunk { at, bytes, own }| {
                assert_eq!(bytes, memory(at.0, bytes.len()));
                let hits = memchr::memmem::find_iter(bytes, b"image memory").filter(|hit| *hit < own).map(|hit| at.0 + hit as u64);
                found.lock().unwrap().extend(hits);
                ControlFlow::Continue(())
            });
            let held: u64 = RANGES.iter().map(|(_, length)| *length as u64).sum();
            assert_eq!((swept.bytes, swept.unreadable, swept.stopped), (held, 0, false), "{format}");
            assert_eq!(watch.reading(), (held, held));
            let mut found = found.into_inner().unwrap();
            found.sort_unstable();
            let expected: Vec<u64> = RANGES
                .iter()
                .flat_map(|(start, length)| {
                    let bytes = memory(*start, *length);
                    memchr::memmem::find_iter(&bytes, b"image memory").map(|hit| start + hit as u64).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(found, expected, "{format} {chunk}");
        }
    }
}

#[test]
fn a_sweep_passes_over_damage_and_counts_it() {
    let mut bytes = samples::kdump(Pack::Zlib, 0, None, |_| true);
    let descriptor = 5 * PAGE + 24;
    bytes[descriptor..descriptor + 8].fill(0x7f);
    let image = open(bytes).unwrap();
    let seen = Mutex::new(BTreeSet::new());
    let swept = image.sweep(1 << 20, 100, &Watch::default(), |chunk| {
        assert_eq!(chunk.bytes, memory(chunk.at.0, chunk.bytes.len()));
        seen.lock().unwrap().insert(chunk.at.0);
        ControlFlow::Continue(())
    });
    assert_eq!(swept.unreadable, PAGE as u64);
    assert!(matches!(swept.first, Some((PhysAddr(0x1000), _))), "{swept:?}");
    assert_eq!(seen.into_inner().unwrap(), BTreeSet::from([0, 0x2000, 0x20000, 0xf_0000]));
}

#[test]
fn a_sweep_ends_when_it_is_told_to() {
    let image = open(memory(0, 3000 * PAGE)).unwrap();
    let calls = AtomicUsize::new(0);
    let swept = image.sweep(PAGE, 0, &Watch::default(), |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Break(())
    });
    assert!(swept.stopped && calls.into_inner() <= rayon::current_num_threads());
    let watch = Watch::default();
    watch.cancel();
    let swept = image.sweep(PAGE, 0, &watch, |_| panic!("cancelled"));
    assert_eq!((swept.bytes, swept.stopped), (0, true));
}

/// Reads a little everywhere the image says it has memory.
fn exercise(bytes: Vec<u8>) {
    // Not leaked: thousands of cases would add up.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let Ok(image) = Image::open(file.path()) else { return };
    assert!(image.runs().windows(2).all(|pair| pair[0].end() < pair[1].start), "{:?}", image.runs());
    let mut out = [0; 9000];
    for run in image.runs().iter().take(50) {
        assert!(run.length != 0);
        for at in [run.start.0, run.start.0 + run.length / 2, run.end().0 - 1, run.end().0] {
            let _ = image.read(PhysAddr(at), &mut out);
            let _ = image.read(PhysAddr(at), &mut out[..8]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever follows a magic number: no panic, no hang, no memory for what a header only claims.
    #[test]
    fn arbitrary_bytes_never_panic(which in 0usize..18, bytes in proptest::collection::vec(any::<u8>(), 0..6000), keep in 0usize..200) {
        let (_, sample) = all().swap_remove(which);
        let mut file = sample[..keep.min(sample.len())].to_vec();
        file.extend(bytes);
        exercise(file);
    }

    /// Good files with some bytes changed, most of them where headers are.
    #[test]
    fn damaged_files_never_panic(
        which in 0usize..18,
        changes in proptest::collection::vec((any::<u32>(), any::<bool>(), prop_oneof![Just(0u8), Just(0xff), Just(0x7f), any::<u8>()]), 1..12),
    ) {
        let (_, mut file) = all().swap_remove(which);
        let length = file.len();
        for (at, early, to) in changes {
            let header = if (11..14).contains(&which) { 0x2100 } else { 600 };
            let within = if early { header.min(length) } else { length };
            let at = at as usize % within;
            // Seekable files have their table at the end.
            let at = if which >= 15 && early { length - 1 - at } else { at };
            file[at] = to;
        }
        exercise(file);
    }
}
