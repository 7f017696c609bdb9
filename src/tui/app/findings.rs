//! What was found: the list that an image opens with, the scores of the tree, and the way from a finding to what it is about.

use super::{App, Focus, Seek};
use crate::address::VirtAddr;
use crate::facts::{Rows, Scope, State};
use std::sync::Arc;

/// The table of findings.
pub const FINDINGS: &str = "findings";

impl App {
    fn findings(&self) -> Option<usize> {
        self.tables.iter().position(|view| view.entry.table.name == FINDINGS)
    }

    /// The list is what one sees first. Its rows are those that the tree's scores are made of, and come with them.
    pub(super) fn show_findings(&mut self) {
        if let Some(table) = self.findings()
            && let Some(view) = self.tables.get_mut(table)
        {
            view.asked = Some(Scope::Machine);
            self.active = table;
            self.focus = Focus::Tables;
            // The process that the tree happens to begin with is nobody's choice.
            (self.all, self.unchosen) = (true, true);
        }
    }

    pub(super) fn judged(&mut self, rows: Arc<dyn Rows>) {
        self.tree.judge(rows.as_ref(), &self.look);
        if let Some(table) = self.findings()
            && let Some(view) = self.tables.get_mut(table)
        {
            view.load(rows);
            self.arrange(table);
        }
    }

    pub(super) fn not_judged(&mut self, why: String) {
        self.tree.not_judged();
        if let Some(view) = self.findings().and_then(|table| self.tables.get_mut(table)) {
            view.failure = Some(why.clone());
        }
        self.warn(format!("the processes could not be judged: {why}"));
    }

    /// The timeline of the machine, but only of what somebody began.
    pub fn show_what_ran(&mut self) {
        self.seek("timeline", None, None);
        let Some(view) = self.table().filter(|view| view.entry.table.name == "timeline") else { return };
        view.filter = "kind:/process_start|shell_command/".to_owned();
        let table = self.active;
        self.arrange(table);
    }

    /// To a row of a table: of the process, where the table is one of processes.
    pub(super) fn seek(&mut self, table: &str, row: Option<Seek>, process: Option<(Option<VirtAddr>, Option<u32>)>) {
        let Some(index) = self.tables.iter().position(|view| view.entry.table.name == table) else {
            return self.warn(format!("this image has no table {table}"));
        };
        self.leave();
        match process.filter(|(address, pid)| self.tree.find(*address, *pid).is_some()) {
            Some((address, pid)) => {
                self.tree.reveal(address, pid, &self.look);
                self.all = false;
            }
            // A table of the machine shows the same rows either way.
            None => self.all |= self.tables.get(index).is_some_and(|view| !view.machine_only),
        }
        self.show_table(index);
        let Some(view) = self.table() else { return };
        view.filter.clear();
        view.search.clear();
        view.all_times();
        view.seek = row;
        self.seek_loaded(index);
    }

    /// Looks for the row that a table is to go to, where its rows are here already.
    pub(super) fn seek_loaded(&mut self, index: usize) {
        let scope = self.scope();
        let Some(view) = self.tables.get_mut(index) else { return };
        let same = view.machine_only || view.asked == Some(scope);
        if let Some(rows) = view.rows.clone().filter(|rows| same && rows.state() != State::Running) {
            view.load(rows);
            let missed = view.missed();
            self.arrange(index);
            missed.into_iter().for_each(|why| self.warn(why));
        }
    }
}
