//! The aliases of an operator: names of versions, which orders set, move and remove.
//!
//! Invariant: bounded in number. An alias follows its version to the first one without the retracted feedback,
//! and goes on through restores.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tainted::TaintedVersions;
use crate::model::weights::{Error, Tensors};

/// Aliases of a model at most.
pub(crate) const ALIASES_MAX: usize = 32;

/// An alias that a retraction moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedAlias {
    /// The alias.
    pub alias: String,
    /// The version that it named.
    pub before: u64,
    /// The version that it names now.
    pub after: u64,
}

/// Names of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aliases(Arc<BTreeMap<String, u64>>);

impl Aliases {
    /// Every alias with its version.
    pub(crate) fn all(&self) -> &Arc<BTreeMap<String, u64>> {
        &self.0
    }

    /// Names a version, in place of the one that had the name; the sentence says why it is not done, if it
    /// is not.
    pub(crate) fn set(&mut self, alias: &str, version: u64) -> Option<String> {
        if self.0.len() >= ALIASES_MAX && !self.0.contains_key(alias) {
            return Some(format!(
                "{alias:?}: {ALIASES_MAX} aliases are set; remove one, or move it"
            ));
        }
        Arc::make_mut(&mut self.0).insert(alias.to_owned(), version);
        None
    }

    /// Removes a name; the sentence is the reason where it is not done.
    pub(crate) fn remove(&mut self, alias: &str) -> Option<String> {
        if !self.0.contains_key(alias) {
            return Some(format!("{alias:?} names no version"));
        }
        Arc::make_mut(&mut self.0).remove(alias);
        None
    }

    /// Moves each alias of a version that holds retracted feedback to the first one without it.
    pub(crate) fn follow(&mut self, tainted: &TaintedVersions) -> Vec<MovedAlias> {
        let mut moved = Vec::new();
        for (alias, version) in self.0.iter() {
            let mut after = *version;
            while let Some(next) = tainted.successor(after) {
                after = next;
            }
            if after != *version {
                moved.push(MovedAlias {
                    alias: alias.clone(),
                    before: *version,
                    after,
                });
            }
        }
        for one in &moved {
            Arc::make_mut(&mut self.0).insert(one.alias.clone(), one.after);
        }
        moved
    }

    /// U64 `aliases` `[n]` and, as a line each, U8 `aliases.names`; most states have none.
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        if self.0.is_empty() {
            return;
        }
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let names = names.join("\n").into_bytes();
        tensors.put_u8("aliases.names", &[names.len()], names);
        tensors.put_u64(
            "aliases",
            &[self.0.len()],
            self.0.values().copied().collect(),
        );
    }

    pub(crate) fn load(tensors: &mut Tensors) -> Result<Aliases, Error> {
        if !tensors.0.contains_key("aliases") {
            return Ok(Aliases::default());
        }
        let versions = tensors.take_u64("aliases", &[None])?;
        let names = tensors.take_u8("aliases.names", &[None])?;
        let names = String::from_utf8(names);
        let names = names.map_err(|error| Error::value("aliases.names", error.to_string()))?;
        let names: Vec<&str> = names.lines().collect();
        if names.len() != versions.len() || names.len() > ALIASES_MAX {
            let what = format!("{} names of {} versions", names.len(), versions.len());
            return Err(Error::value("aliases.names", what));
        }
        let names = names.into_iter().map(str::to_owned);
        Ok(Aliases(Arc::new(names.zip(versions).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_bounded_and_follow_their_versions() {
        let mut aliases = Aliases::default();
        for n in 0..ALIASES_MAX {
            assert_eq!(aliases.set(&format!("name-{n}"), 3), None);
        }
        let refused = aliases.set("one-more", 3).expect("it is too many");
        assert!(refused.contains("32 aliases are set"), "{refused}");
        assert_eq!(aliases.set("name-3", 7), None);
        assert!(aliases.remove("one-more").is_some());
        assert_eq!(aliases.remove("name-4"), None);

        let mut tainted = TaintedVersions::default();
        tainted.add(3..=5, 9);
        tainted.add(9..=9, 12);
        let moved = aliases.follow(&tainted);
        assert_eq!(moved.len(), ALIASES_MAX - 2);
        assert_eq!((moved[0].before, moved[0].after), (3, 12));
        assert_eq!(aliases.all()["name-3"], 7);
        assert_eq!(aliases.follow(&tainted), []);

        let mut tensors = Tensors::default();
        aliases.save(&mut tensors);
        assert_eq!(Aliases::load(&mut tensors), Ok(aliases));
        let mut tensors = Tensors::default();
        Aliases::default().save(&mut tensors);
        assert!(tensors.0.is_empty());
        tensors.put_u64("aliases", &[1], vec![1]);
        tensors.put_u8("aliases.names", &[3], b"a\nb".to_vec());
        assert!(Aliases::load(&mut tensors).is_err());
    }
}
