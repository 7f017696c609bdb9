//! What goes on in the background, piece by piece, in words and numbers.

use super::app::Slot;
use super::panes::bytes::Want;
use std::mem::Discriminant;
use std::time::Duration;

/// Which piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    Query(Slot),
    Arrange(usize),
    Learn(Discriminant<Want>),
    Find,
    Cross,
    Locate,
    Export,
    Take,
    Report,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ongoing {
    pub id: Id,
    pub what: String,
    /// Done and total in whatever the work counts; total 0 where it is not known.
    pub reading: (u64, u64),
    pub elapsed: Duration,
}

impl Ongoing {
    pub fn percent(&self) -> Option<u8> {
        let (done, total) = self.reading;
        (total > 0).then(|| u8::try_from(u128::from(done.min(total)) * 100 / u128::from(total)).unwrap_or(100))
    }

    /// How far it is, how fast, and since when.
    pub fn says(&self) -> String {
        let (done, total) = self.reading;
        let mut parts = Vec::new();
        match (done, total) {
            (0, 0) => (),
            (done, 0) => parts.push(short(done)),
            (done, total) => parts.push(format!("{} of {}", short(done), short(total))),
        }
        let millis = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        if done > 0 && millis >= 500 {
            parts.push(format!("{}/s", short(done.saturating_mul(1000) / millis)));
        }
        parts.push(format!("{} s", millis / 1000));
        parts.join(", ")
    }
}

/// A count of anything in three digits or so.
fn short(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["", " k", " M", " G", " T"] {
        if value < 999.5 {
            return if unit.is_empty() || value >= 99.95 { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.0} P")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_and_how_fast() {
        let piece = |reading, millis| Ongoing { id: Id::Find, what: String::new(), reading, elapsed: Duration::from_millis(millis) };
        assert_eq!(piece((1_500_000, 3_000_000), 2000).says(), "1.5 M of 3.0 M, 750 k/s, 2 s");
        assert_eq!(piece((1_500_000, 3_000_000), 2000).percent(), Some(50));
        assert_eq!(piece((12, 0), 100).says(), "12, 0 s");
        assert_eq!(piece((0, 0), 3100).says(), "3 s");
        assert_eq!(piece((u64::MAX, 1), u64::MAX).percent(), Some(100));
        assert_eq!([short(999), short(1000), short(99_960), short(u64::MAX)], ["999", "1.0 k", "100 k", "18447 P"]);
    }
}
