//! An example that is another by now, in every member that learned it.
//!
//! Invariant: no member is scored on it again, and it counts as one example.

use super::super::analytic::BIAS;
use super::super::example::{Amendment, weighted};
use super::super::output_loss::OutputLoss;
use super::{AutoLearner, output_loss, pool};
use crate::learn::memory::likeness::Likeness;
use crate::model::{Encoded, Member, MemberOutputs, Rescale, Scale, Target, logistic_share};

/// How much an example that is amended counts in the weights of the members, after each later one: of
/// classes, where one that learned nothing is the best at what turns out to be wrong, and of rewards.
const KNOWN: f64 = 0.9;
const KNOWN_REWARD: f64 = 0.97;
/// The least and the largest share that a logistic member carries over to another range.
const SHARES: [f32; 2] = [0.02, 0.98];

impl AutoLearner {
    /// Makes it good; false where something is not finite, and then nothing has changed.
    ///
    /// Ridge regressions of classes and rewards, and neighbours, are as if the example had been this one from
    /// the start; linear members and the network as far as that can be computed. A regression's
    /// rows hold the value before them, and its errors are held: it learns the example once more.
    pub(crate) fn amend(&mut self, row: &Encoded, amendment: &Amendment, scale: &Scale) -> bool {
        let Amendment {
            example,
            before,
            after,
            n_since,
            weight,
            ..
        } = *amendment;
        let network = self.network();
        let member_outputs = self.portfolio.member_outputs(row, scale, network.as_ref());
        if !member_outputs.is_finite() || !row.is_finite() {
            return false;
        }
        self.amend_shares(amendment, scale);
        let member_outputs = &mut { member_outputs };
        self.widen(row, member_outputs, after);
        self.amend_linear_members(row, &member_outputs.scores, amendment, scale);
        self.amend_ridges(member_outputs, amendment, scale);
        if let Some(network) = &mut self.network {
            let row = Encoded {
                past: None,
                ..self.portfolio.for_network(row).into_owned()
            };
            network.amend(row.into(), amendment, output_loss(&self.portfolio, scale));
        }
        if let (Some(learner), Some(forest)) = (&mut self.forest, &mut self.portfolio.forest) {
            learner.amend(forest, row, amendment);
        }
        let portfolio = &mut self.portfolio;
        portfolio.memory.amend(example, after);
        portfolio.base_rates.amend([before, after], weight, n_since);
        if let (Some(past), Some(series)) = (&mut self.past, &mut portfolio.series) {
            past.amend(series, row, amendment);
        }
        if let Some(last) = &mut portfolio.no_change
            && n_since == 0
        {
            last.target = after.truth().or(last.target);
        }
        true
    }

    /// Judges the answers of the members then by the example of now. The later it is known, the less: they
    /// learned from other labels meanwhile, and how well each forecast these is then the best estimate of
    /// how well it would have forecast the right one.
    fn amend_shares(&mut self, amendment: &Amendment, scale: &Scale) {
        let kept = self.answers.as_ref();
        let Some(answers) = kept.and_then(|kept| kept.to(amendment.example)) else {
            return;
        };
        let known = match amendment.after {
            Target::Reward { .. } => KNOWN_REWARD,
            _ => KNOWN,
        };
        let weight = f64::from(self.weight_judged(amendment.weight));
        let counts = weight * known.powf(amendment.n_since as f64);
        let loss = |answer: &f32, target| self.loss(*answer, target, scale);
        let more = answers
            .iter()
            .map(|one| counts * (loss(one, amendment.after) - loss(one, amendment.before)));
        let more: Vec<f64> = more.collect();
        pool::amend(&mut self.portfolio.pool.weights, &more);
    }

