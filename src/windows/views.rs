//! Files as memory holds them: views of them in processes, and the file cache's own.

use super::Windows;
use super::pool::Pools;
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{PageOrigin, ReadError, Watch};
use crate::paging::AddressSpace;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A view of a file in a process.
pub struct View {
    pub pid: u32,
    pub path: String,
    pub start: VirtAddr,
    /// Last byte, inclusive.
    pub end: VirtAddr,
    space: Rc<AddressSpace>,
}

impl View {
    /// Reads a page, and tells where it is.
    pub fn page(&self, at: VirtAddr, out: &mut [u8; PAGE_SIZE as usize]) -> Result<PageOrigin, ReadError> {
        self.space.read_in_page(at.page(), out)
    }
}

impl Windows {
    /// The views that processes have of files whose names `wanted` picks, and what could not be read of their regions.
    pub fn views(&self, wanted: impl Fn(&str) -> bool, watch: &Watch) -> (Vec<View>, Vec<String>) {
        let (mut views, mut notes) = (Vec::new(), Vec::new());
        for task in self.tasks(crate::facts::Scope::Machine, watch) {
            if watch.cancelled() {
                break;
            }
            let (vads, trouble) = self.vads(&task.object, watch);
            if let Some(why) = trouble.first() {
                notes.push(format!("{} regions of {} {} could not be looked at: {why}", trouble.len(), task.name, task.pid));
            }
            let mut space: Option<Rc<AddressSpace>> = None;
            for vad in vads.iter().filter(|vad| !vad.private && !vad.image) {
                let Some(path) = vad.file_name().ok().flatten().filter(|path| wanted(path)) else { continue };
                let space = match &space {
                    Some(space) => Rc::clone(space),
                    None => match self.space_of(&task.object) {
                        Ok(opened) => Rc::clone(space.insert(Rc::new(opened))),
                        Err(_) => break,
                    },
                };
                views.push(View { pid: task.pid, path, start: vad.start, end: vad.end, space });
            }
        }
        (views, notes)
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
