//! The members' answers to the newest examples, before any of them learned.
//!
//! An example that soon turns out to be another one is judged again by these, so that the weights of
//! the members are as if it had been that from the start.
//!
//! Invariant: bounded; an example stands here once.

use std::collections::VecDeque;

use crate::model::weights::{Error, Tensors};
use crate::model::{Rescale, Target, argmax};

/// Examples whose answers are kept.
const EXAMPLES: usize = 128;

/// Answers by example, the newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answers(VecDeque<ExampleAnswers>);

#[derive(Clone, Debug, PartialEq)]
struct ExampleAnswers {
    example: u64,
    /// True if the answers are indexes of classes or actions, not values in the scale of the
    /// target.
    are_indexes: bool,
    /// `[members]`.
    answers: Vec<f32>,
}

/// The answer of a member with these outputs to a target: the index of a class or of the best
/// action, or the expected reward or value.
pub(super) fn answer(outputs: &[f32], target: Target) -> f32 {
    match target {
        Target::Class(_) | Target::BestAction(_) => argmax(outputs) as f32,
        Target::Value(_) => outputs[0],
        Target::Reward { action, .. } | Target::Correction { action, .. } => {
            outputs[action as usize]
        }
    }
}

impl Answers {
    /// Keeps the answers to one example.
    pub(super) fn keep(&mut self, example: u64, target: Target, answers: Vec<f32>) {
        if self.0.len() == EXAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(ExampleAnswers {
            example,
            are_indexes: matches!(target, Target::Class(_) | Target::BestAction(_)),
            answers,
        });
    }

    /// The answers to one example, `[members]`.
    pub(super) fn to(&self, example: u64) -> Option<&[f32]> {
        let mut newest = self.0.iter().rev();
        let found = newest.find(|one| one.example == example)?;
        Some(&found.answers)
    }

    /// Expresses values in another scale of the target.
    pub(super) fn rescale(&mut self, change: Rescale) {
        let values = self.0.iter_mut().filter(|one| !one.are_indexes);
        for answer in values.flat_map(|one| &mut one.answers) {
            *answer = change.apply(*answer);
        }
    }

    /// U64 `answers.examples` `[n]`, U8 `answers.are_indexes` `[n]` and F32 `answers`
    /// `[n, members]`.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        let n = self.0.len();
        let examples = self.0.iter().map(|one| one.example).collect();
        tensors.put_u64("answers.examples", &[n], examples);
        let are_indexes = self.0.iter().map(|one| u8::from(one.are_indexes)).collect();
        tensors.put_u8("answers.are_indexes", &[n], are_indexes);
        let answers = self.0.iter().flat_map(|one| &one.answers);
        let answers: Vec<f32> = answers.copied().collect();
        let n_members = answers.len().checked_div(n).unwrap_or(0);
        tensors.put_f32("answers", &[n, n_members], answers);
    }

    /// Reads the state that [`Answers::save`] wrote of so many members.
    pub(super) fn load(n_members: usize, tensors: &mut Tensors) -> Result<Answers, Error> {
        let are_indexes = tensors.take_u8("answers.are_indexes", &[None])?;
        let n = are_indexes.len();
        let examples = tensors.take_u64("answers.examples", &[Some(n)])?;
        let answers = tensors.take_f32("answers", &[Some(n), None])?;
        if n > EXAMPLES || answers.len() != n * n_members {
            let what = format!("{} answers to {n} examples", answers.len());
            return Err(Error::value("answers", what));
        }
        let rows = examples
            .into_iter()
            .zip(answers.chunks_exact(n_members.max(1)));
        let rows = rows
            .zip(are_indexes)
            .map(|((example, answers), flag)| ExampleAnswers {
                example,
                are_indexes: flag == 1,
                answers: answers.to_vec(),
            });
        Ok(Answers(rows.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scale;

    #[test]
    fn what_is_kept_is_found_rescaled_and_loaded() {
        let mut answers = Answers::default();
        let reward = |action| Target::Reward {
            action,
            reward: 1.0,
        };
        for example in 0..2000u64 {
            let value = answer(&[0.0, example as f32], reward(1));
            answers.keep(example + 10, reward(1), vec![value, -value]);
        }
        let class = Target::Class(1);
        answers.keep(7, class, vec![answer(&[0.0, 3.0], class), 0.0]);
        assert_eq!(answers.0.len(), EXAMPLES);
        let change = scale(&[-0.5, 0.5]).to(&scale(&[-1.0, 0.0]));
        answers.rescale(change);
        assert_eq!(answers.to(2009), Some(&[2000.0, -1998.0][..]));
        assert_eq!(answers.to(7), Some(&[1.0, 0.0][..]));
        assert_eq!(answers.to(13), None);
        let mut saved = Tensors::default();
        answers.save(&mut saved);
        assert!(Answers::load(3, &mut saved.clone()).is_err());
        assert_eq!(Answers::load(2, &mut saved), Ok(answers));
    }

    fn scale(values: &[f64]) -> Scale {
        let mut scale = Scale::default();
        values.iter().for_each(|value| scale.observe(*value));
        scale
    }
}
