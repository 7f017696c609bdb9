//! The explorer as a whole, on a small machine made up here: keys go in, screens come out.

use super::app::{App, Effect, FINDINGS, Message, Opened, Slot};
use super::export::{Report, Writer};
use super::panes::arrange::arrange;
use super::panes::bytes::{Reading, Survey, Told, Want};
use super::screen;
use super::taking::{Form, Taking, To, Took};
use super::terminal::{Capabilities, Depth, Painter};
use super::text::Charset;
use super::theme::{Look, Theme};
use super::work::{Id, Ongoing};
use crate::address::{PhysAddr, PhysRange, VirtAddr};
use crate::case::{Casebook, Judgement, News, Order};
use crate::engine::{Bytes, FoundText, Hit, Piece, Space, find_table};
use crate::facts::*;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, Viewport};
use std::sync::Arc;
use std::time::Instant;

const UNICODE: Capabilities = Capabilities { depth: Depth::Ansi, charset: Charset::Unicode, plain_symbols: false, remote: false };
const PLAIN: Capabilities = Capabilities { depth: Depth::None, charset: Charset::Ascii, plain_symbols: true, remote: false };

fn answer<T: Record + Clone>(rows: Vec<T>, notes: &[&str]) -> Arc<dyn Rows> {
    let mut sink = Sink::new(Arc::default());
    sink.extend(rows);
    notes.iter().for_each(|note| sink.note(*note));
    sink.finish()
}

fn time(second: i64) -> Known<Time> {
    Time::from_nanoseconds((1_741_944_420 + i128::from(second)) * 1_000_000_000 + 613_209_870, 9).into()
}

fn process(depth: u32, parent: u64, pid: u32, name: &str, command: Option<&str>) -> TreeProcess {
    TreeProcess {
        depth,
        parent: (parent != 0).then(|| object(parent)).into(),
        pid,
        ppid: Known::Value(parent as u32),
        name: name.to_owned(),
        address: Known::Value(object(pid.into())),
        create_time: time(pid.into()),
        uid: Known::Value(if pid > 800 { 1000 } else { 0 }),
        threads: Known::Value(1),
        kernel_thread: Known::Value(parent == 2 || pid == 2),
        command_line: command.map(str::to_owned).into(),
        sources: vec!["task_list", "pid_hash", "scan"],
        ..TreeProcess::default()
    }
}

fn object(pid: u64) -> VirtAddr {
    VirtAddr(0xffff_8a3b_c400_0000 + pid * 0x1840)
}

fn processes() -> Vec<TreeProcess> {
    let mut hidden = process(1, 1, 666, "kworker/0:9", Some("/tmp/.x -d"));
    hidden.state = ProcessState::Hidden;
    hidden.sources = vec!["scan"];
    let mut exited = process(1, 1, 700, "dropper", None);
    exited.state = ProcessState::Exited;
    exited.exit_time = time(702);
    exited.command_line = Known::Unreadable(ReadError::NotInImage(PhysAddr(0x7ff_f000)));
    let mut zombie = process(2, 800, 811, "defunct", None);
    zombie.state = ProcessState::Zombie;
    let mut reused = process(1, 1, 700, "cron", Some("/usr/sbin/cron -f"));
    reused.address = Known::Value(VirtAddr(0xffff_8a3b_d000_0000));
    vec![
        process(0, 0, 1, "systemd", Some("/sbin/init --system")),
        hidden,
        exited,
        reused,
        process(1, 1, 800, "sshd", Some("sshd: /usr/sbin/sshd -D [listener]")),
        zombie,
        process(2, 800, 812, "bash", Some("-bash")),
        process(3, 812, 900, "e\u{1b}]0;own\u{7}\u{202e}cod", Some("curl http://203.0.113.77/\u{1b}[31m")),
        process(0, 0, 2, "kthreadd", None),
        process(1, 2, 3, "rcu_gp", None),
        process(1, 2, 4, "kworker/u8:3-events_unbound", None),
    ]
}

fn regions(pid: u32) -> Vec<Region> {
    let region = |start: u64, pages: u64, rights: &str, kind: &'static str, file: &str| Region {
        pid,
        process: "bash".into(),
        start: VirtAddr(start),
        end: VirtAddr(start + pages * 4096 - 1),
        protection: Protection {
            read: rights.contains('r'),
            write: rights.contains('w'),
            execute: rights.contains('x'),
            ..Protection::default()
        },
        native_protection: format!("{rights}p"),
        kind,
        file: (!file.is_empty()).then(|| file.to_owned()).into(),
        resident_pages: Known::Value(pages / 2),
        address: VirtAddr(0xffff_8a3b_c5f7_0428 + start % 0x1000),
        process_address: object(pid.into()),
        ..Region::default()
    };
    vec![
        region(0x5575_0416_3000, 2, "r--", "image", "/usr/bin/bash"),
        region(0x5575_0416_5000, 200, "r-x", "image", "/usr/bin/bash"),
        region(0x5575_0426_0000, 40, "rw-", "heap", ""),
        region(0x7f7d_3e40_0000, 300, "r-x", "image", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        region(0x7f7d_3e58_a000, 4, "rwx", "private", ""),
        region(0x7ffd_470b_d000, 33, "rw-", "stack", ""),
    ]
}

