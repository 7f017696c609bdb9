//! `kioku search`.

use super::args::Trail;
use super::console::Stop;
use super::{Run, finished};
use crate::case::Action;
use crate::engine::{Ahead, Ground, Search, Space};
use crate::facts::State;
use crate::report;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A list of patterns longer than this is no list of patterns.
const MOST_LIST: u64 = 64 << 20;

#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Memory image.
    pub image: PathBuf,
    /// What to search for: text, hex:4d5a90??, re:EXPRESSION, or text:TEXT where the text itself begins like one of these.
    #[arg(value_name = "PATTERN")]
    pub given: Vec<String>,
    /// File of patterns, one a line.
    #[arg(long, value_name = "FILE")]
    pub patterns: Vec<PathBuf>,
    /// File of YARA rules, or a folder of them (*.yar, *.yara). Repeatable.
    #[arg(long, value_name = "PATH")]
    pub yara: Vec<PathBuf>,
    /// Letters match in either case.
    #[arg(long, short)]
    pub ignore_case: bool,
    /// Search what the kernel maps, not physical memory.
    #[arg(long, conflicts_with = "pid")]
    pub kernel: bool,
    /// Search files as memory holds them, not physical memory: those whose path is or ends with PATH, or all.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, conflicts_with_all = ["pid", "kernel"])]
    pub files: Option<Option<String>>,
    /// Stop after so many matches.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    #[command(flatten)]
    pub case: Trail,
}

/// Patterns that the audit trail repeats.
const MOST_TOLD: usize = 20;

impl SearchArgs {
    /// What was searched for and where, for the audit trail.
    fn says(&self, pid: Option<u32>) -> String {
        let mut what: Vec<String> = self.given.iter().take(MOST_TOLD).map(|pattern| format!("\"{pattern}\"")).collect();
        what.extend((self.given.len() > MOST_TOLD).then(|| format!("{} more", self.given.len() - MOST_TOLD)));
        what.extend(self.patterns.iter().map(|path| format!("patterns of {}", path.display())));
        what.extend(self.yara.iter().map(|path| format!("rules of {}", path.display())));
        let place = match (pid, &self.files) {
            (Some(pid), _) => format!("PID {pid}"),
            (_, Some(Some(path))) => format!("files {path}"),
            (_, Some(None)) => "files in memory".to_owned(),
            _ => if self.kernel { "kernel" } else { "physical memory" }.to_owned(),
        };
        format!("{} in {place}{}", what.join(", "), if self.ignore_case { ", any case" } else { "" })
    }
}

impl Run {
    pub(super) fn search(&self, search: &SearchArgs) -> Result<(), Stop> {
        let mut given = search.given.clone();
        for path in &search.patterns {
            let failed = |why: &dyn std::fmt::Display| Stop::Failed(format!("{}: {why}", path.display()));
            if path.metadata().map_err(|why| failed(&why))?.len() > MOST_LIST {
                return Err(failed(&"too large for a list of patterns"));
            }
            let list = std::fs::read_to_string(path).map_err(|why| failed(&why))?;
            given.extend(list.lines().filter(|line| !line.is_empty()).map(str::to_owned));
        }
        search.case.check()?;
        // What is wrong with a pattern is told before the image is opened.
        let ready = Search::new(&given, search.ignore_case, Space::Physical, search.limit as usize);
        let mut ready = ready.map_err(|why| Stop::Usage(why.0))?;
        if !search.yara.is_empty() {
            ready = ready.with_rules(&search.yara)?;
        } else if given.is_empty() {
            return Err(Stop::Usage("nothing to search for: give a PATTERN, --patterns or --yara".to_owned()));
        }
        let (session, ready) = if let Some(path) = &search.files {
            (self.open(&search.image)?, Arc::new(ready.within(Ground::Files(path.clone()))))
        } else if search.kernel || self.common.pid.is_some() {
            let session = self.open(&search.image)?;
            let space = self.space(&session, false)?;
            (session, Arc::new(ready.within(space)))
        } else {
            let ready = Arc::new(ready);
            (self.open_for(&search.image, Ahead::Search(Arc::clone(&ready), Arc::clone(&self.interrupts.watch)))?, ready)
        };
        let started = Instant::now();
        let progress = self.progress(format!("searching {}", session.name()));
        let rows = session.search(&ready, &self.interrupts.watch, &mut |_| ())?;
        drop(progress);
        self.detail(&format!("search: {} matches in {:.2?}", rows.len(), started.elapsed()));
        let cancelled = if rows.state() == State::Cancelled { ", cancelled" } else { "" };
        let to = self.common.output.as_ref().map(|path| format!(", to {}", path.display())).unwrap_or_default();
        let says = format!("{}: {} matches{cancelled}{to}", search.says(self.common.pid), rows.len());
        self.tell(&session, &search.case, Action::Searched, says)?;
        self.write(|out| report::write_rows(&*rows, Some(session.info().os), self.format(), out))?;
        rows.notes().iter().for_each(|note| self.note(note));
        if rows.is_empty() {
            self.note("search: nothing found");
        }
        finished(&*rows, session.name())
    }
}
