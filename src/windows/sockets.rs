//! Sockets: what the tables of tcpip.sys lead to, and what lies in the pools beside, closed ones too.

use super::pool::KERNEL_HALF;
use super::processes::Member;
use super::tcpip::{self, Tcpip};
use super::text::filetime;
use super::{Windows, processes};
use crate::address::VirtAddr;
use crate::facts::{Known, ReadError, Scope, Sink, Socket, Watch};
use crate::symbols::pack::Version;
use crate::symbols::{Context, Object, Profile, SymbolTable};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
const MOST_SAMPLES: usize = 1024;
/// How much further than the owner the time may have moved, in bytes.
const TIME_STEPS: [i64; 5] = [0, 8, -8, 16, -16];

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
    owner_moved: u64,
    time_moved: u64,
    /// Objects that it reads whole.
    score: usize,
}

impl Fit<'_> {
    /// For people.
    fn description(&self) -> String {
        let layout = format!("the layout of {}", self.from);
        match (self.moved.cast_signed(), self.owner_moved.cast_signed(), self.time_moved.cast_signed()) {
            (0, 0, 0) => layout,
            (all, owner, time) if all == owner && all == time => format!("{layout}, moved by {all} bytes"),
            (0, owner, time) => format!("{layout}, with the owner moved by {owner} bytes and the time by {time}"),
            (all, owner, time) => format!("{layout}, moved by {all} bytes, the owner by {owner}, the time by {time}"),
        }
    }
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
        let (found, _) = reader.walk(&fits, out.watch());
        let (rows, _) = reader.rows(&found, &fits, out.watch());
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
    let (mut found, trouble) = reader.walk(&fits, out.watch());
    for (what, why) in trouble {
        out.note(format!("{what} could not be walked: {why}"));
    }
    for (kind, blocks) in &blocks {
        blocks.iter().for_each(|block| found.entry(*block).or_insert((*kind, [false; 3])).1[POOL_SCAN] = true);
    }
    let (mut rows, left) = reader.rows(&found, &fits, out.watch());
    let copies = without_copies(&mut rows);
    if copies > 0 {
        out.note(format!("{copies} pool blocks hold older copies of sockets that are here, and are left out"));
    }
    for (kind, (linked, stale)) in left {
        if linked > 0 {
            out.note(format!("{linked} {} that tcpip.sys has in its tables cannot be read", kind.noun()));
        }
        if stale > 0 {
            out.note(format!("{stale} pool blocks with the tag of {} hold none that is whole, and are left out", kind.noun()));
        }
    }
    rows.retain(|row| {
        let known = [&row.local_address, &row.remote_address].into_iter().all(|address| !matches!(address, Known::Unreadable(_)));
        if !known {
            out.note(format!("left out, since an address of it cannot be read: {}", told(row)));
        }
        known
    });
    if rows.iter().any(|row| row.protocol.ends_with('6') && row.local_address.value().is_some_and(|address| address == "::")) {
        out.note("a socket bound to :: may serve IPv4 too; which ones do is not read");
    }
    out.extend(rows.into_iter().filter(|row| admits(scope, row)));
}

/// What is known of a socket.
fn told(row: &Socket) -> String {
    let end = |address: &Known<String>, port: &Known<u16>| {
        let port = port.value().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", address.value().map_or("??", String::as_str))
    };
    let state = row.state.value().map(|state| format!(" {state}")).unwrap_or_default();
    let owner = row.process.value().zip(row.pid.value()).map(|(name, pid)| format!(" of {name} {pid}")).unwrap_or_default();
    let remote = match row.remote_port {
        Known::Absent => String::new(),
        _ => format!(" to {}", end(&row.remote_address, &row.remote_port)),
    };
    format!("{} {}{remote}{state}{owner}, at {}", row.protocol, end(&row.local_address, &row.local_port), row.address)
}

