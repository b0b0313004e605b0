//! The difference of two versions: the moves of weights, the answers, and the entries between them.
//!
//! Invariant: nothing is changed, and the part of the journal that is shown is bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::engine::error::Error;
use crate::engine::history::pass::Pass;
use crate::engine::history::truths::{Truths, truth_of};
use crate::engine::offline::side_by_side::{AnswerPair, SideBySide};
use crate::event::{
    Batch, Command, Entry, Event, Order, PredictionId, Signal, Subject, value_text,
};
use crate::learn::RowAnswer;
use crate::model::Past;
use crate::model::weights::{Data, Tensor, Tensors};

/// Predicted rows that are answered again, the newest ones.
const ROWS_MAX: usize = 1000;
/// Rows that are shown of those which are answered differently.
const EXAMPLES_MAX: usize = 5;
/// Orders and sources that are named; further ones are counted.
const NAMED_MAX: usize = 50;

/// The change of a tensor from one version to another.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorChange {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its Euclidean norm in each version; none where a version lacks it.
    pub norms: [Option<f64>; 2],
    /// The norm of the difference; none where the shapes differ.
    pub moved: Option<f64>,
}

/// A row that the versions answer differently.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferentRow {
    /// The prediction.
    pub id: PredictionId,
    /// The position of the version.
    pub position: u64,
    /// The row.
    pub batch: Batch,
    /// The answer of each version.
    pub answers: [String; 2],
    /// The label or the value that came for it, if one did.
    pub truth: Option<String>,
}

/// The answers of two versions to the newest journaled inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disagreement {
    /// Rows that both answered.
    pub rows: u64,
    /// The number of them that are answered differently.
    pub different: u64,
    /// The mean absolute difference of values; none of other tasks.
    pub mean_difference: Option<f64>,
    /// A few of them: of values those that differ the most, else the newest.
    pub examples: Vec<DifferentRow>,
}

/// An order between two versions.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderBetween {
    /// The position of the order.
    pub position: u64,
    /// The order.
    pub order: Order,
    /// The person who gave it.
    pub actor: String,
    /// The reason.
    pub note: String,
}

/// The entries between the states of two versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntriesBetween {
    /// The positions behind which they begin, and where they end.
    pub positions: (u64, u64),
    /// Entries of any kind.
    pub entries: u64,
    /// Predictions that were served.
    pub predictions: u64,
    /// Feedback events that were not retracted, by source.
    pub sources: BTreeMap<String, u64>,
    /// Feedback events of further sources than are named.
    pub other_sources: u64,
    /// The newest orders.
    pub orders: Vec<OrderBetween>,
    /// The number of older orders.
    pub n_older_orders: u64,
}

/// The difference of two versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The positions of their states.
    pub positions: [u64; 2],
    /// Every tensor of weights, by name.
    pub tensors: Vec<TensorChange>,
    /// Anchors of the later version's retention set, and how many each answers right; none where none
    /// are kept.
    pub anchors: Option<(u64, [u64; 2])>,
    /// Their answers to recent inputs.
    pub disagreement: Disagreement,
    /// The entries between them.
    pub between: EntriesBetween,
}

