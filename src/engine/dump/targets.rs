//! What a wish for a dump means: the files to be written, each with the places that its bytes come from.

use super::{Extent, Which};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::engine::files::HeldFile;
use crate::engine::{Error, Session, System, carve, find_table};
use crate::facts::text::{printable, size};
use crate::facts::{
    Cell, Content, Dumped, Finding, Known, Library, Module, Part, Place, Process, Reference, Region, Rows as _, Scope, Subject, Watch,
};
use crate::linux::Linux;
use crate::paging::AddressSpace;
use crate::windows;
use std::collections::HashMap;
use std::sync::Arc;

/// Programs reserve terabytes that they never touch, and sizes may lie: what is longer is asked for in smaller ranges, or cut.
pub(super) const MOST_LENGTH: u64 = 64 << 30;
/// A file that ends further behind the last page of it that there is ends with that page.
const MOST_TAIL: u64 = 1 << 30;

/// A file to be written.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) space: Arc<AddressSpace>,
    pub(super) content: Content,
    pub(super) row: Dumped,
    /// Why nothing is written.
    pub(super) left_out: Option<String>,
}

impl Target {
    pub(super) fn new(name: String, space: &Arc<AddressSpace>, content: Content) -> Self {
        let mut row = Dumped {
            kind: Known::Value(content.kind.to_owned()),
            source: content.source.clone(),
            layout: content.layout.clone(),
            size: content.size.clone(),
            changes: content.changes.clone(),
            problems: content.problems.clone(),
            ..Dumped::default()
        };
        row.start = match content.parts().first() {
            Some(Part { offset: 0, place: Place::Memory(at) | Place::Changed(at, _), .. }) if content.kind != "cache_map" => {
                Known::Value(*at)
            }
            _ => Known::Absent,
        };
        let end = content.end();
        let whole = content.size.value().copied().unwrap_or(end);
        row.length = if whole > end.saturating_add(MOST_TAIL) { end } else { whole }.min(MOST_LENGTH);
        if row.length < whole {
            row.problems.push(format!(
                "cut at {:#x} of {whole:#x} bytes: {}",
                row.length,
                match row.length < end {
                    true => "more is not written as one file",
                    false => "nothing behind is in memory",
                }
            ));
        }
        let left_out = content.parts().is_empty().then(|| "no page of it is in memory".to_owned());
        Self { name, space: Arc::clone(space), content, row, left_out }
    }

    /// Plain memory.
    fn stretch(prefix: &str, space: &Arc<AddressSpace>, start: u64, length: u64) -> Self {
        // The last byte of a space is the last that can be meant.
        let length = length.min((u64::MAX - start).saturating_add(1));
        let last = start.saturating_add(length.saturating_sub(1));
        let part = Part { offset: 0, length, place: Place::Memory(VirtAddr(start)) };
        let mut target = Self::new(format!("{prefix}-{start:#x}-{last:#x}"), space, Content::new("", vec![part]));
        target.row.kind = Known::Absent;
        target.row.start = Known::Value(VirtAddr(start));
        target
    }

    /// The same, in one piece or not at all.
    fn bounded(self) -> Result<Vec<Self>, Error> {
        match self.content.end() {
            length if length > MOST_LENGTH => Err(Error(too_long(length))),
            _ => Ok(vec![self]),
        }
    }
}

fn too_long(length: u64) -> String {
    format!("{} in one piece is more than is written; name a smaller range", size(length))
}

