//! The share of one caller, and the rest for others.

use std::sync::atomic::Ordering::Relaxed;

use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{CheckpointRequest, StatusRequest, WatchRequest};
use perennial::server;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use super::guarded::{Guarded, Identities, credential, only};
use super::streams::{by, event, within};
use crate::grpc::holding;
use crate::support::{AUTO, question, rows};

fn row() -> ModelInferRequest {
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    question("m", &batch)
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_quiet_streams_of_one_credential_leave_places_to_others() {
    let all = ["feedback", "predict"];
    let [a, b] = ["a", "b"].map(|name| credential(name, name, &all, ""));
    let bounds = server::Config {
        requests_max: 64,
        ..server::Config::default()
    };
    let files = only(format!("{a}{b}"));
    let server = Guarded::start_bounded(&[("m", AUTO)], &files, bounds).await;
    let channel = server.plain().await;
    let mut learning = LearningClient::new(channel.clone());
    let mut streams = vec![];
    let refused = loop {
        let (events, sent) = mpsc::channel(1);
        let stream = learning.stream_feedback(by("a", ReceiverStream::new(sent)));
        match within(stream).await {
            Ok(replies) => streams.push((events, replies)),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("of this caller"), "{refused}");
    // Three quarters, and the one that came to them.
    assert_eq!(streams.len(), 49);
    let mut inference = GrpcInferenceServiceClient::new(channel);
    let answer = within(inference.model_infer(by("b", row()))).await;
    answer.expect("another is served");
    let metrics = server.ask("GET /v2/health/ready", "").0;
    assert_eq!(metrics, "HTTP/1.1 200 OK");
    drop(streams);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_health_names_no_model_to_whoever_shows_no_credential() {
    let toml = format!("{AUTO}[feedback]\nwaiting_max = 1\n");
    let all = credential("a", "a", &["predict"], "");
    let server = Guarded::start(&[("secret-name", &toml)], &only(all)).await;
    let mut inference = GrpcInferenceServiceClient::new(server.plain().await);
    for _ in 0..3 {
        let request = ModelInferRequest {
            model_name: "secret-name".to_owned(),
            ..row()
        };
        within(inference.model_infer(by("a", request)))
            .await
            .expect("an answer");
    }
    // Once the learner has seen them.
    let page = within(async {
        loop {
            let (_, page) = server.ask("GET /v2/health/ready", "");
            if page.contains("a model: waiting_predictions is reached\n") {
                return page;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!page.contains("secret-name"), "{page}");
    server.stop().await;
}

/// Asks until the queue is full of those that wait.
async fn until_full(channel: Channel, of: &str) {
    let mut inference = GrpcInferenceServiceClient::new(channel);
    let mut refused = 0;
    while refused < 3 {
        match inference.model_infer(by(of, row())).await {
            Ok(_) => refused = 0,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                refused += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_prediction_that_waits_is_answered_after_its_credential_has_gone() {
    let [a, b] = ["a", "b"].map(|name| credential(name, name, &["predict", "operate"], ""));
    let (disk, holds, release) = holding();
    let models = [("m", AUTO)];
    let files = only(format!("{a}{b}"));
    let bounds = server::Config {
        predictions_max: 1,
        ..server::Config::default()
    };
    let server = Guarded::start_on(disk, &models, &files, bounds).await;
    let channel = server.plain().await;
    holds.store(true, Relaxed);
    let mut registry = RegistryClient::new(channel.clone());
    let order = CheckpointRequest {
        model: "m".to_owned(),
        note: String::new(),
    };
    let checkpoint = tokio::spawn(async move { within(registry.checkpoint(by("b", order))).await });
    while holds.load(Relaxed) {
        tokio::task::yield_now().await;
    }
    // The side that does not serve is asked of the learner, which saves its checkpoint first.
    let unserved = ModelInferRequest {
        model_version: "champion".to_owned(),
        ..row()
    };
    let mut inference = GrpcInferenceServiceClient::new(channel.clone());
    let asked = unserved.clone();
    let waiting = tokio::spawn(async move {
        loop {
            match within(inference.model_infer(by("a", asked.clone()))).await {
                Err(full) if full.code() == Code::ResourceExhausted => {}
                answered => return answered,
            }
        }
    });
    within(until_full(channel.clone(), "b")).await;
    server.access.replace(&only(b)).expect("it is sound");
    let mut inference = GrpcInferenceServiceClient::new(channel);
    let refused = within(inference.model_infer(by("a", unserved))).await;
    assert_eq!(
        refused.expect_err("it has gone").code(),
        Code::Unauthenticated
    );
    drop(release);
    let answer = waiting.await.expect("no panic");
    answer.expect("it was admitted before");
    checkpoint.await.expect("no panic").expect("it is made");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_credential_that_has_spent_its_quota_leaves_the_others_theirs() {
    let all = ["feedback", "predict"];
    let quota = "predictions_per_day = 2\nevents_per_day = 3";
    let [a, b] = [("a", quota), ("b", "")].map(|(name, line)| credential(name, name, &all, line));
    let server = Guarded::start(&[("m", AUTO)], &only(format!("{a}{b}"))).await;
    let channel = server.plain().await;
    let mut learning = LearningClient::new(channel.clone());
    let mut sends = async |of: &str, n: usize| {
        let sent = learning.submit_feedback(by(of, event(&format!("{of}-{n}"), of)));
        within(sent)
            .await
            .map(|_| ())
            .map_err(|status| status.code())
    };
    for n in 0..5 {
        let expected = if n < 3 {
            Ok(())
        } else {
            Err(Code::ResourceExhausted)
        };
        assert_eq!(sends("a", n).await, expected, "{n}");
        assert_eq!(sends("b", n).await, Ok(()), "{n}");
    }
    let mut inference = GrpcInferenceServiceClient::new(channel);
    let mut asks = async |of: &str| {
        let answer = within(inference.model_infer(by(of, row()))).await;
        answer
            .map(|_| ())
            .map_err(|status| status.message().to_owned())
    };
    for _ in 0..2 {
        asks("a").await.expect("it is within its quota");
    }
    let refused = asks("a").await.expect_err("it has spent it");
    assert!(refused.starts_with("predictions_per_day: this credential has spent its 2"));
    asks("b").await.expect("another has its own");
    // It stays spent where the file is read again.
    server
        .access
        .replace(&only(format!("{b}{a}")))
        .expect("it is sound");
    asks("a").await.expect_err("it has spent it");
    server.stop().await;
}

async fn status_of(channel: &Channel) -> Result<(), Code> {
    let mut registry = RegistryClient::new(channel.clone());
    let status = within(registry.status(StatusRequest::default())).await;
    status.map(|_| ()).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_client_certificate_that_expires_ends_what_its_connection_may_do() {
    let identities = Identities::new();
    let trainer = format!(
        "[[credential]]\nname = \"trainer\"\ncertificate = \"{}\"\nscopes = [\"observe\"]\n",
        super::guarded::CLIENT
    );
    let server = Guarded::start(&[("m", AUTO)], &identities.files(trainer)).await;
    let short = identities.client_for(6);
    let channel = server.secure(&identities.ca, Some(&short)).await;
    let channel = channel.expect("it holds");
    assert_eq!(status_of(&channel).await, Ok(()));
    let watch = RegistryClient::new(channel.clone())
        .watch(WatchRequest::default())
        .await;
    let mut watch = watch.expect("it may").into_inner();
    let ended = within(watch.message()).await.expect_err("it ends");
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert_eq!(status_of(&channel).await, Err(Code::Unauthenticated));
    server.stop().await;
}
