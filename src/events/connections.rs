//! Sockets in memory and connections in logs as one list.

use super::join::{Machine, Owner};
use super::meaning::{SECURITY, SYSMON, happened, is_sysmon};
use super::noise::{group, noise};
use super::rules::{Config, Seen};
use crate::address::VirtAddr;
use crate::facts::event::{Connection, Event, Evidence, Guid, Logs, Value};
use crate::facts::{Known, Socket, Time};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};

/// Numbers of records that a row names.
const MOST_RECORDS: usize = 16;

/// Protocol and both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tuple {
    udp: bool,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
}

/// Whose a logged connection is, as well as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Process {
    Object(VirtAddr),
    Guid(Guid),
    Pid(Option<u32>),
}

/// A connection as an event tells of it.
struct Logged {
    udp: bool,
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    outbound: Option<bool>,
    time: Option<Time>,
    user: Option<String>,
}

impl Logged {
    fn read(event: &Event) -> Option<Self> {
        let fields = &event.data;
        let end = |address: &str, port: &str| {
            let port = u16::try_from(fields.get(port)?.number()?).ok()?;
            Some((plain(fields.text(address)?)?, port))
        };
        let provider = event.provider.value().map(AsRef::as_ref).unwrap_or_default();
        let provider = if is_sysmon(provider) { SYSMON } else { provider };
        match (provider, event.event_id.value()?) {
            (SYSMON, 3) => Some(Self {
                udp: fields.text("Protocol")?.eq_ignore_ascii_case("udp"),
                source: end("SourceIp", "SourcePort")?,
                destination: end("DestinationIp", "DestinationPort")?,
                outbound: match fields.get("Initiated") {
                    Some(Value::Bool(initiated)) => Some(*initiated),
                    Some(Value::Text(text)) => text.parse().ok(),
                    _ => None,
                },
                time: happened(event),
                user: fields.text("User").filter(|user| !user.is_empty()).map(str::to_owned),
            }),
            (SECURITY, 5156) => Some(Self {
                udp: match fields.get("Protocol")?.number()? {
                    6 => false,
                    17 => true,
                    _ => return None,
                },
                source: end("SourceAddress", "SourcePort")?,
                destination: end("DestAddress", "DestPort")?,
                outbound: match fields.text("Direction") {
                    Some("%%14593") => Some(true),
                    Some("%%14592") => Some(false),
                    _ => None,
                },
                time: event.time.value().copied(),
                user: None,
            }),
            _ => None,
        }
    }

    /// Which end is this machine's. Only of connections that it began itself is it always the source.
    fn oriented(&self, own: &HashSet<IpAddr>, listening: impl Fn(bool, u16) -> bool) -> Tuple {
        let is_own = |end: (IpAddr, u16)| own.contains(&end.0) || end.0.is_loopback();
        let source_is_local = match (self.outbound, is_own(self.source), is_own(self.destination)) {
            (Some(true), _, _) | (_, true, false) => true,
            (_, false, true) => false,
            // Groups and broadcasts are never an end of one's own.
            _ if group(self.source.0) != group(self.destination.0) => group(self.destination.0),
            // Both are, or neither is known: who listens was connected to.
            _ => listening(self.udp, self.source.1) && !listening(self.udp, self.destination.1),
        };
        let (local, remote) = if source_is_local { (self.source, self.destination) } else { (self.destination, self.source) };
        Tuple { udp: self.udp, local, remote }
    }
}

/// An address in one form: no zone, and IPv4 in IPv6 as IPv4.
fn plain(text: &str) -> Option<IpAddr> {
    let text = text.split('%').next().unwrap_or(text);
    let address = text.parse::<IpAddr>().ok()?;
    Some(match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        four => four,
    })
}

fn protocol(udp: bool, address: IpAddr) -> String {
    format!("{}{}", if udp { "UDP" } else { "TCP" }, if address.is_ipv6() { "v6" } else { "v4" })
}

/// A socket with addresses that can be compared.
struct Live<'a> {
    socket: &'a Socket,
    udp: bool,
    local: Option<(IpAddr, u16)>,
    remote: Option<(IpAddr, u16)>,
    taken: bool,
}

