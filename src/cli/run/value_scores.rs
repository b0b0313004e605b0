//! The scores of values beside their errors: an interval with its coverage, and the value of a season ago
//! as a baseline.
//!
//! The interval reaches from one quantile of the newest errors that are known to another, around the
//! answer. Its level follows the coverage so far (Gibbs and Candes 2021, adaptive conformal
//! inference), so that it holds where errors change.
//!
//! Invariant: memory is fixed; an interval is judged by the state that answered the row.

use std::collections::VecDeque;

/// The share of the values that the interval is to hold.
const COVERAGE: f64 = 0.9;
/// The newest errors, of which the quantiles are.
const ERRORS: usize = 500;
/// Errors before the first interval.
const ERRORS_MIN: usize = 10;
/// The rate at which the level follows the coverage: 0.005 and 0.02 gave 0.918 and 0.903 on airline
/// passengers, and 0.90 on longer streams.
const RATE: f64 = 0.02;
/// The part outside of an interval is aimed at this at most.
const OUTSIDE_MAX: f64 = 0.5;
/// The longest season, in rows.
const SEASON_MAX: usize = 400;
/// Seasons are alike whose errors are no more than this much larger than the least.
const ALIKE: f64 = 1.05;
/// Values that are kept for seasons; labels later than they reach have no seasonal baseline.
const VALUES: usize = 4096;

/// The sums over the answers so far.
#[derive(Debug)]
pub(crate) struct ValueScores {
    /// Rows.
    n: u64,
    /// Errors in the order in which they became known, and in the order of their size.
    errors: VecDeque<f64>,
    sorted: Vec<f64>,
    /// The part outside that is aimed at.
    outside: f64,
    n_intervals: u64,
    n_covered: u64,
    width: f64,
    /// Known values, the newest last.
    known: VecDeque<f64>,
    n_known: u64,
    /// Judged baselines and the sum of their errors, by season.
    seasons: Vec<(u64, f64)>,
}

impl Default for ValueScores {
    fn default() -> ValueScores {
        ValueScores {
            n: 0,
            errors: VecDeque::new(),
            sorted: Vec::new(),
            outside: 1.0 - COVERAGE,
            n_intervals: 0,
            n_covered: 0,
            width: 0.0,
            known: VecDeque::new(),
            n_known: 0,
            seasons: vec![(0, 0.0); SEASON_MAX + 1],
        }
    }
}

impl ValueScores {
    /// Scores the answer to the next row; none where it was given before any label.
    pub(crate) fn judge(&mut self, truth: f64, answer: Option<f64>) {
        if let Some(answer) = answer {
            self.judge_interval(truth - answer);
        }
        self.judge_seasons(truth);
        self.n += 1;
    }

    fn judge_interval(&mut self, error: f64) {
        let n = self.sorted.len();
        if n < ERRORS_MIN {
            return;
        }
        let place = |share: f64| ((share * (n + 1) as f64).ceil() as usize).clamp(1, n) - 1;
        let most = self.sorted[place(1.0 - self.outside / 2.0)];
        let least = self.sorted[n - 1 - place(1.0 - self.outside / 2.0)];
        let is_covered = (least..=most).contains(&error);
        self.n_intervals += 1;
        self.n_covered += u64::from(is_covered);
        self.width += most - least;
        let missed = f64::from(u8::from(!is_covered));
        let moved = self.outside + RATE * (1.0 - COVERAGE - missed);
        self.outside = moved.clamp(0.0, OUTSIDE_MAX);
    }

    fn judge_seasons(&mut self, truth: f64) {
        // So many rows behind the next one that is to be known.
        let late = self.n.saturating_sub(self.n_known) as usize;
        for (season, (n, sum)) in self.seasons.iter_mut().enumerate().skip(2) {
            let back = (late + 1).div_ceil(season) * season - late;
            let place = self.known.len().checked_sub(back);
            if let Some(value) = place.and_then(|place| self.known.get(place)) {
                *n += 1;
                *sum += (truth - value).abs();
            }
        }
    }

    /// Notes that a value has become known, with the answer that its row had, if it was judged.
    pub(crate) fn note_known(&mut self, truth: f64, answer: Option<f64>) {
        if let Some(answer) = answer {
            self.note_error(truth - answer);
        }
        if self.known.len() == VALUES {
            self.known.pop_front();
        }
        self.known.push_back(truth);
        self.n_known += 1;
    }

    fn note_error(&mut self, error: f64) {
        if self.errors.len() == ERRORS
            && let Some(oldest) = self.errors.pop_front()
        {
            let place = self.sorted.partition_point(|one| *one < oldest);
            self.sorted.remove(place);
        }
        self.errors.push_back(error);
        let place = self.sorted.partition_point(|one| *one < error);
        self.sorted.insert(place, error);
    }

    /// The share of the values that the interval held, and its mean width.
    pub(crate) fn interval(&self) -> Option<[f64; 2]> {
        let n = self.n_intervals as f64;
        (n > 0.0).then(|| [self.n_covered as f64 / n, self.width / n])
    }

    /// The shortest of the seasons whose values of a season ago were about the nearest, in hindsight,
    /// and their mean absolute error; of those that most rows had a baseline by.
    pub(crate) fn season(&self) -> Option<(usize, f64)> {
        let most = self.n.div_ceil(2);
        let seasons = self.seasons.iter().enumerate();
        let judged = seasons.filter(|(_, (n, _))| *n > 0 && *n >= most);
        let mean = judged.map(|(season, (n, sum))| (season, sum / *n as f64));
        let mean: Vec<(usize, f64)> = mean.collect();
        let least = mean.iter().map(|one| one.1).reduce(f64::min)?;
        mean.into_iter().find(|one| one.1 <= ALIKE * least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform noise in [0, 1], the same in every run.
    fn noise(n: usize) -> impl Iterator<Item = f64> {
        let mut state = 7u64;
        (0..n).map(move |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        })
    }

    #[test]
    fn the_interval_holds_what_it_is_to_hold_where_errors_change() {
        let mut scores = ValueScores::default();
        for (row, x) in noise(4000).enumerate() {
            let error = x * if row < 2000 { 1.0 } else { 10.0 };
            scores.judge(error, Some(0.0));
            scores.note_known(error, Some(0.0));
        }
        let [coverage, width] = scores.interval().expect("there were rows");
        assert!((0.89..0.91).contains(&coverage), "{coverage}");
        assert!((4.0..6.5).contains(&width), "{width}");
    }

    #[test]
    fn no_rows_have_no_scores() {
        let none = ValueScores::default();
        assert_eq!((none.interval(), none.season()), (None, None));
    }

    #[test]
    fn a_season_is_counted_back_from_the_row_and_not_from_what_is_known() {
        for delay in [0, 3, 9] {
            let mut scores = ValueScores::default();
            let value = |row: usize| (row % 7) as f64;
            for row in 0..100 {
                scores.judge(value(row), Some(0.0));
                if let Some(known) = row.checked_sub(delay) {
                    scores.note_known(value(known), Some(0.0));
                }
            }
            assert_eq!(scores.season(), Some((7, 0.0)), "{delay}");
        }
    }
}
