use super::record::{record, words};
use super::{Known, Time};
use crate::address::{PhysAddr, VirtAddr};

words! {
    ProcessState {
        #[default]
        Running = "running",
        Exited = "exited",
        Zombie = "zombie",
        /// Alive, yet missing from the list that the system itself shows.
        Hidden = "hidden",
    }
}

record! {
    /// Process objects, one row each, found by any method.
    Process = "processes" {
        /// Process ID.
        pid: u32,
        /// Parent process ID.
        ppid: Known<u32>,
        /// Name that the kernel keeps (on Linux the full name of a kernel thread).
        name: String,
        /// Virtual address of the process object; null where it was found only physically.
        address: Known<VirtAddr>,
        /// Physical address of the process object.
        physical_address: Known<PhysAddr>,
        /// Start time.
        create_time: Known<Time>,
        /// End time; null while it runs.
        exit_time: Known<Time>,
        /// Number of threads.
        threads: Known<u32>,
        /// Terminal services session.
        [windows] session: Known<u32>,
        /// Whether it is a 32-bit process on 64-bit Windows.
        [windows] wow64: Known<bool>,
        /// Real user ID.
        [linux] uid: Known<u32>,
        /// Real group ID.
        [linux] gid: Known<u32>,
        /// Path of the executable.
        path: Known<String>,
        /// Command line, arguments joined by blanks.
        command_line: Known<String>,
        /// Methods that found it.
        sources: Vec<&'static str>,
        /// running, exited, zombie, or hidden: alive, yet missing from the list that the system itself shows.
        state: ProcessState,
        /// Whether it is a kernel thread.
        [linux] kernel_thread: Known<bool>,
    }
}

record! {
    /// Processes in depth-first order of the process tree.
    TreeProcess = "pstree" {
        /// Levels below the root of its tree.
        depth: u32,
        /// Address of the parent's process object; null for a root.
        parent: Known<VirtAddr>,
        /// Process ID.
        pid: u32,
        /// Parent process ID.
        ppid: Known<u32>,
        /// Name that the kernel keeps.
        name: String,
        /// Virtual address of the process object.
        address: Known<VirtAddr>,
        /// Start time.
        create_time: Known<Time>,
        /// End time; null while it runs.
        exit_time: Known<Time>,
        /// Real user ID.
        [linux] uid: Known<u32>,
        /// Number of threads.
        threads: Known<u32>,
        /// running, exited, zombie or hidden.
        state: ProcessState,
        /// Whether it is a kernel thread.
        [linux] kernel_thread: Known<bool>,
        /// Command line, arguments joined by blanks.
        command_line: Known<String>,
        /// Methods that found it.
        sources: Vec<&'static str>,
    }
}

record! {
    /// Threads of the processes that are not known to have exited.
    Thread = "threads" {
        /// Process ID.
        pid: u32,
        /// Thread ID.
        tid: u32,
        /// Name of the thread.
        [linux] name: String,
        /// Address of the thread object.
        address: VirtAddr,
        /// Where it started; on Linux the function of a kernel thread.
        start_address: Known<VirtAddr>,
        /// State as the kernel names it.
        state: Known<String>,
        /// Start time.
        create_time: Known<Time>,
    }
}
