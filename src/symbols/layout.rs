//! A structure as walkers use it: fields by name, anonymous members merged into their parent.

use super::{Member, Type, TypeId, TypeSource};
use crate::facts::ReadError;
use foldhash::HashMap;
use foldhash::HashMapExt as _;

/// What a field holds, as far as a reader needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Integer {
        signed: bool,
    },
    Pointer(TypeId),
    /// A structure or union inside this one.
    Struct(TypeId),
    Array {
        element: TypeId,
        stride: u32,
        count: u32,
    },
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub offset: u32,
    pub size: u32,
    /// Shift and width within the `size` bytes at `offset`.
    pub bits: Option<(u8, u8)>,
    pub shape: Shape,
}

#[derive(Debug, Default)]
pub struct Layout {
    pub size: u32,
    fields: HashMap<String, Field>,
}

/// Anonymous structs nest a few levels in real kernels; more is damage.
const MAX_DEPTH: u32 = 8;
const MAX_FIELDS: usize = 4096;
/// Members looked at for one layout, anonymous ones of anonymous ones included: nested, they multiply.
const MAX_MEMBERS: usize = 1 << 16;

impl Layout {
    pub fn of(types: &dyn TypeSource, id: TypeId) -> Option<Self> {
        let Type::Struct { size, .. } = types.get(id)? else { return None };
        let members = types.members(id);
        let mut layout = Self { size, fields: HashMap::with_capacity(members.len()) };
        let mut budget = MAX_MEMBERS;
        layout.add(types, members, 0, MAX_DEPTH, &mut budget);
        Some(layout)
    }

    pub fn field(&self, name: &'static str) -> Result<Field, ReadError> {
        self.fields.get(name).copied().ok_or(ReadError::NoField(name))
    }

    pub fn offset(&self, field: &'static str) -> Result<u64, ReadError> {
        Ok(u64::from(self.field(field)?.offset))
    }

    fn add(&mut self, types: &dyn TypeSource, members: Vec<Member>, base: u64, depth: u32, budget: &mut usize) {
        for member in members {
            if self.fields.len() >= MAX_FIELDS || *budget == 0 {
                return;
            }
            *budget -= 1;
            let at = base.saturating_add(member.bit_offset);
            if member.name.is_empty() {
                if depth > 0 {
                    self.add(types, types.members(member.r#type), at, depth - 1, budget);
                }
                continue;
            }
            let Some((size, shape)) = shape(types, member.r#type, MAX_DEPTH) else { continue };
            let (start, bits) = match member.bit_width {
                Some(width @ 1..=64) => {
                    let unit = u64::from(size.max(1)) * 8;
                    let start = at / unit * unit;
                    (start, Some(((at - start) as u8, width as u8)))
                }
                _ => (at, None),
            };
            let Ok(offset) = u32::try_from(start / 8) else { continue };
            self.fields.entry(member.name).or_insert(Field { offset, size, bits, shape });
        }
    }
}

/// Size and shape of a type.
pub(super) fn shape(types: &dyn TypeSource, id: TypeId, depth: u32) -> Option<(u32, Shape)> {
    Some(match types.get(id)? {
        Type::Void | Type::Function => (0, Shape::Other),
        Type::Float { size } => (size, Shape::Other),
        Type::Integer { size, signed } => (size, Shape::Integer { signed }),
        Type::Enum { size } => (size, Shape::Integer { signed: false }),
        Type::Struct { size, .. } => (size, Shape::Struct(id)),
        Type::Pointer(to) => (8, Shape::Pointer(to)),
        Type::Array { element, count } => {
            let (stride, _) = shape(types, element, depth.checked_sub(1)?)?;
            (stride.saturating_mul(count), Shape::Array { element, stride, count })
        }
    })
}
