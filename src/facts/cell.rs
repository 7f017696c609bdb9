//! One value of a row, as every reader sees it: the screen, JSON, CSV and text show the same cell.

use super::{Known, ReadError, Time};
use crate::address::{PhysAddr, VirtAddr};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    Absent,
    Unreadable(ReadError),
    Bool(bool),
    Number(i128),
    /// Addresses and masks: lower-case hexadecimal with `0x`.
    Hex(u64),
    Time(Time),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    List(Vec<Cell<'a>>),
    Object(Vec<(&'a str, Cell<'a>)>),
}

impl Cell<'_> {
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Absent | Self::Unreadable(_))
    }
    pub fn number(&self) -> Option<i128> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Hex(n) => Some(i128::from(*n)),
            _ => None,
        }
    }
}

/// Plain text, without quotes: what CSV and the screen show. Not yet safe for a terminal; the readers see to that.
impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent | Self::Unreadable(_) => Ok(()),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Hex(value) => write!(f, "{value:#x}"),
            Self::Time(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::Bytes(value) => value.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                Ok(())
            }
            Self::Object(fields) => {
                for (index, (name, value)) in fields.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{name}={value}")?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Unreadable(_) => to.serialize_none(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Number(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(signed), _) => to.serialize_i64(signed),
                (_, Ok(unsigned)) => to.serialize_u64(unsigned),
                _ => to.collect_str(value),
            },
            Self::Text(value) => to.serialize_str(value),
            Self::Hex(_) | Self::Time(_) | Self::Bytes(_) => to.collect_str(self),
            Self::List(items) => to.collect_seq(items),
            Self::Object(fields) => {
                let mut map = to.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// A mask or a flag word, shown in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub u64);

/// What a column can hold.
pub trait ToCell {
    const KIND: super::Kind;
    fn cell(&self) -> Cell<'_>;
    /// Why the value could not be read, for the row's `problems`.
    fn trouble(&self) -> Option<ReadError> {
        None
    }
}

macro_rules! to_cell {
    ($($type:ty, $kind:ident, $value:ident => $cell:expr;)*) => {$(
        impl ToCell for $type {
            const KIND: super::Kind = super::Kind::$kind;
            fn cell(&self) -> Cell<'_> {
                let $value = self;
                $cell
            }
        }
    )*};
}
to_cell! {
    bool, Bool, it => Cell::Bool(*it);
    u8, Number, it => Cell::Number((*it).into());
    u16, Number, it => Cell::Number((*it).into());
    u32, Number, it => Cell::Number((*it).into());
    u64, Number, it => Cell::Number((*it).into());
    i32, Number, it => Cell::Number((*it).into());
    i64, Number, it => Cell::Number((*it).into());
    VirtAddr, Address, it => Cell::Hex(it.0);
    PhysAddr, Address, it => Cell::Hex(it.0);
    Hex, Mask, it => Cell::Hex(it.0);
    Time, Time, it => Cell::Time(*it);
    String, Text, it => Cell::Text(Cow::Borrowed(it));
    std::sync::Arc<str>, Text, it => Cell::Text(Cow::Borrowed(it));
    &'static str, Text, it => Cell::Text(Cow::Borrowed(it));
    Vec<u8>, Bytes, it => Cell::Bytes(it);
}

impl<T: ToCell> ToCell for Known<T> {
    const KIND: super::Kind = T::KIND;
    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Value(value) => value.cell(),
            Self::Absent => Cell::Absent,
            Self::Unreadable(why) => Cell::Unreadable(*why),
        }
    }
    fn trouble(&self) -> Option<ReadError> {
        match self {
            Self::Unreadable(why) => Some(*why),
            _ => None,
        }
    }
}

/// Lists hold names and small objects; bytes have their own cell.
pub trait ListItem: ToCell {}
impl ListItem for &'static str {}
impl ListItem for String {}
impl ListItem for VirtAddr {}
impl ListItem for super::Hole {}
impl ListItem for super::Indicator {}

impl<T: ListItem> ToCell for Vec<T> {
    const KIND: super::Kind = super::Kind::List;
    fn cell(&self) -> Cell<'_> {
        Cell::List(self.iter().map(ToCell::cell).collect())
    }
}
