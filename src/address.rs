//! Addresses and page sizes. Physical and virtual addresses are different types, so that one is never read as the other.

use std::fmt;

pub const PAGE_SIZE: u64 = 4096;

/// An address in the machine's physical memory.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(pub u64);

/// An address in some virtual address space.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtAddr(pub u64);

macro_rules! address {
    ($name:ident) => {
        impl $name {
            pub const fn offset(self, by: u64) -> Self {
                Self(self.0.wrapping_add(by))
            }
            pub const fn page(self) -> Self {
                Self(self.0 & !(PAGE_SIZE - 1))
            }
            pub const fn in_page(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }
            pub const fn is_null(self) -> bool {
                self.0 == 0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}
address!(PhysAddr);
address!(VirtAddr);

impl VirtAddr {
    /// In the upper half, where both systems keep their kernels, and canonical under 57-bit paging (hence under 48-bit too).
    pub const fn is_kernel(self) -> bool {
        self.0 >> 56 == 0xff
    }
}

/// A run of physical memory: `start` and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysRange {
    pub start: PhysAddr,
    pub length: u64,
}

impl PhysRange {
    /// The first address after the run, saturating at the top of the address space.
    pub const fn end(self) -> PhysAddr {
        PhysAddr(self.start.0.saturating_add(self.length))
    }
    pub const fn contains(self, at: PhysAddr) -> bool {
        at.0 >= self.start.0 && at.0 < self.end().0
    }
}
