//! Finding the kernel: page tables, the kernel's image, and types and symbols for it, all proved on the image before they are believed.

use super::discover::Discovery;
use super::fields::{self, Corrected};
use super::kernel::Kernel;
use super::objects::Types;
use super::pages::WindowsPages;
use super::pe::PdbId;
use super::pool::Marks;
use super::verify::{self, Verdict, verify};
use super::{Windows, shared, text};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Begun, Info, Kept, Known, Origin, ReadError, Watch};
use crate::image::{Chunk, Image};
use crate::paging::{AddressSpace, FRAME, Levels};
use crate::symbols::pack::{Module, Pack, Version};
use crate::symbols::{Context, Found, Profile, SymbolTable, TypeSource, open_symbols};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The processor start block in the first megabyte: a long-mode jump, then the kernel's entry and CR3. Its first quadword, with the
/// mask that leaves out what varies, and the place of CR3 (seen in real dumps; MemProcFS looks for the same).
const LOW_STUB: (u64, u64) = (0xffff_ffff_ffff_00ff, 0x0000_0001_0006_00e9);
const LOW_STUB_CR3: u64 = 0xa0;
const LOW_MEMORY: u64 = 0x10_0000;

const CHUNK: usize = 1 << 20;

/// Layouts of other builds that are tried on a kernel without a profile, and page tables that are tried on an image.
const MOST_LAYOUTS: usize = 40;
const MOST_ROOTS: usize = 64;
/// Revisions of one build that are tried on a kernel that does not say which it is.
const MOST_REVISIONS: usize = 128;
/// Layouts whose fields are put right where none fits as it is.
const MOST_CORRECTED: usize = 4;

type Failure = String;

/// Begins a sweep of memory for what nearly all tables ask for, if it is wanted: it runs while the kernel is examined.
type Begin<'a> = &'a mut dyn FnMut() -> Option<Arc<Begun<Marks>>>;

impl Windows {
    /// The kernel that the image's headers or its lowest megabyte lead to. None where they lead to no Windows.
    pub fn at_hand(image: &Arc<Image>, files: &[PathBuf], begin: Begin<'_>) -> Option<Result<Self, Failure>> {
        let mut roots = image.hints().page_table_roots.clone();
        roots.extend(low_stub(image));
        Self::by_roots(image, &roots, files, begin, shared::is_there)
    }

    /// The kernel that some page table in the image leads to.
    pub fn by_sweep(image: &Arc<Image>, files: &[PathBuf], begin: Begin<'_>, watch: &Watch) -> Option<Result<Self, Failure>> {
        let Traces { roots, kernels } = sweep(image, watch);
        let marked = Self::by_roots(image, &roots, files, begin, shared::is_there);
        if matches!(marked, Some(Ok(_))) {
            return marked;
        }
        // The shared page may be missing from a damaged image; what is in the kernel's place proves as much.
        let hinted = image.hints().page_table_roots.iter().copied().chain(low_stub(image));
        let all: Vec<_> = hinted.chain(roots).collect();
        let found = Self::by_roots(image, &all, files, begin, |space| !shared::is_there(space) && Kernel::find(space).is_some());
        found.filter(Result::is_ok).or(marked).or_else(|| {
            let name = kernels.first()?;
            Some(Err(match name.as_str() {
                // Names of kernels with physical address extension exist on 32-bit systems alone.
                "ntkrpamp.pdb" | "ntkrnlpa.pdb" => format!("a 32-bit Windows kernel ({name}); only 64-bit ones can be read"),
                _ => format!("a Windows kernel ({name}) lies in the image, but no x86-64 page tables that map it; is the image whole?"),
            }))
        })
    }

