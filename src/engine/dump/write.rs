//! One file written: its bytes brought together, and what is missing noted.

use super::targets::Target;
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::engine::{Error, Session, System};
use crate::facts::{Content, Dumped, Hole, Known, PageOrigin, Part, Place, ReadError, Watch};
use crate::paging::AddressSpace;
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
        let mut reader = Reader { system: self.system(), space: &target.space, content: &target.content, row: &mut target.row };
        reader.locate();
        let mut cut = false;
        while done < length && !watch.cancelled() {
            bytes.clear();
            bytes.resize(usize::try_from(length - done).unwrap_or(STEP).min(STEP), 0);
            reader.fill(done, &mut bytes);
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
        let row = &mut target.row;
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

/// Brings the bytes of a file together and notes what is missing.
struct Reader<'a> {
    system: &'a System,
    space: &'a AddressSpace,
    content: &'a Content,
    row: &'a mut Dumped,
}

impl Reader<'_> {
    /// Says where the first byte lies in physical memory.
    fn locate(&mut self) {
        let Some(Part { offset: 0, place, .. }) = self.content.parts().first() else { return };
        let found = match place {
            Place::Memory(at) | Place::Changed(at, _) => self.space.backing(*at).map(|page| page.offset(at.in_page())),
            Place::Entries(entry) => self.shared(*entry),
            Place::Frames(at) => Ok(PageOrigin::Ram(*at)),
        };
        self.row.physical_address = found.ok().and_then(PageOrigin::physical).into();
    }

    fn shared(&self, entry: VirtAddr) -> Result<PageOrigin, ReadError> {
        match self.system {
            System::Windows(windows) => windows.shared_page(entry),
            System::Linux(_) => Err(ReadError::NotMapped(entry)),
        }
    }

    /// Fills `out` with the bytes from an offset on; those that are missing stay zero.
    fn fill(&mut self, start: u64, out: &mut [u8]) {
        let end = start + out.len() as u64;
        let mut at = start;
        let parts = self.content.parts();
        let first = parts.partition_point(|part| part.end() <= start);
        for part in parts.iter().skip(first).take_while(|part| part.offset < end) {
            self.gap(at, part.offset);
            at = at.max(part.offset);
            while at < part.end().min(end) {
                let rest = out.get_mut((at - start) as usize..(part.end().min(end) - start) as usize).unwrap_or_default();
                at += self.piece(part, at, rest).max(1);
            }
        }
        self.gap(at, end);
    }

    /// Reads what one page has of a part; its length.
    fn piece(&mut self, part: &Part, at: u64, out: &mut [u8]) -> u64 {
        let into = at - part.offset;
        let page = |address: u64, out: &[u8]| ((PAGE_SIZE - address % PAGE_SIZE) as usize).min(out.len());
        let (length, address, read) = match &part.place {
            Place::Memory(first) => {
                let address = first.offset(into);
                let length = page(address.0, out);
                (length, Some(address.0), self.space.read_in_page(address, &mut out[..length]).map_err(|why| why.to_string()))
            }
            Place::Frames(first) => {
                let address = first.offset(into);
                let length = page(address.0, out);
                let read = self.space.read_backing(PageOrigin::Ram(address), VirtAddr(0), &mut out[..length]);
                (length, None, read.map_err(|why| why.to_string()))
            }
            Place::Entries(first) => {
                let entry = first.offset(into / PAGE_SIZE * 8);
                let length = page(into, out);
                let found = self.shared(entry);
                let read = found.and_then(|found| self.space.read_backing(found, VirtAddr(into % PAGE_SIZE), &mut out[..length]));
                let told = |why| match why {
                    ReadError::NotMapped(_) | ReadError::InMappedFile(_) => format!("not in memory; its prototype entry is at {entry}"),
                    other => other.to_string(),
                };
                (length, None, read.map_err(told))
            }
            Place::Changed(first, bytes) => {
                let bytes = usize::try_from(into).ok().and_then(|into| bytes.get(into..)).unwrap_or_default();
                let length = bytes.len().min(out.len());
                out[..length].copy_from_slice(&bytes[..length]);
                let read = if length > 0 { Ok(PageOrigin::Zero) } else { Err("never read".to_owned()) };
                (length.max(1), Some(first.offset(into).0), read)
            }
        };
        match read {
            Ok(_) => self.row.present += length as u64,
            Err(why) => {
                out[..length].fill(0);
                self.hole(at, length as u64, address, why);
            }
        }
        length as u64
    }

    /// What no part covers.
    fn gap(&mut self, from: u64, to: u64) {
        if from < to {
            let why = match self.content.kind {
                "executable" | "library" | "module" => "a part of the file that is never mapped",
                _ => "not in memory",
            };
            self.hole(from, to - from, None, why.to_owned());
        }
    }

    /// Notes a hole, or lets the last one grow.
    fn hole(&mut self, offset: u64, length: u64, start: Option<u64>, reason: String) {
        let holes = &mut self.row.holes;
        let many = holes.len() >= MOST_HOLES;
        match holes.last_mut() {
            Some(last) if last.offset + last.length == offset => last.length += length,
            Some(_) if many => {
                let more = "more holes than are listed";
                if !self.row.problems.iter().any(|problem| problem == more) {
                    self.row.problems.push(more.to_owned());
                }
            }
            _ => holes.push(Hole { offset, length, start, reason }),
        }
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
    use crate::address::PhysAddr;
    use crate::engine::dump::targets::MOST_LENGTH;
    use crate::facts::Origin;
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
