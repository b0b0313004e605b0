//! Requests that wait for a position: until it is served, or as long as they may.

use std::sync::Arc;

use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::server;
use perennial::store::Disk;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use crate::grpc::served::{
    Client, PredictReply, Served, label, question, unjournaled, with, within,
};
use crate::support::{AUTO, rows};

/// A question that waits for a position.
fn asking(position: u64) -> ModelInferRequest {
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let choice = ParameterChoice::Uint64Param(position);
    with(unjournaled(question("m", &batch)), "min_position", choice)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_journal_is_waited_for() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let (batch, truth) = rows(1, 0.0).next().expect("a row");
    let reply = served.client.ask(question("m", &batch)).await;
    let id = reply.expect("an answer").ids.remove(0);
    let last = served.client.status("m").await.journal_position;
    // The prediction may not be on disk yet; the label stands behind it, and a second one behind
    // that.
    let position = last.max(2) + 2;
    let mut waiting: JoinSet<Result<PredictReply, Status>> = JoinSet::new();
    for _ in 0..3 {
        let mut client = served.client.clone();
        waiting.spawn(async move { client.ask(asking(position)).await });
    }
    let mut reached = 0;
    for index in 0.. {
        if reached >= position {
            break;
        }
        let event = label("m", &id, &format!("label-{index}"), truth);
        reached = served.client.submit(event).await.expect("taken").position;
    }
    while let Some(reply) = within(waiting.join_next()).await {
        let reply = reply.expect("no panic").expect("it is reached");
        assert!(reply.position >= position, "{}", reply.position);
    }
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_does_not_come_ends_with_the_deadline_and_what_was_reached() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    served.client.teach_rows("m", 3, 0.0, "row").await;
    let reached = served.client.status("m").await.position;
    let positions = [reached + 1, u64::MAX];
    let answers = positions.map(|position| {
        let mut request = Request::new(asking(position));
        // Only the server minds it: a client's own would end the call by itself.
        let metadata = request.metadata_mut();
        metadata.insert("grpc-timeout", "5S".parse().expect("a header"));
        let mut inference = served.client.inference.clone();
        async move { within(inference.model_infer(request)).await }
    });
    let [first, second] = answers;
    let answers = tokio::join!(first, second);
    for (position, answer) in positions.into_iter().zip([answers.0, answers.1]) {
        let refusal = answer.expect_err("it does not come");
        assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal}");
        let sentence =
            format!("min_position: {position} was not reached within the deadline; {reached} was");
        assert_eq!(refusal.message(), sentence);
    }
    served.goes_on_and_stops("m").await;
}

