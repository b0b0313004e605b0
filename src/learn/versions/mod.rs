//! The versions of a model as its learner knows them: the newest, the tainted, their counts.

pub(crate) mod aliases;
pub(crate) mod newest;
pub(crate) mod revised_tallies;
pub(crate) mod tainted;
pub(crate) mod tallies;
