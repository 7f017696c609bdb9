use super::record::record;
use super::{Known, Time};
use crate::address::VirtAddr;

record! {
    /// Network and local sockets; one row for each owner of a socket, or one without owner.
    Socket = "sockets" {
        /// TCPv4, TCPv6, UDPv4, UDPv6, UNIX, RAW, ICMP, PACKET, NETLINK, ...
        protocol: String,
        /// Local address, or path of a local socket.
        local_address: Known<String>,
        /// Local port.
        local_port: Known<u16>,
        /// Remote address.
        remote_address: Known<String>,
        /// Remote port.
        remote_port: Known<u16>,
        /// LISTEN, ESTABLISHED, ...
        state: Known<String>,
        /// Process ID of the owner; null for one without owner (TIME_WAIT, orphaned).
        pid: Known<u32>,
        /// Name of the owner.
        process: Known<String>,
        /// File descriptor.
        [linux] fd: Known<u32>,
        /// Inode number of the socket.
        [linux] inode: Known<u64>,
        /// Inode number of the network namespace.
        [linux] namespace: Known<u64>,
        /// When it was made.
        [windows] create_time: Known<Time>,
        /// Address of the socket object.
        address: VirtAddr,
        /// Address of the owner's process object.
        process_address: Known<VirtAddr>,
        /// Methods that found it.
        sources: Vec<&'static str>,
    }
}
