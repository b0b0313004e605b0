//! Tests of the task that a target suggests, and of its labels.

use super::*;
use crate::cli::commands::init::tests::drafted;

fn texts(ys: &[&str]) -> Vec<String> {
    ys.iter().map(|y| y.to_string()).collect()
}

fn numbered(word: &str, n_labels: usize) -> Vec<String> {
    (0..n_labels).map(|y| format!("{word}{y}")).collect()
}

/// Compares the task and its reason, or the refusal.
fn check(ys: &[String], asked: Option<DraftTask>, expected: &str) {
    let rows = ys.iter().enumerate();
    let rows = rows.map(|(row, y)| format!("{}.5,{y}\n", row % 5));
    let text = format!("x,y\n{}", rows.collect::<String>());
    let got = match drafted(&text, asked) {
        Ok(draft) => format!("{:?}, {}", draft.task, draft.task_reason),
        Err(error) => error.root_cause().to_string(),
    };
    assert_eq!(got, expected);
}

#[test]
fn the_values_tell_the_task() {
    check(
        &texts(&["up", "down", "NA", "", "up"]),
        None,
        "Classification, target \"y\": 2 distinct values, not numeric",
    );
    check(
        &texts(&["up", "down", "NA", "", "up"]),
        Some(DraftTask::Bandit),
        "Bandit, given; target \"y\": 2 distinct values, not numeric",
    );
    check(
        &[numbered("", 20), numbered("", 20)].concat(),
        None,
        "Classification, target \"y\": 20 distinct integers, taken as names; --task regression if \
         they are amounts",
    );
    check(
        &numbered("", 20),
        None,
        "Regression, target \"y\": numbers, 0 .. 19, few and whole, as amounts are; --task \
         classification if they are names",
    );
    let sales = [15, 8, 4, 2, 1, 1].into_iter().zip(0..);
    let sales = sales.flat_map(|(n, value)| vec![format!("{value}"); 4 * n]);
    check(
        &sales.collect::<Vec<_>>(),
        None,
        "Regression, target \"y\": numbers, 0 .. 5, few and whole, as amounts are; --task \
         classification if they are names",
    );
    check(
        &texts(&["9007199254740993", "9007199254740992"]),
        None,
        "Classification, target \"y\": 2 distinct integers",
    );
    let mut most = numbered("", 30);
    most.extend(texts(&["?1", "?2"]));
    check(
        &most,
        None,
        "Classification, target \"y\": 32 distinct values, not numeric, most of them numbers; --task \
         regression leaves out the others",
    );
    check(
        &most,
        Some(DraftTask::Regression),
        "Regression, given; target \"y\": numbers, 0 .. 29",
    );
    check(
        &numbered("", 21),
        None,
        "Regression, target \"y\": numbers, 0 .. 20",
    );
    check(
        &texts(&["1", "2.5"]),
        None,
        "Regression, target \"y\": numbers, 1 .. 2.5",
    );
    check(
        &texts(&["1", "2"]),
        Some(DraftTask::Regression),
        "Regression, given; target \"y\": numbers, 1 .. 2",
    );
    check(
        &[numbered("w", 1000), numbered("w", 1000)].concat(),
        None,
        "Classification, target \"y\": 1000 distinct values, not numeric",
    );
}

#[test]
fn a_target_of_times_says_that_a_regression_takes_numbers() {
    let rows: String = (0..60)
        .map(|n| format!("{},{}:{:02}:00\n", n % 7, n % 2, n % 10))
        .collect();
    let notes = drafted(&format!("x,y\n{rows}"), None).unwrap().notes;
    let expected =
        "target: its values look like times: a regression takes numbers, such as minutes or days";
    assert!(notes.iter().any(|note| note == expected), "{notes:?}");
}

#[test]
fn a_target_that_cannot_be_learned_is_refused() {
    check(
        &texts(&["up", "down", "NA", "", "up"]),
        Some(DraftTask::Regression),
        "target \"y\": a regression needs numbers, and line 2 has \"up\"",
    );
    check(
        &texts(&["", "NA"]),
        None,
        "target \"y\" has no value in any row",
    );
    check(
        &texts(&["a", "a"]),
        None,
        "target \"y\" is \"a\" in every row, which leaves nothing to learn",
    );
    check(
        &numbered("w", 1001),
        None,
        "target \"y\" has more than 1000 distinct values, too many for classes; try another \
         column, or --task regression once it holds only numbers (line 2 has \"w0\")",
    );
    check(
        &numbered("", 1001),
        Some(DraftTask::Classification),
        "target \"y\" has more than 1000 distinct values; try --task regression or another \
         column",
    );
    check(
        &numbered("", 1001),
        Some(DraftTask::Bandit),
        "target \"y\" has more than 1000 distinct values, too many for actions; try another \
         column",
    );
    check(
        &texts(&["a", &"b".repeat(2000)]),
        None,
        "target \"y\" has a value longer than 1024 bytes, too many for classes; try another \
         column, or --task regression once it holds only numbers (line 2 has \"a\")",
    );
}

