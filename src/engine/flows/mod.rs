//! One file a flow: predict, feedback, command, gate, limits, retract, quarantine, retrain, erase,
//! audit, fate, recover.

pub(crate) mod audit;
mod changed;
pub(crate) mod command;
pub(crate) mod erase;
pub(crate) mod fate;
pub(crate) mod feedback;
pub(crate) mod gate;
pub(crate) mod limits;
pub(crate) mod predict;
pub(crate) mod quarantine;
pub(crate) mod recover;
pub(crate) mod retract;
pub(crate) mod retrain;
