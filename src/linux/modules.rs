//! Kernel modules: the list that the system shows, and the other places in which the kernel keeps them.

use super::{Linux, rbtree};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Module, ReadError, Scope, Sink, Watch};
use crate::symbols::{Context, Object};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

/// Ways to find a module; the order is that of the `sources` column.
const SOURCES: [&str; 4] = ["module_list", "address_tree", "kset", "scan"];
const LIST: usize = 0;
const TREE: usize = 1;
const KSET: usize = 2;
const SCAN: usize = 3;

/// Far more modules than any kernel has.
const MOST_MODULES: usize = 1 << 16;
/// Each module has up to seven areas, each of them a node.
const MOST_NODES: usize = MOST_MODULES * 7;
/// A module's areas lie within 2 GiB of the kernel.
const MOST_BYTES: u64 = 1 << 31;
/// The address range that x86-64 has for modules (Documentation/arch/x86/x86_64/mm.rst).
pub(super) const MODULE_SPACE: Range<u64> = 0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000;

/// The modules found so far, each with the ways that led to it.
#[derive(Default)]
struct Finds {
    by: HashMap<VirtAddr, [bool; 4]>,
    /// As /proc/modules has them, then the others.
    order: Vec<VirtAddr>,
    /// Whether the whole list was read: only then can a module be missing from it.
    list_whole: bool,
}

impl Finds {
    fn mark(&mut self, module: VirtAddr, source: usize) {
        if self.by.len() >= MOST_MODULES {
            return;
        }
        let order = &mut self.order;
        self.by.entry(module).or_insert_with(|| {
            order.push(module);
            [false; 4]
        })[source] = true;
    }
}

pub fn modules(linux: &Linux, scope: Scope, out: &mut Sink<Module>) {
    // Modules belong to the machine, whichever process is asked about.
    let _ = scope;
    let context = linux.context();
    let mut finds = Finds::default();
    match list(context, &mut finds) {
        Ok(None) => {}
        Ok(Some(why)) if finds.list_whole => out.note(format!("an entry of the module list is damaged: {why}")),
        Ok(Some(why)) | Err(why) => out.cut(format!("the module list is broken, so that none can be called hidden: {why}")),
    }
    // Each other road is only as good as what it leads to: what is no module is not taken from it.
    for (source, what, found) in [
        (TREE, "the tree of module addresses", tree(context)),
        (KSET, "the modules of sysfs", kset(context)),
        (SCAN, "module memory", Ok(linux.scan_module_space(out.watch()))),
    ] {
        match found {
            Ok((modules, trouble)) => {
                let known = modules.into_iter().filter_map(|module| context.object("module", module).ok());
                known.filter(|module| plausible(module).unwrap_or(false)).for_each(|module| finds.mark(module.address, source));
                if let Some(why) = trouble {
                    out.note(format!("{what} could be read only in part: {why}"));
                }
            }
            Err(why) => out.note(format!("{what} could not be searched: {why}")),
        }
    }
    for address in &finds.order {
        if out.cancelled() {
            return;
        }
        let found_by = finds.by.get(address).copied().unwrap_or_default();
        match context.object("module", *address) {
            // Neither a name nor a place: a torn link of the list led here, or the page is lost.
            Ok(module) if !recognisable(&module) => out.note(format!("what the module list has at {address} is no module")),
            Ok(module) => out.push(describe(&module, found_by, finds.list_whole)),
            Err(why) => return out.cut(format!("modules cannot be read: {why}")),
        }
    }
    if finds.order.is_empty() && finds.list_whole {
        out.note("no module is loaded: the module list is empty, and no other search found one");
    }
}

