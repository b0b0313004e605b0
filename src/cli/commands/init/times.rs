//! The formats under which the values of a column are times.
//!
//! Invariant: a format is chosen only if it reads nearly every value; where two read them all and
//! differ, none is.

use perennial::model::TimeFormat;

use crate::cli::rows::quoted;

/// Formats of a date, the likelier first; the empty one is RFC 3339.
const DATES: [&str; 27] = [
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%d-%m-%y",
    "%m-%d-%y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %b %y",
    "%b %d, %Y",
    "%b %d %Y",
    "%b %Y",
    "%b-%Y",
    "%b-%y",
    "%m/%Y",
    "%YQ%q",
    "%Y-Q%q",
    "%Y Q%q",
    "%Y%m%dT%H%M%S",
    "%a %b %d %H:%M:%S %Y",
];
/// Formats of the time behind a date.
const CLOCKS: [&str; 10] = [
    "",
    " %H:%M",
    " %H:%M:%S",
    " %I:%M %p",
    " %I:%M:%S %p",
    "T%H:%M:%S",
    " %H.%M.%S",
    " %H.%M",
    "T%H:%M",
    " %H:%M:%S %z",
];
/// Formats of mails and of web servers.
const LOGGED: [&str; 3] = [
    "%a, %d %b %Y %H:%M:%S %z",
    "%d/%b/%Y:%H:%M:%S %z",
    "[%d/%b/%Y:%H:%M:%S %z]",
];
/// Formats of a time of day, and of columns whose name says that they hold dates.
const ALONE: [&str; 5] = ["", "%H:%M:%S", "%H:%M", "%H.%M.%S", "%I:%M %p"];
/// Formats of plain digits, for columns of such a name.
const DIGITS: [&str; 3] = ["%Y%m%d", "%s", "%Q"];
/// Formats that are followed at a time.
const FORMATS_MAX: usize = 8;
/// Distinct cells of a format that it does not read, at most, that are kept.
const STRAYS_MAX: usize = 5;
/// Values among which a new format may turn up.
const SEEDING: u64 = 50;
/// Dates that stand for no date.
const SENTINELS: [&str; 5] = [
    "1900-01-01",
    "9999-12-31",
    "1899-12-30",
    "0001-01-01",
    "01/01/1900",
];
/// Seconds that set a sentinel apart from the other dates: 20 years.
const APART_US: i64 = 20 * 365 * 24 * 3600 * 1_000_000;

/// The formats that the values of a column may have.
#[derive(Default)]
pub(super) struct TimeCandidates {
    candidates: Vec<Candidate>,
    n_values: u64,
    is_named_date: bool,
    /// The first values, while there is no format.
    unread: Strays,
    /// A sentinel with its number.
    sentinel: Option<(String, u64)>,
}

/// Distinct cells, each with how often it comes; those beyond [`STRAYS_MAX`] are not kept.
#[derive(Clone, Debug, Default, PartialEq)]
struct Strays {
    cells: Vec<(String, u64)>,
}

impl Strays {
    fn add(&mut self, text: &str) {
        let known = self.cells.iter().position(|(known, _)| known == text);
        match known {
            Some(place) => self.cells[place].1 += 1,
            None if self.cells.len() < STRAYS_MAX => {
                let shown: String = text.chars().take(40).collect();
                self.cells.push((shown, 1));
            }
            None => {}
        }
    }

    /// True if so many of the values are one in a hundred, or one or two words in a tenth of them.
    fn are_few(&self, n: u64, n_values: u64) -> bool {
        let n_named: u64 = self.cells.iter().map(|(_, n)| n).sum();
        let is_word = |word: &str| !word.contains(|c: char| c.is_ascii_digit());
        let are_words = self.cells.len() <= 2
            && n_named == n
            && n >= 3
            && self.cells.iter().all(|(word, _)| is_word(word));
        n * 100 <= n_values || are_words && n * 10 <= n_values
    }

    /// The cells with their numbers, for a message.
    fn shown(&self) -> String {
        let cells = self.cells.iter();
        let cells: Vec<String> = cells
            .map(|(cell, n)| format!("{} ({n})", quoted(cell)))
            .collect();
        cells.join(", ")
    }
}

