//! What the world said, in the one form that a model's task can learn from.
//!
//! Invariant: exactly one signal; a label is a known class or action, a number is finite.

use tonic::Code;

use super::Refusal;
use crate::event::Signal;
use crate::model::Task;
use crate::proto::perennial::v1::FeedbackRequest;

/// A sentence lists at most so many classes or actions.
const LISTED_MAX: usize = 10;

/// Takes the signal out of the message.
pub(super) fn signal(request: &mut FeedbackRequest, task: &Task) -> Result<Signal, Refusal> {
    let (field, signal) = only(request)?;
    match (&signal, task) {
        (Signal::Label(label), Task::Classification { .. } | Task::Bandit { .. }) => {
            if task.index(label).is_none() {
                return Err(unknown(field, label, task.names()));
            }
        }
        (Signal::Value(number), Task::Regression)
        | (Signal::Reward(number), Task::Bandit { .. }) => {
            if !number.is_finite() {
                let what = format!("{field}: {number}, expected a finite number");
                return Err(Refusal::invalid(field, what));
            }
        }
        (Signal::Named { .. }, _) => {
            let what = "signal: named signals are not available yet";
            return Err(Refusal::new(Code::Unimplemented, field, what));
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
    let mut given: Vec<(&'static str, Signal)> = [
        ("label", request.label.take().map(Signal::Label)),
        ("value", request.value.take().map(Signal::Value)),
        ("reward", request.reward.take().map(Signal::Reward)),
        ("signal", named),
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
            "no signal, expected exactly one of label, value, reward and signal",
        )),
    }
}

fn unsuited(field: &'static str, task: &Task) -> Refusal {
    let expected = match task {
        Task::Classification { .. } => "a label",
        Task::Regression => "a value",
        Task::Bandit { .. } => "a reward or a label",
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