impl Session {
    pub(super) fn targets(&self, extent: Extent<'_>, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let kernel = self.system().space();
        match extent {
            Extent::Physical { start, length } => {
                let end = self.info().memory.last().map_or(0, |range| range.end().0);
                if start >= end {
                    return Err(Error(format!("{}: physical memory ends at {end:#x}", self.name())));
                }
                Ok(vec![Target::stretch("physical", &Arc::new(kernel.physical()), start, length.min(end - start))])
            }
            Extent::Kernel { start, length } => {
                Target::stretch("kernel", &Arc::new(kernel.with_root(kernel.root())), start, length).bounded()
            }
            Extent::Range { process, start, length } => {
                Target::stretch(&format!("pid-{}", process.pid), &self.memory_of(process)?.1, start, length).bounded()
            }
            Extent::Region { process, at } => self.regions(process, Some(at), watch),
            Extent::Process(process) => self.regions(process, None, watch),
            Extent::Executable { process, as_mapped } => self.program(process, as_mapped, watch),
            Extent::Library { process, which, as_mapped } => self.libraries(process, which, as_mapped, watch),
            Extent::Carved { process, at } => match self.carved(process, at, watch)? {
                found if found.is_empty() => {
                    Err(Error(format!("{}: PID {}: no header of a program lies in memory that no file backs", self.name(), process.pid)))
                }
                found => Ok(found),
            },
            Extent::Finding { finding, process } => self.subject(finding, process, watch),
            Extent::Module { which, as_mapped } => self.modules(which, as_mapped, watch),
            Extent::CachedFile(which) => self.cached_files(which, watch),
        }
    }

    /// The process object and its memory.
    fn memory_of(&self, process: &Process) -> Result<(VirtAddr, Arc<AddressSpace>), Error> {
        let Known::Value(address) = process.address else {
            return Err(Error(format!("PID {}: its process object has no virtual address, so its memory cannot be found", process.pid)));
        };
        let space = self.system().process_space(address).map_err(|why| Error(format!("process {address}: {why}")))?;
        Ok((address, Arc::new(space)))
    }

    fn regions(&self, process: &Process, at: Option<VirtAddr>, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let (address, space) = self.memory_of(process)?;
        let listed = self.whole::<Region>(Scope::Process(address), watch)?;
        let mut regions: Vec<Region> = listed.iter().cloned().collect();
        regions.retain(|region| at.is_none_or(|at| region.start <= at && at <= region.end));
        if regions.is_empty() {
            let (pid, why) = (process.pid, listed.notes().first().map_or("`kioku query` lists its regions", String::as_str));
            return Err(Error(match at {
                Some(at) => format!("{}: PID {pid} has no region that holds {at}; {why}", self.name()),
                None => format!("{}: PID {pid} has no regions; {why}", self.name()),
            }));
        }
        let target = |region: Region| {
            let length = region.end.0.saturating_sub(region.start.0).saturating_add(1);
            let mut target = Target::stretch(&format!("pid-{}", process.pid), &space, region.start.0, length);
            target.row = Dumped {
                kind: Known::Value(region.kind.to_owned()),
                path: shown(region.file),
                object: Known::Value(region.address),
                protection: Known::Value(region.protection),
                ..target.row
            };
            target.left_out = match region.resident_pages {
                _ if length > MOST_LENGTH => Some(too_long(length)),
                Known::Value(0) => Some("no page of it is in the image".to_owned()),
                _ => None,
            };
            target
        };
        Ok(regions.into_iter().map(target).collect())
    }

    fn program(&self, process: &Process, as_mapped: bool, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let (address, _) = self.memory_of(process)?;
        let windows = match self.system() {
            System::Windows(windows) => windows,
            System::Linux(linux) => return Ok(vec![self.mapped_file(linux, process, None, as_mapped, watch)?]),
        };
        let (base, told) = windows.program_base(address).map_err(|why| Error(format!("process {address}: {why}")))?;
        let mut target = self.mapped(process, base, as_mapped, "executable", watch)?;
        if let Some(told) = told.filter(|told| *told != base) {
            target.row.problems.push(format!("the process itself says that its program is at {told}: --library {told} writes that"));
        }
        target.row.path = shown(process.path.clone());
        target.row.object = Known::Value(address);
        Ok(vec![target])
    }

