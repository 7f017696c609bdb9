//! Linux facts: the kernel found in an image, and what its structures say.

use crate::address::VirtAddr;
use crate::facts::linux::{Capabilities, LogRecord, Mount, OpenFile, ShellHistory};
use crate::facts::*;
use crate::image::Image;
use crate::paging::AddressSpace;
use crate::symbols::{Context, Profile};
use std::path::PathBuf;
use std::sync::Arc;

pub struct Linux {
    space: AddressSpace,
    profile: Profile,
    info: Info,
}
impl Linux {
    pub fn detect(_image: Arc<Image>, _symbols: &[PathBuf], _watch: &Watch) -> Result<Self, String> {
        Err("no Linux kernel found".into())
    }
    pub fn info(&self) -> Info {
        self.info.clone()
    }
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }
    pub fn process_space(&self, _process: VirtAddr) -> Result<AddressSpace, ReadError> {
        Err(ReadError::Implausible("process"))
    }
    pub fn context(&self) -> Context<'_> {
        Context { space: &self.space, profile: &self.profile }
    }
}
macro_rules! stub { ($($n:ident $t:ty;)*) => { $(pub fn $n(_: &Linux, _: Scope, _: &mut Sink<$t>) {})* } }
stub! { processes Process; pstree TreeProcess; threads Thread; sockets Socket; regions Region; suspicious Suspicious; modules Module; open_files OpenFile; environment Variable; libraries Library; capabilities Capabilities; mounts Mount; kernel_log LogRecord; shell_history ShellHistory; }
