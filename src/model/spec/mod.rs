//! The description of a model: the checked form of its model.toml.
//!
//! Invariant: a [`Spec`] is possible. Every key was known, every value in its range, and a feature that
//! this build does not offer yet was refused with that word.

mod budget;
mod calendar_names;
mod description;
mod difference;
mod drift;
mod error;
mod input;
pub mod keys;
mod learning;
mod limits;
mod monitor;
mod output;
mod parse;
mod policy;
mod publish;
mod quarantine;
mod retrain;
mod revision;
mod rewards;
mod rows;
mod series;
mod task;
mod time;

pub use budget::Budget;
pub use description::Spec;
pub use drift::{DriftAction, DriftSettings};
pub use error::Error;
pub(crate) use input::Input;
pub(crate) use input::N_CALENDAR;
pub use input::{InputKind, LowRank, PinnedFile, Times};
pub(crate) use learning::{Analytic, Gradient, Neighbourhood, Optimizer, Strategy};
pub use learning::{Costs, Keep, LearnerKind};
pub(crate) use limits::JournalLimits;
pub use limits::OrderedLimits;
pub use monitor::MonitorSettings;
pub use output::Datatype;
pub(crate) use parse::named::{NamedEncoder, NamedFiles};
pub(crate) use policy::Policy;
pub use publish::{Publish, PublishPolicy};
pub use quarantine::QuarantineSettings;
pub use revision::REVISION;
pub use rewards::ImplicitSignal;
pub(crate) use rewards::{Aggregate, Rewards};
pub use rows::{RowFormat, encoding_named};
pub use series::SeriesSettings;
pub use task::Task;
pub(crate) use time::CalendarTime;
pub use time::{TimeFormat, rfc_3339_of};
