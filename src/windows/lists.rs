//! Lists of the kernel: rings of `_LIST_ENTRY` and chains of single links.

use crate::address::VirtAddr;
use crate::facts::ReadError;
use crate::symbols::Context;
use std::collections::HashSet;

/// More than any list of processes, drivers, modules or callbacks has.
pub const MOST: usize = 1 << 16;

/// The links of a ring, its head left out, and what broke it. Where it does not close forwards, or its directions disagree, those that lead
/// backwards are added.
pub fn ring(context: Context<'_>, head: VirtAddr) -> (Vec<VirtAddr>, Option<ReadError>) {
    links(head, |at, direction| context.object("_LIST_ENTRY", at)?.pointer(direction))
}

/// The entries of a chain that ends with null, each of which `next` follows, and what broke it: one longer than `most` is broken.
pub fn chain(
    first: VirtAddr,
    most: usize,
    mut next: impl FnMut(VirtAddr) -> Result<VirtAddr, ReadError>,
) -> (Vec<VirtAddr>, Option<ReadError>) {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut at = first;
    while !at.is_null() {
        if !at.is_kernel() || found.len() >= most || !seen.insert(at) {
            return (found, Some(ReadError::Implausible("list")));
        }
        found.push(at);
        match next(at) {
            Ok(after) => at = after,
            Err(why) => return (found, Some(why)),
        }
    }
    (found, None)
}

/// Whether an entry of a ring is led to from a neighbour that it names.
pub fn is_linked(context: Context<'_>, own: VirtAddr) -> bool {
    let leads_back = |there: &'static str, back: &'static str| -> Result<bool, ReadError> {
        let neighbour = context.object("_LIST_ENTRY", own)?.pointer(there)?;
        Ok(neighbour.is_kernel() && context.object("_LIST_ENTRY", neighbour)?.pointer(back)? == own)
    };
    leads_back("Flink", "Blink").unwrap_or(false) || leads_back("Blink", "Flink").unwrap_or(false)
}

/// Whether an entry was taken off a ring, however broken that is: it is alone, or the neighbours that it names are sound and lead past it.
pub fn taken_off(context: Context<'_>, own: VirtAddr, sound: impl Fn(VirtAddr) -> Result<bool, ReadError>) -> Result<bool, ReadError> {
    let links = |at| context.object("_LIST_ENTRY", at);
    let (next, previous) = (links(own)?.pointer("Flink")?, links(own)?.pointer("Blink")?);
    if next == own && previous == own {
        return Ok(true);
    }
    let (back, forth) = (links(next)?.pointer("Blink")?, links(previous)?.pointer("Flink")?);
    Ok(back != own && forth != own && sound(next)? && sound(previous)? && sound(back)? && sound(forth)?)
}

fn links(head: VirtAddr, next: impl Fn(VirtAddr, &'static str) -> Result<VirtAddr, ReadError>) -> (Vec<VirtAddr>, Option<ReadError>) {
    let (mut found, mut known, mut trouble) = (Vec::new(), HashSet::new(), None);
    for (direction, back) in [("Flink", "Blink"), ("Blink", "Flink")] {
        let (mut at, mut seen) = (head, HashSet::new());
        let broken = loop {
            let to = match next(at, direction) {
                Ok(to) => to,
                Err(why) => break Some(why),
            };
            // Memory is copied while lists change: one direction may know an entry that the other does not.
            if trouble.is_none() && next(to, back) != Ok(at) {
                trouble = Some(ReadError::Implausible("list"));
            }
            if to == head {
                break None;
            }
            if !to.is_kernel() || found.len() >= MOST || !seen.insert(to) {
                break Some(ReadError::Implausible("list"));
            }
            if known.insert(to) {
                found.push(to);
            }
            at = to;
        };
        trouble = broken.or(trouble);
        if trouble.is_none() {
            break;
        }
    }
    (found, trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: u64 = 0xffff_8000_0000_0000;
    fn at(index: u64) -> VirtAddr {
        VirtAddr(HEAD + index * 0x10)
    }

    #[test]
    fn rings_close_or_say_why_not() {
        let turn = |from: VirtAddr, by: u64| Ok(at(((from.0 - HEAD) / 0x10 + by) % 3));
        let whole = links(at(0), |from, direction| turn(from, if direction == "Flink" { 1 } else { 2 }));
        assert_eq!(whole, (vec![at(1), at(2)], None));
        // An older 1 leads on to 2, which knows the later one.
        let smeared = links(at(0), |from, direction| match (direction, from) {
            ("Flink", from) if from == at(3) => Ok(at(2)),
            ("Blink", from) if from == at(2) => Ok(at(3)),
            ("Blink", from) if from == at(3) => Ok(at(0)),
            ("Flink", from) => turn(from, 1),
            (_, from) => turn(from, 2),
        });
        assert_eq!(smeared, (vec![at(1), at(2), at(3)], Some(ReadError::Implausible("list"))));
        // 1 leads to itself forwards; backwards 3 and 2 are still there.
        let cyclic = links(at(0), |from, direction| {
            Ok(match (direction, (from.0 - HEAD) / 0x10) {
                ("Flink", _) => at(1),
                (_, 0) => at(3),
                (_, index) => at(index - 1),
            })
        });
        assert_eq!(cyclic, (vec![at(1), at(3), at(2)], Some(ReadError::Implausible("list"))));
        assert_eq!(links(at(0), |_, _| Ok(VirtAddr(0))), (vec![], Some(ReadError::Implausible("list"))));
        assert!(links(at(0), |from, _| Ok(from.offset(0x10))).0.len() <= MOST, "endless");
    }

    #[test]
    fn chains_end_cycle_or_leave_the_kernel() {
        let step = |last: u64, then: VirtAddr| move |from: VirtAddr| Ok(if from == at(last) { then } else { from.offset(0x10) });
        assert_eq!(chain(at(1), MOST, step(2, VirtAddr(0))), (vec![at(1), at(2)], None));
        assert_eq!(chain(at(1), MOST, step(2, at(1))), (vec![at(1), at(2)], Some(ReadError::Implausible("list"))));
        assert_eq!(chain(at(1), MOST, step(1, VirtAddr(0x1000))), (vec![at(1)], Some(ReadError::Implausible("list"))));
        assert_eq!(chain(VirtAddr(0), MOST, |_| Err(ReadError::Implausible("never"))), (vec![], None));
        assert_eq!(chain(at(1), 2, |from| Ok(from.offset(0x10))), (vec![at(1), at(2)], Some(ReadError::Implausible("list"))));
    }
}
