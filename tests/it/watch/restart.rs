//! Kills and restarts: a queued event is sent once more under its id, and nothing else is.

use std::fs;
use std::process::Stdio;

use perennial::event::{Command, Event, Order};
use perennial::store::{Config, Directory, Journal, Reader, verify};

use super::receiver::{Answer, Receiver, SECRET};
use super::{GOOD, described};
use crate::support::Workspace;
use crate::support::server::{Server, refused, serve_args, text};

fn server(workspace: &Workspace, url: &str) -> Server {
    let config = workspace.models().join("../perennial.toml");
    let toml = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    fs::write(&config, toml).unwrap();
    let (models, data) = (workspace.models(), workspace.data());
    Server::start_with(&models, &data, |command| {
        command.arg("--config").arg(&config).stderr(Stdio::null());
    })
}

#[test]
fn p1_what_was_queued_before_a_kill_is_sent_after_it_and_nothing_twice() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let receiver = Receiver::start(vec![Answer::Hang, Answer::Status("200 OK")]);
    let killed = server(&workspace, &receiver.url());
    killed.ask(&["freeze", "m"]);
    let before = receiver.next();
    // Dropping it kills it.
    drop(killed);
    let again = server(&workspace, &receiver.url());
    let after = receiver.next();
    assert_eq!((after.id(), after.event()), (before.id(), before.event()));
    again.ask(&["resume", "m"]);
    assert_eq!(receiver.next().event()["kind"], "resumed");
    again.stop();

    // The whole journal is applied again, and nothing of it is published again.
    fs::remove_dir_all(workspace.data().join("m/checkpoints")).unwrap();
    let replayed = server(&workspace, &receiver.url());
    replayed.ask(&["freeze", "m", "--note", "later"]);
    assert_eq!(receiver.next().event()["note"], "later");
    let page = replayed.metrics();
    let counted = "perennial_learning_events_total{model=\"m\",kind=\"frozen\"} 1\n";
    assert!(page.contains(counted), "{page}");
    assert!(page.contains("perennial_webhook_queued_events "), "{page}");
    replayed.stop();
}

/// Appends orders to the journal of a stopped model, as a kill leaves those that were synced and not learned.
fn append(workspace: &Workspace, orders: [Order; 2]) {
    let directory = Directory::open(&workspace.data()).unwrap();
    let folder = directory.journal("m");
    let (mut journal, _) = Journal::create_or_open(&folder, 0, Config::default()).unwrap();
    let last = verify(&folder).unwrap().last_position;
    let newest = Reader::open(&folder, last, last).unwrap().next(last);
    let now = newest.unwrap().expect("an entry").time;
    for order in orders {
        let command = Command {
            order,
            actor: "ann".to_owned(),
            note: String::new(),
        };
        journal.append(now, &Event::Command(command)).unwrap();
    }
    journal.close().unwrap();
}

#[test]
fn p1_what_was_synced_and_not_learned_at_a_kill_is_sent_once_after_it() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let receiver = Receiver::start(vec![Answer::Status("200 OK")]);
    let first = server(&workspace, &receiver.url());
    first.ask(&["freeze", "m"]);
    assert_eq!(receiver.next().event()["kind"], "frozen");
    first.stop();
    append(&workspace, [Order::Resume, Order::Freeze]);
    for is_replayed in [false, true] {
        if is_replayed {
            fs::remove_dir_all(workspace.data().join("m/checkpoints")).unwrap();
        }
        let again = server(&workspace, &receiver.url());
        if !is_replayed {
            let told = [receiver.next(), receiver.next()];
            let kinds = told.each_ref().map(|one| one.event()["kind"].clone());
            assert_eq!(kinds, ["resumed", "frozen"]);
            assert_eq!(told[0].event()["actor"], "ann");
        }
        // Nothing comes in between.
        again.ask(&["resume", "m"]);
        assert_eq!(receiver.next().event()["kind"], "resumed");
        again.ask(&["freeze", "m", "--note", "again"]);
        assert_eq!(receiver.next().event()["note"], "again");
        again.stop();
    }
}

#[test]
fn p9_a_webhook_that_may_not_be_is_refused_before_a_port_is_opened() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let config = workspace.models().join("../perennial.toml");
    let check = |toml: String, expected: &str| {
        fs::write(&config, toml).unwrap();
        let (models, data) = (workspace.models(), workspace.data());
        let args = serve_args(&models, &data);
        refused(
            &[&args[..], &["--config", text(&config)]].concat(),
            expected,
        );
    };
    let table =
        |url: &str, secret: &str| format!("[webhook]\nurl = \"{url}\"\nsecret = \"{secret}\"\n");
    check(
        table("https://10.0.0.5/", SECRET),
        "webhook.url: 10.0.0.5 is at 10.0.0.5, which is not a public address",
    );
    check(
        table("http://example.com/", SECRET),
        "webhook.url: http://example.com is not encrypted",
    );
    check(
        table("https://example.com/", "short"),
        "webhook.secret: expected whsec_",
    );
    check(
        "[webhook]\nurl = \"https://example.com/\"\n".to_owned(),
        "missing field `secret`",
    );
    assert!(!workspace.data().exists(), "nothing was begun");
}
