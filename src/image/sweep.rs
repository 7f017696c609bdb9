//! One pass over physical memory, in parallel, for all scanners at once.

use super::Image;
use crate::address::PhysAddr;
use crate::facts::Watch;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a sweep went.
#[derive(Clone, Copy, Debug)]
pub struct Swept {
    pub unreadable: u64,
}

impl Image {
    pub fn sweep(&self, chunk: usize, overlap: usize, watch: &Watch, see: impl Fn(PhysAddr, &[u8]) -> ControlFlow<()> + Sync) -> Swept {
        let total = self.runs().iter().map(|run| run.length).sum();
        let chunks: Vec<_> =
            self.runs().iter().flat_map(|run| (0..run.length).step_by(chunk).map(move |at| (run.start.offset(at), run.end()))).collect();
        let (done, unreadable, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        chunks.into_par_iter().for_each_init(Vec::new, |buffer, (at, end)| {
            if stop.load(Ordering::Relaxed) || watch.cancelled() {
                return;
            }
            buffer.resize(((end.0 - at.0) as usize).min(chunk + overlap), 0);
            if self.read(at, buffer).is_err() {
                unreadable.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            } else if see(at, buffer).is_break() {
                stop.store(true, Ordering::Relaxed);
            }
            watch.progress(done.fetch_add(chunk as u64, Ordering::Relaxed), total);
        });
        Swept { unreadable: unreadable.into_inner() }
    }
}
