//! A structure as people read it: all its fields in order, nested ones opened, with the names of their types.

use super::layout::shape;
use super::{Member, Type, TypeId, TypeSource};
use crate::facts::{Holds, StructField, Structure};

/// Structures nested in structures; deeper ones are shown as one field.
const DEEPEST: u32 = 6;
/// Nested structures of so many bytes are no more than their fields.
const SMALL: u32 = 16;
const MOST_FIELDS: usize = 4096;
/// Members looked at: nested anonymous ones multiply.
const MOST_MEMBERS: usize = 1 << 16;

pub fn describe(types: &dyn TypeSource, name: &str) -> Option<Structure> {
    let id = types.find(name)?;
    let Type::Struct { size, .. } = types.get(id)? else { return None };
    let mut walk = Walk { types, fields: Vec::new(), budget: MOST_MEMBERS };
    walk.add(types.members(id), 0, "", DEEPEST);
    let mut fields = walk.fields;
    // The larger first, so that a structure stands before its first field.
    fields.sort_by_key(|field| (field.offset, field.holds != Holds::Fields, field.bits.map(|(shift, _)| shift)));
    Some(Structure { name: name.to_owned(), size, fields })
}

struct Walk<'a> {
    types: &'a dyn TypeSource,
    fields: Vec<StructField>,
    budget: usize,
}

impl Walk<'_> {
    fn add(&mut self, members: Vec<Member>, base: u64, within: &str, depth: u32) {
        for member in members {
            if self.fields.len() >= MOST_FIELDS || self.budget == 0 {
                return;
            }
            self.budget -= 1;
            let at = base.saturating_add(member.bit_offset);
            let Some(what) = self.types.get(member.r#type) else { continue };
            let nested = if matches!(what, Type::Struct { .. }) { self.types.members(member.r#type) } else { Vec::new() };
            let name = match (within, member.name.as_str()) {
                (outer, "") => outer.to_owned(),
                ("", name) => name.to_owned(),
                (outer, name) => format!("{outer}.{name}"),
            };
            let Some((size, _)) = shape(self.types, member.r#type, DEEPEST) else { continue };
            if !nested.is_empty() && depth > 0 {
                // A list entry or a counted string is read at once; what is larger stands for itself before its fields.
                if size > SMALL && !member.name.is_empty() {
                    let (r#type, offset) = (type_name(self.types, member.r#type, DEEPEST), u32::try_from(at / 8).unwrap_or(u32::MAX));
                    self.fields.push(StructField { name: name.clone(), r#type, offset, size, bits: None, holds: Holds::Fields });
                }
                self.add(nested, at, &name, depth - 1);
                continue;
            }
            let (start, bits) = match member.bit_width {
                Some(width @ 1..=64) => {
                    let unit = u64::from(size.max(1)) * 8;
                    (at / unit * unit, Some(((at % unit) as u8, width as u8)))
                }
                _ => (at, None),
            };
            let Ok(offset) = u32::try_from(start / 8) else { continue };
            let holds = match what {
                Type::Integer { signed, .. } => Holds::Number { signed },
                Type::Enum { .. } => Holds::Number { signed: false },
                Type::Pointer(to) => Holds::Pointer(match self.types.get(to) {
                    Some(Type::Struct { name, .. }) if !name.is_empty() => Some(name),
                    _ => None,
                }),
                _ => Holds::Bytes,
            };
            self.fields.push(StructField { name, r#type: type_name(self.types, member.r#type, DEEPEST), offset, size, bits, holds });
        }
    }
}

fn type_name(types: &dyn TypeSource, id: TypeId, depth: u32) -> String {
    let inner = |id| if depth == 0 { "...".to_owned() } else { type_name(types, id, depth - 1) };
    match types.get(id) {
        None => "?".to_owned(),
        Some(Type::Void) => "void".to_owned(),
        Some(Type::Function) => "function".to_owned(),
        Some(Type::Integer { size, signed }) => format!("{}{}", if signed { 'i' } else { 'u' }, u64::from(size) * 8),
        Some(Type::Float { size }) => format!("f{}", u64::from(size) * 8),
        Some(Type::Enum { .. }) => "enum".to_owned(),
        Some(Type::Struct { name, .. }) if name.is_empty() => "struct".to_owned(),
        Some(Type::Struct { name, .. }) => name,
        Some(Type::Pointer(to)) => format!("{} *", inner(to)),
        Some(Type::Array { element, count }) => format!("{}[{count}]", inner(element)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Types by number; the structure is 0.
    struct Made(HashMap<u32, (Type, Vec<Member>)>);

    impl TypeSource for Made {
        fn find(&self, name: &str) -> Option<TypeId> {
            (name == "outer").then_some(TypeId(0))
        }
        fn get(&self, id: TypeId) -> Option<Type> {
            self.0.get(&id.0).map(|(it, _)| it.clone())
        }
        fn members(&self, id: TypeId) -> Vec<Member> {
            self.0.get(&id.0).map(|(_, members)| members.clone()).unwrap_or_default()
        }
        fn enumerator(&self, _: &str) -> Option<i64> {
            None
        }
    }

    fn member(name: &str, bytes: u64, to: u32) -> Member {
        Member { name: name.into(), bit_offset: bytes * 8, bit_width: None, r#type: TypeId(to) }
    }

    #[test]
    fn nested_structures_are_opened_and_endless_ones_end() {
        let composite = |name: &str, size| Type::Struct { name: name.into(), size };
        let made = Made(HashMap::from([
            (0, (composite("outer", 32), vec![member("tail", 24, 2), member("", 0, 1), member("inner", 8, 1), member("self", 16, 0)])),
            (1, (composite("", 8), vec![member("count", 0, 3)])),
            (2, (Type::Pointer(TypeId(0)), vec![])),
            (3, (Type::Array { element: TypeId(4), count: 8 }, vec![])),
            (4, (Type::Integer { size: 1, signed: false }, vec![])),
        ]));
        let found = describe(&made, "outer").unwrap();
        let told: Vec<_> = found
            .fields
            .iter()
            .filter(|it| it.holds != Holds::Fields)
            .take(2)
            .map(|it| (it.name.as_str(), it.r#type.as_str(), it.offset, it.size))
            .collect();
        assert_eq!(told, [("count", "u8[8]", 0, 8), ("inner.count", "u8[8]", 8, 8)]);
        let tail = found.fields.iter().find(|field| field.name == "tail").unwrap();
        assert_eq!((tail.r#type.as_str(), &tail.holds), ("outer *", &Holds::Pointer(Some("outer".into()))));
        assert!(describe(&made, "other").is_none());
    }
}
