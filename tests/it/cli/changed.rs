//! A model.toml that has changed: the sentence about it, and the command that the sentence names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Workspace;
use crate::support::server::{Server, run, text};
use serde_json::Value;

fn file(workspace: &Workspace, name: &str, header: &str, row: impl Fn(usize) -> String) -> PathBuf {
    let rows: String = (0..60).map(|n| row(n) + "\n").collect();
    let path = workspace.data().with_file_name(name);
    fs::write(&path, format!("{header}\n{rows}")).expect("a file of rows");
    path
}

/// The command between back quotes, without the name of the program.
fn named_command(reason: &str) -> Vec<String> {
    let command = reason.split('`').nth(1).expect("a command");
    let words = command.split(' ').map(str::to_owned);
    words.skip(1).collect()
}

fn reason(workspace: &Workspace) -> String {
    let server = Server::of(workspace);
    let status = server.json(&["status", "m"]);
    assert_eq!(status["state"], "UNAVAILABLE", "{status}");
    status["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn a_changed_model_names_the_command_that_adopts_it_and_that_command_does() {
    let toml = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n[[input]]\nname = \"y\"\nkind = \"number\"\n";
    let workspace = Workspace::new(&[("m", toml)]);
    let class = |n: usize| if n % 7 < 3 { "a" } else { "b" };
    let row = |n: usize| format!("{},{},{}", n % 7, n % 5, class(n));
    let before = file(&workspace, "before.csv", "x,y,target", row);
    let server = Server::of(&workspace);
    let learned = server.json(&["stream", "m", text(&before), "--target", "target"]);
    assert_eq!(learned["examples"], 60);
    server.stop();
    let next = "task = \"classification\"\nclasses = [\"a\", \"b\", \"c\"]\n\
        [[input]]\nname = \"z\"\nkind = \"number\"\nmissing = \"mean\"\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n";
    workspace.describe("m", next);
    let reason = reason(&workspace);
    for words in [
        "input \"z\" is added, input \"y\" is dropped, class \"c\" is added",
        "which learns the journal again under it",
        "\"z\" is a gap in the rows so far",
        "\"y\" is read no more",
        "answers that wait for their feedback take none any more",
    ] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    let command = named_command(&reason);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (made, _) = run(&command, 0);
    assert!(made.contains("made version "), "{made}");
    let row = |n: usize| format!("{},{},{}", n % 5, n % 7, class(n));
    let after = file(&workspace, "after.csv", "z,x,target", row);
    let server = Server::of(&workspace);
    let status = server.json(&["status", "m"]);
    assert_eq!(
        (&status["state"], &status["examples"]),
        (&"READY".into(), &60.into())
    );
    let learned = server.json(&["stream", "m", text(&after), "--target", "target"]);
    let accuracy = learned["progressive_accuracy"].as_f64().expect("a share");
    assert!(accuracy > 0.9, "what was learned of x is kept: {learned}");
    server.stop();
}

#[test]
fn a_category_and_a_text_are_adopted_as_empty_and_may_be_left_out() {
    let x = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n";
    let workspace = Workspace::new(&[("m", x)]);
    let class = |n: usize| if n % 7 < 3 { "a" } else { "b" };
    let row = |n: usize| format!("{},{}", n % 7, class(n));
    let rows = file(&workspace, "rows.csv", "x,target", row);
    let stream = ["stream", "m", text(&rows), "--target", "target"];
    let server = Server::of(&workspace);
    server.json(&stream);
    server.stop();
    let later = |missing: &str| {
        let input = |name: &str, kind: &str| {
            format!("[[input]]\nname = \"{name}\"\nkind = \"{kind}\"\n{missing}")
        };
        format!("{x}{}{}", input("shop", "category"), input("note", "text"))
    };
    workspace.describe("m", &later(""));
    let why = reason(&workspace);
    assert!(
        why.contains("input \"shop\" is added without missing = \"empty\""),
        "{why}"
    );
    workspace.describe("m", &later("missing = \"empty\"\n"));
    let reason = reason(&workspace);
    let command = named_command(&reason);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (_, notes) = run(&command, 0);
    assert!(!notes.contains("copy "), "it is there already: {notes}");
    let server = Server::of(&workspace);
    let status = server.json(&["status", "m"]);
    assert_eq!(
        (&status["state"], &status["examples"]),
        (&"READY".into(), &60.into())
    );
    let label = |set: &[&str]| {
        let set = set.iter().flat_map(|one| ["--set", one]);
        let args: Vec<&str> = ["predict", "m"].into_iter().chain(set).collect();
        server.json(&args)["label"].clone()
    };
    assert_eq!(label(&["x=1"]), "a", "both are left out");
    assert_eq!(label(&["x=6", "shop=north"]), "b");
    // A file of before is read, and the message names the missing part.
    let learned = server.json(&stream);
    let accuracy = learned["progressive_accuracy"].as_f64().expect("a share");
    assert!(accuracy > 0.9, "{learned}");
    let address = ["--server", &server.address];
    let (_, notes) = run(&[&stream[..], &address].concat(), 0);
    assert!(
        notes.contains("no columns \"shop\", \"note\": gaps in every row"),
        "{notes}"
    );
    server.refuses(
        &["predict", "m", "--set", "shop=north"],
        "input \"x\" is not given; use --set",
    );
    server.stop();
}

#[test]
fn another_zone_is_other_moments_and_is_refused() {
    let toml = |zone: &str| {
        format!(
            "task = \"regression\"\n[[input]]\nname = \"at\"\nkind = \"time\"\nzone = \"{zone}\"\n"
        )
    };
    let workspace = Workspace::new(&[("m", &toml("UTC"))]);
    let row = |n: usize| format!("2026-01-{:02} {:02}:00,{}", 1 + n / 24, n % 24, n % 24);
    let rows = file(&workspace, "rows.csv", "at,target", row);
    let server = Server::of(&workspace);
    server.json(&["stream", "m", text(&rows), "--target", "target"]);
    server.stop();
    let other = workspace.models().with_file_name("other.toml");
    fs::write(&other, toml("+02:00")).expect("a description");
    let data = workspace.data();
    let args = ["replay", "m", "--with", text(&other), "--data", text(&data)];
    let (_, stderr) = run(&args, 1);
    assert!(
        stderr.contains("\"at\" is a time in the journal, and does not fit what is described"),
        "{stderr}"
    );
    workspace.describe("m", &toml("+02:00"));
    let reason = reason(&workspace);
    assert!(
        reason
            .contains("of input \"at\", zone is \"+02:00\", and was \"UTC\"; it cannot be adopted"),
        "{reason}"
    );
}

/// Evaluates decisions that `init` has described.
fn decisions(workspace: &Workspace, name: &str, rows: &Path) -> (Value, String) {
    let columns = ["--action", "a", "--reward", "r", "--propensity", "p"];
    let models = workspace.models();
    let init = [
        &["init", name, text(rows), "--models", text(&models)],
        &columns[..],
    ];
    run(&init.concat(), 0);
    let folder = models.join(name);
    let evaluate = [
        &["evaluate", text(&folder), text(rows), "--json"],
        &columns[..],
    ];
    let (stdout, stderr) = run(&evaluate.concat(), 0);
    let last = stdout.lines().last().expect("a line");
    (serde_json::from_str(last).expect("an object"), stderr)
}

#[test]
fn decisions_without_a_context_and_with_one_action_are_noted_and_not_fatal() {
    let workspace = Workspace::new(&[]);
    let free = |n: usize| {
        let action = ["left", "right"][n % 2];
        let reward = u8::from(n % 2 == 1 && n % 6 != 5);
        format!("{action},{reward},{}", if n == 30 { "0" } else { "0.5" })
    };
    let rows = file(&workspace, "free.csv", "a,r,p", free);
    let (report, stderr) = decisions(&workspace, "free", &rows);
    assert_eq!(
        (&report["examples"], &report["unusable_rows"]),
        (&59.into(), &1.into())
    );
    assert!(stderr.contains("not used: 1 row, "), "{stderr}");
    let value = |name: &str| report["off_policy"][name]["value"].as_f64().expect(name);
    assert!(
        value("dr") > value("logged"),
        "the better action is found: {report}"
    );
    let one = file(&workspace, "one.csv", "x,k,a,r,p", |n| {
        format!("{n},7,left,{},1", n % 3)
    });
    let (report, _) = decisions(&workspace, "one", &one);
    assert_eq!(report["examples"], 60);
    // The same over the wire: the input that no file has is filled in.
    let server = Server::of(&workspace);
    let answered = server.json(&["predict", "free"]);
    assert!(answered["action"].is_string(), "{answered}");
    let event = "{\"feedback_id\":\"a\",\"event_time\":\"2024-05-01T00:00:00Z\",\"inputs\":{},\
        \"action\":\"left\",\"propensity\":0.5,\"reward\":1}";
    let events = workspace.data().with_file_name("events.jsonl");
    fs::write(&events, event).expect("an event");
    let args = [
        "feedback",
        "free",
        "--file",
        text(&events),
        "--backfill",
        "old",
    ];
    assert_eq!(server.json(&args)["accepted"], 1);
    let (lines, out) = (file(&workspace, "any.csv", "q", |n| n.to_string()), 60);
    let answers = server.ask(&["predict", "free", "--file", text(&lines)]);
    assert_eq!(answers.lines().count(), out);
    server.stop();
}

#[test]
fn room_for_more_classes_is_named_and_adopted() {
    let toml = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n";
    let x = "[[input]]\nname = \"x\"\nkind = \"number\"\n";
    let workspace = Workspace::new(&[("m", &format!("{toml}{x}"))]);
    let class = |n: usize| if n % 7 < 3 { "a" } else { "b" };
    let row = |n: usize| format!("{},{}", n % 7, class(n));
    let rows = file(&workspace, "rows.csv", "x,target", row);
    let server = Server::of(&workspace);
    server.json(&["stream", "m", text(&rows), "--target", "target"]);
    server.stop();
    workspace.describe("m", &format!("{toml}classes_max = 8\n{x}"));
    let reason = reason(&workspace);
    assert!(reason.contains("classes_max is 8, and was 2"), "{reason}");
    let command = named_command(&reason);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    run(&command, 0);
    let server = Server::of(&workspace);
    let status = server.json(&["status", "m"]);
    assert_eq!(
        (&status["state"], &status["examples"]),
        (&"READY".into(), &60.into())
    );
    server.stop();
}
