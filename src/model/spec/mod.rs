//! The description of a model: the checked form of its model.toml.
//!
//! Invariant: a [`Spec`] is possible. Every key was known, every value in its range, and what
//! this build does not offer yet was refused with that word.

mod error;
pub mod keys;
mod parse;

use std::fmt;

use super::policy::Policy;
use crate::device::Device;
pub use error::Error;
use keys::{Key, Values};
pub use parse::OrderedLimits;
pub(crate) use parse::{Named, NamedEncoder};

/// The newest revision of the learning rules: the mapping from a journal's entries to a state.
///
/// Under each revision a journal leads, bit for bit, to what it led to under the program that wrote
/// it. 1: the rules before revisions were stated. 2: rewards that change later are learned as whole
/// examples where nothing is held of them, and a corrected label supersedes the older one.
/// 3: a classifier has a retention set, whose anchors are withheld from memories, and `auto` answers
/// for what is kept as well as for what comes, with a network that keeps.
pub const REVISION: u32 = 3;
/// The first revision with a retention set.
const RETAINS: u32 = 3;

/// The task of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// One of these classes, with probabilities.
    Classification {
        /// At least one name, no name twice.
        classes: Vec<String>,
        /// So many classes at most, at least those named: a label never seen takes the next place.
        classes_max: usize,
    },
    /// A number.
    Regression,
    /// One of these actions, with an estimated reward for each.
    Bandit {
        /// At least one name, no name twice.
        actions: Vec<String>,
    },
}

impl Task {
    /// How many numbers the network gives for a row: classes that there can be, one value, or
    /// actions.
    pub fn n_outputs(&self) -> usize {
        match self {
            Task::Classification { classes_max, .. } => *classes_max,
            Task::Bandit { actions } => actions.len(),
            Task::Regression => 1,
        }
    }

    /// The classes or actions of the description; none for regression.
    pub fn names(&self) -> &[String] {
        match self {
            Task::Classification { classes, .. } => classes,
            Task::Bandit { actions } => actions,
            Task::Regression => &[],
        }
    }

    /// The place of a described class or action.
    pub fn index(&self, name: &str) -> Option<u32> {
        let place = self.names().iter().position(|known| known == name)?;
        Some(place as u32)
    }

    /// The word for it in model.toml.
    pub fn word(&self) -> &'static str {
        match self {
            Task::Classification { .. } => "classification",
            Task::Regression => "regression",
            Task::Bandit { .. } => "bandit",
        }
    }
}

/// One described input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The name of its tensor.
    pub name: String,
    /// The kind of its values.
    pub kind: InputKind,
}

/// The kind of the values of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum InputKind {
    /// A number a row, standardised online.
    Number {
        /// True if NaN stands for a gap: the running mean and an indicator take its place.
        gaps: bool,
    },
    /// A name a row, hashed.
    Category,
    /// A text a row: hashed words, word pairs and character 4-grams.
    Text,
    /// A text a row: the vector of a pretrained encoder, standardised as a whole.
    Embedded {
        /// The folder of the encoder.
        encoder: Pinned,
        /// The length of what it gives, at least one.
        length: usize,
        /// The adapters of its encoder, if they learn.
        adapters: Option<LowRank>,
    },
    /// A vector a row: the output of a pretrained network for it, standardised as a whole.
    EmbeddedVector {
        /// How many 32-bit floats come, at least one.
        n_values: usize,
        /// The file of the network.
        encoder: Pinned,
        /// The length of what it gives, at least one.
        length: usize,
    },
    /// This many 32-bit floats a row.
    Vector {
        /// At least one.
        length: usize,
        /// True if the values are standardised online, as a whole; they are taken as they are
        /// otherwise.
        standardise: bool,
    },
}

/// Low-rank adapters of the last layers of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRank {
    /// At least one.
    pub rank: usize,
    /// At least one.
    pub layers: usize,
    /// The step size.
    pub learning_rate: f32,
}

/// A file that a description names, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Where, from the folder of the model.
    pub path: String,
    /// BLAKE3 of what was read.
    pub digest: [u8; 32],
    /// The length of what an encoder gives; none of other files.
    pub length: Option<usize>,
}

