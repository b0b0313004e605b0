//! The file of answers of `--out`, and rows that no server would take.

use std::fs;
use std::path::Path;

use crate::cli::csv;
use crate::support::server::{Server, json, run, text};
use crate::support::{AUTO, Workspace};
use serde_json::Value;

fn answers(path: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(path).expect("answers");
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

#[test]
fn every_command_writes_a_line_for_each_answer() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (rows, folder) = (csv(&workspace, 60), workspace.models().join("m"));
    let mut lines = fs::read_to_string(&rows).expect("rows");
    lines += "0.5,0.5,red,a row without a target,\n";
    fs::write(&rows, lines).expect("rows");
    let out = |name: &str| workspace.data().with_file_name(name);
    let target = ["--target", "target"];
    let (evaluated, streamed, predicted) = (out("evaluated"), out("streamed"), out("predicted"));
    let args = ["evaluate", text(&folder), text(&rows), "--json"];
    json(&[&args[..], &target, &["--out", text(&evaluated)]].concat());
    let server = Server::of(&workspace);
    let args = ["stream", "m", text(&rows), "--out", text(&streamed)];
    server.json(&[&args[..], &target].concat());
    let args = [
        "predict",
        "m",
        "--file",
        text(&rows),
        "--out",
        text(&predicted),
    ];
    server.ask(&args);
    server.stop();
    let [evaluated, mut streamed, predicted] =
        [evaluated, streamed, predicted].map(|path| answers(&path));
    assert_eq!((evaluated.len(), predicted.len()), (61, 61));
    let first = &evaluated[0];
    assert_eq!(first["line"], 2);
    assert!(
        first["label"].is_string() && first["answer"].is_string(),
        "{first}"
    );
    let shares = first["probabilities"].as_object().expect("probabilities");
    let total: f64 = shares.values().filter_map(Value::as_f64).sum();
    assert!((total - 1.0).abs() < 1e-5, "{first}");
    assert_eq!(evaluated[60]["label"], Value::Null);
    // The answer of a server is the same, and has an id.
    for row in &mut streamed {
        let id = row
            .as_object_mut()
            .and_then(|row| row.remove("prediction_id"));
        assert!(id.is_some_and(|id| id.as_str().is_some_and(|id| id.len() == 36)));
    }
    assert_eq!(streamed, evaluated);
    assert!(predicted.iter().all(|row| row["label"].is_null()));
    let refused = ["evaluate", text(&folder), text(&rows), "--target", "target"];
    let folder = workspace.models();
    let (_, stderr) = run(&[&refused[..], &["--out", text(&folder)]].concat(), 1);
    assert!(stderr.contains("error: --out: "), "{stderr}");
}

#[test]
fn a_decision_that_a_server_would_refuse_is_not_used() {
    let toml = "task = \"bandit\"\nactions = [\"left\", \"right\"]\n\
        [[input]]\nname = \"c\"\nkind = \"category\"\n";
    let workspace = Workspace::new(&[("m", toml)]);
    let (rows, folder) = (
        workspace.data().with_file_name("rows"),
        workspace.models().join("m"),
    );
    let long = "c".repeat(70_000);
    fs::write(
        &rows,
        format!("c,a,r,p\nx,left,1,0.5\n{long},left,1,0.5\ny,right,0,0.5\n"),
    )
    .expect("rows");
    let columns = ["--action", "a", "--reward", "r", "--propensity", "p"];
    let args = [
        &["evaluate", text(&folder), text(&rows), "--json"],
        &columns[..],
    ]
    .concat();
    let (stdout, stderr) = run(&args, 0);
    let report: Value = serde_json::from_str(stdout.trim()).expect("an object");
    assert_eq!(
        (&report["examples"], &report["unusable_rows"]),
        (&2.into(), &1.into())
    );
    assert!(stderr.contains("line 3: input \"c\": "), "{stderr}");
    assert!(stderr.contains("70000 bytes"), "{stderr}");
}