/// The list, from both ends where it is broken: one damaged entry then costs no more than itself. Gives what broke it, and whether
/// entries may be missing.
fn list(context: Context<'_>, finds: &mut Finds) -> Result<Option<ReadError>, ReadError> {
    let head = context.symbol("modules")?;
    let (forwards, broken) = along(context, head, "next");
    forwards.into_iter().for_each(|module| finds.mark(module, LIST));
    let Some((at, why)) = broken else {
        finds.list_whole = true;
        return Ok(None);
    };
    let (backwards, broken) = along(context, head, "prev");
    backwards.into_iter().rev().for_each(|module| finds.mark(module, LIST));
    finds.list_whole = broken.is_none_or(|(other, _)| other == at);
    Ok(Some(why))
}

/// The modules in one direction, and the entry at which the walk broke off.
fn along(context: Context<'_>, head: VirtAddr, direction: &'static str) -> (Vec<VirtAddr>, Option<(VirtAddr, ReadError)>) {
    let mut modules = Vec::new();
    let mut seen = HashSet::from([head]);
    let mut at = head;
    loop {
        let next = match context.object("list_head", at).and_then(|entry| entry.pointer(direction)) {
            Ok(next) if next == head => return (modules, None),
            Ok(next) => next,
            Err(why) => return (modules, Some((at, why))),
        };
        if !next.is_kernel() || !seen.insert(next) || modules.len() >= MOST_MODULES {
            return (modules, Some((at, ReadError::Implausible("list"))));
        }
        match context.container("module", "list", next) {
            Ok(module) => modules.push(module.address),
            Err(why) => return (modules, Some((at, why))),
        }
        at = next;
    }
}

type Searched = (Vec<VirtAddr>, Option<ReadError>);

/// The tree by which the kernel finds the module of an address: two red-black trees over the same nodes, one of which is valid at
/// any moment. Each node names its module.
fn tree(context: Context<'_>) -> Result<Searched, ReadError> {
    let latch = context.global("mod_tree", "mod_tree_root")?.inner("root")?;
    let inside = context.profile.layout("latch_tree_node")?.offset("node")?;
    let stride = u64::from(context.profile.layout("rb_node")?.size);
    let mut modules = BTreeSet::new();
    let mut trouble = None;
    for side in 0..latch.array("tree")?.0.min(2) {
        let top = latch.element("tree", side)?.pointer("rb_node")?;
        let (nodes, broken) = rbtree::nodes(context, top, MOST_NODES);
        trouble = trouble.or(broken);
        for node in nodes {
            let latched = VirtAddr(node.0.wrapping_sub(inside + u64::from(side) * stride));
            match context.container("mod_tree_node", "node", latched).and_then(|node| node.pointer("mod")) {
                Ok(module) => drop(modules.insert(module)),
                Err(why) => trouble = Some(why),
            }
        }
    }
    Ok((modules.into_iter().collect(), trouble))
}

/// The modules whose directories /sys/module holds. Code built into the kernel has one too, without a module behind it.
fn kset(context: Context<'_>) -> Result<Searched, ReadError> {
    let set = context.space.pointer(context.symbol("module_kset")?)?;
    let mut modules = Vec::new();
    let mut trouble = None;
    for entry in context.object("kset", set)?.list("list", "kobject", "entry")?.take(MOST_MODULES) {
        let module = entry.and_then(|entry| context.container("module_kobject", "kobj", entry.address)?.pointer("mod"));
        match module {
            Ok(module) if !module.is_null() => modules.push(module),
            Ok(_) => {}
            Err(why) => trouble = Some(why),
        }
    }
    Ok((modules, trouble))
}

