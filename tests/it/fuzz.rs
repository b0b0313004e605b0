//! The bodies of the fuzz targets on sound samples and seeded mutations of them: no bytes end the program.
//!
//! The targets in `fuzz/` search for longer, by the coverage of the code.

use std::fs;
use std::path::{Path, PathBuf};

use perennial::fuzz;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::proto::inference::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use perennial::proto::inference::{InferParameter, InferTensorContents, ModelInferRequest};
use perennial::proto::perennial::v1::{FeedbackRequest, RetractRequest, Tensor};
use prost::Message;
use serde_json::json;

use crate::pretrained::onnx::{cnn, mlp};
use crate::support::bert::Bert;
use crate::support::mutations::mutate;

/// The files of this name below a folder of the repository, in order; of any for an empty name.
fn files(folder: &str, name: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is there") {
            let path = entry.expect("it is listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|path| path.ends_with(name)) {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder}: {name}");
    files
}

fn read(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    let read = |path| fs::read(path).expect("it is read");
    paths.iter().map(read).collect()
}

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

/// A request for the inputs that the body describes, raw or typed.
fn request(is_raw: bool) -> ModelInferRequest {
    let mut inputs = vec![
        input("n", "FP64", &[1]),
        input("c", "BYTES", &[1, 1]),
        input("t", "BYTES", &[1]),
        input("v", "FP32", &[1, 2]),
    ];
    let texts = ["red", "2026-01-31T00:00:00Z"];
    let text = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let mut raw = Vec::new();
    if is_raw {
        let vector = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
        let number = 1.5_f64.to_le_bytes().to_vec();
        let columns = [number, text(texts[0]), text(texts[1]), vector];
        raw.extend(columns.map(Into::into));
    } else {
        let mut contents: [InferTensorContents; 4] = std::array::from_fn(|_| Default::default());
        contents[0].fp64_contents = vec![1.5];
        contents[1].bytes_contents = vec![texts[0].to_owned().into_bytes().into()];
        contents[2].bytes_contents = vec![texts[1].to_owned().into_bytes().into()];
        contents[3].fp32_contents = vec![1.0, 2.0];
        for (input, contents) in inputs.iter_mut().zip(contents) {
            input.contents = Some(contents);
        }
    }
    let parameter = InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(3)),
    };
    ModelInferRequest {
        model_name: "m".to_owned(),
        parameters: [("min_position".to_owned(), parameter)].into(),
        inputs,
        outputs: vec![InferRequestedOutputTensor {
            name: "value".to_owned(),
            ..InferRequestedOutputTensor::default()
        }],
        raw_input_contents: raw,
        ..ModelInferRequest::default()
    }
}

fn feedback(label: Option<&str>, value: Option<f64>, reward: Option<f64>) -> FeedbackRequest {
    FeedbackRequest {
        model: "m".to_owned(),
        feedback_id: "one".to_owned(),
        prediction_id: Some("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".to_owned()),
        source: "a".to_owned(),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        label: label.map(str::to_owned),
        value,
        reward,
        ..FeedbackRequest::default()
    }
}

/// A row of its own with its label.
fn own_row() -> FeedbackRequest {
    let request = request(true);
    let raw = request.inputs.into_iter().zip(request.raw_input_contents);
    let tensors = raw.map(|(input, contents)| Tensor {
        name: input.name,
        datatype: input.datatype,
        shape: input.shape,
        contents,
    });
    FeedbackRequest {
        prediction_id: None,
        inputs: tensors.collect(),
        event_time: Some(prost_types::Timestamp {
            seconds: 1 << 30,
            nanos: 7,
        }),
        ..feedback(Some("a"), None, None)
    }
}

#[test]
fn p9_no_message_of_the_wire_ends_the_program() {
    let of_kind = |kind: u8, message: Vec<u8>| [vec![kind], message].concat();
    let samples = [
        of_kind(0, request(true).encode_to_vec()),
        of_kind(0, request(false).encode_to_vec()),
        of_kind(1, feedback(Some("a"), None, None).encode_to_vec()),
        of_kind(1, feedback(None, Some(1.0), None).encode_to_vec()),
        of_kind(1, feedback(None, None, Some(0.5)).encode_to_vec()),
        of_kind(1, own_row().encode_to_vec()),
        of_kind(
            2,
            RetractRequest {
                model: "m".to_owned(),
                source: Some("a".to_owned()),
                ..RetractRequest::default()
            }
            .encode_to_vec(),
        ),
    ];
    mutate(&samples, 100_000, fuzz::wire);
}

