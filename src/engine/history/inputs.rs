//! Inputs of one description in the batches of another: found by their names.
//!
//! Invariant: an input is found where its values mean the same under both descriptions.

use std::mem::discriminant;

use crate::engine::history::error::Error;
use crate::event::{Batch, Column};
use crate::model::{Input, InputKind, Spec};

/// The columns at `places`, as the other description takes them: a text that it does not want
/// encoded is the text that came.
pub(crate) fn arranged(batch: &Batch, places: &[usize], asked: &Spec) -> Vec<Column> {
    let columns = places.iter().zip(&asked.inputs);
    let column = |(place, input): (&usize, &Input)| match &batch.columns[*place] {
        Column::Embedded { texts, .. } if !matches!(input.kind, InputKind::Embedded { .. }) => {
            Column::Strings(texts.clone())
        }
        column => column.clone(),
    };
    columns.map(column).collect()
}

/// Where the inputs of one description stand in the batches of another.
pub(crate) fn places(journaled: &Spec, asked: &Spec) -> Result<Vec<usize>, Error> {
    let refused = |what| Err(Error::Input(what));
    let places = asked.inputs.iter().map(|input| {
        let mut known = journaled.inputs.iter();
        let Some(place) = known.position(|known| known.name == input.name) else {
            return refused(format!("{:?} is not in the journal", input.name));
        };
        let kind = &journaled.inputs[place].kind;
        let fits = match (kind, &input.kind) {
            (InputKind::Number { gaps }, InputKind::Number { gaps: allowed }) => *allowed || !gaps,
            // Both are text as it came.
            (
                InputKind::Category | InputKind::Text | InputKind::Embedded { .. },
                InputKind::Category | InputKind::Text,
            ) => true,
            (InputKind::Embedded { encoder, .. }, InputKind::Embedded { encoder: asked, .. }) => {
                encoder.digest == asked.digest
            }
            (
                InputKind::EmbeddedVector { encoder, .. },
                InputKind::EmbeddedVector { encoder: asked, .. },
            ) => encoder.digest == asked.digest,
            (InputKind::Time(times), InputKind::Time(asked)) => {
                let same = times.format == asked.format && times.zone_s == asked.zone_s;
                same && (asked.gaps || !times.gaps)
            }
            (InputKind::Vector { length, .. }, InputKind::Vector { length: asked, .. }) => {
                length == asked
            }
            (kind, asked) => discriminant(kind) == discriminant(asked),
        };
        if fits {
            Ok(place)
        } else {
            refused(format!(
                "{:?} is a {kind} in the journal, and does not fit what is described",
                input.name
            ))
        }
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(inputs: &str) -> Spec {
        Spec::parse(&format!("task = 'bandit'\nactions = ['a', 'b']\n{inputs}")).unwrap()
    }

    #[test]
    fn inputs_are_found_by_name_and_must_fit() {
        let number = "[[input]]\nname = 'x'\nkind = 'number'\n";
        let gaps = "[[input]]\nname = 'x'\nkind = 'number'\nmissing = 'mean'\n";
        let category = "[[input]]\nname = 'c'\nkind = 'category'\n";
        let text = "[[input]]\nname = 'c'\nkind = 'text'\n";
        let vector = |n| format!("[[input]]\nname = 'x'\nkind = 'vector'\nlength = {n}\n");
        let check = |journaled: &str, asked: &str, expected: Option<&[usize]>| {
            let found = places(&spec(journaled), &spec(asked)).ok();
            assert_eq!(found.as_deref(), expected, "{journaled} {asked}");
        };
        let both = format!("{number}{category}");
        check(&both, &format!("{category}{number}"), Some(&[1, 0]));
        check(&both, text, Some(&[1]));
        check(&both, gaps, Some(&[0]));
        check(gaps, number, None);
        check(number, category, None);
        check(number, &vector(2), None);
        check(&vector(2), &vector(2), Some(&[0]));
        check(&vector(2), &vector(3), None);
    }
}
