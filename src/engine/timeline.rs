//! What happened when: one list out of every table whose rows have times.

use super::{Session, System};
use crate::address::VirtAddr;
use crate::events;
use crate::facts::linux::{CachedFile, LogRecord, ShellHistory};
use crate::facts::windows::Hive;
use crate::facts::{
    Answer, Cell, Event, Known, Library, Module, Moment, MomentKind, Process, ProcessState, Record, Rows as _, Scope, Sink, Socket, State,
    Time, macb,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Moments that are kept.
const MOST: usize = 4 << 20;

/// The moments as they are gathered.
struct Gathering<'a> {
    session: &'a Session,
    scope: Scope,
    out: &'a mut Sink<Moment>,
    moments: Vec<(Time, Moment)>,
    /// Rows without the time that they should have, by table.
    timeless: BTreeMap<&'static str, usize>,
    full: bool,
}

pub fn timeline(session: &Session, scope: Scope, out: &mut Sink<Moment>) {
    let mut all = Gathering { session, scope, out, moments: Vec::new(), timeless: BTreeMap::new(), full: false };
    all.processes();
    match session.system() {
        System::Linux(_) => {
            all.shell_history();
            all.events();
            if scope == Scope::Machine {
                all.kernel_log();
                all.files();
            }
        }
        System::Windows(_) => {
            all.sockets();
            all.libraries();
            all.events();
            if scope == Scope::Machine {
                all.modules();
                all.registry();
            }
        }
    }
    if scope == Scope::Machine {
        all.bounds();
    } else {
        all.out.note("times of files, registry keys, modules and the kernel's log belong to no process: the machine's timeline has them");
    }
    all.finish();
}

