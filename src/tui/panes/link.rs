//! Where a row leads: every address in it, every process, and first of all what the row is about.

use super::table::Seek;
use crate::address::VirtAddr;
use crate::engine::{Session, Space, find_table};
use crate::facts::{Cell, Kind, Origin, Rows, Scope, TreeProcess};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    Bytes(Place),
    Process {
        address: Option<VirtAddr>,
        pid: Option<u32>,
    },
    /// The table of this name, of the selected process.
    Table(&'static str),
    /// What memory holds of the file that this object leads to, to be written out.
    File(VirtAddr),
    /// A row of a table; the process is given by its object and its ID.
    Row {
        table: &'static str,
        seek: Seek,
        process: Option<(Option<VirtAddr>, Option<u32>)>,
    },
}

/// A piece of memory, and what it is read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub space: Where,
    pub first: u64,
    pub last: u64,
    pub at: u64,
    pub what: String,
    pub reads: Reads,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    Bytes,
    Code,
    Structure(String),
    /// Bytes, so many of which were found by a search.
    Found(usize),
}

/// The memory that an address belongs to, where the row may not name the process object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Space(Space),
    OfPid(u32),
}

/// A link under the name that a menu shows for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub says: String,
    pub link: Link,
    /// Whether it is the kernel's object behind the row.
    pub object: bool,
}

struct Row<'a> {
    rows: &'a dyn Rows,
    row: usize,
    scope: Option<Scope>,
    os: Origin,
}

/// What one asks of a process first: whom it talks to, and what it did.
pub const FOREMOST: [&str; 3] = ["connections", "sockets", "timeline"];

/// Who started a process, if that one is known, and whom it started.
#[derive(Default)]
pub struct Kin<'a> {
    pub parent: Option<&'a TreeProcess>,
    pub children: Vec<&'a TreeProcess>,
}

/// The links of a row, the one that `Enter` follows first.
pub fn of_row(rows: &dyn Rows, row: usize, scope: Option<Scope>, os: Origin) -> Vec<Named> {
    let row = Row { rows, row, scope, os };
    let mut links: Vec<Named> = row.subject().into_iter().collect();
    let process = row.process().map(|link| Named { name: "process".into(), says: row.owner(), link, object: false });
    let others = process
        .into_iter()
        .chain(row.related())
        .chain(row.file())
        .chain((0..rows.table().columns.len()).filter_map(|column| row.column(column)));
    for other in others {
        let known = links.iter().any(|known| known.link == other.link && known.object == other.object);
        if !known {
            links.push(other);
        }
    }
    links
}

/// The links of a process in the tree: to its parent first, to its children behind the tables that one asks for first.
pub fn of_process(process: &TreeProcess, kin: &Kin, tables: &[&'static str], os: Origin) -> Vec<Named> {
    let to = |name: &str, other: &TreeProcess| {
        let link = Link::Process { address: other.address.value().copied(), pid: Some(other.pid) };
        Named { name: name.into(), says: format!("{} {}", other.name, other.pid), link, object: false }
    };
    let mut links: Vec<Named> = kin.parent.iter().map(|parent| to("parent", parent)).collect();
    let (first, rest) = tables.split_at(tables.iter().take_while(|table| FOREMOST.contains(table)).count());
    let of = |tables: &[&'static str]| -> Vec<Named> {
        let named = |table: &&'static str| Named {
            name: table.replace('_', " "),
            says: "of this process".into(),
            link: Link::Table(table),
            object: false,
        };
        tables.iter().map(named).collect()
    };
    links.extend(of(first));
    links.extend(kin.children.iter().map(|child| to("child", child)));
    links.extend(of(rest));
    links.extend(process.address.value().map(|address| {
        let what = format!("process object of {} {}", process.name, process.pid);
        let reads = reads(Session::structure_of(os, "pstree", "address"));
        let place = Place { space: Where::Space(Space::Kernel), first: 0, last: u64::MAX, at: address.0, what, reads };
        Named { name: "object".into(), says: address.to_string(), link: Link::Bytes(place), object: true }
    }));
    links
}

fn reads(structure: Option<&str>) -> Reads {
    structure.map_or(Reads::Bytes, |name| Reads::Structure(name.to_owned()))
}

