//! `perennial evaluate` and `init`: models side by side, the picture, classes, and the value of a
//! bandit's policy on decisions of a file and of a journal.

mod credits;
mod mistakes;
mod regression;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::passed_over::pass_over;
use crate::support::{AUTO, Workspace, gradient, order, rows};
use perennial::engine::{Acknowledgement, Offline, PredictOptions};
use perennial::event::{Batch, Column, Feedback, Order, Outputs, Signal};
use perennial::model::Spec;
use serde_json::Value;

const BANDIT: &str = "task = \"bandit\"\nactions = [\"left\", \"right\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n";

/// Runs a command to its end; its stdout and stderr.
fn run(args: &[&str], code: i32) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
    let output = command.args(args).stdin(Stdio::null()).output();
    let output = output.expect("the program runs");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    (stdout, stderr)
}

/// Runs a command that ends with this code, and expects these words on stderr.
fn refused(args: &[&str], code: i32, expected: &str) {
    let (stdout, stderr) = run(args, code);
    assert_eq!(stdout, "", "{args:?}");
    assert!(stderr.contains("error: "), "{stderr}");
    assert!(stderr.contains(expected), "{stderr}, expected {expected}");
}

/// Each line of stdout as an object.
fn objects(args: &[&str]) -> Vec<Value> {
    let (stdout, _) = run(args, 0);
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn file(workspace: &Workspace, name: &str, lines: String) -> PathBuf {
    let path = workspace.data().with_file_name(name);
    fs::write(&path, lines).expect("a file");
    path
}

/// Rows of the fixture as a file.
fn csv(workspace: &Workspace, n_rows: usize) -> PathBuf {
    let mut lines = "x,y,c,target\n".to_owned();
    for (batch, truth) in rows(n_rows, 0.4) {
        let [Column::Numbers(x), Column::Numbers(y), Column::Strings(c)] = &batch.columns[..]
        else {
            panic!("a number, a number and a category")
        };
        lines += &format!("{},{},{},{truth}\n", x[0], y[0], c[0]);
    }
    file(workspace, "rows.csv", lines)
}

/// The fields that do not depend on the machine.
fn result(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().expect("an object");
    for key in ["model", "examples_per_second", "cpu_seconds"] {
        fields.remove(key);
    }
    object
}

#[test]
fn models_side_by_side_are_those_that_run_alone() {
    let (mlp, linear) = (gradient("adamw", "8", "der++"), gradient("sgd", "", "none"));
    let workspace = Workspace::new(&[("auto", AUTO), ("mlp", &mlp), ("linear", &linear)]);
    let rows = csv(&workspace, 600);
    let folders = ["mlp", "auto", "linear"].map(|name| workspace.models().join(name));
    let end = [
        text(&rows),
        "--target",
        "target",
        "--classes",
        "--delay",
        "3",
    ];
    let folders = folders.each_ref().map(|folder| text(folder));
    let together = objects(&[&["evaluate"], &folders[..], &end, &["--json"]].concat());
    assert_eq!(together.len(), 3);
    for (object, folder) in together.iter().zip(folders) {
        let name = object["model"].as_str().expect("a name");
        assert!(folder.ends_with(name), "{name} {folder}");
        let alone = objects(&[&["evaluate", folder], &end[..], &["--json"]].concat());
        assert_eq!(alone.len(), 1);
        assert_eq!(alone[0].get("model"), None);
        assert_eq!(result(object), result(&alone[0]), "{name}");
        let classes = object["classes"].as_object().expect("classes");
        let count = |name: &str| classes[name]["count"].as_u64().expect("a count");
        assert_eq!(count("a") + count("b"), 600);
        let right = |name: &str| {
            let recall = classes[name]["recall"].as_f64().expect("a recall");
            recall * count(name) as f64 / 600.0
        };
        let accuracy = object["progressive_accuracy"].as_f64().expect("a share");
        assert!((right("a") + right("b") - accuracy).abs() < 1e-12);
    }
    let (stdout, _) = run(&[&["evaluate"], &folders[..], &end].concat(), 0);
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("model "), "{stdout}");
    for (line, name) in lines[1..4].iter().zip(["mlp", "auto", "linear"]) {
        assert!(line.starts_with(name), "{line}");
    }
}

