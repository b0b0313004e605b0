//! Influence: how much of what an example once taught is left.
//!
//! Each later update of the same output takes a part of it away. The sum of these parts is kept for
//! each output, and for each of the newest examples what the sum was when it was learned: the
//! difference says how far it has faded.
//!
//! Invariant: bounded; counts updates, and so depends on nothing but their order.

use std::collections::VecDeque;

use super::learned::Change;
use crate::model::Target;
use crate::model::weights::{Error, Tensors};

/// Newest examples whose sums are known one by one; of older ones a mean is believed.
const RECENT: usize = 1024;
/// The sums where learning began before they were kept: nothing is left of how it began.
const BEGUN: f64 = 100.0;

/// Sums of what updates take away, by output.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    /// By updates of all outputs at once.
    all: f64,
    /// By those of one: rewards of an action.
    each: Vec<f64>,
    /// Examples that have been learned.
    n_examples: u64,
    /// The newest examples with the sum that each left behind.
    recent: VecDeque<(u128, f64)>,
}

impl Influence {
    /// Of a learner that has learned nothing.
    pub fn new(n_outputs: usize) -> Influence {
        Influence {
            all: 0.0,
            each: vec![0.0; n_outputs],
            n_examples: 0,
            recent: VecDeque::new(),
        }
    }

    /// Of a learner that has learned without it.
    pub fn begun(n_outputs: usize) -> Influence {
        Influence {
            all: BEGUN,
            ..Influence::new(n_outputs)
        }
    }

    /// What updates have taken away of an example of this target that came before all of them.
    pub fn of(&self, target: Target) -> f64 {
        match target {
            Target::Reward { action, .. } => self.of_output(action as usize),
            _ => self.all,
        }
    }

    /// The same of an output.
    pub fn of_output(&self, output: usize) -> f64 {
        self.all + self.each.get(output).copied().unwrap_or(0.0)
    }

    /// Counts an update towards this target that takes away a part `e^-by`.
    pub fn count(&mut self, target: Target, by: f64) {
        match target {
            Target::Reward { action, .. } if by.is_finite() => self.each[action as usize] += by,
            _ if by.is_finite() => self.all += by,
            _ => {}
        }
    }

    /// Takes note of an example that was just learned.
    pub fn mark(&mut self, example: Option<u128>, target: Target) {
        self.n_examples += 1;
        if let Some(example) = example {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back((example, self.of(target)));
        }
    }

    /// What has been taken away of an example since it was learned.
    pub fn since(&self, change: &Change) -> f64 {
        let now = self.of(change.before);
        let mut marked = self.recent.iter().rev();
        match marked.find(|one| one.0 == change.example) {
            Some((_, then)) => (now - then).max(0.0),
            None => now * (change.n_since as f64 / self.n_examples.max(1) as f64).min(1.0),
        }
    }

    /// F64 `sums` `[outputs + 1]`, U64 `examples` `[1]`, and U64 `recent` `[examples, 2]` with F64
    /// `recent.sums`.
    pub fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let mut sums = vec![self.all];
        sums.extend(&self.each);
        tensors.put_f64("sums", &[sums.len()], sums);
        tensors.put_u64("examples", &[1], vec![self.n_examples]);
        let halves = |one: &(u128, f64)| [(one.0 >> 64) as u64, one.0 as u64];
        let ids: Vec<u64> = self.recent.iter().flat_map(halves).collect();
        tensors.put_u64("recent", &[self.recent.len(), 2], ids);
        let sums = self.recent.iter().map(|one| one.1).collect();
        tensors.put_f64("recent.sums", &[self.recent.len()], sums);
        tensors
    }

    /// Replaces it by what [`Influence::save`] wrote; leaves it as it is where nothing was.
    pub fn load(&mut self, tensors: &mut Tensors) -> Result<(), Error> {
        if !tensors.0.contains_key("sums") {
            *self = Influence::begun(self.each.len());
            return Ok(());
        }
        let sums = tensors.take_f64("sums", &[Some(self.each.len() + 1)])?;
        let ids = tensors.take_u64("recent", &[None, Some(2)])?;
        let recent = tensors.take_f64("recent.sums", &[Some(ids.len() / 2)])?;
        let sound = |sum: &f64| sum.is_finite() && *sum >= 0.0;
        if !sums.iter().chain(&recent).all(sound) || recent.len() > RECENT {
            return Err(Error::value("sums", "sums that no learning leads to"));
        }
        let id = |halves: &[u64]| u128::from(halves[0]) << 64 | u128::from(halves[1]);
        *self = Influence {
            all: sums[0],
            each: sums[1..].to_vec(),
            n_examples: tensors.take_u64("examples", &[Some(1)])?[0],
            recent: ids.chunks_exact(2).map(id).zip(recent).collect(),
        };
        Ok(())
    }
}
