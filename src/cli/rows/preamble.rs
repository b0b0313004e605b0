//! The lines before a header that are no comments: a title, who exported the file, nothing.
//!
//! Invariant: lines are passed over only where those after them are a table: a header of names, and
//! records of as many fields with numbers in them or behind a blank line.

use super::delimited;
use super::dialect::{Dialect, RECORDS_MAX, SEPARATORS, dialect, is_number, number_columns};

/// Lines that may stand before a header.
const LINES_MAX: usize = 30;
/// Records that make a table, its header included.
const RECORDS_MIN: usize = 4;

/// Tells the form of a CSV, and how many lines before its header are neither comments nor blank.
pub(super) fn form(lines: &[String], separator: Option<char>) -> (Dialect, usize) {
    let at_once = dialect(lines, separator);
    let n_before = at_once.n_before;
    let Some((n_preamble, separator)) = preamble(&lines[n_before..], separator) else {
        return (at_once, 0);
    };
    let n_before = n_before + n_preamble;
    let table = dialect(&lines[n_before..], Some(separator));
    (Dialect { n_before, ..table }, n_preamble)
}

/// The number of lines before the header, and the separator of the table; none of a text that begins
/// with its header.
fn preamble(lines: &[String], separator: Option<char>) -> Option<(usize, char)> {
    let separators = match &separator {
        Some(given) => std::slice::from_ref(given),
        None => &SEPARATORS[..],
    };
    let is_blank = |line: &String| {
        let is_padding = |c: char| c.is_whitespace() || separators.contains(&c);
        line.trim_matches(is_padding).is_empty()
    };
    let starts = 1..lines.len().min(LINES_MAX + 1);
    let starts = starts.filter(|start| !is_blank(&lines[*start]));
    for start in starts {
        let (before, after) = lines.split_at(start);
        let has_gap = before.iter().any(is_blank);
        let found = separators
            .iter()
            .find(|separator| is_table(before, after, **separator, has_gap));
        if let Some(separator) = found {
            return Some((start, *separator));
        }
    }
    None
}

/// True if a table begins after these lines, and not among them.
fn is_table(before: &[String], after: &[String], separator: char, has_gap: bool) -> bool {
    // A quote that is closed on a later line belongs to a header.
    let width_of = |line: &String| {
        let records = delimited::sampled(std::slice::from_ref(line), separator)?;
        let (_, fields) = records.first()?;
        let n_padding = fields
            .iter()
            .rev()
            .take_while(|field| field.is_empty())
            .count();
        // Spreadsheets pad a title with separators.
        Some(match fields.len() - n_padding {
            n @ ..=1 => n,
            _ => fields.len(),
        })
    };
    let Some(records) = delimited::sampled(after, separator) else {
        return false;
    };
    let records: Vec<Vec<String>> = records
        .into_iter()
        .take(RECORDS_MAX)
        .map(|(_, fields)| fields)
        .collect();
    let (Some(header), true) = (records.first(), records.len() >= RECORDS_MIN) else {
        return false;
    };
    let width = header.len();
    let is_narrow = |line: &String| {
        let is_blank = line.trim().is_empty();
        is_blank || width_of(line).is_some_and(|n| n <= 1 || n + 2 <= width)
    };
    let is_name = |name: &String| !name.trim().is_empty() && !is_number(name);
    width > 1
        && before.iter().all(is_narrow)
        && header.iter().all(is_name)
        && records.iter().all(|fields| fields.len() == width)
        && (has_gap || number_columns(&records[1..], width).contains(&true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_distinguished_from_a_header() {
        let check = |text: &str, expected: Option<(usize, char)>| {
            let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
            assert_eq!(preamble(&lines, None), expected, "{text}");
        };
        let table = "x,y\n1,2\n3,4\n5,6\n";
        check(table, None);
        check(&format!("Report of May\n{table}"), Some((1, ',')));
        check(&format!("Report of May\n\n{table}"), Some((2, ',')));
        check(&format!("Report\nby station 4\n\n{table}"), Some((3, ',')));
        check(
            "Report, of May\nx;y;z\n1;2;3\n3;4;5\n5;6;7\n",
            Some((1, ';')),
        );
        check("Title\n\na,b\nx,y\nz,u\nv,w\n", Some((2, ',')));
        check("text\nit rains, here\nit is, there\nso, so\nno, no\n", None);
        check("a,b\nr,1,2\ns,3,4\nt,4,5\nu,6,7\n", None);
        check("Title\nx,y\n1,2\n3\n5,6\n", None);
        let commented = format!("# by hand\nReport of May\n\n{table}");
        let lines: Vec<String> = commented.split_inclusive('\n').map(str::to_owned).collect();
        let (found, n_preamble) = form(&lines, None);
        assert_eq!((found.n_before, n_preamble), (3, 2));
        assert_eq!(found.first, ["x", "y"]);
        check("\"a\nlong\",\"y\"\n1,2\n3,4\n5,6\n7,8\n", None);
    }
}
