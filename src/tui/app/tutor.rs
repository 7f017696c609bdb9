//! A tour that teaches by doing: each step waits until the analyst has done it.

use super::{App, Focus};
use crate::facts::{ProcessState, State};
use crate::tui::commands::{COMMANDS, Pane};
use crate::tui::panes::bytes::Mode;
use crate::tui::theme::Role;

struct Step {
    /// What to do; `{name}` is the key of that command.
    says: &'static str,
    /// Whether it has been done.
    done: fn(&App) -> bool,
}

const STEPS: &[Step] = &[
    Step {
        says: "These are the findings, the gravest first, each with its reasons below. {enter} follows the selected one to what it is about.",
        done: |app| app.may_go_back(),
    },
    Step {
        says: "Here you see it in its place. {back} goes back, one step at a time: go back to the findings.",
        done: |app| !app.may_go_back(),
    },
    Step { says: "{tree} is the process tree; {next-view} goes through all views. Go to the tree.", done: |app| app.focus == Focus::Tree },
    Step {
        says: "{filter} shows only what matches. A hidden process is alive but missing from the system's own list: filter for hidden, with Enter.",
        done: |app| app.prompt.is_none() && (app.tree.filter.contains("hidden") || app.tree.filter.contains("marks")),
    },
    Step {
        says: "Move to the process that is marked \"? hidden\" if you are not there; \"seen by\" below says which methods found it all the same.",
        done: |app| app.tree.current().is_some_and(|process| process.state == ProcessState::Hidden),
    },
    Step {
        says: "{links} lists everything that a row leads to, and letters choose from a list: open the regions of this process.",
        done: |app| app.focus == Focus::Tables && app.tables.get(app.active).is_some_and(|view| view.entry.table.name == "regions"),
    },
    Step { says: "Its memory, region by region. {enter} shows the bytes of the selected one.", done: |app| app.bytes.is_some() },
    Step {
        says: "Bytes, with the rights of their page; ?? would be missing from the image, which is not zero. {code} reads them as code.",
        done: |app| app.bytes.as_ref().is_some_and(|view| view.mode == Mode::Code),
    },
    Step {
        says: "{goto} goes anywhere: to an address, a symbol, a PID or a name. Go to the process with the ID 1 on Linux, 4 on Windows.",
        done: |app| app.focus == Focus::Tree && app.tree.current().is_some_and(|process| matches!(process.pid, 1 | 4)),
    },
    Step {
        says: "{search-memory} searches all memory and says whose it is. Search for http in physical memory.",
        done: |app| {
            let hits = app.tables.iter().filter(|view| view.hunt.is_some()).filter_map(|view| view.rows.as_ref());
            hits.into_iter().any(|rows| rows.state() != State::Running && !rows.is_empty())
        },
    },
    Step {
        says: "Each hit with the process and the file that map it. {export} writes what is shown to a new file: write the hits as CSV.",
        done: |app| app.exported_any,
    },
    Step { says: "{help} shows all keys, {command} finds every command by its name. Open the help.", done: |app| app.overlay.is_some() },
    Step { says: "That is all there is to it. {tutor} puts this line away; {quit} leaves.", done: |_| false },
];

/// Where somebody is in the tour, and whether it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tutor {
    step: usize,
    shown: bool,
}

impl App {
    /// Begins the tour or goes on with it, or puts it away; a number goes to that step.
    pub fn tutor(&mut self, typed: &str) {
        match typed.parse::<usize>() {
            Ok(number) => self.tutor = Tutor { step: number.clamp(1, STEPS.len()) - 1, shown: true },
            Err(_) if typed.is_empty() => self.tutor.shown = !self.tutor.shown,
            Err(_) => return self.warn(format!("tutor takes the number of a step, 1 to {}", STEPS.len())),
        }
        if !self.tutor.shown {
            let text = format!("the tour waits at step {}; {} goes on", self.tutor.step + 1, self.key_of("tutor"));
            self.notice = Some((Role::Dim, text));
        } else if self.tutor.step + 1 == STEPS.len() {
            self.tutor.step = 0;
        }
        // What was done before is not done yet for one who is to learn it.
        self.exported_any = false;
    }
    pub fn skip_step(&mut self) {
        match self.tutor.shown {
            true => self.tutor.step = (self.tutor.step + 1).min(STEPS.len() - 1),
            false => self.notice = Some((Role::Dim, format!("no tour is going on; {} begins one", self.key_of("tutor")))),
        }
    }
    /// Goes on where the step has been done.
    pub(super) fn teach(&mut self) {
        if self.tutor.shown
            && let Some(step) = STEPS.get(self.tutor.step)
            && (step.done)(self)
        {
            self.tutor.step += 1;
            self.dirty = true;
        }
    }

    /// Title and text of the step.
    pub fn lesson(&self) -> Option<(String, String)> {
        let step = STEPS.get(self.tutor.step).filter(|_| self.tutor.shown)?;
        let title = format!(
            "tour, step {} of {}: {} skips it, {} puts the tour away",
            self.tutor.step + 1,
            STEPS.len(),
            self.key_of("tutor-next"),
            self.key_of("tutor")
        );
        let mut text = String::new();
        for (index, part) in step.says.split(['{', '}']).enumerate() {
            text += &if index % 2 == 1 { self.key_of(part) } else { part.to_owned() };
        }
        Some((title, text))
    }

    /// The first key of a command, wherever it has one.
    fn key_of(&self, name: &str) -> String {
        let command = COMMANDS.iter().find(|command| command.name == name);
        let key = |command: &'static super::Command| Pane::ALL.iter().find_map(|pane| self.keymap.keys(command, *pane).first().copied());
        command.and_then(key).map_or_else(|| format!(":{name}"), |key| key.to_string())
    }
    /// What somebody who is new wants to know first.
    pub fn welcome(&mut self) {
        if self.notice.is_none() {
            let [enter, back, help, tutor] = ["enter", "back", "help", "tutor"].map(|name| self.key_of(name));
            self.notice = Some((Role::Text, format!("{enter} follows, {back} goes back, {help} shows all keys; {tutor} begins a tour")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_name_commands_and_fit_into_two_lines() {
        for step in STEPS {
            assert_eq!(step.says.matches('{').count(), step.says.matches('}').count());
            for (index, name) in step.says.split(['{', '}']).enumerate().filter(|(index, _)| index % 2 == 1) {
                assert!(COMMANDS.iter().any(|command| command.name == name), "{name} {index}");
            }
            assert!(crate::tui::text::wrap(&step.says.replace(['{', '}'], ""), 78).len() <= 2, "{}", step.says);
        }
    }
}
