//! The shapes of a batch and of its outputs.
//!
//! Invariant: a checked column can be divided into its rows.

use crate::event::{Batch, Column, Outputs};
use crate::store::error::Malformed;

/// Every column of a batch must divide into its rows: later code relies on it.
pub(super) fn check_batch(batch: &Batch) -> Result<(), Malformed> {
    let n_rows = batch.n_rows;
    if n_rows == 0 {
        return Err(Malformed("a batch without rows".to_owned()));
    }
    for (index, column) in batch.columns.iter().enumerate() {
        let (fits, got) = match column {
            Column::Numbers(values) => (values.len() == n_rows, values.len()),
            Column::Strings(values) => (values.len() == n_rows, values.len()),
            Column::Vectors(bytes) => (bytes.len() % n_rows == 0, bytes.len()),
            Column::Embedded { texts, vectors } => {
                let fits = texts.len() == n_rows && vectors.len() % n_rows == 0;
                (fits, vectors.len())
            }
        };
        if !fits {
            return Err(Malformed(format!(
                "column {index} has {got} values or bytes, which do not make {n_rows} rows"
            )));
        }
    }
    Ok(())
}

/// Outputs must divide into as many rows as the batch has.
pub(super) fn check_outputs(outputs: &Outputs, n_rows: usize) -> Result<(), Malformed> {
    let fits = match outputs {
        Outputs::Probabilities(values) => values.len().is_multiple_of(n_rows),
        Outputs::Decisions {
            probabilities,
            chosen,
        } => {
            let n_classes = probabilities.len() / n_rows;
            let is_class = |place: &u32| (*place as usize) < n_classes;
            probabilities.len().is_multiple_of(n_rows)
                && chosen.len() == n_rows
                && chosen.iter().all(is_class)
        }
        Outputs::Values(values) => values.len() == n_rows,
        Outputs::Actions {
            chosen,
            propensities,
            scores,
        } => {
            chosen.len() == n_rows
                && propensities.len() == n_rows
                && scores.len().is_multiple_of(n_rows)
        }
    };
    if fits {
        Ok(())
    } else {
        Err(Malformed(format!("outputs that do not make {n_rows} rows")))
    }
}
