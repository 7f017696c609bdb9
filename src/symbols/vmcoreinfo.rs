//! VMCOREINFO: what a kernel tells crash tools about itself, as lines of `KEY=value` in an ELF note (Documentation/admin-guide/kdump/
//! vmcoreinfo.rst). It lies in a page of its own in every kernel with crash support.

use crate::address::VirtAddr;
use std::collections::HashMap;
use std::ops::Range;

/// The text of one note, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmcoreInfo {
    values: HashMap<String, String>,
}

/// Name of the note with its NUL and padding.
const NAME: &[u8] = b"VMCOREINFO\0\0";
/// Before the name: sizes of name and text, and a type.
const HEADER: usize = 12;
const NAME_SIZE: u32 = 11;
/// The kernel keeps one page; some versions more for the larger of processors.
const MAX_TEXT: usize = 4 * 4096;
const MAX_LINES: usize = 1024;

impl VmcoreInfo {
    /// The notes in a buffer: where the text of each lies. Only whole notes, and none that are templates or too large to be one.
    pub fn notes(buffer: &[u8]) -> impl Iterator<Item = Range<usize>> {
        memchr::memmem::find_iter(buffer, NAME).filter_map(|name| {
            let header = buffer.get(name.checked_sub(HEADER)?..name)?;
            let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let length = word(4) as usize;
            if word(0) != NAME_SIZE || word(8) != 0 || !(16..=MAX_TEXT).contains(&length) {
                return None;
            }
            let text = name + NAME.len()..name + NAME.len() + length;
            buffer.get(text.clone()).filter(|text| text.contains(&b'='))?;
            Some(text)
        })
    }

    /// Reads the text of a note. None where it is not one of a kernel, such as the template from which the kernel prints it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = &text[..text.len().min(MAX_TEXT)];
        let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
        let mut values = HashMap::new();
        for line in text.split(|byte| *byte == b'\n').take(MAX_LINES) {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if let Some((key, value)) = line.split_once('=') {
                values.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        let info = Self { values };
        info.release().is_some_and(|release| !release.is_empty() && !release.contains('%')).then_some(info)
    }

    /// The value of a whole key, such as `SYMBOL(_stext)`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The kernel's release, as uname shows it.
    pub fn release(&self) -> Option<&str> {
        self.get("OSRELEASE")
    }

    /// The address of a symbol in the running kernel.
    pub fn symbol(&self, name: &str) -> Option<VirtAddr> {
        hexadecimal(self.get(&format!("SYMBOL({name})"))?).map(VirtAddr)
    }

    /// A number; negative ones as two's complement.
    pub fn number(&self, name: &str) -> Option<i64> {
        let value = self.get(&format!("NUMBER({name})"))?;
        match value.strip_prefix("0x") {
            Some(digits) => hexadecimal(digits).map(u64::cast_signed),
            None => value.parse().ok(),
        }
    }

    /// How far KASLR moved the kernel from where it was linked.
    pub fn kernel_offset(&self) -> Option<u64> {
        hexadecimal(self.get("KERNELOFFSET")?)
    }

    /// What to add to an address of the kernel image, counted from 0xffffffff80000000, for its place in physical memory.
    pub fn phys_base(&self) -> Option<i64> {
        self.number("phys_base")
    }

    /// Whether the machine ran with five levels of page tables; None where the kernel does not tell.
    pub fn five_levels(&self) -> Option<bool> {
        self.number("pgtable_l5_enabled").map(|value| value != 0)
    }
}

fn hexadecimal(digits: &str) -> Option<u64> {
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    // The parser alone would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "OSRELEASE=6.1.0-56-amd64\nBUILD-ID=eb4fbcd037e7253717950bf2b93bd5566f47c56f\nPAGESIZE=4096\n\
        SYMBOL(_stext)=ffffffff83e00000\nSIZE(page)=64\nOFFSET(list_head.next)=0\nLENGTH(zone.free_area)=11\n\
        NUMBER(phys_base)=-48234496\nNUMBER(pgtable_l5_enabled)=1\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\nKERNELOFFSET=2e00000\n";

    fn note(text: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [NAME_SIZE, text.len() as u32, 0] {
            note.extend(word.to_le_bytes());
        }
        note.extend(NAME);
        note.extend(text);
        note
    }

    #[test]
    fn a_note_is_found_and_read() {
        let mut buffer = vec![0xaa; 100];
        buffer.extend(b"VMCOREINFO\0\0OSRELEASE=%s\n");
        let start = buffer.len() + HEADER + NAME.len();
        buffer.extend(note(TEXT.as_bytes()));
        buffer.extend([0; 64]);
        let notes: Vec<_> = VmcoreInfo::notes(&buffer).collect();
        assert_eq!(notes, vec![start..start + TEXT.len()]);
        let info = VmcoreInfo::parse(&buffer[notes[0].clone()]).unwrap();
        assert_eq!(info.release(), Some("6.1.0-56-amd64"));
        assert_eq!(info.symbol("_stext"), Some(VirtAddr(0xffff_ffff_83e0_0000)));
        assert_eq!(info.symbol("absent"), None);
        assert_eq!(info.kernel_offset(), Some(0x2e0_0000));
        assert_eq!(info.phys_base(), Some(-48_234_496));
        assert_eq!(info.five_levels(), Some(true));
    }

    #[test]
    fn the_template_is_not_a_note() {
        assert_eq!(VmcoreInfo::parse(b"OSRELEASE=%s\nBUILD-ID=%20phN\nPAGESIZE=%ld\n"), None);
        assert_eq!(VmcoreInfo::parse(b"PAGESIZE=4096\n"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), length in any::<u32>()) {
            let mut buffer = note(&bytes);
            buffer[4..8].copy_from_slice(&length.to_le_bytes());
            for text in VmcoreInfo::notes(&buffer) {
                let _ = VmcoreInfo::parse(&buffer[text]);
            }
            let _ = VmcoreInfo::parse(&bytes);
        }
    }
}
