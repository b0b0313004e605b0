//! The keys of `[publish]`: which weights serve, and by which evidence.
//!
//! Invariant: as that of the table which they are a part of.

use super::key::{AllowedValues, Key};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "publish.policy",
        values: AllowedValues::Words(&["live", "gated", "manual"]),
        default: "live",
        unit: "",
        meaning: "The serving weights. \"live\": the candidate, each update from the next \
                  prediction on, until evidence shows that it is worse than the champion. \
                  \"gated\": the champion, until evidence shows that a copy of the candidate is not \
                  worse. \"manual\": the champion, until a person promotes such a copy.",
    },
    Key {
        name: "publish.canary",
        values: AllowedValues::Between(0.0, 0.5),
        default: "0",
        unit: "",
        meaning: "The share of journaled requests, by a seeded hash of the first row's prediction id, \
                  that the candidate answers where the champion serves.",
    },
    Key {
        name: "publish.margin",
        values: AllowedValues::Between(0.0, 0.5),
        default: "0.01",
        unit: "",
        meaning: "The loss, of 1 at most, by which a contender may be worse than the champion and be \
                  promoted.",
    },
    Key {
        name: "publish.alpha",
        values: AllowedValues::Above(0.0, 0.5),
        default: "0.01",
        unit: "",
        meaning: "The largest probability of a wrong promotion, and of a wrong rewind, against one \
                  champion.",
    },
    Key {
        name: "publish.retention_margin",
        values: AllowedValues::Between(0.0, 1.0),
        default: "0.15",
        unit: "",
        meaning: "Of the anchors of a class or a slice, where there are 30, and of all, the share by which \
                  a contender may answer fewer right than the champion and be promoted by evidence.",
    },
    Key {
        name: "publish.every_examples",
        values: AllowedValues::Count(1, 1_000_000_000),
        default: "250; 2500 under publish.policy = \"live\"",
        unit: "examples",
        meaning: "Examples between two contenders: copies of the candidate that are tested against \
                  the champion. An eighth of all examples where that is more, 10000 at most.",
    },
    // On a stream of 8 columns `auto` takes 25 microseconds an example, and 7 more for each answer.
    Key {
        name: "publish.score_every",
        values: AllowedValues::Count(1, 1_000),
        default: "10",
        unit: "examples",
        meaning: "Of so many examples one, by a seeded hash, is scored by candidate, champion and \
                  contender; every one while the evidence points against the candidate, of the 2000 \
                  after an incident, and, where the champion serves, of the first 2000, of the first \
                  300 of a contender and while the evidence points to its promotion.",
    },
    Key {
        name: "publish.freeze_within",
        values: AllowedValues::Count(1, 1_000_000_000),
        default: "10000",
        unit: "examples",
        meaning: "A second rewind within so many examples of the first freezes the model: it learns \
                  again once a person resumes it.",
    },
];
