//! Flags and subcommands; headless runs.

mod args;
mod console;
mod events;
mod memory;
mod search;
mod symbols;
mod triage;

use crate::case::{Action, Casebook, Contents, Plan, Step, Store};
use crate::engine::{Ahead, Entry, Options, Session, catalog, find_table};
use crate::facts::windows::RegistryEntry;
use crate::facts::{Origin, Process, ProcessState, Record, Rows, Scope, State};
use crate::{report, tui};
use args::{Cli, Command, Common, STATUS};
use clap::{CommandFactory as _, FromArgMatches as _};
use console::{Interrupts, Progress, Stop, say};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// The keys of the explorer are gathered only for who asks for help.
fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    if arguments.iter().any(|argument| argument == "--help" || argument == "help") {
        command = command.after_long_help(format!("{}\n{STATUS}", tui::keys()));
    }
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// Runs the program with its arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(&arguments.into_iter().collect::<Vec<_>>()) {
        Ok(cli) => cli,
        Err(why) => {
            // Help and version come this way too, to standard output. A reader who left early is no failure.
            _ = why.print();
            return ExitCode::from(if why.use_stderr() { USAGE } else { 0 });
        }
    };
    // The explorer minds its terminal, its signals and its panics itself.
    let headless = cli.command.is_some() || cli.common.output.is_some() || !(io::stdin().is_terminal() && io::stdout().is_terminal());
    if headless && !cli.common.verbose {
        // A panic becomes one line like any other error.
        std::panic::set_hook(Box::new(|_| ()));
    }
    let run = Run { common: cli.common, interrupts: if headless { Interrupts::listen() } else { Interrupts::default() } };
    let outcome = catch_unwind(AssertUnwindSafe(|| match cli.command {
        Some(_) if cli.image.is_some() || cli.demo.is_some() => {
            Err(Stop::Usage("an image goes behind the command: kioku COMMAND IMAGE".to_owned()))
        }
        Some(command) => run.command(command),
        None if headless => run.summary(cli.image.as_deref(), cli.demo),
        None => {
            let plan = plan(cli.case, cli.no_case, cli.image.is_none());
            run.explore(cli.image.as_deref(), cli.demo, plan, cli.config.as_deref(), cli.slow_link)
        }
    }));
    let stop = match outcome {
        Ok(Ok(()) | Err(Stop::Unread)) => return ExitCode::SUCCESS,
        Ok(Err(stop)) => stop,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Stop::Failed(format!("internal error: {text}; please report it with the output of -v"))
        }
    };
    match stop {
        Stop::Failed(why) => {
            say(&format!("kioku: {why}"));
            ExitCode::from(FAILED)
        }
        Stop::Usage(why) => {
            say(&format!("kioku: {why} (kioku --help)"));
            ExitCode::from(USAGE)
        }
        Stop::Interrupted | Stop::Unread => {
            say("kioku: interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// The forms in which the explorer exports rows.
const WRITERS: &[tui::Writer] = &[
    tui::Writer {
        name: "csv",
        help: "for spreadsheets; what would be a formula is text",
        write: |rows, os, out| report::write_rows(rows, Some(os), report::Format::Csv, out),
    },
    tui::Writer { name: "json", help: "one array", write: |rows, os, out| report::write_rows(rows, Some(os), report::Format::Json, out) },
    tui::Writer {
        name: "jsonl",
        help: "one object a line",
        write: |rows, os, out| report::write_rows(rows, Some(os), report::Format::Jsonl, out),
    },
    tui::Writer {
        name: "md",
        help: "a Markdown table for tickets and wikis",
        write: |rows, os, out| report::write_markdown(rows, Some(os), out),
    },
];

/// One run of the program.
struct Run {
    common: Common,
    interrupts: Interrupts,
}

impl Run {
    fn command(&self, command: Command) -> Result<(), Stop> {
        match command {
            Command::Info { image } => {
                let session = self.open_for(&image, Ahead::Nothing)?;
                self.write(|out| report::write_info(session.info(), self.format(), out))
            }
            Command::Tables { image } => self.tables(image.as_deref()),
            Command::Query { image, table, key, recurse } => self.query(&image, &table, key.as_deref(), recurse),
            Command::Read { image, address, length, physical, raw } => self.read(&image, address, length, physical, raw),
            Command::Dump { image, what, case } => self.dump(&image, &what, &case),
            Command::Search(search) => self.search(&search),
            Command::Triage { images } => self.triage(&images),
            Command::Report { image, case, table, audit, no_hash } => self.report(&image, case, &table, audit, !no_hash),
            Command::Events { command, source } => self.events(command, source.as_deref()),
            Command::Symbols { command } => self.symbols(command),
        }
    }

    fn explore(
        &self,
        image: Option<&Path>,
        demo: Option<args::System>,
        plan: Plan,
        settings: Option<&Path>,
        slow: bool,
    ) -> Result<(), Stop> {
        if let Plan::At(path) = &plan {
            Store::check(path).map_err(Stop::Failed)?;
        }
        let system = demo.unwrap_or(args::System::Linux);
        let name = image.map_or_else(|| "demo".to_owned(), |image| image.display().to_string());
        let (image, options) = (image.map(Path::to_owned), self.options());
        let setup = tui::Setup { writers: WRITERS, reporter: report::write_report, plan, settings, slow };
        tui::run(&name, setup, move |watch| match image {
            Some(image) => Session::open(&image, &options, watch),
            None => Session::demo(system.into(), watch),
        })?;
        Ok(())
    }

    /// A report of what the explorer keeps of an image.
    fn report(&self, image: &Path, case: Option<PathBuf>, tables: &[String], audit: bool, digest: bool) -> Result<(), Stop> {
        let Some(folder) = &self.common.output else {
            return Err(Stop::Usage("report needs --output FOLDER".to_owned()));
        };
        let unknown = |name: &String| Stop::Usage(format!("there is no table {name}; `kioku tables` lists them"));
        let tables = tables.iter().map(|name| find_table(name).map(|entry| entry.table.name).ok_or_else(|| unknown(name)));
        let tables = tables.collect::<Result<_, _>>()?;
        let session = self.open(image)?;
        let identity = session.identity();
        let named = case.is_some();
        let found = match plan(case, false, false).file(&identity) {
            Some(Ok(path)) => Store::open(&path).map_err(Stop::Failed)?.ok_or(path),
            Some(Err(why)) => return Err(Stop::Failed(why)),
            None => return Err(Stop::Failed("there is no case".to_owned())),
        };
        let (mut store, book) = match found {
            Ok(mut store) => {
                let book = store.casebook(&identity).map_err(Stop::Failed)?;
                (Some(store), book)
            }
            Err(path) if named => return Err(Stop::Failed(format!("{}: there is no such case", path.display()))),
            Err(_) => {
                self.note(&format!("{}: no notes are kept of this image", session.name()));
                (None, Casebook::default())
            }
        };
        let notes = Some(book.notes.into_values().collect());
        let contents = Contents { findings: true, notes, trail: audit.then_some(book.trail), digest, tables };
        let written = {
            let _progress = self.progress(format!("report of {}", session.name()));
            report::write_report(&session, &contents, folder, &self.interrupts.watch)
        };
        if self.interrupts.watch.cancelled() {
            return Err(Stop::Interrupted);
        }
        let written = written?;
        if let Some(store) = store.as_mut().filter(|store| !store.read_only()) {
            let step = Step::now(Action::Reported, written.clone());
            store.write(&identity, session.info(), &[], &[step], None).unwrap_or_else(|why| self.note(&why));
        }
        self.note(&written);
        Ok(())
    }

    /// Lets the audit trail of a case tell what was done: of one that is named, else of the one that the explorer keeps of the image.
    fn tell(&self, session: &Session, case: &args::Trail, action: Action, what: String) -> Result<(), Stop> {
        let identity = session.identity();
        let told = || -> Result<(), String> {
            let store = match (&case.case, plan(None, false, false).file(&identity)) {
                (Some(path), _) => Some(Store::create(path, false)?),
                (None, Some(Ok(path))) => Store::open(&path)?.filter(|store| !store.read_only()),
                (None, _) => None,
            };
            store.map_or(Ok(()), |mut store| store.write(&identity, session.info(), &[], &[Step::now(action, what)], None))
        };
        match told() {
            Err(why) if case.case.is_some() => Err(Stop::Failed(format!("the case does not tell of this: {why}"))),
            Err(why) => {
                self.note(&format!("the case of this image does not tell of this: {why}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// What the explorer would begin with, where there is no terminal for it.
    fn summary(&self, image: Option<&Path>, demo: Option<args::System>) -> Result<(), Stop> {
        let session = match image {
            Some(image) => self.open(image)?,
            None => Session::demo(demo.unwrap_or(args::System::Linux).into(), &self.interrupts.watch)?,
        };
        let outcome = self.write(|out| report::write_summary(&session, &self.interrupts.watch, out));
        if self.interrupts.watch.cancelled() { Err(Stop::Interrupted) } else { outcome }
    }

    fn tables(&self, image: Option<&Path>) -> Result<(), Stop> {
        let tables: Vec<_> = match image {
            Some(image) => self.open_for(image, Ahead::Nothing)?.tables().collect(),
            None => catalog().iter().collect(),
        };
        self.write(|out| report::write_tables(&tables, self.format(), out))
    }

    fn query(&self, image: &Path, table: &str, key: Option<&str>, recurse: bool) -> Result<(), Stop> {
        let Some(entry) = find_table(table) else {
            return Err(Stop::Usage(format!("there is no table {table}; `kioku tables` lists them")));
        };
        let name = entry.table.name;
        if key.is_some() && name != RegistryEntry::TABLE.name {
            return Err(Stop::Usage(format!("--key belongs to the table {}, not to {name}", RegistryEntry::TABLE.name)));
        }
        let session = self.open(image)?;
        let scope = match self.common.pid {
            _ if let Some(path) = key => session.registry_key(path, recurse)?,
            Some(pid) if entry.table.column("pid").is_some() => Scope::Pid(pid),
            Some(_) => {
                self.note(&format!("{name} has no processes to choose from: --pid is not used"));
                Scope::Machine
            }
            None => Scope::Machine,
        };
        let rows = self.ask(&session, entry, scope)?;
        if rows.is_empty() && rows.notes().is_empty() {
            self.note(&match self.common.pid {
                Some(pid) => format!("{name}: there is none for PID {pid}; `kioku query {} processes` lists the PIDs", session.name()),
                None => format!("{name}: none found"),
            });
        }
        self.write(|out| report::write_rows(&*rows, Some(session.info().os), self.format(), out))?;
        // The note that tells of damage becomes the error.
        let notes = rows.notes().len() - usize::from(rows.state() == State::Cut && !rows.notes().is_empty());
        rows.notes().iter().take(notes).for_each(|note| self.note(note));
        finished(&*rows, session.name())
    }

    /// Asks for a table, and tells how long that took.
    fn ask(&self, session: &Session, entry: &'static Entry, scope: Scope) -> Result<Arc<dyn Rows>, Stop> {
        let (name, started) = (entry.table.name, Instant::now());
        let _progress = self.progress(format!("{name} of {}", session.name()));
        let rows = session.query(entry, scope, &self.interrupts.watch)?;
        self.detail(&format!("{name}: {} rows in {:.2?}", rows.len(), started.elapsed()));
        Ok(rows)
    }

    /// Opens an image of which tables will be asked.
    fn open(&self, image: &Path) -> Result<Session, Stop> {
        self.open_for(image, Ahead::Tables)
    }

    /// Opens an image and tells what it makes of it.
    fn open_for(&self, image: &Path, ahead: Ahead) -> Result<Session, Stop> {
        self.refuse_existing_output()?;
        let started = Instant::now();
        let progress = self.progress(format!("opening {}", image.display()));
        let opened = Session::open(image, &Options { ahead, ..self.options() }, &self.interrupts.watch);
        drop(progress);
        if self.interrupts.watch.cancelled() {
            return Err(Stop::Interrupted);
        }
        let session = opened?;
        let info = session.info();
        if info.os == Origin::Linux {
            for path in &self.common.pagefile {
                self.note(&format!("--pagefile {}: not used, only page files of Windows are read", path.display()));
            }
        }
        let passed = info.checks.iter().filter(|check| check.passed).count();
        self.detail(&format!(
            "{}: {}; {}; {passed} of {} checks passed, opened in {:.2?}",
            session.name(),
            info.format,
            info.symbol_source,
            info.checks.len(),
            started.elapsed()
        ));
        info.warnings.iter().for_each(|warning| self.note(&format!("{}: {warning}", session.name())));
        Ok(session)
    }

    fn options(&self) -> Options {
        Options {
            symbols: self.common.symbols.clone(),
            pagefiles: self.common.pagefile.clone(),
            logs: self.common.evtx.clone(),
            sysmon_config: self.common.sysmon_config.clone(),
            ahead: Ahead::Tables,
        }
    }

    /// The process object that a PID means. PIDs are reused: the living one is meant, and whoever is left out is told of.
    fn process(&self, session: &Session, pid: u32) -> Result<Process, Stop> {
        let entry = find_table("processes").ok_or_else(|| Stop::Failed("no table of processes".to_owned()))?;
        let rows = session.query(entry, Scope::Pid(pid), &self.interrupts.watch)?;
        if rows.state() == State::Cancelled {
            return Err(Stop::Interrupted);
        }
        let answer = rows.as_any().downcast_ref::<crate::facts::Answer<Process>>();
        let mut found: Vec<&Process> = answer.into_iter().flat_map(|answer| answer.iter()).filter(|process| process.pid == pid).collect();
        found.retain(|process| process.address.value().is_some());
        found.sort_by_key(|process| match process.state {
            ProcessState::Running | ProcessState::Hidden => 0,
            ProcessState::Zombie => 1,
            ProcessState::Exited => 2,
        });
        let Some((first, others)) = found.split_first() else {
            let name = session.name();
            return Err(Stop::Failed(format!("{name}: no process has PID {pid}; `kioku query {name} processes` lists them")));
        };
        if !others.is_empty() {
            let state = first.state.word();
            self.note(&format!("{} process objects have PID {pid}; this is {} ({state})", found.len(), first.name));
        }
        Ok((*first).clone())
    }

    fn format(&self) -> report::Format {
        self.common.format.into()
    }

    /// Writes results to standard output or to the file of `--output`, which must be new: no slip of the hand writes over evidence.
    fn write(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Stop> {
        let Some(path) = &self.common.output else { return self.print(write) };
        self.interrupts.writing(true);
        let written = File::create_new(path).and_then(|mut file| write(&mut file));
        self.interrupts.writing(false);
        written.map_err(|why| unwritten(&path.display().to_string(), &why))
    }

    /// Writes results to standard output.
    fn print(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Stop> {
        self.interrupts.writing(true);
        let mut out = io::stdout().lock();
        let written = write(&mut out).and_then(|()| out.flush());
        self.interrupts.writing(false);
        written.map_err(|why| unwritten("standard output", &why))
    }

    /// Better said before a long analysis than after it.
    fn refuse_existing_output(&self) -> Result<(), Stop> {
        match &self.common.output {
            Some(path) if path.symlink_metadata().is_ok_and(|found| !found.is_dir()) => Err(exists(&path.display().to_string())),
            _ => Ok(()),
        }
    }

    fn progress(&self, label: String) -> Option<Progress> {
        (!self.common.quiet).then(|| Progress::start(label, self.interrupts.watch.clone()))
    }
    fn note(&self, text: &str) {
        if !self.common.quiet {
            say(text);
        }
    }
    fn detail(&self, text: &str) {
        if self.common.verbose {
            say(text);
        }
    }
}

impl args::Trail {
    /// What is wrong with a file that was named is said before anything is done.
    fn check(&self) -> Result<(), Stop> {
        self.case.as_ref().map_or(Ok(()), |path| Store::check(path).map_err(Stop::Failed))
    }
}

/// Where notes are kept; none of a bundled image unless a file for them is named.
fn plan(case: Option<PathBuf>, never: bool, demo: bool) -> Plan {
    match case {
        Some(path) => Plan::At(path),
        None if never || demo => Plan::Never,
        None => Plan::usual(),
    }
}

fn unwritten(place: &str, why: &io::Error) -> Stop {
    match why.kind() {
        io::ErrorKind::BrokenPipe => Stop::Unread,
        io::ErrorKind::AlreadyExists => exists(place),
        _ => Stop::Failed(format!("{place}: {why}")),
    }
}

fn exists(place: &str) -> Stop {
    Stop::Failed(format!("{place}: exists already and is not written over; name another place"))
}

/// Whether an answer, now printed, is the whole one.
fn finished(rows: &dyn Rows, image: &str) -> Result<(), Stop> {
    match rows.state() {
        State::Complete | State::Running => Ok(()),
        State::Cancelled => Err(Stop::Interrupted),
        State::Cut => {
            let why = rows.notes().last().map_or("part of what it needs cannot be read", String::as_str);
            Err(Stop::Failed(format!("{image}: {} could not be finished: {why}", rows.table().name)))
        }
    }
}
