//! The members of a model: those that its inputs' shape and a budget of work allow.
//!
//! Invariant: a function of the description alone, so nothing of it is saved.

use std::ops::Range;

use super::super::ridge::RandomFeatureSettings;
use super::super::series::MEMBERS;
use crate::model::encoders::features::Filters;
use crate::model::spec::{Gradient, Input, InputKind, Optimizer, Spec, Task};

/// The step sizes of the linear members, for rows of squared length one: a factor of four apart,
/// so that one of them is near the best for any stream.
const STEPS: [f32; 7] = [0.01, 0.04, 0.16, 0.6, 2.5, 10.0, 40.0];
/// Texts want large steps, and each step size costs a pass over all n-grams and classes.
const STEPS_TEXT: [f32; 4] = [1.25, 2.5, 5.0, 10.0];
/// Rewards that are regressed: steps larger than one would pass the reward by.
const STEPS_REWARD: [f32; 2] = [0.04, 0.2];
/// Rewards as shares of their range, on a logistic scale.
const STEPS_LOGISTIC: [f32; 4] = [0.16, 0.6, 2.5, 10.0];
const STEPS_LOGISTIC_TEXT: [f32; 3] = [2.5, 5.0, 10.0];
/// How fast the bias of a linear member follows. A text's n-grams share a length of one: a bias
/// that moves as fast as all of them together forgets the rarer classes (banking77, one pass at
/// step 5: accuracy 0.823 without a bias, 0.821 at 0.01, 0.808 at 0.1, 0.646 at 1 and step 10).
const BIAS_RATE: f32 = 1.0;
const BIAS_RATE_TEXT: f32 = 0.01;
/// Newest examples that the two neighbour members see.
const WINDOWS: [usize; 2] = [200, 1000];
/// The windows where rows have few inputs, categories included, and classes are so many that each is rare among
/// a thousand rows (26 classes of 16 whole numbers: accuracy 0.965 without the third, 0.979 with it).
const WINDOWS_CLASSES: [usize; 3] = [200, 1000, 5000];
const CLASSES_MANY: usize = 8;
/// Features of the ridge regressions: their work is the square of it.
const RIDGE_NARROW: usize = 160;
const RIDGE_WIDE: usize = 400;
const RIDGE_WIDE_KEPT: usize = 1000;
/// Features of the ridge regressions where an encoder embeds texts, which costs more than they do (banking77
/// through MiniLM, one pass, accuracy of the regression alone with 400, 1200 and 1600: 0.855, 0.880, 0.881).
const RIDGE_EMBEDDED: usize = 1600;
/// The factor of the second one on the weight of an example with each later one. Beside a forest there is
/// no second one: it costs as much as all that is not a ridge regression, and gains nothing on the mean of
/// the streams of `benches/peers.py`.
pub(super) const FORGETTING: f64 = 0.999;
/// From so many dense inputs on, a row counts as wide.
const WIDE: usize = 64;
/// A bandit with more actions than these has logistic members alone. Rewards of one action are too
/// rare for the others: they expect the mean of actions that they have not seen, and mixed with
/// them a logistic member explores too little (banking77 as 77 arms, rewards alone: mean reward
/// 0.16 to 0.25 with them, 0.27 to 0.29 without).
const MANY_ACTIONS: usize = 32;
/// Trees of the forest, which rows with few described numbers get, of so many classes at most: a leaf
/// counts each of them.
pub(super) const TREES: usize = 6;
const FOREST_CLASSES_MAX: usize = 64;
/// The step size of the network: that of a kept one is smaller, since a step moves what it gives as
/// far as its rows are long (MNIST in five pairs of digits, the network alone with cls-er: 0.927 on the
/// way and 0.933 afterwards at 0.02, 0.906 and 0.934 at 0.008; er at 0.05: 0.966 and 0.801). Of hashed
/// texts it is large (banking77 by class: 0.852 afterwards at 0.5, 0.882 at 2).
const RATE: f32 = 0.05;
const RATE_KEPT: f32 = 0.02;
const RATE_TEXT: f32 = 2.0;
/// The hidden layer of the network that wide inputs get; rewards have less information than labels.
const HIDDEN: usize = 128;
const HIDDEN_REWARD: usize = 256;
/// The squared length of the rows that a network of rewards sees: a step moves what it gives as
/// far as its rows are long, and with those of 784 standardised pixels it loses itself (MNIST as
/// ten arms: accuracy 0.10 at the end as they are, 0.95 at this length).
const LENGTH_REWARD: f32 = 80.0;

