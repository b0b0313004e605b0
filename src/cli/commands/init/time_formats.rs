//! The formats of times that are looked for in a file.
//!
//! Invariant: of two formats that read the same moments the one that stands first is taken.

use std::sync::LazyLock;

use perennial::model::TimeFormat;

/// Formats of a date, the likelier first.
const DATES: [&str; 71] = [
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%Y",
    "%m.%d.%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d/%m/%y",
    "%m/%d/%y",
    "%y/%m/%d",
    "%d.%m.%y",
    "%m.%d.%y",
    "%y.%m.%d",
    "%d-%m-%y",
    "%m-%d-%y",
    "%y-%m-%d",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %b %y",
    "%d/%b/%Y",
    "%d/%b/%y",
    "%d. %b %Y",
    "%d. %b %y",
    "%d de %b de %Y",
    "%b %d, %Y",
    "%b %d %Y",
    "%b-%d-%Y",
    "%b/%d/%Y",
    "%b-%d-%y",
    "%Y %b %d",
    "%Y-%b-%d",
    "%Y/%b/%d",
    "%b %Y",
    "%b-%Y",
    "%b/%Y",
    "%b-%y",
    "%Y %b",
    "%Y-%b",
    "%m/%Y",
    "%m-%Y",
    "%YM%m",
    "%YQ%q",
    "%Y-Q%q",
    "%Y Q%q",
    "Q%q %Y",
    "Q%q-%Y",
    "%G-W%V",
    "%GW%V",
    "%G-W%V-%u",
    "%Y-%m-%d",
    "%Y%m%dT%H%M%S",
    "%Y%m%d-%H%M%S",
    "%Y%m%d",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y",
    "%a %d %b %Y",
    "%a, %b %d, %Y",
    "%a %b %d, %Y",
    "%a %b %d %Y",
    "%a %d.%m.%Y",
    "%a, %d.%m.%Y",
    "%a %d/%m/%Y",
    "%a %m/%d/%Y",
    "%a, %d. %b %Y",
    "%a %d. %b %Y",
    "%a %d de %b de %Y",
    "%a, %d de %b de %Y",
    "%a, %d/%m/%Y",
    "%a, %m/%d/%Y",
];
/// Formats of the time behind a date.
const CLOCKS: [&str; 16] = [
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
    ", %H:%M",
    ", %H:%M:%S",
    ", %I:%M %p",
    ", %I:%M:%S %p",
    " %Hh",
    " %Hh%M",
];
/// Formats of mails, of web servers and of SAS.
const LOGGED: [&str; 4] = [
    "%d%b%Y:%H:%M:%S",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d/%b/%Y:%H:%M:%S %z",
    "[%d/%b/%Y:%H:%M:%S %z]",
];
/// RFC 3339, and formats of a time of day.
const ALONE: [&str; 5] = ["", "%H:%M:%S", "%H:%M", "%H.%M.%S", "%I:%M %p"];
/// Formats that may as well be fractions or scores, for columns whose header marks dates.
const NAMED: [&str; 5] = ["%m/%y", "%m-%y", "%y/%m", "%y-%m", "%b %y"];
/// Formats of plain digits, for columns whose header marks dates.
const DIGITS: [&str; 12] = [
    "%Y%m%d",
    "%Y%m%d%H",
    "%Y%m%d%H%M",
    "%Y%m%d%H%M%S",
    "%d%m%Y",
    "%m%d%Y",
    "%Y%m",
    "%y%m%d",
    "%d%m%y",
    "%m%d%y",
    "%s",
    "%Q",
];
/// Formats of plain digits that many values prove alone.
const PROVED: [&str; 2] = ["%Y%m%d", "%Y%m%d%H%M%S"];

static OF_DATES: LazyLock<Vec<TimeFormat>> = LazyLock::new(|| {
    let dated = |date: &'static str| CLOCKS.iter().map(move |clock| format!("{date}{clock}"));
    let dated = DATES.into_iter().flat_map(dated);
    let others = ALONE.into_iter().chain(LOGGED).map(str::to_owned);
    others
        .chain(dated)
        .map(|written| parsed(&written))
        .collect()
});
static OF_NAMED: LazyLock<Vec<TimeFormat>> =
    LazyLock::new(|| NAMED.into_iter().map(parsed).collect());
