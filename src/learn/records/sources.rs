//! Counts of the learned examples of each source.
//!
//! Invariant: the counts are of the examples that the state has learned: a restore brings those of its version
//! back, and a retraction those of the history without the feedback that it takes back.

use std::collections::BTreeMap;

use crate::model::weights::{Error, Tensors};

/// Sources that are counted by their names; examples of further ones are counted together.
pub(crate) const SOURCES_MAX: usize = 1000;
/// The name that further sources are counted under.
pub(crate) const OTHERS: &str = "(further sources)";

/// Examples by the source of the feedback that they came of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    counts: BTreeMap<String, SourceCount>,
    /// The position from which on they are counted.
    since: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SourceCount {
    learned: u64,
    /// Examples that wait until enough make up an update.
    waiting: u64,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources {
            counts: BTreeMap::new(),
            since: 1,
        }
    }
}

impl Sources {
    /// Examples learned, by source.
    pub fn learned(&self) -> impl Iterator<Item = (&str, u64)> {
        let counts = self.counts.iter();
        let learned = counts.map(|(source, count)| (source.as_str(), count.learned));
        learned.filter(|(_, n_examples)| *n_examples > 0)
    }

    /// The position from which on they are counted: 1, unless an older program learned the first.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// An example that waits for its update.
    pub(crate) fn wait(&mut self, source: &str) {
        self.count(source).waiting += 1;
    }

    fn count(&mut self, source: &str) -> &mut SourceCount {
        let known = self.counts.contains_key(source) || self.counts.len() < SOURCES_MAX;
        let source = if known { source } else { OTHERS };
        self.counts.entry(source.to_owned()).or_default()
    }

    /// An example that is learned at once, whatever waits.
    pub(crate) fn add(&mut self, source: &str) {
        self.count(source).learned += 1;
    }

    /// An example gave way to one of another event.
    pub(crate) fn replace(&mut self, source: &str) {
        let count = self.count(source);
        let whole = match count.learned {
            0 => &mut count.waiting,
            _ => &mut count.learned,
        };
        *whole = whole.saturating_sub(1);
    }

    /// Counts the examples that waited as learned.
    pub(crate) fn settle(&mut self) {
        for count in self.counts.values_mut() {
            count.learned += std::mem::take(&mut count.waiting);
        }
    }

    /// Drops the examples that waited: they were rejected.
    pub(crate) fn reject(&mut self) {
        self.counts.values_mut().for_each(|count| count.waiting = 0);
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        if self.since > 1 && self.counts.is_empty() {
            // It stays as an older program wrote it.
            return;
        }
        let names: String = self.counts.keys().map(String::as_str).collect();
        let numbers = self.counts.iter().flat_map(|(name, count)| {
            let n_bytes = name.len() as u64;
            [n_bytes, count.learned, count.waiting]
        });
        let n_sources = self.counts.len();
        tensors.put_u64("sources", &[n_sources, 3], numbers.collect());
        tensors.put_u64("sources.since", &[1], vec![self.since]);
        tensors.put_u8("sources.names", &[names.len()], names.into_bytes());
    }

    /// The sources of a state at `position`, which an older program may have saved without any.
    pub(crate) fn load(tensors: &mut Tensors, position: u64) -> Result<Sources, Error> {
        if !tensors.0.contains_key("sources") {
            return Ok(Sources {
                counts: BTreeMap::new(),
                since: position + 1,
            });
        }
        let numbers = tensors.take_u64("sources", &[None, Some(3)])?;
        let since = tensors.take_u64("sources.since", &[Some(1)])?[0];
        let names = tensors.take_u8("sources.names", &[None])?;
        let wrong = || {
            let what = format!("{} bytes are not the names of the sources", names.len());
            Error::value("sources.names", what)
        };
        let mut counts = BTreeMap::new();
        let mut rest = names.as_slice();
        for row in numbers.chunks_exact(3) {
            let (name, after) = rest.split_at_checked(row[0] as usize).ok_or_else(wrong)?;
            let name = std::str::from_utf8(name).map_err(|_| wrong())?;
            let count = SourceCount {
                learned: row[1],
                waiting: row[2],
            };
            counts.insert(name.to_owned(), count);
            rest = after;
        }
        if rest.is_empty() {
            Ok(Sources { counts, since })
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(sources: &Sources) -> Vec<(&str, u64)> {
        sources.learned().collect()
    }

    #[test]
    fn an_example_counts_once_it_is_learned() {
        let mut sources = Sources::default();
        sources.wait("people");
        sources.wait("ü");
        assert_eq!(learned(&sources), []);
        sources.settle();
        sources.wait("people");
        sources.reject();
        sources.wait("people");
        sources.settle();
        sources.wait("later");
        assert_eq!(learned(&sources), [("people", 2), ("ü", 1)]);
        let mut tensors = Tensors::default();
        sources.save(&mut tensors);
        assert_eq!(Sources::load(&mut tensors, 9), Ok(sources));
    }

    #[test]
    fn further_sources_are_counted_together() {
        let mut sources = Sources::default();
        for n in 0..SOURCES_MAX + 7 {
            sources.wait(&format!("{n:04}"));
            sources.wait("0003");
        }
        sources.settle();
        let learned: BTreeMap<_, _> = sources.learned().collect();
        assert_eq!(learned.len(), SOURCES_MAX + 1);
        assert_eq!((learned[OTHERS], learned["0999"]), (7, 1));
        assert_eq!(learned["0003"], 1 + SOURCES_MAX as u64 + 7);
    }

    #[test]
    fn a_state_of_an_older_program_is_counted_from_there_on() {
        let mut sources = Sources::load(&mut Tensors::default(), 9).unwrap();
        let mut tensors = Tensors::default();
        sources.save(&mut tensors);
        assert!(tensors.0.is_empty());
        sources.wait("people");
        sources.settle();
        sources.save(&mut tensors);
        let loaded = Sources::load(&mut tensors, 12).unwrap();
        assert_eq!(
            (loaded.since(), learned(&loaded)),
            (10, vec![("people", 1)])
        );
    }
}
