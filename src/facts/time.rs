//! Times as their source has them: a moment and the number of fractional digits that the source really gives.

use jiff::Timestamp;
use std::fmt;

/// Between 1601 and 1970, in units of 100 ns.
const EPOCH: i128 = 116_444_736_000_000_000;

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
    /// A FILETIME: 100 ns units since 1601. None for zero, which stands for never.
    pub fn from_filetime(units: u64) -> Option<Self> {
        (units != 0).then(|| Self::from_nanoseconds((i128::from(units) - EPOCH) * 100, 7))?
    }
    /// RFC 3339, or the same with a blank for the T and without a zone, as Sysmon writes UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        let zoned = text.ends_with('Z') || text.get(10..).is_some_and(|clock| clock.contains(['+', '-']));
        let zone = if zoned { "" } else { "Z" };
        let moment = format!("{}{zone}", text.replacen(' ', "T", 1)).parse().ok()?;
        Some(Self { moment, digits: u8::try_from(digits).ok()?.min(9) })
    }
    /// This moment, by the clock of the machine that the program runs on.
    pub fn now() -> Self {
        let now = Timestamp::now();
        // Whoever reads a trail wants to know the second, and the order within it.
        Self { moment: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now), digits: 3 }
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
