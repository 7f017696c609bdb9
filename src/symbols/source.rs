//! One door for symbols from files: what a path holds is told by its content, and a folder is searched for what fits a banner.

use super::isf::{self, Isf, Pdb};
use super::packed::{is_packed, unpack};
use super::profile::{self, ProfileFile, Provenance};
use super::vmlinux::Vmlinux;
use super::{Btf, SymbolTable, TypeSource, system_map};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Symbols from a file.
pub struct Found {
    pub path: PathBuf,
    pub types: Option<Box<dyn TypeSource>>,
    /// As linked: the caller adds what KASLR added. On Windows counted from the module's base.
    pub symbols: Option<SymbolTable>,
    pub banner: Option<String>,
    pub build_id: Option<String>,
    /// The Windows module, where it is one.
    pub pdb: Option<Pdb>,
    /// What the file is, for people.
    pub description: String,
}

/// Why symbols cannot be had: where and what.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{path}: {problem}")]
    Format { path: String, problem: String },
}

/// Files that are read whole; a kernel's ELF file is not.
const MAX_FILE: u64 = 512 << 20;
/// Files and folders looked at below a folder, and how far down.
const MAX_ENTRIES: usize = 20_000;
const MAX_DEPTH: u32 = 6;
/// Files whose banner is read.
const MAX_CANDIDATES: usize = 1_000;

/// Opens a file; or, of the files in a folder, the one for a kernel with that banner. None if the folder holds none.
pub fn open_symbols(path: &Path, banner: Option<&str>) -> Result<Option<Found>, SymbolsError> {
    let kind = fs::metadata(path).map_err(|source| failed(path, source))?;
    if !kind.is_dir() {
        return open_file(path).map(Some);
    }
    let mut candidates = candidates(path)?;
    let Some(banner) = banner.map(plain) else {
        // Without a banner only a single file is no guess.
        return match candidates.as_slice() {
            [only] => open_file(only).map(Some),
            _ => Ok(None),
        };
    };
    // The third word is the release, and most files are named for it.
    let release = banner.split(' ').nth(2).unwrap_or(banner);
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(release));
    candidates.sort_by_key(|path| !named(path));
    // A file that cannot be read must not hide the right one.
    let right = candidates.iter().take(MAX_CANDIDATES).find(|path| banner_of(path).is_some_and(|found| plain(&found) == banner));
    right.map(|path| open_file(path)).transpose()
}

/// Writes a profile of what a file holds.
pub fn build_profile(path: &Path) -> Result<Vec<u8>, SymbolsError> {
    let raw = open_raw(path)?;
    let provenance = Provenance {
        banner: raw.banner.unwrap_or_default(),
        build_id: raw.build_id.unwrap_or_default(),
        types_from: raw.types_from.into(),
        source: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        source_sha256: sha256(path)?,
        program: concat!("kioku ", env!("CARGO_PKG_VERSION")).into(),
    };
    let types = raw.types.map(Btf::into_bytes);
    let symbols = raw.symbols.unwrap_or_default();
    profile::write(&provenance, types.as_deref(), &symbols).map_err(|source| failed(path, source))
}

/// What a file holds, before it is put behind one face.
#[derive(Default)]
struct Raw {
    types: Option<Btf>,
    types_from: &'static str,
    symbols: Option<SymbolTable>,
    banner: Option<String>,
    build_id: Option<String>,
    pdb: Option<Pdb>,
    description: String,
}

fn open_file(path: &Path) -> Result<Found, SymbolsError> {
    let Raw { types, symbols, banner, build_id, pdb, description, .. } = open_raw(path)?;
    let types = types.map(|types| Box::new(types) as Box<dyn TypeSource>);
    Ok(Found { path: path.into(), types, symbols, banner, build_id, pdb, description })
}

fn open_raw(path: &Path) -> Result<Raw, SymbolsError> {
    let problem = |problem: String| SymbolsError::Format { path: path.display().to_string(), problem };
    let start = first_bytes(path).map_err(|source| failed(path, source))?;
    if is_elf(&start) {
        let kernel = Vmlinux::open(path).map_err(problem)?;
        let types = kernel.types.map(Btf::parse).transpose().map_err(|why| problem(why.into()))?;
        let from = if types.is_some() { kernel.types_from } else { "" };
        return Ok(Raw {
            description: format!("kernel ELF file, {}", if from.is_empty() { "no types" } else { from }),
            types,
            types_from: from,
            symbols: Some(kernel.symbols),
            banner: kernel.banner,
            build_id: kernel.build_id,
            pdb: None,
        });
    }
    let file = read_file(path).map_err(|source| failed(path, source))?;
    if file.starts_with(profile::MAGIC) {
        let opened = ProfileFile::open(&file).map_err(|why| problem(why.into()))?;
        let Provenance { banner, build_id, types_from, source, .. } = opened.provenance;
        return Ok(Raw {
            types: opened.types,
            types_from: "profile",
            symbols: Some(opened.symbols),
            banner: Some(banner).filter(|text| !text.is_empty()),
            build_id: Some(build_id).filter(|text| !text.is_empty()),
            pdb: None,
            description: format!("kioku profile of {source} ({types_from})"),
        });
    }
    if Btf::blob_length(&file).is_some() {
        let types = Btf::parse(file).map_err(|why| problem(why.into()))?;
        return Ok(Raw { types: Some(types), types_from: "BTF", description: "BTF blob".into(), ..Raw::default() });
    }
    let text = unpack(&file).map_err(|why| problem(why.into()))?;
    if text.trim_ascii_start().starts_with(b"{") {
        let isf = Isf::read(&text).map_err(problem)?;
        return Ok(Raw {
            types: Some(isf.types),
            types_from: "ISF",
            symbols: Some(isf.symbols),
            banner: isf.banner,
            build_id: None,
            pdb: isf.pdb,
            description: "Volatility ISF file".into(),
        });
    }
    let symbols = system_map::parse(&text).ok_or_else(|| problem("not a symbol file of a known kind".into()))?;
    Ok(Raw { symbols: Some(symbols), description: "System.map".into(), ..Raw::default() })
}

