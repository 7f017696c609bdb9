//! Files as memory holds them: by name, by what leads to them, or all.

use super::{Error, Session, System, Which};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::linux::{CachedFile, OpenFile};
use crate::facts::text::printable;
use crate::facts::windows::FileObject;
use crate::facts::{Content, Known, Origin, Region, Scope, Watch};
use std::collections::HashSet;
use std::sync::Arc;

/// Pages of all files together, and the pieces that they lie in: several times what any machine holds of files.
const MOST_PAGES: u64 = 1 << 28;
const MOST_PARTS: usize = 1 << 23;

pub struct HeldFile {
    /// What leads to it: a file object, a struct file or an inode.
    pub object: VirtAddr,
    pub path: Known<String>,
    /// Each source of its pages; nothing where none is in memory.
    pub contents: Vec<Content>,
}

impl Session {
    /// The files that are meant, or all. Several objects may lead to the same pages.
    pub(super) fn held_files(&self, which: Option<Which<'_>>, watch: &Arc<Watch>) -> Result<Vec<HeldFile>, Error> {
        let objects = match which {
            Some(Which::At(address)) => vec![address],
            Some(Which::Named(name)) => self.file_objects(&|path| path.value().is_some_and(|path| self.is_named(path, name)), watch)?,
            None => self.file_objects(&|_| true, watch)?,
        };
        if let (Some(Which::Named(name)), []) = (which, &objects[..]) {
            let table = if self.info().os == Origin::Windows { "file_objects" } else { "page_cache" };
            let (image, name) = (self.name(), printable(name));
            return Err(Error(format!(
                "{image}: no file's path is or ends with {name}; `kioku query {image} {table}` lists the files in memory"
            )));
        }
        let mut files = Vec::new();
        let (mut pages, mut parts, mut met) = (MOST_PAGES, MOST_PARTS, HashSet::new());
        for object in objects {
            if watch.cancelled() {
                return Err(Error("stopped before it was done".to_owned()));
            }
            let found = match self.system() {
                System::Windows(windows) => windows.cached_file(object, watch),
                System::Linux(linux) => linux.cached_file(object, watch).map(|(path, content)| (path, vec![content])),
            };
            let (path, contents) = match (found, which) {
                (Ok(found), _) => found,
                (Err(why), Some(Which::At(_))) => return Err(Error(format!("{}: file object {object}: {why}", self.name()))),
                (Err(why), _) => (Known::Unreadable(why), Vec::new()),
            };
            for content in &contents {
                let first = met.insert((content.kind, content.source.value().copied()));
                let held = content.parts().iter().fold(0u64, |sum, part| sum.saturating_add(part.length.div_ceil(PAGE_SIZE)));
                let left = pages.checked_sub(if first { held } else { 0 }).zip(parts.checked_sub(content.parts().len()));
                (pages, parts) = left.ok_or_else(|| Error(format!("{}: files claim more memory than there is", self.name())))?;
            }
            files.push(HeldFile { object, path, contents });
        }
        Ok(files)
    }

    /// What leads to files whose paths are wanted, each once.
    fn file_objects(&self, wanted: &dyn Fn(&Known<String>) -> bool, watch: &Arc<Watch>) -> Result<Vec<VirtAddr>, Error> {
        let mut found: Vec<VirtAddr> = match self.system() {
            System::Windows(_) => {
                let files = self.whole::<FileObject>(Scope::Machine, watch)?;
                files.iter().filter(|file| wanted(&file.path)).map(|file| file.address).collect()
            }
            System::Linux(linux) => {
                let open = self.whole::<OpenFile>(Scope::Machine, watch)?;
                let regions = self.whole::<Region>(Scope::Machine, watch)?;
                let open = open.iter().filter(|file| wanted(&file.path)).map(|file| file.address);
                let mapped = regions.iter().filter(|region| wanted(&region.file));
                let mut files: Vec<_> = open.chain(mapped.filter_map(|region| linux.file_of_region(region.address))).collect();
                // What nobody has open stays in memory all the same.
                let known: HashSet<_> = files.iter().filter_map(|file| linux.inode_of_file(*file)).collect();
                let cached = self.whole::<CachedFile>(Scope::Machine, watch)?;
                files.extend(cached.iter().filter(|file| wanted(&file.path) && !known.contains(&file.address)).map(|file| file.address));
                files
            }
        };
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Whether a path is what was asked for or ends with it, component by component.
    pub(super) fn is_named(&self, path: &str, wanted: &str) -> bool {
        is_named(path, wanted, self.info().os == Origin::Windows)
    }
}

/// Windows does not tell letters by their case; a path that begins with a drive is one on any volume.
fn is_named(path: &str, wanted: &str, windows: bool) -> bool {
    let (path, wanted) = if windows {
        let plain = |text: &str| text.to_lowercase().replace('/', "\\");
        (plain(path), plain(wanted))
    } else {
        (path.strip_suffix(" (deleted)").unwrap_or(path).to_owned(), wanted.to_owned())
    };
    let mark = if windows { '\\' } else { '/' };
    let rest = match wanted.as_bytes() {
        [letter, b':', b'\\', ..] if windows && letter.is_ascii_alphabetic() => &wanted[2..],
        _ => wanted.as_str(),
    };
    let rest = rest.trim_start_matches(mark);
    !rest.is_empty() && path.strip_suffix(rest).is_some_and(|before| before.is_empty() || before.ends_with(mark))
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn names_match_whole_components() {
        let path = "\\Device\\HarddiskVolume3\\Users\\Mara\\todo.txt";
        for wanted in
            ["todo.txt", "TODO.TXT", "mara\\todo.txt", "\\Users\\mara\\todo.txt", "C:\\Users\\mara\\todo.txt", "mara/todo.txt", path]
        {
            assert!(is_named(path, wanted, true), "{wanted}");
        }
        for wanted in ["", "\\", "C:\\", "odo.txt", "ra\\todo.txt", "todo", "Users\\mara", "é"] {
            assert!(!is_named(path, wanted, true), "{wanted}");
        }
        assert!(is_named("/usr/bin/sh (deleted)", "bin/sh", false) && !is_named("/usr/bin/sh", "bin/SH", false));
    }
}
