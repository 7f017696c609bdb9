//! The terminal: what it can do, entering and leaving it whole, one write per frame.

use crate::engine::Error;
use crate::tui::clipboard::{Between, sequence};
use crate::tui::text::Charset;
use crate::tui::wire::Wire;
use crossterm::event::{self, Event};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    None,
    Ansi,
    Palette,
    True,
}

/// What the terminal can do, decided once, from the environment alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub depth: Depth,
    pub charset: Charset,
    /// Frames, arrows and marks in ASCII; the Linux console has UTF-8 but not the characters.
    pub plain_symbols: bool,
    /// A network is between us and the terminal.
    pub remote: bool,
}

impl Capabilities {
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        if term.is_empty() || term == "dumb" {
            let term = if term.is_empty() { "TERM is not set" } else { "TERM=dumb" };
            return Err(Error(format!(
                "the explorer needs a terminal that can move its cursor ({term}); the commands print instead: `kioku query IMAGE pslist`, `kioku --help`"
            )));
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name)).unwrap_or_default().to_lowercase();
        let charset = if locale.contains("utf-8") || locale.contains("utf8") { Charset::Unicode } else { Charset::Ascii };
        let colourless = set("NO_COLOR").is_some() || set("CLICOLOR").as_deref() == Some("0") || term.starts_with("vt1");
        let depth = match set("COLORTERM").as_deref() {
            _ if colourless => Depth::None,
            Some("truecolor" | "24bit") => Depth::True,
            _ if term.ends_with("-256color") => Depth::Palette,
            _ => Depth::Ansi,
        };
        let plain_symbols = charset == Charset::Ascii || term == "linux" || term.starts_with("vt");
        let remote = set("SSH_CONNECTION").or(set("SSH_TTY")).is_some();
        Ok(Self { depth, charset, plain_symbols, remote })
    }

    pub fn detect() -> Result<Self, Error> {
        let capabilities = Self::of(|name| std::env::var(name).ok())?;
        for (stream, terminal) in [("input", io::stdin().is_terminal()), ("output", io::stdout().is_terminal())] {
            if !terminal {
                return Err(Error(format!(
                    "the explorer needs a terminal, and standard {stream} is not one; the commands print instead: `kioku query IMAGE pslist`, `kioku --help`"
                )));
            }
        }
        Ok(capabilities)
    }
}

/// Whatever wakes the program.
pub enum Input {
    Event(Event),
    /// A signal that asks us to end, to stop or to draw anew.
    Signal(i32),
    /// No more input will come.
    Lost,
}

/// Clicks and the wheel, without the movements between (each would be bytes on the wire); paste as text, not as keys.
const ENTER: &str = "\x1b[?1049h\x1b[2J\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[?2004h";
/// Clears first, for terminals that have no second screen to leave.
const LEAVE: &str = "\x1b[?2026l\x1b[?2004l\x1b[?1006l\x1b[?1000l\x1b[0m\x1b[H\x1b[2J\x1b[?25h\x1b[?1049l";
/// Around a frame that may arrive in pieces, so that the terminal shows it at once.
const BEGIN_FRAME: &[u8] = b"\x1b[?2026h";
const END_FRAME: &[u8] = b"\x1b[?2026l";
/// What fits in a packet arrives in one piece anyway.
const PACKET: usize = 1000;
/// Bytes of a frame in haste.
const HASTY: usize = 1900;
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back. Harmless when it has been given back already; errors are ignored, because after a hang-up every write
/// fails and nobody is left to be told.
pub fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        let _ = disable_raw_mode();
    }
}

/// The terminal comes back before a panic is reported; a panic of a worker, which its job catches, is not reported here at all.
fn install_panic_hook() {
    let drawing = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == drawing {
            restore();
            before(panic);
        } else if !ENTERED.load(Ordering::SeqCst) {
            before(panic);
        }
    }));
}

/// Turns drawings into the bytes that change the screen, which leave in one write.
pub struct Painter {
    terminal: Terminal<Wire>,
}