static OF_DIGITS: LazyLock<Vec<TimeFormat>> =
    LazyLock::new(|| DIGITS.into_iter().map(parsed).collect());
static OF_YEARS: LazyLock<Vec<TimeFormat>> = LazyLock::new(|| vec![parsed("%Y")]);

fn parsed(written: &str) -> TimeFormat {
    match written {
        "" => TimeFormat::default(),
        written => TimeFormat::parse(written).expect("the table has known directives"),
    }
}

/// Evidence that a column holds dates, before its values are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DateEvidence {
    /// The values alone.
    #[default]
    Values,
    /// The header.
    Header,
    /// The author, who named no format.
    Author,
}

impl DateEvidence {
    /// The evidence of a header.
    pub(super) fn of_header(name: &str) -> DateEvidence {
        const PARTS: [&str; 10] = [
            "date", "time", "day", "datum", "epoch", "utc", "month", "zeit", "fecha", "week",
        ];
        const WORDS: [&str; 9] = [
            "ts", "dt", "at", "when", "created", "updated", "modified", "period", "ym",
        ];
        let lower = name.to_lowercase();
        let mut words = lower.split(|c: char| !c.is_alphanumeric());
        let is_named = PARTS.iter().any(|part| lower.contains(part))
            || words.any(|word| WORDS.contains(&word));
        if is_named {
            DateEvidence::Header
        } else {
            DateEvidence::Values
        }
    }
}

/// The formats that a value may have.
pub(super) fn formats(text: &str, evidence: DateEvidence) -> Vec<&'static TimeFormat> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = is_digits || text.parse::<f64>().is_ok();
    let is_proved = |format: &&TimeFormat| PROVED.contains(&format.written());
    let is_epoch = |format: &&TimeFormat| is_epoch(format.written());
    match (is_digits, is_number, evidence) {
        (true, _, DateEvidence::Values) => OF_DIGITS.iter().filter(is_proved).collect(),
        (true, _, DateEvidence::Header) => OF_DIGITS.iter().collect(),
        (true, _, DateEvidence::Author) => OF_DIGITS.iter().chain(OF_YEARS.iter()).collect(),
        (false, true, DateEvidence::Values) => Vec::new(),
        (false, true, _) => OF_DIGITS.iter().filter(is_epoch).collect(),
        (false, false, DateEvidence::Values) => OF_DATES.iter().collect(),
        (false, false, _) => OF_DATES.iter().chain(OF_NAMED.iter()).collect(),
    }
}

/// True for seconds and milliseconds since 1970.
pub(super) fn is_epoch(written: &str) -> bool {
    matches!(written, "%s" | "%Q")
}

/// True for digits without anything between them.
pub(super) fn is_of_digits(written: &str) -> bool {
    DIGITS.contains(&written) || written == "%Y"
}

/// True for a text as a time of day is written: two or three pieces of digits, of which an hour before a
/// colon alone may have one. A score of 1:4, a version 3.16.6 and an address 10.0.7.95 are none.
pub(super) fn is_clock(text: &str) -> bool {
    let mark = if text.contains(':') { ':' } else { '.' };
    let text = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let mut pieces: Vec<&str> = text.split(mark).collect();
    if mark == ':'
        && let Some(last) = pieces.last_mut()
    {
        // Behind the seconds a fraction may stand.
        *last = last.split(['.', ',']).next().unwrap_or(last);
    }
    let is_piece = |(place, piece): (usize, &&str)| {
        piece.len() == 2 || place == 0 && mark == ':' && piece.len() == 1
    };
    pieces.len() <= 3 && pieces.iter().enumerate().all(is_piece)
}

/// The order in which a format of numbers has year, month and day, as `dmy`; `Y` is a year of four
/// digits.
pub(super) fn order(written: &str) -> String {
    let directives = written.split('%').skip(1);
    let letters = directives.filter_map(|directive| directive.chars().next());
    letters.filter(|letter| "Yymd".contains(*letter)).collect()
}

/// True for a format of a time of day, whose date is none.
pub(super) fn is_of_day(written: &str) -> bool {
    !written.is_empty()
        && !["%Y", "%y", "%G", "%s", "%Q"]
            .iter()
            .any(|part| written.contains(part))
}
