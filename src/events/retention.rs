//! How far back a log reaches, and how large it must be to reach as far as is wanted.

use super::file::LogFile;
use super::log::{CHUNK, Log};
use crate::facts::event::Retention;
use crate::facts::{Known, ReadError, Time, Watch};

const DAY: i128 = 86_400 * 1_000_000_000;

impl LogFile {
    /// Measures the log; `days` is how far back it should reach.
    pub fn retention(&self, days: u64, watch: &Watch) -> Result<Retention, ReadError> {
        let mut log = Log::default();
        let mut row = Retention { file: self.name().to_owned(), size: self.length(), wanted_days: days, ..Retention::default() };
        let mut count = |events: Vec<crate::facts::Event>| {
            for event in events {
                // Remnants are of an earlier life of the log.
                if event.problems.is_empty() {
                    row.records += 1;
                    add(&mut row, event.time.value().copied(), event.record_id.value().copied());
                }
            }
            true
        };
        if self.read_into(watch, &mut log, &mut count)? {
            let mut late = Vec::new();
            log.finish(&mut late);
            count(late);
        }
        row.used = log.tally.chunks * CHUNK as u64;
        if let (Some(oldest), Some(newest)) = (row.oldest.value(), row.newest.value()) {
            let span = newest.nanoseconds() - oldest.nanoseconds();
            row.covers_hours = u64::try_from(span / (DAY / 24)).ok().into();
            let a_day = i128::from(row.used).checked_mul(DAY).and_then(|product| product.checked_div(span)).filter(|_| span > DAY / 24);
            row.bytes_a_day = a_day.and_then(|bytes| u64::try_from(bytes).ok()).into();
        }
        if let Some(bytes) = row.bytes_a_day.value().copied().filter(|bytes| *bytes > 0) {
            row.days_at_size = Known::Value(row.size / bytes);
            row.needed_size = Known::Value(bytes.saturating_mul(days).next_multiple_of(CHUNK as u64));
        } else {
            row.problems.push("it covers too little time to tell how fast it grows".to_owned());
        }
        // A log that is full writes over its oldest chunk: what it once held before that is gone.
        let full = row.size.saturating_sub(row.used) < 2 * CHUNK as u64;
        row.wrapped = row.first_record.value().map(|first| *first > 1 && full).into();
        Ok(row)
    }
}

fn add(row: &mut Retention, time: Option<Time>, number: Option<u64>) {
    if let Some(time) = time {
        row.oldest = Known::Value(row.oldest.value().copied().map_or(time, |oldest| oldest.min(time)));
        row.newest = Known::Value(row.newest.value().copied().map_or(time, |newest| newest.max(time)));
    }
    if let Some(number) = number {
        row.first_record = Known::Value(row.first_record.value().copied().map_or(number, |first| first.min(number)));
        row.last_record = Known::Value(row.last_record.value().copied().map_or(number, |last| last.max(number)));
    }
}
