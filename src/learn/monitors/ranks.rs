//! The area under the receiver operating characteristic of two classes.
//!
//! Invariant: memory is fixed: answers are ranked by bins of their log odds, 512 over [-16, 16], and
//! those of one bin are ties.

use super::probabilities::{RANKS, ScoredProbabilities};
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// Weights of answers by the bin of their log odds: of rows of the first class, then of the second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ranks {
    /// Empty before the first answer.
    bins: Vec<f64>,
    /// True once an answer had other than two classes.
    is_spoilt: bool,
}

impl Ranks {
    /// Adds an answer of this weight; a negative one takes it back.
    pub(super) fn add(&mut self, answer: &ScoredProbabilities, weight: f64) {
        let Some((class, rank)) = answer.rank.filter(|_| !self.is_spoilt) else {
            self.is_spoilt = true;
            self.bins = Vec::new();
            return;
        };
        self.grow();
        self.bins[class * RANKS + rank] += weight;
    }

    fn grow(&mut self) {
        if self.bins.is_empty() {
            self.bins = vec![0.0; 2 * RANKS];
        }
    }

    pub(super) fn scale(&mut self, by: f64) {
        self.bins.iter_mut().for_each(|bin| *bin *= by);
    }

    pub(super) fn merge(&mut self, other: &Ranks) {
        self.is_spoilt |= other.is_spoilt;
        if self.is_spoilt {
            self.bins = Vec::new();
        } else if !other.bins.is_empty() {
            self.grow();
            let bins = self.bins.iter_mut().zip(&other.bins);
            bins.for_each(|(bin, more)| *bin += more);
        }
    }

    /// The probability that a row of the one class is ranked before one of the other; none before there
    /// are rows of both, and of other than two classes.
    pub(super) fn area(&self) -> Option<f64> {
        if self.bins.is_empty() {
            return None;
        }
        let (of_first, of_second) = self.bins.split_at(RANKS);
        let (mut n_before, mut n_second, mut area) = (0.0, 0.0, 0.0);
        for (first, second) in of_first.iter().zip(of_second) {
            let (first, second) = (first.max(0.0), second.max(0.0));
            area += second * (n_before + first / 2.0);
            n_before += first;
            n_second += second;
        }
        let n_pairs = n_before * n_second;
        (n_pairs > 0.0).then(|| area / n_pairs)
    }

    pub(super) fn save(&self, out: &mut Writer) {
        let filled = self.bins.iter().enumerate().filter(|(_, bin)| **bin != 0.0);
        let filled: Vec<(usize, f64)> = filled.map(|(place, bin)| (place, *bin)).collect();
        let is_begun = u64::from(!self.bins.is_empty());
        out.counts([u64::from(self.is_spoilt), is_begun, filled.len() as u64]);
        out.counts(filled.iter().map(|(place, _)| *place as u64));
        filled.iter().for_each(|(_, bin)| out.numbers(&[*bin]));
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<Ranks, Error> {
        let [is_spoilt, is_begun, n] = saved.counts()?;
        let n = usize::try_from(n).ok().filter(|n| *n <= 2 * RANKS);
        let n = n.ok_or_else(SavedReader::wrong)?;
        let (places, numbers) = (saved.many_counts(n)?, saved.many_numbers(n)?);
        let mut ranks = Ranks {
            bins: vec![0.0; if is_begun == 1 { 2 * RANKS } else { 0 }],
            is_spoilt: is_spoilt == 1,
        };
        for (place, number) in places.into_iter().zip(numbers) {
            let bin = ranks.bins.get_mut(place as usize);
            *bin.ok_or_else(SavedReader::wrong)? = number;
        }
        Ok(ranks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(answers: &[(usize, &[f32])]) -> Option<f64> {
        let mut ranks = Ranks::default();
        let answers = answers.iter();
        answers.for_each(|(truth, p)| ranks.add(&ScoredProbabilities::of(*truth, p), 1.0));
        ranks.area()
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_their_order() {
        let p: [[f32; 2]; 4] = [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]];
        let answers = [(0, &p[0][..]), (0, &p[1]), (1, &p[2]), (1, &p[3])];
        assert_eq!(area(&answers), Some(0.75));
        assert_eq!(area(&answers[..2]), None);
        assert_eq!(area(&[(0, &[0.5, 0.25, 0.25]), (1, &p[0])]), None);
        let ties = [(0, &p[0][..]), (1, &p[0])];
        assert_eq!(area(&ties), Some(0.5));
    }

    #[test]
    fn the_area_is_near_that_of_all_pairs() {
        // Scores of two classes that overlap, the same in every run.
        let mut state = 11u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let rows: Vec<(usize, f64)> = (0..1000)
            .map(|row| (row % 2, 0.7 * next() + 0.3 * (row % 2) as f64))
            .collect();
        let mut ranks = Ranks::default();
        for (truth, p) in &rows {
            let p = [1.0 - *p as f32, *p as f32];
            ranks.add(&ScoredProbabilities::of(*truth, &p), 1.0);
        }
        let of = |class| {
            rows.iter()
                .filter(move |row| row.0 == class)
                .map(|row| row.1)
        };
        let pairs = of(0).flat_map(|first| of(1).map(move |second| (first, second)));
        let n_ordered = pairs.filter(|(first, second)| first < second).count();
        let exact = n_ordered as f64 / 250_000.0;
        let found = ranks.area().expect("there are both");
        assert!((found - exact).abs() < 1e-3, "{found} {exact}");
    }
}
