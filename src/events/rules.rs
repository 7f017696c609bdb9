//! Sysmon's configuration, as XML and as the Rules value of the registry, and what it lets through of network connections
//! (microsoft/SysmonCommon, manifest.xml and rules.c; PSSysmonTools, SysmonRegFormat).
//!
//! Memory does not tell all that Sysmon saw, such as host names: a rule about what is not known gives neither yes nor no.

use super::sysmon;
use super::xml::{self, Token};
use crate::facts::Known;
use crate::facts::event::SysmonRule;
use std::collections::HashMap;

/// A connection to the network, by which sockets are judged.
const CONNECT: u32 = 3;
/// The sections of a configuration, the events that each is about, and whether these are logged without any.
const KINDS: [(&str, &[u32], bool); 22] = [
    ("ProcessCreate", &[1], true),
    ("FileCreateTime", &[2], false),
    ("NetworkConnect", &[CONNECT], false),
    ("ProcessTerminate", &[5], true),
    ("DriverLoad", &[6], false),
    ("ImageLoad", &[7], false),
    ("CreateRemoteThread", &[8], false),
    ("RawAccessRead", &[9], false),
    ("ProcessAccess", &[10], false),
    ("FileCreate", &[11], false),
    ("RegistryEvent", &[12, 13, 14], false),
    ("FileCreateStreamHash", &[15], false),
    ("PipeEvent", &[17, 18], false),
    ("WmiEvent", &[19, 20, 21], false),
    ("DnsQuery", &[22], false),
    ("FileDelete", &[23], false),
    ("ClipboardChange", &[24], false),
    ("ProcessTampering", &[25], false),
    ("FileDeleteDetected", &[26], false),
    ("FileBlockExecutable", &[27], false),
    ("FileBlockShredding", &[28], false),
    ("FileExecutableDetected", &[29], false),
];
/// Its fields, in the order in which compiled rules count them; before schema 4.1 without the first.
const FIELDS: [&str; 18] = [
    "RuleName",
    "UtcTime",
    "ProcessGuid",
    "ProcessId",
    "Image",
    "User",
    "Protocol",
    "Initiated",
    "SourceIsIpv6",
    "SourceIp",
    "SourceHostname",
    "SourcePort",
    "SourcePortName",
    "DestinationIsIpv6",
    "DestinationIp",
    "DestinationHostname",
    "DestinationPort",
    "DestinationPortName",
];
/// Entries of one kind in a compiled configuration.
const MOST: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Is,
    IsNot,
    IsAny,
    Contains,
    ContainsAny,
    ContainsAll,
    Excludes,
    ExcludesAny,
    ExcludesAll,
    BeginWith,
    NotBeginWith,
    EndWith,
    NotEndWith,
    LessThan,
    MoreThan,
    Image,
}

use Condition::{
    BeginWith, Contains, ContainsAll, ContainsAny, EndWith, Excludes, ExcludesAll, ExcludesAny, Image, Is, IsAny, IsNot, LessThan,
    MoreThan, NotBeginWith, NotEndWith,
};

/// The words of conditions.
const WORDS: [(&str, Condition); 16] = [
    ("is", Is),
    ("is not", IsNot),
    ("is any", IsAny),
    ("contains", Contains),
    ("contains any", ContainsAny),
    ("contains all", ContainsAll),
    ("excludes", Excludes),
    ("excludes any", ExcludesAny),
    ("excludes all", ExcludesAll),
    ("begin with", BeginWith),
    ("not begin with", NotBeginWith),
    ("end with", EndWith),
    ("not end with", NotEndWith),
    ("less than", LessThan),
    ("more than", MoreThan),
    ("image", Image),
];
/// Their numbers in compiled rules since version 14, and in those of version 1.
const CODES: [Condition; 16] = [
    Is,
    IsNot,
    Contains,
    ContainsAny,
    IsAny,
    ContainsAll,
    Excludes,
    ExcludesAny,
    ExcludesAll,
    BeginWith,
    EndWith,
    LessThan,
    MoreThan,
    Image,
    NotBeginWith,
    NotEndWith,
];
const OLD_CODES: [Condition; 9] = [Is, IsNot, Contains, Excludes, BeginWith, EndWith, LessThan, MoreThan, Image];