    /// Of the kernels that page tables lead to, the first whose profile fits, else the one that fits best.
    fn by_roots(
        image: &Arc<Image>,
        roots: &[PhysAddr],
        files: &[PathBuf],
        begin: Begin<'_>,
        promising: impl Fn(&AddressSpace) -> bool,
    ) -> Option<Result<Self, Failure>> {
        let pack = Pack::bundled().ok();
        let (mut trouble, mut second): (_, Option<(Verdict, Self)>) = (None, None);
        let mut tried = 0;
        let mut marks = None;
        for root in roots {
            let space = AddressSpace::new(Arc::clone(image), PhysAddr(root.0 & FRAME), Levels::Four, Arc::new(WindowsPages::minimal()));
            if !promising(&space) {
                continue;
            }
            tried += 1;
            marks = marks.or_else(&mut *begin);
            match Self::on(image, space, marks.as_ref(), files, pack.as_ref()) {
                Ok((verdict, windows)) if verdict.refused.is_none() => return Some(Ok(windows)),
                Ok((verdict, windows)) if second.as_ref().is_none_or(|(best, _)| best.rank() < verdict.rank()) => {
                    second = Some((verdict, windows));
                }
                Ok(_) => {}
                Err(why) => trouble = trouble.or(Some(why)),
            }
            if tried >= MOST_ROOTS {
                break;
            }
        }
        second.map(|(_, windows)| Ok(windows)).or(trouble.map(Err))
    }

    fn on(
        image: &Arc<Image>,
        space: AddressSpace,
        marks: Option<&Arc<Begun<Marks>>>,
        files: &[PathBuf],
        pack: Option<&Pack>,
    ) -> Result<(Verdict, Self), Failure> {
        let (mut kernel, unnamed) = match Kernel::find(&space) {
            Some(kernel) => (kernel, None),
            None => pack
                .and_then(|pack| Believed::unnamed(&space, pack))
                .map(|(kernel, believed)| (kernel, Some(believed)))
                .ok_or("Windows page tables, but no kernel image with a debug record in the memory they map")?,
        };
        let known = pack.and_then(|pack| pack.exact(Module::Kernel, &kernel.pdb.guid, kernel.pdb.age));
        let mut version = shared::version(&space);
        let mut warnings = image.warnings().to_vec();
        let given = from_files(files, &kernel.pdb);
        let unused = given.is_none() && !files.is_empty();
        let mut misfit = None;
        let packed = |pdb: &PdbId| from_pack(pack?, pdb);
        let believed = match given {
            None if let Some(believed) = unnamed => {
                warnings.push("the kernel's debug record is lost: its version is the one whose symbols prove right".to_owned());
                believed
            }
            Some(symbols) => {
                let given = Believed::exact(&space, &mut kernel, symbols);
                // Symbols are the kernel's own by what their file says of itself.
                let better = match (&given.verdict.refused, packed(&kernel.pdb)) {
                    (None, _) => None,
                    (_, Some(symbols)) => Some(Believed::exact(&space, &mut kernel, symbols)),
                    (_, None) => Believed::near(&space, &kernel, pack, &mut version).ok(),
                };
                match better.filter(|better| better.verdict.rank() > given.verdict.rank()) {
                    None => given,
                    Some(better) => {
                        misfit = given.verdict.refused.map(|why| (given.profile.source, why));
                        better
                    }
                }
            }
            None => match packed(&kernel.pdb) {
                Some(symbols) => Believed::exact(&space, &mut kernel, symbols),
                None => Believed::near(&space, &kernel, pack, &mut version)?,
            },
        };
        if let Some(known) = known {
            version = known.version;
        }
        let Believed { profile, mut verdict, system, exact } = believed;
        let root = {
            let context = Context { space: &space, profile: &profile };
            let root = system.and_then(|system| context.object("_KPROCESS", system)?.uint("DirectoryTableBase"));
            root.map_or(space.root(), |root| PhysAddr(root & FRAME))
        };
        let own = space.with_root(root);
        // That of the System process, if the image holds it.
        let space = if own.backing(kernel.proof) == space.backing(kernel.proof) { own } else { space };
        let context = Context { space: &space, profile: &profile };
        if version.build == 0 {
            version.build = context.symbol("NtBuildNumber").and_then(|at| space.uint(at, 4)).unwrap_or(0) as u32 & 0xffff;
        }
        let lab = context.symbol("NtBuildLab").and_then(|lab| space.text(lab, 128)).unwrap_or_default();
        if unused {
            let PdbId { name, guid, age } = &kernel.pdb;
            warnings.push(format!("none of the files given with --symbols is for this kernel ({name} {guid} age {age})"));
        }
        if let Some((source, why)) = misfit {
            let source = source.trim_start_matches("exact: ");
            warnings
                .push(format!("{source}, given with --symbols, is of this kernel by its GUID, but does not fit it and is not used: {why}"));
        }
        if !exact {
            warnings.push(format!(
                "no symbols for this kernel ({} {} age {}): {}; give its ISF file or PDB with --symbols to be sure",
                kernel.pdb.name, kernel.pdb.guid, kernel.pdb.age, profile.source
            ));
            let open = if verdict.open.is_empty() { String::new() } else { format!(", and this: {}", verdict.open.join("; ")) };
            warnings.push(format!("not verified: fields that no check reads, which may have moved{open}"));
        } else if let Some(why) = &verdict.refused {
            warnings.push(format!("the symbols are those of this kernel, but what they lead to is damaged: {why}"));
        }
        let listed = system.map(|system| verify::processes(context, &kernel, system)).unwrap_or_default();
        let now = shared::now(&space).or(image.hints().dump.map(|dump| dump.system_time));
        let info = Info {
            os: Origin::Windows,
            architecture: "x86_64",
            kernel: format!("Windows {version}{}", if lab.is_empty() { lab } else { format!(" ({lab})") }),
            hostname: hostname(context, &listed).into(),
            boot_time: verify::boot_time(context).into(),
            capture_time: now.and_then(text::filetime).into(),
            format: image.format().to_owned(),
            size: image.size(),
            page_table_root: space.root(),
            paging_levels: 4,
            kernel_base: kernel.base,
            kaslr_shift: Known::Absent,
            symbol_source: profile.source.clone(),
            checks: std::mem::take(&mut verdict.checks),
            memory: image.runs().to_vec(),
            warnings,
        };
        let types = Types::read(context);
        let windows = Self {
            image: Arc::clone(image),
            types,
            optional: OnceLock::new(),
            space,
            pages: WindowsPages::minimal(),
            profile,
            info,
            build: version.build,
            version,
            files: files.to_vec(),
            logs: Vec::new(),
            sysmon_config: None,
            marks: marks.cloned(),
            pools: Kept::default(),
            listed: OnceLock::new(),
            roster: Kept::default(),
            tcpip: OnceLock::new(),
            listed_modules: OnceLock::new(),
            all_modules: Kept::default(),
            disputed: Kept::default(),
            cached: Kept::default(),
        };
        Ok((verdict, windows))
    }
}

