//! Forward and backward pass through flat parameters, written out: nearly all of the cost of an
//! update is here.
//!
//! Invariant: the order of every sum is fixed by the batch alone, so equal batches give equal
//! gradients; and no row moves the parameters by more than its weight allows of [`Lengths::most`].

mod kernels;

use std::collections::BTreeMap;

use crate::model::{Encoded, Parameters, WEIGHT_MAX};
use kernels::{Affine, Combine, Factors, Terms};

/// A row's own gradient, all parameters together, is never longer than this: one wild row does not
/// drown the others of its batch.
pub(crate) const LENGTH_MAX: f32 = 50.0;
/// The longest gradient that a softmax has in its outputs, squared: it was sure, and wrong.
const WORST_SQUARED: f32 = 2.0;

/// A forward and a backward pass of a batch. Its room is used again by the next, so that an update
/// allocates nothing.
#[derive(Default)]
pub(crate) struct TrainingPass {
    n_rows: usize,
    /// `[rows, width]` each: the dense features, the output of each ReLU, the outputs.
    values: Vec<Vec<f32>>,
    /// Gradients of the loss with respect to the outputs of each layer, `[rows, n_out]` each.
    gradients: Vec<Vec<f32>>,
    terms: Terms,
    /// The step of the outputs of each row for a derivative of one: see [`Lengths::reach`].
    reaches: Vec<f32>,
    /// Gradient of one layer's weights, where a rule needs them written out.
    gradient: Vec<f32>,
}

/// The length of one row's gradient, all parameters together, and its bound.
pub(crate) struct Lengths {
    own: f32,
    /// A row moves a network no further than the worst answer to it moves a linear model (clipped
    /// as by Abadi et al. 2016, algorithm 1). Layers multiply gradients, most of all those of rows of
    /// a new kind, and a few steps along them undo the learning of the others. Where values
    /// are off by more than a softmax can be, a linear model with that error counts.
    most: f32,
    /// The sum of squares of its gradient with respect to the outputs.
    outputs: f32,
}

impl Lengths {
    /// Each layer's gradient is the product of two vectors: from the first layer to the last, the
    /// sums of squares of its inputs, with the one that a bias is multiplied by, and of the
    /// gradient with respect to its outputs.
    pub(crate) fn of(layers: impl IntoIterator<Item = (f32, f32)>) -> Lengths {
        let (mut sum, mut inputs, mut outputs) = (0.0, None, 0.0);
        for (before, gradient) in layers {
            let _ = inputs.get_or_insert(before);
            outputs = gradient;
            sum += gradient * before;
        }
        let linear = inputs.unwrap_or_default() * outputs.max(WORST_SQUARED);
        Lengths {
            own: sum.sqrt(),
            most: linear.sqrt().min(LENGTH_MAX),
            outputs,
        }
    }

    /// The step of an output of the row for a derivative, a rate and a weight of one.
    pub(crate) fn reach(&self) -> f32 {
        let reach = self.own * self.own.min(self.most) / self.outputs;
        if self.outputs > 0.0 && reach.is_finite() {
            reach
        } else {
            self.most * self.most / WORST_SQUARED
        }
    }

    /// The factor on the row's gradient for this weight; none where they
    /// are not finite.
    pub(crate) fn factor(&self, weight: f32) -> Option<f32> {
        let factor = weight * (self.most / self.own).min(1.0);
        self.own.is_finite().then_some(factor)
    }
}

/// The sum of squares of a row's inputs to the first layer, with its bias's one.
pub(crate) fn squared_inputs(row: &Encoded) -> f32 {
    let hashed = row.sparse.iter().map(|(_, value)| value * value);
    squares(&row.dense) + 1.0 + hashed.sum::<f32>()
}