/// A member of a portfolio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Member {
    /// A linear model with this step size.
    Linear(f32),
    /// A logistic model of rewards with this step size.
    Logistic(f32),
    /// A ridge regression with this forgetting.
    Analytic(f64),
    /// A ridge regression of the logarithm of a value.
    AnalyticLog,
    /// A ridge regression that takes rewards as if one action were right at a time.
    Exclusive,
    /// The nearest of so many newest examples.
    Neighbours(usize),
    /// A small network.
    Network,
    /// A forest of small trees.
    Forest,
    /// The newest label again.
    LastLabel,
    /// The newest value again.
    LastValue,
    /// A prediction from the past of the target.
    Past(PastMember),
}

/// A member that sees the past of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastMember {
    /// A ridge regression of the value on the past.
    Lags,
    /// A ridge regression of the change from the newest value on the past.
    LagsChange,
    /// A ridge regression of the value on the past and the inputs.
    Inputs,
    /// A ridge regression of the change from the newest value on the past and the inputs.
    InputsChange,
    /// The value of a period ago.
    Seasonal,
    /// The newest value and the change of a period ago.
    SeasonalChange,
    /// The newest value, changed by the factor of a period ago.
    SeasonalRatio,
}

/// In the order of the outputs of [`crate::model::Series::outputs`].
const PAST_MEMBERS: [PastMember; MEMBERS] = [
    PastMember::Lags,
    PastMember::LagsChange,
    PastMember::Inputs,
    PastMember::InputsChange,
    PastMember::Seasonal,
    PastMember::SeasonalChange,
    PastMember::SeasonalRatio,
];

impl Member {
    /// True for a linear model, logistic ones included.
    pub(crate) fn is_linear(self) -> bool {
        self.step().is_some()
    }

    /// The step size of a linear model, logistic ones included.
    pub fn step(self) -> Option<f32> {
        match self {
            Member::Linear(step) | Member::Logistic(step) => Some(step),
            _ => None,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> String {
        match self {
            Member::Linear(step) => format!("linear-{step}"),
            Member::Logistic(step) => format!("logistic-{step}"),
            Member::Analytic(1.0) => "analytic".to_owned(),
            Member::Analytic(forgetting) => format!("analytic-{forgetting}"),
            Member::AnalyticLog => "analytic-log".to_owned(),
            Member::Exclusive => "analytic-exclusive".to_owned(),
            Member::Neighbours(window) => format!("neighbours-{window}"),
            Member::Network => "network".to_owned(),
            Member::Forest => "forest".to_owned(),
            Member::LastLabel => "last-label".to_owned(),
            Member::LastValue => "last-value".to_owned(),
            Member::Past(member) => member.name().to_owned(),
        }
    }
}

impl PastMember {
    /// Its name in reports.
    fn name(self) -> &'static str {
        match self {
            PastMember::Lags => "lags",
            PastMember::LagsChange => "lags-change",
            PastMember::Inputs => "lags-inputs",
            PastMember::InputsChange => "lags-inputs-change",
            PastMember::Seasonal => "seasonal",
            PastMember::SeasonalChange => "seasonal-change",
            PastMember::SeasonalRatio => "seasonal-ratio",
        }
    }
}

/// The members of a portfolio and their settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The members, in the order of their outputs, weights and saved tensors.
    pub members: Vec<Member>,
    /// True if rewards are learned.
    pub bandit: bool,
    /// How fast the bias of linear members follows, beside the weight of an input that is one.
    pub bias_rate: f32,
    /// The features of the ridge regressions.
    pub ridge: Option<RandomFeatureSettings>,
    /// Settings of the network.
    pub network: Option<Gradient>,
    /// The factor on the dense inputs of the network.
    pub network_scale: f32,
    /// True if linear members and ridge regressions have the newest truth as an input.
    pub sees_newest: bool,
    /// True if members see the past of the target.
    pub sees_past: bool,
    /// True if a member stacks the others. A bandit has none: it would be fitted to the actions
    /// that were chosen, and believed of all.
    pub stack: bool,
}

impl Plan {
    /// For this description, whose rows have `n_dense` dense inputs.
    pub fn new(spec: &Spec, n_dense: usize) -> Plan {
        Plan::of(spec, n_dense, Filters::new(spec).as_ref())
    }

