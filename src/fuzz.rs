//! The readers of bytes that others bring, each as a function of any bytes: the bodies of the fuzz targets
//! in `fuzz/`, and of the tests that mutate sound samples. Those of rows are of the program.
//!
//! Invariant: whatever the bytes, each returns; it panics where the reader is at fault.

use std::path::Path;

use bytes::Bytes;

use crate::device::Device;
use crate::model::{Spec, TokenReader};
use crate::onnx::{Graph, Value, element};
use crate::server;
use crate::store;

/// Values that a graph is given at most.
const GIVEN_MAX: usize = 1 << 12;

/// A message of the wire, whose kind is the first byte.
pub fn wire(bytes: &[u8]) {
    server::fuzz_messages(bytes);
}

/// The payload of an entry of a journal, behind its kind and the version of its format.
pub fn journal(bytes: &[u8]) {
    store::fuzz::journal(bytes);
}

/// The only segment of a journal, which is made in this folder.
pub fn segment(bytes: &[u8], folder: &Path) {
    store::fuzz::segment(bytes, folder);
}

/// The files of a checkpoint: the length of the first in 4 bytes, then both.
pub fn checkpoint(bytes: &[u8]) {
    store::fuzz::checkpoint(bytes);
}

/// A model.toml. A pinned description is read again as it was.
pub fn model_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = Spec::named(text);
    let _ = Spec::journaled(text);
    if let Ok(spec) = Spec::parse(text) {
        let pinned = Spec::pin(text, &[], spec.revision);
        let again = Spec::journaled(&pinned);
        assert!(again.is_ok_and(|again| again == spec), "{pinned}");
    }
}

/// A file of credentials.
pub fn credentials(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = server::check_credentials(text);
    }
}

/// The keys of TLS as PEM: one file with the certificates, the private key and the roots of clients.
pub fn keys(bytes: &[u8]) {
    let files = server::AccessFiles {
        credentials: Some(String::new()),
        certificate: Some(bytes.to_vec()),
        key: Some(bytes.to_vec()),
        client_ca: Some(bytes.to_vec()),
    };
    let _ = server::Access::new(&files);
}

/// A tokenizer.json: texts are cut into its tokens.
pub fn tokens(bytes: &[u8]) {
    if let Ok(reader) = TokenReader::new(bytes, 64, 1 << 20) {
        for text in ["", "a", "Cards\u{301} were  lost, \u{fdfa}\u{1f600}\0"] {
            let _ = reader.tokens(text);
        }
    }
}

/// An ONNX file: its graph is computed once, where its inputs are small.
pub fn onnx(bytes: &[u8]) {
    let Ok(graph) = Graph::new(Bytes::copy_from_slice(bytes), &Device::Cpu, &[]) else {
        return;
    };
    let mut given = Vec::new();
    for input in graph.inputs() {
        let shape: Vec<usize> = input
            .dims
            .iter()
            .map(|extent| extent.unwrap_or(1))
            .collect();
        let n_values = shape
            .iter()
            .try_fold(1_usize, |n, extent| n.checked_mul(*extent));
        let Some(n_values) = n_values.filter(|n| (1..=GIVEN_MAX).contains(n)) else {
            return;
        };
        given.push(match input.element {
            element::FLOAT => Value::floats(vec![0.5; n_values], &shape, graph.device()),
            _ => Ok(Value::ints(vec![1; n_values], &shape)),
        });
    }
    if let Ok(given) = given.into_iter().collect() {
        let _ = graph.run(given);
    }
}
