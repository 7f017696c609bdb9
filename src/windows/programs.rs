//! What each process runs, told by all who know: the kernel, the image that is mapped, the process itself, and the file in the cache.

use super::files::{own_name, whole};
use super::processes::Task;
use super::vads::{Vad, missing};
use super::{USER_END, Windows, pe};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::windows::Program;
use crate::facts::{Known, ReadError, Scope, Sink, Watch};
use crate::paging::AddressSpace;
use crate::symbols::Object;

pub fn programs(windows: &Windows, scope: Scope, out: &mut Sink<Program>) {
    windows.each_task("programs", scope, out, |task, out| {
        let row = windows.program(task, out.watch())?;
        out.push(row);
        Ok(())
    });
}

/// Where an image can be mapped: at multiples of 64 KiB of a program's half.
fn granular(base: VirtAddr) -> Result<VirtAddr, ReadError> {
    if base.0.is_multiple_of(0x1_0000) && base < USER_END { Ok(base) } else { Err(ReadError::Implausible("base of a program")) }
}

impl Windows {
    fn program(&self, task: &Task<'_>, watch: &Watch) -> Result<Program, ReadError> {
        let process = &task.object;
        let base = process.pointer("SectionBaseAddress").and_then(granular);
        let none = base == Ok(VirtAddr(0));
        let lost = |(vads, trouble): (Vec<Vad<'_>>, Vec<ReadError>)| missing(process, vads.len(), &trouble);
        let vad = base.and_then(|base| if none { Ok(None) } else { self.vad_at(process, base) });
        let image = vad.as_ref().ok().and_then(Option::as_ref).filter(|vad| vad.image && Ok(vad.start) == base);
        let file = image.map(Vad::file).transpose().map(Option::flatten);
        let flag = |field: &'static str| -> Known<bool> {
            let read = |file: &Object<'_>| match own_name(file).and_then(|_| file.uint(field))? {
                value @ (0 | 1) => Ok(value != 0),
                _ => Err(ReadError::Implausible("_FILE_OBJECT")),
            };
            file.as_ref().map_err(|why| *why).and_then(|file| file.as_ref().map(read).transpose()).into()
        };
        let told = self.with_peb(process, |peb| peb.pointer("ImageBaseAddress"));
        let called = self.asked_path(process).and_then(|path| path.map(whole).transpose());
        let replaced = match (&file, image) {
            (Ok(Some(file)), Some(image)) => self.replaced(image, file, watch).into(),
            _ => Known::Absent,
        };
        Ok(Program {
            pid: task.pid,
            process: task.name.clone(),
            base: base.map(|base| Some(base).filter(|_| !none)).into(),
            told_base: told.and_then(|told| told.map(granular).transpose()).into(),
            mapped: match (&vad, image) {
                (Err(why), _) => Known::Unreadable(*why),
                _ if none => Known::Absent,
                (_, Some(_)) => Known::Value(true),
                _ => lost(self.vads(process, watch)).map_or(Known::Value(false), Known::Unreadable),
            },
            path: self.image_path(process),
            mapped_file: file
                .as_ref()
                .map_err(|why| *why)
                .and_then(|file| file.as_ref().map(|file| self.file_path(file)).transpose())
                .into(),
            told_path: called.into(),
            deleted: flag("DeletePending"),
            written: flag("WriteAccess"),
            replaced,
            kernel_mapped: self.space_of(process).and_then(|space| self.leads_to_kernel(&space)).into(),
            address: task.object.address,
            ..Program::default()
        })
    }

    /// Whether the page tables of a process lead to the kernel, as those of System do: no thread could run on others.
    fn leads_to_kernel(&self, space: &AddressSpace) -> Result<Option<bool>, ReadError> {
        let kernel = self.context().symbol("PsActiveProcessHead")?;
        self.space.translate(kernel)?;
        let mut table = [0; PAGE_SIZE as usize];
        self.image.read(space.root(), &mut table)?;
        // A table without an entry was lost, or belongs to a process that is going.
        if table.iter().all(|byte| *byte == 0) {
            return Err(ReadError::Implausible("page tables"));
        }
        Ok(Some(space.translate(kernel).is_ok()))
    }

    /// Whether the file that is in the cache has other headers than the image that was made of it. None where the cache does not hold them.
    fn replaced(&self, image: &Vad<'_>, file: &Object<'_>, watch: &Watch) -> Result<Option<bool>, ReadError> {
        // As the image has them for all who map it: a process may write to its own copy.
        let Some(shared) = self.shared_frames(image)(image.start) else { return Ok(None) };
        let mut headers = [0; PAGE_SIZE as usize];
        self.image.read(shared, &mut headers)?;
        let (_, sources) = self.cached_file(file.address, watch)?;
        let first = |kind: &str| {
            let source = sources.iter().find(|source| source.kind == kind)?;
            let part = source.parts().iter().find(|part| part.offset == 0 && part.length >= PAGE_SIZE)?;
            self.page_of_file(part, 0).filter(|page| page.iter().any(|byte| *byte != 0))
        };
        let Some(cached) = first("cache_map").or_else(|| first("data_section")) else { return Ok(None) };
        Ok(pe::identity(&headers).map(|own| Some(own) != pe::identity(&cached[..])))
    }
}
