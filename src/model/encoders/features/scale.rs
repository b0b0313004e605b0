//! Online standardisation: a running mean and deviation in f64, safe from the first row on.
//!
//! Welford 1962, with two departures. A value further than `WILD` deviations from the mean moves
//! the moments as if it stood there, so that one outlier does not flatten everything after it. The count
//! saturates at `HORIZON`, so that the moments follow a world that moves. Where all
//! values of a block are next to one another in a scale that wild values have stretched, nothing
//! can be computed of them any more: the moments start again from the block.

use std::ops::RangeInclusive;

use crate::model::weights::{Error, Tensors};

/// Deviations beyond which a value moves the moments no further.
const WILD: f64 = 8.0;
/// Rows after which the moments believe their own values rather than call them wild.
const TRUSTED: f64 = 30.0;
/// Rows over which the moments are a plain average; beyond, older rows fade.
const HORIZON: f64 = 100_000.0;
/// While the moments count fewer rows, each new one adds a half to the count, so that older rows fade.
const LITTLE: f64 = 500.0;
/// Rows of a block.
const BLOCK: f64 = 100.0;
/// A scale this many times wider than a block has no information about the block's values.
const BLIND: f64 = 1e5;
/// Standardised values are clipped here.
const CLIP: f64 = 5.0;
/// A distance is clipped here.
const FAR: f64 = 100.0;
/// Values without a scale are clipped here: anything computed from them stays finite.
const PLAIN_CLIP: f64 = 1e6;
/// A value this many deviations away is of another world: the scale does not apply to it.
const FOREIGN: f64 = 1e4;
/// Larger magnitudes are taken for this one: their squares must stay finite.
const HUGE: f64 = 1e100;

/// A scale is far from another one whose mean is so many deviations away, or whose deviation is
/// in no such proportion.
const FAR_MEAN: f64 = 0.25;
const NEAR_DEVIATION: RangeInclusive<f64> = 0.8..=1.25;

/// The map from one scale into another: `factor * z + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rescale {
    /// The deviation of the one in deviations of the other.
    pub factor: f64,
    /// The mean of the one in the other.
    pub shift: f64,
}

impl Rescale {
    const SAME: Rescale = Rescale {
        factor: 1.0,
        shift: 0.0,
    };

    /// The rescaling from a scale without information about the other: all stands at the mean.
    const FOREIGN: Rescale = Rescale {
        factor: 0.0,
        shift: 0.0,
    };

    /// A value of the one in the other.
    pub fn apply(self, z: f32) -> f32 {
        (self.factor * f64::from(z) + self.shift) as f32
    }
}

/// The running moments of one number, or of all components of one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale {
    all: ScaleMoments,
    /// The moments of the rows of the newest block, untamed.
    block: ScaleMoments,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ScaleMoments {
    count: f64,
    mean: f64,
    /// Mean squared deviation.
    variance: f64,
}

impl Scale {
    /// The scale of values that are taken as they are, for good: a mean of zero and a deviation of one.
    pub fn plain() -> Scale {
        Scale {
            all: ScaleMoments {
                count: f64::INFINITY,
                mean: 0.0,
                variance: 1.0,
            },
            block: ScaleMoments::default(),
        }
    }

    fn is_plain(&self) -> bool {
        self.all.count == f64::INFINITY
    }

    /// The bound of a value that would otherwise be clipped at `clip` deviations.
    fn clip(&self, clip: f64) -> f64 {
        if self.is_plain() { PLAIN_CLIP } else { clip }
    }

    /// Adds it under a name: count, mean and variance of all, and of the block where it has any.
    pub fn save(&self, name: &str, tensors: &mut Tensors) {
        let moments = [self.all, self.block].map(|m| [m.count, m.mean, m.variance]);
        let n_moments = 1 + usize::from(self.block.count > 0.0);
        let numbers = moments[..n_moments].as_flattened().to_vec();
        tensors.put_f64(name, &[numbers.len()], numbers);
    }