#[test]
fn the_picture_has_a_line_for_each_score_each_retention_and_no_change() {
    let workspace = Workspace::new(&[("auto", AUTO), ("net", &gradient("sgd", "", "none"))]);
    let (rows, svg) = (
        csv(&workspace, 300),
        workspace.data().with_file_name("picture.svg"),
    );
    let [auto, net] = ["auto", "net"].map(|name| workspace.models().join(name));
    let mut args = vec!["evaluate", text(&auto), text(&net), text(&rows)];
    args.extend(["--target", "target", "--svg", text(&svg)]);
    for (folder, n_paths) in [(Some(text(&net)), 5), (None, 3)] {
        if folder.is_none() {
            args.retain(|arg| *arg != text(&net));
        }
        run(&args, 0);
        let picture = fs::read_to_string(&svg).expect("a picture");
        assert_eq!(picture.matches("<path ").count(), n_paths, "{picture}");
        assert!(!picture.contains("NaN"), "{picture}");
        assert!(picture.contains(">no change</text>"), "{picture}");
        assert!(picture.contains(">auto, retention</text>"), "{picture}");
    }
    let nowhere = workspace.data().join("no/such/picture.svg");
    *args.last_mut().expect("a path") = text(&nowhere);
    let (_, stderr) = run(&args, 1);
    assert!(stderr.contains("picture.svg: "), "{stderr}");
}

#[test]
fn the_best_member_is_marked() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (rows, folder) = (csv(&workspace, 300), workspace.models().join("m"));
    let (stdout, _) = run(
        &["evaluate", text(&folder), text(&rows), "--target", "target"],
        0,
    );
    let is_member = |line: &&str| line.starts_with("* ") || line.starts_with("  ");
    let members: Vec<&str> = stdout.lines().filter(is_member).collect();
    let score = |line: &str| {
        let mut words = line.trim_start_matches("* ").split_whitespace();
        words.nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert!(members.len() > 3, "{stdout}");
    assert!(members[0].starts_with("* "), "{stdout}");
    assert!(
        members[1..].iter().all(|line| line.starts_with("  ")),
        "{stdout}"
    );
    assert!(
        members.is_sorted_by(|a, b| score(a) >= score(b)),
        "{stdout}"
    );
}

#[test]
fn classes_that_were_never_described_are_let_in() {
    let toml = |classes_max: usize| {
        let open = format!("classes_max = {classes_max}\n[[input]]");
        AUTO.replacen("[[input]]", &open, 1)
    };
    let workspace = Workspace::new(&[("open", &toml(4)), ("closed", &toml(3))]);
    let mut lines = "x,y,c,target\n".to_owned();
    for index in 0..4000 {
        // Two that are described, one that is not, and from half of the rows on a rare one.
        let label = match index % 100 {
            99 if index > 2000 => 3,
            place => place % 3,
        };
        let name = ["a", "b", "new", "rare"][label];
        lines += &format!("{label}.5,{},red,{name}\n", index % 7);
    }
    let rows = file(&workspace, "open.csv", lines);
    let [open, closed] = ["open", "closed"].map(|name| workspace.models().join(name));
    let end = ["--target", "target", "--delay", "5"];
    let args = [&["evaluate", text(&open), text(&rows)], &end[..]].concat();
    let report = objects(&[&args[..], &["--json", "--classes"]].concat()).remove(0);
    let number = |name: &str| report[name].as_f64().expect("a number");
    assert!(number("progressive_accuracy") > 0.98, "{report}");
    assert!(number("last_2000_accuracy") > 0.98, "{report}");
    assert!(report["classes"]["new"]["recall"].as_f64() > Some(0.98));
    assert_eq!(report["classes"]["rare"]["count"], 20);
    // Rare classes are reported without an option.
    let rare = report["rare_classes"].as_object().expect("rare classes");
    assert_eq!(rare.keys().collect::<Vec<_>>(), ["rare"]);
    assert_eq!(rare["rare"]["recall"], report["classes"]["rare"]["recall"]);
    assert!(rare["rare"]["recall"].as_f64() > Some(0.5), "{report}");
    let (stdout, _) = run(&args, 0);
    assert!(stdout.contains("\nrecall of rare "), "{stdout}");
    let args = [&["evaluate", text(&closed), text(&rows)], &end[..]].concat();
    let why = "column \"target\": \"rare\" is not one of the model's classes";
    refused(&[&args[..], &["--strict"]].concat(), 1, why);
    let (_, stderr) = run(&args, 0);
    assert!(stderr.contains("not used: 20 rows"), "{stderr}");
    assert!(stderr.contains(why), "{stderr}");
}

