//! The periods of a series, from the autocorrelation of its changes.
//!
//! Changes are held at a few mean absolute ones, so that a level shift is no period. A period is a
//! lag at which they correlate more than at its neighbours, and more than chance would have it among
//! so many lags (Bartlett 1946: the deviation of a correlation of `n` pairs is about `1 / sqrt(n)`).
//!
//! Invariant: a function of values and the periods so far; a period stays while it is nearly as good
//! as the best.

use crate::model::encoders::past::PERIODS;
use crate::model::linear_algebra::matrix::dot;

/// The shortest period.
const SHORTEST: usize = 3;
/// Changes are held at so many mean absolute ones.
const HELD: f64 = 5.0;
/// Fewer pairs than these prove nothing.
const PAIRS_MIN: f64 = 6.0;
/// Correlations below this are of no use.
const CORRELATION_MIN: f64 = 0.25;
/// The correlation of few values that counts as `DEVIATIONS_HIGH` deviations.
const HIGH: f64 = 0.75;
const DEVIATIONS_HIGH: f64 = 2.0;
/// Correlations so near are alike: the shorter period is taken, and the one so far stays.
const ALIKE: f64 = 0.05;
const STAYS: f64 = 0.1;
/// Multiples of a lag that distinguish it from its neighbours.
const MULTIPLES: usize = 4;
/// So near to a multiple of a period, in parts of it, no other period is distinguished.
const NEAR: usize = 8;
/// A period so far stays with no less.
const STAYS_MIN: f64 = 0.2;

/// Correlations by lag, pooled over several series.
struct Correlations {
    /// `[lags]`, from lag 0.
    mean: Vec<f64>,
    n_pairs: Vec<f64>,
}

impl Correlations {
    fn of<'a>(all: impl Iterator<Item = &'a [f64]>, longest: usize) -> Correlations {
        let (mut mean, mut n_pairs) = (vec![0.0; longest + 2], vec![0.0; longest + 2]);
        for values in all {
            let n = values.len();
            let reach = longest.min(2 * n.saturating_sub(1) / 3);
            let Some(changes) = changes(values).filter(|_| reach >= SHORTEST) else {
                continue;
            };
            // The sums of squares of so many first changes.
            let mut squares = vec![0.0];
            squares.extend(changes.iter().scan(0.0, |sum, change| {
                *sum += change * change;
                Some(*sum)
            }));
            let total = squares[changes.len()];
            for lag in 1..=reach + 1 {
                let Some(n) = changes.len().checked_sub(lag).filter(|n| *n >= 4) else {
                    break;
                };
                let size = (total - squares[lag]).max(0.0) * squares[n];
                if size > 0.0 {
                    mean[lag] += n as f64 * dot(&changes[lag..], &changes[..n]) / size.sqrt();
                }
                n_pairs[lag] += n as f64;
            }
        }
        for (mean, n) in mean.iter_mut().zip(&n_pairs) {
            *mean /= f64::max(*n, 1.0);
        }
        Correlations { mean, n_pairs }
    }

    /// The longest lag whose neighbours are known, too.
    fn longest(&self) -> usize {
        let known = self.n_pairs.iter().rposition(|n| *n > 0.0);
        known.unwrap_or(0).saturating_sub(1)
    }

    /// The one of a lag and its neighbours whose first multiples correlate most: where values change
    /// smoothly, neighbours differ by less than noise, and their multiples by more.
    fn refined(&self, lag: usize, reach: usize) -> usize {
        let n = (reach / (lag + 1)).clamp(1, MULTIPLES);
        let of_multiples = |lag: usize| -> f64 { (1..=n).map(|k| self.mean[k * lag]).sum() };
        let near = (lag - 1).max(SHORTEST)..=(lag + 1).min(reach);
        near.fold(lag, |best, lag| {
            if of_multiples(lag) > of_multiples(best) {
                lag
            } else {
                best
            }
        })
    }

    fn is_period(&self, lag: usize, chance: f64) -> bool {
        let (r, n) = (self.mean[lag], self.n_pairs[lag]);
        let deviations = r * n.sqrt();
        let is_peak = r >= self.mean[lag - 1] && r >= self.mean[lag + 1];
        let is_sure = deviations >= chance || r >= HIGH && deviations >= DEVIATIONS_HIGH;
        n >= PAIRS_MIN && r >= CORRELATION_MIN && is_peak && is_sure
    }
}

/// The changes from value to value, without their mean, and held; none where nothing changes.
fn changes(values: &[f64]) -> Option<Vec<f64>> {
    let mut changes: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let n = changes.len().max(1) as f64;
    let mean = changes.iter().sum::<f64>() / n;
    changes.iter_mut().for_each(|change| *change -= mean);
    let size = changes.iter().map(|change| change.abs()).sum::<f64>() / n;
    let reach = HELD * size;
    // In mean absolute changes, so that squares of any unit are finite and not lost.
    let held = |change: &mut f64| *change = change.clamp(-reach, reach) / size;
    changes.iter_mut().for_each(held);
    (size > 0.0).then_some(changes)
}

