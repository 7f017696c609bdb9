//! Processes that are not what they seem, or that do what intruders do. A name alone accuses or clears nothing: it is held against the
//! path, the parent and the user.

use super::case::Case;
use super::rules;
use crate::facts::windows::{Apc, Privilege, Program, Service};
use crate::facts::{Answer, Known, Library, Process, ProcessState, ReadError, Thread, Time, ToCell};

/// Programs of Windows itself: name, folder below the system's root, and which programs start them; none where many do.
const SYSTEM: &[(&str, &str, &[&str])] = &[
    ("smss.exe", "system32", &["system", "smss.exe"]),
    ("csrss.exe", "system32", &["smss.exe"]),
    ("wininit.exe", "system32", &["smss.exe"]),
    ("winlogon.exe", "system32", &["smss.exe"]),
    ("services.exe", "system32", &["wininit.exe"]),
    ("lsass.exe", "system32", &["wininit.exe"]),
    ("lsaiso.exe", "system32", &["wininit.exe"]),
    ("svchost.exe", "system32", &["services.exe"]),
    ("spoolsv.exe", "system32", &["services.exe"]),
    ("taskhost.exe", "system32", &["services.exe", "svchost.exe"]),
    ("taskhostw.exe", "system32", &["svchost.exe"]),
    ("sihost.exe", "system32", &["svchost.exe"]),
    ("userinit.exe", "system32", &["winlogon.exe"]),
    ("dwm.exe", "system32", &["winlogon.exe"]),
    ("runtimebroker.exe", "system32", &["svchost.exe"]),
    ("wmiprvse.exe", "system32\\wbem", &["svchost.exe"]),
    ("dllhost.exe", "system32", &[]),
    ("conhost.exe", "system32", &[]),
    ("rundll32.exe", "system32", &[]),
    ("explorer.exe", "", &[]),
];
/// Names of this length are one letter apart from too many others.
const SHORT: usize = "smss.exe".len();
/// Users under whom the system's own processes run: SYSTEM, LOCAL SERVICE, NETWORK SERVICE, window and font managers.
const SYSTEM_USERS: [&str; 5] = ["S-1-5-18", "S-1-5-19", "S-1-5-20", "S-1-5-90-", "S-1-5-96-"];
const LOCAL_SYSTEM: &str = "S-1-5-18";
/// How the identifiers of people's accounts begin: of a machine or domain, and of Entra ID.
const PEOPLE: [&str; 2] = ["S-1-5-21-", "S-1-12-1-"];
/// Which of them are never started under the account of a person.
const ONLY_SYSTEM: [&str; 7] = ["smss.exe", "csrss.exe", "wininit.exe", "winlogon.exe", "services.exe", "lsass.exe", "spoolsv.exe"];
/// Which are started for a person, and never under a user of the system.
const ONLY_PEOPLE: [&str; 3] = ["explorer.exe", "sihost.exe", "userinit.exe"];
/// Which run only in the session of services, and which in any other only.
const WITH_SERVICES: [&str; 5] = ["wininit.exe", "services.exe", "lsass.exe", "lsaiso.exe", "spoolsv.exe"];
const WITH_PEOPLE: [&str; 6] = ["winlogon.exe", "dwm.exe", "userinit.exe", "explorer.exe", "sihost.exe", "logonui.exe"];
/// Which run once in a session.
const SINGLE: [&str; 6] = ["csrss.exe", "wininit.exe", "winlogon.exe", "services.exe", "lsass.exe", "lsaiso.exe"];

const DOCUMENTS: &[&str] = &["winword.exe", "excel.exe", "powerpnt.exe", "outlook.exe", "onenote.exe", "acrord32.exe", "mspub.exe"];
const SERVERS: &[&str] =
    &["w3wp.exe", "httpd", "httpd.exe", "nginx", "nginx.exe", "apache2", "php-fpm", "php-cgi.exe", "tomcat", "lighttpd"];
