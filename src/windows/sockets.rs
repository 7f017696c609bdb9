//! Sockets: what the tables of tcpip.sys lead to, and what lies in the pools beside, closed ones too.

use super::processes::Member;
use super::tcpip::{self, Tcpip};
use super::text::filetime;
use super::{Windows, processes};
use crate::address::VirtAddr;
use crate::facts::{Known, ReadError, Scope, Sink, Socket};
use crate::symbols::pack::Version;
use crate::symbols::{Context, Object, Profile};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Address families (winsock2.h).
const AF_INET: u64 = 2;
const AF_INET6: u64 = 23;
/// States of a connection, as netstat names them.
const STATES: [(u64, &str); 12] = [
    (0, "CLOSED"),
    (1, "LISTEN"),
    (2, "SYN_SENT"),
    (3, "SYN_RCVD"),
    (4, "ESTABLISHED"),
    (5, "FIN_WAIT1"),
    (6, "FIN_WAIT2"),
    (7, "CLOSE_WAIT"),
    (8, "CLOSING"),
    (9, "LAST_ACK"),
    (12, "TIME_WAIT"),
    (13, "DELETE_TCB"),
];

/// Ways to find a socket; the order is that of the `sources` column.
const SOURCES: [&str; 3] = ["partition_table", "port_pool", "pool_scan"];
const PARTITION_TABLE: usize = 0;
const PORT_POOL: usize = 1;
const POOL_SCAN: usize = 2;

/// Memory is read over minutes, and the clock page at one moment of them: times may lie a little after it. In units of 100 ns.
const SLACK: u64 = 24 * 3600 * 10_000_000;
/// How far into an object its owner is looked for.
const REACH: usize = 0x400;
/// Objects that a layout is tried on.
const MOST_SAMPLES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Listener,
    Connection,
    Udp,
    TimeWait,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Listener, Self::Connection, Self::Udp, Self::TimeWait];

    fn structure(self) -> &'static str {
        match self {
            Self::Listener => "_TCP_LISTENER",
            Self::Connection => "_TCP_ENDPOINT",
            Self::Udp => "_UDP_ENDPOINT",
            Self::TimeWait => "_TCP_TIMEWAIT_ENDPOINT",
        }
    }
    /// The tags of its pool blocks.
    fn tags(self) -> &'static [&'static [u8; 4]] {
        match self {
            Self::Listener => &[b"TcpL"],
            Self::Connection => &[b"TcpE", b"TTcb"],
            Self::Udp => &[b"UdpA"],
            Self::TimeWait => &[b"TcTW"],
        }
    }
    fn noun(self) -> &'static str {
        match self {
            Self::Listener => "TCP listeners",
            Self::Connection => "TCP connections",
            Self::Udp => "UDP endpoints",
            Self::TimeWait => "connections in TIME_WAIT",
        }
    }
}

/// How the objects of one kind are read: by the layout of some version, its fields moved as far as this build moved them.
#[derive(Clone, Copy)]
struct Fit<'a> {
    context: Context<'a>,
    from: Version,
    /// All fields but those that follow.
    moved: u64,
    /// Owner and time.
    owner_moved: u64,
    /// Objects that it reads whole.
    score: usize,
}

/// Objects to be told as rows: by address, with the ways that led to them.
type Found = BTreeMap<VirtAddr, (Kind, [bool; 3])>;

struct Reader<'a> {
    windows: &'a Windows,
    tcpip: &'a Tcpip,
    members: HashMap<VirtAddr, Member>,
    /// No time lies after this.
    latest: u64,
}

pub fn sockets(windows: &Windows, scope: Scope, out: &mut Sink<Socket>) {
    let tcpip = windows.tcpip();
    if let Some(why) = tcpip.trouble {
        out.note(format!("no sockets: {why}"));
        return;
    }
    if let Err(why) = tcpip.symbols() {
        out.note(format!("sockets are found by the tags of their pool blocks alone: {why}"));
    }
    // What the tables lead to stands at once; the sweep adds the rest.
    if !windows.swept() {
        let reader = Reader::new(windows, &windows.listed().members);
        let fits = reader.own_fits();
        let (found, _) = reader.walk(&fits);
        let (rows, _) = reader.rows(&found, &fits);
        out.extend(rows.into_iter().filter(|row| admits(scope, row)));
        out.preview();
    }
    let roster = windows.roster(out.watch());
    let reader = Reader::new(windows, &roster.members);
    let blocks = match reader.blocks(out) {
        Ok(blocks) => blocks,
        Err(why) => {
            out.note(format!("the pools were not searched for sockets: {why}"));
            BTreeMap::new()
        }
    };
    let fits = reader.fits(&blocks, out);
    let (mut found, trouble) = reader.walk(&fits);
    for (what, why) in trouble {
        out.note(format!("{what} could not be walked: {why}"));
    }
    for (kind, blocks) in &blocks {
        blocks.iter().for_each(|block| found.entry(*block).or_insert((*kind, [false; 3])).1[POOL_SCAN] = true);
    }
    let (rows, left) = reader.rows(&found, &fits);
    for (kind, (linked, stale)) in left {
        if linked > 0 {
            out.note(format!("{linked} {} that tcpip.sys has in its tables cannot be read", kind.noun()));
        }
        if stale > 0 {
            out.note(format!("{stale} pool blocks of {} were freed and overwritten, and are left out", kind.noun()));
        }
    }
    if rows.iter().any(|row| row.protocol.ends_with('6') && row.local_address.value().is_some_and(|address| address == "::")) {
        out.note("a socket bound to :: may serve IPv4 too; which ones do is not read");
    }
    out.extend(rows.into_iter().filter(|row| admits(scope, row)));
}