    fn of(spec: &Spec, n_dense: usize, filters: Option<&Filters>) -> Plan {
        let has = |kind: fn(&InputKind) -> bool| spec.inputs.iter().any(|input| kind(&input.kind));
        let text = has(|kind| matches!(kind, InputKind::Text));
        let hashed = text || has(|kind| matches!(kind, InputKind::Category));
        let bandit = matches!(spec.task, Task::Bandit { .. });
        let many = bandit && spec.task.n_outputs() > MANY_ACTIONS;
        let regression = matches!(spec.task, Task::Regression);
        let wide = n_dense >= WIDE;
        let n_features = match (has(is_embedded), wide) {
            (true, _) => RIDGE_EMBEDDED,
            (false, true) if spec.retains() => RIDGE_WIDE_KEPT,
            (false, true) => RIDGE_WIDE,
            (false, false) => RIDGE_NARROW,
        };
        let kept = spec.retains();
        let is_wide = wide && !hashed && !many;
        let network = (is_wide || kept && text).then(|| network(spec));
        let ridge = (!text && !many).then_some(RandomFeatureSettings {
            seed: spec.seed,
            n_dense: filters.map_or(n_dense, |filters| filters.n_features())
                + usize::from(regression),
            n_buckets: usize::from(hashed),
            n_units: n_features,
            n_features_max: n_features,
        });
        let n_outputs = spec.task.n_outputs();
        let has_forest = kept && suits_forest(spec);
        let is_category = |input: &&Input| matches!(input.kind, InputKind::Category);
        let n_inputs = n_dense + spec.inputs.iter().filter(is_category).count();
        let shape = DescriptionTraits {
            text,
            many,
            has_ridge: ridge.is_some(),
            has_network: network.is_some(),
            has_forest,
            many_classes: kept && !text && n_inputs < WIDE && n_outputs >= CLASSES_MANY,
            forgets: !wide && !has_forest,
            sees_past: spec.sees_past(),
        };
        Plan {
            members: members(&spec.task, shape),
            bandit,
            bias_rate: if text { BIAS_RATE_TEXT } else { BIAS_RATE },
            ridge,
            network,
            network_scale: if bandit { shortening(n_dense) } else { 1.0 },
            sees_newest: regression,
            sees_past: spec.sees_past(),
            stack: !bandit,
        }
    }

    /// True if the plan has this member.
    pub fn has(&self, member: Member) -> bool {
        self.members.contains(&member)
    }

    /// The place of this member, if it is one of them.
    pub fn place(&self, member: Member) -> Option<usize> {
        self.members.iter().position(|one| *one == member)
    }

    /// The places of the members of one kind, which stand together.
    pub fn places(&self, is_of_kind: impl Fn(&Member) -> bool) -> Range<usize> {
        let mut members = self.members.iter();
        let start = members.position(&is_of_kind);
        let start = start.unwrap_or(self.members.len());
        start..start + self.members.iter().filter(|one| is_of_kind(one)).count()
    }

    /// The step sizes of the linear members, for rows of squared length one.
    pub(crate) fn linear_steps(&self) -> impl Iterator<Item = f32> {
        self.members.iter().filter_map(|member| match member {
            Member::Linear(step) => Some(*step),
            _ => None,
        })
    }

    /// The step sizes of the logistic members, which only a bandit has.
    pub(crate) fn logistic_steps(&self) -> impl Iterator<Item = f32> {
        self.members.iter().filter_map(|member| match member {
            Member::Logistic(step) => Some(*step),
            _ => None,
        })
    }

    /// Newest examples that each member of neighbours answers from.
    pub fn windows(&self) -> Vec<usize> {
        let window = |member: &Member| match member {
            Member::Neighbours(window) => Some(*window),
            _ => None,
        };
        self.members.iter().filter_map(window).collect()
    }

    /// The factor of each ridge regression but the exclusive one on the weight of an example with
    /// each later one.
    pub fn forgetting(&self) -> impl Iterator<Item = f64> {
        self.members.iter().filter_map(|member| match member {
            Member::Analytic(forgetting) => Some(*forgetting),
            _ => None,
        })
    }

    /// How many ridge regressions there are.
    pub(crate) fn n_ridges(&self) -> usize {
        self.forgetting().count() + usize::from(self.has(Member::Exclusive))
    }

    /// True if a member repeats the newest label or value.
    pub(crate) fn repeats_newest(&self) -> bool {
        self.has(Member::LastLabel) || self.has(Member::LastValue)
    }

