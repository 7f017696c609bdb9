//! Tables and their columns, described once: `kioku tables`, JSON, CSV, text and the screen all read this.

use super::Cell;

/// Which system a table or column serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    Both,
    Linux,
    Windows,
}

impl Serves {
    pub fn includes(self, os: super::Origin) -> bool {
        match self {
            Self::Both => true,
            Self::Linux => os == super::Origin::Linux,
            Self::Windows => os == super::Origin::Windows,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

/// What a column holds, hence how it is aligned, compared and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Number,
    Address,
    Mask,
    Time,
    Text,
    Bytes,
    List,
    /// Named values.
    Object,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Number => "integer",
            Self::Address => "address",
            Self::Mask => "mask",
            Self::Time => "time",
            Self::Text => "text",
            Self::Bytes => "hex bytes",
            Self::List => "list",
            Self::Object => "object",
        }
    }
    pub fn aligns_right(self) -> bool {
        matches!(self, Self::Number | Self::Address | Self::Mask)
    }
    /// Whether one of its values can be less than another.
    pub fn is_measured(self) -> bool {
        self.aligns_right() || self == Self::Time
    }
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub serves: Serves,
    pub doc: &'static str,
}

#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub doc: &'static str,
    pub columns: &'static [Column],
}

impl Table {
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
    /// What one of its rows is called.
    pub fn singular(&self) -> String {
        let name = match self.name {
            "processes" | "pstree" => "process".to_owned(),
            "suspicious" => "region".to_owned(),
            name => match name.strip_suffix("ies") {
                Some(stem) => format!("{stem}y"),
                None => name.strip_suffix('s').unwrap_or(name).to_owned(),
            },
        };
        name.replace('_', " ")
    }
}

/// A row of some table.
pub trait Record: Send + Sync + 'static {
    const TABLE: Table;
    fn cell(&self, column: usize) -> Cell<'_>;
}

/// Defines a row type together with its table. Each field becomes a column, in order; the doc comments are the reference that
/// `kioku tables` prints. `[linux]` or `[windows]` before a field limits it to that system. Every row ends with `problems`.
macro_rules! record {
    (
        $(#[doc = $table_doc:literal])+
        $record:ident = $table:literal {
            $( $(#[doc = $doc:literal])+ $([$os:ident])? $field:ident : $type:ty, )*
        }
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Clone, Debug, Default)]
        pub struct $record {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            /// What could not be read or does not agree, beyond the fields that say so themselves.
            pub problems: Vec<String>,
        }

        impl $crate::facts::Record for $record {
            const TABLE: $crate::facts::Table = $crate::facts::Table {
                name: $table,
                doc: concat!($($table_doc),+),
                columns: &[
                    $( $crate::facts::Column {
                        name: $crate::facts::record::column_name(stringify!($field)),
                        kind: <$type as $crate::facts::ToCell>::KIND,
                        serves: $crate::facts::record::serves!($($os)?),
                        doc: concat!($($doc),+),
                    }, )*
                    $crate::facts::Column {
                        name: "problems",
                        kind: $crate::facts::Kind::List,
                        serves: $crate::facts::Serves::Both,
                        doc: " What could not be read, and why.",
                    },
                ],
            };

            fn cell(&self, column: usize) -> $crate::facts::Cell<'_> {
                #[allow(unused_imports)]
                use $crate::facts::ToCell as _;
                let mut at = 0;
                $(
                    if column == at {
                        return self.$field.cell();
                    }
                    at += 1;
                )*
                debug_assert_eq!(column, at, "no such column");
                let mut problems = Vec::new();
                $(
                    if let Some(why) = self.$field.trouble() {
                        problems.push($crate::facts::Cell::Text(format!("{}: {why}", $crate::facts::record::column_name(stringify!($field))).into()));
                    }
                )*
                problems.extend(self.problems.iter().map(|text| $crate::facts::Cell::Text(text.as_str().into())));
                $crate::facts::Cell::List(problems)
            }
        }
    };
}
pub(crate) use record;

macro_rules! serves {
    () => {
        $crate::facts::Serves::Both
    };
    (linux) => {
        $crate::facts::Serves::Linux
    };
    (windows) => {
        $crate::facts::Serves::Windows
    };
}
pub(crate) use serves;

/// The field's name without the `r#` that Rust wants before its own words.
pub(crate) const fn column_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Gives a fieldless enum its words: the value that JSON, CSV and the screen show.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )+ }

        impl $name {
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl $crate::facts::ToCell for $name {
            const KIND: $crate::facts::Kind = $crate::facts::Kind::Text;
            fn cell(&self) -> $crate::facts::Cell<'_> {
                $crate::facts::Cell::Text(self.word().into())
            }
        }
    };
}
pub(crate) use words;
