//! Symbol files and what an image needs of them.

use super::Known;
use super::record::record;

record! {
    /// Symbol files, one row each.
    SymbolFile = "symbol_files" {
        /// Where it is; `packed` in the program itself.
        path: String,
        /// What it is.
        kind: String,
        /// Banner or version of the kernel that it describes.
        kernel: Known<String>,
        /// Build ID of that kernel.
        build_id: Known<String>,
        /// Number of symbols.
        symbols: Known<u64>,
        /// Whether it describes types, too.
        types: bool,
    }
}

record! {
    /// What an image needs, and what it was given.
    SymbolNeed = "symbol_need" {
        /// Name of the image.
        image: String,
        /// Banner or version of its kernel: the very one that a profile must be of.
        kernel: String,
        /// Where its types and symbols were taken from.
        source: String,
        /// Checks that they passed on this image.
        passed: u64,
        /// Checks in all.
        checks: u64,
    }
}
