//! The fields of a structure with what they hold in memory.

use super::inspector;
use crate::facts::{Holds, StructField, Structure};
use crate::tui::text::{Cut, width};
use crate::tui::theme::{Look, Role};
use crate::tui::widgets::put;
use crate::tui::widgets::virtual_table::ListState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Fields {
    pub name: String,
    /// Where the structure begins.
    pub base: u64,
    structure: Option<Arc<Structure>>,
    failure: Option<String>,
    /// Nested structures whose fields are shown.
    open: HashSet<String>,
    /// What is shown, by its place in the structure.
    shown: Vec<usize>,
    list: ListState,
}

/// Of a field that is neither a number nor a pointer.
const MOST_BYTES: u32 = 32;

/// The byte at an address; None where it is missing.
type Read<'a> = &'a dyn Fn(u64) -> Option<u8>;

impl Fields {
    pub fn new(name: String, base: u64) -> Self {
        Self { name, base, structure: None, failure: None, open: HashSet::new(), shown: Vec::new(), list: ListState::default() }
    }
    pub fn want(&self) -> Option<String> {
        (self.structure.is_none() && self.failure.is_none()).then(|| self.name.clone())
    }
    pub fn take(&mut self, result: Result<Structure, String>) {
        match result {
            Ok(structure) => self.structure = Some(Arc::new(structure)),
            Err(why) => self.failure = Some(why),
        }
        self.arrange();
    }
    fn all(&self) -> &[StructField] {
        self.structure.as_ref().map_or(&[], |structure| &structure.fields)
    }
    fn shown(&self, place: usize) -> Option<&StructField> {
        self.all().get(*self.shown.get(place)?)
    }
    fn current(&self) -> Option<&StructField> {
        self.shown(self.list.cursor)
    }
    /// Leaves out what lies in nested structures that are folded.
    fn arrange(&mut self) {
        let Some(structure) = self.structure.clone() else { return };
        let nested: HashSet<&str> = structure.fields.iter().filter(|it| it.holds == Holds::Fields).map(|it| it.name.as_str()).collect();
        let within = |name: &str| name.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>();
        let visible = |field: &StructField| {
            let mut outer = within(&field.name).into_iter().filter_map(|at| field.name.get(..at));
            outer.all(|outer| !nested.contains(outer) || self.open.contains(outer))
        };
        self.shown = (0..structure.fields.len()).filter(|index| structure.fields.get(*index).is_some_and(visible)).collect();
    }
    /// Opens the selected nested structure, or folds it; false where none is selected.
    pub fn toggle(&mut self) -> bool {
        let Some(field) = self.current().filter(|field| field.holds == Holds::Fields) else { return false };
        let name = field.name.clone();
        if !self.open.remove(&name) {
            self.open.insert(name);
        }
        self.arrange();
        true
    }
    /// Selects the next field whose name holds a text, opening what hides it.
    pub fn find(&mut self, text: &str, forward: bool, beyond: bool) -> Option<u64> {
        let text = text.to_lowercase();
        let hits: Vec<usize> = (0..self.all().len())
            .filter(|index| self.all().get(*index).is_some_and(|field| field.name.to_lowercase().contains(&text)))
            .collect();
        let at = self.shown.get(self.list.cursor).copied().unwrap_or(0);
        let hit = match forward {
            true => hits.iter().find(|hit| **hit > at || !beyond && **hit == at).or(hits.first()),
            false => hits.iter().rev().find(|hit| **hit < at).or(hits.last()),
        };
        let hit = *hit?;
        let name = self.all().get(hit)?.name.clone();
        let outer: Vec<String> = name.match_indices('.').filter_map(|(at, _)| name.get(..at)).map(str::to_owned).collect();
        self.open.extend(outer);
        self.arrange();
        self.list.cursor = self.shown.iter().position(|index| *index == hit)?;
        self.current().map(|field| self.address(field))
    }
    fn address(&self, field: &StructField) -> u64 {
        self.base.saturating_add(field.offset.into())
    }

    /// The addresses that the window shows.
    pub fn span(&self, height: usize) -> (u64, u64) {
        let shown = (self.list.top..self.list.top.saturating_add(height.max(1))).map_while(|place| self.shown(place));
        let current = self.current().into_iter();
        let (low, high) = shown.chain(current).fold((u64::MAX, self.base), |(low, high), field| {
            let at = self.address(field);
            (low.min(at), high.max(at.saturating_add(field.size.min(MOST_BYTES).into())))
        });
        (low.min(high), high)
    }

    pub fn by(&mut self, rows: isize) -> Option<u64> {
        self.list.by(rows, self.shown.len());
        self.current().map(|field| self.address(field))
    }
    /// Selects the field that holds an address; the selected one stays where it is one of several at the same place.
    pub fn follow(&mut self, at: u64) {
        if self.current().is_some_and(|field| self.address(field) == at) {
            return;
        }
        let holds = |field: &StructField| (0..field.size.max(1).into()).contains(&at.wrapping_sub(self.address(field)));
        // The innermost of those that are shown.
        let found = (0..self.shown.len()).rev().find(|place| self.shown(*place).is_some_and(holds));
        self.list.cursor = found.unwrap_or(self.list.cursor);
    }
    pub fn click(&mut self, line: u16) -> Option<u64> {
        self.list.to(self.list.top + usize::from(line), self.shown.len());
        self.by(0)
    }

