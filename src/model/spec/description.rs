//! A description: the checked content of a model.toml.
//!
//! Invariant: the state learned under one description goes on under another only where
//! [`Spec::check_change`] takes it.

use super::budget::Budget;
use super::drift::DriftSettings;
use super::error::Error;
use super::input::{Input, InputKind, LowRank, PinnedFile};
use super::learning::{Costs, Gradient, LearnerKind, MemorySettings};
use super::limits::{Cadence, JournalLimits};
use super::monitor::MonitorSettings;
use super::output::Datatype;
use super::policy::Policy;
use super::publish::Publish;
use super::quarantine::QuarantineSettings;
use super::retrain::RetrainSettings;
use super::revision::RETAINS;
use super::rewards::Rewards;
use super::rows::RowFormat;
use super::series::SeriesSettings;
use super::task::Task;
use crate::device::Device;
use crate::event::PredictionId;

/// A model, described and possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its task.
    pub task: Task,
    /// Its inputs, in the order of the description.
    pub inputs: Vec<Input>,
    /// The datatype of a regression's answers.
    pub datatype: Datatype,
    /// The series that the targets of a regression form.
    pub series: SeriesSettings,
    /// The kind of its learner.
    pub learner: LearnerKind,
    /// The costs by which its classes are answered.
    pub costs: Costs,
    /// Its memory.
    pub memory: MemorySettings,
    /// The policy of a bandit.
    pub policy: Policy,
    /// The least probability of every action, 0 to 1 over their number.
    pub exposure_floor: f64,
    /// Its rewards.
    pub rewards: Rewards,
    /// Predictions that wait for feedback at a time; the oldest expires.
    pub waiting_max: usize,
    /// The largest weight of an event, 1 to 1000.
    pub weight_max: f64,
    /// The learning budget of each source; none where nothing bounds it.
    pub budget: Option<Budget>,
    /// The feedback that waits for a person.
    pub quarantine: QuarantineSettings,
    /// The weights that serve.
    pub publish: Publish,
    /// The cadence of versions.
    pub cadence: Cadence,
    /// The conditions on which a learner begins anew.
    pub retrain: RetrainSettings,
    /// The streams that are watched for drift; none where nothing is.
    pub drift: Option<DriftSettings>,
    /// The scores beside those of the whole model.
    pub monitor: MonitorSettings,
    /// The device of encoders and served networks.
    pub device: Device,
    /// The bounds of its journal.
    pub journal: JournalLimits,
    /// The format of the rows of its files.
    pub rows: RowFormat,
    /// The seed of its randomness.
    pub seed: u64,
    /// The revision of the learning rules, 1 to [`crate::model::REVISION`].
    pub revision: u32,
}

impl Spec {
    /// The weights that its network starts with, if it arrives trained.
    pub fn weights(&self) -> Option<&PinnedFile> {
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
        same("series", self.series == next.series)?;
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
        same("rules.revision", self.has_filters() == next.has_filters())?;
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
    /// True if the candidate answers the journaled request whose first row has this id, where the champion
    /// serves: so that an audit knows it from the entry alone.
    pub(crate) fn is_canary(&self, first: PredictionId) -> bool {
        let share = self.publish.canary;
        if share == 0.0 {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"canary");
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&first.0.to_le_bytes());
        let digest = hasher.finalize();
        let drawn = digest.as_bytes().first_chunk().expect("it has 32 bytes");
        (u64::from_le_bytes(*drawn) as f64) < share * u64::MAX as f64
    }

    /// Whether the scale of inputs is judged robustly by their first values: from the third revision
    /// of the rules on, where inputs are standardised.
    pub(crate) fn judges_first_values(&self) -> bool {
        self.revision >= RETAINS && self.weights().is_none()
    }

    /// Whether events may have weights other than 1, and sources budgets: from the third revision of the
    /// rules on.
    pub(crate) fn has_weights(&self) -> bool {
        self.revision >= RETAINS
    }

    /// Whether quarantined feedback waits for a person: from the third revision of the rules on.
    pub(crate) fn has_quarantine(&self) -> bool {
        self.revision >= RETAINS
    }

    /// Whether memories store rows raw: from the third revision of the rules on.
    pub(crate) fn stores_raw_rows(&self) -> bool {
        self.revision >= RETAINS
    }

    /// Whether evidence decides which weights serve: from the third revision of the rules on.
    pub(crate) fn has_gate(&self) -> bool {
        self.revision >= RETAINS
    }

    /// Whether scores of all kinds are kept: from the third revision of the rules on.
    pub(crate) fn has_monitors(&self) -> bool {
        self.revision >= RETAINS
    }

    /// Whether an input is filtered as an image.
    fn has_filters(&self) -> bool {
        let is_image = |kind: &InputKind| matches!(kind, InputKind::Vector { shape: Some(_), .. });
        self.filters_images() && self.inputs.iter().any(|input| is_image(&input.kind))
    }

    /// Whether vectors with a shape are filtered as images: from the third revision of the rules on, and
    /// not before a network that arrives trained.
    pub(crate) fn filters_images(&self) -> bool {
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

    /// Whether members of the portfolio see the past of the target: those of a regression, from the
    /// third revision of the rules on.
    pub(crate) fn sees_past(&self) -> bool {
        self.revision >= RETAINS
            && matches!(self.task, Task::Regression)
            && matches!(self.learner, LearnerKind::Auto(_))
    }

    /// Whether the first value of a regression judges no answer, as it judges none that repeats the
    /// value before: from the third revision of the rules on.
    pub(crate) fn passes_first_value(&self) -> bool {
        self.revision >= RETAINS
    }

    /// The encoders whose adapters learn, with the places of their inputs.
    pub fn adapted_encoders(&self) -> impl Iterator<Item = (usize, &PinnedFile, LowRank)> {
        let inputs = self.inputs.iter().enumerate();
        inputs.filter_map(|(place, input)| match &input.kind {
            InputKind::Embedded {
                encoder, adapters, ..
            } => Some((place, encoder, (*adapters)?)),
            _ => None,
        })
    }

    /// True if the rows of one description are rows of the other.
    pub(crate) fn has_inputs_of(&self, other: &Spec) -> bool {
        let mut pairs = self.inputs.iter().zip(&other.inputs);
        pairs.all(|(one, other)| one.is_alike(other)) && self.inputs.len() == other.inputs.len()
    }
}
