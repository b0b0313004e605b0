//! Times as files and requests write them.
//!
//! Invariant: the same text is the same microsecond wherever it is read: no clock, no time zone data
//! and no locale enter.

use std::fmt;

use super::calendar_names;

/// The most characters of a format.
const FORMAT_CHARS_MAX: usize = 100;
/// The most characters of a time.
const TIME_CHARS_MAX: usize = 100;
const MICROSECONDS: i64 = 1_000_000;
const DAY_S: i64 = 24 * 3600;

/// The format of times: RFC 3339, or the author's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeFormat {
    /// The format as written; empty for RFC 3339.
    written: String,
    parts: Vec<FormatPart>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormatPart {
    /// `%Y`, four digits.
    Year,
    /// `%y`, two digits: 69 to 99 are of the last century.
    ShortYear,
    /// `%m`.
    Month,
    /// `%b` or `%B`, whole or cut, in one of five languages.
    MonthName,
    /// `%q`, 1 to 4: the first month of a quarter.
    Quarter,
    /// `%d`.
    Day,
    /// `%j`, 1 to 366.
    DayOfYear,
    /// `%G`, four digits: the year of an ISO 8601 week.
    WeekYear,
    /// `%V`, 1 to 53: a week of ISO 8601, which begins on its Monday.
    Week,
    /// `%u`, 1 to 7: a day of that week, Monday the first.
    WeekDay,
    /// `%a` or `%A`, passed over.
    WeekdayName,
    /// `%H`.
    Hour,
    /// `%I`, 1 to 12.
    HalfHour,
    /// `%p`, AM or PM.
    Half,
    /// `%M`.
    Minute,
    /// `%S`, perhaps with a fraction.
    Second,
    /// `%z`, `Z` or `+01:00`.
    Offset,
    /// `%s`, seconds since 1970.
    Epoch,
    /// `%Q`, milliseconds since 1970.
    EpochMilliseconds,
    /// A character; a blank stands for any number of them.
    Literal(char),
}

/// The fields of a time that have been read so far.
struct TimeFields {
    year: i64,
    month: i64,
    day: i64,
    second: i64,
    microsecond: i64,
    is_afternoon: Option<bool>,
    offset: Option<i64>,
    epoch: Option<i64>,
    day_of_year: Option<i64>,
    week: Option<i64>,
    day_of_week: i64,
}

impl TimeFormat {
    /// Parses a format like `%d/%m/%Y %H:%M`; none if a directive is not known.
    pub fn parse(format: &str) -> Option<TimeFormat> {
        let mut parts = Vec::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                parts.push(FormatPart::Literal(c));
                continue;
            }
            parts.push(match chars.next()? {
                'Y' => FormatPart::Year,
                'y' => FormatPart::ShortYear,
                'm' => FormatPart::Month,
                'b' | 'B' => FormatPart::MonthName,
                'q' => FormatPart::Quarter,
                'd' | 'e' => FormatPart::Day,
                'j' => FormatPart::DayOfYear,
                'G' => FormatPart::WeekYear,
                'V' => FormatPart::Week,
                'u' => FormatPart::WeekDay,
                'a' | 'A' => FormatPart::WeekdayName,
                'H' => FormatPart::Hour,
                'I' => FormatPart::HalfHour,
                'p' => FormatPart::Half,
                'M' => FormatPart::Minute,
                'S' => FormatPart::Second,
                'z' => FormatPart::Offset,
                's' => FormatPart::Epoch,
                'Q' => FormatPart::EpochMilliseconds,
                '%' => FormatPart::Literal('%'),
                _ => return None,
            });
        }
        let is_timed = parts
            .iter()
            .any(|part| !matches!(part, FormatPart::Literal(_)));
        let is_short = format.chars().count() <= FORMAT_CHARS_MAX;
        (is_timed && is_short).then(|| TimeFormat {
            written: format.to_owned(),
            parts,
        })
    }

    /// The format as it was written; empty for RFC 3339.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Microseconds since 1970 in UTC, of a text in this format or in RFC 3339; without an offset it is
    /// in a zone of so many seconds. The time of day may be left out where it stands at the end, and so
    /// may its seconds.
    pub fn read(&self, text: &str, zone_s: i64) -> Option<i64> {
        let own = self.read_as_written(text, zone_s);
        let rfc_3339 = || TimeFormat::default().read_as_written(text, zone_s);
        own.or_else(rfc_3339)
            .or_else(|| self.read_to(text, zone_s, is_left_out))
    }

    /// The time of a text in this format alone.
    pub fn read_as_written(&self, text: &str, zone_s: i64) -> Option<i64> {
        self.read_to(text, zone_s, |_| false)
    }

    /// The time of a text that may end before the parts that `is_left_out` takes.
    fn read_to(
        &self,
        text: &str,
        zone_s: i64,
        is_left_out: impl Fn(&[FormatPart]) -> bool,
    ) -> Option<i64> {
        let text = text.trim();
        if text.len() > TIME_CHARS_MAX {
            return None;
        }
        let mut fields = TimeFields::default();
        let mut rest = text;
        if self.parts.is_empty() {
            rest = rfc_3339(text, &mut fields)?;
        }
        for (place, part) in self.parts.iter().enumerate() {
            if place > 0 && rest.is_empty() && is_left_out(&self.parts[place..]) {
                break;
            }
            rest = part.take(rest, &mut fields)?;
        }
        if rest.trim().is_empty() {
            fields.microseconds(zone_s)
        } else {
            None
        }
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.written.as_str() {
            "" => f.write_str("2026-01-31T12:00:00Z"),
            written => f.write_str(written),
        }
    }
}

