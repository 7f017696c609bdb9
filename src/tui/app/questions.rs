//! What the bottom line asks: a search, a filter, a place, a command; and what can be chosen from.

use super::hunting::Aim;
use super::{App, Choice, Effect};
use crate::address::VirtAddr;
use crate::tui::commands::{COMMANDS, Key, Pane, Takes};
use crate::tui::export;
use crate::tui::panes::bytes::{Mode, Needle, Target};
use crate::tui::panes::filter::{Filter, resemblance};
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;
use crossterm::event::KeyCode;
use fuzzy_matcher::FuzzyMatcher;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Search,
    Filter,
    Goto,
    Structure,
    /// What to search memory for.
    Hunt(Aim),
    /// Where to write an export.
    Path,
    /// Where to write bytes.
    Bytes,
    /// The folder of a report.
    Folder,
    /// The folder for a file as memory holds it.
    File(VirtAddr),
    /// What to note on what the cursor is on.
    Comment,
    Tags,
    /// One of some choices, under this heading.
    Choose(&'static str),
}

impl Question {
    pub(super) fn asks_path(self) -> bool {
        matches!(self, Self::Path | Self::Bytes | Self::Folder | Self::File(_) | Self::Hunt(Aim::Rules))
    }
}

pub struct Prompt {
    pub question: Question,
    pub answer: String,
    /// The answer before it was changed, to which Esc returns.
    before: String,
    /// What is wrong with the answer as it stands.
    error: Option<String>,
    /// What Tab has to say of it.
    pub(super) hint: Option<String>,
    /// What there is to choose from, and which of what the answer leaves is selected.
    choices: Vec<(Item, Choice)>,
    choice: usize,
}

/// A question as the screen has it: what was answered so far, and what there is to say of that.
pub struct Asked {
    pub question: String,
    pub answer: String,
    pub told: Option<(Role, String)>,
}

/// Longer answers than any of ours are a mistake, or meant to cost time.
pub(super) const LONGEST: usize = 500;

impl App {
    pub fn prompt(&self) -> Option<Asked> {
        let prompt = self.prompt.as_ref()?;
        let question = match (prompt.question, self.pane()) {
            (Question::Search, Pane::Bytes) if self.bytes.as_ref().is_some_and(|view| view.mode == Mode::Fields) => "search fields:",
            (Question::Search, Pane::Bytes) => "search text, u:text, or bytes:",
            (Question::Search, _) => "search:",
            (Question::Filter, _) => "filter:",
            (Question::Goto, _) => "go to:",
            (Question::Structure, _) => "structure:",
            (Question::Path | Question::Bytes, _) => "write to new file:",
            (Question::Folder | Question::File(_), _) => "write to folder:",
            (Question::Comment, _) => "comment:",
            (Question::Tags, _) => "tags:",
            (Question::Hunt(aim), _) => aim.question(),
            (Question::Choose(heading), _) => heading,
        };
        let nothing = || (self.chooses() && self.choices().is_empty()).then(|| (Role::Danger, "nothing is like it".to_owned()));
        let wrong = prompt.error.clone().map(|why| (Role::Danger, why));
        let hint = || prompt.hint.clone().map(|hint| (Role::Text, hint));
        let completes = || self.completes().map(|says| (Role::Dim, says.to_owned()));
        let told = wrong.or_else(hint).or_else(nothing).or_else(completes);
        Some(Asked { question: question.to_owned(), answer: prompt.answer.clone(), told })
    }

    pub(super) fn prompt_key(&mut self, key: Key) {
        match key.code {
            KeyCode::Enter => self.accept(),
            KeyCode::Esc => self.reject(),
            KeyCode::Char('c') if key.control => self.reject(),
            KeyCode::Char('u') if key.control => self.answer(String::clear),
            KeyCode::Char('w') if key.control => self.answer(|answer| {
                let kept = answer.trim_end().rfind(' ').map_or(0, |at| at + 1);
                answer.truncate(kept);
            }),
            KeyCode::Backspace | KeyCode::Char('h') if key.code == KeyCode::Backspace || key.control => {
                let empty = self.prompt.as_ref().is_some_and(|prompt| prompt.answer.is_empty());
                if empty {
                    self.reject()
                } else {
                    self.answer(|answer| {
                        answer.pop();
                    })
                }
            }
            KeyCode::Char('g') if self.prompt.as_ref().is_some_and(|it| it.question == Question::Goto && it.answer.is_empty()) => {
                self.prompt = None;
                self.jump(false);
            }
            KeyCode::Char(c) if !key.control && !c.is_control() => self.answer(|answer| answer.push(c)),
            KeyCode::Tab if self.complete() => (),
            KeyCode::Down | KeyCode::Up | KeyCode::Tab if self.chooses() => {
                let last = self.choices().len().saturating_sub(1);
                if let Some(prompt) = &mut self.prompt {
                    let up = key.code == KeyCode::Up;
                    prompt.choice = if up { prompt.choice.saturating_sub(1) } else { (prompt.choice + 1).min(last) };
                }
            }
            KeyCode::Down | KeyCode::Up if self.pane() != Pane::Bytes => self.by_rows(if key.code == KeyCode::Down { 1 } else { -1 }),
            _ => (),
        }
    }

