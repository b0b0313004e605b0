//! What computes served networks and encoders: candle, on the processor or on a GPU.
//!
//! Invariant: a [`Network`] is an immutable deep copy of dense parameters; nothing that learns
//! holds the same storage, and nothing that learns is computed on a GPU. A network always stands on
//! the processor, too: it answers where the device fails.

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

    /// Whether it is there.
    ///
    /// # Errors
    /// One sentence: this build or this machine has none.
    pub fn check(self) -> Result<(), String> {
        self.open().map(drop)
    }

    /// Takes hold of it; errors as [`Device::check`].
    pub(super) fn open(self) -> Result<candle_core::Device, String> {
        match self {
            Device::Cpu => Ok(candle_core::Device::Cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => opened(number)
                .map_err(|error| format!("device {self} is not there: {}", in_a_line(&error))),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(format!(
                "device {self} is not in this build: take \"cpu\", or build with --features cuda"
            )),
        }
    }
}

/// What candle says went wrong, without the backtrace that its errors may carry.
pub(super) fn in_a_line(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => in_a_line(inner),
        other => other.to_string().replace('\n', " "),
    }
}

/// A GPU is taken hold of once: each hold has memory and streams of its own.
#[cfg(feature = "cuda")]
fn opened(number: usize) -> candle_core::Result<candle_core::Device> {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    static OPENED: Mutex<BTreeMap<usize, candle_core::Device>> = Mutex::new(BTreeMap::new());
    let mut all = OPENED.lock().expect("nothing panics under it");
    if let Some(device) = all.get(&number) {
        return Ok(device.clone());
    }
    let device = candle_core::Device::new_cuda(number)?;
    all.insert(number, device.clone());
    Ok(device)
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
    layers: Layers,
    /// The same on another device, which is asked first.
    elsewhere: Option<Layers>,
    sparse: SparseTable,
    n_dense: usize,
}

/// The dense layers on one device.
#[derive(Clone, Debug)]
struct Layers {
    device: candle_core::Device,
    linear: Vec<Linear>,
}

impl Network {
    /// Copies the dense parameters and shares the sparse ones.
    pub fn new(parameters: &Parameters) -> Network {
        let layers = Layers::new(&parameters.layers, candle_core::Device::Cpu);
        Network {
            layers: layers.expect("a layer holds as many values as its shape says"),
            elsewhere: None,
            sparse: parameters.sparse.clone(),
            n_dense: parameters.layers[0].n_in,
        }
    }

    /// The same, to be computed on this device where it is there and has room.
    pub fn on(parameters: &Parameters, device: Device) -> Network {
        let elsewhere = match device {
            Device::Cpu => None,
            Device::Cuda(_) => device.open().ok(),
        };
        let layers = |device| Layers::new(&parameters.layers, device).ok();
        Network {
            elsewhere: elsewhere.and_then(layers),
            ..Network::new(parameters)
        }
    }

    /// Outputs `[rows, n_outputs]` for encoded rows.
    pub fn forward(&self, rows: &[Encoded]) -> Vec<f32> {
        let elsewhere = self.elsewhere.as_ref();
        if let Some(Ok(outputs)) = elsewhere.map(|layers| self.compute(layers, rows)) {
            return outputs;
        }
        self.compute(&self.layers, rows)
            .expect("the layers fit the encoder that made the rows")
    }

    fn compute(&self, layers: &Layers, rows: &[Encoded]) -> candle_core::Result<Vec<f32>> {
        let mut x = self.first(layers, rows)?;
        for layer in &layers.linear[1..] {
            x = layer.forward(&x.relu()?)?;
        }
        x.flatten_all()?.to_vec1()
    }

    /// What the first layer gives, `[rows, width]`.
    fn first(&self, layers: &Layers, rows: &[Encoded]) -> candle_core::Result<Tensor> {
        let (layer, device) = (&layers.linear[0], &layers.device);
        let width = self.sparse.row_len();
        let dense = match self.n_dense {
            0 => Tensor::zeros((rows.len(), width), candle_core::DType::F32, device)?
                .broadcast_add(layer.bias().expect("every layer has a bias"))?,
            n_dense => {
                let mut x = Vec::with_capacity(rows.len() * n_dense);
                rows.iter().for_each(|row| x.extend_from_slice(&row.dense));
                layer.forward(&Tensor::from_vec(x, (rows.len(), n_dense), device)?)?
            }
        };
        match self.sparse.n_buckets() {
            0 => Ok(dense),
            _ => {
                let embedded = embed(&self.sparse, rows);
                dense + Tensor::from_vec(embedded, (rows.len(), width), device)?
            }
        }
    }
}

impl Layers {
    fn new(layers: &[Layer], device: candle_core::Device) -> candle_core::Result<Layers> {
        let linear = |layer: &Layer| -> candle_core::Result<Linear> {
            let weight = Tensor::from_slice(&layer.weight, (layer.n_out, layer.n_in), &device);
            let bias = Tensor::from_slice(&layer.bias, layer.n_out, &device);
            Ok(Linear::new(weight?, Some(bias?)))
        };
        let linear = layers.iter().map(linear).collect::<Result<_, _>>()?;
        Ok(Layers { device, linear })
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

/// The numeric profile: within one, the same journal gives the same bits. Of a model that computes
/// on a GPU it names that, too, since its answers depend on it.
pub fn profile(device: Device) -> String {
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
    let processor = format!("cpu {} {level} f32", std::env::consts::ARCH);
    match device {
        Device::Cpu => processor,
        Device::Cuda(_) => format!("{processor}, {device}"),
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
        };
        let outputs = Network::new(&parameters).forward(&[row([1.0, 1.0]), row([-4.0, 2.0])]);
        // relu(3.5, -1.0) -> 2 * 3.5 + 1; relu(0.5, 4.5) -> 1.0 + 13.5 + 1.
        assert_eq!(outputs, [8.0, 15.5]);
    }

    #[test]
    fn an_error_is_told_without_its_backtrace() {
        let error = candle_core::Error::WithBacktrace {
            inner: Box::new(candle_core::Error::Msg("no\nroom".to_owned())),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        assert_eq!(in_a_line(&error), "no room");
    }

    #[test]
    fn a_device_is_named_as_it_is_written() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda:7", Device::Cuda(7))] {
            assert_eq!(Device::parse(text), Some(device));
            assert_eq!(device.to_string(), text);
        }
        for text in ["", "cuda", "cuda:", "cuda:64", "cuda:-1", "gpu", "CPU"] {
            assert_eq!(Device::parse(text), None, "{text}");
        }
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
