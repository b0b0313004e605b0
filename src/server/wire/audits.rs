//! Retractions and audits as messages.
//!
//! Invariant: exactly one choice of feedback leaves this file inward.

use crate::engine::{
    Audit, Certificate, ChampionScore, Fate, FeedbackFate, MovedAlias, PredictionFeedback,
    QuarantinedFeedback, RetractionPlan,
};
use crate::event::{Column, Outputs, Selector, Signal, Subject, Time, value_text};
use crate::model::argmax;
use crate::proto::perennial::v1::{
    self as messages, AuditResponse, AuditedFeedback, ErasedFeedback, FateResponse, Named, Output,
};

use super::feedback::time;
use super::records::timestamp;
use super::refusal::Refusal;

/// The feedback that a request selects.
pub(in crate::server) fn selector(request: &messages::RetractRequest) -> Result<Selector, Refusal> {
    let between = request.since.is_some() || request.until.is_some();
    let n_choices = [
        request.source.is_some(),
        request.feedback_id.is_some(),
        between,
    ];
    if n_choices.iter().filter(|chosen| **chosen).count() != 1 {
        let what = "selector: expected exactly one of source, feedback_id, or since and until";
        return Err(Refusal::invalid("selector", what));
    }
    if let Some(source) = &request.source {
        return Ok(Selector::Source(source.clone()));
    }
    if let Some(feedback_id) = &request.feedback_id {
        return Ok(Selector::FeedbackId(feedback_id.clone()));
    }
    let moment = |moment: Option<prost_types::Timestamp>, or: Time| moment.map_or(Ok(or), time);
    let since = moment(request.since, Time(i64::MIN))?;
    let until = moment(request.until, Time(i64::MAX))?;
    if since <= until {
        Ok(Selector::Accepted { since, until })
    } else {
        Err(Refusal::invalid(
            "until",
            "until: expected a moment not before since",
        ))
    }
}

/// The plan of a retraction, before anything is changed.
pub(in crate::server) fn plan(
    model: &str,
    selector: &Selector,
    plan: RetractionPlan,
) -> messages::Certificate {
    let champion = plan.champion.unwrap_or_default();
    let is_known = champion.before.position > 0;
    let scored = |one: ChampionScore| is_known.then(|| champion_score(one));
    messages::Certificate {
        champion_before: scored(champion.before),
        champion_after: scored(champion.after),
        incidents_gone: champion.gone,
        incidents_come: champion.come,
        approvals_void: champion.void,
        model: model.to_owned(),
        selector: selector.to_string(),
        excluded: plan.excluded,
        first_position: plan.first_position,
        last_position: plan.last_position,
        base: plan.base,
        entries: plan.entries,
        tainted: plan.tainted,
        aliases: plan.aliases.into_iter().map(moved).collect(),
        ..Default::default()
    }
}

fn moved(one: MovedAlias) -> messages::MovedAlias {
    messages::MovedAlias {
        alias: one.alias,
        before: one.before,
        after: one.after,
    }
}

fn champion_score(score: ChampionScore) -> messages::ChampionScore {
    messages::ChampionScore {
        version: score.version,
        position: score.position,
        labels: score.labels,
        loss: score.loss,
    }
}

/// The certificate of a retraction.
pub(in crate::server) fn certificate(
    model: &str,
    selector: &Selector,
    certificate: Certificate,
) -> messages::Certificate {
    messages::Certificate {
        version: certificate.version,
        position: certificate.position,
        digest: certificate.digest,
        profile: certificate.profile,
        erased: certificate.erased,
        ..plan(model, selector, certificate.plan)
    }
}

/// All that an audit found.
pub fn audit(audit: Audit) -> AuditResponse {
    let bit_equal = audit.bit_equal();
    let answered = |outputs: &Outputs| output(outputs, &audit.names);
    let (again, reason) = match &audit.again {
        Ok(again) => (
            Some(answered(again)),
            audit.difference.clone().unwrap_or_default(),
        ),
        Err(reason) => (None, reason.to_string()),
    };
    let (without, left_out, without_reason) = match &audit.without {
        None => (None, 0, String::new()),
        Some(Ok(without)) => {
            let answer = output(&without.answer, &without.names);
            (Some(answer), without.excluded, String::new())
        }
        Some(Err(reason)) => (None, 0, reason.to_string()),
    };
    AuditResponse {
        entry: audit.entry,
        row: audit.row as u64,
        time: Some(timestamp(audit.time)),
        version: audit.version,
        position: audit.position,
        answer: Some(answered(&audit.answer)),
        again,
        bit_equal,
        reason,
        without,
        left_out,
        without_reason,
        model: audit.model,
        build: audit.description.build,
        profile: audit.description.profile,
        inputs: audit.inputs.into_iter().map(named).collect(),
        feedback: audit.feedback.into_iter().map(audited).collect(),
        erased: audit.erased.into_iter().map(erased).collect(),
        sources: audit.sources.into_iter().collect(),
        sources_from: audit.sources_from,
        retention: audit.retention,
    }
}

