use super::cell::{Cell, ToCell};
use super::record::record;
use super::{Indicator, Kind, Known, Verdict};
use crate::address::VirtAddr;

/// Access rights: `r--`, `rw-`, `r-x`, `rwx`, plus `c` for copy-on-write and `g` for guard as a fourth and fifth letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub copy_on_write: bool,
    pub guard: bool,
}

impl ToCell for Protection {
    const KIND: Kind = Kind::Text;
    fn cell(&self) -> Cell<'_> {
        let letters = [(self.read, 'r'), (self.write, 'w'), (self.execute, 'x')];
        let mut text: String = letters.iter().map(|(on, letter)| if *on { *letter } else { '-' }).collect();
        text.extend(self.copy_on_write.then_some('c'));
        text.extend(self.guard.then_some('g'));
        Cell::Text(text.into())
    }
}

record! {
    /// Regions of the processes' address spaces: VMAs and VADs.
    Region = "regions" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// First byte.
        start: VirtAddr,
        /// Last byte, inclusive.
        end: VirtAddr,
        /// Rights in letters.
        protection: Protection,
        /// Rights as the system writes them.
        native_protection: String,
        /// private, mapped, image, stack, heap, vdso, ...
        kind: &'static str,
        /// Backing file.
        file: Known<String>,
        /// Offset into the backing file.
        [linux] offset: Known<u64>,
        /// Inode of the backing file.
        [linux] inode: Known<u64>,
        /// Pool tag of the VAD.
        [windows] tag: Known<String>,
        /// Pages charged.
        [windows] committed_pages: Known<u64>,
        /// Pages that the page tables map and the image holds.
        resident_pages: Known<u64>,
        /// Rights that the page tables grant to these pages, all taken together; what `protection` does not allow was added later.
        page_rights: Known<Protection>,
        /// Address of the VMA or VAD.
        address: VirtAddr,
        /// Address of the process object.
        process_address: VirtAddr,
    }
}

record! {
    /// Regions that look injected or tampered with, each with its indicators.
    Suspicious = "suspicious" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// First byte.
        start: VirtAddr,
        /// Last byte, inclusive.
        end: VirtAddr,
        /// Rights in letters.
        protection: Protection,
        /// Backing file.
        file: Known<String>,
        /// 0 to 100.
        score: u8,
        /// likely_injected, suspicious or likely_benign.
        verdict: Verdict,
        /// Rules that apply, with their points and the values they rest on; below zero they speak against.
        indicators: Vec<Indicator>,
        /// First 64 bytes; null where they are not in the image.
        head: Known<Vec<u8>>,
        /// Address of the process object.
        process_address: VirtAddr,
    }
}
