//! The lists that just-in-time compilers keep for profilers (tools/perf/Documentation/jit-interface.txt): /tmp/perf-PID.map, as far as the
//! page cache has them. Anyone can write such a file, but only who knows where the code lies can list it.

use super::{Linux, path};
use crate::address::{PAGE_SIZE, VirtAddr};
use crate::facts::Watch;
use std::ops::Range;
use std::sync::Arc;

/// Functions that are kept of all lists.
const MOST_FUNCTIONS: usize = 1 << 20;

pub struct PerfMap {
    pub path: String,
    /// Where each function begins.
    functions: Vec<VirtAddr>,
}

impl PerfMap {
    /// How many functions begin in a region.
    pub fn within(&self, region: &Range<VirtAddr>) -> usize {
        self.functions.iter().filter(|function| region.contains(function)).count()
    }
}

impl Linux {
    pub(super) fn perf_maps(&self, watch: &Arc<Watch>) -> Arc<Vec<PerfMap>> {
        self.perf_maps.or_search(watch, || {
            let (files, _) = self.pages_of_files(&self.telling_files(watch), |path| is_named(path::last(path)), watch);
            let mut left = MOST_FUNCTIONS;
            let read = |file: super::page_cache::Cached| {
                let mut text = Vec::new();
                for (_, frame) in &file.pages {
                    let mut page = [0; PAGE_SIZE as usize];
                    // What is missing costs the line on either side of it.
                    text.extend_from_slice(if self.physical(*frame, &mut page).is_ok() { &page } else { b"\n" });
                }
                let functions: Vec<_> = functions(&text).take(left).collect();
                left -= functions.len();
                PerfMap { path: file.path, functions }
            };
            files.into_iter().map(read).collect()
        })
    }
}

/// Whether a file has such a list's name.
pub fn is_named(file: &str) -> bool {
    file.strip_prefix("perf-").and_then(|rest| rest.strip_suffix(".map")).is_some_and(|pid| pid.parse::<u32>().is_ok())
}

/// The beginnings of functions: `START SIZE name` in hexadecimal on each line.
fn functions(text: &[u8]) -> impl Iterator<Item = VirtAddr> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = std::str::from_utf8(line).ok()?.splitn(3, ' ');
        let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let (start, _size) = (number(words.next()?)?, number(words.next()?)?);
        words.next().filter(|name| !name.is_empty()).map(|_| VirtAddr(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read_from_whole_lines() {
        let text = b"7f00 20 LazyCompile:~main\n0x7f40 8 stub\n 8 x\n7f60\nnothing here at all\n7f80 10 \n";
        let found: Vec<_> = functions(text).collect();
        assert_eq!(found, [VirtAddr(0x7f00), VirtAddr(0x7f40)]);
        let map = PerfMap { path: String::new(), functions: found };
        assert_eq!(map.within(&(VirtAddr(0x7f10)..VirtAddr(0x8000))), 1);
    }
}
