//! Drivers and the kernel itself: the list of loaded modules, entries of it in the pools and behind driver objects that no list leads
//! to, and what was unloaded. Here alone is decided whose code lies at an address of the kernel.

use super::files::whole;
use super::objects::UNREAD;
use super::pe::{self, Headers};
use super::{Windows, lists, text};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Known, Module, ReadError, Scope, Sink, Watch};
use crate::symbols::Object;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A _KLDR_DATA_TABLE_ENTRY lies right behind the header of its pool block.
const TAG: &[u8; 4] = b"MmLd";
/// The kernel remembers so many unloaded drivers (MI_UNLOADED_DRIVERS) in entries that no PDB describes: the name, where it began and
/// ended, and when it was unloaded.
const MOST_UNLOADED: u64 = 50;
const UNLOADED_SIZE: u64 = 0x28;
const UNLOADED_START: u64 = 0x10;
const UNLOADED_END: u64 = 0x18;
const UNLOADED_TIME: u64 = 0x20;
/// No module is larger.
pub const MOST_IMAGE: u64 = pe::MOST_IMAGE as u64;
/// A table with fewer symbols leaves most functions out: the nearest of them says nothing of an address between.
const FULL_TABLE: usize = 4096;

const LOADED: &str = "loaded";
const HIDDEN: &str = "hidden";
const UNLOADED: &str = "unloaded";

/// Ways to an entry; the order is that of the `sources` column.
const SOURCES: [&str; 3] = ["module_list", "pool_scan", "driver_object"];
const LIST: usize = 0;
const POOL: usize = 1;
const DRIVER: usize = 2;

/// Whose code lies at an address.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub module: Known<String>,
    pub base: Option<VirtAddr>,
    pub symbol: Known<String>,
    /// The module is on no list.
    pub hidden: bool,
    /// What is odd about it: no module there, or one that is on no list or damaged.
    pub problem: Option<String>,
}

/// What is known of the modules, and what could not be found out.
#[derive(Debug, Default)]
pub struct Modules {
    pub rows: Vec<Module>,
    pub notes: Vec<String>,
    /// Why there may be more of them on the list: then nothing can be called foreign or hidden.
    broken: Option<ReadError>,
}

pub fn modules(windows: &Windows, _: Scope, out: &mut Sink<Module>) {
    let modules = windows.all_modules(out.watch());
    modules.notes.iter().for_each(|note| out.note(note.clone()));
    out.extend(modules.rows.iter().cloned());
}

impl Windows {
    /// The module and the function at an address of the kernel. Modules that no list shows are looked for only where none that is listed
    /// lies there, since that takes a sweep.
    pub(super) fn place(&self, at: VirtAddr, watch: &Watch) -> Place {
        self.listed_place(at).unwrap_or_else(|| self.place_among(&self.all_modules(watch), at))
    }

    fn listed_place(&self, at: VirtAddr) -> Option<Place> {
        let listed = self.listed_modules();
        covering(&listed.rows, at).map(|_| self.place_among(listed, at))
    }

    fn place_among(&self, modules: &Modules, at: VirtAddr) -> Place {
        let symbols = self.profile.symbols();
        let symbol = || match symbols.len() {
            ..FULL_TABLE => symbols.nearest(at).filter(|(_, distance)| *distance == 0).map(|(name, _)| name.to_owned()),
            _ => symbols.name_at(at),
        };
        match covering(&modules.rows, at) {
            Some(module) if module.state == UNLOADED => {
                let name = module.name.value().map_or(UNREAD, String::as_str);
                Place { problem: Some(format!("{at} lies in no module; {name} was there and was unloaded")), ..Place::default() }
            }
            Some(module) if module.name.text().is_empty() => Place {
                module: Known::Unreadable(ReadError::Implausible("module name")),
                base: module.base.value().copied(),
                symbol: symbol().into(),
                hidden: module.state == HIDDEN,
                problem: Some(format!("{at} lies in a module whose name cannot be read")),
            },
            Some(module) => Place {
                module: module.name.clone(),
                base: module.base.value().copied(),
                symbol: symbol().into(),
                hidden: module.state == HIDDEN,
                problem: match module.state {
                    HIDDEN => Some(format!("{at} lies in {}, which is on no list of loaded modules", module.name.text())),
                    _ => module.problems.first().map(|problem| format!("{}: {problem}", module.name.text())),
                },
            },
            None => match modules.broken {
                None => Place { problem: Some(format!("{at} lies in no module")), ..Place::default() },
                Some(why) => Place {
                    module: Known::Unreadable(why),
                    problem: Some(format!("the list of loaded modules is broken: whose code lies at {at} cannot be told")),
                    ..Place::default()
                },
            },
        }
    }

