//! A model while it is served: its threads, queues, bounds and the state that they share.
//!
//! In reading order: `runtime`, the state that the threads share, with its parts `health`,
//! `progress`, `journal_metrics`, `phases`, `orders` and `retractions`; `writer` and `learning`, the loops of
//! the two threads, with `write_queue` and `follower` between them; `room` and `retain`, the bounds
//! of the journal; `learning_event`, `event_publisher` and `deliveries`, the notifications;
//! `served_model`, as requests see it.

pub(crate) mod awaited;
pub(crate) mod bounds;
pub(crate) mod deliveries;
pub(crate) mod event_publisher;
pub(crate) mod follower;
pub(crate) mod health;
pub(crate) mod journal_metrics;
pub(crate) mod learning;
pub(crate) mod learning_event;
pub(crate) mod levels;
pub(crate) mod new_labels;
pub(crate) mod orders;
pub(crate) mod phases;
pub(crate) mod priority;
pub(crate) mod progress;
pub(crate) mod retain;
pub(crate) mod retracted;
pub(crate) mod retractions;
pub(crate) mod retraining;
pub(crate) mod room;
pub(crate) mod runtime;
pub(crate) mod served_model;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod waiting;
pub(crate) mod work;
pub(crate) mod write_queue;
pub(crate) mod writer;
