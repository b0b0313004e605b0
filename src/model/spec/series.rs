//! The series that a regression's targets form, as described.
//!
//! Invariant: settings are data; the portfolio gives them their meaning.

/// Settings of `[series]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesSettings {
    /// The place of the input whose values identify the series; none where all rows are one.
    pub key: Option<usize>,
    /// Series that are remembered, 1 to 65,536; the one that learned last longest ago goes.
    pub keys_max: usize,
}
