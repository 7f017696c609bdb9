//! Symbols of a kernel that no table describes, from the image itself: its exports, its block for debuggers, and variables that betray
//! themselves by what they point to.

use super::kdbg::Kdbg;
use super::kernel::Kernel;
use super::objects::{OBJECT_KIND, PROCESS_OBJECT, THREAD_OBJECT};
use super::{hives, shared, text, verify};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::ReadError;
use crate::paging::{AddressSpace, FRAME};
use crate::symbols::{Context, SymbolTable};
use std::collections::HashSet;

/// Aligned words of the image that look like kernel addresses.
const MOST_POINTERS: usize = 1 << 20;
/// How far into a process object its name is looked for.
const PROCESS_REACH: usize = 0x1000;

/// What an image told, whatever the layouts are.
pub struct Discovery {
    pub symbols: Vec<(String, VirtAddr)>,
    pub system: Option<VirtAddr>,
    pub build: Option<u32>,
    pub revision: Option<u32>,
    /// In which ways symbols were found.
    pub how: Vec<String>,
    /// The image's words that look like kernel addresses, with their places.
    pointers: Vec<(VirtAddr, VirtAddr)>,
}

impl Discovery {
    /// Finds what needs no layouts. `root_at` is where a process keeps its page-table root, the same in all versions.
    pub fn make(space: &AddressSpace, kernel: &Kernel, root_at: u64) -> Self {
        let mut found =
            Self { symbols: Vec::new(), system: None, build: None, revision: None, how: Vec::new(), pointers: pointers(space, kernel) };
        let exports = kernel.headers.as_ref().and_then(|headers| headers.exports(space)).unwrap_or_default();
        if !exports.is_empty() {
            found.how.push(format!("{} exports", exports.len()));
            found.symbols = exports;
        }
        if let Some((at, block)) = found.debugger_block(space, kernel) {
            found.how.push("the debugger block".to_owned());
            found.add("KdDebuggerDataBlock", at);
            for (name, address) in block.symbols() {
                found.add(name, address);
            }
        }
        if let Some(dump) = space.image().hints().dump {
            for (name, address) in [("PsLoadedModuleList", dump.loaded_modules), ("PsActiveProcessHead", dump.active_processes)] {
                if kernel.contains(VirtAddr(address)) {
                    found.add(name, VirtAddr(address));
                }
            }
        }
        found.system = found.find_system(space, kernel, root_at);
        found.find_texts(space, kernel);
        found
    }

    fn add(&mut self, name: &str, address: VirtAddr) {
        if !self.symbols.iter().any(|(known, _)| known == name) {
            self.symbols.push((name.to_owned(), address));
        }
    }

