//! The keys of `[drift]`: the watched streams, and the effect of an alarm.
//!
//! Invariant: in the order of the table.

use super::key::{AllowedValues, Key};

/// The keys, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "drift.action",
        values: AllowedValues::Words(&["report", "freeze", "retrain", "off"]),
        default: "report",
        unit: "",
        meaning: "The effect of an alarm of drift: \"report\" journals and shows it; \"freeze\" and \"retrain\" do so as \
                  well, and of an alarm of the error of the answers, \"freeze\" has \
                  nothing learned until a person resumes the model, and \"retrain\" has a learner begin anew, as \
                  retrain.on_drift. With \"off\", and under rules.revision = 1 and 2, nothing is watched.",
    },
    Key {
        name: "drift.false_alarms",
        values: AllowedValues::Above(0.0, 1000.0),
        default: "1",
        unit: "alarms in 100,000 events",
        meaning: "False alarms that all tests of the model together may raise at most, on average, as \
                  long as its inputs, answers and labels do not change.",
    },
];
