//! A list of choices above the line where one types.

use super::put;
use crate::tui::text::{self, Cut};
use crate::tui::theme::{Look, Role};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};

pub struct Item {
    pub name: String,
    pub keys: String,
    pub help: String,
}

/// Draws as many choices as there is room for, the selected one always among them, upwards from the bottom of the area.
pub fn draw(items: &[&Item], selected: usize, area: Rect, buffer: &mut Buffer, look: &Look) {
    let most = (area.height * 2 / 3).max(10);
    let height = u16::try_from(items.len()).unwrap_or(most).min(most).min(area.height);
    let first = (selected + 1).saturating_sub(usize::from(height));
    let widest = |width: fn(&Item) -> usize| u16::try_from(items.iter().map(|item| width(item)).max().unwrap_or(0)).unwrap_or(u16::MAX);
    let keys = widest(|item| text::width(&item.keys)).min(24);
    // Names have what the rest leaves them, and two fifths in any case: a comment can be long.
    let help = widest(|item| text::width(&item.help));
    let room = area.width.saturating_sub(keys + 4);
    let most = room.saturating_sub(help.saturating_add(2)).max(area.width * 2 / 5).max(24).min(room);
    let names = widest(|item| text::width(&item.name)).min(most);
    for (line, (index, item)) in items.iter().enumerate().skip(first).take(usize::from(height)).enumerate() {
        let row = Rect { y: area.bottom() - height + u16::try_from(line).unwrap_or(0), height: 1, ..area };
        Clear.render(row, buffer);
        let room = |x: u16| row.right().saturating_sub(x);
        let x = row.x + 1;
        put(buffer, x, row.y, &look.fit(&item.name, usize::from(names), Cut::End), room(x), look.style(Role::Header));
        let x = x + names + 2;
        put(buffer, x, row.y, &look.fit(&item.keys, usize::from(keys), Cut::End), room(x), look.style(Role::Key));
        let x = x.saturating_add(keys + 2);
        put(buffer, x, row.y, &look.fit(&item.help, usize::from(room(x)), Cut::End), room(x), look.style(Role::Text));
        // What there is no room for is counted, where the list goes on.
        let (above, below) = (first, items.len() - first - usize::from(height));
        let beyond = [(line == 0, above, "above"), (line + 1 == usize::from(height), below, "below")];
        if let Some((_, rest, where_)) = beyond.into_iter().find(|(edge, rest, _)| *edge && *rest > 0) {
            let more = format!(" {rest} more {where_} ");
            let wide = u16::try_from(more.len()).unwrap_or(0);
            put(buffer, row.right().saturating_sub(wide), row.y, &more, wide, look.style(Role::Dim));
        }
        if index == selected {
            buffer.set_style(row, look.style(Role::Selected));
        }
    }
}
