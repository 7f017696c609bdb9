//! The pane of every table: one view over [`Rows`], whatever they are.

use super::arrange::{Arranged, Ask, Sort, next_hit};
use super::filter::{self, Field};
use super::link::{self, Named};
use super::noise::{self, Hush, Rule};
use super::times::{Order, Zoom};
use super::{Sign, Signs, flow, frame, noted, record, role_of, shown_as, signs, value};
use crate::case::Object;
use crate::engine::{Entry, Ground};
use crate::facts::{Cell, Kind, Origin, Rows, Scope, State, Table};
use crate::tui::hunt::{Hunt, surroundings};
use crate::tui::text::{Cut, counted, grouped};
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::virtual_table::{Grid, KEEP, ListState, Painted, VirtualTable, Want, place};
use crate::tui::widgets::{put, thumb};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::sync::Arc;
use std::time::Instant;

/// How a column is shown.
struct Show {
    column: &'static str,
    header: &'static str,
    /// Which columns give way first on a narrow screen; 9 never does.
    priority: u8,
    /// A column that is written behind this one, as a port behind its address.
    joined: &'static str,
}

const fn show(column: &'static str, header: &'static str, priority: u8) -> Show {
    Show { column, header, priority, joined: "" }
}
const fn with(column: &'static str, joined: &'static str, header: &'static str, priority: u8) -> Show {
    Show { column, header, priority, joined }
}

/// Before the columns of every table whose rows belong to processes.
const OWNER: &[Show] = &[show("pid", "PID", KEEP), show("process", "PROCESS", KEEP)];

/// The columns of each table on the screen, in order; the record of a row shows all of them.
fn shows(table: &str) -> Option<&'static [Show]> {
    const SOCKETS: &[Show] = &[
        show("protocol", "PROTO", 8),
        with("local_address", "local_port", "LOCAL", 8),
        with("remote_address", "remote_port", "REMOTE", 8),
        show("state", "STATE", 7),
        show("fd", "FD", 4),
        show("inode", "INODE", 3),
        show("namespace", "NETNS", 2),
        show("sources", "SEEN BY", 1),
    ];
    const REGIONS: &[Show] = &[
        show("start", "START", 8),
        show("end", "END", 5),
        show("protection", "RIGHTS", 8),
        show("kind", "KIND", 7),
        show("page_rights", "NOW", 5),
        show("resident_pages", "PAGES", 4),
        show("file", "FILE", 6),
        show("offset", "OFFSET", 2),
        show("inode", "INODE", 1),
    ];
    const SUSPICIOUS: &[Show] = &[
        show("score", "SCORE", 8),
        show("verdict", "VERDICT", 8),
        show("start", "START", 6),
        show("protection", "RIGHTS", 7),
        show("indicators", "WHY", 8),
        show("file", "FILE", 3),
    ];
    const FINDINGS: &[Show] = &[
        show("score", "SCORE", KEEP),
        show("pid", "PID", KEEP),
        show("process", "PROCESS", KEEP),
        show("subject", "WHAT", KEEP),
        show("indicators", "WHY", 2),
        show("techniques", "ATT&CK", 1),
    ];
    const THREADS: &[Show] = &[
        show("tid", "TID", 8),
        show("name", "NAME", 7),
        show("state", "STATE", 6),
        show("win32_start_address", "RUNS", 6),
        show("win32_start_module", "RUNS IN", 5),
        show("create_time", "STARTED", 4),
        show("start_address", "STARTS AT", 3),
    ];
    const OPEN_FILES: &[Show] = &[
        show("fd", "FD", 8),
        show("kind", "KIND", 7),
        show("path", "PATH", 8),
        show("deleted", "DELETED", 6),
        show("mode", "MODE", 4),
        show("position", "POSITION", 3),
        show("inode", "INODE", 2),
    ];
    const LIBRARIES: &[Show] = &[show("base", "BASE", 8), show("size", "SIZE", 5), show("name", "NAME", 8), show("path", "PATH", 6)];
    const ENVIRONMENT: &[Show] = &[show("name", "NAME", 8), show("value", "VALUE", 8)];
    const CAPABILITIES: &[Show] = &[
        show("effective", "EFFECTIVE", 8),
        show("permitted", "PERMITTED", 7),
        show("inheritable", "INHERITABLE", 5),
        show("bounding", "BOUNDING", 6),
        show("ambient", "AMBIENT", 4),
        show("tracer", "TRACER", 3),
        show("seccomp", "SECCOMP", 2),
        show("no_new_privileges", "NO NEW", 1),
    ];
    const MODULES: &[Show] = &[
        show("name", "NAME", KEEP),
        show("state", "STATE", KEEP),
        show("base", "BASE", 8),
        show("size", "SIZE", 7),
        show("sources", "SEEN BY", 6),
        show("path", "PATH", 3),
    ];
    const MOUNTS: &[Show] = &[
        show("path", "MOUNTED ON", KEEP),
        show("type", "TYPE", 8),
        show("source", "SOURCE", 7),
        show("options", "OPTIONS", 6),
        show("namespace", "MNTNS", 4),
        show("id", "ID", 3),
    ];
    const KERNEL_LOG: &[Show] =
        &[show("sequence", "NO", 3), show("time", "TIME UTC", 7), show("level", "LEVEL", 8), show("text", "MESSAGE", KEEP)];
    const SHELL_HISTORY: &[Show] = &[show("time", "TIME UTC", 8), show("command", "COMMAND", KEEP)];
    const PROCESSES: &[Show] = &[
        show("pid", "PID", KEEP),
        show("ppid", "PPID", 7),
        show("name", "NAME", KEEP),
        show("state", "STATE", KEEP),
        show("uid", "UID", 6),
        show("threads", "THR", 4),
        show("create_time", "STARTED UTC", 5),
        show("exit_time", "ENDED UTC", 2),
        show("sources", "SEEN BY", 5),
        show("command_line", "COMMAND LINE", 6),
        show("address", "OBJECT", 1),
    ];
    const EVENTS: &[Show] = &[
        show("time", "TIME", 8),
        show("event_id", "EVENT", 7),
        show("summary", "WHAT", 8),
        show("recovered", "RECOVERED", 3),
        show("computer", "COMPUTER", 2),
    ];
    const CONNECTIONS: &[Show] = &[
        show("protocol", "PROTO", 8),
        with("local_address", "local_port", "LOCAL", 8),
        with("remote_address", "remote_port", "REMOTE", 8),
        show("evidence", "EVIDENCE", 8),
        show("state", "STATE", 7),
        show("count", "LOGGED", 5),
        show("last_seen", "LAST SEEN", 6),
        show("would_be_logged", "WOULD BE LOGGED", 2),
    ];
    const TIMELINE: &[Show] = &[
        show("time", "TIME UTC", KEEP),
        show("kind", "KIND", 8),
        show("pid", "PID", 7),
        show("process", "PROCESS", 6),
        show("macb", "MACB", 4),
        show("summary", "WHAT", KEEP),
        show("source", "FROM", 3),
    ];
    const HANDLES: &[Show] = &[show("handle", "HANDLE", 7), show("type", "TYPE", 8), show("name", "NAME", 8), show("access", "ACCESS", 5)];
    const SERVICES: &[Show] = &[
        show("name", "NAME", 8),
        show("state", "STATE", 8),
        show("start", "START", 6),
        show("binary", "BINARY", 7),
        show("display_name", "DISPLAY NAME", 4),
    ];
    const DRIVERS: &[Show] = &[
        show("name", "NAME", 8),
        show("state", "STATE", 8),
        show("module", "MODULE", 7),
        show("foreign", "LEADS ELSEWHERE", 8),
        show("start", "START", 4),
        show("size", "SIZE", 3),
    ];
    const CALLBACKS: &[Show] = &[
        show("kind", "KIND", 8),
        show("module", "MODULE", 8),
        show("function", "FUNCTION", 7),
        show("symbol", "SYMBOL", 5),
        show("detail", "DETAIL", 4),
    ];
    const SEARCH: &[Show] = &[
        show("address", "ADDRESS", 8),
        show("physical_address", "PHYSICAL", 4),
        show("pattern", "RULE", 8),
        show("form", "FORM", 3),
        show("text", "STRING", KEEP),
        show("context", "FOUND", KEEP),
        show("kind", "KIND", 7),
        show("file", "FILE", 6),
        show("protection", "RIGHTS", 4),
        show("mappings", "MAPPED", 2),
    ];
    // Of hits in files.
    const SEARCH_FILES: &[Show] = &[
        show("file", "FILE", KEEP),
        show("file_offset", "OFFSET", KEEP),
        show("pattern", "RULE", 8),
        show("form", "FORM", 3),
        show("text", "STRING", 8),
        show("context", "FOUND", 8),
        show("kind", "KIND", 6),
        show("physical_address", "PHYSICAL", 5),
    ];
    Some(match table {
        "search" => SEARCH,
        "search_files" => SEARCH_FILES,
        "events" => EVENTS,
        "timeline" => TIMELINE,
        "connections" => CONNECTIONS,
        "handles" => HANDLES,
        "services" => SERVICES,
        "drivers" => DRIVERS,
        "callbacks" => CALLBACKS,
        "sockets" => SOCKETS,
        "regions" => REGIONS,
        "findings" => FINDINGS,
        "suspicious" => SUSPICIOUS,
        "threads" => THREADS,
        "open_files" => OPEN_FILES,
        "libraries" => LIBRARIES,
        "environment" => ENVIRONMENT,
        "capabilities" => CAPABILITIES,
        "modules" => MODULES,
        "mounts" => MOUNTS,
        "kernel_log" => KERNEL_LOG,
        "shell_history" => SHELL_HISTORY,
        "processes" => PROCESSES,
        _ => return None,
    })
}

