//! Judgements over facts, each with its evidence. Nothing here knows how a structure is laid out.

mod suspicious;

pub use suspicious::{of_linux, of_windows};
