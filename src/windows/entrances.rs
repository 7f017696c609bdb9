//! Ways into memory that no file backs, other than a thread that begins there: calls queued to threads, addresses of imported functions,
//! and code of libraries that was rewritten to jump.

use super::USER_END;
use super::pe::{self, Headers};
use super::threads::of_process;
use super::vads::Vad;
use crate::address::VirtAddr;
use crate::facts::{Detour, Entrance, ReadError, Watch, Way};
use crate::paging::AddressSpace;
use crate::symbols::Object;
use std::collections::HashSet;

/// _KOBJECTS of wdm.h.
const APC_OBJECT: u64 = 18;
/// KPROCESSOR_MODE: which of a thread's two lists is for its program.
const USER_MODE: u32 = 1;
const MOST_APCS: usize = 1 << 12;
/// Imports of all libraries of a process: a program with hundreds of libraries has a quarter of that.
const MOST_IMPORTS: u32 = 1 << 20;
/// Bytes of code in which a jump is looked for, and jumps that lead to another jump.
const JUMP: usize = 16;
const MOST_HOPS: usize = 4;

/// The calls that wait for a process's threads, as far as they lead where `wanted` says. Such a call goes through a routine of ntdll,
/// which is handed what the caller asked for.
pub fn queued(process: &Object<'_>, wanted: impl Fn(VirtAddr) -> bool) -> Vec<Entrance> {
    let mut found = Vec::new();
    for thread in of_process(process).into_iter().flatten() {
        let tid = thread.inner("Cid").and_then(|cid| cid.u32("UniqueThread")).unwrap_or_default();
        for apc in thread.inner("Tcb").map(|thread| of_thread(&thread)).into_iter().flatten() {
            let goals = [routine(&apc), apc.pointer("NormalContext")].into_iter().flatten();
            if let Some(to) = goals.into_iter().find(|to| wanted(*to)) {
                found.push(Entrance { way: Way::Apc, from: format!("a call queued to thread {tid}"), to });
            }
        }
    }
    found
}

/// The queue ends where it does not hold together.
fn of_thread<'a>(thread: &Object<'a>) -> Vec<Object<'a>> {
    let context = thread.context();
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut walk = || -> Result<(), ReadError> {
        let head = thread.inner("ApcState")?.element("ApcListHead", USER_MODE)?;
        let mut link = head.pointer("Flink")?;
        while link != head.address {
            if !link.is_kernel() || !seen.insert(link) || found.len() >= MOST_APCS {
                return Err(ReadError::Implausible("APC list"));
            }
            let apc = context.container("_KAPC", "ApcListEntry", link)?;
            let own = apc.uint("Type")? == APC_OBJECT && apc.pointer("Thread")? == thread.address;
            if !own || apc.uint("ApcMode")? != u64::from(USER_MODE) {
                return Err(ReadError::Implausible("APC"));
            }
            link = context.object("_LIST_ENTRY", link)?.pointer("Flink")?;
            found.push(apc);
        }
        Ok(())
    };
    // What was found before a break is whole.
    _ = walk();
    found
}

fn routine(apc: &Object<'_>) -> Result<VirtAddr, ReadError> {
    // Newer types name three pointers together: KernelRoutine, RundownRoutine, NormalRoutine.
    if apc.has("NormalRoutine") { apc.pointer("NormalRoutine") } else { apc.context().space.pointer(apc.at("Reserved")?.offset(16)) }
}

