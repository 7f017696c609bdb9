//! `kioku triage`: every table of many images as files.

use super::console::{Stop, say};
use super::{Run, finished};
use crate::facts::Scope;
use crate::report::{self, Format};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

impl Run {
    /// One folder for each image. One that fails does not stop the others.
    pub(super) fn triage(&self, images: &[PathBuf]) -> Result<(), Stop> {
        let Some(folder) = &self.common.output else {
            return Err(Stop::Usage("triage needs --output FOLDER".to_owned()));
        };
        std::fs::create_dir_all(folder).map_err(|why| Stop::Failed(format!("{}: {why}", folder.display())))?;
        let mut taken = HashSet::new();
        let mut failed = 0;
        for image in images {
            let place = folder.join(folder_name(image, &mut taken));
            match self.triage_one(image, &place) {
                Ok(()) => self.print(|out| writeln!(out, "{}", crate::facts::text::printable(&place.display().to_string())))?,
                Err(Stop::Failed(why)) => {
                    failed += 1;
                    say(&format!("kioku: {why}"));
                }
                Err(other) => return Err(other),
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(Stop::Failed(format!("{failed} of {} images failed or could not be finished", images.len()))),
        }
    }

    fn triage_one(&self, image: &Path, place: &Path) -> Result<(), Stop> {
        let session = self.open(image)?;
        // The tables' own names are the files' names; none comes from an image.
        Self::new_folder(place)?;
        let file = |name: &str, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>| {
            let path = place.join(name);
            let written = File::create_new(&path).and_then(|mut file| write(&mut file));
            written.map_err(|why| Stop::Failed(format!("{}: {why}", path.display())))
        };
        let watch = &self.interrupts.watch;
        let os = session.info().os;
        file("info.json", &mut |out| report::write_info(session.info(), Format::Json, out))?;
        let mut outcome = Ok(());
        for entry in session.tables() {
            let name = entry.table.name;
            let told = match self.ask(&session, entry, Scope::Machine) {
                Ok(rows) => {
                    file(&format!("{name}.json"), &mut |out| report::write_rows(&*rows, Some(os), Format::Json, out))?;
                    finished(&*rows, session.name())
                }
                Err(why) => Err(why),
            };
            match told {
                Err(Stop::Failed(why)) => {
                    if outcome.is_ok() {
                        outcome = Err(Stop::Failed(why));
                    } else {
                        self.note(&why);
                    }
                }
                Err(other) => return Err(other),
                Ok(()) => (),
            }
        }
        file("summary.txt", &mut |out| report::write_summary(&session, watch, out))?;
        if watch.cancelled() { Err(Stop::Interrupted) } else { outcome }
    }
}

/// A folder name from the image's own file name, made of letters that mean nothing to any file system, and used once.
fn folder_name(image: &Path, taken: &mut HashSet<String>) -> String {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let name: String = name.chars().take(100).map(safe).collect();
    let name = format!("{}{}", if name.starts_with(['.', '-']) || name.is_empty() { "image" } else { "" }, name);
    let mut numbered = name.clone();
    let mut number = 2;
    // File systems that do not tell upper from lower case must not merge two images.
    while !taken.insert(numbered.to_ascii_lowercase()) {
        numbered = format!("{name}-{number}");
        number += 1;
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_stay_in_the_folder_and_apart() {
        let mut taken = HashSet::new();
        let mut name = |path: &str| folder_name(Path::new(path), &mut taken);
        assert_eq!(name("/cases/web 1/mem.lime"), "mem.lime");
        assert_eq!(name("/cases/web 2/MEM.lime"), "MEM.lime-2");
        assert_eq!(name("/cases/.."), "image");
        assert_eq!(name("a/\u{202e}\x1b[2J:記憶.raw"), "___2J___.raw");
        assert_eq!(name("a/..raw"), "image..raw");
    }
}
