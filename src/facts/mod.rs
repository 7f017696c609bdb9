//! Plain records that cross the boundary between the analysis and its readers. Nothing here reads memory.

mod answer;
mod cell;
mod content;
pub mod drivers;
pub mod event;
mod exhibit;
mod finding;
mod info;
mod known;
mod landmark;
pub mod linux;
pub(crate) mod record;
pub mod text;
pub mod time;
pub mod windows;

mod library;
mod memory;
mod module;
mod page_origin;
mod process;
mod region;
mod sighting;
mod socket;
mod symbols;

pub use answer::{Answer, Feed, Kept, Rows, Scope, Sink, State, Watch};
pub use cell::{Cell, Hex, ToCell};
pub use content::{Content, Part, Place};
pub use event::{Connection, Event, Retention};
pub use exhibit::{Behind, Change, Detour, Entrance, Exhibit, Way};
pub use finding::{Finding, Indicator, Reference, Rule, Subject, Verdict};
pub use info::{Check, Info, Origin};
pub use known::{Known, ReadError};
pub use landmark::{Holds, Landmark, Located, StructField, Structure};
pub use library::{Library, Variable};
pub use memory::{Dumped, Hole, Memory};
pub use module::Module;
pub use page_origin::PageOrigin;
pub use process::{Process, ProcessState, Thread, TreeProcess, tree};
pub use record::{Column, Kind, Record, Serves, Table};
pub use region::{Protection, Region, Suspicious};
pub use sighting::{Owner, Owners, Sighting};
pub use socket::Socket;
pub use symbols::{SymbolFile, SymbolNeed};
pub use time::Time;
