//! From an event to its payload.
//!
//! Invariant: the same event always makes the same bytes; an event that could not be read back
//! is refused.

use super::kinds::{are_single, format_of_feedback, format_of_prediction, format_of_version};
use super::shapes::{check_batch, check_outputs};
use crate::event::{
    Alarm, Batch, Change, Column, Command, Description, Disposal, Duplicate, Event, Feedback,
    Judgement, Order, Outputs, Prediction, Reason, Selector, Signal, Subject, Verdict, Version,
    WatchedStream,
};
use crate::store::error::Malformed;

/// Appends the payload of an event.
///
/// # Errors
/// [`Malformed`]: columns or outputs do not fit the rows, or a length is over 32 bits. Then `out`
/// holds a part of the payload, which the caller removes.
pub(crate) fn encode(event: &Event, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match event {
        Event::Description(description) => put_description(out, description),
        Event::Prediction(prediction) => put_prediction(out, prediction),
        Event::Feedback(feedback) => put_feedback(out, feedback),
        Event::Duplicate(duplicate) => put_duplicate(out, duplicate),
        Event::Command(command) => put_command(out, command),
        Event::Tick(until) => {
            put_u64(out, until.0 as u64);
            Ok(())
        }
        Event::Version(version) => {
            put_version(out, version);
            Ok(())
        }
        Event::Verdict(verdict) => {
            put_verdict(out, verdict);
            Ok(())
        }
        Event::Drift(alarm) => put_alarm(out, alarm),
        Event::Refusal(refusal) => {
            put_u64(out, refusal.position);
            Ok(())
        }
        Event::Erasure(erasure) => {
            put_u64(out, erasure.position);
            put_u64(out, erasure.entries);
            Ok(())
        }
        Event::Erased(_) => Err(Malformed("an erased entry cannot be written".to_owned())),
    }
}

fn put_alarm(out: &mut Vec<u8>, alarm: &Alarm) -> Result<(), Malformed> {
    put_u64(out, alarm.position);
    let watched = match alarm.watched {
        WatchedStream::Error => 1,
        WatchedStream::ErrorWindow => 2,
        WatchedStream::Calibration => 3,
        WatchedStream::Confidence => 4,
        WatchedStream::Prediction => 5,
        WatchedStream::Label => 6,
        WatchedStream::Input => 7,
        WatchedStream::InputGaps => 8,
        WatchedStream::InputLength => 9,
        WatchedStream::InputWords => 10,
        WatchedStream::InputProjection => 11,
        WatchedStream::Slice => 12,
    };
    let change = match alarm.change {
        Change::Higher => 1,
        Change::Lower => 2,
        Change::Wider => 3,
        Change::Narrower => 4,
        Change::Mix => 5,
    };
    out.extend([watched, change]);
    put_u64(out, alarm.evidence.to_bits());
    put_text(out, &alarm.input)
}

fn put_description(out: &mut Vec<u8>, description: &Description) -> Result<(), Malformed> {
    put_text(out, &description.toml)?;
    put_text(out, &description.build)?;
    put_text(out, &description.profile)
}

fn put_prediction(out: &mut Vec<u8>, prediction: &Prediction) -> Result<(), Malformed> {
    let n_rows = prediction.batch.n_rows;
    if prediction.ids.len() != n_rows {
        let n_ids = prediction.ids.len();
        return Err(Malformed(format!("{n_ids} ids for {n_rows} rows")));
    }
    check_batch(&prediction.batch)?;
    check_outputs(&prediction.outputs, n_rows)?;
    put_length(out, n_rows)?;
    for id in &prediction.ids {
        out.extend_from_slice(&id.0.to_le_bytes());
    }
    put_u64(out, prediction.version);
    put_u64(out, prediction.position);
    put_outputs(out, &prediction.outputs)?;
    put_batch(out, &prediction.batch)?;
    if format_of_prediction(prediction) > 1 {
        put_length(out, prediction.labels.len())?;
        for (place, label) in &prediction.labels {
            out.extend_from_slice(&place.to_le_bytes());
            put_text(out, label)?;
        }
    }
    Ok(())
}

