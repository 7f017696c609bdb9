//! Rows that only Windows has.

use super::record::record;
use super::{Hex, Known, Time};
use crate::address::VirtAddr;

record! {
    /// Open handles.
    Handle = "handles" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// The handle's value.
        handle: Hex,
        /// Type of the object.
        r#type: Known<String>,
        /// Path of a file, key or named object; name and ID of a process or thread; user of a token.
        name: Known<String>,
        /// Granted access.
        access: Hex,
        /// Address of the object.
        object: VirtAddr,
    }
}

record! {
    /// Privileges in the processes' tokens.
    Privilege = "privileges" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// Name of the privilege.
        name: String,
        /// Its number.
        value: u32,
        /// Whether the token holds it; one that is enabled all the same was put there by hand.
        present: bool,
        /// Whether it is enabled.
        enabled: bool,
        /// Whether it is enabled by default.
        default: bool,
    }
}

record! {
    /// Security identifiers in the processes' tokens.
    Sid = "sids" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// Security identifier.
        sid: String,
        /// Its name, where it is one that every system has.
        name: Known<String>,
        /// user, group, logon, integrity, restricted, package, capability or trust.
        role: &'static str,
        /// mandatory, enabled_by_default, enabled, owner, deny_only, integrity, integrity_enabled, resource, logon.
        attributes: Vec<&'static str>,
    }
}

record! {
    /// File objects: what is, or was, open, mapped or run.
    FileObject = "file_objects" {
        /// Path, with the name of the device.
        path: Known<String>,
        /// Address of the _FILE_OBJECT.
        address: VirtAddr,
        /// Opened for reading.
        readable: Known<bool>,
        /// Opened for writing.
        writable: Known<bool>,
        /// Opened for deletion.
        deletable: Known<bool>,
        /// Others may read.
        shared_read: Known<bool>,
        /// Others may write.
        shared_write: Known<bool>,
        /// Others may delete.
        shared_delete: Known<bool>,
        /// Deletion is pending.
        deleted: Known<bool>,
        /// What led to it: pool_scan, handle, vad.
        sources: Vec<&'static str>,
    }
}

record! {
    /// Mutants (mutexes).
    Mutant = "mutants" {
        /// Name, with the directories above it.
        name: Known<String>,
        /// Address of the _KMUTANT.
        address: VirtAddr,
        /// Process ID of the owner, where someone holds it.
        owner_pid: Known<u32>,
        /// Thread ID of the owner.
        owner_tid: Known<u32>,
        /// Whether its owner ended without letting go of it.
        abandoned: Known<bool>,
        /// What led to it: pool_scan, handle.
        sources: Vec<&'static str>,
    }
}

record! {
    /// Symbolic links between named objects.
    SymbolicLink = "symlinks" {
        /// Name, with the directories above it.
        name: Known<String>,
        /// What it stands for.
        target: Known<String>,
        /// When it was made.
        create_time: Known<Time>,
        /// Address of the _OBJECT_SYMBOLIC_LINK.
        address: VirtAddr,
        /// What led to it: pool_scan, handle.
        sources: Vec<&'static str>,
    }
}