/// A rule of that name, as good as any.
fn rule(id: &'static str) -> &'static Rule {
    weighed(id, 40)
}
fn weighed(id: &'static str, points: i32) -> &'static Rule {
    Box::leak(Box::new(Rule { id, points, meaning: "", next: "", techniques: &[] }))
}

fn suspicious() -> Vec<Suspicious> {
    let row = |score, verdict, start: u64, indicators: &[(&'static str, &str)]| Suspicious {
        pid: 812,
        process: "bash".into(),
        start: VirtAddr(start),
        end: VirtAddr(start + 0x3fff),
        protection: Protection { read: true, write: true, execute: true, ..Protection::default() },
        score,
        verdict,
        indicators: indicators.iter().map(|(id, detail)| Indicator { rule: rule(id), detail: (*detail).to_owned() }).collect(),
        process_address: object(812),
        ..Suspicious::default()
    };
    vec![
        row(15, Verdict::LikelyBenign, 0x7f7d_3e59_0000, &[("private_executable", "no file behind it"), ("no_content", "-never touched")]),
        row(
            93,
            Verdict::LikelyInjected,
            0x7f7d_3e58_a000,
            &[("private_executable", "no file behind it"), ("shellcode", "a decoder loop at +0x40")],
        ),
    ]
}

fn findings() -> Vec<Finding> {
    let row = |score, kind, subject: &str, indicators: Vec<Indicator>, table, address| Finding {
        score,
        kind,
        pid: Known::Value(812),
        process: Known::Value("bash".into()),
        subject: subject.to_owned(),
        indicators,
        next: "look at its bytes",
        reference: Reference { table, address },
        process_address: Known::Value(object(812)),
        ..Finding::default()
    };
    let reason = |id, points, detail: &str| Indicator { rule: weighed(id, points), detail: detail.to_owned() };
    let why = vec![
        reason("private_executable", 40, "rwx, no file\u{1b}[31m behind it"),
        reason("shellcode", 53, "a decoder loop at +0x40"),
        reason("jit_engine", -15, "loads a JIT engine"),
    ];
    let region = row(93, Subject::Region, "bash 812, 0x7f7d3e58a000: code", why, "suspicious", VirtAddr(0x7f7d_3e58_a000));
    let log = vec![reason("socket", 31, "listens"), reason("wrong_parent", 30, "started by sshd")];
    let socket = row(31, Subject::Process, "bash 812: listens", log, "sockets", VirtAddr(0xffff_8a3b_c679_0100));
    let module = row(75, Subject::Module, "module rk", vec![reason("hidden_module", 75, "")], "modules", VirtAddr(0xffff_8a3b_0000_0010));
    vec![region, socket, Finding { pid: Known::Absent, process: Known::Absent, process_address: Known::Absent, ..module }]
}

fn sockets() -> Vec<Socket> {
    let socket = |protocol: &str, local: &str, port: u16, remote: Option<(&str, u16)>, state: &str| Socket {
        protocol: protocol.into(),
        local_address: Known::Value(local.into()),
        local_port: Known::Value(port),
        remote_address: remote.map(|(address, _)| address.to_owned()).into(),
        remote_port: remote.map(|(_, port)| port).into(),
        state: Known::Value(state.into()),
        pid: Known::Value(812),
        process: Known::Value("bash".into()),
        address: VirtAddr(0xffff_8a3b_c679_0000 + u64::from(port == 49524) * 0x100),
        process_address: Known::Value(object(812)),
        ..Socket::default()
    };
    vec![
        socket("TCPv4", "0.0.0.0", 8080, None, "LISTEN"),
        socket("TCPv4", "10.13.37.5", 49524, Some(("203.0.113.77", 8443)), "ESTABLISHED"),
        socket("TCPv6", "fd13:37::5", 54128, Some(("fd13:37::9", 443)), "ESTABLISHED"),
    ]
}

fn moments() -> Vec<Moment> {
    let moment = |second: i64, kind, summary: &str, source, noise: Option<&'static str>| Moment {
        time: time(second),
        kind,
        pid: Known::Value(812),
        process: Known::Value("bash".to_owned()),
        summary: summary.to_owned(),
        source,
        reference: Known::Value(VirtAddr(0xffff_8a3b_c600_0000)),
        process_address: Known::Value(object(812)),
        noise: noise.into(),
        ..Moment::default()
    };
    let talk = |second| moment(second, MomentKind::Connection, "TCPv4 socket made: 127.0.0.1:1 - 127.0.0.1:2", "sockets", Some("loopback"));
    let mut all = vec![moment(0, MomentKind::ProcessStart, "bash (812) started: -bash", "processes", None)];
    all.extend((10..40).map(talk));
    all.push(moment(41, MomentKind::ShellCommand, "chmod +x /tmp/.x", "shell_history", None));
    all.push(moment(7300, MomentKind::Connection, "TCPv4 socket made: 10.0.0.5:1 - 9.9.9.9:443", "sockets", None));
    all
}

fn hits() -> Vec<Sighting> {
    let hit = |pid: Option<u32>, at: u64, context: &[u8]| Sighting {
        pattern: "rule_one".into(),
        form: "$a".into(),
        physical_address: Known::Value(PhysAddr(at & 0xff_ffff)),
        pid: pid.into(),
        process: pid.map(|_| "bash".to_owned()).into(),
        address: pid.map(|_| VirtAddr(at)).into(),
        kind: Known::Value(if pid.is_some() { "heap" } else { "unmapped" }),
        length: 4,
        text: "curl".into(),
        context: context.to_vec(),
        before: 4,
        process_address: pid.map(|pid| object(pid.into())).into(),
        ..Sighting::default()
    };
    vec![hit(Some(812), 0x5575_0426_0010, b"\0\x1b[ curl http://x"), hit(None, 0x70_0004, b"....c\0u\0r\0l\0!\0")]
}

fn info() -> Info {
    let check = |what: &str| Check { what: what.into(), passed: true, detail: String::new() };
    Info {
        os: Origin::Linux,
        architecture: "x86_64",
        kernel: "Linux version 6.1.0-56-amd64 (builder@example.org) #1 SMP".into(),
        hostname: Known::Value("larch".into()),
        boot_time: time(0),
        capture_time: time(1000),
        format: "ELF core".into(),
        size: 151_131_435,
        page_table_root: PhysAddr(0x2a1_0000),
        paging_levels: 4,
        kernel_base: VirtAddr(0xffff_ffff_a100_0000),
        kaslr_shift: Known::Value(0x2000_0000),
        symbol_source: "BTF and kallsyms of the image".into(),
        checks: vec![check("init_task is PID 0"), check("the task list closes")],
        memory: vec![PhysRange { start: PhysAddr(0), length: 0x800_0000 }],
        warnings: vec![],
    }
}

/// What the image of the desk says when a view of bytes asks.
fn learn(want: &Want) -> Told {
    match want {
        Want::Bytes(wish) => {
            // The third page of anything is missing.
            let text = b"\x7fELF\0\0/bin/sh\0\xff\xc3 secret ";
            let data: Vec<u8> =
                (0..wish.length as u64).map(|index| text[(wish.start.wrapping_add(index) % text.len() as u64) as usize]).collect();
            let (mut pieces, mut rights) = (Vec::new(), Vec::new());
            let mut at = wish.start;
            let mut left = wish.length as u64;
            while left > 0 {
                let length = (4096 - at % 4096).min(left);
                left -= length;
                let missing = (at >> 12) % 8 == 6;
                let origin = if missing { Err(ReadError::NotMapped(VirtAddr(at))) } else { Ok(PageOrigin::Ram(PhysAddr(at & 0xff_ffff))) };
                pieces.push(Piece { address: at, length: length as usize, origin });
                if !missing {
                    rights.push((at & !0xfff, Protection { read: true, execute: true, ..Protection::default() }));
                }
                at = at.wrapping_add(length);
            }
            Told::Bytes(Ok(Reading { bytes: Bytes { start: wish.start, data, pieces }, rights }))
        }
        Want::Survey { pointer, .. } => {
            let here = Landmark { module: Some("libc.so.6+0x10".into()), readable: true, ..Landmark::default() };
            Told::Survey(Box::new(Survey { here, there: pointer.map(|_| Landmark::default()), bits: 64 }))
        }
        Want::Names(of) => Told::Names(of.iter().map(|_| Some("schedule".to_owned())).collect()),
        Want::Texts(stretch) => {
            let text = |at, wide, text: &str| FoundText { at: stretch.first + at, wide, text: text.to_owned() };
            Told::Texts(Ok((vec![text(6, false, "/bin/sh"), text(0x40, true, "C:\\Windows")], None)))
        }
        Want::Structure(name) if name == "task_struct" => {
            let field =
                |name: &str, offset, size, holds| StructField { name: name.into(), r#type: "t".into(), offset, size, bits: None, holds };
            let fields = vec![
                field("__state", 0, 4, Holds::Number { signed: false }),
                field("stack", 8, 8, Holds::Pointer(None)),
                field("real_parent", 16, 8, Holds::Pointer(Some("task_struct".into()))),
                field("comm", 24, 16, Holds::Bytes),
            ];
            Told::Structure(Ok(Structure { name: name.clone(), size: 40, fields }))
        }
        Want::Structure(name) => Told::Structure(Err(format!("the profile of this kernel has no structure {name}"))),
    }
}

static WRITER: Writer = Writer {
    name: "csv",
    help: "for the test",
    write: |rows, _, out| (0..rows.len()).try_for_each(|row| writeln!(out, "{}", rows.cell(row, 0))),
};

/// The app with somebody who does its work at once.
struct Desk {
    app: App,
    terminal: Terminal<TestBackend>,
    /// Regions, where there are to be many.
    many: u64,
    quit: bool,
    queries: Vec<(&'static str, Scope)>,
    copied: String,
    running: Vec<Ongoing>,
    cancelled: Option<Id>,
    taken: Option<Taking>,
    kept: Vec<Order>,
    report: Option<Report>,
}

impl Desk {
    fn new(width: u16, height: u16, capabilities: &Capabilities) -> Self {
        Self::with(width, height, capabilities, &["sockets", "regions", "suspicious", "threads", "modules", "kernel_log"])
    }

    fn with(width: u16, height: u16, capabilities: &Capabilities, names: &[&str]) -> Self {
        let app = App::new("larch.lime", Look::new(capabilities, &Theme::default()), (width, height));
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut desk = Self {
            app,
            terminal,
            many: 0,
            quit: false,
            queries: Vec::new(),
            copied: String::new(),
            running: Vec::new(),
            cancelled: None,
            taken: None,
            kept: Vec::new(),
            report: None,
        };
        desk.app.rest = std::time::Duration::ZERO;
        desk.app.writers = std::slice::from_ref(&WRITER);
        desk.app.reporter = Some(|_, _, _, _| Ok(String::new()));
        let tables = names.iter().map(|name| find_table(name).unwrap()).collect();
        desk.send(Message::Opened(Box::new(Opened {
            info: info(),
            tree: find_table("pstree").unwrap(),
            scores: find_table(FINDINGS),
            tables,
            folders: Vec::new(),
        })));
        desk.draw();
        desk
    }

    fn send(&mut self, message: Message) {
        let mut waiting = vec![message];
        while let Some(message) = waiting.pop() {
            for effect in self.app.update(message) {
                waiting.extend(self.work(effect));
            }
        }
    }

    fn work(&mut self, effect: Effect) -> Option<Message> {
        match effect {
            Effect::Query { slot, entry, scope } => {
                self.queries.push((entry.table.name, scope));
                let of_bash = matches!(scope, Scope::Machine) || scope == Scope::Process(object(812));
                let rows = match (slot, entry.table.name) {
                    (Slot::Tree, _) => answer(processes(), &[]),
                    (Slot::Scores, _) => answer(findings(), &[]),
                    (_, "regions") if self.many > 0 => answer(
                        (0..self.many).map(|index| Region { start: VirtAddr(index << 12), ..regions(812)[4].clone() }).collect(),
                        &[],
                    ),
                    (_, "regions") if of_bash => answer(regions(812), &[]),
                    (_, "suspicious") if of_bash => answer(suspicious(), &["2 processes were looked at"]),
                    (_, "sockets") if of_bash => answer(sockets(), &[]),
                    (_, "sids") => answer(Vec::<windows::Sid>::new(), &[]),
                    (_, "regions") => answer(Vec::<Region>::new(), &["the memory map at 0xffff8a3b00000000 is not in the image"]),
                    (_, "timeline") => answer(moments(), &[]),
                    (_, "kernel_log") => answer(Vec::<linux::LogRecord>::new(), &[]),
                    _ => answer(Vec::<Socket>::new(), &[]),
                };
                Some(Message::Rows { slot, scope, rows })
            }
            Effect::Search { slot, hunt } => Some(match hunt.search() {
                Ok(_) => Message::Rows { slot, scope: hunt.scope(), rows: answer(hits(), &[]) },
                Err(why) => Message::Failed { slot, scope: hunt.scope(), why: why.0 },
            }),
            Effect::Arrange { table, generation, ask } => {
                let arranged = arrange(&ask, &Watch::default()).unwrap();
                Some(Message::Arranged { table, generation, arranged })
            }
            Effect::Learn(want) => {
                let told = learn(&want);
                Some(Message::Told { want, told })
            }
            Effect::Find { serial, stretch, .. } => {
                let at = if stretch.forward { stretch.first + 0x123 } else { stretch.last - 0x23 };
                Some(Message::Found { serial, result: Ok(Hit::At(at, 6)) })
            }
            Effect::Cross { serial, at, forward, .. } => {
                let to = if forward { (at | 0xfff) + 0x2001 } else { at - 0x2000 };
                Some(Message::Crossed { serial, result: Ok(Some(to)) })
            }
            Effect::Locate { serial, name, .. } => {
                let found =
                    (name == "init_task").then(|| Located { address: VirtAddr(0xffff_ffff_82a1_b2c0), kernel: true, name: name.clone() });
                Some(Message::Located { serial, found })
            }
            Effect::Complete { begun, .. } => {
                let names = ["init_task", "init_uts_ns"].into_iter().filter(|name| name.starts_with(&begun)).map(str::to_owned).collect();
                Some(Message::Named { begun, names })
            }
            Effect::Quit => {
                self.quit = true;
                None
            }
            Effect::Export(export) => Some(Message::Exported(export.run(&Watch::default()))),
            Effect::WriteFile { object, folder } => {
                Some(Message::Took(Ok(Took::Said(format!("file of {object} to {}", folder.display())))))
            }
            Effect::Report(report) => {
                self.report = Some(report);
                None
            }
            Effect::Keep(order) => {
                let awaited = matches!(order, Order::Note(..) | Order::Done(_));
                self.kept.push(order);
                awaited.then_some(Message::Kept(News::Saved))
            }
            Effect::Copy(text) => {
                self.copied = text;
                None
            }
            Effect::Take(taking) => {
                let took = match &taking.to {
                    To::Clipboard(form) => Took::Text(form.write(&[Some(0x7f), None]), "2 bytes".into()),
                    To::File(path) => Took::Said(format!("{} bytes to {}", taking.length(), path.display())),
                };
                self.taken = Some(taking);
                Some(Message::Took(Ok(took)))
            }
            Effect::ListWork(true) => Some(Message::Running(std::mem::take(&mut self.running))),
            Effect::CancelOne(id) => {
                self.cancelled = Some(id);
                None
            }
            Effect::ListWork(false) | Effect::StopFinding | Effect::Cancel | Effect::Suspend | Effect::Redraw => None,
        }
    }

    fn draw(&mut self) {
        let app = &mut self.app;
        self.terminal.draw(|frame| screen::draw(app, frame)).unwrap();
        // As in the program: what the drawing showed to be missing is fetched, and drawn.
        self.send(Message::Tick);
        let app = &mut self.app;
        self.terminal.draw(|frame| screen::draw(app, frame)).unwrap();
    }

    /// Keys with blanks between them; what is longer than a key and not its name is typed out.
    fn keys(&mut self, keys: &str) -> &mut Self {
        for key in keys.split(' ').filter(|key| !key.is_empty()) {
            let named = match key {
                "Enter" => Some((KeyCode::Enter, KeyModifiers::NONE)),
                "Esc" => Some((KeyCode::Esc, KeyModifiers::NONE)),
                "Tab" => Some((KeyCode::Tab, KeyModifiers::NONE)),
                "BackTab" => Some((KeyCode::BackTab, KeyModifiers::SHIFT)),
                "Up" => Some((KeyCode::Up, KeyModifiers::NONE)),
                "Down" => Some((KeyCode::Down, KeyModifiers::NONE)),
                "PgDn" => Some((KeyCode::PageDown, KeyModifiers::NONE)),
                "End" => Some((KeyCode::End, KeyModifiers::NONE)),
                "Home" => Some((KeyCode::Home, KeyModifiers::NONE)),
                "Right" => Some((KeyCode::Right, KeyModifiers::NONE)),
                "Left" => Some((KeyCode::Left, KeyModifiers::NONE)),
                "Space" => Some((KeyCode::Char(' '), KeyModifiers::NONE)),
                "^C" => Some((KeyCode::Char('c'), KeyModifiers::CONTROL)),
                "^D" => Some((KeyCode::Char('d'), KeyModifiers::CONTROL)),
                _ => None,
            };
            match named {
                Some((code, modifiers)) => self.send(Message::Key(KeyEvent::new(code, modifiers))),
                None => key.chars().for_each(|c| self.send(Message::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)))),
            }
        }
        self.draw();
        self
    }

    fn text(&self) -> String {
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width).max(1);
        let rows: Vec<String> = buffer.content.chunks(width).map(|row| row.iter().map(|cell| cell.symbol()).collect()).collect();
        rows.join("\n")
    }
    #[track_caller]
    fn shows(&self, text: &str) -> &Self {
        assert!(self.text().contains(text), "{text:?} is not on the screen:\n{}", self.text());
        self
    }
    #[track_caller]
    fn hides(&self, text: &str) -> &Self {
        assert!(!self.text().contains(text), "{text:?} is on the screen:\n{}", self.text());
        self
    }
    /// The process that is selected in the tree.
    fn process(&self) -> (u32, String) {
        self.app.tree.current().map(|process| (process.pid, process.name.clone())).unwrap_or_default()
    }
}

fn desk() -> Desk {
    Desk::new(80, 24, &UNICODE)
}

macro_rules! screen {
    ($name:literal, $desk:expr) => {
        insta::with_settings!({snapshot_path => "../../tests/screens", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!($name, $desk.terminal.backend());
        });
    };
}

// Screens.

#[test]
fn the_tree_at_80_columns() {
    screen!("tree-80x24", desk());
}

#[test]
fn the_tree_in_ascii_without_colours() {
    let desk = Desk::new(80, 24, &PLAIN);
    let colourless = |cell: &ratatui::buffer::Cell| cell.fg == ratatui::style::Color::Reset && cell.bg == ratatui::style::Color::Reset;
    assert!(desk.terminal.backend().buffer().content.iter().all(colourless));
    assert!(desk.text().is_ascii());
    screen!("tree-ascii-80x24", desk);
}

#[test]
fn both_panes_at_160_columns() {
    let mut desk = Desk::new(160, 44, &UNICODE);
    desk.keys("f bash Enter 2 Down Down Down Down");
    screen!("regions-160x44", desk);
}

#[test]
fn bytes_with_gaps() {
    let mut desk = desk();
    desk.keys("f bash Enter 2 Down Enter").keys("g 0x557504165ff0 Enter Down Down");
    screen!("bytes-80x24", desk);
}

#[test]
fn judgements_come_worst_first() {
    let mut desk = desk();
    desk.keys("a 3");
    screen!("suspicious-80x24", desk);
}

#[test]
fn help_is_the_table_of_commands() {
    let mut desk = Desk::new(160, 60, &UNICODE);
    desk.keys("?");
    screen!("help-160x60", desk);
}

// Keys.

#[test]
fn kernel_threads_are_folded_away_and_opened_by_hand() {
    let mut desk = desk();
    desk.shows("kthreadd").hides("rcu_gp").shows("3 kernel threads").shows("+2");
    desk.keys("G Right").shows("rcu_gp");
    desk.keys("Space").hides("rcu_gp");
    desk.keys("Left Left");
    assert_eq!(desk.process().1, "kthreadd", "a folded root has nowhere further out");
}

#[test]
fn marks_are_words() {
    desk().shows("hidden").shows("✝ exited").shows("zombie").shows("1 hidden · 1 exited · 1 zombie");
}

#[test]
fn processes_with_one_pid_are_two() {
    let mut desk = desk();
    desk.keys("Down Down");
    assert_eq!(desk.process(), (700, "dropper".into()));
    desk.keys("Down");
    assert_eq!(desk.process(), (700, "cron".into()));
}

#[test]
fn a_filter_keeps_ancestors_and_gives_everything_back() {
    let mut desk = desk();
    desk.keys("f bash");
    desk.shows("systemd").shows("sshd").shows("bash").hides("cron").hides("kthreadd").shows("1 of 11");
    assert_eq!(desk.process().1, "bash", "the one that matches, not its ancestor");
    desk.keys("Enter Esc").shows("kthreadd").hides("rcu_gp");
    assert_eq!(desk.process().1, "bash");
}

#[test]
fn a_filter_that_nothing_passes_says_so() {
    let mut desk = desk();
    desk.keys("f ~drppr").shows("dropper").hides("cron");
    desk.keys("Esc f zzzz").shows("0 of 11 match \"zzzz\"").shows("Esc clears the filter");
    desk.keys("Enter f Esc Esc").shows("systemd");
}

#[test]
fn a_filter_finds_the_hidden() {
    let mut desk = desk();
    desk.keys("f hidden Enter");
    assert_eq!(desk.process().0, 666);
    desk.shows("missing from the list");
}

#[test]
fn filters_name_columns_and_say_what_is_wrong() {
    let mut desk = desk();
    desk.keys("f score>=90").shows("bash").hides("cron").shows("1 of 11");
    desk.keys("Esc f state:exit Enter");
    assert_eq!(desk.process().1, "dropper");
    desk.keys("Esc f pid>x").shows("pid is a number, and x is none");
    desk.keys("Enter").shows("filter: pid>x").hides("filter: pid>x \n");
    desk.keys("Esc f bash Enter Tab f port:443").shows("fd13:37::9").hides("8443").shows("1/1 of 3");
    desk.keys("Esc f /8(4/").shows("unclosed group");
    desk.keys("Esc f colour=1").shows("no column begins with colour");
    desk.keys("Esc f state:nope").shows("0 of 3 match \"state:nope\"").shows("0 of 3");
}

#[test]
fn search_goes_on_and_around() {
    let mut desk = desk();
    desk.keys("/ sh Enter");
    assert_eq!(desk.process().1, "sshd");
    desk.shows("/1 of 2");
    desk.keys("n");
    assert_eq!(desk.process().1, "bash");
    desk.keys("n");
    assert_eq!(desk.process().1, "sshd");
    desk.keys("N");
    assert_eq!(desk.process().1, "bash");
    desk.keys("Esc / nowhere Enter").shows("not in the tree");
}

#[test]
fn the_tables_follow_the_selection() {
    let mut desk = Desk::new(160, 44, &UNICODE);
    desk.shows("this process has no sockets");
    desk.keys("f bash Enter").shows("10.13.37.5:49524").shows("[fd13:37::5]:54128");
    assert_eq!(desk.queries.last(), Some(&("sockets", Scope::Process(object(812)))));
    desk.keys("a");
    assert_eq!(desk.queries.last(), Some(&("sockets", Scope::Machine)));
    desk.shows("all processes");
}

#[test]
fn only_what_is_in_sight_is_asked_for() {
    let mut desk = desk();
    assert_eq!(desk.queries.len(), 2, "the tree and its scores");
    desk.keys("j j j");
    assert_eq!(desk.queries.len(), 2);
    desk.keys("Tab");
    assert_eq!(desk.queries.len(), 3);
}

#[test]
fn an_empty_view_says_why() {
    let mut desk = desk();
    desk.keys("2").shows("this process has no regions").shows("is not in the image");
    desk.keys("6").shows("this image has no kernel log");
}

#[test]
fn tab_walks_through_all_views_and_esc_returns() {
    let mut desk = desk();
    for title in ["Sockets", "Regions", "Suspicious", "Threads", "Modules", "Kernel log"] {
        desk.keys("Tab");
        assert_eq!(desk.app.tables[desk.app.active].title, title);
    }
    desk.keys("Tab").shows("kthreadd");
    desk.keys("BackTab").shows("this image has no kernel log");
    desk.keys("Esc").shows("kthreadd");
    desk.keys("3 BackTab BackTab BackTab").shows("kthreadd");
}

#[test]
fn sorting_and_filtering_a_table() {
    let mut desk = desk();
    desk.keys("a 2").keys("s s s s").shows("sort: rights ▲");
    desk.keys("I").shows("sort: rights ▼");
    desk.keys("f libc Enter").shows("libc.so.6").hides("heap").shows("1/1 of 6").shows("filter: libc");
    desk.keys("Esc").shows("heap").shows("1/6").hides("filter:");
    desk.keys("f !image").hides("libc.so.6").shows("of 6");
    desk.keys("Esc f zzzz").shows("0 of 6 match \"zzzz\"");
}

#[test]
fn a_row_leads_to_its_bytes_and_back() {
    let mut desk = desk();
    desk.keys("a 3 Enter").shows("Bytes · region 0x7f7d3e58a000 of bash 812").shows("7f 45 4c 46").shows("+0x0");
    desk.keys("/ secret Enter").shows("0x7f7d3e58a123 +0x123");
    desk.keys("Esc").shows("Suspicious all processes");
    desk.keys("p");
    assert_eq!(desk.process().1, "bash");
}

#[test]
fn an_address_can_be_gone_to_from_anywhere() {
    let mut desk = desk();
    desk.keys("g 0xffffffff81000000 Enter").shows("kernel memory").shows("ffffffff81000000");
    desk.keys("g p:1000 Enter").shows("physical memory");
    desk.keys("g +10 Enter").shows("0x1010");
    desk.keys("Esc").shows("0x1000 ");
    desk.keys("Esc").shows("ffffffff81000000");
    desk.keys("Esc").shows("Processes");
    desk.keys("g nonsense Enter").shows("no process, symbol, driver or library of this process is called nonsense");
    desk.keys("g 0xzz Enter").shows("0xzz is no place");
    desk.keys("Esc G gg");
    assert_eq!(desk.process().1, "systemd", "gg is the top, as in vi");
}

#[test]
fn missing_bytes_are_not_zero() {
    let mut desk = desk();
    desk.keys("g 0xffff800000006000 Enter").shows("?? ?? ??").shows("not mapped").shows("????????");
}

#[test]
fn interrupting_twice_quits_and_once_does_not() {
    let mut desk = desk();
    desk.keys("^C").shows("^C again quits");
    assert!(!desk.quit);
    desk.keys("j ^C");
    assert!(!desk.quit, "another key comes between");
    desk.keys("^C");
    assert!(desk.quit);
}

#[test]
fn q_is_a_letter_in_a_question_and_closes_help() {
    let mut desk = desk();
    desk.keys("f q Esc ? q");
    assert!(!desk.quit);
    desk.hides("Marks");
    desk.keys("q");
    assert!(desk.quit);
}

#[test]
fn the_mouse_selects_scrolls_and_sorts() {
    let mut desk = desk();
    let mouse = |kind, column, row| Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    desk.send(mouse(MouseEventKind::Down(MouseButton::Left), 10, 6));
    desk.draw();
    assert_eq!(desk.process().1, "dropper");
    desk.send(mouse(MouseEventKind::ScrollDown, 10, 6));
    assert_eq!(desk.process().1, "defunct");
    let regions = desk.app.places.views[2].0;
    desk.send(mouse(MouseEventKind::Down(MouseButton::Left), regions.x, regions.y));
    desk.keys("a");
    let body = desk.app.tables[1].body;
    desk.send(mouse(MouseEventKind::Down(MouseButton::Left), body.x + 2, body.y));
    desk.draw();
    desk.shows("sort: pid ▲");
    desk.send(mouse(MouseEventKind::Down(MouseButton::Left), body.x + 2, body.y + 2));
    desk.send(mouse(MouseEventKind::Down(MouseButton::Left), body.x + 2, body.y + 2));
    desk.draw();
    desk.shows("Bytes · region");
}

#[test]
fn paste_answers_a_question_and_is_no_command() {
    let mut desk = desk();
    desk.send(Message::Paste("q\nq".into()));
    assert!(!desk.quit);
    desk.keys("g");
    desk.send(Message::Paste("0xffffffff81000000\n".into()));
    desk.keys("Enter").shows("ffffffff81000000");
    desk.keys("0 f");
    let began = Instant::now();
    desk.send(Message::Paste("not there ".repeat(100_000)));
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "a long one costs no more than a short one");
}

