//! Paths of files, put together from directory entries and mounts as the kernel's d_path does.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::symbols::Object;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Names are at most 255 bytes and paths rarely deep; a loop of parents ends here.
const MOST_PARTS: usize = 512;
const MOST_NAME: usize = 255;
/// Names that are looked at for those of deleted files, in all directories together.
const MOST_ENTRIES: u32 = 1 << 22;

/// The path of an open file.
#[derive(Clone, Debug)]
pub struct FilePath {
    pub text: String,
    pub deleted: bool,
}

impl FilePath {
    /// As /proc shows it.
    pub fn shown(self) -> String {
        if self.deleted { self.text + " (deleted)" } else { self.text }
    }
}

/// The path of a struct file.
pub fn of_file(file: &Object<'_>) -> Result<FilePath, ReadError> {
    let path = file.inner("f_path")?;
    of(&path.follow_some("mnt")?, &path.follow_some("dentry")?)
}

/// The path of a directory entry on a mount (struct vfsmount), up to the root of its mount namespace.
pub fn of(vfsmount: &Object<'_>, dentry: &Object<'_>) -> Result<FilePath, ReadError> {
    let deleted = unhashed(dentry)?;
    if dentry.pointer("d_parent")? == dentry.address
        && let Some(path) = of_root(dentry)?
    {
        return Ok(path);
    }
    let mount = dentry.context().container("mount", "mnt", vfsmount.address)?;
    Ok(FilePath { text: climb(mount, dentry.clone())?, deleted })
}

/// What has a name, but no place in any tree: memfds, System V segments, entries of pseudo file systems. None for other roots.
pub fn of_root(dentry: &Object<'_>) -> Result<Option<FilePath>, ReadError> {
    Ok(without_place(dentry)?.map(|text| FilePath { deleted: text.starts_with('/'), text }))
}

/// The path at which a struct mount is mounted.
pub fn of_mount(mount: &Object<'_>) -> Result<String, ReadError> {
    let root = mount.inner("mnt")?.follow_some("mnt_root")?;
    climb(mount.clone(), root)
}

/// From a directory entry up to the root of its mount namespace.
fn climb<'a>(mut mount: Object<'a>, mut dentry: Object<'a>) -> Result<String, ReadError> {
    let mut parts = Vec::new();
    for _ in 0..MOST_PARTS {
        if dentry.address == mount.inner("mnt")?.pointer("mnt_root")? {
            let parent = mount.follow_some("mnt_parent")?;
            if parent.address == mount.address {
                break;
            }
            dentry = mount.follow_some("mnt_mountpoint")?;
            mount = parent;
            continue;
        }
        let parent = dentry.follow_some("d_parent")?;
        if parent.address == dentry.address {
            break;
        }
        parts.push(name(&dentry)?);
        dentry = parent;
    }
    let mut text = String::new();
    for part in parts.iter().rev() {
        text.push('/');
        text.push_str(part);
    }
    if text.is_empty() {
        text.push('/');
    }
    Ok(text)
}

pub fn name(dentry: &Object<'_>) -> Result<String, ReadError> {
    let name = dentry.inner("d_name")?;
    let length = (name.uint("len")? as usize).min(MOST_NAME);
    let mut bytes = vec![0; length];
    dentry.context().space.read(name.pointer("name")?, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last name of a path.
pub fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A directory entry and those above it in its file system, up to the root.
pub fn above(dentry: &Object<'_>) -> Result<Vec<VirtAddr>, ReadError> {
    let mut found = vec![dentry.address];
    let mut dentry = dentry.clone();
    while found.len() < MOST_PARTS {
        let parent = dentry.follow_some("d_parent")?;
        if parent.address == dentry.address {
            return Ok(found);
        }
        found.push(parent.address);
        dentry = parent;
    }
    Err(ReadError::Implausible("dentry"))
}

/// Whether another file has the name of one that was deleted, as that of a program has when it was updated: the names that the kernel
/// keeps of the directory tell.
#[derive(Default)]
pub struct Replaced(Mutex<(HashMap<VirtAddr, bool>, u32)>);

impl Replaced {
    /// None that is looked for among too many is found: then a deleted file is told as one.
    pub fn knows(&self, file: &Object<'_>) -> Result<bool, ReadError> {
        let own = file.inner("f_path")?.follow_some("dentry")?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, steps) = &mut *kept;
        if let Some(known) = known.get(&own.address) {
            return Ok(*known);
        }
        let found = has_successor(&own, steps).unwrap_or(false);
        known.insert(own.address, found);
        Ok(found)
    }
}

fn has_successor(own: &Object<'_>, steps: &mut u32) -> Result<bool, ReadError> {
    let (hash, wanted) = (own.inner("d_name")?.uint("hash")?, name(own)?);
    let directory = own.follow_some("d_parent")?;
    let context = own.context();
    // A list of struct list_head until 6.8.
    let lists = directory.has("d_subdirs");
    let (first, link) = match lists {
        true => (directory.inner("d_subdirs")?.pointer("next")?, "d_child"),
        false => (directory.inner("d_children")?.pointer("first")?, "d_sib"),
    };
    let end = if lists { directory.at("d_subdirs")? } else { VirtAddr(0) };
    let mut at = first;
    while at != end && at.is_kernel() && *steps < MOST_ENTRIES {
        *steps += 1;
        let other = context.container("dentry", link, at)?;
        let same = other.inner("d_name")?.uint("hash")? == hash && other.address != own.address && name(&other)? == wanted;
        if same && !unhashed(&other)? && other.follow("d_inode")?.is_some() {
            return Ok(true);
        }
        at = context.space.pointer(at)?;
    }
    Ok(false)
}

/// Removed from its directory: no longer in the hash of names, though it is not a root.
fn unhashed(dentry: &Object<'_>) -> Result<bool, ReadError> {
    Ok(dentry.inner("d_hash")?.pointer("pprev")?.is_null() && dentry.pointer("d_parent")? != dentry.address)
}

/// What d_path makes of entries of pseudo file systems; None for the root of a real one.
fn without_place(dentry: &Object<'_>) -> Result<Option<String>, ReadError> {
    let Some(inode) = dentry.follow("d_inode")? else { return Ok(None) };
    let number = inode.uint("i_ino")?;
    let label = |text: String| Ok(Some(text));
    match file_system(&inode)?.as_str() {
        "sockfs" => label(format!("socket:[{number}]")),
        "pipefs" => label(format!("pipe:[{number}]")),
        "anon_inodefs" => label(format!("anon_inode:{}", name(dentry)?)),
        "nsfs" => label(format!("{}:[{number}]", namespace_kind(&inode).unwrap_or_default())),
        "pidfs" => label(format!("anon_inode:[pidfd:{number}]")),
        "tmpfs" | "hugetlbfs" | "shm" => {
            let name = name(dentry)?;
            Ok((name != "/").then(|| format!("/{name}")))
        }
        _ => Ok(None),
    }
}

/// The name of an inode's file system type.
pub fn file_system(inode: &Object<'_>) -> Result<String, ReadError> {
    let kind = inode.follow_some("i_sb")?.follow_some("s_type")?;
    inode.context().space.text(kind.pointer("name")?, 64)
}

/// `net`, `mnt`, ...: the name in the operations that an nsfs inode's namespace points to.
fn namespace_kind(inode: &Object<'_>) -> Result<String, ReadError> {
    let context = inode.context();
    let namespace = context.object("ns_common", inode.pointer("i_private")?)?;
    let operations = context.object("proc_ns_operations", namespace.pointer("ops")?)?;
    context.space.text(VirtAddr(operations.uint("name")?), 16)
}
