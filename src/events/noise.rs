//! Connections that machines make by themselves. Such rows are marked, never left out: a tunnel looks like one of them.

use std::net::IpAddr;

/// An address with a port.
pub type End = (IpAddr, u16);

/// Services that lead into a machine: that one comes from the machine itself is how a tunnel shows.
const REMOTE_CONTROL: [u16; 9] = [22, 23, 135, 139, 445, 3389, 5900, 5985, 5986];
/// NetBIOS names and datagrams, SSDP, WS-Discovery, mDNS, LLMNR.
const NAME_SERVICES: [u16; 6] = [137, 138, 1900, 3702, 5353, 5355];

/// What a connection is that says little; None for all others.
pub fn noise(udp: bool, (near, near_port): End, (far, far_port): End) -> Option<&'static str> {
    let ports = [near_port, far_port];
    if !udp && ports.iter().any(|port| REMOTE_CONTROL.contains(port)) {
        return None;
    }
    if near.is_loopback() && far.is_loopback() {
        return Some("loopback");
    }
    if near == far && !near.is_unspecified() {
        return Some("self");
    }
    if group(near) || group(far) {
        return Some("multicast");
    }
    let inside = local(near) && local(far);
    if udp && inside && ports.iter().any(|port| NAME_SERVICES.contains(port)) {
        return Some("name_service");
    }
    (udp && link_local(near) && link_local(far)).then_some("link_local")
}

pub fn group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(four) if four.is_broadcast())
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

/// Whether an address belongs to no wider network than one's own.
fn local(address: IpAddr) -> bool {
    let private = match address {
        IpAddr::V4(four) => four.is_private(),
        IpAddr::V6(six) => six.is_unique_local(),
    };
    private || link_local(address) || address.is_loopback()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(udp: bool, near: &str, far: &str) -> Option<&'static str> {
        let end = |text: &str| text.parse::<std::net::SocketAddr>().map(|end| (end.ip(), end.port())).unwrap();
        noise(udp, end(near), end(far))
    }

    #[test]
    fn chatter_is_told_from_what_matters() {
        assert_eq!(of(false, "127.0.0.1:49871", "127.0.0.1:49875"), Some("loopback"));
        assert_eq!(of(true, "10.0.0.5:53", "10.0.0.5:50000"), Some("self"));
        assert_eq!(of(true, "10.0.0.5:5353", "224.0.0.251:5353"), Some("multicast"));
        assert_eq!(of(true, "[fe80::1]:546", "[ff02::1:2]:547"), Some("multicast"));
        assert_eq!(of(true, "10.0.0.5:137", "10.0.0.255:137"), Some("name_service"));
        assert_eq!(of(true, "[fe80::1]:546", "[fe80::2]:547"), Some("link_local"));
        // A tunnel, a shell over IPv6, and names asked of a machine far away.
        assert_eq!(of(false, "127.0.0.1:50000", "127.0.0.2:3389"), None);
        assert_eq!(of(false, "[fe80::1]:50000", "[fe80::2]:4444"), None);
        assert_eq!(of(true, "10.0.0.5:137", "8.8.8.8:137"), None);
        assert_eq!(of(false, "10.0.0.5:50000", "10.0.0.6:445"), None);
    }
}
