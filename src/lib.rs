//! # kioku
//!
//! An explorer for memory images. The library is the product: the terminal UI, the commands and the tests are three readers of
//! one analysis engine.
//!
//! ```text
//! bytes on disk → image → paging → symbols → windows | linux → findings → engine → tui | report
//!    (formats)   (physical)  (virtual)  (types, names)   (objects)   (judgement)  (sessions, jobs)  (people, programs)
//! ```
//!
//! A module imports only what lies further left, plus [`facts`] and [`address`]; `tests/layers.rs` holds this rule. Beside that way
//! stands `case`, the analyst's notes and the file that keeps them: it knows facts alone, and `tui`, `report` and the commands use it.
//!
//! Invariants:
//!
//! 1. Evidence is never written.
//! 2. Nothing from the image is trusted: every length, count, pointer and index is bounded, every walk has a visited set and a limit.
//! 3. Absent, unreadable and zero are three things ([`facts::Known`]).
//! 4. A view that is empty or short says why.
//! 5. Every answer can be traced to the bytes it came from.
//! 6. Text from the image never reaches the terminal raw.
//! 7. The UI thread never touches the image; it draws immutable snapshots that jobs fill.
//! 8. One pass over physical memory serves all scanners.
//! 9. Layouts come from symbols, not from constants.
//! 10. A profile is verified on the image before it is believed.

pub mod address;
mod case;
pub mod cli;
pub mod engine;
mod events;
pub mod facts;
mod findings;
mod image;
mod linux;
mod paging;
mod report;
mod symbols;
mod tui;
mod windows;
