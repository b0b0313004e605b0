//! Influence: how much of an output each example that a network learned makes up.
//!
//! An update pulls an output by a part `p` of the way to the target of one of its rows; whatever made
//! the output up before is left to the part `1 - p`. So an output is a mean of the targets of its
//! examples, and of its first value, by masses that sum to one. For a linear network whose rows are all
//! alike that is exact. Rows that differ pull each other less, by how alike they are on the whole
//! ([`Likeness`]): then it is right for the mean over rows.
//!
//! Invariant: bounded; depends on nothing but the updates and their order.

use std::collections::{BTreeMap, VecDeque};

use crate::learn::memory::ExampleBounds;
use crate::learn::memory::likeness::Likeness;
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, Target};

/// Examples whose masses are known. One that is replayed later than it was dropped comes back.
const EXAMPLES: usize = 1024;
/// An update pulls by this part at most.
const PULL_MAX: f64 = 0.95;
/// The sums where learning began before they were kept: nothing is left of how it began.
const BEGUN: f64 = 100.0;

/// The influence of the newest examples on the outputs of a network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Influence {
    /// The sum of `-ln(1 - p)` over all updates of each output; `[n_outputs]`.
    sums: Vec<f64>,
    n_updates: u64,
    /// The likeness of the rows: those that differ pull each other less than themselves.
    likeness: Likeness,
    masses: BTreeMap<u64, Mass>,
    /// Their examples in the order in which they came.
    order: VecDeque<u64>,
}

/// The influence of one example on its output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mass {
    /// The mass after the newest update that learned it.
    mass: f64,
    /// The sum of its output then.
    sum: f64,
    /// The parts by which it has pulled in all.
    pulls: f64,
    /// The update that learned it first.
    first: u64,
    /// The step of its output for a derivative, a learning rate and a share of one.
    reach: f64,
}

/// A row of an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpdateRow {
    pub example: Option<u64>,
    pub target: Target,
    /// The step of its outputs for a derivative, a learning rate and a share of one.
    pub reach: f32,
    /// The learning rate times its share.
    pub rate: f32,
}

impl UpdateRow {
    fn pull(&self) -> f64 {
        let pull = f64::from(self.reach) * f64::from(self.rate);
        if pull.is_finite() { pull.max(0.0) } else { 0.0 }
    }
}

/// The influence of an example that is left in an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RemainingInfluence {
    /// The mass in the network.
    pub mass: f32,
    /// The step of the output for a derivative, a learning rate and a share of one.
    pub reach: f32,
    /// The sum of its masses over the updates since it was learned first.
    area: f64,
    n_since: u64,
    n_updates: u64,
}

impl RemainingInfluence {
    /// The influence in an average over the last `horizon` updates of the network, or over all while they are
    /// fewer, as [`super::average`] keeps them.
    pub(super) fn averaged(&self, horizon: f32) -> f32 {
        let horizon = f64::from(horizon);
        let reach = horizon.min(self.n_updates as f64).max(1.0);
        let faded = (-(self.n_since as f64) / (2.0 * horizon)).exp();
        (self.area / reach * faded).min(1.0) as f32
    }
}

