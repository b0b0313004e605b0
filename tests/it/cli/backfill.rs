//! Rows and events that are sent again: over several runs each is learned once.

use std::fs;
use std::path::PathBuf;

use crate::support::server::{Server, kill, run, text};
use crate::support::{AUTO, Workspace, rows};
use perennial::event::Column;
use serde_json::Value;

const N_ROWS: usize = 40;

/// Rows of a month two years ago.
fn export(workspace: &Workspace) -> PathBuf {
    let mut lines = "at,x,y,c,target\n".to_owned();
    for (n, (batch, truth)) in rows(N_ROWS, 0.4).enumerate() {
        let [Column::Numbers(x), Column::Numbers(y), Column::Strings(c)] = &batch.columns[..]
        else {
            panic!("a number, a number and a category")
        };
        let day = 1 + n / 2;
        lines += &format!("{day:02}/05/2024,{},{},{},{truth}\n", x[0], y[0], c[0]);
    }
    let path = workspace.data().with_file_name("may.csv");
    fs::write(&path, lines).expect("a file of rows");
    path
}

fn examples(server: &Server) -> u64 {
    server.json(&["status", "m"])["examples"]
        .as_u64()
        .expect("a count")
}

#[test]
fn p1_a_file_of_a_backfill_is_learned_once_over_runs_a_kill_and_a_restart() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = export(&workspace);
    let args = ["stream", "m", text(&file), "--target", "target"];
    let backfill = ["--backfill", "may", "--time", "at=%d/%m/%Y"];
    let args = [&args[..], &backfill].concat();
    let mut server = Server::of(&workspace);
    let first = server.json(&args);
    assert_eq!(
        (&first["examples"], &first["known_rows"]),
        (&40.into(), &Value::Null)
    );
    for is_open in [false, true] {
        let again = if is_open {
            [&args[..], &["--open"]].concat()
        } else {
            args.clone()
        };
        assert_eq!(server.json(&again)["known_rows"], 40);
        assert_eq!(examples(&server), 40);
    }
    kill(server.child.id(), libc::SIGKILL);
    server.child.wait().expect("it is ours");
    drop(server);
    let server = Server::of(&workspace);
    assert_eq!(server.json(&args)["known_rows"], 40);
    assert_eq!(examples(&server), 40);
    // It is taken back by its name.
    let taken = server.json(&["retract", "m", "--source", "may"]);
    assert_eq!(taken["excluded"], 40, "{taken}");
    assert_eq!(examples(&server), 0);
    let of_server = ["--server", &server.address, "--json"];
    let (stdout, stderr) = run(&[&args[..], &of_server].concat(), 1);
    let again: Value = serde_json::from_str(&stdout).expect("an object");
    let counts = ["known_rows", "retracted_rows"].map(|name| again[name].as_u64());
    assert_eq!(counts, [Some(40), Some(40)]);
    let sentence = "40 rows had been sent by an earlier run and retracted since: NOT learned again";
    assert!(stderr.contains(sentence), "{stderr}");
    assert_eq!(examples(&server), 0, "what was taken back stays so");
    // Corrected rows come under another name of the backfill; that of the file is of no account.
    let copy = workspace.data().with_file_name("copy.csv");
    fs::copy(&file, &copy).expect("a copy");
    let of_copy = args.iter().map(|arg| {
        if *arg == text(&file) {
            text(&copy)
        } else {
            *arg
        }
    });
    let of_copy: Vec<&str> = of_copy.collect();
    let (stdout, _) = run(&[&of_copy[..], &of_server].concat(), 1);
    assert!(stdout.contains("\"known_rows\":40"), "{stdout}");
    let renamed = args
        .iter()
        .map(|arg| if *arg == "may" { "may-2" } else { *arg });
    let renamed: Vec<&str> = renamed.collect();
    assert_eq!(server.json(&renamed)["known_rows"], Value::Null);
    assert_eq!(examples(&server), 40);
    server.stop();
}

#[test]
fn event_times_are_read_in_the_format_of_the_input_of_that_name() {
    let toml = format!(
        "{AUTO}[[input]]\nname = \"at\"\nkind = \"time\"\nformat = \"%d/%m/%Y\"\nzone = \"+02:00\"\n"
    );
    let workspace = Workspace::new(&[("m", &toml)]);
    let file = export(&workspace);
    let server = Server::of(&workspace);
    let args = ["stream", "m", text(&file), "--target", "target"];
    let report = server.json(&[&args[..], &["--backfill", "may", "--time", "at"]].concat());
    assert_eq!(
        (&report["examples"], &report["unusable_rows"]),
        (&40.into(), &Value::Null),
        "{report}"
    );
    server.stop();
}

