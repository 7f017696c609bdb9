//! Linux facts: the kernel found in an image, and what its structures say.

mod bpf;
mod callbacks;
mod capabilities;
mod clock;
mod code;
mod detect;
mod entrances;
mod environment;
mod exhibits;
mod files;
mod interfaces;
mod kernel_log;
mod libraries;
mod mapped_files;
mod maps;
mod modules;
mod mounts;
mod owners;
mod page_cache;
mod pages;
mod patches;
mod path;
mod perf_maps;
mod rbtree;
mod relocations;
mod shell_history;
mod sockets;
mod syscalls;
mod tasks;
mod uprobes;
mod xarray;

pub use bpf::bpf_programs;
pub use callbacks::{PROC_ENTRIES, callbacks};
pub use capabilities::capabilities;
pub use code::KERNEL;
pub use environment::environment;
pub use exhibits::exhibits;
pub use files::open_files;
pub use interfaces::network_interfaces;
pub use kernel_log::kernel_log;
pub use libraries::libraries;
pub use maps::regions;
pub use modules::modules;
pub use mounts::mounts;
pub use page_cache::{PRELOADS, page_cache};
pub use shell_history::shell_history;
pub use sockets::sockets;
pub use syscalls::syscall_table;
pub use tasks::{processes, pstree, threads};

use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::linux::CachedFile;
use crate::facts::*;
use crate::image::Image;
use crate::paging::AddressSpace;
use crate::symbols::{Context, Object, Profile};
use std::sync::{Arc, OnceLock};
use tasks::Roster;

/// More than any kernel lets a command line or environment have on its stack by default (a quarter of 8 MiB).
const MOST_ARGUMENTS: usize = 2 << 20;

/// A Linux kernel in an image.
pub struct Linux {
    image: Arc<Image>,
    /// The kernel's own address space.
    space: AddressSpace,
    profile: Profile,
    info: Info,
    /// Virtual address of physical address 0 (page_offset_base).
    direct_map: VirtAddr,
    boot_time: Option<Time>,
    listed: OnceLock<Roster>,
    roster: Kept<Roster>,
    module_code: Kept<code::Modules>,
    telling_files: Kept<Answer<CachedFile>>,
    perf_maps: Kept<Vec<perf_maps::PerfMap>>,
    uprobes: Kept<uprobes::Probes>,
    replaced: path::Replaced,
    relocations: relocations::Lists,
}

impl Linux {
    pub fn info(&self) -> &Info {
        &self.info
    }
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
    /// How people name an address of the kernel.
    pub fn name_at(&self, at: VirtAddr) -> Option<String> {
        self.profile.symbols().name_at(at)
    }
    fn context(&self) -> Context<'_> {
        Context { space: &self.space, profile: &self.profile }
    }
    /// The address space of a process, by its task_struct; the kernel's own where it has none.
    pub fn process_space(&self, process: VirtAddr) -> Result<AddressSpace, ReadError> {
        self.space_of(&self.context().object("task_struct", process)?)
    }
    /// Whether a process of a 64-bit kernel runs 32-bit code: its address space was made no larger than that can reach.
    pub fn is_compat(&self, process: VirtAddr) -> Result<bool, ReadError> {
        let Some(mm) = self.context().object("task_struct", process)?.follow("mm")? else { return Ok(false) };
        Ok(mm.uint("task_size")? <= 1 << 32)
    }
    /// Whether another file has the name of the one that a process runs, which was deleted.
    pub fn is_replaced(&self, process: VirtAddr) -> Result<bool, ReadError> {
        let Some(mm) = self.context().object("task_struct", process)?.follow("mm")? else { return Ok(false) };
        mm.follow("exe_file")?.map_or(Ok(false), |file| self.replaced.knows(&file))
    }
    fn space_of(&self, task: &Object<'_>) -> Result<AddressSpace, ReadError> {
        let root = match task.follow("mm")? {
            Some(mm) => self.space.translate(mm.pointer("pgd")?)?,
            None => self.space.root(),
        };
        Ok(self.space.with_root(root))
    }
    /// Lets `show` add rows for each process that a query is about; what it could not read becomes a note.
    fn each_task<T: Record>(
        &self,
        what: &str,
        scope: Scope,
        out: &mut Sink<T>,
        show: impl FnMut(&tasks::Task<'_>, &mut Sink<T>) -> Result<(), ReadError>,
    ) {
        let tasks = self.tasks(scope, out.watch());
        if tasks.is_empty() {
            out.note("no living process object matches");
        }
        out.each(&tasks, |task| format!("{what} of {} {}", task.name, task.pid), show);
    }
    /// The array of struct page (CONFIG_SPARSEMEM_VMEMMAP, as every distribution for x86-64 has it), and the size of one.
    fn page_array(&self) -> Result<(VirtAddr, u64), ReadError> {
        let base = self.space.pointer(self.context().symbol("vmemmap_base")?)?;
        Ok((base, u64::from(self.profile.layout("page")?.size.max(1))))
    }
    /// The struct page of a frame.
    fn page(&self, frame: PhysAddr) -> Result<Object<'_>, ReadError> {
        let (base, size) = self.page_array()?;
        self.context().object("page", base.offset(frame.0 / PAGE_SIZE * size))
    }
    /// The frame of a struct page.
    fn frame_of(&self, page: VirtAddr) -> Result<PhysAddr, ReadError> {
        let (base, size) = self.page_array()?;
        let index = page.0.checked_sub(base.0).ok_or(ReadError::Implausible("struct page"))? / size;
        Ok(PhysAddr(index.wrapping_mul(PAGE_SIZE)))
    }
}