const SHELLS: &[&str] = &[
    "cmd.exe",
    "powershell.exe",
    "pwsh.exe",
    "wscript.exe",
    "cscript.exe",
    "mshta.exe",
    "rundll32.exe",
    "regsvr32.exe",
    "sh",
    "bash",
    "dash",
    "zsh",
    "ksh",
    "busybox",
    "nc",
    "ncat",
    "netcat",
    "socat",
];
const STOPPED: &str = "SERVICE_STOPPED";
/// What no service of the system's own is.
const SERVICE_SHELLS: [&str; 7] = ["cmd", "%comspec%", "powershell", "pwsh", "mshta", "wscript", "cscript"];
/// Programs that have no use for the network.
const OFFLINE: &[&str] =
    &["notepad.exe", "calc.exe", "mspaint.exe", "rundll32.exe", "regsvr32.exe", "dllhost.exe", "werfault.exe", "conhost.exe", "lsass.exe"];
/// Others look up users and hosts by the network.
const OFFLINE_UNIX: &[&str] = &["sh", "bash", "dash", "zsh", "ksh", "sleep", "cat", "tail", "tee"];
/// Do nothing without arguments.
const HOSTS: &[&str] = &["rundll32.exe", "regsvr32.exe", "svchost.exe", "mshta.exe"];
/// What command lines hold that hide or fetch what they run; each part of a line must be there.
const SCRIPTS: &[&[&str]] = &[
    &["powershell", " -enc"],
    &["powershell", " -e "],
    &["powershell", "hidden"],
    &["powershell", "bypass"],
    &["downloadstring"],
    &["downloadfile"],
    &["frombase64string"],
    &["invoke-expression"],
    &["certutil", "urlcache"],
    &["bitsadmin", "/transfer"],
    &["mshta", "http"],
    &["regsvr32", "scrobj"],
    &["/dev/tcp/"],
    &["base64 -d", "sh"],
    &["curl", "| sh"],
    &["curl", "| bash"],
    &["wget", "| sh"],
    &["wget", "| bash"],
];
const CREDENTIALS: &[&[&str]] = &[&["comsvcs", "minidump"], &["procdump", "lsass"], &["sekurlsa"], &["lsass.dmp"], &["rundll32", "lsass"]];
const REMOTE_SERVICES: &[&str] = &["psexesvc.exe", "paexec.exe", "remcomsvc.exe", "winexesvc.exe"];
/// Where anyone can write.
const TEMPORARY: &[&str] = &["\\windows\\temp\\", "\\appdata\\local\\temp\\", "\\users\\public\\", "\\$recycle.bin\\"];
const TEMPORARY_UNIX: &[&str] = &["/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/"];
/// Programs of the system that run all the time, as the kernel names them: 15 letters.
const DAEMONS: [&str; 22] = [
    "sshd",
    "systemd",
    "systemd-journal",
    "systemd-logind",
    "systemd-udevd",
    "systemd-resolve",
    "systemd-network",
    "systemd-timesyn",
    "dbus-daemon",
    "dbus-broker",
    "cron",
    "crond",
    "atd",
    "agetty",
    "rsyslogd",
    "auditd",
    "polkitd",
    "NetworkManager",
    "dhclient",
    "chronyd",
    "ntpd",
    "irqbalance",
];
/// Programs that run under the names of what they stand in for: tools in one file (systemd-udevd is udevadm), and what runs scripts and
/// other machines' programs, by the beginning of its name.
const MANIFOLD: [&str; 8] = ["busybox", "toybox", "udevadm", "sh", "bash", "dash", "zsh", "ksh"];
const INTERPRETERS: [&str; 4] = ["python", "perl", "ruby", "qemu-"];
/// How kernel threads are named.
const KERNEL_NAMES: &[&str] = &["kworker/", "ksoftirqd/", "kthreadd", "migration/", "rcu_", "kswapd", "[k", "jbd2/", "scsi_eh_"];

/// A process with what is told of it elsewhere.
pub struct Suspect<'a> {
    pub process: &'a Process,
    /// The process that started it, where that is still known.
    pub parent: Option<&'a Process>,
    /// Security identifiers of the users under whom it and its parent run, on Windows.
    pub user: Option<&'a str>,
    pub parent_user: Option<&'a str>,
}