    /// How many linear members there are, logistic ones included.
    pub(crate) fn n_linear_members(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.is_linear())
            .count()
    }
}

/// The settings of the network of a description.
fn network(spec: &Spec) -> Gradient {
    let is_text = |input: &Input| matches!(input.kind, InputKind::Text);
    let text = spec.inputs.iter().any(is_text);
    let (kept, bandit) = (spec.retains(), matches!(spec.task, Task::Bandit { .. }));
    Gradient {
        weights: None,
        hidden: match (text, bandit) {
            (true, _) => Vec::new(),
            (false, true) => vec![HIDDEN_REWARD],
            (false, false) => vec![HIDDEN],
        },
        optimizer: Optimizer::Sgd,
        learning_rate: match (kept, text) {
            (_, true) => RATE_TEXT,
            (true, false) => RATE_KEPT,
            (false, false) => RATE,
        },
        examples_per_update: 1,
    }
}

/// True if rows have few described numbers, and the task few classes.
fn suits_forest(spec: &Spec) -> bool {
    n_described_numbers(spec) < WIDE && spec.task.n_outputs() <= FOREST_CLASSES_MAX
}

/// The numbers of a row by its description, without those that state gaps and the parts of a time.
fn n_described_numbers(spec: &Spec) -> usize {
    let n = |input: &Input| match input.kind {
        InputKind::Number { .. } | InputKind::Time(_) => 1,
        _ => input.kind.n_dense(),
    };
    spec.inputs.iter().map(n).sum()
}

fn is_embedded(kind: &InputKind) -> bool {
    matches!(kind, InputKind::Embedded { .. })
}

/// The traits of a description that decide which members it gets.
#[derive(Clone, Copy)]
struct DescriptionTraits {
    text: bool,
    /// True if a bandit has more actions than others learn well.
    many: bool,
    has_ridge: bool,
    has_network: bool,
    has_forest: bool,
    /// True if rows have few inputs and many classes.
    many_classes: bool,
    /// True if a second ridge regression forgets.
    forgets: bool,
    sees_past: bool,
}

/// The table of members, in the order of their outputs, weights and saved tensors: a new member is
/// one more line.
fn members(task: &Task, shape: DescriptionTraits) -> Vec<Member> {
    let DescriptionTraits {
        text,
        many,
        has_ridge,
        has_network,
        has_forest,
        many_classes,
        forgets,
        sees_past,
    } = shape;
    let bandit = matches!(task, Task::Bandit { .. });
    let steps: &[f32] = match (bandit, text) {
        (true, _) if many => &[],
        (true, _) => &STEPS_REWARD,
        (false, true) => &STEPS_TEXT,
        (false, false) => &STEPS,
    };
    let logistic: &[f32] = match (bandit, text) {
        (true, true) => &STEPS_LOGISTIC_TEXT,
        (true, false) => &STEPS_LOGISTIC,
        (false, _) => &[],
    };
    let forgetting: &[f64] = match (has_ridge, forgets) {
        (false, _) => &[],
        (true, false) => &[1.0],
        (true, true) => &[1.0, FORGETTING],
    };
    let windows: &[usize] = match (many, many_classes) {
        (true, _) => &[],
        (false, true) => &WINDOWS_CLASSES,
        (false, false) => &WINDOWS,
    };
    let mut members = Vec::new();
    members.extend(steps.iter().map(|step| Member::Linear(*step)));
    members.extend(logistic.iter().map(|step| Member::Logistic(*step)));
    members.extend(forgetting.iter().map(|one| Member::Analytic(*one)));
    members.extend((bandit && has_ridge).then_some(Member::Exclusive));
    members.extend((sees_past && has_ridge).then_some(Member::AnalyticLog));
    members.extend(windows.iter().map(|window| Member::Neighbours(*window)));
    members.extend(has_network.then_some(Member::Network));
    members.extend(has_forest.then_some(Member::Forest));
    let past: &[PastMember] = if sees_past { &PAST_MEMBERS } else { &[] };
    members.extend(past.iter().map(|member| Member::Past(*member)));
    members.extend(match task {
        Task::Classification { .. } => Some(Member::LastLabel),
        Task::Regression => Some(Member::LastValue),
        Task::Bandit { .. } => None,
    });
    members
}

/// The factor that brings rows of so many standardised inputs to the length that rewards are
/// learned at.
fn shortening(n_dense: usize) -> f32 {
    (LENGTH_REWARD / n_dense.max(1) as f32).sqrt().min(1.0)
}
