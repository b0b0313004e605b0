//! The evidence of one test, as people see it.
//!
//! Invariant: plain values of one moment.

use std::fmt;

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

/// A contender that was not promoted, since it was worse where the champion is right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Veto {
    /// The version of the contender.
    pub version: u64,
    /// The class of the anchors; empty of all of them, and of a slice.
    pub class: String,
    /// The slice of the anchors, as in `country=BR`.
    pub slice: String,
    /// Anchors that both were asked.
    pub anchors: u64,
    /// The numbers of right answers of the champion and the contender.
    pub right: [u64; 2],
}

impl Veto {
    /// The share of right answers that the contender loses.
    pub fn lost(&self) -> f64 {
        let [champion, contender] = self.right.map(|right| right as f64);
        (champion - contender) / self.anchors.max(1) as f64
    }
}

impl fmt::Display for Veto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Veto {
            version,
            class,
            slice,
            anchors,
            right: [champion, contender],
        } = self;
        write!(
            f,
            "version {version} answers {contender} of {anchors} anchors"
        )?;
        if !class.is_empty() {
            write!(f, " of {class:?}")?;
        } else if !slice.is_empty() {
            write!(f, " of the slice {slice:?}")?;
        }
        write!(f, " right, the champion {champion}")
    }
}

/// The effect of an order that brings another history on the champion and the incidents.
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

/// The evidence of one test: the hypothesis is rejected where the wealth reaches the needed one.
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
