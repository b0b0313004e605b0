//! The rows that a run could not use, counted by reason.
//!
//! Invariant: at most [`REASONS_MAX`] reasons are counted apart, however long the run.

use crate::cli::output::print::counted;
use crate::cli::rows::Unusable;

/// Reasons that are counted apart; the rows of others are counted together.
const REASONS_MAX: usize = 100;

/// The rows that a run could not use.
#[derive(Debug)]
pub(crate) struct UnusableRows {
    /// True if the first one ends the run.
    strict: bool,
    reasons: Vec<Reason>,
}

#[derive(Debug)]
struct Reason {
    reason: String,
    n: u64,
    /// The sentence of the first row.
    first: String,
}

impl UnusableRows {
    /// None by now.
    pub(crate) fn new(strict: bool) -> UnusableRows {
        UnusableRows {
            strict,
            reasons: Vec::new(),
        }
    }

    /// A row that can be used; none for one that was counted.
    ///
    /// # Errors
    /// What ends the run: an error that is not of one row, or under `strict` any.
    pub(crate) fn sort<T>(&mut self, row: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        let error = match row {
            Ok(row) => return Ok(Some(row)),
            Err(error) => error,
        };
        let Some(unusable) = error.downcast_ref::<Unusable>().filter(|_| !self.strict) else {
            return Err(error);
        };
        let reason = unusable.reason.clone();
        self.count(reason, format!("{error:#}"));
        Ok(None)
    }

    fn count(&mut self, reason: String, first: String) {
        let known = self.reasons.iter().position(|known| known.reason == reason);
        match known {
            Some(place) => self.reasons[place].n += 1,
            None if self.reasons.len() < REASONS_MAX => self.reasons.push(Reason {
                reason,
                n: 1,
                first,
            }),
            None => self.reasons[REASONS_MAX - 1].n += 1,
        }
    }

    /// The number of rows.
    pub(crate) fn n_rows(&self) -> u64 {
        self.reasons.iter().map(|reason| reason.n).sum()
    }

    /// A sentence for each reason.
    pub(crate) fn notes(&self) -> Vec<String> {
        let reasons = self.reasons.iter();
        let note = |Reason { reason, n, first }: &Reason| {
            let rows = counted(*n, "row");
            format!("not used: {rows}, {reason}; the first: {first}")
        };
        reasons.map(note).collect()
    }
}

/// A sentence about rows that were predicted and not scored, if there were any.
pub(crate) fn without_target(n_rows: u64) -> Option<String> {
    match n_rows {
        0 => None,
        1 => Some("1 row has no target: it was predicted, and not scored or learned".to_owned()),
        n => Some(format!(
            "{n} rows have no target: they were predicted, and not scored or learned"
        )),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn rows_are_counted_by_reason_and_other_errors_end_the_run() {
        let bad = |line, reason: &str| -> anyhow::Result<()> {
            let sentence = format!("line {line}: it is bad");
            let reason = reason.to_owned();
            let error = anyhow::Error::new(Unusable { reason, sentence });
            Err(error).context("rows.csv")
        };
        let mut rows = UnusableRows::new(false);
        assert!(rows.sort(Ok(())).unwrap().is_some());
        for (line, reason) in [(2, "a"), (3, "b"), (7, "a")] {
            assert!(rows.sort(bad(line, reason)).unwrap().is_none());
        }
        assert_eq!(rows.n_rows(), 3);
        let expected = "not used: 2 rows, a; the first: rows.csv: line 2: it is bad";
        assert_eq!(rows.notes()[0], expected);
        (0..1000).for_each(|line| _ = rows.sort(bad(line, &line.to_string())));
        assert_eq!((rows.n_rows(), rows.notes().len()), (1003, REASONS_MAX));
        assert!(rows.sort::<()>(Err(anyhow!("the disk is gone"))).is_err());
        assert!(UnusableRows::new(true).sort(bad(2, "a")).is_err());
    }
}