/// The name of the program: of its file, or as the kernel keeps it, which is 15 letters at most.
pub fn program(process: &Process) -> String {
    let path = process.path.value().map_or("", String::as_str);
    let file = path.rsplit(['\\', '/']).next().unwrap_or_default().trim_end_matches(" (deleted)");
    if file.is_empty() { process.name.to_lowercase() } else { file.to_lowercase() }
}

/// What is odd on any system.
pub fn judge(suspect: &Suspect<'_>, case: &mut Case) {
    let process = suspect.process;
    if process.state == ProcessState::Hidden {
        let seen = process.sources.join(", ").replace('_', " ");
        case.add(&rules::hidden_process, format!("alive, seen by {seen}, and not on the system's own list"));
    }
    let name = program(process);
    if name.trim().is_empty() {
        case.add(&rules::nameless, "its name is empty");
    }
    if let Some(parent) = suspect.parent {
        let parent_name = program(parent);
        let started = || format!("{} {} started {name}", parent.name, parent.pid);
        if DOCUMENTS.contains(&parent_name.as_str()) && SHELLS.contains(&name.as_str()) {
            case.add(&rules::document_child, started());
        }
        if SERVERS.contains(&parent_name.as_str()) && SHELLS.contains(&name.as_str()) {
            case.add(&rules::server_child, started());
        }
    }
    if let Some(line) = process.command_line.value() {
        let lower = line.to_lowercase();
        let holds = |words: &&&[&str]| words.iter().all(|word| lower.contains(word));
        let found = |list: &[&[&str]]| list.iter().filter(holds).map(|words| words.join(" ... ")).collect::<Vec<_>>().join(", ");
        for (rule, list) in [(&rules::script, SCRIPTS), (&rules::credentials, CREDENTIALS)] {
            let words = found(list);
            if !words.is_empty() {
                case.add(rule, format!("its command line has {words}"));
            }
        }
    }
}

/// What is odd on Windows.
pub fn judge_windows(suspect: &Suspect<'_>, case: &mut Case) {
    let process = suspect.process;
    let name = program(process);
    let known = SYSTEM.iter().find(|(known, ..)| *known == name);
    let path = process.path.value().map(|path| path.to_lowercase());
    if let Some((_, folder, parents)) = known {
        let place = ["", "\\"][usize::from(!folder.is_empty())];
        let (right, right_32) = (format!("\\windows\\{folder}{place}{name}"), format!("\\windows\\syswow64\\{name}"));
        if let Some(path) = path.as_ref().filter(|path| !path.ends_with(&right) && !path.ends_with(&right_32)) {
            // smss.exe names itself by \SystemRoot.
            if path.contains('\\') && !path.ends_with(&right.replace("\\windows\\", "\\systemroot\\")) {
                case.add(&rules::wrong_path, format!("runs from {path}, not from {right}"));
            }
        }
        if let Some(parent) = suspect.parent.filter(|_| !parents.is_empty()) {
            let parent_name = program(parent);
            if !parents.contains(&parent_name.as_str()) {
                case.add(&rules::wrong_parent, format!("started by {} {}, not by {}", parent.name, parent.pid, parents.join(" or ")));
            }
        }
        if let Some(user) = suspect.user.filter(|user| ONLY_SYSTEM.contains(&name.as_str()) && *user != LOCAL_SYSTEM) {
            case.add(&rules::wrong_user, format!("runs as {user}"));
        }
        let own = |user: &str| [LOCAL_SYSTEM, "S-1-5-19", "S-1-5-20"].contains(&user);
        if let Some(user) = suspect.user.filter(|user| ONLY_PEOPLE.contains(&name.as_str()) && own(user)) {
            case.add(&rules::wrong_user, format!("runs as {user}, which is no person"));
        }
    } else if let Some((like, ..)) = SYSTEM.iter().find(|(known, ..)| known.len() > SHORT && one_letter_apart(&name, known)) {
        case.add(&rules::lookalike, format!("{name} is not {like}"));
    }
    let system = |user: &str| SYSTEM_USERS.iter().any(|known| user.starts_with(known));
    if let (Some(LOCAL_SYSTEM), Some(above), Some(parent)) = (suspect.user, suspect.parent_user, suspect.parent)
        && !system(above)
    {
        case.add(&rules::stolen_token, format!("runs as SYSTEM, while {} {} runs as {above}", parent.name, parent.pid));
    }
    if REMOTE_SERVICES.contains(&name.as_str()) {
        case.add(&rules::remote_service, format!("{name} is running"));
    }
    if let Some(path) = path.filter(|path| TEMPORARY.iter().any(|folder| path.contains(folder))) {
        case.add(&rules::temporary_program, format!("runs from {path}"));
    }
    let line = process.command_line.value().map(|line| line.trim().trim_matches('"'));
    if let Some(line) = line.filter(|line| !line.is_empty() && !line.contains(' ') && HOSTS.contains(&name.as_str())) {
        case.add(&rules::no_arguments, format!("its command line is {line} alone"));
    }
}