    fn carved(&self, process: &Process, at: Option<VirtAddr>, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let (address, space) = self.memory_of(process)?;
        let regions = self.whole::<Region>(Scope::Process(address), watch)?;
        // The kernel's own library in each process of Linux is no find.
        let bare = regions.iter().filter(|region| region.file == Known::Absent && !matches!(region.kind, "vdso" | "vvar"));
        let mut targets = Vec::new();
        for region in bare.filter(|region| at.is_none_or(|at| region.start <= at && at <= region.end)) {
            for (base, content) in carve::programs(&space, region.start, region.end, watch) {
                let mut target = Target::new(format!("pid-{}-carved-{base}", process.pid), &space, content);
                target.row.start = Known::Value(base);
                target.row.object = Known::Value(region.address);
                target.row.protection = Known::Value(region.protection);
                targets.push(target);
            }
        }
        Ok(targets)
    }

    fn subject(&self, finding: &Finding, process: Option<&Process>, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let Reference { table, address } = finding.reference;
        let nothing = || Error(format!("{}: memory holds nothing to write of that finding: {}", self.name(), printable(&finding.subject)));
        match (finding.kind, process) {
            (Subject::Region, Some(process)) => {
                let mut targets = self.regions(process, Some(address), watch)?;
                targets.extend(self.carved(process, Some(address), watch)?);
                Ok(targets)
            }
            (Subject::Process | Subject::Handle | Subject::Commands, Some(process)) => self.program(process, false, watch),
            (Subject::Module | Subject::Hook, _) => {
                let entry = find_table(table).ok_or_else(nothing)?;
                let rows = self.query(entry, Scope::Machine, watch)?;
                let cell = |row: usize, name: &str| entry.table.column(name).map_or(Cell::Absent, |column| rows.cell(row, column));
                // The functions of a driver have its address, and one more of their own: where they lead.
                let (own, target) = match table {
                    "driver_functions" => ("driver_address", "address"),
                    "apcs" => ("address", "kernel_routine"),
                    _ => ("address", "function"),
                };
                let meant = |row: &usize| {
                    let function = cell(*row, "function");
                    let named = table != "driver_functions" || finding.subject.starts_with(&format!("{function} of "));
                    named && matches!(cell(*row, own), Cell::Hex(at) if at == address.0)
                };
                let row = (0..rows.len()).find(meant).ok_or_else(nothing)?;
                match (cell(row, "base"), cell(row, "module"), cell(row, target)) {
                    (Cell::Hex(base), ..) => self.modules(Which::At(VirtAddr(base)), false, watch),
                    (_, Cell::Text(name), _) => self.modules(Which::Named(&name), false, watch),
                    // Code of nobody's: its page.
                    (.., Cell::Hex(at)) => self.targets(Extent::Kernel { start: VirtAddr(at).page().0, length: PAGE_SIZE }, watch),
                    _ => Err(nothing()),
                }
            }
            _ => Err(nothing()),
        }
    }

    /// A finding by its place in the list, and the process that it is about.
    pub fn finding(&self, number: usize, watch: &Arc<Watch>) -> Result<(Finding, Option<Process>), Error> {
        let findings = self.whole::<Finding>(Scope::Machine, watch)?;
        let count = findings.len();
        let finding = number.checked_sub(1).and_then(|index| findings.iter().nth(index).cloned());
        let finding = finding.ok_or_else(|| Error(format!("{}: there is no finding {number}, but {count} in all", self.name())))?;
        let processes = self.whole::<Process>(Scope::Machine, watch)?;
        let own = |process: &Process| process.address.value().is_some() && process.address == finding.process_address;
        let process = processes.iter().find(|process| own(process)).cloned();
        Ok((finding, process))
    }

