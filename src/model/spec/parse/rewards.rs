//! The tables of a bandit and of feedback in a description: `[policy]` and `[feedback]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::values::{count, not_here, number, number_or, unknown, value, word};
use crate::model::spec::error::Error;
use crate::model::spec::policy::Policy;
use crate::model::spec::rewards::{Aggregate, ImplicitSignal, Rewards};
use crate::model::spec::task::Task;

/// The most signals of a model.
const SIGNALS_MAX: usize = 62;
/// Bytes of a signal's name.
const NAME_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    kind: String,
    epsilon: Option<f64>,
    temperature: Option<f64>,
    scale: Option<f64>,
    width: Option<f64>,
    floor: Option<f64>,
}

impl RawPolicy {
    /// The table of a bandit that describes none.
    fn default_table() -> RawPolicy {
        RawPolicy {
            kind: word("policy.kind", None).to_owned(),
            epsilon: None,
            temperature: None,
            scale: None,
            width: None,
            floor: None,
        }
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeedback {
    window_s: Option<u64>,
    pub(super) waiting_max: Option<u64>,
    pub(super) weight_max: Option<f64>,
    aggregate: Option<String>,
    pub(super) default_reward: Option<f64>,
    reward_min: Option<f64>,
    reward_max: Option<f64>,
    #[serde(default)]
    signals: BTreeMap<String, RawSignal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignal {
    reward: Option<f64>,
    scale: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    value_min: Option<f64>,
    value_max: Option<f64>,
}

/// The policy of a bandit; other tasks have none, and get the greedy one.
pub(super) fn policy(task: &str, policy: Option<&RawPolicy>) -> Result<Policy, Error> {
    if task != "bandit" {
        let kind = policy.map(RawPolicy::kind);
        not_here("policy.kind", &kind, "a bandit")?;
        return Ok(Policy::Greedy);
    }
    let default = RawPolicy::default_table();
    let policy = policy.unwrap_or(&default);
    let keys = [
        ("policy.epsilon", policy.epsilon, "epsilon"),
        ("policy.temperature", policy.temperature, "softmax"),
        ("policy.scale", policy.scale, "squarecb and thompson"),
        ("policy.width", policy.width, "linucb"),
    ];
    for (key, written, kinds) in keys {
        if !kinds.contains(policy.kind.as_str()) {
            not_here(key, &written, kinds)?;
        }
    }
    let scale = |default: f64| number_or("policy.scale", policy.scale, || default);
    match policy.kind.as_str() {
        "greedy" => Ok(Policy::Greedy),
        "epsilon" => number("policy.epsilon", policy.epsilon).map(Policy::Epsilon),
        "softmax" => number("policy.temperature", policy.temperature).map(Policy::Softmax),
        "squarecb" => scale(30.0).map(Policy::SquareCb),
        "thompson" => scale(1.0).map(Policy::Thompson),
        "linucb" => number("policy.width", policy.width).map(Policy::LinUcb),
        other => Err(unknown("policy.kind", other)),
    }
}

/// The least probability of every action.
pub(super) fn exposure_floor(task: &Task, policy: Option<&RawPolicy>) -> Result<f64, Error> {
    let floor = number("policy.floor", policy.and_then(|policy| policy.floor))?;
    let even = 1.0 / task.names().len().max(1) as f64;
    if floor > even {
        let allowed = format!("expected at most 1 over the number of actions, {even}");
        return Err(value("policy.floor", floor, allowed));
    }
    Ok(floor)
}

/// The widest range that can be described: squares of its values are finite as 32-bit floats.
const RANGE_MAX: f64 = 1e15;

/// The default range of rewards, and of the values of signals in their scale.
fn default_range() -> Result<[f64; 2], Error> {
    Ok([
        number("feedback.reward_min", None)?,
        number("feedback.reward_max", None)?,
    ])
}

/// A range of numbers that are accepted from now on.
fn range(
    keys: [&str; 2],
    written: [Option<f64>; 2],
    default: [f64; 2],
    bound: f64,
) -> Result<[f64; 2], Error> {
    let [min, max] = [0, 1].map(|end| written[end].unwrap_or(default[end]));
    let allowed = format!(
        "a number of at most {bound} either way, {} below {}",
        keys[0], keys[1]
    );
    if min.is_nan() || min.abs() > bound {
        return Err(value(keys[0], min, allowed));
    }
    if max.abs() <= bound && min < max {
        Ok([min, max])
    } else {
        Err(value(keys[1], max, allowed))
    }
}

/// The window of a prediction, and the settings of its rewards and signals.
pub(super) fn rewards(task: &str, feedback: &RawFeedback, revision: u32) -> Result<Rewards, Error> {
    if task != "bandit" {
        let of = "a bandit";
        not_here("feedback.aggregate", &feedback.aggregate, of)?;
        not_here("feedback.default_reward", &feedback.default_reward, of)?;
        not_here("feedback.reward_min", &feedback.reward_min, of)?;
        not_here("feedback.reward_max", &feedback.reward_max, of)?;
        let signals = feedback.signals.keys().next();
        not_here("feedback.signals", &signals, of)?;
    }
    let default = feedback.default_reward;
    if default.is_some() {
        number("feedback.default_reward", default)?;
    }
    let keys = ["feedback.reward_min", "feedback.reward_max"];
    let written = [feedback.reward_min, feedback.reward_max];
    let [min, max] = range(keys, written, default_range()?, RANGE_MAX)?;
    if let Some(reward) = default.filter(|reward| revision >= 2 && !(min..=max).contains(reward)) {
        let allowed = format!("{min} to {max}, as of feedback.reward_min and reward_max");
        return Err(value("feedback.default_reward", reward, allowed));
    }
    if feedback.signals.len() > SIGNALS_MAX {
        let n_signals = format!("{} signals", feedback.signals.len());
        let allowed = format!("at most {SIGNALS_MAX}");
        return Err(value("feedback.signals", n_signals, allowed));
    }
    Ok(Rewards {
        window_s: count("feedback.window_s", feedback.window_s)?,
        aggregate: match word("feedback.aggregate", feedback.aggregate.as_deref()) {
            "first" => Aggregate::First,
            "sum" => Aggregate::Sum,
            "max" => Aggregate::Max,
            "last" => Aggregate::Last,
            other => return Err(unknown("feedback.aggregate", other)),
        },
        default,
        min,
        max,
        signals: feedback
            .signals
            .iter()
            .map(|(name, raw)| signal(name, raw))
            .collect::<Result<_, _>>()?,
    })
}

fn signal(name: &str, raw: &RawSignal) -> Result<ImplicitSignal, Error> {
    let key = |key: &str| format!("feedback.signals.{name}{key}");
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let allowed = format!("a name of 1 to {NAME_BYTES_MAX} bytes");
        return Err(value(&key(""), format!("{} bytes", name.len()), allowed));
    }
    let of_signal = |part: &str, written: Option<f64>| {
        let number = number(&format!("feedback.signals.NAME.{part}"), written);
        number.map_err(|error| error.renamed("NAME", name))
    };
    let scale = of_signal("scale", raw.scale)?;
    let (min, max) = (of_signal("min", raw.min)?, of_signal("max", raw.max)?);
    if min > max {
        let allowed = format!("a finite number, at least min = {min}");
        return Err(value(&key(".max"), max, allowed));
    }
    let keys = [key(".value_min"), key(".value_max")];
    let written = [raw.value_min, raw.value_max];
    let default = default_range()?.map(|end| end * scale);
    let [value_min, value_max] = range([&keys[0], &keys[1]], written, default, f64::MAX)?;
    Ok(ImplicitSignal {
        name: name.to_owned(),
        reward: of_signal("reward", raw.reward)?,
        scale,
        min,
        max,
        value_min,
        value_max,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse as parse_at;
    use super::*;
    use crate::model::{REVISION, Spec};

    fn parse(text: &str) -> Result<Spec, Error> {
        parse_at(text, REVISION)
    }

    const BANDIT: &str = "task = \"bandit\"\nactions = [\"a\", \"b\"]\n\
                          [[input]]\nname = \"x\"\nkind = \"number\"\n";

    #[test]
    fn rewards_and_signals_are_read() {
        let text = format!(
            "{BANDIT}[policy]\nkind = \"epsilon\"\nepsilon = 0.1\n\
             [feedback]\nwindow_s = 60\naggregate = \"sum\"\ndefault_reward = -0.5\n\
             [feedback.signals]\nclick = {{ reward = 2.0 }}\n\
             dwell_seconds = {{ scale = 60.0, max = 3 }}\n"
        );
        let spec = parse(&text).unwrap();
        assert_eq!(spec.policy, Policy::Epsilon(0.1));
        assert_eq!(spec.rewards.aggregate, Aggregate::Sum);
        assert_eq!(spec.rewards.default, Some(-0.5));
        assert_eq!(spec.rewards.signals[0].reward, 2.0);
        assert_eq!(spec.rewards.signals[1].max, 3.0);
        let range = |signal: &ImplicitSignal| [signal.value_min, signal.value_max];
        assert_eq!((spec.rewards.min, spec.rewards.max), (-1e6, 1e6));
        assert_eq!(range(&spec.rewards.signals[0]), [-1e6, 1e6]);
        assert_eq!(range(&spec.rewards.signals[1]), [-6e7, 6e7]);
        let text = format!(
            "{BANDIT}[feedback]\nreward_min = 0\nreward_max = 50\n\
             [feedback.signals]\ndwell = {{ scale = 60.0, value_min = 0, value_max = 1e9 }}\n"
        );
        let spec = parse(&text).unwrap();
        assert_eq!((spec.rewards.min, spec.rewards.max), (0.0, 50.0));
        assert_eq!(range(&spec.rewards.signals[0]), [0.0, 1e9]);
    }

    #[test]
    fn p9_wrong_rewards_and_policies_are_named() {
        let check = |extra: &str, message: &str| {
            let error = parse(&format!("{BANDIT}{extra}")).unwrap_err().to_string();
            assert!(error.contains(message), "{extra:?} gave {error:?}");
        };
        check(
            "[policy]\nkind = \"linucb\"\n",
            "only learner.kind = \"analytic\"",
        );
        check(
            "[policy]\nkind = \"bold\"\n",
            "expected \"greedy\", \"epsilon\"",
        );
        check(
            "[policy]\nkind = \"epsilon\"\nepsilon = 2\n",
            "policy.epsilon = 2: expected a number from 0 to 1",
        );
        check(
            "[policy]\nkind = \"greedy\"\nepsilon = 0.1\n",
            "only epsilon has it",
        );
        check(
            "[policy]\nkind = \"softmax\"\ntemperature = 0\n",
            "larger than 0",
        );
        check(
            "[feedback]\naggregate = \"mean\"\n",
            "expected \"first\", \"sum\"",
        );
        check("[feedback]\ndefault_reward = inf\n", "a finite number");
        check(
            "[feedback]\nreward_max = 1e16\n",
            "feedback.reward_max = 10000000000000000: a number of at most 1000000000000000 either way",
        );
        check(
            "[feedback]\nreward_min = nan\n",
            "feedback.reward_min = NaN",
        );
        check(
            "[feedback]\nreward_min = 2\nreward_max = 2\n",
            "feedback.reward_min below feedback.reward_max",
        );
        check(
            "[feedback]\nreward_min = 0\ndefault_reward = -0.5\n",
            "feedback.default_reward = -0.5: 0 to 1000000",
        );
        check(
            "[feedback.signals]\nclick = { value_max = inf }\n",
            "feedback.signals.click.value_max = inf",
        );
        check(
            "[feedback.signals]\nclick = { scale = -1 }\n",
            "click.scale = -1: expected a number larger than 0",
        );
        check(
            "[feedback.signals]\nclick = { min = 2 }\n",
            "at least min = 2",
        );
        check(
            "[feedback.signals]\nclick = 1.0\n",
            "line 7: feedback.signals.click = 1.0: expected a table of reward, scale, min, max, value_min and \
             value_max, as in { reward = 1.0 }",
        );
        check(
            "[feedback.signals.click]\nreward = \"high\"\n",
            "line 7: feedback.signals.click.reward = \"high\": expected a finite number",
        );
        let classes = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n";
        for extra in [
            "[policy]\nkind = \"greedy\"\n",
            "[feedback]\ndefault_reward = 0\n",
            "[feedback]\nreward_max = 5\n",
        ] {
            let error = parse(&format!("{classes}{extra}")).unwrap_err().to_string();
            assert!(error.contains("only a bandit has it"), "{error}");
        }
    }
}
