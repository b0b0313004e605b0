//! The sentence for a model.toml that does not read: a key that is unknown, or that stands in the
//! wrong table, and a value of the wrong type.
//!
//! Invariant: a sentence names the key, the value as it was written, and the values that the
//! table of keys allows.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::spec::keys::{AllowedValues, KEYS, Key, nearest};

/// Tables that the program writes behind a description.
const OF_PROGRAM: [&str; 2] = ["ordered", "pinned"];

/// The first fault in the text, by the byte at which it begins.
pub(super) fn first_fault(text: &str) -> Option<(usize, String)> {
    let document = DeTable::parse(text).ok()?;
    let mut faults = Vec::new();
    look("", document.get_ref(), text, &mut faults);
    faults.into_iter().min()
}

/// Two pairs of brackets are left out where inputs are a list of tables.
pub(super) fn single_brackets(line: &str) -> Option<&'static str> {
    let is_input = line.trim_start().starts_with("[input]");
    is_input.then_some("input: expected two pairs of brackets, [[input]], at each input")
}

/// The sentence for a key that is required and not there.
pub(super) fn missing(field: &str) -> Option<String> {
    let of_input = format!("input.{field}");
    let key = Key::find(field).or_else(|| Key::find(&of_input))?;
    Some(format!(
        "{} is missing: expected {}",
        key.name,
        key.expected()
    ))
}

fn look(table: &str, keys: &DeTable<'_>, text: &str, faults: &mut Vec<(usize, String)>) {
    for (name, value) in keys {
        let written = name.get_ref().as_ref();
        let full = match table {
            "" => written.to_owned(),
            table => format!("{table}.{written}"),
        };
        let at = name.span().start;
        let is_table = KEYS.iter().any(|key| is_within(key.name, &full));
        if table.is_empty() && OF_PROGRAM.contains(&written) {
            continue;
        }
        match (Key::find(&full), value.get_ref()) {
            (_, DeValue::Table(inner)) if is_table && full != "input" => {
                look(&full, inner, text, faults);
            }
            (_, DeValue::Array(items)) if full == "input" => {
                for item in items {
                    match item.get_ref() {
                        DeValue::Table(inner) => look(&full, inner, text, faults),
                        _ => faults.push((at, "input: expected [[input]] tables".to_owned())),
                    }
                }
            }
            (_, DeValue::Table(_)) if full == "input" => {
                let sentence = single_brackets("[input]").unwrap_or_default();
                faults.push((at, sentence.to_owned()));
            }
            (Some(key), _) if !is_of_type(key, value) => {
                let shown = shown(&text[value.span()]);
                faults.push((at, format!("{full} = {shown}: expected {}", key.expected())));
            }
            (Some(_), _) => {}
            (None, _) if is_table => {
                faults.push((at, format!("{full}: expected a table, [{full}]")));
            }
            (None, _) => faults.push((at, unknown(table, written))),
        }
    }
}

/// Whether a key of the table of keys lies within this table of a description.
fn is_within(key: &str, table: &str) -> bool {
    let mut segments = key.split('.');
    let matches = table.split('.').all(|given| {
        let known = segments.next();
        known.is_some_and(|known| known == given || known == "NAME")
    });
    matches && segments.next().is_some()
}

fn is_of_type(key: &Key, value: &Spanned<DeValue<'_>>) -> bool {
    match (key.values, value.get_ref()) {
        (AllowedValues::Bool, DeValue::Boolean(_)) => true,
        (AllowedValues::List(_), DeValue::Array(items)) => {
            let is_widths = matches!(key.name, "network.hidden" | "input.shape");
            let of_type = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(_) => !is_widths,
                DeValue::Integer(number) => is_widths && !number.as_str().starts_with('-'),
                _ => false,
            };
            items.iter().all(of_type)
        }
        (AllowedValues::Table(_), DeValue::Table(inner)) => inner
            .values()
            .all(|value| is_within_type(key.name, value.get_ref())),
        (AllowedValues::Count(..), DeValue::Integer(number)) => !number.as_str().starts_with('-'),
        (
            AllowedValues::Between(..) | AllowedValues::Above(..) | AllowedValues::Finite(_),
            DeValue::Integer(_) | DeValue::Float(_),
        ) => true,
        (
            AllowedValues::Text(_)
            | AllowedValues::Words(_)
            | AllowedValues::Size(_)
            | AllowedValues::SizeBelow(_)
            | AllowedValues::Time,
            DeValue::String(_),
        ) => true,
        _ => false,
    }
}

/// Whether a value of a table with names of the author's own is of its type.
fn is_within_type(key: &str, value: &DeValue<'_>) -> bool {
    match key {
        "learner.costs" => matches!(value, DeValue::Integer(_) | DeValue::Float(_)),
        "rows.constants" | "rows.labels" | "rows.units" => matches!(value, DeValue::String(_)),
        "rows.sentinels" => match value {
            DeValue::Array(items) => {
                let mut items = items.iter().map(Spanned::get_ref);
                items.all(|item| matches!(item, DeValue::String(_)))
            }
            _ => false,
        },
        _ => true,
    }
}

