//! The signal of a feedback message, in the one form that the model's task can learn from.
//!
//! Invariant: exactly one signal; a label is a known class or action, a number is finite, and a
//! reward or the value of a signal within the range that the model describes.

use super::refusal::Refusal;
use crate::engine::check_place;
use crate::event::Signal;
use crate::model::{Spec, Task};
use crate::proto::perennial::v1::FeedbackRequest;

/// A sentence lists at most so many classes or actions.
const LISTED_MAX: usize = 10;

/// Bytes of a label that is seen for the first time.
const LABEL_BYTES_MAX: usize = 200;

/// Takes the signal out of the message; `names` are the classes or actions known by now.
pub(super) fn signal(
    request: &mut FeedbackRequest,
    spec: &Spec,
    names: &[String],
) -> Result<Signal, Refusal> {
    let (field, signal) = only(request)?;
    let task = &spec.task;
    match (&signal, task) {
        (Signal::Label(label), Task::Classification { .. } | Task::Bandit { .. }) => {
            if !names.contains(label) {
                new_label(label, task, names)?;
            }
        }
        (Signal::Value(number), Task::Regression) => {
            if !number.is_finite() {
                let what = format!("{field}: {number}, expected a finite number");
                return Err(Refusal::invalid(field, what));
            }
        }
        (Signal::Reward(reward), Task::Bandit { .. }) => {
            let range = [spec.rewards.min, spec.rewards.max];
            check_range(
                field,
                *reward,
                range,
                "[feedback] reward_min and reward_max",
            )?;
        }
        (Signal::Named { name, value }, Task::Bandit { .. }) => {
            check_named(name, *value, spec)?;
        }
        (Signal::PreferredOver(other), Task::Bandit { .. }) => {
            let named = request.prediction_id.as_deref().map(str::parse);
            if named.is_none() || named == Some(Ok(*other)) {
                let what = "preferred_over: expected with another prediction_id";
                return Err(Refusal::invalid(field, what));
            }
        }
        _ => return Err(unsuited(field, task)),
    }
    Ok(signal)
}

/// The one signal of the message, with its field.
fn only(request: &mut FeedbackRequest) -> Result<(&'static str, Signal), Refusal> {
    let named = request.signal.take().map(|signal| Signal::Named {
        name: signal.name,
        value: signal.value,
    });
    let over = request.preferred_over.take().map(|id| {
        let what = || format!("preferred_over: \"{id:.64}\", expected a hyphenated UUID");
        let id = id.parse();
        id.map_err(|_| Refusal::invalid("preferred_over", what()))
    });
    let over = over.transpose()?.map(Signal::PreferredOver);
    let mut given: Vec<(&'static str, Signal)> = [
        ("label", request.label.take().map(Signal::Label)),
        ("value", request.value.take().map(Signal::Value)),
        ("reward", request.reward.take().map(Signal::Reward)),
        ("signal", named),
        ("preferred_over", over),
    ]
    .into_iter()
    .filter_map(|(field, signal)| Some((field, signal?)))
    .collect();
    match (given.pop(), &given[..]) {
        (Some(only), []) => Ok(only),
        (Some((last, _)), others) => {
            let fields: Vec<_> = others.iter().map(|(field, _)| *field).collect();
            let fields = fields.join(" and ");
            let what = format!("{fields} and {last}, expected exactly one of them");
            Err(Refusal::invalid(last, what))
        }
        (None, _) => Err(Refusal::invalid(
            "label",
            "no signal, expected exactly one of label, value, reward, signal and preferred_over",
        )),
    }
}

/// A label that is not among the classes: it has a place, or it is refused.
fn new_label(label: &str, task: &Task, names: &[String]) -> Result<(), Refusal> {
    let classes_max = match task {
        Task::Classification { classes_max, .. } if *classes_max > task.names().len() => {
            *classes_max
        }
        _ => return Err(unknown("label", label, names)),
    };
    if label.is_empty() || label.len() > LABEL_BYTES_MAX {
        let got = label.len();
        let what = format!("label: {got} bytes, expected 1 to {LABEL_BYTES_MAX}");
        return Err(Refusal::invalid("label", what));
    }
    Ok(check_place(label, names.len(), classes_max)?)
}

fn check_named(name: &str, value: f64, spec: &Spec) -> Result<(), Refusal> {
    let signals = &spec.rewards.signals;
    if signals.is_empty() {
        let what = "signal: the model describes none under [feedback.signals]";
        return Err(Refusal::invalid("signal", what));
    }
    let Some(signal) = signals.iter().find(|known| known.name == name) else {
        let known = signals.iter().map(|signal| signal.name.clone());
        return Err(unknown("signal", name, &known.collect::<Vec<_>>()));
    };
    let range = [signal.value_min, signal.value_max];
    check_range("signal", value, range, "its value_min and value_max")
}

/// A number beyond its range would outweigh all that was honest; `keys` describe the range.
fn check_range(
    field: &'static str,
    number: f64,
    [min, max]: [f64; 2],
    keys: &str,
) -> Result<(), Refusal> {
    let what = match number {
        number if (min..=max).contains(&number) => return Ok(()),
        number if number.is_finite() => {
            format!("{field}: {number:e}, expected {min} to {max}, the range of {keys}")
        }
        number => format!("{field}: {number}, expected a finite number"),
    };
    Err(Refusal::invalid(field, what))
}

fn unsuited(field: &'static str, task: &Task) -> Refusal {
    let expected = match task {
        Task::Classification { .. } => "a label",
        Task::Regression => "a value",
        Task::Bandit { .. } => "a reward, a signal, a preference or a label",
    };
    let task = task.word();
    let what = format!("{field}: the model's task is {task}, expected {expected}");
    Refusal::invalid(field, what)
}

/// A class or action that the model does not have.
pub(super) fn unknown(field: &'static str, got: &str, names: &[String]) -> Refusal {
    let listed: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let mut listed = listed.join(", ");
    if names.len() > LISTED_MAX {
        listed += &format!(" and {} more", names.len() - LISTED_MAX);
    }
    let what = format!("{field}: \"{got:.64}\", expected one of {listed}");
    Refusal::invalid(field, what)
}