fn admits(scope: Scope, row: &Socket) -> bool {
    match (row.pid.value(), row.process_address.value()) {
        (Some(pid), Some(process)) => scope.admits(*pid, *process),
        _ => scope == Scope::Machine,
    }
}

impl<'a> Reader<'a> {
    fn new(windows: &'a Windows, members: &[Member]) -> Self {
        let members = members.iter().filter(|member| member.mapped).map(|member| (member.address, member.clone())).collect();
        Self { windows, tcpip: windows.tcpip(), members, latest: windows.shared_now().saturating_add(SLACK) }
    }

    fn context(&self, profile: &'a Profile) -> Context<'a> {
        Context { space: &self.windows.space, profile }
    }

    /// Mapped objects by the tags of their blocks, and a note for blocks that nothing maps.
    fn blocks(&self, out: &mut Sink<Socket>) -> Result<BTreeMap<Kind, Vec<VirtAddr>>, ReadError> {
        let pools = self.windows.pools(out.watch())?;
        let header = self.windows.profile.layout("_POOL_HEADER")?.size;
        let mut found = BTreeMap::new();
        let mut adrift = 0;
        for kind in Kind::ALL {
            let least = self.tcpip.with(kind.structure()).and_then(|profile| profile.layout(kind.structure()).ok());
            let least = least.map_or(0, |layout| layout.size);
            let blocks = kind.tags().iter().flat_map(|tag| pools.with_tag(tag)).filter(|block| block.size >= least);
            let mapped = blocks.filter_map(|block| {
                adrift += usize::from(block.address.is_none());
                block.address.map(|address| address.offset(header.into()))
            });
            found.insert(kind, mapped.collect());
        }
        if adrift > 0 {
            out.note(format!("{adrift} pool blocks with the tags of sockets lie in memory that nothing maps any more, and are left out"));
        }
        Ok(found)
    }

    fn has_tag(&self, kind: Kind, object: VirtAddr) -> bool {
        let read = || -> Result<[u8; 4], ReadError> {
            let header = self.windows.profile.layout("_POOL_HEADER")?;
            self.windows.space.bytes(VirtAddr(object.0.wrapping_sub(header.size.into())).offset(header.offset("PoolTag")?))
        };
        read().is_ok_and(|[a, b, c, d]| kind.tags().contains(&&[a, b, c, d & 0x7f]))
    }

    /// The layouts of this build, unproved.
    fn own_fits(&self) -> BTreeMap<Kind, Fit<'a>> {
        let own = Kind::ALL.into_iter().filter_map(|kind| {
            let layouts = self.tcpip.layouts().first()?;
            let fit = Fit { context: self.context(layouts.profile()?), from: layouts.from, moved: 0, owner_moved: 0, score: 0 };
            fit.context.profile.layout(kind.structure()).ok().map(|_| (kind, fit))
        });
        own.collect()
    }

