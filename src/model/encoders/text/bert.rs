//! The forward pass of a BERT (Devlin et al. 2019), the mean over its tokens, and length one.
//!
//! Shapes: `b` texts of `t` tokens, `h` wide, `a` heads of `d = h / a`.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, ops};

use super::adapters::{Adapters, LayerAdapters};
use super::config::{Activation, BertConfig};
use crate::device::{Device as ComputeDevice, Use, compute};
use crate::model::weights::{Data, Foreign, Tensor as Weights};
use crate::onnx::Error;

/// Added to the score of a token that is only padding.
const MASKED: f32 = -1e9;
/// A shorter mean is divided by this, as PyTorch's `normalize` does.
const LENGTH_MIN: f64 = 1e-12;

/// A BERT on its device.
pub(super) struct Bert {
    words: Tensor,
    positions: Tensor,
    /// The token type of the first kind: texts come alone, not in pairs.
    kind: Tensor,
    norm: Norm,
    layers: Vec<BertLayer>,
    n_heads: usize,
    device: Device,
}

struct BertLayer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    inner: Linear,
    outer: Linear,
    outer_norm: Norm,
    activation: Activation,
}

struct Norm {
    fused: LayerNorm,
    epsilon: f64,
}

impl Bert {
    /// Takes the tensors that `config` asks for; others may be there, and do not count.
    pub(super) fn new(
        config: &BertConfig,
        weights: Foreign,
        device: &ComputeDevice,
    ) -> std::result::Result<Bert, Error> {
        let mut read = BertTensors {
            tensors: weights.tensors.0,
            others: weights.others,
            epsilon: config.layer_norm_eps,
            activation: config.activation()?,
            device: device.open(Use::Answers)?,
        };
        let h = config.hidden_size;
        let embedding = |name| format!("embeddings.{name}_embeddings.weight");
        let words = read.tensor(&embedding("word"), &[config.vocab_size, h])?;
        let n_positions = config.max_position_embeddings;
        let positions = read.tensor(&embedding("position"), &[n_positions, h])?;
        let kinds = read.tensor(&embedding("token_type"), &[config.type_vocab_size, h])?;
        let norm = read.norm("embeddings.LayerNorm", h)?;
        let layers = 0..config.num_hidden_layers;
        let layers = layers.map(|index| read.layer(index, h, config.intermediate_size));
        Ok(Bert {
            words,
            positions,
            kind: kinds.narrow(0, 0, 1)?,
            norm,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            n_heads: config.num_attention_heads,
            device: read.device,
        })
    }

    pub(super) fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// `[b, h]` for texts as tokens; a text without any gives zeros.
    pub(super) fn embed(&self, texts: &[&[u32]], adapters: Option<&Adapters>) -> Result<Vec<f32>> {
        let adapters = match adapters {
            Some(adapters) => adapters.on(&self.device)?,
            None => Vec::new(),
        };
        compute(&self.device, || {
            self.forward(texts, &adapters)?.flatten_all()?.to_vec1()
        })
    }

    /// The gradient of a loss with respect to every value of the adapters, where `loss` returns its
    /// gradient with respect to the vectors `[b, h]` of the texts.
    pub(super) fn gradient(
        &self,
        texts: &[&[u32]],
        adapters: &Adapters,
        loss: impl FnOnce(&[f32]) -> Vec<f32> + Send,
    ) -> Result<Vec<f32>> {
        compute(&self.device, || self.gradient_here(texts, adapters, loss))
    }

