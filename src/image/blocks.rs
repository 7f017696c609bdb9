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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_block_is_made_once_and_kept_within_the_budget() {
        let blocks = Blocks::new(1000, 16_000);
        let made = AtomicUsize::new(0);
        let read = |key: u64| {
            let mut out = [0; 2];
            let make = || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok(vec![key as u8; 1000].into_boxed_slice())
            };
            assert_eq!(blocks.read(key, 998, &mut out, make), Ok(()));
            assert_eq!(out, [key as u8; 2]);
        };
        (0..5).for_each(|_| read(7));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        (0..200).for_each(read);
        let kept: usize = blocks.sets.iter().map(|set| set.lock().map_or(0, |set| set.ways.len())).sum();
        assert!(kept <= 16, "{kept}");
    }

    #[test]
    fn errors_are_kept_and_lengths_checked() {
        let blocks = Blocks::new(1000, 16_000);
        let mut out = [0; 8];
        assert_eq!(blocks.read(1, 0, &mut out, || Err(ReadError::File(5))), Err(ReadError::File(5)));
        assert_eq!(blocks.read(1, 0, &mut out, || Ok(Box::default())), Err(ReadError::File(5)));
        assert!(blocks.read(2, 997, &mut out, || Ok(vec![0; 1000].into())).is_err());
    }

    /// Each waits within its own block until the other has begun: one after the other would never end.
    #[test]
    fn two_threads_make_two_blocks_at_once() {
        let blocks = Blocks::new(32 << 20, 1);
        let both = Barrier::new(2);
        std::thread::scope(|scope| {
            for key in 0..2 {
                let (blocks, both) = (&blocks, &both);
                scope.spawn(move || {
                    let make = || {
                        both.wait();
                        Ok(vec![0; 8].into_boxed_slice())
                    };
                    assert_eq!(blocks.read(key, 0, &mut [0; 8], make), Ok(()));
                });
            }
        });
    }
}