    /// The field at an address, in words.
    pub fn label(&self, at: u64) -> Option<String> {
        let holds = |field: &&StructField| (0..field.size.into()).contains(&at.wrapping_sub(self.address(field)));
        let field = self.all().iter().filter(|field| field.holds != Holds::Fields).find(holds)?;
        Some(format!("{}.{} {}", self.name, field.name, field.r#type))
    }
    /// The structure that the selected pointer leads to.
    pub fn pointee(&self) -> Option<String> {
        match &self.current()?.holds {
            Holds::Pointer(to) => to.clone(),
            _ => None,
        }
    }

    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, focused: bool, look: &Look, read: Read<'_>, awaited: &dyn Fn(u64) -> bool) {
        let mut list = self.list;
        list.fit(usize::from(area.height), self.shown.len());
        self.list = list;
        let (Some(structure), None) = (&self.structure, &self.failure) else {
            let text = self.failure.clone().unwrap_or_else(|| "reading...".to_owned());
            let role = if self.failure.is_some() { Role::Warning } else { Role::Dim };
            put(buffer, area.x + 1, area.y, &look.fit(&text, usize::from(area.width), Cut::End), area.width, look.style(role));
            return;
        };
        let rows = || self.shown.iter().enumerate().skip(list.top).take(usize::from(area.height));
        let shown = || rows().filter_map(|(place, index)| Some((place, structure.fields.get(*index)?)));
        let third = usize::from(area.width) / 3;
        let names = shown().map(|(_, field)| width(&field.name)).max().unwrap_or(0).clamp(8, third.max(8));
        let types = shown().map(|(_, field)| width(&field.r#type)).max().unwrap_or(0).clamp(4, (third * 2 / 3).max(4));
        for ((index, field), y) in shown().zip(area.top()..area.bottom()) {
            let mut x = area.x;
            let mut part = |text: &str, wide: usize, cut: Cut, role: Role| {
                let room = area.right().saturating_sub(x);
                put(buffer, x, y, &look.fit(text, wide.min(room.into()), cut), room, look.style(role));
                x = x.saturating_add(u16::try_from(wide).unwrap_or(u16::MAX)).saturating_add(1);
            };
            part(&format!("+{:#05x}", field.offset), 6, Cut::End, Role::Dim);
            part(&field.name, names, Cut::Start, Role::Name);
            part(&field.r#type, types, Cut::End, Role::Dim);
            let at = self.address(field);
            let (text, role) = match field.holds {
                Holds::Fields => {
                    let sign = if self.open.contains(&field.name) { look.symbols.open } else { look.symbols.closed };
                    (format!("{sign}{} bytes", field.size), Role::Dim)
                }
                _ if awaited(at) => ("..".to_owned(), Role::Dim),
                _ => value(field, at, read),
            };
            part(&text, usize::from(area.width), Cut::End, role);
            if index == list.cursor {
                let role = if focused { Role::Selected } else { Role::Resting };
                buffer.set_style(Rect { y, height: 1, ..area }, look.style(role));
            }
        }
    }
}

/// What a field holds, as its type says.
fn value(field: &StructField, at: u64, read: Read<'_>) -> (String, Role) {
    let length = field.size.min(MOST_BYTES);
    let bytes: Vec<u8> = (0..u64::from(length)).map_while(|index| read(at.checked_add(index)?)).collect();
    if bytes.len() < length as usize {
        return ("??".to_owned(), Role::Missing);
    }
    let number = bytes.iter().take(8).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let text = match (&field.holds, field.bits) {
        (_, Some((shift, width))) => ((number >> shift) & (u64::MAX >> (64 - u32::from(width.clamp(1, 64))))).to_string(),
        (Holds::Pointer(_), _) => format!("{number:#x}"),
        (Holds::Number { signed }, _) if matches!(length, 1..=8) => {
            let unused = 64 - length * 8;
            let minus = (number << unused).cast_signed() >> unused;
            let time =
                if length == 8 { inspector::filetime(number).map(|time| format!("  {time}")).unwrap_or_default() } else { String::new() };
            match number {
                _ if *signed && minus < 0 => format!("{minus}"),
                0..10 => number.to_string(),
                _ => format!("{number:#x}  {number}{time}"),
            }
        }
        _ => {
            let text: String = bytes.iter().take_while(|byte| matches!(byte, b' '..=b'~')).map(|byte| char::from(*byte)).collect();
            let padded = text.len() > 1 && bytes.iter().skip(text.len()).all(|byte| *byte == 0);
            let more = if field.size > length { " ..." } else { "" };
            match padded {
                true => format!("\"{text}\""),
                false => bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>().trim_end().to_owned() + more,
            }
        }
    };
    let nothing = bytes.iter().all(|byte| *byte == 0);
    (text, if nothing { Role::Dim } else { Role::Text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(size: u32, bits: Option<(u8, u8)>, holds: Holds) -> StructField {
        StructField { name: "f".into(), r#type: "t".into(), offset: 0, size, bits, holds }
    }

    #[test]
    fn values_are_read_as_their_types_say() {
        let read = |bytes: &'static [u8]| move |at: u64| bytes.get(at as usize).copied();
        let number = |signed| Holds::Number { signed };
        let told = |field: &StructField, bytes| value(field, 0, &read(bytes)).0;
        assert_eq!(told(&field(2, None, number(true)), b"\xff\xff"), "-1");
        assert_eq!(told(&field(4, None, number(false)), b"\x04\x0e\0\0"), "0xe04  3588");
        assert_eq!(told(&field(4, Some((1, 3)), number(false)), b"\x0a\0\0\0"), "5");
        assert_eq!(told(&field(8, None, Holds::Pointer(None)), b"\0\0\x40\0\0\x80\xff\xff"), "0xffff800000400000");
        assert_eq!(told(&field(6, None, Holds::Bytes), b"cmd\0\0\0"), "\"cmd\"");
        assert_eq!(told(&field(2, None, Holds::Bytes), b"\x01\x02"), "01 02");
        assert_eq!(told(&field(4, None, number(false)), b"\x01\x02"), "??", "half of it is not the value");
    }
}
