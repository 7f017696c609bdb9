//! Texts over the panes: help, a whole row, what the image is.

use super::App;
use crate::tui::commands::{COMMANDS, Command, Pane};
use crate::tui::panes::overlay::{Line, Overlay};
use crate::tui::panes::process_tree::legend;
use crate::tui::panes::record;
use crate::tui::text::grouped;
use crate::tui::theme::Role;

impl App {
    pub fn help(&mut self) {
        let pane = self.pane();
        let line = |command: &Command| {
            let keys = self.keymap.text(command, pane);
            Line::new(if keys.is_empty() { format!(":{}", command.name) } else { keys }, command.help, Role::Text)
        };
        let own = |command: &&Command| command.panes == [pane];
        let mut lines = vec![Line::heading(pane.name())];
        lines.extend(COMMANDS.iter().filter(own).map(line));
        lines.push(Line::heading(""));
        lines.push(Line::heading("Everywhere"));
        lines.extend(COMMANDS.iter().filter(|command| !own(command) && command.panes.contains(&pane)).map(line));
        lines.push(Line::heading(""));
        lines.push(Line::heading("Marks"));
        let (exited, dash) = (self.look.symbols.exited, self.look.symbols.dash);
        let marks = [
            ("? hidden", "alive, yet missing from the list that the system itself shows"),
            (exited, "exited: the process is over, its object is still there"),
            ("orphan", "its parent is over and gone, which is not usual for this program"),
            ("zombie", "over, and its parent has not asked how it ended"),
            ("+12", "folded, with so many below"),
            ("!! !", "before a score: 75 or more of 100, 30 or more; the Findings say why"),
            ("~ partly", "something about the process could not be read or does not agree; v says what"),
            ("!", "before a row of a table: the same"),
            ("* + -", "before a row: noted, held for confirmed, held for benign; ' lists all notes"),
            (dash, "the system has no such value"),
            ("??", "the value is not in the image; not the same as zero"),
        ];
        lines.extend(marks.map(|(mark, meaning)| Line::new(mark, meaning, Role::Text)));
        lines.extend(legend().into_iter().map(|(mark, meaning)| Line::new(mark, meaning, Role::Text)));
        lines.push(Line::heading(""));
        lines.push(Line::new("", "The image is opened read-only; nothing here can change it.", Role::Dim));
        self.overlay = Some(Overlay::new("Help", lines));
    }

    pub fn record(&mut self) {
        let found = match self.pane() {
            Pane::Tree => self.tree.current_row().map(|(rows, row)| (record(rows, row, self.os(), &self.look), "process".to_owned())),
            _ => self.tables.get(self.active).and_then(|view| {
                let (rows, row) = (view.rows.as_ref()?, view.selected()?);
                let mut lines = record(rows.as_ref(), row, view.os, &self.look);
                let rule = view.hunt.as_ref().and_then(|hunt| hunt.rule(rows.as_ref(), row)).into_iter().flat_map(str::lines);
                lines.extend(rule.enumerate().map(|(number, line)| {
                    (if number == 0 { "text of the rule".to_owned() } else { String::new() }, line.to_owned(), Role::Text)
                }));
                Some((lines, format!("{}, row {}", view.title, row + 1)))
            }),
        };
        match found {
            Some((lines, title)) => {
                let lines = lines.into_iter().map(|(name, value, role)| Line::new(name, value, role));
                let lines = self.note_lines().into_iter().chain(lines).collect();
                self.overlay = Some(Overlay::new(title, lines));
            }
            None => self.notice = Some((Role::Dim, "no row is selected".to_owned())),
        }
    }

    pub fn info(&mut self) {
        let Some(info) = &self.info else { return };
        let dash = self.look.symbols.dash;
        let text = |value: Option<String>| value.unwrap_or_else(|| dash.to_owned());
        let mut lines = Vec::new();
        let view = match self.pane() {
            Pane::Tree => ("Process tree".to_owned(), self.tree.notes().to_vec()),
            _ => self.tables.get(self.active).map_or_else(Default::default, |view| {
                (view.title.clone(), view.rows.as_ref().map_or_else(Vec::new, |rows| rows.notes().to_vec()))
            }),
        };
        if !view.1.is_empty() {
            lines.push(Line::heading(&view.0));
            lines.extend(view.1.into_iter().map(|note| Line::new("note", note, Role::Text)));
            lines.push(Line::heading(""));
        }
        lines.push(Line::heading("Image"));
        let plain = |label: &str, value: String| Line::new(label, value, Role::Text);
        lines.push(plain("system", format!("{} {}", info.os.name(), info.architecture)));
        lines.push(plain("kernel", info.kernel.clone()));
        lines.push(plain("host", text(info.hostname.value().cloned())));
        lines.push(plain("booted", text(info.boot_time.value().map(ToString::to_string))));
        lines.push(plain("captured", text(info.capture_time.value().map(ToString::to_string))));
        lines.push(plain("format", format!("{}, {} bytes", info.format, grouped(usize::try_from(info.size).unwrap_or(usize::MAX)))));
        lines.extend(self.case_lines().into_iter().map(|(label, value)| plain(label, value)));
        lines.push(plain("paging", format!("{} levels, root {}", info.paging_levels, info.page_table_root)));
        lines.push(plain("kernel base", info.kernel_base.to_string()));
        lines.push(plain("symbols", info.symbol_source.clone()));
        lines.extend(info.memory.iter().map(|range| {
            let last = range.end().0.saturating_sub(1);
            plain("memory", format!("{:#x} - {last:#x}", range.start.0))
        }));
        lines.extend(info.warnings.iter().map(|warning| Line::new("!", warning.clone(), Role::Warning)));
        lines.push(Line::heading(""));
        let passed = info.checks.iter().filter(|check| check.passed).count();
        lines.push(Line::heading(&format!("Checks: {passed} of {} passed", info.checks.len())));
        lines.extend(info.checks.iter().map(|check| {
            let (mark, role) = if check.passed { ("ok", Role::Text) } else { ("failed", Role::Danger) };
            let detail = if check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
            Line::new(mark, format!("{}{detail}", check.what), role)
        }));
        self.overlay = Some(Overlay::new(self.name.clone(), lines));
    }
}
