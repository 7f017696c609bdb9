//! What the user has set: a folder with `config.toml`, `keymap.toml` and themes. What is wrong in a file is said with its line.

use super::keymap::Keymap;
use super::panes::noise::Rule;
use super::theme::Theme;
use crate::engine::Error;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// No settings are longer; what is was named by mistake.
const LONGEST: u64 = 1 << 20;

#[derive(Default)]
pub struct Config {
    pub keymap: Keymap,
    pub theme: Theme,
    pub noise: Vec<Rule>,
}

/// A file of settings.
pub struct Source {
    pub name: String,
    pub text: String,
}

/// A setting: its name and value, and where in the file it begins.
pub struct Setting<'a> {
    pub name: &'a str,
    pub value: &'a DeValue<'a>,
    pub at: usize,
}

impl Source {
    fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let failed = |why: &dyn std::fmt::Display| Error(format!("{name}: {why}"));
        let length = std::fs::metadata(path).map_err(|why| failed(&why))?.len();
        if length > LONGEST {
            return Err(failed(&"too long for a file of settings"));
        }
        let text = std::fs::read_to_string(path).map_err(|why| failed(&why))?;
        Ok(Self { name, text })
    }

    /// What is wrong at a place of the file.
    pub fn wrong(&self, at: usize, why: impl std::fmt::Display) -> Error {
        let line = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        Error(format!("{}:{line}: {why}", self.name))
    }

    /// Hands each setting to `take`, in the order of the file.
    pub fn settings(&self, mut take: impl FnMut(&Setting<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let table = DeTable::parse(&self.text).map_err(|why| self.wrong(why.span().map_or(0, |span| span.start), why.message().trim()))?;
        in_order(table.get_ref()).iter().try_for_each(&mut take)
    }
}

/// The settings of a table as they stand in the file.
pub fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<Setting<'a>> {
    let setting = |(name, value): (&'a toml::Spanned<std::borrow::Cow<'a, str>>, &'a toml::Spanned<DeValue<'a>>)| Setting {
        name: name.get_ref(),
        value: value.get_ref(),
        at: name.span().start,
    };
    let mut all: Vec<Setting<'a>> = table.iter().map(setting).collect();
    all.sort_by_key(|setting| setting.at);
    all
}

impl Config {
    /// Reads the settings from the place that `--config` names, a folder or its `config.toml`, or from the user's own.
    pub fn load(given: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = given.map(Path::to_owned).or_else(|| usual(|name| std::env::var_os(name).map(PathBuf::from))) else {
            return Ok(Self::default());
        };
        if !path.exists() {
            return Err(Error(format!("{}: there is no such file or folder of settings", path.display())));
        }
        let (folder, file) = match path.is_dir() {
            true => (path.clone(), Some(path.join("config.toml")).filter(|file| file.exists())),
            false => (path.parent().map(Path::to_owned).unwrap_or_default(), Some(path)),
        };
        let mut theme = Theme::default();
        let mut noise = Vec::new();
        if let Some(file) = file {
            let source = Source::read(&file)?;
            source.settings(|setting| match (setting.name, setting.value.as_str()) {
                ("theme", Some(name)) => {
                    theme = named(&folder, name).map_err(|why| why.unwrap_or_else(|| source.wrong(setting.at, no_theme(name))))?;
                    Ok(())
                }
                ("noise", _) => {
                    let rules = setting.value.as_table().ok_or_else(|| source.wrong(setting.at, "noise wants rules: name = \"filter\""))?;
                    noise = in_order(rules).iter().map(|rule| rule_of(rule, &source)).collect::<Result<_, _>>()?;
                    Ok(())
                }
                ("theme", None) => Err(source.wrong(setting.at, "theme wants the name of a theme")),
                (name, _) => Err(source.wrong(setting.at, format!("there is no setting {name}; there are: theme, noise"))),
            })?;
        }
        let keys = folder.join("keymap.toml");
        let keymap = if keys.exists() { Keymap::parse(&Source::read(&keys)?)? } else { Keymap::default() };
        Ok(Self { keymap, theme, noise })
    }
}

fn rule_of(setting: &Setting<'_>, source: &Source) -> Result<Rule, Error> {
    let filter = setting.value.as_str().ok_or_else(|| source.wrong(setting.at, format!("{} wants a filter as text", setting.name)))?;
    Rule::parse(setting.name, filter).map_err(|why| source.wrong(setting.at, format!("{}: {why}", setting.name)))
}

fn no_theme(name: &str) -> String {
    let known: Vec<&str> = Theme::SHIPPED.iter().map(|(name, _)| *name).collect();
    format!("there is no theme {name}: neither a file theme-{name}.toml beside this one nor one of {}", known.join(", "))
}

/// The theme of a name, the user's own before those that are shipped; no error where there is none.
fn named(folder: &Path, name: &str) -> Result<Theme, Option<Error>> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    let own = folder.join(format!("theme-{name}.toml"));
    if plain && own.exists() {
        return Source::read(&own).and_then(|source| Theme::parse(&source)).map_err(Some);
    }
    let (_, text) = Theme::SHIPPED.iter().find(|(shipped, _)| *shipped == name).ok_or(None)?;
    Theme::parse(&Source { name: format!("theme {name}"), text: (*text).to_owned() }).map_err(Some)
}

/// The first folder for our settings where users and systems keep theirs.
fn usual(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|path| !path.as_os_str().is_empty());
    let own = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config"))).or_else(|| set("APPDATA"));
    let system = set("XDG_CONFIG_DIRS").unwrap_or_else(|| PathBuf::from("/etc/xdg"));
    let folders = own.into_iter().chain(std::env::split_paths(&system));
    // A relative path would mean another folder wherever one stands.
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join("kioku")).find(|folder| folder.is_dir())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        folder
    }
    fn error(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let why = Config::load(Some(folder.path())).err().unwrap().0;
        why.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        assert_eq!(error(&[("config.toml", "\ntheme = \"x\"")]).split(':').take(2).collect::<Vec<_>>(), ["config.toml", "2"]);
        assert_eq!(error(&[("config.toml", "colour = 1")]), "config.toml:1: there is no setting colour; there are: theme, noise");
        assert!(
            error(&[("config.toml", "theme = \"own\""), ("theme-own.toml", "text = \"red\"\nname = \"pinkish\"")])
                .starts_with("theme-own.toml:2: pinkish is no colour")
        );
        assert!(error(&[("config.toml", "[noise]\nmine = \"colour=red\"")]).starts_with("config.toml:2: mine: "));
        assert!(error(&[("config.toml", "noise = 1")]).starts_with("config.toml:1: noise wants rules"));
        assert!(error(&[("keymap.toml", "[in-tree]\n\nfly = \"f\"")]).starts_with("keymap.toml:3: "));
        assert!(error(&[("keymap.toml", "quit = [\"q\"\nhelp")]).starts_with("keymap.toml:"));
    }

    #[test]
    fn settings_are_where_they_usually_are() {
        let home = folder(&[]);
        std::fs::create_dir_all(home.path().join(".config/kioku")).unwrap();
        let of = |name: &str| (name == "HOME").then(|| home.path().to_owned());
        assert_eq!(usual(of), Some(home.path().join(".config/kioku")));
        assert_eq!(usual(|name| (name == "XDG_CONFIG_HOME").then(|| PathBuf::from("relative"))), None);
        let own = folder(&[("config.toml", "theme = \"light\"")]);
        assert!(Config::load(Some(&own.path().join("config.toml"))).is_ok());
        assert!(Config::load(Some(&own.path().join("nowhere"))).is_err());
    }
}