    /// Whose code lies at an address of a process: a driver's, or that of the file mapped there.
    pub(super) fn place_in(&self, process: &Object<'_>, at: VirtAddr, watch: &Watch) -> Place {
        if at.is_kernel() {
            return self.place(at, watch);
        }
        match self.vad_at(process, at) {
            Err(why) => Place { module: Known::Unreadable(why), ..Place::default() },
            Ok(None) => Place { problem: Some(format!("{at} lies in no region")), ..Place::default() },
            Ok(Some(vad)) => match vad.file().and_then(|file| file.map(|file| self.file_path(&file)).transpose()) {
                Ok(Some(path)) => Place {
                    problem: (!vad.image).then(|| format!("{at} lies in {path}, which is not mapped as an image")),
                    base: Some(vad.start),
                    module: Known::Value(path),
                    ..Place::default()
                },
                Ok(None) => {
                    Place { problem: Some(format!("{at} lies in no module but in {} memory", vad.native_protection)), ..Place::default() }
                }
                Err(why) => Place { module: Known::Unreadable(why), ..Place::default() },
            },
        }
    }

    /// The exported function at or before an address of a process, whose place is known, as people write it.
    pub(super) fn function_at(&self, process: &Object<'_>, at: VirtAddr, place: &Place) -> Option<String> {
        if at.is_kernel() {
            return place.symbol.value().cloned();
        }
        let space = self.space_of(process).ok()?;
        let (name, past) = Headers::read(&space, place.base?).ok()?.export_at(&space, at)?;
        Some(if past == 0 { name } else { format!("{name}+{past:#x}") })
    }

    /// How people name an address, as `ntoskrnl.exe+0x1f`, with the symbol there. Nothing is swept for it: what takes a sweep to know is
    /// named only after one.
    pub fn name_at(&self, process: Option<VirtAddr>, at: VirtAddr) -> Option<String> {
        let place = match process {
            Some(process) if !at.is_kernel() => self.place_in(&self.context().object("_EPROCESS", process).ok()?, at, &Watch::default()),
            _ => self.listed_place(at).or_else(|| Some(self.place_among(self.all_modules.get()?, at)))?,
        };
        let (module, base) = (place.module.value()?, place.base?);
        let symbol = place.symbol.value().map(|symbol| format!(" ({symbol})")).unwrap_or_default();
        Some(format!("{module}+{:#x}{symbol}", at.0.wrapping_sub(base.0)))
    }

    /// Whether an address is the kernel's own code.
    pub(super) fn in_kernel(&self, at: VirtAddr) -> bool {
        let own = self.context().symbol("PsLoadedModuleList").ok();
        let kernel = own.and_then(|own| covering(&self.listed_modules().rows, own));
        kernel.is_some_and(|kernel| covers(kernel, at))
    }

    /// The modules on the kernel's list: no sweep is needed.
    pub(super) fn listed_modules(&self) -> &Modules {
        self.listed_modules.get_or_init(|| self.gather_modules(None))
    }

    /// The modules by every road. A cancelled sweep is not kept.
    pub(super) fn all_modules(&self, watch: &Watch) -> Arc<Modules> {
        self.all_modules.or_search(watch, || self.gather_modules(Some(watch)))
    }

