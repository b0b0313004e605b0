//! The program itself: its commands, their output and exit status, and the files that a kill leaves.

mod answers;
mod backfill;
mod changed;
mod documents;
mod files;
mod operating;
mod precision;
mod retention;
mod times;
mod width;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::passed_over::pass_over;
use crate::support::server::{
    Client, Server, ended, json, kill, program, refused, run, serve_args, text,
};
use crate::support::{AUTO, Workspace, copy, gradient, question, rows};
use perennial::event::Column;
use perennial::proto::perennial::v1::*;

/// Rows of the fixture as a file, with a text beside them.
fn csv(workspace: &Workspace, n_rows: usize) -> PathBuf {
    let mut lines = "x,y,c,words,target\n".to_owned();
    for (batch, truth) in rows(n_rows, 0.4) {
        let [Column::Numbers(x), Column::Numbers(y), Column::Strings(c)] = &batch.columns[..]
        else {
            panic!("a number, a number and a category")
        };
        let (x, y, c) = (x[0], y[0], &c[0]);
        let size = if x > 0.5 { "large" } else { "small" };
        lines += &format!("{x},{y},{c},\"a {size} {c} parcel, sent\",{truth}\n");
    }
    let path = workspace.data().with_file_name("rows.csv");
    fs::write(&path, lines).expect("a file of rows");
    path
}

fn stream_equals_evaluate(workspace: &Workspace, rows: &Path) {
    let (folder, rows) = (workspace.models().join("m"), text(rows));
    let alone = json(&[
        "evaluate",
        text(&folder),
        rows,
        "--target",
        "target",
        "--json",
    ]);
    let server = Server::of(workspace);
    let served = server.json(&["stream", "m", rows, "--target", "target"]);
    server.stop();
    assert_eq!(served["examples"], 400);
    for key in [
        "examples",
        "progressive_accuracy",
        "last_tenth_accuracy",
        "no_change_accuracy",
        "retention",
        "members",
    ] {
        assert_eq!(served[key], alone[key], "{key}");
    }
    let score = |key: &str| served[key].as_f64().expect("a share");
    assert!(score("progressive_accuracy") > score("no_change_accuracy"));
}

#[test]
fn p2_stream_equals_evaluate_exactly() {
    let workspace = Workspace::new(&[]);
    let (rows, models) = (csv(&workspace, 400), workspace.models());
    let models = text(&models);
    let args = ["init", "m", text(&rows), "--target", "target"];
    let (stdout, _) = run(&[&args[..], &["--models", models]].concat(), 0);
    let path = workspace.models().join("m/model.toml");
    assert_eq!(stdout.trim_end(), text(&path));
    let toml = fs::read_to_string(path).unwrap();
    for kind in ["\"number\"", "\"category\"", "\"text\""] {
        assert!(toml.contains(kind), "{kind}: {toml}");
    }
    stream_equals_evaluate(&workspace, &rows);
    // A second draft does not overwrite the first.
    refused(&[&args[..], &["--models", models]].concat(), "model.toml");
}

/// Values of three stores as a file, with the sales of the store on the same day a week ago.
fn sales(workspace: &Workspace) -> PathBuf {
    let mut lines = "store,x,target\n".to_owned();
    for (index, (batch, _)) in rows(300, 0.4).enumerate() {
        let Column::Numbers(x) = &batch.columns[0] else {
            panic!("a number")
        };
        let (store, day) = (index % 3, index / 3);
        let value = (10 * store + [0, 1, 0, 2, 3, 6, 5][day % 7]) as f64 + 0.1 * x[0];
        lines += &format!("store-{store},{},{value}\n", x[0]);
    }
    let path = workspace.data().with_file_name("sales.csv");
    fs::write(&path, lines).expect("a file of rows");
    path
}

/// The audit gives every hundredth answer again, bit for bit: from the past of its own series.
fn audited(server: &Server, answers: &Path) {
    let answers = fs::read_to_string(answers).expect("answers");
    let mut n_audited = 0;
    for line in answers.lines().skip(40).step_by(100) {
        let answer: serde_json::Value = serde_json::from_str(line).expect("an object");
        let audit = server.json(&["audit", answer["prediction_id"].as_str().expect("an id")]);
        assert_eq!(audit["bit_equal"], true, "{audit}");
        let again = audit["again"]["value"].as_f64();
        assert_eq!(again, answer["answer"].as_f64(), "{audit}");
        n_audited += 1;
    }
    assert_eq!(n_audited, 3);
}

