//! AUDIT: answer a prediction again from the journal, with the feedback that shaped the answer.
//!
//! Invariant: nothing is changed, and nothing is approximated: an answer that cannot be derived any
//! more comes with the reason.

mod again;

use std::collections::BTreeMap;

use self::again::{DerivedState, OfSource, answer, fate_at, row_of, same_bits, state_at};
use crate::engine::error::Error;
use crate::engine::history::error as history;
use crate::engine::history::facts::Facts;
use crate::engine::history::pass::Pass;
use crate::engine::versions::saved::Versions;
use crate::event::{
    Batch, Column, Description, ErasedKind, Event, Feedback, Outputs, Prediction, PredictionId,
    Signal, Subject, Time,
};
use crate::learn::{Fate, Sources};
use crate::model::Spec;
use crate::store;

/// Events about one prediction that come with their fates, each of which is derived again.
const FATES_MAX: usize = 64;

/// The entries of the journal about one predicted row.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// The model that answered.
    pub model: String,
    /// The position of the prediction, and its row there.
    pub entry: u64,
    /// The row.
    pub row: usize,
    /// The time at which it was accepted.
    pub time: Time,
    /// The version that the answering state descends from.
    pub version: u64,
    /// The position of the answering state.
    pub position: u64,
    /// The inputs, one row, by their names, or their places where those are no longer known.
    pub inputs: Vec<(String, Column)>,
    /// The classes or actions of the outputs, in their order.
    pub names: Vec<String>,
    /// The answer that was served.
    pub answer: Outputs,
    /// The answer computed again, or the reason why it cannot be.
    pub again: Result<Outputs, DerivationFailure>,
    /// The reason why these two differ, where they do.
    pub difference: Option<String>,
    /// The description under which it was answered: its program and its numeric profile.
    pub description: Description,
    /// Feedback about it since.
    pub feedback: Vec<PredictionFeedback>,
    /// The number of erased events about it, by the positions of the orders that took them back.
    pub erased: BTreeMap<u64, u64>,
    /// Examples that the answering state had learned, by the source of their feedback; unknown,
    /// and none, where that state cannot be derived again.
    pub sources: BTreeMap<String, u64>,
    /// The position that they are counted from: 1, unless an older program learned the first.
    pub sources_from: u64,
    /// The retention of the answering state; none where it has no retention set or cannot be derived again.
    pub retention: Option<f64>,
    /// The answer without the feedback of a source, where that was asked for.
    pub without: Option<Result<Without, DerivationFailure>>,
}

/// The reason why an answer cannot be derived: the journal or a checkpoint is no longer kept, or cannot
/// be read or computed now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DerivationFailure(String);

impl From<history::Error> for DerivationFailure {
    fn from(error: history::Error) -> DerivationFailure {
        DerivationFailure(error.to_string())
    }
}

/// An answer as if a source had sent nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Without {
    /// The answer.
    pub answer: Outputs,
    /// The classes or actions of its outputs, in their order: without the source, a class that
    /// came with feedback may have another place, or none.
    pub names: Vec<String>,
    /// The number of events that are left out.
    pub excluded: u64,
}

/// One feedback event about the row.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionFeedback {
    /// The position of the event.
    pub position: u64,
    /// The time at which it was accepted.
    pub time: Time,
    /// The source that observed it.
    pub source: String,
    /// The sender's key.
    pub feedback_id: String,
    /// The signal.
    pub signal: Signal,
    /// The weight of its example beside one of weight 1.
    pub weight: f64,
    /// The sender's own words.
    pub comment: String,
    /// Its fate when it came; none where that cannot be derived again.
    pub fate: Option<Fate>,
    /// True if the feedback was retracted since.
    pub retracted: bool,
}

impl Audit {
    /// True if the answer computed again is the one that was given, bit for bit.
    pub fn bit_equal(&self) -> bool {
        self.again
            .as_ref()
            .is_ok_and(|again| same_bits(again, &self.answer))
    }
}

/// Audits a prediction, if it stands in this journal, which is written up to `last`.
pub(crate) fn audit(
    versions: &Versions,
    last: u64,
    id: PredictionId,
    without: Option<&str>,
) -> Result<Option<Audit>, Error> {
    let Some(found) = Trail::read(versions, last, id, without)? else {
        return Ok(None);
    };
    let (entry, row, prediction) = (found.entry, found.row, &found.prediction);
    let state = state_at(versions, prediction.position, &found.facts);
    let served = row_of(&prediction.outputs, row, prediction.ids.len());
    let again = match &state {
        Ok(state) => answer(&state.learner, prediction, row).map_err(DerivationFailure::from),
        Err(error) => Err(DerivationFailure(error.to_string())),
    };
    let differs = again.as_ref().is_ok_and(|again| !same_bits(again, &served));
    let known = state.as_ref().ok();
    let sources = known.map(|state| state.learner.sources_of(prediction.ids[0]));
    let learned = sources.into_iter().flat_map(Sources::learned);
    let learned = learned.map(|(source, n_examples)| (source.to_owned(), n_examples));
    let without = found.source.as_ref().map(|source| {
        let other = found.answer_without(versions, source, last);
        other.map_err(DerivationFailure::from)
    });
    let description = found.description(known);
    let spec = Spec::journaled(&description.toml).ok();
    let names = match known {
        Some(state) => state.learner.learned().names().to_vec(),
        None => {
            let described = spec.as_ref().map_or(&[][..], |spec| spec.task.names());
            labelled(described, &served, &prediction.labels)
        }
    };
    let difference = known.filter(|_| differs).map(DerivedState::difference);
    let (sources, sources_from) = (learned.collect(), sources.map_or(1, Sources::since));
    Ok(Some(Audit {
        model: versions.model.clone(),
        entry,
        row,
        time: found.time,
        version: prediction.version,
        position: prediction.position,
        inputs: named(spec.as_ref(), &prediction.batch, row),
        names,
        answer: served,
        again,
        difference,
        description,
        erased: found.erased.clone(),
        sources,
        sources_from,
        retention: known.and_then(|state| state.learner.retention_of(prediction.ids[0])),
        without,
        feedback: found.feedback(versions),
    }))
}

