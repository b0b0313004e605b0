//! A multilayer perceptron as candle computes it, on the processor or on a GPU.
//!
//! Invariant: a [`Network`] is an immutable deep copy of dense parameters; nothing that learns
//! holds the same storage.

mod apart;
mod dense;
#[cfg(target_arch = "x86_64")]
mod fma;
pub(crate) mod layers;
mod product;
mod training;
pub(crate) mod weight_check;

use std::borrow::Borrow;
use std::sync::{Arc, Mutex};

use crate::device::{self, Device, Use};
use crate::model::encoders::features::Encoded;
use crate::model::linear_algebra::sparse::SparseTable;
use dense::DenseLayers;
use layers::{Layer, Parameters, embed};
use product::{SMALL_PRODUCT, multiply};
pub use training::{Rule, Training};

/// Rows that are computed together before others have a turn, if their outputs allow it.
const SLICE_ROWS: usize = 32;
/// Products of at most so many rows and columns are summed apart where their sums are longer than this, as
/// small products are.
const FEW: usize = 64;
const LONG_SUM: usize = 512;

/// A multilayer perceptron that answers.
#[derive(Clone, Debug)]
pub struct Network {
    place: LayerLocation,
    sparse: SparseTable,
    n_dense: usize,
}

/// The device of the dense layers.
#[derive(Clone, Debug)]
enum LayerLocation {
    Processor(Arc<Vec<Layer>>),
    Device(Arc<Elsewhere>),
}

/// Dense layers for a device, which takes them when it is first asked, and again until it has room.
#[derive(Debug)]
struct Elsewhere {
    device: Device,
    layers: Vec<Layer>,
    taken: Mutex<Option<DenseLayers>>,
}

impl Network {
    /// Copies the dense parameters and shares the sparse ones.
    pub fn new(parameters: &Parameters) -> Network {
        Network {
            place: LayerLocation::Processor(Arc::new(parameters.layers.clone())),
            sparse: parameters.sparse.clone(),
            n_dense: parameters.layers[0].n_in,
        }
    }

    /// A network of these parameters, to be computed on this device.
    pub fn on(parameters: &Parameters, device: Device) -> Network {
        if device == Device::Cpu {
            return Network::new(parameters);
        }
        Network {
            place: LayerLocation::Device(Arc::new(Elsewhere {
                device,
                layers: parameters.layers.clone(),
                taken: Mutex::new(None),
            })),
            sparse: parameters.sparse.clone(),
            n_dense: parameters.layers[0].n_in,
        }
    }

