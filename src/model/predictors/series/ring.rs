//! The newest values of one series.
//!
//! Invariant: bounded; values stand in the order in which they were learned, the newest last.

use std::collections::VecDeque;

use crate::model::encoders::features::bounded;
use crate::model::encoders::past::{PERIODS, Past, RECENT};

/// Labels whose delays decide how far ahead of the newest value a row is.
const DELAYS: usize = 9;
/// Changes of which the mean is taken.
const CHANGES: usize = 100;

/// Values with the numbers of their examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ring {
    /// The values from the oldest to the newest, as many as numbers.
    pub values: VecDeque<f64>,
    /// The numbers of their examples, rising.
    pub numbers: VecDeque<u64>,
    /// Values that were learned, those included that have left.
    pub n_learned: u64,
    /// Values that were learned between the newest rows' asking and their own learning, at most
    /// [`DELAYS`], the newest last.
    pub delays: VecDeque<u32>,
}

impl Ring {
    /// Adds the value of an example; the oldest leaves when there are `capacity`.
    pub(crate) fn push(&mut self, number: u64, value: f64, capacity: usize) {
        let value = bounded(value);
        if self.values.len() >= capacity {
            self.values.pop_front();
            self.numbers.pop_front();
        }
        self.values.push_back(value);
        self.numbers.push_back(number);
        self.n_learned += 1;
    }

    /// Notes how many values were learned before a row that was asked when `n_known` were.
    pub(crate) fn note_delay(&mut self, n_known: u64) {
        let delay = self.n_learned.saturating_sub(n_known);
        if self.delays.len() == DELAYS {
            self.delays.pop_front();
        }
        self.delays
            .push_back(u32::try_from(delay).unwrap_or(u32::MAX));
    }

    /// Replaces the value of an example, if it is kept.
    pub(crate) fn replace(&mut self, number: u64, value: f64) {
        if let Ok(place) = self.numbers.binary_search(&number) {
            self.values[place] = bounded(value);
        }
    }

    /// The number of its newest example; 0 before the first.
    pub(crate) fn newest_number(&self) -> u64 {
        self.numbers.back().copied().unwrap_or(0)
    }

    /// True if this could have been learned with so much room.
    pub(crate) fn is_sound(&self, capacity: usize) -> bool {
        let rising = self.numbers.iter().zip(self.numbers.iter().skip(1));
        (1..=capacity).contains(&self.values.len())
            && self.values.len() == self.numbers.len()
            && self.values.len() as u64 <= self.n_learned
            && self.delays.len() <= DELAYS
            && self.values.iter().all(|value| bounded(*value) == *value)
            && rising.into_iter().all(|(one, next)| one < next)
    }

    /// The usual lead of a row over the newest value, in values: one where labels come at once.
    fn ahead(&self) -> usize {
        let mut delays: Vec<u32> = self.delays.iter().copied().collect();
        delays.sort_unstable();
        delays
            .get(delays.len() / 2)
            .map_or(1, |delay| *delay as usize + 1)
    }

    /// The value so many places ago; the newest is one ago.
    fn ago(&self, n: usize) -> Option<f64> {
        let place = self.values.len().checked_sub(n)?;
        self.values.get(place).copied()
    }

    /// The past of a row that is asked now.
    pub(crate) fn past(&self, key: u64, periods: [u32; PERIODS]) -> Past {
        let Some(newest) = self.ago(1) else {
            return Past {
                n_known: Some(self.n_learned),
                ..Past::lost(key)
            };
        };
        let ahead = self.ahead();
        let mut past = Past {
            key,
            n_known: Some(self.n_learned),
            recent: [self.values[0]; RECENT],
            seasonal: [[newest; 2]; PERIODS],
            periods: [0; PERIODS],
            level: self.values.iter().sum::<f64>() / self.values.len() as f64,
            change: self.change(ahead),
        };
        for (index, recent) in past.recent.iter_mut().enumerate() {
            *recent = self.ago(index + 1).unwrap_or(*recent);
        }
        for (place, period) in periods
            .into_iter()
            .enumerate()
            .filter(|(_, period)| *period > 0)
        {
            // Whole periods that lead from the row back to a value that is known.
            let back = ahead.div_ceil(period as usize) * period as usize;
            let pair = [self.ago(back + 1 - ahead), self.ago(back + 1)];
            if let [Some(then), Some(before)] = pair {
                past.seasonal[place] = [then, before];
                past.periods[place] = period;
            }
        }
        past
    }

    /// The mean absolute change from a value to the one `ahead` later, of the newest.
    fn change(&self, ahead: usize) -> f64 {
        let n = self.values.len();
        let ahead = ahead.min(n - 1);
        if ahead == 0 {
            return 0.0;
        }
        let later = ahead.max(n.saturating_sub(CHANGES))..n;
        let n_changes = later.len() as f64;
        let changes = later.map(|place| (self.values[place] - self.values[place - ahead]).abs());
        changes.sum::<f64>() / n_changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(values: &[f64], capacity: usize) -> Ring {
        let mut ring = Ring::default();
        for (index, value) in values.iter().enumerate() {
            ring.note_delay(ring.n_learned);
            ring.push(index as u64 + 1, *value, capacity);
        }
        ring
    }

    #[test]
    fn the_past_is_that_of_the_newest_values() {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let past = ring(&values, 12).past(7, [4, 12]);
        assert_eq!((past.key, past.n_known), (7, Some(20)));
        assert_eq!(past.recent, [19.0, 18.0, 17.0, 16.0, 15.0]);
        assert_eq!((past.level, past.change), (13.5, 1.0));
        // The next value is the 20th: four before it stands 16, and four before the newest 15.
        assert_eq!((past.periods, past.seasonal[0]), ([4, 0], [16.0, 15.0]));
        let first = ring(&values[..2], 12).past(0, [0; 2]);
        assert_eq!(first.recent, [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(Ring::default().past(0, [4, 0]).newest(), None);
    }

    #[test]
    fn a_late_label_moves_what_stands_a_period_before() {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let mut ring = ring(&values, 20);
        for _ in 0..DELAYS {
            ring.note_delay(15);
        }
        // A row is 5 values behind the next, so it is the 25th: two periods of four back is 17.
        let past = ring.past(0, [4, 0]);
        assert_eq!((past.seasonal[0], past.change), ([17.0, 11.0], 6.0));
    }

    #[test]
    fn a_value_is_replaced_while_it_is_kept() {
        let mut ring = ring(&[1.0, 2.0, 3.0], 2);
        ring.replace(3, 9.0);
        ring.replace(1, 9.0);
        assert_eq!(ring.values, [2.0, 9.0]);
        assert!(ring.is_sound(2) && !ring.is_sound(1));
        ring.push(4, f64::MAX, 2);
        assert!(ring.is_sound(2) && ring.past(0, [0; 2]).change.is_finite());
    }
}
