//! A row of a file: its cells, and the readings of a cell that all files share.

use std::fmt;

use anyhow::bail;

use super::number::is_missing;

/// The value of one column in one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// The cell as it stands in the file; JSON's numbers and booleans as their text, its null as nothing.
    Text(String),
    /// A JSON array.
    List(Vec<f64>),
}

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// The line it begins on, from 1; 0 where it is not of a file.
    pub line: u64,
    /// The cells, one for each column of the file, in their order.
    pub cells: Vec<Cell>,
}

impl Row {
    /// The text of the target, or nothing where it is a gap.
    ///
    /// # Errors
    /// It is a list.
    pub(crate) fn target(&self, column: usize) -> anyhow::Result<Option<&str>> {
        match self.cells.get(column) {
            Some(Cell::List(_)) => bail!(
                "line {}: the target is a list: an object of columns? expected an object a row",
                self.line
            ),
            Some(Cell::Text(text)) if is_missing(text) => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            None => Ok(None),
        }
    }
}

/// A row that cannot be used; those after it can.
#[derive(Clone, Debug)]
pub(crate) struct Unusable {
    /// The reason, under which such rows are counted.
    pub reason: String,
    /// The whole sentence, with the file and the line.
    pub sentence: String,
}

impl Unusable {
    /// A row that a model refused with this sentence.
    pub(crate) fn refused(sentence: &str) -> Unusable {
        // Of a request of one row, whose line stands before the sentence.
        let sentence = sentence.replacen(": row 0 ", ": ", 1);
        // Rows are counted together whatever their numbers are.
        let mut reason = String::new();
        for c in sentence.chars() {
            match c.is_ascii_digit() {
                false => reason.push(c),
                true if reason.ends_with('#') => {}
                true => reason.push('#'),
            }
        }
        Unusable { reason, sentence }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Unusable {}

/// The place of a column.
///
/// # Errors
/// There is none of that name; the error lists those there are.
pub(crate) fn find_column(columns: &[String], name: &str) -> anyhow::Result<usize> {
    const N_LISTED_MAX: usize = 40;
    if let Some(index) = columns.iter().position(|column| column == name) {
        return Ok(index);
    }
    let listed = columns.iter().take(N_LISTED_MAX).map(|name| quoted(name));
    let mut listed = listed.collect::<Vec<_>>().join(", ");
    if columns.len() > N_LISTED_MAX {
        listed += &format!(" and {} more", columns.len() - N_LISTED_MAX);
    }
    let like = |column: &&String| column.trim().to_lowercase() == name.trim().to_lowercase();
    let like = columns.iter().find(like);
    let like = like.map_or_else(String::new, |column| {
        format!(", but {}, which differs in case or blanks", quoted(column))
    });
    bail!("no column {}{like}; the file has {listed}", quoted(name))
}

/// A text of a file as a message may show it: on one line, and not too much of it.
pub(crate) fn quoted(text: &str) -> String {
    const N_SHOWN_MAX: usize = 60;
    match text.char_indices().nth(N_SHOWN_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}
