//! Times as their source has them: a moment and the number of fractional digits that the source really gives.

use jiff::Timestamp;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    moment: Timestamp,
    digits: u8,
}

impl Time {
    /// A time in nanoseconds since 1970, shown with `digits` fractional digits. None where it lies outside the calendar.
    pub fn from_nanoseconds(nanoseconds: i128, digits: u8) -> Option<Self> {
        let moment = Timestamp::from_nanosecond(nanoseconds).ok()?;
        Some(Self { moment, digits: digits.min(9) })
    }
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        Self::from_nanoseconds(i128::from(seconds) * 1_000_000_000, 0)
    }
    pub fn nanoseconds(self) -> i128 {
        self.moment.as_nanosecond()
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.*}", usize::from(self.digits), self.moment)
    }
}
