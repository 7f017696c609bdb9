//! System service tables: where system calls lead.

use super::Windows;
use crate::address::VirtAddr;
use crate::facts::drivers::SystemService;
use crate::facts::{Hex, Known, ReadError, Scope, Sink};
use crate::paging::AddressSpace;

/// A system call's number has so many bits for the place in its table (the table's number stands above them).
const INDEX_BITS: u32 = 12;
/// A descriptor (KSYSTEM_SERVICE_TABLE, which no PDB describes): the entries, counters, their number, and the sizes of arguments.
const DESCRIPTOR_SIZE: u64 = 0x20;
const DESCRIPTOR_LIMIT: u64 = 0x10;
/// An entry is a distance from the table, above four bits for the number of arguments on the stack.
const ENTRY: u64 = 4;

pub fn ssdt(windows: &Windows, _: Scope, out: &mut Sink<SystemService>) {
    let own = windows.context().symbol("KiServiceTable");
    match windows.descriptor("KeServiceDescriptorTable", 0) {
        Ok((table, limit)) => {
            if own.is_ok_and(|own| own != table) {
                out.note(format!("the table of system services is not KiServiceTable, but at {table}"));
            }
            windows.table("nt", &windows.space, table, limit, 0, out);
        }
        Err(why) => {
            out.note(format!("KeServiceDescriptorTable leads to no table of system services: {why}"));
            let limit = windows.context().symbol("KiServiceLimit").and_then(|limit| windows.space.uint(limit, 4));
            match own.and_then(|own| Ok((own, bounded(limit?)?))) {
                Ok((own, limit)) => windows.table("nt", &windows.space, own, limit, 0, out),
                Err(why) => out.cut(format!("nor does KiServiceTable: {why}")),
            }
        }
    }
    match windows.descriptor("KeServiceDescriptorTableShadow", 1) {
        Ok((table, limit)) => match windows.space_that_maps(table, out) {
            Some(space) => windows.table("win32k", &space, table, limit, 1, out),
            None => out.note(format!("the services of win32k at {table} are mapped in no process")),
        },
        Err(why) => out.note(format!("the services of win32k were not found: {why}")),
    }
}

fn bounded(limit: u64) -> Result<u32, ReadError> {
    let sound = (1..=1 << INDEX_BITS).contains(&limit);
    sound.then_some(limit as u32).ok_or(ReadError::Implausible("number of system services"))
}

/// Where an entry leads, and its arguments on the stack.
fn decode(table: VirtAddr, entry: u32) -> (VirtAddr, u32) {
    (table.offset(i64::from(entry.cast_signed() >> 4).cast_unsigned()), entry & 0xf)
}

impl Windows {
    /// Address and length of a table.
    fn descriptor(&self, symbol: &'static str, index: u64) -> Result<(VirtAddr, u32), ReadError> {
        let at = self.context().symbol(symbol)?.offset(index * DESCRIPTOR_SIZE);
        let table = self.space.pointer(at)?;
        if !table.is_kernel() {
            return Err(ReadError::Implausible("table of system services"));
        }
        Ok((table, bounded(self.space.uint(at.offset(DESCRIPTOR_LIMIT), 4)?)?))
    }

    /// The kernel's space, or that of a process in a session: win32k is mapped only there.
    fn space_that_maps(&self, at: VirtAddr, out: &Sink<SystemService>) -> Option<AddressSpace> {
        let tasks = self.tasks(Scope::Machine, out.watch());
        let spaces = tasks.iter().filter_map(|task| self.space_of(&task.object).ok());
        std::iter::once(self.space.with_root(self.space.root())).chain(spaces).find(|space| space.uint(at, 4).is_ok())
    }

    fn table(&self, name: &'static str, space: &AddressSpace, table: VirtAddr, limit: u32, number: u32, out: &mut Sink<SystemService>) {
        let own = self.place(table, out.watch()).module;
        let mut unread = Vec::new();
        for index in 0..limit {
            let address = table.offset(u64::from(index) * ENTRY);
            let entry = match space.uint(address, ENTRY as u32) {
                Ok(entry) => entry as u32,
                Err(why) => {
                    unread.push(why);
                    continue;
                }
            };
            let (function, stack_arguments) = decode(table, entry);
            let place = self.place(function, out.watch());
            let mut problems: Vec<String> = place.problem.into_iter().collect();
            if let (Known::Value(own), Known::Value(module)) = (&own, &place.module)
                && own != module
            {
                problems.push(format!("leads out of {own} into {module}"));
            }
            out.push(SystemService {
                table: name,
                index,
                number: Hex(u64::from((number << INDEX_BITS) | index)),
                function,
                module: place.module,
                symbol: place.symbol,
                stack_arguments,
                address,
                problems,
            });
        }
        if let Some(why) = unread.first() {
            out.note(format!("{} of {limit} services of {name} cannot be read: {why}", unread.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_distances_either_way() {
        let table = VirtAddr(0xffff_f800_0000_1000);
        assert_eq!(decode(table, 0x0001_2345), (VirtAddr(0xffff_f800_0000_2234), 5));
        assert_eq!(decode(table, 0xffff_f000), (VirtAddr(0xffff_f800_0000_0f00), 0));
        assert_eq!(bounded(0x1000), Ok(0x1000));
        assert!(bounded(0x1001).is_err() && bounded(0).is_err());
    }
}
