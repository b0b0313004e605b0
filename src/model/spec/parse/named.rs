//! The files and the device that the text of a model.toml names, and the text with its files pinned.
//!
//! Invariant: an author writes no table that the program writes behind a description.

use super::ordered;
use super::pins::{check_path, length};
use super::raw::{RawBackend, raw};
use super::values::{unknown, value};
use crate::device::Device;
use crate::model::spec::error::Error;
use crate::model::spec::input::PinnedFile;
use crate::model::spec::keys::Key;

/// The files that a description names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedFiles {
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
    /// The number of values of a vector; none of a text.
    pub n_values: Option<usize>,
}

/// The files that the text of a model.toml names.
pub(super) fn named(toml: &str) -> Result<NamedFiles, Error> {
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
    Ok(NamedFiles {
        weights,
        encoders: encoders.collect::<Result<_, _>>()?,
        device: device(&raw.backend)?,
    })
}

/// The text with its files pinned, and with the revision of the learning rules: the first is not
/// written, since older journals state none.
pub(super) fn pin(toml: &str, pins: &[PinnedFile], revision: u32) -> String {
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
        let digest = pin.digest;
        text.push_str(&format!("\n[pinned.{path}]\nblake3 = \"{digest}\"\n"));
        if let Some(length) = pin.length {
            text.push_str(&format!("length = {length}\n"));
        }
    }
    text
}

/// The device that the text of a model.toml names, or the default.
pub(super) fn device(backend: &RawBackend) -> Result<Device, Error> {
    let key = Key::named("backend.device");
    let written = backend.device.as_deref().unwrap_or(key.default);
    Device::parse(written).ok_or_else(|| unknown(key.name, written))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LearnerKind, Spec};

    const TOML: &str = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
        [learner]\nkind = \"gradient\"\n[network]\nkind = \"linear\"\nweights = \"a \\\"b\\\".st\"";

    fn pins(digest: blake3::Hash) -> String {
        let path = "a \"b\".st".to_owned();
        let length = None;
        pin(
            TOML,
            &[PinnedFile {
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
        let LearnerKind::Gradient(gradient) = &spec([0xab; 32].into()).learner else {
            panic!("it is described as one")
        };
        let weights = gradient.weights.as_ref().unwrap();
        assert_eq!(weights.digest, blake3::Hash::from([0xab; 32]));
        assert_eq!(
            spec([1; 32].into()).check_change(&spec([1; 32].into())),
            Ok(())
        );
        let changed = spec([1; 32].into()).check_change(&spec([2; 32].into()));
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
        let written = pins([1; 32].into());
        let error = super::named(&written).unwrap_err().to_string();
        assert!(error.contains("leave it out"), "{error}");
        let control = TOML.replace("a \\\"b\\\".st", "a\\nb");
        let error = super::named(&control).unwrap_err().to_string();
        assert!(error.contains("a path of 1 to 1024 bytes"), "{error}");
    }
}
