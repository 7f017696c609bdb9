//! What an analyst makes of an image: notes on its objects, and the trail of what was looked at; and the file that keeps both.
//!
//! ```text
//! explorer ─ Order ─→ keeper (a thread) ─→ store (SQLite) ─→ one file in the user's folder of data, or where --case says
//!          ←─ News ──
//! ```
//!
//! Nothing here reads an image; nothing is written before there is something to keep.

mod keeper;
mod object;
mod place;
mod store;

pub use keeper::{Keeper, News, Order};
pub use object::{BYTES, Object, PROCESSES};
pub use place::Plan;
pub use store::{Casebook, Store};

use crate::facts::record::{record, words};
use crate::facts::{Known, Time};
use std::collections::BTreeMap;

words! {
    /// What the analyst holds of a finding.
    Judgement {
        #[default]
        Open = "open",
        Confirmed = "confirmed",
        Benign = "benign",
    }
}

record! {
    /// Notes of the analyst, each on one object of the image.
    Note = "notes" {
        /// Table of the object; bytes for a place in memory.
        table: String,
        /// What the object was called on the screen.
        object: String,
        /// confirmed or benign; open where that was not decided.
        judgement: Judgement,
        /// Whether it is bookmarked.
        marked: bool,
        /// Words by which notes belong together.
        tags: Vec<String>,
        /// What the analyst wrote.
        comment: String,
        /// When it was noted first.
        created: Known<Time>,
        /// When it was changed last.
        changed: Known<Time>,
        /// What tells the object from all others of its table.
        key: String,
    }
}

impl Note {
    pub fn of(object: &Object, label: &str, now: Time) -> Self {
        let (table, key) = (object.table.clone(), object.key.clone());
        Self { table, key, object: label.to_owned(), created: Known::Value(now), changed: Known::Value(now), ..Self::default() }
    }
    pub fn about(&self) -> Object {
        Object { table: self.table.clone(), key: self.key.clone() }
    }
    /// A note that says nothing is none.
    pub fn is_empty(&self) -> bool {
        !self.marked && self.judgement == Judgement::Open && self.tags.is_empty() && self.comment.is_empty()
    }
    /// The sign before what it is about: the same with colours and without.
    pub fn sign(&self) -> char {
        match self.judgement {
            Judgement::Open => '*',
            Judgement::Confirmed => '+',
            Judgement::Benign => '-',
        }
    }
    /// All that it says, in a line.
    pub fn says(&self) -> String {
        let mut parts = Vec::new();
        parts.extend((self.judgement != Judgement::Open).then(|| self.judgement.word().to_owned()));
        parts.extend((!self.tags.is_empty()).then(|| self.tags.iter().map(|tag| format!("#{tag}")).collect::<Vec<_>>().join(" ")));
        parts.extend((!self.comment.is_empty()).then(|| self.comment.clone()));
        if parts.is_empty() { "marked".to_owned() } else { parts.join(": ") }
    }
}

pub type Notes = BTreeMap<Object, Note>;

words! {
    /// What was done.
    Action {
        #[default]
        Opened = "opened",
        Looked = "looked at",
        Noted = "noted",
        Searched = "searched",
        Dumped = "dumped",
        Exported = "exported",
        Reported = "reported",
        Closed = "closed",
    }
}

record! {
    /// What was done with the image, in order.
    Step = "audit" {
        /// When, by the clock of the analyst's machine.
        time: Known<Time>,
        /// opened, looked at, noted, searched, dumped, exported, reported or closed.
        action: Action,
        /// What, and where it was left.
        what: String,
    }
}

impl Step {
    pub fn now(action: Action, what: impl Into<String>) -> Self {
        Self { time: Known::Value(Time::now()), action, what: what.into(), ..Self::default() }
    }
}

/// What a report is to hold beside what the image is.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub findings: bool,
    pub notes: Option<Vec<Note>>,
    pub trail: Option<Vec<Step>>,
    /// Whether the image is read from end to end for its SHA-256.
    pub digest: bool,
    pub tables: Vec<&'static str>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