impl SideBySide<'_> {
    /// The difference of two versions.
    ///
    /// # Errors
    /// [`Error::Store`]: the journal cannot be read.
    pub fn difference(mut self) -> Result<Difference, Error> {
        let sides = self.sides();
        let learners = sides.each_ref().map(|side| side.state.learner());
        let positions = learners.map(|learner| learner.position());
        let [first, second] = learners.map(|learner| learner.learned().weights());
        let later = &sides[usize::from(positions[0] < positions[1])].state;
        let right = |side: usize| later.anchors_right(&sides[side].state);
        let anchors = right(0)
            .zip(right(1))
            .map(|((n, first), (_, second))| (n, [first, second]));
        let between = self.between(positions)?;
        Ok(Difference {
            positions,
            tensors: changes(&first, &second),
            anchors,
            disagreement: self.disagreement()?,
            between,
        })
    }

    fn between(&self, [first, second]: [u64; 2]) -> Result<EntriesBetween, Error> {
        let (versions, facts, last) = self.journal();
        let (low, high) = (first.min(second), first.max(second));
        let mut between = EntriesBetween {
            positions: (low, high),
            ..EntriesBetween::default()
        };
        let mut orders = VecDeque::new();
        let mut pass = Pass::from_start(versions, 0)?;
        while let Some(entry) = pass.next(high)? {
            if entry.position <= low {
                continue;
            }
            between.entries += 1;
            match &entry.event {
                Event::Prediction(_) => between.predictions += 1,
                Event::Feedback(feedback) => {
                    let (position, time) = (entry.position, entry.time);
                    if facts.retracted_by(position, time, feedback, last).is_none() {
                        between.count(&feedback.source);
                    }
                }
                Event::Command(command) => {
                    orders.push_back(named(entry.position, command));
                    if orders.len() > NAMED_MAX {
                        orders.pop_front();
                        between.n_older_orders += 1;
                    }
                }
                _ => {}
            }
        }
        between.orders = orders.into();
        Ok(between)
    }

    /// The answers of both to the newest predicted rows.
    fn disagreement(&mut self) -> Result<Disagreement, Error> {
        let (versions, facts, last) = self.journal();
        let newest = self.newest_rows()?;
        let truths = Truths::read(versions, facts, (0, last))?;
        let mut found = Disagreement::default();
        let mut pasts: BTreeMap<PredictionId, [Option<Arc<Past>>; 2]> = BTreeMap::new();
        let mut total = 0.0;
        let mut pass = Pass::from_start(versions, 0)?;
        while let Some(entry) = pass.next(last)? {
            self.note(&entry, &mut pasts)?;
            let Event::Prediction(prediction) = &entry.event else {
                continue;
            };
            let is_new = newest.is_some_and(|(position, _)| entry.position >= position);
            let follows = self.follows_values(entry.position);
            if !is_new && !follows {
                continue;
            }
            let [one, two] = self.arranged(&prediction.batch)?;
            for (row, id) in prediction.ids.iter().enumerate() {
                // As if it were asked when the later version was saved, where that is behind it.
                let answered = self.ask([&one, &two], row, None);
                let skipped = newest.is_some_and(|at| (entry.position, row) < at);
                if is_new && !skipped {
                    let truth = truths.of_predictions.get(id);
                    let row = DifferentRow {
                        id: *id,
                        position: entry.position,
                        batch: one.row(row),
                        answers: Default::default(),
                        truth: truth.map(|truth| text(truth.signal())),
                    };
                    total += found.take(self.names(), row, &answered);
                }
                if truths.of_predictions.contains_key(id) {
                    pasts.insert(*id, answered.pasts);
                }
            }
        }
        if self.names().is_empty() && found.rows > 0 {
            found.mean_difference = Some(total / found.rows as f64);
        }
        Ok(found)
    }

    /// Values that came since the states were saved are the past of later rows.
    fn note(
        &mut self,
        entry: &Entry,
        pasts: &mut BTreeMap<PredictionId, [Option<Arc<Past>>; 2]>,
    ) -> Result<(), Error> {
        let (_, facts, last) = self.journal();
        match &entry.event {
            Event::Description(description)
            | Event::Command(Command {
                order: Order::Adopt(description),
                ..
            }) => self.describe(description, entry.position)?,
            _ => {}
        }
        let Some(feedback) = truth_of(entry, facts, last) else {
            return Ok(());
        };
        let Signal::Value(value) = feedback.signal else {
            return Ok(());
        };
        if self.knows(entry.position) {
            return Ok(());
        }
        match &feedback.subject {
            Subject::Prediction(id) => {
                if let Some(pasts) = pasts.remove(id) {
                    self.note_value(&pasts, Some(value));
                }
            }
            Subject::Inputs { batch, .. } => {
                let [one, two] = self.arranged(batch)?;
                let AnswerPair { pasts, .. } = self.ask([&one, &two], 0, None);
                self.note_value(&pasts, Some(value));
            }
        }
        Ok(())
    }

    /// The entry and the row of the oldest of the newest predicted rows.
    fn newest_rows(&self) -> Result<Option<(u64, usize)>, Error> {
        let (versions, _, last) = self.journal();
        let mut rows = VecDeque::new();
        let mut pass = Pass::from_start(versions, 0)?;
        while let Some(entry) = pass.next(last)? {
            if let Event::Prediction(prediction) = &entry.event {
                for row in 0..prediction.ids.len() {
                    rows.push_back((entry.position, row));
                    if rows.len() > ROWS_MAX {
                        rows.pop_front();
                    }
                }
            }
        }
        Ok(rows.front().copied())
    }
}

