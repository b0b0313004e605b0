//! An estimate of the accuracy of the newest answers, while their labels are late.
//!
//! Each answer is taken to be right as often as labelled answers of like confidence were: in each of 15
//! bins of confidence, the share of labelled answers that were right, drawn towards the mean confidence
//! of the bin, corrected by the bias over all bins, as by [`PRIOR`] labels.
//!
//! **Assumption**: whether an answer gets its label, and when, depends on its confidence alone, and the
//! calibration is still that of the newest labels. A change that makes confident answers wrong is not
//! seen before its labels come.
//!
//! Invariant: the sums of given and of judged answers fade alike.

use super::classes::share;
use super::probabilities::{BINS, bin};
use super::spans::Fading;
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// The labels that the confidence of a bin counts for.
const PRIOR: f64 = 10.0;

/// Fading sums by bin of confidence: how many, their confidence, and how many were right.
#[derive(Clone, Debug, Default, PartialEq)]
struct ConfidenceBins {
    fading: Fading,
    sums: [[f64; 3]; BINS],
}

impl ConfidenceBins {
    fn add(&mut self, confidence: f64, right: f64) {
        if let Some(by) = self.fading.step() {
            self.sums
                .as_flattened_mut()
                .iter_mut()
                .for_each(|sum| *sum *= by);
        }
        let weight = self.fading.weight();
        let sums = &mut self.sums[bin(confidence)];
        let more = [1.0, confidence, right];
        sums.iter_mut()
            .zip(more)
            .for_each(|(sum, one)| *sum += weight * one);
    }

    fn totals(&self) -> [f64; 3] {
        let total = |place: usize| self.sums.iter().map(|sums| sums[place]).sum();
        [total(0), total(1), total(2)]
    }

    /// The bins, as numbers of answers of the weight that the newest has.
    fn counts(&self) -> impl Iterator<Item = [f64; 3]> {
        self.sums
            .iter()
            .map(|sums| sums.map(|sum| sum / self.fading.weight()))
    }
}

/// The answers that were given and those that were judged, by confidence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AccuracyEstimate {
    asked: ConfidenceBins,
    judged: ConfidenceBins,
}

impl AccuracyEstimate {
    /// Takes the confidence of an answer that was given.
    pub(super) fn note_asked(&mut self, confidence: f64) {
        self.asked.add(confidence, 0.0);
    }

    /// Takes the confidence of an answer that was judged.
    pub(super) fn note_judged(&mut self, confidence: f64, is_right: bool) {
        self.judged.add(confidence, f64::from(u8::from(is_right)));
    }

    /// An answer of this confidence was judged otherwise than it is now.
    pub(super) fn amend(&mut self, confidence: f64, is_right: [bool; 2]) {
        let [before, now] = is_right.map(|right| f64::from(u8::from(right)));
        let weight = self.judged.fading.weight();
        self.judged.sums[bin(confidence)][2] += weight * (now - before);
    }

    /// The mean confidence of the newest answers.
    pub(super) fn confidence(&self) -> Option<f64> {
        let [n, confidence, _] = self.asked.totals();
        share(confidence, n)
    }

    /// The estimate; none before the first label.
    pub(super) fn accuracy(&self) -> Option<f64> {
        let [n_judged, confidence, right] = self.judged.totals();
        let [n_asked, ..] = self.asked.totals();
        if n_judged <= 0.0 || n_asked <= 0.0 {
            return None;
        }
        let bias = (right - confidence) / n_judged;
        let rows = self.asked.counts().zip(self.judged.counts());
        let expected = rows.filter(|([n, ..], _)| *n > 0.0).map(|(asked, judged)| {
            let [n, confidence, _] = asked;
            let [n_judged, _, right] = judged;
            let guess = (confidence / n + bias).clamp(0.0, 1.0);
            n * (right.clamp(0.0, n_judged) + PRIOR * guess) / (n_judged + PRIOR)
        });
        let expected: f64 = expected.sum();
        share(expected, n_asked / self.asked.fading.weight())
    }

    pub(super) fn save(&self, out: &mut Writer) {
        for bins in [&self.asked, &self.judged] {
            bins.fading.save(out);
            out.numbers(bins.sums.as_flattened());
        }
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<AccuracyEstimate, Error> {
        let mut bins = || -> Result<ConfidenceBins, Error> {
            let mut bins = ConfidenceBins {
                fading: Fading::load(saved)?,
                ..ConfidenceBins::default()
            };
            let numbers = saved.many_numbers(3 * BINS)?;
            let sums = bins.sums.as_flattened_mut();
            sums.copy_from_slice(&numbers);
            Ok(bins)
        };
        Ok(AccuracyEstimate {
            asked: bins()?,
            judged: bins()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confident_answers_are_right_as_often_as_labelled_ones_were() {
        let mut estimate = AccuracyEstimate::default();
        assert_eq!(estimate.accuracy(), None);
        // Of confidence 0.9 four in five are right, of 0.5 two in five; labels come half and half.
        for row in 0..4000 {
            let step = row / 2 % 5;
            match row % 2 {
                0 => estimate.note_judged(0.9, step < 4),
                _ => estimate.note_judged(0.5, step < 2),
            }
        }
        // Of the answers that are asked, nine in ten are confident.
        (0..4000).for_each(|row| estimate.note_asked(if row % 10 == 0 { 0.5 } else { 0.9 }));
        let found = estimate.accuracy().expect("there are labels");
        assert!((found - (0.9 * 0.8 + 0.1 * 0.4)).abs() < 0.005, "{found}");
        let confidence = estimate.confidence().expect("rows were asked");
        assert!((confidence - 0.86).abs() < 0.001, "{confidence}");
    }

    #[test]
    fn a_confidence_without_labels_is_corrected_by_the_bias_of_all() {
        let mut estimate = AccuracyEstimate::default();
        // All labels are of one confidence, and a tenth fewer are right than that.
        (0..2000).for_each(|row| estimate.note_judged(0.8, row % 10 < 7));
        (0..2000).for_each(|_| estimate.note_asked(0.5));
        let found = estimate.accuracy().expect("there are labels");
        assert!((found - 0.4).abs() < 0.005, "{found}");
    }
}
