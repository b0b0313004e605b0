//! The form of a CSV, detected from its first lines: separator, header, decimal mark.
//!
//! Invariant: the detected form depends on the first lines alone, so that two commands read a file alike.

use super::delimited::{self, BLANKS};
use super::number::{Decimals, finite, is_gap};

/// Separators that are detected from a file, the likelier first.
pub(super) const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];
/// Records by which a form is detected.
pub(super) const RECORDS_MAX: usize = 100;
/// Values that make a column one of numbers.
const VALUES_MIN: usize = 3;

/// The form of a CSV.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    pub separator: char,
    /// Lines before the header: comments, and one that names the separator.
    pub n_before: usize,
    /// True if the header stands behind a `#`.
    pub is_header_comment: bool,
    /// The records after the header, or all where there is none.
    pub sample: Vec<Vec<String>>,
    /// The first record.
    pub first: Vec<String>,
}

/// Tells the form of a CSV with this separator, or with the one that suits its first lines best.
pub(super) fn dialect(lines: &[String], separator: Option<char>) -> Dialect {
    let named = lines.first().and_then(|line| named_separator(line));
    let n_named = usize::from(named.is_some());
    let rest = &lines[n_named..];
    let is_comment = |line: &&String| line.trim_start().starts_with('#') || line.trim().is_empty();
    let n_comments = rest.iter().take_while(is_comment).count();
    let separator = separator
        .or(named)
        .unwrap_or_else(|| best_separator(&rest[n_comments..]));
    let records = |lines: &[String]| -> Vec<Vec<String>> {
        let records = delimited::sampled(lines, separator).unwrap_or_default();
        let records = records.into_iter().take(RECORDS_MAX);
        records.map(|(_, fields)| fields).collect()
    };
    let mut n_before = n_named + n_comments;
    let mut body = records(&rest[n_comments..]);
    let mut is_header_comment = false;
    // The last comment is the header where it has a name for each column, and numbers follow.
    if let Some(last) = rest[..n_comments]
        .iter()
        .rposition(|line| line.contains('#'))
    {
        let header = records(&rest[last..last + 1]);
        if let ([header], Some(first)) = (&header[..], body.first())
            && header.len() == first.len()
            && header.len() > 1
            && count_numbers(first) > 0
            && count_numbers(header) == 0
        {
            is_header_comment = true;
            n_before = n_named + last;
            body.insert(0, header.clone());
        }
    }
    let mut body = body.into_iter();
    Dialect {
        separator,
        n_before,
        is_header_comment,
        first: body.next().unwrap_or_default(),
        sample: body.collect(),
    }
}

/// The separator that a first line like `sep=;` names.
fn named_separator(line: &str) -> Option<char> {
    let line = line.trim_end_matches(['\r', '\n']).trim_matches('"');
    let (key, value) = line.split_once('=')?;
    let mut chars = value.chars();
    let (first, rest) = (chars.next()?, chars.next());
    (key.trim().eq_ignore_ascii_case("sep") && rest.is_none()).then_some(first)
}

/// The separator under which the most records have the same number of fields, more than one.
pub(super) fn best_separator(lines: &[String]) -> char {
    let mut best = (0.0, 0, ',');
    for separator in SEPARATORS {
        if let Some((score, width)) = score(lines, separator)
            && (score > best.0 + 1e-9 || score > best.0 - 1e-9 && width > best.1)
        {
            best = (score, width, separator);
        }
    }
    let (score, width, separator) = best;
    // A tab may stand among the blanks of a table.
    let may_be_blanks = score == 0.0 || separator == '\t';
    if may_be_blanks && n_by_blanks(lines).is_some_and(|n| n > width) {
        return BLANKS;
    }
    separator
}

/// The share of records of the commonest width, and that width; a header of that width counts more.
fn score(lines: &[String], separator: char) -> Option<(f64, usize)> {
    let records = delimited::sampled(lines, separator)?;
    let widths: Vec<usize> = records
        .iter()
        .take(RECORDS_MAX)
        .map(|(_, fields)| fields.len())
        .collect();
    let (width, n) = commonest(&widths)?;
    if width < 2 || widths[0] < 2 {
        return None;
    }
    let share = n as f64 / widths.len() as f64;
    let fits = widths[0].abs_diff(width) <= 1;
    Some((share + f64::from(u8::from(fits)), width))
}

/// The fields of rows of at least three between blanks, mostly numbers.
fn n_by_blanks(lines: &[String]) -> Option<usize> {
    let records = delimited::sampled(lines, BLANKS)?;
    let widths: Vec<usize> = records.iter().map(|(_, fields)| fields.len()).collect();
    let (width, n) = commonest(&widths)?;
    let fields = records.iter().flat_map(|(_, fields)| fields);
    let n_numbers = fields
        .clone()
        .filter(|field| finite(field, Decimals::Point).is_some())
        .count();
    let is_table = width >= 3 && n >= 3 && n * 10 >= widths.len() * 9;
    (is_table && n_numbers * 2 >= fields.count()).then_some(width)
}

/// The commonest of these, the first of several, and how often it comes.
pub(super) fn commonest(widths: &[usize]) -> Option<(usize, usize)> {
    let count = |width: usize| widths.iter().filter(|other| **other == width).count();
    let mut best: Option<(usize, usize)> = None;
    for &width in widths {
        let n = count(width);
        if best.is_none_or(|(_, most)| n > most) {
            best = Some((width, n));
        }
    }
    best
}

fn count_numbers(fields: &[String]) -> usize {
    fields.iter().filter(|field| is_number(field)).count()
}

