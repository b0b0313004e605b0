//! The keys of `[quarantine]`: the feedback that waits for a person before it is learned.
//!
//! Invariant: in the order of the table.

use super::key::{AllowedValues, Key};

/// The keys, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "quarantine.outliers",
        values: AllowedValues::Between(3.0, 1e6),
        default: "not set: no value is an outlier",
        unit: "deviations",
        meaning: "Feedback waits for a person whose value or reward, or one of the first 32 number inputs of \
                  its row, lies farther from the median of the newest 256, in deviations by their median \
                  distance from it, under rules.revision = 3.",
    },
    Key {
        name: "quarantine.flood",
        values: AllowedValues::Count(5, 4096),
        default: "not set: nothing is a flood",
        unit: "events",
        meaning: "Feedback waits for a person of a source that has sent the same label, value or reward so \
                  many times in a row, unless half of the feedback of other sources among the newest 4096 events is \
                  the same, under rules.revision = 3.",
    },
    Key {
        name: "quarantine.waiting_max",
        values: AllowedValues::Count(1, 10_000),
        default: "1000",
        unit: "events",
        meaning: "Events that wait to be released or discarded; at more, the oldest is discarded.",
    },
];
