//! Physical bytes by address, whatever file they come from.
//!
//! Every reader copies out: no slice of the mapped file ever leaves `source.rs`. Formats are recognised by content, opened lazily
//! (the cost does not grow with the image) and give runs of physical memory; between the runs is nothing.
//!
//! ```text
//! source   bytes by file offset         a file, a file inside the program, a seekable zstd file over either, a flattened kdump
//! memory   bytes by physical address    Flat (raw, LiME, ELF core, VMware, ...) or a bitmap or compressed format over a source
//! ```

use crate::address::{PhysAddr, PhysRange};
use crate::facts::ReadError;
use std::path::Path;
use std::sync::Arc;

mod avml;
mod blocks;
mod crash_dump;
mod detect;
mod elf;
mod flat;
mod flattened;
mod kdump;
mod lime;
mod lzo;
mod notes;
mod pagefile;
mod pages;
mod qemu;
#[cfg(test)]
mod samples;
mod source;
mod sweep;
#[cfg(test)]
mod tests;
mod unpack;
mod vmware;
mod zstd;

pub use pagefile::PageFile;
pub(crate) use source::{OnDisk, Source};
pub use sweep::{Chunk, Swept};

use source::Embedded;

/// What the image's own headers tell about the machine: hints to be proved, never trusted.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Page-table roots (CR3) of the processors, as saved with the image.
    pub page_table_roots: Vec<PhysAddr>,
    /// The text of a VMCOREINFO note.
    pub vmcoreinfo: Option<String>,
    /// What a Windows crash dump's header tells.
    pub dump: Option<DumpHeader>,
}

/// What the header of a Windows crash dump tells of the kernel, as it stands there.
#[derive(Clone, Copy, Debug)]
pub struct DumpHeader {
    pub build: u32,
    /// IMAGE_FILE_MACHINE_*.
    pub machine: u32,
    /// PsLoadedModuleList.
    pub loaded_modules: u64,
    /// PsActiveProcessHead.
    pub active_processes: u64,
    /// KdDebuggerDataBlock.
    pub debugger_data: u64,
    /// A FILETIME.
    pub system_time: u64,
}

/// Physical memory as a format finds its bytes.
pub(crate) trait Memory: Send + Sync {
    /// Present physical memory: sorted, not overlapping, not adjacent, never empty.
    fn runs(&self) -> &[PhysRange];
    /// Copies. All of `out` or an error that names the first address which is missing, or the file offset.
    fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError>;
}

/// What a format's parser gives back.
pub(crate) struct Opened {
    memory: Box<dyn Memory>,
    format: String,
    hints: Hints,
    warnings: Vec<String>,
    /// The files that the image consists of, where they are not the opened one alone.
    files: Vec<Arc<dyn Source>>,
}

impl Opened {
    /// Refuses an image without a byte of memory: nothing can be shown of it.
    fn new(memory: impl Memory + 'static, format: String, hints: Hints, warnings: Vec<String>) -> Result<Self, Problem> {
        if memory.runs().is_empty() {
            let why = warnings.first().map(|why| format!(": {why}")).unwrap_or_default();
            return Err(format!("{format} without any memory in it{why}").into());
        }
        Ok(Self { memory: Box::new(memory), format, hints, warnings, files: Vec::new() })
    }

    /// The same, out of a packing that has a name and warnings of its own.
    fn wrapped(mut self, packing: &str, warnings: Vec<String>) -> Self {
        self.format = format!("{}, {packing}", self.format);
        self.warnings.splice(0..0, warnings);
        self
    }

    /// The same, of several files.
    fn of(mut self, files: impl IntoIterator<Item = Arc<dyn Source>>) -> Self {
        self.files = files.into_iter().collect();
        self
    }
}

/// Why a parser gives up: the rest of the sentence that begins with the file's name.
#[derive(Debug)]
pub(crate) struct Problem(String);

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self(problem)
    }
}
impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Self(problem.into())
    }
}
impl From<ReadError> for Problem {
    fn from(why: ReadError) -> Self {
        Self(why.to_string())
    }
}

/// An opened memory image.
pub struct Image {
    files: Vec<Arc<dyn Source>>,
    memory: Box<dyn Memory>,
    format: String,
    hints: Hints,
    warnings: Vec<String>,
}

/// Why an image cannot be opened: what, where and what to try, in one line.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path}: {problem}")]
    Format { path: String, problem: String },
}

impl Image {
    /// Opens a file, whose format is recognised by its content.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        match OnDisk::open(path) {
            Ok(file) => Self::over(&name, Arc::new(file)),
            Err(source) => Err(OpenError::File { path: name, source }),
        }
    }

    /// Opens an image that is part of the program.
    pub fn open_bytes(name: &str, bytes: &'static [u8]) -> Result<Self, OpenError> {
        Self::over(name, Arc::new(Embedded(bytes)))
    }

    fn over(name: &str, source: Arc<dyn Source>) -> Result<Self, OpenError> {
        let opened = detect::open(Arc::clone(&source));
        let Opened { memory, format, hints, warnings, mut files } =
            opened.map_err(|Problem(problem)| OpenError::Format { path: name.into(), problem })?;
        if files.is_empty() {
            files.push(source);
        }
        Ok(Self { files, memory, format, hints, warnings })
    }

    /// The name of the format and its variant, as an analyst would say it.
    pub fn format(&self) -> &str {
        &self.format
    }
    /// Bytes of the file, or of the files that make up the image.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.len()).sum()
    }
    /// The files that make up the image, as they lie on the disk.
    pub(crate) fn files(&self) -> &[Arc<dyn Source>] {
        &self.files
    }
    pub fn runs(&self) -> &[PhysRange] {
        self.memory.runs()
    }
    /// Whether the image has the bytes of an address.
    pub fn holds(&self, at: PhysAddr) -> bool {
        let runs = self.runs();
        let after = runs.partition_point(|run| run.start <= at);
        after.checked_sub(1).and_then(|index| runs.get(index)).is_some_and(|run| run.contains(at))
    }
    pub fn hints(&self) -> &Hints {
        &self.hints
    }
    /// What is wrong with the file though it could be opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
    /// What happened to the file since it was opened. Asked when a job starts: after a change the map is no longer touched.
    pub fn changed(&self) -> Option<String> {
        // Each is asked: the answer is also what stops the use of its map.
        self.files.iter().map(|file| file.changed()).fold(None, Option::or)
    }

    /// Copies physical memory. All of `out` or an error that names the first address which is missing.
    pub fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        self.memory.read(at, out)
    }
}
