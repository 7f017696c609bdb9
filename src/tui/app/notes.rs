//! Notes on whatever the cursor is on: bookmarks, comments, tags and judgements; and the list of them, each a way back.

use super::case::{space_name, space_named};
use super::questions::Question;
use super::{App, Choice};
use crate::address::VirtAddr;
use crate::case::{BYTES, Judgement, Note, Object, PROCESSES};
use crate::engine::{SIGHTINGS, Space};
use crate::facts::{Cell, Rows, Time};
use crate::tui::commands::Pane;
use crate::tui::panes::link::{Link, Place, Reads, Where};
use crate::tui::panes::overlay::Line;
use crate::tui::panes::table::Seek;
use crate::tui::panes::{Sign, Signs};
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;
use std::collections::HashMap;
use std::sync::Arc;

impl App {
    /// What the cursor is on, and what it is called.
    fn noted_object(&self) -> Option<(Object, String)> {
        let (rows, row) = match self.pane() {
            Pane::Overlay => return None,
            Pane::Bytes => {
                let view = self.bytes.as_ref()?;
                let owner = match view.space {
                    Space::Physical => "physical memory".to_owned(),
                    Space::Kernel => "kernel memory".to_owned(),
                    Space::Process(_) => view.owner.clone(),
                };
                let key = format!("space={};at={:#x}", space_name(view.space), view.cursor);
                return Some((Object { table: BYTES.to_owned(), key }, format!("{:#x} of {owner}, {}", view.cursor, view.what)));
            }
            Pane::Tree => self.tree.current_row()?,
            Pane::Table => {
                let view = self.tables.get(self.active)?;
                (view.rows.as_deref()?, view.selected()?)
            }
        };
        Some((Object::of_row(rows, row), label(rows, row)))
    }
    fn note_on(&self, object: &Object, label: &str) -> Note {
        let now = Time::now();
        let known = self.case.notes.get(object).cloned();
        let mut note = known.unwrap_or_else(|| Note::of(object, &self.look.clean(label), now));
        note.changed = Some(now).into();
        note
    }
    fn nothing_to_note(&mut self) {
        self.notice = Some((Role::Dim, "no row is selected".to_owned()));
    }

    /// Bookmarks what the cursor is on, or takes the mark away.
    pub fn mark(&mut self) {
        let Some((object, label)) = self.noted_object() else { return self.nothing_to_note() };
        let mut note = self.note_on(&object, &label);
        note.marked = !note.marked;
        let said = if note.marked { "marked" } else { "no longer marked" };
        self.notice = Some((Role::Text, format!("{said}: {}", note.object)));
        self.keep(note);
    }

    pub fn ask_comment(&mut self) {
        self.ask_of(Question::Comment, |note| note.comment.clone());
    }
    pub fn ask_tags(&mut self) {
        self.ask_of(Question::Tags, |note| note.tags.join(" "));
    }
    fn ask_of(&mut self, question: Question, before: impl Fn(&Note) -> String) {
        let Some((object, label)) = self.noted_object() else { return self.nothing_to_note() };
        let before = self.case.notes.get(&object).map(before).unwrap_or_default();
        self.case.subject = Some((object, label));
        self.ask(question, before);
    }
    pub(super) fn noted(&mut self, question: Question, typed: &str) {
        let Some((object, label)) = self.case.subject.take() else { return };
        let mut note = self.note_on(&object, &label);
        match question {
            Question::Tags => {
                note.tags = typed
                    .split([' ', ','])
                    .map(|tag| tag.trim_start_matches('#'))
                    .filter(|tag| !tag.is_empty())
                    .map(str::to_owned)
                    .collect();
                note.tags.dedup();
            }
            _ => note.comment = typed.to_owned(),
        }
        let was = self.case.notes.get(&object);
        if was.map_or_else(|| note.is_empty(), |was| (&was.comment, &was.tags) == (&note.comment, &note.tags)) {
            return;
        }
        self.keep(note);
    }

    /// What the analyst holds of it.
    pub fn ask_judgement(&mut self) {
        let Some(subject) = self.noted_object() else { return self.nothing_to_note() };
        let at = self.case.notes.get(&subject.0).map(|note| note.judgement).unwrap_or_default();
        let all = [
            (Judgement::Confirmed, "+", "it is what it seems: evil"),
            (Judgement::Benign, "-", "it has been looked into and is harmless"),
            (Judgement::Open, "", "not decided"),
        ];
        let item = |(judgement, sign, help): &(Judgement, &str, &str)| Item {
            name: judgement.word().to_owned(),
            keys: (*sign).to_owned(),
            help: (*help).to_owned(),
        };
        let choices = all.iter().map(|it| (item(it), Choice::Judgement(it.0))).collect();
        let place = all.iter().position(|(judgement, ..)| *judgement == at).unwrap_or(0);
        let place = if at == Judgement::Open { 0 } else { place };
        self.case.subject = Some(subject);
        self.choose("judge it:", choices, place);
    }
    pub(super) fn judge(&mut self, judgement: Judgement) {
        let Some((object, label)) = self.case.subject.take() else { return };
        let mut note = self.note_on(&object, &label);
        note.judgement = judgement;
        self.notice = Some((Role::Text, format!("{}: {}", judgement.word(), note.object)));
        self.keep(note);
    }