/// Logged decisions of a uniform policy: right is right where x is above zero.
fn logs(workspace: &Workspace, n_rows: usize) -> PathBuf {
    let mut lines = "x,act,p,earned\n".to_owned();
    for (index, (batch, _)) in rows(n_rows, 0.0).enumerate() {
        let Column::Numbers(x) = &batch.columns[0] else {
            panic!("a number")
        };
        let (action, x) = (["left", "right"][index % 2], x[0]);
        let earned = u8::from((x > 0.0) == (action == "right"));
        lines += &format!("{x},{action},0.5,{earned}\n");
    }
    file(workspace, "logs.csv", lines)
}

const DECISIONS: [&str; 6] = ["--action", "act", "--reward", "earned", "--propensity", "p"];

#[test]
fn a_policy_is_valued_on_decisions_of_another() {
    let workspace = Workspace::new(&[]);
    let rows = logs(&workspace, 2000);
    let models = workspace.models();
    let args = [
        &["init", "m", text(&rows), "--models", text(&models)],
        &DECISIONS[..],
    ];
    run(&args.concat(), 0);
    let folder = models.join("m");
    let toml = fs::read_to_string(folder.join("model.toml")).expect("a description");
    let spec = Spec::parse(&toml).expect("it parses");
    assert_eq!(spec.task.names(), ["left", "right"]);
    let inputs: Vec<&str> = spec.inputs.iter().map(|input| &input.name[..]).collect();
    assert_eq!(inputs, ["x"]);
    // A policy that is sure of itself gives weights that can be computed beforehand.
    let greedy = toml + "\n[policy]\nkind = \"greedy\"\n";
    fs::write(folder.join("model.toml"), greedy).expect("a description");
    let args = [
        &["evaluate", text(&folder), text(&rows), "--json"],
        &DECISIONS[..],
    ]
    .concat();
    let report = objects(&args).remove(0);
    let of = &report["off_policy"];
    let number = |name: &str, part: &str| of[name][part].as_f64().expect("a number");
    assert_eq!(of["n"], 2000);
    assert!((number("logged", "value") - 0.5).abs() < 0.05, "{report}");
    for name in ["ips", "snips", "dr"] {
        assert!(number(name, "low") > 0.8, "{name}: {report}");
        assert!(
            number(name, "low") < number(name, "value"),
            "{name}: {report}"
        );
        assert!(number(name, "high") < 1.15, "{name}: {report}");
    }
    let size = of["effective_sample_size"].as_f64().expect("a number");
    assert!((900.0..1100.0).contains(&size), "{report}");
    assert_eq!(of["largest_weight"], 2.0);
    // Delayed feedback values later decisions less well.
    let late = objects(&[&args[..], &["--delay", "1000"]].concat()).remove(0);
    let value = late["off_policy"]["snips"]["value"]
        .as_f64()
        .expect("a number");
    assert!(value < number("snips", "value") - 0.1, "{late}");
    let (stdout, _) = run(
        &args
            .iter()
            .copied()
            .filter(|arg| *arg != "--json")
            .collect::<Vec<_>>(),
        0,
    );
    for name in [
        "logged mean reward",
        "ips",
        "snips",
        "doubly robust",
        "clipped ips",
        "switch dr",
        "effective sample size",
    ] {
        assert!(stdout.contains(&format!("\n{name} ")), "{name}: {stdout}");
    }
}

