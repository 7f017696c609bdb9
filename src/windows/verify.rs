//! Whether a profile fits an image: what its symbols and layouts lead to must agree with itself, field by field.

use super::kdbg::Kdbg;
use super::kernel::Kernel;
use super::objects::{OBJECT_KIND, PROCESS_OBJECT, THREAD_OBJECT};
use super::{USER_END, fast_ref, objects, shared, text};
use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::{Check, ReadError, Time};
use crate::paging::FRAME;
use crate::symbols::{Context, Object, Shape};
use std::collections::HashSet;

/// Longer process lists are walked, but only so many are looked at closely.
const SAMPLE: usize = 48;
const CLOSE_SAMPLE: usize = 8;
const MOST_PROCESSES: usize = 1 << 16;
/// Processes in both ends of a list that is torn.
const LEAST_TORN: usize = 8;
const MOST_THREADS: usize = 1 << 14;
const MOST_VADS: usize = 1 << 16;
const MOST_MODULES: usize = 1 << 12;
/// Of the processes that can be checked, so many in a hundred must pass: some end, some lie.
const ENOUGH: usize = 80;
const SYSTEM_PID: u64 = 4;

/// How a check came out.
enum Outcome {
    Holds(String),
    Fails(String),
    /// The image or the profile lacks what it needs.
    Open(String),
}

/// The outcome of all checks.
#[derive(Default)]
pub struct Verdict {
    pub checks: Vec<Check>,
    /// What could not be checked, and why.
    pub open: Vec<String>,
    /// Why the layout cannot be believed at all.
    pub refused: Option<String>,
    pub processes: usize,
}

impl Verdict {
    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|check| check.passed).count()
    }
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }
    /// Structures that failed.
    pub fn doubted(&self) -> Vec<&'static str> {
        let failed = |what: &str| self.failed().any(|check| check.what == what);
        DOUBTED.iter().filter(|(what, _)| failed(what)).flat_map(|(_, structures)| structures.iter().copied()).collect()
    }
    /// Better is more passed and less failed.
    pub fn rank(&self) -> (bool, isize) {
        (self.refused.is_none(), self.passed() as isize - 2 * self.failed().count() as isize)
    }
    fn add(&mut self, what: &str, outcome: Result<Outcome, ReadError>) -> bool {
        let outcome = outcome.unwrap_or_else(|why| match why {
            ReadError::NoField(_) | ReadError::NoSymbol(_) | ReadError::PagedOut(_) | ReadError::NotInImage(_) => {
                Outcome::Open(why.to_string())
            }
            why => Outcome::Fails(why.to_string()),
        });
        let (passed, detail) = match outcome {
            Outcome::Holds(detail) => (true, detail),
            Outcome::Fails(detail) => (false, detail),
            Outcome::Open(why) => {
                self.open.push(format!("{what} ({why})"));
                return false;
            }
        };
        self.checks.push(Check { what: what.to_owned(), passed, detail });
        passed
    }
}

/// A process to be checked.
struct Listed<'a> {
    object: Object<'a>,
    pid: u64,
    name: String,
}

/// The processes on the list that a System process stands in.
struct List<'a> {
    processes: Vec<Listed<'a>>,
    /// The entry inside the kernel image: the head.
    head: Option<VirtAddr>,
    /// Whether it comes back to where it began.
    closed: bool,
}

/// The System process, where the symbols tell it.
pub fn system(context: Context<'_>) -> Result<VirtAddr, ReadError> {
    context.space.pointer(context.symbol("PsInitialSystemProcess")?)
}

/// The list head that stands inside the kernel image, by following the list of a System process.
pub fn list_head(context: Context<'_>, kernel: &Kernel, system: VirtAddr) -> Option<VirtAddr> {
    ["Flink", "Blink"].into_iter().find_map(|direction| walk(context, kernel, system, direction).ok()?.head)
}

