//! From a payload back to its event.
//!
//! Invariant: every length is checked against the bytes that remain before it is used, so no
//! payload makes this panic or allocate more than a small multiple of its own size.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::kinds::{are_single, format_of_feedback, newest_format};
use super::shapes::{check_batch, check_outputs};
use crate::event::{
    Alarm, Batch, Change, Column, Command, Decision, Description, Disposal, Duplicate, Erasure,
    Event, Feedback, Judgement, Order, OrderRefusal, Outputs, Prediction, PredictionId, Reason,
    Retraction, Selector, Signal, Subject, Time, Verdict, Version, WEIGHTS, WatchedStream,
};
use crate::store::error::Malformed;

/// Reads the payload of an entry; vectors are slices of it, texts are copied.
///
/// # Errors
/// [`Malformed`]: an unknown kind or format version (a newer program wrote it), or bytes that
/// [`encode`](super::encode()) never writes.
pub(crate) fn decode(kind: u8, format: u8, payload: Bytes) -> Result<Event, Malformed> {
    if !matches!(kind, 1..=6 | 16..=18 | 20 | 21) {
        return Err(Malformed(format!(
            "unknown kind {kind}; a newer version of the program wrote it"
        )));
    }
    let newest = newest_format(kind);
    if !(1..=newest).contains(&format) {
        return Err(Malformed(format!(
            "kind {kind} has format version {format}, expected at most {newest}; \
             a newer version of the program wrote it"
        )));
    }
    let mut rest = Rest(payload);
    let event = match kind {
        1 => Event::Description(description(&mut rest)?),
        2 => Event::Prediction(prediction(&mut rest, format)?),
        3 => Event::Feedback(feedback(&mut rest, format)?),
        4 => Event::Duplicate(Duplicate {
            feedback_id: rest.text()?,
            first_position: rest.u64()?,
        }),
        5 => Event::Command(command(&mut rest, format)?),
        6 => Event::Tick(Time(rest.u64()? as i64)),
        16 => Event::Version(version(&mut rest, format)?),
        17 => Event::Verdict(verdict(&mut rest)?),
        18 => Event::Drift(alarm(&mut rest)?),
        20 => Event::Refusal(OrderRefusal {
            position: rest.u64()?,
        }),
        21 => Event::Erasure(Erasure {
            position: rest.u64()?,
            entries: rest.u64()?,
        }),
        _ => unreachable!("other kinds are refused above"),
    };
    match rest.0.len() {
        0 => Ok(event),
        1 => Err(Malformed(format!("1 byte more than kind {kind} has"))),
        n => Err(Malformed(format!("{n} bytes more than kind {kind} has"))),
    }
}

fn alarm(rest: &mut Rest) -> Result<Alarm, Malformed> {
    let position = rest.u64()?;
    let watched = rest.u8()?;
    let change = rest.u8()?;
    let evidence = f64::from_bits(rest.u64()?);
    if !evidence.is_finite() {
        return Err(Malformed(format!("evidence of {evidence}")));
    }
    // Both are numbered from 1, in the order of their lists.
    let one_of = |number: u8| usize::from(number).checked_sub(1);
    let watched_one = one_of(watched).and_then(|place| WatchedStream::ALL.get(place));
    let change_one = one_of(change).and_then(|place| Change::ALL.get(place));
    Ok(Alarm {
        position,
        watched: *watched_one.ok_or_else(|| unknown("watched stream", watched))?,
        change: *change_one.ok_or_else(|| unknown("change", change))?,
        evidence,
        input: rest.text()?,
    })
}

fn description(rest: &mut Rest) -> Result<Description, Malformed> {
    Ok(Description {
        toml: rest.text()?,
        build: rest.text()?,
        profile: rest.text()?,
    })
}