/// What else is told of a process on Windows.
#[derive(Default)]
pub struct WindowsHeld<'a> {
    pub privileges: &'a [&'a Privilege],
    pub libraries: &'a [&'a Library],
    pub threads: &'a [&'a Thread],
    pub calls: &'a [&'a Apc],
    pub program: Option<&'a Program>,
}

/// What is odd about what a process on Windows holds.
pub fn judge_held(suspect: &Suspect<'_>, held: &WindowsHeld<'_>, case: &mut Case) {
    let debug = held.privileges.iter().find(|held| held.name == "SeDebugPrivilege" && held.enabled);
    if let (Some(held), Some(user)) = (debug, suspect.user.filter(|user| PEOPLE.iter().any(|people| user.starts_with(people)))) {
        case.add(&rules::debug_privilege, format!("{} is enabled for {user}", held.name));
    }
    if let Some(forged) = held.privileges.iter().find(|held| held.enabled && !held.present) {
        case.add(&rules::forged_privilege, format!("{} is enabled, and not present", forged.name));
    }
    if let Some(program) = held.program {
        judge_program(program, case);
    }
    let lists = |library: &Library| [library.in_load.clone(), library.in_init.clone(), library.in_memory.clone()];
    let missing =
        held.libraries.iter().find(|library| library.mapped_file == Known::Absent && lists(library).contains(&Known::Value(true)));
    if let Some(library) = missing {
        case.add(&rules::missing_image, format!("{} at {}", library.name.cell(), library.base));
    }
    let last = |path: &str| path.rsplit('\\').next().unwrap_or_default().to_lowercase();
    let other = |library: &&&Library| {
        let mapped = library.mapped_file.value().filter(|_| lists(library).contains(&Known::Value(true)));
        let told = [&library.path, &library.name].map(|told| told.value().map_or_else(String::new, |told| last(told)));
        mapped.is_some_and(|mapped| told.iter().all(|told| !told.is_empty() && !told.contains('~') && *told != last(mapped)))
    };
    if let Some(library) = held.libraries.iter().find(other) {
        let mapped = library.mapped_file.cell();
        case.add(&rules::other_image, format!("{} at {}, where {mapped} is mapped", library.path.cell(), library.base));
    }
    if !held.libraries.is_empty() && held.libraries.iter().all(|library| lists(library) == [const { Known::Value(false) }; 3]) {
        case.add(&rules::no_loader, format!("{} images are mapped, and none of its lists has one", held.libraries.len()));
    }
    let loads = |call: &&&Apc| call.routine_symbol.value().is_some_and(|symbol| LOADING.contains(&symbol.as_str()));
    if let Some((call, function)) = held.calls.iter().find(loads).and_then(|call| Some((call, call.routine_symbol.value()?))) {
        let what = format!("thread {} is to call {function} with {}", call.tid, call.context.cell());
        case.add(&rules::library_call, what);
    }
    judge_threads(suspect, held, case);
    if let Some((thread, at)) = held.threads.iter().find_map(|thread| Some((thread, thread.breakpoints.first()?))) {
        case.add(&rules::breakpoint, format!("thread {} is to stop at {at}", thread.tid));
    }
}

