//! Finding the kernel: its page tables, its symbols and its types, each proved on the image before it is believed.

use super::clock::Clock;
use super::pages::LinuxPages;
use super::{Linux, path, relocations};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Check, Info, Kept, Known, Origin, ReadError, Watch};
use crate::image::{Chunk, Image};
use crate::paging::{AddressSpace, Levels};
use crate::symbols::{Btf, Context, Found, Profile, SymbolTable, TypeSource, VmcoreInfo, kallsyms, open_symbols};
use memchr::memmem;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where the kernel image is mapped (Documentation/arch/x86/x86_64/mm.rst), KASLR included; the modules follow.
const KERNEL_MAP: VirtAddr = VirtAddr(0xffff_ffff_8000_0000);
const KERNEL_MAP_END: VirtAddr = VirtAddr(0xffff_ffff_c000_0000);
/// Where `_text` is without KASLR.
const LINK_BASE: u64 = 0xffff_ffff_8100_0000;
/// The kernel image is aligned to this in physical memory, whatever KASLR does (CONFIG_PHYSICAL_ALIGN).
const PHYSICAL_ALIGN: u64 = 0x20_0000;
const BANNER: &[u8] = b"Linux version ";

const CHUNK: usize = 1 << 20;

/// Why there is no answer, in one line.
type Failure = String;

impl Linux {
    /// Finds the kernel of an image. Headers of the image are asked first, since that costs nothing; then memory is swept.
    pub fn detect(image: Arc<Image>, files: &[PathBuf], watch: &Watch) -> Result<Self, Failure> {
        let mut trouble = Vec::new();
        let mut attempt = |found: Result<Kernel, Failure>| -> Option<Self> {
            found.and_then(|kernel| Self::on(Arc::clone(&image), kernel, files)).map_err(|why| trouble.push(why)).ok()
        };
        let hints = image.hints();
        if let Some(note) = hints.vmcoreinfo.as_deref().and_then(|text| VmcoreInfo::parse(text.as_bytes()))
            && let Some(linux) = attempt(Kernel::from_note(&image, &note, files))
        {
            return Ok(linux);
        }
        for root in &hints.page_table_roots {
            if let Some(linux) = attempt(Kernel::from_register(&image, *root)) {
                return Ok(linux);
            }
        }
        let mut found = survey(&image, watch);
        for note in found.notes {
            if let Some(linux) = attempt(Kernel::from_note(&image, &note, files)) {
                return Ok(linux);
            }
        }
        found.tables.sort();
        for table in found.tables {
            // That a row of digits is no symbol table says nothing about the image.
            if let Ok(kernel) = Kernel::from_tables(&image, table)
                && let Some(linux) = attempt(Ok(kernel))
            {
                return Ok(linux);
            }
        }
        if watch.cancelled() {
            return Err("cancelled".to_owned());
        }
        // The first reason is that of the best evidence.
        Err(trouble.into_iter().next().unwrap_or_else(|| {
            "no Linux kernel found: the image holds neither a VMCOREINFO note nor kernel symbols; is it of an x86-64 machine, and whole?"
                .to_owned()
        }))
    }

    /// Takes a kernel for granted, finds its types, and checks both on the image.
    fn on(image: Arc<Image>, kernel: Kernel, files: &[PathBuf]) -> Result<Self, Failure> {
        let Kernel { space, symbols, how } = kernel;
        let banner = symbols.find("linux_banner").and_then(|banner| space.text(banner, 512)).unwrap_or_default();
        let banner = banner.trim_end().to_owned();
        let (types, from, useless) = types(&space, &symbols, &banner, files)?;
        let profile = Profile::new(types, symbols, format!("{from}; symbols: {how}"));
        let context = Context { space: &space, profile: &profile };
        let clock = Clock::read(context);
        let checks = verify(context, &banner);
        if checks.iter().take(VITAL).any(|check| !check.passed) {
            let failed: Vec<_> =
                checks.iter().filter(|check| !check.passed).map(|check| format!("{} ({})", check.what, check.detail)).collect();
            return Err(format!(
                "the profile ({}) does not fit this image: {}; try --symbols with the kernel's own",
                profile.source,
                failed.join(", ")
            ));
        }
        let direct_map = context.symbol("page_offset_base").and_then(|base| space.pointer(base));
        let direct_map = direct_map.unwrap_or(match space.levels() {
            Levels::Four | Levels::None => VirtAddr(0xffff_8880_0000_0000),
            Levels::Five => VirtAddr(0xff11_0000_0000_0000),
        });
        let text = context.symbol("_text").or_else(|_| context.symbol("_stext")).unwrap_or_default();
        let info = Info {
            os: Origin::Linux,
            architecture: "x86_64",
            kernel: banner,
            hostname: uts(context, "nodename").into(),
            boot_time: clock.as_ref().map(|clock| clock.boot).map_err(|why| *why).into(),
            capture_time: clock.as_ref().map(|clock| clock.now).map_err(|why| *why).into(),
            format: image.format().to_owned(),
            size: image.size(),
            page_table_root: space.root(),
            paging_levels: space.levels().number(),
            kernel_base: text,
            kaslr_shift: Known::Value(text.0.wrapping_sub(LINK_BASE)),
            symbol_source: profile.source.clone(),
            checks,
            memory: image.runs().to_vec(),
            warnings: image.warnings().iter().cloned().chain(useless).collect(),
        };
        let boot_time = clock.ok().map(|clock| clock.boot);
        Ok(Self {
            image,
            space,
            profile,
            info,
            direct_map,
            boot_time,
            listed: OnceLock::new(),
            roster: Kept::default(),
            module_code: Kept::default(),
            telling_files: Kept::default(),
            perf_maps: Kept::default(),
            uprobes: Kept::default(),
            replaced: path::Replaced::default(),
            relocations: relocations::Lists::default(),
        })
    }
}

