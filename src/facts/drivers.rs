//! Drivers of Windows, and the places where drivers and modules hook into the kernel.

use super::record::record;
use super::{Hex, Known};
use crate::address::VirtAddr;

record! {
    /// Driver objects.
    Driver = "drivers" {
        /// Name, with the directories above it.
        name: Known<String>,
        /// Address of the _DRIVER_OBJECT.
        address: VirtAddr,
        /// Where its image was loaded; null for one that has none of its own.
        start: Known<VirtAddr>,
        /// Size of the image, in bytes.
        size: Known<u64>,
        /// The module its start lies in.
        module: Known<String>,
        /// Name that the driver object itself keeps.
        driver_name: Known<String>,
        /// Its service in the registry.
        service_key: Known<String>,
        /// loaded; hidden: its image is there, but on no list of loaded modules; unloaded: nothing is where its image was; no_image:
        /// made without an image of its own.
        state: &'static str,
        /// Entry point.
        init: Known<VirtAddr>,
        /// Routine that runs before it is unloaded; without it, it cannot be.
        unload: Known<VirtAddr>,
        /// Routine that starts a request.
        start_io: Known<VirtAddr>,
        /// Its functions that lead neither into its own module nor into the kernel, each with the module that they lead to; the table
        /// driver_functions has all.
        foreign: Vec<String>,
        /// What led to it: pool_scan, directory.
        sources: Vec<&'static str>,
    }
}

record! {
    /// Functions of the driver objects: what they do with each kind of request.
    DriverFunction = "driver_functions" {
        /// Name of the driver, with the directories above it.
        driver: Known<String>,
        /// IRP_MJ_*, a Fast I/O routine, or DriverInit, DriverStartIo, DriverUnload, AddDevice.
        function: &'static str,
        /// Where it leads.
        address: VirtAddr,
        /// The module that lies in.
        module: Known<String>,
        /// The symbol there, in the kernel.
        symbol: Known<String>,
        /// own: the driver's own module; kernel; other: another module; none: no module at all.
        place: &'static str,
        /// Address of the _DRIVER_OBJECT.
        driver_address: VirtAddr,
    }
}

record! {
    /// Device objects.
    Device = "devices" {
        /// Name of the driver, with the directories above it.
        driver: Known<String>,
        /// Name, with the directories above it; most have none.
        name: Known<String>,
        /// Address of the _DEVICE_OBJECT.
        address: VirtAddr,
        /// Kind of device, as FILE_DEVICE_* names it.
        r#type: Known<String>,
        /// The device it was attached to: the next below in the stack.
        attached_to: Known<VirtAddr>,
        /// Drivers of the devices attached above it, nearest first: they see its requests before it does.
        attached: Vec<String>,
        /// FILE_* characteristics.
        characteristics: Known<Hex>,
        /// DO_* flags.
        flags: Known<Hex>,
        /// Address of the _DRIVER_OBJECT.
        driver_address: VirtAddr,
        /// What led to it: driver, attached, pool_scan.
        sources: Vec<&'static str>,
    }
}

record! {
    /// Functions that drivers and modules have asked the kernel to call (callbacks, hooks), and tables by which it finds its own.
    Callback = "callbacks" {
        /// On Windows process, thread, image, registry, object, bugcheck, bugcheck_reason, nmi, shutdown, last_chance_shutdown,
        /// file_system, logon_session, pnp, io_priority, thread_exit; on Linux interrupt, ftrace, kprobe, tracepoint, netfilter, packet,
        /// notifier, operations, line_discipline; and, where they are not the kernel's own, more operations (of entries below /proc),
        /// thread, perf_event, and functions of the kernel's code that begin with a jump out of it: inline, and static_call where the
        /// kernel itself keeps what they jump to.
        kind: &'static str,
        /// What is called.
        function: VirtAddr,
        /// The module that lies in; on Linux kernel for its own code.
        module: Known<String>,
        /// The symbol there, in the kernel.
        symbol: Known<String>,
        /// What it is called for: altitude, operations, component, driver; vector, traced functions, hook and priority; the place and bytes of
        /// an inline jump.
        detail: Known<String>,
        /// Address of the registration.
        address: VirtAddr,
        /// The kernel's variable that leads to it.
        list: &'static str,
    }
}

record! {
    /// System service tables (SSDT): the functions behind the system calls.
    SystemService = "ssdt" {
        /// nt or win32k.
        table: &'static str,
        /// Place in the table.
        index: u32,
        /// Number of the system call.
        number: Hex,
        /// Where it leads.
        function: VirtAddr,
        /// The module that lies in.
        module: Known<String>,
        /// The symbol there, in the kernel.
        symbol: Known<String>,
        /// Arguments on the stack.
        stack_arguments: u32,
        /// Address of the entry.
        address: VirtAddr,
    }
}
