//! Writes small event logs for tests: chunks with templates and records as the EventLog service writes them.

use super::log::{CHUNK, CHUNK_MAGIC, RECORD_MAGIC};
use crate::facts::event::Guid;
use flate2::Crc;
use std::collections::HashMap;

/// 2024-05-09 08:52:48.2289093 UTC.
pub const TIME: u64 = 133_597_183_682_289_093;

/// A value of a record: its type and bytes.
#[derive(Clone)]
pub struct Item(pub u8, pub Vec<u8>);

pub fn text(text: &str) -> Item {
    Item(1, text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect())
}
pub fn number(number: u32) -> Item {
    Item(8, number.to_le_bytes().to_vec())
}
pub fn port(number: u16) -> Item {
    Item(6, number.to_le_bytes().to_vec())
}
pub fn truth(value: bool) -> Item {
    Item(0x0d, u32::from(value).to_le_bytes().to_vec())
}
pub fn guid(text: &str) -> Item {
    Item(0x0f, Guid::parse(text).unwrap().0.to_vec())
}

/// A chunk in the making.
pub struct Chunk {
    pub bytes: Vec<u8>,
    names: HashMap<String, u32>,
    templates: HashMap<u32, u32>,
    number: u64,
    last: usize,
}

/// What a template's elements hold.
enum Part<'a> {
    Open(&'a str),
    /// An element with attributes follows.
    OpenWith(&'a str),
    Attribute(&'a str),
    Content,
    Empty,
    End,
    Text(&'a str),
    Slot(u16, u8),
}

impl Chunk {
    pub fn new(first: u64) -> Self {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(CHUNK_MAGIC);
        Self { bytes, names: HashMap::new(), templates: HashMap::new(), number: first, last: 512 }
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(word.to_le_bytes());
    }

    fn name(&mut self, name: &str) {
        let here = self.bytes.len() as u32 + 4;
        let known = *self.names.entry(name.to_owned()).or_insert(here);
        self.word(known);
        if known == here {
            self.word(0);
            self.bytes.extend([0, 0]);
            self.letters(name);
            self.bytes.extend([0, 0]);
        }
    }

    fn letters(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().collect();
        self.bytes.extend((units.len() as u16).to_le_bytes());
        self.bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
    }

    /// An instance: the template, defined here if it is new, and its values.
    fn instance(&mut self, id: u32, parts: &[Part<'_>], values: &[Item]) {
        self.bytes.extend([0x0c, 1]);
        self.word(id);
        let here = self.bytes.len() as u32 + 4;
        let known = *self.templates.entry(id).or_insert(here);
        self.word(known);
        if known == here {
            self.word(0);
            self.word(id);
            self.bytes.extend([7; 12]);
            let length = self.bytes.len();
            self.word(0);
            self.bytes.extend([0x0f, 1, 1, 0]);
            for part in parts {
                self.part(part);
            }
            self.bytes.push(0);
            let size = (self.bytes.len() - length - 4) as u32;
            self.bytes[length..length + 4].copy_from_slice(&size.to_le_bytes());
        }
        self.word(values.len() as u32);
        for Item(kind, bytes) in values {
            self.bytes.extend((bytes.len() as u16).to_le_bytes());
            self.bytes.extend([*kind, 0]);
        }
        values.iter().for_each(|Item(_, bytes)| self.bytes.extend(bytes));
    }

    fn part(&mut self, part: &Part<'_>) {
        match part {
            Part::Open(name) | Part::OpenWith(name) => {
                let with = matches!(part, Part::OpenWith(_));
                self.bytes.extend([if with { 0x41 } else { 0x01 }, 0xff, 0xff, 0, 0, 0, 0]);
                self.name(name);
                if with {
                    self.word(0);
                }
            }
            Part::Attribute(name) => {
                self.bytes.push(0x06);
                self.name(name);
            }
            Part::Content => self.bytes.push(0x02),
            Part::Empty => self.bytes.push(0x03),
            Part::End => self.bytes.push(0x04),
            Part::Text(text) => {
                self.bytes.extend([0x05, 1]);
                self.letters(text);
            }
            Part::Slot(index, kind) => {
                self.bytes.push(0x0e);
                self.bytes.extend(index.to_le_bytes());
                self.bytes.push(*kind);
            }
        }
    }

    /// A Sysmon record. Its templates are named by the event and by the machine.
    pub fn sysmon(&mut self, computer: &str, event: u16, written: u64, fields: &[(&str, Item)]) -> &mut Self {
        let start = self.bytes.len();
        self.begin(written);
        let record = self.number;
        let mut parts = vec![Part::Open("EventData"), Part::Content];
        for (index, (name, item)) in fields.iter().enumerate() {
            parts.extend([Part::OpenWith("Data"), Part::Attribute("Name"), Part::Text(name), Part::Content]);
            parts.extend([Part::Slot(index as u16, item.0), Part::End]);
        }
        parts.push(Part::End);
        let provider = super::sysmon::PROVIDER.0.to_vec();
        let small = |kind: u8, bytes: &[u8]| Item(kind, bytes.to_vec());
        let wide = |text: &str| Item(1, text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        let mut system = vec![
            small(4, &[4]),
            small(4, &[0]),
            small(6, &event.to_le_bytes()),
            small(6, &event.to_le_bytes()),
            small(0, &[0, 0]),
            small(0x15, &[0, 0, 0, 0, 0, 0, 0, 0x80]),
            small(0x11, &written.to_le_bytes()),
            small(0, &[]),
            number(1804),
            number(2240),
            small(0x0a, &record.to_le_bytes()),
            small(4, &[5]),
            small(0x13, &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]),
            small(0, &[]),
            wide("Microsoft-Windows-Sysmon"),
            Item(0x0f, provider),
            wide("Microsoft-Windows-Sysmon/Operational"),
        ];
        // Offsets of the inner part count from the chunk's start: it is written once to learn its length, then in place.
        let outer_id = 0x3b + computer.len() as u32;
        let inner_id = 0x1000 + u32::from(event) * 64 + fields.len() as u32;
        let items: Vec<Item> = fields.iter().map(|(_, item)| item.clone()).collect();
        let mut probe =
            Self { bytes: self.bytes.clone(), names: self.names.clone(), templates: self.templates.clone(), number: 0, last: 0 };
        system.push(Item(0x21, Vec::new()));
        probe.instance(outer_id, &outer(computer), &system);
        let at = probe.bytes.len();
        probe.instance(inner_id, &parts, &items);
        let inner = probe.bytes[at..].to_vec();
        let (names, templates) = (probe.names, probe.templates);
        system.pop();
        system.push(Item(0x21, inner));
        self.instance(outer_id, &outer(computer), &system);
        (self.names, self.templates) = (names, templates);
        self.end(start);
        self
    }

    fn begin(&mut self, written: u64) {
        self.last = self.bytes.len();
        self.bytes.extend(RECORD_MAGIC);
        self.word(0);
        self.bytes.extend(self.number.to_le_bytes());
        self.bytes.extend(written.to_le_bytes());
        self.bytes.extend([0x0f, 1, 1, 0]);
    }

    fn end(&mut self, start: usize) {
        self.bytes.resize((self.bytes.len() + 4).next_multiple_of(8), 0);
        let size = (self.bytes.len() - start) as u32;
        self.bytes[start + 4..start + 8].copy_from_slice(&size.to_le_bytes());
        let tail = self.bytes.len() - 4;
        self.bytes[tail..].copy_from_slice(&size.to_le_bytes());
        self.number += 1;
    }

    /// Where the last record begins.
    pub fn last(&self) -> usize {
        self.last
    }

    /// The chunk with its checksums, 64 KiB long.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let free = bytes.len();
        bytes[48..52].copy_from_slice(&(free as u32).to_le_bytes());
        let sum = |bytes: &[&[u8]]| {
            let mut crc = Crc::new();
            bytes.iter().for_each(|part| crc.update(part));
            crc.sum().to_le_bytes()
        };
        let records = sum(&[&bytes[512..]]);
        bytes[52..56].copy_from_slice(&records);
        let header = sum(&[&bytes[..120], &bytes[128..512]]);
        bytes[124..128].copy_from_slice(&header);
        bytes.resize(CHUNK, 0);
        bytes
    }
}

/// The template of the System part, as all providers have it.
fn outer(computer: &str) -> Vec<Part<'_>> {
    use Part::{Attribute, Content, Empty, End, Open, OpenWith, Slot, Text};
    let mut parts = vec![Open("Event"), Content, Open("System"), Content];
    parts.extend([OpenWith("Provider"), Attribute("Name"), Slot(14, 1), Attribute("Guid"), Slot(15, 15), Empty]);
    for (name, slot, kind) in [("EventID", 3, 6), ("Version", 11, 4), ("EventRecordID", 10, 10), ("Channel", 16, 1)] {
        parts.extend([Open(name), Content, Slot(slot, kind), End]);
    }
    parts.extend([OpenWith("TimeCreated"), Attribute("SystemTime"), Slot(6, 0x11), Empty]);
    parts.extend([OpenWith("Security"), Attribute("UserID"), Slot(12, 0x13), Empty]);
    parts.extend([Open("Computer"), Content, Text(computer), End, End, Slot(17, 0x21), End]);
    parts
}

/// The fields of a network connection.
pub fn connect<'a>(process: &str, pid: u32, initiated: bool, from: (&str, u16), to: (&str, u16)) -> Vec<(&'a str, Item)> {
    let ends = |v: &str| truth(v.contains(':'));
    vec![
        ("RuleName", text("")),
        ("UtcTime", text("2024-05-09 08:52:47.207")),
        ("ProcessGuid", guid(process)),
        ("ProcessId", number(pid)),
        ("Image", text("C:\\Program Files\\Chrome\\chrome.exe")),
        ("User", text("PC\\mara")),
        ("Protocol", text("tcp")),
        ("Initiated", truth(initiated)),
        ("SourceIsIpv6", ends(from.0)),
        ("SourceIp", text(from.0)),
        ("SourceHostname", text("")),
        ("SourcePort", port(from.1)),
        ("SourcePortName", text("")),
        ("DestinationIsIpv6", ends(to.0)),
        ("DestinationIp", text(to.0)),
        ("DestinationHostname", text("")),
        ("DestinationPort", port(to.1)),
        ("DestinationPortName", text("")),
    ]
}
