//! `kioku events`: the records of a log file, or of an image.

use super::Run;
use super::args::EventsCommand;
use super::console::Stop;
use crate::engine::{LogFile, is_linux_log, of_linux_log, sysmon_config_of};
use crate::facts::{Event, Record, Sink, SysmonRule, Table};
use crate::report::{self, Stream};
use std::path::Path;
use std::sync::Arc;

impl Run {
    pub(super) fn events(&self, command: Option<EventsCommand>, source: Option<&Path>) -> Result<(), Stop> {
        match (command, source) {
            (Some(EventsCommand::Config { source }), _) => self.sysmon_config(&source),
            (Some(EventsCommand::Retention { file, days }), _) => self.retention(&file, days),
            (None, Some(source)) => self.records(source),
            (None, None) => Err(Stop::Usage("events needs an event log or a memory image".to_owned())),
        }
    }

    fn retention(&self, file: &Path, days: u64) -> Result<(), Stop> {
        let failed = |why: &dyn std::fmt::Display| Stop::Failed(format!("{}: {why}", file.display()));
        let progress = self.progress(format!("reading {}", file.display()));
        let log = LogFile::open(file).map_err(|why| failed(&why))?;
        let row = log.retention(days, &self.interrupts.watch).map_err(|why| failed(&why))?;
        drop(progress);
        if self.interrupts.watch.cancelled() {
            return Err(Stop::Interrupted);
        }
        let mut sink = Sink::new(Arc::default());
        sink.push(row);
        self.write(|out| report::write_rows(&*sink.finish(), None, self.format(), out))
    }

    fn sysmon_config(&self, source: &Path) -> Result<(), Stop> {
        // No configuration is as long as an image.
        const LONGEST: u64 = 16 << 20;
        let failed = |why: &dyn std::fmt::Display| Stop::Failed(format!("{}: {why}", source.display()));
        if std::fs::metadata(source).map_err(|why| failed(&why))?.len() > LONGEST {
            return self.query(source, SysmonRule::TABLE.name, None, false);
        }
        let bytes = std::fs::read(source).map_err(|why| failed(&why))?;
        let mut sink = Sink::new(Arc::default());
        sink.extend(sysmon_config_of(&bytes).map_err(|why| failed(&why))?);
        self.write(|out| report::write_rows(&*sink.finish(), None, self.format(), out))
    }

    fn linux_log(&self, source: &Path) -> Result<(), Stop> {
        let (events, notes) = of_linux_log(source).map_err(|why| Stop::Failed(format!("{}: {why}", source.display())))?;
        notes.iter().for_each(|note| self.note(note));
        let mut sink = Sink::new(Arc::default());
        sink.extend(events.into_iter().filter(|event| self.common.pid.is_none_or(|pid| event.pid.value() == Some(&pid))));
        self.write(|out| report::write_rows(&*sink.finish(), None, self.format(), out))
    }

    fn records(&self, source: &Path) -> Result<(), Stop> {
        if is_linux_log(source) {
            return self.linux_log(source);
        }
        if !LogFile::is_one(source) {
            return self.query(source, Event::TABLE.name, None, false);
        }
        self.refuse_existing_output()?;
        let failed = |why: &dyn std::fmt::Display| Stop::Failed(format!("{}: {why}", source.display()));
        let log = LogFile::open(source).map_err(|why| failed(&why))?;
        let watch = Arc::clone(&self.interrupts.watch);
        let _progress = self.progress(format!("reading {}", source.display()));
        let mut outcome = Ok(Vec::new());
        self.write(|out| {
            let table: &'static Table = const { &Event::TABLE };
            let mut stream = Stream::new(table, None, self.format(), out);
            let mut written = Ok(());
            outcome = log.read(&watch, |events| {
                let mut sink = Sink::new(Arc::default());
                sink.extend(events.into_iter().filter(|event| self.common.pid.is_none_or(|pid| event.pid.value() == Some(&pid))));
                written = stream.rows(&*sink.finish());
                written.is_ok()
            });
            written.and_then(|()| stream.finish())
        })?;
        outcome.map_err(|why| failed(&why))?.iter().for_each(|note| self.note(note));
        if watch.cancelled() { Err(Stop::Interrupted) } else { Ok(()) }
    }
}
