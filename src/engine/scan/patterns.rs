//! What is searched for.

use super::Error;
use super::literals::Literals;
use super::yara::Rules;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// A longer pattern is refused.
const MOST_PATTERN: usize = 64 << 10;
/// So many expressions are faster one by one, each with its own way to skip what cannot match.
const FEW_REGEXES: usize = 16;
/// What a regular expression or a rule may match beyond the piece in which the match begins.
const BEYOND: usize = 16 << 10;

/// Compiled patterns: texts, bytes, regular expressions and YARA rules.
pub struct Patterns {
    /// As they were given.
    given: Vec<String>,
    exact: Literals,
    folded: Literals,
    /// Pattern and form of each literal.
    exact_of: Vec<(usize, &'static str)>,
    folded_of: Vec<(usize, &'static str)>,
    regexes: Vec<(usize, &'static str, Regex)>,
    /// All of them at once, where they are many: tells which are worth a look in a piece.
    set: Option<RegexSet>,
    rules: Option<Rules>,
    /// What is left out, and why.
    notes: Vec<String>,
}

/// Bytes to be searched. A match belongs to them if it begins in the first `own`.
pub struct Piece<'a> {
    pub bytes: &'a [u8],
    pub own: usize,
    /// What lies before, as far as it can be read.
    pub before: &'a dyn Fn() -> Arc<[u8]>,
}

/// A match in a piece.
#[derive(Clone, Debug)]
pub struct Match {
    pub at: usize,
    pub length: usize,
    pub what: What,
}

/// What matched.
#[derive(Clone, Debug)]
pub enum What {
    Pattern(usize, &'static str),
    Rule { name: String, string: String, details: Arc<[String]> },
}

impl Patterns {
    /// `hex:` is followed by bytes in which `?` stands for any half of one, `re:` by a regular expression, `text:` or nothing by text.
    pub fn new(given: &[String], fold: bool) -> Result<Self, Error> {
        let mut seen = HashSet::new();
        let given: Vec<String> = given.iter().filter(|pattern| seen.insert(pattern.as_str())).cloned().collect();
        let (mut exact, mut folded, mut regexes) = (Vec::new(), Vec::new(), Vec::new());
        for (number, pattern) in given.iter().enumerate() {
            let refuse = |why: &str| Error(format!("pattern {}: {why}", shortened(pattern)));
            if pattern.len() > MOST_PATTERN {
                return Err(refuse(&format!("longer than {MOST_PATTERN} bytes")));
            }
            if let Some(source) = pattern.strip_prefix("re:") {
                regexes.push((number, "regex", regex(source, fold).map_err(|why| refuse(&why))?));
            } else if let Some(digits) = pattern.strip_prefix("hex:") {
                let halves = halves(digits).map_err(refuse)?;
                match halves.iter().map(|(value, mask)| (*mask == 0xff).then_some(*value)).collect::<Option<Box<[u8]>>>() {
                    Some(bytes) => exact.push((bytes, (number, "hex"))),
                    None => regexes.push((number, "hex", regex(&masked(&halves), false).map_err(|why| refuse(&why))?)),
                }
            } else {
                let text = pattern.strip_prefix("text:").unwrap_or(pattern);
                if text.len() < 2 {
                    return Err(refuse("shorter than two bytes, it would be found everywhere"));
                }
                for (form, encode) in [("utf-8", utf8 as fn(char) -> Vec<u8>), ("utf-16le", utf16)] {
                    let bytes = || text.chars().flat_map(encode).collect();
                    match (fold, text.is_ascii()) {
                        (false, _) => exact.push((bytes(), (number, form))),
                        (true, true) => folded.push((bytes(), (number, form))),
                        (true, false) => regexes.push((number, form, regex(&cases(text, encode), false).map_err(|why| refuse(&why))?)),
                    }
                }
            }
        }
        let (exact, exact_of): (Vec<Box<[u8]>>, _) = exact.into_iter().unzip();
        let (folded, folded_of): (Vec<Box<[u8]>>, _) = folded.into_iter().unzip();
        let (exact, folded) = (Literals::new(exact, false), Literals::new(folded, true));
        let set = (regexes.len() > FEW_REGEXES).then(|| {
            let sources = regexes.iter().map(|(_, _, regex)| regex.as_str());
            RegexSetBuilder::new(sources).unicode(false).case_insensitive(fold).build().ok()
        });
        let set = set.flatten();
        Ok(Self { given, exact, folded, exact_of, folded_of, regexes, set, rules: None, notes: Vec::new() })
    }

    /// The same with YARA rules, of files or folders.
    pub fn with_rules(mut self, paths: &[PathBuf]) -> Result<Self, Error> {
        self.rules = Some(Rules::compile(paths, &mut self.notes)?);
        Ok(self)
    }

    pub fn given(&self, number: usize) -> &str {
        self.given.get(number).map_or("", String::as_str)
    }
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }
    /// What was left out, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
    /// Bytes that are wanted after a piece, for what begins in it and ends beyond.
    pub fn beyond(&self) -> usize {
        let long = if self.regexes.is_empty() && self.rules.is_none() { 0 } else { BEYOND };
        self.exact.longest().max(self.folded.longest()).saturating_sub(1).max(long)
    }

    /// The matches of texts, bytes and regular expressions, no more than `most` and in no order.
    pub fn find(&self, piece: &Piece<'_>, most: usize, cancelled: &dyn Fn() -> bool) -> Vec<Match> {
        let mut found = Vec::new();
        for (literals, of) in [(&self.exact, &self.exact_of), (&self.folded, &self.folded_of)] {
            literals.find(piece.bytes, &mut |number, at| {
                if let Some((pattern, form)) = of.get(number).filter(|_| at < piece.own && found.len() < most) {
                    found.push(Match { at, length: literals.length(number), what: What::Pattern(*pattern, form) });
                }
            });
        }
        let there = self.set.as_ref().map(|set| set.matches(piece.bytes));
        for (number, (pattern, form, regex)) in self.regexes.iter().enumerate() {
            if there.as_ref().is_some_and(|there| !there.matched(number)) {
                continue;
            }
            let mut from = None;
            for one in regex.find_iter(piece.bytes) {
                if one.start() >= piece.own || found.len() >= most || cancelled() {
                    break;
                }
                // The end of a match that began before the piece is no match of its own.
                let from = *from.get_or_insert_with(|| if one.start() < BEYOND { covered(regex, piece) } else { 0 });
                if !one.is_empty() && one.start() >= from {
                    found.push(Match { at: one.start(), length: one.len(), what: What::Pattern(*pattern, form) });
                }
            }
        }
        found
    }

    /// The matches of YARA rules in a piece, which stands for a file or does not.
    pub fn judge(&self, bytes: &[u8], own: usize, file: bool, most: usize) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::new();
        let mut last: Arc<[String]> = Arc::default();
        self.rules.iter().for_each(|rules| {
            rules.find(bytes, file, &mut |one| {
                if one.at < own && found.len() < most {
                    if *last != *one.details {
                        last = one.details.into();
                    }
                    let (name, string) = (one.rule.to_owned(), format!("${}", one.string));
                    found.push(Match { at: one.at, length: one.length, what: What::Rule { name, string, details: Arc::clone(&last) } });
                }
            });
        });
        found
    }
}

/// How much of a piece's beginning belongs to a match that begins before it.
fn covered(regex: &Regex, piece: &Piece<'_>) -> usize {
    let before = (piece.before)();
    if before.is_empty() {
        return 0;
    }
    let border = before.len();
    let beginning = piece.bytes.get(..piece.bytes.len().min(BEYOND)).unwrap_or_default();
    let joined = [&before, beginning].concat();
    let crossing = regex.find_iter(&joined).take_while(|one| one.start() < border).last();
    crossing.map_or(0, |one| one.end().saturating_sub(border))
}

fn regex(source: &str, fold: bool) -> Result<Regex, String> {
    let built = RegexBuilder::new(source).unicode(false).case_insensitive(fold).build();
    let regex = built.map_err(|why| why.to_string().lines().last().unwrap_or("not a regular expression").trim().to_owned())?;
    if regex.is_match(b"") { Err("matches the empty text, so it would be found everywhere".to_owned()) } else { Ok(regex) }
}

/// Bytes, each with a mask of what is known of it.
fn halves(digits: &str) -> Result<Vec<(u8, u8)>, &'static str> {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let (pairs, []) = digits.as_chunks::<2>() else { return Err("an odd number of hexadecimal digits") };
    let half = |c: char| match c.to_digit(16) {
        Some(value) => Ok((value as u8, 0xf)),
        None if c == '?' => Ok((0, 0)),
        None => Err("neither a hexadecimal digit nor ?"),
    };
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        let ((high, high_mask), (low, low_mask)) = (half(*high)?, half(*low)?);
        bytes.push((high << 4 | low, high_mask << 4 | low_mask));
    }
    if bytes.iter().filter(|(_, mask)| *mask == 0xff).count() < 2 {
        return Err("fewer than two whole bytes, it would be found everywhere");
    }
    Ok(bytes)
}