#[test]
fn a_known_value_lies_within_the_intervals() {
    // The policy that decided takes left four times of five; the model's takes both alike.
    let alike = format!("{BANDIT}[policy]\nkind = \"epsilon\"\nepsilon = 1.0\n");
    let workspace = Workspace::new(&[("m", &alike)]);
    let mut lines = "x,act,p,earned\n".to_owned();
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    for _ in 0..6000 {
        let (action, p, worth) = if uniform() < 0.8 {
            ("left", 0.8, 0.3)
        } else {
            ("right", 0.2, 0.6)
        };
        let earned = u8::from(uniform() < worth);
        lines += &format!("{},{action},{p},{earned}\n", uniform());
    }
    let (rows, folder) = (
        file(&workspace, "skewed.csv", lines),
        workspace.models().join("m"),
    );
    let args = [
        &["evaluate", text(&folder), text(&rows), "--json"],
        &DECISIONS[..],
    ];
    let report = objects(&args.concat()).remove(0);
    for (name, truth) in [
        ("logged", 0.36),
        ("ips", 0.45),
        ("snips", 0.45),
        ("dr", 0.45),
        ("clipped_ips", 0.45),
        ("switch_dr", 0.45),
    ] {
        let of = &report["off_policy"][name];
        let [low, high] = ["low", "high"].map(|end| of[end].as_f64().expect("a number"));
        assert!(low < truth && truth < high, "{name}: {report}");
        assert!(high - low < 0.08, "{name} says something: {report}");
    }
}

#[test]
fn an_effective_sample_below_a_hundredth_of_the_rows_is_warned_of() {
    let alike = format!("{BANDIT}[policy]\nkind = \"epsilon\"\nepsilon = 1.0\n");
    let workspace = Workspace::new(&[("m", &alike)]);
    let noted = |n_rare: usize| {
        let mut lines = "x,act,p,earned\n".to_owned();
        for row in 0..8_000 {
            let p = if row % 100 == 7 && row / 100 < n_rare {
                0.0005
            } else {
                1.0
            };
            lines += &format!("{},left,{p},{}\n", row % 10, row % 2);
        }
        let (rows, folder) = (
            file(&workspace, "rare.csv", lines),
            workspace.models().join("m"),
        );
        let args = [
            &["evaluate", text(&folder), text(&rows), "--json"],
            &DECISIONS[..],
        ];
        let (stdout, stderr) = run(&args.concat(), 0);
        let report: Value = serde_json::from_str(stdout.trim()).expect("an object");
        let of = &report["off_policy"];
        let clipped = of["clipped_ips"]["value"].as_f64().expect("a number");
        let size = of["effective_sample_size"].as_f64().expect("a number");
        (
            size,
            clipped,
            stderr.contains("rarely takes the logged actions"),
        )
    };
    let (size, clipped, is_warned) = noted(60);
    assert!((30.0..80.0).contains(&size) && is_warned, "{size}");
    assert!(clipped < 1.0, "{clipped}");
    let (size, _, is_warned) = noted(0);
    assert!(size > 7_000.0 && !is_warned, "{size}");
}

