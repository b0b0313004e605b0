//! The answering state derived again, and why its answer may be another one.
//!
//! Invariant: a state is given only where every entry that it needs can still be read.

use crate::engine::compute::described::BUILD;
use crate::engine::history::error::Error;
use crate::engine::history::facts::Facts;
use crate::engine::history::orders::RecordedFacts;
use crate::engine::history::rebuild::Rebuild;
use crate::engine::versions::saved::Versions;
use crate::event::{
    Description, Disposal, Entry, ErasedKind, Event, Order, Outputs, Prediction, Retraction,
    Selector,
};
use crate::learn::{Fate, Learner};
use crate::model::{Choice, profile};

/// A state derived again from the journal.
pub(super) struct DerivedState {
    pub learner: Learner,
    /// The descriptions that were in force while it was derived, from the saved state on that it
    /// was derived from.
    under: Vec<Description>,
}

/// The state as it was when it answered, whatever was retracted since.
pub(super) fn state_at(
    versions: &Versions,
    position: u64,
    facts: &Facts,
) -> Result<DerivedState, Error> {
    let rebuild = Rebuild::again(versions, position, facts)?;
    let base = rebuild.base;
    let mut later = facts.descriptions(base, position).peekable();
    let mut under = Vec::new();
    if later.peek().is_none_or(|(at, _)| *at > base + 1) {
        under.push(rebuild.learner.description().clone());
    }
    under.extend(later.map(|(_, description)| description.clone()));
    let learner = rebuild.finish(position)?.learner;
    Ok(DerivedState { learner, under })
}

/// The fate of the feedback at a position when it came, where that can be derived again.
pub(super) fn fate_at(versions: &Versions, position: u64, facts: &Facts) -> Option<Fate> {
    let mut rebuild = Rebuild::again(versions, position, facts).ok()?;
    let mut counts_at = |last| {
        rebuild.advance(last, usize::MAX).ok()?;
        let learner = &rebuild.learner;
        let counts = Fate::ALL.map(|fate| learner.ledger().count(fate));
        (learner.position() == last).then_some(counts)
    };
    // An event adds to the count of its fate, and may lead to that of those that waited with it.
    let (before, after) = (counts_at(position - 1)?, counts_at(position)?);
    let grown = |fate: &Fate| after[*fate as usize] > before[*fate as usize];
    Fate::ALL.into_iter().find(grown)
}

impl DerivedState {
    /// The reason why it answers otherwise than was served.
    pub(super) fn difference(&self) -> String {
        let now = Description {
            toml: String::new(),
            build: BUILD.to_owned(),
            profile: profile(self.learner.spec().device, self.learner.spec().revision),
        };
        difference(&self.under, &now)
    }
}

/// The reason why an answer under these descriptions differs from one of now.
fn difference(under: &[Description], now: &Description) -> String {
    let strange = |then: &&Description| then.profile != now.profile || then.build != now.build;
    let Some(then) = under.iter().find(strange) else {
        return format!(
            "damage that nothing explains: {} under the numeric profile {} gave it, and both are \
             the same now",
            now.build, now.profile
        );
    };
    let mut parts = Vec::new();
    if then.profile != now.profile {
        let (then, now) = (&then.profile, &now.profile);
        parts.push(format!(
            "under the numeric profile {then}, which is {now} now"
        ));
    }
    if then.build != now.build {
        parts.push(format!("by {}, which is {} now", then.build, now.build));
    }
    format!("it was computed {}", parts.join(", and "))
}

/// The feedback of a source, as one reading of the journal comes by it.
pub(super) struct OfSource {
    selector: Selector,
    first_position: Option<u64>,
    /// Feedback that was erased.
    erased: Vec<u64>,
}

impl OfSource {
    pub(super) fn new(source: &str) -> OfSource {
        OfSource {
            selector: Selector::Source(source.to_owned()),
            first_position: None,
            erased: Vec::new(),
        }
    }

