//! Moments of a journal.

use std::fmt;

/// A moment in UTC, in microseconds since the Unix epoch. Within a journal it never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    /// RFC 3339, as 2026-01-31T12:00:00Z; moments beyond the year 9999 in microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_can_be_shown() {
        let check = |us, expected: &str| assert_eq!(Time(us).to_string(), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(1_769_860_800_500_000, "2026-01-31T12:00:00.5Z");
        check(253_402_300_800_000_000, "253402300800000000 us");
        check(i64::MIN, "-9223372036854775808 us");
    }
}
