//! The learning rules: a pure function from state and entry to state.
//!
//! Promise: equal states and equal entries give equal states, bit for bit within one numeric
//! profile. Nothing here reads a clock, a file, a thread or the order of a hash table.
//!
//! In reading order: [`Learner`] (apply one entry), `PendingPredictions` (which prediction was meant),
//! `Learned` (the state of any algorithm). The folders, each using those before it: `records` and
//! `memory` (examples kept of the stream), `training` (how networks move), `algorithms` (one a kind of
//! learner), `versions`, `gate` (which of two states answers worse), `drift` and `monitors` (streams that
//! are watched, and figures over spans and slices).
//!
//! ```
//! use std::sync::Arc;
//! use perennial::event::{Batch, Column, Entry, Event, Feedback, Signal, Subject, Time};
//! use perennial::{learn::{Fate, Learner}, model::{Choice, Spec}};
//!
//! let spec = Spec::parse("task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'")?;
//! let mut learner = Learner::new(Arc::new(spec));
//! let before = learner.model();
//! let batch = Batch { n_rows: 1, columns: vec![Column::Numbers(vec![2.0])] };
//! let feedback = Feedback {
//!     feedback_id: "1".to_owned(),
//!     subject: Subject::Inputs { batch: batch.clone(), decision: None },
//!     signal: Signal::Value(5.0),
//!     source: String::new(),
//!     event_time: None,
//!     tags: Default::default(),
//!     actor: String::new(),
//!     weight: 1.0,
//!     comment: String::new(),
//!     may_correct: false,
//! };
//! let entry = Entry { position: 1, time: Time(0), event: Event::Feedback(feedback) };
//! let mut twin = learner.clone();
//! assert_eq!(learner.apply(&entry, &mut ())?.fate, Some(Fate::Applied));
//! assert_ne!(learner.model().predict(&batch, Choice::Best), before.predict(&batch, Choice::Best));
//!
//! twin.apply(&entry, &mut ())?;
//! assert!(twin == learner);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithms;
mod comparison;
mod drift;
mod gate;
mod join;
mod learner;
mod lookup;
mod memory;
mod monitors;
mod offpolicy;
mod records;
pub(crate) mod rewards;
pub(crate) mod signals;
mod size;
mod training;
mod versions;

pub(crate) use algorithms::learned::answers::RowOutputs;
pub use comparison::Comparison;
pub use drift::{Detectors, JudgedAnswer};
pub(crate) use gate::losses::Truth;
pub use gate::{
    ChampionChange, ChampionScore, EProcess, Evidence, Incident, IncidentKind, IncidentState,
    PairedEvidence, Suspect, TrialOutcome, Veto,
};
pub(crate) use gate::{PairedTrial, Trial};
pub use join::PredictionSearch;
pub(crate) use join::{Arrivals, EvictedPredictions, PendingPredictions};
pub(crate) use learner::{AnsweringState, LastWord, RowAnswer};
pub use learner::{
    Counterfactual, CounterfactualLookup, Error, Exclusion, Learner, RetrainCause, Retraining, Step,
};
pub use lookup::{Lookup, LookupError};
pub use monitors::{
    ClassCount, ConfusionCount, DetailedScores, Figure, ScoredProbabilities, Scores,
};
pub use offpolicy::{Estimate, EvaluatedDecision, OffPolicy};
pub use records::evaluate::Evaluation;
pub(crate) use records::feedback_ids::{feedback_key, is_forgotten};
pub use records::ledger::Fate;
pub use records::quarantine::{QuarantineCause, QuarantinedEvent};
pub(crate) use records::sources::Sources;
pub(crate) use size::state_bytes;
pub use versions::aliases::MovedAlias;
pub(crate) use versions::revised_tallies::RevisedTallies;
pub use versions::tainted::HOLDS_RETRACTED;
pub(crate) use versions::tainted::TaintedVersions;
