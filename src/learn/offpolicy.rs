//! Off-policy evaluation: the reward of a policy, estimated from the decisions of another.
//!
//! Invariant: sums in the order of the decisions, of a fixed size, and finite whatever finite
//! rewards come.

/// Rewards and weights beyond this count as this: the squares of their products stay finite.
const HUGE: f64 = 1e60;

/// Larger weights are clipped to this one, or their decisions left to the rewards that the model expects.
const WEIGHT_MAX: f64 = 10.0;

/// The 97.5 % point of the normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// A decision that was made and rewarded, and the answer of the policy to be judged for its row.
#[derive(Clone, Copy, Debug)]
pub struct EvaluatedDecision<'a> {
    /// The place of the action that was taken.
    pub action: usize,
    /// The probability with which it was taken, in (0, 1].
    pub propensity: f64,
    /// Its reward.
    pub reward: f64,
    /// `[actions]`, the probabilities with which the judged policy would take each.
    pub distribution: &'a [f32],
    /// `[actions]`, the rewards that a model expects; made without this reward.
    pub scores: &'a [f32],
}

/// A mean reward with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean reward of a decision.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Estimates the value of a policy, its mean reward, from decisions of another.
///
/// With the weight `w = distribution[action] / propensity` of each decision:
///
/// - [`ips`](OffPolicy::ips), inverse propensity scores (Horvitz and Thompson 1952): the mean of
///   `w * reward`. Unbiased where propensities are true, with a large variance where weights are
///   large.
/// - [`snips`](OffPolicy::snips), self-normalised (Swaminathan and Joachims 2015, equation 9):
///   the sum of `w * reward` over the sum of `w`. Its bias vanishes with the number of decisions,
///   and it does not move when every reward moves.
/// - [`doubly_robust`](OffPolicy::doubly_robust) (Dudik, Langford and Li 2011, equation 1): the
///   mean of `sum(distribution * scores) + w * (reward - scores[action])`. Unbiased where the
///   propensities are true, and the more exact the better the scores are.
/// - [`clipped_ips`](OffPolicy::clipped_ips) (Ionides 2008): as `ips`, with weights of at most 10. It varies
///   less, and is too low where weights are clipped and rewards are positive.
/// - [`switch_dr`](OffPolicy::switch_dr) (Wang, Agarwal and Dudik 2017): doubly robust where the weight is
///   at most 10, and the rewards that the model expects where it is larger.
///
/// Departures: propensities are those that were logged, not estimated ones. Policy and scores may
/// change from decision to decision, as they do while a learner learns along; then the estimate is
/// of the mean over the course of learning, and it stays unbiased because neither has seen the
/// reward that it is judged by. The other weights are clipped only beyond 1e60, as are rewards.
///
/// The intervals are normal ones: from the sample variance for means of independent terms, and
/// for `snips` from its linearisation `sum(w^2 (reward - snips)^2) / sum(w)^2`, times n / (n - 1).
/// They are too short where few decisions carry the weight (look at
/// [`effective_sample_size`](OffPolicy::effective_sample_size)), or where nearly all rewards are
/// equal by chance.
///
/// ```
/// use perennial::learn::{EvaluatedDecision, OffPolicy};
///
/// let mut estimates = OffPolicy::default();
/// for (action, reward) in [(0, 1.0), (1, 0.0), (0, 1.0), (1, 1.0)] {
///     estimates.add(EvaluatedDecision {
///         action,
///         propensity: 0.5,
///         reward,
///         distribution: &[1.0, 0.0],
///         scores: &[0.5, 0.5],
///     });
/// }
/// assert_eq!(estimates.logged().unwrap().value, 0.75);
/// assert_eq!(estimates.ips().unwrap().value, 1.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OffPolicy {
    logged: TermMoments,
    ips: TermMoments,
    doubly_robust: TermMoments,
    clipped_ips: TermMoments,
    switch_dr: TermMoments,
    ratio: Ratio,
    largest_weight: f64,
}

