//! Which process of the image an event is about, and whether its log is of this machine at all.
//!
//! A PID alone joins nothing, since PIDs are used again. Sysmon names a process by PID and by the second in which it began; other
//! providers by PID alone, which then was that process's if it lived at the time.

use super::sysmon;
use crate::address::VirtAddr;
use crate::facts::event::{Event, Join};
use crate::facts::{Info, Known, Time, Watch};
use crate::windows::{Identity, Windows};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

const SECOND: i128 = 1_000_000_000;
/// Why an event of another machine joins nothing.
pub const FOREIGN: &str = "its log is of another machine";
/// NetBIOS names end here.
const SHORT_NAME: usize = 15;

/// The processes of the machine, and which logs are its own.
pub struct Machine {
    processes: HashMap<u32, Vec<Identity>>,
    host: Option<String>,
    boot: Option<Time>,
    capture: Option<Time>,
    own: Ownership,
}

/// What speaks for the logs of one machine ID of Sysmon's, and against.
#[derive(Default)]
struct Case {
    /// Processes that are in the image as their events say; those whose key also agrees.
    proved: HashSet<VirtAddr>,
    keyed: HashSet<VirtAddr>,
    /// Events whose PID another process had at the time.
    refuted: HashSet<(u32, u32)>,
    hosts: BTreeSet<String>,
}

#[derive(Default)]
struct Ownership {
    machine: Option<u32>,
    /// Names that the machine's own events give it.
    hosts: HashSet<String>,
}

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    This,
    Another,
    Unproved,
}

/// Whether the key of a GUID, too, is this process's.
fn keyed(process: &Identity, guid: sysmon::Identity) -> bool {
    guid.token().is_some_and(|token| process.token == Some(token)) || process.start_key == Some(guid.key)
}

impl Machine {
    pub fn new(windows: &Windows, events: &[Event], watch: &Watch) -> Self {
        let info: &Info = windows.info();
        let mut processes: HashMap<u32, Vec<Identity>> = HashMap::new();
        for process in windows.identities(watch) {
            processes.entry(process.pid).or_default().push(process);
        }
        Self::of(processes, info.hostname.value().map(String::as_str), info.boot_time.value(), info.capture_time.value(), events)
    }

    fn of(
        processes: HashMap<u32, Vec<Identity>>,
        host: Option<&str>,
        boot: Option<&Time>,
        capture: Option<&Time>,
        events: &[Event],
    ) -> Self {
        let (boot, capture) = (boot.copied(), capture.copied());
        let mut machine = Self { processes, host: host.map(short), boot, capture, own: Ownership::default() };
        machine.own = machine.judge(events);
        machine
    }

    /// Which machine ID is this machine's: the one whose events name most of its processes, and that nothing refutes as often.
    fn judge(&self, events: &[Event]) -> Ownership {
        let mut cases: BTreeMap<u32, Case> = BTreeMap::new();
        for event in events {
            let Some(identity) = event.process_guid.value().and_then(|guid| sysmon::Identity::of(*guid)) else { continue };
            let case = cases.entry(identity.machine).or_default();
            if let Some(computer) = event.computer.value() {
                case.hosts.insert(short(computer));
            }
            let Some(pid) = event.pid.value() else { continue };
            match self.exact(*pid, identity.seconds) {
                Some(process) => {
                    case.proved.insert(process.address);
                    if keyed(process, identity) {
                        case.keyed.insert(process.address);
                    }
                }
                None => {
                    if self.taken(*pid, identity.seconds) {
                        case.refuted.insert((*pid, identity.seconds));
                    }
                }
            }
        }
        let host_agrees = |case: &Case| match &self.host {
            // A machine keeps its name while it runs: the events of processes that are in the image bear it.
            Some(host) => case.hosts.is_empty() || case.hosts.iter().any(|name| same_host(host, name)),
            None => true,
        };
        let fits = |case: &&Case| !case.proved.is_empty() && case.proved.len() > case.refuted.len() && host_agrees(case);
        let best = cases.iter().filter(|(_, case)| fits(case)).max_by_key(|(_, case)| (case.keyed.len(), case.proved.len()));
        match best {
            Some((machine, case)) => Ownership { machine: Some(*machine), hosts: case.hosts.iter().cloned().collect() },
            None => Ownership::default(),
        }
    }

    /// The process with a PID that began in a second.
    fn exact(&self, pid: u32, seconds: u32) -> Option<&Identity> {
        let began = |process: &&Identity| process.created.is_some_and(|time| time.nanoseconds().div_euclid(SECOND) == seconds.into());
        let mut found = self.processes.get(&pid)?.iter().filter(began);
        // Two copies of one object tell nothing apart.
        found.next().filter(|_| found.next().is_none())
    }

