//! Looking at a stretch of time, and at or past what machines do by themselves.

use super::App;
use crate::case::Action;
use crate::tui::panes::noise::Rule;
use crate::tui::theme::Role;
use std::sync::Arc;

impl App {
    /// Shows or hides noise; a filter is made a rule of the case, or taken back if it is one.
    pub fn noise(&mut self, filter: &str) {
        if filter.is_empty() {
            return self.toggle_noise();
        }
        let mut rules = self.noise.to_vec();
        let before = rules.len();
        rules.retain(|rule| !(rule.of_case && rule.filter == filter));
        let said = match rules.len() < before {
            true => format!("no noise any more: {filter}"),
            false => match Rule::of_case(filter) {
                Ok(rule) => {
                    rules.push(rule);
                    format!("noise in this case: {filter}")
                }
                Err(why) => return self.warn(why),
            },
        };
        self.set_noise(rules);
        self.done(Action::Noted, &said);
        self.notice = Some((Role::Text, said));
    }

    pub fn set_noise(&mut self, rules: Vec<Rule>) {
        self.noise = rules.into();
        self.tables.iter_mut().for_each(|view| view.rules = Arc::clone(&self.noise));
        (0..self.tables.len()).for_each(|table| self.arrange(table));
    }

    fn toggle_noise(&mut self) {
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
