//! Memory at a place: as bytes, as instructions, as texts, or with the fields of a structure. Any space, read only where one looks.

mod code;
mod fields;
mod inspector;
mod target;
mod texts;

pub use fields::Fields;
pub use target::{Base, Needle, Target};
pub use texts::Texts;

use super::{Sign, flow, frame, noted};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::engine::{Bytes, FoundText, Space, Stretch};
use crate::facts::{Landmark, PageOrigin, Protection, ReadError, Structure, ToCell};
use crate::tui::text::Cut;
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::hex_grid::{Byte, HexGrid, Shape, Source};
use crate::tui::widgets::{put, thumb};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::collections::HashMap;

/// Bytes from the cursor on that are here for whoever looks for some that say something.
pub const AHEAD: u64 = 0x2000;

/// A wanted piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub space: Space,
    pub start: u64,
    pub length: usize,
}

/// What a view wants to know of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    Bytes(Wish),
    /// What lies at an address, and at the address that stands there.
    Survey {
        space: Space,
        at: u64,
        pointer: Option<u64>,
    },
    /// Names of addresses in the kernel.
    Names(Vec<u64>),
    Texts(Stretch),
    Structure(String),
}

/// The answers, in the same order.
#[derive(Clone, Debug)]
pub enum Told {
    Bytes(Result<Reading, String>),
    Survey(Box<Survey>),
    Names(Vec<Option<String>>),
    Texts(Result<(Vec<FoundText>, Option<u64>), String>),
    Structure(Result<Structure, String>),
}

/// Bytes, and the rights of each page that they lie in.
#[derive(Clone, Debug)]
pub struct Reading {
    pub bytes: Bytes,
    pub rights: Vec<(u64, Protection)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub here: Landmark,
    pub there: Option<Landmark>,
    /// 32 or 64: how the processor reads code here.
    pub bits: u32,
}

/// What the bytes are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Hex,
    Code,
    Texts,
    Fields,
}

/// An address of a process that is not one of the lowest pages, which no system maps, or of the kernel.
pub fn could_be_pointer(value: u64) -> bool {
    VirtAddr(value).is_kernel() || (0x1_0000..1 << 47).contains(&value)
}

#[derive(Clone)]
pub struct BytesView {
    pub space: Space,
    /// Whose memory and what part of it, for the title and the crumb.
    pub what: String,
    pub owner: String,
    pub first: u64,
    /// Inclusive, so that the top of the address space can be meant.
    pub last: u64,
    pub top: u64,
    pub cursor: u64,
    pub mode: Mode,
    /// Whether all that the bytes can mean is shown.
    pub inspects: bool,
    reading: Option<Reading>,
    awaited: Vec<Want>,
    pub failure: Option<String>,
    /// The last survey, and what it was of.
    survey: Option<(Want, Survey)>,
    names: HashMap<u64, Option<String>>,
    pub texts: Texts,
    pub fields: Option<Fields>,
    pub needle: Needle,
    /// Where the needle was found, and its length.
    pub found: Option<(u64, usize)>,
    /// Where a selection began.
    pub anchor: Option<u64>,
    /// Places that are noted.
    pub noted: Vec<(u64, Sign)>,
    shape: Shape,
    height: u16,
    body: Rect,
}