    fn amend_linear_members(
        &mut self,
        row: &Encoded,
        scores: &[f32],
        amendment: &Amendment,
        scale: &Scale,
    ) {
        let row = &*self.portfolio.with_newest(row, scale);
        let squared_length = self.portfolio.linear_members.squared_length(row);
        let is_class = matches!(amendment.after, Target::Class(_));
        let alike = self.likeness.as_ref().map_or(1.0, Likeness::mean) as f32;
        let typical = (self.length[1] as f32).max(f32::MIN_POSITIVE);
        let (plan, range) = (&self.portfolio.plan, &self.portfolio.range);
        let n_outputs = self.portfolio.n_outputs();
        let mut gradient = vec![0.0; plan.n_linear_members() * n_outputs];
        let members = scores.chunks_exact(n_outputs).zip(&plan.members);
        let members = members
            .enumerate()
            .filter_map(|(place, (answered, member))| {
                let step = member.step()?;
                Some((place, answered, step, *member))
            });
        for ((place, answered, step, member), gradient) in
            members.zip(gradient.chunks_exact_mut(n_outputs))
        {
            let step = amendment.weight * (step / typical);
            let pull = step * squared_length;
            let is_linear = matches!(member, Member::Linear(_));
            let curvature = curvature(member, amendment.after, answered);
            let (output_loss, rate) = match is_linear && !is_class {
                true => (OutputLoss::Plain(scale), step / (1.0 + pull)),
                false if is_class => (OutputLoss::Plain(scale), step),
                false => (OutputLoss::Shares(range), step),
            };
            // The part of the way to its target that a step of this member goes.
            let pull = curvature * pull / (1.0 + curvature * pull);
            if let Target::Value(value) = amendment.after {
                let wanted = self.portfolio.wanted(value, scale);
                gradient[0] = self.error_scale.held(place, answered[0] - wanted);
            } else if is_class {
                // The effect of an example of a class depends on all that came since.
                output_loss.gradient(amendment.after, answered, gradient);
            } else {
                let left = (1.0 - alike * pull).powf(amendment.n_since as f32);
                let both = [amendment.before, amendment.after];
                output_loss.amended(both, [left, rate * squared_length], answered, gradient);
            }
            gradient
                .iter_mut()
                .for_each(|derivative| *derivative *= rate);
        }
        self.portfolio.linear_members.descend(row, &gradient);
    }

    fn amend_ridges(
        &mut self,
        member_outputs: &MemberOutputs,
        amendment: &Amendment,
        scale: &Scale,
    ) {
        let Amendment {
            before,
            after,
            n_since,
            weight,
            ..
        } = *amendment;
        if let Target::Value(_) = after {
            return self.learn_ridges(member_outputs, (after, weight), scale);
        }
        let n_each = self.n_recursions_each();
        let phi = &*weighted(&member_outputs.phi, weight);
        let n_outputs = self.portfolio.n_outputs();
        for (index, recursion) in self.recursions.iter_mut().enumerate() {
            let wanted = |target| wanted(target, index % n_each, n_outputs, scale);
            if let (Some(before), Some(after)) = (wanted(before), wanted(after)) {
                let left = recursion.left_after(n_since);
                let both = [&before, &after].map(|wanted| weighted(wanted, weight));
                recursion.amend(phi, [&both[0], &both[1]], left);
            }
        }
        let shares = [before, after].map(|target| self.shares_of(member_outputs, target));
        if let (Some(recursion), [Some(before), Some(after)]) = (&mut self.exclusive, shares) {
            let both = [&before, &after].map(|wanted| weighted(wanted, weight));
            recursion.amend(phi, [&both[0], &both[1]], 1.0);
        }
        self.serve_ridges();
    }

    /// Expresses linear members and regressions in another scale of the rewards; `counts` are the
    /// examples that showed each output. An output that never learned stays at the mean.
    pub(crate) fn rescale(&mut self, change: Rescale, counts: &[u64]) {
        let plan = &self.portfolio.plan;
        let shift = |step: f32, count: &u64| {
            let unlearned = f64::from(1.0 + step).powf(-(*count as f64));
            (change.shift * (1.0 - unlearned)) as f32
        };
        let each = |step| counts.iter().map(move |count| shift(step, count));
        let shifts: Vec<f32> = plan.linear_steps().flat_map(each).collect();
        self.portfolio
            .linear_members
            .rescale(change.factor as f32, &shifts);
        if let Some(answers) = &mut self.answers {
            answers.rescale(change);
        }
        let recursions = self.recursions.iter_mut();
        recursions.for_each(|one| one.rescale(change.factor, &[change.shift], BIAS));
        self.serve_ridges();
    }

