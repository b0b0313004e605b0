//! Taken back, explained and repeated through the program: retract, audit, replay.

use std::fs;
use std::path::PathBuf;

use crate::support::server::{Server, json as offline, refused, run, text};
use crate::support::{AUTO, Workspace, rows};
use perennial::event::Column;
use serde_json::{Value, json};

const N_TAUGHT: usize = 60;
const N_BAD: usize = 20;

/// A model that learned rows, then `N_BAD` swapped labels of the source "bad".
struct Taught {
    workspace: Workspace,
    /// A prediction before the swapped labels, which speak of it, and one after them.
    before: String,
    after: String,
}

impl Taught {
    fn new(server: &Server, workspace: Workspace) -> Taught {
        let file = questions(&workspace, N_TAUGHT);
        let asked = lines(&server.ask(&["predict", "m", "--file", text(&file), "--json"]));
        let ids = asked
            .iter()
            .map(|line| line["prediction_id"].as_str().expect("an id"));
        let ids: Vec<&str> = ids.collect();
        teach(
            server,
            &workspace,
            "people",
            ids.iter().zip(truths()).collect(),
        );
        let asked = lines(&server.ask(&["predict", "m", "--file", text(&file), "--json"]));
        let id = |row: usize| {
            asked[row]["prediction_id"]
                .as_str()
                .expect("an id")
                .to_owned()
        };
        let swapped = |truth| if truth == "a" { "b" } else { "a" };
        let ids: Vec<String> = (0..N_BAD).map(id).collect();
        let bad = ids.iter().zip(truths().map(swapped));
        teach(server, &workspace, "bad", bad.collect());
        let after = lines(&server.ask(&["predict", "m", "--file", text(&file), "--json"]));
        Taught {
            workspace,
            before: ids[0].clone(),
            after: after[0]["prediction_id"]
                .as_str()
                .expect("an id")
                .to_owned(),
        }
    }

    /// The arguments of a command that reads the data directory.
    fn offline(&self, args: &[&str]) -> Value {
        offline(&[args, &["--json", "--data", text(&self.workspace.data())]].concat())
    }
}

fn truths() -> impl Iterator<Item = &'static str> {
    rows(N_TAUGHT, 0.4).map(|(_, truth)| truth)
}

/// Rows without their classes, as a file.
fn questions(workspace: &Workspace, n_rows: usize) -> PathBuf {
    let mut lines = "x,y,c\n".to_owned();
    for (batch, _) in rows(n_rows, 0.4) {
        let [Column::Numbers(x), Column::Numbers(y), Column::Strings(c)] = &batch.columns[..]
        else {
            panic!("a number, a number and a category")
        };
        lines += &format!("{},{},{}\n", x[0], y[0], c[0]);
    }
    let path = workspace.models().with_file_name("questions.csv");
    fs::write(&path, lines).expect("a file of rows");
    path
}

fn lines(stdout: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).expect("an object");
    stdout.lines().map(line).collect()
}

/// Sends labels under one source, and waits until they are learned.
fn teach<S: AsRef<str>>(
    server: &Server,
    workspace: &Workspace,
    source: &str,
    labels: Vec<(S, &str)>,
) {
    let line = |(index, (id, label)): (usize, &(S, &str))| {
        let event = json!({
            "feedback_id": format!("{source}-{index}"), "prediction_id": id.as_ref(),
            "label": label, "source": source,
        });
        format!("{event}\n")
    };
    let path = workspace.models().with_file_name("labels.jsonl");
    let all: String = labels.iter().enumerate().map(line).collect();
    fs::write(&path, all).expect("a file of labels");
    server.json(&["feedback", "m", "--file", text(&path)]);
    // A version is made of everything that was acknowledged before.
    server.json(&["checkpoint", "m"]);
}

async fn digest(server: &Server) -> Value {
    server.status("m").await.digest.into()
}

