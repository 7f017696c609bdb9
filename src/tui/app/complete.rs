//! Tab where a path is typed: the rest of its name, as far as there is only one.

use super::App;
use super::hunting::Aim;
use super::questions::{Question, typed_command};
use crate::tui::export;
use crate::tui::text::counted;
use std::path::Path;

/// Names that are looked through in a folder.
const MOST_NAMES: usize = 10_000;

impl App {
    /// Whether what is being typed is a path.
    pub(super) fn types_path(&self) -> bool {
        let Some(prompt) = &self.prompt else { return false };
        match prompt.question {
            Question::Path | Question::Bytes | Question::Hunt(Aim::Rules) => true,
            Question::Choose(":") => typed_command(&prompt.answer).is_some_and(|(takes, _)| takes.what == "PATH"),
            _ => false,
        }
    }

    pub(super) fn complete(&mut self) {
        let Some(prompt) = &self.prompt else { return };
        let path = match (prompt.question, typed_command(&prompt.answer)) {
            (Question::Choose(_), Some((_, path))) => path.to_owned(),
            _ => prompt.answer.clone(),
        };
        let (more, hint) = completion(&path);
        self.answer(|answer| answer.push_str(&more));
        if let Some(prompt) = &mut self.prompt {
            prompt.hint = hint;
        }
    }
}

/// What can only follow a path, and what to say where there is no or more than one way on.
fn completion(typed: &str) -> (String, Option<String>) {
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
        let of = |rest: &str| completion(&format!("{}/{rest}", folder.path().display()));
        assert_eq!(of("ru"), ("les.".into(), None));
        assert_eq!(of("rules."), (String::new(), Some("2 files: rules.md rules.yar".into())));
        assert_eq!(of("rules.y"), ("ar".into(), None));
        assert_eq!(of("s"), ("ub/".into(), None));
        assert_eq!(of(".r"), ("ules".into(), None));
        assert_eq!(of("x"), (String::new(), Some("no such file".into())));
        assert!(of("none/x").1.is_some());
    }
}
