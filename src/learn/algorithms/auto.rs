//! `kind = "auto"`: a portfolio whose members all learn, mixed by the score that each would have had.
//!
//! Members are scored before they learn, and each learns from every example.

mod amend;
mod answers;
mod error_scale;
mod forest;
mod kept;
mod late;
mod linear_members;
mod log_ridge;
mod past;
mod pool;
mod saved;
mod weighing;

use std::sync::Arc;

use super::analytic::{Recursion, Settings};
use super::example::{Known, amends_rewards, weighted};
use super::gradient::GradientLearner;
use super::output_loss::OutputLoss;
use super::retention::{AnchorProbe, asked_every};
use crate::event::{Batch, PredictionId};
use crate::learn::memory::likeness::Likeness;
use crate::model::{
    self, Encoded, LearnerKind, Member, MemberOutputs, Network, NoChange, Past, Portfolio,
    RidgeWeights, Scale, Scales, Spec, Target, Task, argmax,
};
use answers::{Answers, answer};
use error_scale::ErrorScale;
use forest::ForestLearner;
use kept::ExampleOrigin;
use late::LateLabels;
use log_ridge::LogLearner;
use past::PastLearner;
use pool::ScaledTarget;

/// Examples over which the last-label member's claim is a plain average; older ones fade.
const CLAIM_HORIZON: f64 = 1000.0;
/// The penalty on the ridge regressions' squared weights.
const RIDGE: f64 = 1.0;
/// An error of so many deviations counts as a full loss of a reward, whose squared error counts;
/// at most this many full losses.
const REWARD_ERROR: f32 = 2.5;
const REWARD_LOSS_MAX: f32 = 4.0;
/// The loss of a value is this at most where members see its past: so much that a few rows after a
/// shift of the level decide who is believed. 1 takes nine rows to follow a shift of 400 deviations,
/// this one three, and 6 is worse where errors are rare and large (sftemps, first 4,000 rows).
const LOSS_MAX: f64 = 4.0;
/// Every action is expected to earn this part of the range at least, of the reward that another did not earn.
const LEAST_EXPECTED: f32 = 0.01;

/// A portfolio that learns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AutoLearner {
    pub portfolio: Portfolio,
    /// The recursions; those of each forgetting stand together.
    recursions: Vec<Recursion>,
    /// Takes rewards as if one action were right at a time.
    exclusive: Option<Recursion>,
    network: Option<Box<GradientLearner>>,
    /// Rows seen, up to the horizon, and their mean squared length, bias included.
    length: [f64; 2],
    /// Of the members of a regression.
    error_scale: ErrorScale,
    /// The state of the member that learns the logarithm of a value.
    log_ridge: Option<Box<LogLearner>>,
    /// The state of the members that see the past of the target.
    past: Option<Box<PastLearner>>,
    /// Beside the answers of the trees.
    forest: Option<Box<ForestLearner>>,
    /// Of the learning rules.
    revision: u32,
    /// Rows of a bandit, for amending a reward; none under the first revision.
    likeness: Option<Likeness>,
    /// The number of rewards of each action; `[actions]`, of a bandit.
    n_chosen: Vec<u64>,
    /// The history of the answers; none under the first revision.
    answers: Option<Answers>,
    /// Of classes, from the third revision on.
    late: Option<LateLabels>,
}

impl AutoLearner {
    /// The network among the members, if there is one.
    pub(crate) fn network_learner(&self) -> Option<&GradientLearner> {
        self.network.as_deref()
    }