/// Retracts the source "bad" by a server: first a dry run of each selector, then the order. Gives
/// the digest of the state without it.
async fn retract_bad(server: &Server) -> Value {
    let nobody = ["retract", "m", "--source", "nobody"];
    server.refuses(&nobody, "no feedback of source \"nobody\" is there");
    let learned = digest(server).await;
    let would = server.json(&["retract", "m", "--source", "bad", "--dry-run"]);
    assert_eq!(would["excluded"], N_BAD);
    assert_eq!(
        (&would["version"], &would["tainted"]),
        (&json!(0), &json!([3]))
    );
    assert_eq!(digest(server).await, learned, "a dry run changes nothing");
    let one = server.json(&["retract", "m", "--feedback-id", "bad-3", "--dry-run"]);
    assert_eq!(one["excluded"], 1);
    let stretch = [
        "--since",
        "2000-01-01T00:00:00Z",
        "--until",
        "2300-01-01T00:00:00Z",
    ];
    let all = server.json(&[&["retract", "m", "--dry-run"], &stretch[..]].concat());
    assert_eq!(all["excluded"], N_TAUGHT + N_BAD);
    let clock = "the journal's clock, which agrees with this machine's";
    assert_eq!(all["clock"], clock);
    let shown = server.ask(&[&["retract", "m", "--dry-run"], &stretch[..]].concat());
    let line = shown.lines().find(|line| line.contains("chosen by"));
    assert!(line.is_some_and(|line| line.ends_with(clock)), "{shown}");
    assert_eq!(one["clock"], "");
    let clean = server.json(&["show", "m", "2"])["digest"].clone();
    let done = server.json(&["retract", "m", "--source", "bad", "--note", "swapped"]);
    assert_eq!(
        (&done["excluded"], &done["version"]),
        (&json!(N_BAD), &json!(4))
    );
    assert_eq!(done["tainted"], json!([3]));
    // Nothing else was learned since version 2, so that is what comes back.
    assert_eq!((&done["digest"], &digest(server).await), (&clean, &clean));
    server.refuses(&["restore", "m", "3"], "version 4");
    assert_eq!(server.json(&["show", "m", "4"])["note"], "swapped");
    server.refuses(
        &["retract", "m", "--source", "bad"],
        "not retracted already",
    );
    clean
}

