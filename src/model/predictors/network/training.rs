//! Updates of a network on a device: forward, backward and a step, as candle computes them.
//!
//! Invariant: nothing is changed before a step has been computed whole, so an update that fails
//! leaves the network as it was.

use candle_core::{Device, Result, Tensor};

use super::dense::{DenseLayers, LayerPlace};
use super::layers::{Layer, WEIGHT_MAX};
use crate::device::{self, Use, compute};
use crate::model::encoders::features::Encoded;
use crate::model::linear_algebra::sparse::SparseTable;

/// The dense layers of a network that learns on a device.
#[derive(Clone, Debug)]
pub struct Training {
    layers: DenseLayers,
    /// Fading means of the gradient and of its square, as long as the buffer.
    moments: Option<[Tensor; 2]>,
    /// Made when a first step is.
    constants: Option<Constants>,
    /// Inputs of each layer in the last forward pass.
    inputs: Vec<Tensor>,
    /// The gradients of the last backward pass with respect to the outputs of each layer.
    gradients: Vec<Tensor>,
}

/// The constants of every step.
#[derive(Clone, Debug)]
struct Constants {
    /// The mask of weights: one for a weight, zero for a bias or padding.
    is_weight: Tensor,
    /// The least and the largest that a value may be.
    bounds: [Tensor; 2],
    /// Indicators of the layer that a hidden value, or a gradient of one, belongs to: `[widths, 2
    /// hidden]`.
    sums: Option<Tensor>,
}

/// The rule that makes a step from a gradient.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// SGD.
    Descent {
        /// Learning rate.
        rate: f64,
    },
    /// AdamW.
    AdamW {
        /// The decay of both means.
        betas: [f64; 2],
        /// Learning rate, with the first mean's correction.
        rate: f64,
        /// The second mean's correction.
        correction: f64,
        /// Added to the root.
        epsilon: f64,
        /// The part of itself that a weight loses.
        decay: f64,
    },
}

impl Training {
    /// Copies layers to a device, with the means of their gradients where the rule has any.
    ///
    /// # Errors
    /// The device is not there or has no room.
    pub fn new(
        layers: &[Layer],
        moments: Option<[&[Layer]; 2]>,
        device: crate::device::Device,
    ) -> std::result::Result<Training, device::Error> {
        let device = device.open(Use::Learning)?;
        learned(Training::copy(layers, moments, &device))
    }

    fn copy(layers: &[Layer], moments: Option<[&[Layer]; 2]>, device: &Device) -> Result<Training> {
        let layers = DenseLayers::new(layers, device)?;
        let flat = |means| DenseLayers::means(means, device).map(|means| means.values().clone());
        let moments = match moments {
            Some([first, second]) => Some([flat(first)?, flat(second)?]),
            None => None,
        };
        Ok(Training {
            layers,
            moments,
            constants: None,
            inputs: Vec::new(),
            gradients: Vec::new(),
        })
    }

    /// The layers as they are.
    ///
    /// # Errors
    /// The device fails.
    pub fn layers(&self) -> std::result::Result<Vec<Layer>, device::Error> {
        learned(self.layers.read(self.layers.values()))
    }

    /// The means of the gradient and of its square, where the rule has any; errors as
    /// [`Training::layers`].
    pub fn moments(&self) -> std::result::Result<Option<[Vec<Layer>; 2]>, device::Error> {
        let read = |[first, second]: &[Tensor; 2]| -> Result<[Vec<Layer>; 2]> {
            Ok([self.layers.read(first)?, self.layers.read(second)?])
        };
        learned(self.moments.as_ref().map(read).transpose())
    }

    /// Outputs `[rows, n_outputs]`.
    ///
    /// # Errors
    /// The device has no room for the rows, or fails.
    pub fn forward(
        &mut self,
        sparse: &SparseTable,
        rows: &[&Encoded],
    ) -> std::result::Result<Vec<f32>, device::Error> {
        self.gradients.clear();
        self.inputs.clear();
        let layers = &self.layers;
        let computed = compute(layers.device(), || {
            let mut inputs = layers.forward(sparse, rows, rows.len())?;
            let outputs = inputs.pop().map(|outputs| outputs.flatten_all()?.to_vec1());
            Ok((inputs, outputs.transpose()?.unwrap_or_default()))
        });
        let (inputs, outputs) = learned(computed)?;
        self.inputs = inputs;
        Ok(outputs)
    }

