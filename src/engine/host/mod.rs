//! A model while it is served: its threads, queues, bounds and the state that they share.

pub(crate) mod awaited;
pub(crate) mod bounds;
pub(crate) mod hosted;
pub(crate) mod learning;
pub(crate) mod new_labels;
pub(crate) mod outbox;
pub(crate) mod priority;
pub(crate) mod retain;
pub(crate) mod retracted;
pub(crate) mod room;
pub(crate) mod stats;
pub(crate) mod turn;
pub(crate) mod waiting;
pub(crate) mod writer;
