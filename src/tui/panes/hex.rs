//! Memory in hexadecimal: any space, read only where one looks.

use super::frame;
use crate::engine::{Bytes, Space};
use crate::facts::{PageOrigin, ReadError};
use crate::tui::text::Cut;
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::hex_grid::{Byte, HexGrid, Shape, Source};
use crate::tui::widgets::{put, thumb};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// A wanted piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub space: Space,
    pub start: u64,
    pub length: usize,
}

pub struct HexView {
    pub space: Space,
    /// Whose memory and what part of it, for the title and the crumb.
    pub what: String,
    pub owner: String,
    pub first: u64,
    /// Inclusive, so that the top of the address space can be meant.
    pub last: u64,
    pub top: u64,
    pub cursor: u64,
    bytes: Option<Bytes>,
    asked: Option<Wish>,
    pub failure: Option<String>,
    pub needle: Needle,
    /// Where the needle was found.
    pub found: Option<u64>,
    pub shape: Shape,
    pub height: u16,
    pub body: Rect,
}

/// What is searched for: the text that was typed and the bytes that it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needle {
    pub typed: String,
    pub bytes: Vec<u8>,
}

impl Needle {
    /// Pairs of hexadecimal digits with blanks between them are bytes, and so is anything after `x:`; all else is text.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let marked = typed.trim().strip_prefix("x:");
        let body = marked.unwrap_or(typed.trim());
        let pairs: Vec<&str> = body.split_whitespace().collect();
        let spaced = pairs.len() > 1 && pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if marked.is_none() && !spaced {
            return Ok(Self { typed: typed.to_owned(), bytes: typed.as_bytes().to_vec() });
        }
        let digits: String = pairs.concat();
        if digits.is_empty() || digits.len() % 2 == 1 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{typed} is not a row of bytes; write pairs of hexadecimal digits: 4c 8b dc"));
        }
        let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        Ok(Self { typed: typed.to_owned(), bytes: (0..digits.len()).step_by(2).filter_map(pair).collect() })
    }
}

impl HexView {
    pub fn new(space: Space, what: String, owner: String, first: u64, last: u64, at: u64) -> Self {
        let at = at.clamp(first, last);
        Self {
            space,
            what,
            owner,
            first,
            last,
            top: at & !0xf,
            cursor: at,
            bytes: None,
            asked: None,
            failure: None,
            needle: Needle::default(),
            found: None,
            shape: Shape::of(78, 16),
            height: 20,
            body: Rect::ZERO,
        }
    }

    fn row(&self) -> u64 {
        self.shape.bytes as u64
    }
    fn window(&self) -> u64 {
        self.row() * u64::from(self.height.max(1))
    }

    /// The piece that is in the window or soon will be, if it is not here and has not been asked for.
    pub fn wish(&mut self) -> Option<Wish> {
        let end = self.top.saturating_add(self.window() - 1).min(self.last | 0xf);
        let covers = |start: u64, length: usize| start <= self.top && start.saturating_add(length.saturating_sub(1) as u64) >= end;
        if self.bytes.as_ref().is_some_and(|bytes| covers(bytes.start, bytes.data.len()))
            || self.asked.is_some_and(|wish| covers(wish.start, wish.length))
            || self.failure.is_some()
        {
            return None;
        }
        // A page back and a page ahead come along.
        let start = self.top.saturating_sub(self.window()).max(self.first & !0xf);
        let last = end.saturating_add(self.window()).min(self.last | 0xf);
        let length = usize::try_from((last - start).saturating_add(1)).unwrap_or(usize::MAX).min(1 << 20);
        let wish = Wish { space: self.space, start, length };
        self.asked = Some(wish);
        Some(wish)
    }

    pub fn take(&mut self, wish: Wish, result: Result<Bytes, String>) {
        if self.asked == Some(wish) {
            self.asked = None;
            match result {
                Ok(bytes) => self.bytes = Some(bytes),
                Err(why) => self.failure = Some(why),
            }
        }
    }

