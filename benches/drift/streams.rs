//! Generated streams: rows of independent values that change in one way at one row.
//!
//! Invariant: a function of change, width and seed.

use crate::data::Random;

/// The share of wrong answers before a change, and after one.
const ERRORS: [f64; 2] = [0.1, 0.3];

/// How a stream changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Not at all.
    Never,
    /// More answers are wrong at once.
    Abrupt,
    /// More answers are wrong little by little, over 1,000 rows.
    Gradual,
    /// More answers are wrong for 500 rows of each 1,000.
    Recurring,
    /// The right labels are wrong from then on.
    RuleFlip,
    /// The first input is higher by half of its standard deviation.
    Inputs,
    /// One of two labels comes in 70 % of the rows instead of 50 %.
    Labels,
}

impl Change {
    /// The changes that can be found.
    pub(crate) const ALL: [Change; 6] = [
        Change::Abrupt,
        Change::Gradual,
        Change::Recurring,
        Change::RuleFlip,
        Change::Inputs,
        Change::Labels,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Change::Never => "no change",
            Change::Abrupt => "abrupt",
            Change::Gradual => "gradual",
            Change::Recurring => "recurring",
            Change::RuleFlip => "rule flip",
            Change::Inputs => "inputs alone",
            Change::Labels => "labels alone",
        }
    }

    /// The share of wrong answers so many rows after the change.
    fn errors(self, n_after: usize) -> f64 {
        let [before, after] = ERRORS;
        match self {
            Change::Never | Change::Inputs | Change::Labels => before,
            Change::Gradual => before + (after - before) * (n_after as f64 / 1000.0).min(1.0),
            Change::Recurring if n_after % 1000 >= 500 => before,
            Change::Abrupt | Change::Recurring => after,
            Change::RuleFlip => 1.0 - before,
        }
    }
}

/// How the values of an input that does not change depend on each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dependence {
    /// Nine tenths of each value are those of the one before.
    Autoregressive,
    /// A cycle of so many rows, with noise of about its size.
    Cycle(usize),
}

impl Dependence {
    /// So many values.
    pub(crate) fn values(self, n_values: usize, seed: u64) -> impl Iterator<Item = f64> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut last = 0.0;
        (0..n_values).map(move |n| {
            let noise = normal(&mut random);
            last = match self {
                Dependence::Autoregressive => 0.9 * last + noise,
                Dependence::Cycle(period) => {
                    2.0 * (std::f64::consts::TAU * n as f64 / period as f64).sin() + noise
                }
            };
            last
        })
    }
}

/// A stream.
pub(crate) struct Stream {
    pub change: Change,
    pub n_inputs: usize,
    pub n_rows: usize,
    /// The first row that is changed.
    pub changed_at: usize,
    pub seed: u64,
    /// True if detectors that take long see it, too.
    pub is_for_slow: bool,
}

/// One row of it.
pub(crate) struct Row {
    pub inputs: Vec<f64>,
    pub label: usize,
    pub is_wrong: bool,
}

impl Stream {
    /// Its rows, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let mut random = Random(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..self.n_rows).map(move |row| self.row(row, &mut random))
    }

    fn row(&self, row: usize, random: &mut Random) -> Row {
        let n_after = row.checked_sub(self.changed_at);
        let change = n_after.map_or(Change::Never, |_| self.change);
        let mut inputs: Vec<f64> = (0..self.n_inputs).map(|_| normal(random)).collect();
        if change == Change::Inputs {
            inputs[0] += 0.5;
        }
        let ones = if change == Change::Labels { 0.7 } else { 0.5 };
        Row {
            inputs,
            label: usize::from(random.uniform() < ones),
            is_wrong: random.uniform() < change.errors(n_after.unwrap_or(0)),
        }
    }
}

/// By Box and Muller.
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.uniform()).cos()
}
