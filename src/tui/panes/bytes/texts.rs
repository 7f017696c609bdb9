//! The texts that stand in memory, in order of address.

use crate::engine::{FoundText, Space, Stretch};
use crate::tui::text::{Cut, grouped};
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::put;
use crate::tui::widgets::virtual_table::ListState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// Shared with the places that one can go back to.
    found: Arc<Vec<FoundText>>,
    /// What is still to be looked through.
    rest: Option<Stretch>,
    /// The stretch that was begun with.
    begun: Option<Stretch>,
    failure: Option<String>,
    list: ListState,
}

/// Texts in one list; behind them a new one begins.
const MOST: usize = 100_000;

impl Texts {
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Begins where the texts of an address are to be looked for, unless they are here.
    pub fn seek(&mut self, space: Space, (first, last): (u64, u64), at: u64) {
        let known = self.begun.is_some_and(|begun| begun.first <= at) && self.found.last().is_some_and(|text| at <= text.at);
        if known {
            return;
        }
        // A region from its beginning, a whole space from where one stands.
        let from = if last - first < 1 << 24 { first } else { (at & !0xfff).max(first) };
        let stretch = Stretch { space, first: from, last, forward: true };
        *self = Self { rest: Some(stretch), begun: Some(stretch), ..Self::default() };
    }

    /// The first texts at once, more of them when the cursor nears the end.
    pub fn want(&self) -> Option<Stretch> {
        let near = self.list.cursor + 2 * self.list.height.max(20) >= self.found.len();
        self.rest.filter(|_| near && self.found.len() < MOST)
    }
    pub fn take(&mut self, result: Result<(Vec<FoundText>, Option<u64>), String>) {
        let rest = self.rest.take();
        match result {
            Ok((found, next)) => {
                Arc::make_mut(&mut self.found).extend(found);
                self.rest = rest.zip(next).map(|(stretch, next)| Stretch { first: next, ..stretch });
            }
            Err(why) => self.failure = Some(why),
        }
    }

    pub fn by(&mut self, rows: isize) -> Option<u64> {
        self.list.by(rows, self.found.len());
        self.found.get(self.list.cursor).map(|text| text.at)
    }
    /// Selects the text at or before an address.
    pub fn follow(&mut self, at: u64) {
        self.list.cursor = self.found.partition_point(|text| text.at <= at).saturating_sub(1);
    }
    pub fn click(&mut self, line: u16) -> Option<u64> {
        self.list.to(self.list.top + usize::from(line), self.found.len());
        self.by(0)
    }

    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, focused: bool, look: &Look) {
        self.list.fit(usize::from(area.height), self.found.len());
        if self.found.is_empty() {
            let (role, text) = match (&self.failure, self.rest) {
                (Some(why), _) => (Role::Warning, why.clone()),
                (None, Some(_)) => (Role::Dim, "looking for texts...".to_owned()),
                (None, None) => (Role::Text, "no text of five or more characters is here".to_owned()),
            };
            put(buffer, area.x + 1, area.y, &look.fit(&text, usize::from(area.width), Cut::End), area.width, look.style(role));
            return;
        }
        let wide = self.found.last().map_or(12, |text| format!("{:x}", text.at).len()).max(8);
        for (index, y) in (self.list.top..).zip(area.top()..area.bottom()) {
            let room = |x: u16| area.right().saturating_sub(x);
            let Some(text) = self.found.get(index) else {
                let end = match (&self.failure, self.rest) {
                    (Some(why), _) => why.clone(),
                    (None, Some(_)) if self.found.len() < MOST => "looking for more...".to_owned(),
                    (None, Some(rest)) => format!("{} texts; g {:#x} shows those that follow", grouped(MOST), rest.first),
                    (None, None) => format!("{} texts, no more up to the end", grouped(self.found.len())),
                };
                put(buffer, area.x, y, &look.fit(&end, usize::from(area.width), Cut::End), area.width, look.style(Role::Dim));
                return;
            };
            put(buffer, area.x, y, &format!("{:0wide$x}", text.at), room(area.x), look.style(Role::Dim));
            let x = area.x + wide as u16 + 1;
            put(buffer, x, y, if text.wide { "UTF-16" } else { "ASCII" }, room(x), look.style(Role::Dim));
            let x = x + 7;
            put(buffer, x, y, &look.fit(&text.text, usize::from(room(x)), Cut::End), room(x), look.style(Role::Text));
            if index == self.list.cursor {
                let role = if focused { Role::Selected } else { Role::Resting };
                buffer.set_style(Rect { y, height: 1, ..area }, look.style(role));
            }
        }
    }
}
