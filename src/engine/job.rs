//! Work that waits on the image, away from whoever asked: progress, cancellation, partial results, and a panic that stays inside.

use super::{Entry, Error, Session};
use crate::facts::{Feed, Rows, Scope, Table, Watch};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How nice work is to whatever else runs.
#[cfg(target_os = "linux")]
const GIVING_WAY: i32 = 10;

/// A result that will come.
pub struct Task<T>(Arc<Slot<T>>);

struct Slot<T> {
    started: Instant,
    watch: Arc<Watch>,
    result: Mutex<Option<Result<T, String>>>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts `work` on a thread of its own.
    pub fn start(work: impl FnOnce(&Arc<Watch>) -> T + Send + 'static) -> Self {
        let slot = Arc::new(Slot { started: Instant::now(), watch: Arc::default(), result: Mutex::new(None) });
        let inside = Arc::clone(&slot);
        behind(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&inside.watch))).map_err(|panic| message(&*panic));
            *lock(&inside.result) = Some(outcome);
        });
        Self(slot)
    }
    pub fn watch(&self) -> &Watch {
        &self.0.watch
    }
    /// How long ago it was started.
    pub fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }
    pub fn finished(&self) -> bool {
        lock(&self.0.result).is_some()
    }
    /// The result, once; None while it is not there.
    pub fn take(&self) -> Option<Result<T, String>> {
        lock(&self.0.result).take()
    }
}

/// Dropping a task cancels its work.
impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.watch.cancel();
    }
}

/// A query or a search in the background.
pub struct Job {
    pub table: &'static Table,
    pub scope: Scope,
    started: Instant,
    watch: Arc<Watch>,
    state: Mutex<Progress>,
}

enum Progress {
    Running(Option<Arc<dyn Feed>>),
    Done(Arc<dyn Rows>, Duration),
    Failed(String),
}

impl Job {
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
    pub fn cancel(&self) {
        self.watch.cancel();
    }
    pub fn finished(&self) -> bool {
        !matches!(*lock(&self.state), Progress::Running(_))
    }
    /// How long it has run, or ran.
    pub fn elapsed(&self) -> Duration {
        match *lock(&self.state) {
            Progress::Done(_, took) => took,
            _ => self.started.elapsed(),
        }
    }
    /// The rows so far; None before the first and after a failure.
    pub fn rows(&self) -> Option<Arc<dyn Rows>> {
        match &*lock(&self.state) {
            Progress::Running(feed) => feed.as_ref().map(|feed| feed.snapshot()),
            Progress::Done(rows, _) => Some(Arc::clone(rows)),
            Progress::Failed(_) => None,
        }
    }
    pub fn error(&self) -> Option<String> {
        match &*lock(&self.state) {
            Progress::Failed(why) => Some(why.clone()),
            _ => None,
        }
    }
}

impl Job {
    fn new(table: &'static Table, scope: Scope, state: Progress) -> Arc<Self> {
        Arc::new(Self { table, scope, started: Instant::now(), watch: Arc::default(), state: Mutex::new(state) })
    }

    /// Starts `work`, which hands out its growing answer and returns the whole one.
    pub(super) fn start(
        table: &'static Table,
        scope: Scope,
        work: impl FnOnce(&Arc<Watch>, &mut dyn FnMut(Arc<dyn Feed>)) -> Result<Arc<dyn Rows>, Error> + Send + 'static,
    ) -> Arc<Self> {
        let started = Self::new(table, scope, Progress::Running(None));
        let job = Arc::clone(&started);
        behind(move || {
            let mut started = |feed| *lock(&job.state) = Progress::Running(Some(feed));
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&job.watch, &mut started)));
            *lock(&job.state) = match outcome {
                Ok(Ok(rows)) => Progress::Done(rows, job.started.elapsed()),
                Ok(Err(why)) => Progress::Failed(why.0),
                Err(panic) => Progress::Failed(message(&*panic)),
            };
        });
        started
    }
}

impl Session {
    /// Starts a query in the background. One that is answered already comes back finished.
    pub fn submit(&self, entry: &'static Entry, scope: Scope) -> Arc<Job> {
        if let Some(rows) = self.known(entry, scope) {
            return Job::new(entry.table, scope, Progress::Done(rows, Duration::ZERO));
        }
        let session = self.clone();
        Job::start(entry.table, scope, move |watch, started| session.run(entry, scope, watch, started))
    }
}

/// Works on a thread that gives way to the one that draws: a key is answered at once although all processors are busy.
fn behind(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        // On Linux this is the priority of the thread alone, and of those that it starts, those for all processors among them.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, GIVING_WAY);
        work();
    });
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("internal error: {}", text.unwrap_or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
