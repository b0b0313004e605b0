//! What computes a served network: candle, on the CPU.
//!
//! Invariant: a [`Network`] is an immutable deep copy of dense parameters; nothing that learns
//! holds the same storage.

use candle_core::Tensor;
use candle_nn::{Linear, Module};

use super::features::Encoded;
use super::layers::{Layer, Parameters};
use super::sparse::SparseTable;

/// What a model computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
}

impl Device {
    /// `cpu`, or `cuda:N`.
    pub fn parse(text: &str) -> Option<Device> {
        match (text, text.strip_prefix("cuda:")) {
            ("cpu", _) => Some(Device::Cpu),
            (_, Some(number)) => match number.parse() {
                Ok(number @ 0..64) => Some(Device::Cuda(number)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes hold of it.
    ///
    /// # Errors
    /// One sentence: this build or this machine has none.
    pub(super) fn open(self) -> Result<candle_core::Device, String> {
        match self {
            Device::Cpu => Ok(candle_core::Device::Cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => candle_core::Device::new_cuda(number)
                .map_err(|error| format!("device {self} is not there: {error}").replace('\n', " ")),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(format!(
                "device {self} is not in this build: take \"cpu\", or build with --features cuda"
            )),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// A multilayer perceptron that answers.
#[derive(Clone, Debug)]
pub struct Network {
    layers: Vec<Linear>,
    sparse: SparseTable,
    n_dense: usize,
}

impl Network {
    /// Copies the dense parameters and shares the sparse ones.
    pub fn new(parameters: &Parameters) -> Network {
        let linear = |layer: &Layer| -> candle_core::Result<Linear> {
            let weight = Tensor::from_slice(
                &layer.weight,
                (layer.n_out, layer.n_in),
                &candle_core::Device::Cpu,
            );
            let bias = Tensor::from_slice(&layer.bias, layer.n_out, &candle_core::Device::Cpu);
            Ok(Linear::new(weight?, Some(bias?)))
        };
        let layers: candle_core::Result<Vec<_>> = parameters.layers.iter().map(linear).collect();
        Network {
            layers: layers.expect("a layer holds as many values as its shape says"),
            sparse: parameters.sparse.clone(),
            n_dense: parameters.layers[0].n_in,
        }
    }

    /// Outputs `[rows, n_outputs]` for encoded rows.
    pub fn forward(&self, rows: &[Encoded]) -> Vec<f32> {
        self.compute(rows)
            .expect("the layers fit the encoder that made the rows")
    }

    fn compute(&self, rows: &[Encoded]) -> candle_core::Result<Vec<f32>> {
        let mut x = self.first(rows)?;
        for layer in &self.layers[1..] {
            x = layer.forward(&x.relu()?)?;
        }
        x.flatten_all()?.to_vec1()
    }

    /// What the first layer gives, `[rows, width]`.
    fn first(&self, rows: &[Encoded]) -> candle_core::Result<Tensor> {
        let layer = &self.layers[0];
        let width = self.sparse.row_len();
        let dense = match self.n_dense {
            0 => Tensor::zeros(
                (rows.len(), width),
                candle_core::DType::F32,
                &candle_core::Device::Cpu,
            )?
            .broadcast_add(layer.bias().expect("every layer has a bias"))?,
            n_dense => {
                let mut x = Vec::with_capacity(rows.len() * n_dense);
                rows.iter().for_each(|row| x.extend_from_slice(&row.dense));
                layer.forward(&Tensor::from_vec(
                    x,
                    (rows.len(), n_dense),
                    &candle_core::Device::Cpu,
                )?)?
            }
        };
        match self.sparse.n_buckets() {
            0 => Ok(dense),
            _ => {
                let embedded = embed(&self.sparse, rows);
                dense + Tensor::from_vec(embedded, (rows.len(), width), &candle_core::Device::Cpu)?
            }
        }
    }
}

/// The weighted sums of the rows of hashed features, `[rows, row_len]`.
fn embed(sparse: &SparseTable, rows: &[Encoded]) -> Vec<f32> {
    let width = sparse.row_len();
    let mut sums = vec![0.0; rows.len() * width];
    for (row, sum) in rows.iter().zip(sums.chunks_exact_mut(width)) {
        for (bucket, value) in &row.sparse {
            let Some(weights) = sparse.row(*bucket) else {
                continue;
            };
            for (sum, weight) in sum.iter_mut().zip(weights) {
                *sum += value * weight;
            }
        }
    }
    sums
}

/// The numeric profile: within one, the same journal gives the same bits.
pub fn profile() -> String {
    #[cfg(target_arch = "x86_64")]
    let level = if is_x86_feature_detected!("avx512f") {
        "avx512f"
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "avx2+fma"
    } else {
        "sse2"
    };
    #[cfg(not(target_arch = "x86_64"))]
    let level = "portable";
    format!("cpu {} {level} f32", std::env::consts::ARCH)
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
        };
        let outputs = Network::new(&parameters).forward(&[row([1.0, 1.0]), row([-4.0, 2.0])]);
        // relu(3.5, -1.0) -> 2 * 3.5 + 1; relu(0.5, 4.5) -> 1.0 + 13.5 + 1.
        assert_eq!(outputs, [8.0, 15.5]);
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
        };
        let outputs = network.forward(&[row(&[(3, 2.0), (5, 9.0)]), row(&[])]);
        assert_eq!(outputs, [2.5, 4.0, 0.5, 0.0]);
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
        };
        assert_eq!(network.forward(&[row]), [0.0]);
    }
}
