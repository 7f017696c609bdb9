//! Drawings as few bytes: what a terminal is sent, for connections on which each byte costs.

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use std::fmt::Write as _;
use std::io;

/// What a slow connection asks of the explorer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    #[default]
    Local,
    /// Over SSH: details follow when the cursor rests, and it marks the beginning of its row.
    Remote,
    /// The user says so: the same, later; frames are gathered and nothing spins.
    Slow,
}

/// So many letters that stand there already are written again sooner than the cursor is moved over them.
const WORTH_MOVING: u16 = 4;
/// Blanks that are worth being erased rather than written.
const WORTH_ERASING: usize = 12;

/// How the next letter will look.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pen {
    fg: Color,
    bg: Color,
    underline: Color,
    modifier: Modifier,
}

const PLAIN: Pen = Pen { fg: Color::Reset, bg: Color::Reset, underline: Color::Reset, modifier: Modifier::empty() };

const MODIFIERS: [(Modifier, u8, u8); 9] = [
    (Modifier::BOLD, 1, 22),
    (Modifier::DIM, 2, 22),
    (Modifier::ITALIC, 3, 23),
    (Modifier::UNDERLINED, 4, 24),
    (Modifier::SLOW_BLINK, 5, 25),
    (Modifier::RAPID_BLINK, 6, 25),
    (Modifier::REVERSED, 7, 27),
    (Modifier::HIDDEN, 8, 28),
    (Modifier::CROSSED_OUT, 9, 29),
];

impl Pen {
    fn of(cell: &Cell) -> Self {
        Self { fg: cell.fg, bg: cell.bg, underline: cell.underline_color, modifier: cell.modifier }
    }

    /// The sequence that changes to another pen: what differs, or everything anew where that is shorter.
    fn turn(self, to: Self, out: &mut String) {
        if self == to {
            return;
        }
        let mut differs: Vec<String> = Vec::new();
        let lost = self.modifier - to.modifier;
        let mut kept = self.modifier & to.modifier;
        for (modifier, _, off) in MODIFIERS {
            let code = off.to_string();
            if lost.contains(modifier) && !differs.contains(&code) {
                differs.push(code);
                // Bold and dim end together, as the blinks do.
                MODIFIERS.iter().filter(|(_, _, other)| *other == off).for_each(|(other, ..)| kept.remove(*other));
            }
        }
        let on = |kept: Modifier| {
            let new = to.modifier - kept;
            MODIFIERS.into_iter().filter(move |(modifier, ..)| new.contains(*modifier)).map(|(_, on, _)| on.to_string())
        };
        differs.extend(on(kept));
        let colours = |from: Self| {
            let fg = (from.fg != to.fg).then(|| colour(to.fg, 30, 38));
            let bg = (from.bg != to.bg).then(|| colour(to.bg, 40, 48));
            let underline = (from.underline != to.underline).then(|| colour(to.underline, 0, 58));
            [fg, bg, underline].into_iter().flatten()
        };
        differs.extend(colours(self));
        let anew: Vec<String> = std::iter::once(String::new()).chain(on(Modifier::empty())).chain(colours(PLAIN)).collect();
        let (differs, anew) = (differs.join(";"), anew.join(";"));
        // Writing to a String cannot fail.
        _ = write!(out, "\x1b[{}m", if anew.len() <= differs.len() { anew } else { differs });
    }
}

/// The code of a colour: `base` is that of the first of eight, `long` introduces all others.
fn colour(colour: Color, base: u8, long: u8) -> String {
    let eight = |number: u8| if base == 0 { format!("{long};5;{number}") } else { (base + number).to_string() };
    let bright = |number: u8| if base == 0 { format!("{long};5;{}", number + 8) } else { (base + 60 + number).to_string() };
    match colour {
        Color::Reset => (long + 1).to_string(),
        Color::Black => eight(0),
        Color::Red => eight(1),
        Color::Green => eight(2),
        Color::Yellow => eight(3),
        Color::Blue => eight(4),
        Color::Magenta => eight(5),
        Color::Cyan => eight(6),
        Color::Gray => eight(7),
        Color::DarkGray => bright(0),
        Color::LightRed => bright(1),
        Color::LightGreen => bright(2),
        Color::LightYellow => bright(3),
        Color::LightBlue => bright(4),
        Color::LightMagenta => bright(5),
        Color::LightCyan => bright(6),
        Color::White => bright(7),
        Color::Indexed(number) => format!("{long};5;{number}"),
        Color::Rgb(r, g, b) => format!("{long};2;{r};{g};{b}"),
    }
}

/// Gathers what a frame changes.
#[derive(Default)]
pub struct Wire {
    out: String,
    /// Where the cursor is shown, and where it was meant to be shown last.
    shown: bool,
    wanted: Option<Position>,
    placed: Option<Position>,
    /// What stands on the screen, line by line: its letters of ASCII, and how they look. What is not known here is blank.
    seen: Vec<Vec<Option<(u8, Pen)>>>,
}

