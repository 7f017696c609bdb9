//! The bytes under an image: a file, or a file inside the program.
//!
//! Small reads copy out of a map, because page-table walks do millions of them and a system call each would be ten times as slow.
//! Large ones use `pread`, which needs no page tables and leaves no resident memory behind. Nothing lends a slice of the map: a file
//! that another program cuts short would turn that slice into a SIGBUS.

#![allow(unsafe_code)]

use crate::facts::ReadError;
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes by offset. Sources stack: a compressed or rearranged file is again a source.
pub(crate) trait Source: Send + Sync {
    fn len(&self) -> u64;
    /// Copies. All of `out` or an error that names the offset where the bytes end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), ReadError>;
    /// Where the file is, for formats that keep a part of the image in another file beside it.
    fn path(&self) -> Option<&Path> {
        None
    }
    /// What happened to the file since it was opened.
    fn changed(&self) -> Option<String> {
        None
    }
}

impl dyn Source + '_ {
    pub fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
    /// The bytes from `offset`, at most `most` of them; fewer where the file ends.
    pub fn upto(&self, offset: u64, most: usize) -> Result<Vec<u8>, ReadError> {
        let length = self.len().saturating_sub(offset).min(most as u64) as usize;
        let mut bytes = vec![0; length];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Bounds of a read, or the offset at which the bytes end.
fn within(length: u64, offset: u64, wanted: usize) -> Result<(), ReadError> {
    match offset.checked_add(wanted as u64) {
        Some(end) if end <= length => Ok(()),
        _ => Err(ReadError::File(offset.max(length))),
    }
}

/// A file that is part of the program.
pub(crate) struct Embedded(pub &'static [u8]);

impl Source for Embedded {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        within(self.len(), offset, out.len())?;
        let start = offset as usize;
        let bytes = self.0.get(start..start + out.len()).ok_or(ReadError::File(offset))?;
        out.copy_from_slice(bytes);
        Ok(())
    }
}

/// A file on disk.
pub(crate) struct OnDisk {
    file: File,
    path: PathBuf,
    opened: Identity,
    map: Option<Map>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    length: u64,
    modified: (i64, i64),
    file: (u64, u64),
}

impl From<&Metadata> for Identity {
    fn from(of: &Metadata) -> Self {
        Self { length: of.len(), modified: (of.mtime(), of.mtime_nsec()), file: (of.dev(), of.ino()) }
    }
}

impl OnDisk {
    pub fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for its writer.
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        match std::fs::metadata(path)?.file_type() {
            kind if kind.is_dir() => return refuse("a folder, not a memory image; name a file in it"),
            kind if !kind.is_file() => return refuse("a device or pipe, not a file; copy the memory to a file first"),
            _ => {}
        }
        let file = File::open(path)?;
        let opened = Identity::from(&file.metadata()?);
        let map = Map::new(&file, opened.length);
        Ok(Self { file, path: path.to_owned(), opened, map })
    }

    fn pread(&self, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            match self.file.read_at(&mut out[done..], at) {
                Ok(0) => return Err(ReadError::File(at)),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(ReadError::File(at)),
            }
        }
        Ok(())
    }
}

impl Source for OnDisk {
    fn len(&self) -> u64 {
        self.opened.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        within(self.opened.length, offset, out.len())?;
        match &self.map {
            Some(map) if out.len() < LARGE && map.copy(offset, out) => Ok(()),
            _ => self.pread(offset, out),
        }
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn changed(&self) -> Option<String> {
        let path = self.path.display();
        let now = match self.file.metadata() {
            Ok(now) => Identity::from(&now),
            Err(error) => return Some(format!("{path} can no longer be examined: {error}")),
        };
        if now != self.opened {
            // Its pages may be gone: from here on only calls that can fail touch the file.
            if let Some(map) = &self.map {
                map.trusted.store(false, Ordering::Relaxed);
            }
            let (was, is) = (self.opened.length, now.length);
            return Some(if was == is {
                format!("{path} was written to since it was opened")
            } else {
                format!("{path} changed its length since it was opened: {was} bytes then, {is} now")
            });
        }
        match std::fs::metadata(&self.path) {
            Ok(there) if Identity::from(&there).file == self.opened.file => None,
            Ok(_) => Some(format!("{path} was replaced by another file since it was opened; the first one is still read")),
            Err(error) => Some(format!("{path} is no longer there ({error}); the opened file is still read")),
        }
    }
}

/// From this length on `pread` is as fast as the map.
const LARGE: usize = 64 * 1024;

/// What is brought in at the first touch: walks look here and there, and the system reads ahead by itself.
const GRANULE: u64 = 16 * 1024;

/// A map of the whole file, touched only where the kernel has said that the bytes can be read.
struct Map {
    map: MmapRaw,
    length: u64,
    /// One bit for each granule that was populated.
    populated: Box<[AtomicU64]>,
    trusted: AtomicBool,
}

impl Map {
    /// None where the file cannot be mapped, or the kernel cannot populate (before Linux 5.14).
    fn new(file: &File, length: u64) -> Option<Self> {
        if length == 0 || !populate::is_supported() {
            return None;
        }
        let map = MmapOptions::new().len(usize::try_from(length).ok()?).map_raw_read_only(file).ok()?;
        let words = length.div_ceil(GRANULE).div_ceil(64);
        let populated = (0..words).map(|_| AtomicU64::new(0)).collect();
        Some(Self { map, length, populated, trusted: AtomicBool::new(true) })
    }

