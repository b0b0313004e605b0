//! The socket of the file system, and the audit log.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{SetLimitsRequest, WatchRequest};
use perennial::server::{self, AuditLog};
use serde_json::Value;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::guarded::{Guarded, Identities, credential, only, token};
use super::streams::{by, within};
use super::{Keys, SET};
use crate::support::server::{Server, run};
use crate::support::{AUTO, Workspace};

/// The lines of an audit log, without their times.
fn lines(path: &str) -> Vec<Value> {
    let log = fs::read_to_string(path).expect("the file");
    let object = |line| -> Value { serde_json::from_str(line).expect("an object") };
    log.lines()
        .map(object)
        .map(|mut line| {
            let time = line
                .as_object_mut()
                .and_then(|line| line.shift_remove("time"));
            assert!(time.is_some_and(|time| time.is_string()));
            line
        })
        .collect()
}

#[test]
fn p8_a_socket_serves_whoever_may_open_it_and_orders_and_reads_are_written_down() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let keys = Keys::new(&Identities::new());
    let (socket, log) = (keys.at("grpc.sock"), keys.at("audit.jsonl"));
    let server = Server::start_with(&workspace.models(), &workspace.data(), |command| {
        command.args(["--socket", &socket, "--audit-log", &log]);
    });
    let url = format!("unix:{socket}");
    let ask = |args: &[&str], code| run(&[args, &["--server", &url]].concat(), code);
    ask(&[&["predict", "m"], &SET[..]].concat(), 0);
    ask(&["limits", "m", "--bytes-max", "2GiB"], 0);
    ask(&["limits", "m", "--bytes-max", "4GiB", "--dry-run"], 0);
    ask(&["checkpoint", "m"], 0);
    ask(&["quarantine", "m"], 0);
    server.stop();
    assert!(!fs::exists(&socket).expect("it is looked for"));
    let written: Vec<String> = lines(&log)
        .iter()
        .map(|line| {
            let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let [event, model, order, what, outcome] =
                ["event", "model", "order", "what", "outcome"].map(word);
            format!("{event} {model} {order}{what} {outcome}")
        })
        .collect();
    let expected = [
        "order m limits done",
        "order m checkpoint done",
        "read m quarantine ",
    ];
    assert_eq!(written, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_limits_that_are_refused_are_written_down_with_their_actor() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let bounds = server::Config {
        audit_log: Some(Arc::new(AuditLog::open(&path).expect("it is opened"))),
        ..server::Config::default()
    };
    let files = only(credential("ops", "ops", &["operate"], ""));
    let server = Guarded::start_bounded(&[("m", AUTO)], &files, bounds).await;
    let mut registry = RegistryClient::new(server.plain().await);
    for (model, bytes_max) in [("m", "much"), ("nowhere", "2GiB"), ("m", "2GiB")] {
        let order = SetLimitsRequest {
            model: model.to_owned(),
            bytes_max: Some(bytes_max.to_owned()),
            ..SetLimitsRequest::default()
        };
        // Its outcome stands in the log.
        let _ = within(registry.set_limits(by("ops", order))).await;
    }
    server.stop().await;
    let written = lines(path.to_str().expect("UTF-8"));
    let written: Vec<_> = written
        .iter()
        .map(|line| (&line["actor"], &line["model"], &line["outcome"]))
        .map(|(actor, model, outcome)| format!("{actor} {model} {outcome}").replace('"', ""))
        .collect();
    let expected = [
        "ops m INVALID_ARGUMENT",
        "ops nowhere NOT_FOUND",
        "ops m done",
    ];
    assert_eq!(written, expected);
}

#[test]
fn p8_the_socket_asks_for_a_credential_where_the_port_does() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let keys = Keys::new(&Identities::new());
    let (socket, log) = (keys.at("grpc.sock"), keys.at("audit.jsonl"));
    keys.token("reader", &["--scope", "observe"]);
    let credentials = keys.at("credentials.toml");
    let server = Server::start_with(&workspace.models(), &workspace.data(), |command| {
        command.args(["--socket", &socket, "--audit-log", &log]);
        command.args(["--credentials", &credentials]);
    });
    let url = format!("unix:{socket}");
    let ask = |args: &[&str], code| run(&[&["status", "--server", &url], args].concat(), code);
    ask(&["--token-file", &keys.at("reader")], 0);
    ask(&[], 1);
    let stranger = keys.write("stranger", &token("nobody"));
    ask(&["--token-file", &stranger], 1);
    server.stop();
    let all = lines(&log);
    let refused = all.iter().filter(|line| line["event"] == "refused");
    let whys: Vec<&str> = refused.filter_map(|line| line["why"].as_str()).collect();
    assert!(
        whys.iter().any(|why| why.starts_with("no credential came")),
        "{whys:?}"
    );
    assert!(
        whys.iter()
            .any(|why| why.starts_with("the token is not known")),
        "{whys:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_credential_that_leaves_its_file_ends_an_open_watch_within_seconds() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let keys = Keys::new(&Identities::new());
    for name in ["watcher", "other"] {
        keys.token(name, &["--scope", "observe"]);
    }
    let credentials = keys.at("credentials.toml");
    let server = Server::start_with(&workspace.models(), &workspace.data(), |command| {
        command.args(["--credentials", &credentials]);
    });
    let all = fs::read_to_string(&credentials).expect("the file");
    let watchers = all.find("[[credential]]").expect("the first one");
    let others = all.rfind("[[credential]]").expect("the last one");
    let token = fs::read_to_string(keys.at("watcher")).expect("the token");
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address));
    let channel = endpoint
        .expect("a URL")
        .connect()
        .await
        .expect("it listens");
    let mut request = Request::new(WatchRequest::default());
    let bearer = format!("Bearer {}", token.trim())
        .parse()
        .expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    let watch = RegistryClient::new(channel).watch(request).await;
    let mut watch = watch.expect("it may").into_inner();
    let changed = [&all[..watchers], &all[others..]].concat();
    fs::write(&credentials, changed).expect("the file");
    let begun = Instant::now();
    let ended = within(watch.message()).await.expect_err("it ends");
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.stop();
}
