//! A time as an input: equal to the bit out of a file, over the wire and out of the journal.

use std::fs;
use std::path::Path;

use crate::support::server::{Client, Server, json, run, text};
use crate::support::{Workspace, numbers};
use bytes::Bytes;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use perennial::proto::inference::{InferParameter, ModelInferRequest, infer_parameter};
use serde_json::Value;

const TIMED: &str = "task = \"regression\"\n[[input]]\nname = \"at\"\nkind = \"time\"\n\
    format = \"%d.%m.%Y %H:%M:%S\"\nzone = \"+02:00\"\norigin = \"2024-01-01\"\n\
    [[input]]\nname = \"x\"\nkind = \"number\"\n";

/// Days since 1970 of 1 January 2024.
const DAYS: i64 = 19_723;

/// The answers of `--out`, as they are written: a number there is its shortest exact form.
fn answers(path: &Path) -> Vec<String> {
    let lines = fs::read_to_string(path).expect("answers");
    let answer = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("an object");
        row["answer"].to_string()
    };
    lines.lines().map(answer).collect()
}

/// A question about the 5th of March 2024, 14:30:15 in the zone of the input.
fn question(datatype: &str, raw: Bytes) -> ModelInferRequest {
    let tensor = |name: &str, datatype: &str| InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![1],
        ..Default::default()
    };
    let log = infer_parameter::ParameterChoice::BoolParam(false);
    let log = InferParameter {
        parameter_choice: Some(log),
    };
    ModelInferRequest {
        model_name: "m".to_owned(),
        inputs: vec![tensor("at", datatype), tensor("x", "FP64")],
        raw_input_contents: vec![raw, numbers(&[0.25])],
        parameters: [("log".to_owned(), log)].into(),
        ..Default::default()
    }
}

fn written(text: &str) -> Bytes {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.into()
}

/// Asks about the same moment in each way in which a request may have it.
async fn same_moments(server: &Server) {
    let microseconds = ((DAYS + 64) * 86_400 + 12 * 3600 + 30 * 60 + 15) * 1_000_000;
    let questions = [
        question("BYTES", written("05.03.2024 14:30:15")),
        question("BYTES", written("2024-03-05T14:30:15+02:00")),
        question("BYTES", written("2024-03-05T12:30:15Z")),
        question("INT64", Bytes::copy_from_slice(&microseconds.to_le_bytes())),
    ];
    let mut client = Client::connect(&server.address).await;
    let mut answered = Vec::new();
    for question in questions {
        answered.push(client.predict(question).await.raw_output_contents[0].clone());
    }
    assert_eq!(answered[0].len(), 8, "an FP64");
    assert!(
        answered.iter().all(|one| *one == answered[0]),
        "{answered:?}"
    );
    let other = client
        .predict(question("BYTES", written("05.03.2024 14:30:16")))
        .await;
    assert_ne!(
        other.raw_output_contents[0], answered[0],
        "a second later is another moment"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_the_same_to_the_bit_out_of_a_file_over_the_wire_and_out_of_the_journal() {
    let workspace = Workspace::new(&[("m", TIMED)]);
    let row = |n: u64| {
        let (day, hour) = (1 + n / 24 % 28, n % 24);
        let load = 5.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin() + (n % 5) as f64 / 10.0;
        format!(
            "{day:02}.{:02}.2024 {hour:02}:07:11,{},{load}\n",
            1 + n / 672,
            n % 3
        )
    };
    let rows: String = (0..300).map(row).collect();
    let file = workspace.data().with_file_name("rows.csv");
    fs::write(&file, format!("at,x,target\n{rows}")).expect("rows");
    let out = |name: &str| workspace.data().with_file_name(name);
    let (evaluated, streamed) = (out("evaluated"), out("streamed"));
    let folder = workspace.models().join("m");
    let target = ["--target", "target"];
    let args = ["evaluate", text(&folder), text(&file), "--json"];
    json(&[&args[..], &target, &["--out", text(&evaluated)]].concat());
    let server = Server::of(&workspace);
    let args = ["stream", "m", text(&file), "--out", text(&streamed)];
    server.json(&[&args[..], &target].concat());
    let (evaluated, from_server) = (answers(&evaluated), answers(&streamed));
    assert_eq!(evaluated.len(), 300);
    assert_eq!(
        evaluated, from_server,
        "a file in process, and over the wire"
    );
    same_moments(&server).await;
    // Out of the journal: the answer again, and the whole state again.
    let lines = fs::read_to_string(&streamed).expect("answers");
    let last: Value =
        serde_json::from_str(lines.lines().last().expect("a line")).expect("an object");
    let id = last["prediction_id"].as_str().expect("an id");
    let audit = server.json(&["audit", id]);
    assert_eq!(audit["bit_equal"], true, "{audit}");
    server.stop();
    let data = workspace.data();
    let (replayed, _) = run(&["replay", "m", "--data", text(&data), "--json"], 0);
    assert!(replayed.contains("\"bit_equal\":true"), "{replayed}");
}
