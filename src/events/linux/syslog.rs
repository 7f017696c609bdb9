//! Lines as syslog daemons write them: with RFC 3339 times, or with the older ones that have neither year nor zone.

use super::sparse::Sparse;
use crate::facts::event::{Event, Fields, Value};
use crate::facts::{Known, Time};
use std::sync::Arc;

const LONGEST_LINE: usize = 64 << 10;
const MOST_LINES: usize = 1 << 22;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads every whole line that is one of such a log. `name` is the log's.
pub fn read(file: &Sparse, name: &str, source: &dyn Fn(u64) -> String, out: &mut Vec<Event>) -> Vec<String> {
    let (mut other, mut lines) = (0, 0);
    for (start, bytes) in file.stretches() {
        let mut at = 0;
        // Behind a gap the first line is the rest of one.
        if start != 0 {
            at = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        }
        while let Some(end) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let line = bytes.get(at..at + end).unwrap_or_default();
            lines += 1;
            if lines > MOST_LINES {
                return vec![format!("more than {MOST_LINES} lines are not read")];
            }
            match std::str::from_utf8(line).ok().filter(|line| line.len() <= LONGEST_LINE).and_then(|line| event(line, name)) {
                Some(event) => out.push(Event { source: source(start + at as u64), ..event }),
                None => other += usize::from(!line.is_empty()),
            }
            at += end + 1;
        }
    }
    let mut notes = Vec::new();
    if file.missing() > 0 {
        notes.push(format!("{} of its pages are not in memory, and lines in them are not listed", file.missing()));
    }
    if other > 0 {
        notes.push(format!("{other} of its lines are not of the form of a log"));
    }
    notes
}

/// A line: time, host, program with its PID, message.
fn event(line: &str, name: &str) -> Option<Event> {
    let (stamp, rest) = stamped(line)?;
    let time = if stamp.contains('T') { Some(Time::parse(stamp)?) } else { None };
    let (host, rest) = rest.trim_start().split_once(' ')?;
    let plain = |text: &str, more: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let end = rest.find(": ").or_else(|| rest.strip_suffix(':').map(str::len))?;
    let (tag, message) = (rest.get(..end)?, rest.get(end + 1..)?.trim_start());
    let (program, pid) = match tag.split_once('[') {
        Some((program, pid)) => (program, Some(pid.strip_suffix(']')?.parse::<u32>().ok()?)),
        None => (tag, None),
    };
    if !plain(host, "._-:") || !plain(program, "._-/@()") {
        return None;
    }
    let shared = |text: &str| Known::Value(Arc::<str>::from(text));
    Some(Event {
        provider: shared(program),
        computer: shared(host),
        channel: shared(name),
        pid: pid.into(),
        summary: message.to_owned(),
        data: Fields(vec![("timestamp".into(), Value::Text(stamp.into())), ("message".into(), Value::Text(message.into()))]),
        problems: time.is_none().then(|| format!("its time has neither year nor zone: {stamp}")).into_iter().collect(),
        time: time.into(),
        ..Event::default()
    })
}

/// The time that a line begins with, as it is written, and the rest of the line.
fn stamped(line: &str) -> Option<(&str, &str)> {
    if line.as_bytes().get(10) == Some(&b'T') {
        return line.split_once(' ');
    }
    let (stamp, rest) = line.split_at_checked(15)?;
    let (month, day) = (stamp.get(..3)?, stamp.get(4..6)?.trim_start());
    let clock: Vec<u8> = stamp.get(7..)?.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let sound = MONTHS.contains(&month)
        && day.parse::<u8>().is_ok_and(|day| (1..=31).contains(&day))
        && matches!(clock.as_slice(), [0..=23, 0..=59, 0..=60])
        && rest.starts_with(' ');
    sound.then_some((stamp, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Vec<Event>, Vec<String>) {
        let mut out = Vec::new();
        let notes = read(&Sparse::whole(text.as_bytes()), "auth.log", &|at| at.to_string(), &mut out);
        (out, notes)
    }

    #[test]
    fn lines_of_both_forms_are_read() {
        let (events, notes) = read_text(
            "2025-03-14T10:27:00.613209+01:00 larch sshd[812]: Accepted publickey for mara from 10.0.0.9 port 5 ssh2\n\
             2025-03-14T04:27:00-05:00 larch CRON[900]: (root) CMD (x: y)\n\
             Mar 14 09:27:01 larch kernel: eth0: up\n\
             Mar  4 09:27:01 larch sudo:     mara : TTY=pts/0\n\
             no line of a log\n\
             2025-03-14T10:27:00+01:00 larch cut off",
        );
        assert_eq!(notes, ["1 of its lines are not of the form of a log"]);
        let told: Vec<_> = events.iter().map(|event| (event.provider.value().unwrap().as_ref(), event.pid.value().copied())).collect();
        assert_eq!(told, [("sshd", Some(812)), ("CRON", Some(900)), ("kernel", None), ("sudo", None)]);
        assert_eq!(events[0].time.value().unwrap().to_string(), "2025-03-14T09:27:00.613209Z");
        assert_eq!(events[1].time.value().unwrap().to_string(), "2025-03-14T09:27:00Z");
        assert_eq!((events[2].time.value(), events[2].summary.as_str()), (None, "eth0: up"));
        assert!(events[2].problems[0].ends_with("Mar 14 09:27:01"));
    }

    #[test]
    fn the_rest_of_a_line_behind_a_gap_is_no_line() {
        let mut file = Sparse::new(2 * 4096);
        let mut page = [b'\n'; 4096];
        let text = b"14 09:27:01 larch a: of another\nMar 14 09:27:01 larch b[1]: whole\n";
        page[..text.len()].copy_from_slice(text);
        file.put(1, page);
        let mut out = Vec::new();
        let notes = read(&file, "syslog", &|at| at.to_string(), &mut out);
        assert_eq!(out.iter().map(|event| event.summary.as_str()).collect::<Vec<_>>(), ["whole"]);
        assert_eq!(
            (out[0].source.as_str(), notes[0].as_str()),
            ("4128", "1 of its pages are not in memory, and lines in them are not listed")
        );
    }
}
