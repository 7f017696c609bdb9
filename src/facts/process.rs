use super::event::{Guid, Join};
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
        /// Sysmon's name for it. This and what follows is from the event of its start (Sysmon's 1), where one in memory or in a log at
        /// hand joins it by PID and start time.
        process_guid: Known<Guid>,
        /// Hashes of its program.
        hashes: Known<String>,
        /// Command line of its parent.
        parent_command_line: Known<String>,
        /// User in whose name it was started.
        user: Known<String>,
        /// How surely the event is of this process: keyed or exact, as in `events`.
        event_join: Known<Join>,
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
        /// Terminal services session.
        [windows] session: Known<u32>,
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
        /// The symbol at or before that address, in the kernel.
        start_symbol: Known<String>,
        /// The module that address lies in: a driver, or the file mapped there in the process.
        [windows] start_module: Known<String>,
        /// What the program asked to run; the start address proper is the same for most threads.
        [windows] win32_start_address: Known<VirtAddr>,
        /// The module which that lies in.
        [windows] win32_start_module: Known<String>,
        /// The exported function at or shortly before what the program asked to run.
        [windows] win32_start_symbol: Known<String>,
        /// Where it goes on in its program once the kernel lets it; null for a thread of the kernel.
        [windows] position: Known<VirtAddr>,
        /// The module which that lies in.
        [windows] position_module: Known<String>,
        /// Top of its stack in the program.
        [windows] stack: Known<VirtAddr>,
        /// Addresses at which the processor is to stop it (debug registers).
        [windows] breakpoints: Vec<VirtAddr>,
        /// The user whose token it acts under (impersonation); null where it acts as its process.
        [windows] impersonates: Known<String>,
        /// State as the kernel names it.
        state: Known<String>,
        /// Start time.
        create_time: Known<Time>,
    }
}

/// Processes in depth-first order. `parents` gives each one's parent by its place, as far as it is known; loops are cut.
pub fn tree(processes: Vec<Process>, parents: &[Option<usize>]) -> Vec<TreeProcess> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); processes.len()];
    let mut roots = Vec::new();
    for index in 0..processes.len() {
        match parents.get(index).copied().flatten() {
            Some(parent) if parent != index && parent < children.len() => children[parent].push(index),
            _ => roots.push(index),
        }
    }
    let addresses: Vec<Known<VirtAddr>> = processes.iter().map(|process| process.address.clone()).collect();
    let mut waiting_rows: Vec<Option<Process>> = processes.into_iter().map(Some).collect();
    let mut rows = Vec::with_capacity(waiting_rows.len());
    // Members on a loop of parents hang from no root: each loop's first member becomes one.
    for start in roots.into_iter().chain(0..addresses.len()) {
        let mut waiting = vec![(start, 0, None)];
        while let Some((index, depth, parent)) = waiting.pop() {
            let Some(process) = waiting_rows[index].take() else { continue };
            waiting.extend(children[index].iter().rev().map(|child| (*child, depth + 1, Some(index))));
            rows.push(TreeProcess {
                depth,
                parent: parent.map_or(Known::Absent, |parent| addresses[parent].clone()),
                pid: process.pid,
                ppid: process.ppid,
                name: process.name,
                address: process.address,
                create_time: process.create_time,
                exit_time: process.exit_time,
                session: process.session,
                uid: process.uid,
                threads: process.threads,
                state: process.state,
                kernel_thread: process.kernel_thread,
                command_line: process.command_line,
                sources: process.sources,
                problems: process.problems,
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_depth_first_and_cuts_loops() {
        let processes = (0..5).map(|pid| Process { pid, ..Process::default() }).collect();
        // 1 and 2 below 0, 3 and 4 each other's parents.
        let rows = tree(processes, &[None, Some(0), Some(1), Some(4), Some(3)]);
        let order: Vec<_> = rows.iter().map(|row| (row.pid, row.depth)).collect();
        assert_eq!(order, [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]);
    }
}