struct Candidate {
    format: TimeFormat,
    written: String,
    n: u64,
    /// The first and the last moment but for sentinels.
    range: Option<(i64, i64)>,
    /// A hash of all moments, in their order.
    moments: u64,
    /// The cells that it does not read.
    strays: Strays,
}

/// What the values of a column say.
#[derive(Debug, PartialEq)]
pub(super) enum TimesFound {
    None,
    /// The format, empty for RFC 3339, and the range as it is shown.
    Format(String, String),
    /// Two formats that read every value, and differ.
    Ambiguous(String, String),
}

impl TimeCandidates {
    /// No value yet, of a column of this name.
    pub(super) fn new(name: &str) -> TimeCandidates {
        let name = name.to_lowercase();
        let words = ["date", "time", "timestamp", "day", "datum", "epoch", "utc"];
        TimeCandidates {
            is_named_date: words.iter().any(|word| name.contains(word)),
            ..TimeCandidates::default()
        }
    }

    /// The same where the author has named the format, empty for RFC 3339.
    pub(super) fn given(mut self, written: &str) -> TimeCandidates {
        if let Some(format) = TimeFormat::parse(written) {
            let candidate = Candidate::new(format, written.to_owned());
            self.candidates.push(candidate);
        }
        self
    }

    /// Adds the next value that is no gap.
    pub(super) fn add(&mut self, text: &str) {
        self.n_values += 1;
        if self.candidates.is_empty() && self.n_values > SEEDING {
            return;
        }
        let text = text.trim();
        if let Some(sentinel) = SENTINELS.iter().find(|date| text.starts_with(**date)) {
            let known = self.sentinel.get_or_insert_with(|| (text.to_owned(), 0));
            known.1 += u64::from(known.0.starts_with(*sentinel));
            self.candidates
                .iter_mut()
                .for_each(|candidate| candidate.n += 1);
            return;
        }
        let mut is_read = false;
        for candidate in &mut self.candidates {
            match candidate.format.read_as_written(text, 0) {
                Some(time) => {
                    is_read = true;
                    candidate.add(time);
                }
                None => candidate.strays.add(text),
            }
        }
        if !is_read && self.n_values <= SEEDING {
            if may_be_time(text) {
                self.seed(text);
            }
            self.unread.add(text);
        }
    }

    /// Takes up the formats that read a value.
    fn seed(&mut self, text: &str) {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let alone = ALONE.iter().map(|format| (*format).to_owned());
        let dated = DATES
            .iter()
            .flat_map(|date| CLOCKS.iter().map(move |clock| format!("{date}{clock}")));
        let logged = LOGGED.iter().map(|format| (*format).to_owned());
        let digits = DIGITS.iter().map(|format| (*format).to_owned());
        let formats: Vec<String> = match (is_digits, self.is_named_date) {
            (true, true) => digits.collect(),
            (true, false) => Vec::new(),
            _ => alone.chain(logged).chain(dated).collect(),
        };
        for written in formats {
            let format = match written.as_str() {
                "" => TimeFormat::default(),
                written => TimeFormat::parse(written).expect("the table has known directives"),
            };
            let time = format.read_as_written(text, 0);
            let time = time.filter(|time| !is_digits || is_recent(*time));
            let is_known = self.candidates.iter().any(|known| known.written == written);
            if let Some(time) = time
                && self.candidates.len() < FORMATS_MAX
                && !is_known
            {
                let mut candidate = Candidate::new(format, written);
                candidate.strays = self.unread.clone();
                candidate.add(time);
                self.candidates.push(candidate);
            }
        }
    }

    /// The format of the column.
    pub(super) fn found(&self) -> TimesFound {
        let most = self.candidates.iter().map(|candidate| candidate.n).max();
        let Some(most) = most else {
            return TimesFound::None;
        };
        let n_strays = self.n_values - most;
        let is_best = |candidate: &&Candidate| {
            candidate.n == most && candidate.strays.are_few(n_strays, self.n_values)
        };
        let mut best = self.candidates.iter().filter(is_best);
        let Some(first) = best.next() else {
            return TimesFound::None;
        };
        if let Some(second) = best.find(|other| other.moments != first.moments) {
            return TimesFound::Ambiguous(first.written.clone(), second.written.clone());
        }
        TimesFound::Format(first.written.clone(), first.shown_range())
    }