impl Linux {
    /// Modules in the memory that the kernel has mapped for them, whatever no longer leads there: a struct module lies in its own
    /// module's data and holds pointers to itself.
    fn scan_module_space(&self, watch: &Watch) -> Searched {
        let context = self.context();
        let places = match self_pointers(context) {
            Ok(places) => places,
            Err(why) => return (Vec::new(), Some(why)),
        };
        let kernel_end = context.symbol("_end").map_or(0, |end| end.0.next_multiple_of(PAGE_SIZE));
        let start = VirtAddr(MODULE_SPACE.start.max(kernel_end.min(MODULE_SPACE.end)));
        let mut found = HashSet::new();
        let mut trouble = None;
        let mut bytes = [0; PAGE_SIZE as usize];
        self.space.mapped(start, VirtAddr(MODULE_SPACE.end), &mut |at, _, length| {
            for page in 0..length / PAGE_SIZE {
                if watch.cancelled() {
                    return;
                }
                let at = at.offset(page * PAGE_SIZE);
                if let Err(why) = self.space.read(at, &mut bytes) {
                    trouble = Some(why);
                    continue;
                }
                for (word, place) in bytes.as_chunks::<8>().0.iter().zip((at.0..).step_by(8)) {
                    let word = u64::from_le_bytes(*word);
                    // Most words are no pointer to anything near.
                    if MODULE_SPACE.contains(&word) && places.contains(&place.wrapping_sub(word)) && found.len() < MOST_MODULES {
                        found.insert(VirtAddr(word));
                    }
                }
            }
        });
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        (found, trouble)
    }
}

/// Where in a struct module pointers to that very module lie: its kobject's, and those of its nodes in the address tree.
fn self_pointers(context: Context<'_>) -> Result<Vec<u64>, ReadError> {
    let nowhere = context.object("module", VirtAddr(0))?;
    let mut places = vec![nowhere.inner("mkobj")?.at("mod")?.0];
    let node = |area: Object<'_>| area.inner("mtn")?.at("mod");
    if nowhere.has("mem") {
        let areas = (0..nowhere.array("mem")?.0).filter_map(|index| nowhere.element("mem", index).and_then(node).ok());
        places.extend(areas.map(|at| at.0));
    } else {
        let areas = ["core_layout", "init_layout"].into_iter().filter_map(|area| nowhere.inner(area).and_then(node).ok());
        places.extend(areas.map(|at| at.0));
    }
    Ok(places)
}

/// Whether bytes can be a module at all.
fn plausible(module: &Object<'_>) -> Result<bool, ReadError> {
    let name = module.text("name")?;
    let links = module.inner("list")?;
    let (base, size) = extent(module);
    Ok(module.address.is_kernel()
        && (1..64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic())
        && State::of(module)?.is_some()
        && !links.pointer("next")?.is_null()
        && base?.is_kernel()
        && (1..MOST_BYTES).contains(&size?))
}

/// Whether something of a module can be told from bytes that the list leads to.
fn recognisable(module: &Object<'_>) -> bool {
    let named = module.text("name").is_ok_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
    named || extent(module).0.is_ok_and(VirtAddr::is_kernel)
}

/// Where the code lies and how much memory there is in all: the columns of /proc/modules.
fn extent(module: &Object<'_>) -> (Result<VirtAddr, ReadError>, Result<u64, ReadError>) {
    if module.has("mem") {
        // Since 6.4: an area for each kind of memory, code first. Those of initialisation are 0 bytes once it is done.
        let text = module.context().profile.enumerator("MOD_TEXT").and_then(|text| u32::try_from(text).ok()).unwrap_or(0);
        let area = |index| module.element("mem", index);
        let size = module.array("mem").and_then(|(count, _)| (0..count.min(16)).map(|index| area(index)?.uint("size")).sum());
        (area(text).and_then(|area| area.pointer("base")), size)
    } else if module.has("core_layout") {
        // Since 4.5.
        let core = module.inner("core_layout");
        let size = |area| module.inner(area)?.uint("size");
        (core.and_then(|core| core.pointer("base")), size("core_layout").and_then(|core| Ok(core + size("init_layout")?)))
    } else {
        (module.pointer("module_core"), module.uint("core_size").and_then(|core| Ok(core + module.uint("init_size")?)))
    }
}