impl TrainingPass {
    /// Computes the outputs for `rows`, and keeps the values that [`TrainingPass::backward`] needs.
    pub(crate) fn forward(&mut self, parameters: &Parameters, rows: &[&Encoded]) {
        let n_layers = parameters.layers.len();
        self.n_rows = rows.len();
        self.values.resize_with(n_layers + 1, Vec::new);
        self.gradients.resize_with(n_layers, Vec::new);
        self.values[0].clear();
        for row in rows {
            self.values[0].extend_from_slice(&row.dense);
        }
        for (index, layer) in parameters.layers.iter().enumerate() {
            let n_values = rows.len() * layer.n_out;
            self.gradients[index].resize(n_values, 0.0);
            let (before, after) = self.values.split_at_mut(index + 1);
            let (x, z) = (&before[index], &mut after[0]);
            z.resize(n_values, 0.0);
            Affine {
                x,
                weight: &layer.weight,
                bias: &layer.bias,
                z,
            }
            .compute();
            if index == 0 {
                add_sparse(parameters, rows, z);
            }
            if index + 1 < n_layers {
                z.iter_mut().for_each(|z| *z = z.max(0.0));
            }
        }
    }

    /// `[rows, n_outputs]`.
    pub(crate) fn outputs(&self) -> &[f32] {
        self.values.last().expect("a pass was made")
    }

    /// The outputs, and the gradient of each row's loss with respect to them, to be written.
    pub(crate) fn outputs_and_gradient(&mut self) -> (&[f32], &mut [f32]) {
        let outputs = self.values.last().expect("a pass was made");
        (outputs, self.gradients.last_mut().expect("a pass was made"))
    }

    /// Computes the gradients with respect to the outputs of each layer, from that with respect to the
    /// outputs; that of every row then counts by its weight. False where they are not finite.
    pub(crate) fn backward(
        &mut self,
        parameters: &Parameters,
        rows: &[&Encoded],
        row_weights: &[f32],
    ) -> bool {
        for (index, layer) in parameters.layers.iter().enumerate().skip(1).rev() {
            let (before, after) = self.gradients.split_at_mut(index);
            let back = &mut before[index - 1];
            back.fill(0.0);
            // dX [rows, in] = dZ [rows, out] W [out, in], where the ReLU let it through.
            Combine {
                targets: back,
                sources: &layer.weight,
                width: layer.n_in,
                factors: Factors {
                    values: &after[0],
                    target_stride: layer.n_out,
                    source_stride: 1,
                    scale: 1.0,
                },
                terms: &mut self.terms,
            }
            .compute();
            for (derivative, value) in back.iter_mut().zip(&self.values[index]) {
                *derivative = if *value > 0.0 { *derivative } else { 0.0 };
            }
        }
        let mut finite = true;
        self.reaches.clear();
        for (row, weight) in row_weights.iter().enumerate() {
            let lengths = self.lengths(parameters, rows[row], row);
            self.reaches.push(lengths.reach());
            let Some(factor) = lengths.factor(*weight) else {
                finite = false;
                continue;
            };
            for (gradients, layer) in self.gradients.iter_mut().zip(&parameters.layers) {
                let gradient = &mut gradients[row * layer.n_out..(row + 1) * layer.n_out];
                gradient
                    .iter_mut()
                    .for_each(|derivative| *derivative *= factor);
            }
        }
        finite
    }

    /// The step of the outputs of each row of the last backward pass for a derivative, a rate and a weight of
    /// one, `[rows]`.
    pub(crate) fn reaches(&self) -> &[f32] {
        &self.reaches
    }

    fn lengths(&self, parameters: &Parameters, encoded: &Encoded, row: usize) -> Lengths {
        let layers = parameters.layers.iter().enumerate();
        Lengths::of(layers.map(|(index, layer)| {
            let gradient = &self.gradients[index][row * layer.n_out..(row + 1) * layer.n_out];
            let before = match index {
                0 => squared_inputs(encoded),
                _ => squares(&self.values[index][row * layer.n_in..(row + 1) * layer.n_in]) + 1.0,
            };
            (before, squares(gradient))
        }))
    }