/// The order in which a table is of most use; None is the order in which the rows were found.
fn first_order(table: &'static Table) -> Option<Sort> {
    let (column, descending) = match table.name {
        "suspicious" => ("score", true),
        // Hidden stands before loaded.
        "modules" => ("state", false),
        _ => return None,
    };
    table.column(column).map(|column| Sort { column, descending })
}

/// One column of a view: which, under what name, and how wide its texts have been so far.
struct Column {
    index: usize,
    joined: Option<usize>,
    header: String,
    priority: u8,
    right: bool,
    cut: Cut,
    /// The width from which it reads well; None for what is useless when cut, such as a number.
    comfort: Option<u16>,
    widest: u16,
}

fn columns(table: &'static Table, shows: Option<&[Show]>, os: Origin) -> Vec<Column> {
    let make = |index: usize, joined: Option<usize>, header: String, priority: u8| {
        let column = table.columns.get(index).filter(|column| column.serves.includes(os))?;
        let cut = if matches!(column.name, "path" | "file" | "win32_start_module") { Cut::Start } else { Cut::End };
        let kind = column.kind;
        let long =
            matches!(column.name, "path" | "file" | "command_line" | "command" | "indicators" | "subject" | "value" | "text" | "options");
        let comfort = match kind {
            // What it is about says more than anything beside it.
            _ if column.name == "subject" => Some(70),
            _ if column.name == "context" => Some(24),
            _ if column.name == "summary" => Some(48),
            // An address without its port is of no use.
            _ if joined.is_some() => Some(21),
            Kind::Text | Kind::List | Kind::Bytes | Kind::Object => Some(if long { 24 } else { 15 }),
            _ => None,
        };
        let widest = u16::try_from(header.len()).unwrap_or(u16::MAX);
        Some(Column { index, joined, header, priority, right: kind.aligns_right(), cut, comfort, widest })
    };
    match shows {
        Some(shows) => {
            let owner = if matches!(table.name, "processes" | "findings" | "timeline") { &[] } else { OWNER };
            let all = owner.iter().chain(shows);
            let column = |show: &Show| make(table.column(show.column)?, table.column(show.joined), show.header.to_owned(), show.priority);
            all.filter_map(column).collect()
        }
        // A table that this file does not know yet: all columns, the first ones most important.
        None => (0..table.columns.len().saturating_sub(1))
            .filter_map(|index| {
                let header = table.columns.get(index)?.name.replace('_', " ").to_uppercase();
                make(index, None, header, (8 - index.min(7)) as u8)
            })
            .collect(),
    }
}

