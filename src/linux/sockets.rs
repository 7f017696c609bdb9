//! Sockets: those that processes hold open, and those that stand in the protocols' tables alone (TIME_WAIT, orphaned, the kernel's own).

use super::tasks::Task;
use super::{Linux, files};
use crate::address::VirtAddr;
use crate::facts::{Known, ReadError, Scope, Sink, Socket};
use crate::symbols::{Context, Object};
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Address families (include/linux/socket.h).
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const AF_PACKET: u64 = 17;
const FAMILIES: [(u64, &str); 11] = [
    (5, "APPLETALK"),
    (9, "X25"),
    (15, "KEY"),
    (29, "CAN"),
    (30, "TIPC"),
    (31, "BLUETOOTH"),
    (38, "ALG"),
    (39, "NFC"),
    (40, "VSOCK"),
    (43, "SMC"),
    (44, "XDP"),
];
/// IP protocols (IANA), as sk_protocol holds them.
const PROTOCOLS: [(u64, &str); 7] = [(6, "TCP"), (17, "UDP"), (33, "DCCP"), (115, "L2TP"), (132, "SCTP"), (136, "UDPLITE"), (262, "MPTCP")];
/// Netlink families (include/uapi/linux/netlink.h).
const NETLINKS: [&str; 23] = [
    "ROUTE",
    "UNUSED",
    "USERSOCK",
    "FIREWALL",
    "SOCK_DIAG",
    "NFLOG",
    "XFRM",
    "SELINUX",
    "ISCSI",
    "AUDIT",
    "FIB_LOOKUP",
    "CONNECTOR",
    "NETFILTER",
    "IP6_FW",
    "DNRTMSG",
    "KOBJECT_UEVENT",
    "GENERIC",
    "DM",
    "SCSITRANSPORT",
    "ECRYPTFS",
    "RDMA",
    "CRYPTO",
    "SMC",
];
/// Socket types.
const SOCK_DGRAM: u64 = 2;
const SOCK_RAW: u64 = 3;
/// TCP states (include/net/tcp_states.h); the other protocols borrow them.
const STATES: [&str; 14] = [
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
    "BOUND_INACTIVE",
];

/// Buckets of all tables together (kernels make half a million for the largest), and entries of one table.
const MOST_BUCKETS: u64 = 1 << 24;
const MOST_ENTRIES: usize = 1 << 22;

pub fn sockets(linux: &Linux, scope: Scope, out: &mut Sink<Socket>) {
    let mut owned = HashSet::new();
    let mut unbound_sockets = 0;
    for task in linux.tasks(scope, out.watch()) {
        if out.cancelled() {
            return;
        }
        let open = match files::descriptors(&task.object) {
            Ok(open) => open,
            Err(why) => {
                out.note(format!("sockets of {} {}: {why}", task.name, task.pid));
                continue;
            }
        };
        for (number, file) in open {
            if let Some(socket) = linux.socket_of(&file) {
                match socket.and_then(|(sock, inode)| owned_row(&task, number, &sock, inode)) {
                    Ok(row) if unbound(&row) => unbound_sockets += 1,
                    Ok(row) => {
                        owned.insert(row.address);
                        out.push(row);
                    }
                    Err(why) => out.note(format!("descriptor {number} of {} {} is a socket: {why}", task.name, task.pid)),
                }
            }
        }
    }
    if unbound_sockets > 0 {
        out.note(format!(
            "{unbound_sockets} internet sockets that were never bound nor connected are left out, as ss and netstat do; open_files has them"
        ));
    }
    if scope == Scope::Machine {
        without_owner(linux, &owned, out);
    }
}

