//! Taking rows along: into a file, or to the clipboard.

use super::{App, Choice, Effect, Question};
use crate::case::Action;
use crate::facts::text::printable;
use crate::facts::{Cell, Rows};
use crate::tui::clipboard;
use crate::tui::commands::Pane;
use crate::tui::export::{self, Chosen, Export, Selection, Writer};
use crate::tui::text::counted;
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;
use std::sync::Arc;

/// The rows that are to be written, until one has said where.
pub struct Pending {
    rows: Arc<dyn Rows>,
    writer: &'static Writer,
}

impl App {
    /// The rows of the pane.
    fn exported(&self) -> Option<Selection> {
        match self.pane() {
            Pane::Tree => self.tree.exported(),
            _ => {
                let view = self.tables.get(self.active)?;
                Some((view.rows.clone()?, view.arranged.order.clone()))
            }
        }
    }

    /// In which form, and which rows; then where to.
    pub fn ask_export(&mut self) {
        let Some((rows, order)) = self.exported() else {
            return self.notice = Some((Role::Dim, "there are no rows yet".to_owned()));
        };
        let mut choices = Vec::new();
        let shown = order.as_ref().map_or(rows.len(), Vec::len);
        for all in [false, true] {
            if all && shown == rows.len() {
                break;
            }
            let which = if all { "all " } else { "" };
            for writer in self.writers {
                let count = counted(if all { rows.len() } else { shown }, "row", "rows");
                let says = format!("{count}{}, {}", if all { ", filtered or not" } else { "" }, writer.help);
                let item = Item { name: format!("{which}{}", writer.name), keys: String::new(), help: says };
                choices.push((item, Choice::Export(writer, all)));
            }
        }
        self.choose("export as:", choices, 0);
    }

    pub(super) fn ask_export_path(&mut self, writer: &'static Writer, all: bool) {
        let Some((rows, order)) = self.exported() else { return };
        let rows = match order.filter(|_| !all) {
            Some(order) => Arc::new(Chosen { rows, order }) as Arc<dyn Rows>,
            None => rows,
        };
        self.ask_path_for(rows, writer);
    }
    pub(super) fn ask_path_for(&mut self, rows: Arc<dyn Rows>, writer: &'static Writer) {
        let proposed = format!("{}-{}.{}", self.stem(), rows.table().name, writer.name);
        self.pending = Some(Pending { rows, writer });
        self.ask(Question::Path, export::beside_no_evidence(&proposed, &self.folders));
    }
    /// Something was written, and is part of the trail.
    pub(super) fn written(&mut self, action: Action, said: String) {
        self.done(action, &said);
        self.notice = Some((Role::Text, said));
    }

    pub(super) fn export(&mut self, typed: &str) {
        let (Some(Pending { rows, writer }), Some(info)) = (self.pending.take(), &self.info) else { return };
        self.effects.push(Effect::Export(Export { rows, os: info.os, writer, path: export::path(typed) }));
    }

    // The clipboard.

    /// The row's values, as they are written in files and not as they are cut for the screen.
    fn row(&self) -> Vec<(&'static str, String)> {
        let row = match self.pane() {
            Pane::Tree => self.tree.current_row(),
            _ => self.tables.get(self.active).and_then(|view| Some((view.rows.as_deref()?, view.selected()?))),
        };
        let (Some((rows, row)), Some(info)) = (row, &self.info) else { return Vec::new() };
        let columns = rows.table().columns.iter().enumerate().filter(|(_, column)| column.serves.includes(info.os));
        columns
            .filter_map(|(index, column)| {
                let cell = rows.cell(row, index);
                let empty = cell.is_null() || matches!(&cell, Cell::List(items) if items.is_empty());
                (!empty).then(|| (column.name, printable(&cell.to_string()).into_owned()))
            })
            .collect()
    }
    /// Which value of the row to copy.
    pub fn ask_copy(&mut self) {
        let item = |name: &str, value: &str| Item { name: name.replace('_', " "), keys: String::new(), help: self.look.clean(value) };
        let choices: Vec<_> = self.row().into_iter().map(|(name, value)| (item(name, &value), Choice::Copy(value))).collect();
        match choices.is_empty() {
            true => self.notice = Some((Role::Dim, "no row is selected".to_owned())),
            false => self.choose("copy:", choices, 0),
        }
    }
    pub fn copy_row(&mut self) {
        let row = self.row();
        match row.is_empty() {
            true => self.notice = Some((Role::Dim, "no row is selected".to_owned())),
            // On one line: nothing that is pasted into a shell runs by itself.
            false => self.copy(row.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\t")),
        }
    }
    pub(super) fn copy(&mut self, text: String) {
        if text.len() > clipboard::LONGEST {
            return self.warn(format!("{} bytes are more than a terminal copies; e exports", text.len()));
        }
        let what = if text.contains('\t') { "the row".to_owned() } else { self.look.clean(&text) };
        self.notice = Some((Role::Text, format!("sent to the clipboard: {what}")));
        self.effects.push(Effect::Copy(text));
    }
}
