//! Modules of processes: the three lists of the loader, which live in the process's own memory, held against the images that the
//! kernel has mapped there.

use super::files::whole;
use super::processes::Task;
use super::vads::{Vad, missing};
use super::{Windows, text};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Known, Library, ReadError, Scope, Sink, Time};
use crate::symbols::{Context, Object};
use std::collections::{BTreeMap, HashSet};

/// Far more modules than any process loads.
const MOST_MODULES: usize = 1 << 14;

/// In load order, in initialization order, in memory order: heads in _PEB_LDR_DATA and links in _LDR_DATA_TABLE_ENTRY.
const LISTS: [(&str, &str); 3] = [
    ("InLoadOrderModuleList", "InLoadOrderLinks"),
    ("InInitializationOrderModuleList", "InInitializationOrderLinks"),
    ("InMemoryOrderModuleList", "InMemoryOrderLinks"),
];

/// What 32-bit processes have in the same places, in words of 4 bytes (PEB_LDR_DATA and LDR_DATA_TABLE_ENTRY, winternl.h): the heads
/// and links of the three lists, then of an entry the base, the size, the full name and the short name.
const WORD: u64 = 4;
const HEADS_32: [u64; 3] = [3, 7, 5];
const LINKS_32: [u64; 3] = [0, 4, 2];
const BASE_32: u64 = 6;
const SIZE_32: u64 = 8;
const FULL_NAME_32: u64 = 9;
const BASE_NAME_32: u64 = 11;

/// A module as the loader knows it.
struct Module {
    size: u64,
    name: Result<String, ReadError>,
    path: Result<String, ReadError>,
    load_time: Known<Time>,
    /// On which of the lists it is.
    listed: [bool; 3],
    problems: Vec<String>,
}

type Images = BTreeMap<VirtAddr, (u64, Known<String>)>;

/// What the loader's lists say of a process: its modules by their base.
#[derive(Default)]
struct Loader {
    /// Whether there is a loader at all.
    there: bool,
    modules: BTreeMap<VirtAddr, Module>,
    /// Why a list could not be followed to its end.
    broken: [Option<ReadError>; 3],
    trouble: Vec<ReadError>,
}

pub fn libraries(windows: &Windows, scope: Scope, out: &mut Sink<Library>) {
    windows.each_task("libraries", scope, out, |task, out| of_task(windows, task, out));
}

fn of_task(windows: &Windows, task: &Task<'_>, out: &mut Sink<Library>) -> Result<(), ReadError> {
    let mut loader = Loader::of(windows, &task.object);
    let (vads, unread) = windows.vads(&task.object, out.watch());
    let lost = missing(&task.object, vads.len(), &unread);
    let mut images = windows.images(&vads);
    loader.put_right(&images);
    let row = |base, size, listed: [bool; 3], mapped: Known<String>| {
        let [in_load, in_init, in_memory] = std::array::from_fn(|list| match (loader.there, listed.get(list), loader.broken.get(list)) {
            (false, ..) => Known::Absent,
            (_, Some(false), Some(Some(why))) => Known::Unreadable(*why),
            (_, listed, _) => listed.copied().into(),
        });
        Library {
            pid: task.pid,
            process: task.name.clone(),
            base,
            size,
            name: mapped.clone().map(|path| last_part(&path)),
            in_load,
            in_init,
            in_memory,
            mapped_file: mapped,
            ..Library::default()
        }
    };
    for (base, module) in &loader.modules {
        let mapped = images.remove(base);
        let mut problems = module.problems.clone();
        if mapped.is_none() && lost.is_none() {
            problems.push("no image is mapped at this address".to_owned());
        }
        let mut size = module.size;
        if let Some((mapped, _)) = &mapped
            && module.size.checked_next_multiple_of(PAGE_SIZE) != Some(*mapped)
        {
            problems.push(format!("size: the loader says {size:#x}; it is that of the image which is mapped"));
            size = *mapped;
        }
        let library = row(*base, size, module.listed, mapped.map_or(lost.map_or(Known::Absent, Known::Unreadable), |(_, file)| file));
        let (mut name, mut path) = (Known::from(module.name.clone()), Known::from(module.path.clone()));
        if let (Ok(told), Ok(whole)) = (&module.name, &module.path)
            && !last_part(whole).eq_ignore_ascii_case(told)
        {
            // The kernel knows the file too: two of three.
            let is_file = |name: &str| library.name.value().is_some_and(|file| file.eq_ignore_ascii_case(name));
            problems.push(format!("its name is not the end of its path: {told:?} and {whole:?}"));
            match (is_file(told), is_file(&last_part(whole))) {
                (true, false) => path = Known::Unreadable(ReadError::Implausible("path")),
                (false, true) => name = Known::Value(last_part(whole)),
                _ => {
                    name = Known::Unreadable(ReadError::Implausible("name"));
                    path = Known::Unreadable(ReadError::Implausible("path"));
                }
            }
        }
        if let (Known::Unreadable(_), Known::Value(_)) = (&name, &library.name) {
            problems.push("name: the loader's cannot be read; it is that of the file which is mapped".to_owned());
            name = library.name.clone();
        }
        out.push(Library { name, path, load_time: module.load_time.clone(), problems, ..library });
    }
    // What the kernel has mapped as an image and no list of the loader knows.
    for (base, (size, file)) in images {
        out.push(Library { path: file.clone(), ..row(base, size, [false; 3], file) });
    }
    for why in loader.trouble.iter().chain(&unread) {
        out.note(format!("libraries of {} {} may be missing: {why}", task.name, task.pid));
    }
    Ok(())
}