    /// Members that know nothing.
    pub(crate) fn new(spec: &Spec, n_dense: usize) -> AutoLearner {
        let portfolio = Portfolio::new(spec, n_dense, Self::n_buckets(spec));
        // Each action has a regression of its own; classes share one.
        let n_outputs = portfolio.n_outputs();
        let n_recursions = match spec.task {
            Task::Bandit { .. } => n_outputs,
            _ => 1,
        };
        let recursion = |forgetting: f64, n_outputs: usize| {
            Recursion::new(Settings {
                n_features: portfolio.features.as_ref().map_or(1, |f| f.n_features()),
                n_outputs,
                forgetting,
                ridge: RIDGE,
            })
        };
        let recursions =
            |forgetting| vec![recursion(forgetting, n_outputs / n_recursions); n_recursions];
        let network = portfolio.plan.network.as_ref();
        let filters = portfolio.filters.as_ref();
        let n_seen = filters.map_or(n_dense, |filters| filters.n_features());
        AutoLearner {
            recursions: portfolio.plan.forgetting().flat_map(recursions).collect(),
            exclusive: portfolio
                .plan
                .has(Member::Exclusive)
                .then(|| recursion(1.0, n_outputs)),
            network: network.map(|s| Box::new(GradientLearner::new(&replaying(spec), s, n_seen))),
            length: [0.0, 0.0],
            error_scale: ErrorScale::new(portfolio.pool.weights.len()),
            log_ridge: (portfolio.log_ridge.is_some())
                .then(|| Box::new(LogLearner::new(recursion(1.0, 1).settings()))),
            forest: portfolio
                .forest
                .as_ref()
                .map(|forest| Box::new(ForestLearner::new(forest, spec.seed))),
            past: portfolio
                .series
                .as_ref()
                .map(|series| Box::new(PastLearner::new(series))),
            revision: spec.revision,
            likeness: amends_rewards(spec).then(Likeness::default),
            answers: (spec.revision >= 2).then(Answers::default),
            late: portfolio.kept.is_some().then(LateLabels::default),
            n_chosen: if amends_rewards(spec) {
                vec![0; n_outputs]
            } else {
                Vec::new()
            },
            portfolio,
        }
    }

    /// Takes the settings of a changed description of the same shape.
    pub(crate) fn reconfigure(&mut self, spec: &Spec) {
        self.revision = spec.revision;
        if let (Some(kept), LearnerKind::Auto(keep)) = (&mut self.portfolio.kept, &spec.learner) {
            kept.keep = *keep;
        }
        if spec.revision >= 2 {
            self.answers.get_or_insert_default();
        }
        if amends_rewards(spec) {
            self.likeness.get_or_insert_default();
            self.n_chosen.resize(spec.task.n_outputs(), 0);
        }
        if let (Some(network), Some(settings)) = (&mut self.network, &self.portfolio.plan.network) {
            network.reconfigure(&replaying(spec), settings);
        }
    }

    /// Standardises raw rows in memories by these scales from now on.
    pub(crate) fn stand_in(&mut self, scales: &Arc<Scales>) {
        self.portfolio.memory.stand_in(scales);
        if let (Some(learner), Some(forest)) = (&mut self.forest, &mut self.portfolio.forest) {
            learner.stand_in(forest, scales);
        }
        if let Some(network) = &mut self.network {
            let portfolio = &self.portfolio;
            let scales = scales.times(portfolio.plan.network_scale);
            network.stand_in(Arc::new(scales.through(portfolio.filters.clone())));
        }
    }

    /// How many buckets the hashed features of this description fall into.
    pub(crate) fn n_buckets(spec: &Spec) -> usize {
        let plan = model::Plan::new(spec, 0);
        model::n_buckets(spec, plan.n_linear_members() * spec.task.n_outputs())
    }

    /// The network as it is now, where there is one.
    pub(crate) fn network(&self) -> Option<Network> {
        self.network.as_ref().map(|learner| learner.network())
    }

    /// Examples in memory.
    pub(crate) fn n_remembered(&self) -> usize {
        let replayed = self
            .network
            .as_ref()
            .map_or(0, |network| network.n_remembered());
        self.portfolio.memory.len() + replayed
    }

    /// Learns one example; false where it was not finite, and then nothing has changed.
    ///
    /// `scores` receives the score of each single member: 1 or 0 for a class, its absolute error for a
    /// value or reward, in the unit of the target.
    pub(crate) fn observe(
        &mut self,
        row: &Encoded,
        known: Known,
        scale: &Scale,
        scores: &mut Vec<f64>,
    ) -> bool {
        let target = known.target;
        let network = self.network();
        let member_outputs = self.portfolio.member_outputs(row, scale, network.as_ref());
        if !member_outputs.is_finite() || !row.is_finite() {
            return false;
        }
        if let Target::Correction { .. } = target {
            self.correct(row, &member_outputs, target, scale);
            return true;
        }
        let is_value = matches!(target, Target::Value(_));
        let mixed = is_value.then(|| self.portfolio.mix(&member_outputs));
        self.weigh(&member_outputs, known, scale, scores);
        let member_outputs = &mut { member_outputs };
        self.widen(row, member_outputs, target);
        if let Some(likeness) = &mut self.likeness {
            likeness.observe(&self.portfolio.with_newest(row, scale));
        }
        let taught = (target, known.weight);
        self.learn_linear_members(row, &member_outputs.scores, taught, scale);
        self.learn_ridges(member_outputs, taught, scale);
        self.learn_network(row, known, scale);
        if let (Some(learner), Some(forest)) = (&mut self.forest, &mut self.portfolio.forest) {
            learner.observe(forest, row, known);
        }
        if let Target::Value(value) = target {
            let wanted = self.portfolio.wanted(value, scale);
            let answered = member_outputs.outputs.iter().chain(mixed.iter().flatten());
            self.error_scale
                .observe(answered.map(|answered| answered - wanted));
        }
        self.remember(row, known);
        true
    }

