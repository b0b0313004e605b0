//! The keys of `[retrain]`: when a learner is to begin anew, and from which entry.
//!
//! Invariant: in the order of the table.

use super::key::{AllowedValues, Key};

/// The keys, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "retrain.newest",
        values: AllowedValues::Count(0, 1_000_000_000),
        default: "0",
        unit: "labelled rows",
        meaning: "Rows that a learner learns from which begins anew: the newest ones, or all that the \
                  journal retains if 0.",
    },
    Key {
        name: "retrain.after_events",
        values: AllowedValues::Count(1, 1_000_000_000_000),
        default: "never by count",
        unit: "feedback events",
        meaning: "A learner begins anew each time that so many feedback events have come.",
    },
    Key {
        name: "retrain.every",
        values: AllowedValues::Time,
        default: "never by time",
        unit: "",
        meaning: "A learner begins anew each time that so much time has passed. A retraining that falls due while \
                  no server runs is made up for once, at its start.",
    },
    Key {
        name: "retrain.on_drift",
        values: AllowedValues::Bool,
        default: "false",
        unit: "",
        meaning: "A learner begins anew behind an alarm for an error of the answers that has \
                  drifted, once twice as many entries as `newest` have come since.",
    },
    Key {
        name: "retrain.below_accuracy",
        values: AllowedValues::Above(0.0, 1.0),
        default: "never by accuracy",
        unit: "",
        meaning: "For a classification: a learner begins anew when the share of right answers, over \
                  the newest ones whose error is steady, 300 at least, is below this.",
    },
    Key {
        name: "retrain.cooldown_events",
        values: AllowedValues::Count(1, 1_000_000_000),
        default: "5000",
        unit: "feedback events",
        meaning: "Feedback events between two that drift or accuracy ask for, at least.",
    },
];
