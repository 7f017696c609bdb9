//! Mounted file systems of every mount namespace.

use super::{Linux, path};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::linux::Mount;
use crate::facts::{Known, ReadError, Scope, Sink, Watch};
use crate::symbols::{Context, Object};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// fs.mount-max allows a hundred thousand mounts in a namespace by default.
const MOST_MOUNTS: usize = 1 << 20;
pub(super) const MOST_FILE_SYSTEMS: usize = 1 << 16;

/// Flags of a mount that users see (include/linux/mount.h; the order is that of /proc/PID/mounts).
const MNT_READONLY: u64 = 0x40;
const MOUNT_FLAGS: [(u64, &str); 7] = [
    (0x01, "nosuid"),
    (0x02, "nodev"),
    (0x04, "noexec"),
    (0x08, "noatime"),
    (0x10, "nodiratime"),
    (0x20, "relatime"),
    (0x80, "nosymfollow"),
];
/// Flags of a file system (include/linux/fs.h).
const SB_RDONLY: u64 = 1;
const SUPER_FLAGS: [(u64, &str); 4] = [(1 << 4, "sync"), (1 << 7, "dirsync"), (1 << 6, "mand"), (1 << 25, "lazytime")];

/// A mount namespace and the mounts that are known to be in it.
struct Namespace<'a> {
    object: Object<'a>,
    mounts: BTreeSet<VirtAddr>,
}

pub fn mounts(linux: &Linux, scope: Scope, out: &mut Sink<Mount>) {
    let mut namespaces: Vec<Namespace<'_>> = Vec::new();
    let mut known = HashSet::new();
    for task in linux.tasks(scope, out.watch()) {
        // A zombie has let go of its namespaces.
        match task.object.follow("nsproxy").and_then(|proxy| proxy.map(|proxy| proxy.follow_some("mnt_ns")).transpose()) {
            Ok(Some(object)) if known.insert(object.address) => namespaces.push(Namespace { object, mounts: BTreeSet::new() }),
            Ok(_) => {}
            Err(why) => out.note(format!("the mount namespace of {} {}: {why}", task.name, task.pid)),
        }
    }
    // The file systems know their mounts as well: those of namespaces in which no process is, and those that a torn tree hides.
    let (mut by_namespace, trouble) = of_file_systems(linux.context(), out.watch());
    if let Some(why) = trouble {
        out.note(format!("the mounts of each file system could be read only in part: {why}"));
    }
    for namespace in &mut namespaces {
        if let Some(why) = walk(namespace, out.watch()) {
            out.note(format!("the tree of a mount namespace is broken: {why}"));
        }
        namespace.mounts.extend(by_namespace.remove(&namespace.object.address).unwrap_or_default());
    }
    if scope == Scope::Machine {
        let rest = by_namespace.into_iter().filter_map(|(address, mounts)| {
            let object = linux.context().object("mnt_namespace", address).ok()?;
            // A scan of file systems says less than a process does: the namespace must hold together.
            let root = object.pointer("root").ok()?;
            mounts.contains(&root).then_some(Namespace { object, mounts })
        });
        namespaces.extend(rest);
    }
    if namespaces.is_empty() {
        out.note("no process with a mount namespace matches");
    }
    for namespace in &namespaces {
        if of_namespace(linux, namespace, out) == 0 && !out.cancelled() {
            out.note(format!("nothing is mounted in the namespace at {}", namespace.object.address));
        }
    }
}

/// Adds the mounts below a namespace's root.
fn walk(namespace: &mut Namespace<'_>, watch: &Watch) -> Option<ReadError> {
    let mut trouble = None;
    let mut waiting = match namespace.object.follow_some("root") {
        Ok(root) => vec![root],
        Err(why) => return Some(why),
    };
    while let Some(mount) = waiting.pop() {
        if watch.cancelled() || namespace.mounts.len() >= MOST_MOUNTS || !namespace.mounts.insert(mount.address) {
            continue;
        }
        match mount.list("mnt_mounts", "mount", "mnt_child") {
            Ok(children) => {
                for child in children.take(MOST_MOUNTS) {
                    match child {
                        // All mounts of a tree are in one namespace.
                        Ok(child) if child.pointer("mnt_ns") == Ok(namespace.object.address) => waiting.push(child),
                        Ok(_) => trouble = Some(ReadError::Implausible("mount")),
                        Err(why) => trouble = Some(why),
                    }
                }
            }
            Err(why) => trouble = Some(why),
        }
    }
    trouble
}

type ByNamespace = BTreeMap<VirtAddr, BTreeSet<VirtAddr>>;

