//! Driver objects: what each driver does with each kind of request, and where that leads.

use super::files::whole;
use super::modules::{MOST_IMAGE, Place};
use super::{Windows, text};
use crate::address::VirtAddr;
use crate::facts::drivers::{Driver, DriverFunction};
use crate::facts::{Known, ReadError, Scope, Sink, Watch};
use crate::symbols::Object;
use std::collections::BTreeMap;

/// _DRIVER_OBJECT.Type (IO_TYPE_DRIVER, wdm.h).
const IO_TYPE_DRIVER: u64 = 4;
/// The directories that the object manager keeps driver objects in.
const DIRECTORIES: [&str; 2] = ["Driver", "FileSystem"];

/// IRP_MJ_* by their number (wdm.h).
const MAJOR: [&str; 28] = [
    "IRP_MJ_CREATE",
    "IRP_MJ_CREATE_NAMED_PIPE",
    "IRP_MJ_CLOSE",
    "IRP_MJ_READ",
    "IRP_MJ_WRITE",
    "IRP_MJ_QUERY_INFORMATION",
    "IRP_MJ_SET_INFORMATION",
    "IRP_MJ_QUERY_EA",
    "IRP_MJ_SET_EA",
    "IRP_MJ_FLUSH_BUFFERS",
    "IRP_MJ_QUERY_VOLUME_INFORMATION",
    "IRP_MJ_SET_VOLUME_INFORMATION",
    "IRP_MJ_DIRECTORY_CONTROL",
    "IRP_MJ_FILE_SYSTEM_CONTROL",
    "IRP_MJ_DEVICE_CONTROL",
    "IRP_MJ_INTERNAL_DEVICE_CONTROL",
    "IRP_MJ_SHUTDOWN",
    "IRP_MJ_LOCK_CONTROL",
    "IRP_MJ_CLEANUP",
    "IRP_MJ_CREATE_MAILSLOT",
    "IRP_MJ_QUERY_SECURITY",
    "IRP_MJ_SET_SECURITY",
    "IRP_MJ_POWER",
    "IRP_MJ_SYSTEM_CONTROL",
    "IRP_MJ_DEVICE_CHANGE",
    "IRP_MJ_QUERY_QUOTA",
    "IRP_MJ_SET_QUOTA",
    "IRP_MJ_PNP",
];
const IRP_MJ_SHUTDOWN: usize = 16;

/// The routines of _FAST_IO_DISPATCH (wdm.h).
const FAST_IO: [&str; 27] = [
    "FastIoCheckIfPossible",
    "FastIoRead",
    "FastIoWrite",
    "FastIoQueryBasicInfo",
    "FastIoQueryStandardInfo",
    "FastIoLock",
    "FastIoUnlockSingle",
    "FastIoUnlockAll",
    "FastIoUnlockAllByKey",
    "FastIoDeviceControl",
    "AcquireFileForNtCreateSection",
    "ReleaseFileForNtCreateSection",
    "FastIoDetachDevice",
    "FastIoQueryNetworkOpenInfo",
    "AcquireForModWrite",
    "MdlRead",
    "MdlReadComplete",
    "PrepareMdlWrite",
    "MdlWriteComplete",
    "FastIoReadCompressed",
    "FastIoWriteCompressed",
    "MdlReadCompleteCompressed",
    "MdlWriteCompleteCompressed",
    "FastIoQueryOpen",
    "ReleaseForModWrite",
    "AcquireForCcFlush",
    "ReleaseForCcFlush",
];

const NO_IMAGE: &str = "no_image";
const UNLOADED: &str = "unloaded";

/// A function of a driver object, and where it leads.
struct Function {
    name: &'static str,
    address: VirtAddr,
    at: Place,
    place: &'static str,
}

pub fn drivers(windows: &Windows, _: Scope, out: &mut Sink<Driver>) {
    each(windows, out, |driver, sources, out| {
        let row = windows.driver_row(driver, sources, out.watch())?;
        out.push(row);
        Ok(())
    });
}

pub fn driver_functions(windows: &Windows, _: Scope, out: &mut Sink<DriverFunction>) {
    let mut gone = 0;
    each(windows, out, |driver, _, out| {
        if windows.driver_state(driver, out.watch())?.0 == UNLOADED {
            gone += 1;
            return Ok(());
        }
        let name = windows.driver_label(driver);
        let (functions, trouble) = windows.functions(driver, out.watch());
        for Function { name: function, address, at, place } in functions {
            out.push(DriverFunction {
                driver: name.clone(),
                function,
                address,
                module: at.module,
                symbol: at.symbol,
                place,
                driver_address: driver.address,
                problems: at.problem.into_iter().collect(),
            });
        }
        trouble.map_or(Ok(()), Err)
    });
    if gone > 0 {
        out.note(format!("left out: the functions of {gone} driver objects whose image is no more"));
    }
}

