//! The case of the image: what was kept before and comes back, what is kept from now on, and the trail of what was looked at.

use super::{App, Effect, Focus};
use crate::address::VirtAddr;
use crate::case::{Action, Casebook, News, Note, Notes, Object, Order, Step};
use crate::engine::Space;
use crate::facts::{Answer, Identity, Record, Rows, Sink, State, Time};
use crate::tui::panes::arrange::Sort;
use crate::tui::panes::bytes::{BytesView, Mode};
use crate::tui::panes::link::{Place, Reads, Where};
use crate::tui::panes::noise::Rule;
use crate::tui::panes::process_tree::Order as TreeOrder;
use crate::tui::panes::table::Seek;
use crate::tui::text::counted;
use crate::tui::theme::Role;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is passed by in less has not been looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// A save that takes longer is worth a word.
const PATIENCE: Duration = Duration::from_millis(250);

/// Whether notes outlast the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keeping {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    Kept,
    Lost,
}

#[derive(Default)]
pub struct Case {
    pub notes: Notes,
    trail: Vec<Step>,
    keeping: Keeping,
    opened: Option<Time>,
    /// The image's identity, and the file that notes are kept in.
    about: Option<(String, Option<PathBuf>)>,
    /// Notes that are in the file.
    on_disk: usize,
    /// Orders whose answer is awaited, and since when.
    saving: usize,
    since: Option<Instant>,
    /// It takes so long that it is said.
    slow: bool,
    failed: bool,
    /// Something has been saved, so that there is a file.
    saved: bool,
    /// The view to return to once there is a tree, and the words for it.
    resume: Option<(View, String)>,
    /// A key has been pressed: the view is the analyst's, and stays.
    touched: bool,
    here: Option<Here>,
    /// The search that is running.
    search: Option<Step>,
    /// What is being commented on.
    pub(super) subject: Option<(Object, String)>,
    pub(super) report: super::report::Plan,
}

/// Where one is, for the trail.
struct Here {
    place: String,
    /// How far one has got there.
    at: Option<u64>,
    time: Time,
    since: Instant,
    told: bool,
}

