//! tcpip.sys: where it lies, the layouts that its objects may have, and the tables in which it keeps them. No PDB describes the objects;
//! how they are laid out has been worked out build by build, so a layout is a guess until the image proves it.

use super::Windows;
use super::detect;
use super::kernel::image;
use super::pe::{Headers, PdbId};
use super::text;
use crate::address::VirtAddr;
use crate::facts::{ReadError, Watch};
use crate::symbols::pack::{Module, Pack, Version};
use crate::symbols::{Context, Object, Profile, SymbolTable};
use std::collections::HashSet;

const MODULE: &str = "tcpip.sys";
const PDB: &str = "tcpip.pdb";
/// Sockets in all hash tables or in a port pool, and buckets of a hash table: more than any machine has.
const MOST_SOCKETS: usize = 1 << 20;
const MOST_BUCKETS: u64 = 1 << 16;
/// Buckets of the first of a hash table's arrays; each further one is twice as long (_RTL_DYNAMIC_HASH_TABLE).
const FIRST_BUCKETS: u64 = 128;
const PORTS: u64 = 1 << 16;
const PORTS_IN_LIST: u64 = 256;
/// The lowest bits of a pointer in a port pool tell what it leads to.
const POINTER: u64 = !3;

/// What is known of tcpip.sys in an image.
pub struct Tcpip {
    /// Its symbols where they lie, or why there are none.
    symbols: Result<SymbolTable, String>,
    /// How the objects are laid out from some version on: for this build first, then the others, the nearest before the far ones.
    layouts: Vec<(Version, Profile)>,
    /// Why there are no layouts.
    pub trouble: Option<&'static str>,
}

impl Tcpip {
    /// The layouts that have a structure, the nearest first.
    pub fn with(&self, structure: &'static str) -> impl Iterator<Item = (Version, &Profile)> {
        let layouts = self.layouts.iter().filter(move |(_, profile)| profile.layout(structure).is_ok());
        layouts.map(|(from, profile)| (*from, profile))
    }
    pub fn symbols(&self) -> Result<&SymbolTable, &str> {
        self.symbols.as_ref().map_err(String::as_str)
    }
}

impl Windows {
    pub(super) fn tcpip(&self) -> &Tcpip {
        self.tcpip.get_or_init(|| {
            let (layouts, trouble) = match self.tcpip_layouts() {
                Ok(layouts) => (layouts, None),
                Err(why) => (Vec::new(), Some(why)),
            };
            Tcpip { symbols: self.tcpip_symbols(), layouts, trouble }
        })
    }

    fn tcpip_layouts(&self) -> Result<Vec<(Version, Profile)>, &'static str> {
        let known = Pack::bundled()?.tcpip_layouts()?;
        let own = known.iter().rposition(|(from, _)| *from <= self.version).unwrap_or(0);
        let mut known: Vec<_> = known.into_iter().enumerate().collect();
        known.sort_by_key(|(index, _)| (index.abs_diff(own), *index < own));
        let profile = |from, types| Profile::new(Box::new(types), SymbolTable::default(), format!("{MODULE} of {from}"));
        Ok(known.into_iter().map(|(_, (from, types))| (from, profile(from, types))).collect())
    }

    fn tcpip_symbols(&self) -> Result<SymbolTable, String> {
        let pdb_at = |base| -> Result<PdbId, ReadError> {
            Headers::read(&self.space, base)?.pdb(&self.space)?.ok_or(ReadError::Implausible("debug directory"))
        };
        let listed = self.module_base(MODULE).and_then(|base| Ok((base, pdb_at(base)?)));
        // Where the list does not lead to it, its debug record tells it.
        let here = |base| pdb_at(base).ok().filter(|pdb| pdb.name == PDB).map(|pdb| (base, pdb));
        let found = listed.or_else(|why| image(&self.space, here).ok_or(why));
        let (base, pdb) = found.map_err(|why| format!("{MODULE} is not found, or which symbols belong to it: {why}"))?;
        let given = detect::from_files(&self.files, &pdb).map(|(_, symbols, _)| symbols);
        let mut symbols = given
            .or_else(|| packed(&pdb))
            .ok_or_else(|| format!("no symbols for {} {} age {}; give its ISF file with --symbols", pdb.name, pdb.guid, pdb.age))?;
        symbols.shift(base.0);
        Ok(symbols)
    }

    /// The base address of a module on the kernel's own list.
    fn module_base(&self, name: &str) -> Result<VirtAddr, ReadError> {
        let (modules, trouble) = self.loaded_modules();
        let entries = modules.into_iter().filter_map(|module| self.context().object("_KLDR_DATA_TABLE_ENTRY", module).ok());
        let named = |entry: &Object<'_>| {
            let found = entry.inner("BaseDllName").and_then(|name| text::unicode(&name));
            found.is_ok_and(|found| found.eq_ignore_ascii_case(name))
        };
        let mut named = entries.filter(named);
        named.next().ok_or(trouble.unwrap_or(ReadError::Implausible("module list")))?.pointer("DllBase")
    }
}