impl Windows {
    /// The system time at capture, in units of 100 ns since 1601.
    pub(super) fn shared_now(&self) -> u64 {
        shared::now(&self.space).unwrap_or(u64::MAX)
    }
}

/// A profile with what its verification gave.
struct Believed {
    profile: Profile,
    verdict: Verdict,
    system: Result<VirtAddr, ReadError>,
    exact: bool,
}

impl Believed {
    fn new(space: &AddressSpace, kernel: &Kernel, profile: Profile, system: Option<VirtAddr>, exact: bool) -> Self {
        let context = Context { space, profile: &profile };
        let system = system.map_or_else(|| verify::system(context), Ok);
        let verdict = verify(context, kernel, system);
        Self { profile, verdict, system, exact }
    }

    /// The kernel's own symbols. They fit by the identity of its PDB; what they lead to may still be damaged.
    fn exact(space: &AddressSpace, kernel: &mut Kernel, (types, mut symbols, source): Symbols) -> Self {
        if let Some(base) = base_by_symbols(space, kernel, &*types, &symbols) {
            kernel.size = kernel.end().0.saturating_sub(base.0);
            kernel.base = base;
        }
        symbols.shift(kernel.base.0);
        Self::new(space, kernel, Profile::new(types, symbols, source), None, true)
    }