/// Serves decisions one after the other, each with its reward; what was earned.
async fn serve(workspace: &Workspace, n_rows: usize) -> f64 {
    let engine = workspace.open();
    let model = engine.model("m").expect("it is served");
    let mut earned = 0.0;
    for (index, (batch, _)) in rows(n_rows, 0.0).enumerate() {
        let Column::Numbers(x) = &batch.columns[0] else {
            panic!("a number")
        };
        let is_right = x[0] > 0.0;
        let batch = Batch {
            n_rows: 1,
            columns: vec![batch.columns[0].clone()],
        };
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model
            .predict(&snapshot, batch, PredictOptions::default())
            .await
            .unwrap();
        let Outputs::Actions { chosen, .. } = &answer.outputs else {
            panic!("a decision")
        };
        let reward = f64::from(u8::from(is_right == (chosen[0] == 1)));
        earned += reward;
        // The second reward of a decision counts for nothing.
        for (nth, reward) in [reward, 5.0].into_iter().enumerate() {
            let feedback = Feedback {
                signal: Signal::Reward(reward),
                ..crate::support::label(answer.ids[0], &format!("{index}-{nth}"), "")
            };
            let receipt = model.accept(feedback).expect("there is room");
            match receipt.wait().await.expect("acknowledged") {
                Acknowledgement::Accepted { position } => {
                    model.wait_for_position(position).await.expect("learned");
                }
                other => panic!("it came before: {other:?}"),
            }
        }
        if index + 1 == n_rows / 2 {
            order(model, Order::Checkpoint).await;
        }
    }
    let locked = Offline::open(&workspace.data(), "m").expect_err("a server has it open");
    assert!(
        locked.to_string().contains("another process holds"),
        "{locked}"
    );
    engine.close();
    earned
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_valued_on_what_a_server_journaled() {
    let workspace = Workspace::new(&[("m", BANDIT)]);
    let earned = serve(&workspace, 200).await;
    let (folder, journal) = (workspace.models().join("m"), workspace.data().join("m"));
    let args = [
        "evaluate",
        text(&folder),
        "--journal",
        text(&journal),
        "--json",
    ];
    let report = objects(&args).remove(0);
    let of = &report["off_policy"];
    assert_eq!(of["n"], 200);
    let logged = of["logged"]["value"].as_f64().expect("a number");
    assert!((logged - earned / 200.0).abs() < 1e-12, "{report}");
    // The policy is the one that decided, and it learned the same.
    assert_eq!(of["ips"], of["logged"], "{report}");
    assert_eq!(of["effective_sample_size"], 200.0);

    let journal_of = ["evaluate", "--journal", text(&journal), "--version"];
    let version = |more: &[&str]| objects(&[&journal_of[..], more, &["--json"]].concat()).remove(0);
    let all = version(&["2"]);
    assert_eq!(
        (&all["examples"], &all["learned_before"]),
        (&200.into(), &100.into())
    );
    let unseen = version(&["2", "--unseen"]);
    assert_eq!(
        (&unseen["examples"], &unseen["learned_before"]),
        (&100.into(), &0.into())
    );
    // Under the folder's description it is the same state.
    let described = objects(
        &[
            &["evaluate", text(&folder)],
            &journal_of[1..],
            &["2", "--json"],
        ]
        .concat(),
    );
    assert_eq!(result(&described[0]), result(&all));
    let (_, stderr) = run(&[&journal_of[..], &["2"]].concat(), 0);
    assert!(
        stderr.contains("100 of 200 decisions came before this version"),
        "{stderr}"
    );

    refused(
        &[&journal_of[..], &["9"]].concat(),
        1,
        "no version 9; it has 1, 2",
    );
    let nobody = workspace.data().join("nobody");
    let args = ["evaluate", text(&folder), "--journal", text(&nobody)];
    refused(&args, 1, "but of: m");
    workspace.describe("other", &BANDIT.replace("\"x\"", "\"z\""));
    let other = workspace.models().join("other");
    let args = ["evaluate", text(&other), "--journal", text(&journal)];
    refused(&args, 1, "input: \"z\" is not in the journal");
    refused(
        &["evaluate", "--journal", text(&journal)],
        2,
        "needs a model folder",
    );
}

#[test]
fn the_open_bandit_sample_is_valued() {
    let near = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("PERENNIAL_DATA").map_or_else(near, PathBuf::from);
    let file = folder.join("open_bandit_random_men.csv.gz");
    if !file.exists() {
        return pass_over(&format!("no {}; set PERENNIAL_DATA", file.display()));
    }
    let workspace = Workspace::new(&[]);
    let (models, model) = (workspace.models(), workspace.models().join("shop"));
    let columns = ["--action", "item_id", "--reward", "click"];
    let end = [&columns[..], &["--propensity", "propensity_score"]].concat();
    let args = [
        &["init", "shop", text(&file), "--models", text(&models)],
        &end[..],
    ];
    run(&args.concat(), 0);
    let toml = fs::read_to_string(model.join("model.toml")).expect("a description");
    let spec = Spec::parse(&toml).expect("it parses");
    assert_eq!(spec.task.names().len(), 34);
    let is_reserved = |name: &str| ["item_id", "click", "propensity_score"].contains(&name);
    assert!(!spec.inputs.iter().any(|input| is_reserved(&input.name)));
    let args = [&["evaluate", text(&model), text(&file), "--json"], &end[..]];
    let report = objects(&args.concat()).remove(0);
    let of = &report["off_policy"];
    assert_eq!(of["n"], 10_000);
    let logged = of["logged"]["value"].as_f64().expect("a number");
    assert!((logged - 0.0046).abs() < 1e-12, "{report}");
    for name in ["ips", "snips", "dr"] {
        let [value, low, high] = ["value", "low", "high"].map(|part| of[name][part].as_f64());
        assert!(low < value && value < high, "{name}: {report}");
        assert!(low < Some(0.02) && high > Some(0.0), "{name}: {report}");
    }
}