    /// The number of cells that a format does not read, and some of them for a message.
    pub(super) fn strays(&self, written: &str) -> (u64, String) {
        let mut candidates = self.candidates.iter();
        let found = candidates.find(|candidate| candidate.written == written);
        found.map_or((0, String::new()), |candidate| {
            (self.n_values - candidate.n, candidate.strays.shown())
        })
    }

    /// True where a name says dates, and the values have digits that no format reads.
    pub(super) fn are_unread(&self) -> bool {
        let has_digit = |(cell, _): &(String, u64)| cell.contains(|c: char| c.is_ascii_digit());
        self.is_named_date
            && self.candidates.is_empty()
            && !self.unread.cells.is_empty()
            && self.unread.cells.iter().all(has_digit)
    }

    /// A date that stands for none: it repeats, far from all others.
    pub(super) fn sentinel(&self) -> Option<(&str, u64)> {
        let (text, n) = self.sentinel.as_ref()?;
        let first = self.candidates.first()?;
        let time = first.format.read_as_written(text, 0)?;
        let is_apart = first
            .range
            .is_none_or(|(min, max)| time < min - APART_US || time > max.saturating_add(APART_US));
        (*n >= 3 && is_apart).then_some((text, *n))
    }

    /// True if all values are one.
    pub(super) fn is_constant(&self) -> bool {
        let first = self.candidates.first();
        first.is_some_and(|first| first.range.is_none_or(|(min, max)| min == max))
    }
}

impl Candidate {
    fn new(format: TimeFormat, written: String) -> Candidate {
        Candidate {
            format,
            written,
            n: 0,
            range: None,
            moments: 0,
            strays: Strays::default(),
        }
    }

    fn add(&mut self, time: i64) {
        self.n += 1;
        let (min, max) = self.range.unwrap_or((time, time));
        self.range = Some((min.min(time), max.max(time)));
        let mixed = (self.moments ^ time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.moments = mixed.rotate_left(29);
    }

    fn shown_range(&self) -> String {
        let Some((min, max)) = self.range else {
            return "no times".to_owned();
        };
        let shown = |time| perennial::model::rfc_3339_of(time).replace("T00:00:00Z", "");
        format!("{} .. {}", shown(min), shown(max))
    }
}

/// Seconds since 1970 are no other number: from 1990 to 2100.
fn is_recent(time: i64) -> bool {
    (631_152_000_000_000..4_102_444_800_000_000).contains(&time)
}

/// True if a text has digits, and something that parts them or enough of them.
fn may_be_time(text: &str) -> bool {
    let n_digits = text.bytes().filter(u8::is_ascii_digit).count();
    (3..=24).contains(&n_digits) && text.len() <= 40
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, values: &[&str]) -> TimesFound {
        let mut candidates = TimeCandidates::new(name);
        values.iter().for_each(|value| candidates.add(value));
        candidates.found()
    }

    #[test]
    fn a_format_is_proved_by_the_values() {
        let check = |values: &[&str], expected: &str| match found("date", values) {
            TimesFound::Format(format, _) => assert_eq!(format, expected, "{values:?}"),
            other => panic!("{values:?}: {other:?}"),
        };
        check(&["2024-01-01", "2024-01-02"], "");
        check(&["2008-01", "2008-02"], "");
        check(&["2024-01-01 00:00:00", "2024-01-01 01:00:00"], "");
        check(&["10/03/2004", "13/03/2004"], "%d/%m/%Y");
        check(&["10/03/2004", "10/31/2004"], "%m/%d/%Y");
        check(
            &["1/2/2011 3:05 PM", "12/25/2011 11:00 AM"],
            "%m/%d/%Y %I:%M %p",
        );
        check(&["18.00.00", "19.00.00"], "%H.%M.%S");
        check(&["Jan 2008", "Feb 2008"], "%b %Y");
        check(&["20240131", "20240201"], "%Y%m%d");
        check(&["881250949", "891717742"], "%s");
        check(
            &["10/Oct/2000:13:55:36 -0700", "11/Oct/2000:00:00:01 +0000"],
            "%d/%b/%Y:%H:%M:%S %z",
        );
        check(
            &[
                "Tue, 1 Jul 2003 10:52:37 +0200",
                "Fri, 11 Jul 2003 10:52:37 GMT",
            ],
            "%a, %d %b %Y %H:%M:%S %z",
        );
    }

