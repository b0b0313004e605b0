//! From a feedback message to a feedback event, and from its acknowledgement to a reply.
//!
//! Invariant: an event made here speaks of exactly one subject with exactly one signal, and the
//! signal is one that the model's task can learn from.

use std::collections::{BTreeMap, HashMap};

use prost_types::Timestamp;

use super::refusal::Refusal;
use super::signals::{signal, unknown};
use super::tensors::{Tensors, batch};
use crate::engine::Accepted;
use crate::event::{Decision, Feedback, Subject, Time};
use crate::model::{Spec, Task};
use crate::proto::inference::model_infer_request::InferInputTensor;
use crate::proto::perennial::v1::feedback_reply::Status;
use crate::proto::perennial::v1::{FeedbackReply, FeedbackRequest, Tensor};

const FEEDBACK_ID_BYTES_MAX: usize = 128;
const SOURCE_BYTES_MAX: usize = 256;
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 128;
/// How far from now a row that comes with its feedback may have happened: within it, a resent
/// event is recognised.
const EVENT_AGE_US_MAX: i64 = 24 * 3600 * 1_000_000;

/// The event that the message holds, if `spec` can learn from it; `names` are the classes or
/// actions known by now, which is from the first to the second time: clocks may differ.
pub(in crate::server) fn feedback(
    mut request: FeedbackRequest,
    spec: &Spec,
    names: &[String],
    now: (Time, Time),
) -> Result<Feedback, Refusal> {
    let id_bytes = request.feedback_id.len();
    if !(1..=FEEDBACK_ID_BYTES_MAX).contains(&id_bytes) {
        let what = format!("feedback_id: {id_bytes} bytes, expected 1 to {FEEDBACK_ID_BYTES_MAX}");
        return Err(Refusal::invalid("feedback_id", what));
    }
    if request.source.len() > SOURCE_BYTES_MAX {
        let got = request.source.len();
        let what = format!("source: {got} bytes, expected at most {SOURCE_BYTES_MAX}");
        return Err(Refusal::invalid("source", what));
    }
    let tags = tags(std::mem::take(&mut request.tags))?;
    let signal = signal(&mut request, spec, names)?;
    let event_time = request.event_time.map(time).transpose()?;
    let subject = subject(&mut request, spec, event_time, now)?;
    Ok(Feedback {
        feedback_id: request.feedback_id,
        subject,
        signal,
        source: request.source,
        event_time,
        tags,
        actor: String::new(),
    })
}

/// The reply to the event `feedback_id`.
pub(in crate::server) fn reply(
    feedback_id: String,
    fate: Result<Accepted, Refusal>,
) -> FeedbackReply {
    let (status, position) = match fate {
        Ok(Accepted::Accepted { position }) => (Status::Accepted, position),
        Ok(Accepted::Duplicate { position }) => (Status::Duplicate, position),
        Ok(Accepted::Retracted { position }) => {
            return FeedbackReply {
                feedback_id,
                status: Status::Retracted.into(),
                position,
                message: "feedback_id: what came under it was retracted; \
                          send a correction under a new feedback_id"
                    .to_owned(),
                ..Default::default()
            };
        }
        Err(refusal) => {
            return FeedbackReply {
                feedback_id,
                status: Status::Refused.into(),
                position: 0,
                code: refusal.code.into(),
                field: refusal.field.to_owned(),
                message: refusal.message,
            };
        }
    };
    FeedbackReply {
        feedback_id,
        status: status.into(),
        position,
        ..Default::default()
    }
}

fn tags(tags: HashMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    if tags.len() > TAGS_MAX {
        let what = format!("tags: {}, expected at most {TAGS_MAX}", tags.len());
        return Err(Refusal::invalid("tags", what));
    }
    let longest = tags.iter().map(|(name, value)| name.len().max(value.len()));
    match longest.max() {
        Some(got) if got > TAG_BYTES_MAX => {
            let what =
                format!("tags: {got} bytes, expected at most {TAG_BYTES_MAX} a name or value");
            Err(Refusal::invalid("tags", what))
        }
        _ => Ok(tags.into_iter().collect()),
    }
}

