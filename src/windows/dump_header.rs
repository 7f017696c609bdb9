//! What the header of a crash dump says of the kernel, held against the profile: Windows wrote it, so it is an independent witness.

use crate::facts::Check;
use crate::image::Image;
use crate::symbols::Context;

pub fn checks(image: &Image, context: Context<'_>) -> Vec<Check> {
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
    told.into_iter().filter(|(_, told)| *told != 0).filter_map(check).collect()
}