impl Linux {
    /// The sock behind a struct file, with the socket's inode number; None where the file is no socket.
    fn socket_of<'a>(&self, file: &Object<'a>) -> Option<Result<(Object<'a>, u64), ReadError>> {
        let read = || -> Result<Option<(Object<'a>, u64)>, ReadError> {
            let inode = file.follow_some("f_inode")?;
            // S_IFSOCK, and made by the socket layer: the end of a path in a file system is a socket file without a socket.
            if inode.uint("i_mode")? & 0o170_000 != 0o140_000 || super::path::file_system(&inode)? != "sockfs" {
                return Ok(None);
            }
            let context = file.context();
            let socket = context.object("socket", file.pointer("private_data")?)?;
            match socket.follow("sk")? {
                Some(sock) => Ok(Some((sock, inode.uint("i_ino")?))),
                None => Ok(None),
            }
        };
        read().transpose()
    }
}

fn owned_row(task: &Task<'_>, number: u32, sock: &Object<'_>, inode: u64) -> Result<Socket, ReadError> {
    Ok(Socket {
        pid: Known::Value(task.pid),
        process: Known::Value(task.name.clone()),
        fd: Known::Value(number),
        inode: Known::Value(inode),
        process_address: Known::Value(task.object.address),
        sources: vec!["descriptor"],
        ..describe(sock)?
    })
}

/// An internet socket without any address: in none of the protocols' tables.
fn unbound(row: &Socket) -> bool {
    (row.protocol.starts_with("TCP") || row.protocol.starts_with("UDP"))
        && row.local_port == Known::Value(0)
        && row.remote_port == Known::Absent
        && row.state.value().is_none_or(|state| state == "CLOSE" || state == "UNCONNECTED")
}

/// Everything about a socket but its owner.
fn describe(sock: &Object<'_>) -> Result<Socket, ReadError> {
    let common = sock.inner("__sk_common")?;
    let family = common.uint("skc_family")?;
    let mut row = from_common(&common)?;
    let (kind, protocol) = (sock.uint("sk_type")?, sock.uint("sk_protocol")?);
    match family {
        AF_INET | AF_INET6 => {
            let version = if family == AF_INET6 { "v6" } else { "v4" };
            row.protocol = match (kind, protocol) {
                (SOCK_RAW, _) => "RAW".to_owned(),
                // ICMP and ICMPv6: the sockets of an unprivileged ping.
                (SOCK_DGRAM, 1 | 58) => "ICMP".to_owned(),
                _ => word(&PROTOCOLS, protocol).map_or_else(|| format!("IP{protocol}{version}"), |name| format!("{name}{version}")),
            };
            if kind == SOCK_RAW {
                // A raw socket keeps its protocol where others keep their port.
                row.local_port = Known::Absent;
            }
            if row.protocol != "TCPv4" && row.protocol != "TCPv6" && row.state == Known::Value("CLOSE".to_owned()) {
                row.state = Known::Value("UNCONNECTED".to_owned());
            }
        }
        AF_UNIX => {
            let unix = sock.context().object("unix_sock", sock.address)?;
            row.protocol = "UNIX".to_owned();
            row.local_address = unix_name(&unix).into();
            row.remote_address = peer_name(&unix).into();
        }
        AF_NETLINK => {
            let netlink = sock.context().object("netlink_sock", sock.address)?;
            let name = NETLINKS.get(protocol as usize).copied().unwrap_or("?");
            row.protocol = "NETLINK".to_owned();
            row.local_address = netlink.uint("portid").map(|port| format!("{name}:{port}")).into();
            row.state = Known::Absent;
        }
        AF_PACKET => {
            let packet = sock.context().object("packet_sock", sock.address)?;
            let read = || -> Result<String, ReadError> {
                let ethertype = (packet.uint("num")? as u16).swap_bytes();
                Ok(format!("interface {} type {ethertype:#06x}", packet.uint("ifindex")?))
            };
            row.protocol = "PACKET".to_owned();
            row.local_address = read().into();
            row.state = Known::Absent;
        }
        _ => row.protocol = word(&FAMILIES, family).map_or_else(|| format!("AF{family}"), str::to_owned),
    }
    row.address = sock.address;
    Ok(row)
}