    /// For each kind the layout that reads most of its objects, and notes where that is not the one known for this build.
    fn fits(&self, blocks: &BTreeMap<Kind, Vec<VirtAddr>>, out: &mut Sink<Socket>) -> BTreeMap<Kind, Fit<'a>> {
        let mut fits = self.own_fits();
        for (kind, samples) in blocks {
            let samples = &samples[..samples.len().min(MOST_SAMPLES)];
            if samples.is_empty() || out.cancelled() {
                continue;
            }
            let owner = self.owner_offset(samples);
            let owned = owner.map_or(0, |(_, owned)| owned);
            let own = fits.remove(kind).map(|own| self.tried(*kind, own, samples));
            let fits_well = own.is_some_and(|own| own.score > 0 && own.score * 2 >= owned);
            let best = if fits_well { own } else { self.best(*kind, own, samples, owner) };
            let (noun, build) = (kind.noun(), self.windows.version);
            match best.filter(|best| best.score > 0) {
                Some(fit) => {
                    let exact = fit.from.build == build.build && fit.owner_moved == 0;
                    if !exact {
                        let moved = match (fit.owner_moved.cast_signed(), fit.moved.cast_signed()) {
                            (0, 0) => String::new(),
                            (owner, 0) => format!(", owner and time moved by {owner} bytes"),
                            (all, _) => format!(", moved by {all} bytes"),
                        };
                        let (from, score) = (fit.from, fit.score);
                        let held = score.max(owned);
                        out.note(format!(
                            "build {}: {noun} are read by the layout of {from}{moved}; it fits {score} of {held} that have an owner",
                            build.build
                        ));
                    }
                    fits.insert(*kind, fit);
                }
                None if owned > 0 => out.note(format!("{noun} are missing: no known layout fits any of {owned} objects")),
                None => {}
            }
        }
        fits
    }

    /// The best of all layouts, as they are and with their fields moved to where the owner is seen.
    fn best(&self, kind: Kind, own: Option<Fit<'a>>, samples: &[VirtAddr], owner: Option<(u64, usize)>) -> Option<Fit<'a>> {
        let known: Vec<Fit<'a>> = self
            .tcpip
            .layouts()
            .iter()
            .filter_map(|layouts| {
                let context = self.context(layouts.profile()?);
                context.profile.layout(kind.structure()).ok()?;
                Some(Fit { context, from: layouts.from, moved: 0, owner_moved: 0, score: 0 })
            })
            .collect();
        let moved = known.iter().filter_map(|fit| {
            let at = fit.context.profile.layout(kind.structure()).ok()?.offset("Owner").ok()?;
            let by = owner?.0.wrapping_sub(at);
            (by != 0).then_some([Fit { moved: by, owner_moved: by, ..*fit }, Fit { owner_moved: by, ..*fit }])
        });
        let moved: Vec<Fit<'a>> = moved.flatten().collect();
        // Of equals the first: a layout as it is known before one that is guessed.
        let mut best = own;
        for fit in known.into_iter().chain(moved) {
            let fit = self.tried(kind, fit, samples);
            if best.is_none_or(|best| fit.score > best.score) {
                best = Some(fit);
            }
        }
        best
    }

    fn tried(&self, kind: Kind, fit: Fit<'a>, samples: &[VirtAddr]) -> Fit<'a> {
        Fit { score: samples.iter().filter(|sample| self.row(&fit, kind, **sample, false).is_ok()).count(), ..fit }
    }

    /// Where in the objects most pointers to processes lie, and how many.
    fn owner_offset(&self, samples: &[VirtAddr]) -> Option<(u64, usize)> {
        let mut seen: HashMap<usize, usize> = HashMap::new();
        for sample in samples {
            let mut bytes = [0; REACH];
            self.windows.space.read_available(*sample, &mut bytes, |_, _| {});
            let words = bytes.as_chunks::<8>().0.iter().map(|word| VirtAddr(u64::from_le_bytes(*word)));
            words.enumerate().filter(|(_, word)| self.members.contains_key(word)).for_each(|(at, _)| *seen.entry(at).or_default() += 1);
        }
        let (at, count) = seen.into_iter().max_by_key(|(at, count)| (*count, usize::MAX - at))?;
        Some((at as u64 * 8, count))
    }

    /// What the tables of tcpip.sys lead to, and which of them could not be walked.
    fn walk(&self, fits: &BTreeMap<Kind, Fit<'a>>) -> (Found, Vec<(&'static str, ReadError)>) {
        let mut found = Found::new();
        let mut trouble = Vec::new();
        let Ok(symbols) = self.tcpip.symbols() else { return (found, trouble) };
        let mut mark = |object: VirtAddr, kind: Kind, source: usize| found.entry(object).or_insert((kind, [false; 3])).1[source] = true;
        let none = ReadError::NoField("layout");
        let connections = || -> Result<Vec<VirtAddr>, ReadError> {
            let profile = self.tcpip.with("_PARTITION_TABLE").ok_or(none)?;
            let (links, at) =
                (tcpip::partition_links(self.context(profile), symbols)?, profile.layout("_TCP_ENDPOINT")?.offset("ListEntry")?);
            let moved = fits.get(&Kind::Connection).map_or(0, |fit| fit.moved);
            Ok(links.into_iter().map(|link| VirtAddr(link.0.wrapping_sub(at).wrapping_sub(moved))).collect())
        };
        match connections() {
            Ok(connections) => connections
                .into_iter()
                .filter(|object| self.has_tag(Kind::Connection, *object))
                .for_each(|object| mark(object, Kind::Connection, PARTITION_TABLE)),
            Err(why) => trouble.push(("the partition table", why)),
        }
        let pools = [
            (Kind::Listener, "TcpPortPool", "TcpCompartmentSet", "the port pool of TCP"),
            (Kind::Udp, "UdpPortPool", "UdpCompartmentSet", "the port pool of UDP"),
        ];
        for (kind, pool, compartments, what) in pools {
            let sockets = || -> Result<Vec<VirtAddr>, ReadError> {
                let profile = self.tcpip.with("_INET_PORT_POOL").ok_or(none)?;
                let links = tcpip::port_links(self.context(profile), symbols, pool, compartments)?;
                let (context, moved) = fits.get(&kind).map_or((self.context(profile), 0), |fit| (fit.context, fit.moved));
                let chain = |link| tcpip::chain(context, kind.structure(), moved, link, |object| self.has_tag(kind, object));
                Ok(links.into_iter().filter_map(|link| chain(link).ok()).flatten().collect())
            };
            match sockets() {
                Ok(sockets) => sockets.into_iter().for_each(|object| mark(object, kind, PORT_POOL)),
                Err(why) => trouble.push((what, why)),
            }
        }
        (found, trouble)
    }

    /// Rows of what reads as a socket; and how many objects of each kind do not, those in tables and those in freed blocks.
    fn rows(&self, found: &Found, fits: &BTreeMap<Kind, Fit<'a>>) -> (Vec<Socket>, BTreeMap<Kind, (usize, usize)>) {
        let mut rows = Vec::new();
        let mut left: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
        for (object, (kind, found_by)) in found {
            let Some(fit) = fits.get(kind) else { continue };
            let linked = found_by[PARTITION_TABLE] || found_by[PORT_POOL];
            match self.row(fit, *kind, *object, linked) {
                Ok(mut row) => {
                    row.sources = SOURCES.into_iter().zip(found_by).filter_map(|(name, found)| found.then_some(name)).collect();
                    rows.push(row);
                }
                Err(_) if linked => left.entry(*kind).or_default().0 += 1,
                Err(_) => left.entry(*kind).or_default().1 += 1,
            }
        }
        rows.sort_by_key(|row: &Socket| {
            (row.protocol.clone(), row.local_port.value().copied(), row.remote_port.value().copied(), row.address)
        });
        (rows, left)
    }

    /// A socket object as a row. One that no table leads to must prove itself: what lies in a freed block may be half overwritten.
    fn row(&self, fit: &Fit<'_>, kind: Kind, at: VirtAddr, linked: bool) -> Result<Socket, ReadError> {
        let object = fit.context.object(kind.structure(), at.offset(fit.moved))?;
        let six = match kernel(&object, "InetAF")?.uint("AddressFamily")? {
            AF_INET => false,
            AF_INET6 => true,
            _ => return Err(ReadError::Implausible("address family")),
        };
        let port = |field| object.uint(field).map(|port| (port as u16).swap_bytes());
        let bound = |port: u16| if port == 0 { Err(ReadError::Implausible("port")) } else { Ok(Known::Value(port)) };
        let settle = |read: Result<String, ReadError>| match read {
            Err(ReadError::Implausible(_) | ReadError::NotMapped(_)) if !linked => Err(ReadError::Implausible("address")),
            read => Ok(Known::from(read)),
        };
        let text = |at: Result<Option<VirtAddr>, ReadError>| at.and_then(|at| address(fit.context, at, six));
        let protocol = |name| format!("{name}{}", if six { "v6" } else { "v4" });
        let mut row = Socket { address: at, ..Socket::default() };
        match kind {
            Kind::Listener | Kind::Udp => {
                row.protocol = protocol(if kind == Kind::Udp { "UDP" } else { "TCP" });
                row.local_port = bound(port("Port")?)?;
                row.local_address = settle(text(local(&object)))?;
                if kind == Kind::Listener {
                    row.state = Known::Value("LISTEN".to_owned());
                }
            }
            Kind::Connection => {
                let state = object.uint("State")?;
                let (_, word) = STATES.iter().find(|(number, _)| *number == state).ok_or(ReadError::Implausible("state"))?;
                row.protocol = protocol("TCP");
                row.state = Known::Value((*word).to_owned());
                row.local_port = bound(port("LocalPort")?)?;
                row.remote_port = Known::Value(port("RemotePort")?);
                let addresses = kernel(&object, "AddrInfo");
                let remote = |info: &Object<'_>| info.pointer("Remote").and_then(|remote| known(remote).map(Some));
                row.local_address = settle(text(addresses.clone().and_then(|info| data(&kernel(&info, "Local")?))))?;
                row.remote_address = settle(text(addresses.and_then(|info| remote(&info))))?;
            }
            Kind::TimeWait => {
                row.protocol = protocol("TCP");
                row.state = Known::Value("TIME_WAIT".to_owned());
                row.local_port = bound(port("LocalPort")?)?;
                row.remote_port = bound(port("RemotePort")?)?;
                row.local_address = settle(text(local(&object)))?;
                row.remote_address = settle(text(object.pointer("RemoteAddress").and_then(known).map(Some)))?;
                // What remains of a connection in this state has neither owner nor time.
                return Ok(row);
            }
        }
        self.own(&mut row, &fit.context.object(kind.structure(), at.offset(fit.owner_moved))?, linked)?;
        if !linked && self.freed(at) {
            row.problems.push("its pool block is marked as free".to_owned());
        }
        Ok(row)
    }

    /// Fills in owner and time.
    fn own(&self, row: &mut Socket, object: &Object<'_>, linked: bool) -> Result<(), ReadError> {
        let (owner, created) = (object.pointer("Owner")?, object.uint("CreateTime")?);
        if created > self.latest || (created == 0 && !linked) {
            return Err(ReadError::Implausible("time"));
        }
        row.create_time = filetime(created).into();
        if owner.is_null() && linked {
            return Ok(());
        }
        let context = self.windows.context();
        let known = self.members.get(&owner).cloned();
        let member = known.or_else(|| self.windows.member(context, known_process(owner)?, processes::UNSEEN));
        let member = member.ok_or(ReadError::Implausible("owner"))?;
        // The memory of a process that ended may hold a later one.
        let began = context.object("_EPROCESS", owner)?.uint("CreateTime")?;
        if !linked && began > created {
            return Err(ReadError::Implausible("owner"));
        }
        row.pid = Known::Value(member.pid);
        row.process = Known::Value(member.name);
        row.process_address = Known::Value(member.address);
        Ok(())
    }

    /// Whether the header before an object says that its block is free.
    fn freed(&self, object: VirtAddr) -> bool {
        let header = self.windows.profile.layout("_POOL_HEADER").map_or(0, |layout| u64::from(layout.size));
        let header = self.windows.context().object("_POOL_HEADER", VirtAddr(object.0.wrapping_sub(header)));
        header.and_then(|header| header.uint("PoolType")) == Ok(0)
    }
}

