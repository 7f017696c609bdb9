//! Event records and connections.

use super::cell::{Cell, ToCell};
use super::record::{record, words};
use super::{Kind, Known, Time};
use crate::address::VirtAddr;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A GUID as it lies in memory: the first three groups little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    pub const NONE: Self = Self([0; 16]);

    /// `{5770385f-c22a-43e0-bf4c-06f5698ffbd9}`, with or without braces.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = text.trim_matches(['{', '}']).bytes().filter(|byte| *byte != b'-');
        let mut shown = [0; 16];
        for byte in &mut shown {
            let mut nibble = || char::from(digits.next()?).to_digit(16);
            *byte = (nibble()? << 4 | nibble()?) as u8;
        }
        let [a, b, c, d, e, f, g, h, rest @ ..] = shown;
        let mut bytes = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[8..].copy_from_slice(&rest);
        digits.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i, j, k, rest @ ..] = self.0;
        let first = u32::from_le_bytes([a, b, c, d]);
        let [second, third, fourth] = [[g, e], [i, h], [j, k]].map(u16::from_be_bytes);
        let last = rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte));
        write!(f, "{{{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{last:012x}}}")
    }
}

impl ToCell for Guid {
    const KIND: Kind = Kind::Text;
    fn cell(&self) -> Cell<'_> {
        Cell::Text(self.to_string().into())
    }
}

/// The value of a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    None,
    Text(Arc<str>),
    Number(i128),
    Hex(u64),
    Bool(bool),
    Time(Time),
    Guid(Guid),
    Bytes(Vec<u8>),
    List(Vec<Value>),
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
    /// A number, also one that stands as text: decimal, or hexadecimal with 0x.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Hex(number) => Some(*number),
            Self::Text(text) => match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            },
            _ => None,
        }
    }
    pub fn guid(&self) -> Option<Guid> {
        match self {
            Self::Guid(guid) => Some(*guid),
            Self::Text(text) => Guid::parse(text),
            _ => None,
        }
    }
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::None => Cell::Absent,
            Self::Text(text) => Cell::Text(Cow::Borrowed(text)),
            Self::Number(number) => Cell::Number(*number),
            Self::Hex(number) => Cell::Hex(*number),
            Self::Bool(value) => Cell::Bool(*value),
            Self::Time(time) => Cell::Time(*time),
            Self::Guid(guid) => guid.cell(),
            Self::Bytes(bytes) => Cell::Bytes(bytes),
            Self::List(items) => Cell::List(items.iter().map(Self::cell).collect()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Guid(guid) => guid.fmt(f),
            other => other.cell().fmt(f),
        }
    }
}

/// The named fields of an event, in its own order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub Vec<(Arc<str>, Value)>);

impl Fields {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }
}

impl ToCell for Fields {
    const KIND: Kind = Kind::Object;
    fn cell(&self) -> Cell<'_> {
        Cell::Object(self.0.iter().map(|(name, value)| (&**name, value.cell())).collect())
    }
}

words! {
    /// How a record was read.
    Recovered {
        /// As it was written, by the definitions stored with it.
        #[default]
        Whole = "whole",
        /// Past its log's end, cut, or by definitions from elsewhere.
        Reconstructed = "reconstructed",
    }
}

words! {
    /// How surely an event is about a process object.
    Join {
        /// PID and the second in which it began, and the number that the system gave it then.
        #[default]
        Keyed = "keyed",
        /// PID and the second in which it began.
        Exact = "exact",
        /// The one process that had the PID when the event was written.
        Lived = "lived",
    }
}

record! {
    /// Records of logs: of Windows event logs from .evtx files and carved from memory; of Linux the journal, the lines of syslog daemons and
    /// logins (utmp, wtmp, btmp, lastlog) as the page cache holds them, Sysmon's events among them.
    Event = "events" {
        /// When the record was made; the time of what it tells of is among its data.
        time: Known<Time>,
        /// Who wrote it.
        provider: Known<Arc<str>>,
        /// Kind of event; null where its log has no such numbers.
        event_id: Known<u32>,
        /// Number in its log.
        record_id: Known<u64>,
        /// Name of the machine.
        computer: Known<Arc<str>>,
        /// The log.
        channel: Known<Arc<str>>,
        /// Process that the event is about.
        pid: Known<u32>,
        /// Sysmon's name for that process: machine, start time and a number.
        process_guid: Known<Guid>,
        /// Program of that process.
        image: Known<Arc<str>>,
        /// What happened, in a line.
        summary: String,
        /// All named fields.
        data: Fields,
        /// Version of the event's layout.
        version: Known<u8>,
        /// User in whose name it was written.
        user_id: Known<Arc<str>>,
        /// File with the record's offset, or where in memory it lies.
        source: String,
        /// whole; or reconstructed: past its log's end, cut, or read by definitions from elsewhere.
        recovered: Recovered,
        /// The process object that the event is about; null where there is none in the image, or where it cannot be told.
        process_address: Known<VirtAddr>,
        /// How surely: keyed (PID, start second and the system's number of the process agree), exact (PID and start second), lived (the one
        /// process that had the PID at the time); null where it joins none.
        join: Known<Join>,
        /// Why it joins, or why not.
        reason: Known<&'static str>,
        /// Of a connection that machines make by themselves, what it is: loopback, self, multicast, name_service or link_local.
        noise: Known<&'static str>,
    }
}