    /// Reads the state that [`Scale::save`] wrote.
    ///
    /// # Errors
    /// When there is nothing of this name and shape.
    pub fn load(name: &str, tensors: &mut Tensors) -> Result<Scale, Error> {
        let mut numbers = tensors.take_f64(name, &[None])?;
        match numbers.len() {
            3 => numbers.resize(6, 0.0),
            6 => {}
            other => {
                let what = format!("{other} numbers, expected 3 or 6");
                return Err(Error::value(name, what));
            }
        }
        let moments = |at: usize| ScaleMoments {
            count: numbers[at],
            mean: numbers[at + 1],
            variance: numbers[at + 2],
        };
        Ok(Scale {
            all: moments(0),
            block: moments(3),
        })
    }

    /// The mean squared deviation.
    pub fn variance(&self) -> f64 {
        self.all.variance
    }

    /// Deviations from the mean, clipped; a gap (NaN) stands at the mean.
    pub fn standardise(&self, value: f64) -> f32 {
        if value.is_nan() || self.all.variance <= 0.0 {
            return 0.0;
        }
        let z = (value - self.all.mean) / self.all.variance.sqrt();
        let clip = self.clip(CLIP);
        z.clamp(-clip, clip) as f32
    }

    /// Deviations from the mean, clipped so far out that orders are kept: a rare reward stands
    /// many deviations from the mean of rewards.
    pub fn distance(&self, value: f64) -> f32 {
        let clip = self.clip(FAR);
        if self.all.variance > 0.0 {
            ((value - self.all.mean) / self.all.variance.sqrt()).clamp(-clip, clip) as f32
        } else {
            0.0
        }
    }

    /// Deviations from the mean of a value that may lie in another world than all before, as one after
    /// a shift of the level does.
    pub fn place(&self, value: f64) -> f32 {
        if self.all.variance > 0.0 {
            let z = (value - self.all.mean) / self.all.variance.sqrt();
            z.clamp(-PLAIN_CLIP, PLAIN_CLIP) as f32
        } else {
            0.0
        }
    }

    /// True if the scale covers a value. One remembered from before the scale started again may be
    /// so far off that nothing is to be learned from it any more.
    pub fn knows(&self, value: f64) -> bool {
        let reach = FOREIGN * self.all.variance.sqrt();
        self.is_plain() || self.all.variance <= 0.0 || (value - self.all.mean).abs() <= reach
    }

    /// A difference of two values, in deviations, clipped.
    pub fn deviations(&self, difference: f64) -> f32 {
        let clip = self.clip(CLIP);
        if self.all.variance > 0.0 {
            (difference / self.all.variance.sqrt()).clamp(-clip, clip) as f32
        } else {
            0.0
        }
    }

    /// The value that stands `z` deviations from the mean, in 64 bits.
    pub fn value(&self, z: f32) -> f64 {
        let value = self.all.mean + f64::from(z) * self.all.variance.sqrt();
        value.clamp(f64::MIN, f64::MAX)
    }

    /// The value that stands `z` deviations from the mean, in 32 bits, which step by 128 at 1.7e9.
    pub fn restore(&self, z: f32) -> f32 {
        self.value(z)
            .clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }

    /// Appends every value, standardised in f32: a subtraction and a product each.
    pub(crate) fn standardise_all(&self, values: impl Iterator<Item = f32>, out: &mut Vec<f32>) {
        if self.all.variance <= 0.0 {
            out.extend(values.map(|_| 0.0));
            return;
        }
        let mean = self.all.mean as f32;
        let deviation = self.all.variance.sqrt().max(f64::from(f32::MIN_POSITIVE));
        let factor = (1.0 / deviation) as f32;
        let clip = self.clip(CLIP) as f32;
        out.extend(values.map(|value| ((value - mean) * factor).clamp(-clip, clip)));
    }

    /// Learns one value; a gap teaches nothing.
    pub fn observe(&mut self, value: f64) {
        if !value.is_nan() {
            self.learn(bounded(value), 0.0);
        }
    }

