//! File objects: what the system has, or had, open.

use super::objects::UNREAD;
use super::{Windows, text};
use crate::address::VirtAddr;
use crate::facts::windows::FileObject;
use crate::facts::{Known, ReadError, Scope, Sink};
use crate::symbols::Object;

/// A path; no NUL nor another control can stand in one, so that one which has it was overwritten.
pub fn whole(path: String) -> Result<String, ReadError> {
    let path = text::written(path)?;
    if path.contains(['\t', '\n', '\r']) { Err(ReadError::Implausible("path")) } else { Ok(path) }
}

/// _FILE_OBJECT.Type (IO_TYPE_FILE, wdm.h).
pub const IO_TYPE_FILE: u64 = 5;
/// _DEVICE_OBJECT.Type (IO_TYPE_DEVICE, wdm.h).
const IO_TYPE_DEVICE: u64 = 3;

/// Whether the bytes are a file object.
fn is_file(file: &Object<'_>) -> Result<bool, ReadError> {
    Ok(file.uint("Type")? == IO_TYPE_FILE && file.uint("Size")? == u64::from(file.layout().size))
}

/// The name of a file object, without its device. What was not opened relative to another file has a path from its device's root.
pub fn own_name(file: &Object<'_>) -> Result<String, ReadError> {
    if !is_file(file)? {
        return Err(ReadError::Implausible("file object"));
    }
    let name = text::unicode(&file.inner("FileName")?).and_then(whole)?;
    let rooted = name.is_empty() || name.starts_with('\\') || !file.pointer("RelatedFileObject")?.is_null();
    if rooted { Ok(name) } else { Err(ReadError::Implausible("path")) }
}

impl Windows {
    /// The path of a file object as the kernel sees it: its device's name, or `??` where that cannot be read, then its own.
    pub(super) fn file_path(&self, file: &Object<'_>) -> Result<String, ReadError> {
        let name = own_name(file)?;
        let device = match file.follow("DeviceObject")? {
            None => None,
            Some(device) => self.device_name(&device).unwrap_or_else(|_| Some(UNREAD.to_owned())),
        };
        // A name that was opened relative to another file is the rest of a path.
        let related = if name.starts_with('\\') { None } else { file.follow("RelatedFileObject")? };
        let folder = related.map(|related| text::unicode(&related.inner("FileName")?)).transpose()?.unwrap_or_default();
        let gap = if folder.is_empty() || folder.ends_with('\\') || name.is_empty() { "" } else { "\\" };
        whole(format!("{}{folder}{gap}{name}", device.unwrap_or_default()))
    }

    /// The name of a device; None where it has none.
    fn device_name(&self, device: &Object<'_>) -> Result<Option<String>, ReadError> {
        if device.uint("Type")? != IO_TYPE_DEVICE {
            return Err(ReadError::Implausible("device object"));
        }
        self.object_path(&self.header(device.address)?)
    }
}

pub fn file_objects(windows: &Windows, scope: Scope, out: &mut Sink<FileObject>) {
    let mut found = windows.objects(b"File", "File", scope, out);
    for task in windows.tasks(scope, out.watch()) {
        let (vads, _) = windows.vads(&task.object, out.watch());
        for file in vads.iter().filter_map(|vad| vad.file().ok().flatten()) {
            let sources = found.entry(file.address).or_default();
            if sources.last() != Some(&"vad") {
                sources.push("vad");
            }
        }
    }
    for (address, sources) in found {
        if out.cancelled() {
            return;
        }
        let used = sources.iter().any(|source| *source != "pool_scan");
        match windows.file_object(address, sources) {
            Ok(Some(row)) => out.push(row),
            Ok(None) if used => out.note(format!("file object {address} is in use, and damaged")),
            Ok(None) => {}
            Err(why) => out.note(format!("file object {address}: {why}")),
        }
    }
}

impl Windows {
    /// None where the bytes are no file object.
    fn file_object(&self, address: VirtAddr, sources: Vec<&'static str>) -> Result<Option<FileObject>, ReadError> {
        let file = self.context().object("_FILE_OBJECT", address)?;
        if !is_file(&file)? {
            return Ok(None);
        }
        let flag = |field| {
            Known::from(file.uint(field).and_then(|value| match value {
                0 | 1 => Ok(value != 0),
                _ => Err(ReadError::Implausible("flag")),
            }))
        };
        Ok(Some(FileObject {
            path: self.file_path(&file).map(|path| Some(path).filter(|path| !path.is_empty())).into(),
            address,
            readable: flag("ReadAccess"),
            writable: flag("WriteAccess"),
            deletable: flag("DeleteAccess"),
            shared_read: flag("SharedRead"),
            shared_write: flag("SharedWrite"),
            shared_delete: flag("SharedDelete"),
            deleted: flag("DeletePending"),
            sources,
            ..FileObject::default()
        }))
    }
}
