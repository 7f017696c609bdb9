//! YARA rules.
//!
//! A rule's condition is about a file. A region of a process, up to [`super::WINDOW`], stands for one: offsets count from its start, what is
//! not in memory reads as zeros. A piece of physical memory is no file: there offsets, `filesize` and what modules read of a file are
//! undefined, and a condition is judged by the strings of that piece alone.

use super::Error;
use boreal::compiler::CompilerParams;
use boreal::memory::{FragmentedMemory, MemoryParams, Region, RegionDescription};
use boreal::scanner::{FragmentedScanMode, ScanError, ScanParams, ScanResult, Scanner};
use boreal::{Compiler, MetadataValue};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Names that rules of public collections expect their program to set.
const EXTERNAL: [&str; 5] = ["filename", "filepath", "extension", "filetype", "owner"];
const MOST_FILES: usize = 1 << 16;
const MOST_DEPTH: usize = 16;
/// Matches of one string in one piece.
const MOST_MATCHES: u32 = 10_000;
/// A rule that takes longer over one piece is given up there.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Rules {
    scanner: Scanner,
    files: Vec<PathBuf>,
    /// Rules that hold without a string: they have no place.
    placeless: Mutex<BTreeSet<String>>,
    /// Pieces that were given up.
    impatient: Mutex<u64>,
}

/// A string of a rule that holds.
pub struct Match<'a> {
    pub rule: &'a str,
    pub string: &'a str,
    pub details: &'a [String],
    pub at: usize,
    pub length: usize,
}

impl Rules {
    /// Compiles rule files, and those in folders (*.yar, *.yara). A file that is named must be right; of a folder what is wrong is told.
    pub fn compile(paths: &[PathBuf], notes: &mut Vec<String>) -> Result<Self, Error> {
        let mut used = Vec::new();
        let mut compiler = Compiler::new();
        compiler.set_params(CompilerParams::default().disable_unknown_escape_warning(true));
        for name in EXTERNAL {
            compiler.define_symbol(name, "");
        }
        // The same name may stand for different rules in different files.
        let mut add = |path: &Path| {
            let added = compiler.add_rules_file_in_namespace(path, path.display().to_string());
            added.map(drop).map_err(|why| Error(why.to_string().lines().next().unwrap_or("not a rule file").to_owned()))
        };
        for path in paths {
            if !path.is_dir() {
                add(path)?;
                used.push(path.clone());
                continue;
            }
            let mut files = Vec::new();
            collect(path, MOST_DEPTH, &mut files).map_err(|why| Error(format!("{}: {why}", path.display())))?;
            files.sort();
            let mut first = None;
            let mut good = 0;
            for file in &files {
                match add(file) {
                    Ok(()) => {
                        good += 1;
                        used.push(file.clone());
                    }
                    Err(why) => {
                        notes.push(format!("not used: {why}"));
                        first.get_or_insert(why);
                    }
                }
            }
            if good == 0 {
                return Err(first.unwrap_or_else(|| Error(format!("{}: no rule file (*.yar, *.yara) in it", path.display()))));
            }
        }
        let mut scanner = compiler.finalize();
        let params = ScanParams::default().compute_full_matches(true).string_max_nb_matches(MOST_MATCHES).match_max_length(0);
        let params = params.timeout_duration(Some(PATIENCE)).process_memory(true);
        scanner.set_scan_params(params.fragmented_scan_mode(FragmentedScanMode::fast()));
        Ok(Self { scanner, files: used, placeless: Mutex::default(), impatient: Mutex::default() })
    }

