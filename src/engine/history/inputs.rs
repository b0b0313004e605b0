//! Inputs of one description in the batches of another: found by their names.
//!
//! Invariant: an input is found where its values mean the same under both descriptions.

use std::mem::discriminant;

use crate::engine::history::error::Error;
use crate::event::{Batch, Column};
use crate::model::{Input, InputKind, Spec};

/// The columns at `places`, as the other description takes them: a text that it does not want
/// encoded is the text that came, and an input without a place is a gap in every row.
pub(crate) fn arranged(batch: &Batch, places: &[Option<usize>], asked: &Spec) -> Vec<Column> {
    let columns = places.iter().zip(&asked.inputs);
    let column = |(place, input): (&Option<usize>, &Input)| match place {
        None => input.kind.gaps(batch.n_rows),
        Some(place) => match &batch.columns[*place] {
            Column::Embedded { texts, .. } if !matches!(input.kind, InputKind::Embedded { .. }) => {
                Column::Strings(texts.clone())
            }
            column => column.clone(),
        },
    };
    columns.map(column).collect()
}

/// The places of one description's inputs in the batches of another; none of an input that may be a gap, and
/// is not there.
pub(crate) fn places(journaled: &Spec, asked: &Spec) -> Result<Vec<Option<usize>>, Error> {
    let place = |input: &Input| {
        let refused = |what: String| Error::Input(format!("{:?} {what}", input.name));
        let mut known = journaled.inputs.iter();
        let Some(place) = known.position(|known| known.name == input.name) else {
            return match input.missing_word() {
                _ if input.has_gaps() => Ok(None),
                Some(word) => Err(refused(format!(
                    "is not in the journal; with missing = {word:?} it is a gap in the rows so far"
                ))),
                None => Err(refused(format!(
                    "is not in the journal, and a {} cannot be a gap in the rows so far",
                    input.kind
                ))),
            };
        };
        let kind = &journaled.inputs[place].kind;
        if fits(kind, &input.kind) {
            Ok(Some(place))
        } else {
            Err(refused(format!(
                "is a {kind} in the journal, and does not fit what is described"
            )))
        }
    };
    asked.inputs.iter().map(place).collect()
}

/// True if journaled values of one kind are values of the other.
fn fits(journaled: &InputKind, asked: &InputKind) -> bool {
    match (journaled, asked) {
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
        (journaled, asked) => discriminant(journaled) == discriminant(asked),
    }
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
        let check = |journaled: &str, asked: &str, expected: Option<&[Option<usize>]>| {
            let found = places(&spec(journaled), &spec(asked)).ok();
            let expected = expected.map(|places| places.to_vec());
            assert_eq!(found, expected, "{journaled} {asked}");
        };
        let both = format!("{number}{category}");
        check(
            &both,
            &format!("{category}{number}"),
            Some(&[Some(1), Some(0)]),
        );
        check(&both, text, Some(&[Some(1)]));
        check(&both, gaps, Some(&[Some(0)]));
        check(gaps, number, None);
        check(number, category, None);
        check(number, &vector(2), None);
        check(&vector(2), &vector(2), Some(&[Some(0)]));
        check(&vector(2), &vector(3), None);
        let both = format!("{category}{gaps}");
        check(category, &both, Some(&[Some(0), None]));
        check(category, &format!("{category}{number}"), None);
        let may_be = "[[input]]\nname = 'c'\nkind = 'category'\nmissing = 'empty'\n";
        check(number, &format!("{may_be}{number}"), Some(&[None, Some(0)]));
        check(category, may_be, Some(&[Some(0)]));
    }

    #[test]
    fn an_input_that_came_later_is_a_gap() {
        let category = "[[input]]\nname = 'c'\nkind = 'category'\n";
        let later = |name: &str, kind: &str, missing: &str| {
            format!("[[input]]\nname = '{name}'\nkind = '{kind}'\nmissing = '{missing}'\n")
        };
        let asked = format!(
            "{}{category}{}{}",
            later("x", "number", "mean"),
            later("t", "time", "mean"),
            later("d", "category", "empty")
        );
        let (journaled, asked) = (spec(category), spec(&asked));
        let batch = Batch {
            n_rows: 2,
            columns: vec![Column::Strings(vec!["a".into(), "b".into()])],
        };
        let places = places(&journaled, &asked).expect("the rest may be gaps");
        let columns = arranged(&batch, &places, &asked);
        assert!(matches!(&columns[0], Column::Numbers(x) if x.iter().all(|x| x.is_nan())));
        assert_eq!(columns[1], batch.columns[0]);
        for column in &columns[2..] {
            assert_eq!(*column, Column::Strings(vec![String::new(); 2]));
        }
    }
}
