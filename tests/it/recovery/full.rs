//! A journal that is full: time alone opens it again, an order does at once, and predictions never
//! take the room of feedback.
//!
//! Invariant: the test sets the clock; nothing is journaled while it passes.

use std::sync::Arc;

use perennial::engine::{Acknowledgement, Engine, Level, Readiness, ServedModel};
use perennial::event::{Order, PredictionId};
use perennial::model::OrderedLimits;
use perennial::store::segments;

use super::clocked::{Clocked, feed, large, predict};
use crate::support::disk::Recording;
use crate::support::{answers, copy, digest, label, order, wait};

const SECOND_US: i64 = 1_000_000;
const BRIEF: &str = "[journal]\nbytes_max = \"16MiB\"\nage_max = \"5s\"\nretract_within = \"1s\"\n";

fn open(clocked: &Clocked) -> Arc<Engine> {
    let (_, disk) = Recording::of(&clocked.workspace.data());
    Engine::open(clocked.on(disk, clocked.workspace.data())).expect("the engine opens")
}

/// Fills a journal: predictions as long as they get an id, then feedback until it is refused.
async fn fill(model: &ServedModel, prefix: &str) -> (PredictionId, String) {
    let journaled: Vec<_> = (0..400).map_while(|_| predict(model, 900_000)).collect();
    assert!((1..400).contains(&journaled.len()));
    let last = *journaled.last().expect("there is room");
    for n in 0..400 {
        if let Err(refused) = feed_large(model, last, &format!("{prefix}-{n}")).await {
            return (last, refused);
        }
    }
    panic!("feedback is refused")
}