/// Addresses of imported functions, in the images of a process, that lead where `wanted` says.
pub fn imported(space: &AddressSpace, vads: &[Vad<'_>], watch: &Watch, wanted: impl Fn(VirtAddr) -> bool) -> Vec<Entrance> {
    let (mut found, mut left) = (Vec::new(), MOST_IMPORTS);
    for vad in vads.iter().filter(|vad| vad.image) {
        if watch.cancelled() {
            break;
        }
        let Ok(headers) = Headers::read(space, vad.start) else { continue };
        let importer = vad.file_name().ok().flatten();
        let importer = importer.as_deref().and_then(|path| path.rsplit('\\').next()).unwrap_or("a library");
        pe::imports(space, &headers, &mut left, |import| {
            if wanted(import.to) {
                let name = import.name(space);
                found.push(Entrance { way: Way::Import, from: format!("{importer} imports {name} from there"), to: import.to });
            }
        });
    }
    found
}

/// Where rewritten code jumps, in the end: detours go by way of a piece of memory near the code.
pub fn detour(space: &AddressSpace, vads: &[Vad<'_>], at: VirtAddr) -> Option<Detour> {
    let vad_of = |at: VirtAddr| {
        let vad = vads.get(vads.partition_point(|vad| vad.start <= at).checked_sub(1)?)?;
        (at <= vad.end).then_some(vad)
    };
    // Of a jump that was there before, only the distance has changed.
    let mut to = jump(space, at).or_else(|| jump(space, VirtAddr(at.0.checked_sub(1)?))).filter(|to| vad_of(*to).is_some())?;
    for _ in 0..MOST_HOPS {
        match jump(space, to).filter(|_| vad_of(to).is_some_and(|vad| !vad.image)) {
            Some(next) if vad_of(next).is_some() => to = next,
            _ => break,
        }
    }
    let file = vad_of(to).map(Vad::file_name).unwrap_or(Ok(None)).into();
    Some(Detour { to, file })
}

/// Where the code at an address jumps at once, by the forms that hooks are written in.
fn jump(space: &AddressSpace, at: VirtAddr) -> Option<VirtAddr> {
    let code = space.bytes::<JUMP>(at).ok()?;
    let word = |from: usize| Some(i32::from_le_bytes(*code.get(from..)?.first_chunk()?));
    let long = |from: usize| Some(VirtAddr(u64::from_le_bytes(*code.get(from..)?.first_chunk()?)));
    let relative = |length: u64, distance: i32| at.offset(length).offset(i64::from(distance).cast_unsigned());
    let to = match code {
        // jmp rel32
        [0xe9, ..] => relative(5, word(1)?),
        // jmp rel8
        [0xeb, distance, ..] => relative(2, i32::from(distance.cast_signed())),
        // jmp [rip+distance]
        [0xff, 0x25, ..] => space.pointer(relative(6, word(2)?)).ok()?,
        // mov rax, address; jmp rax | push rax, ret
        [0x48, 0xb8, _, _, _, _, _, _, _, _, 0xff, 0xe0, ..] | [0x48, 0xb8, _, _, _, _, _, _, _, _, 0x50, 0xc3, ..] => long(2)?,
        // mov r10 | r11, address; jmp r10 | r11
        [0x49, 0xba, _, _, _, _, _, _, _, _, 0x41, 0xff, 0xe2, ..] | [0x49, 0xbb, _, _, _, _, _, _, _, _, 0x41, 0xff, 0xe3, ..] => long(2)?,
        // push low; mov dword [rsp+4], high; ret
        [0x68, _, _, _, _, 0xc7, 0x44, 0x24, 0x04, _, _, _, _, 0xc3, ..] => {
            VirtAddr(u64::from(word(9)?.cast_unsigned()) << 32 | u64::from(word(1)?.cast_unsigned()))
        }
        // push address; ret
        [0x68, _, _, _, _, 0xc3, ..] => VirtAddr(word(1)?.cast_unsigned().into()),
        _ => return None,
    };
    (to < USER_END).then_some(to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;
    use crate::image::Image;
    use crate::paging::Levels;
    use crate::windows::pages::WindowsPages;
    use std::sync::Arc;

    fn flat(memory: Vec<u8>) -> AddressSpace {
        let image = Arc::new(Image::open_bytes("flat", memory.leak()).unwrap());
        AddressSpace::new(image, PhysAddr(0), Levels::None, Arc::new(WindowsPages::minimal()))
    }

    #[test]
    fn the_forms_of_hooks_are_followed() {
        const AT: u64 = 0x1000;
        let to = |code: &[u8]| {
            let mut memory = vec![0; 0x3000];
            memory[AT as usize..][..code.len()].copy_from_slice(code);
            memory[0] = 0xf3;
            jump(&flat(memory), VirtAddr(AT)).map(|to| to.0)
        };
        assert_eq!(to(&[0xe9, 0xfb, 0x0f, 0, 0]), Some(0x2000));
        assert_eq!(to(&[0xe9, 0xfb, 0xff, 0xff, 0xff]), Some(0x1000));
        assert_eq!(to(&[0xeb, 0xf9]), Some(0xffb));
        assert_eq!(to(&[0xff, 0x25, 0, 0, 0, 0, 0, 0, 0x42, 0, 0, 0, 0, 0]), Some(0x42_0000));
        assert_eq!(to(&[0x48, 0xb8, 0, 0, 0x42, 0, 0xfd, 0x7f, 0, 0, 0xff, 0xe0]), Some(0x7ffd_0042_0000));
        assert_eq!(to(&[0x49, 0xbb, 0, 0, 0x42, 0, 0xfd, 0x7f, 0, 0, 0x41, 0xff, 0xe3]), Some(0x7ffd_0042_0000));
        assert_eq!(to(&[0x68, 0, 0, 0x42, 0, 0xc7, 0x44, 0x24, 0x04, 0xfd, 0x7f, 0, 0, 0xc3]), Some(0x7ffd_0042_0000));
        assert_eq!(to(&[0x68, 0, 0, 0x42, 0, 0xc3]), Some(0x42_0000));
        // Code as compilers write it, a return, and a jump into the kernel.
        assert_eq!(to(&[0x48, 0x89, 0x5c, 0x24, 0x08]), None);
        assert_eq!(to(&[0xc3]), None);
        assert_eq!(to(&[0x48, 0xb8, 0, 0, 0, 0, 0, 0xf8, 0xff, 0xff, 0xff, 0xe0]), None);
    }
}
