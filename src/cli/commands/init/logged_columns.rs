//! The columns of logged decisions that tell what came of them: reward and propensity.
//!
//! Invariant: no drafted model takes one of them as an input.

use anyhow::{bail, ensure};

use super::{Goal, LeftOut};
use crate::cli::rows::{Cell, Row, find_column, number, quoted};

/// A column that says what came of a decision, which no model may see before it decides.
pub struct Told {
    /// Its place in the file.
    pub column: usize,
    name: String,
    reason: &'static str,
    /// What its numbers must be.
    range: &'static str,
    is_in_range: fn(f64) -> bool,
}

/// The columns of reward and propensity among those of a file.
pub fn told(columns: &[String], goal: Goal) -> anyhow::Result<Vec<Told>> {
    let Goal::Decisions([action, reward, propensity]) = goal else {
        return Ok(Vec::new());
    };
    ensure!(
        action != reward && action != propensity && reward != propensity,
        "action, reward and propensity are three columns"
    );
    let reward = Told {
        column: find_column(columns, reward)?,
        name: reward.to_owned(),
        reason: "the reward of the logged action",
        range: "a finite number",
        // A reward that is not known is a gap, and its row is not learned.
        is_in_range: |reward| reward.is_nan() || reward.is_finite(),
    };
    let propensity = Told {
        column: find_column(columns, propensity)?,
        name: propensity.to_owned(),
        reason: "the propensity of the logged action",
        range: "a probability in (0, 1]",
        is_in_range: |propensity| propensity > 0.0 && propensity <= 1.0,
    };
    Ok(vec![reward, propensity])
}

impl Told {
    /// Refuses a value that it cannot have.
    pub fn check(&self, row: &Row) -> anyhow::Result<()> {
        let (line, name) = (row.line, quoted(&self.name));
        let Cell::Text(text) = &row.cells[self.column] else {
            bail!("line {line}: column {name}: a list, expected one value");
        };
        ensure!(
            number(text).is_some_and(self.is_in_range),
            "line {line}: column {name}: {} is not {}",
            quoted(text),
            self.range
        );
        Ok(())
    }

    /// Why the model does not take it.
    pub fn left_out(&self) -> LeftOut {
        LeftOut {
            name: self.name.clone(),
            reason: self.reason.to_owned(),
        }
    }
}