/// What is known of a field.
#[derive(Clone, Debug)]
pub enum Seen {
    Text(String),
    /// A path without its drive.
    Driveless(String),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    field: String,
    condition: Condition,
    /// In lower case.
    value: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Filter(Filter),
    /// A Rule of several filters.
    Group {
        name: String,
        all: bool,
        filters: Vec<Filter>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    /// The first of the events that it is about.
    event: u32,
    include: bool,
    /// All fields must fit, not one of them.
    all: bool,
    entries: Vec<Entry>,
}

/// The rules, by the events that they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    sections: Vec<Section>,
    /// Network connections are not watched at all.
    off: bool,
}

/// What the configuration says of a connection, and by which of its rules. None where it cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    pub logged: Option<bool>,
    pub why: String,
}

impl Config {
    /// A configuration file, or the bytes of the registry's value.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = xml::text(bytes);
        match text.trim_start_matches('\u{feff}').trim_start().starts_with('<') {
            true => Self::from_xml(&text),
            false => {
                Self::compiled(bytes).ok_or_else(|| "neither a configuration of Sysmon nor compiled rules of a known version".to_owned())
            }
        }
    }

    fn from_xml(text: &str) -> Result<Self, String> {
        let mut sections: Vec<Section> = Vec::new();
        let mut default = true;
        let mut relation: Option<bool> = None;
        let mut section: Option<Section> = None;
        let mut group: Option<Entry> = None;
        let mut filter: Option<Filter> = None;
        let mut is_sysmon = false;
        for token in xml::Tokens::new(text) {
            match token.map_err(str::to_owned)? {
                Token::Start { name, attributes, empty } => {
                    let get = |wanted: &str| {
                        attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
                    };
                    let all = get("groupRelation").map(|relation| relation.eq_ignore_ascii_case("and"));
                    match (name, &mut section) {
                        ("Sysmon", _) => {
                            is_sysmon = true;
                            // Up to schema 4.1 one rule was enough.
                            default =
                                get("schemaversion").and_then(|version| version.parse().ok()).is_none_or(|version: f64| version > 4.1);
                        }
                        ("RuleGroup", None) => relation = all,
                        (kind, None) if event_of(kind).is_some() => {
                            let include = get("onmatch").is_some_and(|on| on.eq_ignore_ascii_case("include"));
                            let made = Section {
                                event: event_of(kind).unwrap_or_default(),
                                include,
                                all: all.or(relation).unwrap_or(default),
                                entries: Vec::new(),
                            };
                            if empty {
                                sections.push(made);
                            } else {
                                section = Some(made);
                            }
                        }
                        ("Rule", Some(_)) if !empty => {
                            let name = get("name").unwrap_or_default().to_owned();
                            group = Some(Entry::Group { name, all: all.unwrap_or(default), filters: Vec::new() });
                        }
                        (field, Some(_)) if !empty => {
                            let word = get("condition").unwrap_or("is").trim().to_lowercase();
                            let (_, condition) =
                                WORDS.iter().find(|(known, _)| *known == word).ok_or_else(|| format!("no condition is called {word}"))?;
                            let name = get("name").unwrap_or_default().to_owned();
                            filter = Some(Filter { field: field.to_owned(), condition: *condition, value: String::new(), name });
                        }
                        _ => {}
                    }
                }
                Token::Text(text) => {
                    if let Some(filter) = &mut filter {
                        filter.value.push_str(&text);
                    }
                }
                Token::End(name) => match name {
                    kind if event_of(kind).is_some() => sections.extend(section.take()),
                    "RuleGroup" => relation = None,
                    "Rule" => {
                        if let (Some(section), Some(group)) = (&mut section, group.take()) {
                            section.entries.push(group);
                        }
                    }
                    _ => {
                        let Some(mut done) = filter.take() else { continue };
                        done.value = done.value.to_lowercase();
                        match (&mut group, &mut section) {
                            (Some(Entry::Group { filters, .. }), _) => filters.push(done),
                            (_, Some(section)) => section.entries.push(Entry::Filter(done)),
                            _ => {}
                        }
                    }
                },
            }
        }
        if is_sysmon { Ok(Self { sections, off: false }) } else { Err("no configuration of Sysmon".to_owned()) }
    }

    /// Compiled rules: entries that lead to each other by their offsets.
    fn compiled(bytes: &[u8]) -> Option<Self> {
        let blob = Blob(bytes);
        let version = blob.word(0)? >> 16;
        match version {
            1 if blob.word(0)? == 0x0001_0001 => old(blob),
            // What lies between is not public; it is tried as the later ones are.
            2..=64 => new(blob),
            _ => None,
        }
    }

    /// The registry says that network connections are not watched (Options).
    pub fn switch_off(&mut self) {
        self.off = true;
    }

    /// The sections about an event.
    fn of(&self, event: u32) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(move |section| section.event == event)
    }

    /// The rules as rows: each filter, and for each kind of event what is logged of it at all.
    pub fn rows(&self) -> Vec<SysmonRule> {
        let mut rows = Vec::new();
        for (kind, events, default) in KINDS {
            let first = events.first().copied().unwrap_or_default();
            let sections: Vec<&Section> = self.of(first).collect();
            let (logged, remark) = self.logged(first, &sections, default);
            let row = SysmonRule {
                event: kind,
                event_ids: events.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                logged,
                ..SysmonRule::default()
            };
            rows.push(SysmonRule { remark: remark.to_owned(), ..row.clone() });
            for section in sections {
                let onmatch = if section.include { "include" } else { "exclude" };
                for entry in &section.entries {
                    let (group, filters, within) = match entry {
                        Entry::Filter(filter) => (Known::Absent, std::slice::from_ref(filter), section.all),
                        Entry::Group { name, all, filters } => (Known::Value(name.clone()), filters.as_slice(), *all),
                    };
                    rows.extend(filters.iter().map(|filter| SysmonRule {
                        onmatch: Known::Value(onmatch),
                        relation: Known::Value(if within { "and" } else { "or" }),
                        group: group.clone(),
                        field: Known::Value(filter.field.clone()),
                        condition: Known::Value(filter.word()),
                        value: Known::Value(filter.value.clone()),
                        // Compiled filters of a rule bear its name.
                        name: Some(&filter.name).filter(|name| !name.is_empty() && group.value() != Some(*name)).cloned().into(),
                        ..row.clone()
                    }));
                }
            }
        }
        rows
    }

    /// What is logged of a kind of event: all, some or none, and why.
    fn logged(&self, event: u32, sections: &[&Section], default: bool) -> (&'static str, &'static str) {
        if event == CONNECT && self.off {
            return ("none", "blind spot: the options of the driver switch network monitoring off");
        }
        match sections {
            [] if default => ("all", "no rules: every event is logged"),
            [] => ("none", "blind spot: no rules, so no event is logged"),
            [one] if one.entries.is_empty() && one.include => ("none", "blind spot: it includes nothing, so no event is logged"),
            [one] if one.entries.is_empty() => ("all", "it excludes nothing: every event is logged"),
            [one] if !one.include => ("some", "logged unless a rule excludes it: what is excluded is a blind spot"),
            all if all.iter().all(|section| !section.include || section.entries.is_empty()) => {
                ("none", "blind spot: with several sections only what is included is logged, and nothing is")
            }
            _ => ("some", "logged where a rule includes it and none excludes it: the rest is a blind spot"),
        }
    }

    /// Whether a connection would be logged. `seen` tells what is known of a field.
    pub fn ruling(&self, seen: &dyn Fn(&str) -> Seen) -> Ruling {
        if self.off {
            return Ruling { logged: Some(false), why: "network monitoring is switched off".to_owned() };
        }
        let sections: Vec<&Section> = self.of(CONNECT).collect();
        if sections.is_empty() {
            return Ruling { logged: Some(false), why: "no rules for network connections: they are not logged".to_owned() };
        }
        let mut doubt: Option<String> = None;
        // Those that exclude come first, and the first that fits decides.
        let order = sections.iter().filter(|section| !section.include).chain(sections.iter().filter(|section| section.include));
        for section in order {
            let (fits, by) = section.fits(seen);
            let word = if section.include { "include" } else { "exclude" };
            match (fits, section.include) {
                (Some(true), false) if doubt.is_none() => return Ruling { logged: Some(false), why: format!("{word}: {by}") },
                (Some(true), true) if doubt.is_none() => return Ruling { logged: Some(true), why: format!("{word}: {by}") },
                (Some(true), _) => break,
                (None, _) => doubt = doubt.or_else(|| Some(format!("{word}: {by} cannot be told"))),
                (Some(false), _) => {}
            }
        }
        if let Some(why) = doubt {
            return Ruling { logged: None, why };
        }
        match sections.as_slice() {
            [only] if !only.include => Ruling { logged: Some(true), why: "nothing excludes it".to_owned() },
            _ => Ruling { logged: Some(false), why: "nothing includes it".to_owned() },
        }
    }
}

