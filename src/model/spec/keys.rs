//! The keys of model.toml: values, default, unit and meaning of each.
//!
//! Invariant: this table is the only place of a default and of a range, but for those that it has in
//! words, which the parser computes. The parser takes all others from here, `perennial config` prints
//! them, and docs/model-toml.md is generated from them.

mod drift;
mod journal;
mod key;
mod monitor;
mod nearest;
mod publish;
mod quarantine;
mod retrain;
mod rows;
mod sources;
mod table;
#[cfg(test)]
mod tests;

pub(super) use key::bytes;
pub use key::{AllowedValues, Key};
pub(super) use nearest::nearest;
pub use nearest::with_nearest;
pub use table::KEYS;
pub(super) use table::NAMES_MAX;

impl Key {
    /// The key of this name in the table; a name of an author stands for `NAME`.
    pub(super) fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| {
            let (known, given) = (key.name.split('.'), name.split('.'));
            known.clone().count() == given.clone().count()
                && known
                    .zip(given)
                    .all(|(known, given)| known == given || known == "NAME")
        })
    }

    /// The key of this name in the table.
    ///
    /// # Panics
    /// The table has no such key.
    pub(crate) fn named(name: &str) -> &'static Key {
        Key::find(name).unwrap_or_else(|| panic!("{name} is a key of the table"))
    }
}
