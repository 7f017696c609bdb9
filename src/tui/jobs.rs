//! The only part of the explorer that touches the session: it does the work that the state asks for, away from the screen, and
//! answers with messages. Each table has one running and one waiting query; the newest takes the place of the one that waits.

use super::app::{Effect, Message, Slot, Work};
use super::export::{Export, Report};
use super::hunt::Hunt;
use super::panes::arrange::{Arranged, arrange};
use super::panes::bytes::{Reading, Survey, Told, Want};
use super::taking::{Took, write_file};
use super::work::{Id, Ongoing};
use crate::address::VirtAddr;
use crate::engine::{Entry, Hit, Job, Session, Space, Task};
use crate::facts::{Located, Scope, Watch};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the rows of a running query are looked at.
const PARTIAL: Duration = Duration::from_millis(100);

/// A task under the number that it was asked for with.
type Numbered<T> = Option<(u32, Task<T>)>;

/// Texts that are looked for at once.
const TEXTS: usize = 2000;
/// Names that are enough to choose from; more are no help.
const NAMES: usize = 1000;

/// One question after another of one kind; of those that wait only the newest counts.
#[derive(Default)]
struct Learning {
    running: Option<(Want, Task<Told>)>,
    next: Option<Want>,
}

pub struct Jobs {
    session: Session,
    lanes: HashMap<Slot, Lane>,
    arranging: HashMap<usize, (u32, Task<Option<Arranged>>)>,
    learning: HashMap<std::mem::Discriminant<Want>, Learning>,
    finding: Numbered<Result<Hit, String>>,
    crossing: Numbered<Result<Option<u64>, String>>,
    locating: Numbered<Option<Located>>,
    /// What begins with a text.
    naming: Option<(String, Task<Vec<String>>)>,
    taking: Vec<Task<Result<Took, String>>>,
    exporting: Vec<Task<Result<String, String>>>,
    reporting: Vec<Task<Result<String, String>>>,
    began: Option<Instant>,
    /// When what is running was last told, if that is wanted.
    listed: Option<Option<Instant>>,
}

#[derive(Default)]
struct Lane {
    running: Option<Running>,
    waiting: Option<Asked>,
}

/// What a lane is for.
enum Asked {
    Table(&'static Entry, Scope),
    Search(Arc<Hunt>),
}

struct Running {
    job: Arc<Job>,
    shown: usize,
    looked: Instant,
}

impl Jobs {
    pub fn new(session: Session) -> Self {
        Self {
            session,
            lanes: HashMap::new(),
            arranging: HashMap::new(),
            learning: HashMap::new(),
            finding: None,
            crossing: None,
            locating: None,
            naming: None,
            taking: Vec::new(),
            exporting: Vec::new(),
            reporting: Vec::new(),
            began: None,
            listed: None,
        }
    }

    /// Begins a piece of work; what belongs to the program rather than to the image is not for us.
    pub fn begin(&mut self, effect: Effect) {
        match effect {
            Effect::Query { slot, entry, scope } => self.ask(slot, Asked::Table(entry, scope)),
            Effect::Search { slot, hunt } => self.ask(slot, Asked::Search(hunt)),
            Effect::Arrange { table, generation, ask } => {
                let task = Task::start(move |watch| arrange(&ask, watch));
                self.arranging.insert(table, (generation, task));
            }
            Effect::Learn(want) => {
                let learning = self.learning.entry(std::mem::discriminant(&want)).or_default();
                // Looking for texts takes long; nobody waits for those of a place that was left.
                if let (Want::Texts(_), Some((_, task))) = (&want, &learning.running) {
                    task.watch().cancel();
                }
                learning.next = Some(want);
                learning.start(&self.session);
            }
            Effect::Find { serial, stretch, needle } => {
                let session = self.session.clone();
                let task = Task::start(move |watch| session.find(stretch, &needle, watch).map_err(|why| why.0));
                self.finding = Some((serial, task));
            }
            Effect::Cross { serial, space, at, forward } => {
                let session = self.session.clone();
                let task = Task::start(move |watch| session.next_stretch(space, at, forward, watch).map_err(|why| why.0));
                self.crossing = Some((serial, task));
            }
            Effect::Locate { serial, name, process } => {
                let session = self.session.clone();
                let task = Task::start(move |watch| session.locate(&name, process, watch));
                self.locating = Some((serial, task));
            }
            Effect::Complete { begun, process } => {
                let session = self.session.clone();
                let sought = begun.clone();
                self.naming = Some((begun, Task::start(move |watch| session.names(&sought, process, NAMES, watch))));
            }
            Effect::StopFinding => self.finding = None,
            Effect::Export(export) => self.export(export),
            Effect::Take(taking) => {
                let session = self.session.clone();
                self.taking.push(Task::start(move |watch| taking.run(&session, watch)));
            }
            Effect::WriteFile { object, folder } => {
                let session = self.session.clone();
                self.taking.push(Task::start(move |watch| write_file(&session, object, &folder, watch)));
            }
            Effect::Report(Report { contents, folder, write }) => {
                let session = self.session.clone();
                let task = Task::start(move |watch| write(&session, &contents, &folder, watch).map_err(|why| why.0));
                self.reporting.push(task);
            }
            Effect::Cancel => self.cancel(),
            Effect::CancelOne(id) => self.stop(id),
            Effect::ListWork(wanted) => self.listed = wanted.then_some(None),
            Effect::Keep(_) | Effect::Copy(_) | Effect::Suspend | Effect::Redraw | Effect::Quit => (),
        }
        self.began = self.awaited().then(|| self.began.unwrap_or_else(Instant::now));
    }

