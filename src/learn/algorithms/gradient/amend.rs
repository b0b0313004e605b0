//! An example that turned out to be another, as a network makes it good.
//!
//! Wherever the example is remembered it is the right one from now on, so it is replayed as that.
//! The effect of its own update is taken back as far as it is left ([`super::influence`]): of
//! values and rewards, whose gradient is linear in the target. The effect of its replays fades,
//! since they now pull the other way. A class is learned once more, as the right one.

use super::super::example::{Amendment, Outcome};
use super::super::output_loss::OutputLoss;
use super::GradientLearner;
use super::influence::{Influence, RemainingInfluence, UpdateRow};
use super::replay_loss::ReplayLoss;
use crate::learn::memory::{Drawn, StoredExample};
use crate::model::{Encoded, Rescale, Spec, Target, Task};

/// An example on its way into an update that makes it good.
pub(super) struct Amended {
    before: Target,
    after: Target,
    /// The part of its update that is left; none where that is not known, and of classes.
    left: Option<RemainingInfluence>,
    /// The learning rate times the share that an example has in an update.
    rate: f32,
    is_learned_again: bool,
}

/// A row's outputs, and their gradients to be written.
pub(super) struct Row<'a> {
    pub outputs: &'a [f32],
    pub gradient: &'a mut [f32],
}

impl Amended {
    /// Writes the gradient of its row with respect to the outputs of the network.
    pub(super) fn gradient(&self, replay_loss: &ReplayLoss<'_>, row: Row<'_>) {
        self.gradient_of(|left| left.mass, replay_loss, row);
    }

    /// The same in what an average over so many updates gives.
    pub(super) fn averaged_gradient(
        &self,
        replay_loss: &ReplayLoss<'_>,
        horizon: f32,
        row: Row<'_>,
    ) {
        self.gradient_of(|left| left.averaged(horizon), replay_loss, row);
    }

    fn gradient_of(
        &self,
        mass: impl Fn(&RemainingInfluence) -> f32,
        replay_loss: &ReplayLoss<'_>,
        row: Row<'_>,
    ) {
        if self.is_learned_again {
            replay_loss.new_row(self.after, row.outputs, row.gradient);
            return;
        }
        row.gradient.fill(0.0);
        if let Some(left) = &self.left {
            let reach = (left.reach * self.rate).max(f32::MIN_POSITIVE);
            let (both, parts) = ([self.before, self.after], [mass(left) / reach, reach]);
            let output_loss = replay_loss.output_loss;
            output_loss.amended(both, parts, row.outputs, row.gradient);
        }
    }
}

/// True if a network keeps the influence of its examples, so that one can be amended.
pub(super) fn has_influence(spec: &Spec) -> bool {
    spec.revision >= 2 && !matches!(spec.task, Task::Classification { .. })
}

impl GradientLearner {
    /// Makes good an example that turned out to be another.
    pub(crate) fn amend(
        &mut self,
        row: Encoded,
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
        // Had the example been what it is, the outputs that it is held to would be nearer to it.
        let both = [amendment.before, target];
        let hold = |outputs: &mut [f32]| output_loss.shift(both, outputs);
        self.memory.amend(amendment.example, target, hold);
        let share = 1.0 / self.settings.examples_per_update as f32;
        let remaining_of = |all: &Influence| all.remaining_of(amendment.example, amendment.before);
        let amended = Amended {
            before: amendment.before,
            after: target,
            left: self.influence.as_ref().and_then(remaining_of),
            rate: share * self.settings.learning_rate,
            is_learned_again: self.influence.is_none(),
        };
        let stored = StoredExample {
            row,
            target,
            example,
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
    pub(super) fn new_share(&self, n_new: usize, amended: Option<&Amended>) -> f32 {
        let n_rows = match amended {
            Some(_) => self.settings.examples_per_update,
            None => n_new,
        };
        1.0 / n_rows as f32
    }

    /// Counts how far an update of these rows pulled each output.
    pub(super) fn note_influence(
        &mut self,
        (new, amended): (&[StoredExample], Option<&Amended>),
        drawn: &[Drawn],
    ) {
        let Some(influence) = &mut self.influence else {
            return;
        };
        let n_new = new.len();
        let shares = [n_new, drawn.len()].map(|n_rows| 1.0 / n_rows.max(1) as f32);
        let examples = new.iter().chain(drawn.iter().map(|drawn| &*drawn.stored));
        let rows = examples.zip(self.network.reaches()).enumerate();
        // What is taken back is no pull towards a target.
        let rows = rows.skip(if amended.is_some() { n_new } else { 0 });
        let pulled = rows.map(|(index, (stored, reach))| UpdateRow {
            example: stored.example,
            target: stored.target,
            reach: *reach,
            rate: self.settings.learning_rate * shares[usize::from(index >= n_new)],
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