/// The labels of a draft, and the notes about its target.
fn labels(ys: &[&str]) -> (Vec<String>, Vec<String>) {
    let rows = ys.iter().enumerate();
    let rows = rows.map(|(row, y)| format!("{}.5,{y}\n", row % 5));
    let text = format!("x,y\n{}", rows.collect::<String>());
    let draft = drafted(&text, None).expect("a draft");
    (draft.labels, draft.notes)
}

#[test]
fn labels_stand_in_an_order_that_says_nothing_of_the_rows() {
    assert_eq!(labels(&["up", "down", "up"]).0, ["down", "up"]);
    let numbered: Vec<String> = [10, 9, 2, 10, 9, 2].map(|n| n.to_string()).to_vec();
    let numbered: Vec<&str> = numbered.iter().map(String::as_str).collect();
    let named = [&numbered[..], &["x", "x"]].concat();
    assert_eq!(labels(&named).0, ["2", "9", "10", "x"]);
}

#[test]
fn the_usual_tokens_for_nothing_are_no_classes() {
    for token in ["?", "NULL", "null", "-", ".", "N/A", "--"] {
        let (labels, notes) = labels(&["up", token, "down", "up", token]);
        assert_eq!(labels, ["down", "up"], "{token}");
        let note = format!("target: 2 rows with \"{token}\" taken as without a target");
        assert!(notes.contains(&note), "{notes:?}");
    }
    // Where they may be names.
    assert_eq!(labels(&["+", "-", "+"]).0, ["+", "-"]);
    assert_eq!(labels(&["up", "-", "up"]).0, ["-", "up"]);
    let (kept, notes) = labels(&["up", "None", "down"]);
    assert_eq!(kept, ["None", "down", "up"]);
    let note = "target: \"None\" is taken as a label (1 row); out of the classes, such rows have no target";
    assert!(notes.iter().any(|one| one == note), "{notes:?}");
    let (kept, _) = labels(&["1", "0", "?", "1", "0"]);
    assert_eq!(kept, ["0", "1"]);
}

#[test]
fn labels_that_may_be_one_are_named() {
    let named = |ys: &[&str], expected: &str| {
        let (_, notes) = labels(ys);
        let is_named = notes.iter().any(|note| note.contains(expected));
        assert!(is_named, "{notes:?}, expected {expected}");
    };
    let ys = ["1", "true", "TRUE", "0", "false", "1", "0"];
    named(&ys, "\"1\" and \"true\" are labels of their own");
    named(
        &ys,
        "\"0\" and \"false\" are labels of their own; labels = { \"false\" = \"0\" }",
    );
    named(&ys, "read as one label: \"true\" (1), \"TRUE\" (1)");
    named(
        &["b", "B", "c", "b"],
        "\"b\" and \"B\" are labels of their own",
    );
    let (one, notes) = labels(&["caf\u{e9}", "cafe\u{301}", "bar", "bar"]);
    assert_eq!(one.len(), 2, "{notes:?}");
    assert!(
        notes.iter().any(|note| note.contains("read as one label")),
        "{notes:?}"
    );
    // Grades and initials are no words for true and false.
    let (_, notes) = labels(&["t", "f", "t", "f"]);
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn a_target_that_is_nearly_always_another_is_refused() {
    let ids: Vec<String> = (0..40_u64)
        .map(|n| format!("{:x}", n * 7919 + 100_000))
        .collect();
    check(
        &ids,
        None,
        "target \"y\" has 40 distinct values in 40 rows, as an id or a text has: a class is learned \
         from several rows; choose another column, or say --task classification",
    );
    check(
        &ids,
        Some(DraftTask::Classification),
        "Classification, given; target \"y\": 40 distinct values, not numeric",
    );
}

#[test]
fn the_unit_of_many_values_is_taken_off_and_that_of_few_is_part_of_the_label() {
    let many: Vec<String> = (0..60).map(|n| format!("{n}.5 km")).collect();
    check(
        &many,
        None,
        "Regression, target \"y\": numbers, 0.5 .. 59.5",
    );
    let few: Vec<String> = (0..60)
        .map(|n| format!("{} months", 3 * (1 + n % 3)))
        .collect();
    check(
        &few,
        None,
        "Classification, target \"y\": 3 distinct values, not numeric",
    );
}
