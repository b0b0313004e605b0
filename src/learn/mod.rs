//! How the function changes: a pure function from state and entry to state.
//!
//! Promise: equal states and equal entries give equal states, bit for bit within one numeric
//! profile. Nothing here reads a clock, a file, a thread or the order of a hash table.
//!
//! In reading order: [`Learner`] (apply one entry), [`Joins`] (which prediction was meant),
//! [`Learned`] (what is learned, of any kind), then what the kinds are made of.

mod adapters;
mod analytic;
mod archive;
mod auto;
mod backprop;
mod evaluate;
mod gradient;
mod join;
mod learned;
mod learner;
mod ledger;
mod lineage;
mod memory;
mod neighbours;
mod offpolicy;
mod optimizer;
mod seen;
pub mod signals;
mod sources;
mod spare;

pub use analytic::{Recursion, Settings as RecursionSettings, Sharpness};
pub use archive::{Archive, Otherwise};
pub use evaluate::{Evaluation, Member};
pub use join::{Joins, Waiting};
pub use learned::Learned;
pub use learner::{Error, Learner, Omission, Step, tainted};
pub use ledger::{Fate, Ledger};
pub use lineage::Lineage;
pub use offpolicy::{Estimate, LoggedDecision, OffPolicy};
pub use seen::Seen;
pub use sources::Sources;
