//! Rows that say little: those that their table marks as noise, and those that the user's own rules pick. They are hidden at first and
//! counted, never dropped.

use super::filter::{Field, Filter, fields};
use crate::engine::catalog;
use crate::facts::{Cell, Origin, Table};
use std::sync::Arc;

/// A name under which rows are counted, and the filter that picks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: String,
    pub filter: String,
    /// It belongs to the case of the image, not to the user's settings.
    pub of_case: bool,
}

impl Rule {
    /// A filter that some table can be asked with which marks noise.
    pub fn parse(name: &str, filter: &str) -> Result<Self, String> {
        let mut why = "the filter is empty".to_owned();
        for entry in catalog().iter().filter(|entry| column(entry.table).is_some()) {
            match Filter::parse(filter, &fields(entry.table, Origin::Windows)) {
                Ok(parsed) if !parsed.is_empty() => return Ok(Self { name: name.to_owned(), filter: filter.to_owned(), of_case: false }),
                Ok(_) => {}
                Err(wrong) => why = wrong,
            }
        }
        Err(why)
    }

    pub fn of_case(filter: &str) -> Result<Self, String> {
        Self::parse(filter, filter).map(|rule| Self { of_case: true, ..rule })
    }
}

/// What is asked of the rows.
#[derive(Clone)]
pub struct Hush {
    pub column: usize,
    pub rules: Arc<[Rule]>,
}

/// How many rows each kind of noise hides, the most first.
pub type Hushed = Vec<(String, usize)>;

/// The column that says what noise a row is, of tables that have one.
pub fn column(table: &Table) -> Option<usize> {
    table.column("noise")
}

/// A rule of the user's, in force for the tables that have all the columns it names.
pub struct Judge<'a> {
    column: usize,
    rules: Vec<(&'a str, Filter)>,
    counts: Hushed,
}

impl<'a> Judge<'a> {
    pub fn new(hush: &'a Hush, fields: &[Field]) -> Self {
        let parsed = hush.rules.iter().filter_map(|rule| Some((rule.name.as_str(), Filter::parse(&rule.filter, fields).ok()?)));
        Self { column: hush.column, rules: parsed.filter(|(_, filter)| !filter.is_empty()).collect(), counts: Vec::new() }
    }

    /// Whether a row is noise; it is counted then.
    pub fn hides<'b>(&mut self, shown: &[Field], cell: &dyn Fn(usize) -> Cell<'b>) -> bool {
        let marked = match cell(self.column) {
            Cell::Text(kind) => Some(kind.replace('_', " ")),
            _ => None,
        };
        let name = marked.or_else(|| self.rules.iter().find(|(_, filter)| filter.admits(shown, cell)).map(|(name, _)| (*name).to_owned()));
        let Some(name) = name else { return false };
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((name, 1)),
        }
        true
    }

    pub fn counts(mut self) -> Hushed {
        self.counts.sort_by(|(a_name, a), (b_name, b)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        self.counts
    }
}

/// `312 hidden: 300 loopback, 12 multicast`.
pub fn told(hushed: &Hushed) -> String {
    const MOST: usize = 4;
    let all: usize = hushed.iter().map(|(_, count)| count).sum();
    let kinds: Vec<String> = hushed.iter().take(MOST).map(|(name, count)| format!("{count} {name}")).collect();
    let more = if hushed.len() > MOST { ", ..." } else { "" };
    format!("{} hidden: {}{more}", crate::tui::text::grouped(all), kinds.join(", "))
}
