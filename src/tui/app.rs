//! The explorer's state, and how it changes. Draws nothing, reads no image: it answers messages, and asks for work by effects.

mod case;
mod complete;
mod findings;
mod hunting;
mod notes;
mod questions;
mod report;
mod resting;
mod selecting;
mod take;
mod texts;
mod times;
mod travel;
mod tutor;
mod work;

use super::commands::{Command, Key, Pane};
use super::export::{Export, Report, Reporter, Writer};
use super::hunt::Hunt;
use super::keymap::Keymap;
use super::panes::arrange::{Arranged, Ask};
use super::panes::bytes::{BytesView, Mode, Told, Want};
use super::panes::link::Link;
use super::panes::noise::Rule;
use super::panes::overlay::Overlay;
use super::panes::process_tree::{Beside, Order, Part, ProcessTree, none_hidden};
use super::panes::table::{Seek, TableView};
use super::taking::{Taking, Took};
use super::text::{Cut, counted};
use super::theme::{Look, Role};
use super::widgets::palette::Item;
use super::work::{Id, Ongoing};
use crate::address::VirtAddr;
use crate::case::{Action, Judgement, News, Object, Order as Keep};
use crate::engine::{Entry, Hit, Space, Stretch, find_table};
use crate::facts::{Info, Located, Rows, Scope, State};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
pub use findings::FINDINGS;
pub use hunting::Aim;
use questions::{Prompt, Question};
use ratatui::layout::Rect;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happens to the explorer.
pub enum Message {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(u16, u16),
    /// The interrupt of a terminal that is not ours alone.
    Interrupt,
    Opened(Box<Opened>),
    Rows {
        slot: Slot,
        scope: Scope,
        rows: Arc<dyn Rows>,
    },
    Failed {
        slot: Slot,
        scope: Scope,
        why: String,
    },
    Arranged {
        table: usize,
        generation: u32,
        arranged: Arranged,
    },
    /// What the view of bytes wanted to know.
    Told {
        want: Want,
        told: Told,
    },
    Found {
        serial: u32,
        result: Result<Hit, String>,
    },
    Crossed {
        serial: u32,
        result: Result<Option<u64>, String>,
    },
    Located {
        serial: u32,
        found: Option<Located>,
    },
    /// Names that begin so.
    Named {
        begun: String,
        names: Vec<String>,
    },
    /// What is running now.
    Running(Vec<Ongoing>),
    /// What became of an export, in words.
    Exported(Result<String, String>),
    /// What became of bytes that were to be taken along.
    Took(Result<Took, String>),
    /// What became of a report.
    Reported(Result<String, String>),
    /// What the keeper of the case has to say.
    Kept(News),
    /// Time has passed while work goes on.
    Tick,
}

/// What an opened image offers.
pub struct Opened {
    pub info: Info,
    pub tree: &'static Entry,
    /// Where the tree's scores come from.
    pub scores: Option<&'static Entry>,
    pub tables: Vec<&'static Entry>,
    /// Folders where evidence lies.
    pub folders: Vec<PathBuf>,
}

/// Whose rows: the tree's, its scores, or those of one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    Tree,
    Scores,
    Beside(Beside),
    Table(usize),
}

impl Slot {
    /// Whether nobody waits for it: it comes when it comes.
    pub fn aside(self) -> bool {
        matches!(self, Self::Scores | Self::Beside(_))
    }
}

