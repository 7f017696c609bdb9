//! Process objects: the list that the system shows, the other roads to them, and what lies in the pools beside.

use super::Windows;
use crate::address::VirtAddr;
use crate::facts::{ProcessState, ReadError, Scope, Watch};
use crate::symbols::Object;
use std::collections::HashSet;

/// A process as the rest of this module tree uses it.
#[derive(Clone)]
pub struct Task<'a> {
    /// Its _EPROCESS.
    pub object: Object<'a>,
    pub pid: u32,
    pub name: String,
    pub state: ProcessState,
}

impl Windows {
    /// The processes that a query is about, exited ones left out.
    pub(super) fn tasks(&self, scope: Scope, watch: &Watch) -> Vec<Task<'_>> {
        let mut tasks = Vec::new();
        for address in self.active_list() {
            if watch.cancelled() {
                break;
            }
            let task = || -> Result<Task<'_>, ReadError> {
                let object = self.context().object("_EPROCESS", address)?;
                let (pid, name) = (object.u32("UniqueProcessId")?, object.text("ImageFileName")?);
                let state = if object.uint("ExitTime")? == 0 { ProcessState::Running } else { ProcessState::Exited };
                Ok(Task { object, pid, name, state })
            };
            tasks.extend(task().ok().filter(|task| scope.admits(task.pid, address) && task.state != ProcessState::Exited));
        }
        tasks
    }

    /// PsActiveProcessHead's list, forwards and, where that breaks, backwards.
    fn active_list(&self) -> Vec<VirtAddr> {
        let context = self.context();
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let walk = || -> Result<(VirtAddr, u64), ReadError> {
            let head = context.symbol("PsActiveProcessHead")?;
            Ok((head, context.profile.layout("_EPROCESS")?.offset("ActiveProcessLinks")?))
        };
        let Ok((head, links)) = walk() else { return found };
        for direction in ["Flink", "Blink"] {
            let mut entry = head;
            while let Ok(next) = context.object("_LIST_ENTRY", entry).and_then(|entry| entry.pointer(direction)) {
                if next == head {
                    return found;
                }
                if !next.is_kernel() || !seen.insert((direction, next)) {
                    break;
                }
                let process = VirtAddr(next.0.wrapping_sub(links));
                if !found.contains(&process) {
                    found.push(process);
                }
                entry = next;
            }
        }
        found
    }
}