/// Lets `show` add rows for each driver object.
fn each<T>(
    windows: &Windows,
    out: &mut Sink<T>,
    mut show: impl FnMut(&Object<'_>, Vec<&'static str>, &mut Sink<T>) -> Result<(), ReadError>,
) {
    let mut notes = Vec::new();
    let found: Vec<_> = windows.driver_objects(out.watch(), &mut notes).into_iter().collect();
    notes.into_iter().for_each(|note| out.note(note));
    out.each(
        &found,
        |(address, _)| format!("driver object {address}"),
        |(address, sources), out| match windows.driver(*address)? {
            Some(driver) => show(&driver, sources.clone(), out),
            None if sources.contains(&"directory") => Err(ReadError::Implausible("driver object")),
            None => Ok(()),
        },
    );
}

impl Windows {
    /// What may be driver objects, each with what led to it; `notes` are told what could not be searched.
    pub(super) fn driver_objects(&self, watch: &Watch, notes: &mut Vec<String>) -> BTreeMap<VirtAddr, Vec<&'static str>> {
        let mut found: BTreeMap<VirtAddr, Vec<&'static str>> = BTreeMap::new();
        match self.objects_by_tag(b"Driv", "Driver", watch) {
            Ok(objects) => objects.into_iter().for_each(|object| found.entry(object).or_default().push("pool_scan")),
            Err(why) => notes.push(format!("the pools were not searched for driver objects: {why}")),
        }
        for directory in DIRECTORIES {
            let (objects, trouble) = self.directory(&[directory]).unwrap_or_else(|why| (Vec::new(), Some(why)));
            if let Some(why) = trouble {
                notes.push(format!("the object directory \\{directory} was not read to its end: {why}"));
            }
            let is_driver = |object: &VirtAddr| self.header(*object).is_ok_and(|header| self.type_name(&header) == Ok("Driver"));
            objects.into_iter().filter(is_driver).for_each(|object| found.entry(object).or_default().push("directory"));
        }
        found
    }

    /// None where the bytes are no driver object.
    pub(super) fn driver(&self, address: VirtAddr) -> Result<Option<Object<'_>>, ReadError> {
        let driver = self.context().object("_DRIVER_OBJECT", address)?;
        if !address.is_kernel() || driver.uint("Type")? != IO_TYPE_DRIVER || driver.uint("Size")? != u64::from(driver.layout().size) {
            return Ok(None);
        }
        // The extension lies in the same block and points back.
        let extension = driver.follow("DriverExtension")?;
        let whole = extension.is_some_and(|extension| extension.pointer("DriverObject") == Ok(address));
        Ok(whole.then_some(driver))
    }

    /// How a driver is called: its object's name with the directories above it, else what the object itself keeps.
    pub(super) fn driver_label(&self, driver: &Object<'_>) -> Known<String> {
        let path = self.header(driver.address).and_then(|header| self.object_path(&header)).and_then(|name| name.map(whole).transpose());
        match path {
            Ok(Some(path)) => Known::Value(path),
            path => string(driver, "DriverName").value().cloned().map_or(path.into(), Known::Value),
        }
    }

    /// What became of a driver's image, and the module that it lies in.
    fn driver_state(&self, driver: &Object<'_>, watch: &Watch) -> Result<(&'static str, Place), ReadError> {
        let start = driver.pointer("DriverStart")?;
        if start.is_null() {
            return Ok((NO_IMAGE, Place::default()));
        }
        let place = self.place(start, watch);
        let mapped = || !matches!(self.space.leaf(start), Err(ReadError::NotMapped(_)));
        let state = match &place.module {
            _ if place.hidden => "hidden",
            Known::Value(_) => "loaded",
            // A broken list accuses nobody.
            Known::Unreadable(_) if mapped() => "loaded",
            Known::Absent if start.is_kernel() && mapped() => "hidden",
            _ => UNLOADED,
        };
        Ok((state, place))
    }

    fn driver_row(&self, driver: &Object<'_>, sources: Vec<&'static str>, watch: &Watch) -> Result<Driver, ReadError> {
        let (state, place) = self.driver_state(driver, watch)?;
        let mut problems: Vec<String> = place.problem.into_iter().collect();
        let mut foreign = Vec::new();
        if state != UNLOADED {
            let (functions, trouble) = self.functions(driver, watch);
            problems.extend(trouble.map(|why| format!("functions: {why}")));
            for Function { name, address, at, .. } in functions.into_iter().filter(|function| matches!(function.place, "other" | "none")) {
                match at.module {
                    Known::Value(module) => foreign.push(format!("{name} {module}")),
                    Known::Absent if matches!(self.space.leaf(address), Err(ReadError::NotMapped(_))) => {
                        problems.push(format!("{name}: {address} is not mapped"));
                    }
                    Known::Absent => foreign.push(format!("{name} {address} in no module")),
                    Known::Unreadable(_) => problems.extend(at.problem.map(|why| format!("{name}: {why}"))),
                }
            }
        }
        Ok(Driver {
            name: self.driver_label(driver),
            address: driver.address,
            start: address(driver, "DriverStart"),
            size: match driver.uint("DriverSize") {
                _ if state == NO_IMAGE => Known::Absent,
                Ok(MOST_IMAGE..) => Known::Unreadable(ReadError::Implausible("size")),
                size => size.into(),
            },
            module: place.module,
            driver_name: string(driver, "DriverName"),
            service_key: match driver.follow("DriverExtension") {
                Ok(Some(extension)) => string(&extension, "ServiceKeyName"),
                Ok(None) => Known::Absent,
                Err(why) => Known::Unreadable(why),
            },
            state,
            init: address(driver, "DriverInit"),
            unload: address(driver, "DriverUnload"),
            start_io: address(driver, "DriverStartIo"),
            foreign,
            sources,
            problems,
        })
    }

    /// The functions of a driver object, and what could not be read of them.
    fn functions(&self, driver: &Object<'_>, watch: &Watch) -> (Vec<Function>, Option<ReadError>) {
        let mut found: Vec<(&'static str, VirtAddr)> = Vec::new();
        let mut trouble = None;
        let mut add = |name, target: Result<VirtAddr, ReadError>| match target {
            Ok(target) if target.is_null() => {}
            Ok(target) => found.push((name, target)),
            Err(why) => trouble = trouble.or(Some(why)),
        };
        (0..MAJOR.len())
            .filter_map(|major| Some((MAJOR.get(major)?, major)))
            .for_each(|(name, major)| add(name, self.major(driver, major)));
        for name in ["DriverInit", "DriverStartIo", "DriverUnload"] {
            add(name, driver.pointer(name));
        }
        add("AddDevice", driver.follow_some("DriverExtension").and_then(|extension| extension.pointer("AddDevice")));
        match driver.follow("FastIoDispatch") {
            Ok(Some(table)) => {
                let size = table.uint("SizeOfFastIoDispatch").unwrap_or(0);
                let fits = |name: &&&'static str| table.layout().offset(name).is_ok_and(|offset| offset + 8 <= size);
                FAST_IO.iter().filter(fits).for_each(|name| add(name, table.pointer(name)));
            }
            Ok(None) => {}
            Err(why) => add("FastIoDispatch", Err(why)),
        }
        let (start, size) = (driver.pointer("DriverStart").unwrap_or_default(), driver.uint("DriverSize").unwrap_or(0).min(MOST_IMAGE));
        let functions = found.into_iter().map(|(name, address)| {
            let at = self.place(address, watch);
            let place = if !start.is_null() && address.0.wrapping_sub(start.0) < size {
                "own"
            } else if self.in_kernel(address) {
                "kernel"
            } else if at.module.value().is_some() {
                "other"
            } else {
                "none"
            };
            Function { name, address, at, place }
        });
        (functions.collect(), trouble)
    }

    fn major(&self, driver: &Object<'_>, major: usize) -> Result<VirtAddr, ReadError> {
        let (count, stride) = driver.array("MajorFunction")?;
        if major >= count as usize {
            return Ok(VirtAddr(0));
        }
        self.space.pointer(driver.at("MajorFunction")?.offset(major as u64 * u64::from(stride)))
    }

    /// What a driver does before the machine goes down.
    pub(super) fn shutdown_function(&self, driver: &Object<'_>) -> Result<VirtAddr, ReadError> {
        self.major(driver, IRP_MJ_SHUTDOWN)
    }
}

/// A pointer, absent where it is null.
fn address(driver: &Object<'_>, field: &'static str) -> Known<VirtAddr> {
    driver.pointer(field).map(|at| (!at.is_null()).then_some(at)).into()
}

/// A string, absent where it is empty.
fn string(object: &Object<'_>, field: &'static str) -> Known<String> {
    let text = object.inner(field).and_then(|text| text::unicode(&text)).and_then(whole);
    text.map(|text| Some(text).filter(|text| !text.is_empty())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_stand_at_their_numbers() {
        for (number, name) in
            [(0x00, "IRP_MJ_CREATE"), (0x0e, "IRP_MJ_DEVICE_CONTROL"), (0x17, "IRP_MJ_SYSTEM_CONTROL"), (0x1b, "IRP_MJ_PNP")]
        {
            assert_eq!(MAJOR[number], name);
        }
        assert_eq!(MAJOR[IRP_MJ_SHUTDOWN], "IRP_MJ_SHUTDOWN");
    }
}
