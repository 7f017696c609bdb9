//! The interactive program; the only place that knows ratatui and crossterm.
//!
//! ```text
//! keys, signals ─┐                       ┌─ screen draws the state, when it has changed
//!                ├─ Message → app.update ┤
//! jobs ──────────┘                       └─ Effect → jobs (queries, reads, sorting) ─→ Message
//! ```
//!
//! The state ([`app`]) never sees the session: what it wants from the image it asks for by effects, and [`jobs`] alone does it.

mod app;
mod clipboard;
mod commands;
mod config;
mod export;
mod hunt;
mod jobs;
mod keymap;
mod manual;
mod panes;
mod screen;
mod taking;
mod terminal;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod text;
mod theme;
mod widgets;
mod wire;
mod work;

pub use export::{Reporter, Writer};
pub use manual::keys;

use crate::case::{Keeper, Plan};
use crate::engine::{Error, Session, Task};
use crate::facts::Watch;
use app::{App, Effect, FINDINGS, Message, Opened, Work};
use config::Config;
use crossterm::event::Event;
use jobs::Jobs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use terminal::{Asked, Capabilities, Input, Screen};
use theme::Look;

/// How long to wait for input while work goes on before looking at the work.
const LOOK: Duration = Duration::from_millis(5);
/// Quick answers are waited for before the frame that would only say that they are awaited; with that frame a key still is answered in
/// the time of one on a screen, 16 ms.
const GRACE: Duration = Duration::from_millis(10);
/// Frames that only report progress: not more often than this.
const REPORT: Duration = Duration::from_millis(100);

/// The same on a slow link, and the time between two frames there.
const REPORT_SLOW: Duration = Duration::from_secs(2);
const FRAME_SLOW: Duration = Duration::from_millis(200);

/// What the explorer is told by whoever runs it.
pub struct Setup<'a> {
    /// Who writes what leaves it.
    pub writers: &'static [Writer],
    pub reporter: Reporter,
    /// How notes are kept.
    pub plan: Plan,
    /// Where the user's settings are, if not in the usual place.
    pub settings: Option<&'a Path>,
    /// On a slow link less is sent.
    pub slow: bool,
}

/// Runs the explorer on the image that `open` opens. The terminal is entered at once and comes back whole however this ends.
pub fn run(name: &str, setup: Setup<'_>, open: impl FnOnce(&Watch) -> Result<Session, Error> + Send + 'static) -> Result<(), Error> {
    let capabilities = Capabilities::detect()?;
    let config = Config::load(setup.settings)?;
    // From here on a failure is told after the terminal has been restored, by whoever called.
    let mut screen = Screen::enter()?;
    let size = screen.size();
    let mut app = App::new(name, Look::new(&capabilities, &config.theme), size);
    (app.writers, app.reporter) = (setup.writers, Some(setup.reporter));
    app.keymap = config.keymap;
    app.set_noise(config.noise);
    app.set_slow(setup.slow);
    app.remote |= capabilities.remote;
    let opening = Task::start(move |watch| open(watch));
    let inputs = terminal::inputs()?;
    let mut explorer = Explorer {
        app,
        opening: Some((opening, Instant::now())),
        jobs: None,
        plan: setup.plan,
        keeper: None,
        ended: None,
        reported: Instant::now(),
        drawn: None,
    };
    let outcome = explorer.run(&mut screen, &inputs);
    // The terminal first: a disk may take its time.
    drop(screen);
    let saved = explorer.keeper.take().filter(|_| explorer.app.must_close()).map_or(Ok(()), |keeper| {
        let (view, steps) = explorer.app.close_case();
        keeper.close(view, steps).map_err(Error)
    });
    match outcome? {
        Ended::Quit => saved,
        Ended::Signal(signal) => std::process::exit(128 + signal),
    }
}

enum Ended {
    Quit,
    Signal(i32),
}