/// A kernel's address space and symbols.
struct Kernel {
    space: AddressSpace,
    symbols: SymbolTable,
    how: String,
}

impl Kernel {
    fn of(space: AddressSpace, decoded: kallsyms::Decoded, how: &str) -> Self {
        Self { space, how: format!("{how} ({})", decoded.encoding.name()), symbols: decoded.symbols }
    }

    /// By a VMCOREINFO note: it tells where the page tables are and, since 6.0, where kallsyms is.
    fn from_note(image: &Arc<Image>, note: &VmcoreInfo, files: &[PathBuf]) -> Result<Self, Failure> {
        let release = note.release().unwrap_or("?");
        let table = note.symbol("swapper_pg_dir").or_else(|| note.symbol("init_top_pgt")).zip(note.phys_base());
        let Some((table, phys_base)) = table else {
            return Err(format!("the VMCOREINFO note of kernel {release} does not tell where its page tables are"));
        };
        let root = PhysAddr(table.0.wrapping_sub(KERNEL_MAP.0).wrapping_add_signed(phys_base));
        let levels = match note.five_levels() {
            Some(true) => &[Levels::Five][..],
            Some(false) => &[Levels::Four],
            None => &[Levels::Four, Levels::Five],
        };
        for levels in levels {
            let space = space_at(image, root, *levels);
            if space.translate(table) != Ok(root) {
                continue;
            }
            let told = {
                let read = |at: VirtAddr, out: &mut [u8]| space.read(at, out);
                let prove = kallsyms::prove_by_banner(&read);
                kallsyms::Anchors::from_vmcoreinfo(note).and_then(|anchors| kallsyms::decode(&anchors, &read, &prove).ok())
            };
            let how = if told.is_some() { "kallsyms, by VMCOREINFO" } else { "kallsyms, found in the kernel VMCOREINFO points to" };
            return match told.or_else(|| search(&space)) {
                Some(decoded) => Ok(Self::of(space, decoded, how)),
                None => Self::from_files(space, note, files),
            };
        }
        Err(format!("the VMCOREINFO note of kernel {release} does not fit this image: no page tables at {root}"))
    }

    /// By the symbols in a file, moved by what the note says of KASLR: for kernels without kallsyms.
    fn from_files(space: AddressSpace, note: &VmcoreInfo, files: &[PathBuf]) -> Result<Self, Failure> {
        let release = note.release().unwrap_or("?");
        let banner = banner_in(&space, release).unwrap_or_default();
        for found in fitting(files, &banner, &mut Vec::new()) {
            let Some(mut symbols) = found.symbols else { continue };
            symbols.relocate(note.kernel_offset().unwrap_or(0));
            if symbols.find("linux_banner").is_ok_and(|at| space.bytes(at) == Ok(*b"Linux version ")) {
                return Ok(Self { space, symbols, how: found.description });
            }
        }
        Err(format!("kernel {release}: no kallsyms in its memory, and no file given with --symbols has its symbols"))
    }

