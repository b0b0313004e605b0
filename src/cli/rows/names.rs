//! The names of columns: each once, none too long for an input of a model.
//!
//! Invariant: a column keeps its header verbatim wherever that can be the name of an input.

use std::collections::HashSet;

use super::row::quoted;

/// Bytes of a name, as of an input in model.toml.
const NAME_BYTES_MAX: usize = 200;

/// The names for these headers, and the changes to them.
///
/// A header of nothing gets the place of its column as a name, if `has_values` says that the column
/// holds something.
pub(super) fn names(
    headers: Vec<String>,
    has_values: impl Fn(usize) -> bool,
) -> (Vec<String>, Vec<String>) {
    let mut notes = Vec::new();
    let mut taken: HashSet<String> = HashSet::new();
    let given: HashSet<String> = headers.iter().cloned().collect();
    let mut names = Vec::with_capacity(headers.len());
    for (column, header) in headers.into_iter().enumerate() {
        if header.is_empty() && !has_values(column) {
            names.push(header);
            continue;
        }
        let mut name = match header.as_str() {
            "" => numbered(column),
            _ => cut(&header).to_owned(),
        };
        if name.len() < header.len() {
            notes.push(format!(
                "the header of column {} has {} bytes and is cut to {}: {}",
                column + 1,
                header.len(),
                name.len(),
                quoted(&name)
            ));
        }
        if taken.contains(&name) {
            let free = |n: &usize| {
                let other = format!("{name}.{n}");
                !taken.contains(&other) && !given.contains(&other)
            };
            let n = (2..).find(free).unwrap_or_default();
            notes.push(format!(
                "column {} is named {} as an earlier one: it is read as {}",
                column + 1,
                quoted(&name),
                quoted(&format!("{name}.{n}"))
            ));
            name = format!("{name}.{n}");
        }
        taken.insert(name.clone());
        names.push(name);
    }
    (names, notes)
}

/// The name of a column without one.
pub(super) fn numbered(column: usize) -> String {
    format!("column_{}", column + 1)
}

/// The name as far as an input may have it; room is left for a number.
fn cut(header: &str) -> &str {
    if header.len() <= NAME_BYTES_MAX {
        return header;
    }
    let mut end = NAME_BYTES_MAX - 10;
    while !header.is_char_boundary(end) {
        end -= 1;
    }
    header[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once_and_is_one_of_an_input() {
        let check = |headers: &[&str], expected: &[&str], n_notes: usize| {
            let headers = headers.iter().map(|header| header.to_string()).collect();
            let (got, notes) = names(headers, |column| column == 0);
            assert_eq!(got, expected);
            assert_eq!(notes.len(), n_notes, "{notes:?}");
        };
        check(&["a", "b"], &["a", "b"], 0);
        check(&["", "b", ""], &["column_1", "b", ""], 0);
        check(&["x", "x", "x.2", "x"], &["x", "x.3", "x.2", "x.4"], 2);
        let long = "ä".repeat(150);
        check(&[&long], &["ä".repeat(95).as_str()], 1);
    }
}
