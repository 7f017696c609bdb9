//! What a process's own memory says of it: the process environment block, which the process itself can write to.

use super::files::whole;
use super::{USER_END, Windows, text};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Known, ReadError, Scope, Sink, Variable};
use crate::paging::AddressSpace;
use crate::symbols::{Context, Object};

/// No environment of a real process comes near 1 MiB.
const MOST_ENVIRONMENT: u64 = 1 << 20;

/// The letter of a drive and a colon.
const DRIVE: usize = 2;

/// The path of a process's program as the kernel keeps it for audits.
pub fn audited(process: &Object<'_>) -> Result<String, ReadError> {
    match process.inner("SeAuditProcessCreationInfo")?.follow("ImageFileName")? {
        Some(name) => text::unicode(&name.inner("Name")?).and_then(whole),
        None => Ok(String::new()),
    }
}

/// The variables of a process, and what ended the reading before their end.
type Variables = (Vec<(String, String)>, Option<ReadError>);

/// What a process was started with; None where nothing is kept of it.
fn parameters<'a>(peb: &Object<'a>) -> Result<Option<Object<'a>>, ReadError> {
    match peb.follow("ProcessParameters")? {
        // It tells its own length.
        Some(parameters) if parameters.uint("Length")? == 0 => Err(ReadError::Implausible("process parameters")),
        found => Ok(found),
    }
}

impl Windows {
    /// Reads a process's PEB in the process's own space. None where it has no PEB, as System and its kin.
    pub(super) fn with_peb<T>(
        &self,
        process: &Object<'_>,
        read: impl FnOnce(Object<'_>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let address = process.pointer("Peb")?;
        if address.is_null() {
            return Ok(None);
        }
        let space = self.space_of(process)?;
        let context = Context { space: &space, profile: &self.profile };
        let peb = context.object("_PEB", address)?;
        // The kernel itself writes this one when it makes a process.
        if peb.pointer("ImageBaseAddress")?.is_null() {
            return Err(ReadError::Implausible("PEB"));
        }
        read(peb).map(Some)
    }

    /// The command line as the process keeps it.
    pub(super) fn command_line(&self, process: &Object<'_>) -> Known<String> {
        self.with_peb(process, |peb| match parameters(&peb)? {
            Some(parameters) => {
                let line = text::unicode(&parameters.inner("CommandLine")?)?;
                text::written(line).map(Some)
            }
            None => Ok(None),
        })
        .map(Option::flatten)
        .into()
    }

    /// The path of its program that a process has itself, with the letter of a drive.
    pub(super) fn asked_path(&self, process: &Object<'_>) -> Result<Option<String>, ReadError> {
        let path = |peb: Object<'_>| parameters(&peb)?.map(|parameters| text::unicode(&parameters.inner("ImagePathName")?)).transpose();
        self.with_peb(process, path).map(Option::flatten)
    }

    /// The path that the kernel keeps for a process's program, as `\Device\HarddiskVolume3\Windows\explorer.exe`.
    pub(super) fn image_path(&self, process: &Object<'_>) -> Known<String> {
        let file = || -> Result<Option<String>, ReadError> {
            match process.follow("ImageFilePointer")? {
                Some(file) => self.file_path(&file).map(Some),
                None => Ok(None),
            }
        };
        let asked = || self.asked_path(process);
        // The kernel makes the audited name when it is first asked for; the file object has been there from the start.
        match (audited(process).map(|path| Some(path).filter(|path| !path.is_empty())), file()) {
            // Where single letters differ, one of them was overwritten; the process has the path too, with the letter of a drive.
            (Ok(Some(audited)), Ok(Some(file))) if !audited.eq_ignore_ascii_case(&file) && audited.len() == file.len() => {
                let asked = asked().ok().flatten().and_then(|path| path.get(DRIVE..).map(str::to_ascii_lowercase));
                let fits = |path: &String| asked.as_ref().is_some_and(|asked| path.to_ascii_lowercase().ends_with(asked));
                [audited, file].into_iter().find(fits).map_or(Known::Unreadable(ReadError::Implausible("path")), Known::Value)
            }
            (Ok(Some(path)), _) | (_, Ok(Some(path))) => Known::Value(path),
            (Err(why), _) => Known::Unreadable(why),
            _ => Known::Absent,
        }
    }

    /// The 32-bit PEB of a 32-bit process.
    pub(super) fn peb32(&self, process: &Object<'_>) -> Result<Option<VirtAddr>, ReadError> {
        let field = if process.has("WoW64Process") { "WoW64Process" } else { "Wow64Process" };
        let address = process.pointer(field)?;
        // Before Windows 10 the field leads to the PEB itself.
        let peb = if address.is_kernel() { process.context().object("_EWOW64PROCESS", address)?.pointer("Peb")? } else { address };
        Ok(Some(peb).filter(|peb| !peb.is_null()))
    }

    /// The environment variables of a process. None where it has none.
    pub(super) fn variables(&self, process: &Object<'_>) -> Result<Option<Variables>, ReadError> {
        self.with_peb(process, |peb| {
            let Some(parameters) = parameters(&peb)? else { return Ok(None) };
            let start = parameters.pointer("Environment")?;
            if start >= USER_END {
                return Err(ReadError::Implausible("environment"));
            }
            let size = parameters.uint("EnvironmentSize").unwrap_or(0);
            let size = if size == 0 { MOST_ENVIRONMENT } else { size.min(MOST_ENVIRONMENT) };
            Ok((!start.is_null()).then(|| block(peb.context().space, start, size)))
        })
        .map(Option::flatten)
    }
}

/// An environment block: `name=value` strings in UTF-16, an empty one after the last.
fn block(space: &AddressSpace, start: VirtAddr, size: u64) -> Variables {
    let mut units: Vec<u16> = Vec::new();
    let mut trouble = None;
    let (mut at, end) = (start, start.offset(size));
    while at < end && !units.ends_with(&[0, 0]) {
        let mut piece = vec![0; (PAGE_SIZE - at.in_page()).min(end.0 - at.0) as usize];
        if let Err(why) = space.read(at, &mut piece) {
            trouble = Some(why);
            break;
        }
        at = at.offset(piece.len() as u64);
        let fresh = units.len().saturating_sub(1);
        units.extend(piece.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)));
        if let Some(last) = units[fresh..].windows(2).position(|pair| pair == [0, 0]) {
            units.truncate(fresh + last + 2);
        }
    }
    (variables(&units), trouble)
}

