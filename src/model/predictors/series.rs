//! The series that a regression's targets form: the newest values of each, their periods, and
//! predictions from them.
//!
//! Ridge regressions, of the past alone and of the row's inputs with it, predict the value, counted
//! from the mean of its series, and its change from the newest value. All that they see of the past
//! are differences, in mean absolute changes of the series itself: a shift of the level moves every
//! prediction at once, and series of any size share weights. Beside them stand the value of a period
//! ago, and the newest value with the change and with the ratio of a period ago.
//!
//! Invariant: bounded in series and in values of each; a clone shares every series until one side
//! learns.

mod periods;
mod ring;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ridge::{RandomFeatureSettings, RandomFeatures};
use crate::event::Batch;
use crate::model::encoders::features::{Encoded, Scale};
use crate::model::encoders::past::{PERIODS, Past, RECENT, key};
use crate::model::spec::{InputKind, Spec};
pub(crate) use ring::Ring;

/// Values that are kept of a series where all rows are one, and of each of many.
const CAPACITY: usize = 1024;
const CAPACITY_EACH: usize = 400;
/// The longest period of each of many series: a year of days.
const LONGEST_EACH: usize = 366;
/// Series whose values show the periods of all.
const SHOWN: usize = 8;
/// Maps that series are divided among, so that little is copied when one learns.
const BLOCKS: usize = 64;
/// Features of the row's inputs at most.
const INPUTS_MAX: usize = 96;
/// Features of the past are clipped here, in changes.
const CLIP: f64 = 50.0;
/// A ratio is held at this factor.
const RATIO_MAX: f64 = 100.0;
/// The regressions' features of the past: the newest value from the mean, the newest changes, and two
/// differences for each period.
pub(crate) const N_PAST: usize = RECENT + 2 * PERIODS;
/// Regressions, each with two targets: the value and its change.
pub(crate) const REGRESSIONS: usize = 2;
/// Predictions in all.
pub(crate) const MEMBERS: usize = 2 * REGRESSIONS + 3;

/// The newest values of each series, and the weights that predict from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The rings by the key; the key modulo [`BLOCKS`] names the map.
    blocks: Vec<Arc<BTreeMap<u64, Arc<Ring>>>>,
    n_series: usize,
    bounds: SeriesBounds,
    /// The place of the key column.
    key: Option<usize>,
    /// Values learned, of all series.
    n_learned: u64,
    /// The periods of all series; 0 where none is found.
    pub periods: [u32; PERIODS],
    /// The random features of the row's inputs, as the second regression sees them.
    inputs: RandomFeatures,
    /// The weights of each regression, `[2, features]`.
    pub weights: [Vec<f32>; REGRESSIONS],
}

/// The bounds of the kept series.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SeriesBounds {
    series: usize,
    values: usize,
    longest: usize,
}

impl Series {
    /// No values yet, of rows with `n_dense` dense inputs.
    pub(crate) fn new(spec: &Spec, n_dense: usize) -> Series {
        let hashed = |kind: &InputKind| matches!(kind, InputKind::Text | InputKind::Category);
        let inputs = RandomFeatures::new(RandomFeatureSettings {
            seed: spec.seed,
            n_dense,
            n_buckets: usize::from(spec.inputs.iter().any(|input| hashed(&input.kind))),
            n_units: 0,
            n_features_max: INPUTS_MAX,
        });
        let bounds = match spec.series.key {
            None => SeriesBounds {
                series: 1,
                values: CAPACITY,
                longest: CAPACITY / 2,
            },
            Some(_) => SeriesBounds {
                series: spec.series.keys_max,
                values: CAPACITY_EACH,
                longest: LONGEST_EACH,
            },
        };
        let n_features = [1 + N_PAST, inputs.n_features() + N_PAST];
        Series {
            blocks: vec![Arc::default(); BLOCKS],
            n_series: 0,
            bounds,
            key: spec.series.key,
            n_learned: 0,
            periods: [0; PERIODS],
            inputs,
            weights: n_features.map(|n| vec![0.0; 2 * n]),
        }
    }

    /// Takes over the values of another state of the same series, and keeps its own weights.
    pub(crate) fn see(&mut self, newer: &Series) {
        self.blocks.clone_from(&newer.blocks);
        self.n_series = newer.n_series;
        self.n_learned = newer.n_learned;
    }