/// A row to go to when it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The row that this address stands in.
    Address(u64),
    /// The row of this address that a finding is about: it names the function first.
    Function(u64, String),
    /// The number of a record, where it has one, and the line that it is told in: numbers are those of one log.
    Record(Option<u64>, String),
    Object(Object),
    /// An object, of which nothing is said where it is not there.
    Again(Object),
}

impl Seek {
    pub fn row_of(&self, rows: &dyn Rows) -> Option<usize> {
        match self {
            Self::Address(at) => row_of(rows, *at),
            Self::Function(at, subject) => function_of(rows, *at, subject).or_else(|| row_of(rows, *at)),
            Self::Record(number, line) => record_of(rows, *number, line),
            Self::Object(object) | Self::Again(object) => object.row_in(rows),
        }
    }
}

/// A table in its pane.
pub struct TableView {
    pub entry: &'static Entry,
    pub os: Origin,
    pub title: String,
    /// Whether the machine as a whole is its only subject.
    pub machine_only: bool,
    /// What has been asked for, and what the rows are about.
    pub asked: Option<Scope>,
    /// The search whose hits the rows are, if they are that.
    pub hunt: Option<Arc<Hunt>>,
    pub rows: Option<Arc<dyn Rows>>,
    /// Since when the rows have been those of another process, shown only until the new ones come.
    pub stale: Option<Instant>,
    pub failure: Option<String>,
    pub list: ListState,
    /// The row whose details are shown: the selected one, once the cursor rests on it.
    told: Option<usize>,
    pub filter: String,
    pub search: String,
    pub sort: Option<Sort>,
    pub arranged: Arranged,
    /// The row to return to when the rows are here.
    pub wanted: Option<usize>,
    /// The row to go to when it is here.
    pub seek: Option<Seek>,
    /// Somebody went to the end while rows were still coming: the cursor stays there until they all are here.
    pub follows: bool,
    /// Whether noise is hidden, where the table marks it, and what else the user calls noise.
    pub quiet: bool,
    pub rules: Arc<[Rule]>,
    /// The stretch of time that is looked at, of a table that is a list of moments.
    pub zoom: Option<Zoom>,
    /// What is noted on its rows.
    pub signs: Signs,
    /// Rows that the user has not moved in yet: the cursor stays at the top however they are ordered.
    fresh: bool,
    /// Counts the arrangements asked for, so that a late one is known as such.
    pub generation: u32,
    /// How many rows say that they are hidden, of those that are worth counting while they load.
    pub hidden: usize,
    columns: Vec<Column>,
    measured: usize,
    /// Where the body was last drawn, and the columns in it, for the mouse.
    pub body: Rect,
    placed: Vec<(usize, u16, u16)>,
}

const ALL_PROCESSES: &str = "a shows those of the whole machine";
/// Rows that are looked at for the widths; the rows in the window are looked at in any case.
const SAMPLE: usize = 500;
const WIDEST: u16 = 200;

impl TableView {
    pub fn new(entry: &'static Entry, os: Origin) -> Self {
        let name = entry.table.name;
        let mut title: String = match name {
            "processes" => "Process list".into(),
            "sids" => "SIDs".into(),
            "apcs" => "APCs".into(),
            "ssdt" => "SSDT".into(),
            "ebpf_programs" => "eBPF programs".into(),
            name => name.replace('_', " "),
        };
        if let Some(first) = title.get_mut(..1).filter(|_| name != "ebpf_programs") {
            first.make_ascii_uppercase();
        }
        let scoped = entry.table.column("pid").is_some() && !matches!(name, "processes" | "shell_history" | "findings");
        Self {
            entry,
            os,
            title,
            machine_only: !scoped,
            asked: None,
            hunt: None,
            rows: None,
            stale: None,
            failure: None,
            list: ListState::default(),
            told: None,
            filter: String::new(),
            search: String::new(),
            sort: first_order(entry.table),
            arranged: Arranged::default(),
            wanted: None,
            seek: None,
            follows: false,
            quiet: noise::column(entry.table).is_some(),
            rules: Arc::default(),
            zoom: Zoom::of(entry.table),
            signs: Signs::default(),
            fresh: true,
            generation: 0,
            hidden: 0,
            columns: columns(entry.table, shows(name), os),
            measured: 0,
            body: Rect::ZERO,
            placed: Vec::new(),
        }
    }

    /// The hits of a search.
    pub fn hunting(entry: &'static Entry, os: Origin, hunt: Arc<Hunt>) -> Self {
        let asked = Some(hunt.scope());
        let in_files = matches!(hunt.ground, Ground::Files(_));
        let mut columns = columns(entry.table, shows(if in_files { "search_files" } else { entry.table.name }), os);
        columns.retain(|column| entry.table.columns.get(column.index).is_some_and(|column| !hunt.spares(column.name)));
        Self { machine_only: true, asked, columns, hunt: Some(hunt), ..Self::new(entry, os) }
    }