    /// Moves the cursor by bytes and the window only as far as it must.
    pub fn by(&mut self, bytes: i128) {
        let to = i128::from(self.cursor) + bytes;
        let to = to.clamp(self.first.into(), self.last.into());
        self.to(u64::try_from(to).unwrap_or(self.first));
    }
    pub fn by_rows(&mut self, rows: isize) {
        let to = i128::from(self.cursor) + rows as i128 * i128::from(self.row());
        // Beyond an end the column is kept rather than jumping to the end itself.
        if (i128::from(self.first)..=i128::from(self.last)).contains(&to) {
            self.by(rows as i128 * i128::from(self.row()));
        } else {
            self.to(if rows < 0 { self.first } else { self.last });
        }
    }
    pub fn to(&mut self, at: u64) {
        self.cursor = at.clamp(self.first, self.last);
        self.fit();
    }
    pub fn page(&self) -> isize {
        (self.height.max(2) - 1) as isize
    }
    pub fn wheel(&mut self, rows: isize) {
        self.by_rows(rows);
    }

    fn fit(&mut self) {
        let row = self.row();
        self.top &= !(row - 1);
        let line = self.cursor & !(row - 1);
        if line < self.top {
            self.top = line;
        }
        let above = row * u64::from(self.height.max(1) - 1);
        if line - self.top > above {
            self.top = line - above;
        }
    }

    fn value(&self, at: u64) -> Option<u8> {
        let bytes = self.bytes.as_ref()?;
        bytes.get(usize::try_from(at.checked_sub(bytes.start)?).ok()?)
    }
    fn origin(&self, at: u64) -> Option<Result<PageOrigin, ReadError>> {
        let bytes = self.bytes.as_ref()?;
        let piece = bytes.pieces.iter().find(|piece| at.wrapping_sub(piece.address) < piece.length as u64)?;
        Some(piece.origin.map(|backing| backing.offset(at - piece.address)))
    }

    /// The pointer under the cursor, as the machine stores it.
    pub fn pointer(&self) -> Option<u64> {
        let bytes: Option<Vec<u8>> = (0..8).map(|index| self.value(self.cursor.checked_add(index)?)).collect();
        Some(u64::from_le_bytes(bytes?.try_into().ok()?))
    }

    /// Whether it is a region with an end rather than a whole space.
    pub fn bounded(&self) -> bool {
        self.last - self.first != u64::MAX
    }
    /// Where the cursor is, in the region and in the machine.
    pub fn position(&self) -> String {
        let offset = if self.bounded() && self.first > 0 { format!(" +{:#x}", self.cursor - self.first) } else { String::new() };
        format!("{:#x}{offset}", self.cursor)
    }