/// Checks the retraction without a server, and restores version 4 in the end.
fn check_offline(taught: &Taught, clean: &Value) {
    let data = taught.workspace.data();
    let replayed = taught.offline(&["replay", "m"]);
    assert_eq!(
        (&replayed["digest"], &replayed["bit_equal"]),
        (clean, &json!(true))
    );
    assert_eq!(replayed["compared"], 5, "four versions and the stop");
    refused(&["restore", "m", "3", "--data", text(&data)], "version 4");
    assert_eq!(taught.offline(&["show", "m", "4"])["note"], "swapped");
    let first = taught.offline(&["restore", "m", "1"]);
    assert_eq!(first["version"], 5);
    let again = taught.offline(&["restore", "m", "4"]);
    assert_eq!(again["version"], 6);
    assert_eq!(taught.offline(&["show", "m", "6"])["digest"], *clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_source_is_taken_back_and_stays_so() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    let taught = Taught::new(&server, workspace);
    let clean = retract_bad(&server).await;
    server.stop();
    check_offline(&taught, &clean);
    let data = taught.workspace.data();
    let server = Server::of(&taught.workspace);
    assert_eq!(digest(&server).await, clean, "it stays taken back");
    let erased = server.json(&["retract", "m", "--source", "bad", "--erase"]);
    assert_eq!(erased["erased"], N_BAD);
    let heard = server.json(&["audit", &taught.before])["feedback"].clone();
    assert_eq!(heard, json!([]), "what was erased is not told: {heard}");
    let audit = [
        "audit",
        &taught.after,
        "--json",
        "--server",
        &server.address,
    ];
    let (report, why) = run(&audit, 1);
    assert!(why.contains("it was erased"), "{why}");
    let report: Value = serde_json::from_str(&report).expect("an object");
    assert_eq!(
        (&report["again"], &report["bit_equal"]),
        (&Value::Null, &json!(false))
    );
    server.refuses(&["show", "m", "3"], "version 3 is no longer kept; it has");
    server.stop();
    let (stdout, _) = run(&["verify", "--data", text(&data)], 0);
    assert!(stdout.starts_with("m: sound: "), "{stdout}");
    assert!(stdout.contains("20 erased"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_answer_is_explained_with_a_server_and_without() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    let taught = Taught::new(&server, workspace);
    let without = ["audit", &taught.after, "--without", "bad"];
    let report = server.json(&without);
    assert_eq!(report["bit_equal"], true);
    assert_eq!(report["sources"], json!({"bad": N_BAD, "people": N_TAUGHT}));
    assert_eq!(report["left_out"], N_BAD);
    assert_ne!(report["without"]["values"], report["answer"]["values"]);
    let heard = server.json(&["audit", &taught.before])["feedback"].clone();
    assert_eq!(heard[0]["source"], "bad");
    assert_eq!(heard[0]["retracted"], false);
    server.json(&["retract", "m", "--source", "bad"]);
    // The recorded answer stays so, and the feedback that led to it is named, too.
    let later = server.json(&without);
    assert_eq!(later["again"], report["answer"]);
    let heard = server.json(&["audit", &taught.before])["feedback"].clone();
    assert_eq!(heard[0]["retracted"], true);
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    server.refuses(&["audit", unknown], unknown);
    server.refuses(&["audit", "seven"], "seven");
    server.stop();
    assert_eq!(taught.offline(&without), later);
    let data = taught.workspace.data();
    let replayed = taught.offline(&["replay", "m"]);
    assert_eq!(replayed["bit_equal"], true);
    // Where nothing is left to be compared with, nothing is reported as equal.
    fs::remove_dir_all(data.join("m/checkpoints")).expect("they go");
    let compared_with_none = taught.offline(&["replay", "m"]);
    assert_eq!(compared_with_none["digest"], replayed["digest"]);
    assert_eq!(compared_with_none["bit_equal"], Value::Null);
    let (report, _) = run(&["replay", "m", "--data", text(&data)], 0);
    assert!(
        report.contains("no checkpoint to be compared with"),
        "{report}"
    );
    refused(&["audit", unknown, "--data", text(&data)], unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_another_description_is_tried_on_the_journal_and_adopted() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    let taught = Taught::new(&server, workspace);
    server.stop();
    let other = format!("{AUTO}[learner]\nkind = \"analytic\"\n");
    let shorter = AUTO.replace("[[input]]\nname = \"y\"\nkind = \"number\"\n", "");
    let wider = format!("{AUTO}[[input]]\nname = \"z\"\nkind = \"number\"\n");
    let file = |name: &str, toml: &str| {
        let path = taught.workspace.models().with_file_name(name);
        fs::write(&path, toml).expect("a description");
        path
    };
    let (other, wider) = (file("other.toml", &other), file("wider.toml", &wider));
    let tried = taught.offline(&["replay", "m", "--with", text(&other)]);
    assert_eq!(tried["judged"], (N_TAUGHT + N_BAD) as f64);
    assert_ne!(tried["score"]["with"], tried["score"]["served"]);
    assert!(tried["parting"]["position"].is_u64(), "{tried}");
    let fewer = file("fewer.toml", &shorter);
    taught.offline(&["replay", "m", "--with", text(&fewer)]);
    let data = taught.workspace.data();
    let with = ["replay", "m", "--data", text(&data), "--with"];
    refused(
        &[&with[..], &[text(&wider)]].concat(),
        "\"z\" is not in the journal",
    );
    let before = taught.offline(&["versions", "m"]);
    let (stdout, _) = run(
        &[&with[..], &[text(&other), "--adopt", "--json"]].concat(),
        0,
    );
    let made: Value = serde_json::from_str(stdout.lines().last().expect("a line")).unwrap();
    assert_eq!(made["version"], 4);
    assert_ne!(taught.offline(&["versions", "m"]), before);
    taught
        .workspace
        .describe("m", &fs::read_to_string(&other).unwrap());
    let server = Server::of(&taught.workspace);
    assert_eq!(digest(&server).await, tried["digest"]);
    server.stop();
}
