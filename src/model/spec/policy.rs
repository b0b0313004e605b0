//! The policy by which a bandit chooses its actions, as described.
//!
//! Invariant: settings are data; `src/model/policy.rs` acts on them.

/// The policy by which a bandit chooses from the expected reward of each action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// The best estimate, always.
    Greedy,
    /// The best estimate, but any action alike with this probability, 0 to 1.
    Epsilon(f64),
    /// Probabilities in proportion to `exp(estimate / temperature)`; the temperature in standard deviations
    /// of the reward, larger than 0.
    Softmax(f64),
    /// Inversely to how much worse an action seems (Foster and Rakhlin 2020, algorithm 1), with
    /// `gamma = scale * sqrt(examples)`. Departure: gaps are in standard deviations of the reward.
    SquareCb(f64),
    /// The probability that an action is the best of a draw from the posterior of every estimate, whose
    /// deviations are multiplied by this (Agrawal and Goyal 2013, algorithm 1).
    Thompson(f64),
    /// The highest estimate plus so many of its posterior deviations (Li et al. 2010,
    /// algorithm 1), always.
    LinUcb(f64),
}

impl Policy {
    /// True if the policy asks for posterior deviations.
    pub fn needs_posterior(self) -> bool {
        matches!(self, Policy::Thompson(_) | Policy::LinUcb(_))
    }
}
