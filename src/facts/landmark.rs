//! What stands at an address, and what a structure is made of: plain answers for whoever looks at bytes.

use crate::address::VirtAddr;
use std::fmt;

/// What lies at an address, as far as is known. Empty where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landmark {
    /// The kernel's symbol at or before it, with the distance.
    pub symbol: Option<String>,
    /// An object that begins there: `process explorer.exe 3588`.
    pub object: Option<String>,
    /// The driver or library around it, with the distance from its base.
    pub module: Option<String>,
    /// The region of the process around it: kind, rights, file.
    pub region: Option<String>,
    /// The text that begins there.
    pub text: Option<String>,
    /// Whether its byte can be read.
    pub readable: bool,
}

impl fmt::Display for Landmark {
    /// The nearest first; a region tells nothing more of what lies in a library.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region.as_ref().filter(|_| self.module.is_none());
        let text = self.text.as_ref().map(|text| format!("\"{text}\""));
        let parts: Vec<&str> =
            [self.symbol.as_ref(), self.object.as_ref(), self.module.as_ref().filter(|_| self.symbol.is_none()), region, text.as_ref()]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
        match (parts.is_empty(), self.readable) {
            (true, true) => f.write_str("memory without a name"),
            (true, false) => f.write_str("nothing"),
            (false, _) => f.write_str(&parts.join(", ")),
        }
    }
}

/// A place that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub address: VirtAddr,
    /// Whether it belongs to the kernel rather than to the process that was asked about.
    pub kernel: bool,
    pub name: String,
}

/// A structure, its nested ones opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    pub name: String,
    pub size: u32,
    /// In order of offset.
    pub fields: Vec<StructField>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructField {
    /// With the names of the structures that it is nested in: `Pcb.DirectoryTableBase`.
    pub name: String,
    /// The type as people write it.
    pub r#type: String,
    pub offset: u32,
    pub size: u32,
    /// Shift and width within the `size` bytes at `offset`.
    pub bits: Option<(u8, u8)>,
    pub holds: Holds,
}

/// How the bytes of a field are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    Number {
        signed: bool,
    },
    /// The structure that it leads to, where that has a name.
    Pointer(Option<String>),
    /// A structure whose fields follow, each with this one's name before its own.
    Fields,
    Bytes,
}
