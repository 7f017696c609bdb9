//! Text over the other panes: help, what the image is, a whole row.

use super::frame;
use crate::tui::text;
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::{put, thumb};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};

/// A line: a label, which stands in a column of its own, and a text that is broken to the width.
pub struct Line {
    pub label: String,
    pub text: String,
    pub role: Role,
}

impl Line {
    pub fn heading(text: &str) -> Self {
        Self { label: String::new(), text: text.to_owned(), role: Role::Header }
    }
    pub fn new(label: impl Into<String>, text: impl Into<String>, role: Role) -> Self {
        Self { label: label.into(), text: text.into(), role }
    }
}

pub struct Overlay {
    pub title: String,
    pub lines: Vec<Line>,
    top: usize,
    height: usize,
    length: usize,
}

impl Overlay {
    pub fn new(title: impl Into<String>, lines: Vec<Line>) -> Self {
        Self { title: title.into(), lines, top: 0, height: 1, length: 0 }
    }
    pub fn by(&mut self, lines: isize) {
        self.top = self.top.saturating_add_signed(lines).min(self.length.saturating_sub(self.height));
    }
    /// Shows the end of it, where the latest stands.
    pub fn end(&mut self) {
        self.top = usize::MAX;
    }
    pub fn page(&self) -> isize {
        isize::try_from(self.height.saturating_sub(1).max(1)).unwrap_or(1)
    }
    pub fn position(&self) -> String {
        let end = (self.top + self.height).min(self.length);
        if self.length > self.height { format!("{end}/{}", self.length) } else { String::new() }
    }

    pub fn draw(&mut self, screen: Rect, buffer: &mut Buffer, look: &Look) {
        let width = if screen.width > 90 { (screen.width * 3 / 4).clamp(80, 120) } else { screen.width };
        let label = self.lines.iter().map(|line| text::width(&line.label)).max().unwrap_or(0).min(usize::from(width / 3)).min(24);
        let room = usize::from(width.saturating_sub(4)).saturating_sub(if label == 0 { 0 } else { label + 2 }).max(1);
        let mut lines: Vec<(String, String, Role)> = Vec::new();
        for line in &self.lines {
            let heading = line.role == Role::Header && line.label.is_empty();
            let mut name = look.fit(&line.label, label, text::Cut::End);
            for part in text::wrap(&look.clean(&line.text), if heading { room + label } else { room }) {
                lines.push((std::mem::take(&mut name), part, line.role));
            }
        }
        let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(screen.height);
        let (x, y) = (screen.x + (screen.width - width) / 2, screen.y + (screen.height - height) / 2);
        let area = Rect { x, y, width, height };
        Clear.render(area, buffer);
        let title = [(Role::Focus, format!(" {} ", look.fit(&self.title, usize::from(width), text::Cut::End)))];
        let inner = frame(area, buffer, &title, "", true, look);
        self.length = lines.len();
        self.height = usize::from(inner.height);
        self.top = self.top.min(self.length.saturating_sub(self.height));
        for (line, y) in lines.iter().skip(self.top).zip(inner.top()..inner.bottom()) {
            let (name, part, role) = line;
            let heading = *role == Role::Header && name.is_empty();
            let x = inner.x + 1;
            let room = inner.width.saturating_sub(2);
            put(buffer, x, y, name, room, look.style(Role::Key));
            let shift = if heading || label == 0 { 0 } else { label as u16 + 2 };
            put(buffer, x.saturating_add(shift), y, part, room.saturating_sub(shift), look.style(*role));
        }
        let edge = Rect { x: area.right().saturating_sub(1), width: 1, ..inner };
        thumb(buffer, edge, self.top, self.height, self.length, look.symbols.thumb, look.style(Role::Text));
    }
}