#[test]
fn p2_stream_equals_evaluate_exactly_for_series_and_late_values() {
    let toml = "task = \"regression\"\n[[input]]\nname = \"store\"\nkind = \"category\"\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n[series]\nkey = \"store\"\n";
    for delay in ["0", "10"] {
        let workspace = Workspace::new(&[("m", toml)]);
        let (folder, rows) = (workspace.models().join("m"), sales(&workspace));
        let rows = [text(&rows), "--target", "target", "--delay", delay];
        let alone = json(&[&["evaluate", text(&folder)][..], &rows, &["--json"]].concat());
        let server = Server::of(&workspace);
        let out = workspace.data().with_file_name("answers");
        let out = ["--out", text(&out)];
        let served = server.json(&[&["stream", "m"][..], &rows, &out].concat());
        audited(&server, Path::new(out[1]));
        server.stop();
        for key in [
            "examples",
            "mean_absolute_error",
            "no_change_absolute_error",
            "root_mean_squared_error",
            "interval_coverage",
            "interval_width",
            "seasonal_no_change_absolute_error",
            "season",
            "members",
        ] {
            assert_eq!(served[key], alone[key], "{key}, {delay}");
            assert!(!alone[key].is_null(), "{key}: {alone}");
        }
        assert_eq!(alone["season"], 21.0);
        let score = |key: &str| alone[key].as_f64().expect("a number");
        assert!(score("mean_absolute_error") < 0.5 * score("no_change_absolute_error"));
    }
}

#[test]
fn p2_stream_equals_evaluate_exactly_for_a_network() {
    let workspace = Workspace::new(&[("m", &gradient("adamw", "8", "der++"))]);
    stream_equals_evaluate(&workspace, &csv(&workspace, 400));
}

