//! Processes that are not what they seem, or that do what intruders do. A name alone accuses or clears nothing: it is held against the
//! path, the parent and the user.

use super::case::Case;
use super::rules;
use crate::facts::{Process, ProcessState, ToCell};

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
/// Which of them are never started under the account of a person.
const ONLY_SYSTEM: [&str; 6] = ["smss.exe", "csrss.exe", "wininit.exe", "winlogon.exe", "services.exe", "lsass.exe"];

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
    if path.starts_with("/memfd:") {
        case.add(&rules::memfd_program, format!("runs from {path}"));
    } else if path.ends_with(" (deleted)") {
        case.add(&rules::deleted_program, format!("runs from {path}"));
    }
    if TEMPORARY_UNIX.iter().any(|folder| path.starts_with(folder)) {
        case.add(&rules::temporary_program, format!("runs from {path}"));
    }
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
