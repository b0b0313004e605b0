//! A small BERT of seeded weights as a Hugging Face folder, and the same computed plainly.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

pub(crate) const H: usize = 8;
pub(crate) const HEADS: usize = 2;
const INNER: usize = 16;
pub(crate) const LAYERS: usize = 2;
const POSITIONS: usize = 12;
const EPSILON: f32 = 1e-12;
const WORDS: [&str; 12] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "card", "lost", "late", "refund", "money", "please", "##s",
    "my",
];

/// Tensors by name, `[rows, columns]` or `[columns]`.
#[derive(Clone)]
pub(crate) struct Bert(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Bert {
    pub(crate) fn new() -> Bert {
        let mut bert = Bert(BTreeMap::new());
        let mut seed = 0x9e37_79b9u64;
        let mut put = |name: &str, shape: &[usize], middle: f32| {
            let n_values = shape.iter().product();
            let values = (0..n_values).map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                middle + 0.6 * ((seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5)
            });
            let values = values.collect();
            bert.0.insert(name.to_owned(), (shape.to_vec(), values));
        };
        put("embeddings.word_embeddings.weight", &[WORDS.len(), H], 0.0);
        put(
            "embeddings.position_embeddings.weight",
            &[POSITIONS, H],
            0.0,
        );
        put("embeddings.token_type_embeddings.weight", &[2, H], 0.0);
        put("embeddings.LayerNorm.weight", &[H], 1.0);
        put("embeddings.LayerNorm.bias", &[H], 0.0);
        for layer in 0..LAYERS {
            for (part, n_in, n_out) in [
                ("attention.self.query", H, H),
                ("attention.self.key", H, H),
                ("attention.self.value", H, H),
                ("attention.output.dense", H, H),
                ("intermediate.dense", H, INNER),
                ("output.dense", INNER, H),
            ] {
                let name = format!("encoder.layer.{layer}.{part}");
                put(&format!("{name}.weight"), &[n_out, n_in], 0.0);
                put(&format!("{name}.bias"), &[n_out], 0.0);
            }
            for part in ["attention.output.LayerNorm", "output.LayerNorm"] {
                let name = format!("encoder.layer.{layer}.{part}");
                put(&format!("{name}.weight"), &[H], 1.0);
                put(&format!("{name}.bias"), &[H], 0.0);
            }
        }
        bert
    }

    /// Writes config.json, tokenizer.json and model.safetensors.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder");
        let config = json!({
            "model_type": "bert", "vocab_size": WORDS.len(), "hidden_size": H,
            "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "intermediate_size": INNER, "max_position_embeddings": POSITIONS,
            "type_vocab_size": 2, "layer_norm_eps": EPSILON, "hidden_act": "gelu",
        });
        fs::write(folder.join("config.json"), config.to_string()).expect("it is written");
        let vocab: BTreeMap<&str, usize> = WORDS.iter().copied().zip(0..).collect();
        let special = |name: &str, id: u32| json!({"id": name, "ids": [id], "tokens": [name]});
        let part = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let tokenizer = json!({
            "version": "1.0",
            // An encoder must not take either from here.
            "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0,
                "direction": "Right"},
            "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
            "added_tokens": [],
            "normalizer": {"type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing",
                "single": [part("[CLS]"), text, part("[SEP]")],
                "pair": [part("[CLS]"), text, part("[SEP]")],
                "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3)}},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {"type": "WordPiece", "unk_token": "[UNK]",
                "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                "vocab": vocab},
        });
        fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("it is written");
        self.write_weights(folder);
    }

    pub(crate) fn write_weights(&self, folder: &Path) {
        let bytes: BTreeMap<&String, Vec<u8>> = self
            .0
            .iter()
            .map(|(name, (_, values))| {
                (name, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            })
            .collect();
        let mut views: Vec<(String, TensorView)> = self
            .0
            .iter()
            .map(|(name, (shape, _))| {
                let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name]);
                (name.clone(), view.expect("as many bytes"))
            })
            .collect();
        // Older exports hold it; nothing needs it.
        let places = [0u8; 8 * POSITIONS];
        let ids = TensorView::new(Dtype::I64, vec![1, POSITIONS], &places).expect("as many bytes");
        views.push(("embeddings.position_ids".to_owned(), ids));
        let file = safetensors::serialize(views, None).expect("a file");
        fs::write(folder.join("model.safetensors"), file).expect("it is written");
    }

    /// The ids of a text of these words, cut to fit.
    fn tokens(text: &str) -> Vec<usize> {
        let id = |word: &str| WORDS.iter().position(|known| *known == word);
        let mut ids = vec![2];
        for word in text.to_lowercase().split_whitespace() {
            match (id(word), word.strip_suffix('s').and_then(id)) {
                (Some(whole), _) => ids.push(whole),
                (None, Some(stem)) => ids.extend([stem, 10]),
                (None, None) => ids.push(1),
            }
        }
        ids.truncate(POSITIONS - 1);
        ids.push(3);
        ids
    }

    /// The outputs of the last layer for each token of a text, one number after the other.
    pub(crate) fn tokens_of(&self, text: &str) -> Vec<Vec<f32>> {
        let ids = Bert::tokens(text);
        let row = |name: &str, index: usize| {
            let (_, values) = &self.0[&format!("embeddings.{name}_embeddings.weight")];
            values[index * H..(index + 1) * H].to_vec()
        };
        let mut x: Vec<Vec<f32>> = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            let parts = [
                row("word", *id),
                row("position", place),
                row("token_type", 0),
            ];
            let sum = (0..H).map(|i| parts.iter().map(|part| part[i]).sum::<f32>());
            x.push(self.norm("embeddings.LayerNorm", &sum.collect::<Vec<_>>()));
        }
        for layer in 0..LAYERS {
            x = self.layer(&format!("encoder.layer.{layer}"), &x);
        }
        x
    }

    /// The vector of a text by sentence-transformers.
    pub(crate) fn embed(&self, text: &str) -> Vec<f32> {
        let x = self.tokens_of(text);
        let mean: Vec<f32> = (0..H)
            .map(|i| x.iter().map(|row| row[i]).sum::<f32>() / x.len() as f32)
            .collect();
        let length = mean.iter().map(|v| v * v).sum::<f32>().sqrt();
        mean.iter().map(|v| v / length).collect()
    }

    fn layer(&self, name: &str, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let each = |part: &str, x: &[Vec<f32>]| -> Vec<Vec<f32>> {
            x.iter()
                .map(|row| self.linear(&format!("{name}.{part}"), row))
                .collect()
        };
        let [q, k, v] =
            ["query", "key", "value"].map(|one| each(&format!("attention.self.{one}"), x));
        let d = H / HEADS;
        let mut mixed = vec![vec![0.0; H]; x.len()];
        for head in 0..HEADS {
            let range = head * d..(head + 1) * d;
            for (place, q) in q.iter().enumerate() {
                let dot = |k: &Vec<f32>| -> f32 {
                    range.clone().map(|i| q[i] * k[i]).sum::<f32>() / (d as f32).sqrt()
                };
                let shares: Vec<f32> = k.iter().map(|k| dot(k).exp()).collect();
                let total: f32 = shares.iter().sum();
                for (share, v) in shares.iter().zip(&v) {
                    range
                        .clone()
                        .for_each(|i| mixed[place][i] += share / total * v[i]);
                }
            }
        }
        let attended = each("attention.output.dense", &mixed);
        let x = self.added(&format!("{name}.attention.output.LayerNorm"), &attended, x);
        let mut inner = each("intermediate.dense", &x);
        inner.iter_mut().flatten().for_each(|v| *v = gelu(*v));
        let outer = each("output.dense", &inner);
        self.added(&format!("{name}.output.LayerNorm"), &outer, &x)
    }

    fn added(&self, norm: &str, a: &[Vec<f32>], b: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let rows = a.iter().zip(b);
        let sums = rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f32>>());
        sums.map(|sum| self.norm(norm, &sum)).collect()
    }

    fn linear(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let (weight, bias) = (
            &self.0[&format!("{name}.weight")].1,
            &self.0[&format!("{name}.bias")].1,
        );
        let rows = weight.chunks_exact(x.len()).zip(bias);
        rows.map(|(w, b)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>())
            .collect()
    }

    fn norm(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let (weight, bias) = (
            &self.0[&format!("{name}.weight")].1,
            &self.0[&format!("{name}.bias")].1,
        );
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
        let scale = 1.0 / (variance + EPSILON).sqrt();
        let each = x.iter().zip(weight).zip(bias);
        each.map(|((x, w), b)| (x - mean) * scale * w + b).collect()
    }
}

/// `x/2 (1 + erf(x / sqrt 2))`, with erf as its integral by Simpson's rule.
fn gelu(x: f32) -> f32 {
    let end = f64::from(x) / std::f64::consts::SQRT_2;
    let n = 200;
    let step = end / f64::from(n);
    let value = |i: i32| (-(f64::from(i) * step).powi(2)).exp();
    let inner: f64 = (1..n)
        .map(|i| value(i) * if i % 2 == 1 { 4.0 } else { 2.0 })
        .sum();
    let erf = 2.0 / std::f64::consts::PI.sqrt() * step / 3.0 * (value(0) + inner + value(n));
    (f64::from(x) / 2.0 * (1.0 + erf)) as f32
}
