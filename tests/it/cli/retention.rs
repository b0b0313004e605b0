//! Retention has the same value in the reports of `evaluate` and `stream`, in `status`, in `/metrics`, in
//! versions and in audits.

use serde_json::Value;

use super::csv;
use crate::support::Workspace;
use crate::support::server::{Server, json, run, text};

/// The values of a metric by its labels beside the model.
fn metric(page: &str, name: &str, label: &str) -> Option<f64> {
    let start = format!("{name}{{model=\"m\"{label}}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start))?;
    line.parse().ok()
}

#[test]
fn p2_retention_is_the_same_in_every_report() {
    let workspace = Workspace::new(&[]);
    let (rows, models) = (csv(&workspace, 900), workspace.models());
    let rows = [text(&rows), "--target", "target"];
    let init = [&["init", "m"][..], &rows, &["--models", text(&models)]].concat();
    run(&init, 0);
    let (folder, out) = (models.join("m"), workspace.data().with_file_name("out"));
    let alone = json(&[&["evaluate", text(&folder)][..], &rows, &["--json"]].concat());
    let server = Server::of(&workspace);
    let out_args = ["--out", text(&out)];
    let streamed = server.json(&[&["stream", "m"][..], &rows, &out_args].concat());
    server.ask(&["checkpoint", "m"]);
    let status = server.json(&["status", "m"]);
    let page = server.metrics();
    let answers = std::fs::read_to_string(&out).expect("answers");
    let last = answers.lines().last().expect("a line");
    let last: Value = serde_json::from_str(last).expect("an object");
    let audit = server.json(&["audit", last["prediction_id"].as_str().expect("an id")]);
    let shown = server.ask(&["versions", "m"]);
    let versions = server.ask(&["versions", "m", "--json"]);
    server.stop();

    let retention = alone["retention"].as_f64().expect("a share");
    assert_eq!(streamed["retention"], alone["retention"]);
    assert_eq!(streamed["member_retention"], alone["member_retention"]);
    let members = alone["member_retention"].as_object().expect("an object");
    assert!(members.len() > 5, "{members:?}");
    let status = match &status {
        Value::Array(all) => &all[0],
        one => one,
    };
    assert_eq!(status["retention"], alone["retention"]);
    assert_eq!(metric(&page, "perennial_retention", ""), Some(retention));
    for (name, value) in members {
        let label = format!(",member=\"{name}\"");
        let served = metric(&page, "perennial_member_retention", &label);
        assert_eq!(served, value.as_f64(), "{name}");
    }
    // The answer to the last row is of the state before it.
    let of_answer = audit["retention"].as_f64().expect("a share");
    assert!(
        (of_answer - retention).abs() < 0.1,
        "{of_answer} {retention}"
    );
    let newest = versions.lines().last().expect("a version");
    let newest: Value = serde_json::from_str(newest).expect("an object");
    assert_eq!(newest["metrics"]["retention"], alone["retention"]);
    assert!(shown.contains(&format!("{retention:.4}")), "{shown}");
}