/// How a model learns.
#[derive(Clone, Debug, PartialEq)]
pub enum LearnerKind {
    /// A portfolio mixed by its own losses.
    Auto(Keep),
    /// One network, trained by gradient steps.
    Gradient(Gradient),
    /// Ridge regression on random features, by recursion.
    Analytic(Analytic),
    /// The newest examples; the nearest of them answer.
    Neighbours(Neighbourhood),
}

/// The balance of `kind = "auto"` between the examples that come and those that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest examples alone decide.
    Recent,
    /// Both decide.
    Balanced,
    /// The answer is the one that keeps best.
    Everything,
}

/// Settings of `kind = "neighbours"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbourhood {
    /// Examples that are remembered, 1 to 1,000,000; the oldest leaves.
    pub examples: usize,
    /// How many of the nearest answer, 1 to 1000.
    pub nearest: usize,
}

/// Settings of `kind = "gradient"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// Widths of the hidden layers; empty for a linear network.
    pub hidden: Vec<usize>,
    /// The weights that it starts with; drawn by the seed where none are named. With them, numbers
    /// and vectors are taken as they are, and so are values to be predicted.
    pub weights: Option<Pinned>,
    /// The rule that turns gradients into steps.
    pub optimizer: Optimizer,
    /// Larger than 0, at most 10.
    pub learning_rate: f32,
    /// New examples that make up one update, 1 to 4096.
    pub examples_per_update: usize,
}

/// Settings of `kind = "analytic"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Analytic {
    /// Random ReLU units beside the inputs, 0 to 16384; fewer where matrices for all actions
    /// would take more than 512 MiB.
    pub features: usize,
    /// The factor on an example's weight with each later one; above 0.9, at most 1.
    pub forgetting: f64,
    /// The weight of the penalty on squared weights, above 0, at most 1e9.
    pub ridge: f64,
    /// New examples that make up one update, 1 to 4096; by the number of features where not
    /// said.
    pub examples_per_update: Option<usize>,
}

/// The rule that turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// Plain stochastic gradient descent.
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
}

/// The memory of examples that are learned again.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// How remembered examples enter an update.
    pub strategy: Strategy,
    /// Slots of the recent examples, 0 to 1,000,000.
    pub short_term: usize,
    /// Slots of the class-balanced reservoir, 1 to 1,000,000.
    pub long_term: usize,
    /// Examples replayed with each update, 1 to 4096.
    pub replay: usize,
}

/// How remembered examples enter an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Not at all.
    None,
    /// Experience replay: their loss is added as a mean of its own.
    Er,
    /// Experience replay whose new examples compete only among the classes of late (Caccia et al.
    /// 2022).
    ErAce,
    /// Dark experience replay (Buzzega et al. 2020): also the outputs they had when remembered.
    DerPlusPlus,
    /// Averages over the weights serve, and anchor what is replayed (Arani et al. 2022).
    ClsEr,
}

/// Rewards, and how long a prediction waits for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewards {
    /// Seconds that a prediction waits for its reward.
    pub window_s: u64,
    /// How several rewards of a prediction become one.
    pub aggregate: Aggregate,
    /// The reward of a prediction whose window closes in silence; none: nothing is learned.
    pub default: Option<f64>,
    /// The least reward that is taken from now on.
    pub min: f64,
    /// The largest reward that is taken from now on.
    pub max: f64,
    /// Implicit signals by name, at most 62.
    pub signals: Vec<ImplicitSignal>,
}

/// How several rewards of a prediction become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The first counts, the others do not.
    First,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The newest.
    Last,
}

/// How the value of an implicit signal becomes a reward: `reward * clamp(value / scale, min, max)`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImplicitSignal {
    /// As events name it.
    pub name: String,
    /// The reward of a full signal.
    pub reward: f64,
    /// The value of a full signal, larger than 0.
    pub scale: f64,
    /// The least share of a full signal that counts.
    pub min: f64,
    /// The largest share of a full signal that counts.
    pub max: f64,
    /// The least value that is taken from now on.
    pub value_min: f64,
    /// The largest value that is taken from now on.
    pub value_max: f64,
}

/// When versions are made without being asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Cadence {
    /// A version each time so many examples were learned.
    pub examples: u64,
    /// How many versions made by this cadence are kept; the oldest go first.
    pub keep: usize,
}