impl OffPolicy {
    /// Takes in one decision.
    ///
    /// # Panics
    /// When the action is none of the distribution's or of the scores'.
    pub fn add(&mut self, decision: EvaluatedDecision<'_>) {
        let EvaluatedDecision {
            action,
            distribution,
            scores,
            ..
        } = decision;
        let reward = decision.reward.clamp(-HUGE, HUGE);
        let weight = (f64::from(distribution[action]) / decision.propensity).min(HUGE);
        let rows = distribution.iter().zip(scores);
        let expected: f64 = rows.map(|(p, q)| f64::from(*p) * f64::from(*q)).sum();
        self.logged.add(reward);
        self.ips.add(weight * reward);
        let residual = reward - f64::from(scores[action]);
        self.doubly_robust.add(expected + weight * residual);
        self.clipped_ips.add(weight.min(WEIGHT_MAX) * reward);
        let followed = if weight <= WEIGHT_MAX { weight } else { 0.0 };
        self.switch_dr.add(expected + followed * residual);
        self.ratio.add(weight, reward);
        self.largest_weight = self.largest_weight.max(weight);
    }

    /// How many decisions were taken in.
    pub fn n_decisions(&self) -> u64 {
        self.logged.n
    }

    /// The mean reward of the policy that made the decisions; none of fewer than two, as below.
    pub fn logged(&self) -> Option<Estimate> {
        self.logged.estimate()
    }

    /// By inverse propensity scores.
    pub fn ips(&self) -> Option<Estimate> {
        self.ips.estimate()
    }

    /// Self-normalised; none also where the policy takes none of the logged actions.
    pub fn snips(&self) -> Option<Estimate> {
        self.ratio.estimate(self.logged.n)
    }

    /// Doubly robust.
    pub fn doubly_robust(&self) -> Option<Estimate> {
        self.doubly_robust.estimate()
    }

    /// By inverse propensity scores with weights of at most 10.
    pub fn clipped_ips(&self) -> Option<Estimate> {
        self.clipped_ips.estimate()
    }

    /// Doubly robust where the weight is at most 10, and by the model alone elsewhere.
    pub fn switch_dr(&self) -> Option<Estimate> {
        self.switch_dr.estimate()
    }

    /// How many equally weighted decisions would have as much information: `sum(w)^2 / sum(w^2)` (Kish 1965),
    /// from 0 to [`n_decisions`](OffPolicy::n_decisions).
    pub fn effective_sample_size(&self) -> f64 {
        let Ratio { w, ww, .. } = self.ratio;
        if ww > 0.0 { w / ww * w } else { 0.0 }
    }

    /// The largest weight of a decision.
    pub fn largest_weight(&self) -> f64 {
        self.largest_weight
    }
}

/// Mean and spread of terms (Welford 1962).
#[derive(Clone, Debug, Default, PartialEq)]
struct TermMoments {
    n: u64,
    mean: f64,
    /// The sum of squared distances from the mean.
    spread: f64,
}

impl TermMoments {
    fn add(&mut self, term: f64) {
        self.n += 1;
        let before = term - self.mean;
        self.mean += before / self.n as f64;
        self.spread += before * (term - self.mean);
    }

    fn estimate(&self) -> Option<Estimate> {
        let n = self.n as f64;
        (self.n >= 2).then(|| around(self.mean, self.spread / (n - 1.0) / n))
    }
}

/// Sums for a weighted mean, with rewards counted from the first one: the estimate only moves
/// along with them, and nothing cancels where they are large and alike.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ratio {
    origin: Option<f64>,
    w: f64,
    wr: f64,
    ww: f64,
    wwr: f64,
    wwrr: f64,
}

impl Ratio {
    fn add(&mut self, w: f64, reward: f64) {
        let r = reward - *self.origin.get_or_insert(reward);
        self.w += w;
        self.wr += w * r;
        self.ww += w * w;
        self.wwr += w * w * r;
        self.wwrr += w * r * (w * r);
    }

    fn estimate(&self, n: u64) -> Option<Estimate> {
        let origin = self.origin.filter(|_| n >= 2 && self.w > 0.0)?;
        let mean = self.wr / self.w;
        let squares = self.wwrr - 2.0 * mean * self.wwr + mean * mean * self.ww;
        let n = n as f64;
        // Rounding may leave a little less than nothing.
        let variance = squares.max(0.0) / self.w / self.w * (n / (n - 1.0));
        Some(around(origin + mean, variance))
    }
}

