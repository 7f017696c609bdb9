//! Symbol files: what they hold, and profiles made of them.

use super::Error;
use crate::facts::{Known, Rows, Sink, SymbolFile};
use crate::symbols::pack::{Build, Pack, Packed, build_pack};
use crate::symbols::{SymbolsError, open_symbols};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl From<SymbolsError> for Error {
    fn from(why: SymbolsError) -> Self {
        Self(why.to_string())
    }
}

/// A profile of the kernel that a file describes: a vmlinux with debug information or BTF, an ISF file, a System.map.
pub fn build_profile(path: &Path) -> Result<Vec<u8>, Error> {
    Ok(crate::symbols::build_profile(path)?)
}

/// More files in one folder are not looked at.
const MOST_FILES: usize = 1000;

/// Packs the symbol tables of Windows kernels in a folder.
pub fn pack_folder(folder: &Path) -> Result<Packed, Error> {
    build_pack(folder).map_err(Error)
}

/// The profiles that ship with the program, then what symbol files hold: the files themselves, or those directly in a folder. A file that
/// is none says so in its row.
pub fn symbol_files(paths: &[PathBuf]) -> Arc<dyn Rows> {
    let mut sink = Sink::new(Arc::default());
    match Pack::bundled() {
        Ok(pack) => sink.extend(pack.builds().iter().map(packed)),
        Err(why) => sink.note(why),
    }
    for path in paths {
        let Ok(folder) = std::fs::read_dir(path) else {
            sink.push(symbol_file(path));
            continue;
        };
        let files = folder.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
        let mut files: Vec<_> = files.take(MOST_FILES + 1).collect();
        if files.len() > MOST_FILES {
            files.truncate(MOST_FILES);
            sink.note(format!("{}: only {MOST_FILES} of its files are listed", path.display()));
        }
        files.sort();
        sink.extend(files.iter().map(|path| symbol_file(path)));
    }
    sink.finish()
}

fn packed(build: &Build) -> SymbolFile {
    // Without an identity there are types alone, for builds whose symbols are not known.
    let whole = !build.guid.is_empty();
    SymbolFile {
        path: "packed".to_owned(),
        kind: build.module.name().to_owned(),
        kernel: Known::Value(build.version.to_string()),
        build_id: whole.then(|| format!("{}{:X}", build.guid, build.age)).into(),
        symbols: Known::Absent,
        types: build.module.name() != "tcpip.pdb",
        problems: Vec::new(),
    }
}

fn symbol_file(path: &Path) -> SymbolFile {
    let name = path.display().to_string();
    match open_symbols(path, None) {
        Ok(Some(found)) => SymbolFile {
            path: name,
            kind: found.description,
            kernel: found.banner.or_else(|| found.pdb.as_ref().map(|pdb| format!("{} {}", pdb.database, pdb.guid))).into(),
            build_id: found.build_id.into(),
            symbols: Known::Value(found.symbols.map_or(0, |symbols| symbols.len() as u64)),
            types: found.types.is_some(),
            problems: Vec::new(),
        },
        Ok(None) => SymbolFile { path: name, problems: vec!["holds no symbols".to_owned()], ..SymbolFile::default() },
        Err(why) => SymbolFile { path: name, problems: vec![why.to_string()], ..SymbolFile::default() },
    }
}
