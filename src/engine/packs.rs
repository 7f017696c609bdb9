//! The packed profiles, for those who list or make them; sessions use them unasked.

use super::Error;
use crate::symbols::pack::{Pack, Packed, build_pack};
use std::path::Path;

/// A build that the program has a profile of.
pub struct PackedBuild {
    pub module: &'static str,
    pub version: String,
    /// Empty, with an age of 0, where only the types are known.
    pub guid: String,
    pub age: u32,
}

/// The builds in the pack that ships with the program.
pub fn packed_builds() -> Result<Vec<PackedBuild>, Error> {
    let pack = Pack::bundled().map_err(|why| Error(why.to_owned()))?;
    let build = |build: &crate::symbols::pack::Build| PackedBuild {
        module: build.module.name(),
        version: build.version.to_string(),
        guid: build.guid.clone(),
        age: build.age,
    };
    Ok(pack.builds().iter().map(build).collect())
}

/// Packs the symbol tables in a folder.
pub fn pack_folder(folder: &Path) -> Result<Packed, Error> {
    build_pack(folder).map_err(Error)
}