/// The packed symbols of a PDB.
fn packed(pdb: &PdbId) -> Option<SymbolTable> {
    let pack = Pack::bundled().ok()?;
    pack.symbols(pack.exact(Module::Tcpip, &pdb.guid, pdb.age)?).ok()
}

/// The links of the connections in the partitions' hash tables.
pub fn partition_links(context: Context<'_>, symbols: &SymbolTable, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
    let table = context.object("_PARTITION_TABLE", context.space.pointer(symbols.find("PartitionTable")?)?)?;
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..context.space.uint(symbols.find("PartitionCount")?, 1)? as u32 {
        let endpoints = table.element("Partitions", index)?.pointer("Endpoints")?;
        if endpoints.is_kernel() && !watch.cancelled() {
            hash_links(&context.object("_RTL_DYNAMIC_HASH_TABLE", endpoints)?, &mut seen, &mut found)?;
        }
    }
    Ok(found)
}

/// The links of all entries of a hash table that were not seen before.
fn hash_links(table: &Object<'_>, seen: &mut HashSet<VirtAddr>, found: &mut Vec<VirtAddr>) -> Result<(), ReadError> {
    let context = table.context();
    let (size, directory) = (table.uint("TableSize")?, table.pointer("Directory")?);
    if size > MOST_BUCKETS || !directory.is_kernel() {
        return Err(ReadError::Implausible("hash table"));
    }
    let head = u64::from(context.profile.layout("_LIST_ENTRY")?.size);
    // A table that never grew has one array of list heads, others a list of such arrays.
    let flat = size <= FIRST_BUCKETS || is_head(context, directory);
    for bucket in 0..size {
        let heads = if flat {
            directory.offset(bucket * head)
        } else {
            let (level, index) = place(bucket);
            context.space.pointer(directory.offset(u64::from(level) * 8))?.offset(index * head)
        };
        let mut link = heads;
        while let Ok(next) = context.object("_LIST_ENTRY", link).and_then(|link| link.pointer("Flink")) {
            if next == heads || !next.is_kernel() || found.len() >= MOST_SOCKETS || !seen.insert(next) {
                break;
            }
            found.push(next);
            link = next;
        }
    }
    Ok(())
}

/// The array that holds a bucket of a table that grew, and the place in it.
fn place(bucket: u64) -> (u32, u64) {
    let level = (bucket / FIRST_BUCKETS + 1).ilog2();
    (level, bucket + FIRST_BUCKETS - (FIRST_BUCKETS << level))
}

/// Whether the list that begins here leads back here.
fn is_head(context: Context<'_>, at: VirtAddr) -> bool {
    let read = || -> Result<bool, ReadError> {
        let first = context.object("_LIST_ENTRY", at)?.pointer("Flink")?;
        Ok(context.object("_LIST_ENTRY", first)?.pointer("Blink")? == at)
    };
    read().unwrap_or(false)
}

