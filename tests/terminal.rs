//! The real program in a real terminal: it appears, obeys, and leaves the terminal as it found it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Terminal {
    master: Box<dyn MasterPty>,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
}

/// A folder of data that is not the user's.
fn data() -> &'static tempfile::TempDir {
    static DATA: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    DATA.get_or_init(|| tempfile::tempdir().unwrap())
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

impl Terminal {
    fn start(arguments: &[String], term: &str) -> Self {
        Self::start_in(arguments, term, size(30, 120))
    }
    fn start_in(arguments: &[String], term: &str, size: PtySize) -> Self {
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_kioku"));
        command.args(arguments);
        for variable in ["NO_COLOR", "COLORTERM", "LC_ALL", "LC_CTYPE"] {
            command.env_remove(variable);
        }
        command.env("TERM", term);
        command.env("XDG_DATA_HOME", data().path());
        command.env("LANG", "C.UTF-8");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(30.try_into().unwrap(), 120.try_into().unwrap(), 0)));
        let (mut reader, keys) = (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self { master: pair.master, child, keys, screen }
    }

    fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }
    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }
    fn ended(&mut self) -> Option<u32> {
        self.child.try_wait().unwrap().map(|status| status.exit_code())
    }
    /// Waits until the screen shows a text; false when the program has ended instead.
    fn shows(&mut self, text: &str) -> bool {
        let began = Instant::now();
        loop {
            let ended = self.ended().is_some();
            if self.text().contains(text) {
                return true;
            }
            if ended {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "{text:?} does not appear:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    fn exit_code(&mut self) -> u32 {
        let began = Instant::now();
        loop {
            if let Some(code) = self.ended() {
                // What was written last may still be on its way.
                std::thread::sleep(Duration::from_millis(100));
                return code;
            }
            assert!(began.elapsed() < PATIENCE, "the program does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    fn assert_restored(&self) {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        assert!(!screen.alternate_screen(), "the other screen is still there");
        assert!(!screen.hide_cursor(), "the cursor is still hidden");
        assert!(!screen.bracketed_paste(), "paste is still bracketed");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "the mouse is still held");
    }
}

/// The explorer on the bundled image, or on the one that `KIOKU_TEST_IMAGE` names; None where there is neither.
fn explorer(size: PtySize) -> Option<Terminal> {
    let arguments: Vec<String> = std::env::var("KIOKU_TEST_IMAGE").into_iter().collect();
    let mut terminal = Terminal::start_in(&arguments, "xterm-256color", size);
    if terminal.shows("0 Processes") {
        return Some(terminal);
    }
    assert!(terminal.text().contains("no demo image"), "{}", terminal.text());
    None
}

#[test]
fn it_appears_helps_follows_a_resize_and_leaves() {
    let Some(mut terminal) = explorer(size(30, 120)) else { return };
    assert!(terminal.screen.lock().unwrap().screen().alternate_screen());
    terminal.keys("?");
    assert!(terminal.shows("Everywhere"));
    terminal.keys("G");
    assert!(terminal.shows("read-only"));
    terminal.keys("qf");
    assert!(terminal.shows("filter:"));
    terminal.keys("zzzz");
    assert!(terminal.shows("match \"zzzz\""));
    terminal.keys("\x03");
    terminal.screen.lock().unwrap().screen_mut().set_size(20.try_into().unwrap(), 60.try_into().unwrap());
    terminal.master.resize(size(20, 60)).unwrap();
    terminal.keys("2");
    assert!(terminal.shows("Regions"));
    terminal.keys("q");
    assert_eq!(terminal.exit_code(), 0, "{}", terminal.text());
    terminal.assert_restored();
}

#[test]
fn a_hang_up_ends_it_with_the_terminal_restored() {
    for (signal, code) in [(rustix::process::Signal::HUP, 129), (rustix::process::Signal::TERM, 143)] {
        let Some(mut terminal) = explorer(size(30, 120)) else { return };
        let pid = i32::try_from(terminal.child.process_id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
        assert_eq!(terminal.exit_code(), code);
        terminal.assert_restored();
    }
}

#[test]
fn a_note_is_kept_through_a_kill_and_the_view_through_a_hang_up() {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("demo.kioku").display().to_string();
    let explore = || Terminal::start(&["--case".to_owned(), case.clone()], "xterm-256color");
    let signal = |terminal: &Terminal, signal| {
        let pid = i32::try_from(terminal.child.process_id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    };
    let mut terminal = explore();
    assert!(terminal.shows("0 Processes"));
    assert!(!std::path::Path::new(&case).exists(), "looking is no reason to write");
    terminal.keys("0G");
    assert!(terminal.shows("rsyslogd"));
    terminal.keys("cstaging area\r");
    assert!(terminal.shows("case: 1 note"), "{}", terminal.text());
    signal(&terminal, rustix::process::Signal::KILL);
    terminal.exit_code();

    let mut terminal = explore();
    assert!(terminal.shows("1 note is back"), "{}", terminal.text());
    // Another explorer of the same case says so.
    let mut other = explore();
    assert!(other.shows("another explorer"), "{}", other.text());
    other.keys("q");
    assert_eq!(other.exit_code(), 0);
    terminal.keys("2");
    assert!(terminal.shows("TCPv4"), "{}", terminal.text());
    signal(&terminal, rustix::process::Signal::HUP);
    assert_eq!(terminal.exit_code(), 129);

    let mut terminal = explore();
    assert!(terminal.shows("1 note and the view of"), "{}", terminal.text());
    assert!(terminal.shows("TCPv4"));
    terminal.keys("'\r");
    assert!(terminal.shows("* staging area"));
    terminal.keys("q");
    assert_eq!(terminal.exit_code(), 0, "{}", terminal.text());
}

#[test]
fn a_file_that_is_no_case_is_refused_before_anything_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "mine").unwrap();
    let mut terminal = Terminal::start(&["--case".to_owned(), path.display().to_string()], "xterm-256color");
    assert_eq!(terminal.exit_code(), 1);
    assert!(terminal.text().contains("not a case of kioku"), "{}", terminal.text());
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_terminal_that_does_not_know_its_size_is_taken_for_the_usual_one() {
    let Some(mut terminal) = explorer(size(0, 0)) else { return };
    assert!(terminal.shows("? help"));
    terminal.keys("q");
    assert_eq!(terminal.exit_code(), 0);
    terminal.assert_restored();
}

#[test]
fn an_image_that_does_not_open_is_told_on_the_restored_screen() {
    let mut terminal = Terminal::start(&["/nowhere/memory.lime".to_owned()], "xterm-256color");
    assert_eq!(terminal.exit_code(), 1);
    terminal.assert_restored();
    let text = terminal.text();
    assert!(text.contains("kioku: ") && text.contains("/nowhere/memory.lime"), "{text}");
}

#[test]
fn a_dumb_terminal_gets_a_sentence_and_no_escapes() {
    let mut terminal = Terminal::start(&["/nowhere/memory.lime".to_owned()], "dumb");
    assert_eq!(terminal.exit_code(), 1);
    let text = terminal.text();
    assert!(text.contains("TERM=dumb") && text.contains("kioku query IMAGE pslist"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

/// What the guide asks of somebody who has never seen it, with the keys that the screen names.
#[test]
fn an_intrusion_on_windows_is_found_with_keys_only() {
    let mut terminal = Terminal::start(&["--no-case", "--demo", "windows"].map(str::to_owned), "xterm-256color");
    if !terminal.shows("0 Processes") {
        return assert!(terminal.text().contains("no demo image"), "{}", terminal.text());
    }
    assert!(terminal.shows("explorer.exe    0x3a10000"));
    assert!(terminal.shows("captured 2024-05-14 13:22:47Z"));
    let mut investigate = |keys: &str, found: &[&str]| {
        terminal.keys(keys);
        found.iter().for_each(|text| assert!(terminal.shows(text), "{keys:?}: {text:?}:\n{}", terminal.text()));
    };
    // What was injected where, and is it in another process?
    investigate("j\r", &["fc 48 83 e4"]);
    investigate("=", &["in physical memory · 3 rows", "3588  explorer.exe", "6704  powershell.exe", "7112  scvhost.exe"]);
    investigate("1k\r", &["4d 5a 90 00"]);
    investigate("=", &["in physical memory · 1 row", "3588  explorer.exe"]);
    // What the process behind a finding talks to, now and before.
    investigate("1f6980\r", &["1/3 of"]);
    investigate("ocon\r", &["Connections rundll32.exe 6980", "203.0.113.77"]);
    // Which module is hidden, and what it hooks.
    investigate("1\x1b", &["1/17"]);
    investigate("fhidr\r", &["1/3 of", "+0 hooks: process callback in Psp", "+0 hooks: IRP_MJ_DEVICE_CONTROL of"]);
    investigate("jj\r", &["Driver functions", "problem 0x", "function IRP_MJ_DEVICE_CONTROL"]);
    // Which process is hidden, and who saw it.
    investigate("0fhidden\r", &["missing from the list", "seen by pool scan, thread"]);
    // What was run, in order.
    investigate("r", &["Timeline all processes", "services.exe (1812) started"]);
    investigate("R\r", &["write to folder:"]);
}

#[test]
fn an_intrusion_on_linux_is_found_with_keys_only() {
    let mut terminal = Terminal::start(&["--no-case", "--demo", "linux"].map(str::to_owned), "xterm-256color");
    if !terminal.shows("0 Processes") {
        return assert!(terminal.text().contains("no demo image"), "{}", terminal.text());
    }
    assert!(terminal.shows("kworker/u4:2"));
    let mut investigate = |keys: &str, found: &[&str]| {
        terminal.keys(keys);
        found.iter().for_each(|text| assert!(terminal.shows(text), "{keys:?}: {text:?}:\n{}", terminal.text()));
    };
    // What was injected where, and is it in another process?
    investigate("fprocess:cron\r", &["1/1 of"]);
    investigate("\r", &["Bytes · region 0x7efe690e1000 of cron 139"]);
    investigate("=", &["in physical memory", "cron"]);
    // What the process behind the gravest finding talks to.
    investigate("1\x1b", &["/18"]);
    investigate("ggosock\r", &["Sockets kworker/u4:2 174", "203.0.113.77:443"]);
    // Which module is hidden, and what it hooks.
    investigate("1fmodule\r", &["+75 hidden module", "+0 hooks: kprobe callback", "+0 hooks: netfilter callback"]);
    // Which process is hidden, and who saw it.
    investigate("0fhidden\r", &["missing from the list", "seen by pid hash"]);
    // What was typed and run, in order.
    investigate("r", &["Timeline all processes", "init (1) started"]);
    investigate("G", &["curl -sT .d.tgz", "rm -f /var/log/nginx/access.log"]);
    investigate("R\r", &["write to folder:"]);
}

#[test]
fn commands_that_were_typed_on_linux_are_a_table() {
    let Some(mut terminal) = explorer(size(30, 120)) else { return };
    assert!(terminal.shows("SCORE"));
    terminal.keys("2");
    assert!(terminal.shows("Sockets all processes"));
    terminal.keys(":typed\r");
    assert!(terminal.shows("Shell history"));
    assert!(terminal.shows("unset HISTFILE"));
}