impl BytesView {
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
            mode: Mode::Hex,
            inspects: false,
            reading: None,
            awaited: Vec::new(),
            failure: None,
            survey: None,
            names: HashMap::new(),
            texts: Texts::default(),
            fields: None,
            needle: Needle::default(),
            found: None,
            anchor: None,
            noted: Vec::new(),
            shape: Shape::of(78, 16),
            height: 20,
            body: Rect::ZERO,
        }
    }

    /// Shows a mode, or the bytes again where it is shown already.
    pub fn toggle(&mut self, mode: Mode) {
        self.mode = if self.mode == mode { Mode::Hex } else { mode };
        if self.mode == Mode::Code {
            self.top = self.cursor;
        }
        let at = self.cursor;
        self.texts.seek(self.space, (self.first, self.last), at);
        self.to(at);
    }
    /// Labels the bytes from the cursor on with the fields of a structure.
    pub fn overlay(&mut self, structure: String) {
        self.fields = Some(Fields::new(structure, self.cursor));
        self.mode = Mode::Fields;
    }
    /// What is asked for anew after a return: answers that were under way have gone elsewhere.
    pub fn resume(&mut self) {
        self.awaited.clear();
    }

    /// The first of the noted places in a stretch.
    fn sign(&self, at: u64, length: u64) -> Option<&Sign> {
        self.noted.iter().find(|(noted, _)| noted.wrapping_sub(at) < length).map(|(_, sign)| sign)
    }
    fn row(&self) -> u64 {
        if self.mode == Mode::Hex { self.shape.bytes as u64 } else { 16 }
    }
    fn window(&self) -> u64 {
        self.row() * u64::from(self.height.max(1))
    }

    // What it needs.

    /// All that the screen shows or soon will, and that is neither here nor asked for.
    pub fn wants(&mut self) -> Vec<Want> {
        let mut wants = Vec::new();
        wants.extend(self.wish().map(Want::Bytes));
        let survey = Want::Survey { space: self.space, at: self.cursor, pointer: self.pointer().filter(|at| could_be_pointer(*at)) };
        if self.value(self.cursor).is_some() && self.survey.as_ref().is_none_or(|(of, _)| *of != survey) {
            wants.push(survey);
        }
        match self.mode {
            Mode::Code => {
                let targets = self.lines(self.top, usize::from(self.height)).into_iter().filter_map(|line| line.target);
                let unknown: Vec<u64> = targets.filter(|at| VirtAddr(*at).is_kernel() && !self.names.contains_key(at)).collect();
                wants.extend((!unknown.is_empty()).then_some(Want::Names(unknown)));
            }
            Mode::Texts => wants.extend(self.texts.want().map(Want::Texts)),
            Mode::Fields => wants.extend(self.fields.as_ref().and_then(Fields::want).map(Want::Structure)),
            Mode::Hex => (),
        }
        wants.retain(|want| !self.awaited.contains(want));
        self.awaited.extend(wants.iter().cloned());
        wants
    }

    /// The piece that is in the window or soon will be.
    fn wish(&self) -> Option<Wish> {
        let (low, high) = match (self.mode, &self.fields) {
            (Mode::Fields, Some(fields)) => fields.span(usize::from(self.height)),
            (Mode::Texts, _) => (self.cursor, self.cursor.saturating_add(63)),
            _ => (self.top, self.top.saturating_add(self.window() - 1)),
        };
        let (low, high) = (low.max(self.first & !0xf), high.min(self.last | 0xf));
        let covers = |start: u64, length: usize| start <= low && start.saturating_add(length.saturating_sub(1) as u64) >= high;
        let awaits = |want: &Want| matches!(want, Want::Bytes(wish) if covers(wish.start, wish.length));
        if self.reading.as_ref().is_some_and(|it| covers(it.bytes.start, it.bytes.data.len()))
            || self.awaited.iter().any(awaits)
            || self.failure.is_some()
        {
            return None;
        }
        // A page back and a page ahead come along, with what stands behind a header that was wiped.
        let start = low.saturating_sub(self.window()).max(self.first & !0xf);
        let last = high.saturating_add(self.window().max(AHEAD)).min(self.last | 0xf);
        let length = usize::try_from(last.saturating_sub(start).saturating_add(1)).unwrap_or(usize::MAX).min(1 << 20);
        Some(Wish { space: self.space, start, length })
    }

    pub fn take(&mut self, want: Want, told: Told) {
        if !self.awaited.contains(&want) {
            return;
        }
        // Of several that were asked for only the newest may have been looked into.
        let kind = std::mem::discriminant(&want);
        self.awaited.retain(|awaited| std::mem::discriminant(awaited) != kind);
        match (want, told) {
            (_, Told::Bytes(Ok(reading))) => {
                self.reading = Some(reading);
                self.fit();
            }
            (_, Told::Bytes(Err(why))) => self.failure = Some(why),
            (want, Told::Survey(survey)) => {
                self.survey = Some((want, *survey));
            }
            (Want::Names(of), Told::Names(names)) => self.names.extend(of.into_iter().zip(names)),
            (_, Told::Texts(result)) => {
                self.texts.take(result);
                self.texts.follow(self.cursor);
            }
            (_, Told::Structure(result)) => {
                if let Some(fields) = &mut self.fields {
                    fields.take(result);
                }
                self.to(self.cursor);
            }
            _ => (),
        }
    }

    // Moves.

    /// Moves the cursor by bytes and the window only as far as it must.
    pub fn by(&mut self, bytes: i128) {
        let to = (i128::from(self.cursor) + bytes).clamp(self.first.into(), self.last.into());
        let to = u64::try_from(to).unwrap_or(self.first);
        if self.mode == Mode::Code {
            // Read from here on, whatever stood before.
            self.top = to;
        }
        self.to(to);
    }
    pub fn by_rows(&mut self, rows: isize) {
        match self.mode {
            Mode::Hex => {
                let by = rows as i128 * i128::from(self.row());
                let to = i128::from(self.cursor) + by;
                // Beyond an end the column is kept rather than jumping to the end itself.
                match (i128::from(self.first)..=i128::from(self.last)).contains(&to) {
                    true => self.by(by),
                    false => self.to(if rows < 0 { self.first } else { self.last }),
                }
            }
            Mode::Code => {
                const MOST: usize = 1000;
                for _ in 0..rows.unsigned_abs().min(MOST) {
                    let next = if rows < 0 { self.line_before(self.cursor) } else { self.line_after(self.cursor) };
                    match next.filter(|next| (self.first..=self.last).contains(next)) {
                        Some(next) => self.cursor = next,
                        None => break,
                    }
                }
                self.fit();
            }
            Mode::Texts => self.cursor = self.texts.by(rows).unwrap_or(self.cursor),
            Mode::Fields => {
                if let Some(fields) = &mut self.fields {
                    self.cursor = fields.by(rows).unwrap_or(self.cursor);
                }
            }
        }
    }
    pub fn to(&mut self, at: u64) {
        self.cursor = at.clamp(self.first, self.last);
        self.texts.follow(self.cursor);
        if let Some(fields) = &mut self.fields {
            fields.follow(self.cursor);
        }
        self.fit();
    }
    pub fn page(&self) -> isize {
        (self.height.max(2) - 1) as isize
    }

    fn fit(&mut self) {
        match self.mode {
            Mode::Hex => {
                let row = self.row();
                self.top &= !(row - 1);
                let line = self.cursor & !(row - 1);
                let before = self.top;
                self.top = self.top.min(line);
                let above = row * u64::from(self.height.max(1) - 1);
                if line - self.top > above {
                    self.top = line - above;
                }
                // As lists do: a window that must move moves half of its height.
                if self.top != before {
                    let half = row * u64::from(self.height / 2);
                    self.top = if self.top < before { self.top.saturating_sub(half) } else { self.top.saturating_add(half).min(line) };
                }
            }
            Mode::Code => {
                let height = usize::from(self.height.max(1));
                let lines = self.lines(self.top, height * 2);
                self.top = match lines.iter().position(|line| self.cursor.wrapping_sub(line.at) < line.length.max(1)) {
                    Some(at) if at < height => self.top,
                    Some(at) => lines.get(at + 1 - height).map_or(self.cursor, |line| line.at),
                    None => self.cursor,
                };
            }
            Mode::Texts | Mode::Fields => (),
        }
    }

    // What is there.

    fn value(&self, at: u64) -> Option<u8> {
        let bytes = &self.reading.as_ref()?.bytes;
        bytes.get(usize::try_from(at.checked_sub(bytes.start)?).ok()?)
    }
    fn origin(&self, at: u64) -> Option<Result<PageOrigin, ReadError>> {
        let piece = self.reading.as_ref()?.bytes.piece(at)?;
        Some(piece.origin.map(|backing| backing.offset(at - piece.address)))
    }
    fn rights(&self, at: u64) -> Option<Protection> {
        let page = at & !(PAGE_SIZE - 1);
        self.reading.as_ref()?.rights.iter().find(|(of, _)| *of == page).map(|(_, rights)| *rights)
    }
    /// The bytes from an address on that are here and not missing, at most `most`.
    pub fn there(&self, at: u64, most: u64) -> Vec<u8> {
        (0..most).map_while(|index| self.value(at.checked_add(index)?)).collect()
    }
    fn bits(&self) -> u32 {
        self.survey.as_ref().map_or(64, |(_, survey)| survey.bits)
    }

    /// The address that stands at the cursor: a pointer as the machine stores it, or where an instruction leads.
    pub fn pointer(&self) -> Option<u64> {
        if self.mode == Mode::Code {
            return self.lines(self.cursor, 1).first()?.target;
        }
        match self.bits() {
            32 => self.there(self.cursor, 4).try_into().ok().map(|raw| u32::from_le_bytes(raw).into()),
            _ => self.there(self.cursor, 8).try_into().ok().map(u64::from_le_bytes),
        }
    }
    /// Whether the address at the cursor is one of code, as far as is known.
    pub fn leads_to_code(&self) -> bool {
        self.mode == Mode::Code && self.lines(self.cursor, 1).first().is_some_and(|line| line.branches)
    }
    /// The structure that the pointer under the cursor leads to, as its field says.
    pub fn pointee(&self) -> Option<String> {
        self.fields.as_ref().filter(|_| self.mode == Mode::Fields)?.pointee()
    }

    /// Instructions, or stretches that are missing, from an address on.
    fn lines(&self, from: u64, count: usize) -> Vec<code::Line> {
        let mut lines = Vec::new();
        let mut at = from;
        while lines.len() < count && at <= self.last {
            let Some(line) = self.line(at) else { break };
            let next = at.checked_add(line.length.max(1));
            lines.push(line);
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        lines
    }
    fn line(&self, at: u64) -> Option<code::Line> {
        code::line(&|at| self.value(at), at, self.bits()).or_else(|| {
            let piece = self.reading.as_ref()?.bytes.piece(at)?;
            let length = piece.length as u64 - (at - piece.address);
            Some(code::Line { at, length, text: String::new(), bytes: Vec::new(), target: None, branches: false, ends: false })
        })
    }
    fn line_after(&self, at: u64) -> Option<u64> {
        at.checked_add(self.line(at)?.length.max(1))
    }
    fn line_before(&self, at: u64) -> Option<u64> {
        let before = at.checked_sub(1)?;
        match self.value(before) {
            Some(_) => code::before(&|at| self.value(at), at, self.bits()).or(Some(before)),
            None => self.reading.as_ref()?.bytes.piece(before).map(|piece| piece.address),
        }
    }

    /// Whether it is a region with an end rather than a whole space.
    pub fn bounded(&self) -> bool {
        self.last - self.first < 1 << 47
    }
    /// The first and the last of the selected bytes; whole instructions where code is read.
    pub fn selection(&self) -> Option<(u64, u64)> {
        let anchor = self.anchor?;
        let (first, last) = (anchor.min(self.cursor), anchor.max(self.cursor));
        let rest = if self.mode == Mode::Code { self.line(last).map_or(0, |line| line.length.saturating_sub(1)) } else { 0 };
        Some((first, last.saturating_add(rest).min(self.last)))
    }
    /// Where the cursor is, in the region and in the machine.
    pub fn position(&self) -> String {
        if let Some((first, last)) = self.selection() {
            return format!(
                "{} selected  {:#x}",
                crate::tui::text::counted(((last - first) as usize).saturating_add(1), "byte", "bytes"),
                self.cursor
            );
        }
        let offset = if self.bounded() && self.first > 0 { format!(" +{:#x}", self.cursor - self.first) } else { String::new() };
        format!("{:#x}{offset}", self.cursor)
    }

    /// Whose memory, which part of it, and what it is read as.
    pub fn crumbs(&self) -> [String; 3] {
        let of = match self.space {
            Space::Physical => "physical memory".to_owned(),
            Space::Kernel => "kernel memory".to_owned(),
            Space::Process(_) => self.owner.clone(),
        };
        let read_as = match (self.mode, &self.fields) {
            (Mode::Hex, _) => "bytes",
            (Mode::Code, _) => "code",
            (Mode::Texts, _) => "strings",
            (Mode::Fields, fields) => fields.as_ref().map_or("fields", |fields| &fields.name),
        };
        [of, self.what.clone(), read_as.to_owned()]
    }

    // Drawing.

    fn title(&self, look: &Look) -> Vec<(Role, String)> {
        let about = match self.mode {
            Mode::Hex => " Bytes".to_owned(),
            Mode::Code => format!(" Code, {} bit", self.bits()),
            Mode::Texts => " Strings".to_owned(),
            Mode::Fields => format!(" {}", self.fields.as_ref().map_or("Structure", |fields| &fields.name)),
        };
        let space = match self.space {
            Space::Physical => "physical memory ".to_owned(),
            Space::Kernel => "kernel memory ".to_owned(),
            Space::Process(_) => format!("of {} ", self.owner),
        };
        let dot = if matches!(self.space, Space::Process(_)) { " " } else { look.symbols.dot };
        vec![(Role::Header, about), (Role::Text, format!("{}{}{dot}", look.symbols.dot, self.what)), (Role::Text, space)]
    }

    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, focused: bool, look: &Look) {
        let right = match self.needle.typed.as_str() {
            "" => String::new(),
            typed => format!(" /{} ", look.fit(typed, 24, Cut::End)),
        };
        let inner = frame(area, buffer, &self.title(look), &right, focused, look);
        if inner.height == 0 || inner.width == 0 {
            return;
        }
        let detail = match inner.height {
            0..4 => 0,
            4..8 => 1,
            14.. if self.inspects => (inner.height / 2).min(if inner.width < 100 { 9 } else { 6 }) + 2,
            _ => 2,
        };
        let body = Rect { height: inner.height - detail, ..inner };
        self.height = body.height;
        self.body = body;
        match self.mode {
            Mode::Hex => {
                let digits = format!("{:x}", self.last).len();
                let digits = if !self.bounded() && self.cursor >> 48 == 0 { 12 } else { digits.max(8) };
                // The kernel's addresses all begin alike; sixteen bytes in a row are worth more than that.
                let short = Shape::of(body.width, 12);
                self.shape = match Shape::of(body.width, digits) {
                    narrow if self.space == Space::Kernel && narrow.bytes < short.bytes => short,
                    shape => shape,
                };
                self.fit();
                HexGrid { source: self, shape: self.shape, top: self.top, cursor: self.cursor, look, focused }.draw(body, buffer);
                if self.last - self.first < 1 << 40 {
                    let rows = |bytes: u64| usize::try_from(bytes / self.row()).unwrap_or(usize::MAX);
                    let edge = Rect { x: area.right() - 1, width: 1, ..body };
                    let top = rows(self.top.saturating_sub(self.first));
                    let all = rows(self.last - self.first) + 1;
                    thumb(buffer, edge, top, usize::from(body.height), all, look.symbols.thumb, look.style(Role::Text));
                }
            }
            Mode::Code => {
                self.fit();
                self.draw_code(body, buffer, focused, look);
            }
            Mode::Texts => self.texts.draw(body, buffer, focused, look),
            Mode::Fields => {
                if let Some(fields) = &mut self.fields {
                    let reading = self.reading.as_ref();
                    let value = |at: u64| {
                        let bytes = &reading?.bytes;
                        bytes.get(usize::try_from(at.checked_sub(bytes.start)?).ok()?)
                    };
                    let awaited = |at: u64| reading.is_none_or(|reading| reading.bytes.piece(at).is_none());
                    fields.draw(body, buffer, focused, look, &value, &awaited);
                }
            }
        }
        self.draw_detail(Rect { y: body.bottom(), height: detail, ..inner }, buffer, look);
    }

    fn draw_code(&self, area: Rect, buffer: &mut Buffer, focused: bool, look: &Look) {
        let lines = self.lines(self.top, usize::from(area.height));
        if lines.is_empty() {
            put(buffer, area.x + 1, area.y, "reading...", area.width, look.style(Role::Dim));
        }
        let digits = if self.last >> 48 == 0 || self.cursor >> 48 == 0 { 12 } else { 16 };
        // The bytes are worth their room only where the instructions have theirs.
        let raw: u16 = match area.width {
            100.. => 31,
            70.. => 22,
            _ => 0,
        };
        for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
            let room = |x: u16| area.right().saturating_sub(x);
            put(buffer, area.x, y, &format!("{:0digits$x}", line.at), room(area.x), look.style(Role::Dim));
            let x = area.x + digits as u16 + 1;
            if let Some(sign) = self.sign(line.at, line.length.max(1)) {
                put(buffer, x - 1, y, &sign.sign.to_string(), room(x - 1), look.style(Role::Key));
            }
            if line.text.is_empty() {
                let why = self.origin(line.at).and_then(Result::err).map(lack).unwrap_or_default();
                put(buffer, x, y, &look.fit(&format!("?? {why}"), usize::from(room(x)), Cut::End), room(x), look.style(Role::Missing));
            } else {
                let shown: String = line.bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
                put(buffer, x, y, &look.fit(shown.trim_end(), usize::from(raw.saturating_sub(1)), Cut::End), raw, look.style(Role::Dim));
                let x = x + raw;
                let role = if line.ends { Role::Header } else { Role::Text };
                let end = put(buffer, x, y, &look.fit(&line.text, usize::from(room(x)), Cut::End), room(x), look.style(role));
                if let Some(name) = line.target.and_then(|at| self.names.get(&at)?.as_ref()) {
                    let x = (end + 2).max((x + 36).min(area.right()));
                    let name = look.fit(&format!("; {name}"), usize::from(room(x)), Cut::End);
                    put(buffer, x, y, &name, room(x), look.style(Role::Name));
                }
            }
            if self.cursor.wrapping_sub(line.at) < line.length.max(1) {
                let role = if focused { Role::Selected } else { Role::Resting };
                buffer.set_style(Rect { y, height: 1, ..area }, look.style(role));
            }
        }
    }

    /// What the place is, and what stands there.
    fn draw_detail(&self, mut area: Rect, buffer: &mut Buffer, look: &Look) {
        if area.height == 0 {
            return;
        }
        // What the analyst wrote says more than what the machine has there.
        area = noted(area, buffer, self.sign(self.cursor, 1), look);
        if area.height == 0 {
            return;
        }
        let mut line = |y: u16, role: Role, text: &str| {
            let text = look.fit(text, usize::from(area.width), Cut::End);
            put(buffer, area.x, y, &text, area.width, look.style(role));
        };
        if let Some(why) = &self.failure {
            return line(area.y, Role::Danger, why);
        }
        let label = self.fields.as_ref().and_then(|fields| fields.label(self.cursor)).filter(|_| self.mode != Mode::Fields);
        let place = match self.origin(self.cursor) {
            None if self.mode == Mode::Texts && self.texts.is_empty() => return,
            None => return line(area.y, Role::Dim, "reading..."),
            Some(Err(why)) => {
                let label = label.map(|label| format!("{}{label}", look.symbols.dot)).unwrap_or_default();
                return line(area.y, Role::Warning, &format!("?? {}{label}; }} goes to the next memory that is there", lack(why)));
            }
            Some(Ok(origin)) => origin.to_string(),
        };
        let little = |length: u64| {
            let bytes = self.there(self.cursor, length);
            (bytes.len() as u64 == length).then(|| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let mut parts = Vec::new();
        if self.mode == Mode::Hex {
            parts.extend(little(4).map(|value| format!("u32 {value}")));
            parts.extend(little(8).map(|value| format!("u64 {value:#x}")));
        }
        parts.extend(label);
        parts.extend((self.space != Space::Physical).then_some(place));
        line(area.y, Role::Dim, &parts.join(look.symbols.dot));
        if area.height < 2 {
            return;
        }
        // The survey of where the cursor was says nothing of where it is.
        if let Some((Want::Survey { at, pointer, .. }, survey)) = &self.survey
            && *at == self.cursor
        {
            let mut parts = Vec::new();
            let here = survey.here.to_string();
            parts.extend((self.space != Space::Physical).then_some(here));
            if let (Some(to), Some(there)) = (pointer, survey.there.as_ref().filter(|it| it.readable || it.symbol.is_some())) {
                parts.push(format!("{} {to:#x} {there}", look.symbols.leads));
            }
            line(area.y + 1, Role::Text, &parts.join(look.symbols.dot));
        }
        if area.height > 2 {
            let rule = look.symbols.border.horizontal_top.repeat(usize::from(area.width));
            put(buffer, area.x, area.y + 2, &rule, area.width, look.style(Role::Frame));
            let rest = Rect { y: area.y + 3, height: area.height - 3, ..area };
            let readings = inspector::readings(&self.there(self.cursor, 64));
            let parts: Vec<_> = readings.into_iter().map(|(name, value)| (name.to_owned(), value, Role::Text)).collect();
            flow(rest, buffer, &parts, look);
        }
    }

    pub fn click(&mut self, x: u16, y: u16) {
        let (Some(line), Some(column)) = (y.checked_sub(self.body.y), x.checked_sub(self.body.x)) else { return };
        if y >= self.body.bottom() {
            return;
        }
        match self.mode {
            Mode::Hex => {
                let Some(byte) = self.shape.byte_at(usize::from(column)) else { return };
                self.to(self.top.saturating_add(u64::from(line) * self.row()).saturating_add(byte as u64));
            }
            Mode::Code => {
                if let Some(line) = self.lines(self.top, usize::from(line) + 1).get(usize::from(line)) {
                    self.to(line.at);
                }
            }
            Mode::Texts => self.cursor = self.texts.click(line).unwrap_or(self.cursor),
            Mode::Fields => {
                if let Some(fields) = &mut self.fields {
                    self.cursor = fields.click(line).unwrap_or(self.cursor);
                }
            }
        }
    }
}

/// Why a page is missing, without its address, which the screen shows.
fn lack(why: ReadError) -> String {
    match why {
        ReadError::NotInImage(at) => format!("not in image, pfn {:#x}", at.0 >> 12),
        ReadError::NotMapped(_) => "not mapped".to_owned(),
        ReadError::PagedOut(_) => "paged out".to_owned(),
        ReadError::InMappedFile(_) => "in a mapped file, not in memory".to_owned(),
        ReadError::SharedByRegion(_) => "shared, only its region can tell where it is".to_owned(),
        ReadError::Decommitted(_) => "decommitted".to_owned(),
        why => why.to_string(),
    }
}

impl Source for BytesView {
    fn byte(&self, at: u64) -> Byte {
        if at < self.first || at > self.last {
            return Byte::Outside;
        }
        match (self.value(at), &self.reading) {
            (Some(value), _) => Byte::Value(value),
            (None, _) if self.failure.is_some() => Byte::Missing,
            (None, Some(reading)) if at.wrapping_sub(reading.bytes.start) < reading.bytes.data.len() as u64 => Byte::Missing,
            (None, _) => Byte::Awaited,
        }
    }
    fn margin(&self, at: u64, first: bool, room: usize) -> Option<String> {
        if !first && at & 0xfff != 0 {
            return None;
        }
        let rights = self.rights(at).map(|rights| format!("{} ", rights.cell())).unwrap_or_default();
        Some(match self.origin(at.max(self.first))? {
            Ok(_) if self.space == Space::Physical => return None,
            Ok(PageOrigin::Ram(at)) => {
                let whole = format!("{rights}pfn {:#x}", at.0 >> 12);
                if whole.len() <= room { whole } else { format!("{rights}{:#x}", at.0 >> 12) }
            }
            Ok(backing) => match backing.physical() {
                Some(at) => format!("{rights}pfn {:#x} {}", at.0 >> 12, backing.kind()),
                None => format!("{rights}{}", backing.kind()),
            },
            Err(why) => lack(why),
        })
    }
    fn sign(&self, at: u64) -> Option<char> {
        self.sign(at, self.row()).map(|sign| sign.sign)
    }
    fn marked(&self, at: u64) -> bool {
        let selected = self.selection().is_some_and(|(first, last)| (first..=last).contains(&at));
        selected || (self.anchor.is_none() && self.found.is_some_and(|(found, length)| at.wrapping_sub(found) < length as u64))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::engine::Piece;

    fn view(first: u64, last: u64) -> BytesView {
        BytesView::new(Space::Process(VirtAddr(1)), "region".into(), "bash 1".into(), first, last, first)
    }

    #[test]
    fn absent_is_not_zero() {
        let mut view = view(0x1000, 0x4fff);
        let [Want::Bytes(wish)] = view.wants()[..] else { panic!("bytes are wanted first") };
        assert_eq!(view.wants(), [], "asked once");
        let missing = Err(ReadError::NotInImage(PhysAddr(0x9000)));
        let pieces = vec![
            Piece { address: 0x1000, length: 0x10, origin: Ok(PageOrigin::Ram(PhysAddr(0x5000))) },
            Piece { address: 0x1010, length: wish.length - 0x10, origin: missing },
        ];
        let bytes = Bytes { start: 0x1000, data: vec![0; wish.length], pieces };
        let rights = vec![(0x1000, Protection { read: true, execute: true, ..Protection::default() })];
        view.take(Want::Bytes(wish), Told::Bytes(Ok(Reading { bytes, rights })));
        assert_eq!(view.byte(0x1000), Byte::Value(0));
        assert_eq!(view.byte(0x1010), Byte::Missing);
        assert_eq!(view.byte(0x0fff), Byte::Outside);
        assert_eq!(view.byte(0x4fff), Byte::Awaited);
        assert_eq!(Source::margin(&view, 0x1000, true, 20).as_deref(), Some("r-x pfn 0x5"));
    }

    #[test]
    fn moves_stay_inside_at_both_ends_of_the_space() {
        for mode in [Mode::Hex, Mode::Code, Mode::Texts, Mode::Fields] {
            let mut view = view(0, u64::MAX);
            view.overlay("_EPROCESS".into());
            view.mode = mode;
            view.to(u64::MAX);
            view.by_rows(5);
            assert_eq!(view.cursor, u64::MAX);
            assert!(!view.wants().is_empty());
            view.by(i128::MIN / 2);
            assert_eq!(view.cursor, 0);
            view.by_rows(-1);
            view.by_rows(-1);
            assert_eq!(view.cursor, 0);
        }
    }
}
