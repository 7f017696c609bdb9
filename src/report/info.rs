//! What the image is, as one object.

use super::{Format, csv, json, text};
use crate::facts::text::{printable, size};
use crate::facts::{Cell, Info, Origin, ToCell};
use std::io::{self, BufWriter, Write};

pub fn write_info(info: &Info, format: Format, to: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::new(to);
    match format {
        Format::Json | Format::Jsonl | Format::Timesketch | Format::Bodyfile => json::write_value(&Cell::Object(fields(info)), &mut out)?,
        Format::Csv => {
            let (names, values): (Vec<_>, Vec<_>) = fields(info).into_iter().unzip();
            csv::record(names.into_iter().map(|name| Cell::Text(name.into())), &mut out)?;
            csv::record(values, &mut out)?;
        }
        Format::Text => lines(info, &mut out)?,
    }
    out.flush()
}

fn fields(info: &Info) -> Vec<(&'static str, Cell<'_>)> {
    let checks = info.checks.iter().map(|check| {
        let (what, detail) = (Cell::Text((&check.what).into()), Cell::Text((&check.detail).into()));
        Cell::Object(vec![("what", what), ("passed", Cell::Bool(check.passed)), ("detail", detail)])
    });
    let verification = vec![("score", Cell::Number(info.score().into())), ("checks", Cell::List(checks.collect()))];
    let memory = info.memory.iter().map(|range| {
        let (start, length) = (Cell::Hex(range.start.0), Cell::Number(range.length.into()));
        Cell::Object(vec![("start", start), ("length", length)])
    });
    let mut fields = vec![
        ("os", Cell::Text(info.os.name().into())),
        ("architecture", Cell::Text(info.architecture.into())),
        ("kernel", info.kernel.cell()),
        ("hostname", info.hostname.cell()),
        ("boot_time", info.boot_time.cell()),
        ("capture_time", info.capture_time.cell()),
        ("format", info.format.cell()),
        ("size", info.size.cell()),
        ("page_table_root", info.page_table_root.cell()),
        ("paging_levels", info.paging_levels.cell()),
        ("kernel_base", info.kernel_base.cell()),
    ];
    if info.os == Origin::Linux {
        fields.push(("kaslr_shift", info.kaslr_shift.value().map_or(Cell::Absent, |shift| Cell::Hex(*shift))));
    }
    fields.extend([
        ("symbol_source", info.symbol_source.cell()),
        ("verification", Cell::Object(verification)),
        ("memory", Cell::List(memory.collect())),
        ("warnings", info.warnings.cell()),
    ]);
    fields
}

fn lines(info: &Info, out: &mut impl Write) -> io::Result<()> {
    for (name, cell) in fields(info) {
        let shown = match name {
            "size" => size(info.size),
            "verification" => {
                let passed = info.checks.iter().filter(|check| check.passed).count();
                format!("{passed} of {} checks passed, score {}", info.checks.len(), info.score())
            }
            "memory" => {
                let total = info.memory.iter().fold(0, |sum: u64, range| sum.saturating_add(range.length));
                format!("{} in {} ranges", size(total), info.memory.len())
            }
            "warnings" if info.warnings.is_empty() => "none".to_owned(),
            "warnings" => info.warnings.len().to_string(),
            _ => text::shown(&cell).into_owned(),
        };
        writeln!(out, "{name:<16} {shown}")?;
        match name {
            "verification" => {
                let row = |check: &crate::facts::Check| {
                    vec![if check.passed { "passed" } else { "FAILED" }.to_owned(), check.what.clone(), check.detail.clone()]
                };
                text::grid("  ", &info.checks.iter().map(row).collect::<Vec<_>>(), out)?;
            }
            "memory" => {
                for range in &info.memory {
                    let last = range.start.0.saturating_add(range.length.saturating_sub(1));
                    writeln!(out, "  {:#x} - {last:#x}  {}", range.start.0, size(range.length))?;
                }
            }
            "warnings" => {
                for warning in &info.warnings {
                    writeln!(out, "  {}", printable(warning))?;
                }
            }
            _ => (),
        }
    }
    Ok(())
}