impl<'a> Live<'a> {
    fn read(socket: &'a Socket) -> Option<Self> {
        let udp = socket.protocol.starts_with("UDP");
        if !udp && !socket.protocol.starts_with("TCP") {
            return None;
        }
        let any = if socket.protocol.ends_with('6') { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::from([0, 0, 0, 0]) };
        let local = socket.local_address.value().map_or(Some(any), |text| plain(text)).zip(socket.local_port.value().copied());
        let remote = socket.remote_address.value().and_then(|text| plain(text)).zip(socket.remote_port.value().copied());
        Some(Self { socket, udp, local, remote: remote.filter(|_| !udp), taken: false })
    }
    fn listens(&self) -> bool {
        self.socket.state.value().is_some_and(|state| state == "LISTEN")
    }
    /// Whether it is the same protocol and ends; a datagram socket has only its own end, maybe without an address.
    fn is(&self, tuple: &Tuple) -> bool {
        let Some((address, port)) = self.local else { return false };
        let near = port == tuple.local.1
            && (address == tuple.local.0 || (self.udp && address.is_unspecified() && same_kind(address, tuple.local.0)));
        self.udp == tuple.udp && near && !self.listens() && (self.udp || self.remote == Some(tuple.remote))
    }
    /// What it is connected to, if it is.
    fn tuple(&self) -> Option<Tuple> {
        let remote = self.remote.filter(|_| !self.listens())?;
        Some(Tuple { udp: self.udp, local: self.local?, remote })
    }
    fn owned_by(&self, process: Process, pid: Option<u32>) -> bool {
        let (object, id) = (self.socket.process_address.value(), self.socket.pid.value().copied());
        match process {
            Process::Object(address) if object.is_some() => object == Some(&address),
            // The object is named: who it belongs to is known to be someone else.
            Process::Guid(_) if object.is_some() => false,
            _ => id.is_none() || id == pid,
        }
    }
}

fn verdict(logged: Option<bool>) -> Logs {
    match logged {
        Some(true) => Logs::Yes,
        Some(false) => Logs::No,
        None => Logs::Unknown,
    }
}

/// A field of Sysmon's event 3, as that event has it.
fn logged_field(event: &Event, field: &str) -> Seen {
    match event.data.get(field) {
        Some(Value::None) | None => Seen::Unknown,
        Some(value) => Seen::Text(value.to_string()),
    }
}

/// The same field, as far as memory tells it.
fn live_field(row: &Connection, tuple: &Tuple, swapped: bool, field: &str) -> Seen {
    let (source, destination) = if swapped { (tuple.remote, tuple.local) } else { (tuple.local, tuple.remote) };
    let end = |(address, _): (IpAddr, u16)| match address {
        // Sysmon writes all eight groups.
        IpAddr::V6(six) => six.segments().map(|group| format!("{group:x}")).join(":"),
        four => four.to_string(),
    };
    let text = match field {
        "ProcessId" => row.pid.value().map(ToString::to_string),
        "Image" => match row.image.value() {
            Some(path) if path.starts_with("\\Device\\") => {
                let rest = path.splitn(4, '\\').nth(3).map(|rest| format!("\\{rest}"));
                return rest.map_or(Seen::Unknown, Seen::Driveless);
            }
            path => path.cloned(),
        },
        "Protocol" => Some(if tuple.udp { "udp" } else { "tcp" }.to_owned()),
        "Initiated" => row.direction.value().map(|direction| (*direction == "outbound").to_string()),
        "SourceIsIpv6" => Some(source.0.is_ipv6().to_string()),
        "SourceIp" => Some(end(source)),
        "SourcePort" => Some(source.1.to_string()),
        "DestinationIsIpv6" => Some(destination.0.is_ipv6().to_string()),
        "DestinationIp" => Some(end(destination)),
        "DestinationPort" => Some(destination.1.to_string()),
        _ => None,
    };
    text.map_or(Seen::Unknown, Seen::Text)
}

fn same_kind(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

/// What noise a logged connection is, whichever end is this machine's.
pub fn logged_noise(event: &Event) -> Option<&'static str> {
    let logged = Logged::read(event)?;
    noise(logged.udp, logged.source, logged.destination)
}

/// What noise a socket in memory is.
pub fn socket_noise(socket: &Socket) -> Option<&'static str> {
    let tuple = Live::read(socket)?.tuple()?;
    noise(tuple.udp, tuple.local, tuple.remote)
}

/// What sockets and connections are judged by.
pub struct Context<'a> {
    pub machine: &'a Machine,
    pub capture: Option<Time>,
    /// Paths of programs, by process object.
    pub paths: HashMap<VirtAddr, String>,
    pub config: Option<&'a Config>,
}

