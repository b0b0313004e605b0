//! Which weights serve: the keys of `[publish]`.
//!
//! Invariant: under the earlier revisions of the rules, which have no gate, the candidate serves.

use super::raw::RawPublish;
use super::values::{count, count_or, number, unknown, value, word};
use crate::model::spec::error::Error;
use crate::model::spec::input::Input;
use crate::model::spec::publish::{Publish, PublishPolicy};
use crate::model::spec::revision::RETAINS;

pub(super) fn publish(raw: &RawPublish, inputs: &[Input], revision: u32) -> Result<Publish, Error> {
    const KEY: &str = "publish.policy";
    let written = word(KEY, raw.policy.as_deref());
    let policy = match written {
        "live" => PublishPolicy::Live,
        "gated" => PublishPolicy::Gated,
        "manual" => PublishPolicy::Manual,
        other => return Err(unknown(KEY, other)),
    };
    if policy != PublishPolicy::Live && revision < RETAINS {
        let needs = format!("it needs rules.revision = {RETAINS}");
        return Err(value(KEY, format!("{written:?}"), needs));
    }
    let canary = number("publish.canary", raw.canary)?;
    if canary > 0.0 && policy == PublishPolicy::Live {
        let why = "under publish.policy = \"live\" the candidate answers every request";
        return Err(value("publish.canary", canary, why));
    }
    if canary > 0.0 && inputs.iter().any(|input| input.kind.is_adapted()) {
        let why = "an encoder with adapters encodes a request for one side alone";
        return Err(value("publish.canary", canary, why));
    }
    // Where the champion serves, answers wait for the contenders.
    let spacing = match policy {
        PublishPolicy::Live => 2500,
        PublishPolicy::Gated | PublishPolicy::Manual => 250,
    };
    Ok(Publish {
        policy,
        canary,
        margin: number("publish.margin", raw.margin)?,
        retention_margin: number("publish.retention_margin", raw.retention_margin)?,
        alpha: number("publish.alpha", raw.alpha)?,
        every_examples: count_or("publish.every_examples", raw.every_examples, || spacing)?,
        score_every: count("publish.score_every", raw.score_every)?,
        freeze_within: count("publish.freeze_within", raw.freeze_within)?,
    })
}