    /// A program or library of Linux: the one that begins at an address, or the program.
    fn mapped_file(
        &self,
        linux: &Linux,
        process: &Process,
        base: Option<VirtAddr>,
        as_mapped: bool,
        watch: &Arc<Watch>,
    ) -> Result<Target, Error> {
        let (address, space) = self.memory_of(process)?;
        let (image, pid) = (self.name(), process.pid);
        if as_mapped {
            return Err(Error(format!("{image}: Linux maps files in pieces that have no layout of their own; dump the regions instead")));
        }
        let found = linux.mapped_file(address, base, watch).map_err(|why| Error(format!("{image}: PID {pid}: {why}")))?;
        let Some(mut found) = found else {
            return Err(Error(match base {
                Some(base) => {
                    format!("{image}: PID {pid} has no file mapped as code that begins at {base}; `kioku query` lists its libraries")
                }
                None => format!("{image}: PID {pid} has no program of its own: it is a kernel thread, or has unmapped it"),
            }));
        };
        found.content.kind = if base.is_some() { "library" } else { "executable" };
        let mut target = Target::new(format!("pid-{pid}-{}-{}", found.content.kind, found.base), &space, found.content);
        target.row.path = shown(found.path);
        target.row.start = Known::Value(found.base);
        target.row.object = Known::Value(address);
        Ok(target)
    }

    fn libraries(&self, process: &Process, which: Which<'_>, as_mapped: bool, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let (address, _) = self.memory_of(process)?;
        let libraries = self.whole::<Library>(Scope::Process(address), watch)?;
        let meant = |library: &&Library| match which {
            Which::At(base) => library.base == base,
            Which::Named(name) => {
                let paths = [library.name.value(), library.path.value(), library.mapped_file.value()];
                paths.into_iter().flatten().any(|path| self.is_named(path, name))
            }
        };
        let libraries: Vec<&Library> = libraries.iter().filter(meant).collect();
        match (which, &libraries[..]) {
            // What no list knows is what one looks for.
            (Which::At(base), []) => Ok(vec![self.mapped(process, base, as_mapped, "library", watch)?]),
            (Which::Named(name), []) => {
                Err(Error(format!("{}: PID {} has no library {}; `kioku query` lists them", self.name(), process.pid, printable(name))))
            }
            _ => {
                let target = |library: &&Library| {
                    let mut target = self.mapped(process, library.base, as_mapped, "library", watch)?;
                    target.row.path = shown(library.path.clone());
                    Ok(target)
                };
                libraries.iter().map(target).collect()
            }
        }
    }

    /// An executable at an address of a process.
    fn mapped(&self, process: &Process, base: VirtAddr, as_mapped: bool, kind: &'static str, watch: &Arc<Watch>) -> Result<Target, Error> {
        let (address, space) = self.memory_of(process)?;
        if let System::Linux(linux) = self.system() {
            return self.mapped_file(linux, process, Some(base), as_mapped, watch);
        }
        let regions = self.whole::<Region>(Scope::Process(address), watch)?;
        let Some(region) = regions.iter().find(|region| region.start <= base && base <= region.end) else {
            return Err(Error(format!("{}: PID {} has no region that holds {base}", self.name(), process.pid)));
        };
        let length = (region.end.0 - base.0).saturating_add(1);
        let extent = if region.kind == "image" { windows::Extent::mapped(base, length) } else { windows::Extent::loose(base, length) };
        let content = windows::rebuilt(&space, extent, as_mapped, kind);
        let mut target = Target::new(format!("pid-{}-{kind}-{base}", process.pid), &space, content);
        target.row.path = shown(region.file.clone());
        target.row.object = Known::Value(region.address);
        target.row.protection = Known::Value(region.protection);
        Ok(target)
    }

