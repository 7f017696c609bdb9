//! XArrays, and the radix trees and IDRs that share their shape since 4.20 (lib/xarray.c).

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::symbols::Object;
use std::collections::HashSet;

/// Six bits of index a level: no tree is deeper.
const MOST_LEVELS: u32 = 11;
const SLOT_BITS: u64 = 6;
/// Nodes without anything below them that are looked into on the way to one entry, on average: each of a tree has something.
const MOST_EMPTY: usize = 2;

/// The entries of a tree, with their indices; `head` is a struct xarray (radix_tree_root before 4.20).
pub fn indexed(tree: &Object<'_>, most: usize) -> Result<Vec<(u64, VirtAddr)>, ReadError> {
    let (head, node) = if tree.has("xa_head") { ("xa_head", "xa_node") } else { ("rnode", "radix_tree_node") };
    let context = tree.context();
    let layout = context.profile.layout(node)?;
    let (slots, shift) = (layout.field("slots")?, layout.offset("shift")?);
    let count = u64::from(slots.size / 8).min(64);
    let mut entries = Vec::new();
    let mut met = HashSet::new();
    // Entry, index of its first slot, levels left.
    let mut waiting = vec![(tree.pointer(head)?, 0u64, MOST_LEVELS)];
    while let Some((entry, index, levels)) = waiting.pop() {
        // The lowest bits tell: 2 an inner node (1 in radix trees before 4.20), odd ones values, 0 a pointer.
        let inner = match entry.0 & 3 {
            0 => false,
            2 => true,
            1 => node == "radix_tree_node",
            _ => continue,
        };
        if entry.is_null() {
            continue;
        }
        if !inner {
            entries.push((index, entry));
            if entries.len() >= most {
                break;
            }
            continue;
        }
        let at = VirtAddr(entry.0 & !3);
        // A tree leads to each node once.
        if levels == 0 || !at.is_kernel() || !met.insert(at) {
            continue;
        }
        if met.len() > most.saturating_mul(MOST_EMPTY) {
            return Err(ReadError::Implausible("tree"));
        }
        let Ok(shift) = context.space.uint(at.offset(shift), 1) else { continue };
        let mut words = [0; 64 * 8];
        let words = &mut words[..count as usize * 8];
        if context.space.read(at.offset(slots.offset.into()), words).is_err() {
            continue;
        }
        for (slot, word) in words.as_chunks::<8>().0.iter().enumerate().rev() {
            let child = u64::from_le_bytes(*word);
            if child != 0 && shift < 64 {
                waiting.push((VirtAddr(child), index.wrapping_add((slot as u64) << shift), levels - 1));
            }
        }
    }
    Ok(entries)
}

pub fn entries(tree: &Object<'_>, most: usize) -> Result<Vec<VirtAddr>, ReadError> {
    Ok(indexed(tree, most)?.into_iter().map(|(_, entry)| entry).collect())
}

/// The entry that covers an index, with the first index it covers: a folio of several pages stands in one slot, and the slots after it
/// point back to that one (sibling entries).
pub fn at(tree: &Object<'_>, index: u64) -> Result<Option<(u64, VirtAddr)>, ReadError> {
    let (head, node) = if tree.has("xa_head") { ("xa_head", "xa_node") } else { ("rnode", "radix_tree_node") };
    let context = tree.context();
    let layout = context.profile.layout(node)?;
    let (slots, shift) = (layout.offset("slots")?, layout.offset("shift")?);
    let mut entry = tree.pointer(head)?;
    let (mut start, mut above) = (0u64, u64::from(u64::BITS));
    for level in 0..MOST_LEVELS {
        let inner = entry.0 & 3 == 2 || (entry.0 & 3 == 1 && node == "radix_tree_node");
        if !inner {
            let alone = entry.0 & 3 == 0 && !entry.is_null() && (level > 0 || index == 0);
            return Ok(alone.then_some((start, entry)));
        }
        let at = VirtAddr(entry.0 & !3);
        let shift = context.space.uint(at.offset(shift), 1)?;
        // Each level has its own bits of the index, and none lie above those of the topmost.
        if shift % SLOT_BITS != 0 || shift >= above || (level == 0 && index.checked_shr(shift as u32 + SLOT_BITS as u32).unwrap_or(0) != 0)
        {
            return Ok(None);
        }
        above = shift;
        let slot = |number: u64| context.space.pointer(at.offset(slots + number * 8));
        let mut number = (index >> shift) & 63;
        entry = slot(number)?;
        // A sibling entry is the number of its head slot, which is before it, shifted, with the inner bits.
        if entry.0 & 3 == 2 && entry.0 < 64 << 2 {
            let head = entry.0 >> 2;
            if head >= number {
                return Ok(None);
            }
            number = head;
            entry = slot(number)?;
        }
        start |= number << shift;
    }
    Ok(None)
}
