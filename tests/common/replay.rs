//! What a journal alone gives.
//!
//! Invariant: nothing but the journal's entries, from the first, is looked at.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use perennial::event::Event;
use perennial::learn::{Learner, Need, Supply};
use perennial::model::Spec;
use perennial::store::Reader;

/// The digest of a fresh learner that has applied everything up to `last`.
pub fn replayed(journal: &Path, last: u64) -> Result<[u8; 32], String> {
    let said = |error: perennial::store::Error| error.to_string();
    let mut reader = Reader::open(journal, 1, last).map_err(said)?;
    let mut learner = None;
    let mut versions = BTreeMap::new();
    while let Some(entry) = reader.next(last).map_err(said)? {
        let learner = learner.get_or_insert_with(|| match &entry.event {
            Event::Description(description) => {
                let spec = Spec::parse(&description.toml).expect("it was in force");
                Learner::new(Arc::new(spec))
            }
            other => panic!("the journal starts with {other:?}"),
        });
        let prediction = |reader: &mut Reader, position| match reader.read(position) {
            Ok(entry) => match entry.event {
                Event::Prediction(prediction) => Ok(prediction),
                other => Err(format!("{position} is {other:?}")),
            },
            Err(error) => Err(error.to_string()),
        };
        let step = match learner.needs(&entry.event) {
            Need::Nothing => learner.apply(&entry, Supply::Nothing),
            Need::Prediction(position) => {
                let prediction = prediction(&mut reader, position)?;
                learner.apply(&entry, Supply::Prediction(&prediction))
            }
            Need::Predictions(positions) => {
                let all = positions.into_iter();
                let all = all.map(|position| prediction(&mut reader, position));
                let all = all.collect::<Result<Vec<_>, _>>()?;
                learner.apply(&entry, Supply::Predictions(&all))
            }
            Need::Version(version) => {
                let (weights, state) = Clone::clone(&versions[&version]);
                learner.apply(&entry, Supply::Version(weights, state))
            }
        };
        if let Some(version) = step.map_err(|error| error.to_string())?.version {
            let state = (learner.learned().weights(), learner.state());
            versions.insert(version.version, state);
        }
    }
    let learner = learner.ok_or("the journal is empty")?;
    Ok(learner.learned().digest())
}
