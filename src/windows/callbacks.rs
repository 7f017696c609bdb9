//! Callbacks: functions that drivers have asked the kernel to call. No PDB describes the registrations; their shapes here hold for all
//! 64-bit versions since Windows 7.

use super::files::whole;
use super::{Windows, fast_ref, lists, text};
use crate::address::VirtAddr;
use crate::facts::drivers::Callback;
use crate::facts::{ReadError, Scope, Sink};
use std::collections::HashSet;

/// EX_CALLBACK_ROUTINE_BLOCK: a rundown reference, the function, its context.
const BLOCK_FUNCTION: u64 = 8;
/// No array of callbacks is longer (PSP_MAX_LOAD_IMAGE_NOTIFY and the like).
const MOST_IN_ARRAY: u64 = 64;

/// Arrays of EX_CALLBACK, and the counters that the kernel keeps beside.
const ARRAYS: [(&str, &str, &[&str]); 4] = [
    ("process", "PspCreateProcessNotifyRoutine", &["PspCreateProcessNotifyRoutineCount", "PspCreateProcessNotifyRoutineExCount"]),
    ("thread", "PspCreateThreadNotifyRoutine", &["PspCreateThreadNotifyRoutineCount", "PspCreateThreadNotifyRoutineNonSystemCount"]),
    ("image", "PspLoadImageNotifyRoutine", &["PspLoadImageNotifyRoutineCount"]),
    ("io_priority", "IopUpdatePriorityCallbackRoutine", &["IopUpdatePriorityCallbackRoutineCount"]),
];

/// How the registrations hang together.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// A ring of _LIST_ENTRY.
    Ring,
    /// Single links from a pointer.
    Chain,
}

/// What is known of a registration.
struct Told {
    function: VirtAddr,
    detail: Result<Option<String>, ReadError>,
    problem: Option<String>,
}

type Read = fn(&Windows, VirtAddr) -> Result<Told, ReadError>;

/// Kind, the kernel's variable, and how a registration is read.
const LISTS: [(&str, &str, Shape, Read); 10] = [
    ("registry", "CallbackListHead", Shape::Ring, registry),
    ("bugcheck", "KeBugCheckCallbackListHead", Shape::Ring, bugcheck),
    ("bugcheck_reason", "KeBugCheckReasonCallbackListHead", Shape::Ring, bugcheck_reason),
    ("nmi", "KiNmiCallbackListHead", Shape::Chain, simple),
    ("shutdown", "IopNotifyShutdownQueueHead", Shape::Ring, shutdown),
    ("last_chance_shutdown", "IopNotifyLastChanceShutdownQueueHead", Shape::Ring, shutdown),
    ("file_system", "IopFsNotifyChangeQueueHead", Shape::Ring, file_system),
    ("logon_session", "SeFileSystemNotifyRoutinesHead", Shape::Chain, simple),
    ("logon_session", "SeFileSystemNotifyRoutinesExHead", Shape::Chain, simple),
    ("pnp", "PnpProfileNotifyList", Shape::Ring, pnp),
];

/// Device interface notifications stand in so many rings (NOTIFY_DEVICE_CLASS_HASH_BUCKETS).
const PNP_CLASSES: &str = "PnpDeviceClassNotifyList";
const PNP_BUCKETS: u64 = 13;
const RING_HEAD: u64 = 0x10;
/// IO_NOTIFICATION_EVENT_CATEGORY (wdm.h).
const PNP_EVENTS: [&str; 4] = ["reserved", "hardware profile change", "device interface change", "target device change"];
/// OB_OPERATION_* (wdm.h).
const OPERATIONS: [(u64, &str); 2] = [(1, "create"), (2, "duplicate")];
/// KBUGCHECK_CALLBACK_REASON (wdm.h).
const REASONS: [&str; 8] = [
    "invalid",
    "reserved",
    "secondary dump data",
    "dump I/O",
    "add pages",
    "secondary multi-part dump data",
    "remove pages",
    "triage dump data",
];

pub fn callbacks(windows: &Windows, _: Scope, out: &mut Sink<Callback>) {
    for (kind, list, counters) in ARRAYS {
        if let Err(why) = windows.array(kind, list, counters, out) {
            out.note(format!("{kind} callbacks: {why}"));
        }
    }
    for (kind, list, shape, read) in LISTS {
        match windows.context().symbol(list) {
            Ok(head) => {
                if let Some(why) = windows.list(kind, list, head, shape, read, out) {
                    out.note(format!("{list} ends early or was never made: {why}"));
                }
            }
            Err(why) => out.note(format!("{kind} callbacks: {why}")),
        }
    }
    match windows.context().symbol(PNP_CLASSES) {
        Ok(first) => {
            let heads = (0..PNP_BUCKETS).map(|bucket| first.offset(bucket * RING_HEAD));
            let broken: Vec<_> = heads.filter_map(|head| windows.list("pnp", PNP_CLASSES, head, Shape::Ring, pnp, out)).collect();
            if let Some(why) = broken.first() {
                out.note(format!("{} of the {PNP_BUCKETS} lists of {PNP_CLASSES} end early or were never made: {why}", broken.len()));
            }
        }
        Err(why) => out.note(format!("pnp callbacks: {why}")),
    }
    if let Err(why) = windows.object_callbacks(out) {
        out.note(format!("object callbacks: {why}"));
    }
    if let Err(why) = windows.thread_exit(out) {
        out.note(format!("thread_exit callbacks: {why}"));
    }
}