pub(super) fn time(timestamp: Timestamp) -> Result<Time, Refusal> {
    let micros = timestamp.seconds.checked_mul(1_000_000);
    let micros = micros.and_then(|micros| micros.checked_add(i64::from(timestamp.nanos) / 1000));
    match micros {
        Some(micros) if (0..1_000_000_000).contains(&timestamp.nanos) => Ok(Time(micros)),
        _ => Err(Refusal::invalid(
            "event_time",
            format!(
                "event_time: {} s and {} ns, expected 0 to 999999999 ns",
                timestamp.seconds, timestamp.nanos
            ),
        )),
    }
}

fn subject(
    request: &mut FeedbackRequest,
    spec: &Spec,
    event_time: Option<Time>,
    now: (Time, Time),
) -> Result<Subject, Refusal> {
    let has_inputs = !request.inputs.is_empty();
    match (request.prediction_id.take(), has_inputs) {
        (Some(id), false) => {
            refuse_decision(request, "a prediction_id already names them")?;
            let what = || format!("prediction_id: \"{id:.64}\", expected a hyphenated UUID");
            let id = id
                .parse()
                .map_err(|_| Refusal::invalid("prediction_id", what()))?;
            Ok(Subject::Prediction(id))
        }
        (None, true) => {
            check_age(event_time, now)?;
            let decision = decision(request, &spec.task)?;
            let inputs = std::mem::take(&mut request.inputs);
            let batch = batch(spec, raw(inputs), 1)?;
            Ok(Subject::Inputs { batch, decision })
        }
        (Some(_), true) => Err(Refusal::invalid(
            "prediction_id",
            "both prediction_id and inputs, expected exactly one of them",
        )),
        (None, false) => Err(Refusal::invalid(
            "prediction_id",
            "neither prediction_id nor inputs, expected exactly one of them",
        )),
    }
}

/// The tensors of a row, as those of a prediction.
fn raw(tensors: Vec<Tensor>) -> Tensors {
    let parts = tensors.into_iter().map(|tensor| {
        let input = InferInputTensor {
            name: tensor.name,
            datatype: tensor.datatype,
            shape: tensor.shape,
            ..Default::default()
        };
        (input, tensor.contents)
    });
    let (inputs, raw) = parts.unzip();
    Tensors { inputs, raw }
}

fn check_age(event_time: Option<Time>, now: (Time, Time)) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::invalid("event_time", what));
    let Some(Time(event_time)) = event_time else {
        return refuse("event_time: missing, expected with inputs");
    };
    let (earliest, latest) = now;
    if earliest.0.saturating_sub(event_time) > EVENT_AGE_US_MAX {
        return refuse("event_time: more than a day ago");
    }
    if event_time.saturating_sub(latest.0) > EVENT_AGE_US_MAX {
        return refuse("event_time: more than a day ahead");
    }
    Ok(())
}

fn decision(request: &mut FeedbackRequest, task: &Task) -> Result<Option<Decision>, Refusal> {
    let Task::Bandit { actions } = task else {
        refuse_decision(request, &format!("the model's task is {}", task.word()))?;
        return Ok(None);
    };
    let missing =
        |field| Refusal::invalid(field, format!("{field}: missing, expected with inputs"));
    let action = request.action.take().ok_or_else(|| missing("action"))?;
    let propensity = request.propensity.ok_or_else(|| missing("propensity"))?;
    if !actions.contains(&action) {
        return Err(unknown("action", &action, actions));
    }
    if !(propensity > 0.0 && propensity <= 1.0) {
        let what = format!("propensity: {propensity}, expected above 0 and at most 1");
        return Err(Refusal::invalid("propensity", what));
    }
    Ok(Some(Decision { action, propensity }))
}

/// Action and propensity belong to a bandit's inputs only.
fn refuse_decision(request: &FeedbackRequest, why: &str) -> Result<(), Refusal> {
    let given = match (&request.action, &request.propensity) {
        (Some(_), _) => "action",
        (None, Some(_)) => "propensity",
        (None, None) => return Ok(()),
    };
    let what = format!("{given}: expected only with a bandit's inputs; {why}");
    Err(Refusal::invalid(given, what))
}

#[cfg(test)]
mod tests;
