//! The places of class names in counts.
//!
//! Invariant: a name keeps its place for good, whatever place it has in answers; names beyond the
//! bound share the last one.

use std::collections::BTreeMap;

/// Classes or actions that are counted apart; further ones count together.
pub(super) const CLASSES_MAX: usize = 128;
/// The name of all others.
pub(super) const OTHERS: &str = "(others)";

/// Names by place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClassNames(BTreeMap<String, u32>);

impl ClassNames {
    /// The place of a name, which it has from now on.
    pub(super) fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.0.get(name) {
            return *place;
        }
        let place = self.0.len();
        if place == CLASSES_MAX {
            return place as u32;
        }
        self.0.insert(name.to_owned(), place as u32);
        place as u32
    }

    /// The names in the order of their places, and that of all others where the bound is reached.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = vec![OTHERS; self.0.len()];
        for (name, place) in &self.0 {
            names[*place as usize] = name;
        }
        if names.len() == CLASSES_MAX {
            names.push(OTHERS);
        }
        names
    }

    /// Names in the order of their places.
    pub(super) fn of(names: Vec<String>) -> ClassNames {
        let names = names.into_iter().take(CLASSES_MAX).enumerate();
        ClassNames(names.map(|(place, name)| (name, place as u32)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_a_place() {
        let mut names = ClassNames::default();
        for n in 0..1000 {
            let place = names.place(&format!("class {n}")) as usize;
            assert_eq!(place, n.min(CLASSES_MAX));
        }
        assert_eq!(names.place("class 5"), 5);
        assert_eq!(names.names().len(), CLASSES_MAX + 1);
        assert_eq!(names.names()[CLASSES_MAX], OTHERS);
        let saved = names.names().into_iter().map(str::to_owned).collect();
        assert_eq!(ClassNames::of(saved), names);
    }
}
