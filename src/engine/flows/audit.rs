//! AUDIT: answer a prediction again from the journal, and say what shaped the answer.
//!
//! Invariant: nothing is changed, and nothing is approximated: what cannot be derived any more
//! is said to be so.

mod again;

use std::collections::BTreeMap;

use self::again::{
    Again, answer, description_at, fate_at, row_of, same_bits, state_at, state_without,
};
use crate::engine::error::Error;
use crate::engine::versions::saved::Versions;
use crate::event::{
    Batch, Column, Command, Description, Entry, Event, Feedback, Kind, Order, Outputs,
    PredictionId, Signal, Subject, Time,
};
use crate::learn::{Fate, Sources};
use crate::model::Spec;
use crate::store::Reader;

/// So many events about one prediction are told with their fates, each of which is derived again.
const FATES_MAX: usize = 64;

/// All that the journal says of one predicted row.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// The model that answered.
    pub model: String,
    /// Where the prediction stands, and its row there.
    pub entry: u64,
    /// The row.
    pub row: usize,
    /// When it was accepted.
    pub time: Time,
    /// The version that the answering state descends from.
    pub version: u64,
    /// The position of the answering state.
    pub position: u64,
    /// The inputs, one row, by their names, or their places where those are no longer known.
    pub inputs: Vec<(String, Column)>,
    /// The classes or actions of the outputs, in their order.
    pub names: Vec<String>,
    /// What was answered.
    pub answer: Outputs,
    /// The same computed again, or why it cannot be.
    pub again: Result<Outputs, String>,
    /// Why these two differ, where they do.
    pub difference: Option<String>,
    /// The description under which it was answered: its program and its numeric profile.
    pub description: Description,
    /// What was said of it since.
    pub feedback: Vec<Heard>,
    /// How many events about it were erased, by the positions of the orders that took them back.
    pub erased: BTreeMap<u64, u64>,
    /// Examples that the answering state had learned, by the source of their feedback; unknown,
    /// and none, where that state cannot be derived again.
    pub sources: BTreeMap<String, u64>,
    /// The position that they are counted from: 1, unless an older program learned the first.
    pub sources_from: u64,
    /// What the answer would have been without a source.
    pub without: Option<Result<Without, String>>,
}

/// An answer as if a source had sent nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Without {
    /// The answer.
    pub answer: Outputs,
    /// The classes or actions of its outputs, in their order: without the source, a class that
    /// came with feedback may have another place, or none.
    pub names: Vec<String>,
    /// How many events are left out.
    pub left_out: u64,
}

/// One feedback event about the row.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Where it stands.
    pub position: u64,
    /// When it was accepted.
    pub time: Time,
    /// Who observed it.
    pub source: String,
    /// The sender's key.
    pub feedback_id: String,
    /// What was said.
    pub signal: Signal,
    /// What became of it when it came; none where that cannot be derived again.
    pub fate: Option<Fate>,
    /// Whether it was retracted since.
    pub retracted: bool,
}

impl Audit {
    /// Whether the answer computed again is the one that was given, bit for bit.
    pub fn bit_equal(&self) -> bool {
        self.again
            .as_ref()
            .is_ok_and(|again| same_bits(again, &self.answer))
    }
}

/// Audits a prediction, if it stands in this journal, which is written up to `last`.
pub fn audit(
    versions: &Versions,
    last: u64,
    id: PredictionId,
    without: Option<&str>,
) -> Result<Option<Audit>, Error> {
    let Some((entry, row)) = find(versions, last, id)? else {
        return Ok(None);
    };
    let Event::Prediction(prediction) = entry.event else {
        return Ok(None);
    };
    let state = state_at(versions, prediction.position);
    let served = row_of(&prediction.outputs, row, prediction.ids.len());
    let again = state.as_ref().map_err(Clone::clone);
    let again = again.and_then(|state| answer(&state.learner, &prediction, row));
    let differs = again.as_ref().is_ok_and(|again| !same_bits(again, &served));
    let known = state.as_ref().ok();
    let sources = known.map(|state| state.learner.sources());
    let learned = sources.into_iter().flat_map(Sources::learned);
    let learned = learned.map(|(source, n_examples)| (source.to_owned(), n_examples));
    let without = without.map(|source| {
        let (learner, left_out) = state_without(versions, source, prediction.position, last)?;
        Ok(Without {
            answer: answer(&learner, &prediction, row)?,
            names: learner.learned().names().to_vec(),
            left_out,
        })
    });
    let description = match known {
        Some(state) => state.learner.description().clone(),
        None => description_at(&versions.journal, prediction.position)?.unwrap_or_default(),
    };
    let spec = Spec::journaled(&description.toml).ok();
    let names = match (known, &spec) {
        (Some(state), _) => state.learner.learned().names().to_vec(),
        (None, Some(spec)) => labelled(spec.task.names(), &served, &prediction.labels),
        (None, None) => labelled(&[], &served, &prediction.labels),
    };
    let (feedback, erased) = heard(versions, entry.position, last, id)?;
    Ok(Some(Audit {
        model: versions.model.clone(),
        entry: entry.position,
        row,
        time: entry.time,
        version: prediction.version,
        position: prediction.position,
        inputs: named(spec.as_ref(), &prediction.batch, row),
        names,
        answer: served,
        again,
        difference: known.filter(|_| differs).map(Again::difference),
        description,
        feedback,
        erased,
        sources: learned.collect(),
        sources_from: sources.map_or(1, Sources::since),
        without,
    }))
}