    fn ask(&mut self, slot: Slot, asked: Asked) {
        let lane = self.lanes.entry(slot).or_default();
        if let Some(running) = &lane.running {
            running.job.cancel();
        }
        lane.waiting = Some(asked);
        lane.start(&self.session);
    }

    pub fn cancel(&mut self) {
        self.pieces().into_iter().for_each(|piece| self.stop(piece.id));
        self.lanes.values_mut().for_each(|lane| lane.waiting = None);
    }

    fn stop(&mut self, id: Id) {
        match id {
            Id::Query(slot) => {
                if let Some(lane) = self.lanes.get_mut(&slot) {
                    lane.waiting = None;
                    lane.running.iter().for_each(|running| running.job.cancel());
                }
            }
            Id::Arrange(table) => drop(self.arranging.remove(&table)),
            // They answer that they were cancelled, and whoever asked says so.
            Id::Learn(kind) => {
                let running = self.learning.get(&kind).and_then(|learning| learning.running.as_ref());
                running.into_iter().for_each(|(_, task)| task.watch().cancel());
            }
            Id::Find => self.finding = None,
            Id::Cross => self.crossing = None,
            Id::Locate => (self.locating, self.naming) = (None, None),
            // It says what it leaves behind.
            Id::Take => self.taking.iter().for_each(|task| task.watch().cancel()),
            Id::Export => self.exporting.iter().for_each(|task| task.watch().cancel()),
            Id::Report => self.reporting.iter().for_each(|task| task.watch().cancel()),
        }
    }

