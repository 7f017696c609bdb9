//! The explorer's state, and how it changes. Draws nothing, reads no image: it answers messages, and asks for work by effects.

use super::commands::{self, COMMANDS, Command, Key, Pane};
use super::panes::arrange::{Arranged, Ask, resemblance};
use super::panes::hex::{HexView, Needle, Target, Wish, parse_target};
use super::panes::overlay::{Line, Overlay};
use super::panes::process_tree::ProcessTree;
use super::panes::record;
use super::panes::table::{Link, TableView, Where};
use super::text::counted;
use super::theme::{Look, Role};
use super::widgets::palette::Item;
use crate::address::VirtAddr;
use crate::engine::{Bytes, Entry, Space};
use crate::facts::{Info, Rows, Scope};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use fuzzy_matcher::FuzzyMatcher;
use ratatui::layout::Rect;
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
    Bytes {
        wish: Wish,
        result: Result<Bytes, String>,
    },
    Found {
        serial: u32,
        result: Result<Option<u64>, String>,
    },
    /// Time has passed while work goes on.
    Tick,
}

/// What an opened image offers.
pub struct Opened {
    pub info: Info,
    pub tree: &'static Entry,
    pub tables: Vec<&'static Entry>,
}

/// Whose rows: the tree's, or those of one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    Tree,
    Table(usize),
}

/// Work that the explorer wants done.
pub enum Effect {
    Query {
        slot: Slot,
        entry: &'static Entry,
        scope: Scope,
    },
    Arrange {
        table: usize,
        generation: u32,
        ask: Ask,
    },
    Read(Wish),
    Find {
        serial: u32,
        space: Space,
        from: u64,
        last: u64,
        needle: Vec<u8>,
    },
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Search,
    Filter,
    Goto,
    Command,
}

