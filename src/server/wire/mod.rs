//! Messages to values and back: the only place that reads or writes a generated message.
//!
//! Promise: a value that leaves this room inward is valid, by the description of its model; bad
//! input ends here with a [`Refusal`] that names the field. Nothing here waits, and no clock is
//! read.
//!
//! In reading order: `tensors` (inputs to rows), with `numbers`, `texts`, `times` and `tensor` below it;
//! `parameters` (of a request); `outputs` (answers to tensors); `metadata`; `feedback`, with
//! `signals` below it; `records` (versions and status); `events` (learning events); `audits` (with retractions).

mod audits;
mod events;
mod feedback;
mod fuzz;
mod metadata;
mod numbers;
mod outputs;
mod parameters;
mod records;
mod refusal;
mod signals;
mod tensor;
mod tensors;
mod texts;
mod times;

pub use audits::{audit, fate};
pub(super) use audits::{certificate, plan, quarantined, selector};
pub(super) use events::{learning_event, webhook_status};
pub(super) use feedback::{EventAcknowledgement, echoed_id, feedback, reply};
pub(crate) use fuzz::messages as fuzz_messages;
pub(super) use metadata::{model_metadata, server_metadata};
pub(super) use outputs::{OutputSelection, response};
pub(super) use parameters::RequestParameters;
pub use records::version;
pub(super) use records::{incident, limits, model_status, retrained};
pub(super) use refusal::{RETRY, Refusal, without_folders};
pub use tensors::{RefusedRow, check_row};
pub(super) use tensors::{RequestTensors, batch};
