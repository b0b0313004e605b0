//! The table `[series]`.

use serde::Deserialize;

use super::values::{count, not_here, value};
use crate::model::spec::error::Error;
use crate::model::spec::input::{Input, InputKind};
use crate::model::spec::learning::LearnerKind;
use crate::model::spec::revision::RETAINS;
use crate::model::spec::series::SeriesSettings;
use crate::model::spec::task::Task;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSeries {
    key: Option<String>,
    keys_max: Option<u64>,
}

/// The settings, checked against the inputs.
pub(super) fn series(raw: &RawSeries, inputs: &[Input]) -> Result<SeriesSettings, Error> {
    let place = |name: &String| {
        let kind =
            |kind: &InputKind| matches!(kind, InputKind::Category | InputKind::Number { .. });
        let mut inputs = inputs.iter();
        let place = inputs.position(|input| input.name == *name && kind(&input.kind));
        let allowed = "the name of an input that is a category or a number";
        place.ok_or_else(|| value("series.key", format!("{name:?}"), allowed))
    };
    Ok(SeriesSettings {
        key: raw.key.as_ref().map(place).transpose()?,
        keys_max: count("series.keys_max", raw.keys_max)? as usize,
    })
}

/// Refuses a key column where no past of the target is remembered.
pub(super) fn check(
    raw: &RawSeries,
    task: &Task,
    learner: &LearnerKind,
    revision: u32,
) -> Result<(), Error> {
    let regression = matches!((task, learner), (Task::Regression, LearnerKind::Auto(_)));
    if regression && revision >= RETAINS {
        return Ok(());
    }
    let of = format!("a regression by learner.kind = \"auto\" under rules.revision = {RETAINS}");
    not_here("series.key", &raw.key, &of)?;
    not_here("series.keys_max", &raw.keys_max, &of)
}
