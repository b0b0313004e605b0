//! An example on its way into an update that makes it good, and the gradient of its row.
//!
//! Invariant: the gradient takes back no more of the example than is left of it.

use super::super::example::Amendment;
use super::influence::{Influence, RemainingInfluence};
use super::replay_loss::ReplayLoss;
use crate::model::Target;

/// An example on its way into an update that makes it good.
pub(super) struct AmendmentStep {
    before: Target,
    after: Target,
    /// The part of its update that is left; none where that is not known, and of classes.
    left: Option<RemainingInfluence>,
    /// The learning rate times the share that the example had in an update.
    rate: f32,
    /// Its weight.
    pub(super) weight: f32,
    is_learned_again: bool,
}

/// A row's outputs, and their gradients to be written.
pub(super) struct RowGradient<'a> {
    pub outputs: &'a [f32],
    pub gradient: &'a mut [f32],
}

impl AmendmentStep {
    /// An example of a network that keeps this influence, or none: `rate` is the learning rate times
    /// the share that the example had in an update.
    pub(super) fn new(
        amendment: &Amendment,
        influence: Option<&Influence>,
        rate: f32,
    ) -> AmendmentStep {
        let remaining_of = |all: &Influence| all.remaining_of(amendment.example, amendment.before);
        AmendmentStep {
            before: amendment.before,
            after: amendment.after,
            left: influence.and_then(remaining_of),
            rate,
            weight: amendment.weight,
            is_learned_again: influence.is_none(),
        }
    }

    /// Writes the gradient of its row with respect to the outputs of the network.
    pub(super) fn gradient(&self, replay_loss: &ReplayLoss<'_>, row: RowGradient<'_>) {
        self.gradient_of(|left| left.mass, replay_loss, row);
    }

    /// Writes the gradient with respect to the outputs of an average over so many updates.
    pub(super) fn averaged_gradient(
        &self,
        replay_loss: &ReplayLoss<'_>,
        horizon: f32,
        row: RowGradient<'_>,
    ) {
        self.gradient_of(|left| left.averaged(horizon), replay_loss, row);
    }

    fn gradient_of(
        &self,
        mass: impl Fn(&RemainingInfluence) -> f32,
        replay_loss: &ReplayLoss<'_>,
        row: RowGradient<'_>,
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
