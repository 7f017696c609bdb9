//! Finding the kernel: page tables, base address, the symbol table that its PDB identity names, each proved on the image.

use super::objects::Types;
use super::pages::WindowsPages;
use super::pe::{Headers, PdbId};
use super::{Windows, text};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Check, Info, Known, Origin, ReadError, Time, Watch};
use crate::image::{Chunk, Image};
use crate::paging::{AddressSpace, Levels};
use crate::symbols::pack::{Module, Pack};
use crate::symbols::{Context, Found, Profile, SymbolTable, TypeSource, open_symbols};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// _KUSER_SHARED_DATA, where every Windows for x64 has it (ntddk.h), and the fields that never moved.
const SHARED_DATA: VirtAddr = VirtAddr(0xffff_f780_0000_0000);
const SHARED_SYSTEM_TIME: u64 = 0x14;
const SHARED_BUILD: u64 = 0x260;
const SHARED_MAJOR: u64 = 0x26c;
const SHARED_MINOR: u64 = 0x270;
/// Where the kernel and the drivers are loaded.
const KERNEL_MAP: VirtAddr = VirtAddr(0xffff_f800_0000_0000);
const KERNEL_MAP_END: VirtAddr = VirtAddr(0xffff_f880_0000_0000);
const KERNEL_PDBS: [&str; 4] = ["ntkrnlmp.pdb", "ntoskrnl.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb"];

/// The processor start block in the first megabyte: a long-mode jump, then the kernel's entry and CR3. Its first quadword, with the
/// mask that leaves out what varies, and the place of CR3 (seen in real dumps; MemProcFS looks for the same).
const LOW_STUB: (u64, u64) = (0xffff_ffff_ffff_00ff, 0x0000_0001_0006_00e9);
const LOW_STUB_CR3: u64 = 0xa0;
const LOW_MEMORY: u64 = 0x10_0000;

const FRAME: u64 = 0x000f_ffff_ffff_f000;
const CHUNK: usize = 1 << 20;

type Failure = String;

impl Windows {
    /// The kernel that the image's headers or its lowest megabyte lead to. None where they lead to no Windows.
    pub fn at_hand(image: &Arc<Image>, files: &[PathBuf]) -> Option<Result<Self, Failure>> {
        let mut roots = image.hints().page_table_roots.clone();
        roots.extend(low_stub(image));
        Self::by_roots(image, roots, files)
    }

    /// The kernel that some page table in the image leads to.
    pub fn by_sweep(image: &Arc<Image>, files: &[PathBuf], watch: &Watch) -> Option<Result<Self, Failure>> {
        Self::by_roots(image, self_references(image, watch), files)
    }

    fn by_roots(image: &Arc<Image>, roots: Vec<PhysAddr>, files: &[PathBuf]) -> Option<Result<Self, Failure>> {
        let mut trouble = None;
        for root in roots {
            let root = PhysAddr(root.0 & FRAME);
            let space = AddressSpace::new(Arc::clone(image), root, Levels::Four, Arc::new(WindowsPages::minimal()));
            if is_windows(&space) {
                match Self::on(image, space, files) {
                    Ok(windows) => return Some(Ok(windows)),
                    Err(why) => trouble = trouble.or(Some(why)),
                }
            }
        }
        trouble.map(Err)
    }

    fn on(image: &Arc<Image>, space: AddressSpace, files: &[PathBuf]) -> Result<Self, Failure> {
        let (headers, pdb) = kernel(&space).ok_or("Windows page tables, but no kernel image with a debug record in the memory they map")?;
        let (types, mut symbols, source) = from_files(files, &pdb).or_else(|| from_pack(&pdb)).ok_or_else(|| {
            format!("no symbols for the kernel {} {} age {}; give its ISF file with --symbols", pdb.name, pdb.guid, pdb.age)
        })?;
        symbols.shift(headers.base.0);
        let profile = Profile::new(types, symbols, source);
        let system = {
            let context = Context { space: &space, profile: &profile };
            let read = || -> Result<PhysAddr, ReadError> {
                let system = context.space.pointer(context.symbol("PsInitialSystemProcess")?)?;
                Ok(PhysAddr(context.object("_KPROCESS", system)?.uint("DirectoryTableBase")? & FRAME))
            };
            read().unwrap_or(space.root())
        };
        let space = space.with_root(system);
        let build = space.uint(SHARED_DATA.offset(SHARED_BUILD), 4).unwrap_or(0) as u32;
        let context = Context { space: &space, profile: &profile };
        let mut checks = verify(context);
        checks.extend(super::dump_header::checks(image, context, now(&space)));
        let version = |at| space.uint(SHARED_DATA.offset(at), 4).unwrap_or(0);
        let lab = context.symbol("NtBuildLab").and_then(|lab| space.text(lab, 128)).unwrap_or_default();
        let info = Info {
            os: Origin::Windows,
            architecture: "x86_64",
            kernel: format!("Windows {}.{} build {build} ({lab})", version(SHARED_MAJOR), version(SHARED_MINOR)),
            hostname: Known::Absent,
            boot_time: Known::Absent,
            capture_time: shared_time(&space, SHARED_SYSTEM_TIME).into(),
            format: image.format().to_owned(),
            size: image.size(),
            page_table_root: space.root(),
            paging_levels: 4,
            kernel_base: headers.base,
            kaslr_shift: Known::Absent,
            symbol_source: profile.source.clone(),
            checks,
            memory: image.runs().to_vec(),
            warnings: image.warnings().to_vec(),
        };
        let types = Types::read(context);
        Ok(Self {
            image: Arc::clone(image),
            types,
            space,
            pages: WindowsPages::minimal(),
            profile,
            info,
            kernel: headers,
            build,
            pools: OnceLock::new(),
            listed: OnceLock::new(),
            roster: OnceLock::new(),
        })
    }
}