impl Section {
    /// Whether the section fits, and the entry that decides.
    fn fits(&self, seen: &dyn Fn(&str) -> Seen) -> (Option<bool>, String) {
        let entry = |entry: &Entry| match entry {
            Entry::Filter(filter) => filter.fits(seen),
            Entry::Group { all: true, filters, .. } => all(filters.iter().map(|filter| filter.fits(seen))),
            Entry::Group { filters, .. } => any(filters.iter().map(|filter| filter.fits(seen))),
        };
        if self.entries.is_empty() {
            return (Some(false), String::new());
        }
        if !self.all {
            let told: Vec<_> = self.entries.iter().map(|one| (entry(one), one)).collect();
            let by = |wanted| told.iter().find(|(fits, _)| *fits == wanted).map(|(_, one)| one.describe());
            return match (by(Some(true)), by(None)) {
                (Some(by), _) => (Some(true), by),
                (_, Some(by)) => (None, by),
                _ => (Some(false), String::new()),
            };
        }
        // Filters of one field stand for each other, all fields must fit, and a Rule is like a field of its own.
        let mut fields: Vec<(&str, Vec<Option<bool>>)> = Vec::new();
        let mut parts: Vec<Option<bool>> = Vec::new();
        for one in &self.entries {
            match one {
                Entry::Filter(filter) => match fields.iter_mut().find(|(field, _)| *field == filter.field) {
                    Some((_, told)) => told.push(entry(one)),
                    None => fields.push((&filter.field, vec![entry(one)])),
                },
                Entry::Group { .. } => parts.push(entry(one)),
            }
        }
        parts.extend(fields.iter().map(|(_, told)| any(told.iter().copied())));
        (all(parts.into_iter()), "all its rules".to_owned())
    }
}

