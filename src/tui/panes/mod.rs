//! What fills the screen: state and drawing of each pane.

pub mod arrange;
pub mod bytes;
pub mod filter;
pub mod link;
pub mod noise;
pub mod overlay;
pub mod process_tree;
pub mod table;
pub mod times;

use super::text::Cut;
use super::theme::{Look, Role};
use super::widgets::put;
use crate::facts::text::size;
use crate::facts::{Cell, Origin, Rows, Time};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Widget};
use std::collections::HashMap;
use std::sync::Arc;

/// What the analyst has noted on a row: the sign before it, and the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    pub sign: char,
    pub says: String,
}

/// The signs of a table's objects, by their keys.
pub type Signs = Arc<HashMap<String, Sign>>;

/// Writes a note on a line of its own; answers the room below it.
fn noted(area: Rect, buffer: &mut Buffer, sign: Option<&Sign>, look: &Look) -> Rect {
    let Some(sign) = sign.filter(|_| area.height > 0) else { return area };
    let text = look.fit(&format!("{} {}", sign.sign, sign.says), usize::from(area.width), Cut::End);
    put(buffer, area.x, area.y, &text, area.width, look.style(Role::Header));
    Rect { y: area.y + 1, height: area.height - 1, ..area }
}

/// A value as the screen says it. Not yet safe: [`Look::fit`] sees to that.
pub fn words(cell: &Cell, look: &Look) -> String {
    match cell {
        Cell::Absent => look.symbols.dash.to_owned(),
        Cell::Unreadable(_) => "??".to_owned(),
        Cell::Bool(true) => "yes".to_owned(),
        Cell::Bool(false) => "no".to_owned(),
        Cell::Time(time) => moment(*time),
        Cell::Text(text) if text.contains('_') && is_word(text) => text.replace('_', " "),
        Cell::Text(text) => text.clone().into_owned(),
        Cell::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>().trim_end().to_owned(),
        Cell::List(items) => items.iter().map(|item| words(item, look)).collect::<Vec<_>>().join(", "),
        Cell::Object(fields) if indicator(fields).is_some() => indicator(fields).unwrap_or_default(),
        Cell::Object(fields) => {
            let texts: Vec<String> = fields.iter().map(|(_, value)| words(value, look)).collect();
            texts.join(": ")
        }
        other => other.to_string(),
    }
}

/// A rule that applies: `+40 rule: detail`, `-15 rule: detail`.
fn indicator(fields: &[(&str, Cell)]) -> Option<String> {
    let [("id", id), ("points", Cell::Number(points)), ("detail", detail)] = fields else { return None };
    Some(format!("{points:+} {}: {detail}", id.to_string().replace('_', " ")))
}

/// The signs alone of a list of reasons: there is room for them in a column.
pub fn signs(items: &[Cell]) -> String {
    let sign = |item: &Cell| match item {
        Cell::Object(fields) => {
            let id = fields.first().map(|(_, id)| id.to_string().replace('_', " ")).unwrap_or_default();
            let against = fields.get(1).is_some_and(|(_, detail)| detail.to_string().starts_with('-'));
            Some(if against { format!("not: {id}") } else { id })
        }
        _ => None,
    };
    items.iter().filter_map(sign).collect::<Vec<_>>().join(", ")
}

/// A value under the name of its column: sizes in units.
pub fn value(cell: &Cell, column: &str, look: &Look) -> String {
    match cell {
        Cell::Number(bytes) if column == "size" => u64::try_from(*bytes).map_or_else(|_| bytes.to_string(), size),
        // The methods that found it are the program's own words.
        Cell::List(_) if column == "sources" => words(cell, look).replace('_', " "),
        Cell::Text(text) if let Some(shown) = shown_as(column, text) => shown.to_owned(),
        cell => words(cell, look),
    }
}

/// How the screen says a word of a table that reads wrong there: what memory holds of a closed connection is not live.
pub fn shown_as(column: &str, word: &str) -> Option<&'static str> {
    match (column, word) {
        ("evidence", "live") => Some("in memory"),
        ("evidence", "both") => Some("in memory, logged"),
        _ => None,
    }
}

/// One of the program's own words, such as a verdict; what comes from the image keeps its underscores.
fn is_word(text: &str) -> bool {
    matches!(text, "likely_injected" | "likely_benign")
}

/// The colour of a score of 0 to 100.
pub fn grave(score: i128) -> Role {
    match score {
        75.. => Role::Danger,
        30.. => Role::Warning,
        _ => Role::Dim,
    }
}

/// Date and time of day; the whole value with its fraction stands in the record.
pub fn moment(time: Time) -> String {
    let text = time.to_string();
    text.get(..19).map_or(text.clone(), |seconds| seconds.replace('T', " "))
}

