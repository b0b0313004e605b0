//! The share of recent examples among the replayed ones: the evidence decides.
//!
//! Invariant: the share stays within [`LEAST`] and [`MOST`]. An alarm sets it to the most; a
//! falling score on long-remembered examples takes it down; calm leads it back to [`CALM`].

use crate::model::weights::{Error, Tensors};

/// Share of recent examples among the replayed ones, at least, in calm, and at most.
const LEAST: f64 = 0.02;
const CALM: f64 = 0.1;
const MOST: f64 = 0.5;
/// The factor on the share with an update under evidence of forgetting.
const RETREAT: f64 = 0.9;
/// The step of an update back to calm.
const RETURN: f64 = 0.01;
/// Updates over which the fast and the slow means of a loss are averages; older ones fade.
const FAST: f64 = 20.0;
const SLOW: f64 = 500.0;
/// Standard errors by which the fast mean lies above the slow one when that is evidence.
const CERTAIN: f64 = 4.0;
/// A loss counts as this at most: one wild example is no evidence.
const LOSS_MAX: f64 = 20.0;

/// The share, and the evidence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Balance {
    share: f64,
    /// Losses of new examples before they were learned, and of long-remembered ones.
    new: Trend,
    remembered: Trend,
}

/// A loss over time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Trend {
    count: f64,
    fast: f64,
    slow: f64,
    /// Mean squared deviation from the slow mean.
    variance: f64,
}

impl Balance {
    pub(super) fn new() -> Balance {
        Balance {
            share: CALM,
            new: Trend::default(),
            remembered: Trend::default(),
        }
    }

    /// The share of the recent, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    /// The world has changed: the recent matters most.
    pub(super) fn alarm(&mut self) {
        self.share = MOST;
        self.new.settle();
    }

    /// Takes the mean loss of an update's new examples, before they were learned.
    pub(super) fn observe_new(&mut self, loss: f64) {
        self.share += RETURN * (CALM - self.share);
        self.new.observe(loss);
        if self.new.rises() {
            self.alarm();
        }
    }

    /// Takes the mean loss of the long-remembered examples of an update.
    pub(super) fn observe_remembered(&mut self, loss: f64) {
        self.remembered.observe(loss);
        if self.remembered.rises() {
            self.share = (self.share * RETREAT).max(LEAST);
        }
    }

    pub(super) fn save(&self) -> Tensors {
        let mut values = vec![self.share];
        for trend in [self.new, self.remembered] {
            values.extend([trend.count, trend.fast, trend.slow, trend.variance]);
        }
        let mut tensors = Tensors::default();
        tensors.put_f64("values", &[9], values);
        tensors
    }

    /// Reads the state that [`Balance::save`] wrote.
    pub(super) fn load(tensors: &mut Tensors) -> Result<Balance, Error> {
        let values = tensors.take_f64("values", &[Some(9)])?;
        let sound = values
            .iter()
            .all(|value| value.is_finite() && *value >= 0.0);
        if !sound || values[0] > MOST {
            return Err(Error::value("values", format!("{values:?}")));
        }
        let trend = |at: usize| Trend {
            count: values[at],
            fast: values[at + 1],
            slow: values[at + 2],
            variance: values[at + 3],
        };
        Ok(Balance {
            share: values[0],
            new: trend(1),
            remembered: trend(5),
        })
    }
}

impl Trend {
    fn observe(&mut self, loss: f64) {
        let loss = loss.clamp(0.0, LOSS_MAX);
        self.count = (self.count + 1.0).min(SLOW);
        let deviation = loss - self.slow;
        self.slow += deviation / self.count;
        self.fast += (loss - self.fast) / self.count.min(FAST);
        let squared = deviation * (loss - self.slow);
        self.variance += (squared - self.variance) / self.count;
    }

    /// True if the loss is higher of late. The fast mean of so many updates has the variance of one
    /// over `2 FAST - 1`.
    fn rises(&self) -> bool {
        let error = (self.variance / (2.0 * FAST - 1.0)).sqrt();
        self.count >= 2.0 * FAST && self.fast - self.slow > CERTAIN * error
    }

    /// Takes the recent level for the normal one.
    fn settle(&mut self) {
        self.slow = self.fast;
        self.count = self.count.min(2.0 * FAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Updates whose losses scatter around these.
    fn observe(balance: &mut Balance, n_updates: usize, new: f64, remembered: f64) {
        for index in 0..n_updates {
            let scatter = 0.1 * (index % 3) as f64;
            balance.observe_new(new + scatter);
            balance.observe_remembered(remembered + scatter);
        }
    }

    #[test]
    fn calm_keeps_the_share() {
        let mut balance = Balance::new();
        observe(&mut balance, 2000, 0.5, 0.3);
        assert!((balance.share() - CALM).abs() < 1e-9, "{}", balance.share());
    }

    #[test]
    fn a_change_of_the_world_favours_the_recent() {
        let mut balance = Balance::new();
        observe(&mut balance, 600, 0.5, 0.3);
        observe(&mut balance, 15, 2.0, 0.3);
        assert!(balance.share() > 0.4, "{}", balance.share());
        observe(&mut balance, 2000, 2.0, 0.3);
        assert!((balance.share() - CALM).abs() < 0.01, "{}", balance.share());
    }

    #[test]
    fn forgetting_favours_the_long_remembered() {
        let mut balance = Balance::new();
        observe(&mut balance, 600, 0.5, 0.3);
        observe(&mut balance, 60, 0.5, 1.5);
        assert!(balance.share() < 0.05, "{}", balance.share());
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut balance = Balance::new();
        observe(&mut balance, 60, 0.5, 0.3);
        balance.alarm();
        assert_eq!(Balance::load(&mut balance.save()), Ok(balance));
    }
}
