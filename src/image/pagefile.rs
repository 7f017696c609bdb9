//! Page files of the machine, given beside its image.

use super::source::{Embedded, OnDisk, Source};
use super::zstd::Seekable;
use super::{OpenError, Problem};
use crate::address::PAGE_SIZE;
use crate::facts::ReadError;
use std::path::Path;
use std::sync::Arc;

/// A page file: pages by their number, without any header.
pub struct PageFile {
    source: Arc<dyn Source>,
    name: String,
    bundled: bool,
}

impl PageFile {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        match OnDisk::open(path) {
            Ok(source) => Ok(Self { source: Arc::new(source), name, bundled: false }),
            Err(source) => Err(OpenError::File { path: path.display().to_string(), source }),
        }
    }
    /// Opens a page file that is part of the program, packed as seekable zstd.
    pub fn open_bytes(name: &str, bytes: &'static [u8]) -> Result<Self, OpenError> {
        match Seekable::open(Arc::new(Embedded(bytes))) {
            Ok(source) => Ok(Self { source: Arc::new(source), name: name.to_owned(), bundled: true }),
            Err(Problem(problem)) => Err(OpenError::Format { path: name.to_owned(), problem }),
        }
    }
    /// The file's name without its folder.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Whether it came with its image, and so is of the same machine.
    pub fn is_bundled(&self) -> bool {
        self.bundled
    }
    pub fn pages(&self) -> u64 {
        self.source.len() / PAGE_SIZE
    }
    /// Copies bytes of a page.
    pub fn read(&self, page: u64, inside: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let offset = page.checked_mul(PAGE_SIZE).and_then(|start| start.checked_add(inside)).ok_or(ReadError::File(u64::MAX))?;
        self.source.read_at(offset, out)
    }
}
