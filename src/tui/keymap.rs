//! Which key does what: the table of commands, and what the user has changed in it.

use super::commands::{COMMANDS, Command, Key, Pane};
use super::config::{Setting, Source, in_order};
use crate::engine::Error;
use crossterm::event::KeyCode;
use toml::de::DeValue;

/// The keys that differ from those of the table.
#[derive(Default)]
pub struct Keymap {
    changed: Vec<Change>,
}

struct Change {
    pane: Pane,
    command: &'static str,
    keys: Vec<Key>,
}

impl Keymap {
    /// Reads a file in which names of commands stand with their keys: for all panes, or for those of a section.
    pub fn parse(source: &Source) -> Result<Self, Error> {
        let mut keymap = Self::default();
        source.settings(|setting| match setting.value.as_table() {
            None => keymap.set(source, setting, &Pane::ALL),
            Some(table) => {
                let pane = Pane::ALL.into_iter().find(|pane| pane.section() == setting.name);
                let sections = || Pane::ALL.map(Pane::section).join(", ");
                let pane = pane
                    .ok_or_else(|| source.wrong(setting.at, format!("there is no section {}; there are: {}", setting.name, sections())))?;
                in_order(table).iter().try_for_each(|setting| keymap.set(source, setting, &[pane]))
            }
        })?;
        Ok(keymap)
    }

    fn set(&mut self, source: &Source, setting: &Setting<'_>, panes: &[Pane]) -> Result<(), Error> {
        let wrong = |why: String| Err(source.wrong(setting.at, why));
        let names: Vec<&str> = match setting.value {
            DeValue::String(name) => vec![name],
            DeValue::Array(names) => names.iter().filter_map(|name| name.get_ref().as_str()).collect(),
            _ => return wrong(format!("{} wants a key or a list of keys, in quotes", setting.name)),
        };
        let mut keys = Vec::new();
        for name in names {
            match key(name) {
                Some(key) => keys.push(key),
                None => return wrong(format!("{name} is no key; keys are written as in the help: a, ^a, Enter, PgUp, Space, F5")),
            }
        }
        let mut known = false;
        for pane in panes {
            let Some(command) = COMMANDS.iter().find(|command| command.name == setting.name && command.panes.contains(pane)) else {
                continue;
            };
            known = true;
            // A section says more than a line for all panes.
            self.changed.retain(|change| !(change.pane == *pane && change.command == command.name));
            if let Some(other) = self.changed.iter().find(|other| other.pane == *pane && other.keys.iter().any(|key| keys.contains(key))) {
                let key = other.keys.iter().find(|key| keys.contains(key)).map(ToString::to_string).unwrap_or_default();
                return wrong(format!("{key} is the key of {} already, {}", other.command, pane.section()));
            }
            self.changed.push(Change { pane: *pane, command: command.name, keys: keys.clone() });
        }
        if known { Ok(()) } else { wrong(format!("there is no command {} here; : lists the commands", setting.name)) }
    }

    /// The keys of a command in a pane; one that the user has given to another command is no longer its own.
    pub fn keys(&self, command: &Command, pane: Pane) -> Vec<Key> {
        let here = || self.changed.iter().filter(|change| change.pane == pane);
        match here().find(|change| change.command == command.name) {
            Some(change) => change.keys.clone(),
            None => command.keys.iter().filter(|key| !here().any(|change| change.keys.contains(key))).copied().collect(),
        }
    }

    /// The command of a key in a pane.
    pub fn find(&self, pane: Pane, key: Key) -> Option<&'static Command> {
        COMMANDS.iter().find(|command| command.panes.contains(&pane) && self.keys(command, pane).contains(&key))
    }

    /// The key bar of a pane: the first key of each command and its word, the most important first.
    pub fn bar(&self, pane: Pane) -> Vec<(String, &'static str)> {
        let mut commands: Vec<&Command> = COMMANDS.iter().filter(|command| command.bar.1 > 0 && command.panes.contains(&pane)).collect();
        commands.sort_by_key(|command| std::cmp::Reverse(command.bar.1));
        commands.iter().filter_map(|command| Some((self.keys(command, pane).first()?.to_string(), command.bar.0))).collect()
    }

    /// The keys of a command, as help writes them.
    pub fn text(&self, command: &Command, pane: Pane) -> String {
        match self.keys(command, pane).as_slice() {
            [first, _, _, .., last] => format!("{first} ... {last}"),
            keys => keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" "),
        }
    }
}