/// Functions whose only work is to load a library.
const LOADING: [&str; 5] = ["LoadLibraryA", "LoadLibraryW", "LoadLibraryExA", "LoadLibraryExW", "LdrLoadDll"];

/// Those that take no more than a thread is handed, and the libraries that have them.
const LIBRARY_THREADS: [&str; 4] = ["LoadLibraryA", "LoadLibraryW", "LoadLibraryExA", "LoadLibraryExW"];
const LOADERS: [&str; 2] = ["kernel32.dll", "kernelbase.dll"];
/// Nanoseconds within which such a thread has loaded its library.
const LOADED_WITHIN: i128 = 10_000_000_000;

/// The library, of none of Windows' own, that was loaded when a thread had begun.
fn loaded_by(thread: &Thread, libraries: &[&Library]) -> Known<String> {
    let time = |time: &Known<Time>| time.value().map(|time| time.nanoseconds());
    let Some(began) = time(&thread.create_time).filter(|_| libraries.iter().any(|library| library.load_time.value().is_some())) else {
        return Known::Unreadable(ReadError::Implausible("load time"));
    };
    let then = |library: &&&Library| time(&library.load_time).is_some_and(|at| (began..began + LOADED_WITHIN).contains(&at));
    let mut paths = libraries.iter().filter(then).filter_map(|library| library.mapped_file.value().or(library.path.value()));
    paths.find(|path| !path.to_lowercase().contains("\\windows\\")).cloned().into()
}

/// Where the threads of a process began, and as whom they act.
fn judge_threads(suspect: &Suspect<'_>, held: &WindowsHeld<'_>, case: &mut Case) {
    for thread in held.threads {
        let Some(function) = thread.win32_start_symbol.value().filter(|symbol| LIBRARY_THREADS.contains(&symbol.as_str())) else {
            continue;
        };
        let module = thread.win32_start_module.value().and_then(|module| module.rsplit('\\').next()).unwrap_or_default();
        let began = format!("thread {} began at {function} of {module}", thread.tid);
        let then = match loaded_by(thread, held.libraries) {
            _ if !LOADERS.iter().any(|loader| loader.eq_ignore_ascii_case(module)) => continue,
            Known::Value(library) => format!(", and {library} was loaded then"),
            Known::Unreadable(_) => "; when libraries were loaded is not told".to_owned(),
            Known::Absent => continue,
        };
        case.add(&rules::library_thread, began + &then);
        break;
    }
    let own = held.program.and_then(|program| program.mapped_file.value()).filter(|own| is_whole(own));
    let foreign = |thread: &&&Thread| {
        let module = thread.win32_start_module.value().filter(|module| is_whole(module) && module.to_lowercase().ends_with(".exe"));
        module.is_some_and(|module| own.is_some_and(|own| !own.eq_ignore_ascii_case(module)))
    };
    if let Some(thread) = held.threads.iter().find(foreign) {
        let (module, at) = (thread.win32_start_module.cell(), thread.win32_start_address.cell());
        case.add(&rules::foreign_thread, format!("thread {} began at {at} in {module}", thread.tid));
    }
    // Services do so for whoever calls them.
    let person = suspect.user.filter(|user| PEOPLE.iter().any(|people| user.starts_with(people)));
    let system = |thread: &&&Thread| thread.impersonates.value().is_some_and(|user| user == LOCAL_SYSTEM);
    if let (Some(user), Some(thread)) = (person, held.threads.iter().find(system)) {
        case.add(&rules::impersonates_system, format!("thread {} does, in a process of {user}", thread.tid));
    }
}

/// Whether every part of a path could be read.
fn is_whole(path: &str) -> bool {
    path.contains('\\') && !path.contains("??")
}

