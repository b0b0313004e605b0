//! An example that is another by now, in every member that learned it.
//!
//! Invariant: no member is scored on it again, and it counts as one example.

use super::super::gradient::Measure;
use super::super::learned::Change;
use super::{AutoLearner, measure, pool};
use crate::model::{Encoded, Rescale, Scale, Target, Voices};

impl AutoLearner {
    /// Makes it good; false where something is not finite, and then nothing has changed.
    ///
    /// Ridge regressions of classes and rewards, and neighbours, are as if it had been from the
    /// start what it is; linear members and the network as far as that can be told. A regression's
    /// rows hold the value before them, and its errors are held: it learns the example once more.
    pub fn amend(&mut self, row: &Encoded, change: &Change, scale: &Scale) -> bool {
        let network = self.network();
        let voices = self.portfolio.voices(row, scale, network.as_ref());
        if !voices.outputs.iter().all(|output| output.is_finite()) || !row.is_finite() {
            return false;
        }
        let judged = voices.outputs.chunks_exact(self.portfolio.n_outputs());
        let loss = |outputs, target| self.judge(outputs, target, scale).0;
        let more = judged.map(|outputs| loss(outputs, change.after) - loss(outputs, change.before));
        let more: Vec<f64> = more.collect();
        pool::amend(&mut self.portfolio.pool.shares, &more);
        self.widen(change.after);
        self.amend_bank(row, &voices.scores, change, scale);
        self.amend_ridges(&voices, change, scale);
        if let Some(network) = &mut self.network {
            let row = self.portfolio.for_network(row).into_owned();
            network.amend(row, change, measure(&self.portfolio, scale));
        }
        let portfolio = &mut self.portfolio;
        portfolio.memory.amend(change.example, change.after);
        portfolio.past.amend(change.before, change.after);
        if let Some(last) = &mut portfolio.last
            && change.n_since == 0
        {
            last.target = change.after.truth().or(last.target);
        }
        true
    }

    fn amend_bank(&mut self, row: &Encoded, scores: &[f32], change: &Change, scale: &Scale) {
        let row = &*self.portfolio.with_last(row, scale);
        let squared_length = self.portfolio.bank.squared_length(row);
        let typical = (self.length[1] as f32).max(f32::MIN_POSITIVE);
        let n_later = self.n_later(change) as f32;
        let (plan, range) = (&self.portfolio.plan, &self.portfolio.range);
        let n_outputs = self.portfolio.n_outputs();
        let mut slopes = vec![0.0; plan.n_bank() * n_outputs];
        let members = scores.chunks_exact(n_outputs);
        let members = members.zip(slopes.chunks_exact_mut(n_outputs)).enumerate();
        let steps = plan.steps.iter().chain(plan.logistic);
        for ((voice, (said, slopes)), step) in members.zip(steps) {
            let step = step / typical;
            let is_linear = voice < plan.steps.len();
            let (measure, curvature, rate) = match (is_linear, change.after) {
                (false, _) => (Measure::Shares(range), 0.25, step),
                (true, Target::Class(_)) => (Measure::Plain(scale), 0.25, step),
                (true, _) => {
                    let rate = step / (1.0 + step * squared_length);
                    (Measure::Plain(scale), 1.0, rate)
                }
            };
            if let Target::Value(value) = change.after {
                slopes[0] = self.spread.held(voice, said[0] - scale.distance(value));
            } else {
                let left = (1.0 + curvature * step * squared_length).powf(-n_later);
                let reach = rate * squared_length;
                measure.amended(change, left, reach, (said, slopes));
            }
            slopes.iter_mut().for_each(|slope| *slope *= rate);
        }
        self.portfolio.bank.descend(row, &slopes);
    }

    fn amend_ridges(&mut self, voices: &Voices, change: &Change, scale: &Scale) {
        if let Target::Value(_) = change.after {
            return self.learn_ridges(voices, change.after, scale);
        }
        let n_later = self.n_later(change);
        let (phi, n_each) = (&voices.phi, self.n_recursions_each());
        let n_outputs = self.portfolio.n_outputs();
        for (index, recursion) in self.recursions.iter_mut().enumerate() {
            let wanted = |target| targets(target, index % n_each, n_outputs, scale);
            let left = recursion.settings().forgetting.powf(n_later);
            match (wanted(change.before), wanted(change.after)) {
                (None, None) => {}
                (Some(before), Some(after)) => {
                    recursion.amend(phi, [&before, &after], left);
                }
                (None, Some(after)) => {
                    recursion.observe(phi, &after);
                }
                (Some(before), None) => {
                    let said = recursion.scores(phi);
                    recursion.amend(phi, [&before, &said], left);
                }
            }
        }
        let wanted = [change.before, change.after].map(|target| self.shares_of(voices, target));
        if let (Some(recursion), [Some(before), Some(after)]) = (&mut self.exclusive, wanted) {
            recursion.amend(phi, [&before, &after], 1.0);
        }
        self.serve_ridges();
    }

    /// How many examples of its output have come since.
    fn n_later(&self, change: &Change) -> f64 {
        self.influence.as_ref().map_or(0.0, |all| all.since(change))
    }

    /// Expresses linear members and regressions in another scale of the rewards. What was never
    /// learned of an output stays where it is: at the mean.
    pub fn rescale(&mut self, change: Rescale) {
        let (Some(influence), plan) = (&self.influence, &self.portfolio.plan) else {
            return;
        };
        let shift = |step: &f32, output| {
            let unlearned = f64::from(1.0 + step).powf(-influence.of_output(output));
            (change.shift * (1.0 - unlearned)) as f32
        };
        let n_outputs = self.portfolio.n_outputs();
        let each = |step| (0..n_outputs).map(move |output| shift(step, output));
        let shifts: Vec<f32> = plan.steps.iter().flat_map(each).collect();
        self.portfolio.bank.rescale(change.factor as f32, &shifts);
        let recursions = self.recursions.iter_mut();
        recursions.for_each(|recursion| recursion.rescale(change, 0));
        self.serve_ridges();
    }
}

/// What the regression of an action, or of all classes, learns of a target.
fn targets(target: Target, action: usize, n_outputs: usize, scale: &Scale) -> Option<Vec<f32>> {
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
