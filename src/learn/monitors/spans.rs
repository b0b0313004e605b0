//! The spans that scores are of: all answers, a window of the newest, and a fading mean.
//!
//! Invariant: an answer is added to each span once. The window is of blocks, so that it holds between
//! seven eighths of its length and all of it. The fading mean is a plain one of the first thousand
//! answers; from then on each next one has a thousandth of the weight.

use std::collections::VecDeque;

use super::scores::DetailedScores;
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// Answers over which the fading mean of a slice is an average.
pub(super) const SLICE_HORIZON: u64 = 100;
/// The weight at which all are scaled down, so that sums stay finite.
const WEIGHT_MAX: f64 = 1e9;
/// Blocks of a window.
const BLOCKS: u64 = 8;

/// The weight of the newest answer in a mean over so many: rather than that older ones fade, newer ones
/// weigh more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fading<const HORIZON: u64 = 1000> {
    n_answers: u64,
    weight: f64,
}

impl<const HORIZON: u64> Default for Fading<HORIZON> {
    fn default() -> Self {
        Fading {
            n_answers: 0,
            weight: 1.0,
        }
    }
}

impl<const HORIZON: u64> Fading<HORIZON> {
    /// Moves on to the next answer. Where it gives a number, all sums are to be multiplied by it.
    pub(super) fn step(&mut self) -> Option<f64> {
        self.n_answers += 1;
        if self.n_answers > HORIZON {
            self.weight *= HORIZON as f64 / (HORIZON - 1) as f64;
        }
        (self.weight > WEIGHT_MAX).then(|| 1.0 / std::mem::replace(&mut self.weight, 1.0))
    }

    /// The weight of the newest answer.
    pub(super) fn weight(self) -> f64 {
        self.weight
    }

    pub(super) fn save(self, out: &mut Writer) {
        out.counts([self.n_answers]);
        out.numbers(&[self.weight]);
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<Self, Error> {
        let [n_answers] = saved.counts()?;
        Ok(Fading {
            n_answers,
            weight: saved.many_numbers(1)?[0],
        })
    }
}

/// The scores of the three spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spans {
    pub all: DetailedScores,
    pub recent: DetailedScores,
    fading: Fading,
    /// The newest last.
    blocks: VecDeque<DetailedScores>,
    n_in_newest: u64,
}

impl Spans {
    /// Adds the next answer to each span, of which the window has this length.
    pub(super) fn add(&mut self, window: u64, add: impl Fn(&mut DetailedScores, f64)) {
        add(&mut self.all, 1.0);
        if let Some(by) = self.fading.step() {
            self.recent.scale(by);
        }
        add(&mut self.recent, self.fading.weight());
        if self.blocks.is_empty() || self.n_in_newest >= window.div_ceil(BLOCKS) {
            self.blocks.push_back(DetailedScores::default());
            self.n_in_newest = 0;
        }
        while self.blocks.len() as u64 > BLOCKS {
            self.blocks.pop_front();
        }
        self.n_in_newest += 1;
        self.amend_newest(|block| add(block, 1.0));
    }

    /// Changes the terms that were added before, as if it had been the newest answer.
    pub(super) fn amend(&mut self, amend: impl Fn(&mut DetailedScores, f64)) {
        amend(&mut self.all, 1.0);
        amend(&mut self.recent, self.fading.weight());
        self.amend_newest(|block| amend(block, 1.0));
    }

    fn amend_newest(&mut self, amend: impl FnOnce(&mut DetailedScores)) {
        if let Some(newest) = self.blocks.back_mut() {
            amend(newest);
        }
    }

    /// The scores of the window.
    pub(super) fn window(&self) -> DetailedScores {
        let mut sum = DetailedScores::default();
        self.blocks.iter().for_each(|block| sum.merge(block));
        sum
    }

    pub(super) fn save(&self, out: &mut Writer) {
        self.all.save(out);
        self.recent.save(out);
        self.fading.save(out);
        out.counts([self.blocks.len() as u64, self.n_in_newest]);
        self.blocks.iter().for_each(|block| block.save(out));
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<Spans, Error> {
        let (all, recent) = (DetailedScores::load(saved)?, DetailedScores::load(saved)?);
        let fading = Fading::load(saved)?;
        let [n_blocks, n_in_newest] = saved.counts()?;
        let blocks = (0..n_blocks.min(BLOCKS)).map(|_| DetailedScores::load(saved));
        Ok(Spans {
            all,
            recent,
            fading,
            blocks: blocks.collect::<Result<_, _>>()?,
            n_in_newest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracy(scores: &DetailedScores) -> f64 {
        scores.figures()[0].1
    }

    fn spans(rights: impl Iterator<Item = bool>) -> Spans {
        let mut spans = Spans::default();
        for right in rights {
            spans.add(800, |scores, weight| {
                scores.add_class(0, u32::from(!right), weight);
            });
        }
        spans
    }

    #[test]
    fn spans_end_with_the_newest_answer() {
        // 3,000 right ones, then 500 wrong ones.
        let spans = spans((0..3500).map(|row| row < 3000));
        assert_eq!(accuracy(&spans.all), 3000.0 / 3500.0);
        let window = spans.window();
        assert_eq!(window.scores.n_answers(), 800.0);
        assert_eq!(accuracy(&window), 300.0 / 800.0);
        // A thousandth of the right ones fades with each wrong one.
        assert!((accuracy(&spans.recent) - 0.999f64.powi(500)).abs() < 1e-9);
    }

    #[test]
    fn fading_sums_stay_finite_and_their_mean_the_same() {
        let spans = spans((0..200_000).map(|row| row % 4 != 0));
        assert!(spans.recent.scores.n_answers() < WEIGHT_MAX * 2e3);
        assert!((accuracy(&spans.recent) - 0.75).abs() < 1e-3);
    }

    #[test]
    fn an_amended_answer_counts_once_in_each_span() {
        let mut spans = spans((0..100).map(|_| true));
        spans.amend(|scores, weight| {
            scores.add_class(0, 0, -weight);
            scores.add_class(1, 0, weight);
        });
        assert_eq!(accuracy(&spans.all), 0.99);
        assert_eq!(accuracy(&spans.window()), 0.99);
        assert_eq!(spans.all.scores.n_answers(), 100.0);
    }

    #[test]
    fn saved_spans_go_on_as_if_never_stopped() {
        let mut whole = spans((0..1500).map(|row| row % 3 == 0));
        let mut out = Writer::default();
        whole.save(&mut out);
        let mut loaded = Spans::load(&mut SavedReader::of(out)).expect("it was saved");
        assert_eq!(loaded, whole);
        for spans in [&mut loaded, &mut whole] {
            spans.add(800, |scores, weight| scores.add_class(1, 1, weight));
        }
        assert_eq!(loaded, whole);
    }
}
