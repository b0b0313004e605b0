//! A pretrained text encoder: from texts to vectors. Its own weights are frozen.
//!
//! It reads a Hugging Face folder of the BERT family, and computes the sentence embedding of
//! sentence-transformers: the mean of the last layer over the tokens of a text,
//! scaled to length one (Reimers and Gurevych 2019, section 3).
//!
//! Invariant: its vectors are journaled beside the text, so their bits may depend on which texts
//! share a batch, and replay does not compute them again. Where its [`Adapters`] learn, the learner
//! encodes each text again, alone.

mod adapters;
mod bert;
mod config;
mod graph;
mod tokens;

use crate::device::Device;
use crate::model::weights::Foreign;
use crate::onnx::Error;
pub use adapters::Adapters;
use bert::Bert;
use bytes::Bytes;
use config::{BertConfig, Sizes};
use graph::SentenceGraph;
pub(crate) use tokens::TokenReader;

/// Tokens of one forward pass, padding included, that a longer batch is cut at.
const TOKENS_AT_ONCE: usize = 4096;

/// The files of an encoder's folder.
#[derive(Clone, Copy, Debug)]
pub struct EncoderFiles<'a> {
    /// config.json.
    pub config: &'a [u8],
    /// tokenizer.json.
    pub tokenizer: &'a [u8],
    /// sentence_bert_config.json, where sentence-transformers left one: how many tokens it reads.
    pub sentence: Option<&'a [u8]>,
}

/// The network of an encoder's folder.
#[derive(Debug)]
pub enum EncoderWeights {
    /// model.safetensors, as config.json describes it.
    Safetensors(Foreign),
    /// model.onnx, which describes itself.
    Onnx(Bytes),
}

/// A text encoder: from texts to vectors.
pub struct TextEncoder {
    tokenizer: TokenReader,
    network: EncoderNetwork,
    width: usize,
}

/// The network of an encoder.
enum EncoderNetwork {
    Bert(Bert),
    Graph(SentenceGraph),
}

impl EncoderNetwork {
    /// `[texts, width]` for texts as tokens.
    fn embed(&self, texts: &[&[u32]], adapters: Option<&Adapters>) -> Result<Vec<f32>, Error> {
        match self {
            EncoderNetwork::Bert(bert) => Ok(bert.embed(texts, adapters)?),
            EncoderNetwork::Graph(graph) => graph.embed(texts),
        }
    }
}

impl TextEncoder {
    /// Checks and takes the content of a folder.
    ///
    /// # Errors
    /// [`Error::Unsound`] and [`Error::Unsupported`], which name the file; [`Error::NoRoom`] and
    /// [`Error::Device`] of the device.
    pub fn new(
        files: EncoderFiles<'_>,
        weights: EncoderWeights,
        device: &Device,
    ) -> Result<TextEncoder, Error> {
        let of_config = |error: Error| error.of("config.json");
        let sizes = Sizes::parse(files.config).map_err(of_config)?;
        let n_tokens = match files.sentence {
            Some(sentence) => sizes
                .n_tokens(sentence)
                .map_err(|error| error.of("sentence_bert_config.json"))?,
            None => sizes.max_position_embeddings,
        };
        let tokenizer = TokenReader::new(files.tokenizer, n_tokens, sizes.vocab_size);
        let tokenizer = tokenizer.map_err(|error| error.of("tokenizer.json"))?;
        let (network, width) = match weights {
            EncoderWeights::Safetensors(weights) => {
                let config = BertConfig::parse(files.config).map_err(of_config)?;
                let bert = Bert::new(&config, weights, device);
                let bert = bert.map_err(|error| error.of("model.safetensors"))?;
                (EncoderNetwork::Bert(bert), config.hidden_size)
            }
            EncoderWeights::Onnx(file) => {
                let graph = SentenceGraph::new(file, device);
                let tried = graph.and_then(|graph| {
                    let width = graph.probe(n_tokens, sizes.vocab_size)?;
                    Ok((EncoderNetwork::Graph(graph), width))
                });
                tried.map_err(|error| error.of_trial().of("model.onnx"))?
            }
        };
        Ok(TextEncoder {
            tokenizer,
            network,
            width,
        })
    }

    /// The length of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of layers that can be adapted: none of an ONNX file's.
    pub(crate) fn n_layers(&self) -> usize {
        match &self.network {
            EncoderNetwork::Bert(bert) => bert.n_layers(),
            EncoderNetwork::Graph(_) => 0,
        }
    }

    /// A vector of length one for each text, `[texts, width]`. A batch that the device has no room
    /// for is split, down to one text.
    ///
    /// # Errors
    /// [`Error::Values`]: a text cannot be encoded. [`Error::NoRoom`] and [`Error::Device`] of the
    /// device.
    ///
    /// # Panics
    /// When there are adapters for more layers than it has.
    pub fn embed(&self, texts: &[&str], adapters: Option<&Adapters>) -> Result<Vec<f32>, Error> {
        let tokens = texts.iter().map(|text| self.tokens(text));
        let tokens: Vec<Vec<u32>> = tokens.collect::<Result<_, _>>()?;
        // Texts of like length share a pass: padding is computed for nothing.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|index| tokens[*index].len());
        let mut vectors = vec![0.0; texts.len() * self.width];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let fits = |n: &usize| n * tokens[rest[n - 1]].len() <= TOKENS_AT_ONCE;
            let n_rows = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (now, later) = rest.split_at(n_rows);
            self.fill(now, &tokens, adapters, &mut vectors)?;
            rest = later;
        }
        Ok(vectors)
    }

    /// Computes the vectors of the texts at `places`.
    fn fill(
        &self,
        places: &[usize],
        tokens: &[Vec<u32>],
        adapters: Option<&Adapters>,
        vectors: &mut [f32],
    ) -> Result<(), Error> {
        let batch: Vec<&[u32]> = places.iter().map(|place| &*tokens[*place]).collect();
        match self.network.embed(&batch, adapters) {
            Ok(computed) => {
                for (place, vector) in places.iter().zip(computed.chunks_exact(self.width)) {
                    let start = place * self.width;
                    vectors[start..start + self.width].copy_from_slice(vector);
                }
                Ok(())
            }
            Err(_) if places.len() > 1 => {
                let (first, second) = places.split_at(places.len() / 2);
                self.fill(first, tokens, adapters, vectors)?;
                self.fill(second, tokens, adapters, vectors)
            }
            Err(error) => Err(error.of("the device cannot encode a text")),
        }
    }

    /// The gradient of a loss with respect to every value of the adapters. `loss` is given the vectors
    /// `[texts, width]` of texts as tokens, and returns its gradient with respect to them.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: an ONNX file has no layers to adapt. Those of
    /// [`TextEncoder::embed`].
    ///
    /// # Panics
    /// As [`TextEncoder::embed`].
    pub fn gradient(
        &self,
        tokens: &[Vec<u32>],
        adapters: &Adapters,
        loss: impl FnOnce(&[f32]) -> Vec<f32> + Send,
    ) -> Result<Vec<f32>, Error> {
        let tokens: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
        let EncoderNetwork::Bert(bert) = &self.network else {
            return Err(Error::Unsupported("it has no layers to adapt".to_owned()));
        };
        Ok(bert.gradient(&tokens, adapters, loss)?)
    }

    /// A text as tokens, as many as it reads.
    ///
    /// # Errors
    /// [`Error::Values`]: the tokenizer refuses it.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.tokenizer.tokens(text)
    }
}

impl std::fmt::Debug for TextEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TextEncoder of width {}", self.width)
    }
}
