//! Decompression of one block into a buffer of known length. The decoders' state is kept for each thread: making it anew costs more
//! than a page.

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::FrameDecoder;
use std::cell::RefCell;

thread_local! {
    static ZLIB: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static ZSTD: RefCell<FrameDecoder> = RefCell::new(FrameDecoder::new());
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends a buffer of the thread for compressed bytes.
pub(crate) fn with_buffer<T>(length: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    // Taken out while it is lent: the work may decompress on another floor.
    let mut buffer = BUFFER.take();
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let result = work(&mut buffer[..length]);
    BUFFER.set(buffer);
    result
}

/// Each gives None unless the input fills `out` exactly.
pub(crate) fn zlib(input: &[u8], out: &mut [u8]) -> Option<()> {
    ZLIB.with_borrow_mut(|zlib| {
        zlib.reset(true);
        let status = zlib.decompress(input, out, FlushDecompress::Finish).ok()?;
        (status == Status::StreamEnd && zlib.total_out() == out.len() as u64).then_some(())
    })
}

pub(crate) fn snappy(input: &[u8], out: &mut [u8]) -> Option<()> {
    let length = snap::raw::decompress_len(input).ok()?;
    (length == out.len() && snap::raw::Decoder::new().decompress(input, out).ok()? == length).then_some(())
}

pub(crate) fn zstd(input: &[u8], out: &mut [u8]) -> Option<()> {
    ZSTD.with_borrow_mut(|zstd| (zstd.decode_all(input, out).ok()? == out.len()).then_some(()))
}
