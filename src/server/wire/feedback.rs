//! From a feedback message to a feedback event, and from its acknowledgement to a reply.
//!
//! Invariant: an event made here speaks of exactly one subject with exactly one signal, and the
//! signal is one that the model's task can learn from.

use std::collections::{BTreeMap, HashMap};

use prost_types::Timestamp;

use super::refusal::Refusal;
use super::signals::{signal, unknown};
use super::tensors::{RequestTensors, batch};
use crate::engine::Acknowledgement;
use crate::event::{BACKFILL_TAG, Decision, Feedback, Subject, Time, WEIGHTS};
use crate::model::{Spec, Task};
use crate::proto::inference::model_infer_request::InferInputTensor;
use crate::proto::perennial::v1::feedback_reply::Status;
use crate::proto::perennial::v1::{FeedbackReply, FeedbackRequest, Tensor};

const FEEDBACK_ID_BYTES_MAX: usize = 128;
const SOURCE_BYTES_MAX: usize = 256;
const COMMENT_BYTES_MAX: usize = 1024;
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 128;
/// The largest distance from now of a row that comes with its feedback: within it, a resent event is
/// recognised.
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
        let given = match id_bytes {
            0 => "not given; each event has an id of its own".to_owned(),
            n => format!("{n} bytes"),
        };
        let what = format!("feedback_id: {given}, expected 1 to {FEEDBACK_ID_BYTES_MAX} bytes");
        return Err(Refusal::invalid("feedback_id", what));
    }
    if request.source.len() > SOURCE_BYTES_MAX {
        let got = request.source.len();
        let what = format!("source: {got} bytes, expected at most {SOURCE_BYTES_MAX}");
        return Err(Refusal::invalid("source", what));
    }
    let weight = weight(&request, spec)?;
    let comment_bytes = request.comment.as_ref().map_or(0, String::len);
    if comment_bytes > COMMENT_BYTES_MAX {
        let what = format!("comment: {comment_bytes} bytes, expected at most {COMMENT_BYTES_MAX}");
        return Err(Refusal::invalid("comment", what));
    }
    let declares_tag = request.tags.contains_key(BACKFILL_TAG);
    let mut tags = tags(std::mem::take(&mut request.tags))?;
    let signal = signal(&mut request, spec, names)?;
    let event_time = request.event_time.map(time).transpose()?;
    if declares_tag {
        let what = "tags: \"backfill\" is set by the field backfill alone";
        return Err(Refusal::invalid("tags", what));
    }
    if let Some(name) = backfill(&request, event_time, now)? {
        tags.insert(BACKFILL_TAG.to_owned(), name.clone());
        if request.source.is_empty() {
            request.source = name;
        }
    }
    let subject = subject(&mut request, spec, event_time, now)?;
    Ok(Feedback {
        feedback_id: request.feedback_id,
        subject,
        signal,
        source: request.source,
        event_time,
        tags,
        actor: String::new(),
        weight,
        comment: request.comment.unwrap_or_default(),
        may_correct: false,
    })
}

/// The weight of its example: a larger one than is described would outweigh all honest ones.
fn weight(request: &FeedbackRequest, spec: &Spec) -> Result<f64, Refusal> {
    let weight = request.weight.unwrap_or(1.0);
    let refuse = |what| Err(Refusal::invalid("weight", what));
    if !spec.has_weights() && weight != 1.0 {
        return refuse(format!(
            "weight: {weight}, expected 1 or none, since rules.revision is {}",
            spec.revision
        ));
    }
    let (min, max) = (*WEIGHTS.start(), spec.weight_max);
    match weight {
        weight if (min..=max).contains(&weight) => Ok(weight),
        weight if weight.is_finite() => refuse(format!(
            "weight: {weight:e}, expected {min} to {max}, the largest of [feedback] weight_max"
        )),
        weight => refuse(format!("weight: {weight}, expected a finite number")),
    }
}

/// The name of the backfill that an event is declared to belong to.
fn backfill(
    request: &FeedbackRequest,
    event_time: Option<Time>,
    (_, latest): (Time, Time),
) -> Result<Option<String>, Refusal> {
    let refuse = |field, what: String| Err(Refusal::invalid(field, what));
    let Some(name) = &request.backfill else {
        return Ok(None);
    };
    if !(1..=TAG_BYTES_MAX).contains(&name.len()) {
        let n = name.len();
        return refuse(
            "backfill",
            format!("backfill: {n} bytes, expected 1 to {TAG_BYTES_MAX}"),
        );
    }
    match event_time {
        None => refuse(
            "event_time",
            "event_time: missing, expected in a backfill".to_owned(),
        ),
        Some(Time(time)) if time.saturating_sub(latest.0) > EVENT_AGE_US_MAX => {
            refuse("event_time", "event_time: more than a day ahead".to_owned())
        }
        Some(_) => Ok(Some(name.clone())),
    }
}

/// The acknowledgement of an event.
#[derive(Debug)]
pub(in crate::server) struct EventAcknowledgement {
    /// The acknowledgement of the journal.
    pub accepted: Acknowledgement,
    /// True if it is known by now that it will match no prediction.
    pub is_unmatched: bool,
}

/// The id of an event as its reply has it: one that is longer than an id may be is cut.
pub(in crate::server) fn echoed_id(feedback_id: &str) -> String {
    let end = feedback_id.floor_char_boundary(FEEDBACK_ID_BYTES_MAX);
    feedback_id[..end].to_owned()
}

/// The reply to the event `feedback_id`.
pub(in crate::server) fn reply(
    feedback_id: String,
    fate: Result<EventAcknowledgement, Refusal>,
) -> FeedbackReply {
    let unmatched = fate.as_ref().is_ok_and(|one| one.is_unmatched);
    let (status, position) = match fate.map(|one| one.accepted) {
        Ok(Acknowledgement::Accepted { position }) => (Status::Accepted, position),
        Ok(Acknowledgement::Duplicate { position }) => (Status::Duplicate, position),
        Ok(Acknowledgement::Retracted { position }) => {
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
                ..Default::default()
            };
        }
    };
    FeedbackReply {
        feedback_id,
        status: status.into(),
        position,
        unmatched,
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
            let what = || match id.as_str() {
                "" => "prediction_id: \"\" is that of an answer that was not journaled; send the \
                       row itself as inputs"
                    .to_owned(),
                id => format!("prediction_id: \"{id:.64}\", expected a hyphenated UUID"),
            };
            let id = id
                .parse()
                .map_err(|_| Refusal::invalid("prediction_id", what()))?;
            Ok(Subject::Prediction(id))
        }
        (None, true) => {
            if request.backfill.is_none() {
                check_age(event_time, now)?;
            }
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
fn raw(tensors: Vec<Tensor>) -> RequestTensors {
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
    RequestTensors { inputs, raw }
}

fn check_age(event_time: Option<Time>, now: (Time, Time)) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::invalid("event_time", what));
    let Some(Time(event_time)) = event_time else {
        return refuse("event_time: missing, expected with inputs");
    };
    let (earliest, latest) = now;
    if earliest.0.saturating_sub(event_time) > EVENT_AGE_US_MAX {
        return refuse("event_time: more than a day ago; older rows come in a declared backfill");
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