/// The bounds of a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalLimits {
    /// The size that nothing but ticks and records of versions may pass.
    pub bytes_max: u64,
    /// Bytes of it that are kept for feedback: predictions are not journaled in them.
    pub reserve: u64,
    /// Predictions older than this take no feedback any more, and the segments that hold nothing
    /// younger go.
    pub age_max_s: u64,
    /// How long the journal keeps what it takes to retract feedback.
    pub retract_within_s: u64,
    /// Entries that the learner may be behind before feedback is refused.
    pub lag_max: u64,
    /// Feedback ids that lie in memory, of those that are known for a day to recognise a resent
    /// event; the others lie on disk. Under the first revision of the rules there are no others.
    pub ids_max: usize,
    /// Bytes of feedback ids on disk; a source may take at most as much as is free.
    pub ids_bytes_max: u64,
}

impl JournalLimits {
    /// Bytes that are kept for orders, ticks and records of versions.
    fn orders_reserve(&self) -> u64 {
        (self.bytes_max / 64).min(16 << 20)
    }

    /// At this size feedback is refused.
    pub fn feedback_bytes_max(&self) -> u64 {
        self.bytes_max - self.orders_reserve()
    }

    /// At this size predictions are answered without an id.
    pub fn prediction_bytes_max(&self) -> u64 {
        self.feedback_bytes_max() - self.reserve
    }

    /// So many entries behind the learner may be before predictions are answered without an id:
    /// the others are kept for feedback.
    pub fn prediction_lag_max(&self) -> u64 {
        (self.lag_max - self.lag_max / 4).max(1)
    }

    /// How long a segment gets: room is given back by whole segments.
    pub fn segment_bytes(&self) -> u64 {
        (self.bytes_max / 16).min(64 << 20)
    }
}

/// A model, described and possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its task.
    pub task: Task,
    /// Its inputs, in the order of the description.
    pub inputs: Vec<Input>,
    /// How it learns.
    pub learner: LearnerKind,
    /// Its memory.
    pub memory: Memory,
    /// How a bandit chooses.
    pub policy: Policy,
    /// Its rewards.
    pub rewards: Rewards,
    /// Predictions that wait for feedback at a time; the oldest expires.
    pub waiting_max: usize,
    /// When versions are made.
    pub cadence: Cadence,
    /// The device of encoders and served networks.
    pub device: Device,
    /// The bounds of its journal.
    pub journal: JournalLimits,
    /// Where its randomness starts.
    pub seed: u64,
    /// The revision of the learning rules, 1 to [`REVISION`].
    pub revision: u32,
}

impl Spec {
    /// Reads and checks a model.toml; without a stated revision it is of the newest one.
    ///
    /// ```
    /// let spec = perennial::model::Spec::parse(r#"
    ///     task = "regression"
    ///     [[input]]
    ///     name = "temperature"
    ///     kind = "number"
    /// "#)?;
    /// assert_eq!(spec.inputs[0].name, "temperature");
    /// # Ok::<(), perennial::model::SpecError>(())
    /// ```
    ///
    /// # Errors
    /// One sentence that names key, value and what is allowed.
    pub fn parse(toml: &str) -> Result<Spec, Error> {
        parse::parse(toml, REVISION)
    }

    /// The same of a description as it stands in a journal: without a stated revision it is of
    /// the first one.
    ///
    /// # Errors
    /// As [`Spec::parse`].
    pub fn journaled(toml: &str) -> Result<Spec, Error> {
        parse::parse(toml, 1)
    }

    /// The files that the text of a model.toml names.
    ///
    /// # Errors
    /// As [`Spec::parse`], of what has to be known to tell.
    pub fn named(toml: &str) -> Result<Named, Error> {
        parse::named(toml)
    }

    /// The text of a model.toml as a journal holds it: with the files that it names pinned, and
    /// with `revision` where it states none.
    pub fn pin(toml: &str, pins: &[Pinned], revision: u32) -> String {
        parse::pin(toml, pins, revision)
    }

    /// The text of a description with limits that an operator orders, which hold in place of those
    /// of its author.
    ///
    /// # Errors
    /// When the text is no description; limits that cannot be are found by [`Spec::journaled`].
    pub fn order_limits(toml: &str, limits: &OrderedLimits) -> Result<String, Error> {
        parse::order(toml, limits)
    }

    /// The text of a description with the limits that were ordered for the `journaled` one, unless
    /// its author has changed the same limits since.
    pub fn carry_limits(journaled: &str, toml: &str) -> String {
        parse::carry(journaled, toml)
    }

