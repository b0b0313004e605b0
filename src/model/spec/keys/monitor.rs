//! The keys of `[monitor]`: the scores beside those of the whole.
//!
//! Invariant: in the order of the table.

use super::key::{AllowedValues, Key};

/// The keys, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "monitor.inputs",
        values: AllowedValues::List(
            "at most 8 names of inputs that are a category or a number, none twice",
        ),
        default: "no slices",
        unit: "",
        meaning: "Inputs by whose values answers are also scored apart, as slices: each against its own \
                  past and against the champion.",
    },
    Key {
        name: "monitor.tags",
        values: AllowedValues::List("at most 8 names of 1 to 128 bytes, none twice"),
        default: "no slices",
        unit: "",
        meaning: "Tags of feedback by whose values answers are also scored apart.",
    },
    Key {
        name: "monitor.sources",
        values: AllowedValues::Bool,
        default: "false",
        unit: "",
        meaning: "True if the answers that each source of feedback judges are scored apart.",
    },
    Key {
        name: "monitor.values_max",
        values: AllowedValues::Count(1, 1000),
        default: "20",
        unit: "values",
        meaning: "Values of each input and tag, and sources, that are slices, those that come first; all others are \
                  one slice together.",
    },
    Key {
        name: "monitor.window",
        values: AllowedValues::Count(8, 10_000_000),
        default: "2000",
        unit: "answers",
        meaning: "Judged answers that the window of every score is of.",
    },
    Key {
        name: "monitor.silence_after",
        values: AllowedValues::Time,
        default: "never raised",
        unit: "",
        meaning: "An incident (\"silent\") is raised once so much time has passed since the last feedback, or \
                  since the first answer before any came.",
    },
    Key {
        name: "monitor.stale_after",
        values: AllowedValues::Time,
        default: "never raised",
        unit: "",
        meaning: "An incident (\"stale\") is raised once so much time has passed since an example was last \
                  learned, or since the first answer before any was.",
    },
];