/// Work that the explorer wants done.
pub enum Effect {
    Query {
        slot: Slot,
        entry: &'static Entry,
        scope: Scope,
    },
    /// Search memory, in the place of whatever was searched for in this slot.
    Search {
        slot: Slot,
        hunt: Arc<Hunt>,
    },
    Arrange {
        table: usize,
        generation: u32,
        ask: Ask,
    },
    Learn(Want),
    Find {
        serial: u32,
        stretch: Stretch,
        needle: Vec<Vec<u8>>,
    },
    /// Find the next memory behind a gap.
    Cross {
        serial: u32,
        space: Space,
        at: u64,
        forward: bool,
    },
    Locate {
        serial: u32,
        name: String,
        process: Option<VirtAddr>,
    },
    /// Find the symbols, drivers and libraries whose names begin so.
    Complete {
        begun: String,
        process: Option<VirtAddr>,
    },
    StopFinding,
    Export(Export),
    Take(Taking),
    /// Write what memory holds of the file that an object leads to.
    WriteFile {
        object: VirtAddr,
        folder: PathBuf,
    },
    Report(Report),
    /// Note something in the case.
    Keep(Keep),
    /// Hand a text to the terminal's clipboard.
    Copy(String),
    /// Begin or stop to tell what is running.
    ListWork(bool),
    /// Stop this piece of work; what has been found so far stays.
    CancelOne(Id),
    /// Stop all that runs; what has been found so far stays.
    Cancel,
    Suspend,
    Redraw,
    Quit,
}

/// What goes on in the background, for the status line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub what: String,
    pub percent: Option<u8>,
    /// How often the spinner has turned.
    pub turn: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    Tree,
    Tables,
}

