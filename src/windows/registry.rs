//! The registry as the configuration manager keeps it in memory: keys by their paths, values, and the paths of open keys.

use super::cells::{Key, MOST_DATA, Value};
use super::hives::{Hive, Hives};
use super::{Windows, text};
use crate::address::VirtAddr;
use crate::facts::windows::RegistryEntry;
use crate::facts::{Known, ReadError, Scope, Sink, Time, Watch};
use crate::symbols::Object;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

/// Keys nest no deeper (winreg: registry element size limits).
const MOST_DEPTH: usize = 512;
/// Links that lead to links.
const MOST_LINKS: usize = 8;
/// Of a value's data: bytes that are read for a row, and bytes that are shown where they are no text.
const ROW_DATA: u32 = 1 << 16;
const SHOWN_BYTES: usize = 64;
/// Text of rows, with their fixed part, after which a walk ends.
const MOST_TEXT: usize = 1 << 30;
const ROW: usize = 256;

const MACHINE: &str = "\\REGISTRY\\MACHINE";
/// Short names of roots, and where they lie.
const ROOTS: [(&str, &str); 6] = [
    ("HKLM", MACHINE),
    ("HKEY_LOCAL_MACHINE", MACHINE),
    ("HKU", "\\REGISTRY\\USER"),
    ("HKEY_USERS", "\\REGISTRY\\USER"),
    ("HKCR", "\\REGISTRY\\MACHINE\\SOFTWARE\\Classes"),
    ("HKEY_CLASSES_ROOT", "\\REGISTRY\\MACHINE\\SOFTWARE\\Classes"),
];

/// Types of values by number (winnt.h).
const TYPES: [&str; 12] = [
    "REG_NONE",
    "REG_SZ",
    "REG_EXPAND_SZ",
    "REG_BINARY",
    "REG_DWORD",
    "REG_DWORD_BIG_ENDIAN",
    "REG_LINK",
    "REG_MULTI_SZ",
    "REG_RESOURCE_LIST",
    "REG_FULL_RESOURCE_DESCRIPTOR",
    "REG_RESOURCE_REQUIREMENTS_LIST",
    "REG_QWORD",
];

impl<'a> Hives<'a> {
    /// The hive that holds a path, and the rest of the path below its root.
    fn of_path<'p>(&self, path: &'p str) -> Option<(&Hive<'a>, &'p str)> {
        let below = |hive: &Hive<'a>| {
            let root = hive.path.as_deref()?;
            let (start, rest) = path.split_at_checked(root.len())?;
            (start.eq_ignore_ascii_case(root) && (rest.is_empty() || rest.starts_with('\\'))).then_some(rest)
        };
        let holds = self.found.iter().filter_map(|hive| Some((hive, below(hive)?)));
        holds.min_by_key(|(_, rest)| rest.len())
    }

    /// The key at a path, links followed. None where there is none; an error where that cannot be told.
    pub fn open(&self, path: &str) -> Result<Option<(&Hive<'a>, Key)>, ReadError> {
        let mut path = full(path);
        for _ in 0..MOST_LINKS {
            let Some((hive, rest)) = self.of_path(&path) else { return Ok(None) };
            let mut key = hive.root()?;
            let mut parts = rest.split('\\').filter(|part| !part.is_empty());
            let target = loop {
                let Some(part) = parts.next() else { return Ok(Some((hive, key))) };
                match hive.subkey(&key, part) {
                    Ok(Some(child)) if child.link => break hive.link_target(&child)?,
                    Ok(Some(child)) => key = child,
                    // A volatile link, which may be missing; what it leads to is kept elsewhere too.
                    missing if part.eq_ignore_ascii_case("CurrentControlSet") => match hive.current_control_set()? {
                        Some(target) => break target,
                        None => return missing.map(|_| None),
                    },
                    missing => return missing.map(|_| None),
                }
            };
            path = parts.fold(target, |path, part| path + "\\" + part);
        }
        Err(ReadError::Implausible("link between registry keys"))
    }

    /// The Parameters keys of services that have a value of a name.
    fn service_parameters(&self, value: &str) -> Result<Vec<String>, ReadError> {
        const SERVICES: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Services";
        let Some((hive, services)) = self.open(SERVICES)? else { return Ok(Vec::new()) };
        let (services, _) = hive.subkeys(&services);
        let has = |service: &Key| {
            let parameters = hive.subkey(service, "Parameters").ok().flatten()?;
            hive.value(&parameters, value).ok().flatten().map(|_| format!("{SERVICES}\\{}\\Parameters", service.name))
        };
        Ok(services.iter().filter_map(has).collect())
    }

    /// A value by the path of its key and its name.
    pub fn value(&self, path: &str, name: &str) -> Result<Option<Value>, ReadError> {
        match self.open(path)? {
            Some((hive, key)) => hive.value(&key, name),
            None => Ok(None),
        }
    }
}