impl Entry {
    fn describe(&self) -> String {
        match self {
            Self::Filter(filter) => {
                let word = filter.word();
                let name = if filter.name.is_empty() { String::new() } else { format!(" ({})", filter.name) };
                format!("{} {word} {}{name}", filter.field, filter.value)
            }
            Self::Group { name, .. } => format!("rule {name}"),
        }
    }
}

/// Whether one is true: that outweighs those which cannot be told.
fn any(told: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut open = false;
    for one in told {
        match one {
            Some(true) => return Some(true),
            None => open = true,
            Some(false) => {}
        }
    }
    if open { None } else { Some(false) }
}

fn all(told: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    any(told.map(not)).map(|none| !none)
}

fn not(told: Option<bool>) -> Option<bool> {
    told.map(|told| !told)
}

/// The first event that a section of a name is about.
fn event_of(kind: &str) -> Option<u32> {
    KINDS.iter().find(|(name, ..)| *name == kind)?.1.first().copied()
}

/// The first of the events that share a section with one.
fn first_of(event: u32) -> u32 {
    KINDS.iter().find(|(_, events, _)| events.contains(&event)).and_then(|(_, events, _)| events.first().copied()).unwrap_or(event)
}

impl Filter {
    fn word(&self) -> &'static str {
        WORDS.iter().find(|(_, known)| *known == self.condition).map_or("", |(word, _)| word)
    }

    fn fits(&self, seen: &dyn Fn(&str) -> Seen) -> Option<bool> {
        let seen = match seen(&self.field) {
            Seen::Text(text) => Seen::Text(text.to_lowercase()),
            Seen::Driveless(path) => Seen::Driveless(path.to_lowercase()),
            Seen::Unknown => return None,
        };
        let value = self.value.as_str();
        // A variable stands for another text on each machine.
        if value.contains('%') {
            return None;
        }
        let items = || value.split(';').filter(|item| !item.is_empty());
        match self.condition {
            Is => is(&seen, value),
            IsNot => not(is(&seen, value)),
            IsAny => any(items().map(|item| is(&seen, item))),
            Contains => contains(&seen, value),
            ContainsAny => any(items().map(|item| contains(&seen, item))),
            ContainsAll => all(items().map(|item| contains(&seen, item))),
            Excludes => not(contains(&seen, value)),
            // None of them is there; or not all of them are.
            ExcludesAny => not(any(items().map(|item| contains(&seen, item)))),
            ExcludesAll => not(all(items().map(|item| contains(&seen, item)))),
            BeginWith => begins(&seen, value),
            NotBeginWith => not(begins(&seen, value)),
            EndWith => ends(&seen, value),
            NotEndWith => not(ends(&seen, value)),
            // Even numbers are compared as text.
            LessThan => text(&seen).map(|text| text < value),
            MoreThan => text(&seen).map(|text| text > value),
            Image if value.contains('\\') => is(&seen, value),
            Image => match &seen {
                Seen::Text(path) | Seen::Driveless(path) => Some(path.rsplit('\\').next() == Some(value)),
                Seen::Unknown => None,
            },
        }
    }
}

