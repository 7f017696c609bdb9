//! Searching memory from inside: what for, then where; the hits are a table like any other.

use super::{App, Choice, Effect, Focus, Question, Slot};
use crate::address::VirtAddr;
use crate::engine::{Ground, SIGHTINGS, Space};
use crate::tui::export;
use crate::tui::hunt::{Hunt, What};
use crate::tui::panes::bytes::AHEAD;
use crate::tui::panes::table::TableView;
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;
use std::sync::Arc;

/// So many of the selected bytes are searched for.
const MOST_SELECTED: u64 = 64;

/// So many bytes are held against all memory, and so many of them must differ to tell one place from another.
const SAME: u64 = 32;
const LEAST_KINDS: usize = 8;

fn hex(bytes: &[u8]) -> String {
    format!("hex:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// What a search can be for; what was typed says the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    Pattern,
    Rules,
    Strings,
}

impl Aim {
    pub fn question(self) -> &'static str {
        match self {
            Self::Pattern => "memory: text, hex:, re:",
            Self::Rules => "YARA rules:",
            Self::Strings => "strings with (nothing: all):",
        }
    }
}

impl App {
    /// Asks what to search for, or takes what was typed behind the command.
    pub fn ask_hunt(&mut self, aim: Aim, typed: &str) {
        match typed.is_empty() {
            true => {
                let proposed = if aim == Aim::Pattern { self.selected_bytes().unwrap_or_default() } else { String::new() };
                self.ask(Question::Hunt(aim), proposed);
            }
            false => self.ask_place(aim, typed),
        }
    }

    /// What is selected in the view of bytes, as a pattern: where else is it?
    fn selected_bytes(&self) -> Option<String> {
        let view = self.bytes.as_ref().filter(|_| self.focus == Focus::Tables)?;
        let (first, last) = view.selection()?;
        let bytes = view.there(first, (last - first).saturating_add(1).min(MOST_SELECTED));
        (bytes.len() > 1).then(|| hex(&bytes))
    }

    /// Who else has the bytes at the cursor? Zeros and other filling say nothing, and pages stand anywhere in physical memory.
    pub fn same_bytes(&mut self) {
        let Some(view) = self.bytes.as_ref() else { return };
        let telling = |at: u64| {
            let bytes = view.there(at, SAME.min(0x1000 - at % 0x1000));
            let mut kinds = bytes.clone();
            kinds.sort_unstable();
            kinds.dedup();
            (kinds.len() >= LEAST_KINDS).then(|| (at, hex(&bytes)))
        };
        // Files begin alike; the header that the first one of a PE leads to has its time and its sizes.
        let head = view.there(view.cursor, 0x40);
        let pe = head.strip_prefix(b"MZ").and_then(|head| head.get(0x3a..0x3e)?.try_into().ok()).map_or(0, u32::from_le_bytes);
        let first = if pe < 0x1000 { u64::from(pe) } else { 0 };
        let lines = (first..first + AHEAD).step_by(16).filter_map(|step| view.cursor.checked_add(step));
        let cursor = view.cursor;
        let selection = view.selection();
        let selected = self.selected_bytes().map(|pattern| (selection.map_or(cursor, |(first, _)| first), pattern));
        match selected.or_else(|| lines.into_iter().find_map(telling)) {
            Some((at, pattern)) => {
                if at.saturating_sub(cursor) >= 0x1000 {
                    self.notice = Some((Role::Text, format!("looking for the bytes at {at:#x}; those before say nothing")));
                }
                let place = "physical memory".to_owned();
                self.hunt(Arc::new(Hunt::new(What::Pattern(pattern), Space::Physical, place, false).elsewhere(at)));
            }
            None => self.warn("no bytes here or soon behind that say something: go to some, or select them".to_owned()),
        }
    }

    /// Asks where to search.
    pub(super) fn ask_place(&mut self, aim: Aim, typed: &str) {
        let what = match aim {
            Aim::Pattern if typed.is_empty() => return,
            Aim::Rules if typed.is_empty() => return,
            Aim::Pattern => What::Pattern(typed.to_owned()),
            Aim::Rules => What::Rules(export::path(typed)),
            Aim::Strings => What::Strings(typed.to_owned()),
        };
        let process =
            self.process_at_hand().and_then(|process| Some((*process.address.value()?, format!("{} {}", process.name, process.pid))));
        let mut places: Vec<(Ground, _, _)> =
            vec![(Space::Physical.into(), "physical memory".to_owned(), "all there is, and who maps what is found".to_owned())];
        places.extend(process.map(|(at, name): (VirtAddr, _)| {
            let says = "what this process maps, pages from page files and other files included".to_owned();
            (Space::Process(at).into(), name, says)
        }));
        places.push((Space::Kernel.into(), "kernel".to_owned(), "what the kernel maps".to_owned()));
        places.push((
            Ground::Files(None),
            "files in memory".to_owned(),
            "what is cached of files, page after page as they lie on the disk".to_owned(),
        ));
        let mut choices = Vec::new();
        // Bytes and rules have no case of their own.
        let cases = !matches!(&what, What::Rules(_)) && !typed.starts_with("hex:") && !typed.is_empty();
        for fold in [false, true] {
            for (ground, place, says) in places.iter().filter(|_| cases || !fold) {
                let case = if fold { ", any case" } else { "" };
                let item = Item { name: self.look.clean(&format!("{place}{case}")), keys: String::new(), help: says.clone() };
                choices.push((item, Choice::Hunt(Arc::new(Hunt::new(what.clone(), ground.clone(), place.clone(), fold)))));
            }
        }
        self.choose("search in:", choices, 0);
    }

    /// Begins a search, in the place of the last one.
    pub(super) fn hunt(&mut self, hunt: Arc<Hunt>) {
        let Some(info) = &self.info else { return };
        let fresh = TableView::hunting(&SIGHTINGS, info.os, Arc::clone(&hunt));
        let table = match self.tables.iter().position(|view| view.hunt.is_some()) {
            Some(table) => table,
            None => self.tables.len(),
        };
        let case = if hunt.fold { ", any case" } else { "" };
        self.search_begins(format!("{} in {}{case}", hunt.name(), hunt.place));
        self.leave();
        match self.tables.get_mut(table) {
            Some(view) => *view = fresh,
            None => self.tables.push(fresh),
        }
        self.show_table(table);
        self.effects.push(Effect::Search { slot: Slot::Table(table), hunt });
    }
}
