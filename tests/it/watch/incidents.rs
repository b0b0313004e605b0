//! Incidents that no verdict comes with: alarms about errors and about slices, on the stream and at the webhook.
//!
//! Invariant: each is reported once, with its suspects and the actions of a person.

use std::collections::BTreeMap;

use perennial::engine::{PredictOptions, ServedModel};
use perennial::event::{Feedback, Order};
use perennial::server::{Webhook, WebhookConfig};

use super::receiver::{Answer, Receiver, SECRET};
use super::{GOOD, Served, described, give, next, next_of, teach_until, watch};
use crate::support::{Workspace, label, rows};

/// Teaches the wrong class of rows from `from` on as the source `batch`, until there are incidents of these kinds.
async fn mislead_until(model: &ServedModel, from: usize, kinds: &[&str]) {
    let is_enough = || {
        let gate = model.status(false).gate.expect("a gate");
        let raised: Vec<&str> = gate.incidents.iter().map(|one| one.kind.word()).collect();
        kinds.iter().all(|kind| raised.contains(kind))
    };
    for (index, (batch, truth)) in rows(from + 2000, 0.3).enumerate().skip(from) {
        if is_enough() {
            return;
        }
        let snapshot = model.snapshot("").expect("it serves");
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        let id = answer.await.expect("an answer").ids[0];
        let wrong = if truth == "a" { "b" } else { "a" };
        let feedback = Feedback {
            source: "batch".to_owned(),
            ..label(id, &format!("row-{index}"), wrong)
        };
        let receipt = model.accept(feedback).expect("there is room");
        let accepted = receipt.wait().await.expect("acknowledged");
        let perennial::engine::Acknowledgement::Accepted { position } = accepted else {
            panic!("row {index} came before: {accepted:?}")
        };
        model.wait_for_position(position).await.expect("learned");
    }
    panic!("no incidents {kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_of_errors_and_of_slices_are_told_with_suspects_and_a_remedy() {
    let toml = format!("{}[monitor]\nsources = true\n", described("gated", GOOD));
    let workspace = Workspace::new(&[("m", &toml)]);
    let receiver = Receiver::start(vec![Answer::Status("204 No Content")]);
    let webhook = Webhook::new(&WebhookConfig {
        url: receiver.url(),
        secret: SECRET.to_owned(),
        ..WebhookConfig::default()
    });
    let served = Served::start(&workspace, Some((webhook.unwrap(), 1000))).await;
    let (model, mut client) = (served.model(), served.client().await);
    let mut events = watch(&mut client, "m", 0).await;
    for index in 0..900 {
        let source = ["people", "batch"][index % 2];
        teach_until(&model, (index, index + 1), source, || false).await;
    }
    mislead_until(&model, 900, &["errors", "slice"]).await;
    let mut published = BTreeMap::new();
    while published.len() < 2 {
        let event = next_of(&mut events, "incident").await;
        let incident = event.incident.clone().expect("an incident");
        if ["errors", "slice"].contains(&&incident.kind[..]) {
            let before = published.insert(incident.kind.clone(), event.clone());
            assert_eq!(before, None);
            assert_eq!(incident.suspects[0].source, "batch", "{incident:?}");
            let remedy = "`perennial retract m --source batch --dry-run` shows";
            assert!(incident.remedy.starts_with(remedy), "{incident:?}");
            assert!(event.message.contains(remedy), "{event:?}");
        }
    }
    let about = |kind: &str| {
        published[kind]
            .incident
            .as_ref()
            .expect("an incident")
            .about
            .clone()
    };
    assert_eq!(
        (&about("errors")[..], &about("slice")[..]),
        ("", "source:batch")
    );
    let mut n_posted = 0;
    while n_posted < 2 {
        let posted = receiver.next();
        if let Some(event) = published.values().find(|event| event.id == posted.id()) {
            let body = posted.event();
            let incident = event.incident.as_ref().expect("an incident");
            assert_eq!(body["incident"]["kind"], incident.kind);
            assert_eq!(body["incident"]["remedy"], incident.remedy);
            assert_eq!(body["incident"]["suspects"][0]["source"], "batch");
            n_posted += 1;
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_about_versions_and_names_are_told_with_who_gave_them() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let served = Served::start(&workspace, None).await;
    let (model, mut client) = (served.model(), served.client().await);
    let mut events = watch(&mut client, "m", 0).await;
    give(&model, Order::Checkpoint, "before the campaign").await;
    let alias = "best".to_owned();
    let order = Order::SetAlias {
        alias: alias.clone(),
        version: 2,
    };
    give(&model, order, "").await;
    give(&model, Order::RemoveAlias { alias }, "").await;
    let expected = [
        ("checkpoint", "version 2 is the state as it was"),
        ("alias", "\"best\" names version 2"),
        ("alias", "\"best\" names no version any more"),
    ];
    for (kind, message) in expected {
        let event = next(&mut events).await;
        assert_eq!((&event.kind[..], &event.message[..]), (kind, message));
        assert_eq!(event.actor, "ann");
    }
    served.stop().await;
}