/// All connections: those that events tell of, joined with their sockets, then the other sockets. `events` are joined with processes.
pub fn list(events: &[Event], sockets: &[Socket], context: &Context<'_>) -> (Vec<Connection>, Vec<String>) {
    let capture = context.capture;
    let mut live: Vec<Live<'_>> = sockets.iter().filter_map(Live::read).collect();
    let listeners: HashSet<(bool, u16)> =
        live.iter().filter(|live| live.listens() || live.udp).filter_map(|live| Some((live.udp, live.local?.1))).collect();
    let listening = |udp: bool, port: u16| listeners.contains(&(udp, port));
    let mut notes = Vec::new();
    let mut foreign = 0;
    let mut logged: Vec<(&Event, Logged)> = Vec::new();
    for event in events {
        let Some(connection) = Logged::read(event) else { continue };
        if context.machine.owner(event) == Owner::Another {
            foreign += 1;
        } else {
            logged.push((event, connection));
        }
    }
    if foreign > 0 {
        notes.push(format!("{foreign} logged connections are of another machine and left out; the table events has them"));
    }
    let began = logged.iter().filter(|(_, logged)| logged.outbound == Some(true)).map(|(_, logged)| logged.source.0);
    let own: HashSet<IpAddr> = live
        .iter()
        .filter(|live| live.remote.is_some() || live.udp)
        .filter_map(|live| Some(live.local?.0))
        .chain(began)
        .filter(|address| !address.is_unspecified() && !group(*address))
        .collect();
    let mut rows: Vec<Connection> = Vec::new();
    let mut places: HashMap<(Tuple, Process), usize> = HashMap::new();
    let mut keys: Vec<(Tuple, Process, &Event)> = Vec::new();
    for (event, logged) in logged {
        let tuple = logged.oriented(&own, listening);
        let process = match (event.process_address.value(), event.process_guid.value()) {
            (Some(address), _) => Process::Object(*address),
            (None, Some(guid)) => Process::Guid(*guid),
            (None, None) => Process::Pid(event.pid.value().copied()),
        };
        let place = *places.entry((tuple, process)).or_insert_with(|| {
            keys.push((tuple, process, event));
            rows.push(fresh(event, &logged, &tuple));
            rows.len() - 1
        });
        let Some(row) = rows.get_mut(place) else { continue };
        row.count += 1;
        seen(row, logged.time);
        row.user = match std::mem::take(&mut row.user) {
            Known::Absent => logged.user.into(),
            known => known,
        };
        if let (Some(number), true) = (event.record_id.value(), row.record_ids.len() < MOST_RECORDS) {
            row.record_ids.push(number.to_string());
        }
    }
    for (row, (tuple, process, event)) in rows.iter_mut().zip(&keys) {
        let pid = row.pid.value().copied();
        let found = live.iter_mut().filter(|live| live.is(tuple) && live.owned_by(*process, pid)).min_by_key(|live| live.taken);
        if let Some(live) = found {
            live.taken |= !live.udp;
            row.evidence = Evidence::Both;
            row.state = live.socket.state.clone();
            row.process = live.socket.process.clone();
            row.process_address = live.socket.process_address.clone();
            row.address = Known::Value(live.socket.address);
            seen_live(row, live.socket, capture);
        }
        if let Some(config) = context.config {
            let ruling = config.ruling(&|field| logged_field(event, field));
            (row.would_be_logged, row.rule) = (verdict(ruling.logged), Known::Value(ruling.why));
        }
    }
    for live in live.iter().filter(|live| !live.taken) {
        let mut row = alone(live, capture, &listening);
        row.noise = live.tuple().and_then(|tuple| noise(tuple.udp, tuple.local, tuple.remote)).into();
        row.image = row.process_address.value().and_then(|process| context.paths.get(process)).cloned().into();
        if let (Some(config), Some(tuple)) = (context.config, live.tuple()) {
            // Which end an inbound connection has as its source differs: both must agree.
            let rule = |swapped| config.ruling(&|field| live_field(&row, &tuple, swapped, field));
            let (first, second) = (rule(false), rule(row.direction != Known::Value("outbound")));
            let agreed = if first.logged == second.logged { first.logged } else { None };
            (row.would_be_logged, row.rule) = (verdict(agreed), Known::Value(first.why));
        }
        rows.push(row);
    }
    rows.sort_by_key(|row| (row.first_seen.value().copied(), row.address.value().copied()));
    (rows, notes)
}