    /// Keeps an example in the members that store examples.
    fn remember(&mut self, row: &Encoded, known: Known) {
        let portfolio = &mut self.portfolio;
        if !known.is_anchor && !portfolio.plan.windows().is_empty() {
            match known.raw {
                Some(raw) => portfolio.memory.push_raw(raw, known.remembered()),
                None => portfolio.memory.push(row, known.remembered()),
            }
        }
        if let (Some(past), Some(series)) = (&mut self.past, &mut portfolio.series) {
            past.observe(series, row, known);
        }
        portfolio.base_rates.observe(known.target, known.weight);
        if let Some(last) = &mut portfolio.no_change {
            learn_no_change(last, known.target);
        }
    }

    /// Asks an anchor of the retention set: whether the model's answer is right, and each member's;
    /// none where an output is not finite. Ridge regressions answer as if they had not learned it.
    pub(crate) fn ask(&mut self, anchor: &AnchorProbe, scale: &Scale) -> Option<Vec<bool>> {
        let (network, n_outputs) = (self.network(), self.portfolio.n_outputs());
        let is_ridge = |member: &Member| matches!(member, Member::Analytic(_));
        let ridges = self.portfolio.plan.places(is_ridge);
        let targets = anchor.one_hot(n_outputs);
        let without = |scores: &mut [f32], phi: &[f32]| {
            let scores = scores.chunks_exact_mut(n_outputs).skip(ridges.start);
            for (scores, recursion) in scores.zip(&self.recursions) {
                let without = recursion.estimates_without(phi, &targets, anchor.n_since);
                scores.copy_from_slice(&without);
            }
        };
        let (portfolio, row) = (&self.portfolio, &anchor.row);
        let outputs = portfolio.adjusted_outputs(row, scale, network.as_ref(), without);
        if !outputs.is_finite() {
            return None;
        }
        let (class, mixed) = (anchor.class as usize, portfolio.mix(&outputs));
        let members = outputs.outputs.chunks_exact(n_outputs);
        let members = members.take(portfolio.n_members());
        let all = std::iter::once(&mixed[..]).chain(members);
        let right = all.map(|outputs| argmax(outputs) == class).collect();
        self.observe_kept(
            (&outputs, None),
            Target::Class(anchor.class),
            ExampleOrigin::Anchor {
                every: asked_every(anchor.row.dense.len()),
            },
        );
        Some(right)
    }

    /// Where a value stands, and how far from it the stack may be.
    fn wanted(&self, target: Target, scale: &Scale) -> ScaledTarget {
        match target {
            Target::Value(value) => ScaledTarget {
                value: self.portfolio.wanted(value, scale),
                reach: match &self.past {
                    Some(_) => self.error_scale.reach(),
                    None => f32::INFINITY,
                },
            },
            _ => ScaledTarget::default(),
        }
    }

    /// The row of this prediction is learned.
    pub(crate) fn forget_asked(&mut self, id: PredictionId) {
        self.past.iter_mut().for_each(|past| past.forget(id));
    }

    /// The past of row `row` of `batch`, as it was when it was asked; as it is now of one that was
    /// not.
    pub(crate) fn past(
        &self,
        batch: &Batch,
        row: usize,
        asked: Option<PredictionId>,
    ) -> Option<Arc<Past>> {
        let (past, series) = (self.past.as_ref()?, self.portfolio.series.as_ref()?);
        Some(past.of(series, (batch, row), asked))
    }

    /// The past of an example that was learned of row `row` of `batch`.
    pub(crate) fn past_of_example(
        &self,
        batch: &Batch,
        row: usize,
        example: u64,
    ) -> Option<Arc<Past>> {
        let (past, series) = (self.past.as_ref()?, self.portfolio.series.as_ref()?);
        Some(past.of_example(series, (batch, row), example))
    }