    /// Copies bytes that lie within the file; false where the map cannot give them.
    #[inline]
    fn copy(&self, offset: u64, out: &mut [u8]) -> bool {
        let (Some(last), true) = ((out.len() as u64).checked_sub(1), self.trusted.load(Ordering::Relaxed)) else {
            return out.is_empty();
        };
        if !(offset / GRANULE..=(offset + last) / GRANULE).all(|granule| self.populate(granule)) {
            return false;
        }
        // SAFETY: the caller has checked that `offset + out.len()` is within the mapped length, so the source is inside one live
        // mapping; `out` is ordinary memory that cannot overlap it. No reference to mapped bytes is made, so a writer elsewhere can
        // only change what is copied. The pages were populated: a file that is cut short after that is noticed by `changed`, and
        // between the cut and that look a touch may still fault.
        unsafe { std::ptr::copy_nonoverlapping(self.map.as_ptr().add(offset as usize), out.as_mut_ptr(), out.len()) };
        true
    }

    #[inline]
    fn populate(&self, granule: u64) -> bool {
        let Some(word) = self.populated.get((granule / 64) as usize) else { return false };
        let bit = 1 << (granule % 64);
        word.load(Ordering::Relaxed) & bit != 0 || self.bring_in(granule, word, bit)
    }

    #[cold]
    fn bring_in(&self, granule: u64, word: &AtomicU64, bit: u64) -> bool {
        let start = granule * GRANULE;
        let length = GRANULE.min(self.length - start);
        let there = populate::range(&self.map, start as usize, length as usize);
        if there {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        there
    }
}

impl Drop for Map {
    /// To unmap pages takes about as long as to bring them in: two threads do it.
    fn drop(&mut self) {
        let middle = (self.length / 2 / GRANULE * GRANULE) as usize;
        let give_back = |start, length| {
            // SAFETY: both ranges are within the mapping, which nobody reads any more; pages of a file have nothing to lose.
            unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, length) }
        };
        _ = rayon::join(|| give_back(0, middle), || give_back(middle, self.map.len() - middle));
    }
}

/// Asks the kernel to bring pages in, and to say so where it cannot.
#[cfg(target_os = "linux")]
mod populate {
    use memmap2::{Advice, MmapRaw};

    pub fn is_supported() -> bool {
        Advice::PopulateRead.is_supported()
    }
    pub fn range(map: &MmapRaw, start: usize, length: usize) -> bool {
        map.advise_range(Advice::PopulateRead, start, length).is_ok()
    }
}

/// Other kernels have no such call: there the file is read with `pread` alone.
#[cfg(not(target_os = "linux"))]
mod populate {
    use memmap2::MmapRaw;

    pub fn is_supported() -> bool {
        false
    }
    pub fn range(_: &MmapRaw, _: usize, _: usize) -> bool {
        false
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn reads_agree_whatever_their_size() {
        let bytes: Vec<u8> = (0..300_001u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let file = file(&bytes);
        let source = OnDisk::open(file.path()).unwrap();
        for (start, length) in [(0, 8), (65_530, 12), (1, 65_535), (0, 300_001), (300_000, 1), (300_001, 0), (65_536, 131_072)] {
            let mut out = vec![0; length];
            source.read_at(start as u64, &mut out).unwrap();
            assert_eq!(out, &bytes[start..start + length]);
        }
        let mut out = [0; 8];
        assert_eq!(source.read_at(300_000, &mut out), Err(ReadError::File(300_001)));
        assert_eq!(source.read_at(u64::MAX, &mut out), Err(ReadError::File(u64::MAX)));
        assert_eq!(source.changed(), None);
    }

    #[test]
    fn a_file_cut_before_its_first_touch_is_an_error() {
        let file = file(&[1; 400_000]);
        let source = OnDisk::open(file.path()).unwrap();
        file.as_file().set_len(5000).unwrap();
        let mut out = [0; 8];
        assert_eq!(source.read_at(200_000, &mut out), Err(ReadError::File(200_000)));
        let mut out = vec![0; 300_000];
        assert_eq!(source.read_at(0, &mut out), Err(ReadError::File(5000)));
    }

    #[test]
    fn a_file_cut_after_its_first_touch_is_noticed() {
        let file = file(&[1; 400_000]);
        let source = OnDisk::open(file.path()).unwrap();
        let mut out = [0; 8];
        source.read_at(200_000, &mut out).unwrap();
        file.as_file().set_len(5000).unwrap();
        assert!(source.changed().unwrap().contains("400000 bytes then, 5000 now"));
        assert_eq!(source.read_at(200_000, &mut out), Err(ReadError::File(200_000)));
        assert_eq!(source.read_at(0, &mut out), Ok(()));
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, [1; 5000]).unwrap();
        let source = OnDisk::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(source.changed().unwrap().contains("no longer there"));
        std::fs::write(folder.path().join("other"), [2; 5000]).unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(source.changed().is_some());
    }

    #[test]
    fn folders_and_absent_files_are_refused() {
        assert!(OnDisk::open(&std::env::temp_dir()).is_err());
        assert!(OnDisk::open(Path::new("/no/such/file")).is_err());
    }
}
