//! The settings of `[drift]`: the streams that are watched for drift.
//!
//! Invariant: settings are data; `learn` gives them their meaning.

/// The effect of an alarm that the error of the answers has drifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftAction {
    /// The alarm is shown, as every alarm.
    Report,
    /// Nothing is learned until a person resumes the model.
    Freeze,
    /// A learner begins anew behind it, as with `retrain.on_drift`.
    Retrain,
}

/// Settings of `[drift]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftSettings {
    /// The effect of an alarm about errors, beside its display.
    pub action: DriftAction,
    /// False alarms that all tests together may raise in 100,000 events, larger than 0.
    pub false_alarms: f64,
}
