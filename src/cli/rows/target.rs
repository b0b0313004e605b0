//! The target of a row, or the answer that is compared with it.
//!
//! Invariant: the two sides of a comparison are of one kind, that of the task.

use perennial::model::Task;

/// The target of a row, or the answer to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowTarget {
    /// The place of a class or an action.
    Name(u32),
    /// A number.
    Value(f64),
}

/// The place of a class or action; a class that is new takes the next free place, as it does where the
/// row is learned.
pub(crate) fn admit(task: &mut Task, name: &str) -> Option<u32> {
    let place = task.index(name);
    match task {
        Task::Classification {
            classes,
            classes_max,
        } if place.is_none() && classes.len() < *classes_max => {
            classes.push(name.to_owned());
            Some(classes.len() as u32 - 1)
        }
        _ => place,
    }
}
