//! Registry hives: the list that the kernel keeps, and what the pools hold beside it.

use super::cells::{Cells, Key};
use super::{Windows, text};
use crate::address::VirtAddr;
use crate::facts::windows::Hive as Row;
use crate::facts::{ReadError, Scope, Sink, Watch};
use crate::paging::AddressSpace;
use crate::symbols::Object;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// _HHIVE.Signature.
pub(super) const SIGNATURE: u64 = 0xbee0_bee0;
/// _HBASE_BLOCK.Signature: `regf`.
const BASE_SIGNATURE: u64 = 0x6667_6572;
const TAG: &[u8; 4] = b"CM10";
/// Where the root key lies in every hive that Windows makes, should the base block not tell: behind the header of the first bin.
const FIRST_CELL: u32 = 0x20;

/// A hive, as far as it holds together.
pub struct Hive<'a> {
    /// Its _CMHIVE.
    pub object: Object<'a>,
    /// Where it hangs in the registry, as `\REGISTRY\MACHINE\SOFTWARE`.
    pub path: Option<String>,
    pub cells: Cells<'a>,
    /// What led to it.
    pub sources: Vec<&'static str>,
}

/// Hives, and why some may be missing.
#[derive(Default)]
pub struct Hives<'a> {
    pub found: Vec<Hive<'a>>,
    pub notes: Vec<String>,
}

impl Windows {
    /// The hives that the kernel lists; with `sweep` those too that only the pools hold.
    pub(super) fn hives(&self, sweep: Option<&Watch>) -> Hives<'_> {
        let mut hives = Hives::default();
        let mut addresses: BTreeMap<VirtAddr, Vec<&'static str>> = BTreeMap::new();
        match self.context().symbol("CmpHiveListHead") {
            Ok(head) => {
                let (listed, closed) = self.ring(head, "_CMHIVE", "HiveList");
                if !closed {
                    hives
                        .notes
                        .push(format!("the kernel's list of hives is broken or not in the image, {} of it were found", listed.len()));
                }
                if closed && listed.is_empty() {
                    hives.notes.push("the kernel's list of hives is empty".to_owned());
                }
                listed.into_iter().for_each(|address| addresses.entry(address).or_default().push("list"));
            }
            Err(why) => hives.notes.push(format!("the list of hives was not found: {why}")),
        }
        if let Some(watch) = sweep {
            match self.pooled_hives(watch) {
                Ok(pooled) => pooled.into_iter().for_each(|address| addresses.entry(address).or_default().push("pool_scan")),
                Err(why) => hives.notes.push(format!("the pools were not searched for hives: {why}")),
            }
        }
        let mut spaces = HashMap::new();
        for (address, sources) in addresses {
            let listed = sources.contains(&"list");
            match self.hive(address, sources, &mut spaces) {
                Ok(Some(hive)) => hives.found.push(hive),
                Ok(None) if listed => hives.notes.push(format!("{address} is on the list of hives but is none")),
                Err(why) if listed => hives.notes.push(format!("hive {address}: {why}")),
                _ => {}
            }
        }
        hives
    }

    /// Pool blocks that may hold hives. Since Windows 8.1 a hive is larger than a page, and such blocks have no header.
    fn pooled_hives(&self, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
        let header = u64::from(self.profile.layout("_POOL_HEADER")?.size);
        let small = self.pools(watch)?.with_tag(TAG).iter().filter_map(|block| Some(block.address?.offset(header))).collect::<Vec<_>>();
        let large = self.large_blocks(TAG, watch).unwrap_or_default();
        Ok(small.into_iter().chain(large).collect())
    }

    /// None where the bytes are no hive.
    pub(super) fn hive(
        &self,
        address: VirtAddr,
        sources: Vec<&'static str>,
        spaces: &mut HashMap<VirtAddr, Option<Arc<AddressSpace>>>,
    ) -> Result<Option<Hive<'_>>, ReadError> {
        let object = self.context().object("_CMHIVE", address)?;
        let inner = object.inner("Hive")?;
        if inner.uint("Signature")? != SIGNATURE {
            return Ok(None);
        }
        let process = self.hive_process(&inner);
        let space = process.and_then(|process| {
            spaces.entry(process).or_insert_with(|| self.process_space(process).ok().map(Arc::new)).as_ref().map(Arc::clone)
        });
        let cells = Cells::of(&inner, space)?;
        let mut hive = Hive { object, path: None, cells, sources };
        hive.path = match text::unicode(&hive.object.inner("HiveRootPath")?) {
            Ok(path) if !path.is_empty() => Some(path),
            // The hive that all others hang on has no path but its root's name.
            _ => hive.root().ok().map(|root| format!("\\{}", root.name)).filter(|path| path.eq_ignore_ascii_case("\\REGISTRY")),
        };
        Ok(Some(hive))
    }

    /// The process whose memory has the hive's cells: the one that its view map names, else the one that has the name and is no program.
    fn hive_process(&self, hive: &Object<'_>) -> Option<VirtAddr> {
        let named = || -> Result<Option<VirtAddr>, ReadError> {
            hive.inner("ViewMap")?.follow("ProcessTuple")?.map(|tuple| tuple.pointer("ProcessReference")).transpose()
        };
        let members = &self.listed().members;
        if let Ok(Some(process)) = named()
            && members.iter().any(|member| member.address == process)
        {
            return Some(process);
        }
        let minimal = |address| -> Result<bool, ReadError> {
            let process = self.context().object("_EPROCESS", address)?;
            Ok(process.pointer("Peb")?.is_null() && process.uint("InheritedFromUniqueProcessId")? == 4)
        };
        let registry = members.iter().find(|member| member.name == "Registry" && minimal(member.address).unwrap_or(false));
        registry.map(|member| member.address)
    }
}