    /// Rows have come, perhaps not all of them yet.
    pub fn load(&mut self, rows: Arc<dyn Rows>) {
        if self.stale.take().is_some() || self.rows.is_none() {
            self.list = ListState { height: self.list.height, ..ListState::default() };
            self.arranged = Arranged::default();
            self.measured = 0;
            self.fresh = true;
        }
        let sought = self.seek.as_ref().and_then(|seek| seek.row_of(rows.as_ref()));
        if let Some(row) = sought {
            self.seek = None;
            // Who goes to a row wants to see it.
            self.quiet &= noise::column(self.entry.table).is_none_or(|column| rows.cell(row, column).is_null());
            self.arranged = Arranged::default();
        }
        if let Some(row) = sought.or(self.wanted.filter(|row| *row < rows.len())) {
            self.wanted = None;
            self.fresh = false;
            self.list.cursor = row;
        }
        self.fresh &= self.list.cursor == 0;
        // The hits of a search are put in order in the end: the cursor stays with its own.
        if let (Some(before), Some(row), false) = (self.rows.as_ref().filter(|_| self.hunt.is_some()), self.selected(), self.fresh)
            && let Some(now) = same_hit(before.as_ref(), row, rows.as_ref())
            && now != row
        {
            self.arranged = Arranged::default();
            self.list.cursor = now;
        }
        self.failure = None;
        self.measure(rows.as_ref());
        self.hidden = rows.table().column("state").map_or(0, |state| {
            let hidden = |row: &usize| matches!(rows.cell(*row, state), Cell::Text(text) if text == "hidden");
            (0..rows.len().min(20_000)).filter(hidden).count()
        });
        self.rows = Some(rows);
        self.keep_to_end();
    }

    /// Whether rows are still to come.
    pub fn awaits_rows(&self) -> bool {
        self.failure.is_none() && self.rows.as_ref().is_none_or(|rows| self.stale.is_some() || rows.state() == State::Running)
    }
    fn keep_to_end(&mut self) {
        if self.follows {
            self.list.cursor = self.shown().saturating_sub(1);
            self.fresh = false;
        }
    }

    /// What to say of a row that was to be gone to and is not here, though all rows are.
    pub fn missed(&mut self) -> Option<String> {
        let whole = self.rows.as_ref().is_some_and(|rows| rows.state() != State::Running);
        let title = self.title.to_lowercase();
        match self.seek.take_if(|_| whole)? {
            Seek::Address(at) | Seek::Function(at, _) => Some(format!("{title} has no row at {at:#x}")),
            Seek::Record(Some(number), _) => Some(format!("{title} has no row of record {number}")),
            Seek::Record(None, line) => Some(format!("{title} has no row that says {line:?}")),
            Seek::Object(_) => Some(format!("{title} does not have the noted row any more")),
            Seek::Again(_) => None,
        }
    }

    pub fn forget(&mut self) {
        self.rows = None;
        self.stale = None;
        self.arranged = Arranged::default();
        self.measured = 0;
    }

    fn measure(&mut self, rows: &dyn Rows) {
        if self.measured == 0 {
            for column in &mut self.columns {
                column.widest = u16::try_from(column.header.len()).unwrap_or(u16::MAX);
            }
        }
        let end = rows.len().min(SAMPLE);
        for row in self.measured..end {
            self.measure_row(rows, row);
        }
        self.measured = self.measured.max(end);
    }

    fn measure_row(&mut self, rows: &dyn Rows, row: usize) {
        let table = rows.table();
        for column in &mut self.columns {
            let wide = match rows.cell(row, column.index) {
                Cell::Hex(number) => 2 + (64 - number.leading_zeros()).div_ceil(4).max(1) as usize,
                Cell::Time(_) => 19,
                Cell::Bool(_) => 3,
                Cell::Bytes(bytes) if self.hunt.is_some() => bytes.len(),
                Cell::Bytes(bytes) => bytes.len() * 3,
                Cell::Text(text) if let Some(shown) = table.columns.get(column.index).and_then(|it| shown_as(it.name, &text)) => {
                    shown.len()
                }
                Cell::Text(text) => text.len().min(WIDEST.into()) + if column.joined.is_some() { 8 } else { 0 },
                Cell::List(items) if matches!(items.first(), Some(Cell::Object(_))) => signs(&items).len(),
                Cell::List(items) => items.iter().map(|item| item.to_string().len() + 2).sum::<usize>().saturating_sub(2),
                other => other.to_string().len(),
            };
            column.widest = column.widest.max(u16::try_from(wide).unwrap_or(WIDEST)).min(WIDEST);
        }
    }

