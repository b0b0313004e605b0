//! Rewards and implicit signals, as described.
//!
//! Invariant: settings are data; `learn` gives them their meaning.

/// Rewards, and how long a prediction waits for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewards {
    /// Seconds that a prediction waits for its reward.
    pub window_s: u64,
    /// The aggregate of several rewards of a prediction.
    pub aggregate: Aggregate,
    /// The reward of a prediction whose window closes in silence; none: nothing is learned.
    pub default: Option<f64>,
    /// The least reward that is taken from now on.
    pub min: f64,
    /// The largest reward that is taken from now on.
    pub max: f64,
    /// Implicit signals by name, at most 62.
    pub signals: Vec<ImplicitSignal>,
}

/// The aggregate of several rewards of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The first counts, the others do not.
    First,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The newest.
    Last,
}

/// The reward of an implicit signal's value: `reward * clamp(value / scale, min, max)`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImplicitSignal {
    /// The name in events.
    pub name: String,
    /// The reward of a full signal.
    pub reward: f64,
    /// The value of a full signal, larger than 0.
    pub scale: f64,
    /// The least share of a full signal that counts.
    pub min: f64,
    /// The largest share of a full signal that counts.
    pub max: f64,
    /// The least value that is taken from now on.
    pub value_min: f64,
    /// The largest value that is taken from now on.
    pub value_max: f64,
}
