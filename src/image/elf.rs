//! ELF cores of a machine: QEMU's dump-guest-memory, libvirt, VirtualBox, /proc/vmcore.
//!
//! Each PT_LOAD is a range of physical memory (`p_paddr`); what the file does not hold of it (`p_filesz` below `p_memsz`) was left out
//! by the writer and is not there.

use super::flat::{Layout, MOST_PIECES, Piece};
use super::notes;
use super::source::Source;
use super::{Opened, Problem};
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"\x7fELF";

const CORE: u16 = 4;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const SEGMENT_SIZE: u64 = 56;
/// The number of segments does not fit into the header and stands in the first section (`sh_info`).
const PN_XNUM: u16 = 0xffff;
const X86_64: u16 = 62;

fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}
fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

pub(crate) fn open(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let header: [u8; 64] = source.array(0)?;
    let (class, data) = (header[4], header[5]);
    let (kind, machine) = (le16(&header, 16), le16(&header, 18));
    if kind != CORE {
        return Err("an ELF program or library, not a memory image".into());
    }
    if class != 2 || data != 1 {
        return Err("an ELF core of a 32-bit or big-endian machine; only 64-bit x86 is supported".into());
    }
    let (table, entry_size) = (le64(&header, 32), u64::from(le16(&header, 54)));
    if entry_size != SEGMENT_SIZE {
        return Err(format!("an ELF core whose header gives segments of {entry_size} bytes (offset 0x36); 56 are right").into());
    }
    let mut count = u64::from(le16(&header, 56));
    if count == u64::from(PN_XNUM) {
        let section: [u8; 64] = source.array(le64(&header, 40))?;
        count = u64::from(le32(&section, 44));
    }
    let mut layout = Layout::new(&*source);
    let most = count.min(MOST_PIECES as u64);
    let table_bytes = source.upto(table, (most * SEGMENT_SIZE) as usize)?;
    let held = table_bytes.len() as u64 / SEGMENT_SIZE;
    if held < count {
        layout.warn(format!("the table of segments at offset {table:#x} should have {count} entries; {held} are read"));
    }

    let mut found = notes::Found::default();
    let (mut physical, mut virtual_only) = (false, false);
    for segment in table_bytes.chunks_exact(SEGMENT_SIZE as usize) {
        let (kind, offset, file_size) = (le32(segment, 0), le64(segment, 8), le64(segment, 32));
        let (virtual_at, at) = (le64(segment, 16), le64(segment, 24));
        match kind {
            LOAD => {
                layout.add(Piece { start: at, length: file_size, offset });
                physical |= at != 0;
                virtual_only |= at == 0 && virtual_at != 0;
            }
            NOTE if found.writer.is_none() => {
                let most = file_size.min(notes::MOST_NOTES as u64) as usize;
                match source.upto(offset, most) {
                    Ok(bytes) => found = notes::walk(&bytes),
                    Err(why) => layout.warn(format!("the notes are lost: {why}")),
                }
            }
            _ => {}
        }
    }
    // A process's core has virtual addresses only. Memory that begins at 0 has one segment without a physical address.
    if !physical && (virtual_only || found.process.is_some()) {
        let name = found.process.filter(|name| !name.is_empty()).map(|name| format!(" ({name})")).unwrap_or_default();
        return Err(format!("an ELF core of one process{name}, not of a machine's memory; open it with a debugger").into());
    }
    if machine != X86_64 {
        layout.warn(format!("the ELF machine type is {machine}; only x86-64 is analysed"));
    }
    let (memory, warnings) = layout.finish(source);
    let format = found.writer.map_or_else(|| "ELF core".into(), |writer| format!("ELF core ({writer})"));
    Opened::new(memory, format, found.hints, warnings)
}