#[test]
fn p1_a_file_is_learned_once_over_runs_whatever_it_is_called() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = export(&workspace);
    let out = workspace.data().with_file_name("answers.jsonl");
    let (target, source) = (["--target", "target"], ["--source", "job"]);
    let args = ["stream", "m", text(&file)];
    let args = [&args[..], &target, &source].concat();
    let server = Server::of(&workspace);
    let first = server.json(&[&args[..], &["--out", text(&out)]].concat());
    assert_eq!(first["known_rows"], Value::Null);
    assert!(first["progressive_accuracy"].is_number());
    // Each answer has its id, by which its label came.
    let answers = fs::read_to_string(&out).expect("answers");
    assert_eq!(answers.lines().count(), N_ROWS);
    for line in answers.lines() {
        let answer: Value = serde_json::from_str(line).expect("an object");
        let id = answer["prediction_id"].as_str().expect("an id");
        assert_eq!(id.len(), 36, "{answer}");
    }
    let judged = server.json(&["status", "m"]);
    assert_eq!(judged["monitors"]["feedback_rate"]["all"], 1.0, "{judged}");
    let copy = workspace.data().with_file_name("copy.csv");
    fs::copy(&file, &copy).expect("a copy");
    let of_copy: Vec<&str> = args
        .iter()
        .map(|arg| {
            if *arg == text(&file) {
                text(&copy)
            } else {
                *arg
            }
        })
        .collect();
    for again in [&args, &of_copy] {
        for mode in [&[][..], &["--open"], &["--once"]] {
            let again = server.json(&[&again[..], mode].concat());
            assert_eq!(again["known_rows"], 40, "{mode:?}");
            assert_eq!(again["progressive_accuracy"], Value::Null);
            assert_eq!(examples(&server), 40, "{mode:?}");
        }
    }
    server.json(&[&args[..], &["--again"]].concat());
    assert_eq!(examples(&server), 80);
    // A line that says something else now is another event, as in an export of the next night under the
    // same name; the other lines are known, which is shown.
    let changed = fs::read_to_string(&file).expect("rows");
    let (rest, last) = changed.trim_end().rsplit_once('\n').expect("rows");
    let (row, label) = last.rsplit_once(',').expect("a label");
    let last = format!("{row},{}", if label == "a" { "b" } else { "a" });
    fs::write(&file, format!("{rest}\n{last}\n")).expect("rows");
    let (_, stderr) = run(&[&args[..], &["--server", &server.address]].concat(), 0);
    for sentence in ["39 rows had been sent by an earlier run", "--again learns"] {
        assert!(stderr.contains(sentence), "{sentence}: {stderr}");
    }
    assert_eq!(examples(&server), 81);
    let taken = server.json(&["retract", "m", "--source", "job"]);
    assert_eq!(taken["excluded"], 81);
    server.stop();
}

#[test]
fn rows_older_than_a_day_are_learned_by_their_answers_or_in_a_backfill() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = export(&workspace);
    let server = Server::of(&workspace);
    let args = ["stream", "m", text(&file), "--target", "target"];
    let args = [&args[..], &["--time", "at=%d/%m/%Y"]].concat();
    for (mode, n_known) in [(&[][..], Value::Null), (&["--open"], 40.into())] {
        let run = server.json(&[&args[..], mode].concat());
        assert_eq!(run["known_rows"], n_known);
        assert_eq!(examples(&server), 40);
    }
    let backfill = ["--backfill", "may"];
    server.json(&[&args[..], &backfill].concat());
    assert_eq!(examples(&server), 80);
    server.stop();
}

