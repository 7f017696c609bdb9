//! Device objects: those of each driver, and what is stacked upon them.

use super::files::whole;
use super::{Windows, lists};
use crate::address::VirtAddr;
use crate::facts::drivers::Device;
use crate::facts::{Hex, Known, ReadError, Scope, Sink};
use crate::symbols::Object;
use std::collections::BTreeMap;

/// _DEVICE_OBJECT.Type (IO_TYPE_DEVICE, wdm.h).
const IO_TYPE_DEVICE: u64 = 3;
/// _DEVICE_OBJECT.StackSize is a signed byte.
const MOST_STACKED: usize = 127;

/// FILE_DEVICE_* by their number, from 1 (wdm.h, winioctl.h); two numbers were never given away.
#[rustfmt::skip]
const TYPES: [&str; 0x5d] = [
    "BEEP", "CD_ROM", "CD_ROM_FILE_SYSTEM", "CONTROLLER", "DATALINK", "DFS", "DISK", "DISK_FILE_SYSTEM", "FILE_SYSTEM", "INPORT_PORT",
    "KEYBOARD", "MAILSLOT", "MIDI_IN", "MIDI_OUT", "MOUSE", "MULTI_UNC_PROVIDER", "NAMED_PIPE", "NETWORK", "NETWORK_BROWSER",
    "NETWORK_FILE_SYSTEM", "NULL", "PARALLEL_PORT", "PHYSICAL_NETCARD", "PRINTER", "SCANNER", "SERIAL_MOUSE_PORT", "SERIAL_PORT", "SCREEN",
    "SOUND", "STREAMS", "TAPE", "TAPE_FILE_SYSTEM", "TRANSPORT", "UNKNOWN", "VIDEO", "VIRTUAL_DISK", "WAVE_IN", "WAVE_OUT", "8042_PORT",
    "NETWORK_REDIRECTOR", "BATTERY", "BUS_EXTENDER", "MODEM", "VDM", "MASS_STORAGE", "SMB", "KS", "CHANGER", "SMARTCARD", "ACPI", "DVD",
    "FULLSCREEN_VIDEO", "DFS_FILE_SYSTEM", "DFS_VOLUME", "SERENUM", "TERMSRV", "KSEC", "FIPS", "INFINIBAND", "", "", "VMBUS",
    "CRYPT_PROVIDER", "WPD", "BLUETOOTH", "MT_COMPOSITE", "MT_TRANSPORT", "BIOMETRIC", "PMI", "EHSTOR", "DEVAPI", "GPIO", "USBEX", "", "", "",
    "", "", "", "CONSOLE", "NFP", "SYSENV", "VIRTUAL_BLOCK", "POINT_OF_SERVICE", "STORAGE_REPLICATION", "TRUST_ENV", "UCM", "UCMTCPCI",
    "PERSISTENT_MEMORY", "NVDIMM", "HOLOGRAPHIC", "SDFXHCI", "UCMUCSI",
];

pub fn devices(windows: &Windows, _: Scope, out: &mut Sink<Device>) {
    let mut found: BTreeMap<VirtAddr, Vec<&'static str>> = BTreeMap::new();
    let mut order = Vec::new();
    let mut add = |device: VirtAddr, source: &'static str| {
        let sources = found.entry(device).or_default();
        if sources.is_empty() {
            order.push(device);
        }
        if !sources.contains(&source) {
            sources.push(source);
        }
    };
    let mut notes = Vec::new();
    for address in windows.driver_objects(out.watch(), &mut notes).into_keys() {
        if out.cancelled() {
            return;
        }
        let Ok(Some(driver)) = windows.driver(address) else { continue };
        let (devices, trouble) = windows.devices_of(&driver);
        if let Some(why) = trouble {
            notes.push(format!("the devices of {} end early: {why}", windows.driver_label(&driver).value().cloned().unwrap_or_default()));
        }
        for device in devices {
            add(device, "driver");
            windows.above(device).0.into_iter().for_each(|above| add(above, "attached"));
        }
    }
    match windows.objects_by_tag(b"Devi", "Device", out.watch()) {
        Ok(devices) => devices.into_iter().for_each(|device| add(device, "pool_scan")),
        Err(why) => notes.push(format!("the pools were not searched for device objects: {why}")),
    }
    notes.into_iter().for_each(|note| out.note(note));
    out.each(
        &order,
        |address| format!("device object {address}"),
        |address, out| {
            if let Some(device) = windows.device(*address)? {
                out.push(windows.device_row(&device, found.get(address).cloned().unwrap_or_default())?);
            }
            Ok(())
        },
    );
}