/// What was found, looking into one journal after the other; one that cannot be read keeps no
/// other from being looked into, but where nothing is found it may be what holds it.
pub fn first(
    looks: impl Iterator<Item = Result<Option<Audit>, Error>>,
) -> Result<Option<Audit>, Error> {
    let mut nothing = Ok(None);
    for look in looks {
        match look {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => nothing = nothing.and(Err(error)),
        }
    }
    nothing
}

/// The names of the places of one row's answer, as far as the description and the answer tell
/// them.
fn labelled(described: &[String], answer: &Outputs, labels: &BTreeMap<u32, String>) -> Vec<String> {
    let Outputs::Probabilities(shares) = answer else {
        return described.to_vec();
    };
    let name = |place: usize| {
        let known = described.get(place);
        let known = known.or_else(|| labels.get(&(place as u32)));
        known.cloned().unwrap_or_else(|| format!("number {place}"))
    };
    (0..shares.len()).map(name).collect()
}

/// The entry of a prediction, and its row there.
fn find(versions: &Versions, last: u64, id: PredictionId) -> Result<Option<(Entry, usize)>, Error> {
    let mut reader = Reader::from_start(&versions.journal, last)?;
    while let Some(entry) = reader.next(last)? {
        if let Event::Prediction(prediction) = &entry.event
            && let Some(row) = prediction.ids.iter().position(|known| *known == id)
        {
            return Ok(Some((entry, row)));
        }
    }
    Ok(None)
}

/// What was said of a prediction after the entry that holds it; of what was erased, how many
/// events that were, by the positions of the orders that took them back.
fn heard(
    versions: &Versions,
    entry: u64,
    last: u64,
    id: PredictionId,
) -> Result<(Vec<Heard>, BTreeMap<u64, u64>), Error> {
    let mut events = Vec::new();
    let mut erased = BTreeMap::new();
    let mut reader = Reader::open(&versions.journal, entry + 1, last)?;
    while let Some(entry) = reader.next(last)? {
        match entry.event {
            Event::Feedback(feedback) if speaks_of(&feedback, id) => {
                events.push((entry.position, entry.time, feedback, false));
            }
            Event::Erased(Kind::Feedback(tombstone))
                if tombstone.predictions.contains(&Some(id)) =>
            {
                *erased.entry(tombstone.order).or_default() += 1;
            }
            Event::Command(Command {
                order: Order::Retract(retraction),
                ..
            }) => {
                for (_, time, feedback, retracted) in &mut events {
                    *retracted |= retraction.selector.chooses(feedback, *time);
                }
            }
            _ => {}
        }
    }
    let heard =
        events
            .into_iter()
            .enumerate()
            .map(|(index, (position, time, feedback, retracted))| Heard {
                position,
                time,
                retracted,
                fate: match index < FATES_MAX {
                    true => fate_at(versions, position),
                    false => None,
                },
                source: feedback.source,
                feedback_id: feedback.feedback_id,
                signal: feedback.signal,
            });
    Ok((heard.collect(), erased))
}

fn speaks_of(feedback: &Feedback, id: PredictionId) -> bool {
    let over = matches!(feedback.signal, Signal::PreferredOver(other) if other == id);
    over || matches!(feedback.subject, Subject::Prediction(subject) if subject == id)
}

fn named(spec: Option<&Spec>, batch: &Batch, row: usize) -> Vec<(String, Column)> {
    let inputs = spec.map_or(&[][..], |spec| &spec.inputs);
    let name = |place: usize| {
        let known = inputs.get(place).map(|input| input.name.clone());
        known.unwrap_or_else(|| format!("number {place}"))
    };
    let columns = batch.row(row).columns.into_iter().enumerate();
    columns
        .map(|(place, column)| (name(place), column))
        .collect()
}
