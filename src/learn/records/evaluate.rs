//! Progressive validation: every served answer is judged once, by the truth that came later.
//!
//! Invariant: an answer is judged before anyone learns from its example (Blum, Kalai and
//! Langford 1999), and by the served answers, not by those that the state would give now.

use crate::model::Target;
use crate::model::weights::{Error, Tensors};

/// Examples over which the recent score is an average; older ones fade.
const RECENT: f64 = 1000.0;

/// Larger scores are taken for this one: their sums must stay finite.
const HUGE: f64 = 1e100;

/// Scores so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    served: Mean,
    recent: f64,
    no_change: Mean,
    last: Option<f64>,
    members: Vec<MemberEvaluation>,
}

/// A sum, and the number of its values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    /// The number of values.
    pub count: f64,
    /// The sum of the values.
    pub sum: f64,
}

/// The evaluation of one member of a portfolio.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberEvaluation {
    /// Its name.
    pub name: String,
    /// Examples that it was scored on before it learned them.
    pub examples: u64,
    /// The sum of its scores: right answers, or absolute errors.
    pub sum: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value.clamp(-HUGE, HUGE);
    }

    /// The mean; 0 of nothing.
    pub fn mean(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }
}

impl Evaluation {
    /// Accuracy, mean absolute error or mean reward of the served answers.
    pub fn served(&self) -> Mean {
        self.served
    }

    /// The score over about the last thousand served answers.
    pub fn recent(&self) -> f64 {
        self.recent
    }

    /// The score of repeating the newest label or value.
    pub fn no_change(&self) -> Mean {
        self.no_change
    }

    /// The evaluation of each member of a portfolio; none for a single network.
    pub fn members(&self) -> &[MemberEvaluation] {
        &self.members
    }

    /// True until a truth has come: an answer was given with nothing to go by.
    pub(crate) fn is_before_first(&self) -> bool {
        self.last.is_none()
    }

    /// True from the first truth to the second.
    pub(crate) fn is_at_first(&self) -> bool {
        self.last.is_some() && self.no_change.count == 0.0
    }

    /// Takes the score of an answer that was served.
    pub(crate) fn judge(&mut self, score: f64) {
        self.served.add(score);
        let rate = (1.0 / self.served.count).max(1.0 / RECENT);
        self.recent += rate * (score.clamp(-HUGE, HUGE) - self.recent);
    }

    /// A served answer turned out to have a score that is more, or less, than it was judged by.
    pub(crate) fn amend(&mut self, by: f64) {
        self.served.sum += by.clamp(-HUGE, HUGE);
        self.recent += by.clamp(-HUGE, HUGE) * (1.0 / self.served.count.max(1.0)).max(1.0 / RECENT);
    }

    /// Judges repeating the newest truth, which this one then becomes.
    pub(crate) fn follow(&mut self, target: Target) {
        let Some(now) = target.truth() else {
            return;
        };
        if let Some(last) = self.last {
            self.no_change.add(match target {
                Target::Class(_) => f64::from(u8::from(last == now)),
                _ => (last - now).abs(),
            });
        }
        self.last = Some(now);
    }

    /// The newest class may have another place now, or none that is known.
    pub(crate) fn rename(&mut self, place: impl Fn(usize) -> Option<usize>) {
        let last = self.last.take().and_then(|last| place(last as usize));
        self.last = last.map(|place| place as f64);
    }

    /// Adds the score of each member.
    pub(crate) fn score_members(&mut self, names: impl FnOnce() -> Vec<String>, scores: &[f64]) {
        if self.members.is_empty() {
            let member = |name| MemberEvaluation {
                name,
                examples: 0,
                sum: 0.0,
            };
            self.members = names().into_iter().map(member).collect();
        }
        for (member, score) in self.members.iter_mut().zip(scores) {
            member.examples += 1;
            member.sum += score.clamp(-HUGE, HUGE);
        }
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        let known = f64::from(u8::from(self.last.is_some()));
        let mut values = vec![self.served.count, self.served.sum, self.recent];
        values.extend([self.no_change.count, self.no_change.sum, known]);
        values.push(self.last.unwrap_or(0.0));
        tensors.put_f64("evaluation", &[7], values);
        let mut names = String::new();
        let mut sums = Vec::new();
        for member in &self.members {
            names = names + &member.name + "\n";
            sums.extend([member.examples as f64, member.sum]);
        }
        tensors.put_u8("members.names", &[names.len()], names.into_bytes());
        tensors.put_f64("members.sums", &[self.members.len(), 2], sums);
    }

    pub(crate) fn load(tensors: &mut Tensors) -> Result<Evaluation, Error> {
        let values = tensors.take_f64("evaluation", &[Some(7)])?;
        let mean = |at: usize| Mean {
            count: values[at],
            sum: values[at + 1],
        };
        let names = tensors.take_u8("members.names", &[None])?;
        let names = String::from_utf8_lossy(&names).into_owned();
        let sums = tensors.take_f64("members.sums", &[Some(names.lines().count()), Some(2)])?;
        let member = |(name, sums): (&str, &[f64])| MemberEvaluation {
            name: name.to_owned(),
            examples: sums[0] as u64,
            sum: sums[1],
        };
        Ok(Evaluation {
            served: mean(0),
            recent: values[2],
            no_change: mean(3),
            last: (values[5] == 1.0).then_some(values[6]),
            members: names
                .lines()
                .zip(sums.chunks_exact(2))
                .map(member)
                .collect(),
        })
    }
}
