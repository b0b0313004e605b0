//! Two versions on the same rows: the outcome is the exit status, and rows that one has learned are none.
//!
//! Invariant: the program is run as people run it, on the data of an engine that has stopped.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use perennial::engine::{
    Acknowledgement, Disposal, PredictOptions, RetractionRequest, ServedModel,
};
use perennial::event::{Batch, Column, Feedback, Order, Outputs, Selector, Signal};
use serde_json::Value;

use crate::support::server::{program, run, text};
use crate::support::{Workspace, label, order, overwrite, rows, syncing_nothing, teach, wait};

/// A class for each of twenty categories, learned by a small network whose gate and cadence make no
/// versions.
const SMALL: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"c\"\nkind = \"category\"\n\
    [network]\nkind = \"linear\"\n\
    [learner]\nkind = \"gradient\"\noptimizer = \"adamw\"\nlearning_rate = 0.2\n\
    [memory]\nstrategy = \"none\"\n";
const QUIET: &str = "[publish]\nevery_examples = 1000000\nscore_every = 1000\nalpha = 0.000001\n\
    [versions]\nevery_examples = 1000000\n";
const CATEGORIES: usize = 20;

fn small() -> String {
    format!("{SMALL}{QUIET}")
}

/// Rows that each have a number of their own, and their classes: one category of twenty is of the other
/// class where the rule is turned, which costs five points of accuracy.
fn categories(n_rows: usize, seed: u64, is_turned: bool) -> Vec<(Batch, &'static str)> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    let row = |_| {
        let (x, category) = (
            draw() as f64 / (1u64 << 53) as f64,
            draw() as usize % CATEGORIES,
        );
        let is_a = (category % 2 == 0) != (is_turned && category == 0);
        let columns = vec![
            Column::Numbers(vec![x]),
            Column::Strings(vec![format!("kind-{category}")]),
        ];
        (Batch { n_rows: 1, columns }, if is_a { "a" } else { "b" })
    };
    (0..n_rows).map(row).collect()
}

