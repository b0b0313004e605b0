//! AUDIT: answer a prediction again from the journal, and say what shaped the answer.
//!
//! Invariant: nothing is changed, and nothing is approximated: what cannot be derived any more
//! is said to be so.

use std::collections::BTreeMap;

use super::derivation::Derivation;
use super::error::Error;
use super::retract::retractions;
use super::versions::Versions;
use crate::event::{
    Batch, Column, Description, Entry, Event, Feedback, Order, Outputs, Prediction, PredictionId,
    Retraction, Selector, Signal, Subject, Time,
};
use crate::learn::Learner;
use crate::model::Choice;
use crate::store::Reader;

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
    /// The inputs by name, one row.
    pub inputs: Vec<(String, Column)>,
    /// The classes or actions of the outputs, in their order.
    pub names: Vec<String>,
    /// What was answered.
    pub answer: Outputs,
    /// The same computed again, or why it cannot be.
    pub again: Result<Outputs, String>,
    /// The description under which it was answered: its program and its numeric profile.
    pub description: Description,
    /// What was said of it since.
    pub feedback: Vec<Heard>,
    /// Feedback events by source, of those that the answering state was made of.
    pub sources: BTreeMap<String, u64>,
    /// The position that they are counted from: the first that the journal still holds.
    pub sources_from: u64,
    /// What the answer would have been without a source, and how many events that leaves out.
    pub without: Option<Result<(Outputs, u64), String>>,
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
    let (position, time) = (entry.position, entry.time);
    let Event::Prediction(prediction) = entry.event else {
        return Ok(None);
    };
    let state = state_at(versions, prediction.position);
    let again = state.as_ref().map_err(Clone::clone);
    let again = again.map(|learner| answer(learner, &prediction, row));
    let sources_from = Reader::from_start(&versions.journal, 0)?.next_position();
    let sources = match &state {
        Ok(learner) => sources(versions, learner, &prediction, sources_from)?,
        Err(_) => BTreeMap::new(),
    };
    let without = without.map(|source| {
        let learner = state_without(versions, source, prediction.position)?;
        Ok((answer(&learner.0, &prediction, row), learner.1))
    });
    let (inputs, names, description) = match &state {
        Ok(learner) => (
            named(learner, &prediction.batch, row),
            learner.learned().names().to_vec(),
            learner.description().clone(),
        ),
        Err(_) => (Vec::new(), Vec::new(), Description::default()),
    };
    Ok(Some(Audit {
        model: versions.model.clone(),
        entry: position,
        row,
        time,
        version: prediction.version,
        position: prediction.position,
        inputs,
        names,
        answer: row_of(&prediction.outputs, row, prediction.ids.len()),
        again,
        description,
        feedback: heard(versions, position, last, id)?,
        sources,
        sources_from,
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

/// The state as it was when it answered, whatever was retracted since.
fn state_at(versions: &Versions, position: u64) -> Result<Learner, String> {
    let derivation = Derivation::again(versions, position)?;
    Ok(derivation.finish(position)?.learner)
}

/// The state at a position had this source said nothing, and how many events that leaves out.
fn state_without(
    versions: &Versions,
    source: &str,
    position: u64,
) -> Result<(Learner, u64), String> {
    let selector = Selector::Source(source.to_owned());
    let mut reader =
        Reader::from_start(&versions.journal, position).map_err(|error| error.to_string())?;
    let first_position = loop {
        let next = reader.next(position).map_err(|error| error.to_string())?;
        let Some(entry) = next else {
            return Ok((state_at(versions, position)?, 0));
        };
        if let Event::Feedback(feedback) = &entry.event
            && selector.chooses(feedback, entry.time)
        {
            break entry.position;
        }
    };
    let order = Order::Retract(Retraction {
        selector,
        first_position,
    });
    let derivation = Derivation::begin(versions, &order, position, &[])?;
    let other = derivation.finish(position)?;
    Ok((other.learner, other.left_out.len() as u64))
}

/// The row answered by this state, in the batch that it came in.
fn answer(learner: &Learner, prediction: &Prediction, row: usize) -> Outputs {
    let (model, n_rows) = (learner.model(), prediction.ids.len());
    let of_row = |choice| row_of(&model.predict(&prediction.batch, choice), row, n_rows);
    let drawn = of_row(Choice::Drawn(&prediction.ids));
    // A request that did not explore took the best action, surely.
    match &prediction.outputs {
        Outputs::Actions { propensities, .. } if propensities[row] == 1.0 => {
            let served = row_of(&prediction.outputs, row, n_rows);
            match same_bits(&drawn, &served) {
                true => drawn,
                false => of_row(Choice::Best),
            }
        }
        _ => drawn,
    }
}

/// How many events of each source the answering state was made of, of those from `start` on.
fn sources(
    versions: &Versions,
    learner: &Learner,
    prediction: &Prediction,
    start: u64,
) -> Result<BTreeMap<String, u64>, Error> {
    let last = prediction.position;
    let retracted = retractions(&versions.journal, last)?;
    let mut sources = BTreeMap::new();
    for (first, last) in learner.lineage().stretches(prediction.version, last) {
        if last < start {
            continue;
        }
        let mut reader = Reader::open(&versions.journal, first.max(start), last)?;
        while let Some(Entry {
            position,
            time,
            event,
        }) = reader.next(last)?
        {
            let Event::Feedback(feedback) = event else {
                continue;
            };
            if !retracted.hold(position, &feedback, time) {
                *sources.entry(feedback.source).or_insert(0) += 1;
            }
        }
    }
    Ok(sources)
}

/// What was said of a prediction after the entry that holds it.
fn heard(
    versions: &Versions,
    entry: u64,
    last: u64,
    id: PredictionId,
) -> Result<Vec<Heard>, Error> {
    let retracted = retractions(&versions.journal, last)?;
    let mut all = Vec::new();
    let mut reader = Reader::open(&versions.journal, entry + 1, last)?;
    while let Some(Entry {
        position,
        time,
        event,
    }) = reader.next(last)?
    {
        let Event::Feedback(feedback) = event else {
            continue;
        };
        if !speaks_of(&feedback, id) {
            continue;
        }
        all.push(Heard {
            position,
            time,
            retracted: retracted.hold(position, &feedback, time),
            source: feedback.source,
            feedback_id: feedback.feedback_id,
            signal: feedback.signal,
        });
    }
    Ok(all)
}

fn speaks_of(feedback: &Feedback, id: PredictionId) -> bool {
    let over = matches!(feedback.signal, Signal::PreferredOver(other) if other == id);
    over || matches!(feedback.subject, Subject::Prediction(subject) if subject == id)
}

fn named(learner: &Learner, batch: &Batch, row: usize) -> Vec<(String, Column)> {
    let names = learner.spec().inputs.iter().map(|input| input.name.clone());
    names.zip(batch.row(row).columns).collect()
}

/// The outputs of one row of `n_rows`.
fn row_of(outputs: &Outputs, row: usize, n_rows: usize) -> Outputs {
    let cut = |values: &[f32]| {
        let width = values.len() / n_rows;
        values[row * width..(row + 1) * width].to_vec()
    };
    match outputs {
        Outputs::Probabilities(values) => Outputs::Probabilities(cut(values)),
        Outputs::Values(values) => Outputs::Values(cut(values)),
        Outputs::Actions {
            chosen,
            propensities,
            scores,
        } => Outputs::Actions {
            chosen: vec![chosen[row]],
            propensities: cut(propensities),
            scores: cut(scores),
        },
    }
}

fn same_bits(one: &Outputs, other: &Outputs) -> bool {
    let equal = |one: &[f32], other: &[f32]| {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        bits(one) == bits(other)
    };
    match (one, other) {
        (Outputs::Probabilities(one), Outputs::Probabilities(other))
        | (Outputs::Values(one), Outputs::Values(other)) => equal(one, other),
        (
            Outputs::Actions {
                chosen,
                propensities,
                scores,
            },
            Outputs::Actions {
                chosen: other_chosen,
                propensities: other_propensities,
                scores: other_scores,
            },
        ) => {
            chosen == other_chosen
                && equal(propensities, other_propensities)
                && equal(scores, other_scores)
        }
        _ => false,
    }
}
