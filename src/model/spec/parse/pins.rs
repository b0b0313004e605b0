//! Files that a description names, pinned to their content: a table `[pinned."path"]` each, behind
//! the text as its author wrote it.
//!
//! Invariant: a description that names a file is possible only with its digest, so that nothing
//! that learns or is replayed depends on the file's content by then.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::values::{count_or, value};
use crate::model::spec::error::Error;
use crate::model::spec::input::{InputKind, LowRank, PinnedFile};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPinned {
    blake3: String,
    length: Option<u64>,
}

pub(super) type Pins = BTreeMap<String, RawPinned>;

/// A file that `key` names, with its digest.
pub(super) fn pinned(pins: &Pins, key: &str, path: &str) -> Result<PinnedFile, Error> {
    check_path(key, path)?;
    let pin = pins.get(path).ok_or_else(|| {
        let allowed = "it was not read yet; a model is described by its folder";
        value(key, format!("{path:?}"), allowed)
    })?;
    let digest = digest(&pin.blake3).ok_or_else(|| {
        let allowed = "64 hexadecimal digits";
        value(&format!("pinned.{path:?}.blake3"), &pin.blake3, allowed)
    })?;
    Ok(PinnedFile {
        path: path.to_owned(),
        digest,
        length: pin.length.map(|length| length as usize),
    })
}

/// An encoder that an input names: its vectors have the length that its folder states.
pub(super) fn encoder(
    pins: &Pins,
    name: &str,
    path: &str,
    adapters: Option<LowRank>,
) -> Result<InputKind, Error> {
    let (encoder, length) = sized(pins, name, path)?;
    Ok(InputKind::Embedded {
        encoder,
        length,
        adapters,
    })
}

/// The encoder of vectors that come with `n_values`.
pub(super) fn vector_encoder(
    pins: &Pins,
    name: &str,
    path: &str,
    n_values: usize,
) -> Result<InputKind, Error> {
    let (encoder, length) = sized(pins, name, path)?;
    Ok(InputKind::EmbeddedVector {
        n_values,
        encoder,
        length,
    })
}

/// An encoder with the number of its outputs.
fn sized(pins: &Pins, name: &str, path: &str) -> Result<(PinnedFile, usize), Error> {
    let encoder = pinned(pins, &format!("input {name:?}: encoder"), path)?;
    let key = format!("pinned.{path:?}.length");
    let length = encoder.length.unwrap_or(0) as u64;
    let length = self::length(&key, Some(length))?;
    Ok((encoder, length))
}

/// The length of a vector or of an encoder's output, under the name of its key.
pub(super) fn length(key: &str, written: Option<u64>) -> Result<usize, Error> {
    let length = count_or("input.length", written, || 0);
    Ok(length.map_err(|error| error.renamed("input.length", key))? as usize)
}

pub(super) fn check_path(key: &str, path: &str) -> Result<(), Error> {
    let sound = (1..=1024).contains(&path.len()) && !path.contains(char::is_control);
    if sound {
        Ok(())
    } else {
        Err(value(key, format!("{path:?}"), "a path of 1 to 1024 bytes"))
    }
}

fn digest(text: &str) -> Option<blake3::Hash> {
    blake3::Hash::from_hex(text).ok()
}
