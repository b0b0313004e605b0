//! Forward and backward through flat parameters, written out: what an update costs is here.
//!
//! Invariant: the order of every sum is fixed by the batch alone, so equal batches give equal
//! gradients.

use std::collections::BTreeMap;

use gemm::Parallelism;

use crate::model::{Encoded, Layer, Parameters};

/// What a batch went through: `[rows, width]` before and after each layer.
pub struct Pass {
    n_rows: usize,
    /// Input of each layer: the dense features, then the hidden activations.
    inputs: Vec<Vec<f32>>,
    /// `[rows, n_outputs]`.
    pub outputs: Vec<f32>,
}

/// The slope of the loss in every parameter.
pub struct Slopes {
    /// Weight and bias of each layer.
    pub layers: Vec<(Vec<f32>, Vec<f32>)>,
    /// Rows of hashed features.
    pub sparse: BTreeMap<u32, Vec<f32>>,
}

impl Pass {
    /// Outputs for `rows`, with what [`Pass::backward`] needs.
    pub fn forward(parameters: &Parameters, rows: &[&Encoded]) -> Pass {
        let n_rows = rows.len();
        let mut inputs = Vec::with_capacity(parameters.layers.len());
        let mut x: Vec<f32> = Vec::with_capacity(n_rows * parameters.layers[0].n_in);
        rows.iter().for_each(|row| x.extend_from_slice(&row.dense));
        for (index, layer) in parameters.layers.iter().enumerate() {
            let mut z = affine(layer, &x, n_rows);
            if index == 0 {
                add_sparse(parameters, rows, &mut z);
            }
            inputs.push(x);
            if index + 1 < parameters.layers.len() {
                z.iter_mut().for_each(|z| *z = z.max(0.0));
            }
            x = z;
        }
        Pass {
            n_rows,
            inputs,
            outputs: x,
        }
    }

    /// From the slopes of the loss in the outputs to those in the parameters.
    pub fn backward(
        &self,
        parameters: &Parameters,
        rows: &[&Encoded],
        mut slopes: Vec<f32>,
    ) -> Slopes {
        let mut layers = Vec::with_capacity(parameters.layers.len());
        for (index, layer) in parameters.layers.iter().enumerate().rev() {
            let x = &self.inputs[index];
            let mut weight = vec![0.0; layer.n_out * layer.n_in];
            // dW [out, in] = dZ^T [out, rows] X [rows, in]
            let left = Matrix::transposed(&slopes, layer.n_out);
            multiply(
                &mut weight,
                layer.n_in,
                left,
                Matrix::plain(x, layer.n_in),
                self.n_rows,
            );
            let mut bias = vec![0.0; layer.n_out];
            for row in slopes.chunks_exact(layer.n_out) {
                bias.iter_mut().zip(row).for_each(|(sum, s)| *sum += s);
            }
            layers.push((weight, bias));
            if index > 0 {
                // dX [rows, in] = dZ [rows, out] W [out, in], where the ReLU let it through.
                let mut back = vec![0.0; self.n_rows * layer.n_in];
                let left = Matrix::plain(&slopes, layer.n_out);
                let right = Matrix::plain(&layer.weight, layer.n_in);
                multiply(&mut back, layer.n_in, left, right, layer.n_out);
                for (slope, x) in back.iter_mut().zip(x) {
                    if *x <= 0.0 {
                        *slope = 0.0;
                    }
                }
                slopes = back;
            }
        }
        layers.reverse();
        Slopes {
            layers,
            sparse: sparse_slopes(rows, &slopes, parameters.layers[0].n_out),
        }
    }
}

impl Slopes {
    /// The squared length of all slopes together; not finite when any of them is not.
    pub fn squared_norm(&self) -> f32 {
        let dense = self.layers.iter().flat_map(|(weight, bias)| [weight, bias]);
        dense.chain(self.sparse.values()).map(|s| squares(s)).sum()
    }

    /// Multiplies every slope.
    pub fn scale(&mut self, factor: f32) {
        let dense = self
            .layers
            .iter_mut()
            .flat_map(|(weight, bias)| [weight, bias]);
        for slopes in dense.chain(self.sparse.values_mut()) {
            slopes.iter_mut().for_each(|slope| *slope *= factor);
        }
    }
}

