//! Pieces of the screen that know no forensics.

mod bars;
pub mod hex_grid;
pub mod palette;
pub mod status_line;
pub mod virtual_table;

pub use bars::bars;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Writes a safe text at a place and not beyond `room` columns; answers where it ended.
pub fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str, room: u16, style: Style) -> u16 {
    if !buffer.area.contains((x, y).into()) {
        return x;
    }
    buffer.set_stringn(x, y, text, usize::from(room), style).0
}

/// A thumb on the right edge that tells how far down the window is; nothing where all fits.
pub fn thumb(buffer: &mut Buffer, edge: Rect, top: usize, shown: usize, len: usize, symbol: &str, style: Style) {
    if edge.height == 0 || edge.width == 0 || len <= shown || shown == 0 {
        return;
    }
    let height = usize::from(edge.height);
    let size = (height * shown / len).clamp(1, height);
    let travel = (len - shown).max(1);
    // In 128 bits: a row number times a height.
    let start = (top.min(travel) as u128 * (height - size) as u128 / travel as u128) as u16;
    for y in start..(start + size as u16).min(edge.height) {
        put(buffer, edge.x, edge.y + y, symbol, 1, style);
    }
}
