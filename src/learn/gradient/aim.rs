//! What an update aims at: the loss of each row, and its slopes, by strategy.
//!
//! Formulas: ER, the loss of the task for new and remembered rows alike; ER-ACE (Caccia et al.
//! 2022, eq. 4), new rows compete only among the classes of their own batch; DER++ (Buzzega et
//! al. 2020, eq. 6) and CLS-ER (Arani et al. 2022, eq. 5), remembered rows are also held to
//! outputs of another time. Departures: the weights of the two means, of the new and of the
//! remembered, are one each; DER++ draws one sample of memory rather than two.

use crate::model::{Scale, Strategy, Target};

/// DER++: weight of the squared distance to the outputs of when the row was remembered.
const DARK: f32 = 0.3;
/// CLS-ER: weight of the squared distance to the outputs of the averaged network.
const CONSISTENCY: f32 = 0.5;

/// What the rows of one update aim at.
pub struct Aim<'a> {
    pub strategy: Strategy,
    /// The scale of values and rewards.
    pub scale: &'a Scale,
    /// Outputs from this one on have no class yet: they take no part.
    pub n_live: usize,
    /// Classes among the new rows.
    pub present: Vec<bool>,
}

impl Aim<'_> {
    /// Takes note of the target of a new row.
    pub fn announce(&mut self, target: Target) {
        if let (Strategy::ErAce, Target::Class(class)) = (self.strategy, target) {
            let class = class as usize;
            if self.present.len() <= class {
                self.present.resize(class + 1, false);
            }
            self.present[class] = true;
        }
    }

    /// The loss of a new row; writes its slopes in `outputs`.
    pub fn new_row(&self, target: Target, outputs: &[f32], slopes: &mut [f32]) -> f32 {
        if self.strategy != Strategy::ErAce {
            return self.row(target, outputs, slopes);
        }
        let present = |class: usize| self.present.get(class).is_some_and(|present| *present);
        self.masked(target, outputs, slopes, present)
    }

    /// The loss of a remembered row, which is also held to `anchor`, where there is one.
    pub fn old_row(
        &self,
        target: Target,
        outputs: &[f32],
        anchor: &[f32],
        slopes: &mut [f32],
    ) -> f32 {
        let loss = self.row(target, outputs, slopes);
        let weight = match self.strategy {
            Strategy::DerPlusPlus => DARK,
            Strategy::ClsEr => CONSISTENCY,
            Strategy::None | Strategy::Er | Strategy::ErAce => return loss,
        };
        let factor = 2.0 * weight / self.n_live.min(outputs.len()) as f32;
        for ((slope, now), then) in slopes.iter_mut().zip(outputs).zip(anchor).take(self.n_live) {
            *slope += factor * (now - then);
        }
        loss
    }

    fn row(&self, target: Target, outputs: &[f32], slopes: &mut [f32]) -> f32 {
        match self.n_live < outputs.len() {
            true => self.masked(target, outputs, slopes, |output| output < self.n_live),
            false => target.slopes(outputs, self.scale, slopes),
        }
    }

    /// The loss of a row in whose softmax only some classes take part.
    fn masked(
        &self,
        target: Target,
        outputs: &[f32],
        slopes: &mut [f32],
        takes_part: impl Fn(usize) -> bool,
    ) -> f32 {
        if !matches!(target, Target::Class(_)) {
            return target.slopes(outputs, self.scale, slopes);
        }
        let mask = |(output, value): (usize, &f32)| match takes_part(output) {
            true => *value,
            false => f32::NEG_INFINITY,
        };
        let masked: Vec<f32> = outputs.iter().enumerate().map(mask).collect();
        target.slopes(&masked, self.scale, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUTS: [f32; 3] = [0.5, -1.0, 2.0];

    fn aim(strategy: Strategy, n_live: usize, scale: &Scale) -> Aim<'_> {
        Aim {
            strategy,
            scale,
            n_live,
            present: Vec::new(),
        }
    }

    #[test]
    fn new_rows_compete_among_their_own_classes() {
        let scale = Scale::default();
        let mut aim = aim(Strategy::ErAce, 3, &scale);
        aim.announce(Target::Class(0));
        aim.announce(Target::Class(1));
        let mut slopes = [9.0; 3];
        aim.new_row(Target::Class(0), &OUTPUTS, &mut slopes);
        let p = 1.0 / (1.0 + (-1.5f32).exp());
        assert!((slopes[0] - (p - 1.0)).abs() < 1e-6 && (slopes[1] - (1.0 - p)).abs() < 1e-6);
        assert_eq!(slopes[2], 0.0);
        aim.old_row(Target::Class(0), &OUTPUTS, &[], &mut slopes);
        assert!(slopes[2] > 0.5, "a remembered row competes with all");
    }

    #[test]
    fn outputs_without_a_class_take_no_part() {
        for strategy in [Strategy::Er, Strategy::DerPlusPlus, Strategy::ClsEr] {
            let mut slopes = [9.0; 3];
            let scale = Scale::default();
            let aim = aim(strategy, 2, &scale);
            aim.new_row(Target::Class(0), &OUTPUTS, &mut slopes);
            assert_eq!(slopes[2], 0.0);
            aim.old_row(Target::Class(0), &OUTPUTS, &[0.0; 3], &mut slopes);
            assert_eq!(slopes[2], 0.0);
        }
    }

    #[test]
    fn remembered_rows_are_held_to_their_anchor() {
        let mut plain = [0.0; 3];
        let scale = Scale::default();
        aim(Strategy::Er, 3, &scale).old_row(Target::Class(0), &OUTPUTS, &[], &mut plain);
        for (strategy, weight) in [
            (Strategy::DerPlusPlus, DARK),
            (Strategy::ClsEr, CONSISTENCY),
        ] {
            let mut held = [0.0; 3];
            let anchor = [1.0, -1.0, 0.0];
            aim(strategy, 3, &scale).old_row(Target::Class(0), &OUTPUTS, &anchor, &mut held);
            for output in 0..3 {
                let pull = 2.0 * weight / 3.0 * (OUTPUTS[output] - anchor[output]);
                assert!((held[output] - plain[output] - pull).abs() < 1e-6);
            }
        }
    }
}
