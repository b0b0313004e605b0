//! The keys of a model.toml as they are written.
//!
//! Invariant: an unknown key, and a value of the wrong type, is refused with its line.

use serde::Deserialize;

use super::inputs::RawInput;
use super::journal::RawJournal;
use super::learner::{RawLearner, RawMemory, RawNetwork};
use super::pins::Pins;
use super::rewards::{RawFeedback, RawPolicy};
use crate::model::spec::error::Error;
use crate::model::spec::keys::Key;
use crate::model::spec::limits::OrderedLimits;

/// The tables of a model.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) task: String,
    pub(super) classes: Option<Vec<String>>,
    pub(super) actions: Option<Vec<String>>,
    pub(super) classes_max: Option<u64>,
    pub(super) seed: Option<u64>,
    #[serde(default)]
    pub(super) input: Vec<RawInput>,
    pub(super) network: Option<RawNetwork>,
    #[serde(default)]
    pub(super) learner: RawLearner,
    #[serde(default)]
    pub(super) memory: RawMemory,
    pub(super) policy: Option<RawPolicy>,
    #[serde(default)]
    pub(super) backend: RawBackend,
    #[serde(default)]
    pub(super) publish: RawPublish,
    #[serde(default)]
    pub(super) feedback: RawFeedback,
    #[serde(default)]
    pub(super) journal: RawJournal,
    #[serde(default)]
    pub(super) versions: RawVersions,
    #[serde(default)]
    pub(super) rules: RawRules,
    #[serde(default)]
    pub(super) ordered: OrderedLimits,
    #[serde(default)]
    pub(super) pinned: Pins,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRules {
    pub(super) revision: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackend {
    pub(super) device: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublish {
    pub(super) policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVersions {
    pub(super) every_examples: Option<u64>,
    pub(super) keep: Option<u64>,
}

/// The keys as they are written.
pub(super) fn raw(text: &str) -> Result<Raw, Error> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let message = error.message().replace('\n', " ");
        let what = match wrong_type(text, start) {
            Some(what) if message.starts_with("invalid type") => what,
            _ => message,
        };
        Error::Toml {
            line: 1 + text[..start].matches('\n').count(),
            what,
        }
    })
}

/// The key on the line of a value of the wrong type, with the values that the table allows.
fn wrong_type(text: &str, start: usize) -> Option<String> {
    let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let (key, written) = text[line_start..].lines().next()?.split_once('=')?;
    let mut earlier = text[..line_start].lines().rev();
    let table = earlier.find_map(|line| line.trim().strip_prefix('['));
    let table = table.map_or("", |table| table.trim_matches(['[', ']']));
    let name = format!("{table}.{}", key.trim());
    let key = Key::find(name.trim_start_matches('.'))?;
    let name = name.trim_start_matches('.');
    Some(format!("{name} = {}: {}", written.trim(), key.values))
}
