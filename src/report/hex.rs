//! Memory as people read it: 16 bytes a row, `??` for those that are missing, and where each page comes from.

use crate::address::PAGE_SIZE;
use crate::engine::{Bytes, Space};
use crate::facts::{PageOrigin, ReadError};
use std::fmt::Write as _;
use std::io::{self, Write};

const ROW: usize = 16;

/// Writes a dump piece by piece; what one piece ends with decides what the next needs to say.
pub struct HexDump {
    physical: bool,
    digits: usize,
    /// Where the next byte lies if the memory so far goes on, or why the bytes so far are missing.
    goes_on: Option<Result<PageOrigin, ReadError>>,
    /// Rows without a single byte are left out after the first.
    folding: bool,
}

impl HexDump {
    /// A dump of memory up to `last`, which sets the width of the address column.
    pub fn new(space: Space, last: u64) -> Self {
        let digits = format!("{last:x}").len().max(8);
        Self { physical: space == Space::Physical, digits, goes_on: None, folding: false }
    }

    /// Writes bytes that follow those written before; all but the last piece hold whole rows.
    pub fn write(&mut self, bytes: &Bytes, out: &mut dyn Write) -> io::Result<()> {
        let mut text = String::with_capacity(bytes.data.len() * 5 + 256);
        let mut pieces = bytes.pieces.iter().peekable();
        // The present bytes of the row at hand, with their index in it.
        for (row, data) in bytes.data.chunks(ROW).enumerate() {
            let start = bytes.start.wrapping_add((row * ROW) as u64);
            let mut values = [None; ROW];
            let mut at = 0;
            while at < data.len() {
                let address = start.wrapping_add(at as u64);
                while pieces.next_if(|piece| address.wrapping_sub(piece.address) >= piece.length as u64).is_some() {}
                let Some(piece) = pieces.peek() else { break };
                let into = address.wrapping_sub(piece.address);
                if into == 0 {
                    self.origin(address, piece.origin, piece.length, &mut text);
                }
                let length = (piece.length - into as usize).min(data.len() - at);
                if piece.origin.is_ok() {
                    for (value, byte) in values.iter_mut().zip(data).skip(at).take(length) {
                        *value = Some(*byte);
                    }
                }
                at += length;
            }
            self.row(start, &values, data.len(), &mut text);
        }
        out.write_all(text.as_bytes())
    }

    /// Says where a page comes from, unless it is where the page before made one expect it.
    fn origin(&mut self, address: u64, origin: Result<PageOrigin, ReadError>, length: usize, text: &mut String) {
        let expected = match (self.goes_on, origin) {
            (Some(Ok(next)), Ok(now)) => next == now,
            (None, Ok(_)) => self.physical,
            (Some(Err(before)), Err(now)) => std::mem::discriminant(&before) == std::mem::discriminant(&now),
            (Some(Err(_)), Ok(_)) | (Some(Ok(_)) | None, Err(_)) => false,
        };
        if !expected {
            self.folding = false;
            // Writing to a String cannot fail.
            _ = match origin {
                Ok(_) if self.physical => writeln!(text, "-- {address:#x}"),
                Ok(PageOrigin::Zero) => writeln!(text, "-- {address:#x} was never written: zeros"),
                Ok(backing) => writeln!(text, "-- {address:#x} lies at {backing}"),
                Err(why) => writeln!(text, "-- {address:#x} is missing: {why}"),
            };
        }
        self.goes_on = Some(origin.map(|backing| following(backing, address, length as u64)));
    }

