//! Bets against a stream that does not change: densities of the rank that comes next.
//!
//! Invariant: each bet is a density on [0, 1] that is chosen before the rank is known, so its stake
//! is multiplied by one on average, whatever came before.

use super::bins::{BINS, rank};
use crate::event::Change;

/// Bets on the rank of a number: five each that values are higher or lower, three each that they lie
/// wider or narrower.
pub(super) const N_TILTS: usize = 16;
const HIGHER: usize = 5;
const LOWER: usize = 10;
const WIDER: usize = 13;

/// The odds of a kind are bet to be this multiple of the earlier ones.
const ODDS: [f64; 4] = [1.3, 2.0, 4.0, 16.0];

/// The stakes of all bets on one stream: each a Shiryaev-Roberts sum, which grows by one a value on
/// average.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stakes(pub(super) Vec<f64>);

impl Stakes {
    /// The stakes of a stream of numbers, none of which is staked yet.
    pub(super) fn on_ranks() -> Stakes {
        Stakes(vec![0.0; N_TILTS])
    }

    /// The stakes of a stream of kinds.
    pub(super) fn on_kinds(n_bins: usize) -> Stakes {
        Stakes(vec![0.0; n_bins * ODDS.len()])
    }

    /// The number of stakes of a stream of so many bins.
    pub(super) fn len_on_kinds(n_bins: usize) -> usize {
        n_bins * ODDS.len()
    }

    /// A number of rank `p` has come.
    pub(super) fn settle_rank(&mut self, p: f64) {
        let tilts = tilts(p);
        for (stake, tilt) in self.0.iter_mut().zip(tilts) {
            *stake = (1.0 + *stake) * tilt;
        }
    }

    /// A kind has come whose bin is `place`; `counts` are those before it, and count it.
    pub(super) fn settle_kind(&mut self, counts: &mut [u64], place: usize, draw: f64) {
        let n_bins = counts.len();
        let n_values: u64 = counts.iter().sum();
        let whole = n_values as f64 + 0.5 * n_bins as f64;
        let mut shares = [0.0; BINS];
        for (share, count) in shares.iter_mut().zip(&*counts) {
            *share = (*count as f64 + 0.5) / whole;
        }
        let p = rank(counts, place, draw);
        let mut above = 0.0;
        let is_above = |share: &f64| {
            above += share;
            p < above
        };
        let hit = shares[..n_bins].iter().position(is_above);
        let hit = hit.unwrap_or(n_bins - 1);
        let stakes = self.0.chunks_exact_mut(ODDS.len()).zip(shares);
        for (bin, (stakes, share)) in stakes.enumerate() {
            for (stake, odds) in stakes.iter_mut().zip(ODDS) {
                let gain = if bin == hit { odds } else { 1.0 };
                *stake = (1.0 + *stake) * gain / (1.0 + share * (odds - 1.0));
            }
        }
    }

    /// The mean of all stakes, and the change that the largest was on.
    pub(super) fn evidence(&self, is_on_ranks: bool) -> (f64, Change) {
        let change = match self.largest() {
            _ if !is_on_ranks => Change::Mix,
            0..HIGHER => Change::Higher,
            HIGHER..LOWER => Change::Lower,
            LOWER..WIDER => Change::Wider,
            _ => Change::Narrower,
        };
        (mean(&self.0), change)
    }

    /// The mean of the stakes on higher values, and of those on lower ones. Of kinds, which are
    /// values in rising order, the least is lower and every other is higher.
    pub(super) fn sides(&self, is_on_ranks: bool) -> [f64; 2] {
        if is_on_ranks {
            [mean(&self.0[..HIGHER]), mean(&self.0[HIGHER..LOWER])]
        } else {
            let (least, others) = self.0.split_at(ODDS.len());
            [mean(others), mean(least)]
        }
    }

    fn largest(&self) -> usize {
        let mut largest = 0;
        for (place, stake) in self.0.iter().enumerate() {
            if *stake > self.0[largest] {
                largest = place;
            }
        }
        largest
    }
}

fn mean(stakes: &[f64]) -> f64 {
    stakes.iter().sum::<f64>() / stakes.len() as f64
}

/// The densities at rank `p`.
fn tilts(p: f64) -> [f64; N_TILTS] {
    let q = 1.0 - p;
    let side = p - q;
    let outer = side.abs();
    let inner = 1.0 - outer;
    let width = outer - inner;
    let square = |p: f64| 0.2 + 2.4 * p * p;
    let seventh = |p: f64| 0.1 + 7.2 * (p * p * p) * (p * p * p) * p;
    [
        1.0 + 0.15 * side,
        1.0 + 0.35 * side,
        1.0 + 0.7 * side,
        square(p),
        seventh(p),
        1.0 - 0.15 * side,
        1.0 - 0.35 * side,
        1.0 - 0.7 * side,
        square(q),
        seventh(q),
        1.0 + 0.2 * width,
        1.0 + 0.5 * width,
        square(outer),
        1.0 - 0.2 * width,
        1.0 - 0.5 * width,
        square(inner),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bet_is_a_density() {
        const N: usize = 100_000;
        let mut sums = [0.0; N_TILTS];
        for n in 0..N {
            let tilts = tilts((n as f64 + 0.5) / N as f64);
            assert!(tilts.iter().all(|tilt| *tilt > 0.0));
            sums.iter_mut()
                .zip(tilts)
                .for_each(|(sum, tilt)| *sum += tilt);
        }
        assert!(
            sums.iter().all(|sum| (sum / N as f64 - 1.0).abs() < 1e-6),
            "{sums:?}"
        );
        // The gain of one bin is the loss of all together.
        for share in [0.001, 0.2, 0.9] {
            for odds in ODDS {
                let mean = (share * odds + (1.0 - share)) / (1.0 + share * (odds - 1.0));
                assert!((mean - 1.0).abs() < 1e-12);
            }
        }
    }
}