fn word(words: &[(u64, &'static str)], number: u64) -> Option<&'static str> {
    words.iter().find(|(key, _)| *key == number).map(|(_, word)| *word)
}

/// What struct sock_common tells; TIME_WAIT and half-open ones are little more.
fn from_common(common: &Object<'_>) -> Result<Socket, ReadError> {
    let state = common.uint("skc_state")?;
    let mut row = Socket { address: common.address, ..Socket::default() };
    row.state = STATES.get(state as usize).filter(|name| !name.is_empty()).map(|name| (*name).to_owned()).into();
    row.namespace = namespace(common).into();
    let family = common.uint("skc_family")?;
    if family == AF_INET || family == AF_INET6 {
        let (local, remote) = if family == AF_INET6 {
            let read = |field| -> Result<String, ReadError> {
                Ok(Ipv6Addr::from(common.context().space.bytes::<16>(common.at(field)?)?).to_string())
            };
            (read("skc_v6_rcv_saddr"), read("skc_v6_daddr"))
        } else {
            // Stored in network order: the bytes as they lie.
            let read = |field| common.u32(field).map(|address| Ipv4Addr::from(address.to_le_bytes()).to_string());
            (read("skc_rcv_saddr"), read("skc_daddr"))
        };
        let remote_port = common.uint("skc_dport").map(|port| (port as u16).swap_bytes());
        let connected = remote_port != Ok(0) || !matches!(remote.as_deref(), Ok("0.0.0.0" | "::"));
        row.local_address = local.into();
        row.local_port = common.uint("skc_num").map(|port| port as u16).into();
        if connected {
            row.remote_address = remote.into();
            row.remote_port = remote_port.into();
        }
    }
    Ok(row)
}

fn namespace(common: &Object<'_>) -> Result<Option<u64>, ReadError> {
    let holder = common.inner("skc_net")?;
    // A possible_net_t is empty without CONFIG_NET_NS.
    if !holder.has("net") {
        return Ok(None);
    }
    holder.follow_some("net")?.inner("ns")?.uint("inum").map(Some)
}

/// The name a UNIX socket is bound to; one in the abstract space is shown with `@`, as /proc/net/unix does.
fn unix_name(unix: &Object<'_>) -> Result<Option<String>, ReadError> {
    let Some(address) = unix.follow("addr")? else { return Ok(None) };
    // sockaddr_un: two bytes of family, then the path; `len` counts both.
    let length = (address.uint("len")? as usize).saturating_sub(2).min(108);
    let mut bytes = vec![0; length];
    unix.context().space.read(address.at("name")?.offset(2), &mut bytes)?;
    if bytes.first() == Some(&0) {
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'@');
    } else if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

fn peer_name(unix: &Object<'_>) -> Result<Option<String>, ReadError> {
    let peer = unix.pointer("peer")?;
    if peer.is_null() {
        return Ok(None);
    }
    let peer = unix.context().object("unix_sock", peer)?;
    Ok(Some(unix_name(&peer)?.unwrap_or_else(|| format!("peer {}", peer.address))))
}

/// Sockets in the tables of TCP and UDP that no process holds.
fn without_owner(linux: &Linux, owned: &HashSet<VirtAddr>, out: &mut Sink<Socket>) {
    let mut seen = owned.clone();
    match tables(linux) {
        Ok(tables) => {
            let (mut left, mut skipped) = (MOST_BUCKETS, 0);
            for table in tables {
                let Some(rest) = left.checked_sub(table.buckets) else {
                    skipped += 1;
                    continue;
                };
                left = rest;
                for address in table.entries(linux.context(), out) {
                    if out.cancelled() {
                        return;
                    }
                    if seen.insert(address)
                        && let Some(row) = unowned(linux.context(), address, table.source)
                    {
                        out.push(row);
                    }
                }
            }
            if skipped > 0 {
                out.cut(format!("{skipped} tables of sockets with more than {MOST_BUCKETS} buckets were not looked through"));
            }
        }
        Err(why) => out.note(format!("sockets without owner (TIME_WAIT, orphaned) are missing: {why}")),
    }
}

fn unowned(context: Context<'_>, address: VirtAddr, source: &'static str) -> Option<Socket> {
    let common = context.object("sock_common", address).ok()?;
    let state = common.uint("skc_state").ok()?;
    let named = matches!(common.uint("skc_family").ok()?, AF_INET | AF_INET6) && (1..STATES.len() as u64).contains(&state);
    if !named {
        return None;
    }
    // TIME_WAIT and NEW_SYN_RECV entries are shorter than a sock: what follows the common part is something else.
    let mut row = match state {
        6 | 12 => {
            let version = if common.uint("skc_family").ok()? == AF_INET6 { "TCPv6" } else { "TCPv4" };
            Socket { protocol: version.to_owned(), ..from_common(&common).ok()? }
        }
        _ => describe(&context.object("sock", address).ok()?).ok()?,
    };
    row.sources = vec![source];
    Some(row)
}

/// A hash table of sockets.
struct Hash {
    source: &'static str,
    heads: VirtAddr,
    stride: u64,
    buckets: u64,
    /// Offset of the links within sock_common.
    link: u64,
}

impl Hash {
    fn entries(&self, context: Context<'_>, out: &Sink<Socket>) -> Vec<VirtAddr> {
        let (mut found, mut met) = (Vec::new(), HashSet::new());
        for bucket in 0..self.buckets {
            if bucket % 1024 == 0 && out.cancelled() {
                break;
            }
            let Ok(mut node) = context.space.pointer(self.heads.offset(bucket * self.stride)) else { continue };
            while found.len() < MOST_ENTRIES {
                // A chain ends in null or, with `nulls`, in an odd number. A table has a socket once: many chains may lead into one circle.
                if node.0 & 1 != 0 || !node.is_kernel() || !met.insert(node) {
                    break;
                }
                found.push(VirtAddr(node.0.wrapping_sub(self.link)));
                let Ok(next) = context.space.pointer(node) else { break };
                node = next;
            }
        }
        found
    }
}

fn tables(linux: &Linux) -> Result<Vec<Hash>, ReadError> {
    let context = linux.context();
    let common = context.profile.layout("sock_common")?;
    let mut tables = Vec::new();
    let mut infos = vec![context.symbol("tcp_hashinfo")?];
    let mut udp = vec![context.symbol("udp_table")?];
    // Since 6.1 and 6.2 a network namespace may have tables of its own.
    for net in context.list(context.symbol("net_namespace_list")?, "net", "list").map_while(Result::ok) {
        let Ok(ipv4) = net.inner("ipv4") else { continue };
        infos.extend(ipv4.inner("tcp_death_row").and_then(|row| row.pointer("hashinfo")).ok());
        udp.extend(ipv4.pointer("udp_table").ok());
    }
    let dedupe = |mut all: Vec<VirtAddr>| {
        all.sort();
        all.dedup();
        all
    };
    for info in dedupe(infos) {
        let Ok(info) = context.object("inet_hashinfo", info) else { continue };
        let bucket = u64::from(context.profile.layout("inet_ehash_bucket")?.size);
        if let (Ok(heads), Ok(mask)) = (info.pointer("ehash"), info.uint("ehash_mask")) {
            let link = common.offset("skc_nulls_node")?;
            tables.push(Hash { source: "tcp_hash", heads, stride: bucket, buckets: mask + 1, link });
        }
    }
    for table in dedupe(udp) {
        let Ok(table) = context.object("udp_table", table) else { continue };
        if let (Ok(heads), Ok(mask)) = (table.pointer("hash"), table.uint("mask")) {
            let stride = u64::from(context.profile.layout("udp_hslot")?.size);
            let link = common.offset("skc_node")?;
            tables.push(Hash { source: "udp_hash", heads, stride, buckets: mask + 1, link });
        }
    }
    // What is no mask and no address makes no table.
    tables.retain(|table| table.buckets.is_power_of_two() && table.heads.is_kernel());
    Ok(tables)
}