/// The mounts of all file systems, by their namespaces. The kernel's own mounts are in none.
fn of_file_systems(context: Context<'_>, watch: &Watch) -> (ByNamespace, Option<ReadError>) {
    let mut found = ByNamespace::new();
    let mut count = 0;
    let mut trouble = None;
    let head = match context.symbol("super_blocks") {
        Ok(head) => head,
        Err(why) => return (found, Some(why)),
    };
    for file_system in context.list(head, "super_block", "s_list").take(MOST_FILE_SYSTEMS) {
        let mounts = file_system.and_then(|file_system| of_file_system(&file_system));
        let mounts = mounts.unwrap_or_else(|why| {
            trouble = Some(why);
            Vec::new()
        });
        for mount in mounts {
            count += 1;
            if watch.cancelled() || count > MOST_MOUNTS {
                return (found, trouble);
            }
            match mount.pointer("mnt_ns") {
                // Null while it is unmounted; an error number for the kernel's own.
                Ok(namespace) if namespace.is_kernel() && namespace.0 < PAGE_SIZE.wrapping_neg() => {
                    found.entry(namespace).or_default().insert(mount.address);
                }
                Ok(_) => {}
                Err(why) => trouble = Some(why),
            }
        }
    }
    (found, trouble)
}

/// The mounts of one file system.
pub(super) fn of_file_system<'a>(file_system: &Object<'a>) -> Result<Vec<Object<'a>>, ReadError> {
    let first = file_system.context().object("mount", VirtAddr(0))?;
    if !first.has("mnt_next_for_sb") {
        return file_system.list("s_mounts", "mount", "mnt_instance")?.take(MOST_MOUNTS).collect();
    }
    // Since 6.18: no list_head, but a chain of the mounts themselves.
    let mut mounts = Vec::new();
    let mut seen = HashSet::new();
    let mut next = file_system.follow("s_mounts")?;
    while let Some(mount) = next {
        if !seen.insert(mount.address) || mounts.len() >= MOST_MOUNTS {
            return Err(ReadError::Implausible("chain of mounts"));
        }
        next = mount.follow("mnt_next_for_sb")?;
        mounts.push(mount);
    }
    Ok(mounts)
}

/// Rows of one namespace, in the order of their IDs; says how many.
fn of_namespace(linux: &Linux, namespace: &Namespace<'_>, out: &mut Sink<Mount>) -> usize {
    // Mounts made by fsmount() and open_tree() wait in anonymous namespaces, whose number is 0, until they are moved.
    let number = namespace.object.inner("ns").and_then(|common| common.uint("inum"));
    let anonymous = number == Ok(0);
    let mut rows: Vec<_> = namespace
        .mounts
        .iter()
        .take_while(|_| !out.cancelled())
        .filter_map(|address| linux.context().object("mount", *address).ok())
        .map(|mount| {
            let mut row = describe(&mount);
            row.namespace = match number {
                Ok(0) => Known::Absent,
                number => number.into(),
            };
            if anonymous {
                row.problems.push("in no namespace: it waits to be attached".to_owned());
            }
            row
        })
        .collect();
    rows.sort_by_key(|row| (row.id.value().copied(), row.address));
    let count = rows.len();
    out.extend(rows);
    count
}

fn describe(mount: &Object<'_>) -> Mount {
    let mut problems = Vec::new();
    let mut known = |what: &str, read: Result<String, ReadError>| {
        read.unwrap_or_else(|why| {
            problems.push(format!("{what}: {why}"));
            String::new()
        })
    };
    let path = known("path", path::of_mount(mount));
    let r#type = known("type", kind(mount));
    let options = known("options", options(mount));
    let source = mount.pointer("mnt_devname").and_then(|name| match name.is_null() {
        true => Ok(None),
        false => mount.context().space.text(name, PAGE_SIZE as usize).map(Some),
    });
    Mount {
        path,
        r#type,
        source: source.into(),
        options,
        id: mount.uint("mnt_id").into(),
        address: mount.address,
        problems,
        ..Mount::default()
    }
}

/// The type, with the subtype that FUSE file systems have: `fuse.sshfs`.
fn kind(mount: &Object<'_>) -> Result<String, ReadError> {
    let file_system = mount.inner("mnt")?.follow_some("mnt_sb")?;
    let space = mount.context().space;
    let kind = space.text(file_system.follow_some("s_type")?.pointer("name")?, 64)?;
    let subtype = file_system.pointer("s_subtype").ok().filter(|subtype| !subtype.is_null());
    Ok(match subtype.map(|subtype| space.text(subtype, 64)).transpose()? {
        Some(subtype) if !subtype.is_empty() => format!("{kind}.{subtype}"),
        _ => kind,
    })
}

/// The options that every file system has, as /proc/PID/mounts shows them.
fn options(mount: &Object<'_>) -> Result<String, ReadError> {
    let mount = mount.inner("mnt")?;
    Ok(words(mount.uint("mnt_flags")?, mount.follow_some("mnt_sb")?.uint("s_flags")?))
}

fn words(mount: u64, file_system: u64) -> String {
    let read_only = mount & MNT_READONLY != 0 || file_system & SB_RDONLY != 0;
    let set = |flags: u64| move |(flag, word): (u64, &'static str)| (flags & flag != 0).then_some(word);
    let words = SUPER_FLAGS.into_iter().filter_map(set(file_system)).chain(MOUNT_FLAGS.into_iter().filter_map(set(mount)));
    std::iter::once(if read_only { "ro" } else { "rw" }).chain(words).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn options_are_worded_as_the_kernel_does() {
        assert_eq!(words(0x20, 0), "rw,relatime");
        assert_eq!(words(0x47, 1 << 4), "ro,sync,nosuid,nodev,noexec");
        assert_eq!(words(0, 1), "ro");
    }
}
