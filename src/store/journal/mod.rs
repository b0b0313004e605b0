//! The durable, ordered record of everything that a model accepted.
//!
//! Invariant: what a sync covered is never cut, skipped or changed unseen. A torn end that no sync
//! covered is cut when the journal is opened, and reported; damage anywhere else is refused.
//!
//! One [`Journal`] writes; any number of [`Reader`]s follow it from other threads. [`verify`]
//! reads everything of a journal that nobody has open.

mod erase;
#[cfg(test)]
mod fixture;
mod index;
mod reader;
mod segment;
mod survey;
mod verify;
mod walk;
mod window;
mod writer;

pub use erase::erase;
pub use reader::Reader;
pub use segment::{Listed as Segment, segments};
pub use survey::Cut;
pub use verify::{Report, verify, verify_each};
pub use writer::{Config, Journal, Recovered};
