//! The reward and propensity columns of logged decisions.
//!
//! Invariant: neither is an input of the drafted model.

use anyhow::{bail, ensure};

use super::draft::ExcludedColumn;
use super::goal::Goal;
use crate::cli::output::print::counted;
use crate::cli::rows::number::{Decimals, number, probability};
use crate::cli::rows::{Cell, FileRows, Row, quoted};

/// A column of the outcome of a decision, which a model cannot know when it decides.
pub(super) struct LoggedColumn {
    /// Its place in the file.
    pub column: usize,
    name: String,
    reason: &'static str,
    /// The range of its numbers.
    range: &'static str,
    is_in_range: fn(&str, Decimals) -> bool,
    decimals: Decimals,
    /// Rows with a value out of range, and the sentence of the first.
    outside: Option<(u64, String)>,
}

/// The columns of reward and propensity among those of a file.
pub(super) fn logged_columns(rows: &mut FileRows, goal: Goal) -> anyhow::Result<Vec<LoggedColumn>> {
    let Goal::Decisions([action, reward, propensity]) = goal else {
        return Ok(Vec::new());
    };
    ensure!(
        action != reward && action != propensity && reward != propensity,
        "action, reward and propensity are three columns"
    );
    let decimals = rows.form().decimals;
    let reward = LoggedColumn {
        column: rows.column(reward)?,
        name: reward.to_owned(),
        reason: "the reward of the logged action",
        range: "a finite number",
        // A reward that is not known is a gap, and its row is not learned.
        is_in_range: |text, decimals| number(text, decimals).is_some(),
        decimals,
        outside: None,
    };
    let propensity = LoggedColumn {
        column: rows.column(propensity)?,
        name: propensity.to_owned(),
        reason: "the propensity of the logged action",
        range: "a probability in (0, 1]",
        is_in_range: |text, decimals| probability(text, decimals).is_some(),
        decimals,
        outside: None,
    };
    Ok(vec![reward, propensity])
}

impl LoggedColumn {
    /// Refuses a list, and counts a value out of range: such a row is not learned.
    pub(super) fn check(&mut self, row: &Row) -> anyhow::Result<()> {
        let (line, name) = (row.line, quoted(&self.name));
        // A key of JSON may come later.
        let text = match row.cells.get(self.column) {
            Some(Cell::Text(text)) => text.as_str(),
            Some(Cell::List(_)) => bail!("line {line}: column {name}: a list, expected one value"),
            None => "",
        };
        if !(self.is_in_range)(text, self.decimals) {
            let (text, range) = (quoted(text), self.range);
            let sentence = || format!("line {line}: column {name}: {text} is not {range}");
            self.outside.get_or_insert_with(|| (0, sentence())).0 += 1;
        }
        Ok(())
    }

    /// Refuses a file of which no row can be learned.
    pub(super) fn ensure_any(&self, n_rows: u64) -> anyhow::Result<()> {
        match &self.outside {
            Some((n, first)) if *n == n_rows => bail!("no row can be learned, the first: {first}"),
            _ => Ok(()),
        }
    }

    /// A sentence about the rows with a value out of range, if there are any.
    pub(super) fn remark(&self) -> Option<String> {
        let (n, first) = self.outside.as_ref()?;
        let rows = counted(*n, "row");
        Some(format!("{rows} cannot be learned, the first: {first}"))
    }

    /// The column as an excluded one.
    pub(super) fn excluded(&self) -> ExcludedColumn {
        ExcludedColumn {
            name: self.name.clone(),
            reason: self.reason.to_owned(),
            examples: Vec::new(),
        }
    }
}
