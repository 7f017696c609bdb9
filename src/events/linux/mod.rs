//! Logs of Linux: the journal, the lines of syslog daemons, logins, and Sysmon's events among them; out of the page cache, or of a file.

mod journal;
mod sparse;
mod syslog;
mod utmp;

use super::meaning::{self, LINUX_SYSMON};
use super::sysmon;
use super::xml::{Token, Tokens};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::event::{Event, Fields, Guid, Join, Value};
use crate::facts::{Known, Process, ProcessState, Scope, Sink, Time, Watch};
use crate::linux::{self, Linux};
use sparse::Sparse;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Bytes of one log that are read: systemd makes no larger journals.
const MOST_BYTES: u64 = 512 << 20;
const SECOND: i128 = 1_000_000_000;
/// Text logs by the names that daemons give them, rotated ones with a number behind.
const TEXTS: [&str; 15] = [
    "syslog",
    "messages",
    "auth.log",
    "secure",
    "kern.log",
    "daemon.log",
    "cron",
    "cron.log",
    "maillog",
    "mail.log",
    "user.log",
    "debug",
    "boot.log",
    "local7.log",
    "sysmon.log",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Journal,
    Text,
    Logins(&'static str),
    LastLogins,
}

/// What a log is, by its name.
fn kind_of(name: &str) -> Option<Kind> {
    let stem = match name.rsplit_once('.') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        _ => name,
    };
    let logins = ["wtmp", "btmp", "utmp"].into_iter().find(|known| *known == stem);
    match stem {
        _ if name.ends_with(".journal") || name.ends_with(".journal~") => Some(Kind::Journal),
        _ if logins.is_some() => logins.map(Kind::Logins),
        "lastlog" => Some(Kind::LastLogins),
        stem => TEXTS.contains(&stem).then_some(Kind::Text),
    }
}

/// What a file of the machine is, by its path.
fn kind_at(path: &str) -> Option<Kind> {
    let logs = ["/var/log/", "/run/log/", "/run/utmp", "/var/run/utmp"].iter().any(|folder| path.starts_with(folder));
    kind_of(path.rsplit('/').next()?).filter(|_| logs)
}

fn read(kind: Kind, file: &Sparse, name: &str, source: &dyn Fn(u64) -> String, out: &mut Vec<Event>) -> Vec<String> {
    let from = out.len();
    let notes = match kind {
        Kind::Journal => journal::read(file, source, out),
        Kind::Text => syslog::read(file, name, source, out),
        Kind::Logins(name) => utmp::read(file, name, source, out),
        Kind::LastLogins => utmp::last_logins(file, source, out),
    };
    out.iter_mut().skip(from).for_each(sysmon_of);
    notes.into_iter().map(|note| format!("{name}: {note}")).collect()
}

/// Whether a file is a log of Linux.
pub fn is_log(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (read.is_ok() && magic == *journal::MAGIC) || kind_of(&name).is_some_and(|kind| kind != Kind::Journal)
}

/// The records of a log file; and what is to be said of them.
pub fn of_file(path: &Path) -> Result<(Vec<Event>, Vec<String>), String> {
    use std::io::Read as _;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|why| why.to_string())?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|why| why.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("the log is larger than {} MiB", MOST_BYTES >> 20));
    }
    let kind = if bytes.starts_with(journal::MAGIC) { Kind::Journal } else { kind_of(&name).ok_or("no log of a kind that is known")? };
    let mut events = Vec::new();
    let notes = read(kind, &Sparse::whole(&bytes), &name, &|at| format!("{name}:{at:#x}"), &mut events);
    Ok((events, notes))
}

