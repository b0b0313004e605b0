//! The formats under which the values of a column are times.
//!
//! Invariant: a format is chosen only if it reads nearly every value; where two read them all and
//! differ, none is, unless they differ in the place of the year and in one alone the times are in order.

use super::strays::are_few_strays;
use super::time_formats::{
    DateEvidence, formats, is_clock, is_epoch, is_of_day, is_of_digits, order,
};
use crate::cli::rows::quoted;
use perennial::model::TimeFormat;

/// Formats that are followed at a time.
const FORMATS_MAX: usize = 16;
/// Distinct cells of a format that it does not read, at most, that are kept.
const STRAYS_MAX: usize = 5;
/// Values among which a new format may turn up.
const SEEDING: usize = 50;
/// Values of plain digits that prove that they are dates, where the header does not mark them.
const PROOF: u64 = 20;
/// Texts that stand for no date under any format.
const ZERO_DATES: [&str; 4] = ["0000-00-00", "00/00/0000", "00.00.0000", "0000/00/00"];
/// Days since 1970 that stand for no date where they repeat far from all others: 0001-01-01,
/// 1899-12-30, 1899-12-31, 1900-01-01, 1970-01-01 and 9999-12-31.
const SENTINEL_DAYS: [i64; 6] = [-719_162, -25_569, -25_568, -25_567, 0, 2_932_896];
const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// Microseconds that set a sentinel apart from the other dates: 20 years.
const APART_US: i64 = 20 * 365 * DAY_US;

/// The formats that the values of a column may have.
#[derive(Default)]
pub(super) struct TimeCandidates {
    candidates: Vec<Candidate>,
    n_values: u64,
    evidence: DateEvidence,
    /// The first values.
    first: Vec<String>,
    /// Values that stand for no date under any format.
    zeros: Strays,
    n_zeros: u64,
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
        are_few_strays(n, n_values) || are_words && n * 10 <= n_values
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
    /// The moments that a column of its evidence may have.
    plausible: std::ops::Range<i64>,
    n: u64,
    /// The first and the last moment but for sentinels.
    range: Option<(i64, i64)>,
    /// A hash of all moments, in their order.
    moments: u64,
    /// The newest moment, and whether any was before or after the one before it.
    newest: Option<i64>,
    has_fallen: bool,
    has_risen: bool,
    /// True for the format of a time of day, which the author has not named.
    is_clock: bool,
    /// The cells that it does not read.
    strays: Strays,
    /// Moments that may stand for none, each with its text and how often it comes.
    sentinels: Vec<(i64, String, u64)>,
}

/// The reading of the values of a column.
#[derive(Debug, PartialEq)]
pub(super) enum TimesFound {
    None,
    /// The format, empty for RFC 3339, and the range as it is shown.
    Format(String, String),
    /// Formats that read every value, and differ; or one, of values that may as well be no dates.
    Ambiguous(Vec<String>),
}

impl TimeCandidates {
    /// No value yet, of a column of this name.
    pub(super) fn new(name: &str) -> TimeCandidates {
        TimeCandidates {
            evidence: DateEvidence::of_header(name),
            ..TimeCandidates::default()
        }
    }

    /// The candidates of a column that the author has declared to be dates.
    pub(super) fn chosen(mut self) -> TimeCandidates {
        self.evidence = DateEvidence::Author;
        self
    }

    /// The candidates of a column whose format the author has named; empty for RFC 3339.
    pub(super) fn given(mut self, written: &str) -> TimeCandidates {
        if let Some(format) = TimeFormat::parse(written) {
            let candidate = Candidate::new(format, DateEvidence::Author);
            self.candidates.push(candidate);
        }
        self
    }