    fn detail(&self, look: &Look) -> Vec<(Role, String)> {
        if let Some(why) = &self.failure {
            return vec![(Role::Danger, why.clone())];
        }
        let place = match self.origin(self.cursor) {
            None => return vec![(Role::Dim, "reading...".into())],
            Some(Err(why)) => return vec![(Role::Warning, format!("?? {why}"))],
            Some(Ok(backing)) => backing.to_string(),
        };
        let little = |length: u64| -> Option<u64> {
            let bytes: Option<Vec<u8>> = (0..length).map(|index| self.value(self.cursor.checked_add(index)?)).collect();
            Some(bytes?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let mut parts = Vec::new();
        parts.extend(little(4).map(|value| format!("u32 {value}")));
        parts.extend(little(8).map(|value| format!("u64 {value:#x}")));
        if self.space != Space::Physical {
            parts.push(place);
        }
        vec![(Role::Dim, parts.join(look.symbols.dot))]
    }

    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, focused: bool, look: &Look) {
        let space = match self.space {
            Space::Physical => "physical memory ".to_owned(),
            Space::Kernel => "kernel memory ".to_owned(),
            Space::Process(_) => format!("of {} ", self.owner),
        };
        let dot = if matches!(self.space, Space::Process(_)) { " " } else { look.symbols.dot };
        let title =
            [(Role::Header, " Bytes".to_owned()), (Role::Text, format!("{}{}{dot}", look.symbols.dot, self.what)), (Role::Text, space)];
        let right = match self.needle.typed.as_str() {
            "" => String::new(),
            typed => format!(" /{} ", look.fit(typed, 24, Cut::End)),
        };
        let inner = frame(area, buffer, &title, &right, focused, look);
        if inner.height == 0 || inner.width == 0 {
            return;
        }
        let detail = u16::from(inner.height > 3);
        let body = Rect { height: inner.height - detail, ..inner };
        let digits = format!("{:x}", self.last).len();
        let digits = if self.last == u64::MAX && self.cursor >> 48 == 0 { 12 } else { digits.max(8) };
        self.shape = Shape::of(body.width, digits);
        self.height = body.height;
        self.body = body;
        self.fit();
        HexGrid { source: self, shape: self.shape, top: self.top, cursor: self.cursor, look, focused }.draw(body, buffer);
        if self.last - self.first < 1 << 40 {
            let rows = |bytes: u64| usize::try_from(bytes / self.row()).unwrap_or(usize::MAX);
            let edge = Rect { x: area.right() - 1, width: 1, ..body };
            let top = rows(self.top.saturating_sub(self.first));
            let all = rows(self.last - self.first) + 1;
            thumb(buffer, edge, top, usize::from(body.height), all, look.symbols.thumb, look.style(Role::Text));
        }
        if detail > 0 {
            for (role, text) in self.detail(look) {
                let text = look.fit(&text, usize::from(inner.width), Cut::End);
                put(buffer, inner.x, body.bottom(), &text, inner.width, look.style(role));
            }
        }
    }

    pub fn click(&mut self, x: u16, y: u16) -> bool {
        let (Some(line), Some(column)) = (y.checked_sub(self.body.y), x.checked_sub(self.body.x)) else { return false };
        if y >= self.body.bottom() {
            return false;
        }
        let Some(byte) = self.shape.byte_at(usize::from(column)) else { return false };
        let at = self.top.saturating_add(u64::from(line) * self.row()).saturating_add(byte as u64);
        self.to(at);
        true
    }
}

impl Source for HexView {
    fn byte(&self, at: u64) -> Byte {
        if at < self.first || at > self.last {
            return Byte::Outside;
        }
        match (self.value(at), &self.bytes) {
            (Some(value), _) => Byte::Value(value),
            (None, _) if self.failure.is_some() => Byte::Missing,
            (None, Some(bytes)) if at.wrapping_sub(bytes.start) < bytes.data.len() as u64 => Byte::Missing,
            (None, _) => Byte::Awaited,
        }
    }
    fn margin(&self, at: u64, first: bool) -> Option<String> {
        if !first && at & 0xfff != 0 {
            return None;
        }
        Some(match self.origin(at.max(self.first))? {
            Ok(_) if self.space == Space::Physical => return None,
            Ok(PageOrigin::Ram(at)) => format!("pfn {:#x}", at.0 >> 12),
            Ok(backing) => match backing.physical() {
                Some(at) => format!("pfn {:#x} {}", at.0 >> 12, backing.kind()),
                None => backing.kind().to_owned(),
            },
            Err(ReadError::NotInImage(_)) => "not in image".to_owned(),
            Err(ReadError::NotMapped(_)) => "not mapped".to_owned(),
            Err(ReadError::PagedOut(_)) => "paged out".to_owned(),
            Err(why) => why.to_string(),
        })
    }
    fn marked(&self, at: u64) -> bool {
        self.found.is_some_and(|found| at.wrapping_sub(found) < self.needle.bytes.len() as u64)
    }
}

/// An address as people write it, the space it means, and whether it counts from the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Virtual(u64),
    Physical(u64),
    Relative(i128),
}

