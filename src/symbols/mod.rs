//! Types and addresses by name, from whatever source: BTF and kallsyms in the image itself, ISF, DWARF, System.map.

use crate::facts::ReadError;
use once::Once;

mod btf;
mod btf_writer;
pub mod dwarf;
pub mod isf;
pub mod kallsyms;
mod layout;
mod object;
mod once;
pub mod pack;
mod packed;
mod pdb;
pub mod profile;
mod source;
mod structure;
pub mod system_map;
mod table;
mod vmcoreinfo;
pub mod vmlinux;

pub use btf::Btf;
pub use layout::{Field, Layout, Shape};
pub use object::{Context, Object};
pub use source::{Found, SymbolsError, build_profile, open_symbols};
pub use table::SymbolTable;
pub use vmcoreinfo::VmcoreInfo;

/// A type within its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub u32);

/// One type, typedefs and qualifiers removed.
#[derive(Clone, Debug)]
pub enum Type {
    Void,
    Integer {
        size: u32,
        signed: bool,
    },
    Float {
        size: u32,
    },
    Pointer(TypeId),
    Array {
        element: TypeId,
        count: u32,
    },
    /// A struct or union; `name` is empty for an anonymous one.
    Struct {
        name: String,
        size: u32,
    },
    Enum {
        size: u32,
    },
    Function,
}

#[derive(Clone, Debug)]
pub struct Member {
    /// Empty for an anonymous struct or union, whose members count as the parent's.
    pub name: String,
    pub bit_offset: u64,
    /// Width of a bit field.
    pub bit_width: Option<u32>,
    pub r#type: TypeId,
}

/// Where types come from. Implementations decode on demand: opening a source must not build all its types.
pub trait TypeSource: Send + Sync {
    /// A struct or union by its tag; where there is none, a typedef of one.
    fn find(&self, name: &str) -> Option<TypeId>;
    /// The type itself. Bounded work, whatever the source holds; None for an unknown id or a damaged entry.
    fn get(&self, id: TypeId) -> Option<Type>;
    /// The members of a struct or union, in order; empty for anything else.
    fn members(&self, id: TypeId) -> Vec<Member>;
    /// The value of an enumerator, in whichever enumeration it stands.
    fn enumerator(&self, name: &str) -> Option<i64>;
}

/// What is known of a kernel: its types and its symbols, where they lie in this image.
pub struct Profile {
    types: Box<dyn TypeSource>,
    symbols: SymbolTable,
    /// Where it came from, for people.
    pub source: String,
    by_name: Once<&'static str, Option<TypeId>>,
    by_id: Once<TypeId, Option<Layout>>,
    enumerators: Once<&'static str, Option<i64>>,
}

impl Profile {
    pub fn new(types: Box<dyn TypeSource>, symbols: SymbolTable, source: String) -> Self {
        Self { types, symbols, source, by_name: Once::default(), by_id: Once::default(), enumerators: Once::default() }
    }
    /// The same types, as `change` makes them, with other symbols.
    pub fn changed(self, symbols: SymbolTable, change: impl FnOnce(Box<dyn TypeSource>) -> Box<dyn TypeSource>) -> Self {
        Self::new(change(self.types), symbols, self.source)
    }
    pub fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }
    /// The value of an enumerator, looked for once: types have no index of them.
    pub fn enumerator(&self, name: &'static str) -> Option<i64> {
        self.enumerators.get(name, || self.types.enumerator(name)).copied().flatten()
    }
    /// The layout of a structure, resolved once.
    pub fn layout(&self, name: &'static str) -> Result<&Layout, ReadError> {
        let known = self.by_name.get(name, || self.types.find(name)).copied().flatten();
        known.and_then(|id| self.layout_of(id)).ok_or(ReadError::NoField(name))
    }
    /// The layout of a structure which a field holds or points to.
    pub fn layout_of(&self, id: TypeId) -> Option<&Layout> {
        self.by_id.get(id, || Layout::of(&*self.types, id))?.as_ref()
    }
    /// A structure by whatever name somebody typed, as people read it.
    pub fn structure(&self, name: &str) -> Option<crate::facts::Structure> {
        structure::describe(&*self.types, name)
    }
    pub fn has(&self, structure: &'static str, field: &'static str) -> bool {
        self.layout(structure).is_ok_and(|layout| layout.field(field).is_ok())
    }
}