/// The regular expression of bytes that are known in part.
fn masked(bytes: &[(u8, u8)]) -> String {
    let mut source = "(?s)".to_owned();
    for (value, mask) in bytes {
        // Writing to a String cannot fail.
        _ = match mask {
            0xff => write!(source, "\\x{value:02x}"),
            0xf0 => write!(source, "[\\x{value:02x}-\\x{:02x}]", value | 0x0f),
            0x0f => (0..16u8).try_for_each(|high| write!(source, "{}\\x{:02x}", if high == 0 { "[" } else { "" }, high << 4 | value)),
            _ => write!(source, "."),
        };
        if *mask == 0x0f {
            source.push(']');
        }
    }
    source
}

fn utf8(c: char) -> Vec<u8> {
    c.encode_utf8(&mut [0; 4]).as_bytes().to_vec()
}

fn utf16(c: char) -> Vec<u8> {
    c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_le_bytes()).collect()
}

/// The regular expression of a text in either case of each letter.
fn cases(text: &str, encode: fn(char) -> Vec<u8>) -> String {
    let mut source = String::new();
    for c in text.chars() {
        let mut forms: Vec<Vec<u8>> = [c].into_iter().chain(c.to_lowercase()).chain(c.to_uppercase()).map(encode).collect();
        // A letter whose other case is several letters stands for itself.
        if c.to_lowercase().count() != 1 || c.to_uppercase().count() != 1 {
            forms.truncate(1);
        }
        forms.dedup();
        let forms: Vec<String> = forms.iter().map(|form| form.iter().map(|byte| format!("\\x{byte:02x}")).collect()).collect();
        _ = write!(source, "(?:{})", forms.join("|"));
    }
    source
}

