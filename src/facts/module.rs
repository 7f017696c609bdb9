use super::record::record;
use super::{Known, Time};
use crate::address::VirtAddr;

record! {
    /// Kernel modules.
    Module = "modules" {
        /// Name.
        name: Known<String>,
        /// Where its code was loaded.
        base: Known<VirtAddr>,
        /// Size in memory, in bytes.
        size: Known<u64>,
        /// File it came from.
        path: Known<String>,
        /// Methods that found it.
        sources: Vec<&'static str>,
        /// loaded, loading, unloading, unloaded, or hidden: at work, yet missing from the list.
        state: &'static str,
        /// When it was unloaded.
        [windows] unload_time: Known<Time>,
        /// Address of the struct module or of the entry that tells of it.
        address: VirtAddr,
    }
}