fn known(pointer: VirtAddr) -> Result<VirtAddr, ReadError> {
    if pointer.is_kernel() { Ok(pointer) } else { Err(ReadError::Implausible("pointer")) }
}

fn known_process(pointer: VirtAddr) -> Option<VirtAddr> {
    known(pointer).ok().filter(|pointer| pointer.0 % 16 == 0)
}

/// The structure that a field points to.
fn kernel<'a>(object: &Object<'a>, field: &'static str) -> Result<Object<'a>, ReadError> {
    known(object.pointer(field)?)?;
    object.follow_some(field)
}

/// Where the local address of a socket lies; None for one bound to any.
fn local(socket: &Object<'_>) -> Result<Option<VirtAddr>, ReadError> {
    if socket.pointer("LocalAddr")?.is_null() {
        return Ok(None);
    }
    data(&kernel(socket, "LocalAddr")?)
}

/// Where the address of a local address object lies: behind one pointer or, in most layouts, two.
fn data(address: &Object<'_>) -> Result<Option<VirtAddr>, ReadError> {
    let first = address.pointer("pData")?;
    if first.is_null() {
        return Ok(None);
    }
    known(first)?;
    match address.follow("pData") {
        Ok(_) => Ok(Some(first)),
        Err(_) => known(address.context().space.pointer(first)?).map(Some),
    }
}

fn address(context: Context<'_>, at: Option<VirtAddr>, six: bool) -> Result<String, ReadError> {
    Ok(match (at, six) {
        (None, true) => Ipv6Addr::UNSPECIFIED.to_string(),
        (None, false) => Ipv4Addr::UNSPECIFIED.to_string(),
        (Some(at), true) => Ipv6Addr::from(context.space.bytes::<16>(context.object("_IN_ADDR", at)?.at("addr6")?)?).to_string(),
        (Some(at), false) => Ipv4Addr::from(context.space.bytes::<4>(context.object("_IN_ADDR", at)?.at("addr4")?)?).to_string(),
    })
}