#[test]
fn p2_stream_equals_evaluate_exactly_for_classes_that_come_later() {
    let open = AUTO.replacen("[[input]]", "classes_max = 3\n[[input]]", 1);
    let workspace = Workspace::new(&[("m", &open)]);
    let file = csv(&workspace, 400);
    let rows = fs::read_to_string(&file).expect("rows");
    let (before, after) = rows.split_at(rows.len() / 2);
    let later = after.replace(",b\n", ",new\n");
    assert_ne!(later, after);
    fs::write(&file, format!("{before}{later}")).expect("a file of rows");
    stream_equals_evaluate(&workspace, &file);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_made_shown_and_brought_back() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = csv(&workspace, 60);
    let learn = ["stream", "m", text(&file), "--target", "target"];
    let server = Server::of(&workspace);
    server.json(&learn);
    let made = server.json(&["checkpoint", "m", "--note", "before"]);
    assert_eq!(made["version"], 2);
    let then = server.status("m").await;
    server.json(&[&learn[..], &["--again"]].concat());
    let mut before = server.status("m").await;
    assert_ne!(before.digest, then.digest);
    let would = server.json(&["restore", "m", "2", "--dry-run"]);
    assert_eq!(would["version"], 2);
    let mut after = server.status("m").await;
    // The time of the last entries goes on.
    let of_clock = ["feedback_silence_seconds", "model_age_seconds"];
    for status in [&mut before, &mut after] {
        status
            .figures
            .retain(|one| !of_clock.contains(&one.name.as_str()));
    }
    assert_eq!(after, before, "a dry run changes nothing");
    let restored = server.json(&["restore", "m", "2"]);
    assert_eq!(restored["version"], 3);
    assert_eq!(server.status("m").await.digest, then.digest);
    let shown = server.json(&["show", "m", "3"]);
    assert_eq!(
        (&shown["parent"], &shown["served"]),
        (&2.into(), &true.into())
    );
    assert_eq!(server.json(&["show", "m", "2"])["note"], "before");
    let listed = server.ask(&["versions", "m"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(
        listed.lines().nth(2).unwrap().starts_with("* 3 "),
        "{listed}"
    );
    let status = server.json(&["status", "m"]);
    assert_eq!(status["state"], "READY");
    assert_eq!(status["fates"]["undone"], 60);
    // How fast the journal grows, and that there is room for it.
    assert!(status["journal_bytes_a_day"].as_f64().expect("a rate") > 0.0);
    let shown = server.ask(&["status", "m"]);
    assert!(shown.contains(" bytes a day, "), "{shown}");
    assert!(shown.contains("undone"), "{shown}");
    let metrics = server.metrics();
    for measured in [
        "perennial_group_entries_sum",
        "perennial_group_entries_count",
    ] {
        let line = metrics.lines().find(|line| line.starts_with(measured));
        let (_, n) = line.expect("it is measured").rsplit_once(' ').unwrap();
        assert!(n.parse::<f64>().unwrap() > 0.0, "{n}");
    }
    server.refuses(&["restore", "m", "9"], "has no version 9");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_stop_and_a_start_leave_the_digest_as_it_was() {
    let net = gradient("adamw", "8", "der++");
    let workspace = Workspace::new(&[("auto", AUTO), ("net", &net)]);
    let file = csv(&workspace, 100);
    let server = Server::of(&workspace);
    let mut before = Vec::new();
    for model in ["auto", "net"] {
        server.json(&["stream", model, text(&file), "--target", "target"]);
        before.push(server.status(model).await);
    }
    server.stop();
    let server = Server::of(&workspace);
    for (model, before) in ["auto", "net"].into_iter().zip(before) {
        let after = server.status(model).await;
        assert_eq!(after.digest, before.digest, "{model}");
        assert_eq!(after.fates, before.fates, "{model}");
    }
    server.stop();
}

/// Sends feedback for 300 rows, and kills the server after 120 acknowledgements.
async fn kill_in_the_middle(server: Server, model: &str) -> u64 {
    let mut client = Client::connect(&server.address).await;
    let mut events = Vec::new();
    for (index, (batch, truth)) in rows(300, 1.0).enumerate() {
        let answer = client.predict(question(model, &batch)).await;
        let id = answer.raw_output_contents[2].slice(4..).to_vec();
        events.push(FeedbackRequest {
            model: model.to_owned(),
            feedback_id: format!("row-{index}"),
            prediction_id: Some(String::from_utf8(id).expect("UTF-8")),
            label: Some(truth.to_owned()),
            ..Default::default()
        });
    }
    let replies = client.learning.stream_feedback(tokio_stream::iter(events));
    let mut replies = replies.await.expect("a stream").into_inner();
    let mut acknowledged = 0;
    while let Ok(Some(reply)) = replies.message().await {
        assert_eq!(reply.status(), feedback_reply::Status::Accepted);
        acknowledged += 1;
        if acknowledged == 120 {
            kill(server.child.id(), libc::SIGKILL);
        }
    }
    assert!(acknowledged >= 120, "{acknowledged}");
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_loses_nothing_that_was_acknowledged() {
    let net = gradient("adamw", "8", "der++");
    for toml in [AUTO, &net] {
        let workspace = Workspace::new(&[("m", toml)]);
        let file = csv(&workspace, 50);
        let server = Server::of(&workspace);
        server.json(&["stream", "m", text(&file), "--target", "target"]);
        server.json(&["checkpoint", "m"]);
        let acknowledged = 50 + kill_in_the_middle(server, "m").await;
        // The journal alone, as the kill left it.
        let alone = workspace.data().with_file_name("alone");
        copy(&workspace.data(), &alone);
        let checkpoints = alone.join("m/checkpoints");
        fs::remove_dir_all(&checkpoints).unwrap();
        fs::create_dir(&checkpoints).unwrap();

        let server = Server::of(&workspace);
        let recovered = server.status("m").await;
        assert_eq!(recovered.lag, 0);
        let n_fates: u64 = recovered.fates.values().sum();
        assert!(n_fates >= acknowledged, "{n_fates} of {acknowledged}");
        let server_alone = Server::start(&workspace.models(), &alone);
        let replayed = server_alone.status("m").await;
        assert_eq!(replayed.digest, recovered.digest);
        assert_eq!(replayed.fates, recovered.fates);
        assert_eq!(replayed.examples, recovered.examples);
        // It goes on from there.
        let args = ["stream", "m", text(&file), "--target", "target", "--again"];
        server.json(&args);
        assert_ne!(server.status("m").await.digest, recovered.digest);
        server.stop();
        server_alone.stop();
        run(&["verify", "--data", text(&workspace.data())], 0);
        run(&["verify", "--data", text(&alone)], 0);
    }
}

#[test]
fn p9_a_flipped_byte_is_found_and_its_file_is_named() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = csv(&workspace, 20);
    let server = Server::of(&workspace);
    server.json(&["stream", "m", text(&file), "--target", "target"]);
    server.stop();
    let data = workspace.data();
    let (stdout, _) = run(&["verify", "--data", text(&data)], 0);
    assert!(stdout.starts_with("m: sound: "), "{stdout}");
    let ids = data.join("m/ids/tail");
    let sound = fs::read(&ids).unwrap();
    // The first byte is of its header.
    fs::write(&ids, [&[sound[0] ^ 1], &sound[1..]].concat()).unwrap();
    let (stdout, _) = run(&["verify", "--data", text(&data)], 1);
    assert!(stdout.contains(text(&ids)), "{stdout}");
    fs::write(&ids, sound).unwrap();
    let segments = fs::read_dir(data.join("m/journal")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    let segment = segments.filter(|path| path.is_file()).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    // The first entry is the description.
    let word = b"classification";
    let place = bytes.windows(word.len()).position(|window| window == word);
    bytes[place.expect("it is there")] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (stdout, stderr) = run(&["verify", "--data", text(&data)], 1);
    assert!(stdout.contains(text(&segment)), "{stdout}");
    assert!(stderr.contains("error: 1 of 1 models"), "{stderr}");
}

#[test]
fn p9_misuse_exits_2_and_failure_1_with_the_reason() {
    run(&["evaluate", "--no-such-flag"], 2);
    run(&["no-such-command"], 2);
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (file, folder) = (csv(&workspace, 5), workspace.models().join("m"));
    let (rows, folder) = (text(&file), text(&folder));
    let expected = "no column \"nothing\"; the file has \"x\", \"y\", \"c\", \"words\", \"target\"";
    let refused_target = |target, expected: &str| {
        let args = ["evaluate", folder, rows, "--target", target, "--strict"];
        refused(&args, expected);
    };
    refused_target("nothing", expected);
    let sound = fs::read_to_string(&file).unwrap();
    fs::write(&file, sound + "1,2\n").unwrap();
    refused_target("target", "line 7: 2 fields, expected 5");
    let status = ["status", "--server", "127.0.0.1:1"];
    refused(&status, "cannot reach 127.0.0.1:1");
    refused(
        &["status", "--server", "127.0.0.1"],
        "--server 127.0.0.1: expected HOST:PORT",
    );
}

#[test]
fn p9_a_broken_model_and_a_second_server_are_told() {
    let bad = format!("colour = \"red\"\n{AUTO}");
    let workspace = Workspace::new(&[("bad", &bad), ("good", AUTO)]);
    let file = csv(&workspace, 5);
    let server = Server::of(&workspace);
    let learned = server.json(&["stream", "good", text(&file), "--target", "target"]);
    assert_eq!(learned["examples"], 5);
    let status = server.json(&["status", "bad"]);
    assert_eq!(status["state"], "UNAVAILABLE");
    assert!(status["reason"].to_string().contains("colour"), "{status}");
    let all = server.ask(&["status"]);
    assert!(all.contains("UNAVAILABLE: "), "{all}");
    assert!(all.contains("good (classification) READY"), "{all}");
    server.refuses(&["status", "nobody"], "no model \"nobody\"");
    let args = ["stream", "nobody", text(&file), "--target", "target"];
    server.refuses(&args, "\"nobody\"");
    let (models, data) = (workspace.models(), workspace.data());
    let expected = "another process holds this data directory";
    refused(&serve_args(&models, &data), expected);
    server.stop();
}

#[test]
fn a_closed_stdout_ends_a_command_quietly() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let (file, folder) = (csv(&workspace, 5), workspace.models().join("m"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = program(&["evaluate", text(&folder), text(&file), "--target", "target"]);
    let child = command.stdout(writer).spawn().expect("it starts");
    drop(command);
    let output = ended(child);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn elec2_is_learned_better_than_no_change() {
    let near = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("PERENNIAL_DATA").map_or_else(near, PathBuf::from);
    let file = folder.join("elec2.csv.gz");
    if !file.exists() {
        return pass_over(&format!("no {}; set PERENNIAL_DATA", file.display()));
    }
    let workspace = Workspace::new(&[]);
    let (models, model) = (workspace.models(), workspace.models().join("elec2"));
    let models = text(&models);
    let args = ["init", "elec2", text(&file), "--target", "label"];
    run(&[&args[..], &["--models", models]].concat(), 0);
    let args = ["evaluate", text(&model), text(&file), "--target", "label"];
    let report = json(&[&args[..], &["--limit", "3000", "--json"]].concat());
    let score = |key: &str| report[key].as_f64().expect("a share");
    assert_eq!(report["examples"], 3000);
    let (learned, no_change) = (score("progressive_accuracy"), score("no_change_accuracy"));
    assert!(learned > no_change, "{learned} against {no_change}");
}
