//! The kernel's log: the lockless ring buffer of printk (since 5.10) or the flat one (before).

use super::Linux;
use crate::address::VirtAddr;
use crate::facts::linux::LogRecord;
use crate::facts::{Known, ReadError, Scope, Sink, Time};
use crate::symbols::{Context, Object};

/// The log buffer is at most 2 GiB (kernel/printk/printk.c, LOG_BUF_LEN_MAX); a descriptor stands for 32 bytes of it.
const MOST_BUFFER_BITS: u64 = 31;
const MOST_COUNT_BITS: u64 = 26;
/// Texts are cut at 1 KiB by printk and at 32 KiB by /dev/kmsg.
const MOST_TEXT: u64 = 1 << 16;

/// The words for the eight levels (include/linux/kern_levels.h).
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

/// kernel/printk/printk_ringbuffer.h: a descriptor's state is in its two highest bits, its ID in the others.
const ID: u64 = u64::MAX >> 2;
const RESERVED: u64 = 0;
const REUSABLE: u64 = 3;

pub fn kernel_log(linux: &Linux, scope: Scope, out: &mut Sink<LogRecord>) {
    // The log belongs to the machine, whichever process is asked about.
    let _ = scope;
    let context = linux.context();
    let done = match context.symbol("prb").and_then(|prb| context.space.pointer(prb)) {
        Ok(ring) => Ring::read(context, ring).and_then(|ring| ring.records(linux, out)),
        Err(ReadError::NoSymbol(_)) => flat(linux, out),
        Err(why) => Err(why),
    };
    if let Err(why) = done {
        out.cut(format!("the kernel's log cannot be read: {why}"));
    }
}

impl Linux {
    /// A record, from whichever header describes it. The log is stamped by the scheduler's clock, which counts from boot and stands
    /// still in suspend: after a suspend the times are too early by its length.
    fn log_record(&self, header: &Object<'_>, sequence: u64, text: &[u8]) -> LogRecord {
        let since_boot = header.uint("ts_nsec");
        let time = match (self.boot_time, since_boot) {
            (_, Err(why)) => Known::Unreadable(why),
            (None, _) => Known::Absent,
            (Some(boot), Ok(since)) => Time::from_nanoseconds(boot.nanoseconds() + i128::from(since), 9).into(),
        };
        let level = header.uint("level").map(|level| LEVELS.get(level as usize).map(|word| (*word).to_owned()));
        LogRecord { time, level: level.into(), text: String::from_utf8_lossy(text).into_owned(), sequence, ..LogRecord::default() }
    }
}

/// The ring buffer since 5.10: descriptors, the information about each record, and the texts.
struct Ring<'a> {
    context: Context<'a>,
    count_bits: u64,
    descriptors: VirtAddr,
    infos: VirtAddr,
    head: u64,
    tail: u64,
    texts: Texts,
}

/// Where the texts lie.
struct Texts {
    bits: u64,
    data: VirtAddr,
    /// Bytes before a block's text: the ID of the descriptor that owns it.
    header: u64,
}

/// What a descriptor says of its text.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// An empty line needs no block.
    Empty,
    /// There was no room for it.
    Lost,
    /// Offset in the ring and length, header included.
    At(u64, u64),
    Damaged,
}

impl Texts {
    /// The block between two logical positions. A block that would not fit before the end of the ring lies at its start.
    fn block(&self, begin: u64, next: u64) -> Block {
        // Odd positions mark records without a block: both ends 3 for an empty line, 1 for a text that was lost.
        match (begin & 1, next & 1) {
            (1, 1) if begin == 3 && next == 3 => return Block::Empty,
            (1, 1) => return Block::Lost,
            (0, 0) => {}
            _ => return Block::Damaged,
        }
        let size = 1u64 << self.bits;
        let (index, end) = (begin & (size - 1), next & (size - 1));
        // Positions count on through the laps of the ring, and start over at 0 after the highest.
        let laps = (next >> self.bits).wrapping_sub(begin >> self.bits) & (u64::MAX >> self.bits);
        let (start, length) = match laps {
            0 => (index, end.wrapping_sub(index)),
            // Kernels since 6.18 let a block end where the ring does.
            1 if end == 0 => (index, size - index),
            1 => (0, end),
            _ => return Block::Damaged,
        };
        if length <= self.header || length > size - start { Block::Damaged } else { Block::At(start, length) }
    }
}