/// What can be chosen from a list.
#[derive(Clone)]
enum Choice {
    Command(&'static Command),
    Table(usize),
    Link(Link),
    Travel(isize),
    Order(Order),
    Column(Part),
    /// In this form; all rows, or those that are shown.
    Export(&'static Writer, bool),
    Copy(String),
    Cancel(Id),
    Hunt(Arc<Hunt>),
    Take(Taking),
    Noted(Object),
    Judgement(Judgement),
    Report(report::Part),
    Audit,
    ExportAudit(&'static Writer),
}

/// Where things were last drawn, for the mouse.
#[derive(Default)]
pub struct Places {
    pub tree: Rect,
    pub right: Rect,
    /// The names of the views; the tree has no number.
    pub views: Vec<(Rect, Option<usize>)>,
}

/// Rows of another process are shown no longer than this.
const STALE: Duration = Duration::from_millis(120);
/// Below this width one pane has the screen.
pub const TWO_PANES: u16 = 110;
/// What is searched for takes no more of a title, so that it still says where.
const LONGEST_AIM: usize = 28;

pub struct App {
    pub name: String,
    pub look: Look,
    pub info: Option<Info>,
    pub size: (u16, u16),
    pub focus: Focus,
    pub zoomed: bool,
    pub tree: ProcessTree,
    pub tables: Vec<TableView>,
    pub active: usize,
    /// Tables of the whole machine rather than of the selected process.
    pub all: bool,
    /// They do so only because nobody has chosen a process yet.
    unchosen: bool,
    pub bytes: Option<BytesView>,
    travels: travel::Travels,
    pub overlay: Option<Overlay>,
    /// The forms in which rows can be exported.
    pub writers: &'static [Writer],
    pub reporter: Option<Reporter>,
    folders: Vec<PathBuf>,
    case: case::Case,
    pub keymap: Keymap,
    /// What the user calls noise.
    noise: Arc<[Rule]>,
    pending: Option<take::Pending>,
    /// Bytes that are to be written, until one has said where.
    leaving: Option<Taking>,
    tutor: tutor::Tutor,
    /// Rows have been written to a file.
    exported_any: bool,
    prompt: Option<Prompt>,
    pub notice: Option<(Role, String)>,
    /// A notice that moving does away with, as long as the cursor does not rest.
    pub fading: Option<(Role, String)>,
    pub work: Option<Work>,
    pub places: Places,
    /// What is under way: a search and a leap over a gap with their directions, a name with what is to be added to its address.
    finding: Option<(u32, bool)>,
    crossing: Option<(u32, bool)>,
    locating: Option<(u32, String, i128)>,
    scores: Option<&'static Entry>,
    /// The connection is slow.
    pub slow: bool,
    /// Each byte of a frame goes over a network.
    pub remote: bool,
    /// When the cursor moved last, while what follows from that waits, and for how long.
    moved: Option<Instant>,
    pub rest: Duration,
    serial: u32,
    interrupted: bool,
    effects: Vec<Effect>,
    /// Whether anything has changed since the last frame.
    pub dirty: bool,
}

impl App {
    pub fn new(name: &str, look: Look, size: (u16, u16)) -> Self {
        Self {
            name: name.to_owned(),
            look,
            info: None,
            size,
            focus: Focus::Tree,
            zoomed: false,
            tree: ProcessTree::default(),
            tables: Vec::new(),
            active: 0,
            all: false,
            unchosen: false,
            bytes: None,
            travels: travel::Travels::default(),
            overlay: None,
            writers: &[],
            reporter: None,
            folders: Vec::new(),
            case: case::Case::default(),
            keymap: Keymap::default(),
            noise: Arc::default(),
            pending: None,
            leaving: None,
            tutor: tutor::Tutor::default(),
            exported_any: false,
            prompt: None,
            notice: None,
            fading: None,
            work: None,
            places: Places::default(),
            finding: None,
            crossing: None,
            locating: None,
            scores: None,
            slow: false,
            remote: false,
            moved: None,
            rest: resting::REST,
            serial: 0,
            interrupted: false,
            effects: Vec::new(),
            dirty: true,
        }
    }

    /// Takes a message and answers with the work that follows from it.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        if !matches!(message, Message::Tick | Message::Kept(_)) {
            self.dirty = true;
        }
        match message {
            Message::Key(event) if event.kind != KeyEventKind::Release => self.choosing(|app| app.key(event)),
            Message::Key(_) => (),
            Message::Mouse(event) => self.choosing(|app| app.mouse(event)),
            Message::Paste(text) => {
                if self.prompt.is_some() {
                    let text = text.chars().filter(|c| !c.is_control()).take(questions::LONGEST);
                    self.answer(|answer| answer.extend(text));
                }
            }
            Message::Resize(width, height) => self.size = (width, height),
            Message::Interrupt => self.interrupt(),
            Message::Opened(opened) => self.opened(*opened),
            Message::Rows { slot, scope, rows } => self.rows(slot, scope, rows),
            Message::Failed { slot, scope, why } => self.failed(slot, scope, why),
            Message::Arranged { table, generation, arranged } => {
                if let Some(view) = self.tables.get_mut(table) {
                    view.take(generation, arranged);
                    let waiting = self.prompt.as_ref().is_some_and(|prompt| prompt.question == Question::Search);
                    if waiting && !view.arranged.hits.iter().any(|hit| *hit as usize == view.list.cursor) {
                        view.next_hit(true);
                    }
                }
            }
            Message::Told { want, told } => {
                if let Some(view) = &mut self.bytes {
                    view.take(want, told);
                }
            }
            Message::Found { serial, result } => self.found(serial, result),
            Message::Crossed { serial, result } => self.crossed(serial, result),
            Message::Located { serial, found } => self.located(serial, found),
            Message::Named { begun, names } => self.named(&begun, names),
            Message::Running(pieces) => self.running(pieces),
            Message::Exported(Ok(said)) => {
                self.exported_any = true;
                self.written(Action::Exported, said);
            }
            Message::Reported(Ok(said)) => self.written(Action::Reported, said),
            Message::Exported(Err(why)) | Message::Reported(Err(why)) => self.warn(why),
            Message::Kept(news) => self.kept(news),
            Message::Took(result) => self.took(result),
            Message::Tick => {
                self.notice_saving();
                self.rest();
                for view in &mut self.tables {
                    if view.stale.is_some_and(|since| since.elapsed() > STALE) {
                        view.forget();
                        self.dirty = true;
                    }
                }
            }
        }
        self.teach();
        self.pursue();
        if self.info.is_some() && self.dirty {
            self.look_round(false);
        }
        std::mem::take(&mut self.effects)
    }

    fn opened(&mut self, opened: Opened) {
        self.effects.push(Effect::Query { slot: Slot::Tree, entry: opened.tree, scope: Scope::Machine });
        let os = opened.info.os;
        self.scores = opened.scores;
        self.tree.set_system(os);
        self.tables = opened.tables.into_iter().map(|entry| TableView::new(entry, os)).collect();
        self.tables.iter_mut().for_each(|view| view.rules = Arc::clone(&self.noise));
        let warnings = &opened.info.warnings;
        if let Some(first) = warnings.first() {
            let more = if warnings.len() > 1 { format!(" (+{}, i shows all)", warnings.len() - 1) } else { String::new() };
            self.notice = Some((Role::Warning, format!("! {first}{more}")));
        }
        self.info = Some(opened.info);
        self.folders = opened.folders;
        self.show_findings();
        self.opened_now();
    }

    fn rows(&mut self, slot: Slot, scope: Scope, rows: Arc<dyn Rows>) {
        match slot {
            Slot::Tree => {
                let whole = rows.state() != State::Running;
                self.tree.load(rows, &self.look);
                self.resume();
                // Judging all processes takes a while: it waits until there is a tree to show the scores in.
                if let Some(entry) = self.scores.take_if(|_| whole) {
                    self.effects.push(Effect::Query { slot: Slot::Scores, entry, scope: Scope::Machine });
                }
            }
            Slot::Scores => self.judged(rows),
            Slot::Beside(beside) => self.tree.learn(beside, Some(rows.as_ref()), &self.look),
            Slot::Table(table) => {
                if let Some(view) = self.tables.get_mut(table).filter(|view| view.asked == Some(scope)) {
                    let (hunt, state, found) = (view.hunt.is_some(), rows.state(), rows.len());
                    let alone = found == 1 && state == State::Complete && view.hunt.as_ref().is_some_and(|hunt| hunt.elsewhere.is_some());
                    view.load(rows);
                    let missed = view.missed();
                    if hunt && state != State::Running {
                        let cancelled = if state == State::Cancelled { ", cancelled" } else { "" };
                        self.search_ends(&format!("{}{cancelled}", counted(found, "hit", "hits")));
                        if alone {
                            self.notice = Some((Role::Text, "these bytes are nowhere else in memory".to_owned()));
                        }
                    }
                    self.arrange(table);
                    missed.into_iter().for_each(|why| self.warn(why));
                }
            }
        }
    }

    fn failed(&mut self, slot: Slot, scope: Scope, why: String) {
        match slot {
            Slot::Tree => self.tree.failure = Some(why),
            Slot::Scores => self.not_judged(why),
            Slot::Beside(beside) => self.tree.learn(beside, None, &self.look),
            Slot::Table(table) => {
                if let Some(view) = self.tables.get_mut(table).filter(|view| view.asked == Some(scope)) {
                    view.forget();
                    view.failure = Some(why.clone());
                    if view.hunt.is_some() {
                        self.search_ends(&why);
                        self.warn(why);
                    }
                }
            }
        }
    }

    fn arrange(&mut self, table: usize) {
        if let Some(view) = self.tables.get_mut(table)
            && let Some(ask) = view.ask()
        {
            self.effects.push(Effect::Arrange { table, generation: view.generation, ask });
        }
    }

    /// Asks for what the screen shows and does not have yet.
    fn pursue(&mut self) {
        if self.info.is_none() {
            return;
        }
        let os = self.tree.os();
        for beside in self.tree.wants() {
            let entry = find_table(beside.table()).filter(|entry| entry.available(os));
            self.effects.extend(entry.map(|entry| Effect::Query { slot: Slot::Beside(beside), entry, scope: Scope::Machine }));
        }
        let scope = self.scope();
        if self.shows_tables() && (self.settled() || self.focus == Focus::Tables) {
            let loading = self.tree.current().is_none() && self.tree.is_loading();
            if let Some(view) = self.tables.get_mut(self.active) {
                let scope = if view.machine_only { Scope::Machine } else { scope };
                if view.hunt.is_none() && view.asked != Some(scope) && (view.machine_only || !loading) {
                    view.asked = Some(scope);
                    view.failure = None;
                    view.follows = false;
                    view.stale = view.rows.is_some().then(Instant::now);
                    let (slot, entry) = (Slot::Table(self.active), view.entry);
                    self.effects.push(Effect::Query { slot, entry, scope });
                }
            }
        }
        if self.shows_tables()
            && let Some(view) = &mut self.bytes
        {
            self.effects.extend(view.wants().into_iter().map(Effect::Learn));
        }
    }

    fn scope(&self) -> Scope {
        match self.tree.current() {
            Some(process) if !self.all => process.address.value().map_or(Scope::Pid(process.pid), |address| Scope::Process(*address)),
            _ => Scope::Machine,
        }
    }

    pub fn two_panes(&self) -> bool {
        self.size.0 >= TWO_PANES && !self.zoomed
    }
    fn shows_tables(&self) -> bool {
        self.two_panes() || self.focus == Focus::Tables
    }

    /// What has the keys.
    pub fn pane(&self) -> Pane {
        match self.focus {
            _ if self.overlay.is_some() => Pane::Overlay,
            Focus::Tree => Pane::Tree,
            Focus::Tables if self.bytes.is_none() => Pane::Table,
            Focus::Tables => Pane::Bytes,
        }
    }
    pub fn table(&mut self) -> Option<&mut TableView> {
        self.tables.get_mut(self.active)
    }

    // Keys.

    /// Does what may choose a process; the first that is chosen is the one that the tables show from then on.
    fn choosing(&mut self, act: impl FnOnce(&mut Self)) {
        let before = self.unchosen.then(|| self.tree.state.selected().to_vec());
        act(self);
        if self.unchosen && before.is_some_and(|before| before != self.tree.state.selected()) {
            self.choose_process();
        }
    }
    fn choose_process(&mut self) {
        if std::mem::take(&mut self.unchosen) {
            self.all = false;
        }
    }
    fn key(&mut self, event: KeyEvent) {
        let key = Key::from(event);
        let interrupt = Key { code: KeyCode::Char('c'), control: true };
        if key != interrupt {
            self.interrupted = false;
        }
        let told = self.notice.take().or(self.fading.take());
        self.moved = None;
        self.touch();
        if self.prompt.is_some() {
            return self.prompt_key(key);
        }
        if self.info.is_none() {
            if key == interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                self.quit();
            }
            return;
        }
        let pane = self.pane();
        match self.keymap.find(pane, key) {
            Some(command) => (command.run)(self, key),
            None if pane == Pane::Overlay => self.overlay = None,
            None => (),
        }
        self.fading = told.filter(|_| !self.settled());
    }

