//! Tables that are made of other tables, whose answers the session keeps.

use super::{Session, System};
use crate::address::VirtAddr;
use crate::facts::event::Fields;
use crate::facts::{Answer, Event, Finding, Known, Process, Rows as _, Scope, Sink, Watch};
use crate::{events, findings, linux, windows};
use std::collections::HashMap;
use std::sync::Arc;

/// What writes events on Linux.
const SYSMON: &str = "sysmon";

/// The machine's process objects as its structures have them.
fn machine(session: &Session, watch: &Arc<Watch>) -> Arc<Answer<Process>> {
    session.0.processes.or_search(watch, || walk(session, Scope::Machine, watch))
}

fn walk(session: &Session, scope: Scope, watch: &Arc<Watch>) -> Answer<Process> {
    let mut found = Sink::new(Arc::clone(watch));
    match session.system() {
        System::Windows(windows) => windows::processes(windows, scope, &mut found),
        System::Linux(linux) => linux::processes(linux, scope, &mut found),
    }
    Arc::unwrap_or_clone(found.finish())
}

/// Process objects with what the events of their start say.
pub fn processes(session: &Session, scope: Scope, out: &mut Sink<Process>) {
    let found = match scope {
        Scope::Machine => machine(session, out.watch()),
        _ => Arc::new(walk(session, scope, out.watch())),
    };
    found.notes().iter().for_each(|note| out.note(note.clone()));
    // Most images hold no such log, and then no event is looked for.
    let logged = match session.system() {
        System::Windows(windows) => events::holds_sysmon(windows, out.watch()),
        System::Linux(_) => found.iter().any(|process| process.name == SYSMON),
    };
    let starts = if logged { starts(session, out.watch()) } else { Ok(HashMap::new()) };
    let starts = starts.unwrap_or_else(|why| {
        out.note(format!("no process was joined with the event of its start: {why}"));
        HashMap::new()
    });
    for process in found.iter() {
        let mut process = process.clone();
        if let Some(event) = process.address.value().and_then(|address| starts.get(address)) {
            let text = |name| told(&event.data, name);
            process.process_guid = event.process_guid.clone();
            process.hashes = text("Hashes");
            process.parent_command_line = text("ParentCommandLine");
            process.user = text("User");
            process.event_join = event.join.clone();
        }
        out.push(process);
    }
}

/// Judgements of what the tables say. What events say of a process's start takes long to find, and is not judged.
pub fn findings(session: &Session, scope: Scope, out: &mut Sink<Finding>) {
    let processes = machine(session, out.watch());
    match session.system() {
        System::Windows(windows) => findings::findings_of_windows(windows, session, &processes, scope, out),
        System::Linux(linux) => findings::findings_of_linux(linux, session, &processes, scope, out),
    }
}

/// A field that says something: Sysmon writes a dash for what it does not know.
fn told(fields: &Fields, name: &str) -> Known<String> {
    fields.text(name).filter(|text| !text.is_empty() && *text != "-").map(str::to_owned).into()
}

/// Sysmon's events of processes' starts, by the process object that each joins.
fn starts(session: &Session, watch: &Arc<Watch>) -> Result<HashMap<VirtAddr, Event>, super::Error> {
    let events = session.typed::<Event>(Scope::Machine, watch)?;
    let mut starts = HashMap::new();
    for event in events.iter().filter(|event| events::is_start(event)) {
        if let Some(address) = event.process_address.value() {
            starts.entry(*address).or_insert_with(|| event.clone());
        }
    }
    Ok(starts)
}