    /// Writes the gradients with respect to the outputs of each layer, from that with respect to the outputs
    /// `[rows, n_outputs]`. Returns, row by row, the sums of squares of the inputs of each layer but the
    /// first, ones included, and then of the gradient with respect to the outputs of each layer but the last:
    /// `[rows, 2 hidden]`.
    ///
    /// # Errors
    /// As [`Training::forward`].
    pub fn backward(&mut self, gradient: &[f32]) -> std::result::Result<Vec<f32>, device::Error> {
        let device = self.layers.device().clone();
        learned(compute(&device, || self.try_backward(gradient)))
    }

    fn try_backward(&mut self, gradient: &[f32]) -> Result<Vec<f32>> {
        let constants = match self.constants.take() {
            Some(constants) => constants,
            None => Constants::new(&self.layers)?,
        };
        let constants = self.constants.insert(constants);
        let weights = (self.layers.values() * &constants.is_weight)?;
        let weights = self.layers.matrices(&weights)?;
        let n_rows = self.inputs[0].dim(0)?;
        let shape = (n_rows, gradient.len() / n_rows);
        let mut gradient = Tensor::from_slice(gradient, shape, self.layers.device())?;
        let mut gradients = vec![gradient.clone()];
        for (weight, input) in weights.iter().zip(&self.inputs).skip(1).rev() {
            // A ReLU passed the units that are above zero.
            gradient = (gradient.matmul(weight)? * input.sign()?)?;
            gradients.push(gradient.clone());
        }
        gradients.reverse();
        self.gradients = gradients;
        let Some(sums) = &constants.sums else {
            return Ok(Vec::new());
        };
        let n_hidden = self.gradients.len() - 1;
        let hidden = self.inputs[1..].iter().chain(&self.gradients[..n_hidden]);
        let hidden: Vec<&Tensor> = hidden.collect();
        let squares = Tensor::cat(&hidden, 1)?.sqr()?.matmul(sums)?;
        squares.flatten_all()?.to_vec1()
    }

    /// Moves the layers against the gradient of the last backward pass, each row's times its factor.
    /// Returns, where they are wanted, those with respect to the first layer's outputs, `[rows, its outputs]`.
    ///
    /// # Errors
    /// As [`Training::forward`]; then nothing has moved.
    pub fn step(
        &mut self,
        factors: &[f32],
        rule: Rule,
        wants_first: bool,
    ) -> std::result::Result<Vec<f32>, device::Error> {
        let device = self.layers.device().clone();
        let step = || self.try_step(factors, rule, wants_first);
        learned(compute(&device, step))
    }

    fn try_step(&mut self, factors: &[f32], rule: Rule, wants_first: bool) -> Result<Vec<f32>> {
        let factors = Tensor::from_slice(factors, (factors.len(), 1), self.layers.device())?;
        let gradients = self
            .gradients
            .iter()
            .map(|gradient| gradient.broadcast_mul(&factors));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        let products = gradients.iter().zip(&self.inputs);
        let products = products.map(|(gradient, input)| gradient.t()?.matmul(input)?.flatten_all());
        let gradient = Tensor::cat(&products.collect::<Result<Vec<_>>>()?, 0)?;
        let (values, moments) = self.moved(&gradient, rule)?;
        let first = if wants_first {
            self.outputs_of_first(&gradients[0])?
        } else {
            Vec::new()
        };
        self.layers = self.layers.with(values);
        self.moments = moments;
        self.inputs.clear();
        self.gradients.clear();
        Ok(first)
    }

