//! The store: journals, checkpoints and feedback ids; the only room that writes files.
//!
//! It promises that entries which [`Journal::sync`] covered are there after any crash, that bytes which are
//! not those that were written are refused and never guessed at, and that a [`checkpoint`] under its
//! final name is whole. It knows no threads and no clock: the caller brings both.
//!
//! ```
//! use perennial::event::{Description, Event, Time};
//! use perennial::store::{Config, Directory, Journal, Reader};
//!
//! let data = tempfile::tempdir()?;
//! let directory = Directory::open(data.path())?;
//! let folder = directory.journal("fraud");
//!
//! let (mut journal, recovered) = Journal::create_or_open(&folder, 0, Config::default())?;
//! assert_eq!(recovered.last_position, 0);
//! let described = Event::Description(Description {
//!     toml: "name = 'fraud'".to_owned(),
//!     build: "perennial 0.1.0".to_owned(),
//!     profile: "x86-64-v4".to_owned(),
//! });
//! journal.append(Time(1_700_000_000_000_000), &described)?;
//! let synced = journal.sync()?;
//!
//! let mut reader = Reader::open(&folder, 1, 0)?;
//! let entry = reader.next(synced)?.expect("position 1 is written");
//! assert_eq!(entry.event, described);
//! journal.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod checkpoint;
mod delivery_queue;
mod directory;
#[doc(hidden)]
pub mod disk;
mod error;
pub(crate) mod format;
pub(crate) mod fuzz;
pub mod ids;
mod journal;
pub mod regular;
mod scratch;

pub(crate) use checkpoint::Checkpoint;
pub use checkpoint::Manifest;
pub use delivery_queue::{Delivery, DeliveryProgress, DeliveryQueue};
pub use directory::Directory;
pub use disk::Disk;
pub use error::{Error, Malformed};
pub(crate) use ids::Ids;
pub(crate) use journal::verify_each;
pub use journal::{
    Config, Journal, JournalRecovery, JournalReport, Reader, SegmentFile, erase, segments, verify,
};
pub(crate) use scratch::{ScratchFolder, sweep as sweep_scratch};