    /// Adds the next value that is no gap.
    pub(super) fn add(&mut self, text: &str) {
        self.n_values += 1;
        let is_early = self.n_values <= SEEDING as u64;
        if self.candidates.is_empty() && !is_early {
            return;
        }
        let text = text.trim();
        if ZERO_DATES.iter().any(|zero| text.starts_with(zero)) {
            self.n_zeros += 1;
            self.zeros.add(text);
            return;
        }
        let mut is_read = false;
        for candidate in &mut self.candidates {
            is_read |= candidate.take(text);
        }
        if is_early && !is_read && may_be_time(text) {
            self.seed(text);
        }
        if is_early {
            self.first.push(text.chars().take(100).collect());
        }
    }

    /// Takes up the formats that read a value; each reads the values before it, too.
    fn seed(&mut self, text: &str) {
        for format in formats(text, self.evidence) {
            let is_known = |known: &Candidate| known.format == *format;
            if self.candidates.len() == FORMATS_MAX || self.candidates.iter().any(is_known) {
                continue;
            }
            if format.read_as_written(text, 0).is_none() {
                continue;
            }
            let mut candidate = Candidate::new(format.clone(), self.evidence);
            self.first.iter().for_each(|text| _ = candidate.take(text));
            if candidate.take(text) {
                self.candidates.push(candidate);
            }
        }
    }

    /// The number of values that are no zeros.
    fn n_dates(&self) -> u64 {
        self.n_values - self.n_zeros
    }

    /// The candidates that read the most values, and nearly all of them.
    fn best(&self) -> Vec<&Candidate> {
        let most = self.candidates.iter().map(|candidate| candidate.n).max();
        let most = most.unwrap_or(0);
        let n_strays = self.n_dates() - most;
        let is_best = |candidate: &&Candidate| {
            candidate.n == most && candidate.strays.are_few(n_strays, self.n_dates())
        };
        let mut best: Vec<&Candidate> = self.candidates.iter().filter(is_best).collect();
        if self.evidence == DateEvidence::Values {
            let is_proved = |candidate: &&Candidate| {
                let is_alone = !is_of_digits(candidate.format.written());
                is_alone || self.n_values >= PROOF && candidate.n == self.n_values
            };
            best.retain(is_proved);
        }
        best.retain(|candidate| !candidate.is_epoch() || candidate.range.is_some());
        // Digits that are a date are no seconds, and seconds that are recent no milliseconds.
        if best.iter().all(|candidate| candidate.is_epoch()) {
            let recent = best.iter().position(|candidate| candidate.is_recent());
            best = best.split_off(recent.unwrap_or(0).min(best.len()));
            best.truncate(1);
        } else {
            best.retain(|candidate| !candidate.is_epoch());
        }
        // Of many times of day some minute is above 12.
        let is_of_date = |candidate: &&Candidate| !is_of_day(candidate.format.written());
        if most >= PROOF && best.iter().any(is_of_date) {
            best.retain(is_of_date);
        }
        in_order(best)
    }

    /// The format of the column.
    pub(super) fn found(&self) -> TimesFound {
        let best = self.best();
        let Some(first) = best.first() else {
            return TimesFound::None;
        };
        let written = |candidate: &Candidate| candidate.format.written().to_owned();
        let mut others: Vec<&Candidate> = Vec::new();
        for other in &best {
            if others.iter().all(|known| known.moments != other.moments) {
                others.push(other);
            }
        }
        match &others[..] {
            [one] if self.evidence == DateEvidence::Values && one.may_be_code() => {
                TimesFound::Ambiguous(vec![written(one)])
            }
            [_] => TimesFound::Format(written(first), first.shown_range()),
            others => TimesFound::Ambiguous(others.iter().copied().map(written).collect()),
        }
    }

    /// The number of cells that a format does not read, and some of them for a message.
    pub(super) fn strays(&self, written: &str) -> (u64, String) {
        let mut candidates = self.candidates.iter();
        let found = candidates.find(|candidate| candidate.format.written() == written);
        found.map_or((0, String::new()), |candidate| {
            (self.n_dates() - candidate.n, candidate.strays.shown())
        })
    }