/// What can be chosen by name.
#[derive(Clone, Copy)]
enum Choice {
    Command(&'static Command),
    Table(usize),
}

struct Prompt {
    question: Question,
    answer: String,
    /// The answer before it was changed, to which Esc returns.
    before: String,
    /// Which of the choices is selected, where there are any.
    choice: usize,
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
/// How far a search goes in a space without end.
const FARTHEST: u64 = 4 << 30;
/// Below this width one pane has the screen.
pub const TWO_PANES: u16 = 110;

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
    pub hex: Vec<HexView>,
    pub overlay: Option<Overlay>,
    prompt: Option<Prompt>,
    pub notice: Option<(Role, String)>,
    pub work: Option<Work>,
    pub places: Places,
    finding: Option<u32>,
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
            hex: Vec::new(),
            overlay: None,
            prompt: None,
            notice: None,
            work: None,
            places: Places::default(),
            finding: None,
            serial: 0,
            interrupted: false,
            effects: Vec::new(),
            dirty: true,
        }
    }

    /// Takes a message and answers with the work that follows from it.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        if !matches!(message, Message::Tick) {
            self.dirty = true;
        }
        match message {
            Message::Key(event) if event.kind != KeyEventKind::Release => self.key(event),
            Message::Key(_) => (),
            Message::Mouse(event) => self.mouse(event),
            Message::Paste(text) => {
                if self.prompt.is_some() {
                    text.chars().filter(|c| !c.is_control()).for_each(|c| self.answer(|answer| answer.push(c)));
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
            Message::Bytes { wish, result } => {
                for view in &mut self.hex {
                    view.take(wish, result.clone());
                }
            }
            Message::Found { serial, result } => self.found(serial, result),
            Message::Tick => {
                for view in &mut self.tables {
                    if view.stale.is_some_and(|since| since.elapsed() > STALE) {
                        view.forget();
                        self.dirty = true;
                    }
                }
            }
        }
        self.pursue();
        std::mem::take(&mut self.effects)
    }

    fn opened(&mut self, opened: Opened) {
        self.effects.push(Effect::Query { slot: Slot::Tree, entry: opened.tree, scope: Scope::Machine });
        self.tables = opened.tables.into_iter().map(TableView::new).collect();
        let warnings = &opened.info.warnings;
        if let Some(first) = warnings.first() {
            let more = if warnings.len() > 1 { format!(" (+{}, i shows all)", warnings.len() - 1) } else { String::new() };
            self.notice = Some((Role::Warning, format!("! {first}{more}")));
        }
        self.info = Some(opened.info);
    }

    fn rows(&mut self, slot: Slot, scope: Scope, rows: Arc<dyn Rows>) {
        match slot {
            Slot::Tree => self.tree.load(rows, &self.look),
            Slot::Table(table) => {
                if let Some(view) = self.tables.get_mut(table).filter(|view| view.asked == Some(scope)) {
                    view.load(rows);
                    self.arrange(table);
                }
            }
        }
    }

    fn failed(&mut self, slot: Slot, scope: Scope, why: String) {
        match slot {
            Slot::Tree => self.tree.failure = Some(why),
            Slot::Table(table) => {
                if let Some(view) = self.tables.get_mut(table).filter(|view| view.asked == Some(scope)) {
                    view.forget();
                    view.failure = Some(why);
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
        let scope = self.scope();
        if self.shows_tables() {
            let loading = self.tree.current().is_none() && self.tree.is_loading();
            if let Some(view) = self.tables.get_mut(self.active) {
                let scope = if view.machine_only { Scope::Machine } else { scope };
                if view.asked != Some(scope) && (view.machine_only || !loading) {
                    view.asked = Some(scope);
                    view.failure = None;
                    view.stale = view.rows.is_some().then(Instant::now);
                    let (slot, entry) = (Slot::Table(self.active), view.entry);
                    self.effects.push(Effect::Query { slot, entry, scope });
                }
            }
        }
        if let Some(wish) = self.hex.last_mut().and_then(HexView::wish) {
            self.effects.push(Effect::Read(wish));
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
            Focus::Tables if self.hex.is_empty() => Pane::Table,
            Focus::Tables => Pane::Hex,
        }
    }
    pub fn table(&mut self) -> Option<&mut TableView> {
        self.tables.get_mut(self.active)
    }

    // Keys.

    fn key(&mut self, event: KeyEvent) {
        let key = Key::from(event);
        let interrupt = Key { code: KeyCode::Char('c'), control: true };
        if key != interrupt {
            self.interrupted = false;
        }
        self.notice = None;
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
        match commands::find(pane, key) {
            Some(command) => (command.run)(self, key),
            None if pane == Pane::Overlay => self.overlay = None,
            None => (),
        }
    }

    fn mouse(&mut self, event: MouseEvent) {
        let (x, y) = (event.column, event.row);
        let over = |area: Rect| area.contains((x, y).into());
        match event.kind {
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let rows = if event.kind == MouseEventKind::ScrollDown { 3 } else { -3 };
                if let Some(overlay) = &mut self.overlay {
                    overlay.by(rows);
                } else if over(self.places.tree) {
                    self.tree.wheel(rows);
                } else if over(self.places.right) {
                    match self.hex.last_mut() {
                        Some(view) => view.wheel(rows),
                        None => {
                            if let Some(view) = self.tables.get_mut(self.active) {
                                let shown = view.shown();
                                view.list.by(rows, shown);
                            }
                        }
                    }
                }
            }
            MouseEventKind::Down(MouseButton::Left) => {
                self.notice = None;
                if self.overlay.take().is_some() || self.prompt.is_some() {
                    return;
                }
                if let Some((_, view)) = self.places.views.iter().find(|(area, _)| over(*area)) {
                    return match *view {
                        Some(table) => self.show_table(table),
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
        if let Some(view) = self.hex.last_mut() {
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
            if view.list.cursor == place {
                self.enter();
            } else {
                view.list.cursor = place;
            }
        }
    }

    // The open question.

    pub fn prompt(&self) -> Option<(String, String)> {
        let prompt = self.prompt.as_ref()?;
        let question = match (prompt.question, self.pane()) {
            (Question::Search, Pane::Hex) => "search text or bytes:",
            (Question::Search, _) => "search:",
            (Question::Filter, _) => "filter:",
            (Question::Goto, _) => "go to address:",
            (Question::Command, _) => ":",
        };
        Some((question.to_owned(), prompt.answer.clone()))
    }

    fn prompt_key(&mut self, key: Key) {
        match key.code {
            KeyCode::Enter => self.accept(),
            KeyCode::Esc => self.reject(),
            KeyCode::Char('c') if key.control => self.reject(),
            KeyCode::Char('u') if key.control => self.answer(String::clear),
            KeyCode::Char('w') if key.control => self.answer(|answer| {
                let kept = answer.trim_end().rfind(' ').map_or(0, |at| at + 1);
                answer.truncate(kept);
            }),
            KeyCode::Backspace | KeyCode::Char('h') if key.code == KeyCode::Backspace || key.control => {
                let empty = self.prompt.as_ref().is_some_and(|prompt| prompt.answer.is_empty());
                if empty {
                    self.reject()
                } else {
                    self.answer(|answer| {
                        answer.pop();
                    })
                }
            }
            KeyCode::Char('g') if self.prompt.as_ref().is_some_and(|it| it.question == Question::Goto && it.answer.is_empty()) => {
                self.prompt = None;
                self.jump(false);
            }
            KeyCode::Char(c) if !key.control && !c.is_control() => self.answer(|answer| answer.push(c)),
            KeyCode::Down | KeyCode::Up | KeyCode::Tab if self.asks_command() => {
                let last = self.choices().len().saturating_sub(1);
                if let Some(prompt) = &mut self.prompt {
                    let up = key.code == KeyCode::Up;
                    prompt.choice = if up { prompt.choice.saturating_sub(1) } else { (prompt.choice + 1).min(last) };
                }
            }
            KeyCode::Down | KeyCode::Up if self.pane() != Pane::Hex => self.by_rows(if key.code == KeyCode::Down { 1 } else { -1 }),
            _ => (),
        }
    }

    /// Longer questions than any of ours are a mistake, or meant to cost time.
    fn answer(&mut self, change: impl FnOnce(&mut String)) {
        const LONGEST: usize = 200;
        if let Some(prompt) = &mut self.prompt {
            change(&mut prompt.answer);
            prompt.choice = 0;
            while prompt.answer.len() > LONGEST {
                prompt.answer.pop();
            }
            let (question, answer) = (prompt.question, prompt.answer.clone());
            self.apply(question, answer);
        }
    }

    /// Search and filter take effect while they are typed.
    fn apply(&mut self, question: Question, answer: String) {
        match (question, self.pane()) {
            (Question::Search, Pane::Tree) => {
                self.tree.search = answer;
                self.tree.arrange(&self.look);
                self.tree.first_hit();
            }
            (Question::Filter, Pane::Tree) => {
                self.tree.filter = answer;
                self.tree.arrange(&self.look);
            }
            (Question::Search | Question::Filter, Pane::Table) => {
                let table = self.active;
                if let Some(view) = self.table() {
                    if question == Question::Search {
                        view.search = answer
                    } else {
                        view.filter = answer
                    }
                    self.arrange(table);
                }
            }
            _ => (),
        }
    }

    fn ask(&mut self, question: Question, before: String) {
        let answer = if question == Question::Filter { before.clone() } else { String::new() };
        self.prompt = Some(Prompt { question, answer, before, choice: 0 });
    }
    pub fn ask_command(&mut self) {
        self.ask(Question::Command, String::new());
    }
    fn asks_command(&self) -> bool {
        self.prompt.as_ref().is_some_and(|prompt| prompt.question == Question::Command)
    }

    /// The commands of this pane and the tables whose names resemble what was typed, the best first.
    fn choices(&self) -> Vec<Choice> {
        let Some(prompt) = self.prompt.as_ref().filter(|_| self.asks_command()) else { return Vec::new() };
        let pane = self.pane();
        let commands = COMMANDS.iter().filter(|command| command.panes.contains(&pane) && command.name != "command");
        let all = commands.map(Choice::Command).chain((0..self.tables.len()).map(Choice::Table));
        let typed = prompt.answer.trim();
        if typed.is_empty() {
            return all.collect();
        }
        let matcher = resemblance();
        let score = |choice: Choice| {
            let name = self.choice_name(choice);
            // What begins with the letters is meant before what merely contains them.
            let bonus = if name.starts_with(&typed.to_lowercase()) { 1000 } else { 0 };
            Some((matcher.fuzzy_match(&name, typed)? + bonus, choice))
        };
        let mut scored: Vec<(i64, Choice)> = all.filter_map(score).collect();
        scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        scored.into_iter().map(|(_, choice)| choice).collect()
    }
    fn choice_name(&self, choice: Choice) -> String {
        match choice {
            Choice::Command(command) => command.name.to_owned(),
            Choice::Table(table) => self.tables.get(table).map(|view| view.title.to_lowercase()).unwrap_or_default(),
        }
    }

    /// What is to be chosen from, and which of it is selected.
    pub fn palette(&self) -> (Vec<Item>, usize) {
        let item = |choice: Choice| {
            let (keys, help) = match choice {
                Choice::Command(command) => (commands::keys(command), command.help.to_owned()),
                Choice::Table(table) => {
                    let keys = if table < 9 { (table + 1).to_string() } else { String::new() };
                    let doc = self.tables.get(table).map_or("", |view| view.entry.table.doc.trim());
                    (keys, doc.to_owned())
                }
            };
            Item { name: self.choice_name(choice), keys, help }
        };
        let selected = self.prompt.as_ref().map_or(0, |prompt| prompt.choice);
        (self.choices().into_iter().map(item).collect(), selected)
    }
    pub fn ask_search(&mut self) {
        let before = match self.pane() {
            Pane::Tree => self.tree.search.clone(),
            Pane::Hex => String::new(),
            _ => self.table().map(|view| view.search.clone()).unwrap_or_default(),
        };
        self.ask(Question::Search, before);
    }
    pub fn ask_filter(&mut self) {
        let before = match self.pane() {
            Pane::Tree => self.tree.filter.clone(),
            _ => self.table().map(|view| view.filter.clone()).unwrap_or_default(),
        };
        self.ask(Question::Filter, before);
    }
    pub fn ask_goto(&mut self) {
        self.ask(Question::Goto, String::new());
    }

    fn reject(&mut self) {
        if let Some(prompt) = self.prompt.take() {
            self.apply(prompt.question, prompt.before);
        }
    }

    fn accept(&mut self) {
        let choice = self.prompt.as_ref().and_then(|prompt| self.choices().get(prompt.choice).copied());
        let Some(prompt) = self.prompt.take() else { return };
        match (prompt.question, self.pane()) {
            (Question::Command, _) => match choice {
                Some(Choice::Command(command)) => {
                    if let Some(key) = command.keys.first() {
                        (command.run)(self, *key);
                    }
                }
                Some(Choice::Table(table)) => self.show_table(table),
                None => self.notice = Some((Role::Warning, format!("there is no command like {}", prompt.answer))),
            },
            (Question::Search, Pane::Hex) => match Needle::parse(&prompt.answer) {
                _ if prompt.answer.is_empty() => self.next_match(true),
                Ok(needle) => {
                    if let Some(view) = self.hex.last_mut() {
                        view.needle = needle;
                        view.found = None;
                    }
                    self.find(0);
                }
                Err(why) => self.notice = Some((Role::Warning, why)),
            },
            // As in less: an empty search repeats the last one.
            (Question::Search, _) if prompt.answer.is_empty() => {
                self.apply(Question::Search, prompt.before);
                self.next_match(true);
            }
            (Question::Search, _) => {
                let found = match self.pane() {
                    Pane::Tree => self.tree.has_hits(),
                    // A table that is still being searched says so itself.
                    _ => true,
                };
                if !found {
                    self.notice = Some((Role::Warning, format!("\"{}\" is not in the tree", prompt.answer)));
                }
            }
            (Question::Filter, _) => (),
            (Question::Goto, _) if prompt.answer.trim().is_empty() => (),
            (Question::Goto, _) => match parse_target(&prompt.answer) {
                Ok(target) => self.go_to(target),
                Err(why) => self.notice = Some((Role::Warning, why)),
            },
        }
    }

    // Moves.

    pub fn by_rows(&mut self, rows: isize) {
        match self.pane() {
            Pane::Overlay => drop(self.overlay.as_mut().map(|overlay| overlay.by(rows))),
            Pane::Tree => self.tree.by(rows),
            Pane::Hex => drop(self.hex.last_mut().map(|view| view.by_rows(rows))),
            Pane::Table => {
                if let Some(view) = self.table() {
                    let shown = view.shown();
                    view.list.by(rows, shown);
                }
            }
        }
    }
    pub fn by_pages(&mut self, pages: isize, part: isize) {
        let page = match self.pane() {
            Pane::Overlay => self.overlay.as_ref().map(Overlay::page),
            Pane::Tree => Some(self.tree.page()),
            Pane::Hex => self.hex.last().map(HexView::page),
            Pane::Table => self.table().map(|view| view.list.page()),
        };
        let rows = (page.unwrap_or(1) / part).max(1);
        self.by_rows(pages.saturating_mul(rows));
    }
    pub fn jump(&mut self, bottom: bool) {
        match self.pane() {
            Pane::Hex => {
                if let Some(view) = self.hex.last_mut() {
                    view.to(if bottom { view.last } else { view.first });
                }
            }
            _ => self.by_rows(if bottom { isize::MAX } else { isize::MIN + 1 }),
        }
    }
    pub fn by_bytes(&mut self, bytes: i128) {
        if let Some(view) = self.hex.last_mut() {
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
        self.focus = Focus::Tree;
    }
    fn show_table(&mut self, table: usize) {
        if table < self.tables.len() {
            self.active = table;
            self.hex.clear();
            self.focus = Focus::Tables;
        }
    }
    pub fn view_of(&mut self, key: Key) {
        if let KeyCode::Char(digit) = key.code
            && let Some(number) = digit.to_digit(10)
        {
            self.show_table((number as usize).saturating_sub(1));
        }
    }
    /// Through the tree and all tables, around. From the tree the table that is in sight comes first.
    pub fn next_view(&mut self, forward: bool) {
        let last = self.tables.len().saturating_sub(1);
        match (self.focus, forward) {
            (Focus::Tree, true) => self.focus = Focus::Tables,
            (Focus::Tree, false) => self.show_table(last),
            // The bytes are a step into a table: leaving sideways goes back to the tree and keeps them.
            (Focus::Tables, _) if !self.hex.is_empty() => self.focus = Focus::Tree,
            (Focus::Tables, true) if self.active >= last => {
                self.active = 0;
                self.focus = Focus::Tree;
            }
            (Focus::Tables, false) if self.active == 0 => self.focus = Focus::Tree,
            (Focus::Tables, true) => self.show_table(self.active + 1),
            (Focus::Tables, false) => self.show_table(self.active - 1),
        }
    }
    pub fn next_table(&mut self, forward: bool) {
        let count = self.tables.len().max(1);
        self.show_table((self.active + if forward { 1 } else { count - 1 }) % count);
    }
    pub fn zoom(&mut self) {
        self.zoomed = !self.zoomed;
        if self.size.0 < TWO_PANES {
            self.notice = Some((Role::Dim, format!("one pane at a time below {TWO_PANES} columns; Tab changes it")));
        }
    }
    pub fn toggle_all(&mut self) {
        self.all = !self.all;
        let text = if self.all { "the tables show all processes" } else { "the tables show the selected process" };
        self.notice = Some((Role::Text, text.to_owned()));
    }
    pub fn back(&mut self) {
        match self.pane() {
            Pane::Overlay => self.overlay = None,
            Pane::Hex => {
                self.hex.pop();
                self.stop_finding();
            }
            Pane::Table => {
                let table = self.active;
                let Some(view) = self.table() else { return };
                if view.filter.is_empty() && view.search.is_empty() {
                    self.focus = Focus::Tree;
                } else {
                    if view.search.is_empty() {
                        view.filter.clear()
                    } else {
                        view.search.clear()
                    }
                    self.arrange(table);
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
    pub fn enter(&mut self) {
        match self.pane() {
            Pane::Tree => self.focus = Focus::Tables,
            Pane::Table => self.follow(false),
            Pane::Hex => match self.hex.last().and_then(HexView::pointer) {
                Some(pointer) => self.go_to(Target::Virtual(pointer)),
                None => self.notice = Some((Role::Warning, "no whole pointer here: bytes are missing".to_owned())),
            },
            Pane::Overlay => self.overlay = None,
        }
    }
    pub fn object(&mut self) {
        if self.pane() == Pane::Table {
            return self.follow(true);
        }
        let Some(process) = self.tree.current() else { return };
        match process.address.value() {
            Some(&VirtAddr(at)) => {
                let what = format!("process object of {} {}", self.look.clean(&process.name), process.pid);
                self.hex = vec![HexView::new(Space::Kernel, what, String::new(), 0, u64::MAX, at)];
                self.focus = Focus::Tables;
            }
            None => self.notice = Some((Role::Warning, "this process object has no virtual address".to_owned())),
        }
    }

    fn follow(&mut self, object: bool) {
        let link = self.tables.get(self.active).and_then(|view| view.link(object));
        match link {
            Some(Link::Bytes { space, first, last, at, what }) => match self.space_of(space) {
                Some(space) => {
                    let owner = self.owner(space);
                    self.hex.push(HexView::new(space, self.look.clean(&what), owner, first, last, at));
                }
                None => self.notice = Some((Role::Warning, "the row's process is not in the tree".to_owned())),
            },
            Some(Link::Process { address, pid }) => self.reveal(address, pid),
            None => {
                let empty = self.tables.get(self.active).is_none_or(|view| view.selected().is_none());
                let text = if empty { "no row is selected" } else { "this row has no address to go to; v shows all of it" };
                self.notice = Some((Role::Dim, text.to_owned()));
            }
        }
    }
    fn space_of(&self, place: Where) -> Option<Space> {
        match place {
            Where::Space(space) => Some(space),
            Where::OfPid(pid) => self.tree.find(None, Some(pid))?.address.value().map(|address| Space::Process(*address)),
        }
    }
    fn owner(&self, space: Space) -> String {
        match space {
            Space::Process(address) => self
                .tree
                .find(Some(address), None)
                .map_or(address.to_string(), |process| format!("{} {}", self.look.clean(&process.name), process.pid)),
            Space::Kernel | Space::Physical => String::new(),
        }
    }
    pub fn go_to_process(&mut self) {
        match self.tables.get(self.active).and_then(TableView::process) {
            Some(Link::Process { address, pid }) => self.reveal(address, pid),
            _ => self.notice = Some((Role::Dim, "this row belongs to no process".to_owned())),
        }
    }
    fn reveal(&mut self, address: Option<VirtAddr>, pid: Option<u32>) {
        if self.tree.reveal(address, pid, &self.look) {
            self.focus = Focus::Tree;
        } else {
            self.notice = Some((Role::Warning, "the row's process is not in the tree".to_owned()));
        }
    }

    fn go_to(&mut self, target: Target) {
        let current = self.hex.last().map(|view| (view.space, view.cursor));
        let (space, at) = match target {
            Target::Physical(at) => (Space::Physical, at),
            Target::Virtual(at) if VirtAddr(at).is_kernel() => (Space::Kernel, at),
            Target::Virtual(at) => match current {
                Some((space @ (Space::Process(_) | Space::Physical), _)) => (space, at),
                _ => match self.tree.current().and_then(|process| process.address.value()) {
                    Some(address) => (Space::Process(*address), at),
                    None => (Space::Kernel, at),
                },
            },
            Target::Relative(by) => match current.map(|(space, cursor)| (space, u64::try_from(i128::from(cursor) + by))) {
                Some((space, Ok(at))) => (space, at),
                Some((_, Err(_))) => return self.notice = Some((Role::Warning, "that is outside of the address space".to_owned())),
                None => {
                    return self.notice = Some((Role::Warning, "+ and - count from the cursor of the bytes; open some first".to_owned()));
                }
            },
        };
        // Inside what is shown the cursor moves; beyond it a new view opens, from which Esc returns.
        match self.hex.last_mut() {
            Some(view) if view.space == space && (view.first..=view.last).contains(&at) => view.to(at),
            _ => {
                let owner = self.owner(space);
                let last = match (space, &self.info) {
                    (Space::Physical, Some(info)) => {
                        info.memory.iter().map(|range| range.end().0).max().map_or(u64::MAX, |end| end.saturating_sub(1))
                    }
                    _ => u64::MAX,
                };
                if at > last {
                    self.notice = Some((Role::Warning, format!("{at:#x} lies behind the last physical page, {last:#x}")));
                    return;
                }
                self.hex.push(HexView::new(space, format!("{at:#x}"), owner, 0, last, at));
            }
        }
        self.focus = Focus::Tables;
    }

    // Searching on.

    pub fn next_match(&mut self, forward: bool) {
        let found = match self.pane() {
            Pane::Tree => self.tree.next_hit(forward),
            Pane::Table => self.table().is_some_and(|view| view.next_hit(forward)),
            Pane::Hex => return self.find(1),
            Pane::Overlay => true,
        };
        if !found {
            self.notice = Some((Role::Dim, "no match; / searches".to_owned()));
        }
    }

    fn find(&mut self, skip: u64) {
        let Some(view) = self.hex.last() else { return };
        if view.needle.bytes.is_empty() {
            self.notice = Some((Role::Dim, "nothing to search for; / asks".to_owned()));
            return;
        }
        let Some(from) = view.cursor.checked_add(skip).filter(|from| *from <= view.last) else {
            self.notice = Some((Role::Dim, "the end".to_owned()));
            return;
        };
        self.serial = self.serial.wrapping_add(1);
        self.finding = Some(self.serial);
        // A region is searched to its end; where there is none, no farther than one is ready to wait.
        let last = if view.bounded() { view.last } else { view.last.min(from.saturating_add(FARTHEST)) };
        let (space, needle) = (view.space, view.needle.bytes.clone());
        self.effects.push(Effect::Find { serial: self.serial, space, from, last, needle });
    }
    fn stop_finding(&mut self) {
        if self.finding.take().is_some() {
            self.effects.push(Effect::Cancel);
        }
    }
    fn found(&mut self, serial: u32, result: Result<Option<u64>, String>) {
        if self.finding != Some(serial) {
            return;
        }
        self.finding = None;
        let Some(view) = self.hex.last_mut() else { return };
        match result {
            Ok(Some(at)) => {
                view.found = Some(at);
                view.to(at);
            }
            Ok(None) => {
                let far = if view.bounded() { "from here to the end" } else { "in the next 4 GiB" };
                self.notice = Some((Role::Warning, format!("\"{}\" is not found {far}", view.needle.typed)));
            }
            Err(why) => self.notice = Some((Role::Warning, why)),
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
    pub fn invert(&mut self) {
        let table = self.active;
        match self.table().map(TableView::invert) {
            Some(true) => self.arrange(table),
            _ => self.notice = Some((Role::Dim, "not sorted; s sorts".to_owned())),
        }
    }

    // Texts over the panes.

    pub fn help(&mut self) {
        let pane = self.pane();
        let line = |command: &commands::Command| Line::new(commands::keys(command), command.help, Role::Text);
        let own = |command: &&commands::Command| command.panes == [pane];
        let mut lines = vec![Line::heading(pane.name())];
        lines.extend(COMMANDS.iter().filter(own).map(line));
        lines.push(Line::heading(""));
        lines.push(Line::heading("Everywhere"));
        lines.extend(COMMANDS.iter().filter(|command| !own(command) && command.panes.contains(&pane)).map(line));
        lines.push(Line::heading(""));
        lines.push(Line::heading("Marks"));
        let (exited, dash) = (self.look.symbols.exited, self.look.symbols.dash);
        let marks = [
            ("hidden", "alive, yet missing from the list that the system itself shows"),
            (exited, "exited: the process is over, its object is still there"),
            ("zombie", "over, and its parent has not asked how it ended"),
            ("+12", "folded, with so many below"),
            ("!", "something about the row could not be read or does not agree; v says what"),
            (dash, "the system has no such value"),
            ("??", "the value is not in the image; not the same as zero"),
        ];
        lines.extend(marks.map(|(mark, meaning)| Line::new(mark, meaning, Role::Text)));
        lines.push(Line::heading(""));
        lines.push(Line::new("", "The image is opened read-only; nothing here can change it.", Role::Dim));
        self.overlay = Some(Overlay::new("Help", lines));
    }

    pub fn record(&mut self) {
        let found = match self.pane() {
            Pane::Tree => self.tree.current_row().map(|(rows, row)| (record(rows, row, &self.look), "process".to_owned())),
            _ => self.tables.get(self.active).and_then(|view| {
                let (rows, row) = (view.rows.as_ref()?, view.selected()?);
                Some((record(rows.as_ref(), row, &self.look), format!("{}, row {}", view.title, row + 1)))
            }),
        };
        match found {
            Some((lines, title)) => {
                let lines = lines.into_iter().map(|(name, value, role)| Line::new(name, value, role)).collect();
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
        lines.push(plain(
            "format",
            format!("{}, {} bytes", info.format, super::text::grouped(usize::try_from(info.size).unwrap_or(usize::MAX))),
        ));
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
        self.finding = None;
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
        let process = self.tree.current().map(|process| format!("{} {}", self.look.clean(&process.name), process.pid));
        if self.focus == Focus::Tree {
            crumbs.extend(process);
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
        crumbs.extend(self.hex.iter().map(|view| view.what.clone()));
        crumbs
    }

    pub fn position(&self) -> String {
        match self.pane() {
            Pane::Overlay => self.overlay.as_ref().map(Overlay::position).unwrap_or_default(),
            Pane::Tree => self.tree.position_text(),
            Pane::Hex => self.hex.last().map(HexView::position).unwrap_or_default(),
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
        let owner = match self.tree.current() {
            _ if view.machine_only => None,
            Some(process) if !self.all => Some(format!("{} {}", self.look.clean(&process.name), process.pid)),
            _ => Some("all processes".to_owned()),
        };
        let mut parts: Vec<(Role, String)> = owner.into_iter().chain(total).map(|part| (Role::Text, part)).collect();
        if view.hidden > 0 && view.stale.is_none() {
            parts.push((Role::Danger, format!("{} hidden", view.hidden)));
        }
        let dot = (Role::Text, self.look.symbols.dot.to_owned());
        parts.into_iter().flat_map(|part| [dot.clone(), part]).skip(1).collect()
    }
}