fn prediction(rest: &mut Rest, format: u8) -> Result<Prediction, Malformed> {
    let ids = rest.list(|bytes| PredictionId(u128::from_le_bytes(bytes)))?;
    let version = rest.u64()?;
    let position = rest.u64()?;
    let outputs = outputs(rest)?;
    let batch = batch(rest)?;
    if ids.len() != batch.n_rows {
        let (n_ids, n_rows) = (ids.len(), batch.n_rows);
        return Err(Malformed(format!("{n_ids} ids for {n_rows} rows")));
    }
    check_outputs(&outputs, batch.n_rows)?;
    check_format(&outputs, format)?;
    let labels = match format {
        1 => BTreeMap::new(),
        _ => labels(rest)?,
    };
    if format == 2 && labels.is_empty() {
        let what = "no label; an entry without labels is of format version 1";
        return Err(Malformed(what.to_owned()));
    }
    Ok(Prediction {
        ids,
        batch,
        outputs,
        labels,
        version,
        position,
    })
}

/// A field that came with a format version stands in it alone.
fn check_format(outputs: &Outputs, format: u8) -> Result<(), Malformed> {
    let is_decided = matches!(outputs, Outputs::Decisions { .. });
    if is_decided != (format == 3) {
        let what = format!("costs decide in format version 3 alone, not in {format}");
        return Err(Malformed(what));
    }
    let is_wide = matches!(outputs, Outputs::Values(values) if !are_single(values));
    if is_wide != (format == 4) {
        let what = format!("values have 64 bits in format version 4 alone, not in {format}");
        return Err(Malformed(what));
    }
    Ok(())
}

fn labels(rest: &mut Rest) -> Result<BTreeMap<u32, String>, Malformed> {
    let mut labels = BTreeMap::new();
    // The smallest label is its place and an empty text.
    for _ in 0..rest.count(8)? {
        let (place, label) = (rest.u32()?, rest.text()?);
        if labels
            .last_key_value()
            .is_some_and(|(last, _)| *last >= place)
        {
            return Err(Malformed(format!("label {label:?} is out of order")));
        }
        labels.insert(place, label);
    }
    Ok(labels)
}

fn outputs(rest: &mut Rest) -> Result<Outputs, Malformed> {
    match rest.u8()? {
        1 => Ok(Outputs::Probabilities(rest.list(f32::from_le_bytes)?)),
        2 => Ok(Outputs::Values(
            rest.list(|bytes| f64::from(f32::from_le_bytes(bytes)))?,
        )),
        3 => Ok(Outputs::Actions {
            chosen: rest.list(u32::from_le_bytes)?,
            propensities: rest.list(f32::from_le_bytes)?,
            scores: rest.list(f32::from_le_bytes)?,
        }),
        4 => Ok(Outputs::Decisions {
            probabilities: rest.list(f32::from_le_bytes)?,
            chosen: rest.list(u32::from_le_bytes)?,
        }),
        5 => match rest.list(f64::from_le_bytes)? {
            values if are_single(&values) => Err(Malformed(
                "values of 64 bits, all of which 32 bits hold".to_owned(),
            )),
            values => Ok(Outputs::Values(values)),
        },
        tag => Err(unknown("outputs", tag)),
    }
}

fn texts(rest: &mut Rest) -> Result<Vec<String>, Malformed> {
    let n_texts = rest.count(4)?;
    (0..n_texts).map(|_| rest.text()).collect()
}

fn batch(rest: &mut Rest) -> Result<Batch, Malformed> {
    let n_rows = rest.u32()? as usize;
    // The smallest column is a tag and a count.
    let n_columns = rest.count(5)?;
    let mut columns = Vec::with_capacity(n_columns);
    for _ in 0..n_columns {
        columns.push(match rest.u8()? {
            1 => Column::Numbers(rest.list(f64::from_le_bytes)?),
            2 => Column::Strings(texts(rest)?),
            3 => {
                let n_bytes = rest.count(1)?;
                Column::Vectors(rest.take(n_bytes)?)
            }
            4 => {
                let texts = texts(rest)?;
                let n_bytes = rest.count(1)?;
                let vectors = rest.take(n_bytes)?;
                Column::Embedded { texts, vectors }
            }
            tag => return Err(unknown("column", tag)),
        });
    }
    let batch = Batch { n_rows, columns };
    check_batch(&batch)?;
    Ok(batch)
}