    pub fn get(&self, name: &str) -> Option<VirtAddr> {
        self.symbols.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    pub fn table(&self) -> SymbolTable {
        let mut table = SymbolTable::with_capacity(self.symbols.len(), self.symbols.len() * 24);
        self.symbols.iter().for_each(|(name, address)| table.add(name, *address));
        table.finish();
        table
    }

    /// A block for debuggers that is not encoded: where a crash dump's header says, else around the kernel's base, as tag, size and base
    /// follow each other.
    fn debugger_block(&self, space: &AddressSpace, kernel: &Kernel) -> Option<(VirtAddr, Kdbg)> {
        let told = space.image().hints().dump.map(|dump| VirtAddr(dump.debugger_data));
        let around = self.pointers.iter().filter(|(_, value)| *value == kernel.base).map(|(at, _)| Kdbg::around_base(*at));
        let blocks = told.into_iter().chain(around).filter_map(|at| Some((at, Kdbg::plain(space, at).ok()?)));
        blocks.into_iter().find(|(_, block)| block.kernel_base() == kernel.base)
    }

    /// The System process: PsInitialSystemProcess, exported or not, points to it.
    fn find_system(&mut self, space: &AddressSpace, kernel: &Kernel, root_at: u64) -> Option<VirtAddr> {
        let is_system = |process: VirtAddr| -> bool {
            let root = space.uint(process.offset(root_at), 8).map(|root| PhysAddr(root & FRAME));
            let kind = space.uint(process, 1).map(|kind| kind & OBJECT_KIND);
            if kind != Ok(PROCESS_OBJECT) || root.is_ok_and(|root| root.0 == 0) {
                return false;
            }
            let mut object = vec![0; PROCESS_REACH];
            space.read_available(process, &mut object, |_, _| ());
            let named = memchr::memmem::find(&object, b"System\0\0").is_some();
            let maps = |root| space.with_root(root).translate(kernel.proof).ok() == space.translate(kernel.proof).ok();
            named && root.is_ok_and(maps)
        };
        if let Some(system) = self.get("PsInitialSystemProcess").and_then(|at| space.pointer(at).ok()).filter(|system| is_system(*system)) {
            return Some(system);
        }
        let mut tried = HashSet::new();
        let mut outside = self.pointers.iter().filter(|(_, value)| !kernel.contains(*value) && value.0 % 16 == 0);
        let (at, system) = *outside.find(|(_, value)| tried.insert(*value) && is_system(*value))?;
        self.how.push("the pointer to the System process".to_owned());
        self.symbols.retain(|(name, _)| name != "PsInitialSystemProcess");
        self.add("PsInitialSystemProcess", at);
        Some(system)
    }

    /// NtBuildLab by its text (`19041.1.amd64fre.vb_release.191206-1406`), NtBuildNumber by its value.
    fn find_texts(&mut self, space: &AddressSpace, kernel: &Kernel) {
        let finder = memchr::memmem::Finder::new(b".amd64");
        let mut label = None;
        each_page(space, kernel, |at, page| {
            for place in finder.find_iter(page) {
                let digits = page[..place].iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
                let text = String::from_utf8_lossy(&page[place - digits..place]).into_owned();
                let mut numbers = text.split('.').map(str::parse::<u32>);
                if let (Some(Ok(build @ 2600..)), Some(Ok(revision)), None) = (numbers.next(), numbers.next(), &label) {
                    label = Some((at.offset((place - digits) as u64), build, revision));
                }
            }
        });
        let told = shared::version(space).build;
        let Some(build) = label.map(|(_, build, _)| build).or(Some(told)).filter(|build| *build != 0) else { return };
        self.build = Some(build);
        // Since Windows 10 the second number is always 1, and the revision stands elsewhere.
        self.revision = label.map(|(_, _, revision)| revision).filter(|_| build < 10_000);
        // A free build has 0xf in its highest bits, a checked one 0xc.
        let numbers = [0xf000_0000_u32 | build, 0xc000_0000 | build].map(u32::to_le_bytes);
        let mut number = None;
        each_page(space, kernel, |at, page| {
            let mut words = page.as_chunks::<4>().0.iter();
            number = number.or_else(|| words.position(|word| numbers.contains(word)).map(|place| at.offset(place as u64 * 4)));
        });
        for (name, address) in [("NtBuildLab", label.map(|(at, ..)| at)), ("NtBuildNumber", number)] {
            if let Some(address) = address {
                self.add(name, address);
            }
        }
    }

    /// Finds what needs layouts, with those that are tried.
    pub fn derive(&mut self, context: Context<'_>, kernel: &Kernel, system: VirtAddr) {
        let before: HashSet<_> = self.symbols.iter().map(|(name, _)| name.clone()).collect();
        if let Some(head) = verify::list_head(context, kernel, system) {
            self.replace("PsActiveProcessHead", head);
        }
        self.find_lists(context, kernel);
        self.find_objects(context, kernel, system);
        let found: Vec<_> = self.symbols.iter().map(|(name, _)| name.clone()).filter(|name| !before.contains(name)).collect();
        if !found.is_empty() {
            self.how.push(format!("{} by what they point to", found.join(", ")));
        }
    }

    fn replace(&mut self, name: &str, address: VirtAddr) {
        if self.get(name) != Some(address) {
            self.symbols.retain(|(known, _)| known != name);
            self.symbols.push((name.to_owned(), address));
        }
    }

    /// Heads of lists whose first entry has a mark.
    fn find_lists(&mut self, context: Context<'_>, kernel: &Kernel) {
        let space = context.space;
        let module =
            |first: VirtAddr| -> Result<bool, ReadError> { Ok(verify::module(context, first)?.pointer("DllBase")? == kernel.base) };
        let hive = |first: VirtAddr| -> Result<bool, ReadError> {
            Ok(context.container("_CMHIVE", "HiveList", first)?.inner("Hive")?.uint("Signature")? == hives::SIGNATURE)
        };
        let (mut modules, mut hives) = (None, None);
        for (at, first) in &self.pointers {
            // Head and first entry point to each other.
            let head = !kernel.contains(*first) && at.0 % 16 == 0 && space.pointer(first.offset(8)) == Ok(*at);
            if head {
                modules = modules.or_else(|| module(*first).unwrap_or(false).then_some(*at));
                hives = hives.or_else(|| hive(*first).unwrap_or(false).then_some(*at));
            }
        }
        for (name, address) in [("PsLoadedModuleList", modules), ("CmpHiveListHead", hives)] {
            if let (None, Some(address)) = (self.get(name), address) {
                self.add(name, address);
            }
        }
    }

    /// Pointers to tables that hold what is known already.
    fn find_objects(&mut self, context: Context<'_>, kernel: &Kernel, system: VirtAddr) {
        let space = context.space;
        let root = context.object("_EPROCESS", system).and_then(|process| process.inner("Pcb")?.uint("DirectoryTableBase"));
        let roots: Vec<u64> = verify::processes(context, kernel, system)
            .into_iter()
            .take(8)
            .filter_map(|process| context.object("_EPROCESS", process).ok()?.inner("Pcb").ok()?.uint("DirectoryTableBase").ok())
            .map(|root| root & FRAME)
            .filter(|root| *root != 0)
            .collect();
        let frames = |table: VirtAddr| -> Result<bool, ReadError> {
            let size = u64::from(context.profile.layout("_MMPFN")?.size);
            let mut valid = 0;
            for root in &roots {
                let frame = context.object("_MMPFN", table.offset(root / PAGE_SIZE * size))?;
                valid += usize::from(frame.inner("u3")?.inner("e1")?.uint("PageLocation")? == 6);
            }
            Ok(valid > 2 && valid * 4 >= roots.len() * 3)
        };
        let processor = |block: VirtAddr| -> Result<bool, ReadError> {
            let processor = context.object("_KPRCB", block)?;
            let thread = context.object("_KTHREAD", processor.pointer("CurrentThread")?)?;
            Ok(processor.uint("Number")? == 0 && thread.inner("Header")?.uint("Type")? & OBJECT_KIND == THREAD_OBJECT)
        };
        let type_name = |kind: VirtAddr| -> Result<String, ReadError> {
            let name = context.object("_OBJECT_TYPE", kind)?.inner("Name")?;
            if name.uint("Length")? > 64 {
                return Err(ReadError::Implausible("type name"));
            }
            text::unicode(&name)
        };
        let mut found = [("PspCidTable", None), ("ObTypeIndexTable", None), ("MmPfnDatabase", None), ("KiProcessorBlock", None)];
        let mut tried = HashSet::new();
        for (at, value) in self.pointers.iter().filter(|(_, value)| !kernel.contains(*value)) {
            let [cid, types, database, processors] = &mut found;
            // The third entry is the first type, which is that of types.
            if types.1.is_none()
                && type_name(*value).is_ok_and(|name| name == "Type")
                && space.pointer(at.offset(8)).and_then(type_name).is_ok_and(|name| name == "Directory")
            {
                types.1 = Some(VirtAddr(at.0 - 16));
            }
            // Elsewhere the same value means the same.
            if !tried.insert(*value) {
                continue;
            }
            if cid.1.is_none() && value.0 % 16 == 0 && verify::cid(context, *value, 4) == Ok(system) {
                cid.1 = Some(*at);
            }
            if database.1.is_none() && value.in_page() == 0 && root.is_ok() && frames(*value).unwrap_or(false) {
                database.1 = Some(*at);
            }
            if processors.1.is_none() && value.0 % 64 == 0 && processor(*value).unwrap_or(false) {
                processors.1 = Some(*at);
            }
        }
        for (name, address) in found {
            if let (None, Some(address)) = (self.get(name), address) {
                self.add(name, address);
            }
        }
    }
}

/// Calls `see` with every page of the image that can be read.
fn each_page(space: &AddressSpace, kernel: &Kernel, mut see: impl FnMut(VirtAddr, &[u8])) {
    let mut bytes = [0; PAGE_SIZE as usize];
    space.mapped(kernel.base, kernel.end(), &mut |at, _, length| {
        for page in (0..length).step_by(PAGE_SIZE as usize) {
            if space.read(at.offset(page), &mut bytes).is_ok() {
                see(at.offset(page), &bytes);
            }
        }
    });
}

fn pointers(space: &AddressSpace, kernel: &Kernel) -> Vec<(VirtAddr, VirtAddr)> {
    let mut found = Vec::new();
    each_page(space, kernel, |at, page| {
        for (index, word) in page.as_chunks::<8>().0.iter().enumerate() {
            let value = u64::from_le_bytes(*word);
            if value >> 47 == 0x1_ffff && value % 8 == 0 && found.len() < MOST_POINTERS {
                found.push((at.offset(index as u64 * 8), VirtAddr(value)));
            }
        }
    });
    found
}
