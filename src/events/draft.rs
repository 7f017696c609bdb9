//! A record while its XML unfolds: which element is open, and what of the event is known so far.

use super::binxml::Name;
use super::sysmon;
use crate::facts::Time;
use crate::facts::event::{Fields, Guid, Value};
use std::sync::Arc;

/// Fields of one event.
const MOST_FIELDS: usize = 4096;
const USUAL_FIELDS: usize = 18;

/// An element that is open.
struct Level {
    name: Name,
    /// The Name attribute of a Data element.
    label: Option<Name>,
    value: Value,
    /// Whether it has elements of its own.
    parent: bool,
}

/// Where in the event an element stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Nowhere,
    System,
    EventData,
    /// UserData and the rarer ones.
    Other,
}

/// What is read of a record.
#[derive(Default)]
pub struct Draft {
    pub provider: Option<Name>,
    pub provider_guid: Option<Guid>,
    pub event_id: Option<u32>,
    pub version: Option<u8>,
    pub time: Option<Time>,
    pub record_id: Option<u64>,
    pub channel: Option<Name>,
    pub computer: Option<Name>,
    pub user_id: Option<Name>,
    pub fields: Fields,
    /// Values lie beyond the bytes at hand.
    pub cut: bool,
    /// Templates of other chunks helped.
    pub borrowed: bool,
    /// A template was nowhere to be found.
    pub unnamed: bool,
    /// Some fields have numbers for names.
    pub numbered: bool,
    levels: Vec<Level>,
    /// The attribute that is open.
    attribute: Option<(Name, Value)>,
    repeated: bool,
}

impl Draft {
    pub fn level(&self) -> usize {
        self.levels.len()
    }

    pub fn open(&mut self, name: &Name) {
        self.end_attribute();
        if let Some(above) = self.levels.last_mut() {
            above.parent = true;
        }
        self.levels.push(Level { name: Arc::clone(name), label: None, value: Value::None, parent: false });
    }

    pub fn attribute(&mut self, name: &Name) {
        self.end_attribute();
        self.attribute = Some((Arc::clone(name), Value::None));
    }

    pub fn content(&mut self) {
        self.end_attribute();
    }

    pub fn value(&mut self, value: Value) {
        let target = match (&mut self.attribute, self.levels.last_mut()) {
            (Some((_, target)), _) => target,
            (None, Some(level)) => &mut level.value,
            (None, None) => return,
        };
        *target = match std::mem::take(target) {
            Value::None => value,
            before if value == Value::None => before,
            before => Value::Text(format!("{before}{value}").into()),
        };
    }

    fn part(&self) -> Part {
        match self.levels.get(1).map(|level| &*level.name) {
            None => Part::Nowhere,
            Some("System") => Part::System,
            Some("EventData") => Part::EventData,
            Some(_) => Part::Other,
        }
    }

    fn end_attribute(&mut self) {
        let Some((name, value)) = self.attribute.take() else { return };
        let (part, depth) = (self.part(), self.levels.len());
        let Some(level) = self.levels.last_mut() else { return };
        match part {
            Part::System if depth == 3 => {
                let element = Arc::clone(&level.name);
                self.system_value(&element, &name, value);
            }
            Part::EventData if &*name == "Name" && depth == 3 => {
                level.label = match value {
                    Value::Text(text) if !text.is_empty() => Some(text),
                    _ => None,
                };
            }
            Part::EventData | Part::Other if !name.starts_with("xmlns") => {
                let name = format!("{}.{name}", level.name);
                self.field(name.into(), value);
            }
            _ => {}
        }
    }

    pub fn close(&mut self) {
        self.end_attribute();
        let part = self.part();
        let Some(level) = self.levels.pop() else { return };
        match part {
            Part::System if self.levels.len() == 2 => self.system_value(&level.name, "", level.value),
            Part::EventData | Part::Other if self.levels.len() >= 2 && !level.parent => {
                // Below the element that the provider chose, names of deeper ones keep those above.
                let above = self.levels.get(3..).unwrap_or_default();
                let name = match level.label {
                    Some(label) => label,
                    None if above.is_empty() => level.name,
                    None => above.iter().map(|level| format!("{}.", level.name)).chain([level.name.to_string()]).collect::<String>().into(),
                };
                // An element that says nothing but that it is there.
                let silent = part == Part::Other && self.levels.len() == 2 && level.value == Value::None;
                if !silent {
                    self.field(name, level.value);
                }
            }
            Part::EventData | Part::Other if self.levels.len() == 1 && level.value != Value::None => self.field(level.name, level.value),
            _ => {}
        }
    }

