//! What the image is: the one object that `kioku info` prints.

use super::{Known, Time};
use crate::address::{PhysAddr, PhysRange, VirtAddr};

/// The operating system that the image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Linux,
    Windows,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

/// One thing that was checked on this image before the profile was believed.
#[derive(Clone, Debug)]
pub struct Check {
    pub what: String,
    pub passed: bool,
    pub detail: String,
}

#[derive(Clone, Debug)]
pub struct Info {
    pub os: Origin,
    pub architecture: &'static str,
    /// Banner, or version with build.
    pub kernel: String,
    pub hostname: Known<String>,
    pub boot_time: Known<Time>,
    pub capture_time: Known<Time>,
    pub format: String,
    /// Bytes of the image file.
    pub size: u64,
    pub page_table_root: PhysAddr,
    /// 4 or 5.
    pub paging_levels: u8,
    pub kernel_base: VirtAddr,
    /// Linux only.
    pub kaslr_shift: Known<u64>,
    pub symbol_source: String,
    pub checks: Vec<Check>,
    pub memory: Vec<PhysRange>,
    pub warnings: Vec<String>,
}

impl Info {
    /// Checks passed, in percent.
    pub fn score(&self) -> u8 {
        let passed = self.checks.iter().filter(|check| check.passed).count();
        u8::try_from(passed * 100 / self.checks.len().max(1)).unwrap_or(100)
    }
}
