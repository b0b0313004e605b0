//! Dense layers on a device, as candle computes them: the forward pass of answers and of learning.
//!
//! Each layer is one matrix: behind its inputs stands a constant one, whose column holds the
//! biases, and behind a hidden layer's outputs a row that hands that one on. So a layer is one
//! product, forward and backward. Widths are padded with zeros to a multiple of four, since
//! products of such are faster on a GPU.
//!
//! Invariant: an answer depends on its row alone, whatever it is computed with: rows are computed
//! in blocks of [`ROWS_AT_ONCE`], and a block that is not full is filled up, because how a GPU
//! orders a sum depends on the shape of a product.

use std::borrow::Borrow;

use candle_core::{Device, Result, Tensor};

use super::layers::{Layer, embed};
use crate::device::compute;
use crate::model::encoders::features::Encoded;
use crate::model::linear_algebra::sparse::SparseTable;

/// Rows of a block of answers.
const ROWS_AT_ONCE: usize = 256;
/// Widths are multiples of this.
const ALIGNMENT: usize = 4;

/// A network's dense layers, in one buffer on one device. They never change.
#[derive(Clone, Debug)]
pub(super) struct DenseLayers {
    device: Device,
    places: Vec<LayerPlace>,
    /// Every layer's matrix `[rows, columns]`, one behind the other.
    values: Tensor,
}

/// The place of a layer in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayerPlace {
    /// Inputs, without the constant one.
    pub n_in: usize,
    /// Outputs, without the one that is handed on.
    pub n_out: usize,
    /// The rows of the matrix.
    pub rows: usize,
    /// The columns of the matrix: the inputs, the one, and the padding.
    pub columns: usize,
    /// The start of the matrix.
    pub start: usize,
}

impl LayerPlace {
    /// Values of the matrix.
    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// The places of the weights `[n_out, n_in]` and the biases `[n_out]` in the buffer, by output.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> + use<> {
        let (start, columns, n_in) = (self.start, self.columns, self.n_in);
        (0..self.n_out).map(move |output| {
            let first = start + output * columns;
            (first..first + n_in, first + n_in)
        })
    }
}

impl DenseLayers {
    /// Copies layers to a device.
    ///
    /// # Errors
    /// candle's: the device has no room for them, or fails.
    pub(super) fn new(layers: &[Layer], device: &Device) -> Result<DenseLayers> {
        DenseLayers::copy(layers, 1.0, device)
    }

    /// Copies the numbers that each stand for a parameter to a device: nothing is handed on.
    ///
    /// # Errors
    /// As [`DenseLayers::new`].
    pub(super) fn means(layers: &[Layer], device: &Device) -> Result<DenseLayers> {
        DenseLayers::copy(layers, 0.0, device)
    }

    fn copy(layers: &[Layer], one: f32, device: &Device) -> Result<DenseLayers> {
        let places = places(layers);
        let mut values = vec![0.0; places.iter().map(LayerPlace::len).sum()];
        for (place, layer) in places.iter().zip(layers) {
            for (output, (weight, bias)) in place.outputs().enumerate() {
                let from = output * layer.n_in;
                values[weight].copy_from_slice(&layer.weight[from..from + layer.n_in]);
                values[bias] = layer.bias[output];
            }
            if place.rows > place.n_out {
                values[place.start + place.n_out * place.columns + place.n_in] = one;
            }
        }
        Ok(DenseLayers {
            device: device.clone(),
            values: Tensor::from_vec(
                values,
                places.iter().map(LayerPlace::len).sum::<usize>(),
                device,
            )?,
            places,
        })
    }

    /// The device that computes it.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The place of each layer in the buffer.
    pub(super) fn places(&self) -> &[LayerPlace] {
        &self.places
    }

    /// The buffer, `[values]`.
    pub(super) fn values(&self) -> &Tensor {
        &self.values
    }

    /// The layers with another buffer.
    pub(super) fn with(&self, values: Tensor) -> DenseLayers {
        DenseLayers {
            device: self.device.clone(),
            places: self.places.clone(),
            values,
        }
    }

    /// Reads a buffer of such layers back.
    ///
    /// # Errors
    /// candle's: the device fails.
    pub(super) fn read(&self, values: &Tensor) -> Result<Vec<Layer>> {
        let values: Vec<f32> = values.to_vec1()?;
        let layer = |place: &LayerPlace| Layer {
            n_in: place.n_in,
            n_out: place.n_out,
            weight: place
                .outputs()
                .flat_map(|(weight, _)| &values[weight])
                .copied()
                .collect(),
            bias: place.outputs().map(|(_, bias)| values[bias]).collect(),
        };
        Ok(self.places.iter().map(layer).collect())
    }

    /// The matrices `[rows, columns]` in a buffer of such layers.
    ///
    /// # Errors
    /// candle's.
    pub(super) fn matrices(&self, values: &Tensor) -> Result<Vec<Tensor>> {
        let matrix = |place: &LayerPlace| {
            let matrix = values.narrow(0, place.start, place.len())?;
            matrix.reshape((place.rows, place.columns))
        };
        self.places.iter().map(matrix).collect()
    }

