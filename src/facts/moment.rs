use super::record::{record, words};
use super::{Known, Time};
use crate::address::VirtAddr;

words! {
    /// What happened at a moment.
    MomentKind {
        Boot = "boot",
        ProcessStart = "process_start",
        ProcessEnd = "process_end",
        Thread = "thread",
        ProcessAccess = "process_access",
        ImageLoad = "image_load",
        ModuleLoad = "module_load",
        ModuleUnload = "module_unload",
        Connection = "connection",
        Dns = "dns",
        Pipe = "pipe",
        File = "file",
        FileTime = "file_time",
        Registry = "registry",
        Logon = "logon",
        Service = "service",
        ShellCommand = "shell_command",
        #[default]
        Log = "log",
        Capture = "capture",
    }
}

record! {
    /// What happened on the machine, moment by moment, from every table whose rows have times.
    Moment = "timeline" {
        /// When.
        time: Known<Time>,
        /// What: process_start, process_end, connection, dns, image_load, file, file_time, registry, logon, shell_command, log and so on.
        kind: MomentKind,
        /// Of the times of files and keys, which this is, as body files say it: m contents modified, a accessed, c inode changed, b born; a
        /// dot stands for each that it is not.
        macb: Known<&'static str>,
        /// Process ID.
        pid: Known<u32>,
        /// Name of the process.
        process: Known<String>,
        /// What happened, in a line.
        summary: String,
        /// Table that has the row it is from.
        source: &'static str,
        /// Address of the object that the row is about.
        reference: Known<VirtAddr>,
        /// Number of the record, where it is of a log.
        record_id: Known<u64>,
        /// Address of the process object.
        process_address: Known<VirtAddr>,
        /// Of what machines do by themselves, what it is: of a connection as in `connections`, kernel_thread where the kernel started one of
        /// its own.
        noise: Known<&'static str>,
    }
}

/// The letters of a file's times that are one moment: modified, accessed, changed, born.
pub fn macb(modified: bool, accessed: bool, changed: bool, born: bool) -> &'static str {
    const ALL: [&str; 16] =
        ["....", "m...", ".a..", "ma..", "..c.", "m.c.", ".ac.", "mac.", "...b", "m..b", ".a.b", "ma.b", "..cb", "m.cb", ".acb", "macb"];
    let index = usize::from(modified) | usize::from(accessed) << 1 | usize::from(changed) << 2 | usize::from(born) << 3;
    ALL.get(index).copied().unwrap_or("....")
}