/// Addresses of the processes on the list of a System process, from both ends where it does not close.
pub fn processes(context: Context<'_>, kernel: &Kernel, system: VirtAddr) -> Vec<VirtAddr> {
    let Ok(forward) = walk(context, kernel, system, "Flink") else { return Vec::new() };
    let whole = if forward.closed { forward } else { forward.and(walk(context, kernel, system, "Blink").ok()) };
    whole.processes.into_iter().map(|process| process.object.address).collect()
}

impl List<'_> {
    /// With what another walk has met beside.
    fn and(mut self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        let known: HashSet<_> = self.processes.iter().map(|process| process.object.address).collect();
        self.processes.extend(other.processes.into_iter().filter(|process| !known.contains(&process.object.address)));
        self.head = self.head.or(other.head);
        self
    }
}

fn walk<'a>(context: Context<'a>, kernel: &Kernel, system: VirtAddr, direction: &'static str) -> Result<List<'a>, ReadError> {
    let links = context.profile.layout("_EPROCESS")?.offset("ActiveProcessLinks")?;
    let first = system.offset(links);
    let (mut at, mut seen) = (first, HashSet::new());
    let mut list = List { processes: Vec::new(), head: None, closed: false };
    while seen.insert(at) && seen.len() < MOST_PROCESSES {
        if kernel.contains(at) {
            list.head.get_or_insert(at);
        } else {
            let object = context.object("_EPROCESS", VirtAddr(at.0.wrapping_sub(links)))?;
            match object.uint("UniqueProcessId").and_then(|pid| Ok((pid, object.text("ImageFileName")?))) {
                Ok((pid, name)) => list.processes.push(Listed { object, pid, name }),
                Err(why @ ReadError::NoField(_)) => return Err(why),
                // A torn list leads anywhere.
                Err(_) => return Ok(list),
            }
        }
        match context.object("_LIST_ENTRY", at).and_then(|entry| entry.pointer(direction)) {
            Ok(next) if next.is_kernel() => at = next,
            _ => return Ok(list),
        }
    }
    list.closed = at == first;
    Ok(list)
}

/// Checks a profile. `system` is the System process, however it was found.
pub fn verify(context: Context<'_>, kernel: &Kernel, system: Result<VirtAddr, ReadError>) -> Verdict {
    let mut verdict = Verdict::default();
    let now = shared::now(context.space);
    verdict.add("kernel image is mapped at its base", Ok(kernel.outcome()));
    let refuse = |verdict: &mut Verdict| {
        let failed: Vec<_> = verdict.failed().map(|check| format!("{} ({})", check.what, check.detail)).collect();
        verdict.refused = Some(if failed.is_empty() { verdict.open.join("; ") } else { failed.join("; ") });
    };
    let named = system.and_then(|system| {
        let process = context.object("_EPROCESS", system)?;
        let (pid, name) = (process.uint("UniqueProcessId")?, process.text("ImageFileName")?);
        let detail = format!("{system}: PID {pid}, {name:?}");
        Ok(if pid == SYSTEM_PID && name == "System" { Outcome::Holds(detail) } else { Outcome::Fails(detail) })
    });
    let vital = verdict.add("System process has PID 4 and its name", named);
    let (true, Ok(system)) = (vital, system) else {
        refuse(&mut verdict);
        return verdict;
    };
    let forward = walk(context, kernel, system, "Flink");
    let backward = walk(context, kernel, system, "Blink");
    let told = |list: &Result<List<'_>, ReadError>| {
        let list = list.as_ref().map_err(|why| *why)?;
        let detail = format!("{} processes", list.processes.len());
        Ok(if list.closed && list.processes.len() > 1 { Outcome::Holds(detail) } else { Outcome::Fails(format!("broken after {detail}")) })
    };
    let ahead = verdict.add("process list closes forwards", told(&forward));
    let back = verdict.add("process list closes backwards", told(&backward));
    let (Ok(forward), Ok(backward)) = (forward, backward) else {
        refuse(&mut verdict);
        return verdict;
    };
    // A list that is torn has two ends; what a wrong layout makes of it does not lead far.
    if !ahead && !back && forward.processes.len() + backward.processes.len() < LEAST_TORN {
        refuse(&mut verdict);
        return verdict;
    }
    let same = |list: &List<'_>| list.processes.iter().map(|process| process.object.address).collect::<HashSet<_>>();
    let both = same(&forward) == same(&backward);
    let detail = format!("{} and {}", forward.processes.len(), backward.processes.len());
    verdict.add("both directions meet the same processes", Ok(if both { Outcome::Holds(detail) } else { Outcome::Fails(detail) }));
    let listed = match (forward.closed, backward.closed) {
        (true, _) => forward,
        (_, true) => backward,
        _ => forward.and(Some(backward)),
    };
    verdict.processes = listed.processes.len();
    verdict.add("list head is PsActiveProcessHead", list_is(context, &listed));
    let scene = Scene { context, kernel, now, pids: listed.processes.iter().map(|process| process.pid).collect() };
    for (what, most, check) in PROCESS_CHECKS {
        verdict.add(what, scene.each(&listed.processes, *most, *check));
    }
    for (what, check) in MACHINE_CHECKS {
        verdict.add(what, check(&scene, system));
    }
    // Fields of a wrong layout fail by the dozen; what an attacker or an unlucky moment does to an image fails here and there.
    let (passed, failed) = (verdict.passed(), verdict.failed().count());
    if failed * 2 > passed {
        refuse(&mut verdict);
    }
    verdict
}

