//! Tab where one types: the rest of a name, as far as there is only one, or which names there are.

use super::questions::{Question, typed_command};
use super::{App, Effect};
use crate::facts::{Cell, Kind, Rows};
use crate::tui::commands::Pane;
use crate::tui::export;
use crate::tui::panes::filter::{self, Field};
use crate::tui::text::counted;
use std::collections::BTreeSet;
use std::path::Path;

/// Names that are looked through in a folder.
const MOST_NAMES: usize = 10_000;
/// Rows that are looked through for the values of a column.
const MOST_ROWS: usize = 20_000;

/// What a piece of an answer can become.
enum Ways {
    Path,
    Filter,
    /// A process, a symbol, a driver, a library.
    Place,
    /// What is selected in the palette.
    Command,
}

impl App {
    /// What can be completed where one types, and the text that it would complete.
    fn ways(&self) -> Option<(Ways, &str)> {
        let prompt = self.prompt.as_ref()?;
        let answer = prompt.answer.as_str();
        let list = matches!(self.pane(), Pane::Tree | Pane::Table);
        match prompt.question {
            Question::Choose(":") => match typed_command(answer, self.pane()) {
                Some((takes, path)) if takes.what == "PATH" => Some((Ways::Path, path)),
                Some((takes, filter)) if takes.what == "FILTER" && list => Some((Ways::Filter, last_term(filter))),
                Some((takes, place)) if takes.what == "PLACE" => Some((Ways::Place, place)),
                Some(_) => None,
                None => Some((Ways::Command, answer)),
            },
            question if question.asks_path() => Some((Ways::Path, answer)),
            Question::Filter | Question::Search if list => Some((Ways::Filter, last_term(answer))),
            Question::Goto => Some((Ways::Place, answer)),
            _ => None,
        }
    }
    /// What to say before anything is typed that Tab could complete.
    pub(super) fn completes(&self) -> Option<&'static str> {
        match self.ways()? {
            (Ways::Command, _) => None,
            (_, "") => Some("Tab completes"),
            _ => None,
        }
    }

    /// Completes what is typed; false where Tab means something else.
    pub(super) fn complete(&mut self) -> bool {
        let Some((ways, begun)) = self.ways() else { return false };
        let begun = begun.to_owned();
        match ways {
            Ways::Path => {
                let (more, hint) = path_completion(&begun);
                self.completed(&begun, format!("{begun}{more}"), hint);
            }
            Ways::Filter => {
                let found = self.terms(&begun);
                self.offer_names(&begun, found, "column or value");
            }
            Ways::Place => {
                let process = self.process_at_hand().and_then(|process| process.address.value().copied());
                self.effects.push(Effect::Complete { begun, process });
            }
            Ways::Command => return self.complete_command(&begun),
        }
        true
    }
    /// A name of which the beginning is typed; one that is whole goes on to what the command takes, or else to the next choice.
    fn complete_command(&mut self, begun: &str) -> bool {
        let Some(name) = self.selected_name().filter(|name| !begun.is_empty() && *name != begun) else { return false };
        self.completed(begun, name, None);
        true
    }

    /// Symbols, drivers and libraries that begin so have come; processes stand before them.
    pub(super) fn named(&mut self, begun: &str, names: Vec<String>) {
        if !matches!(self.ways(), Some((Ways::Place, still)) if still == begun) {
            return;
        }
        let mut found = self.tree.names_like(begun);
        found.extend(names);
        found.dedup();
        self.offer_names(begun, found, "process, symbol, driver or library");
    }

    fn offer_names(&mut self, begun: &str, names: Vec<String>, what: &str) {
        let (answer, hint) = completion(begun, &names);
        let hint = match names.as_slice() {
            [] => Some(format!("no {what} begins so")),
            [_] if what.starts_with("column") && !answer.contains(':') => Some("then = > < or : and a value".to_owned()),
            _ => hint,
        };
        self.completed(begun, answer, hint);
    }
    fn completed(&mut self, begun: &str, whole: String, hint: Option<String>) {
        if whole != begun {
            self.answer(|answer| {
                answer.truncate(answer.len().saturating_sub(begun.len()));
                answer.push_str(&whole);
            });
        }
        if let Some(prompt) = &mut self.prompt {
            prompt.hint = hint;
        }
    }

    /// What a term of a filter can go on with: a column, or behind the name of one its values.
    fn terms(&self, begun: &str) -> Vec<String> {
        let (fields, rows) = match (self.pane(), self.tables.get(self.active)) {
            (Pane::Tree, _) => (self.tree.fields(), self.tree.exported().map(|(rows, _)| rows)),
            (_, Some(view)) => (view.fields(), view.rows.clone()),
            _ => return Vec::new(),
        };
        match (filter::column_and_value(begun, &fields), rows) {
            (Some((before, columns, value)), Some(rows)) => {
                values(rows.as_ref(), &columns, value).into_iter().map(|it| format!("{before}{it}")).collect()
            }
            (Some(_), None) => Vec::new(),
            (None, _) => {
                let (not, name) = begun.split_at(begun.len() - begun.trim_start_matches('!').len());
                let name = name.to_lowercase();
                // What is measured is mostly compared.
                let sign = |field: &Field| if field.kind.is_measured() { "" } else { ":" };
                let begin = fields.iter().filter(|field| field.name.starts_with(&name));
                begin.map(|field| format!("{not}{}{}", field.name, sign(field))).collect()
            }
        }
    }
}

