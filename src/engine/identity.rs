//! Which image this is: from a sample of its bytes in no time, from all of them when somebody asks.

use super::{Error, Session};
use crate::facts::{Digest, Identity, Known, Time, Watch};
use crate::image::Source;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Pieces of each file that the sample is made of, evenly over it, and their length. An image is large and the sample must not cost
/// more than a moment even where each piece is fetched over a network.
const PIECES: u64 = 128;
const PIECE: usize = 4096;
/// Bytes between two looks at the watch.
const STEP: usize = 1 << 20;

impl Session {
    /// Which image this is. Reads half a mebibyte at most of each file.
    pub fn identity(&self) -> Identity {
        let files = self.0.image.files();
        let mut sum = Sha256::new();
        sum.update(b"kioku image 1");
        for file in files {
            sum.update(file.len().to_le_bytes());
            let last = file.len().saturating_sub(PIECE as u64);
            for piece in 0..PIECES {
                let at = u128::from(last) * u128::from(piece) / u128::from(PIECES - 1);
                // What cannot be read cannot be read next time either.
                sum.update(file.upto(at as u64, PIECE).unwrap_or_default());
            }
        }
        // Two images of one machine, taken one after the other, can agree in every piece.
        let info = self.info();
        let time = |time: &Known<Time>| time.value().map_or(0, |time| time.nanoseconds()).to_le_bytes();
        sum.update(time(&info.boot_time));
        sum.update(time(&info.capture_time));
        sum.update(info.kernel_base.0.to_le_bytes());
        sum.update(info.page_table_root.0.to_le_bytes());
        Identity {
            key: hexadecimal(&sum.finalize()),
            name: self.name().to_owned(),
            files: files.iter().filter_map(|file| file.path().map(Path::to_owned)).collect(),
        }
    }

    /// SHA-256 of each file of the image, read from end to end.
    pub fn digests(&self, watch: &Watch) -> Result<Vec<Digest>, Error> {
        let files = self.0.image.files();
        let total = self.0.image.size();
        let mut done = 0;
        let mut digests = Vec::new();
        let mut bytes = vec![0; STEP];
        for file in files {
            let name = name_of(file.as_ref(), self.name());
            let mut sum = Sha256::new();
            let mut at = 0;
            while at < file.len() {
                if watch.cancelled() {
                    return Err(Error("cancelled".to_owned()));
                }
                let length = usize::try_from(file.len() - at).unwrap_or(STEP).min(STEP);
                let piece = bytes.get_mut(..length).unwrap_or_default();
                file.read_at(at, piece).map_err(|why| Error(format!("{name}: {why}")))?;
                sum.update(&*piece);
                at += length as u64;
                done += length as u64;
                watch.progress(done, total);
            }
            if let Some(why) = file.changed() {
                return Err(Error(why));
            }
            digests.push(Digest { file: name, size: file.len(), sha256: hexadecimal(&sum.finalize()) });
        }
        Ok(digests)
    }

    /// Folders that hold a file of the image: evidence lies there, and nothing is put beside it unasked.
    pub fn folders(&self) -> Vec<PathBuf> {
        let files = self.0.image.files();
        files.iter().filter_map(|file| std::fs::canonicalize(file.path()?).ok()?.parent().map(Path::to_owned)).collect()
    }
}

fn name_of(file: &dyn Source, otherwise: &str) -> String {
    file.path().map_or_else(|| otherwise.to_owned(), |path| path.display().to_string())
}

fn hexadecimal(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}
