//! The answering state derived again, and why its answer may be another one.
//!
//! Invariant: a state is given only where every entry that it needs can still be read.

use std::path::Path;

use super::{row_of, same_bits};
use crate::engine::compute::described::BUILD;
use crate::engine::history::rebuild::{Known, Rebuild};
use crate::engine::versions::saved::Versions;
use crate::event::{
    Command, Description, Disposal, Event, Kind, Order, Outputs, Prediction, Retraction, Selector,
};
use crate::learn::{Fate, Learner};
use crate::model::{Choice, profile};
use crate::store::{Error, Reader};

/// A state derived again.
pub(super) struct Again {
    pub learner: Learner,
    /// The descriptions that were in force while it came to be, from the saved state on that it
    /// was derived from.
    under: Vec<Description>,
}

/// The state as it was when it answered, whatever was retracted since.
pub(super) fn state_at(versions: &Versions, position: u64) -> Result<Again, String> {
    let rebuild = Rebuild::again(versions, position)?;
    let base = rebuild.base;
    let reader = Reader::open(&versions.journal, base + 1, 0);
    let said = reader.and_then(|reader| descriptions(reader, position));
    let said = said.map_err(|error| error.to_string())?;
    let mut under = Vec::new();
    if said.first().is_none_or(|(at, _)| *at > base + 1) {
        under.push(rebuild.learner.description().clone());
    }
    under.extend(said.into_iter().map(|(_, description)| description));
    let learner = rebuild.finish(position)?.learner;
    Ok(Again { learner, under })
}

/// What became of the feedback at a position when it came, where that can be derived again.
pub(super) fn fate_at(versions: &Versions, position: u64) -> Option<Fate> {
    let mut rebuild = Rebuild::again(versions, position).ok()?;
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

/// The descriptions that a reader comes by up to `last`, with their positions.
fn descriptions(mut reader: Reader, last: u64) -> Result<Vec<(u64, Description)>, Error> {
    let mut all = Vec::new();
    while let Some(entry) = reader.next(last)? {
        match entry.event {
            Event::Description(description)
            | Event::Command(Command {
                order: Order::Adopt(description),
                ..
            }) => all.push((entry.position, description)),
            _ => {}
        }
    }
    Ok(all)
}

/// The description in force at a position, if the journal still says so.
pub(super) fn description_at(journal: &Path, position: u64) -> Result<Option<Description>, Error> {
    let said = descriptions(Reader::from_start(journal, 0)?, position)?;
    Ok(said
        .into_iter()
        .next_back()
        .map(|(_, description)| description))
}

impl Again {
    /// Why it answers otherwise than was served.
    pub fn difference(&self) -> String {
        let now = Description {
            toml: String::new(),
            build: BUILD.to_owned(),
            profile: profile(self.learner.spec().device, self.learner.spec().revision),
        };
        difference(&self.under, &now)
    }
}

/// Why what was learned and answered under these descriptions is another thing now.
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

/// The state at a position had this source said nothing, and how many events that leaves out;
/// the journal is written up to `last`.
pub(super) fn state_without(
    versions: &Versions,
    source: &str,
    position: u64,
    last: u64,
) -> Result<(Learner, u64), String> {
    let said = |error: Error| error.to_string();
    let selector = Selector::Source(source.to_owned());
    let mut first_position = None;
    let (mut erased, mut orders) = (Vec::new(), Vec::new());
    let mut reader = Reader::from_start(&versions.journal, last).map_err(said)?;
    while let Some(entry) = reader.next(last).map_err(said)? {
        let before = entry.position <= position;
        match entry.event {
            Event::Feedback(feedback) if before && selector.chooses(&feedback, entry.time) => {
                first_position.get_or_insert(entry.position);
            }
            Event::Erased(Kind::Feedback(_)) if before => erased.push(entry.position),
            Event::Command(Command {
                order: Order::Retract(retraction),
                ..
            }) if !before => orders.push(retraction.first_position),
            _ => {}
        }
    }
    let Some(first_position) = first_position else {
        return Ok((state_at(versions, position)?.learner, 0));
    };
    let order = Order::Retract(Retraction {
        selector,
        first_position,
        disposal: Disposal::Keep,
    });
    let known = Known {
        written: last,
        ..Known::default()
    };
    let rebuild = Rebuild::begin(versions, &order, position, &known)?;
    // What was taken back only later had its part in the answer, and is not known any more.
    let needed = |at: &&u64| **at > rebuild.base && orders.iter().any(|first| first <= *at);
    if let Some(at) = erased.iter().find(needed) {
        return Err(format!(
            "entry {at} was erased, and no order up to position {position} is known to have \
             taken it back before"
        ));
    }
    let other = rebuild.finish(position)?;
    Ok((other.learner, other.left_out.len() as u64))
}

/// The row answered by this state, in the batch that it came in, or why it cannot be.
pub(super) fn answer(
    learner: &Learner,
    prediction: &Prediction,
    row: usize,
) -> Result<Outputs, String> {
    let (model, n_rows) = (learner.model(), prediction.ids.len());
    let of_row = |choice| {
        let outputs = model.predict(&prediction.batch, choice)?;
        Ok(row_of(&outputs, row, n_rows))
    };
    let drawn: Outputs = of_row(Choice::Drawn(&prediction.ids))?;
    // A request that did not explore took the best action, surely.
    match &prediction.outputs {
        Outputs::Actions { propensities, .. } if propensities[row] == 1.0 => {
            let served = row_of(&prediction.outputs, row, n_rows);
            match same_bits(&drawn, &served) {
                true => Ok(drawn),
                false => of_row(Choice::Best),
            }
        }
        _ => Ok(drawn),
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