    fn field(&mut self, name: Name, value: Value) {
        if self.fields.0.is_empty() {
            self.fields.0.reserve(USUAL_FIELDS);
        }
        if self.fields.0.len() < MOST_FIELDS {
            self.repeated |= &*name == "Data" || self.fields.0.len() > 64 || self.fields.get(&name).is_some();
            self.fields.0.push((name, value));
        }
    }

    fn system_value(&mut self, element: &str, attribute: &str, value: Value) {
        let text = |value: Value| match value {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        };
        match (element, attribute) {
            ("Provider", "Name") => self.provider = text(value).or(self.provider.take()),
            ("Provider", "Guid") => self.provider_guid = value.guid(),
            // Classic sources have a name of their own beside that of their manifest.
            ("EventID", "") => self.event_id = value.number().and_then(|number| number.try_into().ok()),
            ("Version", "") => self.version = value.number().and_then(|number| number.try_into().ok()),
            ("TimeCreated", "SystemTime") => self.time = time(&value),
            ("EventRecordID", "") => self.record_id = value.number(),
            ("Channel", "") => self.channel = text(value),
            ("Computer", "") => self.computer = text(value),
            ("Security", "UserID") => self.user_id = text(value),
            _ => {}
        }
    }

    /// The values of the System part, each at the place that it has in the templates of all providers with a manifest.
    pub fn system(&mut self, values: &[Value]) {
        let places = [
            (3, "EventID", ""),
            (6, "TimeCreated", "SystemTime"),
            (10, "EventRecordID", ""),
            (11, "Version", ""),
            (12, "Security", "UserID"),
            (14, "Provider", "Name"),
            (15, "Provider", "Guid"),
            (16, "Channel", ""),
        ];
        for (index, element, attribute) in places {
            if let Some(value) = values.get(index) {
                self.system_value(element, attribute, value.clone());
            }
        }
    }

    /// Values without their names: Sysmon's are known, others are numbered.
    pub fn unnamed_fields(&mut self, values: Vec<Value>, kinds: &[u8]) {
        let sysmon = self.provider_guid == Some(sysmon::PROVIDER);
        let names = self.event_id.filter(|_| sysmon).and_then(|id| sysmon::names(id, kinds));
        self.numbered |= names.is_none();
        for (index, value) in values.into_iter().enumerate() {
            let name =
                names.as_ref().and_then(|names| names.get(index)).map_or_else(|| format!("#{index}").into(), |name| Name::from(*name));
            self.field(name, value);
        }
    }

    /// All is read: names that repeat become lists.
    pub fn finish(&mut self) {
        while !self.levels.is_empty() {
            self.close();
        }
        if !std::mem::take(&mut self.repeated) {
            return;
        }
        let mut places = std::collections::HashMap::<Name, usize>::new();
        let mut merged: Vec<(Name, Value)> = Vec::with_capacity(self.fields.0.len());
        for (name, value) in self.fields.0.drain(..) {
            match places.get(&name).and_then(|place| merged.get_mut(*place)) {
                Some((_, Value::List(items))) => match value {
                    Value::List(more) => items.extend(more),
                    value => items.push(value),
                },
                Some((_, first)) => *first = Value::List(vec![std::mem::take(first), value]),
                None => {
                    places.insert(Arc::clone(&name), merged.len());
                    merged.push((name, value));
                }
            }
        }
        self.fields.0 = merged;
    }
}

fn time(value: &Value) -> Option<Time> {
    match value {
        Value::Time(time) => Some(*time),
        Value::Text(text) => Time::parse(text),
        _ => None,
    }
}
