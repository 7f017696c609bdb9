//! Addresses by name and names by address.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use std::ops::Range;

/// A symbol further away than any function is long says nothing of an address.
const MOST_FUNCTION: u64 = 0x1_0000;

/// Symbols sorted by address, with their names in one string. In a [`Profile`](super::Profile) the addresses are those of the running
/// kernel, KASLR included; fresh from a file they are those of the link, see [`relocate`](Self::relocate).
#[derive(Default)]
pub struct SymbolTable {
    names: String,
    /// Sorted by address.
    entries: Vec<Entry>,
    /// Where each bucket of `by_name` starts; the number of buckets is a power of two.
    buckets: Vec<u32>,
    /// Indices of entries, bucket by bucket, in order of address within each.
    by_name: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    address: u64,
    start: u32,
    length: u16,
    kind: u8,
}

/// A symbol and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    pub name: &'a str,
    pub address: VirtAddr,
    /// The letter which nm and /proc/kallsyms show (`T`, `d`, ...); NUL where it is not known.
    pub kind: u8,
}

impl SymbolTable {
    pub fn with_capacity(symbols: usize, names: usize) -> Self {
        Self { names: String::with_capacity(names), entries: Vec::with_capacity(symbols), ..Self::default() }
    }

    /// Whose symbols have their names in a string that is there already.
    pub fn of(names: String, symbols: usize) -> Self {
        Self { names, entries: Vec::with_capacity(symbols), ..Self::default() }
    }

    /// Adds a symbol by the place of its name in that string, where the letter of its kind stands before it.
    pub fn add_with_kind(&mut self, name: Range<u32>, address: VirtAddr) {
        let kind = self.names.as_bytes().get(name.start as usize).filter(|_| !name.is_empty());
        if let (Some(kind), Ok(length)) = (kind, u16::try_from(name.len().saturating_sub(1))) {
            self.entries.push(Entry { address: address.0, start: name.start + 1, length, kind: *kind });
        }
    }

    /// Adds a symbol. A name that is too long, or one too many for the table, is left out.
    pub fn add(&mut self, name: &str, address: VirtAddr) {
        self.add_kind(name, address, 0);
    }

    pub fn add_kind(&mut self, name: &str, address: VirtAddr, kind: u8) {
        let (Ok(start), Ok(length)) = (u32::try_from(self.names.len()), u16::try_from(name.len())) else { return };
        if self.entries.len() < u32::MAX as usize {
            self.names.push_str(name);
            self.entries.push(Entry { address: address.0, start, length, kind });
        }
    }

