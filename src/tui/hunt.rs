//! A search of memory as a job: what for, where, and what its rules say.

use crate::engine::{Error, Ground, Search};
use crate::facts::{Cell, Rows, Scope};
use crate::tui::text::counted;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Hits that are enough for a table; the command `search` has a limit to set.
const MOST_HITS: usize = 100_000;
const MOST_STRINGS: usize = 200_000;
/// Shorter texts are mostly chance.
const LEAST_STRING: usize = 8;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Text, `hex:` or `re:`, as the command `search` takes it.
    Pattern(String),
    /// A file or a folder of YARA rules.
    Rules(PathBuf),
    /// Texts of some length; those that contain this one, unless it is empty.
    Strings(String),
}

#[derive(Debug)]
pub struct Hunt {
    pub what: What,
    pub ground: Ground,
    /// Where that is, in words.
    pub place: String,
    /// Letters match in either case.
    pub fold: bool,
    /// Where the bytes are from, of which one asks where else they are.
    pub elsewhere: Option<u64>,
    /// The text of each rule, by its file and its name, once the rules have been read.
    texts: OnceLock<HashMap<(String, String), String>>,
}

impl Hunt {
    pub fn new(what: What, ground: impl Into<Ground>, place: String, fold: bool) -> Self {
        Self { what, ground: ground.into(), place, fold, elsewhere: None, texts: OnceLock::new() }
    }

    /// The same, of bytes that are known to be in one place.
    pub fn elsewhere(self, at: u64) -> Self {
        Self { elsewhere: Some(at), ..self }
    }

    /// Compiles the patterns or rules: not for the thread that draws.
    pub fn search(&self) -> Result<Search, Error> {
        let search = |patterns: &[String], most| Search::new(patterns, self.fold, self.ground.clone(), most);
        match &self.what {
            What::Pattern(pattern) => search(std::slice::from_ref(pattern), MOST_HITS),
            What::Rules(path) => {
                let search = search(&[], MOST_HITS)?.with_rules(std::slice::from_ref(path))?;
                self.texts.get_or_init(|| search.rule_texts());
                Ok(search)
            }
            What::Strings(part) => search(&strings(part), MOST_STRINGS),
        }
    }

    pub fn by_rules(&self) -> bool {
        matches!(self.what, What::Rules(_))
    }
    /// Whether a column of the hits says nothing for this search.
    pub fn spares(&self, column: &str) -> bool {
        // Files are searched as they lie on the disk: who maps their pages is another question.
        let unasked = match self.ground {
            Ground::Files(_) => matches!(column, "pid" | "process" | "address" | "protection" | "mappings"),
            Ground::Memory(_) => column == "file_offset",
        };
        unasked
            || match self.what {
                What::Rules(_) => column == "text",
                What::Pattern(_) => matches!(column, "pattern" | "text"),
                What::Strings(_) => matches!(column, "pattern" | "form" | "context"),
            }
    }

    pub fn scope(&self) -> Scope {
        self.ground.scope()
    }

    /// What is looked for, in words.
    pub fn name(&self) -> String {
        match &self.what {
            What::Pattern(pattern) if let Some(at) = self.elsewhere => {
                let count = pattern.strip_prefix("hex:").map_or(0, str::len) / 2;
                format!("{} at {at:#x}", counted(count, "byte", "bytes"))
            }
            What::Pattern(pattern) => format!("\"{pattern}\""),
            What::Rules(path) => format!("rules of {}", path.display()),
            What::Strings(part) if part.is_empty() => format!("strings of {LEAST_STRING}+ letters"),
            What::Strings(part) => format!("strings with \"{part}\""),
        }
    }

    /// The rule behind a hit, as it is written in its file.
    pub fn rule(&self, rows: &dyn Rows, row: usize) -> Option<&str> {
        let cell = |name: &str| Some(rows.cell(row, rows.table().column(name)?));
        let Cell::List(details) = cell("rule")? else { return None };
        let file = details.iter().find_map(|detail| detail.to_string().strip_prefix("file: ").map(str::to_owned))?;
        self.texts.get()?.get(&(file, cell("pattern")?.to_string())).map(String::as_str)
    }
}

/// Regular expressions for texts in ASCII and in UTF-16.
fn strings(part: &str) -> [String; 2] {
    const LETTER: &str = r"[\x20-\x7e\t]";
    let bytes = |wide: bool| -> String {
        let units = part.bytes().map(|byte| format!(r"\x{byte:02x}{}", if wide { r"\x00" } else { "" }));
        units.collect()
    };
    let wide = format!(r"(?:{LETTER}\x00)");
    match part.is_empty() {
        true => [format!("re:{LETTER}{{{LEAST_STRING},}}"), format!("re:{wide}{{{LEAST_STRING},}}")],
        false => [format!("re:{LETTER}*{}{LETTER}*", bytes(false)), format!("re:{wide}*{}{wide}*", bytes(true))],
    }
}

/// What surrounds a hit, as text: one letter for each byte, or for each two where the hit is in UTF-16.
pub fn surroundings(bytes: &[u8], before: usize) -> String {
    let rest = bytes.get(before..).unwrap_or_default();
    let wide = rest.len() > 3 && rest.iter().skip(1).step_by(2).take(4).all(|byte| *byte == 0) && rest.first() != Some(&0);
    let letter = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
    match wide {
        true => bytes.iter().skip(before % 2).step_by(2).map(letter).collect(),
        false => bytes.iter().map(letter).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::engine::Space;

    #[test]
    fn strings_are_whole_and_in_both_encodings() {
        for part in ["", "cmd", "(", "a\\b"] {
            let hunt = Hunt::new(What::Strings(part.to_owned()), Space::Physical, String::new(), true);
            assert!(hunt.search().is_ok(), "{part}");
        }
        let [narrow, wide] = strings("c.d");
        let find = |source: &str, bytes: &[u8]| {
            let regex = regex::bytes::RegexBuilder::new(source.strip_prefix("re:").unwrap()).unicode(false).build().unwrap();
            regex.find(bytes).map(|found| found.as_bytes().to_vec())
        };
        assert_eq!(find(&narrow, b"\0run c.d now\0").unwrap(), b"run c.d now");
        assert_eq!(find(&narrow, b"\0run cmd now\0"), None, "it is a text, not an expression");
        assert_eq!(find(&wide, b"\x01\x01a\0c\0.\0d\0\x01").unwrap(), b"a\0c\0.\0d\0");
    }

    #[test]
    fn surroundings_are_letters() {
        assert_eq!(surroundings(b"\0\x1bab cmd.exe\xff", 5), "..ab cmd.exe.");
        assert_eq!(surroundings(b"x\0a\0c\0m\0d\0.\0", 4), "xacmd.");
        assert_eq!(surroundings(b"", 9), "");
    }
}
