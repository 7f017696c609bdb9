//! Filtering, sorting and searching rows: pure work for the background, whose result is row numbers.

use crate::facts::{Cell, Kind, Rows, Watch};
use fuzzy_matcher::FuzzyMatcher;
use fuzzy_matcher::skim::SkimMatcherV2;
use std::cmp::Ordering;
use std::sync::Arc;

/// What is asked of the rows.
#[derive(Clone)]
pub struct Ask {
    pub rows: Arc<dyn Rows>,
    /// Columns that a text is looked for in.
    pub columns: Arc<[usize]>,
    pub filter: String,
    pub search: String,
    pub sort: Option<Sort>,
    /// The row under the cursor, to be found again.
    pub keep: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    pub column: usize,
    pub descending: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arranged {
    /// The rows to show, in order; None for all of them as they come.
    pub order: Option<Vec<u32>>,
    /// Nothing contains the filter's words, so that these rows only resemble them.
    pub resembling: bool,
    /// Places in the order (not row numbers) where the search text stands.
    pub hits: Vec<u32>,
    /// Where the kept row is now.
    pub kept: Option<usize>,
}

/// Rows between two looks at the watch.
const STEP: usize = 4096;

/// Does it; None when cancelled.
pub fn arrange(ask: &Ask, watch: &Watch) -> Option<Arranged> {
    let rows = ask.rows.as_ref();
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let mut done = Arranged::default();
    let terms = Terms::parse(&ask.filter);
    if !terms.0.is_empty() {
        let mut order = keep(0..count, rows, ask, &terms, watch, false)?;
        if order.is_empty() && terms.may_resemble() {
            order = keep(0..count, rows, ask, &terms, watch, true)?;
            done.resembling = !order.is_empty();
        }
        done.order = Some(order);
    }
    if let Some(sort) = ask.sort {
        let order = done.order.take().unwrap_or_else(|| (0..count).collect());
        done.order = Some(sorted(order, rows, sort, watch)?);
    }
    let search = Terms::parse(&ask.search);
    if !search.0.is_empty() {
        let shown = done.order.as_ref().map_or(count as usize, Vec::len);
        let rows_of = |place: u32| done.order.as_ref().map_or(Some(place), |order| order.get(place as usize).copied());
        let mut hits = Vec::new();
        for place in 0..u32::try_from(shown).unwrap_or(u32::MAX) {
            if (place as usize).is_multiple_of(STEP) && watch.cancelled() {
                return None;
            }
            if rows_of(place).is_some_and(|row| search.admits(rows, row as usize, &ask.columns, None)) {
                hits.push(place);
            }
        }
        done.hits = hits;
    }
    done.kept = ask.keep.and_then(|row| match &done.order {
        None => Some(row as usize),
        Some(order) => order.iter().position(|shown| *shown == row),
    });
    Some(done)
}

fn keep(all: std::ops::Range<u32>, rows: &dyn Rows, ask: &Ask, terms: &Terms, watch: &Watch, fuzzy: bool) -> Option<Vec<u32>> {
    let matcher = fuzzy.then(resemblance);
    let mut order = Vec::new();
    for row in all {
        if (row as usize).is_multiple_of(STEP) {
            if watch.cancelled() {
                return None;
            }
            watch.progress(row.into(), rows.len() as u64);
        }
        if terms.admits(rows, row as usize, &ask.columns, matcher.as_ref()) {
            order.push(row);
        }
    }
    Some(order)
}

pub fn resemblance() -> SkimMatcherV2 {
    // The limit keeps a hostile name from costing seconds.
    SkimMatcherV2::default().ignore_case().element_limit(100_000)
}

/// The longest text that is worth comparing by resemblance, in characters.
const LONGEST: usize = 200;

pub fn resembles(matcher: &SkimMatcherV2, text: &str, term: &str) -> bool {
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
    matcher.fuzzy_match(text.get(..end).unwrap_or_default(), term).is_some()
}

/// Words that a row must contain, and words with `!` before them that it must not.
pub struct Terms(Vec<Term>);

struct Term {
    text: String,
    without: bool,
}

impl Terms {
    pub fn parse(filter: &str) -> Self {
        let words = filter.split_whitespace().map(|word| {
            let (without, text) = word.strip_prefix('!').map_or((false, word), |rest| (true, rest));
            Term { text: text.to_lowercase(), without }
        });
        Self(words.filter(|term| !term.text.is_empty()).collect())
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn may_resemble(&self) -> bool {
        self.0.iter().any(|term| !term.without && term.text.chars().count() > 1)
    }
    fn admits(&self, rows: &dyn Rows, row: usize, columns: &[usize], matcher: Option<&SkimMatcherV2>) -> bool {
        let kind = |column: usize| rows.table().columns.get(column).map_or(Kind::Text, |column| column.kind);
        self.0.iter().all(|term| {
            let found = columns.iter().any(|&column| {
                let cell = rows.cell(row, column);
                match (kind(column), matcher) {
                    (Kind::Text, Some(matcher)) if !term.without => resembles(matcher, &cell.to_string(), &term.text),
                    (kind, _) => contains(&cell, kind, &term.text),
                }
            });
            found != term.without
        })
    }
    /// Whether some texts together, such as those of a process, admit the words.
    pub fn admit_texts(&self, numbers: &[u32], texts: &[&str], matcher: Option<&SkimMatcherV2>) -> bool {
        self.0.iter().all(|term| {
            let in_texts = texts.iter().any(|text| match matcher {
                Some(matcher) if !term.without => resembles(matcher, text, &term.text),
                _ => text.to_lowercase().contains(&term.text),
            });
            let in_numbers = numbers.iter().any(|number| number.to_string().starts_with(&term.text));
            (in_texts || in_numbers) != term.without
        })
    }
}

/// A text anywhere in a text; a number by its beginning; an address only where the text looks like one, for else every port number
/// would be found in some address.
fn contains(cell: &Cell, kind: Kind, term: &str) -> bool {
    match cell {
        Cell::Absent | Cell::Unreadable(_) => false,
        Cell::Number(number) => number.to_string().starts_with(term),
        Cell::Hex(_) if kind == Kind::Address && !term.starts_with("0x") && term.len() < 5 => false,
        Cell::Text(text) => holds(text, term),
        Cell::List(items) => items.iter().any(|item| contains(item, Kind::Text, term)),
        Cell::Object(fields) => fields.iter().any(|(_, value)| contains(value, Kind::Text, term)),
        other => holds(&other.to_string(), term),
    }
}

fn holds(text: &str, term: &str) -> bool {
    if text.is_ascii() && term.is_ascii() {
        // Without a copy: this runs a million times.
        let (text, term) = (text.as_bytes(), term.as_bytes());
        return text.len() >= term.len() && text.windows(term.len()).any(|window| window.eq_ignore_ascii_case(term));
    }
    text.to_lowercase().contains(term)
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i128),
    Text(String),
    /// What is not known comes last, whatever the direction.
    Nothing,
}

fn sorted(order: Vec<u32>, rows: &dyn Rows, sort: Sort, watch: &Watch) -> Option<Vec<u32>> {
    let mut keyed = Vec::with_capacity(order.len());
    for (index, row) in order.into_iter().enumerate() {
        if index.is_multiple_of(STEP) {
            if watch.cancelled() {
                return None;
            }
            watch.progress(index as u64, rows.len() as u64);
        }
        let key = match rows.cell(row as usize, sort.column) {
            Cell::Absent | Cell::Unreadable(_) => Key::Nothing,
            Cell::Number(number) => Key::Number(number),
            Cell::Hex(number) => Key::Number(number.into()),
            Cell::Bool(value) => Key::Number(value.into()),
            Cell::Time(time) => Key::Number(time.nanoseconds()),
            other => Key::Text(other.to_string().to_lowercase()),
        };
        keyed.push((key, row));
    }
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Key::Nothing, _) | (_, Key::Nothing) => a.cmp(b),
        _ if sort.descending => b.cmp(a),
        _ => a.cmp(b),
    });
    let ordered = keyed.into_iter().map(|(_, row)| row).collect();
    (!watch.cancelled()).then_some(ordered)
}

/// The next or the previous of some ascending places, around the end if need be.
pub fn next_hit(hits: &[u32], from: usize, forward: bool) -> Option<usize> {
    let from = u32::try_from(from).unwrap_or(u32::MAX);
    let found = if forward {
        hits.iter().find(|hit| **hit > from).or(hits.first())
    } else {
        hits.iter().rev().find(|hit| hit.cmp(&&from) == Ordering::Less).or(hits.last())
    };
    found.map(|hit| *hit as usize)
}
