//! From implicit signals to rewards, and from several rewards to one.

use crate::model::{Aggregate, Rewards};

/// The bit of a plain reward among the signals that a prediction has had.
pub(crate) const REWARD: u64 = 1;
/// The bit of a preference.
pub(crate) const PREFERENCE: u64 = 1 << 63;

/// A described signal's bit, and the reward that it stands for; none where nothing describes it.
pub(crate) fn reward(rewards: &Rewards, name: &str, value: f64) -> Option<(u64, f64)> {
    let index = rewards
        .signals
        .iter()
        .position(|known| known.name == name)?;
    let signal = &rewards.signals[index];
    let share = (value / signal.scale).clamp(signal.min, signal.max);
    Some((1 << (index + 1), signal.reward * share))
}

/// The bits of signals under a changed description.
pub(crate) fn carry(bits: u64, from: &Rewards, to: &Rewards) -> u64 {
    let mut carried = bits & (REWARD | PREFERENCE);
    for (index, signal) in to.signals.iter().enumerate() {
        let before = from.signals.iter().position(|old| old.name == signal.name);
        if before.is_some_and(|before| bits >> (before + 1) & 1 == 1) {
            carried |= 1 << (index + 1);
        }
    }
    carried
}

/// True if a prediction that has had the signals of these bits takes another one.
pub(crate) fn takes(aggregate: Aggregate, had: u64, signal: u64) -> bool {
    match aggregate {
        Aggregate::First => had == 0,
        // Plain rewards may come again.
        Aggregate::Sum | Aggregate::Max | Aggregate::Last => had & signal == 0 || signal == REWARD,
    }
}

/// The reward of a prediction once `next` has come.
pub(crate) fn combine(aggregate: Aggregate, earned: Option<f64>, next: f64) -> f64 {
    match (aggregate, earned) {
        (_, None) | (Aggregate::Last, _) => next,
        (Aggregate::First, Some(earned)) => earned,
        (Aggregate::Sum, Some(earned)) => earned + next,
        (Aggregate::Max, Some(earned)) => earned.max(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ImplicitSignal;

    fn signal(name: &str, reward: f64, scale: f64) -> ImplicitSignal {
        ImplicitSignal {
            name: name.to_owned(),
            reward,
            scale,
            min: 0.0,
            max: 1.0,
            value_min: -1e6,
            value_max: 1e6,
        }
    }

    fn rewards(signals: Vec<ImplicitSignal>) -> Rewards {
        Rewards {
            window_s: 1,
            aggregate: Aggregate::First,
            default: None,
            min: -1e6,
            max: 1e6,
            signals,
        }
    }

    #[test]
    fn signals_are_scaled_and_clamped() {
        let known = rewards(vec![signal("click", 2.0, 1.0), signal("dwell", 1.0, 60.0)]);
        let check = |name, value, expected| assert_eq!(reward(&known, name, value), expected);
        check("click", 1.0, Some((2, 2.0)));
        check("click", -3.0, Some((2, 0.0)));
        check("dwell", 30.0, Some((4, 0.5)));
        check("dwell", 1e300, Some((4, 1.0)));
        check("thumbs", 1.0, None);
    }

    #[test]
    fn a_signal_keeps_its_bit_where_it_is_described_elsewhere() {
        let old = rewards(vec![signal("click", 1.0, 1.0), signal("dwell", 1.0, 1.0)]);
        let new = rewards(vec![signal("buy", 1.0, 1.0), signal("click", 1.0, 1.0)]);
        assert_eq!(carry(0b011, &old, &new), 0b101);
        assert_eq!(carry(PREFERENCE | 0b100, &old, &new), PREFERENCE);
    }

    #[test]
    fn rewards_are_aggregated() {
        let check = |aggregate, expected| {
            let total = [2.0, 5.0, 1.0]
                .into_iter()
                .fold(None, |earned, next| Some(combine(aggregate, earned, next)));
            assert_eq!(total, Some(expected));
        };
        check(Aggregate::First, 2.0);
        check(Aggregate::Sum, 8.0);
        check(Aggregate::Max, 5.0);
        check(Aggregate::Last, 1.0);
    }
}
