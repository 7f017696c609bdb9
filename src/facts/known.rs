//! Absent, unreadable and zero are three things.

use crate::address::{PhysAddr, VirtAddr};
use std::fmt;

/// Why something could not be read. Small and `Copy`: most reads of garbage fail, and failing must cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The page tables lead to physical memory which the image does not hold.
    NotInImage(PhysAddr),
    /// The page tables map nothing there.
    NotMapped(VirtAddr),
    /// Paged out to swap; the image does not hold it.
    PagedOut(VirtAddr),
    /// Paged out to this page of this page file, which was not given or is too short.
    InPagefile { number: u8, page: u64 },
    /// Part of a mapped file that was never read into memory, or is no longer there.
    InMappedFile(VirtAddr),
    /// A shared page about which only the region around it can tell.
    SharedByRegion(VirtAddr),
    /// Given back by the program that had it.
    Decommitted(VirtAddr),
    /// The image file ends, or could not be read, at this file offset.
    File(u64),
    /// A compressed block of the image does not decompress.
    Damaged(PhysAddr),
    /// The profile has no such structure or field.
    NoField(&'static str),
    /// The profile has no such symbol.
    NoSymbol(&'static str),
    /// The bytes are there but cannot be what they should be.
    Implausible(&'static str),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInImage(at) => write!(f, "physical page {at} is not in the image"),
            Self::NotMapped(at) => write!(f, "{at} is not mapped"),
            Self::PagedOut(at) => write!(f, "{at} is paged out"),
            Self::InPagefile { number, page } => write!(f, "paged out to page {page:#x} of page file {number}, which is not at hand"),
            Self::InMappedFile(at) => write!(f, "{at} is a page of a mapped file that is not in memory"),
            Self::SharedByRegion(at) => write!(f, "{at} is shared, and only its region can tell where it is"),
            Self::Decommitted(at) => write!(f, "{at} was decommitted"),
            Self::File(at) => write!(f, "the image file cannot be read at offset {at:#x}"),
            Self::Damaged(at) => write!(f, "the image's block for {at} is damaged"),
            Self::NoField(name) => write!(f, "the profile has no {name}"),
            Self::NoSymbol(name) => write!(f, "the profile has no symbol {name}"),
            Self::Implausible(what) => write!(f, "implausible {what}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A value from the image: read, not there, or not readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    Value(T),
    /// The system itself has no such value (a kernel thread has no command line).
    #[default]
    Absent,
    Unreadable(ReadError),
}

impl<T> Known<T> {
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Value(value) => Known::Value(with(value)),
            Self::Absent => Known::Absent,
            Self::Unreadable(why) => Known::Unreadable(why),
        }
    }
}

impl Known<String> {
    /// The text; empty where there is none.
    pub fn text(&self) -> &str {
        self.value().map_or("", String::as_str)
    }
}

impl<T> From<Result<T, ReadError>> for Known<T> {
    fn from(read: Result<T, ReadError>) -> Self {
        match read {
            Ok(value) => Self::Value(value),
            Err(why) => Self::Unreadable(why),
        }
    }
}

impl<T> From<Option<T>> for Known<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}

impl<T> From<Result<Option<T>, ReadError>> for Known<T> {
    fn from(read: Result<Option<T>, ReadError>) -> Self {
        match read {
            Ok(value) => value.into(),
            Err(why) => Self::Unreadable(why),
        }
    }
}
