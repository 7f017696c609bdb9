//! Mutants: names that programs, malware among them, use to run only once.

use super::Windows;
use super::files::whole;
use super::objects::{MUTANT_OBJECT, THREAD_OBJECT, expect};
use crate::address::VirtAddr;
use crate::facts::windows::Mutant;
use crate::facts::{Known, ReadError, Scope, Sink};

pub fn mutants(windows: &Windows, scope: Scope, out: &mut Sink<Mutant>) {
    for (address, sources) in windows.objects(b"Muta", "Mutant", scope, out) {
        let used = sources.contains(&"handle");
        match windows.mutant(address, sources) {
            Ok(Some(row)) => out.push(row),
            Ok(None) if used => out.note(format!("mutant {address} is in use, and damaged")),
            Ok(None) => {}
            Err(why) => out.note(format!("mutant {address}: {why}")),
        }
    }
}

impl Windows {
    /// None where the bytes are no mutant.
    fn mutant(&self, address: VirtAddr, sources: Vec<&'static str>) -> Result<Option<Mutant>, ReadError> {
        let context = self.context();
        let mutant = context.object("_KMUTANT", address)?;
        let header = mutant.inner("Header")?;
        // The size is kept in words of 4 bytes.
        if header.uint("Type")? != MUTANT_OBJECT || header.uint("Size")? != u64::from(mutant.layout().size / 4) {
            return Ok(None);
        }
        let owner = mutant.pointer("OwnerThread")?;
        let owner = |id: &'static str| -> Known<u32> {
            // The lowest bit tells whether the owner's priority was raised.
            let owner = VirtAddr(owner.0 & !1);
            if owner.is_null() {
                return Known::Absent;
            }
            let owner = || -> Result<u32, ReadError> {
                let thread = context.container("_ETHREAD", "Tcb", owner)?;
                expect(&thread.inner("Tcb")?, THREAD_OBJECT, "thread")?;
                thread.inner("Cid")?.u32(id)
            };
            owner().into()
        };
        Ok(Some(Mutant {
            name: self.object_path(&self.header(address)?).and_then(|name| name.map(whole).transpose()).into(),
            address,
            owner_pid: owner("UniqueProcess"),
            owner_tid: owner("UniqueThread"),
            abandoned: mutant.uint("Abandoned").map(|value| value != 0).into(),
            sources,
            ..Mutant::default()
        }))
    }
}