fn list_is(context: Context<'_>, list: &List<'_>) -> Result<Outcome, ReadError> {
    let head = context.symbol("PsActiveProcessHead")?;
    Ok(match list.head {
        Some(found) if found == head => Outcome::Holds(head.to_string()),
        Some(found) => Outcome::Fails(format!("{found}, not {head}")),
        None => Outcome::Fails("no entry of the list lies in the kernel image".to_owned()),
    })
}

/// What checks need beside a process.
struct Scene<'a, 'k> {
    context: Context<'a>,
    kernel: &'k Kernel,
    now: Option<u64>,
    pids: HashSet<u64>,
}

/// What is not used of a layout if a check of it fails.
const DOUBTED: &[(&str, &[&str])] = &[
    ("PEBs name the image that is mapped", &["_PEB"]),
    ("loader lists begin with the image", &["_PEB_LDR_DATA", "_LDR_DATA_TABLE_ENTRY"]),
    ("process parameters hold a path", &["_RTL_USER_PROCESS_PARAMETERS"]),
    ("tokens hold security identifiers", &["_TOKEN"]),
    ("handle tables name their process", &["_HANDLE_TABLE", "_HANDLE_TABLE_ENTRY"]),
    ("handle 4 of PspCidTable is System", &["_HANDLE_TABLE_ENTRY"]),
    ("threads name their process", &["_ETHREAD"]),
    ("scheduler's thread lists agree", &["_KTHREAD", "_ETHREAD"]),
    ("VAD counts agree with the trees", &["_MMVAD", "_MMVAD_SHORT"]),
    ("process objects lie in pool blocks tagged Proc", &["_POOL_HEADER"]),
    ("object headers have the type Process", &["_OBJECT_HEADER", "_OBJECT_TYPE"]),
    ("first loaded module is the kernel", &["_KLDR_DATA_TABLE_ENTRY"]),
    ("first processor runs a thread", &["_KPRCB"]),
    ("frame database knows System's page table", &["_MMPFN"]),
];

/// Whether a process passes; None where the question does not arise.
type ProcessCheck = for<'a> fn(&Scene<'a, '_>, &Listed<'a>) -> Result<Option<bool>, ReadError>;