impl Painter {
    pub fn new(viewport: Viewport) -> io::Result<Self> {
        Ok(Self { terminal: Terminal::with_options(Wire::default(), TerminalOptions { viewport })? })
    }

    /// The bytes of one frame; none where the screen already shows it. In haste what is large may be left for the next frame.
    pub fn paint(&mut self, hasty: bool, draw: impl FnOnce(&mut Frame)) -> io::Result<Vec<u8>> {
        self.terminal.backend_mut().most = hasty.then_some(HASTY);
        self.terminal.draw(draw)?;
        let mut bytes = self.terminal.backend_mut().take();
        if bytes.len() > PACKET {
            bytes.splice(..0, BEGIN_FRAME.iter().copied());
            bytes.extend_from_slice(END_FRAME);
        }
        Ok(bytes)
    }
}

/// The entered terminal.
pub struct Screen {
    painter: Painter,
    /// The terminal did not tell its size when it was last taken.
    assumed: bool,
    out: File,
}

impl Screen {
    pub fn enter() -> Result<Self, Error> {
        let failed = |why: io::Error| Error(format!("the terminal cannot be used: {why}"));
        install_panic_hook();
        let out = standard_output().map_err(failed)?;
        let painter = Painter::new(viewport()).map_err(failed)?;
        let mut screen = Self { painter, assumed: false, out };
        screen.resume().map_err(failed)?;
        Ok(screen)
    }

    /// Takes the terminal, again after a stop: whatever stood on it is gone, and so is our knowledge of it.
    pub fn resume(&mut self) -> io::Result<()> {
        if ENTERED.swap(true, Ordering::SeqCst) {
            disable_raw_mode()?;
        }
        enable_raw_mode()?;
        self.out.write_all(ENTER.as_bytes())?;
        let viewport = viewport();
        self.assumed = matches!(viewport, Viewport::Fixed(_));
        self.painter = Painter::new(viewport)?;
        Ok(())
    }

    /// Gives the terminal to the shell until the user fetches us back. Without job control around us nothing stops, and we go on.
    pub fn suspend(&mut self) -> io::Result<()> {
        restore();
        #[cfg(unix)]
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        self.resume()
    }

    /// Forgets what the terminal shows, so that the next frame is whole.
    pub fn forget(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[2J")?;
        let viewport = viewport();
        self.assumed = matches!(viewport, Viewport::Fixed(_));
        self.painter = Painter::new(viewport)?;
        Ok(())
    }

    pub fn size(&self) -> (u16, u16) {
        match viewport() {
            Viewport::Fixed(area) => (area.width, area.height),
            _ => crossterm::terminal::size().unwrap_or((80, 24)),
        }
    }
    pub fn size_was_assumed(&self) -> bool {
        self.assumed
    }

    /// Asks the terminal to take a text into its clipboard.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let between = Between::of(|name| std::env::var(name).ok());
        self.out.write_all(sequence(text, between).as_bytes())
    }

