//! Where the file of a case lies: never beside the evidence unless the analyst says so.

use crate::facts::Identity;
use std::ffi::OsString;
use std::path::PathBuf;

/// What is to become of notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// They last as long as the program.
    Never,
    /// They are kept in this file.
    At(PathBuf),
    /// They are kept in a file of this folder, which the image gives its name; or why there is no such folder.
    In(Result<PathBuf, String>),
}

impl Plan {
    /// The user's own folder of data.
    pub fn usual() -> Self {
        Self::among(|name| std::env::var_os(name))
    }

    fn among(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // The specification of these folders: what is not absolute does not count.
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")));
        Self::In(match data {
            Some(data) => Ok(data.join("kioku/cases")),
            None => Err("neither XDG_DATA_HOME nor HOME names a folder; --case names a file".to_owned()),
        })
    }

    /// The file for an image; None where nothing is to be kept.
    pub fn file(&self, of: &Identity) -> Option<Result<PathBuf, String>> {
        match self {
            Self::Never => None,
            Self::At(path) => Some(Ok(path.clone())),
            Self::In(folder) => {
                let name = format!("{}.kioku", of.key.get(..32).unwrap_or(&of.key));
                Some(folder.clone().map(|folder| folder.join(name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_users() {
        let among = |set: &'static [(&str, &str)]| {
            Plan::among(move |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)))
        };
        let folder = |plan: Plan| match plan {
            Plan::In(Ok(folder)) => folder.display().to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(folder(among(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/a")])), "/data/kioku/cases");
        assert_eq!(folder(among(&[("XDG_DATA_HOME", "data"), ("HOME", "/home/a")])), "/home/a/.local/share/kioku/cases");
        assert!(folder(among(&[("HOME", "")])).contains("--case"));
        let identity = Identity { key: "a".repeat(64), ..Identity::default() };
        assert_eq!(Plan::In(Ok("/d".into())).file(&identity), Some(Ok(format!("/d/{}.kioku", "a".repeat(32)).into())));
        assert_eq!(Plan::Never.file(&identity), None);
    }
}
