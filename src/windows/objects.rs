//! Kernel objects: the header before each, its type and its name, and objects found by the tag of their pool block.

use super::pool::{Block, PROTECTED};
use super::{Windows, lists, text};
use crate::address::VirtAddr;
use crate::facts::{ReadError, Watch};
use crate::symbols::{Context, Object};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// The optional headers before an _OBJECT_HEADER, nearest first, with their bits in InfoMask (Windows Internals; the kernel keeps the
/// same in ObpInfoMaskToOffset).
const OPTIONAL: [(u64, &str); 7] = [
    (0x01, "_OBJECT_HEADER_CREATOR_INFO"),
    (0x02, "_OBJECT_HEADER_NAME_INFO"),
    (0x04, "_OBJECT_HEADER_HANDLE_INFO"),
    (0x08, "_OBJECT_HEADER_QUOTA_INFO"),
    (0x10, "_OBJECT_HEADER_PROCESS_INFO"),
    (0x20, "_OBJECT_HEADER_AUDIT_INFO"),
    (0x40, "_OBJECT_HEADER_EXTENDED_INFO"),
];
const NAME_INFO: u64 = 0x02;
/// _DISPATCHER_HEADER.Type (KOBJECTS, wdm.h), with which everything that can be waited for begins.
pub const MUTANT_OBJECT: u64 = 2;
pub const PROCESS_OBJECT: u64 = 3;
pub const THREAD_OBJECT: u64 = 6;
/// The highest bit of _DISPATCHER_HEADER.Type is a lock.
pub const OBJECT_KIND: u64 = 0x7f;
/// What stands for directories and devices whose names cannot be read.
pub const UNREAD: &str = "??";
/// A type index is a byte.
const MOST_TYPES: u64 = 256;
/// A directory has 37 (ob.h of old; _OBJECT_DIRECTORY.HashBuckets).
const MOST_BUCKETS: u32 = 1024;
/// Device names are short; a directory tree is not deep.
const MOST_DEPTH: usize = 32;

/// Object types by their index.
#[derive(Debug, Default)]
pub struct Types {
    names: HashMap<u8, String>,
    /// Those whose own objects are damaged.
    damaged: HashSet<u8>,
    /// ObHeaderCookie, with which type indices are veiled since Windows 10.
    cookie: Option<u8>,
}

/// The type whose objects are made before there are types, and what tag they may have for that.
const TYPE: &str = "Type";
const TYPE_TAG: &[u8; 4] = b"ObjT";

/// The tag of a type's pool blocks: the first letters of its name.
fn tag_for(name: &str) -> [u8; 4] {
    let mut letters = name.bytes().chain(std::iter::repeat(b' '));
    std::array::from_fn(|_| letters.next().unwrap_or(b' '))
}

impl Types {
    pub fn read(context: Context<'_>) -> Result<Self, ReadError> {
        let table = context.symbol("ObTypeIndexTable")?;
        let cookie = cookie(context)?;
        let (mut names, mut damaged) = (HashMap::new(), HashSet::new());
        // The first two entries are no types.
        for index in 2..MOST_TYPES {
            let kind = context.space.pointer(table.offset(index * 8))?;
            if !kind.is_kernel() {
                break;
            }
            match Self::name(&context.object("_OBJECT_TYPE", kind)?, index) {
                Ok(name) => _ = names.insert(index as u8, name),
                Err(_) => _ = damaged.insert(index as u8),
            }
        }
        Ok(Self { names, damaged, cookie })
    }

    /// The name of a type, which knows its own index, and the tag that is made of the name.
    fn name(kind: &Object<'_>, index: u64) -> Result<String, ReadError> {
        let name = text::unicode(&kind.inner("Name")?)?;
        let own = kind.uint("Index")? == index;
        let tagged = name == TYPE || kind.context().space.bytes(kind.at("Key")?)? == tag_for(&name);
        let readable = !name.is_empty() && name.bytes().all(|letter| (b' '..=b'~').contains(&letter));
        if own && tagged && readable { Ok(name) } else { Err(ReadError::Implausible("object type")) }
    }
}

/// The byte that veils type indices since Windows 10: as ObHeaderCookie has it, if that makes the System object a process, or else what
/// does. None where indices stand as they are.
pub fn cookie(context: Context<'_>) -> Result<Option<u8>, ReadError> {
    let told = match context.symbol("ObHeaderCookie") {
        Ok(cookie) => Some(context.space.uint(cookie, 1).map(|cookie| Some(cookie as u8))),
        Err(_) => None,
    };
    let proved = || -> Result<Option<u8>, ReadError> {
        let table = context.symbol("ObTypeIndexTable")?;
        let system = context.space.pointer(context.symbol("PsInitialSystemProcess")?)?;
        let header = context.container("_OBJECT_HEADER", "Body", system)?;
        let veiled = header.uint("TypeIndex")? as u8 ^ if told.is_some() { (header.address.0 >> 8) as u8 } else { 0 };
        let is_process = |index: u8| -> Result<bool, ReadError> {
            let kind = context.space.pointer(table.offset(u64::from(index) * 8))?;
            Ok(text::unicode(&context.object("_OBJECT_TYPE", kind)?.inner("Name")?)? == "Process")
        };
        let veil = match told {
            Some(Ok(Some(cookie))) if is_process(veiled ^ cookie).unwrap_or(false) => return Ok(Some(cookie)),
            Some(_) => veiled,
            None if is_process(veiled).unwrap_or(false) => return Ok(None),
            None => veiled ^ (header.address.0 >> 8) as u8,
        };
        let index = (2..=u8::MAX).find(|index| is_process(*index).unwrap_or(false)).ok_or(ReadError::Implausible("object types"))?;
        Ok(Some(veil ^ index))
    };
    match (proved(), told) {
        // The proof may be missing from the image.
        (Err(_), Some(told)) => told,
        (proved, _) => proved,
    }
}

