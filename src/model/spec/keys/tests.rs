//! Tests of the table of keys against the parser.

use std::collections::BTreeSet;

use super::super::Spec;
use super::*;

const BANDIT: &str = "task = 'bandit'\nactions = ['a', 'b']\n\
                      [[input]]\nname = 'x'\nkind = 'number'\n";

#[test]
fn every_default_is_a_value_that_its_key_accepts() {
    for key in KEYS {
        let is_number = |text: &str| text.parse::<f64>().is_ok();
        let is_in_words = |default: &str| !default.is_empty() && default.contains(' ');
        match key.values {
            _ if key.default.is_empty() || is_in_words(key.default) => {}
            AllowedValues::Words(words) => {
                let words: BTreeSet<&str> = words.iter().copied().collect();
                let default = key.default.split(',').next().expect("a word");
                assert!(words.contains(default), "{key:?}");
            }
            AllowedValues::Count(min, max) => {
                let default = key.default.parse().expect(key.name);
                assert!((min..=max).contains(&default), "{key:?}");
            }
            AllowedValues::Between(..) | AllowedValues::Above(..) | AllowedValues::Finite(_) => {
                assert!(is_number(key.default), "{key:?}");
            }
            AllowedValues::Text(_)
            | AllowedValues::List(_)
            | AllowedValues::Table(_)
            | AllowedValues::Bool => {}
            AllowedValues::Size(_) | AllowedValues::SizeBelow(_) | AllowedValues::Time => {}
        }
    }
    // Sizes, times and the rest are taken from the table here.
    Spec::parse(BANDIT).expect("the defaults are accepted");
}

#[test]
fn every_word_of_the_table_is_known_to_the_parser() {
    for key in KEYS {
        let (AllowedValues::Words(words), Some((table, name))) =
            (key.values, key.name.split_once('.'))
        else {
            continue;
        };
        for word in words {
            let table = table.replace("input", "[input]");
            let toml = format!("{BANDIT}[{table}]\n{name} = '{word}'\n");
            let refusal = Spec::parse(&toml).map_err(|error| error.to_string());
            let refusal = refusal.err().unwrap_or_default();
            assert!(!refusal.contains("expected \""), "{refusal}");
        }
    }
}

/// A description is the same with and without a default, unless the table has it in words.
#[test]
fn the_parser_takes_the_defaults_of_the_table() {
    let bandit = |keys: &str, kind: &str| {
        let named = "task = 'bandit'\nactions = ['a', 'b']\n";
        format!("{named}{keys}\n[[input]]\nname = 'x'\n{kind}\n")
    };
    let number = "kind = 'number'";
    let bases = [
        bandit("", number),
        bandit("", "kind = 'vector'\nlength = 2"),
        bandit("", "kind = 'time'"),
        format!("task = 'regression'\n\n[[input]]\nname = 'x'\n{number}\n"),
        bandit("learner.kind = 'gradient'", number),
        bandit("learner.kind = 'neighbours'", number),
        bandit("learner.kind = 'analytic'\npolicy.kind = 'linucb'", number),
        bandit("policy.kind = 'epsilon'", number),
        bandit("policy.kind = 'softmax'", number),
        bandit("sources.budget = 9", number),
        "task = 'classification'\nclasses = ['a', 'b']\n[[input]]\nname = 'x'\nkind = 'number'\n"
            .to_owned(),
    ];
    let is_in_words = |key: &Key| key.default.is_empty() || key.default.contains(' ');
    // Of these every default is a number, read as those of the other tables are.
    let is_nested = |key: &Key| key.name.matches('.').count() > 1;
    for key in KEYS {
        if is_in_words(key) || is_nested(key) {
            continue;
        }
        let default = match key.values {
            AllowedValues::Words(_)
            | AllowedValues::Text(_)
            | AllowedValues::Size(_)
            | AllowedValues::Time => {
                format!("'{}'", key.default)
            }
            _ => key.default.to_owned(),
        };
        let written = |base: &String| match key.name.strip_prefix("input.") {
            Some(name) => format!("{base}{name} = {default}\n"),
            None => format!("{} = {default}\n{base}", key.name),
        };
        let accepted = bases.iter().filter_map(|base| {
            let spec = Spec::parse(&written(base)).ok()?;
            Some((spec, Spec::parse(base).expect("a base is valid")))
        });
        let accepted: Vec<_> = accepted.collect();
        assert!(!accepted.is_empty(), "no base has {}", key.name);
        for (written, left_out) in accepted {
            assert_eq!(written, left_out, "{}", key.name);
        }
    }
}
