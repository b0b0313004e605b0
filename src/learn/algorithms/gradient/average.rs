//! Averages over the weights of a learning network: a steadier network than any of them.
//!
//! CLS-ER (Arani et al. 2022, algorithm 1) keeps two exponential averages of the weights, a
//! plastic and a stable one. Departures: both follow at every [`EVERY`]th update rather than at
//! random ones; the better one by its recent loss serves rather than always the stable one; rows
//! of hashed features are not averaged, since an average that moves only when its row is touched
//! would lag behind on rare ones for ever.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::super::output_loss::OutputLoss;
use super::amended::{AmendmentStep, RowGradient};
use super::replay_loss::ReplayLoss;
use crate::learn::training::network::TrainingNetwork;
use crate::model::weights::{Error, Tensors};
use crate::model::{Device, DeviceError, Encoded, Gradient, Optimizer, Parameters, Target};

/// Updates over which the two averages reach back.
const HORIZONS: [f32; 2] = [100.0, 1000.0];
/// Updates between two steps of the averages.
const EVERY: u64 = 4;
/// Updates over which a loss is an average; older ones fade.
const RECENT: f64 = 100.0;

/// Both averages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Averages {
    /// Plastic and stable.
    pair: [Average; 2],
    n_updates: u64,
    /// Outputs whose class came late, each with the updates that there had been.
    late: BTreeMap<u64, u64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Average {
    network: TrainingNetwork,
    /// Its recent loss on new and remembered rows, before the network learned them.
    loss: f64,
}

impl Average {
    fn outputs(&self, row: usize) -> &[f32] {
        let width = self.network.n_outputs();
        &self.network.outputs()[row * width..(row + 1) * width]
    }
}

impl Averages {
    /// The averages of a network that has learned nothing.
    pub(super) fn new(parameters: &Parameters, device: Device) -> Averages {
        // It takes no steps of its own: the rule that remembers nothing is enough.
        let average = || Average {
            network: TrainingNetwork::new(parameters.clone(), Optimizer::Sgd, device),
            loss: 0.0,
        };
        Averages {
            pair: [average(), average()],
            n_updates: 0,
            late: BTreeMap::new(),
        }
    }

    /// Has both computed on this device from now on.
    pub(super) fn move_to(&mut self, device: Device) {
        let networks = self.pair.iter_mut().map(|average| &mut average.network);
        networks.for_each(|network| network.move_to(device));
    }

    /// Expresses the outputs of both in another scale, as [`TrainingNetwork::rescale`].
    pub(super) fn rescale(&mut self, factor: f32, shift: impl Fn(usize) -> f32) {
        for average in &mut self.pair {
            average.network.rescale(factor, &shift);
            average.loss *= f64::from(factor * factor);
        }
    }

    /// The better one of late, the stable one of equals.
    fn best(&self) -> usize {
        usize::from(self.pair[1].loss <= self.pair[0].loss)
    }