pub fn last_part(path: &str) -> String {
    path.rsplit('\\').next().unwrap_or_default().to_owned()
}

impl Windows {
    /// Where the loader of a process has put images, by any of its lists. None where it has none yet, or where one cannot be read: then
    /// there is no telling what is not on it.
    pub(super) fn loaded_images(&self, process: &Object<'_>, vads: &[Vad<'_>]) -> Option<HashSet<VirtAddr>> {
        let mut loader = Loader::of(self, process);
        loader.put_right(&self.images(vads));
        let whole = loader.broken.iter().all(Option::is_none) && !loader.modules.is_empty();
        whole.then(|| loader.modules.into_keys().collect())
    }

    /// The images of a process: where each is mapped, its size and its file.
    fn images(&self, vads: &[Vad<'_>]) -> Images {
        let mapped = |vad: &Vad<'_>| Known::from(vad.file().and_then(|file| file.map(|file| self.file_path(&file)).transpose()));
        vads.iter().filter(|vad| vad.image).map(|vad| (vad.start, (vad.end.0 - vad.start.0 + 1, mapped(vad)))).collect()
    }
}

impl Loader {
    fn of(windows: &Windows, process: &Object<'_>) -> Self {
        let mut loader = Self::default();
        let native = windows.with_peb(process, |peb| match peb.follow("Ldr")? {
            Some(data) => loader.read(&data),
            None => Ok(()),
        });
        let narrow = windows.peb32(process).and_then(|peb| match peb {
            Some(peb) => loader.read_32(windows, process, peb),
            None => Ok(()),
        });
        for why in [native.err(), narrow.err()].into_iter().flatten() {
            // Without a list there is no telling what is not on it.
            loader.there = true;
            loader.broken = loader.broken.map(|known| known.or(Some(why)));
            loader.trouble.push(why);
        }
        loader
    }

    /// The lists behind a _PEB_LDR_DATA.
    fn read(&mut self, data: &Object<'_>) -> Result<(), ReadError> {
        let context = data.context();
        for (list, (head, links)) in LISTS.into_iter().enumerate() {
            let entries = self.walk(list, context, "_LIST_ENTRY", data.at(head)?);
            for entry in entries {
                let entry = context.container("_LDR_DATA_TABLE_ENTRY", links, entry)?;
                self.add(list, entry.pointer("DllBase"), || {
                    let time = |field| entry.inner(field).and_then(|time| time.uint("QuadPart")).map(text::filetime);
                    Ok(Module {
                        size: entry.uint("SizeOfImage")?,
                        name: entry.inner("BaseDllName").and_then(|name| text::unicode(&name)).and_then(whole),
                        path: entry.inner("FullDllName").and_then(|path| text::unicode(&path)).and_then(whole),
                        load_time: if entry.has("LoadTime") { time("LoadTime").into() } else { Known::Absent },
                        listed: [false; 3],
                        problems: Vec::new(),
                    })
                });
            }
        }
        Ok(())
    }

