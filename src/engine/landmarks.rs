//! What lies at an address, where a name leads, and what the objects behind rows are made of.

use super::{Error, Session, Space, System};
use crate::address::VirtAddr;
use crate::facts::{
    Cell, Holds, Landmark, Library, Located, Module, Origin, Process, Record, Region, Rows, Scope, Structure, ToCell, Watch,
};
use crate::symbols::Profile;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows of an answer in which an object is looked for.
const MOST_ROWS: usize = 200_000;
/// Of a text that begins at an address.
const MOST_TEXT: usize = 48;
const LEAST_TEXT: usize = 5;

impl Session {
    fn profile(&self) -> &Profile {
        match self.system() {
            System::Linux(linux) => linux.profile(),
            System::Windows(windows) => windows.profile(),
        }
    }

    /// What lies at an address. Asks for tables that answer at once or are worth their time for this address.
    pub fn landmark(&self, space: Space, at: u64, watch: &Arc<Watch>) -> Landmark {
        let mut found = Landmark::default();
        if let Ok(bytes) = self.read(space, at, MOST_TEXT) {
            found.readable = bytes.get(0).is_some();
            let there: Vec<u8> = (0..MOST_TEXT).map_while(|index| bytes.get(index)).collect();
            found.text = text_at(&there);
        }
        let address = VirtAddr(at);
        match space {
            Space::Physical => return found,
            _ if address.is_kernel() => {
                found.symbol = self.profile().symbols().name_at(address);
                found.object = self.object_at(address);
                if found.symbol.is_none() && found.object.is_none() {
                    let modules = self.rows_watched::<Module>(Scope::Machine, watch);
                    found.module = modules
                        .iter()
                        .flat_map(|rows| rows.iter())
                        .find_map(|module| within(module.name.text(), module.base.value()?.0, *module.size.value()?, at));
                }
            }
            Space::Process(process) => {
                let libraries = self.rows_watched::<Library>(Scope::Process(process), watch);
                found.module = libraries
                    .iter()
                    .flat_map(|rows| rows.iter())
                    .find_map(|library| within(library.name.text(), library.base.0, library.size, at));
                let regions = self.rows_watched::<Region>(Scope::Process(process), watch);
                let region = regions.iter().flat_map(|rows| rows.iter()).find(|it| (it.start..=it.end).contains(&address));
                found.region = region.map(|region| {
                    let file = region.file.value().map(|file| format!(" {file}")).unwrap_or_default();
                    format!("{} {} region {}{file}", region.protection.cell(), region.kind, region.start)
                });
            }
            Space::Kernel => (),
        }
        found
    }

    fn rows_watched<T: Record + Clone>(&self, scope: Scope, watch: &Arc<Watch>) -> Option<crate::facts::Answer<T>> {
        self.typed(scope, watch).ok()
    }

    /// The object around an address, of those that the answers at hand tell of, and its field there.
    fn object_at(&self, at: VirtAddr) -> Option<String> {
        let answers = self.0.answers.all();
        let os = self.info().os;
        // The nearest: a structure may be declared larger than what is allocated for it, and reach into the next.
        let mut nearest: Option<(u64, &Arc<dyn Rows>, usize)> = None;
        for rows in &answers {
            let table = rows.table();
            let Some(column) = table.column("address") else { continue };
            let structure = Self::structure_of(os, table.name, "address").and_then(|name| self.profile().layout(name).ok());
            let size = structure.map_or(1, |layout| u64::from(layout.size.max(1)));
            for row in 0..rows.len().min(MOST_ROWS) {
                if let Cell::Hex(start) = rows.cell(row, column)
                    && let Some(distance) = at.0.checked_sub(start).filter(|distance| *distance < size)
                    && nearest.is_none_or(|(least, ..)| distance < least)
                {
                    nearest = Some((distance, rows, row));
                }
            }
        }
        let (distance, rows, row) = nearest?;
        let table = rows.table();
        let what = table.singular();
        let said = ["name", "path", "tid", "process", "pid"].iter().filter_map(|name| {
            let cell = rows.cell(row, table.column(name)?);
            (!cell.is_null()).then(|| cell.to_string()).filter(|text| !text.is_empty())
        });
        let object = std::iter::once(what).chain(said.take(2)).collect::<Vec<_>>().join(" ");
        let structure = Self::structure_of(os, table.name, "address").filter(|_| distance > 0);
        let field = structure.and_then(|name| self.profile().structure(name)).and_then(|structure| {
            let mut around = structure.fields.into_iter().filter(|it| it.holds != Holds::Fields);
            around.find(|it| (it.offset.into()..u64::from(it.offset) + u64::from(it.size)).contains(&distance)).map(|it| it.name)
        });
        Some(match (distance, field) {
            (0, _) => object,
            (_, Some(field)) => format!("{object} .{field}"),
            (distance, None) => format!("{object} +{distance:#x}"),
        })
    }