/// The banner of a file, read with as little as possible of the rest.
fn banner_of(path: &Path) -> Option<String> {
    let start = first_bytes(path).ok()?;
    if is_elf(&start) {
        return Vmlinux::banner(path);
    }
    let file = read_file(path).ok()?;
    if file.starts_with(profile::MAGIC) {
        return profile::provenance(&file).ok().map(|provenance| provenance.banner);
    }
    if !is_packed(&file) && !file.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    isf::banner(&unpack(&file).ok()?)
}

/// A banner without what may stand after it.
fn plain(banner: &str) -> &str {
    banner.trim_end_matches('\0').trim()
}

fn is_elf(start: &[u8]) -> bool {
    start.starts_with(b"\x7fELF")
}

/// The files below a folder that may hold symbols, by name, in order. Links to folders are not followed.
fn candidates(folder: &Path) -> Result<Vec<PathBuf>, SymbolsError> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), MAX_DEPTH)];
    let mut entries = 0;
    while let Some((folder, depth)) = folders.pop() {
        let list = match fs::read_dir(&folder) {
            Ok(list) => list,
            Err(source) if entries == 0 => return Err(failed(&folder, source)),
            Err(_) => continue,
        };
        for entry in list.flatten() {
            entries += 1;
            if entries > MAX_ENTRIES {
                break;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if depth > 0 {
                    folders.push((entry.path(), depth - 1));
                }
            } else if may_hold_symbols(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn may_hold_symbols(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let stem = [".xz", ".gz", ".zst", ".zstd"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
    stem.ends_with(".json") || stem.ends_with(".isf") || name.ends_with(".kioku") || name.starts_with("vmlinux") || name.ends_with(".debug")
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut start)?;
    Ok(start)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a symbol file"));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // Again a bound, for a file that grows meanwhile or has no length of its own.
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// In hexadecimal.
fn sha256(path: &Path) -> Result<String, SymbolsError> {
    let mut sum = Sha256::new();
    let mut file = File::open(path).map_err(|source| failed(path, source))?;
    let mut piece = vec![0; 1 << 18];
    loop {
        let length = file.read(&mut piece).map_err(|source| failed(path, source))?;
        if length == 0 {
            break;
        }
        sum.update(&piece[..length]);
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn failed(path: &Path, source: io::Error) -> SymbolsError {
    SymbolsError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"base_types": {}, "user_types": {"a": {"size": 8, "kind": "struct", "fields": {}}}, "enums": {},
        "symbols": {"linux_banner": {"address": 4096, "constant_data": "TGludXggdmVyc2lvbiA2LjEKAA=="}}}"#;

    #[test]
    fn a_folder_is_searched_for_the_banner() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open_symbols(folder.path(), None).unwrap().is_none());
        fs::create_dir(folder.path().join("linux")).unwrap();
        fs::write(folder.path().join("linux/first.json"), FIRST).unwrap();
        assert!(open_symbols(folder.path(), None).unwrap().is_some(), "the only one");
        fs::write(folder.path().join("bad.json.xz"), b"\xfd7zXZ\0").unwrap();
        fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
        let found = open_symbols(folder.path(), Some("Linux version 6.1\n\0")).unwrap().unwrap();
        assert_eq!(found.path, folder.path().join("linux/first.json"));
        assert_eq!(found.banner.as_deref(), Some("Linux version 6.1"));
        assert!(found.types.unwrap().find("a").is_some());
        assert!(open_symbols(folder.path(), Some("Linux version 6.2")).unwrap().is_none());
    }

    #[test]
    fn files_are_known_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            open_symbols(&path, None).map(|found| found.unwrap())
        };
        assert_eq!(open(FIRST.as_bytes()).unwrap().description, "Volatility ISF file");
        let profile = build_profile(&path).unwrap();
        let opened = open(&profile).unwrap();
        assert_eq!((opened.banner.as_deref(), opened.description.as_str()), (Some("Linux version 6.1"), "kioku profile of file (ISF)"));
        assert_eq!(open(b"ffffffff81000000 T _stext\n").unwrap().symbols.unwrap().len(), 1);
        assert!(open(b"\x7fELF\x02\x01\x01").is_err());
        assert!(open(b"").is_err());
        assert!(open_symbols(&folder.path().join("absent"), None).is_err());
    }
}
