//! The states that a history can go on from.
//!
//! Invariant: nothing is gone on from whose entries, or whose waiting predictions, the journal has lost.

use std::sync::Arc;

use crate::engine::history::error::Error;
use crate::engine::history::pass::{first_description, first_position};
use crate::engine::versions::saved::Versions;
use crate::event::Order;
use crate::learn::{Exclusion, Learner};
use crate::model::Spec;

/// The state behind `base` of the history that an order asks for.
pub(super) fn beginning(
    versions: &Versions,
    order: Option<&Order>,
    exclusions: &[Exclusion],
    base: u64,
) -> Result<Learner, Error> {
    let first = || Ok::<_, Error>(versions.beginning(first_spec(versions, order)?)?);
    match (order, base) {
        (Some(Order::Retrain { description, .. }), _) => {
            let learner = first()?.rederive(exclusions.to_vec());
            Ok(learner.begin_behind(base, description.clone()))
        }
        (Some(_), 0) => Ok(first()?.rederive(exclusions.to_vec())),
        (Some(_), _) => Ok(versions.base_at(base)?.rederive(exclusions.to_vec())),
        (None, 0) => first(),
        (None, _) => Ok(versions.base_at(base)?),
    }
}

/// Refuses a state whose waiting predictions the journal no longer holds.
pub(super) fn check_waiting(learner: &Learner, base: u64, first: u64) -> Result<(), Error> {
    match learner.oldest_needed().filter(|at| *at < first) {
        None => Ok(()),
        Some(oldest) => Err(Error::NotRetained(format!(
            "predictions or feedback from position {oldest} on wait in the state at {base}, but the \
             journal was shortened and starts at {first} now"
        ))),
    }
}

/// The first position of the journal, if the entries behind the state at `base` are still there.
pub(super) fn reaches_back(versions: &Versions, base: u64) -> Result<u64, Error> {
    let first = first_position(versions)?;
    if base + 1 >= first {
        Ok(first)
    } else {
        Err(Error::NotRetained(format!(
            "the journal no longer reaches back far enough: it was shortened and starts at \
         position {first} now, behind position {}",
            base + 1
        )))
    }
}

/// The positions before `first` that have a checkpoint, the newest first.
pub(super) fn older(versions: &Versions, first: u64) -> Result<Vec<u64>, Error> {
    let positions = versions.retry.run(|| versions.positions())?;
    let older = positions.into_iter().rev();
    Ok(older.filter(|position| *position < first).collect())
}

/// The description that a history starts with.
fn first_spec(versions: &Versions, order: Option<&Order>) -> Result<Arc<Spec>, Error> {
    let toml = match order {
        Some(Order::Adopt(description) | Order::Retrain { description, .. }) => {
            description.toml.clone()
        }
        _ => first_description(versions)?.ok_or_else(|| {
            let what = "its journal does not start with a description";
            Error::NotRetained(what.to_owned())
        })?,
    };
    Ok(Arc::new(Spec::journaled(&toml)?))
}
