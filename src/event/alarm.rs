//! Alarms of drift: a watched stream that has changed, with the evidence.
//!
//! Invariant: an alarm is derived from the journal; nothing here decides when one is raised.

/// A drift alarm: evidence that a watched stream has changed. A record, which replay derives again
/// and compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// The position of the entry that raised it.
    pub position: u64,
    /// The stream that has changed.
    pub watched: WatchedStream,
    /// The name of the input or of the slice, as in `country=BR`; empty of other streams.
    pub input: String,
    /// The kind of the change.
    pub change: Change,
    /// A stream that does not change reaches so much evidence once in so many events at most, on
    /// average.
    pub evidence: f64,
}

/// A stream that is watched for drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchedStream {
    /// The errors of served answers: whether a label was missed, the absolute error of a value, or
    /// the reward of an action, whose fall is the rise of an error.
    Error,
    /// The errors of served answers, by a window of varying length.
    ErrorWindow,
    /// The distance between the confidence of an answer and its correctness.
    Calibration,
    /// The confidence of answers.
    Confidence,
    /// The answers.
    Prediction,
    /// The labels, values or best actions that come as feedback.
    Label,
    /// The values of an input.
    Input,
    /// The gaps of an input.
    InputGaps,
    /// The lengths of a text or a vector.
    InputLength,
    /// The share of a text's words that are new.
    InputWords,
    /// A fixed random projection of a text or a vector.
    InputProjection,
    /// The errors of the served answers to the rows of a slice.
    Slice,
}

impl WatchedStream {
    /// Every stream.
    pub const ALL: [WatchedStream; 12] = [
        WatchedStream::Error,
        WatchedStream::ErrorWindow,
        WatchedStream::Calibration,
        WatchedStream::Confidence,
        WatchedStream::Prediction,
        WatchedStream::Label,
        WatchedStream::Input,
        WatchedStream::InputGaps,
        WatchedStream::InputLength,
        WatchedStream::InputWords,
        WatchedStream::InputProjection,
        WatchedStream::Slice,
    ];

    /// The word for it, on the wire, in metrics and on screens.
    pub fn word(self) -> &'static str {
        match self {
            WatchedStream::Error => "error",
            WatchedStream::ErrorWindow => "error_window",
            WatchedStream::Calibration => "calibration",
            WatchedStream::Confidence => "confidence",
            WatchedStream::Prediction => "prediction",
            WatchedStream::Label => "label",
            WatchedStream::Input => "input",
            WatchedStream::InputGaps => "input_gaps",
            WatchedStream::InputLength => "input_length",
            WatchedStream::InputWords => "input_words",
            WatchedStream::InputProjection => "input_projection",
            WatchedStream::Slice => "slice",
        }
    }
}

/// The change of a watched stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its values are higher.
    Higher,
    /// Its values are lower.
    Lower,
    /// Its values lie farther from the middle.
    Wider,
    /// Its values lie nearer to the middle.
    Narrower,
    /// Its kinds come in another mix.
    Mix,
}

impl Change {
    /// Every change.
    pub const ALL: [Change; 5] = [
        Change::Higher,
        Change::Lower,
        Change::Wider,
        Change::Narrower,
        Change::Mix,
    ];

    /// The word for it, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Change::Higher => "higher",
            Change::Lower => "lower",
            Change::Wider => "wider",
            Change::Narrower => "narrower",
            Change::Mix => "mix",
        }
    }
}