const PROCESS_CHECKS: &[(&str, usize, ProcessCheck)] = &[
    ("process names are printable", SAMPLE, |_, process| Ok(Some(!process.name.chars().any(char::is_control)))),
    ("process IDs are multiples of 4", SAMPLE, |_, process| Ok(Some(process.pid.is_multiple_of(4) && (1..1 << 31).contains(&process.pid)))),
    ("parents' process IDs fit", SAMPLE, parent),
    ("objects are dispatcher objects of processes", SAMPLE, |_, process| {
        Ok(Some(process.object.inner("Pcb")?.inner("Header")?.uint("Type")? & OBJECT_KIND == PROCESS_OBJECT))
    }),
    ("creation times lie before the capture", SAMPLE, |scene, process| {
        let created = process.object.uint("CreateTime")?;
        Ok(Some(plausible_time(created) && scene.now.is_none_or(|now| created <= now)))
    }),
    ("exit times are zero or later", SAMPLE, |scene, process| {
        let (created, exited) = (process.object.uint("CreateTime")?, process.object.uint("ExitTime")?);
        Ok(Some(exited == 0 || created <= exited && scene.now.is_none_or(|now| exited <= now)))
    }),
    ("page tables of processes map the kernel", SAMPLE, |scene, process| {
        let root = process.object.inner("Pcb")?.uint("DirectoryTableBase")? & FRAME;
        if root == 0 || exited(process)? {
            return Ok(None);
        }
        let space = scene.context.space.with_root(PhysAddr(root));
        Ok(Some(space.translate(scene.kernel.proof)? == scene.context.space.translate(scene.kernel.proof)?))
    }),
    ("PEBs name the image that is mapped", SAMPLE, |scene, process| {
        in_peb(scene, process, |_, peb| {
            let base = peb.pointer("ImageBaseAddress")?;
            Ok(base == process.object.pointer("SectionBaseAddress")? || peb.context().space.bytes(base)? == *b"MZ")
        })
    }),
    ("loader lists begin with the image", SAMPLE, |scene, process| {
        in_peb(scene, process, |context, peb| {
            let first = peb.follow_some("Ldr")?.inner("InLoadOrderModuleList")?.pointer("Flink")?;
            let entry = context.container("_LDR_DATA_TABLE_ENTRY", "InLoadOrderLinks", first)?;
            Ok(entry.pointer("DllBase")? == peb.pointer("ImageBaseAddress")?)
        })
    }),
    ("process parameters hold a path", SAMPLE, |scene, process| {
        in_peb(scene, process, |_, peb| {
            let path = text::unicode(&peb.follow_some("ProcessParameters")?.inner("ImagePathName")?)?;
            Ok(path.contains('\\') && !path.chars().any(char::is_control))
        })
    }),
    ("tokens hold security identifiers", SAMPLE, |scene, process| {
        let token = process.object.uint("Token")?;
        if exited(process)? {
            return Ok(None);
        }
        let token = scene.context.object("_TOKEN", fast_ref(token))?;
        let first = token.follow_some("UserAndGroups")?;
        let sid = scene.context.object("_SID", first.pointer("Sid")?)?;
        Ok(Some(sid.uint("Revision")? == 1 && sid.uint("SubAuthorityCount")? <= 15))
    }),
    ("handle tables name their process", SAMPLE, |scene, process| {
        let table = process.object.pointer("ObjectTable")?;
        if table.is_null() {
            return Ok(None);
        }
        let table = scene.context.object("_HANDLE_TABLE", table)?;
        let own = table.uint("UniqueProcessId")? == process.pid;
        Ok(Some(own || table.pointer("QuotaProcess")? == process.object.address))
    }),
    ("threads name their process", SAMPLE, |scene, process| {
        let first = process.object.inner("ThreadListHead")?.pointer("Flink")?;
        if first == process.object.at("ThreadListHead")? {
            return Ok(None);
        }
        let thread = scene.context.container("_ETHREAD", "ThreadListEntry", first)?;
        let kernel = thread.inner("Tcb")?;
        let owner =
            kernel.pointer("Process")? == process.object.address && kernel.inner("Header")?.uint("Type")? & OBJECT_KIND == THREAD_OBJECT;
        Ok(Some(owner && thread.inner("Cid")?.uint("UniqueProcess")? == process.pid))
    }),
    ("scheduler's thread lists agree", SAMPLE, |scene, process| {
        let head = process.object.inner("Pcb")?;
        let first = head.inner("ThreadListHead")?.pointer("Flink")?;
        if first == head.at("ThreadListHead")? {
            return Ok(None);
        }
        let thread = scene.context.container("_KTHREAD", "ThreadListEntry", first)?;
        Ok(Some(thread.pointer("Process")? == process.object.address))
    }),
    ("thread counts agree with the lists", SAMPLE, |scene, process| {
        let head = process.object.at("ThreadListHead")?;
        let mut at = head;
        for count in 0..MOST_THREADS as u64 {
            at = scene.context.object("_LIST_ENTRY", at)?.pointer("Flink")?;
            if at == head {
                // A thread that ends is counted no more and listed still.
                let active = process.object.uint("ActiveThreads")?;
                return Ok(Some(count >= active && (active > 0 || count == 0 || exited(process)?)));
            }
        }
        Ok(Some(false))
    }),
    ("VAD counts agree with the trees", CLOSE_SAMPLE, vads),
    ("process objects lie in pool blocks tagged Proc", SAMPLE, |scene, process| {
        let tag = scene.context.profile.layout("_POOL_HEADER")?.offset("PoolTag")?;
        let step = u64::from(scene.context.profile.layout("_POOL_HEADER")?.size.max(16));
        let (header, body) = ("_OBJECT_HEADER", "Body");
        let object = process.object.address.0.wrapping_sub(scene.context.profile.layout(header)?.offset(body)?);
        // Optional headers stand between.
        let tags = (1..=16).map(|back| VirtAddr(object.wrapping_sub(back * step)).offset(tag));
        Ok(Some(
            tags.into_iter()
                .any(|at| scene.context.space.uint(at, 4).is_ok_and(|tag| (tag as u32 & 0x7fff_ffff).to_le_bytes() == *b"Proc")),
        ))
    }),
    ("object headers have the type Process", SAMPLE, |scene, process| {
        let context = scene.context;
        let header = context.container("_OBJECT_HEADER", "Body", process.object.address)?;
        let table = context.symbol("ObTypeIndexTable")?;
        let veil = objects::cookie(context)?.map_or(0, |cookie| cookie ^ (header.address.0 >> 8) as u8);
        let index = header.uint("TypeIndex")? as u8 ^ veil;
        let kind = context.object("_OBJECT_TYPE", context.space.pointer(table.offset(u64::from(index) * 8))?)?;
        Ok(Some(text::unicode(&kind.inner("Name")?)? == "Process"))
    }),
    ("images of the audit record have the process's name", SAMPLE, |_, process| {
        let name = process.object.inner("SeAuditProcessCreationInfo")?.follow("ImageFileName")?;
        let Some(name) = name else { return Ok(None) };
        let path = text::unicode(&name.inner("Name")?)?;
        if path.is_empty() || process.name.is_empty() {
            return Ok(None);
        }
        let file = path.rsplit('\\').next().unwrap_or_default().to_lowercase();
        Ok(Some(file.starts_with(&process.name.to_lowercase())))
    }),
];

