//! The config.json of a BERT, checked.
//!
//! Invariant: sizes that are taken are possible, and small enough that nothing computed from them
//! overflows.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::onnx::Error;

/// Tokens of a vocabulary at most.
const VOCAB_MAX: usize = 1 << 20;
/// Tokens of a text at most.
const POSITIONS_MAX: usize = 1 << 13;

/// The shape of a BERT.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BertConfig {
    model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "hidden_act")]
    hidden_act: String,
    position_embedding_type: Option<String>,
}

/// The sizes that every network has, whatever its format.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Sizes {
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
}

/// The nonlinearities of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
}

fn layer_norm_eps() -> f64 {
    1e-12
}

fn hidden_act() -> String {
    "gelu".to_owned()
}

#[derive(Deserialize)]
struct Sentence {
    max_seq_length: Option<usize>,
}

impl BertConfig {
    pub(super) fn parse(json: &[u8]) -> Result<BertConfig, Error> {
        let config: BertConfig = read(json)?;
        let kind = &config.model_type;
        if kind != "bert" {
            let what = format!("model_type = {kind:?}: take \"bert\"");
            return Err(Error::Unsupported(what));
        }
        if let Some(other) = config.position_embedding_type.as_deref()
            && other != "absolute"
        {
            return Err(Error::Unsupported(format!(
                "position_embedding_type = {other:?}: take \"absolute\""
            )));
        }
        config.activation()?;
        for (key, value, max) in [
            ("vocab_size", config.vocab_size, VOCAB_MAX),
            ("hidden_size", config.hidden_size, 1 << 13),
            ("num_hidden_layers", config.num_hidden_layers, 64),
            ("num_attention_heads", config.num_attention_heads, 1 << 8),
            ("intermediate_size", config.intermediate_size, 1 << 15),
            (
                "max_position_embeddings",
                config.max_position_embeddings,
                POSITIONS_MAX,
            ),
            ("type_vocab_size", config.type_vocab_size, 1 << 10),
        ] {
            check_within(key, value, max)?;
        }
        let (width, n_heads) = (config.hidden_size, config.num_attention_heads);
        if !width.is_multiple_of(n_heads) {
            let what = format!("{n_heads} attention heads do not divide {width}");
            return Err(Error::Unsound(what));
        }
        let epsilon = config.layer_norm_eps;
        if epsilon > 0.0 && epsilon < 1.0 {
            Ok(config)
        } else {
            let what = format!("layer_norm_eps = {epsilon}: above 0, below 1");
            Err(Error::Unsupported(what))
        }
    }

    pub(super) fn activation(&self) -> Result<Activation, Error> {
        match self.hidden_act.as_str() {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => Err(Error::Unsupported(format!(
                "hidden_act = {other:?}: take gelu, gelu_new or relu"
            ))),
        }
    }
}

impl Sizes {
    pub(super) fn parse(json: &[u8]) -> Result<Sizes, Error> {
        let sizes: Sizes = read(json)?;
        check_within("vocab_size", sizes.vocab_size, VOCAB_MAX)?;
        check_within(
            "max_position_embeddings",
            sizes.max_position_embeddings,
            POSITIONS_MAX,
        )?;
        Ok(sizes)
    }

    /// The tokens of a text that are read, by the configuration of sentence-transformers.
    pub(super) fn n_tokens(&self, sentence: &[u8]) -> Result<usize, Error> {
        let sentence: Sentence = read(sentence)?;
        let max = self.max_position_embeddings;
        let n_tokens = sentence.max_seq_length.unwrap_or(max);
        if (4..=max).contains(&n_tokens) {
            Ok(n_tokens)
        } else {
            let what = format!("max_seq_length = {n_tokens}: 4 to {max}");
            Err(Error::Unsound(what))
        }
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::Unsound(error.to_string()))
}

fn check_within(key: &str, value: usize, max: usize) -> Result<(), Error> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(Error::Unsupported(format!("{key} = {value}: 1 to {max}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"model_type":"bert","vocab_size":9,"hidden_size":8,
        "num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":16,
        "max_position_embeddings":32,"type_vocab_size":2,"hidden_act":"gelu"}"#;

    #[test]
    fn p9_what_cannot_be_is_named() {
        assert!(BertConfig::parse(JSON.as_bytes()).is_ok());
        let check = |from: &str, to: &str, message: &str| {
            let json = JSON.replace(from, to);
            assert_ne!(json, JSON);
            let error = BertConfig::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        check("\"bert\"", "\"t5\"", "model_type = \"t5\": take \"bert\"");
        check("\"gelu\"", "\"silu\"", "hidden_act = \"silu\"");
        check("_size\":8", "_size\":0", "hidden_size = 0: 1 to 8192");
        check(
            "heads\":2",
            "heads\":3",
            "3 attention heads do not divide 8",
        );
        check(
            "layers\":1",
            "layers\":1000000",
            "num_hidden_layers = 1000000",
        );
        check("\"vocab_size\":9,", "", "missing field `vocab_size`");
    }

    #[test]
    fn texts_are_cut_where_sentence_transformers_cuts_them() {
        let sizes = Sizes::parse(JSON.as_bytes()).unwrap();
        let check = |json: &str, expected: Option<usize>| {
            assert_eq!(sizes.n_tokens(json.as_bytes()).ok(), expected, "{json}");
        };
        check("{\"max_seq_length\":16}", Some(16));
        check("{}", Some(32));
        check("{\"max_seq_length\":33}", None);
        check("{\"max_seq_length\":0}", None);
        check("[", None);
    }
}