    pub fn frame(&mut self, hasty: bool, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        let bytes = self.painter.paint(hasty, draw)?;
        self.out.write_all(&bytes)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The whole terminal; one that does not know its size, such as a serial console, is taken for the usual one.
fn viewport() -> Viewport {
    match crossterm::terminal::size() {
        Ok((1.., 1..)) => Viewport::Fullscreen,
        _ => Viewport::Fixed(Rect::new(0, 0, 80, 24)),
    }
}

/// Standard output without the line buffer that would break a frame into pieces.
fn standard_output() -> io::Result<File> {
    #[cfg(unix)]
    return Ok(File::from(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?));
    #[cfg(windows)]
    return Ok(File::from(std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned()?));
}

/// Keys and signals, in the order in which they come.
pub fn inputs() -> Result<Receiver<Input>, Error> {
    let (sender, receiver) = channel();
    signals(sender.clone()).map_err(|why| Error(format!("signals cannot be watched: {why}")))?;
    std::thread::spawn(move || {
        loop {
            let input = event::read().map_or(Input::Lost, Input::Event);
            let lost = matches!(input, Input::Lost);
            if sender.send(input).is_err() || lost {
                return;
            }
        }
    });
    Ok(receiver)
}

#[cfg(unix)]
fn signals(sender: Sender<Input>) -> io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGCONT, SIGHUP, SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            let ends = matches!(signal, SIGHUP | SIGTERM);
            // Whoever asks a second time is not kept waiting by whatever holds the first.
            if (asked && ends) || sender.send(Input::Signal(signal)).is_err() {
                restore();
                std::process::exit(128 + signal);
            }
            asked |= ends;
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn signals(_: Sender<Input>) -> io::Result<()> {
    Ok(())
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    End,
    Interrupt,
    Redraw,
}

pub fn asked(signal: i32) -> Asked {
    #[cfg(unix)]
    match signal {
        signal_hook::consts::SIGCONT => return Asked::Redraw,
        signal_hook::consts::SIGINT => return Asked::Interrupt,
        _ => (),
    }
    let _ = signal;
    Asked::End
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Capabilities, Error> {
        Capabilities::of(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn capabilities_follow_the_environment() {
        let usual = of(&[("TERM", "xterm-256color"), ("LANG", "en_US.UTF-8")]).unwrap();
        assert_eq!(usual, Capabilities { depth: Depth::Palette, charset: Charset::Unicode, plain_symbols: false, remote: false });
        assert!(of(&[("TERM", "xterm"), ("SSH_CONNECTION", "192.0.2.1 40000 192.0.2.2 22")]).unwrap().remote);
        assert_eq!(of(&[("TERM", "screen"), ("LANG", "de_DE.utf8")]).unwrap().depth, Depth::Ansi);
        assert_eq!(of(&[("TERM", "xterm"), ("COLORTERM", "truecolor")]).unwrap().depth, Depth::True);
        assert_eq!(of(&[("TERM", "xterm"), ("COLORTERM", "truecolor"), ("NO_COLOR", "1")]).unwrap().depth, Depth::None);
        assert_eq!(of(&[("TERM", "xterm"), ("NO_COLOR", "")]).unwrap().depth, Depth::Ansi, "an empty NO_COLOR says nothing");
        assert_eq!(of(&[("TERM", "xterm"), ("LANG", "en_US.UTF-8"), ("LC_ALL", "C")]).unwrap().charset, Charset::Ascii);
        assert!(of(&[("TERM", "linux"), ("LANG", "en_US.UTF-8")]).unwrap().plain_symbols);
    }

    #[test]
    fn a_dumb_terminal_is_told_the_command() {
        assert!(of(&[("TERM", "dumb")]).unwrap_err().0.contains("kioku query IMAGE pslist"));
        assert!(of(&[]).unwrap_err().0.contains("TERM is not set"));
    }

    /// Run by the test below as a program of its own.
    #[test]
    #[ignore = "panics"]
    fn panic_on_the_screen() {
        let mut screen = Screen::enter().unwrap();
        screen.frame(false, |frame| frame.render_widget("something", frame.area())).unwrap();
        let worker = std::thread::spawn(|| panic!("a worker's panic is its job's business"));
        assert!(worker.join().is_err());
        panic!("on purpose");
    }

    #[cfg(unix)]
    #[test]
    fn a_panic_gives_the_terminal_back_and_is_then_reported() {
        use portable_pty::{CommandBuilder, PtySize, native_pty_system};
        let pair = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tui::terminal::tests::panic_on_the_screen", "--ignored", "--nocapture"]);
        command.env("RUST_BACKTRACE", "0");
        let mut child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let mut bytes = Vec::new();
        // Linux ends the reading with an error when the last writer has gone.
        let _ = io::Read::read_to_end(&mut reader, &mut bytes);
        assert!(!child.wait().unwrap().success());
        let text = String::from_utf8_lossy(&bytes);
        let (entered, left, told) = (text.find(ENTER), text.find(LEAVE), text.find("on purpose"));
        assert!(entered.is_some() && entered < left && left < told, "{text:?}");
        assert!(!text.contains("a worker's panic"));
        let mut parser = vt100::Parser::default();
        parser.process(&bytes);
        assert!(!parser.screen().alternate_screen() && parser.screen().contents().contains("on purpose"));
    }
}
