//! Who maps a frame: the way back from physical memory.

use super::maps::{self, Naming, mappings};
use super::tasks::Task;
use super::{Linux, path};
use crate::address::{PhysAddr, VirtAddr};
use crate::facts::{Known, Owner, Owners, ReadError, Scope, Watch};
use std::collections::HashMap;

/// Programs live in the lower half, even with five levels of page tables.
const USER_END: VirtAddr = VirtAddr(1 << 56);

impl Linux {
    /// Who maps the frames of a sorted list: every process once through its page tables, and the kernel. Also what could not be read.
    pub fn owners(&self, frames: &[PhysAddr], watch: &Watch) -> (Owners, Vec<String>) {
        let (mut owners, mut notes) = (Owners::default(), Vec::new());
        let tasks = self.tasks(Scope::Machine, watch);
        for (done, task) in tasks.iter().enumerate().take_while(|_| !watch.cancelled()) {
            watch.progress(done as u64, tasks.len() as u64);
            if let Err(why) = self.owned_by(task, frames, watch, &mut owners) {
                notes.push(format!("what {} {} maps is not known: {why}", task.name, task.pid));
            }
        }
        let all = self.image.runs().last().map_or(0, |run| run.end().0);
        let is_direct = |page: VirtAddr| page.0.checked_sub(self.direct_map.0).is_some_and(|offset| offset < all);
        let mut found = Vec::new();
        for (_, start, end) in self.space.upper_half() {
            self.space.find_frames(start, end, frames, &mut |frame, page, leaf| found.push((is_direct(page), frame, page, leaf.rights())));
        }
        // The map of all memory says nothing of who uses a frame, so it counts only where there is nothing else.
        found.sort_by_key(|(direct, ..)| *direct);
        let mut paths: HashMap<VirtAddr, Known<String>> = HashMap::new();
        for (direct, frame, page, protection) in found.into_iter().take_while(|_| !watch.cancelled()) {
            let known = owners.of(frame);
            if direct && !known.is_empty() {
                continue;
            }
            let alone = known.iter().all(|owner| owner.process.is_none());
            let (kind, file) = match self.cached_inode(frame) {
                Ok(Some(inode)) if alone => {
                    ("page_cache", paths.entry(inode.address).or_insert_with(|| self.inode_path(&inode).into()).clone())
                }
                _ => (if direct { "direct_map" } else { "kernel" }, Known::Absent),
            };
            owners.add(frame, Owner { process: None, page, kind, protection, file });
        }
        (owners, notes)
    }

    fn owned_by(&self, task: &Task<'_>, frames: &[PhysAddr], watch: &Watch, owners: &mut Owners) -> Result<(), ReadError> {
        // Kernel threads have no memory of their own.
        let Some(mm) = task.object.follow("mm")? else { return Ok(()) };
        let mut found = Vec::new();
        let space = self.space_of(&task.object)?;
        space.find_frames(VirtAddr(0), USER_END, frames, &mut |frame, page, leaf| found.push((frame, page, leaf.rights())));
        if found.is_empty() {
            return Ok(());
        }
        let (mappings, _) = mappings(&mm, watch);
        let naming = Naming::new(self, &mm, &mappings);
        for (frame, page, protection) in found {
            let mapping = maps::at(&mappings, page);
            let file = mapping.and_then(|mapping| mapping.file.as_ref());
            let owner = Owner {
                process: Some((task.pid, task.name.clone(), task.object.address)),
                page,
                kind: mapping.map_or("outside", |mapping| naming.kind(mapping)),
                protection,
                file: file.map(|file| path::of_file(file).map(path::FilePath::shown)).transpose().into(),
            };
            owners.add(frame, owner);
        }
        Ok(())
    }
}