    fn row(&mut self, start: u64, values: &[Option<u8>; ROW], length: usize, text: &mut String) {
        let (values, _) = values.split_at(length.min(ROW));
        let missing = values.iter().all(Option::is_none);
        if missing && length == ROW {
            if self.folding {
                return;
            }
            self.folding = true;
        } else {
            self.folding = false;
        }
        _ = write!(text, "{start:0digits$x} ", digits = self.digits);
        for column in 0..ROW {
            if column % 8 == 0 {
                text.push(' ');
            }
            _ = match values.get(column) {
                Some(Some(byte)) => write!(text, "{byte:02x} "),
                Some(None) => text.write_str("?? "),
                None => text.write_str("   "),
            };
        }
        text.push_str(" |");
        text.extend(values.iter().map(|value| match value {
            Some(byte @ b' '..=b'~') => char::from(*byte),
            Some(_) => '.',
            None => '?',
        }));
        text.push_str(if self.folding { "|\n*\n" } else { "|\n" });
    }
}

/// Where memory that goes on in the same way is after so many bytes.
fn following(backing: PageOrigin, address: u64, length: u64) -> PageOrigin {
    match backing {
        PageOrigin::Pagefile { number, page } => {
            let into = u64::from(address.wrapping_add(length).is_multiple_of(PAGE_SIZE));
            PageOrigin::Pagefile { number, page: page.wrapping_add(into) }
        }
        other => other.offset(length),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::{PhysAddr, VirtAddr};
    use crate::engine::Piece;

    fn dump(space: Space, parts: &[Bytes]) -> String {
        let last = parts.last().map_or(0, |part| part.start + part.data.len() as u64);
        let (mut dump, mut out) = (HexDump::new(space, last), Vec::new());
        for part in parts {
            dump.write(part, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn piece(address: u64, length: usize, origin: Result<u64, ReadError>) -> Piece {
        Piece { address, length, origin: origin.map(|at| PageOrigin::Ram(PhysAddr(at))) }
    }

    #[test]
    fn a_row_over_two_pages_of_which_one_is_missing() {
        let data: Vec<u8> = (0x38..0x58).collect();
        let missing = ReadError::NotMapped(VirtAddr(0x2000));
        let pieces = vec![piece(0x1ff8, 8, Ok(0x7ff8)), piece(0x2000, 24, Err(missing))];
        let text = dump(Space::Kernel, &[Bytes { start: 0x1ff8, data, pieces }]);
        let expected = "\
-- 0x1ff8 lies at physical 0x7ff8
-- 0x2000 is missing: 0x2000 is not mapped
00001ff8  38 39 3a 3b 3c 3d 3e 3f  ?? ?? ?? ?? ?? ?? ?? ??  |89:;<=>?????????|
00002008  ?? ?? ?? ?? ?? ?? ?? ??  ?? ?? ?? ?? ?? ?? ?? ??  |????????????????|
*
";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_holes_are_folded_over_steps_and_the_end_is_shown() {
        let missing = |at| Err(ReadError::NotInImage(PhysAddr(at)));
        let hole = |start| Bytes { start, data: vec![0; 4096], pieces: vec![piece(start, 4096, missing(start))] };
        let end = Bytes { start: 0x3000, data: vec![0x41; 5], pieces: vec![piece(0x3000, 5, Ok(0x3000))] };
        let text = dump(Space::Physical, &[hole(0x1000), hole(0x2000), end]);
        let expected = "\
-- 0x1000 is missing: physical page 0x1000 is not in the image
00001000  ?? ?? ?? ?? ?? ?? ?? ??  ?? ?? ?? ?? ?? ?? ?? ??  |????????????????|
*
-- 0x3000
00003000  41 41 41 41 41                                    |AAAAA|
";
        assert_eq!(text, expected);
    }

    #[test]
    fn pages_that_follow_each_other_need_no_word() {
        let part = |start: u64| Bytes { start, data: vec![0; 16], pieces: vec![piece(start, 16, Ok(start + 0x100))] };
        let text = dump(Space::Kernel, &[part(0x1000), part(0x1010)]);
        assert_eq!(text.matches("--").count(), 1, "{text}");
        assert!(!dump(Space::Physical, &[part(0x1000)]).contains("--"));
    }
}