/// What a process runs, and what it says it runs.
fn judge_program(program: &Program, case: &mut Case) {
    if let (Some(base), Some(told)) = (program.base.value(), program.told_base.value().filter(|told| Some(*told) != program.base.value())) {
        case.add(&rules::moved_program, format!("mapped at {base}, while it says {told} itself"));
    }
    if let (Some(base), Some(false)) = (program.base.value(), program.mapped.value()) {
        case.add(&rules::unmapped_program, format!("no image is mapped at {base}"));
    }
    if let (Some(path), Some(told)) = (program.path.value(), program.told_path.value())
        && is_masked(path, told)
    {
        case.add(&rules::masked_path, format!("runs {path}, and calls itself {told}"));
    }
    let file = program.mapped_file.cell();
    if program.written == Known::Value(true) {
        case.add(&rules::written_program, format!("{file} was opened for writing"));
    }
    if program.replaced == Known::Value(true) {
        case.add(&rules::replaced_program, format!("the cache has other headers of {file} than lie at {}", program.base.cell()));
    }
    if program.kernel_mapped == Known::Value(false) {
        case.add(&rules::no_page_tables, "the kernel's own lists cannot be reached by them, as they can by those of System");
    }
}

/// Whether a process names itself by another path than the kernel does: `C:\Windows\x.exe` and `\Device\HarddiskVolume3\Windows\x.exe`
/// are one.
fn is_masked(path: &str, told: &str) -> bool {
    let plain = |path: &str| path.to_lowercase().replace("\\systemroot\\", "\\windows\\").replace("\\syswow64\\", "\\system32\\");
    let (path, told) = (plain(path), plain(told));
    // A drive may stand for a folder; short names (PROGRA~1) stand for long ones; a name without a folder says nothing.
    let below = told.trim_start_matches("\\??\\").split_once(':').map_or(told.as_str(), |(_, below)| below).trim_start_matches('\\');
    let sound = told.chars().all(|letter| !letter.is_control() && letter != char::REPLACEMENT_CHARACTER);
    let known = sound && below.contains('\\') && path.contains('\\') && !below.contains('~') && !path.contains('~');
    known && !path.ends_with(&format!("\\{below}"))
}

/// What only a look at all processes tells: sessions, and programs that run once.
pub fn judge_among(process: &Process, all: &Answer<Process>, case: &mut Case) {
    let lives = |process: &&Process| process.state != ProcessState::Exited;
    let (name, session) = (program(process), process.session.value().copied());
    let Some(session) = session.filter(|_| lives(&process)) else { return };
    let listed = |names: &[&str]| names.contains(&name.as_str());
    let others = || all.iter().filter(lives).filter(|other| other.session.value() == Some(&session) && other.address != process.address);
    // Session 0, and the one in which each container has its services.
    let with = |wanted: &str| others().any(|other| program(other) == wanted);
    let services = session == 0 || with("wininit.exe") || name == "wininit.exe" && with("services.exe");
    if listed(&WITH_SERVICES) && !services {
        case.add(&rules::wrong_session, format!("runs in session {session}, where people log on"));
    }
    if listed(&WITH_PEOPLE) && session == 0 {
        case.add(&rules::wrong_session, "runs in session 0, where services run");
    }
    let before = |other: &&Process| other.create_time.value().is_some_and(|time| Some(time) < process.create_time.value());
    if let Some(first) = others().filter(|_| listed(&SINGLE)).filter(before).find(|other| program(other) == name) {
        case.add(&rules::runs_twice, format!("{} {} runs in session {session} since before", first.name, first.pid));
    }
}

/// What is odd about a service: what it runs, by what it is started with or by what the registry says.
pub fn judge_service(service: &Service, case: &mut Case) {
    // The record of one that was deleted may be left in memory; it does not run.
    if service.listed == Known::Value(false) && service.state != STOPPED {
        let what =
            format!("number {} of {}, {}, led to by {}", service.order, service.binary.cell(), service.state, service.sources.join(", "));
        case.add(&rules::hidden_service, what);
    }
    for line in [&service.binary, &service.registry_binary, &service.dll].into_iter().filter_map(Known::value) {
        let lower = line.to_lowercase();
        let first = lower.trim_start_matches('"').split(['"', ' ']).next().unwrap_or_default();
        let shell = SERVICE_SHELLS.contains(&first.rsplit('\\').next().unwrap_or_default().trim_end_matches(".exe"));
        let script = SCRIPTS.iter().any(|words| words.iter().all(|word| lower.contains(word)));
        let loose = TEMPORARY.iter().any(|folder| lower.contains(folder));
        if shell || script || loose {
            case.add(&rules::service_command, format!("{} runs {line}", service.name));
            break;
        }
    }
}

