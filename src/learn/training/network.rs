//! A network in training, with the optimiser that trains it: on the processor, or on a device.
//!
//! Invariant: parameters on a device were copied there from the parameters here, and are read back
//! whenever they are asked for; rows of hashed features never leave the processor.

use std::borrow::Cow;

use super::backprop::{Lengths, TrainingPass, sparse_gradient, squared_inputs, squares};
use super::optimizer::OptimizerState;
use super::scratch::Scratch;
use crate::model::weights::{Error, Tensors};
use crate::model::{Device, DeviceError, Encoded, Gradient, Optimizer, Parameters, Training};

/// A network that takes steps.
#[derive(Clone, Debug)]
pub(crate) struct TrainingNetwork {
    /// Its dense layers are those of the last copy while a device has them.
    parameters: Parameters,
    optimizer: OptimizerState,
    device: Device,
    elsewhere: Option<Training>,
    buffers: Scratch<PassBuffers>,
}

/// Room for one pass.
#[derive(Default)]
struct PassBuffers {
    pass: TrainingPass,
    /// The outputs of a device and the gradient for it: `[rows, n_outputs]`.
    outputs: Vec<f32>,
    gradient: Vec<f32>,
    reaches: Vec<f32>,
}

impl TrainingNetwork {
    /// A network that has made no step.
    pub(crate) fn new(
        parameters: Parameters,
        optimizer: Optimizer,
        device: Device,
    ) -> TrainingNetwork {
        TrainingNetwork {
            optimizer: OptimizerState::new(optimizer, &parameters),
            parameters,
            device,
            elsewhere: None,
            buffers: Scratch::default(),
        }
    }

