//! The table `[retrain]`.

use serde::Deserialize;

use super::values::{count, flag, number, time, value};
use crate::model::spec::drift::DriftSettings;
use crate::model::spec::error::Error;
use crate::model::spec::retrain::RetrainSettings;
use crate::model::spec::task::Task;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetrain {
    newest: Option<u64>,
    after_events: Option<u64>,
    every: Option<String>,
    on_drift: Option<bool>,
    below_accuracy: Option<f64>,
    cooldown_events: Option<u64>,
}

/// The settings; drift and accuracy need the tests for drift.
pub(super) fn retrain(
    raw: &RawRetrain,
    task: &Task,
    drift: Option<DriftSettings>,
) -> Result<RetrainSettings, Error> {
    let settings = RetrainSettings {
        newest: count("retrain.newest", raw.newest)?,
        after_events: match raw.after_events {
            None => None,
            written => Some(count("retrain.after_events", written)?),
        },
        every_s: raw.every.as_deref().map(every).transpose()?,
        on_drift: flag("retrain.on_drift", raw.on_drift),
        below_accuracy: match raw.below_accuracy {
            None => None,
            written => Some(number("retrain.below_accuracy", written)?),
        },
        cooldown_events: count("retrain.cooldown_events", raw.cooldown_events)?,
    };
    let below = settings.below_accuracy.map(|share| share.to_string());
    if let (Some(share), false) = (&below, matches!(task, Task::Classification { .. })) {
        let why = "only a classification has an accuracy";
        return Err(value("retrain.below_accuracy", share, why));
    }
    let watched = "it needs drift.action = \"report\", under rules.revision = 3";
    match (drift, settings.on_drift, below) {
        (None, true, _) => Err(value("retrain.on_drift", "true", watched)),
        (None, _, Some(share)) => Err(value("retrain.below_accuracy", share, watched)),
        _ => Ok(settings),
    }
}

fn every(written: &str) -> Result<u64, Error> {
    const KEY: &str = "retrain.every";
    match time(KEY, Some(written))? {
        0 => Err(value(
            KEY,
            format!("{written:?}"),
            "expected a time above 0",
        )),
        seconds => Ok(seconds),
    }
}
