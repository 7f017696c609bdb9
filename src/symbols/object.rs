//! A structure in memory: layout, address, and the space to read it from.

use super::{Field, Layout, Profile, Shape};
use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::paging::AddressSpace;
use foldhash::HashSet;

/// Where structures are read from and what is known of them.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub space: &'a AddressSpace,
    pub profile: &'a Profile,
}

#[derive(Clone)]
pub struct Object<'a> {
    context: Context<'a>,
    layout: &'a Layout,
    pub address: VirtAddr,
}

/// More entries than any kernel list has; the end of a walk that damage has made endless.
const MAX_LIST: usize = 1 << 22;

impl<'a> Context<'a> {
    pub fn object(self, structure: &'static str, address: VirtAddr) -> Result<Object<'a>, ReadError> {
        Ok(Object { context: self, layout: self.profile.layout(structure)?, address })
    }

    /// The structure around one of its members.
    pub fn container(self, structure: &'static str, member: &'static str, address: VirtAddr) -> Result<Object<'a>, ReadError> {
        let layout = self.profile.layout(structure)?;
        let offset = layout.offset(member)?;
        Ok(Object { context: self, address: VirtAddr(address.0.wrapping_sub(offset)), layout })
    }

    pub fn symbol(self, name: &'static str) -> Result<VirtAddr, ReadError> {
        self.profile.symbols().find(name)
    }

    /// The structure at a symbol.
    pub fn global(self, symbol: &'static str, structure: &'static str) -> Result<Object<'a>, ReadError> {
        self.object(structure, self.symbol(symbol)?)
    }

    /// The members of a circular `list_head` list, without its head.
    pub fn list(self, head: VirtAddr, structure: &'static str, member: &'static str) -> List<'a> {
        List { context: self, head, structure, member, next: None, seen: HashSet::default() }
    }
}

impl<'a> Object<'a> {
    pub fn context(&self) -> Context<'a> {
        self.context
    }
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }
    pub fn has(&self, field: &'static str) -> bool {
        self.layout.field(field).is_ok()
    }
    pub fn at(&self, field: &'static str) -> Result<VirtAddr, ReadError> {
        Ok(self.address.offset(self.layout.offset(field)?))
    }

    /// An integer, enumeration, pointer or bit field, zero-extended.
    pub fn uint(&self, field: &'static str) -> Result<u64, ReadError> {
        let Field { offset, size, bits, .. } = self.layout.field(field)?;
        let value = self.context.space.uint(self.address.offset(offset.into()), size)?;
        Ok(match bits {
            Some((shift, width)) => (value >> shift) & (u64::MAX >> (64 - u32::from(width.clamp(1, 64)))),
            None => value,
        })
    }

    /// An integer, sign-extended from its own size.
    pub fn int(&self, field: &'static str) -> Result<i64, ReadError> {
        let size = self.layout.field(field)?.size.clamp(1, 8);
        let unused = 64 - size * 8;
        Ok((self.uint(field)? << unused).cast_signed() >> unused)
    }

    pub fn u32(&self, field: &'static str) -> Result<u32, ReadError> {
        Ok(self.uint(field)? as u32)
    }

    pub fn pointer(&self, field: &'static str) -> Result<VirtAddr, ReadError> {
        self.uint(field).map(VirtAddr)
    }

    /// What a pointer field leads to; None for a null pointer.
    pub fn follow(&self, field: &'static str) -> Result<Option<Object<'a>>, ReadError> {
        let Shape::Pointer(to) = self.layout.field(field)?.shape else { return Err(ReadError::NoField(field)) };
        let address = self.pointer(field)?;
        if address.is_null() {
            return Ok(None);
        }
        let layout = self.context.profile.layout_of(to).ok_or(ReadError::NoField(field))?;
        Ok(Some(Object { context: self.context, layout, address }))
    }

    /// What a pointer field leads to, where null means damage.
    pub fn follow_some(&self, field: &'static str) -> Result<Object<'a>, ReadError> {
        self.follow(field)?.ok_or(ReadError::Implausible(field))
    }

    /// A structure inside this one.
    pub fn inner(&self, field: &'static str) -> Result<Object<'a>, ReadError> {
        let Field { offset, shape: Shape::Struct(id), .. } = self.layout.field(field)? else {
            return Err(ReadError::NoField(field));
        };
        let layout = self.context.profile.layout_of(id).ok_or(ReadError::NoField(field))?;
        Ok(Object { context: self.context, layout, address: self.address.offset(offset.into()) })
    }

    /// Number of elements and size of each.
    pub fn array(&self, field: &'static str) -> Result<(u32, u32), ReadError> {
        match self.layout.field(field)?.shape {
            Shape::Array { count, stride, .. } => Ok((count, stride)),
            _ => Err(ReadError::NoField(field)),
        }
    }

    /// An element of an array of structures.
    pub fn element(&self, field: &'static str, index: u32) -> Result<Object<'a>, ReadError> {
        let Field { offset, shape: Shape::Array { element, stride, .. }, .. } = self.layout.field(field)? else {
            return Err(ReadError::NoField(field));
        };
        let layout = self.context.profile.layout_of(element).ok_or(ReadError::NoField(field))?;
        let at = self.address.offset(u64::from(offset) + u64::from(index) * u64::from(stride));
        Ok(Object { context: self.context, layout, address: at })
    }

    /// The text in a character array, up to its first NUL.
    pub fn text(&self, field: &'static str) -> Result<String, ReadError> {
        let Field { offset, size, .. } = self.layout.field(field)?;
        self.context.space.text(self.address.offset(offset.into()), size as usize)
    }

    /// The members of the list whose head is a field of this structure.
    pub fn list(&self, head: &'static str, structure: &'static str, member: &'static str) -> Result<List<'a>, ReadError> {
        Ok(self.context.list(self.at(head)?, structure, member))
    }
}

/// A walk along a `list_head` list. Ends at the head, at damage (with the error as its last item) or at an entry seen before.
pub struct List<'a> {
    context: Context<'a>,
    head: VirtAddr,
    structure: &'static str,
    member: &'static str,
    /// The entry to go to; None before the first step.
    next: Option<VirtAddr>,
    seen: HashSet<VirtAddr>,
}

impl<'a> Iterator for List<'a> {
    type Item = Result<Object<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.next.unwrap_or(self.head);
        if self.next == Some(self.head) || self.seen.len() > MAX_LIST {
            return None;
        }
        let step = self.context.object("list_head", from).and_then(|entry| entry.pointer("next")).and_then(|to| {
            if to == self.head {
                return Ok(None);
            }
            if to.is_null() || !self.seen.insert(to) {
                return Err(ReadError::Implausible("list"));
            }
            self.context.container(self.structure, self.member, to).map(|object| Some((to, object)))
        });
        match step {
            Ok(Some((to, object))) => {
                self.next = Some(to);
                Some(Ok(object))
            }
            Ok(None) => {
                self.next = Some(self.head);
                None
            }
            Err(why) => {
                self.next = Some(self.head);
                Some(Err(why))
            }
        }
    }
}
