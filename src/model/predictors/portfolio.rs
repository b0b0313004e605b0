//! Several models of one row, mixed by how well each has done.
//!
//! Members are linear models at several step sizes, ridge regressions on shared random features,
//! the nearest examples of two windows, a small network where rows are wide, and one that repeats
//! the newest truth. Each is sharpened or dulled to what it deserves; then they are pooled.
//!
//! Invariant: a member answers from the row and what it has learned, never from another member.

mod plan;
mod pool;
mod range;

use std::borrow::Cow;

use super::linear::{Bank, BankForm};
use super::neighbours::{Neighbours, Past, Voters, Window};
use super::ridge::{RandomFeatures, RidgeWeights};
use crate::model::encoders::features::{Encoded, Scale};
use crate::model::loss::softmax;
use crate::model::predictors::network::Network;
use crate::model::spec::{Spec, Task};
pub use plan::Plan;
pub use pool::{Pool, log};
pub use range::{Range, logistic_share};

/// How many neighbours answer.
const NEAREST: usize = 10;
/// What a class that was never told of scores below the least likely one that was.
const NEVER: f32 = 30.0;

/// Members and their weights in the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Portfolio {
    /// Which members there are.
    pub plan: Plan,
    /// One linear member for each step size, then the logistic ones.
    pub bank: Bank,
    /// What nothing and all of a logistic member's reward are.
    pub range: Range,
    /// The features that ridge regressions share.
    pub features: Option<RandomFeatures>,
    /// The ridge regressions.
    pub ridges: Vec<RidgeWeights>,
    /// The newest examples, which two members see more or less of.
    pub memory: Neighbours,
    /// What was true on the whole.
    pub past: Past,
    /// The member that repeats the newest label or value.
    pub last: Option<Last>,
    /// How they are mixed.
    pub pool: Pool,
    classes: bool,
    n_outputs: usize,
}

/// The member that repeats what was true last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Last {
    /// The newest class index or value; none before the first.
    pub target: Option<f64>,
    /// How often repeating it was right, fading.
    pub right: f64,
    /// How often it was tried, fading.
    pub tried: f64,
}

/// What is said of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Voices {
    /// What members compute: scores of classes before their sharpness; `[members, n_outputs]`.
    pub scores: Vec<f32>,
    /// What the members and then the stack say, `[voices, n_outputs]`: probabilities of classes,
    /// or values in the scale of the target.
    pub outputs: Vec<f32>,
    /// The features of the ridge regressions.
    pub phi: Vec<f32>,
}

impl Portfolio {
    /// Members that know nothing.
    pub fn new(spec: &Spec, n_dense: usize, n_buckets: usize) -> Portfolio {
        let plan = Plan::new(spec, n_dense);
        let n_outputs = spec.task.n_outputs();
        let features = plan.ridge.map(RandomFeatures::new);
        let n_ridges = features.as_ref().map_or(0, |_| plan.n_ridges());
        let ridge = |features: &RandomFeatures| {
            let n_features = features.n_features();
            RidgeWeights::new(n_features, vec![0.0; n_outputs * n_features])
        };
        let window = Window {
            n_dense,
            n_rows: plan.windows.iter().copied().max().unwrap_or(0),
            seed: spec.seed,
        };
        let n_members = plan.n_bank()
            + n_ridges
            + plan.windows.len()
            + usize::from(plan.network.is_some())
            + usize::from(plan.last);
        Portfolio {
            bank: Bank::new(BankForm {
                n_members: plan.n_bank(),
                n_outputs,
                n_dense: n_dense + usize::from(plan.sees_last),
                n_buckets,
                bias_rate: plan.bias_rate,
            }),
            range: Range::default(),
            ridges: features
                .iter()
                .flat_map(|f| vec![ridge(f); n_ridges])
                .collect(),
            features,
            memory: Neighbours::new(window),
            past: Past::new(n_outputs),
            last: plan.last.then(Last::default),
            pool: match plan.stack {
                true => Pool::new(n_members),
                false => Pool::without_stack(n_members),
            },
            classes: matches!(spec.task, Task::Classification { .. }),
            n_outputs,
            plan,
        }
    }

    /// How many outputs each member gives.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// Whether they are probabilities of classes.
    pub fn is_classes(&self) -> bool {
        self.classes
    }

    /// How many single models there are, without the stack.
    pub fn n_members(&self) -> usize {
        self.pool.shares.len() - usize::from(self.plan.stack)
    }

