//! Files of rows and of feedback that cannot be used as they are, and models whose `[rows]` say how files
//! are read: the sentence, the exit code, and the rows learned all the same.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::server::{Server, ended, program, refused, run, text};
use crate::support::{AUTO, Workspace};
use serde_json::Value;

fn file(workspace: &Workspace, name: &str, lines: &str) -> PathBuf {
    let path = workspace.data().with_file_name(name);
    fs::write(&path, lines).expect("a file of rows");
    path
}

const REGRESSION: &str = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n";

#[test]
fn a_file_of_which_no_row_can_be_used_is_an_error() {
    let workspace = Workspace::new(&[("m", REGRESSION)]);
    let bad = file(&workspace, "bad.csv", "x,target\none,1\ntwo,2\n");
    let none = file(&workspace, "none.csv", "x,target\n");
    let folder = workspace.models().join("m");
    let why = "bad.csv: no row of it can be used: not used: 2 rows, column \"x\": not a finite number; \
               the first: ";
    let evaluate = |rows| ["evaluate", text(&folder), rows, "--target", "target"];
    refused(&evaluate(text(&bad)), why);
    refused(&evaluate(text(&none)), "none.csv: no rows");
    let server = Server::of(&workspace);
    let stream = |rows| ["stream", "m", rows, "--target", "target"];
    server.refuses(&stream(text(&bad)), why);
    server.refuses(&[&stream(text(&bad))[..], &["--open"]].concat(), why);
    server.refuses(&stream(text(&none)), "none.csv: no rows");
    server.refuses(&["predict", "m", "--file", text(&bad)], why);
    server.refuses(
        &["predict", "m", "--file", text(&none)],
        "none.csv: no rows",
    );
    server.stop();
    // A row that can be used is enough, and so is to ask for none.
    let one = file(&workspace, "one.csv", "x,target\none,1\n2,2\n");
    run(&evaluate(text(&one)), 0);
    run(&[&evaluate(text(&none))[..], &["--limit", "0"]].concat(), 0);
}

#[test]
fn a_target_that_is_an_input_is_refused() {
    let workspace = Workspace::new(&[("m", REGRESSION)]);
    let rows = file(&workspace, "rows.csv", "x,target\n1,1\n2,2\n");
    let folder = workspace.models().join("m");
    let why = "--target \"x\": the model sees it as its input \"x\"";
    let (rows, folder) = (text(&rows), text(&folder));
    refused(&["evaluate", folder, rows, "--target", "x"], why);
    let server = Server::of(&workspace);
    server.refuses(&["stream", "m", rows, "--target", "x"], why);
    server.stop();
}

#[test]
fn what_serves_nothing_is_named() {
    let workspace = Workspace::new(&[("m", REGRESSION)]);
    let (models, data) = (workspace.models(), workspace.data());
    let folder = models.join("m");
    let around = format!("--models {}", text(&models));
    let of_one = ["serve", "--models", text(&folder), "--data", text(&data)];
    refused(&of_one, &around);
    let listens = ["serve", "--models", text(&models), "--listen", "8001"];
    refused(&listens, "--listen 8001: expected HOST:PORT");
}

#[test]
fn a_folder_without_a_model_is_served_with_a_warning() {
    let workspace = Workspace::new(&[]);
    fs::create_dir_all(workspace.models()).expect("a folder");
    let log = workspace.data().with_file_name("log");
    let written = fs::File::create(&log).expect("a log");
    let server = Server::logging(&workspace.models(), &workspace.data(), written.into());
    server.stop();
    let log = fs::read_to_string(&log).expect("a log");
    let warning =
        "nothing to serve: no folder with a model.toml in it; `perennial init` drafts one";
    assert!(log.contains("WARN") && log.contains(warning), "{log}");
}

