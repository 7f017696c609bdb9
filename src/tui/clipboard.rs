//! Copying through the terminal (OSC 52): over any connection, where the terminal allows it.

use crossterm::Command;
use crossterm::clipboard::CopyToClipboard;

/// What stands between us and the terminal and keeps such sequences for itself unless they are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    Nothing,
    Tmux,
    Screen,
}

/// Terminals drop what is longer, without a word.
pub const LONGEST: usize = 50_000;

impl Between {
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        match () {
            () if set("TMUX") => Self::Tmux,
            () if set("STY") => Self::Screen,
            () => Self::Nothing,
        }
    }
}

/// The bytes that ask the terminal to take a text.
pub fn sequence(text: &str, between: Between) -> String {
    let mut plain = String::new();
    // Writing to a String cannot fail.
    _ = CopyToClipboard::to_clipboard_from(text).write_ansi(&mut plain);
    match between {
        Between::Nothing => plain,
        // tmux takes it itself where set-clipboard is on, and hands it on where allow-passthrough is.
        Between::Tmux => format!("{plain}\x1bPtmux;{}\x1b\\", plain.replace('\x1b', "\x1b\x1b")),
        // screen hands on strings of no more than 768 bytes.
        Between::Screen => {
            // The usual end of the string inside would end the string around it.
            let plain = plain.replace("\x1b\\", "\x07");
            plain.as_bytes().chunks(700).map(|part| format!("\x1bP{}\x1b\\", String::from_utf8_lossy(part))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_wrapped_for_what_stands_between() {
        assert_eq!(sequence("pid 4", Between::Nothing), "\x1b]52;c;cGlkIDQ=\x1b\\");
        assert_eq!(sequence("pid 4", Between::Tmux), "\x1b]52;c;cGlkIDQ=\x1b\\\x1bPtmux;\x1b\x1b]52;c;cGlkIDQ=\x1b\x1b\\\x1b\\");
        assert_eq!(sequence("pid 4", Between::Screen), "\x1bP\x1b]52;c;cGlkIDQ=\x07\x1b\\");
        assert_eq!(Between::of(|name| (name == "TMUX").then(|| "/tmp/tmux-0/default,1,0".into())), Between::Tmux);
        assert_eq!(Between::of(|_| None), Between::Nothing);
    }
}
