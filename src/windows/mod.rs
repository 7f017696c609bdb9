//! Windows facts: the kernel found in an image, and what its structures say.

mod apcs;
mod cached_files;
mod callbacks;
mod cells;
mod detect;
mod detections;
mod devices;
mod discover;
mod drivers;
mod dump_header;
mod entrances;
mod executables;
mod exhibits;
mod fields;
mod files;
mod handles;
#[cfg(test)]
mod hive_samples;
mod hives;
mod identities;
mod kdbg;
mod kernel;
mod libraries;
mod lists;
mod modules;
mod mutants;
mod objects;
mod owners;
mod pages;
mod pe;
mod peb;
mod pool;
mod processes;
mod programs;
mod registry;
mod services;
mod sessions;
mod shared;
mod sid;
mod sockets;
mod ssdt;
mod symlinks;
mod tcpip;
mod text;
mod threads;
mod tokens;
mod vads;
mod verify;
mod views;

pub use apcs::apcs;
pub use callbacks::callbacks;
pub use detections::Detections;
pub use devices::devices;
pub use drivers::{driver_functions, drivers};
pub use executables::{Extent, carved, rebuilt};
pub use exhibits::exhibits;
pub use files::file_objects;
pub use handles::handles;
pub use hives::hives;
pub use identities::Identity;
pub use libraries::libraries;
pub use modules::modules;
pub use mutants::mutants;
pub use peb::environment;
pub use pool::{Marking, Marks};
pub use processes::{processes, pstree};
pub use programs::programs;
pub use registry::registry;
pub use services::services;
pub use sessions::sessions;
pub use sockets::sockets;
pub use ssdt::ssdt;
pub use symlinks::symlinks;
pub use threads::threads;
pub use tokens::{privileges, sids};
pub use vads::regions;

use crate::address::{PhysAddr, VirtAddr};
use crate::facts::{Begun, Info, Kept, ReadError, Record, Scope, Sink};
use crate::image::Image;
use crate::paging::AddressSpace;
use crate::symbols::pack::Version;
use crate::symbols::{Context, Object, Profile};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Where the half of processes ends.
const USER_END: VirtAddr = VirtAddr(1 << 47);

/// The pointer of an _EX_FAST_REF, which keeps a count in its lowest bits.
fn fast_ref(value: u64) -> VirtAddr {
    VirtAddr(value & !0xf)
}

/// A Windows kernel in an image.
pub struct Windows {
    image: Arc<Image>,
    /// The System process's address space.
    space: AddressSpace,
    pages: pages::WindowsPages,
    profile: Profile,
    info: Info,
    build: u32,
    version: Version,
    /// Where to look for more symbols.
    files: Vec<PathBuf>,
    /// Event logs given beside the image.
    logs: Vec<PathBuf>,
    /// A configuration of Sysmon given beside the image.
    sysmon_config: Option<PathBuf>,
    types: Result<objects::Types, ReadError>,
    /// The sizes of the optional headers of objects.
    optional: OnceLock<[Result<u64, ReadError>; objects::OPTIONAL.len()]>,
    marks: Option<Arc<Begun<pool::Marks>>>,
    pools: Kept<pool::Pools>,
    listed: OnceLock<processes::Roster>,
    roster: Kept<processes::Roster>,
    tcpip: OnceLock<tcpip::Tcpip>,
    listed_modules: OnceLock<modules::Modules>,
    all_modules: Kept<modules::Modules>,
    disputed: Kept<handles::Disputed>,
    cached: Kept<Vec<cached_files::Cached>>,
}

impl Windows {
    pub fn info(&self) -> &Info {
        &self.info
    }
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
    /// The event logs that were given beside the image.
    pub fn logs(&self) -> &[PathBuf] {
        &self.logs
    }
    /// The configuration of Sysmon that was given beside the image.
    pub fn sysmon_config(&self) -> Option<&Path> {
        self.sysmon_config.as_deref()
    }
    pub fn with_logs(mut self, logs: &[PathBuf], sysmon_config: Option<&Path>) -> Self {
        self.logs = logs.to_vec();
        self.sysmon_config = sysmon_config.map(Path::to_owned);
        self
    }
    fn context(&self) -> Context<'_> {
        Context { space: &self.space, profile: &self.profile }
    }
    /// The address space of a process, by its _EPROCESS; its regions tell of pages that its page tables are silent about.
    pub fn process_space(&self, process: VirtAddr) -> Result<AddressSpace, ReadError> {
        let process = self.context().object("_EPROCESS", process)?;
        let pages = self.pages.with_regions(self.regions_of(&process));
        Ok(self.space_of(&process)?.with_software(Arc::new(pages)))
    }
    fn space_of(&self, process: &Object<'_>) -> Result<AddressSpace, ReadError> {
        let root = process.inner("Pcb")?.uint("DirectoryTableBase")?;
        Ok(self.space.with_root(PhysAddr(root & crate::paging::FRAME)))
    }

    /// The processes that a query is about; why some may be missing becomes a note.
    fn told_tasks<T: Record>(&self, scope: Scope, out: &mut Sink<T>) -> Vec<processes::Task<'_>> {
        let tasks = self.tasks(scope, out.watch());
        if tasks.is_empty() {
            out.note("no living process object matches");
        }
        if scope == Scope::Machine {
            self.roster(out.watch()).notes.iter().for_each(|note| out.note(note.clone()));
        }
        tasks
    }

    /// Lets `show` add rows for each process that a query is about; what it could not read becomes a note.
    fn each_task<T: Record>(
        &self,
        what: &str,
        scope: Scope,
        out: &mut Sink<T>,
        show: impl FnMut(&processes::Task<'_>, &mut Sink<T>) -> Result<(), ReadError>,
    ) {
        let tasks = self.told_tasks(scope, out);
        out.each(&tasks, |task| format!("{what} of {} {}", task.name, task.pid), show);
    }
}
