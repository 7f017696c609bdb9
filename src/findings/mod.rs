//! Judgements over facts, each with its evidence. Nothing here knows how a structure is laid out.

mod case;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod examples;
mod processes;
mod ranking;
pub mod rules;
mod suspicious;

pub use ranking::{of_linux as findings_of_linux, of_windows as findings_of_windows};
pub use suspicious::{of_linux, of_windows};