impl Influence {
    /// The influence of a network that has learned nothing.
    pub(super) fn new(n_outputs: usize) -> Influence {
        Influence {
            sums: vec![0.0; n_outputs],
            n_updates: 0,
            likeness: Likeness::default(),
            masses: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The influence of a network that has learned without it.
    pub(super) fn begun(n_outputs: usize) -> Influence {
        Influence {
            sums: vec![BEGUN; n_outputs],
            ..Influence::new(n_outputs)
        }
    }

    /// The part of how an output began that is left, 0 to 1.
    pub(super) fn of_beginning(&self, output: usize) -> f64 {
        (-self.sums[output]).exp()
    }

    /// The outputs that a target determines.
    fn outputs(&self, target: Target) -> std::ops::Range<usize> {
        match target {
            Target::Reward { action, .. } => action as usize..action as usize + 1,
            _ => 0..self.sums.len(),
        }
    }

    /// The mean sum of the outputs that a target determines.
    fn sum(&self, target: Target) -> f64 {
        let sums = &self.sums[self.outputs(target)];
        sums.iter().sum::<f64>() / sums.len().max(1) as f64
    }

    /// Takes in the next row that is learned.
    pub(super) fn observe(&mut self, row: &Encoded) {
        self.likeness.observe(row);
    }

    /// Counts one update of these rows.
    pub(super) fn count(&mut self, rows: &[UpdateRow]) {
        self.n_updates += 1;
        let alike = self.likeness.mean();
        let mut pulls = vec![0.0; self.sums.len()];
        for row in rows {
            let outputs = self.outputs(row.target);
            pulls[outputs].iter_mut().for_each(|sum| *sum += row.pull());
        }
        for (sum, pull) in self.sums.iter_mut().zip(&pulls) {
            *sum -= (1.0 - (alike * pull).min(PULL_MAX)).ln();
        }
        for row in rows {
            let Some(example) = row.example else {
                continue;
            };
            let (sum, outputs) = (self.sum(row.target), self.outputs(row.target));
            let most = alike * pulls[outputs].iter().copied().fold(0.0, f64::max);
            let pull = row.pull() * (PULL_MAX / most.max(PULL_MAX));
            let mass = self.mass_mut(example);
            mass.mass = mass.mass * (mass.sum - sum).min(0.0).exp() + pull;
            mass.sum = sum;
            mass.pulls += pull;
            mass.reach = f64::from(row.reach);
        }
    }

    fn mass_mut(&mut self, example: u64) -> &mut Mass {
        if !self.masses.contains_key(&example) {
            if self.order.len() == EXAMPLES
                && let Some(oldest) = self.order.pop_front()
            {
                self.masses.remove(&oldest);
            }
            self.order.push_back(example);
        }
        let first = self.n_updates;
        let new = || Mass {
            first,
            ..Mass::default()
        };
        self.masses.entry(example).or_insert_with(new)
    }

    /// The influence that is left of an example; none of one whose mass is not known any more.
    pub(super) fn remaining_of(&self, example: u64, target: Target) -> Option<RemainingInfluence> {
        let one = self.masses.get(&example)?;
        let sum = self.sum(target);
        let mass = one.mass * (one.sum - sum).min(0.0).exp();
        // Each update takes the same part of a mass away, on the whole.
        let part = 1.0 - (-sum / self.n_updates.max(1) as f64).exp();
        Some(RemainingInfluence {
            mass: mass as f32,
            reach: one.reach as f32,
            area: (one.pulls - mass).max(0.0) / part.max(1e-12),
            n_since: self.n_updates - one.first.min(self.n_updates),
            n_updates: self.n_updates,
        })
    }

    /// F64 `sums` `[n_outputs]`, U64 `updates` `[1]`, and of every example U64 `examples` `[n]`,
    /// F64 `masses` `[n, 4]` and U64 `first` `[n]`.
    pub(super) fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f64("sums", &[self.sums.len()], self.sums.clone());
        tensors.put_u64("updates", &[1], vec![self.n_updates]);
        self.likeness.save(&mut tensors);
        let (mut ids, mut numbers, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        for id in &self.order {
            let one = self.masses[id];
            ids.push(*id);
            numbers.extend([one.mass, one.sum, one.pulls, one.reach]);
            firsts.push(one.first);
        }
        let n = self.order.len();
        tensors.put_u64("examples", &[n], ids);
        tensors.put_f64("masses", &[n, 4], numbers);
        tensors.put_u64("first", &[n], firsts);
        tensors
    }

    /// Reads the state that [`Influence::save`] wrote.
    pub(super) fn load(form: ExampleBounds, tensors: &mut Tensors) -> Result<Influence, Error> {
        let n_outputs = form.n_outputs;
        let sums = tensors.take_f64("sums", &[Some(n_outputs)])?;
        let ids = tensors.take_u64("examples", &[None])?;
        let n = ids.len();
        let numbers = tensors.take_f64("masses", &[Some(n), Some(4)])?;
        let firsts = tensors.take_u64("first", &[Some(n)])?;
        let sound = |number: &f64| number.is_finite() && *number >= 0.0;
        if !sums.iter().chain(&numbers).all(sound) || n > EXAMPLES {
            return Err(Error::value("masses", "numbers that no learning leads to"));
        }
        let mut loaded = Influence {
            sums,
            n_updates: tensors.take_u64("updates", &[Some(1)])?[0],
            likeness: Likeness::load(form, tensors)?,
            ..Influence::new(n_outputs)
        };
        let rows = ids.into_iter().zip(numbers.chunks_exact(4)).zip(firsts);
        for ((id, numbers), first) in rows {
            let mass = Mass {
                mass: numbers[0],
                sum: numbers[1],
                pulls: numbers[2],
                reach: numbers[3],
                first,
            };
            loaded.masses.insert(id, mass);
            loaded.order.push_back(id);
        }
        if loaded.masses.len() == n {
            Ok(loaded)
        } else {
            Err(Error::value("examples", "an example stands twice"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulled(example: u64, action: u32, pull: f32) -> UpdateRow {
        UpdateRow {
            example: Some(example),
            target: Target::Reward {
                action,
                reward: 0.0,
            },
            reach: 2.0 * pull,
            rate: 0.5,
        }
    }

    fn left(influence: &Influence, example: u64, action: u32) -> f32 {
        let target = pulled(example, action, 0.0).target;
        influence
            .remaining_of(example, target)
            .map_or(0.0, |left| left.mass)
    }

    #[test]
    fn masses_are_what_a_linear_output_is_made_up_of() {
        let mut influence = Influence::new(2);
        let wants = [3.0, -1.0, 0.5, 2.0];
        let mut output = 1.0;
        for (one, other, pull) in [(0, 1, 0.2), (2, 0, 0.3), (3, 3, 0.1), (1, 2, 0.15)] {
            influence.count(&[
                pulled(one, 0, pull),
                pulled(other, 0, pull),
                pulled(9, 1, 0.4),
            ]);
            let each = [one, other].map(|example| wants[example as usize] - output);
            output += pull * (each[0] + each[1]);
        }
        let began = influence.of_beginning(0) as f32;
        let mean = |example| left(&influence, example, 0) * wants[example as usize];
        let made_up = began * 1.0 + (0..4).map(mean).sum::<f32>();
        assert!((made_up - output).abs() < 1e-6, "{made_up} {output}");
        let total = began + (0..4).map(|one| left(&influence, one, 0)).sum::<f32>();
        assert!((total - 1.0).abs() < 1e-6, "{total}");
    }

    #[test]
    fn the_mass_in_an_average_is_the_average_of_the_mass() {
        let mut influence = Influence::new(1);
        let (mut sum, target) = (0.0, pulled(0, 0, 0.0).target);
        for update in 0..400u32 {
            influence.count(&[pulled(u64::from(update), 0, 0.05)]);
            sum += left(&influence, 300, 0);
        }
        let averaged = influence.remaining_of(300, target).unwrap().averaged(1e6);
        assert!((averaged / (sum / 400.0) - 1.0).abs() < 0.1, "{averaged}");
    }

    #[test]
    fn what_is_saved_is_loaded_and_stays_bounded() {
        let mut influence = Influence::begun(3);
        for example in 1..6000u64 {
            influence.count(&[pulled(example, example as u32 % 3, 0.1)]);
        }
        assert_eq!(influence.masses.len(), EXAMPLES);
        let form = |n_outputs| ExampleBounds {
            n_dense: 1,
            n_buckets: 0,
            n_outputs,
            ..ExampleBounds::default()
        };
        let load =
            |n_outputs, saved: &Influence| Influence::load(form(n_outputs), &mut saved.save());
        assert_eq!(load(3, &influence).as_ref(), Ok(&influence));
        assert!(load(2, &Influence::new(3)).is_err());
    }
}