    /// True where the header marks dates, or the values look like them, and no format reads them.
    pub(super) fn are_unread(&self) -> bool {
        let has_digit = |text: &String| text.contains(|c: char| c.is_ascii_digit());
        let looks = |text: &String| looks_like_date(text);
        let is_number = |text: &String| text.parse::<f64>().is_ok();
        let is_named = self.evidence != DateEvidence::Values;
        !self.first.is_empty()
            && self.found() == TimesFound::None
            && !self.first.iter().all(is_number)
            && (is_named && self.first.iter().all(has_digit) || self.first.iter().all(looks))
    }

    /// Dates that stand for none, each with how often it comes: those of zeros, and those that repeat
    /// far from all others.
    pub(super) fn sentinels(&self) -> Vec<(String, u64)> {
        let mut found = self.zeros.cells.clone();
        for first in self.best().into_iter().take(1) {
            let apart = first.sentinels.iter().filter(|one| first.is_apart(one));
            found.extend(apart.map(|(_, text, n)| (text.clone(), *n)));
        }
        found
    }

    /// True if all values are one.
    pub(super) fn is_constant(&self) -> bool {
        let is_one = |first: &&Candidate| {
            let n_others = first.sentinels.len();
            match first.range {
                None => n_others <= 1,
                Some((min, max)) => {
                    min == max && first.sentinels.iter().all(|one| first.is_apart(one))
                }
            }
        };
        self.best().first().is_some_and(is_one)
    }
}

impl Candidate {
    fn new(format: TimeFormat, evidence: DateEvidence) -> Candidate {
        let written = format.written();
        let plausible = match evidence {
            DateEvidence::Author => i64::MIN..i64::MAX,
            _ if is_epoch(written) => year(1990)..year(2100),
            DateEvidence::Header if is_of_digits(written) => year(1800)..year(2200),
            DateEvidence::Values if is_of_digits(written) => year(1900)..year(2100),
            _ => i64::MIN..i64::MAX,
        };
        Candidate {
            is_clock: evidence != DateEvidence::Author && is_of_day(format.written()),
            format,
            plausible,
            n: 0,
            range: None,
            moments: 0,
            newest: None,
            has_fallen: false,
            has_risen: false,
            strays: Strays::default(),
            sentinels: Vec::new(),
        }
    }

    fn is_epoch(&self) -> bool {
        is_epoch(self.format.written())
    }

    /// True for a day between dashes with a year of two digits, as part numbers have it, where the values
    /// are not in the order of time.
    fn may_be_code(&self) -> bool {
        let written = self.format.written();
        let is_short = matches!(written, "%d-%m-%y" | "%m-%d-%y" | "%y-%m-%d");
        is_short && !self.is_in_order()
    }

    /// True if many times rise throughout, or fall.
    fn is_in_order(&self) -> bool {
        self.n >= PROOF && self.has_fallen != self.has_risen
    }

    /// True if all its moments are of our time.
    fn is_recent(&self) -> bool {
        let recent = year(1990)..year(2100);
        self.range
            .is_some_and(|(min, max)| recent.contains(&min) && recent.contains(&max))
    }

    /// Takes a value; false for one that it does not read.
    fn take(&mut self, text: &str) -> bool {
        let time = self.format.read(text, 0);
        let time = time.filter(|_| !self.is_clock || is_clock(text));
        let is_read = time.is_some_and(|time| {
            let is_sentinel = self.note_sentinel(time, text);
            let is_plausible = self.plausible.contains(&time);
            if !is_sentinel && is_plausible {
                self.add(time);
            }
            is_sentinel || is_plausible
        });
        if is_read {
            self.n += 1;
        } else {
            self.strays.add(text);
        }
        is_read
    }

