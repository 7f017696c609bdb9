//! Every table there is: its columns, the systems it serves, its Volatility names and the walker behind it.

use super::{Session, System, derived, timeline};
use crate::events;
use crate::facts::drivers::{Callback, Device, Driver, DriverFunction, SystemService};
use crate::facts::linux::{BpfProgram, CachedFile, Capabilities, Interface, LogRecord, Mount, OpenFile, ShellHistory, SystemCall};
use crate::facts::windows::{
    Apc, FileObject, Handle, Hive, Mutant, Privilege, Program, RegistryEntry, Service, SessionMember, Sid, SymbolicLink,
};
use crate::facts::{
    Connection, Event, Feed, Finding, Library, Module, Moment, Origin, Process, Record, Region, Rows, Scope, Serves, Sighting, Sink,
    Socket, Suspicious, SysmonRule, Table, Thread, TreeProcess, Variable, Watch,
};
use crate::findings;
use crate::linux::{self, Linux};
use crate::windows::{self, Windows};
use std::sync::Arc;

/// Runs a walker; `started` is handed the growing answer. None where the image is of another system.
type Run = fn(&Session, Scope, &Arc<Watch>, &mut dyn FnMut(Arc<dyn Feed>)) -> Option<Arc<dyn Rows>>;

/// What a walker goes over: the structures of a system, or the other tables of the session.
trait Ground {
    fn of(session: &Session) -> Option<&Self>;
}

impl Ground for Linux {
    fn of(session: &Session) -> Option<&Self> {
        match session.system() {
            System::Linux(linux) => Some(linux),
            System::Windows(_) => None,
        }
    }
}

impl Ground for Windows {
    fn of(session: &Session) -> Option<&Self> {
        match session.system() {
            System::Windows(windows) => Some(windows),
            System::Linux(_) => None,
        }
    }
}

impl Ground for Session {
    fn of(session: &Session) -> Option<&Self> {
        Some(session)
    }
}

pub struct Entry {
    pub table: &'static Table,
    /// Names of the same view in Volatility 3, without the system before them.
    pub aliases: &'static [&'static str],
    linux: Option<Run>,
    windows: Option<Run>,
}

impl Entry {
    pub fn serves(&self) -> Serves {
        match (&self.linux, &self.windows) {
            (Some(_), Some(_)) => Serves::Both,
            (_, None) => Serves::Linux,
            (None, _) => Serves::Windows,
        }
    }
    pub fn available(&self, origin: Origin) -> bool {
        self.serves().includes(origin)
    }
    pub(super) fn run(
        &self,
        session: &Session,
        scope: Scope,
        watch: &Arc<Watch>,
        started: &mut dyn FnMut(Arc<dyn Feed>),
    ) -> Option<Arc<dyn Rows>> {
        let run = match session.system() {
            System::Linux(_) => self.linux,
            System::Windows(_) => self.windows,
        };
        run?(session, scope, watch, started)
    }
}

macro_rules! catalog {
    ($( $record:ident [$($alias:literal),*] $(linux: $linux:path,)? $(windows: $windows:path,)? ; )*) => {
        static CATALOG: &[Entry] = &[
            $( Entry {
                table: const { &$record::TABLE },
                aliases: &[$($alias),*],
                linux: walker!($record $($linux)?),
                windows: walker!($record $($windows)?),
            }, )*
        ];
    };
}

/// Runs a walker into a sink and hands out both ends of it.
macro_rules! walker {
    ($record:ident) => {
        None
    };
    ($record:ident $walk:path) => {
        Some(|session, scope, watch, started| {
            let ground = Ground::of(session)?;
            let mut sink = Sink::<$record>::new(Arc::clone(watch));
            started(sink.feed());
            $walk(ground, scope, &mut sink);
            if scope == Scope::Machine {
                sink.break_silence();
            }
            Some(sink.finish())
        })
    };
}