    /// Whether another process had a PID at a second.
    fn taken(&self, pid: u32, seconds: u32) -> bool {
        let (from, to) = (i128::from(seconds) * SECOND, i128::from(seconds) * SECOND + SECOND);
        self.processes.get(&pid).into_iter().flatten().any(|process| {
            process.created.is_some_and(|created| created.nanoseconds() < from)
                && match (process.exited, self.capture) {
                    (Some(exited), _) => exited.nanoseconds() > to,
                    (None, Some(capture)) => capture.nanoseconds() > to,
                    (None, None) => false,
                }
        })
    }

    /// The one process that had a PID at a time.
    fn living(&self, pid: u32, time: Time) -> Option<&Identity> {
        let at = time.nanoseconds();
        if self.capture.is_some_and(|capture| at > capture.nanoseconds()) || self.boot.is_none_or(|boot| at < boot.nanoseconds()) {
            return None;
        }
        let lived = |process: &&Identity| {
            process.created.is_some_and(|created| created.nanoseconds() <= at)
                && process.exited.is_none_or(|exited| exited.nanoseconds() >= at)
        };
        let mut found = self.processes.get(&pid)?.iter().filter(lived);
        found.next().filter(|_| found.next().is_none())
    }

    pub fn owner(&self, event: &Event) -> Owner {
        let machine = event.process_guid.value().and_then(|guid| sysmon::Identity::of(*guid)).map(|identity| identity.machine);
        if let (Some(machine), Some(own)) = (machine, self.own.machine) {
            return if machine == own { Owner::This } else { Owner::Another };
        }
        let Some(computer) = event.computer.value().map(|name| short(name)) else { return Owner::Unproved };
        let named = self.host.as_deref().map(|host| same_host(host, &computer));
        match (named, self.own.hosts.contains(&computer), machine) {
            (_, true, _) => Owner::This,
            (Some(false), _, _) => Owner::Another,
            // Sysmon's own events must prove themselves by their processes.
            (Some(true), _, None) => Owner::This,
            _ => Owner::Unproved,
        }
    }

