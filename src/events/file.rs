//! Event logs as files: a header, then chunks of 64 KiB each. The header may be stale or gone; the chunks lie on their grid all the same.

use super::log::{CHUNK, CHUNK_MAGIC, Log};
use crate::facts::event::Event;
use crate::facts::{ReadError, Watch};
use crate::image::{OnDisk, Source as _};
use rayon::prelude::*;
use std::io;
use std::path::Path;

const FILE_MAGIC: &[u8; 8] = b"ElfFile\0";
/// Header size of every version there has been.
const HEADER: u64 = 4096;
/// Chunks that are read and taken apart at once.
const BATCH: usize = 64;

/// An event log file.
pub struct LogFile {
    file: OnDisk,
    name: String,
    first: u64,
}

impl LogFile {
    /// Whether a file is an event log, whatever its name is. Its own header may be wiped while its chunks are there.
    pub fn is_one(path: &Path) -> bool {
        OnDisk::open(path).is_ok_and(|file| first_chunk(&file).is_some())
    }

    pub fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let file = OnDisk::open(path)?;
        match first_chunk(&file) {
            Some(first) => Ok(Self { file, name, first }),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "not an event log: it has neither the header of one nor a chunk")),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
    pub(super) fn length(&self) -> u64 {
        self.file.len()
    }

    /// Shows all records, in batches and in the order of the file; `show` says whether to go on. Records that had to wait for the
    /// definitions of others come last.
    pub fn read(&self, watch: &Watch, mut show: impl FnMut(Vec<Event>) -> bool) -> Result<Vec<String>, ReadError> {
        let mut log = Log::default();
        if self.read_into(watch, &mut log, &mut show)? {
            let mut late = Vec::new();
            log.finish(&mut late);
            show(late);
        }
        Ok(log.tally.notes())
    }

    /// The same for a log that goes on elsewhere: who calls finishes it. Whether it was read to its end.
    pub(super) fn read_into(&self, watch: &Watch, log: &mut Log, mut show: impl FnMut(Vec<Event>) -> bool) -> Result<bool, ReadError> {
        let length = self.file.len();
        let mut buffer = vec![0; BATCH * CHUNK];
        let mut at = self.first;
        while at < length && !watch.cancelled() {
            watch.progress(at, length);
            let size = (length - at).min(buffer.len() as u64) as usize;
            let bytes = buffer.get_mut(..size).unwrap_or_default();
            self.file.read_at(at, bytes)?;
            let read = |(index, chunk): (usize, &[u8])| {
                let (mut log, mut events) = (Log::default(), Vec::new());
                let start = at + (index * CHUNK) as u64;
                // Most of a log that was made large is not yet written.
                if chunk.iter().any(|byte| *byte != 0) {
                    log.chunk(chunk, 0, &|offset| format!("{}:{:#x}", self.name, start + offset as u64), &mut events);
                }
                (log, events)
            };
            let done: Vec<(Log, Vec<Event>)> = bytes.par_chunks(CHUNK).enumerate().map(read).collect();
            for (part, events) in done {
                log.join(part);
                if !show(events) {
                    return Ok(false);
                }
            }
            at += size as u64;
        }
        Ok(!watch.cancelled())
    }
}

/// Where the first chunk is: after the header, or at the start of a file that has lost it.
fn first_chunk(file: &OnDisk) -> Option<u64> {
    let starts = |at: u64, magic: &[u8; 8]| {
        let mut bytes = [0; 8];
        file.read_at(at, &mut bytes).is_ok() && bytes == *magic
    };
    match (starts(0, FILE_MAGIC), starts(HEADER, CHUNK_MAGIC), starts(0, CHUNK_MAGIC)) {
        (true, _, _) | (_, true, _) => Some(HEADER),
        (_, _, true) => Some(0),
        _ => None,
    }
}
