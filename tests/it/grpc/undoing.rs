//! Retractions and audits over the wire: their selections, and their refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use perennial::engine::{Clock, ClockReading};
use perennial::event::PredictionId;
use perennial::proto::perennial::v1::{
    AuditRequest, AuditResponse, Certificate, FateRequest, FateResponse, FeedbackRequest,
    RestoreRequest, RetractRequest, StatusRequest, UpdateIncidentRequest, feedback_reply,
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::grpc::served::{Client, Served, label, stalling, within};
use crate::support::{AUTO, rows};

async fn retract(
    client: &mut Client,
    change: impl FnOnce(&mut RetractRequest),
) -> Result<Certificate, Status> {
    let mut request = RetractRequest {
        model: "m".to_owned(),
        ..Default::default()
    };
    change(&mut request);
    Ok(within(client.registry.retract(request)).await?.into_inner())
}

async fn audit(client: &mut Client, id: &str) -> Result<AuditResponse, Status> {
    let request = AuditRequest {
        prediction_id: id.to_owned(),
        without: None,
    };
    Ok(within(client.registry.audit(request)).await?.into_inner())
}

fn moment(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_one_event_and_a_stretch_of_time_are_taken_back() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    client.teach_rows("m", 5, 0.0, "row").await;
    let one = |request: &mut RetractRequest| request.feedback_id = Some("row-2".to_owned());
    let certificate = retract(client, one).await.expect("it is retracted");
    assert_eq!((certificate.excluded, certificate.version), (1, 2));
    assert_eq!(certificate.digest.len(), 64);
    assert_eq!(certificate.clock, "", "no clock chose it");
    // Sent again it stays away, and the reply says what to do.
    let again = FeedbackRequest {
        model: "m".to_owned(),
        feedback_id: "row-2".to_owned(),
        prediction_id: Some(PredictionId(1).to_string()),
        label: Some("a".to_owned()),
        ..Default::default()
    };
    let reply = within(client.learning.submit_feedback(again)).await;
    let reply = reply.expect("it is answered").into_inner();
    assert_eq!(reply.status(), feedback_reply::Status::Retracted);
    let expected = "send a correction under a new feedback_id";
    assert!(reply.message.contains(expected), "{}", reply.message);
    assert!((1..certificate.position).contains(&reply.position));
    // Nothing was accepted so long ago, and all of the rest until far ahead.
    let old = |request: &mut RetractRequest| request.until = moment(1_000);
    let refusal = retract(client, old).await.expect_err("none is chosen");
    let expected = "no feedback of the time up to 1970-01-01T00:16:40Z";
    assert!(refusal.message().contains(expected), "{refusal}");
    let rest = |request: &mut RetractRequest| request.since = moment(1_000);
    let certificate = retract(client, rest).await.expect("it is retracted");
    assert_eq!((certificate.excluded, certificate.version), (4, 3));
    let clock = "the journal's clock, which agrees with this machine's";
    assert_eq!(certificate.clock, clock);
    assert_eq!(client.status("m").await.examples, 0);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_certificate_names_the_clock_that_chose_and_its_distance() {
    const HOUR_US: i64 = 3600 * 1_000_000;
    let ahead_us = Arc::new(AtomicI64::new(0));
    let ahead = ahead_us.clone();
    let clock = Clock::simulated(move || {
        let mut reading = ClockReading::agreed(1_700_000_000_000_000);
        reading.wall.0 += ahead.load(Relaxed);
        reading
    });
    let mut served = Served::start_by(&[("m", AUTO)], clock).await;
    let client = &mut served.client;
    client.teach_rows("m", 2, 0.0, "row").await;
    for (hours, side) in [(2, "behind"), (-3, "ahead of")] {
        ahead_us.store(hours * HOUR_US, Relaxed);
        let all = |request: &mut RetractRequest| {
            request.since = moment(1_000);
            request.dry_run = true;
        };
        let would = retract(client, all).await.expect("it is surveyed");
        let distance = hours.abs() * 3600;
        let expected = format!("the journal's clock, {distance} s {side} this machine's");
        assert_eq!((would.excluded, would.clock), (2, expected));
    }
    ahead_us.store(0, Relaxed);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_choice_that_is_none_or_two_is_refused() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    client.teach_rows("m", 2, 0.0, "row").await;
    let two = |request: &mut RetractRequest| {
        request.source = Some("test".to_owned());
        request.since = moment(0);
    };
    let backwards = |request: &mut RetractRequest| {
        request.since = moment(20);
        request.until = moment(10);
    };
    let unknown = |request: &mut RetractRequest| {
        request.model = "nobody".to_owned();
        request.source = Some("test".to_owned());
    };
    let all = [
        (
            retract(client, |_| ()).await,
            Code::InvalidArgument,
            "selector",
        ),
        (
            retract(client, two).await,
            Code::InvalidArgument,
            "selector",
        ),
        (
            retract(client, backwards).await,
            Code::InvalidArgument,
            "until",
        ),
        (retract(client, unknown).await, Code::NotFound, "nobody"),
    ];
    for (done, code, culprit) in all {
        let refusal = done.expect_err(culprit);
        assert_eq!(refusal.code(), code, "{refusal}");
        assert!(refusal.message().contains(culprit), "{refusal}");
    }
    assert_eq!(client.status("m").await.examples, 2);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_answer_is_found_the_moment_it_was_given() {
    let mut served = Served::start(&[("other", AUTO), ("m", AUTO)]).await;
    let client = &mut served.client;
    client.teach_rows("m", 10, 0.0, "row").await;
    let (batch, truth) = rows(11, 0.0).last().expect("a row");
    let reply = client.teach("m", &batch, truth, "asked").await;
    let found = audit(client, &reply.ids[0]).await.expect("it is found");
    assert_eq!((found.model.as_str(), found.bit_equal), ("m", true));
    assert_eq!(found.position, reply.position);
    assert_eq!(found.sources, [("test".to_owned(), 10)].into());
    assert_eq!(found.feedback.len(), 1);
    assert_eq!(found.feedback[0].feedback_id, "asked");
    let unasked = client.ask(crate::grpc::served::question("m", &batch)).await;
    let id = &unasked.expect("an answer").ids[0];
    let found = audit(client, id).await.expect("it is found at once");
    assert!(found.bit_equal && found.feedback.is_empty(), "{found:?}");
    served.goes_on_and_stops("m").await;
}

async fn fate(client: &mut Client, feedback_id: &str) -> Result<FateResponse, Status> {
    let request = FateRequest {
        model: "m".to_owned(),
        feedback_id: feedback_id.to_owned(),
    };
    Ok(within(client.registry.fate(request)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_the_fate_of_a_feedback_event_is_found_by_its_id() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    client.teach_rows("m", 5, 0.0, "row").await;
    let unknown = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    let stray = label("m", unknown, "stray", "a");
    let position = client
        .submit(stray.clone())
        .await
        .expect("accepted")
        .position;
    client.submit(stray).await.expect("known");
    client.reach("m", position).await;
    let found = fate(client, "stray").await.expect("it is found");
    let event = found.feedback.expect("it is there");
    assert_eq!((&*event.fate, &*event.signal), ("unmatched", "label a"));
    assert_eq!((&*found.prediction_id, found.resent), (unknown, 1));
    assert_eq!(event.position, position);
    let applied = fate(client, "row-2").await.expect("it is found");
    let event = applied.feedback.expect("it is there");
    assert_eq!((&*event.fate, event.retracted), ("applied", false));
    let one = |request: &mut RetractRequest| request.feedback_id = Some("row-2".to_owned());
    retract(client, one).await.expect("it is retracted");
    let retracted = fate(client, "row-2").await.expect("it is found");
    assert!(retracted.feedback.expect("it is there").retracted);
    let refusal = fate(client, "row-77").await.expect_err("unknown");
    assert_eq!(refusal.code(), Code::NotFound);
    assert!(
        refusal
            .message()
            .contains("\"m\" holds no feedback \"row-77\""),
        "{refusal}"
    );
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_audit_of_what_was_never_answered_is_refused() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let client = &mut served.client;
    let unknown = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    for (id, code) in [(unknown, Code::NotFound), ("seven", Code::InvalidArgument)] {
        let refusal = audit(client, id).await.expect_err(id);
        assert_eq!(refusal.code(), code, "{refusal}");
        assert!(refusal.message().contains(id), "{refusal}");
    }
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_incident_that_is_not_there_is_named() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let request = UpdateIncidentRequest {
        model: "m".to_owned(),
        incident: 7,
        state: "closed".to_owned(),
        note: String::new(),
    };
    let registry = &mut served.client.registry;
    let refused = within(registry.update_incident(request)).await;
    let refused = refused.expect_err("there is none");
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("has no incident 7"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_only_so_many_audits_and_dry_runs_are_under_way() {
    let (disk, stalls, release) = stalling();
    let mut served = Served::start_on(&[("m", AUTO)], disk).await;
    // Dropped first, whatever happens: the server cannot stop on a stalled disk.
    let release = release;
    served.client.teach_rows("m", 3, 0.0, "row").await;
    stalls.store(true, Relaxed);
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let question = crate::grpc::served::question("m", &batch);
    let reply = served
        .client
        .ask(question.clone())
        .await
        .expect("it answers");
    // An audit waits until the answer is on disk.
    let (ended, mut all) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..3 {
        let (mut client, id, ended) = (served.client.clone(), reply.ids[0].clone(), ended.clone());
        tokio::spawn(async move {
            let _ = ended.send(audit(&mut client, &id).await);
        });
    }
    let first = within(all.recv()).await.expect("one ends");
    let refusal = first.expect_err("two are under way");
    let sentence = "2 audits, dry runs and digests of this caller are under way, as many as there can be; \
        ask again once one has ended";
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert_eq!(refusal.message(), sentence);
    assert!(refusal.metadata().contains_key("retry-after-ms"));
    let client = &mut served.client;
    let would = |request: &mut RetractRequest| {
        request.source = Some("test".to_owned());
        request.dry_run = true;
    };
    let refusal = retract(client, would).await.expect_err("a dry run");
    assert_eq!(refusal.message(), sentence);
    let restore = RestoreRequest {
        model: "m".to_owned(),
        version: 1,
        dry_run: true,
        ..Default::default()
    };
    let refusal = within(client.registry.restore(restore.clone())).await;
    assert_eq!(refusal.expect_err("a dry run").message(), sentence);
    let digest = StatusRequest {
        model: "m".to_owned(),
        digest: true,
    };
    let refusal = within(client.registry.status(digest)).await;
    assert_eq!(refusal.expect_err("a digest").message(), sentence);
    // Everything else goes on meanwhile.
    assert_eq!(client.status("m").await.examples, 3);
    client.ask(question).await.expect("it answers");
    stalls.store(false, Relaxed);
    drop(release);
    for _ in 0..2 {
        let found = within(all.recv()).await.expect("each ends");
        assert!(found.expect("it is found").bit_equal);
    }
    assert_eq!(retract(client, would).await.expect("a plan").excluded, 3);
    let checked = within(client.registry.restore(restore)).await;
    assert_eq!(checked.expect("it can be").into_inner().version, 1);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_full_journal_refuses_feedback_with_a_hint_and_answers_on() {
    let limits = format!("{AUTO}[journal]\nids_max = 3\n[rules]\nrevision = 1\n");
    let mut served = Served::start(&[("m", &limits)]).await;
    let client = &mut served.client;
    let mut taught = Vec::new();
    for (n, (batch, truth)) in rows(3, 0.0).enumerate() {
        let reply = client.teach("m", &batch, truth, &format!("row-{n}")).await;
        taught.extend(reply.ids);
    }
    let (batch, truth) = rows(1, 0.0).next().expect("a row");
    let question = crate::grpc::served::question("m", &batch);
    let reply = client.ask(question.clone()).await.expect("it answers");
    let event = label("m", &reply.ids[0], "one too many", truth);
    let refusal = client.submit(event).await.expect_err("it is full");
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    let sentence = "3 feedback ids of the last day are known";
    assert!(refusal.message().contains(sentence), "{refusal}");
    assert!(refusal.metadata().contains_key("retry-after-ms"));
    // One that came before is known all the same, and predictions go on.
    let again = label("m", &taught[0], "row-0", truth);
    client.submit(again).await.expect("it is a duplicate");
    let last = client.status("m").await.journal_position;
    client.reach("m", last).await;
    let status = client.status("m").await;
    assert_eq!((status.fates["applied"], status.fates["duplicate"]), (3, 1));
    client.ask(question).await.expect("it answers");
    served.stop().await;
}