fn exited(process: &Listed<'_>) -> Result<bool, ReadError> {
    Ok(process.object.uint("ExitTime")? != 0)
}

/// A FILETIME between the years 2000 and 2200.
fn plausible_time(units: u64) -> bool {
    (125_911_584_000_000_000..189_029_376_000_000_000).contains(&units)
}

fn parent(scene: &Scene<'_, '_>, process: &Listed<'_>) -> Result<Option<bool>, ReadError> {
    let parent = process.object.uint("InheritedFromUniqueProcessId")?;
    if process.pid == SYSTEM_PID {
        return Ok(Some(parent == 0));
    }
    // Parents may be gone; a number that was never a process ID cannot be one.
    let known = scene.pids.contains(&parent);
    Ok(Some(parent != process.pid && (known || parent != 0 && parent.is_multiple_of(4) && parent < 1 << 24)))
}

/// Asks something of a process's PEB, in the process's own space.
fn in_peb<'a>(
    scene: &Scene<'a, '_>,
    process: &Listed<'a>,
    ask: impl FnOnce(Context<'_>, &Object<'_>) -> Result<bool, ReadError>,
) -> Result<Option<bool>, ReadError> {
    let peb = process.object.pointer("Peb")?;
    if peb.is_null() || exited(process)? {
        return Ok(None);
    }
    if peb.0 >= USER_END.0 || peb.in_page() != 0 {
        return Ok(Some(false));
    }
    let root = process.object.inner("Pcb")?.uint("DirectoryTableBase")? & FRAME;
    let space = scene.context.space.with_root(PhysAddr(root));
    let context = Context { space: &space, profile: scene.context.profile };
    ask(context, &context.object("_PEB", peb)?).map(Some)
}

