//! The promises of docs/design.md and the tests that hold them.
//!
//! Invariant: each promise names tests, and each test that is named is there.

use std::collections::BTreeSet;

use super::{root, sources};

/// The number of a promise and the other cells of its row, for each row of both tables.
fn rows(document: &str) -> impl Iterator<Item = (u32, &str)> {
    document.lines().filter_map(|line| {
        let (number, text) = line.strip_prefix("| P")?.split_once(" | ")?;
        Some((number.parse().ok()?, text))
    })
}

/// The tests that a row names: words between backticks that begin as a promise's tests do.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| {
        let number = word
            .strip_prefix('p')
            .and_then(|rest| rest.split('_').next());
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    })
}

#[test]
fn each_promise_names_tests_that_are_there() {
    let design = std::fs::read_to_string(root().join("docs/design.md")).unwrap();
    let files = sources(&["src", "tests"]);
    let functions: BTreeSet<&str> = files
        .iter()
        .flat_map(super::Source::code)
        .filter_map(|(_, line)| line.split("fn ").nth(1)?.split('(').next())
        .collect();
    let numbers: BTreeSet<u32> = rows(&design).map(|(number, _)| number).collect();
    assert!(!numbers.is_empty(), "docs/design.md lists no promise");
    let mut wrong = Vec::new();
    for number in numbers {
        let texts = rows(&design).filter(|row| row.0 == number);
        let tests: Vec<&str> = texts.flat_map(|(_, text)| named(text)).collect();
        let is_of_it = |test: &&str| format!("_{test}").contains(&format!("_p{number}_"));
        if tests.is_empty() {
            wrong.push(format!("P{number} names no test"));
        }
        let others = tests.iter().filter(|test| !is_of_it(test));
        wrong.extend(others.map(|test| format!("{test} does not carry P{number}")));
        let absent = tests.iter().filter(|test| !functions.contains(**test));
        wrong.extend(absent.map(|test| format!("{test} is no test")));
    }
    assert!(wrong.is_empty(), "docs/design.md: {}", wrong.join("\n"));
}
