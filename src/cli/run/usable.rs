//! The rows that a run could not use, counted by reason.
//!
//! Invariant: at most [`REASONS_MAX`] reasons are counted apart, however long the run.

use std::path::Path;

use anyhow::{bail, ensure};

use crate::cli::output::print::counted;
use crate::cli::rows::Unusable;
use crate::cli::rows::lines::shown;

/// Reasons that are counted apart; the rows of others are counted together.
const REASONS_MAX: usize = 100;

/// The rows that a run could not use.
#[derive(Debug, Default)]
pub(crate) struct UnusableRows {
    /// True if the first one ends the run.
    strict: bool,
    reasons: Vec<SkipReason>,
}

#[derive(Debug)]
struct SkipReason {
    reason: String,
    n: u64,
    /// The sentence of the first row.
    first: String,
}

impl UnusableRows {
    /// No unusable rows yet.
    pub(crate) fn new(strict: bool) -> UnusableRows {
        UnusableRows {
            strict,
            reasons: Vec::new(),
        }
    }

    /// A row that can be used; none for one that was counted.
    ///
    /// # Errors
    /// The error that ends the run: one that is not of one row, or under `strict` any.
    pub(crate) fn sort<T>(&mut self, row: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        let error = match row {
            Ok(row) => return Ok(Some(row)),
            Err(error) => error,
        };
        let Some(unusable) = error.downcast_ref::<Unusable>().filter(|_| !self.strict) else {
            return Err(error);
        };
        let reason = unusable.reason.clone();
        self.count(reason, 1, format!("{error:#}"));
        Ok(None)
    }

    /// No unusable rows yet, of another part of the same run.
    pub(crate) fn of_another_part(&self) -> UnusableRows {
        UnusableRows::new(self.strict)
    }

    /// Adds the rows that another part of the run could not use.
    pub(crate) fn add(&mut self, others: UnusableRows) {
        for SkipReason { reason, n, first } in others.reasons {
            self.count(reason, n, first);
        }
    }

    fn count(&mut self, reason: String, n: u64, first: String) {
        let known = self.reasons.iter().position(|known| known.reason == reason);
        match known {
            Some(place) => self.reasons[place].n += n,
            None if self.reasons.len() < REASONS_MAX => {
                self.reasons.push(SkipReason { reason, n, first });
            }
            None => self.reasons[REASONS_MAX - 1].n += n,
        }
    }

    /// Refuses a file of which no row was used.
    ///
    /// # Errors
    /// `n_used` is 0: it has no rows, or none that can be used.
    pub(crate) fn ensure_used(&self, file: &Path, n_used: u64) -> anyhow::Result<()> {
        if n_used > 0 {
            return Ok(());
        }
        let file = shown(file);
        ensure!(self.n_rows() > 0, "{file}: no rows");
        // The file is named once.
        let again = format!("the first: {file}: ");
        let notes = self.notes().join("; ").replace(&again, "the first: ");
        bail!("{file}: no row of it can be used: {notes}")
    }

    /// True if the reason of some rows has these words.
    pub(crate) fn mention(&self, words: &str) -> bool {
        self.reasons
            .iter()
            .any(|reason| reason.reason.contains(words))
    }

    /// The number of rows.
    pub(crate) fn n_rows(&self) -> u64 {
        self.reasons.iter().map(|reason| reason.n).sum()
    }

    /// A sentence for each reason.
    pub(crate) fn notes(&self) -> Vec<String> {
        let reasons = self.reasons.iter();
        let note = |SkipReason { reason, n, first }: &SkipReason| {
            let rows = counted(*n, "row");
            // Numbers that differ from row to row stand in the sentence of the first.
            match (n, reason.contains('#')) {
                (1, true) => format!("not used: {rows}: {first}"),
                (_, true) => format!("not used: {rows}, the first as the others: {first}"),
                _ => format!("not used: {rows}, {reason}; the first: {first}"),
            }
        };
        reasons.map(note).collect()
    }
}

