//! The process tree: who started whom. Identified by process object, for PIDs repeat.

mod columns;
mod marks;

use super::arrange::next_hit;
use super::filter::{Field, Filter, fields};
use super::link::{Kin, Link};
use super::{Sign, Signs, flow, frame, grave, moment, noted};
use crate::address::VirtAddr;
use crate::case::Object;
use crate::facts::{Answer, Cell, Finding, Kind, Known, Origin, ProcessState, Record, Rows, Socket, State, TreeProcess};
use crate::tui::export::Selection;
use crate::tui::text::{self, Cut, counted, grouped};
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::virtual_table::{BAR, ListState, underline};
use crate::tui::widgets::{put, thumb};
use columns::{Columns, Needs};
pub use columns::{Part, TreeColumn};
pub use marks::legend;
use marks::{Judged, WORTH};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Text;
use ratatui::widgets::StatefulWidget;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tui_tree_widget::{Tree, TreeItem, TreeState};

/// What a node is known by: its process object, or its row where there is no address to know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    Object(u64),
    Row(usize),
}

/// In which order the processes stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Tree,
    Pid,
    Name,
    Start,
    Threads,
    Score,
    User,
    Session,
    Sockets,
}

impl Order {
    pub const ALL: [Self; 9] =
        [Self::Tree, Self::Pid, Self::Name, Self::Start, Self::Threads, Self::Score, Self::User, Self::Session, Self::Sockets];
    /// Those that a system has.
    pub fn all(os: Origin) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |order| *order != Self::Session || os == Origin::Windows)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Pid => "pid",
            Self::Name => "name",
            Self::Start => "start",
            Self::Threads => "threads",
            Self::Score => "score",
            Self::User => "user",
            Self::Session => "session",
            Self::Sockets => "sockets",
        }
    }
    pub fn help(self) -> &'static str {
        match self {
            Self::Tree => "who started whom",
            Self::Pid => "a list by process ID",
            Self::Name => "a list by name",
            Self::Start => "a list by start time, the latest first",
            Self::Threads => "a list by number of threads, the most first",
            Self::Score => "a list by the score of the gravest finding, the highest first",
            Self::User => "a list by user",
            Self::Session => "a list by session",
            Self::Sockets => "a list by number of sockets, the most first",
        }
    }
    /// What one looks for stands on top: the latest, the most, the worst.
    fn descends(self) -> bool {
        matches!(self, Self::Start | Self::Threads | Self::Score | Self::Sockets)
    }
}

struct Node {
    id: Id,
    row: usize,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// Columns for filters that the table has not.
const SCORE: usize = usize::MAX;
const MARKS: usize = usize::MAX - 1;
const USER: usize = usize::MAX - 2;
const SOCKETS: usize = usize::MAX - 3;

/// What stands beside the tree and comes from other tables, once somebody wants to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beside {
    Users,
    Sockets,
}

impl Beside {
    const ALL: [Self; 2] = [Self::Users, Self::Sockets];

    pub fn table(self) -> &'static str {
        match self {
            Self::Users => "sids",
            Self::Sockets => "sockets",
        }
    }
}

/// The widget copies a whole path at each level: a chain that an attacker made is cut here.
const DEEPEST: usize = 64;

pub struct ProcessTree {
    rows: Option<Arc<dyn Rows>>,
    answer: Option<Answer<TreeProcess>>,
    nodes: Vec<Node>,
    roots: Vec<usize>,
    items: Vec<TreeItem<'static, Id>>,
    pub state: TreeState<Id>,
    /// The process whose details are shown: the selected one, once the cursor rests on it.
    told: Option<Id>,
    /// Paths that have been shown before: a new one opens by itself, an old one stays as the user left it.
    met: HashSet<Id>,
    pub filter: String,
    matching: usize,
    pub search: String,
    hits: Vec<u32>,
    /// What was open before the filter opened everything.
    before_filter: Option<Vec<Vec<Id>>>,
    pub order: Order,
    inverted: bool,
    os: Origin,
    /// The gravest finding of each process, by its object; None until they have been judged.
    scores: Option<HashMap<u64, Judged>>,
    /// The score of the gravest finding below each node.
    below: Vec<u8>,
    /// Users by PID, numbers of sockets by process object or PID; None until they are here.
    users: Option<HashMap<u32, String>>,
    sockets: Option<(HashMap<u64, u32>, HashMap<u32, u32>)>,
    asked: Vec<Beside>,
    chosen: Columns,
    /// What was last drawn.
    drawn: Vec<Part>,
    /// How far the judging has come.
    judged: State,
    pub failure: Option<String>,
    /// What is noted on processes.
    pub signs: Signs,
    /// Where the rows were last drawn, header left out.
    pub body: Rect,
    /// Whether all start times lie on one day, so that the time of day is enough.
    one_day: bool,
    /// Widths of the widest PID and of the widest name with its indent.
    pid_width: u16,
    name_width: u16,
    mark_width: u16,
}

impl Default for ProcessTree {
    fn default() -> Self {
        Self {
            rows: None,
            answer: None,
            nodes: Vec::new(),
            roots: Vec::new(),
            items: Vec::new(),
            state: TreeState::default(),
            told: None,
            met: HashSet::new(),
            filter: String::new(),
            matching: 0,
            search: String::new(),
            hits: Vec::new(),
            before_filter: None,
            order: Order::Tree,
            inverted: false,
            os: Origin::Linux,
            scores: None,
            below: Vec::new(),
            users: None,
            sockets: None,
            asked: Vec::new(),
            chosen: Columns::default(),
            drawn: Vec::new(),
            judged: State::Running,
            failure: None,
            signs: Signs::default(),
            body: Rect::ZERO,
            one_day: true,
            pid_width: 3,
            name_width: 16,
            mark_width: 0,
        }
    }
}

impl ProcessTree {
    pub fn load(&mut self, rows: Arc<dyn Rows>, look: &Look) {
        self.answer = rows.as_any().downcast_ref::<Answer<TreeProcess>>().cloned();
        self.rows = Some(rows);
        self.failure = None;
        self.link();
        self.open_new();
        self.arrange(look);
        if self.selected().is_none() {
            let first = self.roots.first().map(|root| self.path(*root)).unwrap_or_default();
            self.state.select(first);
        }
    }

    pub fn os(&self) -> Origin {
        self.os
    }
    pub fn set_system(&mut self, os: Origin) {
        self.os = os;
    }

