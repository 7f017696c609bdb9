//! Keeps notes and trail on a thread of its own: no key waits for a disk.

use super::{Casebook, Note, Plan, Step, Store};
use crate::facts::{Identity, Info};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

/// What is to be kept.
pub enum Order {
    /// A note, with the step that it is: reason enough to begin a file.
    Note(Box<Note>, Step),
    /// A step that is worth a file: something left the explorer.
    Done(Step),
    /// A step that is kept once there is a file.
    Seen(Step),
    /// The last word: where the explorer was left. Not a reason to begin a file.
    Close(String, Vec<Step>),
}

/// What became of it.
pub enum News {
    /// What was kept before, where notes are kept from now on if anywhere, and what there is to say of it.
    Opened {
        book: Box<Casebook>,
        identity: Box<Identity>,
        kept: Option<PathBuf>,
        /// Whether there is that file already.
        begun: bool,
        told: Option<String>,
    },
    /// One order that was waited for is on the disk.
    Saved,
    /// One order that was waited for is not.
    Failed(String),
    /// Something else to say.
    Told(String),
    Closed(Result<(), String>),
}

pub struct Keeper {
    orders: Sender<Order>,
    news: Receiver<News>,
    /// Answers that are awaited, that of the opening among them.
    awaited: usize,
}

impl Keeper {
    /// Begins. `identity` reads a little of the image, hence away from whoever calls.
    pub fn start(plan: Plan, info: Info, identity: impl FnOnce() -> Identity + Send + 'static) -> Self {
        let (orders, inbox) = channel();
        let (outbox, news) = channel();
        std::thread::spawn(move || {
            let identity = identity();
            let mut work = Work { plan, path: None, identity, info, store: None, notes: BTreeMap::new(), steps: Vec::new(), told: outbox };
            work.open();
            work.run(&inbox);
        });
        Self { orders, news, awaited: 1 }
    }

    pub fn send(&mut self, order: Order) {
        self.awaited += usize::from(matches!(order, Order::Note(..) | Order::Done(_)));
        // Where the thread is gone, `poll` says so.
        _ = self.orders.send(order);
    }

    /// What has come since the last look.
    pub fn poll(&mut self) -> Vec<News> {
        let mut all = Vec::new();
        loop {
            match self.news.try_recv() {
                Ok(news) => {
                    self.awaited = self.awaited.saturating_sub(usize::from(!matches!(news, News::Told(_))));
                    all.push(news);
                }
                Err(TryRecvError::Disconnected) if self.awaited > 0 => {
                    self.awaited = 0;
                    all.push(News::Failed("not saved: internal error of the case".to_owned()));
                }
                Err(_) => return all,
            }
        }
    }

    /// Whether an answer may come any moment.
    pub fn busy(&self) -> bool {
        self.awaited > 0
    }

    /// Keeps the last and waits for the disk, but not for ever.
    pub fn close(mut self, view: String, steps: Vec<Step>) -> Result<(), String> {
        const PATIENCE: Duration = Duration::from_secs(7);
        self.send(Order::Close(view, steps));
        let mut failed = Ok(());
        loop {
            match self.news.recv_timeout(PATIENCE) {
                Ok(News::Closed(Ok(()))) => return failed,
                Ok(News::Closed(why)) => return why,
                Ok(News::Failed(why)) => failed = Err(why),
                Ok(_) => (),
                Err(RecvTimeoutError::Timeout) => {
                    return Err("the case could not be saved in time; the last notes may be missing".to_owned());
                }
                Err(RecvTimeoutError::Disconnected) => return Err("the case could not be saved: internal error".to_owned()),
            }
        }
    }
}

struct Work {
    plan: Plan,
    /// Where the case is kept; None where it may not be.
    path: Option<PathBuf>,
    identity: Identity,
    info: Info,
    store: Option<Store>,
    /// What is not on the disk yet: for want of a file, or because that failed.
    notes: BTreeMap<super::Object, Note>,
    steps: Vec<Step>,
    told: Sender<News>,
}

/// Steps that wait for a file to be kept in.
const MOST_WAITING: usize = 10_000;
const SHARED: &str = "another explorer has this case open: both save to it, each sees the other's notes when it is opened again";

impl Work {
    fn open(&mut self) {
        let opened = match self.plan.file(&self.identity) {
            None => Ok(None),
            Some(Err(why)) => Err(why),
            Some(Ok(path)) => Store::open(&path).and_then(|store| {
                self.path = Some(path);
                let Some(mut store) = store else { return Ok(None) };
                let book = store.casebook(&self.identity)?;
                let told = match store.read_only() {
                    true => Some(format!("{}: can only be read, what is noted now is not saved", store.path().display())),
                    false => (!store.claim()).then(|| SHARED.to_owned()),
                };
                self.store = Some(store);
                Ok(Some((book, told)))
            }),
        };
        let (book, told) = match opened {
            Ok(found) => found.unwrap_or_default(),
            Err(why) => {
                self.path = None;
                (Casebook::default(), Some(format!("notes are not saved: {why}")))
            }
        };
        if self.store.as_ref().is_some_and(Store::read_only) {
            (self.path, self.store) = (None, None);
        }
        _ = self.told.send({
            let identity = Box::new(self.identity.clone());
            News::Opened { book: Box::new(book), identity, kept: self.path.clone(), begun: self.store.is_some(), told }
        });
    }

    fn run(&mut self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                // That nothing is kept was said when the image opened, or was asked for.
                Order::Note(..) | Order::Done(_) if self.path.is_none() => drop(self.told.send(News::Saved)),
                Order::Seen(_) if self.path.is_none() => (),
                Order::Note(note, step) => {
                    self.notes.insert(note.about(), *note);
                    self.steps.push(step);
                    self.answer();
                }
                Order::Done(step) => {
                    self.steps.push(step);
                    self.answer();
                }
                Order::Seen(step) => {
                    if self.steps.len() < MOST_WAITING {
                        self.steps.push(step);
                    }
                    if self.store.is_some() && self.notes.is_empty() {
                        // Nobody waits for it; what fails is tried again with the next.
                        _ = self.flush(None);
                    }
                }
                Order::Close(view, steps) => {
                    self.steps.extend(steps);
                    // What could not be kept before is tried once more.
                    let begun = if self.notes.is_empty() { Ok(()) } else { self.begin() };
                    let closed = begun.and_then(|()| self.flush(Some(&view))).map_err(|why| format!("the notes are not saved: {why}"));
                    self.store = None;
                    _ = self.told.send(News::Closed(closed));
                    return;
                }
            }
        }
    }

    fn answer(&mut self) {
        let saved = self.begin().and_then(|()| self.flush(None));
        _ = self.told.send(match saved {
            Ok(()) => News::Saved,
            Err(why) => News::Failed(format!("not saved: {why}")),
        });
    }

    /// The file, which is begun when there is something to keep.
    fn begin(&mut self) -> Result<(), String> {
        let (None, Some(path)) = (&self.store, &self.path) else { return Ok(()) };
        let mut store = Store::create(path, matches!(self.plan, Plan::In(_)))?;
        if !store.claim() {
            _ = self.told.send(News::Told(SHARED.to_owned()));
        }
        self.store = Some(store);
        Ok(())
    }

    fn flush(&mut self, view: Option<&str>) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let notes: Vec<Note> = self.notes.values().cloned().collect();
        store.write(&self.identity, &self.info, &notes, &self.steps, view)?;
        self.notes.clear();
        self.steps.clear();
        Ok(())
    }
}
