//! Tests of the kinds of columns, and of the remarks on them.

use std::fmt::Write;

use super::*;
use crate::cli::commands::init::draft::ExcludedColumn;
use crate::cli::commands::init::tests::drafted;

/// A column `x` of the given values beside a target `y` that alternates, and `keep`, which is
/// always of use.
fn beside(values: impl IntoIterator<Item = String>) -> String {
    let mut text = "x,keep,y\n".to_owned();
    for (row, value) in values.into_iter().enumerate() {
        let y = if row % 3 == 0 { "up" } else { "down" };
        writeln!(text, "\"{value}\",{},{y}", row % 2).unwrap();
    }
    text
}

/// The kind or the exclusion of the column `x`.
fn fate(text: &str) -> String {
    let draft = drafted(text, None).unwrap();
    if let Some(excluded) = draft.excluded.iter().find(|excluded| excluded.name == "x") {
        return excluded.reason.clone();
    }
    let input = draft.inputs.iter().find(|input| input.name == "x").unwrap();
    format!("{:?}, {}, {} gaps", input.kind, input.reason, input.n_gaps)
}

#[test]
fn a_column_is_what_its_values_are() {
    let check = |values: &[&str], expected: &str| {
        let text = beside(values.iter().map(|value| value.to_string()));
        assert_eq!(fate(&text), expected, "{values:?}");
    };
    check(&["1.5", "-2", "1e3"], "Number, -2 .. 1000, 0 gaps");
    check(&["1", "", "NA", "nan", "4"], "Number, 1 .. 4, 3 gaps");
    check(&["1e-9", "1e300"], "Number, 1e-9 .. 1e300, 0 gaps");
    check(
        &["tcp", "udp", "tcp"],
        "Category, 2 distinct values, 0 gaps",
    );
    check(
        &["tcp", "", "udp", "NA", "tcp"],
        "Category, 2 distinct values, 2 gaps",
    );
    check(&["1", "2", "inf"], "Number, 1 .. 2, 1 gaps");
    check(&["1", "-Infinity", "inf", "5"], "Number, 1 .. 5, 2 gaps");
    check(
        &["where is it", "", "my card is lost"],
        "Text, 3.5 words on average, 1 gaps",
    );
    check(
        &["two words", "and three words"],
        "Category, 2 distinct values, 0 gaps",
    );
    check(&["7", "7", "7.0"], "constant (7)");
    check(&["7", "", "7"], "constant (7 or a gap)");
    check(&["a", "a"], "constant (\"a\")");
    check(&["a b c", "a b c"], "constant (\"a b c\")");
    check(&["", "NA"], "it has no value in any row");
    check(&["0", "1", "2"], "a row id (0, 1, 2, ...)");
    check(&["1", "2", "3.0"], "a row id (1, 2, 3, ...)");
    check(&["0", "1"], "Number, 0 .. 1, 0 gaps");
    check(&["2", "3", "4"], "Number, 2 .. 4, 0 gaps");
    check(&["0", "1", "", "3"], "Number, 0 .. 3, 1 gaps");
    check(&["0", "1", "3"], "Number, 0 .. 3, 0 gaps");
    check(
        &["9007199254740993", "9007199254740992", "9007199254740993"],
        "Category, 2 distinct codes, names and not numbers, 0 gaps",
    );
    check(
        &["9007199254740992", "1e30", "100000000000000000000"],
        "Number, 9007199254740992 .. 1e30, 0 gaps",
    );
}

#[test]
fn distinct_values_are_a_row_id_only_among_many_words() {
    let check = |n_rows: u64, value: &dyn Fn(u64) -> String, expected: &str| {
        assert_eq!(fate(&beside((0..n_rows).map(value))), expected);
    };
    let id = "a row id (every value is distinct)";
    check(20, &|row| format!("id-{row}"), id);
    check(
        20,
        &|row| format!("{}", 1_234_567_890_123_456_789 + 7 * row),
        id,
    );
    check(30_000, &|row| format!("id-{row}"), id);
    check(
        19,
        &|row| format!("id-{row}"),
        "Category, 19 distinct values, 0 gaps",
    );
    check(
        21,
        &|row| format!("id-{}", row % 20),
        "Category, 20 distinct values, 0 gaps",
    );
    // Repetition is seen however late it comes.
    check(
        60_000,
        &|row| format!("id-{}", row % 30_000),
        "Category, over 10000 distinct values, 0 gaps",
    );
    check(
        30,
        &|row| format!("{}", row as f64 * 0.37),
        "Number, 0 .. 10.73, 0 gaps",
    );
    check(
        30,
        &|row| format!("where is card {row}"),
        "Text, 4.0 words on average, 0 gaps",
    );
    let price = |row| match row {
        7 => "free".to_owned(),
        row => format!("{row}.5"),
    };
    check(30, &price, "Number, 0.5 .. 29.5, 1 gaps");
    let prices = |row| match row {
        7 | 9 => "free".to_owned(),
        row => format!("{row}.5"),
    };
    check(
        30,
        &prices,
        "Category, 2 of 30 values not a number, first \"free\"; --as \"x=number\" takes those as \
         gaps, 0 gaps",
    );
}

