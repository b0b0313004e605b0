//! What computes networks and encoders: candle, on the processor or on a GPU.
//!
//! Invariant: a [`Network`] is an immutable deep copy of dense parameters; nothing that learns
//! holds the same storage. What answers and what learns have a stream each on a GPU, so neither
//! waits for the other, and no value of one is ever seen by the other.

mod dense;
mod training;

use std::borrow::Borrow;
use std::sync::{Arc, Mutex};

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
    place: Place,
    sparse: SparseTable,
    n_dense: usize,
}

/// Where the dense layers are computed.
#[derive(Clone, Debug)]
enum Place {
    Processor(Vec<Linear>),
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
        let layers = parameters.layers.iter().map(linear);
        let layers = layers.collect::<candle_core::Result<_>>();
        let layers = layers.expect("a layer holds as many values as its shape says");
        Network {
            place: Place::Processor(layers),
            sparse: parameters.sparse.clone(),
            n_dense: parameters.layers[0].n_in,
        }
    }

    /// The same, to be computed on this device.
    pub fn on(parameters: &Parameters, device: Device) -> Network {
        if device == Device::Cpu {
            return Network::new(parameters);
        }
        Network {
            place: Place::Device(Arc::new(Elsewhere {
                device,
                layers: parameters.layers.clone(),
                taken: Mutex::new(None),
            })),
            sparse: parameters.sparse.clone(),
            n_dense: parameters.layers[0].n_in,
        }
    }

    /// Whether another device than the processor is to compute it.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.place, Place::Device(_))
    }

    /// Outputs `[rows, n_outputs]` for encoded rows.
    ///
    /// # Errors
    /// One sentence: the device that is to compute it is not there, has no room, or fails. The
    /// processor never does.
    pub fn forward(&self, rows: &[impl Borrow<Encoded>]) -> Result<Vec<f32>, String> {
        let outputs = match &self.place {
            Place::Processor(layers) => self.compute(layers, rows),
            Place::Device(elsewhere) => elsewhere.layers()?.answer(&self.sparse, rows),
        };
        outputs.map_err(|error| format!("the device cannot answer: {}", in_a_line(&error)))
    }

    fn compute(
        &self,
        layers: &[Linear],
        rows: &[impl Borrow<Encoded>],
    ) -> candle_core::Result<Vec<f32>> {
        let mut x = self.first(&layers[0], rows)?;
        for layer in &layers[1..] {
            x = layer.forward(&x.relu()?)?;
        }
        x.flatten_all()?.to_vec1()
    }

    /// What the first layer gives, `[rows, width]`.
    fn first(&self, layer: &Linear, rows: &[impl Borrow<Encoded>]) -> candle_core::Result<Tensor> {
        let device = &candle_core::Device::Cpu;
        let width = self.sparse.row_len();
        let dense = match self.n_dense {
            0 => Tensor::zeros((rows.len(), width), candle_core::DType::F32, device)?
                .broadcast_add(layer.bias().expect("every layer has a bias"))?,
            n_dense => {
                let mut x = Vec::with_capacity(rows.len() * n_dense);
                rows.iter()
                    .for_each(|row| x.extend_from_slice(&row.borrow().dense));
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
                    .for_each(|(row, sum)| embed(&self.sparse, row.borrow(), sum));
                dense + Tensor::from_vec(embedded, (rows.len(), width), device)?
            }
        }
    }
}

impl Elsewhere {
    fn layers(&self) -> Result<DenseLayers, String> {
        let mut taken = self.taken.lock().map_err(|error| error.to_string())?;
        if let Some(layers) = &*taken {
            return Ok(layers.clone());
        }
        let device = self.device.open(Use::Answers)?;
        let layers = DenseLayers::new(&self.layers, &device);
        let layers = layers.map_err(|error| {
            format!("the device cannot take the network: {}", in_a_line(&error))
        })?;
        Ok(taken.insert(layers).clone())
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

/// The numeric profile: within one, the same journal gives the same bits. It names the revision of
/// the learning rules from the second on. Of a model that computes on a device it names that, too: the GPU, whichever its number, and the interface it is driven by.
pub fn profile(device: Device, revision: u32) -> String {
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
    let rules = match revision {
        1 => String::new(),
        revision => format!(", rules {revision}"),
    };
    let processor = format!("cpu {} {level} f32{rules}", std::env::consts::ARCH);
    match device {
        Device::Cpu => processor,
        Device::Candle => format!("{processor}, {device}"),
        Device::Cuda(_) => format!("{processor}, {}", gpu(device)),
    }
}

/// What a GPU is, where it is there.
fn gpu(device: Device) -> String {
    match device.open(Use::Answers) {
        #[cfg(feature = "cuda")]
        Ok(candle_core::Device::Cuda(cuda)) => {
            let name = cuda.cuda_stream().context().name();
            let name = name.unwrap_or_else(|error| error.to_string());
            format!(
                "{name} cuda {}",
                candle_core::cuda_backend::cudarc::driver::sys::CUDA_VERSION
            )
        }
        _ => device.to_string(),
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
        let outputs = Network::new(&parameters).forward(&[&row([1.0, 1.0]), &row([-4.0, 2.0])]);
        // relu(3.5, -1.0) -> 2 * 3.5 + 1; relu(0.5, 4.5) -> 1.0 + 13.5 + 1.
        assert_eq!(outputs.unwrap(), [8.0, 15.5]);
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
    fn p9_a_device_that_is_not_there_is_told() {
        let network = Network::on(&Parameters::new(&[2, 3, 1], 0, 1), Device::Cuda(63));
        let row = Encoded {
            dense: vec![1.0, 2.0],
            sparse: vec![],
        };
        let told = network.forward(&[&row]).unwrap_err();
        assert!(told.starts_with("device cuda:63 is not "), "{told}");
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
        };
        assert_eq!(network.forward(&[&row]).unwrap(), [0.0]);
    }
}