    /// Tells of every string of every rule that holds in some bytes, which stand for a file or do not.
    pub fn find(&self, bytes: &[u8], file: bool, found: &mut impl FnMut(Match<'_>)) {
        let scanned = if file { self.scanner.scan_mem(bytes) } else { self.scanner.scan_fragmented(One { bytes, next: true }) };
        let ScanResult { rules, .. } = scanned.unwrap_or_else(|(why, result)| {
            if matches!(why, ScanError::Timeout) {
                *self.impatient.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
            result
        });
        for rule in rules {
            if rule.matches.iter().all(|string| string.matches.is_empty()) {
                self.placeless.lock().unwrap_or_else(PoisonError::into_inner).insert(rule.name.to_owned());
                continue;
            }
            let mut details = vec![format!("file: {}", rule.namespace)];
            let tags: Vec<_> = rule.tags.iter().map(|tag| self.scanner.get_string_symbol(*tag)).collect();
            if !tags.is_empty() {
                details.push(format!("tags: {}", tags.join(", ")));
            }
            details.extend(rule.metadatas.iter().map(|meta| {
                let name = self.scanner.get_string_symbol(meta.name);
                match meta.value {
                    MetadataValue::Bytes(bytes) => {
                        format!("{name}: {}", String::from_utf8_lossy(self.scanner.get_bytes_symbol(bytes)))
                    }
                    MetadataValue::Integer(number) => format!("{name}: {number}"),
                    MetadataValue::Boolean(value) => format!("{name}: {value}"),
                }
            }));
            for string in &rule.matches {
                for one in &string.matches {
                    found(Match { rule: rule.name, string: string.name, details: &details, at: one.offset, length: one.length });
                }
            }
        }
    }

    /// The text of each rule as it is written, by its file and its name. Those of included files are not among them.
    pub fn texts(&self) -> HashMap<(String, String), String> {
        let mut texts = HashMap::new();
        for path in &self.files {
            let source = std::fs::read(path).unwrap_or_default();
            let source = String::from_utf8_lossy(&source);
            texts
                .extend(texts_of(&source).into_iter().map(|(name, text)| ((path.display().to_string(), name.to_owned()), text.to_owned())));
        }
        texts
    }

    /// What an answer cannot show.
    pub fn notes(&self) -> Vec<String> {
        let placeless = self.placeless.lock().unwrap_or_else(PoisonError::into_inner);
        let impatient = *self.impatient.lock().unwrap_or_else(PoisonError::into_inner);
        let names = placeless.iter().cloned().collect::<Vec<_>>().join(", ");
        let placeless = (!placeless.is_empty()).then(|| format!("rules that hold without a string, which have no place to show: {names}"));
        let impatient =
            (impatient > 0).then(|| format!("pieces over which the rules took more than {PATIENCE:?}, not finished: {impatient}"));
        placeless.into_iter().chain(impatient).collect()
    }
}

/// The rules of a file that has been compiled, each with its name: from `rule` to the brace that closes it.
fn texts_of(source: &str) -> Vec<(&str, &str)> {
    let bytes = source.as_bytes();
    let (mut found, mut depth, mut at) = (Vec::new(), 0usize, 0);
    // Where the rule began that is being read, and its name.
    let mut rule: Option<(usize, &str)> = None;
    // The last thing that was not blank: a slash behind some of them begins an expression.
    let mut last = b'\n';
    while let Some(byte) = bytes.get(at).copied() {
        let rest = source.get(at..).unwrap_or_default();
        let to = |end: &str| rest.find(end).map_or(source.len(), |length| at + length + end.len());
        let quoted = |quote: u8| {
            let mut end = at + 1;
            while bytes.get(end).is_some_and(|byte| *byte != quote && *byte != b'\n') {
                end += if bytes.get(end) == Some(&b'\\') { 2 } else { 1 };
            }
            end + 1
        };
        let next = match byte {
            _ if rest.starts_with("//") => to("\n"),
            _ if rest.starts_with("/*") => to("*/"),
            b'"' => quoted(b'"'),
            b'/' if matches!(last, b'=' | b'(' | b's') => quoted(b'/'),
            b'{' => {
                depth += 1;
                at + 1
            }
            b'}' => {
                depth = depth.saturating_sub(1);
                if let Some((from, name)) = rule.take_if(|_| depth == 0) {
                    found.extend(source.get(from..=at).map(|text| (name, text)));
                }
                at + 1
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' => {
                let word = |text: &str| text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
                let length = word(rest);
                if depth == 0 && rule.is_none() && rest.get(..length) == Some("rule") {
                    let name = rest.get(length..).unwrap_or_default().trim_start();
                    rule = name.get(..word(name)).map(|name| (at, name));
                }
                at + length
            }
            _ => at + rest.chars().next().map_or(1, char::len_utf8),
        };
        if !byte.is_ascii_whitespace() {
            last = bytes.get(next - 1).copied().unwrap_or(byte);
        }
        at = next;
    }
    found
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let rule =
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("yar") || extension.eq_ignore_ascii_case("yara"));
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, files)?;
        } else if rule && files.len() < MOST_FILES {
            files.push(path);
        }
    }
    Ok(())
}

/// Memory of one piece that is no file.
#[derive(Debug)]
struct One<'a> {
    bytes: &'a [u8],
    next: bool,
}

impl FragmentedMemory for One<'_> {
    fn next(&mut self, _: &MemoryParams) -> Option<RegionDescription> {
        std::mem::take(&mut self.next).then_some(RegionDescription { start: 0, length: self.bytes.len() })
    }
    fn fetch(&mut self, _: &MemoryParams) -> Option<Region<'_>> {
        Some(Region { start: 0, mem: self.bytes })
    }
    fn reset(&mut self) {
        self.next = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_told_apart_in_their_file() {
        let one = "rule one : tag { strings: $a = \"}\" $b = /x\\/}{2,3}\"/ $c = { 4d [2] 5a } condition: any of them }";
        let two = "rule two { condition: one and \"/\" matches /}/ }";
        let source = format!("import \"pe\" // rule no {{\n/* rule neither {{ */ private {one}\n\n{two}\nrule open {{");
        assert_eq!(texts_of(&source), [("one", one), ("two", two)]);
        for end in (0..=source.len()).filter(|end| source.is_char_boundary(*end)) {
            assert!(texts_of(&source[..end]).len() <= 2);
        }
    }
}