    /// By a processor's CR3. With page-table isolation, user code runs on the second of two adjacent roots (bit 12).
    fn from_register(image: &Arc<Image>, register: PhysAddr) -> Result<Self, Failure> {
        let root = PhysAddr(register.0 & crate::paging::FRAME);
        let roots = if root.0 & PAGE_SIZE == 0 { vec![root] } else { vec![PhysAddr(root.0 & !PAGE_SIZE), root] };
        for root in roots {
            for levels in [Levels::Four, Levels::Five] {
                let space = space_at(image, root, levels);
                if let Some(decoded) = search(&space) {
                    return Ok(Self::of(space, decoded, "kallsyms, by the saved CR3").on_its_own_tables());
                }
            }
        }
        Err(format!("the saved CR3 {register} does not lead to a Linux kernel"))
    }

    /// The page tables that the kernel booted with, in place of those of whatever process ran.
    fn on_its_own_tables(self) -> Self {
        let own = self.symbols.find("init_top_pgt").or_else(|_| self.symbols.find("swapper_pg_dir"));
        let Ok(root) = own.and_then(|table| self.space.translate(table)) else { return self };
        Self { space: self.space.with_root(root), ..self }
    }

    /// By the token table of kallsyms at a physical address. The kernel image is contiguous in physical memory, so the symbols that the
    /// tables around give are off by one distance, which the banner tells.
    fn from_tables(image: &Arc<Image>, table: PhysAddr) -> Result<Self, Failure> {
        let failed = |what: &str| format!("kallsyms at physical {table}: {what}");
        let run = image.runs().iter().find(|run| run.contains(table)).ok_or_else(|| failed("not in the image"))?;
        let start = PhysAddr(table.0.saturating_sub(kallsyms::BEFORE as u64).max(run.start.0)).page().0.max(run.start.0);
        let end = table.0.saturating_add(kallsyms::AFTER as u64).min(run.end().0);
        let mut bytes = vec![0; (end - start) as usize];
        image.read(PhysAddr(start), &mut bytes).map_err(|why| failed(&why.to_string()))?;
        let banners: Vec<u64> = memmem::find_iter(&bytes, BANNER).map(|at| start + at as u64).collect();
        let distance = |find: &dyn Fn(&str) -> Option<VirtAddr>| {
            let banner = find("linux_banner")?.0;
            // Addresses in the kernel's map, or counted from the start of the buffer where its own place is not known.
            let base = if banner >= KERNEL_MAP.0 { KERNEL_MAP.0 } else { 0 };
            let whole =
                |place: &&u64| base == 0 && **place == start + banner || (**place).wrapping_sub(banner - base) % PHYSICAL_ALIGN == 0;
            banners.iter().find(whole).map(|place| place.wrapping_sub(banner))
        };
        let prove = |find: &dyn Fn(&str) -> Option<VirtAddr>| distance(find).is_some();
        let mut decoded = kallsyms::search(&bytes, None, &prove).ok_or_else(|| failed("no symbol table around it proves itself"))?;
        drop(bytes);
        let distance = distance(&|name| decoded.symbols.get(name)).ok_or_else(|| failed("no banner fits"))?;
        let top = decoded.symbols.get("init_top_pgt").or_else(|| decoded.symbols.get("swapper_pg_dir"));
        let root = PhysAddr(top.ok_or_else(|| failed("no page tables among its symbols"))?.0.wrapping_add(distance));
        for levels in [Levels::Four, Levels::Five] {
            let space = space_at(image, root, levels);
            if decoded.floating {
                let mut place = None;
                space.mapped(KERNEL_MAP, KERNEL_MAP_END, &mut |at, leaf, length| {
                    let Some(frame) = leaf.frame() else { return };
                    if place.is_none() && (frame.0..frame.0 + length).contains(&table.0) {
                        place = Some((at.0 + (table.0 - frame.0)).wrapping_sub(table.0 - start));
                    }
                });
                let Some(place) = place else { continue };
                decoded.symbols.shift(place);
                decoded.floating = false;
            }
            if decoded.symbols.find("linux_banner").is_ok_and(|banner| space.bytes(banner) == Ok(*b"Linux version ")) {
                return Ok(Self::of(space, decoded, "kallsyms, found in physical memory"));
            }
        }
        Err(failed("its kernel's page tables do not map it"))
    }
}

fn space_at(image: &Arc<Image>, root: PhysAddr, levels: Levels) -> AddressSpace {
    AddressSpace::new(Arc::clone(image), root, levels, Arc::new(LinuxPages))
}

/// The stretches that an address space maps where the kernel image belongs.
fn kernel_runs(space: &AddressSpace) -> Vec<(VirtAddr, u64)> {
    let mut runs: Vec<(VirtAddr, u64)> = Vec::new();
    space.mapped(KERNEL_MAP, KERNEL_MAP_END, &mut |at, _, length| match runs.last_mut() {
        Some((start, run)) if start.0 + *run == at.0 => *run += length,
        _ => runs.push((at, length)),
    });
    runs
}

