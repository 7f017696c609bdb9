//! Memory itself, as `kioku read` prints it and `kioku dump` writes it to files.

use super::cell::{Cell, ToCell};
use super::record::record;
use super::{Kind, Known, Protection};
use crate::address::{PhysAddr, VirtAddr};

record! {
    /// Memory, one row for each page or part of one.
    Memory = "memory" {
        /// Address of the first byte, in the space that was read.
        address: VirtAddr,
        /// Number of bytes.
        length: u64,
        /// Where the first byte lies in physical memory; null where another place holds it.
        physical_address: Known<PhysAddr>,
        /// What holds the bytes: ram, transition (on its way out), prototype (shared), pagefile with its number and page, or zero.
        origin: Known<String>,
        /// The bytes; null where they are not in the image.
        bytes: Known<Vec<u8>>,
    }
}

record! {
    /// Memory that was written to files, one row for each file or for what was left out.
    Dumped = "dumped" {
        /// Name of the file in the folder; null for what was left out.
        file: Known<String>,
        /// What it is: a kind of region, executable, library, module, data_section, image_section, cache_map, page_cache, or
        /// carved: a program by its headers, in memory that no file backs.
        kind: Known<String>,
        /// What the image calls it: backing file of a region, path of a module or a file.
        path: Known<String>,
        /// Address of the first byte, in the space that was read; null for cached files, which are put together from pages.
        start: Known<VirtAddr>,
        /// Where the first byte lies in physical memory; null where another place holds it.
        physical_address: Known<PhysAddr>,
        /// The structure that led to it: file object, entry of a list of modules.
        object: Known<VirtAddr>,
        /// The structure that holds its pages: control area, shared cache map, inode.
        source: Known<VirtAddr>,
        /// `file` where it was put back in the order that it has on disk, `memory` where it is as it was mapped.
        layout: Known<&'static str>,
        /// Number of bytes; the file has as many.
        length: u64,
        /// Number of bytes of the whole, where that is known; more than `length` where the end was cut.
        size: Known<u64>,
        /// Number of bytes that the image holds; the others are zero in the file.
        present: u64,
        /// SHA-256 of the file.
        sha256: Known<String>,
        /// MD5 of the file, by which older collections know it.
        md5: Known<String>,
        /// Rights in letters.
        protection: Known<Protection>,
        /// What was changed in the bytes, such as headers put right.
        changes: Vec<String>,
        /// What the image does not hold.
        holes: Vec<Hole>,
    }
}

/// A stretch that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// In the file.
    pub offset: u64,
    pub length: u64,
    /// Its address, where it has one.
    pub start: Option<u64>,
    /// Why its first byte could not be read.
    pub reason: String,
}

impl ToCell for Hole {
    const KIND: Kind = Kind::List;
    fn cell(&self) -> Cell<'_> {
        Cell::Object(vec![
            ("offset", Cell::Number(self.offset.into())),
            ("length", Cell::Number(self.length.into())),
            ("start", self.start.map_or(Cell::Absent, Cell::Hex)),
            ("reason", Cell::Text(self.reason.as_str().into())),
        ])
    }
}
