//! BYTES tensors: raw or typed, to strings and back.
//!
//! Invariant: every string is UTF-8 of at most [`TEXT_BYTES_MAX`] bytes, and a raw tensor is read
//! to its last byte.

use bytes::Bytes;

use super::refusal::Refusal;
use super::tensor::{RequestTensor, TensorContents, counted};

/// Bytes of one category or text.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Categories or texts, `[rows]`.
pub(super) fn read(tensor: &RequestTensor) -> Result<Vec<String>, Refusal> {
    if tensor.datatype != "BYTES" {
        let got = &tensor.datatype;
        return Err(tensor.refuse(format!("datatype {got}, expected BYTES")));
    }
    match &tensor.values {
        TensorContents::Raw(bytes) => from_raw(tensor, bytes),
        TensorContents::Typed(contents) => {
            let elements = &contents.bytes_contents;
            counted(tensor, contents, "bytes_contents", elements.len())?;
            let rows = elements.iter().enumerate();
            rows.map(|(row, bytes)| text(tensor, row, bytes)).collect()
        }
    }
}

/// Elements of a 4-byte little-endian length and so many bytes.
fn from_raw(tensor: &RequestTensor, mut bytes: &[u8]) -> Result<Vec<String>, Refusal> {
    let mut texts = Vec::with_capacity(tensor.n_values);
    for row in 0..tensor.n_values {
        let element = bytes
            .split_first_chunk()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((element, rest)) = element else {
            return Err(tensor.refuse(format!(
                "raw bytes end within row {row}, expected {} elements, each its length in 4 \
                 bytes and its bytes",
                tensor.n_values
            )));
        };
        texts.push(text(tensor, row, element)?);
        bytes = rest;
    }
    match bytes.len() {
        0 => Ok(texts),
        left => Err(tensor.refuse(format!(
            "{left} raw bytes after the last row, expected {} elements",
            tensor.n_values
        ))),
    }
}

fn text(tensor: &RequestTensor, row: usize, bytes: &[u8]) -> Result<String, Refusal> {
    if bytes.len() > TEXT_BYTES_MAX {
        let got = bytes.len();
        let what = format!("row {row} has {got} bytes, expected at most {TEXT_BYTES_MAX}");
        return Err(tensor.refuse(what));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(tensor.refuse(format!("row {row} is not UTF-8"))),
    }
}

/// Strings as a raw BYTES tensor.
pub(super) fn write<'a>(texts: impl Iterator<Item = &'a str>) -> Bytes {
    let mut bytes = Vec::new();
    for text in texts {
        push(&mut bytes, text);
    }
    bytes.into()
}

/// One more element of a raw BYTES tensor.
pub(super) fn push(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