/// The banner of a release somewhere in the kernel's memory.
fn banner_in(space: &AddressSpace, release: &str) -> Option<String> {
    let wanted = format!("Linux version {release} (");
    kernel_runs(space).into_iter().find_map(|(start, length)| {
        (0..length).step_by(CHUNK).find_map(|offset| {
            let mut bytes = vec![0; (CHUNK + 512).min((length - offset) as usize)];
            space.read_available(start.offset(offset), &mut bytes, |_, _| ());
            let found = memmem::find(&bytes, wanted.as_bytes())?;
            let text = bytes.get(found..)?.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(text).trim_end().to_owned())
        })
    })
}

/// Looks for kallsyms in what an address space maps where the kernel image belongs.
fn search(space: &AddressSpace) -> Option<kallsyms::Decoded> {
    let read = |at: VirtAddr, out: &mut [u8]| space.read(at, out);
    let prove = kallsyms::prove_by_banner(&read);
    let mut window = vec![0; CHUNK + kallsyms::SIGNATURE.len()];
    for (start, length) in kernel_runs(space) {
        let mut offset = 0;
        while offset < length {
            let size = window.len().min((length - offset) as usize);
            let bytes = &mut window[..size];
            bytes.fill(0);
            space.read_available(start.offset(offset), bytes, |_, _| ());
            for hit in memmem::find_iter(bytes, kallsyms::SIGNATURE) {
                let table = offset + hit as u64;
                // To read all that the largest kernels need takes longer than anything else here.
                for (before, after) in [(kallsyms::AROUND, kallsyms::AROUND), (kallsyms::BEFORE, kallsyms::AFTER)] {
                    // Alignment tells where tables begin.
                    let from = table.saturating_sub(before as u64) / PAGE_SIZE * PAGE_SIZE;
                    let to = (table + after as u64).min(length);
                    let mut around = vec![0; (to - from) as usize];
                    space.read_available(start.offset(from), &mut around, |_, _| ());
                    if let Some(decoded) = kallsyms::search(&around, Some(start.offset(from)), &prove) {
                        return Some(decoded);
                    }
                }
            }
            offset += CHUNK as u64;
        }
    }
    None
}

/// What a sweep of physical memory finds: it ends with the first chunk that holds anything.
#[derive(Default)]
struct Survey {
    notes: Vec<VmcoreInfo>,
    tables: Vec<PhysAddr>,
}

