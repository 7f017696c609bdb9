//! A stretch of memory taken along: into a new file, or as text for the clipboard.

use super::clipboard::LONGEST;
use super::text::counted;
use crate::address::VirtAddr;
use crate::engine::{Extent, Session, Space, Which};
use crate::facts::Watch;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More is a matter for `kioku dump` and `kioku read`.
pub const MOST_WRITTEN: u64 = 1 << 30;
/// Of this much no form fits into a clipboard.
const MOST_COPIED: u64 = LONGEST as u64;
const STEP: u64 = 1 << 20;

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Hex,
    Yara,
    C,
    Rust,
    Python,
    Base64,
    Text,
}

impl Form {
    pub const ALL: [Self; 7] = [Self::Hex, Self::Yara, Self::C, Self::Rust, Self::Python, Self::Base64, Self::Text];

    pub fn says(self) -> (&'static str, &'static str) {
        match self {
            Self::Hex => ("hex", "4c 8b dc, ?? where a byte is missing"),
            Self::Yara => ("yara", "{ 4c 8b dc ?? }: a string for a rule"),
            Self::C => ("c", "unsigned char bytes[] = { 0x4c, 0x8b };"),
            Self::Rust => ("rust", "const BYTES: [u8; 2] = [0x4c, 0x8b];"),
            Self::Python => ("python", "bytes.fromhex(\"4c8b\")"),
            Self::Base64 => ("base64", "TIs="),
            Self::Text => ("text", "printable letters, . for all else"),
        }
    }
    /// Whether it can say that a byte is missing.
    fn has_gaps(self) -> bool {
        matches!(self, Self::Hex | Self::Yara | Self::Text)
    }

