//! A betting e-process on bounded differences: the evidence that their mean is above 0.
//!
//! The wealth of a bettor who stakes the part `l` of it on each difference grows by `1 + l x`
//! (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", section 4).
//! Departures: the bet is no function of the values, but a mixture of eight constant ones, whose loss
//! against the best of them is bounded; the mixture begins again every 256 values with a part of the
//! capital that is set aside for it (the mixture method for e-detectors of Shin, Ramdas and Rinaldo 2024), so
//! that a change late in a long test is found; each factor is divided by `1 + (k - 1) l^2 x^2 / 2`, where `k` is
//! the inflation of the variance by dependence, which never makes a fair bet favourable.
//!
//! Invariant: while each difference has an expectation of at most 0 given those before it, the wealth is a
//! nonnegative supermartingale that starts at 1.

use super::dependence::Dependence;
use crate::model::weights::{Error, Tensors};

/// Parts of the wealth that are staked.
const BETS: [f64; 8] = [0.9, 0.5, 0.28, 0.155, 0.086, 0.048, 0.026, 0.0145];
/// The parts of the capital that are staked so. Moderate bets have most: extreme ones pay off late, or where
/// a handful of labels decides.
const PARTS: [f64; 8] = [0.04, 0.12, 0.22, 0.22, 0.16, 0.12, 0.08, 0.04];
/// Differences before the first bet, from which dependence is seen.
const WATCHED: u64 = 24;
/// The part of the capital that is staked at first. Of the rest, the k-th later beginning has
/// `1 / (k (k + 1))`.
const FIRST_PART: f64 = 0.75;
/// Differences between two beginnings.
const BEGIN_EVERY: u64 = 256;
/// The wealth does not count beyond this: it stays finite.
const WEALTH_MAX: f64 = 1e12;

/// The wealth of a bettor against the hypothesis that differences are at most 0.
///
/// ```
/// use perennial::learn::EProcess;
///
/// let (mut worse, mut alike) = (EProcess::default(), EProcess::default());
/// for n in 0..200 {
///     let sign = if n % 2 == 0 { 0.5 } else { -0.5 };
///     worse.observe(0.2 + sign);
///     alike.observe(sign);
/// }
/// assert!(worse.wealth() > 20.0 && alike.wealth() < 2.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EProcess {
    /// The wealth of each bet.
    wealth: [f64; BETS.len()],
    /// The capital for beginnings that are to come.
    aside: f64,
    dependence: Dependence,
}

impl Default for EProcess {
    fn default() -> EProcess {
        let mut process = EProcess {
            wealth: [0.0; BETS.len()],
            aside: 1.0,
            dependence: Dependence::default(),
        };
        process.begin();
        process
    }
}

impl EProcess {
    /// The evidence by now, at least 0: above `1 / alpha` the hypothesis is rejected.
    pub fn wealth(&self) -> f64 {
        let wealth = self.aside + self.wealth.iter().sum::<f64>();
        wealth.min(WEALTH_MAX)
    }

    /// Differences so far.
    pub fn n(&self) -> u64 {
        self.dependence.n()
    }

    /// The mean difference.
    pub fn mean(&self) -> f64 {
        self.dependence.mean()
    }

    /// Takes a difference, which is held in [-1, 1].
    pub fn observe(&mut self, x: f64) {
        let x = if x.is_finite() {
            x.clamp(-1.0, 1.0)
        } else {
            0.0
        };
        if self.n() >= WATCHED {
            let excess = self.dependence.inflation() - 1.0;
            for (wealth, bet) in self.wealth.iter_mut().zip(BETS) {
                let stake = bet * x;
                *wealth *= (1.0 + stake) / (1.0 + 0.5 * excess * stake * stake);
                *wealth = wealth.min(WEALTH_MAX);
            }
        }
        self.dependence.observe(x);
        if self.n().is_multiple_of(BEGIN_EVERY) {
            self.begin();
        }
    }

    /// Stakes the next part of the capital.
    fn begin(&mut self) {
        let part = match (self.n() / BEGIN_EVERY) as f64 {
            0.0 => FIRST_PART,
            k => (1.0 - FIRST_PART) / (k * (k + 1.0)),
        };
        self.aside = (self.aside - part).max(0.0);
        for (wealth, of_bet) in self.wealth.iter_mut().zip(PARTS) {
            *wealth += part * of_bet;
        }
    }

    pub(crate) fn save(&self, name: &str, tensors: &mut Tensors) {
        let mut values = self.wealth.to_vec();
        values.push(self.aside);
        tensors.put_f64(name, &[values.len()], values);
        self.dependence.save(&format!("{name}.dependence"), tensors);
    }

    pub(crate) fn load(name: &str, tensors: &mut Tensors) -> Result<EProcess, Error> {
        let values = tensors.take_f64(name, &[Some(BETS.len() + 1)])?;
        if values
            .iter()
            .any(|value| !(0.0..=WEALTH_MAX).contains(value))
        {
            return Err(Error::value(name, "a wealth below 0".to_owned()));
        }
        let mut process = EProcess {
            aside: values[BETS.len()],
            dependence: Dependence::load(&format!("{name}.dependence"), tensors)?,
            ..EProcess::default()
        };
        process.wealth.copy_from_slice(&values[..BETS.len()]);
        Ok(process)
    }
}

#[cfg(test)]
mod tests;