    pub fn total(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.len())
    }
    pub fn shown(&self) -> usize {
        self.arranged.order.as_ref().map_or(self.total(), Vec::len)
    }
    /// The row number at a place of the view.
    pub fn row_at(&self, place: usize) -> Option<usize> {
        match &self.arranged.order {
            Some(order) => order.get(place).map(|row| *row as usize),
            None => (place < self.total()).then_some(place),
        }
    }
    /// Puts the cursor on a row, if it is shown.
    pub fn select(&mut self, row: usize) {
        let place = (0..self.shown()).find(|place| self.row_at(*place) == Some(row));
        self.list.cursor = place.unwrap_or(self.list.cursor);
    }
    pub fn settle(&mut self) {
        self.told = self.selected();
    }
    pub fn selected(&self) -> Option<usize> {
        self.row_at(self.list.cursor)
    }
    /// The work that filter, search and sorting need; None where the rows are shown as they come.
    pub fn ask(&mut self) -> Option<Ask> {
        self.generation = self.generation.wrapping_add(1);
        let rows = self.rows.clone()?;
        self.fresh &= self.list.cursor == 0;
        let keep = self.selected().filter(|_| !self.fresh).and_then(|row| u32::try_from(row).ok());
        let hush = noise::column(self.entry.table).filter(|_| self.quiet).map(|column| Hush { column, rules: Arc::clone(&self.rules) });
        let window = self.zoom.and_then(|zoom| zoom.window());
        let plain = self.filter.trim().is_empty() && self.search.trim().is_empty() && self.sort.is_none();
        if plain && hush.is_none() && window.is_none() {
            self.arranged = Arranged::default();
            self.list.cursor = keep.map_or(0, |row| row as usize);
            self.keep_to_end();
            self.follows &= self.awaits_rows();
            return None;
        }
        let fields: Arc<[Field]> = self.fields().into();
        let columns: Vec<usize> = self.columns.iter().flat_map(|column| [Some(column.index), column.joined]).flatten().collect();
        let shown = fields.iter().copied().filter(|field| columns.contains(&field.column)).collect();
        Some(Ask { rows, fields, shown, filter: self.filter.clone(), search: self.search.clone(), sort: self.sort, keep, hush, window })
    }

    /// Shows or hides noise; false where no row of the table can be any.
    pub fn toggle_noise(&mut self) -> bool {
        let marks = noise::column(self.entry.table).is_some();
        self.quiet = marks && !self.quiet;
        marks
    }
    /// A step into time or out of it, around the selected row.
    pub fn zoom_time(&mut self, further: bool) -> bool {
        let row = self.selected();
        match (&mut self.zoom, &self.rows) {
            (Some(zoom), Some(rows)) => zoom.step(further, rows.as_ref(), row),
            _ => false,
        }
    }
    pub fn slide_time(&mut self, forward: bool) -> bool {
        self.fresh = true;
        match (&mut self.zoom, &self.rows) {
            (Some(zoom), Some(rows)) => zoom.slide(forward, rows.as_ref()),
            _ => false,
        }
    }
    /// Shows all times again; false where all were shown.
    pub fn all_times(&mut self) -> bool {
        self.zoom.as_mut().is_some_and(Zoom::reset)
    }

    /// The columns that a filter can name.
    pub fn fields(&self) -> Vec<Field> {
        filter::fields(self.entry.table, self.os)
    }

    pub fn take(&mut self, generation: u32, arranged: Arranged) {
        if generation == self.generation {
            // A row that the filter hides gives the cursor to the first that it leaves.
            self.list.cursor = arranged.kept.unwrap_or(0);
            self.arranged = arranged;
            self.keep_to_end();
            self.follows &= self.awaits_rows();
        }
    }

    /// Sorts by the next column of those in sight, and after the last one not at all.
    pub fn sort_by_next(&mut self) {
        let mut seen: Vec<usize> =
            self.placed.iter().filter_map(|(shown, ..)| self.columns.get(*shown)).map(|column| column.index).collect();
        if seen.is_empty() {
            seen = self.columns.iter().map(|column| column.index).collect();
        }
        let next = match self.sort {
            None => seen.first(),
            Some(sort) => seen.iter().position(|column| *column == sort.column).and_then(|at| seen.get(at + 1)),
        };
        self.sort = next.map(|column| Sort { column: *column, descending: false });
    }
    /// Sorts by the column whose header was clicked, the other way round at the second click.
    pub fn sort_at(&mut self, x: u16) -> bool {
        let x = x.saturating_sub(self.body.x + 1);
        let clicked = self.placed.iter().find(|(_, left, width)| (*left..left + width).contains(&x));
        let Some(column) = clicked.and_then(|(shown, ..)| self.columns.get(*shown)) else { return false };
        let descending = self.sort.is_some_and(|sort| sort.column == column.index && !sort.descending);
        self.sort = Some(Sort { column: column.index, descending });
        true
    }
    pub fn invert(&mut self) -> bool {
        self.sort.as_mut().map(|sort| sort.descending = !sort.descending).is_some()
    }

    pub fn next_hit(&mut self, forward: bool) -> bool {
        let hit = next_hit(&self.arranged.hits, self.list.cursor, forward);
        self.list.cursor = hit.unwrap_or(self.list.cursor);
        hit.is_some()
    }

    /// Where the selected row leads, what it is about first.
    pub fn links(&self) -> Vec<Named> {
        match (&self.rows, self.selected()) {
            (Some(rows), Some(row)) => link::of_row(rows.as_ref(), row, self.asked, self.os),
            _ => Vec::new(),
        }
    }

    /// What is noted on a row.
    fn sign(&self, row: usize) -> Option<&Sign> {
        if self.signs.is_empty() {
            return None;
        }
        self.signs.get(&Object::of_row(self.rows.as_deref()?, row).key)
    }

    /// The row on the screen line `y`.
    pub fn place_at(&self, y: u16) -> Option<usize> {
        let line = y.checked_sub(self.body.y + 1)?;
        let place = self.list.top + usize::from(line);
        (y < self.body.bottom() && place < self.shown()).then_some(place)
    }

    pub fn position(&self) -> String {
        let (shown, total) = (self.shown(), self.total());
        let mut text = match shown {
            0 if total == 0 => String::new(),
            0 => format!("0 of {}", grouped(total)),
            _ => format!("{}/{}", grouped(self.list.cursor + 1), grouped(shown)),
        };
        if shown != total && shown != 0 {
            text.push_str(&format!(" of {}", grouped(total)));
        }
        if !self.search.is_empty() {
            let hits = self.arranged.hits.len();
            let at = self.arranged.hits.iter().position(|hit| *hit as usize == self.list.cursor);
            text.push_str(&match at {
                Some(at) => format!("  /{} of {}", grouped(at + 1), grouped(hits)),
                None => format!("  /{}", counted(hits, "hit", "hits")),
            });
        }
        text
    }

    /// Filter and order, for the title: what makes the view show less than there is must be seen.
    fn conditions(&self, look: &Look) -> String {
        let mut parts: Vec<String> = self.zoom.and_then(|zoom| zoom.told()).into_iter().collect();
        if !self.filter.trim().is_empty() {
            parts.push(format!("filter: {}", look.fit(&self.filter, 24, Cut::End)));
        }
        if let Some(sort) = self.sort
            && let Some(column) = self.columns.iter().find(|column| column.index == sort.column)
        {
            let arrow = if sort.descending { look.symbols.down } else { look.symbols.up };
            parts.push(format!("sort: {} {arrow}", column.header.to_lowercase()));
        }
        if parts.is_empty() { String::new() } else { format!(" {} ", parts.join(look.symbols.dot)) }
    }

    fn waiting(&self) -> (Role, String) {
        let findings = "judging processes, modules and hooks; meanwhile 0 shows the process tree";
        if let Some(hunt) = &self.hunt {
            return (Role::Dim, format!("searching {} for {}; ^C stops, w shows how far it is", hunt.place, hunt.name()));
        }
        (Role::Dim, if self.entry.table.name == "findings" { findings } else { "reading..." }.to_owned())
    }

    /// Why there is nothing to see.
    fn emptiness(&self) -> Vec<(Role, String)> {
        let Some(rows) = &self.rows else {
            return match &self.failure {
                Some(why) => vec![(Role::Danger, why.clone())],
                None => vec![self.waiting()],
            };
        };
        if !self.arranged.hushed.is_empty() {
            return vec![(Role::Text, noise::told(&self.arranged.hushed)), (Role::Dim, "H shows them".into())];
        }
        if !rows.is_empty() && self.filter.trim().is_empty() && self.zoom.is_some_and(|zoom| zoom.window().is_some()) {
            return vec![(Role::Text, "no row lies in this time".to_owned()), (Role::Dim, "Esc shows all times".into())];
        }
        if !rows.is_empty() {
            let (term, total) = (self.filter.trim(), rows.len());
            let all = if self.one_process() { format!("; {ALL_PROCESSES}") } else { String::new() };
            return vec![
                (Role::Text, format!("0 of {} match \"{term}\"", grouped(total))),
                (Role::Dim, format!("Esc clears the filter{all}")),
            ];
        }
        if rows.state() == State::Running {
            return vec![self.waiting()];
        }
        let subject = match self.title.to_lowercase() {
            title if title == "suspicious" => "suspicious regions".to_owned(),
            title => title,
        };
        let of = if self.asked == Some(Scope::Machine) || self.machine_only { "this image" } else { "this process" };
        let mut lines = vec![(Role::Text, format!("{of} has no {subject}"))];
        if let Some(hunt) = &self.hunt {
            lines = vec![(Role::Text, format!("not found in {}: {}", hunt.place, hunt.name()))];
        }
        if rows.state() == State::Cancelled {
            lines = vec![(Role::Warning, "cancelled before the first row was found".into())];
        }
        if self.one_process() {
            lines.push((Role::Dim, ALL_PROCESSES.into()));
        }
        lines.extend(rows.notes().iter().map(|note| (Role::Warning, note.clone())));
        lines
    }

    #[allow(clippy::too_many_arguments)]
    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, title: &[(Role, String)], focused: bool, look: &Look, detail: u16) {
        let conditions = self.conditions(look);
        let inner = frame(area, buffer, title, &conditions, focused, look);
        if inner.height == 0 || inner.width < 2 {
            return;
        }
        let mut notes = self.rows.as_ref().map_or_else(Vec::new, |rows| rows.notes().to_vec());
        if !self.arranged.hushed.is_empty() {
            notes.insert(0, format!("{}; H shows them", noise::told(&self.arranged.hushed)));
        }
        let inner = self.draw_density(inner, buffer, look);
        let empty = self.shown() == 0;
        let note_height = u16::from(!notes.is_empty() && !empty && inner.height > 6);
        let detail = if empty || inner.height < detail + 5 { 0 } else { detail };
        let body = Rect { height: inner.height - note_height - detail, ..inner };
        self.body = body;
        self.place_columns(body.width - 1);
        if empty {
            self.list.fit(usize::from(body.height.saturating_sub(1)), 0);
            let mut y = body.y + body.height.min(2) / 2;
            for (role, line) in self.emptiness() {
                for line in crate::tui::text::wrap(&look.clean(&line), usize::from(body.width.saturating_sub(2))) {
                    if y < body.bottom() {
                        put(buffer, body.x + 1, y, &line, body.width - 1, look.style(role));
                    }
                    y = y.saturating_add(1);
                }
            }
            return;
        }
        let mut list = self.list;
        let sought = self.search.trim().to_lowercase();
        let grid = Shown { view: self, look };
        VirtualTable { grid: &grid, columns: &self.placed, look, focused, sought: &sought }.draw(body, buffer, &mut list);
        self.list = list;
        let edge = Rect { x: area.right() - 1, y: body.y + 1, width: 1, height: body.height.saturating_sub(1) };
        thumb(buffer, edge, list.top, list.height, self.shown(), look.symbols.thumb, look.style(Role::Text));
        if note_height > 0 {
            let more = if notes.len() > 1 { format!(" (+{}, i shows all)", notes.len() - 1) } else { String::new() };
            let room = usize::from(body.width.saturating_sub(1)).saturating_sub(more.len());
            let note = look.fit(&notes.first().cloned().unwrap_or_default(), room.saturating_sub(6), Cut::End);
            put(buffer, body.x + 1, body.bottom(), &format!("note: {note}{more}"), body.width - 1, look.style(Role::Dim));
        }
        if detail > 0 {
            let rest = Rect { y: body.bottom() + note_height, height: detail, ..inner };
            self.draw_detail(rest, buffer, look);
        }
    }

    /// Draws how dense the rows are in time; answers the room that is left. Only of rows in the order of their times.
    fn draw_density(&self, area: Rect, buffer: &mut Buffer, look: &Look) -> Rect {
        let (Some(zoom), Some(rows)) = (self.zoom.filter(|_| self.sort.is_none() && self.shown() > 0), &self.rows) else { return area };
        let height = zoom.height(area);
        if height > 0 {
            let order = Order { shown: self.shown(), cursor: self.list.cursor, row_at: &|place| self.row_at(place) };
            zoom.draw(Rect { height, ..area }, buffer, rows.as_ref(), &order, look);
        }
        Rect { y: area.y + height, height: area.height - height, ..area }
    }

    fn draw_detail(&self, area: Rect, buffer: &mut Buffer, look: &Look) {
        let line = look.symbols.border.horizontal_top.repeat(usize::from(area.width));
        put(buffer, area.x, area.y, &line, area.width, look.style(Role::Frame));
        let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
        let told = self.told.filter(|row| *row < self.total());
        let (Some(rows), Some(row)) = (&self.rows, told.or_else(|| self.selected())) else { return };
        let whole = |name: &str| {
            let shown = self.placed.iter().find(|(shown, ..)| {
                self.columns.get(*shown).is_some_and(|column| rows.table().columns.get(column.index).is_some_and(|it| it.name == name))
            });
            shown.is_some_and(|(shown, _, width)| self.columns.get(*shown).is_some_and(|column| column.widest <= *width))
        };
        let mut parts = record(rows.as_ref(), row, self.os, look);
        let mut area = noted(area, buffer, self.sign(row), look);
        if self.gives_reasons() {
            area = reasons(area, buffer, &mut parts, look);
        }
        if let Some(rule) = self.hunt.as_ref().and_then(|hunt| hunt.rule(rows.as_ref(), row)) {
            area = written(area, buffer, rule, look);
        }
        // What there is none of is told by the record.
        parts.retain(|(_, value, _)| value != look.symbols.dash && !value.is_empty());
        if area.height < 4 || self.gives_reasons() {
            // What is not to be seen in the table comes first where there is little room.
            let columns = rows.table().columns;
            let in_sight = |name: &String| columns.iter().any(|column| column.name.replace('_', " ") == *name && whole(column.name));
            let said = |name: &str| self.one_process() && matches!(name, "pid" | "process");
            let seldom = |name: &str| name == "process address";
            parts.retain(|(name, ..)| !in_sight(name) && !said(name) && !seldom(name));
            // Where a record comes from says less than what it says.
            let origin = |name: &str| matches!(name, "provider" | "record id" | "computer" | "channel" | "version" | "user id" | "source");
            parts.sort_by_key(|(name, _, role)| (*role != Role::Warning, name != "subject", origin(name)));
        }
        flow(area, buffer, &parts, look);
    }

    /// Whether its rows say why they are here.
    pub fn gives_reasons(&self) -> bool {
        self.entry.table.column("indicators").is_some() || self.hunt.as_ref().is_some_and(|hunt| hunt.by_rules())
    }

    /// Whether all rows belong to the process that the title names.
    fn one_process(&self) -> bool {
        !self.machine_only && matches!(self.asked, Some(Scope::Process(_) | Scope::Pid(_)))
    }

    fn place_columns(&mut self, room: u16) {
        if let Some(rows) = self.rows.clone() {
            for place in self.list.top..(self.list.top + self.list.height.max(1)).min(self.shown()) {
                if let Some(row) = self.row_at(place) {
                    self.measure_row(rows.as_ref(), row);
                }
            }
        }
        let one_process = self.one_process();
        let wants: Vec<Want> = self
            .columns
            .iter()
            .map(|column| {
                let table = self.entry.table;
                let redundant =
                    one_process && table.columns.get(column.index).is_some_and(|column| matches!(column.name, "pid" | "process"));
                let (comfort, least) = column.comfort.map_or((column.widest, column.widest), |comfort| (comfort, comfort.min(8)));
                // What the title says already takes no column.
                let priority = if redundant { 0 } else { column.priority };
                Want { natural: column.widest, comfort, least, priority }
            })
            .collect();
        self.placed = place(&wants, room);
    }
}

