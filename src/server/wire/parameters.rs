//! The parameters of a predict request.
//!
//! Invariant: a parameter of ours is taken with its own type or refused; one that only looks
//! like ours is refused with the right name; every other is of another program, and ignored.

use std::collections::HashMap;

use super::refusal::Refusal;
use crate::engine::PredictOptions;
use crate::proto::inference::InferParameter;
use crate::proto::inference::infer_parameter::ParameterChoice as Choice;

const OURS: [&str; 3] = ["min_position", "explore", "log"];
/// Names this long are also known with a slip of the finger; a shorter one is soon another word.
const SLIP_LENGTH_MIN: usize = 6;
/// The words of min_position with their other spellings, and how many slips each may
/// have: with more, min_positive is one.
const MIN_POSITION: [&[(&str, usize)]; 2] = [
    &[("min", 1), ("minimum", 1), ("minimal", 1)],
    &[("position", 1), ("pos", 0)],
];
/// A longer name means something else.
const NAME_BYTES_MAX: usize = 32;

/// The parameters of a request, beside its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct RequestParameters {
    /// Wait until everything up to here has been applied.
    pub min_position: Option<u64>,
    /// The options of the prediction: journaling, and exploration of a bandit.
    pub options: PredictOptions,
}

impl RequestParameters {
    pub(crate) fn read(
        given: &HashMap<String, InferParameter>,
    ) -> Result<RequestParameters, Refusal> {
        let mut parameters = RequestParameters {
            min_position: None,
            options: PredictOptions::default(),
        };
        for (name, value) in given {
            let choice = value.parameter_choice.as_ref();
            match name.as_str() {
                "min_position" => parameters.min_position = Some(position(choice)?),
                "log" => parameters.options.journal = flag(name, choice)?,
                "explore" => parameters.options.explore = flag(name, choice)?,
                other => check_spelling(other)?,
            }
        }
        Ok(parameters)
    }
}

fn position(choice: Option<&Choice>) -> Result<u64, Refusal> {
    match choice {
        Some(Choice::Uint64Param(position)) => Ok(*position),
        Some(Choice::Int64Param(position)) if *position >= 0 => Ok(*position as u64),
        Some(Choice::Int64Param(position)) => {
            let what = format!("parameter \"min_position\": {position}, expected 0 or more");
            Err(Refusal::invalid("parameters", what))
        }
        other => Err(mistyped("min_position", other, "int64 or uint64")),
    }
}

fn flag(name: &str, choice: Option<&Choice>) -> Result<bool, Refusal> {
    match choice {
        Some(Choice::BoolParam(flag)) => Ok(*flag),
        other => Err(mistyped(name, other, "bool")),
    }
}

fn mistyped(name: &str, choice: Option<&Choice>, expected: &str) -> Refusal {
    let got = match choice {
        None => "no value",
        Some(Choice::BoolParam(_)) => "bool",
        Some(Choice::Int64Param(_)) => "int64",
        Some(Choice::StringParam(_)) => "string",
        Some(Choice::DoubleParam(_)) => "double",
        Some(Choice::Uint64Param(_)) => "uint64",
    };
    let what = format!("parameter \"{name}\": {got}, expected {expected}");
    Refusal::invalid("parameters", what)
}

fn check_spelling(name: &str) -> Result<(), Refusal> {
    if name.len() > NAME_BYTES_MAX {
        return Ok(());
    }
    let given = bare(name);
    let is_meant = |ours: &str| {
        let ours = bare(ours);
        given == ours || ours.len() >= SLIP_LENGTH_MIN && n_slips(&given, &ours) <= 1
    };
    let meant = OURS.into_iter().find(|ours| is_meant(ours));
    match meant.or(is_min_position(&given).then_some("min_position")) {
        None => Ok(()),
        Some(ours) => Err(Refusal::invalid(
            "parameters",
            format!("parameter \"{name}\": unknown, expected \"{ours}\""),
        )),
    }
}