impl<'a> Ring<'a> {
    fn read(context: Context<'a>, at: VirtAddr) -> Result<Self, ReadError> {
        let ring = context.object("printk_ringbuffer", at)?;
        let (descriptors, texts) = (ring.inner("desc_ring")?, ring.inner("text_data_ring")?);
        let number = |object: &Object<'_>, field| object.inner(field)?.uint("counter");
        let (count_bits, bits) = (descriptors.uint("count_bits")?, texts.uint("size_bits")?);
        if !(1..=MOST_COUNT_BITS).contains(&count_bits) || !(3..=MOST_BUFFER_BITS).contains(&bits) {
            return Err(ReadError::Implausible("printk_ringbuffer"));
        }
        Ok(Self {
            context,
            count_bits,
            descriptors: descriptors.pointer("descs")?,
            infos: descriptors.pointer("infos")?,
            head: number(&descriptors, "head_id")? & ID,
            tail: number(&descriptors, "tail_id")? & ID,
            texts: Texts { bits, data: texts.pointer("data")?, header: context.profile.layout("prb_data_block")?.offset("data")? },
        })
    }

    fn records(&self, linux: &Linux, out: &mut Sink<LogRecord>) -> Result<(), ReadError> {
        let places = 1u64 << self.count_bits;
        let count = self.head.wrapping_sub(self.tail) & ID;
        if count >= places {
            return Err(ReadError::Implausible("printk_ringbuffer"));
        }
        let (mut shown, mut lost, mut writing, mut damaged) = (0, 0, 0, 0);
        let mut first_trouble = None;
        for step in 0..=count {
            if out.cancelled() {
                return Ok(());
            }
            let id = self.tail.wrapping_add(step) & ID;
            match self.record(linux, id) {
                Ok(Found::Record(row)) => {
                    shown += 1;
                    out.push(row);
                }
                Ok(Found::Nothing) => {}
                Ok(Found::Lost) => lost += 1,
                Ok(Found::Writing) => writing += 1,
                Err(why) => {
                    damaged += 1;
                    first_trouble.get_or_insert(why);
                }
            }
        }
        if lost > 0 {
            out.note(format!("of {lost} records the kernel itself had no room for the text"));
        }
        if writing > 0 {
            out.note(format!("{writing} records were being written and have no text yet"));
        }
        if let Some(why) = first_trouble {
            let note = format!("{damaged} records are missing, the first of them: {why}");
            if shown == 0 { out.cut(note) } else { out.note(note) }
        }
        Ok(())
    }

    /// The record of a descriptor. The newest may still be open for more text, and the oldest released for reuse: both have theirs.
    fn record(&self, linux: &Linux, id: u64) -> Result<Found, ReadError> {
        let place = id & ((1 << self.count_bits) - 1);
        let at = |array: VirtAddr, structure: &'static str| -> Result<Object<'a>, ReadError> {
            let size = u64::from(self.context.profile.layout(structure)?.size);
            self.context.object(structure, array.offset(place * size))
        };
        let descriptor = at(self.descriptors, "prb_desc")?;
        let state = descriptor.inner("state_var")?.uint("counter")?;
        if state & ID != id {
            return Err(ReadError::Implausible("prb_desc"));
        }
        let state = state >> 62;
        if state == RESERVED {
            return Ok(Found::Writing);
        }
        let position = descriptor.inner("text_blk_lpos")?;
        let block = self.texts.block(position.uint("begin")?, position.uint("next")?);
        let info = at(self.infos, "printk_info")?;
        let text = match block {
            // Descriptors that were never used look like this.
            Block::Empty | Block::Lost if state == REUSABLE => return Ok(Found::Nothing),
            Block::Empty => Vec::new(),
            Block::Lost => return Ok(Found::Lost),
            Block::Damaged => return Err(ReadError::Implausible("prb_data_blk_lpos")),
            Block::At(start, length) => {
                let at = self.texts.data.offset(start);
                if self.context.object("prb_data_block", at)?.uint("id")? & ID != id {
                    // Released, and its text overwritten since.
                    return if state == REUSABLE { Ok(Found::Nothing) } else { Err(ReadError::Implausible("prb_data_block")) };
                }
                let length = info.uint("text_len")?.min(length - self.texts.header).min(MOST_TEXT);
                let mut text = vec![0; length as usize];
                self.context.space.read(at.offset(self.texts.header), &mut text)?;
                text
            }
        };
        Ok(Found::Record(linux.log_record(&info, info.uint("seq")?, &text)))
    }
}

enum Found {
    Record(LogRecord),
    Nothing,
    Lost,
    Writing,
}