/// What could not be read of a row: its moments may say less for it.
fn problems<T: Record>(row: &T) -> Vec<String> {
    match T::TABLE.columns.len().checked_sub(1).map(|last| row.cell(last)) {
        Some(Cell::List(items)) => items.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

impl Gathering<'_> {
    /// The rows of a table; what it says of itself is said here.
    fn ask<T: Record + Clone>(&mut self, scope: Scope) -> Option<Answer<T>> {
        if self.out.cancelled() || self.full {
            return None;
        }
        match self.session.typed::<T>(scope, self.out.watch()) {
            Ok(answer) => {
                match answer.state() {
                    State::Cut => self.out.cut(format!("{} could not be finished: {}", T::TABLE.name, answer.notes().join("; "))),
                    _ => answer.notes().iter().for_each(|note| self.out.note(format!("{}: {note}", T::TABLE.name))),
                }
                Some(answer)
            }
            Err(why) => {
                self.out.note(format!("{} is missing: {why}", T::TABLE.name));
                None
            }
        }
    }

    /// Keeps a moment. Without a time it is counted.
    fn add(&mut self, time: Option<Time>, moment: Moment) {
        match time {
            Some(_) if self.moments.len() >= MOST => self.full = true,
            Some(time) => self.moments.push((time, Moment { time: Known::Value(time), ..moment })),
            None => *self.timeless.entry(moment.source).or_default() += 1,
        }
    }

    /// Whether a row of a process object is asked for; a PID alone tells no process object from another.
    fn wants(&self, pid: Option<u32>, process: Option<VirtAddr>) -> bool {
        match self.scope {
            Scope::Machine => true,
            Scope::Pid(wanted) => pid == Some(wanted),
            Scope::Process(wanted) => process == Some(wanted),
            Scope::Key { .. } => false,
        }
    }

    fn processes(&mut self) {
        let Some(processes) = self.ask::<Process>(Scope::Machine) else { return };
        for process in processes.iter() {
            let address = process.address.value().or(process.physical_address.value().map(|at| VirtAddr(at.0)).as_ref()).copied();
            if !self.wants(Some(process.pid), address) {
                continue;
            }
            let moment = Moment {
                pid: Known::Value(process.pid),
                process: Known::Value(process.name.clone()),
                source: Process::TABLE.name,
                reference: process.address.clone(),
                process_address: process.address.clone(),
                problems: problems(process),
                ..Moment::default()
            };
            // The kernel starts many by itself. One that the lists do not show is no noise.
            let kernels = process.kernel_thread.value() == Some(&true) && process.state != ProcessState::Hidden;
            let moment = Moment { noise: kernels.then_some("kernel_thread").into(), ..moment };
            let who = format!("{} ({})", process.name, process.pid);
            let how = process.command_line.value().or(process.path.value()).filter(|text| !text.is_empty());
            let summary = how.map_or_else(|| format!("{who} started"), |how| format!("{who} started: {how}"));
            let start = Moment { kind: MomentKind::ProcessStart, summary, ..moment.clone() };
            self.add(process.create_time.value().copied(), start);
            let over = process.state == ProcessState::Exited || process.exit_time.value().is_some();
            if over {
                let end = Moment { kind: MomentKind::ProcessEnd, summary: format!("{who} ended"), ..moment };
                self.add(process.exit_time.value().copied(), end);
            }
        }
    }

    fn sockets(&mut self) {
        let Some(sockets) = self.ask::<Socket>(Scope::Machine) else { return };
        for socket in sockets.iter() {
            if !self.wants(socket.pid.value().copied(), socket.process_address.value().copied()) {
                continue;
            }
            let end = |address: &Known<String>, port: &Known<u16>| {
                let port = port.value().map_or_else(|| "*".to_owned(), ToString::to_string);
                match address.value() {
                    Some(address) if address.contains(':') => format!("[{address}]:{port}"),
                    Some(address) => format!("{address}:{port}"),
                    None => format!("*:{port}"),
                }
            };
            let local = end(&socket.local_address, &socket.local_port);
            let state = socket.state.value().map(|state| format!(", {state}")).unwrap_or_default();
            let summary = match socket.remote_address.value().is_some() && socket.remote_port.value().is_some_and(|port| *port != 0) {
                true => format!("{} socket made: {local} - {}{state}", socket.protocol, end(&socket.remote_address, &socket.remote_port)),
                false => format!("{} socket made: {local}{state}", socket.protocol),
            };
            let moment = Moment {
                kind: MomentKind::Connection,
                pid: socket.pid.clone(),
                process: socket.process.clone(),
                summary,
                source: Socket::TABLE.name,
                reference: Known::Value(socket.address),
                process_address: socket.process_address.clone(),
                noise: events::socket_noise(socket).into(),
                problems: problems(socket),
                ..Moment::default()
            };
            self.add(socket.create_time.value().copied(), moment);
        }
    }

    fn libraries(&mut self) {
        let Some(libraries) = self.ask::<Library>(self.scope) else { return };
        for library in libraries.iter() {
            let moment = Moment {
                kind: MomentKind::ImageLoad,
                pid: Known::Value(library.pid),
                process: Known::Value(library.process.clone()),
                summary: format!("{} ({}) loaded {}", library.process, library.pid, library.path.value().map_or("??", String::as_str)),
                source: Library::TABLE.name,
                reference: Known::Value(library.base),
                process_address: match self.scope {
                    Scope::Process(address) => Known::Value(address),
                    _ => Known::Absent,
                },
                problems: problems(library),
                ..Moment::default()
            };
            self.add(library.load_time.value().copied(), moment);
        }
    }

    fn events(&mut self) {
        let Some(events) = self.ask::<Event>(Scope::Machine) else { return };
        let mut foreign = 0;
        for event in events.iter() {
            if !self.wants(event.pid.value().copied(), event.process_address.value().copied()) {
                continue;
            }
            if events::is_foreign(event) {
                foreign += 1;
                continue;
            }
            let name = event.image.value().map(|image| image.rsplit(['\\', '/']).next().unwrap_or(image).to_owned());
            let number = event.event_id.value().map(|id| format!("{id} ")).unwrap_or_default();
            let moment = Moment {
                kind: events::moment_kind(event),
                pid: event.pid.clone(),
                process: name.into(),
                summary: match event.summary.is_empty() {
                    true => format!("{} event {number}", event.provider.value().map_or("", |name| name)).trim_end().to_owned(),
                    false => event.summary.clone(),
                },
                source: Event::TABLE.name,
                record_id: event.record_id.clone(),
                noise: event.noise.clone(),
                process_address: event.process_address.clone(),
                problems: problems(event),
                ..Moment::default()
            };
            self.add(events::happened(event), moment);
        }
        if foreign > 0 {
            self.out.note(format!("{foreign} records are of another machine and left out; the table events has them"));
        }
    }

    fn modules(&mut self) {
        let Some(modules) = self.ask::<Module>(Scope::Machine) else { return };
        for module in modules.iter().filter(|module| module.state == "unloaded") {
            let moment = Moment {
                kind: MomentKind::ModuleUnload,
                summary: format!("the driver {} was unloaded", module.name.value().map_or("??", String::as_str)),
                source: Module::TABLE.name,
                reference: Known::Value(module.address),
                problems: problems(module),
                ..Moment::default()
            };
            self.add(module.unload_time.value().copied(), moment);
        }
    }

    fn registry(&mut self) {
        let System::Windows(windows) = self.session.system() else { return };
        if self.out.cancelled() || self.full {
            return;
        }
        let watch = Arc::clone(self.out.watch());
        let moment = |summary: String, source, address| Moment {
            kind: MomentKind::Registry,
            macb: Known::Value(macb(true, false, false, false)),
            summary,
            source,
            reference: Known::Value(address),
            ..Moment::default()
        };
        let notes = windows.key_times(&watch, |time, path, address| {
            self.add(time, moment(format!("last write to {path}"), "registry", address));
            !self.full
        });
        notes.into_iter().for_each(|note| self.out.note(note));
        let Some(hives) = self.ask::<Hive>(Scope::Machine) else { return };
        // What is kept in memory only was never written to a file.
        for hive in hives.iter().filter(|hive| hive.last_write.value().is_some()) {
            let name = [&hive.file, &hive.name].into_iter().find_map(Known::value).cloned().unwrap_or_default();
            let summary = format!("last write to the hive file {name}");
            self.add(hive.last_write.value().copied(), moment(summary, Hive::TABLE.name, hive.address));
        }
    }

    fn shell_history(&mut self) {
        let Some(commands) = self.ask::<ShellHistory>(self.scope) else { return };
        for command in commands.iter() {
            let moment = Moment {
                kind: MomentKind::ShellCommand,
                pid: Known::Value(command.pid),
                process: Known::Value(command.process.clone()),
                summary: command.command.clone(),
                source: ShellHistory::TABLE.name,
                reference: Known::Value(command.address),
                process_address: match self.scope {
                    Scope::Process(address) => Known::Value(address),
                    _ => Known::Absent,
                },
                problems: problems(command),
                ..Moment::default()
            };
            self.add(command.time.value().copied(), moment);
        }
    }

    fn kernel_log(&mut self) {
        let Some(records) = self.ask::<LogRecord>(Scope::Machine) else { return };
        for record in records.iter() {
            let moment = Moment {
                summary: record.text.clone(),
                source: LogRecord::TABLE.name,
                record_id: Known::Value(record.sequence),
                problems: problems(record),
                ..Moment::default()
            };
            self.add(record.time.value().copied(), moment);
        }
    }

    fn files(&mut self) {
        let Some(files) = self.ask::<CachedFile>(Scope::Machine) else { return };
        for file in files.iter() {
            // The blocks of a device are no file.
            let Some(path) = file.path.value() else { continue };
            let times = [&file.modify_time, &file.access_time, &file.change_time].map(|time| time.value().copied());
            let [modified, accessed, changed] = times;
            let mut distinct: Vec<Time> = times.into_iter().flatten().collect();
            distinct.sort();
            distinct.dedup();
            if distinct.is_empty() {
                *self.timeless.entry(CachedFile::TABLE.name).or_default() += 1;
            }
            for time in distinct {
                let is = |told: Option<Time>| told == Some(time);
                let whats = [(is(modified), "contents modified"), (is(changed), "inode changed"), (is(accessed), "accessed")];
                let whats: Vec<&str> = whats.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
                let deleted = if file.deleted { " (deleted)" } else { "" };
                let moment = Moment {
                    kind: MomentKind::FileTime,
                    macb: Known::Value(macb(is(modified), is(accessed), is(changed), false)),
                    summary: format!("last {}: {path}{deleted}", whats.join(", ")),
                    source: CachedFile::TABLE.name,
                    reference: Known::Value(file.address),
                    problems: problems(file),
                    ..Moment::default()
                };
                self.add(Some(time), moment);
            }
        }
    }

    /// When the machine was started and when its memory was taken.
    fn bounds(&mut self) {
        let info = self.session.info();
        let ends =
            [(MomentKind::Boot, "the machine was started", &info.boot_time), (MomentKind::Capture, "memory was taken", &info.capture_time)];
        for (kind, summary, time) in ends {
            if let Some(time) = time.value() {
                self.add(Some(*time), Moment { kind, summary: summary.to_owned(), source: "info", ..Moment::default() });
            }
        }
    }

    fn finish(mut self) {
        for (table, count) in std::mem::take(&mut self.timeless) {
            self.out.note(format!("{count} times of {table} are not known; their moments are left out"));
        }
        if self.full {
            self.out.cut(format!("more than {MOST} moments are not kept"));
        }
        if self.moments.is_empty() {
            self.out.note("no row of any table has a time");
        }
        self.moments.sort_by_key(|(time, moment)| (time.nanoseconds(), moment.kind));
        self.out.extend(self.moments.into_iter().map(|(_, moment)| moment));
    }
}
