//! The report of a case: what the image is, what was found and what the analyst holds of it, as Markdown and as HTML.

use super::html::Html;
use super::markdown::Markdown;
use super::text::shown;
use crate::case::{Contents, Judgement, Note, Object, Step};
use crate::engine::{Error, Session, find_table};
use crate::facts::text::size;
use crate::facts::{Answer, Digest, Finding, Record, Rows, Scope, State, Time, ToCell, Watch};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A form that a report is written in. What it is handed is raw: each sees to it that text stays text.
pub(super) trait Page {
    fn begin(&mut self, title: &str) -> io::Result<()>;
    fn heading(&mut self, level: u8, text: &str) -> io::Result<()>;
    fn text(&mut self, text: &str) -> io::Result<()>;
    fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()>;
    fn head(&mut self, columns: &[&str]) -> io::Result<()>;
    fn row(&mut self, cells: &[String]) -> io::Result<()>;
    fn foot(&mut self) -> io::Result<()>;
    fn end(&mut self) -> io::Result<()>;
}

/// Rows of a table that are taken in: a report is read by people.
const MOST_ROWS: usize = 5000;

/// All that a report says, before a word of it is written: what is cancelled leaves no file behind.
struct Material<'a> {
    session: &'a Session,
    contents: &'a Contents,
    digests: Option<Vec<Digest>>,
    findings: Option<Answer<Finding>>,
    tables: Vec<Arc<dyn Rows>>,
}

/// Writes report.md and report.html into a folder, which is made where it is missing; answers what to say. What exists is not written
/// over.
pub fn write_report(session: &Session, contents: &Contents, folder: &Path, watch: &Arc<Watch>) -> Result<String, Error> {
    let pages = ["report.md", "report.html"].map(|name| folder.join(name));
    // Better said before a long analysis than after it.
    if let Some(there) = pages.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Error(format!("{}: exists already and is not written over; name another folder", there.display())));
    }
    let material = Material::gather(session, contents, watch)?;
    std::fs::create_dir_all(folder).map_err(|why| Error(format!("{}: {why}", folder.display())))?;
    let [markdown, html] = &pages;
    write(markdown, |file| material.tell(&mut Markdown(file)))?;
    write(html, |file| material.tell(&mut Html(file)))?;
    Ok(format!("report written to {}: report.md, report.html{}", folder.display(), material.caveat()))
}

fn write(path: &PathBuf, tell: impl FnOnce(BufWriter<File>) -> io::Result<()>) -> Result<(), Error> {
    let written = File::create_new(path).and_then(|file| tell(BufWriter::new(file)));
    written.map_err(|why| Error(format!("{}: {why}; the report is incomplete", path.display())))
}

impl<'a> Material<'a> {
    fn gather(session: &'a Session, contents: &'a Contents, watch: &Arc<Watch>) -> Result<Self, Error> {
        let cancelled = || watch.cancelled().then(|| Error("cancelled; no report was written".to_owned())).map_or(Ok(()), Err);
        let digests = match contents.digest {
            true => Some(session.digests(watch).or_else(|why| cancelled().and(Err(why)))?),
            false => None,
        };
        let ask = |name: &str| {
            let entry = session.tables().find(|entry| entry.table.name == name);
            let entry = entry.ok_or_else(|| Error(format!("{} has no table {name}", session.name())))?;
            let rows = session.query(entry, Scope::Machine, watch)?;
            cancelled().map(|()| rows)
        };
        let findings = match contents.findings && find_table(Finding::TABLE.name).is_some() {
            true => ask(Finding::TABLE.name)?.as_any().downcast_ref::<Answer<Finding>>().cloned(),
            false => None,
        };
        let tables = contents.tables.iter().map(|name| ask(name)).collect::<Result<_, _>>()?;
        Ok(Self { session, contents, digests, findings, tables })
    }