    /// The parameters as they are.
    ///
    /// # Panics
    /// When a device cannot be read any more.
    pub(crate) fn parameters(&self) -> Cow<'_, Parameters> {
        let Some(training) = &self.elsewhere else {
            return Cow::Borrowed(&self.parameters);
        };
        Cow::Owned(Parameters {
            layers: training.layers().expect("a device that computes is read"),
            sparse: self.parameters.sparse.clone(),
        })
    }

    /// The state of the optimiser; panics as [`TrainingNetwork::parameters`].
    pub(crate) fn optimizer(&self) -> Cow<'_, OptimizerState> {
        let moments = self.elsewhere.as_ref().map(Training::moments);
        let moments = moments.map(|read| read.expect("a device that computes is read"));
        let Some(moments) = moments.flatten() else {
            return Cow::Borrowed(&self.optimizer);
        };
        let mut optimizer = self.optimizer.clone();
        optimizer.set_moments(moments);
        Cow::Owned(optimizer)
    }

    /// `[input, hidden.., output]`.
    pub(crate) fn widths(&self) -> Vec<usize> {
        self.parameters.widths()
    }

    /// The device that trains it.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Width of the output.
    pub(crate) fn n_outputs(&self) -> usize {
        self.parameters.layers.last().map_or(1, |layer| layer.n_out)
    }

    /// Buckets that hashed features fall into.
    pub(crate) fn n_buckets(&self) -> usize {
        self.parameters.sparse.n_buckets()
    }

    /// Replaces all of it.
    pub(crate) fn load(
        &mut self,
        parameters: Parameters,
        optimizer: &mut Tensors,
    ) -> Result<(), Error> {
        self.optimizer.load(&parameters, optimizer)?;
        self.parameters = parameters;
        self.elsewhere = None;
        Ok(())
    }

    /// Computes the outputs for `rows`.
    ///
    /// # Errors
    /// The device is not there, has no room, or fails.
    pub(crate) fn forward(&mut self, rows: &[&Encoded]) -> Result<(), DeviceError> {
        let buffers = &mut self.buffers.0;
        if self.device == Device::Cpu {
            buffers.pass.forward(&self.parameters, rows);
            return Ok(());
        }
        let training = match &mut self.elsewhere {
            Some(training) => training,
            nowhere => {
                let (layers, moments) = (&self.parameters.layers, self.optimizer.moments());
                nowhere.insert(Training::new(layers, moments, self.device)?)
            }
        };
        buffers.outputs = training.forward(&self.parameters.sparse, rows)?;
        buffers.gradient.clear();
        buffers.gradient.resize(buffers.outputs.len(), 0.0);
        Ok(())
    }

    /// `[rows, n_outputs]`.
    pub(crate) fn outputs(&self) -> &[f32] {
        match self.elsewhere {
            Some(_) => &self.buffers.0.outputs,
            None => self.buffers.0.pass.outputs(),
        }
    }

    /// The outputs, and the gradient of each row's loss with respect to them, to be written.
    pub(crate) fn outputs_and_gradient(&mut self) -> (&[f32], &mut [f32]) {
        let buffers = &mut self.buffers.0;
        match self.elsewhere {
            Some(_) => (&buffers.outputs, &mut buffers.gradient),
            None => buffers.pass.outputs_and_gradient(),
        }
    }

    /// The step of the outputs of each row in the last update for a derivative, a rate and a weight of one,
    /// `[rows]`.
    pub(crate) fn reaches(&self) -> &[f32] {
        match self.elsewhere {
            Some(_) => &self.buffers.0.reaches,
            None => self.buffers.0.pass.reaches(),
        }
    }

    /// Moves the parameters against the gradient written, each row's by its weight. False where they
    /// are not finite, and then nothing is moved.
    ///
    /// # Errors
    /// As [`TrainingNetwork::forward`].
    pub(crate) fn step(
        &mut self,
        settings: &Gradient,
        rows: &[&Encoded],
        row_weights: &[f32],
    ) -> Result<bool, DeviceError> {
        let Some(training) = &mut self.elsewhere else {
            let (pass, parameters) = (&mut self.buffers.0.pass, &mut self.parameters);
            let finite = pass.backward(parameters, rows, row_weights);
            if finite {
                self.optimizer.step(settings, parameters, pass, rows);
            }
            return Ok(finite);
        };
        let gradient = &self.buffers.0.gradient;
        let hidden = training.backward(gradient)?;
        let lengths: Vec<Lengths> = lengths(rows, gradient, &hidden).collect();
        let reaches = lengths.iter().map(Lengths::reach).collect();
        self.buffers.0.reaches = reaches;
        let factors = lengths
            .iter()
            .zip(row_weights)
            .map(|(lengths, weight)| lengths.factor(*weight));
        let Some(factors) = factors.collect::<Option<Vec<f32>>>() else {
            return Ok(false);
        };
        let rate = settings.learning_rate;
        let table = &mut self.parameters.sparse;
        let is_hashed = table.n_buckets() > 0;
        let gradient = training.step(&factors, self.optimizer.next_rule(rate), is_hashed)?;
        self.optimizer.count_step();
        if is_hashed {
            let gradient = sparse_gradient(rows, &gradient, table.row_len());
            self.optimizer.step_sparse(rate, table, &gradient);
        }
        Ok(true)
    }

    /// Expresses the outputs in another scale: the shift of output `index` is `shift(index)`.
    /// Panics as [`TrainingNetwork::parameters`].
    pub(crate) fn rescale(&mut self, factor: f32, shift: impl Fn(usize) -> f32) {
        self.take_back();
        let Some(layer) = self.parameters.layers.last_mut() else {
            return;
        };
        layer.weight.iter_mut().for_each(|weight| *weight *= factor);
        for (index, bias) in layer.bias.iter_mut().enumerate() {
            *bias = *bias * factor + shift(index);
        }
        // Hashed features of a network without a hidden layer go straight to its outputs.
        if self.parameters.layers.len() == 1 {
            let rows = self.parameters.sparse.rows_mut();
            rows.for_each(|row| row.iter_mut().for_each(|weight| *weight *= factor));
        }
    }

    /// Has it computed on this device from now on; panics as [`TrainingNetwork::parameters`].
    pub(crate) fn move_to(&mut self, device: Device) {
        if device != self.device {
            self.take_back();
            self.device = device;
        }
    }

    /// Halves the weights of every layer; panics as [`TrainingNetwork::parameters`].
    pub(crate) fn shrink(&mut self) {
        self.take_back();
        self.parameters.shrink();
    }

    fn take_back(&mut self) {
        if self.elsewhere.is_some() {
            self.parameters = self.parameters().into_owned();
            self.optimizer = self.optimizer().into_owned();
            self.elsewhere = None;
        }
    }

    /// Moves at a rate to another network; these outputs at rates of their own.
    ///
    /// # Errors
    /// As [`TrainingNetwork::forward`].
    pub(crate) fn approach(
        &mut self,
        other: &TrainingNetwork,
        rate: f32,
        late: &[(usize, f32)],
    ) -> Result<(), DeviceError> {
        if let (Some(mine), Some(theirs)) = (&mut self.elsewhere, &other.elsewhere) {
            return mine.approach(theirs, rate, late);
        }
        self.take_back();
        let theirs = other.parameters();
        let layers = self.parameters.layers.iter_mut();
        for (mine, theirs) in layers.zip(&theirs.layers) {
            approach(&mut mine.weight, &theirs.weight, rate);
            approach(&mut mine.bias, &theirs.bias, rate);
        }
        let mine = self.parameters.layers.last_mut().into_iter();
        for (mine, theirs) in mine.zip(theirs.layers.last()) {
            for (output, own) in late {
                // The rate at which it has come nearer already counts.
                let rate = (own - rate) / (1.0 - rate).max(f32::EPSILON);
                let row = output * mine.n_in..(output + 1) * mine.n_in;
                approach(&mut mine.weight[row.clone()], &theirs.weight[row], rate);
                let bias = *output..output + 1;
                approach(&mut mine.bias[bias.clone()], &theirs.bias[bias], rate);
            }
        }
        Ok(())
    }

    /// Takes over another network's weights of the hashed features of these rows.
    pub(crate) fn take_sparse(&mut self, other: &TrainingNetwork, rows: &[&Encoded]) {
        for (bucket, _) in rows.iter().flat_map(|row| &row.sparse) {
            if let Some(row) = other.parameters.sparse.row(*bucket) {
                self.parameters.sparse.row_mut(*bucket).copy_from_slice(row);
            }
        }
    }
}

impl PartialEq for TrainingNetwork {
    fn eq(&self, other: &TrainingNetwork) -> bool {
        self.parameters() == other.parameters() && self.optimizer() == other.optimizer()
    }
}

/// The lengths of each row's gradient, by the gradient with respect to the outputs `[rows, n_outputs]` and
/// the sums of squares that [`Training::backward`] gives.
fn lengths(rows: &[&Encoded], gradient: &[f32], hidden: &[f32]) -> impl Iterator<Item = Lengths> {
    let (width, n_sums) = (gradient.len() / rows.len(), hidden.len() / rows.len());
    rows.iter().enumerate().map(move |(index, row)| {
        let outputs = squares(&gradient[index * width..(index + 1) * width]);
        let (inputs, hidden) = hidden[index * n_sums..(index + 1) * n_sums].split_at(n_sums / 2);
        let inputs = std::iter::once(squared_inputs(row)).chain(inputs.iter().copied());
        Lengths::of(inputs.zip(hidden.iter().copied().chain([outputs])))
    })
}

fn approach(mine: &mut [f32], theirs: &[f32], rate: f32) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += rate * (theirs - *mine);
    }
}

#[cfg(test)]
mod tests;
