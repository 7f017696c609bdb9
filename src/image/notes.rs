//! ELF notes, as they stand in ELF cores and in the sub header of kdump files.

use super::Hints;
use crate::address::PhysAddr;

/// Notes of 4096 processors fit; a lying size does not take more.
pub(crate) const MOST_NOTES: usize = 16 << 20;

const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;

/// QEMU's `QEMUCPUState`: version and size, 18 registers, ten segments of 24 bytes, CR0 to CR4 (qemu/target/i386/arch_dump.c).
const QEMU_CR3: usize = 8 + 18 * 8 + 10 * 24 + 3 * 8;
/// VirtualBox's `DBGFCORECPU`: 18 registers, six selectors of 24 bytes, then CR0, CR2, CR3 (include/VBox/vmm/dbgfcorefmt.h).
const VBOX_CR3: usize = 18 * 8 + 6 * 24 + 2 * 8;
/// Bits of CR3 that are the address of the top table.
const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a walk over notes found.
#[derive(Default)]
pub(crate) struct Found {
    pub hints: Hints,
    /// The program that wrote the file, as far as its notes betray it.
    pub writer: Option<&'static str>,
    /// The notes of a process: its name, as the kernel writes it into a core.
    pub process: Option<String>,
}

/// Names and descriptions padded to four bytes each. A note that reaches beyond the bytes ends the walk.
pub(crate) fn walk(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut rest = bytes;
    while let Some((name, kind, description, after)) = note(rest) {
        match name {
            b"QEMU" => {
                found.writer = Some("QEMU");
                root(&mut found.hints, description, QEMU_CR3);
            }
            b"VBCORE" => found.writer = Some("VirtualBox"),
            b"VBCPU" => root(&mut found.hints, description, VBOX_CR3),
            b"VMCOREINFO" => {
                let text = description.split(|byte| *byte == 0).next().unwrap_or_default();
                found.hints.vmcoreinfo.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            }
            b"CORE" if kind == NT_PRPSINFO => {
                // struct elf_prpsinfo: the file name at 40, 16 bytes.
                let name = description.get(40..56).unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                found.process = Some(name.escape_ascii().to_string());
            }
            b"CORE" if kind == NT_AUXV => {
                found.process.get_or_insert_default();
            }
            _ => {}
        }
        rest = after;
    }
    found
}

/// The first note: its name, type and description, and what follows.
fn note(bytes: &[u8]) -> Option<(&[u8], u32, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<12>()?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (name_size, size, kind) = (word(0) as usize, word(4) as usize, word(8));
    let name = rest.get(..name_size)?;
    let rest = rest.get(name_size.checked_next_multiple_of(4)?..)?;
    let description = rest.get(..size)?;
    // The last description may lack its padding.
    let after = rest.get(size.checked_next_multiple_of(4)?..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some((name, kind, description, after))
}

fn root(hints: &mut Hints, description: &[u8], at: usize) {
    let Some(cr3) = description.get(at..).and_then(|bytes| bytes.first_chunk::<8>()) else { return };
    let root = PhysAddr(u64::from_le_bytes(*cr3) & CR3_ADDRESS);
    if !root.is_null() && !hints.page_table_roots.contains(&root) && hints.page_table_roots.len() < 4096 {
        hints.page_table_roots.push(root);
    }
}