    /// The number of features of each regression.
    pub(crate) fn n_features(&self) -> [usize; REGRESSIONS] {
        [1 + N_PAST, self.inputs.n_features() + N_PAST]
    }

    /// The features of each regression that speak of the period at a place.
    pub(crate) fn features_of_period(&self, place: usize) -> [[usize; 2]; REGRESSIONS] {
        self.n_features().map(|n| {
            let first = n - 2 * PERIODS + 2 * place;
            [first, first + 1]
        })
    }

    /// The series of row `row` of `batch`.
    pub(crate) fn key(&self, batch: &Batch, row: usize) -> u64 {
        key(batch, row, self.key)
    }

    /// The past of row `row` of `batch`, if it is asked now.
    pub(crate) fn past(&self, batch: &Batch, row: usize) -> Past {
        let key = self.key(batch, row);
        match self.block(key).get(&key) {
            Some(ring) => ring.past(key, self.periods),
            None => Ring::default().past(key, self.periods),
        }
    }

    /// Learns the value of an example that was asked with this past. True for each period that is
    /// another now.
    pub(crate) fn learn(&mut self, past: &Past, number: u64, value: f64) -> [bool; PERIODS] {
        let key = past.key;
        if !self.block(key).contains_key(&key) {
            self.make_room();
            self.n_series += 1;
        }
        let capacity = self.bounds.values;
        let ring = Arc::make_mut(self.block_mut(key).entry(key).or_default());
        if let Some(n_known) = past.n_known {
            ring.note_delay(n_known);
        }
        ring.push(number, value, capacity);
        self.n_learned += 1;
        self.find_periods()
    }

    /// An example that was asked with this past has another value than it was learned with.
    pub(crate) fn replace(&mut self, past: &Past, number: u64, value: f64) {
        let key = past.key;
        if self.block(key).contains_key(&key) {
            let ring = self.block_mut(key).entry(key).or_default();
            Arc::make_mut(ring).replace(number, value);
        }
    }

    fn block(&self, key: u64) -> &BTreeMap<u64, Arc<Ring>> {
        &self.blocks[(key % BLOCKS as u64) as usize]
    }

    fn block_mut(&mut self, key: u64) -> &mut BTreeMap<u64, Arc<Ring>> {
        Arc::make_mut(&mut self.blocks[(key % BLOCKS as u64) as usize])
    }

    /// Lets the series go that learned last longest ago, where there are as many as may be.
    fn make_room(&mut self) {
        while self.n_series >= self.bounds.series {
            let all = self.rings().map(|(key, ring)| (ring.newest_number(), key));
            let Some((_, oldest)) = all.min() else {
                return;
            };
            self.block_mut(oldest).remove(&oldest);
            self.n_series -= 1;
        }
    }

    /// Every series, in a fixed order.
    pub(crate) fn rings(&self) -> impl Iterator<Item = (u64, &Ring)> {
        let all = self.blocks.iter().flat_map(|block| block.iter());
        all.map(|(key, ring)| (*key, &**ring))
    }

    /// Looks for periods: with every value at first, then with every few. True for each that is
    /// another now.
    fn find_periods(&mut self) -> [bool; PERIODS] {
        let is_due = match self.n_learned {
            0..64 => true,
            n @ 64..512 => n % 16 == 0,
            n @ 512..2048 => n % 128 == 0,
            n => n % 512 == 0,
        };
        if !is_due {
            return [false; PERIODS];
        }
        let mut longest: Vec<(usize, u64)> = Vec::new();
        longest.extend(self.rings().map(|(key, ring)| (ring.values.len(), key)));
        longest.sort_unstable_by_key(|(n, key)| (usize::MAX - n, *key));
        longest.truncate(SHOWN);
        let values = longest
            .iter()
            .filter_map(|(_, key)| self.block(*key).get(key));
        let values: Vec<Vec<f64>> = values
            .map(|ring| ring.values.iter().copied().collect())
            .collect();
        let values = values.iter().map(Vec::as_slice);
        let before = self.periods;
        self.periods = periods::find(values, self.bounds.longest, before);
        std::array::from_fn(|place| before[place] != self.periods[place])
    }

