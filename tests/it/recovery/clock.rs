//! A wall clock that was ahead, or is behind: windows close, ids age and room comes back all the
//! same, and nothing is learned twice.

use std::sync::Arc;

use perennial::engine::{Acknowledgement, Config, Engine, ServedModel, WallClock};
use perennial::event::{Event, Feedback, PredictionId, Signal};
use perennial::store::{Reader, verify};

use super::clocked::{Clocked, SHORT, predict};
use crate::damage::log::warnings;
use crate::support::disk::Recording;
use crate::support::{AUTO, label};

const DAY: i64 = 24 * 60;
const MINUTE_US: i64 = 60_000_000;

fn open(clocked: &Clocked, wall_clock: WallClock) -> Arc<Engine> {
    let (_, disk) = Recording::of(&clocked.workspace.data());
    let config = Config {
        wall_clock,
        ..clocked.on(disk, clocked.workspace.data())
    };
    Engine::open(config).expect("the engine opens")
}

/// Sends an event of a prediction, and waits until it is learned; whether it had come before.
async fn send(model: &ServedModel, id: PredictionId, feedback_id: &str) -> bool {
    let receipt = model.accept(label(id, feedback_id, "a")).expect("room");
    match receipt.wait().await.expect("it is taken") {
        Acknowledgement::Accepted { position } => {
            model.wait_for_position(position).await.unwrap();
            false
        }
        Acknowledgement::Duplicate { .. } => true,
        other => panic!("{other:?}"),
    }
}

/// Predicts, has it labelled, and sends that again: it is learned once.
async fn serve_rows(model: &ServedModel, prefix: &str) -> Vec<(PredictionId, String)> {
    let mut sent = Vec::new();
    for n in 0..3 {
        let id = predict(model, 10).expect("there is room");
        let feedback_id = format!("{prefix}-{n}");
        assert!(!send(model, id, &feedback_id).await, "{feedback_id}");
        assert!(send(model, id, &feedback_id).await, "{feedback_id}");
        sent.push((id, feedback_id));
    }
    sent
}

async fn all_are_known(model: &ServedModel, sent: &[(PredictionId, String)]) {
    for (id, feedback_id) in sent {
        assert!(send(model, *id, feedback_id).await, "{feedback_id}");
    }
}

