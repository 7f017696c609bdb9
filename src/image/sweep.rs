//! One pass over all physical memory, for every scanner at once.

use super::Image;
use crate::address::{PAGE_SIZE, PhysAddr};
use crate::facts::{ReadError, Watch};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a worker takes at once: neighbours in memory are mostly neighbours in the file, and in one compressed frame.
const STRETCH: u64 = 16 << 20;

/// Consecutive bytes of physical memory.
pub struct Chunk<'a> {
    pub at: PhysAddr,
    pub bytes: &'a [u8],
    /// A pattern that begins in the first `own` bytes belongs to this chunk; the others are seen again by the next one.
    pub own: usize,
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bytes that were looked at.
    pub bytes: u64,
    /// Bytes that the image should hold and that could not be read.
    pub unreadable: u64,
    /// The lowest of the reasons, by address.
    pub first: Option<(PhysAddr, ReadError)>,
    /// Cancelled, or ended by the one who asked.
    pub stopped: bool,
}

struct Sweep<'a, F> {
    image: &'a Image,
    watch: &'a Watch,
    each: F,
    chunk: usize,
    overlap: usize,
    total: u64,
    next: Mutex<(usize, u64)>,
    stop: AtomicBool,
    done: AtomicU64,
    unreadable: AtomicU64,
    first: Mutex<Option<(PhysAddr, ReadError)>>,
}

impl Image {
    /// Shows all memory to `each`, in chunks of `chunk` bytes with the first `overlap` bytes of what follows, on all threads of the pool
    /// and roughly in order. Ends early when the watch is cancelled or `each` breaks.
    pub fn sweep(&self, chunk: usize, overlap: usize, watch: &Watch, each: impl Fn(Chunk<'_>) -> ControlFlow<()> + Sync) -> Swept {
        let page = PAGE_SIZE as usize;
        let chunk = chunk.clamp(page, STRETCH as usize).next_multiple_of(page);
        let sweep = Sweep {
            image: self,
            watch,
            each,
            chunk,
            overlap: overlap.min(chunk),
            total: self.runs().iter().map(|run| run.length).sum(),
            next: Mutex::default(),
            stop: AtomicBool::new(false),
            done: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            first: Mutex::default(),
        };
        watch.progress(0, sweep.total);
        rayon::scope(|scope| (0..rayon::current_num_threads()).for_each(|_| scope.spawn(|_| sweep.work())));
        let unreadable = sweep.unreadable.into_inner();
        Swept {
            bytes: sweep.done.into_inner() - unreadable,
            unreadable,
            first: sweep.first.into_inner().unwrap_or_else(PoisonError::into_inner),
            stopped: sweep.stop.into_inner(),
        }
    }
}

impl<F: Fn(Chunk<'_>) -> ControlFlow<()> + Sync> Sweep<'_, F> {
    fn work(&self) {
        let mut buffer = vec![0; self.chunk + self.overlap];
        while let Some((start, length, end)) = self.take() {
            let mut at = start;
            while at < start + length {
                if self.stop.load(Ordering::Relaxed) || self.watch.cancelled() {
                    self.stop.store(true, Ordering::Relaxed);
                    return;
                }
                let own = (start + length - at).min(self.chunk as u64);
                let most = (end - at).min(own + self.overlap as u64);
                if self.show(PhysAddr(at), own as usize, &mut buffer[..most as usize]).is_break() {
                    self.stop.store(true, Ordering::Relaxed);
                }
                let done = self.done.fetch_add(own, Ordering::Relaxed) + own;
                self.watch.progress(done, self.total);
                at += own;
            }
        }
    }

    /// The next stretch: its start and length, and the end of its run.
    fn take(&self) -> Option<(u64, u64, u64)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, inside) = *next;
        let run = self.image.runs().get(index)?;
        let length = (run.length - inside).min(STRETCH);
        *next = if inside + length == run.length { (index + 1, 0) } else { (index, inside + length) };
        Some((run.start.0 + inside, length, run.end().0))
    }

    fn show(&self, at: PhysAddr, own: usize, bytes: &mut [u8]) -> ControlFlow<()> {
        match self.image.read(at, bytes) {
            Ok(()) => (self.each)(Chunk { at, bytes, own }),
            Err(_) => self.show_pages(at, own, bytes),
        }
    }

    /// Shows what can be read of a chunk, page by page.
    fn show_pages(&self, at: PhysAddr, own: usize, bytes: &mut [u8]) -> ControlFlow<()> {
        let mut readable = 0..0;
        let mut from = 0;
        while from < bytes.len() {
            let to = bytes.len().min(from + (PAGE_SIZE - at.offset(from as u64).in_page()) as usize);
            match self.image.read(at.offset(from as u64), &mut bytes[from..to]) {
                Ok(()) => readable.end = to,
                Err(why) => {
                    self.show_part(at, own, bytes, readable)?;
                    readable = to..to;
                    self.missed(at.offset(from as u64), own.saturating_sub(from).min(to - from) as u64, why);
                }
            }
            from = to;
        }
        self.show_part(at, own, bytes, readable)
    }

    fn show_part(&self, at: PhysAddr, own: usize, bytes: &[u8], part: std::ops::Range<usize>) -> ControlFlow<()> {
        if part.is_empty() || part.start >= own {
            return ControlFlow::Continue(());
        }
        let own = own.min(part.end) - part.start;
        (self.each)(Chunk { at: at.offset(part.start as u64), bytes: &bytes[part], own })
    }

    fn missed(&self, at: PhysAddr, length: u64, why: ReadError) {
        // A page that only the overlap reaches is counted by the chunk it belongs to.
        if length == 0 {
            return;
        }
        self.unreadable.fetch_add(length, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none_or(|(known, _)| at < known) {
            *first = Some((at, why));
        }
    }
}