/// The periods of series that have the same ones, none longer than `longest`; a place that has its
/// period so far keeps it, and 0 stands where there is none.
pub(super) fn find<'a>(
    all: impl Iterator<Item = &'a [f64]>,
    longest: usize,
    so_far: [u32; PERIODS],
) -> [u32; PERIODS] {
    let found = Correlations::of(all, longest);
    let reach = found.longest();
    let chance = (2.0 * (reach.max(SHORTEST) as f64).ln()).sqrt() + 0.5;
    let lags = SHORTEST..reach.max(SHORTEST);
    let candidates: Vec<usize> = lags.filter(|lag| found.is_period(*lag, chance)).collect();
    let correlation = |lag: usize| found.mean[lag];
    let kept = |least: f64| {
        let known = so_far.into_iter().map(|period| period as usize);
        let known = known.filter(|lag| (1..=reach).contains(lag));
        known.filter(move |lag| correlation(*lag) >= least)
    };
    let best = |lags: &[usize]| {
        let best = lags.iter().map(|lag| correlation(*lag)).reduce(f64::max)?;
        let shortest = lags.iter().find(|lag| correlation(**lag) >= best - ALIKE);
        Some((*shortest?, best))
    };
    let Some((shortest, most)) = best(&candidates) else {
        return so_far;
    };
    let first = kept((most - STAYS).max(STAYS_MIN)).next();
    let first = found.refined(first.unwrap_or(shortest), reach);
    // Multiples of it, and lags near to them, repeat the same evidence.
    let near = (first / NEAR).max(1);
    let is_other = |lag: &usize| lag % first > near && lag % first < first - near;
    let others: Vec<usize> = candidates.into_iter().filter(is_other).collect();
    let second = best(&others).map(|(shortest, most)| {
        let mut kept = kept((most - STAYS).max(STAYS_MIN));
        found.refined(kept.find(is_other).unwrap_or(shortest), reach)
    });
    placed(so_far, [Some(first), second])
}

/// Periods in their places so far, new ones in those that are free.
fn placed(so_far: [u32; PERIODS], found: [Option<usize>; PERIODS]) -> [u32; PERIODS] {
    let found = found.map(|period| period.unwrap_or(0) as u32);
    let mut placed = so_far.map(|period| if found.contains(&period) { period } else { 0 });
    for period in found.into_iter().filter(|period| *period > 0) {
        if !placed.contains(&period)
            && let Some(free) = placed.iter_mut().find(|place| **place == 0)
        {
            *free = period;
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform noise in [-1, 1], the same in every run.
    fn noise(n: usize) -> Vec<f64> {
        let mut state = 1u64;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        (0..n).map(next).collect()
    }

    fn find_in(values: &[f64], so_far: [u32; PERIODS]) -> [u32; PERIODS] {
        find([values].into_iter(), values.len() / 2, so_far)
    }

    fn wave(t: usize, period: usize) -> f64 {
        (t as f64 * std::f64::consts::TAU / period as f64).sin()
    }

    #[test]
    fn a_day_and_a_week_are_found_under_noise() {
        let noise = noise(1000);
        let value = |t: usize| 3.0 * wave(t, 24) + 0.2 * noise[t];
        let values: Vec<f64> = (0..1000).map(value).collect();
        assert_eq!(find_in(&values, [0; 2]), [24, 0]);
        // Of few values it may be a neighbour, which gives way with more.
        let early = find_in(&values[..60], [0; 2]);
        assert!((23..=25).contains(&early[0]), "{early:?}");
        assert_eq!(find_in(&values, [23, 0]), [24, 0]);
        let weekend = |t: usize| if t / 24 % 7 > 4 { 0.3 } else { 1.0 };
        let values: Vec<f64> = (0..1000).map(|t| weekend(t) * value(t)).collect();
        let found = find_in(&values, [0; 2]);
        assert!(found.contains(&168) && found.contains(&24), "{found:?}");
        // A period keeps its place.
        let again = find_in(&values, [0, 168]);
        assert_eq!(again, [24, 168]);
    }

    #[test]
    fn noise_shifts_and_constants_have_no_period() {
        let noise = noise(1000);
        assert_eq!(find_in(&noise, [0; 2]), [0; 2]);
        let shifted: Vec<f64> = (0..1000)
            .map(|t| noise[t] + (t / 100) as f64 * 50.0)
            .collect();
        let found = find_in(&shifted, [0; 2]);
        assert!(
            found.iter().all(|period| *period == 0 || period % 100 == 0),
            "{found:?}"
        );
        assert_eq!(find_in(&[5.0; 200], [0; 2]), [0; 2]);
        assert_eq!(find_in(&[], [7, 0]), [7, 0]);
        assert_eq!(find_in(&[1e100, -1e100, 1e100, 5.0], [0; 2]), [0; 2]);
    }

    #[test]
    fn short_series_that_go_together_show_what_none_shows_alone() {
        let noise = noise(300);
        let series = |store: usize| -> Vec<f64> {
            (0..15)
                .map(|t| wave(t + store, 7) + 0.3 * noise[15 * store + t])
                .collect()
        };
        let all: Vec<Vec<f64>> = (0..20).map(series).collect();
        let found = find(all.iter().map(Vec::as_slice), 200, [0; 2]);
        assert_eq!(found, [7, 0]);
    }
}
