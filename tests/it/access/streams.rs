//! Open streams of credentials that end, and the rights of a sender of feedback.

use std::time::{Duration, Instant, SystemTime};

use perennial::engine::PredictOptions;
use perennial::proto::perennial::v1::feedback_reply::Status::{Accepted, Refused};
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{
    FateRequest, FateResponse, FeedbackReply, FeedbackRequest, RetractRequest, StatusRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::guarded::{Guarded, credential, only, token};
use crate::support::{AUTO, rows};

/// Nothing here takes longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Work that ends in time.
pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(WAIT_MAX, work).await;
    done.expect("in time")
}

pub(super) fn by<T>(of: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {}", token(of)).parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

/// A label of a prediction that nobody knows.
pub(super) fn event(feedback_id: &str, source: &str) -> FeedbackRequest {
    FeedbackRequest {
        model: "m".to_owned(),
        feedback_id: feedback_id.to_owned(),
        prediction_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        source: source.to_owned(),
        label: Some("a".to_owned()),
        ..Default::default()
    }
}

async fn open(
    channel: Channel,
    of: &str,
) -> (mpsc::Sender<FeedbackRequest>, Streaming<FeedbackReply>) {
    let (events, sent) = mpsc::channel(8);
    let mut learning = LearningClient::new(channel);
    let stream = learning.stream_feedback(by(of, ReceiverStream::new(sent)));
    (events, stream.await.expect("it may").into_inner())
}

async fn next(replies: &mut Streaming<FeedbackReply>) -> Result<FeedbackReply, Status> {
    let message = tokio::time::timeout(WAIT_MAX, replies.message()).await;
    message
        .expect("in time")
        .map(|reply| reply.expect("a reply"))
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_credential_that_ends_ends_its_open_streams() {
    let [a, b] = ["a", "b"].map(|name| credential(name, name, &["feedback"], ""));
    // It expires while the stream is open.
    let soon = SystemTime::now() + Duration::from_secs(4);
    let soon = soon
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_micros();
    let soon = perennial::event::Time(i64::try_from(soon).expect("in range"));
    let short = credential("short", "short", &["feedback"], "");
    let short = short.replace("2100-01-01T00:00:00Z", &soon.to_string());
    let server = Guarded::start(&[("m", AUTO)], &only(format!("{a}{b}{short}"))).await;
    let mut streams = vec![];
    for name in ["a", "b", "short"] {
        let (events, mut replies) = open(server.plain().await, name).await;
        events.send(event(name, "s")).await.expect("it reads");
        assert_eq!(
            next(&mut replies).await.expect("a reply").status(),
            Accepted
        );
        streams.push((events, replies));
    }
    let ended = |reply: Result<FeedbackReply, Status>| {
        let status = reply.expect_err("it ended");
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(
            status
                .message()
                .starts_with("the credential of this stream has ended")
        );
    };
    // Within five seconds, whatever the machine does besides: it is looked at every second.
    let soon = async |replies: &mut Streaming<FeedbackReply>| {
        let begun = Instant::now();
        let end = next(replies).await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        end
    };
    // Another scope, another model, another source: the rights that it was opened with are gone.
    let changed = credential("b", "b", &["feedback"], "models = [\"m\"]");
    server
        .access
        .replace(&only(format!("{a}{changed}{short}")))
        .expect("they are sound");
    ended(soon(&mut streams[1].1).await);
    ended(next(&mut streams[2].1).await);
    server
        .access
        .replace(&only(changed))
        .expect("they are sound");
    ended(soon(&mut streams[0].1).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_broken_file_keeps_the_credentials_of_before_and_health_says_so() {
    let a = credential("a", "a", &["feedback"], "");
    let server = Guarded::start(&[("m", AUTO)], &only(a.clone())).await;
    let (events, mut replies) = open(server.plain().await, "a").await;
    let ready = || server.ask("GET /v2/health/ready", "");
    assert!(!ready().1.contains("access:"));
    for broken in [
        only("name =".to_owned()),
        only(a.replace("token", "tok")),
        Default::default(),
    ] {
        server.access.replace(&broken).expect_err("it is broken");
        let (first, answer) = ready();
        assert_eq!(first, "HTTP/1.1 200 OK");
        assert!(
            answer.contains("access: reload failed; the previous files stay in force"),
            "{answer}"
        );
        events.send(event("one", "s")).await.expect("it reads");
        next(&mut replies).await.expect("the stream goes on");
    }
    server.access.replace(&only(a)).expect("it is sound");
    assert!(!ready().1.contains("access:"));
    events.send(event("two", "s")).await.expect("it reads");
    next(&mut replies).await.expect("the stream goes on");
    server.stop().await;
}

/// A sender that is bound to its source and model, one that is not, and one that reads.
async fn with_senders() -> Guarded {
    let rights = "source = \"shop\"\nmodels = [\"m\"]";
    let own = credential("own", "own", &["feedback"], rights);
    let free = credential("free", "free", &["feedback"], "");
    let reader = credential("reader", "reader", &["read", "observe"], "");
    let files = only(format!("{own}{free}{reader}"));
    Guarded::start(&[("m", AUTO), ("n", AUTO)], &files).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_sender_has_its_own_source_and_model() {
    let server = with_senders().await;
    let (events, mut replies) = open(server.plain().await, "own").await;
    let mut sent = async |event: FeedbackRequest| {
        events.send(event).await.expect("it reads");
        let reply = next(&mut replies).await.expect("the stream goes on");
        (reply.status(), reply.code, reply.message)
    };
    assert_eq!(sent(event("own-1", "")).await.0, Accepted);
    assert_eq!(sent(event("own-2", "shop")).await.0, Accepted);
    let (status, code, message) = sent(event("own-3", "bank")).await;
    assert_eq!((status, code), (Refused, Code::PermissionDenied as i32));
    let expected = "source: \"bank\", expected \"shop\", the only one of this credential";
    assert_eq!(message, expected);
    // A model that is not its own is as one that is not there.
    let mut messages = vec![];
    for model in ["n", "nowhere"] {
        let other = FeedbackRequest {
            model: model.to_owned(),
            ..event("own-4", "")
        };
        let (status, code, message) = sent(other).await;
        assert_eq!((status, code), (Refused, Code::NotFound as i32));
        messages.push(message.replace(&format!("{model:?}"), "X"));
    }
    assert_eq!(messages[0], messages[1]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_sender_asks_for_and_takes_back_its_own() {
    let server = with_senders().await;
    let channel = server.plain().await;
    let mut learning = LearningClient::new(channel.clone());
    for (of, id, source) in [("own", "own-1", ""), ("free", "free-1", "bank")] {
        let sent = learning.submit_feedback(by(of, event(id, source)));
        sent.await.expect("it may");
    }
    let mut registry = RegistryClient::new(channel);
    let mut fate = async |of: &str, id: &str| {
        let request = FateRequest {
            model: "m".to_owned(),
            feedback_id: id.to_owned(),
        };
        let found = registry.fate(by(of, request)).await;
        let source = |found: FateResponse| found.feedback.expect("it is there").source;
        found
            .map(|found| source(found.into_inner()))
            .map_err(|status| status.code())
    };
    assert_eq!(fate("own", "own-1").await, Ok("shop".to_owned()));
    assert_eq!(fate("own", "free-1").await, Err(Code::NotFound));
    assert_eq!(fate("reader", "free-1").await, Ok("bank".to_owned()));
    let mut retract = async |of: &str, source: &str, erase: bool| {
        let order = RetractRequest {
            model: "m".to_owned(),
            source: Some(source.to_owned()),
            erase,
            ..Default::default()
        };
        let done = registry.retract(by(of, order)).await;
        done.map(|done| done.into_inner().excluded)
            .map_err(|status| status.code())
    };
    let denied = Err(Code::PermissionDenied);
    assert_eq!(retract("own", "bank", false).await, denied);
    assert_eq!(retract("own", "shop", true).await, denied);
    assert_eq!(retract("free", "bank", false).await, denied);
    assert_eq!(retract("own", "shop", false).await, Ok(1));
    let status = registry.status(by("reader", StatusRequest::default()));
    assert_eq!(status.await.expect("it may").into_inner().models.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_sender_who_may_review_corrects_the_labels_of_others() {
    let senders = ["shop", "bank"].map(|name| credential(name, name, &["feedback"], ""));
    let desk = credential("desk", "desk", &["feedback", "review", "read"], "");
    let server = Guarded::start(&[("m", AUTO)], &only(senders.concat() + &desk)).await;
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let model = server.engine.model("m").expect("it is served").clone();
    let snapshot = model.snapshot("").expect("it answers");
    let answer = model.predict(&snapshot, batch, PredictOptions::default());
    let id = answer.await.expect("an answer").ids[0];
    let mut learning = LearningClient::new(server.plain().await);
    // All of them by another source: the second has no right to contradict, the third has.
    let sent = [("shop", "a"), ("bank", "b"), ("desk", "b")];
    let mut last = 0;
    for (who, label) in sent {
        let label = FeedbackRequest {
            prediction_id: Some(id.to_string()),
            label: Some(label.to_owned()),
            ..event(who, who)
        };
        let reply = learning.submit_feedback(by(who, label)).await;
        last = reply.expect("it may").into_inner().position;
    }
    let reached = model.wait_for_position(last);
    tokio::time::timeout(WAIT_MAX, reached)
        .await
        .expect("in time")
        .expect("it learns");
    let fates = model.status(false).fates;
    for name in ["superseded", "quarantined", "applied"] {
        assert_eq!(fates.get(name), Some(&1), "{name}: {fates:?}");
    }
    server.stop().await;
}
