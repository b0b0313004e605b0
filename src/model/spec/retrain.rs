//! The conditions on which a learner begins anew, as described.
//!
//! Invariant: settings are data; `learn` gives them their meaning.

/// Settings of `[retrain]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetrainSettings {
    /// Labelled rows that it learns from, the newest ones; all that are retained if 0.
    pub newest: u64,
    /// The number of feedback events after which a learner begins anew.
    pub after_events: Option<u64>,
    /// The number of seconds after which a learner begins anew.
    pub every_s: Option<u64>,
    /// True if a learner begins anew once the error of the answers has drifted.
    pub on_drift: bool,
    /// The share of right answers below which a learner begins anew.
    pub below_accuracy: Option<f64>,
    /// Feedback events between two that drift or accuracy ask for.
    pub cooldown_events: u64,
}

impl RetrainSettings {
    /// True if anything but an order asks for it.
    pub(crate) fn is_asked_for(&self) -> bool {
        let asked = [
            self.after_events.is_some(),
            self.every_s.is_some(),
            self.on_drift,
            self.below_accuracy.is_some(),
        ];
        asked.contains(&true)
    }
}