/// The payloads of a segment, each behind its kind and the version of its format.
fn payloads(segment: &[u8]) -> Vec<Vec<u8>> {
    let number = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().expect("4 bytes"));
    let (mut payloads, mut at) = (Vec::new(), 80);
    while at < segment.len() {
        let end = at + 32 + number(at + 12) as usize;
        at += 32;
        while at < end {
            let (start, n_bytes) = (at + 96, number(at + 4) as usize);
            let payload = &segment[start..start + n_bytes];
            payloads.push([&segment[at + 24..at + 26], payload].concat());
            at = start + n_bytes;
        }
    }
    payloads
}

#[test]
fn p9_no_payload_of_a_journal_ends_the_program() {
    let segments = read(&files("tests/golden", ".seg"));
    let mut samples: Vec<Vec<u8>> = segments.iter().flat_map(|one| payloads(one)).collect();
    samples.sort();
    samples.dedup();
    mutate(&samples, 300_000, fuzz::journal);
}

#[test]
fn p9_no_segment_ends_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut samples = read(&files("tests/golden", "00000000000000000001.seg"));
    samples.retain(|segment| segment.len() < 8 << 10);
    mutate(&samples, 1_000, |bytes| {
        fuzz::segment(bytes, folder.path());
    });
}

#[test]
fn p9_no_checkpoint_ends_the_program() {
    let mut samples = Vec::new();
    for manifest in files("tests/golden", "manifest.json") {
        let folder = manifest.parent().expect("it lies in one");
        let files = ["weights.safetensors", "learner.safetensors"].map(|name| folder.join(name));
        let [weights, learner] = files.map(|path| fs::read(path).expect("it is read"));
        if learner.len() < 32 << 10 {
            let length = (weights.len() as u32).to_le_bytes();
            samples.push([&length[..], &weights, &learner].concat());
        }
        samples.push(fs::read(&manifest).expect("it is read"));
    }
    mutate(&samples, 10_000, fuzz::checkpoint);
}

#[test]
fn p9_no_model_toml_ends_the_program() {
    let mut samples = read(&files("models", "model.toml"));
    samples.extend(read(&files("tests/golden", "model.toml")));
    let documented =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/learning.md"));
    let documented = documented.expect("it is read");
    let blocks = documented.split("```toml\n").skip(1);
    samples.extend(blocks.filter_map(|block| Some(block.split_once("```")?.0.as_bytes().to_vec())));
    mutate(&samples, 20_000, fuzz::model_toml);
}

#[test]
fn p9_no_file_of_credentials_ends_the_program() {
    let digest = "7f".repeat(32);
    let token = format!(
        "[[credential]]\nname = \"a\"\ntoken = \"{digest}\"\nexpires = \"2100-01-01T00:00:00Z\"\n\
         scopes = [\"predict\", \"feedback\"]\nmodels = [\"m\"]\nsource = \"shop\"\n"
    );
    let certificate =
        "[[credential]]\nname = \"b\"\ncertificate = \"b.internal\"\nscopes = [\"operate\"]\n";
    let samples = [token.clone(), certificate.to_owned(), token + certificate];
    mutate(&samples.map(String::into_bytes), 20_000, fuzz::credentials);
}

#[test]
fn p9_no_file_of_keys_ends_the_program() {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let signed = signed.expect("a certificate");
    let (certificate, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let samples = [format!("{certificate}{key}"), format!("{key}{certificate}")];
    mutate(&samples.map(String::into_bytes), 4_000, fuzz::keys);
}

#[test]
fn p9_no_tokenizer_ends_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    Bert::new().write(folder.path());
    let bert = fs::read(folder.path().join("tokenizer.json")).expect("it was written");
    let file = |normalizer, pre_tokenizer, model| {
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{"id": 1, "content": "b", "single_word": false, "lstrip": true,
                "rstrip": false, "normalized": true, "special": true}],
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": null,
            "post_processor": null, "model": model,
        });
        file.to_string().into_bytes()
    };
    let samples = [
        bert,
        file(
            json!({"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"},
                {"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "_"}]}),
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": true}),
            json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"],
                "unk_token": "b", "byte_fallback": true}),
        ),
        file(
            json!({"type": "Strip", "strip_left": true, "strip_right": true}),
            json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always",
                "split": true}),
            json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
                "vocab": [["<unk>", 0.0], ["a", -1.5], ["_", -2.5]]}),
        ),
        file(
            json!(null),
            json!({"type": "Split", "pattern": {"Regex": "[a-c]+"}, "behavior": "Isolated",
                "invert": true}),
            json!({"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "b"}),
        ),
    ];
    mutate(&samples, 8_000, fuzz::tokens);
}

#[test]
fn p9_no_onnx_file_ends_the_program() {
    let samples = [mlp().bytes(), cnn().bytes()];
    mutate(&samples, 20_000, fuzz::onnx);
}
