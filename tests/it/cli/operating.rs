//! The log and the messages for an operator: orders, refusals, and a run that is stopped.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::Value;

use crate::cli::csv;
use crate::support::server::{
    Server, WAIT_MAX, ended, kill, program, refused, run, serve_args, text,
};
use crate::support::{AUTO, Workspace};

#[test]
fn a_restore_with_a_freeze_learns_nothing_more_until_the_model_is_resumed() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = csv(&workspace, 5);
    let server = Server::of(&workspace);
    server.json(&["stream", "m", text(&file), "--target", "target"]);
    server.refuses(&["restore", "m", "99", "--freeze"], "no version 99");
    let is_frozen = || server.json(&["status", "m"])["gate"]["frozen"].clone();
    assert_eq!(is_frozen(), false, "nothing was restored");
    for _ in 0..2 {
        server.json(&["restore", "m", "1", "--freeze", "--note", "under review"]);
        assert_eq!(is_frozen(), true);
    }
    server.ask(&["resume", "m"]);
    assert_eq!(is_frozen(), false);
    server.stop();
}

#[test]
fn an_order_and_its_refusal_stand_in_the_log_with_who_gave_it() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = csv(&workspace, 5);
    let log = workspace.data().with_file_name("log");
    let log_file = File::create(&log).expect("a log");
    let server = Server::logging(&workspace.models(), &workspace.data(), log_file.into());
    server.json(&["stream", "m", text(&file), "--target", "target"]);
    server.json(&["checkpoint", "m", "--note", "before"]);
    server.json(&["restore", "m", "1"]);
    server.refuses(
        &["retract", "m", "--source", "nobody"],
        "no feedback of source",
    );
    assert_eq!(server.json(&["show", "m", "3"])["actor"], "127.0.0.1");
    server.stop();
    let log = fs::read_to_string(log).expect("a log");
    for order in ["checkpoint", "restore"] {
        let line = log.lines().find(|line| {
            line.contains("order carried out") && line.contains(&format!("order=\"{order}\""))
        });
        let line = line.unwrap_or_else(|| panic!("{order}: {log}"));
        for field in [
            "model=\"m\"",
            "actor=\"127.0.0.1\"",
            "version=",
            "position=",
        ] {
            assert!(line.contains(field), "{field}: {line}");
        }
    }
    // An offline order names the system's user.
    let data = workspace.data();
    let made = run(&["restore", "m", "2", "--data", text(&data)], 0).0;
    assert!(made.starts_with("made version 4 at position "), "{made}");
    let shown = run(&["show", "m", "4", "--data", text(&data), "--json"], 0).0;
    let shown: Value = serde_json::from_str(&shown).expect("an object");
    // SAFETY: it takes nothing and cannot fail.
    let user = unsafe { libc::getuid() };
    assert_eq!(shown["actor"], format!("uid {user}"));
}

#[test]
fn a_refused_order_is_announced_to_nobody_and_logged() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let log = workspace.data().with_file_name("log");
    let log_file = File::create(&log).expect("a log");
    let server = Server::logging(&workspace.models(), &workspace.data(), log_file.into());
    let args = ["restore", "m", "99", "--server", &server.address];
    let (stdout, stderr) = run(&args, 1);
    assert_eq!(stdout, "");
    // Nothing else: no note announces that the model goes back.
    let expected = "error: model \"m\" has no version 99; it has 1\n";
    assert_eq!(stderr, expected);
    // Whoever asks over the wire is refused in the log as well.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut client = crate::support::server::Client::connect(&server.address).await;
        let request = perennial::proto::perennial::v1::RestoreRequest {
            model: "m".to_owned(),
            version: 99,
            ..Default::default()
        };
        client.registry.restore(request).await.expect_err("none");
    });
    server.stop();
    let log = fs::read_to_string(log).expect("a log");
    let line = log.lines().find(|line| line.contains("order refused"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for field in ["order=\"restore\"", "model=\"m\"", "NotFound", "version 99"] {
        assert!(line.contains(field), "{field}: {line}");
    }
}

#[test]
fn a_port_in_use_is_reported_before_the_models_are_recovered() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    // The data directory is taken as well, which opening it would tell.
    let (models, data) = (workspace.models(), workspace.data());
    let mut args = serve_args(&models, &data);
    let listen = args
        .iter()
        .position(|arg| *arg == "--listen")
        .expect("it is there");
    args[listen + 1] = &server.address;
    refused(
        &args,
        &format!("--listen {}: cannot listen there", server.address),
    );
    server.stop();
}

#[test]
fn a_model_that_was_never_judged_has_no_score_and_what_was_labelled_waits_no_more() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    let status = server.json(&["status", "m"]);
    for score in ["score", "recent_score", "no_change_score"] {
        assert_eq!(status[score], Value::Null, "{score}");
    }
    let metrics = server.metrics();
    assert!(!metrics.contains("perennial_score{"), "{metrics}");
    server.json(&["checkpoint", "m"]);
    let metrics = &server.json(&["show", "m", "2"])["metrics"];
    assert_eq!(metrics["judged"], 0.0);
    assert_eq!(metrics.get("score"), None);
    let file = csv(&workspace, 20);
    server.json(&["stream", "m", text(&file), "--target", "target"]);
    let status = server.json(&["status", "m"]);
    assert_eq!(
        (&status["judged"], &status["waiting"]),
        (&20.into(), &0.into())
    );
    assert!(status["score"].is_number() && status["recent_score"].is_number());
    assert!(server.metrics().contains("perennial_score{model=\"m\"} "));
    server.stop();
}

