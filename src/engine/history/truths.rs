//! The truths of a journal: which rows have a label or a value, and which of several counts.
//!
//! Invariant: retracted feedback counts nowhere, the last word counts as it does for a learner, and of a
//! row's truths the first has the time from which a state may have learned it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::history::facts::Facts;
use crate::engine::history::pass::Pass;
use crate::engine::versions::saved::Versions;
use crate::event::{Entry, Event, Feedback, PredictionId, Signal, Subject};
use crate::learn::LastWord;
use crate::store;

/// Rows with a truth that are kept at most, the newest ones.
pub const ROWS_MAX: usize = 100_000;
/// Predictions that are known to have been labelled earlier, the newest ones by their ids.
const BEFORE_MAX: usize = 1_000_000;

/// The truth about a prediction.
pub(crate) struct JournaledTruth {
    /// The position of the first word about it.
    pub first: u64,
    /// The position of the last word that counts.
    pub last: u64,
    word: LastWord,
}

impl JournaledTruth {
    /// The label or the value.
    pub(crate) fn signal(&self) -> &Signal {
        &self.word.feedback.signal
    }
}

/// The truths that came behind a position.
#[derive(Default)]
pub(crate) struct Truths {
    /// Truths by the prediction that each is about.
    pub of_predictions: BTreeMap<PredictionId, JournaledTruth>,
    /// Predictions that are labelled at or before that position.
    pub n_before: u64,
    /// Rows that came with a truth about a time long past.
    pub n_past: u64,
    /// Older rows that are left out.
    pub n_beyond: u64,
    /// Rows in the order of their first words, each with its prediction, if it was one.
    rows: VecDeque<(u64, Option<PredictionId>)>,
}

impl Truths {
    /// The truths of the journal up to `last` whose first words stand behind `behind`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn read(
        versions: &Versions,
        facts: &Facts,
        (behind, last): (u64, u64),
    ) -> Result<Truths, store::Error> {
        let mut truths = Truths::default();
        let mut before = BTreeSet::new();
        let mut pass = Pass::from_start(versions, 0)?;
        while let Some(entry) = pass.next(last)? {
            let Some(feedback) = truth_of(&entry, facts, last) else {
                continue;
            };
            truths.take(&entry, feedback, behind, &mut before);
        }
        Ok(truths)
    }

    fn take(
        &mut self,
        entry: &Entry,
        feedback: &Feedback,
        behind: u64,
        before: &mut BTreeSet<PredictionId>,
    ) {
        let position = entry.position;
        let Subject::Prediction(id) = feedback.subject else {
            match (position > behind, feedback.is_past(entry.time)) {
                (false, _) => self.n_before += 1,
                (true, true) => self.n_past += 1,
                (true, false) => self.push(position, None),
            }
            return;
        };
        if position <= behind {
            self.n_before += u64::from(before.insert(id));
            while before.len() > BEFORE_MAX {
                before.pop_first();
            }
            return;
        }
        if before.contains(&id) {
            return;
        }
        match self.of_predictions.get_mut(&id) {
            Some(truth) if truth.word.is_superseded_by(feedback) => {
                truth.last = position;
                truth.word = LastWord {
                    feedback: feedback.clone(),
                    accepted: entry.time,
                    is_correction: true,
                    gives_way: false,
                };
            }
            Some(_) => {}
            None => {
                let word = LastWord {
                    feedback: feedback.clone(),
                    accepted: entry.time,
                    is_correction: false,
                    gives_way: false,
                };
                let (first, last) = (position, position);
                let truth = JournaledTruth { first, last, word };
                self.of_predictions.insert(id, truth);
                self.push(position, Some(id));
            }
        }
    }

    fn push(&mut self, position: u64, id: Option<PredictionId>) {
        self.rows.push_back((position, id));
        while self.rows.len() > ROWS_MAX {
            let oldest = self.rows.pop_front();
            if let Some((_, Some(id))) = oldest {
                self.of_predictions.remove(&id);
            }
            self.n_beyond += 1;
        }
    }

    /// True if the feedback at a position brings a row of its own that counts.
    pub(crate) fn has_row(&self, position: u64) -> bool {
        let found = self.rows.binary_search_by_key(&position, |(at, _)| *at);
        found.is_ok_and(|place| self.rows[place].1.is_none())
    }
}

/// The feedback of an entry, if it is a label or a value that was not retracted.
pub(crate) fn truth_of<'a>(entry: &'a Entry, facts: &Facts, last: u64) -> Option<&'a Feedback> {
    let Event::Feedback(feedback) = &entry.event else {
        return None;
    };
    if !matches!(feedback.signal, Signal::Label(_) | Signal::Value(_)) {
        return None;
    }
    let retracted = facts.retracted_by(entry.position, entry.time, feedback, last);
    retracted.is_none().then_some(feedback)
}
