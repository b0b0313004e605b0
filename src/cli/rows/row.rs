//! A row of a file: its cells, and the readings of a cell that all files share.

use anyhow::bail;

/// The value of one column in one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// As it stands in the file; JSON's numbers and booleans as their text, its null as nothing.
    Text(String),
    /// A JSON array.
    List(Vec<f64>),
}

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    /// One for each column of the file, in their order.
    pub cells: Vec<Cell>,
}

impl Row {
    /// The text of the target, or nothing where it is a gap.
    ///
    /// # Errors
    /// It is a list.
    pub(crate) fn target(&self, column: usize) -> anyhow::Result<Option<&str>> {
        match &self.cells[column] {
            Cell::List(_) => bail!("line {}: the target is a list", self.line),
            Cell::Text(text) if is_gap(text) => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
        }
    }
}

/// Where a column stands.
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
    bail!("no column {}; the file has {listed}", quoted(name))
}

/// True if a cell holds no value: nothing, `NA` or `nan`. To a category all of these are texts.
pub(super) fn is_gap(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text == "NA" || text.eq_ignore_ascii_case("nan")
}

/// The finite number that a text is, NaN for a gap, nothing for any other text.
pub(crate) fn number(text: &str) -> Option<f64> {
    if is_gap(text) {
        return Some(f64::NAN);
    }
    text.trim()
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

/// A text of a file as a message may show it: on one line, and not too much of it.
pub(crate) fn quoted(text: &str) -> String {
    const N_SHOWN_MAX: usize = 60;
    match text.char_indices().nth(N_SHOWN_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}