    /// Takes what was found, all of it or what there is so far.
    pub fn judge(&mut self, rows: &dyn Rows, look: &Look) {
        let Some(findings) = rows.as_any().downcast_ref::<Answer<Finding>>() else { return };
        let mut scores: HashMap<u64, Judged> = HashMap::new();
        for finding in findings.iter() {
            let Known::Value(process) = finding.process_address else { continue };
            scores.entry(process.0).or_default().add(finding);
        }
        self.scores = Some(scores);
        self.judged = rows.state();
        self.mark();
        if self.order == Order::Score {
            self.arrange(look);
        }
    }
    /// The processes could not be judged.
    pub fn not_judged(&mut self) {
        self.judged = State::Cut;
    }
    fn judged(&self, process: &TreeProcess) -> Option<&Judged> {
        self.scores.as_ref()?.get(&process.address.value()?.0)
    }
    fn score(&self, process: &TreeProcess) -> Option<(u8, &str)> {
        self.judged(process).map(|judged| (judged.score, judged.subject.as_str()))
    }

    /// Finds what is folded away with each process, and how much room the marks take.
    fn mark(&mut self) {
        let mut below = vec![0u8; self.nodes.len()];
        // Rows come parents first, hence from the last to the first.
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let own = self.process(node.row).and_then(|process| self.score(process)).map_or(0, |(score, _)| score);
            let gravest = own.max(below.get(index).copied().unwrap_or(0));
            if let Some(slot) = node.parent.and_then(|parent| below.get_mut(parent)) {
                *slot = gravest.max(*slot);
            }
        }
        self.below = below;
        let exited = "x exited".len();
        let wide = |node: &Node| {
            let Some(process) = self.process(node.row) else { return 0 };
            let state = match process.state {
                ProcessState::Running if !process.problems.is_empty() || self.orphaned(node) => exited,
                ProcessState::Running => 0,
                _ => exited,
            };
            let odd = self.judged(process).map_or(0, |judged| text::width(&judged.words()));
            state + odd + usize::from(state > 0 && odd > 0)
        };
        let widest = self.nodes.iter().map(wide).max().unwrap_or(0);
        let below = if self.below.iter().any(|below| *below >= WORTH) { exited } else { 0 };
        self.mark_width = u16::try_from(widest.max(below)).unwrap_or(u16::MAX).min(24);
    }

    /// What other tables have to tell and have not been asked yet.
    pub fn wants(&mut self) -> Vec<Beside> {
        let filtered = |word: &str| [&self.filter, &self.search].iter().any(|text| text.to_lowercase().contains(word));
        let wanted = |beside: &Beside| match beside {
            Beside::Users => {
                self.os == Origin::Windows && (self.drawn.contains(&Part::User) || self.order == Order::User || filtered("user"))
            }
            Beside::Sockets => self.drawn.contains(&Part::Sockets) || self.order == Order::Sockets || filtered("sock"),
        };
        // What was found comes first.
        let ready = !self.nodes.is_empty() && !self.is_loading() && self.judged != State::Running;
        let new: Vec<Beside> = Beside::ALL.into_iter().filter(|beside| ready && wanted(beside) && !self.asked.contains(beside)).collect();
        self.asked.extend(&new);
        new
    }
    /// Takes what another table tells of the processes; None where it cannot be had.
    pub fn learn(&mut self, beside: Beside, rows: Option<&dyn Rows>, look: &Look) {
        let answer = rows.map(Rows::as_any);
        match beside {
            Beside::Users => {
                let sids = answer.and_then(|answer| answer.downcast_ref::<Answer<crate::facts::windows::Sid>>());
                let user = |sid: &crate::facts::windows::Sid| {
                    // The authority before the name says little and takes the room.
                    let short = |name: &String| name.rsplit('\\').next().unwrap_or(name).to_owned();
                    let name = sid.name.value().map_or_else(|| short_sid(&sid.sid), short);
                    (sid.role == "user").then_some((sid.pid, name))
                };
                self.users = Some(sids.into_iter().flat_map(Answer::iter).filter_map(user).collect());
            }
            Beside::Sockets => {
                let (mut objects, mut pids) = (HashMap::new(), HashMap::new());
                let sockets = answer.and_then(|answer| answer.downcast_ref::<Answer<Socket>>());
                for socket in sockets.into_iter().flat_map(Answer::iter) {
                    match (&socket.process_address, &socket.pid) {
                        (Known::Value(process), _) => *objects.entry(process.0).or_default() += 1,
                        (_, Known::Value(pid)) => *pids.entry(*pid).or_default() += 1,
                        _ => (),
                    }
                }
                self.sockets = Some((objects, pids));
            }
        }
        if self.order != Order::Tree || !self.filter.is_empty() {
            self.arrange(look);
        }
    }
    fn user(&self, process: &TreeProcess) -> Option<&String> {
        self.users.as_ref()?.get(&process.pid).filter(|_| process.state != ProcessState::Exited)
    }
    fn socket_count(&self, process: &TreeProcess) -> Option<u32> {
        let (objects, pids) = self.sockets.as_ref()?;
        let of_object = process.address.value().and_then(|at| objects.get(&at.0)).copied().unwrap_or(0);
        let of_pid = pids.get(&process.pid).filter(|_| process.state != ProcessState::Exited).copied().unwrap_or(0);
        Some(of_object.saturating_add(of_pid))
    }

    /// All columns that can be had, and whether they are in sight.
    pub fn column_choices(&self) -> Vec<(Part, bool)> {
        let all = self.chosen.choices(self.os);
        all.into_iter().map(|(part, wanted)| (part, wanted && self.drawn.contains(&part))).collect()
    }
    /// The columns that are wanted by their names, where they are not the usual ones.
    pub fn wanted_columns(&self) -> Option<Vec<String>> {
        self.chosen.names()
    }
    pub fn want_columns(&mut self, names: &[String]) {
        self.chosen = Columns::named(names);
    }
    pub fn choose_column(&mut self, part: Part) {
        let in_sight = self.drawn.contains(&part);
        self.chosen.choose(part, in_sight);
    }

    pub fn sort(&mut self, order: Order, look: &Look) {
        (self.order, self.inverted) = (order, false);
        self.open_new();
        self.arrange(look);
        // What stands on top now is what was asked for.
        if order != Order::Tree {
            self.by(isize::MIN + 1);
        }
    }
    pub fn invert(&mut self, look: &Look) {
        self.inverted = self.order != Order::Tree && !self.inverted;
        self.arrange(look);
    }
    pub fn is_inverted(&self) -> bool {
        self.inverted
    }
    /// What is noted on the process of a row.
    fn sign(&self, row: usize) -> Option<&Sign> {
        if self.signs.is_empty() {
            return None;
        }
        self.signs.get(&Object::of_row(self.rows.as_deref()?, row).key)
    }
    /// All nodes in the order that was chosen.
    fn ordered(&self) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.nodes.len()).collect();
        let process = |index: &usize| self.process(self.node(*index)?.row);
        let number = |index: &usize| -> Option<i128> {
            let process = process(index)?;
            match self.order {
                Order::Start => process.create_time.value().map(|time| time.nanoseconds()),
                Order::Threads => process.threads.value().map(|count| i128::from(*count)),
                Order::Score => self.score(process).map(|(score, _)| i128::from(score)),
                Order::Session => process.session.value().map(|session| i128::from(*session)),
                Order::Sockets => self.socket_count(process).map(i128::from),
                Order::User if self.os == Origin::Linux => process.uid.value().map(|uid| i128::from(*uid)),
                _ => Some(i128::from(process.pid)),
            }
        };
        let name = |index: &usize| process(index).map(|process| process.name.to_lowercase());
        let user = |index: &usize| process(index).and_then(|process| self.user(process));
        let compare = |a: &usize, b: &usize| match self.order {
            Order::Name => name(a).cmp(&name(b)),
            Order::User if self.os == Origin::Windows => user(a).cmp(&user(b)),
            _ => number(a).cmp(&number(b)),
        };
        let descends = self.order.descends() != self.inverted;
        all.sort_by(|a, b| if descends { compare(b, a) } else { compare(a, b) });
        all
    }

    /// The process of a name, or one whose name begins so.
    pub fn named(&self, name: &str, whole: bool) -> Option<Link> {
        let wanted = name.to_lowercase();
        let is = |process: &&TreeProcess| {
            let name = process.name.to_lowercase();
            if whole { name == wanted || name.strip_suffix(".exe") == Some(&wanted) } else { name.starts_with(&wanted) }
        };
        let process = self.answer.iter().flat_map(Answer::iter).find(is)?;
        Some(Link::Process { address: process.address.value().copied(), pid: Some(process.pid) })
    }
    /// Names of processes that begin so, each once.
    pub fn names_like(&self, begun: &str) -> Vec<String> {
        let begun = begun.to_lowercase();
        let like = |process: &&TreeProcess| process.name.to_lowercase().starts_with(&begun) && !process.name.contains(char::is_control);
        let names: BTreeSet<String> = self.answer.iter().flat_map(Answer::iter).filter(like).map(|process| process.name.clone()).collect();
        names.into_iter().collect()
    }
    /// Selects what was selected before, if it is still there.
    pub fn select(&mut self, path: Vec<Id>, look: &Look) {
        if let Some(index) = path.last().and_then(|id| self.index_of(*id)) {
            if !self.filter.is_empty() && !self.matches(&self.filter).get(index).copied().unwrap_or(false) {
                self.filter.clear();
                self.arrange(look);
            }
            self.show(index);
        }
    }

    fn process(&self, row: usize) -> Option<&TreeProcess> {
        self.answer.as_ref()?.row(row)
    }

    /// Finds each node's parent. Rows come parents first, and a node that names a parent not yet seen is a root: so no cycle can
    /// arise, whatever the image says.
    fn link(&mut self) {
        self.nodes.clear();
        self.roots.clear();
        let mut known: HashMap<Id, usize> = HashMap::new();
        let mut depths: Vec<usize> = Vec::new();
        let mut days = HashSet::new();
        for (row, process) in self.answer.iter().flat_map(Answer::iter).enumerate() {
            let address = process.address.value().map(|at| Id::Object(at.0));
            let id = address.filter(|id| !known.contains_key(id)).unwrap_or(Id::Row(row));
            let parent = process.parent.value().and_then(|at| known.get(&Id::Object(at.0)).copied());
            let parent = parent.filter(|parent| depths.get(*parent).is_some_and(|depth| *depth < DEEPEST));
            let index = self.nodes.len();
            depths.push(parent.and_then(|parent| depths.get(parent)).map_or(0, |depth| depth + 1));
            match parent.and_then(|parent| self.nodes.get_mut(parent)) {
                Some(parent) => parent.children.push(index),
                None => self.roots.push(index),
            }
            known.insert(id, index);
            days.extend(process.create_time.value().map(|time| time.nanoseconds().div_euclid(86_400_000_000_000)));
            self.nodes.push(Node { id, row, parent, children: Vec::new() });
        }
        self.one_day = days.len() <= 1;
        let processes = || self.answer.iter().flat_map(Answer::iter);
        let wide = |text: &str| text::width(&text::fit(text, 40, Cut::End, text::Charset::Ascii));
        let pid = processes().map(|process| process.pid.to_string().len()).max().unwrap_or(3).max(3);
        // The kernel's threads have long names and are folded away; their names are cut rather than all the rest moved aside.
        let name = processes().zip(&depths).filter(|(process, _)| process.kernel_thread.value() != Some(&true));
        let name = name.map(|(process, depth)| depth * 2 + wide(&process.name)).max().unwrap_or(0);
        // Room for the symbol before the name and the count of what is folded after it.
        self.name_width = u16::try_from(name + 7).unwrap_or(u16::MAX).clamp(16, 34);
        self.pid_width = u16::try_from(pid).unwrap_or(10);
        self.mark();
    }

    fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    fn path(&self, index: usize) -> Vec<Id> {
        let mut path = Vec::new();
        if self.order != Order::Tree {
            path.extend(self.node(index).map(|node| node.id));
            return path;
        }
        let mut at = Some(index);
        while let Some(node) = at.and_then(|index| self.node(index)) {
            path.push(node.id);
            at = node.parent;
        }
        path.reverse();
        path
    }

    /// Everything is open at first but the kernel's own threads, which are many and seldom the question.
    fn open_new(&mut self) {
        for index in 0..self.nodes.len() {
            let Some(node) = self.node(index) else { continue };
            let is_kernel = |row| self.process(row).is_some_and(|process| process.kernel_thread.value() == Some(&true));
            let children = !node.children.is_empty();
            let folded =
                is_kernel(node.row) && node.children.iter().all(|child| self.node(*child).is_some_and(|child| is_kernel(child.row)));
            let id = node.id;
            if children && self.order == Order::Tree && self.met.insert(id) && !folded {
                let path = self.path(index);
                self.state.open(path);
            }
        }
    }

    /// Builds the items for the filter as it is now. Whoever matches is shown with the ancestors that lead there.
    pub fn arrange(&mut self, look: &Look) {
        let mut keep: Option<Vec<bool>> = None;
        // In a list nobody is shown for the sake of descendants.
        let mut own: Option<Vec<bool>> = None;
        self.matching = self.nodes.len();
        if !self.filter.trim().is_empty() {
            let mut kept = self.matches(&self.filter);
            self.matching = kept.iter().filter(|kept| **kept).count();
            own = Some(kept.clone());
            // Rows come parents first, hence from the last to the first.
            for index in (0..self.nodes.len()).rev() {
                if kept.get(index) == Some(&true)
                    && let Some(parent) = self.node(index).and_then(|node| node.parent)
                    && let Some(slot) = kept.get_mut(parent)
                {
                    *slot = true;
                }
            }
            keep = Some(kept);
        }
        match (&keep, self.before_filter.take()) {
            (None, Some(before)) => {
                self.state.close_all();
                for path in before {
                    self.state.open(path);
                }
            }
            (None, None) => (),
            (Some(_), before) => {
                self.before_filter = Some(before.unwrap_or_else(|| self.state.opened().iter().cloned().collect()));
                for index in 0..self.nodes.len() {
                    let path = self.path(index);
                    self.state.open(path);
                }
            }
        }
        self.items = match self.order {
            Order::Tree => self.roots.clone().into_iter().filter_map(|root| self.item(root, keep.as_deref(), look)).collect(),
            _ => {
                let shown = self.ordered().into_iter().filter(|index| own.as_ref().is_none_or(|own| own.get(*index) == Some(&true)));
                shown.filter_map(|index| self.leaf(index, look)).collect()
            }
        };
        self.hits = Vec::new();
        if !self.search.trim().is_empty() {
            let found = self.matches(&self.search);
            let shown = |index: usize| keep.as_ref().is_none_or(|keep| keep.get(index) == Some(&true));
            self.hits = (0u32..).zip(found).filter(|(index, found)| *found && shown(*index as usize)).map(|(index, _)| index).collect();
        }
        self.keep_selection(keep.as_deref());
    }

    fn keep_selection(&mut self, keep: Option<&[bool]>) {
        let shown = |index: usize| keep.is_none_or(|keep| keep.get(index) == Some(&true));
        let matches = keep.map(|_| self.matches(&self.filter));
        let itself = |index: usize| matches.as_ref().is_none_or(|matches| matches.get(index) == Some(&true));
        match self.selected().filter(|index| shown(*index) && itself(*index)) {
            // Its place among the ancestors may have changed.
            Some(index) => {
                let path = self.path(index);
                self.state.select(path);
            }
            None => {
                // The first that matches itself, not its ancestor.
                let first = matches.and_then(|matches| matches.iter().position(|found| *found));
                let first = first.or(self.roots.iter().copied().find(|root| shown(*root)));
                let path = first.map(|first| self.path(first)).unwrap_or_default();
                self.state.select(path);
            }
        }
    }

    /// The columns that a filter can name; the score stands beside the table's own.
    pub fn fields(&self) -> Vec<Field> {
        let mut all = fields(const { &TreeProcess::TABLE }, self.os);
        all.push(Field { name: "score", kind: Kind::Number, column: SCORE });
        all.push(Field { name: "marks", kind: Kind::Text, column: MARKS });
        all.push(Field { name: "sockets", kind: Kind::Number, column: SOCKETS });
        if self.os == Origin::Windows {
            all.push(Field { name: "user", kind: Kind::Text, column: USER });
        }
        all
    }
    fn matches(&self, typed: &str) -> Vec<bool> {
        let fields = self.fields();
        let filter = Filter::parse(typed, &fields).unwrap_or_default();
        let shown = |field: &Field| matches!(field.name, "pid" | "name" | "state" | "command_line");
        let shown: Vec<Field> = fields.iter().copied().filter(shown).collect();
        let admitted = self.nodes.iter().map(|node| {
            self.process(node.row).is_some_and(|process| {
                filter.admits(&shown, &|column| match column {
                    SCORE => self.score(process).map_or(Cell::Absent, |(score, _)| Cell::Number(score.into())),
                    MARKS => {
                        let words = self.marks(node, process, false, "x").into_iter().map(|(word, _)| word);
                        Cell::Text(words.collect::<Vec<_>>().join(" ").into())
                    }
                    SOCKETS => self.socket_count(process).map_or(Cell::Absent, |count| Cell::Number(count.into())),
                    USER => self.user(process).map_or(Cell::Absent, |user| Cell::Text(user.as_str().into())),
                    column => process.cell(column),
                })
            })
        });
        admitted.collect()
    }

    fn leaf(&self, index: usize, look: &Look) -> Option<TreeItem<'static, Id>> {
        let node = self.node(index)?;
        let name = self.process(node.row).map(|process| look.clean(&process.name)).unwrap_or_default();
        Some(TreeItem::new_leaf(node.id, Text::raw(name)))
    }
    fn item(&self, index: usize, keep: Option<&[bool]>, look: &Look) -> Option<TreeItem<'static, Id>> {
        if keep.is_some_and(|keep| keep.get(index) != Some(&true)) {
            return None;
        }
        let node = self.node(index)?;
        let children: Vec<_> = node.children.iter().filter_map(|child| self.item(*child, keep, look)).collect();
        let name = self.process(node.row).map(|process| look.clean(&process.name)).unwrap_or_default();
        TreeItem::new(node.id, Text::raw(name), children).ok()
    }

    pub fn index_of(&self, id: Id) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }
    fn selected(&self) -> Option<usize> {
        self.index_of(*self.state.selected().last()?)
    }
    pub fn settle(&mut self) {
        self.told = self.state.selected().last().copied();
    }
    /// The process that details and titles are about.
    pub fn told(&self) -> Option<&TreeProcess> {
        self.process(self.told_row()?)
    }
    fn told_row(&self) -> Option<usize> {
        let told = self.told.and_then(|id| self.index_of(id)).or_else(|| self.selected());
        Some(self.node(told?)?.row)
    }
    /// The selected process.
    pub fn current(&self) -> Option<&TreeProcess> {
        self.process(self.node(self.selected()?)?.row)
    }
    pub fn current_row(&self) -> Option<(&dyn Rows, usize)> {
        Some((self.rows.as_deref()?, self.node(self.selected()?)?.row))
    }
    /// The rows, and those of them that the filter leaves.
    pub fn exported(&self) -> Option<Selection> {
        let rows = self.rows.clone()?;
        let matching = (!self.filter.trim().is_empty()).then(|| {
            let kept = self.matches(&self.filter).into_iter().zip(&self.nodes).filter(|(kept, _)| *kept);
            kept.filter_map(|(_, node)| u32::try_from(node.row).ok()).collect()
        });
        Some((rows, matching))
    }
    pub fn find(&self, address: Option<VirtAddr>, pid: Option<u32>) -> Option<&TreeProcess> {
        self.position(address, pid).and_then(|index| self.process(self.node(index)?.row))
    }
    /// Who started a process, and whom it started.
    pub fn kin(&self, process: &TreeProcess) -> Kin<'_> {
        let Some(node) = self.position(process.address.value().copied(), Some(process.pid)).and_then(|index| self.node(index)) else {
            return Kin::default();
        };
        let of = |index: &usize| self.process(self.node(*index)?.row);
        Kin { parent: node.parent.as_ref().and_then(of), children: node.children.iter().filter_map(of).collect() }
    }
    fn position(&self, address: Option<VirtAddr>, pid: Option<u32>) -> Option<usize> {
        let by_address = address.and_then(|at| self.index_of(Id::Object(at.0)));
        by_address.or_else(|| {
            let pid = pid?;
            let of_pid = |node: &&Node| self.process(node.row).is_some_and(|process| process.pid == pid);
            self.nodes.iter().find(of_pid).and_then(|node| self.index_of(node.id))
        })
    }

    /// Selects a process wherever it is, opening what hides it. The filter gives way.
    pub fn reveal(&mut self, address: Option<VirtAddr>, pid: Option<u32>, look: &Look) -> bool {
        let Some(index) = self.position(address, pid) else { return false };
        if !self.filter.is_empty() {
            self.filter.clear();
            self.arrange(look);
        }
        self.show(index);
        true
    }
    fn show(&mut self, index: usize) {
        let path = self.path(index);
        for length in 1..path.len() {
            self.state.open(path.iter().take(length).copied().collect());
        }
        self.state.select(path);
    }

    pub fn by(&mut self, rows: isize) {
        if self.items.is_empty() {
            return;
        }
        // The widget knows its rows only after it was drawn; several keys may come before that.
        let visible = self.state.flatten(&self.items);
        let at = visible.iter().position(|flat| flat.identifier == self.state.selected()).unwrap_or(0);
        let to = at.saturating_add_signed(rows).min(visible.len().saturating_sub(1));
        let path = visible.get(to).map(|flat| flat.identifier.clone()).unwrap_or_default();
        self.state.select(path);
    }
    #[cfg(test)]
    pub fn top(&self) -> usize {
        self.state.get_offset()
    }
    pub fn page(&self) -> isize {
        isize::try_from(self.body.height.saturating_sub(1).max(1)).unwrap_or(1)
    }
    pub fn close(&mut self) {
        let selected = self.state.selected().to_vec();
        // A root that is closed already stays selected: there is nowhere further out.
        if selected.len() > 1 || self.state.opened().contains(&selected) {
            self.state.key_left();
        }
    }
    pub fn open(&mut self) {
        let has_children = self.selected().and_then(|index| self.node(index)).is_some_and(|node| !node.children.is_empty());
        if has_children && !self.state.key_right() {
            self.by(1);
        }
    }
    pub fn toggle(&mut self) {
        self.state.toggle_selected();
    }
    /// Opens or closes the selected process with all its descendants.
    pub fn toggle_subtree(&mut self) {
        let Some(root) = self.selected() else { return };
        let open = !self.state.opened().contains(self.state.selected());
        let mut rest = vec![root];
        while let Some(index) = rest.pop() {
            let path = self.path(index);
            if open {
                self.state.open(path);
            } else {
                self.state.close(&path);
            }
            rest.extend(self.node(index).iter().flat_map(|node| node.children.iter().copied()));
        }
        self.state.scroll_selected_into_view();
    }

    pub fn next_hit(&mut self, forward: bool) -> bool {
        let hit = next_hit(&self.hits, self.selected().unwrap_or(0), forward);
        if let Some(hit) = hit {
            self.show(hit);
        }
        hit.is_some()
    }
    pub fn has_hits(&self) -> bool {
        !self.hits.is_empty()
    }
    /// Goes to the first place where the search text stands, beginning with the selected one.
    pub fn first_hit(&mut self) {
        let from = self.selected().unwrap_or(0);
        if !self.hits.iter().any(|hit| *hit as usize == from) {
            self.next_hit(true);
        }
    }

    pub fn click(&mut self, y: u16) -> bool {
        self.visible_at(y).is_some_and(|path| {
            // Anywhere on the row selects; a click on the selected one opens or closes it.
            let again = path == self.state.selected();
            if again {
                self.state.toggle_selected()
            } else {
                self.state.select(path)
            };
            true
        })
    }
    fn visible_at(&self, y: u16) -> Option<Vec<Id>> {
        let line = y.checked_sub(self.body.y).filter(|_| y < self.body.bottom())?;
        let visible = self.state.flatten(&self.items);
        visible.get(self.state.get_offset() + usize::from(line)).map(|flat| flat.identifier.clone())
    }
    /// Moves the selection by the wheel, for a window that leaves its selection behind loses the reader.
    pub fn wheel(&mut self, rows: isize) {
        self.by(rows);
    }

    pub fn is_loading(&self) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.state() == State::Running)
    }
    pub fn notes(&self) -> &[String] {
        self.rows.as_ref().map_or(&[], |rows| rows.notes())
    }

    pub fn position_text(&self) -> String {
        let all = self.nodes.len();
        let mut text = match self.selected() {
            Some(index) if self.filter.trim().is_empty() => {
                let place = match self.order {
                    Order::Tree => index,
                    _ => self.items.iter().position(|item| Some(item.identifier()) == self.state.selected().last()).unwrap_or(index),
                };
                format!("{}/{}", grouped(place + 1), grouped(all))
            }
            _ => format!("{} of {}", grouped(self.matching), grouped(all)),
        };
        if !self.search.is_empty() {
            let at = self.selected().and_then(|index| self.hits.iter().position(|hit| *hit as usize == index));
            let hits = self.hits.len();
            text.push_str(&match at {
                Some(at) => format!("  /{} of {}", grouped(at + 1), grouped(hits)),
                None => format!("  /{}", counted(hits, "hit", "hits")),
            });
        }
        text
    }

    pub fn title(&self, look: &Look) -> Vec<(Role, String)> {
        let dot = look.symbols.dot;
        let count = |wanted: &dyn Fn(&TreeProcess) -> bool| self.answer.iter().flat_map(Answer::iter).filter(|it| wanted(it)).count();
        let kernel = count(&|it| it.kernel_thread.value() == Some(&true));
        let mut title = vec![(Role::Header, " Processes".to_owned()), (Role::Text, format!(" {}", grouped(self.nodes.len() - kernel)))];
        let hidden = count(&|it| it.state == ProcessState::Hidden);
        let whole = self.answer.is_some() && !self.is_loading();
        if hidden > 0 || whole {
            title.push((Role::Text, dot.to_owned()));
            title.push(match hidden {
                0 => (Role::Dim, none_hidden(self.rows.as_deref()).to_owned()),
                _ => (Role::Danger, format!("{hidden} hidden")),
            });
        }
        for (state, word) in [(ProcessState::Exited, "exited"), (ProcessState::Zombie, "zombie")] {
            let found = count(&|it| it.state == state);
            if found > 0 {
                title.push((Role::Text, format!("{dot}{found} {word}")));
            }
        }
        if kernel > 0 {
            title.push((Role::Dim, format!("{dot}{}", counted(kernel, "kernel thread", "kernel threads"))));
        }
        if self.is_loading() {
            title.push((Role::Dim, format!("{dot}reading")));
        } else if self.scores.is_some() && self.judged == State::Running {
            title.push((Role::Dim, format!("{dot}judging")));
        } else if self.scores.is_some() && self.judged != State::Complete {
            title.push((Role::Warning, format!("{dot}not all judged")));
        }
        title.push((Role::Text, " ".to_owned()));
        title
    }

    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, focused: bool, look: &Look, detail: u16) {
        let mut conditions = Vec::new();
        if !self.filter.trim().is_empty() {
            conditions.push(format!("filter: {}", look.fit(self.filter.trim(), 24, Cut::End)));
        }
        if self.order != Order::Tree {
            let arrow = if self.order.descends() != self.inverted { look.symbols.down } else { look.symbols.up };
            conditions.push(format!("sort: {} {arrow}", self.order.name()));
        }
        let conditions = if conditions.is_empty() { String::new() } else { format!(" {} ", conditions.join(look.symbols.dot)) };
        let inner = frame(area, buffer, &self.title(look), &conditions, focused, look);
        if inner.height < 2 || inner.width < 2 {
            return;
        }
        let detail = if inner.height < detail + 5 || self.items.is_empty() { 0 } else { detail };
        let body = Rect { y: inner.y + 1, height: inner.height - 1 - detail, ..inner };
        self.body = body;
        if self.items.is_empty() {
            let lines = match (&self.failure, self.nodes.len()) {
                (Some(why), _) => vec![(Role::Danger, why.clone())],
                (None, 0) if self.is_loading() => vec![(Role::Dim, "reading...".to_owned())],
                (None, 0) => {
                    let mut lines = vec![(Role::Warning, "no process was found".to_owned())];
                    lines.extend(self.notes().iter().map(|note| (Role::Text, note.clone())));
                    lines
                }
                (None, all) => vec![
                    (Role::Text, format!("0 of {} match \"{}\"", grouped(all), self.filter.trim())),
                    (Role::Dim, "Esc clears the filter".to_owned()),
                ],
            };
            let mut y = body.y;
            for (role, line) in lines {
                for line in text::wrap(&look.clean(&line), usize::from(body.width.saturating_sub(2))) {
                    if y < body.bottom() {
                        put(buffer, body.x + 1, y, &line, body.width, look.style(role));
                    }
                    y = y.saturating_add(1);
                }
            }
            return;
        }
        let columns = self.columns(inner);
        self.drawn = columns.iter().map(|column| column.part).collect();
        for column in &columns {
            let title = if column.right { format!("{:>1$}", column.title, usize::from(column.width)) } else { column.title.to_owned() };
            put(buffer, column.x, inner.y, &title, column.width, look.style(Role::Header));
        }
        let Some(name) = columns.iter().find(|column| column.part == Part::Name) else { return };
        self.fit(usize::from(body.height));
        self.draw_names(Rect { x: name.x, width: name.width, ..body }, buffer, look);
        self.draw_columns(body, &columns, buffer, focused, look);
        let visible = self.state.flatten(&self.items).len();
        let edge = Rect { x: area.right() - 1, width: 1, ..body };
        let height = usize::from(body.height);
        thumb(buffer, edge, self.state.get_offset(), height, visible, look.symbols.thumb, look.style(Role::Text));
        if detail > 0 {
            self.draw_detail(Rect { y: body.bottom(), height: detail, ..inner }, buffer, look);
        }
    }

    /// Moves the window as those of tables move; the widget alone would move it line by line.
    fn fit(&mut self, height: usize) {
        let visible = self.state.flatten(&self.items);
        let (top, len) = (self.state.get_offset(), visible.len());
        let Some(cursor) = visible.iter().position(|flat| flat.identifier == self.state.selected()) else { return };
        let mut list = ListState { top, cursor, height };
        list.fit(height, len);
        self.state.scroll_up(top.saturating_sub(list.top));
        self.state.scroll_down(list.top.saturating_sub(top));
    }

    /// The tree itself. Drawn apart and copied, for the widget lets a deep indent run out of its area.
    fn draw_names(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) {
        let Ok(tree) = Tree::new(&self.items) else { return };
        let symbols = look.symbols;
        let tree = tree.node_open_symbol(symbols.open).node_closed_symbol(symbols.closed).node_no_children_symbol(symbols.leaf);
        let mut apart = Buffer::empty(area);
        StatefulWidget::render(tree, area, &mut apart, &mut self.state);
        for position in area.positions() {
            if let (Some(to), Some(from)) = (buffer.cell_mut(position), apart.cell(position)) {
                *to = from.clone();
            }
        }
    }

    /// PID, mark, times and the rest beside the names, line by line as the widget laid them.
    fn draw_columns(&self, body: Rect, columns: &[TreeColumn], buffer: &mut Buffer, focused: bool, look: &Look) {
        let mut last: Option<&[Id]> = None;
        let sought = self.search.trim().to_lowercase();
        for y in body.top()..body.bottom() {
            let x = columns.iter().find(|column| column.part == Part::Name).map_or(body.x, |column| column.x);
            let Some(path) = self.state.rendered_at(Position { x, y }) else { break };
            if last == Some(path) {
                break;
            }
            last = Some(path);
            let Some(node) = path.last().and_then(|id| self.index_of(*id)).and_then(|index| self.node(index)) else { continue };
            let Some(process) = self.process(node.row) else { continue };
            if let (Some(sign), Some(pid)) = (self.sign(node.row), columns.iter().find(|column| column.part == Part::Pid)) {
                put(buffer, pid.x + pid.width, y, &sign.sign.to_string(), 1, look.style(Role::Key));
            }
            for column in columns {
                let (text, role) = self.part((column.part, usize::from(column.width)), node, process, path, look);
                if column.part == Part::Name {
                    let width = usize::from(column.width);
                    let used = path.len() * 2 + text::width(&look.clean(&process.name));
                    if !text.is_empty() && used + 2 < width {
                        put(buffer, column.x + used as u16 + 1, y, &text, (width - used - 1) as u16, look.style(Role::Dim));
                    }
                    let row = Rect { x: column.x, y, width: column.width, height: 1 };
                    buffer.set_style(row, look.style(role));
                    let shift = column.x.saturating_add(u16::try_from(path.len() * 2).unwrap_or(u16::MAX));
                    let name = look.fit(&process.name, usize::from(column.width).saturating_sub(path.len() * 2), Cut::End);
                    underline(buffer, shift, y, &name, &sought, look.style(Role::Match));
                    continue;
                }
                let text = look.fit(&text, usize::from(column.width), Cut::End);
                let text = if column.right { format!("{text:>0$}", usize::from(column.width)) } else { text };
                put(buffer, column.x, y, &text, column.width, look.style(role));
                if column.part == Part::Command {
                    underline(buffer, column.x, y, &text, &sought, look.style(Role::Match));
                }
            }
            if path == self.state.selected() {
                let role = if focused { Role::Selected } else { Role::Resting };
                buffer.set_style(Rect { y, height: 1, width: body.width.min(BAR), ..body }, look.style(role));
            }
        }
    }

    /// Its parent is over and gone, though it had one and usually keeps it.
    fn orphaned(&self, node: &Node) -> bool {
        let Some(process) = self.process(node.row) else { return false };
        let had = process.ppid.value().is_some_and(|ppid| *ppid != 0);
        had && node.parent.is_none() && self.starter(process).is_none()
    }

    /// The program that starts this one and always ends, on every healthy machine. Whether it really was that one, the findings judge.
    fn starter(&self, process: &TreeProcess) -> Option<&'static str> {
        const STARTED: [(&str, &str); 4] =
            [("csrss.exe", "smss.exe"), ("wininit.exe", "smss.exe"), ("winlogon.exe", "smss.exe"), ("explorer.exe", "userinit.exe")];
        let (_, starter) = STARTED.iter().find(|(name, _)| process.name.eq_ignore_ascii_case(name))?;
        (self.os == Origin::Windows).then_some(*starter)
    }

    fn folded(&self, node: &Node, path: &[Id]) -> bool {
        self.order == Order::Tree && !node.children.is_empty() && !self.state.opened().contains(path)
    }

    /// What is odd about it in words, the gravest first, each with its colour.
    fn marks(&self, node: &Node, process: &TreeProcess, folded: bool, exited: &str) -> Vec<(String, Role)> {
        let mut words: Vec<(String, Role)> = Vec::new();
        if process.state == ProcessState::Hidden {
            words.push(("? hidden".to_owned(), Role::Danger));
        }
        let below = self.index_of(node.id).and_then(|index| self.below.get(index)).copied().unwrap_or(0);
        if folded && below >= WORTH {
            let sign = if below >= 75 { "!!" } else { "!" };
            words.push((format!("{sign} below"), grave(below.into())));
        }
        words.extend(self.judged(process).map(|judged| (judged.words(), Role::Warning)).filter(|(words, _)| !words.is_empty()));
        words.extend(match process.state {
            ProcessState::Exited => Some((format!("{exited} exited"), Role::Dim)),
            ProcessState::Zombie => Some((format!("{exited} zombie"), Role::Warning)),
            ProcessState::Running if !process.problems.is_empty() => Some(("~ partly".to_owned(), Role::Warning)),
            ProcessState::Running if self.orphaned(node) => Some(("orphan".to_owned(), Role::Dim)),
            ProcessState::Running | ProcessState::Hidden => None,
        });
        words
    }

    fn part(&self, (part, room): (Part, usize), node: &Node, process: &TreeProcess, path: &[Id], look: &Look) -> (String, Role) {
        let time = |time: &Known<crate::facts::Time>| match time {
            Known::Value(time) if self.one_day => moment(*time).get(11..).unwrap_or_default().to_owned(),
            Known::Value(time) => moment(*time).get(5..16).unwrap_or_default().to_owned(),
            Known::Absent => look.symbols.dash.to_owned(),
            Known::Unreadable(_) => "??".to_owned(),
        };
        match part {
            Part::Pid => (process.pid.to_string(), Role::Text),
            Part::Name => {
                let count = if self.folded(node, path) { format!("+{}", self.descendants(node)) } else { String::new() };
                let role = match process.state {
                    ProcessState::Hidden => Role::Danger,
                    ProcessState::Exited | ProcessState::Zombie => Role::Dim,
                    ProcessState::Running if process.kernel_thread.value() == Some(&true) => Role::Dim,
                    ProcessState::Running => Role::Name,
                };
                (count, role)
            }
            Part::Mark => {
                let words = self.marks(node, process, self.folded(node, path), look.symbols.exited);
                let role = words.first().map_or(Role::Text, |(_, role)| *role);
                (marks::fit(words.into_iter().map(|(word, _)| word), room), role)
            }
            Part::Score => match self.score(process) {
                Some((score @ 75.., _)) => (format!("!! {score:>2}"), grave(score.into())),
                Some((score @ 30.., _)) => (format!("! {score:>2}"), grave(score.into())),
                Some((score, _)) => (score.to_string(), grave(score.into())),
                None => (String::new(), Role::Text),
            },
            Part::Threads => match &process.threads {
                Known::Value(count) => (count.to_string(), Role::Text),
                Known::Absent => (look.symbols.dash.to_owned(), Role::Missing),
                Known::Unreadable(_) => ("??".to_owned(), Role::Missing),
            },
            Part::Session => match &process.session {
                Known::Value(session) => (session.to_string(), Role::Text),
                Known::Absent => (look.symbols.dash.to_owned(), Role::Missing),
                Known::Unreadable(_) => ("??".to_owned(), Role::Missing),
            },
            Part::User => match (self.user(process), &self.users) {
                (Some(user), _) => (user.clone(), Role::Text),
                (None, Some(_)) => (look.symbols.dash.to_owned(), Role::Missing),
                (None, None) => (String::new(), Role::Text),
            },
            Part::Sockets => match self.socket_count(process) {
                None | Some(0) => (String::new(), Role::Text),
                Some(count) => (count.to_string(), Role::Text),
            },
            Part::Start => (time(&process.create_time), Role::Dim),
            Part::Uid => match &process.uid {
                Known::Value(uid) => (uid.to_string(), Role::Text),
                Known::Absent => (look.symbols.dash.to_owned(), Role::Missing),
                Known::Unreadable(_) => ("??".to_owned(), Role::Missing),
            },
            Part::Command => match &process.command_line {
                Known::Value(line) => (line.clone(), Role::Text),
                Known::Absent => (String::new(), Role::Missing),
                Known::Unreadable(_) => ("??".to_owned(), Role::Missing),
            },
        }
    }

    fn descendants(&self, node: &Node) -> usize {
        let mut count = 0;
        let mut rest: Vec<usize> = node.children.clone();
        while let Some(index) = rest.pop() {
            count += 1;
            rest.extend(self.node(index).iter().flat_map(|node| node.children.iter().copied()));
        }
        count
    }

    fn columns(&self, area: Rect) -> Vec<TreeColumn> {
        let scores = self.scores.is_some() || self.order == Order::Score;
        let (pid, name, mark) = (self.pid_width, self.name_width, self.mark_width);
        self.chosen.place(area, &Needs { os: self.os, pid, name, mark, days: !self.one_day, scores })
    }

    /// What one wants to know of a process before anything else.
    fn draw_detail(&self, area: Rect, buffer: &mut Buffer, look: &Look) {
        let line = look.symbols.border.horizontal_top.repeat(usize::from(area.width));
        put(buffer, area.x, area.y, &line, area.width, look.style(Role::Frame));
        let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
        let Some(told) = self.told_row() else { return };
        let area = noted(area, buffer, self.sign(told), look);
        let Some(process) = self.process(told) else { return };
        let short = area.height < 4;
        let mut parts: Vec<(&str, String, Role)> = Vec::new();
        match &process.command_line {
            Known::Value(line) if short => {
                // One line at most, so that the rest is seen as well.
                parts.push(("command", look.fit(line, usize::from(area.width.saturating_sub(9)), Cut::End), Role::Text));
            }
            Known::Value(line) => parts.push(("command", line.clone(), Role::Text)),
            Known::Absent => (),
            Known::Unreadable(why) => parts.push(("command", format!("?? {why}"), Role::Missing)),
        }
        parts.extend(process.problems.iter().map(|problem| ("problem", problem.clone(), Role::Warning)));
        let odd = self.judged(process).into_iter().flat_map(|judged| &judged.odd);
        let odd: Vec<(String, String)> = odd.map(|(word, reason)| (format!("! {word}"), reason.clone())).collect();
        parts.extend(odd.iter().map(|(mark, reason)| (mark.as_str(), reason.clone(), Role::Warning)));
        parts.push(("parent", self.parent_in_words(process), Role::Text));
        let hidden = process.state == ProcessState::Hidden;
        let role = if hidden { Role::Danger } else { Role::Text };
        let seen = [
            ("state", state_in_words(process.state).to_owned(), role),
            ("seen by", process.sources.join(", ").replace('_', " "), Role::Text),
        ];
        // Of a hidden process it is what one wants to know, and a small screen has room for little.
        let at = if hidden { 0 } else { parts.len() };
        parts.splice(at..at, seen);
        if let Some((score, subject)) = self.score(process) {
            parts.push(("score", format!("{score}, {subject}"), grave(score.into())));
        }
        let known = |name: &'static str, value: Option<String>| value.map(|value| (name, value, Role::Text));
        parts.extend(known("started", process.create_time.value().map(|time| moment(*time))));
        parts.extend(known("ended", process.exit_time.value().map(|time| moment(*time))));
        parts.extend(known("session", process.session.value().map(ToString::to_string)));
        parts.extend(known("user", self.user(process).map(|user| user.trim_start_matches("user ").to_owned())));
        parts.extend(known("uid", process.uid.value().map(ToString::to_string)));
        parts.extend(known("threads", process.threads.value().filter(|_| !short).map(ToString::to_string)));
        parts.extend(known("object", process.address.value().map(ToString::to_string)));
        let parts: Vec<_> = parts.into_iter().map(|(name, value, role)| (name.to_owned(), value, role)).collect();
        flow(area, buffer, &parts, look);
    }
}