    /// One of the values that it has learned turned out to be another.
    pub fn amend(&mut self, before: f64, after: f64) {
        if self.is_plain() || self.all.count < 1.0 || before.is_nan() || after.is_nan() {
            return;
        }
        let [before, after] = [before, after].map(|value| self.tame(value.clamp(-HUGE, HUGE)));
        let ScaleMoments {
            count,
            mean,
            variance,
        } = self.all;
        let moved = (after - before) / count;
        let squares = (after - mean).powi(2) - (before - mean).powi(2);
        self.all.mean = mean + moved;
        self.all.variance = (variance + squares / count - moved * moved).max(0.0);
    }

    /// The conversion of values from this scale to another one; a scale without values yet stands
    /// at its mean.
    pub fn to(&self, other: &Scale) -> Rescale {
        let deviation = other.all.variance.sqrt();
        if deviation <= 0.0 {
            return Rescale::SAME;
        }
        let change = Rescale {
            factor: self.all.variance.sqrt() / deviation,
            shift: (self.all.mean - other.all.mean) / deviation,
        };
        if change.factor.max(change.shift.abs()) <= FOREIGN {
            change
        } else {
            Rescale::FOREIGN
        }
    }

    /// True if it is far enough from another one that weights learned in it fit badly.
    pub(crate) fn is_far_from(&self, other: &Scale) -> bool {
        let (mine, theirs) = (self.all.variance.sqrt(), other.all.variance.sqrt());
        let apart = (self.all.mean - other.all.mean).abs();
        theirs > 0.0 && (apart > FAR_MEAN * theirs || !NEAR_DEVIATION.contains(&(mine / theirs)))
    }

    /// True if the mean of the other one is more than `mean` deviations away, or one deviation is
    /// more than `proportion` times the other.
    pub(super) fn is_beyond(&self, other: &Scale, mean: f64, proportion: f64) -> bool {
        let (mine, theirs) = (self.all.variance.sqrt(), other.all.variance.sqrt());
        let apart = (self.all.mean - other.all.mean).abs();
        let near = 1.0 / proportion..=proportion;
        theirs > 0.0 && (apart > mean * theirs || !near.contains(&(mine / theirs)))
    }

    /// Factor and shift by which a value in this scale is expressed in that of `now`; nothing is
    /// known of a value in a scale without deviation.
    pub(super) fn conversion(&self, now: &Scale) -> (f32, f32) {
        const MOST: f64 = 1e6;
        let deviation = now.all.variance.sqrt();
        if deviation <= 0.0 {
            return (0.0, 0.0);
        }
        let factor = (self.all.variance.sqrt() / deviation).min(MOST);
        let shift = ((self.all.mean - now.all.mean) / deviation).clamp(-MOST, MOST);
        (factor as f32, shift as f32)
    }

    /// The deviations at which standardised values are clipped.
    pub(super) fn clip_at(&self) -> f32 {
        self.clip(CLIP) as f32
    }

    /// The scale that stays as it is: mean and deviation alone.
    pub(super) fn fixed(&self) -> Scale {
        Scale {
            all: self.all,
            block: ScaleMoments::default(),
        }
    }

    /// Count, mean and variance.
    pub(super) fn numbers(&self) -> [f64; 3] {
        [self.all.count, self.all.mean, self.all.variance]
    }

    /// The scale of a count, a mean and a variance.
    pub(super) fn of_numbers([count, mean, variance]: [f64; 3]) -> Scale {
        Scale {
            all: ScaleMoments {
                count,
                mean,
                variance,
            },
            block: ScaleMoments::default(),
        }
    }

    /// Learns the components of one vector, which count as one row, by their mean and variance.
    pub(crate) fn observe_row(&mut self, [mean, variance]: [f64; 2]) {
        self.learn(mean, variance);
    }

    /// Learns a row by its mean and its variance within, and forgets fast while it knows little: the first
    /// rows of a stream that begins with wild values fade by the square of the rows.
    pub(super) fn observe_fading(&mut self, [mean, variance]: [f64; 2]) {
        if self.all.count < LITTLE {
            self.all.count -= 0.5;
        }
        self.learn(mean, variance);
    }