    /// Learns the part of a reward that was missing when its example came, in every member that
    /// learned the rest.
    fn correct(
        &mut self,
        row: &Encoded,
        member_outputs: &MemberOutputs,
        target: Target,
        scale: &Scale,
    ) {
        let Target::Correction { action, by, reward } = target else {
            return;
        };
        let loss = |outputs: &[f32], reward| {
            let target = Target::Reward { action, reward };
            self.judge(outputs, target, scale).0
        };
        let judged = member_outputs
            .outputs
            .chunks_exact(self.portfolio.n_outputs());
        let more = judged.map(|outputs| loss(outputs, reward) - loss(outputs, reward - by));
        let more: Vec<f64> = more.collect();
        let portfolio = &mut self.portfolio;
        pool::amend(&mut portfolio.pool.weights, &more);
        portfolio.range.observe(reward);
        portfolio.memory.correct(row, target);
        portfolio.base_rates.observe(target, 1.0);
        let taught = (target, 1.0);
        self.learn_linear_members(row, &member_outputs.scores, taught, scale);
        self.learn_ridges(member_outputs, taught, scale);
        self.learn_network(row, target.into(), scale);
    }

    /// The loss of one member's outputs, and its score as reports give it.
    fn judge(&self, outputs: &[f32], target: Target, scale: &Scale) -> (f64, f64) {
        let loss = self.loss(answer(outputs, target), target, scale);
        let value = |z: f32| match self.past {
            Some(_) => scale.value(z),
            None => f64::from(scale.restore(z)),
        };
        let error = |index: usize, wanted: f64| (value(outputs[index]) - wanted).abs();
        let score = match target {
            Target::Class(_) => 1.0 - loss,
            Target::Value(value) => error(0, value),
            Target::Reward { action, reward } => error(action as usize, reward),
            Target::BestAction(best) => error(best as usize, 1.0),
            Target::Correction { .. } => 0.0,
        };
        (loss, score)
    }

    /// The loss of one member's answer, in [0, 1].
    ///
    /// Of a reward the squared error counts, since the absolute one is least for those who never
    /// expect a rare reward; in [0, 4].
    fn loss(&self, answer: f32, target: Target, scale: &Scale) -> f64 {
        match target {
            Target::Class(right) | Target::BestAction(right) => {
                f64::from(u8::from(answer != right as f32))
            }
            Target::Value(value) => {
                let error = answer - self.portfolio.wanted(value, scale);
                let most = if self.past.is_some() { LOSS_MAX } else { 1.0 };
                self.error_scale.loss(error, most)
            }
            Target::Reward { reward, .. } => {
                let off = (answer - scale.distance(reward)) / REWARD_ERROR;
                f64::from((off * off).min(REWARD_LOSS_MAX))
            }
            Target::Correction { .. } => 0.0,
        }
    }

    /// Learns a target of this weight.
    fn learn_ridges(
        &mut self,
        member_outputs: &MemberOutputs,
        (target, weight): (Target, f32),
        scale: &Scale,
    ) {
        let n_outputs = self.portfolio.n_outputs();
        let earned = |best: u32, action| f64::from(u8::from(best as usize == action));
        let (unweighted, n_each) = (&member_outputs.phi, self.n_recursions_each());
        let phi = &*weighted(unweighted, weight);
        let learn = |recursion: &mut Recursion, targets: &[f32]| {
            recursion.observe(phi, &weighted(targets, weight));
        };
        let analytic = |member: &Member| matches!(member, Member::Analytic(_));
        let first = self.portfolio.plan.places(analytic).start;
        for (index, recursions) in self.recursions.chunks_exact_mut(n_each).enumerate() {
            match target {
                Target::Class(class) => {
                    let mut targets = vec![0.0; n_outputs];
                    targets[class as usize] = 1.0;
                    learn(&mut recursions[0], &targets);
                }
                Target::Value(value) => {
                    let member = first + index;
                    let answered = member_outputs.outputs[member];
                    let wanted = self.portfolio.wanted(value, scale);
                    let error = self.error_scale.held(member, answered - wanted);
                    learn(&mut recursions[0], &[answered - error]);
                }
                Target::Reward { action, reward } => {
                    let wanted = scale.standardise(reward);
                    learn(&mut recursions[action as usize], &[wanted]);
                }
                Target::BestAction(best) => {
                    for (action, recursion) in recursions.iter_mut().enumerate() {
                        learn(recursion, &[scale.standardise(earned(best, action))]);
                    }
                }
                Target::Correction { action, by, .. } => {
                    let by = scale.deviations(by);
                    // Features and scores were finite, so it is taken.
                    let taken = recursions[action as usize].correct(phi, 0, by);
                    debug_assert!(taken);
                }
            }
        }
        let log_ridge = (&mut self.log_ridge, &mut self.portfolio.log_ridge);
        if let ((Some(learner), Some(served)), Target::Value(value)) = (log_ridge, target) {
            learner.observe(served, unweighted, (value, weight));
        }
        self.learn_exclusive(member_outputs, (target, weight));
        self.serve_ridges();
    }