    /// True if another device than the processor is to compute it.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self.place, LayerLocation::Device(_))
    }

    /// Outputs `[rows, n_outputs]` for encoded rows.
    ///
    /// # Errors
    /// The device that is to compute it is not there, has no room, or fails. The processor never
    /// does.
    pub fn forward(&self, rows: &[impl Borrow<Encoded> + Sync]) -> Result<Vec<f32>, device::Error> {
        match &self.place {
            // As gemm would, and sooner.
            LayerLocation::Processor(layers) if rows.len() == 1 && self.shares_passes() => {
                Ok(self.compute(layers, rows, forward_apart))
            }
            LayerLocation::Processor(layers) => Ok(self.compute(layers, rows, forward)),
            LayerLocation::Device(elsewhere) => {
                let outputs = elsewhere.layers()?.answer(&self.sparse, rows);
                outputs.map_err(device::Error::failed("answer"))
            }
        }
    }

    /// True if rows of several requests can be computed together: [`Network::forward_apart`].
    pub(crate) fn shares_passes(&self) -> bool {
        match &self.place {
            LayerLocation::Processor(layers) => {
                apart::is_supported() && layers.iter().all(apart::takes)
            }
            LayerLocation::Device(_) => false,
        }
    }

    /// Outputs `[rows, n_outputs]` for a few encoded rows, each of which has those that it has alone, to the bit;
    /// none where rows cannot be computed so.
    ///
    /// # Panics
    /// When there are more than 256 rows.
    pub(crate) fn forward_apart(&self, rows: &[impl Borrow<Encoded>]) -> Option<Vec<f32>> {
        match &self.place {
            LayerLocation::Processor(layers) if self.shares_passes() => {
                Some(self.compute(layers, rows, forward_apart))
            }
            _ => None,
        }
    }

    /// The number of rows of a batch that may be computed apart so that their outputs stay those of the whole
    /// batch. gemm adds up in another order for a single row, for small products, and for few rows and
    /// columns with a long sum; a slice has to be on the same side of each of these as the batch is.
    pub(crate) fn slice_rows(&self, n_rows: usize) -> usize {
        let LayerLocation::Processor(layers) = &self.place else {
            return n_rows.max(1);
        };
        let mut slice_rows = SLICE_ROWS;
        for layer in layers.iter() {
            if layer.n_out * n_rows > SMALL_PRODUCT {
                slice_rows = slice_rows.max(SMALL_PRODUCT / layer.n_out.max(1) + 1);
            }
            if layer.n_in > LONG_SUM && layer.n_out <= FEW && n_rows > FEW {
                slice_rows = slice_rows.max(FEW + 1);
            }
        }
        slice_rows
    }

    fn compute(
        &self,
        layers: &[Layer],
        rows: &[impl Borrow<Encoded>],
        forward: impl Fn(&Layer, &[f32], usize) -> Vec<f32>,
    ) -> Vec<f32> {
        let mut x = Vec::with_capacity(rows.len() * self.n_dense);
        rows.iter()
            .for_each(|row| x.extend_from_slice(&row.borrow().dense));
        let mut z = forward(&layers[0], &x, rows.len());
        if self.sparse.n_buckets() > 0 {
            let width = self.sparse.row_len();
            let mut embedded = vec![0.0; width];
            for (row, z) in rows.iter().zip(z.chunks_exact_mut(width)) {
                embedded.fill(0.0);
                embed(&self.sparse, row.borrow(), &mut embedded);
                z.iter_mut().zip(&embedded).for_each(|(z, sum)| *z += sum);
            }
        }
        for layer in &layers[1..] {
            z.iter_mut().for_each(|value| *value = value.max(0.0));
            z = forward(layer, &z, rows.len());
        }
        z
    }
}

impl Elsewhere {
    fn layers(&self) -> Result<DenseLayers, device::Error> {
        let mut taken = self.taken.lock().expect("nothing panics under it");
        if let Some(layers) = &*taken {
            return Ok(layers.clone());
        }
        let device = self.device.open(Use::Answers)?;
        let layers = DenseLayers::new(&self.layers, &device);
        let layers = layers.map_err(device::Error::failed("take the network"))?;
        Ok(taken.insert(layers).clone())
    }
}

/// `x` `[rows, in]` through one layer, `[rows, out]`, in the thread of the caller.
fn forward(layer: &Layer, x: &[f32], n_rows: usize) -> Vec<f32> {
    let mut z = vec![0.0; n_rows * layer.n_out];
    multiply(layer, 0..layer.n_out, x, &mut z);
    add_bias(layer, &mut z);
    z
}

/// `x` `[rows, in]` through one layer, where each row has the outputs that it has alone.
fn forward_apart(layer: &Layer, x: &[f32], n_rows: usize) -> Vec<f32> {
    let mut z = apart::forward(layer, x, n_rows);
    add_bias(layer, &mut z);
    z
}