/// An event of Sysmon for Linux is the XML of one of Windows, as the message of a line.
fn sysmon_of(event: &mut Event) {
    if event.provider.value().is_none_or(|provider| &**provider != "sysmon") || !event.summary.starts_with("<Event>") {
        return;
    }
    let mut fields: Vec<(Arc<str>, Value)> = Vec::new();
    let mut label: Option<String> = None;
    let mut text = String::new();
    let message = std::mem::take(&mut event.summary);
    let mut told: HashMap<&str, String> = HashMap::new();
    for token in Tokens::new(&message) {
        let Ok(token) = token else { break };
        match token {
            Token::Start { name, attributes, .. } => {
                let attribute = |wanted: &str| attributes.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
                match name {
                    "Provider" => drop(attribute("Name").map(|name| told.insert("Provider", name))),
                    "TimeCreated" => drop(attribute("SystemTime").map(|time| told.insert("TimeCreated", time))),
                    "Data" => label = attribute("Name"),
                    _ => {}
                }
                text.clear();
            }
            Token::Text(more) => text.push_str(&more),
            Token::End(name) => {
                let value = std::mem::take(&mut text);
                match (name, label.take()) {
                    ("Data", Some(label)) if fields.len() < 256 => fields.push((label.into(), Value::Text(value.into()))),
                    ("EventID" | "EventRecordID" | "Version" | "Computer", _) => drop(told.insert(name, value)),
                    _ => {}
                }
            }
        }
    }
    let number = |name: &str| told.get(name).and_then(|text| text.trim().parse::<u64>().ok());
    let id = number("EventID").and_then(|id| u32::try_from(id).ok());
    if told.get("Provider").map(String::as_str) != Some(LINUX_SYSMON) || id.is_none() || fields.is_empty() {
        event.summary = message;
        return;
    }
    // The writer's own fields are the daemon's, not those of what it tells of.
    event.provider = Known::Value(LINUX_SYSMON.into());
    event.event_id = id.into();
    event.record_id = number("EventRecordID").or(event.record_id.value().copied()).into();
    event.version = number("Version").and_then(|version| u8::try_from(version).ok()).into();
    if let Some(computer) = told.get("Computer").filter(|name| !name.is_empty()) {
        event.computer = Known::Value(computer.as_str().into());
    }
    if let Some(time) = told.get("TimeCreated").and_then(|time| Time::parse(time)) {
        event.time = Known::Value(time);
        event.problems.retain(|problem| !problem.starts_with("its time has neither"));
    }
    event.data = Fields(fields);
    meaning::add(event);
}

/// All records in the page cache, joined with the processes; and what is to be said of them.
fn gather(linux: &Linux, watch: &Arc<Watch>) -> (Vec<Event>, Vec<String>) {
    let (files, mut notes) = linux.cached_files(|path| kind_at(path).is_some(), watch);
    let mut events = Vec::new();
    for cached in files {
        if watch.cancelled() {
            break;
        }
        let Some(kind) = kind_at(&cached.path) else { continue };
        let mut file = Sparse::new(cached.size);
        let mut page = [0; PAGE_SIZE as usize];
        for (index, frame) in cached.pages.iter().take((MOST_BYTES / PAGE_SIZE) as usize) {
            if linux.physical(*frame, &mut page).is_ok() {
                file.put(*index, page);
            }
        }
        let deleted = if cached.deleted { " (deleted)" } else { "" };
        let source = |at: u64| format!("{}{deleted}:{at:#x}", cached.path);
        notes.extend(read(kind, &file, &cached.path, &source, &mut events));
    }
    events.sort_by_key(|event| (event.time.value().copied(), event.record_id.value().copied()));
    join(linux, &mut events, watch);
    (events, notes)
}

pub fn events(linux: &Linux, scope: Scope, out: &mut Sink<Event>) {
    let watch = Arc::clone(out.watch());
    let (events, notes) = gather(linux, &watch);
    if events.is_empty() {
        out.note("the page cache holds no journal, no log of a syslog daemon and no logins");
    }
    notes.into_iter().for_each(|note| out.note(note));
    out.extend(events.into_iter().filter(|event| super::is_about(event, scope)));
}

/// A process object, as far as events tell one from another.
struct Candidate {
    address: VirtAddr,
    created: Option<i128>,
    gone: bool,
}

fn join(linux: &Linux, events: &mut [Event], watch: &Arc<Watch>) {
    let mut processes = Sink::<Process>::new(Arc::clone(watch));
    if !events.is_empty() {
        linux::processes(linux, Scope::Machine, &mut processes);
    }
    let mut by_pid: HashMap<u32, Vec<Candidate>> = HashMap::new();
    for process in processes.finish().iter() {
        if let Some(address) = process.address.value() {
            let created = process.create_time.value().map(|time| time.nanoseconds());
            let gone = process.state == ProcessState::Exited;
            by_pid.entry(process.pid).or_default().push(Candidate { address: *address, created, gone });
        }
    }
    let host = linux.info().hostname.value().map(String::as_str);
    let capture = linux.info().capture_time.value().map(|time| time.nanoseconds());
    for event in events {
        match candidate(event, &by_pid, host, capture) {
            Ok((process, join, reason)) => {
                event.process_address = Known::Value(process);
                (event.join, event.reason) = (Known::Value(join), Known::Value(reason));
            }
            Err(reason) => event.reason = Known::Value(reason),
        }
    }
}