#[test]
fn commands_and_tables_are_found_by_name() {
    let mut desk = desk();
    desk.keys(": zo").shows("zoom").shows("give the pane the whole screen");
    desk.keys("Enter");
    assert!(desk.app.zoomed);
    desk.keys(": regs Enter").shows("this process has no regions");
    desk.keys(": xyzzy Enter").shows("no command like xyzzy");
    desk.keys(": Down Down Esc").hides("look at the selected process in the tables");
}

// Findings.

fn findings_desk(width: u16, height: u16) -> Desk {
    Desk::with(width, height, &UNICODE, &[FINDINGS, "sockets", "regions", "suspicious", "modules"])
}

#[test]
fn an_image_opens_with_what_was_found() {
    let mut desk = findings_desk(80, 24);
    screen!("findings-80x24", desk);
    assert_eq!(desk.queries, [("pstree", Scope::Machine), (FINDINGS, Scope::Machine)], "scores and list are one query");
    desk.keys("Down").shows("+31 socket: listens").shows("next: look at its bytes");
    desk.keys("0 f bash Enter").shows("!! 93");
    assert_eq!(desk.queries.len(), 2);
}

#[test]
fn a_finding_leads_to_what_it_is_about() {
    let mut desk = findings_desk(80, 24);
    desk.keys("Enter").shows("Bytes · region 0x7f7d3e58a000 of bash 812");
    desk.keys("Esc Down Enter").shows("Sockets bash 812").shows("2/3");
    desk.keys("Esc").shows("Findings").shows("2/3");
    desk.keys("p");
    assert_eq!(desk.process().1, "bash");
    desk.keys("1 f listens").shows("1/1 of 3");
    desk.keys("Esc Down Enter").shows("modules has no row at 0xffff8a3b00000010");
    // An address that is typed there is one of the row's process.
    desk.keys("Esc Up Up g 0x7f7d3e58a010 Enter").shows("0x7f7d3e58a010 of bash 812");
}

