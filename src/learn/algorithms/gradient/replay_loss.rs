//! The loss of an update: that of each row, and its gradient, by strategy.
//!
//! Formulas: ER, the loss of the task for new and remembered rows alike; ER-ACE (Caccia et al.
//! 2022, eq. 4), new rows compete only among the classes of late; DER++ (Buzzega et al. 2020,
//! eq. 6) and CLS-ER (Arani et al. 2022, eq. 5), remembered rows are also held to outputs of
//! another time. Departures: the weights of the two means, of the new and of the remembered, are
//! one each; DER++ draws one sample of memory rather than two; distances are sums over outputs
//! rather than means, so that they weigh as much beside the loss for any number of
//! outputs; under both, new rows compete with classes that are not of late only as far as those
//! are remembered. That took DER++ on Split-MNIST with 200, 500 and 5120 slots from 77.8, 88.5
//! and 96.0 % to 90.1, 92.8 and 96.0 %, with a weight of 0.03 and standardised inputs.

use super::super::output_loss::OutputLoss;
use crate::model::{Strategy, Target};

/// DER++: weight of the squared distance to the outputs of when the row was remembered.
const DARK: f32 = 0.06;
/// CLS-ER: weight of the squared distance to the outputs of the averaged network.
const CONSISTENCY: f32 = 0.2;

/// The loss of the rows of one update.
pub(super) struct ReplayLoss<'a> {
    pub strategy: Strategy,
    pub output_loss: OutputLoss<'a>,
    /// Outputs from this one on have no class yet: they take no part.
    pub n_live: usize,
    /// Added to the outputs of new rows; none where they compete like all others.
    pub logit_offsets: &'a [f32],
}

impl ReplayLoss<'_> {
    /// The loss of a new row; writes its gradient in `outputs`.
    pub(super) fn new_row(&self, target: Target, outputs: &[f32], gradient: &mut [f32]) -> f32 {
        if self.logit_offsets.is_empty() {
            return self.row(target, outputs, gradient);
        }
        let logit_offset = |output: usize| self.logit_offsets.get(output).copied();
        self.with_offsets(target, outputs, gradient, logit_offset)
    }

    /// The loss of a remembered row, which is also held to `anchor`, where there is one.
    pub(super) fn old_row(
        &self,
        target: Target,
        outputs: &[f32],
        anchor: &[f32],
        gradient: &mut [f32],
    ) -> f32 {
        if let Target::Value(value) | Target::Reward { reward: value, .. } = target
            && let OutputLoss::Plain(scale) = self.output_loss
            && !scale.knows(value)
        {
            gradient.fill(0.0);
            return 0.0;
        }
        let loss = self.row(target, outputs, gradient);
        let weight = match self.strategy {
            Strategy::DerPlusPlus => DARK,
            Strategy::ClsEr => CONSISTENCY,
            Strategy::None | Strategy::Er | Strategy::ErAce => return loss,
        };
        let factor = 2.0 * weight;
        for ((derivative, now), then) in gradient
            .iter_mut()
            .zip(outputs)
            .zip(anchor)
            .take(self.n_live)
        {
            *derivative += factor * (now - then);
        }
        loss
    }

    fn row(&self, target: Target, outputs: &[f32], gradient: &mut [f32]) -> f32 {
        if self.n_live < outputs.len() {
            let logit_offset = |output| (output < self.n_live).then_some(0.0);
            self.with_offsets(target, outputs, gradient, logit_offset)
        } else {
            self.output_loss.gradient(target, outputs, gradient)
        }
    }

    /// The loss of a row whose classes compete with logit offsets; one without takes no part.
    fn with_offsets(
        &self,
        target: Target,
        outputs: &[f32],
        gradient: &mut [f32],
        logit_offset: impl Fn(usize) -> Option<f32>,
    ) -> f32 {
        if !matches!(target, Target::Class(_)) {
            return self.output_loss.gradient(target, outputs, gradient);
        }
        let outputs = outputs.iter().enumerate();
        let less = |(output, value): (usize, &f32)| match logit_offset(output) {
            Some(logit_offset) => value + logit_offset,
            None => f32::NEG_INFINITY,
        };
        let with_offsets: Vec<f32> = outputs.map(less).collect();
        self.output_loss.gradient(target, &with_offsets, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scale;

    const OUTPUTS: [f32; 3] = [0.5, -1.0, 2.0];

    fn replay_loss(strategy: Strategy, n_live: usize, scale: &Scale) -> ReplayLoss<'_> {
        ReplayLoss {
            strategy,
            output_loss: OutputLoss::Plain(scale),
            n_live,
            logit_offsets: &[],
        }
    }

    #[test]
    fn new_rows_compete_with_logit_offsets() {
        let scale = Scale::default();
        let replay_loss = ReplayLoss {
            logit_offsets: &[0.0, 0.0, f32::NEG_INFINITY],
            ..replay_loss(Strategy::ErAce, 3, &scale)
        };
        let mut gradient = [9.0; 3];
        replay_loss.new_row(Target::Class(0), &OUTPUTS, &mut gradient);
        let p = 1.0 / (1.0 + (-1.5f32).exp());
        assert!((gradient[0] - (p - 1.0)).abs() < 1e-6 && (gradient[1] - (1.0 - p)).abs() < 1e-6);
        assert_eq!(gradient[2], 0.0);
        replay_loss.old_row(Target::Class(0), &OUTPUTS, &[], &mut gradient);
        assert!(gradient[2] > 0.5, "a remembered row competes with all");
        let eased = ReplayLoss {
            logit_offsets: &[0.0, 0.0, 0.1f32.ln()],
            ..replay_loss
        };
        eased.new_row(Target::Class(0), &OUTPUTS, &mut gradient);
        assert!(gradient[2] > 0.2 && gradient[2] < 0.4, "{gradient:?}");
    }

    #[test]
    fn outputs_without_a_class_take_no_part() {
        for strategy in [Strategy::Er, Strategy::DerPlusPlus, Strategy::ClsEr] {
            let mut gradient = [9.0; 3];
            let scale = Scale::default();
            let replay_loss = replay_loss(strategy, 2, &scale);
            replay_loss.new_row(Target::Class(0), &OUTPUTS, &mut gradient);
            assert_eq!(gradient[2], 0.0);
            replay_loss.old_row(Target::Class(0), &OUTPUTS, &[0.0; 3], &mut gradient);
            assert_eq!(gradient[2], 0.0);
        }
    }

    #[test]
    fn remembered_rows_are_held_to_their_anchor() {
        let mut plain = [0.0; 3];
        let scale = Scale::default();
        replay_loss(Strategy::Er, 3, &scale).old_row(Target::Class(0), &OUTPUTS, &[], &mut plain);
        for (strategy, weight) in [
            (Strategy::DerPlusPlus, DARK),
            (Strategy::ClsEr, CONSISTENCY),
        ] {
            let mut held = [0.0; 3];
            let anchor = [1.0, -1.0, 0.0];
            replay_loss(strategy, 3, &scale).old_row(
                Target::Class(0),
                &OUTPUTS,
                &anchor,
                &mut held,
            );
            for output in 0..3 {
                let pull = 2.0 * weight * (OUTPUTS[output] - anchor[output]);
                assert!((held[output] - plain[output] - pull).abs() < 1e-6);
            }
        }
    }
}
