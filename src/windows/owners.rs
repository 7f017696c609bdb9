//! Who maps a frame: the way back from physical memory.

use super::processes::Task;
use super::{USER_END, Windows, vads};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Known, Owner, Owners, ReadError, Scope, Watch};
use crate::paging::AddressSpace;
use crate::symbols::Object;
use std::collections::HashSet;

/// Lists of frames, as all versions number them (_MMLISTS).
const LISTS: [Option<&str>; 8] =
    [None, Some("free"), Some("standby"), Some("modified"), Some("modified"), Some("bad"), Some("active"), Some("transition")];

impl Windows {
    /// Who maps the frames of a sorted list: every process once through its page tables, and the kernel. Also what could not be read.
    pub fn owners(&self, frames: &[PhysAddr], watch: &Watch) -> (Owners, Vec<String>) {
        let (mut owners, mut kernel, mut notes) = (Owners::default(), Vec::new(), Vec::new());
        // Sessions have a part of the upper half each: what was walked through in one process is the same in the next.
        let mut walked = HashSet::new();
        let mut upper = |space: &AddressSpace| {
            for (_, start, end) in space.upper_half().into_iter().filter(|(entry, start, _)| walked.insert((*entry, *start))) {
                space.find_frames(start, end, frames, &mut |frame, page, leaf| kernel.push((frame, page, leaf.rights())));
            }
        };
        upper(&self.space);
        let tasks = self.tasks(Scope::Machine, watch);
        for (done, task) in tasks.iter().enumerate().take_while(|_| !watch.cancelled()) {
            watch.progress(done as u64, tasks.len() as u64);
            match self.owned_by(task, frames, watch, &mut owners) {
                Ok(space) => upper(&space),
                Err(why) => notes.push(format!("what {} {} maps is not known: {why}", task.name, task.pid)),
            }
        }
        let alone: Vec<PhysAddr> = frames.iter().copied().filter(|frame| owners.of(*frame).is_empty()).collect();
        let files = self.files_in(&alone, watch);
        for (frame, page, protection) in kernel {
            // A driver's pages are those of its file, but the driver tells more.
            let (kind, file) = match files.path(frame) {
                Some(path) if self.name_at(None, page).is_none() => ("page_cache", path.clone()),
                _ => ("kernel", Known::Absent),
            };
            owners.add(frame, Owner { process: None, page, kind, protection, file });
        }
        for (done, frame) in frames.iter().enumerate().take_while(|_| !watch.cancelled()) {
            watch.progress(done as u64, frames.len() as u64);
            if !owners.of(*frame).is_empty() {
                continue;
            }
            if let Some(path) = files.path(*frame) {
                owners.tell(*frame, "page_cache", path.clone());
            } else if let Ok(Some(state)) = self.frame_state(*frame) {
                owners.tell(*frame, state, Known::Absent);
            }
        }
        (owners, notes)
    }

    /// What the frame database says of a frame. A zeroed page is not believed: nothing would be found in it.
    fn frame_state(&self, frame: PhysAddr) -> Result<Option<&'static str>, ReadError> {
        let state = self.frame_entry(frame)?.inner("u3")?.inner("e1")?.uint("PageLocation")?;
        Ok(LISTS.get(state as usize).copied().flatten())
    }

    /// The entry of a frame in the frame database.
    pub(super) fn frame_entry(&self, frame: PhysAddr) -> Result<Object<'_>, ReadError> {
        let context = self.context();
        let database = context.space.pointer(context.symbol("MmPfnDatabase")?)?;
        let size = u64::from(context.profile.layout("_MMPFN")?.size);
        context.object("_MMPFN", database.offset((frame.0 / PAGE_SIZE).wrapping_mul(size)))
    }

    fn owned_by(&self, task: &Task<'_>, frames: &[PhysAddr], watch: &Watch, owners: &mut Owners) -> Result<AddressSpace, ReadError> {
        let space = self.process_space(task.object.address)?;
        let mut found = Vec::new();
        space.find_frames(VirtAddr(0), USER_END, frames, &mut |frame, page, leaf| found.push((frame, page, leaf.rights())));
        let regions = if found.is_empty() { Vec::new() } else { self.vads(&task.object, watch).0 };
        for (frame, page, protection) in found {
            let vad = vads::at(&regions, page);
            let owner = Owner {
                process: Some((task.pid, task.name.clone(), task.object.address)),
                page,
                kind: vad.map_or("outside", |vad| vad.kind()),
                protection,
                file: vad.map_or(Known::Absent, |vad| vad.file_name().into()),
            };
            owners.add(frame, owner);
        }
        Ok(space)
    }
}
