//! The table `[retrain]`.

use serde::Deserialize;

use super::values::{count, flag, number, time_above, value};
use crate::model::spec::drift::{DriftAction, DriftSettings};
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
        every_s: time_above("retrain.every", raw.every.as_deref())?,
        on_drift: flag("retrain.on_drift", raw.on_drift)
            || drift.is_some_and(|drift| drift.action == DriftAction::Retrain),
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
    let watched = "it needs a drift.action that is not \"off\", under rules.revision = 3";
    match (drift, settings.on_drift, below) {
        (None, true, _) => Err(value("retrain.on_drift", "true", watched)),
        (None, _, Some(share)) => Err(value("retrain.below_accuracy", share, watched)),
        _ => Ok(settings),
    }
}