impl Row<'_> {
    fn table(&self) -> &'static str {
        self.rows.table().name
    }
    fn cell(&self, name: &str) -> Option<Cell<'_>> {
        Some(self.rows.cell(self.row, self.rows.table().column(name)?))
    }
    fn number(&self, name: &str) -> Option<u64> {
        self.cell(name)?.number().and_then(|number| u64::try_from(number).ok())
    }
    fn text(&self, name: &str) -> Option<String> {
        self.cell(name).filter(|cell| !cell.is_null()).map(|cell| cell.to_string())
    }
    fn pid(&self) -> Option<u32> {
        self.number("pid").and_then(|pid| u32::try_from(pid).ok())
    }
    fn owner(&self) -> String {
        let name = if self.table() == "processes" { "name" } else { "process" };
        [self.text(name), self.text("pid")].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// The process that the row belongs to.
    fn process(&self) -> Option<Link> {
        let address = self.number(if self.table() == "processes" { "address" } else { "process_address" });
        let address = address.map(VirtAddr).or(match (self.scope, self.table()) {
            (_, "processes") => None,
            (Some(Scope::Process(address)), _) => Some(address),
            _ => None,
        });
        let pid = self.pid();
        let owned = self.rows.table().column("pid").is_some();
        (owned && (pid.is_some() || address.is_some())).then_some(Link::Process { address, pid })
    }

    /// The space that an address of the row means.
    fn space(&self, at: u64) -> Option<Where> {
        if VirtAddr(at).is_kernel() {
            return Some(Where::Space(Space::Kernel));
        }
        match self.process()? {
            Link::Process { address: Some(address), .. } => Some(Where::Space(Space::Process(address))),
            Link::Process { pid: Some(pid), .. } => Some(Where::OfPid(pid)),
            _ => None,
        }
    }
    fn place(&self, (first, last, at): (u64, u64, u64), what: String, reads: Reads) -> Option<Link> {
        Some(Link::Bytes(Place { space: self.space(at)?, first, last: last.max(first), at, what, reads }))
    }

    /// What the row is about.
    fn subject(&self) -> Option<Named> {
        let range = |first: u64, size: u64| (first, first.saturating_add(size.max(1) - 1), first);
        let named = |name: &str, says: String, link: Link| Some(Named { name: name.to_owned(), says, link, object: false });
        match self.table() {
            "regions" | "suspicious" => {
                let (first, last) = (self.number("start")?, self.number("end")?);
                let what = format!("region {first:#x}");
                named("bytes", what.clone(), self.place((first, last, first), what, Reads::Bytes)?)
            }
            "libraries" | "modules" => {
                let (first, size) = (self.number("base")?, self.number("size").unwrap_or(1));
                let kind = if self.table() == "modules" { "module " } else { "" };
                let what = format!("{kind}{}", self.text("name")?);
                named("bytes", what.clone(), self.place(range(first, size), what, Reads::Bytes)?)
            }
            "findings" => self.reference(),
            "timeline" => self.moment(),
            "search" => {
                let length = self.number("length").and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
                let what = format!("hit of {}", self.text("pattern")?);
                let virtual_at = self.number("address").and_then(|at| Some((self.space(at)?, at)));
                let physical = || Some((Where::Space(Space::Physical), self.number("physical_address")?));
                let (space, at) = virtual_at.or_else(physical)?;
                let place = Place { space, first: 0, last: u64::MAX, at, what: what.clone(), reads: Reads::Found(length) };
                named("bytes", what, Link::Bytes(place))
            }
            "threads" => {
                // What the program asked to run says more than where every thread of Windows starts.
                let at = ["win32_start_address", "start_address"].into_iter().find_map(|name| self.number(name).filter(|at| *at != 0))?;
                let what = format!("start of thread {}", self.text("tid")?);
                named("code", what.clone(), self.place((0, u64::MAX, at), what, Reads::Code)?)
            }
            "handles" if self.text("type").as_deref() == Some("Process") => {
                let link = Link::Process { address: self.number("object").map(VirtAddr), pid: None };
                named("target", self.text("name").unwrap_or_default(), link)
            }
            "handles" => self.rows.table().column("object").and_then(|column| self.column(column)),
            _ => named("process", self.owner(), self.process()?),
        }
    }

    /// Where a moment is told in full.
    fn moment(&self) -> Option<Named> {
        let table = find_table(&self.text("source")?)?.table.name;
        let says = |what: String| format!("{} {what}", table.replace('_', " "));
        let row = |seek: Seek, says: String| {
            Some(Named { name: "row".into(), says, link: Link::Row { table, seek, process: None }, object: false })
        };
        match (table, self.number("record_id"), self.number("reference")) {
            ("processes", ..) => Some(Named { name: "process".into(), says: self.owner(), link: self.process()?, object: false }),
            ("libraries", _, Some(at)) => {
                let link = self.place((0, u64::MAX, at), format!("library {at:#x}"), Reads::Bytes)?;
                Some(Named { name: "bytes".into(), says: says(format!("{at:#x}")), link, object: false })
            }
            // A table of the registry shows only the top of it: the cell itself is there in any case.
            ("registry", _, Some(at)) => {
                let link = self.place((0, u64::MAX, at), format!("registry key {at:#x}"), Reads::Bytes)?;
                Some(Named { name: "bytes".into(), says: says(format!("{at:#x}")), link, object: false })
            }
            ("events" | "kernel_log", number, _) => {
                let what = number.map_or_else(|| "record".to_owned(), |number| format!("record {number}"));
                row(Seek::Record(number, self.text("summary").unwrap_or_default()), says(what))
            }
            (_, _, Some(at)) => row(Seek::Address(at), says(format!("{at:#x}"))),
            _ => None,
        }
    }

    /// The rows of other tables that tell of the same connection.
    fn related(&self) -> Vec<Named> {
        let to = |name: &str, table: &'static str, seek: Seek| {
            let says = match &seek {
                Seek::Address(at) | Seek::Function(at, _) => format!("at {at:#x}"),
                Seek::Record(number, _) => number.map_or_else(String::new, |number| format!("record {number}")),
                Seek::Object(_) | Seek::Again(_) => "noted row".to_owned(),
            };
            Named { name: name.into(), says, link: Link::Row { table, seek, process: None }, object: false }
        };
        let address = self.number("address").filter(|at| *at != 0).map(Seek::Address);
        match self.table() {
            "connections" => {
                let first = match self.cell("record_ids") {
                    Some(Cell::List(items)) => items.first().and_then(|first| first.to_string().parse().ok()),
                    _ => None,
                };
                let logged = first.map(|number| to("event", "events", Seek::Record(Some(number), String::new())));
                logged.into_iter().chain(address.map(|seek| to("socket", "sockets", seek))).collect()
            }
            "sockets" if self.os == Origin::Windows => address.map(|seek| to("connection", "connections", seek)).into_iter().collect(),
            "events" if matches!(self.number("event_id"), Some(3 | 5156)) => {
                let number = self.number("record_id").map(|number| Seek::Record(Some(number), String::new()));
                number.map(|seek| to("connection", "connections", seek)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The file that the row is one of, to be written out.
    fn file(&self) -> Option<Named> {
        let object = match self.table() {
            "file_objects" | "page_cache" | "open_files" => self.number("address"),
            "handles" if self.text("type").as_deref() == Some("File") => self.number("object"),
            _ => None,
        };
        let link = Link::File(VirtAddr(object.filter(|object| *object != 0)?));
        Some(Named { name: "write file".into(), says: "what memory holds of it, into a new folder".into(), link, object: false })
    }

    /// Where the subject of a finding is told in full.
    fn reference(&self) -> Option<Named> {
        let Some(Cell::Object(fields)) = self.cell("reference") else { return None };
        let [(_, table), (_, address)] = fields.as_slice() else { return None };
        let table = find_table(&table.to_string())?.table.name;
        let address = u64::try_from(address.number()?).ok()?;
        let process = self.process().and_then(|link| match link {
            Link::Process { address, pid } => Some((address, pid)),
            _ => None,
        });
        let (name, link) = match table {
            "processes" => ("process", self.process()?),
            "regions" | "suspicious" => {
                let what = format!("region {address:#x}");
                ("bytes", self.place((0, u64::MAX, address), what, Reads::Bytes)?)
            }
            "driver_functions" => {
                let seek = Seek::Function(address, self.text("subject").unwrap_or_default());
                ("row", Link::Row { table, seek, process })
            }
            _ => ("row", Link::Row { table, seek: Seek::Address(address), process }),
        };
        let says = if name == "process" { self.owner() } else { format!("{} {address:#x}", table.replace('_', " ")) };
        Some(Named { name: name.into(), says, link, object: false })
    }

    /// Where the value of a column leads.
    fn column(&self, index: usize) -> Option<Named> {
        let column = self.rows.table().columns.get(index)?;
        let value = u64::try_from(self.rows.cell(self.row, index).number()?).ok().filter(|value| *value != 0)?;
        let name = column.name.replace('_', " ");
        match (column.name, column.kind) {
            ("ppid", _) => {
                let link = Link::Process { address: None, pid: u32::try_from(value).ok() };
                Some(Named { name: "parent".into(), says: value.to_string(), link, object: false })
            }
            ("physical_address", _) => {
                let what = format!("{name} of {}", self.owner());
                let space = Where::Space(Space::Physical);
                let place = Place { space, first: 0, last: u64::MAX, at: value, what, reads: Reads::Bytes };
                Some(Named { name, says: format!("{value:#x}"), link: Link::Bytes(place), object: false })
            }
            (_, Kind::Address) => {
                let table = self.table();
                let code = matches!((table, column.name), ("driver_functions", "address") | (_, "function"));
                let object = !code && matches!(column.name, "address" | "object");
                let structure = match (table, column.name) {
                    ("handles", "object") => self.text("type").and_then(|kind| Session::structure_of_object(&kind)),
                    (table, column) => Session::structure_of(self.os, table, column),
                };
                let about = if object { self.rows.table().singular() } else { name.clone() };
                let link =
                    self.place((0, u64::MAX, value), format!("{about} {value:#x}"), if code { Reads::Code } else { reads(structure) })?;
                let name = if object { "object".to_owned() } else { name };
                Some(Named { name, says: format!("{value:#x}"), link, object })
            }
            _ => None,
        }
    }
}
