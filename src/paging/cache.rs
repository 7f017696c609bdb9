//! A translation cache that many threads share without locks.

use crate::address::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::facts::PageOrigin;
use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 4096;

const RAM: u64 = 0;
const TRANSITION: u64 = 1;
const PROTOTYPE: u64 = 2;

/// Direct-mapped. A slot holds `page ^ frame` and `frame`: two halves from different writers do not give back the page, so a torn
/// slot reads as empty. The low bits of the frame tell what kind of backing it is.
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
    pub fn get(&self, page: VirtAddr) -> Option<PageOrigin> {
        let slot = self.slot(page);
        let frame = slot.1.load(Ordering::Relaxed);
        if slot.0.load(Ordering::Relaxed) ^ frame != page.0 || frame == u64::MAX {
            return None;
        }
        let at = PhysAddr(frame).page();
        match PhysAddr(frame).in_page() {
            RAM => Some(PageOrigin::Ram(at)),
            TRANSITION => Some(PageOrigin::Transition(at)),
            PROTOTYPE => Some(PageOrigin::Prototype(at)),
            _ => None,
        }
    }
    /// Keeps a page that is in physical memory; what is elsewhere is asked for anew each time.
    pub fn put(&self, page: VirtAddr, backing: PageOrigin) {
        let frame = match backing {
            PageOrigin::Ram(at) => at.0 | RAM,
            PageOrigin::Transition(at) => at.0 | TRANSITION,
            PageOrigin::Prototype(at) => at.0 | PROTOTYPE,
            PageOrigin::Pagefile { .. } | PageOrigin::Zero => return,
        };
        let slot = self.slot(page);
        slot.0.store(page.0 ^ frame, Ordering::Relaxed);
        slot.1.store(frame, Ordering::Relaxed);
    }
}