    /// Names of addresses in the kernel, as far as its symbols reach.
    pub fn symbols_at(&self, addresses: &[u64]) -> Vec<Option<String>> {
        addresses.iter().map(|at| self.profile().symbols().name_at(VirtAddr(*at))).collect()
    }

    /// Where a name leads: a symbol of the kernel (`init_task`, `nt!PsActiveProcessHead`), a driver, a library of the process.
    pub fn locate(&self, name: &str, process: Option<VirtAddr>, watch: &Arc<Watch>) -> Option<Located> {
        let (module, symbol) = name.split_once('!').map_or((None, name), |(module, symbol)| (Some(module), symbol));
        let of_kernel =
            module.is_none_or(|module| ["nt", "ntoskrnl", "ntkrnlmp", "kernel", "vmlinux"].contains(&module.to_lowercase().as_str()));
        if of_kernel && let Some(address) = self.profile().symbols().get(symbol) {
            return Some(Located { address, kernel: true, name: symbol.to_owned() });
        }
        let wanted = module.filter(|_| symbol.is_empty()).unwrap_or(name);
        let is = |name: &str| {
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            name.eq_ignore_ascii_case(wanted) || stem.eq_ignore_ascii_case(wanted)
        };
        let libraries = process.and_then(|process| self.rows_watched::<Library>(Scope::Process(process), watch));
        if let Some(library) = libraries.iter().flat_map(|rows| rows.iter()).find(|library| is(library.name.text())) {
            return Some(Located { address: library.base, kernel: false, name: library.name.text().to_owned() });
        }
        let modules = self.rows_watched::<Module>(Scope::Machine, watch)?;
        modules
            .iter()
            .filter(|module| is(module.name.text()))
            .find_map(|module| Some(Located { address: *module.base.value()?, kernel: true, name: module.name.text().to_owned() }))
    }

    /// Names that `locate` knows and that begin so, in whatever case: libraries of a process, drivers, and the kernel's symbols.
    pub fn names(&self, begun: &str, process: Option<VirtAddr>, most: usize, watch: &Arc<Watch>) -> Vec<String> {
        let begins = |name: &str| name.get(..begun.len()).is_some_and(|start| start.eq_ignore_ascii_case(begun));
        let fits = |name: &str| begins(name) && !name.contains(char::is_control);
        let mut names = BTreeSet::new();
        let libraries = process.and_then(|process| self.rows_watched::<Library>(Scope::Process(process), watch));
        names.extend(
            libraries.iter().flat_map(|rows| rows.iter()).map(|library| library.name.text()).filter(|name| fits(name)).map(str::to_owned),
        );
        let modules = self.rows_watched::<Module>(Scope::Machine, watch);
        names.extend(
            modules.iter().flat_map(|rows| rows.iter()).map(|module| module.name.text()).filter(|name| fits(name)).map(str::to_owned),
        );
        // Every symbol begins with nothing.
        let symbols = self.profile().symbols().iter().map(|symbol| symbol.name).filter(|name| !begun.is_empty() && fits(name));
        names.extend(symbols.take(most).map(str::to_owned));
        names.into_iter().take(most).collect()
    }

    /// A structure of the kernel by its name.
    pub fn structure(&self, name: &str) -> Result<Structure, Error> {
        self.profile().structure(name).ok_or_else(|| Error(format!("the profile of this kernel has no structure {name}")))
    }