    fn mouse(&mut self, event: MouseEvent) {
        let (x, y) = (event.column, event.row);
        let over = |area: Rect| area.contains((x, y).into());
        match event.kind {
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let rows = if event.kind == MouseEventKind::ScrollDown { 3 } else { -3 };
                self.moved();
                if let Some(overlay) = &mut self.overlay {
                    overlay.by(rows);
                } else if over(self.places.tree) {
                    self.tree.wheel(rows);
                } else if over(self.places.right) {
                    match &mut self.bytes {
                        Some(view) => view.by_rows(rows),
                        None => {
                            if let Some(view) = self.tables.get_mut(self.active) {
                                let shown = view.shown();
                                view.follows = false;
                                view.list.by(rows, shown);
                            }
                        }
                    }
                }
            }
            MouseEventKind::Down(MouseButton::Left) => {
                self.notice = None;
                self.touch();
                if self.overlay.take().is_some() || self.prompt.is_some() {
                    return;
                }
                if let Some((_, view)) = self.places.views.iter().find(|(area, _)| over(*area)) {
                    return match *view {
                        Some(table) => self.switch_to(table),
                        None => self.focus_tree(),
                    };
                }
                if over(self.places.tree) {
                    self.focus = Focus::Tree;
                    self.tree.click(y);
                } else if over(self.places.right) {
                    self.focus = Focus::Tables;
                    self.click_right(x, y);
                }
            }
            _ => self.dirty = false,
        }
    }

    fn click_right(&mut self, x: u16, y: u16) {
        if let Some(view) = &mut self.bytes {
            view.click(x, y);
            return;
        }
        let table = self.active;
        let Some(view) = self.table() else { return };
        if y == view.body.y {
            if view.sort_at(x) {
                self.arrange(table);
            }
        } else if let Some(place) = view.place_at(y) {
            view.follows = false;
            if view.list.cursor == place {
                self.enter();
            } else {
                view.list.cursor = place;
            }
        }
    }

    // Moves.

    pub fn by_rows(&mut self, rows: isize) {
        self.moved();
        match self.pane() {
            Pane::Overlay => drop(self.overlay.as_mut().map(|overlay| overlay.by(rows))),
            Pane::Tree => self.tree.by(rows),
            Pane::Bytes => drop(self.bytes.as_mut().map(|view| view.by_rows(rows))),
            Pane::Table => {
                if let Some(view) = self.table() {
                    let shown = view.shown();
                    view.follows = false;
                    view.list.by(rows, shown);
                }
            }
        }
    }
    pub fn by_pages(&mut self, pages: isize, part: isize) {
        let page = match self.pane() {
            Pane::Overlay => self.overlay.as_ref().map(Overlay::page),
            Pane::Tree => Some(self.tree.page()),
            Pane::Bytes => self.bytes.as_ref().map(BytesView::page),
            Pane::Table => self.table().map(|view| view.list.page()),
        };
        let rows = (page.unwrap_or(1) / part).max(1);
        self.by_rows(pages.saturating_mul(rows));
    }
    pub fn jump(&mut self, bottom: bool) {
        self.moved();
        match self.pane() {
            Pane::Bytes => {
                if let Some(view) = &mut self.bytes {
                    view.to(if bottom { view.last } else { view.first });
                }
            }
            _ => self.by_rows(if bottom { isize::MAX } else { isize::MIN + 1 }),
        }
        if self.pane() == Pane::Table
            && let Some(view) = self.table()
        {
            view.follows = bottom && view.awaits_rows();
        }
    }
    pub fn by_bytes(&mut self, bytes: i128) {
        if let Some(view) = &mut self.bytes {
            view.by(bytes);
        }
    }
    pub fn open_node(&mut self) {
        self.tree.open();
    }
    pub fn close_node(&mut self) {
        self.tree.close();
    }
    pub fn toggle_node(&mut self) {
        self.tree.toggle();
    }
    pub fn toggle_subtree(&mut self) {
        self.tree.toggle_subtree();
    }

    // Views.

    pub fn focus_tree(&mut self) {
        self.browse(Focus::Tree, 0);
        self.focus = Focus::Tree;
    }
    fn show_table(&mut self, table: usize) {
        if table < self.tables.len() {
            self.active = table;
            self.bytes = None;
            self.focus = Focus::Tables;
        }
    }
    fn switch_to(&mut self, table: usize) {
        self.browse(Focus::Tables, table);
        self.show_table(table);
    }
    pub fn view_of(&mut self, key: Key) {
        if let KeyCode::Char(digit) = key.code
            && let Some(number) = digit.to_digit(10)
        {
            self.switch_to((number as usize).saturating_sub(1));
        }
    }
    /// Through the tree and all tables, around. From the tree the table that is in sight comes first.
    pub fn next_view(&mut self, forward: bool) {
        let last = self.tables.len().saturating_sub(1);
        match (self.focus, forward) {
            (Focus::Tree, true) => {
                self.browse(Focus::Tables, self.active);
                self.focus = Focus::Tables;
            }
            (Focus::Tree, false) => self.switch_to(last),
            // The bytes are a step into a table: leaving sideways goes back to the tree and keeps them.
            (Focus::Tables, _) if self.bytes.is_some() => self.focus_tree(),
            (Focus::Tables, true) if self.active >= last => {
                self.focus_tree();
                self.active = 0;
            }
            (Focus::Tables, false) if self.active == 0 => self.focus_tree(),
            (Focus::Tables, true) => self.switch_to(self.active + 1),
            (Focus::Tables, false) => self.switch_to(self.active - 1),
        }
    }
    pub fn next_table(&mut self, forward: bool) {
        let count = self.tables.len().max(1);
        self.switch_to((self.active + if forward { 1 } else { count - 1 }) % count);
    }
    /// Reads the bytes in another way.
    pub fn read_as(&mut self, mode: Mode) {
        let Some(view) = &mut self.bytes else { return };
        match (mode, &view.fields) {
            (Mode::Fields, None) => self.ask_structure(),
            _ => view.toggle(mode),
        }
    }
    pub fn inspect(&mut self) {
        if let Some(view) = &mut self.bytes {
            view.inspects = !view.inspects;
        }
    }
    pub fn zoom(&mut self) {
        self.zoomed = !self.zoomed;
        if self.size.0 < TWO_PANES {
            self.notice = Some((Role::Dim, format!("one pane at a time below {TWO_PANES} columns; Tab changes it")));
        }
    }
    pub fn toggle_all(&mut self) {
        self.all = !self.all;
        self.unchosen = false;
        let text = if self.all { "the tables show all processes" } else { "the tables show the selected process" };
        self.notice = Some((Role::Text, text.to_owned()));
    }
    pub fn back(&mut self) {
        match self.pane() {
            Pane::Overlay => self.overlay = None,
            Pane::Bytes if self.finding.is_some() => self.stop_finding(),
            Pane::Bytes if self.bytes.as_mut().is_some_and(|view| view.anchor.take().is_some()) => (),
            Pane::Bytes => self.step_out(),
            Pane::Table => {
                let table = self.active;
                let Some(view) = self.table() else { return };
                if view.filter.is_empty() && view.search.is_empty() {
                    if view.all_times() {
                        return self.arrange(table);
                    }
                    self.step_out();
                } else {
                    if view.search.is_empty() {
                        view.filter.clear()
                    } else {
                        view.search.clear()
                    }
                    self.arrange(table);
                }
            }
            Pane::Tree if self.tree.search.is_empty() && self.tree.filter.is_empty() => {
                if self.may_go_back() {
                    self.travel(-1);
                }
            }
            Pane::Tree => {
                if self.tree.search.is_empty() {
                    self.tree.filter.clear()
                } else {
                    self.tree.search.clear()
                }
                self.tree.arrange(&self.look);
            }
        }
    }
    /// To where one came from.
    fn step_out(&mut self) {
        match self.may_go_back() {
            true => self.travel(-1),
            false => {
                self.bytes = None;
                self.focus = Focus::Tree;
            }
        }
    }

    // Searching on.

    pub fn next_match(&mut self, forward: bool) {
        self.moved();
        let found = match self.pane() {
            Pane::Tree => self.tree.next_hit(forward),
            Pane::Table => self.table().is_some_and(|view| view.next_hit(forward)),
            Pane::Bytes => return self.find(forward, true),
            Pane::Overlay => true,
        };
        if !found {
            self.notice = Some((Role::Dim, "no match; / searches".to_owned()));
        }
    }

    // Order.

    pub fn sort(&mut self) {
        let table = self.active;
        if let Some(view) = self.table() {
            view.sort_by_next();
            self.arrange(table);
        }
    }
    /// How the tree can be ordered, to choose from.
    pub fn ask_order(&mut self) {
        let item = |order: &Order| Item { name: order.name().to_owned(), keys: String::new(), help: order.help().to_owned() };
        let all: Vec<Order> = Order::all(self.tree.os()).collect();
        let choices = all.iter().map(|order| (item(order), Choice::Order(*order))).collect();
        let at = all.iter().position(|order| *order == self.tree.order).unwrap_or(0);
        self.choose("sort by:", choices, at);
    }
    /// The columns of the tree, to take one away or to bring one in.
    pub fn ask_columns(&mut self) {
        let item = |part: Part, shown: bool| {
            let (name, help) = part.says();
            Item { name: name.to_owned(), keys: if shown { "shown" } else { "" }.to_owned(), help: help.to_owned() }
        };
        let choices = self.tree.column_choices().into_iter().map(|(part, shown)| (item(part, shown), Choice::Column(part))).collect();
        self.choose("show or hide the column:", choices, 0);
    }
    fn order_tree(&mut self, order: Order) {
        self.tree.sort(order, &self.look);
    }
    pub fn invert(&mut self) {
        if self.pane() == Pane::Tree {
            return self.tree.invert(&self.look);
        }
        let table = self.active;
        match self.table().map(TableView::invert) {
            Some(true) => self.arrange(table),
            _ => self.notice = Some((Role::Dim, "not sorted; s sorts".to_owned())),
        }
    }

    // The program itself.

    /// The first time stops the work, the second time the program.
    pub fn interrupt(&mut self) {
        if self.interrupted || self.info.is_none() {
            return self.quit();
        }
        self.interrupted = true;
        let text = match &self.work {
            Some(work) => format!("cancelled: {}; ^C again quits", work.what),
            None => "^C again quits".to_owned(),
        };
        (self.finding, self.crossing, self.locating) = (None, None, None);
        self.effects.push(Effect::Cancel);
        self.overlay = None;
        self.notice = Some((Role::Warning, text));
    }
    pub fn suspend(&mut self) {
        self.effects.push(Effect::Suspend);
    }
    pub fn redraw(&mut self) {
        self.effects.push(Effect::Redraw);
    }
    pub fn quit(&mut self) {
        self.effects.push(Effect::Quit);
    }

    /// The trail to what is shown.
    pub fn crumbs(&self) -> Vec<String> {
        let mut crumbs = vec![self.look.clean(&self.name)];
        let process = self.tree.told().map(|process| format!("{} {}", self.look.clean(&process.name), process.pid));
        if self.focus == Focus::Tree {
            crumbs.extend(process);
            return crumbs;
        }
        if let Some(view) = &self.bytes {
            crumbs.extend(view.crumbs());
            return crumbs;
        }
        if let Some(view) = self.tables.get(self.active) {
            match process {
                Some(process) if !self.all && !view.machine_only => crumbs.push(process),
                _ if !view.machine_only => crumbs.push("all processes".to_owned()),
                _ => (),
            }
            crumbs.push(view.title.clone());
        }
        crumbs
    }

    pub fn position(&self) -> String {
        match self.pane() {
            Pane::Overlay => self.overlay.as_ref().map(Overlay::position).unwrap_or_default(),
            Pane::Tree => self.tree.position_text(),
            Pane::Bytes => self.bytes.as_ref().map(BytesView::position).unwrap_or_default(),
            Pane::Table => self.tables.get(self.active).map(TableView::position).unwrap_or_default(),
        }
    }

    /// What a table is about, for its title.
    pub fn subject(&self, view: &TableView) -> Vec<(Role, String)> {
        let total = view.rows.as_ref().map(|rows| {
            let running = if rows.state() == crate::facts::State::Running { "..." } else { "" };
            let cancelled = if rows.state() == crate::facts::State::Cancelled { ", cancelled" } else { "" };
            format!("{}{running}{cancelled}", counted(rows.len(), "row", "rows"))
        });
        let owner = match self.tree.told() {
            _ if view.hunt.is_some() => view.hunt.as_ref().map(|hunt| {
                let name = self.look.fit(&hunt.name(), LONGEST_AIM, Cut::End);
                format!("{name} in {}", self.look.clean(&hunt.place))
            }),
            _ if view.machine_only => None,
            Some(process) if !self.all => Some(format!("{} {}", self.look.clean(&process.name), process.pid)),
            _ => Some("all processes".to_owned()),
        };
        let mut parts: Vec<(Role, String)> = owner.into_iter().chain(total).map(|part| (Role::Text, part)).collect();
        let whole = view.rows.as_ref().is_some_and(|rows| rows.state() != crate::facts::State::Running && !rows.is_empty());
        match view.hidden {
            _ if view.stale.is_some() => (),
            0 if whole && matches!(view.entry.table.name, "modules" | "drivers" | "processes") => {
                parts.push((Role::Dim, none_hidden(view.rows.as_deref()).to_owned()));
            }
            0 => (),
            hidden => parts.push((Role::Danger, format!("{hidden} hidden"))),
        }
        let dot = (Role::Text, self.look.symbols.dot.to_owned());
        parts.into_iter().flat_map(|part| [dot.clone(), part]).skip(1).collect()
    }
}
