use super::record::record;
use super::{Known, Time};
use crate::address::VirtAddr;

record! {
    /// Environment variables.
    Variable = "environment" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// Name of the variable.
        name: String,
        /// Value of the variable.
        value: String,
    }
}

record! {
    /// Shared libraries and executables mapped as code.
    Library = "libraries" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// Lowest mapped address.
        base: VirtAddr,
        /// Bytes from the lowest to the highest mapped address.
        size: u64,
        /// File name.
        name: Known<String>,
        /// Full path.
        path: Known<String>,
        /// When it was loaded.
        [windows] load_time: Known<Time>,
        /// In the loader's list, on Windows the one in load order.
        in_load: Known<bool>,
        /// In the loader's list in initialization order, which never has the program itself.
        [windows] in_init: Known<bool>,
        /// In the loader's list in memory order.
        [windows] in_memory: Known<bool>,
        /// File that is mapped there, as the kernel knows it.
        [windows] mapped_file: Known<String>,
    }
}