    /// Takes a reward into the range that shares are of, and converts the shares learned so far
    /// from the old range to the new one: the logistic members' for this row, and the targets of
    /// the exclusive regression. `member_outputs` are recomputed.
    pub(super) fn widen(
        &mut self,
        row: &Encoded,
        member_outputs: &mut MemberOutputs,
        target: Target,
    ) {
        let before = self.portfolio.range;
        let range = &mut self.portfolio.range;
        match target {
            Target::Reward { action, reward } => {
                range.observe(reward);
                if let Some(count) = self.n_chosen.get_mut(action as usize) {
                    *count += 1;
                }
            }
            Target::BestAction(_) => [0.0, 1.0].into_iter().for_each(|one| range.observe(one)),
            Target::Class(_) | Target::Value(_) | Target::Correction { .. } => {}
        }
        let change = before.to(range).filter(|_| self.revision >= 2);
        if let Some(change) = change {
            self.carry_logistic(row, member_outputs, change);
            self.carry_exclusive(member_outputs, change);
        }
    }

    fn carry_logistic(
        &mut self,
        row: &Encoded,
        member_outputs: &mut MemberOutputs,
        change: Rescale,
    ) {
        let plan = &self.portfolio.plan;
        let n_outputs = self.portfolio.n_outputs();
        let linear = plan.places(|member| member.is_linear());
        let logistic = plan.places(|member| matches!(member, Member::Logistic(_)));
        if logistic.is_empty() {
            return;
        }
        let mut gradient = vec![0.0; linear.len() * n_outputs];
        let among_linear = (logistic.start - linear.start) * n_outputs;
        let squared_length = self.portfolio.linear_members.squared_length(row);
        let scores =
            &mut member_outputs.scores[logistic.start * n_outputs..logistic.end * n_outputs];
        for (score, derivative) in scores.iter_mut().zip(&mut gradient[among_linear..]) {
            // One without a reward stays in the middle.
            if *score != 0.0 {
                let share = change.apply(logistic_share(*score));
                let carried = share.clamp(SHARES[0], SHARES[1]);
                let carried = (carried / (1.0 - carried)).ln();
                *derivative = (*score - carried) / squared_length;
                *score = carried;
            }
        }
        self.portfolio.linear_members.descend(row, &gradient);
    }

    fn carry_exclusive(&mut self, member_outputs: &mut MemberOutputs, change: Rescale) {
        let Some(recursion) = &mut self.exclusive else {
            return;
        };
        let Rescale { factor, shift } = change;
        let n_outputs = self.n_chosen.len();
        let total = self.n_chosen.iter().sum::<u64>().max(1) as f64;
        // The others share the reward that the chosen action does not earn.
        let rest = (1.0 - factor - shift) / (n_outputs - 1).max(1) as f64;
        let shifts = self.n_chosen.iter().map(|count| {
            let chosen = *count as f64 / total;
            chosen * shift + (1.0 - chosen) * rest
        });
        recursion.rescale(factor, &shifts.collect::<Vec<_>>(), BIAS);
        let Some(place) = self.portfolio.plan.place(Member::Exclusive) else {
            return;
        };
        let answered = &mut member_outputs.scores[place * n_outputs..][..n_outputs];
        answered.copy_from_slice(&recursion.scores(&member_outputs.phi));
    }
}

/// The curvature of a member's loss where it is. A logistic member that is sure hardly forgets: its
/// loss is nearly flat there.
fn curvature(member: Member, target: Target, outputs: &[f32]) -> f32 {
    match (member, target) {
        (Member::Logistic(_), Target::Reward { action, .. }) => {
            let share = logistic_share(outputs[action as usize]);
            share * (1.0 - share)
        }
        (Member::Logistic(_), _) => 0.25,
        _ => 1.0,
    }
}

/// The targets of the regression of an action, or of all classes; none of another
/// action's reward.
fn wanted(target: Target, action: usize, n_outputs: usize, scale: &Scale) -> Option<Vec<f32>> {
    let hot = |place: u32, index: usize| f32::from(u8::from(place as usize == index));
    match target {
        Target::Class(class) => Some((0..n_outputs).map(|index| hot(class, index)).collect()),
        Target::Reward { action: of, reward } => {
            (of as usize == action).then(|| vec![scale.standardise(reward)])
        }
        Target::BestAction(best) => Some(vec![scale.standardise(f64::from(hot(best, action)))]),
        Target::Value(_) | Target::Correction { .. } => None,
    }
}