struct Explorer {
    app: App,
    opening: Option<(Task<Result<Session, Error>>, Instant)>,
    jobs: Option<Jobs>,
    plan: Plan,
    keeper: Option<Keeper>,
    ended: Option<Result<Ended, Error>>,
    /// When progress was last drawn.
    reported: Instant,
    /// When the last frame was drawn, where frames are to be far apart.
    drawn: Option<Instant>,
}

impl Explorer {
    fn run(&mut self, screen: &mut Screen, inputs: &Receiver<Input>) -> Result<Ended, Error> {
        loop {
            self.settle(screen, inputs);
            if let Some(ended) = self.ended.take() {
                return ended;
            }
            let early = self.drawn.map(|at| FRAME_SLOW.saturating_sub(at.elapsed())).filter(|left| !left.is_zero());
            if early.is_none() && std::mem::take(&mut self.app.dirty) {
                self.drawn = self.app.slow.then(Instant::now);
                let app = &mut self.app;
                screen
                    .frame(app.hurries(), |frame| screen::draw(app, frame))
                    .map_err(|why| Error(format!("the terminal is gone: {why}")))?;
                // A pane that now knows its size may want more of the image.
                self.message(Message::Tick, screen);
            }
            if self.ended.is_some() {
                continue;
            }
            let waits = [self.busy().then_some(LOOK), early.filter(|_| self.app.dirty), self.app.rests_in()];
            let input = match waits.into_iter().flatten().min() {
                Some(wait) => inputs.recv_timeout(wait),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match input {
                Ok(input) => self.input(input, screen),
                Err(RecvTimeoutError::Timeout) => self.message(Message::Tick, screen),
                Err(RecvTimeoutError::Disconnected) => self.ended = Some(Ok(Ended::Quit)),
            }
            // A held key or a dragged window is one frame, not a hundred.
            while let Ok(input) = inputs.try_recv() {
                self.input(input, screen);
            }
        }
    }

    fn busy(&self) -> bool {
        self.opening.is_some() || self.jobs.as_ref().is_some_and(Jobs::busy) || self.keeps()
    }

    /// Whether the keeper of the case will say something.
    fn keeps(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::busy)
    }