impl Wire {
    fn note(&mut self, (x, y): (u16, u16), letter: Option<u8>, pen: Pen) {
        let (x, y) = (usize::from(x), usize::from(y));
        if self.seen.len() <= y {
            self.seen.resize(y + 1, Vec::new());
        }
        if let Some(line) = self.seen.get_mut(y) {
            if line.len() <= x {
                line.resize(x + 1, Some((b' ', PLAIN)));
            }
            line.get_mut(x).into_iter().for_each(|slot| *slot = letter.map(|letter| (letter, pen)));
        }
    }
    /// The letters of a few columns of a line, if the pen would write them as they look.
    fn between(&self, from: u16, to: u16, line: u16, pen: Pen) -> Option<String> {
        let line = self.seen.get(usize::from(line));
        let letter = |x: u16| {
            let letter = line.and_then(|line| line.get(usize::from(x)).copied()).unwrap_or(Some((b' ', PLAIN)));
            let (letter, look) = letter?;
            let same = look == pen || (letter == b' ' && Pen { fg: pen.fg, ..look } == pen);
            same.then_some(char::from(letter))
        };
        (from..to).map(letter).collect()
    }

    /// What has been gathered; nothing where the screen shows it already.
    pub fn take(&mut self) -> Vec<u8> {
        if let Some(at) = self.wanted {
            if !self.out.is_empty() || self.placed != Some(at) {
                _ = write!(self.out, "\x1b[{};{}H", at.y + 1, at.x + 1);
                self.placed = Some(at);
            }
            if !self.shown {
                self.out.push_str("\x1b[?25h");
            }
        } else if self.shown {
            self.out.push_str("\x1b[?25l");
        }
        self.shown = self.wanted.is_some();
        std::mem::take(&mut self.out).into_bytes()
    }
}

/// Writes a cell, or erases from it on; answers how many cells that was.
fn put(cells: &[(u16, u16, &Cell)], pen: &mut Pen, out: &mut String) -> usize {
    let Some((x, y, cell)) = cells.first() else { return 0 };
    let blank = |cell: &Cell| cell.symbol() == " " && Pen { fg: Color::Reset, ..Pen::of(cell) } == PLAIN;
    let run = cells.iter().zip(*x..).take_while(|((other, line, cell), x)| other == x && line == y && blank(cell)).count();
    if run >= WORTH_ERASING {
        pen.turn(PLAIN, out);
        *pen = PLAIN;
        _ = write!(out, "\x1b[{run}X");
        return run;
    }
    let mut to = Pen::of(cell);
    if blank(cell) && (Pen { fg: Color::Reset, ..*pen }) == PLAIN {
        // Nobody sees the colour of a blank.
        to.fg = pen.fg;
    }
    pen.turn(to, out);
    *pen = to;
    out.push_str(cell.symbol());
    1
}