    /// All that is running.
    fn pieces(&self) -> Vec<Ongoing> {
        let mut pieces = Vec::new();
        for (slot, lane) in &self.lanes {
            if let Some(Running { job, .. }) = &lane.running {
                let of = if matches!(job.scope, Scope::Machine) { "" } else { " of a process" };
                let stage = staged(job.watch());
                let what = format!("{}{of}{stage}", job.table.name.replace('_', " "));
                pieces.push(Ongoing { id: Id::Query(*slot), what, reading: job.watch().reading(), elapsed: job.elapsed() });
            }
        }
        pieces.extend(self.arranging.iter().map(|(table, (_, task))| piece(Id::Arrange(*table), "sort and filter", task)));
        for (kind, learning) in &self.learning {
            if let Some((want, task)) = &learning.running {
                let what = match want {
                    Want::Bytes(_) => "bytes",
                    Want::Survey { .. } => "objects around an address",
                    Want::Names(_) => "names of addresses",
                    Want::Texts(_) => "texts in memory",
                    Want::Structure(_) => "fields of a structure",
                };
                pieces.push(piece(Id::Learn(*kind), what, task));
            }
        }
        pieces.extend(self.finding.iter().map(|(_, task)| piece(Id::Find, "search in memory", task)));
        pieces.extend(self.crossing.iter().map(|(_, task)| piece(Id::Cross, "next memory", task)));
        pieces.extend(self.locating.iter().map(|(_, task)| piece(Id::Locate, "name", task)));
        pieces.extend(self.naming.iter().map(|(_, task)| piece(Id::Locate, "names", task)));
        pieces.extend(self.taking.iter().map(|task| piece(Id::Take, "bytes to take along", task)));
        pieces.extend(self.exporting.iter().map(|task| piece(Id::Export, "export", task)));
        pieces.extend(self.reporting.iter().map(|task| piece(Id::Report, "report", task)));
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.elapsed));
        pieces
    }

    fn export(&mut self, export: Export) {
        self.exporting.push(Task::start(move |watch| export.run(watch)));
    }

    /// What has come of it since the last look.
    pub fn poll(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        for (slot, lane) in &mut self.lanes {
            lane.poll(*slot, &self.session, &mut messages);
        }
        self.arranging.retain(|table, (generation, task)| match task.take() {
            None => true,
            Some(result) => {
                if let Ok(Some(arranged)) = result {
                    messages.push(Message::Arranged { table: *table, generation: *generation, arranged });
                }
                false
            }
        });
        for learning in self.learning.values_mut() {
            if let Some((want, result)) =
                learning.running.take_if(|(_, task)| task.finished()).and_then(|(want, task)| Some((want, task.take()?)))
            {
                messages.extend(result.ok().map(|told| Message::Told { want, told }));
                learning.start(&self.session);
            }
        }
        if let Some((serial, result)) = done(&mut self.finding) {
            messages.push(Message::Found { serial, result: result.and_then(|found| found) });
        }
        if let Some((serial, result)) = done(&mut self.crossing) {
            messages.push(Message::Crossed { serial, result: result.and_then(|found| found) });
        }
        if let Some((serial, result)) = done(&mut self.locating) {
            messages.push(Message::Located { serial, found: result.ok().flatten() });
        }
        if let Some((begun, task)) = self.naming.take_if(|(_, task)| task.finished()) {
            let names = task.take().and_then(Result::ok).unwrap_or_default();
            messages.push(Message::Named { begun, names });
        }
        over(&mut self.taking, Message::Took, &mut messages);
        over(&mut self.exporting, Message::Exported, &mut messages);
        over(&mut self.reporting, Message::Reported, &mut messages);
        if !self.awaited() {
            self.began = None;
        }
        if let Some(last) = self.listed
            && last.is_none_or(|last| last.elapsed() >= PARTIAL)
        {
            self.listed = Some(Some(Instant::now()));
            messages.push(Message::Running(self.pieces()));
        }
        messages
    }

    pub fn busy(&self) -> bool {
        self.awaited() || self.listed.is_some() || self.lanes.values().any(|lane| lane.running.is_some())
    }
    /// Whether somebody waits for it; the scores come when they come.
    fn awaited(&self) -> bool {
        self.lanes.iter().any(|(slot, lane)| !slot.aside() && lane.running.is_some())
            || !self.arranging.is_empty()
            || self.learning.values().any(|learning| learning.running.is_some())
            || self.finding.is_some()
            || self.crossing.is_some()
            || self.locating.is_some()
            || self.naming.is_some()
            || !self.taking.is_empty()
            || !self.exporting.is_empty()
            || !self.reporting.is_empty()
    }

    /// Whether what is awaited may come any moment.
    pub fn quick(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() < Duration::from_millis(150))
    }

    /// What goes on, once it has gone on long enough to be worth a word.
    pub fn work(&self) -> Option<Work> {
        let running = |scores: bool| {
            let wanted = |slot: Slot| if scores { slot == Slot::Scores } else { !slot.aside() };
            let lane = self.lanes.iter().find(|(slot, lane)| wanted(**slot) && lane.running.is_some());
            lane.and_then(|(_, lane)| lane.running.as_ref())
        };
        let of_job = |what, job: &Job| (what, String::new(), job.watch().reading(), job.elapsed());
        let (what, stage, (done, total), elapsed) = match (self.began.filter(|_| !self.quick()), running(true)) {
            (Some(began), _) => {
                let stage = running(false).map(|running| staged(running.job.watch())).unwrap_or_default();
                let (what, reading) = match (running(false), &self.finding, self.arranging.values().next()) {
                    _ if let Some(task) = self.reporting.first() => ("report", task.watch().reading()),
                    (_, Some((_, task)), _) => ("search", task.watch().reading()),
                    (Some(running), ..) => (running.job.table.name, running.job.watch().reading()),
                    (.., Some((_, task))) => ("sorting", task.watch().reading()),
                    _ => ("reading", (0, 0)),
                };
                (what, stage, reading, began.elapsed())
            }
            (None, Some(scores)) => of_job("judging", &scores.job),
            (None, None) => return None,
        };
        let percent = (total > 0).then(|| u8::try_from(u128::from(done.min(total)) * 100 / u128::from(total)).unwrap_or(100));
        let turn = usize::try_from(elapsed.as_millis() / 250).unwrap_or(0);
        Some(Work { what: format!("{}{stage}", what.replace('_', " ")), percent, turn })
    }
}