async fn teach_all(model: &ServedModel, rows: Vec<(Batch, &'static str)>, prefix: &str) {
    for (index, (batch, truth)) in rows.into_iter().enumerate() {
        teach(model, batch, truth, &format!("{prefix}-{index}")).await;
    }
}

/// The exit status, and the object that was printed.
fn compare(workspace: &Workspace, args: &[&str], status: i32) -> Value {
    let data = workspace.data();
    let all = [&["compare", "m"], args, &["--data", text(&data), "--json"]].concat();
    let (stdout, stderr) = run(&all, status);
    assert_eq!(stderr, "", "{args:?}");
    serde_json::from_str(&stdout).expect("an object")
}

/// Nothing is compared, for this reason.
fn refused(workspace: &Workspace, args: &[&str], expected: &str) {
    let data = workspace.data();
    let all = [&["compare", "m"], args, &["--data", text(&data)]].concat();
    let (stdout, stderr) = run(&all, 2);
    assert_eq!(stdout, "", "{args:?}");
    assert!(stderr.contains(expected), "{args:?}: {stderr}");
    assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
}

/// Version 2 answers well, version 3 five points worse, version 4 well again; then `n_rows` labels come.
fn planted(toml: &str, n_rows: usize) -> Workspace {
    let workspace = Workspace::new(&[("m", toml)]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").expect("a model");
    wait(async {
        teach_all(model, categories(500, 1, false), "good").await;
        order(model, Order::Checkpoint).await;
        teach_all(model, categories(600, 2, true), "turned").await;
        order(model, Order::Checkpoint).await;
        teach_all(model, categories(600, 3, false), "back").await;
        order(model, Order::Checkpoint).await;
        teach_all(model, categories(n_rows, 4, false), "new").await;
    });
    engine.close();
    drop(engine);
    workspace
}

#[test]
fn the_exit_status_says_whether_the_second_passes() {
    let workspace = planted(&small(), 1500);
    let alpha = ["--alpha", "0.05"];
    let worse = compare(&workspace, &[&["2", "3"], &alpha[..]].concat(), 1);
    assert_eq!(worse["outcome"], "worse", "{worse}");
    assert_eq!(worse["margin"], 0.01, "{worse}");
    let points = [&worse["score"]["a"], &worse["score"]["b"]].map(|one| one.as_f64().unwrap());
    let lost = points[0] - points[1];
    assert!((0.03..0.08).contains(&lost), "{worse}");
    let low = worse["difference_low"].as_f64().unwrap();
    assert!(
        low > 0.01 && worse["difference"].as_f64().unwrap() >= low,
        "{worse}"
    );
    // It was labelled behind version 3 alone.
    assert_eq!(worse["rows"], 600 + 1500, "{worse}");
    assert_eq!(worse["left_out"]["learned"], 500 + 600, "{worse}");

    let better = compare(&workspace, &[&["3", "4"], &alpha[..]].concat(), 0);
    assert_eq!(better["outcome"], "passes", "{better}");
    assert!(
        better["difference_high"].as_f64().unwrap() < 0.0,
        "{better}"
    );
    assert_eq!(better["rows"], 1500, "{better}");
    let wide = ["2", "3", "--margin", "0.2", "--alpha", "0.05"];
    assert_eq!(compare(&workspace, &wide, 0)["outcome"], "passes");
    let equal = compare(&workspace, &["2", "2", "--margin", "0.05"], 0);
    assert_eq!(equal["difference"], 0.0, "{equal}");
    let strict = compare(&workspace, &["2", "2", "--margin", "0"], 3);
    assert_eq!(strict["outcome"], "no_evidence", "{strict}");

    // For people the same, with the excluded rows.
    let data = workspace.data();
    let (shown, _) = run(&["compare", "m", "2", "3", "--data", text(&data)], 1);
    let parts = [
        "version 2 and version 3 on 2100 rows of the journal; left out: 1100",
        "accuracy",
        "worse: version 3 is worse than version 2 by more than 0.01",
    ];
    for part in parts {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn too_few_rows_are_no_evidence() {
    let workspace = planted(&small(), 12);
    let few = compare(&workspace, &["3", "4"], 3);
    assert_eq!(
        (&few["outcome"], &few["rows"]),
        (&"no_evidence".into(), &12.into())
    );
    let engine = workspace.open_on(syncing_nothing());
    wait(order(engine.model("m").unwrap(), Order::Checkpoint));
    engine.close();
    drop(engine);
    let none = compare(&workspace, &["4", "5"], 3);
    assert_eq!(none["rows"], 0, "{none}");
    assert_eq!(none["score"]["a"], Value::Null, "{none}");
    assert_eq!(none["left_out"]["learned"], 1712, "{none}");
}

/// The weights that a version was saved with.
fn weights_of(workspace: &Workspace, version: u64) -> PathBuf {
    let folder = workspace.data().join("m/checkpoints");
    let found = fs::read_dir(folder).unwrap().map(|one| one.unwrap().path());
    let found = found.filter(|path| {
        let manifest = fs::read(path.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["version"] == version && manifest["reason"] != "stop"
    });
    let folder = found.last().expect("a checkpoint");
    folder.join("weights.safetensors")
}

#[test]
fn a_description_and_a_file_of_weights_stand_beside_a_version() {
    let workspace = planted(&small(), 700);
    let own = workspace.models().join("m/model.toml");
    // The state that the same description leads to at the same position is the version.
    let same = compare(&workspace, &["3", text(&own), "--margin", "0.05"], 0);
    assert_eq!(
        (&same["difference"], &same["rows"]),
        (&0.0.into(), &1300.into())
    );
    workspace.describe(
        "slow",
        &small().replace("learning_rate = 0.2", "learning_rate = 0.00001"),
    );
    let slow = workspace.models().join("slow/model.toml");
    let worse = compare(&workspace, &["2", text(&slow), "--alpha", "0.05"], 1);
    assert_eq!(worse["rows"], 1900, "{worse}");
    assert_eq!(worse["b"], text(&slow), "{worse}");
}

#[test]
fn a_file_of_weights_stands_beside_the_version_whose_network_it_is_for() {
    let numbers = SMALL.replace("\"c\"\nkind = \"category\"", "\"c\"\nkind = \"number\"");
    let workspace = Workspace::new(&[("m", &format!("{numbers}{QUIET}"))]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").expect("a model");
    let sides = |n_rows, turn| {
        let rows = rows(n_rows, turn).map(|(mut batch, truth)| {
            batch.columns.truncate(2);
            (batch, truth)
        });
        rows.collect::<Vec<_>>()
    };
    wait(async {
        teach_all(model, sides(300, 1.5), "turned").await;
        order(model, Order::Checkpoint).await;
        teach_all(model, sides(300, 0.0), "good").await;
        order(model, Order::Checkpoint).await;
        teach_all(model, sides(500, 0.0), "new").await;
    });
    engine.close();
    drop(engine);
    let weights = weights_of(&workspace, 3);
    let args = ["3", text(&weights), "--margin", "0.05"];
    let same = compare(&workspace, &args, 0);
    assert_eq!(
        (&same["difference"], &same["rows"]),
        (&0.0.into(), &500.into())
    );
    let weights = weights_of(&workspace, 2);
    let turned = compare(&workspace, &["3", text(&weights), "--alpha", "0.05"], 1);
    assert_eq!(turned["outcome"], "worse", "{turned}");
    // Under version 2 the rows are of two worlds, and its own weights are as good as they are.
    let own = compare(&workspace, &["2", text(&weights), "--margin", "0.05"], 0);
    assert_eq!(own["rows"], 800, "{own}");
    let other = planted(&small(), 10);
    refused(&other, &["2", text(&weights)], "weights: ");
}

/// A file of rows and their labels.
fn csv(workspace: &Workspace, name: &str, rows: &[(Batch, &str)], header: &str) -> PathBuf {
    let mut lines = format!("{header}\n");
    for (batch, truth) in rows {
        let [Column::Numbers(x), Column::Strings(c)] = &batch.columns[..] else {
            panic!("a number and a category")
        };
        writeln!(lines, "{},{},{truth}", x[0], c[0]).expect("a string takes it");
    }
    let path = workspace.data().with_file_name(name);
    fs::write(&path, lines).expect("a file of rows");
    path
}

#[test]
fn rows_of_a_file_that_a_version_has_learned_are_left_out() {
    let workspace = planted(&small(), 10);
    // Rows that were taught, and others.
    let rows = [
        categories(500, 1, false),
        categories(600, 2, true),
        categories(1500, 5, false),
    ]
    .concat();
    let file = csv(&workspace, "rows.csv", &rows, "x,c,target");
    let args = [
        "2",
        "3",
        text(&file),
        "--target",
        "target",
        "--alpha",
        "0.05",
    ];
    let worse = compare(&workspace, &args, 1);
    assert_eq!(worse["left_out"]["learned"], 1100, "{worse}");
    assert_eq!(worse["rows"], 1500, "{worse}");
    let own = workspace.models().join("m/model.toml");
    let args = [
        "2",
        text(&own),
        text(&file),
        "--target",
        "target",
        "--margin",
        "0.05",
    ];
    assert_eq!(compare(&workspace, &args, 0)["left_out"]["learned"], 500);
    refused(
        &workspace,
        &["2", "3", text(&file)],
        "--target names the column",
    );
    let other = csv(&workspace, "other.csv", &rows[..5], "x,z,target");
    let args = ["2", "3", text(&other), "--target", "target"];
    refused(&workspace, &args, "no column \"c\"");
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    overwrite(path, &bytes);
}

#[test]
fn p9_what_cannot_be_compared_is_refused_in_a_sentence() {
    let workspace = planted(&small(), 10);
    let check = |args: &[&str], expected: &str| refused(&workspace, args, expected);
    for (given, range) in [
        ("0", "larger than 0"),
        ("1", "at most 0.5"),
        ("NaN", "larger than 0"),
    ] {
        check(&["2", "3", "--alpha", given], range);
    }
    for given in ["-0.1", "0.6", "NaN", "inf"] {
        check(&["2", "3", "--margin", given], "margin: ");
        check(
            &["2", "3", "--margin", given],
            "expected a number from 0 to 0.5",
        );
    }
    check(
        &["2", "9"],
        "model \"m\" has no version 9; it has 1, 2, 3, 4",
    );
    check(&["9", "2"], "has no version 9");
    check(
        &["2", "next"],
        "\"next\" is neither a version's number, nor champion, nor an alias",
    );
    check(&["2", "nowhere.toml"], "nowhere.toml");
    check(&["2", "nowhere.safetensors"], "nowhere.safetensors");
    workspace.describe("other", &small().replace("\"b\"]", "\"c\"]"));
    let other = workspace.models().join("other/model.toml");
    check(
        &["2", text(&other)],
        "classes: \"b\" is one of version 2 and not of",
    );
    workspace.describe("more", &small().replace("\"b\"]", "\"b\", \"c\"]"));
    let more = workspace.models().join("more/model.toml");
    check(&["2", text(&more)], "classes: \"c\" is one of");
    let value = small().replace("classification", "regression");
    let value = value.replace("classes = [\"a\", \"b\"]\n", "");
    workspace.describe("value", &value);
    let value = workspace.models().join("value/model.toml");
    check(&["2", text(&value)], "task: ");
    let empty = Workspace::new(&[]).data();
    let (_, stderr) = run(&["compare", "m", "1", "1", "--data", text(&empty)], 2);
    assert!(stderr.starts_with("error: "), "{stderr}");
    damage(&weights_of(&workspace, 3));
    check(&["2", "3"], "version 3 cannot be read: ");
}

#[test]
fn a_version_that_holds_retracted_feedback_is_not_compared() {
    let workspace = planted(&small(), 20);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    let retract = |selector| {
        let (actor, note) = Default::default();
        let disposal = Disposal::Keep;
        wait(model.retract(RetractionRequest {
            selector,
            actor,
            note,
            disposal,
        }))
    };
    // Its label counts nowhere either.
    retract(Selector::FeedbackId("new-3".to_owned())).expect("it is taken back");
    retract(Selector::FeedbackId("turned-3".to_owned())).expect("it is taken back");
    engine.close();
    drop(engine);
    refused(&workspace, &["2", "3"], "version 3 holds");
    let clean = compare(&workspace, &["1", "2"], 0);
    assert_eq!(clean["rows"], 600 + 600 + 20 - 2, "{clean}");
}

const VALUES: &str = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n";

/// Teaches values that swing, each about the row that is asked before it.
async fn teach_values(model: &ServedModel, from: usize, to: usize) {
    for index in from..to {
        let x = (index % 7) as f64;
        let batch = Batch {
            n_rows: 1,
            columns: vec![Column::Numbers(vec![x])],
        };
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        let answer = answer.await.expect("an answer");
        let value = 10.0 * (index as f64 / 8.0).sin() + 0.1 * x;
        let feedback = Feedback {
            signal: Signal::Value(value),
            ..label(answer.ids[0], &format!("value-{index}"), "")
        };
        let receipt = model.accept(feedback).expect("there is room");
        let Acknowledgement::Accepted { position } = receipt.wait().await.expect("acknowledged")
        else {
            panic!("{index} came before")
        };
        model.wait_for_position(position).await.expect("learned");
    }
}

#[test]
fn a_forecast_sees_the_past_of_its_rows_and_not_that_of_its_version() {
    let toml = format!("{VALUES}{QUIET}");
    let workspace = Workspace::new(&[("m", &toml)]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    wait(async {
        teach_values(model, 0, 300).await;
        order(model, Order::Checkpoint).await;
        teach_values(model, 300, 400).await;
        order(model, Order::Checkpoint).await;
        teach_values(model, 400, 900).await;
    });
    engine.close();
    drop(engine);
    let compared = compare(
        &workspace,
        &["2", "3", "--margin", "0.1", "--alpha", "0.05"],
        0,
    );
    assert_eq!(
        (&compared["rows"], &compared["score_name"]),
        (&500.into(), &"mean_absolute_error".into())
    );
    // The mean of the swing is 6: a version that sees no newer values is as far off.
    for side in ["a", "b"] {
        let error = compared["score"][side].as_f64().expect("an error");
        assert!(error < 1.0, "{compared}");
    }
}

const BANDIT: &str = "task = \"bandit\"\nactions = [\"left\", \"right\"]\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n[learner]\nkind = \"analytic\"\n";

/// Takes decisions, of which the one that the sign of x says is rewarded.
async fn decide(model: &ServedModel, n_rows: usize, prefix: &str) {
    for (index, (mut batch, _)) in rows(n_rows, 0.0).enumerate() {
        batch.columns.truncate(1);
        let x = match &batch.columns[0] {
            Column::Numbers(x) => x[0],
            other => panic!("{other:?}"),
        };
        let snapshot = model.snapshot("").expect("it serves");
        let options = PredictOptions {
            journal: true,
            explore: true,
            ..PredictOptions::default()
        };
        let answer = model
            .predict(&snapshot, batch, options)
            .await
            .expect("an answer");
        let Outputs::Actions { chosen, .. } = &answer.outputs else {
            panic!("an action")
        };
        let reward = f64::from(u8::from((chosen[0] == 1) == (x > 0.0)));
        let feedback = Feedback {
            signal: Signal::Reward(reward),
            ..label(answer.ids[0], &format!("{prefix}-{index}"), "")
        };
        let receipt = model.accept(feedback).expect("there is room");
        let Acknowledgement::Accepted { position } = receipt.wait().await.expect("acknowledged")
        else {
            panic!("{index} came before")
        };
        model.wait_for_position(position).await.expect("learned");
    }
}

fn decided(policy: &str) -> Workspace {
    decided_by(&format!("{BANDIT}[policy]\n{policy}\n{QUIET}"))
}

fn decided_by(toml: &str) -> Workspace {
    let workspace = Workspace::new(&[("m", toml)]);
    let engine = workspace.open_on(syncing_nothing());
    let model = engine.model("m").unwrap();
    wait(async {
        decide(model, 300, "first").await;
        order(model, Order::Checkpoint).await;
        decide(model, 1200, "second").await;
    });
    engine.close();
    drop(engine);
    workspace
}

#[test]
fn a_bandit_is_compared_by_its_propensities_or_not_at_all() {
    let explores = decided("kind = \"epsilon\"\nepsilon = 0.4");
    let better = compare(&explores, &["1", "2", "--alpha", "0.05"], 0);
    assert_eq!(better["score_name"], "estimated_reward", "{better}");
    assert!(better["difference"].as_f64().unwrap() < -0.02, "{better}");
    assert_eq!(better["left_out"]["learned"], 300, "{better}");
    let worse = compare(&explores, &["2", "1", "--alpha", "0.05"], 1);
    assert_eq!(worse["outcome"], "worse", "{worse}");

    let greedy = decided("kind = \"greedy\"");
    let nothing = compare(&greedy, &["1", "2"], 3);
    assert_eq!(nothing["rows"], 0, "{nothing}");
    let reason = nothing["reason"].as_str().expect("a reason");
    assert!(reason.contains("no propensity floor"), "{nothing}");
}

#[test]
fn p7_a_bandit_of_ten_actions_that_explores_little_lets_nothing_worse_pass() {
    let actions: Vec<String> = (0..10).map(|action| format!("\"{action}\"")).collect();
    let toml = BANDIT.replace("\"left\", \"right\"", &actions.join(", "));
    let policy = "[policy]\nkind = \"epsilon\"\nepsilon = 0.05\n";
    let workspace = decided_by(&format!("{toml}{policy}{QUIET}"));
    let data = workspace.data();
    // Version 1 has learned nothing, and is rewarded half of the time.
    for (sides, allowed) in [(["2", "1"], [1, 3]), (["1", "2"], [0, 3])] {
        let all = [
            "compare", "m", sides[0], sides[1], "--alpha", "0.05", "--json",
        ];
        let ended = program(&[&all[..], &["--data", text(&data)]].concat())
            .output()
            .expect("it runs");
        let stdout = String::from_utf8_lossy(&ended.stdout);
        let status = ended.status.code().expect("it ends");
        assert!(allowed.contains(&status), "{status}: {stdout}");
        let compared: Value = serde_json::from_str(&stdout).expect("an object");
        let difference = compared["difference"].as_f64().expect("rows");
        let [low, high] = ["difference_low", "difference_high"].map(|key| compared[key].as_f64());
        assert!(
            low <= Some(difference) && Some(difference) <= high,
            "{compared}"
        );
        // In rewards, which are 0 or 1; the score is weighted by propensity alone, and varies by more than both.
        assert!(difference.abs() <= 1.0, "{compared}");
    }
}

#[test]
fn the_difference_of_two_versions_names_what_moved_and_what_lies_between() {
    let workspace = planted(&small(), 100);
    let data = workspace.data();
    let (shown, _) = run(&["diff", "m", "2", "3", "--data", text(&data), "--json"], 0);
    let found: Value = serde_json::from_str(&shown).expect("an object");
    let tensors = found["tensors"].as_array().expect("a list");
    let bias = tensors
        .iter()
        .find(|one| one["name"] == "0.bias")
        .expect("it has one");
    assert!(bias["moved"].as_f64().unwrap() > 0.0, "{bias}");
    // The newest rows, of which one category of twenty is answered otherwise.
    assert_eq!(found["rows"], 1000, "{found}");
    let different = found["different"].as_u64().expect("a count");
    assert!((20..100).contains(&different), "{found}");
    let examples = found["examples"].as_array().expect("a list");
    assert_eq!(examples.len(), 5, "{found}");
    for example in examples {
        assert_eq!(example["inputs"]["c"], "kind-0", "{example}");
        assert_eq!((&example["a"], &example["b"]), (&"a".into(), &"b".into()));
    }
    assert_eq!(found["between"]["predictions"], 600, "{found}");
    assert_eq!(found["between"]["sources"]["test"], 600, "{found}");
    let orders = found["between"]["orders"].as_array().expect("a list");
    assert_eq!(
        orders.last().expect("one")["order"],
        "checkpoint",
        "{found}"
    );
    assert!(
        found["anchors"]["rows"].as_u64().expect("a count") > 10,
        "{found}"
    );
    let right = |side: &str| found["anchors"][side].as_f64().expect("a share");
    assert!(right("a") > 0.8 && right("b") > 0.8, "{found}");

    let (people, _) = run(&["diff", "m", "2", "3", "--data", text(&data)], 0);
    for part in [
        "0.bias",
        "anchors right: ",
        "of the newest 1000 rows answered differently",
        "it was a",
    ] {
        assert!(people.contains(part), "{people}");
    }
    let (same, _) = run(&["diff", "m", "3", "3", "--data", text(&data), "--json"], 0);
    let same: Value = serde_json::from_str(&same).expect("an object");
    assert_eq!(
        (&same["different"], &same["between"]["entries"]),
        (&0.into(), &0.into())
    );
    let (_, stderr) = run(&["diff", "m", "2", "9", "--data", text(&data)], 1);
    assert!(stderr.contains("has no version 9"), "{stderr}");
}