fn text(seen: &Seen) -> Option<&str> {
    match seen {
        Seen::Text(text) => Some(text),
        _ => None,
    }
}

/// A value without its drive.
fn driveless(value: &str) -> Option<&str> {
    let (drive, rest) = value.split_once(':')?;
    (drive.len() == 1).then_some(rest)
}

fn is(seen: &Seen, value: &str) -> Option<bool> {
    match seen {
        Seen::Text(text) => Some(text == value),
        // Which drive it is on remains open.
        Seen::Driveless(path) if driveless(value) == Some(path) => None,
        Seen::Driveless(_) => Some(false),
        Seen::Unknown => None,
    }
}

fn contains(seen: &Seen, value: &str) -> Option<bool> {
    match seen {
        Seen::Text(text) => Some(text.contains(value)),
        Seen::Driveless(path) if path.contains(value) => Some(true),
        // What reaches into the drive's letter remains open.
        Seen::Driveless(path) => match value.rsplit_once(':') {
            Some((_, rest)) if path.starts_with(rest) => None,
            _ if value.len() == 1 => None,
            _ => Some(false),
        },
        Seen::Unknown => None,
    }
}

fn begins(seen: &Seen, value: &str) -> Option<bool> {
    match seen {
        Seen::Text(text) => Some(text.starts_with(value)),
        Seen::Driveless(path) => match driveless(value) {
            Some(rest) if path.starts_with(rest) => None,
            None if value.len() <= 1 => None,
            _ => Some(false),
        },
        Seen::Unknown => None,
    }
}

fn ends(seen: &Seen, value: &str) -> Option<bool> {
    match seen {
        Seen::Text(text) => Some(text.ends_with(value)),
        Seen::Driveless(path) if path.ends_with(value) => Some(true),
        Seen::Driveless(path) if driveless(value) == Some(path) => None,
        Seen::Driveless(_) => Some(false),
        Seen::Unknown => None,
    }
}

#[derive(Clone, Copy)]
struct Blob<'a>(&'a [u8]);

impl Blob<'_> {
    fn word(self, at: usize) -> Option<u32> {
        self.0.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
    }
    /// UTF-16 text of a size in bytes, up to its first NUL.
    fn text(self, at: usize, size: usize) -> Option<String> {
        let (units, _) = self.0.get(at..at.checked_add(size)?)?.as_chunks::<2>();
        let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
        Some(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }
    /// Entries that each name the next one, whose offset stands at `link`. None where they lead out of the bytes or never end.
    fn chain<T>(self, first: usize, link: usize, mut read: impl FnMut(usize) -> Option<T>) -> Option<Vec<T>> {
        let mut found = Vec::new();
        let mut at = first;
        while at != 0 {
            found.push(read(at)?);
            let next = self.word(at.checked_add(link)?)? as usize;
            // They are written one after the other.
            if (next != 0 && next <= at) || found.len() > MOST {
                return None;
            }
            at = next;
        }
        Some(found)
    }
}

