//! A file of which some pages may be missing.

use crate::address::PAGE_SIZE;
use std::borrow::Cow;
use std::collections::BTreeMap;

const PAGE: usize = PAGE_SIZE as usize;

#[derive(Default)]
pub struct Sparse {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    pub size: u64,
}

impl Sparse {
    pub fn new(size: u64) -> Self {
        Self { pages: BTreeMap::new(), size }
    }

    /// A file that is whole.
    pub fn whole(bytes: &[u8]) -> Self {
        let mut file = Self::new(bytes.len() as u64);
        for (index, chunk) in bytes.chunks(PAGE).enumerate() {
            let mut page = [0; PAGE];
            page.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            file.put(index as u64, page);
        }
        file
    }

    pub fn put(&mut self, index: u64, page: [u8; PAGE]) {
        self.pages.insert(index, Box::new(page));
    }

    pub fn missing(&self) -> u64 {
        self.size.div_ceil(PAGE_SIZE).saturating_sub(self.pages.len() as u64)
    }

    /// Bytes of the file; None past its end and where a page is missing.
    pub fn get(&self, at: u64, length: usize) -> Option<Cow<'_, [u8]>> {
        let end = at.checked_add(length as u64).filter(|end| *end <= self.size)?;
        let inside = (at % PAGE_SIZE) as usize;
        let first = self.pages.get(&(at / PAGE_SIZE))?;
        if let Some(bytes) = first.get(inside..inside + length) {
            return Some(Cow::Borrowed(bytes));
        }
        let mut bytes = Vec::with_capacity(length);
        for index in at / PAGE_SIZE..end.div_ceil(PAGE_SIZE) {
            let start = index * PAGE_SIZE;
            let (from, to) = (at.max(start) - start, end.min(start + PAGE_SIZE) - start);
            bytes.extend_from_slice(self.pages.get(&index)?.get(from as usize..to as usize)?);
        }
        Some(Cow::Owned(bytes))
    }

    pub fn number<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        self.get(at, N)?.first_chunk().copied()
    }

    /// The stretches without a gap: where each begins, and its bytes.
    pub fn stretches(&self) -> Vec<(u64, Vec<u8>)> {
        let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
        for (index, page) in &self.pages {
            let start = index * PAGE_SIZE;
            let there = self.size.saturating_sub(start).min(PAGE_SIZE) as usize;
            let bytes = page.get(..there).unwrap_or_default();
            match all.last_mut() {
                Some((begin, last)) if *begin + last.len() as u64 == start => last.extend_from_slice(bytes),
                _ if !bytes.is_empty() => all.push((start, bytes.to_vec())),
                _ => {}
            }
        }
        all
    }
}
