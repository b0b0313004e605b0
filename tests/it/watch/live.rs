//! Learning events of a model as they happen, on the stream, in metrics, in the status and on the command line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};

use perennial::engine::{Certificate, Disposal, RetractionRequest, ServedModel};
use perennial::event::{Order, Selector};
use perennial::proto::perennial::v1::{
    LearningEvent, StatusRequest, UpdateIncidentRequest, WatchRequest,
};
use perennial::server::{Webhook, WebhookConfig};
use tonic::{Code, Streaming};

use super::receiver::{Answer, Receiver, SECRET};
use super::{BAD, GOOD, Served, described, give, has_rewound, next, next_of, teach_until, watch};
use crate::support::Workspace;
use crate::support::server::{Client, Server, ended, kill, program};

/// A model that has learned well, and from its next start on makes each step too long.
async fn about_to_fail() -> Workspace {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let engine = workspace.open();
    teach_until(engine.model("m").unwrap(), (0, 600), "people", || false).await;
    engine.close();
    drop(engine);
    workspace.describe("m", &described("live", BAD));
    workspace
}

/// A person sees to an incident.
async fn acknowledge(client: &mut Client, incident: u64) {
    let update = UpdateIncidentRequest {
        model: "m".to_owned(),
        incident,
        state: "acknowledged".to_owned(),
        note: "looking".to_owned(),
    };
    client.registry.update_incident(update).await.unwrap();
}

