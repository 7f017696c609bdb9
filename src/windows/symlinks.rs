//! Symbolic links of the object manager, such as drive letters.

use super::files::whole;
use super::{Windows, text};
use crate::address::VirtAddr;
use crate::facts::windows::SymbolicLink;
use crate::facts::{Known, ReadError, Scope, Sink};

/// _OBJECT_SYMBOLIC_LINK.Flags: a routine of the kernel finds the target (Windows 10 and later).
const BY_CALLBACK: u64 = 0x10;

pub fn symlinks(windows: &Windows, scope: Scope, out: &mut Sink<SymbolicLink>) {
    for (address, sources) in windows.objects(b"Symb", "SymbolicLink", scope, out) {
        let used = sources.contains(&"handle");
        match windows.symlink(address, sources) {
            Ok(Some(row)) => out.push(row),
            Ok(None) if used => out.note(format!("symbolic link {address} is in use, and damaged")),
            Ok(None) => {}
            Err(why) => out.note(format!("symbolic link {address}: {why}")),
        }
    }
}

impl Windows {
    /// None where the bytes are no link: none is made without a time, and what has neither name nor target is none.
    fn symlink(&self, address: VirtAddr, sources: Vec<&'static str>) -> Result<Option<SymbolicLink>, ReadError> {
        let link = self.context().object("_OBJECT_SYMBOLIC_LINK", address)?;
        let Some(time) = text::filetime(link.inner("CreationTime")?.uint("QuadPart")?) else { return Ok(None) };
        let by_callback = link.has("Callback") && link.uint("Flags")? & BY_CALLBACK != 0;
        let name = self.object_path(&self.header(address)?).and_then(|name| name.map(whole).transpose());
        let target = || link.inner("LinkTarget").and_then(|target| text::unicode(&target)).and_then(whole);
        let target = if by_callback { Known::Absent } else { target().into() };
        if !matches!(name, Ok(Some(_))) && target.value().is_none() {
            return Ok(None);
        }
        Ok(Some(SymbolicLink { name: name.into(), target, create_time: Known::Value(time), address, sources, ..SymbolicLink::default() }))
    }
}