/// What is odd on Linux.
pub fn judge_linux(suspect: &Suspect<'_>, case: &mut Case) {
    let process = suspect.process;
    let name = process.name.as_str();
    let kernel = process.kernel_thread.value().copied();
    if kernel == Some(false) && KERNEL_NAMES.iter().any(|known| name.starts_with(known)) {
        case.add(&rules::kernel_lookalike, format!("{name} is a program, {}", process.path.cell()));
    } else if let (Some(false), Some(line)) = (kernel, process.command_line.value().filter(|line| is_bracketed(line))) {
        case.add(&rules::kernel_lookalike, format!("calls itself {line}, and is {}", process.path.cell()));
    }
    let Some(path) = process.path.value() else { return };
    if kernel == Some(false) && is_masked_daemon(name, path) {
        case.add(&rules::masked_name, format!("{name} runs {path}"));
    }
    if path.starts_with("/memfd:") {
        case.add(&rules::memfd_program, format!("runs from {path}"));
    } else if path.ends_with(" (deleted)") {
        case.add(&rules::deleted_program, format!("runs from {path}"));
    }
    if TEMPORARY_UNIX.iter().any(|folder| path.starts_with(folder)) {
        case.add(&rules::temporary_program, format!("runs from {path}"));
    }
}

/// Whether a process has the name of a system program that its file has not, even in part; programs that go by many names aside.
fn is_masked_daemon(name: &str, path: &str) -> bool {
    let file = path.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or_default();
    let manifold = MANIFOLD.contains(&file) || INTERPRETERS.iter().any(|program| file.starts_with(program));
    DAEMONS.contains(&name) && !file.starts_with(name) && !manifold && !file.is_empty()
}

/// Whether a command line looks as tools show threads of the kernel, which have none.
fn is_bracketed(line: &str) -> bool {
    line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|name| !name.is_empty() && !name.contains(['[', ' ']))
}

/// Whether connections are odd for a program.
pub fn is_offline(process: &Process) -> bool {
    let name = program(process);
    OFFLINE.contains(&name.as_str()) || OFFLINE_UNIX.contains(&name.as_str())
}

pub fn is_shell(process: &Process) -> bool {
    SHELLS.contains(&program(process).as_str())
}

/// Part of the system: run from its own folders under one of its own users.
pub fn is_system(process: &Process, user: Option<&str>) -> bool {
    let path = process.path.value().map(|path| path.to_lowercase());
    let own = path.is_none_or(|path| {
        ["\\windows\\", "\\systemroot\\", "\\program files", "\\programdata\\microsoft\\"].iter().any(|folder| path.contains(folder))
    });
    own && user.is_some_and(|user| SYSTEM_USERS.iter().any(|known| user.starts_with(known)))
}

