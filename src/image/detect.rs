//! Which format it is: by content, never by the file's name. (The one exception is VMware's memory file, which has no mark of its own
//! and is known by the state file beside it.)

use super::flat::{Layout, Piece};
use super::flattened::{self, Flattened};
use super::source::Source;
use super::zstd::{self, Seekable};
use super::{Hints, Opened, Problem, avml, crash_dump, elf, kdump, lime, qemu, vmware};
use std::sync::Arc;

/// Files that are often taken for memory images, and what to do with them.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"hibr", "a Windows hibernation file, which is not supported yet; convert it to a raw image first"),
    (0, b"HIBR", "a Windows hibernation file, which is not supported yet; convert it to a raw image first"),
    (0, b"wake", "a Windows hibernation file of a machine that woke up; its memory is mostly gone"),
    (0, b"WAKE", "a Windows hibernation file of a machine that woke up; its memory is mostly gone"),
    (0, b"RSTR", "a Windows hibernation file of a machine that woke up; its memory is mostly gone"),
    (0, b"MDMP", "a minidump of one process, not of a machine's memory; open it with a debugger"),
    (0, b"\x7fVirtualBox SavedState", "a VirtualBox saved state; use `VBoxManage debugvm VM dumpvmcore --filename FILE`"),
    (0, b"QFI\xfb", "a qcow2 disk image, not a memory image; a snapshot's memory inside it must be extracted first"),
    (0, b"KDMV", "a VMware disk image, not a memory image"),
    (0, b"vhdxfile", "a Hyper-V disk image, not a memory image"),
    (0, b"conectix", "a Hyper-V disk image, not a memory image"),
    (0, b"EVF\x09\x0d\x0a\xff", "an EnCase (E01) container; export the raw memory first"),
    (0, b"\x1f\x8b", "compressed with gzip; decompress it first (gzip -d)"),
    (0, b"BZh", "compressed with bzip2; decompress it first (bzip2 -d)"),
    (0, b"\xfd7zXZ\0", "compressed with xz; decompress it first (xz -d)"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4; decompress it first (lz4 -d)"),
    (0, b"\x89LZO\0", "compressed with lzop; decompress it first (lzop -d)"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (0, b"Rar!", "a rar archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"%PDF", "a PDF document, not a memory image"),
    (0, b"\x89PNG", "a picture, not a memory image"),
    (0, b"\xff\xd8\xff", "a picture, not a memory image"),
    (0, b"SQLite format 3", "an SQLite database, not a memory image"),
    (0, b"\xcf\xfa\xed\xfe", "a Mach-O file, not a memory image"),
];

/// Enough to see what a file is.
const HEAD: usize = 4096;

/// Layers of packing that are taken off: a flattened file within a compressed one.
const LAYERS: u8 = 2;

pub(crate) fn open(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    recognise(source, LAYERS)
}

fn recognise(source: Arc<dyn Source>, layers: u8) -> Result<Opened, Problem> {
    let head = source.upto(0, HEAD)?;
    if head.is_empty() {
        return Err("the file is empty".into());
    }
    if vmware::is_memory(&*source)
        && let Some(opened) = vmware::open_memory(&source)
    {
        return opened;
    }
    if head.starts_with(elf::MAGIC) {
        return elf::open(source);
    }
    if head.starts_with(lime::MAGIC) {
        return lime::open(source);
    }
    if head.starts_with(crash_dump::MAGIC) {
        return crash_dump::open(source);
    }
    if head.starts_with(crash_dump::MAGIC_32) {
        return Err(crash_dump::open_32(&*source));
    }
    if vmware::MAGICS.iter().chain(&vmware::OLD_MAGICS).any(|magic| head.starts_with(magic)) {
        return vmware::open_state(source);
    }
    if head.starts_with(avml::MAGIC) {
        return avml::open(source);
    }
    if head.starts_with(qemu::MAGIC) {
        return qemu::open(source, 0);
    }
    if head.starts_with(qemu::LIBVIRT_MAGIC) || head.starts_with(qemu::LIBVIRT_PARTIAL) {
        return qemu::open_libvirt(source);
    }
    if head.starts_with(kdump::MAGIC) || head.starts_with(kdump::OLD_MAGIC) {
        return kdump::open(source);
    }
    if head.starts_with(flattened::MAGIC) && layers != 0 {
        let (plain, warnings) = Flattened::open(source)?;
        return Ok(recognise(Arc::new(plain), layers - 1)?.wrapped("flattened", warnings));
    }
    if head.starts_with(zstd::MAGIC) && layers != 0 {
        let plain = Seekable::open(source)?;
        return Ok(recognise(Arc::new(plain), layers - 1)?.wrapped("seekable zstd", Vec::new()));
    }
    if let Some(other) = OTHERS.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|head| head.starts_with(magic))) {
        return Err(other.2.into());
    }
    if is_program(&head) {
        return Err("a Windows program (PE), not a memory image".into());
    }
    if is_text(&head) {
        return Err("a text file, not a memory image".into());
    }
    if vmware::is_memory(&*source) {
        return vmware::open_memory_alone(source);
    }
    raw(source)
}

/// Memory from address 0 on without any header. Nothing marks it, so only what cannot be memory is refused here.
fn raw(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let length = source.len();
    if !length.is_multiple_of(4096) && length <= 1 << 20 {
        return Err(format!("not a memory image: no format is known by its first bytes, and {length} bytes are no whole pages").into());
    }
    let mut layout = Layout::new(&*source);
    layout.add(Piece { start: 0, length, offset: 0 });
    if !length.is_multiple_of(4096) {
        layout.warn(format!("the file's {length} bytes are not whole pages; a raw image may have been cut off"));
    }
    let (memory, warnings) = layout.finish(source);
    Opened::new(memory, "raw".into(), Hints::default(), warnings)
}

/// MZ, and PE where it points to.
fn is_program(head: &[u8]) -> bool {
    let Some(at) = head.get(0x3c..).and_then(|bytes| bytes.first_chunk()) else { return false };
    let at = u32::from_le_bytes(*at) as usize;
    head.starts_with(b"MZ") && head.get(at..).is_some_and(|head| head.starts_with(b"PE\0\0"))
}

/// The first page of memory has zeros in it; text has none, nor other control characters.
fn is_text(head: &[u8]) -> bool {
    let marked = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    let plain = |byte: &u8| matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | 0x1b | 0x20..=0x7e | 0x80..);
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let ascii = head.iter().filter(|byte| byte.is_ascii()).count();
    marked || head.iter().all(plain) && (valid || ascii * 10 >= head.len() * 9)
}
