//! The keys as a text: for `--help`, and as the page `assets/keys.md`. Both are the table of commands.

use super::commands::{COMMANDS, Command, Pane};
use super::keymap::Keymap;
use std::fmt::Write as _;

/// The commands that more panes than one have, then those of each pane alone.
pub fn sections() -> impl Iterator<Item = (Option<Pane>, Vec<&'static Command>)> {
    let of = |pane: Option<Pane>| {
        let meant = |command: &&Command| pane.map_or(command.panes.len() > 1, |pane| command.panes == [pane]);
        (pane, COMMANDS.iter().filter(meant).collect::<Vec<_>>())
    };
    [None].into_iter().chain(Pane::ALL.map(Some)).map(of).filter(|(_, commands)| !commands.is_empty())
}

fn title(pane: Option<Pane>) -> &'static str {
    pane.map_or("Everywhere", Pane::name)
}

/// The keys of a command as they are without settings, and its name with what it takes.
fn keys_and_name(command: &Command) -> (String, String) {
    let keys = command.panes.first().map(|pane| Keymap::default().text(command, *pane)).unwrap_or_default();
    (keys, command.takes.map_or(command.name.to_owned(), |takes| format!("{} {}", command.name, takes.what)))
}

/// All keys, as `--help` prints them.
pub fn keys() -> String {
    let mut text = String::from("Keys of the explorer (: runs the commands by their names; keymap.toml gives them other keys):\n");
    for (pane, commands) in sections() {
        _ = write!(text, "\n  {}:\n", title(pane));
        for command in commands {
            let (keys, name) = keys_and_name(command);
            _ = writeln!(text, "  {keys:<11} {name}: {}", command.help);
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn page() -> String {
        let mut text = String::from("# Keys of the explorer\n\nAs they are without settings; `keymap.toml` gives commands other keys.\n");
        for (pane, commands) in sections() {
            _ = write!(text, "\n## {}\n\n| key | command | |\n| --- | --- | --- |\n", title(pane));
            for command in commands {
                let (keys, name) = keys_and_name(command);
                let keys: Vec<String> = keys.split_whitespace().map(|key| format!("`{key}`")).collect();
                _ = writeln!(text, "| {} | `:{name}` | {} |", keys.join(" ").replace("`...`", "…"), command.help.replace('|', "\\|"));
            }
        }
        text
    }

    #[test]
    fn the_page_of_keys_is_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/keys.md");
        if std::env::var_os("INSTA_UPDATE").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == page(),
            "assets/keys.md is not what commands.rs says; INSTA_UPDATE=always writes it anew"
        );
    }
}
