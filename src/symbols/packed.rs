//! Compressed symbol files, unpacked within bounds.

use std::borrow::Cow;
use std::io::Read;

/// The most that any symbol file may hold when unpacked; the largest in use are near 200 MiB.
const MAX_UNPACKED: u64 = 512 << 20;
/// The largest dictionary or window that a stream may ask for.
const MAX_WINDOW: u64 = 256 << 20;

const XZ: &[u8] = b"\xfd7zXZ\0";
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// The contents of a file that may be compressed with xz, gzip or zstd; as it is, if it is not.
pub fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    if bytes.starts_with(XZ) {
        if xz_dictionary(bytes).is_none_or(|size| size > MAX_WINDOW) {
            return Err("the xz stream is damaged or asks for too much memory");
        }
        return read_all(lzma_rust2::XzReader::new(bytes, true), bytes.len(), MAX_UNPACKED, "the xz stream is damaged").map(Cow::Owned);
    }
    if bytes.starts_with(GZIP) {
        let gzip = flate2::read::MultiGzDecoder::new(bytes);
        return read_all(gzip, bytes.len(), MAX_UNPACKED, "the gzip stream is damaged").map(Cow::Owned);
    }
    if bytes.starts_with(ZSTD) {
        return zstd(bytes, MAX_UNPACKED).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(bytes))
}

/// Whether a file is compressed, by its first bytes.
pub fn is_packed(start: &[u8]) -> bool {
    [XZ, GZIP, ZSTD].iter().any(|magic| start.starts_with(magic))
}

/// The contents of a zlib stream whose size is known beforehand, as in sections of an ELF file.
pub fn zlib(bytes: &[u8], size: u64) -> Result<Vec<u8>, &'static str> {
    read_all(flate2::read::ZlibDecoder::new(bytes), bytes.len(), size, "a compressed section is damaged")
}

pub fn zstd(bytes: &[u8], most: u64) -> Result<Vec<u8>, &'static str> {
    let damaged = "the zstd stream is damaged";
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    let mut rest = bytes;
    let stream = ruzstd::decoding::StreamingDecoder::new_with_decoder(&mut rest, decoder).map_err(|_| damaged)?;
    read_all(stream, bytes.len(), most, damaged)
}

fn read_all(stream: impl Read, packed: usize, most: u64, damaged: &'static str) -> Result<Vec<u8>, &'static str> {
    // The first guess costs address space only; what is not used goes back.
    let mut bytes = Vec::with_capacity(packed.saturating_mul(8).min(64 << 20).min(most as usize));
    stream.take(most + 1).read_to_end(&mut bytes).map_err(|_| damaged)?;
    if bytes.len() as u64 > most {
        return Err("the file is too large when unpacked");
    }
    Ok(bytes)
}

/// The dictionary which the first block of an xz file asks for; the decoder allocates it before it has read anything (xz file format,
/// 3.1 and 5.3.1).
fn xz_dictionary(bytes: &[u8]) -> Option<u64> {
    let header = bytes.get(12..)?;
    let length = (usize::from(*header.first()?) + 1) * 4;
    let header = header.get(..length)?;
    let flags = *header.get(1)?;
    let mut at = 2;
    let number = |at: &mut usize| -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = *header.get(*at)?;
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    // Packed and unpacked size, where flags say that they are there.
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            number(&mut at)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (filter, size) = (number(&mut at)?, usize::try_from(number(&mut at)?).ok()?);
        let properties = header.get(at..at.checked_add(size)?)?;
        at += size;
        if filter == 0x21 {
            let bits = u32::from(*properties.first()?);
            return match bits {
                0..40 => Some(u64::from(2 | bits & 1) << (bits / 2 + 11)),
                _ => Some(u64::MAX),
            };
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn each_format_is_unpacked() {
        let text = b"kioku ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&text).unwrap();
        assert_eq!(unpack(&gzip.finish().unwrap()).unwrap(), text);
        assert_eq!(unpack(&text).unwrap(), text);
        let zstd = ruzstd::encoding::compress_to_vec(text.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(unpack(&zstd).unwrap(), text);
        assert!(super::zstd(&zstd, 100).is_err());
        // printf x | xz
        let xz = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\0x\0\0\0\0\
            \x45\xae\xef\x83\xf8\xee\x16\x0a\0\x01\x19\x01\xa5\x2c\x81\xcc\x1f\xb6\xf3\x7d\x01\0\0\0\0\x04YZ";
        assert_eq!(xz_dictionary(xz), Some(8 << 20));
        assert_eq!(unpack(xz).unwrap().as_ref(), b"x");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(format in 0_usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let file: Vec<u8> = [XZ, GZIP, ZSTD][format].iter().copied().chain(bytes).collect();
            let _ = unpack(&file);
        }
    }
}
