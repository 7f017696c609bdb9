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
    /// What each process runs, told by all who know: the kernel, the image that is mapped, the process itself, and the file in the cache.
    Program = "programs" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// Where the kernel mapped the program.
        base: Known<VirtAddr>,
        /// Where the process itself says that it is; the loader goes by that.
        told_base: Known<VirtAddr>,
        /// Whether an image is still mapped where the kernel put it.
        mapped: Known<bool>,
        /// Path that the kernel keeps.
        path: Known<String>,
        /// File of the image that is mapped there.
        mapped_file: Known<String>,
        /// Path that the process itself keeps, which it can change.
        told_path: Known<String>,
        /// Whether that file is about to be deleted, or was.
        deleted: Known<bool>,
        /// Whether the file was open for writing when the image was made of it.
        written: Known<bool>,
        /// Whether the file in the cache has other headers than the image that was made of it; null where the cache does not have them.
        replaced: Known<bool>,
        /// Whether the page tables of the process lead to the kernel, without which nothing can run.
        kernel_mapped: Known<bool>,
        /// Address of the process object.
        address: VirtAddr,
    }
}

record! {
    /// Calls that wait for threads to make them (asynchronous procedure calls).
    Apc = "apcs" {
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// Thread ID.
        tid: u32,
        /// In which mode the thread is to make it: kernel or user.
        mode: &'static str,
        /// What the thread is to call; null where the kernel's own routine is all there is. What a program queued goes through a routine
        /// of ntdll, which is handed the program's own as its context.
        routine: Known<VirtAddr>,
        /// The module which that lies in.
        routine_module: Known<String>,
        /// The exported function at or shortly before it.
        routine_symbol: Known<String>,
        /// First argument.
        context: Known<Hex>,
        /// Second argument.
        argument_1: Known<Hex>,
        /// Third argument.
        argument_2: Known<Hex>,
        /// What the kernel calls when it hands over the call.
        kernel_routine: Known<VirtAddr>,
        /// The module which that lies in.
        kernel_routine_module: Known<String>,
        /// Address of the _KAPC.
        address: VirtAddr,
        /// Address of the process object.
        process_address: VirtAddr,
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

record! {
    /// Registry hives in memory.
    Hive = "registry_hives" {
        /// Where it hangs in the registry, as \REGISTRY\MACHINE\SOFTWARE; null for one that hangs nowhere.
        name: Known<String>,
        /// Its file.
        file: Known<String>,
        /// Address of the _CMHIVE.
        address: VirtAddr,
        /// Bytes that are kept in the file.
        stable_size: u32,
        /// Bytes that live in memory only.
        volatile_size: u32,
        /// Whether the base block has its signature.
        signature_valid: Known<bool>,
        /// Last write to the file.
        last_write: Known<Time>,
        /// Sequence number at the start of the last write.
        sequence1: Known<u32>,
        /// Sequence number at its end; another one means that the write was not finished.
        sequence2: Known<u32>,
        /// Whether the root key can be read.
        root_readable: bool,
        /// What led to it: list, pool_scan.
        sources: Vec<&'static str>,
    }
}

record! {
    /// Registry keys and values in memory: the top of every hive, or one key and what is below it.
    RegistryEntry = "registry" {
        /// Path of the key, or of the key that has the value.
        path: String,
        /// Name of the value, empty for a key's default value; null for a key.
        name: Known<String>,
        /// key, link (a key that stands for another) or value.
        kind: &'static str,
        /// Type of the value: REG_SZ, REG_DWORD, ...
        r#type: Known<String>,
        /// Data of the value: text, a number, or the first bytes in hexadecimal.
        data: Known<String>,
        /// Bytes of data that the value has.
        size: Known<u32>,
        /// Last write to the key.
        last_write: Known<Time>,
        /// Lives in memory only.
        volatile: bool,
        /// Address of the cell; of a hive that is mapped in the Registry process, one in that process.
        address: VirtAddr,
        /// Address of the hive's _CMHIVE.
        hive: VirtAddr,
    }
}

record! {
    /// Services and drivers as the service control manager keeps them.
    Service = "services" {
        /// Number in the service database.
        order: u32,
        /// Process ID of the service; null where no process runs for it.
        pid: Known<u32>,
        /// Name.
        name: String,
        /// Name for people.
        display_name: Known<String>,
        /// SERVICE_KERNEL_DRIVER, SERVICE_WIN32_OWN_PROCESS, ...; several are joined with |.
        r#type: String,
        /// SERVICE_RUNNING, SERVICE_STOPPED, ...
        state: &'static str,
        /// SERVICE_AUTO_START, SERVICE_DEMAND_START, ...
        start: &'static str,
        /// Command line of its process or name of its driver; null for one that is stopped.
        binary: Known<String>,
        /// ImagePath in the registry.
        registry_binary: Known<String>,
        /// ServiceDll in the registry: what runs inside svchost.exe.
        dll: Known<String>,
        /// Address of the record, in the memory of the service control manager.
        address: VirtAddr,
        /// Address of the service control manager's process object.
        process_address: VirtAddr,
        /// Whether the list has it by which services are enumerated; null where the list does not reach so far.
        listed: Known<bool>,
        /// What led to it: list, handle, tag_scan.
        sources: Vec<&'static str>,
    }
}

record! {
    /// Sessions and the processes in each.
    SessionMember = "sessions" {
        /// Number of the session; null for processes outside of any.
        session: Known<u32>,
        /// Station as the process's environment names it: Console, RDP-Tcp#0, ...
        session_type: Known<String>,
        /// Process ID.
        pid: u32,
        /// Name of the process.
        process: String,
        /// User of the process's token.
        user: Known<String>,
        /// User as the process's environment names it, which the process itself can change.
        environment_user: Known<String>,
        /// Start time.
        create_time: Known<Time>,
        /// Address of the process object.
        process_address: VirtAddr,
    }
}
