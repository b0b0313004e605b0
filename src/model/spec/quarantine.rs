//! The settings of `[quarantine]`: the feedback that waits for a person before it is learned.
//!
//! Invariant: settings are data; `learn` gives them their meaning.

/// Settings of `[quarantine]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuarantineSettings {
    /// Deviations from the middle of the newest ones at which a value or a number is an outlier; none
    /// where nothing is.
    pub outliers: Option<f64>,
    /// Equal events of one source in a row, from which on they are a flood; none where nothing
    /// is.
    pub flood: Option<u64>,
    /// Events that wait for a person at most.
    pub waiting_max: usize,
}

impl QuarantineSettings {
    /// True if events are looked at when they come.
    pub(crate) fn looks_at_events(&self) -> bool {
        self.outliers.is_some() || self.flood.is_some()
    }
}