#[test]
fn events_of_a_backfill_are_sent_by_feedback() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let event = |n: usize| {
        let label = ["a", "b"][n % 2];
        format!(
            "{{\"feedback_id\": \"night-{n}\", \"event_time\": \"2024-05-01T00:00:00Z\", \
             \"inputs\": {{\"x\": {n}, \"y\": 1, \"c\": \"red\"}}, \"label\": \"{label}\"}}\n"
        )
    };
    let events: String = (0..10).map(event).collect();
    let file = workspace.data().with_file_name("events.jsonl");
    // As spreadsheets write it.
    fs::write(&file, format!("\u{feff}{events}")).expect("events");
    let server = Server::of(&workspace);
    let args = ["feedback", "m", "--file", text(&file)];
    let of_server = ["--server", &server.address];
    let (_, stderr) = run(&[&args[..], &of_server].concat(), 1);
    assert!(
        stderr.contains("line 1: event_time: more than a day ago"),
        "{stderr}"
    );
    assert!(!stderr.contains("event_time: event_time"), "{stderr}");
    assert!(stderr.contains("error: 10 events were refused"), "{stderr}");
    assert_eq!(stderr.matches("more than a day ago").count(), 1, "{stderr}");
    for sentence in [
        "9 other events were refused for the reason of line 1",
        "--backfill NAME takes events older than a day",
    ] {
        assert!(stderr.contains(sentence), "{stderr}");
    }
    let args = [&args[..], &["--backfill", "nightly"]].concat();
    assert_eq!(server.json(&args)["accepted"], 10);
    let again = server.json(&args);
    assert_eq!(
        (&again["accepted"], &again["duplicate"]),
        (&0.into(), &10.into())
    );
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_replies_say_what_will_match_nothing_and_name_a_field_once() {
    let zero_one = AUTO.replacen("[\"a\", \"b\"]", "[\"0\", \"1\"]", 1);
    let workspace = Workspace::new(&[("m", &zero_one)]);
    let server = Server::of(&workspace);
    let set = ["--set", "x=1", "--set", "y=2", "--set", "c=red"];
    let answered = server.json(&[&["predict", "m"], &set[..]].concat());
    let id = answered["prediction_id"].as_str().expect("an id");
    let known = format!("{{\"feedback_id\": \"a\", \"prediction_id\": \"{id}\", \"label\": 1}}\n");
    let unknown = known.replace("\"a\"", "\"b\"");
    let unknown = unknown.replace(id, "01890a5d-ac96-774b-bcce-b302099a8057");
    let file = workspace.data().with_file_name("events.jsonl");
    let send = |events: &str, code: i32| {
        fs::write(&file, events).expect("events");
        let args = ["feedback", "m", "--json", "--file", text(&file)];
        let (stdout, stderr) = run(&[&args[..], &["--server", &server.address]].concat(), code);
        let tally: Value = serde_json::from_str(stdout.trim()).expect("an object");
        (tally, stderr)
    };
    let (tally, _) = send(&known, 0);
    assert_eq!(
        (&tally["accepted"], &tally["unmatched"]),
        (&1.into(), &0.into())
    );
    server.status("m").await;
    let (tally, stderr) = send(&unknown, 0);
    assert_eq!(
        (&tally["accepted"], &tally["unmatched"]),
        (&1.into(), &1.into()),
        "{stderr}"
    );
    assert!(stderr.contains("1 accepted event was about a prediction that is not known"));
    let unjournaled = known.replace("\"a\"", "\"c\"").replace(id, "");
    let (tally, stderr) = send(&unjournaled, 1);
    assert_eq!(tally["refused"], 1);
    let sentence = "prediction_id: \"\" is that of an answer that was not journaled; send the row itself as inputs";
    assert!(stderr.contains(sentence), "{stderr}");
    let nameless = known.replace("\"feedback_id\": \"a\", ", "");
    let (tally, stderr) = send(&nameless, 1);
    assert_eq!(tally["refused"], 1);
    assert!(
        stderr.contains("line 1: feedback_id: not given; each event has an id of its own"),
        "{stderr}"
    );
    assert!(stderr.contains("error: 1 event was refused"), "{stderr}");
    let bad = [
        "predict", "m", "--set", "x=tall", "--set", "y=2", "--set", "c=red",
    ];
    server.refuses(&bad, "error: --set: \"x\": \"tall\" is not a finite number");
    server.stop();
}

#[test]
fn p9_a_model_named_without_its_folder_is_found_among_the_models() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = export(&workspace);
    let mut command =
        crate::support::server::program(&["evaluate", "m", text(&file), "--target", "target"]);
    command.current_dir(workspace.models().parent().expect("the workspace"));
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("m: no such model folder; there is models/m"),
        "{stderr}"
    );
}
