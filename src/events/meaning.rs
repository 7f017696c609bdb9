//! What an event says: which process it is about, and what happened in a line.

use super::{connections, sysmon};
use crate::facts::event::{Event, Fields, Value};
use crate::facts::{Known, MomentKind, Time};
use std::sync::Arc;

pub const SYSMON: &str = "Microsoft-Windows-Sysmon";
/// Sysmon for Linux tells of the same events in the same words.
pub const LINUX_SYSMON: &str = "Linux-Sysmon";
pub const SECURITY: &str = "Microsoft-Windows-Security-Auditing";

/// Fields that name the process, its GUID and its program, in the order in which they are looked for.
type Names = [&'static [&'static str]; 3];

const SYSMON_PROCESS: Names =
    [&["ProcessId", "SourceProcessId"], &["ProcessGuid", "SourceProcessGuid", "SourceProcessGUID"], &["Image", "SourceImage"]];
const SECURITY_PROCESS: Names = [&["ProcessId", "ProcessID"], &[], &["ProcessName", "Application"]];
/// A new process has been created: the others are about its creator.
const SECURITY_STARTED: Names = [&["NewProcessId"], &[], &["NewProcessName"]];

/// Fills in the columns that follow from the fields.
pub fn add(event: &mut Event) {
    let id = event.event_id.value().copied().unwrap_or_default();
    let provider = event.provider.value().map(AsRef::as_ref).unwrap_or_default();
    let (sysmon, security) = (is_sysmon(provider), provider == SECURITY);
    let [pid, guid, image]: Names = match (sysmon, security, id) {
        (true, _, _) => SYSMON_PROCESS,
        (_, true, 4688) => SECURITY_STARTED,
        (_, true, _) => SECURITY_PROCESS,
        _ => [&[], &[], &[]],
    };
    let fields = &event.data;
    let first = |names: &[&str]| names.iter().find_map(|name| fields.get(name));
    // The idle process does nothing: 0 stands for none.
    event.pid = first(pid).and_then(Value::number).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0).into();
    event.process_guid = first(guid).and_then(Value::guid).filter(|guid| sysmon::Identity::of(*guid).is_some()).into();
    event.image = match first(image) {
        Some(Value::Text(text)) if !text.is_empty() && &**text != "-" => Known::Value(Arc::clone(text)),
        _ => Known::Absent,
    };
    event.noise =
        if matches!(moment_kind(event), MomentKind::Connection) { connections::logged_noise(event).into() } else { Known::Absent };
    let fields = &event.data;
    event.summary = match (sysmon, security) {
        (true, _) => of_sysmon(id, fields),
        (_, true) => of_security(id, fields),
        _ => None,
    }
    .unwrap_or_else(|| plain(fields));
}

/// When what an event tells of happened. UtcTime can lie before the process began, and is then wrong.
pub fn happened(event: &Event) -> Option<Time> {
    let written = event.time.value().copied();
    let told = event.data.text("UtcTime").and_then(Time::parse);
    let began = event.process_guid.value().and_then(|guid| sysmon::Identity::of(*guid)).map(|identity| i128::from(identity.seconds));
    told.filter(|told| began.is_none_or(|began| told.nanoseconds().div_euclid(1_000_000_000) >= began)).or(written)
}

pub fn is_sysmon(provider: &str) -> bool {
    provider == SYSMON || provider == LINUX_SYSMON
}

/// Whether an event is Sysmon's of the start of a process.
pub fn is_start(event: &Event) -> bool {
    event.event_id == Known::Value(1) && event.provider.value().is_some_and(|provider| is_sysmon(provider))
}

