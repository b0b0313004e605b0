//! The learning curve: means of scores over a moving window, for a chart.
//!
//! Invariant: its size is bounded, however many scores there are.

/// The number of bins at which pairs of them are merged.
const BINS_MAX: usize = 2000;
/// A window is this share of all scores.
const WINDOWS: usize = 20;
/// Scores are clamped to this size, so that sums stay finite.
const SCORE_MAX: f64 = 1e100;

/// Scores in bins of one size, each a sum; the last may not be full.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    bin_size: u64,
    n_in_last: u64,
    sums: Vec<f64>,
}

impl Default for Curve {
    fn default() -> Curve {
        Curve {
            bin_size: 1,
            n_in_last: 1,
            sums: Vec::new(),
        }
    }
}

impl Curve {
    /// Adds the next score.
    pub(crate) fn add(&mut self, score: f64) {
        let score = score.clamp(-SCORE_MAX, SCORE_MAX);
        match self.sums.last_mut() {
            Some(last) if self.n_in_last < self.bin_size => {
                *last += score;
                self.n_in_last += 1;
            }
            _ => {
                if self.sums.len() == BINS_MAX {
                    self.sums = self.sums.chunks(2).map(|pair| pair.iter().sum()).collect();
                    self.bin_size *= 2;
                }
                self.sums.push(score);
                self.n_in_last = 1;
            }
        }
    }

    /// The number of scores in the mean of a point.
    pub(crate) fn window(&self) -> u64 {
        self.n_bins() as u64 * self.bin_size
    }

    /// Number of scores and the mean of the last of them, from the first full window on.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let (n_bins, n_before_last) = (self.n_bins(), self.sums.len().saturating_sub(1));
        let windows = self.sums.windows(n_bins).enumerate();
        let point = |(start, sums): (usize, &[f64])| {
            let n_after = if start + n_bins > n_before_last {
                self.bin_size - self.n_in_last
            } else {
                0
            };
            let n_seen = (start + n_bins) as u64 * self.bin_size - n_after;
            let n_summed = self.window() - n_after;
            (n_seen as f64, sums.iter().sum::<f64>() / n_summed as f64)
        };
        windows.map(point).collect()
    }

    fn n_bins(&self) -> usize {
        self.sums.len().div_ceil(WINDOWS).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: impl IntoIterator<Item = f64>) -> Curve {
        let mut curve = Curve::default();
        scores.into_iter().for_each(|score| curve.add(score));
        curve
    }

    #[test]
    fn points_are_means_over_a_window() {
        assert_eq!(Curve::default().points(), []);
        assert_eq!(
            of([1.0, 0.0, 4.0]).points(),
            [(1.0, 1.0), (2.0, 0.0), (3.0, 4.0)]
        );
        let curve = of((0..40).map(f64::from));
        assert_eq!(curve.window(), 2);
        let points = curve.points();
        assert_eq!((points[0], points[38]), ((2.0, 0.5), (40.0, 38.5)));
        assert_eq!(points.len(), 39);
    }

    #[test]
    fn any_number_of_scores_gives_a_bounded_curve_of_the_same_means() {
        for n in [1999, 2000, 2001, 4000, 4001, 50_000, 123_457] {
            let curve = of((0..n).map(f64::from));
            let points = curve.points();
            assert!((900..=BINS_MAX).contains(&points.len()), "{n}");
            let window = curve.window() as f64;
            assert!((0.05..0.06).contains(&(window / f64::from(n))), "{n}");
            for &(end, mean) in &points[..points.len() - 1] {
                assert_eq!(mean, end - (window + 1.0) / 2.0, "{n}");
            }
            let last = points[points.len() - 1];
            assert_eq!(last.0, f64::from(n));
            assert!(last.1 > last.0 - window && last.1 < last.0, "{n}");
        }
    }

    #[test]
    fn scores_beyond_all_bounds_stay_finite() {
        let points = of([f64::INFINITY; 5000]).points();
        assert!(points.iter().all(|(_, mean)| mean.is_finite()));
    }
}
