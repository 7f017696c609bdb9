//! Whose code an address lies in: the kernel's, a module's, or nobody's.

use super::{Linux, modules};
use crate::address::VirtAddr;
use crate::facts::{Known, Module, ReadError, Rows, Scope, Sink, State};
use crate::symbols::Context;
use std::ops::Range;
use std::sync::Arc;

pub const KERNEL: &str = "kernel";

pub(super) struct Code {
    pub kernel: Range<VirtAddr>,
    modules: Arc<Modules>,
}

/// The code of all modules, the hidden ones as well.
pub(super) struct Modules {
    areas: Vec<(String, Range<VirtAddr>)>,
    /// Why code may belong to a module that is not among them.
    gap: Option<ReadError>,
}

impl Code {
    pub fn find<T>(linux: &Linux, out: &Sink<T>) -> Result<Self, ReadError> {
        let kernel = kernel(linux.context())?;
        Ok(Self { kernel, modules: linux.module_code.or_search(out.watch(), || Modules::find(linux, out)) })
    }

    /// `kernel`, or the name of a module; absent where no code should be.
    pub fn owner(&self, at: VirtAddr) -> Known<String> {
        if self.kernel.contains(&at) {
            return Known::Value(KERNEL.to_owned());
        }
        match (self.modules.areas.iter().find(|(_, code)| code.contains(&at)), self.modules.gap) {
            (Some((name, _)), _) => Known::Value(name.clone()),
            (None, Some(why)) => Known::Unreadable(why),
            (None, None) => Known::Absent,
        }
    }
}

impl Modules {
    fn find<T>(linux: &Linux, out: &Sink<T>) -> Self {
        let mut sink = out.beside::<Module>();
        modules::modules(linux, Scope::Machine, &mut sink);
        let rows = sink.finish();
        let mut gap = (rows.state() != State::Complete).then_some(ReadError::Implausible("module list"));
        let mut found = Vec::new();
        for row in rows.iter() {
            match linux.context().object("module", row.address) {
                Ok(module) => match modules::code(&module) {
                    areas if areas.is_empty() => gap = Some(ReadError::Implausible("code of a module")),
                    areas => found.extend(areas.into_iter().map(|area| (row.name.text().to_owned(), area))),
                },
                Err(why) => gap = Some(why),
            }
        }
        Self { areas: found, gap }
    }
}

fn kernel(context: Context<'_>) -> Result<Range<VirtAddr>, ReadError> {
    let (start, end) = (context.symbol("_text").or_else(|_| context.symbol("_stext"))?, context.symbol("_etext")?);
    if start < end { Ok(start..end) } else { Err(ReadError::Implausible("_etext")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_is_not_called_nobodys() {
        let area = |start: u64| VirtAddr(start)..VirtAddr(start + 0x1000);
        let code = |gap| Code { kernel: area(0x1000), modules: Arc::new(Modules { areas: vec![("nfs".to_owned(), area(0x8000))], gap }) };
        let owners = [0x1fff, 0x8000, 0x9000].map(|at| code(None).owner(VirtAddr(at)));
        assert_eq!(owners, [Known::Value("kernel".to_owned()), Known::Value("nfs".to_owned()), Known::Absent]);
        let broken = ReadError::Implausible("list");
        assert_eq!(code(Some(broken)).owner(VirtAddr(0x9000)), Known::Unreadable(broken));
    }
}