    /// A name for each member, and for the stack of them.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.bank_names();
        for forgetting in self.plan.forgetting.iter().take(self.ridges.len()) {
            names.push(match *forgetting {
                1.0 => "analytic".to_owned(),
                forgetting => format!("analytic-{forgetting}"),
            });
        }
        if self.plan.exclusive {
            names.push("analytic-exclusive".to_owned());
        }
        let windows = self.plan.windows.iter();
        names.extend(windows.map(|window| format!("neighbours-{window}")));
        names.extend(self.plan.network.iter().map(|_| "network".to_owned()));
        let last = match self.classes {
            true => "last-label",
            false => "last-value",
        };
        names.extend(self.last.map(|_| last.to_owned()));
        names.extend(self.plan.stack.then(|| "stack".to_owned()));
        names
    }

    /// The names of the members that stand in the bank.
    pub fn bank_names(&self) -> Vec<String> {
        let linear = self.plan.steps.iter().map(|step| format!("linear-{step}"));
        let logistic = self.plan.logistic.iter();
        let logistic = logistic.map(|step| format!("logistic-{step}"));
        linear.chain(logistic).collect()
    }

    /// A row as linear members and ridge regressions see it: those of a regression see the newest
    /// value too, so that they can tell how it moves.
    pub fn with_last<'a>(&self, row: &'a Encoded, scale: &Scale) -> Cow<'a, Encoded> {
        match &self.last {
            Some(last) if self.plan.sees_last => {
                let mut row = row.clone();
                let last = last.target.map_or(0.0, |last| scale.standardise(last));
                row.dense.push(last);
                Cow::Owned(row)
            }
            _ => Cow::Borrowed(row),
        }
    }

    /// A row as the network sees it.
    pub fn for_network<'a>(&self, row: &'a Encoded) -> Cow<'a, Encoded> {
        let scale = self.plan.network_scale;
        if scale == 1.0 {
            return Cow::Borrowed(row);
        }
        let mut row = row.clone();
        row.dense.iter_mut().for_each(|value| *value *= scale);
        Cow::Owned(row)
    }

    /// What every member says of a row; `network` is there where the plan has one.
    pub fn voices(&self, row: &Encoded, scale: &Scale, network: Option<&Network>) -> Voices {
        let wider = self.with_last(row, scale);
        let mut scores = self.bank.scores(&wider);
        let phi = self.features.as_ref().map(|features| features.phi(&wider));
        let phi = phi.unwrap_or_default();
        self.ridges
            .iter()
            .for_each(|ridge| scores.extend(ridge.scores(&phi)));
        for near in self.memory.nearest(row, self.plan.windows, NEAREST) {
            let p = Voters { repeat: 1.0 }.outputs(&near, &self.past, scale);
            self.extend(&mut scores, p);
        }
        if let Some(network) = network {
            let row = self.for_network(row);
            let outputs = network.forward(std::slice::from_ref(&row));
            scores.extend(outputs.expect("a member is computed on the processor"));
        }
        if let Some(last) = &self.last {
            self.extend(&mut scores, self.last_outputs(last, scale));
        }
        let mut outputs = scores.clone();
        self.restore_shares(&mut outputs, scale);
        if self.classes {
            self.silence(&mut outputs);
            let members = outputs.chunks_exact_mut(self.n_outputs);
            for (member, sharpness) in members.zip(&self.pool.sharpness) {
                member.iter_mut().for_each(|score| *score *= sharpness);
                softmax(member);
            }
        }
        if self.plan.stack {
            outputs.extend(self.pool.stacked(&outputs, self.n_outputs, self.classes));
        }
        Voices {
            scores,
            outputs,
            phi,
        }
    }

    /// Makes rewards of what members say as shares of their range.
    fn restore_shares(&self, outputs: &mut [f32], scale: &Scale) {
        let n = self.n_outputs;
        let (n_bank, n_ridges) = (self.plan.n_bank(), self.ridges.len());
        let reward = |share: f32| scale.distance(self.range.reward(share));
        let network = n_bank + n_ridges + self.plan.windows.len();
        let is_logistic = |member: usize| {
            let is_network = member == network && self.plan.network.is_some();
            (self.plan.steps.len()..n_bank).contains(&member) || is_network
        };
        for (member, outputs) in outputs.chunks_exact_mut(n).enumerate() {
            if self.plan.bandit && is_logistic(member) {
                let share = |score: &mut f32| *score = reward(logistic_share(*score));
                outputs.iter_mut().for_each(share);
            }
            if self.plan.exclusive && member + 1 == n_bank + n_ridges {
                let share = |share: &mut f32| *share = reward(share.clamp(0.0, 1.0));
                outputs.iter_mut().for_each(share);
            }
        }
    }

    /// Probabilities become scores; values are what they are.
    fn extend(&self, scores: &mut Vec<f32>, outputs: Vec<f32>) {
        match self.classes {
            true => scores.extend(outputs.into_iter().map(log)),
            false => scores.extend(outputs),
        }
    }

    /// Holds classes that were never told of below all others.
    fn silence(&self, scores: &mut [f32]) {
        let counts = &self.past.counts;
        if counts.iter().all(|count| *count > 0.0) || counts.iter().all(|count| *count == 0.0) {
            return;
        }
        for member in scores.chunks_exact_mut(self.n_outputs) {
            let told = member.iter().zip(counts).filter(|(_, count)| **count > 0.0);
            let least = told.fold(f32::INFINITY, |least, (score, _)| least.min(*score));
            for (score, _) in member.iter_mut().zip(counts).filter(|one| *one.1 == 0.0) {
                *score = least - NEVER;
            }
        }
    }

    fn last_outputs(&self, last: &Last, scale: &Scale) -> Vec<f32> {
        let n = self.n_outputs;
        let uniform = 1.0 / n as f64;
        let mut outputs = vec![uniform as f32; n];
        match last.target {
            Some(target) if self.classes && n > 1 => {
                let right = (last.right + uniform) / (last.tried + 1.0);
                outputs.fill(((1.0 - right) / (n - 1) as f64) as f32);
                outputs[target as usize] = right as f32;
            }
            Some(target) if !self.classes => outputs[0] = scale.distance(target),
            None if !self.classes => outputs[0] = 0.0,
            _ => {}
        }
        outputs
    }

    /// The answer of all voices, `[n_outputs]`.
    pub fn mix(&self, voices: &Voices) -> Vec<f32> {
        self.pool.mix(&voices.outputs, self.n_outputs, self.classes)
    }
}
