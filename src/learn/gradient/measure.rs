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
}