impl Windows {
    /// The system time at capture, in units of 100 ns since 1601.
    pub(super) fn shared_now(&self) -> u64 {
        now(&self.space)
    }
}

fn now(space: &AddressSpace) -> u64 {
    let read = |at| space.uint(SHARED_DATA.offset(SHARED_SYSTEM_TIME + at), 4);
    read(4).and_then(|high| Ok(high << 32 | read(0)?)).unwrap_or(u64::MAX)
}

/// Both halves of the system agree on the shared page, and it holds a version of Windows.
fn is_windows(space: &AddressSpace) -> bool {
    matches!(space.uint(SHARED_DATA.offset(SHARED_MAJOR), 4), Ok(6 | 10)) && shared_time(space, SHARED_SYSTEM_TIME).is_ok()
}

/// A _KSYSTEM_TIME of the shared page: low part, high part.
fn shared_time(space: &AddressSpace, at: u64) -> Result<Time, ReadError> {
    let low = space.uint(SHARED_DATA.offset(at), 4)?;
    let high = space.uint(SHARED_DATA.offset(at + 4), 4)?;
    text::filetime(high << 32 | low).ok_or(ReadError::Implausible("system time"))
}

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

/// Pages that hold exactly one entry which points back to the page itself, in the upper half: Windows maps its page tables that way.
fn self_references(image: &Image, watch: &Watch) -> Vec<PhysAddr> {
    let found = Mutex::new(Vec::new());
    image.sweep(CHUNK, 0, watch, |Chunk { at: start, bytes, .. }| {
        for (index, page) in bytes.as_chunks::<{ PAGE_SIZE as usize }>().0.iter().enumerate() {
            let at = start.offset(index as u64 * PAGE_SIZE);
            let entries = page.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry));
            let mut own = entries.enumerate().filter(|(_, entry)| entry & FRAME == at.0 && entry & 0x81 == 1);
            if let (Some((256.., _)), None) = (own.next(), own.next()) {
                found.lock().unwrap_or_else(PoisonError::into_inner).push(at);
            }
        }
        ControlFlow::Continue(())
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort();
    found
}

/// The kernel among the modules in the kernel's map: a PE whose debug record names a kernel PDB.
fn kernel(space: &AddressSpace) -> Option<(Headers, PdbId)> {
    let mut found = None;
    space.mapped(KERNEL_MAP, KERNEL_MAP_END, &mut |at, _, length| {
        for page in (0..length).step_by(PAGE_SIZE as usize) {
            if found.is_some() || space.bytes(at.offset(page)) != Ok(*b"MZ") {
                continue;
            }
            let Ok(headers) = Headers::read(space, at.offset(page)) else { continue };
            if let Ok(Some(pdb)) = headers.pdb(space)
                && KERNEL_PDBS.contains(&pdb.name.as_str())
            {
                found = Some((headers, pdb));
            }
        }
    });
    found
}

/// Types, symbols counted from the kernel's base, and where they came from.
type Symbols = (Box<dyn TypeSource>, SymbolTable, String);

/// The symbols for a PDB among files and folders: by name as Volatility lays them out, and by what the file says of itself.
fn from_files(files: &[PathBuf], pdb: &PdbId) -> Option<Symbols> {
    let matches = |found: &Found| found.pdb.as_ref().is_some_and(|own| own.guid.eq_ignore_ascii_case(&pdb.guid) && own.age == pdb.age);
    let open = |path: PathBuf| open_symbols(&path, None).ok().flatten().filter(matches);
    let found = files.iter().filter_map(|path| named(path, pdb)).find_map(open)?;
    Some((found.types?, found.symbols?, format!("exact: {}", found.path.display())))
}

/// The packed profile of a PDB.
fn from_pack(pdb: &PdbId) -> Option<Symbols> {
    let pack = Pack::bundled().ok()?;
    let build = pack.exact(Module::Kernel, &pdb.guid, pdb.age)?;
    let source = format!("exact: packed profile of {} ({} {} age {})", build.version, pdb.name, pdb.guid, pdb.age);
    Some((Box::new(pack.types(build).ok()?), pack.symbols(build).ok()?, source))
}

fn named(path: &Path, pdb: &PdbId) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let file = format!("{}-{}.json.xz", pdb.guid, pdb.age);
    [path.join(&file), path.join(&pdb.name).join(&file), path.join("windows").join(&pdb.name).join(&file)]
        .into_iter()
        .find(|path| path.is_file())
}

fn verify(context: Context<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let system = || -> Result<String, ReadError> {
        let system = context.space.pointer(context.symbol("PsInitialSystemProcess")?)?;
        let system = context.object("_EPROCESS", system)?;
        match (system.uint("UniqueProcessId")?, system.text("ImageFileName")?) {
            (4, name) if name == "System" => Ok(system.address.to_string()),
            _ => Err(ReadError::Implausible("System process")),
        }
    };
    let outcome = system();
    checks.push(Check {
        what: "PsInitialSystemProcess is PID 4, System".to_owned(),
        passed: outcome.is_ok(),
        detail: outcome.unwrap_or_else(|why| why.to_string()),
    });
    checks
}
