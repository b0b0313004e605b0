//! The shares of the classes among the examples of late, by which rare classes are weighed.
//!
//! Invariant: bounded, and every share is positive.

use crate::model::Target;
use crate::model::weights::{Error, Tensors};

/// Examples over which the shares are plain ones; older ones fade.
const HORIZON: f64 = 10_000.0;
/// Counts are divided by the weight of the newest example before it grows beyond this.
const UNIT_MAX: f64 = 1e100;

/// Fading counts. An example weighs more than the one before it instead of the others less, so that
/// taking one in does not depend on the number of classes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClassShares {
    /// `[n_outputs]`, and their sum.
    counts: Vec<f64>,
    total: f64,
    /// The weight of the next example.
    unit: f64,
}

impl ClassShares {
    /// The shares before any class has come.
    pub(crate) fn new(n_outputs: usize) -> ClassShares {
        ClassShares {
            counts: vec![0.0; n_outputs],
            total: 0.0,
            unit: 1.0,
        }
    }

    /// Takes an example of this weight in.
    pub(crate) fn observe(&mut self, target: Target, weight: f32) {
        let Target::Class(class) = target else {
            return;
        };
        let counted = self.unit * f64::from(weight);
        self.counts[class as usize] += counted;
        self.total += counted;
        self.unit *= 1.0 + 1.0 / HORIZON;
        if self.unit > UNIT_MAX {
            let unit = self.unit;
            self.counts.iter_mut().for_each(|count| *count /= unit);
            self.total /= unit;
            self.unit = 1.0;
        }
    }

    /// An example of this weight, after which so many others have come, is of another class than it was
    /// learned as.
    pub(crate) fn amend(&mut self, [before, after]: [Target; 2], weight: f32, n_since: u64) {
        if let (Target::Class(before), Target::Class(after)) = (before, after) {
            let faded = self.unit * (1.0 + 1.0 / HORIZON).powf(-1.0 - n_since as f64);
            let counted = f64::from(weight) * faded;
            let moved = counted.min(self.counts[before as usize]);
            self.counts[before as usize] -= moved;
            self.counts[after as usize] += moved;
        }
    }

    /// The cost of missing each of the first classes: the inverse of its share. A class that never
    /// came counts as if it had come once.
    pub(crate) fn costs(&self, n_classes: usize) -> Vec<f32> {
        let all = self.total + self.unit;
        let cost = |count: &f64| (all / (count + self.unit)) as f32;
        self.counts.iter().take(n_classes).map(cost).collect()
    }

    /// F64 `class_shares` `[n_outputs + 2]`: the counts, their sum, and the weight of the next example.
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        let mut numbers = self.counts.clone();
        numbers.extend([self.total, self.unit]);
        tensors.put_f64("class_shares", &[numbers.len()], numbers);
    }

    /// Reads the state that [`ClassShares::save`] wrote.
    pub(crate) fn load(n_outputs: usize, tensors: &mut Tensors) -> Result<ClassShares, Error> {
        let mut counts = tensors.take_f64("class_shares", &[Some(n_outputs + 2)])?;
        let (unit, total) = (counts.pop().unwrap_or(1.0), counts.pop().unwrap_or(0.0));
        let is_count = |count: &f64| (0.0..1e110).contains(count);
        if !counts.iter().chain([&total]).all(is_count) || !(1.0..1.01 * UNIT_MAX).contains(&unit) {
            return Err(Error::value("class_shares", format!("a weight of {unit}")));
        }
        Ok(ClassShares {
            counts,
            total,
            unit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_class_costs_as_much_as_it_is_rare_and_recent_shares_count() {
        let mut shares = ClassShares::new(3);
        for index in 0..20_000u32 {
            shares.observe(Target::Class(u32::from(index % 100 == 0)), 1.0);
        }
        let costs = shares.costs(3);
        assert!((costs[1] / costs[0] - 99.0).abs() < 5.0, "{costs:?}");
        assert!(costs[2] > 1000.0 && costs[2].is_finite());
        (0..4_000_000).for_each(|_| shares.observe(Target::Class(1), 1.0));
        let costs = shares.costs(2);
        assert!(
            (costs[1] - 1.0).abs() < 1e-3 && costs[0] > 1000.0,
            "{costs:?}"
        );
        let mut saved = Tensors::default();
        shares.save(&mut saved);
        assert_eq!(ClassShares::load(3, &mut saved.clone()), Ok(shares));
        assert!(ClassShares::load(2, &mut saved).is_err());
        saved.put_f64("class_shares", &[5], vec![f64::NAN; 5]);
        assert!(ClassShares::load(3, &mut saved).is_err());
    }

    #[test]
    fn an_amended_example_counts_as_what_it_is() {
        let class = |index: u32| Target::Class(index % 2);
        let (mut amended, mut right) = (ClassShares::new(2), ClassShares::new(2));
        for index in 0..50 {
            amended.observe(class(index), 1.0);
            right.observe(if index == 30 { class(1) } else { class(index) }, 1.0);
        }
        amended.amend([class(0), class(1)], 1.0, 19);
        let pairs = amended.costs(2).into_iter().zip(right.costs(2));
        assert!(
            pairs
                .into_iter()
                .all(|(one, other)| (one - other).abs() < 1e-5)
        );
    }
}