fn fresh(event: &Event, logged: &Logged, tuple: &Tuple) -> Connection {
    Connection {
        protocol: protocol(tuple.udp, tuple.remote.0),
        local_address: Known::Value(tuple.local.0.to_string()),
        local_port: Known::Value(tuple.local.1),
        remote_address: Known::Value(tuple.remote.0.to_string()),
        remote_port: Known::Value(tuple.remote.1),
        direction: logged.outbound.map(|outbound| if outbound { "outbound" } else { "inbound" }).into(),
        pid: event.pid.clone(),
        process: event.image.value().map(|image| image.rsplit('\\').next().unwrap_or(image).to_owned()).into(),
        image: event.image.value().map(ToString::to_string).into(),
        evidence: Evidence::Logged,
        process_guid: event.process_guid.clone(),
        process_address: event.process_address.clone(),
        noise: noise(tuple.udp, tuple.local, tuple.remote).into(),
        ..Connection::default()
    }
}

fn alone(live: &Live<'_>, capture: Option<Time>, listening: &impl Fn(bool, u16) -> bool) -> Connection {
    let socket = live.socket;
    let direction = match (live.listens(), live.udp, live.local) {
        (true, ..) => Some("listening"),
        (_, true, _) | (_, _, None) => None,
        (.., Some((_, port))) => Some(if listening(false, port) { "inbound" } else { "outbound" }),
    };
    let mut row = Connection {
        protocol: socket.protocol.clone(),
        local_address: socket.local_address.clone(),
        local_port: socket.local_port.clone(),
        remote_address: socket.remote_address.clone(),
        remote_port: socket.remote_port.clone(),
        direction: direction.into(),
        state: socket.state.clone(),
        pid: socket.pid.clone(),
        process: socket.process.clone(),
        evidence: Evidence::Live,
        process_address: socket.process_address.clone(),
        address: Known::Value(socket.address),
        problems: socket.problems.clone(),
        ..Connection::default()
    };
    seen_live(&mut row, socket, capture);
    row
}

/// A socket was there when it was made; one that is in use, until the capture.
fn seen_live(row: &mut Connection, socket: &Socket, capture: Option<Time>) {
    seen(row, socket.create_time.value().copied());
    let over = socket.state.value().is_some_and(|state| state == "CLOSED" || state == "TIME_WAIT");
    if !over && socket.problems.is_empty() {
        seen(row, capture);
    }
}

fn seen(row: &mut Connection, time: Option<Time>) {
    let Some(time) = time else { return };
    if row.first_seen.value().is_none_or(|first| time < *first) {
        row.first_seen = Known::Value(time);
    }
    if row.last_seen.value().is_none_or(|last| time > *last) {
        row.last_seen = Known::Value(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(source: &str, destination: &str, outbound: Option<bool>) -> Logged {
        let end = |text: &str| text.parse::<std::net::SocketAddr>().map_or((IpAddr::from([0; 4]), 0), |end| (end.ip(), end.port()));
        Logged { udp: false, source: end(source), destination: end(destination), outbound, time: None, user: None }
    }

    #[test]
    fn the_local_end_is_the_machines_own() {
        let own = HashSet::from([IpAddr::from([10, 0, 0, 1])]);
        let local = |source, destination, outbound| {
            let tuple = logged(source, destination, outbound).oriented(&own, |_, port| port == 3389);
            format!("{}:{}", tuple.local.0, tuple.local.1)
        };
        assert_eq!(local("9.9.9.9:5", "8.8.8.8:443", Some(true)), "9.9.9.9:5");
        // Inbound, written either way round.
        assert_eq!(local("10.0.0.9:5", "10.0.0.1:445", Some(false)), "10.0.0.1:445");
        assert_eq!(local("10.0.0.1:445", "10.0.0.9:5", Some(false)), "10.0.0.1:445");
        // Both ends are this machine's: who listens was connected to.
        assert_eq!(local("127.0.0.1:3389", "127.0.0.1:50000", Some(false)), "127.0.0.1:3389");
        assert_eq!(local("127.0.0.1:50000", "127.0.0.1:3389", Some(false)), "127.0.0.1:3389");
        // A group is never an end of one's own.
        assert_eq!(local("239.255.255.250:1900", "10.9.9.9:5", Some(false)), "10.9.9.9:5");
    }

    #[test]
    fn addresses_have_one_form() {
        let shown = |text| plain(text).map(|address| address.to_string());
        assert_eq!(shown("0:0:0:0:0:0:0:1").as_deref(), Some("::1"));
        assert_eq!(shown("fe80:0:0:0:80ac:4126:fa58:1b81%12").as_deref(), Some("fe80::80ac:4126:fa58:1b81"));
        assert_eq!(shown("::ffff:192.168.56.20").as_deref(), Some("192.168.56.20"));
        assert_eq!(shown("-"), None);
    }
}
