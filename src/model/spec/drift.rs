//! The settings of `[drift]`: the streams that are watched for drift.
//!
//! Invariant: settings are data; `learn` gives them their meaning.

/// Settings of `[drift]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftSettings {
    /// False alarms that all tests together may raise in 100,000 events, larger than 0.
    pub false_alarms: f64,
}