    /// A kernel without a debug record, by the packed profiles of its build: the one that proves right.
    fn unnamed(space: &AddressSpace, pack: &Pack) -> Option<(Kernel, Self)> {
        let build = shared::version(space).build;
        let known: Vec<_> = pack.builds().iter().filter(|known| known.module == Module::Kernel && known.version.build == build).collect();
        let mut best: Option<(Kernel, Self)> = None;
        for kernel in Kernel::unnamed(space) {
            for build in known.iter().take(MOST_REVISIONS) {
                let Some(symbols) = from_pack(pack, &PdbId { guid: build.guid.clone(), age: build.age, ..kernel.pdb.clone() }) else {
                    continue;
                };
                let mut kernel = Kernel { pdb: PdbId { guid: build.guid.clone(), age: build.age, ..kernel.pdb.clone() }, ..kernel.clone() };
                let believed = Self::exact(space, &mut kernel, symbols);
                let better = best.as_ref().is_none_or(|(_, best)| best.verdict.rank() < believed.verdict.rank());
                if believed.verdict.refused.is_none() && better {
                    best = Some((kernel, believed));
                }
            }
        }
        best
    }

    /// The layout of the nearest build that proves right on the image, with the symbols that the image tells.
    fn near(space: &AddressSpace, kernel: &Kernel, pack: Option<&Pack>, version: &mut Version) -> Result<Self, Failure> {
        let pdb = &kernel.pdb;
        let unknown = |why: String| {
            format!("no symbols for the kernel {} {} age {}: {why}; give its ISF file or PDB with --symbols", pdb.name, pdb.guid, pdb.age)
        };
        let pack = pack.ok_or_else(|| unknown("and no packed profiles".to_owned()))?;
        let first = pack
            .nearest(*version)
            .into_iter()
            .find_map(|build| pack.types(build).ok())
            .ok_or_else(|| unknown("no packed layouts".to_owned()))?;
        let nearest = Profile::new(Box::new(first), SymbolTable::default(), String::new());
        let root_at =
            nearest.layout("_KPROCESS").and_then(|layout| layout.offset("DirectoryTableBase")).map_err(|why| unknown(why.to_string()))?;
        let mut found = Discovery::make(space, kernel, root_at);
        version.build = found.build.unwrap_or(version.build);
        version.revision = found.revision;
        let system = found.system.ok_or_else(|| unknown("and the System process is not found in its memory".to_owned()))?;

        let layouts: Vec<_> = pack.nearest(*version).into_iter().take(MOST_LAYOUTS).collect();
        let mut best: Option<(Self, Version, bool)> = None;
        let mut reasons = Vec::new();
        let mut attempt = |types: Box<dyn TypeSource>, of: Version, corrected: bool, symbols: SymbolTable| {
            let believed = Self::new(space, kernel, Profile::new(types, symbols, String::new()), Some(system), false);
            if let Some(why) = &believed.verdict.refused {
                reasons.push(format!("{of}: {why}"));
            }
            // Of equals the nearest stays.
            let whole = believed.verdict.failed().next().is_none();
            if best.as_ref().is_none_or(|(best, ..)| best.verdict.rank() < believed.verdict.rank()) {
                best = Some((believed, of, corrected));
            }
            whole
        };
        let fits =
            layouts.iter().any(|build| pack.types(build).is_ok_and(|types| attempt(Box::new(types), build.version, false, found.table())));
        if !fits {
            for build in layouts.iter().take(MOST_CORRECTED) {
                let Ok(types) = pack.types(build) else { continue };
                let profile = Profile::new(Box::new(types), SymbolTable::default(), String::new());
                let fields = fields::find(Context { space, profile: &profile }, kernel, system);
                if let (Some(fields), Ok(types)) = (fields, pack.types(build)) {
                    attempt(Box::new(Corrected::new(Box::new(types), &fields)), build.version, true, found.table());
                }
            }
        }
        let (mut believed, of, corrected) = best.ok_or_else(|| unknown("no packed layouts".to_owned()))?;
        if believed.verdict.refused.is_some() {
            let reasons = reasons.first().cloned().unwrap_or_default();
            return Err(unknown(format!("and no layout that is known fits it, {reasons}")));
        }
        found.derive(Context { space, profile: &believed.profile }, kernel, system);
        let profile = believed.profile.changed(found.table(), |types| types);
        believed = Self::new(space, kernel, profile, Some(system), false);
        let doubted = believed.verdict.doubted();
        if !doubted.is_empty() {
            let without = doubted.clone();
            believed.profile = believed.profile.changed(found.table(), |types| Box::new(Corrected::without(types, without)));
        }
        let how = found.how.join(", ");
        let checks = &believed.verdict.checks;
        let passed = checks.iter().filter(|check| check.passed).count();
        let kind = match corrected {
            true => format!("discovered: layout of {of} put right where fields moved"),
            false => format!("nearest: layout of {of}"),
        };
        let doubted = if doubted.is_empty() { String::new() } else { format!("; not used: {}", doubted.join(", ")) };
        believed.profile.source = format!("{kind}, {passed} of {} checks passed on the image{doubted}; symbols: {how}", checks.len());
        Ok(believed)
    }
}