fn feedback(rest: &mut Rest, format: u8) -> Result<Feedback, Malformed> {
    let mut feedback = Feedback {
        feedback_id: rest.text()?,
        subject: subject(rest)?,
        signal: signal(rest)?,
        source: rest.text()?,
        event_time: if rest.present()? {
            Some(Time(i64::from_le_bytes(rest.array()?)))
        } else {
            None
        },
        tags: tags(rest)?,
        actor: rest.text()?,
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    };
    if format > 1 {
        (feedback.weight, feedback.comment) = (rest.f64()?, rest.text()?);
        let weight = feedback.weight;
        if !WEIGHTS.contains(&weight) {
            return Err(Malformed(format!("a weight of {weight}")));
        }
        feedback.may_correct = format > 2;
        if format_of_feedback(&feedback) == 1 {
            let what = "neither weight nor comment; such an entry is of format version 1";
            return Err(Malformed(what.to_owned()));
        }
    }
    Ok(feedback)
}

fn subject(rest: &mut Rest) -> Result<Subject, Malformed> {
    match rest.u8()? {
        1 => Ok(Subject::Prediction(PredictionId(u128::from_le_bytes(
            rest.array()?,
        )))),
        2 => {
            let batch = batch(rest)?;
            if batch.n_rows != 1 {
                let n_rows = batch.n_rows;
                return Err(Malformed(format!("feedback with {n_rows} rows, not 1")));
            }
            let decision = if rest.present()? {
                Some(Decision {
                    action: rest.text()?,
                    propensity: rest.f64()?,
                })
            } else {
                None
            };
            Ok(Subject::Inputs { batch, decision })
        }
        tag => Err(unknown("subject", tag)),
    }
}

fn signal(rest: &mut Rest) -> Result<Signal, Malformed> {
    match rest.u8()? {
        1 => Ok(Signal::Label(rest.text()?)),
        2 => Ok(Signal::Value(rest.f64()?)),
        3 => Ok(Signal::Reward(rest.f64()?)),
        4 => Ok(Signal::Named {
            name: rest.text()?,
            value: rest.f64()?,
        }),
        5 => Ok(Signal::PreferredOver(PredictionId(u128::from_le_bytes(
            rest.array()?,
        )))),
        tag => Err(unknown("signal", tag)),
    }
}

fn tags(rest: &mut Rest) -> Result<BTreeMap<String, String>, Malformed> {
    let mut tags = BTreeMap::new();
    // The smallest tag is two empty texts.
    for _ in 0..rest.count(8)? {
        let (name, value) = (rest.text()?, rest.text()?);
        if tags.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(Malformed(format!("tag {name:?} is out of order")));
        }
        tags.insert(name, value);
    }
    Ok(tags)
}

fn command(rest: &mut Rest, format: u8) -> Result<Command, Malformed> {
    let order = match rest.u8()? {
        1 => Order::Checkpoint,
        2 => Order::EarlierRestore {
            version: rest.u64()?,
        },
        3 => Order::Retract(retraction(rest, Disposal::Keep)?),
        4 => Order::Adopt(description(rest)?),
        5 => Order::Restore {
            version: rest.u64()?,
        },
        6 => Order::Retract(retraction(rest, Disposal::Erase)?),
        7 => Order::Erase(selector(rest)?),
        8 if format >= 2 => Order::Promote {
            version: rest.u64()?,
            digest: rest.digest()?,
        },
        9 if format >= 2 => Order::Freeze,
        10 if format >= 2 => Order::Resume,
        11 if format >= 2 => Order::Acknowledge {
            incident: rest.u64()?,
        },
        12 if format >= 2 => Order::Close {
            incident: rest.u64()?,
        },
        13 if format >= 3 => Order::BeginRetraining {
            newest: rest.u64()?,
        },
        14 if format >= 3 => Order::Retrain {
            from: rest.u64()?,
            description: description(rest)?,
        },
        15 if format >= 3 => Order::EndRetraining,
        16 if format >= 4 => Order::Release(selector(rest)?),
        17 if format >= 4 => Order::Discard(selector(rest)?),
        18 if format >= 4 => Order::SetAlias {
            alias: rest.text()?,
            version: rest.u64()?,
        },
        19 if format >= 4 => Order::RemoveAlias {
            alias: rest.text()?,
        },
        tag => return Err(unknown("order", tag)),
    };
    Ok(Command {
        order,
        actor: rest.text()?,
        note: rest.text()?,
    })
}

