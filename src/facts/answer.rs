//! Answers: immutable, shared, possibly partial; and the two ends of a running query.

use super::{Cell, ReadError, Record, Table};
use crate::address::VirtAddr;
use std::any::Any;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// What a query is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    #[default]
    Machine,
    /// All process objects with this PID (PIDs are reused).
    Pid(u32),
    /// One process object.
    Process(VirtAddr),
    /// A registry key, by the address of its hive and its cell, with its subkeys or with all below it.
    Key { hive: VirtAddr, cell: u32, deep: bool },
}

impl Scope {
    pub fn admits(self, pid: u32, process: VirtAddr) -> bool {
        match self {
            Self::Machine => true,
            Self::Pid(wanted) => wanted == pid,
            Self::Process(wanted) => wanted == process,
            Self::Key { .. } => false,
        }
    }
}

/// How far an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Rows are still being found.
    Running,
    Complete,
    /// Stopped by the user; the rows so far are kept.
    Cancelled,
    /// Something needed for the rest could not be read; a note says what.
    Cut,
}

/// A type-erased answer: what tables on the screen and the report writers read.
pub trait Rows: Send + Sync {
    fn table(&self) -> &'static Table;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn cell(&self, row: usize, column: usize) -> Cell<'_>;
    /// Why the answer is short, empty or doubtful, in full sentences.
    fn notes(&self) -> &[String];
    fn state(&self) -> State;
    fn as_any(&self) -> &dyn Any;
}

/// A partial answer that is still growing.
pub trait Feed: Send + Sync {
    fn snapshot(&self) -> Arc<dyn Rows>;
    /// The same for one who waits no longer for the rest, though others may.
    fn cancelled(&self) -> Arc<dyn Rows>;
}

