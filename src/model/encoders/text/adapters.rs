//! Low-rank adapters: the trained part of a text encoder whose own weights are frozen.
//!
//! The queries and values of its last layers become `W x + b + B A x`, with `A` of `rank` rows and
//! `B` zero at the start, so that it starts as it came (Hu et al. 2021, LoRA, section 4.1 and 4.2).
//! Departure: their factor `alpha / rank` is one; the step size does its work.

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::spec::LowRank;
use crate::model::weights::{Error, Tensors};

/// Low-rank additions to the queries and values of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapters {
    shape: LowRank,
    width: usize,
    /// The values of each adapted layer, first to last, of its queries and then its values: `A [rank, width]`
    /// and `B [width, rank]`.
    pub values: Vec<f32>,
}

/// The adapters of one layer on a device: of its queries, and of its values.
pub(super) type LayerAdapters = [[Tensor; 2]; 2];

impl Adapters {
    /// Adapters that change nothing yet.
    pub fn new(shape: LowRank, width: usize, seed: u64) -> Adapters {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_each = shape.rank * width;
        // Uniform, of variance 1 / width, so that `A x` has the variance of a feature of `x`.
        let bound = (3.0 / width as f32).sqrt();
        let mut values = Vec::with_capacity(4 * shape.layers * n_each);
        for _ in 0..2 * shape.layers {
            values.extend((0..n_each).map(|_| rng.random_range(-bound..bound)));
            values.extend(std::iter::repeat_n(0.0, n_each));
        }
        Adapters {
            shape,
            width,
            values,
        }
    }

    /// Saves the adapters as they are kept in a checkpoint.
    pub fn save(&self, tensors: &mut Tensors) {
        let LowRank { rank, layers, .. } = self.shape;
        let shape = [layers, 2, 2, rank * self.width];
        tensors.put_f32("values", &shape, self.values.clone());
    }

    /// Reads the state that [`Adapters::save`] wrote of adapters of the same shape.
    pub fn load(&mut self, tensors: &mut Tensors) -> std::result::Result<(), Error> {
        let LowRank { rank, layers, .. } = self.shape;
        let shape = [layers, 2, 2, rank * self.width].map(Some);
        self.values = tensors.take_f32("values", &shape)?;
        Ok(())
    }

    /// The adapters by layer, on a device.
    pub(super) fn on(&self, device: &Device) -> Result<Vec<LayerAdapters>> {
        self.map(|values, shape| Tensor::from_slice(values, shape, device))
    }

    /// The adapters by layer with gradients, and the variables of these, in the order of the values.
    pub(super) fn variables(&self, device: &Device) -> Result<(Vec<LayerAdapters>, Vec<Var>)> {
        let mut variables = Vec::new();
        let layers = self.map(|values, shape| {
            let variable = Var::from_tensor(&Tensor::from_slice(values, shape, device)?)?;
            variables.push(variable.clone());
            Ok(variable.into_inner())
        })?;
        Ok((layers, variables))
    }

    fn map(
        &self,
        mut tensor: impl FnMut(&[f32], (usize, usize)) -> Result<Tensor>,
    ) -> Result<Vec<LayerAdapters>> {
        let (rank, width) = (self.shape.rank, self.width);
        let mut parts = self.values.chunks_exact(rank * width);
        let mut pair = || -> Result<[Tensor; 2]> {
            let mut next = || parts.next().expect("there are four of each layer");
            Ok([
                tensor(next(), (rank, width))?,
                tensor(next(), (width, rank))?,
            ])
        };
        (0..self.shape.layers)
            .map(|_| Ok([pair()?, pair()?]))
            .collect()
    }
}
