//! Event-log records (Sysmon and others), from files and from memory, and their join with processes and sockets. Nothing here knows how
//! a structure of the system is laid out.

mod binxml;
mod carve;
mod connections;
mod draft;
mod file;
mod join;
mod linux;
mod log;
mod meaning;
mod noise;
mod retention;
mod rules;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod samples;
mod sysmon;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod xml;

pub use connections::socket_noise;
pub use file::LogFile;
pub use linux::{events as linux_events, is_log as is_linux_log, of_file as of_linux_log};
pub use meaning::{happened, is_start, moment_kind};

use crate::facts::event::{Connection, Event};
use crate::facts::{Process, Rows as _, Scope, Sink, Socket, SysmonRule, Watch};
use crate::windows::{self, Windows};
use join::Machine;
use log::{Log, once};
use rules::Config;
use std::sync::Arc;

/// All records of an image and of the logs given with it, joined with its processes; and what is to be said of them.
fn gather(windows: &Windows, watch: &Arc<Watch>) -> (Vec<Event>, Machine, Vec<String>) {
    let (mut log, mut events) = (Log::default(), Vec::new());
    let mut notes = carve::carve(windows, watch, &mut log, &mut events);
    for path in windows.logs() {
        let name = path.display();
        let read = LogFile::open(path).map_err(|why| why.to_string()).and_then(|file| {
            file.read_into(watch, &mut log, |found| {
                events.extend(found);
                true
            })
            .map_err(|why| why.to_string())
        });
        if let Err(why) = read {
            notes.push(format!("{name}: {why}"));
        }
    }
    log.finish(&mut events);
    notes.extend(log.tally.notes());
    let (mut events, again) = once(events);
    if again > 0 {
        notes.push(format!("{again} records were found in more than one place and are listed once"));
    }
    events.sort_by_key(|event| (event.time.value().copied(), event.record_id.value().copied()));
    let machine = Machine::new(windows, &events, watch);
    notes.extend(machine.join(&mut events));
    (events, machine, notes)
}

/// Whether there is a log of Sysmon to read: given with the image, or in memory.
pub fn holds_sysmon(windows: &Windows, watch: &Watch) -> bool {
    !windows.logs().is_empty() || carve::holds_provider(windows, &sysmon::PROVIDER, watch)
}

/// Whether an event is of a machine that is known to be another one.
pub fn is_foreign(event: &Event) -> bool {
    event.reason.value() == Some(&join::FOREIGN)
}

pub fn events(windows: &Windows, scope: Scope, out: &mut Sink<Event>) {
    let (events, _, notes) = gather(windows, out.watch());
    if events.is_empty() {
        out.note("no event record was found in memory; --evtx names log files of the machine");
    }
    notes.into_iter().for_each(|note| out.note(note));
    out.extend(events.into_iter().filter(|event| is_about(event, scope)));
}

fn is_about(event: &Event, scope: Scope) -> bool {
    match scope {
        Scope::Pid(pid) => event.pid.value() == Some(&pid),
        Scope::Process(process) => event.process_address.value() == Some(&process),
        _ => true,
    }
}

pub fn connections(windows: &Windows, scope: Scope, out: &mut Sink<Connection>) {
    let (events, machine, notes) = gather(windows, out.watch());
    let mut sockets = Sink::<Socket>::new(Arc::default());
    windows::sockets(windows, Scope::Machine, &mut sockets);
    let sockets = sockets.finish();
    let live: Vec<Socket> = sockets.iter().cloned().collect();
    let mut processes = Sink::<Process>::new(Arc::default());
    windows::processes(windows, Scope::Machine, &mut processes);
    let path = |process: &Process| Some((*process.address.value()?, process.path.value()?.clone()));
    let (config, source) = configuration(windows);
    let context = connections::Context {
        machine: &machine,
        capture: windows.info().capture_time.value().copied(),
        paths: processes.finish().iter().filter_map(path).collect(),
        config: config.as_ref(),
    };
    let (rows, told) = connections::list(&events, &live, &context);
    notes.into_iter().chain(told).chain(sockets.notes().iter().cloned()).for_each(|note| out.note(note));
    out.note(source);
    let about = |row: &Connection| match scope {
        Scope::Pid(pid) => row.pid.value() == Some(&pid),
        Scope::Process(process) => row.process_address.value() == Some(&process),
        _ => true,
    };
    out.extend(rows.into_iter().filter(about));
}

/// The rules of Sysmon's configuration.
pub fn sysmon_config(windows: &Windows, _: Scope, out: &mut Sink<SysmonRule>) {
    let (config, source) = configuration(windows);
    out.note(source.replace("would_be_logged goes by", "these are").replace("would_be_logged is unknown", "no configuration of Sysmon"));
    out.extend(config.iter().flat_map(Config::rows));
}

/// The rules of a configuration that is a file: XML, or the registry's value Rules.
pub fn sysmon_config_of(bytes: &[u8]) -> Result<Vec<SysmonRule>, String> {
    Ok(Config::parse(bytes)?.rows())
}

/// Sysmon's configuration: the one given, else the one in the registry; and what is to be said of it.
fn configuration(windows: &Windows) -> (Option<Config>, String) {
    if let Some(path) = windows.sysmon_config() {
        let read = std::fs::read(path).map_err(|why| why.to_string()).and_then(|bytes| Config::parse(&bytes));
        return match read {
            Ok(config) => {
                (Some(config), "would_be_logged goes by the configuration given, which need not have been in force then".to_owned())
            }
            Err(why) => (None, format!("would_be_logged is unknown: {}: {why}", path.display())),
        };
    }
    // The driver may bear any name; its rules do not.
    let mut trouble = "no service in the registry has the rules of Sysmon; --sysmon-config gives them".to_owned();
    let keys = windows.service_parameters("Rules").unwrap_or_else(|why| {
        trouble = format!("the registry was not read: {why}");
        Vec::new()
    });
    for key in keys {
        let value = |name| windows.registry_value(&key, name);
        let config = match value("Rules") {
            Ok(Some(rules)) => Config::parse(&rules),
            Ok(None) => continue,
            Err(why) => Err(why.to_string()),
        };
        match config {
            Ok(mut config) => {
                let off = matches!(value("Options").ok().flatten().as_deref(), Some([options, ..]) if options & 1 == 0);
                if off {
                    config.switch_off();
                }
                return (
                    Some(config),
                    format!("would_be_logged goes by the rules in {key}, which hold since they were last changed (event 16)"),
                );
            }
            Err(why) => trouble = format!("{key}: {why}"),
        }
    }
    (None, format!("would_be_logged is unknown: {trouble}"))
}