fn variables(units: &[u16]) -> Vec<(String, String)> {
    let strings = units.split(|unit| *unit == 0).take_while(|string| !string.is_empty());
    let strings = strings.map(String::from_utf16_lossy);
    // The current folders of drives are kept in variables whose names begin with `=`.
    let pairs = strings.filter_map(|string| {
        let (at, _) = string.char_indices().skip(1).find(|(_, letter)| *letter == '=')?;
        Some((string[..at].to_owned(), string[at + 1..].to_owned()))
    });
    pairs.collect()
}

pub fn environment(windows: &Windows, scope: Scope, out: &mut Sink<Variable>) {
    windows.each_task("environment", scope, out, |task, out| {
        let Some((variables, trouble)) = windows.variables(&task.object)? else { return Ok(()) };
        out.extend(variables.into_iter().map(|(name, value)| Variable {
            pid: task.pid,
            process: task.name.clone(),
            name,
            value,
            ..Variable::default()
        }));
        trouble.map_or(Ok(()), Err)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_blocks() {
        let units: Vec<u16> = "=C:=C:\\Temp\0Path=a=b\0odd\0Empty=\0\0after=end\0".encode_utf16().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(variables(&units), [pair("=C:", "C:\\Temp"), pair("Path", "a=b"), pair("Empty", "")]);
        assert_eq!(variables(&[]), []);
    }
}