/// A value as it was written, in one line of bounded length.
fn shown(value: &str) -> String {
    let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// The sentence for a key that its table does not have.
fn unknown(table: &str, written: &str) -> String {
    let heading = heading(table);
    let here: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| of_table(key.name, table))
        .collect();
    if let Some(nearest) = nearest(written, here.iter().copied()) {
        return format!("{heading} has no key {written:?}; did you mean {nearest:?}?");
    }
    let tables = KEYS
        .iter()
        .filter_map(|key| match key.name.rsplit_once('.') {
            Some((table, last)) => (last == written).then_some(table),
            None => (key.name == written).then_some(""),
        });
    let mut tables: Vec<&str> = tables.collect();
    tables.dedup();
    match tables[..] {
        [""] => format!(
            "{heading} has no key {written:?}; it is one of the whole description, and stands above \
             the first [table]"
        ),
        [other] => format!(
            "{heading} has no key {written:?}; {} has it",
            self::heading(other)
        ),
        _ => {
            let mut here = here;
            here.dedup();
            format!(
                "{heading} has no key {written:?}; expected {}",
                here.join(", ")
            )
        }
    }
}

/// The part of a key that stands directly in a table.
fn of_table<'a>(key: &'a str, table: &str) -> Option<&'a str> {
    let depth = match table {
        "" => 0,
        table => table.split('.').count(),
    };
    let is_here = table.is_empty() || is_within(key, table);
    is_here.then(|| key.split('.').nth(depth)).flatten()
}

fn heading(table: &str) -> String {
    match table {
        "" => "the description".to_owned(),
        "input" => "[[input]]".to_owned(),
        table => format!("[{table}]"),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Spec;
    use crate::model::spec::keys::{AllowedValues, KEYS};

    const REGRESSION: &str = "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'\n";

    fn error(toml: &str) -> String {
        Spec::parse(toml).unwrap_err().to_string()
    }

    #[track_caller]
    fn check(behind: &str, expected: &str) {
        assert_eq!(error(&format!("{REGRESSION}{behind}")), expected);
    }

    #[test]
    fn a_key_that_is_unknown_gets_its_neighbour_or_its_table() {
        check(
            "[feedback]\nwindows_s = 3",
            "line 6: [feedback] has no key \"windows_s\"; did you mean \"window_s\"?",
        );
        check(
            "seed = 3",
            "line 5: [[input]] has no key \"seed\"; it is one of the whole description, and stands \
             above the first [table]",
        );
        check(
            "[learner]\nlong_term = 3",
            "line 6: [learner] has no key \"long_term\"; [memory] has it",
        );
        check(
            "[publish]\ncolour = 3",
            "line 6: [publish] has no key \"colour\"; expected policy, canary, margin, alpha, \
             retention_margin, every_examples, score_every, freeze_within",
        );
        check(
            "[lerner]\nkind = 'auto'",
            "line 5: the description has no key \"lerner\"; did you mean \"learner\"?",
        );
    }

    #[test]
    fn brackets_and_keys_that_are_not_there_are_named() {
        let brackets = "input: expected two pairs of brackets, [[input]], at each input";
        for n_inputs in 1..3 {
            let toml = "[input]\nname = 'x'\nkind = 'number'\n".repeat(n_inputs);
            let refusal = error(&format!("task = 'regression'\n{toml}"));
            assert!(refusal.ends_with(brackets), "{refusal}");
        }
        let refusal = error("[[input]]\nname = 'x'\nkind = 'number'");
        assert_eq!(
            refusal,
            "line 1: task is missing: expected \"classification\", \"regression\" or \"bandit\""
        );
        let refusal = error("task = 'regression'\n[[input]]\nname = 'x'");
        assert!(
            refusal.contains("input.kind is missing: expected \"number\""),
            "{refusal}"
        );
    }

    /// A value of a type that the key does not accept.
    fn wrong(values: AllowedValues) -> &'static str {
        match values {
            AllowedValues::Text(_) | AllowedValues::Words(_) => "3",
            AllowedValues::List(_) | AllowedValues::Table(_) | AllowedValues::Bool => "'fast'",
            AllowedValues::Count(..) | AllowedValues::Between(..) | AllowedValues::Above(..) => {
                "'fast'"
            }
            AllowedValues::Finite(_) => "'fast'",
            AllowedValues::Size(_) | AllowedValues::SizeBelow(_) | AllowedValues::Time => "10",
        }
    }

    #[test]
    fn every_key_refuses_a_value_of_another_type_by_name_value_and_range() {
        for key in KEYS {
            let value = wrong(key.values);
            let name = key.name.replace("NAME", "click");
            let toml = match name.rsplit_once('.') {
                None => format!("{name} = {value} # comment\n{REGRESSION}"),
                Some(("input", last)) => {
                    let name = format!("{last} = ");
                    let others = REGRESSION.lines().filter(|line| !line.starts_with(&name));
                    let others: Vec<&str> = others.collect();
                    format!("{}\n{last} = {value} # comment\n", others.join("\n"))
                }
                Some((table, last)) => match table.strip_prefix("input.") {
                    Some(table) => {
                        format!("{REGRESSION}{table} = {{ {last} = {value} }} # comment\n")
                    }
                    None => format!("{REGRESSION}[{table}]\n{last} = {value} # comment\n"),
                },
            };
            let toml = match key.name {
                "task" => toml.replace("task = 'regression'\n", ""),
                _ => toml,
            };
            let expected = format!("{name} = {value}: expected {}", key.expected());
            let refusal = error(&toml);
            assert!(
                refusal.ends_with(&expected),
                "{toml}\n{refusal}\nnot\n{expected}"
            );
        }
        check(
            "[feedback]\nwindow_s = '1h'",
            "line 6: feedback.window_s = '1h': expected a whole number of seconds from 1 to 31536000",
        );
        check(
            "[memory]\nreplay = -1",
            "line 6: memory.replay = -1: expected a whole number of examples from 1 to 4096",
        );
    }
}