impl<T: Record + Clone> Feed for Mutex<Answer<T>> {
    fn snapshot(&self) -> Arc<dyn Rows> {
        Arc::new(self.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
    fn cancelled(&self) -> Arc<dyn Rows> {
        Arc::new(Answer { state: State::Cancelled, ..self.lock().unwrap_or_else(PoisonError::into_inner).clone() })
    }
}

/// Where what is made of tables gets their rows: each table is worked out once for all who ask.
pub trait Tables {
    fn table<T: Record + Clone>(&self, scope: Scope, watch: &Arc<Watch>) -> Result<Answer<T>, String>;
}

/// The rows found so far, in chunks that are shared and never change.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    chunks: Vec<Arc<Vec<T>>>,
    /// Number of rows up to the end of each chunk, so that any row of a million is found in a few steps.
    ends: Vec<usize>,
    notes: Vec<String>,
    state: State,
}

impl<T> Answer<T> {
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
    pub fn row(&self, index: usize) -> Option<&T> {
        let chunk = self.ends.partition_point(|end| *end <= index);
        let before = chunk.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.chunks.get(chunk)?.get(index - before)
    }
}

impl<T: Record> Rows for Answer<T> {
    fn table(&self) -> &'static Table {
        const { &T::TABLE }
    }
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        self.row(row).map_or(Cell::Absent, |record| record.cell(column))
    }
    fn notes(&self) -> &[String] {
        &self.notes
    }
    fn state(&self) -> State {
        self.state
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Progress and cancellation of one job, shared between its worker and whoever watches it.
#[derive(Debug, Default)]
pub struct Watch {
    cancelled: AtomicBool,
    /// What is done now, where that is not what the work as a whole is called.
    stage: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Watch {
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
    /// Asked by every walker at least once per page batch.
    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
    pub fn progress(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }
    /// Another part of the work begins, with a progress of its own.
    pub fn begin(&self, stage: &'static str) {
        self.progress(0, 0);
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
    /// What is done now; empty where the name of the work says it.
    pub fn stage(&self) -> &'static str {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Done and total, in whatever unit the job counts; total 0 where it is not known.
    pub fn reading(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// What a search found, for all who ask after it: one searches, the others wait. What a cancelled one found is handed out, but not kept.
#[derive(Debug)]
pub struct Kept<T> {
    found: OnceLock<Arc<T>>,
    search: Mutex<()>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { found: OnceLock::new(), search: Mutex::default() }
    }
}

impl<T> Kept<T> {
    pub fn get(&self) -> Option<&T> {
        self.found.get().map(|known| &**known)
    }
    pub fn or_search(&self, watch: &Watch, search: impl FnOnce() -> T) -> Arc<T> {
        let Ok(found) = self.or_try(watch, || Ok::<_, Infallible>(search()));
        found
    }
    pub fn or_try<E>(&self, watch: &Watch, search: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let turn = loop {
            let turn = self.search.try_lock();
            if let Some(known) = self.found.get() {
                return Ok(Arc::clone(known));
            }
            match turn {
                Ok(turn) => break Some(turn),
                Err(TryLockError::Poisoned(turn)) => break Some(turn.into_inner()),
                // Of its own search there will be little.
                Err(TryLockError::WouldBlock) if watch.cancelled() => break None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(TURN),
            }
        };
        let found = Arc::new(search()?);
        let kept = if watch.cancelled() { found } else { Arc::clone(self.found.get_or_init(|| found)) };
        drop(turn);
        Ok(kept)
    }
}

/// A search that begins before anyone asks for what it finds. Dropping it ends it.
#[derive(Debug)]
pub struct Begun<T> {
    watch: Arc<Watch>,
    found: Mutex<Option<Receiver<T>>>,
}

impl<T: Send + 'static> Begun<T> {
    pub fn start(search: impl FnOnce(&Watch) -> T + Send + 'static) -> Self {
        let watch = Arc::<Watch>::default();
        let (told, found) = channel();
        let inside = Arc::clone(&watch);
        std::thread::spawn(move || told.send(search(&inside)));
        Self { watch, found: Mutex::new(Some(found)) }
    }
    /// What another search finds along its way.
    pub fn along(found: Receiver<T>) -> Self {
        Self { watch: Arc::default(), found: Mutex::new(Some(found)) }
    }
    /// What it found, for the first who asks; None for the others. Who is cancelled while he waits ends the search.
    pub fn take(&self, watch: &Watch) -> Option<T> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        loop {
            match found.recv_timeout(TURN) {
                Err(RecvTimeoutError::Timeout) => {
                    let (done, total) = self.watch.reading();
                    watch.progress(done, total);
                    if watch.cancelled() {
                        self.watch.cancel();
                    }
                }
                found => return found.ok(),
            }
        }
    }
}

impl<T> Drop for Begun<T> {
    fn drop(&mut self) {
        self.watch.cancel();
    }
}

/// Where a walker puts its rows. Rows are published in batches, so that the screen fills while the walk goes on.
pub struct Sink<T> {
    batch: Vec<T>,
    /// The rows so far were a preview: the next ones replace them.
    over: bool,
    last: Instant,
    feed: Arc<Mutex<Answer<T>>>,
    watch: Arc<Watch>,
}

const BATCH_ROWS: usize = 1000;
const BATCH_TIME: Duration = Duration::from_millis(50);
/// How often one who waits for another's search looks after it.
const TURN: Duration = Duration::from_millis(1);

impl<T> Sink<T> {
    pub fn new(watch: Arc<Watch>) -> Self {
        let empty = Answer { chunks: Vec::new(), ends: Vec::new(), notes: Vec::new(), state: State::Running };
        Self { batch: Vec::new(), over: false, last: Instant::now(), feed: Arc::new(Mutex::new(empty)), watch }
    }
    /// A sink for other rows, from which the rows of this one are made.
    pub fn beside<U>(&self) -> Sink<U> {
        Sink::new(Arc::clone(&self.watch))
    }
    /// The other end: a snapshot of it is a partial answer.
    pub fn feed(&self) -> Arc<Mutex<Answer<T>>> {
        Arc::clone(&self.feed)
    }
    pub fn push(&mut self, row: T) {
        self.batch.push(row);
        if self.batch.len() >= BATCH_ROWS || self.last.elapsed() >= BATCH_TIME {
            self.publish();
        }
    }
    /// Lets `show` add the rows of each item, tells progress, and stops when cancelled. What could not be read becomes a note, which
    /// `of` begins.
    pub fn each<I>(&mut self, items: &[I], of: impl Fn(&I) -> String, mut show: impl FnMut(&I, &mut Self) -> Result<(), ReadError>) {
        for (done, item) in items.iter().enumerate() {
            if self.cancelled() {
                return;
            }
            self.watch.progress(done as u64, items.len() as u64);
            if let Err(why) = show(item, self) {
                self.note(format!("{}: {why}", of(item)));
            }
        }
    }
    /// Shows the rows so far at once, to be replaced by the rows that follow.
    pub fn preview(&mut self) {
        self.publish();
        self.over = true;
    }
    pub fn extend(&mut self, rows: impl IntoIterator<Item = T>) {
        rows.into_iter().for_each(|row| self.push(row));
    }
    /// Says why the answer is short, empty or doubtful.
    pub fn note(&mut self, note: impl Into<String>) {
        self.with(|answer| answer.notes.push(note.into()));
    }
    /// An answer about the whole machine that has no row and gives no reason says at least that.
    pub fn break_silence(&mut self) {
        self.publish();
        if !self.cancelled() {
            self.with(|answer| {
                if answer.ends.last().is_none_or(|rows| *rows == 0) && answer.notes.is_empty() {
                    answer.notes.push("none was found; no part of memory is known to be missing that would hold one".to_owned());
                }
            });
        }
    }
    /// Says that the answer ends early because of damage.
    pub fn cut(&mut self, note: impl Into<String>) {
        self.with(|answer| {
            answer.notes.push(note.into());
            answer.state = State::Cut;
        });
    }
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
    pub fn cancelled(&self) -> bool {
        self.watch.cancelled()
    }
    pub fn finish(mut self) -> Arc<Answer<T>>
    where
        T: Clone,
    {
        self.publish();
        let cancelled = self.watch.cancelled();
        self.with(|answer| {
            if cancelled {
                answer.state = State::Cancelled;
            } else if answer.state == State::Running {
                answer.state = State::Complete;
            }
            Arc::new(answer.clone())
        })
    }
    fn publish(&mut self) {
        self.last = Instant::now();
        // A preview is better than nothing where the rest was cancelled.
        let kept = self.batch.is_empty() && self.watch.cancelled();
        if !kept && std::mem::take(&mut self.over) {
            self.with(|answer| {
                answer.chunks.clear();
                answer.ends.clear();
            });
        }
        if !self.batch.is_empty() {
            let chunk = Arc::new(std::mem::take(&mut self.batch));
            self.with(|answer| {
                let before = answer.ends.last().copied().unwrap_or(0);
                answer.ends.push(before + chunk.len());
                answer.chunks.push(chunk);
            });
        }
    }
    fn with<R>(&self, change: impl FnOnce(&mut Answer<T>) -> R) -> R {
        change(&mut self.feed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn one_searches_while_others_wait_or_give_up() {
        let (kept, searching) = (Kept::default(), Barrier::new(2));
        let (watch, cancelled) = (Watch::default(), Watch::default());
        cancelled.cancel();
        std::thread::scope(|threads| {
            let first = threads.spawn(|| {
                kept.or_search(&watch, || {
                    searching.wait();
                    searching.wait();
                    1
                })
            });
            searching.wait();
            assert_eq!(*kept.or_search(&cancelled, || 0), 0, "who gave up does not wait");
            let second = threads.spawn(|| kept.or_search(&watch, || 2));
            searching.wait();
            assert_eq!((*first.join().unwrap(), *second.join().unwrap()), (1, 1));
        });
    }
}
