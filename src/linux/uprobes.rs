//! Breakpoints that the kernel itself keeps in the code of programs (kernel/events/uprobes.c), by the files that they are set in.

use super::{Linux, rbtree};
use crate::address::VirtAddr;
use crate::facts::Watch;
use std::collections::HashSet;
use std::sync::Arc;

const MOST_PROBES: usize = 1 << 20;
/// What a probe writes: a breakpoint, or since 6.18 also a call over a NOP of five bytes.
const BREAKPOINT: u8 = 0xcc;
const CALL: u8 = 0xe8;
const LONGEST: usize = 5;

/// Inodes and offsets of the probes.
pub type Probes = HashSet<(VirtAddr, u64)>;

impl Linux {
    pub(super) fn uprobes(&self, watch: &Watch) -> Arc<Probes> {
        self.uprobes.or_search(watch, || {
            let context = self.context();
            let Ok(top) = context.symbol("uprobes_tree").and_then(|root| context.space.pointer(root)) else { return Probes::new() };
            let (nodes, _) = rbtree::nodes(context, top, MOST_PROBES);
            let probe = |node| {
                let probe = context.container("uprobe", "rb_node", node).ok()?;
                Some((probe.pointer("inode").ok()?, probe.uint("offset").ok()?))
            };
            nodes.into_iter().filter_map(probe).collect()
        })
    }
}

/// Lets a page of a file have the probes that a process's copy of it has, so that what else differs remains. `probe` says whether there is
/// one at a place in the page. Says whether there was any.
pub fn allow(was: &mut [u8], is: &[u8], probe: impl Fn(usize) -> bool) -> bool {
    let mut found = false;
    for at in 0..was.len().min(is.len()) {
        let length = match is.get(at) {
            Some(&BREAKPOINT) => 1,
            Some(&CALL) => LONGEST,
            _ => continue,
        };
        let end = (at + length).min(is.len());
        if was.get(at..end) != is.get(at..end)
            && probe(at)
            && let (Some(was), Some(is)) = (was.get_mut(at..end), is.get(at..end))
        {
            was.copy_from_slice(is);
            found = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::allow;

    #[test]
    fn only_probes_at_their_places_explain_a_difference() {
        let was = [0x55, 0x48, 0x89, 0xe5, 0x0f, 0x1f, 0x44, 0, 0, 0xc3];
        let with = |at: usize, code: &[u8]| {
            let mut is = was;
            is[at..at + code.len()].copy_from_slice(code);
            is
        };
        let left = |is: &[u8], probe: usize| {
            let mut was = was;
            let found = allow(&mut was, is, |at| at == probe);
            (found, was.iter().zip(is).position(|(was, is)| was != is))
        };
        assert_eq!(left(&with(0, &[0xcc]), 0), (true, None));
        assert_eq!(left(&with(4, &[0xe8, 1, 2, 3, 4]), 4), (true, None));
        assert_eq!(left(&with(0, &[0xcc]), 1), (false, Some(0)), "a breakpoint elsewhere");
        assert_eq!(left(&with(0, &[0xcc, 0x49]), 0), (true, Some(1)), "more than the breakpoint");
        assert_eq!(left(&with(0, &[0xe9]), 0), (false, Some(0)), "a jump");
        assert_eq!(left(&was, 0), (false, None), "no difference");
    }
}
