//! A selection of bytes: begun at the cursor, stretched by moving it, then copied or written to a file.

use super::{App, Choice, Effect, Question};
use crate::address::VirtAddr;
use crate::case::Action;
use crate::facts::text::printable;
use crate::tui::export;
use crate::tui::taking::{Form, MOST_WRITTEN, Taking, To, Took};
use crate::tui::theme::Role;
use crate::tui::widgets::palette::Item;
use std::path::{Path, PathBuf};

impl App {
    pub fn select_bytes(&mut self) {
        let Some(view) = &mut self.bytes else { return };
        view.anchor = if view.anchor.is_some() { None } else { Some(view.cursor) };
        let text =
            if view.anchor.is_some() { "selecting: move, then y copies, e writes to a file; Esc drops" } else { "nothing is selected" };
        self.notice = Some((Role::Text, text.to_owned()));
    }

    /// What is selected, or else all of a region.
    fn taken(&mut self, to: To) -> Option<Taking> {
        let view = self.bytes.as_ref()?;
        let whole = || (view.bounded() && view.first > 0).then_some((view.first, view.last));
        match view.selection().or_else(whole) {
            Some((first, last)) => Some(Taking { space: view.space, first, last, to }),
            None => {
                self.notice = Some((Role::Dim, "nothing is selected; V begins a selection".to_owned()));
                None
            }
        }
    }

    /// In which form to copy.
    pub fn ask_copy_bytes(&mut self) {
        let Some(taking) = self.taken(To::Clipboard(Form::Hex)) else { return };
        let item = |form: Form| {
            let (name, says) = form.says();
            Item { name: name.to_owned(), keys: String::new(), help: says.to_owned() }
        };
        let to = |form| Choice::Take(Taking { to: To::Clipboard(form), ..taking.clone() });
        let choices = Form::ALL.into_iter().map(|form| (item(form), to(form))).collect();
        self.choose("copy as:", choices, 0);
    }
    /// Where to write.
    pub fn ask_bytes_path(&mut self) {
        let Some(taking) = self.taken(To::File(PathBuf::new())) else { return };
        if taking.length() > u128::from(MOST_WRITTEN) {
            return self.warn(format!("{} bytes are too many; V selects some of them", taking.length()));
        }
        let proposed = format!("{}-{:x}-{:x}.bin", self.image_stem(), taking.first, taking.last);
        self.leaving = Some(taking);
        self.ask(Question::Bytes, proposed);
    }
    pub(super) fn write_bytes(&mut self, typed: &str) {
        if let Some(taking) = self.leaving.take() {
            self.effects.push(Effect::Take(Taking { to: To::File(export::path(typed)), ..taking }));
        }
    }

    fn image_stem(&self) -> String {
        Path::new(&self.name).file_stem().map_or_else(String::new, |stem| printable(&stem.to_string_lossy()).into_owned())
    }
    /// The folder for a file as memory holds it.
    pub(super) fn ask_file_folder(&mut self, object: VirtAddr) {
        let proposed = format!("{}-file-{:x}", self.image_stem(), object.0);
        self.ask(Question::File(object), export::beside_no_evidence(&proposed, &self.folders));
    }

    pub(super) fn took(&mut self, result: Result<Took, String>) {
        match result {
            Ok(Took::Said(said)) => self.written(Action::Dumped, said),
            Ok(Took::Text(text, what)) => {
                self.copy(text);
                if let Some((Role::Text, said)) = &mut self.notice {
                    *said = format!("sent to the clipboard: {what}");
                }
            }
            Err(why) => self.warn(why),
        }
    }
}