#[test]
fn stray_arguments_and_numbers_that_are_none_are_misuse() {
    let workspace = Workspace::new(&[("m", REGRESSION)]);
    let rows = file(&workspace, "rows.csv", "x,target\n1,2\n2,4\n");
    let (models, folder) = (workspace.models(), workspace.models().join("m"));
    let (rows, models, folder) = (text(&rows), text(&models), text(&folder));
    let check = |args: &[&str], expected: &str| {
        let (stdout, stderr) = run(args, 2);
        assert_eq!(stdout, "", "{args:?}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    };
    let given = format!("{models}: the folder of models is given by --models {models}");
    check(&["serve", models], &given);
    check(
        &["init", "n", rows, "target"],
        "\"target\": name the column to predict by --target \"target\"",
    );
    check(&["evaluate", folder, rows, "target"], "--target <COLUMN>");
    let stream = ["stream", "m", rows, "--target", "target"];
    check(
        &[&stream[..], &["more"]].concat(),
        "unexpected argument 'more'",
    );
    check(&["predict", "m", rows], "unexpected argument");
    let n_rows = "expected a number of rows: a whole number, 0 or more";
    let evaluate = ["evaluate", folder, rows, "--target", "target"];
    for option in ["--limit", "--delay"] {
        for value in ["-1", "x", "1e3", "1.5"] {
            check(&[&evaluate[..], &[option, value]].concat(), n_rows);
            check(&[&stream[..], &[option, value]].concat(), n_rows);
        }
    }
    let version = "expected the number of a version, as `perennial versions` lists them";
    check(&["restore", "m", "newest"], version);
    check(&["show", "m", "v2"], version);
}

#[test]
fn a_model_that_exists_is_told_before_a_file_is_read() {
    let workspace = Workspace::new(&[("m", REGRESSION)]);
    let models = workspace.models();
    let init = [
        "init",
        "m",
        "no-such.csv",
        "--target",
        "y",
        "--models",
        text(&models),
    ];
    refused(
        &init,
        "model.toml: the model exists; remove it, or choose another name",
    );
}

#[test]
fn a_draft_that_fails_says_which_rows_were_not_used() {
    let workspace = Workspace::new(&[]);
    let models = workspace.models();
    // A comma in a label without quotes divides it.
    let lines = rows(&|n| format!("{},{}\n", n % 7, ["Yes, sure", "No"][n % 2]));
    let path = file(&workspace, "asked.csv", &format!("x,y\n{lines}"));
    let init = [
        "init",
        "m",
        text(&path),
        "--target",
        "y",
        "--models",
        text(&models),
    ];
    refused(
        &init,
        "target \"y\" is \"No\" in every row, which leaves nothing to learn; not used: 30 rows, another \
         number of fields than 2",
    );
}

#[test]
fn refused_feedback_is_counted_and_the_stream_goes_on_with_and_without_waiting() {
    let workspace = Workspace::new(&[("m", REGRESSION)]);
    // Every third event is of a time to come, which no feedback has.
    let row = |n: usize| {
        let year = if n % 3 == 2 { 2400 } else { 2020 };
        format!("{n},{year}-01-01,{}\n", 2 * n)
    };
    let rows: String = (0..30).map(row).collect();
    let rows = file(&workspace, "rows.csv", &format!("x,at,target\n{rows}"));
    let server = Server::of(&workspace);
    for (name, mode) in [("closed", None), ("open", Some("--open"))] {
        let mut args = vec!["stream", "m", text(&rows), "--target", "target"];
        args.extend(["--backfill", name, "--time", "at"]);
        args.extend(mode);
        let report = server.json(&args);
        assert_eq!(
            (&report["examples"], &report["unusable_rows"]),
            (&30.into(), &10.into()),
            "{name}: {report}"
        );
        args.push("--strict");
        server.refuses(&args, "feedback for line 4: ");
    }
    // Of both runs the others were learned.
    assert_eq!(server.json(&["status", "m"])["examples"], 40);
    server.stop();
}

#[test]
fn feedback_that_is_no_json_lines_is_refused_as_a_whole() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    let table = file(&workspace, "labels.csv", "prediction_id,label\n0190,a\n");
    let array = file(&workspace, "labels.json", "[{\"label\": \"a\"}]\n");
    let feedback = |path| ["feedback", "m", "--file", path];
    server.refuses(
        &feedback(text(&table)),
        "labels.csv: no JSON object in the first line, expected JSON lines; a table of rows and targets \
         is sent by `perennial stream m ROWS --target COLUMN`",
    );
    server.refuses(
        &feedback(text(&array)),
        "labels.json: a JSON array, expected JSON lines, an object a line, as by `jq -c '.[]'`",
    );
    server.stop();
}

#[test]
fn what_rows_says_of_no_column_is_refused_with_the_nearest() {
    let with = |rows: &str| format!("{REGRESSION}[rows]\n{rows}\n");
    let models = [
        ("wrong", with("sentinels = { tarqet = [\"-200\"] }")),
        ("right", with("sentinels = { target = [\"-200\"] }")),
        ("unit", with("units = { tarqet = \"km\" }")),
        ("constant", with("constants = { y = \"1\" }")),
    ];
    let models = models.each_ref().map(|(name, toml)| (*name, toml.as_str()));
    let workspace = Workspace::new(&models);
    let rows = file(&workspace, "rows.csv", "x,target\n1,2\n2,-200\n3,6\n");
    let evaluate = |name: &str| {
        let folder = workspace.models().join(name);
        let args = ["evaluate", text(&folder), text(&rows), "--target", "target"];
        args.map(str::to_owned)
    };
    let check = |name: &str, expected: &str| {
        let args = evaluate(name);
        refused(&args.each_ref().map(String::as_str), expected);
    };
    check(
        "unit",
        "[rows] of model.toml has a unit of \"tarqet\", and there is no such column; the nearest is \
         \"target\"",
    );
    check(
        "wrong",
        "[rows] of model.toml has sentinels of \"tarqet\", and there is no such column; the nearest is \
         \"target\"",
    );
    check(
        "constant",
        "[rows] of model.toml has a constant for \"y\", and the model has no such input; the nearest is \
         \"x\"",
    );
    let args = evaluate("right");
    let args = [&args.each_ref().map(String::as_str)[..], &["--json"]].concat();
    let (stdout, _) = run(&args, 0);
    let report: Value = serde_json::from_str(&stdout).expect("an object");
    assert_eq!(
        (&report["examples"], &report["rows_without_target"]),
        (&2.into(), &1.into())
    );
}

/// Drafts a model for `y`, expects these words on the screen and in the file, and evaluates it.
fn check_draft(name: &str, lines: &str, screen: &[&str], toml: &[&str]) {
    let workspace = Workspace::new(&[]);
    let rows = file(&workspace, name, lines);
    let models = workspace.models();
    let init = [
        "init",
        "m",
        text(&rows),
        "--models",
        text(&models),
        "--target",
        "y",
    ];
    let (stdout, stderr) = run(&init, 0);
    for words in screen {
        assert!(stderr.contains(words), "{name}: {words}: {stderr}");
    }
    let written = fs::read_to_string(stdout.trim()).expect("a description");
    for words in toml {
        assert!(written.contains(words), "{name}: {words}: {written}");
    }
    // The draft is taken.
    let folder = models.join("m");
    run(
        &["evaluate", text(&folder), text(&rows), "--target", "y"],
        0,
    );
}

fn rows(row: &dyn Fn(usize) -> String) -> String {
    (0..60).map(row).collect()
}

#[test]
fn what_few_whole_numbers_are_is_said_with_the_way_to_the_other_task() {
    let amount = |n: usize| match n * 7 % 60 {
        0..30 => 0,
        30..45 => 1,
        45..53 => 2,
        53..58 => 3,
        _ => 4,
    };
    let counts = rows(&|n| format!("{},{}\n", n % 7, amount(n)));
    let hint = "few and whole, as amounts are; --task classification if they are names";
    let counts = format!("x,y\n{counts}");
    check_draft(
        "counts.csv",
        &counts,
        &[hint],
        &["task = \"regression\"", hint],
    );
    let codes = rows(&|n| format!("{},{}\n", n % 7, n % 5));
    let hint = "taken as names; --task regression if they are amounts";
    let codes = format!("x,y\n{codes}");
    check_draft(
        "codes.csv",
        &codes,
        &[hint],
        &["task = \"classification\"", hint],
    );
    let late = |n: usize| ["a", "b", "c"][if n > 50 { 2 } else { n % 2 }];
    let late = rows(&|n| format!("{},{}\n", n % 7, late(n)));
    let room = "classes_max leaves room for more";
    check_draft(
        "late.csv",
        &format!("x,y\n{late}"),
        &[room],
        &["# classes_max = 16"],
    );
}

#[test]
fn whole_numbers_of_more_digits_than_a_number_keeps_are_codes() {
    let hint =
        "whole numbers of more digits than a number keeps are read as codes; --as \"code=number\"";
    let category = ["kind = \"category\"", hint];
    let code = |n: usize| 1_234_567_890_123_456_700 + (n % 9) * 7;
    let csv = rows(&|n| format!("{},{},{}\n", code(n), n % 7, n % 2));
    check_draft("codes.csv", &format!("code,x,y\n{csv}"), &[hint], &category);
    let json = rows(&|n| {
        format!(
            "{{\"code\":{}0{},\"x\":{},\"y\":\"{}\"}}\n",
            code(n),
            n % 3,
            n % 7,
            n % 2
        )
    });
    check_draft("codes.jsonl", &json, &[hint], &category);
}

#[test]
fn percentages_stray_dates_and_a_title_are_said() {
    let shares = rows(&|n| format!("{}%,{},{}\n", n % 9, n % 7, n % 2));
    let shares = format!("share,x,y\n{shares}");
    let sentence = "12% is 12, and 0.12 under";
    check_draft(
        "shares.csv",
        &shares,
        &[sentence],
        &["percent = \"points\""],
    );
    let dates = rows(&|n| match n {
        11 | 23 | 41 => format!("open,{},{}\n", n % 7, n % 2),
        n => format!(
            "{:02}/{:02}/2024,{},{}\n",
            1 + n % 28,
            1 + n / 28,
            n % 7,
            n % 2
        ),
    });
    let sentence = "3 cells are no dates and are taken as gaps: \"open\" (3)";
    let dates = format!("due,x,y\n{dates}");
    check_draft(
        "dates.csv",
        &dates,
        &[sentence],
        &["missing = \"mean\"", sentence],
    );
    let table = rows(&|n| format!("{},{}\n", n % 7, n % 2));
    let sentence = "the header is line 3: the lines before it are no rows";
    let titled = format!("Sales of May\n\nx,y\n{table}");
    check_draft("title.csv", &titled, &[sentence], &["name = \"x\""]);
}

#[test]
fn standard_input_is_read_as_a_file_is() {
    let workspace = Workspace::new(&[("m", REGRESSION)]);
    let folder = workspace.models().join("m");
    let lines: String = (0..50).map(|n| format!("{n},{}\n", 3 * n)).collect();
    let csv = format!("x,target\n{lines}");
    let objects = |n: usize| format!("{{\"x\":{n},\"target\":{}}}\n", 3 * n);
    let json: String = (0..50).map(objects).collect();
    let rows = file(&workspace, "rows.csv", &csv);
    let of = |rows: &str, stdin: Option<&str>| {
        let args = [
            "evaluate",
            text(&folder),
            rows,
            "--target",
            "target",
            "--json",
        ];
        let mut command = program(&args);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut pipe = child.stdin.take().expect("it is piped");
        pipe.write_all(stdin.unwrap_or_default().as_bytes())
            .expect("it reads");
        drop(pipe);
        let output = ended(child);
        assert_eq!(output.status.code(), Some(0));
        let report: Value = serde_json::from_slice(&output.stdout).expect("an object");
        (
            report["examples"].clone(),
            report["mean_absolute_error"].clone(),
        )
    };
    let of_file = of(text(&rows), None);
    assert_eq!(of_file.0, 50);
    assert_eq!(of("-", Some(&csv)), of_file);
    assert_eq!(of("-", Some(&json)), of_file);
}
