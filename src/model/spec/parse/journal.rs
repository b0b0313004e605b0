//! The bounds of a journal: `[journal]`, and the limits that were ordered in its place.

use serde::Deserialize;

use super::values::{count, count_or, refused, size, time};
use crate::model::spec::error::Error;
use crate::model::spec::keys::bytes;
use crate::model::spec::limits::{JournalLimits, OrderedLimits};

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJournal {
    bytes_max: Option<String>,
    reserve: Option<String>,
    age_max: Option<String>,
    retract_within: Option<String>,
    lag_max: Option<u64>,
    ids_max: Option<u64>,
    ids_bytes_max: Option<String>,
    backfill_bytes_max: Option<String>,
}

impl RawJournal {
    /// The limits that an operator can order, as they are written.
    pub(super) fn orderable(&self) -> OrderedLimits {
        OrderedLimits {
            bytes_max: self.bytes_max.clone(),
            retract_within: self.retract_within.clone(),
        }
    }
}

/// The limits in force.
pub(super) fn apply(journal: &RawJournal, ordered: &OrderedLimits) -> RawJournal {
    let OrderedLimits {
        bytes_max,
        retract_within,
    } = ordered.clone();
    RawJournal {
        bytes_max: bytes_max.or_else(|| journal.bytes_max.clone()),
        retract_within: retract_within.or_else(|| journal.retract_within.clone()),
        ..journal.clone()
    }
}

pub(super) fn journal(raw: &RawJournal, revision: u32) -> Result<JournalLimits, Error> {
    let bytes_max = size("journal.bytes_max", raw.bytes_max.as_deref())?;
    let reserve = match raw.reserve.as_deref() {
        None => bytes_max / 16,
        Some(written) => bytes(written)
            .filter(|reserve| *reserve <= bytes_max / 2)
            .ok_or_else(|| refused("journal.reserve", written))?,
    };
    // The first revision knows no more than these: the others would be refused.
    let ids_max = if revision == 1 { 1_000_000 } else { 250_000 };
    Ok(JournalLimits {
        bytes_max,
        reserve,
        age_max_s: time("journal.age_max", raw.age_max.as_deref())?,
        retract_within_s: time("journal.retract_within", raw.retract_within.as_deref())?,
        lag_max: count("journal.lag_max", raw.lag_max)?,
        ids_max: count_or("journal.ids_max", raw.ids_max, || ids_max)? as usize,
        ids_bytes_max: size("journal.ids_bytes_max", raw.ids_bytes_max.as_deref())?,
        backfill_bytes_max: size(
            "journal.backfill_bytes_max",
            raw.backfill_bytes_max.as_deref(),
        )?,
    })
}
