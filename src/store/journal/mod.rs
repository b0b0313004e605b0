//! The durable, ordered record of everything that a model accepted.
//!
//! Invariant: an entry that a sync covered is never cut, skipped or changed unseen. A torn end that
//! no sync covered is cut when the journal is opened, and reported; damage anywhere else is
//! refused.
//!
//! One [`Journal`] writes; any number of [`Reader`]s follow it from other threads. [`verify()`]
//! reads everything of a journal that no process has open.

mod erase;
mod erasure_list;
#[cfg(test)]
mod fixture;
mod index;
mod read_buffer;
mod reader;
mod scan;
mod scan_segment;
mod segment;
mod verify;
mod writer;

pub use erase::erase;
pub use reader::Reader;
pub use segment::{SegmentFile, segments};
pub(crate) use verify::verify_each;
pub use verify::{JournalReport, verify};
pub use writer::{Config, Journal, JournalRecovery};