fn retraction(rest: &mut Rest, disposal: Disposal) -> Result<Retraction, Malformed> {
    Ok(Retraction {
        selector: selector(rest)?,
        first_position: rest.u64()?,
        disposal,
    })
}

fn selector(rest: &mut Rest) -> Result<Selector, Malformed> {
    match rest.u8()? {
        1 => Ok(Selector::Source(rest.text()?)),
        2 => Ok(Selector::FeedbackId(rest.text()?)),
        3 => Ok(Selector::Accepted {
            since: Time(i64::from_le_bytes(rest.array()?)),
            until: Time(i64::from_le_bytes(rest.array()?)),
        }),
        4 => Ok(Selector::SourceHash(rest.array()?)),
        5 => Ok(Selector::FeedbackIdHash(rest.array()?)),
        tag => Err(unknown("selector", tag)),
    }
}

fn version(rest: &mut Rest, format: u8) -> Result<Version, Malformed> {
    Ok(Version {
        version: rest.u64()?,
        parent: rest.u64()?,
        position: rest.u64()?,
        reason: match rest.u8()? {
            1 => Reason::Initial,
            2 => Reason::Checkpoint,
            3 => Reason::Cadence,
            4 => Reason::Restore,
            5 => Reason::Retract,
            6 => Reason::Adopt,
            7 if format >= 3 => Reason::Contender,
            8 if format >= 3 => Reason::Rewind,
            9 if format >= 4 => Reason::Retrain,
            10 if format >= 4 => Reason::Champion,
            tag => return Err(unknown("reason", tag)),
        },
        digest: rest.digest()?,
        tallies: match format {
            1 => None,
            2 => Some(rest.digest()?),
            _ => match rest.u8()? {
                0 => None,
                1 => Some(rest.digest()?),
                tag => return Err(unknown("tallies", tag)),
            },
        },
    })
}

fn verdict(rest: &mut Rest) -> Result<Verdict, Malformed> {
    Ok(Verdict {
        position: rest.u64()?,
        judgement: match rest.u8()? {
            1 => Judgement::Promoted,
            2 => Judgement::Rejected,
            3 => Judgement::Rewound,
            4 => Judgement::Declined,
            5 => Judgement::Frozen,
            tag => return Err(unknown("judgement", tag)),
        },
        version: rest.u64()?,
        labels: rest.u64()?,
        evidence: rest.f64()?,
        difference: rest.f64()?,
    })
}

fn unknown(part: &str, tag: u8) -> Malformed {
    Malformed(format!("{part} with unknown tag {tag}"))
}

/// The bytes that are not decoded yet.
struct Rest(Bytes);

impl Rest {
    fn take(&mut self, n_bytes: usize) -> Result<Bytes, Malformed> {
        self.check(n_bytes)?;
        Ok(self.0.split_to(n_bytes))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.check(N)?;
        let array = self.0[..N].try_into().expect("the slice has N bytes");
        bytes::Buf::advance(&mut self.0, N);
        Ok(array)
    }

    fn digest(&mut self) -> Result<blake3::Hash, Malformed> {
        self.array().map(blake3::Hash::from_bytes)
    }

