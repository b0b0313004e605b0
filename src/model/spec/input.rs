//! The inputs of a model, and the files that a description names for them.
//!
//! Invariant: inputs that are alike make rows that are alike to the learned state.

use std::fmt;

use super::time::{TimeFormat, rfc_3339_of, zone_text};
use crate::event::Column;

/// One described input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The name of its tensor.
    pub name: String,
    /// The kind of its values.
    pub kind: InputKind,
    /// True of a category or a text that a row may be without: it is the empty text then.
    pub may_be_empty: bool,
}

/// The kind of the values of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum InputKind {
    /// A number a row, standardised online.
    Number {
        /// True if NaN stands for a gap: the running mean and an indicator take its place.
        gaps: bool,
    },
    /// A time a row: the hour, the weekday and the month in its zone, and the time elapsed since its
    /// origin.
    Time(Times),
    /// A name a row, hashed.
    Category,
    /// A text a row: hashed words, word pairs and character 4-grams.
    Text,
    /// A text a row: the vector of a pretrained encoder, standardised as a whole.
    Embedded {
        /// The folder of the encoder.
        encoder: PinnedFile,
        /// The number of its outputs, at least one.
        length: usize,
        /// The adapters of its encoder, if they learn.
        adapters: Option<LowRank>,
    },
    /// A vector a row: the output of a pretrained network for it, standardised as a whole.
    EmbeddedVector {
        /// The number of 32-bit floats, at least one.
        n_values: usize,
        /// The file of the network.
        encoder: PinnedFile,
        /// The number of its outputs, at least one.
        length: usize,
    },
    /// This many 32-bit floats a row.
    Vector {
        /// The length, at least one.
        length: usize,
        /// True if the values are standardised online, as a whole; they are taken as they are
        /// otherwise.
        standardise: bool,
        /// Height, width and channels of an image; none of other vectors.
        shape: Option<[usize; 3]>,
    },
}

/// The reading of an input's times.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// The format of the times.
    pub format: TimeFormat,
    /// The zone in which they are looked at, and of those without an offset, in seconds east of UTC.
    pub zone_s: i64,
    /// The origin of the elapsed time, in microseconds since 1970.
    pub origin_us: i64,
    /// True if an empty text stands for a gap.
    pub gaps: bool,
}

/// The features derived from a time beside the time elapsed: sine and cosine of three periods of the
/// day, of three of the week and of two of the year.
pub(crate) const N_CALENDAR: usize = 16;

/// Low-rank adapters of the last layers of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRank {
    /// The rank, at least one.
    pub rank: usize,
    /// The number of layers, at least one.
    pub layers: usize,
    /// The step size.
    pub learning_rate: f32,
}

/// A file that a description names, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedFile {
    /// The path, from the folder of the model.
    pub path: String,
    /// BLAKE3 of its content.
    pub digest: blake3::Hash,
    /// The number of outputs of an encoder; none of other files.
    pub length: Option<usize>,
}

impl Input {
    /// True if the input is the same to the learned state: an encoder may have moved.
    pub(super) fn is_alike(&self, other: &Input) -> bool {
        match (&self.kind, &other.kind) {
            (
                InputKind::Embedded {
                    encoder, adapters, ..
                },
                InputKind::Embedded {
                    encoder: next,
                    adapters: next_adapters,
                    ..
                },
            ) => {
                let shape = |one: &LowRank| (one.rank, one.layers);
                let same = adapters.as_ref().map(shape) == next_adapters.as_ref().map(shape);
                same && self.name == other.name && encoder.digest == next.digest
            }
            (
                InputKind::EmbeddedVector { encoder, .. },
                InputKind::EmbeddedVector { encoder: next, .. },
            ) => self.name == other.name && encoder.digest == next.digest,
            // An empty text was learned as one like any other.
            _ => self.name == other.name && self.kind == other.kind,
        }
    }

    /// True if a row may be without a value for it.
    pub fn has_gaps(&self) -> bool {
        self.may_be_empty || self.kind.has_gaps()
    }

