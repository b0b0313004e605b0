//! A model.toml that describes another model than the journal was learned by: the sentence about it.
//!
//! Invariant: the sentence names the change, the command that adopts it, and its effect on
//! the learned state.

use std::path::{Path, PathBuf};

use crate::engine::history::inputs::places;
use crate::model::{Spec, SpecError};

/// The place of a model: its description and its learner.
#[derive(Clone, Copy)]
pub(crate) struct ModelPlace<'a> {
    pub name: &'a str,
    /// Its model.toml.
    pub description: &'a Path,
    /// The data directory.
    pub data: &'a Path,
}

/// The reason why the state learned under `was` cannot go on under `next`, as a sentence; none where it can.
pub(super) fn misfit(was: &Spec, next: &Spec, place: ModelPlace) -> Option<String> {
    let error = was.check_change(next).err()?;
    Some(sentence(was, next, &error, place))
}

fn sentence(was: &Spec, next: &Spec, error: &SpecError, place: ModelPlace) -> String {
    let differences = was.differences(next);
    let what: Vec<String> = match error {
        SpecError::Shape(key) if differences.is_empty() => vec![format!("{key} is another")],
        _ => differences.iter().map(|one| one.what.clone()).collect(),
    };
    let what = what.join(", ");
    let changed = format!("model.toml has changed and does not fit what was learned: {what}");
    if let Some(why) = refused(was, next, error) {
        return format!(
            "{changed}; it cannot be adopted{why}; change it back, or describe a model of another name"
        );
    }
    let mut effects: Vec<String> = differences
        .into_iter()
        .filter_map(|one| one.effect)
        .collect();
    if !was.has_inputs_of(next) || !next.task.names().starts_with(was.task.names()) {
        effects.push("answers that wait for their feedback take none any more".to_owned());
    }
    let effects = match effects.as_slice() {
        [] => String::new(),
        effects => format!(": {}", effects.join(", ")),
    };
    format!(
        "{changed}; change it back, or stop the server and run `{}`, which learns the journal again \
         under it{effects}",
        command(place)
    )
}

/// The reason why the journal cannot be learned under the next description, if it cannot.
fn refused(was: &Spec, next: &Spec, error: &SpecError) -> Option<String> {
    let is_of_start = *error == SpecError::Shape("network.weights");
    match places(was, next) {
        _ if was.task.word() != next.task.word() || is_of_start => Some(String::new()),
        Ok(_) => None,
        Err(why) => Some(format!(": {why}")),
    }
}

/// The command that adopts the description.
fn command(place: ModelPlace) -> String {
    let data = match place.data {
        data if data == Path::new("data") => String::new(),
        data => format!(" --data {}", data.display()),
    };
    let description: PathBuf = place.description.components().collect();
    let description = description.display();
    format!(
        "perennial replay {} --with {description} --adopt{data}",
        place.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        Spec::parse(text).expect("a description")
    }

    #[test]
    fn a_change_names_its_command_and_its_effect() {
        let check = |next: &str, data: &str, expected: &str| {
            let was = spec(
                "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'\n\
                 [[input]]\nname = 'y'\nkind = 'number'\n",
            );
            let place = ModelPlace {
                name: "m",
                description: Path::new("models/m/model.toml"),
                data: Path::new(data),
            };
            let misfit = misfit(&was, &spec(next), place);
            assert_eq!(misfit.as_deref(), Some(expected));
        };
        let head = "model.toml has changed and does not fit what was learned";
        let back = "change it back, or";
        let inputs =
            "[[input]]\nname = 'x'\nkind = 'number'\n[[input]]\nname = 'y'\nkind = 'number'\n";
        check(
            "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'\n\
             [[input]]\nname = 'z'\nkind = 'number'\nmissing = 'mean'\n",
            "data",
            &format!(
                "{head}: input \"z\" is added, input \"y\" is dropped; {back} stop the server and run \
                 `perennial replay m --with models/m/model.toml --adopt`, which learns the journal \
                 again under it: \"z\" is a gap in the rows so far, \"y\" is read no more, answers \
                 that wait for their feedback take none any more"
            ),
        );
        check(
            &format!("task = 'regression'\nseed = 7\n{inputs}"),
            "/tmp/data",
            &format!(
                "{head}: seed is another; {back} stop the server and run `perennial replay m --with \
                 models/m/model.toml --adopt --data /tmp/data`, which learns the journal again under it"
            ),
        );
        check(
            &format!("task = 'bandit'\nactions = ['a', 'b']\n{inputs}"),
            "data",
            &format!(
                "{head}: task is bandit, and was regression; it cannot be adopted; {back} describe a \
                 model of another name"
            ),
        );
        check(
            &format!("task = 'regression'\n{inputs}[[input]]\nname = 'z'\nkind = 'number'\n"),
            "data",
            &format!(
                "{head}: input \"z\" is added without missing = \"mean\"; it cannot be adopted: input: \
                 \"z\" is not in the journal; with missing = \"mean\" it is a gap in the rows so far; \
                 {back} describe a model of another name"
            ),
        );
    }
}