/// Writes why a row is here, each reason on lines of its own, and at last what to look at next; answers the room that is left.
fn reasons(area: Rect, buffer: &mut Buffer, parts: &mut Vec<(String, String, Role)>, look: &Look) -> Rect {
    let room = usize::from(area.width.saturating_sub(1)).max(1);
    let lines = |text: &str| crate::tui::text::wrap(&look.clean(text), room);
    let why: Vec<_> = parts.extract_if(.., |(name, ..)| name == "indicators").collect();
    let next = parts.extract_if(.., |(name, value, _)| name == "next" && !value.is_empty()).map(|(_, value, _)| format!("next: {value}"));
    let next: Vec<String> = next.flat_map(|text| lines(&text)).collect();
    let most = usize::from(area.height).saturating_sub(next.len());
    let mut all: Vec<(Role, String)> = Vec::new();
    for (index, (_, reason, _)) in why.iter().enumerate() {
        let role = if reason.starts_with('-') { Role::Dim } else { Role::Text };
        let wrapped = lines(reason);
        let left = why.len() - index - 1;
        if all.len() + wrapped.len() + usize::from(left > 0) > most && !(all.is_empty() && left == 0) {
            all.push((Role::Dim, format!("{} more; v shows all", left + 1)));
            break;
        }
        all.extend(wrapped.into_iter().map(|line| (role, line)));
    }
    all.truncate(most);
    all.extend(next.into_iter().map(|line| (Role::Header, line)));
    for ((role, line), y) in all.iter().zip(area.top()..area.bottom()) {
        put(buffer, area.x + 1, y, line, area.width - 1, look.style(*role));
    }
    let used = u16::try_from(all.len()).unwrap_or(area.height).min(area.height);
    Rect { x: area.x + 1, width: area.width.saturating_sub(1), y: area.y + used, height: area.height - used }
}