impl EntriesBetween {
    fn count(&mut self, source: &str) {
        let has_room = self.sources.len() < NAMED_MAX;
        match self.sources.get_mut(source) {
            Some(n) => *n += 1,
            None if has_room => {
                self.sources.insert(source.to_owned(), 1);
            }
            None => self.other_sources += 1,
        }
    }
}

impl Disagreement {
    /// Takes the answers to a row; the difference of values.
    fn take(&mut self, names: &[String], mut row: DifferentRow, answered: &AnswerPair) -> f64 {
        let [Some(first), Some(second)] = &answered.answers else {
            return 0.0;
        };
        self.rows += 1;
        let value = |answer: &RowAnswer| answer.answer.outputs[0];
        let is_value = names.is_empty();
        let apart_now = (value(first) - value(second)).abs();
        let differs = if is_value {
            apart_now > 0.0
        } else {
            first.chosen != second.chosen
        };
        if !differs {
            return 0.0;
        }
        self.different += 1;
        row.answers = [first, second].map(|one| match one.chosen {
            Some(place) => names[place].clone(),
            None => value_text(value(one)),
        });
        self.examples.push(row);
        if is_value {
            let apart = |one: &DifferentRow| {
                let [a, b] = one
                    .answers
                    .each_ref()
                    .map(|text| text.parse().unwrap_or(0.0));
                let apart: f64 = a - b;
                apart.abs()
            };
            let order = |a: &DifferentRow, b: &DifferentRow| apart(b).total_cmp(&apart(a));
            self.examples.sort_by(order);
            self.examples.truncate(EXAMPLES_MAX);
            return apart_now;
        }
        if self.examples.len() > EXAMPLES_MAX {
            self.examples.remove(0);
        }
        0.0
    }
}

fn named(position: u64, command: &Command) -> OrderBetween {
    OrderBetween {
        position,
        order: command.order.clone(),
        actor: command.actor.clone(),
        note: command.note.clone(),
    }
}

fn text(signal: &Signal) -> String {
    match signal {
        Signal::Label(label) => label.clone(),
        Signal::Value(value) => value_text(*value),
        _ => String::new(),
    }
}

/// The change of every tensor of numbers.
fn changes(first: &Tensors, second: &Tensors) -> Vec<TensorChange> {
    let names = first.0.keys().chain(second.0.keys());
    let names: BTreeSet<&String> = names.collect();
    let change = |name: &String| {
        let both = [first, second].map(|one| one.0.get(name).and_then(values));
        let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let norms = both.each_ref().map(|one| one.as_deref().map(norm));
        let moved = match &both {
            [Some(a), Some(b)] if a.len() == b.len() => {
                let apart: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
                Some(norm(&apart))
            }
            _ => None,
        };
        norms.iter().any(Option::is_some).then(|| TensorChange {
            name: name.clone(),
            norms,
            moved,
        })
    };
    names.into_iter().filter_map(change).collect()
}

/// The values of a tensor of weights; none of counts and texts.
fn values(tensor: &Tensor) -> Option<Vec<f64>> {
    match &tensor.data {
        Data::F32(values) => Some(values.iter().map(|value| f64::from(*value)).collect()),
        Data::F64(values) => Some(values.clone()),
        Data::U32(_) | Data::U64(_) | Data::U8(_) => None,
    }
}
