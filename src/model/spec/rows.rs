//! The reading of rows of files for a model: the decisions of `init`, for the commands after it.
//!
//! Invariant: nothing here reaches the learned state; requests do not pass through it.

use std::collections::BTreeMap;

use encoding_rs::Encoding;
use serde::{Deserialize, Serialize};

/// The format of the rows of files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowFormat {
    /// The separator of a CSV, one character; none: detected from the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// `point` or `comma`; none: detected from the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimals: Option<String>,
    /// The encoding; none: detected from the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// False if the first row is data; none: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// `points` or `fraction`: whether 12 % is 12 or 0.12; none: points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<String>,
    /// Tokens that are gaps, beside the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
    /// Values that stand for no value, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sentinels: BTreeMap<String, Vec<String>>,
    /// The values of inputs that files do not have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constants: BTreeMap<String, String>,
    /// The unit behind the numbers, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, String>,
    /// Other spellings of labels, each with the label that it means.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The encoding of this name, as it may be written in several ways.
pub fn encoding_named(name: &str) -> Option<&'static Encoding> {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let dashed = plain.to_ascii_lowercase().replace("utf", "utf-");
    [name, &plain, &dashed]
        .into_iter()
        .find_map(|name| Encoding::for_label(name.as_bytes()))
}
