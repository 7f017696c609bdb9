//! A translation cache that many threads share without locks.

use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 4096;

/// Direct-mapped. A slot holds `page ^ frame` and `frame`: two halves from different writers do not give back the page, so a torn
/// slot reads as empty.
pub struct Cache(Box<[(AtomicU64, AtomicU64)]>);

impl Default for Cache {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| (AtomicU64::new(0), AtomicU64::new(u64::MAX))).collect())
    }
}

impl Cache {
    fn slot(&self, page: VirtAddr) -> &(AtomicU64, AtomicU64) {
        let number = page.0 / PAGE_SIZE;
        &self.0[((number ^ (number >> 12)) as usize) % SLOTS]
    }
    pub fn get(&self, page: VirtAddr) -> Option<PhysAddr> {
        let slot = self.slot(page);
        let frame = slot.1.load(Ordering::Relaxed);
        (slot.0.load(Ordering::Relaxed) ^ frame == page.0 && frame != u64::MAX).then_some(PhysAddr(frame))
    }
    pub fn put(&self, page: VirtAddr, frame: PhysAddr) {
        let slot = self.slot(page);
        slot.0.store(page.0 ^ frame.0, Ordering::Relaxed);
        slot.1.store(frame.0, Ordering::Relaxed);
    }
}
