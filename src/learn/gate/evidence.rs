//! The evidence of one test, as people see it.
//!
//! Invariant: plain values of one moment.

/// A champion, and how well it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChampionScore {
    /// Its version; 0 where none is made yet.
    pub version: u64,
    /// The position of its state.
    pub position: u64,
    /// Labels that it was scored on since then.
    pub labels: u64,
    /// The mean of its bounded losses on them; none before the first.
    pub loss: Option<f64>,
}

/// What an order that brings another history does to the champion and to the incidents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChampionChange {
    /// The champion before.
    pub before: ChampionScore,
    /// The champion of the other history.
    pub after: ChampionScore,
    /// Incidents that the other history does not have, by their positions.
    pub gone: Vec<u64>,
    /// Incidents that it alone has, by their positions.
    pub come: Vec<u64>,
    /// Approvals that are void in it, since they are of other weights, by their positions.
    pub void: Vec<u64>,
}

/// The evidence of one test: the hypothesis is rejected where the wealth reaches what is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Labels that were scored.
    pub labels: u64,
    /// The wealth of a bettor against the hypothesis.
    pub wealth: f64,
    /// The wealth at which the hypothesis is rejected.
    pub needed: f64,
    /// The mean loss of the side that is tested, less that of the champion.
    pub difference: f64,
}