    fn learn_exclusive(&mut self, member_outputs: &MemberOutputs, (target, weight): (Target, f32)) {
        let wanted = self.shares_of(member_outputs, target);
        let Some(recursion) = &mut self.exclusive else {
            return;
        };
        if let Some(wanted) = wanted {
            let phi = weighted(&member_outputs.phi, weight);
            recursion.observe(&phi, &weighted(&wanted, weight));
        }
        if let Target::Correction { action, by, .. } = target {
            let by = self.portfolio.range.part(by);
            // Features and scores were finite, so it is taken.
            let taken = recursion.correct(&member_outputs.phi, action as usize, by);
            debug_assert!(taken);
        }
    }

    /// Rewards as if one action were right at a time: the part that the chosen one does not earn is
    /// divided among the others by their expected rewards; `[actions]`.
    fn shares_of(&self, member_outputs: &MemberOutputs, target: Target) -> Option<Vec<f32>> {
        let (plan, range) = (&self.portfolio.plan, &self.portfolio.range);
        let (chosen, share) = match target {
            Target::Reward { action, reward } => (action as usize, range.share(reward)),
            Target::BestAction(best) => (best as usize, 1.0),
            Target::Correction { .. } | Target::Class(_) | Target::Value(_) => return None,
        };
        let n_outputs = self.portfolio.n_outputs();
        let place = plan.place(Member::Exclusive)?;
        let answered = &member_outputs.scores[place * n_outputs..][..n_outputs];
        let expected = |action: usize| {
            if action == chosen {
                0.0
            } else {
                answered[action].max(LEAST_EXPECTED)
            }
        };
        let total: f32 = (0..n_outputs).map(expected).sum();
        let rest = (1.0 - share) / total.max(LEAST_EXPECTED);
        let wanted = |action| {
            if action == chosen {
                share
            } else {
                rest * expected(action)
            }
        };
        Some((0..n_outputs).map(wanted).collect())
    }

    fn learn_network(&mut self, row: &Encoded, known: Known, scale: &Scale) {
        if let Some(network) = &mut self.network {
            let row = Encoded {
                past: None,
                ..self.portfolio.for_network(row).into_owned()
            };
            network.observe(row, known, output_loss(&self.portfolio, scale));
        }
    }

    /// How many regressions have the same forgetting.
    fn n_recursions_each(&self) -> usize {
        let n_forgettings = self.portfolio.plan.forgetting().count();
        let n_each = self.recursions.len().checked_div(n_forgettings);
        n_each.unwrap_or(0).max(1)
    }

    /// Hands the learned weights of the regressions to those that answer.
    fn serve_ridges(&mut self) {
        let served = self.recursions.chunks_exact(self.n_recursions_each());
        for (ridge, recursions) in self.portfolio.ridges.iter_mut().zip(served) {
            let n_features = recursions[0].settings().n_features;
            let weights = recursions.iter().flat_map(Recursion::served);
            *ridge = RidgeWeights::new(n_features, weights.collect());
        }
        if let (Some(ridge), Some(recursion)) = (self.portfolio.ridges.last_mut(), &self.exclusive)
        {
            let n_features = recursion.settings().n_features;
            *ridge = RidgeWeights::new(n_features, recursion.served().collect());
        }
    }
}

/// The loss of the network member.
fn output_loss<'a>(portfolio: &'a Portfolio, scale: &'a Scale) -> OutputLoss<'a> {
    if portfolio.plan.bandit {
        OutputLoss::Shares(&portfolio.range)
    } else {
        OutputLoss::Plain(scale)
    }
}

/// The description that the network member learns under.
fn replaying(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    // One of several members, all of which learn beside it.
    spec.device = model::Device::Cpu;
    spec.memory.strategy = if spec.retains() {
        model::Strategy::ClsEr
    } else {
        model::Strategy::Er
    };
    spec.memory.replay = match spec.task {
        Task::Bandit { .. } => 32,
        _ => 16,
    };
    spec.memory.long_term = 2000;
    spec
}

fn learn_no_change(last: &mut NoChange, target: Target) {
    let Some(now) = target.truth() else {
        return;
    };
    if let Some(before) = last.target {
        let fade = 1.0 - 1.0 / CLAIM_HORIZON;
        last.right = last.right * fade + f64::from(u8::from(before == now));
        last.tried = last.tried * fade + 1.0;
    }
    last.target = Some(now);
}