/// Whether one letter was changed, added, left out, or two neighbours swapped.
fn one_letter_apart(name: &str, known: &str) -> bool {
    let (name, known): (Vec<char>, Vec<char>) = (name.chars().collect(), known.chars().collect());
    let start = name.iter().zip(&known).take_while(|(a, b)| a == b).count();
    let (a, b) = (&name[start..], &known[start..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    match (&a[..a.len() - end], &b[..b.len() - end]) {
        ([_], [_]) | ([_], []) | ([], [_]) => true,
        ([x, y], [z, w]) => x == w && y == z,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Known;

    fn process(name: &str, path: &str, line: &str) -> Process {
        let text = |text: &str| if text.is_empty() { Known::Absent } else { Known::Value(text.to_owned()) };
        Process {
            name: name.to_owned(),
            path: text(path),
            command_line: text(line),
            kernel_thread: Known::Value(false),
            ..Process::default()
        }
    }
    fn fired(
        judge_system: fn(&Suspect<'_>, &mut Case),
        process: &Process,
        parent: Option<&Process>,
        users: [Option<&str>; 2],
    ) -> Vec<&'static str> {
        let mut case = Case::default();
        let suspect = Suspect { process, parent, user: users[0], parent_user: users[1] };
        judge(&suspect, &mut case);
        judge_system(&suspect, &mut case);
        case.indicators.iter().map(|indicator| indicator.rule.id).collect()
    }

    #[test]
    fn windows_processes_are_held_against_path_parent_and_user() {
        const SYSTEM_32: &str = "\\Device\\HarddiskVolume3\\Windows\\System32\\";
        let services = process("services.exe", &format!("{SYSTEM_32}services.exe"), "services.exe");
        let word = process("WINWORD.EXE", "\\Device\\HarddiskVolume3\\Program Files\\Office\\WINWORD.EXE", "");
        let svchost = process("svchost.exe", &format!("{SYSTEM_32}svchost.exe"), "svchost.exe -k netsvcs");
        let system = Some(LOCAL_SYSTEM);
        let fired = |process: &Process, parent, users| fired(judge_windows, process, parent, users);
        assert!(fired(&svchost, Some(&services), [system, system]).is_empty());
        assert!(fired(&svchost, None, [None, None]).is_empty());
        assert_eq!(fired(&svchost, Some(&word), [system, Some("S-1-5-21-1-2-3-1001")]), ["wrong_parent", "stolen_token"]);
        let other = process("svchost.exe", "\\Device\\HarddiskVolume3\\Users\\Public\\svchost.exe", "svchost.exe");
        assert_eq!(fired(&other, Some(&services), [system, system]), ["wrong_path", "temporary_program", "no_arguments"]);
        let like = process("scvhost.exe", "\\Device\\HarddiskVolume3\\ProgramData\\scvhost.exe", "scvhost.exe -k netsvcs");
        assert_eq!(fired(&like, Some(&services), [system, system]), ["lookalike"]);
        let script =
            process("powershell.exe", &format!("{SYSTEM_32}WindowsPowerShell\\v1.0\\powershell.exe"), "powershell.exe -nop -enc SQBFAFgA");
        assert_eq!(fired(&script, Some(&word), [None, None]), ["document_child", "script"]);
        assert_eq!(fired(&process("lsass.exe", &format!("{SYSTEM_32}lsass.exe"), ""), None, [Some("S-1-5-21-9"), None]), ["wrong_user"]);
        assert_eq!(fired(&process("", "", ""), None, [None, None]), ["nameless"]);
    }

    #[test]
    fn linux_processes_are_held_against_their_files() {
        let fired = |process: &Process, parent| fired(judge_linux, process, parent, [None, None]);
        assert!(fired(&process("bash", "/usr/bin/bash", "-bash"), None).is_empty());
        assert_eq!(fired(&process("kworker/u8:3", "/usr/bin/miner", ""), None), ["kernel_lookalike"]);
        assert_eq!(fired(&process("x", "/tmp/.x (deleted)", ""), None), ["deleted_program", "temporary_program"]);
        assert_eq!(fired(&process("x", "/memfd:x (deleted)", ""), None), ["memfd_program"]);
        let server = process("nginx", "/usr/sbin/nginx", "");
        assert_eq!(fired(&process("sh", "/usr/bin/dash", "sh -c id"), Some(&server)), ["server_child"]);
        let hidden = Process { state: ProcessState::Hidden, sources: vec!["slab_scan"], ..process("x", "/usr/bin/x", "") };
        assert_eq!(fired(&hidden, None), ["hidden_process"]);
    }

    #[test]
    fn names_are_one_letter_apart() {
        for like in ["scvhost.exe", "svch0st.exe", "svhost.exe", "svchosts.exe"] {
            assert!(one_letter_apart(like, "svchost.exe"), "{like}");
        }
        for other in ["svchost.exe", "sphost.exe", "", "lsass.exe", "svchost.exe.exe"] {
            assert!(!one_letter_apart(other, "svchost.exe"), "{other}");
        }
    }
}
