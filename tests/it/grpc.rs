//! The server over a real socket: its answers, learning, refusals and restores.

mod bounds;
mod calls_client;
mod connections;
mod frames;
mod frames_client;
mod metrics;
mod overload;
mod pairs;
mod positions;
mod priority;
mod refusals;
mod rewards;
mod served;
mod strangers;
mod together;
mod undoing;
mod unreadable;
mod waiting;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub(crate) use overload::holding;

use crate::support::{AUTO, gradient, rows};
use bytes::Bytes;
use perennial::event::{Batch, Column};
use perennial::proto::inference::*;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::*;
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};
use served::{
    Client, PredictReply, Served, asking_for, label, question, strings, unjournaled, within,
};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn row() -> Batch {
    rows(1, 0.0).next().expect("a row").0
}

async fn checkpoint(client: &mut Client, model: &str) -> VersionMade {
    let request = CheckpointRequest {
        model: model.to_owned(),
        note: "a test asks".to_owned(),
    };
    let made = within(client.registry.checkpoint(request)).await;
    made.expect("it is made").into_inner()
}

/// The raw bytes of the model's answers to the same rows.
async fn answers(client: &mut Client, model: &str) -> Vec<Vec<(String, Bytes)>> {
    let mut all = Vec::new();
    for (batch, _) in rows(20, 0.0) {
        let request = unjournaled(question(model, &batch));
        let request = asking_for(request, &["label", "probabilities"]);
        all.push(client.ask(request).await.expect("an answer").outputs);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_changes_once_its_feedback_is_learned() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    let before = client.ask(question("m", &row())).await.unwrap();
    assert_eq!(before.version, "1");
    assert_eq!(before.names(), ["label", "probabilities", "prediction_id"]);
    assert_eq!(before.ids[0].len(), 36);
    let reply = client.submit(label("m", &before.ids[0], "one", "b")).await;
    let reply = reply.unwrap();
    assert_eq!(
        (reply.status(), reply.feedback_id.as_str()),
        (Fate::Accepted, "one")
    );
    assert!(reply.position > before.position);
    let after = client.reach("m", reply.position).await;
    assert_eq!(after.version, "1");
    assert_ne!(after.raw("probabilities"), before.raw("probabilities"));
    assert_eq!(after.ids, [""], "it was not journaled");
    let status = client.status("m").await;
    assert_eq!((status.examples, status.fates["applied"]), (1, 1));
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_bad_event_in_a_stream_is_answered_and_the_stream_goes_on() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    let mut events = Vec::new();
    for (index, (batch, truth)) in rows(5, 0.0).enumerate() {
        let reply = client.ask(question("m", &batch)).await.unwrap();
        events.push(label("m", &reply.ids[0], &format!("row-{index}"), truth));
    }
    events[2].label = Some("z".to_owned());
    let replies = client.stream(events).await;
    let ids: Vec<_> = replies.iter().map(|reply| &reply.feedback_id).collect();
    assert_eq!(ids, ["row-0", "row-1", "row-2", "row-3", "row-4"]);
    for (index, reply) in replies.iter().enumerate() {
        let expected = [Fate::Accepted, Fate::Refused][usize::from(index == 2)];
        assert_eq!(reply.status(), expected, "{reply:?}");
    }
    assert_eq!(Code::from(replies[2].code), Code::InvalidArgument);
    assert_eq!(replies[2].field, "label");
    assert!(replies[2].message.contains("\"z\""), "{:?}", replies[2]);
    client.reach("m", replies[4].position).await;
    assert_eq!(client.status("m").await.fates["applied"], 4);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_resent_event_is_answered_with_the_first_position() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    let reply = client.ask(question("m", &row())).await.unwrap();
    let event = label("m", &reply.ids[0], "one", "a");
    let first = client.submit(event.clone()).await.unwrap();
    let again = client.submit(event.clone()).await.unwrap();
    assert_eq!(again.status(), Fate::Duplicate);
    assert_eq!(again.position, first.position);
    for reply in client.stream(vec![event.clone(), event]).await {
        assert_eq!(reply.status(), Fate::Duplicate);
        assert_eq!(reply.position, first.position);
    }
    client.reach("m", first.position).await;
    assert_eq!(client.status("m").await.examples, 1);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_models_learn_apart_in_one_server() {
    let net = gradient("adamw", "8", "der++");
    let names: Vec<String> = (0..6).map(|index| format!("model-{index}")).collect();
    let kinds = [AUTO, net.as_str()].into_iter().cycle();
    let models: Vec<_> = names.iter().map(String::as_str).zip(kinds).collect();
    let mut served = Served::start(&models).await;
    for (index, name) in names.iter().enumerate() {
        served.client.teach_rows(name, index + 1, 0.3, "row").await;
    }
    let request = StatusRequest::default();
    let status = within(served.client.registry.status(request))
        .await
        .unwrap();
    let learned: Vec<_> = status
        .into_inner()
        .models
        .into_iter()
        .map(|status| (status.model, status.fates["applied"]))
        .collect();
    let expected: Vec<_> = names.iter().cloned().zip(1..).collect();
    assert_eq!(learned, expected);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_with_one_id_a_row() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    let batch = Batch {
        n_rows: 3,
        columns: vec![
            Column::Numbers(vec![0.1, 0.2, 0.3]),
            Column::Numbers(vec![0.3, 0.2, 0.1]),
            Column::Strings(["red", "", "blue"].map(str::to_owned).to_vec()),
        ],
    };
    let reply = client.ask(question("m", &batch)).await.unwrap();
    assert_eq!(strings(reply.raw("label")).len(), 3);
    assert_eq!(reply.raw("probabilities").len(), 3 * 2 * 4);
    assert_eq!(reply.ids.iter().collect::<HashSet<_>>().len(), 3);
    let event = |(index, id): (usize, &String)| label("m", id, &format!("row-{index}"), "a");
    let events = reply.ids.iter().enumerate().map(event).collect();
    let replies = client.stream(events).await;
    client.reach("m", replies[2].position).await;
    assert_eq!(client.status("m").await.fates["applied"], 3);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn named_outputs_are_exactly_those_that_come() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    for outputs in [
        &["label"][..],
        &["prediction_id", "label"],
        &["probabilities"],
    ] {
        let request = asking_for(question("m", &row()), outputs);
        let reply = served.client.ask(request).await.unwrap();
        assert_eq!(reply.names(), outputs);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_restored_version_answers_with_the_same_bytes() {
    let net = gradient("adamw", "8", "der++");
    let mut served = Served::start(&[("auto", AUTO), ("net", &net)]).await;
    let client = &mut served.client;
    for model in ["auto", "net"] {
        client.teach_rows(model, 30, 0.0, "first").await;
        let made = checkpoint(client, model).await;
        let reply = answers(client, model).await;
        client.teach_rows(model, 30, 2.0, "second").await;
        assert_ne!(answers(client, model).await, reply, "{model}");
        let restored = client.restore(model, made.version).await.unwrap();
        assert!(restored.version > made.version);
        assert_eq!(answers(client, model).await, reply, "{model}");
        let asked = client.ask(question(model, &row())).await.unwrap();
        assert_eq!(asked.version, restored.version.to_string());
        let request = ListVersionsRequest {
            model: model.to_owned(),
        };
        let listed = within(client.registry.list_versions(request)).await;
        let listed = listed.unwrap().into_inner().versions;
        let served: Vec<_> = listed.iter().filter(|version| version.served).collect();
        assert_eq!(served.len(), 1);
        assert_eq!(served[0].version, restored.version);
        assert_eq!(served[0].parent, made.version);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_no_prediction_fails_while_versions_change() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    served.client.teach_rows("m", 30, 0.0, "first").await;
    let made = checkpoint(&mut served.client, "m").await;
    let mut client = served.client.clone();
    let teaching = tokio::spawn(async move { client.teach_rows("m", 60, 1.0, "second").await });
    let mut client = served.client.clone();
    let versions = tokio::spawn(async move {
        for _ in 0..3 {
            checkpoint(&mut client, "m").await;
            let restored = client.restore("m", made.version).await;
            restored.expect("it is restored");
        }
    });
    let mut asked: JoinSet<Result<PredictReply, tonic::Status>> = JoinSet::new();
    for (batch, _) in rows(500, 0.0) {
        let mut client = served.client.clone();
        asked.spawn(async move { client.ask(question("m", &batch)).await });
    }
    let mut ids = HashSet::new();
    while let Some(reply) = within(asked.join_next()).await {
        let reply = reply.expect("no panic").expect("no prediction fails");
        ids.extend(reply.ids);
    }
    assert_eq!(ids.len(), 500);
    within(teaching)
        .await
        .expect("feedback is taken throughout");
    within(versions)
        .await
        .expect("versions are made throughout");
    let status = served.client.status("m").await;
    assert_eq!(status.version, made.version + 6);
    assert_eq!(status.fates.values().sum::<u64>(), 90);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_what_can_be_asked() {
    let bad = AUTO.replace("classification", "magic");
    let mut served = Served::start(&[("bad", &bad), ("good", AUTO)]).await;
    let mut health = HealthClient::new(served.client.channel.clone());
    for service in [
        "",
        "inference.GRPCInferenceService",
        "perennial.v1.Learning",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let reply = within(health.check(request)).await.unwrap().into_inner();
        assert_eq!(reply.status(), ServingStatus::Serving, "{service}");
    }
    let inference = &mut served.client.inference;
    let live = within(inference.server_live(ServerLiveRequest {})).await;
    assert!(live.unwrap().into_inner().live);
    let ready = within(inference.server_ready(ServerReadyRequest {})).await;
    assert!(ready.unwrap().into_inner().ready);
    for (name, version, expected) in [
        ("good", "", true),
        ("good", "1", true),
        ("good", "7", false),
        ("bad", "", false),
        ("nobody", "", false),
    ] {
        let request = ModelReadyRequest {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let ready = within(inference.model_ready(request)).await.unwrap();
        assert_eq!(ready.into_inner().ready, expected, "{name} {version}");
    }
    let refusal = served
        .client
        .ask(question("bad", &row()))
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("task = \"magic\""), "{refusal}");
    let text = served.get("/metrics");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    drop(health);
    served.client.teach_rows("good", 1, 0.0, "row").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_failed_sync_stops_feedback_says_so_and_lets_predictions_go_on() {
    let failing = Arc::new(AtomicBool::new(false));
    let fail = failing.clone();
    let disk = Disk::watched(move |change| match change {
        DiskChange::Sync(_) if fail.load(Relaxed) => {
            Err(std::io::Error::from_raw_os_error(libc::EIO))
        }
        _ => Ok(ChangeOutcome::Make),
    });
    let mut served = Served::start_on(&[("m", AUTO)], disk).await;
    served.client.teach_rows("m", 3, 0.0, "before").await;
    let mut health = HealthClient::new(served.client.channel.clone());
    let request = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let learning = request("perennial.v1.Learning");
    let mut watched = within(health.watch(learning)).await.unwrap().into_inner();
    let now = within(watched.message()).await.unwrap().unwrap();
    assert_eq!(now.status(), ServingStatus::Serving);
    failing.store(true, Relaxed);
    let reply = served.client.ask(question("m", &row())).await.unwrap();
    let event = label("m", &reply.ids[0], "lost", "a");
    let refusal = served.client.submit(event.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    let once = "model \"m\" is unavailable: its journal failed";
    assert!(refusal.message().starts_with(once), "{refusal}");
    let now = within(watched.message()).await.unwrap().unwrap();
    assert_eq!(now.status(), ServingStatus::NotServing);
    // The disk is well again, but the dropped writes are not known: nothing is acknowledged.
    failing.store(false, Relaxed);
    let refusal = served.client.submit(event).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    let again = served.client.ask(question("m", &row())).await.unwrap();
    assert_eq!(again.raw("probabilities"), reply.raw("probabilities"));
    assert_eq!(again.ids, [""]);
    for service in ["", "inference.GRPCInferenceService"] {
        let reply = within(health.check(request(service))).await.unwrap();
        assert_eq!(reply.into_inner().status(), ServingStatus::Serving);
    }
    let status = served.client.status("m").await;
    assert_eq!(status.state, "UNAVAILABLE");
    assert!(
        status.reason.contains("Input/output error"),
        "{}",
        status.reason
    );
    assert_eq!((status.unjournaled, status.fates["applied"]), (1, 3));
    drop(watched);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_was_never_described_is_let_in_and_shown() {
    let open = AUTO.replacen("[[input]]", "classes_max = 3\n[[input]]", 1);
    let mut served = Served::start(&[("m", &open)]).await;
    let client = &mut served.client;
    client.teach_rows("m", 20, 0.0, "known").await;
    let before = client.ask(question("m", &row())).await.unwrap();
    assert_eq!(before.raw("probabilities").len(), 2 * 4);
    let mut far = row();
    far.columns[0] = Column::Numbers(vec![50.0]);
    far.columns[2] = Column::Strings(vec!["violet".to_owned()]);
    for index in 0..10 {
        client.teach("m", &far, "c", &format!("new-{index}")).await;
    }
    let after = client.ask(question("m", &far)).await.unwrap();
    assert_eq!(after.raw("probabilities").len(), 3 * 4);
    assert_eq!(strings(after.raw("label")), ["c"]);
    let request = ModelMetadataRequest {
        name: "m".to_owned(),
        version: String::new(),
    };
    let reply = within(client.inference.model_metadata(request)).await;
    let properties = reply.unwrap().into_inner().properties;
    assert_eq!(properties["classes"], "[\"a\",\"b\",\"c\"]");
    assert_eq!(properties["classes_max"], "3");
    let refusal = client.submit(label("m", &after.ids[0], "full", "d")).await;
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    let sentence = "label: \"d\" is new, and all 3 places are taken; \
        describe a model with a larger classes_max";
    assert_eq!(refusal.message(), sentence);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_says_what_a_model_takes_and_gives() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let inference = &mut served.client.inference;
    let server = within(inference.server_metadata(ServerMetadataRequest {})).await;
    assert_eq!(server.unwrap().into_inner().name, "perennial");
    let request = ModelMetadataRequest {
        name: "m".to_owned(),
        version: String::new(),
    };
    let reply = within(inference.model_metadata(request)).await;
    let reply = reply.unwrap().into_inner();
    let shown = |tensors: &[model_metadata_response::TensorMetadata]| {
        let shown = tensors
            .iter()
            .map(|t| format!("{} {} {:?}", t.name, t.datatype, t.shape));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&reply.inputs),
        ["x FP64 [-1]", "y FP64 [-1]", "c BYTES [-1]"]
    );
    assert_eq!(
        shown(&reply.outputs),
        [
            "label BYTES [-1]",
            "probabilities FP32 [-1, 2]",
            "prediction_id BYTES [-1]"
        ]
    );
    assert_eq!(reply.versions, ["1"]);
    assert_eq!(reply.properties["classes"], "[\"a\",\"b\"]");
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_states_how_the_label_is_chosen() {
    let with = |rest: &str| format!("{AUTO}[learner]\n{rest}\n");
    let models = [
        ("likeliest", AUTO.to_owned()),
        ("balanced", with("balanced = true")),
        ("costs", with("[learner.costs]\na = 3.0")),
    ];
    let named: Vec<(&str, &str)> = models.iter().map(|(name, toml)| (*name, &**toml)).collect();
    let mut served = Served::start(&named).await;
    for (name, _) in named {
        let request = ModelMetadataRequest {
            name: name.to_owned(),
            version: String::new(),
        };
        let reply = within(served.client.inference.model_metadata(request)).await;
        let properties = reply.unwrap().into_inner().properties;
        assert_eq!(properties["label"], name);
    }
    served.goes_on_and_stops("likeliest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_limits_are_shown_and_changed_over_the_wire_and_health_names_a_bound() {
    let toml = format!("{AUTO}[feedback]\nwaiting_max = 1\n[journal]\nbytes_max = \"16MiB\"\n");
    let mut served = Served::start(&[("m", &toml)]).await;
    served.client.teach_rows("m", 3, 0.0, "row").await;
    let request = SetLimitsRequest {
        model: "m".to_owned(),
        ..Default::default()
    };
    let registry = &mut served.client.registry;
    let shown = within(registry.set_limits(request.clone())).await.unwrap();
    let shown = shown.into_inner();
    assert_eq!((shown.bytes_max, shown.position), (16 << 20, 0));
    assert!(shown.journal_bytes > 0 && shown.held_since.is_some());
    let larger = SetLimitsRequest {
        bytes_max: Some("1GiB".to_owned()),
        retract_within: Some("1h".to_owned()),
        dry_run: true,
        ..request.clone()
    };
    let planned = within(registry.set_limits(larger.clone())).await.unwrap();
    assert_eq!(planned.into_inner().bytes_max, 1 << 30);
    let shown = within(registry.set_limits(request.clone())).await.unwrap();
    assert_eq!(shown.into_inner().bytes_max, 16 << 20);
    let ordered = SetLimitsRequest {
        dry_run: false,
        ..larger
    };
    let changed = within(registry.set_limits(ordered))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (changed.bytes_max, changed.retract_within_s),
        (1 << 30, 3600)
    );
    assert!(changed.position > 0);
    let wrong = SetLimitsRequest {
        bytes_max: Some("much".to_owned()),
        ..request
    };
    let refusal = within(registry.set_limits(wrong)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(
        refusal.message().contains("journal.bytes_max = \"much\""),
        "{refusal}"
    );
    let health = served.get("/v2/health/ready");
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    let expected = "m: waiting_predictions is reached: 1 predictions may wait for feedback";
    assert!(health.contains(expected), "{health}");
    let metrics = served.get("/metrics");
    let expected = "perennial_bound_level{model=\"m\",bound=\"waiting_predictions\"} 2";
    assert!(metrics.contains(expected), "{metrics}");
}