fn named((name, column): (String, Column)) -> Named {
    let value = match column {
        Column::Numbers(values) => values[0].to_string(),
        Column::Strings(mut values)
        | Column::Embedded {
            texts: mut values, ..
        } => values.swap_remove(0),
        Column::Vectors(bytes) => {
            let (floats, _) = bytes.as_chunks::<4>();
            let floats = floats
                .iter()
                .map(|float| f32::from_le_bytes(*float).to_string());
            format!("[{}]", floats.collect::<Vec<_>>().join(", "))
        }
    };
    Named { name, value }
}

fn output(outputs: &Outputs, names: &[String]) -> Output {
    let name = |index: usize| {
        let known = names.get(index).cloned();
        known.unwrap_or_else(|| format!("number {index}"))
    };
    match outputs {
        Outputs::Probabilities(probabilities) => Output {
            answer: name(argmax(probabilities)),
            propensity: None,
            names: names.to_vec(),
            values: probabilities.clone(),
            value: None,
        },
        Outputs::Decisions {
            probabilities,
            chosen,
        } => Output {
            answer: name(chosen[0] as usize),
            propensity: None,
            names: names.to_vec(),
            values: probabilities.clone(),
            value: None,
        },
        Outputs::Values(values) => Output {
            answer: value_text(values[0]),
            propensity: None,
            names: Vec::new(),
            values: values.iter().map(|value| *value as f32).collect(),
            value: Some(values[0]),
        },
        Outputs::Actions {
            chosen,
            propensities,
            scores,
        } => Output {
            answer: name(chosen[0] as usize),
            propensity: Some(propensities[0]),
            names: names.to_vec(),
            values: scores.clone(),
            value: None,
        },
    }
}

/// A feedback event, and its fate.
pub fn fate(found: FeedbackFate) -> FateResponse {
    FateResponse {
        feedback: Some(audited(found.feedback)),
        prediction_id: found
            .prediction
            .map_or_else(String::new, |id| id.to_string()),
        resent: found.resent,
    }
}

/// A feedback event that waits in quarantine.
pub(in crate::server) fn quarantined(one: QuarantinedFeedback) -> messages::QuarantinedFeedback {
    let prediction_id = match one.feedback.subject {
        Subject::Prediction(id) => id.to_string(),
        Subject::Inputs { .. } => String::new(),
    };
    messages::QuarantinedFeedback {
        cause: one.cause.word().to_owned(),
        feedback: Some(audited(PredictionFeedback {
            position: one.position,
            time: one.time,
            source: one.feedback.source,
            feedback_id: one.feedback.feedback_id,
            signal: one.feedback.signal,
            weight: one.feedback.weight,
            comment: one.feedback.comment,
            fate: Some(Fate::Quarantined),
            retracted: false,
        })),
        prediction_id,
    }
}

fn audited(feedback: PredictionFeedback) -> AuditedFeedback {
    let signal = match feedback.signal {
        Signal::Label(label) => format!("label {label}"),
        Signal::Value(value) => format!("value {value}"),
        Signal::Reward(reward) => format!("reward {reward}"),
        Signal::Named { name, value } => format!("{name} {value}"),
        Signal::PreferredOver(other) => format!("preferred over {other}"),
    };
    AuditedFeedback {
        position: feedback.position,
        time: Some(timestamp(feedback.time)),
        source: feedback.source,
        feedback_id: feedback.feedback_id,
        signal,
        retracted: feedback.retracted,
        fate: feedback
            .fate
            .map_or_else(String::new, |fate| fate.word().to_owned()),
        weight: feedback.weight,
        comment: feedback.comment,
    }
}

fn erased((order, events): (u64, u64)) -> ErasedFeedback {
    ErasedFeedback { events, order }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::perennial::v1::RetractRequest;

    #[test]
    fn p9_a_retraction_chooses_in_exactly_one_way() {
        let moment = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let check = |request: RetractRequest, expected: Option<Selector>| {
            assert_eq!(selector(&request).ok(), expected, "{request:?}");
        };
        check(RetractRequest::default(), None);
        let by_source = RetractRequest {
            source: Some("s".to_owned()),
            ..Default::default()
        };
        check(by_source.clone(), Some(Selector::Source("s".to_owned())));
        check(
            RetractRequest {
                since: moment(1),
                ..by_source.clone()
            },
            None,
        );
        check(
            RetractRequest {
                feedback_id: Some("f".to_owned()),
                ..by_source
            },
            None,
        );
        let by_time = |since, until| RetractRequest {
            since,
            until,
            ..Default::default()
        };
        let (since, until) = (Time(1_000_000), Time(2_000_000));
        check(
            by_time(moment(1), moment(2)),
            Some(Selector::Accepted { since, until }),
        );
        check(by_time(moment(2), moment(1)), None);
        let open = Selector::Accepted {
            since,
            until: Time(i64::MAX),
        };
        check(by_time(moment(1), None), Some(open));
    }
}
