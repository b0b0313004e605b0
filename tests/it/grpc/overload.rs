//! Overload: calls without a waiting client are not computed and stand in no journal, calls without
//! room are refused at once or slowed down, and batches leave room for single rows.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use perennial::event::{Batch, Column};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::perennial::v1::CheckpointRequest;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::server;
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};
use tokio::task::{JoinSet, spawn_blocking};
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::grpc::calls_client::CallsClient;
use crate::grpc::frames_client::{End, FramesClient, MODEL_INFER, frames};
use crate::grpc::served::{
    Client, PredictReply, Served, label, question, stalling, strings, unjournaled, within,
};
use crate::support::{AUTO, gradient, rows};

const GONE: &str = concat!(
    "perennial_calls_total{service=\"inference.GRPCInferenceService\",",
    "method=\"ModelInfer\",code=\"CANCELLED\"}"
);
const LATE: &str = concat!(
    "perennial_calls_total{service=\"inference.GRPCInferenceService\",",
    "method=\"ModelInfer\",code=\"DEADLINE_EXCEEDED\"}"
);
const REFUSED: &str = "perennial_refused_total{flow=\"predict\",code=\"DEADLINE_EXCEEDED\",field=\"\",reason=\"deadline\"}";
const UNKNOWN: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

pub(super) fn row() -> Batch {
    rows(1, 0.0).next().expect("a row").0
}

/// So many rows of one request.
fn batch(n_rows: usize) -> Batch {
    let numbers = |by: usize| (0..n_rows).map(|n| (n * by % 97) as f64 / 97.0).collect();
    let words = |n: usize| ["red", "green", "blue"][n % 3].to_owned();
    Batch {
        n_rows,
        columns: vec![
            Column::Numbers(numbers(7)),
            Column::Numbers(numbers(13)),
            Column::Strings((0..n_rows).map(words).collect()),
        ],
    }
}

/// The value of a line of `/metrics`.
pub(super) fn metric(served: &Served, line: &str) -> u64 {
    let page = served.get("/metrics");
    let value = page.lines().find_map(|found| found.strip_prefix(line));
    // A call that never was is not listed.
    value.map_or(0, |value| value.trim().parse().expect("a number"))
}

/// The entries since a position, by one prediction and its label more.
async fn entries_since(served: &mut Served, before: u64) -> u64 {
    let reply = served.client.ask(question("m", &row())).await;
    let id = reply.expect("an answer").ids.remove(0);
    let event = label("m", &id, "counts", "a");
    let position = served.client.submit(event).await.expect("taken").position;
    served.client.reach("m", position).await;
    position - before - 2
}