/// The first audit that is found in one journal after the other. A journal that cannot be read is
/// passed over; where nothing is found its error is given, since it may hold the prediction.
pub(crate) fn first(
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

/// The names of the places of one row's answer, as far as the description and the answer have
/// them.
fn labelled(described: &[String], answer: &Outputs, labels: &BTreeMap<u32, String>) -> Vec<String> {
    let Some(probabilities) = answer.probabilities() else {
        return described.to_vec();
    };
    let name = |place: usize| {
        let known = described.get(place);
        let known = known.or_else(|| labels.get(&(place as u32)));
        known.cloned().unwrap_or_else(|| format!("number {place}"))
    };
    (0..probabilities.len()).map(name).collect()
}

/// The result of one reading of the journal for a prediction.
struct Trail {
    /// The position of the prediction, and its row there.
    entry: u64,
    row: usize,
    time: Time,
    prediction: Prediction,
    facts: Facts,
    /// Feedback about it.
    events: Vec<(u64, Time, Feedback)>,
    /// The number of erased events about it, by the positions of the orders that took them back.
    erased: BTreeMap<u64, u64>,
    /// Feedback of the source that the answer is asked for without.
    source: Option<OfSource>,
}

impl Trail {
    /// The trail of a prediction; none where the journal does not hold the prediction up to `last`.
    fn read(
        versions: &Versions,
        last: u64,
        id: PredictionId,
        without: Option<&str>,
    ) -> Result<Option<Trail>, store::Error> {
        let mut pass = Pass::from_start(versions, last)?;
        let mut facts = Facts::from(pass.next_position());
        let mut source = without.map(OfSource::new);
        let mut found = None;
        let (mut events, mut erased) = (Vec::new(), BTreeMap::new());
        while let Some(entry) = pass.next(last)? {
            facts.note(&entry);
            source.iter_mut().for_each(|source| source.note(&entry));
            let (position, time) = (entry.position, entry.time);
            match entry.event {
                Event::Prediction(prediction) if found.is_none() => {
                    let row = prediction.ids.iter().position(|known| *known == id);
                    found = row.map(|row| (position, row, time, prediction));
                }
                Event::Feedback(feedback) if found.is_some() && concerns(&feedback, id) => {
                    events.push((position, time, feedback));
                }
                Event::Erased(ErasedKind::Feedback(tombstone))
                    if found.is_some() && tombstone.predictions.contains(&Some(id)) =>
                {
                    *erased.entry(tombstone.order).or_default() += 1;
                }
                _ => {}
            }
        }
        Ok(found.map(|(entry, row, time, prediction)| Trail {
            entry,
            row,
            time,
            prediction,
            facts,
            events,
            erased,
            source,
        }))
    }

    /// The description under which it was answered.
    fn description(&self, known: Option<&DerivedState>) -> Description {
        if let Some(state) = known {
            return state.learner.description().clone();
        }
        let described = self.facts.description_at(self.prediction.position);
        described.cloned().unwrap_or_default()
    }

    /// The feedback about the prediction, with its fates.
    fn feedback(self, versions: &Versions) -> Vec<PredictionFeedback> {
        let facts = self.facts;
        let events = self.events.into_iter().enumerate();
        let events = events.map(|(index, event)| {
            if index < FATES_MAX {
                with_fate(versions, &facts, event)
            } else {
                without_fate(&facts, event)
            }
        });
        events.collect()
    }

    /// The answer without the feedback of a source.
    fn answer_without(
        &self,
        versions: &Versions,
        source: &OfSource,
        last: u64,
    ) -> Result<Without, history::Error> {
        let (position, facts) = (self.prediction.position, &self.facts);
        let (learner, excluded) = source.state_without(versions, position, last, facts)?;
        Ok(Without {
            answer: answer(&learner, &self.prediction, self.row)?,
            names: learner.learned().names().to_vec(),
            excluded,
        })
    }
}

/// An event as an audit shows it, with its fate when it came.
pub(super) fn with_fate(
    versions: &Versions,
    facts: &Facts,
    event: (u64, Time, Feedback),
) -> PredictionFeedback {
    PredictionFeedback {
        fate: fate_at(versions, event.0, facts),
        ..without_fate(facts, event)
    }
}

fn without_fate(
    facts: &Facts,
    (position, time, feedback): (u64, Time, Feedback),
) -> PredictionFeedback {
    let retracted_by = facts.retracted_by(position, time, &feedback, u64::MAX);
    PredictionFeedback {
        position,
        time,
        retracted: retracted_by.is_some(),
        fate: None,
        source: feedback.source,
        feedback_id: feedback.feedback_id,
        signal: feedback.signal,
        weight: feedback.weight,
        comment: feedback.comment,
    }
}

fn concerns(feedback: &Feedback, id: PredictionId) -> bool {
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