/// Where the kernel begins, if its header is paged out: where its symbols lead to the System process.
fn base_by_symbols(space: &AddressSpace, kernel: &Kernel, types: &dyn TypeSource, symbols: &SymbolTable) -> Option<VirtAddr> {
    let process = crate::symbols::Layout::of(types, types.find("_EPROCESS")?)?;
    let (pid, name) = (process.offset("UniqueProcessId").ok()?, process.offset("ImageFileName").ok()?);
    let pointer = symbols.get("PsInitialSystemProcess")?.0;
    kernel.possible_bases().find(|base| {
        let system = || -> Result<bool, ReadError> {
            let system = space.pointer(base.offset(pointer))?;
            Ok(system.is_kernel() && space.uint(system.offset(pid), 8)? == 4 && space.text(system.offset(name), 15)? == "System")
        };
        system().unwrap_or(false)
    })
}

/// The name of the machine, out of the environment of the first process that knows it.
fn hostname(context: Context<'_>, processes: &[VirtAddr]) -> Option<String> {
    const VARIABLE: &str = "COMPUTERNAME=";
    /// The variables stand in the order of the alphabet, more or less; environments are a few kilobytes.
    const REACH: usize = 16 << 10;
    processes.iter().take(MOST_ENVIRONMENTS).find_map(|process| {
        let process = context.object("_EPROCESS", *process).ok()?;
        let peb = process.pointer("Peb").ok().filter(|peb| !peb.is_null())?;
        let root = process.inner("Pcb").ok()?.uint("DirectoryTableBase").ok()?;
        let space = context.space.with_root(PhysAddr(root & FRAME));
        let own = Context { space: &space, profile: context.profile };
        let environment = own.object("_PEB", peb).ok()?.follow("ProcessParameters").ok()??.pointer("Environment").ok()?;
        let mut bytes = vec![0; REACH];
        space.read_available(environment, &mut bytes, |_, _| ());
        let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        let value = units
            .split(|unit| *unit == 0)
            .map(String::from_utf16_lossy)
            .find_map(|variable| variable.strip_prefix(VARIABLE).map(str::to_owned));
        value.filter(|name| !name.is_empty() && name.len() <= MOST_NAME)
    })
}

/// Processes whose environment is looked at, and the longest name of a machine (DNS).
const MOST_ENVIRONMENTS: usize = 64;
const MOST_NAME: usize = 255;

/// CR3 out of the start block for the other processors.
fn low_stub(image: &Image) -> Vec<PhysAddr> {
    let word = |at: u64| {
        let mut bytes = [0; 8];
        image.read(PhysAddr(at), &mut bytes).map(|()| u64::from_le_bytes(bytes))
    };
    let pages = (PAGE_SIZE..LOW_MEMORY).step_by(PAGE_SIZE as usize);
    let stubs = pages.filter(|page| word(*page).is_ok_and(|first| first & LOW_STUB.0 == LOW_STUB.1));
    stubs.filter_map(|page| word(page + LOW_STUB_CR3).ok()).map(|root| PhysAddr(root & FRAME)).collect()
}

