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

/// Whether a page of code differs from its file in nothing but probes. `probe` says whether there is one at a place in the page.
pub fn explain(was: &[u8], is: &[u8], probe: impl Fn(usize) -> bool) -> bool {
    let mut found = false;
    let mut end = 0;
    for (at, (was, is)) in was.iter().zip(is).enumerate() {
        if was == is || at < end {
            continue;
        }
        if !matches!(*is, BREAKPOINT | CALL) || !probe(at) {
            return false;
        }
        found = true;
        end = at + if *is == CALL { LONGEST } else { 1 };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn only_probes_at_their_places_explain_a_difference() {
        let was = [0x55, 0x48, 0x89, 0xe5, 0x0f, 0x1f, 0x44, 0, 0, 0xc3];
        let with = |at: usize, code: &[u8]| {
            let mut is = was;
            is[at..at + code.len()].copy_from_slice(code);
            is
        };
        assert!(explain(&was, &with(0, &[0xcc]), |at| at == 0));
        assert!(explain(&was, &with(4, &[0xe8, 1, 2, 3, 4]), |at| at == 4));
        assert!(!explain(&was, &with(0, &[0xcc]), |at| at == 1), "a breakpoint elsewhere");
        assert!(!explain(&was, &with(0, &[0xcc, 0x49]), |at| at == 0), "more than the breakpoint");
        assert!(!explain(&was, &with(0, &[0xe9]), |at| at == 0), "a jump");
        assert!(!explain(&was, &was, |_| true), "no difference");
    }
}