/// A key as the help writes it.
fn key(name: &str) -> Option<Key> {
    use KeyCode::{BackTab, Backspace, Delete, Down, End, Enter, Esc, Home, Insert, Left, PageDown, PageUp, Right, Tab, Up};
    const NAMED: [KeyCode; 15] = [Up, Down, Left, Right, Home, End, PageUp, PageDown, Tab, BackTab, Enter, Esc, Backspace, Delete, Insert];
    let plain = |code| Key { code, control: false };
    let mut chars = name.chars();
    match (chars.next()?, chars.next(), chars.next()) {
        (c, None, _) if !c.is_control() && c != ' ' => return Some(plain(KeyCode::Char(c))),
        ('^', Some(c), None) if c.is_ascii_alphabetic() => return Some(Key { code: KeyCode::Char(c.to_ascii_lowercase()), control: true }),
        _ => (),
    }
    let functions = (1..=12).map(KeyCode::F);
    let mut all = NAMED.into_iter().chain(functions).chain([KeyCode::Char(' ')]).map(plain);
    all.find(|key| key.to_string().eq_ignore_ascii_case(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tui::manual::sections;

    fn parse(text: &str) -> Result<Keymap, String> {
        Keymap::parse(&Source { name: "keymap.toml".into(), text: text.into() }).map_err(|why| why.0)
    }

    /// The file that is shipped as a pattern, from the table.
    fn shipped() -> String {
        let mut text = String::from(
            "# The keys of the explorer, as they are without any settings. Copy what is to be different into keymap.toml in the folder of\n\
             # the settings. A line above the sections holds in all panes; a key that is given to a command is taken from all others.\n",
        );
        let list = |command: &Command| {
            let keys: Vec<String> = command.keys.iter().map(|key| format!("{:?}", key.to_string())).collect();
            format!("# {}\n{} = [{}]\n", command.help, command.name, keys.join(", "))
        };
        for (pane, commands) in sections() {
            if let Some(pane) = pane {
                text += &format!("\n[{}]\n", pane.section());
            }
            commands.iter().for_each(|command| text += &format!("\n{}", list(command)));
        }
        text
    }

    #[test]
    fn the_shipped_file_is_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/keymap.toml");
        if std::env::var_os("INSTA_UPDATE").is_some() {
            std::fs::write(&path, shipped()).unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text == shipped(), "assets/keymap.toml is not what commands.rs says; INSTA_UPDATE=always writes it anew");
        let (read, none) = (parse(&text).unwrap(), Keymap::default());
        for pane in Pane::ALL {
            for command in COMMANDS.iter().filter(|command| command.panes.contains(&pane)) {
                assert_eq!(read.keys(command, pane), none.keys(command, pane), "{}", command.name);
            }
        }
    }

    #[test]
    fn a_key_that_is_given_is_taken_from_others() {
        let keymap = parse("zoom = \"f\"\n[in-bytes]\nzoom = [\"F5\", \"^x\"]").unwrap();
        let name = |pane, key_name| keymap.find(pane, key(key_name).unwrap()).map(|command| command.name);
        assert_eq!(name(Pane::Table, "f"), Some("zoom"));
        assert_eq!(name(Pane::Table, "z"), None);
        assert_eq!(name(Pane::Bytes, "^x"), Some("zoom"));
        assert_eq!(name(Pane::Bytes, "f"), None);
    }

    #[test]
    fn mistakes_are_said() {
        let error = |text: &str| parse(text).err().unwrap();
        assert_eq!(error("\nzoom = \"Hyper-x\"").split(" is no key").next(), Some("keymap.toml:2: Hyper-x"));
        assert_eq!(error("zoom = \"x\"\nhelp = \"x\""), "keymap.toml:2: x is the key of zoom already, in-tree");
        assert!(error("[forest]\nzoom = \"x\"").contains("there is no section forest"));
        assert!(error("[in-bytes]\nfold = \"x\"").contains("no command fold here"));
        assert!(error("zoom = 3").contains("wants a key"));
    }
}
