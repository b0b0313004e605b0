//! Which weights serve, and the evidence that decides it, as described.
//!
//! Invariant: settings are data; `src/learn/gate` acts on them.

/// The policy that decides which weights serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishPolicy {
    /// The candidate, until evidence shows that it is worse than the champion.
    Live,
    /// The champion, until evidence shows that a copy of the candidate is not worse.
    Gated,
    /// The champion, until a person promotes a copy of the candidate.
    Manual,
}

impl PublishPolicy {
    /// The word for it, in descriptions and on screens.
    pub fn word(self) -> &'static str {
        match self {
            PublishPolicy::Live => "live",
            PublishPolicy::Gated => "gated",
            PublishPolicy::Manual => "manual",
        }
    }
}

/// The weights that serve, and the evidence for them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publish {
    /// The weights that serve.
    pub policy: PublishPolicy,
    /// The share of journaled requests that the candidate answers where the champion serves.
    pub canary: f64,
    /// The part of the bounded loss by which a contender may be worse than the champion.
    pub margin: f64,
    /// The part by which the contender's share of right anchors of a class may be below the champion's.
    pub retention_margin: f64,
    /// The probability of a wrong decision against each champion, at most.
    pub alpha: f64,
    /// Labels between two contenders, at least.
    pub every_examples: u64,
    /// The number of examples of which one is scored.
    pub score_every: u64,
    /// A second rewind within so many labels of the first stops learning.
    pub freeze_within: u64,
}
