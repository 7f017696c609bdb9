//! Drivers and the kernel itself: the list of loaded modules, and entries of it in the pools that no list leads to.

use super::files::whole;
use super::{Windows, text};
use crate::address::VirtAddr;
use crate::facts::{Module, ReadError, Scope, Sink, Watch};
use crate::symbols::Object;
use std::collections::{BTreeMap, HashSet};

const MOST_MODULES: usize = 1 << 16;
/// A _KLDR_DATA_TABLE_ENTRY lies right behind the header of its pool block.
const TAG: &[u8; 4] = b"MmLd";

pub fn modules(windows: &Windows, _: Scope, out: &mut Sink<Module>) {
    let (listed, trouble) = windows.loaded_modules();
    if let Some(why) = trouble {
        out.note(format!("the list of loaded modules is broken: {why}"));
    }
    let mut found: BTreeMap<VirtAddr, [bool; 2]> = BTreeMap::new();
    listed.iter().for_each(|address| found.entry(*address).or_default()[0] = true);
    match windows.pooled_modules(out.watch()) {
        Ok(pooled) => pooled.iter().for_each(|address| found.entry(*address).or_default()[1] = true),
        Err(why) => out.note(format!("the pools were not searched for modules: {why}")),
    }
    let mut rows = Vec::new();
    for (address, found_by) in found {
        match windows.module(address, found_by) {
            Ok(row) => rows.extend(row),
            Err(why) if found_by[0] => out.note(format!("entry {address} of the list of loaded modules is left out: {why}")),
            Err(_) => (),
        }
    }
    rows.sort_by_key(|row| row.base.value().copied());
    out.extend(rows);
}

impl Windows {
    /// The entries on PsLoadedModuleList, from both ends where it does not close, and what broke it.
    pub(super) fn loaded_modules(&self) -> (Vec<VirtAddr>, Option<ReadError>) {
        let context = self.context();
        let mut found = Vec::new();
        let mut trouble = None;
        let Ok(head) = context.symbol("PsLoadedModuleList") else { return (found, Some(ReadError::NoSymbol("PsLoadedModuleList"))) };
        for direction in ["Flink", "Blink"] {
            let mut seen = HashSet::new();
            let mut link = context.object("_LIST_ENTRY", head).and_then(|entry| entry.pointer(direction));
            loop {
                match link {
                    Ok(at) if at == head => return (found, trouble),
                    Ok(at) if at.is_kernel() && seen.insert(at) && found.len() < MOST_MODULES => {
                        let entry = context.container("_KLDR_DATA_TABLE_ENTRY", "InLoadOrderLinks", at);
                        found.extend(entry.map(|entry| entry.address).ok().filter(|address| !found.contains(address)));
                        link = context.object("_LIST_ENTRY", at).and_then(|entry| entry.pointer(direction));
                    }
                    Ok(_) => break trouble = trouble.or(Some(ReadError::Implausible("module list"))),
                    Err(why) => break trouble = trouble.or(Some(why)),
                }
            }
        }
        (found, trouble)
    }

    fn pooled_modules(&self, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
        let header = u64::from(self.profile.layout("_POOL_HEADER")?.size);
        let pools = self.pools(watch)?;
        Ok(pools.with_tag(TAG).iter().filter_map(|block| Some(block.address?.offset(header))).collect())
    }

    /// A module, if the entry holds together; what is on no list must also have its image where it says.
    fn module(&self, address: VirtAddr, [listed, pooled]: [bool; 2]) -> Result<Option<Module>, ReadError> {
        let entry = self.context().object("_KLDR_DATA_TABLE_ENTRY", address)?;
        let base = entry.pointer("DllBase")?;
        let size = entry.uint("SizeOfImage")?;
        let name = string(&entry, "BaseDllName");
        let placed = base.is_kernel() && base.in_page() == 0 && size > 0;
        let there = || placed && name.as_ref().is_ok_and(|name| !name.is_empty()) && self.space.bytes(base) == Ok(*b"MZ");
        match listed {
            true if !placed => return Err(ReadError::Implausible("_KLDR_DATA_TABLE_ENTRY")),
            false if !there() => return Ok(None),
            _ => (),
        }
        let problems = name.as_ref().err().map(|why| format!("name: {why}")).into_iter().collect();
        Ok(Some(Module {
            name: name.unwrap_or_default(),
            problems,
            base: Ok(base).into(),
            size: Ok(size).into(),
            path: string(&entry, "FullDllName").and_then(rooted).into(),
            sources: [("module_list", listed), ("pool_scan", pooled)].into_iter().filter_map(|(word, on)| on.then_some(word)).collect(),
            state: if listed { "loaded" } else { "hidden" },
            address,
            ..Module::default()
        }))
    }
}

/// Drivers are loaded by their full paths.
fn rooted(path: String) -> Result<String, ReadError> {
    if path.contains('\\') { Ok(path) } else { Err(ReadError::Implausible("path")) }
}

fn string(entry: &Object<'_>, field: &'static str) -> Result<String, ReadError> {
    text::unicode(&entry.inner(field)?).and_then(whole)
}
