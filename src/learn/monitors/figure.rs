//! A monitor's figure as it is shown.

/// One number of a model, over each span that it is known for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Its name, the same everywhere.
    pub name: &'static str,
    /// The class or action that it is of, or the longest delay; empty where it is of all.
    pub of: String,
    /// The slice that it is of, as in `country=BR`; empty where it is of all.
    pub slice: String,
    /// The figure over everything.
    pub all: Option<f64>,
    /// The figure over a window of the newest.
    pub window: Option<f64>,
    /// The figure as a fading mean.
    pub recent: Option<f64>,
}

/// The count of a pair of label and answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusionCount {
    /// The label.
    pub truth: String,
    /// The label that was answered.
    pub answer: String,
    /// The count, over everything.
    pub n: f64,
}
