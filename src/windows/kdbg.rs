//! The kernel's own list of its variables for debuggers, KDDEBUGGER_DATA64 (wdbgexts.h), which may be encoded.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::paging::AddressSpace;
use crate::symbols::Context;

/// The block, decoded.
pub struct Kdbg {
    words: Vec<u64>,
    pub encoded: bool,
}

/// Tag and size stand in one word.
const TAG: usize = 2;
const KERNEL_BASE: usize = 3;
/// No version's block is larger.
const MOST_BYTES: u64 = 0x1000;
const LEAST_BYTES: u64 = 0x100;

/// Variables of interest: their place among the words and their names. Some words are values, these are addresses.
const ADDRESSES: [(usize, &str); 26] = [
    (9, "PsLoadedModuleList"),
    (10, "PsActiveProcessHead"),
    (11, "PspCidTable"),
    (15, "KeTimeIncrement"),
    (16, "KeBugCheckCallbackListHead"),
    (19, "ObpRootDirectoryObject"),
    (20, "ObpTypeObjectType"),
    (24, "MmPfnDatabase"),
    (27, "MmSubsectionBase"),
    (28, "MmNumberOfPagingFiles"),
    (29, "MmLowestPhysicalPage"),
    (30, "MmHighestPhysicalPage"),
    (31, "MmNumberOfPhysicalPages"),
    (40, "MmSizeOfPagedPoolInBytes"),
    (55, "PoolTrackTable"),
    (56, "NonPagedPoolDescriptor"),
    (57, "MmHighestUserAddress"),
    (58, "MmSystemRangeStart"),
    (59, "MmUserProbeAddress"),
    (64, "MmLoadedUserImageList"),
    (65, "NtBuildLab"),
    (67, "KiProcessorBlock"),
    (68, "MmUnloadedDrivers"),
    (69, "MmLastUnloadedDriver"),
    (73, "MmVerifierData"),
    (78, "MmPhysicalMemoryBlock"),
];

impl Kdbg {
    /// The block at KdDebuggerDataBlock, decoded where KdpDataBlockEncoded says so.
    pub fn read(context: Context<'_>) -> Result<Self, ReadError> {
        let at = context.symbol("KdDebuggerDataBlock")?;
        if let Ok(plain) = Self::plain(context.space, at) {
            return Ok(plain);
        }
        let flag = context.symbol("KdpDataBlockEncoded")?;
        let key = |name| context.space.uint(context.symbol(name)?, 8);
        let (never, always) = (key("KiWaitNever")?, key("KiWaitAlways")?);
        Self::from(context.space, at, true, |word| (((word ^ never).rotate_left((never & 0xff) as u32)) ^ flag.0).swap_bytes() ^ always)
    }

    /// A block that is not encoded.
    pub fn plain(space: &AddressSpace, at: VirtAddr) -> Result<Self, ReadError> {
        Self::from(space, at, false, |word| word)
    }

    fn from(space: &AddressSpace, at: VirtAddr, encoded: bool, decode: impl Fn(u64) -> u64) -> Result<Self, ReadError> {
        let word = |index: usize| space.uint(at.offset(index as u64 * 8), 8).map(&decode);
        let head = word(TAG)?;
        let size = head >> 32;
        if (head as u32).to_le_bytes() != *b"KDBG" || !(LEAST_BYTES..MOST_BYTES).contains(&size) {
            return Err(ReadError::Implausible("debugger block"));
        }
        let words = (0..size as usize / 8).map(word).collect::<Result<_, _>>()?;
        Ok(Self { words, encoded })
    }

    /// Where a block begins that has the kernel's base at this place.
    pub fn around_base(at: VirtAddr) -> VirtAddr {
        VirtAddr(at.0.wrapping_sub(KERNEL_BASE as u64 * 8))
    }

    pub fn kernel_base(&self) -> VirtAddr {
        VirtAddr(self.words.get(KERNEL_BASE).copied().unwrap_or(0))
    }

    /// Names and addresses of the variables that it lists.
    pub fn symbols(&self) -> impl Iterator<Item = (&'static str, VirtAddr)> {
        let address = |place: usize| self.words.get(place).copied().map(VirtAddr).filter(|address| address.is_kernel());
        ADDRESSES.iter().filter_map(move |(place, name)| Some((*name, address(*place)?)))
    }
}