/// The entries of a protocol's port pool, each the link to the first socket of its port.
pub fn port_links(
    context: Context<'_>,
    symbols: &SymbolTable,
    pool: &'static str,
    compartments: &'static str,
) -> Result<Vec<VirtAddr>, ReadError> {
    let pool = match symbols.find(pool) {
        Ok(pool) => context.space.pointer(pool)?,
        // One level further down since network compartments have pools of their own.
        Err(_) => {
            let set = context.object("_INET_COMPARTMENT_SET", context.space.pointer(symbols.find(compartments)?)?)?;
            set.follow_some("InetCompartment")?.follow_some("ProtocolCompartment")?.pointer("PortPool")?
        }
    };
    let lists = context.object("_INET_PORT_POOL", pool)?.at("PortAssignments")?;
    let mut found = Vec::new();
    // The pool's bit map is passed over: it only says which ports are taken, and an unlinked port is one that somebody wanted unseen.
    for list in 0..PORTS / PORTS_IN_LIST {
        let Ok(assignment) = context.space.pointer(lists.offset(list * 8)) else { continue };
        if !assignment.is_kernel() {
            continue;
        }
        let Ok(base) = context.object("_PORT_ASSIGNMENT", assignment).and_then(|assignment| assignment.pointer("InPaBigPoolBase")) else {
            continue;
        };
        if !base.is_kernel() {
            continue;
        }
        let entries = context.object("_PORT_ASSIGNMENT_LIST", base)?;
        for port in 0..PORTS_IN_LIST as u32 {
            let entry = entries.element("Assignments", port)?.pointer("Entry").map(|entry| VirtAddr(entry.0 & POINTER));
            found.extend(entry.ok().filter(|entry| entry.is_kernel()));
        }
    }
    Ok(found)
}

/// The sockets that share a port and were not seen before, from the link to the first one. `moved` is how far the structure lies behind
/// the start of the object.
pub fn chain(
    context: Context<'_>,
    structure: &'static str,
    moved: u64,
    first: VirtAddr,
    is_socket: impl Fn(VirtAddr) -> bool,
    found: &mut HashSet<VirtAddr>,
) -> Result<(), ReadError> {
    let mut link = first;
    while link.is_kernel() && found.len() < MOST_SOCKETS {
        let socket = context.container(structure, "Next", link)?;
        let start = VirtAddr(socket.address.0.wrapping_sub(moved));
        if !is_socket(start) || !found.insert(start) {
            break;
        }
        link = VirtAddr(socket.uint("Next")? & POINTER);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_grown_tables_have_their_places() {
        let places = [0, 127, 128, 383, 384, 895, 896].map(place);
        assert_eq!(places, [(0, 0), (0, 127), (1, 0), (1, 255), (2, 0), (2, 511), (3, 0)]);
    }

    #[test]
    fn every_layout_has_what_a_socket_is_read_by() {
        let pack = Pack::bundled().unwrap();
        let layouts = pack.tcpip_layouts().unwrap();
        assert!(layouts.len() > 10);
        for (from, types) in layouts {
            let profile = Profile::new(Box::new(types), SymbolTable::default(), String::new());
            for (structure, fields) in [
                ("_TCP_LISTENER", &["InetAF", "Owner", "CreateTime", "LocalAddr", "Port"][..]),
                ("_UDP_ENDPOINT", &["InetAF", "Owner", "CreateTime", "LocalAddr", "Port"]),
                ("_TCP_ENDPOINT", &["InetAF", "AddrInfo", "State", "LocalPort", "RemotePort", "Owner", "CreateTime"]),
                ("_ADDRINFO", &["Local", "Remote"]),
                ("_LOCAL_ADDRESS", &["pData"]),
                ("_INETAF", &["AddressFamily"]),
                ("_IN_ADDR", &["addr4", "addr6"]),
                ("_LIST_ENTRY", &["Flink", "Blink"]),
            ] {
                fields.iter().for_each(|field| assert!(profile.has(structure, field), "{from}: {structure}.{field}"));
            }
            if profile.layout("_PARTITION_TABLE").is_ok() {
                assert!(profile.has("_TCP_ENDPOINT", "ListEntry") && profile.has("_UDP_ENDPOINT", "Next"), "{from}");
            }
        }
    }

    /// From build 26100 on listeners and UDP endpoints are as before, eight bytes further on (MemProcFS has found the same).
    #[test]
    fn newer_builds_only_move_fields() {
        let (_, types) = Pack::bundled().unwrap().tcpip_layouts().unwrap().pop().unwrap();
        let profile = Profile::new(Box::new(types), SymbolTable::default(), String::new());
        let places = |structure, fields: [&'static str; 6]| {
            let layout = profile.layout(structure).unwrap();
            fields.map(|field| layout.offset(field).unwrap() + 8)
        };
        let fields = ["InetAF", "Owner", "CreateTime", "LocalAddr", "Port", "Next"];
        assert_eq!(places("_TCP_LISTENER", fields), [0x30, 0x38, 0x48, 0x68, 0x7a, 0x80]);
        assert_eq!(places("_UDP_ENDPOINT", fields), [0x28, 0x30, 0x60, 0xb0, 0xa8, 0x78]);
    }
}
