//! Logins as the C library keeps them: utmp, wtmp, btmp and lastlog (utmp(5), lastlog(5); the layout of 64-bit Linux).

use super::sparse::Sparse;
use crate::facts::event::{Event, Fields, Value};
use crate::facts::{Known, Time};
use std::net::{Ipv4Addr, Ipv6Addr};

const RECORD: usize = 384;
const LAST_LOGIN: usize = 292;
const MOST_RECORDS: usize = 1 << 20;
/// 1995 and 2100.
const SECONDS: std::ops::Range<i64> = 788_918_400..4_102_444_800;
const BOOT: i16 = 2;
const USER: i16 = 7;
const DEAD: i16 = 8;
/// By their numbers, ut_type.
const TYPES: [&str; 10] = [
    "EMPTY",
    "RUN_LVL",
    "BOOT_TIME",
    "NEW_TIME",
    "OLD_TIME",
    "INIT_PROCESS",
    "LOGIN_PROCESS",
    "USER_PROCESS",
    "DEAD_PROCESS",
    "ACCOUNTING",
];

/// Reads the records of utmp, wtmp or btmp, which `name` says.
pub fn read(file: &Sparse, name: &'static str, source: &dyn Fn(u64) -> String, out: &mut Vec<Event>) -> Vec<String> {
    let mut lost = 0;
    for index in 0..(file.size / RECORD as u64).min(MOST_RECORDS as u64) {
        let at = index * RECORD as u64;
        let Some(bytes) = file.get(at, RECORD) else {
            lost += 1;
            continue;
        };
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        match record(&bytes, name) {
            Some(event) => out.push(Event { source: source(at), record_id: Known::Value(index), ..event }),
            None => lost += 1,
        }
    }
    told(lost)
}

/// Reads lastlog: a record for each user, at the place that the user's number gives.
pub fn last_logins(file: &Sparse, source: &dyn Fn(u64) -> String, out: &mut Vec<Event>) -> Vec<String> {
    let mut lost = 0;
    for (start, bytes) in file.stretches() {
        let first = start.next_multiple_of(LAST_LOGIN as u64);
        let rest = bytes.get((first - start) as usize..).unwrap_or_default();
        for (index, record) in rest.as_chunks::<LAST_LOGIN>().0.iter().enumerate() {
            if record.iter().all(|byte| *byte == 0) {
                continue;
            }
            let at = first + (index * LAST_LOGIN) as u64;
            let user = at / LAST_LOGIN as u64;
            let seconds = record.first_chunk().map(|word| i64::from(u32::from_le_bytes(*word)));
            let time = seconds.filter(|seconds| SECONDS.contains(seconds)).and_then(Time::from_seconds);
            match (time, text(record, 4, 32), text(record, 36, 256)) {
                (Some(time), Some(line), Some(host)) => {
                    let from = if host.is_empty() { String::new() } else { format!(" from {host}") };
                    out.push(Event {
                        time: Known::Value(time),
                        provider: Known::Value("lastlog".into()),
                        user_id: Known::Value(user.to_string().into()),
                        summary: format!("last login of user {user}: on {line}{from}"),
                        data: fields(vec![("uid", Value::Number(user.into())), ("line", word(&line)), ("host", word(&host))]),
                        source: source(at),
                        ..Event::default()
                    });
                }
                _ => lost += 1,
            }
        }
    }
    told(lost)
}

fn told(lost: usize) -> Vec<String> {
    (lost > 0).then(|| format!("{lost} of its records are not in memory or are none")).into_iter().collect()
}

fn word(text: &str) -> Value {
    Value::Text(text.into())
}

fn fields(all: Vec<(&str, Value)>) -> Fields {
    let said = all.into_iter().filter(|(_, value)| !matches!(value, Value::Text(text) if text.is_empty()) && *value != Value::None);
    Fields(said.map(|(name, value)| (name.into(), value)).collect())
}