    /// What the report lacks, for whoever asked for it.
    fn caveat(&self) -> &'static str {
        let short = |rows: &Arc<dyn Rows>| rows.state() != State::Complete;
        let cut = self.findings.as_ref().is_some_and(|rows| rows.state() != State::Complete) || self.tables.iter().any(short);
        if cut { "; not all of it could be read, the report says what" } else { "" }
    }

    fn tell(&self, page: &mut dyn Page) -> io::Result<()> {
        page.begin(&format!("Memory image {}", self.session.name()))?;
        page.text(&format!("Written by kioku {} at {}.", env!("CARGO_PKG_VERSION"), Time::now()))?;
        self.image(page)?;
        self.profile(page)?;
        let notes = self.contents.notes.as_deref().unwrap_or_default();
        if let Some(findings) = &self.findings {
            tell_findings(findings, notes, page)?;
        }
        if self.contents.notes.is_some() {
            tell_notes(notes, page)?;
        }
        for rows in &self.tables {
            self.table(rows.as_ref(), notes, page)?;
        }
        if let Some(trail) = &self.contents.trail {
            tell_trail(trail, page)?;
        }
        page.end()
    }

    fn image(&self, page: &mut dyn Page) -> io::Result<()> {
        let info = self.session.info();
        page.heading(2, "Image")?;
        let identity = self.session.identity();
        let mut fields = vec![("name", self.session.name().to_owned())];
        let files = if identity.files.is_empty() { vec!["bundled with the program".to_owned()] } else { shown_paths(&identity.files) };
        fields.extend(files.into_iter().map(|file| ("file", file)));
        fields.push(("size", format!("{} bytes ({})", info.size, size(info.size))));
        fields.push(("format", info.format.clone()));
        match &self.digests {
            Some(digests) => fields.extend(digests.iter().map(|digest| ("SHA-256", format!("{} of {}", digest.sha256, digest.file)))),
            None => fields.push(("SHA-256", "not computed".to_owned())),
        }
        fields.push(("identity", format!("{} (of a sample of its bytes; not a sum of the file)", identity.key)));
        fields.push(("system", format!("{} {}", info.os.name(), info.architecture)));
        fields.push(("kernel", info.kernel.clone()));
        fields.push(("host", cell(&info.hostname)));
        fields.push(("booted", cell(&info.boot_time)));
        fields.push(("captured", cell(&info.capture_time)));
        fields.extend(info.warnings.iter().map(|warning| ("warning", warning.clone())));
        page.fields(&fields)
    }

    fn profile(&self, page: &mut dyn Page) -> io::Result<()> {
        let info = self.session.info();
        let passed = info.checks.iter().filter(|check| check.passed).count();
        page.heading(2, "Profile")?;
        page.fields(&[
            ("symbols", info.symbol_source.clone()),
            ("verification", format!("{passed} of {} checks passed", info.checks.len())),
        ])?;
        page.heading(3, "Checks")?;
        page.head(&["result", "check", "detail"])?;
        for check in &info.checks {
            let result = if check.passed { "passed" } else { "FAILED" };
            page.row(&[result.to_owned(), check.what.clone(), check.detail.clone()])?;
        }
        page.foot()
    }

    fn table(&self, rows: &dyn Rows, notes: &[Note], page: &mut dyn Page) -> io::Result<()> {
        let table = rows.table();
        page.heading(2, &format!("Table {}", table.name))?;
        page.text(&format!("{} {}", count(rows.len(), "row", "rows"), table.doc.trim()))?;
        let columns = super::columns(table, Some(self.session.info().os));
        let by_key = by_object(notes);
        let noted = !notes.is_empty();
        let mut names: Vec<&str> = if noted { vec!["note"] } else { Vec::new() };
        names.extend(columns.iter().filter_map(|column| Some(table.columns.get(*column)?.name)));
        page.head(&names)?;
        for row in 0..rows.len().min(MOST_ROWS) {
            let note = noted.then(|| by_key.get(&Object::of_row(rows, row)).map(|note| note.says()).unwrap_or_default());
            let cells = columns.iter().map(|column| plain(rows, row, *column));
            page.row(&note.into_iter().chain(cells).collect::<Vec<_>>())?;
        }
        page.foot()?;
        if rows.len() > MOST_ROWS {
            page.text(&format!("{} rows more: kioku query IMAGE {}", rows.len() - MOST_ROWS, table.name))?;
        }
        rows.notes().iter().try_for_each(|note| page.text(&format!("Note: {note}")))
    }
}