/// Feedback of a hundred kilobytes.
async fn feed_large(
    model: &ServedModel,
    id: PredictionId,
    feedback_id: &str,
) -> Result<(), String> {
    let mut event = label(id, feedback_id, "a");
    event.source = "s".repeat(100_000);
    let receipt = model.accept(event).map_err(|error| error.to_string())?;
    let accepted = receipt.wait().await;
    accepted.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_time_alone_opens_a_full_journal() {
    let clocked = Clocked::new(BRIEF);
    let mut engine = open(&clocked);
    for start in 0..3 {
        let model = engine.model("m").unwrap();
        let (last, refused) = fill(model, &format!("life-{start}")).await;
        assert!(refused.contains("takes no more now: the journal holds"));
        assert!(
            refused.contains("perennial limits m --bytes-max"),
            "{refused}"
        );
        if start == 1 {
            // A restart finds it as full, and lets it go just as well.
            engine.close();
            drop(engine);
            engine = open(&clocked);
        }
        let model = engine.model("m").unwrap();
        assert!(feed_large(model, last, "none").await.is_err());
        let mut waited = 0;
        while feed_large(model, last, &format!("again-{start}"))
            .await
            .is_err()
        {
            clocked.pass_us(SECOND_US / 2);
            model.retain_now().unwrap();
            waited += 1;
            assert!(waited < 20, "ten seconds are enough");
        }
        assert!(predict(model, 10).is_some(), "{waited}");
        assert!(model.status(false).journal_bytes < 4 << 20);
    }
    let model = engine.model("m").unwrap();
    let (before, answered) = (digest(model), answers(model));
    engine.close();
    drop(engine);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    assert_eq!((digest(model), answers(model)), (before, answered));
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_one_group_that_fills_a_journal_is_let_go() {
    let clocked = Clocked::new(BRIEF);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    // One segment holds it whole.
    assert!(predict(model, 14_000_000).is_some());
    assert_eq!(predict(model, 2_000_000), None);
    let mut n_segments = Vec::new();
    for _ in 0..16 {
        clocked.pass_us(SECOND_US / 2);
        model.retain_now().unwrap();
        let journal = clocked.workspace.data().join("m/journal");
        n_segments.push(segments(&journal).unwrap().len());
    }
    assert!(
        model.status(false).journal_bytes < 1 << 20,
        "{n_segments:?}"
    );
    assert!(predict(model, 2_000_000).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_predictions_at_once_leave_feedback_its_room() {
    let limits = "[journal]\nbytes_max = \"64MiB\"\nage_max = \"5s\"\nretract_within = \"1s\"\n";
    let clocked = Clocked::new(limits);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    let first = predict(model, 10).unwrap();
    let asked = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| predict(model, 12 << 20).is_some()))
            .collect();
        asked
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect::<Vec<_>>()
    });
    // Four have room in the journal, and three at a time in the queue of the writer.
    let n_journaled = asked.iter().filter(|journaled| **journaled).count();
    assert!((3..=4).contains(&n_journaled), "{asked:?}");
    feed(model, first, "there is room").await.unwrap();
    assert!(model.status(false).journal_bytes < 59 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_orders_are_taken_by_a_full_journal_and_give_it_room() {
    let long = "[journal]\nbytes_max = \"16MiB\"\nretract_within = \"9d\"\n";
    let clocked = Clocked::new(long);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    let (last, _) = fill(model, "one").await;
    let made = order(model, Order::Checkpoint).await;
    order(
        model,
        Order::Restore {
            version: made.version,
        },
    )
    .await;
    assert!(feed_large(model, last, "none").await.is_err());

    // A dry run reports the loss, and changes nothing.
    clocked.pass(60);
    let shorter = OrderedLimits {
        retract_within: Some("10m".to_owned()),
        ..OrderedLimits::default()
    };
    let planned = model.limits(&shorter).unwrap();
    let now = clocked.now.lock().unwrap().wall.0;
    assert_eq!(planned.lost_before.unwrap().0, now - 600 * SECOND_US);
    assert_eq!((planned.position, planned.retract_within_s), (0, 600));
    assert!(feed_large(model, last, "none").await.is_err());

    let larger = OrderedLimits {
        bytes_max: Some("32MiB".to_owned()),
        ..OrderedLimits::default()
    };
    let changed = model.change_limits(&larger).await.unwrap();
    assert_eq!((changed.bytes_max, changed.lost_before), (32 << 20, None));
    assert!(changed.position > 0);
    feed_large(model, last, "taken").await.unwrap();
    let small = OrderedLimits {
        bytes_max: Some("1MB".to_owned()),
        ..OrderedLimits::default()
    };
    let error = model.change_limits(&small).await.unwrap_err().to_string();
    assert!(
        error.contains("journal.bytes_max = \"1MB\": expected a size of at least 16MiB"),
        "{error}"
    );

    // Over a restart it holds, until model.toml says otherwise.
    let before = digest(model);
    engine.close();
    drop(engine);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    assert_eq!(
        (digest(model), model.status(false).state),
        (before, Readiness::Ready)
    );
    assert_eq!(
        model.limits(&OrderedLimits::default()).unwrap().bytes_max,
        32 << 20
    );
    engine.close();
    drop(engine);
    let toml = format!("{}{long}", crate::support::AUTO).replace("16MiB", "48MiB");
    clocked.workspace.describe("m", &toml);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    assert_eq!(
        model.limits(&OrderedLimits::default()).unwrap().bytes_max,
        48 << 20
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_shorter_horizon_by_order_lets_segments_go() {
    let long = "[journal]\nbytes_max = \"16MiB\"\nage_max = \"5s\"\nretract_within = \"9d\"\n";
    let clocked = Clocked::new(long);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    let (last, _) = fill(model, "one").await;
    clocked.pass(60);
    model.retain_now().unwrap();
    model.retain_now().unwrap();
    assert!(
        feed_large(model, last, "none").await.is_err(),
        "nine days are kept"
    );
    let shorter = OrderedLimits {
        retract_within: Some("10m".to_owned()),
        ..OrderedLimits::default()
    };
    assert!(
        model
            .change_limits(&shorter)
            .await
            .unwrap()
            .lost_before
            .is_some()
    );
    for _ in 0..4 {
        model.retain_now().unwrap();
        clocked.pass(5);
    }
    feed_large(model, last, "taken").await.unwrap();
    assert!(predict(model, 900_000).is_some());
    let snapshot = model.snapshot("").unwrap();
    let options = perennial::engine::PredictOptions::default();
    assert_eq!(
        wait(model.predict(&snapshot, large(10), options))
            .unwrap()
            .ids
            .len(),
        1
    );
}

/// A minute of a journal that holds eight seconds of its traffic, with a set clock.
#[tokio::test(flavor = "multi_thread")]
async fn p12_a_journal_too_small_for_its_traffic_takes_all_feedback() {
    let clocked = Clocked::new(BRIEF);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    let (mut n_asked, mut n_with_id, mut n_fed) = (0, 0, 0);
    let mut before = None;
    for second in 0..60 {
        for part in 0..14 {
            let id = predict(model, 100_000);
            if second >= 20 {
                n_asked += 1;
                n_with_id += usize::from(id.is_some());
            }
            // The correction of a recent prediction is always accepted.
            if let (Some(id), 0) = (before, part % 7) {
                feed(model, id, &format!("{second}-{part}")).await.unwrap();
                n_fed += 1;
            }
            before = id;
        }
        clocked.pass_us(SECOND_US);
        model.retain_now().unwrap();
        assert!(model.status(false).journal_bytes < 15 << 20, "{second}");
    }
    assert!(n_fed > 100, "{n_fed}");
    assert!(n_with_id * 10 >= n_asked * 9, "{n_with_id} of {n_asked}");
    assert_eq!(model.status(false).fates["applied"], n_fed);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_bound_that_is_near_or_reached_is_said_with_what_to_do() {
    let toml = format!("{BRIEF}[feedback]\nwaiting_max = 3\n");
    let clocked = Clocked::new(&toml);
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    let level = |name: &str| {
        let bounds = model.status(false).bounds;
        let bound = bounds.into_iter().find(|bound| bound.name == name);
        bound.map(|bound| (bound.level, bound.advice)).unwrap()
    };
    for name in [
        "prediction_bytes",
        "feedback_bytes",
        "feedback_ids",
        "lag",
        "clock",
    ] {
        assert_eq!(level(name).0, Level::Ample, "{name}");
    }
    let (last, _) = fill(model, "one").await;
    model.retain_now().unwrap();
    let (reached, advice) = level("prediction_bytes");
    assert_eq!(reached, Level::Reached, "{advice}");
    assert!(advice.contains("answered without an id"), "{advice}");
    assert!(
        advice.contains("perennial limits m --bytes-max SIZE"),
        "{advice}"
    );
    let (near, advice) = level("feedback_bytes");
    assert!(
        near >= Level::Near && advice.contains("it is refused"),
        "{advice}"
    );
    let (reached, advice) = level("waiting_predictions");
    assert_eq!(reached, Level::Reached);
    assert!(advice.contains("raise feedback.waiting_max"), "{advice}");
    clocked.jump(3 * 24 * 60);
    let (reached, advice) = level("clock");
    assert_eq!(reached, Level::Reached);
    assert!(
        advice.contains("3.0 days ahead of the journal's"),
        "{advice}"
    );
    clocked.jump(-3 * 24 * 60);
    for _ in 0..20 {
        clocked.pass_us(SECOND_US / 2);
        model.retain_now().unwrap();
    }
    feed_large(model, last, "taken").await.unwrap();
    let far = model.status(false).bounds;
    let far = far
        .iter()
        .find(|bound| bound.name == "feedback_bytes")
        .unwrap();
    assert!(far.used < 0.5, "{far:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_ids_are_known_after_a_kill() {
    let clocked = Clocked::new("[journal]\nids_max = 5\n");
    let engine = open(&clocked);
    let model = engine.model("m").unwrap();
    let mut stand = Vec::new();
    for n in 0..33 {
        let id = predict(model, 10).unwrap();
        stand.push((id, feed(model, id, &format!("id-{n}")).await.unwrap()));
    }
    // The files after a kill: nothing is closed.
    let killed = clocked.workspace.data().with_file_name("killed");
    copy(&clocked.workspace.data(), &killed);
    let (_, disk) = Recording::of(&killed);
    let after = Engine::open(clocked.on(disk, killed)).unwrap();
    for (n, (id, position)) in stand.into_iter().enumerate() {
        let again = label(id, &format!("id-{n}"), "a");
        let accepted = after
            .model("m")
            .unwrap()
            .accept(again)
            .unwrap()
            .wait()
            .await;
        assert_eq!(
            accepted.unwrap(),
            Acknowledgement::Duplicate { position },
            "{n}"
        );
    }
    let fates = after.model("m").unwrap().status(false).fates;
    assert_eq!(fates["applied"], 33);
}