pub fn parse_target(typed: &str) -> Result<Target, String> {
    let bad = || format!("{typed} is not an address; write 0x7f12..., p:0x1000 for physical memory, +0x40 or -0x40 from here");
    let text = typed.trim().replace(['\'', '_', '`'], "");
    let hex = |text: &str| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        u64::from_str_radix(digits, 16).map_err(|_| bad())
    };
    if let Some(physical) = text.strip_prefix("p:") {
        return Ok(Target::Physical(hex(physical.trim())?));
    }
    match text.as_bytes().first() {
        Some(b'+') => Ok(Target::Relative(hex(text.get(1..).unwrap_or_default())?.into())),
        Some(b'-') => Ok(Target::Relative(-i128::from(hex(text.get(1..).unwrap_or_default())?))),
        _ => Ok(Target::Virtual(hex(&text)?)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::{PhysAddr, VirtAddr};
    use crate::engine::Piece;

    #[test]
    fn addresses_as_people_write_them() {
        assert_eq!(parse_target("0x7f00"), Ok(Target::Virtual(0x7f00)));
        assert_eq!(parse_target("ffff8880'00001000"), Ok(Target::Virtual(0xffff_8880_0000_1000)));
        assert_eq!(parse_target("p:1000"), Ok(Target::Physical(0x1000)));
        assert_eq!(parse_target("-0x10"), Ok(Target::Relative(-16)));
        for bad in ["", "0x", "zz", "0x1_0000_0000_0000_0000", "+", "p:"] {
            assert!(parse_target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn needles_are_text_or_bytes() {
        assert_eq!(Needle::parse("4c 8b dc").unwrap().bytes, [0x4c, 0x8b, 0xdc]);
        assert_eq!(Needle::parse("x:4c8bdc").unwrap().bytes, [0x4c, 0x8b, 0xdc]);
        assert_eq!(Needle::parse("/bin/sh").unwrap().bytes, b"/bin/sh");
        assert_eq!(Needle::parse("be").unwrap().bytes, b"be", "a word is a word");
        assert!(Needle::parse("x:4c8").is_err());
        assert!(Needle::parse("x:").is_err());
    }

    fn view(first: u64, last: u64) -> HexView {
        HexView::new(Space::Process(VirtAddr(1)), "region".into(), "bash 1".into(), first, last, first)
    }

    #[test]
    fn absent_is_not_zero() {
        let mut view = view(0x1000, 0x2fff);
        let wish = view.wish().unwrap();
        assert_eq!(view.wish(), None, "asked once");
        let missing = Err(ReadError::NotInImage(PhysAddr(0x9000)));
        let pieces = vec![
            Piece { address: 0x1000, length: 0x10, origin: Ok(PageOrigin::Ram(PhysAddr(0x5000))) },
            Piece { address: 0x1010, length: wish.length - 0x10, origin: missing },
        ];
        view.take(wish, Ok(Bytes { start: 0x1000, data: vec![0; wish.length], pieces }));
        assert_eq!(view.byte(0x1000), Byte::Value(0));
        assert_eq!(view.byte(0x1010), Byte::Missing);
        assert_eq!(view.byte(0x0fff), Byte::Outside);
        assert_eq!(view.byte(0x2fff), Byte::Awaited);
        assert_eq!(Source::margin(&view, 0x1000, true).as_deref(), Some("pfn 0x5"));
    }

    #[test]
    fn moves_stay_inside_at_both_ends_of_the_space() {
        let mut view = view(0, u64::MAX);
        view.to(u64::MAX);
        view.by_rows(5);
        assert_eq!(view.cursor, u64::MAX);
        assert!(view.wish().is_some());
        view.by(i128::MIN / 2);
        assert_eq!((view.cursor, view.top), (0, 0));
        view.by_rows(-1);
        assert_eq!(view.cursor, 0);
    }
}
