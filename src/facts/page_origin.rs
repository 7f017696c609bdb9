//! Where the bytes of a page come from.

use crate::address::PhysAddr;
use std::fmt;

/// What holds the bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOrigin {
    /// Memory that the page tables map.
    Ram(PhysAddr),
    /// Memory on its way out: the page tables no longer map it, but its bytes are still there.
    Transition(PhysAddr),
    /// Shared memory which this process's page tables do not map, found through its prototype entry.
    Prototype(PhysAddr),
    /// A page of the page file with this number.
    Pagefile { number: u8, page: u64 },
    /// Never written: it would read as zeros.
    Zero,
}

impl PageOrigin {
    /// The address in physical memory, where the bytes are there.
    pub fn physical(self) -> Option<PhysAddr> {
        match self {
            Self::Ram(at) | Self::Transition(at) | Self::Prototype(at) => Some(at),
            Self::Pagefile { .. } | Self::Zero => None,
        }
    }

    /// The same for bytes further on in physical memory.
    pub fn offset(self, by: u64) -> Self {
        match self {
            Self::Ram(at) => Self::Ram(at.offset(by)),
            Self::Transition(at) => Self::Transition(at.offset(by)),
            Self::Prototype(at) => Self::Prototype(at.offset(by)),
            Self::Pagefile { .. } | Self::Zero => self,
        }
    }

    /// One word for it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Ram(_) => "ram",
            Self::Transition(_) => "transition",
            Self::Prototype(_) => "prototype",
            Self::Pagefile { .. } => "pagefile",
            Self::Zero => "zero",
        }
    }
}

impl fmt::Display for PageOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram(at) => write!(f, "physical {at}"),
            Self::Transition(at) => write!(f, "physical {at}, in transition"),
            Self::Prototype(at) => write!(f, "physical {at}, by its prototype entry"),
            Self::Pagefile { number, page } => write!(f, "page {page:#x} of page file {number}"),
            Self::Zero => write!(f, "nowhere yet: never written, it reads as zeros"),
        }
    }
}
