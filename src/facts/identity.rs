//! Which image it is, wherever its file lies and whatever it is called.

use std::path::PathBuf;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256, in hexadecimal, over the length of the files, a bounded sample of their bytes and what the image says of its
    /// machine: the same for a copy under another name, another one for the next image of the same machine.
    pub key: String,
    /// Name of the file, or of the bundled image.
    pub name: String,
    /// The files that make up the image; none for a bundled one.
    pub files: Vec<PathBuf>,
}

/// The sum of one file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    pub file: String,
    pub size: u64,
    pub sha256: String,
}