    /// Counts a moment that may stand for none; false for any other, and for one too many.
    fn note_sentinel(&mut self, time: i64, text: &str) -> bool {
        let written = self.format.written();
        let is_one = SENTINEL_DAYS.contains(&time.div_euclid(DAY_US));
        // Seconds of the first day may be any small numbers.
        if !is_one || is_of_day(written) || is_epoch(written) && time != 0 {
            return false;
        }
        let known = self
            .sentinels
            .iter()
            .position(|(_, known, _)| known == text);
        match known {
            Some(place) => self.sentinels[place].2 += 1,
            None if self.sentinels.len() < STRAYS_MAX => {
                self.sentinels.push((time, text.to_owned(), 1));
            }
            None => return false,
        }
        true
    }

    /// True if a moment that may stand for none repeats, far from all others.
    fn is_apart(&self, (time, _, n): &(i64, String, u64)) -> bool {
        let is_far = self.range.is_none_or(|(min, max)| {
            *time < min.saturating_sub(APART_US) || *time > max.saturating_add(APART_US)
        });
        *n >= 3 && is_far
    }

    fn add(&mut self, time: i64) {
        let (min, max) = self.range.unwrap_or((time, time));
        self.range = Some((min.min(time), max.max(time)));
        self.has_fallen |= self.newest.is_some_and(|newest| time < newest);
        self.has_risen |= self.newest.is_some_and(|newest| time > newest);
        self.newest = Some(time);
        let mixed = (self.moments ^ time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.moments = mixed.rotate_left(29);
    }

    fn shown_range(&self) -> String {
        let ends = self.range.into_iter().flat_map(|(min, max)| [min, max]);
        let near = self.sentinels.iter().filter(|one| !self.is_apart(one));
        let times: Vec<i64> = ends.chain(near.map(|(time, ..)| *time)).collect();
        let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) else {
            return "no times".to_owned();
        };
        let shown = |time: &i64| perennial::model::rfc_3339_of(*time).replace("T00:00:00Z", "");
        format!("{} .. {}", shown(min), shown(max))
    }
}

/// The moment at which a year begins, to a day.
fn year(year: i64) -> i64 {
    (year - 1970) * 31_556_952 * 1_000_000
}

/// Without the readings that have the year in another place than the only one in which the times rise
/// throughout, or fall. The order of the times proves nothing of day and month.
fn in_order(best: Vec<&Candidate>) -> Vec<&Candidate> {
    let mut ordered = best.iter().filter(|candidate| candidate.is_in_order());
    let Some(right) = ordered.next().copied() else {
        return best;
    };
    if ordered.any(|other| other.moments != right.moments) {
        return best;
    }
    let of_right = order(right.format.written());
    let is_swapped = |other: &&Candidate| {
        let of_other = order(other.format.written());
        let place = |order: &str| order.find(['y', 'Y']);
        other.moments == right.moments
            || of_other.len() == of_right.len() && place(&of_other) == place(&of_right)
    };
    let best = best.into_iter();
    best.filter(is_swapped).collect()
}

/// True if a text has digits, and something that parts them or enough of them.
fn may_be_time(text: &str) -> bool {
    let n_digits = text.bytes().filter(u8::is_ascii_digit).count();
    (1..=24).contains(&n_digits) && (3..=40).contains(&text.len())
}

/// True for three groups of digits as those of a date, or a month's name beside digits.
fn looks_like_date(text: &str) -> bool {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let lengths = words.iter().map(|word| {
        let is_digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        if is_digits { word.len() } else { 0 }
    });
    let lengths: Vec<usize> = lengths.collect();
    let is_date = matches!(
        lengths[..],
        [4, 1 | 2, 1 | 2, ..] | [1 | 2, 1 | 2, 2 | 4, ..]
    );
    let is_month =
        |word: &&str| word.len() >= 3 && MONTHS.iter().any(|month| word.starts_with(month));
    let has_digits = lengths.iter().any(|length| *length > 0);
    let is_short = text.len() <= 40;
    is_short && (is_date || has_digits && words.len() <= 5 && words.iter().any(is_month))
}

#[cfg(test)]
mod tests;