fn add_bias(layer: &Layer, z: &mut [f32]) {
    for z in z.chunks_exact_mut(layer.n_out.max(1)) {
        z.iter_mut()
            .zip(&layer.bias)
            .for_each(|(z, bias)| *z += bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_the_formula() {
        // PyTorch's numbering: 0 is the first Linear, 2 the one behind the ReLU.
        let parameters = Parameters {
            layers: vec![
                Layer {
                    n_in: 2,
                    n_out: 2,
                    weight: vec![1.0, 2.0, -1.0, 0.5],
                    bias: vec![0.5, -0.5],
                },
                Layer {
                    n_in: 2,
                    n_out: 1,
                    weight: vec![2.0, 3.0],
                    bias: vec![1.0],
                },
            ],
            sparse: SparseTable::new(0, 2),
        };
        let row = |dense: [f32; 2]| Encoded {
            dense: dense.to_vec(),
            sparse: vec![],
            past: None,
        };
        let outputs = Network::new(&parameters).forward(&[&row([1.0, 1.0]), &row([-4.0, 2.0])]);
        // relu(3.5, -1.0) -> 2 * 3.5 + 1; relu(0.5, 4.5) -> 1.0 + 13.5 + 1.
        assert_eq!(outputs.unwrap(), [8.0, 15.5]);
    }

    #[test]
    fn p4_a_slice_of_a_batch_has_the_outputs_of_the_batch() {
        let shapes: [&[usize]; 6] = [
            &[784, 256, 256, 10],
            &[784, 10],
            &[700, 64, 3],
            &[600, 1],
            &[20, 8, 1],
            &[2, 128, 2],
        ];
        for (shape, n_rows) in shapes
            .iter()
            .flat_map(|s| [1, 33, 66, 97, 700].map(|n| (s, n)))
        {
            let network = Network::new(&Parameters::new(shape, 0, 7));
            let value = |row: usize, at: usize| ((row * 31 + at * 17) % 101) as f32 / 50.0 - 1.0;
            let row = |row| Encoded {
                dense: (0..shape[0]).map(|at| value(row, at)).collect(),
                sparse: vec![],
                past: None,
            };
            let rows: Vec<Encoded> = (0..n_rows).map(row).collect();
            let whole = network.forward(&rows).unwrap();
            let size = network.slice_rows(n_rows);
            let n_slices = (n_rows / size).max(1);
            let mut sliced = Vec::new();
            for index in 0..n_slices {
                let end = if index + 1 == n_slices {
                    n_rows
                } else {
                    (index + 1) * size
                };
                sliced.extend(network.forward(&rows[index * size..end]).unwrap());
            }
            let bits = |all: &[f32]| all.iter().map(|z| z.to_bits()).collect::<Vec<u32>>();
            assert!(
                bits(&whole) == bits(&sliced),
                "{shape:?} {n_rows} by {size}"
            );
        }
    }

    #[test]
    fn p9_a_missing_device_is_named_in_the_error() {
        let network = Network::on(&Parameters::new(&[2, 3, 1], 0, 1), Device::Cuda(63));
        let row = Encoded {
            dense: vec![1.0, 2.0],
            sparse: vec![],
            past: None,
        };
        let error = network.forward(&[&row]).unwrap_err();
        assert!(
            error.to_string().starts_with("device cuda:63 is not "),
            "{error}"
        );
    }

    #[test]
    fn hashed_features_add_their_rows() {
        let mut parameters = Parameters::new(&[0, 2], 16, 1);
        parameters.layers[0].bias = vec![0.5, 0.0];
        parameters.sparse.row_mut(3).copy_from_slice(&[1.0, 2.0]);
        let network = Network::new(&parameters);
        let row = |sparse: &[(u32, f32)]| Encoded {
            dense: vec![],
            sparse: sparse.to_vec(),
            past: None,
        };
        let outputs = network.forward(&[&row(&[(3, 2.0), (5, 9.0)]), &row(&[])]);
        assert_eq!(outputs.unwrap(), [2.5, 4.0, 0.5, 0.0]);
    }

    #[test]
    fn later_learning_does_not_reach_a_network() {
        let mut parameters = Parameters::new(&[1, 1], 16, 1);
        let network = Network::new(&parameters);
        parameters.layers[0].bias[0] = 5.0;
        parameters.sparse.row_mut(0)[0] = 5.0;
        let row = Encoded {
            dense: vec![1.0],
            sparse: vec![(0, 1.0)],
            past: None,
        };
        assert_eq!(network.forward(&[&row]).unwrap(), [0.0]);
    }
}
