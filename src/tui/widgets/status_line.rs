//! The bottom line: keys or a message on the left, position and work on the right.

use super::put;
use crate::tui::text;
use crate::tui::theme::{Look, Role};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub enum Left {
    /// Keys with what they do, most important first.
    Keys(Vec<(String, &'static str)>),
    Message(Role, String),
    /// A question with the answer so far, and what is wrong with it; the cursor stands after the answer.
    Prompt(String, String, Option<(Role, String)>),
}

pub struct StatusLine<'a> {
    pub left: Left,
    pub right: String,
    pub look: &'a Look,
}

impl StatusLine<'_> {
    /// Draws the line; answers where the terminal's cursor belongs, if a question is open.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) -> Option<(u16, u16)> {
        if area.height == 0 {
            return None;
        }
        let right = self.look.fit(&self.right, usize::from(area.width / 2), text::Cut::Start);
        let taken = u16::try_from(text::width(&right)).unwrap_or(area.width);
        let room = area.width.saturating_sub(if taken == 0 { 0 } else { taken + 2 });
        let mut cursor = None;
        match &self.left {
            Left::Keys(keys) => {
                let mut x = area.x + 1;
                for (key, help) in keys {
                    let wide = u16::try_from(text::width(key) + text::width(help) + 1).unwrap_or(u16::MAX);
                    if (x - area.x).saturating_add(wide) > room {
                        break;
                    }
                    x = put(buffer, x, area.y, key, area.width, self.look.style(Role::Key));
                    x = put(buffer, x + 1, area.y, help, area.width, self.look.style(Role::Text)) + 2;
                }
            }
            Left::Message(role, message) => {
                let message = self.look.fit(message, usize::from(room.saturating_sub(1)), text::Cut::End);
                put(buffer, area.x + 1, area.y, &message, room, self.look.style(*role));
            }
            Left::Prompt(question, answer, told) => {
                let x = put(buffer, area.x + 1, area.y, question, room, self.look.style(Role::Key)) + 1;
                let room = area.right().saturating_sub(x + 1);
                let shown = self.look.fit(answer, usize::from(room), text::Cut::Start);
                let end = put(buffer, x, area.y, &shown, room, self.look.style(Role::Text));
                cursor = Some((end.min(area.right().saturating_sub(1)), area.y));
                if let Some((role, told)) = told {
                    let room = area.right().saturating_sub(end + 2);
                    let told = self.look.fit(told, usize::from(room), text::Cut::End);
                    put(buffer, end + 2, area.y, &told, room, self.look.style(*role));
                    return cursor;
                }
                if end + taken + 2 > area.right() {
                    return cursor;
                }
            }
        }
        put(buffer, area.right().saturating_sub(taken + 1), area.y, &right, taken, self.look.style(Role::Text));
        cursor
    }
}
