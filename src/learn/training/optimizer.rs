//! Optimizers: from gradients to steps, in place, with a state that can be saved.
//!
//! SGD, and AdamW (Loshchilov and Hutter 2019, algorithm 2). Departure: rows of hashed features
//! are moved, and their moments kept, only when an update touches them (as PyTorch's SparseAdam
//! does), without weight decay.

use std::collections::BTreeMap;

use super::backprop::{TrainingPass, sparse_gradient};
use crate::model::weights::{Error, Tensors};
use crate::model::{
    Encoded, Gradient, Layer, Optimizer, Parameters, Rule, SparseTable, WEIGHT_MAX,
};

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
const WEIGHT_DECAY: f32 = 0.01;

/// The state of an optimiser between steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OptimizerState {
    Sgd,
    AdamW(Box<AdamMoments>),
}

/// Fading means of the gradient and of its square.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdamMoments {
    n_steps: u64,
    first: Parameters,
    second: Parameters,
}

impl OptimizerState {
    /// The state before the first step.
    pub(crate) fn new(optimizer: Optimizer, parameters: &Parameters) -> OptimizerState {
        match optimizer {
            Optimizer::Sgd => OptimizerState::Sgd,
            Optimizer::AdamW => OptimizerState::AdamW(Box::new(AdamMoments {
                n_steps: 0,
                first: zeros(parameters),
                second: zeros(parameters),
            })),
        }
    }

    /// Moves the parameters against the gradient that the pass of `rows` led to.
    pub(crate) fn step(
        &mut self,
        settings: &Gradient,
        parameters: &mut Parameters,
        pass: &mut TrainingPass,
        rows: &[&Encoded],
    ) {
        let rate = settings.learning_rate;
        match self {
            OptimizerState::Sgd => pass.descend(parameters, rows, rate),
            OptimizerState::AdamW(moments) => moments.step(rate, parameters, pass, rows),
        }
    }

    /// The means of the gradient of dense layers, and of its square.
    pub(crate) fn moments(&self) -> Option<[&[Layer]; 2]> {
        match self {
            OptimizerState::Sgd => None,
            OptimizerState::AdamW(moments) => Some([&moments.first.layers, &moments.second.layers]),
        }
    }

    /// Replaces them.
    pub(crate) fn set_moments(&mut self, [first, second]: [Vec<Layer>; 2]) {
        if let OptimizerState::AdamW(moments) = self {
            moments.first.layers = first;
            moments.second.layers = second;
        }
    }

    /// The rule of the next step, which a device is to make of the dense layers.
    pub(crate) fn next_rule(&self, rate: f32) -> Rule {
        match self {
            OptimizerState::Sgd => Rule::Descent {
                rate: f64::from(rate),
            },
            OptimizerState::AdamW(moments) => Adam::new(rate, moments.n_steps + 1).rule(rate),
        }
    }

    /// Counts the step that a device has made.
    pub(crate) fn count_step(&mut self) {
        if let OptimizerState::AdamW(moments) = self {
            moments.n_steps += 1;
        }
    }

    /// Moves the rows of hashed features, in the last step counted.
    pub(crate) fn step_sparse(
        &mut self,
        rate: f32,
        table: &mut SparseTable,
        gradient: &BTreeMap<u32, Vec<f32>>,
    ) {
        match self {
            OptimizerState::Sgd => {
                for (bucket, gradient) in gradient {
                    for (weight, derivative) in table.row_mut(*bucket).iter_mut().zip(gradient) {
                        *weight = (*weight - rate * derivative).clamp(-WEIGHT_MAX, WEIGHT_MAX);
                    }
                }
            }
            OptimizerState::AdamW(moments) => moments.step_sparse(rate, table, gradient),
        }
    }

    pub(crate) fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        if let OptimizerState::AdamW(moments) = self {
            tensors.put_u64("n_steps", &[1], vec![moments.n_steps]);
            tensors.nest("first", moments.first.save());
            tensors.nest("second", moments.second.save());
        }
        tensors
    }

    /// Replaces the state by the one that [`OptimizerState::save`] wrote.
    pub(crate) fn load(
        &mut self,
        parameters: &Parameters,
        tensors: &mut Tensors,
    ) -> Result<(), Error> {
        if let OptimizerState::AdamW(moments) = self {
            let (widths, n_buckets) = (parameters.widths(), parameters.sparse.n_buckets());
            let load = |mut part| Parameters::load(&widths, n_buckets, &mut part);
            **moments = AdamMoments {
                n_steps: tensors.take_u64("n_steps", &[Some(1)])?[0],
                first: load(tensors.unnest("first"))?,
                second: load(tensors.unnest("second"))?,
            };
        }
        Ok(())
    }
}

impl AdamMoments {
    fn step(
        &mut self,
        rate: f32,
        parameters: &mut Parameters,
        pass: &mut TrainingPass,
        rows: &[&Encoded],
    ) {
        self.n_steps += 1;
        let adam = Adam::new(rate, self.n_steps);
        for index in 0..parameters.layers.len() {
            let (weight, bias) = pass.layer_gradient(parameters, index);
            let layer = &mut parameters.layers[index];
            let (first, second) = (
                &mut self.first.layers[index],
                &mut self.second.layers[index],
            );
            decay(&mut layer.weight, rate);
            adam.step(
                &mut layer.weight,
                weight,
                &mut first.weight,
                &mut second.weight,
            );
            adam.step(&mut layer.bias, bias, &mut first.bias, &mut second.bias);
        }
        let gradient = sparse_gradient(rows, pass.first_gradient(), parameters.layers[0].n_out);
        self.step_sparse(rate, &mut parameters.sparse, &gradient);
    }