    /// The structure at the addresses in a column of a table.
    pub fn structure_of(os: Origin, table: &str, column: &str) -> Option<&'static str> {
        let (linux, windows) = match (table, column) {
            ("processes" | "pstree", "address" | "parent") | (_, "process_address") => ("task_struct", "_EPROCESS"),
            ("threads", "address") => ("task_struct", "_ETHREAD"),
            ("modules", "address") => ("module", "_KLDR_DATA_TABLE_ENTRY"),
            ("regions", "address") => ("vm_area_struct", "_MMVAD_SHORT"),
            ("open_files", "address") => ("file", ""),
            ("mounts", "address") => ("mount", ""),
            ("network_interfaces", "address") => ("net_device", ""),
            ("page_cache", "address") => ("inode", ""),
            ("page_cache", "super_block") => ("super_block", ""),
            ("file_objects", "address") => ("", "_FILE_OBJECT"),
            ("mutants", "address") => ("", "_KMUTANT"),
            ("symlinks", "address") => ("", "_OBJECT_SYMBOLIC_LINK"),
            _ => return None,
        };
        Some(if os == Origin::Linux { linux } else { windows }).filter(|name| !name.is_empty())
    }

    /// The structure behind a handle to an object of this type; Windows names both.
    pub fn structure_of_object(kind: &str) -> Option<&'static str> {
        Some(match kind {
            "Process" => "_EPROCESS",
            "Thread" => "_ETHREAD",
            "File" => "_FILE_OBJECT",
            "Key" => "_CM_KEY_BODY",
            "Token" => "_TOKEN",
            "Mutant" => "_KMUTANT",
            "Event" => "_KEVENT",
            "Semaphore" => "_KSEMAPHORE",
            "Timer" => "_ETIMER",
            "Section" => "_SECTION",
            "Directory" => "_OBJECT_DIRECTORY",
            "SymbolicLink" => "_OBJECT_SYMBOLIC_LINK",
            "Job" => "_EJOB",
            "Driver" => "_DRIVER_OBJECT",
            "Device" => "_DEVICE_OBJECT",
            "ALPC Port" => "_ALPC_PORT",
            _ => return None,
        })
    }

    /// Whether the processor runs the code at an address with 32 or with 64 bits.
    pub fn code_bits(&self, space: Space, at: u64, watch: &Arc<Watch>) -> u32 {
        let Space::Process(process) = space else { return 64 };
        if let System::Linux(linux) = self.system() {
            return if at >> 32 == 0 && linux.is_compat(process).unwrap_or(false) { 32 } else { 64 };
        }
        let processes = self.rows_watched::<Process>(Scope::Process(process), watch);
        let wow64 = processes.iter().flat_map(|rows| rows.iter()).any(|process| process.wow64.value() == Some(&true));
        if wow64 && at >> 32 == 0 { 32 } else { 64 }
    }
}

/// `ntdll.dll+0x1234`, if the address is within.
fn within(name: &str, base: u64, size: u64, at: u64) -> Option<String> {
    let distance = at.checked_sub(base).filter(|distance| *distance < size)?;
    Some(if distance == 0 { name.to_owned() } else { format!("{name}+{distance:#x}") })
}

/// A text in ASCII or UTF-16 that some bytes begin with, if it is long enough to be one.
fn text_at(bytes: &[u8]) -> Option<String> {
    let printable = |byte: u8| matches!(byte, b' '..=b'~');
    let narrow = bytes.iter().take_while(|byte| printable(**byte)).count();
    let pairs = bytes.as_chunks::<2>().0;
    let wide = pairs.iter().take_while(|[low, high]| *high == 0 && printable(*low)).count();
    let text: String = match (narrow, wide) {
        (LEAST_TEXT.., _) => bytes.iter().take(narrow).map(|byte| char::from(*byte)).collect(),
        (_, LEAST_TEXT..) => pairs.iter().take(wide).map(|[low, _]| char::from(*low)).collect(),
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_known_by_their_beginning() {
        assert_eq!(text_at(b"notepad.exe\0"), Some("notepad.exe".into()));
        assert_eq!(text_at(b"n\0o\0t\0e\0p\0a\0d\0\0\0"), Some("notepad".into()));
        assert_eq!(text_at(b"abc\0"), None);
        assert_eq!(text_at(b""), None);
    }

    #[test]
    fn a_place_is_named_by_what_is_around_it() {
        assert_eq!(within("a.dll", 0x1000, 0x1000, 0x1000), Some("a.dll".into()));
        assert_eq!(within("a.dll", 0x1000, 0x1000, 0x1fff), Some("a.dll+0xfff".into()));
        assert_eq!(within("a.dll", 0x1000, 0x1000, 0x2000), None);
        assert_eq!(within("a.dll", 0x1000, u64::MAX, 0xfff), None);
    }
}