/// Since version 2: sections and filters with names, and groups of filters.
fn new(blob: Blob<'_>) -> Option<Config> {
    const NAME: usize = 512;
    const GROUP_NAME: usize = 256;
    let schema = blob.word(12)?;
    let version = blob.word(0)? >> 16;
    let filter = |at: usize, event: u32| -> Option<(u32, Filter)> {
        let index = blob.word(at)? as usize;
        let rest = at + 4 + NAME;
        let field = match event {
            CONNECT => (*FIELDS.get(if schema <= 0x0004_0000 { index + 1 } else { index })?).to_owned(),
            // Which fields the events had then is known of the later versions.
            _ => sysmon::field(event, version, index).map_or_else(|| format!("field {index}"), str::to_owned),
        };
        let condition = *CODES.get(blob.word(rest)? as usize)?;
        let (size, group) = (blob.word(rest + 8)? as usize, blob.word(rest + 12)?);
        let value = blob.text(rest + 20, size)?.to_lowercase();
        Some((group, Filter { field, condition, value, name: blob.text(at + 4, NAME)? }))
    };
    // Groups: name, eight bytes, number, first filter, next group, number of filters, relation.
    let groups = blob.chain(blob.word(20)? as usize, GROUP_NAME + 16, |at| {
        let rest = at + GROUP_NAME + 8;
        Some((blob.word(rest)?, at, blob.word(rest + 16)? != 0))
    })?;
    let sections = blob.chain(blob.word(16)? as usize, 12, |at| {
        let event = blob.word(at)?;
        let filters = |first: usize| blob.chain(first, 4 + NAME + 4, |at| filter(at, event));
        let mut entries = Vec::new();
        let mut places: HashMap<u32, usize> = HashMap::new();
        for (number, filter) in filters(blob.word(at + 20)? as usize)? {
            let Some((_, at, all)) = groups.iter().find(|(known, ..)| number != 0 && *known == number) else {
                entries.push(Entry::Filter(filter));
                continue;
            };
            // The filters of a group stand in their section's chain, each with the number of the group.
            match places.get(&number).and_then(|place| entries.get_mut(*place)) {
                Some(Entry::Group { filters, .. }) => filters.push(filter),
                _ => {
                    places.insert(number, entries.len());
                    entries.push(Entry::Group { name: blob.text(*at, GROUP_NAME)?, all: *all, filters: vec![filter] });
                }
            }
        }
        Some(Section { event: first_of(event), include: blob.word(at + 4)? != 0, all: blob.word(at + 8)? != 0, entries })
    })?;
    Some(Config { sections, off: false })
}