    fn modules(&self, which: Which<'_>, as_mapped: bool, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let modules = self.whole::<Module>(Scope::Machine, watch)?;
        let meant = |module: &&Module| match which {
            Which::At(base) => module.base == Known::Value(base),
            Which::Named(name) => [module.name.value(), module.path.value()].into_iter().flatten().any(|path| self.is_named(path, name)),
        };
        let modules: Vec<&Module> = modules.iter().filter(meant).collect();
        if modules.is_empty() {
            return match (which, self.system()) {
                (Which::At(base), System::Windows(windows)) if base.is_kernel() => {
                    let space = Arc::new(windows.space_of_module(base));
                    match space.bytes::<2>(base) {
                        Ok(mz) if mz == *b"MZ" => {
                            let content = windows::rebuilt(&space, windows::Extent::loose(base, PAGE_SIZE), as_mapped, "module");
                            Ok(vec![Target::new(format!("module-{base}"), &space, content)])
                        }
                        Ok(_) => Err(Error(format!("{}: no module and no executable begins at {base}", self.name()))),
                        Err(why) => Err(Error(format!("{}: no module begins at {base}: {why}", self.name()))),
                    }
                }
                (Which::At(base), _) => Err(Error(format!("{}: no module begins at {base}; `kioku query` lists them", self.name()))),
                (Which::Named(name), _) => {
                    Err(Error(format!("{}: there is no module named {}; `kioku query` lists them", self.name(), printable(name))))
                }
            };
        }
        let target = |module: &&Module| {
            let (Known::Value(base), Known::Value(size)) = (&module.base, &module.size) else {
                return Err(Error(format!("{}: module at {}: its base or size cannot be read", self.name(), module.address)));
            };
            let kernel = self.system().space();
            let (space, content) = match self.system() {
                System::Windows(windows) => {
                    let space = windows.space_of_module(*base);
                    let content = windows::rebuilt(&space, windows::Extent::mapped(*base, *size), as_mapped, "module");
                    (space, content)
                }
                // The kernel lays sections out as it likes, and drops headers.
                System::Linux(_) => {
                    let part = Part { offset: 0, length: *size, place: Place::Memory(*base) };
                    let layout = Known::Value("memory");
                    (kernel.with_root(kernel.root()), Content { layout, ..Content::new("module", vec![part]) })
                }
            };
            let mut target = Target::new(format!("module-{base}"), &Arc::new(space), content);
            target.row.path = match &module.path {
                Known::Value(path) => shown(Known::Value(path.clone())),
                _ => shown(module.name.clone()),
            };
            target.row.object = Known::Value(module.address);
            Ok(target)
        };
        modules.iter().map(target).collect()
    }

    fn cached_files(&self, which: Which<'_>, watch: &Arc<Watch>) -> Result<Vec<Target>, Error> {
        let kernel = self.system().space();
        let space = Arc::new(kernel.with_root(kernel.root()));
        let mut targets = Vec::new();
        // Several file objects may share what is cached of one file.
        let mut written: HashMap<(&'static str, VirtAddr), String> = HashMap::new();
        for HeldFile { object, path, contents } in self.held_files(Some(which), watch)? {
            let mut push = |mut target: Target| {
                target.row.path = shown(path.clone());
                target.row.object = Known::Value(object);
                targets.push(target);
            };
            if contents.is_empty() {
                let mut target = Target::new(format!("file-{object}"), &space, Content::default());
                target.row.kind = Known::Absent;
                target.left_out = Some("it has no section and no cache map: nothing of it is cached".to_owned());
                push(target);
            }
            for content in contents {
                let name = format!("file-{object}-{}", content.kind.replace('_', "-"));
                let key = (content.kind, content.source.value().copied().unwrap_or_default());
                let mut target = Target::new(name.clone(), &space, content);
                if target.left_out.is_none() {
                    let first = written.entry(key).or_insert_with(|| name.clone());
                    target.left_out = (*first != name).then(|| format!("its pages are those of {first}.bin"));
                }
                push(target);
            }
        }
        Ok(targets)
    }
}

/// Text from the image as a manifest shows it.
fn shown(text: Known<String>) -> Known<String> {
    text.map(|text| printable(&text).into_owned())
}
