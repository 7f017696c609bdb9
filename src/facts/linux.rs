//! Rows that only Linux has.

use super::record::record;
use super::{Hex, Known, Time};
use crate::address::VirtAddr;

record! {
    /// Open file descriptors.
    OpenFile = "open_files" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// File descriptor.
        fd: u32,
        /// Path as the process's root sees it; `socket:[inode]` and the like for what has none.
        path: Known<String>,
        /// file, directory, socket, pipe, character device, block device, link, anonymous.
        kind: &'static str,
        /// Inode number.
        inode: Known<u64>,
        /// File type and permissions, octal.
        mode: Known<String>,
        /// File position.
        position: Known<i64>,
        /// Whether the file has been deleted.
        deleted: bool,
        /// Address of the struct file.
        address: VirtAddr,
    }
}

record! {
    /// Commands in the history of running shells (bash).
    ShellHistory = "shell_history" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// When the command was entered.
        time: Known<Time>,
        /// The command.
        command: String,
        /// Address of the history entry in the process.
        address: VirtAddr,
    }
}

record! {
    /// Records of the kernel's log buffer.
    LogRecord = "kernel_log" {
        /// When it was written.
        time: Known<Time>,
        /// emerg, alert, crit, err, warn, notice, info or debug.
        level: Known<String>,
        /// The message.
        text: String,
        /// Sequence number.
        sequence: u64,
    }
}

record! {
    /// Mounted file systems.
    Mount = "mounts" {
        /// Mount point, as the namespace's root sees it.
        path: String,
        /// File system type.
        r#type: String,
        /// Device or source.
        source: Known<String>,
        /// Options.
        options: String,
        /// Inode number of the mount namespace.
        namespace: Known<u64>,
        /// Mount ID.
        id: Known<u64>,
        /// Address of the struct mount.
        address: VirtAddr,
    }
}

record! {
    /// Capability sets.
    Capabilities = "capabilities" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// Effective set.
        effective: Known<Hex>,
        /// Permitted set.
        permitted: Known<Hex>,
        /// Inheritable set.
        inheritable: Known<Hex>,
        /// Bounding set.
        bounding: Known<Hex>,
        /// Ambient set.
        ambient: Known<Hex>,
    }
}