    /// The weights that its network starts with, if it arrives trained.
    pub fn weights(&self) -> Option<&Pinned> {
        match &self.learner {
            LearnerKind::Gradient(settings) => settings.weights.as_ref(),
            LearnerKind::Auto(_) | LearnerKind::Analytic(_) | LearnerKind::Neighbours(_) => None,
        }
    }

    /// Checks that a state of this description can go on under `next`.
    ///
    /// # Errors
    /// Names the key whose change would need another shape of state.
    pub fn check_change(&self, next: &Spec) -> Result<(), Error> {
        let same =
            |key: &'static str, same: bool| if same { Ok(()) } else { Err(Error::Shape(key)) };
        same("task, classes and actions", self.task == next.task)?;
        same("input", self.has_inputs_of(next))?;
        same(
            "memory.strategy",
            self.memory.strategy == next.memory.strategy,
        )?;
        same(
            "memory.short_term",
            self.memory.short_term == next.memory.short_term,
        )?;
        same(
            "memory.long_term",
            self.memory.long_term == next.memory.long_term,
        )?;
        same("seed", self.seed == next.seed)?;
        same("rules.revision", self.revision <= next.revision)?;
        match (&self.learner, &next.learner) {
            // The third revision has other members.
            (LearnerKind::Auto(_), LearnerKind::Auto(_)) => same(
                "rules.revision",
                (self.revision < RETAINS) == (next.revision < RETAINS),
            ),
            (LearnerKind::Gradient(old), LearnerKind::Gradient(new)) => {
                same("network", old.hidden == new.hidden)?;
                let digest = |gradient: &Gradient| gradient.weights.as_ref().map(|w| w.digest);
                same("network.weights", digest(old) == digest(new))?;
                same("learner.optimizer", old.optimizer == new.optimizer)
            }
            (LearnerKind::Analytic(old), LearnerKind::Analytic(new)) => {
                same("learner.features", old.features == new.features)
            }
            (LearnerKind::Neighbours(old), LearnerKind::Neighbours(new)) => {
                same("learner.examples", old.examples == new.examples)
            }
            _ => same("learner.kind", false),
        }
    }
}

impl Spec {
    /// Whether the scale of inputs is judged robustly by their first values: from the third revision
    /// of the rules on, where inputs are standardised.
    pub(crate) fn judges_first_values(&self) -> bool {
        self.revision >= RETAINS && self.weights().is_none()
    }

    /// Whether a retention set is kept: of classes, from the third revision of the rules on. Not of
    /// neighbours, whose only learning is a memory, and not where an encoder learns, which gives its
    /// texts other vectors than they had.
    pub(crate) fn retains(&self) -> bool {
        self.revision >= RETAINS
            && matches!(self.task, Task::Classification { .. })
            && !matches!(self.learner, LearnerKind::Neighbours(_))
            && self.adapted_encoders().next().is_none()
    }

    /// The encoders whose adapters learn, with the places of their inputs.
    pub fn adapted_encoders(&self) -> impl Iterator<Item = (usize, &Pinned, LowRank)> {
        let inputs = self.inputs.iter().enumerate();
        inputs.filter_map(|(place, input)| match &input.kind {
            InputKind::Embedded {
                encoder, adapters, ..
            } => Some((place, encoder, (*adapters)?)),
            _ => None,
        })
    }

    /// True if the rows of one description are rows of the other.
    pub fn has_inputs_of(&self, other: &Spec) -> bool {
        let mut pairs = self.inputs.iter().zip(&other.inputs);
        pairs.all(|(one, other)| one.is_alike(other)) && self.inputs.len() == other.inputs.len()
    }
}

impl Input {
    /// True if the input is the same to the learned state: an encoder may have moved.
    fn is_alike(&self, other: &Input) -> bool {
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
            _ => self == other,
        }
    }
}

impl InputKind {
    /// True if it has an encoder that learns.
    pub fn is_adapted(&self) -> bool {
        matches!(
            self,
            InputKind::Embedded {
                adapters: Some(_),
                ..
            }
        )
    }

    /// How many dense features a row of it makes.
    pub fn n_dense(&self) -> usize {
        match self {
            InputKind::Number { gaps } => 1 + usize::from(*gaps),
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
            InputKind::Category => "category",
            InputKind::Text | InputKind::Embedded { .. } => "text",
            InputKind::Vector { .. } | InputKind::EmbeddedVector { .. } => "vector",
        })
    }
}
