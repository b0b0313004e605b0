//! The history of a journal: its facts, and the states and answers that follow from its entries.
//!
//! Invariant: the past is read from the journal and the checkpoints alone, and
//! nothing is changed but the entries that an erasure removes.

mod bases;
pub(crate) mod erased;
pub(crate) mod error;
pub(crate) mod facts;
pub(crate) mod following;
pub(crate) mod inputs;
pub(crate) mod lineage;
pub(crate) mod logged;
pub(crate) mod lookup;
pub(crate) mod orders;
pub(crate) mod pass;
pub(crate) mod rebuild;
pub(crate) mod selection;
pub(crate) mod translation;
pub(crate) mod trial;
pub(crate) mod truths;
