//! A model while it is served: its threads, queues, bounds and the state that they share.

pub(crate) mod awaited;
pub(crate) mod bounds;
pub(crate) mod follower;
pub(crate) mod new_labels;
pub(crate) mod priority;
pub(crate) mod retain;
pub(crate) mod retracted;
pub(crate) mod room;
pub(crate) mod served_model;
pub(crate) mod stats;
pub(crate) mod turn;
pub(crate) mod waiting;
pub(crate) mod write_queue;
pub(crate) mod writer;