/// True for the last parts of a format if they are a time of day, or its seconds.
fn is_left_out(parts: &[FormatPart]) -> bool {
    let is_of_clock = |part: &FormatPart| {
        use FormatPart::{Half, HalfHour, Hour, Literal, Minute, Offset, Second};
        matches!(
            part,
            Half | HalfHour | Hour | Literal(_) | Minute | Offset | Second
        )
    };
    let has = |one: FormatPart| parts.contains(&one);
    let is_whole = has(FormatPart::Hour) || has(FormatPart::HalfHour);
    let is_seconds = has(FormatPart::Second) && !has(FormatPart::Minute);
    matches!(parts.first(), Some(FormatPart::Literal(_)))
        && parts.iter().all(is_of_clock)
        && (is_whole || is_seconds)
}

/// RFC 3339, of which the seconds, the time and the day may be left out, and the `T` be a blank.
fn rfc_3339<'a>(text: &'a str, fields: &mut TimeFields) -> Option<&'a str> {
    let dash = FormatPart::Literal('-');
    let mut rest = FormatPart::Year.take(text, fields)?;
    rest = FormatPart::Month.take(dash.take(rest, fields)?, fields)?;
    if let Some(after) = rest.strip_prefix('-') {
        rest = FormatPart::Day.take(after, fields)?;
    }
    let Some(after) = rest.strip_prefix(['T', 't', ' ']) else {
        return Some(rest);
    };
    rest = FormatPart::Hour.take(after.trim_start(), fields)?;
    rest = FormatPart::Minute.take(rest.strip_prefix(':')?, fields)?;
    if let Some(after) = rest.strip_prefix(':') {
        rest = FormatPart::Second.take(after, fields)?;
    }
    match rest.trim_start() {
        "" => Some(""),
        rest => FormatPart::Offset.take(rest, fields),
    }
}