/// Counts a VAD tree. Until Windows 8 it is an _MM_AVL_TABLE, later an _RTL_AVL_TREE with the count beside it.
fn vads(scene: &Scene<'_, '_>, process: &Listed<'_>) -> Result<Option<bool>, ReadError> {
    let tree = process.object.inner("VadRoot")?;
    let (root, count, left, right) = if tree.has("Root") {
        (tree.pointer("Root")?, process.object.uint("VadCount")?, "Left", "Right")
    } else {
        let root = tree.inner("BalancedRoot")?;
        (root.pointer("RightChild")?, tree.uint("NumberGenericTableElements")?, "LeftChild", "RightChild")
    };
    let vad = scene.context.profile.layout("_MMVAD_SHORT")?;
    // Before Windows 8.1 the links stand in the VAD itself.
    let links = vad.field("VadNode").ok();
    let (mut waiting, mut found, mut fit) = (vec![root], 0_u64, true);
    while let Some(at) = waiting.pop() {
        if at.is_null() {
            continue;
        }
        found += 1;
        if found > MOST_VADS as u64 || !at.is_kernel() {
            return Ok(Some(false));
        }
        let vad = match links {
            Some(_) => scene.context.container("_MMVAD_SHORT", "VadNode", at)?,
            None => scene.context.object("_MMVAD_SHORT", at)?,
        };
        let node = match links.map(|links| links.shape) {
            Some(Shape::Struct(_)) => vad.inner("VadNode")?,
            _ => vad.clone(),
        };
        fit &= vad.uint("StartingVpn")? <= vad.uint("EndingVpn")? || vad.has("EndingVpnHigh");
        waiting.push(node.pointer(left)?);
        waiting.push(node.pointer(right)?);
    }
    Ok((found > 0 || count > 0).then_some(fit && found == count))
}