#[test]
fn what_was_run_is_one_key_away() {
    let mut desk = Desk::with(110, 24, &UNICODE, &[FINDINGS, "timeline", "sockets"]);
    desk.keys("r").shows("Timeline all processes").shows("filter: kind:/process_start");
    desk.keys("Esc").hides("filter:");
}

#[test]
fn what_is_typed_is_completed() {
    let mut desk = Desk::new(110, 24, &UNICODE);
    let answer = |desk: &Desk| desk.app.prompt().unwrap().answer;
    // Columns of a filter, and the words that they hold.
    desk.keys("f").shows("Tab completes");
    desk.keys("sta Tab");
    assert_eq!(answer(&desk), "state:");
    desk.keys("hid Tab");
    assert_eq!(answer(&desk), "state:hidden");
    desk.keys("Space !pp Tab").shows("then = > < or :");
    assert_eq!(answer(&desk), "state:hidden !ppid");
    desk.keys("^U zzz Tab").shows("no column or value begins so");
    // Places: processes, symbols.
    desk.keys("Esc Esc g ini Tab Tab").shows("2 ways on: init_task init_uts_ns");
    desk.keys("ta Tab Enter").shows("init_task");
    desk.keys("Esc g BAS Tab");
    assert_eq!(answer(&desk), "bash");
    // Commands, then what they take.
    desk.keys("Esc : got Tab").shows("Tab completes");
    desk.keys("bas Tab");
    assert_eq!(answer(&desk), "goto bash");
    desk.keys("Enter");
    assert_eq!(desk.process().1, "bash");
    desk.keys(": filter Space state:hid Tab Enter").shows("filter: state:hidden").shows("1 of 11");
}