/// The sum of squares over sixteen lanes, so that its order is the same on every CPU.
fn squares(values: &[f32]) -> f32 {
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

/// `Z [rows, out] = X [rows, in] W^T + b`.
fn affine(layer: &Layer, x: &[f32], n_rows: usize) -> Vec<f32> {
    let mut z = vec![0.0; n_rows * layer.n_out];
    if layer.n_in > 0 {
        let right = Matrix::transposed(&layer.weight, layer.n_in);
        multiply(
            &mut z,
            layer.n_out,
            Matrix::plain(x, layer.n_in),
            right,
            layer.n_in,
        );
    }
    for row in z.chunks_exact_mut(layer.n_out) {
        row.iter_mut().zip(&layer.bias).for_each(|(z, b)| *z += b);
    }
    z
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

fn sparse_slopes(rows: &[&Encoded], slopes: &[f32], width: usize) -> BTreeMap<u32, Vec<f32>> {
    let mut sums: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
    for (row, slopes) in rows.iter().zip(slopes.chunks_exact(width)) {
        for (bucket, value) in &row.sparse {
            let sum = sums.entry(*bucket).or_insert_with(|| vec![0.0; width]);
            sum.iter_mut()
                .zip(slopes)
                .for_each(|(sum, s)| *sum += value * s);
        }
    }
    sums
}

/// A row-major matrix as `gemm` takes it.
struct Matrix<'a> {
    values: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    fn plain(values: &'a [f32], n_columns: usize) -> Matrix<'a> {
        Matrix {
            values,
            row_stride: n_columns,
            column_stride: 1,
        }
    }

    /// The transpose of a matrix stored with `n_columns` columns.
    fn transposed(values: &'a [f32], n_columns: usize) -> Matrix<'a> {
        Matrix {
            values,
            row_stride: 1,
            column_stride: n_columns,
        }
    }
}

/// `out [m, n_columns] = left [m, inner] right [inner, n_columns]`.
fn multiply(out: &mut [f32], n_columns: usize, left: Matrix, right: Matrix, inner: usize) {
    if out.is_empty() || inner == 0 {
        return;
    }
    let n_rows = out.len() / n_columns;
    assert_eq!(out.len(), n_rows * n_columns);
    assert_eq!(left.values.len(), n_rows * inner);
    assert_eq!(right.values.len(), inner * n_columns);
    // SAFETY: the assertions say that every index the strides lead to is inside its slice.
    unsafe {
        gemm::gemm(
            n_rows,
            n_columns,
            inner,
            out.as_mut_ptr(),
            1,
            n_columns as isize,
            false,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Network;

    fn rows() -> [Encoded; 2] {
        let row = |dense: [f32; 3], sparse: &[(u32, f32)]| Encoded {
            dense: dense.to_vec(),
            sparse: sparse.to_vec(),
        };
        [
            row([0.5, -1.0, 2.0], &[(3, 1.0), (7, 0.5)]),
            row([-0.3, 0.8, 0.1], &[(3, 2.0)]),
        ]
    }

    fn parameters() -> Parameters {
        let mut parameters = Parameters::new(&[3, 5, 2], 16, 3);
        let last = &mut parameters.layers[1].weight;
        last.iter_mut()
            .enumerate()
            .for_each(|(i, w)| *w = 0.1 * (i as f32 - 4.0));
        parameters.sparse.row_mut(3)[1] = 0.7;
        parameters
    }

    /// A loss with known slopes: the sum of `outputs * [1, -2, 3, -4]`.
    const SLOPES: [f32; 4] = [1.0, -2.0, 3.0, -4.0];

    fn loss(parameters: &Parameters) -> f32 {
        let rows = rows();
        let pass = Pass::forward(parameters, &[&rows[0], &rows[1]]);
        pass.outputs.iter().zip(SLOPES).map(|(o, s)| o * s).sum()
    }

    #[test]
    fn slopes_are_the_derivatives_of_the_loss() {
        let parameters = parameters();
        let rows = rows();
        let rows = [&rows[0], &rows[1]];
        let slopes =
            Pass::forward(&parameters, &rows).backward(&parameters, &rows, SLOPES.to_vec());
        let check = |name: &str, slope: f32, nudge: &dyn Fn(&mut Parameters, f32)| {
            let moved = |step: f32| {
                let mut moved = parameters.clone();
                nudge(&mut moved, step);
                loss(&moved)
            };
            let numeric = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((numeric - slope).abs() < 1e-2, "{name}: {numeric} {slope}");
        };
        for (index, (weight, bias)) in slopes.layers.iter().enumerate() {
            for (at, slope) in weight.iter().enumerate() {
                check("weight", *slope, &|p, step| {
                    p.layers[index].weight[at] += step
                });
            }
            for (at, slope) in bias.iter().enumerate() {
                check("bias", *slope, &|p, step| p.layers[index].bias[at] += step);
            }
        }
        for (bucket, row) in &slopes.sparse {
            for (at, slope) in row.iter().enumerate() {
                check("sparse", *slope, &|p, step| {
                    p.sparse.row_mut(*bucket)[at] += step
                });
            }
        }
    }

    #[test]
    fn the_pass_agrees_with_the_served_network() {
        let rows = rows();
        let pass = Pass::forward(&parameters(), &[&rows[0], &rows[1]]);
        let served = Network::new(&parameters()).forward(&rows);
        for (ours, theirs) in pass.outputs.iter().zip(served) {
            assert!((ours - theirs).abs() < 1e-5);
        }
    }
}