    pub(super) fn answer(&mut self, change: impl FnOnce(&mut String)) {
        if let Some(prompt) = &mut self.prompt {
            change(&mut prompt.answer);
            (prompt.choice, prompt.hint) = (0, None);
            while prompt.answer.len() > LONGEST {
                prompt.answer.pop();
            }
            let (question, answer) = (prompt.question, prompt.answer.clone());
            self.apply(question, answer);
        }
    }

    /// Search and filter take effect while they are typed.
    fn apply(&mut self, question: Question, answer: String) {
        let fields = match (question, self.pane()) {
            (Question::Search | Question::Filter, Pane::Tree) => self.tree.fields(),
            (Question::Search | Question::Filter, Pane::Table) => self.table().map(|view| view.fields()).unwrap_or_default(),
            _ => return,
        };
        let wrong = Filter::parse(&answer, &fields).err();
        if let Some(prompt) = &mut self.prompt {
            prompt.error = wrong.clone();
        }
        if wrong.is_some() {
            // The view stays as the last answer that made sense left it.
            return;
        }
        match (question, self.pane()) {
            (Question::Search, Pane::Tree) => {
                self.tree.search = answer;
                self.tree.arrange(&self.look);
                self.tree.first_hit();
            }
            (Question::Filter, Pane::Tree) => {
                self.tree.filter = answer;
                self.tree.arrange(&self.look);
            }
            (Question::Search | Question::Filter, Pane::Table) => {
                let table = self.active;
                if let Some(view) = self.table() {
                    if question == Question::Search {
                        view.search = answer
                    } else {
                        view.filter = answer
                    }
                    self.arrange(table);
                }
            }
            _ => (),
        }
    }