impl Backend for Wire {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let cells: Vec<(u16, u16, &Cell)> = content.collect();
        let mut rest = cells.as_slice();
        let mut pen = PLAIN;
        // Where the terminal's cursor is, as far as it can be known.
        let mut at: Option<(u16, u16)> = None;
        while let Some((x, y, cell)) = rest.first() {
            let near = at.filter(|(from, line)| line == y && from < x && x - from <= WORTH_MOVING);
            let again = near.and_then(|(from, line)| self.between(from, *x, line, pen));
            if let Some(again) = again {
                self.out.push_str(&again);
            } else if at != Some((*x, *y)) {
                // Absolute in any case: terminals disagree on how wide some letters are.
                _ = match (at.is_some_and(|(_, line)| line == *y), *x) {
                    (true, _) => write!(self.out, "\x1b[{}G", x + 1),
                    (false, 0) => write!(self.out, "\x1b[{}H", y + 1),
                    (false, _) => write!(self.out, "\x1b[{};{}H", y + 1, x + 1),
                };
            }
            let ascii = cell.symbol().len() == 1;
            let count = put(rest, &mut pen, &mut self.out);
            match count {
                1 => {
                    self.note((*x, *y), cell.symbol().bytes().next().filter(|_| ascii), pen);
                    if !ascii {
                        // It may be wider than we think.
                        self.note((x.saturating_add(1), *y), None, pen);
                    }
                }
                _ => (*x..).take(count).for_each(|x| self.note((x, *y), Some(b' '), PLAIN)),
            }
            at = Some(match count {
                1 if ascii => (x + 1, *y),
                // A letter of ours is one column wide; of the image's who knows.
                1 if crate::tui::text::width(cell.symbol()) == 1 => (x + 1, *y),
                1 => (u16::MAX, *y),
                // Erasing leaves the cursor where it is.
                _ => (*x, *y),
            });
            rest = rest.get(count.max(1)..).unwrap_or_default();
        }
        pen.turn(PLAIN, &mut self.out);
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.wanted = None;
        Ok(())
    }
    fn show_cursor(&mut self) -> io::Result<()> {
        self.wanted = self.wanted.or(self.placed).or(Some(Position::ORIGIN));
        Ok(())
    }
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.wanted.or(self.placed).unwrap_or_default())
    }
    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let position = position.into();
        self.placed = self.placed.filter(|placed| *placed == position);
        self.wanted = self.wanted.map(|_| position);
        Ok(())
    }
    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }
    fn clear_region(&mut self, what: ClearType) -> io::Result<()> {
        self.seen.clear();
        self.out.push_str(match what {
            ClearType::All => "\x1b[2J",
            ClearType::AfterCursor => "\x1b[J",
            ClearType::BeforeCursor => "\x1b[1J",
            ClearType::CurrentLine => "\x1b[2K",
            ClearType::UntilNewLine => "\x1b[K",
        });
        Ok(())
    }
    fn size(&self) -> io::Result<Size> {
        crossterm::terminal::size().map(|(width, height)| Size { width, height })
    }
    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::default() })
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    fn turn(from: Style, to: Style) -> String {
        let pen = |style| {
            let mut cell = Cell::default();
            cell.set_style(style);
            Pen::of(&cell)
        };
        let mut out = String::new();
        pen(from).turn(pen(to), &mut out);
        out
    }

    #[test]
    fn the_shorter_way_is_taken() {
        let plain = Style::new();
        assert_eq!(turn(plain, plain), "");
        assert_eq!(turn(plain, plain.red()), "\x1b[31m");
        assert_eq!(turn(plain.red().bold(), plain), "\x1b[m");
        assert_eq!(turn(plain.red().bold(), plain.red()), "\x1b[22m");
        assert_eq!(turn(plain.bold().dim(), plain.dim()), "\x1b[;2m");
        assert_eq!(turn(plain.light_red().reversed(), plain.reversed()), "\x1b[;7m");
        assert_eq!(turn(plain, plain.fg(Color::Rgb(1, 2, 3)).bg(Color::Indexed(200))), "\x1b[38;2;1;2;3;48;5;200m");
    }

    fn cells() -> impl Strategy<Value = Vec<(u16, u16, u8, u8)>> {
        prop::collection::vec((0u16..40, 0u16..6, 0u8..8, 0u8..6), 0..200)
    }

    proptest! {
        /// Whatever is drawn in whatever steps, a terminal shows what was drawn.
        #[test]
        fn a_terminal_shows_what_was_drawn(frames in prop::collection::vec(cells(), 1..4)) {
            let area = Rect::new(0, 0, 40, 6);
            let (mut wire, mut terminal) = (Wire::default(), vt100::Parser::new(6.try_into().unwrap(), 40.try_into().unwrap(), 0));
            let mut before = Buffer::empty(area);
            for frame in frames {
                let mut after = before.clone();
                for (x, y, letter, style) in frame {
                    let symbol = ["a", "b", " ", "│", "é", " ", " ", "界"][usize::from(letter)];
                    let plain = Style::reset();
                    let style = [plain, plain.red(), plain.reversed(), plain.bold().on_blue(), plain.underlined(), plain][usize::from(style)];
                    if symbol != "界" {
                        after.set_string(x, y, symbol, style);
                    } else if x < 39 {
                        after.set_string(x, y, " ", style);
                    }
                }
                // Long blanks are erased.
                after.set_style(Rect::new(0, 3, 40, 1), Style::reset());
                wire.draw(before.diff(&after).into_iter()).unwrap();
                terminal.process(&wire.take());
                for position in area.positions() {
                    let (cell, seen) = (&after[position], terminal.screen().cell(position.y, position.x).unwrap());
                    let text = if seen.contents().is_empty() { " " } else { seen.contents() };
                    prop_assert_eq!(cell.symbol(), text);
                    prop_assert_eq!(cell.modifier.contains(Modifier::REVERSED), seen.inverse());
                    prop_assert_eq!(cell.modifier.contains(Modifier::BOLD), seen.bold());
                    prop_assert_eq!(cell.bg == Color::Blue, seen.bgcolor() == vt100::Color::Idx(4));
                    if text != " " {
                        prop_assert_eq!(cell.fg == Color::Red, seen.fgcolor() == vt100::Color::Idx(1));
                    }
                }
                before = after;
            }
        }
    }

    #[test]
    fn the_cursor_is_shown_and_hidden_once() {
        let mut wire = Wire::default();
        wire.hide_cursor().unwrap();
        assert_eq!(wire.take(), b"");
        wire.show_cursor().unwrap();
        wire.set_cursor_position((3, 4)).unwrap();
        assert_eq!(wire.take(), b"\x1b[5;4H\x1b[?25h");
        wire.show_cursor().unwrap();
        wire.set_cursor_position((3, 4)).unwrap();
        assert_eq!(wire.take(), b"");
        wire.hide_cursor().unwrap();
        assert_eq!(wire.take(), b"\x1b[?25l");
    }
}