/// What is behind the last blank.
fn last_term(answer: &str) -> &str {
    answer.rsplit(char::is_whitespace).next().unwrap_or_default()
}

/// The different words that columns hold and that begin so. Numbers and times say nothing by their beginnings.
fn values(rows: &dyn Rows, columns: &[Field], begun: &str) -> Vec<String> {
    let begun = begun.trim_start_matches('"').to_lowercase();
    let mut found = BTreeSet::new();
    let known = |field: &&Field| field.column < rows.table().columns.len();
    for field in columns.iter().filter(known) {
        let mut add = |text: &str| {
            if text.to_lowercase().starts_with(&begun) && !text.contains(|c: char| c.is_control() || c == '"') && found.len() < MOST_NAMES {
                found.insert(if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text.to_owned() });
            }
        };
        for row in 0..rows.len().min(MOST_ROWS) {
            match rows.cell(row, field.column) {
                Cell::Text(text) if field.kind == Kind::Text => add(&text),
                Cell::Bool(yes) => add(if yes { "yes" } else { "no" }),
                Cell::List(items) => items.iter().for_each(|item| {
                    if let Cell::Text(text) = item {
                        add(text);
                    }
                }),
                _ => (),
            }
        }
    }
    found.into_iter().collect()
}

/// As much of the names as they share, and what to say where there is more than one way on. Their case need not be typed.
fn completion(begun: &str, names: &[String]) -> (String, Option<String>) {
    let Some(first) = names.first() else { return (begun.to_owned(), None) };
    let alike = |a: char, b: char| a.to_lowercase().eq(b.to_lowercase());
    let shared =
        |name: &String| first.chars().zip(name.chars()).take_while(|(a, b)| alike(*a, *b)).map(|(a, _)| a.len_utf8()).sum::<usize>();
    let common = first.get(..names.iter().map(shared).min().unwrap_or(0)).unwrap_or_default();
    match names {
        [one] => (one.clone(), None),
        _ if common.chars().count() > begun.chars().count() => (common.to_owned(), None),
        _ => (begun.to_owned(), Some(format!("{}: {}", counted(names.len(), "way on", "ways on"), names.join(" ")))),
    }
}

/// What can only follow a path, and what to say where there is no or more than one way on.
fn path_completion(typed: &str) -> (String, Option<String>) {
    let (folder, begun) =
        typed.rsplit_once('/').map_or((".", typed), |(folder, begun)| (if folder.is_empty() { "/" } else { folder }, begun));
    let folder = if folder == "~" { export::path("~/") } else { export::path(folder) };
    let read = |folder: &Path| -> std::io::Result<Vec<String>> {
        let entries = std::fs::read_dir(folder)?.take(MOST_NAMES).flatten();
        let name = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !begun.starts_with('.');
            let end = if entry.path().is_dir() { "/" } else { "" };
            (name.starts_with(begun) && !hidden && !name.contains(char::is_control)).then(|| format!("{name}{end}"))
        };
        Ok(entries.filter_map(name).collect())
    };
    let mut names = match read(&folder) {
        Ok(names) => names,
        Err(why) => return (String::new(), Some(why.to_string())),
    };
    names.sort();
    let Some(first) = names.first() else { return (String::new(), Some("no such file".to_owned())) };
    let shared = |name: &String| first.chars().zip(name.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>();
    let common = names.iter().map(shared).min().unwrap_or(0);
    let more = first.get(begun.len()..common).unwrap_or_default().to_owned();
    let hint = (names.len() > 1 && more.is_empty()).then(|| format!("{}: {}", counted(names.len(), "file", "files"), names.join(" ")));
    (more, hint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_completed_as_far_as_they_are_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["rules.yar", "rules.md", ".rules"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let of = |rest: &str| path_completion(&format!("{}/{rest}", folder.path().display()));
        assert_eq!(of("ru"), ("les.".into(), None));
        assert_eq!(of("rules."), (String::new(), Some("2 files: rules.md rules.yar".into())));
        assert_eq!(of("rules.y"), ("ar".into(), None));
        assert_eq!(of("s"), ("ub/".into(), None));
        assert_eq!(of(".r"), ("ules".into(), None));
        assert_eq!(of("x"), (String::new(), Some("no such file".into())));
        assert!(of("none/x").1.is_some());
    }

    #[test]
    fn names_are_completed_in_whatever_case_they_are_typed() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(completion("expl", &names(&["Explorer.EXE"])), ("Explorer.EXE".into(), None));
        assert_eq!(completion("s", &names(&["svchost.exe", "SvcHelp"])), ("svch".into(), None));
        assert_eq!(completion("sv", &names(&["sva", "svb"])), ("sv".into(), Some("2 ways on: sva svb".into())));
        assert_eq!(completion("x", &[]), ("x".into(), None));
    }
}