    /// Sorts; to be called once, after the last `add`. The work is linear in the number of names, however they hash.
    pub fn finish(&mut self) {
        self.entries.sort_by_key(|entry| entry.address);
        let buckets = self.entries.len().next_power_of_two();
        let hashes: Vec<u32> = self.entries.iter().map(|entry| bucket(self.name(entry), buckets)).collect();
        self.buckets = vec![0; buckets + 1];
        for hash in &hashes {
            self.buckets[*hash as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut self.buckets {
            sum += *start;
            *start = sum;
        }
        let mut next = self.buckets.clone();
        self.by_name = vec![0; self.entries.len()];
        for (index, hash) in hashes.iter().enumerate() {
            let slot = &mut next[*hash as usize];
            self.by_name[*slot as usize] = index as u32;
            *slot += 1;
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn find(&self, name: &'static str) -> Result<VirtAddr, ReadError> {
        self.get(name).ok_or(ReadError::NoSymbol(name))
    }

    /// The address of a name; the lowest where several symbols share it.
    pub fn get(&self, name: &str) -> Option<VirtAddr> {
        self.find_all(name).next()
    }

    /// The addresses of all symbols of that name (static functions often share one), lowest first.
    pub fn find_all(&self, name: &str) -> impl Iterator<Item = VirtAddr> {
        let hash = match self.buckets.len() {
            0 => 0,
            buckets => bucket(name, buckets - 1) as usize,
        };
        let range = self.buckets.get(hash).zip(self.buckets.get(hash + 1)).map_or(0..0, |(start, end)| *start as usize..*end as usize);
        let same = self.by_name.get(range).unwrap_or_default();
        let entries = same.iter().filter_map(|index| self.entries.get(*index as usize));
        entries.filter(move |entry| self.name(entry) == name).map(|entry| VirtAddr(entry.address))
    }

    /// The nearest symbol at or below an address, and the distance to it.
    pub fn nearest(&self, address: VirtAddr) -> Option<(&str, u64)> {
        let after = self.entries.partition_point(|entry| entry.address <= address.0);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        Some((self.name(entry), address.0 - entry.address))
    }

    /// Where the next symbol lies.
    pub fn after(&self, address: VirtAddr) -> Option<VirtAddr> {
        let after = self.entries.partition_point(|entry| entry.address <= address.0);
        self.entries.get(after).map(|entry| VirtAddr(entry.address))
    }

    /// How people name an address in the kernel: `symbol` or `symbol+0x1f`. None where no symbol is near.
    pub fn name_at(&self, address: VirtAddr) -> Option<String> {
        match self.nearest(address).filter(|_| address.is_kernel())? {
            (name, 0) => Some(name.to_owned()),
            (name, distance @ 1..MOST_FUNCTION) => Some(format!("{name}+{distance:#x}")),
            _ => None,
        }
    }

    /// Symbols of a range, by address.
    pub fn within(&self, range: Range<VirtAddr>) -> impl Iterator<Item = Symbol<'_>> {
        let [start, end] = [range.start, range.end].map(|at| self.entries.partition_point(|entry| entry.address < at.0));
        let entries = self.entries.get(start..end).unwrap_or_default();
        entries.iter().map(|entry| Symbol { name: self.name(entry), address: VirtAddr(entry.address), kind: entry.kind })
    }

    /// All symbols, by address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.entries.iter().map(|entry| Symbol { name: self.name(entry), address: VirtAddr(entry.address), kind: entry.kind })
    }

    /// Moves the kernel's symbols by the distance between where they were linked and where they run. Symbols below the kernel's half
    /// are offsets into the per-cpu area or plain numbers, and stay.
    pub fn relocate(&mut self, by: u64) {
        self.shift_if(by, |address| address.is_kernel());
    }

    /// Moves all symbols alike.
    pub fn shift(&mut self, by: u64) {
        self.shift_if(by, |_| true);
    }

    fn shift_if(&mut self, by: u64, moves: impl Fn(VirtAddr) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| moves(VirtAddr(entry.address))) {
            entry.address = entry.address.wrapping_add(by);
        }
        // The order stays, unless addresses wrap.
        if !self.entries.is_sorted_by_key(|entry| entry.address) {
            self.finish();
        }
    }

    fn name(&self, entry: &Entry) -> &str {
        self.names.get(entry.start as usize..entry.start as usize + usize::from(entry.length)).unwrap_or_default()
    }
}

/// The bucket of a name: FNV-1a over words of eight bytes, folded. A crafted collision only makes a look-up slower.
fn bucket(name: &str, buckets: usize) -> u32 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum ^= sum >> 32;
    }
    for byte in rest {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    ((sum ^ sum >> 29) as usize & (buckets - 1)) as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_find_each_other() {
        let mut table = SymbolTable::default();
        assert_eq!(table.get("none"), None);
        assert_eq!(table.nearest(VirtAddr(1)), None);
        table.add_kind("later", VirtAddr(0xffff_ffff_8100_2000), b'T');
        table.add("twice", VirtAddr(0xffff_ffff_8100_1000));
        table.add("twice", VirtAddr(0xffff_ffff_8100_0000));
        table.add("per_cpu", VirtAddr(0x1000));
        table.finish();
        assert_eq!(table.find("later"), Ok(VirtAddr(0xffff_ffff_8100_2000)));
        assert_eq!(table.find("absent"), Err(ReadError::NoSymbol("absent")));
        assert_eq!(table.get("twice"), Some(VirtAddr(0xffff_ffff_8100_0000)));
        assert_eq!(table.find_all("twice").count(), 2);
        assert_eq!(table.nearest(VirtAddr(0xffff_ffff_8100_2010)), Some(("later", 0x10)));
        assert_eq!(table.nearest(VirtAddr(0xfff)), None);
        assert_eq!(table.after(VirtAddr(0x1000)), Some(VirtAddr(0xffff_ffff_8100_0000)));
        assert_eq!(table.after(VirtAddr(0xffff_ffff_8100_2000)), None);
        table.relocate(0x20_0000);
        assert_eq!(table.get("later"), Some(VirtAddr(0xffff_ffff_8120_2000)));
        assert_eq!(table.get("per_cpu"), Some(VirtAddr(0x1000)));
        assert_eq!(table.iter().last().map(|symbol| symbol.kind), Some(b'T'));
    }
}
