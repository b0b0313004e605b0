//! The keys of `[sources]`: how much each source of feedback may teach.
//!
//! Invariant: in the order of the table.

use super::key::{AllowedValues, Key};

/// The keys, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "sources.budget",
        values: AllowedValues::Between(1.0, 1e9),
        default: "not set: nothing bounds a source",
        unit: "",
        meaning: "The sum of the weights of the examples that each source may teach, of `per` learned \
                  ones, under rules.revision = 3. An example beyond it is scored and not learned. Sources \
                  that `vouched` does not name have one budget together.",
    },
    Key {
        name: "sources.per",
        values: AllowedValues::Count(10, 1_000_000_000),
        default: "1000",
        unit: "learned examples",
        meaning: "The learned examples that a budget is of, the newest ones.",
    },
    Key {
        name: "sources.within",
        values: AllowedValues::Time,
        default: "1d",
        unit: "",
        meaning: "An example learned longer ago no longer counts towards a budget, so that learning goes \
                  on where few sources send feedback.",
    },
    Key {
        name: "sources.vouched",
        values: AllowedValues::List("at most 1000 names of 1 to 256 bytes, none twice"),
        default: "no names",
        unit: "",
        meaning: "The sources that have a budget of their own.",
    },
];
