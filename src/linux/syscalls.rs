//! System call tables.

use super::code::{self, Code};
use super::{Linux, modules};
use crate::address::VirtAddr;
use crate::facts::linux::SystemCall;
use crate::facts::{ReadError, Scope, Sink};
use crate::symbols::Context;

/// x86-64 has less than 600 system calls, those of x32 among them.
const MOST_CALLS: u64 = 1024;
const TABLES: [&str; 3] = [NATIVE, "ia32_sys_call_table", "x32_sys_call_table"];
const NATIVE: &str = "sys_call_table";

pub fn syscall_table(linux: &Linux, scope: Scope, out: &mut Sink<SystemCall>) {
    // The tables belong to the machine, whichever process is asked about.
    let _ = scope;
    let context = linux.context();
    let code = Code::find(linux, out);
    if let Err(why) = &code {
        out.note(format!("where the kernel's code lies is not known, so that none can be called hooked: {why}"));
    }
    let mut tables = Vec::new();
    for table in TABLES {
        match context.symbol(table) {
            Ok(at) => tables.push((table, at)),
            // Kernels without 32-bit programs, and others by their age, have no other table.
            Err(why) if table == NATIVE => out.note(format!("{table}: {why}")),
            Err(_) => {}
        }
    }
    if context.symbol("x64_sys_call").is_ok() {
        out.note(
            "this kernel calls the functions from a switch in its code (x64_sys_call), and does not go by sys_call_table: a change of the \
             table alone has no effect on programs",
        );
    }
    for (table, start) in tables {
        for (index, address) in (0..length(context, table, start)).zip((start.0..).step_by(8).map(VirtAddr)) {
            if out.cancelled() {
                return;
            }
            let function = context.space.pointer(address);
            let mut row =
                SystemCall { table, index: index as u32, function: function.into(), address, state: "unknown", ..SystemCall::default() };
            if table == NATIVE {
                row.name = expected(context, index).unwrap_or_default().into();
            }
            if let (Ok(function), Ok(code)) = (function, &code) {
                row.symbol = linux.name_at(function).into();
                row.module = code.owner(function);
                row.state = if row.module.value().is_some_and(|module| module == code::KERNEL) { "ok" } else { "hooked" };
            }
            out.push(row);
        }
    }
}

/// The entries up to the next symbol. Constants without names may follow the table before that, so it ends with the last entry that
/// can be one: it leads to a function named as a system call, has a name itself, or leads to where modules lie.
fn length(context: Context<'_>, table: &str, start: VirtAddr) -> u64 {
    let symbols = context.profile.symbols();
    let end = symbols.after(start).map_or(u64::MAX, |end| end.0);
    let most = (end.saturating_sub(start.0) / 8).min(MOST_CALLS);
    let entry = |index: u64| context.space.pointer(start.offset(index * 8));
    let kernel = symbols.get("_text").unwrap_or_default()..symbols.get("_end").unwrap_or_default();
    let of_table = |index: &u64| {
        entry(*index).is_ok_and(|function| {
            let named = symbols.nearest(function).is_some_and(|(name, distance)| distance == 0 && name.contains("sys_"));
            let of_module = modules::MODULE_SPACE.contains(&function.0) && !kernel.contains(&function);
            named || of_module || (table == NATIVE && matches!(expected(context, *index), Ok(Some(_))))
        })
    };
    // Of a table that is lost, the rows say that it is.
    let lost = (0..most).all(|index| entry(index).is_err());
    if lost { most } else { (0..most).rev().find(of_table).map_or(0, |last| last + 1) }
}

/// The name of a native system call, by what the kernel's tracing found out when it started (CONFIG_FTRACE_SYSCALLS).
fn expected(context: Context<'_>, index: u64) -> Result<Option<String>, ReadError> {
    let Ok(known) = context.symbol("syscalls_metadata") else { return Ok(None) };
    // There are as many as system calls that the kernel was built with, no less than the table has.
    let entry = context.space.pointer(context.space.pointer(known)?.offset(index * 8))?;
    if !entry.is_kernel() {
        return Ok(None);
    }
    let entry = context.object("syscall_metadata", entry)?;
    if entry.uint("syscall_nr")? != index {
        return Ok(None);
    }
    let name = context.space.text(entry.pointer("name")?, 64)?;
    let named = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    Ok(name.strip_prefix("sys_").filter(named).map(str::to_owned))
}