    fn gather_modules(&self, sweep: Option<&Watch>) -> Modules {
        let mut modules = Modules::default();
        let mut found: BTreeMap<VirtAddr, [bool; SOURCES.len()]> = BTreeMap::new();
        let (listed, trouble) = self.loaded_modules();
        if let Some(why) = trouble {
            modules.notes.push(format!(
                "the list of loaded modules is broken: {why}; none is called hidden for being missing from its pieces alone"
            ));
            modules.broken = Some(why);
        }
        listed.iter().for_each(|address| found.entry(*address).or_default()[LIST] = true);
        let mut drivers = Vec::new();
        if let Some(watch) = sweep {
            match self.pooled_modules(watch) {
                Ok(pooled) => pooled.iter().for_each(|address| found.entry(*address).or_default()[POOL] = true),
                Err(why) => modules.notes.push(format!("the pools were not searched for modules: {why}")),
            }
            drivers = self.driver_objects(watch, &mut modules.notes).into_keys().filter_map(|at| self.driver(at).ok()?).collect();
            let sections = drivers.iter().filter_map(|driver| driver.pointer("DriverSection").ok());
            sections.filter(|section| section.is_kernel()).for_each(|section| found.entry(section).or_default()[DRIVER] = true);
        }
        let begins: HashMap<VirtAddr, VirtAddr> = drivers
            .iter()
            .filter_map(|driver| Some((driver.pointer("DriverSection").ok()?, driver.pointer("DriverStart").ok()?)))
            .collect();
        for (address, found_by) in found {
            match self.module(address, found_by, begins.get(&address).copied()) {
                Ok(row) => modules.rows.extend(row),
                Err(why) if found_by[LIST] => {
                    modules.notes.push(format!("entry {address} of the list of loaded modules is left out: {why}"));
                    modules.broken = modules.broken.or(Some(why));
                }
                Err(_) => (),
            }
        }
        // Two entries for one image: what is left of an earlier one, or an older copy. The one that more leads to stays.
        let weight = |row: &Module| (row.state == LOADED, row.sources.len(), std::cmp::Reverse(row.address));
        let mut best: BTreeMap<_, _> = BTreeMap::new();
        for row in &modules.rows {
            let best = best.entry(row.base.value().copied()).or_insert_with(|| weight(row));
            *best = (*best).max(weight(row));
        }
        modules.rows.retain(|row| best.get(&row.base.value().copied()).is_none_or(|best| *best == weight(row)));
        for driver in &drivers {
            if let Ok(Some(row)) = self.module_of(driver, &modules.rows) {
                modules.rows.push(row);
            }
        }
        if modules.broken.is_some() {
            let doubtful = |row: &&mut Module| row.state == HIDDEN && !self.module_taken_off(row.address).unwrap_or(false);
            for row in modules.rows.iter_mut().filter(doubtful) {
                row.state = LOADED;
                row.problems.push("the list of loaded modules is broken: whether it was on it cannot be told".to_owned());
            }
        }
        if sweep.is_some() {
            match self.unloaded_modules() {
                Ok(unloaded) => modules.rows.extend(unloaded),
                Err(why) => modules.notes.push(format!("the list of unloaded drivers was not read: {why}")),
            }
        }
        // The unloaded last: what lies at an address now is found before what lay there once.
        modules.rows.sort_by_key(|row| (row.state == UNLOADED, row.base.value().copied()));
        modules
    }

    /// The entries on PsLoadedModuleList, from both ends where it does not close, and what broke it.
    pub(super) fn loaded_modules(&self) -> (Vec<VirtAddr>, Option<ReadError>) {
        let context = self.context();
        let head = match context.symbol("PsLoadedModuleList") {
            Ok(head) => head,
            Err(why) => return (Vec::new(), Some(why)),
        };
        let (links, trouble) = lists::ring(context, head);
        let entries = links.into_iter().filter_map(|link| context.container("_KLDR_DATA_TABLE_ENTRY", "InLoadOrderLinks", link).ok());
        (entries.map(|entry| entry.address).collect(), trouble)
    }

    /// Whether the neighbours that an entry names lead past it.
    fn module_taken_off(&self, entry: VirtAddr) -> Result<bool, ReadError> {
        let context = self.context();
        let head = context.symbol("PsLoadedModuleList")?;
        let own = context.object("_KLDR_DATA_TABLE_ENTRY", entry)?.at("InLoadOrderLinks")?;
        lists::taken_off(context, own, |link| {
            let entry = context.container("_KLDR_DATA_TABLE_ENTRY", "InLoadOrderLinks", link)?.address;
            Ok(link == head || self.module(entry, [true, false, false], None)?.is_some())
        })
    }