    /// Bytes, of which some may be missing, in this form, on one line.
    pub fn write(self, bytes: &[Option<u8>]) -> String {
        let known: Vec<u8> = bytes.iter().map(|byte| byte.unwrap_or(0)).collect();
        let joined = |prefix: &str, between: &str| {
            let mut text = String::new();
            for (index, byte) in bytes.iter().enumerate() {
                let between = if index == 0 { "" } else { between };
                // Writing to a String cannot fail.
                _ = match byte {
                    Some(byte) => write!(text, "{between}{prefix}{byte:02x}"),
                    None if self.has_gaps() => write!(text, "{between}??"),
                    None => write!(text, "{between}{prefix}00"),
                };
            }
            text
        };
        match self {
            Self::Hex => joined("", " "),
            Self::Yara => format!("{{ {} }}", joined("", " ")),
            Self::C => format!("unsigned char bytes[] = {{ {} }};", joined("0x", ", ")),
            Self::Rust => format!("const BYTES: [u8; {}] = [{}];", bytes.len(), joined("0x", ", ")),
            Self::Python => format!("bytes.fromhex(\"{}\")", joined("", "")),
            Self::Base64 => base64(&known),
            Self::Text => bytes.iter().map(|byte| byte.filter(|byte| (b' '..=b'~').contains(byte)).map_or('.', char::from)).collect(),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * place) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// What is to be taken, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    pub space: Space,
    pub first: u64,
    /// Inclusive.
    pub last: u64,
    pub to: To,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    File(PathBuf),
    Clipboard(Form),
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Took {
    /// In words.
    Said(String),
    /// A text for the clipboard, and what to call it.
    Text(String, String),
}

impl Taking {
    pub fn length(&self) -> u128 {
        u128::from(self.last.saturating_sub(self.first)) + 1
    }

    pub fn run(&self, session: &Session, watch: &Arc<Watch>) -> Result<Took, String> {
        match &self.to {
            To::File(path) => self.write(session, path, watch).map(Took::Said),
            To::Clipboard(form) => self.copy(session, *form, watch),
        }
    }

    /// Hands out the bytes in pieces; None stands for one that is not in the image.
    fn each(&self, session: &Session, watch: &Watch, mut take: impl FnMut(&[Option<u8>]) -> Result<(), String>) -> Result<u64, String> {
        let (mut at, mut missing) = (self.first, 0);
        loop {
            if watch.cancelled() {
                return Err("cancelled".to_owned());
            }
            let length = (self.last - at).min(STEP - 1) + 1;
            let read = session.read(self.space, at, usize::try_from(length).unwrap_or(0)).map_err(|why| why.0)?;
            let bytes: Vec<Option<u8>> = (0..read.data.len()).map(|index| read.get(index)).collect();
            missing += bytes.iter().filter(|byte| byte.is_none()).count() as u64;
            take(&bytes)?;
            watch.progress(at - self.first + length, self.last - self.first + 1);
            match at.checked_add(length).filter(|next| *next <= self.last) {
                Some(next) => at = next,
                None => return Ok(missing),
            }
        }
    }

    fn copy(&self, session: &Session, form: Form, watch: &Watch) -> Result<Took, String> {
        if self.length() > u128::from(MOST_COPIED) {
            return Err(format!("{} bytes are more than a terminal copies; e writes them to a file", self.length()));
        }
        let mut all = Vec::new();
        let missing = self.each(session, watch, |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        let what = format!("{} as {}{}", counted(all.len(), "byte", "bytes"), form.says().0, lacking(missing, !form.has_gaps()));
        Ok(Took::Text(form.write(&all), what))
    }

    /// The file must be new: no slip of the hand writes over evidence.
    fn write(&self, session: &Session, path: &std::path::Path, watch: &Watch) -> Result<String, String> {
        if self.length() > u128::from(MOST_WRITTEN) {
            return Err(format!("{} bytes are too many; kioku dump writes whole processes", self.length()));
        }
        let shown = path.display();
        let mut file = File::create_new(path).map_err(|why| match why.kind() {
            io::ErrorKind::AlreadyExists => format!("{shown}: exists already and is not written over; name another place"),
            _ => format!("{shown}: {why}"),
        })?;
        let mut written = 0usize;
        let missing = self.each(session, watch, |bytes| {
            let bytes: Vec<u8> = bytes.iter().map(|byte| byte.unwrap_or(0)).collect();
            written += bytes.len();
            file.write_all(&bytes).map_err(|why| why.to_string())
        });
        let missing = missing.map_err(|why| format!("{shown}: {why}; the file is incomplete"))?;
        Ok(format!("{} written to {shown}{}", counted(written, "byte", "bytes"), lacking(missing, true)))
    }
}

/// Writes what memory holds of a file, as the command `dump --file` does; each source of its pages is a file of its own.
pub fn write_file(session: &Session, object: VirtAddr, folder: &Path, watch: &Arc<Watch>) -> Result<Took, String> {
    let dump = session.dump(Extent::CachedFile(Which::At(object)), folder, watch).map_err(|why| why.0)?;
    let written: Vec<_> = dump.files.iter().filter(|row| row.file.value().is_some()).collect();
    let (all, missing) = written.iter().fold((0u64, 0u64), |(all, missing), row| {
        (all.saturating_add(row.length), missing.saturating_add(row.length.saturating_sub(row.present)))
    });
    let cancelled = if dump.complete { "" } else { "cancelled; " };
    match written.as_slice() {
        [] => Err(format!("{cancelled}nothing of the file is in memory; {} says why", dump.manifest.display())),
        [one] => {
            let path = folder.join(one.file.value().map_or("", String::as_str));
            let length = usize::try_from(all).unwrap_or(usize::MAX);
            Ok(Took::Said(format!(
                "{cancelled}{} written to {}{}",
                counted(length, "byte", "bytes"),
                path.display(),
                lacking(missing, true)
            )))
        }
        several => Ok(Took::Said(format!("{cancelled}{} files written to {}{}", several.len(), folder.display(), lacking(missing, true)))),
    }
}

fn lacking(missing: u64, zeros: bool) -> String {
    match missing {
        0 => String::new(),
        missing => format!(", {missing} of which are not in the image{}", if zeros { " and became zeros" } else { "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_all_forms() {
        let bytes = [Some(0x4c), Some(b'A'), None];
        let all: Vec<String> = Form::ALL.iter().map(|form| form.write(&bytes)).collect();
        assert_eq!(
            all,
            [
                "4c 41 ??",
                "{ 4c 41 ?? }",
                "unsigned char bytes[] = { 0x4c, 0x41, 0x00 };",
                "const BYTES: [u8; 3] = [0x4c, 0x41, 0x00];",
                "bytes.fromhex(\"4c4100\")",
                "TEEA",
                "LA.",
            ]
        );
        assert_eq!(["", "a", "ab", "abc", "abcd"].map(|text| base64(text.as_bytes())), ["", "YQ==", "YWI=", "YWJj", "YWJjZA=="]);
        let whole = Taking { space: Space::Physical, first: 0, last: u64::MAX, to: To::Clipboard(Form::Hex) };
        assert_eq!(whole.length(), 1 << 64);
    }
}
