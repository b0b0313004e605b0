//! Several models of one row, mixed by how well each has done.
//!
//! Members are linear models at several step sizes, ridge regressions on shared random features,
//! the nearest examples of two windows, a small network where rows are wide, and one that repeats
//! the newest truth. Each is sharpened or dulled by its record; then they are pooled.
//!
//! Invariant: a member answers from the row and its own state, never from another member.

mod kept;
mod plan;
mod pool;
mod range;

use std::borrow::Cow;
use std::sync::Arc;

use super::forest::Forest;
use super::linear::{LinearForm, LinearMembers};
use super::neighbours::{BaseRates, NeighbourWindow, Neighbours, Voters};
use super::ridge::{LogRidge, RandomFeatures, RidgeWeights};
use super::series::Series;
use crate::model::encoders::features::{Encoded, Filters, Scale};
use crate::model::loss::softmax;
use crate::model::predictors::network::Network;
use crate::model::spec::{Keep, LearnerKind, Spec, Task};
pub(crate) use kept::{KeptAnswers, RetainedAnswer};
use plan::TREES;
pub(crate) use plan::{Member, Plan};
pub(crate) use pool::Pool;
pub(crate) use pool::log;
pub(crate) use range::Range;
pub(crate) use range::logistic_share;

/// How many neighbours answer.
const NEAREST: usize = 10;
/// How far a class that was never seen scores below the least likely one that was.
const NEVER: f32 = 30.0;

/// Members and their weights in the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Portfolio {
    /// The members of the portfolio.
    pub plan: Plan,
    /// One linear member for each step size, then the logistic ones.
    pub linear_members: LinearMembers,
    /// The range of the rewards that logistic members regress shares of.
    pub range: Range,
    /// The filters of images, through which ridge regressions and networks see them.
    pub filters: Option<Arc<Filters>>,
    /// The features that ridge regressions share.
    pub features: Option<RandomFeatures>,
    /// The ridge regressions.
    pub ridges: Vec<RidgeWeights>,
    /// The regression of the logarithm of a value.
    pub log_ridge: Option<LogRidge>,
    /// The trees.
    pub(crate) forest: Option<Forest>,
    /// The newest examples, which two members see more or less of.
    pub memory: Neighbours,
    /// The base rates of the outputs.
    pub base_rates: BaseRates,
    /// The member that repeats the newest label or value.
    pub no_change: Option<NoChange>,
    /// The past of the target, which members see; none under earlier revisions of the learning rules
    /// than the third, and of all else than a regression.
    pub series: Option<Series>,
    /// How they are mixed.
    pub pool: Pool,
    /// The kept answer and its weights; none of values and rewards, and none under earlier revisions of the
    /// learning rules than the third.
    pub(crate) kept: Option<RetainedAnswer>,
    classes: bool,
    n_outputs: usize,
}

/// The member that repeats the newest truth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoChange {
    /// The newest class index or value; none before the first.
    pub target: Option<f64>,
    /// How often repeating it was right, fading.
    pub right: f64,
    /// How often it was tried, fading.
    pub tried: f64,
}

/// The outputs of all members for a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemberOutputs {
    /// The scores of the members, those of classes before their inverse temperatures;
    /// `[members, n_outputs]`.
    pub scores: Vec<f32>,
    /// The outputs of the members and then of the stack, `[members, n_outputs]`: probabilities of classes,
    /// or values in the scale of the target.
    pub outputs: Vec<f32>,
    /// The features of the ridge regressions.
    pub phi: Vec<f32>,
}

impl MemberOutputs {
    /// True if every output is finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.outputs.iter().all(|output| output.is_finite())
    }
}

impl Portfolio {
    /// Members that know nothing.
    pub fn new(spec: &Spec, n_dense: usize, n_buckets: usize) -> Portfolio {
        Portfolio::of(Plan::new(spec, n_dense), spec, n_dense, n_buckets)
    }

