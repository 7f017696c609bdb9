//! What is worked out once for each key: many threads read it at the same time, without a lock.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::OnceLock;

const BUCKETS: usize = 1024;

/// A table that only grows, so that its values stay where they are.
pub struct Once<K, V>(Box<[Link<K, V>]>);

type Link<K, V> = OnceLock<Box<Node<K, V>>>;

struct Node<K, V> {
    key: K,
    value: V,
    next: Link<K, V>,
}

impl<K: Eq + Hash, V> Once<K, V> {
    /// The value of a key, made by the first who asks.
    pub fn get(&self, key: K, make: impl FnOnce() -> V) -> Option<&V> {
        let first = self.0.get(FixedState::default().hash_one(&key) as usize % BUCKETS)?;
        let mut end = match follow(first, &key) {
            Ok(known) => return Some(known),
            Err(end) => end,
        };
        // Another may make it meanwhile: the first that is there stays.
        let mut made = Box::new(Node { key, value: make(), next: Link::new() });
        loop {
            let key = &made.key;
            match follow(end, key) {
                Ok(known) => return Some(known),
                Err(free) => end = free,
            }
            match end.set(made) {
                Ok(()) => return end.get().map(|node| &node.value),
                Err(back) => made = back,
            }
        }
    }
}

/// The value of a key, or where the chain ends.
fn follow<'a, K: Eq, V>(mut link: &'a Link<K, V>, key: &K) -> Result<&'a V, &'a Link<K, V>> {
    while let Some(node) = link.get() {
        if node.key == *key {
            return Ok(&node.value);
        }
        link = &node.next;
    }
    Err(link)
}

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| Link::new()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_value_is_made_once_and_stays() {
        let (table, made) = (Once::default(), AtomicUsize::new(0));
        let ask = || {
            (0..5000_usize).all(|key| {
                let make = || {
                    made.fetch_add(1, Ordering::Relaxed);
                    key * 2
                };
                table.get(key, make) == Some(&(key * 2))
            })
        };
        assert!(ask() && made.load(Ordering::Relaxed) == 5000);
        std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(|| assert!(ask()))));
        assert_eq!(made.load(Ordering::Relaxed), 5000);
    }

    #[test]
    fn all_who_ask_at_once_get_the_same_value() {
        let table = Once::default();
        let seen: Vec<usize> = std::thread::scope(|scope| {
            let ask = |mark: usize| table.get(7, || (mark, mark)).map_or(0, |value: &(usize, usize)| std::ptr::from_ref(value) as usize);
            let threads: Vec<_> = (0..8).map(|mark| scope.spawn(move || ask(mark))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        assert!(seen.iter().all(|value| *value == seen[0] && *value != 0));
    }
}