    /// The weights that serve.
    pub(super) fn served(&self) -> Cow<'_, Parameters> {
        self.pair[self.best()].network.parameters()
    }

    /// Lets both answer the rows of an update.
    ///
    /// # Errors
    /// Their device fails.
    pub(super) fn answer(&mut self, rows: &[&Encoded]) -> Result<(), DeviceError> {
        let mut each = self.pair.iter_mut();
        each.try_for_each(|average| average.network.forward(rows))
    }

    /// The answer to one row by the average that does better on it.
    pub(super) fn anchor(&self, row: usize, target: Target, output_loss: OutputLoss<'_>) -> &[f32] {
        let [plastic, stable] = [0, 1].map(|index| self.pair[index].outputs(row));
        let mut gradient = vec![0.0; plastic.len()];
        let plastic_loss = output_loss.gradient(target, plastic, &mut gradient);
        if output_loss.gradient(target, stable, &mut gradient) <= plastic_loss {
            stable
        } else {
            plastic
        }
    }

    /// Scores both on the rows that they answered, of which the first `n_new` are new. The loss is
    /// that of an update: a mean over the new and one over the remembered.
    pub(super) fn judge(&mut self, targets: &[Target], n_new: usize, output_loss: OutputLoss<'_>) {
        let share = 1.0 / RECENT.min(self.n_updates as f64 + 1.0);
        for average in &mut self.pair {
            let mut losses = [0.0; 2];
            for (row, target) in targets.iter().enumerate() {
                let outputs = average.outputs(row);
                let mut gradient = vec![0.0; outputs.len()];
                let loss = f64::from(output_loss.gradient(*target, outputs, &mut gradient));
                losses[usize::from(row >= n_new)] += loss;
            }
            let n_old = (targets.len() - n_new).max(1) as f64;
            let loss = losses[0] / n_new as f64 + losses[1] / n_old;
            if loss.is_finite() {
                average.loss += share * (loss - average.loss);
            }
        }
    }

    /// Corrects the effect of an example on both, which is the first of the rows that they answered.
    ///
    /// # Errors
    /// As [`Averages::answer`].
    pub(super) fn amend(
        &mut self,
        amended: &AmendmentStep,
        settings: &Gradient,
        rows: &[&Encoded],
        replay_loss: &ReplayLoss<'_>,
    ) -> Result<(), DeviceError> {
        let mut shares = vec![0.0; rows.len()];
        shares[0] = amended.weight / settings.examples_per_update as f32;
        for (average, horizon) in self.pair.iter_mut().zip(HORIZONS) {
            let width = average.network.n_outputs();
            let (outputs, gradient) = average.network.outputs_and_gradient();
            gradient.fill(0.0);
            let row = RowGradient {
                outputs: &outputs[..width],
                gradient: &mut gradient[..width],
            };
            amended.averaged_gradient(replay_loss, horizon, row);
            average.network.step(settings, rows, &shares)?;
        }
        Ok(())
    }

    /// Lets these outputs follow as if they were new: their classes have just come.
    pub(super) fn let_in(&mut self, outputs: Range<usize>) {
        let outputs = outputs.map(|output| (output as u64, self.n_updates));
        self.late.extend(outputs);
    }

    /// Follows a network that has made one more update, with these rows; errors as
    /// [`Averages::answer`].
    pub(super) fn follow(
        &mut self,
        network: &TrainingNetwork,
        rows: &[&Encoded],
    ) -> Result<(), DeviceError> {
        self.n_updates += 1;
        for (average, horizon) in self.pair.iter_mut().zip(HORIZONS) {
            // While it is young an average is a plain mean: it forgets where it began.
            let share = |since: u64| {
                let reach = horizon.min((self.n_updates - since) as f32);
                (EVERY as f32 / reach).min(1.0)
            };
            if self.n_updates.is_multiple_of(EVERY) {
                let late = self.late.iter();
                let late = late.map(|(output, since)| (*output as usize, share(*since)));
                let late: Vec<(usize, f32)> = late.collect();
                average.network.approach(network, share(0), &late)?;
            }
            average.network.take_sparse(network, rows);
        }
        Ok(())
    }

    /// All but the served weights.
    pub(super) fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let losses = self.pair.iter().map(|average| average.loss).collect();
        tensors.put_f64("losses", &[2], losses);
        tensors.put_u64("n_updates", &[1], vec![self.n_updates]);
        if !self.late.is_empty() {
            let late = self
                .late
                .iter()
                .flat_map(|(output, since)| [*output, *since]);
            tensors.put_u64("late", &[self.late.len(), 2], late.collect());
        }
        tensors.nest(
            "other",
            self.pair[1 - self.best()].network.parameters().save(),
        );
        tensors
    }

    /// Replaces both by the state that [`Averages::save`] wrote and the served weights.
    pub(super) fn load(&mut self, served: Parameters, tensors: &mut Tensors) -> Result<(), Error> {
        let losses = tensors.take_f64("losses", &[Some(2)])?;
        if !losses.iter().all(|loss| loss.is_finite()) {
            return Err(Error::value("losses", format!("{losses:?}")));
        }
        self.n_updates = tensors.take_u64("n_updates", &[Some(1)])?[0];
        let late = if tensors.0.contains_key("late") {
            tensors.take_u64("late", &[None, Some(2)])?
        } else {
            Vec::new()
        };
        let n_outputs = served.layers.last().map_or(0, |layer| layer.n_out) as u64;
        let late = late.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        self.late = late.collect();
        let sound = |(output, since): (&u64, &u64)| *output < n_outputs && *since <= self.n_updates;
        if !self.late.iter().all(sound) {
            return Err(Error::value("late", format!("{:?}", self.late)));
        }
        let (widths, n_buckets) = (served.widths(), served.sparse.n_buckets());
        let other = Parameters::load(&widths, n_buckets, &mut tensors.unnest("other"))?;
        for (average, loss) in self.pair.iter_mut().zip(losses) {
            average.loss = loss;
        }
        let best = self.best();
        let none = &mut Tensors::default();
        self.pair[best].network.load(served, none)?;
        self.pair[1 - best].network.load(other, none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scale;

    fn row() -> Encoded {
        Encoded {
            dense: vec![1.0],
            sparse: vec![(3, 1.0)],
            past: None,
        }
    }

    /// A network whose outputs are these.
    fn says(outputs: [f32; 2]) -> TrainingNetwork {
        let mut parameters = Parameters::new(&[1, 2], 16, 1);
        parameters.layers[0].bias = outputs.to_vec();
        trained(parameters)
    }

    fn trained(parameters: Parameters) -> TrainingNetwork {
        TrainingNetwork::new(parameters, Optimizer::Sgd, Device::Cpu)
    }

    fn new_averages() -> Averages {
        Averages::new(&says([0.0, 0.0]).parameters(), Device::Cpu)
    }

    #[test]
    fn both_follow_and_the_better_one_serves() {
        let mut averages = new_averages();
        let scale = Scale::default();
        let output_loss = OutputLoss::Plain(&scale);
        let mut learn = |outputs: [f32; 2], class: u32, n_updates: usize| {
            for _ in 0..n_updates {
                averages.answer(&[&row()]).unwrap();
                averages.judge(&[Target::Class(class)], 1, output_loss);
                averages.follow(&says(outputs), &[&row()]).unwrap();
            }
            averages.served().layers[0].bias.clone()
        };
        let bias = learn([4.0, 0.0], 0, 2000);
        assert!((bias[0] - 4.0).abs() < 0.2, "{bias:?}");
        // The world turns round: the plastic one is there first.
        let bias = learn([0.0, 4.0], 1, 300);
        assert!(bias[1] > 3.0, "{bias:?}");
        averages.answer(&[&row()]).unwrap();
        let anchor = |class| averages.anchor(0, Target::Class(class), output_loss);
        assert!(anchor(1)[1] > anchor(0)[1]);
    }

    #[test]
    fn an_output_whose_class_came_late_follows_as_a_new_one() {
        let mut averages = new_averages();
        let follow = |averages: &mut Averages, outputs, n_updates| {
            (0..n_updates).for_each(|_| averages.follow(&says(outputs), &[&row()]).unwrap());
        };
        follow(&mut averages, [0.0, 0.0], 2000);
        averages.let_in(1..2);
        follow(&mut averages, [1.0, 1.0], 8);
        for average in &averages.pair {
            let bias = &average.network.parameters().layers[0].bias;
            assert!(bias[0] < 0.1 && bias[1] > 0.99, "{bias:?}");
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut averages = new_averages();
        averages.let_in(1..2);
        for index in 0..50 {
            let mut parameters = says([index as f32, 1.0]).parameters().into_owned();
            parameters.sparse.row_mut(3)[0] = index as f32;
            averages.answer(&[&row()]).unwrap();
            averages.judge(
                &[Target::Class(index % 2)],
                1,
                OutputLoss::Plain(&Scale::default()),
            );
            averages.follow(&trained(parameters), &[&row()]).unwrap();
        }
        let mut loaded = new_averages();
        let served = averages.served().into_owned();
        loaded.load(served, &mut averages.save()).unwrap();
        assert_eq!(loaded, averages);
    }
}
