//! Ways into memory that no file backs, other than a thread that begins there: calls queued to threads, where threads stand and return to,
//! addresses of imported functions, and code of libraries that was rewritten to jump.

use super::pe::{self, Headers};
use super::threads::of_process;
use super::vads::{self, Vad};
use super::{USER_END, apcs};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::{Detour, Entrance, ReadError, Watch, Way};
use crate::paging::AddressSpace;
use crate::symbols::{Context, Object};

/// Imports of all libraries of a process: a program with hundreds of libraries has a quarter of that.
const MOST_IMPORTS: u32 = 1 << 20;
/// KTHREAD_STATE.
const TERMINATED: u64 = 4;
/// Bytes of a stack that are read from its top down, and threads of a process whose stacks are.
const MOST_STACK: u64 = 1 << 15;
const MOST_STACKS: u64 = 1 << 12;

/// The calls that wait for a process's threads, as far as they lead where `wanted` says. Such a call goes through a routine of ntdll,
/// which is handed what the caller asked for.
pub fn queued(process: &Object<'_>, wanted: impl Fn(VirtAddr) -> bool) -> Vec<Entrance> {
    let mut found = Vec::new();
    for thread in of_process(process).into_iter().flatten() {
        let tid = thread.inner("Cid").and_then(|cid| cid.u32("UniqueThread")).unwrap_or_default();
        for apc in thread.inner("Tcb").map(|thread| apcs::queue(&thread, apcs::USER_MODE).0).into_iter().flatten() {
            let goals = [apcs::normal_routine(&apc), apc.pointer("NormalContext")].into_iter().flatten();
            if let Some(to) = goals.into_iter().find(|to| wanted(*to)) {
                found.push(Entrance { way: Way::Apc, from: format!("a call queued to thread {tid}"), to });
            }
        }
    }
    found
}

/// Where the threads of a process stand and return to, as far as that is where `wanted` says: added to `found`. Gives the number of threads,
/// and of those whose place or stack is not in the image.
pub fn stacks(
    process: &Object<'_>,
    space: &AddressSpace,
    found: &mut Vec<Entrance>,
    watch: &Watch,
    wanted: impl Fn(VirtAddr) -> bool,
) -> (u64, u64) {
    let (mut threads, mut unknown) = (0, 0);
    for thread in of_process(process).into_iter().flatten() {
        if watch.cancelled() || threads >= MOST_STACKS {
            break;
        }
        let kernel = thread.inner("Tcb");
        let field = |field| kernel.as_ref().map_err(|why| *why).and_then(|kernel| kernel.uint(field));
        // One that ended stands nowhere, one of the kernel's nowhere in a program.
        if field("State") == Ok(TERMINATED) || field("Teb") == Ok(0) {
            continue;
        }
        threads += 1;
        let tid = thread.inner("Cid").and_then(|cid| cid.u32("UniqueThread")).unwrap_or_default();
        let Ok(Some(Frame { at, stack, .. })) = Frame::read(&thread) else {
            unknown += 1;
            continue;
        };
        if wanted(at) {
            found.push(Entrance { way: Way::Stand, from: format!("thread {tid} stands there"), to: at });
        }
        let Ok(words) = words(&thread, space, stack) else {
            unknown += 1;
            continue;
        };
        let back = words.into_iter().find(|(_, to)| wanted(*to) && space.follows_call(*to));
        if let Some((place, to)) = back {
            let from = format!("what the stack of thread {tid} has at {place} leads back there");
            found.push(Entrance { way: Way::Return, from, to });
        }
    }
    (threads, unknown)
}

/// Where a thread goes on in its program, as the kernel keeps it on the thread's kernel stack.
pub struct Frame<'a> {
    pub at: VirtAddr,
    /// The top of the program's stack.
    pub stack: VirtAddr,
    pub registers: Object<'a>,
}

impl<'a> Frame<'a> {
    /// None for a thread that is not on its way out of a program.
    pub fn read(thread: &Object<'a>) -> Result<Option<Self>, ReadError> {
        let kernel = thread.inner("Tcb")?;
        let (frame, low, high) = (kernel.pointer("TrapFrame")?, kernel.pointer("StackLimit")?, kernel.pointer("StackBase")?);
        if frame.is_null() {
            return Ok(None);
        }
        let registers = thread.context().object("_KTRAP_FRAME", frame)?;
        let (at, stack) = (registers.pointer("Rip")?, registers.pointer("Rsp")?);
        let inside = frame.is_kernel() && low <= frame && frame.offset(registers.layout().size.into()) <= high;
        // The privilege in a segment: a frame of the kernel itself tells nothing of the program.
        match registers.uint("SegCs")? & 3 {
            0 if inside => Ok(None),
            3 if inside && !at.is_null() && at < USER_END && stack < USER_END => Ok(Some(Self { at, stack, registers })),
            _ => Err(ReadError::Implausible("_KTRAP_FRAME")),
        }
    }

    /// The addresses at which the processor is to stop the thread, by those of its debug registers that are armed. The kernel keeps them
    /// only for a thread that uses them; for others, what is there is left from before.
    pub fn breakpoints(&self, thread: &Object<'_>) -> Result<Vec<VirtAddr>, ReadError> {
        if thread.inner("Tcb")?.inner("Header")?.uint("ActiveDR7")? == 0 {
            return Ok(Vec::new());
        }
        let control = self.registers.uint("Dr7")?;
        let armed = ["Dr0", "Dr1", "Dr2", "Dr3"].into_iter().enumerate().filter(|(index, _)| control >> (index * 2) & 3 != 0);
        let places = armed.map(|(_, register)| self.registers.pointer(register));
        places.filter(|at| *at != Ok(VirtAddr(0))).collect()
    }
}

/// The words of a program's stack from its top on, with their places.
fn words(thread: &Object<'_>, space: &AddressSpace, top: VirtAddr) -> Result<Vec<(VirtAddr, VirtAddr)>, ReadError> {
    let teb = thread.inner("Tcb")?.pointer("Teb")?;
    let context = Context { space, profile: thread.context().profile };
    let block = context.object("_NT_TIB", teb)?;
    let (low, high) = (block.pointer("StackLimit")?, block.pointer("StackBase")?);
    // One that runs on a stack of its own making is told apart by that.
    if !top.0.is_multiple_of(8) || top < low || top >= high || high >= USER_END {
        return Err(ReadError::Implausible("stack"));
    }
    let mut bytes = vec![0; (high.0 - top.0).min(MOST_STACK) as usize];
    let (mut read, mut trouble) = (0, None);
    while let Some(piece) = bytes.get_mut(read..).filter(|piece| !piece.is_empty()) {
        let at = top.offset(read as u64);
        let length = piece.len().min((PAGE_SIZE - at.in_page()) as usize);
        if let Some(Err(why)) = piece.get_mut(..length).map(|piece| space.read(at, piece)) {
            trouble = Some(why);
            break;
        }
        read += length;
    }
    bytes.truncate(read);
    let words: Vec<_> = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .enumerate()
        .map(|(index, word)| (top.offset(index as u64 * 8), VirtAddr(u64::from_le_bytes(*word))))
        .collect();
    trouble.filter(|_| words.is_empty()).map_or(Ok(words), Err)
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

/// Where rewritten code jumps, in the end, and the file there.
pub fn detour(space: &AddressSpace, vads: &[Vad<'_>], at: VirtAddr) -> Option<Detour> {
    let to = space.detour(at, |at| vads::at(vads, at).map(|vad| vad.image))?;
    let file = vads::at(vads, to).map(Vad::file_name).unwrap_or(Ok(None)).into();
    Some(Detour { to, file })
}