impl FormatPart {
    /// Reads this part from the start of a text, and gives the rest.
    fn take<'a>(self, text: &'a str, fields: &mut TimeFields) -> Option<&'a str> {
        let (value, rest) = match self {
            FormatPart::Literal(' ') => return Some(text.trim_start()),
            FormatPart::Literal(c) => return text.strip_prefix(c),
            FormatPart::MonthName => {
                let (month, rest) = calendar_names::month(text)?;
                fields.month = month;
                return Some(rest);
            }
            FormatPart::WeekdayName => return calendar_names::after_weekday(text),
            FormatPart::Half => {
                let half = text.get(..2)?;
                fields.is_afternoon = Some(half.eq_ignore_ascii_case("pm"));
                let is_half = half.eq_ignore_ascii_case("am") || half.eq_ignore_ascii_case("pm");
                return is_half.then(|| &text[2..]);
            }
            FormatPart::Offset => return offset(text, fields),
            FormatPart::Year | FormatPart::WeekYear => number(text, 4..=4)?,
            FormatPart::ShortYear => number(text, 2..=2)?,
            FormatPart::Quarter | FormatPart::WeekDay => number(text, 1..=1)?,
            FormatPart::DayOfYear => number(text, 1..=3)?,
            FormatPart::Epoch => signed(text)?,
            FormatPart::EpochMilliseconds => signed(text)?,
            _ => number(text, 1..=2)?,
        };
        self.put(value, fields)?;
        match self {
            FormatPart::Second => fraction(rest, fields),
            _ => Some(rest),
        }
    }

    /// Puts a number where it belongs, if it can be one of this part.
    fn put(self, value: i64, fields: &mut TimeFields) -> Option<()> {
        let (min, max) = match self {
            FormatPart::Month => (1, 12),
            FormatPart::Quarter => (1, 4),
            FormatPart::Day => (1, 31),
            FormatPart::DayOfYear => (1, 366),
            FormatPart::Week => (1, 53),
            FormatPart::WeekDay => (1, 7),
            // Midnight at the end of a day.
            FormatPart::Hour => (0, 24),
            FormatPart::HalfHour => (1, 12),
            FormatPart::Minute => (0, 59),
            // A leap second is the one after it.
            FormatPart::Second => (0, 60),
            _ => (i64::MIN, i64::MAX),
        };
        if !(min..=max).contains(&value) {
            return None;
        }
        match self {
            FormatPart::Year | FormatPart::WeekYear => fields.year = value,
            FormatPart::ShortYear => fields.year = value + if value < 69 { 2000 } else { 1900 },
            FormatPart::Month => fields.month = value,
            FormatPart::Quarter => fields.month = 3 * value - 2,
            FormatPart::Day => fields.day = value,
            FormatPart::DayOfYear => fields.day_of_year = Some(value),
            FormatPart::Week => fields.week = Some(value),
            FormatPart::WeekDay => fields.day_of_week = value,
            FormatPart::Hour => fields.second += 3600 * value,
            FormatPart::HalfHour => fields.second += 3600 * (value % 12),
            FormatPart::Minute => fields.second += 60 * value,
            FormatPart::Second => fields.second += value,
            FormatPart::Epoch => fields.epoch = Some(value.checked_mul(MICROSECONDS)?),
            FormatPart::EpochMilliseconds => fields.epoch = Some(value.checked_mul(1000)?),
            _ => {}
        }
        Some(())
    }
}

/// A number of so many digits, as many as there are.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<(i64, &str)> {
    let n = text
        .bytes()
        .take(*digits.end())
        .take_while(u8::is_ascii_digit)
        .count();
    let (number, rest) = text.split_at_checked(n)?;
    digits
        .contains(&n)
        .then(|| Some((number.parse().ok()?, rest)))?
}

fn signed(text: &str) -> Option<(i64, &str)> {
    let unsigned = text.strip_prefix('-');
    let (value, rest) = number(unsigned.unwrap_or(text), 1..=15)?;
    let value = if unsigned.is_some() { -value } else { value };
    // A fraction of a second does not count.
    let rest = match rest.strip_prefix('.') {
        Some(after) => after.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    Some((value, rest))
}

/// The fraction of a second, if there is one.
fn fraction<'a>(text: &'a str, fields: &mut TimeFields) -> Option<&'a str> {
    let Some(after) = text.strip_prefix(['.', ',']) else {
        return Some(text);
    };
    let n = after.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = after.split_at(n);
    let micro = format!("{digits:0<6}");
    fields.microsecond = micro.get(..6)?.parse().ok()?;
    (n > 0).then_some(rest)
}