/// Waits until so many requests of the client are answered.
async fn answered(all: &mut JoinSet<Result<PredictReply, Status>>, n: usize) -> Vec<Status> {
    let mut refusals = Vec::new();
    for _ in 0..n {
        let reply = within(all.join_next()).await.expect("one is answered");
        refusals.push(reply.expect("no panic").expect_err("it is refused"));
    }
    refusals
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_half_of_a_connections_requests_may_wait_and_a_stop_ends_them() {
    const N_TOO_MANY: usize = 20;
    let mut served = Served::start(&[("m", AUTO)]).await;
    served.client.teach_rows("m", 1, 0.0, "row").await;
    let mut all = JoinSet::new();
    for _ in 0..512 + N_TOO_MANY {
        let mut client: Client = served.client.clone();
        all.spawn(async move { client.ask(asking(u64::MAX)).await });
    }
    for refusal in answered(&mut all, N_TOO_MANY).await {
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        let sentence = "512 requests of this connection wait for a position";
        assert!(refusal.message().contains(sentence), "{refusal}");
        assert!(refusal.metadata().contains_key("retry-after-ms"));
    }
    // Others of the connection are answered meanwhile, and whoever waits on another one waits.
    let reply = served
        .client
        .ask(question("m", &rows(1, 0.0).next().expect("a row").0));
    reply.await.expect("an answer");
    let mut other = Client::connect(served.grpc).await;
    other.teach_rows("m", 1, 0.0, "beside").await;
    drop(other);
    let stopped = served.stop();
    let (refusals, _workspace) =
        within(async { tokio::join!(answered(&mut all, 512), stopped) }).await;
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
        assert_eq!(refusal.message(), "the server is stopping");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_connections_to_a_socket_of_the_file_system_wait_each_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grpc.sock");
    let socket = tokio::net::UnixListener::bind(&path).expect("a new file");
    let bounds = server::Config {
        socket: Some(Arc::new(socket)),
        ..server::Config::default()
    };
    let served = Served::start_bounded(&[("m", AUTO)], Disk::default(), bounds).await;
    let url = format!("unix:{}", path.display());
    let mut one = Client::connect_to(url.clone()).await;
    one.teach_rows("m", 1, 0.0, "row").await;
    let mut all = JoinSet::new();
    for _ in 0..513 {
        let mut client = one.clone();
        all.spawn(async move { client.ask(asking(u64::MAX)).await });
    }
    let refusal = answered(&mut all, 1).await.remove(0);
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    // Another process has places of its own.
    let mut other = Client::connect_to(url).await;
    other.teach_rows("m", 1, 0.0, "beside").await;
    let (refusals, _workspace) =
        within(async { tokio::join!(answered(&mut all, 512), served.stop()) }).await;
    let is_stop = |refusal: &Status| refusal.code() == Code::Unavailable;
    assert!(refusals.iter().all(is_stop), "{refusals:?}");
}

/// A question to a version or a side, which waits for a position if there is one.
fn named(version: &str, position: Option<u64>) -> ModelInferRequest {
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let request = match position {
        Some(position) => asking(position),
        None => question("m", &batch),
    };
    ModelInferRequest {
        model_version: version.to_owned(),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn champion_and_candidate_answer_by_name_and_the_champion_is_not_waited_for() {
    for policy in ["gated", "live"] {
        let toml = format!("{AUTO}[publish]\npolicy = \"{policy}\"\n");
        let mut served = Served::start(&[("m", &toml)]).await;
        served.client.teach_rows("m", 20, 0.0, "row").await;
        let last = served.client.status("m").await.journal_position;
        let candidate = served.client.ask(named("candidate", Some(last))).await;
        let candidate = candidate.expect("it learns");
        assert!(candidate.position >= last, "{}", candidate.position);
        let champion = served.client.ask(named("champion", None)).await;
        let champion = champion.expect("it is version 1");
        assert_eq!((&champion.version[..], champion.position), ("1", 1));
        assert_ne!(champion.outputs[1], candidate.outputs[1]);
        let serves = served.client.ask(named("", None)).await.expect("an answer");
        let candidate = served.client.ask(named("candidate", None)).await;
        let candidate = candidate.expect("it learns");
        let is_gated = policy == "gated";
        let sides = if is_gated {
            [champion, candidate]
        } else {
            [candidate, champion]
        };
        // A model that does not serve takes no feedback.
        assert_eq!(sides.map(|side| side.ids[0].is_empty()), [false, true]);
        assert_eq!(
            (serves.position == 1, serves.ids[0].is_empty()),
            (is_gated, false)
        );
        let waits = ["", "champion"].map(|version| named(version, Some(1)));
        for (request, is_refused) in waits.into_iter().zip([is_gated, true]) {
            let answered = served.client.ask(request).await;
            assert_eq!(answered.is_err(), is_refused, "{policy}");
            if let Err(refusal) = answered {
                assert_eq!(refusal.code(), Code::FailedPrecondition);
                let message = refusal.message();
                assert!(
                    message.starts_with("min_position: the champion"),
                    "{message}"
                );
            }
        }
        let unknown = served.client.ask(named("contender", None)).await;
        assert_eq!(unknown.expect_err("no such side").code(), Code::NotFound);
        served.goes_on_and_stops("m").await;
    }
}
