//! Text from the image, made safe to show. Every reader that writes text for people passes it through here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something to the terminal, or to the order and visibility of its neighbours, rather than being seen.
pub fn is_unprintable(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // C0, DEL and C1: some terminals obey U+009B as they obey ESC [.
        '\0'..='\u{9f}' => true,
        // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        // Zero-width characters and marks, line and paragraph separators, bidirectional overrides and isolates, invisible operators.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        // Tags: a whole hidden alphabet.
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// The text with everything that must not reach a terminal written as an escape: `\n`, `\x1b`, `\u{202e}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    let Some(first) = first_unprintable(text) else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::with_capacity(text.len() + 16);
    let (clean, rest) = text.split_at(first);
    shown.push_str(clean);
    for c in rest.chars() {
        match c {
            '\t' => shown.push_str("\\t"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            c if !is_unprintable(c) => shown.push(c),
            // Writing to a String cannot fail.
            c if u32::from(c) < 0x100 => _ = write!(shown, "\\x{:02x}", u32::from(c)),
            c => _ = write!(shown, "\\u{{{:x}}}", u32::from(c)),
        }
    }
    Cow::Owned(shown)
}

/// Where the first character lies that may not be shown as it is. Plain ASCII, nearly all there is, is seen through byte by byte.
pub fn first_unprintable(text: &str) -> Option<usize> {
    let plain = text.bytes().position(|byte| !matches!(byte, b' '..=b'~'))?;
    text.get(plain..)?.char_indices().find(|(_, c)| is_unprintable(*c)).map(|(at, _)| plain + at)
}

/// A size in the largest unit that keeps it at 1 or more: `144.3 MiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            let digits = if unit == "B" || value.fract() == 0.0 { 0 } else { 1 };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} EiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown = [0, 1023, 1024, 151_362_560, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "144.4 MiB", "16.0 EiB"]);
    }

    #[test]
    fn plain_and_foreign_text_stays() {
        for text in ["", "C:\\Windows\\System32", "記憶 メモリ", "Ünï – “q”", "🦀"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(printable("a\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(printable("\r\n\t\0\x7f"), "\\r\\n\\t\\x00\\x7f");
        assert_eq!(printable("é\u{9b}2J"), "é\\x9b2J");
        assert_eq!(printable("exe\u{202e}txt.\u{2066}\u{200b}\u{feff}"), "exe\\u{202e}txt.\\u{2066}\\u{200b}\\u{feff}");
        assert_eq!(printable("\u{e0041}"), "\\u{e0041}");
    }

    #[test]
    fn every_character_of_an_escaped_text_is_printable() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert_eq!(first_unprintable(&printable(&all)), None);
    }
}
