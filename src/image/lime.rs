//! LiME, version 1: a header and the bytes for each range of memory.

use super::flat::{Layout, Piece};
use super::source::Source;
use super::{Hints, Opened, Problem};
use std::sync::Arc;

pub(crate) const MAGIC: &[u8] = b"EMiL";
const HEADER: u64 = 32;

pub(crate) fn open(source: Arc<dyn Source>) -> Result<Opened, Problem> {
    let mut layout = Layout::new(&*source);
    let mut at = 0;
    while at < source.len() && !layout.full() {
        let (start, length) = match header(&*source, at) {
            Ok(range) => range,
            Err(problem) if at == 0 => return Err(problem),
            Err(Problem(problem)) => {
                layout.warn(format!("{problem}; what follows is not read"));
                break;
            }
        };
        layout.add(Piece { start, length, offset: at + HEADER });
        at = (at + HEADER).saturating_add(length);
    }
    let (memory, warnings) = layout.finish(source);
    Opened::new(memory, "LiME".into(), Hints::default(), warnings)
}

/// Magic, version, first and last address, 8 bytes reserved.
fn header(source: &dyn Source, at: u64) -> Result<(u64, u64), Problem> {
    let header: [u8; HEADER as usize] = source.array(at)?;
    let word = |from: usize| header[from..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if !header.starts_with(MAGIC) || header[4..8] != [1, 0, 0, 0] {
        return Err(format!("no LiME header of version 1 at offset {at:#x}").into());
    }
    let (first, last) = (word(8), word(16));
    let length = last.checked_sub(first).and_then(|length| length.checked_add(1));
    match length {
        Some(length) => Ok((first, length)),
        None => Err(format!("the LiME header at offset {at:#x} gives the range {first:#x} to {last:#x}").into()),
    }
}
