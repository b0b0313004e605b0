//! Evidence: whether one set of weights answers worse than another, from the labels as they come.
//!
//! Each label gives a paired difference `x` in [-1, 1]: the bounded loss of one side less that of the
//! other on the same row, both before anyone learns it.
//!
//! - **Null hypothesis.** At every label the expectation of `x`, given the labels before it, is at most
//!   0. Of a promotion `x` counts in favour of the contender, and the hypothesis is that it is worse
//!   than the champion by the margin or more; of a rewind `x` counts against the candidate, and the
//!   hypothesis is that it is no worse.
//! - **Filtration.** The labels in the order of the journal. Bets, restarts and the examples that are
//!   scored depend on earlier labels and on seeded hashes alone.
//! - **Betting rule.** A mixture of constant bets, begun again every 256 labels with a part of the
//!   capital that was set aside for it, so that the wealth is one martingale however long the test
//!   runs (`src/learn/gate/e_process.rs`).
//!
//! By Ville's inequality the wealth ever reaches `1 / alpha` with a probability of at most `alpha`. The
//! hypothesis speaks of each label given those before. Where it holds only on average, since differences
//! depend on each other, bets shrink with the dependence that was seen (`src/learn/gate/dependence.rs`).
//! As measured (`cargo bench --bench gate`) that keeps wrong decisions below `alpha` for an autoregression of
//! 0.9, rows sorted in blocks of 100 and a season of 200 labels, and not where labels come in blocks of ten
//! and more that each have a mean of their own, or a season is longer than a test: its first half looks like
//! a change until the second half comes.

pub(crate) mod anchor_slices;
mod blame;
pub(crate) mod champion;
mod constancy;
mod dependence;
mod differences;
pub(crate) mod e_process;
mod evidence;
pub(crate) mod frozen;
pub(crate) mod incident;
pub(crate) mod losses;
mod paired;
mod trial;

pub use e_process::EProcess;
pub use evidence::{ChampionChange, ChampionScore, Evidence, Veto};
pub use incident::{Incident, IncidentKind, IncidentState, Suspect};
pub(crate) use paired::PairedTrial;
pub use paired::{PairedEvidence, TrialOutcome};
pub(crate) use trial::Trial;
