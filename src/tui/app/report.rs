//! The report, and the trail of what was done: what is to be in it, and where it is written.

use super::case::rows_of;
use super::questions::Question;
use super::{App, Choice, Effect};
use crate::case::{Contents, Note};
use crate::facts::text::size;
use crate::tui::export::{self, Report};
use crate::tui::panes::overlay::{Line, Overlay};
use crate::tui::text::counted;
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;

/// What the next report is to hold.
pub struct Plan {
    findings: bool,
    notes: bool,
    trail: bool,
    digest: bool,
    tables: Vec<&'static str>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { findings: true, notes: true, trail: false, digest: true, tables: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Findings,
    Notes,
    Trail,
    Digest,
    Table(&'static str),
    /// All of that, now.
    Write,
}

const HEADING: &str = "report (Enter takes in or leaves out):";

impl App {
    fn parts(&self) -> Vec<(Item, Choice)> {
        let plan = &self.case.report;
        let part = |name: &str, within: bool, help: String, part: Part| {
            let keys = if within { "[x]" } else { "[ ]" }.to_owned();
            (Item { name: name.replace('_', " "), keys, help }, Choice::Report(part))
        };
        let file = self.info.as_ref().map_or(0, |info| info.size);
        let write =
            Item { name: "write".into(), keys: "->".into(), help: "the report as Markdown and HTML, with what is marked below".into() };
        let mut parts = vec![
            (write, Choice::Report(Part::Write)),
            part("findings", plan.findings, "with their evidence, and what you hold of them".into(), Part::Findings),
            part("notes", plan.notes, counted(self.case.notes.len(), "note", "notes"), Part::Notes),
            part("SHA-256", plan.digest, format!("of the image; reads all {} of it, w shows how far", size(file)), Part::Digest),
            part(
                "audit",
                plan.trail,
                format!("{} of what was done with the image", counted(self.trail().len(), "step", "steps")),
                Part::Trail,
            ),
        ];
        parts.extend(
            self.tables
                .iter()
                .map(|view| view.entry.table.name)
                .filter(|name| *name != super::FINDINGS)
                .map(|name| part(name, plan.tables.contains(&name), "the table, of the whole machine".into(), Part::Table(name))),
        );
        parts
    }

    pub fn ask_report(&mut self) {
        let parts = self.parts();
        self.choose(HEADING, parts, 0);
    }

    /// Takes a part in or leaves it out, and goes on asking; at last asks where to.
    pub(super) fn report_part(&mut self, chosen: Part) {
        let plan = &mut self.case.report;
        match chosen {
            Part::Findings => plan.findings = !plan.findings,
            Part::Notes => plan.notes = !plan.notes,
            Part::Trail => plan.trail = !plan.trail,
            Part::Digest => plan.digest = !plan.digest,
            Part::Table(name) => match plan.tables.iter().position(|known| *known == name) {
                Some(known) => drop(plan.tables.remove(known)),
                None => plan.tables.push(name),
            },
            Part::Write => {
                let proposed = export::beside_no_evidence(&format!("{}-report", self.stem()), &self.folders);
                return self.ask(Question::Folder, proposed);
            }
        }
        let parts = self.parts();
        let place = parts.iter().position(|(_, choice)| matches!(choice, Choice::Report(part) if *part == chosen)).unwrap_or(0);
        self.choose(HEADING, parts, place);
    }

    pub(super) fn report(&mut self, typed: &str) {
        let plan = &self.case.report;
        let notes = || {
            let mut notes: Vec<Note> = self.case.notes.values().cloned().collect();
            notes.sort_by_key(|note| note.created.value().copied());
            notes
        };
        let contents = Contents {
            findings: plan.findings,
            notes: plan.notes.then(notes),
            trail: plan.trail.then(|| self.trail()),
            digest: plan.digest,
            tables: plan.tables.clone(),
        };
        let Some(write) = self.reporter else { return self.warn("no reports can be written here".to_owned()) };
        self.effects.push(Effect::Report(Report { contents, folder: export::path(typed), write }));
        self.notice = Some((Role::Text, "writing the report; w shows how far, and cancels".to_owned()));
    }

    /// What was done with the image, to read or to export.
    pub fn ask_audit(&mut self) {
        let steps = counted(self.trail().len(), "step", "steps");
        let mut choices =
            vec![(Item { name: "show".into(), keys: String::new(), help: format!("{steps} with their times, UTC") }, Choice::Audit)];
        for writer in self.writers {
            let item = Item { name: format!("export {}", writer.name), keys: String::new(), help: format!("{steps}, {}", writer.help) };
            choices.push((item, Choice::ExportAudit(writer)));
        }
        self.choose("audit:", choices, 0);
    }
    pub(super) fn show_audit(&mut self) {
        let line = |step: &crate::case::Step| {
            let time = step.time.value().map_or_else(|| "??".to_owned(), |time| crate::tui::panes::moment(*time));
            Line::new(time, format!("{} {}", step.action.word(), step.what), Role::Text)
        };
        let mut lines: Vec<Line> = self.trail().iter().map(line).collect();
        lines.push(Line::new("", "Times are UTC. Places where one stayed less than a second are left out.", Role::Dim));
        let mut overlay = Overlay::new("What was done with this image", lines);
        overlay.end();
        self.overlay = Some(overlay);
    }
    pub(super) fn export_audit(&mut self, writer: &'static crate::tui::Writer) {
        self.ask_path_for(rows_of(self.trail()), writer);
    }

    /// The image's name without its ending, for names of files.
    pub(super) fn stem(&self) -> String {
        let stem = std::path::Path::new(&self.name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        export::plain(&stem.unwrap_or_default())
    }
}
