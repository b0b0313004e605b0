//! The parameters of a multilayer perceptron, as flat buffers that learning writes in place.
//!
//! Invariant: the tensors they are saved as carry the names and shapes that PyTorch's
//! `nn.Sequential(Linear, ReLU, Linear, ...)` gives them.

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::model::encoders::features::Encoded;
use crate::model::linear_algebra::sparse::SparseTable;
use crate::model::weights::{Error, Tensors};

/// Weights are held within this: a step too far is cut short before anything overflows.
pub(crate) const WEIGHT_MAX: f32 = 1e4;

/// `y = x W^T + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Width of `x`; 0 where a model has no dense input.
    pub n_in: usize,
    /// Width of `y`.
    pub n_out: usize,
    /// `W`, `[n_out, n_in]`.
    pub weight: Vec<f32>,
    /// `b`, `[n_out]`.
    pub bias: Vec<f32>,
}

/// Layers with ReLU between them, and the first layer's rows for hashed features.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The layers, at least one; each as wide as the next one takes.
    pub layers: Vec<Layer>,
    /// A hashed feature's embedding is its row here: it is added to the outputs of the first layer.
    pub sparse: SparseTable,
}

impl Parameters {
    /// Seeded parameters for the widths `[input, hidden.., output]`: hidden layers uniform as He
    /// et al. 2015 (eq. 10) scale them, the last one zero, so that a new model prefers nothing.
    pub fn new(widths: &[usize], n_buckets: usize, seed: u64) -> Parameters {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_layers = widths.len() - 1;
        let layer = |(index, pair): (usize, &[usize])| {
            let (n_in, n_out) = (pair[0], pair[1]);
            let bound = if index + 1 == n_layers {
                0.0
            } else {
                (6.0 / n_in.max(1) as f32).sqrt()
            };
            let mut draw = |_| bound * (2.0 * rng.random::<f32>() - 1.0);
            Layer {
                n_in,
                n_out,
                weight: (0..n_in * n_out).map(&mut draw).collect(),
                bias: vec![0.0; n_out],
            }
        };
        Parameters {
            layers: widths.windows(2).enumerate().map(layer).collect(),
            sparse: SparseTable::new(n_buckets, widths[1]),
        }
    }

    /// `[input, hidden.., output]`.
    pub fn widths(&self) -> Vec<usize> {
        let inputs = self.layers.iter().take(1).map(|layer| layer.n_in);
        inputs
            .chain(self.layers.iter().map(|layer| layer.n_out))
            .collect()
    }

    /// Halves the weights of every layer.
    pub(crate) fn shrink(&mut self) {
        for layer in &mut self.layers {
            let weights = layer.weight.iter_mut().chain(&mut layer.bias);
            weights.for_each(|weight| *weight *= 0.5);
        }
    }

    /// `0.weight` `[out, in]`, `0.bias` `[out]`, `2.weight`, ..., and the table of hashed features.
    pub fn save(&self) -> Tensors {
        let mut tensors = match self.sparse.n_buckets() {
            0 => Tensors::default(),
            _ => self.sparse.save(),
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let name = |part| format!("{}.{part}", 2 * index);
            let shape = [layer.n_out, layer.n_in];
            tensors.put_f32(name("weight"), &shape, layer.weight.clone());
            tensors.put_f32(name("bias"), &[layer.n_out], layer.bias.clone());
        }
        tensors
    }

    /// Reads the state that [`Parameters::save`] wrote.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(
        widths: &[usize],
        n_buckets: usize,
        tensors: &mut Tensors,
    ) -> Result<Parameters, Error> {
        let mut layers = Vec::new();
        for (index, pair) in widths.windows(2).enumerate() {
            let (n_in, n_out) = (pair[0], pair[1]);
            let name = |part| format!("{}.{part}", 2 * index);
            layers.push(Layer {
                n_in,
                n_out,
                weight: tensors.take_f32(&name("weight"), &[Some(n_out), Some(n_in)])?,
                bias: tensors.take_f32(&name("bias"), &[Some(n_out)])?,
            });
        }
        let sparse = match n_buckets {
            0 => SparseTable::new(0, widths[1]),
            _ => SparseTable::load(n_buckets, widths[1], tensors)?,
        };
        Ok(Parameters { layers, sparse })
    }
}

/// Adds the weighted rows of a row's hashed features.
pub(super) fn embed(sparse: &SparseTable, row: &Encoded, sum: &mut [f32]) {
    for (bucket, value) in &row.sparse {
        let Some(weights) = sparse.row(*bucket) else {
            continue;
        };
        for (sum, weight) in sum.iter_mut().zip(weights) {
            *sum += value * weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_shapes_are_those_of_a_sequential() {
        let saved = Parameters::new(&[3, 4, 2], 0, 1).save();
        let form: Vec<_> = saved
            .0
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.shape.clone()))
            .collect();
        assert_eq!(
            form,
            [
                ("0.bias", vec![4]),
                ("0.weight", vec![4, 3]),
                ("2.bias", vec![2]),
                ("2.weight", vec![2, 4]),
            ]
        );
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let weights = |seed| Parameters::new(&[3, 4, 2], 16, seed);
        assert_eq!(weights(1), weights(1));
        assert_ne!(weights(1), weights(2));
        let bound = (6.0f32 / 3.0).sqrt();
        assert!(
            weights(1).layers[0]
                .weight
                .iter()
                .all(|w| w.abs() <= bound && *w != 0.0)
        );
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut parameters = Parameters::new(&[0, 4, 2], 16, 1);
        parameters.sparse.row_mut(3)[2] = 0.5;
        let loaded = Parameters::load(&[0, 4, 2], 16, &mut parameters.save());
        assert_eq!(loaded, Ok(parameters));
    }
}