fn tell_findings(findings: &Answer<Finding>, notes: &[Note], page: &mut dyn Page) -> io::Result<()> {
    page.heading(2, "Findings")?;
    let by_key = by_object(notes);
    let note = |row: usize| by_key.get(&Object::of_row(findings, row)).copied();
    let held = |judgement| (0..findings.len()).filter(|row| note(*row).is_some_and(|note| note.judgement == judgement)).count();
    let (confirmed, benign) = (held(Judgement::Confirmed), held(Judgement::Benign));
    let open = findings.len() - confirmed - benign;
    let all = count(findings.len(), "finding", "findings");
    page.text(&format!("{all}: {confirmed} confirmed, {benign} held for benign, {open} not judged by the analyst."))?;
    for (row, finding) in findings.iter().enumerate() {
        let judgement = note(row).map(|note| note.judgement).filter(|it| *it != Judgement::Open);
        let judgement = judgement.map(|judgement| format!(" ({})", judgement.word())).unwrap_or_default();
        page.heading(3, &format!("{} of 100: {}{judgement}", finding.score, finding.subject))?;
        let mut fields: Vec<(&str, String)> = Vec::new();
        fields.extend(note(row).map(|note| ("note", note.says())));
        fields.extend(finding.indicators.iter().map(|indicator| {
            let side = if indicator.rule.points < 0 { "against" } else { "evidence" };
            (side, format!("{:+} {}: {}", indicator.rule.points, indicator.rule.id.replace('_', " "), indicator.detail))
        }));
        if let (Some(process), Some(pid)) = (finding.process.value(), finding.pid.value()) {
            fields.push(("process", format!("{process} {pid}, object {}", cell(&finding.process_address))));
        }
        fields.push(("told in", format!("{} at {}", finding.reference.table, finding.reference.address)));
        if !finding.techniques.is_empty() {
            fields.push(("ATT&CK", finding.techniques.join(", ")));
        }
        if !finding.next.is_empty() {
            fields.push(("next", finding.next.to_owned()));
        }
        fields.extend(finding.problems.iter().map(|problem| ("problem", problem.clone())));
        page.fields(&fields)?;
    }
    findings.notes().iter().try_for_each(|note| page.text(&format!("Note: {note}")))
}

fn tell_notes(notes: &[Note], page: &mut dyn Page) -> io::Result<()> {
    page.heading(2, "Notes of the analyst")?;
    if notes.is_empty() {
        return page.text("None.");
    }
    page.head(&["object", "judgement", "tags", "comment", "noted", "table", "key"])?;
    for note in notes {
        let judgement = if note.judgement == Judgement::Open { "" } else { note.judgement.word() };
        page.row(&[
            note.object.clone(),
            judgement.to_owned(),
            note.tags.join(" "),
            note.comment.clone(),
            cell(&note.changed),
            note.table.clone(),
            note.key.clone(),
        ])?;
    }
    page.foot()
}

fn tell_trail(trail: &[Step], page: &mut dyn Page) -> io::Result<()> {
    page.heading(2, "Audit trail")?;
    page.text("What was done with the image in the explorer, by the clock of the analyst's machine, UTC.")?;
    page.head(&["time", "action", "what"])?;
    trail.iter().try_for_each(|step| page.row(&[cell(&step.time), step.action.word().to_owned(), step.what.clone()]))?;
    page.foot()
}

fn by_object(notes: &[Note]) -> HashMap<Object, &Note> {
    notes.iter().map(|note| (note.about(), note)).collect()
}
fn shown_paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()).display().to_string()).collect()
}
fn cell<T: ToCell>(value: &T) -> String {
    shown(&value.cell()).into_owned()
}
fn plain(rows: &dyn Rows, row: usize, column: usize) -> String {
    shown(&rows.cell(row, column)).into_owned()
}
fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
