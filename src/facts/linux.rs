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
    /// Commands that were typed into running shells, from their history (bash).
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
    /// Capability sets, and what else bounds a process.
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
        /// Inode number of the user namespace in which they count.
        user_namespace: Known<u64>,
        /// Whether no program that it runs can give it more.
        no_new_privileges: Known<bool>,
        /// Which system calls it may make: off (all), strict or filter.
        seccomp: Known<&'static str>,
        /// Process that traces it (ptrace).
        tracer: Known<u32>,
        /// Address of the struct cred.
        credentials: Known<VirtAddr>,
        /// The kernel's name for that; null for credentials that were made for the process.
        credentials_symbol: Known<String>,
    }
}

record! {
    /// System call tables: the functions behind the system calls.
    SystemCall = "syscall_table" {
        /// sys_call_table, ia32_sys_call_table or x32_sys_call_table.
        table: &'static str,
        /// Number of the system call.
        index: u32,
        /// Name of the system call that belongs there, as the kernel's tracing knows it; null where it does not say.
        name: Known<String>,
        /// Where it leads.
        function: Known<VirtAddr>,
        /// The symbol there, in the kernel.
        symbol: Known<String>,
        /// The module that lies in: kernel, or the module whose code holds it; null where none does.
        module: Known<String>,
        /// ok; hooked: it leads out of the kernel's own code; unknown: it could not be read, or where that code lies is not known.
        state: &'static str,
        /// Address of the entry.
        address: VirtAddr,
    }
}

record! {
    /// Network interfaces of every network namespace.
    Interface = "network_interfaces" {
        /// Name.
        name: String,
        /// Number within its namespace.
        index: Known<u32>,
        /// Hardware (MAC) address.
        mac: Known<String>,
        /// IPv4 and IPv6 addresses with the lengths of their prefixes.
        addresses: Vec<String>,
        /// Operational state (RFC 2863): up, down, unknown, dormant and so on.
        state: Known<&'static str>,
        /// Whether it takes packets that are not meant for it, as sniffers make it do.
        promiscuous: Known<bool>,
        /// IFF_* flags.
        flags: Vec<&'static str>,
        /// Maximum transmission unit, in bytes.
        mtu: Known<u64>,
        /// Inode number of the network namespace.
        namespace: Known<u64>,
        /// Address of the struct net_device.
        address: VirtAddr,
    }
}

record! {
    /// Files of which the page cache holds something.
    CachedFile = "page_cache" {
        /// Path, where a mount leads to it; null for what has no name, as the blocks of a device.
        path: Known<String>,
        /// Inode number.
        inode: Known<u64>,
        /// Size of the file, in bytes.
        size: Known<u64>,
        /// Pages of it that are in memory.
        cached_pages: u64,
        /// Whether the file has been deleted.
        deleted: bool,
        /// File system type.
        file_system: Known<String>,
        /// Device of the file system, as the kernel calls it.
        device: Known<String>,
        /// Last change of its contents (mtime), as the inode says; programs can set it.
        modify_time: Known<Time>,
        /// Last change of its inode (ctime).
        change_time: Known<Time>,
        /// Last access (atime), as often as its mount has it noted.
        access_time: Known<Time>,
        /// Address of the struct super_block.
        super_block: VirtAddr,
        /// Address of the struct inode.
        address: VirtAddr,
    }
}

record! {
    /// eBPF programs that are loaded.
    BpfProgram = "ebpf_programs" {
        /// Number, as bpftool shows it.
        id: u32,
        /// Type of program, as BPF_PROG_TYPE_* names it.
        r#type: String,
        /// Name that its author gave it.
        name: Known<String>,
        /// Digest of its instructions.
        tag: Vec<u8>,
        /// When it was loaded.
        loaded: Known<Time>,
        /// User who loaded it.
        uid: Known<u32>,
        /// The kernel's function that it is attached to, for types that name one when they are loaded.
        attached_to: Known<String>,
        /// Whether it may change what a function of the kernel returns.
        overrides: Known<bool>,
        /// Number of maps it uses.
        maps: Known<u32>,
        /// Where it runs.
        function: Known<VirtAddr>,
        /// Size of its machine code, in bytes; 0 for one that is interpreted.
        size: Known<u32>,
        /// Address of the struct bpf_prog.
        address: VirtAddr,
    }
}