/// Which part of its work a job is at, to stand behind its name.
fn staged(watch: &Watch) -> String {
    Some(watch.stage()).filter(|stage| !stage.is_empty()).map(|stage| format!(": {stage}")).unwrap_or_default()
}

impl Lane {
    fn start(&mut self, session: &Session) {
        if self.running.is_none()
            && let Some(asked) = self.waiting.take()
        {
            let job = match asked {
                Asked::Table(entry, scope) => session.submit(entry, scope),
                Asked::Search(hunt) => session.submit_search(hunt.ground.clone(), move || hunt.search()),
            };
            self.running = Some(Running { job, shown: 0, looked: Instant::now() });
        }
    }

    fn poll(&mut self, slot: Slot, session: &Session, messages: &mut Vec<Message>) {
        let Some(running) = &mut self.running else { return };
        let scope = running.job.scope;
        if running.job.finished() {
            // What somebody no longer waits for is not shown.
            if self.waiting.is_none() {
                messages.extend(match (running.job.rows(), running.job.error()) {
                    (Some(rows), _) => Some(Message::Rows { slot, scope, rows }),
                    (None, why) => Some(Message::Failed { slot, scope, why: why.unwrap_or_default() }),
                });
            }
            self.running = None;
            self.start(session);
            // An answer that was known already comes at once.
            if self.running.is_some() {
                self.poll(slot, session, messages);
            }
        } else if self.waiting.is_none() && running.looked.elapsed() >= PARTIAL {
            running.looked = Instant::now();
            if let Some(rows) = running.job.rows().filter(|rows| rows.len() > running.shown) {
                running.shown = rows.len();
                messages.push(Message::Rows { slot, scope, rows });
            }
        }
    }
}

fn piece<T: Send + 'static>(id: Id, what: &str, task: &Task<T>) -> Ongoing {
    Ongoing { id, what: what.to_owned(), reading: task.watch().reading(), elapsed: task.elapsed() }
}

/// Takes the results of those that are over.
fn over<T: Send + 'static>(
    tasks: &mut Vec<Task<Result<T, String>>>,
    message: fn(Result<T, String>) -> Message,
    messages: &mut Vec<Message>,
) {
    tasks.retain(|task| match task.take() {
        Some(result) => {
            messages.push(message(result.and_then(|said| said)));
            false
        }
        None => true,
    });
}

/// The result of a task that has one, with its number.
fn done<T: Send + 'static>(task: &mut Numbered<T>) -> Option<(u32, Result<T, String>)> {
    let (serial, task) = task.take_if(|(_, task)| task.finished())?;
    Some((serial, task.take()?))
}

impl Learning {
    fn start(&mut self, session: &Session) {
        if self.running.is_none()
            && let Some(want) = self.next.take()
        {
            let (session, asked) = (session.clone(), want.clone());
            self.running = Some((want, Task::start(move |watch| learn(&session, asked, watch))));
        }
    }
}

fn learn(session: &Session, want: Want, watch: &Arc<Watch>) -> Told {
    match want {
        Want::Bytes(wish) => Told::Bytes(session.read(wish.space, wish.start, wish.length).map_err(|why| why.0).map(|bytes| {
            let page = |at: u64| at & !0xfff;
            let rights = bytes.pieces.iter().filter_map(|piece| Some((page(piece.address), session.rights(wish.space, piece.address)?)));
            Reading { rights: rights.collect(), bytes }
        })),
        Want::Survey { space, at, pointer } => {
            let to = |at: u64| if VirtAddr(at).is_kernel() { Space::Kernel } else { space };
            Told::Survey(Box::new(Survey {
                here: session.landmark(space, at, watch),
                there: pointer.map(|at| session.landmark(to(at), at, watch)),
                bits: session.code_bits(space, at, watch),
            }))
        }
        Want::Names(addresses) => Told::Names(session.symbols_at(&addresses)),
        Want::Texts(stretch) => Told::Texts(session.texts(stretch, TEXTS, watch).map_err(|why| why.0)),
        Want::Structure(name) => Told::Structure(session.structure(&name).map_err(|why| why.0)),
    }
}
