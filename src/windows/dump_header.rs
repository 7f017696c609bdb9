//! What the header of a crash dump says of the kernel, held against the profile: Windows wrote it, so it is an independent witness.

use super::text;
use crate::facts::Check;
use crate::image::Image;
use crate::symbols::Context;

/// Debuggers write the header of a system that goes on running; an hour is more than a dump takes.
const LATE: u64 = 3600 * 10_000_000;

/// `now` is the time of the memory itself.
pub fn checks(image: &Image, context: Context<'_>, now: u64) -> Vec<Check> {
    let Some(header) = image.hints().dump else { return Vec::new() };
    let told = [
        ("PsActiveProcessHead", header.active_processes),
        ("PsLoadedModuleList", header.loaded_modules),
        ("KdDebuggerDataBlock", header.debugger_data),
    ];
    let check = |(symbol, told): (&'static str, u64)| {
        let found = context.symbol(symbol).ok()?;
        let detail = if found.0 == told { found.to_string() } else { format!("{told:#x} in the header, {found} in the profile") };
        let what = format!("{symbol} is where the dump's header says");
        Some(Check { what, passed: found.0 == told, detail })
    };
    let mut checks: Vec<Check> = told.into_iter().filter(|(_, told)| *told != 0).filter_map(check).collect();
    if let Some(time) = text::filetime(header.system_time) {
        let what = "the dump's header is of the same hour as the memory".to_owned();
        checks.push(Check { what, passed: now.abs_diff(header.system_time) < LATE, detail: time.to_string() });
    }
    checks
}