/// Calls that are given up; how many were counted so, and how many entries there are.
async fn given_up(served: &mut Served, n_calls: usize, end: End) -> (u64, u64) {
    let before = served.client.status("m").await.journal_position;
    // Kept to the end: calls that a connection has not come to yet end with it.
    let mut clients = Vec::new();
    // HTTP/2 takes so many resets of calls that were not looked at yet.
    for _ in 0..n_calls / 20 {
        let calls = frames(&vec![question("m", &row()); 20], usize::MAX);
        let calls = calls.into_iter().map(|frame| [frame].into()).collect();
        let server = served.grpc;
        let given_up = spawn_blocking(move || {
            let mut client = FramesClient::open_at(server, MODEL_INFER, calls);
            client.give_up(end);
            client
        });
        clients.push(within(given_up).await.expect("no GOAWAY"));
    }
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let n_gone = metric(served, GONE);
        let n_entries = served.client.status("m").await.journal_position - before;
        if n_gone + n_entries >= n_calls as u64 || Instant::now() > until {
            return (n_gone, n_entries);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_what_a_caller_gave_up_is_not_journaled() {
    for model in [AUTO, &gradient("sgd", "32", "er")] {
        let mut served = Served::start(&[("m", model)]).await;
        assert_eq!(given_up(&mut served, 400, End::Open).await, (400, 0));
        served.goes_on_and_stops("m").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_call_that_is_given_up_later_is_answered_or_counted() {
    for model in [AUTO, &gradient("sgd", "32", "er")] {
        let mut served = Served::start(&[("m", model)]).await;
        let (n_gone, n_entries) = given_up(&mut served, 400, End::Sent).await;
        assert_eq!(n_gone + n_entries, 400, "{n_gone} and {n_entries}");
        served.goes_on_and_stops("m").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_what_comes_too_late_is_not_journaled() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let before = served.client.status("m").await.journal_position;
    let mut inference = CallsClient::connect(served.grpc).await.inference();
    for _ in 0..50 {
        let mut request = Request::new(question("m", &row()));
        request.set_timeout(Duration::from_nanos(1));
        let refusal = within(inference.model_infer(request)).await;
        let refusal = refusal.expect_err("its deadline has passed");
        assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal}");
    }
    assert_eq!(entries_since(&mut served, before).await, 0);
    assert_eq!((metric(&served, LATE), metric(&served, REFUSED)), (50, 50));
    assert_eq!(metric(&served, GONE), 0);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_under_load_a_short_deadline_is_met_or_leaves_no_entry() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let before = served.client.status("m").await.journal_position;
    let mut batches = JoinSet::new();
    for _ in 0..2 {
        let mut client = Client::connect(served.grpc).await;
        batches.spawn(async move { client.ask(question("m", &batch(4096))).await });
    }
    let calls = CallsClient::connect(served.grpc).await;
    let mut short = JoinSet::new();
    for _ in 0..200 {
        let mut inference = calls.inference();
        short.spawn(async move {
            let mut request = Request::new(question("m", &batch(64)));
            request.set_timeout(Duration::from_millis(1));
            within(inference.model_infer(request)).await
        });
    }
    let mut n_answered = 0;
    for answer in short.join_all().await {
        match answer {
            Ok(_) => n_answered += 1,
            Err(refusal) => assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal}"),
        }
    }
    for answer in batches.join_all().await {
        assert_eq!(answer.expect("an answer").ids.len(), 4096);
        n_answered += 1;
    }
    assert_eq!(entries_since(&mut served, before).await, n_answered);
    assert_eq!(metric(&served, LATE), 202 - n_answered);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_call_that_waits_beyond_its_deadline_is_answered_so() {
    let (disk, stalls, release) = stalling();
    let mut served = Served::start_on(&[("m", AUTO)], disk).await;
    let release = release;
    let reply = served.client.ask(question("m", &row())).await;
    let event = label("m", &reply.expect("an answer").ids[0], "one", "a");
    stalls.store(true, Relaxed);
    let mut learning = CallsClient::connect(served.grpc).await.learning();
    let mut request = Request::new(event.clone());
    request.set_timeout(Duration::from_millis(20));
    let refusal = within(learning.submit_feedback(request)).await;
    let refusal = refusal.expect_err("the disk stalls");
    assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal}");
    stalls.store(false, Relaxed);
    drop(release);
    let again = served.client.submit(event).await.expect("it is known");
    served.client.reach("m", again.position).await;
    served.goes_on_and_stops("m").await;
}

/// A disk on which the first checkpoint after the flag was set is not saved until the sender is dropped.
pub(crate) fn holding() -> (Disk, Arc<AtomicBool>, mpsc::Sender<()>) {
    let (release, gate) = mpsc::channel();
    let (holds, gate) = (Arc::new(AtomicBool::new(false)), Mutex::new(gate));
    let held = holds.clone();
    let disk = Disk::watched(move |change| {
        let is_checkpoint = matches!(change, DiskChange::CreateFolder(path)
            if path.parent().is_some_and(|parent| parent.ends_with("checkpoints")));
        if is_checkpoint && held.swap(false, Relaxed) {
            let _ = gate.lock().expect("nothing panics under it").recv();
        }
        Ok(ChangeOutcome::Make)
    });
    (disk, holds, release)
}

/// The answer of the side that does not serve, once there is a place for the request.
pub(super) async fn ask_the_learner(mut client: Client) -> Result<PredictReply, tonic::Status> {
    let request = ModelInferRequest {
        model_version: "champion".to_owned(),
        ..question("m", &row())
    };
    loop {
        match client.ask(request.clone()).await {
            Err(full) if full.code() == Code::ResourceExhausted => {}
            answered => return answered,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_full_queue_refuses_at_once_and_says_when_to_come_again() {
    let (disk, holds, release) = holding();
    let config = server::Config {
        predictions_max: 2,
        ..server::Config::default()
    };
    let mut served = Served::start_bounded(&[("m", AUTO)], disk, config).await;
    let release = release;
    holds.store(true, Relaxed);
    let mut registry = served.client.registry.clone();
    let request = CheckpointRequest {
        model: "m".to_owned(),
        note: String::new(),
    };
    let checkpoint = tokio::spawn(async move { within(registry.checkpoint(request)).await });
    while holds.load(Relaxed) {
        tokio::task::yield_now().await;
    }
    // The side that does not serve is asked of the learner, which saves its checkpoint first.
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        waiting.spawn(ask_the_learner(served.client.clone()));
    }
    let mut refusal = None;
    for _ in 0..100_000 {
        let asked = served.client.ask(unjournaled(question("m", &row()))).await;
        refusal = asked.err();
        if refusal.is_some() {
            break;
        }
    }
    let refusal = refusal.expect("both wait");
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    let details = refusal.get_details_retry_info().expect("RetryInfo");
    assert!(details.retry_delay.is_some());
    let mut soonest = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        let refusal = served.client.ask(question("m", &row())).await;
        refusal.expect_err("both still wait");
        soonest = soonest.min(start.elapsed());
    }
    assert!(soonest < Duration::from_millis(10), "{soonest:?}");
    drop(release);
    checkpoint.await.expect("no panic").expect("it is made");
    for answer in waiting.join_all().await {
        answer.expect("an answer");
    }
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_single_rows_are_answered_between_the_slices_of_batches() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let before = served.client.status("m").await.journal_position;
    let mut batches = JoinSet::new();
    for _ in 0..4 {
        let mut client = Client::connect(served.grpc).await;
        batches.spawn(async move { client.ask(question("m", &batch(4096))).await });
    }
    let mut n_singles = 0;
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let single = unjournaled(question("m", &row()));
        served.client.ask(single).await.expect("an answer");
        n_singles += 1;
        while let Some(answer) = batches.try_join_next() {
            answers.push(answer.expect("no panic").expect("an answer"));
        }
    }
    assert!(n_singles > 8, "{n_singles}");
    // Each has the bits that its rows have alone, and is one entry.
    let whole = batch(4096);
    for place in [0, 15, 16, 2047, 4095] {
        let one = |column: &Column| match column {
            Column::Numbers(values) => Column::Numbers(vec![values[place]]),
            Column::Strings(values) => Column::Strings(vec![values[place].clone()]),
            other => panic!("{other:?}"),
        };
        let alone = Batch {
            n_rows: 1,
            columns: whole.columns.iter().map(one).collect(),
        };
        let alone = unjournaled(question("m", &alone));
        let alone = served.client.ask(alone).await.expect("an answer");
        for answer in &answers {
            let raw = answer.raw("probabilities");
            assert_eq!(
                &raw[place * 8..place * 8 + 8],
                &alone.raw("probabilities")[..]
            );
            assert_eq!(
                strings(answer.raw("label"))[place],
                strings(alone.raw("label"))[0]
            );
        }
    }
    assert_eq!(entries_since(&mut served, before).await, 4);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_stream_that_outruns_the_learner_is_slowed_down() {
    let slow = gradient("adamw", "1024, 1024", "er");
    let toml = format!("{slow}[journal]\nlag_max = 8\n");
    let mut served = Served::start(&[("m", &toml)]).await;
    let client = &mut served.client;
    let id = client
        .ask(question("m", &row()))
        .await
        .expect("an answer")
        .ids;
    let mut events = Vec::new();
    for n in 0..100 {
        events.push(label("m", &id[0], &format!("event-{n}"), "a"));
        events.push(label("m", UNKNOWN, &format!("stray-{n}"), "a"));
    }
    let replies = client.stream(events).await;
    assert_eq!(replies.len(), 200);
    for reply in &replies {
        assert_eq!(reply.status(), Fate::Accepted, "{reply:?}");
    }
    let last = replies.last().expect("replies").position;
    client.reach("m", last).await;
    served.goes_on_and_stops("m").await;
}