fn put_outputs(out: &mut Vec<u8>, outputs: &Outputs) -> Result<(), Malformed> {
    match outputs {
        Outputs::Probabilities(values) => {
            out.push(1);
            put_list(out, values, f32::to_le_bytes)
        }
        Outputs::Values(values) if are_single(values) => {
            out.push(2);
            put_list(out, values, |value| (value as f32).to_le_bytes())
        }
        Outputs::Values(values) => {
            out.push(5);
            put_list(out, values, f64::to_le_bytes)
        }
        Outputs::Actions {
            chosen,
            propensities,
            scores,
        } => {
            out.push(3);
            put_list(out, chosen, u32::to_le_bytes)?;
            put_list(out, propensities, f32::to_le_bytes)?;
            put_list(out, scores, f32::to_le_bytes)
        }
        Outputs::Decisions {
            probabilities,
            chosen,
        } => {
            out.push(4);
            put_list(out, probabilities, f32::to_le_bytes)?;
            put_list(out, chosen, u32::to_le_bytes)
        }
    }
}

fn put_batch(out: &mut Vec<u8>, batch: &Batch) -> Result<(), Malformed> {
    put_length(out, batch.n_rows)?;
    put_length(out, batch.columns.len())?;
    for column in &batch.columns {
        match column {
            Column::Numbers(values) => {
                out.push(1);
                put_list(out, values, f64::to_le_bytes)?;
            }
            Column::Strings(values) => {
                out.push(2);
                put_texts(out, values)?;
            }
            Column::Vectors(bytes) => {
                out.push(3);
                put_length(out, bytes.len())?;
                out.extend_from_slice(bytes);
            }
            Column::Embedded { texts, vectors } => {
                out.push(4);
                put_texts(out, texts)?;
                put_length(out, vectors.len())?;
                out.extend_from_slice(vectors);
            }
        }
    }
    Ok(())
}

fn put_feedback(out: &mut Vec<u8>, feedback: &Feedback) -> Result<(), Malformed> {
    put_text(out, &feedback.feedback_id)?;
    put_content(out, feedback)?;
    put_text(out, &feedback.source)?;
    match feedback.event_time {
        None => out.push(0),
        Some(time) => {
            out.push(1);
            out.extend_from_slice(&time.0.to_le_bytes());
        }
    }
    put_length(out, feedback.tags.len())?;
    for (name, value) in &feedback.tags {
        put_text(out, name)?;
        put_text(out, value)?;
    }
    put_text(out, &feedback.actor)?;
    if format_of_feedback(feedback) > 1 {
        put_f64(out, feedback.weight);
        put_text(out, &feedback.comment)?;
    }
    Ok(())
}

/// The subject and the signal of feedback, as they stand in its entry.
pub(crate) fn put_content(out: &mut Vec<u8>, feedback: &Feedback) -> Result<(), Malformed> {
    put_subject(out, &feedback.subject)?;
    put_signal(out, &feedback.signal)
}

fn put_subject(out: &mut Vec<u8>, subject: &Subject) -> Result<(), Malformed> {
    match subject {
        Subject::Prediction(id) => {
            out.push(1);
            out.extend_from_slice(&id.0.to_le_bytes());
        }
        Subject::Inputs { batch, decision } => {
            if batch.n_rows != 1 {
                let n_rows = batch.n_rows;
                return Err(Malformed(format!("feedback with {n_rows} rows, not 1")));
            }
            check_batch(batch)?;
            out.push(2);
            put_batch(out, batch)?;
            match decision {
                None => out.push(0),
                Some(decision) => {
                    out.push(1);
                    put_text(out, &decision.action)?;
                    put_f64(out, decision.propensity);
                }
            }
        }
    }
    Ok(())
}