/// The letters and digits of a name, in small letters.
fn bare(name: &str) -> Vec<u8> {
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// True if a name is the words of min_position in either order, shortened or with slips.
fn is_min_position(given: &[u8]) -> bool {
    let is_word = |given: &[u8], words: &[(&str, usize)]| {
        let mut words = words.iter();
        words.any(|(word, n_max)| n_slips(given, word.as_bytes()) <= *n_max)
    };
    (1..given.len()).any(|cut| {
        let (first, second) = given.split_at(cut);
        let [min, position] = MIN_POSITION;
        is_word(first, min) && is_word(second, position)
            || is_word(first, position) && is_word(second, min)
    })
}

/// The number of letters left out, added or changed, or neighbours swapped, between two words (the optimal
/// string alignment distance; Damerau 1964).
fn n_slips(a: &[u8], b: &[u8]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let other = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let swapped = if is_swap {
                        rows[i - 2][j - 2] + 1
                    } else {
                        other
                    };
                    changed.min(other).min(swapped)
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, choice: Choice) -> Result<RequestParameters, Refusal> {
        let value = InferParameter {
            parameter_choice: Some(choice),
        };
        RequestParameters::read(&HashMap::from([(name.to_owned(), value)]))
    }

    #[test]
    fn parameters_of_ours_are_taken() {
        let parameters = |name: &str, choice| read(name, choice).expect("a sound parameter");
        let check = |name: &str, choice, min_position: Option<u64>, journal: bool| {
            let got = parameters(name, choice);
            assert_eq!(
                (got.min_position, got.options.journal),
                (min_position, journal)
            );
        };
        let explore = |flag| {
            parameters("explore", Choice::BoolParam(flag))
                .options
                .explore
        };
        assert_eq!([true, false].map(explore), [true, false]);
        check("min_position", Choice::Int64Param(7), Some(7), true);
        check("min_position", Choice::Uint64Param(7), Some(7), true);
        check("log", Choice::BoolParam(false), None, false);
        check("explore", Choice::BoolParam(false), None, true);
        check("priority", Choice::Uint64Param(1), None, true);
        check("timeout", Choice::Int64Param(1), None, true);
        check("lag", Choice::Int64Param(1), None, true);
        check("triton_min_positions", Choice::Int64Param(1), None, true);
        // Words of others that are as near as a slip or two.
        for theirs in [
            "max_position",
            "position",
            "positions",
            "min_length",
            "min_p",
            "min_tokens",
            "export",
            "logprobs",
            "logits",
            "login",
            "min_precision",
            "min_positive",
            "composition",
        ] {
            check(theirs, Choice::Int64Param(1), None, true);
        }
    }

    #[test]
    fn p9_parameters_of_the_wrong_type_or_spelling_are_refused() {
        let check = |name: &str, choice, expected: &str| {
            let refusal = read(name, choice).unwrap_err();
            assert_eq!(refusal.message, expected, "{name}");
        };
        let position = "parameter \"min_position\": ";
        let check_position = |choice, expected: &str| {
            check("min_position", choice, &format!("{position}{expected}"));
        };
        check_position(Choice::Int64Param(-1), "-1, expected 0 or more");
        check_position(
            Choice::StringParam("7".into()),
            "string, expected int64 or uint64",
        );
        check_position(Choice::DoubleParam(7.0), "double, expected int64 or uint64");
        check(
            "log",
            Choice::Int64Param(0),
            "parameter \"log\": int64, expected bool",
        );
        let misspelt = |name: &str, ours: &str| {
            let expected = format!("parameter \"{name}\": unknown, expected \"{ours}\"");
            check(name, Choice::BoolParam(true), &expected);
        };
        misspelt("minposition", "min_position");
        misspelt("min-position", "min_position");
        misspelt("minPosition", "min_position");
        misspelt("min_positoin", "min_position");
        misspelt("min_positions", "min_position");
        misspelt("MIN_POSITION", "min_position");
        misspelt("min position", "min_position");
        misspelt("mim_positon", "min_position");
        misspelt("mni_possition", "min_position");
        misspelt("min_pos", "min_position");
        misspelt("minPos", "min_position");
        misspelt("minimum_position", "min_position");
        misspelt("position_min", "min_position");
        misspelt("Log", "log");
        misspelt("EXPLORE", "explore");
        misspelt("exlore", "explore");
        misspelt("explroe", "explore");
        misspelt("explores", "explore");
    }
}
