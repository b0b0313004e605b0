//! The loss that the outputs of a network are measured by.

use crate::model::{Range, Scale, Target};

/// A loss of each kind of target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutputLoss<'a> {
    /// Outputs are scores of classes, or values and rewards in this scale.
    Plain(&'a Scale),
    /// Outputs are rewards as shares of this range, on a logistic scale.
    Shares(&'a Range),
}

impl OutputLoss<'_> {
    /// Writes the gradient of the loss with respect to the outputs of a row, and returns the loss.
    pub(crate) fn gradient(self, target: Target, outputs: &[f32], gradient: &mut [f32]) -> f32 {
        match self {
            OutputLoss::Plain(scale) => target.gradient(outputs, scale, gradient),
            OutputLoss::Shares(range) => range.gradient(target, outputs, gradient),
        }
    }

    /// Moves outputs of a row by the move of its target. Of classes, and of shares, whose scores
    /// have no end, they stay.
    pub(crate) fn shift(self, [before, after]: [Target; 2], outputs: &mut [f32]) {
        if outputs.is_empty() || matches!(self, OutputLoss::Shares(_)) {
            return;
        }
        if let Target::Class(_) = after {
            return;
        }
        let mut gradient = [before, after].map(|target| {
            let mut gradient = vec![0.0; outputs.len()];
            self.gradient(target, outputs, &mut gradient);
            gradient
        });
        let [then, now] = &mut gradient;
        for ((output, then), now) in outputs.iter_mut().zip(then).zip(now) {
            *output += *then - *now;
        }
    }

    /// Writes the gradient that corrects the effect of an example, which was `before` and is `after`:
    /// the part `left` of an update on it is taught anew. A step moves an output by `-reach` times
    /// its gradient, and never past the example of now.
    pub(crate) fn amended(
        self,
        [before, after]: [Target; 2],
        [left, reach]: [f32; 2],
        outputs: &[f32],
        gradient: &mut [f32],
    ) {
        // The gradient is the output less the target: the difference of two is that of the
        // targets, and those of the example as it is are the distance to them.
        let mut then = vec![0.0; outputs.len()];
        self.gradient(before, outputs, &mut then);
        self.gradient(after, outputs, gradient);
        let farthest = match self {
            OutputLoss::Plain(_) => 1.0 / reach.max(f32::MIN_POSITIVE),
            OutputLoss::Shares(_) => 1.0,
        };
        for (derivative, then) in gradient.iter_mut().zip(then) {
            let whole = left * (*derivative - then);
            let [low, high] = [
                (farthest * *derivative).min(0.0),
                (farthest * *derivative).max(0.0),
            ];
            *derivative = whole.clamp(low, high);
        }
    }
}