fn put_signal(out: &mut Vec<u8>, signal: &Signal) -> Result<(), Malformed> {
    match signal {
        Signal::Label(label) => {
            out.push(1);
            put_text(out, label)?;
        }
        Signal::Value(value) => {
            out.push(2);
            put_f64(out, *value);
        }
        Signal::Reward(reward) => {
            out.push(3);
            put_f64(out, *reward);
        }
        Signal::Named { name, value } => {
            out.push(4);
            put_text(out, name)?;
            put_f64(out, *value);
        }
        Signal::PreferredOver(id) => {
            out.push(5);
            out.extend_from_slice(&id.0.to_le_bytes());
        }
    }
    Ok(())
}

fn put_duplicate(out: &mut Vec<u8>, duplicate: &Duplicate) -> Result<(), Malformed> {
    put_text(out, &duplicate.feedback_id)?;
    put_u64(out, duplicate.first_position);
    Ok(())
}

fn put_command(out: &mut Vec<u8>, command: &Command) -> Result<(), Malformed> {
    put_order(out, &command.order)?;
    put_text(out, &command.actor)?;
    put_text(out, &command.note)
}

fn put_order(out: &mut Vec<u8>, order: &Order) -> Result<(), Malformed> {
    match order {
        Order::Checkpoint => out.push(1),
        Order::EarlierRestore { version } => {
            out.push(2);
            put_u64(out, *version);
        }
        Order::Restore { version } => {
            out.push(5);
            put_u64(out, *version);
        }
        Order::Retract(retraction) => {
            out.push(match retraction.disposal {
                Disposal::Keep => 3,
                Disposal::Erase => 6,
            });
            put_selector(out, &retraction.selector)?;
            put_u64(out, retraction.first_position);
        }
        Order::Erase(selector) => {
            out.push(7);
            put_selector(out, selector)?;
        }
        Order::Adopt(description) => {
            out.push(4);
            put_description(out, description)?;
        }
        Order::Promote { version, digest } => {
            out.push(8);
            put_u64(out, *version);
            out.extend_from_slice(digest.as_bytes());
        }
        Order::Freeze => out.push(9),
        Order::Resume => out.push(10),
        Order::Acknowledge { incident } | Order::Close { incident } => {
            let is_close = matches!(order, Order::Close { .. });
            out.push(if is_close { 12 } else { 11 });
            put_u64(out, *incident);
        }
        later => return put_later_order(out, later),
    }
    Ok(())
}

/// Orders of retraining, of quarantine and of aliases.
fn put_later_order(out: &mut Vec<u8>, order: &Order) -> Result<(), Malformed> {
    match order {
        Order::BeginRetraining { newest } => {
            out.push(13);
            put_u64(out, *newest);
        }
        Order::Retrain { from, description } => {
            out.push(14);
            put_u64(out, *from);
            put_description(out, description)?;
        }
        Order::EndRetraining => out.push(15),
        Order::Release(selector) | Order::Discard(selector) => {
            out.push(if matches!(order, Order::Release(_)) {
                16
            } else {
                17
            });
            put_selector(out, selector)?;
        }
        Order::SetAlias { alias, version } => {
            out.push(18);
            put_text(out, alias)?;
            put_u64(out, *version);
        }
        Order::RemoveAlias { alias } => {
            out.push(19);
            put_text(out, alias)?;
        }
        _ => unreachable!("put_order writes the others"),
    }
    Ok(())
}

