//! Values whose size takes 64 bits: answers, journal, audit and scores, from a file to the report.

use std::fs;

use crate::support::Workspace;
use crate::support::server::{Client, Server, json, run, text};
use perennial::event::Event;
use perennial::proto::inference::ModelMetadataRequest;
use perennial::store::{Reader, verify};
use serde_json::Value;

const N_ROWS: usize = 400;

/// A value near 1.7e9 that follows from `x` up to 0.1.
fn values(workspace: &Workspace) -> std::path::PathBuf {
    let mut lines = "x,y\n".to_owned();
    for row in 0..N_ROWS {
        let x = ((row * 7919) % 1000) as f64 / 500.0 - 1.0;
        let noise = ((row * 104_729) % 1000) as f64 / 5000.0 - 0.1;
        lines += &format!("{x:.3},{:.3}\n", 1.7e9 + 3.0 * x + noise);
    }
    let path = workspace.data().with_file_name("values.csv");
    fs::write(&path, lines).expect("a file of rows");
    path
}

async fn datatype(server: &Server) -> String {
    let mut client = Client::connect(&server.address).await;
    let request = ModelMetadataRequest {
        name: "m".to_owned(),
        ..Default::default()
    };
    let reply = client.inference.model_metadata(request).await;
    let outputs = reply.expect("metadata").into_inner().outputs;
    let value = outputs.into_iter().find(|output| output.name == "value");
    value.expect("a value").datatype
}

/// Streams the file, and gives the report, the last answer of `--out`, and its audit.
fn stream(server: &Server, workspace: &Workspace) -> (Value, Value, Value) {
    let (rows, out) = (values(workspace), workspace.data().with_file_name("out"));
    let args = ["stream", "m", text(&rows), "--target", "y"];
    let report = server.json(&[&args[..], &["--out", text(&out)]].concat());
    let answers = fs::read_to_string(out).expect("answers");
    let last = answers.lines().last().expect("a line");
    let last: Value = serde_json::from_str(last).expect("an object");
    let id = last["prediction_id"].as_str().expect("an id");
    let audit = server.json(&["audit", id]);
    (report, last, audit)
}

fn error(report: &Value) -> f64 {
    report["mean_absolute_error"].as_f64().expect("an error")
}

#[tokio::test(flavor = "multi_thread")]
async fn values_keep_their_digits_from_the_file_to_the_audit() {
    let workspace = Workspace::new(&[]);
    let (rows, models) = (values(&workspace), workspace.models());
    let args = ["init", "m", text(&rows), "--target", "y"];
    run(&[&args[..], &["--models", text(&models)]].concat(), 0);
    let server = Server::of(&workspace);
    assert_eq!(datatype(&server).await, "FP64");
    let (report, last, audit) = stream(&server, &workspace);
    // The spread of the values is 1.7, and that of the noise 0.06.
    assert!(error(&report) < 0.3, "{report}");
    let tenth = report["last_tenth_absolute_error"].as_f64();
    assert!(tenth.is_some_and(|tenth| tenth < 0.1), "{report}");
    let answer = last["answer"].as_f64().expect("a value");
    assert_ne!(f64::from(answer as f32), answer);
    assert_eq!(audit["answer"]["value"].as_f64(), Some(answer));
    assert_eq!(audit["answer"]["answer"], answer.to_string());
    assert_eq!(audit["again"]["value"].as_f64(), Some(answer));
    assert_eq!(audit["bit_equal"], true);
    server.stop();
    let folder = text(&models.join("m")).to_owned();
    let alone = ["evaluate", &folder, text(&rows), "--target", "y", "--json"];
    assert_eq!(error(&json(&alone)), error(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_description_answers_in_32_bits_and_is_audited_so() {
    let toml = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
        [rules]\nrevision = 2\n";
    let workspace = Workspace::new(&[("m", toml)]);
    let server = Server::of(&workspace);
    assert_eq!(datatype(&server).await, "FP32");
    let (report, last, audit) = stream(&server, &workspace);
    assert!(error(&report) > 1.0, "answers step by 128: {report}");
    let answer = last["answer"].as_f64().expect("a value");
    assert_eq!(answer % 128.0, 0.0);
    assert_eq!(audit["again"]["value"].as_f64(), Some(answer));
    assert_eq!(audit["bit_equal"], true);
    server.stop();
    // The program as it is now reads the same bytes that an older one wrote.
    let journal = workspace.data().join("m/journal");
    let last = verify(&journal).expect("a journal").last_position;
    let mut reader = Reader::open(&journal, 1, last).expect("it opens");
    let mut n_answers = 0;
    while let Some(entry) = reader.next(last).expect("it is sound") {
        n_answers += usize::from(matches!(entry.event, Event::Prediction(_)));
    }
    assert_eq!(n_answers, N_ROWS);
}
