//! The differences of two descriptions, in words: inputs, classes and actions that are added, dropped,
//! in another order, or of another kind.
//!
//! Invariant: descriptions without a difference here differ in other keys, if at all.

use super::description::Spec;
use super::input::InputKind;
use super::task::Task;

/// A difference in the words of the description, and its effect on the learned state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpecDifference {
    /// The difference, as in `input "x" is added`.
    pub what: String,
    /// The consequence of adopting it; none where the other differences have named it.
    pub effect: Option<String>,
}

impl Spec {
    /// The differences of `next`: in task, inputs, classes and actions.
    pub(crate) fn differences(&self, next: &Spec) -> Vec<SpecDifference> {
        let (was, is) = (self.task.word(), next.task.word());
        if was != is {
            return vec![SpecDifference {
                what: format!("task is {is}, and was {was}"),
                effect: None,
            }];
        }
        let mut all = self.inputs_changed(next);
        all.extend(self.names_changed(next));
        all
    }

    fn inputs_changed(&self, next: &Spec) -> Vec<SpecDifference> {
        let mut all = Vec::new();
        for input in &next.inputs {
            let mut known = self.inputs.iter();
            match known.find(|known| known.name == input.name) {
                Some(known) if known.is_alike(input) => {}
                Some(known) => {
                    let [was, is] = [known, input].map(|input| input.kind.to_string());
                    let what = match (&known.kind, &input.kind) {
                        (
                            InputKind::Embedded { encoder: one, .. }
                            | InputKind::EmbeddedVector { encoder: one, .. },
                            InputKind::Embedded { encoder: other, .. }
                            | InputKind::EmbeddedVector { encoder: other, .. },
                        ) if one.digest != other.digest => {
                            format!("input {:?} has another encoder", input.name)
                        }
                        _ if was == is => {
                            let keys = known.keys_changed(input).join(", ");
                            format!("of input {:?}, {keys}", input.name)
                        }
                        _ => format!("input {:?} was a {was}, and is a {is}", input.name),
                    };
                    all.push(SpecDifference { what, effect: None });
                }
                None if input.has_gaps() => all.push(SpecDifference {
                    what: format!("input {:?} is added", input.name),
                    effect: Some(format!("{:?} is a gap in the rows so far", input.name)),
                }),
                None => {
                    let without = match input.missing_word() {
                        Some(word) => format!(" without missing = {word:?}"),
                        None => String::new(),
                    };
                    all.push(SpecDifference {
                        what: format!("input {:?} is added{without}", input.name),
                        effect: None,
                    });
                }
            }
        }
        let is_left = |name: &str| next.inputs.iter().any(|input| input.name == name);
        for input in self.inputs.iter().filter(|input| !is_left(&input.name)) {
            all.push(SpecDifference {
                what: format!("input {:?} is dropped", input.name),
                effect: Some(format!("{:?} is read no more", input.name)),
            });
        }
        if all.is_empty() && !self.has_inputs_of(next) {
            all.push(SpecDifference {
                what: "the inputs are in another order".to_owned(),
                effect: None,
            });
        }
        all
    }

    fn names_changed(&self, next: &Spec) -> Vec<SpecDifference> {
        let (was, is) = (self.task.names(), next.task.names());
        let (word, dropped) = match self.task {
            Task::Bandit { .. } => ("action", "was never taken, or this is refused"),
            _ => ("class", "is a label of no use any more"),
        };
        let added = is.iter().filter(|name| !was.contains(name));
        let mut all: Vec<_> = added
            .map(|name| SpecDifference {
                what: format!("{word} {name:?} is added"),
                effect: None,
            })
            .collect();
        for name in was.iter().filter(|name| !is.contains(name)) {
            all.push(SpecDifference {
                what: format!("{word} {name:?} is dropped"),
                effect: Some(format!("{name:?} {dropped}")),
            });
        }
        if let (
            Task::Classification {
                classes_max: was_max,
                ..
            },
            Task::Classification {
                classes_max: is_max,
                ..
            },
        ) = (&self.task, &next.task)
            && was_max != is_max
            && (*was_max, *is_max) != (was.len(), is.len())
        {
            all.push(SpecDifference {
                what: format!("classes_max is {is_max}, and was {was_max}"),
                effect: None,
            });
        }
        if all.is_empty() && was != is {
            all.push(SpecDifference {
                what: format!("the {word} names are in another order"),
                effect: None,
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(names: &str, inputs: &[&str]) -> Spec {
        let input = |keys: &&str| format!("[[input]]\n{keys}\n");
        let inputs: String = inputs.iter().map(input).collect();
        Spec::parse(&format!(
            "task = 'classification'\nclasses = {names}\n{inputs}"
        ))
        .expect("a description")
    }

    #[test]
    fn differences_are_named() {
        let (x, y) = (
            "name = 'x'\nkind = 'number'",
            "name = 'y'\nkind = 'category'",
        );
        let gap = "name = 'z'\nkind = 'number'\nmissing = 'mean'";
        let check = |before: &Spec, after: &Spec, expected: &[&str]| {
            let differences = before.differences(after);
            let what: Vec<&str> = differences.iter().map(|one| one.what.as_str()).collect();
            assert_eq!(what, expected);
        };
        let both = spec("['a', 'b']", &[x, y]);
        check(&both, &both, &[]);
        let open = spec("['a', 'b']\nclasses_max = 8", &[x, y]);
        check(&both, &open, &["classes_max is 8, and was 2"]);
        check(&open, &both, &["classes_max is 2, and was 8"]);
        check(
            &both,
            &spec("['a', 'b']", &[y, x]),
            &["the inputs are in another order"],
        );
        check(
            &both,
            &spec("['b', 'a']", &[x, y]),
            &["the class names are in another order"],
        );
        let expected = [
            "input \"z\" is added",
            "input \"y\" is dropped",
            "class \"c\" is added",
            "class \"b\" is dropped",
        ];
        check(&both, &spec("['a', 'c']", &[x, gap]), &expected);
        let other = "name = 'y'\nkind = 'number'";
        let expected = [
            "input \"y\" was a category, and is a number",
            "input \"z\" is added without missing = \"mean\"",
        ];
        let without = "name = 'z'\nkind = 'number'";
        check(&both, &spec("['a', 'b']", &[x, other, without]), &expected);
        let may_be = "name = 'y'\nkind = 'category'\nmissing = 'empty'";
        check(&both, &spec("['a', 'b']", &[x, may_be]), &[]);
        let only = spec("['a', 'b']", &[x]);
        check(
            &only,
            &both,
            &["input \"y\" is added without missing = \"empty\""],
        );
        check(
            &only,
            &spec("['a', 'b']", &[x, may_be]),
            &["input \"y\" is added"],
        );
        let gap_of_x = "name = 'x'\nkind = 'number'\nmissing = 'mean'";
        check(
            &only,
            &spec("['a', 'b']", &[gap_of_x]),
            &["of input \"x\", missing is \"mean\", and was not set"],
        );
        let time = "name = 't'\nkind = 'time'";
        let keyed = "name = 't'\nkind = 'time'\nformat = '%d/%m/%Y'\nzone = '+02:00'";
        check(
            &spec("['a', 'b']", &[time]),
            &spec("['a', 'b']", &[keyed]),
            &[
                "of input \"t\", format is \"%d/%m/%Y\", and was not set, zone is \"+02:00\", and was \
                 \"UTC\"",
            ],
        );
    }
}