    /// Takes what has come of the work, and gives quick work a moment, so that one frame shows key and answer.
    fn settle(&mut self, screen: &mut Screen, inputs: &Receiver<Input>) {
        let began = Instant::now();
        loop {
            self.poll(screen);
            let quick = self.jobs.as_ref().is_some_and(Jobs::quick);
            if !self.app.dirty || !quick || began.elapsed() > GRACE || self.ended.is_some() {
                break;
            }
            match inputs.recv_timeout(Duration::from_millis(1)) {
                Ok(input) => self.input(input, screen),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.report();
    }

    fn poll(&mut self, screen: &mut Screen) {
        if let Some(outcome) = self.opening.as_ref().and_then(|(task, _)| task.take()) {
            self.opening = None;
            match outcome {
                Ok(Ok(session)) => self.opened(session, screen),
                Ok(Err(why)) => self.ended = Some(Err(why)),
                Err(why) => self.ended = Some(Err(Error(why))),
            }
        }
        for message in self.jobs.as_mut().map(Jobs::poll).unwrap_or_default() {
            self.message(message, screen);
        }
        for news in self.keeper.as_mut().map(Keeper::poll).unwrap_or_default() {
            self.message(Message::Kept(news), screen);
        }
        if self.busy() {
            self.message(Message::Tick, screen);
        }
    }

    /// Progress, drawn only where it has moved.
    fn report(&mut self) {
        let work = match (&self.opening, &self.jobs) {
            (Some((task, since)), _) => {
                let (done, total) = task.watch().reading();
                let percent = (total > 0).then(|| u8::try_from(u128::from(done.min(total)) * 100 / u128::from(total)).unwrap_or(100));
                let turn = usize::try_from(since.elapsed().as_millis() / 250).unwrap_or(0);
                Some(Work { what: "opening".to_owned(), percent, turn })
            }
            (None, Some(jobs)) => jobs.work(),
            (None, None) => None,
        };
        let slow = self.app.slow;
        // Nothing spins where each turn is sent.
        let work = work.map(|work| if slow { Work { turn: 0, ..work } } else { work });
        let every = if slow { REPORT_SLOW } else { REPORT };
        if work != self.app.work && (work.is_none() || self.app.work.is_none() || self.reported.elapsed() >= every) {
            self.app.work = work;
            self.app.dirty = true;
            self.reported = Instant::now();
        }
    }

    fn opened(&mut self, session: Session, screen: &mut Screen) {
        let tables: Vec<_> = session.tables().collect();
        let Some(tree) = tables.iter().copied().find(|entry| entry.table.name == "pstree") else {
            self.ended = Some(Err(Error(format!("{}: there is no process tree for this system", session.name()))));
            return;
        };
        let scores = tables.iter().copied().find(|entry| entry.table.name == FINDINGS);
        let opened = Opened { info: session.info().clone(), tree, scores, tables: in_order(tables), folders: session.folders() };
        self.app.name = session.name().to_owned();
        let (plan, of) = (std::mem::replace(&mut self.plan, Plan::Never), session.clone());
        self.keeper = Some(Keeper::start(plan, session.info().clone(), move || of.identity()));
        self.jobs = Some(Jobs::new(session));
        self.message(Message::Opened(Box::new(opened)), screen);
        self.app.welcome();
    }

    fn input(&mut self, input: Input, screen: &mut Screen) {
        match input {
            Input::Event(Event::Key(event)) => self.message(Message::Key(event), screen),
            Input::Event(Event::Mouse(event)) => self.message(Message::Mouse(event), screen),
            Input::Event(Event::Paste(text)) => self.message(Message::Paste(text), screen),
            Input::Event(Event::Resize(width, height)) => {
                if screen.size_was_assumed() {
                    self.take_terminal(screen.forget());
                }
                self.message(Message::Resize(width, height), screen);
            }
            Input::Event(Event::FocusGained | Event::FocusLost) => (),
            Input::Lost => self.ended = Some(Ok(Ended::Quit)),
            Input::Signal(signal) => match terminal::asked(signal) {
                Asked::End => self.ended = Some(Ok(Ended::Signal(signal))),
                Asked::Interrupt => self.message(Message::Interrupt, screen),
                Asked::Redraw => self.take_terminal(screen.resume()),
            },
        }
    }

    fn message(&mut self, message: Message, screen: &mut Screen) {
        for effect in self.app.update(message) {
            match effect {
                Effect::Quit => {
                    if let Some(jobs) = &mut self.jobs {
                        jobs.cancel();
                    }
                    self.ended = Some(Ok(Ended::Quit));
                }
                Effect::Suspend => self.take_terminal(screen.suspend()),
                Effect::Redraw => self.take_terminal(screen.forget()),
                Effect::Copy(text) => self.take_terminal(screen.copy(&text)),
                Effect::Keep(order) => {
                    if let Some(keeper) = &mut self.keeper {
                        keeper.send(order);
                    }
                }
                effect => {
                    if let Some(jobs) = &mut self.jobs {
                        jobs.begin(effect);
                    }
                }
            }
        }
    }

    fn take_terminal(&mut self, taken: std::io::Result<()>) {
        self.app.dirty = true;
        if let Err(why) = taken {
            self.ended = Some(Err(Error(format!("the terminal is gone: {why}"))));
        }
    }
}

/// The tables in the order of the analyst's questions: first what was found, then those of a process, then those of the machine.
fn in_order(tables: Vec<&'static crate::engine::Entry>) -> Vec<&'static crate::engine::Entry> {
    const ORDER: &[&str] = &[
        FINDINGS,
        "sockets",
        "regions",
        "suspicious",
        "threads",
        "handles",
        "open_files",
        "libraries",
        "environment",
        "capabilities",
        "privileges",
        "sids",
        "modules",
        "network_interfaces",
        "mounts",
        "page_cache",
        "syscall_table",
        "kernel_log",
        "shell_history",
    ];
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut tables: Vec<_> = tables.into_iter().filter(|entry| entry.table.name != "pstree").collect();
    tables.sort_by_key(|entry| place(entry.table.name));
    tables
}