/// What a sweep finds of Windows.
#[derive(Default)]
struct Traces {
    roots: Vec<PhysAddr>,
    /// Names of PDBs that only kernels have.
    kernels: Vec<String>,
}

/// Pages that hold exactly one entry which points back to the page itself, in the upper half: Windows maps its page tables that way.
/// Debug records of kernels tell of those that no such page leads to.
fn sweep(image: &Image, watch: &Watch) -> Traces {
    let found = Mutex::new(Traces::default());
    let record = memchr::memmem::Finder::new(b"RSDS");
    image.sweep(CHUNK, 0, watch, |Chunk { at: start, bytes, .. }| {
        let mut here = Traces::default();
        for (index, page) in bytes.as_chunks::<{ PAGE_SIZE as usize }>().0.iter().enumerate() {
            let at = start.offset(index as u64 * PAGE_SIZE);
            let entries = page.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry));
            let mut own = entries.enumerate().filter(|(_, entry)| entry & FRAME == at.0 && entry & 0x81 == 1);
            if let (Some((256.., _)), None) = (own.next(), own.next()) {
                here.roots.push(at);
            }
        }
        for place in record.find_iter(bytes) {
            let name = bytes.get(place + PDB_NAME..).unwrap_or_default();
            let name = Kernel::PDBS.iter().find(|known| name.starts_with(known.as_bytes()) && name.get(known.len()) == Some(&0));
            here.kernels.extend(name.map(|name| (*name).to_owned()));
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.roots.extend(here.roots);
        found.kernels.extend(here.kernels);
        ControlFlow::Continue(())
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.roots.sort();
    found.kernels.sort();
    found
}

/// In an RSDS record the name follows signature, GUID and age.
const PDB_NAME: usize = 24;

/// Types, symbols counted from the kernel's base, and where they came from.
pub(super) type Symbols = (Box<dyn TypeSource>, SymbolTable, String);

/// The symbols for a PDB among files and folders: by name as Volatility lays them out, and by what the file says of itself.
pub(super) fn from_files(files: &[PathBuf], pdb: &PdbId) -> Option<Symbols> {
    let matches = |found: &Found| found.pdb.as_ref().is_some_and(|own| own.guid.eq_ignore_ascii_case(&pdb.guid) && own.age == pdb.age);
    let open = |path: PathBuf| open_symbols(&path, None).ok().flatten().filter(matches);
    let found = files.iter().filter_map(|path| named(path, pdb)).find_map(open)?;
    Some((found.types?, found.symbols?, format!("exact: {} ({})", found.path.display(), found.description)))
}

/// The packed profile of a PDB.
fn from_pack(pack: &Pack, pdb: &PdbId) -> Option<Symbols> {
    let build = pack.exact(Module::Kernel, &pdb.guid, pdb.age)?;
    let source = format!("exact: packed profile of {} ({} {} age {})", build.version, pdb.name, pdb.guid, pdb.age);
    Some((Box::new(pack.types(build).ok()?), pack.symbols(build).ok()?, source))
}

/// The file for a PDB below a path: as Volatility names tables, or as symbol servers and debuggers keep PDBs.
fn named(path: &Path, pdb: &PdbId) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let tables = ["json.xz", "json.gz", "json"].map(|kind| format!("{}-{}.{kind}", pdb.guid, pdb.age));
    let below = |folder: &Path| {
        let mut places: Vec<PathBuf> = tables.iter().flat_map(|table| [folder.join(table), folder.join(&pdb.name).join(table)]).collect();
        places.push(folder.join(&pdb.name).join(format!("{}{:X}", pdb.guid, pdb.age)).join(&pdb.name));
        places.push(folder.join(&pdb.name));
        places
    };
    [path.to_owned(), path.join("windows")].iter().flat_map(|folder| below(folder)).find(|path| path.is_file())
}