/// The colour that goes with a word; the word itself says it.
pub fn role_of(cell: &Cell, column: &str) -> Role {
    match cell {
        Cell::Absent | Cell::Unreadable(_) => Role::Missing,
        Cell::Text(text) => match (column, text.as_ref()) {
            ("state" | "verdict", "hidden" | "likely_injected") => Role::Danger,
            ("verdict", "suspicious") => Role::Warning,
            ("state", "exited" | "zombie") | ("verdict", "likely_benign") => Role::Dim,
            ("level", "emerg" | "alert" | "crit" | "err") => Role::Danger,
            ("level", "warn") => Role::Warning,
            // What is copied when it is written to is how images are mapped.
            ("protection", rights) if rights.contains('w') && rights.contains('x') && !rights.contains('c') => Role::Danger,
            _ => Role::Text,
        },
        Cell::Number(score) if column == "score" => grave(*score),
        Cell::Bool(true) if column == "deleted" => Role::Warning,
        _ => Role::Text,
    }
}

/// All of a row, whole: the name of each column and what it holds, then the problems one by one.
pub fn record(rows: &dyn Rows, row: usize, os: Origin, look: &Look) -> Vec<(String, String, Role)> {
    let mut lines = Vec::new();
    for (index, column) in rows.table().columns.iter().enumerate().filter(|(_, column)| column.serves.includes(os)) {
        let cell = rows.cell(row, index);
        let name = column.name.replace('_', " ");
        match &cell {
            Cell::List(items) if column.name == "problems" => {
                lines.extend(items.iter().map(|item| ("problem".to_owned(), words(item, look), Role::Warning)));
            }
            Cell::List(items) if items.iter().any(|item| matches!(item, Cell::Object(_))) => {
                lines.extend(items.iter().map(|item| (name.clone(), words(item, look), Role::Text)));
            }
            // The fields of an event go by their own names.
            Cell::Object(fields) if column.name == "data" => {
                lines.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), words(value, look), Role::Text)));
            }
            Cell::Unreadable(why) => lines.push((name, format!("?? {why}"), Role::Missing)),
            Cell::Time(time) => lines.push((name, time.to_string(), Role::Text)),
            Cell::Number(bytes) if column.name == "size" => {
                lines.push((name, format!("{bytes} ({})", value(&cell, column.name, look)), Role::Text));
            }
            cell => lines.push((name, value(cell, column.name, look), role_of(cell, column.name))),
        }
    }
    lines
}

/// A frame with a title on the left and one on the right; answers the room inside. At heights where each line counts, the frame
/// is only its title.
pub fn frame(area: Rect, buffer: &mut Buffer, title: &[(Role, String)], right: &str, focused: bool, look: &Look) -> Rect {
    if area.height < 3 || area.width < 4 {
        return area;
    }
    let style = look.style(if focused { Role::Focus } else { Role::Frame });
    let block = Block::bordered().border_set(look.symbols.border).border_style(style);
    let inner = block.inner(area);
    block.render(area, buffer);
    // What narrows the view is said first; the title has the rest of the room.
    let right = look.fit(right, usize::from(area.width - 2), Cut::End);
    let wide = u16::try_from(super::text::width(&right)).unwrap_or(u16::MAX);
    put(buffer, area.right().saturating_sub(wide + 1), area.y, &right, wide, look.style(Role::Warning));
    let end = area.right().saturating_sub(if wide == 0 { 1 } else { wide + 2 });
    let mut x = area.x + 1;
    for (role, part) in title {
        let room = end.saturating_sub(x);
        let part = look.fit(part, usize::from(room), Cut::End);
        x = put(buffer, x, area.y, &part, room, look.style(*role));
    }
    inner
}

/// Name and value, name and value, flowing over the lines of the area.
pub fn flow(area: Rect, buffer: &mut Buffer, parts: &[(String, String, Role)], look: &Look) {
    let (mut x, mut y) = (area.x, area.y);
    for (name, value, role) in parts {
        let value = look.clean(value);
        let wide = super::text::width(name) + 1 + super::text::width(&value);
        if x > area.x && usize::from(x - area.x) + wide + 2 > usize::from(area.width) {
            (x, y) = (area.x, y.saturating_add(1));
        }
        if y >= area.bottom() {
            return;
        }
        x = put(buffer, x, y, name, area.right().saturating_sub(x), look.style(Role::Dim)) + 1;
        let mut lines = super::text::wrap(&value, usize::from(area.right().saturating_sub(x).max(1))).into_iter();
        if let Some(first) = lines.next() {
            let last = y + 1 >= area.bottom();
            let shown = if last { look.fit(&value, usize::from(area.right().saturating_sub(x)), Cut::End) } else { first };
            x = put(buffer, x, y, &shown, area.right().saturating_sub(x), look.style(*role)) + 2;
        }
        for line in lines {
            if y + 1 >= area.bottom() {
                return;
            }
            y += 1;
            x = put(buffer, area.x, y, line.trim_start(), area.width, look.style(*role)) + 2;
        }
    }
}
