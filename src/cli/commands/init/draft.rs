//! A drafted model description: the task, the inputs and the excluded columns, with the reasons.
//!
//! Invariant: every column of the file is the target, an input, a part of one, or excluded.

use perennial::model::RowFormat;

/// The task of a drafted model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DraftTask {
    /// Predict the class of a row.
    Classification,
    /// Predict a number.
    Regression,
    /// Choose an action, and learn from its reward.
    Bandit,
}

/// A drafted model description, with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    /// The name of the file of rows.
    pub source: String,
    /// The number of rows in the file.
    pub n_rows: u64,
    /// The task.
    pub task: DraftTask,
    /// The reason for the task.
    pub task_reason: String,
    /// Classes or actions in order of appearance; none for a regression.
    pub labels: Vec<String>,
    /// The inputs, in the order of the file.
    pub inputs: Vec<DraftInput>,
    /// The columns that are not inputs.
    pub excluded: Vec<ExcludedColumn>,
    /// The column to predict.
    pub target: String,
    /// The input that distinguishes the series of a regression.
    pub series: Option<SeriesKey>,
    /// How the rows are read.
    pub rows: RowFormat,
    /// Sentences about the file, for the screen.
    pub notes: Vec<String>,
}

/// One input of a drafted model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DraftInput {
    /// The header of its column, verbatim.
    pub name: String,
    /// Its kind.
    pub kind: DraftKind,
    /// The reason for the kind.
    pub reason: String,
    /// The number of rows with a gap in place of a number or a time.
    pub n_gaps: u64,
    /// Its first distinct values.
    pub examples: Vec<String>,
    /// Notes about it: its readings, and the choices to be checked.
    pub remarks: Vec<String>,
    /// Values that stand for none.
    pub sentinels: Vec<String>,
    /// The unit that is taken off its numbers.
    pub unit: Option<String>,
}

/// The kind of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DraftKind {
    /// A number, or a gap.
    Number,
    /// A time in this format; an empty one is RFC 3339.
    Time(String),
    /// A value from a set.
    Category,
    /// Words.
    Text,
    /// A list of this many numbers.
    Vector(usize),
}

/// Series that a model remembers at most.
pub(super) const KEYS_MAX: u64 = 1 << 16;

/// The input whose values distinguish series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeriesKey {
    /// The name of the input.
    pub name: String,
    /// Its values in the file.
    pub n_keys: u64,
    /// The times in the file.
    pub n_times: u64,
}

/// A column that is not an input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExcludedColumn {
    /// Its header, verbatim.
    pub name: String,
    /// The reason for the exclusion.
    pub reason: String,
    /// Its first distinct values.
    pub examples: Vec<String>,
}
