//! Strings and times as Windows keeps them.

use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{ReadError, Time};
use crate::paging::AddressSpace;
use crate::symbols::Object;

/// A FILETIME: 100 ns units since 1601. None for zero, which stands for never.
pub fn filetime(units: u64) -> Option<Time> {
    Time::from_filetime(units)
}

/// A _UNICODE_STRING.
pub fn unicode(string: &Object<'_>) -> Result<String, ReadError> {
    counted(string.context().space, string)
}

/// A _UNICODE_STRING whose buffer lies in another space, such as a process's own.
pub fn counted(space: &AddressSpace, string: &Object<'_>) -> Result<String, ReadError> {
    let length = string.uint("Length")?;
    let buffer = string.pointer("Buffer")?;
    if length == 0 {
        return Ok(String::new());
    }
    if buffer.is_null() || length % 2 != 0 {
        return Err(ReadError::Implausible("UNICODE_STRING"));
    }
    let text = read_wide(space, buffer, length as usize)?;
    // What was overwritten in the kernel holds pointers, whose upper ends are no letters.
    let overwritten = |word: &[u8; 8]| word[6..] == [0xff; 2] && word[5] & 0x80 != 0;
    if buffer.is_kernel() && text.as_chunks::<8>().0.iter().any(overwritten) {
        return Err(ReadError::Implausible("text"));
    }
    Ok(utf16(&text))
}

/// UTF-16 text of a length in bytes.
pub fn wide(space: &AddressSpace, at: VirtAddr, bytes: usize) -> Result<String, ReadError> {
    read_wide(space, at, bytes).map(|text| utf16(&text))
}

/// At most 64 KiB, which is all that a UNICODE_STRING can hold.
fn read_wide(space: &AddressSpace, at: VirtAddr, bytes: usize) -> Result<Vec<u8>, ReadError> {
    let mut text = vec![0; bytes.min(1 << 16)];
    space.read(at, &mut text)?;
    Ok(text)
}

/// UTF-16 text up to its first NUL, of `most` units at most; an error where no NUL is among them.
pub fn terminated(space: &AddressSpace, at: VirtAddr, most: usize) -> Result<String, ReadError> {
    let mut text = Vec::new();
    while text.len() < most * 2 {
        let at = at.offset(text.len() as u64);
        // The pages after the one with the NUL need not be there. A letter may stand in two.
        let piece = ((PAGE_SIZE - at.in_page()) as usize).next_multiple_of(2).min(most * 2 - text.len());
        let start = text.len();
        text.resize(start + piece, 0);
        space.read(at, &mut text[start..])?;
        if let Some(end) = text[start..].chunks_exact(2).position(|unit| unit == [0, 0]) {
            return Ok(utf16(&text[..start + end * 2]));
        }
    }
    Err(ReadError::Implausible("text without an end"))
}

/// Text that somebody wrote: no halves of letters, nothing that stands for no letter, no controls but those that part lines and words. Some
/// file systems keep what no name may have in letters for private use.
pub fn written(text: String) -> Result<String, ReadError> {
    let strange = |letter: char| match letter {
        '\t' | '\n' | '\r' | '\u{f000}'..='\u{f0ff}' => false,
        '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | char::REPLACEMENT_CHARACTER => true,
        letter => letter.is_control() || u32::from(letter) & 0xfffe == 0xfffe,
    };
    if text.chars().any(strange) { Err(ReadError::Implausible("text")) } else { Ok(text) }
}

/// UTF-16 text; half a letter becomes U+FFFD, an odd byte at the end is left out.
pub fn utf16(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
