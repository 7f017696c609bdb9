//! Looking at a stretch of time, and at or past what machines do by themselves.

use super::App;
use crate::tui::theme::Role;

impl App {
    pub fn toggle_noise(&mut self) {
        let table = self.active;
        let Some(view) = self.table() else { return };
        if !view.toggle_noise() {
            return self.notice = Some((Role::Dim, "this table marks no row as noise".to_owned()));
        }
        let text = if view.quiet { "noise is hidden" } else { "noise is shown" };
        self.arrange(table);
        self.notice = Some((Role::Text, text.to_owned()));
    }

    pub fn zoom_time(&mut self, further: bool) {
        let table = self.active;
        let Some(view) = self.table() else { return };
        let stepped = view.zoom_time(further);
        self.timed(table, stepped, if further { "no closer: seconds are the closest" } else { "all times are shown" });
    }

    pub fn slide_time(&mut self, forward: bool) {
        let table = self.active;
        let Some(view) = self.table() else { return };
        let all = view.zoom.is_none_or(|zoom| zoom.window().is_none());
        let slid = view.slide_time(forward);
        let end = if all { "all times are shown; + looks closer" } else { "no row lies beyond" };
        self.timed(table, slid, end);
    }

    fn timed(&mut self, table: usize, done: bool, why_not: &str) {
        match self.tables.get(table).is_some_and(|view| view.zoom.is_some()) {
            true if done => self.arrange(table),
            true => self.notice = Some((Role::Dim, why_not.to_owned())),
            false => self.notice = Some((Role::Dim, "this table is no list of moments; timeline and events are".to_owned())),
        }
    }
}