#[test]
fn copies_of_the_target_are_left_out() {
    let check = |task, n_rows: usize, row: &dyn Fn(usize) -> String, expected: &str| {
        let rows: String = (0..n_rows).map(|at| row(at) + "\n").collect();
        let draft = drafted(&format!("x,keep,y\n{rows}"), task).unwrap();
        let excluded: Vec<String> = draft
            .excluded
            .iter()
            .map(ExcludedColumn::to_string)
            .collect();
        assert_eq!(excluded.join("; "), expected);
    };
    let copy = "\"x\": a copy of the target";
    let renamed = "\"x\": a copy of the target under other names";
    let two = ["up", "down"];
    let equal = |at: usize| format!("{},{},{}", two[at % 2], at % 3, two[at % 2]);
    check(None, 4, &equal, copy);
    let numbers = |at: usize| format!("{at}.50,{},{at}.5", at % 3);
    check(None, 30, &numbers, copy);
    let named = |at: usize| format!("{},{},{}", at % 2, at % 3, two[at % 2]);
    check(None, 20, &named, renamed);
    check(Some(DraftTask::Bandit), 20, &named, renamed);
    check(None, 19, &named, "");
    // Two classes share a value, and a class has two values.
    let merged = |at: usize| format!("{},{},c{}", (at % 3).min(1), at % 2, at % 3);
    check(None, 30, &merged, "");
    let split = |at: usize| format!("{},{},c{}", at % 3, at % 2, (at % 3).min(1));
    check(None, 30, &split, "");
    // A regression predicts functions of numbers.
    let scaled = |at: usize| format!("{},{},{}", at % 3, at % 2, at % 3 * 2);
    check(Some(DraftTask::Regression), 30, &scaled, "");
    // A row without a target is no evidence.
    let gap = |at: usize| match at {
        3 => "other,5,".to_owned(),
        at => equal(at),
    };
    check(None, 30, &gap, copy);
}

/// The remarks on the column `x`.
fn remarks_on(values: impl IntoIterator<Item = String>) -> String {
    let draft = drafted(&beside(values), None).expect("a draft");
    let input = draft.inputs.iter().find(|input| input.name == "x");
    input.expect("an input").remarks.join("; ")
}

#[test]
fn seconds_since_1970_are_named_where_nothing_says_dates() {
    let seconds = (0..60).map(|n: u64| (881_266_325 + n * n * 2791).to_string());
    let remarks = remarks_on(seconds);
    let expected =
        "seconds since 1970 (1997-12-04 .. 1998-03-27)? --as \"x=date:%s\" reads them as times";
    assert_eq!(remarks, expected);
    let milliseconds = (0..60).map(|n: u64| (1_672_704_000_000 + n * n * 2791).to_string());
    assert!(remarks_on(milliseconds).contains("x=date:%Q"));
    let amounts = (0..60).map(|n: u64| (n * n * 50_000_000).to_string());
    assert_eq!(remarks_on(amounts), "");
}

#[test]
fn numbers_of_users_without_a_header_are_named() {
    let draft = |name: &str| {
        let rows = (0..90).map(|n| format!("{},{},{}\n", n * 7 % 30, n % 2, n % 3));
        let text = format!("{name},keep,y\n{}", rows.collect::<String>());
        let draft = drafted(&text, Some(DraftTask::Classification)).expect("a draft");
        draft.inputs[0].remarks.join("; ")
    };
    assert!(draft("column_1").contains("--as \"column_1=category\""));
    assert_eq!(draft("amount"), "");
}

#[test]
fn percentages_beside_fractions_are_not_guessed() {
    let mixed = (0..40).map(|n| match n % 2 {
        0 => format!("{}.5%", n + 1),
        _ => format!("0.{:02}5", n),
    });
    let refused = drafted(&beside(mixed), None)
        .unwrap_err()
        .root_cause()
        .to_string();
    assert!(
        refused.starts_with("column \"x\": \"1.5%\" and \"0.015\" stand beside"),
        "{refused}"
    );
    assert!(refused.contains("--as \"x=number\""), "{refused}");
    // Numbers over 1 are no fractions.
    let points = (0..40).map(|n| format!("{}.5{}", n + 1, ["%", ""][n % 2]));
    assert!(remarks_on(points).contains("read as they stand"));
}

#[test]
fn durations_that_are_left_out_are_named() {
    let times = (0..60).map(|n| format!("{n}:{:02}:{:02}", n * 7 % 60, n * 11 % 60));
    let reason = fate(&beside(times));
    assert!(
        reason.ends_with("; durations? as a number of seconds it is an input"),
        "{reason}"
    );
}

#[test]
fn a_unit_that_all_numbers_have_is_taken_off() {
    let with = |unit: &dyn Fn(u32) -> &'static str| {
        (0..60)
            .map(|n| format!("{n}.5 {}", unit(n)))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        fate(&beside(with(&|_| "km"))),
        "Number, 0.5 .. 59.5, 0 gaps"
    );
    assert_eq!(remarks_on(with(&|_| "km")), "the unit \"km\" is taken off");
    // A cell with none, or with another.
    let one = with(&|n| if n == 7 { "" } else { "km" });
    assert_eq!(fate(&beside(one)), "Number, 0.5 .. 59.5, 0 gaps");
    let mixed = with(&|n| if n == 7 { "m" } else { "km" });
    assert!(fate(&beside(mixed)).starts_with("a row id"));
}