impl<'a> Scene<'a, '_> {
    /// Asks all processes, the first `most` of them.
    fn each(&self, processes: &[Listed<'a>], most: usize, check: ProcessCheck) -> Result<Outcome, ReadError> {
        let (mut passed, mut failed, mut missing) = (0, 0, 0);
        let (mut example, mut trouble) = (None, None);
        for process in processes.iter().take(most) {
            match check(self, process) {
                Ok(None) => {}
                Ok(Some(true)) => passed += 1,
                Ok(Some(false)) => {
                    failed += 1;
                    example.get_or_insert_with(|| format!("not {} {:?}", process.pid, process.name));
                }
                Err(why @ (ReadError::NoField(_) | ReadError::NoSymbol(_))) => return Err(why),
                Err(why @ (ReadError::PagedOut(_) | ReadError::NotInImage(_))) => {
                    missing += 1;
                    trouble.get_or_insert(why);
                }
                Err(why) => {
                    failed += 1;
                    example.get_or_insert_with(|| format!("not {} {:?}: {why}", process.pid, process.name));
                }
            }
        }
        let asked = passed + failed;
        if asked == 0 {
            return Ok(Outcome::Open(trouble.map_or("no process to ask".to_owned(), |why| why.to_string())));
        }
        let missing = if missing > 0 { format!(", {missing} not readable") } else { String::new() };
        let example = example.map_or(String::new(), |example| format!("; {example}"));
        let detail = format!("{passed} of {asked} processes{missing}{example}");
        Ok(if passed * 100 >= asked * ENOUGH { Outcome::Holds(detail) } else { Outcome::Fails(detail) })
    }
}

/// Asked once, with the System process at hand.
type MachineCheck = for<'a> fn(&Scene<'a, '_>, VirtAddr) -> Result<Outcome, ReadError>;

const MACHINE_CHECKS: &[(&str, MachineCheck)] = &[
    ("first loaded module is the kernel", |scene, _| {
        let context = scene.context;
        let head = context.symbol("PsLoadedModuleList")?;
        let first = context.object("_LIST_ENTRY", head)?.pointer("Flink")?;
        let entry = module(context, first)?;
        let (base, name) = (entry.pointer("DllBase")?, text::unicode(&entry.inner("BaseDllName")?)?);
        let mut at = first;
        let mut count = 0;
        while at != head && count < MOST_MODULES {
            at = context.object("_LIST_ENTRY", at)?.pointer("Flink")?;
            count += 1;
        }
        let detail = format!("{name} at {base}, {count} modules");
        Ok(if base == scene.kernel.base && at == head { Outcome::Holds(detail) } else { Outcome::Fails(detail) })
    }),
    ("handle 4 of PspCidTable is System", |scene, system| {
        let found = cid(scene.context, scene.context.space.pointer(scene.context.symbol("PspCidTable")?)?, SYSTEM_PID)?;
        Ok(if found == system { Outcome::Holds(found.to_string()) } else { Outcome::Fails(format!("{found}, not {system}")) })
    }),
    ("NtBuildNumber agrees with the shared page", |scene, _| {
        let number = scene.context.space.uint(scene.context.symbol("NtBuildNumber")?, 4)? & 0xffff;
        let shared = shared::version(scene.context.space).build;
        let detail = format!("{number} and {shared}");
        // The shared page of Windows 7 and 8 has no build number.
        Ok(if shared == 0 || number == u64::from(shared) { Outcome::Holds(detail) } else { Outcome::Fails(detail) })
    }),
    ("NtBuildLab begins with the build number", |scene, _| {
        let lab = scene.context.space.text(scene.context.symbol("NtBuildLab")?, 128)?;
        let build = lab.split('.').next().and_then(|build| build.parse::<u32>().ok());
        let shared = shared::version(scene.context.space).build;
        Ok(if build.is_some_and(|build| shared == 0 || build == shared) { Outcome::Holds(lab) } else { Outcome::Fails(format!("{lab:?}")) })
    }),
    ("debugger block names the kernel's base", |scene, _| {
        let block = Kdbg::read(scene.context)?;
        let (base, how) = (block.kernel_base(), if block.encoded { "decoded" } else { "plain" });
        let detail = format!("{base}, {how}");
        Ok(if base == scene.kernel.base { Outcome::Holds(detail) } else { Outcome::Fails(detail) })
    }),
    ("first processor runs a thread", |scene, _| {
        let context = scene.context;
        let block = context.space.pointer(context.symbol("KiProcessorBlock")?)?;
        let thread = context.object("_KPRCB", block)?.pointer("CurrentThread")?;
        let kind = context.object("_KTHREAD", thread)?.inner("Header")?.uint("Type")?;
        let detail = format!("processor {block}, thread {thread}");
        Ok(if kind & OBJECT_KIND == THREAD_OBJECT { Outcome::Holds(detail) } else { Outcome::Fails(detail) })
    }),
    ("frame database knows System's page table", |scene, system| {
        let context = scene.context;
        let root = context.object("_EPROCESS", system)?.inner("Pcb")?.uint("DirectoryTableBase")? & FRAME;
        let frames = context.space.pointer(context.symbol("MmPfnDatabase")?)?;
        let size = u64::from(context.profile.layout("_MMPFN")?.size);
        let frame = context.object("_MMPFN", frames.offset(root / PAGE_SIZE * size))?;
        // MmActiveAndValid of _MMLISTS, which all versions number alike.
        let state = frame.inner("u3")?.inner("e1")?.uint("PageLocation")?;
        let detail = format!("frame {:#x}, state {state}", root / PAGE_SIZE);
        Ok(if state == 6 { Outcome::Holds(detail) } else { Outcome::Fails(detail) })
    }),
];

