//! Addresses by name and names by address.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use std::collections::HashMap;

/// Symbols sorted by address, with their names in one string. Addresses are those of the running kernel, KASLR included.
#[derive(Default)]
pub struct SymbolTable {
    names: String,
    /// Address, start of the name, its length; sorted by address.
    entries: Vec<Entry>,
    by_name: HashMap<u64, u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    address: u64,
    start: u32,
    length: u16,
}

impl SymbolTable {
    /// Adds a symbol; the first of several equal names is the one that `find` gives.
    pub fn add(&mut self, name: &str, address: VirtAddr) {
        let (Ok(start), Ok(length)) = (u32::try_from(self.names.len()), u16::try_from(name.len())) else { return };
        self.names.push_str(name);
        self.entries.push(Entry { address: address.0, start, length });
    }

    /// Sorts; to be called once, after the last `add`.
    pub fn finish(&mut self) {
        self.entries.sort_by_key(|entry| entry.address);
        self.by_name = HashMap::with_capacity(self.entries.len());
        for (index, entry) in self.entries.iter().enumerate() {
            let name = &self.names[entry.start as usize..entry.start as usize + usize::from(entry.length)];
            self.by_name.entry(hash(name)).or_insert(index as u32);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn find(&self, name: &'static str) -> Result<VirtAddr, ReadError> {
        let entry = self.by_name.get(&hash(name)).and_then(|index| self.entries.get(*index as usize));
        entry.filter(|entry| self.name(entry) == name).map(|entry| VirtAddr(entry.address)).ok_or(ReadError::NoSymbol(name))
    }

    /// The nearest symbol at or below an address, and the distance to it.
    pub fn nearest(&self, address: VirtAddr) -> Option<(&str, u64)> {
        let after = self.entries.partition_point(|entry| entry.address <= address.0);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        Some((self.name(entry), address.0 - entry.address))
    }

    fn name(&self, entry: &Entry) -> &str {
        self.names.get(entry.start as usize..entry.start as usize + usize::from(entry.length)).unwrap_or_default()
    }
}

/// FNV-1a: the names come from the image, but a crafted collision only hides a symbol, which `find` tells by comparing.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