    /// The inputs of each layer, and then the outputs of the last, `[n_rows, width]` each; rows
    /// are filled up with zeros to `n_rows`.
    ///
    /// # Errors
    /// candle's: the device has no room, or fails.
    pub(super) fn forward(
        &self,
        sparse: &SparseTable,
        rows: &[impl Borrow<Encoded>],
        n_rows: usize,
    ) -> Result<Vec<Tensor>> {
        let columns = self.places[0].columns;
        let mut x = Vec::with_capacity(n_rows * columns);
        for (index, row) in rows.iter().enumerate() {
            x.extend_from_slice(&row.borrow().dense);
            x.push(1.0);
            x.resize((index + 1) * columns, 0.0);
        }
        x.resize(n_rows * columns, 0.0);
        let x = Tensor::from_vec(x, (n_rows, columns), &self.device)?;
        let mut values = vec![x];
        for (index, matrix) in self.matrices(&self.values)?.iter().enumerate() {
            let mut z = values[index].matmul(&matrix.t()?)?;
            if index == 0 && sparse.n_buckets() > 0 {
                z = (z + self.embedded(sparse, rows, n_rows)?)?;
            }
            let is_last = index + 1 == self.places.len();
            values.push(if is_last { z } else { z.relu()? });
        }
        Ok(values)
    }

    /// The part of hashed features in the outputs of the first layer, `[n_rows, its rows]`.
    fn embedded(
        &self,
        sparse: &SparseTable,
        rows: &[impl Borrow<Encoded>],
        n_rows: usize,
    ) -> Result<Tensor> {
        let width = self.places[0].rows;
        let mut sums = vec![0.0; n_rows * width];
        for (row, sum) in rows.iter().zip(sums.chunks_exact_mut(width)) {
            embed(sparse, row.borrow(), &mut sum[..self.places[0].n_out]);
        }
        Tensor::from_vec(sums, (n_rows, width), &self.device)
    }

    /// Outputs `[rows, n_outputs]`, each row's as if it were alone.
    ///
    /// # Errors
    /// candle's: the device has no room for a block of rows, or fails.
    pub(super) fn answer(
        &self,
        sparse: &SparseTable,
        rows: &[impl Borrow<Encoded> + Sync],
    ) -> Result<Vec<f32>> {
        compute(&self.device, || self.answer_here(sparse, rows))
    }

    fn answer_here(&self, sparse: &SparseTable, rows: &[impl Borrow<Encoded>]) -> Result<Vec<f32>> {
        // All blocks are on their way before the first is waited for.
        let blocks = rows.chunks(ROWS_AT_ONCE).map(|block| {
            let values = self.forward(sparse, block, ROWS_AT_ONCE)?;
            Ok((values.into_iter().next_back(), block.len()))
        });
        let blocks: Vec<(Option<Tensor>, usize)> = blocks.collect::<Result<_>>()?;
        let mut outputs = Vec::new();
        for (block, n_rows) in blocks {
            let Some(block) = block else { continue };
            let width = block.dim(1)?;
            let block: Vec<f32> = block.flatten_all()?.to_vec1()?;
            outputs.extend_from_slice(&block[..n_rows * width]);
        }
        Ok(outputs)
    }
}

fn places(layers: &[Layer]) -> Vec<LayerPlace> {
    let filled_up = |width: usize| (width + 1).next_multiple_of(ALIGNMENT);
    let mut start = 0;
    let place = |(index, layer): (usize, &Layer)| {
        let place = LayerPlace {
            n_in: layer.n_in,
            n_out: layer.n_out,
            rows: if index + 1 == layers.len() {
                layer.n_out
            } else {
                filled_up(layer.n_out)
            },
            columns: filled_up(layer.n_in),
            start,
        };
        start += place.len();
        place
    };
    layers.iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Network;
    use super::super::layers::Parameters;
    use super::*;

    fn parameters() -> Parameters {
        let mut parameters = Parameters::new(&[5, 64, 33, 7], 16, 3);
        let mut wave = (0..).map(|index| (index as f32 * 0.7).sin());
        let mut fill = |values: &mut [f32]| values.fill_with(|| wave.next().unwrap_or(0.0));
        fill(&mut parameters.layers[2].weight);
        parameters
            .layers
            .iter_mut()
            .for_each(|layer| fill(&mut layer.bias));
        parameters.sparse.row_mut(3).fill(0.25);
        parameters
    }

    fn rows(n_rows: usize) -> Vec<Encoded> {
        let value = |index: usize| (index as f32 * 0.3).cos();
        let row = |index: usize| Encoded {
            dense: (0..5).map(|i| value(index * 5 + i)).collect(),
            sparse: vec![(3, value(index))],
            past: None,
        };
        (0..n_rows).map(row).collect()
    }

    #[test]
    fn layers_are_read_back_as_they_were() {
        for widths in [vec![3, 4, 2], vec![0, 5, 1], vec![7, 2]] {
            let parameters = Parameters::new(&widths, 0, 3);
            let layers = DenseLayers::new(&parameters.layers, &Device::Cpu).unwrap();
            assert_eq!(layers.read(layers.values()).unwrap(), parameters.layers);
        }
    }

    #[test]
    fn answers_are_those_of_the_processor_and_of_the_row_alone() {
        let parameters = parameters();
        let layers = DenseLayers::new(&parameters.layers, &Device::Cpu).unwrap();
        let answer = |rows: &[Encoded]| layers.answer(&parameters.sparse, rows).unwrap();
        let rows = rows(ROWS_AT_ONCE + 44);
        let processor = Network::new(&parameters);
        let expected = processor.forward(&rows).unwrap();
        let found = answer(&rows);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        for (row, together) in rows.iter().zip(found.chunks_exact(7)) {
            assert_eq!(answer(std::slice::from_ref(row)), together);
        }
        assert!(answer(&[]).is_empty());
    }
}
