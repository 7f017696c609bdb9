//! Network interfaces and their addresses.

use super::Linux;
use crate::address::VirtAddr;
use crate::facts::linux::Interface;
use crate::facts::{Known, ReadError, Scope, Sink};
use crate::symbols::Object;
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

const MOST_NAMESPACES: usize = 1 << 16;
const MOST_INTERFACES: usize = 1 << 16;
/// Addresses of one interface.
const MOST_ADDRESSES: usize = 4096;
/// MAX_ADDR_LEN (include/linux/netdevice.h).
const MOST_HARDWARE: u64 = 32;

/// IFF_* (include/uapi/linux/if.h).
const FLAGS: [(u64, &str); 16] = [
    (1, "up"),
    (1 << 1, "broadcast"),
    (1 << 2, "debug"),
    (1 << 3, "loopback"),
    (1 << 4, "pointopoint"),
    (1 << 5, "notrailers"),
    (1 << 6, "running"),
    (1 << 7, "noarp"),
    (PROMISCUOUS, "promisc"),
    (1 << 9, "allmulti"),
    (1 << 10, "master"),
    (1 << 11, "slave"),
    (1 << 12, "multicast"),
    (1 << 13, "portsel"),
    (1 << 14, "automedia"),
    (1 << 15, "dynamic"),
];
const PROMISCUOUS: u64 = 1 << 8;
/// IF_OPER_* (include/uapi/linux/if.h).
const STATES: [&str; 7] = ["unknown", "not present", "down", "lower layer down", "testing", "dormant", "up"];

pub fn network_interfaces(linux: &Linux, scope: Scope, out: &mut Sink<Interface>) {
    // Interfaces belong to namespaces, whichever process is asked about.
    let _ = scope;
    let context = linux.context();
    let namespaces = match context.symbol("net_namespace_list") {
        Ok(head) => context.list(head, "net", "list"),
        Err(why) => return out.cut(format!("network namespaces cannot be found: {why}")),
    };
    let mut rows = 0;
    for namespace in namespaces.take(MOST_NAMESPACES) {
        let interfaces = namespace.and_then(|namespace| Ok((namespace.list("dev_base_head", "net_device", "dev_list")?, namespace)));
        let (interfaces, namespace) = match interfaces {
            Ok(found) => found,
            Err(why) => {
                out.cut(format!("the list of network namespaces is broken: {why}"));
                continue;
            }
        };
        let number = namespace.inner("ns").and_then(|common| common.uint("inum"));
        for interface in interfaces {
            if out.cancelled() {
                return;
            }
            if rows >= MOST_INTERFACES {
                return out.cut(format!("more than {MOST_INTERFACES} interfaces are not shown"));
            }
            let row = interface.and_then(|interface| describe(&interface, namespace.address));
            match row {
                Ok(row) => {
                    rows += 1;
                    out.push(Interface { namespace: number.into(), ..row });
                }
                Err(why) => out.note(format!("an interface of the network namespace at {}: {why}", namespace.address)),
            }
        }
    }
    if rows == 0 {
        out.note("no network namespace has an interface");
    }
}

fn describe(device: &Object<'_>, namespace: VirtAddr) -> Result<Interface, ReadError> {
    let name = device.text("name")?;
    // Without CONFIG_NET_NS there is nothing to lead back.
    let holder = device.inner("nd_net")?;
    let home = !holder.has("net") || holder.pointer("net")? == namespace;
    // What dev_valid_name() refuses.
    if !home || name.is_empty() || name.contains(|letter: char| letter == '/' || letter == ':' || letter.is_whitespace()) {
        return Err(ReadError::Implausible("net_device"));
    }
    let mut problems = Vec::new();
    let mut addresses = Vec::new();
    for (what, read) in [("IPv4 addresses", ipv4(device, &mut addresses)), ("IPv6 addresses", ipv6(device, &mut addresses))] {
        if let Err(why) = read {
            problems.push(format!("{what}: {why}"));
        }
    }
    let flags = device.uint("flags");
    let words = flags.map(|flags| FLAGS.into_iter().filter_map(move |(flag, word)| (flags & flag != 0).then_some(word)).collect());
    let words = words.unwrap_or_else(|why| {
        problems.push(format!("flags: {why}"));
        Vec::new()
    });
    // The count of those who asked for it says the same as the flag, unless one of the two was changed by hand.
    let promiscuous = flags.and_then(|flags| Ok(flags & PROMISCUOUS != 0 || device.uint("promiscuity")? != 0));
    Ok(Interface {
        name,
        index: device.u32("ifindex").into(),
        mac: hardware(device).into(),
        addresses,
        state: state(device).into(),
        promiscuous: promiscuous.into(),
        flags: words,
        mtu: device.uint("mtu").into(),
        namespace: Known::Absent,
        address: device.address,
        problems,
    })
}

fn state(device: &Object<'_>) -> Result<&'static str, ReadError> {
    STATES.get(device.uint("operstate")? as usize).copied().ok_or(ReadError::Implausible("operstate"))
}

/// None for an interface that has none, as a tunnel.
fn hardware(device: &Object<'_>) -> Result<Option<String>, ReadError> {
    let length = device.uint("addr_len")?;
    if length == 0 {
        return Ok(None);
    }
    if length > MOST_HARDWARE {
        return Err(ReadError::Implausible("addr_len"));
    }
    let mut bytes = vec![0; length as usize];
    device.context().space.read(device.pointer("dev_addr")?, &mut bytes)?;
    Ok(Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")))
}

fn ipv4(device: &Object<'_>, found: &mut Vec<String>) -> Result<(), ReadError> {
    let Some(settings) = device.follow("ip_ptr")? else { return Ok(()) };
    if settings.pointer("dev")? != device.address {
        return Err(ReadError::Implausible("in_device"));
    }
    let mut seen = HashSet::new();
    let mut next = settings.follow("ifa_list")?;
    while let Some(entry) = next {
        if !seen.insert(entry.address) || seen.len() > MOST_ADDRESSES || entry.pointer("ifa_dev")? != settings.address {
            return Err(ReadError::Implausible("in_ifaddr"));
        }
        // Stored in network order: the bytes as they lie.
        let address = Ipv4Addr::from(entry.u32("ifa_local")?.to_le_bytes());
        found.push(format!("{address}/{}", entry.uint("ifa_prefixlen")?));
        next = entry.follow("ifa_next")?;
    }
    Ok(())
}

fn ipv6(device: &Object<'_>, found: &mut Vec<String>) -> Result<(), ReadError> {
    if !device.has("ip6_ptr") {
        return Ok(());
    }
    let settings = device.pointer("ip6_ptr")?;
    if settings.is_null() {
        return Ok(());
    }
    let settings = device.context().object("inet6_dev", settings)?;
    if settings.pointer("dev")? != device.address {
        return Err(ReadError::Implausible("inet6_dev"));
    }
    for entry in settings.list("addr_list", "inet6_ifaddr", "if_list")?.take(MOST_ADDRESSES) {
        let entry = entry?;
        if entry.pointer("idev")? != settings.address {
            return Err(ReadError::Implausible("inet6_ifaddr"));
        }
        let address = Ipv6Addr::from(entry.context().space.bytes::<16>(entry.at("addr")?)?);
        found.push(format!("{address}/{}", entry.uint("prefix_len")?));
    }
    Ok(())
}
