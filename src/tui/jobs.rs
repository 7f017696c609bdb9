//! The only part of the explorer that touches the session: it does the work that the state asks for, away from the screen, and
//! answers with messages. Each table has one running and one waiting query; the newest takes the place of the one that waits.

use super::app::{Effect, Message, Slot, Work};
use super::panes::arrange::{Arranged, arrange};
use super::panes::hex::Wish;
use crate::address::PhysAddr;
use crate::engine::{Bytes, Entry, Job, Session, Space, Task};
use crate::facts::{Scope, Watch};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the rows of a running query are looked at.
const PARTIAL: Duration = Duration::from_millis(100);

/// Where the bytes that were searched for begin, if they do.
type Outcome = Result<Option<u64>, String>;

pub struct Jobs {
    session: Session,
    lanes: HashMap<Slot, Lane>,
    arranging: HashMap<usize, (u32, Task<Option<Arranged>>)>,
    reading: Option<(Wish, Task<Result<Bytes, String>>)>,
    /// A wish that came while another was read; only the newest counts.
    next_read: Option<Wish>,
    finding: Option<(u32, Task<Outcome>)>,
    began: Option<Instant>,
}

#[derive(Default)]
struct Lane {
    running: Option<Running>,
    waiting: Option<(&'static Entry, Scope)>,
}

struct Running {
    job: Arc<Job>,
    shown: usize,
    looked: Instant,
}

impl Jobs {
    pub fn new(session: Session) -> Self {
        Self { session, lanes: HashMap::new(), arranging: HashMap::new(), reading: None, next_read: None, finding: None, began: None }
    }

    /// Begins a piece of work; what belongs to the program rather than to the image is not for us.
    pub fn begin(&mut self, effect: Effect) {
        match effect {
            Effect::Query { slot, entry, scope } => {
                let lane = self.lanes.entry(slot).or_default();
                if let Some(running) = &lane.running {
                    running.job.cancel();
                }
                lane.waiting = Some((entry, scope));
                lane.start(&self.session);
            }
            Effect::Arrange { table, generation, ask } => {
                let task = Task::start(move |watch| arrange(&ask, watch));
                self.arranging.insert(table, (generation, task));
            }
            Effect::Read(wish) => {
                self.next_read = Some(wish);
                self.start_read();
            }
            Effect::Find { serial, space, from, last, needle } => {
                let session = self.session.clone();
                let task = Task::start(move |watch| find(&session, space, from, last, &needle, watch));
                self.finding = Some((serial, task));
            }
            Effect::Cancel => self.cancel(),
            Effect::Suspend | Effect::Redraw | Effect::Quit => (),
        }
        self.began = self.busy().then(|| self.began.unwrap_or_else(Instant::now));
    }

    pub fn cancel(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.waiting = None;
            if let Some(running) = &lane.running {
                running.job.cancel();
            }
        }
        self.arranging.clear();
        self.finding = None;
    }

    fn start_read(&mut self) {
        if self.reading.is_none()
            && let Some(wish) = self.next_read.take()
        {
            let session = self.session.clone();
            let read = move |_: &Arc<Watch>| session.read(wish.space, wish.start, wish.length).map_err(|why| why.0);
            self.reading = Some((wish, Task::start(read)));
        }
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
        if let Some((wish, result)) = self.reading.as_ref().and_then(|(wish, task)| Some((*wish, task.take()?))) {
            self.reading = None;
            messages.push(Message::Bytes { wish, result: result.and_then(|read| read) });
            self.start_read();
        }
        if let Some((serial, result)) = self.finding.as_ref().and_then(|(serial, task)| Some((*serial, task.take()?))) {
            self.finding = None;
            messages.push(Message::Found { serial, result: result.and_then(|found| found) });
        }
        if !self.busy() {
            self.began = None;
        }
        messages
    }

    pub fn busy(&self) -> bool {
        self.lanes.values().any(|lane| lane.running.is_some())
            || !self.arranging.is_empty()
            || self.reading.is_some()
            || self.finding.is_some()
    }

    /// What goes on, once it has gone on long enough to be worth a word.
    pub fn work(&self) -> Option<Work> {
        let elapsed = self.began?.elapsed();
        if elapsed < Duration::from_millis(150) {
            return None;
        }
        let query = self.lanes.values().find_map(|lane| lane.running.as_ref());
        let (what, (done, total)) = match (query, &self.finding) {
            (_, Some((_, task))) => ("search", task.watch().reading()),
            (Some(running), _) => (running.job.table.name, running.job.watch().reading()),
            _ => match self.arranging.values().next() {
                Some((_, task)) => ("sorting", task.watch().reading()),
                None => ("reading", (0, 0)),
            },
        };
        let percent = (total > 0).then(|| u8::try_from(u128::from(done.min(total)) * 100 / u128::from(total)).unwrap_or(100));
        let turn = usize::try_from(elapsed.as_millis() / 250).unwrap_or(0);
        Some(Work { what: what.replace('_', " "), percent, turn })
    }
}

impl Lane {
    fn start(&mut self, session: &Session) {
        if self.running.is_none()
            && let Some((entry, scope)) = self.waiting.take()
        {
            let job = session.submit(entry, scope);
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

const STEP: usize = 1 << 20;

/// Looks for bytes in steps, each of which overlaps the one before by almost a needle. Bytes that are missing match nothing.
fn find(session: &Session, space: Space, from: u64, last: u64, needle: &[u8], watch: &Watch) -> Outcome {
    let finder = memchr::memmem::Finder::new(needle);
    let (mut at, total) = (from, last - from);
    loop {
        if watch.cancelled() {
            return Err("search cancelled".to_owned());
        }
        watch.progress(at - from, total);
        // Nothing is in the holes between the pieces of physical memory, and they can be terabytes long.
        if space == Space::Physical && !session.info().memory.iter().any(|range| range.contains(PhysAddr(at))) {
            let next = session.info().memory.iter().map(|range| range.start.0).filter(|start| *start > at).min();
            match next.filter(|next| *next <= last) {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        let length = usize::try_from((last - at).saturating_add(1)).unwrap_or(usize::MAX).min(STEP + needle.len() - 1);
        let bytes = session.read(space, at, length).map_err(|why| why.0)?;
        let whole = |found: usize| (0..needle.len()).all(|index| bytes.get(found + index).is_some());
        if let Some(found) = finder.find_iter(&bytes.data).find(|found| whole(*found)) {
            return Ok(Some(at + found as u64));
        }
        match at.checked_add(STEP as u64) {
            Some(next) if next <= last && bytes.data.len() > STEP => at = next,
            _ => return Ok(None),
        }
    }
}
