//! Drawings as few bytes: what a terminal is sent, for connections on which each byte costs.

mod later;
mod scroll;

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use std::fmt::Write as _;
use std::io;

/// Letters between two changes that may be written again, where that is shorter than to move over them.
const WORTH_WRITING: u16 = 12;
/// Blanks that are worth being erased rather than written: within a line, and up to its end.
const WORTH_ERASING: usize = 10;
const WORTH_ENDING: usize = 4;
/// Bytes of a frame from which on it is tried whether lines have only moved.
const WORTH_SCROLLING: usize = 250;

/// How the next letter will look.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Pen {
    fg: Color,
    bg: Color,
    underline: Color,
    modifier: Modifier,
}

const PLAIN: Pen = Pen { fg: Color::Reset, bg: Color::Reset, underline: Color::Reset, modifier: Modifier::empty() };

/// What is seen of a blank.
const ON_BLANKS: Modifier = Modifier::REVERSED.union(Modifier::UNDERLINED).union(Modifier::CROSSED_OUT);

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

    /// The pen for a cell: this one, where nobody would see a difference.
    fn suited(self, cell: &Cell) -> Self {
        let to = Self::of(cell);
        let same = blank(cell) && self.bg == to.bg && !self.modifier.intersects(ON_BLANKS);
        if same { self } else { to }
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

/// What stands in one place; None is the second half of a wide letter.
type Slot = Option<Cell>;
type Line = Vec<Slot>;

/// A place where nothing has been written.
static NOTHING: Slot = Some(Cell::EMPTY);

/// Whether nothing is seen of a cell but its background.
fn blank(cell: &Cell) -> bool {
    cell.symbol() == " " && !cell.modifier.intersects(ON_BLANKS)
}

fn alike(a: &Slot, b: &Slot) -> bool {
    match (a, b) {
        (Some(a), Some(b)) if blank(a) && blank(b) => a.bg == b.bg,
        (Some(a), Some(b)) => a.symbol() == b.symbol() && Pen::of(a) == Pen::of(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// The place of a line; beyond what has been written it is blank.
fn slot(line: &[Slot], x: usize) -> &Slot {
    line.get(x).unwrap_or(&NOTHING)
}

/// Whether a place has to be written.
fn differs(before: &[Slot], wanted: &[Slot], x: usize) -> bool {
    let wanted = slot(wanted, x);
    wanted.is_some() && !alike(slot(before, x), wanted)
}

/// Where the terminal's cursor is.
#[derive(Clone, Copy)]
struct Place {
    x: u16,
    y: u16,
    /// Since it was told its column nothing has been written but letters of which all terminals agree how wide they are.
    exact: bool,
}

/// Gathers what a frame changes.
pub struct Wire {
    out: String,
    /// With what would be written now, and where, as far as that can be known.
    pen: Pen,
    at: Option<Place>,
    /// Where the cursor is shown, and where it was meant to be shown last.
    shown: bool,
    wanted: Option<Position>,
    placed: Option<Position>,
    /// What stands on the screen and what should, line by line, as far as anything was written there.
    seen: Vec<Line>,
    target: Vec<Line>,
    /// The most bytes of the next frame, where what is large in it may follow later.
    pub most: Option<usize>,
}

impl Default for Wire {
    fn default() -> Self {
        let (seen, target) = (Vec::new(), Vec::new());
        Self { out: String::new(), pen: PLAIN, at: None, shown: false, wanted: None, placed: None, seen, target, most: None }
    }
}

impl Wire {
    fn turn(&mut self, to: Pen) {
        self.pen.turn(to, &mut self.out);
        self.pen = to;
    }

    /// The shortest way to a place.
    fn way(&self, x: u16, y: u16) -> String {
        let mut ways = vec![if x == 0 { format!("\x1b[{}H", y + 1) } else { format!("\x1b[{};{}H", y + 1, x + 1) }];
        if let Some(at) = self.at.filter(|at| at.y <= y) {
            // The column is told in any case: some terminals return when they are told to go down.
            let down = "\n".repeat(usize::from(y - at.y));
            ways.push(if x == 0 { format!("\r{down}") } else { format!("{down}\x1b[{}G", x + 1) });
            if at.y == y && at.x < x && at.exact {
                ways.push(format!("\x1b[{}C", x - at.x));
            }
        }
        ways.into_iter().min_by_key(String::len).unwrap_or_default()
    }

    /// What writes the letters of a line once more from where we are up to a place, and the pen behind them.
    fn again(&self, x: u16, y: u16, line: &[Slot]) -> Option<(String, Pen)> {
        let at = self.at.filter(|at| at.y == y && at.x <= x && x - at.x <= WORTH_WRITING)?;
        let (mut out, mut pen) = (String::new(), self.pen);
        for x in at.x..x {
            let cell = slot(line, x.into()).as_ref().filter(|cell| cell.symbol().len() == 1)?;
            let to = pen.suited(cell);
            pen.turn(to, &mut out);
            pen = to;
            out.push_str(cell.symbol());
        }
        Some((out, pen))
    }

    /// Goes to a place of a line and takes the pen for a cell: the shorter way.
    fn reach(&mut self, x: u16, y: u16, line: &[Slot], cell: &Cell) {
        let turned = |mut way: String, pen: Pen| {
            let to = pen.suited(cell);
            pen.turn(to, &mut way);
            (way, to)
        };
        let again = self.again(x, y, line).map(|(out, pen)| turned(out, pen));
        if again.as_ref().is_some_and(|(out, _)| out.is_empty()) {
            return;
        }
        let moved = turned(self.way(x, y), self.pen);
        let exact = self.at.is_some_and(|at| at.exact);
        let (way, pen, exact) = match again {
            Some((out, pen)) if out.len() <= moved.0.len() => (out, pen, exact),
            _ => (moved.0, moved.1, true),
        };
        self.out.push_str(&way);
        (self.pen, self.at) = (pen, Some(Place { x, y, exact }));
    }

    /// What turns the lines of a screen into others.
    fn lines(&mut self, before: &[Line], wanted: &[Line], width: usize) -> String {
        let out = std::mem::take(&mut self.out);
        (self.pen, self.at) = (PLAIN, None);
        for ((y, before), wanted) in (0..).zip(before).zip(wanted) {
            self.line(y, before, wanted, width);
        }
        self.turn(PLAIN);
        std::mem::replace(&mut self.out, out)
    }

    /// What turns the lines that are seen into those that are wanted, and the lines that are seen then.
    fn change(&mut self, seen: &[Line], wanted: &[Line]) -> (String, Vec<Line>) {
        let width = wanted.iter().map(Vec::len).max().unwrap_or(0);
        let written = self.lines(seen, wanted, width);
        if written.len() < WORTH_SCROLLING {
            return (written, wanted.to_vec());
        }
        let scroll = scroll::find(seen, wanted, width).map(|scroll| {
            let mut moved = seen.to_vec();
            scroll.apply(&mut moved);
            (scroll.sequence(), moved)
        });
        let scrolled = scroll.as_ref().map(|(sequence, moved)| format!("{sequence}{}", self.lines(moved, wanted, width)));
        // Where other things stand beside a list, they move along, and to write them again may cost more.
        let mut best = (shorter(written, scrolled), wanted.to_vec());
        let Some(most) = self.most.filter(|most| best.0.len() > *most) else { return best };
        for from in later::columns(seen, wanted, width) {
            let part = later::without(seen, seen, wanted, from, width);
            best = (self.lines(seen, &part, width), part);
            if let Some((sequence, moved)) = &scroll {
                let part = later::without(moved, seen, wanted, from, width);
                let scrolled = format!("{sequence}{}", self.lines(moved, &part, width));
                if scrolled.len() <= best.0.len() {
                    best = (scrolled, part);
                }
            }
            if best.0.len() <= most {
                break;
            }
        }
        best
    }

    /// Writes what a line has to change.
    fn line(&mut self, y: u16, before: &[Slot], wanted: &[Slot], width: usize) {
        let mut x = 0;
        // A line that was moved may be longer than what is wanted in its place.
        while x < width {
            let (Some(cell), Ok(column), true) = (slot(wanted, x), u16::try_from(x), differs(before, wanted, x)) else {
                x += 1;
                continue;
            };
            self.reach(column, y, wanted, cell);
            let plain = |x: &usize| slot(wanted, *x).as_ref().is_some_and(|cell| blank(cell) && cell.bg == Color::Reset);
            let run = (x..width).take_while(plain).count();
            let changed = (x..x + run).rev().find(|x| differs(before, wanted, *x)).map_or(0, |last| last + 1 - x);
            let ends = x + run == width && changed >= WORTH_ENDING;
            if ends || changed >= WORTH_ERASING {
                self.turn(PLAIN);
                // It leaves the cursor where it is.
                _ = if ends { write!(self.out, "\x1b[K") } else { write!(self.out, "\x1b[{changed}X") };
                x += changed;
                continue;
            }
            self.out.push_str(cell.symbol());
            x += 1;
            // A letter of ours is one column wide; of the image's who knows. Behind the last column terminals differ.
            let known = crate::tui::text::width(cell.symbol()) == 1 && x < width;
            let exact = cell.symbol().len() == 1 && self.at.is_some_and(|at| at.exact);
            self.at = Some(Place { x: column.saturating_add(1), y, exact }).filter(|_| known);
        }
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

fn shorter(one: String, other: Option<String>) -> String {
    match other {
        Some(other) if other.len() < one.len() => other,
        _ => one,
    }
}

impl Backend for Wire {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        for (x, y, cell) in content {
            let (x, y) = (usize::from(x), usize::from(y));
            let wide = crate::tui::text::width(cell.symbol()) > 1;
            if self.target.len() <= y {
                self.target.resize(y + 1, Line::new());
            }
            let Some(line) = self.target.get_mut(y) else { continue };
            let end = x + 1 + usize::from(wide);
            if line.len() < end {
                line.resize(end, NOTHING.clone());
            }
            line.get_mut(x).into_iter().for_each(|slot| *slot = Some(cell.clone()));
            line.get_mut(x + 1).filter(|_| wide).into_iter().for_each(|slot| *slot = None);
        }
        let target = std::mem::take(&mut self.target);
        let mut seen = std::mem::take(&mut self.seen);
        seen.resize(target.len(), Line::new());
        let (written, shown) = self.change(&seen, &target);
        self.out.push_str(&written);
        (self.seen, self.target) = (shown, target);
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
        self.target.clear();
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
        fn a_terminal_shows_what_was_drawn(frames in prop::collection::vec((cells(), 0usize..6, any::<bool>()), 1..5)) {
            let area = Rect::new(0, 0, 40, 6);
            let (mut wire, mut terminal) = (Wire::default(), vt100::Parser::new(6.try_into().unwrap(), 40.try_into().unwrap(), 0));
            let mut before = Buffer::empty(area);
            for (frame, moved, hasty) in frames {
                let mut after = before.clone();
                after.content.rotate_left(moved * 40);
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
                wire.most = hasty.then_some(150);
                wire.draw(before.diff(&after).into_iter()).unwrap();
                wire.most = None;
                wire.draw(std::iter::empty()).unwrap();
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
    fn lines_that_only_move_are_moved_by_the_terminal() {
        let area = Rect::new(0, 0, 80, 24);
        let list = |top: usize| {
            let mut buffer = Buffer::empty(area);
            for y in 0..24 {
                let row = top + usize::from(y);
                let text = if (3..20).contains(&y) { format!("{row:>6} {:x} path-{}", row * 7919, row * 31) } else { format!("line {y}") };
                buffer.set_string(0, y, text, if row.is_multiple_of(3) { Style::reset().red() } else { Style::reset() });
                // Something at the edge stays.
                buffer.set_string(79, y, "│", Style::reset());
            }
            buffer
        };
        let (mut wire, mut terminal) = (Wire::default(), vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0));
        let mut before = Buffer::empty(area);
        for (top, most) in [(100, 2000), (108, 500), (100, 500), (101, 250), (700, 2000)] {
            let after = list(top);
            wire.draw(before.diff(&after).into_iter()).unwrap();
            let bytes = wire.take();
            assert!(bytes.len() < most, "{top}: {}", bytes.len());
            assert_eq!(bytes.ends_with(b"r") || bytes.windows(3).any(|three| three == b"\x1b[r"), most < 1000, "{top}");
            terminal.process(&bytes);
            for position in area.positions() {
                let seen = terminal.screen().cell(position.y, position.x).unwrap();
                let text = if seen.contents().is_empty() { " " } else { seen.contents() };
                assert_eq!(
                    (after[position].symbol(), after[position].fg == Color::Red && text != " "),
                    (text, seen.fgcolor() == vt100::Color::Idx(1) && text != " ")
                );
            }
            before = after;
        }
    }

    #[test]
    fn a_list_on_the_move_shows_its_first_columns_and_nothing_old_beside_them() {
        let area = Rect::new(0, 0, 200, 60);
        let list = |top: u64| {
            let mut buffer = Buffer::empty(area);
            for y in 0..60u16 {
                let row = (top + u64::from(y)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                buffer.set_string(0, y, format!("node {y}"), Style::reset());
                buffer.set_string(
                    80,
                    y,
                    format!("│{:>6}  {row:016x}  \\Device\\{}", top + u64::from(y), format!("{row:x}").repeat(5)),
                    Style::reset(),
                );
                buffer.set_string(199, y, "│", Style::reset());
            }
            buffer
        };
        let (mut wire, mut terminal) = (Wire::default(), vt100::Parser::new(60.try_into().unwrap(), 200.try_into().unwrap(), 0));
        let mut before = Buffer::empty(area);
        for (top, hasty) in [(0, false), (28, true), (84, true), (85, true), (85, false), (1000, true), (1000, false)] {
            let after = list(top);
            wire.most = hasty.then_some(1900);
            wire.draw(before.diff(&after).into_iter()).unwrap();
            let bytes = wire.take();
            assert!(!hasty || bytes.len() < 2000, "{top}: {}", bytes.len());
            terminal.process(&bytes);
            for (y, seen) in terminal.screen().rows(0, 200).enumerate() {
                let wanted: String = (0..200).map(|x| after[(x, y as u16)].symbol()).collect();
                let seen = format!("{seen:<200}");
                assert!(seen == wanted || hasty, "{top}: {seen}");
                let columns = seen.split("  ").map(str::trim).all(|column| wanted.contains(column));
                assert!(columns && seen[..88] == wanted[..88] && seen.ends_with('│'), "{top}: {seen}");
            }
            before = after;
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