record! {
    /// How far back a log reaches, and how large it must be to reach further.
    Retention = "retention" {
        /// Name of the log file.
        file: String,
        /// Records in it.
        records: u64,
        /// Time of the oldest record.
        oldest: Known<Time>,
        /// Time of the newest record.
        newest: Known<Time>,
        /// Lowest record number.
        first_record: Known<u64>,
        /// Highest record number.
        last_record: Known<u64>,
        /// Whole hours between the oldest and the newest record.
        covers_hours: Known<u64>,
        /// Bytes of the file.
        size: u64,
        /// Bytes of its chunks that hold records.
        used: u64,
        /// Bytes that a day takes.
        bytes_a_day: Known<u64>,
        /// Days that fit into a file of this size.
        days_at_size: Known<u64>,
        /// Days that are wanted.
        wanted_days: u64,
        /// Bytes that these take.
        needed_size: Known<u64>,
        /// Whether older records have been written over: the file is full and does not begin with the first.
        wrapped: Known<bool>,
    }
}

record! {
    /// The rules by which Sysmon writes its events, and what it does not see: for each kind of event a row that says what is logged at all,
    /// then its filters.
    SysmonRule = "sysmon_config" {
        /// Section of the configuration: ProcessCreate, NetworkConnect and so on.
        event: &'static str,
        /// Numbers of the events that it is about.
        event_ids: String,
        /// Of these events: all, some or none.
        logged: &'static str,
        /// include or exclude: what happens to an event that fits; null in the row of the kind itself.
        onmatch: Known<&'static str>,
        /// Whether all fields of its section or rule must fit (and), or one (or).
        relation: Known<&'static str>,
        /// Rule of several filters that it is part of.
        group: Known<String>,
        /// Field of the event.
        field: Known<String>,
        /// is, contains, begin with and so on.
        condition: Known<&'static str>,
        /// What the field is compared with, in lower case as Sysmon compares.
        value: Known<String>,
        /// Name of the filter, which its events carry as RuleName.
        name: Known<String>,
        /// What follows: blind spots are named.
        remark: String,
    }
}

words! {
    /// Where a connection is known from.
    Evidence {
        #[default]
        Live = "live",
        Logged = "logged",
        Both = "both",
    }
}

words! {
    /// Whether the configuration of the log's writer lets a connection be written.
    Logs {
        #[default]
        Unknown = "unknown",
        Yes = "yes",
        No = "no",
    }
}

record! {
    /// Sockets in memory and connections in event logs as one list.
    Connection = "connections" {
        /// TCPv4, TCPv6, UDPv4, UDPv6.
        protocol: String,
        /// Local address.
        local_address: Known<String>,
        /// Local port.
        local_port: Known<u16>,
        /// Remote address.
        remote_address: Known<String>,
        /// Remote port.
        remote_port: Known<u16>,
        /// outbound, inbound; or listening.
        direction: Known<&'static str>,
        /// State of the socket in memory.
        state: Known<String>,
        /// Process ID of the owner.
        pid: Known<u32>,
        /// Name of the owner.
        process: Known<String>,
        /// Program of the owner.
        image: Known<String>,
        /// User of the owner.
        user: Known<String>,
        /// Earliest time it is known from.
        first_seen: Known<Time>,
        /// Latest time it is known from; for a live socket the time of the capture.
        last_seen: Known<Time>,
        /// Logged events.
        count: u64,
        /// live, logged or both.
        evidence: Evidence,
        /// yes, no or unknown: whether Sysmon's configuration lets such a connection be logged.
        would_be_logged: Logs,
        /// The rule of the configuration that decides.
        rule: Known<String>,
        /// Sysmon's name for the owner.
        process_guid: Known<Guid>,
        /// Address of the owner's process object.
        process_address: Known<VirtAddr>,
        /// Address of the socket object.
        address: Known<VirtAddr>,
        /// Record numbers of the first events.
        record_ids: Vec<String>,
        /// Of what machines do by themselves, what it is: loopback, self, multicast, name_service or link_local. Remote logons and shells
        /// through the loopback address are none of it.
        noise: Known<&'static str>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_read_as_they_are_shown() {
        let shown = "{5770385f-c22a-43e0-bf4c-06f5698ffbd9}";
        let guid = Guid::parse(shown);
        assert_eq!(guid.map(|guid| guid.to_string()).as_deref(), Some(shown));
        assert_eq!(guid.map(|guid| guid.0[..4].to_vec()), Some(vec![0x5f, 0x38, 0x70, 0x57]));
        assert_eq!(Guid::parse("5770385F-C22A-43E0-BF4C-06F5698FFBD9"), guid);
        assert_eq!(Guid::parse("{5770385f-c22a-43e0-bf4c-06f5698ffb}"), None);
        assert_eq!(Guid::parse("{5770385f-c22a-43e0-bf4c-06f5698ffbd9}0"), None);
    }
}