fn candidate(
    event: &Event,
    by_pid: &HashMap<u32, Vec<Candidate>>,
    host: Option<&str>,
    capture: Option<i128>,
) -> Result<(VirtAddr, Join, &'static str), &'static str> {
    let short = |name: &str| name.split('.').next().unwrap_or(name).to_lowercase();
    match (event.computer.value(), host) {
        (Some(computer), Some(host)) if short(computer) != short(host) => return Err(super::join::FOREIGN),
        (Some(_), Some(_)) => {}
        _ => return Err("nothing says that its log is this machine's"),
    }
    let pid = event.pid.value().ok_or("it names no process")?;
    let known = by_pid.get(pid).ok_or("no process object with this PID is left")?;
    let one = |found: Vec<&Candidate>| match found.as_slice() {
        [one] => Some(one.address),
        _ => None,
    };
    if let Some(identity) = event.process_guid.value().and_then(|guid: &Guid| sysmon::Identity::of(*guid)) {
        // Sysmon reckons the start from the clock's ticks since a boot time in whole seconds.
        let began = i128::from(identity.seconds);
        let near = |process: &&Candidate| process.created.is_some_and(|created| (created.div_euclid(SECOND) - began).abs() <= 1);
        return match one(known.iter().filter(near).collect()) {
            Some(process) => Ok((process, Join::Exact, "PID and start second agree")),
            None => Err("the PID is another process's here: it began at another time"),
        };
    }
    let time = event.time.value().ok_or("its time is not known")?.nanoseconds();
    if capture.is_some_and(|capture| time > capture) {
        return Err("it is of a time after memory was taken");
    }
    // When one that is gone ended is not known: it may have been either.
    let lived = |process: &&Candidate| process.created.is_none_or(|created| created <= time);
    let found: Vec<&Candidate> = known.iter().filter(lived).collect();
    match found.as_slice() {
        [one] if !one.gone && one.created.is_some() => Ok((one.address, Join::Lived, "the one process that had the PID at the time")),
        _ => Err("no one process object had this PID at the time"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const START: i128 = 1_634_691_647;

    fn line(pid: u32, second: i128) -> Event {
        Event {
            time: Time::from_nanoseconds((START + second) * SECOND, 6).into(),
            computer: Known::Value("larch.example".into()),
            pid: Known::Value(pid),
            ..Event::default()
        }
    }

    fn processes() -> HashMap<u32, Vec<Candidate>> {
        let one =
            |address: u64, second: i128, gone| Candidate { address: VirtAddr(address), created: Some((START + second) * SECOND), gone };
        HashMap::from([(812, vec![one(0x1000, 0, false)]), (900, vec![one(0x2000, 0, true), one(0x3000, 50, false)])])
    }

    #[test]
    fn lines_join_who_lived_then_on_this_machine() {
        let of = |event: &Event| candidate(event, &processes(), Some("larch"), Some((START + 100) * SECOND));
        assert_eq!(of(&line(812, 10)).map(|(at, join, _)| (at.0, join)), Ok((0x1000, Join::Lived)));
        // Before it began, after the capture, of a PID that two have had, of another machine.
        assert!(of(&line(812, -10)).is_err() && of(&line(812, 200)).is_err() && of(&line(900, 60)).is_err());
        assert_eq!(of(&Event { computer: Known::Value("oak".into()), ..line(812, 10) }), Err(super::super::join::FOREIGN));
        assert!(of(&Event { computer: Known::Absent, ..line(812, 10) }).is_err());
    }

    #[test]
    fn sysmons_xml_is_an_event_of_its_own() {
        let xml = "<Event><System><Provider Name=\"Linux-Sysmon\" Guid=\"{ff032593-a8d3-4f13-b0d6-01fc615a0f97}\"/><EventID>1</EventID>\
                   <Version>5</Version><TimeCreated SystemTime=\"2021-10-20T01:00:47.601000000Z\"/><EventRecordID>35705</EventRecordID>\
                   <Computer>larch</Computer></System><EventData><Data Name=\"UtcTime\">2021-10-20 01:00:47.600</Data>\
                   <Data Name=\"ProcessGuid\">{de9527a5-6a3f-616f-a52f-d98154560000}</Data><Data Name=\"ProcessId\">812</Data>\
                   <Data Name=\"Image\">/usr/bin/curl</Data><Data Name=\"CommandLine\">curl -s http://10.13.37.66/ &amp;</Data>\
                   <Data Name=\"ParentImage\">/bin/bash</Data><Data Name=\"ParentProcessId\">800</Data></EventData></Event>";
        let mut event =
            Event { provider: Known::Value("sysmon".into()), pid: Known::Value(5), summary: xml.to_owned(), ..Event::default() };
        sysmon_of(&mut event);
        assert_eq!(event.summary, "curl (812) started by bash (800): curl -s http://10.13.37.66/ &");
        assert_eq!((event.event_id.value(), event.record_id.value(), event.pid.value()), (Some(&1), Some(&35705), Some(&812)));
        assert!(meaning::is_start(&event));
        let (process, join, _) = candidate(&event, &processes(), Some("larch"), None).unwrap();
        assert_eq!((process.0, join), (0x1000, Join::Exact));
        // What only begins like it stays what it is.
        let mut other = Event { provider: Known::Value("sysmon".into()), summary: "<Event><x".to_owned(), ..Event::default() };
        sysmon_of(&mut other);
        assert_eq!(other.summary, "<Event><x");
    }
}