impl Windows {
    fn word(&self, at: VirtAddr, offset: u64) -> Result<VirtAddr, ReadError> {
        self.space.pointer(at.offset(offset))
    }

    fn callback(&self, kind: &'static str, list: &'static str, address: VirtAddr, told: Told, out: &mut Sink<Callback>) {
        let place = self.place(told.function, out.watch());
        out.push(Callback {
            kind,
            function: told.function,
            module: place.module,
            symbol: place.symbol,
            detail: told.detail.into(),
            address,
            list,
            problems: place.problem.into_iter().chain(told.problem).collect(),
        });
    }

    /// The callbacks in an array, which ends at the latest where another of the kernel's variables begins.
    fn array(&self, kind: &'static str, list: &'static str, counters: &[&'static str], out: &mut Sink<Callback>) -> Result<(), ReadError> {
        let start = self.context().symbol(list)?;
        let room = self.profile.symbols().after(start).map_or(MOST_IN_ARRAY, |next| (next.0 - start.0) / 8);
        let mut found = 0;
        for index in 0..room.min(MOST_IN_ARRAY) {
            let slot = self.word(start, index * 8)?;
            let block = fast_ref(slot.0);
            if block.is_null() {
                continue;
            }
            let function = if block.is_kernel() { self.word(block, BLOCK_FUNCTION) } else { Err(ReadError::Implausible("callback")) };
            match function {
                Ok(function) if function.is_kernel() => {
                    found += 1;
                    self.callback(kind, list, block, Told { function, detail: Ok(None), problem: None }, out);
                }
                Ok(_) => out.note(format!("place {index} of {list} leads to {block}, which is no callback")),
                Err(why) => out.note(format!("place {index} of {list} leads to {block}: {why}")),
            }
        }
        let counted = counters.iter().filter_map(|counter| self.space.uint(self.context().symbol(counter).ok()?, 4).ok());
        let counted: u64 = counted.sum();
        if counted > found && counted <= MOST_IN_ARRAY {
            out.note(format!("the kernel counts {counted} {kind} callbacks, {found} were found"));
        }
        Ok(())
    }

    /// The callbacks of a list, and what broke it.
    fn list(
        &self,
        kind: &'static str,
        list: &'static str,
        head: VirtAddr,
        shape: Shape,
        read: Read,
        out: &mut Sink<Callback>,
    ) -> Option<ReadError> {
        let (entries, broken) = match shape {
            Shape::Ring => lists::ring(self.context(), head),
            Shape::Chain => match self.space.pointer(head) {
                Ok(first) => lists::chain(first, lists::MOST, |at| self.space.pointer(at)),
                Err(why) => (Vec::new(), Some(why)),
            },
        };
        for entry in entries {
            match read(self, entry) {
                Ok(told) if told.function.is_kernel() => self.callback(kind, list, entry, told, out),
                Ok(told) => out.note(format!("{list} leads to {entry}, whose function {} is none", told.function)),
                Err(why) => out.note(format!("{list} leads to {entry}: {why}")),
            }
        }
        broken
    }

    /// Filters of handles to processes, threads and desktops (CALLBACK_ENTRY_ITEM, on the list of each type).
    fn object_callbacks(&self, out: &mut Sink<Callback>) -> Result<(), ReadError> {
        const LIST: &str = "ObTypeIndexTable";
        let mut seen = HashSet::new();
        for kind in self.object_types()? {
            if !kind.has("CallbackList") {
                return Err(ReadError::NoField("CallbackList"));
            }
            let name = text::unicode(&kind.inner("Name")?).unwrap_or_default();
            let (entries, broken) = lists::ring(self.context(), kind.at("CallbackList")?);
            for entry in entries.into_iter().filter(|entry| seen.insert(*entry)) {
                let (operations, owner) = (self.space.uint(entry.offset(0x10), 4)?, self.word(entry, 0x18)?);
                if self.word(entry, 0x20)? != kind.address {
                    out.note(format!("the callbacks of {name} lead to {entry}, which is not one of them"));
                    continue;
                }
                let altitude = self.altitude(owner.offset(0x10)).map(|altitude| format!(", altitude {altitude}")).unwrap_or_default();
                let words: Vec<&str> = OPERATIONS.iter().filter(|(bit, _)| operations & bit != 0).map(|(_, word)| *word).collect();
                for (when, offset) in [("before", 0x28), ("after", 0x30)] {
                    let function = self.word(entry, offset)?;
                    if function.is_kernel() {
                        let detail = format!("{when} {} of a handle to {name}{altitude}", words.join(" or "));
                        self.callback("object", LIST, entry, Told { function, detail: Ok(Some(detail)), problem: None }, out);
                    }
                }
            }
            if let Some(why) = broken {
                out.note(format!("the list of callbacks of {name} ends early: {why}"));
            }
        }
        Ok(())
    }

    /// The one function that is called as each thread ends.
    fn thread_exit(&self, out: &mut Sink<Callback>) -> Result<(), ReadError> {
        const LIST: &str = "PspLegoNotifyRoutine";
        let at = self.context().symbol(LIST)?;
        let function = self.space.pointer(at)?;
        if function.is_kernel() {
            self.callback("thread_exit", LIST, at, Told { function, detail: Ok(None), problem: None }, out);
        }
        Ok(())
    }

    /// Where a filter stands among others: a decimal number as text.
    fn altitude(&self, at: VirtAddr) -> Result<String, ReadError> {
        let altitude = text::unicode(&self.context().object("_UNICODE_STRING", at)?)?;
        let sound = !altitude.is_empty() && altitude.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
        sound.then_some(altitude).ok_or(ReadError::Implausible("altitude"))
    }

    /// How the driver of a driver object is called.
    fn named(&self, driver: VirtAddr) -> Result<Option<String>, ReadError> {
        let driver = self.driver(driver)?.ok_or(ReadError::Implausible("driver object"))?;
        Ok(self.driver_label(&driver).value().cloned())
    }
}

/// CM_CALLBACK_CONTEXT_BLOCK: links, counters, cookie, context, function, altitude.
fn registry(windows: &Windows, at: VirtAddr) -> Result<Told, ReadError> {
    let altitude = windows.altitude(at.offset(0x30));
    Ok(Told { function: windows.word(at, 0x28)?, detail: altitude.map(|altitude| Some(format!("altitude {altitude}"))), problem: None })
}

/// KBUGCHECK_CALLBACK_RECORD (wdm.h): links, function, buffer, its length, component, checksum.
fn bugcheck(windows: &Windows, at: VirtAddr) -> Result<Told, ReadError> {
    let (function, buffer, length) = (windows.word(at, 0x10)?, windows.word(at, 0x18)?, windows.space.uint(at.offset(0x20), 4)?);
    let (component, sum) = (windows.word(at, 0x28)?, windows.word(at, 0x30)?);
    Ok(record(windows, function, component, sum, &[function.0, buffer.0, length, component.0], ""))
}

/// KBUGCHECK_REASON_CALLBACK_RECORD (wdm.h): links, function, component, checksum, reason.
fn bugcheck_reason(windows: &Windows, at: VirtAddr) -> Result<Told, ReadError> {
    let (function, component) = (windows.word(at, 0x10)?, windows.word(at, 0x18)?);
    let (sum, reason) = (windows.word(at, 0x20)?, windows.space.uint(at.offset(0x28), 4)?);
    let word = REASONS.get(reason as usize).copied().unwrap_or("unknown reason");
    Ok(record(windows, function, component, sum, &[function.0, reason, component.0], &format!(", {word}")))
}

/// The kernel calls only records whose checksum is right.
fn record(windows: &Windows, function: VirtAddr, component: VirtAddr, sum: VirtAddr, parts: &[u64], more: &str) -> Told {
    let right = parts.iter().fold(0_u64, |sum, part| sum.wrapping_add(*part)) == sum.0;
    let name = windows.space.text(component, 64).and_then(whole);
    Told {
        function,
        detail: name.map(|name| Some(format!("component {name}{more}"))),
        problem: (!right).then(|| "the checksum is wrong: the kernel will not call it".to_owned()),
    }
}

/// KNMI_HANDLER_CALLBACK, SEP_LOGON_SESSION_TERMINATED_NOTIFICATION: the next one, then the function.
fn simple(windows: &Windows, at: VirtAddr) -> Result<Told, ReadError> {
    Ok(Told { function: windows.word(at, 8)?, detail: Ok(None), problem: None })
}

/// SHUTDOWN_PACKET: links, then the device whose driver is asked.
fn shutdown(windows: &Windows, at: VirtAddr) -> Result<Told, ReadError> {
    let device = windows.device(windows.word(at, 0x10)?)?.ok_or(ReadError::Implausible("device object"))?;
    let driver = device.follow_some("DriverObject")?;
    Ok(Told { function: windows.shutdown_function(&driver)?, detail: windows.named(driver.address), problem: None })
}

/// NOTIFICATION_PACKET: links, driver, function.
fn file_system(windows: &Windows, at: VirtAddr) -> Result<Told, ReadError> {
    Ok(Told { detail: windows.named(windows.word(at, 0x10)?), function: windows.word(at, 0x18)?, problem: None })
}

/// NOTIFY_ENTRY_HEADER: links, category, session, function, context, driver.
fn pnp(windows: &Windows, at: VirtAddr) -> Result<Told, ReadError> {
    let category = windows.space.uint(at.offset(0x10), 4)?;
    let category = PNP_EVENTS.get(category as usize).ok_or(ReadError::Implausible("PnP notification"))?;
    // A registration without a sound driver is none.
    let driver = windows.named(windows.word(at, 0x30)?)?.unwrap_or_default();
    Ok(Told { function: windows.word(at, 0x20)?, detail: Ok(Some(format!("{category}, {driver}"))), problem: None })
}
