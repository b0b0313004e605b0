//! The keys of `[journal]`.
//!
//! Invariant: a bound is far from use by default, and its text names the data that gives way at it.

use super::key::{AllowedValues, Key};

/// The keys, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "journal.bytes_max",
        values: AllowedValues::Size(16),
        default: "20GiB",
        unit: "",
        meaning: "The largest size of the journal. At it, feedback is refused until space is freed.",
    },
    Key {
        name: "journal.reserve",
        values: AllowedValues::SizeBelow("at most half of journal.bytes_max"),
        default: "a sixteenth of journal.bytes_max",
        unit: "",
        meaning: "The part of the journal that is reserved for feedback: predictions are not \
                  journaled in it.",
    },
    Key {
        name: "journal.age_max",
        values: AllowedValues::Time,
        default: "365d",
        unit: "",
        meaning: "The age at which a prediction accepts no more feedback, and its segment may be \
                  deleted.",
    },
    Key {
        name: "journal.retract_within",
        values: AllowedValues::Time,
        default: "7d",
        unit: "",
        meaning: "The time for which feedback can be retracted.",
    },
    Key {
        name: "journal.lag_max",
        values: AllowedValues::Count(1, 1_000_000_000),
        default: "1000000",
        unit: "entries",
        meaning: "The largest lag of the learner. At three quarters of it predictions get no id; at it, feedback is refused.",
    },
    Key {
        name: "journal.ids_max",
        values: AllowedValues::Count(1, 100_000_000),
        default: "250000; 1000000 under rules.revision = 1",
        unit: "ids",
        meaning: "Feedback ids in memory, for the detection of duplicates within a day; the others \
                  are on disk.",
    },
    // Two hundred ids a second, day and night, of one source that has the disk to itself.
    Key {
        name: "journal.ids_bytes_max",
        values: AllowedValues::Size(1),
        default: "2GiB",
        unit: "",
        meaning: "The size of the feedback ids on disk. One source may use as much as is free.",
    },
    Key {
        name: "journal.backfill_bytes_max",
        values: AllowedValues::Size(1),
        default: "64MiB",
        unit: "",
        meaning: "The size of the ids of declared backfills, in memory and on disk: 40 bytes each. They are \
                  known for as long as their entries are retained; beyond, backfills are refused.",
    },
];
