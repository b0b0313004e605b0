//! One step of all linear and logistic members.
//!
//! Departure: on squared losses linear members take the implicit step (Karampatziakis and
//! Langford 2011, eq. 6), so that no step size can make them diverge. Logistic members have
//! bounded gradients.

use super::AutoLearner;
use crate::model::{Encoded, Scale, Target, softmax};

/// Examples over which the length of a row is a plain average; older ones fade.
const LENGTH_HORIZON: f64 = 1000.0;

impl AutoLearner {
    /// Learns from the members' scores before this example, a target of this weight.
    pub(super) fn learn_linear_members(
        &mut self,
        row: &Encoded,
        scores: &[f32],
        (target, weight): (Target, f32),
        scale: &Scale,
    ) {
        let row = &*self.portfolio.with_newest(row, scale);
        let squared_length = self.portfolio.linear_members.squared_length(row);
        let [count, mean] = &mut self.length;
        *count = (*count + 1.0).min(LENGTH_HORIZON);
        *mean += (f64::from(squared_length) - *mean) / *count;
        let typical = *mean as f32;
        let plan = &self.portfolio.plan;
        let n_outputs = self.portfolio.n_outputs();
        let places = plan.places(|member| member.is_linear());
        let mut gradient = scores[places.start * n_outputs..places.end * n_outputs].to_vec();
        let n_linear = plan.linear_steps().count();
        let (linear, logistic) = gradient.split_at_mut(n_linear * n_outputs);
        let members = places.zip(linear.chunks_exact_mut(n_outputs));
        for ((member, gradient), step) in members.zip(plan.linear_steps()) {
            let step = weight * (step / typical);
            let rate = match target {
                Target::Class(class) => {
                    softmax(gradient);
                    gradient[class as usize] -= 1.0;
                    step
                }
                Target::Value(value) => {
                    let wanted = self.portfolio.wanted(value, scale);
                    gradient[0] = self.error_scale.held(member, gradient[0] - wanted);
                    step / (1.0 + step * squared_length)
                }
                _ => {
                    let outputs = gradient.to_vec();
                    target.gradient(&outputs, scale, gradient);
                    step / (1.0 + step * squared_length)
                }
            };
            gradient
                .iter_mut()
                .for_each(|derivative| *derivative *= rate);
        }
        let mut members = logistic.chunks_exact_mut(n_outputs);
        if self.revision < 2 {
            // The first revision passed one over, and gave the second the step of the first.
            members.next();
        }
        for (gradient, step) in members.zip(plan.logistic_steps()) {
            let scores = gradient.to_vec();
            self.portfolio.range.gradient(target, &scores, gradient);
            let rate = weight * (step / typical);
            gradient
                .iter_mut()
                .for_each(|derivative| *derivative *= rate);
        }
        self.portfolio.linear_members.descend(row, &gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::example::Known;
    use super::*;
    use crate::model::Spec;

    /// The scores of each linear member for a row after it has been rewarded for a while.
    fn scores(revision: u32) -> Vec<f32> {
        let rules = format!("[rules]\nrevision = {revision}\n");
        let toml = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n\
            [[input]]\nname = \"x\"\nkind = \"number\"\n";
        let spec = Spec::journaled(&format!("{toml}{rules}")).expect("a description");
        let mut learner = AutoLearner::new(&spec, 1);
        let row = Encoded {
            dense: vec![1.0],
            sparse: vec![],
            past: None,
        };
        let mut scale = Scale::default();
        for index in 0..20 {
            let reward = f64::from(index % 2);
            let target = Target::Reward {
                action: index as u32 % 2,
                reward,
            };
            target.observe(&mut scale);
            let known: Known = target.into();
            assert!(learner.observe(&row, known, &scale, &mut Vec::new()));
        }
        learner.portfolio.linear_members.scores(&row)
    }

    #[test]
    fn every_logistic_member_learns_from_the_second_revision_on() {
        let learned = |revision| {
            let scores = scores(revision);
            let members = scores.chunks_exact(2);
            members.map(|one| one != [0.0; 2]).collect::<Vec<_>>()
        };
        assert_eq!(learned(1), [true, true, false, true, true, true]);
        assert_eq!(learned(2), [true; 6]);
    }
}