    fn pooled_modules(&self, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
        let header = u64::from(self.profile.layout("_POOL_HEADER")?.size);
        let pools = self.pools(watch)?;
        Ok(pools.with_tag(TAG).iter().filter_map(|block| Some(block.address?.offset(header))).collect())
    }

    /// A module, if the entry holds together; what is on no list must also have its image where it says.
    /// `begin` is where its driver object says that it begins.
    fn module(&self, address: VirtAddr, found_by: [bool; SOURCES.len()], begin: Option<VirtAddr>) -> Result<Option<Module>, ReadError> {
        let entry = self.context().object("_KLDR_DATA_TABLE_ENTRY", address)?;
        let own = entry.pointer("DllBase")?;
        let (base, moved) = match begin.filter(|begin| *begin != own) {
            Some(begin) if !self.has_image(own) && self.has_image(begin) => (begin, true),
            _ => (own, false),
        };
        let told = entry.uint("SizeOfImage").and_then(|size| match size {
            1..MOST_IMAGE => Ok(size),
            _ => Err(ReadError::Implausible("size")),
        });
        let size = told.or_else(|_| Headers::read(&self.space, base).map(|headers| headers.size.into()));
        let named = |name: String| if name.is_empty() { Err(ReadError::Implausible("name")) } else { Ok(name) };
        let name = string(&entry, "BaseDllName").and_then(named);
        let placed = base.is_kernel() && base.in_page() == 0 && size.is_ok();
        let there = || placed && name.is_ok() && self.has_image(base);
        let listed = found_by[LIST];
        match listed {
            true if !placed || self.begins_elsewhere(&entry, base) => return Err(ReadError::Implausible("_KLDR_DATA_TABLE_ENTRY")),
            false if !there() => return Ok(None),
            _ => (),
        }
        let of_size = told.err().map(|why| format!("size: {why}; it is that in the header of the image"));
        let of_base = moved.then(|| format!("base: its entry says {own}; it is that of its driver object"));
        let problems = of_size.into_iter().chain(of_base).collect();
        Ok(Some(Module {
            name: name.into(),
            problems,
            base: Ok(base).into(),
            size: size.into(),
            path: string(&entry, "FullDllName").and_then(rooted).into(),
            sources: SOURCES.into_iter().zip(found_by).filter_map(|(word, on)| on.then_some(word)).collect(),
            state: if listed { LOADED } else { HIDDEN },
            address,
            ..Module::default()
        }))
    }

    /// The module that a driver object alone tells of: an image where it says, in no module that is known.
    fn module_of(&self, driver: &Object<'_>, known: &[Module]) -> Result<Option<Module>, ReadError> {
        let (base, size) = (driver.pointer("DriverStart")?, driver.uint("DriverSize")?);
        let sound = base.is_kernel() && base.in_page() == 0 && (1..MOST_IMAGE).contains(&size) && self.has_image(base);
        if !sound || covering(known, base).is_some() {
            return Ok(None);
        }
        Ok(Some(Module {
            name: Known::Value(string(driver, "DriverName")?),
            base: Ok(base).into(),
            size: Ok(size).into(),
            sources: vec![SOURCES[DRIVER]],
            state: HIDDEN,
            address: driver.address,
            problems: vec!["the name is that of the driver object; no entry names its file".to_owned()],
            ..Module::default()
        }))
    }

    /// Whether an entry contradicts itself in where its image begins. Headers may be paged out, or wiped.
    fn begins_elsewhere(&self, entry: &Object<'_>, base: VirtAddr) -> bool {
        if self.has_image(base) {
            return false;
        }
        let covers = |at: VirtAddr| entry.uint("SizeOfImage").map(|size| at.0.wrapping_sub(base.0) < size);
        // Where the kernel itself begins was found without the list.
        let kernel = self.context().symbol("PsLoadedModuleList").and_then(covers) == Ok(true) && base != self.info.kernel_base;
        let runs = entry.pointer("EntryPoint").ok().filter(|at| !at.is_null());
        let outside = runs.is_some_and(|at| covers(at) == Ok(false));
        // A page that was never mapped, among pages that are.
        let nothing = matches!(self.space.leaf(base), Err(ReadError::NotMapped(_))) && self.space.gap(base) == PAGE_SIZE;
        kernel || outside || nothing
    }