    fn of(plan: Plan, spec: &Spec, n_dense: usize, n_buckets: usize) -> Portfolio {
        let n_outputs = spec.task.n_outputs();
        let features = plan.ridge.map(RandomFeatures::new);
        let ridge = |features: &RandomFeatures| {
            let n_features = features.n_features();
            RidgeWeights::new(n_features, vec![0.0; n_outputs * n_features])
        };
        let window = NeighbourWindow {
            n_dense,
            n_rows: plan.windows().into_iter().max().unwrap_or(0),
            seed: spec.seed,
        };
        let ridges = features
            .iter()
            .flat_map(|f| vec![ridge(f); plan.n_ridges()]);
        Portfolio {
            linear_members: LinearMembers::new(LinearForm {
                n_members: plan.n_linear_members(),
                n_outputs,
                n_dense: n_dense + usize::from(plan.sees_newest),
                n_buckets,
                bias_rate: plan.bias_rate,
            }),
            range: Range::default(),
            ridges: ridges.collect(),
            log_ridge: features
                .as_ref()
                .filter(|_| plan.has(Member::AnalyticLog))
                .map(|features| LogRidge::new(features.n_features())),
            features,
            filters: Filters::new(spec).map(Arc::new),
            forest: (plan.has(Member::Forest)).then(|| Forest::new(TREES, n_outputs)),
            memory: Neighbours::new(window),
            base_rates: BaseRates::new(n_outputs),
            no_change: plan.repeats_newest().then(NoChange::default),
            series: plan.sees_past.then(|| Series::new(spec, n_dense)),
            pool: if plan.stack {
                Pool::new(plan.members.len())
            } else {
                Pool::without_stack(plan.members.len())
            },
            kept: match spec.learner {
                LearnerKind::Auto(keep) if spec.retains() => {
                    Some(RetainedAnswer::new(keep, plan.members.len(), n_outputs))
                }
                _ => None,
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

    /// True if they are probabilities of classes.
    pub(crate) fn is_classes(&self) -> bool {
        self.classes
    }

    /// How many single models there are, without the stack.
    pub(crate) fn n_members(&self) -> usize {
        self.plan.members.len()
    }

    /// A name for each member, and for the stack of them.
    pub fn names(&self) -> Vec<String> {
        let members = self.plan.members.iter().map(|member| member.name());
        members
            .chain(self.plan.stack.then(|| "stack".to_owned()))
            .collect()
    }

    /// The names of the linear members, logistic ones included.
    pub(crate) fn linear_member_names(&self) -> Vec<String> {
        let members = self.plan.members.iter();
        let linear = members.filter(|member| member.is_linear());
        linear.map(|member| member.name()).collect()
    }

    /// A row as linear members and ridge regressions see it: those of a regression see the newest
    /// value too, so that they can forecast its moves.
    pub(crate) fn with_newest<'a>(&self, row: &'a Encoded, scale: &Scale) -> Cow<'a, Encoded> {
        match &self.no_change {
            Some(last) if self.plan.sees_newest => {
                let mut row = row.clone();
                let last = newest(last, &row);
                let last = last.map_or(0.0, |last| scale.standardise(last));
                row.dense.push(last);
                Cow::Owned(row)
            }
            _ => Cow::Borrowed(row),
        }
    }

    /// A row whose images are filtered.
    fn filtered<'a>(&self, row: &'a Encoded) -> Cow<'a, Encoded> {
        let Some(filters) = &self.filters else {
            return Cow::Borrowed(row);
        };
        Cow::Owned(Encoded {
            dense: filters.apply(&row.dense),
            sparse: row.sparse.clone(),
            past: row.past.clone(),
        })
    }

    /// A value in the scale of the target, as members are judged by it.
    pub fn wanted(&self, value: f64, scale: &Scale) -> f32 {
        match &self.series {
            Some(_) => scale.place(value),
            None => scale.distance(value),
        }
    }

    /// A row as the networks see it.
    pub(crate) fn for_network<'a>(&self, row: &'a Encoded) -> Cow<'a, Encoded> {
        self.shortened(self.filtered(row))
    }

    /// A filtered row as the networks see it.
    fn shortened<'a>(&self, row: Cow<'a, Encoded>) -> Cow<'a, Encoded> {
        let scale = self.plan.network_scale;
        if scale == 1.0 {
            return row;
        }
        let mut row = row.into_owned();
        row.dense.iter_mut().for_each(|value| *value *= scale);
        Cow::Owned(row)
    }

    /// The outputs of every member for a row; `network` is there where the plan has one.
    pub(crate) fn member_outputs(
        &self,
        row: &Encoded,
        scale: &Scale,
        network: Option<&Network>,
    ) -> MemberOutputs {
        self.adjusted_outputs(row, scale, network, |_, _| {})
    }

    /// The outputs of every member where `adjust` changes the scores `[members, n_outputs]`, from the
    /// features of the ridge regressions.
    pub(crate) fn adjusted_outputs(
        &self,
        row: &Encoded,
        scale: &Scale,
        network: Option<&Network>,
        adjust: impl FnOnce(&mut [f32], &[f32]),
    ) -> MemberOutputs {
        let wider = self.with_newest(row, scale);
        let filtered = self.filtered(row);
        let phi = self.features.as_ref().map(|features| match self.filters {
            Some(_) => features.phi(&self.with_newest(&filtered, scale)),
            None => features.phi(&wider),
        });
        let phi = phi.unwrap_or_default();
        let of_network = match network {
            None => Cow::Borrowed(row),
            Some(_) => self.shortened(filtered),
        };
        let linear = self.linear_members.scores(&wider);
        let mut scores = self.scores((row, &linear, &phi), scale, (network, &of_network));
        adjust(&mut scores, &phi);
        let mut outputs = scores.clone();
        self.restore_shares(&mut outputs, scale);
        if self.classes {
            self.silence(&mut outputs);
            let members = outputs.chunks_exact_mut(self.n_outputs);
            for (member, inverse_temperature) in members.zip(&self.pool.inverse_temperature) {
                member
                    .iter_mut()
                    .for_each(|score| *score *= inverse_temperature);
                softmax(member);
            }
        }
        if self.plan.stack {
            outputs.extend(self.pool.stacked(&outputs, self.n_outputs, self.classes));
        }
        MemberOutputs {
            scores,
            outputs,
            phi,
        }
    }

    /// The scores of the members in the order of the table, from a row, the scores of the linear
    /// members and the features of the ridge regressions, and the row as the networks see it;
    /// `[members, n_outputs]`.
    fn scores(
        &self,
        (row, linear, phi): (&Encoded, &[f32], &[f32]),
        scale: &Scale,
        (network, of_network): (Option<&Network>, &Encoded),
    ) -> Vec<f32> {
        let mut linear = linear.chunks_exact(self.n_outputs);
        let mut ridges = self.ridges.iter();
        let near = self.memory.nearest(row, &self.plan.windows(), NEAREST);
        let mut near = near.into_iter();
        let past = self
            .series
            .as_ref()
            .and_then(|series| series.outputs(row, scale));
        let mut past = past.into_iter().flatten();
        let mut scores = Vec::with_capacity(self.plan.members.len() * self.n_outputs);
        for member in &self.plan.members {
            match member {
                Member::Linear(_) | Member::Logistic(_) => {
                    scores.extend_from_slice(linear.next().expect("a row of scores a member"));
                }
                Member::Analytic(_) | Member::Exclusive => {
                    let ridge = ridges.next().expect("a regression a member");
                    scores.extend(ridge.scores(phi));
                }
                Member::Neighbours(_) => {
                    let near = near.next().expect("neighbours a window");
                    let p = Voters { repeat: 1.0 }.outputs(&near, &self.base_rates, scale);
                    self.extend(&mut scores, p);
                }
                Member::Network => {
                    let network = network.expect("a portfolio with a network is given it");
                    let outputs = network.forward(std::slice::from_ref(of_network));
                    scores.extend(outputs.expect("a member is computed on the processor"));
                }
                Member::Forest => {
                    let p = self.forest.iter().flat_map(|forest| forest.outputs(row));
                    self.extend(&mut scores, p.collect());
                }
                Member::LastLabel | Member::LastValue => {
                    let mut newest = self.no_change.unwrap_or_default();
                    newest.target = self::newest(&newest, row);
                    self.extend(&mut scores, self.no_change_outputs(&newest, scale));
                }
                // A member without the past that it needs gives the answer of one that needs less.
                Member::AnalyticLog => {
                    let value = self.log_ridge.as_ref().and_then(|ridge| ridge.value(phi));
                    let known = value.map(|value| scale.place(value));
                    scores.push(known.unwrap_or(scores[self.first_ridge()]));
                }
                Member::Past(_) => {
                    let without = || self.plan.ridge.map_or(0.0, |_| scores[self.first_ridge()]);
                    let score = past.next().unwrap_or_else(without);
                    scores.push(score);
                }
            }
        }
        scores
    }

    /// Makes rewards of scores that are shares of their range.
    fn restore_shares(&self, outputs: &mut [f32], scale: &Scale) {
        if !self.plan.bandit {
            return;
        }
        let reward = |share: f32| scale.distance(self.range.reward(share));
        let members = outputs.chunks_exact_mut(self.n_outputs);
        for (outputs, member) in members.zip(&self.plan.members) {
            let restore = |score: &mut f32| match member {
                Member::Logistic(_) | Member::Network => *score = reward(logistic_share(*score)),
                Member::Exclusive => *score = reward(score.clamp(0.0, 1.0)),
                _ => {}
            };
            outputs.iter_mut().for_each(restore);
        }
    }

    /// Probabilities become scores; values stay as they are.
    fn extend(&self, scores: &mut Vec<f32>, outputs: Vec<f32>) {
        if self.classes {
            scores.extend(outputs.into_iter().map(log));
        } else {
            scores.extend(outputs);
        }
    }

    /// Holds classes that were never seen below all others.
    fn silence(&self, scores: &mut [f32]) {
        let counts = &self.base_rates.counts;
        if counts.iter().all(|count| *count > 0.0) || counts.iter().all(|count| *count == 0.0) {
            return;
        }
        for member in scores.chunks_exact_mut(self.n_outputs) {
            let seen = member.iter().zip(counts).filter(|(_, count)| **count > 0.0);
            let least = seen.fold(f32::INFINITY, |least, (score, _)| least.min(*score));
            for (score, _) in member.iter_mut().zip(counts).filter(|one| *one.1 == 0.0) {
                *score = least - NEVER;
            }
        }
    }

    fn no_change_outputs(&self, last: &NoChange, scale: &Scale) -> Vec<f32> {
        let n = self.n_outputs;
        let uniform = 1.0 / n as f64;
        let mut outputs = vec![uniform as f32; n];
        match last.target {
            Some(target) if self.classes && n > 1 => {
                let right = (last.right + uniform) / (last.tried + 1.0);
                outputs.fill(((1.0 - right) / (n - 1) as f64) as f32);
                outputs[target as usize] = right as f32;
            }
            Some(target) if !self.classes => outputs[0] = self.wanted(target, scale),
            None if !self.classes => outputs[0] = 0.0,
            _ => {}
        }
        outputs
    }

    fn first_ridge(&self) -> usize {
        let is_ridge = |member: &Member| matches!(member, Member::Analytic(_));
        self.plan.places(is_ridge).start
    }

    /// The answer of all members, `[n_outputs]`.
    pub(crate) fn mix(&self, member_outputs: &MemberOutputs) -> Vec<f32> {
        match &self.kept {
            Some(kept) if kept.keep != Keep::Recent => {
                kept.mix(&self.kept_answers(kept, member_outputs).answers)
            }
            _ => self.current(member_outputs),
        }
    }

    /// The answer of the pool, `[n_outputs]`.
    pub(crate) fn current(&self, member_outputs: &MemberOutputs) -> Vec<f32> {
        let outputs = &member_outputs.outputs;
        self.pool.mix(outputs, self.n_outputs, self.classes)
    }

    /// The answers that `kept` mixes.
    pub(crate) fn kept_answers(
        &self,
        kept: &RetainedAnswer,
        member_outputs: &MemberOutputs,
    ) -> KeptAnswers {
        let (current, counts) = (self.current(member_outputs), &self.base_rates.counts);
        kept.answers(current, &member_outputs.outputs, counts)
    }
}

