//! Executable regions with what is needed to judge them.

use super::Windows;
use super::processes::Task;
use super::vads::Vad;
use crate::facts::{Behind, Exhibit, Known, ReadError, Record, Scope, Sink};
use crate::paging::AddressSpace;

/// Bytes kept of a region's start.
const HEAD: usize = 64;
/// Pages of one region that are looked into.
const MOST_PAGES: u64 = 4096;

/// Shows every executable region of the processes that a query is about.
pub fn exhibits<T: Record>(windows: &Windows, scope: Scope, out: &mut Sink<T>, mut show: impl FnMut(Exhibit, &mut Sink<T>)) {
    let mut seen = 0;
    windows.each_task("executable regions", scope, out, |task, out| {
        seen += 1;
        of_task(windows, task, out, &mut show)
    });
    out.note(format!("processes looked at: {seen}; regions that show no sign are not listed"));
}

fn of_task<T: Record>(
    windows: &Windows,
    task: &Task<'_>,
    out: &mut Sink<T>,
    show: &mut impl FnMut(Exhibit, &mut Sink<T>),
) -> Result<(), ReadError> {
    let space = windows.space_of(&task.object)?;
    let (vads, trouble) = windows.vads(&task.object, out.watch());
    if let Some(why) = trouble.first() {
        out.note(format!("{} regions of {} {} could not be judged: {why}", trouble.len(), task.name, task.pid));
    }
    let mut unknown = (0, None);
    for vad in vads.iter().filter(|vad| vad.protection.execute) {
        if out.cancelled() {
            return Ok(());
        }
        let exhibit = exhibit(task, &space, vad);
        if let Known::Unreadable(why) = exhibit.file {
            unknown.0 += 1;
            unknown.1.get_or_insert(why);
        }
        show(exhibit, out);
    }
    if let (count, Some(why)) = unknown {
        out.note(format!("of {count} regions of {} {} it cannot be told whether a file is behind them: {why}", task.name, task.pid));
    }
    Ok(())
}

fn exhibit(task: &Task<'_>, space: &AddressSpace, vad: &Vad<'_>) -> Exhibit {
    let mut head = vec![0; HEAD];
    let head = match space.read(vad.start, &mut head) {
        Err(ReadError::NotMapped(_)) => Known::Absent,
        read => read.map(|()| head).into(),
    };
    let file = vad.file_name();
    let mut exhibit = Exhibit {
        pid: task.pid,
        process: task.name.clone(),
        process_address: task.object.address,
        start: vad.start,
        end: vad.end,
        protection: vad.protection,
        behind: if matches!(file, Ok(None)) { Behind::Nothing } else { Behind::File { program: false, deleted: false, anonymous: false } },
        file: file.into(),
        pages: 0,
        unread: 0,
        content: Vec::new(),
        copies: Vec::new(),
        changes: Vec::new(),
        head,
    };
    if exhibit.behind == Behind::Nothing {
        (exhibit.content, exhibit.pages, exhibit.unread) = space.content(vad.start, vad.end.offset(1), MOST_PAGES);
    }
    exhibit
}