fn offset<'a>(text: &'a str, fields: &mut TimeFields) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        fields.offset = Some(0);
        return Some(rest);
    }
    for name in ["UTC", "GMT"] {
        if let Some(rest) = text.strip_prefix(name) {
            fields.offset = Some(0);
            return Some(rest);
        }
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' | '\u{2212}' => -1,
        _ => return None,
    };
    let rest = text.trim_start_matches(['+', '-', '\u{2212}']);
    let (hours, rest) = number(rest, 2..=2)?;
    let (minutes, rest) = match rest.strip_prefix(':').unwrap_or(rest) {
        "" => (0, ""),
        rest => number(rest, 2..=2)?,
    };
    let seconds = 3600 * hours + 60 * minutes;
    fields.offset = Some(sign * seconds);
    (hours <= 23 && minutes <= 59).then_some(rest)
}

impl Default for TimeFields {
    fn default() -> TimeFields {
        TimeFields {
            year: 1970,
            month: 1,
            day: 1,
            second: 0,
            microsecond: 0,
            is_afternoon: None,
            offset: None,
            epoch: None,
            day_of_year: None,
            week: None,
            day_of_week: 1,
        }
    }
}

impl TimeFields {
    fn microseconds(&self, zone_s: i64) -> Option<i64> {
        if let Some(epoch) = self.epoch {
            return Some(epoch);
        }
        if self.day > days_of_month(self.year, self.month) {
            return None;
        }
        let mut days = days_from_civil(self.year, self.month, self.day);
        if let Some(day) = self.day_of_year {
            days = days_from_civil(self.year, 1, 1) + day - 1;
        }
        if let Some(week) = self.week {
            // The first week has the fourth of January; 1970 began on a Thursday.
            let fourth = days_from_civil(self.year, 1, 4);
            let monday = fourth - (fourth + 3).rem_euclid(7);
            days = monday + 7 * (week - 1) + self.day_of_week - 1;
        }
        let half = if self.is_afternoon == Some(true) {
            12 * 3600
        } else {
            0
        };
        let seconds = days * DAY_S + self.second + half - self.offset.unwrap_or(zone_s);
        let is_day = self.second + half <= DAY_S;
        is_day.then_some(seconds * MICROSECONDS + self.microsecond)
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The calendar fields of a time in a zone, from which a model derives features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CalendarTime {
    /// The hour of the day, with its fraction, in [0, 24).
    pub hour: f64,
    /// The weekday from Monday, 0 to 6.
    pub weekday: u8,
    /// 0 to 11.
    pub month: u8,
}

impl CalendarTime {
    /// The calendar time of microseconds since 1970 in UTC, in a zone of so many seconds.
    pub(crate) fn of(microseconds: i64, zone_s: i64) -> CalendarTime {
        let local = microseconds.saturating_add(zone_s * MICROSECONDS);
        let day_us = DAY_S * MICROSECONDS;
        let (days, within) = (local.div_euclid(day_us), local.rem_euclid(day_us));
        CalendarTime {
            hour: within as f64 / (3600.0 * MICROSECONDS as f64),
            // 1970 began on a Thursday.
            weekday: (days + 3).rem_euclid(7) as u8,
            month: month_of(days),
        }
    }
}

/// The month of a day since 1970, from 0.
fn month_of(days: i64) -> u8 {
    let day_of_era = (days + 719_468).rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    ((month + 2) % 12) as u8
}

/// Microseconds since 1970 in RFC 3339, in UTC, with a fraction of six digits where there is one; moments
/// beyond the year 9999 in microseconds.
pub fn rfc_3339_of(microseconds: i64) -> String {
    match jiff::Timestamp::from_microsecond(microseconds) {
        Ok(moment) if microseconds % MICROSECONDS == 0 => moment.to_string(),
        Ok(moment) => format!("{moment:.6}"),
        Err(_) => format!("{microseconds} us"),
    }
}

/// A zone of so many seconds east of UTC, as it may be written.
pub(super) fn zone_text(zone_s: i64) -> String {
    let (sign, s) = (if zone_s < 0 { '-' } else { '+' }, zone_s.abs());
    match zone_s {
        0 => "UTC".to_owned(),
        _ => format!("{sign}{:02}:{:02}", s / 3600, s / 60 % 60),
    }
}

/// The seconds east of UTC of a zone like `+02:00` or `UTC`.
pub(super) fn zone(text: &str) -> Option<i64> {
    let mut fields = TimeFields::default();
    let rest = offset(text, &mut fields)?;
    fields.offset.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests;
