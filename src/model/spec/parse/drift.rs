//! The table `[drift]`.

use serde::Deserialize;

use super::values::{not_here, number, unknown, word};
use crate::model::spec::drift::{DriftAction, DriftSettings};
use crate::model::spec::error::Error;
use crate::model::spec::revision::RETAINS;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDrift {
    action: Option<String>,
    false_alarms: Option<f64>,
}

/// The settings; none where nothing is watched, as under the first two revisions.
pub(super) fn drift(raw: &RawDrift, revision: u32) -> Result<Option<DriftSettings>, Error> {
    if revision < RETAINS {
        let of = format!("a model under rules.revision = {RETAINS}");
        not_here("drift.action", &raw.action, &of)?;
        not_here("drift.false_alarms", &raw.false_alarms, &of)?;
        return Ok(None);
    }
    let false_alarms = number("drift.false_alarms", raw.false_alarms)?;
    let action = match word("drift.action", raw.action.as_deref()) {
        "report" => DriftAction::Report,
        "freeze" => DriftAction::Freeze,
        "retrain" => DriftAction::Retrain,
        "off" => return Ok(None),
        other => return Err(unknown("drift.action", other)),
    };
    Ok(Some(DriftSettings {
        action,
        false_alarms,
    }))
}
