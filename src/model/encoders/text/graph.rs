//! A sentence encoder that came as an ONNX graph.
//!
//! It takes `input_ids`, and if it asks for them `attention_mask` and `token_type_ids`, each
//! `[batch, tokens]`. Its `sentence_embedding` `[batch, width]` is taken as it is; of tokens
//! `[batch, tokens, width]` the mean, of length one.

use bytes::Bytes;
use candle_core::Tensor;

use super::bert::{longest, pooled};
use crate::device::Device;
use crate::onnx::{Error, Graph, GraphInput, Value, element};

/// Outputs, the first that is there; without any of these a graph's first is taken.
const OUTPUTS: [&str; 3] = [
    "sentence_embedding",
    "last_hidden_state",
    "token_embeddings",
];
/// Values of a vector at most.
const WIDTH_MAX: usize = 65_536;

/// A graph from tokens to vectors.
pub(super) struct SentenceGraph {
    graph: Graph,
    /// Its inputs, in its order.
    asked: Vec<TokenInput>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenInput {
    Ids,
    Mask,
    Kinds,
}

impl SentenceGraph {
    pub(super) fn new(file: Bytes, device: &Device) -> Result<SentenceGraph, Error> {
        let graph = Graph::new(file, device, &OUTPUTS)?;
        let asked: Vec<TokenInput> = graph.inputs().map(asked).collect::<Result<_, _>>()?;
        if asked.contains(&TokenInput::Ids) {
            Ok(SentenceGraph { graph, asked })
        } else {
            let what = "it has no input \"input_ids\"".to_owned();
            Err(Error::Unsupported(what))
        }
    }

    /// The width of a vector: tried on as long a text as there can be, of the highest token, and on
    /// two of different lengths.
    pub(super) fn probe(&self, n_tokens: usize, vocab_size: usize) -> Result<usize, Error> {
        let long = vec![vocab_size as u32 - 1; n_tokens];
        let width = self.embed(&[&long])?.len();
        let both = self.embed(&[&long[..1], &long[..n_tokens.min(2)]])?.len();
        if both == 2 * width && (1..=WIDTH_MAX).contains(&width) {
            Ok(width)
        } else {
            let what = format!("{width} values for one text, {both} for two");
            Err(Error::Unsupported(what))
        }
    }

    /// `[b, width]` for texts as tokens.
    pub(super) fn embed(&self, texts: &[&[u32]]) -> Result<Vec<f32>, Error> {
        let b = texts.len();
        let t = longest(texts);
        let (mut ids, mut mask) = (vec![0; b * t], vec![0; b * t]);
        for (row, text) in texts.iter().enumerate() {
            for (place, id) in text.iter().enumerate() {
                ids[row * t + place] = i64::from(*id);
                mask[row * t + place] = 1;
            }
        }
        let inputs = self.asked.iter().map(|asked| match asked {
            TokenInput::Ids => Value::ints(ids.clone(), &[b, t]),
            TokenInput::Mask => Value::ints(mask.clone(), &[b, t]),
            // Texts come alone, not in pairs.
            TokenInput::Kinds => Value::ints(vec![0; b * t], &[b, t]),
        });
        let output = self.graph.run(inputs.collect())?;
        let vectors = match output.dims() {
            [rows, _] if *rows == b => Ok(output),
            [rows, places, _] if [*rows, *places] == [b, t] => {
                let present = mask.iter().map(|present| *present as f32);
                Tensor::from_iter(present, self.graph.device())
                    .and_then(|present| pooled(&output, &present.reshape((b, t, 1))?))
            }
            dims => {
                return Err(Error::Unsupported(format!(
                    "its output for {b} texts of {t} tokens is {dims:?}, expected [{b}, {t}, width] \
                     or [{b}, width]"
                )));
            }
        };
        Ok(vectors?.flatten_all()?.to_vec1()?)
    }
}

fn asked(input: &GraphInput) -> Result<TokenInput, Error> {
    if !matches!(input.element, element::INT32 | element::INT64) || input.dims.len() != 2 {
        return Err(Error::Unsupported(format!(
            "its input {} is not of whole numbers [batch, tokens]",
            input.shown()
        )));
    }
    if input.dims.iter().any(Option::is_some) {
        return Err(Error::Unsupported(format!(
            "its input {} has fixed dimensions: export it with dynamic ones",
            input.shown()
        )));
    }
    match input.name.as_str() {
        "input_ids" => Ok(TokenInput::Ids),
        "attention_mask" => Ok(TokenInput::Mask),
        "token_type_ids" => Ok(TokenInput::Kinds),
        _ => Err(Error::Unsupported(format!(
            "its input {} is none of input_ids, attention_mask and token_type_ids",
            input.shown()
        ))),
    }
}
