//! Two states side by side: the same rows are answered by both, and judged by one paired trial.
//!
//! A version is as it was saved. A description stands for the state that it leads to at the position of the
//! version beside it, so that both have learned from the same entries; weights take the place of those in
//! that version's network. From there on neither learns.
//!
//! Invariant: nothing on disk is changed, and a row that either may have learned is no evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::error::Error;
use crate::engine::history::facts::Facts;
use crate::engine::history::logged::LoggedDecisions;
use crate::engine::history::pass::Pass;
use crate::engine::history::truths::{Truths, truth_of};
use crate::engine::offline::compared::{
    CompareSettings, ComparisonReport, ExcludedRows, Judge, RowTruth,
};
use crate::engine::offline::row_keys::{RowKey, row_key, truth_key};
use crate::engine::offline::sides::{AnsweringSide, Side, SideSource};
use crate::engine::versions::saved::Versions;
use crate::event::{
    Batch, Command, Description, Entry, Event, Feedback, Order, Prediction, PredictionId, Subject,
};
use crate::learn::RowAnswer;
use crate::model::{InputKind, Past, Spec, Task};

/// A row of a file, as each side reads it.
#[derive(Clone, Debug)]
pub struct GivenRow {
    /// The batches of one row, with the inputs of each side's description.
    pub batches: [Batch; 2],
    /// Its truth.
    pub truth: RowTruth,
}

/// Two states that are compared.
pub struct SideBySide<'a> {
    source: SideSource<'a>,
    sides: [AnsweringSide; 2],
    /// The classes or actions of both.
    names: Vec<String>,
    /// The side that has learned more, whose past of the target both see.
    newer: usize,
    /// Both are versions, whose series are the same.
    shares_past: bool,
    /// The description in force, where the sides have yet to read by it.
    unread: Option<Spec>,
}

/// The answers of both sides to a row, and the pasts that they were asked with.
#[derive(Default)]
pub(crate) struct AnswerPair {
    pub answers: [Option<RowAnswer>; 2],
    pub pasts: [Option<Arc<Past>>; 2],
}

/// A row that is to be judged once all are answered.
struct JudgedRow {
    /// The position of its last truth.
    position: u64,
    truth: RowTruth,
    answers: [Option<RowAnswer>; 2],
}