fn around(value: f64, variance: f64) -> Estimate {
    let reach = Z_95 * variance.sqrt();
    Estimate {
        value,
        low: value - reach,
        high: value + reach,
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Decisions as (action, propensity, reward, distribution, scores).
    type Row = (usize, f64, f64, [f32; 2], [f32; 2]);

    fn of(rows: &[Row]) -> OffPolicy {
        let mut estimates = OffPolicy::default();
        for (action, propensity, reward, distribution, scores) in rows {
            estimates.add(EvaluatedDecision {
                action: *action,
                propensity: *propensity,
                reward: *reward,
                distribution,
                scores,
            });
        }
        estimates
    }

    fn check(got: Option<Estimate>, value: f64, standard_error: f64) {
        let got = got.expect("an estimate");
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a}, expected {b}");
        close(got.value, value);
        close(got.high - got.value, 1.959_963_984_540_054 * standard_error);
        close(got.value - got.low, got.high - got.value);
    }

    #[test]
    fn large_weights_are_clipped_or_left_to_the_model() {
        // Weights 40 and 2.
        let estimates = of(&[
            (0, 0.025, 1.0, [1.0, 0.0], [0.5, 0.25]),
            (1, 0.5, 1.0, [0.0, 1.0], [0.5, 0.25]),
        ]);
        check(estimates.ips(), 21.0, 19.0);
        check(estimates.clipped_ips(), 6.0, 4.0);
        check(estimates.doubly_robust(), 11.125, 9.375);
        // 0.5 by the model, and 0.25 + 2 * 0.75.
        check(estimates.switch_dr(), 1.125, 0.625);
        // Small weights change nothing.
        let small = of(&[
            (0, 0.5, 1.0, [0.5, 0.5], [0.5, 0.25]),
            (1, 0.5, 3.0, [0.25, 0.75], [0.5, 1.0]),
        ]);
        assert_eq!(small.clipped_ips(), small.ips());
        assert_eq!(small.switch_dr(), small.doubly_robust());
    }

    #[test]
    fn estimates_are_those_worked_out_by_hand() {
        // Weights 2, 0.5, 1, 0: their sum is 3.5, that of their squares 5.25.
        let estimates = of(&[
            (0, 0.25, 1.0, [0.5, 0.5], [0.5, 0.25]),
            (1, 0.5, 2.0, [0.75, 0.25], [0.5, 1.0]),
            (0, 0.5, 0.0, [0.5, 0.5], [1.0, 0.0]),
            (1, 0.5, 3.0, [1.0, 0.0], [0.5, 0.5]),
        ]);
        assert_eq!(estimates.n_decisions(), 4);
        check(estimates.logged(), 1.5, (5.0f64 / 3.0 / 4.0).sqrt());
        // Terms 2, 1, 0, 0: mean 0.75, squared distances 2.75.
        check(estimates.ips(), 0.75, (2.75f64 / 3.0 / 4.0).sqrt());
        // 3 / 3.5; w^2 (r - s)^2 = 4 / 49, 16 / 49, 36 / 49, 0.
        let variance = (56.0f64 / 49.0) / 12.25 * 4.0 / 3.0;
        check(estimates.snips(), 6.0 / 7.0, variance.sqrt());
        // Terms 0.375 + 2 * 0.5, 0.625 + 0.5 * 1, 0.5 - 1, 0.5: mean 0.625.
        let spread = 0.75f64.powi(2) + 0.5f64.powi(2) + 1.125f64.powi(2) + 0.125f64.powi(2);
        check(estimates.doubly_robust(), 0.625, (spread / 12.0).sqrt());
        assert!((estimates.effective_sample_size() - 12.25 / 5.25).abs() < 1e-12);
        assert_eq!(estimates.largest_weight(), 2.0);
    }

    #[test]
    fn a_policy_judged_by_its_own_decisions_has_their_mean() {
        let rows: Vec<Row> = (0..10)
            .map(|n| (n % 2, 0.5, (n % 3) as f64, [0.5; 2], [0.0; 2]))
            .collect();
        let estimates = of(&rows);
        let logged = estimates.logged();
        assert_eq!(estimates.ips(), logged);
        assert_eq!(estimates.doubly_robust(), logged);
        let (snips, logged) = (estimates.snips().unwrap(), logged.unwrap());
        assert!((snips.value - logged.value).abs() < 1e-12);
        assert!((snips.high - logged.high).abs() < 1e-12);
        assert_eq!(estimates.effective_sample_size(), 10.0);
    }

    #[test]
    fn without_overlap_there_is_no_self_normalised_estimate() {
        let rows = [(0, 0.5, 1.0, [0.0, 1.0], [0.25, 0.75]); 3];
        let estimates = of(&rows);
        assert_eq!(estimates.snips(), None);
        assert_eq!(estimates.effective_sample_size(), 0.0);
        assert_eq!(estimates.ips().unwrap().value, 0.0);
        // The expectation of the model is all that is left.
        assert_eq!(estimates.doubly_robust().unwrap().value, 0.75);
        assert_eq!(of(&rows[..1]).logged(), None);
        assert_eq!(OffPolicy::default().ips(), None);
    }

    #[test]
    fn nothing_becomes_infinite() {
        let big = f32::MAX;
        for reward in [f64::MAX, f64::MIN, 1e30, 0.0] {
            let mut estimates = of(&[(0, f64::MIN_POSITIVE, reward, [1.0, 0.0], [big, -big]); 9]);
            estimates.add(EvaluatedDecision {
                action: 1,
                propensity: 1.0,
                reward: -reward,
                distribution: &[0.5, 0.5],
                scores: &[-big, big],
            });
            let all = [
                estimates.logged(),
                estimates.ips(),
                estimates.snips(),
                estimates.doubly_robust(),
            ];
            for estimate in all.map(|estimate| estimate.expect("an estimate")) {
                let Estimate { value, low, high } = estimate;
                assert!([value, low, high].iter().all(|x| x.is_finite()), "{reward}");
            }
            assert!(estimates.effective_sample_size().is_finite());
        }
    }

    #[test]
    fn rewards_that_are_large_and_alike_have_no_spread() {
        let estimates = of(&[(0, 0.5, 1e9 + 0.5, [0.25, 0.75], [0.0; 2]); 50]);
        check(estimates.snips(), 1e9 + 0.5, 0.0);
    }

    #[test]
    fn the_linearised_interval_is_that_of_leaving_one_out() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let rows: Vec<Row> = (0..400).map(|_| drawn(&mut rng, Some([0.5; 2]))).collect();
        let estimate = of(&rows).snips().unwrap();
        let without = |excluded: usize| {
            let kept = rows.iter().enumerate().filter(|(at, _)| *at != excluded);
            let kept: Vec<Row> = kept.map(|(_, row)| *row).collect();
            of(&kept).snips().unwrap().value
        };
        let values: Vec<f64> = (0..rows.len()).map(without).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let spread: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let excluded = 1.959_963_984_540_054 * ((n - 1.0) / n * spread).sqrt();
        let ratio = (estimate.high - estimate.value) / excluded;
        assert!((0.99..1.01).contains(&ratio), "{ratio}");
    }

    /// The reward of the judged policy in the simulation below.
    const TRUTH: f64 = 0.5 * (0.8 * 0.7 + 0.2 * 0.2) + 0.5 * (0.3 * 0.1 + 0.7 * 0.6);

    /// One decision in a world of two contexts and two actions, with uneven propensities; the
    /// scores are the true chances unless others are given.
    fn drawn(rng: &mut ChaCha8Rng, scores: Option<[f32; 2]>) -> Row {
        let context = rng.random_range(0..2usize);
        let propensities = [[0.2, 0.8], [0.7, 0.3]][context];
        let distribution = [[0.8f32, 0.2], [0.3, 0.7]][context];
        let chances = [[0.7, 0.2], [0.1, 0.6]][context];
        let action = usize::from(rng.random::<f64>() >= propensities[0]);
        let reward = f64::from(u8::from(rng.random::<f64>() < chances[action]));
        let scores = scores.unwrap_or(chances.map(|chance| chance as f32));
        (action, propensities[action], reward, distribution, scores)
    }

    #[test]
    fn intervals_hold_the_true_value_as_often_as_they_say() {
        const RUNS: usize = 4000;
        for scores in [None, Some([0.9, 0.1])] {
            let mut held = [0; 3];
            let mut sums = [0.0; 3];
            let mut widths = [0.0; 3];
            for run in 0..RUNS {
                let mut rng = ChaCha8Rng::seed_from_u64(run as u64);
                let rows: Vec<Row> = (0..400).map(|_| drawn(&mut rng, scores)).collect();
                let estimates = of(&rows);
                let all = [
                    estimates.ips(),
                    estimates.snips(),
                    estimates.doubly_robust(),
                ];
                for (at, estimate) in all.into_iter().enumerate() {
                    let Estimate { value, low, high } = estimate.unwrap();
                    held[at] += usize::from(low <= TRUTH && TRUTH <= high);
                    sums[at] += value / RUNS as f64;
                    widths[at] += (high - low) / RUNS as f64;
                }
            }
            for at in 0..3 {
                let share = held[at] as f64 / RUNS as f64;
                assert!((0.94..=0.96).contains(&share), "{at}: {share}");
                assert!((sums[at] - TRUTH).abs() < 0.002, "{at}: {}", sums[at]);
            }
            if scores.is_none() {
                assert!(widths[2] < 0.9 * widths[0], "{widths:?}");
            }
        }
    }
}