async fn retract_batch(model: &ServedModel) -> Certificate {
    let request = RetractionRequest {
        selector: Selector::Source("batch".to_owned()),
        actor: "ann".to_owned(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    model.retract(request).await.unwrap()
}

/// The webhook had the events of a stream up to a restore, each once and in the same order.
async fn has_the_same_events(receiver: &Receiver, mut events: Streaming<LearningEvent>) {
    let mut event = next(&mut events).await;
    let mut posted = receiver.next();
    while posted.id() != event.id {
        posted = receiver.next();
    }
    loop {
        let posted_event = posted.event();
        assert_eq!(posted_event["id"], event.id);
        assert_eq!(posted_event["message"], event.message);
        if event.kind == "restored" {
            return;
        }
        (event, posted) = (next(&mut events).await, receiver.next());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_its_incident_and_a_revised_history_are_published_once_each() {
    let workspace = about_to_fail().await;
    let receiver = Receiver::start(vec![Answer::Status("204 No Content")]);
    let webhook = Webhook::new(&WebhookConfig {
        url: receiver.url(),
        secret: SECRET.to_owned(),
        ..WebhookConfig::default()
    });
    let served = Served::start(&workspace, Some((webhook.unwrap(), 1000))).await;
    let (model, mut client) = (served.model(), served.client().await);
    let mut events = watch(&mut client, "m", 0).await;
    teach_until(&model, (600, 1200), "batch", || has_rewound(&model)).await;
    let rewound = next_of(&mut events, "rewound").await;
    assert!(rewound.message.contains("proved worse"), "{rewound:?}");
    assert!(rewound.labels > Some(0) && rewound.difference > Some(0.0));
    // The errors that led to it have an incident of their own, which may come first.
    let incident = loop {
        let incident = next_of(&mut events, "incident").await;
        if incident.position == rewound.position {
            break incident;
        }
    };
    assert_eq!(incident.version, rewound.version);
    assert_eq!(incident.id, format!("m/{}/incident/0", incident.position));
    let raised = incident.incident.expect("it is published");
    assert_eq!(
        (raised.incident, &raised.kind[..]),
        (incident.position, "rewound")
    );

    acknowledge(&mut client, raised.incident).await;
    let seen_to = next_of(&mut events, "incident_acknowledged").await;
    assert_eq!(
        (&seen_to.actor[..], &seen_to.note[..]),
        ("127.0.0.1", "looking")
    );

    // Without examples learned since the champion there is no rewind: the incident is withdrawn.
    let certificate = retract_batch(&model).await;
    let revised = next_of(&mut events, "history_revised").await;
    assert_eq!(
        (revised.position, revised.version),
        (certificate.position, certificate.version)
    );
    assert!(revised.incidents_withdrawn.contains(&raised.incident));
    assert_eq!(
        (revised.generation, &revised.incidents_added[..]),
        (revised.position, &[][..])
    );
    let restored_from = give(&model, Order::Restore { version: 1 }, "").await;
    let restored = next_of(&mut events, "restored").await;
    assert_eq!(
        (restored.position, restored.generation),
        (restored_from, revised.position)
    );

    let again = watch(&mut client, "m", rewound.position).await;
    has_the_same_events(&receiver, again).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_published_with_its_actor_and_stands_in_status_and_metrics() {
    let workspace = Workspace::new(&[("m", &described("manual", GOOD))]);
    let engine = workspace.open();
    teach_until(engine.model("m").unwrap(), (0, 400), "people", || false).await;
    engine.close();
    drop(engine);
    let log = workspace.data().with_file_name("log");
    let log_file = File::create(&log).unwrap();
    let server = Server::logging(&workspace.models(), &workspace.data(), log_file.into());
    let mut client = Client::connect(&server.address).await;
    let mut events = watch(&mut client, "", 0).await;
    server.ask(&["promote", "m", "--note", "looked at"]);
    let promoted = next_of(&mut events, "promoted").await;
    assert_eq!(
        (&promoted.model[..], &promoted.note[..]),
        ("m", "looked at")
    );
    let status = client.registry.status(StatusRequest::default()).await;
    let status = status.unwrap().into_inner();
    let newest = status.models[0].newest_events.last().expect("it is kept");
    assert_eq!((newest, status.watches), (&promoted, 1));
    assert_eq!(status.webhook, None);
    let shown = server.ask(&["status", "m"]);
    assert!(shown.contains(" promoted: version "), "{shown}");
    assert_eq!(
        server.json(&["status", "m"])["newest_events"][0]["id"],
        promoted.id
    );
    let metrics = server.metrics();
    for line in [
        "perennial_learning_events_total{model=\"m\",kind=\"promoted\"} 1\n",
        "perennial_watches 1\n",
        "perennial_dropped_watches_total 0\n",
        "perennial_webhook_queued_events 0\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    server.stop();
    let log = fs::read_to_string(log).unwrap();
    let line = log.lines().find(|line| line.contains("kind=\"promoted\""));
    let line = line.expect("it is in the log");
    assert!(
        line.contains(&promoted.message) && line.contains("model=\"m\""),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_watch_that_cannot_be_is_refused_in_a_sentence() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let served = Served::start(&workspace, None).await;
    let mut client = served.client().await;
    let check = async |model: &str, from_position: u64, (code, expected): (Code, &str)| {
        let mut client = served.client().await;
        let request = WatchRequest {
            model: model.to_owned(),
            from_position,
        };
        let refused = client.registry.watch(request).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(expected), "{refused}");
    };
    check("none", 0, (Code::NotFound, "no model \"none\"")).await;
    check(
        "",
        7,
        (
            Code::InvalidArgument,
            "from_position: positions are of one model",
        ),
    )
    .await;
    let kept = (
        Code::InvalidArgument,
        "from_position: 1, but events are kept from position ",
    );
    check("m", 1, kept).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(watch(&mut client, "m", 0).await);
    }
    check("m", 0, (Code::ResourceExhausted, "64 watches are open")).await;
    // A server that stops ends them, and does not wait for who watches.
    served.stop().await;
    let ended = open[0].message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(
        ended.message().contains("the server is stopping"),
        "{ended}"
    );
}

#[test]
fn the_command_prints_a_line_an_event_and_ends_well_on_ctrl_c() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let server = Server::of(&workspace);
    for is_json in [false, true] {
        let json: &[&str] = if is_json { &["--json"] } else { &[] };
        let args = [&["watch", "m", "--server", &server.address], json].concat();
        let mut child = program(&args).spawn().expect("the program starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "watching m; ctrl-c ends it\n");
        server.ask(&["freeze", "m", "--note", "under\treview"]);
        let mut shown = Vec::new();
        loop {
            line.clear();
            stdout.read_line(&mut line).unwrap();
            if line.contains("frozen") {
                break;
            }
            shown.push(line.clone());
        }
        // The state of the model comes first, for people.
        let has_status = shown
            .iter()
            .any(|line| line.contains("version 1, position"));
        assert_eq!(has_status, !is_json, "{shown:?}");
        if is_json {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(
                (&event["kind"], &event["note"]),
                (&"frozen".into(), &"under\treview".into())
            );
        } else {
            let expected =
                " frozen: examples are scored and not learned; 127.0.0.1: under\\treview\n";
            assert!(line.ends_with(expected), "{line}");
        }
        kill(child.id(), libc::SIGINT);
        assert_eq!(ended(child).status.code(), Some(0));
        server.ask(&["resume", "m"]);
    }
    server.refuses(&["watch", "none"], "no model \"none\"");
    server.refuses(
        &["watch", "m", "--from", "1"],
        "events are kept from position",
    );
}