#[test]
fn a_process_leads_to_its_parent_and_children() {
    let mut desk = Desk::new(110, 40, &UNICODE);
    desk.keys("g bash Enter o").shows("sshd 800").shows("child");
    desk.keys("parent Enter");
    assert_eq!(desk.process().1, "sshd");
    desk.keys("o child Down Enter");
    assert_eq!(desk.process().1, "bash");
}

#[test]
fn the_end_is_gone_to_when_it_is_there() {
    let mut desk = desk();
    desk.keys("S curl Enter Enter");
    let (slot, scope) = (Slot::Table(desk.app.active), Scope::Machine);
    let view = desk.app.tables.last_mut().unwrap();
    (view.rows, view.list.cursor) = (None, 0);
    desk.keys("G");
    desk.send(Message::Rows { slot, scope, rows: answer(hits(), &[]) });
    let last = hits().len() - 1;
    assert_eq!(desk.app.tables.last().unwrap().list.cursor, last);
    // That was it: more rows move nobody.
    desk.keys("k");
    desk.send(Message::Rows { slot, scope, rows: answer(hits(), &[]) });
    assert_eq!(desk.app.tables.last().unwrap().list.cursor, last - 1);
}

#[test]
fn none_is_called_hidden_only_where_all_was_searched() {
    let mut desk = desk();
    let mut few = processes();
    few.retain(|process| process.state != ProcessState::Hidden);
    desk.send(Message::Rows { slot: Slot::Tree, scope: Scope::Machine, rows: answer(few.clone(), &[]) });
    desk.draw();
    desk.shows("none hidden");
    let rows = answer(few, &["the pools were not searched for processes: not in the image"]);
    desk.send(Message::Rows { slot: Slot::Tree, scope: Scope::Machine, rows });
    desk.draw();
    desk.shows("none seen hidden").hides("none hidden");
}

#[test]
fn a_file_is_written_out_of_memory() {
    let file =
        linux::CachedFile { path: Known::Value("/etc/passwd".into()), address: VirtAddr(0xffff_8a3b_0000_0010), ..Default::default() };
    let links = super::panes::link::of_row(answer(vec![file], &[]).as_ref(), 0, None, Origin::Linux);
    let link = super::panes::link::Link::File(VirtAddr(0xffff_8a3b_0000_0010));
    assert!(links.iter().any(|named| named.name == "write file" && named.link == link));
}

#[test]
fn what_a_closed_connection_is_known_from_is_not_called_live() {
    let connection = Connection { evidence: event::Evidence::Live, ..Connection::default() };
    let look = Look::new(&UNICODE, &Theme::default());
    let record = super::panes::record(answer(vec![connection], &[]).as_ref(), 0, Origin::Windows, &look);
    assert!(record.iter().any(|(name, value, _)| name == "evidence" && value == "in memory"), "{record:?}");
}

#[test]
fn a_record_has_the_columns_of_its_system() {
    let rows = answer(vec![TreeProcess { session: Known::Value(1), uid: Known::Value(1000), ..TreeProcess::default() }], &[]);
    let look = Look::new(&UNICODE, &Theme::default());
    for (os, here, not_here) in [(Origin::Windows, "session", "uid"), (Origin::Linux, "uid", "session")] {
        let names: Vec<String> = super::panes::record(rows.as_ref(), 0, os, &look).into_iter().map(|(name, ..)| name).collect();
        assert!(names.iter().any(|name| name == here) && !names.iter().any(|name| name == not_here), "{os:?}: {names:?}");
    }
}

#[test]
fn a_finding_of_a_function_leads_to_it_among_those_of_its_driver() {
    let function = |function| drivers::DriverFunction { function, driver_address: VirtAddr(0x10), ..Default::default() };
    let rows = answer(vec![function("IRP_MJ_CREATE"), function("IRP_MJ_READ")], &[]);
    let seek = super::panes::table::Seek::Function(0x10, "IRP_MJ_READ of \\Driver\\Disk: hooked".into());
    assert_eq!(seek.row_of(rows.as_ref()), Some(1));
}

#[test]
fn tables_are_of_the_machine_until_a_process_is_chosen() {
    let mut desk = findings_desk(120, 30);
    desk.keys("2").shows("Sockets all processes");
    desk.keys("0 Down 2").hides("all processes").shows("Sockets kworker/0:9 666");
    let mut desk = findings_desk(120, 30);
    desk.keys("0 Enter").hides("all processes");
    // Back at the findings nothing has been chosen again.
    let mut desk = findings_desk(120, 30);
    desk.keys("p").shows("bash 812");
    desk.keys("Esc 2").shows("Sockets all processes");
    desk.keys("0 Down 2").hides("all processes");
    desk.keys("a").shows("all processes");
    desk.keys("0 Down 2").shows("Sockets all processes");
}

#[test]
fn a_finding_leads_to_the_tables_of_its_process() {
    let mut desk = findings_desk(80, 24);
    desk.keys("o").shows("of bash 812");
    desk.keys("sock Enter").shows("Sockets bash 812");
    desk.keys("Esc").shows("Findings");
    desk.keys("Down Down o").hides("of bash 812");
}

#[test]
fn the_same_bytes_are_looked_for_in_all_memory() {
    let mut desk = findings_desk(80, 24);
    desk.keys("Enter = ").shows("in physical memory").shows("2 rows");
    desk.keys("Esc").shows("Bytes · region");
    desk.keys("V Right =").shows("2 bytes at 0x7f7d3e58a000").shows("in physical memory");
}

#[test]
fn a_command_is_found_by_what_it_does() {
    let mut desk = desk();
    desk.keys(": yara").shows("search memory with YARA rules");
    desk.keys("Esc : clipboard").shows("copy-value");
    desk.keys("Esc 1 : loopback").shows("noise");
    desk.keys("Esc : zzz").shows("nothing is like it");
}

#[test]
fn a_program_whose_parent_always_ends_is_no_orphan() {
    for (os, marked) in [(Origin::Windows, false), (Origin::Linux, true)] {
        let mut desk = desk();
        desk.app.tree.set_system(os);
        let alone = process(0, 444, 448, "csrss.exe", None);
        let rows = answer(vec![alone, process(0, 445, 450, "x.exe", None)], &[]);
        desk.send(Message::Rows { slot: Slot::Tree, scope: Scope::Machine, rows });
        desk.keys("g 448 Enter").shows("444 (not found");
        assert_eq!(desk.text().matches("orphan").count(), if marked { 2 } else { 1 }, "{}", desk.text());
    }
}

// Moments.

#[test]
fn a_timeline_shows_where_it_is_dense_and_can_be_looked_into() {
    let mut desk = Desk::with(110, 24, &UNICODE, &[FINDINGS, "timeline", "sockets"]);
    desk.keys("2").shows("30 hidden: 30 loopback; H shows them").shows("1/3 of 33").shows("most 2");
    screen!("timeline-110x24", desk);
    desk.keys("H").shows("1/33").shows("noise is shown").hides("30 hidden");
    // Closer: the day, the hour, the minute; then on over the gap, and out again.
    desk.keys("H + + +").shows("minute: 2025-03-14 09:27").shows("1/2 of 33");
    desk.keys("}").shows("minute: 2025-03-14 11:28").shows("9.9.9.9:443");
    desk.keys("}").shows("no row lies beyond");
    desk.keys("Esc").shows("1/3 of 33");
    // Enter leads to what it is about.
    desk.keys("G Enter").shows("sockets has no row at 0xffff8a3bc6000000");
    desk.keys("Esc Up Up Enter");
    assert_eq!(desk.process(), (812, "bash".to_owned()));
    desk.keys("2 s").hides("most 2");
}

#[test]
fn what_the_user_calls_noise_is_hidden_too() {
    use super::panes::noise::Rule;
    let mut desk = Desk::with(110, 24, &UNICODE, &[FINDINGS, "timeline"]);
    desk.app.set_noise(vec![Rule::parse("shells", "kind=shell_command").unwrap()]);
    desk.keys("2 a").shows("31 hidden: 30 loopback, 1 shells").hides("chmod");
    // Rules of the case come and go by a word, and are there the next time.
    desk.keys(": noise Space bash_( Enter").shows("31 hidden");
    desk.keys(": noise Space kind=process_start Enter").shows("1 kind=process_start").shows("noise in this case");
    let (view, _) = desk.app.close_case();
    let mut next = Desk::with(110, 24, &UNICODE, &[FINDINGS, "timeline"]);
    let book = Casebook { notes: Vec::new().into_iter().collect(), trail: Vec::new(), view: Some((view, String::new())) };
    next.keys("2 a");
    next.send(Message::Kept(News::Opened { book: Box::new(book), identity: Box::default(), kept: None, begun: true, told: None }));
    next.draw();
    next.shows("1 kind=process_start");
    desk.keys(": noise Space kind=process_start Enter").hides("1 kind=process_start");
}

// Rows taken along.

#[test]
fn rows_are_written_to_a_new_file_and_never_over_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    let typed = path.to_str().unwrap().to_owned();
    let export = |desk: &mut Desk, keys: &str| {
        desk.keys(keys).shows("write to new file: larch-regions.csv");
        desk.send(Message::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
        typed.chars().for_each(|c| desk.send(Message::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE))));
        desk.keys("Enter");
    };
    let mut desk = Desk::new(160, 24, &UNICODE);
    desk.keys("a 2 f libc Enter e").shows("1 row, for the test").shows("all csv");
    export(&mut desk, "Enter");
    desk.shows("1 row written to");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "812\n");
    export(&mut desk, "e all Enter");
    desk.shows("exists already and is not written over");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "812\n");
}