impl Hive<'_> {
    pub fn root(&self) -> Result<Key, ReadError> {
        let base = self.object.inner("Hive").and_then(|hive| hive.follow_some("BaseBlock"));
        let told = base.and_then(|base| if base.uint("Signature")? == BASE_SIGNATURE { base.u32("RootCell") } else { Ok(FIRST_CELL) });
        self.cells.key(told.unwrap_or(FIRST_CELL))
    }

    /// What to call it: its path, else its file, else its address.
    pub fn name(&self) -> String {
        let file = || self.file().ok().flatten();
        self.path.clone().or_else(file).unwrap_or_else(|| self.object.address.to_string())
    }

    fn file(&self) -> Result<Option<String>, ReadError> {
        let name = |field| text::unicode(&self.object.inner(field)?);
        // Hives that the boot loader read have no full path.
        Ok([name("FileFullPath")?, name("FileUserName")?].into_iter().find(|name| !name.is_empty()))
    }

    fn row(&self) -> Row {
        let base = self.object.inner("Hive").and_then(|hive| hive.follow_some("BaseBlock"));
        let word = |field| base.as_ref().map_err(|why| *why).and_then(|base| base.u32(field));
        let written = base.as_ref().map_err(|why| *why).and_then(|base| base.uint("TimeStamp"));
        let [stable, volatile] = self.cells.lengths();
        Row {
            name: self.path.clone().into(),
            file: self.file().into(),
            address: self.object.address,
            stable_size: stable,
            volatile_size: volatile,
            signature_valid: word("Signature").map(|signature| u64::from(signature) == BASE_SIGNATURE).into(),
            last_write: written.map(text::filetime).into(),
            sequence1: word("Sequence1").into(),
            sequence2: word("Sequence2").into(),
            root_readable: self.root().is_ok(),
            sources: self.sources.clone(),
            ..Row::default()
        }
    }
}

pub fn hives(windows: &Windows, _: Scope, out: &mut Sink<Row>) {
    let hives = windows.hives(Some(out.watch()));
    hives.notes.into_iter().for_each(|note| out.note(note));
    out.extend(hives.found.iter().map(Hive::row));
}