/// The newest value before a row: of its series, where its past is known.
fn newest(last: &NoChange, row: &Encoded) -> Option<f64> {
    match &row.past {
        Some(past) if past.n_known.is_some() => past.newest(),
        _ => last.target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "[[input]]\nname = \"x\"\nkind = \"number\"\n";
    const TEXT: &str = "[[input]]\nname = \"x\"\nkind = \"text\"\n";
    const CLASSES: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n";
    const BANDIT: &str = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n";

    fn spec(task: &str, input: &str) -> Spec {
        Spec::parse(&format!("{task}{input}")).expect("a description")
    }

    #[test]
    fn a_description_gets_its_members_in_their_order() {
        let check = |task: &str, input: &str, expected: &str| {
            let portfolio = Portfolio::new(&spec(task, input), 1, 1 << 10);
            assert_eq!(portfolio.names().join(" "), expected, "{task}{input}");
        };
        check(
            CLASSES,
            NUMBER,
            "linear-0.01 linear-0.04 linear-0.16 linear-0.6 linear-2.5 linear-10 linear-40 \
             analytic neighbours-200 neighbours-1000 forest last-label stack",
        );
        check(
            "task = \"classification\"\nclasses = [\"a\"]\nclasses_max = 26\n",
            NUMBER,
            "linear-0.01 linear-0.04 linear-0.16 linear-0.6 linear-2.5 linear-10 linear-40 \
             analytic neighbours-200 neighbours-1000 neighbours-5000 forest last-label stack",
        );
        check(
            "task = \"classification\"\nclasses = [\"a\"]\nclasses_max = 65\n",
            NUMBER,
            "linear-0.01 linear-0.04 linear-0.16 linear-0.6 linear-2.5 linear-10 linear-40 \
             analytic analytic-0.999 neighbours-200 neighbours-1000 neighbours-5000 last-label stack",
        );
        let categories = |n: usize| {
            let category = |place| format!("[[input]]\nname = \"c{place}\"\nkind = \"category\"\n");
            (0..n).map(category).collect::<String>()
        };
        let eight = "task = \"classification\"\nclasses = [\"a\"]\nclasses_max = 8\n";
        for (n_categories, expected) in [(63, true), (64, false)] {
            let spec = spec(eight, &categories(n_categories));
            let plan = Plan::new(&spec, 0);
            assert_eq!(
                plan.has(Member::Neighbours(5000)),
                expected,
                "{n_categories}"
            );
        }
        check(
            &format!("{CLASSES}[rules]\nrevision = 2\n"),
            NUMBER,
            "linear-0.01 linear-0.04 linear-0.16 linear-0.6 linear-2.5 linear-10 linear-40 \
             analytic analytic-0.999 neighbours-200 neighbours-1000 last-label stack",
        );
        check(
            CLASSES,
            TEXT,
            "linear-1.25 linear-2.5 linear-5 linear-10 \
             neighbours-200 neighbours-1000 network forest last-label stack",
        );
        check(
            &format!("{CLASSES}[rules]\nrevision = 2\n"),
            TEXT,
            "linear-1.25 linear-2.5 linear-5 linear-10 \
             neighbours-200 neighbours-1000 last-label stack",
        );
        check(
            "task = \"regression\"\n",
            NUMBER,
            "linear-0.01 linear-0.04 linear-0.16 linear-0.6 linear-2.5 linear-10 linear-40 \
             analytic analytic-0.999 analytic-log neighbours-200 neighbours-1000 lags lags-change lags-inputs \
             lags-inputs-change seasonal seasonal-change seasonal-ratio last-value stack",
        );
        check(
            BANDIT,
            NUMBER,
            "linear-0.04 linear-0.2 logistic-0.16 logistic-0.6 logistic-2.5 logistic-10 \
             analytic analytic-0.999 analytic-exclusive neighbours-200 neighbours-1000",
        );
        check(
            BANDIT,
            TEXT,
            "linear-0.04 linear-0.2 logistic-2.5 logistic-5 logistic-10 \
             neighbours-200 neighbours-1000",
        );
    }

    #[test]
    fn gaps_and_the_parts_of_a_time_leave_a_forest() {
        let check = |inputs: String, expected: bool| {
            let spec = spec(CLASSES, &inputs);
            let n_dense = spec.inputs.iter().map(|input| input.kind.n_dense()).sum();
            let has_forest = Plan::new(&spec, n_dense).has(Member::Forest);
            assert_eq!(has_forest, expected, "{n_dense} dense inputs");
        };
        let inputs = |n: usize, kind: &str| {
            let input = |place| format!("[[input]]\nname = \"x{place}\"\nkind = {kind}\n");
            (0..n).map(input).collect::<String>()
        };
        check(inputs(40, "\"number\"\nmissing = \"mean\""), true);
        check(inputs(4, "\"time\""), true);
        check(inputs(70, "\"number\""), false);
        check(inputs(1, "\"vector\"\nlength = 64"), false);
    }

    #[test]
    fn a_member_more_in_the_table_answers_is_weighed_and_is_named() {
        let spec = spec(CLASSES, NUMBER);
        let mut plan = Plan::new(&spec, 1);
        let place = plan.place(Member::LastLabel).expect("classes have one");
        plan.members.insert(place, Member::Neighbours(50));
        let portfolio = Portfolio::of(plan, &spec, 1, 0);
        let row = Encoded {
            dense: vec![1.0],
            sparse: vec![],
            past: None,
        };
        let answered = portfolio.member_outputs(&row, &Scale::default(), None);
        let names = portfolio.names();
        assert_eq!(names[place], "neighbours-50");
        assert_eq!(answered.scores.len(), 2 * portfolio.n_members());
        assert_eq!(answered.outputs.len(), 2 * names.len());
        assert_eq!(portfolio.pool.weights.len(), names.len());
        assert!(portfolio.mix(&answered).iter().all(|p| *p == 0.5));
    }
}