    /// All notes, the latest first, to choose from.
    pub fn ask_notes(&mut self) {
        let mut notes: Vec<&Note> = self.case.notes.values().collect();
        notes.sort_by_key(|note| std::cmp::Reverse(note.changed.value().copied()));
        let item =
            |note: &Note| Item { name: self.look.clean(&note.object), keys: note.sign().to_string(), help: self.look.clean(&note.says()) };
        let choices: Vec<_> = notes.into_iter().map(|note| (item(note), Choice::Noted(note.about()))).collect();
        match choices.is_empty() {
            true => self.notice = Some((Role::Dim, "no notes yet; m marks, c comments, t tags, V judges".to_owned())),
            false => self.choose("notes:", choices, 0),
        }
    }

    /// Back to what a note is about.
    pub(super) fn go_to_noted(&mut self, object: &Object) {
        let (address, pid) = match object.table.as_str() {
            PROCESSES => (object.number("address"), object.number("pid")),
            _ => (object.number("process_address"), object.number("pid")),
        };
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        let address = address.map(VirtAddr);
        match object.table.as_str() {
            PROCESSES => self.follow(Link::Process { address, pid }),
            BYTES => {
                let Some((space, at)) = object.part("space").and_then(space_named).zip(object.number("at")) else {
                    return self.warn("this note does not say where it is".to_owned());
                };
                // What it is part of was said when it was noted.
                let noted = self.case.notes.get(object).and_then(|note| Some(note.object.split_once(", ")?.1.to_owned()));
                let what = noted.unwrap_or_else(|| format!("noted {at:#x}"));
                self.follow(Link::Bytes(Place { space: Where::Space(space), first: 0, last: u64::MAX, at, what, reads: Reads::Bytes }));
            }
            // Hits of a search that has not been made again are still places.
            table if table == SIGHTINGS.table.name && self.tables.iter().all(|view| view.hunt.is_none()) => {
                let place = |name| object.number(name);
                let (space, at) = match (place("address"), place("process_address"), place("physical_address")) {
                    (Some(at), Some(process), _) => (Space::Process(VirtAddr(process)), at),
                    (Some(at), None, _) => (Space::Kernel, at),
                    (None, _, Some(at)) => (Space::Physical, at),
                    (None, _, None) => return self.warn("this note does not say where it is".to_owned()),
                };
                let label = self.case.notes.get(object).map(|note| note.object.as_str()).unwrap_or_default();
                let found = label.strip_prefix("search ").unwrap_or(label);
                let what = format!("hit of {}", found.split_once(" of ").map_or(found, |(found, _)| found));
                let reads = Reads::Bytes;
                self.follow(Link::Bytes(Place { space: Where::Space(space), first: 0, last: u64::MAX, at, what, reads }));
            }
            table => self.seek(table, Some(Seek::Object(object.clone())), Some((address, pid)).filter(|it| *it != (None, None))),
        }
    }

    // Where notes are seen.

    /// Tells each view which of its rows are noted.
    pub(super) fn spread_notes(&mut self) {
        let mut all: HashMap<&str, HashMap<String, Sign>> = HashMap::new();
        for (object, note) in &self.case.notes {
            let signs = all.entry(&object.table).or_default();
            signs.insert(object.key.clone(), Sign { sign: note.sign(), says: note.says() });
        }
        let all: HashMap<&str, Signs> = all.into_iter().map(|(table, signs)| (table, Arc::new(signs))).collect();
        self.tree.signs = all.get(PROCESSES).cloned().unwrap_or_default();
        for view in &mut self.tables {
            view.signs = all.get(view.entry.table.name).cloned().unwrap_or_default();
        }
    }

    /// Tells the view of bytes which of its places are noted.
    pub fn spread_places(&mut self) {
        let Some(view) = &mut self.bytes else { return };
        let space = space_name(view.space);
        let here = self.case.notes.iter().filter(|(object, _)| object.table == BYTES && object.part("space") == Some(&space));
        view.noted =
            here.filter_map(|(object, note)| Some((object.number("at")?, Sign { sign: note.sign(), says: note.says() }))).collect();
    }

    /// The note on what the cursor is on, whole.
    pub(super) fn note_lines(&self) -> Vec<Line> {
        let Some(note) = self.noted_object().and_then(|(object, _)| self.case.notes.get(&object)) else { return Vec::new() };
        let mut lines = Vec::new();
        let mut add = |label: &str, text: String| lines.push(Line::new(label, text, Role::Header));
        add("note", note.says());
        if let (Some(created), Some(changed)) = (note.created.value(), note.changed.value()) {
            let changed = if created == changed { String::new() } else { format!(", changed {changed}") };
            add("noted", format!("{created}{changed}"));
        }
        lines
    }
}

/// What a row is called: whose it is and what it says first of all.
fn label(rows: &dyn Rows, row: usize) -> String {
    const FIRST: &[&str] = &[
        "subject",
        "name",
        "remote_address",
        "local_address",
        "path",
        "command",
        "text",
        "summary",
        "start",
        "base",
        "tid",
        "handle",
        "fd",
        "sid",
        "function",
        "address",
        "kind",
    ];
    let table = rows.table();
    let text = |name: &str| {
        let cell = table.column(name).map(|column| rows.cell(row, column))?;
        (!cell.is_null() && !matches!(&cell, Cell::Text(text) if text.is_empty())).then(|| cell.to_string())
    };
    let what = FIRST.iter().find_map(|name| text(name)).unwrap_or_default();
    let owner = [text("process"), text("pid")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    match table.name {
        "pstree" | "processes" => format!("{what} {owner}"),
        "findings" => what,
        "suspicious" | "regions" => format!("region {what} of {owner}"),
        _ => {
            let of = if owner.is_empty() { String::new() } else { format!(" of {owner}") };
            format!("{} {what}{of}", table.singular())
        }
    }
}
