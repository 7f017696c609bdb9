//! Holds the import rule that `src/lib.rs` states: a folder sees only what lies further left, plus `facts` and `address`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each top-level module and what it may import.
const RULE: &[(&str, &[&str])] = &[
    ("address", &[]),
    ("facts", &["address"]),
    ("image", &["facts", "address"]),
    ("paging", &["image", "facts", "address"]),
    ("symbols", &["paging", "image", "facts", "address"]),
    ("linux", &["symbols", "paging", "image", "facts", "address"]),
    ("windows", &["symbols", "paging", "image", "facts", "address"]),
    // Judgements and event records know no structure layout.
    ("findings", &["linux", "windows", "facts", "address"]),
    ("events", &["linux", "windows", "image", "facts", "address"]),
    ("engine", &["findings", "events", "linux", "windows", "symbols", "paging", "image", "facts", "address"]),
    // What an analyst notes is kept without a look at the image.
    ("case", &["facts", "address"]),
    ("report", &["case", "engine", "facts", "address"]),
    ("tui", &["case", "engine", "facts", "address"]),
    ("cli", &["tui", "report", "case", "engine", "facts", "address"]),
];

/// Words that may stand only in some places: the word, its places (path beginnings), and why.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("unsafe", &["image/source.rs", "tui/signal.rs", "tui/terminal/signal.rs"], "maps the image or handles signals"),
    ("println!", &["cli/", "report/", "main.rs"], "writes results"),
    ("print!", &["cli/", "report/", "main.rs"], "writes results"),
    ("eprintln!", &["cli/", "report/", "main.rs"], "writes messages"),
    ("eprint!", &["cli/", "report/", "main.rs"], "writes messages"),
    ("dbg!", &[], "is for the desk"),
    ("ratatui", &["tui/"], "draws"),
    ("crossterm", &["tui/"], "drives the terminal"),
    ("tui_tree_widget", &["tui/"], "draws"),
    ("rusqlite", &["case/store.rs"], "keeps notes"),
];

/// Drawers in which everything ends.
const NAMES: &[&str] = &["core", "common", "util", "utils", "helper", "helpers", "type", "types", "manager", "misc"];

#[test]
fn the_house_keeps_its_rule() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    assert!(files.len() > 20, "the sources are not where this test looks");
    let mut breaches = Vec::new();
    for file in files {
        let place = file.strip_prefix(&source).unwrap().to_str().unwrap().replace('\\', "/");
        breaches.extend(check(&place, &std::fs::read_to_string(&file).unwrap()));
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => collect(&path, files),
            false => files.extend(path.extension().is_some_and(|extension| extension == "rs").then_some(path)),
        }
    }
}

/// Everything that a file does against the rule.
fn check(place: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut breaches = Vec::new();
    let parts: Vec<&str> = place.trim_end_matches(".rs").split('/').collect();
    for part in &parts {
        if NAMES.contains(part) {
            breaches.push(format!("{place}: nothing is called {part}"));
        }
    }
    let top = parts[0];
    match RULE.iter().find(|(name, _)| *name == top) {
        Some((_, allowed)) => {
            for seen in imports(&code, &parts) {
                if seen != top && RULE.iter().any(|(name, _)| *name == seen) && !allowed.contains(&seen.as_str()) {
                    breaches.push(format!("{place}: {top} may not see {seen}"));
                }
            }
        }
        None if matches!(top, "lib" | "main") => (),
        None => breaches.push(format!("{place}: {top} has no place in the rule")),
    }
    // Tests stand at the end of a file or in one of their own, and may print.
    let shipped = if parts.last() == Some(&"tests") { "" } else { code.split("#[cfg(test)]").next().unwrap_or_default() };
    for (word, rooms, why) in ROOMS {
        let code = if word.ends_with('!') { shipped } else { &code };
        if !rooms.iter().any(|room| place.starts_with(room)) && words(code).any(|(at, found)| is(word, code, at, found)) {
            breaches.push(format!("{place}: {word} stands only in [{}], which {why}", rooms.join(", ")));
        }
    }
    breaches
}

/// A word as it stands in the code, with the mark of a macro if `word` has one.
fn is(word: &str, code: &str, at: usize, found: &str) -> bool {
    match word.strip_suffix('!') {
        Some(name) => found == name && code[at + found.len()..].starts_with('!'),
        None => found == word,
    }
}

/// The top-level modules that code names by `crate::`, `kioku::`, or by climbing out of its own with `super::`.
fn imports(code: &str, parts: &[&str]) -> BTreeSet<String> {
    // src/report/mod.rs is the module `report`, src/report/csv.rs is `report::csv`.
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
    let climb = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    for (at, word) in words(code) {
        let after = &code[at..];
        let root = match word {
            "crate" => after.strip_prefix("crate"),
            "kioku" => after.strip_prefix("kioku"),
            // Inside an inline module one more step is needed; a name that is no top-level module is then no matter.
            "super" if !code[..at].ends_with("super::") => after.strip_prefix(climb.trim_end_matches("::")),
            _ => None,
        };
        if let Some(path) = root.and_then(|rest| rest.trim_start().strip_prefix("::")) {
            first_segments(path.trim_start(), &mut found);
        }
    }
    found
}

