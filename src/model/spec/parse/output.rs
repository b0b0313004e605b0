//! The table `[output]`.

use serde::Deserialize;

use super::values::{not_here, unknown};
use crate::model::spec::error::Error;
use crate::model::spec::output::Datatype;
use crate::model::spec::revision::RETAINS;
use crate::model::spec::task::Task;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutput {
    datatype: Option<String>,
}

/// The datatype of values: 64 bits from the third revision of the rules on.
pub(super) fn datatype(raw: &RawOutput, task: &Task, revision: u32) -> Result<Datatype, Error> {
    if !matches!(task, Task::Regression) {
        not_here("output.datatype", &raw.datatype, "a regression")?;
    }
    let Some(written) = raw.datatype.as_deref() else {
        return Ok(match revision {
            ..RETAINS => Datatype::Fp32,
            _ => Datatype::Fp64,
        });
    };
    let mut all = Datatype::ALL.into_iter();
    let known = all.find(|datatype| datatype.word() == written);
    known.ok_or_else(|| unknown("output.datatype", written))
}
