//! Files that a description names, pinned to what was read: a table `[pinned."path"]` each, behind
//! the text as its author wrote it.
//!
//! Invariant: a description that names a file is possible only with its digest, so that nothing
//! that learns or is replayed depends on what stands in the file by then.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::{Device, InputKind, LowRank, Pinned};
use super::values::{count_or, value};
use super::{Error, Raw, device, ordered, raw};

/// The files that a description names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The weights that the network starts with.
    pub weights: Option<String>,
    /// The encoders, by the place of their input.
    pub encoders: Vec<Option<NamedEncoder>>,
    /// The device of the encoders.
    pub device: Device,
}

/// An encoder that an input names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEncoder {
    /// The folder or file, from the folder of the model.
    pub path: String,
    /// How many values a vector comes with; none of a text.
    pub n_values: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPinned {
    blake3: String,
    length: Option<u64>,
}

pub(super) type Pins = BTreeMap<String, RawPinned>;

/// The files that the text of a model.toml names.
pub(in super::super) fn named(toml: &str) -> Result<Named, Error> {
    let raw = raw(toml)?;
    if let Some(path) = raw.pinned.keys().next() {
        let allowed = "it is written behind a description by the program; leave it out";
        return Err(value("pinned", format!("{path:?}"), allowed));
    }
    ordered::check_absent(&raw)?;
    let network = raw.network.as_ref();
    let weights = network.and_then(|network| network.weights.clone());
    weights
        .iter()
        .try_for_each(|path| check_path("network.weights", path))?;
    let encoders = raw.input.iter().map(|input| {
        let key = |key: &str| format!("input {:?}: {key}", input.name);
        let Some(path) = input.encoder.clone() else {
            return Ok(None);
        };
        check_path(&key("encoder"), &path)?;
        let n_values = match input.kind.as_str() {
            "vector" => Some(length(&key("length"), input.length)?),
            _ => None,
        };
        Ok(Some(NamedEncoder { path, n_values }))
    });
    Ok(Named {
        weights,
        encoders: encoders.collect::<Result<_, _>>()?,
        device: device(&raw)?,
    })
}

/// The text with its files pinned, and with the revision of the learning rules: the first is not
/// written, since older journals state none.
pub(in super::super) fn pin(toml: &str, pins: &[Pinned], revision: u32) -> String {
    let mut text = toml.to_owned();
    let stated = raw(toml).is_ok_and(|raw| raw.rules.revision.is_some());
    if revision > 1 && !stated {
        text.push_str(&format!("\n[rules]\nrevision = {revision}\n"));
    }
    for (index, pin) in pins.iter().enumerate() {
        // One folder may serve several inputs.
        if pins[..index].iter().any(|other| other.path == pin.path) {
            continue;
        }
        // A JSON string of a path without control characters is one of TOML, too.
        let path = serde_json::Value::from(pin.path.as_str());
        let digest: String = pin
            .digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text.push_str(&format!("\n[pinned.{path}]\nblake3 = \"{digest}\"\n"));
        if let Some(length) = pin.length {
            text.push_str(&format!("length = {length}\n"));
        }
    }
    text
}

/// A file that `key` names, with its digest.
pub(super) fn pinned(raw: &Raw, key: &str, path: &str) -> Result<Pinned, Error> {
    check_path(key, path)?;
    let pin = raw.pinned.get(path).ok_or_else(|| {
        let allowed = "it was not read yet; a model is described by its folder";
        value(key, format!("{path:?}"), allowed)
    })?;
    let digest = digest(&pin.blake3).ok_or_else(|| {
        let allowed = "64 hexadecimal digits";
        value(&format!("pinned.{path:?}.blake3"), &pin.blake3, allowed)
    })?;
    Ok(Pinned {
        path: path.to_owned(),
        digest,
        length: pin.length.map(|length| length as usize),
    })
}

/// An encoder that an input names: its vectors have the length that its folder states.
pub(super) fn encoder(
    raw: &Raw,
    name: &str,
    path: &str,
    adapters: Option<LowRank>,
) -> Result<InputKind, Error> {
    let (encoder, length) = sized(raw, name, path)?;
    Ok(InputKind::Embedded {
        encoder,
        length,
        adapters,
    })
}

/// The same of vectors that come with `n_values`.
pub(super) fn vector_encoder(
    raw: &Raw,
    name: &str,
    path: &str,
    n_values: usize,
) -> Result<InputKind, Error> {
    let (encoder, length) = sized(raw, name, path)?;
    Ok(InputKind::EmbeddedVector {
        n_values,
        encoder,
        length,
    })
}

/// An encoder with the length of what it gives.
fn sized(raw: &Raw, name: &str, path: &str) -> Result<(Pinned, usize), Error> {
    let encoder = pinned(raw, &format!("input {name:?}: encoder"), path)?;
    let key = format!("pinned.{path:?}.length");
    let length = encoder.length.unwrap_or(0) as u64;
    let length = self::length(&key, Some(length))?;
    Ok((encoder, length))
}

/// The length of a vector or of an encoder's output, under the name of its key.
fn length(key: &str, written: Option<u64>) -> Result<usize, Error> {
    let length = count_or("input.length", written, || 0);
    Ok(length.map_err(|error| error.renamed("input.length", key))? as usize)
}

fn check_path(key: &str, path: &str) -> Result<(), Error> {
    let sound = (1..=1024).contains(&path.len()) && !path.contains(char::is_control);
    if sound {
        Ok(())
    } else {
        Err(value(key, format!("{path:?}"), "a path of 1 to 1024 bytes"))
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    blake3::Hash::from_hex(text).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::super::super::{LearnerKind, Spec};
    use super::*;

    const TOML: &str = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
        [learner]\nkind = \"gradient\"\n[network]\nkind = \"linear\"\nweights = \"a \\\"b\\\".st\"";

    fn pins(digest: [u8; 32]) -> String {
        let path = "a \"b\".st".to_owned();
        let length = None;
        pin(
            TOML,
            &[Pinned {
                path,
                digest,
                length,
            }],
            1,
        )
    }

    #[test]
    fn a_file_is_known_by_its_digest() {
        let named = named(TOML).unwrap();
        assert_eq!(named.weights.as_deref(), Some("a \"b\".st"));
        let spec = |digest| Spec::parse(&pins(digest)).unwrap();
        let LearnerKind::Gradient(gradient) = &spec([0xab; 32]).learner else {
            panic!("it is described as one")
        };
        let weights = gradient.weights.as_ref().unwrap();
        assert_eq!(weights.digest, [0xab; 32]);
        assert_eq!(spec([1; 32]).check_change(&spec([1; 32])), Ok(()));
        let changed = spec([1; 32]).check_change(&spec([2; 32]));
        assert_eq!(changed, Err(Error::Shape("network.weights")));
    }

    #[test]
    fn p9_a_file_that_was_not_read_is_refused() {
        let check = |toml: &str, message: &str| {
            let error = Spec::parse(toml).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            assert!(!error.contains('\n'), "{error}");
        };
        check(TOML, "it was not read yet");
        let short = format!("{TOML}\n[pinned.'a \"b\".st']\nblake3 = 'ab'\n");
        check(&short, "blake3 = ab: 64 hexadecimal digits");
        let written = pins([1; 32]);
        let error = super::named(&written).unwrap_err().to_string();
        assert!(error.contains("leave it out"), "{error}");
        let control = TOML.replace("a \\\"b\\\".st", "a\\nb");
        let error = super::named(&control).unwrap_err().to_string();
        assert!(error.contains("a path of 1 to 1024 bytes"), "{error}");
    }
}