/// A text up to its first zero; None where it is no text.
fn text(record: &[u8], at: usize, length: usize) -> Option<String> {
    let bytes = record.get(at..at + length)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(length);
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn record(bytes: &[u8], name: &'static str) -> Option<Event> {
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|word| i32::from_le_bytes(*word));
    let kind = bytes.first_chunk().map(|word| i16::from_le_bytes(*word))?;
    let type_name = TYPES.get(usize::try_from(kind).ok()?)?;
    let (line, user, host) = (text(bytes, 8, 32)?, text(bytes, 44, 32)?, text(bytes, 76, 256)?);
    let (pid, session, seconds, micros) = (number(4)?, number(336)?, i64::from(number(340)? as u32), number(344)?);
    if kind == 0 || pid < 0 || !SECONDS.contains(&seconds) || !(0..1_000_000).contains(&micros) {
        return None;
    }
    let time = Time::from_nanoseconds(i128::from(seconds) * 1_000_000_000 + i128::from(micros) * 1000, 6)?;
    let address: &[u8; 16] = bytes.get(348..)?.first_chunk()?;
    let address = match address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => String::new(),
        [a, b, c, d, rest @ ..] if rest.iter().all(|byte| *byte == 0) => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        all => Ipv6Addr::from(*all).to_string(),
    };
    let from = if host.is_empty() { String::new() } else { format!(" from {host}") };
    let summary = match kind {
        _ if name == "btmp" => format!("{user} failed to log on at {line}{from}"),
        BOOT => format!("the system was started{}", if host.is_empty() { String::new() } else { format!(", kernel {host}") }),
        USER => format!("{user} logged on at {line}{from}"),
        DEAD => format!("the session at {line} ended"),
        _ => format!("{type_name} {user} {line}{from}").split_whitespace().collect::<Vec<_>>().join(" "),
    };
    Some(Event {
        time: Known::Value(time),
        provider: Known::Value(name.into()),
        pid: u32::try_from(pid).ok().filter(|pid| *pid != 0 && matches!(kind, 5..=7)).into(),
        summary,
        data: fields(vec![
            ("type", word(type_name)),
            ("pid", Value::Number(pid.into())),
            ("line", word(&line)),
            ("user", word(&user)),
            ("host", word(&host)),
            ("address", word(&address)),
            ("session", if session == 0 { Value::None } else { Value::Number(session.into()) }),
        ]),
        ..Event::default()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn login(kind: i16, pid: i32, line: &str, user: &str, host: &str, seconds: u32) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &kind.to_le_bytes());
        put(4, &pid.to_le_bytes());
        put(8, line.as_bytes());
        put(44, user.as_bytes());
        put(76, host.as_bytes());
        put(340, &seconds.to_le_bytes());
        put(344, &250_000u32.to_le_bytes());
        put(348, &[10, 0, 0, 9]);
        record
    }

    #[test]
    fn logins_are_read_and_what_is_none_is_not() {
        let mut bytes = login(7, 812, "pts/0", "mara", "10.0.0.9", 1_741_944_420);
        bytes.extend(login(2, 0, "~", "reboot", "6.1.0-56-amd64", 1_741_944_000));
        bytes.extend(login(7, 812, "pts/0", "mara", "10.0.0.9", 5));
        bytes.extend(vec![0x41; RECORD]);
        let mut out = Vec::new();
        let notes = read(&Sparse::whole(&bytes), "wtmp", &|at| at.to_string(), &mut out);
        assert_eq!(notes, ["2 of its records are not in memory or are none"]);
        let told: Vec<_> = out.iter().map(|event| (event.summary.as_str(), event.pid.value().copied())).collect();
        assert_eq!(told, [("mara logged on at pts/0 from 10.0.0.9", Some(812)), ("the system was started, kernel 6.1.0-56-amd64", None)]);
        assert_eq!(out[0].data.text("address"), Some("10.0.0.9"));
        assert_eq!(out[0].time.value().unwrap().to_string(), "2025-03-14T09:27:00.250000Z");
    }

    #[test]
    fn last_logins_stand_where_the_users_number_says() {
        let mut bytes = vec![0; LAST_LOGIN * 1001];
        let at = LAST_LOGIN * 1000;
        bytes[at..at + 4].copy_from_slice(&1_741_944_420u32.to_le_bytes());
        bytes[at + 4..at + 9].copy_from_slice(b"pts/0");
        let mut out = Vec::new();
        assert!(last_logins(&Sparse::whole(&bytes), &|at| at.to_string(), &mut out).is_empty());
        assert_eq!(out[0].summary, "last login of user 1000: on pts/0");
    }
}
