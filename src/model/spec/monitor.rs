//! The settings of `[monitor]`: the scores of a model's answers beside those of the whole.
//!
//! Invariant: settings are data; `learn` gives them their meaning.

/// Settings of `[monitor]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorSettings {
    /// The places of the inputs by whose values answers are scored apart.
    pub inputs: Vec<usize>,
    /// The tags of feedback by whose values they are.
    pub tags: Vec<String>,
    /// True if the answers that each source of feedback judges are scored apart.
    pub sources: bool,
    /// Values of each input and tag that have scores of their own; further ones count together.
    pub values_max: usize,
    /// Judged answers that the window of every score is of.
    pub window: u64,
    /// Seconds without feedback after which an incident is raised.
    pub silence_after_s: Option<u64>,
    /// Seconds without an example that was learned after which one is raised.
    pub stale_after_s: Option<u64>,
}

impl MonitorSettings {
    /// The inputs and tags that are declared, and one for sources.
    pub(crate) fn n_keys(&self) -> usize {
        self.inputs.len() + self.tags.len() + usize::from(self.sources)
    }

    /// Whether slices are the same under other settings.
    pub(crate) fn has_slices_of(&self, other: &MonitorSettings) -> bool {
        let windowless = MonitorSettings {
            window: other.window,
            silence_after_s: other.silence_after_s,
            stale_after_s: other.stale_after_s,
            ..self.clone()
        };
        windowless == *other
    }
}
