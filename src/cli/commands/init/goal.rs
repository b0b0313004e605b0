//! The goal of a drafted model.

use super::draft::DraftTask;
use super::target::TaskChoice;
use crate::cli::output::print::counted;
use crate::cli::rows::quoted;

/// The goal of a drafted model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal<'a> {
    /// The prediction of a column, with the task if it was given.
    Target(&'a str, Option<DraftTask>),
    /// The choice of an action, from logged decisions: the columns of action, reward and propensity.
    Decisions([&'a str; 3]),
}

impl<'a> Goal<'a> {
    /// The column of the target or of the action, and the task if it is known.
    pub(crate) fn target(&self) -> (&'a str, Option<DraftTask>) {
        match *self {
            Goal::Target(target, task) => (target, task),
            Goal::Decisions([action, ..]) => (action, Some(DraftTask::Bandit)),
        }
    }

    /// The reason of the task, for a comment in the description.
    pub(crate) fn reason(&self, choice: &TaskChoice) -> String {
        match self {
            Goal::Target(..) => choice.reason.clone(),
            Goal::Decisions([action, ..]) => {
                let n_actions = choice.labels.len();
                let actions = counted(n_actions as u64, "action");
                format!("logged decisions; {actions} in {}", quoted(action))
            }
        }
    }
}