/// Version 1: no names, no groups, one filter of many is enough, and the fields of schemas before 4.1.
fn old(blob: Blob<'_>) -> Option<Config> {
    let sections = blob.chain(blob.word(8)? as usize, 8, |at| {
        let event = blob.word(at)?;
        let first = if blob.word(at + 12)? == 0 { 0 } else { at + 16 };
        let entries = blob.chain(first, 8, |at| {
            let index = blob.word(at)? as usize;
            let field = match event {
                CONNECT => (*FIELDS.get(index + 1)?).to_owned(),
                _ => format!("field {index}"),
            };
            let condition = *OLD_CODES.get(blob.word(at + 4)? as usize)?;
            let value = blob.text(at + 16, blob.word(at + 12)? as usize)?.to_lowercase();
            Some(Entry::Filter(Filter { field, condition, value, name: String::new() }))
        })?;
        Some(Section { event: first_of(event), include: blob.word(at + 4)? != 0, all: false, entries })
    })?;
    Some(Config { sections, off: false })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn xml(rules: &str) -> Config {
        Config::parse(format!("<Sysmon schemaversion=\"4.30\"><EventFiltering>{rules}</EventFiltering></Sysmon>").as_bytes()).unwrap()
    }

    fn rule(config: &Config, image: Seen, port: &str) -> Option<bool> {
        let seen = |field: &str| match field {
            "Image" => image.clone(),
            "DestinationPort" => Seen::Text(port.to_owned()),
            _ => Seen::Unknown,
        };
        config.ruling(&seen).logged
    }

    fn path(path: &str) -> Seen {
        Seen::Text(path.to_owned())
    }

    #[test]
    fn excludes_beat_includes_and_what_is_not_known_stays_open() {
        let both =
            xml("<RuleGroup groupRelation='or'><NetworkConnect onmatch=\"include\"><Image condition=\"begin with\">C:\\Users</Image>\
             <DestinationPort name=\"web &amp; more\">443</DestinationPort></NetworkConnect></RuleGroup>\
             <!-- <NetworkConnect/> --><RuleGroup groupRelation=\"or\"><NetworkConnect onmatch=\"exclude\">\
             <DestinationHostname condition=\"end with\">.example.net</DestinationHostname>\
             <Image condition=\"image\">chrome.exe</Image></NetworkConnect></RuleGroup>");
        assert_eq!(rule(&both, path("C:\\Program Files\\Chrome.exe"), "443"), Some(false));
        // The host's name would be needed.
        assert_eq!(rule(&both, path("C:\\x.exe"), "443"), None);
        // Whatever its name, nothing includes it.
        assert_eq!(rule(&both, path("C:\\x.exe"), "80"), None);
        let include =
            xml("<NetworkConnect onmatch=\"include\" groupRelation=\"or\"><DestinationPort>443</DestinationPort></NetworkConnect>");
        assert_eq!(rule(&include, Seen::Unknown, "443"), Some(true));
        assert_eq!(rule(&include, Seen::Unknown, "80"), Some(false));
        let all = xml("<NetworkConnect onmatch=\"exclude\"/>");
        assert_eq!(rule(&all, Seen::Unknown, "1"), Some(true));
        assert_eq!(rule(&xml("<NetworkConnect onmatch=\"include\"/>"), Seen::Unknown, "1"), Some(false));
        assert_eq!(rule(&xml(""), Seen::Unknown, "1"), Some(false));
    }

    #[test]
    fn relations() {
        // Two values of one field stand for each other, different fields do not.
        let and = xml("<NetworkConnect onmatch=\"include\"><DestinationPort>80</DestinationPort><DestinationPort>443</DestinationPort>\
             <Image condition=\"image\">a.exe</Image></NetworkConnect>");
        assert_eq!(rule(&and, path("C:\\A.exe"), "443"), Some(true));
        assert_eq!(rule(&and, path("C:\\b.exe"), "443"), Some(false));
        assert_eq!(rule(&and, Seen::Unknown, "22"), Some(false));
        let group =
            xml("<NetworkConnect onmatch=\"include\"><Rule name=\"r\" groupRelation=\"and\"><DestinationPort condition=\"more than\">4\
             </DestinationPort><DestinationPort condition=\"less than\">5</DestinationPort></Rule></NetworkConnect>");
        // Ports are compared as text.
        assert_eq!(rule(&group, Seen::Unknown, "443"), Some(true));
        assert_eq!(rule(&group, Seen::Unknown, "9"), Some(false));
    }

    #[test]
    fn paths_without_their_drive() {
        let seen = Seen::Driveless("\\Windows\\System32\\svchost.exe".to_owned());
        let one = |condition: &str, value: &str| {
            let rules = format!("<NetworkConnect onmatch=\"include\"><Image condition=\"{condition}\">{value}</Image></NetworkConnect>");
            rule(&xml(&rules), seen.clone(), "1")
        };
        assert_eq!(one("image", "svchost.exe"), Some(true));
        assert_eq!(one("end with", "\\svchost.exe"), Some(true));
        assert_eq!(one("contains", "System32"), Some(true));
        assert_eq!(one("contains any", "Temp;Users"), Some(false));
        assert_eq!(one("excludes any", "Temp;Users"), Some(true));
        assert_eq!(one("is", "C:\\Windows\\System32\\svchost.exe"), None);
        assert_eq!(one("is", "C:\\Windows\\System32\\other.exe"), Some(false));
        assert_eq!(one("begin with", "C:\\Windows"), None);
        assert_eq!(one("begin with", "C:\\Users"), Some(false));
        assert_eq!(one("is", "%SystemRoot%\\System32\\svchost.exe"), None);
    }

    /// Compiled rules of version 15 with one section of one filter.
    fn compiled() -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let wide = |text: &str, size: usize| {
            let mut bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            bytes.resize(size, 0);
            bytes
        };
        let mut blob = words(&[0x000f_0000, 1, 24, 0x0004_001e, 24, 0]);
        blob.extend(words(&[3, 1, 0, 0, 1, 48]));
        blob.extend(words(&[16]));
        blob.extend(wide("proxy", 512));
        blob.extend(words(&[0, 0, 10, 0, 0]));
        blob.extend(wide("1080", 10));
        blob
    }

    #[test]
    fn a_compiled_group_has_its_own_filters_and_no_others() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let wide = |text: &str, size: usize| {
            let mut bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            bytes.resize(size, 0);
            bytes
        };
        let filter = |value: &str, next: u32, group: u32| {
            let place = if group == 0 { 0 } else { 48 + 3 * 552 };
            [words(&[16]), wide("", 512), words(&[0, next, 16, group, place]), wide(value, 16)].concat()
        };
        let mut blob = words(&[0x000f_0000, 1, 24, 0x0004_001e, 24, 48 + 3 * 552]);
        blob.extend(words(&[3, 1, 0, 0, 3, 48]));
        blob.extend([filter("1", 48 + 552, 1), filter("2", 48 + 2 * 552, 1), filter("3", 0, 0)].concat());
        blob.extend([wide("both", 256), words(&[0, 0, 1, 48, 0, 2, 1, 0, 0])].concat());
        let config = Config::parse(&blob).unwrap();
        let sizes = |entry: &Entry| match entry {
            Entry::Group { name, filters, all } => (name.clone(), filters.len(), *all),
            Entry::Filter(filter) => (filter.value.clone(), 1, false),
        };
        assert_eq!(config.sections[0].entries.iter().map(sizes).collect::<Vec<_>>(), [("both".into(), 2, true), ("3".into(), 1, false)]);
    }

    #[test]
    fn compiled_rules_are_the_rules() {
        let blob = compiled();
        let same = xml(
            "<RuleGroup groupRelation=\"or\"><NetworkConnect onmatch=\"include\"><DestinationPort name=\"proxy\">1080</DestinationPort>\
             </NetworkConnect></RuleGroup>",
        );
        assert_eq!(Config::parse(&blob), Ok(same));
        // Chains that lead back, or out, are refused.
        let mut back = blob.clone();
        back[36..40].copy_from_slice(&24_u32.to_le_bytes());
        assert!(Config::parse(&back).is_err());
        for end in 0..blob.len() {
            assert!(Config::parse(&blob[..end]).is_err(), "{end}");
        }
        // The old form: no names.
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut old = words(&[0x0001_0001, 1, 16, 0x0003_000a, 3, 0, 0, 1, 15, 0, 0, 8]);
        old.extend("443\0".encode_utf16().flat_map(u16::to_le_bytes));
        let config = Config::parse(&old).unwrap();
        assert_eq!((rule(&config, Seen::Unknown, "443"), rule(&config, Seen::Unknown, "80")), (Some(false), Some(true)));
    }

    #[test]
    fn blind_spots_are_named() {
        let config = xml(
            "<ProcessCreate onmatch=\"exclude\"/><NetworkConnect onmatch=\"include\"><DestinationPort name=\"proxy\">1080</DestinationPort>\
             </NetworkConnect><RegistryEvent onmatch=\"include\"/><RuleGroup groupRelation=\"or\"><DnsQuery onmatch=\"exclude\"><Rule name=\"own\" \
             groupRelation=\"and\"><Image condition=\"image\">a.exe</Image><QueryName condition=\"end with\">.Corp</QueryName></Rule></DnsQuery></RuleGroup>",
        );
        let rows = config.rows();
        let logged = |event: &str| rows.iter().find(|row| row.event == event).map(|row| (row.logged, row.event_ids.as_str())).unwrap();
        assert_eq!(logged("ProcessCreate"), ("all", "1"));
        assert_eq!((logged("NetworkConnect").0, logged("RegistryEvent"), logged("DnsQuery").0), ("some", ("none", "12, 13, 14"), "some"));
        assert_eq!((logged("ProcessTerminate").0, logged("ImageLoad").0), ("all", "none"));
        let rules: Vec<String> = rows
            .iter()
            .filter_map(|row| {
                Some(format!("{} {} {} {}", row.onmatch.value()?, row.field.value()?, row.condition.value()?, row.value.value()?))
            })
            .collect();
        assert_eq!(rules, ["include DestinationPort is 1080", "exclude Image image a.exe", "exclude QueryName end with .corp"]);
        // Nothing of one kind of event decides about another.
        assert_eq!(rule(&config, Seen::Unknown, "80"), Some(false));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for text in ["", "<html></html>", "<Sysmon", "<Sysmon schemaversion=4>", "rules", "<Sysmon><NetworkConnect a='"] {
            assert!(Config::parse(text.as_bytes()).is_err(), "{text}");
        }
        let odd = "<Sysmon schemaversion=\"4.30\"><NetworkConnect onmatch=\"include\"><Image condition=\"like\">x</Image></NetworkConnect></Sysmon>";
        assert_eq!(Config::parse(odd.as_bytes()), Err("no condition is called like".to_owned()));
    }
}