    /// Takes note of an entry.
    pub(super) fn note(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Feedback(feedback)
                if self.first_position.is_none() && self.selector.chooses(feedback, entry.time) =>
            {
                self.first_position = Some(entry.position);
            }
            Event::Erased(ErasedKind::Feedback(_)) => self.erased.push(entry.position),
            _ => {}
        }
    }

    /// The state at a position without the feedback of the source, and how many events that
    /// excludes; the journal is written up to `last`.
    pub(super) fn state_without(
        &self,
        versions: &Versions,
        position: u64,
        last: u64,
        facts: &Facts,
    ) -> Result<(Learner, u64), Error> {
        let Some(first_position) = self.first_position.filter(|first| *first <= position) else {
            return Ok((state_at(versions, position, facts)?.learner, 0));
        };
        let order = Order::Retract(Retraction {
            selector: self.selector.clone(),
            first_position,
            disposal: Disposal::Keep,
        });
        let known = RecordedFacts {
            written: last,
            ..RecordedFacts::new(facts.clone())
        };
        let rebuild = Rebuild::begin(versions, &order, position, &known)?;
        // Feedback that was taken back only later shaped the answer, and is not known any more.
        let later = facts.retractions_behind(position);
        let first_taken = later.map(|(_, one)| one.first_position).min();
        let first_taken = first_taken.unwrap_or(u64::MAX);
        let needed = |at: &&u64| **at > rebuild.base && first_taken <= **at && **at <= position;
        if let Some(at) = self.erased.iter().find(needed) {
            return Err(Error::NotRetained(format!(
                "entry {at} was erased, and no order up to position {position} is known to have \
                 taken it back before"
            )));
        }
        let other = rebuild.finish(position)?;
        Ok((other.learner, other.excluded.len() as u64))
    }
}

/// The row answered by this state, in the batch that it came in, or why it cannot be.
pub(super) fn answer(
    learner: &Learner,
    prediction: &Prediction,
    row: usize,
) -> Result<Outputs, Error> {
    let n_rows = prediction.ids.len();
    let model = learner.served_to(prediction.ids[0]);
    let of_row = |choice| {
        let outputs = model.predict(&prediction.batch, choice)?;
        Ok(row_of(&outputs, row, n_rows))
    };
    let drawn: Outputs = of_row(Choice::Drawn(&prediction.ids))?;
    // A request that did not explore took the best action, surely.
    match &prediction.outputs {
        Outputs::Actions { propensities, .. } if propensities[row] == 1.0 => {
            let served = row_of(&prediction.outputs, row, n_rows);
            if same_bits(&drawn, &served) {
                Ok(drawn)
            } else {
                of_row(Choice::Best)
            }
        }
        _ => Ok(drawn),
    }
}

/// The outputs of one row of `n_rows`.
pub(super) fn row_of(outputs: &Outputs, row: usize, n_rows: usize) -> Outputs {
    let cut = |values: &[f32]| {
        let width = values.len() / n_rows;
        values[row * width..(row + 1) * width].to_vec()
    };
    match outputs {
        Outputs::Probabilities(values) => Outputs::Probabilities(cut(values)),
        Outputs::Decisions {
            probabilities,
            chosen,
        } => Outputs::Decisions {
            probabilities: cut(probabilities),
            chosen: vec![chosen[row]],
        },
        Outputs::Values(values) => Outputs::Values(vec![values[row]]),
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

pub(super) fn same_bits(one: &Outputs, other: &Outputs) -> bool {
    let equal = |one: &[f32], other: &[f32]| {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        bits(one) == bits(other)
    };
    match (one, other) {
        (Outputs::Probabilities(one), Outputs::Probabilities(other)) => equal(one, other),
        (Outputs::Values(one), Outputs::Values(other)) => {
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            bits(one) == bits(other)
        }
        (
            Outputs::Decisions {
                probabilities,
                chosen,
            },
            Outputs::Decisions {
                probabilities: other,
                chosen: other_chosen,
            },
        ) => chosen == other_chosen && equal(probabilities, other),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_explained_by_what_changed() {
        let of = |build: &str, profile: &str| Description {
            toml: String::new(),
            build: build.to_owned(),
            profile: profile.to_owned(),
        };
        let check = |under: &[Description], expected: &str| {
            assert_eq!(difference(under, &of("one 2", "avx2")), expected);
        };
        let same = of("one 2", "avx2");
        check(
            std::slice::from_ref(&same),
            "damage that nothing explains: one 2 under the numeric profile avx2 gave it, and \
             both are the same now",
        );
        check(
            &[of("one 2", "sse2"), same.clone()],
            "it was computed under the numeric profile sse2, which is avx2 now",
        );
        check(
            &[same, of("one 1", "avx2")],
            "it was computed by one 1, which is one 2 now",
        );
        check(
            &[of("one 1", "sse2")],
            "it was computed under the numeric profile sse2, which is avx2 now, and by one 1, \
             which is one 2 now",
        );
    }
}