impl<'a> SideBySide<'a> {
    pub(crate) fn new(
        source: SideSource<'a>,
        version: u64,
        other: &Side,
    ) -> Result<SideBySide<'a>, Error> {
        let (sides, names) = source.pair(version, other)?;
        let position = |side: &AnsweringSide| side.state.learner().position();
        Ok(SideBySide {
            source,
            newer: usize::from(position(&sides[0]) < position(&sides[1])),
            shares_past: matches!(other, Side::Version(_)),
            sides,
            names,
            unread: None,
        })
    }

    /// The description of each side.
    pub fn specs(&self) -> [&Arc<Spec>; 2] {
        self.sides.each_ref().map(|side| side.state.spec())
    }

    /// The position up to which a side may have learned.
    fn behind(&self) -> u64 {
        let positions = self.sides.iter().map(|side| side.position);
        positions.max().unwrap_or(0)
    }

    pub(crate) fn sides(&self) -> &[AnsweringSide; 2] {
        &self.sides
    }

    /// The classes or actions of both; none of values.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn journal(&self) -> (&'a Versions, &'a Facts, u64) {
        self.source.journal()
    }

    /// True if the later state has seen the entry at a position.
    pub(crate) fn knows(&self, position: u64) -> bool {
        position <= self.sides[self.newer].state.learner().position()
    }

    /// True if values that stand at a position are the past of later rows.
    pub(crate) fn follows_values(&self, position: u64) -> bool {
        let sees = |side: &AnsweringSide| side.state.sees_past();
        !self.knows(position) && self.sides.iter().any(sees)
    }

    fn side_names(&self) -> [String; 2] {
        self.sides.each_ref().map(|side| side.name.clone())
    }

    /// Compares them on the labels, values or rewards of the journal that neither side may have learned;
    /// the newest [`COMPARED_ROWS_MAX`](crate::engine::COMPARED_ROWS_MAX) of labels and values.
    ///
    /// # Errors
    /// [`Error::Refused`]: a setting is out of its range, or a side lacks an input. [`Error::Store`]: the
    /// journal cannot be read.
    pub fn on_journal(mut self, settings: CompareSettings) -> Result<ComparisonReport, Error> {
        let spec = self.sides[0].state.spec().clone();
        let settings = settings.checked(&spec.publish)?;
        let names = self.names.clone();
        if let Task::Bandit { .. } = spec.task {
            let mut judge = Judge::new(&spec, &names, ExcludedRows::default());
            self.judge_decisions(&mut judge)?;
            return Ok(judge.outcome(self.side_names(), settings));
        }
        let (versions, facts, last) = self.journal();
        let truths = Truths::read(versions, facts, (self.behind(), last))?;
        let excluded = ExcludedRows {
            learned: truths.n_before,
            past: truths.n_past,
            older: truths.n_beyond,
            unjudged: 0,
        };
        let mut judge = Judge::new(&spec, &names, excluded);
        let mut rows = self.answer_journal(&truths)?;
        rows.sort_by_key(|row| row.position);
        for row in &rows {
            judge.judge(&row.truth, row.answers.each_ref().map(Option::as_ref));
        }
        Ok(judge.outcome(self.side_names(), settings))
    }

    /// Compares them on given rows, in their order, but for those that equal a row which a side may have
    /// learned.
    ///
    /// # Errors
    /// As [`SideBySide::on_journal`]; and where a text is encoded, which a file cannot bring.
    pub fn on_rows(
        mut self,
        rows: &[GivenRow],
        settings: CompareSettings,
    ) -> Result<ComparisonReport, Error> {
        let spec = self.sides[0].state.spec().clone();
        let settings = settings.checked(&spec.publish)?;
        self.check_encoders()?;
        let keys: Vec<RowKey> = rows.iter().map(|row| row_key(&row.batches[0], 0)).collect();
        let learned = self.learned_among(&keys.iter().copied().collect())?;
        let names = self.names.clone();
        let mut judge = Judge::new(&spec, &names, ExcludedRows::default());
        for (row, key) in rows.iter().zip(keys) {
            if learned.contains(&(key, truth_key(&row.truth))) {
                judge.excluded.learned += 1;
                continue;
            }
            let [one, two] = &row.batches;
            let answered = self.ask([one, two], 0, None);
            judge.judge(&row.truth, answered.answers.each_ref().map(Option::as_ref));
            self.note_value(&answered.pasts, row.truth.value());
        }
        Ok(judge.outcome(self.side_names(), settings))
    }

    /// Refuses rows of a file where an encoder reads an input: the version keeps no encoder.
    fn check_encoders(&self) -> Result<(), Error> {
        for side in &self.sides {
            let mut inputs = side.state.spec().inputs.iter();
            let encoded = inputs.find(|input| {
                matches!(
                    input.kind,
                    InputKind::Embedded { .. } | InputKind::EmbeddedVector { .. }
                )
            });
            if let Some(input) = encoded {
                return Err(Error::Refused {
                    field: "rows",
                    what: format!(
                        "input {:?} of {} has an encoder: compare on the journal, which holds what \
                         it gave",
                        input.name, side.name
                    ),
                });
            }
        }
        Ok(())
    }

    /// Both sides read the journal by this description from here on.
    pub(crate) fn describe(
        &mut self,
        description: &Description,
        position: u64,
    ) -> Result<(), Error> {
        let spec = Spec::journaled(&description.toml);
        let spec = spec.map_err(|error| self.damaged(position, &error))?;
        self.unread = Some(spec);
        Ok(())
    }

    fn damaged(&self, position: u64, what: &dyn std::fmt::Display) -> Error {
        Error::Damaged {
            model: self.source.versions.model.clone(),
            what: format!("entry {position}: {what}"),
        }
    }

    /// Takes note of a description; a batch, as both sides read it.
    pub(crate) fn arranged(&mut self, batch: &Batch) -> Result<[Batch; 2], Error> {
        if let Some(spec) = self.unread.take() {
            for side in &mut self.sides {
                side.describe(&spec)?;
            }
        }
        Ok(self.sides.each_ref().map(|side| side.arranged(batch)))
    }

    /// The answers to a row; `asked` is the prediction that it was, where a state was there before it.
    pub(crate) fn ask(
        &self,
        batches: [&Batch; 2],
        row: usize,
        asked: Option<PredictionId>,
    ) -> AnswerPair {
        let past = |side: usize| self.sides[side].state.past(batches[side], row, asked);
        let newest = past(self.newer);
        let shared = newest.clone().filter(|_| self.shares_past);
        let pasts = [0, 1].map(|side| {
            if side == self.newer {
                newest.clone()
            } else {
                shared.clone().or_else(|| past(side))
            }
        });
        let answer = |side: usize| {
            let asked = (batches[side], row);
            self.sides[side].answer(asked, pasts[side].as_ref(), self.names.len())
        };
        AnswerPair {
            answers: [answer(0), answer(1)],
            pasts,
        }
    }

    pub(crate) fn note_value(&mut self, pasts: &[Option<Arc<Past>>; 2], value: Option<f64>) {
        let Some(value) = value else { return };
        for (side, past) in self.sides.iter_mut().zip(pasts) {
            side.state.note_value(past.as_ref(), value);
        }
    }

    /// The answers of both sides to the rows of the journal that have these truths.
    fn answer_journal(&mut self, truths: &Truths) -> Result<Vec<JudgedRow>, Error> {
        let (versions, facts, last) = self.journal();
        let (mut asked, mut judged) = (BTreeMap::new(), Vec::new());
        let mut pass = Pass::from_start(versions, 0)?;
        while let Some(entry) = pass.next(last)? {
            match &entry.event {
                Event::Description(description)
                | Event::Command(Command {
                    order: Order::Adopt(description),
                    ..
                }) => self.describe(description, entry.position)?,
                Event::Prediction(prediction) => {
                    self.ask_prediction(prediction, entry.position, truths, &mut asked)?;
                }
                _ => {
                    if let Some(feedback) = truth_of(&entry, facts, last) {
                        judged.extend(self.take(&entry, feedback, truths, &mut asked)?);
                    }
                }
            }
        }
        Ok(judged)
    }

    fn ask_prediction(
        &mut self,
        prediction: &Prediction,
        position: u64,
        truths: &Truths,
        asked: &mut BTreeMap<PredictionId, AnswerPair>,
    ) -> Result<(), Error> {
        let ids = prediction.ids.iter().enumerate();
        let mut wanted = ids.filter(|(_, id)| truths.of_predictions.contains_key(id));
        let Some(first) = wanted.next() else {
            return Ok(());
        };
        let [one, two] = self.arranged(&prediction.batch)?;
        let is_older = self.knows(position);
        for (row, id) in std::iter::once(first).chain(wanted) {
            let before = is_older.then_some(*id);
            asked.insert(*id, self.ask([&one, &two], row, before));
        }
        Ok(())
    }

    /// Takes a truth: the row that is judged by it, if one is.
    fn take(
        &mut self,
        entry: &Entry,
        feedback: &Feedback,
        truths: &Truths,
        asked: &mut BTreeMap<PredictionId, AnswerPair>,
    ) -> Result<Option<JudgedRow>, Error> {
        let position = entry.position;
        let id = match &feedback.subject {
            Subject::Prediction(id) => *id,
            Subject::Inputs { batch, .. } => {
                let truth = RowTruth::of(&feedback.signal);
                let Some(truth) = truth.filter(|_| truths.has_row(position)) else {
                    return Ok(None);
                };
                let [one, two] = self.arranged(batch)?;
                let AnswerPair { answers, pasts } = self.ask([&one, &two], 0, None);
                self.note_value(&pasts, truth.value());
                return Ok(Some(JudgedRow {
                    position,
                    truth,
                    answers,
                }));
            }
        };
        let Some(truth) = truths.of_predictions.get(&id) else {
            return Ok(None);
        };
        let Some(row) = asked.get(&id) else {
            return Ok(None);
        };
        if truth.first == position {
            let value = RowTruth::of(&feedback.signal).and_then(|truth| truth.value());
            let pasts = row.pasts.clone();
            self.note_value(&pasts, value);
        }
        if truth.last != position {
            return Ok(None);
        }
        let row = asked.remove(&id).expect("it was there just now");
        Ok(RowTruth::of(truth.signal()).map(|truth| JudgedRow {
            position,
            truth,
            answers: row.answers,
        }))
    }

    /// Judges the decisions of a bandit whose rewards neither side may have learned.
    fn judge_decisions(&mut self, judge: &mut Judge<'_>) -> Result<(), Error> {
        let (versions, facts, last) = self.journal();
        let (behind, spec) = (self.behind(), self.sides[0].state.spec().clone());
        self.unread = Some((*spec).clone());
        for decided in LoggedDecisions::new(versions, last, facts, &spec)? {
            let decided = decided?;
            if decided.position <= behind {
                judge.excluded.learned += 1;
                continue;
            }
            let [one, two] = self.arranged(&decided.batch)?;
            let answered = self.ask([&one, &two], 0, None);
            let truth = RowTruth::Decision {
                action: decided.action,
                propensity: decided.propensity,
                reward: decided.reward,
            };
            judge.judge(&truth, answered.answers.each_ref().map(Option::as_ref));
        }
        Ok(())
    }

    /// The rows with these inputs that a side may have learned, with their truths.
    fn learned_among(
        &mut self,
        keys: &BTreeSet<RowKey>,
    ) -> Result<BTreeSet<(RowKey, String)>, Error> {
        let (versions, facts, last) = self.journal();
        let (behind, mut learned) = (self.behind(), BTreeSet::new());
        let mut asked: BTreeMap<PredictionId, RowKey> = BTreeMap::new();
        let mut pass = Pass::from_start(versions, 0)?;
        while let Some(entry) = pass.next(behind)? {
            match &entry.event {
                Event::Description(description)
                | Event::Command(Command {
                    order: Order::Adopt(description),
                    ..
                }) => self.describe(description, entry.position)?,
                Event::Prediction(prediction) => {
                    let [batch, _] = self.arranged(&prediction.batch)?;
                    let rows = prediction.ids.iter().enumerate();
                    let rows = rows.map(|(row, id)| (*id, row_key(&batch, row)));
                    asked.extend(rows.filter(|(_, key)| keys.contains(key)));
                }
                _ => {
                    let Some(feedback) = truth_of(&entry, facts, last) else {
                        continue;
                    };
                    let key = match &feedback.subject {
                        Subject::Prediction(id) => asked.get(id).copied(),
                        Subject::Inputs { batch, .. } => {
                            let [batch, _] = self.arranged(batch)?;
                            Some(row_key(&batch, 0))
                        }
                    };
                    let truth = RowTruth::of(&feedback.signal);
                    learned.extend(key.zip(truth.map(|truth| truth_key(&truth))));
                }
            }
        }
        Ok(learned)
    }
}