/// What was freed, or copied while it changed, may hold a socket again: that which a table leads to stays, or else the first. Gives the number
/// of those that do not.
fn without_copies(rows: &mut Vec<Socket>) -> usize {
    let all = rows.len();
    let linked = |row: &Socket| row.sources.iter().any(|source| *source != SOURCES[POOL_SCAN]);
    let identity = |row: &Socket| {
        let local = (row.local_address.value().cloned(), row.local_port.value().copied());
        let remote = (row.remote_address.value().cloned(), row.remote_port.value().copied());
        (row.protocol.clone(), local, remote, row.process_address.value().copied(), row.create_time.value().copied())
    };
    let mut told: BTreeSet<_> = rows.iter().filter(|row| linked(row)).map(identity).collect();
    rows.retain(|row| linked(row) || told.insert(identity(row)));
    all - rows.len()
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
            // Builds differ by a few fields; what is half as long was cut up.
            let size = self.tcpip.with(kind.structure()).next().and_then(|(_, profile)| profile.layout(kind.structure()).ok());
            let least = size.map_or(0, |layout| layout.size / 2);
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
        self.windows.tag_of(object).is_ok_and(|[a, b, c, d]| kind.tags().contains(&&[a, b, c, d & 0x7f]))
    }

    fn fit(&self, (from, profile): (Version, &'a Profile)) -> Fit<'a> {
        Fit { context: self.context(profile), from, moved: 0, owner_moved: 0, time_moved: 0, score: 0 }
    }

    /// The layouts nearest to this build, unproved.
    fn own_fits(&self) -> BTreeMap<Kind, Fit<'a>> {
        let own = |kind: Kind| Some((kind, self.fit(self.tcpip.with(kind.structure()).next()?)));
        Kind::ALL.into_iter().filter_map(own).collect()
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
            let best = if fits_well { own } else { self.best(*kind, own, samples, owner.map(|(at, _)| at)) };
            let (noun, build) = (kind.noun(), self.windows.version.build);
            match best.filter(|best| best.score > 0) {
                Some(fit) => {
                    if fit.from.build != build || fit.owner_moved != 0 {
                        let held = fit.score.max(owned);
                        out.note(format!(
                            "build {build}: {noun} are read by {}, which fits {} of {held} objects",
                            fit.description(),
                            fit.score
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
    fn best(&self, kind: Kind, own: Option<Fit<'a>>, samples: &[VirtAddr], owner: Option<u64>) -> Option<Fit<'a>> {
        let known: Vec<Fit<'a>> = self.tcpip.with(kind.structure()).map(|layout| self.fit(layout)).collect();
        let by = |fit: &Fit<'a>| {
            let known = fit.context.profile.layout(kind.structure()).ok()?.offset("Owner").ok()?;
            Some(owner?.wrapping_sub(known)).filter(|by| *by != 0)
        };
        let moved = known.iter().filter_map(|fit| Some((fit, by(fit)?))).flat_map(|(fit, by)| {
            TIME_STEPS
                .into_iter()
                .flat_map(move |step| [0, by].map(|moved| Fit { moved, owner_moved: by, time_moved: by.wrapping_add_signed(step), ..*fit }))
        });
        let moved: Vec<Fit<'a>> = moved.collect();
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
    fn walk(&self, fits: &BTreeMap<Kind, Fit<'a>>, watch: &Watch) -> (Found, Vec<(&'static str, ReadError)>) {
        let mut found = Found::new();
        let mut trouble = Vec::new();
        let Ok(symbols) = self.tcpip.symbols() else { return (found, trouble) };
        let tables = [
            (Kind::Connection, PARTITION_TABLE, "the partition table"),
            (Kind::Listener, PORT_POOL, "the port pool of TCP"),
            (Kind::Udp, PORT_POOL, "the port pool of UDP"),
        ];
        for (kind, source, what) in tables {
            let Some(fit) = fits.get(&kind) else { continue };
            let walk = |profile| match kind {
                Kind::Connection => self.connections(profile, symbols, fit, watch),
                _ => self.bound(kind, profile, symbols, fit, watch),
            };
            let table = if source == PARTITION_TABLE { "_PARTITION_TABLE" } else { "_INET_PORT_POOL" };
            let mut best = Err(ReadError::NoField(table));
            let count = |walked: &Result<HashSet<VirtAddr>, ReadError>| walked.as_ref().map_or(0, HashSet::len);
            for (index, (from, profile)) in self.tcpip.with(table).enumerate() {
                let walked = walk(profile);
                if index == 0 || count(&walked) > count(&best) {
                    best = walked;
                }
                // Where the layout for this very build leads somewhere there is nothing to guess.
                if watch.cancelled() || (from.build == self.windows.version.build && count(&best) > 0) {
                    break;
                }
            }
            match best {
                Ok(sockets) => sockets.into_iter().for_each(|object| found.entry(object).or_insert((kind, [false; 3])).1[source] = true),
                Err(why) => trouble.push((what, why)),
            }
        }
        (found, trouble)
    }

    /// The connections in the partition table. `profile` tells how the table is laid out.
    fn connections(&self, profile: &Profile, symbols: &SymbolTable, fit: &Fit<'_>, watch: &Watch) -> Result<HashSet<VirtAddr>, ReadError> {
        let context = Context { space: &self.windows.space, profile };
        let entry = profile.layout("_TCP_ENDPOINT")?.offset("ListEntry")?;
        let links = tcpip::partition_links(context, symbols, watch)?.into_iter();
        let objects = links.map(|link| VirtAddr(link.0.wrapping_sub(entry).wrapping_sub(fit.moved)));
        Ok(objects.filter(|object| self.has_tag(Kind::Connection, *object)).collect())
    }

    /// The listeners or UDP endpoints in the port pool of their protocol. `profile` tells how the pool is laid out.
    fn bound(
        &self,
        kind: Kind,
        profile: &Profile,
        symbols: &SymbolTable,
        fit: &Fit<'_>,
        watch: &Watch,
    ) -> Result<HashSet<VirtAddr>, ReadError> {
        let (pool, compartments) =
            if kind == Kind::Udp { ("UdpPortPool", "UdpCompartmentSet") } else { ("TcpPortPool", "TcpCompartmentSet") };
        let context = Context { space: &self.windows.space, profile };
        // A layout that was only known for its objects may lack their links.
        let linked = if fit.context.profile.has(kind.structure(), "Next") { fit.context } else { context };
        let mut found = HashSet::new();
        for link in tcpip::port_links(context, symbols, pool, compartments)? {
            if watch.cancelled() {
                break;
            }
            // A chain that breaks off still gave what stands before the break.
            let _ = tcpip::chain(linked, kind.structure(), fit.moved, link, |object| self.has_tag(kind, object), &mut found);
        }
        Ok(found)
    }

    /// Rows of what reads as a socket; and how many objects of each kind do not, those in tables and those in freed blocks.
    fn rows(&self, found: &Found, fits: &BTreeMap<Kind, Fit<'a>>, watch: &Watch) -> (Vec<Socket>, BTreeMap<Kind, (usize, usize)>) {
        let mut rows = Vec::new();
        let mut left: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
        for (object, (kind, found_by)) in found.iter().take_while(|_| !watch.cancelled()) {
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
                // What is connected has an address of its own.
                let any = row.local_address.value().is_some_and(|address| address == "0.0.0.0" || address == "::");
                if any && row.remote_port != Known::Value(0) {
                    row.local_address = settle(Err(ReadError::Implausible("local address")))?;
                }
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
        self.own(&mut row, fit, kind, linked)?;
        if !linked && self.freed(at) {
            row.problems.push("its pool block is marked as free".to_owned());
        }
        Ok(row)
    }

    /// Fills in owner and time.
    fn own(&self, row: &mut Socket, fit: &Fit<'_>, kind: Kind, linked: bool) -> Result<(), ReadError> {
        let object = |moved| fit.context.object(kind.structure(), row.address.offset(moved));
        let (owner, created) = (object(fit.owner_moved)?.pointer("Owner")?, object(fit.time_moved)?.uint("CreateTime")?);
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
    let first = known(address.pointer("pData")?)?;
    match address.follow("pData") {
        Ok(_) => Ok(Some(first)),
        Err(_) => known(address.context().space.pointer(first)?).map(Some),
    }
}

fn address(context: Context<'_>, at: Option<VirtAddr>, six: bool) -> Result<String, ReadError> {
    let Some(at) = at else {
        return Ok(if six { Ipv6Addr::UNSPECIFIED.to_string() } else { Ipv4Addr::UNSPECIFIED.to_string() });
    };
    let place = context.object("_IN_ADDR", at)?.at(if six { "addr6" } else { "addr4" })?;
    // What was overwritten in the kernel holds pointers.
    let is_pointer = |word: VirtAddr| word >= KERNEL_HALF;
    let [first, second] = [place, place.offset(8)].map(|at| context.space.pointer(at));
    let overwritten = first.is_ok_and(is_pointer) && (!six || second.is_ok_and(|second| second.is_null() || is_pointer(second)));
    match six {
        _ if overwritten => Err(ReadError::Implausible("address")),
        true => context.space.bytes::<16>(place).map(|bytes| Ipv6Addr::from(bytes).to_string()),
        false => context.space.bytes::<4>(place).map(|bytes| Ipv4Addr::from(bytes).to_string()),
    }
}
