//! Decompressed blocks that are kept for the next read. Bounded, shared by threads, and two threads decompress two blocks at once.

use crate::facts::ReadError;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What decompressed pages may take, whatever the size of the image.
pub(crate) const BUDGET: usize = 64 << 20;

type Slot = Arc<OnceLock<Result<Box<[u8]>, ReadError>>>;

/// A cache of a few slots for each hash: the least recently used of them makes room.
pub(crate) struct Blocks {
    sets: Box<[Mutex<Set>]>,
    ways: usize,
}

#[derive(Default)]
struct Set {
    clock: u64,
    ways: Vec<Way>,
}

struct Way {
    key: u64,
    used: u64,
    slot: Slot,
}

impl Blocks {
    /// For blocks of at most `size` bytes, `budget` bytes in all.
    pub fn new(size: usize, budget: usize) -> Self {
        let blocks = budget / size.max(1);
        let ways = blocks.clamp(2, 8);
        let sets = (blocks / ways).max(1);
        Self { sets: (0..sets).map(|_| Mutex::default()).collect(), ways }
    }

    /// Copies from a block, which `make` decompresses if it is not here. Others who want the same block meanwhile wait for it.
    pub fn read(
        &self,
        key: u64,
        from: usize,
        out: &mut [u8],
        make: impl FnOnce() -> Result<Box<[u8]>, ReadError>,
    ) -> Result<(), ReadError> {
        let slot = {
            let mut set = self.set(key);
            set.clock += 1;
            let now = set.clock;
            match set.ways.iter_mut().find(|way| way.key == key) {
                Some(way) => {
                    way.used = now;
                    match way.slot.get() {
                        Some(Ok(block)) if out.len() <= 4096 => return copy(block, from, out),
                        _ => Arc::clone(&way.slot),
                    }
                }
                None => {
                    let way = Way { key, used: now, slot: Slot::default() };
                    let slot = Arc::clone(&way.slot);
                    let full = set.ways.len() >= self.ways;
                    match set.ways.iter_mut().min_by_key(|way| way.used) {
                        Some(oldest) if full => *oldest = way,
                        _ => set.ways.push(way),
                    }
                    slot
                }
            }
        };
        match slot.get_or_init(make) {
            Ok(block) => copy(block, from, out),
            Err(why) => Err(*why),
        }
    }

    /// Whether a block is here already.
    pub fn holds(&self, key: u64) -> bool {
        self.set(key).ways.iter().any(|way| way.key == key && way.slot.get().is_some())
    }

    fn set(&self, key: u64) -> std::sync::MutexGuard<'_, Set> {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let index = hash as usize % self.sets.len();
        self.sets[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy(block: &[u8], from: usize, out: &mut [u8]) -> Result<(), ReadError> {
    let bytes = from.checked_add(out.len()).and_then(|end| block.get(from..end)).ok_or(ReadError::Implausible("block length"))?;
    out.copy_from_slice(bytes);
    Ok(())
}
