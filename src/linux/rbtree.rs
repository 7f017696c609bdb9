//! Red-black trees (lib/rbtree.c), walked without trust in their order or shape.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::symbols::Context;
use std::collections::HashSet;

/// The nodes of a tree in order, from its topmost node on, and what could not be read on the way.
pub fn nodes(context: Context<'_>, top: VirtAddr, most: usize) -> (Vec<VirtAddr>, Option<ReadError>) {
    walk(top, most, |node| {
        let node = context.object("rb_node", node)?;
        Ok((node.pointer("rb_left")?, node.pointer("rb_right")?))
    })
}

fn walk(
    top: VirtAddr,
    most: usize,
    children: impl Fn(VirtAddr) -> Result<(VirtAddr, VirtAddr), ReadError>,
) -> (Vec<VirtAddr>, Option<ReadError>) {
    let mut found = Vec::new();
    let mut trouble = None;
    let mut seen = HashSet::new();
    // A node is pushed once to open it and once more, behind its left side, to be taken.
    let mut waiting = vec![(top, false)];
    while let Some((node, opened)) = waiting.pop() {
        if opened {
            found.push(node);
            continue;
        }
        if node.is_null() {
            continue;
        }
        if !node.is_kernel() || seen.len() >= most || !seen.insert(node) {
            trouble = Some(ReadError::Implausible("tree"));
            continue;
        }
        match children(node) {
            Ok((left, right)) => waiting.extend([(right, false), (node, true), (left, false)]),
            Err(why) => trouble = Some(why),
        }
    }
    (found, trouble)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const BASE: u64 = 0xffff_8000_0000_0000;

    fn walked(links: &[(u64, u64, u64)], most: usize) -> (Vec<u64>, Option<ReadError>) {
        let at = |number: u64| VirtAddr(if number == 0 { 0 } else { BASE + number });
        let links: HashMap<_, _> = links.iter().map(|(node, left, right)| (at(*node), (at(*left), at(*right)))).collect();
        let (found, trouble) = walk(at(1), most, |node| links.get(&node).copied().ok_or(ReadError::NotMapped(node)));
        (found.into_iter().map(|node| node.0 - BASE).collect(), trouble)
    }

    #[test]
    fn nodes_come_in_order() {
        let (found, trouble) = walked(&[(1, 2, 3), (2, 4, 5), (3, 0, 6), (4, 0, 0), (5, 0, 0), (6, 0, 0)], 100);
        assert_eq!(found, [4, 2, 5, 1, 3, 6]);
        assert_eq!(trouble, None);
    }

    #[test]
    fn loops_and_holes_end_the_branch_and_not_the_walk() {
        let (found, trouble) = walked(&[(1, 2, 3), (2, 1, 9), (3, 0, 0)], 100);
        assert_eq!(found, [2, 1, 3]);
        assert!(trouble.is_some());
    }

    #[test]
    fn a_tree_ends_at_its_limit() {
        let links: Vec<_> = (1..1000).map(|node| (node, 0, node + 1)).collect();
        assert_eq!(walked(&links, 10).0.len(), 10);
    }
}