fn put_selector(out: &mut Vec<u8>, selector: &Selector) -> Result<(), Malformed> {
    match selector {
        Selector::Source(source) => {
            out.push(1);
            put_text(out, source)
        }
        Selector::FeedbackId(feedback_id) => {
            out.push(2);
            put_text(out, feedback_id)
        }
        Selector::Accepted { since, until } => {
            out.push(3);
            out.extend_from_slice(&since.0.to_le_bytes());
            out.extend_from_slice(&until.0.to_le_bytes());
            Ok(())
        }
        Selector::SourceHash(hash) => {
            out.push(4);
            out.extend_from_slice(hash);
            Ok(())
        }
        Selector::FeedbackIdHash(hash) => {
            out.push(5);
            out.extend_from_slice(hash);
            Ok(())
        }
    }
}

fn put_version(out: &mut Vec<u8>, version: &Version) {
    put_u64(out, version.version);
    put_u64(out, version.parent);
    put_u64(out, version.position);
    out.push(match version.reason {
        Reason::Initial => 1,
        Reason::Checkpoint => 2,
        Reason::Cadence => 3,
        Reason::Restore => 4,
        Reason::Retract => 5,
        Reason::Adopt => 6,
        Reason::Contender => 7,
        Reason::Rewind => 8,
        Reason::Retrain => 9,
        Reason::Champion => 10,
    });
    out.extend_from_slice(version.digest.as_bytes());
    if format_of_version(version) > 2 {
        out.push(u8::from(version.tallies.is_some()));
    }
    out.extend(version.tallies.iter().flat_map(blake3::Hash::as_bytes));
}

fn put_verdict(out: &mut Vec<u8>, verdict: &Verdict) {
    put_u64(out, verdict.position);
    out.push(match verdict.judgement {
        Judgement::Promoted => 1,
        Judgement::Rejected => 2,
        Judgement::Rewound => 3,
        Judgement::Declined => 4,
        Judgement::Frozen => 5,
    });
    put_u64(out, verdict.version);
    put_u64(out, verdict.labels);
    put_f64(out, verdict.evidence);
    put_f64(out, verdict.difference);
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) -> Result<(), Malformed> {
    let length = u32::try_from(length)
        .map_err(|_| Malformed(format!("a length of {length} is over {}", u32::MAX)))?;
    out.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), Malformed> {
    put_length(out, text.len())?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn put_texts(out: &mut Vec<u8>, texts: &[String]) -> Result<(), Malformed> {
    put_length(out, texts.len())?;
    texts.iter().try_for_each(|text| put_text(out, text))
}

/// One resize for the whole list, so that the loop over its values is a plain copy.
fn put_list<T: Copy, const WIDTH: usize>(
    out: &mut Vec<u8>,
    values: &[T],
    to_bytes: fn(T) -> [u8; WIDTH],
) -> Result<(), Malformed> {
    put_length(out, values.len())?;
    let start = out.len();
    out.resize(start + values.len() * WIDTH, 0);
    for (slot, value) in out[start..].chunks_exact_mut(WIDTH).zip(values) {
        slot.copy_from_slice(&to_bytes(*value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::PredictionId;

    #[test]
    fn an_event_that_could_not_be_read_back_is_refused() {
        let prediction = |n_rows, n_ids, column, outputs| {
            Event::Prediction(Prediction {
                ids: vec![PredictionId(1); n_ids],
                batch: Batch {
                    n_rows,
                    columns: vec![column],
                },
                outputs,
                labels: Default::default(),
                version: 1,
                position: 1,
            })
        };
        let check = |event: &Event, message: &str| {
            let error = encode(event, &mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), message);
        };
        let two = || Column::Numbers(vec![1.0, 2.0]);
        let values = |n| Outputs::Values(vec![0.0; n]);
        check(&prediction(2, 1, two(), values(2)), "1 ids for 2 rows");
        check(&prediction(0, 0, two(), values(0)), "a batch without rows");
        check(
            &prediction(2, 2, two(), values(3)),
            "outputs that do not make 2 rows",
        );
        check(
            &prediction(2, 2, Column::Vectors(Bytes::from_static(b"123")), values(2)),
            "column 0 has 3 values or bytes, which do not make 2 rows",
        );
    }
}