/// An entry of the list of loaded modules. Older tables know it only by the type of its counterpart in processes, which begins alike.
pub fn module<'a>(context: Context<'a>, links: VirtAddr) -> Result<Object<'a>, ReadError> {
    let own = context.container("_KLDR_DATA_TABLE_ENTRY", "InLoadOrderLinks", links);
    own.or_else(|_| context.container("_LDR_DATA_TABLE_ENTRY", "InLoadOrderLinks", links))
}

/// What an entry of a handle table without header veiling leads to: PspCidTable points to the objects themselves.
pub fn cid(context: Context<'_>, table: VirtAddr, handle: u64) -> Result<VirtAddr, ReadError> {
    let code = context.object("_HANDLE_TABLE", table)?.uint("TableCode")?;
    let entry_size = u64::from(context.profile.layout("_HANDLE_TABLE_ENTRY")?.size.max(1));
    // Tables of tables: the first of each leads to the lowest handles.
    let mut at = VirtAddr(code & !7);
    for _ in 0..(code & 7).min(2) {
        at = context.space.pointer(at)?;
    }
    let entry = context.object("_HANDLE_TABLE_ENTRY", at.offset(handle / 4 * entry_size))?;
    match entry.layout().field("ObjectPointerBits") {
        Ok(field) => {
            let width = field.bits.map_or(44, |(_, width)| u32::from(width.clamp(16, 48)));
            // The upper of 48 bits, sign-extended.
            Ok(VirtAddr((((entry.uint("ObjectPointerBits")? << (64 - width)).cast_signed()) >> 16).cast_unsigned()))
        }
        Err(_) => Ok(VirtAddr(entry.uint("Object")? & !7)),
    }
}

impl Kernel {
    fn outcome(&self) -> Outcome {
        let detail = format!("{} at {}, {} age {}", self.pdb.name, self.base, self.pdb.guid, self.pdb.age);
        match self.headers {
            Some(_) => Outcome::Holds(detail),
            None => Outcome::Open("its header is paged out".to_owned()),
        }
    }
}

/// When the machine was started: the time of capture less the time it ran.
pub fn boot_time(context: Context<'_>) -> Result<Time, ReadError> {
    let implausible = ReadError::Implausible("boot time");
    let told = context.symbol("KeBootTime").and_then(|at| context.space.uint(at, 8)).ok().filter(|units| plausible_time(*units));
    let units = match told {
        Some(units) => units,
        None => {
            shared::now(context.space).zip(shared::uptime(context.space)).and_then(|(now, ran)| now.checked_sub(ran)).ok_or(implausible)?
        }
    };
    text::filetime(units).ok_or(implausible)
}