/// `a::b` names a; `{a, b::c, d::{e}}` names a, b and d.
fn first_segments(path: &str, found: &mut BTreeSet<String>) {
    let Some(group) = path.strip_prefix('{') else {
        found.extend(words(path).next().filter(|(at, _)| *at == 0).map(|(_, word)| word.to_owned()));
        return;
    };
    let mut depth = 0;
    let mut fresh = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if depth == 0 && fresh && !c.is_whitespace() => {
                fresh = false;
                first_segments(&group[at..], found);
            }
            _ => (),
        }
    }
}

/// Identifiers with their places.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(inside)?;
        let rest = &code[start..];
        let length = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        at = start + length;
        Some((start, &rest[..length]))
    })
}

/// The code without comments and without the insides of strings: what they say is not done.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(index, c)| chars.get(at + index) == Some(&c));
    while at < chars.len() {
        let before = at.checked_sub(1).map(|before| chars[before]);
        let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            while at < chars.len() {
                if starts(at, "/*") {
                    (depth, at) = (depth + 1, at + 2);
                } else if starts(at, "*/") {
                    (depth, at) = (depth - 1, at + 2);
                } else {
                    at += 1;
                }
                if depth == 0 {
                    break;
                }
            }
        } else if !in_word && (starts(at, "r\"") || starts(at, "r#") || starts(at, "br\"") || starts(at, "br#")) {
            let begin = at;
            at += if chars[at] == 'b' { 2 } else { 1 };
            let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
            if chars.get(at + hashes) != Some(&'"') {
                // A raw identifier.
                code.extend(&chars[begin..at]);
                continue;
            }
            let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 1;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
            code.push_str("\"\"");
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            code.push_str("\"\"");
        } else if chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
            // A character, not a lifetime.
            at += if chars.get(at + 1) == Some(&'\\') { 3 } else { 2 };
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
            code.push_str("' '");
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

#[test]
fn breaches_are_caught() {
    let caught = |place: &str, text: &str| check(place, text).len();
    for (place, text) in [
        ("tui/app.rs", "use crate::linux::Linux;"),
        ("tui/app.rs", "use crate::{facts, engine::{self, Session}, image::Image};"),
        ("tui/app.rs", "use crate::{\n    paging::AddressSpace,\n};"),
        ("report/json.rs", "fn f() { crate::symbols::find(); }"),
        ("report/json.rs", "use super::super::symbols;"),
        ("report/mod.rs", "use super::symbols::Profile;"),
        ("linux/tasks.rs", "use crate::windows::vads;"),
        ("linux.rs", "use crate::engine::Session;"),
        ("facts/cell.rs", "use crate :: image::Image;"),
        ("address.rs", "use crate::facts::Known;"),
        ("findings/rules.rs", "use crate::symbols::Object;"),
        ("image/lime.rs", "fn f() { unsafe { g() } }"),
        ("engine/mod.rs", "fn f() { println!(\"x\"); }"),
        ("engine/mod.rs", "fn f() { dbg!(1); }"),
        ("report/text.rs", "use ratatui::text::Line;"),
        ("case/store.rs", "use crate::engine::Session;"),
        ("tui/app.rs", "use rusqlite::Connection;"),
        ("cli/mod.rs", "use crossterm::event;"),
        ("tui/utils.rs", ""),
        ("linux/common/mod.rs", ""),
        ("plugins/mod.rs", ""),
    ] {
        assert_eq!(caught(place, text), 1, "{place}: {text}");
    }
}

#[test]
fn what_is_allowed_or_only_said_is_not_caught() {
    for (place, text) in [
        ("tui/app.rs", "use crate::{address::VirtAddr, engine::{Session, image}, facts::linux::Mount};"),
        ("engine/catalog.rs", "use crate::linux::{self, Linux};"),
        ("engine/catalog.rs", "use super::System; use super::super::facts::Cell;"),
        ("image/source.rs", "unsafe { map() }"),
        ("image/lime.rs", "#![forbid(unsafe_code)] // unsafe\n/* println!() /* dbg!() */ */"),
        ("image/lime.rs", "fn f() -> &'static str { \"unsafe \\\" println!\" }"),
        ("image/lime.rs", "fn f(r#type: char) -> (char, &str) { ('\"', r#\"unsafe \" crate::tui\"#) }"),
        ("facts/mod.rs", "//! See [`crate::engine`].\npub mod linux; pub use linux::Mount;"),
        ("cli/mod.rs", "fn f() { println!(\"x\"); }"),
        ("symbols/isf.rs", "fn f() {}\n#[cfg(test)]\nmod tests { fn f() { println!(\"x\"); } }"),
        ("tui/tests.rs", "fn f() { println!(\"x\"); }"),
        ("tui/mod.rs", "use ratatui::Frame; mod tests { use super::engine; }"),
    ] {
        assert_eq!(check(place, text), Vec::<String>::new(), "{place}: {text}");
    }
}
