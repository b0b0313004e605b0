//! Perennial: an inference server whose models keep learning after deployment.
//!
//! The server is a journal and a pure function. Everything accepted is an entry in one durable,
//! ordered journal per model; the learner is a function from state and entry to state; a
//! checkpoint is that state on disk. Recovery, restore and most tests are then one act: take a
//! state, apply entries.
//!
//! ```text
//! PREDICT   server/wire: validate -> engine/compute: texts through their encoders
//!             -> engine/flows/predict: take the snapshot -> model: encode, forward, answer
//!                (engine/compute/forward: on a device, together with the rows of others)
//!             -> hand the answer to engine/host/writer -> respond
//!
//! FEEDBACK  server/wire: validate
//!             -> engine/flows/feedback -> engine/host/writer: append, group fsync, ACKNOWLEDGE
//!             -> engine/host/learning, in journal order -> learn: join, score, learn, remember
//!             -> publish (swap the snapshot), save a version when one is due
//! ```
//!
//! The rooms, in reading order. A room uses itself and the rooms above it:
//!
//! - [`event`]: predictions, feedback and orders, as values.
//! - `device`: the processor, or a GPU.
//! - `onnx`: frozen networks from ONNX files.
//! - [`model`]: the served function; it knows shapes, not requests.
//! - [`learn`]: how the function changes; pure and deterministic.
//! - [`store`]: the data directory; the only room that writes to it.
//! - [`engine`]: the running system; threads, clocks and queues.
//! - [`proto`]: generated messages.
//! - [`server`]: the wire, thin.
//!
//! ```
//! use std::sync::Arc;
//! use perennial::event::{Batch, Column, Outputs};
//! use perennial::{learn::Learner, model::{Choice, Spec}};
//!
//! let spec = Spec::parse("task = 'classification'\nclasses = ['a', 'b']\n\
//!                         [[input]]\nname = 'x'\nkind = 'number'")?;
//! let learner = Learner::new(Arc::new(spec));
//! let row = Batch { n_rows: 1, columns: vec![Column::Numbers(vec![2.0])] };
//! let answer = learner.model().predict(&row, Choice::Best)?;
//! assert_eq!(answer, Outputs::Probabilities(vec![0.5, 0.5]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod device;
pub mod engine;
pub mod event;
#[doc(hidden)]
pub mod fuzz;
pub mod learn;
pub mod model;
mod onnx;
pub mod proto;
pub mod server;
pub mod store;