    /// The features of each regression for a row that was asked with this past; none where none is
    /// known.
    pub(crate) fn features(&self, row: &Encoded, past: &Past) -> Option<[Vec<f32>; REGRESSIONS]> {
        let newest = past.newest()?;
        let seen = |difference: f64| {
            if past.change > 0.0 {
                (difference / past.change).clamp(-CLIP, CLIP) as f32
            } else {
                0.0
            }
        };
        let mut of_past = [0.0; N_PAST];
        of_past[0] = seen(newest - past.level);
        for (seen_change, pair) in of_past[1..].iter_mut().zip(past.recent.windows(2)) {
            *seen_change = seen(pair[0] - pair[1]);
        }
        let of_periods = of_past[RECENT..].chunks_exact_mut(2);
        for (place, of_period) in of_periods.enumerate() {
            // One that was another when the row was asked has no information about this one.
            if past.periods[place] > 0 && past.periods[place] == self.periods[place] {
                let [then, before] = past.seasonal[place];
                of_period.copy_from_slice(&[seen(then - newest), seen(then - before)]);
            }
        }
        let mut alone = vec![1.0];
        let mut with_inputs = self.inputs.phi(row);
        alone.extend(of_past);
        with_inputs.extend(of_past);
        Some([alone, with_inputs])
    }

    /// The targets of the regressions for a value: it and its change, in changes of the series; none
    /// where it does not change yet.
    pub(crate) fn targets(past: &Past, value: f64) -> Option<[f32; 2]> {
        let newest = past.newest().filter(|_| past.change > 0.0)?;
        let target = |from: f64| ((value - from) / past.change).clamp(-CLIP, CLIP) as f32;
        Some([target(past.level), target(newest)])
    }

    /// The predictions for a row, in the scale of the target, in the order of the members: of each
    /// regression by value and by change, then the value of a period ago, its change and its ratio;
    /// none where no past is known.
    pub(crate) fn outputs(&self, row: &Encoded, scale: &Scale) -> Option<[f32; MEMBERS]> {
        let past = row.past.as_deref()?;
        let features = self.features(row, past)?;
        let newest = past.newest()?;
        let mut values = [newest; MEMBERS];
        for ((pair, features), weights) in
            values.chunks_exact_mut(2).zip(&features).zip(&self.weights)
        {
            let each = weights.chunks_exact(features.len());
            let predicted = each.map(|weights| {
                let products = weights.iter().zip(features);
                products.map(|(w, x)| f64::from(w * x)).sum::<f64>() * past.change
            });
            for ((value, from), predicted) in
                pair.iter_mut().zip([past.level, newest]).zip(predicted)
            {
                *value = from + predicted;
            }
        }
        let places = past.periods.iter().zip(&self.periods).zip(&past.seasonal);
        let mut known = places.filter(|((then, now), _)| **then > 0 && then == now);
        if let Some((_, [then, before])) = known.next() {
            let changed = newest + (then - before);
            let is_positive = *then > 0.0 && *before > 0.0 && newest > 0.0;
            let ratio = (then / before).clamp(1.0 / RATIO_MAX, RATIO_MAX);
            let scaled = if is_positive { newest * ratio } else { changed };
            values[MEMBERS - 3..].copy_from_slice(&[*then, changed, scaled]);
        }
        Some(values.map(|value| scale.place(value)))
    }

    /// The numbers that a series is saved by: values learned in all, and periods.
    pub(crate) fn counts(&self) -> (u64, [u32; PERIODS]) {
        (self.n_learned, self.periods)
    }

    /// Takes over series that were saved; false where they are none of this description's.
    pub(crate) fn restore(
        &mut self,
        (n_learned, periods): (u64, [u32; PERIODS]),
        rings: Vec<(u64, Ring)>,
    ) -> bool {
        let n_kept: u64 = rings.iter().map(|(_, ring)| ring.n_learned).sum();
        let is_sound = rings.len() <= self.bounds.series
            && n_kept <= n_learned
            && periods
                .iter()
                .all(|period| *period as usize <= self.bounds.longest)
            && rings
                .iter()
                .all(|(_, ring)| ring.is_sound(self.bounds.values));
        (self.n_learned, self.periods) = (n_learned, periods);
        self.n_series = rings.len();
        self.blocks = vec![Arc::default(); BLOCKS];
        for (key, ring) in rings {
            if self.block_mut(key).insert(key, Arc::new(ring)).is_some() {
                return false;
            }
        }
        is_sound
    }
}