fn shortened(pattern: &str) -> String {
    const MOST: usize = 60;
    if pattern.chars().count() <= MOST { pattern.to_owned() } else { pattern.chars().take(MOST).chain("…".chars()).collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn patterns(given: &[&str], fold: bool) -> Result<Patterns, Error> {
        Patterns::new(&given.iter().map(|given| (*given).to_owned()).collect::<Vec<_>>(), fold)
    }

    fn found(given: &[&str], fold: bool, bytes: &[u8]) -> Vec<(usize, usize)> {
        let piece = Piece { bytes, own: bytes.len(), before: &|| Arc::default() };
        let found = patterns(given, fold).unwrap().find(&piece, 1000, &|| false);
        let mut found: Vec<_> = found.iter().map(|one| (one.at, one.length)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn texts_are_found_in_both_encodings_and_cases() {
        let wide: Vec<u8> = "Über".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let text = [b"..\xc3\x9cBER..", &wide[..], b"cmd.exe"].concat();
        assert_eq!(found(&["über"], true, &text), [(2, 5), (9, 8)]);
        assert_eq!(found(&["Über"], false, &text), [(9, 8)]);
        assert_eq!(found(&["CMD.exe", "text:cmd"], true, &text), [(17, 3), (17, 7)]);
        // In UTF-16 folding must not reach into the upper byte of another letter.
        assert_eq!(found(&["\u{4100}x"], true, &[0x00, 0x61, b'x', 0]), []);
    }

    #[test]
    fn bytes_may_be_known_in_part() {
        assert_eq!(found(&["hex:4d 5A 90 ??"], false, b"MZ\x90\n MZ\x91"), [(0, 4)]);
        assert_eq!(found(&["hex:4d5a9?"], false, b"MZ\x9f"), [(0, 3)]);
        assert_eq!(found(&["hex:4d5a?f"], false, b"MZ\x9f MZ\x90"), [(0, 3)]);
        assert_eq!(found(&["hex:4d5a"], true, b"mz MZ"), [(3, 2)], "bytes have no case");
    }

    #[test]
    fn expressions_see_bytes() {
        assert_eq!(found(&[r"re:[\w.]+@\w+", "re:\\xff+"], false, b"a.b@c \xff\xff"), [(0, 5), (6, 2)]);
        // Backtracking engines would never come back.
        assert_eq!(found(&["re:(a+)+$"], false, &[&[b'a'; 5000][..], b"!"].concat()), []);
    }

    #[test]
    fn a_match_is_counted_once_where_pieces_meet() {
        let patterns = patterns(&["re:[a-z]+"], false).unwrap();
        let text = b"..abcdef..gh";
        for border in 1..text.len() {
            let (first, second) = text.split_at(border);
            let one = Piece { bytes: text, own: border, before: &|| Arc::default() };
            let two = Piece { bytes: second, own: second.len(), before: &|| first.into() };
            let mut all: Vec<_> = patterns.find(&one, 9, &|| false).iter().map(|one| one.at).collect();
            all.extend(patterns.find(&two, 9, &|| false).iter().map(|one| one.at + border));
            assert_eq!(all, [2, 10], "{border}");
        }
    }

    #[test]
    fn patterns_that_cannot_serve_are_refused() {
        let huge = format!("re:{}", "a".repeat(10 << 20));
        for (wrong, why) in [
            ("", "two bytes"),
            ("x", "two bytes"),
            ("hex:4", "odd"),
            ("hex:", "two whole bytes"),
            ("hex:??4d??", "two whole bytes"),
            ("hex:4dxy", "hexadecimal digit"),
            ("re:", "empty"),
            ("re:a*", "empty"),
            ("re:(", "unclosed"),
            ("re:(?:(?:a{1000}){1000}){1000}", "size limit"),
            (&huge, "longer than"),
        ] {
            let told = patterns(&[wrong], false).err().map(|why| why.0).unwrap_or_default();
            assert!(told.contains(why) && told.len() < 200, "{wrong:.20}: {told}");
        }
    }

    fn rules(path: &std::path::Path) -> Result<Patterns, Error> {
        patterns(&[], false)?.with_rules(&[path.to_owned()])
    }

    #[test]
    fn many_expressions_are_found_like_few() {
        let many: Vec<String> = (0..100).map(|number| format!("re:x{number:02}[a-c]+")).collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.push("hex:7839??61");
        assert_eq!(found(&many, true, b"..X07ab..x42c.x9.a."), [(2, 5), (9, 4), (14, 4)]);
    }

    #[test]
    fn a_wrong_rule_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let (wrong, right) = (folder.path().join("wrong.yar"), folder.path().join("right.yar"));
        std::fs::write(&wrong, "rule a {\n  condition: $b\n}\n").unwrap();
        std::fs::write(&right, "rule r : t { meta: author = \"me\" strings: $a = \"two words\" wide ascii condition: $a }").unwrap();
        let told = rules(&wrong).err().map(|why| why.0).unwrap_or_default();
        assert!(told.contains("wrong.yar:2:") && !told.contains('\n'), "{told}");
        // Of a folder the rest is used.
        let patterns = rules(folder.path()).unwrap();
        assert!(patterns.notes()[0].contains("wrong.yar:2:"), "{:?}", patterns.notes());
        let found = patterns.judge(b"..two words..two words", 10, false, 9);
        let [Match { at: 2, length: 9, what: What::Rule { name, string, details } }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((name.as_str(), string.as_str()), ("r", "$a"));
        assert_eq!(details[1..], ["tags: t", "author: me"]);
    }

    #[test]
    fn only_a_file_has_offsets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.yar");
        std::fs::write(&path, "rule f { strings: $a = \"MZ\" condition: $a at 0 and uint16(0) == 0x5a4d and filesize < 100 }").unwrap();
        let patterns = rules(&path).unwrap();
        assert_eq!(patterns.judge(b"MZ..", 4, true, 9).len(), 1);
        assert_eq!(patterns.judge(b"MZ..", 4, false, 9).len(), 0);
    }
}
