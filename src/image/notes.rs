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
    while let Some(Note { name, kind, description, after }) = note(rest) {
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

struct Note<'a> {
    name: &'a [u8],
    kind: u32,
    description: &'a [u8],
    after: &'a [u8],
}

fn note(bytes: &[u8]) -> Option<Note<'_>> {
    let (header, rest) = bytes.split_first_chunk::<12>()?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (name_size, size, kind) = (word(0) as usize, word(4) as usize, word(8));
    let name = rest.get(..name_size)?;
    let rest = rest.get(name_size.checked_next_multiple_of(4)?..)?;
    let description = rest.get(..size)?;
    // The last description may lack its padding.
    let after = rest.get(size.checked_next_multiple_of(4)?..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Note { name, kind, description, after })
}

fn root(hints: &mut Hints, description: &[u8], at: usize) {
    let Some(cr3) = description.get(at..).and_then(|bytes| bytes.first_chunk::<8>()) else { return };
    let root = PhysAddr(u64::from_le_bytes(*cr3) & CR3_ADDRESS);
    if !root.is_null() && !hints.page_table_roots.contains(&root) && hints.page_table_roots.len() < 4096 {
        hints.page_table_roots.push(root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        [name.len() as u32, description.len() as u32, kind].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        for part in [name, description] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn every_processor_is_read_and_none_twice() {
        let cpu = |cr3: u64, at: usize| {
            let mut state = vec![0; at + 16];
            state[at..at + 8].copy_from_slice(&cr3.to_le_bytes());
            state
        };
        let notes = [
            note(b"QEMU\0", 0, &cpu(0x5000, QEMU_CR3)),
            note(b"QEMU\0", 0, &cpu(0x5fff, QEMU_CR3)),
            note(b"QEMU\0", 0, &cpu(0, QEMU_CR3)),
            note(b"QEMU\0", 0, &cpu(0x8000_0000_0000_7000, QEMU_CR3)),
        ];
        let found = walk(&notes.concat());
        assert_eq!((found.writer, found.hints.page_table_roots), (Some("QEMU"), vec![PhysAddr(0x5000), PhysAddr(0x7000)]));
        let found = walk(&[note(b"VBCORE\0", 0xb00, &[0; 24]), note(b"VBCPU\0", 0xb01, &cpu(0x9000, VBOX_CR3))].concat());
        assert_eq!((found.writer, found.hints.page_table_roots), (Some("VirtualBox"), vec![PhysAddr(0x9000)]));
    }

    #[test]
    fn a_note_that_reaches_too_far_ends_the_walk() {
        let good = note(b"VMCOREINFO\0", 0, b"A=1\n");
        let mut lying = note(b"QEMU\0", 0, &[0; 440]);
        lying[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let found = walk(&[good, lying].concat());
        assert_eq!((found.hints.vmcoreinfo.as_deref(), found.writer), (Some("A=1\n"), None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            walk(&bytes);
        }
    }
}