fn survey(image: &Image, watch: &Watch) -> Survey {
    let found = Mutex::new(Survey::default());
    let table = memmem::Finder::new(kallsyms::SIGNATURE);
    // A note lies within a page or two; the overlap lets one that crosses a chunk's end be seen whole.
    image.sweep(CHUNK, 2 * PAGE_SIZE as usize, watch, |Chunk { at: start, bytes, own }| {
        let notes: Vec<VmcoreInfo> = VmcoreInfo::notes(bytes).filter_map(|range| VmcoreInfo::parse(bytes.get(range)?)).collect();
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.tables.extend(table.find_iter(bytes).take_while(|at| *at < own).map(|at| start.offset(at as u64)));
        found.notes.extend(notes);
        if found.notes.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Types, where they are from, and which of the given files were of no use.
type Types = (Box<dyn TypeSource>, String, Vec<String>);

/// The kernel's types: from a file that fits, if one was given, else from the BTF in the image. Also says where they are from, and which
/// files were of no use.
fn types(space: &AddressSpace, symbols: &SymbolTable, banner: &str, files: &[PathBuf]) -> Result<Types, Failure> {
    let mut useless = Vec::new();
    let given = fitting(files, banner, &mut useless).find_map(|found| found.types.zip(Some(found.description)));
    if let Some((types, description)) = given {
        return Ok((types, format!("types: {description}"), useless));
    }
    let btf = || -> Result<Btf, String> {
        let find = |names: [&'static str; 2]| symbols.find(names[0]).or_else(|_| symbols.find(names[1])).map_err(|why| why.to_string());
        let start = find(["__start_BTF", "_binary__btf_vmlinux_bin_start"])?;
        let end = find(["__stop_BTF", "_binary__btf_vmlinux_bin_end"])?;
        let length = end.0.checked_sub(start.0).filter(|length| *length <= MOST_BTF).ok_or("its BTF has an absurd length")?;
        let mut bytes = vec![0; length as usize];
        space.read(start, &mut bytes).map_err(|why| why.to_string())?;
        Btf::parse(bytes).map_err(str::to_owned)
    };
    match btf() {
        Ok(btf) => Ok((Box::new(btf), "types: BTF in the image".to_owned(), useless)),
        Err(why) => {
            let mut failure = format!(
                "{banner}: its types are not in the image ({why}); give its ISF file, its vmlinux with debug information, or a profile made of that, with --symbols"
            );
            useless.iter().for_each(|file| failure.push_str(&format!("; {file}")));
            Err(failure)
        }
    }
}

/// The symbol files that belong to a kernel, by its banner where they tell one. What is wrong with the others goes to `useless`.
fn fitting<'a>(files: &'a [PathBuf], banner: &'a str, useless: &'a mut Vec<String>) -> impl Iterator<Item = Found> + 'a {
    files.iter().filter_map(move |path| match open_symbols(path, Some(banner)) {
        Ok(Some(found)) if found.banner.as_deref().is_none_or(|own| own.trim() == banner) && found.pdb.is_none() => Some(found),
        Ok(_) => {
            useless.push(format!("{} is not used: it is not for this kernel", path.display()));
            None
        }
        Err(why) => {
            useless.push(format!("not used: {why}"));
            None
        }
    })
}

/// Kernels carry 4 to 10 MB of BTF.
const MOST_BTF: u64 = 64 << 20;

/// The first so many checks decide whether the profile is used at all.
const VITAL: usize = 3;

/// What a profile must get right on this image.
fn verify(context: Context<'_>, banner: &str) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |what: &str, outcome: Result<String, String>| {
        let (passed, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        checks.push(Check { what: what.to_owned(), passed, detail });
    };
    let text = |result: Result<String, ReadError>| result.map_err(|why| why.to_string());

    let release = text(uts(context, "release"));
    check(
        "utsname agrees with the banner",
        release.and_then(|release| {
            if !release.is_empty() && banner.starts_with(&format!("Linux version {release} ")) {
                Ok(release)
            } else {
                Err(format!("{release:?} is not in the banner"))
            }
        }),
    );
    let idle = || -> Result<String, ReadError> {
        let idle = context.global("init_task", "task_struct")?;
        match (idle.uint("pid")?, idle.text("comm")?) {
            (0, comm) if comm.starts_with("swapper") => Ok(comm),
            _ => Err(ReadError::Implausible("init_task")),
        }
    };
    check("init_task is PID 0, swapper", text(idle()));
    let members = || -> Result<String, ReadError> {
        let first = context.global("init_task", "task_struct")?.list("tasks", "task_struct", "tasks")?.next();
        let first = first.ok_or(ReadError::Implausible("task list"))??;
        match first.uint("pid")? {
            1 => Ok(format!("{} is PID 1", first.text("comm")?)),
            _ => Err(ReadError::Implausible("first task")),
        }
    };
    check("the task list begins with PID 1", text(members()));
    let both = || -> Result<String, ReadError> {
        let mut count = 0;
        let mut back = 0;
        let head = context.global("init_task", "task_struct")?;
        for task in head.list("tasks", "task_struct", "tasks")? {
            let task = task?;
            let next = task.inner("tasks")?.pointer("next")?;
            back += u64::from(context.object("list_head", next)?.pointer("prev")? == task.at("tasks")?);
            count += 1;
        }
        if back == count { Ok(format!("{count} tasks")) } else { Err(ReadError::Implausible("back links")) }
    };
    check("the task list closes in both directions", text(both()));
    let own = || -> Result<String, ReadError> {
        let table = context.symbol("init_top_pgt").or_else(|_| context.symbol("swapper_pg_dir"))?;
        let root = context.space.translate(table)?;
        if root == context.space.root() { Ok(root.to_string()) } else { Err(ReadError::Implausible("page-table root")) }
    };
    check("the page tables map themselves", text(own()));
    let direct = || -> Result<String, ReadError> {
        let base = context.space.pointer(context.symbol("page_offset_base")?)?;
        let root = context.space.root();
        if context.space.translate(base.offset(root.0))? == root {
            Ok(base.to_string())
        } else {
            Err(ReadError::Implausible("page_offset_base"))
        }
    };
    check("the direct map is where page_offset_base says", text(direct()));
    check("the clock is sane", Clock::read(context).map(|clock| clock.now.to_string()).map_err(|why| why.to_string()));
    checks
}

fn uts(context: Context<'_>, field: &'static str) -> Result<String, ReadError> {
    context.global("init_uts_ns", "uts_namespace")?.inner("name")?.text(field)
}
