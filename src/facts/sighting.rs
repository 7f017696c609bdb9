use super::record::record;
use super::{Known, Protection};
use crate::address::{PhysAddr, VirtAddr};
use std::collections::HashMap;

/// Who maps a frame, and where.
#[derive(Clone, Debug)]
pub struct Owner {
    /// PID, name and address of the process; None for the kernel.
    pub process: Option<(u32, String, VirtAddr)>,
    /// Address of the page.
    pub page: VirtAddr,
    /// What kind of region it lies in, or `kernel`.
    pub kind: &'static str,
    pub protection: Protection,
    pub file: Known<String>,
}

/// A page that everyone maps is told of this often.
const MOST_OWNERS: usize = 1 << 10;

/// Owners by frame.
#[derive(Debug, Default)]
pub struct Owners {
    mapped: HashMap<PhysAddr, Vec<Owner>>,
    states: HashMap<PhysAddr, (&'static str, Known<String>)>,
}

impl Owners {
    pub fn add(&mut self, frame: PhysAddr, owner: Owner) {
        let known = self.mapped.entry(frame).or_default();
        if known.len() < MOST_OWNERS {
            known.push(owner);
        }
    }
    /// Says what the system itself holds of a frame that nobody maps, and the file of which it has a page.
    pub fn tell(&mut self, frame: PhysAddr, state: &'static str, file: Known<String>) {
        self.states.insert(frame, (state, file));
    }
    pub fn of(&self, frame: PhysAddr) -> &[Owner] {
        self.mapped.get(&frame).map(Vec::as_slice).unwrap_or_default()
    }
    pub fn state(&self, frame: PhysAddr) -> (&'static str, Known<String>) {
        self.states.get(&frame).cloned().unwrap_or(("unmapped", Known::Absent))
    }
}

record! {
    /// Where a pattern was found, and who maps that memory.
    Sighting = "search" {
        /// The pattern as it was given, or the name of the YARA rule.
        pattern: String,
        /// utf-8, utf-16le, hex, regex, or the identifier of a YARA rule's string.
        form: String,
        /// Where its first byte lies in physical memory; null where it is in a page file.
        physical_address: Known<PhysAddr>,
        /// Process that maps it, the one with the lowest PID; null where none does.
        pid: Known<u32>,
        /// Name of the process.
        process: Known<String>,
        /// Where that process, or else the kernel, has it.
        address: Known<VirtAddr>,
        /// Kind of the region (private, mapped, image, stack, heap, ...); outside of all regions; kernel; page_cache where it is part of a
        /// file that no process maps; direct_map where only the kernel's map of all memory leads to it. Where nothing maps it: free,
        /// standby, modified, transition, bad or active as the frame database has it, unmapped where that is not known. Of files, what
        /// holds them: page_cache, data_section, image_section, cache_map.
        kind: Known<&'static str>,
        /// Rights of the page.
        protection: Known<Protection>,
        /// File behind the region; module and offset in the kernel.
        file: Known<String>,
        /// Where in the file it begins; null where memory was searched, not files.
        file_offset: Known<u64>,
        /// Bytes that match.
        length: u64,
        /// What matches, as text: the first 128 bytes.
        text: String,
        /// Bytes from 16 before the match to 48 after its beginning.
        context: Vec<u8>,
        /// Where that context begins, in bytes before the match.
        before: u8,
        /// Others who map it: PID, name and address.
        also: Vec<String>,
        /// Number of mappings, this one included; null where it was not looked up.
        mappings: Known<u64>,
        /// File, tags and metadata of the YARA rule.
        rule: Vec<String>,
        /// Address of the process object.
        process_address: Known<VirtAddr>,
    }
}
