//! Physical bytes by address, whatever file they come from.
//!
//! Every reader copies out: no slice of the mapped file ever leaves `source.rs`. Formats are recognised by content, opened lazily
//! (the cost does not grow with the image) and give runs of physical memory; between the runs is nothing.

use crate::address::{PhysAddr, PhysRange};
use crate::facts::ReadError;
use std::path::Path;

mod source;

/// What the image's own headers tell about the machine: hints to be proved, never trusted.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Page-table roots (CR3) of the processors, as saved with the image.
    pub page_table_roots: Vec<PhysAddr>,
    /// The text of a VMCOREINFO note.
    pub vmcoreinfo: Option<String>,
}

/// A stretch of physical memory and how a format finds its bytes.
pub(crate) trait Memory: Send + Sync {
    /// Present physical memory: sorted, not overlapping, not adjacent, never empty.
    fn runs(&self) -> &[PhysRange];
    /// Copies bytes that lie within one run. All of `out` or an error.
    fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError>;
}

/// An opened memory image.
pub struct Image {
    memory: Box<dyn Memory>,
    format: String,
    size: u64,
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
        let _ = path;
        Err(OpenError::Format { path: path.display().to_string(), problem: "no format is known yet".into() })
    }

    /// The name of the format and its variant, as an analyst would say it.
    pub fn format(&self) -> &str {
        &self.format
    }
    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }
    pub fn runs(&self) -> &[PhysRange] {
        self.memory.runs()
    }
    pub fn hints(&self) -> &Hints {
        &self.hints
    }
    /// What is wrong with the file though it could be opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Copies physical memory. All of `out` or an error that names the first address which is missing.
    pub fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<(), ReadError> {
        let _ = (at, out);
        Err(ReadError::NotInImage(at))
    }
}