/// Where a module's code lies, that of its initialisation as well while it is there.
pub(super) fn code(module: &Object<'_>) -> Vec<Range<VirtAddr>> {
    let area = |base: Result<VirtAddr, ReadError>, size: Result<u64, ReadError>| {
        let (base, size) = (base.ok()?, size.ok().filter(|size| (1..MOST_BYTES).contains(size))?);
        Some(base..base.offset(size))
    };
    let areas = if module.has("mem") {
        let number = |kind, usual| module.context().profile.enumerator(kind).and_then(|kind| u32::try_from(kind).ok()).unwrap_or(usual);
        let text = |index| module.element("mem", index).ok().and_then(|text| area(text.pointer("base"), text.uint("size")));
        [text(number("MOD_TEXT", 0)), text(number("MOD_INIT_TEXT", 4))]
    } else if module.has("core_layout") {
        let text = |part| module.inner(part).ok().and_then(|part| area(part.pointer("base"), part.uint("text_size")));
        [text("core_layout"), text("init_layout")]
    } else {
        [
            area(module.pointer("module_core"), module.uint("core_text_size")),
            area(module.pointer("module_init"), module.uint("init_text_size")),
        ]
    };
    areas.into_iter().flatten().collect()
}

/// enum module_state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    Coming,
    Going,
    Unformed,
}

impl State {
    fn of(module: &Object<'_>) -> Result<Option<Self>, ReadError> {
        let value = module.uint("state")?;
        let states = [
            ("MODULE_STATE_LIVE", Self::Live),
            ("MODULE_STATE_COMING", Self::Coming),
            ("MODULE_STATE_GOING", Self::Going),
            ("MODULE_STATE_UNFORMED", Self::Unformed),
        ];
        let named = |name| module.context().profile.enumerator(name).and_then(|value| u64::try_from(value).ok());
        // In this order since 3.9, should the types not tell.
        Ok(states.into_iter().zip(0..).find(|((name, _), usual)| value == named(name).unwrap_or(*usual)).map(|((_, state), _)| state))
    }
}

/// A module enters the list before any of its code can run, unformed, and leaves it after that, going or unformed again: one that is
/// live or coming and not listed has been taken out.
fn word(state: Option<State>, listed: bool) -> &'static str {
    match (state, listed) {
        (Some(State::Live) | None, true) => "loaded",
        (Some(State::Coming | State::Unformed), true) => "loading",
        (Some(State::Going), _) | (Some(State::Unformed), false) => "unloading",
        (Some(State::Live | State::Coming) | None, false) => "hidden",
    }
}

fn describe(module: &Object<'_>, found_by: [bool; 4], list_whole: bool) -> Module {
    let mut problems = Vec::new();
    let state = State::of(module).unwrap_or_else(|why| {
        problems.push(format!("state: {why}"));
        None
    });
    if !found_by[LIST] && !list_whole {
        problems.push("whether the list has it is not known: the list is broken".to_owned());
    }
    let (base, size) = extent(module);
    Module {
        name: module.text("name").into(),
        base: base.into(),
        size: size.into(),
        sources: SOURCES.into_iter().zip(found_by).filter_map(|(name, found)| found.then_some(name)).collect(),
        state: word(state, found_by[LIST] || !list_whole),
        address: module.address,
        problems,
        ..Module::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_working_modules_are_called_hidden() {
        assert_eq!(word(Some(State::Live), true), "loaded");
        assert_eq!(word(Some(State::Live), false), "hidden");
        assert_eq!(word(Some(State::Coming), false), "hidden");
        assert_eq!(word(Some(State::Unformed), false), "unloading");
        assert_eq!(word(Some(State::Going), false), "unloading");
        assert_eq!(word(Some(State::Unformed), true), "loading");
    }

    #[test]
    fn finds_keep_the_order_of_the_list() {
        let mut finds = Finds::default();
        finds.mark(VirtAddr(3), LIST);
        finds.mark(VirtAddr(1), LIST);
        finds.mark(VirtAddr(3), TREE);
        finds.mark(VirtAddr(2), SCAN);
        assert_eq!(finds.order, [VirtAddr(3), VirtAddr(1), VirtAddr(2)]);
        assert_eq!(finds.by[&VirtAddr(3)], [true, true, false, false]);
    }
}
