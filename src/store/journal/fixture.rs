//! Small journals for the tests of this room.

use std::ops::RangeInclusive;
use std::path::Path;

use bytes::Bytes;

use super::{Config, Journal, Reader, verify};
use crate::event::{Batch, Column, Duplicate, Event, Outputs, Prediction, PredictionId, Time};

/// Segments of about this length.
pub(super) fn segments_of(segment_bytes: u32) -> Config {
    Config {
        segment_bytes,
        ..Config::default()
    }
}

/// An event that knows its position; its payload has 21 bytes.
pub(super) fn duplicate(position: u64) -> Event {
    Event::Duplicate(Duplicate {
        feedback_id: format!("feedbk{:03}", position % 1000),
        first_position: position,
    })
}

/// An event that holds these bytes.
pub(super) fn vector(bytes: &[u8]) -> Event {
    Event::Prediction(Prediction {
        ids: vec![PredictionId(1)],
        batch: Batch {
            n_rows: 1,
            columns: vec![Column::Vectors(Bytes::copy_from_slice(bytes))],
        },
        outputs: Outputs::Values(vec![0.0]),
        labels: Default::default(),
        version: 1,
        position: 1,
    })
}

/// Appends the events of these positions, each at the time of its position.
pub(super) fn append(journal: &mut Journal, positions: RangeInclusive<u64>) {
    for position in positions {
        let time = Time(position as i64);
        let got = journal.append(time, &duplicate(position)).unwrap();
        assert_eq!(got, position);
    }
}

/// Every event of a sound journal.
pub(super) fn read_all(dir: &Path) -> Vec<Event> {
    let last = verify(dir).unwrap().last_position;
    let mut reader = Reader::open(dir, 1, last).unwrap();
    let events = (0..last).map(|_| reader.next(last).unwrap().unwrap().event);
    events.collect()
}