    /// The lists of the 32-bit loader that a 32-bit process has beside the other.
    fn read_32(&mut self, windows: &Windows, process: &Object<'_>, peb: VirtAddr) -> Result<(), ReadError> {
        let space = windows.space_of(process)?;
        let context = Context { space: &space, profile: &windows.profile };
        let data = context.object("_PEB32", peb)?.pointer("Ldr")?;
        if data.is_null() {
            return Ok(());
        }
        for (list, (head, links)) in HEADS_32.into_iter().zip(LINKS_32).enumerate() {
            let entries = self.walk(list, context, "LIST_ENTRY32", data.offset(head * WORD));
            for entry in entries {
                let word = |index: u64| entry.offset((index.wrapping_sub(links)).wrapping_mul(WORD));
                let number = |index| space.uint(word(index), WORD as u32);
                // Length, room, and where the text is.
                let string = |index| text::wide(&space, VirtAddr(number(index + 1)?), (number(index)? & 0xffff) as usize).and_then(whole);
                self.add(list, number(BASE_32).map(VirtAddr), || {
                    Ok(Module {
                        size: number(SIZE_32)?,
                        name: string(BASE_NAME_32),
                        path: string(FULL_NAME_32),
                        load_time: Known::Absent,
                        listed: [false; 3],
                        problems: Vec::new(),
                    })
                });
            }
        }
        Ok(())
    }

    /// Where an entry says that a module is at an address at which no image is mapped, and the image of its name and size is mapped where
    /// no entry says so: there it is.
    fn put_right(&mut self, images: &Images) {
        let strays: Vec<VirtAddr> = self.modules.keys().filter(|base| !images.contains_key(base)).copied().collect();
        for stray in strays {
            let Some(module) = self.modules.get(&stray) else { continue };
            let Ok(name) = &module.name else { continue };
            let is_it = |(base, (size, file)): &(&VirtAddr, &(u64, Known<String>))| {
                let named = file.value().is_some_and(|file| last_part(file).eq_ignore_ascii_case(name));
                named && module.size.checked_next_multiple_of(PAGE_SIZE) == Some(*size) && !self.modules.contains_key(base)
            };
            let mut fitting = images.iter().filter(is_it);
            if let (Some((base, _)), None) = (fitting.next(), fitting.next())
                && let Some(mut module) = self.modules.remove(&stray)
            {
                module.problems.push(format!("base: the loader says {stray}; its image is mapped here"));
                self.modules.insert(*base, module);
            }
        }
    }

    /// Takes note of an entry of a list.
    fn add(&mut self, list: usize, base: Result<VirtAddr, ReadError>, read: impl FnOnce() -> Result<Module, ReadError>) {
        let known = match base {
            Ok(base) if base.is_null() || base.is_kernel() || base.in_page() != 0 => Err(ReadError::Implausible("module base")),
            Ok(base) if self.modules.contains_key(&base) => Ok(base),
            Ok(base) => read().map(|module| {
                self.modules.insert(base, module);
                base
            }),
            Err(why) => Err(why),
        };
        match known {
            Ok(base) => {
                if let Some(listed) = self.modules.get_mut(&base).and_then(|module| module.listed.get_mut(list)) {
                    *listed = true;
                }
            }
            Err(why) => {
                // An entry that does not say which module it is for may be for any.
                if let Some(broken) = self.broken.get_mut(list) {
                    *broken = broken.or(Some(why));
                }
                self.trouble.push(why);
            }
        }
    }

    /// The entries of a list, followed in both directions: what is on it in one direction only is on it.
    fn walk(&mut self, list: usize, context: Context<'_>, structure: &'static str, head: VirtAddr) -> Vec<VirtAddr> {
        self.there = true;
        let (mut entries, forwards) = follow(context, structure, head, "Flink");
        let (back, backwards) = follow(context, structure, head, "Blink");
        let known: HashSet<VirtAddr> = entries.iter().copied().collect();
        entries.extend(back.into_iter().rev().filter(|entry| !known.contains(entry)));
        // One whole direction tells all that there is.
        if let (Some(place), Err(why), Err(_)) = (self.broken.get_mut(list), forwards, backwards) {
            *place = place.or(Some(why));
            self.trouble.push(why);
        }
        entries
    }
}

/// The entries of a ring in one direction, and whether it closed.
fn follow(
    context: Context<'_>,
    structure: &'static str,
    head: VirtAddr,
    direction: &'static str,
) -> (Vec<VirtAddr>, Result<(), ReadError>) {
    let (mut entries, mut seen) = (Vec::new(), HashSet::new());
    let mut at = head;
    let outcome = loop {
        match context.object(structure, at).and_then(|entry| entry.pointer(direction)) {
            Ok(next) if next == head => break Ok(()),
            Ok(next) if next.is_null() || next.is_kernel() || seen.len() >= MOST_MODULES || !seen.insert(next) => {
                break Err(ReadError::Implausible("loader list"));
            }
            Ok(next) => {
                entries.push(next);
                at = next;
            }
            Err(why) => break Err(why),
        }
    };
    (entries, outcome)
}