/// Whether an object that can be waited for is of a type.
pub fn expect(object: &Object<'_>, kind: u64, what: &'static str) -> Result<(), ReadError> {
    if object.inner("Header")?.uint("Type")? == kind { Ok(()) } else { Err(ReadError::Implausible(what)) }
}

impl Windows {
    /// The types of objects.
    pub(super) fn object_types(&self) -> Result<Vec<Object<'_>>, ReadError> {
        let table = self.context().symbol("ObTypeIndexTable")?;
        let types = (2..MOST_TYPES).map(|index| self.space.pointer(table.offset(index * 8)));
        types
            .take_while(|kind| !matches!(kind, Ok(kind) if !kind.is_kernel()))
            .map(|kind| self.context().object("_OBJECT_TYPE", kind?))
            .collect()
    }

    /// The header of an object.
    pub(super) fn header(&self, body: VirtAddr) -> Result<Object<'_>, ReadError> {
        self.context().container("_OBJECT_HEADER", "Body", body)
    }

    /// The type of an object, by its header.
    pub(super) fn type_name(&self, header: &Object<'_>) -> Result<&str, ReadError> {
        let types = self.types.as_ref().map_err(|why| *why)?;
        types.names.get(&self.type_index(header)?).map(String::as_str).ok_or(ReadError::Implausible("object type"))
    }

    /// Whether an object is of a type whose name cannot be told.
    pub(super) fn has_damaged_type(&self, header: &Object<'_>) -> bool {
        let (Ok(types), Ok(index)) = (self.types.as_ref(), self.type_index(header)) else { return false };
        types.damaged.contains(&index)
    }

    /// Whether the header before an object is that of another type, or of none. What cannot be read says nothing.
    pub(super) fn is_other(&self, body: VirtAddr, kind: &str) -> bool {
        let other = || -> Result<bool, ReadError> {
            self.types.as_ref().map_err(|why| *why)?;
            let header = self.header(body)?;
            Ok(match self.type_name(&header) {
                Ok(name) => name != kind || self.is_misplaced(&header).unwrap_or(false),
                Err(ReadError::Implausible(_)) => !self.has_damaged_type(&header),
                Err(why) => return Err(why),
            })
        };
        other().unwrap_or(false)
    }

    fn type_index(&self, header: &Object<'_>) -> Result<u8, ReadError> {
        let types = self.types.as_ref().map_err(|why| *why)?;
        let index = header.uint("TypeIndex")? as u8;
        Ok(types.cookie.map_or(index, |cookie| index ^ cookie ^ (header.address.0 >> 8) as u8))
    }

    /// Whether the pool block that an object lies in has not the tag of its type: then the header was not written for this address.
    pub(super) fn is_misplaced(&self, header: &Object<'_>) -> Result<bool, ReadError> {
        let start = VirtAddr(header.address.0.wrapping_sub(self.optional_size(header.uint("InfoMask")?)?));
        let kind = self.type_name(header)?;
        // Large blocks have no header.
        if start.in_page() == 0 {
            return Ok(false);
        }
        let [a, b, c, d] = self.tag_of(start)?;
        let tag = [a, b, c, d & !PROTECTED];
        Ok(tag_for(kind) != tag && (kind, &tag) != (TYPE, TYPE_TAG))
    }

    /// The bytes of all optional headers that the kernel's version has. The last two came with later ones.
    pub(super) fn most_optional(&self) -> Result<u64, ReadError> {
        self.optional_size(0x7f).or_else(|_| self.optional_size(0x1f))
    }

    /// The bytes of optional headers before a header.
    fn optional_size(&self, mask: u64) -> Result<u64, ReadError> {
        let present = OPTIONAL.iter().filter(|(bit, _)| mask & bit != 0);
        present.map(|(_, name)| self.profile.layout(name).map(|layout| u64::from(layout.size))).sum()
    }

    /// The name in an object's name header; None where it has none.
    pub(super) fn object_name(&self, header: &Object<'_>) -> Result<Option<String>, ReadError> {
        Ok(match self.name_info(header)? {
            Some(info) => Some(text::unicode(&info.inner("Name")?)?).filter(|name| !name.is_empty()),
            None => None,
        })
    }

    fn name_info(&self, header: &Object<'_>) -> Result<Option<Object<'_>>, ReadError> {
        let mask = header.uint("InfoMask")?;
        if mask & NAME_INFO == 0 {
            return Ok(None);
        }
        let before = self.optional_size(mask & (NAME_INFO | (NAME_INFO - 1)))?;
        self.context().object("_OBJECT_HEADER_NAME_INFO", VirtAddr(header.address.0.wrapping_sub(before))).map(Some)
    }

    /// The name with the directories above it, as `\Device\HarddiskVolume3`. What stands above a directory that cannot be read is `??`.
    pub(super) fn object_path(&self, header: &Object<'_>) -> Result<Option<String>, ReadError> {
        let mut parts = Vec::new();
        let mut at = header.clone();
        let mut unread = "";
        for _ in 0..MOST_DEPTH {
            let Some(info) = self.name_info(&at)? else { break };
            let name = text::unicode(&info.inner("Name")?)?;
            let parent = info.pointer("Directory")?;
            if !name.is_empty() && name != "\\" {
                parts.push(name);
            }
            if parent.is_null() {
                break;
            }
            let above = self.header(parent).and_then(|header| Ok((self.type_name(&header)? == "Directory").then_some(header)));
            let Ok(Some(header)) = above else {
                unread = UNREAD;
                break;
            };
            at = header;
        }
        let path = || parts.iter().rev().map(|part| format!("\\{part}")).collect::<String>();
        Ok((!parts.is_empty()).then(|| format!("{unread}{}", path())))
    }

    /// The objects in a directory of the object manager, named by the way from its root, and what could not be read of it.
    pub(super) fn directory(&self, path: &[&str]) -> Result<(Vec<VirtAddr>, Option<ReadError>), ReadError> {
        let mut at = self.space.pointer(self.context().symbol("ObpRootDirectoryObject")?)?;
        for part in path {
            let (entries, trouble) = self.entries_of(at)?;
            let is_it = |object: &&VirtAddr| {
                self.header(**object).and_then(|header| self.object_name(&header)).is_ok_and(|name| name.as_deref() == Some(part))
            };
            at = *entries.iter().find(is_it).ok_or(trouble.unwrap_or(ReadError::Implausible("object directory")))?;
        }
        self.entries_of(at)
    }

    fn entries_of(&self, directory: VirtAddr) -> Result<(Vec<VirtAddr>, Option<ReadError>), ReadError> {
        if self.type_name(&self.header(directory)?)? != "Directory" {
            return Err(ReadError::Implausible("object directory"));
        }
        let context = self.context();
        let directory = context.object("_OBJECT_DIRECTORY", directory)?;
        let (buckets, stride) = directory.array("HashBuckets")?;
        let (mut found, mut trouble) = (Vec::new(), None);
        for bucket in 0..u64::from(buckets.min(MOST_BUCKETS)) {
            let first = context.space.pointer(directory.at("HashBuckets")?.offset(bucket * u64::from(stride)))?;
            let (entries, broken) =
                lists::chain(first, lists::MOST, |entry| context.object("_OBJECT_DIRECTORY_ENTRY", entry)?.pointer("ChainLink"));
            trouble = trouble.or(broken);
            let objects = entries.into_iter().map(|entry| context.object("_OBJECT_DIRECTORY_ENTRY", entry)?.pointer("Object"));
            for object in objects {
                match object {
                    Ok(object) => found.push(object),
                    Err(why) => trouble = trouble.or(Some(why)),
                }
            }
        }
        Ok((found, trouble))
    }

    /// Objects of a type whose pool blocks have a tag, mapped by the kernel or not any more. What lies in a freed block may be overwritten:
    /// the caller judges the body.
    pub(super) fn objects_by_tag(&self, tag: &[u8; 4], kind: &str, watch: &Watch) -> Result<Vec<VirtAddr>, ReadError> {
        let pools = self.pools(watch)?;
        let (header, pool) = (self.profile.layout("_OBJECT_HEADER")?, u64::from(self.profile.layout("_POOL_HEADER")?.size));
        let body = header.offset("Body")?;
        let most = self.most_optional()?;
        let inside = |block: &Block| {
            let start = block.address?.offset(pool);
            let fits = |skip: &u64| -> Result<bool, ReadError> {
                if u64::from(block.size) <= pool + skip + body {
                    return Ok(false);
                }
                let header = self.context().object("_OBJECT_HEADER", start.offset(*skip))?;
                Ok(self.optional_size(header.uint("InfoMask")?)? == *skip && self.type_name(&header)? == kind)
            };
            // From the far end: zeros in an optional header may look like a header without any.
            let skip = (0..=most / 16).rev().map(|grains| grains * 16).find(|skip| fits(skip).unwrap_or(false))?;
            Some(start.offset(skip + body))
        };
        let mut found: Vec<_> = pools.with_tag(tag).par_iter().filter_map(inside).collect();
        found.sort();
        found.dedup();
        Ok(found)
    }
}
