//! The unit of the numbers of a column, where they all have the same.
//!
//! Invariant: one other unit, and the column has none.

use std::collections::BTreeMap;

use super::strays::are_few_strays;
use crate::cli::rows::number::Decimals;
use crate::cli::rows::units::{with_unit, without_unit};

/// Fewer numbers with a unit are no evidence of one.
const NUMBERS_MIN: u64 = 3;

/// The units of columns, by their names.
pub(super) type Units = BTreeMap<String, String>;

/// The units that stand behind the numbers of a column.
#[derive(Default)]
pub(super) struct UnitCount {
    /// The unit that is taken off.
    pub known: Option<String>,
    /// The first unit that was found.
    first: Option<String>,
    is_mixed: bool,
    n: u64,
}

impl UnitCount {
    /// The count of a column whose unit may be known.
    pub(super) fn of(known: Option<&String>) -> UnitCount {
        UnitCount {
            known: known.cloned(),
            ..UnitCount::default()
        }
    }

    /// A text without the unit that is known.
    pub(super) fn strip<'a>(&self, text: &'a str) -> &'a str {
        match &self.known {
            Some(unit) => without_unit(text, unit),
            None => text,
        }
    }

    /// Adds a text that is no number by itself.
    pub(super) fn add(&mut self, text: &str, decimals: Decimals) {
        let numbers = [decimals, decimals.other()];
        let found = numbers
            .iter()
            .find_map(|decimals| with_unit(text, *decimals));
        let Some((_, unit)) = found.filter(|_| !self.is_mixed) else {
            return;
        };
        self.n += 1;
        let first = self.first.get_or_insert_with(|| unit.to_owned());
        self.is_mixed = first != unit;
    }

    /// The unit of a column with so many texts and numbers, if all but strays have it.
    pub(super) fn found(&self, n_texts: u64, n_numbers: u64) -> Option<&String> {
        let n_values = n_texts + n_numbers;
        let is_common = self.n >= NUMBERS_MIN && are_few_strays(n_values - self.n, n_values);
        self.first.as_ref().filter(|_| is_common && !self.is_mixed)
    }
}
