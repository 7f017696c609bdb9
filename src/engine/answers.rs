//! The answers that a session keeps, and those on their way: what several ask for at once is worked out once.

use crate::facts::{Feed, Rows, Scope, State, Watch};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A table by its name, and what the query is about.
pub(super) type Question = (&'static str, Scope);

/// How often one who waits for another's answer looks whether it was cancelled meanwhile.
const LOOK: Duration = Duration::from_millis(20);

enum Stage {
    Running(Arc<Watch>, Option<Arc<dyn Feed>>),
    Done(Arc<dyn Rows>),
}

#[derive(Default)]
pub(super) struct Answers {
    stages: Mutex<HashMap<Question, Stage>>,
    changed: Condvar,
}

/// A question that somebody works on. Whatever becomes of it, nobody waits in vain.
struct Turn<'a>(&'a Answers, Question);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut stages = self.0.lock();
        if matches!(stages.get(&self.1), Some(Stage::Running(..))) {
            stages.remove(&self.1);
        }
        self.0.changed.notify_all();
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn all(&self) -> Vec<Arc<dyn Rows>> {
        let done = |stage: &Stage| if let Stage::Done(rows) = stage { Some(Arc::clone(rows)) } else { None };
        self.lock().values().filter_map(done).collect()
    }

    pub fn known(&self, question: Question) -> Option<Arc<dyn Rows>> {
        match self.lock().get(&question) {
            Some(Stage::Done(rows)) => Some(Arc::clone(rows)),
            _ => None,
        }
    }

    /// The answer that is known, or that another is working out, or else what `work` finds. A cancelled answer is shown, but the next
    /// one who asks gets the whole. Tables are made of other tables in one direction only, so nobody waits for himself.
    pub fn or_work<E>(
        &self,
        question: Question,
        watch: &Arc<Watch>,
        started: &mut dyn FnMut(Arc<dyn Feed>),
        work: impl FnOnce(&mut dyn FnMut(Arc<dyn Feed>)) -> Result<Arc<dyn Rows>, E>,
    ) -> Result<Arc<dyn Rows>, E> {
        let mut told = false;
        let mut stages = self.lock();
        loop {
            let (other, feed) = match stages.get(&question) {
                Some(Stage::Done(rows)) => return Ok(Arc::clone(rows)),
                Some(Stage::Running(other, feed)) => (other, feed),
                None => break,
            };
            if let Some(feed) = feed {
                if watch.cancelled() {
                    return Ok(feed.cancelled());
                }
                if !std::mem::replace(&mut told, true) {
                    started(Arc::clone(feed));
                }
            }
            let (done, total) = other.reading();
            watch.progress(done, total);
            stages = self.changed.wait_timeout(stages, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        stages.insert(question, Stage::Running(Arc::clone(watch), None));
        drop(stages);
        let _turn = Turn(self, question);
        let rows = work(&mut |feed| {
            self.lock().insert(question, Stage::Running(Arc::clone(watch), Some(Arc::clone(&feed))));
            started(feed);
        })?;
        if rows.state() != State::Cancelled {
            self.lock().insert(question, Stage::Done(Arc::clone(&rows)));
        }
        Ok(rows)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::facts::{Process, Sink};
    use std::convert::Infallible;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const QUESTION: Question = ("processes", Scope::Machine);

    fn ask(answers: &Answers, watch: &Arc<Watch>, work: impl FnOnce(&mut Sink<Process>)) -> Arc<dyn Rows> {
        let Ok(rows) = answers.or_work(QUESTION, watch, &mut |_| (), |started| {
            let mut sink = Sink::<Process>::new(Arc::clone(watch));
            started(sink.feed());
            work(&mut sink);
            Ok::<_, Infallible>(sink.finish())
        });
        rows
    }

    #[test]
    fn what_two_ask_for_at_once_is_worked_out_once() {
        let (answers, worked) = (Answers::default(), AtomicUsize::new(0));
        let (began, go) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|threads| {
            let first = threads.spawn(|| {
                ask(&answers, &Arc::default(), |sink| {
                    worked.fetch_add(1, Ordering::Relaxed);
                    began.wait();
                    go.wait();
                    sink.push(Process::default());
                })
            });
            began.wait();
            // One who gives up gets what there is, and leaves the other alone.
            let impatient = Arc::<Watch>::default();
            impatient.cancel();
            let rows = ask(&answers, &impatient, |_| unreachable!());
            assert_eq!((rows.state(), rows.len()), (State::Cancelled, 0));
            let second = threads.spawn(|| ask(&answers, &Arc::default(), |_| _ = worked.fetch_add(1, Ordering::Relaxed)));
            go.wait();
            assert_eq!((first.join().unwrap().len(), second.join().unwrap().len()), (1, 1));
        });
        assert_eq!(worked.into_inner(), 1);
    }

    #[test]
    fn who_waits_for_a_cancelled_answer_works_it_out() {
        let answers = Answers::default();
        let (began, go) = (Barrier::new(2), Barrier::new(2));
        let watch = Arc::<Watch>::default();
        std::thread::scope(|threads| {
            let first = threads.spawn(|| {
                ask(&answers, &watch, |_| {
                    began.wait();
                    go.wait();
                })
            });
            began.wait();
            let second = threads.spawn(|| ask(&answers, &Arc::default(), |sink| sink.push(Process::default())));
            watch.cancel();
            go.wait();
            assert_eq!(first.join().unwrap().state(), State::Cancelled);
            assert_eq!((second.join().unwrap().len(), answers.known(QUESTION).unwrap().len()), (1, 1));
        });
    }
}