    fn step_sparse(
        &mut self,
        rate: f32,
        table: &mut SparseTable,
        gradient: &BTreeMap<u32, Vec<f32>>,
    ) {
        let adam = Adam::new(rate, self.n_steps);
        for (bucket, gradient) in gradient {
            adam.step(
                table.row_mut(*bucket),
                gradient,
                self.first.sparse.row_mut(*bucket),
                self.second.sparse.row_mut(*bucket),
            );
        }
    }
}

/// One step's factors.
pub(crate) struct Adam {
    rate: f32,
    correction: f32,
}

impl Adam {
    /// The factors of the step number `n_steps`, of which there is no zeroth.
    pub(crate) fn new(rate: f32, n_steps: u64) -> Adam {
        let power = n_steps.min(1_000_000) as i32;
        Adam {
            rate: rate / (1.0 - BETA_1.powi(power)),
            correction: 1.0 / (1.0 - BETA_2.powi(power)),
        }
    }

    /// The rule for a device, which also decays the weights.
    fn rule(&self, rate: f32) -> Rule {
        Rule::AdamW {
            betas: [BETA_1, BETA_2].map(f64::from),
            rate: f64::from(self.rate),
            correction: f64::from(self.correction),
            epsilon: f64::from(EPSILON),
            decay: f64::from(rate * WEIGHT_DECAY),
        }
    }

    /// Moves weights against their gradient, and the fading means of these and of their squares.
    pub(crate) fn step(
        &self,
        weights: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let moments = first.iter_mut().zip(second);
        for ((weight, derivative), (m, v)) in weights.iter_mut().zip(gradient).zip(moments) {
            *m = BETA_1 * *m + (1.0 - BETA_1) * derivative;
            *v = BETA_2 * *v + (1.0 - BETA_2) * derivative * derivative;
            let step = self.rate * *m / ((self.correction * *v).sqrt() + EPSILON);
            *weight = (*weight - step).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
    }
}

fn decay(weights: &mut [f32], rate: f32) {
    weights
        .iter_mut()
        .for_each(|weight| *weight *= 1.0 - rate * WEIGHT_DECAY);
}

fn zeros(parameters: &Parameters) -> Parameters {
    let mut zeros = parameters.clone();
    for layer in &mut zeros.layers {
        layer.weight.fill(0.0);
        layer.bias.fill(0.0);
    }
    let (n_buckets, row_len) = (zeros.sparse.n_buckets(), zeros.sparse.row_len());
    zeros.sparse = SparseTable::new(n_buckets, row_len);
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(optimizer: Optimizer) -> Gradient {
        Gradient {
            hidden: vec![],
            weights: None,
            optimizer,
            learning_rate: 0.1,
            examples_per_update: 1,
        }
    }

    /// A step whose derivative is this one in the weight, the bias and the row of bucket 3.
    fn step(
        state: &mut OptimizerState,
        optimizer: Optimizer,
        parameters: &mut Parameters,
        derivative: f32,
    ) {
        let row = Encoded {
            dense: vec![1.0],
            sparse: vec![(3, 1.0)],
            past: None,
        };
        let mut pass = TrainingPass::default();
        pass.forward(parameters, &[&row]);
        pass.outputs_and_gradient().1[0] = derivative;
        assert!(pass.backward(parameters, &[&row], &[1.0]));
        state.step(&settings(optimizer), parameters, &mut pass, &[&row]);
    }

    fn weights_after(optimizer: Optimizer, steps: &[f32]) -> (f32, f32) {
        let mut parameters = Parameters::new(&[1, 1], 16, 1);
        parameters.layers[0].weight[0] = 1.0;
        let mut state = OptimizerState::new(optimizer, &parameters);
        for derivative in steps {
            step(&mut state, optimizer, &mut parameters, *derivative);
        }
        let sparse = parameters.sparse.row(3).map_or(0.0, |row| row[0]);
        (parameters.layers[0].weight[0], sparse)
    }

    #[test]
    fn steps_are_those_of_the_reference() {
        let check = |optimizer, steps: &[f32], expected: (f32, f32)| {
            let (dense, sparse) = weights_after(optimizer, steps);
            assert!(
                (dense - expected.0).abs() < 1e-5,
                "{optimizer:?} {steps:?} {dense}"
            );
            assert!(
                (sparse - expected.1).abs() < 1e-5,
                "{optimizer:?} {steps:?} {sparse}"
            );
        };
        check(Optimizer::Sgd, &[2.0, -1.0], (0.9, -0.1));
        // torch.optim.AdamW([1.0], lr=0.1), gradients 2 and -1: each first step is one rate long.
        check(Optimizer::AdamW, &[2.0], (1.0 * 0.999 - 0.1, -0.1));
        let second = 0.1 * (0.08 / 0.19) / (0.004996f32 / 0.001999).sqrt();
        check(
            Optimizer::AdamW,
            &[2.0, -1.0],
            (0.899 * 0.999 - second, -0.1 - second),
        );
    }

    #[test]
    fn what_is_saved_is_loaded() {
        for optimizer in [Optimizer::Sgd, Optimizer::AdamW] {
            let mut parameters = Parameters::new(&[1, 1], 16, 1);
            let mut state = OptimizerState::new(optimizer, &parameters);
            step(&mut state, optimizer, &mut parameters, 0.5);
            let mut loaded = OptimizerState::new(optimizer, &parameters);
            loaded.load(&parameters, &mut state.save()).unwrap();
            assert_eq!(loaded, state);
        }
    }
}
