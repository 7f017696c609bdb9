//! Windows facts: the kernel found in an image, and what its structures say.

mod detect;
mod dump_header;
mod exhibits;
mod files;
mod objects;
mod pages;
mod pe;
mod peb;
mod pool;
mod processes;
mod text;
mod threads;
mod vads;

pub use exhibits::exhibits;
pub use peb::environment;
pub use processes::{processes, pstree};
pub use threads::threads;
pub use vads::regions;

use crate::address::{PhysAddr, VirtAddr};
use crate::facts::{Info, ReadError};
use crate::image::Image;
use crate::paging::AddressSpace;
use crate::symbols::{Context, Object, Profile};
use std::sync::{Arc, OnceLock};

/// A Windows kernel in an image.
pub struct Windows {
    image: Arc<Image>,
    /// The System process's address space.
    space: AddressSpace,
    pages: pages::WindowsPages,
    profile: Profile,
    info: Info,
    kernel: pe::Headers,
    build: u32,
    types: Result<objects::Types, ReadError>,
    pools: OnceLock<Arc<pool::Pools>>,
    listed: OnceLock<processes::Roster>,
    roster: OnceLock<Arc<processes::Roster>>,
}

impl Windows {
    pub fn info(&self) -> &Info {
        &self.info
    }
    pub fn space(&self) -> &AddressSpace {
        &self.space
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
        Ok(self.space.with_root(PhysAddr(root & 0x000f_ffff_ffff_f000)))
    }
}