#[test]
fn values_and_rows_are_copied_harmlessly() {
    let mut desk = desk();
    desk.keys("f curl Enter y command Enter").shows("sent to the clipboard: curl");
    assert_eq!(desk.copied, "curl http://203.0.113.77/\\x1b[31m");
    desk.keys("Y").shows("clipboard: the row");
    assert!(desk.copied.contains("pid: 900\t") && !desk.copied.contains('\x1b'), "{}", desk.copied);
}

// Work.

#[test]
fn what_runs_is_listed_and_cancelled() {
    let mut desk = desk();
    desk.keys("w").shows("nothing is running").hides("Enter cancels");
    let piece = |id, what: &str, done| Ongoing { id, what: what.into(), reading: (done, 100), elapsed: std::time::Duration::from_secs(2) };
    desk.running = vec![piece(Id::Query(Slot::Scores), "findings", 50), piece(Id::Find, "search", 20)];
    desk.keys("w").shows("running (Enter cancels):").shows("50 %").shows("20 of 100, 10/s, 2 s");
    desk.keys("Down Enter").shows("cancelled; what was found stays");
    assert_eq!(desk.cancelled, Some(Id::Find));
}

// Links and places.

#[test]
fn places_are_gone_back_to_and_forward_again() {
    let mut desk = desk();
    desk.keys("f bash Enter Enter 2 Down Down Enter").shows("Bytes · region 0x557504260000 of bash 812");
    desk.keys("[").shows("Regions bash 812").shows("3/6");
    desk.keys("[").shows("Sockets bash 812");
    desk.keys("[");
    assert_eq!(desk.process().1, "bash");
    desk.keys("[").shows("this is where you began");
    desk.keys("] ] ]").shows("Bytes · region 0x557504260000 of bash 812");
    desk.keys("]").shows("you have not been further");
    desk.keys("J").shows("bash 812 › region 0x557504260000 › bytes").shows("-3").shows("here");
    desk.keys("Up Up Enter").shows("Sockets bash 812");
    desk.keys("0 Esc f systemd Enter 1").shows("this process has no sockets");
    desk.keys("Esc").shows("Processes");
}

#[test]
fn a_place_is_returned_to_with_its_process_and_row() {
    let mut desk = desk();
    desk.keys("f bash Enter Enter 2 Down Down p f systemd Enter 2").shows("this process has no regions");
    desk.keys("Esc Esc Esc").shows("Regions bash 812").shows("3/6");
    assert_eq!(desk.process().1, "bash");
}

#[test]
fn everything_a_row_leads_to_is_offered() {
    let mut desk = desk();
    desk.keys("f bash Enter o").shows("open:").shows("regions").shows("parent").shows("object");
    desk.keys("parent Enter");
    assert_eq!(desk.process().1, "sshd");
    desk.keys("Esc o reg Enter").shows("Regions bash 812");
    desk.keys("o").shows("bytes").shows("process").shows("end").shows("object");
    desk.keys("obj Enter").shows("the profile of this kernel has no structure vm_area_struct");
    desk.keys("Esc 1 Down Enter");
    assert_eq!(desk.process().1, "bash", "a socket leads to its process");
}

#[test]
fn names_are_places() {
    let mut desk = desk();
    desk.keys("g init_task+10 Enter").shows("kernel memory").shows("init_task+0x10").shows("ffffffff82a1b2d0");
    desk.keys("g bash Enter");
    assert_eq!(desk.process().1, "bash");
    desk.keys("g 800 Enter");
    assert_eq!(desk.process().1, "sshd");
    desk.keys("g 77777 Enter").shows("no process has the ID 77777").shows("Bytes · 0x77777");
    desk.keys("g dropp Enter");
    assert_eq!(desk.process().1, "dropper", "a beginning is enough");
}

#[test]
fn bytes_are_code_strings_and_fields_as_well() {
    let mut desk = desk();
    desk.keys("f bash Enter x").shows("task_struct · process object of bash 812").shows("real_parent").shows("stack");
    desk.keys("/ comm Enter").shows("task_struct");
    assert_eq!(desk.app.bytes.as_ref().unwrap().cursor, object(812).0 + 24);
    desk.keys("o").shows("Bytes · process object").shows("task_struct.comm t");
    desk.keys("d").shows("Code, 64 bit");
    desk.keys("j j k").shows("Code");
    desk.keys("s").shows("Strings").shows("/bin/sh").shows("UTF-16 C:\\Windows").shows("2 texts, no more");
    desk.keys("s O _NOTHING Enter").shows("has no structure _NOTHING");
    desk.keys("Esc").shows("Processes");
    desk.keys("a 2 Enter v").shows("GUID").shows("u64 BE");
    desk.keys("v").hides("GUID");
}

#[test]
fn search_goes_both_ways_and_gaps_are_crossed() {
    let mut desk = desk();
    desk.keys("a 2 Down Enter / secret Enter n").shows("+0x247");
    desk.keys("N").shows("+0x223");
    desk.keys("}").shows("+0x3000");
    desk.keys("{").shows("+0x1000");
    desk.keys("p");
    assert_eq!(desk.process().1, "bash", "whose memory it is");
}

#[test]
fn the_tree_is_a_list_in_the_order_that_is_chosen() {
    let mut desk = desk();
    desk.shows("!! 93");
    desk.keys("s score Enter").shows("sort: score ▼");
    assert_eq!(desk.process().1, "bash");
    desk.keys("s name Enter").shows("sort: name ▲");
    assert_eq!(desk.process().1, "bash");
    desk.keys("I").shows("sort: name ▼");
    desk.keys("f ssh").hides("dropper").shows("sshd");
    desk.keys("Esc s tree Enter").hides("sort:").shows("▾ sshd");
}

// Hostility.

#[test]
fn nothing_from_the_image_reaches_the_terminal_raw() {
    for capabilities in [UNICODE, PLAIN] {
        let mut desk = Desk::new(160, 44, &capabilities);
        desk.keys("f curl Enter").shows("\\x1b]0;own\\x07\\u{202e}cod");
        desk.keys("v");
        let unsafe_char = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!desk.text().contains(unsafe_char), "{}", desk.text());
    }
}

#[test]
fn no_size_is_too_small() {
    for (width, height) in [(0, 0), (1, 1), (10, 3), (20, 4), (21, 5), (40, 10), (80, 9), (300, 2), (110, 4), (500, 200)] {
        let mut desk = Desk::new(width, height, &UNICODE);
        for keys in [
            "j",
            "f bash Enter",
            "1",
            "2",
            "Down Enter",
            "PgDn G",
            "?",
            "Down Esc",
            "v Esc i Esc",
            "a 3 Esc z 0",
            "x j d j k G s j v o",
            "O x Enter",
            "o Esc J Esc s Esc",
            "g p:0 Enter",
            "/ x",
        ] {
            desk.keys(keys);
        }
    }
}

#[test]
fn a_tree_of_parents_that_loop_or_never_end_is_drawn() {
    let mut desk = desk();
    let mut rows: Vec<TreeProcess> = Vec::new();
    for pid in 1..3000 {
        rows.push(process(pid, u64::from(pid) - 1, pid, "deep", None));
    }
    rows.push(TreeProcess { parent: Known::Value(object(9001)), ..process(0, 0, 9000, "loop-a", None) });
    rows.push(TreeProcess { parent: Known::Value(object(9000)), ..process(0, 0, 9001, "loop-b", None) });
    rows.push(process(0, 0, 1, "same-object", None));
    rows.push(TreeProcess { address: Known::Absent, ..process(0, 0, 5, "no-object", None) });
    desk.send(Message::Rows { slot: Slot::Tree, scope: Scope::Machine, rows: answer(rows, &[]) });
    desk.keys("G").shows("no-object").shows("same-object").shows("loop-b");
    desk.keys("f loop").shows("2 of 3 003");
}

// Size and speed.

/// The quickest of some pages of a table, which tells more than their mean on a machine that does other things too.
fn page(rows: u64) -> std::time::Duration {
    let mut desk = Desk::new(160, 44, &UNICODE);
    desk.many = rows;
    desk.keys("a 2").shows(&format!("{} rows", super::text::grouped(usize::try_from(rows).unwrap())));
    let timed = |_| {
        let began = Instant::now();
        desk.keys("PgDn k j j");
        began.elapsed()
    };
    let quickest = (0..30).map(timed).min().unwrap();
    let last = super::text::grouped(usize::try_from(rows).unwrap());
    desk.keys("End").shows(&format!("{last}/{last}"));
    quickest
}

#[test]
fn a_million_rows_scroll_like_a_thousand() {
    let (thousand, million) = (page(1000), page(1_000_000));
    println!("four keys and their frames: {thousand:?} of a thousand rows, {million:?} of a million");
    assert!(million < thousand * 2, "{million:?} of a million rows, {thousand:?} of a thousand");
}

/// Bytes that a key costs on the wire, drawn as the program draws.
fn cost(desk: &mut Desk, painter: &mut Painter, keys: &str) -> usize {
    desk.keys(keys);
    let app = &mut desk.app;
    painter.paint(app.hurries(), |frame| screen::draw(app, frame)).unwrap().len()
}

