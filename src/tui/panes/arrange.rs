//! Filtering, sorting and searching rows: pure work for the background, whose result is row numbers.

use super::filter::{Field, Filter};
use super::noise::{Hush, Hushed, Judge};
use super::times::Window;
use crate::facts::{Cell, Rows, Watch};
use std::cmp::Ordering;
use std::sync::Arc;

/// What is asked of the rows.
#[derive(Clone)]
pub struct Ask {
    pub rows: Arc<dyn Rows>,
    /// Columns that can be named, and those that a text is looked for in.
    pub fields: Arc<[Field]>,
    pub shown: Arc<[Field]>,
    pub filter: String,
    pub search: String,
    pub sort: Option<Sort>,
    /// The row under the cursor, to be found again.
    pub keep: Option<u32>,
    /// What noise to hide.
    pub hush: Option<Hush>,
    /// The stretch of time that is looked at.
    pub window: Option<Window>,
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
    /// Places in the order (not row numbers) where the search text stands.
    pub hits: Vec<u32>,
    /// Where the kept row is now.
    pub kept: Option<usize>,
    /// Rows that are hidden as noise.
    pub hushed: Hushed,
}

/// Rows between two looks at the watch.
const STEP: usize = 4096;

/// Does it; None when cancelled.
pub fn arrange(ask: &Ask, watch: &Watch) -> Option<Arranged> {
    let rows = ask.rows.as_ref();
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let mut done = Arranged::default();
    // What is wrong with a filter was said when it was typed.
    let filter = Filter::parse(&ask.filter, &ask.fields).unwrap_or_default();
    let admits = |filter: &Filter, row: u32| filter.admits(&ask.shown, &|column| rows.cell(row as usize, column));
    if !filter.is_empty() || ask.hush.is_some() || ask.window.is_some() {
        let mut judge = ask.hush.as_ref().map(|hush| Judge::new(hush, &ask.fields));
        let mut order = Vec::new();
        for row in 0..count {
            if (row as usize).is_multiple_of(STEP) {
                if watch.cancelled() {
                    return None;
                }
                watch.progress(row.into(), rows.len() as u64);
            }
            let cell = |column| rows.cell(row as usize, column);
            let inside = ask.window.is_none_or(|window| window.holds(&cell(window.column)));
            if inside && admits(&filter, row) && !judge.as_mut().is_some_and(|judge| judge.hides(&ask.shown, &cell)) {
                order.push(row);
            }
        }
        done.hushed = judge.map(Judge::counts).unwrap_or_default();
        done.order = Some(order);
    }
    if let Some(sort) = ask.sort {
        let order = done.order.take().unwrap_or_else(|| (0..count).collect());
        done.order = Some(sorted(order, rows, sort, watch)?);
    }
    let search = Filter::parse(&ask.search, &ask.fields).unwrap_or_default();
    if !search.is_empty() {
        let shown = done.order.as_ref().map_or(count as usize, Vec::len);
        let rows_of = |place: u32| done.order.as_ref().map_or(Some(place), |order| order.get(place as usize).copied());
        let mut hits = Vec::new();
        for place in 0..u32::try_from(shown).unwrap_or(u32::MAX) {
            if (place as usize).is_multiple_of(STEP) && watch.cancelled() {
                return None;
            }
            if rows_of(place).is_some_and(|row| admits(&search, row)) {
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
