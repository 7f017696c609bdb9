//! The list of what is running, from which work can be cancelled.

use super::{App, Choice, Effect, Question};
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;
use crate::tui::work::{Id, Ongoing};

const HEADING: &str = "running (Enter cancels):";

impl App {
    pub fn ask_work(&mut self) {
        self.choose(HEADING, Vec::new(), 0);
        self.effects.push(Effect::ListWork(true));
    }

    fn lists_work(&self) -> bool {
        self.prompt.as_ref().is_some_and(|prompt| prompt.question == Question::Choose(HEADING))
    }

    /// Takes what is running now, for the list if it is open.
    pub(super) fn running(&mut self, pieces: Vec<Ongoing>) {
        if !self.lists_work() || pieces.is_empty() {
            self.effects.push(Effect::ListWork(false));
            if self.lists_work() {
                self.prompt = None;
                self.notice = Some((Role::Dim, "nothing is running".to_owned()));
            }
            return;
        }
        let item = |piece: &Ongoing| {
            let percent = piece.percent().map(|percent| format!("{percent} %")).unwrap_or_default();
            Item { name: piece.what.clone(), keys: percent, help: piece.says() }
        };
        let choices: Vec<_> = pieces.iter().map(|piece| (item(piece), Choice::Cancel(piece.id))).collect();
        self.offer(choices);
    }

    pub(super) fn cancel(&mut self, id: Id) {
        match id {
            Id::Find => self.finding = None,
            Id::Cross => self.crossing = None,
            Id::Locate => self.locating = None,
            Id::Query(_) | Id::Arrange(_) | Id::Learn(_) | Id::Export | Id::Take | Id::Report => (),
        }
        self.effects.push(Effect::CancelOne(id));
        self.notice = Some((Role::Warning, "cancelled; what was found stays".to_owned()));
    }
}