#[test]
fn few_bytes_on_the_wire() {
    for (capabilities, name) in [(UNICODE, "16 colours"), (PLAIN, "none")] {
        let mut desk = Desk::new(80, 24, &capabilities);
        let mut painter = Painter::new(Viewport::Fixed(Rect::new(0, 0, 80, 24))).unwrap();
        let first = cost(&mut desk, &mut painter, "a");
        cost(&mut desk, &mut painter, "0");
        assert_eq!(cost(&mut desk, &mut painter, ""), 0, "nothing has changed");
        let tree = cost(&mut desk, &mut painter, "j");
        cost(&mut desk, &mut painter, "2");
        let table = cost(&mut desk, &mut painter, "j");
        cost(&mut desk, &mut painter, "Enter");
        let bytes = cost(&mut desk, &mut painter, "j");
        let scrolled = cost(&mut desk, &mut painter, "PgDn");
        cost(&mut desk, &mut painter, "Home d");
        let code = cost(&mut desk, &mut painter, "j");
        cost(&mut desk, &mut painter, "s");
        let texts = cost(&mut desk, &mut painter, "j");
        let costs = format!(
            "{name}: first frame {first}, tree {tree}, table {table}, bytes {bytes}, a page of bytes {scrolled}, code {code}, strings {texts}"
        );
        assert!(code <= 400 && texts <= 300, "{costs}");
        assert!(first < 6000 && tree <= 600 && table <= 400 && bytes <= 200 && scrolled < 4500, "{costs}");
    }
}

/// The most bytes for a moved cursor, and for a moved window, of one pane of a desk.
fn moving(desk: &mut Desk, painter: &mut Painter) -> (usize, usize) {
    let mut most = (0, 0);
    let mut seen = |desk: &mut Desk, keys: &str| {
        let top = |app: &App| (app.tree.top(), app.tables.get(app.active).map(|view| view.list.top));
        let before = top(&desk.app);
        let bytes = cost(desk, painter, keys);
        let most = if top(&desk.app) == before { &mut most.0 } else { &mut most.1 };
        *most = bytes.max(*most);
    };
    (0..12).for_each(|_| seen(desk, "j"));
    (0..4).for_each(|_| seen(desk, "^D"));
    (0..2).for_each(|_| seen(desk, "PgDn"));
    (0..12).for_each(|_| seen(desk, "k"));
    most
}

#[test]
fn moving_costs_little() {
    for (width, height, capabilities) in
        [(80, 24, &UNICODE), (80, 24, &PLAIN), (120, 32, &UNICODE), (160, 44, &UNICODE), (200, 60, &UNICODE)]
    {
        let mut desk = Desk::with(width, height, capabilities, &[FINDINGS, "sockets", "regions"]);
        desk.many = 5000;
        let crowd = (1..400)
            .map(|pid| process(u32::from(pid > 1), u64::from(pid > 1), pid, &format!("worker-{}", pid * 7), Some("/usr/bin/worker")));
        desk.send(Message::Rows { slot: Slot::Tree, scope: Scope::Machine, rows: answer(crowd.collect(), &[]) });
        let mut painter = Painter::new(Viewport::Fixed(Rect::new(0, 0, width, height))).unwrap();
        for keys in ["0 a l", "3"] {
            cost(&mut desk, &mut painter, keys);
            desk.app.rest = std::time::Duration::MAX;
            let (moved, scrolled) = moving(&mut desk, &mut painter);
            println!("{width}x{height} {keys}: {moved} {scrolled}");
            assert!(0 < moved && moved < 200 && 0 < scrolled && scrolled < 2000, "{width}x{height} {keys}: {moved}, {scrolled}");
            desk.app.rest = std::time::Duration::ZERO;
            cost(&mut desk, &mut painter, "");
            assert_eq!(cost(&mut desk, &mut painter, ""), 0, "nothing has changed");
        }
    }
}

#[test]
fn over_a_network_the_last_columns_follow_when_the_cursor_rests() {
    let mut desk = Desk::with(200, 60, &UNICODE, &[FINDINGS, "sockets", "regions"]);
    desk.many = 5000;
    let mut painter = Painter::new(Viewport::Fixed(Rect::new(0, 0, 200, 60))).unwrap();
    let mut costs = |remote: bool| {
        desk.app.remote = remote;
        cost(&mut desk, &mut painter, "a 3 Home");
        cost(&mut desk, &mut painter, "");
        desk.app.rest = std::time::Duration::MAX;
        let first = cost(&mut desk, &mut painter, "End");
        desk.app.rest = std::time::Duration::ZERO;
        (first, cost(&mut desk, &mut painter, ""))
    };
    let (local, remote) = (costs(false), costs(true));
    println!("{local:?} {remote:?}");
    assert!(local.0 > 2000 && remote.0 < 2000 && remote.1 > local.1, "{local:?} {remote:?}");
}

#[test]
fn details_follow_when_the_cursor_rests() {
    let mut desk = Desk::with(160, 44, &UNICODE, &[FINDINGS, "sockets", "regions"]);
    desk.keys("0").shows("command /sbin/init");
    desk.app.rest = std::time::Duration::MAX;
    let asked = desk.queries.len();
    desk.keys("j j j").shows("command /sbin/init").shows("systemd 1");
    assert_eq!(desk.queries.len(), asked, "nothing is asked for rows that one passes by");
    desk.app.rest = std::time::Duration::ZERO;
    desk.keys("").shows("command /usr/sbin/cron").shows("cron 700");
}

#[test]
fn a_large_frame_is_bracketed() {
    let mut desk = desk();
    let mut painter = Painter::new(Viewport::Fixed(Rect::new(0, 0, 80, 24))).unwrap();
    let app = &mut desk.app;
    let bytes = painter.paint(app.hurries(), |frame| screen::draw(app, frame)).unwrap();
    assert!(bytes.starts_with(b"\x1b[?2026h") && bytes.ends_with(b"\x1b[?2026l"));
}

#[test]
fn memory_is_searched_and_the_hits_are_links() {
    let mut desk = desk();
    desk.keys("S curl Enter").shows("search in:").shows("physical memory").shows("any case");
    desk.keys("Enter").shows("\"curl\" in physical memory").shows("2 rows").shows("curl http://x").shows("..curl!");
    desk.keys("Enter").shows("hit of rule_one").shows("557504260010");
    assert_eq!(desk.app.bytes.as_ref().unwrap().found, Some((0x5575_0426_0010, 4)));
    desk.keys("Esc j Enter").shows("700000 ");
    // What is wrong is said, and another search takes the place of the last one.
    let count = desk.app.tables.len();
    desk.keys("Esc S re:( Enter Enter").shows("unclosed");
    desk.keys(": search Space hex:4d5a9000 Enter").hides("any case");
    desk.keys("Enter").shows("\"hex:4d5a9000\" in physical memory");
    assert_eq!(desk.app.tables.len(), count);
}

#[test]
fn rules_search_memory_and_show_their_text() {
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (folder.path().join("right.yar"), folder.path().join("wrong.yar"));
    std::fs::write(&right, "rule rule_one {\n  strings: $a = \"curl\"\n  condition: $a\n}\n").unwrap();
    std::fs::write(&wrong, "rule a {\n  condition: $b\n}\n").unwrap();
    let mut desk = desk();
    desk.keys(&format!(": yara Space {} Enter Enter", wrong.display())).shows("wrong.yar:2:");
    desk.keys(&format!(": yara Space {} Enter Enter", right.display())).shows("rule_one");
    let hunt = desk.app.tables.last().unwrap().hunt.clone().unwrap();
    let hit = Sighting { pattern: "rule_one".into(), rule: vec![format!("file: {}", right.display())], ..Sighting::default() };
    assert!(hunt.rule(answer(vec![hit], &[]).as_ref(), 0).unwrap().ends_with("condition: $a\n}"));
}

#[test]
fn the_cursor_stays_with_its_hit_when_hits_are_put_in_order() {
    let mut desk = desk();
    desk.keys("S curl Enter Enter j");
    let (slot, scope) = (Slot::Table(desk.app.active), Scope::Machine);
    let mut rows = hits();
    rows.reverse();
    desk.send(Message::Rows { slot, scope, rows: answer(rows, &[]) });
    assert_eq!(desk.app.tables.last().unwrap().list.cursor, 0);
}

#[test]
fn marks_say_what_is_odd_and_what_is_folded_away() {
    let mut desk = findings_desk(120, 30);
    desk.keys("0 f marks:parent Enter").shows("1 of 11").shows("! parent").shows("started by sshd");
    desk.keys("Esc h h h").shows("!! below");
    desk.keys("?").shows("Help");
    desk.keys("G").shows("!! below");
}

#[test]
fn columns_of_the_tree_are_chosen() {
    let mut desk = Desk::new(160, 30, &UNICODE);
    desk.keys("0 z").shows("SOCK");
    desk.keys("C sockets Enter").hides("SOCK");
    desk.keys("C sockets Enter").shows("SOCK");
    desk.keys("s sockets Enter").shows("sort: sockets");
    assert_eq!(desk.process().0, 812, "it has all the sockets");
    desk.keys("f sockets>0 Enter").shows("1 of 11");
}