/// Writes a text line by line, as far as there is room above the last two lines; answers the room that is left.
fn written(area: Rect, buffer: &mut Buffer, text: &str, look: &Look) -> Rect {
    let most = area.height.saturating_sub(2);
    let mut y = area.y;
    for (number, line) in text.lines().enumerate() {
        if y - area.y >= most {
            break;
        }
        let cut = y - area.y + 1 == most && number + 1 < text.lines().count();
        let line = if cut { "v shows the whole rule".to_owned() } else { look.fit(line, usize::from(area.width), Cut::End) };
        put(buffer, area.x + 1, y, &line, area.width.saturating_sub(1), look.style(if cut { Role::Dim } else { Role::Text }));
        y += 1;
    }
    Rect { y, height: area.bottom() - y, ..area }
}

/// An address with its port, if it has one.
fn address(text: &str, port: Option<i128>) -> String {
    match port {
        Some(port) if text.contains(':') => format!("[{text}]:{port}"),
        Some(port) => format!("{text}:{port}"),
        None => text.to_owned(),
    }
}

/// The subject of a finding without the process that it begins with, which columns of their own tell.
fn without_owner<'a>(rows: &dyn Rows, row: usize, subject: &'a str) -> &'a str {
    let told = |name| rows.table().column(name).map(|column| rows.cell(row, column).to_string());
    // The kernel may keep another name of a process than the one that its program has, or less of it.
    let owner = told("process").zip(told("pid")).map(|(process, pid)| [format!("{process} {pid}"), format!(" {pid}")]);
    let rest = owner.and_then(|[whole, pid]| {
        let other = || subject.split_once(&*pid).filter(|(name, rest)| !name.contains(": ") && rest.starts_with([':', ',']));
        subject.strip_prefix(&*whole).or_else(|| Some(other()?.1))
    });
    rest.map_or(subject, |rest| rest.trim_start_matches([',', ':', ' ']))
}