catalog! {
    Process ["pslist", "psscan", "psaux", "pidhashtable", "psxview"] linux: derived::processes, windows: derived::processes,;
    TreeProcess ["pstree"] linux: linux::pstree, windows: windows::pstree,;
    Thread ["threads", "thrdscan"] linux: linux::threads, windows: windows::threads,;
    Socket ["sockstat", "sockscan", "netstat", "netscan"] linux: linux::sockets, windows: windows::sockets,;
    Region ["maps", "proc.maps", "vadinfo"] linux: linux::regions, windows: windows::regions,;
    Finding [] linux: derived::findings, windows: derived::findings,;
    Suspicious ["malfind", "malware.malfind"] linux: findings::of_linux, windows: findings::of_windows,;
    Module ["lsmod", "hidden_modules", "modxview", "modules", "modscan"] linux: linux::modules, windows: windows::modules,;
    OpenFile ["lsof"] linux: linux::open_files,;
    Variable ["envars"] linux: linux::environment, windows: windows::environment,;
    Library ["library_list", "dlllist", "ldrmodules", "malware.ldrmodules"] linux: linux::libraries, windows: windows::libraries,;
    Handle ["handles"] windows: windows::handles,;
    Program ["malware.pebmasquerade", "pebmasquerade", "malware.hollowprocesses", "hollowprocesses", "malware.processghosting", "processghosting"]
        windows: windows::programs,;
    Apc [] windows: windows::apcs,;
    Privilege ["privileges", "privs"] windows: windows::privileges,;
    Sid ["getsids"] windows: windows::sids,;
    FileObject ["filescan"] windows: windows::file_objects,;
    Mutant ["mutantscan"] windows: windows::mutants,;
    SymbolicLink ["symlinkscan"] windows: windows::symlinks,;
    Event [] linux: events::linux_events, windows: events::events,;
    Moment ["timeliner"] linux: timeline::timeline, windows: timeline::timeline,;
    Connection [] windows: events::connections,;
    SysmonRule [] windows: events::sysmon_config,;
    Driver ["driverscan", "drivermodule", "malware.drivermodule"] windows: windows::drivers,;
    DriverFunction ["driverirp"] windows: windows::driver_functions,;
    Device ["devicetree"] windows: windows::devices,;
    Callback [
        "callbacks", "check_idt", "malware.check_idt", "check_afinfo", "malware.check_afinfo", "keyboard_notifiers",
        "malware.keyboard_notifiers", "netfilter", "malware.netfilter", "tty_check", "malware.tty_check", "tracing.ftrace",
        "tracing.tracepoints"
    ] linux: linux::callbacks, windows: windows::callbacks,;
    BpfProgram ["ebpf"] linux: linux::bpf_programs,;
    SystemService ["ssdt"] windows: windows::ssdt,;
    Service ["svcscan", "svclist"] windows: windows::services,;
    SessionMember ["sessions"] windows: windows::sessions,;
    Hive ["registry.hivelist", "registry.hivescan", "hivelist", "hivescan"] windows: windows::hives,;
    RegistryEntry ["registry.printkey", "printkey"] windows: windows::registry,;
    Capabilities ["capabilities"] linux: linux::capabilities,;
    Mount ["mountinfo"] linux: linux::mounts,;
    LogRecord ["kmsg"] linux: linux::kernel_log,;
    SystemCall ["check_syscall", "malware.check_syscall"] linux: linux::syscall_table,;
    Interface ["ip.addr", "ip.link", "ifconfig"] linux: linux::network_interfaces,;
    CachedFile ["pagecache.files"] linux: linux::page_cache,;
    ShellHistory ["bash"] linux: linux::shell_history,;
}

/// What a search finds: a table that no walker fills.
pub static SIGHTINGS: Entry = Entry { table: const { &Sighting::TABLE }, aliases: &[], linux: None, windows: None };

pub fn catalog() -> &'static [Entry] {
    CATALOG
}

/// A table by its own name or by its Volatility name (`linux.pslist`, `windows.pslist.PsList`, `pslist`).
pub fn find_table(name: &str) -> Option<&'static Entry> {
    let exact = CATALOG.iter().find(|entry| entry.table.name == name);
    exact.or_else(|| {
        let lower = name.to_lowercase();
        let bare = lower.strip_prefix("linux.").or_else(|| lower.strip_prefix("windows.")).unwrap_or(&lower);
        // Volatility ends the name with the class: `pslist.PsList`.
        let module = bare.rsplit_once('.').map_or(bare, |(module, _class)| module);
        CATALOG.iter().find(|entry| entry.aliases.iter().any(|alias| *alias == bare || *alias == module))
    })
}
