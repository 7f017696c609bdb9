//! Open file descriptors.

use super::Linux;
use super::path;
use super::tasks::Task;
use crate::address::VirtAddr;
use crate::facts::linux::OpenFile;
use crate::facts::{Known, ReadError, Scope, Sink};
use crate::symbols::Object;

/// fs.nr_open allows a million descriptors by default.
const MOST_DESCRIPTORS: u64 = 1 << 20;

/// The open descriptors of a task and the struct file behind each.
pub fn descriptors<'a>(task: &Object<'a>) -> Result<Vec<(u32, Object<'a>)>, ReadError> {
    let Some(files) = task.follow("files")? else { return Ok(Vec::new()) };
    let context = task.context();
    let table = files.follow_some("fdt")?;
    let (count, slots) = (table.uint("max_fds")?, table.pointer("fd")?);
    // The bitmaps beside it are made of whole words.
    if count % 64 != 0 || count > MOST_DESCRIPTORS {
        return Err(ReadError::Implausible("descriptor table"));
    }
    let mut words = vec![0; count as usize * 8];
    context.space.read(slots, &mut words)?;
    let mut open = Vec::new();
    for (number, word) in words.as_chunks::<8>().0.iter().enumerate() {
        let file = VirtAddr(u64::from_le_bytes(*word));
        if file.is_kernel() {
            open.push((number as u32, context.object("file", file)?));
        }
    }
    Ok(open)
}

pub fn open_files(linux: &Linux, scope: Scope, out: &mut Sink<OpenFile>) {
    for task in linux.tasks(scope, out.watch()) {
        match descriptors(&task.object) {
            Ok(open) => {
                for (number, file) in open {
                    if out.cancelled() {
                        return;
                    }
                    out.push(describe(&task, number, &file));
                }
            }
            Err(why) => out.note(format!("open files of {} {}: {why}", task.name, task.pid)),
        }
    }
}

fn describe(task: &Task<'_>, number: u32, file: &Object<'_>) -> OpenFile {
    let path = path::of_file(file);
    let inode = file.follow_some("f_inode");
    let mode = inode.as_ref().map_err(|why| *why).and_then(|inode| inode.uint("i_mode"));
    let deleted = path.as_ref().is_ok_and(|path| path.deleted);
    OpenFile {
        pid: task.pid,
        process: task.name.clone(),
        fd: number,
        path: path.map(|path| path.text).into(),
        kind: mode.map_or("unknown", kind),
        inode: inode.and_then(|inode| inode.uint("i_ino")).into(),
        mode: mode.map(|mode| format!("{mode:o}")).into(),
        position: Known::from(file.int("f_pos")),
        deleted,
        address: file.address,
        ..OpenFile::default()
    }
}

/// The file type in a mode (POSIX sys/stat.h, S_IFMT).
fn kind(mode: u64) -> &'static str {
    match mode & 0o170_000 {
        0o010_000 => "pipe",
        0o020_000 => "character device",
        0o040_000 => "directory",
        0o060_000 => "block device",
        0o100_000 => "file",
        0o120_000 => "link",
        0o140_000 => "socket",
        _ => "anonymous",
    }
}