    fn check(&self, n_bytes: usize) -> Result<(), Malformed> {
        match self.0.len() {
            left if left < n_bytes => Err(Malformed(format!(
                "{n_bytes} bytes expected, {left} are left"
            ))),
            _ => Ok(()),
        }
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn f64(&mut self) -> Result<f64, Malformed> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    fn present(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(unknown("optional", tag)),
        }
    }

    /// A count of items that take at least `width` bytes each: never more than can be there.
    fn count(&mut self, width: usize) -> Result<usize, Malformed> {
        let (count, left) = (self.u32()? as usize, self.0.len());
        match count.checked_mul(width) {
            Some(n_bytes) if n_bytes <= left => Ok(count),
            _ => Err(Malformed(format!(
                "{count} items of {width} bytes or more expected, {left} bytes are left"
            ))),
        }
    }

    fn list<T, const WIDTH: usize>(
        &mut self,
        from_bytes: fn([u8; WIDTH]) -> T,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count(WIDTH)?;
        let bytes = &self.0[..count * WIDTH];
        let items = bytes.chunks_exact(WIDTH);
        let items = items.map(|item| from_bytes(item.try_into().expect("exact chunks")));
        let items = items.collect();
        bytes::Buf::advance(&mut self.0, count * WIDTH);
        Ok(items)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.count(1)?;
        let text = std::str::from_utf8(&self.0[..length])
            .map_err(|error| Malformed(format!("text: {error}")))?
            .to_owned();
        bytes::Buf::advance(&mut self.0, length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::encode::encode;
    use super::super::kinds::{format, kind};
    use super::super::samples::samples;
    use super::*;

    #[test]
    fn what_a_newer_program_wrote_is_refused_by_its_number() {
        let check = |kind, format, message: &str| {
            let error = decode(kind, format, Bytes::new()).unwrap_err();
            assert!(error.0.starts_with(message), "{error}");
        };
        check(7, 1, "unknown kind 7;");
        check(19, 1, "unknown kind 19;");
        check(0, 1, "unknown kind 0;");
        check(3, 4, "kind 3 has format version 4, expected at most 3;");
        check(2, 5, "kind 2 has format version 5, expected at most 4;");
        check(2, 0, "kind 2 has format version 0, expected at most 4;");
    }

    #[test]
    fn malformed_payloads_are_refused_in_a_sentence() {
        let check = |kind, payload: &[u8], message: &str| {
            let error = decode(kind, 1, Bytes::copy_from_slice(payload)).unwrap_err();
            assert_eq!(error.0, message);
        };
        check(
            2,
            &[0xff; 4],
            "4294967295 items of 16 bytes or more expected, 0 bytes are left",
        );
        check(
            4,
            &[1, 0, 0, 0, 0xff],
            "text: invalid utf-8 sequence of 1 bytes from index 0",
        );
        check(4, &[0, 0, 0, 0, 9], "8 bytes expected, 1 are left");
        check(5, &[8], "order with unknown tag 8");
    }

    proptest! {
        /// The second strategy changes some bytes of sound payloads, to get past the first checks.
        #[test]
        fn no_bytes_make_it_panic_and_what_it_takes_it_writes_again(
            (kind, version, payload) in prop_oneof![
                (0u8..24, 1u8..3, prop::collection::vec(any::<u8>(), 0..200)),
                changed_sample(),
            ]
        ) {
            if let Ok(event) = decode(kind, version, Bytes::from(payload.clone())) {
                prop_assert_eq!(format(&event), version);
                let mut again = Vec::new();
                encode(&event, &mut again).expect("a decoded event can be encoded");
                prop_assert_eq!(again, payload);
            }
        }
    }

    fn changed_sample() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
        let samples = samples();
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
        (0..samples.len(), changes).prop_map(move |(index, changes)| {
            let event = &samples[index].0;
            let mut payload = Vec::new();
            encode(event, &mut payload).expect("samples are well formed");
            for (at, byte) in changes {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            (kind(event), format(event), payload)
        })
    }
}
