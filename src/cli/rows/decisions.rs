//! Rows of logged decisions: action, propensity and reward.
//!
//! Invariant: each action is one of the model's, its propensity is in (0, 1], and its reward is
//! finite.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use perennial::event::Batch;
use perennial::model::Task;

use super::described::{check_described, ensure_unseen};
use super::file::FileRows;
use super::labelled::Check;
use super::layout::Layout;
use super::lines::shown;
use super::number::{Decimals, finite, is_gap, probability};
use super::options::ReadOptions;
use super::row::{Row, Unusable, quoted};
use super::signature::ModelSignature;

/// The columns of logged decisions, as options: all three or none.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(crate) struct DecisionColumns {
    /// For logged decisions: the column of the action that was taken
    #[arg(long, value_name = "COLUMN", requires_all = ["reward", "propensity"])]
    pub action: Option<String>,
    /// For logged decisions: the column of its reward
    #[arg(long, value_name = "COLUMN", requires = "action")]
    pub reward: Option<String>,
    /// For logged decisions: the column of the probability with which it was taken
    #[arg(long, value_name = "COLUMN", requires = "action")]
    pub propensity: Option<String>,
}

impl DecisionColumns {
    /// Action, reward and propensity, if they were given.
    pub(crate) fn given(&self) -> Option<[&str; 3]> {
        let [action, reward, propensity] = [&self.action, &self.reward, &self.propensity];
        Some([
            action.as_deref()?,
            reward.as_deref()?,
            propensity.as_deref()?,
        ])
    }
}

/// A decision that another system made.
#[derive(Debug, PartialEq)]
pub(crate) struct LoggedRow {
    /// The features of the decision.
    pub batch: Batch,
    /// The place of its action among the model's.
    pub action: u32,
    /// The propensity, in (0, 1].
    pub propensity: f64,
    /// The reward; none where it is a gap.
    pub reward: Option<f64>,
}

/// The rows of a file as logged decisions.
pub(crate) struct LoggedRows {
    path: PathBuf,
    rows: FileRows,
    layout: Layout,
    task: Task,
    rewards: [f64; 2],
    decimals: Decimals,
    check: Option<Check>,
    action: (usize, String),
    reward: (usize, String),
    propensity: (usize, String),
}

impl LoggedRows {
    /// Opens a file of decisions for a model.
    ///
    /// # Errors
    /// The model is no bandit; the file cannot be read, or lacks a column or an input.
    pub(crate) fn open(
        path: &Path,
        columns: [&str; 3],
        described: &ModelSignature,
        options: &ReadOptions,
    ) -> anyhow::Result<LoggedRows> {
        if !matches!(described.task, Task::Bandit { .. }) {
            let task = described.task.word();
            bail!("--action: the model's task is {task}, and only a bandit learns from decisions");
        }
        let [action, reward, propensity] = columns;
        let options_of = [
            ("--action", action),
            ("--reward", reward),
            ("--propensity", propensity),
        ];
        ensure_unseen(&described.inputs, &options_of)?;
        let mut rows = FileRows::open(path, options)?;
        let of_file = || shown(path);
        check_described(&mut rows, &described.inputs, &columns).with_context(of_file)?;
        let find = |name: &str| {
            let column = rows.column(name).with_context(of_file)?;
            anyhow::Ok((column, name.to_owned()))
        };
        let [action, reward, propensity] = columns.map(find);
        Ok(LoggedRows {
            path: path.to_owned(),
            layout: Layout::of_rows(&mut rows, &described.inputs).with_context(of_file)?,
            decimals: rows.form().decimals,
            task: described.task.clone(),
            rewards: described.rewards,
            check: None,
            action: action?,
            reward: reward?,
            propensity: propensity?,
            rows,
        })
    }

    /// The rows, of which those that the model refuses cannot be used.
    pub(crate) fn checked(self, check: Check) -> LoggedRows {
        LoggedRows {
            check: Some(check),
            ..self
        }
    }