    pub(super) fn has_image(&self, base: VirtAddr) -> bool {
        self.space.bytes(base) == Ok(*b"MZ")
    }

    /// What the kernel remembers of drivers that were unloaded.
    fn unloaded_modules(&self) -> Result<Vec<Module>, ReadError> {
        let context = self.context();
        let array = context.space.pointer(context.symbol("MmUnloadedDrivers")?)?;
        if array.is_null() {
            // None was unloaded since the start.
            return Ok(Vec::new());
        }
        let entry = |index| -> Result<Option<Module>, ReadError> {
            let at = array.offset(index * UNLOADED_SIZE);
            let [base, end] = [context.space.pointer(at.offset(UNLOADED_START))?, context.space.pointer(at.offset(UNLOADED_END))?];
            let name = text::unicode(&context.object("_UNICODE_STRING", at)?).and_then(whole);
            let size = end.0.wrapping_sub(base.0);
            if !base.is_kernel() || base.in_page() != 0 || !(1..MOST_IMAGE).contains(&size) || name == Ok(String::new()) {
                return Ok(None);
            }
            Ok(Some(Module {
                name: name.into(),
                base: Ok(base).into(),
                size: Ok(size).into(),
                unload_time: context.space.uint(at.offset(UNLOADED_TIME), 8).map(text::filetime).into(),
                sources: vec!["unloaded_list"],
                state: UNLOADED,
                address: at,
                ..Module::default()
            }))
        };
        let (mut rows, mut trouble) = (Vec::new(), None);
        for index in 0..MOST_UNLOADED {
            match entry(index) {
                Ok(row) => rows.extend(row),
                Err(why) => trouble = trouble.or(Some(why)),
            }
        }
        // Some of it is better than none.
        trouble.filter(|_| rows.is_empty()).map_or(Ok(rows), Err)
    }
}

fn covers(module: &Module, at: VirtAddr) -> bool {
    let (base, size) = (module.base.value(), module.size.value());
    base.zip(size).is_some_and(|(base, size)| at.0.wrapping_sub(base.0) < *size)
}

/// The module that an address lies in: the nearest, should one claim to reach into others.
fn covering(modules: &[Module], at: VirtAddr) -> Option<&Module> {
    let covering = modules.iter().filter(|module| covers(module, at));
    covering.max_by_key(|module| (module.state != UNLOADED, module.base.value().copied()))
}

/// Drivers are loaded by their full paths.
fn rooted(path: String) -> Result<String, ReadError> {
    if path.contains('\\') { Ok(path) } else { Err(ReadError::Implausible("path")) }
}

fn string(entry: &Object<'_>, field: &'static str) -> Result<String, ReadError> {
    text::unicode(&entry.inner(field)?).and_then(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_unloaded_gives_way_to_what_is_there() {
        let module = |base: u64, size: u64, state| Module {
            base: Known::Value(VirtAddr(base)),
            size: Known::Value(size),
            state,
            ..Module::default()
        };
        let rows = [module(0xffff_f800_0000_0000, 0x1000, LOADED), module(0xffff_f800_0000_0000, 0x3000, UNLOADED)];
        let state = |at| covering(&rows, VirtAddr(at)).map(|module| module.state);
        assert_eq!(state(0xffff_f800_0000_0fff), Some(LOADED));
        assert_eq!(state(0xffff_f800_0000_1000), Some(UNLOADED));
        assert_eq!(state(0xffff_f800_0000_3000), None);
        assert_eq!(state(0xffff_f7ff_ffff_ffff), None);
        // A size that runs over the end of memory.
        let absurd = [module(0xffff_f800_0000_0000, u64::MAX, LOADED)];
        assert!(covering(&absurd, VirtAddr(u64::MAX)).is_some());
    }
}