    /// Moves the parameters by `-rate` times the gradient.
    pub(crate) fn descend(&mut self, parameters: &mut Parameters, rows: &[&Encoded], rate: f32) {
        for (index, layer) in parameters.layers.iter_mut().enumerate() {
            self.add_products(index, &mut layer.weight, -rate);
            for gradient in self.gradients[index].chunks_exact(layer.n_out) {
                for (bias, derivative) in layer.bias.iter_mut().zip(gradient) {
                    *bias = (*bias - rate * derivative).clamp(-WEIGHT_MAX, WEIGHT_MAX);
                }
            }
        }
        let width = parameters.layers[0].n_out;
        for (row, gradient) in rows.iter().zip(self.gradients[0].chunks_exact(width)) {
            for (bucket, value) in &row.sparse {
                let weights = parameters.sparse.row_mut(*bucket);
                for (weight, derivative) in weights.iter_mut().zip(gradient) {
                    *weight = (*weight - rate * value * derivative).clamp(-WEIGHT_MAX, WEIGHT_MAX);
                }
            }
        }
    }

    /// Gradient of the weights `[n_out, n_in]` and then of the biases `[n_out]` of one layer.
    pub(crate) fn layer_gradient(
        &mut self,
        parameters: &Parameters,
        index: usize,
    ) -> (&[f32], &[f32]) {
        let layer = &parameters.layers[index];
        let n_weights = layer.weight.len();
        let mut gradient = std::mem::take(&mut self.gradient);
        gradient.clear();
        gradient.resize(n_weights + layer.n_out, 0.0);
        let (weight, bias) = gradient.split_at_mut(n_weights);
        self.add_products(index, weight, 1.0);
        for row in self.gradients[index].chunks_exact(layer.n_out) {
            bias.iter_mut().zip(row).for_each(|(sum, s)| *sum += s);
        }
        self.gradient = gradient;
        self.gradient.split_at(n_weights)
    }

    /// Gradient with respect to the outputs of the first layer, `[rows, its outputs]`.
    pub(crate) fn first_gradient(&self) -> &[f32] {
        &self.gradients[0]
    }

    /// `weight [out, in] += scale dZ^T [out, rows] X [rows, in]`.
    fn add_products(&mut self, index: usize, weight: &mut [f32], scale: f32) {
        let width = self.values[index].len() / self.n_rows;
        Combine {
            targets: weight,
            sources: &self.values[index],
            width,
            factors: Factors {
                values: &self.gradients[index],
                target_stride: 1,
                source_stride: self.gradients[index].len() / self.n_rows,
                scale,
            },
            terms: &mut self.terms,
        }
        .compute();
    }
}

/// Gradient of the rows of hashed features that a batch touched, in the order of the buckets, from
/// those with respect to the first layer's outputs, `[rows, width]`.
pub(crate) fn sparse_gradient(
    rows: &[&Encoded],
    first_gradient: &[f32],
    width: usize,
) -> BTreeMap<u32, Vec<f32>> {
    let mut sums: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
    for (row, gradient) in rows.iter().zip(first_gradient.chunks_exact(width)) {
        for (bucket, value) in &row.sparse {
            let sum = sums.entry(*bucket).or_insert_with(|| vec![0.0; width]);
            sum.iter_mut()
                .zip(gradient)
                .for_each(|(sum, s)| *sum += value * s);
        }
    }
    sums
}

/// The sum of squares over sixteen lanes, so that its order is the same on every CPU.
pub(crate) fn squares(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let chunks = values.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    for chunk in chunks {
        lanes
            .iter_mut()
            .zip(chunk)
            .for_each(|(lane, v)| *lane += v * v);
    }
    lanes.iter().sum::<f32>() + rest
}

fn add_sparse(parameters: &Parameters, rows: &[&Encoded], z: &mut [f32]) {
    let width = parameters.layers[0].n_out;
    for (row, z) in rows.iter().zip(z.chunks_exact_mut(width)) {
        for (bucket, value) in &row.sparse {
            if let Some(weights) = parameters.sparse.row(*bucket) {
                z.iter_mut().zip(weights).for_each(|(z, w)| *z += value * w);
            }
        }
    }
}

#[cfg(test)]
mod tests;
