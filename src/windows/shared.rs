//! _KUSER_SHARED_DATA, the page that both halves of the system see, and whose first fields never moved (ntddk.h).

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::paging::AddressSpace;
use crate::symbols::pack::Version;

/// Where every Windows for x64 has it.
pub const PAGE: VirtAddr = VirtAddr(0xffff_f780_0000_0000);
const INTERRUPT_TIME: u64 = 0x8;
const SYSTEM_TIME: u64 = 0x14;
const BUILD: u64 = 0x260;
const MAJOR: u64 = 0x26c;
const MINOR: u64 = 0x270;
/// The year 2000 as a FILETIME: no system for x64 is older.
const EARLIEST: u64 = 125_911_584_000_000_000;

/// Whether the page is there and holds a version and a time.
pub fn is_there(space: &AddressSpace) -> bool {
    matches!(space.uint(PAGE.offset(MAJOR), 4), Ok(6 | 10)) && now(space).is_some()
}

/// The system time at capture, a FILETIME.
pub fn now(space: &AddressSpace) -> Option<u64> {
    time(space, SYSTEM_TIME).ok().filter(|units| (EARLIEST..u64::MAX >> 1).contains(units))
}

/// How long the machine has run, in units of 100 ns; None where the clock never ran.
pub fn uptime(space: &AddressSpace) -> Option<u64> {
    time(space, INTERRUPT_TIME).ok().filter(|units| *units > 0)
}

/// The version, without the revision, which is told elsewhere. The build number is there since Windows 10.
pub fn version(space: &AddressSpace) -> Version {
    let word = |at| space.uint(PAGE.offset(at), 4).unwrap_or(0) as u32;
    Version { major: word(MAJOR), minor: word(MINOR), build: word(BUILD) & 0xffff, revision: None }
}

/// A _KSYSTEM_TIME: low part, high part.
fn time(space: &AddressSpace, at: u64) -> Result<u64, ReadError> {
    Ok(space.uint(PAGE.offset(at + 4), 4)? << 32 | space.uint(PAGE.offset(at), 4)?)
}