/// Before 5.10: records of varying length, each a struct printk_log and its text, up to one of length 0 that sends the reader back to
/// the buffer's start.
fn flat(linux: &Linux, out: &mut Sink<LogRecord>) -> Result<(), ReadError> {
    let context = linux.context();
    let number = |name: &'static str, size: u32| context.space.uint(context.symbol(name)?, size);
    let buffer = context.space.pointer(context.symbol("log_buf")?)?;
    let size = number("log_buf_len", 4)?;
    let (first, end) = (number("log_first_idx", 4)?, number("log_next_idx", 4)?);
    let sequence = number("log_first_seq", 8)?;
    let layout = context.profile.layout("printk_log")?;
    let (header, length) = (u64::from(layout.size), layout.field("len")?);
    if size == 0 || size > 1 << MOST_BUFFER_BITS || header == 0 {
        return Err(ReadError::Implausible("log_buf_len"));
    }
    let length_at = |at: u64| context.space.uint(buffer.offset(at + u64::from(length.offset)), length.size);
    let (records, trouble) = chain(size, header, first, end, length_at);
    for (at, sequence) in records.into_iter().zip(sequence..) {
        if out.cancelled() {
            return Ok(());
        }
        let record = context.object("printk_log", buffer.offset(at))?;
        let mut text = vec![0; record.uint("text_len")?.min(MOST_TEXT).min(size - at - header) as usize];
        context.space.read(record.address.offset(header), &mut text)?;
        out.push(linux.log_record(&record, sequence, &text));
    }
    trouble.map_or(Ok(()), Err)
}

/// The offsets of the records from the first to the end, and what broke the chain, if anything.
fn chain(size: u64, header: u64, first: u64, end: u64, length_at: impl Fn(u64) -> Result<u64, ReadError>) -> (Vec<u64>, Option<ReadError>) {
    let mut records = Vec::new();
    let mut at = first;
    let mut wrapped = false;
    while at != end {
        if at.saturating_add(header) > size {
            return (records, Some(ReadError::Implausible("log_buf")));
        }
        match length_at(at) {
            Err(why) => return (records, Some(why)),
            // Only a log that has gone around the buffer ends before its beginning.
            Ok(0) if !wrapped && end < first => {
                wrapped = true;
                at = 0;
            }
            Ok(length) if length >= header && (!wrapped || at < end) => {
                records.push(at);
                at += length;
            }
            Ok(_) => return (records, Some(ReadError::Implausible("printk_log"))),
        }
    }
    (records, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts { bits: 10, data: VirtAddr(0), header: 8 }
    }

    #[test]
    fn blocks_lie_where_their_positions_say() {
        let texts = texts();
        assert_eq!(texts.block(0x1040, 0x1060), Block::At(0x40, 0x20));
        // Did not fit before the end: lies at the start.
        assert_eq!(texts.block(0x13f0, 0x1430), Block::At(0, 0x30));
        // Ends exactly with the ring.
        assert_eq!(texts.block(0x13f0, 0x1400), Block::At(0x3f0, 0x10));
        assert_eq!(texts.block(u64::MAX - 0xf, 0x20), Block::At(0, 0x20));
    }

    #[test]
    fn records_without_a_block_are_told_apart() {
        let texts = texts();
        assert_eq!(texts.block(3, 3), Block::Empty);
        assert_eq!(texts.block(1, 1), Block::Lost);
        assert_eq!(texts.block(0x1040, 0x1041), Block::Damaged);
        assert_eq!(texts.block(0x1040, 0x1048), Block::Damaged, "no room for the header");
        assert_eq!(texts.block(0x1060, 0x1040), Block::Damaged, "backwards");
        assert_eq!(texts.block(0x1040, 0x9040), Block::Damaged, "laps apart");
    }

    fn lengths(at: &'static [(u64, u64)]) -> impl Fn(u64) -> Result<u64, ReadError> {
        |place| at.iter().find(|(start, _)| *start == place).map(|(_, length)| *length).ok_or(ReadError::Implausible("test"))
    }

    #[test]
    fn the_flat_log_goes_around_once() {
        let (records, trouble) = chain(256, 16, 96, 64, lengths(&[(96, 64), (160, 32), (192, 0), (0, 40), (40, 24)]));
        assert_eq!(records, [96, 160, 0, 40]);
        assert_eq!(trouble, None);
    }

    #[test]
    fn a_damaged_flat_log_ends() {
        let (records, trouble) = chain(256, 16, 0, 250, lengths(&[(0, 32), (32, 0)]));
        assert_eq!(records, [0]);
        assert!(trouble.is_some());
        let (records, trouble) = chain(256, 16, 0, 250, lengths(&[(0, 0)]));
        assert!(records.is_empty() && trouble.is_some());
        let (_, trouble) = chain(256, 16, 0, 251, lengths(&[(0, 250)]));
        assert!(trouble.is_some());
    }
}
