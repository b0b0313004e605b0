//! Room: a journal is bounded in bytes and age, and its needed entries stay.
//!
//! Invariant: the test sets the clock, so that months pass in a test.

use std::fs;
use std::sync::Arc;

use perennial::engine::{
    Acknowledgement, ClockReading, Disposal, Engine, Offline, Readiness, RetractionRequest,
    ServedModel,
};
use perennial::event::{Command, Order, PredictionId, Selector};
use perennial::store::verify;

use super::clocked::{Clocked, SHORT, feed, predict};
use crate::support::disk::Recording;
use crate::support::{AUTO, Workspace, answers, copy, digest, gradient, label};

/// A hundred years on.
const FAR_US: i64 = 4_800_000_000_000_000;

impl Clocked {
    /// Syncs are pretended: no power is cut here.
    fn open(&self) -> Arc<Engine> {
        let (_, disk) = Recording::of(&self.workspace.data());
        Engine::open(self.on(disk, self.workspace.data())).expect("the engine opens")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_near_its_bound_predictions_give_way_first_and_then_feedback_is_refused() {
    let clocked = Clocked::new("[journal]\nbytes_max = \"16MiB\"\nreserve = \"2MiB\"\n");
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    let kept = predict(model, 10).unwrap();
    let mut ids = Vec::new();
    for n in 0..400 {
        let Some(id) = predict(model, 100_000) else {
            break;
        };
        ids.push(id);
        assert!(n < 399, "predictions give way");
    }
    assert!(model.status(false).unjournaled > 0);
    // Feedback has the reserve to itself.
    let position = feed(model, kept, "kept").await.unwrap();
    let mut refused = None;
    for n in 0..400 {
        let mut event = label(kept, &format!("large-{n}"), "a");
        event.source = "s".repeat(100_000);
        match model.accept(event) {
            Err(error) => refused = Some(error),
            Ok(receipt) => refused = receipt.wait().await.err(),
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("feedback is refused").to_string();
    assert!(
        refused.contains("takes no more now: the journal holds"),
        "{refused}"
    );
    let status = model.status(false);
    assert_eq!(status.state, Readiness::Ready);
    assert!(
        status.journal_bytes < (16 << 20) + 200_000,
        "{}",
        status.journal_bytes
    );
    let answered = answers(model);
    engine.close();
    drop(engine);
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    assert_eq!(answers(model), answered);
    assert!(model.status(false).position > position);
    assert_eq!(predict(model, 10), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_whole_segments_go_once_nothing_needs_them() {
    let clocked = Clocked::new(SHORT);
    let mut old = Vec::new();
    for start in 0..6 {
        let engine = clocked.open();
        let model = engine.model("m").unwrap();
        for n in 0..40 {
            clocked.pass(1);
            let id = predict(model, 50_000).expect("there is room");
            old.push(id);
            if n % 2 == 0 {
                feed(model, id, &format!("{start}-{n}")).await.unwrap();
            }
        }
        let before = (digest(model), answers(model));
        engine.close();
        drop(engine);
        let engine = clocked.open();
        let model = engine.model("m").unwrap();
        assert_eq!((digest(model), answers(model)), before, "life {start}");
        engine.close();
    }
    let first = clocked.first_position();
    assert!(first > 1, "something went");
    let journal = clocked.workspace.data().join("m/journal");
    let report = verify(&journal).unwrap();
    assert_eq!(report.last_position - report.entries + 1, first);
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    // Of a prediction that is gone it is too late, of one within the hour it is not.
    let fates = model.status(false).fates;
    feed(model, old[1], "too late").await.unwrap();
    feed(model, old[old.len() - 29], "in time").await.unwrap();
    let after = model.status(false);
    assert_eq!(after.fates["expired"], fates["expired"] + 1);
    assert_eq!(after.fates["applied"], fates["applied"] + 1);
    // 50 kB a minute.
    let a_day = after.journal_bytes_a_day;
    assert!((50e6..110e6).contains(&a_day), "{a_day}");
    assert_eq!(after.journal_days_left, None);
    let before = digest(model);
    engine.close();
    drop(engine);
    every_state_of_the_horizon_goes_on(&clocked, before);
}

/// Without the newer checkpoints, each one that is left leads to the same.
fn every_state_of_the_horizon_goes_on(clocked: &Clocked, expected: blake3::Hash) {
    let checkpoints = clocked.workspace.data().join("m/checkpoints");
    let mut positions: Vec<_> = fs::read_dir(&checkpoints)
        .unwrap()
        .map(|folder| folder.unwrap().file_name())
        .collect();
    positions.sort();
    // The first is version 1; the journal does not reach back to it.
    assert!(positions.len() > 3, "{positions:?}");
    while positions.len() > 2 {
        let newest = positions.pop().unwrap();
        fs::remove_dir_all(checkpoints.join(newest)).unwrap();
        let other = Workspace::new(&[("m", &format!("{AUTO}{SHORT}"))]);
        copy(&clocked.workspace.data(), &other.data());
        let engine = other.open();
        assert_eq!(
            digest(engine.model("m").unwrap()),
            expected,
            "{positions:?}"
        );
    }
    fs::remove_dir_all(checkpoints.join(positions.pop().unwrap())).unwrap();
    let engine = clocked.open();
    let Readiness::Unavailable(reason) = engine.model("m").unwrap().status(false).state else {
        panic!("it cannot be ready")
    };
    assert!(reason.contains("is not in this journal"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_the_horizon_needs_stays_although_room_is_short() {
    let long = "[journal]\nbytes_max = \"16MiB\"\nage_max = \"1h\"\nretract_within = \"9d\"\n";
    let clocked = Clocked::new(long);
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    let mut n_journaled = 0;
    for _ in 0..400 {
        clocked.pass(10);
        n_journaled += usize::from(predict(model, 100_000).is_some());
    }
    engine.close();
    assert!((100..200).contains(&n_journaled), "{n_journaled}");
    assert_eq!(clocked.first_position(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_clock_that_jumps_by_a_day_loses_nothing() {
    const DAY: i64 = 24 * 60;
    let clocked = Clocked::new("");
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    let mut n_taught = 0;
    for jump in [0, DAY, -DAY, -DAY, 3 * DAY, -2 * DAY] {
        clocked.jump(jump);
        for _ in 0..3 {
            clocked.pass(1);
            let id = predict(model, 10).unwrap();
            feed(model, id, &format!("row-{n_taught}")).await.unwrap();
            n_taught += 1;
        }
    }
    let status = model.status(true);
    assert_eq!(status.fates["applied"], n_taught);
    let answered = answers(model);
    engine.close();
    drop(engine);
    clocked.jump(-DAY);
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    assert_eq!(
        (model.status(true).digest, answers(model)),
        (status.digest, answered)
    );
    let id = predict(model, 10).unwrap();
    feed(model, id, "after").await.unwrap();
    assert_eq!(model.status(false).fates["applied"], n_taught + 1);
    engine.close();
    let report = verify(&clocked.workspace.data().join("m/journal")).unwrap();
    assert!(report.torn_tail.is_none());
}

/// Sends an event, and gives where it stands and whether it had come before.
async fn send(
    model: &ServedModel,
    id: PredictionId,
    feedback_id: &str,
) -> Result<(u64, bool), String> {
    let receipt = model.accept(label(id, feedback_id, "a")).unwrap();
    match receipt.wait().await.map_err(|error| error.to_string())? {
        Acknowledgement::Accepted { position } => Ok((position, false)),
        Acknowledgement::Duplicate { position } | Acknowledgement::Retracted { position } => {
            Ok((position, true))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_ids_beyond_memory_are_known_for_a_day_and_no_longer() {
    let clocked = Clocked::new("[journal]\nids_max = 5\n");
    let mut engine = clocked.open();
    let mut stand = Vec::new();
    // Across a clean stop, a clock that jumps, and an end without a word.
    for start in 0..3 {
        let model = engine.model("m").unwrap();
        for n in 0..20 {
            clocked.pass(1);
            let (id, feedback_id) = (predict(model, 10).unwrap(), format!("id-{start}-{n}"));
            let sent = send(model, id, &feedback_id).await.unwrap();
            assert!(!sent.1);
            stand.push((id, feedback_id, sent.0));
        }
        match start {
            0 => engine.close(),
            1 => clocked.jump(400 * 24 * 60),
            _ => clocked.jump(-500 * 24 * 60),
        }
        drop(engine);
        engine = clocked.open();
        let model = engine.model("m").unwrap();
        for (id, feedback_id, position) in &stand {
            let again = send(model, *id, feedback_id).await;
            assert_eq!(again, Ok((*position, true)), "{feedback_id}");
        }
    }
    let applied = engine.model("m").unwrap().status(false).fates["applied"];
    assert_eq!(applied, 60);
    // The learner needs no ids: an event that is new to the journal is new.
    let folder = clocked.workspace.data().join("m/ids");
    assert!(fs::read_dir(folder).unwrap().count() > 8);
    // Behind at half speed, two days are enough.
    clocked.pass(2 * 24 * 60 + 60);
    for (id, feedback_id, _) in &stand[..3] {
        let again = send(engine.model("m").unwrap(), *id, feedback_id).await;
        assert!(!again.unwrap().1, "{feedback_id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_flood_of_one_source_is_refused_alone() {
    let clocked = Clocked::new("[journal]\nids_bytes_max = \"1MiB\"\n");
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    let unknown = PredictionId(1);
    let mut refused = None;
    let mut n_taken = 0;
    // Half of 26,214.
    for n in 0..20_000 {
        let mut event = label(unknown, &format!("flood-{n}"), "a");
        event.source = "flood".to_owned();
        match model.accept(event).unwrap().wait().await {
            Ok(_) => n_taken += 1,
            Err(error) => {
                refused = Some(error.to_string());
                break;
            }
        }
    }
    let refused = refused.expect("the flood is refused");
    assert_eq!(n_taken, (1 << 20) / 40 / 2, "{refused}");
    let expected = "takes no more now: source \"flood\" holds 13107 of the 13107 feedback ids";
    assert!(refused.contains(expected), "{refused}");
    assert!(
        refused.contains("journal.ids_bytes_max (1048576 bytes)"),
        "{refused}"
    );
    // Others go on, and resent events are known.
    let id = predict(model, 10).unwrap();
    let (position, again) = send(model, id, "honest").await.unwrap();
    assert!(!again);
    assert!(send(model, id, "honest").await.unwrap().1);
    model.wait_for_position(position).await.unwrap();
    let mut first = label(unknown, "flood-0", "a");
    first.source = "flood".to_owned();
    let again = model.accept(first).unwrap().wait().await.unwrap();
    assert!(
        matches!(again, Acknowledgement::Duplicate { .. }),
        "{again:?}"
    );
    assert_eq!(model.status(false).fates["unmatched"], n_taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_feedback_is_refused_while_the_learner_is_far_behind() {
    let slow = gradient("adamw", "1024, 1024", "er");
    let workspace = Workspace::new(&[("m", &format!("{slow}[journal]\nlag_max = 8\n"))]);
    let (_, disk) = Recording::of(&workspace.data());
    let engine = workspace.open_on(disk);
    let model = engine.model("m").unwrap();
    let id = predict(model, 10).unwrap();
    let (mut last, mut refused) = (0, None);
    for n in 0..10_000 {
        match model.accept(label(id, &format!("event-{n}"), "a")) {
            Ok(receipt) => match receipt.wait().await.unwrap() {
                Acknowledgement::Accepted { position } => last = position,
                other => panic!("event-{n} is new: {other:?}"),
            },
            Err(error) => {
                refused = Some(error.to_string());
                break;
            }
        }
    }
    let refused = refused.expect("it is outrun");
    assert!(
        refused.contains("takes no more now: the learner is "),
        "{refused}"
    );
    assert!(refused.ends_with(" entries behind"), "{refused}");
    // Predictions go on, with an id or without, and accepted feedback is learned; then there is
    // room again.
    predict(model, 10);
    model.wait_for_position(last).await.unwrap();
    feed(model, id, "later").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_an_adopted_description_waits_for_stays() {
    let limits = "[journal]\nbytes_max = \"16MiB\"\nretract_within = \"10m\"\n";
    let clocked = Clocked::new(&format!("{limits}[feedback]\nwaiting_max = 2\n"));
    // The order below is of the system's clock, which must not make anything old.
    *clocked.now.lock().unwrap() = ClockReading::agreed(FAR_US);
    let mut old = Vec::new();
    // A stop ends a group, and a group of twenty fits a segment.
    for _ in 0..3 {
        let engine = clocked.open();
        let model = engine.model("m").unwrap();
        old.extend((0..20).map(|_| predict(model, 50_000).unwrap()));
        engine.close();
    }
    let wider = format!("{AUTO}{limits}");
    clocked.workspace.describe("m", &wider);
    let described = perennial::engine::describe(&clocked.workspace.models().join("m/model.toml"));
    let command = Command {
        order: Order::Adopt(described.unwrap().description),
        actor: String::new(),
        note: String::new(),
    };
    Offline::order(&clocked.workspace.data(), "m", command).unwrap();
    for _ in 0..3 {
        let engine = clocked.open();
        let model = engine.model("m").unwrap();
        for _ in 0..80 {
            clocked.pass(1);
            predict(model, 50_000).unwrap();
        }
        engine.close();
    }
    assert!(clocked.first_position() > 3, "something went");
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    let refused = feed(model, old[0], "late").await.unwrap_err();
    assert!(refused.contains("takes feedback no more"), "{refused}");
    assert_eq!(model.status(false).state, Readiness::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_retracted_id_is_known_as_such_when_its_segment_has_gone() {
    let clocked = Clocked::new(SHORT);
    let engine = clocked.open();
    let model = engine.model("m").unwrap();
    let mut first = Vec::new();
    for n in 0..4 {
        let id = predict(model, 10).unwrap();
        let mut event = label(id, &format!("id-{n}"), "a");
        event.source = ["kept", "bad"][n % 2].to_owned();
        let receipt = model.accept(event).unwrap();
        first.push((id, receipt.wait().await.unwrap()));
    }
    let request = RetractionRequest {
        selector: Selector::Source("bad".to_owned()),
        actor: String::new(),
        note: String::new(),
        disposal: Disposal::Keep,
    };
    assert_eq!(model.retract(request).await.unwrap().plan.excluded, 2);
    let mut n_passed = 0;
    while clocked.first_position() < 20 {
        clocked.pass(1);
        predict(model, 50_000).unwrap();
        model.retain_now().unwrap();
        n_passed += 1;
        assert!(n_passed < 24 * 60, "ids are known for a day");
    }
    engine.close();
    drop(engine);
    for start in ["the next", "one after"] {
        let engine = clocked.open();
        let model = engine.model("m").unwrap();
        for (n, (id, accepted)) in first.iter().enumerate() {
            let Acknowledgement::Accepted { position } = *accepted else {
                panic!("{accepted:?}")
            };
            let again = model.accept(label(*id, &format!("id-{n}"), "a")).unwrap();
            let expected = match n % 2 {
                0 => Acknowledgement::Duplicate { position },
                _ => Acknowledgement::Retracted { position },
            };
            assert_eq!(again.wait().await.unwrap(), expected, "{n} in {start} life");
        }
        engine.close();
    }
}