impl Hive<'_> {
    pub fn subkey(&self, key: &Key, name: &str) -> Result<Option<Key>, ReadError> {
        let (children, trouble) = self.subkeys(key);
        let name = name.to_lowercase();
        let found = children.into_iter().find(|child| child.name.to_lowercase() == name);
        match (found, trouble.first()) {
            (None, Some(why)) => Err(*why),
            (found, _) => Ok(found),
        }
    }

    /// The subkeys that name the key as their parent, and what is wrong with the others.
    pub fn subkeys(&self, key: &Key) -> (Vec<Key>, Vec<ReadError>) {
        let (cells, mut trouble) = self.cells.subkeys(key);
        let mut children = Vec::new();
        for cell in cells {
            match self.cells.key(cell) {
                Ok(child) if child.parent == key.cell => children.push(child),
                Ok(_) => trouble.push(ReadError::Implausible("parent of a key")),
                Err(why) => trouble.push(why),
            }
        }
        (children, trouble)
    }

    /// Shows each key with its path, as long as `show` says to go on; answers how many could not be read.
    fn key_times(&self, show: &mut dyn FnMut(&Key, &str) -> bool) -> Result<usize, ReadError> {
        let mut waiting: Vec<(Key, Arc<str>, usize)> = vec![(self.root()?, self.name().into(), 0)];
        let mut seen: HashSet<u32> = waiting.iter().map(|(root, ..)| root.cell).collect();
        let mut unread = 0;
        while let Some((key, path, depth)) = waiting.pop() {
            if !show(&key, &path) {
                break;
            }
            let (children, trouble) = self.subkeys(&key);
            unread += trouble.len();
            if depth < MOST_DEPTH {
                let below = children.into_iter().filter(|child| seen.insert(child.cell));
                waiting.extend(below.map(|child| {
                    let path = format!("{path}\\{}", child.name).into();
                    (child, path, depth + 1)
                }));
            }
        }
        Ok(unread)
    }

    pub fn value(&self, key: &Key, name: &str) -> Result<Option<Value>, ReadError> {
        let (name, mut trouble) = (name.to_lowercase(), None);
        for cell in self.cells.values(key)? {
            match self.cells.value(cell, MOST_DATA) {
                Ok(value) if value.name.to_lowercase() == name => return Ok(Some(value)),
                Ok(_) => {}
                Err(why) => trouble = Some(why),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// The text of a value; None for one that is none.
    pub fn text(&self, key: &Key, name: &str) -> Result<Option<String>, ReadError> {
        let Some(value) = self.value(key, name)? else { return Ok(None) };
        Ok(value.text(&value.data.clone()?))
    }

    fn link_target(&self, link: &Key) -> Result<String, ReadError> {
        self.text(link, "SymbolicLinkValue")?.ok_or(ReadError::Implausible("link between registry keys"))
    }

    fn current_control_set(&self) -> Result<Option<String>, ReadError> {
        let (Some(path), Some(select)) = (&self.path, self.subkey(&self.root()?, "Select")?) else { return Ok(None) };
        let Some(current) = self.value(&select, "Current")? else { return Ok(None) };
        let number = current.data?.first_chunk().map(|word| u32::from_le_bytes(*word));
        Ok(number.map(|number| format!("{path}\\ControlSet{number:03}")))
    }

    /// The path of a key, by its parents.
    fn path_of(&self, key: &Key) -> Result<String, ReadError> {
        let root = self.root()?.cell;
        let (mut parts, mut at) = (Vec::new(), key.clone());
        while at.cell != root {
            if parts.len() >= MOST_DEPTH {
                return Err(ReadError::Implausible("key depth"));
            }
            let parent = self.cells.key(at.parent)?;
            parts.push(std::mem::replace(&mut at, parent).name);
        }
        Ok(parts.iter().rev().fold(self.name(), |path, part| path + "\\" + part))
    }
}

/// A path from the registry's root.
fn full(path: &str) -> String {
    let path = path.trim_end_matches('\\');
    let (first, rest) = path.split_once('\\').map_or((path, ""), |(first, rest)| (first, rest));
    match ROOTS.iter().find(|(name, _)| first.eq_ignore_ascii_case(name)) {
        Some((_, root)) if rest.is_empty() => (*root).to_owned(),
        Some((_, root)) => format!("{root}\\{rest}"),
        None => path.to_owned(),
    }
}

impl Value {
    fn type_name(&self) -> String {
        TYPES.get(self.kind as usize).map_or_else(|| format!("{:#x}", self.kind), |name| (*name).to_owned())
    }

    /// Text, for types that are text.
    pub fn text(&self, data: &[u8]) -> Option<String> {
        let all = || text::utf16(data);
        match self.type_name().as_str() {
            "REG_SZ" | "REG_EXPAND_SZ" | "REG_LINK" => Some(all().split('\0').next().unwrap_or_default().to_owned()),
            "REG_MULTI_SZ" => Some(all().trim_end_matches('\0').replace('\0', "\n")),
            _ => None,
        }
    }

    /// The data as people read it.
    fn shown(&self, data: &[u8]) -> String {
        let number = match (self.type_name().as_str(), data) {
            ("REG_DWORD", [a, b, c, d]) => Some(u64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
            ("REG_DWORD_BIG_ENDIAN", [a, b, c, d]) => Some(u64::from(u32::from_be_bytes([*a, *b, *c, *d]))),
            ("REG_QWORD", bytes) => bytes.try_into().ok().map(u64::from_le_bytes),
            _ => None,
        };
        number.map(|number| number.to_string()).or_else(|| self.text(data)).unwrap_or_else(|| {
            let mut shown = String::new();
            for byte in data.iter().take(SHOWN_BYTES) {
                // Writing to a String cannot fail.
                _ = write!(shown, "{byte:02x}");
            }
            shown + if data.len() > SHOWN_BYTES { "…" } else { "" }
        })
    }
}

pub fn registry(windows: &Windows, scope: Scope, out: &mut Sink<RegistryEntry>) {
    let hives = windows.hives(None);
    hives.notes.iter().for_each(|note| out.note(note.clone()));
    if hives.found.is_empty() {
        return;
    }
    let Scope::Key { hive: of, cell, deep } = scope else {
        for hive in &hives.found {
            match hive.root() {
                Ok(root) => walk(hive, root, hive.name(), false, out),
                Err(why) => out.note(format!("the root key of {}: {why}", hive.name())),
            }
        }
        out.note("only the top of each hive is shown; --key PATH shows a key, and --recurse all below it");
        return;
    };
    let Some(hive) = hives.found.iter().find(|hive| hive.object.address == of) else {
        out.note(format!("no hive is at {of}"));
        return;
    };
    let begin = hive.cells.key(cell).and_then(|key| Ok((hive.path_of(&key)?, key)));
    match begin {
        Ok((path, key)) => walk(hive, key, path, deep, out),
        Err(why) => out.note(format!("the key at cell {cell:#x} of {}: {why}", hive.name())),
    }
}

impl Windows {
    /// The key at a path, as what a query can be about.
    pub fn registry_key(&self, path: &str, deep: bool) -> Result<Scope, String> {
        let hives = self.hives(None);
        match hives.open(path) {
            Ok(Some((hive, key))) => Ok(Scope::Key { hive: hive.object.address, cell: key.cell, deep }),
            Ok(None) if hives.found.is_empty() => Err("no registry hive is in the image".to_owned()),
            Ok(None) => Err(format!("there is no key {path} in memory; paths begin with HKLM, HKU or \\REGISTRY")),
            Err(why) => Err(format!("the key {path} cannot be reached: {why}")),
        }
    }

    /// The data of a value, at most 1 MiB of it, by the path of its key and its name.
    pub fn registry_value(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.hives(None).value(path, name)?.map(|value| value.data).transpose()
    }

    /// The Parameters keys of services, drivers among them, that have a value of a name.
    pub fn service_parameters(&self, value: &str) -> Result<Vec<String>, ReadError> {
        self.hives(None).service_parameters(value)
    }

    /// When each key of each hive was last written to, with its path and its address; `show` says whether to go on. What could not be
    /// read comes back.
    pub fn key_times(&self, watch: &Watch, mut show: impl FnMut(Option<Time>, String, VirtAddr) -> bool) -> Vec<String> {
        let hives = self.hives(None);
        let mut notes = hives.notes;
        for hive in &hives.found {
            let name = hive.name();
            let mut further = true;
            let unread = hive.key_times(&mut |key, path| {
                further = !watch.cancelled() && show(text::filetime(key.written), path.to_owned(), key.address);
                further
            });
            match unread {
                Err(why) => notes.push(format!("the root key of {name}: {why}")),
                Ok(0) => {}
                Ok(unread) => notes.push(format!("{unread} keys or lists of keys of {name} cannot be read")),
            }
            if !further {
                break;
            }
        }
        notes
    }

    /// The machine's name as the registry has it.
    pub(super) fn computer_name(&self) -> Result<Option<String>, ReadError> {
        const KEY: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\ComputerName\\ComputerName";
        let name = self.registry_value(KEY, "ComputerName")?.map(|data| text::utf16(&data).trim_end_matches('\0').to_owned());
        Ok(name.filter(|name| !name.is_empty()))
    }
}

/// Rows of a key and its values, and of its subkeys, or of all below it.
fn walk(hive: &Hive<'_>, key: Key, path: String, deep: bool, out: &mut Sink<RegistryEntry>) {
    let mut seen = HashSet::from([key.cell]);
    let mut budget = Budget(MOST_TEXT);
    // Keys with the path of their parent.
    let mut waiting: Vec<(Key, Arc<str>, usize)> = Vec::new();
    let mut next = Some((key, Arc::<str>::from(path), 0));
    while let Some((key, path, depth)) = next {
        if out.cancelled() {
            return;
        }
        let (children, trouble) = hive.subkeys(&key);
        let mut row = key_row(hive, &key, &path);
        row.problems.extend(missing("subkeys", &trouble));
        let mut rows = vec![row];
        let trouble = value_rows(hive, &key, &path, &mut budget, &mut rows);
        rows.first_mut().into_iter().for_each(|row| row.problems.extend(missing("values", &trouble)));
        out.extend(rows);
        for child in &children {
            budget.spend(child.name.len() + if deep { 0 } else { path.len() });
            if !deep && !budget.is_spent() {
                out.push(key_row(hive, child, &format!("{path}\\{}", child.name)));
            }
        }
        if budget.is_spent() {
            out.cut(format!("the walk ended at {path}: too many keys and values for one answer; begin further down with --key"));
            return;
        }
        if deep && depth == MOST_DEPTH && !children.is_empty() {
            out.note(format!("{path} has keys below it, deeper than keys can nest"));
        } else if deep {
            let below = children.into_iter().rev().filter(|child| seen.insert(child.cell));
            waiting.extend(below.map(|child| (child, Arc::clone(&path), depth + 1)));
        }
        next = waiting.pop().map(|(key, parent, depth)| {
            let path = format!("{parent}\\{}", key.name);
            (key, path.into(), depth)
        });
    }
}

/// How much text an answer may still get.
struct Budget(usize);

impl Budget {
    /// Takes a row's text and its fixed part.
    fn spend(&mut self, text: usize) {
        self.0 = self.0.saturating_sub(ROW + text);
    }
    fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

fn missing(what: &str, trouble: &[ReadError]) -> Option<String> {
    trouble.first().map(|first| format!("{} {what} or lists of them cannot be read, the first: {first}", trouble.len()))
}

fn key_row(hive: &Hive<'_>, key: &Key, path: &str) -> RegistryEntry {
    RegistryEntry {
        path: path.to_owned(),
        kind: if key.link { "link" } else { "key" },
        last_write: text::filetime(key.written).into(),
        volatile: key.volatile(),
        address: key.address,
        hive: hive.object.address,
        ..RegistryEntry::default()
    }
}

/// Adds the rows of a key's values; what cannot be read comes back.
fn value_rows(hive: &Hive<'_>, key: &Key, path: &str, budget: &mut Budget, rows: &mut Vec<RegistryEntry>) -> Vec<ReadError> {
    let mut trouble = Vec::new();
    let cells = hive.cells.values(key).unwrap_or_else(|why| {
        trouble.push(why);
        Vec::new()
    });
    for cell in cells {
        if budget.is_spent() {
            break;
        }
        match hive.cells.value(cell, ROW_DATA) {
            Ok(value) => {
                let data: Known<String> = value.data.as_ref().map(|data| value.shown(data)).map_err(|why| *why).into();
                budget.spend(path.len() + value.name.len() + data.value().map_or(0, String::len));
                let read = value.data.as_ref().map_or(0, Vec::len);
                let cut = read > 0 && (read as u32) < value.size;
                rows.push(RegistryEntry {
                    problems: cut.then(|| format!("only the first {read} bytes were read")).into_iter().collect(),
                    r#type: Known::Value(value.type_name()),
                    name: Known::Value(value.name),
                    kind: "value",
                    data,
                    size: Known::Value(value.size),
                    address: value.address,
                    ..key_row(hive, key, path)
                });
            }
            Err(why) => trouble.push(why),
        }
    }
    trouble
}

/// The full path of an open key, by its _CM_KEY_BODY: `\REGISTRY\MACHINE\SOFTWARE`.
pub fn key_path(key: &Object<'_>) -> Result<String, ReadError> {
    let mut parts = Vec::new();
    let mut block = key.follow_some("KeyControlBlock")?;
    loop {
        parts.push(name(&block.follow_some("NameBlock")?)?);
        match block.follow("ParentKcb")? {
            Some(parent) if parts.len() < MOST_DEPTH => block = parent,
            Some(_) => return Err(ReadError::Implausible("key depth")),
            None => break,
        }
    }
    Ok(parts.iter().rev().map(|part| format!("\\{}", part.trim_start_matches('\\'))).collect())
}

/// A _CM_NAME_CONTROL_BLOCK: a byte a letter where all letters fit.
fn name(block: &Object<'_>) -> Result<String, ReadError> {
    let (space, at, length) = (block.context().space, block.at("Name")?, block.uint("NameLength")? as u16);
    if length == 0 {
        return Err(ReadError::Implausible("key name"));
    }
    if block.uint("Compressed")? == 0 {
        return text::wide(space, at, length.into());
    }
    let mut bytes = vec![0; length.into()];
    space.read(at, &mut bytes)?;
    Ok(bytes.into_iter().map(char::from).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::hive_samples::{Builder, NIL, Sample, VERSIONS, VOLATILE, key, wide};
    use super::*;
    use crate::facts::{Answer, Rows, State};

    const ROOT: &str = "\\REGISTRY\\MACHINE\\SYSTEM";

    fn rows(sample: &Sample, deep: bool) -> Arc<Answer<RegistryEntry>> {
        let hive = sample.hive(ROOT);
        let mut out = Sink::new(Arc::default());
        walk(&hive, hive.root().unwrap(), hive.name(), deep, &mut out);
        out.finish()
    }
    fn told(sample: &Sample, deep: bool) -> Vec<String> {
        let told = rows(sample, deep);
        let row = |row: &RegistryEntry| {
            let path = row.path.strip_prefix(ROOT).unwrap();
            let name = row.name.value().map(|name| format!(" {name}={}", row.data.value().map_or("?", String::as_str))).unwrap_or_default();
            format!("{}{path}{name}", if row.problems.is_empty() { "" } else { "!" })
        };
        told.iter().map(row).collect()
    }

    /// A small SYSTEM hive, with lists of every kind.
    fn system() -> Builder {
        let mut hive = Builder::new();
        let root = hive.key("ROOT");
        let [select, set, services] = ["Select", "ControlSet003", "Services"].map(|name| hive.key(name));
        let current = hive.value("Current", 4, &3_u32.to_le_bytes());
        hive.values(select, &[current]);
        hive.hang(root, b"lh", &[select, set]);
        hive.hang(set, b"li", &[services]);
        let [first, second] = ["First", "Second"].map(|name| hive.key(name));
        let lists = [[first], [second]].map(|keys| hive.hang(services, b"lf", &keys));
        hive.hang(services, b"ri", &lists);
        let values = [
            hive.value("ImagePath", 2, &wide("%SystemRoot%\\a.exe\0junk")),
            hive.value("DependOn", 7, &wide("one\0two\0\0")),
            hive.value("Big", 3, &vec![7; 40_000]),
            hive.value("When", 11, &5_u64.to_le_bytes()),
            hive.value("", 3, b"\x01\x02\x03"),
        ];
        hive.values(first, &values);
        let enumerated = hive.volatile_cell(&key("Enum"));
        let list = hive.volatile_cell(&[b"lh\x01\0", &enumerated.to_le_bytes()[..], &[0; 4]].concat());
        hive.patch(enumerated, 0x10, &[first]).patch(first, 0x18, &[1]).patch(first, 0x20, &[list]);
        hive
    }

    #[test]
    fn hives_of_every_version_are_read_alike() {
        for version in VERSIONS {
            let sample = system().build(version);
            let services = "\\ControlSet003\\Services";
            let expected = [
                String::new(),
                "\\Select".into(),
                "\\Select Current=3".into(),
                "\\ControlSet003".into(),
                services.into(),
                // The list of lists counts lists, the key counts what is in them: here both are two.
                format!("{services}\\First"),
                format!("{services}\\First ImagePath=%SystemRoot%\\a.exe"),
                format!("{services}\\First DependOn=one\ntwo"),
                format!("{services}\\First Big={}…", "07".repeat(64)),
                format!("{services}\\First When=5"),
                format!("{services}\\First =010203"),
                format!("{services}\\First\\Enum"),
                format!("{services}\\Second"),
            ];
            assert_eq!(told(&sample, true), expected, "{version}");
            assert_eq!(told(&sample, false), ["", "\\Select", "\\ControlSet003"], "{version}");
        }
    }

    #[test]
    fn paths_lead_to_keys_and_values() {
        let sample = system().build(VERSIONS[3]);
        let hives = Hives { found: vec![sample.hive(ROOT)], notes: Vec::new() };
        let path = "hklm\\system\\CURRENTControlSet\\Services\\first";
        let (hive, key) = hives.open(path).unwrap().unwrap();
        assert_eq!(hive.path_of(&key).unwrap(), format!("{ROOT}\\ControlSet003\\Services\\First"));
        assert_eq!(hive.text(&key, "imagepath"), Ok(Some("%SystemRoot%\\a.exe".into())));
        assert_eq!(hives.value(path, "Big").unwrap().unwrap().data.unwrap(), vec![7; 40_000]);
        assert!(hives.value(path, "none").unwrap().is_none());
        for nowhere in ["HKLM\\SYSTEM\\None", "HKLM\\SYSTEM2", "HKLM", "", "\\", "\\REGISTRY\\MACHINE\\SYST\u{e9}"] {
            assert!(hives.open(nowhere).unwrap().is_none(), "{nowhere}");
        }
        assert_eq!(hives.open("\\Registry\\Machine\\System\\").unwrap().unwrap().1.name, "ROOT");
    }

    #[test]
    fn the_rules_of_a_driver_of_any_name_are_found_and_every_key_is_gone_through() {
        let mut hive = Builder::new();
        let root = hive.key("ROOT");
        let [select, set, services, first, driver, parameters] =
            ["Select", "ControlSet001", "Services", "First", "Renamed", "Parameters"].map(|name| hive.key(name));
        let values = [hive.value("Current", 4, &1_u32.to_le_bytes()), hive.value("Rules", 3, &[15, 0, 7, 9])];
        hive.values(select, &values[..1]);
        hive.values(parameters, &values[1..]);
        for (above, below) in
            [(root, vec![select, set]), (set, vec![services]), (services, vec![first, driver]), (driver, vec![parameters])]
        {
            hive.hang(above, b"lh", &below);
        }
        let sample = hive.build(VERSIONS[3]);
        let hives = Hives { found: vec![sample.hive(ROOT)], ..Hives::default() };
        let keys = hives.service_parameters("Rules").unwrap();
        assert_eq!(keys, ["HKLM\\SYSTEM\\CurrentControlSet\\Services\\Renamed\\Parameters"]);
        assert_eq!(hives.value(&keys[0], "Rules").unwrap().unwrap().data.unwrap(), [15, 0, 7, 9]);
        let mut paths = Vec::new();
        let unread = hives.found[0].key_times(&mut |_, path| {
            paths.push(path.to_owned());
            true
        });
        assert_eq!((unread, paths.len()), (Ok(0), 7));
        assert!(paths.iter().any(|path| path.ends_with("\\ControlSet001\\Services\\Renamed\\Parameters")));
    }

    #[test]
    fn links_are_followed_but_not_for_ever() {
        let mut hive = Builder::new();
        let root = hive.key("ROOT");
        let [good, endless, target] = ["Good", "Endless", "Target"].map(|name| hive.key(name));
        hive.hang(root, b"lf", &[good, endless, target]);
        for (link, to) in [(good, "Target"), (endless, "Endless")] {
            let value = hive.value("SymbolicLinkValue", 6, &wide(&format!("{ROOT}\\{to}")));
            hive.values(link, &[value]);
            // KEY_SYM_LINK beside the compressed name.
            hive.patch(link, 0, &[u32::from(u16::from_le_bytes(*b"nk")) | 0x30 << 16]);
        }
        let sample = hive.build(VERSIONS[0]);
        let hives = Hives { found: vec![sample.hive(ROOT)], notes: Vec::new() };
        assert_eq!(hives.open("HKLM\\SYSTEM\\Good").unwrap().unwrap().1.name, "Target");
        assert!(hives.open("HKLM\\SYSTEM\\Endless").is_err());
    }

    #[test]
    fn trees_that_lead_back_end() {
        let mut hive = Builder::new();
        let root = hive.key("ROOT");
        let child = hive.key("Child");
        hive.hang(root, b"lf", &[child, child]);
        // The child is the root's parent and has itself and the root below it.
        hive.hang(child, b"lf", &[root, child]);
        let sample = hive.build(VERSIONS[4]);
        assert!(told(&sample, true).len() <= 4);
        let hive = sample.hive(ROOT);
        let child = hive.subkeys(&hive.root().unwrap()).0.pop();
        assert!(child.is_none_or(|child| hive.path_of(&child).is_err()), "a ring of parents has no path");
    }

    #[test]
    fn wild_counts_and_sizes_are_refused() {
        let mut hive = Builder::new();
        let root = hive.key("ROOT");
        let mut children = vec![hive.key("Good")];
        let billions = hive.key("Billions");
        children.push(billions);
        let listed = hive.key("Listed");
        hive.hang(billions, b"lh", &[listed]);
        hive.patch(billions, 0x14, &[u32::MAX, u32::MAX]).patch(billions, 0x24, &[u32::MAX, listed]);
        // Names that end beyond the cell, and one of 64 KiB in a cell that holds it.
        let beyond = hive.key("Beyond");
        hive.patch(beyond, 0x48, &[0xffff]);
        let long = hive.cell(&key(&"x".repeat(0xffff)));
        children.extend([beyond, long]);
        // Free, empty, beyond every end, of no size that cells have.
        children.extend([0, 8, 1 << 20, i32::MIN, -12, -(1 << 30)].map(|size| hive.cell_of_size(size)));
        children.extend([0, 4, 0x7fff_fff8, NIL, VOLATILE | 0x7fff_fff8, VOLATILE | 0xff8]);
        let good = children.clone();
        let list: Vec<u8> = good.iter().flat_map(|child| child.to_le_bytes()).collect();
        let list = hive.cell(&[b"li", &(good.len() as u16).to_le_bytes()[..], &list].concat());
        hive.patch(root, 0x14, &[good.len() as u32]).patch(root, 0x1c, &[list]);
        for child in [children[0], billions] {
            hive.patch(child, 0x10, &[root]);
        }
        // Values: a name beyond the cell, data of no cell, data split in the wrong number of pieces, too much to stand in the value.
        let wrong = [(0xffff_u32, 4, 8), (0, 100, NIL), (0, 50_000, listed), (0, 5 | 1 << 31, 0), (0, u32::MAX >> 1, root)];
        let values = wrong.map(|(name, size, at)| {
            hive.cell(&[&b"vk"[..], &(name as u16).to_le_bytes(), &u32::to_le_bytes(size), &u32::to_le_bytes(at), &[3; 12]].concat())
        });
        hive.values(root, &values);
        for version in VERSIONS {
            let sample = hive.copy().build(version);
            let told = told(&sample, true);
            assert_eq!(told, ["!", " =?", " =?", " =?", " =?", "\\Good", "!\\Billions", "\\Billions\\Listed"], "{version}");
            let problems = rows(&sample, true);
            assert_eq!(problems.state(), State::Complete);
        }
    }

    #[test]
    fn maps_that_lead_nowhere_are_no_keys() {
        let sample = system().build(VERSIONS[0]);
        let hive = sample.hive(ROOT);
        for cell in [0, 1, 0x1000, 0x7fff_f000, VOLATILE, NIL, NIL - 7] {
            assert!(hive.cells.key(cell).is_err(), "{cell:#x}");
            assert!(hive.cells.value(cell, 100).is_err(), "{cell:#x}");
        }
    }
}