/// The error at which a file ends early: none of its rows behind it can be read.
#[derive(Default)]
pub(crate) struct BrokenFile(Option<anyhow::Error>);

impl BrokenFile {
    /// A row, or none where the file ends with an error that is not of one row.
    pub(crate) fn whole<T>(&mut self, row: anyhow::Result<T>) -> Option<anyhow::Result<T>> {
        match row {
            Err(error) if error.downcast_ref::<Unusable>().is_none() => {
                self.0 = Some(error);
                None
            }
            row => Some(row),
        }
    }

    /// True where the file has ended early.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.is_some()
    }

    /// Fails with the error, before a report or behind it.
    ///
    /// # Errors
    /// The file has ended early.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.0.take().map_or(Ok(()), Err)
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
    fn a_file_of_which_no_row_is_used_is_refused() {
        let mut rows = UnusableRows::default();
        let file = Path::new("rows.csv");
        let refused =
            |rows: &UnusableRows| rows.ensure_used(file, 0).map_err(|why| why.to_string());
        assert_eq!(refused(&rows), Err("rows.csv: no rows".to_owned()));
        let (reason, sentence) = ("a".to_owned(), "line 2: bad".to_owned());
        let error = anyhow::Error::new(Unusable { reason, sentence });
        assert!(rows.sort::<()>(Err(error)).unwrap().is_none());
        let expected =
            "rows.csv: no row of it can be used: not used: 1 row, a; the first: line 2: bad";
        assert_eq!(refused(&rows), Err(expected.to_owned()));
        assert!(rows.ensure_used(file, 1).is_ok());
        let (reason, sentence) = ("b".to_owned(), "rows.csv: line 3: bad".to_owned());
        let error = anyhow::Error::new(Unusable { reason, sentence });
        assert!(rows.sort::<()>(Err(error)).unwrap().is_none());
        let again = refused(&rows).unwrap_err();
        assert_eq!(again.matches("rows.csv").count(), 1, "{again}");
    }

    #[test]
    fn a_reason_is_shown_with_the_numbers_of_the_first_row() {
        let mut rows = UnusableRows::default();
        let refused = |n: u64| {
            let sentence = format!("c has {n} bytes, expected at most 10");
            Err::<(), _>(anyhow::Error::new(Unusable::refused(&sentence)))
        };
        rows.sort(refused(12)).unwrap();
        let one = "not used: 1 row: c has 12 bytes, expected at most 10";
        assert_eq!(rows.notes(), [one]);
        rows.sort(refused(13)).unwrap();
        let two = "not used: 2 rows, the first as the others: c has 12 bytes, expected at most 10";
        assert_eq!(rows.notes(), [two]);
    }

    #[test]
    fn a_file_ends_at_an_error_that_is_not_of_one_row() {
        let mut broken = BrokenFile::default();
        let of_row = || anyhow::Error::new(Unusable::refused("line 2: bad"));
        assert!(broken.whole(Ok(1)).is_some());
        assert!(
            broken
                .whole::<()>(Err(of_row()).context("rows.csv"))
                .is_some()
        );
        assert!(broken.check().is_ok());
        assert!(broken.whole::<()>(Err(anyhow!("a torn quote"))).is_none());
        assert_eq!(broken.check().unwrap_err().to_string(), "a torn quote");
    }

    #[test]
    fn rows_are_counted_by_reason_and_other_errors_end_the_run() {
        let bad = |line, reason: &str| -> anyhow::Result<()> {
            let sentence = format!("line {line}: it is bad");
            let reason = reason.to_owned();
            let error = anyhow::Error::new(Unusable { reason, sentence });
            Err(error).context("rows.csv")
        };
        let mut rows = UnusableRows::default();
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
        let mut others = UnusableRows::default();
        (0..2).for_each(|line| _ = others.sort(bad(line, "a")));
        rows.add(others);
        assert_eq!(rows.reasons[0].n, 4);
        assert!(UnusableRows::new(true).sort(bad(2, "a")).is_err());
    }
}