/// What an event is on a timeline.
pub fn moment_kind(event: &Event) -> MomentKind {
    use MomentKind::*;
    let provider = event.provider.value().map(AsRef::as_ref).unwrap_or_default();
    let provider = if is_sysmon(provider) { SYSMON } else { provider };
    match (provider, event.event_id.value().copied().unwrap_or_default()) {
        (SYSMON, 1) | (SECURITY, 4688) => ProcessStart,
        (SYSMON, 5) | (SECURITY, 4689) => ProcessEnd,
        (SYSMON, 3) | (SECURITY, 5154 | 5156 | 5158) => Connection,
        (SYSMON, 22) => Dns,
        (SYSMON, 6) => ModuleLoad,
        (SYSMON, 7) => ImageLoad,
        (SYSMON, 8) => Thread,
        (SYSMON, 10) => ProcessAccess,
        (SYSMON, 17 | 18) => Pipe,
        (SYSMON, 2 | 11 | 15 | 23 | 26..=29) => File,
        (SYSMON, 12..=14) | (SECURITY, 4657) => Registry,
        (SECURITY, 4624 | 4625 | 4634 | 4647 | 4648 | 4672 | 4778 | 4779) => Logon,
        ("sshd" | "sshd-session" | "login" | "su" | "sudo" | "systemd-logind" | "utmp" | "wtmp" | "btmp" | "lastlog", _) => Logon,
        (SECURITY, 4697) | ("Service Control Manager", 7045) => Service,
        _ => Log,
    }
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

fn of_sysmon(id: u32, fields: &Fields) -> Option<String> {
    let text = |name: &str| fields.get(name).map(ToString::to_string).filter(|text| !text.is_empty());
    let shown = |name: &str| text(name).unwrap_or_else(|| "?".to_owned());
    let image = |name: &str| base(fields.text(name).unwrap_or("?")).to_owned();
    let who = || format!("{} ({})", image("Image"), shown("ProcessId"));
    Some(match id {
        1 => format!("{} started by {} ({}): {}", who(), image("ParentImage"), shown("ParentProcessId"), shown("CommandLine")),
        2 => format!("{} changed the creation time of {}", who(), shown("TargetFilename")),
        3 => {
            let (out, arrow) = match fields.get("Initiated") {
                Some(Value::Bool(false)) => ("was connected", "<-"),
                _ => ("connected", "->"),
            };
            let end = |ip: &str, port: &str| {
                let ip = shown(ip);
                if ip.contains(':') { format!("[{ip}]:{}", shown(port)) } else { format!("{ip}:{}", shown(port)) }
            };
            let (from, to) = (end("SourceIp", "SourcePort"), end("DestinationIp", "DestinationPort"));
            let (near, far) = if arrow == "->" { (from, to) } else { (to, from) };
            format!("{} {out}: {} {near} {arrow} {far}", who(), shown("Protocol"))
        }
        4 => format!("Sysmon {}, version {}, schema {}", shown("State"), shown("Version"), shown("SchemaVersion")),
        5 => format!("{} ended", who()),
        6 => format!("driver loaded: {}", shown("ImageLoaded")),
        7 => format!("{} loaded {}", who(), shown("ImageLoaded")),
        8 => format!(
            "{} ({}) started a thread in {} ({}) at {}",
            image("SourceImage"),
            shown("SourceProcessId"),
            image("TargetImage"),
            shown("TargetProcessId"),
            shown("StartAddress")
        ),
        9 => format!("{} read the device {}", who(), shown("Device")),
        10 => format!(
            "{} ({}) opened {} ({}) with access {}",
            image("SourceImage"),
            shown("SourceProcessId"),
            image("TargetImage"),
            shown("TargetProcessId"),
            shown("GrantedAccess")
        ),
        11 => format!("{} created {}", who(), shown("TargetFilename")),
        12..=14 => format!("{}: {} {}", who(), shown("EventType"), shown("TargetObject")),
        15 => format!("{} created the stream {}", who(), shown("TargetFilename")),
        16 => format!("Sysmon's configuration changed: {}", shown("Configuration")),
        17 => format!("{} created the pipe {}", who(), shown("PipeName")),
        18 => format!("{} opened the pipe {}", who(), shown("PipeName")),
        22 => format!("{} asked for {}: {}", who(), shown("QueryName"), shown("QueryResults")),
        23 | 26 => format!("{} deleted {}", who(), shown("TargetFilename")),
        25 => format!("{} was tampered with: {}", who(), shown("Type")),
        27 | 28 => format!("{} was kept from writing {}", who(), shown("TargetFilename")),
        29 => format!("{} wrote the program {}", who(), shown("TargetFilename")),
        255 => format!("Sysmon error {}: {}", shown("ID"), shown("Description")),
        _ => return None,
    })
}

fn of_security(id: u32, fields: &Fields) -> Option<String> {
    let text = |name: &str| fields.get(name).map(ToString::to_string).filter(|text| !text.is_empty() && text != "-");
    let shown = |name: &str| text(name).unwrap_or_else(|| "?".to_owned());
    let account = |name: &str, domain: &str| match text(domain) {
        Some(domain) => format!("{domain}\\{}", shown(name)),
        None => shown(name),
    };
    let pid = |name: &str| fields.get(name).and_then(Value::number).map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    Some(match id {
        4624 => {
            let from = text("IpAddress").map(|from| format!(" from {from}")).unwrap_or_default();
            format!("{} logged on, type {}{from}", account("TargetUserName", "TargetDomainName"), shown("LogonType"))
        }
        4625 => {
            let from = text("IpAddress").map(|from| format!(" from {from}")).unwrap_or_default();
            format!("{} failed to log on, type {}{from}", account("TargetUserName", "TargetDomainName"), shown("LogonType"))
        }
        4688 => format!(
            "{} ({}) started by process {}: {}",
            base(&shown("NewProcessName")),
            pid("NewProcessId"),
            pid("ProcessId"),
            text("CommandLine").unwrap_or_else(|| shown("NewProcessName"))
        ),
        4689 => format!("{} ({}) ended", base(&shown("ProcessName")), pid("ProcessId")),
        5156 | 5158 => {
            let who = format!("{} ({})", base(&shown("Application")), pid("ProcessID"));
            let from = format!("{}:{}", shown("SourceAddress"), shown("SourcePort"));
            match (id, text("DestAddress")) {
                (5156, Some(to)) => format!("{who} was allowed to connect: {from} - {to}:{}", shown("DestPort")),
                _ => format!("{who} was allowed to bind {from}"),
            }
        }
        _ => return None,
    })
}

/// The first fields of an event of which nothing more is known.
fn plain(fields: &Fields) -> String {
    const MOST: usize = 200;
    let mut line = String::new();
    for (name, value) in &fields.0 {
        let text = value.to_string();
        if text.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push_str(", ");
        }
        line.push_str(name);
        line.push('=');
        line.push_str(&text);
        if line.len() > MOST {
            let end = (0..=MOST).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}
