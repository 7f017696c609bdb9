//! Bytes in rows: address, hexadecimal, characters, margin. Knows nothing of where they come from.

use super::put;
use crate::tui::theme::{Look, Role};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Byte {
    Value(u8),
    /// It will never come.
    Missing,
    /// It has been asked for.
    Awaited,
    /// Outside of what is shown.
    Outside,
}

/// The columns of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub digits: usize,
    pub bytes: usize,
    /// Columns left for the margin.
    pub margin: usize,
}

impl Shape {
    /// Sixteen bytes a row where they fit, else eight.
    pub fn of(room: u16, digits: usize) -> Self {
        let room = usize::from(room);
        let bytes = if room >= digits + 1 + 16 * 3 + 1 + 16 { 16 } else { 8 };
        let margin = room.saturating_sub(digits + 1 + bytes * 3 + 1 + bytes);
        Self { digits, bytes, margin }
    }
    fn pair(self, index: usize) -> usize {
        self.digits + 1 + index * 3 + usize::from(index >= 8)
    }
    fn character(self, index: usize) -> usize {
        self.pair(self.bytes) + index
    }
    /// Which byte of a row stands in a column.
    pub fn byte_at(self, column: usize) -> Option<usize> {
        (0..self.bytes).find(|&index| (self.pair(index)..self.pair(index) + 2).contains(&column) || column == self.character(index))
    }
}

pub trait Source {
    fn byte(&self, at: u64) -> Byte;
    /// What the margin says beside the row that begins here.
    fn margin(&self, at: u64, first: bool, room: usize) -> Option<String>;
    fn marked(&self, at: u64) -> bool;
    /// A sign between the address and the bytes of the row that begins here.
    fn sign(&self, at: u64) -> Option<char>;
}

pub struct HexGrid<'a> {
    pub source: &'a dyn Source,
    pub shape: Shape,
    pub top: u64,
    pub cursor: u64,
    pub look: &'a Look,
    pub focused: bool,
}

impl HexGrid<'_> {
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) {
        for line in 0..area.height {
            let Some(start) = self.top.checked_add(u64::from(line) * self.shape.bytes as u64) else { return };
            self.row(start, line == 0, Rect { y: area.y + line, height: 1, ..area }, buffer);
        }
    }

    fn row(&self, start: u64, first: bool, area: Rect, buffer: &mut Buffer) {
        let bytes: Vec<Byte> =
            (0..self.shape.bytes as u64).map(|index| start.checked_add(index).map_or(Byte::Outside, |at| self.source.byte(at))).collect();
        if bytes.iter().all(|byte| *byte == Byte::Outside) {
            return;
        }
        let at = |column: usize| area.x.saturating_add(u16::try_from(column).unwrap_or(u16::MAX));
        let room = |column: usize| area.right().saturating_sub(at(column));
        // Where there is no room for all digits, the first ones are those of the whole space.
        let seen = if self.shape.digits < 16 { start & ((1 << (self.shape.digits * 4)) - 1) } else { start };
        let address = format!("{seen:0width$x}", width = self.shape.digits);
        put(buffer, area.x, area.y, &address, room(0), self.look.style(Role::Dim));
        if let Some(sign) = self.source.sign(start) {
            put(buffer, at(self.shape.digits), area.y, &sign.to_string(), room(self.shape.digits), self.look.style(Role::Key));
        }
        for (index, byte) in bytes.iter().enumerate() {
            let address = start.wrapping_add(index as u64);
            let (pair, character, role) = match byte {
                Byte::Value(0) => ("00".to_owned(), '.', Role::Dim),
                Byte::Value(value) => {
                    let printable = matches!(value, 0x20..0x7f);
                    (format!("{value:02x}"), if printable { char::from(*value) } else { '.' }, Role::Text)
                }
                Byte::Missing => ("??".to_owned(), '?', Role::Missing),
                Byte::Awaited => ("..".to_owned(), ' ', Role::Dim),
                Byte::Outside => ("  ".to_owned(), ' ', Role::Text),
            };
            let mut style = self.look.style(role);
            if self.source.marked(address) {
                style = style.patch(self.look.style(Role::Match));
            }
            if address == self.cursor {
                style = style.patch(self.look.style(if self.focused { Role::Selected } else { Role::Resting }));
            }
            let (left, right) = (self.shape.pair(index), self.shape.character(index));
            put(buffer, at(left), area.y, &pair, room(left), style);
            put(buffer, at(right), area.y, character.encode_utf8(&mut [0; 4]), room(right), style);
        }
        if self.shape.margin > 3
            && let Some(text) = self.source.margin(start, first, self.shape.margin - 2)
        {
            let column = self.shape.character(self.shape.bytes) + 2;
            put(buffer, at(column), area.y, &text, room(column), self.look.style(Role::Dim));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_where_they_fit() {
        assert_eq!(Shape::of(78, 12).bytes, 16, "a user address at 80 columns");
        assert_eq!(Shape::of(78, 16).bytes, 8);
        assert_eq!(Shape::of(0, 16), Shape { digits: 16, bytes: 8, margin: 0 });
        let shape = Shape::of(78, 12);
        assert!(shape.character(15) < 78);
        assert_eq!(shape.byte_at(shape.pair(9)), Some(9));
        assert_eq!(shape.byte_at(shape.character(15)), Some(15));
        assert_eq!(shape.byte_at(0), None);
    }
}
