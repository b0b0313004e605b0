//! What a journal alone gives.
//!
//! Invariant: nothing but the journal's entries, from the first, is looked at.

use std::path::Path;

use perennial::event::Event;
use perennial::store::Reader;

use crate::common::Classroom;

/// The digest of a fresh learner that has applied everything up to `last`.
pub fn replayed(journal: &Path, last: u64) -> Result<[u8; 32], String> {
    let said = |error: perennial::store::Error| error.to_string();
    let mut reader = Reader::open(journal, 1, last).map_err(said)?;
    let mut room = None;
    while let Some(entry) = reader.next(last).map_err(said)? {
        let room = room.get_or_insert_with(|| match &entry.event {
            Event::Description(description) => Classroom::empty(&description.toml),
            other => panic!("the journal starts with {other:?}"),
        });
        room.apply(entry);
    }
    let room: Classroom = room.ok_or("the journal is empty")?;
    Ok(room.learner.learned().digest())
}