    fn gradient_here(
        &self,
        texts: &[&[u32]],
        adapters: &Adapters,
        loss: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Result<Vec<f32>> {
        let (adapters, variables) = adapters.variables(&self.device)?;
        let vectors = self.forward(texts, &adapters)?;
        let gradient = loss(&vectors.flatten_all()?.to_vec1::<f32>()?);
        let gradient = Tensor::from_vec(gradient, vectors.shape(), &self.device)?;
        let all = (vectors * gradient)?.sum_all()?.backward()?;
        let mut values = Vec::new();
        for variable in &variables {
            let derivative = all.get(variable).ok_or_else(|| {
                candle_core::Error::Msg("an adapter has no part in the vectors".to_owned())
            })?;
            values.extend(derivative.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(values)
    }

    /// Vectors of length one, `[b, h]`, with the last layers adapted.
    fn forward(&self, texts: &[&[u32]], adapters: &[LayerAdapters]) -> Result<Tensor> {
        let b = texts.len();
        let t = longest(texts);
        let mut ids = vec![0; b * t];
        let mut present = vec![0.0f32; b * t];
        for (row, text) in texts.iter().enumerate() {
            ids[row * t..row * t + text.len()].copy_from_slice(text);
            present[row * t..row * t + text.len()].fill(1.0);
        }
        let masked = present.iter().map(|present| (1.0 - present) * MASKED);
        // Added to the scores `[b, a, t, t]`; nothing is where nothing is padded.
        let mask = if present.contains(&0.0) {
            Some(Tensor::from_iter(masked, &self.device)?.reshape((b, 1, 1, t))?)
        } else {
            None
        };
        let present = Tensor::from_vec(present, (b, t, 1), &self.device)?;
        let ids = Tensor::from_vec(ids, b * t, &self.device)?;
        let mut x = self.first(&ids, b, t)?;
        let n_frozen = self.layers.len() - adapters.len();
        for (index, layer) in self.layers.iter().enumerate() {
            let adapters = index.checked_sub(n_frozen).map(|index| &adapters[index]);
            x = layer.forward(&x, (b, t, self.n_heads), mask.as_ref(), adapters)?;
        }
        pooled(&x.reshape((b, t, ()))?, &present)
    }

    /// The inputs of the first layer, `[b t, h]`.
    fn first(&self, ids: &Tensor, b: usize, t: usize) -> Result<Tensor> {
        let words = self.words.index_select(ids, 0)?.reshape((b, t, ()))?;
        let places = self.positions.narrow(0, 0, t)?.broadcast_add(&self.kind)?;
        let x = words.broadcast_add(&places)?;
        self.norm.forward(&x.reshape((b * t, ()))?, false)
    }
}

/// The tokens of the longest text, at least one.
pub(super) fn longest(texts: &[&[u32]]) -> usize {
    let lengths = texts.iter().map(|text| text.len());
    lengths.fold(1, usize::max)
}

/// The mean of `[b, t, h]` over the tokens that are `present`, `[b, t, 1]`, of length one.
pub(super) fn pooled(x: &Tensor, present: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_mul(present)?.sum(1)?;
    let counts = present.sum(1)?.maximum(1.0)?;
    let mean = x.broadcast_div(&counts)?;
    let lengths = mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    mean.broadcast_div(&lengths.maximum(LENGTH_MIN)?)?
        .to_dtype(DType::F32)
}

impl BertLayer {
    /// `[b t, h]` to `[b t, h]`.
    fn forward(
        &self,
        x: &Tensor,
        (b, t, n_heads): (usize, usize, usize),
        mask: Option<&Tensor>,
        adapters: Option<&LayerAdapters>,
    ) -> Result<Tensor> {
        let d = x.dim(1)? / n_heads;
        let heads = |x: Tensor| {
            let x = x.reshape((b, t, n_heads, d))?;
            x.transpose(1, 2)?.contiguous()
        };
        let query = heads(adapted(&self.query, x, adapters.map(|[query, _]| query))?)?;
        let key = heads(self.key.forward(x)?)?;
        let value = heads(adapted(&self.value, x, adapters.map(|[_, value]| value))?)?;
        let scores = query
            .matmul(&key.t()?)?
            .affine(1.0 / (d as f64).sqrt(), 0.0)?;
        let scores = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        // candle's fused operations let no gradient through.
        let learns = adapters.is_some();
        let attention = if learns {
            ops::softmax(&scores, D::Minus1)?
        } else {
            ops::softmax_last_dim(&scores)?
        };
        let mixed = attention.matmul(&value)?.transpose(1, 2)?;
        let mixed = mixed.reshape((b * t, ()))?;
        let attended = (self.attended.forward(&mixed)? + x)?;
        let x = self.attended_norm.forward(&attended, learns)?;
        let inner = self.inner.forward(&x)?;
        let inner = match self.activation {
            Activation::Gelu => inner.gelu_erf()?,
            Activation::GeluTanh => inner.gelu()?,
            Activation::Relu => inner.relu()?,
        };
        let outer = (self.outer.forward(&inner)? + x)?;
        self.outer_norm.forward(&outer, learns)
    }
}

/// `W x + b`, and `B A x` where it is adapted.
fn adapted(linear: &Linear, x: &Tensor, adapter: Option<&[Tensor; 2]>) -> Result<Tensor> {
    let own = linear.forward(x)?;
    match adapter {
        Some([a, b]) => own + x.matmul(&a.t()?)?.matmul(&b.t()?)?,
        None => Ok(own),
    }
}

impl Norm {
    /// Each row of `[rows, h]` with mean zero and variance one, scaled and shifted.
    fn forward(&self, x: &Tensor, learns: bool) -> Result<Tensor> {
        if !learns {
            return self.fused.forward(x);
        }
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = centred.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?;
        let scaled = unit.broadcast_mul(self.fused.weight())?;
        match self.fused.bias() {
            Some(bias) => scaled.broadcast_add(bias),
            None => Ok(scaled),
        }
    }
}

/// Tensors on their way from a file to the device.
struct BertTensors {
    tensors: BTreeMap<String, Weights>,
    others: BTreeMap<String, String>,
    epsilon: f64,
    activation: Activation,
    device: Device,
}

impl BertTensors {
    fn layer(
        &mut self,
        index: usize,
        h: usize,
        n_inner: usize,
    ) -> std::result::Result<BertLayer, Error> {
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(BertLayer {
            query: self.linear(&name("attention.self.query"), h, h)?,
            key: self.linear(&name("attention.self.key"), h, h)?,
            value: self.linear(&name("attention.self.value"), h, h)?,
            attended: self.linear(&name("attention.output.dense"), h, h)?,
            attended_norm: self.norm(&name("attention.output.LayerNorm"), h)?,
            inner: self.linear(&name("intermediate.dense"), h, n_inner)?,
            outer: self.linear(&name("output.dense"), n_inner, h)?,
            outer_norm: self.norm(&name("output.LayerNorm"), h)?,
            activation: self.activation,
        })
    }

    fn linear(
        &mut self,
        name: &str,
        n_in: usize,
        n_out: usize,
    ) -> std::result::Result<Linear, Error> {
        let weight = self.tensor(&format!("{name}.weight"), &[n_out, n_in])?;
        let bias = self.tensor(&format!("{name}.bias"), &[n_out])?;
        Ok(Linear::new(weight, Some(bias)))
    }

    fn norm(&mut self, name: &str, h: usize) -> std::result::Result<Norm, Error> {
        let weight = self.tensor(&format!("{name}.weight"), &[h])?;
        let bias = self.tensor(&format!("{name}.bias"), &[h])?;
        Ok(Norm {
            fused: LayerNorm::new(weight, bias, self.epsilon),
            epsilon: self.epsilon,
        })
    }

    /// A tensor of 32-bit floats, also where a model with a head keeps it: behind `bert.`.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, Error> {
        let behind = format!("bert.{name}");
        let taken = self.tensors.remove(name);
        let Some(taken) = taken.or_else(|| self.tensors.remove(&behind)) else {
            let other = self.others.get(name).or_else(|| self.others.get(&behind));
            return Err(Error::Unsound(match other {
                Some(form) => format!("tensor {name:?} is {form}, expected F32 {shape:?}"),
                None => format!("tensor {name:?} is missing"),
            }));
        };
        let Weights { shape: found, data } = taken;
        let (Data::F32(values), true) = (&data, found == shape) else {
            let dtype = data.dtype();
            return Err(Error::Unsound(format!(
                "tensor {name:?} is {dtype} {found:?}, expected F32 {shape:?}"
            )));
        };
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Unsound(format!(
                "tensor {name:?} has a value at index {index} that is not finite"
            )));
        }
        let Data::F32(values) = data else {
            unreachable!("it was compared")
        };
        Ok(Tensor::from_vec(values, shape, &self.device)?)
    }
}