/// Rows without end, through a pipe with a name: the input of a run until it is stopped.
struct EndlessRows {
    path: PathBuf,
    workspace: Workspace,
}

impl EndlessRows {
    fn new(workspace: Workspace) -> EndlessRows {
        let path = workspace.data().with_file_name("rows");
        let name = CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
        // SAFETY: the name is a live string with its end.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        assert_eq!(made, 0, "a pipe");
        EndlessRows { path, workspace }
    }

    /// Starts a command that reads the rows, stops it by SIGINT once it is at work, and gives the
    /// object that it prints.
    fn stop(&self, args: &[&str], rows: String) -> Value {
        let child = program(args).spawn().expect("it starts");
        let (at_work, is_at_work) = channel();
        let path = self.path.clone();
        let writing = thread::spawn(move || {
            let mut pipe = File::options().write(true).open(path).expect("it reads");
            let (header, rows) = rows.split_once('\n').expect("a header");
            let _ = writeln!(pipe, "{header}");
            let mut n_bytes = 0;
            // More than the pipe and what reads it can hold have been taken in by then.
            while pipe.write_all(rows.as_bytes()).is_ok() {
                n_bytes += rows.len();
                if n_bytes > 400_000 {
                    let _ = at_work.send(());
                }
            }
        });
        is_at_work.recv_timeout(WAIT_MAX).expect("it reads on");
        kill(child.id(), libc::SIGINT);
        let output = ended(child);
        writing.join().expect("nobody reads any more");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        let sentence = "stopped by ctrl-c: the results are of the rows until then";
        assert!(stderr.contains(sentence), "{stderr}");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        serde_json::from_str(stdout.lines().last().expect("a line")).expect("an object")
    }
}

/// Few rows for their bytes: each has a long text that no model asks for.
fn long_rows() -> String {
    let text = "a parcel was sent ".repeat(100);
    let row = |index: usize| {
        let (x, target) = (index % 7, ["a", "b"][index % 2]);
        format!("{x},{x},red,{text},{target},1,0.5\n")
    };
    let rows: String = (0..20).map(row).collect();
    format!("x,y,c,words,target,reward,p\n{rows}")
}

#[test]
fn the_port_of_http_is_named_where_it_is_given_for_that_of_grpc() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let file = csv(&workspace, 5);
    let server = Server::of(&workspace);
    let stream = ["stream", "m", text(&file), "--target", "target"];
    let predict = [
        "predict", "m", "--set", "x=1", "--set", "y=2", "--set", "c=red",
    ];
    for args in [&["status"][..], &["versions", "m"], &stream, &predict] {
        for scheme in ["", "http://", "grpc://"] {
            let address = format!("{scheme}{}", server.http);
            let args = [args, &["--server", &address]].concat();
            refused(
                &args,
                "error: the address of --server answers HTTP, not gRPC",
            );
            refused(&args, "prints as grpc=HOST:PORT");
        }
    }
    server.stop();
}

#[test]
fn ctrl_c_ends_a_run_with_what_it_had_reached() {
    let rows = EndlessRows::new(Workspace::new(&[("m", AUTO)]));
    let (folder, path) = (rows.workspace.models().join("m"), rows.path.clone());
    let target = ["--target", "target", "--json"];
    let args = ["evaluate", text(&folder), text(&path)];
    let evaluated = rows.stop(&[&args[..], &target].concat(), long_rows());
    let check = |reached: &Value, what: &str| {
        assert!(reached["examples"].as_u64() > Some(50), "{what}: {reached}");
        assert!(reached["progressive_accuracy"].is_number(), "{what}");
    };
    check(&evaluated, "evaluate");
    let server = Server::of(&rows.workspace);
    let address = ["--server", &server.address];
    for way in [&[][..], &["--open"]] {
        let args = ["stream", "m", text(&path), "--again"];
        let streamed = rows.stop(&[&args[..], &target, &address, way].concat(), long_rows());
        check(&streamed, "stream");
    }
    server.stop();
}

#[test]
fn ctrl_c_ends_a_valuation_with_what_it_had_reached() {
    let bandit = "task = 'bandit'\nactions = ['a', 'b']\n[[input]]\nname = 'x'\nkind = 'number'\n";
    let rows = EndlessRows::new(Workspace::new(&[("m", bandit)]));
    let folder = rows.workspace.models().join("m");
    let args = ["evaluate", text(&folder), text(&rows.path), "--json"];
    let columns = [
        "--action",
        "target",
        "--reward",
        "reward",
        "--propensity",
        "p",
    ];
    let valued = rows.stop(&[&args[..], &columns].concat(), long_rows());
    assert!(valued["examples"].as_u64() > Some(50), "{valued}");
}
