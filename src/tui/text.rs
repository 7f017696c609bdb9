//! Text from the image, made safe for a terminal and cut to a width.
//!
//! A process name is whatever the attacker wrote there: a control character, an escape sequence or a bidirectional override must
//! be seen, never obeyed.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    Unicode,
    Ascii,
}

/// Which end of a text that is too long gives way. Paths tell more at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    End,
    Start,
}

/// Two combining marks on a letter are writing; more are an attack on the terminal.
const MOST_MARKS: u8 = 2;

/// Characters that show nothing, or that change what stands beside them.
fn deceives(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The columns that a character takes if it is shown as it is; None where it has to be escaped.
fn width_of(c: char, marks: u8, charset: Charset) -> Option<usize> {
    if c.is_ascii() {
        return (!c.is_ascii_control()).then_some(1);
    }
    if charset == Charset::Ascii || deceives(c) {
        return None;
    }
    match c.width()? {
        0 => (marks < MOST_MARKS).then_some(0),
        width => Some(width),
    }
}

/// Writes one character, or its escape; answers the columns it takes.
fn push(out: &mut String, c: char, marks: &mut u8, charset: Charset) -> usize {
    let before = out.len();
    match width_of(c, *marks, charset) {
        Some(width) => {
            *marks = if width == 0 { *marks + 1 } else { 0 };
            out.push(c);
            return width;
        }
        None => match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        },
    }
    *marks = 0;
    out.len() - before
}

/// The whole text, safe.
pub fn clean(text: &str, charset: Charset) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = MOST_MARKS;
    for c in text.chars() {
        push(&mut out, c, &mut marks, charset);
    }
    out
}

/// The text, safe, in at most `room` columns. Reads no more of it than that takes: names can be megabytes long.
pub fn fit(text: &str, room: usize, cut: Cut, charset: Charset) -> String {
    let ellipsis = if charset == Charset::Ascii { "..." } else { "…" };
    let short = room.saturating_sub(width(ellipsis));
    match cut {
        Cut::End => {
            let (mut out, mut taken, mut kept) = (String::new(), 0, 0);
            let mut marks = MOST_MARKS;
            for c in text.chars() {
                taken += push(&mut out, c, &mut marks, charset);
                if taken <= short {
                    kept = out.len();
                }
                if taken > room {
                    out.truncate(kept);
                    out.push_str(if room > width(ellipsis) { ellipsis } else { "" });
                    return out;
                }
            }
            out
        }
        Cut::Start => {
            // A column holds at most one base character with its marks.
            let most = (room + 1).saturating_mul(usize::from(MOST_MARKS) + 1);
            let start = text.char_indices().rev().nth(most).map_or(0, |(at, _)| at);
            let whole = clean(text.get(start..).unwrap_or_default(), charset);
            if start == 0 && width(&whole) <= room {
                return whole;
            }
            let mut left = width(&whole);
            let mut rest = whole.chars();
            while left > short {
                match rest.next() {
                    Some(c) => left -= c.width().unwrap_or(0).min(left),
                    None => break,
                }
            }
            let rest = rest.as_str().trim_start_matches(|c: char| c.width() == Some(0));
            format!("{}{rest}", if room > width(ellipsis) { ellipsis } else { "" })
        }
    }
}

/// Columns of a text that is safe already.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Breaks a safe text into lines of at most `room` columns, at blanks where there are any.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let wide = width(word.trim_end());
        if used > 0 && used + wide > room {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > room {
                if c == ' ' {
                    continue;
                }
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
            used += wide;
        }
    }
    lines
}

/// A count with its thousands apart: `9 021`.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 socket`, `2 sockets`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_image_is_obeyed() {
        let hostile = "a\x1b]0;owned\x07b\u{9b}31m\u{202e}gpj.exe\u{200b}\u{7f}\r\n";
        let shown = clean(hostile, Charset::Unicode);
        assert_eq!(shown, "a\\x1b]0;owned\\x07b\\x9b31m\\u{202e}gpj.exe\\u{200b}\\x7f\\r\\n");
        assert!(shown.chars().all(|c| !c.is_control()));
        assert_eq!(clean("über", Charset::Ascii), "\\xfcber");
        assert_eq!(clean("日本", Charset::Ascii), "\\u{65e5}\\u{672c}");
    }

    #[test]
    fn a_pile_of_marks_is_not_one_cell() {
        let pile = format!("e{}", "\u{301}".repeat(10_000));
        assert!(clean(&pile, Charset::Unicode).starts_with("e\u{301}\u{301}\\u{301}"));
        assert_eq!(clean("\u{301}e", Charset::Unicode), "\\u{301}e", "a mark needs a letter");
    }

    #[test]
    fn cuts_by_width() {
        assert_eq!(fit("systemd-journald", 8, Cut::End, Charset::Unicode), "systemd…");
        assert_eq!(fit("systemd-journald", 8, Cut::End, Charset::Ascii), "syste...");
        assert_eq!(fit("/usr/lib/libc.so", 8, Cut::Start, Charset::Unicode), "…libc.so");
        assert_eq!(fit("日本語です", 5, Cut::End, Charset::Unicode), "日本…");
        assert_eq!(fit("日本語です", 10, Cut::End, Charset::Unicode), "日本語です");
        assert_eq!(fit("bash", 4, Cut::Start, Charset::Unicode), "bash");
        assert_eq!(fit("bash", 1, Cut::End, Charset::Unicode), "");
        assert_eq!(fit("bash", 0, Cut::Start, Charset::Unicode), "");
    }

    proptest::proptest! {
        #[test]
        fn always_fits_and_never_controls(text in "\\PC*|.*", room in 0usize..40, start in proptest::bool::ANY, ascii in proptest::bool::ANY) {
            let charset = if ascii { Charset::Ascii } else { Charset::Unicode };
            let shown = fit(&text, room, if start { Cut::Start } else { Cut::End }, charset);
            assert!(width(&shown) <= room, "{shown:?} in {room}");
            assert!(shown.chars().all(|c| !c.is_control() && !deceives(c)));
        }
    }

    #[test]
    fn wraps_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn groups_thousands() {
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(12), "12");
    }
}