    /// The word of `missing` for its kind; none where no row may be without it.
    pub(crate) fn missing_word(&self) -> Option<&'static str> {
        match self.kind {
            InputKind::Number { .. } | InputKind::Time(_) => Some("mean"),
            InputKind::Category | InputKind::Text | InputKind::Embedded { .. } => Some("empty"),
            InputKind::Vector { .. } | InputKind::EmbeddedVector { .. } => None,
        }
    }

    /// The keys in which an input of the same kind differs, as model.toml has them now and had them.
    pub(super) fn keys_changed(&self, next: &Input) -> Vec<String> {
        let keys = self.keys().into_iter().zip(next.keys());
        let changed = keys.filter(|((_, was), (_, is))| was != is);
        changed
            .map(|((key, was), (_, is))| format!("{key} is {is}, and was {was}"))
            .collect()
    }

    /// The keys of an input of its kind, with their values.
    fn keys(&self) -> Vec<(&'static str, String)> {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
        let missing = self.missing_word().filter(|_| self.has_gaps());
        let missing = ("missing", or_none(missing.map(|word| format!("{word:?}"))));
        let others = match &self.kind {
            InputKind::Time(times) => {
                let format = Some(times.format.written()).filter(|format| !format.is_empty());
                vec![
                    (
                        "format",
                        or_none(format.map(|format| format!("{format:?}"))),
                    ),
                    ("zone", format!("{:?}", zone_text(times.zone_s))),
                    ("origin", rfc_3339_of(times.origin_us)),
                ]
            }
            InputKind::Vector {
                length,
                standardise,
                shape,
            } => vec![
                ("length", length.to_string()),
                ("standardise", standardise.to_string()),
                ("shape", or_none(shape.map(|shape| format!("{shape:?}")))),
            ],
            InputKind::EmbeddedVector { n_values, .. } => vec![("length", n_values.to_string())],
            InputKind::Embedded { adapters, .. } => {
                let adapters = adapters.as_ref().map(|one| {
                    let LowRank { rank, layers, .. } = one;
                    format!("{{ rank = {rank}, layers = {layers} }}")
                });
                vec![("adapters", or_none(adapters))]
            }
            InputKind::Number { .. } | InputKind::Category | InputKind::Text => Vec::new(),
        };
        [vec![missing], others].concat()
    }
}

impl InputKind {
    /// True if it has an encoder that learns.
    pub(crate) fn is_adapted(&self) -> bool {
        matches!(
            self,
            InputKind::Embedded {
                adapters: Some(_),
                ..
            }
        )
    }

    /// True if a row may have a gap in its place.
    pub fn has_gaps(&self) -> bool {
        match self {
            InputKind::Number { gaps } => *gaps,
            InputKind::Time(times) => times.gaps,
            _ => false,
        }
    }

    /// The column of rows without a value for it.
    pub(crate) fn gaps(&self, n_rows: usize) -> Column {
        match self {
            InputKind::Number { .. } => Column::Numbers(vec![f64::NAN; n_rows]),
            _ => Column::Strings(vec![String::new(); n_rows]),
        }
    }

    /// The number of dense features of one row.
    pub fn n_dense(&self) -> usize {
        match self {
            InputKind::Number { gaps } => 1 + usize::from(*gaps),
            InputKind::Time(times) => 1 + N_CALENDAR + usize::from(times.gaps),
            InputKind::Vector { length, .. }
            | InputKind::Embedded { length, .. }
            | InputKind::EmbeddedVector { length, .. } => *length,
            InputKind::Category | InputKind::Text => 0,
        }
    }
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InputKind::Number { .. } => "number",
            InputKind::Time(_) => "time",
            InputKind::Category => "category",
            InputKind::Text | InputKind::Embedded { .. } => "text",
            InputKind::Vector { .. } | InputKind::EmbeddedVector { .. } => "vector",
        })
    }
}