    pub(super) fn ask(&mut self, question: Question, before: String) {
        let answer = if matches!(
            question,
            Question::Filter
                | Question::Path
                | Question::Bytes
                | Question::Hunt(_)
                | Question::Folder
                | Question::File(_)
                | Question::Comment
                | Question::Tags
        ) {
            before.clone()
        } else {
            String::new()
        };
        self.prompt = Some(Prompt { question, answer, before, error: None, hint: None, choices: Vec::new(), choice: 0 });
    }
    /// Lets one of some things be chosen, by arrows or by letters of its name.
    pub(super) fn choose(&mut self, heading: &'static str, choices: Vec<(Item, Choice)>, choice: usize) {
        let (answer, before) = (String::new(), String::new());
        self.prompt = Some(Prompt { question: Question::Choose(heading), answer, before, error: None, hint: None, choices, choice });
    }
    /// Other things to choose from instead of those of the open question; what was selected by its place stays so.
    pub(super) fn offer(&mut self, choices: Vec<(Item, Choice)>) {
        if let Some(prompt) = &mut self.prompt {
            prompt.choice = prompt.choice.min(choices.len().saturating_sub(1));
            prompt.choices = choices;
        }
    }
    pub fn ask_command(&mut self) {
        let pane = self.pane();
        let commands = COMMANDS.iter().filter(|command| command.panes.contains(&pane) && command.name != "command");
        let mut all: Vec<(Item, Choice)> = commands
            .map(|command| {
                let name = command.takes.map_or(command.name.to_owned(), |takes| format!("{} {}", command.name, takes.what));
                let item = Item { name, keys: self.keymap.text(command, pane), help: command.help.to_owned() };
                (item, Choice::Command(command))
            })
            .collect();
        all.extend(self.tables.iter().enumerate().map(|(table, view)| {
            let keys = if table < 9 { (table + 1).to_string() } else { String::new() };
            // Who knows the table under another name finds it by that.
            let others = view.entry.aliases.join(", ");
            let doc = view.entry.table.doc.trim();
            let help = if others.is_empty() { doc.to_owned() } else { format!("{doc} ({others})") };
            (Item { name: view.title.to_lowercase(), keys, help }, Choice::Table(table))
        }));
        self.choose(":", all, 0);
    }
    fn heading(&self) -> &'static str {
        match self.prompt.as_ref().map(|prompt| prompt.question) {
            Some(Question::Choose(heading)) => heading,
            _ => "",
        }
    }
    fn chooses(&self) -> bool {
        self.prompt.as_ref().is_some_and(|prompt| matches!(prompt.question, Question::Choose(_)))
    }

    /// What resembles the answer, the best first.
    fn choices(&self) -> Vec<&(Item, Choice)> {
        let Some(prompt) = self.prompt.as_ref() else { return Vec::new() };
        let typed = prompt.answer.trim();
        if typed.is_empty() {
            return prompt.choices.iter().collect();
        }
        // What stands behind a command is its own, and resembles nothing.
        if let (":", Some((takes, _))) = (self.heading(), typed_command(&prompt.answer, self.pane())) {
            let is =
                |(_, choice): &&(Item, Choice)| matches!(choice, Choice::Command(it) if it.takes.is_some_and(|it| std::ptr::eq(it, takes)));
            return prompt.choices.iter().filter(is).collect();
        }
        let matcher = resemblance();
        let lower = typed.to_lowercase();
        let explained = self.heading() == ":" && lower.len() > 2;
        let score = |choice| {
            let (item, leads): &(Item, Choice) = choice;
            // What begins with the letters is meant before what merely contains them, and that before what only speaks of them.
            let bonus = if item.name.starts_with(&lower) { 1000 } else { 0 };
            let named = matcher.fuzzy_match(&item.name, typed).map(|score| score + bonus);
            // Of those that speak of them a table is the thing itself.
            let spoken = if matches!(leads, Choice::Table(_)) { i64::MIN + 1 } else { i64::MIN };
            let told = || (explained && item.help.to_lowercase().contains(&lower)).then_some(spoken);
            Some((named.or_else(told)?, choice))
        };
        let mut scored: Vec<(i64, &(Item, Choice))> = prompt.choices.iter().filter_map(score).collect();
        scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        scored.into_iter().map(|(_, choice)| choice).collect()
    }

    /// What the selected choice of the palette is called where one types it, with a blank where it takes something.
    pub(super) fn selected_name(&self) -> Option<String> {
        let (item, choice) = self.choices().get(self.prompt.as_ref()?.choice)?;
        Some(match choice {
            Choice::Command(command) => format!("{}{}", command.name, if command.takes.is_some() { " " } else { "" }),
            _ => item.name.clone(),
        })
    }
    /// What is to be chosen from, and which of it is selected.
    pub fn palette(&self) -> (Vec<&Item>, usize) {
        let selected = self.prompt.as_ref().map_or(0, |prompt| prompt.choice);
        (self.choices().into_iter().map(|(item, _)| item).collect(), selected)
    }
    pub fn ask_search(&mut self) {
        let before = match self.pane() {
            Pane::Tree => self.tree.search.clone(),
            Pane::Bytes => String::new(),
            _ => self.table().map(|view| view.search.clone()).unwrap_or_default(),
        };
        self.ask(Question::Search, before);
    }
    /// Asks for a filter, or takes what was typed behind the command.
    pub fn filter_by(&mut self, typed: &str) {
        self.ask_filter();
        if !typed.is_empty() {
            self.answer(|answer| typed.clone_into(answer));
            self.accept();
        }
    }
    fn ask_filter(&mut self) {
        let before = match self.pane() {
            Pane::Tree => self.tree.filter.clone(),
            _ => self.table().map(|view| view.filter.clone()).unwrap_or_default(),
        };
        self.ask(Question::Filter, before);
    }
    /// Asks for a place, or goes to what was typed behind the command.
    pub fn go(&mut self, typed: &str) {
        match Target::parse(typed) {
            _ if typed.is_empty() => self.ask(Question::Goto, String::new()),
            Ok(target) => self.go_to(target, typed),
            Err(why) => self.warn(why),
        }
    }
    pub fn ask_structure(&mut self) {
        self.ask(Question::Structure, String::new());
    }

    fn reject(&mut self) {
        if let Some(prompt) = self.prompt.take() {
            self.apply(prompt.question, prompt.before);
        }
    }

    fn accept(&mut self) {
        let choice = self.prompt.as_ref().and_then(|prompt| self.choices().get(prompt.choice).map(|(_, choice)| choice.clone()));
        let Some(prompt) = self.prompt.take_if(|prompt| prompt.error.is_none()) else { return };
        let typed = prompt.answer.trim();
        match (prompt.question, self.pane()) {
            (Question::Choose(":"), _) if typed_command(typed, self.pane()).is_some() => {
                if let Some((Takes { run, .. }, argument)) = typed_command(typed, self.pane()) {
                    run(self, argument);
                }
            }
            (Question::Choose(heading), _) => match choice {
                Some(choice) => self.chosen(choice),
                None if heading == ":" => self.warn(format!("there is no command like {}", prompt.answer)),
                None => self.warn(format!("nothing to choose is like {}", prompt.answer)),
            },
            (Question::Search, Pane::Bytes) => match Needle::parse(&prompt.answer) {
                _ if prompt.answer.is_empty() => self.next_match(true),
                Ok(needle) => {
                    if let Some(view) = &mut self.bytes {
                        view.needle = needle;
                        view.found = None;
                    }
                    self.find(true, false);
                }
                Err(why) => self.warn(why),
            },
            // As in less: an empty search repeats the last one.
            (Question::Search, _) if prompt.answer.is_empty() => {
                self.apply(Question::Search, prompt.before);
                self.next_match(true);
            }
            (Question::Search, _) => {
                let found = match self.pane() {
                    Pane::Tree => self.tree.has_hits(),
                    // A table that is still being searched says so itself.
                    _ => true,
                };
                if !found {
                    self.warn(format!("\"{}\" is not in the tree", prompt.answer));
                }
            }
            (Question::Filter, _) => (),
            (Question::Comment | Question::Tags, _) => self.noted(prompt.question, typed),
            (Question::Goto | Question::Structure | Question::Path | Question::Bytes | Question::Folder | Question::File(_), _)
                if typed.is_empty() => {}
            (Question::Folder, _) => self.report(typed),
            (Question::File(object), _) => self.effects.push(Effect::WriteFile { object, folder: export::path(typed) }),
            (Question::Goto, _) => self.go(typed),
            (Question::Path, _) => self.export(typed),
            (Question::Bytes, _) => self.write_bytes(typed),
            (Question::Hunt(aim), _) => self.ask_place(aim, if aim == Aim::Pattern { &prompt.answer } else { typed }),
            (Question::Structure, _) => {
                if let Some(view) = &mut self.bytes {
                    view.overlay(typed.to_owned());
                }
            }
        }
    }

    fn chosen(&mut self, choice: Choice) {
        match choice {
            // One that no key belongs to does not ask which it was.
            Choice::Command(command) => {
                (command.run)(self, command.keys.first().copied().unwrap_or(Key { code: KeyCode::Enter, control: false }))
            }
            Choice::Table(table) => self.switch_to(table),
            Choice::Link(link) => self.follow(link),
            Choice::Travel(steps) => self.travel(steps),
            Choice::Order(order) => self.order_tree(order),
            Choice::Column(part) => self.tree.choose_column(part),
            Choice::Export(writer, all) => self.ask_export_path(writer, all),
            Choice::Copy(text) => self.copy(text),
            Choice::Cancel(id) => self.cancel(id),
            Choice::Hunt(hunt) => self.hunt(hunt),
            Choice::Take(taking) => self.effects.push(Effect::Take(taking)),
            Choice::Noted(object) => self.go_to_noted(&object),
            Choice::Judgement(judgement) => self.judge(judgement),
            Choice::Report(part) => self.report_part(part),
            Choice::Audit => self.show_audit(),
            Choice::ExportAudit(writer) => self.export_audit(writer),
        }
    }

    pub(super) fn warn(&mut self, why: String) {
        self.notice = Some((Role::Warning, why));
    }
}

/// The command that takes what is typed behind its name, or behind the beginning of its name; and what that is.
pub(super) fn typed_command(typed: &str, pane: Pane) -> Option<(&'static Takes, &str)> {
    let (name, argument) = typed.trim_start().split_once(' ')?;
    let name = name.to_lowercase();
    let takers = || COMMANDS.iter().filter(|command| command.takes.is_some() && command.panes.contains(&pane) && !name.is_empty());
    let command = takers().find(|command| command.name == name).or_else(|| takers().find(|command| command.name.starts_with(&name)))?;
    Some((command.takes?, argument.trim()))
}
