//! Strings and times as Windows keeps them.

use crate::address::VirtAddr;
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
    wide(space, buffer, length as usize)
}

/// UTF-16 text of a length in bytes; at most 64 KiB, which is all that a UNICODE_STRING can hold.
pub fn wide(space: &AddressSpace, at: VirtAddr, bytes: usize) -> Result<String, ReadError> {
    let mut text = vec![0; bytes.min(1 << 16)];
    space.read(at, &mut text)?;
    let units = text.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    Ok(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}
