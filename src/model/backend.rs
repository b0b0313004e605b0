//! What computes networks and encoders: candle, on the processor or on a GPU.
//!
//! Invariant: a [`Network`] is an immutable deep copy of dense parameters; nothing that learns
//! holds the same storage. What answers and what learns have a stream each on a GPU, so neither
//! waits for the other, and no value of one is ever seen by the other.

mod dense;
mod training;

use candle_core::Tensor;
use candle_nn::{Linear, Module};

use super::features::Encoded;
use super::layers::{Layer, Parameters};
use super::sparse::SparseTable;
use dense::DenseLayers;
pub use training::{Rule, Training};

/// What a model computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The processor, by the same steps as a GPU: what those steps are tested with.
    Candle,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
}

/// What a device is taken hold of for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Answers,
    Learning,
}

impl Device {
    /// `cpu`, `candle`, or `cuda:N`.
    pub fn parse(text: &str) -> Option<Device> {
        match (text, text.strip_prefix("cuda:")) {
            ("cpu", _) => Some(Device::Cpu),
            ("candle", _) => Some(Device::Candle),
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
        self.open(Use::Answers).map(drop)
    }

    /// Takes hold of it; errors as [`Device::check`].
    #[cfg_attr(
        not(feature = "cuda"),
        allow(unused_variables, reason = "only a GPU has streams")
    )]
    pub(super) fn open(self, purpose: Use) -> Result<candle_core::Device, String> {
        match self {
            Device::Cpu | Device::Candle => Ok(candle_core::Device::Cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => opened(number, purpose)
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

/// A GPU is taken hold of once for each use. A hold has one stream, whatever thread computes:
/// candle's default is one for each thread, and what a thread has yet to finish on its own another
/// would read too early.
#[cfg(feature = "cuda")]
fn opened(number: usize, purpose: Use) -> candle_core::Result<candle_core::Device> {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    type Holds = BTreeMap<(usize, Use), candle_core::Device>;
    static OPENED: Mutex<Holds> = Mutex::new(BTreeMap::new());
    let mut all = OPENED.lock().expect("nothing panics under it");
    if let Some(device) = all.get(&(number, purpose)) {
        return Ok(device.clone());
    }
    let device = candle_core::Device::new_cuda_with_stream(number)?;
    if let candle_core::Device::Cuda(cuda) = &device {
        // SAFETY: what a hold makes is used on its own stream alone, in the order of that stream;
        // candle refuses to mix tensors of two holds.
        unsafe { cuda.disable_event_tracking() };
    }
    all.insert((number, purpose), device.clone());
    Ok(device)
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Candle => f.write_str("candle"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// A multilayer perceptron that answers.
#[derive(Clone, Debug)]
pub struct Network {
    layers: Vec<Linear>,
    /// The same on another device, or why it is not there.
    elsewhere: Option<Result<DenseLayers, String>>,
    sparse: SparseTable,
    n_dense: usize,
}

impl Network {
    /// Copies the dense parameters and shares the sparse ones.
    pub fn new(parameters: &Parameters) -> Network {
        let layers = parameters.layers.iter().map(linear);
        let layers = layers.collect::<Result<_, _>>();
        Network {
            layers: layers.expect("a layer holds as many values as its shape says"),
            elsewhere: None,
            sparse: parameters.sparse.clone(),
            n_dense: parameters.layers[0].n_in,
        }
    }

    /// The same, to be computed on this device.
    pub fn on(parameters: &Parameters, device: Device) -> Network {
        let copied = |device: candle_core::Device| {
            let layers = DenseLayers::new(&parameters.layers, &device);
            layers.map_err(|error| in_a_line(&error))
        };
        let elsewhere = match device {
            Device::Cpu => None,
            Device::Candle | Device::Cuda(_) => Some(device.open(Use::Answers).and_then(copied)),
        };
        Network {
            elsewhere,
            ..Network::new(parameters)
        }
    }

    /// Whether another device than the processor is to compute it.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Outputs `[rows, n_outputs]` for encoded rows; the processor answers where its device fails.
    pub fn forward(&self, rows: &[Encoded]) -> Vec<f32> {
        let rows: Vec<&Encoded> = rows.iter().collect();
        let elsewhere = self.is_elsewhere().then(|| self.try_forward(&rows).ok());
        elsewhere.flatten().unwrap_or_else(|| {
            let outputs = self.compute(&rows);
            outputs.expect("the layers fit the encoder that made the rows")
        })
    }

    /// The same, from the device that is to compute it.
    ///
    /// # Errors
    /// One sentence: the device has no room for the network or for the rows, or fails.
    pub fn try_forward(&self, rows: &[&Encoded]) -> Result<Vec<f32>, String> {
        let outputs = match &self.elsewhere {
            None => self.compute(rows),
            Some(Ok(layers)) => layers.answer(&self.sparse, rows),
            Some(Err(why)) => return Err(format!("the device has not taken the network: {why}")),
        };
        outputs.map_err(|error| format!("the device cannot answer: {}", in_a_line(&error)))
    }

    fn compute(&self, rows: &[&Encoded]) -> candle_core::Result<Vec<f32>> {
        let mut x = self.first(rows)?;
        for layer in &self.layers[1..] {
            x = layer.forward(&x.relu()?)?;
        }
        x.flatten_all()?.to_vec1()
    }

    /// What the first layer gives, `[rows, width]`.
    fn first(&self, rows: &[&Encoded]) -> candle_core::Result<Tensor> {
        let (layer, device) = (&self.layers[0], &candle_core::Device::Cpu);
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
                let mut embedded = vec![0.0; rows.len() * width];
                let sums = embedded.chunks_exact_mut(width);
                rows.iter()
                    .zip(sums)
                    .for_each(|(row, sum)| embed(&self.sparse, row, sum));
                dense + Tensor::from_vec(embedded, (rows.len(), width), device)?
            }
        }
    }
}

fn linear(layer: &Layer) -> candle_core::Result<Linear> {
    let device = &candle_core::Device::Cpu;
    let weight = Tensor::from_slice(&layer.weight, (layer.n_out, layer.n_in), device);
    let bias = Tensor::from_slice(&layer.bias, layer.n_out, device);
    Ok(Linear::new(weight?, Some(bias?)))
}

/// Adds the weighted rows of a row's hashed features.
fn embed(sparse: &SparseTable, row: &Encoded, sum: &mut [f32]) {
    for (bucket, value) in &row.sparse {
        let Some(weights) = sparse.row(*bucket) else {
            continue;
        };
        for (sum, weight) in sum.iter_mut().zip(weights) {
            *sum += value * weight;
        }
    }
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
        Device::Candle | Device::Cuda(_) => format!("{processor}, {device}"),
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
    fn p9_a_device_that_fails_is_told_and_asked_otherwise_the_processor_answers() {
        let parameters = Parameters::new(&[2, 3, 1], 0, 1);
        let network = Network::on(&parameters, Device::Cuda(63));
        let row = Encoded {
            dense: vec![1.0, 2.0],
            sparse: vec![],
        };
        let told = network.try_forward(&[&row]).unwrap_err();
        let expected = "the device has not taken the network: device cuda:63 is not ";
        assert!(told.starts_with(expected), "{told}");
        let rows = [row];
        assert_eq!(
            network.forward(&rows),
            Network::new(&parameters).forward(&rows)
        );
    }

    #[test]
    fn a_device_is_named_as_it_is_written() {
        let devices = [Device::Cpu, Device::Candle, Device::Cuda(7)];
        for (text, device) in ["cpu", "candle", "cuda:7"].into_iter().zip(devices) {
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
