//! What is odd about a process, in words beside its name.

use crate::facts::{Finding, Indicator};
use crate::tui::text;

/// Rules of findings that are worth a word in the tree: the word, and what it means.
const RULES: [(&str, &str, &str); 8] = [
    ("lookalike", "name", "named almost like a system program"),
    ("kernel_lookalike", "name", "named like a thread of the kernel, and a program"),
    ("nameless", "name", "without a name"),
    ("wrong_path", "path", "a system program's name, run from elsewhere"),
    ("deleted_program", "path", "run from a file that has been deleted"),
    ("memfd_program", "path", "run from a file that never had a name"),
    ("wrong_parent", "parent", "a system program started by another process than the one that starts it"),
    ("wrong_user", "user", "a system program under a user that does not run it"),
];

/// From this score on a finding is worth a mark where it is folded away.
pub const WORTH: u8 = 30;

/// What was found of a process.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    pub score: u8,
    /// Of the gravest finding.
    pub subject: String,
    /// Words that belong beside the name, with their reasons.
    pub odd: Vec<(&'static str, String)>,
}

impl Judged {
    pub fn add(&mut self, finding: &Finding) {
        if finding.score > self.score {
            (self.score, self.subject) = (finding.score, finding.subject.clone());
        }
        for Indicator { rule, detail } in &finding.indicators {
            let word = RULES.iter().find(|(id, ..)| *id == rule.id).map(|(_, word, _)| *word);
            let said = |word: &&'static str| !self.odd.iter().any(|(known, reason)| known == word && reason == detail);
            self.odd.extend(word.filter(said).map(|word| (word, detail.clone())));
        }
    }

    /// `! name parent`; empty where nothing is odd.
    pub fn words(&self) -> String {
        let mut words: Vec<&str> = Vec::new();
        for (word, _) in &self.odd {
            if !words.contains(word) {
                words.push(word);
            }
        }
        if words.is_empty() { String::new() } else { format!("! {}", words.join(" ")) }
    }
}

/// As many marks as there is room for, the first ones first; of one that does not fit its sign.
pub fn fit(marks: impl Iterator<Item = String>, room: usize) -> String {
    let mut fitting = String::new();
    for mark in marks {
        let gap = usize::from(!fitting.is_empty());
        let left = room.saturating_sub(text::width(&fitting) + gap);
        let short = mark.split(' ').next().filter(|sign| sign.len() < 3).unwrap_or_default().to_owned();
        let said = if text::width(&mark) <= left || gap == 0 { mark } else { short };
        if !said.is_empty() && (gap == 0 || text::width(&said) <= left) {
            fitting += if gap == 0 { "" } else { " " };
            fitting += &said;
        }
    }
    fitting
}

/// The marks that findings make, and what they mean, for the help.
pub fn legend() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (_, word, meaning) in RULES {
        match all.iter_mut().find(|(mark, _)| mark.strip_prefix("! ") == Some(word)) {
            Some((_, said)) => *said = format!("{said}; or {meaning}"),
            None => all.push((format!("! {word}"), meaning.to_owned())),
        }
    }
    all.push(("!! below".to_owned(), "folded, and something below has a score of 75 or more; ! below: of 30 or more".to_owned()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_give_way_to_graver_ones() {
        let fitting = |room| fit(["? hidden", "! name parent"].map(str::to_owned).into_iter(), room);
        assert_eq!(fitting(22), "? hidden ! name parent");
        assert_eq!(fitting(11), "? hidden !");
        assert_eq!(fitting(8), "? hidden");
        assert_eq!(fitting(3), "? hidden", "cut by whoever draws it");
    }

    #[test]
    fn every_mark_is_of_a_rule() {
        for (id, ..) in RULES {
            assert!(crate::engine::RULES.iter().any(|rule| rule.id == id), "{id}");
        }
    }
}