    fn logged(&mut self, row: &Row) -> anyhow::Result<LoggedRow> {
        let batch = self.layout.batch(row)?;
        if let Some(Err(sentence)) = self.check.as_ref().map(|check| check(&batch)) {
            let unusable = Unusable::refused(&sentence);
            return Err(unusable).with_context(|| format!("line {}", row.line));
        }
        let decimals = self.decimals;
        Ok(LoggedRow {
            batch,
            action: cell(row, &self.action, |text| {
                let text = text.context("no action")?;
                let index = self.task.index(text);
                index.with_context(|| format!("{} is not one of the model's actions", quoted(text)))
            })?,
            propensity: cell(row, &self.propensity, |text| {
                let text = text.context("no propensity")?;
                let value = probability(text, decimals);
                value.with_context(|| format!("{} is no probability in (0, 1]", quoted(text)))
            })?,
            reward: cell(row, &self.reward, |text| match text {
                None => Ok(None),
                Some(text) if is_gap(text) => Ok(None),
                Some(text) => self.reward(text).map(Some),
            })?,
        })
    }

    /// Parses a reward, within the range that the model accepts.
    fn reward(&self, text: &str) -> anyhow::Result<f64> {
        let [min, max] = self.rewards;
        match finite(text, self.decimals) {
            None => bail!("{} is not a finite number", quoted(text)),
            Some(reward) if (min..=max).contains(&reward) => Ok(reward),
            Some(_) => bail!(
                "{} is not in {min} to {max}, the range of [feedback] reward_min and reward_max",
                quoted(text)
            ),
        }
    }
}

/// Parses a cell; an error names its line and column.
fn cell<T>(
    row: &Row,
    (column, name): &(usize, String),
    read: impl FnOnce(Option<&str>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let value = match row.target(*column) {
        Ok(text) => read(text),
        Err(_) => Err(anyhow!("a list, expected one value")),
    };
    value.map_err(|why| {
        let (line, name) = (row.line, quoted(name));
        anyhow::Error::new(Unusable {
            reason: format!("column {name}: no value of a logged decision"),
            sentence: format!("line {line}: column {name}: {why}"),
        })
    })
}

impl Iterator for LoggedRows {
    type Item = anyhow::Result<LoggedRow>;

    fn next(&mut self) -> Option<anyhow::Result<LoggedRow>> {
        Some(match self.rows.next()? {
            // Such an error names its file already.
            Err(error) => Err(error),
            Ok(row) => {
                let logged = self.logged(&row);
                logged.with_context(|| shown(&self.path))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use perennial::model::Spec;

    use super::*;

    /// Action, propensity and reward of each row.
    type Parsed = Vec<(u32, f64, Option<f64>)>;

    fn read(text: &str) -> anyhow::Result<Parsed> {
        let spec = "task = 'bandit'\nactions = ['a', '7']\n[[input]]\nname = 'x'\nkind = 'number'";
        let spec = Spec::parse(spec).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let described = ModelSignature::of(&spec);
        let rows = LoggedRows::open(
            file.path(),
            ["act", "earned", "p"],
            &described,
            &ReadOptions::default(),
        )?;
        let parsed = rows.map(|logged| {
            let LoggedRow {
                action,
                propensity,
                reward,
                ..
            } = logged?;
            Ok((action, propensity, reward))
        });
        parsed.collect()
    }

    #[test]
    fn decisions_are_read_with_their_rewards() {
        let rows = read("x,act,p,earned\n1,7,0.25,-2\n2,a,1,\n").unwrap();
        assert_eq!(rows, [(1, 0.25, Some(-2.0)), (0, 1.0, None)]);
    }

    #[test]
    fn a_bad_decision_is_named_with_line_and_column() {
        let check = |row: &str, expected: &str| {
            let text = format!("x,act,p,earned\n1,a,1,0\n{row}\n");
            let error = format!("{:#}", read(&text).unwrap_err());
            assert!(error.ends_with(expected), "{error}");
        };
        let action = ": line 3: column \"act\": \"b\" is not one of the model's actions";
        check("1,b,1,0", action);
        check("1,,1,0", ": line 3: column \"act\": no action");
        for p in ["0", "-0.5", "1.01", "inf", "often"] {
            let p_is = format!(": line 3: column \"p\": \"{p}\" is no probability in (0, 1]");
            check(&format!("1,a,{p},0"), &p_is);
        }
        check("1,a,,0", ": line 3: column \"p\": no propensity");
        let reward = ": line 3: column \"earned\": \"inf\" is not a finite number";
        check("1,a,1,inf", reward);
        let reward =
            "is not in -1000000 to 1000000, the range of [feedback] reward_min and reward_max";
        check("1,a,1,1e308", reward);
        let error = format!("{:#}", read("x,act,earned\n").unwrap_err());
        let expected = ": no column \"p\"; the file has \"x\", \"act\", \"earned\"";
        assert!(error.ends_with(expected), "{error}");
    }
}