    #[test]
    fn day_and_month_that_no_value_tells_apart_are_left_to_the_author() {
        let got = found("date", &["01/02/2004", "03/04/2004"]);
        let (first, second) = ("%d/%m/%Y".to_owned(), "%m/%d/%Y".to_owned());
        assert_eq!(got, TimesFound::Ambiguous(first, second));
        // Also where the first and the last moment are the same under both.
        let swapped = found("date", &["01/02/2004", "02/01/2004"]);
        assert!(matches!(swapped, TimesFound::Ambiguous(..)), "{swapped:?}");
        // The same day under both tells nothing, and harms nothing.
        assert!(matches!(
            found("date", &["01/01/2004", "02/02/2004"]),
            TimesFound::Format(..)
        ));
    }

    #[test]
    fn stray_cells_among_dates_are_few() {
        let with = |strays: &[&str], n_dates: usize| {
            let mut candidates = TimeCandidates::new("due");
            strays.iter().for_each(|cell| candidates.add(cell));
            (0..n_dates).for_each(|n| candidates.add(&format!("2024-01-{:02}", 1 + n % 28)));
            candidates
        };
        let one = with(&["tba"], 99);
        assert!(matches!(one.found(), TimesFound::Format(..)));
        assert_eq!(one.strays(""), (1, "\"tba\" (1)".to_owned()));
        let check = |strays: &[&str], n_dates, expected: bool| {
            let found = with(strays, n_dates).found();
            assert_eq!(
                matches!(found, TimesFound::Format(..)),
                expected,
                "{strays:?}"
            );
        };
        check(&["tba"], 98, false);
        check(&["open", "open", "open"], 27, true);
        check(&["open", "later", "never"], 27, false);
        check(&["week 3", "week 3", "week 3"], 27, false);
    }

    #[test]
    fn dates_of_no_known_format_are_noticed_where_the_name_says_dates() {
        let check = |name: &str, cells: &[&str], expected: bool| {
            let mut candidates = TimeCandidates::new(name);
            cells.iter().for_each(|cell| candidates.add(cell));
            assert_eq!(candidates.are_unread(), expected, "{name} {cells:?}");
        };
        check("date", &["KW 3 2020", "KW 4 2020"], true);
        check("week", &["KW 3 2020", "KW 4 2020"], false);
        check("day", &["monday", "tuesday"], false);
        check("date", &["2020-01-01", "2020-01-02"], false);
    }

    #[test]
    fn other_values_are_no_times() {
        for values in [
            &["1.5", "2.5"][..],
            &["a1b2c3", "d4e5f6"],
            &["12345", "23456"],
            &["192.168.1.1", "10.0.0.1"],
            &["2024-01-01", "later", "never"],
        ] {
            assert_eq!(found("date", values), TimesFound::None, "{values:?}");
        }
        assert_eq!(found("amount", &["20240131", "20240201"]), TimesFound::None);
    }

    #[test]
    fn a_date_far_from_all_others_stands_for_none() {
        let mut candidates = TimeCandidates::new("due");
        for day in 1..20 {
            candidates.add(&format!("2024-01-{day:02}"));
            candidates.add(if day % 5 == 0 {
                "1900-01-01"
            } else {
                "2024-02-01"
            });
        }
        assert_eq!(candidates.sentinel(), Some(("1900-01-01", 3)));
        assert!(matches!(candidates.found(), TimesFound::Format(..)));
    }
}