impl ProcessTree {
    fn parent_in_words(&self, process: &TreeProcess) -> String {
        let itself = process.address.value().and_then(|at| self.index_of(Id::Object(at.0))).or_else(|| self.selected());
        let parent = itself.and_then(|index| self.node(index)?.parent).and_then(|parent| self.process(self.node(parent)?.row));
        match (parent, &process.ppid) {
            (Some(parent), _) => {
                let gone = if matches!(parent.state, ProcessState::Exited | ProcessState::Zombie) { " (gone)" } else { "" };
                format!("{} {}{gone}", parent.name, parent.pid)
            }
            (None, Known::Value(0)) => "none".to_owned(),
            (None, Known::Value(ppid)) => match self.starter(process) {
                Some(starter) => format!("{ppid} (not found; {starter}, which starts it, always ends)"),
                None => format!("{ppid} (not found)"),
            },
            (None, Known::Absent) => "not known".to_owned(),
            (None, Known::Unreadable(why)) => format!("?? {why}"),
        }
    }
}

/// That nothing is hidden rests on the searches: where one of them could not be made, or not to its end, the notes say so.
pub fn none_hidden(rows: Option<&dyn Rows>) -> &'static str {
    let searched = rows.is_some_and(|rows| rows.state() == State::Complete && rows.notes().is_empty());
    if searched { "none hidden" } else { "none seen hidden, not all searched" }
}

/// As an analyst would say it.
fn state_in_words(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "alive",
        ProcessState::Exited => "exited",
        ProcessState::Zombie => "zombie: ended, its parent has not asked",
        ProcessState::Hidden => "alive, missing from the list that the system shows",
    }
}

/// The end of an identifier that has no name: what tells the users of one machine apart.
fn short_sid(sid: &str) -> String {
    sid.rsplit_once('-').filter(|_| sid.starts_with("S-1-5-21-")).map_or(sid.to_owned(), |(_, user)| format!("user {user}"))
}
