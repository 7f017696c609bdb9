//! Everything that is said beside the results: notes, errors, progress; and Ctrl-C.

use crate::engine::Error;
use crate::facts::Watch;
use crate::facts::text::printable;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a run ended other than well.
#[derive(Debug)]
pub enum Stop {
    Failed(String),
    Usage(String),
    Interrupted,
    /// Whoever read the results has had enough, as `head` does.
    Unread,
}

impl From<Error> for Stop {
    fn from(why: Error) -> Self {
        Self::Failed(why.0)
    }
}

/// One line on standard error. What it is about may come from an image or a file name, so it is made safe; a closed standard error
/// is no reason to stop.
pub fn say(line: &str) {
    _ = writeln!(io::stderr(), "{}", printable(line));
}

/// Ctrl-C cancels the work, and what was found so far is printed; a second one, or one while results are written, ends the program.
#[derive(Clone, Default)]
pub struct Interrupts {
    pub watch: Arc<Watch>,
    writing: Arc<AtomicBool>,
}

impl Interrupts {
    pub fn listen() -> Self {
        let interrupts = Self::default();
        // Where there are no signals Ctrl-C still ends the program, only less politely.
        #[cfg(unix)]
        if let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT]) {
            let heard = interrupts.clone();
            std::thread::spawn(move || signals.forever().for_each(|_| heard.interrupt()));
        }
        interrupts
    }
    #[cfg(unix)]
    fn interrupt(&self) {
        if self.watch.cancelled() || self.writing.load(Ordering::Relaxed) {
            std::process::exit(super::INTERRUPTED.into());
        }
        self.watch.cancel();
    }
    pub fn writing(&self, now: bool) {
        self.writing.store(now, Ordering::Relaxed);
    }
}

/// A progress line, redrawn while the work goes on; only where standard error is a terminal.
pub struct Progress(Option<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Progress {
    pub fn start(label: String, watch: Arc<Watch>) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let drawing = move || {
            let mut drawn = false;
            // What is done at once needs no progress.
            std::thread::park_timeout(Duration::from_millis(400));
            while !told.load(Ordering::Relaxed) {
                let (done, total) = watch.reading();
                let share = (total > 0).then(|| format!(" {} %", u128::from(done) * 100 / u128::from(total)));
                let stage = Some(watch.stage()).filter(|stage| !stage.is_empty()).map(|stage| format!(": {stage}"));
                let (stage, share) = (stage.unwrap_or_default(), share.unwrap_or_default());
                _ = write!(io::stderr(), "\r\x1b[K{}{stage}{share}", printable(&label));
                drawn = true;
                std::thread::park_timeout(Duration::from_millis(100));
            }
            if drawn {
                _ = write!(io::stderr(), "\r\x1b[K");
            }
        };
        Self(Some((over, std::thread::spawn(drawing))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((over, drawing)) = self.0.take() {
            over.store(true, Ordering::Relaxed);
            drawing.thread().unpark();
            _ = drawing.join();
        }
    }
}
