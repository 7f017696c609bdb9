//! File objects: what the system has, or had, open.

use super::{Windows, text};
use crate::facts::ReadError;
use crate::symbols::Object;

impl Windows {
    /// The path of a file object as the kernel sees it: its device's name, then its own.
    pub(super) fn file_path(&self, file: &Object<'_>) -> Result<String, ReadError> {
        let name = text::unicode(&file.inner("FileName")?)?;
        let device = match file.pointer("DeviceObject")? {
            device if device.is_null() => None,
            device => self.object_path(&self.header(device)?)?,
        };
        // A name that was opened relative to another file is the rest of a path.
        let related = if name.starts_with('\\') { None } else { file.follow("RelatedFileObject")? };
        let folder = related.map(|related| text::unicode(&related.inner("FileName")?)).transpose()?.unwrap_or_default();
        let gap = if folder.is_empty() || folder.ends_with('\\') || name.is_empty() { "" } else { "\\" };
        Ok(format!("{}{folder}{gap}{name}", device.unwrap_or_default()))
    }
}