#[test]
fn selected_bytes_are_copied_and_written() {
    let mut desk = desk();
    desk.keys("f bash Enter Enter 2 Enter y yara Enter").shows("sent to the clipboard: 2 bytes");
    assert_eq!(desk.copied, "{ 7f ?? }");
    assert_eq!(desk.taken.as_ref().unwrap().length(), 2 * 4096, "without a selection it is the region");
    desk.keys("l V l l j").shows("19 bytes selected");
    desk.keys("y c Enter");
    let first = 0x5575_0416_3001;
    let to = To::Clipboard(Form::C);
    assert_eq!(desk.taken, Some(Taking { space: Space::Process(object(812)), first, last: first + 18, to }));
    desk.keys("S").shows("hex:454c4600002f62696e2f736800ffc320736563");
    desk.keys("Esc").shows("19 bytes selected");
    desk.keys("e").shows("write to new file: larch-557504163001-557504163013.bin");
    desk.keys("Enter").shows("19 bytes to larch-");
    desk.keys("Esc").shows("0x557504163013").hides("selected");
    desk.keys("g p:0x1000 Enter y").shows("nothing is selected; V begins a selection");
}

// Notes and the case.

#[test]
fn a_note_is_seen_listed_and_leads_back() {
    let mut desk = Desk::new(120, 30, &PLAIN);
    desk.keys("0 f bash Enter m").shows("marked: bash 812").shows("812*");
    desk.keys("Esc Tab 2 Down c staging Enter").shows("*0x557504165000").hides("comment:");
    desk.keys("t c2 Space #tmp Enter").shows("#c2 #tmp: staging").shows("case: 2 notes");
    desk.keys("Down Enter m").shows("*");
    assert!(desk.text().is_ascii());
    desk.keys("0 '").shows("notes:").shows("region 0x557504165000 of bash 812").shows("staging");
    desk.keys("staging Esc").keys("' region Enter").shows("2/6").shows("#c2 #tmp: staging");
    desk.keys("v").shows("#c2 #tmp: staging");
    desk.keys("Esc");
    desk.keys("' 0x557504260000 Enter").shows("of bash 812").shows("0x557504260000");
    desk.keys("' bash_812 Esc 0 m").hides("812*").shows("case: 2 notes");
    let saved = desk.kept.iter().filter(|order| matches!(order, Order::Note(..))).count();
    assert_eq!(saved, 5);
}

#[test]
fn a_finding_is_confirmed_or_benign() {
    let mut desk = Desk::with(160, 30, &UNICODE, &[FINDINGS, "regions"]);
    desk.keys("V").shows("judge it:");
    desk.keys("Enter").shows("confirmed").shows("+ confirmed");
    desk.keys("Down V benign Enter").shows("case: 2 notes");
    let judged = |desk: &Desk| -> Vec<Judgement> {
        let notes = desk.kept.iter().filter_map(|order| match order {
            Order::Note(note, _) => Some(note.judgement),
            _ => None,
        });
        notes.collect()
    };
    assert_eq!(judged(&desk), [Judgement::Confirmed, Judgement::Benign]);
    desk.keys("R").shows("[x] ");
    desk.keys("Down Down Enter").shows("[ ]");
    desk.keys("modules Esc");
    desk.keys("R Enter").shows("write to folder: larch-report");
    desk.keys("Enter").shows("writing the report");
    let report = desk.report.take().unwrap();
    assert!(report.contents.findings && report.contents.notes.is_none() && report.contents.trail.is_none());
    desk.keys("A Enter").shows("What was done with this image").shows("noted");
}

#[test]
fn an_image_is_found_as_it_was_left() {
    let mut first = Desk::new(120, 30, &UNICODE);
    first.keys("0 C command Enter C start Enter").hides("UID");
    first.keys("0 f bash Enter Esc Tab 2 f r-x Enter s Down m a");
    let (view, _) = first.app.close_case();
    let notes = std::mem::take(&mut first.kept).into_iter().filter_map(|order| match order {
        Order::Note(note, _) => Some((note.about(), *note)),
        _ => None,
    });
    let book = Casebook { notes: notes.collect(), trail: Vec::new(), view: Some((view.clone(), "2026-11-22T09:01:02.003Z".into())) };
    let open = |touched: bool, view: &str| {
        let mut desk = Desk::new(120, 30, &UNICODE);
        if touched {
            desk.keys("0");
        }
        let book = Casebook { view: Some((view.to_owned(), "2026-11-22T09:01:02.003Z".into())), ..book.clone() };
        desk.send(Message::Kept(News::Opened {
            book: Box::new(book),
            identity: Box::default(),
            kept: Some("/data/x.kioku".into()),
            begun: true,
            told: None,
        }));
        desk.draw();
        desk
    };
    let mut second = open(false, &view);
    second.shows("1 note and the view of 2026-11-22 09:01 UTC are back").shows("filter: r-x").shows("all processes");
    assert_eq!(second.process().1, "bash");
    assert_eq!(second.app.tree.wanted_columns(), first.app.tree.wanted_columns());
    assert!(second.app.tree.wanted_columns().is_some());
    second.keys("Esc").shows("case: 1 note").shows("Regions");
    open(true, &view).shows("1 note").hides("the view of").hides("filter: r-x");
    // Whatever stands in the file.
    for view in ["", "null", "[]", "{\"table\":3}", "{\"table\":\"nope\",\"row\":{\"table\":\"x\",\"key\":\"\"}}"] {
        open(false, view).shows("1 note");
    }
    let hostile = "{\"tables\":[{\"table\":\"regions\",\"filter\":\"/(/\",\"sort\":[\"x\",true]}],\"table\":\"regions\",\
                    \"bytes\":{\"space\":\"kernel\",\"what\":\"\u{1b}[2J\",\"first\":9,\"last\":1,\"at\":5,\"read_as\":\"strings\"}}";
    open(false, hostile).hides("\u{1b}");
}

#[test]
fn a_search_is_in_the_trail_and_its_hits_are_places_without_it() {
    let mut desk = desk();
    desk.keys("S curl Enter Enter m j m");
    desk.keys("A Enter").shows("\"curl\" in physical memory: 2 hits");
    let notes = desk.kept.into_iter().filter_map(|order| match order {
        Order::Note(note, _) => Some((note.about(), *note)),
        _ => None,
    });
    let book = Box::new(Casebook { notes: notes.collect(), ..Casebook::default() });
    let mut next = Desk::new(80, 24, &UNICODE);
    next.send(Message::Kept(News::Opened { book, identity: Box::default(), kept: None, begun: true, told: None }));
    let places = ["' Enter", "Esc ' Down Enter"].map(|keys| next.keys(keys).text());
    for part in ["hit of curl", "557504260010", "700000 "] {
        assert!(places.iter().any(|text| text.contains(part)), "{part} is not in {places:?}");
    }
}

#[test]
fn what_cannot_be_kept_is_said_once() {
    let mut desk = desk();
    let told = Some("notes are not saved: /data: it is full".to_owned());
    desk.send(Message::Kept(News::Opened { book: Box::default(), identity: Box::default(), kept: None, begun: false, told }));
    desk.draw();
    desk.shows("notes are not saved: /data");
    desk.keys("m").shows("1 note, not kept");
    desk.app.dirty = false;
    desk.send(Message::Kept(News::Saved));
    assert!(!desk.app.dirty, "a saved note that shows nothing new is no frame");
}

#[test]
fn a_slow_disk_is_not_felt_and_is_told() {
    let mut desk = desk();
    let opened = News::Opened { book: Box::default(), identity: Box::default(), kept: Some("/x".into()), begun: false, told: None };
    desk.send(Message::Kept(opened));
    drop(desk.app.update(Message::Key(KeyEvent::new(KeyCode::Char('m'), KeyModifiers::NONE))));
    assert_eq!(desk.app.case_status(), "", "what is not on the disk is not kept");
    std::thread::sleep(std::time::Duration::from_millis(260));
    desk.app.dirty = false;
    drop(desk.app.update(Message::Tick));
    assert_eq!((desk.app.case_status().as_str(), desk.app.dirty), ("case: saving", true));
    desk.send(Message::Kept(News::Failed("not saved: /x: the disk is full".into())));
    desk.draw();
    desk.shows("the disk is full").shows("case not saved");
    desk.send(Message::Kept(News::Saved));
    assert_eq!(desk.app.case_status(), "case: 1 note");
}

#[test]
fn the_tour_advances_with_what_is_done() {
    let mut desk = findings_desk(80, 30);
    desk.keys("T").shows("step 1 of 13");
    desk.keys("Enter").shows("step 2 of 13").shows("Esc goes back");
    desk.keys("Esc").shows("step 3");
    desk.keys("0").shows("step 4");
    desk.keys("f hidden").shows("step 4");
    // One is on the hidden process already.
    desk.keys("Enter").shows("step 6");
    desk.keys("T").hides("step 6 of").shows("waits at step 6");
    desk.keys("T o regions Enter").shows("step 7");
    desk.keys("> d").shows("step 8").hides("Code, ");
    desk.keys(": tutor Space 10 Enter").shows("step 10");
    desk.keys("S http Enter Enter").shows("step 11");
    desk.keys("> ?").shows("Help");
    desk.keys("Esc").shows("step 13");
    desk.keys(": tutor Space x Enter").shows("takes the number of a step, 1 to 13");
}

#[test]
fn fields_of_an_event_go_by_their_names() {
    let fields = event::Fields(vec![("TargetImage".into(), event::Value::Text("lsass.exe".into()))]);
    let rows = answer(vec![Event { data: fields, ..Event::default() }], &[]);
    let look = Look::new(&UNICODE, &Theme::default());
    assert!(
        super::panes::record(rows.as_ref(), 0, Origin::Windows, &look)
            .iter()
            .any(|(name, value, _)| name == "TargetImage" && value == "lsass.exe")
    );
}