impl Windows {
    /// The devices of a driver, as far as they hold together, and what broke the list.
    fn devices_of(&self, driver: &Object<'_>) -> (Vec<VirtAddr>, Option<ReadError>) {
        let first = driver.pointer("DeviceObject");
        self.linked(first, lists::MOST, |device| {
            let own = device.pointer("DriverObject")? == driver.address;
            if own { device.pointer("NextDevice") } else { Err(ReadError::Implausible("device object")) }
        })
    }

    /// The devices attached above one, nearest first.
    fn above(&self, device: VirtAddr) -> (Vec<VirtAddr>, Option<ReadError>) {
        let first = self.context().object("_DEVICE_OBJECT", device).and_then(|device| device.pointer("AttachedDevice"));
        self.linked(first, MOST_STACKED, |device| device.pointer("AttachedDevice"))
    }

    fn linked(
        &self,
        first: Result<VirtAddr, ReadError>,
        most: usize,
        next: impl Fn(&Object<'_>) -> Result<VirtAddr, ReadError>,
    ) -> (Vec<VirtAddr>, Option<ReadError>) {
        match first {
            Ok(first) => lists::chain(first, most, |at| match self.device(at)? {
                Some(device) => next(&device),
                None => Err(ReadError::Implausible("device object")),
            }),
            Err(why) => (Vec::new(), Some(why)),
        }
    }

    /// None where the bytes are no device object.
    pub(super) fn device(&self, address: VirtAddr) -> Result<Option<Object<'_>>, ReadError> {
        let device = self.context().object("_DEVICE_OBJECT", address)?;
        // The size counts what the driver keeps behind it.
        let sound = address.is_kernel()
            && device.uint("Type")? == IO_TYPE_DEVICE
            && device.uint("Size")? >= u64::from(device.layout().size)
            && self.driver(device.pointer("DriverObject")?)?.is_some();
        Ok(sound.then_some(device))
    }

    fn device_row(&self, device: &Object<'_>, sources: Vec<&'static str>) -> Result<Device, ReadError> {
        let label = |address| match self.driver(address) {
            Ok(Some(driver)) => self.driver_label(&driver),
            Ok(None) => Known::Unreadable(ReadError::Implausible("driver object")),
            Err(why) => Known::Unreadable(why),
        };
        let driver = device.pointer("DriverObject")?;
        let (above, broken) = self.above(device.address);
        let owner = |above| self.context().object("_DEVICE_OBJECT", above).and_then(|device| device.pointer("DriverObject"));
        let attached = above.into_iter().map(|above| match owner(above).map(label) {
            Ok(Known::Value(name)) => name,
            _ => above.to_string(),
        });
        let name = self.header(device.address).and_then(|header| self.object_path(&header)).and_then(|name| name.map(whole).transpose());
        let below = device.follow("DeviceObjectExtension").and_then(|extension| match extension {
            Some(extension) => extension.pointer("AttachedTo").map(|below| Some(below).filter(|below| !below.is_null())),
            None => Ok(None),
        });
        Ok(Device {
            driver: label(driver),
            name: name.into(),
            address: device.address,
            r#type: device.uint("DeviceType").and_then(known_type).into(),
            attached_to: below.into(),
            attached: attached.collect(),
            characteristics: device.uint("Characteristics").map(Hex).into(),
            flags: device.uint("Flags").map(Hex).into(),
            driver_address: driver,
            sources,
            problems: broken.map(|why| format!("attached devices: {why}")).into_iter().collect(),
        })
    }
}

/// Types are numbers of 16 bits; those of vendors are in the upper half (wdm.h).
fn known_type(number: u64) -> Result<String, ReadError> {
    if number <= 0xffff { Ok(type_name(number)) } else { Err(ReadError::Implausible("type of a device")) }
}

fn type_name(number: u64) -> String {
    let known = usize::try_from(number).ok().and_then(|number| TYPES.get(number.checked_sub(1)?)).filter(|name| !name.is_empty());
    known.map_or_else(|| format!("{number:#x}"), |name| format!("FILE_DEVICE_{name}"))
}

#[cfg(test)]
mod tests {
    use super::type_name;

    #[test]
    fn kinds_of_devices() {
        let known = [(1, "BEEP"), (0x22, "UNKNOWN"), (0x32, "ACPI"), (0x39, "KSEC"), (0x3e, "VMBUS"), (0x50, "CONSOLE"), (0x5d, "UCMUCSI")];
        for (number, name) in known {
            assert_eq!(type_name(number), format!("FILE_DEVICE_{name}"));
        }
        for (number, text) in [(0, "0x0"), (0x3c, "0x3c"), (0x4a, "0x4a"), (0x8000, "0x8000"), (u64::MAX, "0xffffffffffffffff")] {
            assert_eq!(type_name(number), text);
        }
    }
}