/// Where the explorer was left: enough to be there again when the image is opened another day.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct View {
    in_tree: bool,
    zoomed: bool,
    all: bool,
    unchosen: bool,
    process: Option<(Option<u64>, u32)>,
    order: String,
    inverted: bool,
    /// Columns of the tree, the most important first, where others than the usual ones were chosen.
    columns: Option<Vec<String>>,
    filter: String,
    table: String,
    row: Option<Object>,
    tables: Vec<TableConditions>,
    bytes: Option<BytesPlace>,
    /// Filters that pick noise in this case.
    noise: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TableConditions {
    table: String,
    filter: String,
    sort: Option<(String, bool)>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct BytesPlace {
    /// physical, kernel, or the address of a process object.
    space: String,
    what: String,
    first: u64,
    last: u64,
    at: u64,
    read_as: String,
    structure: Option<String>,
}

pub(super) fn space_name(space: Space) -> String {
    match space {
        Space::Physical => "physical".to_owned(),
        Space::Kernel => "kernel".to_owned(),
        Space::Process(address) => address.to_string(),
    }
}
pub(super) fn space_named(name: &str) -> Option<Space> {
    match name {
        "physical" => Some(Space::Physical),
        "kernel" => Some(Space::Kernel),
        name => u64::from_str_radix(name.strip_prefix("0x")?, 16).ok().map(|at| Space::Process(VirtAddr(at))),
    }
}

impl App {
    /// What the keeper of the case has to say.
    pub(super) fn kept(&mut self, news: News) {
        let before = self.case_status();
        match news {
            News::Opened { book, identity, kept, begun, told } => {
                self.case.saved = begun;
                return self.take_case(*book, &identity, kept, told);
            }
            News::Saved => {
                self.answered();
                (self.case.failed, self.case.saved) = (false, true);
                if self.case.saving == 0 {
                    self.case.on_disk = self.case.notes.len();
                }
            }
            News::Failed(why) => {
                self.answered();
                self.case.failed = true;
                self.warn(why);
                self.dirty = true;
            }
            News::Told(what) => {
                self.warn(what);
                self.dirty = true;
            }
            News::Closed(_) => (),
        }
        self.dirty |= before != self.case_status();
    }

    fn take_case(&mut self, book: Casebook, identity: &Identity, kept: Option<PathBuf>, told: Option<String>) {
        let Casebook { notes, trail, view } = book;
        self.case.keeping = if kept.is_some() { Keeping::Kept } else { Keeping::Lost };
        self.case.about = Some((identity.key.clone(), kept));
        // Steps of this run came before the answer.
        self.case.trail.splice(0..0, trail);
        self.begin_trail(identity);
        let mut back = Vec::new();
        if !notes.is_empty() {
            back.push(counted(notes.len(), "note", "notes"));
        }
        self.case.on_disk = notes.len();
        for (object, note) in notes {
            self.case.notes.entry(object).or_insert(note);
        }
        let view: Option<(View, String)> = view.and_then(|(text, time)| Some((serde_json::from_str(&text).ok()?, time)));
        let kept = view.iter().flat_map(|(view, _)| &view.noise).filter_map(|filter| Rule::of_case(filter).ok());
        let rules = self.noise.iter().cloned().chain(kept).collect();
        self.set_noise(rules);
        let view = view.filter(|_| !self.case.touched);
        if let Some((_, time)) = &view {
            back.push(format!("the view of {} UTC", time.get(..16).unwrap_or(time).replace('T', " ")));
        }
        if let Some(told) = told {
            self.warn(told);
        } else if !back.is_empty() {
            let is = if back.len() == 1 && !back.first().is_some_and(|it| it.ends_with("notes")) { "is" } else { "are" };
            let mut line = format!("case: {} {is} back", back.join(" and "));
            let warnings = self.info.as_ref().map_or(0, |info| info.warnings.len());
            if warnings > 0 {
                line.push_str(&format!("; ! {}, i shows", counted(warnings, "warning", "warnings")));
            }
            self.notice = Some((Role::Text, line.clone()));
            self.case.resume = view.map(|(view, _)| (view, line));
        } else if self.case.notes.is_empty() {
            return;
        }
        self.dirty = true;
        self.spread_notes();
        self.resume();
    }

    /// For the status line; nothing while there is nothing to say.
    pub fn case_status(&self) -> String {
        let case = &self.case;
        // Only what is on the disk counts as kept.
        let count = if case.keeping == Keeping::Kept { case.on_disk } else { case.notes.len() };
        match (count, case.keeping) {
            (_, Keeping::Kept) if case.failed => "case not saved".to_owned(),
            (_, Keeping::Kept) if case.slow => "case: saving".to_owned(),
            (0, Keeping::Kept) if case.saved => "case saved".to_owned(),
            (0, _) => String::new(),
            (count, Keeping::Lost) => format!("{}, not kept", counted(count, "note", "notes")),
            (count, _) => format!("case: {}", counted(count, "note", "notes")),
        }
    }

    // Keeping.

    fn saving(&mut self) {
        self.case.saving += 1;
        self.case.since.get_or_insert_with(Instant::now);
    }
    fn answered(&mut self) {
        self.case.saving = self.case.saving.saturating_sub(1);
        if self.case.saving == 0 {
            (self.case.since, self.case.slow) = (None, false);
        }
    }
    /// Says that saving takes its time, where it does.
    pub(super) fn notice_saving(&mut self) {
        if !self.case.slow && self.case.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            self.case.slow = true;
            self.dirty = true;
        }
    }

    pub(super) fn keep(&mut self, note: Note) {
        self.look_round(true);
        let step = Step::now(Action::Noted, format!("{}: {}", note.object, if note.is_empty() { "no longer".into() } else { note.says() }));
        self.case.trail.push(step.clone());
        match note.is_empty() {
            true => drop(self.case.notes.remove(&note.about())),
            false => drop(self.case.notes.insert(note.about(), note.clone())),
        }
        self.saving();
        self.effects.push(Effect::Keep(Order::Note(Box::new(note), step)));
        self.spread_notes();
    }

    /// Something has left the explorer.
    pub(super) fn done(&mut self, action: Action, what: &str) {
        self.look_round(true);
        let step = Step::now(action, what);
        self.case.trail.push(step.clone());
        self.saving();
        self.effects.push(Effect::Keep(Order::Done(step)));
    }

    /// What was opened: known when the keeper has looked at it.
    fn begin_trail(&mut self, identity: &Identity) {
        let Some(info) = &self.info else { return };
        let files: Vec<_> = identity.files.iter().map(|path| path.display().to_string()).collect();
        let files = if files.is_empty() { identity.name.clone() } else { files.join(", ") };
        let what = format!("{files}: {}, {} bytes, identity {}; {}", info.format, info.size, identity.key, info.kernel);
        self.seen(Step { time: self.case.opened.into(), action: Action::Opened, what, ..Step::default() });
    }
    pub(super) fn opened_now(&mut self) {
        self.case.opened = Some(Time::now());
    }

    /// A search begins, in the place of one that may still be running.
    pub(super) fn search_begins(&mut self, what: String) {
        self.search_ends("given up");
        self.case.search = Some(Step::now(Action::Searched, what));
    }
    /// Keeps that there was a search, and how it ended.
    pub(super) fn search_ends(&mut self, how: &str) {
        if let Some(step) = self.case.search.take() {
            let what = format!("{}: {how}", step.what);
            self.seen(Step { what, ..step });
        }
    }

    fn seen(&mut self, step: Step) {
        self.case.trail.push(step.clone());
        self.effects.push(Effect::Keep(Order::Seen(step)));
    }

    /// Notices that one is somewhere else now, and keeps what was looked at long enough; `now` keeps where one is, too.
    pub(super) fn look_round(&mut self, now: bool) {
        let crumbs = self.crumbs();
        // The same on every terminal: it is kept.
        let place = crumbs.get(1..).unwrap_or_default().join(" > ");
        let at = self.bytes.as_ref().filter(|_| self.focus == Focus::Tables).map(|view| view.cursor);
        let before = match &mut self.case.here {
            Some(here) if here.place == place => {
                here.at = at;
                None
            }
            here => here.replace(Here { place, at, time: Time::now(), since: Instant::now(), told: false }),
        };
        if let Some(left) = before.filter(|here| !here.told && here.since.elapsed() >= GLANCE) {
            self.seen(left.step());
        }
        if let Some(here) = self.case.here.as_mut().filter(|here| now && !here.told) {
            here.told = true;
            let step = here.step();
            self.seen(step);
        }
    }

    pub(super) fn touch(&mut self) {
        self.case.touched = true;
        self.case.resume = None;
    }

    /// What was done so far, in the order of time.
    pub(super) fn trail(&self) -> Vec<Step> {
        let mut trail = self.case.trail.clone();
        trail.sort_by_key(|step| step.time.value().copied());
        trail
    }

    /// Whether there is something that the end of the program must wait for.
    pub fn must_close(&self) -> bool {
        match self.case.keeping {
            Keeping::Unknown => self.case.saving > 0,
            Keeping::Kept => self.case.saved || self.case.saving > 0 || self.case.failed,
            Keeping::Lost => false,
        }
    }

    /// Which image it is, and where its notes are.
    pub(super) fn case_lines(&self) -> Vec<(&'static str, String)> {
        let Some((identity, file)) = &self.case.about else { return Vec::new() };
        let file = match file {
            Some(path) if self.case.saved => path.display().to_string(),
            Some(path) => format!("{}, begun with the first note", path.display()),
            None => "notes are not kept beyond the end of the program".to_owned(),
        };
        vec![("identity", identity.clone()), ("case", file)]
    }

    /// The last word: the view to come back to, and what remains to be told.
    pub fn close_case(&mut self) -> (String, Vec<Step>) {
        let mut steps = Vec::new();
        if let Some(here) = self.case.here.take().filter(|here| !here.told && here.since.elapsed() >= GLANCE) {
            steps.push(here.step());
        }
        steps.extend(self.case.search.take().map(|step| Step { what: format!("{}: given up", step.what), ..step }));
        steps.push(Step::now(Action::Closed, self.name.clone()));
        (serde_json::to_string(&self.view()).unwrap_or_default(), steps)
    }

    // The view.

    fn view(&self) -> View {
        let active = self.tables.get(self.active);
        let row = active.and_then(|view| Some(Object::of_row(view.rows.as_deref()?, view.selected()?)));
        let visited = self.tables.iter().filter(|view| view.asked.is_some());
        let conditions = visited.map(|view| TableConditions {
            table: view.entry.table.name.to_owned(),
            filter: view.filter.clone(),
            sort: view.sort.and_then(|sort| Some((view.entry.table.columns.get(sort.column)?.name.to_owned(), sort.descending))),
        });
        let bytes = self.bytes.as_ref().map(|view| BytesPlace {
            space: space_name(view.space),
            what: view.what.clone(),
            first: view.first,
            last: view.last,
            at: view.cursor,
            read_as: read_as(view).to_owned(),
            structure: view.fields.as_ref().map(|fields| fields.name.clone()),
        });
        View {
            in_tree: self.focus == Focus::Tree,
            zoomed: self.zoomed,
            all: self.all,
            unchosen: self.unchosen,
            process: self.tree.current().map(|process| (process.address.value().map(|at| at.0), process.pid)),
            order: self.tree.order.name().to_owned(),
            inverted: self.tree.is_inverted(),
            columns: self.tree.wanted_columns(),
            filter: self.tree.filter.clone(),
            table: active.map(|view| view.entry.table.name.to_owned()).unwrap_or_default(),
            row,
            tables: conditions.collect(),
            bytes,
            noise: self.noise.iter().filter(|rule| rule.of_case).map(|rule| rule.filter.clone()).collect(),
        }
    }

    /// Returns to where the explorer was left, once there is a tree and if nobody has gone elsewhere meanwhile.
    pub(super) fn resume(&mut self) {
        if self.tree.is_loading() {
            return;
        }
        let Some((view, line)) = self.case.resume.take() else { return };
        if let Some((address, pid)) = view.process {
            self.tree.reveal(address.map(VirtAddr), Some(pid), &self.look);
        }
        if let Some(order) = TreeOrder::ALL.into_iter().find(|order| order.name() == view.order && *order != self.tree.order) {
            self.order_tree(order);
            if let Some((address, pid)) = view.process {
                self.tree.reveal(address.map(VirtAddr), Some(pid), &self.look);
            }
        }
        if view.inverted != self.tree.is_inverted() {
            self.tree.invert(&self.look);
        }
        if let Some(columns) = &view.columns {
            self.tree.want_columns(columns);
        }
        self.tree.filter = view.filter;
        self.tree.arrange(&self.look);
        (self.all, self.unchosen, self.zoomed) = (view.all, view.unchosen, view.zoomed);
        for conditions in view.tables {
            let Some(table) = self.tables.iter().position(|table| table.entry.table.name == conditions.table) else { continue };
            if let Some(table) = self.tables.get_mut(table) {
                table.filter = conditions.filter;
                let columns = table.entry.table;
                table.sort = conditions.sort.and_then(|(name, descending)| Some(Sort { column: columns.column(&name)?, descending }));
            }
            self.arrange(table);
        }
        if let Some(table) = self.tables.iter().position(|table| table.entry.table.name == view.table) {
            self.show_table(table);
            if let (Some(row), Some(table)) = (view.row, self.tables.get_mut(table)) {
                table.seek = Some(Seek::Again(row));
            }
            self.seek_loaded(table);
        }
        if let Some(bytes) = view.bytes {
            self.resume_bytes(bytes);
        }
        self.focus = if view.in_tree { Focus::Tree } else { Focus::Tables };
        self.notice = Some((Role::Text, line));
    }

    fn resume_bytes(&mut self, bytes: BytesPlace) {
        let Some(space) = space_named(&bytes.space) else { return };
        if matches!(space, Space::Process(process) if self.tree.find(Some(process), None).is_none()) {
            return;
        }
        let reads = match (bytes.read_as.as_str(), bytes.structure) {
            ("code", _) => Reads::Code,
            ("fields", Some(name)) => Reads::Structure(name),
            _ => Reads::Bytes,
        };
        let (first, last) = (bytes.first, bytes.last.max(bytes.first));
        self.open(Place { space: Where::Space(space), first, last, at: bytes.at, what: bytes.what, reads });
        if let (Some(view), "strings") = (&mut self.bytes, bytes.read_as.as_str()) {
            view.toggle(Mode::Texts);
        }
    }
}

fn read_as(view: &BytesView) -> &'static str {
    match view.mode {
        Mode::Hex => "bytes",
        Mode::Code => "code",
        Mode::Texts => "strings",
        Mode::Fields => "fields",
    }
}

impl Here {
    fn step(&self) -> Step {
        let at = self.at.map(|at| format!(" at {at:#x}")).unwrap_or_default();
        Step { time: Some(self.time).into(), action: Action::Looked, what: format!("{}{at}", self.place), ..Step::default() }
    }
}

/// Rows of what the explorer itself has made.
pub(super) fn rows_of<T: Record + Clone>(all: Vec<T>) -> Arc<dyn Rows> {
    let mut sink = Sink::new(Arc::default());
    sink.extend(all);
    let rows: Arc<Answer<T>> = sink.finish();
    debug_assert_eq!(rows.state(), State::Complete);
    rows
}