/// True for a number under either mark.
pub(super) fn is_number(field: &str) -> bool {
    [Decimals::Point, Decimals::Comma]
        .into_iter()
        .any(|decimals| finite(field, decimals).is_some())
}

/// The columns of a sample that hold numbers.
pub(super) fn number_columns(sample: &[Vec<String>], n_columns: usize) -> Vec<bool> {
    let is_of_numbers = |column: usize| {
        let cells = sample.iter().filter_map(|fields| fields.get(column));
        let values: Vec<&String> = cells.filter(|cell| !is_gap(cell)).collect();
        let n_numbers = values.iter().filter(|value| is_number(value)).count();
        n_numbers >= VALUES_MIN && n_numbers * 10 >= values.len() * 6
    };
    (0..n_columns).map(is_of_numbers).collect()
}

/// The decimal mark of a sample; none where no cell shows it.
pub(super) fn decimals(sample: &[Vec<String>]) -> Option<Decimals> {
    let only = |decimals, other| {
        let cells = sample.iter().flatten();
        let is_only =
            |cell: &&String| finite(cell, decimals).is_some() && finite(cell, other).is_none();
        cells.filter(is_only).count()
    };
    let n_points = only(Decimals::Point, Decimals::Comma);
    let n_commas = only(Decimals::Comma, Decimals::Point);
    match n_points.cmp(&n_commas) {
        std::cmp::Ordering::Greater => Some(Decimals::Point),
        std::cmp::Ordering::Less => Some(Decimals::Comma),
        std::cmp::Ordering::Equal => None,
    }
}

/// True if the first record looks like data and not like names.
pub(super) fn looks_like_data(first: &[String], sample: &[Vec<String>]) -> bool {
    let are_numbers = number_columns(sample, first.len());
    let mut numbers = Vec::new();
    let mut is_repeated = false;
    for (column, (name, of_numbers)) in first.iter().zip(are_numbers).enumerate() {
        let value = finite(name, Decimals::Point).or_else(|| finite(name, Decimals::Comma));
        match value {
            Some(value) if of_numbers => numbers.push(value),
            None if of_numbers && !is_gap(name) => return false,
            _ => {}
        }
        let again = |fields: &&Vec<String>| fields.get(column).is_some_and(|cell| cell == name);
        is_repeated |= value.is_none() && !name.is_empty() && sample.iter().any(|row| again(&row));
    }
    // Years or places, as the names of a wide table.
    let are_names = numbers.len() > 2 && numbers.windows(2).all(|pair| pair[1] - pair[0] == 1.0);
    is_repeated || !numbers.is_empty() && !are_names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_inclusive('\n').map(str::to_owned).collect()
    }

    #[test]
    fn the_separator_is_detected_from_the_first_lines() {
        let check = |text: &str, expected: char| {
            assert_eq!(dialect(&lines(text), None).separator, expected, "{text}");
        };
        check("a,b\n1,2\n", ',');
        check("a;b\n1,5;2,5\n3,5;4,5\n", ';');
        check("\"a\";\"b;c\"\n\"1\";\"2\"\n", ';');
        check("a\tb\nx, y\tz\nhi\tand, so, on\n", '\t');
        check("a|b|c\n1|2|3\n", '|');
        check("text\nit rains\nit is, they say, dry\n", ',');
        check("sep=|\na|b\n1|2\n", '|');
        check("\"SEP=;\"\na;b\n", ';');
        check(
            "label\ttext\nham\t\"so\" he said, and\nspam\tno; no\n",
            '\t',
        );
        check("# a;b;c;d\nx,y\n1,2\n", ',');
        check(
            " 18.0   8  307.0\n 15.0   8  350.0\n 18.0   8  318.0\n",
            ' ',
        );
        check(
            "18.0   8  307.0\t\"ford torino\"\n15.0   8  350.0\t\"buick\"\n18.0   8  318.0\t\"amc\"\n",
            ' ',
        );
        check("Date,\"Temperatures, daily\"\n1981-01-01,20.7\n", ',');
    }

    #[test]
    fn comments_stand_before_the_header() {
        let check = |text: &str, n_before: usize, first: &str| {
            let found = dialect(&lines(text), None);
            assert_eq!(
                (found.n_before, found.first.join("|").as_str()),
                (n_before, first),
                "{text}"
            );
        };
        check("# exported\nx,y\n1,2\n", 1, "x|y");
        check("# exported, today\nx,y\n1,2\n", 1, "x|y");
        check("#x,y\n1,2\n3,4\n", 0, "#x|y");
        check("#,name\n1,b\n2,c\n", 0, "#|name");
        check("sep=,\n\n# by hand\nx,y\n", 3, "x|y");
    }

    #[test]
    fn a_first_row_of_data_is_noticed() {
        let check = |text: &str, expected: bool| {
            let found = dialect(&lines(text), None);
            assert_eq!(
                looks_like_data(&found.first, &found.sample),
                expected,
                "{text}"
            );
        };
        check("5.1,3.5,a\n4.9,3.0,a\n4.7,3.2,b\n4.6,3.1,b\n", true);
        check("196\t242\t3\n186\t302\t3\n22\t377\t1\n244\t51\t2\n", true);
        check("ham\tgo there\nham\tok\nspam\tfree\n", true);
        check("x,z,y\n1,2,a\n2,3,b\n4,5,a\n", false);
        check("label\ttext\nham\tok\nspam\tfree\n", false);
        check("country,1960,1961,1962\na,1,2,3\nb,2,3,4\nc,4,5,6\n", false);
    }
}
