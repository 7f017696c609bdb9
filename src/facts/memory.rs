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
        /// Address of the first byte, in the space that was read.
        start: VirtAddr,
        /// Number of bytes; the file has as many.
        length: u64,
        /// Number of bytes that the image holds; the others are zero in the file.
        present: u64,
        /// SHA-256 of the file.
        sha256: Known<String>,
        /// Kind of region.
        kind: Known<String>,
        /// Rights in letters.
        protection: Known<Protection>,
        /// Backing file of the region.
        mapped_file: Known<String>,
        /// What the image does not hold.
        holes: Vec<Hole>,
    }
}

/// A stretch that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub start: u64,
    pub length: u64,
    /// Why its first byte could not be read.
    pub reason: String,
}

impl ToCell for Hole {
    const KIND: Kind = Kind::List;
    fn cell(&self) -> Cell<'_> {
        let (start, length) = (Cell::Hex(self.start), Cell::Number(self.length.into()));
        Cell::Object(vec![("start", start), ("length", length), ("reason", Cell::Text(self.reason.as_str().into()))])
    }
}