/// The journal time of the last entry, in minutes since the start.
fn last_minute(clocked: &Clocked) -> i64 {
    let journal = clocked.workspace.data().join("m/journal");
    let last = verify(&journal).unwrap().last_position;
    let mut reader = Reader::open(&journal, last, last).unwrap();
    let entry = reader.next(last).unwrap().unwrap();
    assert!(!matches!(entry.event, Event::Erased(_)));
    (entry.time.0 - 1_700_000_000_000_000) / MINUTE_US
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_clock_that_was_a_day_ahead_for_a_second_moves_nothing() {
    let clocked = Clocked::new("");
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    let mut sent = serve_rows(model, "before").await;
    clocked.jump(DAY);
    clocked.pass_us(1_000_000);
    sent.extend(serve_rows(model, "ahead").await);
    clocked.jump(-DAY);
    sent.extend(serve_rows(model, "after").await);
    clocked.pass(1);
    all_are_known(model, &sent).await;
    let status = model.status(false);
    assert_eq!(status.fates["applied"], 9);
    engine.close();
    drop(engine);
    assert!(last_minute(&clocked) <= 1);
    // Twenty-three hours later they are known, two hours later no more.
    clocked.pass(23 * 60);
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    all_are_known(model, &sent).await;
    clocked.pass(2 * 60);
    let id = predict(model, 10).unwrap();
    assert!(!send(model, id, &sent[0].1).await);
    engine.close();
}

/// Windows close by journal time: a wall clock that is a day ahead for a second closes none, silence is
/// learned once the hour has passed, and a reward after that is late.
#[tokio::test(flavor = "multi_thread")]
async fn p12_a_clock_that_was_a_day_ahead_closes_no_window() {
    let bandit = AUTO
        .replace("classification", "bandit")
        .replace("classes", "actions");
    let clocked = Clocked::of(&format!("{bandit}[feedback]\ndefault_reward = 0.25\n"));
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    let first = predict(model, 10).unwrap();
    clocked.jump(DAY);
    clocked.pass_us(1_000_000);
    let rewarded = predict(model, 10).unwrap();
    let reward = |id, feedback_id: &str| Feedback {
        signal: Signal::Reward(1.0),
        ..label(id, feedback_id, "")
    };
    let send = async |event| {
        let receipt = model.accept(event).expect("room");
        let Ok(Acknowledgement::Accepted { position }) = receipt.wait().await else {
            panic!("it is new")
        };
        model.wait_for_position(position).await.unwrap();
        model.status(false)
    };
    let status = send(reward(rewarded, "in time")).await;
    assert_eq!((status.examples, status.fates["applied"]), (1, 1));
    clocked.jump(-DAY);
    clocked.pass(59);
    let status = send(reward(predict(model, 10).unwrap(), "still in time")).await;
    assert_eq!((status.examples, status.fates["applied"]), (2, 2));
    clocked.pass(2);
    let status = send(reward(first, "too late")).await;
    assert_eq!((status.examples, status.fates["late"]), (3, 1));
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_year_ahead_over_restarts_is_not_believed() {
    let clocked = Clocked::new("");
    let engine = open(&clocked, WallClock::Checked);
    let mut sent = serve_rows(engine.model("m").unwrap(), "before").await;
    engine.close();
    drop(engine);
    clocked.jump(365 * DAY);
    for start in 0..3 {
        let engine = open(&clocked, WallClock::Checked);
        let model = engine.model("m").unwrap();
        clocked.pass(30);
        sent.extend(serve_rows(model, &format!("life-{start}")).await);
        all_are_known(model, &sent).await;
        engine.close();
    }
    clocked.jump(-365 * DAY);
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    sent.extend(serve_rows(model, "after").await);
    all_are_known(model, &sent).await;
    assert_eq!(model.status(false).fates["applied"], 15);
    engine.close();
    drop(engine);
    assert_eq!(last_minute(&clocked), 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_year_that_was_believed_does_not_stop_time() {
    // As a journal of an older program stands whose clock was a year ahead once.
    let toml = "[journal]\nids_max = 4\nage_max = \"2d\"\n";
    let clocked = Clocked::new(toml);
    clocked.jump(365 * DAY);
    let engine = open(&clocked, WallClock::Checked);
    let sent = serve_rows(engine.model("m").unwrap(), "ahead").await;
    engine.close();
    drop(engine);
    clocked.jump(-365 * DAY);
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    let early = predict(model, 10).unwrap();
    all_are_known(model, &sent).await;
    serve_rows(model, "behind").await;
    // Half speed: two days pass in four.
    clocked.pass(2 * DAY + 1);
    serve_rows(model, "a day later").await;
    assert!(!send(model, predict(model, 10).unwrap(), &sent[0].1).await);
    clocked.pass(2 * DAY + 1);
    let expired = model.status(false).fates["expired"];
    send(model, early, "too late").await;
    assert_eq!(model.status(false).fates["expired"], expired + 1);
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_forty_days_back_feedback_is_taken_and_time_goes_on() {
    let clocked = Clocked::new("");
    let engine = open(&clocked, WallClock::Checked);
    let sent = serve_rows(engine.model("m").unwrap(), "before").await;
    engine.close();
    drop(engine);
    clocked.jump(-40 * DAY);
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    all_are_known(model, &sent).await;
    serve_rows(model, "after").await;
    clocked.pass(3 * DAY);
    assert!(!send(model, predict(model, 10).unwrap(), &sent[0].1).await);
    assert!(
        model
            .clock_note()
            .unwrap()
            .contains("ahead of this machine's")
    );
    engine.close();
    drop(engine);
    assert_eq!(last_minute(&clocked), 3 * DAY / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_machine_that_was_off_for_sixty_days_is_believed_after_an_hour_or_by_order() {
    let clocked = Clocked::new("");
    let engine = open(&clocked, WallClock::Checked);
    let sent = serve_rows(engine.model("m").unwrap(), "before").await;
    engine.close();
    drop(engine);
    clocked.pass(60 * DAY);
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    all_are_known(model, &sent).await;
    let mut later = serve_rows(model, "doubted").await;
    clocked.pass(59);
    all_are_known(model, &sent).await;
    let (journal, wall) = model.times().unwrap();
    assert_eq!((wall.0 - journal.0) / MINUTE_US, 60 * DAY);
    engine.close();
    drop(engine);
    assert_eq!(last_minute(&clocked), 59);
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    later.extend(serve_rows(model, "still doubted").await);
    clocked.pass(60);
    let (journal, wall) = model.times().unwrap();
    assert_eq!(journal, wall);
    serve_rows(model, "believed").await;
    engine.close();
    drop(engine);
    clocked.pass(60 * DAY);
    let engine = open(&clocked, WallClock::Believed);
    let (journal, wall) = engine.model("m").unwrap().times().unwrap();
    assert_eq!(journal, wall);
    serve_rows(engine.model("m").unwrap(), "by order").await;
    assert_eq!(
        engine.model("m").unwrap().status(false).fates["applied"],
        15
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_start_with_a_clock_more_than_a_day_ahead_warns() {
    let clocked = Clocked::new("");
    let engine = open(&clocked, WallClock::Checked);
    serve_rows(engine.model("m").unwrap(), "before").await;
    engine.close();
    drop(engine);
    let starts = [
        (23 * 60, WallClock::Checked, false),
        (2 * 60, WallClock::Checked, true),
        (0, WallClock::Believed, false),
    ];
    for (minutes, wall_clock, warns) in starts {
        clocked.jump(minutes);
        // Nothing is written, so that the last entry stays where it is.
        let data = clocked.workspace.data().with_file_name("copy");
        crate::support::copy(&clocked.workspace.data(), &data);
        let (_, disk) = Recording::of(&data);
        let config = Config {
            wall_clock,
            ..clocked.on(disk, data.clone())
        };
        let (engine, log) = warnings(|| Engine::open(config).expect("the engine opens"));
        let sentence = "the clock of this machine is ahead of the journal's last entry; it is believed \
                        after an hour, or at once with serve --believe-clock";
        assert_eq!(log.contains(sentence), warns, "{minutes}: {log}");
        engine.close();
        drop(engine);
        std::fs::remove_dir_all(&data).unwrap();
    }
}

/// Entries are retained for 70 minutes of the journal's time, of which each start begins a new doubt.
#[tokio::test(flavor = "multi_thread")]
async fn p12_under_a_doubted_clock_retention_goes_by_the_time_that_passes() {
    let clocked = Clocked::new(SHORT);
    let engine = open(&clocked, WallClock::Checked);
    let model = engine.model("m").unwrap();
    (0..40).for_each(|_| assert!(predict(model, 100_000).is_some()));
    engine.close();
    drop(engine);
    let first = clocked.first_position();
    clocked.jump(60 * DAY);
    // A state that predictions wait in no more, and ten minutes behind it.
    for (minutes, is_shorter) in [([0, 0], false), ([20, 20], false), ([25, 15], true)] {
        let engine = open(&clocked, WallClock::Checked);
        let model = engine.model("m").unwrap();
        for minutes in minutes {
            clocked.pass(minutes);
            predict(model, 10).expect("there is room");
            model.retain_now().unwrap();
        }
        let (journal, wall) = model.times().unwrap();
        assert!(wall.0 - journal.0 > 59 * DAY * MINUTE_US, "it is doubted");
        engine.close();
        drop(engine);
        assert_eq!(clocked.first_position() > first, is_shorter, "{minutes:?}");
    }
}
