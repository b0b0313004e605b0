//! An example that turned out to be another, as a network makes it good.
//!
//! Wherever the example is remembered it is the right one from now on, so it is replayed as that.
//! The effect of its own update is taken back as far as it is left ([`super::influence`]): of
//! values and rewards, whose gradient is linear in the target. The effect of its replays fades,
//! since they now pull the other way. A class is learned once more, as the right one.

use super::super::example::{Amendment, Outcome};
use super::super::output_loss::OutputLoss;
use super::GradientLearner;
use super::amended::AmendmentStep;
use super::influence::UpdateRow;
use crate::learn::memory::{Drawn, StoredExample};
use crate::model::{Rescale, Spec, StoredRow, Target, Task};

/// True if a network keeps the influence of its examples, so that one can be amended.
pub(super) fn has_influence(spec: &Spec) -> bool {
    spec.revision >= 2 && !matches!(spec.task, Task::Classification { .. })
}

impl GradientLearner {
    /// Makes good an example that turned out to be another.
    pub(crate) fn amend(
        &mut self,
        row: StoredRow,
        amendment: &Amendment,
        output_loss: OutputLoss<'_>,
    ) -> Outcome {
        let (example, target) = (Some(amendment.example), amendment.after);
        if let Target::Class(class) = target {
            self.let_in(class);
        }
        let mut pending = self.pending.iter_mut();
        if let Some(stored) = pending.find(|stored| stored.example == example) {
            stored.target = target;
            return Outcome::Waits;
        }
        // Had the example come as it is now, the outputs that it is held to would be nearer to it.
        let both = [amendment.before, target];
        let hold = |outputs: &mut [f32]| output_loss.shift(both, outputs);
        self.memory.amend(amendment.example, target, hold);
        let share = amendment.weight / self.settings.examples_per_update as f32;
        let rate = share * self.settings.learning_rate;
        let amended = AmendmentStep::new(amendment, self.influence.as_ref(), rate);
        let stored = StoredExample {
            row,
            target,
            example,
            weight: amendment.weight,
            is_anchor: false,
            outputs: Vec::new(),
        };
        match self.update(&mut vec![stored], Some(&amended), output_loss) {
            Ok(true) => Outcome::Updated(0),
            Ok(false) => Outcome::Rejected(0),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// The weight of a new row in the mean over them.
    pub(super) fn new_share(&self, n_new: usize, amended: Option<&AmendmentStep>) -> f32 {
        let n_rows = match amended {
            Some(_) => self.settings.examples_per_update,
            None => n_new,
        };
        1.0 / n_rows as f32
    }

    /// Counts how far an update of these rows pulled each output.
    pub(super) fn note_influence(
        &mut self,
        (new, amended): (&[StoredExample], Option<&AmendmentStep>),
        drawn: &[Drawn],
    ) {
        let Some(influence) = &mut self.influence else {
            return;
        };
        let n_new = new.len();
        let shares = [n_new, drawn.len()].map(|n_rows| 1.0 / n_rows.max(1) as f32);
        let examples = new.iter().chain(drawn.iter().map(|drawn| &*drawn.stored));
        let rows = examples.zip(self.network.reaches()).enumerate();
        // An example that is taken back is no pull towards a target.
        let rows = rows.skip(if amended.is_some() { n_new } else { 0 });
        let pulled = rows.map(|(index, (stored, reach))| UpdateRow {
            example: stored.example,
            target: stored.target,
            reach: *reach,
            rate: self.settings.learning_rate
                * (stored.weight * shares[usize::from(index >= n_new)]),
        });
        let pulled: Vec<UpdateRow> = pulled.collect();
        influence.count(&pulled);
    }

    /// Expresses the learned weights in another scale of rewards. The initial output is at the mean
    /// of whichever scale there is.
    pub(crate) fn rescale(&mut self, change: Rescale) {
        let Some(influence) = &self.influence else {
            return;
        };
        let shift = |output| (change.shift * (1.0 - influence.of_beginning(output))) as f32;
        self.network.rescale(change.factor as f32, shift);
        if let Some(averages) = &mut self.averages {
            averages.rescale(change.factor as f32, shift);
        }
        self.memory.rescale(change);
    }
}