    /// The process object that an event is about and how surely, or why there is none.
    fn process(&self, event: &Event) -> Result<(&Identity, Join, &'static str), &'static str> {
        let owner = self.owner(event);
        if owner == Owner::Another {
            return Err(FOREIGN);
        }
        let pid = *event.pid.value().ok_or("it names no process")?;
        if owner == Owner::Unproved {
            return Err("nothing proves that its log is this machine's");
        }
        if let Some(identity) = event.process_guid.value().and_then(|guid| sysmon::Identity::of(*guid)) {
            return match self.exact(pid, identity.seconds) {
                Some(process) if keyed(process, identity) => Ok((process, Join::Keyed, "PID, start second and process key agree")),
                Some(process) => Ok((process, Join::Exact, "PID and start second agree")),
                None if self.processes.contains_key(&pid) => Err("the PID is another process's here: it began at another time"),
                None => Err("no process object with this PID is left"),
            };
        }
        let time = *event.time.value().ok_or("it has neither the process's GUID nor a time")?;
        // A process that starts another is written of when the new one is just made.
        let started = self.processes.get(&pid).into_iter().flatten().find(|process| {
            event.event_id == Known::Value(4688)
                && process.created.is_some_and(|created| (created.nanoseconds() - time.nanoseconds()).abs() < 2 * SECOND)
        });
        match started {
            Some(process) => Ok((process, Join::Exact, "PID and start time agree")),
            None => match self.living(pid, time) {
                Some(process) => Ok((process, Join::Lived, "the one process that had the PID at the time")),
                None => Err("no one process object had this PID at the time"),
            },
        }
    }

    /// Joins events with processes; what is of another machine is told.
    pub fn join(&self, events: &mut [Event]) -> Vec<String> {
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        for event in &mut *events {
            if self.owner(event) == Owner::Another {
                let name = event.computer.value().map_or("another machine", |name| name);
                *others.entry(name.to_owned()).or_default() += 1;
            }
            match self.process(event) {
                Ok((process, join, reason)) => {
                    event.process_address = Known::Value(process.address);
                    (event.join, event.reason) = (Known::Value(join), Known::Value(reason));
                }
                Err(reason) => event.reason = Known::Value(reason),
            }
        }
        let told = others.into_iter();
        let mut notes: Vec<String> = told
            .map(|(name, count)| format!("{count} records are of {name}, not of this machine, and join with none of its processes"))
            .collect();
        if self.own.machine.is_none() && events.iter().any(|event| event.process_guid.value().is_some()) {
            notes.push("no Sysmon record names a process of this image: nothing proves that the log is this machine's".to_owned());
        }
        notes
    }
}

/// The first part of a name, as machines compare it.
fn short(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_lowercase()
}

fn same_host(host: &str, name: &str) -> bool {
    host == name || (host.len() == SHORT_NAME && name.starts_with(host))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::facts::event::Guid;

    const BOOT: i128 = 1_715_669_888;

    fn time(seconds: i128) -> Time {
        Time::from_nanoseconds((BOOT + seconds) * SECOND + 500, 7).unwrap()
    }

    fn process(pid: u32, began: i128, ended: Option<i128>, token: u32) -> Identity {
        let address = VirtAddr(0xffff_8000_0000_0000 + u64::from(pid) * 0x1000 + began as u64);
        Identity { pid, address, created: Some(time(began)), exited: ended.map(time), token: Some(token), start_key: None }
    }

    fn guid(machine: u32, began: i128, token: u32) -> Guid {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&machine.to_le_bytes());
        bytes[4..8].copy_from_slice(&((BOOT + began) as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&0x1000_0000_u32.to_le_bytes());
        bytes[12..].copy_from_slice(&token.to_le_bytes());
        Guid(bytes)
    }

    fn event(computer: &str, pid: u32, guid: Option<Guid>, at: i128) -> Event {
        Event {
            time: Known::Value(time(at)),
            event_id: Known::Value(if guid.is_some() { 3 } else { 5156 }),
            computer: Known::Value(computer.into()),
            pid: Known::Value(pid),
            process_guid: guid.into(),
            ..Event::default()
        }
    }

    /// The pids of the processes that events join.
    fn joined(host: Option<&str>, events: &[Event]) -> Vec<Option<u64>> {
        let all = [process(4, 0, None, 1), process(100, 10, None, 2), process(200, 20, Some(60), 3), process(200, 100, None, 4)];
        let mut processes: HashMap<u32, Vec<Identity>> = HashMap::new();
        all.into_iter().for_each(|process| processes.entry(process.pid).or_default().push(process));
        let machine = Machine::of(processes, host, Some(&time(0)), Some(&time(1000)), events);
        let mut events = events.to_vec();
        machine.join(&mut events);
        events.iter().map(|event| event.process_address.value().map(|address| address.0 & 0xff_ffff)).collect()
    }

    #[test]
    fn a_process_is_told_by_pid_and_second() {
        let events = [
            event("PC.corp", 100, Some(guid(7, 10, 2)), 50),
            event("PC.corp", 200, Some(guid(7, 20, 3)), 50),
            event("PC.corp", 200, Some(guid(7, 100, 4)), 150),
            // The same PID, but of yet another process.
            event("PC.corp", 200, Some(guid(7, 80, 9)), 90),
        ];
        assert_eq!(joined(Some("pc"), &events), [Some(0x6_400a), Some(0xc_8014), Some(0xc_8064), None]);
        assert_eq!(joined(None, &events)[0], Some(0x6_400a));
    }

    #[test]
    fn events_without_a_guid_join_who_lived_then() {
        let events = [event("PC", 200, None, 50), event("PC", 200, None, 80), event("PC", 200, None, 150), event("PC", 200, None, -5)];
        assert_eq!(joined(Some("PC"), &events), [Some(0xc_8014), None, Some(0xc_8064), None]);
        // Nothing says whose log it is.
        assert_eq!(joined(None, &events), [None; 4]);
    }

    #[test]
    fn joins_say_how_sure_they_are_and_why_not() {
        let mut events = vec![
            event("PC", 100, Some(guid(7, 10, 2)), 50),
            // A key that is not that of the process's token.
            event("PC", 100, Some(guid(7, 10, 9)), 50),
            event("PC", 100, None, 50),
            event("PC", 100, Some(guid(7, 30, 9)), 50),
            event("PC", 104, Some(guid(7, 30, 9)), 50),
            event("OTHER", 100, None, 50),
            event("PC", 4, Some(guid(7, 0, 1)), 50),
        ];
        let processes = HashMap::from([(4, vec![process(4, 0, None, 1)]), (100, vec![process(100, 10, None, 2)])]);
        Machine::of(processes, Some("pc"), Some(&time(0)), Some(&time(1000)), &events).join(&mut events);
        let joins: Vec<_> = events.iter().map(|event| event.join.value().copied()).collect();
        assert_eq!(joins, [Some(Join::Keyed), Some(Join::Exact), Some(Join::Lived), None, None, None, Some(Join::Keyed)]);
        let why = |index: usize| events[index].reason.value().copied().unwrap_or_default();
        assert!(why(3).contains("another process's") && why(4).contains("no process object") && why(5).contains("another machine"));
    }

    #[test]
    fn logs_of_other_machines_join_nothing() {
        // Another machine's name, though PIDs and seconds agree.
        let foreign = [event("OTHER", 100, Some(guid(9, 10, 5)), 50), event("OTHER", 100, None, 50)];
        assert_eq!(joined(Some("PC"), &foreign), [None, None]);
        // A twin of the same name: the one whose keys are those of this machine's tokens is its own.
        let twins = [event("PC", 100, Some(guid(9, 10, 5)), 50), event("PC", 100, Some(guid(7, 10, 2)), 50)];
        assert_eq!(joined(Some("PC"), &twins), [None, Some(0x6_400a)]);
        // One that says of living processes' PIDs that they were others'.
        let refuted = [
            event("PC", 100, Some(guid(9, 10, 5)), 50),
            event("PC", 4, Some(guid(9, 30, 5)), 50),
            event("PC", 100, Some(guid(9, 40, 5)), 50),
        ];
        assert_eq!(joined(Some("PC"), &refuted), [None; 3]);
    }
}