    /// The buffer, and the means of its gradient, after a step along this gradient.
    fn moved(&self, gradient: &Tensor, rule: Rule) -> Result<(Tensor, Option<[Tensor; 2]>)> {
        let Some(constants) = &self.constants else {
            candle_core::bail!("no backward pass was made");
        };
        let values = self.layers.values();
        let (moved, moments) = match (rule, &self.moments) {
            (
                Rule::AdamW {
                    betas,
                    rate,
                    correction,
                    epsilon,
                    decay,
                },
                Some([first, second]),
            ) => {
                let [kept, of_squares] = betas;
                let first = ((first * kept)? + (gradient * (1.0 - kept))?)?;
                let second = ((second * of_squares)? + (gradient.sqr()? * (1.0 - of_squares))?)?;
                let root = ((&second * correction)?.sqrt()? + epsilon)?;
                let step = ((&first * rate)? / root)?;
                let decayed = (values - ((values * &constants.is_weight)? * decay)?)?;
                ((decayed - step)?, Some([first, second]))
            }
            (Rule::Descent { rate }, None) => ((values - (gradient * rate)?)?, None),
            _ => candle_core::bail!("the moments of the gradient are not those of the rule"),
        };
        let [low, high] = &constants.bounds;
        Ok((moved.maximum(low)?.minimum(high)?, moments))
    }

    fn outputs_of_first(&self, gradient: &Tensor) -> Result<Vec<f32>> {
        let place = self.layers.places()[0];
        let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        let rows = gradient.chunks_exact(place.rows);
        Ok(rows.flat_map(|row| &row[..place.n_out]).copied().collect())
    }

    /// Moves at a rate to other layers of the same widths; these outputs of the last
    /// layer at rates of their own.
    ///
    /// # Errors
    /// As [`Training::forward`].
    pub(crate) fn approach(
        &mut self,
        other: &Training,
        rate: f32,
        late: &[(usize, f32)],
    ) -> std::result::Result<(), device::Error> {
        let device = self.layers.device().clone();
        learned(compute(&device, || self.try_approach(other, rate, late)))
    }

    fn try_approach(&mut self, other: &Training, rate: f32, late: &[(usize, f32)]) -> Result<()> {
        let (mine, theirs) = (self.layers.values(), other.layers.values());
        let way = (theirs - mine)?;
        let way = match late {
            [] => (way * f64::from(rate))?,
            late => {
                let mut rates = vec![rate; way.elem_count()];
                if let Some(last) = self.layers.places().last() {
                    for (output, rate) in late {
                        let start = last.start + output * last.columns;
                        rates[start..start + last.columns].fill(*rate);
                    }
                }
                (way * Tensor::from_vec(rates, mine.shape(), mine.device())?)?
            }
        };
        self.layers = self.layers.with((mine + way)?);
        Ok(())
    }
}

impl Constants {
    fn new(layers: &DenseLayers) -> Result<Constants> {
        let (device, n_values) = (layers.device(), layers.values().elem_count());
        let mut is_weight = vec![0.0f32; n_values];
        for (weight, _) in layers.places().iter().flat_map(LayerPlace::outputs) {
            is_weight[weight].fill(1.0);
        }
        let bound = |value: f32| Tensor::full(value, n_values, device);
        Ok(Constants {
            is_weight: Tensor::from_vec(is_weight, n_values, device)?,
            bounds: [bound(-WEIGHT_MAX)?, bound(WEIGHT_MAX)?],
            sums: sums(layers.places(), device)?,
        })
    }
}

/// The matrix that sums squares by layer; none where no layer is hidden.
fn sums(places: &[LayerPlace], device: &Device) -> Result<Option<Tensor>> {
    let widths = places[1..].iter().map(|place| place.columns);
    let widths: Vec<usize> = widths.clone().chain(widths).collect();
    if widths.is_empty() {
        return Ok(None);
    }
    let mut values = Vec::new();
    for (layer, width) in widths.iter().enumerate() {
        let mut row = vec![0.0f32; widths.len()];
        row[layer] = 1.0;
        (0..*width).for_each(|_| values.extend_from_slice(&row));
    }
    let shape = (values.len() / widths.len(), widths.len());
    Ok(Some(Tensor::from_vec(values, shape, device)?))
}

/// An error of candle as one of learning.
fn learned<T>(result: Result<T>) -> std::result::Result<T, device::Error> {
    result.map_err(device::Error::failed("learn"))
}
