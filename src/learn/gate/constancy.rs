//! Answers that became constant: those of the candidate, while the champion's vary on the same rows.
//!
//! Invariant: a champion whose answers hardly vary shows nothing, so that a fresh model, a rare class and a
//! long stretch of one class are no sign.

use super::losses::SideAnswers;
use crate::learn::algorithms::learned::answers::RowOutputs;
use crate::model::argmax;
use crate::model::weights::{Error, Tensors};

/// Rows in a row with the same answer of the candidate, before that is a sign.
const ROWS: u64 = 50;
/// One of so many of them has another answer of the champion than the row before.
const VARIES: u64 = 5;
/// Answers of the candidate that differ by no more are the same.
const SAME: f64 = 1e-7;
/// Values of the champion that differ by more, as a part of them, are not.
const OTHER: f64 = 1e-3;

/// The present run of rows with the same answer of the candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Constancy {
    /// The candidate's answer, and the champion's to the newest row.
    last: Option<[Vec<f64>; 2]>,
    /// Rows of the run, and those whose answer of the champion was another than that of the row before.
    n_rows: u64,
    n_varied: u64,
}

impl Constancy {
    /// Takes the answers to a row.
    pub(super) fn observe(&mut self, answers: &SideAnswers) {
        let (Some(candidate), Some(champion)) = (&answers.candidate, &answers.champion) else {
            return;
        };
        let same = |before: &Vec<f64>| {
            let pairs = before.iter().zip(&candidate.outputs);
            before.len() == candidate.outputs.len()
                && pairs
                    .clone()
                    .all(|(one, other)| (one - other).abs() <= SAME)
        };
        match &mut self.last {
            Some([before, of_champion]) if same(before) => {
                self.n_rows += 1;
                self.n_varied += u64::from(varies(of_champion, champion));
                of_champion.clone_from(&champion.outputs);
            }
            last => {
                *last = Some([candidate, champion].map(|answer| answer.outputs.clone()));
                (self.n_rows, self.n_varied) = (0, 0);
            }
        }
    }

    /// True if the candidate gives the same answer to rows to which the champion's vary.
    pub(super) fn is_shown(&self) -> bool {
        self.n_rows >= ROWS && self.n_varied * VARIES >= self.n_rows
    }

    /// Saves nothing where no row was seen.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        if let Some([candidate, champion]) = &self.last {
            let counts = vec![self.n_rows, self.n_varied];
            tensors.put_u64("constancy", &[2], counts);
            for (name, of) in [("candidate", candidate), ("champion", champion)] {
                tensors.put_f64(format!("constancy.{name}"), &[of.len()], of.clone());
            }
        }
    }

    /// The saved constancy; that of no row where nothing was saved.
    pub(super) fn load(tensors: &mut Tensors) -> Result<Constancy, Error> {
        if !tensors.0.contains_key("constancy") {
            return Ok(Constancy::default());
        }
        let counts = tensors.take_u64("constancy", &[Some(2)])?;
        let candidate = tensors.take_f64("constancy.candidate", &[None])?;
        let champion = tensors.take_f64("constancy.champion", &[None])?;
        Ok(Constancy {
            last: Some([candidate, champion]),
            n_rows: counts[0],
            n_varied: counts[1],
        })
    }
}

/// True if an answer is another one: another class or action, or a value that is not near.
fn varies(before: &[f64], answer: &RowOutputs) -> bool {
    let chosen = |outputs: &[f64]| {
        let outputs: Vec<f32> = outputs.iter().map(|share| *share as f32).collect();
        argmax(&outputs)
    };
    match (before, &answer.outputs[..]) {
        ([before], [after]) => (before - after).abs() > OTHER * before.abs().max(after.abs()),
        (before, after) => chosen(before) != chosen(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After 60 rows, of which the candidate answers and the champion as these do.
    fn check(sides: [&dyn Fn(usize) -> Vec<f64>; 2], expected: bool) {
        let mut constancy = Constancy::default();
        for row in 0..60 {
            let [candidate, champion] = sides.map(|side| Some(RowOutputs { outputs: side(row) }));
            constancy.observe(&SideAnswers {
                candidate,
                champion,
                contender: None,
            });
        }
        assert_eq!(constancy.is_shown(), expected);
        let mut tensors = Tensors::default();
        constancy.save(&mut tensors);
        assert_eq!(Constancy::load(&mut tensors), Ok(constancy));
    }

    #[test]
    fn answers_are_constant_where_those_of_the_champion_vary() {
        let turns = |row: usize| [vec![0.9, 0.1], vec![0.2, 0.8]][row % 2].clone();
        let sure = |_: usize| vec![1.0, 0.0];
        // Of one class alone both sides are sure, more or less.
        let nearly = |row: usize| vec![0.99 - row as f64 * 1e-4, 0.01 + row as f64 * 1e-4];
        let rare = |row: usize| turns(usize::from(row % 30 == 7));
        check([&sure, &turns], true);
        check([&turns, &turns], false);
        check([&sure, &nearly], false);
        check([&sure, &rare], false);
        check([&turns, &sure], false);
        check([&|_: usize| vec![3.5], &|row| vec![row as f64]], true);
        check(
            [&|row: usize| vec![row as f64 * 1e-3], &|row| {
                vec![row as f64]
            }],
            false,
        );
    }
}
