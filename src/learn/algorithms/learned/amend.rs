//! An example that is another by now, in all that was learned of it.
//!
//! Invariant: it counts as one example, and keeps the weight that it was learned with.

use std::sync::Arc;

use super::super::example::{Amendment, Outcome};
use super::super::output_loss::OutputLoss;
use super::rows::embed_again;
use super::{Kind, Learned, not_encoded};
use crate::event::Batch;
use crate::learn::memory::output_counts::OutputCounts;
use crate::model::TextEncoder;

impl Learned {
    /// Corrects the effect of an example that is another one by now; no example is counted.
    pub(crate) fn amend(
        &mut self,
        batch: &Batch,
        row: usize,
        amendment: Amendment,
        encoders: &[Option<Arc<TextEncoder>>],
    ) -> Outcome {
        if encoders.is_empty() {
            let outcome = self.amend_row(batch, row, amendment);
            self.keep_amended((batch, row), &amendment, &outcome);
            return outcome;
        }
        let adapters: Vec<_> = self.adapters().collect();
        let batch = match embed_again(batch.row(row), encoders, &adapters) {
            Ok(batch) => batch,
            Err(error) => return not_encoded(&error, 0),
        };
        let outcome = self.amend_row(&batch, 0, amendment);
        if !matches!(outcome, Outcome::Rejected(_)) {
            let scale = self.target;
            self.each_adapted(&batch, encoders, |learner, _, _, vector| {
                learner.amend(vector, &amendment, &scale);
            });
        }
        outcome
    }

    pub(super) fn amend_row(&mut self, batch: &Batch, row: usize, amendment: Amendment) -> Outcome {
        let (before, after) = (amendment.before, amendment.after);
        if let (Some(before), Some(after)) = (before.number(), after.number()) {
            let newest = self.newest.as_mut().unwrap_or(&mut self.target);
            newest.amend(before, after);
            self.rescale();
        }
        if let Some(shares) = &mut self.class_shares {
            shares.amend([before, after], amendment.weight, amendment.n_since);
        }
        let first_rows = self.first_rows.as_ref();
        let mut encoded = match first_rows.and_then(|rows| rows.row(amendment.example)) {
            Some(row) => row.clone(),
            None => self.encoder.encode(batch, row),
        };
        if let Kind::Auto(learner) = &self.kind {
            encoded.past = learner.past_of_example(batch, row, amendment.example);
        }
        let retention = self.retention.as_mut();
        let is_anchor = retention.is_some_and(|all| all.amend(amendment.example, amendment.after));
        let scale = &self.target;
        let since = |counts: &OutputCounts| counts.since(amendment.before, amendment.n_since);
        let amendment = &Amendment {
            is_anchor,
            n_since: self.counts.as_ref().map_or(amendment.n_since, since),
            ..amendment
        };
        match &mut self.kind {
            Kind::Gradient(learner) => {
                learner.amend(encoded.into(), amendment, OutputLoss::Plain(scale))
            }
            Kind::Analytic(learner) => learner.amend(&encoded, amendment, scale),
            Kind::Auto(learner) => amended(learner.amend(&encoded, amendment, scale)),
            Kind::Neighbours(learner) => amended(learner.amend(amendment)),
        }
    }
}

/// The outcome of an example that is amended at once, or not at all.
fn amended(amended: bool) -> Outcome {
    if amended {
        Outcome::Updated(0)
    } else {
        Outcome::Rejected(0)
    }
}
