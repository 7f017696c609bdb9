//! One file written: its bytes brought together, and what is missing noted.

use super::targets::Target;
use crate::engine::{Error, Session};
use crate::facts::{Dumped, Hole, Known, PageOrigin, Watch};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

const STEP: usize = 1 << 20;
/// Holes of one file that are listed one by one.
const MOST_HOLES: usize = 1 << 16;

impl Session {
    /// Writes one file and fills its row. False where it was stopped by the user; the file then ends early.
    pub(super) fn write(
        &self,
        target: &mut Target,
        path: &Path,
        budget: &mut u64,
        progress: &mut dyn FnMut(u64),
        watch: &Watch,
    ) -> Result<bool, Error> {
        let mut file = create(path)?;
        let length = target.row.length;
        let (mut sum, mut short) = (Sha256::new(), Md5::new());
        let mut done = 0;
        let mut bytes = Vec::new();
        let contents = self.contents(&target.space, &target.content);
        let row = &mut target.row;
        row.physical_address = contents.origin(0).and_then(PageOrigin::physical).into();
        let mut cut = false;
        while done < length && !watch.cancelled() {
            bytes.clear();
            bytes.resize(usize::try_from(length - done).unwrap_or(STEP).min(STEP), 0);
            let mut missing = 0;
            contents.fill(done, &mut bytes, &mut |hole| {
                missing += hole.length;
                note(row, hole);
            });
            row.present += bytes.len() as u64 - missing;
            // What is zero takes no room on the disk.
            let blank = bytes.iter().all(|byte| *byte == 0);
            if !blank && *budget < bytes.len() as u64 {
                cut = true;
                break;
            }
            sum.update(&bytes);
            short.update(&bytes);
            let written = if blank {
                i64::try_from(bytes.len()).map_err(io::Error::other).and_then(|length| file.seek(SeekFrom::Current(length))).map(drop)
            } else {
                *budget -= bytes.len() as u64;
                file.write_all(&bytes)
            };
            written.map_err(|why| failed(path, &why))?;
            done += bytes.len() as u64;
            progress(done);
        }
        file.set_len(done).map_err(|why| failed(path, &why))?;
        if cut {
            row.problems
                .push(format!("cut at {done:#x}: more than the machine's memory holds was written already; pages are mapped many times"));
        }
        row.length = done;
        row.sha256 = Known::Value(letters(&sum.finalize()));
        row.md5 = Known::Value(letters(&short.finalize()));
        Ok(done == length || cut)
    }
}

fn letters(sum: &[u8]) -> String {
    sum.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Notes a hole, or lets the last one grow.
fn note(row: &mut Dumped, hole: Hole) {
    let holes = &mut row.holes;
    let many = holes.len() >= MOST_HOLES;
    match holes.last_mut() {
        Some(last) if last.offset + last.length == hole.offset => last.length += hole.length,
        Some(_) if many => {
            let more = "more holes than are listed";
            if !row.problems.iter().any(|problem| problem == more) {
                row.problems.push(more.to_owned());
            }
        }
        _ => holes.push(hole),
    }
}

/// A new file. `create_new` neither writes over what is there nor follows a link that lies in wait.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => Error(format!("{}: exists already and is not written over; name another folder", path.display())),
        _ => failed(path, &why),
    })
}

pub(super) fn failed(path: &Path, why: &io::Error) -> Error {
    Error(format!("{}: {why}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::{PhysAddr, VirtAddr};
    use crate::engine::dump::targets::MOST_LENGTH;
    use crate::facts::{Content, Origin, Part, Place};
    use std::sync::Arc;

    /// The bundled image, with a file made of it.
    fn dumped(content: Content, budget: u64) -> (Dumped, Vec<u8>, u64) {
        let session = Session::demo(Origin::Linux, &Watch::default()).unwrap();
        let space = Arc::new(session.system().space().physical());
        let mut target = Target::new("one".to_owned(), &space, content);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.bin");
        let mut left = budget;
        assert!(session.write(&mut target, &path, &mut left, &mut |_| (), &Watch::default()).unwrap());
        assert!(session.write(&mut target, &path, &mut left, &mut |_| (), &Watch::default()).is_err(), "written over");
        let bytes = std::fs::read(&path).unwrap();
        (target.row, bytes, left)
    }

    #[test]
    fn files_are_cut_where_sizes_lie_and_memory_is_mapped_many_times() {
        let start = VirtAddr(0);
        let part = |offset, length, place| Part { offset, length, place };
        let changed = || Place::Changed(start, vec![7; 16]);
        let wild = Content {
            size: Known::Value(1 << 62),
            ..Content::new("library", vec![part(0, 16, changed()), part(0x1000, 0, Place::Memory(start))])
        };
        let (row, bytes, _) = dumped(wild, 1 << 20);
        assert_eq!((row.length, row.size, row.present, bytes), (16, Known::Value(1 << 62), 16, vec![7; 16]));
        assert!(row.problems[0].contains("cut"), "{:?}", row.problems);

        let far = Content { size: Known::Value(1 << 62), ..Content::new("data_section", vec![part(1 << 61, 16, changed())]) };
        let space = Arc::new(Session::demo(Origin::Linux, &Watch::default()).unwrap().system().space().physical());
        assert_eq!(Target::new("far".to_owned(), &space, far).row.length, MOST_LENGTH);

        let frames = (0..64).map(|index| part(index << 16, 16, changed())).collect();
        let (row, bytes, left) = dumped(Content::new("cache_map", frames), 3 << 20);
        assert!(row.length == 3 << 20 && bytes.len() == 3 << 20 && left == 0, "{:#x} {left:#x}", row.length);
        assert!(row.problems[0].contains("mapped many times"), "{:?}", row.problems);
    }

    #[test]
    fn holes_are_told_with_their_places() {
        let nowhere = PhysAddr(1 << 50);
        let parts = vec![
            Part { offset: 0x10, length: 0x10, place: Place::Changed(VirtAddr(0x5000), vec![1; 0x10]) },
            Part { offset: 0x1000, length: 0x1800, place: Place::Frames(nowhere) },
            Part { offset: 0x4000, length: 0x1000, place: Place::Memory(VirtAddr(1 << 50)) },
            Part { offset: 0x5000, length: 8, place: Place::Entries(VirtAddr(0x100)) },
        ];
        let (row, bytes, _) = dumped(Content { size: Known::Value(0x6000), ..Content::new("library", parts) }, 1 << 20);
        assert_eq!((bytes.len(), row.present), (0x6000, 0x10));
        let holes: Vec<_> = row.holes.iter().map(|hole| (hole.offset, hole.length, hole.start)).collect();
        assert_eq!(holes, [(0, 0x10, None), (0x20, 0x5fe0, None)]);
        assert!(row.holes[1].reason.contains("never mapped"));
        assert_eq!(row.holes.iter().map(|hole| hole.length).sum::<u64>() + row.present, row.length);
    }
}
