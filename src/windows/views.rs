//! Files as memory holds them: views of them in processes, and the file cache's own.

use super::Windows;
use super::files::own_name;
use super::pool::Pools;
use super::processes::Task;
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{PageOrigin, ReadError, Scope, Watch};
use crate::paging::AddressSpace;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A view of a file in a process.
pub struct View {
    pub pid: u32,
    pub path: String,
    pub start: VirtAddr,
    /// Last byte, inclusive.
    pub end: VirtAddr,
    space: Arc<AddressSpace>,
}

impl View {
    /// Reads a page, and tells where it is.
    pub fn page(&self, at: VirtAddr, out: &mut [u8; PAGE_SIZE as usize]) -> Result<PageOrigin, ReadError> {
        self.space.read_in_page(at.page(), out)
    }
}

impl Windows {
    /// The views that processes have of files whose names `wanted` picks, the objects of those files, and what could not be read.
    pub fn views(&self, wanted: impl Fn(&str) -> bool + Sync, watch: &Watch) -> (Vec<View>, BTreeSet<VirtAddr>, Vec<String>) {
        let named =
            |file: &VirtAddr| self.context().object("_FILE_OBJECT", *file).and_then(|file| own_name(&file)).is_ok_and(|name| wanted(&name));
        let found = self.objects_by_tag(b"File", "File", watch).unwrap_or_default();
        let mut files: BTreeSet<_> = found.into_iter().filter(named).collect();
        let of_task = |task: &Task<'_>| {
            let (mut views, mut space) = (Vec::new(), None);
            let (vads, trouble) = self.vads(&task.object, watch);
            let told =
                trouble.first().map(|why| format!("{} regions of {} {} could not be looked at: {why}", trouble.len(), task.name, task.pid));
            for vad in vads.iter().filter(|vad| !vad.private && !vad.image) {
                let Ok(Some(file)) = vad.file() else { continue };
                let Some(path) = own_name(&file).ok().filter(|path| wanted(path)) else { continue };
                let space = match &space {
                    Some(space) => Arc::clone(space),
                    None => match self.space_of(&task.object) {
                        Ok(opened) => Arc::clone(space.insert(Arc::new(opened))),
                        Err(_) => break,
                    },
                };
                views.push((file.address, View { pid: task.pid, path, start: vad.start, end: vad.end, space }));
            }
            (views, told)
        };
        let tasks = self.tasks(Scope::Machine, watch);
        let found: Vec<_> = tasks.par_iter().take_any_while(|_| !watch.cancelled()).map(of_task).collect();
        let (mut views, mut notes) = (Vec::new(), Vec::new());
        for (seen, told) in found {
            notes.extend(told);
            for (file, view) in seen {
                files.insert(file);
                views.push(view);
            }
        }
        (views, files, notes)
    }

    /// What the sweep of memory met of event logs.
    pub fn event_marks(&self, watch: &Watch) -> Result<Arc<Pools>, ReadError> {
        self.pools(watch)
    }

    /// Where the kernel maps each of some frames, if anywhere.
    pub fn kernel_places(&self, frames: &[PhysAddr]) -> HashMap<PhysAddr, VirtAddr> {
        self.places(frames.to_vec())
    }

    /// Reads a page of the kernel's, and tells where it is.
    pub fn kernel_page(&self, at: VirtAddr, out: &mut [u8; PAGE_SIZE as usize]) -> Result<PageOrigin, ReadError> {
        self.space.read_in_page(at.page(), out)
    }

    /// Copies physical memory.
    pub fn physical(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        self.image.read(at, out)
    }
}