    /// The scale of `n` rows of one value, and of rows, each of a mean and a variance within; all of them
    /// are believed.
    pub(super) fn of_rows((n, value): (f64, f64), rows: impl Iterator<Item = [f64; 2]>) -> Scale {
        let mut scale = Scale::default();
        if n > 0.0 {
            (scale.all.count, scale.all.mean) = (n.min(HORIZON), value);
        }
        for [mean, variance] in rows {
            scale.all.combine(mean, variance, HORIZON);
            scale.block.combine(mean, variance, BLOCK);
        }
        scale
    }

    /// The standard deviation.
    #[cfg(test)]
    pub(crate) fn deviation(&self) -> f64 {
        self.all.variance.sqrt()
    }

    /// Merges a row of this mean and variance.
    fn learn(&mut self, mean: f64, variance: f64) {
        if self.is_plain() {
            return;
        }
        let tame = self.tame(mean);
        self.all.combine(tame, variance, HORIZON);
        self.block.combine(mean, variance, BLOCK);
        if self.block.count < BLOCK {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let blind = block.variance * BLIND.powi(2) < self.all.variance;
        if blind && block.variance > 0.0 {
            self.all = block;
        }
    }

    /// Holds a wild value at the border, once the moments can be trusted.
    fn tame(&self, value: f64) -> f64 {
        let ScaleMoments {
            count,
            mean,
            variance,
        } = self.all;
        if count < TRUSTED || variance <= 0.0 {
            return value;
        }
        let reach = WILD * variance.sqrt();
        value.clamp(mean - reach, mean + reach)
    }
}

impl ScaleMoments {
    /// Merges a row of this mean and variance; beyond `horizon` rows, older ones fade.
    fn combine(&mut self, mean: f64, variance: f64, horizon: f64) {
        self.count = (self.count + 1.0).min(horizon);
        let rate = 1.0 / self.count;
        let delta = mean - self.mean;
        self.mean += rate * delta;
        self.variance += rate * (variance + (1.0 - rate) * delta * delta - self.variance);
    }
}

/// Mean and variance of the components of one vector.
pub(crate) fn row_moments(values: impl Iterator<Item = f32> + Clone, length: usize) -> [f64; 2] {
    let n = length as f64;
    let mean = lanes(values.clone().map(f64::from)) / n;
    let variance = lanes(values.map(|value| (f64::from(value) - mean).powi(2))) / n;
    [mean, variance]
}

/// The value as it is learned: its square has to stay finite.
pub(crate) fn bounded(value: f64) -> f64 {
    value.clamp(-HUGE, HUGE)
}

/// The sum over eight lanes: fast, and its order is the same on every CPU.
fn lanes(mut values: impl Iterator<Item = f64>) -> f64 {
    let mut sums = [0.0; 8];
    loop {
        for sum in &mut sums {
            match values.next() {
                Some(value) => *sum += value,
                None => return sums.iter().sum(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(values: &[f64]) -> Scale {
        let mut scale = Scale::default();
        values.iter().for_each(|value| scale.observe(*value));
        scale
    }

    #[test]
    fn the_moments_are_those_of_the_values() {
        let scale = observed(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        let ScaleMoments {
            count,
            mean,
            variance,
        } = scale.all;
        assert_eq!(count, 8.0);
        assert!((mean - 5.0).abs() < 1e-12 && (variance - 4.0).abs() < 1e-12);
        assert!((scale.standardise(9.0) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn the_first_rows_are_tame() {
        let check = |seen: &[f64], value: f64, expected: f32| {
            assert_eq!(
                observed(seen).standardise(value),
                expected,
                "{seen:?} {value}"
            );
        };
        check(&[], 1e9, 0.0);
        check(&[1e9], 1e9, 0.0);
        check(&[1e9], -3.0, 0.0);
        check(&[1.0, 3.0], 1e12, 5.0);
        check(&[7.0; 50], 8.0, 0.0);
    }

    #[test]
    fn an_outlier_does_not_flatten_what_follows() {
        let mut values: Vec<f64> = (0..1000).map(|i| f64::from(i % 10)).collect();
        let before = observed(&values).standardise(9.0);
        values.push(1e30);
        let after = observed(&values).standardise(9.0);
        assert!((before - after).abs() < 0.2, "{before} {after}");
    }

    #[test]
    fn everything_stays_finite() {
        let scale = observed(&[f64::MAX, f64::MIN, 1e-300, f64::NAN, 0.0]);
        assert!(scale.all.mean.is_finite() && scale.all.variance.is_finite());
        assert!(scale.standardise(f64::MAX).is_finite());
    }

    #[test]
    fn a_vanishing_deviation_gives_no_nan() {
        let mut scale = Scale::default();
        scale.observe_row(row_moments([1e-40f32, 0.0].into_iter(), 2));
        let mut out = Vec::new();
        scale.standardise_all([1e-40f32, 0.0, 1.0].into_iter(), &mut out);
        assert!(out.iter().all(|value| value.is_finite()), "{out:?}");
    }

    #[test]
    fn a_wild_time_is_over_after_a_block() {
        for wild in [1e30, -1e30, f64::MAX] {
            let mut scale = Scale::default();
            (0..300).for_each(|i| scale.observe(wild * f64::from(i % 7)));
            (0..200).for_each(|i| scale.observe(f64::from(i % 10)));
            let spread = scale.standardise(9.0) - scale.standardise(0.0);
            assert!(spread > 2.0, "{wild}: {spread}");
        }
    }

    #[test]
    fn values_that_never_differ_give_no_scale() {
        let mut scale = observed(&[0.0, 10.0].repeat(500));
        (0..1000).for_each(|_| scale.observe(0.0));
        assert!(scale.standardise(10.0) < 5.0);
    }

    #[test]
    fn an_amended_value_is_as_if_it_had_been_learned_so() {
        let mut values = vec![2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let mut amended = observed(&values);
        amended.amend(values[3], -1.0);
        values[3] = -1.0;
        let right = observed(&values);
        assert!((amended.all.mean - right.all.mean).abs() < 1e-12);
        assert!((amended.all.variance - right.all.variance).abs() < 1e-12);
        let mut none = Scale::default();
        none.amend(0.0, 1.0);
        assert_eq!(none, Scale::default());
    }

    #[test]
    fn what_stands_in_one_scale_stands_for_the_same_in_another() {
        let one = observed(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        let other = observed(&[-10.0, 10.0]);
        let change = one.to(&other);
        for value in [3.0, 5.5] {
            let moved = change.apply(one.standardise(value));
            assert!((moved - other.standardise(value)).abs() < 1e-6);
        }
        assert!(one.is_far_from(&other) && !one.is_far_from(&one));
        assert!(!one.is_far_from(&Scale::default()), "it has no scale yet");
        // A constant had no scale: only its mean was learned.
        let constant = observed(&[3.0; 5]);
        assert_eq!(constant.to(&other).apply(0.0), other.standardise(3.0));
        let wild = observed(&[-1e30, 1e30]);
        assert_eq!(wild.to(&other).apply(4.0), 0.0);
    }

    #[test]
    fn what_is_plain_is_taken_as_it_is_and_stays_so() {
        let mut scale = Scale::plain();
        scale.observe(1000.0);
        scale.observe_row(row_moments([7.0f32, 9.0].into_iter(), 2));
        assert_eq!(scale, Scale::plain());
        let mut saved = Tensors::default();
        scale.save("it", &mut saved);
        assert_eq!(Scale::load("it", &mut saved), Ok(scale));
        let check = |value: f64, expected: f32| {
            let mut all = Vec::new();
            scale.standardise_all([value as f32].into_iter(), &mut all);
            assert_eq!([scale.standardise(value), all[0]], [expected; 2], "{value}");
            assert_eq!(scale.distance(value), expected, "{value}");
            assert_eq!(scale.restore(expected), expected);
        };
        check(-250.5, -250.5);
        check(1e9, 1e6);
        assert_eq!(scale.standardise(f64::NAN), 0.0);
    }

    #[test]
    fn a_level_shift_is_followed() {
        let mut scale = observed(&[0.0, 1.0].repeat(500));
        for i in 0..4000 {
            scale.observe(1000.0 + f64::from(i % 2));
        }
        assert!(scale.standardise(1000.0) < 5.0);
    }
}
