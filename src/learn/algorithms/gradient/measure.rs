//! In what the outputs of a network are measured.

use crate::model::{Range, Scale, Target};

/// A loss of each kind of target.
#[derive(Clone, Copy, Debug)]
pub enum Measure<'a> {
    /// Outputs are scores of classes, or values and rewards in this scale.
    Plain(&'a Scale),
    /// Outputs are rewards as shares of this range, on a logistic scale.
    Shares(&'a Range),
}

impl Measure<'_> {
    /// Writes the slopes of the loss in the outputs of a row, and returns the loss.
    pub fn slopes(self, target: Target, outputs: &[f32], slopes: &mut [f32]) -> f32 {
        match self {
            Measure::Plain(scale) => target.slopes(outputs, scale, slopes),
            Measure::Shares(range) => range.slopes(target, outputs, slopes),
        }
    }

    /// Moves outputs of a row by what its target has moved. Of classes, and of shares, whose scores
    /// have no end, they stay.
    pub fn shift(self, [before, after]: [Target; 2], outputs: &mut [f32]) {
        if outputs.is_empty() || matches!(self, Measure::Shares(_)) {
            return;
        }
        if let Target::Class(_) = after {
            return;
        }
        let mut slopes = [before, after].map(|target| {
            let mut slopes = vec![0.0; outputs.len()];
            self.slopes(target, outputs, &mut slopes);
            slopes
        });
        let [then, now] = &mut slopes;
        for ((output, then), now) in outputs.iter_mut().zip(then).zip(now) {
            *output += *then - *now;
        }
    }

    /// Writes the slopes that make good what an example taught, which was `before` and is `after`:
    /// the part `left` of an update on it is taught anew. A step moves an output by `-reach` times
    /// its slope, and never past what the example is by now.
    pub fn amended(
        self,
        [before, after]: [Target; 2],
        [left, reach]: [f32; 2],
        outputs: &[f32],
        slopes: &mut [f32],
    ) {
        // Slopes are what an output is more than the target: the difference of two is that of the
        // targets, and those of the example as it is say how far it is to them.
        let mut then = vec![0.0; outputs.len()];
        self.slopes(before, outputs, &mut then);
        self.slopes(after, outputs, slopes);
        let farthest = match self {
            Measure::Plain(_) => 1.0 / reach.max(f32::MIN_POSITIVE),
            Measure::Shares(_) => 1.0,
        };
        for (slope, then) in slopes.iter_mut().zip(then) {
            let whole = left * (*slope - then);
            let [low, high] = [(farthest * *slope).min(0.0), (farthest * *slope).max(0.0)];
            *slope = whole.clamp(low, high);
        }
    }
}