fn record_of(rows: &dyn Rows, number: Option<u64>, line: &str) -> Option<usize> {
    let table = rows.table();
    let numbers = ["record_id", "sequence", "record_ids"].into_iter().find_map(|name| table.column(name))?;
    let lines = ["summary", "text"].into_iter().find_map(|name| table.column(name));
    let says = |row: &usize| lines.is_none_or(|lines| matches!(rows.cell(*row, lines), Cell::Text(text) if text == line));
    let Some(number) = number else { return (0..rows.len()).find(says) };
    let is = |row: &usize| match rows.cell(*row, numbers) {
        Cell::List(items) => items.iter().any(|item| item.to_string() == number.to_string()),
        cell => cell.number() == Some(number.into()),
    };
    let mut found = (0..rows.len()).filter(is).peekable();
    let first = found.peek().copied();
    found.find(says).or(first)
}

/// The row of a hit in other rows of the same search.
fn same_hit(rows: &dyn Rows, row: usize, others: &dyn Rows) -> Option<usize> {
    let columns = ["physical_address", "length", "pattern", "form"].map(|name| rows.table().column(name));
    let same = |other: &usize| columns.iter().flatten().all(|column| others.cell(*other, *column) == rows.cell(row, *column));
    // Mostly it is where it was.
    Some(row).filter(same).or_else(|| (0..others.len()).find(same))
}

/// The first row that an address stands in, in the row's own address before all others.
fn row_of(rows: &dyn Rows, at: u64) -> Option<usize> {
    let columns = rows.table().columns;
    let mut addresses: Vec<usize> =
        (0..columns.len()).filter(|index| columns.get(*index).is_some_and(|it| it.kind == Kind::Address)).collect();
    addresses.sort_by_key(|index| columns.get(*index).is_none_or(|column| column.name != "address"));
    addresses.iter().find_map(|column| (0..rows.len()).find(|row| rows.cell(*row, *column) == Cell::Hex(at)))
}

/// Of the functions of a driver, which all have its address, the one that a text begins with.
fn function_of(rows: &dyn Rows, at: u64, subject: &str) -> Option<usize> {
    let column = |name: &str| rows.table().column(name);
    let (driver, function) = (column("driver_address")?, column("function")?);
    (0..rows.len()).find(|row| {
        let named = || matches!(rows.cell(*row, function), Cell::Text(name) if subject.starts_with(&format!("{name} of ")));
        rows.cell(*row, driver) == Cell::Hex(at) && named()
    })
}

/// The view as the widget wants it.
struct Shown<'a> {
    view: &'a TableView,
    look: &'a Look,
}

impl Grid for Shown<'_> {
    fn len(&self) -> usize {
        self.view.shown()
    }
    fn header(&self, column: usize) -> String {
        self.view.columns.get(column).map(|column| column.header.clone()).unwrap_or_default()
    }
    fn aligns_right(&self, column: usize) -> bool {
        self.view.columns.get(column).is_some_and(|column| column.right)
    }
    fn cell(&self, row: usize, column: usize, room: usize) -> Painted {
        let (Some(rows), Some(row), Some(column)) = (&self.view.rows, self.view.row_at(row), self.view.columns.get(column)) else {
            return Painted { text: String::new(), role: Role::Text };
        };
        let cell = rows.cell(row, column.index);
        let name = rows.table().columns.get(column.index).map_or("", |column| column.name);
        let port = column.joined.map(|joined| rows.cell(row, joined)).and_then(|port| port.number());
        let text = match &cell {
            Cell::Bytes(bytes) if self.view.hunt.is_some() => {
                let before = rows.table().column("before").and_then(|before| rows.cell(row, before).number());
                let text = surroundings(bytes, before.and_then(|before| usize::try_from(before).ok()).unwrap_or(0));
                self.look.fit(&text, room, column.cut)
            }
            Cell::Text(text) if name == "subject" => self.look.fit(without_owner(rows.as_ref(), row, text), room, column.cut),
            Cell::Text(text) if column.joined.is_some() => self.look.fit(&address(text, port), room, column.cut),
            Cell::Text(text) if !text.contains('_') && shown_as(name, text).is_none() => self.look.fit(text, room, column.cut),
            Cell::List(items) if matches!(items.first(), Some(Cell::Object(_))) => self.look.fit(&signs(items), room, column.cut),
            cell => self.look.fit(&value(cell, name, self.look), room, column.cut),
        };
        Painted { text, role: role_of(&cell, name) }
    }
    fn margin(&self, row: usize) -> Option<Painted> {
        let rows = self.view.rows.as_ref()?;
        if let Some(Sign { sign, .. }) = self.view.row_at(row).and_then(|row| self.view.sign(row)) {
            return Some(Painted { text: sign.to_string(), role: Role::Key });
        }
        let problems = rows.table().columns.len().checked_sub(1)?;
        let troubled = matches!(rows.cell(self.view.row_at(row)?, problems), Cell::List(items) if !items.is_empty());
        troubled.then(|| Painted { text: "!".into(), role: Role::Warning })
    }
}
